#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# spin.sh LAW.PML: the model of the protocol is verified in full, and each
# mutant of it must fail.  Prints states and depth of each.
law=$1
dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 2
bad=0

# build SCENARIO; -O0: to compile takes longer than to run
build()
{
	rm -f pan pan.c
	spin "-DSCENARIO=$1" -a "$law" >out 2>&1 &&
		cc -O0 -w -DSAFETY -DMEMLIM=1000 -o pan pan.c >>out 2>&1 ||
		{ cat out && exit 2; }
}

# verify MUTANT: what pan says, in out
verify()
{
	MUTANT=$1 ./pan -m50000 >out 2>&1
}

# A search that was cut off, or did not run at all, proves nothing.
is_complete()
{
	grep -q 'errors: 0' out && ! grep -q 'search not completed' out &&
		! grep -q 'max search depth too small' out
}

figures()
{
	states=$(awk '/states, stored/ { print $1 }' out)
	depth=$(sed -n 's/.*depth reached \([0-9]*\).*/\1/p' out)
	why=$(sed -n 's/^pan:1: \(.*\) (at depth.*/\1/p' out)
	printf '%9s states, depth %4s' "$states" "$depth"
}

# mutants SCENARIO NAME...: numbered as in the model
mutants()
{
	s=$1
	shift
	for name; do
		m=$(awk -v n="$name" '$1 == "#define" && $2 == n { print $3 }' \
			"$law")
		printf '%-17s scenario %d ' "$name" "$s"
		verify "$m"
		figures
		if grep -q 'errors: 1' out && [ -n "$why" ]; then
			echo " caught: $why" | cut -c1-60
		else
			echo ' SURVIVED' && tail -n 5 out && bad=1
		fi
	done
}

# scenario NUMBER MUTANT...
scenario()
{
	build "$1"
	printf '%-17s scenario %d ' 'the protocol' "$1"
	verify 0
	figures
	if is_complete; then
		echo
	else
		echo " FAILED: $why" && tail -n 5 out && bad=1
	fi
	mutants "$@"
}

scenario 1 NO_WAIT LOOK_FIRST NO_MEMBARRIER NO_GRACE TURN
scenario 2 LOST_WAKEUP EARLY_DROP
scenario 3 NO_RELOOK REVOKE_GONE NO_SETTLE
scenario 4 SETTLE_INSIDE
scenario 5 EARLY_DEADLINE NO_HEIRS
exit $bad
