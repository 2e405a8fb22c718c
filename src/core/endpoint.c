/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who asks.  What an endpoint sees is one pointer: an access reads it,
 * publishes its pin and reads it again, so that attach and detach are one
 * store and a fence (L7).
 */
#include "core/endpoint.h"

#include <errno.h>
#include <string.h>

#include "base/opts.h"
#include "base/range.h"
#include "core/fence.h"
#include "core/hold.h"
#include "core/instance.h"
#include "core/memory.h"
#include "core/notifier.h"
#include "core/space.h"

static void endpoint_free(struct vi_retire *retire)
{
	struct viommu_endpoint *ep =
		vi_list_of(retire, struct viommu_endpoint, retire);

	vi_free(&ep->vi->env, ep->reserved);
	vi_free(&ep->vi->env, ep);
}

static struct vi_list *bucket(struct viommu *vi, uint32_t id, uint32_t pasid)
{
	uint32_t h = (id ^ pasid * UINT32_C(0x85ebca6b)) * UINT32_C(0x9e3779b1);

	return &vi->endpoints[(h >> 16) % VI_EP_BUCKETS];
}

static struct viommu_endpoint *endpoint_find_locked(struct viommu *vi,
						    uint32_t id, uint32_t pasid)
	VI_REQUIRES(&vi->lock)
{
	struct vi_list *head = bucket(vi, id, pasid), *l;

	vi_list_for_each (l, head) {
		struct viommu_endpoint *ep =
			vi_list_of(l, struct viommu_endpoint, link);

		if (ep->id == id && ep->pasid == pasid)
			return ep;
	}
	return NULL;
}

int viommu_endpoint_create(struct viommu *vi,
			   const struct viommu_endpoint_config *in,
			   struct viommu_endpoint **out)
{
	struct viommu_endpoint_config c;
	struct viommu_endpoint *ep;
	int rc = 0;

	if (vi_opts_copy(&c, sizeof(c), in, in->size, sizeof(c)) ||
	    (c.flags & ~(uint32_t)VIOMMU_ENDPOINT_NONBLOCK) || c.reserved ||
	    (c.memory && c.memory->vi != vi))
		return -EINVAL;
	ep = vi_alloc(&vi->env, sizeof(*ep), _Alignof(max_align_t));
	if (!ep)
		return -ENOMEM;
	ep->vi = vi;
	ep->memory = c.memory ? c.memory : vi->memory;
	ep->id = c.id;
	ep->pasid = c.pasid;
	ep->fault = c.fault;
	ep->expire = c.expire;
	ep->arg = c.arg;
	ep->nonblock = c.flags & VIOMMU_ENDPOINT_NONBLOCK;
	ep->retire.free = endpoint_free;
	vi_list_init(&ep->space_link);
	vi_lock(&vi->lock);
	if (endpoint_find_locked(vi, c.id, c.pasid))
		rc = -EEXIST;
	else if (vi->nendpoints >= vi->max_endpoints)
		rc = -ENOSPC;
	if (!rc) {
		vi_list_add_tail(bucket(vi, c.id, c.pasid), &ep->link);
		vi->nendpoints++;
	}
	vi_unlock(&vi->lock);
	if (rc)
		vi_free(&vi->env, ep);
	else
		*out = ep;
	return rc;
}

static void recover_locked(struct viommu_endpoint *ep)
	VI_REQUIRES(&ep->vi->lock)
{
	atomic_store(&ep->given_up, false);
	atomic_store(&ep->space, ep->attached);
	atomic_fetch_sub(&ep->vi->given_up, 1);
}

void viommu_endpoint_destroy(struct viommu_endpoint *ep, struct viommu_fence *f)
{
	struct viommu *vi = ep->vi;

	viommu_endpoint_detach(ep, f);
	vi_lock(&ep->vi->notify_lock);
	vi_notify_destroy(ep);
	vi_unlock(&ep->vi->notify_lock);
	vi_lock(&ep->vi->lock);
	vi_list_remove(&ep->link);
	vi->nendpoints--;
	if (atomic_load(&ep->given_up))
		recover_locked(ep);
	vi_unlock(&ep->vi->lock);
	ep->retire.next = NULL;
	vi_fence_retire(f, &ep->retire);
}

struct viommu_endpoint *viommu_endpoint_find(struct viommu *vi, uint32_t id,
					     uint32_t pasid)
{
	struct viommu_endpoint *ep;

	vi_lock(&vi->lock);
	ep = endpoint_find_locked(vi, id, pasid);
	vi_unlock(&vi->lock);
	return ep;
}

uint32_t viommu_endpoint_id(const struct viommu_endpoint *ep)
{
	return ep->id;
}

/* ---- attach ----------------------------------------------------------- */

static bool reserves_mapped_locked(const struct viommu_endpoint *ep,
				   const struct viommu_space *space)
	VI_REQUIRES(&space->lock)
{
	/* bypass maps everything, doorbells too: they mean the same there */
	if (space->kind == VIOMMU_SPACE_IDENTITY)
		return false;
	for (size_t i = 0; i < ep->nreserved; i++)
		if (vi_space_maps_locked(space, ep->reserved[i].start,
					 ep->reserved[i].last))
			return true;
	return false;
}

/* Two spaces' locks are of one rank: lower address first. */
static void spaces_lock(struct viommu_space *a,
			struct viommu_space *b) VI_NO_ANALYSIS
{
	if (b && (!a || b < a)) {
		vi_space_lock(b);
		b = NULL;
	}
	if (a)
		vi_space_lock(a);
	if (b)
		vi_space_lock(b);
}

static void spaces_unlock(struct viommu_space *a,
			  struct viommu_space *b) VI_NO_ANALYSIS
{
	if (a)
		vi_space_unlock(a);
	if (b)
		vi_space_unlock(b);
}

/*
 * Let @ep see @space, or nothing, in place of *@old.  It leaves one list and
 * joins the other under both locks: a map into either, meanwhile, knows whether
 * it has to keep off the endpoint's reserved ranges.
 */
static int see_locked(struct viommu_endpoint *ep, struct viommu_space *space,
		      struct viommu_space **old)
	VI_REQUIRES(&ep->vi->lock) VI_NO_ANALYSIS
{
	int rc = 0;

	*old = ep->attached;
	if (*old == space)
		return 0;
	spaces_lock(*old, space);
	if (space && reserves_mapped_locked(ep, space)) {
		rc = -EADDRNOTAVAIL;
	} else {
		vi_list_remove(&ep->space_link);
		if (space)
			vi_list_add_tail(&space->endpoints, &ep->space_link);
		ep->attached = space;
		if (!atomic_load(&ep->given_up))
			atomic_store(&ep->space, space);
	}
	spaces_unlock(*old, space);
	return rc;
}

bool vi_endpoint_may_see(struct viommu_endpoint *ep, struct viommu_space *space)
{
	bool clash;

	vi_lock(&space->lock);
	clash = reserves_mapped_locked(ep, space);
	vi_unlock(&space->lock);
	return !clash;
}

static int attach_locked(struct viommu_endpoint *ep, struct viommu_space *space,
			 struct viommu_space **old, struct viommu_fence *f)
	VI_REQUIRES(&ep->vi->notify_lock)
{
	int rc = 0;

	if (ep->notifiers && ep->attached != space)
		rc = vi_notify_switch(ep, space, f);
	if (rc)
		return rc;
	vi_lock(&ep->vi->lock);
	rc = see_locked(ep, space, old);
	vi_unlock(&ep->vi->lock);
	return rc;
}

int viommu_endpoint_attach(struct viommu_endpoint *ep,
			   struct viommu_space *space, struct viommu_fence *f)
{
	struct viommu *vi = ep->vi;
	struct viommu_space *old;
	int rc;

	if (vi != space->vi)
		return -EINVAL;
	vi_lock(&ep->vi->notify_lock);
	rc = attach_locked(ep, space, &old, f);
	vi_unlock(&ep->vi->notify_lock);
	if (rc || old == space)
		return rc;
	atomic_fetch_add_explicit(&ep->attaches, 1, memory_order_relaxed);
	/* old may be gone by now: the fence only compares it */
	if (old)
		vi_fence_gather(f, vi,
				&(struct vi_extent){ .space = old,
						     .ep = ep,
						     .last = UINT64_MAX });
	return 0;
}

void viommu_endpoint_detach(struct viommu_endpoint *ep, struct viommu_fence *f)
{
	struct viommu *vi = ep->vi;
	struct viommu_space *old;

	vi_lock(&ep->vi->notify_lock);
	vi_lock(&ep->vi->lock);
	(void)see_locked(ep, NULL, &old); /* nothing to clash with */
	vi_unlock(&ep->vi->lock);
	vi_notify_leave(ep, old, f);
	vi_unlock(&ep->vi->notify_lock);
	/* whatever it saw, also before an earlier detachment */
	vi_fence_gather(f, vi,
			&(struct vi_extent){ .ep = ep, .last = UINT64_MAX });
}

/* ---- giving up (L9) --------------------------------------------------- */

static void give_up(struct viommu_endpoint *ep)
{
	struct viommu *vi = ep->vi;

	vi_lock(&vi->lock);
	if (!atomic_load(&ep->given_up)) {
		atomic_store(&ep->given_up, true);
		atomic_store(&ep->space, NULL);
		/* as a fence's commit: no access gets through any more that
		 * begins after this */
		ep->given_up_seq = vi_fence_number(vi);
		/* one that is destroyed will not recover */
		if (!vi_list_empty(&ep->link))
			atomic_fetch_add(&vi->given_up, 1);
		atomic_fetch_add_explicit(&ep->times_given_up, 1,
					  memory_order_relaxed);
	}
	vi_unlock(&vi->lock);
}

bool vi_endpoint_expire(struct viommu_endpoint *ep, struct viommu_expiry *e,
			bool expired)
{
	if (atomic_load(&ep->given_up))
		return true;
	if (!expired)
		return false;
	atomic_fetch_add_explicit(&ep->expired, 1, memory_order_relaxed);
	e->id = ep->id;
	e->pasid = ep->pasid;
	if (ep->expire && ep->expire(ep->arg, e) == VIOMMU_WAIT_ON)
		return false;
	give_up(ep);
	return true;
}

/* Are those gone that it held when it was given up? */
static bool let_go_locked(struct viommu_endpoint *ep) VI_REQUIRES(&ep->vi->lock)
{
	struct vi_extent what = { .ep = ep, .last = UINT64_MAX };
	struct vi_taking t = { .seq = ep->given_up_seq, .what = &what, .n = 1 };

	/* holds first: from one that is found and gone since, a poller may have
	 * inherited a pin */
	return !vi_hold_exists(ep) && vi_fence_clear(ep->vi, &t);
}

int viommu_endpoint_recover(struct viommu_endpoint *ep)
{
	int rc = 0;

	vi_lock(&ep->vi->lock);
	if (atomic_load(&ep->given_up)) {
		if (let_go_locked(ep))
			recover_locked(ep);
		else
			rc = -EBUSY;
	}
	vi_unlock(&ep->vi->lock);
	return rc;
}

/* ---- reserved ranges -------------------------------------------------- */

/* Index of the first range whose last is at or after @iova. */
static size_t reserved_find(const struct viommu_endpoint *ep, uint64_t iova)
{
	size_t i = 0;

	while (i < ep->nreserved && ep->reserved[i].last < iova)
		i++;
	return i;
}

const struct viommu_reserved *
vi_endpoint_reserved(const struct viommu_endpoint *ep, uint64_t start,
		     uint64_t last)
{
	size_t i = reserved_find(ep, start);

	return i < ep->nreserved && ep->reserved[i].start <= last
		       ? &ep->reserved[i]
		       : NULL;
}

/* @ep's ranges with @r among them: a new array, or NULL. */
static struct viommu_reserved *reserved_with(const struct viommu_endpoint *ep,
					     const struct viommu_reserved *r)
{
	size_t i = reserved_find(ep, r->start), n = ep->nreserved;
	struct viommu_reserved *a =
		vi_alloc(&ep->vi->env, (n + 1) * sizeof(*a), sizeof(uint64_t));

	if (!a)
		return NULL;
	for (size_t j = 0; j < i; j++)
		a[j] = ep->reserved[j];
	a[i] = *r;
	for (size_t j = i; j < n; j++)
		a[j + 1] = ep->reserved[j];
	return a;
}

static int reserve_locked(struct viommu_endpoint *ep,
			  const struct viommu_reserved *r)
	VI_REQUIRES(&ep->vi->lock) VI_NO_ANALYSIS
{
	struct viommu_space *space = ep->attached;
	struct viommu_reserved *a, *old = ep->reserved;
	int rc = 0;

	if (vi_endpoint_reserved(ep, r->start, r->last))
		return -EEXIST;
	a = reserved_with(ep, r);
	if (!a)
		return -ENOMEM;
	spaces_lock(space, NULL);
	if (space && space->kind != VIOMMU_SPACE_IDENTITY &&
	    vi_space_maps_locked(space, r->start, r->last)) {
		rc = -EBUSY;
		old = a;
	} else {
		ep->reserved = a;
		ep->nreserved++;
	}
	spaces_unlock(space, NULL);
	vi_free(&ep->vi->env, old);
	return rc;
}

int viommu_endpoint_reserve(struct viommu_endpoint *ep,
			    const struct viommu_reserved *r)
{
	int rc;

	if (r->last < r->start || r->kind > VIOMMU_RESERVED_MSI || r->reserved)
		return -EINVAL;
	/* somebody may be told of a mapping that the table has not yet */
	vi_lock(&ep->vi->notify_lock);
	vi_lock(&ep->vi->lock);
	rc = reserve_locked(ep, r);
	vi_unlock(&ep->vi->lock);
	vi_unlock(&ep->vi->notify_lock);
	return rc;
}

int viommu_endpoint_next_reserved(struct viommu_endpoint *ep,
				  viommu_iova_t iova,
				  struct viommu_reserved *out)
{
	const struct viommu_reserved *r;

	vi_lock(&ep->vi->lock);
	r = vi_endpoint_reserved(ep, iova, UINT64_MAX);
	if (r)
		*out = *r;
	vi_unlock(&ep->vi->lock);
	return r ? 0 : -ENOENT;
}

void viommu_endpoint_read_stats(const struct viommu_endpoint *ep,
				struct viommu_endpoint_stats *out)
{
	out->faults = atomic_load(&ep->faults);
	out->attaches = atomic_load(&ep->attaches);
	out->revokes = atomic_load(&ep->revokes);
	out->expired = atomic_load(&ep->expired);
	out->given_up = atomic_load(&ep->times_given_up);
}
