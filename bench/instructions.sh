#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# instructions.sh BENCH [ROW...]: instructions an operation, by callgrind.
# Two runs a row, of which one does more: the difference is what counts, in the
# functions of the library alone.  Needs valgrind.
set -eu
bench=$1
shift
tab=$(printf '\t')
out=$(mktemp)
trap 'rm -f "$out"' EXIT

# collected ROW N FUNCTIONS
collected()
{
	toggles=
	for f in $3; do
		toggles="$toggles --toggle-collect=$f"
	done
	# shellcheck disable=SC2086
	valgrind --tool=callgrind --callgrind-out-file=/dev/null $toggles \
		"$bench" --count "$1" "$2" 2>"$out" >/dev/null || {
		cat "$out" >&2
		exit 1
	}
	sed -n 's/.*Collected : \([0-9]*\).*/\1/p' "$out"
}

printf '%-36s %-6s %7s %6s %8s\n' operation kind pages maps Ir
"$bench" --list | while IFS=$tab read -r row name kind pages maps calls; do
	case " ${*:-$row} " in
	*" $row "*) ;;
	*) continue ;;
	esac
	# worlds of a million pages, or maps, take callgrind minutes
	if [ "$pages" -gt 65536 ] || [ "$maps" -gt 1000 ]; then continue; fi
	few=$(collected "$row" 512 "$calls")
	many=$(collected "$row" 2560 "$calls")
	printf '%-36s %-6s %7s %6s %8s\n' "$name" "$kind" "$pages" "$maps" \
		$(((many - few) / 2048))
done
