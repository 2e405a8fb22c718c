/* SPDX-License-Identifier: BSD-2-Clause */
#include "dma/access.h"

#include "base/range.h"

enum {
	/* blocks that a fault's extent is looked for in */
	FAULT_STEPS = 64,
};

int vi_access_begin(struct vi_access *a, struct viommu_endpoint *ep,
		    uint64_t iova, uint64_t len, uint32_t prot)
{
	struct vi_pin *pin = vi_pin_claim(ep->vi);
	struct viommu_space *now;

	if (VI_UNLIKELY(!pin))
		return -EAGAIN;
	a->ep = ep;
	a->pin = pin;
	a->iova = iova;
	a->last = vi_access_wraps(iova, len) ? UINT64_MAX : iova + (len - 1);
	a->prot = prot;
	a->space = atomic_load(&ep->space);
	for (;;) {
		vi_pin_publish(ep->vi, pin,
			       &(struct vi_extent){ .space = a->space,
						    .ep = ep,
						    .mem = ep->memory,
						    .start = iova,
						    .last = a->last });
		/* the pin stands for the space it names: is it still that? */
		now = atomic_load(&ep->space);
		if (VI_LIKELY(now == a->space))
			return 0;
		vi_pin_unpublish(pin);
		a->space = now;
	}
}

int vi_access_no_memory(struct vi_access *a, uint64_t iova, uint64_t len,
			uint64_t gpa)
{
	unsigned lg2;
	uint64_t e = vi_radix_find(&a->ep->memory->table, gpa, &lg2);
	uint64_t rest = vi_min(len - 1, ~gpa & vi_mask(lg2));

	a->reason = VIOMMU_FAULT_MEMORY;
	a->gpa = gpa;
	a->fault_last = iova + rest;
	/* not there, or there only since the look that failed */
	return e && (a->prot & ~vi_leaf_prot(e)) ? -EACCES : -EFAULT;
}

/* The fault goes on as long as the next byte fails the same way. */
static uint64_t fault_extent(struct vi_access *a)
{
	uint32_t reason = a->reason;
	uint64_t last = a->fault_last, gpa = a->gpa;
	struct vi_piece piece;

	for (int i = 0; i < FAULT_STEPS && last < a->last; i++) {
		if (!vi_access_look(a, last + 1, a->last - last, &piece) ||
		    a->reason != reason)
			break;
		last = a->fault_last;
	}
	a->reason = reason;
	a->gpa = gpa;
	return vi_min(last, a->last);
}

int vi_access_refuse(struct vi_access *a, uint64_t iova, int rc)
{
	struct viommu_fault fault = {
		.id = a->ep->id,
		.pasid = a->ep->pasid,
		.prot = a->prot,
		.start = iova,
	};

	if (a->reason == VIOMMU_FAULT_DETACHED)
		a->fault_last = a->last;
	fault.last = fault_extent(a);
	fault.reason = a->reason;
	fault.gpa = a->gpa;
	vi_fault_report(a->ep, a->pin, &fault);
	return rc;
}
