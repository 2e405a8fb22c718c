#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# rooms.sh SOURCE_DIR LIBRARY_OBJECT_DIR: calls go down or sideways along the
# arrows of docs/ARCHITECTURE.md, never up.  Includes are checked by name, and
# what guest/, host/ and serve/ link against by symbol.
src=$1/src objs=$2
bad=0

# room: the rooms whose headers it may include
allowed()
{
	case $1 in
	base) echo "base" ;;
	table) echo "base table" ;;
	core) echo "base table core" ;;
	dma) echo "base table core dma" ;;
	guest) echo "guest" ;;
	host) echo "host" ;;
	serve) echo "serve" ;;
	esac
}

for room in base table core dma guest host serve; do
	files=$(find "$src/$room" -name '*.[ch]')
	[ -n "$files" ] || { echo "no files in $room" && bad=1; }
	for f in $files; do
		for inc in $(sed -n 's/^#include "\([^"]*\)".*/\1/p' "$f"); do
			case $inc in
			*/*) to=${inc%%/*} ;;
			*) to=$room ;; # beside it
			esac
			# a path inside one's own room, as virtio/x.h in guest
			[ -d "$src/$to" ] || to=$room
			case " $(allowed "$room") " in
			*" $to "*) ;;
			*) echo "$f includes $inc" && bad=1 ;;
			esac
		done
	done
done

# public headers only: no symbol of the core's own in the objects of the others
list=$(find "$objs" -path '*libviommu.so*' \( -name 'guest_*.o' -o -name 'host_*.o' \) \
	-o -path '*libviommu-serve.so*' -name '*.o')
n=0
for f in $list; do
	n=$((n + 1))
	used=$(nm -u "$f" | awk '{ print $NF }' | grep '^vi_')
	[ -z "$used" ] || { echo "$f uses $used" && bad=1; }
done
[ $n -gt 3 ] || { echo "only $n objects were found below $objs" && bad=1; }
exit $bad
