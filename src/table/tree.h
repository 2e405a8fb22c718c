/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_TABLE_TREE_H
#define VI_TABLE_TREE_H

/* For the writers of radix.c, cut.c and remap.c: one entry, one table. */

#include "table/radix.h"

static inline uint64_t vi_entry(const struct vi_table *t, unsigned slot)
{
	return atomic_load_explicit(&t->e[slot], memory_order_relaxed);
}

/* Release: what @e points to was filled before. */
static inline void vi_entry_store(struct vi_table *t, unsigned slot, uint64_t e)
{
	atomic_store_explicit(&t->e[slot], e, memory_order_release);
}

static inline struct vi_table *vi_child_of(uint64_t e)
{
	return e & VI_LEAF ? NULL : (struct vi_table *)(uintptr_t)e;
}

static inline struct vi_table *vi_child(const struct vi_table *t, unsigned slot)
{
	return vi_child_of(vi_entry(t, slot));
}

static inline unsigned vi_shift(const struct vi_radix *r, unsigned level)
{
	return r->granule_lg2 + VI_RADIX_BITS * level;
}

static inline unsigned vi_slot(const struct vi_radix *r, unsigned level,
			       uint64_t addr)
{
	return (addr >> vi_shift(r, level)) % VI_RADIX_SLOTS;
}

/* Is [start, last], within one block, all of the block? */
static inline bool vi_whole(uint64_t start, uint64_t last, uint64_t mask)
{
	return last - start == mask;
}

static inline void vi_table_link(struct vi_table *t, unsigned slot,
				 struct vi_table *c)
{
	c->parent = t;
	c->slot = (uint16_t)slot;
}

/* The leaf without its flags for a mapping; false: the delta does not fit. */
bool vi_leaf_make(const struct vi_radix *r, uint64_t start, uint64_t target,
		  uint32_t prot, uint64_t *leaf);

/* A table within the limits of @r, counted there.  -ENOSPC, -ENOMEM. */
int vi_radix_get(struct vi_radix *r, struct vi_table **out);

/* @t left the tree. */
void vi_radix_retire(struct vi_radix *r, struct vi_table *t,
		     struct vi_retire **retired);

/* A fence is at hand: it takes what is in limbo. */
void vi_radix_limbo(struct vi_radix *r, struct vi_retire **retired);

/* Make the tree reach @last.  -ENOSPC, -ENOMEM. */
int vi_radix_grow(struct vi_radix *r, uint64_t last);

/* Tables taken ahead of what must not fail: chained by parent. */
int vi_stock_fill(struct vi_radix *r, unsigned n, struct vi_table **stock);
struct vi_table *vi_stock_take(struct vi_table **stock);

/* Fill @t, which nobody sees yet, with copies of leaf @e. */
void vi_table_expand(struct vi_table *t, uint64_t e);

/* Give the leaf at @addr, which there is, a flag more. */
void vi_leaf_flag(struct vi_radix *r, uint64_t addr, uint64_t flag);

#endif
