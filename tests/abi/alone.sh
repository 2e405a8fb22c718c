#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# alone.sh INCLUDE_DIR: each public header compiles alone, as C11 and as C++11,
# without a warning.
inc=$1
bad=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
n=0
for h in $(cd "$inc" && find . -name '*.h' | sort); do
	n=$((n + 1))
	echo "#include <${h#./}>" >"$tmp/x.c"
	cp "$tmp/x.c" "$tmp/x.cc"
	${CC:-cc} -std=c11 -Wall -Wextra -Wpedantic -Werror -I"$inc" \
		-fsyntax-only "$tmp/x.c" || { echo "C: $h" && bad=1; }
	if command -v c++ >/dev/null; then
		c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -I"$inc" \
			-fsyntax-only "$tmp/x.cc" || { echo "C++: $h" && bad=1; }
	fi
	if command -v clang >/dev/null; then
		clang -std=c11 -Wall -Wextra -Wdocumentation -Werror -I"$inc" \
			-fsyntax-only "$tmp/x.c" || { echo "clang: $h" && bad=1; }
	fi
done
[ $n -gt 8 ] || { echo "only $n headers were found" && bad=1; }
exit $bad
