/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_ORACLE_CELLS_H
#define TESTS_ORACLE_CELLS_H

/*
 * The naive array: all IOVAs that streams speak of, cut into cells.  A
 * mapping is as many cells as it covers, each with where it leads.  Cells are
 * equal, or of very different sizes so that large leaves come about; they lie
 * where tables end, where addresses end, or at 0.
 */

#include "stream.h"

enum {
	CELLS = 40,
	LAYOUTS = 6,
	PAGE_SIZES = 3,
};

struct layout {
	unsigned n;
	uint64_t granule;
	uint64_t first[CELLS], last[CELLS];
	uint64_t sizes[PAGE_SIZES]; /* of pages, smallest first */
};

void layout_make(struct layout *l, const struct setup *setup);

/* What an operation names. */
struct range {
	uint64_t start, last;
};

/* Cells, and how far off: a byte more or less at either side. */
struct range layout_cells(const struct layout *l, const struct op *op);

/* An access: from near the edge of a cell, over some bytes; may wrap. */
struct access {
	uint64_t iova, len;
};

struct access layout_access(const struct layout *l, const struct op *op);

/* An aligned word, or nearly. */
struct access layout_word(const struct layout *l, const struct op *op);

/* A GPA in or around the regions. */
uint64_t layout_gpa(const struct layout *l, const struct op *op);

/* Where region @i lies. */
struct range layout_region(const struct layout *l, unsigned i);

#endif
