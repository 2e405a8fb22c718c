/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_WIRING_H
#define TOOLS_WIRING_H

#include <stdbool.h>

/* Whose IOMMU is in front of the guest's disk. */
enum wiring_iommu {
	IOMMU_NONE,
	IOMMU_OURS, /* virtio-iommu, in this process */
	IOMMU_QEMU_VIRTIO,
	IOMMU_QEMU_VTD,
};

/* Who the disk is. */
enum wiring_disk {
	DISK_VFIO_USER,	 /* ours, in this process */
	DISK_VHOST_USER, /* ours, in a process of its own */
	DISK_QEMU,	 /* QEMU's own virtio-blk */
};

struct wiring {
	enum wiring_iommu iommu;
	enum wiring_disk disk;
	bool strict; /* the guest waits for each unmap */
};

const char *wiring_iommu_name(enum wiring_iommu iommu);
const char *wiring_disk_name(enum wiring_disk disk);

/* The values of --iommu and --disk-by. */
bool option_wiring_iommu(const char *value, enum wiring_iommu *iommu);
bool option_wiring_disk(const char *value, enum wiring_disk *disk);

/* Why it cannot be had, or NULL. */
const char *wiring_fault(const struct wiring *w);

/* The type that the guest's kernel gives the disk's IOMMU group. */
const char *wiring_group(const struct wiring *w);

#endif
