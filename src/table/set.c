/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Leaves that stay where they are and come to mean something else, one by one:
 * no table comes or goes, so it cannot fail.  Readers see the old of some and
 * the new of others meanwhile.
 */
#include "table/tree.h"

/* What a change carries on its way down: leaves of [start, last] are to be
 * those of a mapping, or, without @target, to have other permissions. */
struct setting {
	const struct vi_radix *r;
	uint64_t start, last, leaf;
	bool target;
};

static uint64_t leaf_set(const struct setting *s, uint64_t e, uint64_t first,
			 uint64_t last)
{
	if (!s->target)
		return (e & ~(uint64_t)VI_LEAF_PROT) | (s->leaf & VI_LEAF_PROT);
	return s->leaf | (first == s->start ? VI_LEAF_FIRST : 0) |
	       (last == s->last ? VI_LEAF_LAST : 0);
}

static void set(const struct setting *s, struct vi_table *t, unsigned level,
		uint64_t start, uint64_t last)
{
	uint64_t mask = vi_mask(vi_shift(s->r, level));

	for (uint64_t a = start;; a = (a | mask) + 1) {
		unsigned slot = vi_slot(s->r, level, a);
		uint64_t l = vi_min(a | mask, last);
		struct vi_table *c = vi_child(t, slot);

		if (c) {
			set(s, c, level - 1, a, l);
		} else {
			/* a hole, or a leaf that reaches beyond, is the
			 * caller's mistake */
			VI_BUG_ON(!vi_entry(t, slot) || !vi_whole(a, l, mask));
			vi_entry_store(t, slot,
				       leaf_set(s, vi_entry(t, slot), a, l));
			VI_WINDOW();
		}
		if (l == last)
			return;
	}
}

static void set_all(const struct setting *s)
{
	uint64_t top = atomic_load_explicit(&s->r->top, memory_order_relaxed);

	set(s, VI_RADIX_TABLE(top), VI_RADIX_LEVEL(top), s->start, s->last);
}

void vi_radix_protect(struct vi_radix *r, uint64_t start, uint64_t last,
		      uint32_t prot)
{
	set_all(&(struct setting){
		.r = r,
		.start = start,
		.last = last,
		.leaf = (uint64_t)prot << VI_LEAF_PROT_SHIFT,
	});
}

void vi_radix_retarget(struct vi_radix *r, uint64_t start, uint64_t last,
		       uint64_t target, uint32_t prot)
{
	struct setting s = {
		.r = r, .start = start, .last = last, .target = true
	};
	bool fits = vi_leaf_make(r, start, target, prot, &s.leaf);

	VI_BUG_ON(!fits);
	set_all(&s);
}
