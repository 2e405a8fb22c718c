/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See pin.h for the index and its place in the protocol.
 *
 * Asking.  A map is marked as asked under its seat's lock, where it cannot go.
 * Its callback is called without any lock; meanwhile a record of the call, on
 * the asker's stack, stands in a list of the instance.  The map's owner looks
 * for it when it lets go of a map that was asked: it waits for a call on
 * another thread, and within its own call goes on.  So no callback runs, nor
 * will, for a map that is gone, and nothing is read from a handle that is.
 *
 * Locks: the trees and `asked` are the seat's lock's; the records are the
 * lock of asking's, which comes after it.
 */
#include "core/index.h"

#include "base/probe.h"
#include "base/range.h"
#include "core/endpoint.h"
#include "core/instance.h"
#include "core/move.h"

_Static_assert(sizeof(struct vi_held) <=
		       sizeof(((struct viommu_dma *)0)->opaque),
	       "viommu_dma is too small");

#define HELD_OF(n, tree) vi_list_of(n, struct vi_held, tree)

static struct vi_inode inode(const void *key, uint64_t start, uint64_t last)
{
	return (struct vi_inode){ .key = key, .start = start, .last = last };
}

void vi_index_add(struct vi_pin *pin, struct viommu_dma *d, uint64_t gpa,
		  uint64_t gpa_last)
{
	struct vi_held *h = vi_held_of(d);
	struct vi_seat *seat = pin->seat;
	uint64_t last = d->iova + (d->len - 1);

	h->d = d;
	h->seq = atomic_load_explicit(&pin->seq, memory_order_relaxed);
	h->asked = false;
	h->fresh = true;
	h->by_space =
		inode(atomic_load_explicit(&pin->space, memory_order_relaxed),
		      d->iova, last);
	h->by_ep = inode(d->ep, d->iova, last);
	h->by_mem = inode(d->ep->memory, gpa, gpa_last);
	vi_lock(&seat->lock);
	vi_itree_insert(&seat->by_space, &h->by_space);
	vi_itree_insert(&seat->by_ep, &h->by_ep);
	vi_itree_insert(&seat->by_mem, &h->by_mem);
	atomic_fetch_add(&seat->spilled, 1);
	vi_unlock(&seat->lock);
}

/* ---- asking ----------------------------------------------------------- */

/* A callback that runs. */
struct asking {
	struct vi_list link;
	const struct vi_held *held; /* NULL: let go of in the callback */
	pthread_t asker;
};

static struct asking *asking_find_locked(struct viommu *vi,
					 const struct vi_held *h)
	VI_REQUIRES(&vi->asking_lock)
{
	struct vi_list *l;

	vi_list_for_each (l, &vi->asking)
		if (vi_list_of(l, struct asking, link)->held == h)
			return vi_list_of(l, struct asking, link);
	return NULL;
}

/* Whoever asks @h has returned, or is this thread, which asks it no more. */
static void asking_wait(struct viommu *vi, const struct vi_held *h)
{
	struct asking *a;

	vi_lock(&vi->asking_lock);
	while ((a = asking_find_locked(vi, h)) &&
	       !pthread_equal(a->asker, pthread_self()))
		vi_wait(&vi->asked, &vi->asking_lock);
	if (a)
		a->held = NULL;
	vi_unlock(&vi->asking_lock);
}

static void ask(struct viommu *vi, struct viommu_dma *d, struct asking *a)
{
	VI_PROBE2(revoke, d, d->iova);
	/* others are to be asked after it */
	vi_nowait_begin();
	d->revoke(d);
	vi_nowait_end();
	/* d may be gone */
	vi_lock(&vi->asking_lock);
	vi_list_remove(&a->link);
	vi_signal_all(&vi->asked);
	vi_unlock(&vi->asking_lock);
	VI_PROBE1(revoked, d);
}

bool vi_index_ripen(struct vi_held *h)
{
	bool asked;

	vi_lock(&h->seat->lock);
	asked = h->asked;
	h->fresh = asked;
	vi_unlock(&h->seat->lock);
	return !asked;
}

void vi_index_remove(struct vi_held *h)
{
	struct vi_seat *seat = h->seat;

	vi_lock(&seat->lock);
	/* it is asked once: nobody begins after this */
	if (h->asked && !h->fresh && VI_MUTANT != VI_MUTANT_REVOKE_GONE) {
		vi_unlock(&seat->lock);
		VI_WINDOW();
		asking_wait(h->vi, h);
		vi_lock(&seat->lock);
	}
	vi_itree_remove(&seat->by_space, &h->by_space);
	vi_itree_remove(&seat->by_ep, &h->by_ep);
	vi_itree_remove(&seat->by_mem, &h->by_mem);
	atomic_fetch_sub(&seat->spilled, 1);
	vi_unlock(&seat->lock);
}

/* ---- finding ---------------------------------------------------------- */

/* The next node that @what hits. */
static struct vi_held *extent_next_locked(struct vi_seat *seat,
					  const struct vi_extent *what,
					  struct vi_icursor *at)
	VI_REQUIRES(&seat->lock)
{
	struct vi_inode *n;

	if (what->mem) {
		n = vi_itree_next(&seat->by_mem, what->mem, what->start,
				  what->last, at);
		return n ? HELD_OF(n, by_mem) : NULL;
	}
	if (what->ep && !what->space) {
		n = vi_itree_next(&seat->by_ep, what->ep, what->start,
				  what->last, at);
		return n ? HELD_OF(n, by_ep) : NULL;
	}
	do
		n = vi_itree_next(&seat->by_space, what->space, what->start,
				  what->last, at);
	while (n && what->ep && HELD_OF(n, by_space)->by_ep.key != what->ep);
	return n ? HELD_OF(n, by_space) : NULL;
}

/* Was @h before @t, and one of those that matter? */
static bool concerns(const struct vi_held *h, const struct vi_taking *t)
{
	return h->seq <= t->seq && (!t->writers || (h->d->prot & VIOMMU_WRITE));
}

const struct vi_held *vi_index_find_locked(struct vi_seat *seat,
					   const struct vi_taking *t)
{
	for (unsigned i = 0; i < t->n; i++) {
		struct vi_icursor at = { 0 };
		const struct vi_held *h;

		do
			h = extent_next_locked(seat, &t->what[i], &at);
		while (h && !concerns(h, t));
		if (h)
			return h;
	}
	return NULL;
}

const struct vi_held *vi_index_find(struct vi_seat *seat,
				    const struct vi_taking *t)
{
	const struct vi_held *h;

	vi_lock(&seat->lock);
	h = vi_index_find_locked(seat, t);
	vi_unlock(&seat->lock);
	return h;
}

bool vi_index_holds(struct vi_seat *seat, const struct vi_taking *t,
		    const struct viommu_endpoint *ep)
{
	const struct vi_held *h = NULL;

	vi_lock(&seat->lock);
	for (unsigned i = 0; i < t->n && !h; i++) {
		struct vi_icursor at = { 0 };

		do
			h = extent_next_locked(seat, &t->what[i], &at);
		while (h && (!concerns(h, t) || (ep && h->d->ep != ep)));
	}
	vi_unlock(&seat->lock);
	return h;
}

static bool extent_hits(const struct vi_held *h, const struct vi_extent *what)
{
	const struct vi_inode *n = what->mem ? &h->by_mem : &h->by_space;

	if (what->mem && n->key != what->mem)
		return false;
	if (what->space && h->by_space.key != what->space)
		return false;
	if (what->ep && h->by_ep.key != what->ep)
		return false;
	return vi_overlap(what->start, what->last, n->start, n->last);
}

bool vi_index_blocks(const struct vi_held *h, const struct vi_taking *t)
{
	for (unsigned i = 0; concerns(h, t) && i < t->n; i++)
		if (extent_hits(h, &t->what[i]))
			return true;
	return false;
}

/* ---- revoking --------------------------------------------------------- */

/* What of @h the fence takes, or more. */
static void taken_set(const struct vi_held *h, const struct vi_taking *t)
{
	struct viommu_dma *d = h->d;
	uint64_t start = UINT64_MAX, last = 0;

	for (unsigned i = 0; i < t->n; i++) {
		const struct vi_extent *what = &t->what[i];
		const struct vi_inode *n =
			what->mem ? &h->by_mem : &h->by_space;
		uint64_t a = vi_max(what->start, n->start);
		uint64_t b = vi_min(what->last, n->last);

		if (!extent_hits(h, what))
			continue;
		/* a GPA is as far into it as an IOVA, unless it is scattered */
		if (what->mem && h->scattered)
			a = n->start, b = n->start + (d->len - 1);
		start = vi_min(start, a - n->start);
		last = vi_max(last, b - n->start);
	}
	d->taken = d->iova + start;
	d->taken_last = d->iova + last;
}

/* Mark @h as asked, and note that it is being asked. */
static struct viommu_dma *mark_locked(struct viommu *vi, struct vi_held *h,
				      const struct vi_taking *t,
				      struct asking *a)
{
	struct viommu_dma *d = h->d;

	h->asked = true;
	taken_set(h, t);
	a->held = h;
	a->asker = pthread_self();
	atomic_fetch_add_explicit(&vi->revokes, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&d->ep->revokes, 1, memory_order_relaxed);
	vi_lock(&vi->asking_lock);
	vi_list_add_tail(&vi->asking, &a->link);
	vi_unlock(&vi->asking_lock);
	return d;
}

/* The next one that is to be asked. */
static struct viommu_dma *revoke_next(struct viommu *vi, struct vi_seat *seat,
				      const struct vi_taking *t,
				      const struct vi_extent *what,
				      struct vi_icursor *at, struct asking *a)
{
	struct viommu_dma *d = NULL;
	struct vi_held *h;

	vi_lock(&seat->lock);
	while (!d && (h = extent_next_locked(seat, what, at))) {
		if (!concerns(h, t) || h->asked)
			continue;
		if (h->fresh)
			h->asked = true;
		else if (h->d->revoke)
			d = mark_locked(vi, h, t, a);
	}
	vi_unlock(&seat->lock);
	return d;
}

void vi_index_revoke(struct viommu *vi, struct vi_seat *seat,
		     const struct vi_taking *t)
{
	for (unsigned i = 0; i < t->n; i++) {
		struct vi_icursor at = { 0 };
		struct viommu_dma *d;
		struct asking a;

		while ((d = revoke_next(vi, seat, t, &t->what[i], &at, &a))) {
			VI_WINDOW();
			ask(vi, d, &a);
		}
	}
}

void vi_index_writers(struct vi_seat *seat, const struct viommu_memory *mem,
		      vi_writer_fn *fn, void *arg)
{
	struct vi_icursor at = { 0 };
	struct vi_inode *n;

	vi_lock(&seat->lock);
	while ((n = vi_itree_next(&seat->by_mem, mem, 0, UINT64_MAX, &at))) {
		const struct vi_held *h = HELD_OF(n, by_mem);
		struct vi_writer w = {
			.gpa = n->start,
			.last = n->last,
			.iov = h->scattered ? h->d->iov : NULL,
			.niov = h->d->niov,
			.len = h->d->len,
		};

		if (h->d->prot & VIOMMU_WRITE)
			fn(arg, &w);
	}
	vi_unlock(&seat->lock);
}
