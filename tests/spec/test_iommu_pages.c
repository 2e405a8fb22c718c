/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's page-table interface (iommu_map and friends, the page tables of
 * io-pgtable and of generic_pt) as rules about spaces, one policy after the
 * other.  WHOLE_PAGE is its contract; SPLIT is what it had at times and would
 * have again; REFUSE is what some of its formats do.
 *
 * What does not apply, and why:
 *  - partial progress of map_pages and the caller's undo: a map is one step;
 *  - a sync after map, and one that fails: no table of ours is cached by anyone
 *    who is not told by a fence;
 *  - contiguous-entry page sizes, output address width, formats that lack
 *    permissions: sizes are of the bitmap alone, a GPA has 64 bits;
 *  - 0 for "misaligned" and "not mapped" in answers that are sizes or
 *    addresses: errors are told apart here, which the rows show;
 *  - -EADDRINUSE against -EEXIST: one code for one cause;
 *  - gathers that flush when ranges are disjoint: a fence has room for several;
 *  - dirty bits in entries: the log is by GPA.
 */
#include "iommu.h"

enum {
	REFUSE = VIOMMU_SPACE_REFUSE,
	SPLIT = VIOMMU_SPACE_SPLIT,
	WHOLE = VIOMMU_SPACE_WHOLE_PAGE,
};
#define SIZES (4 * K | 2 * M | G)

static void mapping(void **state)
{
	static const struct row rows[] = {
		{ .rule = "all of the range is mapped by one call",
		  .sizes = SIZES,
		  .op = MAP,
		  .what = { 4 * K, 3 * M, 8 * K },
		  .after = { { 4 * K, 3 * M, 8 * K } } },
		{ .rule = "the IOVA is on the smallest page",
		  .sizes = SIZES,
		  .op = MAP,
		  .what = { 2 * K, 4 * K, 0 },
		  .answer = -ERANGE },
		{ .rule = "so is the address",
		  .sizes = SIZES,
		  .op = MAP,
		  .what = { 4 * K, 4 * K, 2 * K },
		  .answer = -ERANGE },
		{ .rule = "so is the size",
		  .sizes = SIZES,
		  .op = MAP,
		  .what = { 4 * K, 6 * K, 0 },
		  .answer = -ERANGE },
		{ .rule = "only the smallest page counts for that",
		  .sizes = 64 * K | 2 * M,
		  .op = MAP,
		  .what = { 64 * K, 64 * K, 0 },
		  .after = { { 64 * K, 64 * K, 0 } } },
		{ .rule = "a granule that the bitmap lacks is refused",
		  .sizes = 64 * K | 2 * M,
		  .op = MAP,
		  .what = { 4 * K, 4 * K, 0 },
		  .answer = -ERANGE },
		{ .rule = "a page that is mapped is not mapped over",
		  .sizes = SIZES,
		  .before = { { 4 * K, 4 * K, 0 } },
		  .op = MAP,
		  .what = { 4 * K, 4 * K, 8 * K },
		  .answer = -EEXIST },
		{ .rule = "nor within a large page",
		  .sizes = SIZES,
		  .before = { { 2 * M, 2 * M, 0 } },
		  .op = MAP,
		  .what = { 3 * M, 4 * K, 0 },
		  .answer = -EEXIST },
		{ .rule = "nor a large page over a table that is in use",
		  .sizes = SIZES,
		  .before = { { 3 * M, 4 * K, 0 } },
		  .op = MAP,
		  .what = { 2 * M, 2 * M, 0 },
		  .answer = -EEXIST },
		{ .rule = "what fails late has not mapped its beginning",
		  .sizes = SIZES,
		  .before = { { 8 * M, 4 * K, 0 } },
		  .op = MAP,
		  .what = { 4 * K, 16 * M, 0 },
		  .answer = -EEXIST },
		{ .rule = "an address range that overflows is refused",
		  .sizes = SIZES,
		  .op = MAP,
		  .what = { 0, 8 * K, 0 - 4 * K },
		  .answer = -ERANGE },
		{ .rule = "the last page of the address space is a page",
		  .sizes = SIZES,
		  .op = MAP,
		  .what = { 0 - 4 * K, 4 * K, 4 * K },
		  .after = { { 0 - 4 * K, 4 * K, 4 * K } } },
		{ .rule = "so is all of it",
		  .sizes = SIZES,
		  .op = MAP,
		  .what = { 0, ALL, 0 },
		  .after = { { 0, ALL, 0 } } },
		{ .rule = "a list merges pieces that follow each other",
		  .sizes = SIZES,
		  .op = LIST,
		  .what = { M, 1, 0 },
		  .list = { { 0, 4 * K }, { 4 * K, 8 * K }, { 64 * K, 4 * K } },
		  .after = { { M, 12 * K, 0 },
			     { M + 12 * K, 4 * K, 64 * K } } },
		{ .rule = "a list that cannot be mapped leaves nothing",
		  .sizes = SIZES,
		  .before = { { M + 8 * K, 4 * K, 0 } },
		  .op = LIST,
		  .what = { M, 1, 0 },
		  .list = { { 0, 4 * K }, { 64 * K, 8 * K } },
		  .answer = -EEXIST },
		{ .rule = "each piece of a list is on the smallest page",
		  .sizes = SIZES,
		  .op = LIST,
		  .what = { M, 1, 0 },
		  .list = { { 0, 4 * K }, { 64 * K, 2 * K } },
		  .answer = -ERANGE },
	};

	(void)state;
	ROWS(rows);
}

/* The symmetric case is the same whatever the policy. */
static void unmapping_what_was_mapped(void **state)
{
	static const struct row rows[] = {
		{ .rule = "the size that went is the answer",
		  .before = { { 4 * K, 3 * M, 0 } },
		  .op = UNMAP,
		  .what = { 4 * K, 3 * M, 0 },
		  .answer = 3 * M,
		  .empty = true },
		{ .rule = "mappings in a row go together",
		  .before = { { 4 * K, 4 * K, 0 }, { 8 * K, 4 * K, G } },
		  .op = UNMAP,
		  .what = { 4 * K, 8 * K, 0 },
		  .answer = 8 * K,
		  .empty = true },
		{ .rule = "a hole does not end it, nor does it count",
		  .before = { { 4 * K, 4 * K, 0 }, { G, 2 * M, G } },
		  .op = UNMAP,
		  .what = { 0, 2 * G, 0 },
		  .answer = 2 * M + 4 * K,
		  .empty = true },
		{ .rule = "nothing mapped is nothing removed",
		  .op = UNMAP,
		  .what = { 4 * K, 4 * K, 0 },
		  .answer = 0 },
		{ .rule = "neighbours stay",
		  .before = { { 0, 4 * K, 0 },
			      { 4 * K, 4 * K, 4 * K },
			      { 8 * K, 4 * K, 8 * K } },
		  .op = UNMAP,
		  .what = { 4 * K, 4 * K, 0 },
		  .answer = 4 * K,
		  .after = { { 0, 4 * K, 0 }, { 8 * K, 4 * K, 8 * K } } },
		{ .rule = "all at once",
		  .before = { { 0, 4 * K, 0 }, { 0 - 4 * K, 4 * K, 0 } },
		  .op = UNMAP,
		  .what = { 0, ALL, 0 },
		  .answer = 8 * K,
		  .empty = true },
	};

	(void)state;
	for (uint32_t policy = REFUSE; policy <= WHOLE; policy++)
		for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
			struct row row = rows[i];

			row.policy = policy;
			row.sizes = SIZES;
			assert_true(row_check(&row));
		}
}

static void refused(void **state)
{
	static const struct row rows[] = {
		{ .rule = "the beginning of a block",
		  .sizes = SIZES,
		  .before = { { 2 * M, 2 * M, 0 } },
		  .op = UNMAP,
		  .what = { 2 * M, 4 * K, 0 },
		  .answer = -ERANGE },
		{ .rule = "its middle",
		  .sizes = SIZES,
		  .before = { { 2 * M, 2 * M, 0 } },
		  .op = UNMAP,
		  .what = { 3 * M, 4 * K, 0 },
		  .answer = -ERANGE },
		{ .rule = "its end, and what is there behind it stays",
		  .sizes = SIZES,
		  .before = { { 2 * M, 2 * M, 0 }, { 4 * M, 4 * K, 0 } },
		  .op = UNMAP,
		  .what = { 3 * M, 2 * M, 0 },
		  .answer = -ERANGE },
		{ .rule = "between pages of one mapping, too",
		  .sizes = SIZES,
		  .before = { { 4 * K, 8 * K, 0 } },
		  .op = UNMAP,
		  .what = { 4 * K, 4 * K, 0 },
		  .answer = -ERANGE },
		{ .rule = "off the granule",
		  .sizes = SIZES,
		  .before = { { 4 * K, 8 * K, 0 } },
		  .op = UNMAP,
		  .what = { 4 * K, 8 * K - 1, 0 },
		  .answer = -ERANGE },
	};

	(void)state;
	ROWS(rows);
}

static void split(void **state)
{
	static const struct row rows[] = {
		{ .rule = "the beginning of a block",
		  .policy = SPLIT,
		  .sizes = SIZES,
		  .before = { { 2 * M, 2 * M, 0 } },
		  .op = UNMAP,
		  .what = { 2 * M, 4 * K, 0 },
		  .answer = 4 * K,
		  .after = { { 2 * M + 4 * K, 2 * M - 4 * K, 4 * K } } },
		{ .rule = "its middle, of the largest",
		  .policy = SPLIT,
		  .sizes = SIZES,
		  .before = { { G, G, 0 } },
		  .op = UNMAP,
		  .what = { G + M, 4 * K, 0 },
		  .answer = 4 * K,
		  .after = { { G, M, 0 },
			     { G + M + 4 * K, G - M - 4 * K, M + 4 * K } } },
		{ .rule = "its end, and what is there behind it",
		  .policy = SPLIT,
		  .sizes = SIZES,
		  .before = { { 2 * M, 2 * M, 0 }, { 4 * M, 8 * K, 0 } },
		  .op = UNMAP,
		  .what = { 3 * M, M + 4 * K, 0 },
		  .answer = M + 4 * K,
		  .after = { { 2 * M, M, 0 },
			     { 4 * M + 4 * K, 4 * K, 4 * K } } },
		{ .rule = "no smaller than the granule",
		  .policy = SPLIT,
		  .sizes = SIZES,
		  .before = { { 4 * K, 8 * K, 0 } },
		  .op = UNMAP,
		  .what = { 4 * K, 2 * K, 0 },
		  .answer = -ERANGE },
		{ .rule = "whatever the bitmap says of sizes between",
		  .policy = SPLIT,
		  .sizes = 4 * K,
		  .before = { { 0, 2 * M, 0 } },
		  .op = UNMAP,
		  .what = { 64 * K, 4 * K, 0 },
		  .answer = 4 * K,
		  .after = { { 0, 64 * K, 0 },
			     { 68 * K, 2 * M - 68 * K, 68 * K } } },
	};

	(void)state;
	ROWS(rows);
}

static void whole_pages(void **state)
{
	static const struct row rows[] = {
		{ .rule = "a range that ends in a large page takes all of it",
		  .policy = WHOLE,
		  .sizes = SIZES,
		  .before = { { 2 * M, 2 * M, 0 } },
		  .op = UNMAP,
		  .what = { 2 * M, 4 * K, 0 },
		  .answer = 2 * M,
		  .empty = true },
		{ .rule = "so does one that begins there",
		  .policy = WHOLE,
		  .sizes = SIZES,
		  .before = { { 2 * M, 2 * M, 0 } },
		  .op = UNMAP,
		  .what = { 3 * M, 4 * K, 0 },
		  .answer = 2 * M,
		  .empty = true },
		{ .rule = "other pages of the mapping stay",
		  .policy = WHOLE,
		  .sizes = SIZES,
		  .before = { { 2 * M, 6 * M, 0 } },
		  .op = UNMAP,
		  .what = { 5 * M, 4 * K, 0 },
		  .answer = 2 * M,
		  .after = { { 2 * M, 2 * M, 0 }, { 6 * M, 2 * M, 4 * M } } },
		{ .rule = "a page is at most as large as the range was",
		  .policy = WHOLE,
		  .sizes = SIZES,
		  .before = { { 2 * M, M, 0 } },
		  .op = UNMAP,
		  .what = { 2 * M, 4 * K, 0 },
		  .answer = 4 * K,
		  .after = { { 2 * M + 4 * K, M - 4 * K, 4 * K } } },
		{ .rule = "and as the IOVA is aligned",
		  .policy = WHOLE,
		  .sizes = SIZES,
		  .before = { { M, 2 * M, M } },
		  .op = UNMAP,
		  .what = { 2 * M, 4 * K, 0 },
		  .answer = 4 * K,
		  .after = { { M, M, M },
			     { 2 * M + 4 * K, M - 4 * K, 2 * M + 4 * K } } },
		{ .rule = "and as the address is aligned",
		  .policy = WHOLE,
		  .sizes = SIZES,
		  .before = { { 2 * M, 2 * M, M } },
		  .op = UNMAP,
		  .what = { 2 * M, 4 * K, 0 },
		  .answer = 4 * K,
		  .after = { { 2 * M + 4 * K, 2 * M - 4 * K, M + 4 * K } } },
		{ .rule = "small pages lead up to where a large one fits",
		  .policy = WHOLE,
		  .sizes = SIZES,
		  .before = { { M, 3 * M, M } },
		  .op = UNMAP,
		  .what = { 2 * M - 4 * K, 8 * K, 0 },
		  .answer = 2 * M + 4 * K,
		  .after = { { M, M - 4 * K, M } } },
		{ .rule = "and follow it",
		  .policy = WHOLE,
		  .sizes = SIZES,
		  .before = { { 2 * M, 3 * M, 0 } },
		  .op = UNMAP,
		  .what = { 4 * M, 4 * K, 0 },
		  .answer = 4 * K,
		  .after = { { 2 * M, 2 * M, 0 },
			     { 4 * M + 4 * K, M - 4 * K, 2 * M + 4 * K } } },
		{ .rule = "a size between, if the bitmap has it",
		  .policy = WHOLE,
		  .sizes = SIZES | 64 * K,
		  .before = { { 64 * K, 128 * K, 0 } },
		  .op = UNMAP,
		  .what = { 68 * K, 4 * K, 0 },
		  .answer = 64 * K,
		  .after = { { 128 * K, 64 * K, 64 * K } } },
		{ .rule = "no size that the bitmap lacks",
		  .policy = WHOLE,
		  .sizes = 4 * K,
		  .before = { { 0, 2 * M, 0 } },
		  .op = UNMAP,
		  .what = { M, 4 * K, 0 },
		  .answer = 4 * K,
		  .after = { { 0, M, 0 },
			     { M + 4 * K, M - 4 * K, M + 4 * K } } },
		{ .rule = "the last byte of one page and the first of the next",
		  .policy = WHOLE,
		  .sizes = SIZES,
		  .before = { { 4 * K, 16 * K, 0 } },
		  .op = UNMAP,
		  .what = { 12 * K - 1, 2, 0 },
		  .answer = 8 * K,
		  .after = { { 4 * K, 4 * K, 0 }, { 16 * K, 4 * K, 12 * K } } },
	};

	(void)state;
	ROWS(rows);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mapping),
		cmocka_unit_test(unmapping_what_was_mapped),
		cmocka_unit_test(refused),
		cmocka_unit_test(split),
		cmocka_unit_test(whole_pages),
	};

	return cmocka_run_group_tests_name("iommu-pages", tests, NULL, NULL);
}
