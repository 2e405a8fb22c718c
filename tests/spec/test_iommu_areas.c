/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's interface for user space (iommufd's IOAS) as rules about spaces:
 * areas keep their borders, and only whole ones go.
 *
 * What does not apply, and why:
 *  - identifiers, object types, structure sizes, flags: no ioctl here;
 *  - automatic choice of an IOVA, allowed and reserved lists of a device: the
 *    guest chooses; reserved ranges have tests of their own (test_probe.c);
 *  - copy between IOASes, pinning, memory limits: nothing is pinned for long;
 *  - hardware objects, faults to user space, dirty bitmaps by IOVA.
 * Where the kernel stops half way (areas before a cut one are gone already) we
 * change nothing, and where it says -ENOENT for "nothing there" we say 0 bytes.
 */
#include "iommu.h"

static void areas(void **state)
{
	static const struct row rows[] = {
		{ .rule = "overlap with an area is refused",
		  .sizes = 4 * K,
		  .before = { { 8 * K, 8 * K, 0 } },
		  .op = MAP,
		  .what = { 4 * K, 8 * K, 0 },
		  .answer = -EEXIST },
		{ .rule = "length 0 is refused",
		  .sizes = 4 * K,
		  .op = MAP,
		  .what = { 4 * K, 0, 0 },
		  .answer = -EINVAL },
		{ .rule = "misaligned is refused",
		  .sizes = 4 * K,
		  .op = MAP,
		  .what = { 4 * K, 4095, 0 },
		  .answer = -ERANGE },
		{ .rule = "an area that would be cut stays, at its beginning",
		  .sizes = 4 * K,
		  .before = { { 8 * K, 8 * K, 0 } },
		  .op = UNMAP,
		  .what = { 8 * K, 4 * K, 0 },
		  .answer = -ERANGE },
		{ .rule = "and at its end",
		  .sizes = 4 * K,
		  .before = { { 8 * K, 8 * K, 0 } },
		  .op = UNMAP,
		  .what = { 12 * K, 4 * K, 0 },
		  .answer = -ERANGE },
		{ .rule = "those before it stay as well",
		  .sizes = 4 * K,
		  .before = { { 4 * K, 4 * K, 0 }, { 8 * K, 8 * K, 0 } },
		  .op = UNMAP,
		  .what = { 4 * K, 8 * K, 0 },
		  .answer = -ERANGE },
		{ .rule = "whole areas go, across holes",
		  .sizes = 4 * K,
		  .before = { { 4 * K, 4 * K, 0 },
			      { 16 * K, 8 * K, 0 },
			      { G, 4 * K, 0 } },
		  .op = UNMAP,
		  .what = { 0, M, 0 },
		  .answer = 12 * K,
		  .after = { { G, 4 * K, 0 } } },
		{ .rule = "the range may go beyond the areas' borders",
		  .sizes = 4 * K,
		  .before = { { 8 * K, 4 * K, 0 } },
		  .op = UNMAP,
		  .what = { 4 * K + 1, 16 * K, 0 },
		  .answer = 4 * K,
		  .empty = true },
		{ .rule = "nothing there is no bytes",
		  .sizes = 4 * K,
		  .before = { { 8 * K, 4 * K, 0 } },
		  .op = UNMAP,
		  .what = { G, 4 * K, 0 },
		  .answer = 0 },
		{ .rule = "unmap all",
		  .sizes = 4 * K,
		  .before = { { 0, 4 * K, 0 }, { G, G, 0 } },
		  .op = UNMAP,
		  .what = { 0, ALL, 0 },
		  .answer = G + 4 * K,
		  .empty = true },
		{ .rule = "unmap all of nothing is fine",
		  .sizes = 4 * K,
		  .op = UNMAP,
		  .what = { 0, ALL, 0 },
		  .answer = 0 },
		{ .rule = "adjacent areas keep their border",
		  .sizes = 4 * K,
		  .before = { { 4 * K, 4 * K, 0 }, { 8 * K, 4 * K, 4 * K } },
		  .op = UNMAP,
		  .what = { 8 * K, 4 * K, 0 },
		  .answer = 4 * K,
		  .after = { { 4 * K, 4 * K, 0 } } },
		{ .rule = "a cut by pages, where large pages are off (type1 "
			  "v1)",
		  .policy = VIOMMU_SPACE_SPLIT,
		  .sizes = 4 * K,
		  .before = { { 4 * K, 12 * K, 0 } },
		  .op = UNMAP,
		  .what = { 8 * K, 4 * K, 0 },
		  .answer = 4 * K,
		  .after = { { 4 * K, 4 * K, 0 }, { 12 * K, 4 * K, 8 * K } } },
		{ .rule = "a replaced area is all new",
		  .sizes = 4 * K,
		  .before = { { 4 * K, 4 * K, 0 }, { 8 * K, 4 * K, 4 * K } },
		  .op = REMAP,
		  .what = { 4 * K, 8 * K, G },
		  .answer = 0,
		  .after = { { 4 * K, 8 * K, G } } },
		{ .rule = "a replacement cuts no area either",
		  .sizes = 4 * K,
		  .before = { { 4 * K, 8 * K, 0 } },
		  .op = REMAP,
		  .what = { 8 * K, 8 * K, G },
		  .answer = -ERANGE },
	};

	(void)state;
	ROWS(rows);
}

static void unusable_page_sizes(void **state)
{
	struct viommu_space_config c = { .size = sizeof(c) };
	struct viommu_space *s;
	struct viommu *vi;

	(void)state;
	assert_int_equal(viommu_create(NULL, &vi), 0);
	/* the alignment of an empty bitmap is none */
	assert_int_equal(viommu_space_create(vi, &c, &s), -EINVAL);
	viommu_destroy(vi);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(areas),
		cmocka_unit_test(unusable_page_sizes),
	};

	return cmocka_run_group_tests_name("iommu-areas", tests, NULL, NULL);
}
