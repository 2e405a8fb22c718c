/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The writers' side of the tree: see radix.h for what it is.
 *
 * map has four paragraphs: check that the range is free, take the tables that
 * are missing from the pool, fill them aside, link them with one store each.
 * Nothing can fail after the second.
 */
#include "table/radix.h"

#include <errno.h>
#include <string.h>

enum {
	POOL_MAX = 64, /* free tables that a pool keeps */
};

static struct vi_table *table_of(struct vi_retire *r)
{
	return (struct vi_table *)(void *)((char *)r -
					   offsetof(struct vi_table, retire));
}

/* ---- the pool --------------------------------------------------------- */

void vi_table_pool_init(struct vi_table_pool *pool,
			const struct viommu_env *env)
{
	pool->env = env;
	pool->free = NULL;
	pool->nfree = 0;
	vi_lock_init(&pool->lock);
}

void vi_table_pool_fini(struct vi_table_pool *pool)
{
	while (pool->free) {
		struct vi_table *t = table_of(pool->free);

		pool->free = pool->free->next;
		vi_free(pool->env, t);
	}
	vi_lock_fini(&pool->lock);
}

/* Its entries are all zero: it came from the pool so, and left the tree so. */
static void table_put(struct vi_table *t)
{
	struct vi_table_pool *pool = t->pool;

	vi_lock(&pool->lock);
	if (pool->nfree < POOL_MAX) {
		pool->nfree++;
		vi_retire_add(&pool->free, &t->retire);
		t = NULL;
	}
	vi_unlock(&pool->lock);
	vi_free(pool->env, t);
}

static void table_retired(struct vi_retire *r)
{
	table_put(table_of(r));
}

static struct vi_table *table_get(struct vi_table_pool *pool)
{
	struct vi_table *t = NULL;

	vi_lock(&pool->lock);
	if (pool->free) {
		t = table_of(pool->free);
		pool->free = pool->free->next;
		pool->nfree--;
	}
	vi_unlock(&pool->lock);
	if (!t)
		t = vi_alloc(pool->env, sizeof(*t), VI_TABLE_ALIGN);
	if (t) {
		t->retire.free = table_retired;
		t->pool = pool;
		t->parent = NULL;
		t->used = 0;
	}
	return t;
}

/* ---- one table -------------------------------------------------------- */

static uint64_t entry(const struct vi_table *t, unsigned slot)
{
	return atomic_load_explicit(&t->e[slot], memory_order_relaxed);
}

static struct vi_table *child(const struct vi_table *t, unsigned slot)
{
	uint64_t e = t ? entry(t, slot) : 0;

	return e & VI_LEAF ? NULL : (struct vi_table *)(uintptr_t)e;
}

static void entry_set(struct vi_table *t, unsigned slot, uint64_t e)
{
	/* release: what it points to was filled before */
	atomic_store_explicit(&t->e[slot], e, memory_order_release);
	t->used++;
}

static void entry_clear(struct vi_table *t, unsigned slot)
{
	atomic_store_explicit(&t->e[slot], 0, memory_order_relaxed);
	t->used--;
}

static unsigned shift_of(const struct vi_radix *r, unsigned level)
{
	return r->granule_lg2 + VI_RADIX_BITS * level;
}

static unsigned slot_of(const struct vi_radix *r, unsigned level, uint64_t addr)
{
	return (addr >> shift_of(r, level)) % VI_RADIX_SLOTS;
}

/* ---- the tree --------------------------------------------------------- */

void vi_radix_init(struct vi_radix *r, struct vi_table_pool *pool,
		   unsigned granule_lg2)
{
	atomic_init(&r->top, 0);
	r->granule_lg2 = (uint8_t)granule_lg2;
	r->delta_shift = granule_lg2 < 8 ? (uint8_t)(8 - granule_lg2) : 0;
	r->pool = pool;
	r->spare = NULL;
}

static void table_free_tree(struct vi_table *t, unsigned level)
{
	for (unsigned i = 0; t->used && i < VI_RADIX_SLOTS; i++) {
		struct vi_table *c = child(t, i);

		if (!entry(t, i))
			continue;
		if (c)
			table_free_tree(c, level - 1);
		entry_clear(t, i);
	}
	table_put(t);
}

void vi_radix_fini(struct vi_radix *r)
{
	uint64_t top = atomic_load(&r->top);

	if (top)
		table_free_tree(VI_RADIX_TABLE(top), VI_RADIX_LEVEL(top));
	atomic_store(&r->top, 0);
	r->spare = NULL;
}

/* Does any leaf below @t lie in [start, last]? */
static bool table_maps(const struct vi_radix *r, const struct vi_table *t,
		       unsigned level, uint64_t start, uint64_t last)
{
	unsigned first = slot_of(r, level, start), to = slot_of(r, level, last);
	uint64_t mask = vi_mask(shift_of(r, level)), any = 0;

	if (!t->used)
		return false;
	if (!level) {
		for (unsigned i = first; i <= to; i++)
			any |= entry(t, i);
		return any;
	}
	for (unsigned i = first; i <= to; i++) {
		const struct vi_table *c = child(t, i);

		if (!c) {
			if (entry(t, i))
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

/* Leaves of a table wholly inside are at slots of their own, so only the two
 * slots at the edges can need a table below them. */
static unsigned tables_missing(const struct vi_radix *r,
			       const struct vi_table *t, unsigned level,
			       uint64_t start, uint64_t last)
{
	unsigned first = slot_of(r, level, start), to = slot_of(r, level, last);
	uint64_t mask = vi_mask(shift_of(r, level));
	uint64_t first_last = first == to ? last : start | mask;
	unsigned n = 0;

	if ((start & mask) || (first_last & mask) != mask)
		n += !child(t, first) + tables_missing(r, child(t, first),
						       level - 1, start,
						       first_last);
	if (first != to && (last & mask) != mask)
		n += !child(t, to) + tables_missing(r, child(t, to), level - 1,
						    last & ~mask, last);
	return n;
}

/* What map carries on its way down. */
struct filling {
	struct vi_radix *r;
	struct vi_table *stock; /* by parent: enough of them */
	uint64_t start, last, leaf;
};

static struct vi_table *stock_take(struct filling *f)
{
	struct vi_table *t = f->stock;

	f->stock = t->parent;
	t->parent = NULL;
	return t;
}

static int stock_fill(struct filling *f, unsigned n)
{
	f->stock = NULL;
	while (n--) {
		struct vi_table *t = table_get(f->r->pool);

		if (!t) {
			while (f->stock)
				table_put(stock_take(f));
			return -ENOMEM;
		}
		t->parent = f->stock;
		f->stock = t;
	}
	return 0;
}

static void table_link(struct vi_table *t, unsigned slot, struct vi_table *c)
{
	c->parent = t;
	c->slot = (uint16_t)slot;
	entry_set(t, slot, (uintptr_t)c);
}

static void fill(struct filling *f, struct vi_table *t, unsigned level,
		 uint64_t start, uint64_t last)
{
	uint64_t mask = vi_mask(shift_of(f->r, level));

	for (uint64_t s = start;; s = (s | mask) + 1) {
		unsigned slot = slot_of(f->r, level, s);
		uint64_t l = vi_min(s | mask, last);
		struct vi_table *c = child(t, slot);

		if (!c && !(s & mask) && (l & mask) == mask) {
			entry_set(t, slot,
				  f->leaf |
					  (s == f->start ? VI_LEAF_FIRST : 0) |
					  (l == f->last ? VI_LEAF_LAST : 0));
		} else if (c) {
			fill(f, c, level - 1, s, l);
		} else {
			c = stock_take(f);
			fill(f, c, level - 1, s, l);
			table_link(t, slot, c);
		}
		if (l == last)
			return;
	}
}

/* The level whose one table reaches @last. */
static unsigned level_for(const struct vi_radix *r, uint64_t last)
{
	unsigned level = 0;

	while (last > vi_mask(shift_of(r, level + 1)))
		level++;
	return level;
}

static bool leaf_make(const struct vi_radix *r, uint64_t start, uint64_t target,
		      uint32_t prot, uint64_t *leaf)
{
	uint64_t delta = target - start, up = delta << r->delta_shift;

	if ((uint64_t)((int64_t)up >> r->delta_shift) != delta)
		return false;
	*leaf = up | (prot << VI_LEAF_PROT_SHIFT) | VI_LEAF;
	return true;
}

/*
 * Make the tree reach @last.  A new top holds the old one, even an empty one,
 * below its first slot: at most one table a level, for the tree's life.
 */
static int radix_grow(struct vi_radix *r, uint64_t last)
{
	uint64_t top = atomic_load_explicit(&r->top, memory_order_relaxed);
	struct vi_table *t = VI_RADIX_TABLE(top), *up;
	unsigned level = t ? VI_RADIX_LEVEL(top) : level_for(r, last);

	while (!t || last > vi_mask(shift_of(r, level + 1))) {
		up = table_get(r->pool);
		if (!up)
			return -ENOMEM;
		if (t) {
			table_link(up, 0, t);
			level++;
		}
		t = up;
		/* pointer and level in one store: readers see both or none */
		atomic_store_explicit(&r->top, (uintptr_t)t | level,
				      memory_order_release);
	}
	return 0;
}

int vi_radix_map(struct vi_radix *r, uint64_t start, uint64_t last,
		 uint64_t target, uint32_t prot)
{
	struct filling f = { .r = r, .start = start, .last = last };
	struct vi_table *t;
	unsigned level;
	uint64_t top;
	int rc;

	if (!leaf_make(r, start, target, prot, &f.leaf))
		return -ERANGE;
	rc = radix_grow(r, last);
	if (rc)
		return rc;
	top = atomic_load_explicit(&r->top, memory_order_relaxed);
	t = VI_RADIX_TABLE(top);
	level = VI_RADIX_LEVEL(top);
	if (table_maps(r, t, level, start, last))
		return -EEXIST;
	rc = stock_fill(&f, tables_missing(r, t, level, start, last));
	if (rc)
		return rc;
	fill(&f, t, level, start, last);
	return 0;
}

bool vi_radix_cuts(const struct vi_radix *r, uint64_t start, uint64_t last)
{
	unsigned lg2;
	uint64_t e;

	e = vi_radix_find(r, start, &lg2);
	if (e && (!(e & VI_LEAF_FIRST) || (start & vi_mask(lg2))))
		return true;
	e = vi_radix_find(r, last, &lg2);
	return e && (!(e & VI_LEAF_LAST) || (~last & vi_mask(lg2)));
}

/* What unmap carries on its way down. */
struct clearing {
	struct vi_radix *r;
	struct vi_retire **retired;
	struct vi_removed *removed;
};

static void removed_add(struct vi_removed *removed, uint64_t e, uint64_t mask)
{
	uint64_t room = UINT64_MAX - removed->bytes;

	removed->bytes += mask < room ? mask + 1 : room;
	removed->mappings += !!(e & VI_LEAF_FIRST);
}

/* Take an empty table out of the tree, and what its going leaves empty. */
static void table_detach(struct clearing *c, struct vi_table *t)
{
	while (!t->used && t->parent) {
		struct vi_table *up = t->parent;

		entry_clear(up, t->slot);
		vi_retire_add(c->retired, &t->retire);
		t = up;
	}
}

/* @t became empty: it is the spare now, and the former spare goes. */
static void table_emptied(struct clearing *c, struct vi_table *t)
{
	struct vi_table *old = c->r->spare;

	c->r->spare = t;
	if (old && old != t)
		table_detach(c, old);
}

static void clear(struct clearing *c, struct vi_table *t, unsigned level,
		  uint64_t start, uint64_t last)
{
	uint64_t mask = vi_mask(shift_of(c->r, level));

	for (uint64_t s = start; t->used; s = (s | mask) + 1) {
		unsigned slot = slot_of(c->r, level, s);
		uint64_t l = vi_min(s | mask, last), e = entry(t, slot);

		if (e & VI_LEAF) {
			removed_add(c->removed, e, mask);
			entry_clear(t, slot);
		} else if (e) {
			clear(c, child(t, slot), level - 1, s, l);
		}
		if (l == last)
			break;
	}
	if (!t->used && t->parent)
		table_emptied(c, t);
}

void vi_radix_unmap(struct vi_radix *r, uint64_t start, uint64_t last,
		    struct vi_retire **retired, struct vi_removed *removed)
{
	struct clearing c = { .r = r, .retired = retired, .removed = removed };
	uint64_t top = atomic_load_explicit(&r->top, memory_order_relaxed);
	unsigned level = VI_RADIX_LEVEL(top);
	uint64_t reach;

	if (!top)
		return;
	reach = vi_mask(shift_of(r, level + 1));
	if (start <= reach)
		clear(&c, VI_RADIX_TABLE(top), level, start,
		      vi_min(last, reach));
}

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

bool vi_radix_next(const struct vi_radix *r, uint64_t addr,
		   struct viommu_mapping *out)
{
	uint64_t e, first, last, e2, first2, last2;

	while (!leaf_at(r, addr, &e, &first, &last)) {
		if (last == UINT64_MAX)
			return false;
		addr = last + 1;
	}
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
