/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_HOST_IOMMUFD_H
#define VIOMMU_HOST_IOMMUFD_H

/**
 * @file
 * A shadow in the kernel's iommufd: as vfio.h, in an I/O address space (IOAS)
 * of /dev/iommu.
 *
 * This has not been run on a kernel: the distributions at hand are built
 * without iommufd.  It is written to the ABI, and tested against a model of it
 * at the ioctl boundary (tests/host/).
 *
 * The caller opens /dev/iommu, binds the devices, allocates the IOAS and
 * attaches them.  The IOAS is then the back-end's: nobody else maps or unmaps
 * in it.  It ends in a device's page table (HWPT), named by the caller if its
 * dirty bits are to be used.
 */

#include <viommu/host/shadow.h>

VIOMMU_BEGIN_DECLS

struct viommu_iommufd; /* a shadow */

struct viommu_iommufd_config {
	size_t size;	   /* sizeof(struct viommu_iommufd_config) */
	struct viommu *vi; /* the endpoint's */
	/** what the endpoint was made with; NULL: viommu_memory_of() */
	struct viommu_memory *memory;
	/** as in struct viommu_vfio_config */
	uint64_t piece_size;
	uint64_t max_entries;		   /* of this shadow; 0: no limit */
	viommu_shadow_trouble_fn *trouble; /* or NULL */
	void *arg;			   /* passed to @p trouble */
	int32_t fd;			   /* stays the caller's */
	uint32_t ioas;
	/** made with IOMMU_HWPT_ALLOC_DIRTY_TRACKING; 0: none, all that a
	 * device may write counts as written */
	uint32_t hwpt;
	/** 1: bits of what goes are read before it goes.  The kernel has no one
	 * step for both, so what the device writes in between is missed.  0:
	 * all that it could write there counts as written */
	uint32_t read_before_unmap;
};

/**
 * Make the IOAS follow an endpoint: all it sees now, and each change.  What the
 * kernel cannot map is reserved at the endpoint as by viommu_vfio_add().
 *
 * @param ep  endpoint, attached or not
 * @param cfg which IOAS; copied
 * @param out the new shadow, owned by the caller
 * @return as viommu_vfio_add(); -ENODEV (the descriptor is no iommufd, or has
 *         no such IOAS)
 *
 * Context: any thread but a notifier's callback.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_iommufd_add(struct viommu_endpoint *ep,
		   const struct viommu_iommufd_config *cfg,
		   struct viommu_iommufd **out);

/**
 * Take everything out of the IOAS.  The handle is dead on return.
 *
 * @param i shadow, or NULL
 * @param f fence: once done the device can touch nothing; as
 *          viommu_vfio_remove()
 *
 * Context: any thread but a notifier's callback; before viommu_destroy().
 */
VIOMMU_API void viommu_iommufd_remove(struct viommu_iommufd *i,
				      struct viommu_fence *f);

/**
 * Try again to remove what is stuck.
 *
 * @param i shadow
 * @return 0 (nothing is, and nobody waits for it any more), -EBUSY (something
 *         still is)
 *
 * Context: as viommu_vfio_retry().
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_iommufd_retry(struct viommu_iommufd *i);

/**
 * Read the counters.
 *
 * @param i   shadow
 * @param out a snapshot
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_iommufd_read_stats(struct viommu_iommufd *i,
					  struct viommu_shadow_stats *out);

VIOMMU_END_DECLS

#endif
