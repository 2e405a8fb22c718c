/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_DMA_ACCESS_H
#define VI_DMA_ACCESS_H

/*
 * One check for all kinds of access: publish a pin, then look.
 */

#include <errno.h>
#include <viommu/dma.h>

#include "core/endpoint.h"
#include "core/fault.h"
#include "core/instance.h"
#include "core/memory.h"
#include "core/pin.h"
#include "core/space.h"

/* An access under way: the pin is BUSY, so space and its tables stay. */
struct vi_access {
	struct viommu_endpoint *ep;
	struct viommu_space *space;
	struct vi_pin *pin;
	uint64_t iova, last;
	uint32_t prot;
	/* of a look that was refused */
	uint32_t reason;
	uint64_t fault_last, gpa;
};

/* As much of the range as lies in one piece. */
struct vi_piece {
	void *host;
	uint64_t len, gpa;
};

/* Publish.  -EAGAIN: no pin is left.  A range that wraps is cut at the top:
 * the caller refuses it by vi_access_wraps(). */
int vi_access_begin(struct vi_access *a, struct viommu_endpoint *ep,
		    uint64_t iova, uint64_t len, uint32_t prot);

/* Report that the look at @iova was refused with @rc, and finish. */
int vi_access_refuse(struct vi_access *a, uint64_t iova, int rc);

/* Does [iova, iova + len - 1] wrap past 2^64? */
static inline bool vi_access_wraps(uint64_t iova, uint64_t len)
{
	return iova + (len - 1) < iova;
}

/* The reason for refusing such a range: no mapping reaches beyond the top. */
static inline void vi_access_deny_wrap(struct vi_access *a)
{
	a->reason = a->space ? VIOMMU_FAULT_UNMAPPED : VIOMMU_FAULT_DETACHED;
	a->fault_last = a->last;
	a->gpa = 0;
}

/* Why [gpa, gpa + len - 1], where @iova leads, has no piece: -EFAULT, or
 * -EACCES for memory that cannot be written. */
int vi_access_no_memory(struct vi_access *a, uint64_t iova, uint64_t len,
			uint64_t gpa);

static inline void vi_access_finish(struct vi_access *a)
{
	vi_pin_drop(a->ep->vi, a->pin);
}

/* What [iova, iova + len - 1] means, or -EFAULT, -EACCES and the reason. */
static inline int vi_access_look(struct vi_access *a, uint64_t iova,
				 uint64_t len, struct vi_piece *out)
{
	const struct viommu_space *s = a->space;
	uint64_t e, rest;
	unsigned lg2;

	a->gpa = 0;
	a->reason = VIOMMU_FAULT_DETACHED;
	if (VI_UNLIKELY(!s))
		return -EFAULT;
	out->gpa = iova;
	a->reason = VIOMMU_FAULT_UNMAPPED;
	if (s->kind == VIOMMU_SPACE_MAPPED) {
		e = vi_radix_find(&s->table, iova, &lg2);
		rest = ~iova & vi_mask(lg2);
		a->fault_last = iova + rest;
		if (VI_UNLIKELY(!e))
			return -EFAULT;
		a->reason = VIOMMU_FAULT_PERMISSION;
		if (VI_UNLIKELY(a->prot & ~vi_leaf_prot(e)))
			return -EACCES;
		out->gpa = vi_leaf_target(&s->table, e, iova);
		if (rest < len - 1)
			len = rest + 1;
	} else {
		a->fault_last = iova < s->start ? s->start - 1 : UINT64_MAX;
		if (VI_UNLIKELY(iova < s->start || iova > s->last))
			return -EFAULT;
		if (s->last - iova < len - 1)
			len = s->last - iova + 1;
	}
	out->len = vi_memory_host(a->ep->memory, out->gpa, len, a->prot,
				  &out->host);
	if (VI_LIKELY(out->len))
		return 0;
	return vi_access_no_memory(a, iova, len, out->gpa);
}

#endif
