/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty log: exactly the pages that were written, and none forgotten.
 * What races is in test_dirty_race.c.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "world.h"

#define PAGE 4096u
#define MORE 0x100000u /* GPA of a second region */

static void start(struct viommu_memory *mem, uint64_t page_size)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_start(mem, page_size, &f), 0);
	fence_run(&f);
}

static void stop(struct viommu_memory *mem)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_memory_dirty_stop(mem, &f);
	fence_run(&f);
}

/* Up to 64 pages, as one word. */
static uint64_t fetch(struct viommu_memory *mem, uint64_t gpa, uint64_t len)
{
	uint64_t bits[2] = { UINT64_C(0x5555), UINT64_C(0x5555) };
	int64_t n = viommu_memory_dirty_fetch(mem, gpa, len, bits);

	assert_int_equal(n, __builtin_popcountll(bits[0]));
	assert_int_equal(bits[1], 0x5555); /* not the caller's to lose */
	return bits[0];
}

static uint64_t fetch_world(struct world *w)
{
	return fetch(viommu_memory_of(w->vi), 0, WORLD_RAM);
}

/* A world with its RAM mapped one to one, and logged. */
static struct viommu_memory *make(struct world *w)
{
	world_make(w, NULL, PAGE);
	assert_int_equal(map_rw(w, 0, WORLD_RAM - 1, 0), 0);
	start(viommu_memory_of(w->vi), 0);
	return viommu_memory_of(w->vi);
}

static void add(struct viommu_memory *mem, uint64_t gpa, void *host,
		uint64_t len)
{
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = gpa,
				   .len = len,
				   .host = host,
				   .prot = VIOMMU_READ | VIOMMU_WRITE,
				   .fd = -1 };

	assert_int_equal(viommu_memory_add(mem, &r), 0);
}

static void take(struct viommu_memory *mem, uint64_t gpa, uint64_t len)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem, gpa, len, &f), 0);
	fence_run(&f);
}

/* ---- transient accesses ----------------------------------------------- */

static void writes_mark_the_pages_they_touch(void **state)
{
	static const struct {
		uint64_t iova, len, pages;
	} rows[] = {
		{ 0, 1, 0x1 },
		{ PAGE - 1, 1, 0x1 },
		{ PAGE, 1, 0x2 },
		{ PAGE - 1, 2, 0x3 },
		{ 2 * PAGE, PAGE, 0x4 },
		{ 2 * PAGE - 1, PAGE + 2, 0xe },
		{ 0, WORLD_RAM, 0xffff },
		{ WORLD_RAM - 1, 1, 0x8000 },
	};
	static char buf[WORLD_RAM];
	struct viommu_memory *mem;
	struct viommu_window win;
	struct world w;

	(void)state;
	mem = make(&w);
	assert_int_equal(viommu_window_open(&win, w.ep, 0, WORLD_RAM,
					    VIOMMU_READ | VIOMMU_WRITE),
			 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t iova = rows[i].iova, len = rows[i].len;

		assert_int_equal(viommu_dma_write(w.ep, iova, buf, len), 0);
		assert_int_equal(fetch_world(&w), rows[i].pages);
		assert_int_equal(viommu_memory_write(mem, iova, buf, len), 0);
		assert_int_equal(fetch_world(&w), rows[i].pages);
		assert_int_equal(viommu_window_write(&win, iova, buf, len), 0);
		assert_int_equal(fetch_world(&w), rows[i].pages);
		assert_int_equal(viommu_dma_enter(w.ep), 0);
		assert_int_equal(viommu_dma_write(w.ep, iova, buf, len), 0);
		assert_int_equal(viommu_window_write(&win, iova, buf, len), 0);
		viommu_dma_exit(w.ep);
		assert_int_equal(fetch_world(&w), rows[i].pages);
		assert_int_equal(fetch_world(&w), 0);
	}
	world_free(&w);
}

static void words_mark_their_page(void **state)
{
	struct viommu_window win;
	struct world w;
	uint64_t old;

	(void)state;
	make(&w);
	assert_int_equal(
		viommu_window_open(&win, w.ep, 0, WORLD_RAM, VIOMMU_WRITE), 0);
	for (unsigned size = 1; size <= 8; size *= 2) {
		uint64_t iova = 4 * PAGE - size;

		assert_int_equal(viommu_dma_store(w.ep, iova, size, 1), 0);
		assert_int_equal(fetch_world(&w), 0x8);
		old = 1;
		assert_int_equal(viommu_dma_cas(w.ep, iova, size, &old, 2), 0);
		assert_int_equal(fetch_world(&w), 0x8);
		assert_int_equal(viommu_window_store(&win, iova, size, 3), 0);
		assert_int_equal(fetch_world(&w), 0x8);
		assert_int_equal(viommu_dma_enter(w.ep), 0);
		assert_int_equal(viommu_dma_store(w.ep, iova, size, 1), 0);
		assert_int_equal(fetch_world(&w), 0x8);
		assert_int_equal(viommu_dma_cas(w.ep, iova, size, &old, 2), 0);
		assert_int_equal(old, 1);
		viommu_dma_exit(w.ep);
		assert_int_equal(fetch_world(&w), 0x8);
		assert_int_equal(fetch_world(&w), 0);
	}
	world_free(&w);
}

static void what_writes_nothing_marks_nothing(void **state)
{
	struct viommu_memory *mem;
	struct iovec iov[2];
	struct viommu_dma d;
	uint64_t val = 7;
	struct world w;
	char buf[2 * PAGE];

	(void)state;
	mem = make(&w);
	assert_int_equal(
		map_prot(&w, WORLD_RAM, WORLD_RAM + PAGE - 1, 0, VIOMMU_READ),
		0);
	assert_int_equal(viommu_dma_read(w.ep, 0, buf, sizeof(buf)), 0);
	assert_int_equal(viommu_memory_read(mem, 0, buf, sizeof(buf)), 0);
	assert_int_equal(viommu_dma_load(w.ep, 0, 8, &val), 0);
	val = 7;
	assert_int_equal(viommu_dma_cas(w.ep, 0, 8, &val, 9), 0);
	assert_int_equal(val, 0); /* it did not swap */
	/* refused as a whole */
	assert_int_equal(
		viommu_dma_write(w.ep, WORLD_RAM - PAGE, buf, sizeof(buf)),
		-EACCES);
	assert_int_equal(viommu_dma_write(w.ep, UINT64_MAX, buf, 2), -EFAULT);
	assert_int_equal(viommu_memory_write(mem, WORLD_RAM - 1, buf, 2),
			 -EFAULT);
	assert_int_equal(viommu_dma_write(w.ep, 0, buf, 0), 0);
	d = (struct viommu_dma){ .ep = w.ep,
				 .len = PAGE,
				 .prot = VIOMMU_READ,
				 .iov = iov,
				 .max_iov = 2 };
	assert_int_equal(viommu_dma_map(&d), 0);
	assert_int_equal(fetch_world(&w), 0);
	viommu_dma_unmap(&d, PAGE);
	assert_int_equal(fetch_world(&w), 0);
	world_free(&w);
}

/*
 * A mark that came too early could be fetched before the data is there.  So
 * stop the writer in the act, at a page that cannot be written, and fetch.  He
 * comes back to his handler until the page can be.
 */
static struct {
	struct viommu_memory *mem;
	void *page;
	pthread_t thread;
	volatile sig_atomic_t hit;
	uint64_t before;
} trap;

/* ThreadSanitizer would take locks here, within an access of its own. */
__attribute__((no_sanitize("thread"))) static void trap_handler(int sig)
{
	(void)sig;
	trap.hit = 1;
}

__attribute__((no_sanitize("thread"))) static bool trap_hit(void)
{
	return trap.hit;
}

static void *trap_watch(void *unused)
{
	while (!trap_hit())
		sched_yield();
	trap.before = fetch(trap.mem, MORE, PAGE);
	mprotect(trap.page, PAGE, PROT_READ | PROT_WRITE);
	return unused;
}

static void trap_set(void)
{
	trap.hit = 0;
	assert_int_equal(mprotect(trap.page, PAGE, PROT_READ), 0);
	assert_int_equal(pthread_create(&trap.thread, NULL, trap_watch, NULL),
			 0);
}

static void trap_check(void)
{
	trap_handler(0); /* if nothing was written at all */
	pthread_join(trap.thread, NULL);
	assert_int_equal(trap.before, 0);
	assert_int_equal(fetch(trap.mem, MORE, PAGE), 1);
}

static void data_is_written_before_it_is_marked(void **state)
{
	struct sigaction sa = { .sa_handler = trap_handler }, old;
	struct viommu_memory *mem;
	struct viommu_window win;
	struct world w;
	uint64_t val;

	(void)state;
	mem = make(&w);
	trap.mem = mem;
	trap.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(trap.page != MAP_FAILED);
	add(mem, MORE, trap.page, PAGE);
	assert_int_equal(map_rw(&w, MORE, MORE + PAGE - 1, MORE), 0);
	assert_int_equal(viommu_window_open(&win, w.ep, MORE, PAGE,
					    VIOMMU_READ | VIOMMU_WRITE),
			 0);
	assert_int_equal(sigaction(SIGSEGV, &sa, &old), 0);
	trap_set();
	assert_int_equal(viommu_dma_write(w.ep, MORE + 8, "x", 1), 0);
	trap_check();
	trap_set();
	assert_int_equal(viommu_memory_write(mem, MORE + 8, "y", 1), 0);
	trap_check();
	trap_set();
	assert_int_equal(viommu_dma_store(w.ep, MORE + 8, 8, 5), 0);
	trap_check();
	trap_set();
	val = 5;
	assert_int_equal(viommu_dma_cas(w.ep, MORE + 8, 8, &val, 6), 0);
	assert_int_equal(val, 5);
	trap_check();
	trap_set();
	assert_int_equal(viommu_window_write(&win, 8, "z", 1), 0);
	trap_check();
	trap_set();
	assert_int_equal(viommu_window_store(&win, 8, 8, 5), 0);
	trap_check();
	assert_int_equal(sigaction(SIGSEGV, &old, NULL), 0);
	take(mem, MORE, PAGE);
	munmap(trap.page, PAGE);
	world_free(&w);
}

/* ---- maps ------------------------------------------------------------- */

static struct viommu_dma dma(struct world *w, uint64_t iova, uint64_t len,
			     struct iovec *iov)
{
	return (struct viommu_dma){ .ep = w->ep,
				    .iova = iova,
				    .len = len,
				    .prot = VIOMMU_WRITE,
				    .iov = iov,
				    .max_iov = 4 };
}

static void let_it_be(struct viommu_dma *d)
{
	(void)d;
}

static void held_maps_are_reported_by_each_fetch(void **state)
{
	struct viommu_memory *mem;
	struct iovec iov[4];
	struct viommu_dma d;
	struct world w;

	(void)state;
	mem = make(&w);
	for (int revoke = 0; revoke < 2; revoke++) {
		d = dma(&w, 2 * PAGE - 1, PAGE + 2, iov);
		d.revoke = revoke ? let_it_be : NULL;
		assert_int_equal(viommu_dma_map(&d), 0);
		for (int i = 0; i < 3; i++)
			assert_int_equal(fetch_world(&w), 0xe);
		/* as far as it goes */
		assert_int_equal(fetch(mem, 2 * PAGE, PAGE), 0x1);
		assert_int_equal(fetch(mem, 3 * PAGE, 5 * PAGE), 0x1);
		assert_int_equal(fetch(mem, 4 * PAGE, 5 * PAGE), 0);
		viommu_dma_unmap(&d, 2);
		assert_int_equal(fetch_world(&w), 0x6);
		assert_int_equal(fetch_world(&w), 0);
		assert_int_equal(viommu_dma_map(&d), 0);
		viommu_dma_unmap(&d, 0);
		assert_int_equal(fetch_world(&w), 0);
	}
	world_free(&w);
}

static void maps_from_before_the_start_are_reported(void **state)
{
	struct iovec iov[2][4];
	struct viommu_fence f;
	struct viommu_dma d[2];
	struct world w;

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(map_rw(&w, 0, WORLD_RAM - 1, 0), 0);
	for (unsigned i = 0; i < 2; i++) {
		d[i] = dma(&w, (i + 1) * PAGE, PAGE, iov[i]);
		assert_int_equal(viommu_dma_map(&d[i]), 0);
	}
	viommu_fence_init(&f);
	assert_int_equal(
		viommu_memory_dirty_start(viommu_memory_of(w.vi), 0, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_true(viommu_fence_done(&f)); /* waits for no map */
	viommu_dma_unmap(&d[0], PAGE);
	assert_int_equal(fetch_world(&w), 0x6);
	assert_int_equal(fetch_world(&w), 0x4);
	viommu_fence_init(&f);
	viommu_memory_dirty_stop(viommu_memory_of(w.vi), &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_true(viommu_fence_done(&f));
	viommu_dma_unmap(&d[1], PAGE);
	start(viommu_memory_of(w.vi), 0);
	assert_int_equal(fetch_world(&w), 0);
	world_free(&w);
}

/* More maps than a seat has pins for. */
static void many_maps_are_reported(void **state)
{
	struct iovec iov[40][4];
	struct viommu_dma d[40];
	struct world w;

	(void)state;
	make(&w);
	for (unsigned i = 0; i < 40; i++) {
		d[i] = dma(&w, i % 16 * PAGE, 16, iov[i]);
		assert_int_equal(viommu_dma_map(&d[i]), 0);
	}
	for (unsigned i = 0; i < 40; i++) {
		uint64_t held = 0;

		for (unsigned j = i; j < 40; j++)
			held |= 1u << j % 16;
		assert_int_equal(fetch_world(&w), held);
		viommu_dma_unmap(&d[i], 0);
	}
	assert_int_equal(fetch_world(&w), 0);
	world_free(&w);
}

static void scattered_maps_mark_each_piece(void **state)
{
	struct viommu_memory *mem;
	struct iovec iov[4];
	struct viommu_dma d;
	struct world w;

	(void)state;
	mem = make(&w);
	/* pages 9, 3, 12 in a row */
	assert_int_equal(map_rw(&w, MORE, MORE + 0xfff, 9 * PAGE), 0);
	assert_int_equal(map_rw(&w, MORE + 0x1000, MORE + 0x1fff, 3 * PAGE), 0);
	assert_int_equal(map_rw(&w, MORE + 0x2000, MORE + 0x2fff, 12 * PAGE),
			 0);
	d = dma(&w, MORE + 0x800, 0x2000, iov);
	for (unsigned i = 0; i < 4; i++) {
		static const uint64_t written[] = { 0, 0x800, 0x801, 0x2000 };
		static const uint64_t pages[] = { 0, 0x200, 0x208, 0x1208 };

		assert_int_equal(viommu_dma_map(&d), 0);
		assert_int_equal(fetch_world(&w), 0x1208);
		assert_int_equal(fetch(mem, 4 * PAGE, 6 * PAGE), 0x20);
		viommu_dma_unmap(&d, written[i]);
		assert_int_equal(fetch_world(&w), pages[i]);
	}
	world_free(&w);
}

/* ---- regions ---------------------------------------------------------- */

static void aliases_are_logged_where_they_are_written(void **state)
{
	struct viommu_memory *mem;
	struct iovec iov[4];
	struct viommu_dma d;
	struct world w;

	(void)state;
	mem = make(&w);
	/* pages 2 and 3 of the RAM at another GPA */
	add(mem, MORE, w.ram + 2 * PAGE, 2 * PAGE);
	assert_int_equal(map_rw(&w, MORE, MORE + 2 * PAGE - 1, MORE), 0);
	assert_int_equal(viommu_dma_write(w.ep, MORE, "x", 1), 0);
	assert_int_equal(w.ram[2 * PAGE], 'x');
	assert_int_equal(fetch_world(&w), 0);
	assert_int_equal(fetch(mem, MORE, 2 * PAGE), 0x1);
	d = dma(&w, MORE, 2 * PAGE, iov);
	assert_int_equal(viommu_dma_map(&d), 0);
	assert_int_equal(fetch_world(&w), 0);
	assert_int_equal(fetch(mem, MORE, 2 * PAGE), 0x3);
	viommu_dma_unmap(&d, 2 * PAGE);
	assert_int_equal(fetch(mem, MORE, 2 * PAGE), 0x3);
	assert_int_equal(fetch_world(&w), 0);
	/* a map that is not contiguous is found by its host memory */
	assert_int_equal(map_rw(&w, 2 * MORE, 2 * MORE + 0xfff, MORE), 0);
	assert_int_equal(map_rw(&w, 2 * MORE + 0x1000, 2 * MORE + 0x1fff, 0),
			 0);
	d = dma(&w, 2 * MORE, 2 * PAGE, iov);
	assert_int_equal(viommu_dma_map(&d), 0);
	viommu_dma_unmap(&d, 2 * PAGE);
	assert_int_equal(fetch(mem, MORE, 2 * PAGE), 0x1);
	assert_int_equal(fetch_world(&w), 0x5);
	world_free(&w);
}

static void regions_come_and_go_with_their_bits(void **state)
{
	struct viommu_memory *mem;
	struct viommu_fence f;
	struct iovec iov[4];
	struct viommu_dma d;
	struct world w;
	char *more = calloc(1, 4 * PAGE);

	(void)state;
	mem = make(&w);
	add(mem, MORE, more, 2 * PAGE);
	add(mem, MORE + 2 * PAGE, more + 2 * PAGE, 2 * PAGE);
	assert_int_equal(map_rw(&w, MORE, MORE + 4 * PAGE - 1, MORE), 0);
	assert_int_equal(viommu_dma_write(w.ep, MORE, more, 4 * PAGE), 0);
	take(mem, MORE, 2 * PAGE);
	assert_int_equal(fetch(mem, MORE, 8 * PAGE), 0xc);
	/* the new one is not the old one */
	add(mem, MORE, more, 2 * PAGE);
	assert_int_equal(fetch(mem, MORE, 8 * PAGE), 0);
	assert_int_equal(viommu_dma_write(w.ep, MORE + PAGE, more, 1), 0);
	assert_int_equal(fetch(mem, MORE, 8 * PAGE), 0x2);
	/* under a map */
	d = dma(&w, MORE, PAGE, iov);
	assert_int_equal(viommu_dma_map(&d), 0);
	assert_int_equal(fetch(mem, MORE, 8 * PAGE), 0x1);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem, MORE, 4 * PAGE, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(fetch(mem, MORE, 8 * PAGE), 0);
	viommu_dma_unmap(&d, PAGE);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(fetch(mem, MORE, 8 * PAGE), 0);
	free(more);
	world_free(&w);
}

/* Regions that share a page: neither takes the other's bit. */
static void regions_may_share_a_page(void **state)
{
	struct viommu_memory *mem;
	struct world w;
	char *more = calloc(1, 2 * PAGE);

	(void)state;
	mem = make(&w);
	add(mem, MORE, more, 100);
	add(mem, MORE + 100, more + 100, 100);
	assert_int_equal(viommu_memory_write(mem, MORE + 99, more, 2), 0);
	assert_int_equal(fetch(mem, MORE, PAGE), 1);
	assert_int_equal(viommu_memory_write(mem, MORE, "x", 1), 0);
	add(mem, MORE + 200, more + 200, PAGE);
	assert_int_equal(fetch(mem, MORE, 2 * PAGE), 1);
	assert_int_equal(viommu_memory_write(mem, MORE + 150, "x", 1), 0);
	take(mem, MORE, 100);
	add(mem, MORE, more, 100);
	assert_int_equal(fetch(mem, MORE, 2 * PAGE), 1);
	take(mem, MORE, 2 * PAGE);
	free(more);
	world_free(&w);
}

static void top_of_memory_is_logged(void **state)
{
	static const uint64_t sizes[] = { PAGE, 1ull << 21, 1ull << 63 };
	struct viommu_memory *mem;
	struct world w;
	char *more = calloc(1, 2 * PAGE);

	(void)state;
	mem = make(&w);
	stop(mem);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t size = sizes[i], top = -size;

		start(mem, size);
		add(mem, -(uint64_t)2 * PAGE, more, 2 * PAGE);
		assert_int_equal(viommu_memory_write(mem, UINT64_MAX, "x", 1),
				 0);
		assert_int_equal(fetch(mem, top, size), 0x1);
		assert_int_equal(fetch(mem, top, size), 0);
		assert_int_equal(viommu_memory_write(mem, -(uint64_t)2 * PAGE,
						     more, 2 * PAGE),
				 0);
		assert_int_equal(fetch(mem, size > PAGE ? top : top - size,
				       size > PAGE ? size : 2 * size),
				 size > PAGE ? 0x1 : 0x3);
		assert_int_equal(viommu_memory_write(mem, 0, "x", 1), 0);
		assert_int_equal(fetch(mem, 0, size), 1);
		take(mem, -(uint64_t)2 * PAGE, 0);
		stop(mem);
	}
	free(more);
	world_free(&w);
}

/* ---- start, stop, fetch ----------------------------------------------- */

static void errors_are_told(void **state)
{
	struct viommu_memory *mem;
	struct viommu_fence f;
	struct world w;
	uint64_t bits[2];

	(void)state;
	world_make(&w, NULL, PAGE);
	mem = viommu_memory_of(w.vi);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_fetch(mem, 0, PAGE, bits),
			 -ENOENT);
	assert_int_equal(viommu_memory_dirty_start(mem, 2048, &f), -EINVAL);
	assert_int_equal(viommu_memory_dirty_start(mem, PAGE + 1, &f), -EINVAL);
	assert_int_equal(viommu_memory_dirty_start(mem, 3 * PAGE, &f), -EINVAL);
	viommu_memory_dirty_stop(mem, &f); /* as it is */
	start(mem, 2 * PAGE);
	assert_int_equal(viommu_memory_dirty_start(mem, 0, &f), -EBUSY);
	assert_int_equal(viommu_memory_dirty_fetch(mem, 0, PAGE, bits),
			 -EINVAL);
	assert_int_equal(viommu_memory_dirty_fetch(mem, PAGE, 2 * PAGE, bits),
			 -EINVAL);
	assert_int_equal(viommu_memory_dirty_fetch(mem, 0, 0, bits), -EINVAL);
	assert_int_equal(viommu_memory_dirty_fetch(mem, -(uint64_t)2 * PAGE,
						   4 * PAGE, bits),
			 -EINVAL);
	assert_int_equal(viommu_memory_dirty_fetch(mem, 0, 2 * PAGE, bits), 0);
	stop(mem);
	assert_int_equal(viommu_memory_dirty_fetch(mem, 0, 2 * PAGE, bits),
			 -ENOENT);
	world_free(&w);
}

static void start_and_stop_wait_for_accesses_under_way(void **state)
{
	struct viommu_memory *mem;
	struct viommu_fence f, g;
	struct world w;

	(void)state;
	mem = make(&w);
	stop(mem);
	viommu_fence_init(&f);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	assert_int_equal(viommu_memory_dirty_start(mem, 0, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	viommu_dma_exit(w.ep);
	assert_true(viommu_fence_done(&f));

	assert_int_equal(viommu_dma_enter(w.ep), 0);
	viommu_fence_init(&f);
	viommu_memory_dirty_stop(mem, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	/* another, beside the one that goes */
	viommu_fence_init(&g);
	assert_int_equal(viommu_memory_dirty_start(mem, 0, &g), 0);
	assert_int_equal(viommu_dma_store(w.ep, PAGE, 8, 1), 0);
	assert_int_equal(fetch_world(&w), 0x2);
	viommu_dma_exit(w.ep);
	assert_true(viommu_fence_done(&f));
	viommu_fence_commit(&g, NULL, NULL);
	assert_true(viommu_fence_done(&g));
	world_free(&w);
}

/* Stopped before its start is done, and destroyed with its memory. */
static void log_lives_as_long_as_its_fences(void **state)
{
	struct viommu_memory *mem;
	struct viommu_fence f, g;
	struct world w;

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(viommu_memory_create(w.vi, &mem), 0);
	add(mem, 0, w.ram, PAGE);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_start(mem, 0, &f), 0);
	stop(mem);
	fence_run(&f);
	viommu_fence_init(&f);
	viommu_fence_init(&g);
	assert_int_equal(viommu_memory_dirty_start(mem, 0, &f), 0);
	viommu_memory_destroy(mem, &g);
	fence_run(&g);
	fence_run(&f);
	world_free(&w);
}

/* ---- no memory -------------------------------------------------------- */

static int countdown;

static void *scarce(void *arg, size_t size, size_t align)
{
	void *p;

	(void)arg;
	if (countdown && !--countdown)
		return NULL;
	return posix_memalign(&p, align < 8 ? 8 : align, size) ? NULL : p;
}

static void scarce_free(void *arg, void *p)
{
	(void)arg;
	free(p);
}

static void no_memory_changes_nothing(void **state)
{
	struct viommu_env env = { .size = sizeof(env),
				  .alloc = scarce,
				  .free = scarce_free };
	struct viommu_config cfg = { .size = sizeof(cfg), .env = &env };
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = 1ull << 40,
				   .len = 1u << 26, /* five chunks */
				   .prot = VIOMMU_READ | VIOMMU_WRITE,
				   .fd = -1 };
	struct viommu_memory *mem;
	struct viommu_fence f;
	struct world w;
	int i, rc;

	(void)state;
	r.gpa -= PAGE;
	r.host = mmap(NULL, r.len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(r.host != MAP_FAILED);
	countdown = 0;
	world_make(&w, &cfg, PAGE);
	mem = viommu_memory_of(w.vi);
	viommu_fence_init(&f);
	for (i = 1;; i++) {
		countdown = i;
		rc = viommu_memory_dirty_start(mem, 0, &f);
		if (!rc)
			break;
		assert_int_equal(rc, -ENOMEM);
		assert_int_equal(viommu_memory_dirty_fetch(mem, 0, PAGE, NULL),
				 -ENOENT);
	}
	assert_true(i > 2);
	fence_run(&f);
	for (i = 1;; i++) {
		countdown = i;
		rc = viommu_memory_add(mem, &r);
		if (!rc)
			break;
		assert_int_equal(rc, -ENOMEM);
		countdown = 0;
		assert_int_equal(viommu_memory_write(mem, r.gpa, "x", 1),
				 -EFAULT);
	}
	assert_true(i > 6);
	countdown = 0;
	assert_int_equal(viommu_memory_write(mem, r.gpa, "x", 1), 0);
	assert_int_equal(fetch(mem, r.gpa, 2 * PAGE), 1);
	take(mem, r.gpa, r.len);
	munmap(r.host, r.len);
	world_free(&w);
}

/* GPA 0 does not follow the last one: two pages, and none between. */
static void a_map_around_the_top_is_two_ranges(void **state)
{
	unsigned char *top = aligned_alloc(PAGE, PAGE);
	struct viommu_memory *mem;
	struct viommu_dma d;
	struct iovec iov[2];
	struct world w;

	(void)state;
	assert_non_null(top);
	mem = make(&w);
	add(mem, UINT64_MAX - (PAGE - 1), top, PAGE);
	assert_int_equal(
		map_rw(&w, 0x100000, 0x100fff, UINT64_MAX - (PAGE - 1)), 0);
	assert_int_equal(map_rw(&w, 0x101000, 0x101fff, 0), 0);
	d = (struct viommu_dma){ .ep = w.ep,
				 .iova = 0x100000,
				 .len = 2 * PAGE,
				 .prot = VIOMMU_WRITE,
				 .iov = iov,
				 .max_iov = 2 };
	for (int round = 0; round < 2; round++) {
		assert_int_equal(viommu_dma_map(&d), 0);
		assert_int_equal(fetch_world(&w), 1);
		assert_int_equal(fetch(mem, UINT64_MAX - (PAGE - 1), PAGE), 1);
		viommu_dma_unmap(&d, round ? 2 * PAGE : PAGE);
		assert_int_equal(fetch_world(&w), round);
		assert_int_equal(fetch(mem, UINT64_MAX - (PAGE - 1), PAGE), 1);
	}
	stop(mem);
	world_free(&w);
	free(top);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_mark_the_pages_they_touch),
		cmocka_unit_test(words_mark_their_page),
		cmocka_unit_test(what_writes_nothing_marks_nothing),
		cmocka_unit_test(data_is_written_before_it_is_marked),
		cmocka_unit_test(held_maps_are_reported_by_each_fetch),
		cmocka_unit_test(maps_from_before_the_start_are_reported),
		cmocka_unit_test(many_maps_are_reported),
		cmocka_unit_test(scattered_maps_mark_each_piece),
		cmocka_unit_test(aliases_are_logged_where_they_are_written),
		cmocka_unit_test(regions_come_and_go_with_their_bits),
		cmocka_unit_test(regions_may_share_a_page),
		cmocka_unit_test(top_of_memory_is_logged),
		cmocka_unit_test(errors_are_told),
		cmocka_unit_test(start_and_stop_wait_for_accesses_under_way),
		cmocka_unit_test(log_lives_as_long_as_its_fences),
		cmocka_unit_test(a_map_around_the_top_is_two_ranges),
		cmocka_unit_test(no_memory_changes_nothing),
	};

	return cmocka_run_group_tests_name("dirty", tests, NULL, NULL);
}
