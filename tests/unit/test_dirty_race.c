/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty log and a judge.  First an array of what was written, for ranges of
 * all kinds.  Then a copy, beside writers: migrations of a memory that is being
 * written.  All of it is copied when the log has been started; then, again and
 * again, what a fetch tells; and last what the fetch tells that comes after the
 * writers.  The copy must be the original.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

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

static void start(struct viommu_memory *mem, uint64_t page_size)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_start(mem, page_size, &f), 0);
	run(&f);
}

static void stop(struct viommu_memory *mem)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_memory_dirty_stop(mem, &f);
	run(&f);
}

/* ---- oracle ----------------------------------------------------------- */

enum {
	ORACLE_PAGES = 3 * 4096 + 77, /* over the edges of chunks and words */
};

static void fetches_agree_with_an_array(void **state)
{
	static const unsigned lg2s[] = { 12, 13, 16 };
	static bool dirty[ORACLE_PAGES];
	static uint64_t bits[ORACLE_PAGES / 64 + 2];
	uint64_t base = (1ull << 32) - 5 * 65536;
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = base,
				   .prot = VIOMMU_READ | VIOMMU_WRITE,
				   .fd = -1 };
	struct viommu_memory *mem;
	struct viommu_fence f;
	struct world w;
	uint32_t s = 1;
	char *host;

	(void)state;
	world_make(&w, NULL, PAGE);
	mem = viommu_memory_of(w.vi);
	host = mmap(NULL, (size_t)ORACLE_PAGES << 16, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(host != MAP_FAILED);
	for (unsigned k = 0; k < 3; k++) {
		unsigned lg2 = lg2s[k];
		uint64_t size = 1ull << lg2;

		memset(dirty, 0, sizeof(dirty));
		r.host = host;
		r.len = ORACLE_PAGES * size;
		assert_int_equal(viommu_memory_add(mem, &r), 0);
		start(mem, size);
		for (unsigned round = 0; round < 300; round++) {
			uint64_t a = rnd(&s) % ORACLE_PAGES, n, len, found = 0;

			for (unsigned i = rnd(&s) % 8; i; i--) {
				uint64_t p = rnd(&s) % (ORACLE_PAGES - 200);
				uint64_t at = (p << lg2) + rnd(&s) % size;

				len = 1 + rnd(&s) % (3 * size);
				assert_int_equal(viommu_memory_write(mem,
								     base + at,
								     host, len),
						 0);
				for (; p <= (at + len - 1) >> lg2; p++)
					dirty[p] = true;
			}
			n = 1 + rnd(&s) % (ORACLE_PAGES - a);
			len = viommu_memory_dirty_fetch(mem, base + (a << lg2),
							n << lg2, bits);
			for (uint64_t i = 0; i < n; i++) {
				bool bit = bits[i / 64] >> i % 64 & 1;

				assert_int_equal(bit, dirty[a + i]);
				dirty[a + i] = false;
				found += bit;
			}
			assert_int_equal(len, found);
		}
		viommu_fence_init(&f);
		assert_int_equal(viommu_memory_remove(mem, base, 0, &f), 0);
		run(&f);
		stop(mem);
	}
	munmap(host, (size_t)ORACLE_PAGES << 16);
	world_free(&w);
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
		while (t[i].nheld)
			map_end(&t[i]);
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

	start(viommu_memory_of(w->vi), 0);
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
	for (unsigned i = 0; i < 8; i++)
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
	uint64_t bits;
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
	r.host = copy; /* not the writers' */
	writers_start(t, &w);
	writers_allow(t, UINT64_MAX / 2);
	for (unsigned i = 0; i < 300; i++) {
		start(mem, 0);
		assert_int_equal(viommu_memory_add(mem, &r), 0);
		assert_int_equal(viommu_memory_write(mem, r.gpa + 8, "x", 1),
				 0);
		assert_true(viommu_memory_dirty_fetch(mem, 0, WORLD_RAM,
						      &bits) >= 0);
		assert_int_equal(
			viommu_memory_dirty_fetch(mem, r.gpa, PAGE, &bits), 1);
		viommu_fence_init(&f);
		assert_int_equal(viommu_memory_remove(mem, r.gpa, 0, &f), 0);
		run(&f);
		stop(mem);
	}
	writers_stop(t);
	free(t);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fetches_agree_with_an_array),
		cmocka_unit_test(copy_is_the_original_fenced),
		cmocka_unit_test(copy_is_the_original_asymmetric),
		cmocka_unit_test(log_comes_and_goes_beside_writers),
	};

	return cmocka_run_group_tests_name("dirty_race", tests, NULL, NULL);
}
