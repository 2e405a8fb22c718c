/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_DMA_BURST_H
#define VI_DMA_BURST_H

/*
 * Bursts: a BUSY pin for all that an endpoint sees, under which a thread does
 * any number of accesses.  As long as it is there no table is freed, so a table
 * on the way that was walked can be remembered, and walks go on from there: the
 * lowest one that has all addresses of the burst so far below it.  One page
 * again and again is one load, random ones have the same number of loads each,
 * which the processor learns.
 *
 * It is used under the same top only (table/radix.h, R3).  Under one top
 * a table leaves the tree when nothing is mapped below it, and stays as it is
 * then: walks from it lead to nothing, and start over at the top.  Where they
 * lead to a leaf, it is in the tree, and so is the leaf.
 */

#include "base/range.h"
#include "core/pin.h"
#include "core/space.h"
#include "table/radix.h"

enum {
	VI_BURSTS = 3, /* endpoints at once: see VI_SEAT_SHORT */
};

struct vi_burst {
	struct viommu_endpoint *ep; /* NULL: none */
	struct viommu_space *space; /* that the pin names */
	/* the table that has [base, base + reach] below it, if the tree has
	 * this top */
	uint64_t top;
	const struct vi_table *table;
	uint64_t base, reach;
	uint32_t shift; /* of its entries */
	uint32_t depth;
	struct vi_pin *pin;
	/* for the seat's counters, when it is over: words of eight bytes that
	 * were read, and what else was */
	uint64_t words, accesses, read, written;
};

/* This thread's, the latest first. */
extern __thread struct vi_burst vi_bursts[VI_BURSTS]
	__attribute__((tls_model("initial-exec")));

/* Sequentially consistent, as vi_radix_find(): L3 stands on it. */
static inline uint64_t vi_table_entry(const struct vi_table *t, uint64_t index)
{
	return atomic_load(&t->e[index % VI_RADIX_SLOTS]);
}

/* The burst of @ep that this thread is in, or NULL. */
static inline struct vi_burst *vi_burst_of(const struct viommu_endpoint *ep)
{
	for (int i = 0; i < VI_BURSTS && vi_bursts[i].ep; i++)
		if (vi_bursts[i].ep == ep)
			return &vi_bursts[i];
	return NULL;
}

/* From the top, and remember a table on the way.  0: there is no leaf, or the
 * space is not one for this. */
uint64_t vi_burst_walk(struct vi_burst *b, uint64_t iova);

/* The leaf at @iova, its delta not shifted, in the space of @b, not NULL, or 0:
 * walk. */
static inline uint64_t vi_burst_leaf(const struct vi_burst *b, uint64_t iova)
{
	const struct vi_table *t = b->table;
	unsigned shift = b->shift;
	uint64_t e;

	if (VI_UNLIKELY(vi_radix_top(&b->space->table) != b->top ||
			iova - b->base > b->reach))
		return 0;
	while (!((e = vi_table_entry(t, iova >> shift)) & VI_LEAF)) {
		if (VI_UNLIKELY(!e))
			return 0;
		t = (const struct vi_table *)(uintptr_t)e;
		shift -= VI_RADIX_BITS;
	}
	return e;
}

/* Let the pin name what the endpoint sees now. */
void vi_burst_renew(struct vi_burst *b);

#endif
