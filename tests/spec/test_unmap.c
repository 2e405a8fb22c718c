/* SPDX-License-Identifier: BSD-2-Clause */
/* UNMAP: 5.13.6.6.  The seven examples have pages of one byte. */
#include "world.h"

static void example_1_nothing_mapped(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(unmap(w, 1, 0, 4), OK);
}

static void example_2_all_of_a_mapping(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 9, 0), OK);
	assert_int_equal(unmap(w, 1, 0, 9), OK);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(gpa_of(w, 0, i), -1);
}

static void example_3_two_mappings(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4, 0), OK);
	assert_int_equal(map(w, 1, 5, 9, 5), OK);
	assert_int_equal(unmap(w, 1, 0, 9), OK);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(gpa_of(w, 0, i), -1);
}

static void example_4_part_of_a_mapping_is_refused(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 9, 0), OK);
	assert_int_equal(unmap(w, 1, 0, 4), RANGE);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(gpa_of(w, 0, i), (int64_t)i);
}

static void example_5_first_of_two_adjacent(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4, 0), OK);
	assert_int_equal(map(w, 1, 5, 9, 5), OK);
	assert_int_equal(unmap(w, 1, 0, 4), OK);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(gpa_of(w, 0, i), i < 5 ? -1 : (int64_t)i);
}

static void example_6_more_than_is_mapped(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4, 0), OK);
	assert_int_equal(unmap(w, 1, 0, 9), OK);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(gpa_of(w, 0, i), -1);
}

static void example_7_a_hole_between(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4, 0), OK);
	assert_int_equal(map(w, 1, 10, 14, 10), OK);
	assert_int_equal(unmap(w, 1, 0, 14), OK);
	for (uint64_t i = 0; i < 15; i++)
		assert_int_equal(gpa_of(w, 0, i), -1);
}

/* 5.13.6.6.2: reserved is not zero: MAY INVAL; we do, and remove nothing. */
static void reserved_is_refused(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
	for (size_t i = 0; i < 4; i++) {
		struct virtio_iommu_req_unmap r = {
			.head.type = VIRTIO_IOMMU_T_UNMAP,
			.domain = htole32(1),
			.virt_end = htole64(4095),
		};
		struct ask a;

		r.reserved[i] = 0x80;
		assert_int_equal(ask_bytes(w, &a, &r, 28, 4), INVAL);
	}
	assert_int_equal(peek(w, 0, 0), 1);
}

/* 5.13.6.6.2: no such domain: SHOULD NOENT. */
static void unknown_domain(void **state)
{
	struct world *w = *state;

	assert_int_equal(unmap(w, 1, 0, 4095), NOENT);
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(unmap(w, 2, 0, 4095), NOENT);
}

/* 5.13.6.6.2: bypass domain: SHOULD INVAL. */
static void bypass_domain(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach_flags(w, 1, EP, BYPASS), OK);
	assert_int_equal(unmap(w, 1, 0, UINT64_MAX), INVAL);
	assert_int_equal(peek(w, 0, 0), 1);
}

/* 5.13.6.6.2: would split: SHOULD RANGE and SHOULD remove nothing at all.
 * QEMU 5: not those that come before the one it would cut either. */
static void cut_removes_nothing(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(map(w, 1, i * PAGE, i * PAGE + 4095, i * PAGE),
				 OK);
	assert_int_equal(map(w, 1, 10 * PAGE, 20 * PAGE - 1, 10 * PAGE), OK);
	assert_int_equal(unmap(w, 1, 0, 15 * PAGE - 1), RANGE);
	assert_int_equal(unmap(w, 1, 0, 20 * PAGE - 2), RANGE);
	assert_int_equal(unmap(w, 1, 1, 20 * PAGE - 1), RANGE);
	assert_int_equal(unmap(w, 1, 11 * PAGE, UINT64_MAX), RANGE);
	for (uint64_t i = 0; i < 20; i++)
		assert_int_equal(peek(w, 0, i * PAGE), (int)i + 1);
	assert_int_equal(unmap(w, 1, 0, 20 * PAGE - 1), OK);
	for (uint64_t i = 0; i < 20; i++)
		assert_int_equal(peek(w, 0, i * PAGE), -EFAULT);
}

/* The edges of the range need not be on pages where nothing is cut. */
static void edges_in_holes(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0x1000, 0x1fff, 0), OK);
	assert_int_equal(map(w, 1, 0x4000, 0x4fff, 0), OK);
	assert_int_equal(unmap(w, 1, 0x800, 0x37ff), OK);
	assert_int_equal(gpa_of(w, 0, 0x1000), -1);
	assert_int_equal(gpa_of(w, 0, 0x4000), 0);
}

static void last_below_start(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
	assert_int_equal(unmap(w, 1, 4095, 0), INVAL);
	assert_int_equal(unmap(w, 1, UINT64_MAX, 0), INVAL);
	assert_int_equal(gpa_of(w, 0, 0), 0);
}

/* 5.13.6.2: outside input_range MAY be refused; to us it is a hole. */
static void beyond_input_range(void **state)
{
	struct viommu_virtio_config c = { .input_start = 0x10000,
					  .input_last = 0x1ffff };
	struct world w;

	(void)state;
	world_make(&w, &c);
	assert_int_equal(attach(&w, 1, EP), OK);
	assert_int_equal(map(&w, 1, 0x10000, 0x1ffff, 0), OK);
	assert_int_equal(unmap(&w, 1, 0, 0xffff), OK);
	assert_int_equal(gpa_of(&w, 0, 0x10000), 0);
	assert_int_equal(unmap(&w, 1, 0, UINT64_MAX), OK);
	assert_int_equal(gpa_of(&w, 0, 0x10000), -1);
	world_free(&w);
}

/* Other domains' mappings of the same addresses stay. */
static void other_domains_stay(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(attach(w, 2, EP + 1), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
	assert_int_equal(map(w, 2, 0, 4095, PAGE), OK);
	assert_int_equal(unmap(w, 1, 0, UINT64_MAX), OK);
	assert_int_equal(peek(w, 0, 0), -EFAULT);
	assert_int_equal(peek(w, 1, 0), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST_BYTES(example_1_nothing_mapped),
		TEST_BYTES(example_2_all_of_a_mapping),
		TEST_BYTES(example_3_two_mappings),
		TEST_BYTES(example_4_part_of_a_mapping_is_refused),
		TEST_BYTES(example_5_first_of_two_adjacent),
		TEST_BYTES(example_6_more_than_is_mapped),
		TEST_BYTES(example_7_a_hole_between),
		TEST(reserved_is_refused),
		TEST(unknown_domain),
		TEST(bypass_domain),
		TEST(cut_removes_nothing),
		TEST(edges_in_holes),
		TEST(last_below_start),
		cmocka_unit_test(beyond_input_range),
		TEST(other_domains_stay),
	};

	return cmocka_run_group_tests_name("unmap", tests, NULL, NULL);
}
