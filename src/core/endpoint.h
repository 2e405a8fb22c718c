/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_ENDPOINT_H
#define VI_CORE_ENDPOINT_H

#include <stdatomic.h>
#include <viommu/endpoint.h>

#include "base/list.h"
#include "base/retire.h"

struct viommu_endpoint {
	struct viommu *vi;
	struct viommu_memory *memory;
	/* what it sees: what it is attached to, unless it was given up.
	 * Written with vi->lock held; accesses read it, publish a pin, and
	 * read it again */
	_Atomic(struct viommu_space *) space;
	/* VI_GUARDED(vi->lock; to write, vi->notify_lock as well) */
	struct viommu_space *attached;
	_Atomic(bool) given_up; /* written with vi->lock held */
	uint64_t given_up_seq;	/* VI_GUARDED(vi->lock): when, as pins go */
	uint32_t id, pasid;
	viommu_fault_fn *fault;
	bool nonblock; /* VIOMMU_ENDPOINT_NONBLOCK */
	viommu_expire_fn *expire;
	void *arg;
	struct vi_list link;	   /* VI_GUARDED(vi->lock) */
	struct vi_list space_link; /* VI_GUARDED(vi->lock and space->lock) */
	uint32_t notifiers;	   /* VI_GUARDED(vi->notify_lock) */
	/* sorted.  VI_GUARDED(vi->lock and, if attached, space->lock to write)
	 */
	struct viommu_reserved *reserved;
	size_t nreserved;
	_Atomic(uint64_t) faults, attaches, revokes, expired, times_given_up;
	struct vi_retire retire;
};

/* The first range that @ep reserves with a byte in [start, last], or NULL.
 * With vi->lock or the lock of its space held. */
const struct viommu_reserved *
vi_endpoint_reserved(const struct viommu_endpoint *ep, uint64_t start,
		     uint64_t last);

/* Does @space keep off what @ep reserves?  With vi->notify_lock held. */
bool vi_endpoint_may_see(struct viommu_endpoint *ep,
			 struct viommu_space *space);

/*
 * @ep is in the way of a fence.  Has it been given up?  If it was not, and the
 * fence's deadline has @expired, its handler decides.  A pin keeps @ep.
 */
bool vi_endpoint_expire(struct viommu_endpoint *ep, struct viommu_expiry *e,
			bool expired);

#endif
