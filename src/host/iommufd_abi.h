/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VH_IOMMUFD_ABI_H
#define VH_IOMMUFD_ABI_H

/*
 * What we speak of the kernel's iommufd.  The systems that we build on have no
 * linux/iommufd.h, so numbers and layouts are here.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define VH_IOMMUFD(nr) _IO(';', nr)

#define VH_IOAS_IOVA_RANGES	   VH_IOMMUFD(0x84)
#define VH_IOAS_MAP		   VH_IOMMUFD(0x85)
#define VH_IOAS_UNMAP		   VH_IOMMUFD(0x86)
#define VH_HWPT_SET_DIRTY_TRACKING VH_IOMMUFD(0x8b)
#define VH_HWPT_GET_DIRTY_BITMAP   VH_IOMMUFD(0x8c)

struct vh_iova_range {
	uint64_t start;
	uint64_t last;
};

struct vh_ioas_iova_ranges {
	uint32_t size;
	uint32_t ioas;
	uint32_t n; /* in: room, out: as many as there are */
	uint32_t reserved;
	uint64_t ranges;    /* pointer */
	uint64_t alignment; /* out */
};
_Static_assert(sizeof(struct vh_ioas_iova_ranges) == 32, "ABI");

enum {
	VH_IOAS_MAP_FIXED = 1 << 0,
	VH_IOAS_MAP_WRITE = 1 << 1,
	VH_IOAS_MAP_READ = 1 << 2,
};

struct vh_ioas_map {
	uint32_t size;
	uint32_t flags;
	uint32_t ioas;
	uint32_t reserved;
	uint64_t user_va;
	uint64_t length;
	uint64_t iova;
};
_Static_assert(sizeof(struct vh_ioas_map) == 40, "ABI");

/* iova 0, length UINT64_MAX: everything. */
struct vh_ioas_unmap {
	uint32_t size;
	uint32_t ioas;
	uint64_t iova;
	uint64_t length; /* out: bytes removed */
};
_Static_assert(sizeof(struct vh_ioas_unmap) == 24, "ABI");

enum {
	VH_DIRTY_TRACKING_ENABLE = 1 << 0,
};

struct vh_hwpt_set_dirty {
	uint32_t size;
	uint32_t flags;
	uint32_t hwpt;
	uint32_t reserved;
};
_Static_assert(sizeof(struct vh_hwpt_set_dirty) == 16, "ABI");

struct vh_hwpt_get_dirty {
	uint32_t size;
	uint32_t hwpt;
	uint32_t flags;
	uint32_t reserved;
	uint64_t iova;
	uint64_t length;
	uint64_t page_size;
	uint64_t data; /* pointer */
};
_Static_assert(sizeof(struct vh_hwpt_get_dirty) == 48, "ABI");

#endif
