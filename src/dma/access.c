/* SPDX-License-Identifier: BSD-2-Clause */
#include "dma/access.h"

#include "base/range.h"
#include "core/fence.h"
#include "core/miss.h"
#include "core/move.h"
#include "dma/burst.h"
#include "dma/detour.h"
#include "dma/quick.h"

enum {
	/* blocks that a fault's extent is looked for in */
	FAULT_STEPS = 64,
};

/* After the publication, and after the space was read again. */
static void top_take(struct vi_access *a)
{
	a->top = a->space ? vi_radix_top(&a->space->table) : 0;
	a->turns = atomic_load(&a->ep->memory->turns);
	a->leaf = 0;
}

int vi_access_begin_pin(struct vi_access *a, struct vi_pin *pin)
{
	struct viommu_endpoint *ep = a->ep;
	struct viommu_space *now;

	if (VI_UNLIKELY(!pin))
		return -EAGAIN;
	a->pin = pin;
	a->burst = false;
	a->space = atomic_load(&ep->space);
	for (;;) {
		vi_pin_publish(ep->vi, pin,
			       &(struct vi_extent){ .space = a->space,
						    .ep = ep,
						    .mem = ep->memory,
						    .start = a->iova,
						    .last = a->last });
		/* the pin stands for the space it names: is it still that? */
		now = atomic_load(&ep->space);
		if (VI_LIKELY(now == a->space))
			break;
		vi_pin_unpublish(pin);
		if (VI_MUTANT == VI_MUTANT_SETTLE_INSIDE)
			vi_fence_settle(ep->vi, NULL);
		a->space = now;
	}
	top_take(a);
	return 0;
}

int vi_access_begin(struct vi_access *a)
{
	struct viommu_endpoint *ep = a->ep;
	struct vi_burst *b = vi_burst_of(ep);

	/* callbacks run in there, which may begin and end bursts of theirs */
	while (VI_UNLIKELY(b && atomic_load(&ep->space) != b->space)) {
		vi_burst_renew(b);
		b = vi_burst_of(ep);
	}
	if (!b)
		return vi_access_begin_pin(a, vi_pin_claim(ep->vi));
	a->pin = b->pin;
	a->burst = true;
	a->space = b->space;
	top_take(a);
	return 0;
}

int vi_quick_tell(struct viommu *vi)
{
	vi_fence_settle(vi, NULL);
	return 0;
}

/* ---- refusing --------------------------------------------------------- */

int vi_access_no_ram(struct vi_access *a, uint64_t iova, uint64_t len,
		     struct vi_piece *out)
{
	struct viommu_memory *mem = a->ep->memory;
	unsigned lg2;

	a->reason = VIOMMU_FAULT_MEMORY;
	a->gpa = out->gpa;
	vi_radix_find(&mem->table, out->gpa, &lg2);
	a->fault_last = iova + vi_min(len - 1, ~out->gpa & vi_mask(lg2));
	out->len = len;
	return vi_detour_find(mem, out->gpa, &out->len, a->mem_prot);
}

/* The fault goes on as long as the next byte fails the same way. */
static uint64_t fault_extent(struct vi_access *a)
{
	uint32_t reason = a->reason;
	uint64_t last = a->fault_last, gpa = a->gpa;
	struct vi_piece piece;

	for (int i = 0; i < FAULT_STEPS && last < a->last; i++) {
		if (vi_access_look(a, last + 1, a->last - last, &piece) >= 0 ||
		    a->reason != reason)
			break;
		last = a->fault_last;
	}
	a->reason = reason;
	a->gpa = gpa;
	return vi_min(last, a->last);
}

/* Tell the handler, and finish.  The endpoint must live until the handler has
 * returned: a pin sees to it, which in a burst is the burst's. */
static void report(struct vi_access *a, const struct viommu_fault *fault)
{
	struct viommu_endpoint *ep = a->ep;
	struct viommu *vi = ep->vi;

	vi_fault_count(ep);
	if (ep->fault) {
		if (!a->burst)
			vi_pin_keep_endpoint(vi, a->pin);
		ep->fault(ep->arg, fault);
	}
	vi_access_finish(a);
}

static int refuse(struct vi_access *a, uint64_t iova, int rc)
{
	struct viommu_fault fault = {
		.id = a->ep->id,
		.pasid = a->ep->pasid,
		.prot = a->prot,
		.start = iova,
	};

	if (a->reason == VIOMMU_FAULT_DETACHED) {
		/* since then it has been attached, or has recovered */
		if (atomic_load(&a->ep->space)) {
			vi_access_finish(a);
			return VI_ACCESS_AGAIN;
		}
		a->fault_last = a->last;
		a->gpa = 0;
		if (atomic_load(&a->ep->given_up)) {
			a->reason = VIOMMU_FAULT_GIVEN_UP;
			rc = -EIO;
		}
	}
	fault.last = fault_extent(a);
	fault.reason = a->reason;
	fault.gpa = a->gpa;
	report(a, &fault);
	return rc;
}

/* Nothing that a REMOTE space knows of: ask.  Once, however often it starts
 * over: an answer that does not last is the embedder's to hear of. */
static int access_ask(struct vi_access *a, uint64_t iova, int fault)
{
	struct vi_ask ask;
	int rc = vi_miss_begin(&ask, a->ep, a->space, iova, a->prot);

	if (rc == -EACCES || rc == -EFAULT)
		return refuse(a, iova, fault);
	vi_access_finish(a);
	if (!rc)
		return VI_ACCESS_AGAIN;
	if (rc == -EINPROGRESS && !vi_miss_ask(&ask) && !a->asked) {
		a->asked = true;
		return VI_ACCESS_AGAIN;
	}
	return rc;
}

/* The memory that @a wants to write to is being moved. */
static int access_moving(struct vi_access *a)
{
	struct viommu_endpoint *ep = a->ep;

	/* maps may have to wait for maps, of which some are this thread's to
	 * let go of */
	if (ep->nonblock ||
	    (a->mem_prot != a->prot && vi_move_awaits(ep->memory, ep))) {
		vi_access_finish(a);
		return -EBUSY;
	}
	return vi_detour_wait(ep->memory, a->gpa, a->burst ? NULL : a->pin);
}

int vi_access_device_refused(struct vi_access *a, uint64_t iova,
			     const struct vi_piece *piece, int rc)
{
	if (rc == -EFAULT) {
		a->reason = VIOMMU_FAULT_MEMORY;
		a->gpa = piece->gpa;
		a->fault_last = iova + (piece->len - 1);
		return refuse(a, iova, rc);
	}
	vi_access_finish(a);
	return rc;
}

int vi_access_refuse(struct vi_access *a, uint64_t iova, int rc)
{
	if (rc == VI_ACCESS_MOVING)
		return access_moving(a);
	if (rc == VI_ACCESS_AGAIN) {
		vi_access_finish(a);
		return rc;
	}
	if (a->space && a->space->kind == VIOMMU_SPACE_REMOTE &&
	    (a->reason == VIOMMU_FAULT_UNMAPPED ||
	     a->reason == VIOMMU_FAULT_PERMISSION))
		return access_ask(a, iova, rc);
	return refuse(a, iova, rc);
}

bool vi_access_turned(struct vi_access *a)
{
	if (!(a->turns & 1) && atomic_load(&a->ep->memory->turns) == a->turns)
		return false;
	vi_access_finish(a);
	return true;
}

int vi_access_refuse_wrap(struct vi_access *a)
{
	a->reason = a->space ? VIOMMU_FAULT_UNMAPPED : VIOMMU_FAULT_DETACHED;
	a->fault_last = a->last;
	a->gpa = 0;
	return refuse(a, a->iova, -EFAULT);
}
