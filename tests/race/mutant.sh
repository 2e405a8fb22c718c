#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# mutant.sh RACE ARGUMENT...: succeeds if the law is seen broken, by a check (1),
# by ThreadSanitizer (66) or by a signal (a touch of what was freed), or if it
# hangs (killed: a list that was changed without its lock).  One that gets through
# may try three times: the windows are real, not staged.
try=0
while [ $try -lt 3 ]; do
	timeout -s KILL 60 "$@"
	rc=$?
	if [ $rc -eq 1 ] || [ $rc -eq 66 ] || [ $rc -ge 124 ]; then
		echo "caught at try $((try + 1)), status $rc"
		exit 0
	fi
	[ $rc -eq 0 ] || exit $rc
	try=$((try + 1))
done
echo "the mutant survived" >&2
exit 1
