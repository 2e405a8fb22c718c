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
 * anywhere, and a leaf is cut into smaller ones by copying it.  Its low eight
 * bits are those of the granule, zero; with a granule below 256 it is stored
 * shifted up, and must fit.
 *
 * Readers take no lock: they load entries while one writer, kept alone by its
 * caller, changes them.  A table that leaves the tree goes to a retire list:
 * its caller's fence frees it when no reader can be in it (L8).
 *
 * What a reader must do so that it sees all of a remap or nothing (L7):
 *
 *  R1 take the top once an access, vi_radix_top(), after its pin has been
 *     published, and look up every piece of the access in that top;
 *  R2 read each leaf once an access: go on with it as far as it reaches, also
 *     where the memory behind it comes in several pieces;
 *  R3 not use a table or a leaf that it found under another top: who keeps
 *     tables from one access to the next compares the top first, and walks
 *     again also where a kept table leads to nothing for the address.
 *
 * Then every change but map and unmap, where L7 asks for nothing, is one store:
 *
 *  - A split puts a table full of the leaf's copies in the leaf's place.  Any
 *    mix of the two translates alike.
 *  - A remap under one leaf, or in one hole, puts a leaf or a table that has
 *    been filled aside in its place.  A reader that has read the leaf stays
 *    with it (R2); the others get the new entry, and nothing that changed lies
 *    elsewhere.
 *  - Any other remap makes new every table that has a byte of the range below
 *    it, up to the top, and publishes the new top.  It touches no entry of a
 *    table it replaces, nor will anybody again: they are not in the tree.  So
 *    a reader with the old top finds all of what was there (R1), one with the
 *    new top all of the new; they share the tables that nothing has changed
 *    in.  Nobody has to start over.  After the store no access that begins
 *    takes the old top, and the fence waits for those that did.
 *
 * FIRST and LAST are writers' business; readers do not look at them, so they
 * change by stores of their own.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <viommu/types.h>

#include "base/range.h"
#include "table/pool.h"

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

struct vi_radix {
	/* table | level: both change in one store; 0 before the first map */
	_Atomic(uint64_t) top;
	uint8_t granule_lg2;
	uint8_t delta_shift;
	struct vi_table_pool *pool;
	/* the last table that became empty; kept, if it still is, so that a
	 * page mapped and unmapped in turns costs no table each time.  No other
	 * table of the tree is empty, but for the top */
	struct vi_table *spare;
	/* tables that left the tree where no fence was at hand: they go with
	 * the next one, or with the tree */
	struct vi_retire *limbo;
	/* the table that the last simple range was in, an address there, and
	 * the size of its leaves; for writers */
	struct vi_table *near;
	uint64_t near_addr;
	uint8_t near_shift;
	uint64_t tables;	  /* in the tree */
	uint64_t max_tables;	  /* of these */
	uint64_t max_pool_tables; /* of all in the pool's books */
};

#define VI_RADIX_LEVEL(t) ((unsigned)((t) & (VI_TABLE_ALIGN - 1)))
#define VI_RADIX_TABLE(t) \
	((struct vi_table *)(uintptr_t)((t) & ~(uint64_t)(VI_TABLE_ALIGN - 1)))

/* Without limits; the caller may set some. */
void vi_radix_init(struct vi_radix *r, struct vi_table_pool *pool,
		   unsigned granule_lg2);

/* Give all tables back; no reader may be left. */
void vi_radix_fini(struct vi_radix *r);

/*
 * Map [start, last], on the granule, to @target.  -EEXIST (some of it is
 * mapped), -ERANGE (the delta does not fit), -ENOMEM, -ENOSPC (the limit of
 * tables); on error nothing has changed.
 */
int vi_radix_map(struct vi_radix *r, uint64_t start, uint64_t last,
		 uint64_t target, uint32_t prot);

/*
 * Make the tables that a map of exactly [start, last], where nothing is mapped,
 * needs: it cannot fail then, if vi_radix_fits().  -ENOMEM, -ENOSPC.  Until
 * then, or until vi_radix_unreserve(), neither unmap nor remap.
 */
int vi_radix_reserve(struct vi_radix *r, uint64_t start, uint64_t last);

/* Take them out again, into limbo.  One that failed has left none. */
void vi_radix_unreserve(struct vi_radix *r, uint64_t start, uint64_t last);

/* Can a mapping from @start to @target be written down? */
bool vi_radix_fits(const struct vi_radix *r, uint64_t start, uint64_t target);

/* Has some mapping a byte in [start, last]? */
bool vi_radix_maps(const struct vi_radix *r, uint64_t start, uint64_t last);

/* Would removing [start, last] cut a mapping?  Does one go on across its first
 * byte, or its last? */
bool vi_radix_cuts_first(const struct vi_radix *r, uint64_t start);
bool vi_radix_cuts_last(const struct vi_radix *r, uint64_t last);

static inline bool vi_radix_cuts(const struct vi_radix *r, uint64_t start,
				 uint64_t last)
{
	return vi_radix_cuts_first(r, start) || vi_radix_cuts_last(r, last);
}

/*
 * Make [start, last], on the granule, end where mappings end: cut those that go
 * on across its edges.  Translations stay what they are.  Returns how many
 * mappings there are more; -ENOMEM, -ENOSPC: nothing has changed.
 */
int vi_radix_cut(struct vi_radix *r, uint64_t start, uint64_t last);

struct vi_removed {
	uint64_t bytes;	   /* modulo 2^64 */
	uint64_t leaves;   /* 0: nothing, and bytes are 0 */
	uint64_t mappings; /* by their first leaf */
};

/* Count what is mapped in [start, last]: of leaves only the part inside. */
void vi_radix_count(const struct vi_radix *r, uint64_t start, uint64_t last,
		    struct vi_removed *found);

/* Remove the mappings inside [start, last].  False: it would cut one, nothing
 * has changed. */
bool vi_radix_unmap(struct vi_radix *r, uint64_t start, uint64_t last,
		    struct vi_retire **retired, struct vi_removed *removed);

/*
 * Put a mapping from [m->start, m->last], on the granule, to m->gpa in the
 * place of whatever is there, cutting what goes on across the edges.  Returns
 * how many mappings there are more for the cuts; adds what went to @removed.
 * -ERANGE (the delta does not fit), -ENOMEM, -ENOSPC: nothing has changed.
 */
int vi_radix_remap(struct vi_radix *r, const struct viommu_mapping *m,
		   struct vi_retire **retired, struct vi_removed *removed);

/*
 * [start, last] has no hole, and mappings begin and end at its edges.  Change
 * the permissions of all its leaves; or make it one mapping to @target, which
 * fits (vi_radix_fits()).  Leaf by leaf: see set.c.
 */
void vi_radix_protect(struct vi_radix *r, uint64_t start, uint64_t last,
		      uint32_t prot);
void vi_radix_retarget(struct vi_radix *r, uint64_t start, uint64_t last,
		       uint64_t target, uint32_t prot);

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

/* What an access looks its pieces up in: once an access (R1). */
static inline uint64_t vi_radix_top(const struct vi_radix *r)
{
	return atomic_load(&r->top);
}

/*
 * The entry for @addr: a leaf, or 0; either holds for the whole aligned block
 * of 2^@lg2 bytes around @addr.  The loads are sequentially consistent: with
 * the publication of a pin before them, they are what L3 stands on
 * (core/pin.h).
 */
static inline uint64_t vi_radix_find_in(const struct vi_radix *r, uint64_t top,
					uint64_t addr, unsigned *lg2)
{
	unsigned shift = r->granule_lg2 + VI_RADIX_BITS * VI_RADIX_LEVEL(top);
	const struct vi_table *t = VI_RADIX_TABLE(top);
	uint64_t e;

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

/* For one look, and for writers. */
static inline uint64_t vi_radix_find(const struct vi_radix *r, uint64_t addr,
				     unsigned *lg2)
{
	return vi_radix_find_in(r, vi_radix_top(r), addr, lg2);
}

#endif
