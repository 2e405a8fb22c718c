#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# qemu-iommu.sh VIOMMU FOLDER OPTION...: boot the guest with our disk behind
# QEMU's own IOMMU, and look at what must not be otherwise.  QEMU then sends a
# DMA_MAP for each of the guest's mappings; without an IOMMU it sends some
# twenty, one for each piece of RAM.
viommu=$1 folder=$2
shift 2
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
"$viommu" boot --folder "$folder" --json "$@" >"$out/json" 2>"$out/log"
rc=$?
tail -n 1 "$out/json" >"$out/last"
cat "$out/last"
bad=0
# has PATTERN WHAT
has()
{
	grep -qE "$1" "$out/last" || { echo "not so: $2" && bad=1; }
}
# number KEY: its value
number()
{
	sed -n "s/.*\"$1\": \([0-9]*\).*/\1/p" "$out/last"
}
[ $rc -eq 0 ] || { echo "exit status $rc" && bad=1; }
has '"result": "pass"' "the guest's work succeeded"
has '"iommu": "qemu-(virtio|vtd)"' "the IOMMU was QEMU's"
has '"disk_by": "vfio-user"' "the disk was ours"
has '"files_mismatched": 0' "each file is as it was"
[ "$(number files_verified)" -eq "$(find "$folder" -type f | wc -l)" ] ||
	{ echo "files verified: $(number files_verified)" && bad=1; }
[ "$(number files_written)" -ge 4 ] &&
	[ "$(number files_written)" = "$(number files_written_verified)" ] ||
	{ echo "files written: $(number files_written)" && bad=1; }
[ "$(number attacks)" -ge 5 ] && [ "$(number attacks)" = "$(number attacks_refused)" ] ||
	{ echo "attacks: $(number attacks), refused: $(number attacks_refused)" && bad=1; }
[ "$(number dma_map_messages)" -ge 200 ] && [ "$(number dma_unmap_messages)" -ge 200 ] ||
	{ echo "messages: $(number dma_map_messages) and $(number dma_unmap_messages)" && bad=1; }
# an unmap under a live map of 20 ms was answered no sooner: one that waited
[ "$(number live_map_unmap_us)" -ge 10000 ] && [ "$(number fences_waited)" -ge 1 ] ||
	{ echo "live map: $(number live_map_unmap_us) us" && bad=1; }
[ "$(number fences_failed)" -eq 0 ] || { echo "an unmap failed" && bad=1; }
case " $* " in
*" --strict "* | *" qemu-vtd "*) has '"iommu_group_type": "DMA"' "strict" ;;
*) has '"iommu_group_type": "DMA-FQ"' "lazy" ;;
esac
echo "$(number dma_map_messages) maps, $(number dma_unmap_messages) unmaps, $(number fences_waited) of $(number fences) invalidations waited"
[ $bad -eq 0 ] || tail -n 60 "$out/log"
exit $bad
