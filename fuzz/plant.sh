#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# plant.sh SOURCE LINE BUG: the source with one line made wrong, on standard
# output.  The line must be there once, word for word: whoever changes it has
# to think of another bug to plant.
set -eu
source=$1 line=$2 bug=$3
n=$(grep -cF -- "$line" "$source") || n=0
if [ "$n" -ne 1 ]; then
	echo "$source has this line $n times, not once:" >&2
	echo "  $line" >&2
	echo "Plant another bug: fuzz/meson.build" >&2
	exit 1
fi
awk -v line="$line" -v bug="$bug" '
	(at = index($0, line)) {
		$0 = substr($0, 1, at - 1) bug substr($0, at + length(line))
	}
	{ print }' "$source"
