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
	default:
		return "unknown";
	}
}

void vi_fault_report(struct viommu_endpoint *ep, struct vi_pin *pin,
		     const struct viommu_fault *fault)
{
	struct viommu *vi = ep->vi;

	atomic_fetch_add_explicit(&vi->faults, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&ep->faults, 1, memory_order_relaxed);
	if (ep->fault) {
		/* ep must live until the handler has returned */
		vi_pin_keep_endpoint(vi, pin);
		ep->fault(ep->arg, fault);
	}
	vi_pin_drop(vi, pin);
}
