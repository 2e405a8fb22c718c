/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SPACE_H
#define VIOMMU_SPACE_H

/**
 * @file
 * Spaces: what IOVAs mean.  (IOMMU people say "domain"; that word is left to
 * the guests' own numbers.)
 *
 * Mapping boundaries are kept: a mapping is one viommu_space_map(), adjacent
 * ones are never merged, and an unmap that would cut one is refused.
 */

#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

enum viommu_space_kind {
	/** ours: a radix table, filled by map and unmap */
	VIOMMU_SPACE_MAPPED,
	/** IOVA is GPA, all permissions (bypass) */
	VIOMMU_SPACE_IDENTITY,
};

struct viommu_space_config {
	size_t size;	     /* sizeof(struct viommu_space_config) */
	uint32_t kind;	     /* enum viommu_space_kind */
	uint32_t reserved;   /* 0 */
	viommu_iova_t start; /* aperture; both 0: everything */
	viommu_iova_t last;
	/** bit n: pages of 2^n bytes; the lowest is the granule, down to one
	 * byte; 0 is refused */
	uint64_t page_sizes;
};

/**
 * Make an empty space.
 *
 * @param vi  instance
 * @param cfg what kind; copied
 * @param out the new space, owned by the caller
 * @return 0, -EINVAL (unknown kind or option, last < start, no page size, or
 *         a granule above 2^30), -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_space_create(struct viommu *vi, const struct viommu_space_config *cfg,
		    struct viommu_space **out);

/**
 * Detach every endpoint and forget every mapping.  The handle is dead on
 * return; its memory is freed when the fence is done.
 *
 * @param space space
 * @param f     fence
 *
 * Context: any thread; does not block; cannot fail.
 */
VIOMMU_API void viommu_space_destroy(struct viommu_space *space,
				     struct viommu_fence *f);

/**
 * Add a mapping, all of it or none.
 *
 * @param space MAPPED
 * @param m     start, last + 1 and gpa are multiples of the granule
 * @return 0, -EINVAL (last < start, no or unknown prot, or an IDENTITY space),
 *         -ERANGE (off the granule, outside the aperture, gpa wraps; or, with
 *         a granule of 2^n < 256, gpa 2^(55+n) or more away from start),
 *         -EADDRNOTAVAIL (on a range that an attached endpoint reserves),
 *         -EEXIST (overlaps a mapping), -ENOSPC (max_mappings), -ENOMEM
 *
 * Context: any thread; writers of one space take turns, DMA goes on.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_space_map(struct viommu_space *space, const struct viommu_mapping *m);

/**
 * Remove every mapping inside [start, last]; holes are fine.
 *
 * @param space MAPPED
 * @param start first byte, any
 * @param last  last byte, any
 * @param f     fence: gathers [start, last], also where nothing was mapped
 *              any more: a removal that another fence still waits for is
 *              waited for here, too
 * @return the bytes removed (INT64_MAX if more); -EINVAL (last < start, or an
 *         IDENTITY space), -ERANGE (would cut a mapping); on error nothing
 *         has changed
 *
 * Context: any thread; allocates nothing; new accesses may go on through the
 * old mapping until @p f is committed.
 */
VIOMMU_API VIOMMU_MUST_CHECK int64_t
viommu_space_unmap(struct viommu_space *space, viommu_iova_t start,
		   viommu_iova_t last, struct viommu_fence *f);

/**
 * Find the first mapping whose last is at or after @p iova: the iterator.
 *
 * @param space MAPPED or IDENTITY
 * @param iova  where to start looking
 * @param out   a copy of the mapping as it was made
 * @return 0, -ENOENT (none)
 *
 * Context: any thread; the answer may be old by the time it is read.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_space_next(struct viommu_space *space,
						   viommu_iova_t iova,
						   struct viommu_mapping *out);

VIOMMU_END_DECLS

#endif
