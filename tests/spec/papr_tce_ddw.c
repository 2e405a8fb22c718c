/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The firmware calls of a pseries machine: windows come and go; a test per
 * rule.
 */
#include "papr_tce.h"

#define OK	   VIOMMU_RTAS_SUCCESS
#define HW_ERROR   VIOMMU_RTAS_HW_ERROR
#define BAD	   VIOMMU_RTAS_PARAM_ERROR
#define DYN_LIOBN  ((int64_t)LIOBN + 1)
#define SIZES_MASK 0x187

static const uint32_t pe[] = { 0x10000, CELLS(BUID) };

static int64_t windows_left(struct machine *m)
{
	uint32_t rets[5];

	assert_int_equal(
		rtas(m, VIOMMU_RTAS_QUERY_PE_DMA_WINDOW, 3, pe, 5, rets), OK);
	return rets[1];
}

static int64_t reset_now(struct machine *m)
{
	uint32_t rets[1];

	return rtas(m, VIOMMU_RTAS_RESET_PE_DMA_WINDOW, 3, pe, 1, rets);
}

/* ---- query ------------------------------------------------------------ */

static void query_tells_in_five_cells_or_six(void **state)
{
	struct machine *m = *state;
	uint32_t rets[6];

	assert_int_equal(
		rtas(m, VIOMMU_RTAS_QUERY_PE_DMA_WINDOW, 3, pe, 5, rets), OK);
	assert_int_equal(rets[1], 1);
	assert_int_equal(rets[2], ENTRIES);
	assert_int_equal(rets[3], SIZES_MASK);
	assert_int_equal(rets[4], 0);
	assert_int_equal(
		rtas(m, VIOMMU_RTAS_QUERY_PE_DMA_WINDOW, 3, pe, 6, rets), OK);
	assert_int_equal(rets[1], 1);
	assert_int_equal(rets[2], 0);
	assert_int_equal(rets[3], ENTRIES);
	assert_int_equal(rets[4], SIZES_MASK);
	assert_int_equal(rets[5], 0);
}

/* One cell has no room for all of 2^32. */
static void the_largest_block_is_cut_to_its_cell(void **state)
{
	const struct viommu_tce_config c = { .size = sizeof(c),
					     .max_entries = UINT64_C(1) << 32 };
	struct viommu_tce_bus bus = { .size = sizeof(bus),
				      .buid = BUID,
				      .page_sizes = VIOMMU_TCE_4K };
	struct machine *m = *state;
	struct viommu_tce *t = m->t;
	struct viommu_fence f;
	uint32_t rets[6];

	assert_int_equal(viommu_tce_create(m->vi, &c, &m->t), 0);
	assert_int_equal(viommu_tce_add_bus(m->t, &bus), 0);
	assert_int_equal(
		rtas(m, VIOMMU_RTAS_QUERY_PE_DMA_WINDOW, 3, pe, 5, rets), OK);
	assert_true(rets[2] == 0x80000000);
	assert_int_equal(
		rtas(m, VIOMMU_RTAS_QUERY_PE_DMA_WINDOW, 3, pe, 6, rets), OK);
	assert_int_equal(rets[2], 1);
	assert_int_equal(rets[3], 0);
	viommu_fence_init(&f);
	viommu_tce_destroy(m->t, &f);
	fence_run(&f);
	m->t = t;
}

/* ---- what is refused --------------------------------------------------- */

static void wrong_numbers_of_cells_are_param_error(void **state)
{
	static const uint32_t right[][3] = {
		[VIOMMU_RTAS_QUERY_PE_DMA_WINDOW] = { 3, 5, 6 },
		[VIOMMU_RTAS_CREATE_PE_DMA_WINDOW] = { 5, 4, 4 },
		[VIOMMU_RTAS_REMOVE_PE_DMA_WINDOW] = { 1, 1, 1 },
		[VIOMMU_RTAS_RESET_PE_DMA_WINDOW] = { 3, 1, 1 },
	};
	const uint32_t args[8] = { 0, CELLS(BUID), 12, 13 };
	struct machine *m = *state;
	uint32_t rets[8];

	for (uint32_t call = 0; call < 4; call++)
		for (uint32_t n = 0; n < 8; n++) {
			if (n != right[call][0])
				assert_int_equal(rtas(m, call, n, args,
						      right[call][1], rets),
						 BAD);
			if (n != right[call][1] && n != right[call][2])
				assert_int_equal(rtas(m, call, right[call][0],
						      args, n, rets),
						 BAD);
		}
	assert_int_equal(windows_left(m), 1);
}

static void unknown_call_is_param_error(void **state)
{
	uint32_t rets[1];

	assert_int_equal(rtas(*state, 4, 3, pe, 1, rets), BAD);
	assert_int_equal(rtas(*state, UINT32_MAX, 3, pe, 1, rets), BAD);
}

/* And one that has no dynamic windows. */
static void unknown_bus_is_param_error(void **state)
{
	const uint64_t buids[] = { BUID - 1, BUID << 32, BUID >> 32, BUID2 };
	struct machine *m = *state;
	uint32_t rets[5];

	for (unsigned i = 0; i < 4; i++) {
		const uint32_t args[] = { 0, CELLS(buids[i]), 12, 13 };

		assert_int_equal(rtas(m, VIOMMU_RTAS_QUERY_PE_DMA_WINDOW, 3,
				      args, 5, rets),
				 BAD);
		assert_int_equal(rtas(m, VIOMMU_RTAS_CREATE_PE_DMA_WINDOW, 5,
				      args, 4, rets),
				 BAD);
		assert_int_equal(rtas(m, VIOMMU_RTAS_RESET_PE_DMA_WINDOW, 3,
				      args, 1, rets),
				 BAD);
	}
	assert_int_equal(window_remove(m, LIOBN2), BAD);
	assert_true(get(m, LIOBN2, START2) == 0);
}

static void create_checks_its_shifts(void **state)
{
	struct machine *m = *state;

	/* no such size, or not allowed on this bus */
	assert_int_equal(create(m, 0, 30, NULL), BAD);
	assert_int_equal(create(m, 13, 30, NULL), BAD);
	assert_int_equal(create(m, 25, 30, NULL), BAD);
	assert_int_equal(create(m, 12 + 256, 30, NULL), BAD);
	assert_int_equal(create(m, UINT32_MAX, 30, NULL), BAD);
	assert_int_equal(create(m, 16, 15, NULL), BAD);
	assert_int_equal(create(m, 12, 64, NULL), BAD);
	assert_int_equal(create(m, 12, UINT32_MAX, NULL), BAD);
	assert_int_equal(windows_left(m), 1);
	assert_int_equal(create(m, 16, 16, NULL), DYN_LIOBN);
}

static void create_bounds_its_entries(void **state)
{
	struct machine *m = *state;

	assert_int_equal(create(m, 12, 63, NULL), HW_ERROR);
	assert_int_equal(create(m, 34, 63, NULL), HW_ERROR);
	assert_int_equal(create(m, 12, 12 + 11, NULL), HW_ERROR);
	assert_int_equal(windows_left(m), 1);
	assert_int_equal(create(m, 12, 12 + 10, NULL), DYN_LIOBN);
}

static void third_window_is_hw_error(void **state)
{
	struct machine *m = *state;

	assert_int_equal(create(m, 16, 20, NULL), DYN_LIOBN);
	assert_int_equal(windows_left(m), 0);
	assert_int_equal(create(m, 16, 20, NULL), HW_ERROR);
}

/* ---- two windows ------------------------------------------------------- */

static void a_device_sees_both_windows(void **state)
{
	struct machine *m = *state;
	uint64_t start;

	assert_int_equal(create(m, 16, 20, &start), DYN_LIOBN);
	assert_true(start == DYNAMIC);
	assert_int_equal(put(m, LIOBN, 0x2000, 0x3003), SUCCESS);
	assert_int_equal(put(m, LIOBN + 1, DYNAMIC + 0x12345, 0x2abc3),
			 SUCCESS);
	assert_int_equal(peek(m->ep, 0x2000), 4);
	assert_int_equal(peek(m->ep, 0x3000), -EFAULT);
	/* all 64 KiB of it, and no more */
	assert_int_equal(peek(m->ep, DYNAMIC + 0x10000), 0x20 + 1);
	assert_int_equal(peek(m->ep, DYNAMIC + 0x1ffff), 0x2f + 1);
	assert_int_equal(peek(m->ep, DYNAMIC + 0xffff), -EFAULT);
	assert_int_equal(peek(m->ep, DYNAMIC + 0x20000), -EFAULT);
	assert_true(get(m, LIOBN + 1, DYNAMIC + 0x1ffff) == 0x2abc3);
	/* each is its own */
	assert_int_equal(put(m, LIOBN, DYNAMIC, 0x3003), PARAMETER);
	assert_int_equal(put(m, LIOBN + 1, 0x2000, 0x3003), PARAMETER);
	assert_int_equal(put(m, LIOBN + 1, DYNAMIC + 0x100000, 0x3), PARAMETER);
}

static void pages_of_each_size(void **state)
{
	static const uint32_t shifts[] = { 12, 16, 21, 24, 34 };
	struct machine *m = *state;

	for (unsigned i = 0; i < 5; i++) {
		uint64_t size = UINT64_C(1) << shifts[i];

		assert_int_equal(create(m, shifts[i], shifts[i] + 3, NULL),
				 DYN_LIOBN);
		assert_int_equal(put(m, LIOBN + 1, DYNAMIC + 7 * size, RW),
				 SUCCESS);
		assert_int_equal(peek(m->ep, DYNAMIC + 7 * size + 0xfff), 1);
		assert_int_equal(peek(m->ep, DYNAMIC + 7 * size - 1), -EFAULT);
		/* changed in one step, and cleared */
		assert_int_equal(
			put(m, LIOBN + 1, DYNAMIC + 7 * size, size | R),
			SUCCESS);
		assert_int_equal(peek(m->ep, DYNAMIC + 7 * size),
				 size < PAGES * PAGE ? (int)(size / PAGE) + 1
						     : -EFAULT);
		assert_int_equal(stuff(m, LIOBN + 1, DYNAMIC, 0, 8), SUCCESS);
		assert_int_equal(peek(m->ep, DYNAMIC + 7 * size), -EFAULT);
		assert_int_equal(window_remove(m, LIOBN + 1), OK);
	}
}

/* The guest that wants one large window, from where the default one was. */
static void the_first_window_begins_where_the_default_one_did(void **state)
{
	struct machine *m = *state;
	uint64_t start;

	assert_int_equal(window_remove(m, LIOBN), OK);
	assert_int_equal(windows_left(m), 2);
	assert_true(get(m, LIOBN, 0) == UINT64_MAX);
	assert_int_equal(create(m, 24, 30, &start), LIOBN);
	assert_int_equal(start, 0);
	assert_int_equal(create(m, 16, 20, &start), DYN_LIOBN);
	assert_true(start == DYNAMIC);
	/* its place is free again, the other's is not */
	assert_int_equal(window_remove(m, LIOBN), OK);
	assert_int_equal(create(m, 16, 20, &start), LIOBN);
	assert_int_equal(start, 0);
}

/* ---- remove ------------------------------------------------------------ */

static void remove_takes_all_of_the_window(void **state)
{
	struct machine *m = *state;

	assert_int_equal(create(m, 16, 20, NULL), DYN_LIOBN);
	assert_int_equal(put(m, LIOBN, 0, 0x3003), SUCCESS);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(put(m, LIOBN + 1, DYNAMIC + (i << 16), RW),
				 SUCCESS);
	assert_int_equal(window_remove(m, LIOBN + 1), OK);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(peek(m->ep, DYNAMIC + (i << 16)), -EFAULT);
	assert_int_equal(peek(m->ep, 0), 4);
	assert_int_equal(window_remove(m, LIOBN + 1), BAD);
	/* the next one begins with nothing */
	assert_int_equal(create(m, 16, 20, NULL), DYN_LIOBN);
	assert_true(get(m, LIOBN + 1, DYNAMIC) == 0);
	assert_int_equal(peek(m->ep, DYNAMIC), -EFAULT);
}

static void removing_the_last_dynamic_one_restores_the_default(void **state)
{
	struct machine *m = *state;

	assert_int_equal(put(m, LIOBN, 0, 0x3003), SUCCESS);
	assert_int_equal(window_remove(m, LIOBN), OK);
	assert_int_equal(peek(m->ep, 0), -EFAULT);
	assert_int_equal(create(m, 16, 20, NULL), LIOBN);
	assert_int_equal(window_remove(m, LIOBN), OK);
	assert_int_equal(windows_left(m), 1);
	assert_true(get(m, LIOBN, 0) == 0);
	assert_true(get(m, LIOBN, (ENTRIES - 1) * PAGE) == 0);
	assert_true(get(m, LIOBN, ENTRIES * PAGE) == UINT64_MAX);
	assert_int_equal(put(m, LIOBN, 0x1000, 0x3003), SUCCESS);
	assert_int_equal(peek(m->ep, 0x1000), 4);
}

static void removing_the_default_one_restores_nothing(void **state)
{
	struct machine *m = *state;

	assert_int_equal(window_remove(m, LIOBN), OK);
	assert_int_equal(windows_left(m), 2);
	assert_int_equal(window_remove(m, LIOBN), BAD);
	assert_int_equal(put(m, LIOBN, 0, 0x3003), PARAMETER);
}

/* ---- reset ------------------------------------------------------------ */

static void reset_leaves_the_default_one_and_all_zero(void **state)
{
	struct machine *m = *state;

	/* whatever there is */
	for (unsigned i = 0; i < 3; i++) {
		if (i)
			assert_int_equal(create(m, 16, 20, NULL), DYN_LIOBN);
		else
			assert_int_equal(put(m, LIOBN, 0, 0x3003), SUCCESS);
		if (i == 2)
			assert_int_equal(window_remove(m, LIOBN), OK);
		if (i)
			assert_int_equal(put(m, LIOBN + 1, DYNAMIC, RW),
					 SUCCESS);
		assert_int_equal(reset_now(m), OK);
		assert_int_equal(windows_left(m), 1);
		assert_true(get(m, LIOBN, 0) == 0);
		assert_int_equal(peek(m->ep, 0), -EFAULT);
		assert_int_equal(peek(m->ep, DYNAMIC), -EFAULT);
		assert_true(get(m, LIOBN + 1, DYNAMIC) == UINT64_MAX);
	}
}

static void system_reset_is_for_all_buses(void **state)
{
	struct machine *m = *state;
	struct viommu_fence f;
	struct held h;

	assert_int_equal(put(m, LIOBN, 0, 0x3003), SUCCESS);
	assert_int_equal(put(m, LIOBN2, START2, 0x3003), SUCCESS);
	assert_int_equal(create(m, 16, 20, NULL), DYN_LIOBN);
	hold(&h, m->ep2, START2);
	viommu_fence_init(&f);
	viommu_tce_reset(m->t, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(peek(m->ep, 0), -EFAULT);
	assert_int_equal(peek(m->ep2, START2), -EFAULT);
	assert_true(get(m, LIOBN, 0) == 0 && get(m, LIOBN2, START2) == 0);
	assert_int_equal(windows_left(m), 1);
	let_go(&h);
	assert_true(viommu_fence_done(&f));
}

/* ---- in flight --------------------------------------------------------- */

static int64_t remove_or_reset(struct machine *m, struct vcpu *v, bool remove,
			       uint32_t *rets)
{
	static const uint32_t liobn[] = { (uint32_t)LIOBN + 1 };
	const struct viommu_tce_rtas r = {
		.call = remove ? VIOMMU_RTAS_REMOVE_PE_DMA_WINDOW
			       : VIOMMU_RTAS_RESET_PE_DMA_WINDOW,
		.nargs = remove ? 1 : 3,
		.args = remove ? liobn : pe,
		.nrets = 1,
		.rets = rets,
	};

	vcpu_init(v);
	return viommu_tce_rtas(m->t, &r, &v->call);
}

static void taking_a_window_waits_for_what_is_in_flight(void **state)
{
	struct machine *m = *state;
	struct held h;
	struct vcpu v;

	for (unsigned i = 0; i < 2; i++) {
		uint32_t ret = 0xa5;

		assert_int_equal(create(m, 16, 20, NULL), DYN_LIOBN);
		assert_int_equal(put(m, LIOBN + 1, DYNAMIC + 0x10000, RW),
				 SUCCESS);
		hold(&h, m->ep, DYNAMIC + 0x11000);
		assert_int_equal(remove_or_reset(m, &v, i, &ret), PENDING);
		/* gone for all others, and the others go on */
		assert_int_equal(peek(m->ep, DYNAMIC + 0x10000), -EFAULT);
		assert_int_equal(put(m, LIOBN, 0, 0x3003), SUCCESS);
		assert_int_equal(v.dones, 0);
		let_go(&h);
		assert_int_equal(v.dones, 1);
		assert_int_equal(v.code, OK);
		assert_int_equal((int32_t)ret, OK);
		assert_int_equal(v.releases, 1);
	}
}

static void given_up_is_hw_error(void **state)
{
	struct machine *m = *state;
	struct held h;
	struct vcpu v;

	for (unsigned i = 0; i < 2; i++) {
		uint32_t ret = 0xa5;

		assert_int_equal(create(m, 16, 20, NULL), DYN_LIOBN);
		assert_int_equal(put(m, LIOBN + 1, DYNAMIC, RW), SUCCESS);
		hold(&h, m->ep, DYNAMIC);
		assert_int_equal(remove_or_reset(m, &v, i, &ret), PENDING);
		pass(m, TIMEOUT);
		assert_int_equal(v.dones, 1);
		assert_int_equal(v.code, HW_ERROR);
		assert_int_equal((int32_t)ret, HW_ERROR);
		assert_int_equal(v.releases, 0);
		let_go(&h);
		assert_int_equal(v.releases, 1);
		assert_int_equal((int32_t)ret, HW_ERROR);
		assert_int_equal(viommu_endpoint_recover(m->ep), 0);
	}
}

/* The new window does not wait for the old one's last user. */
static void a_window_may_take_the_place_of_one_that_is_waited_for(void **state)
{
	struct machine *m = *state;
	uint32_t ret;
	struct held h;
	struct vcpu v;

	assert_int_equal(create(m, 16, 20, NULL), DYN_LIOBN);
	assert_int_equal(put(m, LIOBN + 1, DYNAMIC, RW), SUCCESS);
	hold(&h, m->ep, DYNAMIC);
	assert_int_equal(remove_or_reset(m, &v, true, &ret), PENDING);
	assert_int_equal(create(m, 12, 20, NULL), DYN_LIOBN);
	assert_int_equal(put(m, LIOBN + 1, DYNAMIC, 0x3003), SUCCESS);
	assert_int_equal(peek(m->ep, DYNAMIC), 4);
	assert_int_equal(peek(m->ep, DYNAMIC + 0x1000), -EFAULT);
	assert_int_equal(v.dones, 0);
	let_go(&h);
	assert_int_equal(v.dones, 1);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(query_tells_in_five_cells_or_six),
		T(the_largest_block_is_cut_to_its_cell),
		T(wrong_numbers_of_cells_are_param_error),
		T(unknown_call_is_param_error),
		T(unknown_bus_is_param_error),
		T(create_checks_its_shifts),
		T(create_bounds_its_entries),
		T(third_window_is_hw_error),
		T(a_device_sees_both_windows),
		T(pages_of_each_size),
		T(the_first_window_begins_where_the_default_one_did),
		T(remove_takes_all_of_the_window),
		T(removing_the_last_dynamic_one_restores_the_default),
		T(removing_the_default_one_restores_nothing),
		T(reset_leaves_the_default_one_and_all_zero),
		T(system_reset_is_for_all_buses),
		T(taking_a_window_waits_for_what_is_in_flight),
		T(given_up_is_hw_error),
		T(a_window_may_take_the_place_of_one_that_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
