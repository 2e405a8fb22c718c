/* SPDX-License-Identifier: BSD-2-Clause */
/* Pages are given up: exactly those, and what stays is not disturbed. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include <viommu/window.h>

#include "move.h"

static struct viommu_memory *mem_of(const struct world *w)
{
	return viommu_memory_of(w->vi);
}

static void setup(struct world *w)
{
	still_world(w, UINT64_MAX);
}

static int give_up(const struct world *w, uint64_t gpa, uint64_t len,
		   struct viommu_fence *f)
{
	int rc;

	viommu_fence_init(f);
	rc = viommu_memory_give_up(mem_of(w), gpa, len, f);
	if (!rc)
		viommu_fence_commit(f, NULL, NULL);
	return rc;
}

/* Nobody uses it: it is gone at once. */
static void give_up_now(const struct world *w, uint64_t gpa, uint64_t len)
{
	struct viommu_fence f;

	assert_int_equal(give_up(w, gpa, len, &f), 0);
	assert_true(viommu_fence_done(&f));
}

static void ram_add(const struct world *w, uint64_t gpa, void *host,
		    uint64_t len)
{
	const struct viommu_region r = { .size = sizeof(r),
					 .gpa = gpa,
					 .len = len,
					 .host = host,
					 .prot = RW,
					 .fd = -1 };

	assert_int_equal(viommu_memory_add(mem_of(w), &r), 0);
}

/* ---- what is left ----------------------------------------------------- */

static void out_of_the_middle(void **state)
{
	unsigned char byte;
	struct world w;

	(void)state;
	setup(&w);
	give_up_now(&w, 0x2345, 0x1001);
	assert_spans(mem_of(&w), { 0, 0x2345, w.ram, 0, RW },
		     { 0x3346, WORLD_RAM - 0x3346, w.ram + 0x3346, 0, RW });
	for (uint64_t at = 0x2344; at <= 0x3346; at++) {
		int rc = at == 0x2344 || at == 0x3346 ? 0 : -EFAULT;

		assert_int_equal(viommu_memory_read(mem_of(&w), at, &byte, 1),
				 rc);
		assert_int_equal(viommu_dma_read(w.ep, at, &byte, 1), rc);
		if (!rc)
			assert_int_equal(byte, w.ram[at]);
	}
	assert_int_equal(viommu_dma_write(w.ep, 0x2344, "ab", 2), -EFAULT);
	assert_int_equal(w.fault.start, 0x2345);
	assert_int_equal(w.fault.last, 0x2345);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_MEMORY);
	world_free(&w);
}

static void at_the_edges(void **state)
{
	struct world w;

	(void)state;
	setup(&w);
	give_up_now(&w, 0, PAGE);
	give_up_now(&w, WORLD_RAM - 1, 1);
	assert_spans(mem_of(&w),
		     { PAGE, WORLD_RAM - PAGE - 1, w.ram + PAGE, 0, RW });
	/* what is there already matters only in part */
	give_up_now(&w, 0, PAGE + 1);
	assert_spans(mem_of(&w), { PAGE + 1, WORLD_RAM - PAGE - 2,
				   w.ram + PAGE + 1, 0, RW });
	give_up_now(&w, WORLD_RAM - 2, UINT64_MAX - (WORLD_RAM - 2) + 1);
	assert_spans(mem_of(&w), { PAGE + 1, WORLD_RAM - PAGE - 3,
				   w.ram + PAGE + 1, 0, RW });
	world_free(&w);
}

static void all_of_it(void **state)
{
	struct world w;

	(void)state;
	setup(&w);
	give_up_now(&w, 0, WORLD_RAM);
	assert_regions(mem_of(&w), NULL, 0);
	ram_add(&w, 0, w.ram, WORLD_RAM);
	give_up_now(&w, 0, UINT64_MAX);
	assert_regions(mem_of(&w), NULL, 0);
	world_free(&w);
}

static void several_regions_and_holes(void **state)
{
	static unsigned char more[4][PAGE];
	struct viommu_fence f;
	struct world w;

	(void)state;
	setup(&w);
	ram_add(&w, WORLD_RAM, more[0], PAGE);
	ram_add(&w, WORLD_RAM + 2 * PAGE, more[1], PAGE);
	ram_add(&w, WORLD_RAM + 4 * PAGE, more[2], PAGE);
	ram_add(&w, UINT64_MAX - PAGE + 1, more[3], PAGE);
	/* a hole is no reason */
	give_up_now(&w, WORLD_RAM - 0x10, 4 * PAGE + 0x20);
	assert_spans(mem_of(&w), { 0, WORLD_RAM - 0x10, w.ram, 0, RW },
		     { WORLD_RAM + 4 * PAGE + 0x10, PAGE - 0x10, more[2] + 0x10,
		       0, RW },
		     { UINT64_MAX - PAGE + 1, PAGE, more[3], 0, RW });
	assert_int_equal(give_up(&w, WORLD_RAM, 4 * PAGE, &f), -ENOENT);
	give_up_now(&w, UINT64_MAX, 1);
	give_up_now(&w, UINT64_MAX - PAGE + 1, 1);
	assert_spans(mem_of(&w), { 0, WORLD_RAM - 0x10, w.ram, 0, RW },
		     { WORLD_RAM + 4 * PAGE + 0x10, PAGE - 0x10, more[2] + 0x10,
		       0, RW },
		     { UINT64_MAX - PAGE + 2, PAGE - 2, more[3] + 1, 0, RW });
	world_free(&w);
}

static void the_rest_of_a_device(void **state)
{
	static struct toy toy;
	struct viommu_region r = toy_region(&toy, 0x100000, 0x2000, 0x800);
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w);
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), 0);
	give_up_now(&w, 0x100801, 0x7ff);
	assert_spans(mem_of(&w), { 0, WORLD_RAM, w.ram, 0, RW },
		     { 0x100000, 0x801, NULL, 0x800, RW },
		     { 0x101000, 0x1000, NULL, 0x1800, RW });
	assert_int_equal(map_rw(&w, 0x100000, 0x101fff, 0x100000), 0);
	assert_int_equal(viommu_dma_load(w.ep, 0x101008, 8, &val), 0);
	assert_int_equal(toy.offset, 0x1808);
	assert_int_equal(viommu_memory_write(mem_of(&w), 0x100800, "x", 1), 0);
	assert_int_equal(toy.offset, 0x1000);
	assert_int_equal(viommu_memory_write(mem_of(&w), 0x100800, "xy", 2),
			 -EFAULT);
	give_up_now(&w, 0x100000, 0x2000);
	assert_int_equal(viommu_dma_load(w.ep, 0x101008, 8, &val), -EFAULT);
	world_free(&w);
}

static unsigned mapped_files(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned n = 0;
	char line[512];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "memfd:give-up") != NULL;
	fclose(f);
	return n;
}

/* The file stays mapped as long as some piece of it is there. */
static void the_rest_of_a_file(void **state)
{
	int fd = memfd_create("give-up", MFD_CLOEXEC);
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = 0x100000,
				   .len = 4 * PAGE,
				   .prot = RW,
				   .fd = fd,
				   .fd_offset = PAGE };
	struct viommu_fence f;
	struct world w;
	char buf[4];

	(void)state;
	setup(&w);
	assert_int_equal(ftruncate(fd, 8 * PAGE), 0);
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), 0);
	assert_int_equal(mapped_files(), 1);
	give_up_now(&w, 0x101000, PAGE);
	give_up_now(&w, 0x103ffe, 2);
	assert_int_equal(mapped_files(), 1);
	assert_int_equal(viommu_memory_write(mem_of(&w), 0x102ffe, "abcd", 4),
			 0);
	assert_int_equal(pread(fd, buf, 4, 3 * PAGE + 0xffe), 4);
	assert_memory_equal(buf, "abcd", 4);
	give_up_now(&w, 0x100000, PAGE);
	assert_int_equal(mapped_files(), 1);
	viommu_fence_init(&f);
	assert_int_equal(
		viommu_memory_remove(mem_of(&w), 0x102000, 2 * PAGE, &f), 0);
	fence_run(&f);
	assert_int_equal(mapped_files(), 0);
	close(fd);
	world_free(&w);
}

static void the_hole_can_be_filled(void **state)
{
	static unsigned char more[2 * PAGE];
	struct viommu_fence f;
	char buf[8];
	struct world w;

	(void)state;
	setup(&w);
	memset(more, 'm', sizeof(more));
	give_up_now(&w, 0x2000, 2 * PAGE);
	ram_add(&w, 0x2000, more, PAGE);
	assert_int_equal(viommu_dma_read(w.ep, 0x1ffc, buf, 8), 0);
	assert_memory_equal(buf + 4, "mmmm", 4);
	assert_memory_equal(buf, w.ram + 0x1ffc, 4);
	assert_int_equal(viommu_dma_read(w.ep, 0x2ffc, buf, 8), -EFAULT);
	ram_add(&w, 0x3000, more + PAGE, PAGE);
	assert_int_equal(viommu_dma_read(w.ep, 0x2ffc, buf, 8), 0);
	/* what is left is regions like others */
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem_of(&w), 0, 0x2fff, &f),
			 -ERANGE);
	assert_int_equal(viommu_memory_remove(mem_of(&w), 0x3000, 0, &f), 0);
	assert_int_equal(viommu_memory_remove(mem_of(&w), 0, 0x2000, &f), 0);
	fence_run(&f);
	assert_spans(mem_of(&w), { 0x2000, PAGE, more, 0, RW });
	world_free(&w);
}

static void what_cannot_be_is_refused(void **state)
{
	struct viommu_fence f;
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(give_up(&w, 0x2000, 0, &f), -EINVAL);
	assert_int_equal(give_up(&w, 0x2000, UINT64_MAX, &f), -EINVAL);
	assert_int_equal(give_up(&w, WORLD_RAM, PAGE, &f), -ENOENT);
	assert_int_equal(give_up(&w, WORLD_RAM, UINT64_MAX - WORLD_RAM, &f),
			 -ENOENT);
	assert_spans(mem_of(&w), { 0, WORLD_RAM, w.ram, 0, RW });
	world_free(&w);
}

/* ---- who is waited for ------------------------------------------------ */

static void maps_of_other_pages_go_on(void **state)
{
	struct holder a, b;
	struct viommu_fence f;
	struct world w;

	(void)state;
	setup(&w);
	hold(&a, w.ep, 0x1f00, RW);
	hold(&b, w.ep, 0x3000, VIOMMU_READ);
	assert_int_equal(give_up(&w, 0x2000, PAGE, &f), 0);
	assert_true(viommu_fence_done(&f));
	viommu_dma_unmap(&a.d, 0x100);
	viommu_dma_unmap(&b.d, 0);
	world_free(&w);
}

static void maps_of_these_pages_are_waited_for(void **state)
{
	struct holder a, b, c;
	struct viommu_fence f;
	struct world w;

	(void)state;
	setup(&w);
	hold(&a, w.ep, 0x1f01, RW); /* one byte of it */
	hold(&b, w.ep, 0x2fff, VIOMMU_READ);
	assert_int_equal(give_up(&w, 0x2000, PAGE, &f), 0);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(hold_try(&c, w.ep, 0x2f01, VIOMMU_READ), -EFAULT);
	viommu_dma_unmap(&a.d, 0);
	assert_false(viommu_fence_done(&f));
	/* as long as it is held, what is there is there */
	assert_int_equal(*(unsigned char *)b.iov.iov_base, w.ram[0x2fff]);
	viommu_dma_unmap(&b.d, 0);
	assert_true(viommu_fence_done(&f));
	world_free(&w);
}

/* What is not there any more is still waited for, by who takes it again. */
static void pages_that_go_already_are_waited_for(void **state)
{
	static const uint64_t at[][2] = {
		{ 0x2000, 0x3000 }, /* at the beginning */
		{ 0x0000, 0x3000 }, /* at the end */
		{ 0x1000, 0x3000 }, /* in the middle */
		{ 0x0000, UINT64_MAX },
	};
	struct viommu_fence f, g;
	struct holder h;
	struct world w;

	(void)state;
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		setup(&w);
		hold(&h, w.ep, 0x2100, VIOMMU_READ);
		assert_int_equal(give_up(&w, 0x2000, PAGE, &f), 0);
		assert_false(viommu_fence_done(&f));
		assert_int_equal(give_up(&w, at[i][0], at[i][1], &g), 0);
		assert_false(viommu_fence_done(&f));
		assert_false(viommu_fence_done(&g));
		viommu_dma_unmap(&h.d, 0);
		assert_true(viommu_fence_done(&f));
		assert_true(viommu_fence_done(&g));
		world_free(&w);
	}
}

struct asked {
	struct viommu_dma d;
	struct iovec iov[8];
	unsigned asked;
	uint64_t taken, last;
};

static void on_revoke(struct viommu_dma *d)
{
	struct asked *a = d->arg;

	a->asked++;
	a->taken = d->taken;
	a->last = d->taken_last;
	viommu_dma_unmap(d, 0);
}

static void ask(struct asked *a, struct viommu_endpoint *ep, uint64_t iova,
		uint64_t len)
{
	memset(a, 0, sizeof(*a));
	a->d = (struct viommu_dma){ .ep = ep,
				    .iova = iova,
				    .len = len,
				    .prot = VIOMMU_READ,
				    .iov = a->iov,
				    .max_iov = 8,
				    .revoke = on_revoke,
				    .arg = a };
	assert_int_equal(viommu_dma_map(&a->d), 0);
}

static void maps_are_asked_for_what_goes(void **state)
{
	static const struct {
		uint64_t gpa, len, taken, last;
	} row[] = {
		{ 0x2000, 0x1000, 0x12000, 0x12fff }, /* within */
		{ 0x1000, 0x0801, 0x11800, 0x11800 }, /* at its beginning */
		{ 0x0000, 0x2000, 0x11800, 0x11fff },
		{ 0x37ff, 0x1000, 0x137ff, 0x137ff }, /* at its end */
		{ 0x0000, 0x8000, 0x11800, 0x137ff }, /* all of it */
		{ 0x1800, 0x2000, 0x11800, 0x137ff },
	};
	struct viommu_fence f;
	struct asked a;
	struct world w;

	(void)state;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		setup(&w);
		assert_int_equal(map_rw(&w, 0x10000, 0x17fff, 0), 0);
		ask(&a, w.ep, 0x11800, 0x2000);
		assert_int_equal(give_up(&w, row[i].gpa, row[i].len, &f), 0);
		assert_true(viommu_fence_done(&f));
		assert_int_equal(a.asked, 1);
		assert_int_equal(a.taken, row[i].taken);
		assert_int_equal(a.last, row[i].last);
		world_free(&w);
	}
}

/* Of one whose memory is in pieces, all of it, or what goes, at any rate. */
static void scattered_maps_are_asked(void **state)
{
	struct viommu_fence f;
	struct asked a, b;
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(map_rw(&w, 0x10000, 0x10fff, 0x9000), 0);
	assert_int_equal(map_rw(&w, 0x11000, 0x11fff, 0x4000), 0);
	ask(&a, w.ep, 0x10800, 0x1000);
	assert_int_equal(a.d.niov, 2);
	ask(&b, w.ep, 0x10900, 0x100); /* not scattered, nor taken */
	assert_int_equal(give_up(&w, 0x4000, 0x10, &f), 0);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(a.asked, 1);
	assert_in_range(a.taken, 0x10800, 0x11000);
	assert_in_range(a.last, 0x1100f, 0x117ff);
	assert_int_equal(b.asked, 0);
	viommu_dma_unmap(&b.d, 0);
	world_free(&w);
}

/* One fence for several: from the first to the last that goes. */
static void a_fence_that_takes_more_than_one(void **state)
{
	static const uint64_t at[2][3] = { { 0x5000, 0x2000, 0x9000 },
					   { 0x9000, 0x2000, 0x5000 } };
	struct viommu_fence f;
	struct asked a;
	struct world w;

	(void)state;
	for (int how = 0; how < 2; how++) {
		setup(&w);
		ask(&a, w.ep, 0x1000, 0x6000);
		viommu_fence_init(&f);
		for (int i = 0; i < 3; i++)
			assert_int_equal(viommu_memory_give_up(mem_of(&w),
							       at[how][i], PAGE,
							       &f),
					 0);
		assert_int_equal(a.asked, 0); /* not before the commit */
		viommu_fence_commit(&f, NULL, NULL);
		assert_int_equal(a.asked, 1);
		assert_int_equal(a.taken, 0x2000);
		assert_int_equal(a.last, 0x5fff);
		assert_true(viommu_fence_done(&f));
		world_free(&w);
	}
}

/* An unmap tells in IOVA, whatever it leads to. */
static void an_unmap_tells_too(void **state)
{
	struct viommu_fence f;
	struct asked a;
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(map_rw(&w, 0x10000, 0x10fff, 0x9000), 0);
	assert_int_equal(map_rw(&w, 0x11000, 0x11fff, 0xa000), 0);
	ask(&a, w.ep, 0x10800, 0x1000);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w.space, 0x11000, 0x11fff, &f),
			 PAGE);
	fence_run(&f);
	assert_int_equal(a.asked, 1);
	assert_int_equal(a.taken, 0x11000);
	assert_int_equal(a.last, 0x117ff);
	world_free(&w);
}

static void windows_look_again(void **state)
{
	static unsigned char more[PAGE];
	struct viommu_window win;
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w);
	assert_int_equal(viommu_window_open(&win, w.ep, 0x2000, 2 * PAGE, RW),
			 0);
	for (int burst = 0; burst < 2; burst++) {
		assert_int_equal(viommu_window_load(&win, 0x10, 8, &val), 0);
		assert_int_equal(viommu_window_load(&win, 0x1010, 8, &val), 0);
		give_up_now(&w, 0x2000, PAGE);
		if (burst)
			assert_int_equal(viommu_dma_enter(w.ep), 0);
		assert_int_equal(viommu_window_load(&win, 0x10, 8, &val),
				 -EFAULT);
		assert_int_equal(viommu_window_store(&win, 0x10, 8, 1),
				 -EFAULT);
		assert_int_equal(viommu_window_store(&win, 0x1010, 8, 1), 0);
		if (burst)
			viommu_dma_exit(w.ep);
		memset(more, 'm', sizeof(more));
		ram_add(&w, 0x2000, more, PAGE);
		assert_int_equal(viommu_window_load(&win, 0x10, 8, &val), 0);
		assert_int_equal(val, UINT64_C(0x6d6d6d6d6d6d6d6d));
	}
	viommu_window_close(&win);
	world_free(&w);
}

/* ---- the log ---------------------------------------------------------- */

static void the_log_keeps_the_rest(void **state)
{
	struct viommu_fence f;
	struct world w;
	uint64_t bits;

	(void)state;
	setup(&w);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_start(mem_of(&w), 0, &f), 0);
	fence_run(&f);
	for (uint64_t at = 0; at < 6 * PAGE; at += PAGE)
		assert_int_equal(viommu_dma_write(w.ep, at + 5, "d", 1), 0);
	give_up_now(&w, 0x2000, PAGE);
	give_up_now(&w, 0x4010, PAGE); /* of two pages */
	assert_int_equal(
		viommu_memory_dirty_fetch(mem_of(&w), 0, WORLD_RAM, &bits), 5);
	assert_int_equal(bits, 0x3b);
	/* and is logged as ever */
	assert_int_equal(viommu_dma_write(w.ep, 0x1fff, "d", 1), 0);
	assert_int_equal(viommu_dma_write(w.ep, 0x3000, "d", 1), 0);
	assert_int_equal(viommu_dma_write(w.ep, 0x400f, "d", 1), 0);
	assert_int_equal(viommu_dma_write(w.ep, 0x5010, "d", 1), 0);
	assert_int_equal(
		viommu_memory_dirty_fetch(mem_of(&w), 0, WORLD_RAM, &bits), 4);
	assert_int_equal(bits, 0x3a);
	/* what comes there begins with none */
	assert_int_equal(viommu_dma_write(w.ep, 0x1000, "d", 1), 0);
	ram_add(&w, 0x2000, w.ram + 0x2000, PAGE);
	assert_int_equal(
		viommu_memory_dirty_fetch(mem_of(&w), 0, WORLD_RAM, &bits), 1);
	assert_int_equal(bits, 0x2);
	/* up to the last piece */
	give_up_now(&w, 0, WORLD_RAM);
	assert_int_equal(
		viommu_memory_dirty_fetch(mem_of(&w), 0, WORLD_RAM, &bits), 0);
	viommu_fence_init(&f);
	viommu_memory_dirty_stop(mem_of(&w), &f);
	fence_run(&f);
	world_free(&w);
}

/* Between what is not logged at the same place: chunks of 4096 pages. */
static void the_log_is_cut_where_it_has_chunks(void **state)
{
	const uint64_t base = UINT64_C(1) << 32, chunk = UINT64_C(4096) * PAGE;
	unsigned char *big =
		mmap(NULL, 3 * chunk, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct viommu_fence f;
	uint64_t bits[2];
	struct world w;

	(void)state;
	assert_ptr_not_equal(big, MAP_FAILED);
	setup(&w);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_start(mem_of(&w), 0, &f), 0);
	fence_run(&f);
	ram_add(&w, base, big, 3 * chunk);
	assert_int_equal(
		viommu_memory_write(mem_of(&w), base + chunk - 1, "ab", 2), 0);
	assert_int_equal(
		viommu_memory_write(mem_of(&w), base + 2 * chunk - 1, "ab", 2),
		0);
	/* exactly one, then pieces of the others */
	give_up_now(&w, base + chunk, chunk);
	give_up_now(&w, base, PAGE);
	give_up_now(&w, base + 2 * PAGE, PAGE);
	assert_int_equal(viommu_memory_dirty_fetch(mem_of(&w),
						   base + chunk - 64 * PAGE,
						   128 * PAGE, bits),
			 1);
	assert_int_equal(bits[0], UINT64_C(1) << 63);
	assert_int_equal(viommu_memory_dirty_fetch(mem_of(&w),
						   base + 2 * chunk - 64 * PAGE,
						   128 * PAGE, bits),
			 1);
	assert_int_equal(bits[1], 1);
	give_up_now(&w, base, chunk - PAGE);
	assert_int_equal(
		viommu_memory_write(mem_of(&w), base + chunk - 1, "a", 1), 0);
	assert_int_equal(viommu_memory_dirty_fetch(mem_of(&w),
						   base + chunk - 64 * PAGE,
						   64 * PAGE, bits),
			 1);
	give_up_now(&w, base, 3 * chunk);
	viommu_fence_init(&f);
	viommu_memory_dirty_stop(mem_of(&w), &f);
	fence_run(&f);
	world_free(&w);
	munmap(big, 3 * chunk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(out_of_the_middle),
		cmocka_unit_test(at_the_edges),
		cmocka_unit_test(all_of_it),
		cmocka_unit_test(several_regions_and_holes),
		cmocka_unit_test(the_rest_of_a_device),
		cmocka_unit_test(the_rest_of_a_file),
		cmocka_unit_test(the_hole_can_be_filled),
		cmocka_unit_test(what_cannot_be_is_refused),
		cmocka_unit_test(maps_of_other_pages_go_on),
		cmocka_unit_test(maps_of_these_pages_are_waited_for),
		cmocka_unit_test(pages_that_go_already_are_waited_for),
		cmocka_unit_test(maps_are_asked_for_what_goes),
		cmocka_unit_test(scattered_maps_are_asked),
		cmocka_unit_test(a_fence_that_takes_more_than_one),
		cmocka_unit_test(an_unmap_tells_too),
		cmocka_unit_test(windows_look_again),
		cmocka_unit_test(the_log_keeps_the_rest),
		cmocka_unit_test(the_log_is_cut_where_it_has_chunks),
	};

	return cmocka_run_group_tests_name("give_up", tests, NULL, NULL);
}
