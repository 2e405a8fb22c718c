/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_MOVE_H
#define VI_CORE_MOVE_H

#include "core/memory.h"

struct vi_move;

/* One that is under way and has a byte of [gpa, last], or NULL. */
struct vi_move *vi_move_find_locked(struct viommu_memory *mem, uint64_t gpa,
				    uint64_t last) VI_REQUIRES(&mem->lock);

/* The memory is being destroyed: all are off, and @f, which has gathered, waits
 * for them. */
void vi_moves_cancel_locked(struct viommu_memory *mem, struct viommu_fence *f)
	VI_REQUIRES(&mem->lock);

/* Until @gpa is not being moved; deadlines are looked at meanwhile.  The caller
 * has no pin that names a memory, and no lock. */
void vi_move_wait(struct viommu_memory *mem, uint64_t gpa);

#endif
