/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What IOVAs mean.  Writers of one space take turns under its lock; accesses
 * read the table without (radix.h) and are waited for by fences (pin.h).
 *
 * map: check, then one call that publishes or changes nothing.  unmap: where it
 * cuts no mapping, one call, which allocates nothing (L5).  Otherwise the
 * policy says what goes; the mappings in the way are cut first, which may fail
 * and changes no translation, and then it cuts none.
 *
 * Where notifiers follow the space, a map tells them first (notifier.c).
 *
 * Who finds no quota lets go of the lock, collects what other spaces have to
 * spare, and tries again.
 */
#include "core/space.h"

#include <errno.h>
#include <string.h>

#include "base/opts.h"
#include "core/endpoint.h"
#include "core/fence.h"
#include "core/instance.h"
#include "core/linear.h"
#include "core/miss.h"
#include "core/notifier.h"
#include "core/quota.h"
#include "core/scatter.h"

enum {
	PROT_ALL = VIOMMU_READ | VIOMMU_WRITE | VIOMMU_EXEC | VIOMMU_PRIV |
		   VIOMMU_MMIO,
	GRANULE_MAX_LG2 = 30,
};

/* ---- life ------------------------------------------------------------- */

static void space_free(struct vi_retire *retire)
{
	struct viommu_space *s =
		vi_list_of(retire, struct viommu_space, retire);

	vi_radix_fini(&s->table);
	vi_linear_free(s);
	vi_lock_fini(&s->lock);
	vi_free(&s->vi->env, s);
}

static int config_check(struct viommu_space_config *c,
			const struct viommu_space_config *in)
{
	if (vi_opts_copy(c, sizeof(*c), in, in->size, sizeof(*c)) ||
	    c->kind > VIOMMU_SPACE_LINEAR ||
	    c->policy > VIOMMU_SPACE_WHOLE_PAGE || c->reserved ||
	    c->last < c->start)
		return -EINVAL;
	if (c->kind == VIOMMU_SPACE_LINEAR)
		return c->miss ? -EINVAL : vi_linear_check(c);
	if (!(c->page_sizes & vi_mask(GRANULE_MAX_LG2 + 1)))
		return -EINVAL;
	return (c->kind == VIOMMU_SPACE_REMOTE) == !!c->miss ? 0 : -EINVAL;
}

int viommu_space_create(struct viommu *vi, const struct viommu_space_config *in,
			struct viommu_space **out)
{
	struct viommu_space_config c;
	struct viommu_space *s;
	int rc = config_check(&c, in);

	if (rc)
		return rc;
	s = vi_alloc(&vi->env, sizeof(*s), _Alignof(max_align_t));
	if (!s)
		return -ENOMEM;
	s->vi = vi;
	s->id = atomic_fetch_add(&vi->space_ids, 1) + 1;
	s->kind = (enum viommu_space_kind)c.kind;
	s->policy = (enum viommu_space_policy)c.policy;
	s->start = c.start;
	s->last = c.start || c.last ? c.last : UINT64_MAX;
	s->page_sizes = c.page_sizes;
	s->max_mappings = c.max_mappings ? c.max_mappings : vi->max_mappings;
	s->retire.free = space_free;
	vi_list_init(&s->endpoints);
	vi_lock_init(&s->lock);
	vi_radix_init(&s->table, &vi->tables,
		      (unsigned)__builtin_ctzll(c.page_sizes));
	vi_quota_tables(s);
	if (c.kind == VIOMMU_SPACE_REMOTE)
		rc = vi_miss_create(s, &c);
	if (c.kind == VIOMMU_SPACE_LINEAR)
		rc = vi_linear_create(s);
	if (rc) {
		space_free(&s->retire);
		return rc;
	}
	vi_lock(&vi->lock);
	vi_list_add_tail(&vi->spaces, &s->link);
	vi_unlock(&vi->lock);
	*out = s;
	return 0;
}

void viommu_space_destroy(struct viommu_space *s, struct viommu_fence *f)
{
	struct viommu *vi = s->vi;

	vi_fence_gather(f, vi, NULL); /* so that it can be held */
	vi_lock(&vi->notify_lock);
	vi_lock(&s->lock);
	vi_tell_unmap_locked(s, 0, UINT64_MAX, f);
	vi_unlock(&s->lock);
	vi_lock(&vi->lock);
	vi_lock(&s->lock);
	while (!vi_list_empty(&s->endpoints)) {
		struct viommu_endpoint *ep = vi_list_of(
			s->endpoints.next, struct viommu_endpoint, space_link);

		vi_list_remove(&ep->space_link);
		ep->attached = NULL;
		atomic_store(&ep->space, NULL);
	}
	if (s->linear)
		vi_linear_leave_locked(s);
	vi_quota_leave_locked(s);
	vi_list_remove(&s->link);
	vi_unlock(&s->lock);
	vi_unlock(&vi->lock);
	vi_unlock(&vi->notify_lock);
	vi_fence_gather(f, vi,
			&(struct vi_extent){ .space = s, .last = UINT64_MAX });
	if (s->kind == VIOMMU_SPACE_REMOTE)
		vi_miss_destroy(s, f);
	s->retire.next = NULL;
	vi_fence_retire(f, &s->retire);
}

/* ---- telling ---------------------------------------------------------- */

/*
 * Begin a change: lock the space, and before it, if somebody is to be told, the
 * notify lock.  Whether it is held is returned, for change_end().
 */
static bool change_begin(struct viommu_space *s)
	VI_ACQUIRE(&s->lock) VI_NO_ANALYSIS
{
	vi_lock(&s->lock);
	if (VI_LIKELY(!s->watched))
		return false;
	vi_unlock(&s->lock);
	if (VI_MUTANT != VI_MUTANT_NOTIFY_UNORDERED)
		vi_lock(&s->vi->notify_lock);
	VI_WINDOW();
	vi_lock(&s->lock);
	return true;
}

static void change_end(struct viommu_space *s, bool told)
	VI_RELEASE(&s->lock) VI_NO_ANALYSIS
{
	vi_unlock(&s->lock);
	if (told && VI_MUTANT != VI_MUTANT_NOTIFY_UNORDERED)
		vi_unlock(&s->vi->notify_lock);
}

/* ---- map -------------------------------------------------------------- */

static int mapping_check(const struct viommu_space *s,
			 const struct viommu_mapping *m)
{
	uint64_t mask = vi_mask(s->table.granule_lg2);

	if (!vi_space_has_table(s) || m->last < m->start || m->reserved ||
	    !m->prot || (m->prot & ~(uint32_t)PROT_ALL))
		return -EINVAL;
	if ((m->start & mask) || (~m->last & mask) || (m->gpa & mask))
		return -ERANGE;
	if (m->start < s->start || m->last > s->last ||
	    m->gpa + (m->last - m->start) < m->gpa)
		return -ERANGE;
	return 0;
}

bool vi_space_reserves_locked(const struct viommu_space *s, uint64_t start,
			      uint64_t last)
{
	struct vi_list *l;

	vi_list_for_each (l, &s->endpoints)
		if (vi_endpoint_reserved(
			    vi_list_of(l, struct viommu_endpoint, space_link),
			    start, last))
			return true;
	return false;
}

static void mapped_locked(struct viommu_space *s,
			  const struct viommu_mapping *m) VI_REQUIRES(&s->lock)
{
	s->mapped++;
	s->bytes += m->last - m->start + 1;
}

static int map_locked(struct viommu_space *s, const struct viommu_mapping *m)
	VI_REQUIRES(&s->lock)
{
	int rc;

	if (vi_space_reserves_locked(s, m->start, m->last))
		return -EADDRNOTAVAIL;
	rc = vi_quota_take_locked(s, 1);
	if (rc)
		return rc;
	rc = vi_radix_map(&s->table, m->start, m->last, m->gpa, m->prot);
	if (rc)
		vi_quota_put_locked(s, 1);
	else
		mapped_locked(s, m);
	return rc;
}

/* Was it the instance's quota, and have others some to spare?  No lock held. */
static bool again(struct viommu_space *s, int *rc)
{
	if (VI_LIKELY(*rc != -EAGAIN))
		return false;
	if (vi_quota_reclaim(s->vi))
		return true;
	*rc = -ENOSPC;
	return false;
}

/* What was mapped may answer questions. */
static void answered(struct viommu_space *s, uint64_t start, uint64_t last)
{
	if (s->kind == VIOMMU_SPACE_REMOTE)
		vi_miss_answer(s, start, last);
}

/* ---- map a scatter list ----------------------------------------------- */

/* Count its mappings, find where it ends; the errors of map. */
static int scatter_check(const struct viommu_space *s, struct vi_scatter *sc,
			 uint64_t *mappings)
{
	uint64_t mask = vi_mask(s->table.granule_lg2);
	struct viommu_mapping m;
	int rc;

	for (size_t i = 0; i < sc->n; i++) {
		if (!sc->list[i].len)
			return -EINVAL;
		if ((sc->list[i].gpa | sc->list[i].len) & mask)
			return -ERANGE;
	}
	*mappings = 0;
	while (vi_scatter_next(sc, &m)) {
		/* wraps: either inside, or before what comes after */
		if (m.last < m.start || (*mappings && !m.start))
			return -ERANGE;
		rc = mapping_check(s, &m);
		if (rc)
			return rc;
		if (!vi_radix_fits(&s->table, m.start, m.gpa))
			return -ERANGE;
		sc->src.last = m.last;
		++*mappings;
	}
	return *mappings ? 0 : -EINVAL;
}

/* Nothing of it is mapped: make the tables, so that mapping cannot fail. */
static int scatter_reserve_locked(struct viommu_space *s, struct vi_scatter *sc)
	VI_REQUIRES(&s->lock)
{
	struct viommu_mapping m;
	size_t end;
	int rc = 0;

	vi_scatter_rewind(sc);
	while (!rc && vi_scatter_next(sc, &m))
		rc = vi_radix_reserve(&s->table, m.start, m.last);
	end = sc->i;
	vi_scatter_rewind(sc);
	while (rc && sc->i < end && vi_scatter_next(sc, &m))
		vi_radix_unreserve(&s->table, m.start, m.last);
	return rc;
}

static void scatter_publish_locked(struct viommu_space *s,
				   struct vi_scatter *sc) VI_REQUIRES(&s->lock)
{
	struct viommu_mapping m;

	vi_scatter_rewind(sc);
	while (vi_scatter_next(sc, &m)) {
		int rc =
			vi_radix_map(&s->table, m.start, m.last, m.gpa, m.prot);

		VI_BUG_ON(rc);
		mapped_locked(s, &m);
	}
}

static int scatter_map_locked(struct viommu_space *s, struct vi_scatter *sc,
			      uint64_t mappings) VI_REQUIRES(&s->lock)
{
	int rc;

	if (vi_space_reserves_locked(s, sc->src.start, sc->src.last))
		return -EADDRNOTAVAIL;
	if (vi_radix_maps(&s->table, sc->src.start, sc->src.last))
		return -EEXIST;
	rc = vi_quota_take_locked(s, mappings);
	if (rc)
		return rc;
	/* before there are tables: a guest that is refused again and again must
	 * not use them up */
	rc = vi_tell_map_locked(s, &sc->src);
	if (!rc) {
		rc = scatter_reserve_locked(s, sc);
		if (rc)
			vi_tell_unmap_locked(s, sc->src.start, sc->src.last,
					     NULL);
		else
			scatter_publish_locked(s, sc);
	}
	if (rc)
		vi_quota_put_locked(s, mappings);
	return rc;
}

/* @m as a list, in *@one. */
static void scatter_one(struct vi_scatter *sc, const struct viommu_mapping *m,
			struct viommu_segment *one)
{
	*one = (struct viommu_segment){ .gpa = m->gpa,
					.len = m->last - m->start + 1 };
	vi_scatter_init(sc, m->start, m->prot, one, 1);
	sc->src.last = m->last;
}

/* A mapping that is told of goes this way, too. */
static int map_told_locked(struct viommu_space *s,
			   const struct viommu_mapping *m) VI_REQUIRES(&s->lock)
{
	struct viommu_segment one;
	struct vi_scatter sc;

	if (!vi_radix_fits(&s->table, m->start, m->gpa))
		return -ERANGE;
	scatter_one(&sc, m, &one);
	return scatter_map_locked(s, &sc, 1);
}

static int map_linear(struct viommu_space *s, const struct viommu_mapping *m)
{
	struct viommu_segment one;
	struct vi_scatter sc;

	scatter_one(&sc, m, &one);
	return vi_linear_map(s, &sc);
}

int viommu_space_map(struct viommu_space *s, const struct viommu_mapping *m)
{
	int rc = mapping_check(s, m);

	if (rc)
		return rc;
	if (s->linear)
		return map_linear(s, m);
	do {
		bool told = change_begin(s);

		rc = VI_UNLIKELY(told) ? map_told_locked(s, m)
				       : map_locked(s, m);
		change_end(s, told);
	} while (again(s, &rc));
	if (!rc)
		answered(s, m->start, m->last);
	return rc;
}

int viommu_space_map_list(struct viommu_space *s, viommu_iova_t iova,
			  uint32_t prot, const struct viommu_segment *list,
			  size_t n)
{
	struct vi_scatter sc;
	uint64_t mappings;
	int rc;

	if (!vi_space_has_table(s))
		return -EINVAL;
	vi_scatter_init(&sc, iova, prot, list, n);
	rc = scatter_check(s, &sc, &mappings);
	if (rc)
		return rc;
	if (s->linear)
		return vi_linear_map(s, &sc);
	do {
		bool told = change_begin(s);

		rc = scatter_map_locked(s, &sc, mappings);
		change_end(s, told);
	} while (again(s, &rc));
	if (!rc)
		answered(s, sc.src.start, sc.src.last);
	return rc;
}

/* ---- pages and cuts --------------------------------------------------- */

/*
 * Linux maps page after page, each the largest that fits: supported, aligned in
 * both addresses, not beyond the end, and smaller ones up to where a larger one
 * begins.  That is to say: the page around a byte is the largest block of a
 * supported size inside the mapping that is aligned in both.
 */
void vi_space_page(const struct viommu_space *s, const struct viommu_mapping *m,
		   uint64_t iova, uint64_t *start, uint64_t *last)
{
	uint64_t sizes = s->page_sizes;

	for (; sizes;
	     sizes &= ~(UINT64_C(1) << (63 - __builtin_clzll(sizes)))) {
		uint64_t mask = vi_mask(63 - (unsigned)__builtin_clzll(sizes));

		*start = iova & ~mask;
		*last = iova | mask;
		if (!((m->start - m->gpa) & mask) && *start >= m->start &&
		    *last <= m->last)
			return;
	}
}

/* The mapping around @iova. */
static bool mapping_at_locked(const struct viommu_space *s, uint64_t iova,
			      struct viommu_mapping *m) VI_REQUIRES(&s->lock)
{
	return vi_radix_next(&s->table, iova, m) && m->start <= iova;
}

/* Widen [*start, *last] to whole pages at both edges. */
static void widen_to_pages_locked(const struct viommu_space *s, uint64_t *start,
				  uint64_t *last) VI_REQUIRES(&s->lock)
{
	struct viommu_mapping m;
	uint64_t unused;

	if (mapping_at_locked(s, *start, &m))
		vi_space_page(s, &m, *start, start, &unused);
	if (mapping_at_locked(s, *last, &m))
		vi_space_page(s, &m, *last, &unused, last);
}

static void widen_to_mappings_locked(const struct viommu_space *s,
				     uint64_t *start, uint64_t *last)
	VI_REQUIRES(&s->lock)
{
	struct viommu_mapping m;

	if (mapping_at_locked(s, *start, &m))
		*start = m.start;
	if (mapping_at_locked(s, *last, &m))
		*last = m.last;
}

/* May the policy cut exactly here?  -ERANGE.  May widen the range. */
static int policy_apply_locked(const struct viommu_space *s, uint64_t *start,
			       uint64_t *last) VI_REQUIRES(&s->lock)
{
	uint64_t mask = vi_mask(s->table.granule_lg2);

	switch (s->policy) {
	case VIOMMU_SPACE_REFUSE:
		break;
	case VIOMMU_SPACE_SPLIT:
		if ((*start & mask) && vi_radix_cuts_first(&s->table, *start))
			break;
		if ((~*last & mask) && vi_radix_cuts_last(&s->table, *last))
			break;
		return 0;
	case VIOMMU_SPACE_WHOLE_PAGE:
		widen_to_pages_locked(s, start, last);
		return 0;
	}
	return -ERANGE;
}

/* Does one mapping go on across both edges?  Then a cut makes one more. */
static bool inside_locked(const struct viommu_space *s, uint64_t start,
			  uint64_t last) VI_REQUIRES(&s->lock)
{
	struct viommu_mapping m;

	return vi_radix_cuts(&s->table, start, last) &&
	       mapping_at_locked(s, start, &m) && m.start < start &&
	       m.last > last;
}

/*
 * Cut what goes on across the edges of [start, last].  What is inside will be
 * removed, so only a hole in one mapping needs quota.
 */
static int cut_locked(struct viommu_space *s, uint64_t start, uint64_t last)
	VI_REQUIRES(&s->lock)
{
	bool inside = inside_locked(s, start, last);
	int rc = inside ? vi_quota_take_locked(s, 1) : 0;

	if (rc)
		return rc;
	rc = vi_radix_cut(&s->table, start, last);
	if (rc < 0) {
		if (inside)
			vi_quota_put_locked(s, 1);
		return rc;
	}
	/* those that are removed at once: as if they had a mapping's credit */
	s->credit -= (uint64_t)rc - inside;
	s->mapped += (uint64_t)rc;
	s->splits += (uint64_t)rc;
	return 0;
}

/* ---- unmap ------------------------------------------------------------ */

/* A removal, under way: of what the caller names, or wider. */
struct taking {
	struct viommu_fence *f;
	uint64_t start, last;
	struct vi_retire *tables;
	struct vi_removed removed;
};

static void take_locked(struct viommu_space *s, struct taking *t)
	VI_REQUIRES(&s->lock)
{
	if (t->removed.mappings) {
		s->unmapped += t->removed.mappings;
		vi_quota_put_locked(s, t->removed.mappings);
	}
	s->bytes -= t->removed.bytes;
	if (t->removed.leaves)
		/* release: who sees it sees the table, too */
		atomic_store_explicit(&s->generation, s->generation + 1,
				      memory_order_release);
	vi_fence_gather(t->f, s->vi,
			&(struct vi_extent){ .space = s,
					     .start = t->start,
					     .last = t->last });
	if (t->tables)
		vi_fence_retire(t->f, t->tables);
}

static bool unmap_exact_locked(struct viommu_space *s, struct taking *t)
	VI_REQUIRES(&s->lock)
{
	if (!vi_radix_unmap(&s->table, t->start, t->last, &t->tables,
			    &t->removed))
		return false;
	take_locked(s, t);
	return true;
}

static int unmap_locked(struct viommu_space *s, struct taking *t)
	VI_REQUIRES(&s->lock)
{
	bool exact = unmap_exact_locked(s, t);
	int rc;

	if (VI_LIKELY(exact))
		return 0;
	rc = policy_apply_locked(s, &t->start, &t->last);
	if (!rc)
		rc = vi_tell_cut_locked(s, t->start, t->last);
	if (!rc)
		rc = cut_locked(s, t->start, t->last);
	if (rc)
		return rc;
	exact = unmap_exact_locked(s, t);
	VI_BUG_ON(!exact);
	return 0;
}

int64_t viommu_space_unmap(struct viommu_space *s, viommu_iova_t start,
			   viommu_iova_t last, struct viommu_fence *f)
{
	struct taking t = { .f = f };
	int rc;

	if (last < start || !vi_space_has_table(s))
		return -EINVAL;
	if (s->linear)
		return vi_linear_unmap(s, start, last, f);
	do {
		bool told = change_begin(s);

		t.start = start;
		t.last = last;
		rc = unmap_locked(s, &t);
		if (!rc)
			vi_tell_unmap_locked(s, t.start, t.last, f);
		change_end(s, told);
	} while (again(s, &rc));
	if (rc)
		return rc;
	if (s->kind == VIOMMU_SPACE_REMOTE)
		vi_miss_cancel(s, t.start, t.last);
	/* 2^64 of them are 0 */
	if (t.removed.leaves && !t.removed.bytes)
		return INT64_MAX;
	return (int64_t)vi_min(t.removed.bytes, INT64_MAX);
}

int viommu_space_invalidate(struct viommu_space *s, viommu_iova_t start,
			    viommu_iova_t last, struct viommu_fence *f)
{
	uint64_t mask = vi_mask(s->table.granule_lg2);
	struct taking t = { .f = f,
			    .start = start & ~mask,
			    .last = last | mask };
	bool exact, told;

	if (last < start || s->kind != VIOMMU_SPACE_REMOTE)
		return -EINVAL;
	told = change_begin(s);
	if (vi_tell_cut_locked(s, t.start, t.last) ||
	    cut_locked(s, t.start, t.last))
		widen_to_mappings_locked(s, &t.start, &t.last);
	exact = unmap_exact_locked(s, &t);
	VI_BUG_ON(!exact);
	vi_tell_unmap_locked(s, t.start, t.last, f);
	change_end(s, told);
	vi_miss_cancel(s, t.start, t.last);
	return 0;
}

/* ---- remap ------------------------------------------------------------ */

/* May the policy replace exactly [start, last]? */
static bool remap_allowed_locked(const struct viommu_space *s, uint64_t start,
				 uint64_t last) VI_REQUIRES(&s->lock)
{
	uint64_t page_start = start, page_last = last;

	return !vi_radix_cuts(&s->table, start, last) ||
	       (!policy_apply_locked(s, &page_start, &page_last) &&
		page_start == start && page_last == last);
}

/* Quota for a mapping in the place of what is in [start, last]: *n are taken.
 * First for the worst, then, if that is too much, exactly. */
static int remap_take_locked(struct viommu_space *s, uint64_t start,
			     uint64_t last, uint64_t *n) VI_REQUIRES(&s->lock)
{
	struct vi_removed found = { 0 };
	uint64_t right = vi_radix_cuts_last(&s->table, last);

	*n = 1 + right;
	if (!vi_quota_take_locked(s, *n))
		return 0;
	vi_radix_count(&s->table, start, last, &found);
	*n -= vi_min(*n, found.mappings);
	return vi_quota_take_locked(s, *n);
}

static int remap_locked(struct viommu_space *s, const struct viommu_mapping *m,
			struct taking *t) VI_REQUIRES(&s->lock)
{
	uint64_t quota;
	int rc;

	if (vi_space_reserves_locked(s, m->start, m->last))
		return -EADDRNOTAVAIL;
	if (!remap_allowed_locked(s, m->start, m->last))
		return -ERANGE;
	rc = remap_take_locked(s, m->start, m->last, &quota);
	if (rc)
		return rc;
	rc = vi_tell_remap_locked(s, m, t->f);
	if (!rc) {
		rc = vi_radix_remap(&s->table, m, &t->tables, &t->removed);
		if (rc < 0)
			vi_tell_remap_undo_locked(s, m, t->f);
	}
	if (rc < 0) {
		vi_quota_put_locked(s, quota);
		return rc;
	}
	s->credit -= 1 + (uint64_t)rc - quota;
	s->mapped += (uint64_t)rc;
	s->splits += (uint64_t)rc;
	mapped_locked(s, m);
	take_locked(s, t);
	return 0;
}

int viommu_space_remap(struct viommu_space *s, const struct viommu_mapping *m,
		       struct viommu_fence *f)
{
	struct taking t = { .f = f, .start = m->start, .last = m->last };
	int rc = mapping_check(s, m);

	if (rc)
		return rc;
	if (s->linear)
		return vi_linear_remap(s, m, f);
	do {
		bool told = change_begin(s);

		rc = remap_locked(s, m, &t);
		change_end(s, told);
	} while (again(s, &rc));
	if (!rc)
		answered(s, m->start, m->last);
	return rc;
}

/* ---- looking ---------------------------------------------------------- */

bool vi_space_next_locked(const struct viommu_space *s, uint64_t iova,
			  struct viommu_mapping *out)
{
	if (vi_space_has_table(s))
		return vi_radix_next(&s->table, iova, out);
	*out = (struct viommu_mapping){ .start = s->start,
					.last = s->last,
					.gpa = s->start,
					.prot = PROT_ALL & ~VIOMMU_MMIO };
	return iova <= s->last;
}

bool vi_space_maps_locked(const struct viommu_space *s, uint64_t start,
			  uint64_t last)
{
	return vi_space_has_table(s)
		       ? vi_radix_maps(&s->table, start, last)
		       : vi_overlap(start, last, s->start, s->last);
}

int viommu_space_next(struct viommu_space *s, viommu_iova_t iova,
		      struct viommu_mapping *out)
{
	bool found;

	vi_lock(&s->lock);
	found = vi_space_next_locked(s, iova, out);
	vi_unlock(&s->lock);
	return found ? 0 : -ENOENT;
}

int viommu_space_translate(struct viommu_space *s, viommu_iova_t iova,
			   viommu_gpa_t *out)
{
	unsigned lg2;
	uint64_t e;

	if (!vi_space_has_table(s)) {
		if (iova < s->start || iova > s->last)
			return -ENOENT;
		*out = iova;
		return 0;
	}
	vi_lock(&s->lock);
	e = vi_radix_find(&s->table, iova, &lg2);
	vi_unlock(&s->lock);
	if (!e)
		return -ENOENT;
	*out = vi_leaf_target(&s->table, e, iova);
	return 0;
}

void viommu_space_read_stats(struct viommu_space *s,
			     struct viommu_space_stats *out)
{
	memset(out, 0, sizeof(*out));
	vi_lock(&s->lock);
	out->mapped = s->mapped;
	out->unmapped = s->unmapped;
	out->bytes = s->bytes;
	if (s->linear)
		vi_linear_count(s->linear, &out->mapped, &out->unmapped);
	out->mappings = out->mapped - out->unmapped;
	if (s->linear)
		out->bytes = out->mappings << s->table.granule_lg2;
	if (out->mappings && !out->bytes)
		out->bytes = UINT64_MAX;
	out->splits = s->splits;
	out->table_bytes = s->table.tables * sizeof(struct vi_table);
	vi_unlock(&s->lock);
	out->misses = atomic_load_explicit(&s->nmisses, memory_order_relaxed);
}
