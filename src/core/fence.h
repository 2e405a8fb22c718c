/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_FENCE_H
#define VI_CORE_FENCE_H

#include <viommu/fence.h>

#include "base/retire.h"
#include "core/pin.h"

/* L1: @f takes @what of @vi, or nothing, if NULL: it may retire.  May widen
 * what it took before. */
void vi_fence_gather(struct viommu_fence *f, struct viommu *vi,
		     const struct vi_extent *what);

/* L8: free @list when @f is done.  After a gather. */
void vi_fence_retire(struct viommu_fence *f, struct vi_retire *list);

/* Maps that are held for reading only are not in its way.  Before commit. */
void vi_fence_writers_only(struct viommu_fence *f);

/* @own is a move's: told of before others, and by who waits for one.  With @f,
 * its caller's, it waits as long as that.  Before commit. */
void vi_fence_of_move(struct viommu_fence *own, const struct viommu_fence *f);

/* viommu_fence_release(), less settling. */
void vi_fence_unhold(struct viommu_fence *f);

/* A pin went, or the map @gone of an index: are there fences that waited for
 * it only?  Their callbacks run. */
void vi_fence_settle(struct viommu *vi, const struct vi_held *gone);

/* Tell of those moves' fences that are done, in the place of who found that:
 * who may be this very thread, in the callback of another. */
void vi_fence_help(struct viommu *vi);

/*
 * The table was changed: make the taker's order (pin.h, first pair).  The
 * number of this change: accesses that began before have it or a lesser one.
 */
uint64_t vi_fence_number(struct viommu *vi);

/* Is nobody in the way of @t, whose number was taken? */
bool vi_fence_clear(struct viommu *vi, const struct vi_taking *t);

/* Does a pending fence wait for the map @h, which the caller holds? */
bool vi_fence_waits(struct viommu *vi, const struct vi_held *h);

/* When vi_fence_expire() has something to do, or UINT64_MAX. */
uint64_t vi_fence_deadline(struct viommu *vi);

/* For who sleeps otherwise: has a deadline passed?  Callbacks run.  And when to
 * look again, on CLOCK_MONOTONIC, or UINT64_MAX. */
void vi_fence_look(struct viommu *vi);
uint64_t vi_fence_wake(struct viommu *vi);

/* Somebody whom @f, which is held, waits for has been given up: it has failed.
 */
void vi_fence_fail(struct viommu_fence *f);

/* L9: deadlines up to @now have passed.  Callbacks run. */
void vi_fence_expire(struct viommu *vi, uint64_t now);

/* The shortest wait that is counted in a bucket of vi->waits, nanoseconds. */
uint64_t vi_fence_wait_of_bucket(unsigned bucket);

#endif
