#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Runs in the guest, as a part of its init (vfio.sh): `edu' for vfio-pci, and
# the program that drives it.
load_modules vfio vfio_iommu_type1.ko "dma_entry_limit=64" || exit 1
edu=
for dev in /sys/bus/pci/devices/*; do
	[ "$(cat "$dev/vendor" "$dev/device" | tr -d '\n')" = 0x12340x11e8 ] ||
		continue
	edu=${dev##*/}
	echo vfio-pci >"$dev/driver_override"
	echo "$edu" >/sys/bus/pci/drivers/vfio-pci/bind
done
[ -n "$edu" ] || { say "there is no edu" && exit 1; }
/bin/viommu-vfio "$edu" >/run/vfio.out
rc=$?
while read -r line; do
	say "$line"
	report "vfio=$line"
done </run/vfio.out
exit $rc
