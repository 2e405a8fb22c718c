/* SPDX-License-Identifier: BSD-2-Clause */
#include "wiring.h"

#include <stddef.h>
#include <string.h>

#include "say.h"

static const char *const iommus[] = {
	[IOMMU_NONE] = "none",
	[IOMMU_OURS] = "virtio",
	[IOMMU_QEMU_VIRTIO] = "qemu-virtio",
	[IOMMU_QEMU_VTD] = "qemu-vtd",
};

static const char *const disks[] = {
	[DISK_VFIO_USER] = "vfio-user",
	[DISK_VHOST_USER] = "vhost-user",
	[DISK_QEMU] = "qemu",
};

const char *wiring_iommu_name(enum wiring_iommu iommu)
{
	return iommus[iommu];
}

const char *wiring_disk_name(enum wiring_disk disk)
{
	return disks[disk];
}

bool option_wiring_iommu(const char *value, enum wiring_iommu *iommu)
{
	for (size_t i = 0; i < sizeof(iommus) / sizeof(iommus[0]); i++)
		if (!strcmp(value, iommus[i])) {
			*iommu = (enum wiring_iommu)i;
			return true;
		}
	complain("--iommu %s: want virtio, qemu-virtio, qemu-vtd or none",
		 value);
	return false;
}

bool option_wiring_disk(const char *value, enum wiring_disk *disk)
{
	for (size_t i = 0; i < sizeof(disks) / sizeof(disks[0]); i++)
		if (!strcmp(value, disks[i])) {
			*disk = (enum wiring_disk)i;
			return true;
		}
	complain("--disk-by %s: want vfio-user, vhost-user or qemu", value);
	return false;
}

const char *wiring_fault(const struct wiring *w)
{
	if (w->strict && w->iommu == IOMMU_NONE)
		return "--strict is of no use with --iommu none";
	if (w->iommu == IOMMU_OURS && w->disk != DISK_VFIO_USER)
		return "--iommu virtio translates for a disk that comes by "
		       "vfio-user only: give --iommu qemu-virtio";
	return NULL;
}

/* Where an IOMMU may cache what is not there (VT-d's caching mode), Linux
 * never gathers unmaps. */
const char *wiring_group(const struct wiring *w)
{
	if (w->iommu == IOMMU_NONE)
		return "none";
	return w->strict || w->iommu == IOMMU_QEMU_VTD ? "DMA" : "DMA-FQ";
}
