/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_SPEC_IOMMU_H
#define TESTS_SPEC_IOMMU_H

/*
 * Tables of rules about map and unmap: a row names the rule, says what is
 * mapped, what is asked for, what the answer is, and what is mapped then.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <viommu.h>

#define K   UINT64_C(1024)
#define M   (K * K)
#define G   (K * M)
#define ALL UINT64_MAX /* a length: to the last byte */

enum op {
	MAP,
	UNMAP,
	REMAP,
	LIST, /* of the row's list, at start */
};

struct part {
	uint64_t start, len, gpa; /* len 0: no part */
};

enum {
	PARTS = 4,
};

struct row {
	const char *rule;
	uint32_t policy;
	uint64_t sizes;
	struct part before[PARTS];
	enum op op;
	struct part what; /* gpa: of a map */
	int64_t answer;
	struct part after[PARTS]; /* all there is; none: as before */
	bool empty;		  /* nothing is left */
	struct viommu_segment list[PARTS];
};

static inline uint64_t part_last(const struct part *p)
{
	return p->len == ALL ? UINT64_MAX : p->start + p->len - 1;
}

static inline struct viommu_mapping mapping_of(const struct part *p)
{
	return (struct viommu_mapping){ .start = p->start,
					.last = part_last(p),
					.gpa = p->gpa,
					.prot = VIOMMU_READ | VIOMMU_WRITE };
}

static inline int64_t row_run(const struct row *row, struct viommu_space *s,
			      struct viommu_fence *f)
{
	struct viommu_mapping m = mapping_of(&row->what);
	size_t n = 0;

	switch (row->op) {
	case MAP:
		return viommu_space_map(s, &m);
	case UNMAP:
		return viommu_space_unmap(s, m.start, m.last, f);
	case REMAP:
		return viommu_space_remap(s, &m, f);
	case LIST:
		while (n < PARTS && row->list[n].len)
			n++;
		return viommu_space_map_list(s, m.start, m.prot, row->list, n);
	}
	return -1;
}

/* Exactly @part is mapped, part by part and byte by byte at the edges. */
static inline bool row_left(struct viommu_space *s, const struct part *part)
{
	struct viommu_mapping m;
	uint64_t at = 0, gpa;
	bool ok = true;

	for (int i = 0; i < PARTS && part[i].len; i++) {
		uint64_t last = part_last(&part[i]);

		ok &= !viommu_space_next(s, at, &m) &&
		      m.start == part[i].start && m.last == last &&
		      m.gpa == part[i].gpa;
		ok &= !viommu_space_translate(s, last, &gpa) &&
		      gpa == part[i].gpa + (last - part[i].start);
		if (last == UINT64_MAX)
			return ok;
		at = last + 1;
	}
	return ok && viommu_space_next(s, at, &m) == -ENOENT;
}

static inline bool row_check(const struct row *row)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .policy = row->policy,
					 .page_sizes = row->sizes };
	const struct part *left = row->after;
	struct viommu_space *s;
	struct viommu_fence f;
	struct viommu *vi;
	int64_t answer;
	bool ok;

	assert_int_equal(viommu_create(NULL, &vi), 0);
	assert_int_equal(viommu_space_create(vi, &c, &s), 0);
	viommu_fence_init(&f);
	for (int i = 0; i < PARTS && row->before[i].len; i++) {
		struct viommu_mapping m = mapping_of(&row->before[i]);

		assert_int_equal(viommu_space_map(s, &m), 0);
	}
	answer = row_run(row, s, &f);
	if (!row->after[0].len && !row->empty)
		left = row->before;
	ok = answer == row->answer && row_left(s, left);
	if (!ok)
		print_error("%s: %lld\n", row->rule, (long long)answer);
	viommu_space_destroy(s, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(&f, -1), 0);
	viommu_destroy(vi);
	return ok;
}

static inline void rows_check(const struct row *row, size_t n)
{
	unsigned bad = 0;

	for (size_t i = 0; i < n; i++)
		bad += !row_check(&row[i]);
	assert_int_equal(bad, 0);
}

#define ROWS(rows) rows_check(rows, sizeof(rows) / sizeof(*(rows)))

#endif
