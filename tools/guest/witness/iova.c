/* SPDX-License-Identifier: BSD-2-Clause */
#include "iova.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "arena.h"
#include "clock.h"
#include "say.h"
#include "vfio.h"

uint64_t page, base;

/*
 * Chooses the page size and the IOVA base: 1 GiB if the IOMMU lets us, clear
 * of the MSI windows; else the first range that has room.
 */
void iova_choose(void)
{
	static _Alignas(8) char buf[4096];
	struct vfio_iommu_type1_info *info = (void *)buf;
	struct vfio_iommu_type1_info_cap_iova_range *cap;
	struct vfio_info_cap_header *header;
	uint64_t len, first = 0;
	uint32_t at, i;

	info->argsz = sizeof(buf);
	if (ioctl(vfio.container, VFIO_IOMMU_GET_INFO, info) < 0)
		die("IOMMU info: %s", strerror(errno));
	page = (uint64_t)sysconf(_SC_PAGESIZE);
	if (info->flags & VFIO_IOMMU_INFO_PGSIZES && info->iova_pgsizes) {
		uint64_t least = info->iova_pgsizes & -info->iova_pgsizes;

		if (least > page)
			page = least;
	}
	len = SPAN * page;
	if (len > ARENA_LEN)
		die("the IOMMU's smallest page, %llu bytes, is too large",
		    (unsigned long long)page);

	base = 1u << 30;
	if (!(info->flags & VFIO_IOMMU_INFO_CAPS) || info->argsz > sizeof(buf))
		return;
	for (at = info->cap_offset; at; at = header->next) {
		header = (void *)(buf + at);
		if (header->id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			continue;
		cap = (void *)header;
		for (i = 0; i < cap->nr_iovas; i++) {
			uint64_t start = cap->iova_ranges[i].start;
			uint64_t last = cap->iova_ranges[i].end;

			note("usable IOVAs: 0x%llx-0x%llx",
			     (unsigned long long)start,
			     (unsigned long long)last);
			if (start <= base && base + len - 1 <= last)
				return;
			start = (start + page - 1) / page * page;
			if (!first && start && start <= last &&
			    last - start >= len)
				first = start;
		}
		if (!first)
			die("no usable range of 0x%llx IOVAs",
			    (unsigned long long)len);
		base = first;
	}
}

void map(uint64_t at, uint64_t pages, uint64_t from, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m),
		.flags = flags,
		.vaddr = (uintptr_t)(arena + from * page),
		.iova = base + at * page,
		.size = pages * page,
	};

	if (ioctl(vfio.container, VFIO_IOMMU_MAP_DMA, &m) < 0)
		die("map 0x%llx: %s", (unsigned long long)m.iova,
		    strerror(errno));
}

uint64_t unmap(uint64_t at, uint64_t pages)
{
	struct vfio_iommu_type1_dma_unmap u = {
		.argsz = sizeof(u),
		.iova = base + at * page,
		.size = pages * page,
	};
	uint64_t start = now_us();

	if (ioctl(vfio.container, VFIO_IOMMU_UNMAP_DMA, &u) < 0)
		die("unmap 0x%llx: %s", (unsigned long long)u.iova,
		    strerror(errno));
	if (u.size != pages * page)
		die("unmap 0x%llx: %llu bytes instead of %llu",
		    (unsigned long long)u.iova, (unsigned long long)u.size,
		    (unsigned long long)(pages * page));
	return now_us() - start;
}

void map_all(void)
{
	const uint32_t r = VFIO_DMA_MAP_FLAG_READ;
	const uint32_t w = VFIO_DMA_MAP_FLAG_WRITE;

	map(AT_RW, 2, AT_RW, r | w);
	map(AT_RO, 1, AT_RO, r);
	map(AT_WO, 1, AT_WO, w);
	map(AT_SEAM, 1, AT_SEAM, r | w);
	map(AT_SEAM + 1, 1, AT_SEAM + 1, r);
}
