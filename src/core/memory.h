/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_MEMORY_H
#define VI_CORE_MEMORY_H

#include <viommu/memory.h>

#include "base/itree.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/retire.h"
#include "table/radix.h"

struct vi_dirty;

struct vi_region {
	struct vi_retire retire;
	struct viommu_memory *mem; /* has a reference */
	uint64_t gpa, last;
	struct vi_inode by_gpa;	    /* in the memory's trees of regions */
	struct vi_inode host;	    /* where it is, in by_host */
	struct vi_backing *backing; /* or NULL: the caller's pointer */
	uint32_t prot;
};

/*
 * One tree from GPA to pointer, byte-granular, which accesses read without a
 * lock; and beside it the regions, by GPA and by where they are, for those who
 * add and remove.  There may be a hundred thousand, some thousands of which
 * come and go each second: nothing here takes a time that grows with their
 * number, but with its logarithm.
 */
struct viommu_memory {
	/* one line, which every access reads: to the table's top */
	_Alignas(64) struct viommu *vi;
	_Atomic(struct vi_dirty *) dirty; /* or NULL; writers: lock */
	/* another one when a region went: as a space's, but no two memories
	 * ever have the same, nor is it 0 */
	_Atomic(uint64_t) generation;
	struct vi_radix table; /* writers: lock */

	_Alignas(64) struct vi_lock lock;
	struct vi_itree by_gpa;	 /* VI_GUARDED(lock) */
	struct vi_itree by_host; /* VI_GUARDED(lock) */

	struct vi_lock backings_lock;
	struct vi_itree backings; /* VI_GUARDED(backings_lock), by file */

	_Atomic(uint64_t) refs; /* the handle's, and one a region */
	struct vi_retire retire;
};

/* The first region with a byte in [gpa, last], or NULL. */
struct vi_region *vi_memory_first_locked(struct viommu_memory *mem,
					 uint64_t gpa, uint64_t last)
	VI_REQUIRES(&mem->lock);

/* The next one after @r with a byte up to @last, or NULL. */
struct vi_region *vi_memory_after_locked(struct viommu_memory *mem,
					 const struct vi_region *r,
					 uint64_t last) VI_REQUIRES(&mem->lock);

/* The part of [gpa, gpa + len - 1] (len > 0) that lies in one piece at *host:
 * its length, or 0 if gpa is not memory with @prot (READ, WRITE). */
static inline uint64_t vi_memory_host(const struct viommu_memory *mem,
				      uint64_t gpa, uint64_t len, uint32_t prot,
				      void **host)
{
	unsigned lg2;
	uint64_t e = vi_radix_find(&mem->table, gpa, &lg2), rest;

	if (VI_UNLIKELY(!e || (prot & ~vi_leaf_prot(e)))) {
		*host = NULL;
		return 0;
	}
	*host = (void *)(uintptr_t)vi_leaf_target(&mem->table, e, gpa);
	rest = ~gpa & vi_mask(lg2); /* bytes of the leaf after this one */
	return rest < len - 1 ? rest + 1 : len;
}

#endif
