/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_DMA_QUICK_H
#define VI_DMA_QUICK_H

/*
 * The short way of an access or a map outside a burst: one leaf, one piece of
 * memory.  The steps of the long way (access.h) in the same order, all inline
 * and without a call, so that nothing has to be saved for one.  Whatever is not
 * as usual, faults among it, goes back to where it began and is left to the
 * long way, which publishes a pin again, and tells in the end.
 */

#include "core/fence.h"
#include "core/pin_fast.h"
#include "dma/access.h"
#include "dma/burst.h"
#include "dma/recent.h"

#define VI_ALWAYS_INLINE inline __attribute__((always_inline))
#define VI_NOINLINE	 __attribute__((noinline))

/* What to look for. */
struct vi_quick_what {
	struct viommu_endpoint *ep;
	uint64_t iova, len; /* len > 0 */
	uint32_t prot;
	bool word; /* an aligned one */
	bool hold; /* the pin */
};

/* An access that is under way. */
struct vi_quick {
	struct viommu *vi;
	struct vi_seat *seat;
	struct vi_pin *pin;
	struct viommu_space *space;
	uint64_t word; /* the pin's */
	uint64_t gpa;
};

/* Back to where it began: vi_pin_unpublish().  The long way publishes a pin
 * again, at once. */
static inline void vi_quick_undo(struct vi_quick *q)
{
	atomic_store_explicit(&q->pin->word, q->word & ~(uint64_t)VI_PIN_STATE,
			      memory_order_release);
}

/* Publish a pin, the first or one that may be held, and see that it names what
 * the endpoint sees.  False: go the long way. */
static VI_ALWAYS_INLINE bool vi_quick_begin(struct vi_quick *q,
					    const struct vi_quick_what *w)
{
	struct viommu_endpoint *ep = w->ep;
	uint32_t i = w->hold ? VI_SEAT_SHORT : 0;

	q->vi = ep->vi;
	/* until: the long way chooses */
	if (VI_UNLIKELY(!vi_seat_at_hand(q->vi, &q->seat) ||
			q->seat->until == 1))
		return false;
	while (VI_UNLIKELY(!vi_pin_ready(q->seat, i)))
		if (!w->hold || ++i == VI_SEAT_PINS)
			return false;
	q->seat->until--;
	q->pin = &q->seat->pin[i];
	q->space = atomic_load(&ep->space);
	q->word = vi_pin_write(
		q->vi, q->seat, q->pin,
		&(struct vi_extent){ .space = q->space,
				     .ep = ep,
				     .mem = ep->memory,
				     .start = w->iova,
				     .last = w->iova + (w->len - 1) });
	if (VI_LIKELY(atomic_load(&ep->space) == q->space && q->space))
		return true;
	vi_quick_undo(q);
	if (VI_MUTANT == VI_MUTANT_SETTLE_INSIDE)
		vi_fence_settle(q->vi, NULL);
	return false;
}

/* The leaf of @iova, as large as *mask, or 0. */
static VI_ALWAYS_INLINE uint64_t vi_quick_find(const struct vi_radix *r,
					       uint64_t iova, uint64_t *mask)
{
	uint64_t top = vi_radix_top(r), i, e;
	unsigned shift = r->granule_lg2 + VI_RADIX_BITS * VI_RADIX_LEVEL(top);
	const struct vi_table *t = VI_RADIX_TABLE(top);

	i = iova >> shift;
	/* an IDENTITY space's tree is empty */
	if (VI_UNLIKELY(!t || i >= VI_RADIX_SLOTS))
		return 0;
	while (!((e = vi_table_entry(t, i)) & VI_LEAF)) {
		if (VI_UNLIKELY(!e))
			return 0;
		t = (const struct vi_table *)(uintptr_t)e;
		shift -= VI_RADIX_BITS;
		i = iova >> shift;
		VI_WINDOW();
	}
	*mask = vi_mask(shift);
	return e;
}

/* The leaf for all of @w, and where in memory that leads.  False: undo. */
static VI_ALWAYS_INLINE bool vi_quick_leaf(struct vi_quick *q,
					   const struct vi_quick_what *w)
{
	const struct viommu_space *s = q->space;
	struct vi_recent_leaf *n = &vi_recent_leaf;
	/* before the walk: what changes meanwhile makes it stale */
	uint64_t generation = atomic_load(&s->generation);
	uint64_t off = w->iova - n->iova, mask = n->last, e = n->leaf;

	bool known = vi_recent_leaf_true(q->vi, s, generation);

	if (!known || off > mask) {
		e = vi_quick_find(&s->table, w->iova, &mask);
		/* a granule whose deltas are not shifted has room for any
		 * word */
		if (VI_UNLIKELY(!e || s->table.delta_shift))
			return false;
		if (!known || ++n->misses == VI_RECENT_MISSES)
			vi_recent_leaf_set(q->vi, s, generation, w->iova, mask,
					   e);
	}
	if (VI_UNLIKELY(w->prot & ~vi_leaf_prot(e)))
		return false;
	if (!w->word && VI_UNLIKELY(w->len - 1 > (~w->iova & mask)))
		return false;
	q->gpa = w->iova + (e & ~(uint64_t)VI_LEAF_FLAGS);
	return true;
}

/* Where that is, if this thread remembers; or NULL: walk. */
static VI_ALWAYS_INLINE void *vi_quick_host(const struct vi_quick *q,
					    const struct vi_quick_what *w)
{
	const struct viommu_memory *mem = w->ep->memory;
	uint32_t prot = w->hold ? vi_map_prot(w->prot) : w->prot;
	void *host = w->word ? vi_recent_word(mem, q->gpa, prot)
			     : vi_recent_host(mem, q->gpa, w->len, prot);

	VI_WINDOW();
	return host;
}

/* Walk for it, out of line: @q again from what registers hold; or NULL. */
static inline void *vi_quick_walk(struct vi_quick *q,
				  const struct vi_quick_what *w,
				  struct vi_pin *pin, uint64_t gpa)
{
	q->vi = w->ep->vi;
	q->seat = pin->seat;
	q->pin = pin;
	q->word = vi_pin_word(pin);
	q->gpa = gpa;
	return vi_recent_walk(w->ep->memory, gpa, w->len,
			      w->hold ? vi_map_prot(w->prot) : w->prot);
}

/* Settle: 0.  Called last, like all that is not as usual. */
int vi_quick_tell(struct viommu *vi);

/* The end of an access: 0. */
static VI_ALWAYS_INLINE int vi_quick_end(struct vi_quick *q,
					 const struct vi_quick_what *w)
{
	struct vi_seat *seat = q->seat;

	vi_count(&seat->accesses, 1);
	vi_count(w->prot & VIOMMU_WRITE ? &seat->bytes_written
					: &seat->bytes_read,
		 w->len);
	vi_pin_step_to(q->vi, q->pin, q->word & ~(uint64_t)VI_PIN_STATE);
	if (vi_fences_pend(q->vi))
		return vi_quick_tell(q->vi);
	return 0;
}

#endif
