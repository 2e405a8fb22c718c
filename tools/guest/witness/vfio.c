/* SPDX-License-Identifier: BSD-2-Clause */
#include "vfio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "function.h"
#include "say.h"

struct vfio vfio = { .container = -1, .group = -1, .fd = -1 };

void vfio_open(void)
{
	char group[64], path[128];
	struct vfio_group_status status = { .argsz = sizeof(status) };

	function_link("iommu_group", group, sizeof(group));
	if (!group[0])
		die("%s is in no IOMMU group: no IOMMU in front of it",
		    function.bdf);
	vfio.container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (vfio.container < 0)
		die("open /dev/vfio/vfio: %s", strerror(errno));
	if (ioctl(vfio.container, VFIO_GET_API_VERSION) != VFIO_API_VERSION)
		die("VFIO of another version than %d", VFIO_API_VERSION);
	if (ioctl(vfio.container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) <=
	    0)
		die("VFIO has no type1v2: is vfio_iommu_type1 loaded?");

	snprintf(path, sizeof(path), "/dev/vfio/%s", group);
	vfio.group = open(path, O_RDWR | O_CLOEXEC);
	if (vfio.group < 0)
		die("open %s: %s", path, strerror(errno));
	if (ioctl(vfio.group, VFIO_GROUP_GET_STATUS, &status) < 0)
		die("status of %s: %s", path, strerror(errno));
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		die("group %s is not viable: it has other bound functions",
		    group);
	if (ioctl(vfio.group, VFIO_GROUP_SET_CONTAINER, &vfio.container) < 0)
		die("set container of group %s: %s", group, strerror(errno));
	if (ioctl(vfio.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
		die("set type1v2: %s%s", strerror(errno),
		    errno == EPERM ? " (set allow_unsafe_interrupts=1 of "
				     "vfio_iommu_type1)"
				   : "");
	vfio.fd = ioctl(vfio.group, VFIO_GROUP_GET_DEVICE_FD, function.bdf);
	if (vfio.fd < 0)
		die("get the device %s: %s", function.bdf, strerror(errno));
}

uint64_t region_offset(uint32_t index, uint64_t least)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = index,
	};

	if (ioctl(vfio.fd, VFIO_DEVICE_GET_REGION_INFO, &info) < 0)
		die("region %u: %s", index, strerror(errno));
	if (info.size < least)
		die("region %u has %llu bytes, want %llu", index,
		    (unsigned long long)info.size, (unsigned long long)least);
	return info.offset;
}

void function_enable(void)
{
	uint64_t config;
	uint16_t command;
	off_t at;

	config = region_offset(VFIO_PCI_CONFIG_REGION_INDEX, 64);
	at = (off_t)config + PCI_COMMAND;
	if (pread(vfio.fd, &command, 2, at) != 2)
		die("read the PCI command register: %s", strerror(errno));
	command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	command &= (uint16_t)~PCI_COMMAND_INTX_DISABLE;
	if (pwrite(vfio.fd, &command, 2, at) != 2)
		die("write the PCI command register: %s", strerror(errno));
}
