/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty log beside writers: migrations of a memory that is being written,
 * with a copy of it as the judge.  All of it is copied when the log has been
 * started; then, again and again, what a fetch tells; and last what the fetch
 * tells that comes after the writers.  The copy must be the original.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "world.h"

#define PAGE 4096u

enum {
	WRITERS = 2,
	PAGES = WORLD_RAM / PAGE,
	/* pages that nobody writes: 5 and 11 */
	QUIET = 1 << 5 | 1 << 11,
	WORDS = PAGE / 8,
	HELD = 20, /* more than a seat has pins for */
};

static uint32_t rnd(uint32_t *s)
{
	*s = *s * 1664525 + 1013904223;
	return *s >> 8;
}

/* However long the machine takes. */
static void run(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(f, -1), 0);
}

static void start(struct viommu_memory *mem)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_start(mem, 0, &f), 0);
	run(&f);
}

static void stop(struct viommu_memory *mem)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_memory_dirty_stop(mem, &f);
	run(&f);
}

/* ---- writers ---------------------------------------------------------- */

struct writer {
	struct world *w;
	pthread_t thread;
	uint32_t seed;
	uint64_t pages; /* it has written, in this migration */
	/* how many writes it may do, and has done */
	_Atomic(uint64_t) allowed, did;
	_Atomic(bool) over;
	struct viommu_dma held[HELD];
	struct iovec iov[HELD][4];
	unsigned nheld;
};

static void word_set(uint64_t *p, uint64_t val)
{
	__atomic_store_n(p, val, __ATOMIC_RELAXED);
}

/* Let go of one that was written to somewhere. */
static void map_end(struct writer *t)
{
	struct viommu_dma *d;
	uint64_t written;

	if (!t->nheld)
		return;
	d = &t->held[--t->nheld];
	written = 8 * (1 + rnd(&t->seed) % (d->len / 8));
	for (uint64_t i = 0; i < written; i += PAGE / 2)
		word_set((uint64_t *)((char *)d->iov[0].iov_base + i),
			 rnd(&t->seed));
	word_set((uint64_t *)((char *)d->iov[0].iov_base + written - 8),
		 rnd(&t->seed));
	viommu_dma_unmap(d, written);
}

static void map_begin(struct writer *t, uint64_t page)
{
	struct viommu_dma *d = &t->held[t->nheld];

	if (t->nheld == HELD)
		return;
	*d = (struct viommu_dma){ .ep = t->w->ep,
				  .iova = page * PAGE,
				  .len = PAGE,
				  .prot = VIOMMU_WRITE,
				  .iov = t->iov[t->nheld],
				  .max_iov = 4 };
	if (viommu_dma_map(d))
		abort();
	t->nheld++;
	t->pages |= 1u << page;
	word_set(d->iov[0].iov_base, rnd(&t->seed));
}

static void write_one(struct writer *t)
{
	uint32_t r = rnd(&t->seed);
	/* few, so that most bits are set already */
	uint64_t page = r % 4 ? r / 4 % 3 : r / 4 % PAGES;
	uint64_t iova = page * PAGE + r % WORDS * 8, old = r;
	int rc = 0;

	if (QUIET >> page & 1)
		return;
	if (r / 1024 % 16 == 0) {
		map_begin(t, page);
		return;
	}
	if (r / 1024 % 16 == 1) {
		map_end(t);
		return;
	}
	t->pages |= 1u << page;
	switch (r / 1024 % 16) {
	case 2:
		rc = viommu_dma_load(t->w->ep, iova, 8, &old);
		if (!rc)
			rc = viommu_dma_cas(t->w->ep, iova, 8, &old, r);
		break;
	case 3:
		rc = viommu_dma_enter(t->w->ep);
		if (!rc)
			rc = viommu_dma_store(t->w->ep, iova, 8, r);
		if (!rc)
			rc = viommu_dma_store(t->w->ep, iova, 8, r + 1);
		viommu_dma_exit(t->w->ep);
		break;
	default:
		rc = viommu_dma_store(t->w->ep, iova, 8, r);
	}
	if (rc)
		abort();
}

static void *writer_run(void *arg)
{
	struct writer *t = arg;

	while (!atomic_load(&t->over)) {
		uint64_t did = atomic_load(&t->did);

		if (did == atomic_load(&t->allowed)) {
			sched_yield();
			continue;
		}
		write_one(t);
		if (did + 1 == atomic_load(&t->allowed))
			while (t->nheld)
				map_end(t);
		atomic_store(&t->did, did + 1);
	}
	return NULL;
}

static void writers_start(struct writer *t, struct world *w)
{
	for (unsigned i = 0; i < WRITERS; i++) {
		t[i].w = w;
		t[i].seed = i + 1;
		assert_int_equal(
			pthread_create(&t[i].thread, NULL, writer_run, &t[i]),
			0);
	}
}

static void writers_allow(struct writer *t, uint64_t n)
{
	for (unsigned i = 0; i < WRITERS; i++)
		atomic_fetch_add(&t[i].allowed, n);
}

static bool writers_rest(struct writer *t)
{
	for (unsigned i = 0; i < WRITERS; i++)
		if (atomic_load(&t[i].did) != atomic_load(&t[i].allowed))
			return false;
	return true;
}

static void writers_stop(struct writer *t)
{
	for (unsigned i = 0; i < WRITERS; i++) {
		atomic_store(&t[i].over, true);
		pthread_join(t[i].thread, NULL);
	}
}

/* ---- migration -------------------------------------------------------- */

static uint64_t copy[WORLD_RAM / 8];

static void page_copy(struct world *w, unsigned page)
{
	const uint64_t *from = (uint64_t *)(void *)w->ram + page * WORDS;

	for (unsigned i = 0; i < WORDS; i++)
		copy[page * WORDS + i] =
			__atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

static uint64_t fetch_and_copy(struct world *w)
{
	uint64_t bits;

	assert_true(viommu_memory_dirty_fetch(viommu_memory_of(w->vi), 0,
					      WORLD_RAM, &bits) >= 0);
	for (unsigned i = 0; i < PAGES; i++)
		if (bits >> i & 1)
			page_copy(w, i);
	return bits;
}

static void migrate(struct writer *t, struct world *w, unsigned rounds)
{
	uint64_t found = 0, written = 0;

	start(viommu_memory_of(w->vi));
	for (unsigned i = 0; i < PAGES; i++)
		page_copy(w, i);
	for (unsigned i = 0; i < rounds; i++) {
		while (!writers_rest(t))
			found |= fetch_and_copy(w);
		found |= fetch_and_copy(w);
		assert_memory_equal(copy, w->ram, WORLD_RAM);
		assert_int_equal(fetch_and_copy(w), 0);
		/* with those from before the start, so "at most" */
		for (unsigned j = 0; j < WRITERS; j++)
			written |= t[j].pages;
		assert_int_equal(found & ~written, 0);
		if (i)
			assert_int_equal(written & ~found, 0);
		else
			for (unsigned j = 0; j < WRITERS; j++)
				t[j].pages = 0;
		found = i ? found : 0;
		written = i ? written : 0;
		writers_allow(t, 50);
	}
	stop(viommu_memory_of(w->vi));
}

static void migrations(uint32_t barrier)
{
	struct viommu_config cfg = { .size = sizeof(cfg),
				     .barrier = barrier,
				     .fence_timeout_ns = UINT64_MAX };
	struct writer *t = calloc(WRITERS, sizeof(*t));
	struct world w;

	assert_non_null(t);
	world_make(&w, &cfg, PAGE);
	assert_int_equal(map_rw(&w, 0, WORLD_RAM - 1, 0), 0);
	writers_start(t, &w);
	for (unsigned i = 0; i < 20; i++)
		migrate(t, &w, 50);
	writers_stop(t);
	free(t);
	world_free(&w);
}

static void copy_is_the_original_fenced(void **state)
{
	(void)state;
	migrations(VIOMMU_BARRIER_FENCED);
}

static void copy_is_the_original_asymmetric(void **state)
{
	(void)state;
	migrations(VIOMMU_BARRIER_ASYMMETRIC);
}

/* ---- come and go ------------------------------------------------------ */

/* The log is started, stopped, and loses and gets regions beside writers. */
static void log_comes_and_goes_beside_writers(void **state)
{
	struct viommu_config cfg = { .size = sizeof(cfg),
				     .fence_timeout_ns = UINT64_MAX };
	struct writer *t = calloc(WRITERS, sizeof(*t));
	struct viommu_memory *mem;
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = 1ull << 40,
				   .len = PAGE,
				   .prot = VIOMMU_READ | VIOMMU_WRITE,
				   .fd = -1 };
	struct viommu_fence f;
	struct world w;

	(void)state;
	assert_non_null(t);
	world_make(&w, &cfg, PAGE);
	assert_int_equal(map_rw(&w, 0, WORLD_RAM - 1, 0), 0);
	mem = viommu_memory_of(w.vi);
	r.host = w.ram;
	writers_start(t, &w);
	writers_allow(t, UINT64_MAX / 2);
	for (unsigned i = 0; i < 300; i++) {
		start(mem);
		assert_int_equal(viommu_memory_add(mem, &r), 0);
		assert_int_equal(viommu_memory_write(mem, r.gpa + 8, "x", 1),
				 0);
		fetch_and_copy(&w);
		viommu_fence_init(&f);
		assert_int_equal(viommu_memory_remove(mem, r.gpa, 0, &f), 0);
		run(&f);
		stop(mem);
	}
	writers_stop(t);
	for (unsigned i = 0; i < WRITERS; i++)
		while (t[i].nheld)
			map_end(&t[i]);
	free(t);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copy_is_the_original_fenced),
		cmocka_unit_test(copy_is_the_original_asymmetric),
		cmocka_unit_test(log_comes_and_goes_beside_writers),
	};

	return cmocka_run_group_tests_name("dirty_race", tests, NULL, NULL);
}
