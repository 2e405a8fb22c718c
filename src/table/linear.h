/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_TABLE_LINEAR_H
#define VI_TABLE_LINEAR_H

/*
 * A radix tree (radix.h) as a flat array: a leaf a page, each a mapping of its
 * own, with all tables there from the start and for as long as the tree is.
 *
 * So readers see what they see in any tree, nothing is allocated or freed by
 * writing, and an entry is written by one exchange: writers of different
 * entries have nothing in common, and of two who write the same each gets what
 * it replaced.  No other writer of radix.h is for such a tree; those who look
 * (vi_radix_find(), next, maps) are, whoever writes meanwhile.
 */

#include "table/radix.h"

/*
 * Make the tables for all of [start, last], on the granule, of a tree that has
 * none.  -ENOSPC, -ENOMEM: some are there, for vi_radix_fini().
 */
int vi_linear_make(struct vi_radix *r, uint64_t start, uint64_t last);

/* Of @addr, which there is a table for. */
_Atomic(uint64_t) *vi_linear_entry(const struct vi_radix *r, uint64_t addr);

/* The leaf for the page at @addr, with a granule of 256 or more. */
static inline uint64_t vi_linear_leaf(uint64_t addr, uint64_t target,
				      uint32_t prot)
{
	return (target - addr) | (uint64_t)prot << VI_LEAF_PROT_SHIFT |
	       VI_LEAF | VI_LEAF_FIRST | VI_LEAF_LAST;
}

#endif
