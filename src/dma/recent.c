/* SPDX-License-Identifier: BSD-2-Clause */
#include "dma/recent.h"

#include "base/range.h"

enum {
	WORD = 8,
	/* leaves to each side that are looked at: some 40 ns */
	REACH = 32,
};

__thread struct vi_recent vi_recent;
__thread struct vi_recent_leaf vi_recent_leaf;

/* Do leaves translate alike? */
static bool alike(uint64_t a, uint64_t b)
{
	return !((a ^ b) & ~(uint64_t)(VI_LEAF_FIRST | VI_LEAF_LAST));
}

static uint64_t entry(const struct vi_table *t, unsigned slot)
{
	return atomic_load(&t->e[slot]);
}

/* The table that has the leaf of @gpa, or NULL. */
static const struct vi_table *leaf_table(const struct vi_radix *r, uint64_t gpa,
					 unsigned *shift)
{
	uint64_t top = vi_radix_top(r), e;
	const struct vi_table *t = VI_RADIX_TABLE(top);

	*shift = r->granule_lg2 + VI_RADIX_BITS * VI_RADIX_LEVEL(top);
	if (!t || gpa > vi_mask(*shift + VI_RADIX_BITS))
		return NULL;
	while (!((e = entry(t, (gpa >> *shift) % VI_RADIX_SLOTS)) & VI_LEAF)) {
		if (!e)
			return NULL;
		t = (const struct vi_table *)(uintptr_t)e;
		*shift -= VI_RADIX_BITS;
	}
	return t;
}

/* The leaves around that of @gpa, in the same table, that translate alike. */
static void learn(struct vi_recent *n, const struct viommu_memory *mem,
		  uint64_t generation, uint64_t gpa)
{
	const struct vi_radix *r = &mem->table;
	unsigned shift, at, first, last;
	const struct vi_table *t = leaf_table(r, gpa, &shift);
	uint64_t base, start, beyond, e;

	n->generation = generation;
	n->misses = 0;
	n->prot = 0;
	if (!t)
		return;
	at = first = last = (gpa >> shift) % VI_RADIX_SLOTS;
	e = entry(t, at);
	n->delta = vi_leaf_target(r, e, 0);
	while (first && at - first < REACH && alike(entry(t, first - 1), e))
		first--;
	while (last < VI_RADIX_SLOTS - 1 && last - at < REACH &&
	       alike(entry(t, last + 1), e))
		last++;
	base = gpa & ~vi_mask(shift + VI_RADIX_BITS);
	/* whole words; beyond may be 2^64, which is 0 */
	start = base + ((uint64_t)first << shift);
	start = (start + WORD - 1) & ~(uint64_t)(WORD - 1);
	beyond = base + ((uint64_t)last << shift) + vi_mask(shift) + 1;
	beyond &= ~(uint64_t)(WORD - 1);
	if ((n->delta & (WORD - 1)) || start == beyond || start > (beyond - 1))
		return;
	n->gpa = start;
	n->last = beyond - 1 - start;
	n->prot = e & VI_LEAF ? vi_leaf_prot(e) : 0;
}

void *vi_recent_walk(const struct viommu_memory *mem, uint64_t gpa,
		     uint64_t len, uint32_t prot)
{
	struct vi_recent *n = &vi_recent;
	/* before the walk: what changes meanwhile makes it stale */
	uint64_t generation = atomic_load(&mem->generation);
	void *host;

	if (generation != n->generation || ++n->misses == VI_RECENT_MISSES)
		learn(n, mem, generation, gpa);
	return vi_memory_host(mem, gpa, len, prot, &host) == len ? host : NULL;
}
