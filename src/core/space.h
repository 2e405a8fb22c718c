/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_SPACE_H
#define VI_CORE_SPACE_H

#include <viommu/space.h>

#include "base/list.h"
#include "base/lock.h"
#include "base/retire.h"
#include "table/radix.h"

struct viommu_space {
	struct viommu *vi;
	enum viommu_space_kind kind;
	uint64_t start, last;  /* aperture */
	struct vi_radix table; /* writers: lock */
	struct vi_lock lock;
	/* who sees it.  VI_GUARDED(both lock and vi->lock to write) */
	struct vi_list endpoints;
	uint64_t mappings; /* VI_GUARDED(lock) */
	struct vi_retire retire;
};

/* The first mapping at or after @iova; any kind. */
bool vi_space_next_locked(const struct viommu_space *s, uint64_t iova,
			  struct viommu_mapping *out) VI_REQUIRES(&s->lock);

/* Has some mapping a byte in [start, last]? */
bool vi_space_maps_locked(const struct viommu_space *s, uint64_t start,
			  uint64_t last) VI_REQUIRES(&s->lock);

#endif
