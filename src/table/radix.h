/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_TABLE_RADIX_H
#define VI_TABLE_RADIX_H

/*
 * A radix tree of leaves of many sizes: address in, address out.
 *
 * Nine bits a level above the granule; level 0 is the smallest leaves; as many
 * levels as the highest address mapped so far needs.  An entry is one 64-bit
 * word, so a reader sees the old or the new, never a mix:
 *
 *   0        nothing
 *   bit 0    a leaf: bits 1-5 permissions, bit 6 first leaf of its mapping,
 *            bit 7 last leaf of its mapping, bits 8-63 the delta
 *   else     a pointer to the next table
 *
 * The delta is target minus address, modulo 2^64: the same in each leaf of a
 * mapping, so a leaf needs an aligned address only, its target may sit
 * anywhere.  Its low eight bits are those of the granule, zero; with a granule
 * below 256 it is stored shifted up, and must fit.
 *
 * Readers take no lock: they load entries while one writer, kept alone by its
 * caller, changes them.  A table that leaves the tree goes to a retire list:
 * its caller's fence frees it when no reader can be in it (L8).
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <viommu/types.h>

#include "base/env.h"
#include "base/lock.h"
#include "base/range.h"
#include "base/retire.h"

enum {
	VI_RADIX_BITS = 9,
	VI_RADIX_SLOTS = 1 << VI_RADIX_BITS,
};

enum {
	VI_LEAF = 1u << 0,
	VI_LEAF_PROT_SHIFT = 1,
	VI_LEAF_PROT = 0x1fu << VI_LEAF_PROT_SHIFT,
	VI_LEAF_FIRST = 1u << 6,
	VI_LEAF_LAST = 1u << 7,
	VI_LEAF_FLAGS = 0xffu,
};
_Static_assert((VIOMMU_MMIO << VI_LEAF_PROT_SHIFT) < VI_LEAF_FIRST,
	       "permissions fit");

struct vi_table;

/* Free tables, all zero, shared by an instance's trees. */
struct vi_table_pool {
	const struct viommu_env *env;
	struct vi_lock lock;
	struct vi_retire *free; /* VI_GUARDED(lock) */
	unsigned nfree;
};

void vi_table_pool_init(struct vi_table_pool *pool,
			const struct viommu_env *env);
void vi_table_pool_fini(struct vi_table_pool *pool);

struct vi_radix {
	/* table | level: both change in one store; 0 before the first map */
	_Atomic(uint64_t) top;
	uint8_t granule_lg2;
	uint8_t delta_shift;
	struct vi_table_pool *pool;
	/* the last table that became empty; kept, if it still is, so that a
	 * page mapped and unmapped in turns costs no table each time */
	struct vi_table *spare;
};

struct vi_table {
	_Atomic(uint64_t) e[VI_RADIX_SLOTS];
	struct vi_retire retire;
	struct vi_table_pool *pool;
	struct vi_table *parent;
	uint16_t slot; /* in parent */
	uint16_t used; /* entries that are not 0 */
};

#define VI_TABLE_ALIGN	  64
#define VI_RADIX_LEVEL(t) ((unsigned)((t) & (VI_TABLE_ALIGN - 1)))
#define VI_RADIX_TABLE(t) \
	((struct vi_table *)(uintptr_t)((t) & ~(uint64_t)(VI_TABLE_ALIGN - 1)))

void vi_radix_init(struct vi_radix *r, struct vi_table_pool *pool,
		   unsigned granule_lg2);

/* Give all tables back; no reader may be left. */
void vi_radix_fini(struct vi_radix *r);

/*
 * Map [start, last], on the granule, to @target.  -EEXIST (some of it is
 * mapped), -ERANGE (the delta does not fit), -ENOMEM; on error nothing has
 * changed.
 */
int vi_radix_map(struct vi_radix *r, uint64_t start, uint64_t last,
		 uint64_t target, uint32_t prot);

/* Would removing [start, last] cut a mapping? */
bool vi_radix_cuts(const struct vi_radix *r, uint64_t start, uint64_t last);

struct vi_removed {
	uint64_t bytes; /* saturates */
	uint64_t mappings;
};

/* Remove the mappings inside [start, last], which must not cut any. */
void vi_radix_unmap(struct vi_radix *r, uint64_t start, uint64_t last,
		    struct vi_retire **retired, struct vi_removed *removed);

/* The first whole mapping that has a byte at or after @addr.  For writers. */
bool vi_radix_next(const struct vi_radix *r, uint64_t addr,
		   struct viommu_mapping *out);

static inline uint64_t vi_leaf_target(const struct vi_radix *r, uint64_t e,
				      uint64_t addr)
{
	return addr + (uint64_t)((int64_t)(e & ~(uint64_t)VI_LEAF_FLAGS) >>
				 r->delta_shift);
}

static inline uint32_t vi_leaf_prot(uint64_t e)
{
	return (uint32_t)(e & VI_LEAF_PROT) >> VI_LEAF_PROT_SHIFT;
}

/*
 * The entry for @addr: a leaf, or 0; either holds for the whole aligned block
 * of 2^@lg2 bytes around @addr.  The loads are sequentially consistent: with
 * the publication of a pin before them, they are what L3 stands on
 * (core/pin.h).
 */
static inline uint64_t vi_radix_find(const struct vi_radix *r, uint64_t addr,
				     unsigned *lg2)
{
	uint64_t e = atomic_load(&r->top);
	unsigned shift = r->granule_lg2 + VI_RADIX_BITS * VI_RADIX_LEVEL(e);
	const struct vi_table *t = VI_RADIX_TABLE(e);

	if (VI_UNLIKELY(addr > vi_mask(shift + VI_RADIX_BITS)) || !t) {
		*lg2 = 64; /* for readers: nothing from here up */
		return 0;
	}
	for (;;) {
		e = atomic_load(&t->e[(addr >> shift) % VI_RADIX_SLOTS]);
		if ((e & VI_LEAF) || !e) {
			*lg2 = shift;
			return e;
		}
		t = (const struct vi_table *)(uintptr_t)e;
		shift -= VI_RADIX_BITS;
		VI_WINDOW();
	}
}

#endif
