#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# errors.sh functions|wrappers|documented|open HEADER...: see errors.awk.
# errors.sh check HEADER... -- PROGRAM...: run the programs; each error that the
# headers document is returned to one of them, and no other error is, unless
# the function is open.
set -eu
mode=$1
shift
awk=$(dirname "$0")/errors.awk

headers()
{
	for h in "$@"; do
		[ "$h" != -- ] || break
		echo "$h"
	done
}

case $mode in
wrappers)
	echo '#include "errors.h"'
	for h in "$@"; do
		echo "#include \"$h\""
	done
	;;
check)
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	headers "$@" >"$tmp/headers"
	xargs awk -v mode=documented -f "$awk" <"$tmp/headers" |
		sort -u >"$tmp/documented"
	while [ "$1" != -- ]; do shift; done
	shift
	bad=0
	export VIOMMU_ERRORS="$tmp/log"
	: >"$tmp/log"
	for p in "$@"; do
		"$p" >"$tmp/out" 2>&1 || {
			tail -n 20 "$tmp/out"
			echo "failed: $p"
			bad=1
		}
	done
	xargs awk -v mode=functions -f "$awk" <"$tmp/headers" | sort -u \
		>"$tmp/functions"
	sort -u "$tmp/log" | join - "$tmp/functions" >"$tmp/seen"
	comm -23 "$tmp/documented" "$tmp/seen" >"$tmp/missing"
	xargs awk -v mode=open -f "$awk" <"$tmp/headers" | sort -u >"$tmp/open"
	comm -13 "$tmp/documented" "$tmp/seen" | join -v 1 - "$tmp/open" \
		>"$tmp/untold"
	sed 's/^/documented, but no test gets it: /' "$tmp/missing"
	sed 's/^/returned, but not documented: /' "$tmp/untold"
	[ ! -s "$tmp/missing" ] && [ ! -s "$tmp/untold" ] || bad=1
	[ -s "$tmp/seen" ] || { echo "no error was seen" && bad=1; }
	echo "$(wc -l <"$tmp/documented") documented," \
		"$(wc -l <"$tmp/missing") of them not seen," \
		"$(wc -l <"$tmp/untold") others seen"
	exit $bad
	;;
esac
exec awk -v mode="$mode" -f "$awk" "$@"
