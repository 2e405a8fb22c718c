/* SPDX-License-Identifier: BSD-2-Clause */
/* Regions that are devices: DMA from one to the other. */
#include <pthread.h>
#include <semaphore.h>
#include <viommu/window.h>

#include "device.h"
#include "world.h"

enum {
	RW = VIOMMU_READ | VIOMMU_WRITE,
	PAGE = 4096,
	DEV = 0x100000, /* GPA of the device, three pages */
	LEN = 0x3000,
	OFFSET = 0x800, /* its first byte's */
};

static struct toy toy;

static struct viommu_memory *mem_of(const struct world *w)
{
	return viommu_memory_of(w->vi);
}

static int device_add(const struct world *w, uint64_t gpa, uint64_t len,
		      const struct viommu_device_ops *ops, uint32_t prot)
{
	struct viommu_region r = toy_region(&toy, gpa, len, OFFSET);

	r.device = ops;
	r.prot = prot;
	return viommu_memory_add(mem_of(w), &r);
}

/* IOVA 0x10000: a page of RAM, three of the device's, a page of RAM. */
static void setup(struct world *w, const struct viommu_device_ops *ops,
		  uint32_t prot)
{
	memset(&toy, 0, sizeof(toy));
	for (unsigned i = 0; i < TOY_BYTES; i++)
		toy.mem[i] = (unsigned char)(i / 5);
	world_make(w, NULL, PAGE);
	assert_int_equal(device_add(w, DEV, LEN, ops, prot), 0);
	assert_int_equal(map_rw(w, 0x10000, 0x10fff, 0x1000), 0);
	assert_int_equal(map_rw(w, 0x11000, 0x13fff, DEV), 0);
	assert_int_equal(map_rw(w, 0x14000, 0x14fff, 0x2000), 0);
}

static void remove_device(struct world *w)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem_of(w), DEV, LEN, &f), 0);
	fence_run(&f);
}

/* ---- accesses --------------------------------------------------------- */

static void bytes_are_the_devices(void **state)
{
	unsigned char buf[3 * PAGE];
	struct world w;

	(void)state;
	setup(&w, &toy_ops, RW);
	assert_int_equal(viommu_dma_read(w.ep, 0x11003, buf, 0x2001), 0);
	assert_memory_equal(buf, toy.mem + OFFSET + 3, 0x2001);
	/* as the mapping's leaves are */
	assert_int_equal(toy.reads, 3);
	assert_int_equal(toy.offset, OFFSET + 0x2000);
	assert_int_equal(toy.len, 4);
	assert_int_equal(viommu_dma_write(w.ep, 0x13ffd, "abc", 3), 0);
	assert_memory_equal(toy.mem + OFFSET + LEN - 3, "abc", 3);
	assert_int_equal(toy.offset, OFFSET + LEN - 3);
	assert_int_equal(toy.writes, 1);
	assert_int_equal(viommu_dma_read(w.ep, 0x11000, buf, 0), 0);
	assert_int_equal(toy.reads, 3);
	assert_int_equal(toy.loads + toy.stores, 0);
	world_free(&w);
}

static void words_are_the_devices(void **state)
{
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w, &toy_ops, RW);
	for (unsigned size = 1; size <= 8; size *= 2) {
		const uint64_t at = 0x12000 + 8 * size;
		const uint64_t want =
			UINT64_C(0x8877665544332211) >> (64 - 8 * size);

		assert_int_equal(
			viommu_dma_store(w.ep, at, size,
					 0x8877665544332211 >> (64 - 8 * size)),
			0);
		assert_int_equal(toy.len, size);
		assert_int_equal(toy.offset, OFFSET + (at - 0x11000));
		assert_int_equal(toy.val, want);
		assert_int_equal(toy.mem[toy.offset], want & 0xff);
		assert_int_equal(viommu_dma_load(w.ep, at, size, &val), 0);
		assert_int_equal(val, want);
	}
	assert_int_equal(toy.loads, 4);
	assert_int_equal(toy.stores, 4);
	assert_int_equal(toy.reads + toy.writes, 0);
	/* no words */
	assert_int_equal(viommu_dma_load(w.ep, 0x11001, 2, &val), -EINVAL);
	assert_int_equal(viommu_dma_load(w.ep, 0x11000, 3, &val), -EINVAL);
	assert_int_equal(toy.loads, 4);
	assert_int_equal(w.nfaults, 0);
	world_free(&w);
}

/* In memory words are little-endian; where only bytes go, so do they. */
static void bytes_stand_for_words(void **state)
{
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w, &toy_bytes, RW);
	assert_int_equal(viommu_dma_store(w.ep, 0x11010, 4, 0x44332211), 0);
	assert_int_equal(toy.writes, 1);
	assert_int_equal(toy.len, 4);
	assert_memory_equal(toy.mem + OFFSET + 0x10, "\x11\x22\x33\x44", 4);
	assert_int_equal(viommu_dma_load(w.ep, 0x11010, 2, &val), 0);
	assert_int_equal(val, 0x2211);
	assert_int_equal(toy.reads, 1);
	assert_int_equal(toy.len, 2);
	assert_int_equal(viommu_dma_load(w.ep, 0x11010, 8, &val), 0);
	assert_int_equal((uint32_t)val, 0x44332211);
	world_free(&w);
}

static void words_stand_for_bytes(void **state)
{
	unsigned char buf[16];
	struct world w;

	(void)state;
	setup(&w, &toy_words, RW);
	/* at 1: 1, 2, 4, 8 */
	assert_int_equal(viommu_dma_write(w.ep, 0x11001, "abcdefghijklmno", 15),
			 0);
	assert_int_equal(toy.stores, 4);
	assert_int_equal(toy.offset, OFFSET + 8);
	assert_int_equal(toy.len, 8);
	assert_int_equal(toy.val, UINT64_C(0x6f6e6d6c6b6a6968));
	assert_memory_equal(toy.mem + OFFSET + 1, "abcdefghijklmno", 15);
	/* at 8: 4, 2, 1 */
	assert_int_equal(viommu_dma_read(w.ep, 0x11008, buf, 7), 0);
	assert_memory_equal(buf, "hijklmn", 7);
	assert_int_equal(toy.loads, 3);
	assert_int_equal(toy.offset, OFFSET + 14);
	assert_int_equal(toy.len, 1);
	world_free(&w);
}

/* The device's offsets say what a word is, not its GPA. */
static void a_word_is_aligned_in_the_device(void **state)
{
	struct viommu_region r = toy_region(&toy, DEV + LEN, PAGE, 0x801);
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w, &toy_ops, RW);
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), 0);
	assert_int_equal(map_rw(&w, 0x20000, 0x20fff, DEV + LEN), 0);
	assert_int_equal(viommu_dma_load(w.ep, 0x20000, 8, &val), -EINVAL);
	assert_int_equal(viommu_dma_store(w.ep, 0x20000, 2, 1), -EINVAL);
	assert_int_equal(viommu_dma_load(w.ep, 0x20000, 1, &val), 0);
	assert_int_equal(viommu_dma_read(w.ep, 0x20000, &val, 8), 0);
	assert_int_equal(toy.loads + toy.stores, 1);
	assert_int_equal(w.nfaults, 0);
	world_free(&w);
}

static void one_access_crosses_all(void **state)
{
	unsigned char buf[5 * PAGE], want[5 * PAGE];
	struct world w;

	(void)state;
	setup(&w, &toy_ops, RW);
	memset(w.ram + 0x1000, 'a', PAGE);
	memset(w.ram + 0x2000, 'z', PAGE);
	memset(want, 'a', PAGE);
	memcpy(want + PAGE, toy.mem + OFFSET, LEN);
	memset(want + PAGE + LEN, 'z', PAGE);
	assert_int_equal(viommu_dma_read(w.ep, 0x10000, buf, sizeof(buf)), 0);
	assert_memory_equal(buf, want, sizeof(buf));
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (unsigned char)(i / 3);
	assert_int_equal(viommu_dma_write(w.ep, 0x10000, buf, sizeof(buf)), 0);
	assert_memory_equal(w.ram + 0x1000, buf, PAGE);
	assert_memory_equal(toy.mem + OFFSET, buf + PAGE, LEN);
	assert_memory_equal(w.ram + 0x2000, buf + PAGE + LEN, PAGE);
	world_free(&w);
}

/* Mappings as fine as bytes: from one device to two places in it. */
static void mappings_lead_anywhere_in_it(void **state)
{
	struct viommu_space_config sc = { .size = sizeof(sc), .page_sizes = 1 };
	struct viommu_space *s;
	struct viommu_fence f;
	unsigned char buf[8];
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w, &toy_ops, RW);
	assert_int_equal(viommu_space_create(w.vi, &sc, &s), 0);
	assert_int_equal(
		viommu_space_map(s,
				 &(struct viommu_mapping){ .start = 8,
							   .last = 11,
							   .gpa = DEV + 0x105,
							   .prot = RW }),
		0);
	assert_int_equal(
		viommu_space_map(s, &(struct viommu_mapping){ .start = 12,
							      .last = 15,
							      .gpa = DEV + 0x10,
							      .prot = RW }),
		0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w.ep, s, &f), 0);
	fence_run(&f);
	assert_int_equal(viommu_dma_read(w.ep, 8, buf, 8), 0);
	assert_memory_equal(buf, toy.mem + OFFSET + 0x105, 4);
	assert_memory_equal(buf + 4, toy.mem + OFFSET + 0x10, 4);
	/* in two places it is no word */
	assert_int_equal(viommu_dma_load(w.ep, 8, 8, &val), -EINVAL);
	assert_int_equal(viommu_dma_load(w.ep, 12, 4, &val), 0);
	assert_int_equal(viommu_dma_load(w.ep, 8, 4, &val), -EINVAL);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w.ep, w.space, &f), 0);
	viommu_space_destroy(s, &f);
	fence_run(&f);
	world_free(&w);
}

static void windows_and_bursts_reach_it(void **state)
{
	struct viommu_window win;
	unsigned char buf[8];
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w, &toy_ops, RW);
	assert_int_equal(viommu_window_open(&win, w.ep, 0x10000, 5 * PAGE, RW),
			 0);
	for (int burst = 0; burst < 2; burst++) {
		if (burst)
			assert_int_equal(viommu_dma_enter(w.ep), 0);
		toy.loads = toy.stores = toy.reads = toy.writes = 0;
		assert_int_equal(
			viommu_window_store(&win, 0x1010, 8, 7 + burst), 0);
		assert_int_equal(toy.mem[OFFSET + 0x10], 7 + burst);
		assert_int_equal(viommu_window_load(&win, 0x1010, 8, &val), 0);
		assert_int_equal(val, 7 + burst);
		assert_int_equal(
			viommu_window_write(&win, 0xffc, "01234567", 8), 0);
		assert_memory_equal(w.ram + 0x1ffc, "0123", 4);
		assert_memory_equal(toy.mem + OFFSET, "4567", 4);
		assert_int_equal(viommu_window_read(&win, 0xffc, buf, 8), 0);
		assert_memory_equal(buf, "01234567", 8);
		assert_int_equal(viommu_dma_store(w.ep, 0x11018, 4, 9), 0);
		assert_int_equal(viommu_dma_load(w.ep, 0x11018, 4, &val), 0);
		assert_int_equal(val, 9);
		assert_int_equal(viommu_dma_write(w.ep, 0x11020, "x", 1), 0);
		assert_int_equal(toy.loads, 2);
		assert_int_equal(toy.stores, 2);
		assert_int_equal(toy.reads, 1);
		assert_int_equal(toy.writes, 2);
		memset(w.ram + 0x1ffc, 0, 4);
		if (burst)
			viommu_dma_exit(w.ep);
	}
	remove_device(&w);
	assert_int_equal(viommu_window_load(&win, 0x1010, 8, &val), -EFAULT);
	viommu_window_close(&win);
	world_free(&w);
}

static void untranslated_accesses_reach_it(void **state)
{
	unsigned char buf[16];
	struct world w;

	(void)state;
	setup(&w, &toy_ops, RW);
	assert_int_equal(viommu_memory_write(mem_of(&w), DEV + 5, "hello", 5),
			 0);
	assert_memory_equal(toy.mem + OFFSET + 5, "hello", 5);
	assert_int_equal(viommu_memory_read(mem_of(&w), DEV + 5, buf, 5), 0);
	assert_memory_equal(buf, "hello", 5);
	/* up to the edge, and not beyond */
	assert_int_equal(
		viommu_memory_write(mem_of(&w), DEV + LEN - 2, "ab", 2), 0);
	toy.writes = 0;
	assert_int_equal(
		viommu_memory_write(mem_of(&w), DEV + LEN - 2, "cd!", 3),
		-EFAULT);
	assert_int_equal(toy.writes, 0);
	toy.rc = -EPERM;
	assert_int_equal(viommu_memory_read(mem_of(&w), DEV, buf, 1), -EFAULT);
	assert_int_equal(viommu_memory_write(mem_of(&w), DEV, buf, 1), -EFAULT);
	world_free(&w);
}

/* ---- what it does not do ---------------------------------------------- */

static void no_pointer_leads_there(void **state)
{
	struct iovec iov[8];
	struct viommu_dma d = { .len = PAGE, .iov = iov, .max_iov = 8 };
	struct viommu_stats st;
	struct viommu_fence f;
	struct world w;
	uint64_t old = 0;

	(void)state;
	setup(&w, &toy_ops, RW);
	d.ep = w.ep;
	for (uint32_t prot = 1; prot <= RW; prot++) {
		d.prot = prot;
		d.iova = 0x11000;
		d.len = 8;
		assert_int_equal(viommu_dma_map(&d), -ENODEV);
		d.iova = 0x10ff8; /* begins in RAM */
		d.len = 16;
		assert_int_equal(viommu_dma_map(&d), -ENODEV);
		d.iova = 0x13ff8; /* ends there */
		assert_int_equal(viommu_dma_map(&d), -ENODEV);
	}
	for (unsigned size = 1; size <= 8; size *= 2)
		assert_int_equal(viommu_dma_cas(w.ep, 0x11000, size, &old, 1),
				 -ENODEV);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	assert_int_equal(viommu_dma_cas(w.ep, 0x11000, 8, &old, 1), -ENODEV);
	viommu_dma_exit(w.ep);
	assert_int_equal(w.nfaults, 0);
	assert_int_equal(toy.loads + toy.stores + toy.reads + toy.writes, 0);
	/* nor is anything left behind */
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem_of(&w), 0, 0, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_true(viommu_fence_done(&f));
	viommu_read_stats(w.vi, &st);
	assert_int_equal(st.fences_waited, 0);
	world_free(&w);
}

static void assert_fault(const struct world *w, unsigned n, uint64_t start,
			 uint64_t last, uint32_t prot)
{
	assert_int_equal(w->nfaults, n);
	assert_int_equal(w->fault.start, start);
	assert_int_equal(w->fault.last, last);
	assert_int_equal(w->fault.prot, prot);
	assert_int_equal(w->fault.reason, VIOMMU_FAULT_MEMORY);
}

static void a_device_refuses(void **state)
{
	unsigned char buf[5 * PAGE];
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w, &toy_ops, RW);
	toy.rc = -EPERM;
	assert_int_equal(viommu_dma_read(w.ep, 0x11004, buf, 4), -EFAULT);
	assert_fault(&w, 1, 0x11004, 0x11007, VIOMMU_READ);
	assert_int_equal(w.fault.gpa, DEV + 4);
	assert_int_equal(viommu_dma_write(w.ep, 0x11004, buf, 4), -EFAULT);
	assert_fault(&w, 2, 0x11004, 0x11007, VIOMMU_WRITE);
	assert_int_equal(viommu_dma_load(w.ep, 0x11008, 8, &val), -EFAULT);
	assert_fault(&w, 3, 0x11008, 0x1100f, VIOMMU_READ);
	assert_int_equal(viommu_dma_store(w.ep, 0x11008, 8, 1), -EFAULT);
	assert_fault(&w, 4, 0x11008, 0x1100f, VIOMMU_WRITE);
	toy.rc = 1; /* any answer but 0 */
	assert_int_equal(viommu_dma_load(w.ep, 0x11008, 8, &val), -EFAULT);
	/* the part that it refused */
	assert_int_equal(viommu_dma_read(w.ep, 0x10000, buf, sizeof(buf)),
			 -EFAULT);
	assert_fault(&w, 6, 0x11000, 0x11fff, VIOMMU_READ);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	assert_int_equal(viommu_dma_store(w.ep, 0x11008, 8, 1), -EFAULT);
	viommu_dma_exit(w.ep);
	assert_fault(&w, 7, 0x11008, 0x1100f, VIOMMU_WRITE);
	toy.rc = 0;
	assert_int_equal(viommu_dma_store(w.ep, 0x11008, 8, 1), 0);
	world_free(&w);
}

static void the_region_says_what_may_be_done(void **state)
{
	static const struct viommu_device_ops out = { .size = sizeof(out),
						      .read = toy_read };
	unsigned char buf[5 * PAGE] = "x";
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w, &out, VIOMMU_READ);
	assert_int_equal(viommu_dma_load(w.ep, 0x11000, 8, &val), 0);
	assert_int_equal(viommu_dma_store(w.ep, 0x11000, 8, 1), -EACCES);
	assert_fault(&w, 1, 0x11000, 0x11007, VIOMMU_WRITE);
	w.ram[0x1fff] = 'r';
	assert_int_equal(viommu_dma_write(w.ep, 0x10fff, buf, 0x4001), -EACCES);
	assert_fault(&w, 2, 0x11000, 0x13fff, VIOMMU_WRITE);
	assert_int_equal(w.fault.gpa, DEV);
	assert_int_equal(w.ram[0x1fff], 'r'); /* nothing was written */
	assert_int_equal(viommu_memory_write(mem_of(&w), DEV, buf, 1), -EACCES);
	assert_int_equal(viommu_dma_cas(w.ep, 0x11000, 8, &val, 1), -EACCES);
	world_free(&w);

	setup(&w, &toy_ops, VIOMMU_WRITE);
	assert_int_equal(viommu_dma_store(w.ep, 0x11000, 8, 1), 0);
	assert_int_equal(viommu_dma_read(w.ep, 0x11000, buf, 8), -EACCES);
	assert_fault(&w, 1, 0x11000, 0x11007, VIOMMU_READ);
	assert_int_equal(viommu_memory_read(mem_of(&w), DEV, buf, 1), -EFAULT);
	assert_int_equal(toy.reads + toy.loads, 0);
	world_free(&w);
}

static void the_mapping_says_what_may_be_done(void **state)
{
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w, &toy_ops, RW);
	assert_int_equal(map_prot(&w, 0x20000, 0x20fff, DEV, VIOMMU_READ), 0);
	assert_int_equal(viommu_dma_load(w.ep, 0x20000, 8, &val), 0);
	assert_int_equal(viommu_dma_store(w.ep, 0x20000, 8, 1), -EACCES);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_PERMISSION);
	assert_int_equal(viommu_dma_cas(w.ep, 0x20000, 8, &val, 1), -EACCES);
	assert_int_equal(toy.stores, 0);
	world_free(&w);
}

/* ---- going ------------------------------------------------------------ */

struct access {
	struct world *w;
	pthread_t thread;
	sem_t inside, go_on;
	bool untranslated;
	int rc;
};

static void stay(struct toy *t)
{
	struct access *a = t->arg;

	sem_post(&a->inside);
	sem_wait(&a->go_on);
}

static void *access_run(void *arg)
{
	struct access *a = arg;
	uint64_t val;

	a->rc = a->untranslated ? viommu_memory_read(mem_of(a->w), DEV, &val, 8)
				: viommu_dma_load(a->w->ep, 0x11000, 8, &val);
	return NULL;
}

/* The call is the access: a fence waits for it. */
static void a_fence_waits_for_the_call(void **state)
{
	struct access a;
	struct viommu_fence f;
	struct world w;

	(void)state;
	for (int how = 0; how < 4; how++) {
		setup(&w, &toy_ops, RW);
		a = (struct access){ .w = &w, .untranslated = how == 3 };
		sem_init(&a.inside, 0, 0);
		sem_init(&a.go_on, 0, 0);
		toy.during = stay;
		toy.arg = &a;
		pthread_create(&a.thread, NULL, access_run, &a);
		sem_wait(&a.inside);
		viommu_fence_init(&f);
		if (how == 1)
			assert_int_equal(viommu_space_unmap(w.space, 0x11000,
							    0x13fff, &f),
					 LEN);
		else if (how == 2)
			assert_int_equal(
				viommu_memory_give_up(mem_of(&w), DEV, 8, &f),
				0);
		else
			assert_int_equal(
				viommu_memory_remove(mem_of(&w), DEV, LEN, &f),
				0);
		viommu_fence_commit(&f, NULL, NULL);
		assert_false(viommu_fence_done(&f));
		sem_post(&a.go_on);
		pthread_join(a.thread, NULL);
		assert_int_equal(a.rc, 0);
		assert_true(viommu_fence_done(&f));
		sem_destroy(&a.inside);
		sem_destroy(&a.go_on);
		world_free(&w);
	}
}

/* ---- devices that do DMA ---------------------------------------------- */

struct deep {
	struct world *w;
	unsigned depth, most;
	int rc; /* of the innermost */
};

static void nest(struct toy *t)
{
	struct deep *d = t->arg;
	uint64_t val;

	d->depth++;
	if (d->depth > d->most)
		d->most = d->depth;
	d->rc = viommu_dma_load(d->w->ep, 0x11000, 8, &val);
	if (d->rc)
		t->during = NULL;
	d->depth--;
}

static void devices_nest_four_deep(void **state)
{
	struct deep d = { 0 };
	struct world w;
	uint64_t val;
	char c;

	(void)state;
	setup(&w, &toy_ops, RW);
	d.w = &w;
	toy.arg = &d;
	for (int how = 0; how < 4; how++) {
		d.most = 0;
		toy.during = nest;
		if (how == 0)
			assert_int_equal(
				viommu_dma_load(w.ep, 0x11000, 8, &val), 0);
		else if (how == 1)
			assert_int_equal(
				viommu_dma_write(w.ep, 0x11000, "x", 1), 0);
		else if (how == 2)
			assert_int_equal(
				viommu_memory_read(mem_of(&w), DEV, &c, 1), 0);
		else
			assert_int_equal(viommu_dma_store(w.ep, 0x11000, 8, 1),
					 0);
		assert_int_equal(d.most, 4);
		assert_int_equal(d.rc, 0);
		assert_int_equal(d.depth, 0);
	}
	assert_int_equal(w.nfaults, 0);
	world_free(&w);
}

/* The fifth is told so, by whatever way it comes. */
static void too_deep(struct toy *t)
{
	struct deep *d = t->arg;
	struct viommu_endpoint *ep = d->w->ep;
	struct viommu_window win;
	uint64_t val;
	char c = 0;

	if (++d->depth < 4) {
		assert_int_equal(viommu_dma_load(ep, 0x11000, 8, &val), 0);
		d->depth--;
		return;
	}
	assert_int_equal(viommu_dma_load(ep, 0x11000, 8, &val), -ELOOP);
	assert_int_equal(viommu_dma_store(ep, 0x11000, 8, 1), -ELOOP);
	assert_int_equal(viommu_dma_read(ep, 0x11000, &c, 1), -ELOOP);
	assert_int_equal(viommu_dma_write(ep, 0x11000, &c, 1), -ELOOP);
	assert_int_equal(viommu_memory_read(mem_of(d->w), DEV, &c, 1), -ELOOP);
	assert_int_equal(viommu_memory_write(mem_of(d->w), DEV, &c, 1), -ELOOP);
	assert_int_equal(viommu_window_open(&win, ep, 0x11000, PAGE, RW), 0);
	assert_int_equal(viommu_window_load(&win, 0, 8, &val), -ELOOP);
	assert_int_equal(viommu_window_store(&win, 0, 8, 1), -ELOOP);
	assert_int_equal(viommu_window_read(&win, 0, &c, 1), -ELOOP);
	assert_int_equal(viommu_window_write(&win, 0, &c, 1), -ELOOP);
	/* but RAM is no device */
	assert_int_equal(viommu_dma_load(ep, 0x10000, 8, &val), 0);
	d->rc = 1;
	d->depth--;
}

static void the_fifth_is_refused(void **state)
{
	struct deep d = { 0 };
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w, &toy_ops, RW);
	d.w = &w;
	toy.arg = &d;
	toy.during = too_deep;
	assert_int_equal(viommu_dma_load(w.ep, 0x11000, 8, &val), 0);
	assert_int_equal(d.rc, 1);
	assert_int_equal(w.nfaults, 0);
	world_free(&w);
}

/* ---- the rest --------------------------------------------------------- */

static void the_log_is_not_for_devices(void **state)
{
	struct viommu_fence f;
	uint64_t bits = 0;
	struct world w;

	(void)state;
	setup(&w, &toy_ops, RW);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_start(mem_of(&w), 0, &f), 0);
	fence_run(&f);
	assert_int_equal(viommu_dma_write(w.ep, 0x11000, "x", 1), 0);
	assert_int_equal(viommu_dma_store(w.ep, 0x12000, 8, 1), 0);
	assert_int_equal(viommu_memory_write(mem_of(&w), DEV, "x", 1), 0);
	viommu_memory_dirty_mark(mem_of(&w), DEV, LEN);
	assert_int_equal(
		viommu_memory_dirty_fetch(mem_of(&w), DEV, 4 * PAGE, &bits), 0);
	/* the RAM of the same write is */
	assert_int_equal(viommu_dma_write(w.ep, 0x10fff, "abc", 3), 0);
	assert_int_equal(
		viommu_memory_dirty_fetch(mem_of(&w), 0, WORLD_RAM, &bits), 1);
	assert_int_equal(bits, 1 << 1);
	assert_int_equal(
		viommu_memory_dirty_fetch(mem_of(&w), DEV, 4 * PAGE, &bits), 0);
	viommu_fence_init(&f);
	viommu_memory_dirty_stop(mem_of(&w), &f);
	fence_run(&f);
	world_free(&w);
}

static void it_is_found_among_regions(void **state)
{
	struct viommu_region r = { .size = sizeof(r) };
	struct world w;

	(void)state;
	setup(&w, &toy_ops, RW);
	assert_int_equal(viommu_memory_next(mem_of(&w), WORLD_RAM, &r), 0);
	assert_int_equal(r.gpa, DEV);
	assert_int_equal(r.len, LEN);
	assert_null(r.host);
	assert_non_null(r.device);
	assert_int_equal(r.fd, -1);
	assert_int_equal(r.fd_offset, OFFSET);
	assert_ptr_equal(r.arg, &toy);
	assert_int_equal(r.prot, RW);
	assert_int_equal(viommu_memory_next(mem_of(&w), DEV + LEN, &r),
			 -ENOENT);
	/* it overlaps, and is overlapped, as others */
	assert_int_equal(device_add(&w, DEV + LEN - 1, 1, &toy_ops, RW),
			 -EEXIST);
	assert_int_equal(device_add(&w, WORLD_RAM - 1, 2, &toy_ops, RW),
			 -EEXIST);
	remove_device(&w);
	assert_int_equal(device_add(&w, DEV, 1, &toy_ops, RW), 0);
	/* anywhere: no pointer has to be near */
	assert_int_equal(device_add(&w, UINT64_MAX - 0xff, 0x100, &toy_ops, RW),
			 0);
	assert_int_equal(viommu_memory_write(mem_of(&w), UINT64_MAX, "e", 1),
			 0);
	assert_int_equal(toy.mem[OFFSET + 0xff], 'e');
	world_free(&w);
}

static void what_is_no_device_is_refused(void **state)
{
	struct {
		struct viommu_device_ops ops;
		void *later;
	} later = { .ops = toy_ops };
	static const struct viommu_device_ops none = { .size = sizeof(none) };
	struct viommu_device_ops ops;
	struct viommu_region r = toy_region(&toy, DEV, LEN, OFFSET);
	struct world w;

	(void)state;
	world_make(&w, NULL, PAGE);
	r.device = &none;
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), -EINVAL);
	/* it must be able to do what it may */
	ops = toy_ops;
	ops.read = NULL;
	ops.load = NULL;
	r.device = &ops;
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), -EINVAL);
	ops = toy_ops;
	ops.write = NULL;
	ops.store = NULL;
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), -EINVAL);
	ops.read = NULL;
	r.prot = VIOMMU_READ;
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), 0);
	r.gpa += LEN;
	later.ops.size = sizeof(later);
	later.later = &w;
	r.device = &later.ops;
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), -EINVAL);
	later.later = NULL; /* not used: fine */
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), 0);
	r = toy_region(&toy, DEV + 2 * LEN, LEN, OFFSET);
	r.host = toy.mem;
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), -EINVAL);
	r = toy_region(&toy, DEV + 2 * LEN, 0, OFFSET);
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), -EINVAL);
	r = toy_region(&toy, DEV + 2 * LEN, 2, UINT64_MAX);
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), -EINVAL);
	r = toy_region(&toy, DEV + 2 * LEN, 1, UINT64_MAX);
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), 0);
	r = toy_region(&toy, UINT64_MAX, 2, 0);
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), -EINVAL);
	r = toy_region(&toy, DEV + 3 * LEN, LEN, OFFSET);
	r.prot = 0;
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), -EINVAL);
	r.prot = VIOMMU_EXEC | VIOMMU_READ;
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), -EINVAL);
	world_free(&w);
}

/* What it was told is copied. */
static void the_callers_ops_are_copied(void **state)
{
	struct viommu_device_ops ops = toy_ops;
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w, &ops, RW);
	memset(&ops, 0xff, sizeof(ops));
	assert_int_equal(viommu_dma_load(w.ep, 0x11000, 8, &val), 0);
	assert_int_equal(toy.loads, 1);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_are_the_devices),
		cmocka_unit_test(words_are_the_devices),
		cmocka_unit_test(bytes_stand_for_words),
		cmocka_unit_test(words_stand_for_bytes),
		cmocka_unit_test(a_word_is_aligned_in_the_device),
		cmocka_unit_test(one_access_crosses_all),
		cmocka_unit_test(mappings_lead_anywhere_in_it),
		cmocka_unit_test(windows_and_bursts_reach_it),
		cmocka_unit_test(untranslated_accesses_reach_it),
		cmocka_unit_test(no_pointer_leads_there),
		cmocka_unit_test(a_device_refuses),
		cmocka_unit_test(the_region_says_what_may_be_done),
		cmocka_unit_test(the_mapping_says_what_may_be_done),
		cmocka_unit_test(a_fence_waits_for_the_call),
		cmocka_unit_test(devices_nest_four_deep),
		cmocka_unit_test(the_fifth_is_refused),
		cmocka_unit_test(the_log_is_not_for_devices),
		cmocka_unit_test(it_is_found_among_regions),
		cmocka_unit_test(what_is_no_device_is_refused),
		cmocka_unit_test(the_callers_ops_are_copied),
	};

	return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
