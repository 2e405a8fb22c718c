/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See linear.h.  Every change is made in this order: the entries, the
 * generation if something was there before, then the caller's fence gathers
 * (L1); all of it before the stripes are let go of, but what matters is that it
 * is before the caller can commit.
 *
 * Locks: as linear.h says.  Which stripes a writer has is a number at run time,
 * which the analysis cannot follow.
 */
#include "core/linear.h"

#include <errno.h>

#include "base/range.h"
#include "core/fence.h"
#include "core/instance.h"
#include "core/notifier.h"
#include "core/quota.h"
#include "table/linear.h"
#include "table/tree.h"

enum {
	PAGE_MIN_LG2 = 12,
	PAGE_MAX_LG2 = 34,
	BLOCK_LG2 = VI_LINEAR_BLOCK_LG2,
	/* of so many blocks the stripes are all, more or less */
	BLOCKS = 64,
};
_Static_assert(VI_LINEAR_STRIPES <= 64 &&
		       !(VI_LINEAR_STRIPES & (VI_LINEAR_STRIPES - 1)),
	       "a set of them is a word");

#define STRIPES_ALL (~UINT64_C(0) >> (64 - VI_LINEAR_STRIPES))

/* ---- stripes ---------------------------------------------------------- */

/* Blocks that are a power of two apart, as guests divide their tables, are
 * spread, too. */
static unsigned stripe_of(uint64_t block)
{
	return (unsigned)(block * UINT64_C(0x9e3779b97f4a7c15) >> 32) %
	       VI_LINEAR_STRIPES;
}

static unsigned stripe_at(const struct viommu_space *s, uint64_t iova)
{
	return stripe_of(iova >> s->table.granule_lg2 >> BLOCK_LG2);
}

/* Those of [start, last]: a set of bits. */
static uint64_t stripes_of(const struct viommu_space *s, uint64_t start,
			   uint64_t last)
{
	unsigned shift = s->table.granule_lg2 + BLOCK_LG2;
	uint64_t set = 0;

	if ((last >> shift) - (start >> shift) >= BLOCKS)
		return STRIPES_ALL;
	for (uint64_t b = start >> shift; b <= last >> shift; b++)
		set |= UINT64_C(1) << stripe_of(b);
	return set;
}

static void stripes_lock(struct vi_linear *l, uint64_t set) VI_NO_ANALYSIS
{
	for (; set; set &= set - 1)
		vi_lock(&l->stripe[__builtin_ctzll(set)].lock);
}

static void stripes_unlock(struct vi_linear *l, uint64_t set) VI_NO_ANALYSIS
{
	for (; set; set &= set - 1)
		vi_unlock(&l->stripe[__builtin_ctzll(set)].lock);
}

void vi_space_lock(struct viommu_space *s) VI_NO_ANALYSIS
{
	vi_lock(&s->lock);
	if (s->linear && VI_MUTANT != VI_MUTANT_LINEAR_UNSEEN)
		stripes_lock(s->linear, STRIPES_ALL);
}

void vi_space_unlock(struct viommu_space *s) VI_NO_ANALYSIS
{
	if (s->linear && VI_MUTANT != VI_MUTANT_LINEAR_UNSEEN)
		stripes_unlock(s->linear, STRIPES_ALL);
	vi_unlock(&s->lock);
}

void vi_linear_count(struct vi_linear *l, uint64_t *mapped, uint64_t *unmapped)
{
	for (unsigned i = 0; i < VI_LINEAR_STRIPES; i++) {
		struct vi_linear_stripe *st = &l->stripe[i];

		vi_lock(&st->lock);
		*mapped += st->mapped;
		*unmapped += st->unmapped;
		vi_unlock(&st->lock);
	}
}

/* ---- life ------------------------------------------------------------- */

int vi_linear_check(const struct viommu_space_config *c)
{
	uint64_t sizes = vi_mask(PAGE_MAX_LG2 + 1) & ~vi_mask(PAGE_MIN_LG2);
	uint64_t page = c->page_sizes;

	if (!page || (page & (page - 1)) || !(page & sizes) ||
	    c->policy != VIOMMU_SPACE_REFUSE)
		return -EINVAL;
	return (c->start | ~c->last) & (page - 1) ? -EINVAL : 0;
}

static uint64_t entries(const struct viommu_space *s)
{
	return ((s->last - s->start) >> s->table.granule_lg2) + 1;
}

/* All that it will ever have. */
static int quota_take(struct viommu_space *s)
{
	int rc;

	do {
		vi_lock(&s->lock);
		rc = vi_quota_take_locked(s, entries(s));
		vi_unlock(&s->lock);
	} while (rc == -EAGAIN && vi_quota_reclaim(s->vi));
	return rc == -EAGAIN ? -ENOSPC : rc;
}

static int stripes_make(struct viommu_space *s)
{
	s->linear = vi_alloc(&s->vi->env, sizeof(*s->linear),
			     _Alignof(struct vi_linear));
	if (!s->linear)
		return -ENOMEM;
	for (unsigned i = 0; i < VI_LINEAR_STRIPES; i++)
		vi_lock_init(&s->linear->stripe[i].lock);
	return 0;
}

int vi_linear_create(struct viommu_space *s)
{
	int rc = quota_take(s);

	if (rc)
		return rc;
	rc = stripes_make(s);
	if (!rc)
		rc = vi_linear_make(&s->table, s->start, s->last);
	if (rc) {
		vi_lock(&s->lock);
		s->credit += entries(s);
		vi_quota_leave_locked(s);
		vi_unlock(&s->lock);
	}
	return rc;
}

void vi_linear_free(struct viommu_space *s)
{
	if (!s->linear)
		return;
	for (unsigned i = 0; i < VI_LINEAR_STRIPES; i++)
		vi_lock_fini(&s->linear->stripe[i].lock);
	vi_free(&s->vi->env, s->linear);
}

void vi_linear_leave_locked(struct viommu_space *s)
{
	uint64_t mapped = 0, unmapped = 0;

	vi_linear_count(s->linear, &mapped, &unmapped);
	s->mapped = s->unmapped = mapped;
	s->credit += entries(s);
}

/* ---- entries ---------------------------------------------------------- */

static uint64_t leaf_of(const struct viommu_mapping *page)
{
	return vi_linear_leaf(page->start, page->gpa, page->prot);
}

/* Write @e at @iova, whose stripe is taken; was there something before? */
static bool entry_put(struct viommu_space *s, uint64_t iova, uint64_t e)
{
	struct vi_linear_stripe *st = &s->linear->stripe[stripe_at(s, iova)];
	/* sequentially consistent: one of the loads that L3 stands on reads
	 * it, or what was there before */
	uint64_t old = atomic_exchange(vi_linear_entry(&s->table, iova), e);

	st->mapped += !!e;
	st->unmapped += !!old;
	return old;
}

/* Something was taken or changed.  Others do so meanwhile, each is counted.
 * Release: who sees it sees the table, too. */
static void advance(struct viommu_space *s)
{
	atomic_fetch_add_explicit(&s->generation, 1, memory_order_release);
}

static bool entry_mapped(const struct viommu_space *s, uint64_t iova)
{
	return atomic_load_explicit(vi_linear_entry(&s->table, iova),
				    memory_order_relaxed);
}

/* ---- changes ---------------------------------------------------------- */

/*
 * Begin one of what @set is the stripes of.  False: they are taken, and nobody
 * is to be told.  True: none is, but the notify lock and the space's are, and
 * every other writer waits for the former.
 */
static bool change_begin(struct viommu_space *s, uint64_t set) VI_NO_ANALYSIS
{
	for (;;) {
		stripes_lock(s->linear, set);
		if (VI_LIKELY(!s->watched)) {
			VI_WINDOW();
			return false;
		}
		stripes_unlock(s->linear, set);
		vi_lock(&s->vi->notify_lock);
		vi_lock(&s->lock);
		if (VI_LIKELY(s->watched))
			return true;
		/* not any more: others do not wait */
		vi_unlock(&s->lock);
		vi_unlock(&s->vi->notify_lock);
	}
}

/* While stripes are not taken because somebody is told, who writes takes them
 * for those who count. */
static void write_begin(struct viommu_space *s, uint64_t set, bool told)
{
	if (VI_UNLIKELY(told))
		stripes_lock(s->linear, set);
}

static void write_end(struct viommu_space *s, uint64_t set, bool told)
{
	if (VI_UNLIKELY(told))
		stripes_unlock(s->linear, set);
}

static void change_end(struct viommu_space *s, uint64_t set,
		       bool told) VI_NO_ANALYSIS
{
	if (VI_LIKELY(!told)) {
		stripes_unlock(s->linear, set);
		return;
	}
	vi_unlock(&s->lock);
	vi_unlock(&s->vi->notify_lock);
}

/* ---- map -------------------------------------------------------------- */

/* A list, page by page. */
struct pages {
	struct vi_source src;
	struct vi_scatter *sc;
	uint64_t mask;
	struct viommu_mapping rest; /* of a piece */
	bool some;		    /* is there one? */
};

static bool pages_next(struct pages *p, struct viommu_mapping *page)
{
	if (!p->some && !vi_scatter_next(p->sc, &p->rest))
		return false;
	*page = p->rest;
	page->last = page->start | p->mask;
	p->some = page->last != p->rest.last;
	p->rest.start += p->mask + 1;
	p->rest.gpa += p->mask + 1;
	return true;
}

static void pages_rewind(struct pages *p)
{
	vi_scatter_rewind(p->sc);
	p->some = false;
}

static void source_rewind(struct vi_source *src)
{
	pages_rewind(vi_list_of(src, struct pages, src));
}

static size_t source_next(struct vi_source *src, struct viommu_mapping *m,
			  size_t max)
{
	struct pages *p = vi_list_of(src, struct pages, src);
	size_t n = 0;

	while (n < max && pages_next(p, &m[n]))
		n++;
	return n;
}

/* May all of it be mapped? */
static int map_check(const struct viommu_space *s,
		     const struct pages *p) VI_NO_ANALYSIS
{
	uint64_t last = p->src.last;

	if (vi_space_reserves_locked(s, p->src.start, last))
		return -EADDRNOTAVAIL;
	for (uint64_t at = p->src.start;; at += p->mask + 1) {
		if (entry_mapped(s, at))
			return -EEXIST;
		if ((at | p->mask) == last)
			return 0;
	}
}

static void map_publish(struct viommu_space *s, struct pages *p)
{
	struct viommu_mapping page;

	pages_rewind(p);
	while (pages_next(p, &page)) {
		bool was = entry_put(s, page.start, leaf_of(&page));

		VI_BUG_ON(was);
	}
}

int vi_linear_map(struct viommu_space *s, struct vi_scatter *sc) VI_NO_ANALYSIS
{
	struct pages p = { .src = { .start = sc->src.start,
				    .last = sc->src.last,
				    .rewind = source_rewind,
				    .next = source_next },
			   .sc = sc,
			   .mask = vi_mask(s->table.granule_lg2) };
	uint64_t set = stripes_of(s, p.src.start, p.src.last);
	bool told = change_begin(s, set);
	int rc = map_check(s, &p);

	if (!rc && told)
		rc = vi_tell_map_locked(s, &p.src);
	if (!rc) {
		write_begin(s, set, told);
		map_publish(s, &p);
		write_end(s, set, told);
	}
	change_end(s, set, told);
	return rc;
}

/* ---- remap ------------------------------------------------------------ */

static void gather(struct viommu_space *s, uint64_t start, uint64_t last,
		   struct viommu_fence *f)
{
	vi_fence_gather(f, s->vi,
			&(struct vi_extent){
				.space = s, .start = start, .last = last });
}

/* The first page of @rest, which is taken off; false: it was the last. */
static bool page_take(const struct viommu_space *s, struct viommu_mapping *rest,
		      struct viommu_mapping *page)
{
	uint64_t mask = vi_mask(s->table.granule_lg2);

	*page = *rest;
	page->last = page->start | mask;
	rest->start += mask + 1;
	rest->gpa += mask + 1;
	return page->last != rest->last;
}

static void remap_pages(struct viommu_space *s, const struct viommu_mapping *m)
{
	struct viommu_mapping rest = *m, page;
	bool more, was = false;

	if (VI_MUTANT == VI_MUTANT_LINEAR_GENERATION_FIRST)
		advance(s);
	VI_WINDOW();
	do {
		more = page_take(s, &rest, &page);
		was |= entry_put(s, page.start, leaf_of(&page));
	} while (more);
	VI_WINDOW();
	if (was && VI_MUTANT != VI_MUTANT_LINEAR_GENERATION_FIRST)
		advance(s);
}

/* Who refuses a page has seen those before it change. */
static int remap_told(struct viommu_space *s, const struct viommu_mapping *m,
		      struct viommu_fence *f) VI_NO_ANALYSIS
{
	struct viommu_mapping rest = *m, page;
	bool more;
	int rc;

	do {
		uint64_t set = stripes_of(s, rest.start, rest.start);

		more = page_take(s, &rest, &page);
		rc = vi_tell_remap_locked(s, &page, f);
		if (rc)
			break;
		write_begin(s, set, true);
		remap_pages(s, &page);
		write_end(s, set, true);
		gather(s, page.start, page.last, f);
	} while (more);
	return rc;
}

int vi_linear_remap(struct viommu_space *s, const struct viommu_mapping *m,
		    struct viommu_fence *f) VI_NO_ANALYSIS
{
	uint64_t set = stripes_of(s, m->start, m->last);
	bool told = change_begin(s, set);
	int rc = 0;

	if (vi_space_reserves_locked(s, m->start, m->last)) {
		rc = -EADDRNOTAVAIL;
	} else if (VI_UNLIKELY(told)) {
		rc = remap_told(s, m, f);
	} else {
		remap_pages(s, m);
		gather(s, m->start, m->last, f);
	}
	change_end(s, set, told);
	return rc;
}

/* ---- unmap ------------------------------------------------------------ */

/* How many were mapped. */
static uint64_t pages_clear(struct viommu_space *s, uint64_t start,
			    uint64_t last)
{
	uint64_t page = vi_mask(s->table.granule_lg2) + 1, n = 0;
	uint64_t at = start & ~(page - 1);
	_Atomic(uint64_t) *e = NULL;

	for (;; at += page, e++) {
		if (!e || !vi_slot(&s->table, 0, at))
			e = vi_linear_entry(&s->table, at);
		if (atomic_load_explicit(e, memory_order_relaxed))
			n += entry_put(s, at, 0);
		if ((at | (page - 1)) >= last)
			return n;
	}
}

/* [start, last], in the aperture.  Bytes, or -ERANGE. */
static int64_t unmap_pages(struct viommu_space *s, uint64_t start,
			   uint64_t last)
{
	unsigned lg2 = s->table.granule_lg2;
	uint64_t n;

	if (((start & vi_mask(lg2)) && entry_mapped(s, start)) ||
	    ((~last & vi_mask(lg2)) && entry_mapped(s, last)))
		return -ERANGE;
	if (VI_MUTANT == VI_MUTANT_LINEAR_GENERATION_FIRST)
		advance(s);
	VI_WINDOW();
	n = pages_clear(s, start, last);
	VI_WINDOW();
	if (n && VI_MUTANT != VI_MUTANT_LINEAR_GENERATION_FIRST)
		advance(s);
	return n > (uint64_t)INT64_MAX >> lg2 ? INT64_MAX : (int64_t)(n << lg2);
}

int64_t vi_linear_unmap(struct viommu_space *s, uint64_t start, uint64_t last,
			struct viommu_fence *f) VI_NO_ANALYSIS
{
	uint64_t a = vi_max(start, s->start), b = vi_min(last, s->last), set;
	int64_t n;
	bool told;

	if (a > b) {
		gather(s, start, last, f);
		return 0;
	}
	set = stripes_of(s, a, b);
	told = change_begin(s, set);
	write_begin(s, set, told);
	n = unmap_pages(s, a, b);
	write_end(s, set, told);
	if (n >= 0) {
		gather(s, start, last, f);
		if (told)
			vi_tell_unmap_locked(s, start, last, f);
	}
	change_end(s, set, told);
	return n;
}
