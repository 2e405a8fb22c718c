/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/fault.h"

#include "core/endpoint.h"
#include "core/instance.h"

const char *viommu_fault_name(uint32_t reason)
{
	switch (reason) {
	case VIOMMU_FAULT_DETACHED:
		return "detached";
	case VIOMMU_FAULT_UNMAPPED:
		return "unmapped";
	case VIOMMU_FAULT_PERMISSION:
		return "permission";
	case VIOMMU_FAULT_MEMORY:
		return "memory";
	case VIOMMU_FAULT_GIVEN_UP:
		return "given up";
	default:
		return "unknown";
	}
}

void vi_fault_count(struct viommu_endpoint *ep)
{
	atomic_fetch_add_explicit(&ep->vi->faults, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&ep->faults, 1, memory_order_relaxed);
}
