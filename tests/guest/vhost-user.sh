#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# vhost-user.sh VIOMMU FOLDER OPTION...: boot the guest with our disk by
# vhost-user, behind QEMU's own virtio-iommu.  The guest verifies files and
# writes some, each with fsync; meanwhile the disk's process is killed (with
# --kill-disk) and comes back.  What the guest was told is written is read back
# by the guest, and looked for in the image here.
viommu=$1 folder=$2
shift 2
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
"$viommu" boot --folder "$folder" --disk-by vhost-user --json "$@" \
	>"$out/json" 2>"$out/log"
rc=$?
tail -n 1 "$out/json" >"$out/last"
cat "$out/last"
bad=0
# has PATTERN WHAT
has()
{
	grep -qE "$1" "$out/last" || { echo "not so: $2" && bad=1; }
}
# number KEY: its first value; the disk's process tells before the rest
number()
{
	grep -o "\"$1\": [0-9]*" "$out/last" | sed 's/.* //; q'
}
[ $rc -eq 0 ] || { echo "exit status $rc" && bad=1; }
has '"result": "pass"' "the guest's work succeeded"
has '"iommu": "qemu-virtio"' "the IOMMU was QEMU's"
has '"disk_by": "vhost-user"' "the disk came by vhost-user"
has '"files_mismatched": 0' "each file is as it was"
[ "$(number files_verified)" -eq "$(find "$folder" -type f | wc -l)" ] ||
	{ echo "files verified: $(number files_verified)" && bad=1; }
if [ "$(number files_written)" -lt 4 ] ||
   [ "$(number files_written)" != "$(number files_written_verified)" ]; then
	echo "files written: $(number files_written), found: $(number files_written_verified)"
	bad=1
fi
# the guest's mappings came as updates and went as invalidations
for key in updates invalidations; do
	[ "$(number $key)" -ge 50 ] || { echo "$key: $(number $key)" && bad=1; }
done
[ "$(number misses)" -ge 1 ] || { echo "no miss" && bad=1; }
[ "$(number disk_errors)" -eq 0 ] || { echo "the disk refused something" && bad=1; }
case " $* " in
*" --strict "*) has '"iommu_group_type": "DMA"' "strict" ;;
*) has '"iommu_group_type": "DMA-FQ"' "lazy" ;;
esac
case " $* " in
*" --debian12-qemu "*) has '"qemu": "7.2' "under Debian 12's QEMU" ;;
esac
case " $* " in
*" --kill-disk "*)
	[ "$(number disk_process_kills)" -ge 1 ] || { echo "nothing was killed" && bad=1; }
	[ "$(number rounds)" -ge 20 ] || { echo "rounds: $(number rounds)" && bad=1; }
	;;
esac
echo "$(number misses) misses, $(number updates) updates, $(number invalidations) invalidations, $(number waited) waited; $(number disk_process_kills) kills"
[ $bad -eq 0 ] || tail -n 60 "$out/log"
exit $bad
