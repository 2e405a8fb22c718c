/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Remap: see radix.h for why each access sees all of it or nothing.
 *
 * replaced() makes an entry that differs from another in [start, last] only: a
 * leaf, or a new table for each table, leaf or hole that the range covers in
 * part.  How many those are is known from the range alone, so they are taken
 * first, and nothing fails once the first is filled.  What they replace is left
 * as it is; only the parents that writers note in tables change.
 */
#include <errno.h>

#include "table/tree.h"

struct replacing {
	struct vi_radix *r;
	struct vi_table *stock;
	uint64_t start, last, leaf;
	struct vi_retire **retired;
	struct vi_removed *removed;
};

/* ---- how many tables -------------------------------------------------- */

static unsigned tables_of_slots(const struct vi_radix *r, unsigned level,
				uint64_t start, uint64_t last);

/* For one entry of @level. */
static unsigned tables_of_entry(const struct vi_radix *r, unsigned level,
				uint64_t start, uint64_t last)
{
	if (vi_whole(start, last, vi_mask(vi_shift(r, level))))
		return 0;
	return 1 + tables_of_slots(r, level - 1, start, last);
}

/* For the entries of a table: all but the two at the edges become leaves. */
static unsigned tables_of_slots(const struct vi_radix *r, unsigned level,
				uint64_t start, uint64_t last)
{
	uint64_t mask = vi_mask(vi_shift(r, level));

	if (vi_slot(r, level, start) == vi_slot(r, level, last))
		return tables_of_entry(r, level, start, last);
	return tables_of_entry(r, level, start, start | mask) +
	       tables_of_entry(r, level, last & ~mask, last);
}

/* ---- making them ------------------------------------------------------ */

/* Count the leaves of entry @e of @level; its tables leave the tree. */
static void entry_gone(struct replacing *p, uint64_t e, unsigned level)
{
	struct vi_table *t = vi_child_of(e);

	if (e & VI_LEAF) {
		p->removed->bytes += vi_mask(vi_shift(p->r, level)) + 1;
		p->removed->leaves++;
		p->removed->mappings += !!(e & VI_LEAF_FIRST);
	}
	if (!t)
		return;
	for (unsigned i = 0; i < VI_RADIX_SLOTS; i++)
		entry_gone(p, vi_entry(t, i), level - 1);
	vi_radix_retire(p->r, t, p->retired);
}

static void table_copy(struct vi_table *t, const struct vi_table *old)
{
	for (unsigned i = 0; i < VI_RADIX_SLOTS; i++)
		vi_entry_store(t, i, vi_entry(old, i));
	t->used = old->used;
}

static struct vi_table *table_replaced(struct replacing *p, uint64_t e,
				       unsigned level, uint64_t start,
				       uint64_t last);

/* The entry of @level for the block around [start, last], where @e was. */
static uint64_t replaced(struct replacing *p, uint64_t e, unsigned level,
			 uint64_t start, uint64_t last)
{
	if (!vi_whole(start, last, vi_mask(vi_shift(p->r, level))))
		return (uintptr_t)table_replaced(p, e, level - 1, start, last);
	entry_gone(p, e, level);
	return p->leaf | (start == p->start ? VI_LEAF_FIRST : 0) |
	       (last == p->last ? VI_LEAF_LAST : 0);
}

/* The table of @level around [start, last], where @e was. */
static struct vi_table *table_replaced(struct replacing *p, uint64_t e,
				       unsigned level, uint64_t start,
				       uint64_t last)
{
	struct vi_table *t = vi_stock_take(&p->stock), *old = vi_child_of(e);
	uint64_t mask = vi_mask(vi_shift(p->r, level)), l;

	if (e & VI_LEAF)
		vi_table_expand(t, e);
	else if (old)
		table_copy(t, old);
	for (uint64_t s = start;; s = l + 1) {
		unsigned slot = vi_slot(p->r, level, s);

		l = vi_min(s | mask, last);
		e = vi_entry(t, slot);
		t->used += !e;
		vi_entry_store(t, slot, replaced(p, e, level, s, l));
		if (l == last)
			break;
	}
	for (unsigned i = 0; level && i < VI_RADIX_SLOTS; i++)
		if (vi_child(t, i))
			vi_table_link(t, i, vi_child(t, i));
	if (old)
		vi_radix_retire(p->r, old, p->retired);
	return t;
}

/* ---- publishing ------------------------------------------------------- */

/*
 * Where one entry, a leaf or nothing, covers all of the range: *slot of the
 * table returned, of *level; else NULL.
 */
static struct vi_table *one_entry(const struct replacing *p, unsigned *level,
				  unsigned *slot)
{
	uint64_t top = atomic_load_explicit(&p->r->top, memory_order_relaxed);
	struct vi_table *t = VI_RADIX_TABLE(top), *c;

	for (*level = VI_RADIX_LEVEL(top);; --*level, t = c) {
		unsigned shift = vi_shift(p->r, *level);

		if ((p->start >> shift) != (p->last >> shift))
			return NULL;
		*slot = vi_slot(p->r, *level, p->start);
		c = vi_child(t, *slot);
		if (!c)
			return t;
		if (vi_whole(p->start, p->last, vi_mask(shift)))
			return NULL;
	}
}

static int replace(struct replacing *p)
{
	uint64_t top = atomic_load_explicit(&p->r->top, memory_order_relaxed);
	unsigned level, slot;
	struct vi_table *t = one_entry(p, &level, &slot);
	uint64_t e;
	int rc;

	if (t) {
		rc = vi_stock_fill(
			p->r, tables_of_entry(p->r, level, p->start, p->last),
			&p->stock);
		if (rc)
			return rc;
		e = replaced(p, vi_entry(t, slot), level, p->start, p->last);
		if (vi_child_of(e))
			vi_table_link(t, slot, vi_child_of(e));
		vi_entry_store(t, slot, e);
		return 0;
	}
	level = VI_RADIX_LEVEL(top);
	rc = vi_stock_fill(p->r,
			   1 + tables_of_slots(p->r, level, p->start, p->last),
			   &p->stock);
	if (rc)
		return rc;
	t = table_replaced(p, (uintptr_t)VI_RADIX_TABLE(top), level, p->start,
			   p->last);
	atomic_store_explicit(&p->r->top, (uintptr_t)t | level,
			      memory_order_release);
	return 0;
}

int vi_radix_remap(struct vi_radix *r, const struct viommu_mapping *m,
		   struct vi_retire **retired, struct vi_removed *removed)
{
	struct replacing p = { .r = r,
			       .start = m->start,
			       .last = m->last,
			       .retired = retired,
			       .removed = removed };
	bool left, right;
	int rc;

	if (!vi_radix_maps(r, m->start, m->last)) /* no access sees a change */
		return vi_radix_map(r, m->start, m->last, m->gpa, m->prot);
	if (!vi_leaf_make(r, m->start, m->gpa, m->prot, &p.leaf))
		return -ERANGE;
	left = vi_radix_cuts_first(r, m->start);
	right = vi_radix_cuts_last(r, m->last);
	rc = vi_radix_grow(r, m->last);
	if (!rc)
		rc = replace(&p);
	if (rc)
		return rc;
	VI_BUG_ON(p.stock);
	vi_radix_limbo(r, retired);
	if (left) {
		vi_leaf_flag(r, m->start - 1, VI_LEAF_LAST);
		removed->mappings++; /* the part inside began one */
	}
	if (right)
		vi_leaf_flag(r, m->last + 1, VI_LEAF_FIRST);
	return left + right;
}
