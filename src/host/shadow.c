/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The notifier: what an endpoint's mappings and memory become in entries.
 *
 * What cannot be removed stays in the tree, stuck.  Every fence that waits for
 * something which such an entry covers is held; it is let go when nothing is
 * stuck any more, from retry or remove, since a callback must not (it would run
 * other people's).  That may be later than needed, never earlier (L4).
 */
#include "host/shadow.h"

#include <errno.h>
#include <viommu/fence.h>
#include <viommu/memory.h>

enum {
	CUT_SPARES = 3, /* nodes that a cut needs, at most */
};

struct vh_hold {
	struct vh_hold *next;
	struct viommu_hold hold;
};

/* ---- holding fences --------------------------------------------------- */

static void hold(struct vh_shadow *sh, struct viommu_fence *f)
{
	struct vh_hold *h;

	if (!f)
		return;
	sh->st.held++;
	h = sh->spare_hold ? sh->spare_hold
			   : viommu_alloc(sh->opt.vi, sizeof(*h));
	if (!h) {
		/* without memory to remember it: for ever, so never early */
		viommu_fence_hold(f);
		return;
	}
	viommu_notifier_hold(sh->notifier, f, &h->hold);
	h->next = sh->holds;
	sh->holds = h;
	sh->spare_hold = viommu_alloc(sh->opt.vi, sizeof(*h));
}

static void release(struct vh_shadow *sh, struct vh_hold *h)
{
	while (h) {
		struct vh_hold *next = h->next;

		viommu_notifier_release(&h->hold);
		viommu_free(sh->opt.vi, h);
		h = next;
	}
}

/* ---- mappings --------------------------------------------------------- */

static void lost(struct vh_shadow *sh, uint64_t start, uint64_t last, int rc)
{
	sh->st.lost++;
	vh_trouble(sh, VIOMMU_SHADOW_LOST, &(struct vh_range){ start, last },
		   -rc);
}

static int mapping_add(struct vh_shadow *sh, const struct viommu_mapping *m)
{
	struct vh_node *n;

	if (m->prot & VIOMMU_MMIO)
		return 0;
	n = vh_node_get(sh);
	if (!n)
		return -ENOMEM;
	n->start = m->start;
	n->last = m->last;
	n->gpa = m->gpa;
	n->prot = m->prot;
	vh_tree_insert(&sh->mappings, n);
	sh->st.mappings++;
	return 0;
}

static void mapping_remove(struct vh_shadow *sh, struct vh_node *n)
{
	vh_tree_remove(&sh->mappings, n);
	vh_node_put(sh, n);
	sh->st.mappings--;
}

/* Both sides of [start, last] stay. */
static void mapping_split(struct vh_shadow *sh, struct vh_node *n,
			  uint64_t start, uint64_t last)
{
	struct viommu_mapping right = { .start = last + 1,
					.last = n->last,
					.gpa = n->gpa + (last + 1 - n->start),
					.prot = n->prot };

	n->last = start - 1;
	if (mapping_add(sh, &right))
		lost(sh, right.start, right.last, -ENOMEM);
}

static void mappings_trim(struct vh_shadow *sh, uint64_t start, uint64_t last)
{
	struct vh_node *n;

	while ((n = vh_tree_overlap(sh->mappings, start, last))) {
		if (n->start < start && n->last > last) {
			mapping_split(sh, n, start, last);
		} else if (n->start < start) {
			n->last = start - 1;
		} else if (n->last > last) {
			n->gpa += last + 1 - n->start;
			n->start = last + 1;
		} else {
			mapping_remove(sh, n);
		}
	}
}

/* ---- callbacks -------------------------------------------------------- */

/* What stays of an entry that was taken out. */
static void restore(struct vh_shadow *sh, uint64_t start, uint64_t last)
{
	int rc = vh_fill(sh, start, last, NULL);

	sh->st.cuts++;
	if (rc)
		lost(sh, start, last, rc);
}

/* All in the range goes. */
static void forget(struct vh_shadow *sh, uint64_t start, uint64_t last,
		   struct viommu_fence *f)
{
	struct vh_range r = { start, last };

	mappings_trim(sh, start, last);
	vh_take_out(sh, &r);
	if (vh_tree_overlap(sh->entries, start, last))
		hold(sh, f);
	if (r.start < start)
		restore(sh, r.start, start - 1);
	if (r.last > last)
		restore(sh, last + 1, r.last);
}

static int map_one(struct vh_shadow *sh, const struct viommu_mapping *m)
{
	struct vh_range r = { m->start, m->last };
	int rc = mapping_add(sh, m);

	/* nothing is mapped there: what there is, is stuck */
	if (!rc && sh->st.stuck)
		vh_take_out(sh, &r);
	return rc ? rc : vh_fill(sh, m->start, m->last, NULL);
}

static int on_map(void *arg, const struct viommu_mapping *m, size_t n)
{
	struct vh_shadow *sh = arg;
	size_t i;
	int rc = 0;

	pthread_mutex_lock(&sh->lock);
	for (i = 0; i < n && !rc; i++)
		rc = map_one(sh, &m[i]);
	if (rc) {
		sh->st.refused++;
		while (i--)
			forget(sh, m[i].start, m[i].last, NULL);
	}
	pthread_mutex_unlock(&sh->lock);
	return rc;
}

static void on_unmap(void *arg, viommu_iova_t start, viommu_iova_t last,
		     struct viommu_fence *f)
{
	struct vh_shadow *sh = arg;

	pthread_mutex_lock(&sh->lock);
	forget(sh, start, last, f);
	pthread_mutex_unlock(&sh->lock);
}

/* Is a byte of @e before @addr, and one at or after it? */
static bool crosses(const struct vh_node *e, uint64_t addr)
{
	return e && e->start < addr && e->last >= addr;
}

static int may_cut(struct vh_shadow *sh, uint64_t start, uint64_t last)
{
	struct vh_node *a = vh_tree_first(sh->entries, start), *b = NULL;
	uint64_t off = sh->lim.page - 1;

	if (!crosses(a, start))
		a = NULL;
	if (last < UINT64_MAX)
		b = vh_tree_first(sh->entries, last);
	if (b && !crosses(b, last + 1))
		b = NULL;
	if ((a && start & off) || (b && (last + 1) & off))
		return -ERANGE;
	if (a && a == b && sh->st.entries >= sh->st.max_entries)
		return -ENOSPC;
	return vh_node_reserve(sh, CUT_SPARES);
}

static int on_cut(void *arg, viommu_iova_t start, viommu_iova_t last)
{
	struct vh_shadow *sh = arg;
	int rc;

	pthread_mutex_lock(&sh->lock);
	rc = may_cut(sh, start, last);
	sh->st.refused += rc != 0;
	pthread_mutex_unlock(&sh->lock);
	return rc;
}

static uint64_t leads_last(const struct vh_node *e)
{
	return e->gpa + (e->last - e->start);
}

static bool leads_to(const struct vh_node *e, const struct vh_range *gpa)
{
	return e->gpa <= gpa->last && leads_last(e) >= gpa->start;
}

static bool leads_within(const struct vh_node *e, const struct vh_range *gpa)
{
	return e->gpa >= gpa->start && leads_last(e) <= gpa->last;
}

/* What of @e leads to @gpa. */
static struct vh_range leading(const struct vh_node *e,
			       const struct vh_range *gpa)
{
	struct vh_range r = { e->start, e->last };

	if (e->gpa < gpa->start)
		r.start += gpa->start - e->gpa;
	if (leads_last(e) > gpa->last)
		r.last -= leads_last(e) - gpa->last;
	return r;
}

/* The first entries in a row, from @addr on, that lead to @gpa only; or one of
 * which a part does.  @goes: what of them does. */
static bool find_leading(struct vh_shadow *sh, uint64_t addr,
			 const struct vh_range *gpa, struct vh_range *out,
			 struct vh_range *goes)
{
	struct vh_node *e = vh_tree_first(sh->entries, addr);

	while (e && !leads_to(e, gpa))
		e = vh_tree_next(sh->entries, e);
	if (!e)
		return false;
	*out = (struct vh_range){ e->start, e->last };
	*goes = leading(e, gpa);
	if (!leads_within(e, gpa))
		return true;
	while ((e = vh_tree_next(sh->entries, e)) && leads_within(e, gpa))
		out->last = goes->last = e->last;
	return true;
}

/* What stays of an entry of which @goes went.  Nobody was asked before, and
 * memory is given up at any byte: a page of the host that goes in part has no
 * place in the host. */
static void restore_sides(struct vh_shadow *sh, const struct vh_range *was,
			  const struct vh_range *goes)
{
	uint64_t off = sh->lim.page - 1;
	uint64_t start = goes->start & ~off, last = goes->last | off;

	if (start < goes->start)
		lost(sh, start, goes->start - 1, -ERANGE);
	if (last > goes->last)
		lost(sh, goes->last + 1, last, -ERANGE);
	if (was->start < start)
		restore(sh, was->start, start - 1);
	if (was->last > last)
		restore(sh, last + 1, was->last);
}

/* Memory goes, wherever it is mapped.  The memory has lost it: what is filled
 * anew does not lead there. */
static void ram_forget(struct vh_shadow *sh, uint64_t gpa, uint64_t last,
		       struct viommu_fence *f)
{
	struct vh_range target = { gpa, last }, r, goes;
	bool stuck = false;
	uint64_t at = 0;

	while (find_leading(sh, at, &target, &r, &goes)) {
		vh_take_out(sh, &r);
		stuck = stuck || vh_tree_overlap(sh->entries, r.start, r.last);
		restore_sides(sh, &r, &goes);
		if (r.last == UINT64_MAX)
			break;
		at = r.last + 1;
	}
	if (stuck)
		hold(sh, f);
}

static int on_ram_add(void *arg, const struct viommu_region *region)
{
	struct vh_shadow *sh = arg;
	int rc;

	pthread_mutex_lock(&sh->lock);
	/* it may have been here before, and be stuck */
	vh_take_out_stuck(sh);
	rc = vh_fill(sh, 0, UINT64_MAX, region);
	if (rc) {
		sh->st.refused++;
		ram_forget(sh, region->gpa, region->gpa + (region->len - 1),
			   NULL);
	}
	pthread_mutex_unlock(&sh->lock);
	return rc;
}

static void on_ram_remove(void *arg, viommu_gpa_t gpa, viommu_gpa_t last,
			  struct viommu_fence *f)
{
	struct vh_shadow *sh = arg;

	pthread_mutex_lock(&sh->lock);
	ram_forget(sh, gpa, last, f);
	pthread_mutex_unlock(&sh->lock);
}

static void on_dirty(void *arg, enum viommu_dirty_event what, viommu_gpa_t gpa,
		     viommu_gpa_t last)
{
	struct vh_shadow *sh = arg;

	pthread_mutex_lock(&sh->lock);
	vh_dirty_event(sh, what, gpa, last);
	pthread_mutex_unlock(&sh->lock);
}

/* Destroyed is what the caller knows; LOST is not. */
static void on_gone(void *arg, enum viommu_gone why)
{
	struct vh_shadow *sh = arg;

	pthread_mutex_lock(&sh->lock);
	sh->st.gone = 1;
	if (why == VIOMMU_GONE_LOST)
		lost(sh, 0, UINT64_MAX, 0);
	pthread_mutex_unlock(&sh->lock);
}

/* ---- life ------------------------------------------------------------- */

static int check(const struct vh_shadow *sh)
{
	uint64_t piece = sh->opt.piece_size;

	return piece && (piece & (piece - 1) || piece < sh->lim.page) ? -EINVAL
								      : 0;
}

int vh_shadow_init(struct vh_shadow *sh, const struct vh_ops *ops,
		   const struct vh_options *opt, const struct vh_limits *lim)
{
	sh->ops = ops;
	sh->opt = *opt;
	sh->lim = *lim;
	if (!sh->opt.memory)
		sh->opt.memory = viommu_memory_of(opt->vi);
	sh->st.max_entries = lim->max_entries;
	if (opt->max_entries && opt->max_entries < lim->max_entries)
		sh->st.max_entries = opt->max_entries;
	vh_ranges_sort(sh->lim.ranges, &sh->lim.nranges);
	pthread_mutex_init(&sh->lock, NULL);
	return check(sh);
}

int vh_shadow_add(struct vh_shadow *sh, struct viommu_endpoint *ep)
{
	static const struct viommu_notifier_ops ops = {
		.size = sizeof(ops),
		.map = on_map,
		.unmap = on_unmap,
		.cut = on_cut,
		.ram_add = on_ram_add,
		.ram_remove = on_ram_remove,
		.dirty = on_dirty,
		.gone = on_gone,
	};
	int rc;

	sh->spare_hold = viommu_alloc(sh->opt.vi, sizeof(*sh->spare_hold));
	if (!sh->spare_hold)
		return -ENOMEM;
	rc = vh_reserve(ep, &sh->lim);
	return rc ? rc : viommu_notifier_add(ep, &ops, sh, &sh->notifier);
}

int vh_shadow_retry(struct vh_shadow *sh)
{
	struct vh_hold *h = NULL;
	int rc = 0;

	pthread_mutex_lock(&sh->lock);
	vh_take_out_stuck(sh);
	if (sh->st.stuck) {
		rc = -EBUSY;
	} else {
		h = sh->holds;
		sh->holds = NULL;
	}
	pthread_mutex_unlock(&sh->lock);
	release(sh, h);
	return rc;
}

bool vh_shadow_remove(struct vh_shadow *sh, struct viommu_fence *f)
{
	viommu_notifier_remove(sh->notifier, f);
	vh_dirty_event(sh, VIOMMU_DIRTY_STOP, 0, UINT64_MAX);
	return !vh_shadow_retry(sh);
}

void vh_shadow_read_stats(struct vh_shadow *sh, struct viommu_shadow_stats *out)
{
	pthread_mutex_lock(&sh->lock);
	*out = sh->st;
	pthread_mutex_unlock(&sh->lock);
}

static void tree_free(struct vh_shadow *sh, struct vh_node **root)
{
	struct vh_node *n;

	while ((n = *root)) {
		vh_tree_remove(root, n);
		viommu_free(sh->opt.vi, n);
	}
}

void vh_shadow_fini(struct vh_shadow *sh)
{
	struct vh_node *n;

	while ((n = sh->spare)) {
		sh->spare = n->right;
		viommu_free(sh->opt.vi, n);
	}
	tree_free(sh, &sh->mappings);
	tree_free(sh, &sh->entries);
	viommu_free(sh->opt.vi, sh->spare_hold);
	viommu_free(sh->opt.vi, sh->bits);
	viommu_free(sh->opt.vi, sh->lim.ranges);
	pthread_mutex_destroy(&sh->lock);
}
