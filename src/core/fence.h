/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_FENCE_H
#define VI_CORE_FENCE_H

#include <viommu/fence.h>

#include "base/retire.h"
#include "core/pin.h"

/* L1: @f takes @what of @vi.  May widen what it took before. */
void vi_fence_gather(struct viommu_fence *f, struct viommu *vi,
		     const struct vi_extent *what);

/* L8: free @list when @f is done.  After a gather. */
void vi_fence_retire(struct viommu_fence *f, struct vi_retire *list);

/* A pin went: are there fences that waited for it only? */
void vi_fence_settle(struct viommu *vi);

/* The shortest wait that is counted in a bucket of vi->waits, nanoseconds. */
uint64_t vi_fence_wait_of_bucket(unsigned bucket);

#endif
