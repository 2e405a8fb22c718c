/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is played when pages are given up, out of the middle of memory, and come
 * again, and when a device answers where memory was, or goes.  As scenarios.c.
 *
 * A device is an object: it dies when the fence that takes its region is done,
 * and none of its callbacks may touch it after that.
 */
#include "scenarios.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "stage.h"

enum {
	CHUNK = 512, /* what a leaf of a memory's table is for */
};

#define RW (VIOMMU_READ | VIOMMU_WRITE)

static struct taker *const t0 = &stage.taker[0], *const t1 = &stage.taker[1];
static struct holder *const h0 = &stage.holder[0];

static struct device {
	uint64_t word[2]; /* what it has; the rest of its region is 0 */
	uint64_t len;
	bool reads_only;
} devices[2];

static uint64_t wrote; /* the last value of word 0; one writer */

static struct viommu_memory *memory(void)
{
	return viommu_memory_of(stage.vi);
}

/* ---- devices ------------------------------------------------------------ */

static void device_begin(struct device *d, uint64_t offset, size_t len,
			 bool writes)
{
	sched_touch(d);
	if (offset >= d->len || len > d->len - offset)
		sched_fail("a device is asked for what it has not");
	if (writes && d->reads_only)
		sched_fail("a device is written to that is for reading");
}

static int device_load(void *arg, uint64_t offset, unsigned size, uint64_t *val)
{
	struct device *d = arg;

	device_begin(d, offset, size, false);
	*val = offset / 8 < 2 ? d->word[offset / 8] : 0;
	sched_touch(d);
	return 0;
}

static int device_store(void *arg, uint64_t offset, unsigned size, uint64_t val)
{
	struct device *d = arg;

	device_begin(d, offset, size, true);
	if (offset / 8 < 2)
		d->word[offset / 8] = val;
	sched_touch(d);
	return 0;
}

static const struct viommu_device_ops rw_ops = { .size = sizeof(rw_ops),
						 .load = device_load,
						 .store = device_store };
static const struct viommu_device_ops read_ops = { .size = sizeof(read_ops),
						   .load = device_load };

static struct viommu_region device_region(struct device *d)
{
	return (struct viommu_region){
		.size = sizeof(struct viommu_region),
		.gpa = IOVA(0),
		.len = d->len,
		.prot = d->reads_only ? VIOMMU_READ : RW,
		.fd = -1,
		.device = d->reads_only ? &read_ops : &rw_ops,
		.arg = d,
	};
}

static struct viommu_region ram_region(unsigned page)
{
	return (struct viommu_region){ .size = sizeof(struct viommu_region),
				       .gpa = IOVA(0),
				       .len = CHUNK,
				       .host = stage.page[page],
				       .prot = RW,
				       .fd = -1 };
}

static void add(struct viommu_region r)
{
	must(viommu_memory_add(memory(), &r), "add");
}

static void device_0_dies(void)
{
	sched_object_dies(&devices[0]);
}

/* ---- the set ------------------------------------------------------------ */

static void give_up(viommu_gpa_t gpa, uint64_t len, struct viommu_fence *f)
{
	must(viommu_memory_give_up(memory(), gpa, len, f), "give up");
}

/* The pages from PAGES on are nobody's memory. */
static void set_recycle(void)
{
	struct viommu_fence f;

	memset(stage.page, 0, sizeof(stage.page));
	memset(devices, 0, sizeof(devices));
	wrote = 0;
	stage_set();
	viommu_fence_init(&f);
	give_up(IOVA(PAGES), PAGES * PAGE, &f);
	viommu_fence_commit(&f, NULL, NULL);
	for (unsigned i = 0; i < 2; i++)
		sched_object(&devices[i], sizeof(devices[i]), "a device");
	devices[0].len = CHUNK;
	devices[1] = (struct device){ .len = 8, .reads_only = true };
}

/* The beginning of page 0 is a region already: nothing is cut when it goes. */
static void chunk_take(void)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	give_up(IOVA(0), CHUNK, &f);
	viommu_fence_commit(&f, NULL, NULL);
}

static void set_chunk(void)
{
	set_recycle();
	chunk_take();
	add(ram_region(0));
}

static void set_device(void)
{
	set_recycle();
	chunk_take();
	add(device_region(&devices[0]));
}

static void check_wrote(void)
{
	uint64_t val;

	must(viommu_dma_load(stage.ep, IOVA(0), 8, &val), "the end");
	if (val != wrote)
		sched_fail("what was written is lost");
	stage_check();
}

/* ---- giving up ---------------------------------------------------------- */

static void recycle(void)
{
	take_init(t0, 1u << 0);
	give_up(IOVA(0), CHUNK, &t0->f);
	take_commit(t0);
}

/* And other memory comes there, at once. */
static void recycle_add(void)
{
	recycle();
	add(ram_region(PAGES));
}

/* L2 */
static void recycle_load(void)
{
	uint64_t val;

	recycle();
	if (!viommu_dma_load(stage.ep, IOVA(0), 8, &val))
		sched_fail("an access got through after the commit");
}

static void load_twice(void)
{
	access_load(0);
	access_load(0);
}

static void load_store(void)
{
	access_load(0);
	access_store(0);
}

static void map_unmap(void)
{
	if (!hold(h0, 0, NULL))
		let_go(h0);
}

static void map_until_asked(void)
{
	if (hold(h0, 0, asked))
		return;
	sched_await(&h0->asked);
	let_go(h0);
}

/* Beside what is given up nothing is disturbed: not even asked. */
static void warm_beside(void)
{
	sit();
	must(hold(h0, 1, asked), "hold");
}

static void let_go_beside(void)
{
	must(viommu_dma_store(stage.ep, IOVA(1), 8, 1), "beside");
	if (sched_get(&h0->asked))
		sched_fail("asked for what nobody took");
	let_go(h0);
}

/* Fences that take the page by IOVA, and its memory. */
static void take_page_1(void)
{
	take_init(t1, 0);
	if (viommu_space_unmap(stage.a, IOVA(0), IOVA(1) - 1, &t1->f) < 0)
		sched_fail("unmap failed");
	take_commit(t1);
}

static void store_0(void)
{
	access_store(0);
}

static void memory_store(void)
{
	uint64_t val = 1;

	access_done(viommu_memory_write(memory(), IOVA(0), &val, 8));
}

/* ---- a device goes ------------------------------------------------------ */

static void device_take(void)
{
	take_init(t0, 0);
	t0->then = device_0_dies;
	give_up(IOVA(0), CHUNK, &t0->f);
	take_commit(t0);
}

/* Another one comes, which is smaller, and may be read. */
static void device_swap(void)
{
	device_take();
	add(device_region(&devices[1]));
}

/* It may be refused in between, also for what the other one cannot do. */
static void done(int rc)
{
	if (rc && rc != -EFAULT && rc != -EACCES)
		sched_fail("access: %s", strerror(-rc));
}

static void device_store_0(void)
{
	done(viommu_dma_store(stage.ep, IOVA(0), 8, 1));
}

static void device_read_0(void)
{
	uint64_t buf[2];

	done(viommu_dma_read(stage.ep, IOVA(0), buf, sizeof(buf)));
}

static void device_memory_read(void)
{
	uint64_t buf[2];

	done(viommu_memory_read(memory(), IOVA(0), buf, sizeof(buf)));
}

/* ---- a device comes, or becomes memory ---------------------------------- */

static void moved(void *arg, int rc)
{
	(void)arg;
	must(rc, "moved");
}

static void move_to(struct viommu_region r)
{
	struct viommu_move m = { .size = sizeof(m), .to = r, .moved = moved };

	must(viommu_memory_move(memory(), &m, &t0->f), "move");
	take_commit(t0);
}

static void device_to_ram(void)
{
	take_init(t0, 0);
	t0->then = device_0_dies;
	move_to(ram_region(PAGES));
}

static void ram_to_device(void)
{
	take_init(t0, 1u << 0);
	move_to(device_region(&devices[0]));
}

static void store_load(void)
{
	uint64_t val;

	must(viommu_dma_store(stage.ep, IOVA(0), 8, 2), "store");
	wrote = 2;
	must(viommu_dma_load(stage.ep, IOVA(0), 8, &val), "load");
	if (val != 2)
		sched_fail("what was read is not what was written");
}

static void write_0(void)
{
	uint64_t buf[2] = { 2, 3 };

	must(viommu_dma_write(stage.ep, IOVA(0), buf, sizeof(buf)), "write");
	wrote = 2;
}

/* ---- the list ----------------------------------------------------------- */

#define PLAY(n, b, make, end) \
	.nthreads = (n), .bound = (b), .setup = (make), .check = (end)

const struct scenario scenarios_recycle[] = {
	{ "recycle",
	  FENCED | ASYMMETRIC | MANY,
	  { JOB(2, 2, set_chunk), .warm = { sit, NULL },
	    .run = { store_0, recycle } } },
	{ "recycle-again",
	  FENCED | ASYMMETRIC | MANY,
	  { JOB(2, 2, set_chunk), .warm = { sit, NULL },
	    .run = { load_twice, recycle } } },
	{ "recycle-add",
	  FENCED | ASYMMETRIC | MANY,
	  { JOB(2, 2, set_chunk), .warm = { sit, NULL },
	    .run = { load_store, recycle_add } } },
	{ "recycle-commit",
	  FENCED | ASYMMETRIC | MANY,
	  { JOB(2, 2, set_chunk), .warm = { sit, sit },
	    .run = { store_0, recycle_load } } },
	{ "recycle-cut",
	  FENCED | MANY,
	  { JOB(2, 2, set_recycle), .warm = { sit, NULL },
	    .run = { load_store, recycle_add } } },
	{ "recycle-map",
	  FENCED | ASYMMETRIC | MANY,
	  { JOB(2, 2, set_chunk), .warm = { sit, NULL },
	    .run = { map_unmap, recycle_add } } },
	{ "recycle-asked",
	  FENCED | MANY,
	  { JOB(2, 2, set_chunk), .warm = { sit, NULL },
	    .run = { map_until_asked, recycle } } },
	{ "recycle-beside",
	  FENCED | MANY,
	  { JOB(2, 2, set_chunk), .warm = { warm_beside, NULL },
	    .run = { let_go_beside, recycle } } },
	{ "recycle-memory",
	  FENCED,
	  { JOB(2, 2, set_chunk), .warm = { sit, NULL },
	    .run = { memory_store, recycle_add } } },
	{ "recycle-unmap",
	  FENCED | MANY,
	  { JOB(3, 1, set_chunk), .warm = { sit, NULL, NULL },
	    .run = { map_unmap, recycle, take_page_1 } } },
	{ "device",
	  FENCED | ASYMMETRIC | MANY,
	  { JOB(2, 2, set_device), .warm = { sit, NULL },
	    .run = { device_store_0, device_take } } },
	{ "device-swap",
	  FENCED | MANY,
	  { JOB(2, 1, set_device), .warm = { sit, NULL },
	    .run = { device_store_0, device_swap } } },
	{ "device-read",
	  FENCED | MANY,
	  { JOB(2, 1, set_device), .warm = { sit, NULL },
	    .run = { device_read_0, device_swap } } },
	{ "device-memory",
	  FENCED | MANY,
	  { JOB(2, 2, set_device), .warm = { sit, NULL },
	    .run = { device_memory_read, device_swap } } },
	{ "device-to-ram",
	  FENCED | MANY,
	  { PLAY(2, 1, set_device, check_wrote), .warm = { sit, NULL },
	    .run = { store_load, device_to_ram } } },
	{ "device-write",
	  FENCED | MANY,
	  { PLAY(2, 1, set_device, check_wrote), .warm = { sit, NULL },
	    .run = { write_0, device_to_ram } } },
	{ "device-from-ram",
	  FENCED | MANY,
	  { PLAY(2, 1, set_chunk, check_wrote), .warm = { sit, NULL },
	    .run = { store_load, ram_to_device } } },
	{ NULL, 0, { 0 } },
};
