/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Holds are in a list of the instance, under the lock of pending fences: one
 * that is found in a fence's way is still there when the fence joins the
 * pending ones, or whoever released it settles afterwards.
 *
 * A hold has a number, as pins have: a fence with a lesser one took what it
 * took while the notifier was told of everything, this hold included if need
 * be.
 */
#include "core/hold.h"

#include "base/range.h"
#include "core/endpoint.h"
#include "core/fence.h"

struct hold {
	struct vi_list link; /* in vi->holding */
	struct viommu *vi;
	struct viommu_fence *f;
	uint64_t seq;
	/* both space and memory, unlike a fence's */
	struct vi_extent what;
};
_Static_assert(sizeof(struct hold) <= sizeof(struct viommu_hold), "hold grew");

static struct hold *hold_of(struct vi_list *l)
{
	return vi_list_of(l, struct hold, link);
}

void vi_hold(struct viommu_hold *pub, struct viommu *vi, struct viommu_fence *f,
	     const struct vi_extent *what)
{
	struct hold *h = (struct hold *)(void *)pub->opaque;

	h->vi = vi;
	h->f = f;
	h->what = *what;
	viommu_fence_hold(f);
	vi_lock(&vi->pending_lock);
	/* here, so that it is in the way of no fence that pends already */
	h->seq = atomic_load(&vi->commits);
	vi_list_add_tail(&vi->holding, &h->link);
	atomic_fetch_add(&vi->nholding, 1);
	vi_unlock(&vi->pending_lock);
}

void viommu_notifier_release(struct viommu_hold *pub)
{
	struct hold *h = (struct hold *)(void *)pub->opaque;
	struct viommu_fence *f = h->f;
	struct viommu *vi = h->vi;

	vi_lock(&vi->pending_lock);
	vi_list_remove(&h->link);
	atomic_fetch_sub(&vi->nholding, 1);
	vi_unlock(&vi->pending_lock);
	vi_fence_unhold(f);
	if (VI_MUTANT != VI_MUTANT_HOLD_NO_SETTLE && atomic_load(&vi->npending))
		vi_fence_settle(vi, NULL);
}

static bool extent_hits(const struct vi_extent *what, const struct hold *h)
{
	if (what->mem)
		return what->mem == h->what.mem;
	if (what->space && what->space != h->what.space)
		return false;
	if (what->ep && what->ep != h->what.ep)
		return false;
	return vi_overlap(what->start, what->last, h->what.start, h->what.last);
}

static bool in_the_way(const struct hold *h, const struct vi_taking *t)
{
	if (VI_MUTANT == VI_MUTANT_HOLD_FENCE_ONLY)
		return false;
	for (unsigned i = 0; h->seq <= t->seq && i < t->n; i++)
		if (extent_hits(&t->what[i], h))
			return true;
	return false;
}

bool vi_hold_find_locked(struct viommu *vi, const struct viommu_fence *f,
			 const struct vi_taking *t, struct vi_extent *what)
{
	struct vi_list *l;

	if (!atomic_load(&vi->nholding))
		return false;
	vi_list_for_each (l, &vi->holding) {
		const struct hold *h = hold_of(l);

		if (h->f == f || in_the_way(h, t)) {
			*what = h->what;
			return true;
		}
	}
	return false;
}

bool vi_hold_blocks(struct viommu *vi, const struct vi_taking *t)
{
	struct vi_extent unused;
	bool found;

	if (VI_LIKELY(!atomic_load(&vi->nholding)))
		return false;
	vi_lock(&vi->pending_lock);
	found = vi_hold_find_locked(vi, NULL, t, &unused);
	vi_unlock(&vi->pending_lock);
	return found;
}

bool vi_hold_exists(struct viommu_endpoint *ep)
{
	struct viommu *vi = ep->vi;
	bool found = false;
	struct vi_list *l;

	vi_lock(&vi->pending_lock);
	vi_list_for_each (l, &vi->holding)
		found = found || hold_of(l)->what.ep == ep;
	vi_unlock(&vi->pending_lock);
	return found;
}
