/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pseries machine's IOMMU as its embedder sees it: made and unmade, buses
 * that come and go, states that are saved and loaded.
 */
#include "papr_tce.h"

enum {
	SUM_AT = 24,
	HEAD = 40,
	/* the state that filled() makes */
	WINDOW = 40, /* before its entries */
	BUS = 16,
	FIRST = HEAD + BUS,		       /* the default window */
	SECOND = FIRST + WINDOW + ENTRIES * 8, /* the dynamic one */
	OTHER = SECOND + WINDOW + 16 * 8,      /* the other bus */
	LEN = OTHER + BUS + WINDOW + SMALL * 8,
};

static uint64_t word_at(const uint8_t *buf, size_t at)
{
	uint64_t word;

	memcpy(&word, buf + at, sizeof(word));
	return le64toh(word);
}

static void word_set(uint8_t *buf, size_t at, uint64_t word)
{
	word = htole64(word);
	memcpy(buf + at, &word, sizeof(word));
}

/* Make the sum right, so that what is behind it gets read. */
static void seal(uint8_t *buf, size_t len)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i + 8 <= len; i += 8)
		if (i != SUM_AT)
			sum = (sum ^ word_at(buf, i)) * UINT64_C(0x100000001b3);
	word_set(buf, SUM_AT, sum);
}

static uint8_t *save(struct machine *m, size_t *len)
{
	uint8_t *buf;

	*len = viommu_tce_save(m->t, NULL, 0);
	buf = malloc(*len);
	assert_non_null(buf);
	assert_int_equal(viommu_tce_save(m->t, buf, *len), *len);
	return buf;
}

static int load(struct machine *m, const uint8_t *buf, size_t len)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_tce_load(m->t, buf, len, &f);
	fence_run(&f);
	return rc;
}

/* Something of everything. */
static void fill(struct machine *m)
{
	assert_int_equal(create(m, 16, 20, NULL), (int64_t)LIOBN + 1);
	assert_int_equal(put(m, LIOBN, 0x1000, 0x3003), SUCCESS);
	assert_int_equal(put(m, LIOBN, (ENTRIES - 1) * PAGE, 0x4001), SUCCESS);
	assert_int_equal(put(m, LIOBN, 0x2000, 0xdead0000beef0004), SUCCESS);
	assert_int_equal(put(m, LIOBN + 1, DYNAMIC + 0x30000, 0x10002),
			 SUCCESS);
	assert_int_equal(put(m, LIOBN2, START2, 0x7003), SUCCESS);
}

static void assert_filled(struct machine *m)
{
	assert_true(get(m, LIOBN, 0) == 0);
	assert_true(get(m, LIOBN, 0x1000) == 0x3003);
	assert_true(get(m, LIOBN, 0x2000) == 0xdead0000beef0004);
	assert_true(get(m, LIOBN + 1, DYNAMIC + 0x30000) == 0x10002);
	assert_int_equal(peek(m->ep, 0x1000), 4);
	assert_int_equal(peek(m->ep, 0x2000), -EFAULT);
	assert_int_equal(peek(m->ep, (ENTRIES - 1) * PAGE), 5);
	assert_int_equal(poke(m->ep, (ENTRIES - 1) * PAGE), -EACCES);
	assert_int_equal(peek(m->ep, DYNAMIC + 0x30000), -EACCES);
	assert_int_equal(peek(m->ep2, START2), 8);
	assert_int_equal(create(m, 16, 20, NULL), VIOMMU_RTAS_HW_ERROR);
}

static void assert_empty(struct machine *m)
{
	assert_true(get(m, LIOBN, 0x1000) == 0);
	assert_true(get(m, LIOBN + 1, DYNAMIC) == UINT64_MAX);
	assert_int_equal(peek(m->ep, 0x1000), -EFAULT);
	assert_int_equal(peek(m->ep2, START2), -EFAULT);
}

/* ---- save and load ----------------------------------------------------- */

static void what_was_saved_is_loaded(void **state)
{
	struct machine *m = *state, to = { 0 };
	uint8_t *buf, *again;
	size_t len, len2;

	fill(m);
	buf = save(m, &len);
	assert_int_equal(len, LEN);
	machine_make(&to, 0);
	assert_int_equal(load(&to, buf, len), 0);
	assert_filled(&to);
	again = save(&to, &len2);
	assert_int_equal(len2, len);
	assert_memory_equal(again, buf, len);
	/* and in the place of itself */
	assert_int_equal(load(m, buf, len), 0);
	assert_filled(m);
	machine_free(&to);
	free(again);
	free(buf);
}

static void a_bus_without_any_window_is_loaded(void **state)
{
	struct machine *m = *state;
	uint8_t *buf;
	size_t len;

	assert_int_equal(window_remove(m, LIOBN), 0);
	buf = save(m, &len);
	assert_int_equal(create(m, 16, 20, NULL), LIOBN);
	assert_int_equal(load(m, buf, len), 0);
	assert_true(get(m, LIOBN, 0) == UINT64_MAX);
	free(buf);
}

static void too_small_a_buffer_is_left_alone(void **state)
{
	struct machine *m = *state;
	uint8_t *buf;
	size_t len;

	buf = save(m, &len);
	memset(buf, 0xa5, len);
	assert_int_equal(viommu_tce_save(m->t, buf, len - 1), len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(buf[i], 0xa5);
	free(buf);
}

/* What the guest had is taken, and waited for. */
static void load_is_under_the_law(void **state)
{
	struct machine *m = *state;
	struct viommu_fence f;
	struct held h;
	uint8_t *buf;
	size_t len;

	buf = save(m, &len);
	fill(m);
	hold(&h, m->ep, 0x1000);
	viommu_fence_init(&f);
	assert_int_equal(viommu_tce_load(m->t, buf, len, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_empty(m);
	let_go(&h);
	assert_true(viommu_fence_done(&f));
	free(buf);
}

/* ---- bad states ------------------------------------------------------- */

static void damage_is_refused(void **state)
{
	struct machine *m = *state, to = { 0 };
	uint8_t *buf;
	size_t len;

	fill(m);
	buf = save(m, &len);
	machine_make(&to, 0);
	for (size_t i = 0; i < len; i++) {
		int rc;

		buf[i] ^= 0x10;
		rc = load(&to, buf, len);
		assert_true(rc == -EINVAL);
		buf[i] ^= 0x10;
	}
	for (size_t n = 0; n < len; n++)
		assert_int_equal(load(&to, buf, n), -EINVAL);
	assert_empty(&to);
	assert_int_equal(load(&to, buf, len), 0);
	assert_filled(&to);
	machine_free(&to);
	free(buf);
}

static void later_versions_are_told_from_damage(void **state)
{
	struct machine *m = *state;
	uint8_t *buf;
	size_t len;

	buf = save(m, &len);
	buf[11] = '2';
	assert_int_equal(load(m, buf, len), -EOPNOTSUPP);
	memcpy(buf + 11, "10\n", 3);
	assert_int_equal(load(m, buf, len), -EOPNOTSUPP);
	memcpy(buf + 11, "0\n", 3);
	assert_int_equal(load(m, buf, len), -EINVAL);
	memcpy(buf + 11, "1x", 3);
	assert_int_equal(load(m, buf, len), -EINVAL);
	free(buf);
}

/* Whoever can count can make the sum right. */
static void malice_is_refused(void **state)
{
	static const struct {
		size_t at;
		uint64_t word;
		int rc;
	} bad[] = {
		{ 16, LEN + 8, -EINVAL },
		{ 16, 0, -EINVAL },
		{ 32, 0, -EINVAL },
		{ 32, 1, -EINVAL },
		{ 32, 3, -EINVAL },
		{ 32, UINT64_MAX, -EINVAL },
		{ HEAD, BUID + 7, -ENOENT },
		{ HEAD, BUID2, -ENOENT },
		{ HEAD + 8, 1, -ENOENT },
		{ HEAD + 8, 3, -EINVAL },
		{ HEAD + 8, UINT64_MAX, -EINVAL },
		{ FIRST, 1, -ERANGE },
		{ FIRST, 2, -EINVAL },
		{ FIRST, UINT64_MAX, -EINVAL },
		{ FIRST + 8, 3, -EINVAL },
		{ FIRST + 16, 16, -ERANGE },
		{ FIRST + 16, 13, -EINVAL },
		{ FIRST + 16, 12 + 256, -EINVAL },
		{ FIRST + 24, PAGE, -ERANGE },
		{ FIRST + 32, ENTRIES - 1, -ERANGE },
		{ FIRST + 32, UINT64_MAX, -EINVAL },
		{ FIRST + 32, UINT64_C(1) << 61, -EINVAL },
		{ SECOND, 0, -EINVAL },
		{ SECOND + 8, 1, -ERANGE },
		{ SECOND + 16, 25, -ERANGE },		  /* not allowed */
		{ SECOND + 24, DYNAMIC + 4096, -ERANGE }, /* off its page */
		{ SECOND + 24, 0, -ERANGE },		  /* meets the other */
		{ SECOND + 24, (ENTRIES - 16) * 4096, -ERANGE },
		{ SECOND + 24, UINT64_MAX - 0xffff, -ERANGE }, /* wraps */
		{ SECOND + 32, 0, -ERANGE },
		{ OTHER + 8, 0, -ERANGE }, /* it never goes */
		{ OTHER + 8, 2, -ERANGE },
		{ OTHER + BUS + 8, 0, -ERANGE },
		{ OTHER, BUID2 + 1, -ENOENT },
	};
	struct machine *m = *state;
	uint8_t *buf, *copy;
	size_t len;

	fill(m);
	buf = save(m, &len);
	copy = malloc(len);
	assert_non_null(copy);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int rc;

		memcpy(copy, buf, len);
		word_set(copy, bad[i].at, bad[i].word);
		seal(copy, len);
		rc = load(m, copy, len);
		if (rc != bad[i].rc)
			fail_msg("bad %zu: %d", i, rc);
		/* and nothing has changed */
		assert_filled(m);
	}
	free(copy);
	free(buf);
}

static void of_fewer_buses_is_refused(void **state)
{
	struct machine *m = *state, to = { 0 };
	struct viommu_fence f;
	uint8_t *buf;
	size_t len;

	fill(m);
	machine_make(&to, 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_tce_remove_bus(to.t, BUID2, &f), 0);
	fence_run(&f);
	buf = save(&to, &len);
	assert_int_equal(load(m, buf, len), -ENOENT);
	assert_filled(m);
	machine_free(&to);
	free(buf);
}

/* No room for so many mappings: as after a reset. */
static void what_there_is_no_room_for_is_as_a_reset(void **state)
{
	struct machine *m = *state, to = { 0 };
	uint8_t *buf;
	size_t len;

	fill(m);
	assert_int_equal(stuff(m, LIOBN, 0x10000, 0x3003, 500), SUCCESS);
	buf = save(m, &len);
	machine_make(&to, SMALL + 200);
	assert_int_equal(put(&to, LIOBN, 0x1000, 0x3003), SUCCESS);
	assert_int_equal(load(&to, buf, len), -ENOSPC);
	assert_empty(&to);
	assert_int_equal(put(&to, LIOBN, 0x1000, 0x3003), SUCCESS);
	machine_free(&to);
	free(buf);
}

static void no_room_is_not_enough_resources(void **state)
{
	struct machine to = { 0 };
	uint64_t n = 0;

	(void)state;
	machine_make(&to, SMALL + 200);
	for (unsigned i = 0; i < 512; i++)
		list_set(&to, i, 0x3003);
	assert_int_equal(indirect(&to, LIOBN, 0, LIST, 512), RESOURCES);
	/* those before it stay, and it is as it was */
	while (get(&to, LIOBN, n * PAGE))
		assert_int_equal(peek(to.ep, n++ * PAGE), 4);
	assert_true(n && n < 512);
	assert_int_equal(stats(&to).entries, n);
	assert_int_equal(peek(to.ep, n * PAGE), -EFAULT);
	assert_int_equal(put(&to, LIOBN, 0, 0), SUCCESS);
	assert_int_equal(put(&to, LIOBN, n * PAGE, 0x3003), SUCCESS);
	machine_free(&to);
}

/* ---- made and unmade --------------------------------------------------- */

static void limits_are_checked(void **state)
{
	struct viommu_tce_config c = { .size = sizeof(c) };
	struct machine *m = *state;
	struct {
		struct viommu_tce_config c;
		uint64_t later;
	} longer = { .c = { .size = sizeof(longer) }, .later = 1 };
	struct viommu_tce *t;

	c.max_entries = (UINT64_C(1) << 32) + 1;
	assert_int_equal(viommu_tce_create(m->vi, &c, &t), -EINVAL);
	c.max_entries = 0;
	c.max_buses = 65537;
	assert_int_equal(viommu_tce_create(m->vi, &c, &t), -EINVAL);
	c.max_buses = 0;
	c.reserved = 1;
	assert_int_equal(viommu_tce_create(m->vi, &c, &t), -EINVAL);
	c.reserved = 0;
	c.size = 4;
	assert_int_equal(viommu_tce_create(m->vi, &c, &t), -EINVAL);
	assert_int_equal(viommu_tce_create(m->vi, &longer.c, &t), -EINVAL);
}

static void buses_are_checked(void **state)
{
	const struct viommu_tce_bus good = { .size = sizeof(good),
					     .buid = 7,
					     .liobn = 0x1000,
					     .window_size = PAGE };
	struct machine *m = *state;
	struct viommu_tce_bus b;

#define REFUSED(error, field, val)                                     \
	do {                                                           \
		b = good;                                              \
		b.field = val;                                         \
		assert_int_equal(viommu_tce_add_bus(m->t, &b), error); \
	} while (0)
	REFUSED(-EEXIST, buid, BUID);
	REFUSED(-EEXIST, liobn, (uint32_t)LIOBN);
	REFUSED(-EEXIST, liobn, (uint32_t)LIOBN + 1);
	REFUSED(-EEXIST, liobn, (uint32_t)LIOBN - 1);
	REFUSED(-EINVAL, liobn, UINT32_MAX);
	REFUSED(-EINVAL, page_sizes, 0x200);
	REFUSED(-EINVAL, window_start, 0x800);
	REFUSED(-EINVAL, window_size, PAGE + 1);
	REFUSED(-EINVAL, window_size, (ENTRIES + 1) * PAGE);
	REFUSED(-EINVAL, window_start, UINT64_MAX - 0xffe);
	REFUSED(-EINVAL, size, 4);
	b = good;
	b.window_start = UINT64_MAX & ~UINT64_C(0xfff);
	b.window_size = 2 * PAGE;
	assert_int_equal(viommu_tce_add_bus(m->t, &b), -EINVAL);
	b = good;
	b.page_sizes = VIOMMU_TCE_4K;
	b.window_start = b.dynamic_start = 0x10000;
	assert_int_equal(viommu_tce_add_bus(m->t, &b), -EINVAL);
	/* the last page there is */
	b = good;
	b.window_start = UINT64_MAX & ~UINT64_C(0xfff);
	assert_int_equal(viommu_tce_add_bus(m->t, &b), 0);
	assert_int_equal(put(m, 0x1000, UINT64_MAX, 0x3003), SUCCESS);
	assert_true(get(m, 0x1000, UINT64_MAX) == 0x3003);
#undef REFUSED
}

static void buses_are_bounded(void **state)
{
	const struct viommu_tce_config c = { .size = sizeof(c),
					     .max_buses = 2 };
	struct viommu_tce_bus b = { .size = sizeof(b), .window_size = PAGE };
	struct machine *m = *state;
	struct viommu_fence f;
	struct viommu_tce *t;

	assert_int_equal(viommu_tce_create(m->vi, &c, &t), 0);
	for (unsigned i = 0; i < 3; i++) {
		b.buid = 3 - i;
		b.liobn = 2 * i;
		assert_int_equal(viommu_tce_add_bus(t, &b),
				 i < 2 ? 0 : -ENOSPC);
	}
	viommu_fence_init(&f);
	viommu_tce_destroy(t, &f);
	viommu_tce_destroy(NULL, &f);
	fence_run(&f);
}

/* A LINEAR space's entries all count. */
static void a_window_that_the_instance_has_no_room_for(void **state)
{
	struct machine m = { 0 };
	struct viommu_tce_bus b = { .size = sizeof(b),
				    .buid = 7,
				    .liobn = 0x1000,
				    .window_size = ENTRIES * PAGE };

	(void)state;
	machine_make(&m, SMALL + 200);
	assert_int_equal(viommu_tce_add_bus(m.t, &b), -ENOSPC);
	assert_null(viommu_tce_space(m.t, 7));
	machine_free(&m);
}

static void a_bus_may_go(void **state)
{
	struct machine *m = *state;
	struct viommu_fence f;
	uint32_t cells[5];
	struct held h;

	assert_int_equal(create(m, 16, 20, NULL), (int64_t)LIOBN + 1);
	assert_int_equal(put(m, LIOBN, 0, 0x3003), SUCCESS);
	assert_int_equal(put(m, LIOBN2, START2, 0x5003), SUCCESS);
	hold(&h, m->ep, 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_tce_remove_bus(m->t, 99, &f), -ENOENT);
	assert_int_equal(viommu_tce_remove_bus(m->t, BUID, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(peek(m->ep, 0), -EFAULT);
	assert_int_equal(put(m, LIOBN, 0, 0x3003), PARAMETER);
	assert_int_equal(put(m, LIOBN + 1, DYNAMIC, 0x3003), PARAMETER);
	assert_int_equal(viommu_tce_dma_window(m->t, BUID, cells), -ENOENT);
	assert_null(viommu_tce_space(m->t, BUID));
	assert_int_equal(peek(m->ep2, START2), 6);
	let_go(&h);
	assert_true(viommu_fence_done(&f));
}

static void device_tree_has_five_cells(void **state)
{
	struct machine *m = *state;
	uint32_t cells[5];

	assert_int_equal(viommu_tce_dma_window(m->t, BUID2, cells), 0);
	assert_int_equal(cells[0], (uint32_t)LIOBN2);
	assert_int_equal(cells[1], 0);
	assert_int_equal(cells[2], START2);
	assert_int_equal(cells[3], 0);
	assert_int_equal(cells[4], SMALL * PAGE);
	/* whatever the guest did */
	assert_int_equal(window_remove(m, LIOBN), 0);
	assert_int_equal(viommu_tce_dma_window(m->t, BUID, cells), 0);
	assert_int_equal(cells[0], (uint32_t)LIOBN);
	assert_int_equal(cells[4], ENTRIES * PAGE);
}

/* The call is over before the destruction is. */
static void destroyed_while_a_call_waits(void **state)
{
	struct machine *m = *state;
	struct viommu_fence f;
	struct held h;
	struct vcpu v;

	assert_int_equal(put(m, LIOBN, 0x1000, 0x3003), SUCCESS);
	hold(&h, m->ep, 0x1000);
	assert_int_equal(hcall(m, &v, VIOMMU_H_PUT_TCE, ARGS(LIOBN, 0x1000, 0)),
			 PENDING);
	viommu_fence_init(&f);
	viommu_tce_destroy(m->t, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(v.dones, 0);
	let_go(&h);
	assert_int_equal(v.dones, 1);
	assert_int_equal(v.releases, 1);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(viommu_tce_create(m->vi, NULL, &m->t), 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(what_was_saved_is_loaded),
		T(a_bus_without_any_window_is_loaded),
		T(too_small_a_buffer_is_left_alone),
		T(load_is_under_the_law),
		T(damage_is_refused),
		T(later_versions_are_told_from_damage),
		T(malice_is_refused),
		T(of_fewer_buses_is_refused),
		T(what_there_is_no_room_for_is_as_a_reset),
		T(no_room_is_not_enough_resources),
		T(limits_are_checked),
		T(buses_are_checked),
		T(buses_are_bounded),
		T(a_window_that_the_instance_has_no_room_for),
		T(a_bus_may_go),
		T(device_tree_has_five_cells),
		T(destroyed_while_a_call_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
