/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_DMA_BURST_H
#define VI_DMA_BURST_H

/*
 * Bursts: a BUSY pin for all that an endpoint sees, under which a thread does
 * any number of accesses.  As long as it is there no table is freed, so the
 * last table that was walked to can be remembered: it is what the tree's top
 * leads to as long as the top is the same and the entry is a leaf, since a
 * table is never put in the place of another under the same top.
 */

#include "base/range.h"
#include "core/pin.h"
#include "table/radix.h"

enum {
	VI_BURSTS = 3, /* endpoints at once: one short pin is left for faults */
};

struct vi_burst {
	struct viommu_endpoint *ep; /* NULL: none */
	struct viommu_space *space; /* that the pin names */
	struct vi_pin *pin;
	uint32_t depth;
	/* the table for the addresses with this tag */
	uint32_t shift;
	uint64_t top, tag;
	const struct vi_table *table;
	/* for the seat's counters, when it is over */
	uint64_t accesses, read, written;
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

/* The last table on the way to @addr from @top, NULL if it does not reach, and
 * how much one of its entries covers. */
static inline const struct vi_table *vi_burst_table(const struct vi_radix *r,
						    uint64_t top, uint64_t addr,
						    unsigned *shift)
{
	unsigned s = r->granule_lg2 + VI_RADIX_BITS * VI_RADIX_LEVEL(top);
	const struct vi_table *t = VI_RADIX_TABLE(top);

	if (!t || addr > vi_mask(s + VI_RADIX_BITS))
		return NULL;
	for (;;) {
		uint64_t e = vi_table_entry(t, addr >> s);

		*shift = s;
		if ((e & VI_LEAF) || !e)
			return t;
		t = (const struct vi_table *)(uintptr_t)e;
		s -= VI_RADIX_BITS;
	}
}

/* Let the pin name what the endpoint sees now. */
void vi_burst_renew(struct vi_burst *b);

#endif
