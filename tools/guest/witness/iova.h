/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WITNESS_IOVA_H
#define WITNESS_IOVA_H

/*
 * IOVAs, and what is mapped there.  A place is a number of pages from the
 * IOVA base and from the arena's start alike.
 */

#include <stdint.h>

enum {
	AT_RW = 16, /* two pages in one mapping, holes around it */
	AT_RO = 32,
	AT_WO = 48,
	AT_BRIEF = 64, /* mapped and unmapped during the run */
	AT_SEAM = 80,  /* a writable page, then a read-only one */
	AT_LIVE = 96,
	AT_NOWHERE = 112, /* never mapped */
	SPAN = 128,
};

/* The IOMMU's smallest page that is one of ours, and the IOVA of place 0. */
extern uint64_t page, base;

void iova_choose(void);

/* Maps @pages pages at place @at to those of the arena from @from on. */
void map(uint64_t at, uint64_t pages, uint64_t from, uint32_t flags);

/* Returns how long the kernel, and the IOMMU behind it, took. */
uint64_t unmap(uint64_t at, uint64_t pages);

/* All that stays mapped during the run. */
void map_all(void);

#endif
