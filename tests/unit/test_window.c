/* SPDX-License-Identifier: BSD-2-Clause */
/* Windows: what they remember is true, and they forget no more than they must.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <viommu/window.h>

#include "core/memory.h"
#include "core/space.h"
#include "dma/access.h"
#include "world.h"

#define PAGE UINT64_C(4096)

enum {
	RW = VIOMMU_READ | VIOMMU_WRITE,
};

static int open_rw(struct world *w, struct viommu_window *win, uint64_t iova,
		   uint64_t len)
{
	return viommu_window_open(win, w->ep, iova, len, RW);
}

static uint64_t load(struct viommu_window *win, uint64_t off, unsigned size)
{
	uint64_t val = 0;

	assert_int_equal(viommu_window_load(win, off, size, &val), 0);
	return val;
}

static int try_load(struct viommu_window *win, uint64_t off)
{
	uint64_t val;

	return viommu_window_load(win, off, 1, &val);
}

/* ---- what it is ------------------------------------------------------- */

static void bad_windows_are_refused(void **state)
{
	struct viommu_window win;
	struct world w;

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(open_rw(&w, &win, 0, 0), -EINVAL);
	assert_int_equal(open_rw(&w, &win, 1, UINT64_MAX), 0);
	assert_int_equal(open_rw(&w, &win, 2, UINT64_MAX), -EINVAL);
	assert_int_equal(viommu_window_open(&win, w.ep, 0, 1, 0), -EINVAL);
	assert_int_equal(viommu_window_open(&win, w.ep, 0, 1, RW | VIOMMU_EXEC),
			 -EINVAL);
	world_free(&w);
}

static void reads_and_writes_what_is_mapped(void **state)
{
	struct viommu_window win;
	struct viommu_stats st;
	char buf[16] = "ring";
	struct world w;

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(map_rw(&w, 0x10000, 0x11fff, 0x3000), 0);
	assert_int_equal(open_rw(&w, &win, 0x10100, 0x1000), 0);
	assert_int_equal(viommu_window_write(&win, 0xff0, buf, 16), 0);
	assert_memory_equal(w.ram + 0x40f0, "ring", 5);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(viommu_window_read(&win, 0xff0, buf, 16), 0);
	assert_string_equal(buf, "ring");
	for (unsigned size = 1; size <= 8; size *= 2) {
		uint64_t val = 0x8877665544332211 & (~0ull >> (64 - 8 * size));

		assert_int_equal(viommu_window_store(&win, 8, size, ~0ull), 0);
		assert_int_equal(viommu_window_store(&win, 8, size, val), 0);
		assert_int_equal(load(&win, 8, size), val);
		assert_int_equal(w.ram[0x3108], 0x11);
		assert_int_equal(w.ram[0x3108 + size - 1], 0x11 * size);
	}
	viommu_read_stats(w.vi, &st);
	assert_int_equal(st.accesses, 2 + 3 * 4);
	assert_int_equal(st.bytes_written, 16 + 2 * 15);
	assert_int_equal(st.bytes_read, 16 + 15);
	viommu_window_close(&win);
	world_free(&w);
}

static void nothing_outside_is_reached(void **state)
{
	struct viommu_window win;
	struct world w;
	uint64_t val;
	char buf[32];

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(map_rw(&w, 0, 0xffff, 0), 0);
	assert_int_equal(open_rw(&w, &win, 0x1000, 16), 0);
	assert_int_equal(viommu_window_read(&win, 0, buf, 16), 0);
	assert_int_equal(viommu_window_read(&win, 0, buf, 17), -ERANGE);
	assert_int_equal(viommu_window_read(&win, 1, buf, 16), -ERANGE);
	assert_int_equal(viommu_window_write(&win, 15, buf, 2), -ERANGE);
	assert_int_equal(viommu_window_write(&win, 16, buf, 1), -ERANGE);
	assert_int_equal(viommu_window_read(&win, 16, buf, 0), 0);
	assert_int_equal(viommu_window_read(&win, 17, buf, 0), -ERANGE);
	assert_int_equal(viommu_window_write(&win, 17, buf, 0), -ERANGE);
	assert_int_equal(viommu_window_write(&win, 0, buf, 0), 0);
	assert_int_equal(viommu_window_read(&win, 1, buf, SIZE_MAX), -ERANGE);
	assert_int_equal(viommu_window_read(&win, UINT64_MAX, buf, 2), -ERANGE);
	assert_int_equal(viommu_window_load(&win, 16, 8, &val), -ERANGE);
	assert_int_equal(viommu_window_store(&win, UINT64_MAX - 7, 8, 0),
			 -ERANGE);
	assert_int_equal(viommu_window_load(&win, 4, 8, &val), -EINVAL);
	assert_int_equal(viommu_window_load(&win, 0, 3, &val), -EINVAL);
	assert_int_equal(viommu_window_store(&win, 1, 2, 0), -EINVAL);
	assert_int_equal(w.nfaults, 0);
	world_free(&w);
}

static void a_window_is_for_what_it_was_opened_for(void **state)
{
	struct viommu_window rd, wr;
	struct world w;
	uint64_t val;
	char c = 0;

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	assert_int_equal(viommu_window_open(&rd, w.ep, 0, 8, VIOMMU_READ), 0);
	assert_int_equal(viommu_window_open(&wr, w.ep, 0, 8, VIOMMU_WRITE), 0);
	assert_int_equal(viommu_window_write(&rd, 0, &c, 1), -EINVAL);
	assert_int_equal(viommu_window_store(&rd, 0, 1, 1), -EINVAL);
	assert_int_equal(viommu_window_read(&wr, 0, &c, 1), -EINVAL);
	assert_int_equal(viommu_window_load(&wr, 0, 1, &val), -EINVAL);
	assert_int_equal(viommu_window_store(&wr, 0, 1, 7), 0);
	assert_int_equal(load(&rd, 0, 1), 7);
	assert_int_equal(w.nfaults, 0);
	world_free(&w);
}

static void each_access_needs_only_what_it_does(void **state)
{
	struct viommu_window win;
	struct world w;

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(map_prot(&w, 0, 0xfff, 0, VIOMMU_READ), 0);
	assert_int_equal(map_prot(&w, 0x1000, 0x1fff, 0, VIOMMU_WRITE), 0);
	assert_int_equal(open_rw(&w, &win, 0, 0x2000), 0);
	for (int i = 0; i < 2; i++) {
		w.nfaults = 0;
		assert_int_equal(try_load(&win, 0), 0);
		assert_int_equal(viommu_window_store(&win, 0, 1, 1), -EACCES);
		assert_int_equal(w.nfaults, 1);
		assert_int_equal(w.fault.reason, VIOMMU_FAULT_PERMISSION);
		assert_int_equal(w.fault.prot, VIOMMU_WRITE);
		assert_int_equal(viommu_window_store(&win, 0x1000, 1, 1), 0);
		assert_int_equal(try_load(&win, 0x1000), -EACCES);
		assert_int_equal(w.nfaults, 2);
	}
	world_free(&w);
}

static void faults_are_reported_as_ever(void **state)
{
	struct viommu_window win;
	struct viommu_fence f;
	struct world w;
	char buf[0x1800];

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(open_rw(&w, &win, 0x10000, 0x3000), 0);
	assert_int_equal(try_load(&win, 0x123), -EFAULT);
	assert_int_equal(w.nfaults, 1);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_UNMAPPED);
	assert_int_equal(w.fault.start, 0x10123);
	assert_int_equal(w.fault.last, 0x10123);
	assert_int_equal(map_rw(&w, 0x10000, 0x10fff, 0), 0);
	assert_int_equal(try_load(&win, 0x123), 0); /* it was no bad window */
	assert_int_equal(viommu_window_read(&win, 0x800, buf, 0x1000), -EFAULT);
	assert_int_equal(w.nfaults, 2);
	assert_int_equal(w.fault.start, 0x11000);
	assert_int_equal(w.fault.last, 0x117ff);
	/* GPA that is no memory */
	assert_int_equal(map_rw(&w, 0x11000, 0x11fff, WORLD_RAM), 0);
	assert_int_equal(try_load(&win, 0x1000), -EFAULT);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_MEMORY);
	assert_int_equal(w.fault.gpa, WORLD_RAM);
	viommu_fence_init(&f);
	viommu_endpoint_detach(w.ep, &f);
	fence_run(&f);
	assert_int_equal(try_load(&win, 0), -EFAULT);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_DETACHED);
	world_free(&w);
}

static void the_top_byte_is_a_byte(void **state)
{
	struct viommu_window win;
	struct world w;
	char buf[2];

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(map_rw(&w, UINT64_MAX - 0xfff, UINT64_MAX, 0), 0);
	assert_int_equal(open_rw(&w, &win, UINT64_MAX - 1, 2), 0);
	w.ram[0xffe] = 1;
	w.ram[0xfff] = 2;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(load(&win, 1, 1), 2);
		assert_int_equal(viommu_window_read(&win, 0, buf, 2), 0);
		assert_int_equal(buf[1], 2);
		assert_int_equal(viommu_window_read(&win, 1, buf, 2), -ERANGE);
	}
	world_free(&w);
}

/* ---- scattered -------------------------------------------------------- */

static void crosses_any_number_of_mappings(void **state)
{
	unsigned char buf[16 * 4096], again[sizeof(buf)];
	struct viommu_window win;
	struct world w;

	(void)state;
	world_make(&w, NULL, PAGE);
	for (uint64_t i = 0; i < 16; i++) /* odd pages backwards */
		assert_int_equal(map_rw(&w, i * PAGE, i * PAGE + 0xfff,
					(i & 1 ? 16 - i : i) * PAGE),
				 0);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (unsigned char)(i * 7 + i / 4096);
	assert_int_equal(open_rw(&w, &win, 0, sizeof(buf)), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(viommu_window_write(&win, 0, buf, sizeof(buf)),
				 0);
		assert_int_equal(
			viommu_window_read(&win, 0, again, sizeof(buf)), 0);
		assert_memory_equal(buf, again, sizeof(buf));
		for (uint64_t off = 0; off < sizeof(buf); off += 1021)
			assert_int_equal(load(&win, off, 1), buf[off]);
	}
	assert_memory_equal(w.ram + 15 * PAGE, buf + PAGE, PAGE);
	world_free(&w);
}

static void pages_that_meet_in_memory_are_one_piece(void **state)
{
	struct viommu_window win;
	struct world w;
	char buf[256];

	(void)state;
	world_make(&w, NULL, 256);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(map_rw(&w, i * 256, i * 256 + 255, i * 256),
				 0);
	w.ram[0x3ff] = 5;
	w.ram[0x400] = 6;
	assert_int_equal(open_rw(&w, &win, 0, PAGE), 0);
	assert_int_equal(load(&win, 0x800, 8), 0);
	assert_int_equal(viommu_window_read(&win, 0x3ff, buf, 256), 0);
	assert_int_equal(buf[0], 5);
	assert_int_equal(buf[1], 6);
	world_free(&w);
}

static void regions_that_meet_in_gpa_only_are_apart(void **state)
{
	struct viommu_region reg = { .size = sizeof(reg),
				     .gpa = WORLD_RAM,
				     .len = PAGE,
				     .prot = RW,
				     .fd = -1 };
	struct viommu_window win;
	struct viommu_fence f;
	struct world w;
	char buf[2];

	(void)state;
	world_make(&w, NULL, PAGE);
	reg.host = w.ram + PAGE;
	assert_int_equal(viommu_memory_add(viommu_memory_of(w.vi), &reg), 0);
	assert_int_equal(map_rw(&w, 0, 0x1fff, WORLD_RAM - PAGE), 0);
	w.ram[WORLD_RAM - 1] = 1;
	w.ram[PAGE] = 2;
	w.ram[PAGE + 9] = 3;
	assert_int_equal(open_rw(&w, &win, 0, 2 * PAGE), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(load(&win, PAGE - 1, 1), 1);
		assert_int_equal(load(&win, PAGE + 9, 1), 3);
		assert_int_equal(viommu_window_read(&win, PAGE - 1, buf, 2), 0);
		assert_int_equal(buf[0], 1);
		assert_int_equal(buf[1], 2);
	}
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(viommu_memory_of(w.vi), WORLD_RAM,
					      PAGE, &f),
			 0);
	fence_run(&f);
	world_free(&w);
}

static void words_of_several_leaves_are_words_if_they_meet(void **state)
{
	struct viommu_window win;
	struct world w;
	uint64_t val;

	(void)state;
	world_make(&w, NULL, 1);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(map_rw(&w, i, i, 0x10 + i), 0);
	for (uint64_t i = 8; i < 16; i++) /* apart */
		assert_int_equal(map_rw(&w, i, i, 0x20 + 2 * i), 0);
	assert_int_equal(map_rw(&w, 16, 23, 0x101), 0); /* odd */
	memcpy(w.ram + 0x10, "\1\2\3\4\5\6\7\10", 8);
	assert_int_equal(open_rw(&w, &win, 0, 24), 0);
	for (int i = 0; i < 4; i++) {
		if (i == 2)
			assert_int_equal(viommu_dma_enter(w.ep), 0);
		assert_int_equal(load(&win, 0, 8), 0x0807060504030201);
		assert_int_equal(viommu_window_load(&win, 8, 8, &val), -EINVAL);
		assert_int_equal(viommu_window_load(&win, 16, 8, &val),
				 -EINVAL);
		assert_int_equal(viommu_window_store(&win, 16, 8, 0), -EINVAL);
	}
	viommu_dma_exit(w.ep);
	assert_int_equal(w.nfaults, 0);
	world_free(&w);
}

/* ---- what is true ----------------------------------------------------- */

static void what_was_taken_is_gone(void **state) /* L2 */
{
	struct viommu_window win;
	struct world w;

	(void)state;
	world_make(&w, NULL, PAGE);
	for (int burst = 0; burst < 2; burst++) {
		assert_int_equal(map_rw(&w, 0, 0xfff, 0x1000), 0);
		assert_int_equal(open_rw(&w, &win, 0, PAGE), 0);
		assert_int_equal(viommu_window_store(&win, 0, 8, 77), 0);
		assert_int_equal(load(&win, 0, 8), 77);
		if (burst)
			assert_int_equal(viommu_dma_enter(w.ep), 0);
		assert_int_equal(load(&win, 0, 8), 77);
		if (burst) { /* our own burst would be waited for */
			struct viommu_fence f;

			viommu_fence_init(&f);
			assert_int_equal(
				viommu_space_unmap(w.space, 0, 0xfff, &f),
				0x1000);
			viommu_fence_commit(&f, NULL, NULL);
			assert_int_equal(try_load(&win, 0), -EFAULT);
			assert_false(viommu_fence_done(&f));
			viommu_dma_exit(w.ep);
			assert_true(viommu_fence_done(&f));
		} else {
			assert_int_equal(unmap(&w, 0, 0xfff), 0x1000);
		}
		assert_int_equal(try_load(&win, 0), -EFAULT);
		assert_int_equal(viommu_window_store(&win, 0, 8, 1), -EFAULT);
		w.ram[0x2000] = 42;
		assert_int_equal(map_rw(&w, 0, 0xfff, 0x2000), 0);
		assert_int_equal(load(&win, 0, 8), 42);
		assert_int_equal(unmap(&w, 0, 0xfff), 0x1000);
	}
	world_free(&w);
}

static void an_open_window_holds_up_no_fence(void **state) /* L6 */
{
	struct viommu_window win;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	assert_int_equal(open_rw(&w, &win, 0, PAGE), 0);
	assert_int_equal(try_load(&win, 0), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0xfff, &f), 0x1000);
	viommu_fence_commit(&f, NULL, NULL);
	assert_true(viommu_fence_done(&f));
	world_free(&w);
}

static void memory_that_was_removed_is_gone(void **state)
{
	struct viommu_memory *mem;
	struct viommu_window win;
	struct viommu_region r = {
		.size = sizeof(r), .len = WORLD_RAM, .prot = RW, .fd = -1
	};
	struct viommu_fence f;
	struct world w;
	char *other = calloc(1, WORLD_RAM);

	(void)state;
	world_make(&w, NULL, PAGE);
	mem = viommu_memory_of(w.vi);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	assert_int_equal(open_rw(&w, &win, 0, PAGE), 0);
	assert_int_equal(try_load(&win, 0), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem, 0, WORLD_RAM, &f), 0);
	fence_run(&f);
	assert_int_equal(try_load(&win, 0), -EFAULT);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_MEMORY);
	r.host = other;
	other[0] = 9;
	assert_int_equal(viommu_memory_add(mem, &r), 0);
	assert_int_equal(load(&win, 0, 1), 9);
	world_free(&w);
	free(other);
}

static void another_space_is_seen_at_once(void **state) /* L7 */
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = PAGE };
	struct viommu_mapping m = { .last = 0xfff, .prot = RW };
	struct viommu_space *s[2];
	struct viommu_window win;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(open_rw(&w, &win, 0, PAGE), 0);
	for (int i = 0; i < 2; i++) {
		w.ram[i * PAGE] = (unsigned char)(1 + i);
		m.gpa = (uint64_t)i * PAGE;
		assert_int_equal(viommu_space_create(w.vi, &sc, &s[i]), 0);
		assert_int_equal(viommu_space_map(s[i], &m), 0);
	}
	for (int i = 0; i < 6; i++) {
		viommu_fence_init(&f);
		assert_int_equal(viommu_endpoint_attach(w.ep, s[i & 1], &f), 0);
		fence_run(&f);
		assert_int_equal(load(&win, 0, 1), 1 + (i & 1));
	}
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	for (int i = 0; i < 6; i++) {
		viommu_fence_init(&f);
		assert_int_equal(viommu_endpoint_attach(w.ep, s[i & 1], &f), 0);
		assert_int_equal(load(&win, 0, 1), 1 + (i & 1));
		fence_run(&f); /* the burst has moved on */
	}
	viommu_dma_exit(w.ep);
	viommu_fence_init(&f);
	viommu_space_destroy(s[0], &f);
	viommu_space_destroy(s[1], &f);
	fence_run(&f);
	world_free(&w);
}

static void a_space_in_the_place_of_another_is_another(void **state)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = PAGE };
	struct viommu_mapping m = { .last = 0xfff, .prot = RW };
	struct viommu_window win;
	struct viommu_space *s;
	struct viommu_fence f;
	unsigned same = 0;
	uintptr_t was = 0;
	struct world w;

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(open_rw(&w, &win, 0, PAGE), 0);
	for (unsigned i = 0; i < 16; i++) {
		w.ram[i * PAGE] = (unsigned char)(1 + i);
		m.gpa = i * PAGE;
		assert_int_equal(viommu_space_create(w.vi, &sc, &s), 0);
		same += (uintptr_t)s == was;
		was = (uintptr_t)s;
		assert_int_equal(viommu_space_map(s, &m), 0);
		viommu_fence_init(&f);
		assert_int_equal(viommu_endpoint_attach(w.ep, s, &f), 0);
		fence_run(&f);
		assert_int_equal(load(&win, 0, 1), 1 + i);
		viommu_fence_init(&f);
		viommu_space_destroy(s, &f);
		fence_run(&f);
		assert_int_equal(try_load(&win, 0), -EFAULT);
	}
	print_message("# %u of 15 at the address of the former\n", same);
	world_free(&w);
}

static void bypass_has_windows_too(void **state)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_IDENTITY,
					  .page_sizes = PAGE };
	struct viommu_window win;
	struct viommu_space *s;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(viommu_space_create(w.vi, &sc, &s), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w.ep, s, &f), 0);
	fence_run(&f);
	assert_int_equal(open_rw(&w, &win, WORLD_RAM - 8, 16), 0);
	w.ram[WORLD_RAM - 1] = 3;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(load(&win, 7, 1), 3);
		assert_int_equal(try_load(&win, 8), -EFAULT);
		assert_int_equal(w.fault.reason, VIOMMU_FAULT_MEMORY);
	}
	viommu_fence_init(&f);
	viommu_space_destroy(s, &f);
	fence_run(&f);
	world_free(&w);
}

/* The dirty pages of GPA 0 and up, which are then clean. */
static uint64_t dirty(struct world *w)
{
	uint64_t bits = 0;

	assert_true(viommu_memory_dirty_fetch(viommu_memory_of(w->vi), 0,
					      WORLD_RAM, &bits) >= 0);
	return bits;
}

static void what_is_written_is_logged(void **state)
{
	struct viommu_window win;
	struct viommu_fence f;
	struct world w;
	char buf[8] = "";

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0x3000), 0);
	assert_int_equal(map_rw(&w, 0x1000, 0x1fff, 0x5000), 0);
	assert_int_equal(open_rw(&w, &win, 0, 2 * PAGE), 0);
	viommu_fence_init(&f);
	assert_int_equal(
		viommu_memory_dirty_start(viommu_memory_of(w.vi), 0, &f), 0);
	fence_run(&f);
	for (int burst = 0; burst < 2; burst++) {
		if (burst)
			assert_int_equal(viommu_dma_enter(w.ep), 0);
		assert_int_equal(load(&win, PAGE, 8), 0);
		assert_int_equal(viommu_window_read(&win, 0, buf, 8), 0);
		assert_int_equal(dirty(&w), 0);
		assert_int_equal(viommu_window_store(&win, PAGE + 8, 8, 1), 0);
		assert_int_equal(dirty(&w), 1 << 5);
		assert_int_equal(viommu_window_write(&win, 64, buf, 8), 0);
		assert_int_equal(dirty(&w), 1 << 3);
		assert_int_equal(viommu_window_write(&win, PAGE - 4, buf, 8),
				 0);
		assert_int_equal(dirty(&w), 1 << 3 | 1 << 5);
		if (burst)
			viommu_dma_exit(w.ep);
	}
	viommu_fence_init(&f);
	viommu_memory_dirty_stop(viommu_memory_of(w.vi), &f);
	fence_run(&f);
	world_free(&w);
}

/* ---- REMOTE ----------------------------------------------------------- */

static void note_miss(void *arg, const struct viommu_miss *m)
{
	struct viommu_miss *last = arg;

	*last = *m;
}

static void pages_beside_a_taken_one_are_not_asked_for(void **state)
{
	struct viommu_miss miss = { 0 };
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_REMOTE,
					  .page_sizes = PAGE,
					  .miss = note_miss,
					  .arg = &miss };
	struct viommu_mapping m = { .prot = RW };
	struct viommu_window win, other;
	struct viommu_stats st;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, NULL, PAGE);
	viommu_fence_init(&f);
	viommu_space_destroy(w.space, &f);
	assert_int_equal(viommu_space_create(w.vi, &sc, &w.space), 0);
	assert_int_equal(viommu_endpoint_attach(w.ep, w.space, &f), 0);
	fence_run(&f);
	for (m.start = 0; m.start < 16 * PAGE; m.start += PAGE) {
		m.last = m.start + 0xfff;
		m.gpa = m.start;
		assert_int_equal(viommu_space_map(w.space, &m), 0);
	}
	assert_int_equal(open_rw(&w, &win, 0, 16 * PAGE), 0);
	assert_int_equal(open_rw(&w, &other, 8 * PAGE, PAGE), 0);
	assert_int_equal(try_load(&win, 0), 0);
	assert_int_equal(try_load(&other, 0), 0);
	assert_int_equal(unmap(&w, 5 * PAGE, 5 * PAGE + 0xfff), PAGE);
	for (uint64_t i = 0; i < 16; i++)
		if (i != 5)
			assert_int_equal(try_load(&win, i * PAGE + i), 0);
	assert_int_equal(try_load(&other, 0), 0);
	viommu_read_stats(w.vi, &st);
	assert_int_equal(st.misses, 0);
	assert_int_equal(try_load(&win, 5 * PAGE + 77), -EINPROGRESS);
	assert_int_equal(viommu_window_store(&win, 5 * PAGE, 8, 0),
			 -EINPROGRESS);
	viommu_read_stats(w.vi, &st);
	assert_int_equal(st.misses, 1);
	assert_int_equal(miss.start, 5 * PAGE);
	assert_int_equal(miss.prot, VIOMMU_READ);
	m.start = m.gpa = 5 * PAGE;
	m.last = m.start + 0xfff;
	assert_int_equal(viommu_space_map(w.space, &m), 0);
	assert_int_equal(try_load(&win, 5 * PAGE + 77), 0);
	assert_int_equal(w.nfaults, 0);
	world_free(&w);
}

/* ---- it does remember ------------------------------------------------- */

/* A table without an entry for what is remembered: only a walk would see it. */
static void a_warm_window_walks_no_table(void **state)
{
	struct viommu_window win;
	struct vi_retire *gone = NULL;
	struct vi_removed removed = { 0 };
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, NULL, PAGE);
	assert_int_equal(map_rw(&w, 0, 0xffff, 0), 0);
	assert_int_equal(open_rw(&w, &win, 0, 16 * PAGE), 0);
	w.ram[0x1234] = 1;
	assert_int_equal(load(&win, 0x1234, 1), 1);
	vi_lock(&w.space->lock);
	vi_radix_unmap(&w.space->table, 0, 0xffff, &gone, &removed);
	vi_unlock(&w.space->lock);
	for (int burst = 0; burst < 2; burst++) {
		if (burst)
			assert_int_equal(viommu_dma_enter(w.ep), 0);
		/* also where it has not been before, in the same leaf */
		assert_int_equal(load(&win, 0x1234, 1), 1);
		assert_int_equal(viommu_window_store(&win, 0x1000, 8, 0), 0);
		if (burst)
			viommu_dma_exit(w.ep);
	}
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0xfff, &f), 0);
	fence_run(&f);
	atomic_fetch_add(&w.space->generation, 1);
	assert_int_equal(try_load(&win, 0x1234), -EFAULT);
	vi_retire_free(gone);
	assert_int_equal(map_rw(&w, 0, 0xffff, 0), 0);
	assert_int_equal(unmap(&w, 0, 0xffff), 0x10000);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_windows_are_refused),
		cmocka_unit_test(reads_and_writes_what_is_mapped),
		cmocka_unit_test(nothing_outside_is_reached),
		cmocka_unit_test(a_window_is_for_what_it_was_opened_for),
		cmocka_unit_test(each_access_needs_only_what_it_does),
		cmocka_unit_test(faults_are_reported_as_ever),
		cmocka_unit_test(the_top_byte_is_a_byte),
		cmocka_unit_test(crosses_any_number_of_mappings),
		cmocka_unit_test(pages_that_meet_in_memory_are_one_piece),
		cmocka_unit_test(regions_that_meet_in_gpa_only_are_apart),
		cmocka_unit_test(
			words_of_several_leaves_are_words_if_they_meet),
		cmocka_unit_test(what_was_taken_is_gone),
		cmocka_unit_test(an_open_window_holds_up_no_fence),
		cmocka_unit_test(memory_that_was_removed_is_gone),
		cmocka_unit_test(another_space_is_seen_at_once),
		cmocka_unit_test(a_space_in_the_place_of_another_is_another),
		cmocka_unit_test(bypass_has_windows_too),
		cmocka_unit_test(what_is_written_is_logged),
		cmocka_unit_test(pages_beside_a_taken_one_are_not_asked_for),
		cmocka_unit_test(a_warm_window_walks_no_table),
	};

	return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
