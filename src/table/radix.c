/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Map, unmap and the walks that writers make: see radix.h for the tree.
 *
 * map has three paragraphs: check that the range is free, make the tables that
 * are missing, fill.  Nothing can fail after the second, and until the third
 * nothing shows: empty tables are a hole, too.
 *
 * Most ranges are leaves of one table only.  The first half of map and unmap
 * deals with those, in one walk and one loop; the second half with the others.
 */
#include "table/radix.h"

#include <errno.h>
#include <string.h>

#include "table/tree.h"

/* ---- the tree --------------------------------------------------------- */

void vi_radix_init(struct vi_radix *r, struct vi_table_pool *pool,
		   unsigned granule_lg2)
{
	memset(r, 0, sizeof(*r));
	r->granule_lg2 = (uint8_t)granule_lg2;
	r->delta_shift = granule_lg2 < 8 ? (uint8_t)(8 - granule_lg2) : 0;
	r->pool = pool;
	r->max_tables = UINT64_MAX;
	r->max_pool_tables = UINT64_MAX;
}

static void table_free_tree(struct vi_table *t, unsigned level)
{
	for (unsigned i = 0; level && i < VI_RADIX_SLOTS; i++) {
		struct vi_table *c = vi_child(t, i);

		if (c)
			table_free_tree(c, level - 1);
	}
	vi_table_put(t);
}

void vi_radix_fini(struct vi_radix *r)
{
	uint64_t top = atomic_load(&r->top);

	if (top)
		table_free_tree(VI_RADIX_TABLE(top), VI_RADIX_LEVEL(top));
	vi_retire_free(r->limbo);
	atomic_store(&r->top, 0);
	r->limbo = NULL;
	r->spare = NULL;
	r->near = NULL;
	r->tables = 0;
}

int vi_radix_get(struct vi_radix *r, struct vi_table **out)
{
	int rc;

	if (r->tables >= r->max_tables)
		return -ENOSPC;
	rc = vi_table_get(r->pool, r->max_pool_tables, out);
	if (!rc)
		r->tables++;
	return rc;
}

void vi_radix_retire(struct vi_radix *r, struct vi_table *t,
		     struct vi_retire **retired)
{
	if (r->spare == t)
		r->spare = NULL;
	if (r->near == t)
		r->near = NULL;
	r->tables--;
	vi_table_retire(t, retired);
}

void vi_radix_limbo(struct vi_radix *r, struct vi_retire **retired)
{
	while (VI_UNLIKELY(r->limbo != NULL)) {
		struct vi_retire *l = r->limbo;

		r->limbo = l->next;
		vi_retire_add(retired, l);
	}
}

bool vi_leaf_make(const struct vi_radix *r, uint64_t start, uint64_t target,
		  uint32_t prot, uint64_t *leaf)
{
	uint64_t delta = target - start, up = delta << r->delta_shift;

	if ((uint64_t)((int64_t)up >> r->delta_shift) != delta)
		return false;
	*leaf = up | (prot << VI_LEAF_PROT_SHIFT) | VI_LEAF;
	return true;
}

bool vi_radix_fits(const struct vi_radix *r, uint64_t start, uint64_t target)
{
	uint64_t leaf;

	return vi_leaf_make(r, start, target, 0, &leaf);
}

/* The level whose one table reaches @last. */
static unsigned level_for(const struct vi_radix *r, uint64_t last)
{
	unsigned level = 0;

	while (last > vi_mask(vi_shift(r, level + 1)))
		level++;
	return level;
}

/*
 * A new top holds the old one, even an empty one, below its first slot: at most
 * one table a level, for the tree's life.
 */
int vi_radix_grow(struct vi_radix *r, uint64_t last)
{
	uint64_t top = atomic_load_explicit(&r->top, memory_order_relaxed);
	struct vi_table *t = VI_RADIX_TABLE(top), *up;
	unsigned level = t ? VI_RADIX_LEVEL(top) : level_for(r, last);
	int rc;

	while (!t || last > vi_mask(vi_shift(r, level + 1))) {
		rc = vi_radix_get(r, &up);
		if (rc)
			return rc;
		if (t) {
			vi_table_link(up, 0, t);
			vi_entry_store(up, 0, (uintptr_t)t);
			up->used = 1;
			level++;
		}
		t = up;
		/* pointer and level in one store: readers see both or none */
		atomic_store_explicit(&r->top, (uintptr_t)t | level,
				      memory_order_release);
	}
	return 0;
}

/* ---- ranges that are leaves of one table ------------------------------ */

struct span {
	struct vi_table *t;
	unsigned shift, first, last; /* slots */
};

enum span_kind {
	SPAN,	    /* *span is it */
	SPAN_LEAF,  /* lies in a larger leaf */
	SPAN_OTHER, /* has no such table, or not one only */
};

/* Where the last one was; most are near. */
static inline bool span_near(const struct vi_radix *r, uint64_t start,
			     uint64_t last, struct span *span)
{
	unsigned shift = r->near_shift;

	if (((start ^ r->near_addr) | (last ^ r->near_addr)) >> shift >>
		    VI_RADIX_BITS ||
	    !r->near || ((start | ~last) & ((UINT64_C(1) << shift) - 1)))
		return false;
	span->t = r->near;
	span->shift = shift;
	span->first = (start >> shift) % VI_RADIX_SLOTS;
	span->last = (last >> shift) % VI_RADIX_SLOTS;
	/* all of the table would be a leaf of the next level */
	return span->last - span->first < VI_RADIX_SLOTS - 1;
}

static enum span_kind span_find(struct vi_radix *r, uint64_t start,
				uint64_t last, struct span *span)
{
	uint64_t top = atomic_load_explicit(&r->top, memory_order_relaxed);
	struct vi_table *t = VI_RADIX_TABLE(top);
	unsigned level = VI_RADIX_LEVEL(top), shift = vi_shift(r, level);
	uint64_t differ = start ^ last, e;

	if (!t || last > vi_mask(shift + VI_RADIX_BITS))
		return SPAN_OTHER;
	/* in one slot, and not all of it: down.  All of a slot is where start
	 * and last differ in all bits that are not the slot's */
	while (!(differ >> shift) && differ + 1 != UINT64_C(1) << shift) {
		e = vi_entry(t, (start >> shift) % VI_RADIX_SLOTS);
		if (!e || !level)
			return SPAN_OTHER;
		if (e & VI_LEAF)
			return SPAN_LEAF;
		t = vi_child_of(e);
		shift -= VI_RADIX_BITS;
		level--;
	}
	if ((start | ~last) & vi_mask(shift))
		return SPAN_OTHER;
	r->near = t;
	r->near_addr = start;
	r->near_shift = (uint8_t)shift;
	*span = (struct span){ .t = t,
			       .shift = shift,
			       .first = (start >> shift) % VI_RADIX_SLOTS,
			       .last = (last >> shift) % VI_RADIX_SLOTS };
	return SPAN;
}

/* What only the writer stores, it may load without atomics, and the compiler
 * many at a time. */
static const uint64_t *span_words(const struct span *s)
{
	_Static_assert(sizeof(s->t->e[0]) == sizeof(uint64_t) &&
			       !offsetof(struct vi_table, e),
		       "the cast");
	return (const uint64_t *)(const void *)s->t;
}

static inline uint64_t span_any(const struct span *s)
{
	const uint64_t *e = span_words(s);
	uint64_t any = e[s->first];

	for (unsigned i = s->first + 1; i <= s->last; i++)
		any |= e[i];
	return any;
}

static inline void span_fill(const struct span *s, uint64_t leaf)
{
	struct vi_table *t = s->t;
	unsigned i;

	t->used = (uint16_t)(t->used + s->last - s->first + 1);
	if (s->first == s->last) {
		vi_entry_store(t, s->first,
			       leaf | VI_LEAF_FIRST | VI_LEAF_LAST);
		return;
	}
	vi_entry_store(t, s->first, leaf | VI_LEAF_FIRST);
	for (i = s->first + 1; i + 3 < s->last; i += 4) {
		vi_entry_store(t, i, leaf);
		vi_entry_store(t, i + 1, leaf);
		vi_entry_store(t, i + 2, leaf);
		vi_entry_store(t, i + 3, leaf);
	}
	for (; i < s->last; i++)
		vi_entry_store(t, i, leaf);
	vi_entry_store(t, s->last, leaf | VI_LEAF_LAST);
}

static inline uint64_t leaf_count(uint64_t e)
{
	return (e & VI_LEAF) + ((e & VI_LEAF_FIRST) << (32 - 6));
}
_Static_assert(VI_LEAF == 1 && VI_LEAF_FIRST == 1 << 6, "as counted");

/* Leaves and holes only. */
static inline void span_clear(const struct span *s, struct vi_removed *removed)
{
	const uint64_t *e = span_words(s);
	uint64_t leaves, n = 0;
	unsigned i;

	if (s->first == s->last) {
		if (!e[s->first])
			return;
		vi_entry_store(s->t, s->first, 0);
		s->t->used--;
		removed->leaves++;
		removed->mappings++;
		removed->bytes += UINT64_C(1) << s->shift;
		return;
	}
	/* both counts in one word, at bits 0 and 32 */
	for (i = s->first; i + 3 <= s->last; i += 4) {
		n += leaf_count(e[i]) + leaf_count(e[i + 1]) +
		     leaf_count(e[i + 2]) + leaf_count(e[i + 3]);
		vi_entry_store(s->t, i, 0);
		vi_entry_store(s->t, i + 1, 0);
		vi_entry_store(s->t, i + 2, 0);
		vi_entry_store(s->t, i + 3, 0);
	}
	for (; i <= s->last; i++) {
		n += leaf_count(e[i]);
		vi_entry_store(s->t, i, 0);
	}
	leaves = n & UINT32_MAX;
	s->t->used = (uint16_t)(s->t->used - leaves);
	removed->leaves += leaves;
	removed->mappings += n >> 32;
	removed->bytes += leaves << s->shift;
}

/* ---- map -------------------------------------------------------------- */

/* Does any leaf below @t lie in [start, last]? */
static bool table_maps(const struct vi_radix *r, const struct vi_table *t,
		       unsigned level, uint64_t start, uint64_t last)
{
	unsigned first = vi_slot(r, level, start), to = vi_slot(r, level, last);
	uint64_t mask = vi_mask(vi_shift(r, level)), any = 0;

	if (!t->used)
		return false;
	if (!level) {
		for (unsigned i = first; i <= to; i++)
			any |= vi_entry(t, i);
		return any;
	}
	for (unsigned i = first; i <= to; i++) {
		const struct vi_table *c = vi_child(t, i);

		if (!c) {
			if (vi_entry(t, i))
				return true;
			continue;
		}
		if (table_maps(r, c, level - 1,
			       i == first ? start : start & ~mask,
			       i == to ? last : last | mask))
			return true;
	}
	return false;
}

/* The part of [start, last] that the tree reaches; false: none. */
static bool reach_cut(const struct vi_radix *r, uint64_t top, uint64_t start,
		      uint64_t *last)
{
	uint64_t reach = vi_mask(vi_shift(r, VI_RADIX_LEVEL(top) + 1));

	if (!top || start > reach)
		return false;
	*last = vi_min(*last, reach);
	return true;
}

bool vi_radix_maps(const struct vi_radix *r, uint64_t start, uint64_t last)
{
	uint64_t top = atomic_load_explicit(&r->top, memory_order_relaxed);

	return reach_cut(r, top, start, &last) &&
	       table_maps(r, VI_RADIX_TABLE(top), VI_RADIX_LEVEL(top), start,
			  last);
}

/*
 * Leaves of a table wholly inside are at slots of their own, so only the two
 * slots at the edges can need a table below them.  Those of [start, last] in
 * @t, of @level: one or two ranges.
 */
struct edges {
	unsigned n, slot[2];
	uint64_t start[2], last[2];
};

static void edge_add(struct edges *e, unsigned slot, uint64_t start,
		     uint64_t last)
{
	e->slot[e->n] = slot;
	e->start[e->n] = start;
	e->last[e->n++] = last;
}

static struct edges edges_of(const struct vi_radix *r, unsigned level,
			     uint64_t start, uint64_t last)
{
	unsigned first = vi_slot(r, level, start), to = vi_slot(r, level, last);
	uint64_t mask = vi_mask(vi_shift(r, level));
	uint64_t first_last = first == to ? last : start | mask;
	struct edges e = { .n = 0 };

	if (!vi_whole(start, first_last, mask))
		edge_add(&e, first, start, first_last);
	if (first != to && !vi_whole(last & ~mask, last, mask))
		edge_add(&e, to, last & ~mask, last);
	return e;
}

/* Tables that leaves for [start, last] need below @t, of @level, or NULL. */
static unsigned tables_missing(const struct vi_radix *r,
			       const struct vi_table *t, unsigned level,
			       uint64_t start, uint64_t last)
{
	struct edges e = edges_of(r, level, start, last);
	unsigned n = 0;

	for (unsigned i = 0; i < e.n; i++) {
		const struct vi_table *c = t ? vi_child(t, e.slot[i]) : NULL;

		n += !c;
		n += tables_missing(r, c, level - 1, e.start[i], e.last[i]);
	}
	return n;
}

static void table_reserve(struct vi_radix *r, struct vi_table *t,
			  unsigned level, const struct edges *e,
			  struct vi_table **stock)
{
	for (unsigned i = 0; i < e->n; i++) {
		struct vi_table *c = vi_child(t, e->slot[i]);
		struct edges below =
			edges_of(r, level - 1, e->start[i], e->last[i]);

		if (!c) {
			c = vi_stock_take(stock);
			vi_table_link(t, e->slot[i], c);
			vi_entry_store(t, e->slot[i], (uintptr_t)c);
			t->used++;
		}
		table_reserve(r, c, level - 1, &below, stock);
	}
}

/* All tables are at hand before the first is published: one that readers may
 * have seen could not be put back before the next fence. */
int vi_radix_reserve(struct vi_radix *r, uint64_t start, uint64_t last)
{
	int rc = vi_radix_grow(r, last);
	uint64_t top = atomic_load_explicit(&r->top, memory_order_relaxed);
	unsigned level = VI_RADIX_LEVEL(top), n;
	struct vi_table *stock;
	struct edges e;

	if (rc)
		return rc;
	n = tables_missing(r, VI_RADIX_TABLE(top), level, start, last);
	if (!n)
		return 0;
	rc = vi_stock_fill(r, n, &stock);
	if (rc)
		return rc;
	e = edges_of(r, level, start, last);
	table_reserve(r, VI_RADIX_TABLE(top), level, &e, &stock);
	VI_BUG_ON(stock);
	return 0;
}

/* Take an empty table out of the tree, and what its going leaves empty. */
static void table_detach(struct vi_radix *r, struct vi_table *t,
			 struct vi_retire **retired)
{
	while (!t->used && t->parent) {
		struct vi_table *up = t->parent;

		vi_entry_store(up, t->slot, 0);
		up->used--;
		vi_radix_retire(r, t, retired);
		t = up;
	}
}

/* The deepest table around @addr. */
static struct vi_table *table_at(const struct vi_radix *r, uint64_t addr)
{
	uint64_t top = atomic_load_explicit(&r->top, memory_order_relaxed);
	struct vi_table *t = VI_RADIX_TABLE(top), *c = t;
	unsigned level = VI_RADIX_LEVEL(top);

	while (c && level) {
		c = vi_child(t, vi_slot(r, level, addr));
		if (c)
			t = c;
		level--;
	}
	return t;
}

void vi_radix_unreserve(struct vi_radix *r, uint64_t start, uint64_t last)
{
	uint64_t edges[] = { start, last };

	for (unsigned i = 0; i < 2; i++) {
		uint64_t top =
			atomic_load_explicit(&r->top, memory_order_relaxed);
		struct vi_table *t;

		if (!reach_cut(r, top, edges[i], &edges[i]))
			continue;
		t = table_at(r, edges[i]);
		if (t != r->spare)
			table_detach(r, t, &r->limbo);
	}
}

/* An empty table, and what is below, makes room for a leaf. */
static void table_displace(struct vi_radix *r, struct vi_table *t,
			   unsigned level)
{
	for (unsigned i = 0; level && t->used && i < VI_RADIX_SLOTS; i++)
		if (vi_child(t, i))
			table_displace(r, vi_child(t, i), level - 1);
	vi_radix_retire(r, t, &r->limbo);
}

/* What map carries on its way down. */
struct filling {
	struct vi_radix *r;
	uint64_t start, last, leaf;
};

static void fill(const struct filling *f, struct vi_table *t, unsigned level,
		 uint64_t start, uint64_t last)
{
	uint64_t mask = vi_mask(vi_shift(f->r, level));

	for (uint64_t s = start;; s = (s | mask) + 1) {
		unsigned slot = vi_slot(f->r, level, s);
		uint64_t l = vi_min(s | mask, last);
		struct vi_table *c = vi_child(t, slot);

		if (!vi_whole(s, l, mask)) {
			fill(f, c, level - 1, s, l);
		} else {
			vi_entry_store(
				t, slot,
				f->leaf | (s == f->start ? VI_LEAF_FIRST : 0) |
					(l == f->last ? VI_LEAF_LAST : 0));
			t->used += !c;
			if (c)
				table_displace(f->r, c, level - 1);
		}
		if (l == last)
			return;
	}
}

/* With or without those tables below that are there and empty. */
static int map_any(const struct filling *f)
{
	uint64_t top;
	int rc;

	if (vi_radix_maps(f->r, f->start, f->last))
		return -EEXIST;
	rc = vi_radix_reserve(f->r, f->start, f->last);
	if (rc)
		return rc;
	top = atomic_load_explicit(&f->r->top, memory_order_relaxed);
	fill(f, VI_RADIX_TABLE(top), VI_RADIX_LEVEL(top), f->start, f->last);
	return 0;
}

int vi_radix_map(struct vi_radix *r, uint64_t start, uint64_t last,
		 uint64_t target, uint32_t prot)
{
	struct filling f = { .r = r, .start = start, .last = last };
	struct span span;

	if (!vi_leaf_make(r, start, target, prot, &f.leaf))
		return -ERANGE;
	if (!span_near(r, start, last, &span)) {
		switch (span_find(r, start, last, &span)) {
		case SPAN:
			break;
		case SPAN_LEAF:
			return -EEXIST;
		case SPAN_OTHER:
			return map_any(&f);
		}
	}
	/* used: most ranges are mapped into empty tables, or are one page */
	if (span.t->used && span_any(&span))
		return map_any(&f);
	span_fill(&span, f.leaf);
	return 0;
}

/* ---- unmap ------------------------------------------------------------ */

bool vi_radix_cuts_first(const struct vi_radix *r, uint64_t start)
{
	unsigned lg2;
	uint64_t e = vi_radix_find(r, start, &lg2);

	return e && (!(e & VI_LEAF_FIRST) || (start & vi_mask(lg2)));
}

bool vi_radix_cuts_last(const struct vi_radix *r, uint64_t last)
{
	unsigned lg2;
	uint64_t e = vi_radix_find(r, last, &lg2);

	return e && (!(e & VI_LEAF_LAST) || (~last & vi_mask(lg2)));
}

/* @t became empty: it is the spare now, and the former spare goes. */
static void table_emptied(struct vi_radix *r, struct vi_table *t,
			  struct vi_retire **retired)
{
	struct vi_table *old = r->spare;

	r->spare = t;
	if (old && old != t)
		table_detach(r, old, retired);
}

/* What unmap carries on its way down. */
struct clearing {
	struct vi_radix *r;
	struct vi_retire **retired;
	struct vi_removed *removed;
};

static void clear(const struct clearing *c, struct vi_table *t, unsigned level,
		  uint64_t start, uint64_t last)
{
	uint64_t mask = vi_mask(vi_shift(c->r, level));

	for (uint64_t s = start; t->used; s = (s | mask) + 1) {
		unsigned slot = vi_slot(c->r, level, s);
		uint64_t l = vi_min(s | mask, last), e = vi_entry(t, slot);

		if (e & VI_LEAF) {
			c->removed->bytes += mask + 1;
			c->removed->leaves++;
			c->removed->mappings += !!(e & VI_LEAF_FIRST);
			vi_entry_store(t, slot, 0);
			t->used--;
		} else if (e) {
			clear(c, vi_child_of(e), level - 1, s, l);
		}
		if (l == last)
			break;
	}
	if (!t->used && t->parent)
		table_emptied(c->r, t, c->retired);
}

/* Of one table, with no table below: removed, or they would be cut. */
enum unmapped {
	UNMAPPED,
	CUTS,
	OTHER
};

static inline enum unmapped unmap_span(const struct clearing *c, uint64_t start,
				       uint64_t last)
{
	struct span s;
	uint64_t a, b;

	if (!span_near(c->r, start, last, &s) &&
	    span_find(c->r, start, last, &s) != SPAN)
		return OTHER;
	a = vi_entry(s.t, s.first);
	b = vi_entry(s.t, s.last);
	if (s.shift != c->r->granule_lg2 &&
	    (s.first != s.last || !(a & VI_LEAF)))
		return OTHER;
	if ((a && !(a & VI_LEAF_FIRST)) || (b && !(b & VI_LEAF_LAST)))
		return CUTS;
	span_clear(&s, c->removed);
	if (!s.t->used && s.t->parent)
		table_emptied(c->r, s.t, c->retired);
	return UNMAPPED;
}

bool vi_radix_unmap(struct vi_radix *r, uint64_t start, uint64_t last,
		    struct vi_retire **retired, struct vi_removed *removed)
{
	struct clearing c = { .r = r, .retired = retired, .removed = removed };
	uint64_t top;

	/* in limbo until nothing is refused: then there is no fence */
	switch (unmap_span(&c, start, last)) {
	case UNMAPPED:
		vi_radix_limbo(r, retired);
		return true;
	case CUTS:
		return false;
	case OTHER:
		break;
	}
	if (vi_radix_cuts(r, start, last))
		return false;
	vi_radix_limbo(r, retired);
	top = atomic_load_explicit(&r->top, memory_order_relaxed);
	if (reach_cut(r, top, start, &last))
		clear(&c, VI_RADIX_TABLE(top), VI_RADIX_LEVEL(top), start,
		      last);
	return true;
}

/* ---- looking ---------------------------------------------------------- */

/* The leaf at @addr as a range, or false. */
static bool leaf_at(const struct vi_radix *r, uint64_t addr, uint64_t *e,
		    uint64_t *first, uint64_t *last)
{
	unsigned lg2;

	*e = vi_radix_find(r, addr, &lg2);
	*first = addr & ~vi_mask(lg2);
	*last = addr | vi_mask(lg2);
	return *e;
}

/* There is no leaf at *@addr.  Go to the next entry of the table that says so,
 * or to its end, where its parent has to say.  False: that is the top. */
static bool hole_skip(const struct vi_radix *r, uint64_t *addr)
{
	uint64_t top = vi_radix_top(r), base;
	const struct vi_table *t = VI_RADIX_TABLE(top), *c;
	unsigned level = VI_RADIX_LEVEL(top), slot;

	if (!t || *addr > vi_mask(vi_shift(r, level) + VI_RADIX_BITS))
		return false;
	while ((c = vi_child(t, vi_slot(r, level, *addr)))) {
		t = c;
		level--;
	}
	slot = vi_slot(r, level, *addr) + 1;
	while (slot < VI_RADIX_SLOTS && !vi_entry(t, slot))
		slot++;
	base = *addr & ~vi_mask(vi_shift(r, level) + VI_RADIX_BITS);
	if (slot < VI_RADIX_SLOTS) {
		*addr = base | (uint64_t)slot << vi_shift(r, level);
		return true;
	}
	*addr = (base | vi_mask(vi_shift(r, level) + VI_RADIX_BITS)) + 1;
	return *addr;
}

bool vi_radix_next(const struct vi_radix *r, uint64_t addr,
		   struct viommu_mapping *out)
{
	uint64_t e, first, last, e2, first2, last2;

	while (!leaf_at(r, addr, &e, &first, &last))
		if (!hole_skip(r, &addr))
			return false;
	for (e2 = e, first2 = first; !(e2 & VI_LEAF_FIRST); first = first2)
		leaf_at(r, first2 - 1, &e2, &first2, &last2);
	for (e2 = e, last2 = last; !(e2 & VI_LEAF_LAST); last = last2)
		leaf_at(r, last2 + 1, &e2, &first2, &last2);
	*out = (struct viommu_mapping){
		.start = first,
		.last = last,
		.gpa = vi_leaf_target(r, e, first),
		.prot = vi_leaf_prot(e),
	};
	return true;
}

void vi_radix_count(const struct vi_radix *r, uint64_t start, uint64_t last,
		    struct vi_removed *found)
{
	uint64_t e, first, leaf_last, to;

	for (uint64_t s = start;; s = to + 1) {
		bool leaf = leaf_at(r, s, &e, &first, &leaf_last);

		to = vi_min(leaf_last, last);
		if (leaf) {
			found->bytes += to - s + 1;
			found->leaves++;
			found->mappings += first == s && (e & VI_LEAF_FIRST);
		}
		if (to == last)
			return;
	}
}
