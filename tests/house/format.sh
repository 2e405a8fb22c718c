#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# format.sh SOURCE_DIR: the style that a machine can see.
# shellcheck disable=SC2086 # lists of files, without spaces
cd "$1" || exit 1
bad=0
files=$(find include src tests bench examples tools fuzz -name '*.[ch]')
scripts=$(grep -rlE '^#!/bin/(ba)?sh' run test .ci tests tools 2>/dev/null)

if command -v clang-format >/dev/null; then
	clang-format --dry-run -Werror $files || bad=1
else
	echo "clang-format is not installed" && bad=1
fi
if command -v shellcheck >/dev/null; then
	shellcheck -S warning $scripts || bad=1
else
	echo "shellcheck is not installed" && bad=1
fi
for f in $files $scripts; do
	head -n 3 "$f" | grep -q 'SPDX-License-Identifier: BSD-2-Clause' ||
		{ echo "no SPDX line: $f" && bad=1; }
done
# a test may need many cases; a noun of the product has no such excuse
code=$(find include src bench examples tools -name '*.[ch]')
long=$(wc -l $code | awk '$1 > 800 && $2 != "total" { print $2 ": " $1 " lines" }')
[ -z "$long" ] || { echo "look for the second noun: $long" && bad=1; }
# a range's last byte is "last"
grep -nE '\b(iova|gpa|range)_end\b' $files && bad=1
exit $bad
