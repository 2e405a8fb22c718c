/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Takings: what goes out of a mapper's view, and when it is gone.
 *
 *	open      UNMAP gathers into the mapper's open one
 *	commit    FLUSH, or an owner that wants pages back; one of its own for
 *	          each mapping that a revoke callback takes, and for destruction
 *	done      the references are dropped; then flushes that waited are over
 *
 * A flush waits for every taking of its mapper that was opened before it,
 * whoever committed that: the flush of one vCPU may not overtake another's.
 */
#include <errno.h>

#include "guest/xen/hypervisor.h"

/* What a batch keeps while its flush waits. */
struct waiter {
	struct viommu_xen_batch *next;
	uint64_t seq; /* of the last taking that it waits for */
};
_Static_assert(sizeof(struct waiter) <=
		       sizeof(((struct viommu_xen_batch *)0)->opaque),
	       "waiter grew");

static struct waiter *waiter_of(struct viommu_xen_batch *b)
{
	return (struct waiter *)(void *)b->opaque;
}

/* ---- flushes ---------------------------------------------------------- */

/* Those that need not wait any longer, or, if @failed, for whom there is no
 * use in it. */
static struct viommu_xen_batch *
flushes_take_locked(struct viommu_xen_guest *g, const struct vx_taking *failed)
{
	uint64_t oldest = g->takings ? g->takings->seq : UINT64_MAX;
	struct viommu_xen_batch *over = NULL, **at = &g->flushes, *b;

	while ((b = *at)) {
		struct waiter *w = waiter_of(b);

		if (failed ? w->seq < failed->seq : w->seq >= oldest) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->next = over;
		over = b;
	}
	return over;
}

static void flushes_end(struct viommu_xen *x, struct viommu_xen_batch *b,
			int status)
{
	while (b) {
		struct viommu_xen_batch *next = waiter_of(b)->next;

		atomic_fetch_sub(&x->waiting, 1);
		vx_batch_step(x, b, status);
		b->done(b);
		b = next;
	}
}

int vx_taking_flush(struct viommu_xen_guest *mapper, struct viommu_xen_batch *b)
{
	struct vx_taking *t;
	uint64_t seq;
	int rc = 0;

	vx_lock(mapper->x);
	seq = mapper->seq;
	vx_unlock(mapper->x);
	vx_taking_commit_open(mapper);
	if (VX_MUTANT == VX_MUTANT_TOLD_EARLY)
		return 0;
	vx_lock(mapper->x);
	for (t = mapper->takings; t && t->seq <= seq; t = t->next)
		rc = rc == -EIO || t->failed ? -EIO : -EINPROGRESS;
	if (rc == -EINPROGRESS) {
		*waiter_of(b) = (struct waiter){ mapper->flushes, seq };
		mapper->flushes = b;
		atomic_fetch_add(&mapper->x->waiting, 1);
	}
	vx_unlock(mapper->x);
	return rc;
}

/* ---- life ------------------------------------------------------------- */

static void taking_failed(struct viommu_fence *f, void *arg)
{
	struct vx_taking *t = arg;
	struct viommu_xen *x = t->mapper->x;
	struct viommu_xen_batch *over;

	(void)f;
	vx_lock(x);
	t->failed = true;
	over = flushes_take_locked(t->mapper, t);
	vx_unlock(x);
	flushes_end(x, over, -EIO);
}

void vx_taking_init_locked(struct vx_taking *t, struct viommu_xen_guest *mapper)
{
	viommu_fence_init(&t->fence);
	viommu_fence_set_failed(&t->fence, taking_failed);
	t->mapper = mapper;
	t->mappings = NULL;
	t->failed = false;
	t->storage = VX_GUESTS;
	t->seq = ++mapper->seq;
	t->next = NULL;
	t->pprev = mapper->takings_tail;
	*t->pprev = t;
	mapper->takings_tail = &t->next;
	atomic_fetch_add(&mapper->refs, 1);
	atomic_fetch_add(&mapper->x->unflushed, 1);
}

static void leave_locked(struct vx_taking *t)
{
	*t->pprev = t->next;
	if (t->next)
		t->next->pprev = t->pprev;
	else
		t->mapper->takings_tail = t->pprev;
	atomic_fetch_sub(&t->mapper->x->unflushed, 1);
}

struct vx_taking *vx_taking_make_locked(struct viommu_xen_guest *mapper)
{
	struct vx_taking *t = viommu_alloc(mapper->x->vi, sizeof(*t));

	if (!t)
		return NULL;
	vx_taking_init_locked(t, mapper);
	t->storage = VX_ALLOCATED;
	return t;
}

void vx_taking_cancel_locked(struct vx_taking *t)
{
	struct viommu_xen_guest *mapper = t->mapper;

	leave_locked(t);
	viommu_free(mapper->x->vi, t);
	atomic_fetch_sub(&mapper->refs, 1); /* the caller has another */
}

struct vx_taking *vx_taking_spare_locked(struct viommu_xen_guest *mapper)
{
	if (mapper->spare_used)
		return vx_taking_make_locked(mapper);
	mapper->spare_used = true;
	vx_taking_init_locked(&mapper->spare, mapper);
	mapper->spare.storage = VX_SPARE;
	return &mapper->spare;
}

struct vx_taking *vx_taking_open_locked(struct viommu_xen_guest *mapper)
{
	if (!mapper->open)
		mapper->open = vx_taking_make_locked(mapper);
	return mapper->open;
}

/* ---- commit and done --------------------------------------------------- */

/* All but those that a revoke callback is at, which will drop them itself.  It
 * does not begin with one that is here: that is GONE. */
static struct vx_mapping *pop_all(struct vx_taking *t)
{
	struct viommu_xen *x = t->mapper->x;
	struct vx_mapping **at = &t->mappings, *m;

	vx_lock(x);
	while ((m = *at)) {
		if (m->asking) {
			*at = m->next;
			m->drop = true;
		} else {
			m->state = VX_GONE;
			at = &m->next;
		}
	}
	m = t->mappings;
	t->mappings = NULL;
	vx_unlock(x);
	return m;
}

static void drop_all(struct vx_taking *t)
{
	struct vx_mapping *m = pop_all(t), *next;

	for (; m; m = next) {
		next = m->next;
		vx_mapping_drop(m);
	}
}

static void taking_done(struct viommu_fence *f, void *arg)
{
	struct vx_taking *t = arg;
	struct viommu_xen_guest *mapper = t->mapper;
	struct viommu_xen *x = mapper->x;
	struct viommu_xen_batch *over;
	struct vx_link *link = NULL;
	bool deferred = false;

	(void)f;
	drop_all(t);
	vx_lock(x);
	leave_locked(t);
	over = flushes_take_locked(mapper, NULL);
	if (t->storage == VX_SPARE) {
		mapper->spare_used = false;
		deferred = mapper->deferred;
	} else if (t->storage == VX_LINKS) {
		link = vx_node_of(t, struct vx_link, last);
	} else if (t->storage == VX_ALLOCATED) {
		viommu_free(x->vi, t);
	}
	vx_unlock(x);
	flushes_end(x, over, 0);
	if (deferred)
		vx_revoke_deferred(mapper);
	if (link)
		vx_link_put(link);
	vx_guest_put(mapper);
}

void vx_taking_commit(struct vx_taking *t)
{
	if (VX_MUTANT == VX_MUTANT_DROP_EARLY)
		drop_all(t);
	viommu_fence_commit(&t->fence, taking_done, t);
}

void vx_taking_commit_open(struct viommu_xen_guest *mapper)
{
	struct vx_taking *t;

	vx_lock(mapper->x);
	t = mapper->open;
	mapper->open = NULL;
	vx_unlock(mapper->x);
	if (t)
		vx_taking_commit(t);
}
