#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# vfio.sh PROGRAM: run PROGRAM (vfio.c) in a guest under Debian 12's own
# QEMU, whose `edu' is behind the VT-d that QEMU emulates, on the guest kernel's
# real /dev/vfio/vfio.  Prints the program's line of JSON.
prog=$1
here=$(dirname "$(readlink -f "$0")")
kit=$here/../../tools/guest
out=$(mktemp -d) || exit 1
trap 'rm -rf "$out"' EXIT
trap 'exit 130' INT TERM

cannot()
{
	echo "vfio.sh cannot run: $1"
	exit 1
}

"$kit/kit" --debian12-qemu >"$out/kit" || cannot "no QEMU 7.2, or no kernel"
eval "$(cat "$out/kit")"
# shellcheck disable=SC2154 # the kit's words
"$kit/mkinitramfs" --modules "$modules" --kernel-version "$kernel_version" \
	--busybox "$busybox" --witness "$prog" --init "$kit/init" \
	-o "$out/base" >"$out/log" 2>&1 ||
	{ cat "$out/log" && cannot "no initramfs"; }
printf 'mode=none\niommu=none\nscript=/viommu/script\nlimit=90\n' >"$out/config"
"$kit/mkinitramfs" --overlay --add "$out/config:/viommu/config" \
	--add "$here/vfio_guest.sh:/viommu/script" \
	--add "$prog:/bin/viommu-vfio" -o "$out/run" >"$out/log" 2>&1 ||
	{ cat "$out/log" && cannot "no overlay"; }
cat "$out/base" "$out/run" >"$out/initrd"

# cx16: this QEMU's cmpxchg16b spoils flags, and the kernel's allocator then
# crashes, every few boots.
# shellcheck disable=SC2154
timeout 120 "$qemu" -M q35,kernel-irqchip=split -accel tcg -cpu max,cx16=off -m 512 \
	-nodefaults -display none -no-reboot \
	-serial "file:$out/console" -serial "file:$out/report" \
	-device intel-iommu,intremap=on -device edu \
	-kernel "$kernel" -initrd "$out/initrd" \
	-append "console=ttyS0 panic=-1 quiet cryptomgr.notests \
	rcupdate.rcu_expedited=1 intel_iommu=on iommu.strict=1" \
	</dev/null >"$out/log" 2>&1
rc=$?

tr -d '\r' <"$out/report" >"$out/lines"
sed -n 's/^vfio=//p' "$out/lines"
bad=0
[ $rc -eq 0 ] || { echo "QEMU: exit status $rc" && bad=1; }
grep -q '^result=pass' "$out/lines" || { echo "no result=pass" && bad=1; }
grep -qE '^vfio=\{.*"failed": 0\}' "$out/lines" ||
	{ echo "checks failed, or the program did not end" && bad=1; }
# number KEY LEAST: the program's figure is no less
number()
{
	n=$(sed -n "s/^vfio={.*\"$1\": \([0-9]*\).*/\1/p" "$out/lines")
	[ "${n:-0}" -ge "$2" ] || { echo "$1: ${n:-none}" && bad=1; }
}
number maps 70
number unmaps 70
number refusals 5
number stopped 8
number dirty_pages 2
[ $bad -eq 0 ] || { cat "$out/log" && tail -n 40 "$out/console" && cat "$out/report"; }
exit $bad
