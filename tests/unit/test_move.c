/* SPDX-License-Identifier: BSD-2-Clause */
/* A range of GPA comes to be somewhere else: to where, how, and why not. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "move.h"

static unsigned char other[WORLD_RAM];

static void setup(struct world *w)
{
	memset(other, 0xee, sizeof(other));
	still_world(w, UINT64_MAX);
}

static struct viommu_memory *mem_of(const struct world *w)
{
	return viommu_memory_of(w->vi);
}

/* What devices see at @iova is what @bytes are. */
static void assert_bytes(const struct world *w, uint64_t iova,
			 const void *bytes, size_t len)
{
	unsigned char buf[4 * PAGE];

	assert_true(len <= sizeof(buf));
	assert_int_equal(viommu_dma_read(w->ep, iova, buf, len), 0);
	assert_memory_equal(buf, bytes, len);
}

/* ---- RAM -------------------------------------------------------------- */

static void a_page_is_somewhere_else(void **state)
{
	unsigned char was[PAGE];
	struct viommu_fence f;
	struct world w;

	(void)state;
	setup(&w);
	memcpy(was, w.ram + 0x2000, PAGE);
	move_now(&w, 0x2000, PAGE, other);
	assert_memory_equal(other, was, PAGE);
	assert_int_equal(other[PAGE], 0xee);
	assert_bytes(&w, 0x2000, was, PAGE);
	/* writes go there, and nowhere else */
	assert_int_equal(viommu_dma_write(w.ep, 0x1ffc, "01234567", 8), 0);
	assert_memory_equal(w.ram + 0x1ffc, "0123", 4);
	assert_memory_equal(w.ram + 0x2000, was, PAGE);
	assert_memory_equal(other, "4567", 4);
	assert_spans(mem_of(&w), { 0, 0x2000, w.ram, 0, RW },
		     { 0x2000, PAGE, other, 0, RW },
		     { 0x3000, WORLD_RAM - 0x3000, w.ram + 0x3000, 0, RW });
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem_of(&w), 0x2000, PAGE, &f), 0);
	assert_int_equal(viommu_memory_remove(mem_of(&w), 0, 0, &f), 0);
	fence_run(&f);
	world_free(&w);
}

/* To the byte: nothing is said about pages. */
static void any_bytes_move(void **state)
{
	unsigned char was[WORLD_RAM];
	struct world w;

	(void)state;
	setup(&w);
	memcpy(was, w.ram, WORLD_RAM);
	move_now(&w, 0x2345, 0x3457, other + 3);
	assert_memory_equal(other + 3, was + 0x2345, 0x3457);
	assert_int_equal(other[2], 0xee);
	assert_int_equal(other[3 + 0x3457], 0xee);
	memset(w.ram + 0x2345, 0xdd, 0x3457); /* nobody reads there */
	for (unsigned at = 0; at < WORLD_RAM; at += PAGE)
		assert_bytes(&w, at, was + at, PAGE);
	world_free(&w);
}

static void all_of_it_moves_there_and_back(void **state)
{
	unsigned char was[WORLD_RAM];
	struct world w;

	(void)state;
	setup(&w);
	memcpy(was, w.ram, WORLD_RAM);
	move_now(&w, 0, WORLD_RAM, other);
	assert_spans(mem_of(&w), { 0, WORLD_RAM, other, 0, RW });
	assert_int_equal(viommu_dma_write(w.ep, 0x9000, "new", 3), 0);
	memcpy(was + 0x9000, "new", 3);
	move_now(&w, 0, WORLD_RAM, w.ram);
	assert_memory_equal(w.ram, was, WORLD_RAM);
	assert_spans(mem_of(&w), { 0, WORLD_RAM, w.ram, 0, RW });
	world_free(&w);
}

static void ram_add(const struct world *w, uint64_t gpa, void *host,
		    uint64_t len, uint32_t prot)
{
	assert_int_equal(
		viommu_memory_add(mem_of(w),
				  &(struct viommu_region){
					  .size = sizeof(struct viommu_region),
					  .gpa = gpa,
					  .len = len,
					  .host = host,
					  .prot = prot,
					  .fd = -1 }),
		0);
}

/* Piece by piece, from each region and its place; then they are one. */
static void several_regions_become_one(void **state)
{
	static unsigned char more[2 * PAGE];
	struct mover v;
	struct world w;

	(void)state;
	setup(&w);
	memset(more, 'm', sizeof(more));
	ram_add(&w, WORLD_RAM, more, PAGE, VIOMMU_READ);
	ram_add(&w, WORLD_RAM + PAGE, more + PAGE, PAGE, RW);
	mover_init(&v, WORLD_RAM - PAGE, 2 * PAGE + 0x800, other);
	v.m.copy = mover_copy;
	mover_go(&v, &w);
	assert_moved(&v, 0);
	assert_int_equal(v.copies, 3);
	for (unsigned i = 0; i < 3; i++) {
		const uint64_t gpa = WORLD_RAM - PAGE + i * PAGE;

		assert_int_equal(v.from[i].gpa, gpa);
		assert_int_equal(v.to[i].gpa, gpa);
		assert_int_equal(v.from[i].len, i == 2 ? 0x800 : PAGE);
		assert_int_equal(v.to[i].len, v.from[i].len);
		assert_ptr_equal(v.to[i].host, other + i * PAGE);
		assert_ptr_equal(v.from[i].host, i ? more + (i - 1) * PAGE
						   : w.ram + WORLD_RAM - PAGE);
	}
	assert_int_equal(v.from[1].prot, VIOMMU_READ);
	assert_spans(mem_of(&w), { 0, WORLD_RAM - PAGE, w.ram, 0, RW },
		     { WORLD_RAM - PAGE, 2 * PAGE + 0x800, other, 0, RW },
		     { WORLD_RAM + PAGE + 0x800, 0x800, more + PAGE + 0x800, 0,
		       RW });
	world_free(&w);
}

static void the_new_place_says_what_may_be_done(void **state)
{
	struct mover v;
	struct world w;
	char c = 'c';

	(void)state;
	setup(&w);
	mover_init(&v, 0x2000, PAGE, other);
	v.m.to.prot = VIOMMU_READ;
	mover_go(&v, &w);
	assert_moved(&v, 0);
	assert_int_equal(viommu_dma_write(w.ep, 0x2fff, &c, 1), -EACCES);
	assert_int_equal(w.fault.start, 0x2fff);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_MEMORY);
	assert_int_equal(viommu_memory_write(mem_of(&w), 0x2000, &c, 1),
			 -EACCES);
	assert_bytes(&w, 0x2000, w.ram + 0x2000, PAGE);
	assert_int_equal(viommu_dma_write(w.ep, 0x3000, &c, 1), 0);
	move_now(&w, 0x2000, PAGE, w.ram + 0x2000);
	assert_int_equal(viommu_dma_write(w.ep, 0x2fff, &c, 1), 0);
	world_free(&w);
}

static unsigned mapped_files(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned n = 0;
	char line[512];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "memfd:move") != NULL;
	fclose(f);
	return n;
}

static void into_a_file_and_out_again(void **state)
{
	int fd = memfd_create("move", MFD_CLOEXEC);
	unsigned char was[PAGE], is[PAGE];
	struct mover v;
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(ftruncate(fd, 4 * PAGE), 0);
	memcpy(was, w.ram + 0x2000, PAGE);
	mover_init(&v, 0x2000, PAGE, NULL);
	v.m.to.fd = fd;
	v.m.to.fd_offset = PAGE + 0x100;
	mover_go(&v, &w);
	assert_moved(&v, 0);
	assert_int_equal(pread(fd, is, PAGE, PAGE + 0x100), PAGE);
	assert_memory_equal(is, was, PAGE);
	assert_int_equal(mapped_files(), 1);
	move_now(&w, 0x2000, PAGE, other);
	assert_memory_equal(other, was, PAGE);
	assert_int_equal(mapped_files(), 0);
	close(fd);
	world_free(&w);
}

/* ---- devices ---------------------------------------------------------- */

static void into_a_device_and_out_again(void **state)
{
	static struct toy toy;
	unsigned char was[3 * PAGE];
	struct mover v;
	struct world w;

	(void)state;
	setup(&w);
	memcpy(was, w.ram + 0x1800, sizeof(was));
	for (int words = 0; words < 2; words++) {
		memset(&toy, 0, sizeof(toy));
		mover_init(&v, 0x1801, sizeof(was) - 1, NULL);
		v.m.to = toy_region(&toy, 0x1801, sizeof(was) - 1, 0x41);
		v.m.to.device = words ? &toy_words : &toy_bytes;
		mover_go(&v, &w);
		assert_moved(&v, 0);
		assert_memory_equal(toy.mem + 0x41, was + 1, sizeof(was) - 1);
		assert_int_equal(words ? toy.writes : toy.stores, 0);
		assert_spans(
			mem_of(&w), { 0, 0x1801, w.ram, 0, RW },
			{ 0x1801, sizeof(was) - 1, NULL, 0x41, RW },
			{ 0x4800, WORLD_RAM - 0x4800, w.ram + 0x4800, 0, RW });
		assert_bytes(&w, 0x1800, was, sizeof(was));
		assert_int_equal(viommu_dma_write(w.ep, 0x3000, "toy", 3), 0);
		memcpy(was + 0x1800, "toy", 3);
		move_now(&w, 0x1801, sizeof(was) - 1, w.ram + 0x1801);
		assert_memory_equal(w.ram + 0x1800, was, sizeof(was));
	}
	world_free(&w);
}

static void a_device_that_refuses_stops_it(void **state)
{
	static struct toy toy;
	struct mover v;
	struct world w;

	(void)state;
	setup(&w);
	memset(&toy, 0, sizeof(toy));
	toy.rc = -EXDEV;
	mover_init(&v, 0x2000, PAGE, NULL);
	v.m.to = toy_region(&toy, 0x2000, PAGE, 0);
	mover_go(&v, &w);
	assert_moved(&v, -EXDEV);
	/* nonsense is an error of no name */
	toy.rc = 7;
	viommu_fence_init(&v.f);
	v.told = 0;
	mover_go(&v, &w);
	assert_moved(&v, -EIO);
	assert_int_equal(viommu_dma_write(w.ep, 0x2000, "ram", 3), 0);
	assert_memory_equal(w.ram + 0x2000, "ram", 3);
	world_free(&w);
}

/* Its memory cannot be read, or not be written: nor can the library. */
static void a_device_that_cannot_be_copied_stops_it(void **state)
{
	static const struct viommu_device_ops out = { .size = sizeof(out),
						      .read = toy_read },
					      in = { .size = sizeof(in),
						     .store = toy_store };
	static struct toy toy;
	struct viommu_region r;
	struct mover v;
	struct world w;

	(void)state;
	setup(&w);
	mover_init(&v, 0x2000, PAGE, NULL);
	v.m.to = toy_region(&toy, 0x2000, PAGE, 0);
	v.m.to.prot = VIOMMU_READ;
	v.m.to.device = &out;
	mover_go(&v, &w);
	assert_moved(&v, -EACCES);
	/* but others can */
	mover_init(&v, 0x2000, PAGE, NULL);
	v.m.to = toy_region(&toy, 0x2000, PAGE, 0);
	v.m.to.prot = VIOMMU_READ;
	v.m.to.device = &out;
	v.m.copy = mover_copy;
	mover_go(&v, &w);
	assert_moved(&v, 0);
	assert_null(v.to[0].host);
	assert_ptr_equal(v.to[0].arg, &toy);
	assert_int_equal(v.to[0].device->read == toy_read, 1);

	r = toy_region(&toy, 0x100000, PAGE, 0);
	r.prot = VIOMMU_WRITE;
	r.device = &in;
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), 0);
	mover_init(&v, 0x100000, PAGE, other);
	mover_go(&v, &w);
	assert_moved(&v, -EACCES);
	world_free(&w);
}

/* ---- off -------------------------------------------------------------- */

static void a_copy_that_fails_changes_nothing(void **state)
{
	unsigned char was[WORLD_RAM];
	struct mover v;
	struct world w;

	(void)state;
	setup(&w);
	memcpy(was, w.ram, WORLD_RAM);
	mover_init(&v, 0x2000, PAGE, other);
	v.m.copy = mover_copy;
	v.copy_rc = -ENETDOWN;
	mover_go(&v, &w);
	assert_moved(&v, -ENETDOWN);
	assert_int_equal(v.copies, 1);
	assert_true(viommu_fence_done(&v.f));
	assert_int_equal(other[0], 0xee);
	for (unsigned at = 0; at < WORLD_RAM; at += PAGE)
		assert_bytes(&w, at, was + at, PAGE);
	assert_int_equal(viommu_dma_write(w.ep, 0x1fff, "old", 3), 0);
	assert_memory_equal(w.ram + 0x1fff, "old", 3);
	/* and it may be tried again */
	v.copy_rc = 0;
	v.told = v.copies = 0;
	viommu_fence_init(&v.f);
	mover_go(&v, &w);
	assert_moved(&v, 0);
	world_free(&w);
}

/* ---- two at once ------------------------------------------------------ */

static void others_keep_out(void **state)
{
	struct viommu_memory *mem;
	struct viommu_fence f;
	struct mover v, u;
	struct holder h;
	struct world w;

	(void)state;
	setup(&w);
	mem = mem_of(&w);
	hold(&h, w.ep, 0x2000, VIOMMU_WRITE);
	mover_init(&v, 0x2000, 2 * PAGE, other);
	mover_go(&v, &w);
	assert_int_equal(v.told, 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem, 0, 0, &f), -EBUSY);
	assert_int_equal(viommu_memory_give_up(mem, 0x3fff, 1, &f), -EBUSY);
	assert_int_equal(viommu_memory_give_up(mem, 0, 0x2001, &f), -EBUSY);
	assert_int_equal(viommu_memory_give_up(mem, 0, 0x2000, &f), 0);
	assert_int_equal(viommu_memory_give_up(mem, 0x4000, PAGE, &f), 0);
	fence_run(&f);
	mover_init(&u, 0x3fff, 1, other);
	assert_int_equal(mover_try(&u, mem), -EBUSY);
	mover_init(&u, 0x2000, 1, other);
	assert_int_equal(mover_try(&u, mem), -EBUSY);
	/* beside it, another is over while the first waits */
	move_now(&w, 0x5000, PAGE, other + 0x5000);
	assert_int_equal(v.told, 0);
	viommu_dma_unmap(&h.d, 0);
	assert_moved(&v, 0);
	assert_true(viommu_fence_done(&v.f));
	assert_spans(mem, { 0x2000, 2 * PAGE, other, 0, RW },
		     { 0x5000, PAGE, other + 0x5000, 0, RW },
		     { 0x6000, WORLD_RAM - 0x6000, w.ram + 0x6000, 0, RW });
	world_free(&w);
}

static void two_moves_end_when_they_can(void **state)
{
	struct holder h, i;
	struct mover v, u;
	struct world w;

	(void)state;
	setup(&w);
	hold(&h, w.ep, 0x2000, RW);
	hold(&i, w.ep, 0x3000, RW);
	mover_init(&v, 0x2000, PAGE, other);
	mover_init(&u, 0x3000, PAGE, other + PAGE);
	mover_go(&v, &w);
	mover_go(&u, &w);
	memset(i.iov.iov_base, 'i', 0x100);
	viommu_dma_unmap(&i.d, 0x100);
	assert_moved(&u, 0);
	assert_int_equal(v.told, 0);
	assert_int_equal(other[PAGE], 'i');
	memset(h.iov.iov_base, 'h', 0x100);
	viommu_dma_unmap(&h.d, 0x100);
	assert_moved(&v, 0);
	assert_int_equal(other[0xff], 'h');
	world_free(&w);
}

/* moved may move on. */
static void move_back(void *arg, int rc)
{
	struct mover *v = arg;
	const struct world *w = v->arg;

	v->told++;
	v->rc = rc;
	move_now(w, 0x2000, PAGE, w->ram + 0x2000);
}

static void one_begins_when_another_is_over(void **state)
{
	struct mover v;
	struct world w;

	(void)state;
	setup(&w);
	mover_init(&v, 0x2000, PAGE, other);
	v.m.moved = move_back;
	v.arg = &w;
	mover_go(&v, &w);
	assert_moved(&v, 0);
	assert_true(viommu_fence_done(&v.f));
	assert_spans(mem_of(&w), { 0, 0x2000, w.ram, 0, RW },
		     { 0x2000, PAGE, w.ram + 0x2000, 0, RW },
		     { 0x3000, WORLD_RAM - 0x3000, w.ram + 0x3000, 0, RW });
	/* nobody need hear of it */
	mover_init(&v, 0x2000, PAGE, other);
	v.m.moved = NULL;
	mover_go(&v, &w);
	assert_true(viommu_fence_done(&v.f));
	world_free(&w);
}

/* ---- errors ----------------------------------------------------------- */

static void refuse(const struct world *w, struct mover *v, int rc)
{
	const uint64_t len = v->m.to.len;

	assert_int_equal(mover_try(v, mem_of(w)), rc);
	assert_int_equal(v->told, 0);
	v->m.to.len = len;
	assert_spans(mem_of(w), { 0, WORLD_RAM, w->ram, 0, RW },
		     { UINT64_C(1) << 60, PAGE, NULL, 0, RW });
}

static void what_cannot_be_is_refused(void **state)
{
	static struct toy toy;
	struct {
		struct viommu_move m;
		uint64_t later;
	} later;
	struct viommu_region r = toy_region(&toy, UINT64_C(1) << 60, PAGE, 0);
	int fd = memfd_create("move", MFD_CLOEXEC), rd,
	    dir = open("/", O_RDONLY);
	char path[64];
	struct mover v;
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(viommu_memory_add(mem_of(&w), &r), 0);
	mover_init(&v, 0x2000, PAGE, other);
	later.m = v.m;
	later.m.size = sizeof(later);
	later.later = 1;
	assert_int_equal(viommu_memory_move(mem_of(&w), &later.m, &v.f),
			 -EINVAL);
	v.m.to.len = 0;
	refuse(&w, &v, -EINVAL);
	mover_init(&v, 0x2000, PAGE, other);
	v.m.to.prot = 0;
	refuse(&w, &v, -EINVAL);
	mover_init(&v, 0x2000, PAGE, other);
	v.m.to.device = &toy_ops; /* and a host */
	refuse(&w, &v, -EINVAL);
	mover_init(&v, 0x2000, PAGE, NULL);
	refuse(&w, &v, -EINVAL);
	/* a hole, at either edge, and within */
	mover_init(&v, WORLD_RAM - 1, 2, other);
	refuse(&w, &v, -ENOENT);
	mover_init(&v, WORLD_RAM, PAGE, other);
	refuse(&w, &v, -ENOENT);
	mover_init(&v, (UINT64_C(1) << 60) - 1, 2, other);
	refuse(&w, &v, -ENOENT);
	mover_init(&v, UINT64_C(1) << 60, PAGE, other);
	refuse(&w, &v, -EOVERFLOW);

	mover_init(&v, 0x2000, PAGE, NULL);
	v.m.to.fd = fd;
	refuse(&w, &v, -ERANGE);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rd = open(path, O_RDONLY);
	assert_true(rd >= 0);
	v.m.to.fd = rd;
	refuse(&w, &v, -EACCES);
	v.m.to.fd = dir;
	refuse(&w, &v, -EBADF);
	v.m.to.fd = fd;
	v.m.to.gpa = WORLD_RAM; /* mapped by then, but nothing to move */
	refuse(&w, &v, -ENOENT);
	assert_int_equal(mapped_files(), 0);
	close(fd);
	close(rd);
	close(dir);
	world_free(&w);
}

/* ---- the memory goes -------------------------------------------------- */

struct apart {
	struct viommu_memory *mem;
	struct viommu_endpoint *ep;
	struct viommu_fence g;
	bool done;
};

static void apart_done(struct viommu_fence *f, void *arg)
{
	(void)f;
	((struct apart *)arg)->done = true;
}

/* A memory of its own, and an endpoint. */
static void apart_make(struct apart *a, const struct world *w, void *host)
{
	struct viommu_endpoint_config ec = { .size = sizeof(ec), .id = 2 };
	struct viommu_region r = { .size = sizeof(r),
				   .len = PAGE,
				   .host = host,
				   .prot = RW,
				   .fd = -1 };
	struct viommu_fence f;

	memset(a, 0, sizeof(*a));
	assert_int_equal(viommu_memory_create(w->vi, &a->mem), 0);
	assert_int_equal(viommu_memory_add(a->mem, &r), 0);
	ec.memory = a->mem;
	assert_int_equal(viommu_endpoint_create(w->vi, &ec, &a->ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(a->ep, w->space, &f), 0);
	fence_run(&f);
}

static void apart_destroy(struct apart *a)
{
	viommu_fence_init(&a->g);
	viommu_endpoint_destroy(a->ep, &a->g);
	viommu_memory_destroy(a->mem, &a->g);
	viommu_fence_commit(&a->g, apart_done, a);
}

static void a_memory_that_is_destroyed_ends_it(void **state)
{
	unsigned char *old = malloc(PAGE), *new = malloc(PAGE);
	struct apart a;
	struct mover v;
	struct holder h;
	struct world w;

	(void)state;
	setup(&w);
	apart_make(&a, &w, old);
	hold(&h, a.ep, 0, VIOMMU_WRITE);
	mover_init(&v, 0, PAGE, new);
	v.m.copy = mover_copy;
	assert_int_equal(mover_try(&v, a.mem), 0);
	apart_destroy(&a);
	assert_false(a.done);
	assert_int_equal(v.told, 0);
	assert_false(viommu_fence_done(&v.f));
	viommu_dma_unmap(&h.d, 0);
	assert_moved(&v, -ECANCELED);
	assert_int_equal(v.copies, 0);
	assert_true(a.done);
	assert_true(viommu_fence_done(&v.f));
	free(old);
	free(new);
	world_free(&w);
}

static void destroy_meanwhile(struct mover *v)
{
	struct apart *a = v->arg;

	apart_destroy(a);
	/* the copy reads there */
	assert_false(a->done);
}

static void a_memory_that_is_destroyed_meanwhile_ends_it(void **state)
{
	unsigned char *old = calloc(1, PAGE), *new = malloc(PAGE);
	struct apart a;
	struct mover v;
	struct world w;

	(void)state;
	setup(&w);
	/* whatever the copy says */
	for (int rc = 0; rc > -2; rc--) {
		apart_make(&a, &w, old);
		mover_init(&v, 0, PAGE, new);
		v.m.copy = mover_copy;
		v.copy_rc = rc;
		v.during = destroy_meanwhile;
		v.arg = &a;
		assert_int_equal(mover_try(&v, a.mem), 0);
		assert_moved(&v, -ECANCELED);
		assert_int_equal(v.copies, 1);
		assert_true(a.done);
		assert_true(viommu_fence_done(&v.f));
	}
	free(old);
	free(new);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_is_somewhere_else),
		cmocka_unit_test(any_bytes_move),
		cmocka_unit_test(all_of_it_moves_there_and_back),
		cmocka_unit_test(several_regions_become_one),
		cmocka_unit_test(the_new_place_says_what_may_be_done),
		cmocka_unit_test(into_a_file_and_out_again),
		cmocka_unit_test(into_a_device_and_out_again),
		cmocka_unit_test(a_device_that_refuses_stops_it),
		cmocka_unit_test(a_device_that_cannot_be_copied_stops_it),
		cmocka_unit_test(a_copy_that_fails_changes_nothing),
		cmocka_unit_test(others_keep_out),
		cmocka_unit_test(two_moves_end_when_they_can),
		cmocka_unit_test(one_begins_when_another_is_over),
		cmocka_unit_test(what_cannot_be_is_refused),
		cmocka_unit_test(a_memory_that_is_destroyed_ends_it),
		cmocka_unit_test(a_memory_that_is_destroyed_meanwhile_ends_it),
	};

	return cmocka_run_group_tests_name("move", tests, NULL, NULL);
}
