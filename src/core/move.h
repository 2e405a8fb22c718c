/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_MOVE_H
#define VI_CORE_MOVE_H

#include "core/memory.h"

struct vi_move;

/* One that is under way and has a byte of [gpa, last], or NULL. */
struct vi_move *vi_move_find_locked(struct viommu_memory *mem, uint64_t gpa,
				    uint64_t last) VI_REQUIRES(&mem->lock);

/* Have notifiers been told that @r goes? */
bool vi_move_hides_locked(struct viommu_memory *mem, const struct vi_region *r)
	VI_REQUIRES(&mem->lock);

/* Does any move wait for a map of @ep, or of this thread's, who must wait for
 * none then? */
bool vi_move_awaits(struct viommu_memory *mem,
		    const struct viommu_endpoint *ep);

/* The memory is being destroyed: all are off, and @f, which has gathered, waits
 * for them. */
void vi_moves_cancel_locked(struct viommu_memory *mem, struct viommu_fence *f)
	VI_REQUIRES(&mem->lock);

/*
 * This thread calls somebody on whom a move may depend: accesses in there do
 * not wait for one, but fail.  Nests.
 */
void vi_nowait_begin(void);
void vi_nowait_end(void);
bool vi_nowait(void);

/*
 * Until @gpa is not being moved.  Meanwhile this thread looks at deadlines, and
 * tells of fences that are done: in a done callback it may stand before the one
 * that it waits for.  The caller has no pin that names a memory, and no lock.
 */
void vi_move_wait(struct viommu_memory *mem, uint64_t gpa);

#endif
