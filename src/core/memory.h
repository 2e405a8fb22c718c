/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_MEMORY_H
#define VI_CORE_MEMORY_H

#include <viommu/memory.h>

#include "base/itree.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/retire.h"
#include "core/region.h"
#include "table/radix.h"

struct vi_dirty;

/*
 * Permissions of leaves in a memory's tree, besides READ and WRITE.  Where a
 * device answers there is neither of those, so that what goes by the table
 * alone stops there, and asks; the region has its permissions.
 */
enum {
	/* a map for writing may begin; accesses need WRITE only */
	VI_MAPPABLE = VIOMMU_EXEC,
	/* it is being moved: no MAPPABLE, then no WRITE either, and who wants
	 * that has to wait */
	VI_MOVING = VIOMMU_PRIV,
	VI_LEADS_TO_DEVICE = VIOMMU_MMIO,
};

/* What a map that needs @prot needs of memory. */
static inline uint32_t vi_map_prot(uint32_t prot)
{
	_Static_assert(VI_MAPPABLE == VIOMMU_WRITE << 1, "the shift");
	return prot | (prot & VIOMMU_WRITE) << 1;
}

/* The leaves of @r, which is not being moved. */
static inline uint32_t vi_region_leaf(const struct vi_region *r)
{
	return r->device ? VI_LEADS_TO_DEVICE : vi_map_prot(r->prot);
}

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
	/* odd while leaves are made to lead elsewhere, one by one: until then
	 * what is next to each other may not seem so */
	_Atomic(uint64_t) turns;

	_Alignas(64) struct vi_lock lock;
	struct vi_itree by_gpa;	 /* VI_GUARDED(lock) */
	struct vi_itree by_host; /* VI_GUARDED(lock) */
	struct vi_list moves;	 /* under way: core/move.c.  VI_GUARDED(lock) */
	pthread_cond_t moved;	 /* something is no longer being moved */

	struct vi_lock backings_lock;
	struct vi_itree backings; /* VI_GUARDED(backings_lock), by file */

	_Atomic(uint64_t) refs; /* the handle's, and one a region */
	struct vi_retire retire;
};

void vi_memory_get(struct viommu_memory *mem);
void vi_memory_put(struct viommu_memory *mem);

/* Something came to lead elsewhere, or is read-only: after the table, and
 * before the fence can be committed.  For who remembers. */
void vi_memory_changed(struct viommu_memory *mem);

/* The first region with a byte in [gpa, last], or NULL. */
struct vi_region *vi_memory_first_locked(struct viommu_memory *mem,
					 uint64_t gpa, uint64_t last)
	VI_REQUIRES(&mem->lock);

/* The next one after @r with a byte up to @last, or NULL. */
struct vi_region *vi_memory_after_locked(struct viommu_memory *mem,
					 const struct vi_region *r,
					 uint64_t last) VI_REQUIRES(&mem->lock);

/* Can [gpa, last] be cut out?  Do so: regions begin and end at its edges.
 * -ENOMEM: nothing has changed. */
int vi_memory_cut_locked(struct viommu_memory *mem, uint64_t gpa, uint64_t last)
	VI_REQUIRES(&mem->lock);

/* Into the trees, but for the table. */
void vi_memory_insert_locked(struct viommu_memory *mem, struct vi_region *r)
	VI_REQUIRES(&mem->lock);

/* Take @r out, but for the table; it goes to @gone. */
void vi_memory_take_locked(struct viommu_memory *mem, struct vi_region *r,
			   struct vi_retire **gone) VI_REQUIRES(&mem->lock);

/* Who answers at a GPA where the table leads to a device; by value. */
struct vi_device {
	struct viommu_device_ops ops;
	void *arg;
	uint64_t offset; /* of the GPA */
	uint64_t len;	 /* from there to the region's end; 0: 2^64 */
	uint32_t prot;
};

/* False: that is no device any more.  The caller's pin keeps it. */
bool vi_memory_device(struct viommu_memory *mem, uint64_t gpa,
		      struct vi_device *out);

/* The part of [gpa, gpa + len - 1] (len > 0) that lies in one piece at *host:
 * its length, or 0 if gpa is not RAM with @prot (READ, WRITE). */
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
