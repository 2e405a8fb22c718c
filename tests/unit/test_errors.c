/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the headers say that goes wrong, does: each access in each situation,
 * and the errors of other functions that no noun's own test has a reason for.
 * tests/house/errors.sh tells which are missing.
 */
#include "seat.h"
#include "world.h"

enum {
	RW = VIOMMU_READ | VIOMMU_WRITE,
	PAGE = 4096,
	TIMEOUT = 1000,
};

static uint64_t now;

static uint64_t clock_now(void *arg)
{
	(void)arg;
	return now;
}

/* Time stands still, unless @now is set; one other thread may do DMA. */
static void setup(struct world *w)
{
	static const struct viommu_env env = { .size = sizeof(env),
					       .clock = clock_now };
	struct viommu_config cfg = { .size = sizeof(cfg),
				     .env = &env,
				     .max_threads = 1,
				     .max_mappings = 100,
				     .fence_timeout_ns = TIMEOUT };

	now = 1;
	world_make(w, &cfg, PAGE);
}

/* ---- accesses --------------------------------------------------------- */

static int access_read(struct world *w, uint64_t iova)
{
	char c[8];

	return viommu_dma_read(w->ep, iova, c, sizeof(c));
}

static int access_write(struct world *w, uint64_t iova)
{
	char c[8] = "1234567";

	return viommu_dma_write(w->ep, iova, c, sizeof(c));
}

static int access_load(struct world *w, uint64_t iova)
{
	uint64_t val;

	return viommu_dma_load(w->ep, iova, 8, &val);
}

static int access_store(struct world *w, uint64_t iova)
{
	return viommu_dma_store(w->ep, iova, 8, 42);
}

static int access_cas(struct world *w, uint64_t iova)
{
	uint64_t old = 0;

	return viommu_dma_cas(w->ep, iova, 8, &old, 1);
}

static int map_for(struct world *w, uint64_t iova, uint32_t prot)
{
	struct iovec iov;
	struct viommu_dma d = { .ep = w->ep,
				.iova = iova,
				.len = 8,
				.prot = prot,
				.max_iov = 1,
				.iov = &iov };
	int rc = viommu_dma_map(&d);

	if (!rc)
		viommu_dma_unmap(&d, 0);
	return rc;
}

static int access_map_read(struct world *w, uint64_t iova)
{
	return map_for(w, iova, VIOMMU_READ);
}

static int access_map_write(struct world *w, uint64_t iova)
{
	return map_for(w, iova, VIOMMU_WRITE);
}

static struct viommu_window window(struct world *w, uint64_t iova,
				   uint32_t prot)
{
	struct viommu_window win;

	assert_int_equal(viommu_window_open(&win, w->ep, iova, 8, prot), 0);
	return win;
}

static int access_window_read(struct world *w, uint64_t iova)
{
	struct viommu_window win = window(w, iova, VIOMMU_READ);
	char c[8];

	return viommu_window_read(&win, 0, c, sizeof(c));
}

static int access_window_write(struct world *w, uint64_t iova)
{
	struct viommu_window win = window(w, iova, VIOMMU_WRITE);
	char c[8] = "1234567";

	return viommu_window_write(&win, 0, c, sizeof(c));
}

static int access_window_load(struct world *w, uint64_t iova)
{
	struct viommu_window win = window(w, iova, VIOMMU_READ);
	uint64_t val;

	return viommu_window_load(&win, 0, 8, &val);
}

static int access_window_store(struct world *w, uint64_t iova)
{
	struct viommu_window win = window(w, iova, VIOMMU_WRITE);

	return viommu_window_store(&win, 0, 8, 42);
}

static const struct access {
	const char *name;
	int (*run)(struct world *w, uint64_t iova);
	uint32_t lacks; /* with just this it is refused */
	bool word;
} accesses[] = {
	{ "read", access_read, VIOMMU_WRITE, false },
	{ "write", access_write, VIOMMU_READ, false },
	{ "load", access_load, VIOMMU_WRITE, true },
	{ "store", access_store, VIOMMU_READ, true },
	{ "cas", access_cas, VIOMMU_READ, true },
	{ "map, reading", access_map_read, VIOMMU_WRITE, false },
	{ "map, writing", access_map_write, VIOMMU_READ, false },
	{ "window, read", access_window_read, VIOMMU_WRITE, false },
	{ "window, write", access_window_write, VIOMMU_READ, false },
	{ "window, load", access_window_load, VIOMMU_WRITE, true },
	{ "window, store", access_window_store, VIOMMU_READ, true },
};

enum {
	ACCESSES = sizeof(accesses) / sizeof(accesses[0]),
};

static void expect(const struct access *a, struct world *w, uint64_t iova,
		   int rc)
{
	int got = a->run(w, iova);

	if (got != rc)
		fail_msg("%s: %d, not %d", a->name, got, rc);
}

static void all_expect(struct world *w, uint64_t iova, int rc)
{
	for (int i = 0; i < ACCESSES; i++)
		expect(&accesses[i], w, iova, rc);
}

/* ---- situations ------------------------------------------------------- */

static void where_nothing_is_mapped(void **state)
{
	struct viommu_fence f;
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(map_rw(&w, 0, PAGE - 1, 0), 0);
	all_expect(&w, 0, 0);
	all_expect(&w, PAGE, -EFAULT);
	assert_int_equal(w.nfaults, ACCESSES);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_UNMAPPED);
	/* mapped, but to no memory */
	assert_int_equal(map_rw(&w, PAGE, 2 * PAGE - 1, WORLD_RAM), 0);
	all_expect(&w, PAGE, -EFAULT);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_MEMORY);
	viommu_fence_init(&f);
	viommu_endpoint_detach(w.ep, &f);
	fence_run(&f);
	all_expect(&w, 0, -EFAULT);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_DETACHED);
	world_free(&w);
}

static void without_permission(void **state)
{
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(map_prot(&w, 0, PAGE - 1, 0, VIOMMU_READ), 0);
	assert_int_equal(map_prot(&w, PAGE, 2 * PAGE - 1, 0, VIOMMU_WRITE), 0);
	for (int i = 0; i < ACCESSES; i++)
		expect(&accesses[i], &w,
		       accesses[i].lacks == VIOMMU_READ ? 0 : PAGE, -EACCES);
	assert_int_equal(w.nfaults, ACCESSES);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_PERMISSION);
	world_free(&w);
}

static void when_given_up(void **state)
{
	struct viommu_dma d = { .len = 1, .prot = VIOMMU_READ, .max_iov = 1 };
	struct viommu_fence f;
	struct iovec iov;
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(map_rw(&w, 0, 2 * PAGE - 1, 0), 0);
	d.ep = w.ep;
	d.iov = &iov;
	assert_int_equal(viommu_dma_map(&d), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w.space, 0, 2 * PAGE - 1, &f),
			 2 * PAGE);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(map_rw(&w, 0, PAGE - 1, 0), 0);
	all_expect(&w, 0, 0);
	now += TIMEOUT;
	assert_int_equal(viommu_fence_wait(&f, -1), -ECANCELED);
	all_expect(&w, 0, -EIO);
	assert_int_equal(viommu_endpoint_recover(w.ep), -EBUSY);
	viommu_dma_unmap(&d, 0);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(viommu_endpoint_recover(w.ep), 0);
	all_expect(&w, 0, 0);
	world_free(&w);
}

static void on_miss(void *arg, const struct viommu_miss *m)
{
	(void)m;
	++*(unsigned *)arg;
}

static void when_somebody_is_asked(void **state)
{
	unsigned asked = 0;
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_REMOTE,
					  .page_sizes = PAGE,
					  .miss = on_miss,
					  .max_misses = ACCESSES,
					  .arg = &asked };
	struct viommu_space *s;
	struct viommu_fence f;
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(viommu_space_create(w.vi, &sc, &s), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w.ep, s, &f), 0);
	fence_run(&f);
	for (uint64_t i = 0; i < ACCESSES; i++)
		expect(&accesses[i], &w, i * PAGE, -EINPROGRESS);
	all_expect(&w, 0, -EINPROGRESS);
	/* no room for another question */
	all_expect(&w, UINT64_C(1) << 40, -EAGAIN);
	assert_int_equal(asked, ACCESSES);
	assert_int_equal(w.nfaults, 0);
	viommu_fence_init(&f);
	viommu_space_destroy(s, &f);
	fence_run(&f);
	world_free(&w);
}

static void where_a_thread_too_many_does_dma(void **state)
{
	struct viommu_memory *mem;
	struct seat s;
	struct world w;
	char c = 0;

	(void)state;
	setup(&w);
	mem = viommu_memory_of(w.vi);
	assert_int_equal(map_rw(&w, 0, PAGE - 1, 0), 0);
	seat_sit(&s, mem);
	all_expect(&w, 0, -EAGAIN);
	assert_int_equal(viommu_memory_read(mem, 0, &c, 1), -EAGAIN);
	assert_int_equal(viommu_memory_write(mem, 0, &c, 1), -EAGAIN);
	assert_int_equal(viommu_dma_enter(w.ep), -EAGAIN);
	assert_int_equal(w.nfaults, 0);
	seat_leave(&s);
	all_expect(&w, 0, 0);
	world_free(&w);
}

static void of_a_word_that_is_none(void **state)
{
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = 1 << 20,
				   .len = PAGE,
				   .prot = RW,
				   .fd = -1 };
	uint64_t val = 0;
	struct world w;

	(void)state;
	setup(&w);
	r.host = w.ram + 1;
	assert_int_equal(viommu_memory_add(viommu_memory_of(w.vi), &r), 0);
	assert_int_equal(map_rw(&w, 0, PAGE - 1, 0), 0);
	assert_int_equal(map_rw(&w, PAGE, 2 * PAGE - 1, 1 << 20), 0);
	for (int i = 0; i < ACCESSES; i++) {
		int rc = accesses[i].word ? -EINVAL : 0;

		expect(&accesses[i], &w, 4, rc);
		expect(&accesses[i], &w, PAGE, rc);
	}
	assert_int_equal(viommu_dma_load(w.ep, 0, 3, &val), -EINVAL);
	assert_int_equal(viommu_dma_store(w.ep, 0, 16, val), -EINVAL);
	assert_int_equal(viommu_dma_cas(w.ep, 0, 0, &val, 0), -EINVAL);
	assert_int_equal(w.nfaults, 0);
	world_free(&w);
}

static void outside_a_window(void **state)
{
	struct viommu_window win, reads, writes;
	uint64_t val = 0;
	struct world w;
	char c[8];

	(void)state;
	setup(&w);
	assert_int_equal(map_rw(&w, 0, PAGE - 1, 0), 0);
	win = window(&w, 0, RW);
	assert_int_equal(viommu_window_read(&win, 1, c, 8), -ERANGE);
	assert_int_equal(viommu_window_write(&win, 8, c, 1), -ERANGE);
	assert_int_equal(viommu_window_load(&win, 8, 8, &val), -ERANGE);
	assert_int_equal(viommu_window_store(&win, 8, 8, val), -ERANGE);
	reads = window(&w, 0, VIOMMU_READ);
	assert_int_equal(viommu_window_write(&reads, 0, c, 8), -EINVAL);
	assert_int_equal(viommu_window_store(&reads, 0, 8, val), -EINVAL);
	writes = window(&w, 0, VIOMMU_WRITE);
	assert_int_equal(viommu_window_read(&writes, 0, c, 8), -EINVAL);
	assert_int_equal(viommu_window_load(&writes, 0, 8, &val), -EINVAL);
	assert_int_equal(w.nfaults, 0);
	world_free(&w);
}

/* ---- others ----------------------------------------------------------- */

static void memory_that_may_not_be_written(void **state)
{
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = 1 << 20,
				   .len = PAGE,
				   .prot = VIOMMU_READ,
				   .fd = -1 };
	struct viommu_memory *mem;
	struct world w;
	char c = 1;

	(void)state;
	setup(&w);
	mem = viommu_memory_of(w.vi);
	r.host = w.ram;
	assert_int_equal(viommu_memory_add(mem, &r), 0);
	assert_int_equal(viommu_memory_write(mem, 1 << 20, &c, 1), -EACCES);
	assert_int_equal(w.ram[0], 0);
	assert_int_equal(viommu_memory_read(mem, 1 << 20, &c, 1), 0);
	world_free(&w);
}

static void another_instances_space(void **state)
{
	struct viommu_fence f;
	struct world w, other;

	(void)state;
	setup(&w);
	setup(&other);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w.ep, other.space, &f),
			 -EINVAL);
	fence_run(&f);
	assert_int_equal(map_rw(&w, 0, PAGE - 1, 0), 0);
	all_expect(&w, 0, 0); /* it is where it was */
	world_free(&w);
	world_free(&other);
}

/* @n pieces that are a mapping each. */
static int map_list(struct world *w, uint64_t iova, size_t n)
{
	struct viommu_segment list[128];

	for (size_t i = 0; i < n; i++)
		list[i] = (struct viommu_segment){ .len = PAGE };
	return viommu_space_map_list(w->space, iova, RW, list, n);
}

static void a_list_that_may_not_be_mapped(void **state)
{
	struct viommu_mapping m;
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(
		viommu_endpoint_reserve(
			w.ep, &(struct viommu_reserved){ .start = 5 * PAGE,
							 .last = 5 * PAGE }),
		0);
	assert_int_equal(map_list(&w, 0, 6), -EADDRNOTAVAIL);
	assert_int_equal(map_list(&w, 8 * PAGE, 101), -ENOSPC);
	assert_int_equal(viommu_space_next(w.space, 0, &m), -ENOENT);
	assert_int_equal(map_list(&w, 8 * PAGE, 100), 0);
	assert_int_equal(map_list(&w, 0, 1), -ENOSPC);
	assert_int_equal(unmap(&w, 0, UINT64_MAX), 100 * PAGE);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(where_nothing_is_mapped),
		cmocka_unit_test(without_permission),
		cmocka_unit_test(when_given_up),
		cmocka_unit_test(when_somebody_is_asked),
		cmocka_unit_test(where_a_thread_too_many_does_dma),
		cmocka_unit_test(of_a_word_that_is_none),
		cmocka_unit_test(outside_a_window),
		cmocka_unit_test(memory_that_may_not_be_written),
		cmocka_unit_test(another_instances_space),
		cmocka_unit_test(a_list_that_may_not_be_mapped),
	};

	return cmocka_run_group_tests_name("errors", tests, NULL, NULL);
}
