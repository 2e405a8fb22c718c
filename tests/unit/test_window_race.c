/* SPDX-License-Identifier: BSD-2-Clause */
/* Windows under a mapping that comes and goes: no load is of what was taken. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>

#include "world.h"

#define PAGE UINT64_C(4096)

enum {
	RW = VIOMMU_READ | VIOMMU_WRITE,
};

enum {
	READERS = 2,
	TURNS = 3000,
};

struct race {
	struct world w;
	struct viommu_endpoint *ep; /* whose faults are told to nobody */
	_Atomic(int) over;
	_Atomic(int) readers; /* every other one does without bursts */
	_Atomic(uint64_t) good, bad, faults;
};

/* Pages that are mapped hold 1, those whose fence is done 0. */
static void *race_load(void *arg)
{
	struct race *r = arg;
	struct viommu_window win;
	bool bursts = atomic_fetch_add(&r->readers, 1) & 1, burst = false;

	if (viommu_window_open(&win, r->ep, 0, 2 * PAGE, RW))
		return NULL;
	for (uint64_t i = 0; !atomic_load(&r->over); i++) {
		uint64_t val = 1;
		int rc;

		if (!(i % 16) && burst)
			viommu_dma_exit(r->ep);
		if (!(i % 16) && bursts)
			burst = !viommu_dma_enter(r->ep);
		rc = viommu_window_load(&win, i % 512 * 8, 8, &val);
		if (rc)
			atomic_fetch_add(&r->faults, 1);
		else if (val == 1)
			atomic_fetch_add(&r->good, 1);
		else
			atomic_fetch_add(&r->bad, 1);
	}
	if (burst)
		viommu_dma_exit(r->ep);
	viommu_window_close(&win);
	return NULL;
}

static void paint(struct race *r, uint64_t gpa, uint64_t val)
{
	uint64_t *p = (uint64_t *)(void *)(r->w.ram + gpa);

	for (unsigned i = 0; i < 512; i++)
		__atomic_store_n(&p[i], val, __ATOMIC_RELAXED);
}

static void race_run(enum viommu_barrier barrier)
{
	struct viommu_config cfg = { .size = sizeof(cfg), .barrier = barrier };
	struct viommu_endpoint_config ec = { .size = sizeof(ec), .id = 2 };
	pthread_t thread[READERS];
	static struct race r;
	struct viommu_fence f;

	memset(&r, 0, sizeof(r));
	world_make(&r.w, &cfg, PAGE);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_create(r.w.vi, &ec, &r.ep), 0);
	assert_int_equal(viommu_endpoint_attach(r.ep, r.w.space, &f), 0);
	fence_run(&f);
	for (int i = 0; i < READERS; i++)
		pthread_create(&thread[i], NULL, race_load, &r);
	for (uint64_t i = 0; i < TURNS || !atomic_load(&r.good); i++) {
		uint64_t gpa = i % 16 * PAGE;

		paint(&r, gpa, 1);
		assert_int_equal(map_rw(&r.w, 0, 0xfff, gpa), 0);
		if (i % 64 == 0)
			(void)sched_yield();
		assert_int_equal(unmap(&r.w, 0, 0xfff), 0x1000);
		paint(&r, gpa, 0);
	}
	atomic_store(&r.over, 1);
	for (int i = 0; i < READERS; i++)
		pthread_join(thread[i], NULL);
	print_message("# %llu loads, %llu faults\n", (unsigned long long)r.good,
		      (unsigned long long)r.faults);
	assert_int_equal(r.bad, 0);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(r.ep, &f);
	fence_run(&f);
	world_free(&r.w);
}

static void no_load_is_stale_fenced(void **state)
{
	(void)state;
	race_run(VIOMMU_BARRIER_FENCED);
}

static void no_load_is_stale_asymmetric(void **state)
{
	(void)state;
	race_run(VIOMMU_BARRIER_ASYMMETRIC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_load_is_stale_fenced),
		cmocka_unit_test(no_load_is_stale_asymmetric),
	};

	return cmocka_run_group_tests_name("window_race", tests, NULL, NULL);
}
