/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_DIRTY_H
#define VI_CORE_DIRTY_H

/*
 * The dirty log of a memory: a bit for each page that was written, by GPA.
 *
 * Who writes marks after the data is written and before his pin is dropped; who
 * fetches clears the bit and copies the page afterwards.  So the copy has the
 * data, or the bit is there for the next fetch.  A bit that is set already is
 * not set again, which costs a load, but leaves the writer without a barrier
 * between his data and that load: the fetch calls membarrier(2) between
 * clearing and returning.  Where there is none, a mark always is a
 * read-modify-write.
 *
 * While there is no log a mark is one load from the line of the memory that
 * the access has read anyway.
 */

#include <sys/uio.h>

#include "core/instance.h"
#include "core/memory.h"

/* Is there a log?  Sequentially consistent, as the look at a table: who does
 * not see the log has a pin that the fence of the start sees. */
static inline bool vi_dirty_on(const struct viommu_memory *mem)
{
	return VI_UNLIKELY(atomic_load(&mem->dirty) != NULL);
}

void vi_dirty_mark_slow(struct viommu_memory *mem, uint64_t gpa, uint64_t len);
void vi_dirty_mark_held_slow(struct viommu_memory *mem, uint64_t gpa,
			     uint64_t len);
void vi_dirty_mark_host_slow(struct viommu_memory *mem, const struct iovec *iov,
			     uint32_t niov, uint64_t written);

/* [gpa, gpa + len - 1] was written, len > 0.  The writer's pin is BUSY. */
static inline void vi_dirty_mark(struct viommu_memory *mem, uint64_t gpa,
				 uint64_t len)
{
	if (vi_dirty_on(mem))
		vi_dirty_mark_slow(mem, gpa, len);
}

/* A held map is no BUSY pin, which the log would stay for: it looks under the
 * memory's lock.  A start orders its look and what it wrote by membarrier(2),
 * or, where there is none, it does so itself. */
static inline bool vi_dirty_on_held(const struct viommu_memory *mem)
{
	if (VI_UNLIKELY(!mem->vi->membarrier))
		atomic_thread_fence(memory_order_seq_cst);
	return vi_dirty_on(mem);
}

/* The same for a map that is held.  No lock of the library's is held. */
static inline void vi_dirty_mark_held(struct viommu_memory *mem, uint64_t gpa,
				      uint64_t len)
{
	if (vi_dirty_on_held(mem))
		vi_dirty_mark_held_slow(mem, gpa, len);
}

/* Likewise, when the pieces are not one range of GPA: the first @written bytes
 * of @iov, wherever regions show them. */
static inline void vi_dirty_mark_host(struct viommu_memory *mem,
				      const struct iovec *iov, uint32_t niov,
				      uint64_t written)
{
	if (vi_dirty_on_held(mem))
		vi_dirty_mark_host_slow(mem, iov, niov, written);
}

/* ---- for memory.c ----------------------------------------------------- */

/* Before a region is added: log it.  -ENOMEM. */
int vi_dirty_cover_locked(struct viommu_memory *mem, const struct vi_region *r)
	VI_REQUIRES(&mem->lock);

/* A region has been cut in two, at @at. */
void vi_dirty_split_locked(struct viommu_memory *mem, uint64_t at)
	VI_REQUIRES(&mem->lock);

/* Before @r takes the place of regions that cover it: what they were logged
 * with stays.  Cannot fail. */
void vi_dirty_inherit_locked(struct viommu_memory *mem,
			     const struct vi_region *r) VI_REQUIRES(&mem->lock);

/* After it was removed; with @gone NULL, because it could not be added. */
void vi_dirty_uncover_locked(struct viommu_memory *mem,
			     const struct vi_region *r, struct vi_retire **gone)
	VI_REQUIRES(&mem->lock);

#endif
