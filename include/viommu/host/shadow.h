/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_HOST_SHADOW_H
#define VIOMMU_HOST_SHADOW_H

/**
 * @file
 * What the back-ends for a host's IOMMU (vfio.h, iommufd.h) have in common.
 * Both keep a *shadow* in the kernel of what an endpoint sees, so that a real
 * device goes by it.
 *
 * An *entry* is one mapping in the kernel: a piece of a guest's mapping that
 * leads to one region of memory.  Mappings of device memory (VIOMMU_MMIO), and
 * parts that lead to no memory or to a region that is a device, have none;
 * permissions are those that mapping and region both grant.  The kernel removes
 * whole entries only.  So where a guest takes a part of one, or of the memory
 * that it leads to, all of it is taken out and what stays is put back:
 * meanwhile the device's accesses to what stays fault.  With a piece_size no
 * entry crosses a multiple of it, and taking whole pieces disturbs nothing
 * else, for more entries.
 *
 * What the kernel refuses the guest is refused.  Two things can still go wrong
 * after it was promised, and are told to the trouble handler:
 *
 *  - the kernel does not take back what stays: it is lost, the device faults
 *    there until the guest maps it anew;
 *  - the kernel fails to take an entry out: it is stuck.  Each fence that waits
 *    for it is held, and its deadline decides about the endpoint (L9), until
 *    the back-end's retry succeeds.  Nothing is mapped in its place.
 */

#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

enum viommu_shadow_trouble {
	/** a part of an entry stays mapped for the guest, not in the host,
	 * which has no room for it, or of whose page memory was given up; or
	 * everything: what a request took away that was then refused could not
	 * be put back, and the shadow follows no more (VIOMMU_GONE_LOST) */
	VIOMMU_SHADOW_LOST,
	/** an entry cannot be removed: fences are held until it can be */
	VIOMMU_SHADOW_STUCK,
	/** the host refused to map, and the guest is told -EIO */
	VIOMMU_SHADOW_REFUSED,
};

/** Trouble with [start, last]; @p err is the kernel's errno.  Runs within a
 * notifier's callback, or viommu_vfio_retry() and the like: may do what those
 * may, and must not call the back-end. */
typedef void viommu_shadow_trouble_fn(void *arg,
				      enum viommu_shadow_trouble what,
				      viommu_iova_t start, viommu_iova_t last,
				      int err);

/** What a shadow has, and had from its beginning on. */
struct viommu_shadow_stats {
	uint64_t mappings;    /* that the endpoint sees now */
	uint64_t entries;     /* in the host now */
	uint64_t max_entries; /* that it may have */
	uint64_t bytes;	      /* in the host now */
	uint64_t maps;	      /* entries that were made */
	uint64_t unmaps;      /* entries that were removed */
	uint64_t calls;	      /* of the kernel, to map or unmap */
	uint64_t cuts;	      /* removed because a part of them went */
	uint64_t refused;     /* requests of the guest */
	uint64_t lost;	      /* remains of cuts that were not taken back */
	uint64_t stuck;	      /* entries now that cannot be removed */
	uint64_t held;	      /* fences that waited for such */
	uint64_t gone;	      /* 1: it follows nobody any more, and is empty */
	uint64_t dirty_pages; /* that were marked, of the host's page size */
};

VIOMMU_END_DECLS

#endif
