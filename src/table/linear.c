/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See linear.h.  `used` of a table counts for those who would take it out when
 * it is empty, and for those who look whether to look: here it says "full", of
 * each table, always.
 */
#include "table/linear.h"

#include "table/tree.h"

static int make_below(struct vi_radix *r, struct vi_table *t, unsigned level,
		      uint64_t start, uint64_t last)
{
	uint64_t mask = vi_mask(vi_shift(r, level)), l;
	int rc = 0;

	t->used = VI_RADIX_SLOTS;
	if (!level)
		return 0;
	for (uint64_t s = start; !rc; s = l + 1) {
		unsigned slot = vi_slot(r, level, s);
		struct vi_table *c;

		l = vi_min(s | mask, last);
		rc = vi_radix_get(r, &c);
		if (rc)
			break;
		vi_table_link(t, slot, c);
		vi_entry_store(t, slot, (uintptr_t)c);
		rc = make_below(r, c, level - 1, s, l);
		if (l == last)
			break;
	}
	return rc;
}

int vi_linear_make(struct vi_radix *r, uint64_t start, uint64_t last)
{
	int rc = vi_radix_grow(r, last);
	uint64_t top = atomic_load_explicit(&r->top, memory_order_relaxed);

	return rc ? rc
		  : make_below(r, VI_RADIX_TABLE(top), VI_RADIX_LEVEL(top),
			       start, last);
}

_Atomic(uint64_t) *vi_linear_entry(const struct vi_radix *r, uint64_t addr)
{
	uint64_t top = atomic_load_explicit(&r->top, memory_order_relaxed);
	struct vi_table *t = VI_RADIX_TABLE(top);

	for (unsigned level = VI_RADIX_LEVEL(top); level; level--)
		t = vi_child(t, vi_slot(r, level, addr));
	return &t->e[vi_slot(r, 0, addr)];
}
