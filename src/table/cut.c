/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cutting leaves: where a mapping is to end inside a leaf, a table full of the
 * leaf's copies takes its place, and so on down to the level where the cut lies
 * between two leaves.  All tables are at hand before the first is published.
 */
#include <errno.h>

#include "table/tree.h"

int vi_stock_fill(struct vi_radix *r, unsigned n, struct vi_table **stock)
{
	*stock = NULL;
	while (n--) {
		struct vi_table *t;
		int rc = vi_radix_get(r, &t);

		if (rc) {
			while (*stock) {
				r->tables--;
				vi_table_put(vi_stock_take(stock));
			}
			return rc;
		}
		t->parent = *stock;
		*stock = t;
	}
	return 0;
}

struct vi_table *vi_stock_take(struct vi_table **stock)
{
	struct vi_table *t = *stock;

	*stock = t->parent;
	t->parent = NULL;
	return t;
}

void vi_table_expand(struct vi_table *t, uint64_t e)
{
	uint64_t copy = e & ~(uint64_t)(VI_LEAF_FIRST | VI_LEAF_LAST);

	for (unsigned i = 0; i < VI_RADIX_SLOTS; i++)
		vi_entry_store(t, i, copy);
	vi_entry_store(t, 0, copy | (e & VI_LEAF_FIRST));
	vi_entry_store(t, VI_RADIX_SLOTS - 1,
		       vi_entry(t, VI_RADIX_SLOTS - 1) | (e & VI_LEAF_LAST));
	t->used = VI_RADIX_SLOTS;
}

/* The table and slot of the leaf at @addr, which there is. */
static struct vi_table *leaf_place(const struct vi_radix *r, uint64_t addr,
				   unsigned *level)
{
	uint64_t top = atomic_load_explicit(&r->top, memory_order_relaxed);
	struct vi_table *t = VI_RADIX_TABLE(top), *c;

	*level = VI_RADIX_LEVEL(top);
	while ((c = vi_child(t, vi_slot(r, *level, addr)))) {
		t = c;
		--*level;
	}
	return t;
}

void vi_leaf_flag(struct vi_radix *r, uint64_t addr, uint64_t flag)
{
	unsigned level, slot;
	struct vi_table *t = leaf_place(r, addr, &level);

	slot = vi_slot(r, level, addr);
	vi_entry_store(t, slot, vi_entry(t, slot) | flag);
}

/* Does a leaf of @level have to go for a cut before @at? */
static bool level_cut(const struct vi_radix *r, unsigned level, uint64_t at)
{
	return at & vi_mask(vi_shift(r, level));
}

/* The entry for @e, a leaf of @level: a table whose leaves do not go across
 * @at. */
static uint64_t leaf_cut(struct vi_radix *r, uint64_t e, unsigned level,
			 uint64_t at, struct vi_table **stock)
{
	struct vi_table *t = vi_stock_take(stock);
	unsigned slot = vi_slot(r, --level, at);
	uint64_t c;

	vi_table_expand(t, e);
	if (level_cut(r, level, at)) {
		c = leaf_cut(r, vi_entry(t, slot), level, at, stock);
		vi_table_link(t, slot, vi_child_of(c));
		vi_entry_store(t, slot, c);
	}
	return (uintptr_t)t;
}

/* Let a mapping end before @at, and another begin there. */
static void mapping_cut(struct vi_radix *r, uint64_t at,
			struct vi_table **stock)
{
	unsigned level, slot;
	struct vi_table *t = leaf_place(r, at, &level);
	uint64_t c;

	if (level_cut(r, level, at)) {
		slot = vi_slot(r, level, at);
		c = leaf_cut(r, vi_entry(t, slot), level, at, stock);
		vi_table_link(t, slot, vi_child_of(c));
		vi_entry_store(t, slot, c);
	}
	vi_leaf_flag(r, at - 1, VI_LEAF_LAST);
	vi_leaf_flag(r, at, VI_LEAF_FIRST);
}

/* Tables that a cut before @at needs, where one before @done, or 0, is made
 * first: those around both are there then. */
static unsigned tables_missing(const struct vi_radix *r, uint64_t at,
			       uint64_t done)
{
	unsigned level, n = 0;

	leaf_place(r, at, &level);
	for (; level_cut(r, level, at); level--)
		n += !(done && level_cut(r, level, done) &&
		       (at ^ done) <= vi_mask(vi_shift(r, level)));
	return n;
}

int vi_radix_cut(struct vi_radix *r, uint64_t start, uint64_t last)
{
	bool left = vi_radix_cuts_first(r, start);
	bool right = vi_radix_cuts_last(r, last);
	struct vi_table *stock;
	unsigned n = 0;
	int rc;

	if (left)
		n += tables_missing(r, start, 0);
	if (right)
		n += tables_missing(r, last + 1, left ? start : 0);
	rc = vi_stock_fill(r, n, &stock);
	if (rc)
		return rc;
	if (left)
		mapping_cut(r, start, &stock);
	if (right)
		mapping_cut(r, last + 1, &stock);
	VI_BUG_ON(stock);
	return left + right;
}
