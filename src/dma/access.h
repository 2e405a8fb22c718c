/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_DMA_ACCESS_H
#define VI_DMA_ACCESS_H

/*
 * One check for all kinds of access: publish a pin, then look.
 *
 *	vi_access_begin() -> vi_access_look()* -> vi_access_finish()
 *	                                       -> vi_access_refuse()
 *
 * An access takes the top of the space's tree once, goes from there to each of
 * its pieces, and stays with a leaf as far as that reaches: so it sees a remap
 * as a whole or not at all (L7; table/radix.h, R1 and R2).
 */

#include <errno.h>
#include <viommu/dma.h>

#include "core/endpoint.h"
#include "core/fault.h"
#include "core/instance.h"
#include "core/memory.h"
#include "core/pin.h"
#include "core/space.h"

/* Not errnos, and never the caller's answer. */
enum {
	VI_ACCESS_AGAIN = 1, /* start over */
	VI_ACCESS_MOVING,    /* and wait before that: its memory is moved */
};

/* An access under way: the pin is BUSY, so space and its tables stay. */
struct vi_access {
	struct viommu_endpoint *ep;
	struct viommu_space *space;
	struct vi_pin *pin;
	uint64_t top;	/* of the space's tree, when it began */
	uint64_t turns; /* of its memory, then */
	uint64_t iova, last;
	uint32_t prot;
	uint32_t mem_prot; /* of the memory there */
	bool burst;	   /* the pin is the thread's burst's */
	bool asked;	   /* kept when it starts over */
	/* the last leaf that was read, or 0, and the block it is for */
	uint64_t leaf, block, mask;
	/* of a look that was refused */
	uint32_t reason;
	uint64_t fault_last, gpa;
};

/* As much of the range as lies in one piece. */
struct vi_piece {
	void *host; /* NULL: a device answers there (dma/detour.h) */
	uint64_t len, gpa;
};

static inline void vi_access_init(struct vi_access *a,
				  struct viommu_endpoint *ep, uint64_t iova,
				  uint64_t len, uint32_t prot)
{
	a->ep = ep;
	a->iova = iova;
	/* one that wraps is cut at the top: the caller refuses it */
	a->last = iova + (len - 1) < iova ? UINT64_MAX : iova + (len - 1);
	a->prot = a->mem_prot = prot;
	a->asked = false;
}

/* Publish, under the thread's burst if it is in one.  -EAGAIN: no pin. */
int vi_access_begin(struct vi_access *a);

/* Publish @pin, which is claimed; NULL: -EAGAIN. */
int vi_access_begin_pin(struct vi_access *a, struct vi_pin *pin);

/*
 * The look at @iova was refused with @rc.  Ask, if the space is REMOTE, or
 * report; then finish.  What to return, or VI_ACCESS_AGAIN.
 */
int vi_access_refuse(struct vi_access *a, uint64_t iova, int rc);

/* Its pieces are not as they should be: may that be since memory was being
 * moved?  Then finish, and start over. */
bool vi_access_turned(struct vi_access *a);

/* Refuse a range that wraps: no mapping reaches beyond the top. */
int vi_access_refuse_wrap(struct vi_access *a);

/* Does [iova, iova + len - 1] wrap past 2^64? */
static inline bool vi_access_wraps(uint64_t iova, uint64_t len)
{
	return iova + (len - 1) < iova;
}

/* [gpa, gpa + len - 1], where @iova leads, has no piece of RAM: what else?  0:
 * a device's, @out; -EFAULT, -EACCES, VI_ACCESS_AGAIN, VI_ACCESS_MOVING. */
int vi_access_no_ram(struct vi_access *a, uint64_t iova, uint64_t len,
		     struct vi_piece *out);

/* The device at @piece refused, or does not answer any more, with @rc; then
 * finish.  What to return, or VI_ACCESS_AGAIN. */
int vi_access_device_refused(struct vi_access *a, uint64_t iova,
			     const struct vi_piece *piece, int rc);

static inline void vi_access_finish(struct vi_access *a)
{
	if (!a->burst)
		vi_pin_drop(a->ep->vi, a->pin);
}

/* What [iova, iova + len - 1] means, or -EFAULT, -EACCES and the reason; or
 * VI_ACCESS_AGAIN, VI_ACCESS_MOVING.  What is not 0 is for
 * vi_access_refuse(). */
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
	if (VI_LIKELY(s->kind != VIOMMU_SPACE_IDENTITY)) {
		if (!a->leaf || (iova & ~a->mask) != a->block) {
			a->leaf =
				vi_radix_find_in(&s->table, a->top, iova, &lg2);
			a->mask = vi_mask(lg2);
			a->block = iova & ~a->mask;
		}
		e = a->leaf;
		rest = ~iova & a->mask;
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
	out->len = vi_memory_host(a->ep->memory, out->gpa, len, a->mem_prot,
				  &out->host);
	if (VI_LIKELY(out->len))
		return 0;
	return vi_access_no_ram(a, iova, len, out);
}

#endif
