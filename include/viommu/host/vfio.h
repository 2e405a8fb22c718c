/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_HOST_VFIO_H
#define VIOMMU_HOST_VFIO_H

/**
 * @file
 * A shadow in the kernel's VFIO, type 1 version 2: a real device, assigned to
 * the guest, sees through the host's IOMMU what its endpoint sees.
 *
 * The caller opens /dev/vfio/vfio, adds the groups, and sets the IOMMU to
 * VFIO_TYPE1v2_IOMMU.  The container is then the back-end's: nobody else maps
 * or unmaps in it.  Devices that share a container share one endpoint.
 */

#include <viommu/host/shadow.h>

VIOMMU_BEGIN_DECLS

struct viommu_vfio; /* a shadow */

struct viommu_vfio_config {
	size_t size;	   /* sizeof(struct viommu_vfio_config) */
	struct viommu *vi; /* the endpoint's */
	/** what the endpoint was made with; NULL: viommu_memory_of() */
	struct viommu_memory *memory;
	/** a power of two from the host's page size up: no entry crosses a
	 * multiple of it; 0: entries are as long as they can be */
	uint64_t piece_size;
	/** of this shadow; 0: as many as the kernel has left, 65,535 unless its
	 * module was told otherwise */
	uint64_t max_entries;
	viommu_shadow_trouble_fn *trouble; /* or NULL */
	void *arg;			   /* passed to @p trouble */
	int32_t container;		   /* stays the caller's */
	uint32_t reserved;		   /* 0 */
};

/**
 * Make the container follow an endpoint: all it sees now, and each change.
 *
 * What the kernel cannot map (outside its IOVA ranges, interrupt doorbells) is
 * reserved at the endpoint first, unless it is reserved already, and stays so
 * whatever happens.
 *
 * @param ep  endpoint, attached or not
 * @param cfg which container; copied
 * @param out the new shadow, owned by the caller
 * @return 0, -EINVAL (no instance, an option from a later version, or a piece
 *         size that is no power of two or less than the host's page), -ENODEV
 *         (the container is no type 1 IOMMU), -EBUSY (the endpoint's space maps
 *         what the kernel cannot), -ERANGE (what it sees is not aligned to the
 *         host's pages), -ENOSPC (more entries than there may be), -EIO (the
 *         kernel refused to map for a reason that the trouble handler was
 *         told), -ENOMEM (or more memory than RLIMIT_MEMLOCK lets be pinned)
 *
 * From then on the last four are what viommu_space_map(),
 * viommu_endpoint_attach() and viommu_memory_add() may fail with, too, and
 * -EBUSY if an entry is stuck there; -ENOSPC and -ERANGE what
 * viommu_space_unmap() may.
 *
 * Context: any thread but a notifier's callback.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_vfio_add(struct viommu_endpoint *ep,
		const struct viommu_vfio_config *cfg, struct viommu_vfio **out);

/**
 * Take everything out of the container.  The handle is dead on return, the
 * container the caller's again.
 *
 * @param v shadow, or NULL
 * @param f fence: once done the device can touch nothing.  If an entry is stuck
 *          for good it never is: what was mapped must not be reused
 *
 * Context: any thread but a notifier's callback; before viommu_destroy().
 */
VIOMMU_API void viommu_vfio_remove(struct viommu_vfio *v,
				   struct viommu_fence *f);

/**
 * Try again to remove what is stuck.
 *
 * @param v shadow
 * @return 0 (nothing is, and nobody waits for it any more), -EBUSY (something
 *         still is)
 *
 * Context: any thread but a notifier's callback; done callbacks of fences may
 * run here.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_vfio_retry(struct viommu_vfio *v);

/**
 * Read the counters.
 *
 * @param v   shadow
 * @param out a snapshot
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_vfio_read_stats(struct viommu_vfio *v,
				       struct viommu_shadow_stats *out);

VIOMMU_END_DECLS

#endif
