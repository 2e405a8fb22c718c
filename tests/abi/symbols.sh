#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# symbols.sh LIBRARY MAP HEADER...: what the library exports is what its map
# names, and all of that is declared in the headers.
lib=$1 map=$2
shift 2
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
nm -D --defined-only "$lib" | awk '$2 ~ /[TDBR]/ { sub(/@.*/, "", $3); print $3 }' |
	sort -u >"$tmp/exported"
sed -n 's/^[[:space:]]*\(viommu_[a-z0-9_]*\);.*/\1/p' "$map" | sort -u >"$tmp/map"
cat "$@" | grep -o '\bviommu_[a-z0-9_]*(' | tr -d '(' | sort -u >"$tmp/declared"
bad=0
for s in $(comm -23 "$tmp/exported" "$tmp/map"); do
	echo "exported, but not in the map: $s" && bad=1
done
for s in $(comm -13 "$tmp/exported" "$tmp/map"); do
	echo "in the map, but not exported: $s" && bad=1
done
for s in $(comm -23 "$tmp/exported" "$tmp/declared"); do
	echo "exported, but in no header: $s" && bad=1
done
[ -s "$tmp/exported" ] || { echo "nothing is exported" && bad=1; }
exit $bad
