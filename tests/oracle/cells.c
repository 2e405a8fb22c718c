/* SPDX-License-Identifier: BSD-2-Clause */
#include "cells.h"

#include <string.h>

enum {
	ACCESS_MAX = 9000,
};

/* Ends of the cells of a ladder, in granules.  Every page of 512 or 512 x 512
 * granules that an edge cuts ends at an edge, too. */
static const uint64_t ladder[] = {
	1,
	2,
	4,
	256,
	511,
	512,
	513,
	1024,
	1536,
	2048,
	1 << 18,
	(1 << 18) + 512,
	1 << 19,
	1 << 27,
	(1 << 27) + 1,
	(1 << 27) + 512,
	(1 << 27) + (1 << 18),
};

enum {
	RUNGS = sizeof(ladder) / sizeof(ladder[0])
};

static void uniform(struct layout *l, uint64_t base)
{
	l->n = CELLS;
	for (unsigned i = 0; i < CELLS; i++) {
		l->first[i] = base + i * l->granule;
		l->last[i] = l->first[i] + (l->granule - 1);
	}
}

static void rungs(struct layout *l)
{
	uint64_t first = 0;

	l->n = RUNGS + 1;
	for (unsigned i = 0; i <= RUNGS; i++) {
		l->first[i] = first;
		l->last[i] =
			i < RUNGS ? ladder[i] * l->granule - 1 : UINT64_MAX;
		first = l->last[i] + 1;
	}
}

static void rungs_down(struct layout *l)
{
	struct layout up;

	rungs(l);
	up = *l;
	for (unsigned i = 0; i < l->n; i++) {
		l->first[i] = ~up.last[l->n - 1 - i];
		l->last[i] = ~up.first[l->n - 1 - i];
	}
}

void layout_make(struct layout *l, const struct setup *setup)
{
	static const unsigned lg2s[] = { 12, 0, 4 };
	unsigned lg2 = lg2s[setup->granule % 3],
		 which = setup->layout % LAYOUTS;
	unsigned up = which < 4 ? 2 : 9;

	memset(l, 0, sizeof(*l));
	l->granule = UINT64_C(1) << lg2;
	for (unsigned i = 0; i < PAGE_SIZES; i++)
		l->sizes[i] = l->granule << (up * i);
	switch (which) {
	case 0:
		uniform(l, 0);
		break;
	case 1: /* the last byte of all */
		uniform(l, 0 - CELLS * l->granule);
		break;
	case 2: /* two tables' edge */
		uniform(l, (512 - CELLS / 2) * l->granule);
		break;
	case 3: /* and one level up */
		uniform(l, (512 * 512 - CELLS / 2) * l->granule);
		break;
	case 4:
		rungs(l);
		break;
	default:
		rungs_down(l);
	}
}

struct range layout_cells(const struct layout *l, const struct op *op)
{
	unsigned a = op->at % l->n, b = a + op->n % 8;
	struct range r;

	if (b >= l->n)
		b = l->n - 1;
	r = (struct range){ l->first[a], l->last[b] };
	if (op->n >= 248 && (op->what == OP_UNMAP || op->what == OP_INVALIDATE))
		r = (struct range){ 0, UINT64_MAX };
	/* off the granule: cells stay whole where that cannot be */
	if (l->granule > 1) {
		r.start += op->odd % 16 == 13;
		r.last -= op->odd % 16 == 14;
	}
	/* backwards, unless it is a byte */
	if (op->odd % 16 == 15)
		r = (struct range){ r.last, r.start };
	return r;
}

struct access layout_access(const struct layout *l, const struct op *op)
{
	unsigned a = op->at % l->n, b = a + op->n / 16 % 4;
	struct access x = { .iova = l->first[a] };
	uint64_t last;

	if (op->odd & 1)
		x.iova = l->last[a] - (op->odd >> 1) % 4;
	else
		x.iova += op->odd >> 1;
	if (b >= l->n)
		b = l->n - 1;
	last = l->last[b];
	x.len = op->n % 16;
	if (!x.len && last >= x.iova && last - x.iova < ACCESS_MAX)
		x.len = last - x.iova + 1;
	else if (op->n >= 240)
		x.len = ACCESS_MAX;
	return x;
}

struct access layout_word(const struct layout *l, const struct op *op)
{
	struct access x = layout_access(l, op);

	x.len = UINT64_C(1) << (op->n % 4);
	if (op->n % 32 != 31)
		x.iova &= ~(x.len - 1);
	if (op->n == 255)
		x.len = 3;
	return x;
}

struct range layout_region(const struct layout *l, unsigned i)
{
	const uint64_t g = l->granule;

	switch (i) {
	case 0: /* RAM */
		return (struct range){ 0, 16 * g - 1 };
	case 1: /* ROM */
		return (struct range){ 20 * g, 28 * g - 1 };
	default: /* RAM, to the last byte */
		return (struct range){ 0 - 8 * g, UINT64_MAX };
	}
}

uint64_t layout_gpa(const struct layout *l, const struct op *op)
{
	unsigned page = op->gpa % 48;

	return page < 32 ? page * l->granule : 0 - (48 - page) * l->granule;
}
