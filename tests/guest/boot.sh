#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# boot.sh VIOMMU FOLDER [OPTION...]: boot the guest with FOLDER on its disk and
# look at every figure of the summary that must not be otherwise.
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
has '"iommu": "virtio"' "there was an IOMMU"
has '"files_mismatched": 0' "each file is as it was"
[ "$(number files_verified)" -eq "$(find "$folder" -type f | wc -l)" ] ||
	{ echo "files verified: $(number files_verified)" && bad=1; }
[ "$(number attacks)" -ge 5 ] && [ "$(number attacks)" = "$(number attacks_refused)" ] ||
	{ echo "attacks: $(number attacks), refused: $(number attacks_refused)" && bad=1; }
[ "$(number guest_faults)" -ge "$(number attacks)" ] ||
	{ echo "faults in the guest's log: $(number guest_faults)" && bad=1; }
[ "$(number dma_bytes)" -gt 0 ] && [ "$(number unmaps)" -gt 0 ] ||
	{ echo "no DMA, or no unmap" && bad=1; }
# an unmap under a live map of 20 ms was answered no sooner
[ "$(number live_map_unmap_us)" -ge 10000 ] ||
	{ echo "live map: $(number live_map_unmap_us) us" && bad=1; }
case " $* " in
*" --strict "*) has '"iommu_group_type": "DMA"' "strict" ;;
*) has '"iommu_group_type": "DMA-FQ"' "lazy" ;;
esac
[ $bad -eq 0 ] || tail -n 60 "$out/log"
exit $bad
