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
	/* what it sees.  Written with vi->lock held; accesses read it, publish
	 * a pin, and read it again */
	_Atomic(struct viommu_space *) space;
	uint32_t id, pasid;
	viommu_fault_fn *fault;
	void *arg;
	struct vi_list link;	   /* VI_GUARDED(vi->lock) */
	struct vi_list space_link; /* VI_GUARDED(vi->lock and space->lock) */
	/* sorted.  VI_GUARDED(vi->lock and, if attached, space->lock to write)
	 */
	struct viommu_reserved *reserved;
	size_t nreserved;
	_Atomic(uint64_t) faults, attaches;
	struct vi_retire retire;
};

/* The first range that @ep reserves with a byte in [start, last], or NULL.
 * With vi->lock or the lock of its space held. */
const struct viommu_reserved *
vi_endpoint_reserved(const struct viommu_endpoint *ep, uint64_t start,
		     uint64_t last);

#endif
