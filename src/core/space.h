/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_SPACE_H
#define VI_CORE_SPACE_H

#include <stdatomic.h>
#include <viommu/space.h>

#include "base/list.h"
#include "base/lock.h"
#include "base/retire.h"
#include "table/radix.h"

struct vi_linear;
struct vi_misses;

struct viommu_space {
	struct viommu *vi;
	enum viommu_space_kind kind;
	enum viommu_space_policy policy;
	uint64_t start, last; /* aperture */
	uint64_t page_sizes, max_mappings;
	struct vi_misses *misses; /* REMOTE: core/miss.h */
	struct vi_linear *linear; /* LINEAR: core/linear.h */
	struct vi_radix table;	  /* writers: lock; LINEAR: stripes */
	struct vi_lock lock;
	/* notifiers that follow it.  VI_GUARDED(lock, or one stripe; to write,
	 * vi_space_lock() and vi->notify_lock) */
	uint32_t watched;
	/* who sees it.  VI_GUARDED(lock, or one stripe; to write,
	 * vi_space_lock() and vi->lock) */
	struct vi_list endpoints;
	/* mappings that were made and removed, also by cuts: the difference
	 * are there.  LINEAR: its stripes count.  VI_GUARDED(lock) */
	uint64_t mapped, unmapped;
	uint64_t credit; /* core/quota.h.  VI_GUARDED(lock) */
	uint64_t bytes;	 /* mapped, modulo 2^64.  VI_GUARDED(lock) */
	uint64_t splits; /* VI_GUARDED(lock) */
	_Atomic(uint64_t) nmisses;
	uint64_t id; /* of all spaces that the instance ever had; not 0 */
	/* grows when something mapped was taken or changed, after the table
	 * and before the fence can be committed: windows go by it */
	_Atomic(uint64_t) generation;
	struct vi_list link; /* in vi->spaces.  VI_GUARDED(vi->lock) */
	struct vi_retire retire;
};

/* Has it a table of mappings? */
static inline bool vi_space_has_table(const struct viommu_space *s)
{
	return s->kind != VIOMMU_SPACE_IDENTITY;
}

/* Keep all writers out, also those of a LINEAR space, who do not take its lock:
 * for what they go by, but the table is not. */
void vi_space_lock(struct viommu_space *s) VI_ACQUIRE(&s->lock);
void vi_space_unlock(struct viommu_space *s) VI_RELEASE(&s->lock);

/* Does an endpoint that sees it reserve a byte of [start, last]? */
bool vi_space_reserves_locked(const struct viommu_space *s, uint64_t start,
			      uint64_t last) VI_REQUIRES(&s->lock);

/* The first mapping at or after @iova; any kind. */
bool vi_space_next_locked(const struct viommu_space *s, uint64_t iova,
			  struct viommu_mapping *out) VI_REQUIRES(&s->lock);

/* Has some mapping a byte in [start, last]? */
bool vi_space_maps_locked(const struct viommu_space *s, uint64_t start,
			  uint64_t last) VI_REQUIRES(&s->lock);

/*
 * The page of @m around @iova, one of its bytes, if @m is made of the largest
 * pages of page_sizes that fit: such that IOVA and GPA are both aligned.
 */
void vi_space_page(const struct viommu_space *s, const struct viommu_mapping *m,
		   uint64_t iova, uint64_t *start, uint64_t *last);

#endif
