/* SPDX-License-Identifier: BSD-2-Clause */
#include "dma/burst.h"

#include <errno.h>
#include <string.h>

#include "core/endpoint.h"
#include "core/fence.h"
#include "core/instance.h"

__thread struct vi_burst vi_bursts[VI_BURSTS];

static void burst_publish(struct vi_burst *b)
{
	struct viommu_endpoint *ep = b->ep;
	struct viommu_space *now = atomic_load(&ep->space);

	do {
		b->space = now;
		vi_pin_publish(ep->vi, b->pin,
			       &(struct vi_extent){ .space = now,
						    .ep = ep,
						    .mem = ep->memory,
						    .last = UINT64_MAX });
		/* the pin stands for the space it names: is it still that? */
		now = atomic_load(&ep->space);
		if (VI_UNLIKELY(now != b->space))
			vi_pin_unpublish(b->pin);
	} while (VI_UNLIKELY(now != b->space));
	b->top = 0;
	b->tag = UINT64_MAX; /* of no address: see word.c */
}

void vi_burst_renew(struct vi_burst *b)
{
	struct viommu *vi = b->ep->vi;

	vi_pin_unpublish(b->pin);
	burst_publish(b);
	/* some fence may have waited for what it named before.  Callbacks run,
	 * which may claim pins: not this one */
	if (VI_UNLIKELY(atomic_load(&vi->npending)))
		vi_fence_settle(vi, NULL);
}

int viommu_dma_enter(struct viommu_endpoint *ep)
{
	struct vi_burst *b = vi_burst_of(ep);
	struct vi_pin *pin;

	if (b) {
		b->depth++;
		return 0;
	}
	if (vi_bursts[VI_BURSTS - 1].ep)
		return -EAGAIN;
	pin = vi_pin_claim(ep->vi);
	if (!pin)
		return -EAGAIN;
	memmove(&vi_bursts[1], &vi_bursts[0], sizeof(*b) * (VI_BURSTS - 1));
	b = &vi_bursts[0];
	b->ep = ep;
	b->pin = pin;
	b->depth = 1;
	b->accesses = b->read = b->written = 0;
	burst_publish(b);
	return 0;
}

void viommu_dma_exit(struct viommu_endpoint *ep)
{
	struct vi_burst *b = vi_burst_of(ep);
	struct vi_pin *pin;

	VI_BUG_ON(!b);
	if (!b || --b->depth)
		return;
	pin = b->pin;
	vi_count(&pin->seat->accesses, b->accesses);
	vi_count(&pin->seat->bytes_read, b->read);
	vi_count(&pin->seat->bytes_written, b->written);
	memmove(b, b + 1, sizeof(*b) * (size_t)(&vi_bursts[VI_BURSTS - 1] - b));
	vi_bursts[VI_BURSTS - 1].ep = NULL;
	vi_pin_drop(ep->vi, pin);
}
