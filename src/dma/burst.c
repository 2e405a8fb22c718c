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
	b->top = UINT64_MAX; /* of no tree */
	b->table = NULL;
}

/*
 * @path has the tables from level @low, whose entry is the leaf, to the top.
 * Remember the lowest that has what was remembered below it, too.
 */
static void remember(struct vi_burst *b, const struct vi_table *const *path,
		     unsigned low, uint64_t iova)
{
	const struct vi_radix *r = &b->space->table;
	unsigned shift = r->granule_lg2 + VI_RADIX_BITS * low;

	/* not above the top, which has them all: trees do not shrink */
	while (b->table && (b->shift > shift ||
			    (iova ^ b->base) > vi_mask(shift + VI_RADIX_BITS)))
		shift += VI_RADIX_BITS;
	b->table = path[(shift - r->granule_lg2) / VI_RADIX_BITS];
	b->reach = vi_mask(shift + VI_RADIX_BITS);
	b->base = iova & ~b->reach;
	b->shift = shift;
}

uint64_t vi_burst_walk(struct vi_burst *b, uint64_t iova)
{
	const struct vi_radix *r = &b->space->table;
	const struct vi_table *path[VI_TABLE_ALIGN], *t;
	uint64_t top = vi_radix_top(r), e;
	unsigned level = VI_RADIX_LEVEL(top);

	/* with a lesser granule a word may have several leaves */
	if (!top || r->delta_shift ||
	    iova > vi_mask(r->granule_lg2 + VI_RADIX_BITS * (level + 1)))
		return 0;
	t = VI_RADIX_TABLE(top);
	for (;; level--) {
		path[level] = t;
		e = vi_table_entry(
			t, iova >> (r->granule_lg2 + VI_RADIX_BITS * level));
		if ((e & VI_LEAF) || !e)
			break;
		t = (const struct vi_table *)(uintptr_t)e;
	}
	if (!e)
		return 0;
	b->top = top;
	remember(b, path, level, iova);
	return e;
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
	b->words = b->accesses = b->read = b->written = 0;
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
	vi_count(&pin->seat->accesses, b->accesses + b->words);
	vi_count(&pin->seat->bytes_read, b->read + 8 * b->words);
	vi_count(&pin->seat->bytes_written, b->written);
	memmove(b, b + 1, sizeof(*b) * (size_t)(&vi_bursts[VI_BURSTS - 1] - b));
	vi_bursts[VI_BURSTS - 1].ep = NULL;
	vi_pin_drop(ep->vi, pin);
}
