/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a thread remembers of the last access is never taken for something else:
 * another instance's, another space's, memory that has gone.  Each test looks
 * the short way first, so that there is something to remember.
 */
#include "world.h"

enum {
	LOOKS = 20, /* more than it takes to remember */
};

static uint64_t load(struct world *w, uint64_t iova)
{
	uint64_t val = 0;

	assert_int_equal(viommu_dma_load(w->ep, iova, 8, &val), 0);
	return val;
}

/* The same by a map. */
static uint64_t peek(struct world *w, uint64_t iova)
{
	struct iovec iov;
	struct viommu_dma d = { .ep = w->ep,
				.iova = iova,
				.len = 8,
				.prot = VIOMMU_READ,
				.iov = &iov,
				.max_iov = 1 };
	uint64_t val;

	assert_int_equal(viommu_dma_map(&d), 0);
	memcpy(&val, iov.iov_base, 8);
	viommu_dma_unmap(&d, 0);
	return val;
}

static void sees(struct world *w, uint64_t iova, uint64_t val)
{
	for (int i = 0; i < LOOKS; i++) {
		assert_int_equal(load(w, iova), val);
		assert_int_equal(peek(w, iova), val);
	}
}

static void faults(struct world *w, uint64_t iova)
{
	uint64_t val;

	assert_int_equal(viommu_dma_load(w->ep, iova, 8, &val), -EFAULT);
}

/* Words are their addresses, plus @first; page 1 is at page @first. */
static void setup(struct world *w, uint64_t first)
{
	world_make(w, NULL, 4096);
	for (uint64_t a = 0; a < WORLD_RAM; a += 8)
		memcpy(w->ram + a, &(uint64_t){ a + first }, 8);
	assert_int_equal(map_rw(w, 0x1000, 0x1fff, first << 12), 0);
}

/* Ids of spaces and their generations are alike in both. */
static void two_instances_are_two(void **state)
{
	struct world a, b;

	(void)state;
	setup(&a, 1);
	setup(&b, 2);
	sees(&a, 0x1000, 0x1001);
	for (int i = 0; i < LOOKS; i++) {
		assert_int_equal(load(&b, 0x1000), 0x2002);
		assert_int_equal(load(&a, 0x1000), 0x1001);
		assert_int_equal(peek(&b, 0x1000), 0x2002);
		assert_int_equal(peek(&a, 0x1000), 0x1001);
	}
	world_free(&b);
	world_free(&a);
}

static void a_page_that_went_is_gone(void **state)
{
	struct world w;

	(void)state;
	setup(&w, 1);
	sees(&w, 0x1000, 0x1001);
	assert_int_equal(unmap(&w, 0x1000, 0x1fff), 0x1000);
	faults(&w, 0x1000);
	assert_int_equal(map_rw(&w, 0x1000, 0x1fff, 0x5000), 0);
	sees(&w, 0x1000, 0x5001);
	assert_int_equal(unmap(&w, 0x1000, 0x1fff), 0x1000);
	assert_int_equal(map_prot(&w, 0x1000, 0x1fff, 0x5000, VIOMMU_READ), 0);
	sees(&w, 0x1000, 0x5001);
	assert_int_equal(viommu_dma_store(w.ep, 0x1000, 8, 1), -EACCES);
	world_free(&w);
}

static void memory_that_went_is_gone(void **state)
{
	struct viommu_memory *mem;
	struct viommu_fence f;
	struct viommu_region r = { .size = sizeof(r),
				   .len = WORLD_RAM,
				   .prot = VIOMMU_READ | VIOMMU_WRITE };
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w, 1);
	mem = viommu_memory_of(w.vi);
	sees(&w, 0x1000, 0x1001);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem, 0, 0, &f), 0);
	faults(&w, 0x1000);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_MEMORY);
	fence_run(&f);
	/* elsewhere in the host, and less of it */
	r.host = w.ram + 0x2000;
	r.len = 0x2000;
	assert_int_equal(viommu_memory_add(mem, &r), 0);
	sees(&w, 0x1000, 0x3001);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem, 0, 0, &f), 0);
	fence_run(&f);
	/* aligned words that are none in memory */
	r.host = w.ram + 1;
	assert_int_equal(viommu_memory_add(mem, &r), 0);
	for (int i = 0; i < LOOKS; i++) {
		assert_int_equal(viommu_dma_load(w.ep, 0x1000, 8, &val),
				 -EINVAL);
		assert_int_equal(viommu_dma_load(w.ep, 0x1003, 1, &val), 0);
		assert_int_equal(val, w.ram[0x1004]);
	}
	world_free(&w);
}

/* Where one memory was is another one: most likely at the same address. */
static void another_memory_is_another(void **state)
{
	struct viommu_endpoint_config ec = { .size = sizeof(ec), .id = 2 };
	struct viommu_region r = { .size = sizeof(r),
				   .len = 0x2000,
				   .prot = VIOMMU_READ | VIOMMU_WRITE };
	struct viommu_memory *mem;
	struct viommu_fence f;
	struct world w, v;

	(void)state;
	setup(&w, 1);
	v = w;
	for (uint64_t i = 0; i < 4; i++) {
		assert_int_equal(viommu_memory_create(w.vi, &mem), 0);
		ec.memory = mem;
		r.host = w.ram + 0x1000 * i;
		assert_int_equal(viommu_memory_add(mem, &r), 0);
		assert_int_equal(viommu_endpoint_create(w.vi, &ec, &v.ep), 0);
		viommu_fence_init(&f);
		assert_int_equal(viommu_endpoint_attach(v.ep, w.space, &f), 0);
		fence_run(&f);
		sees(&v, 0x1000, 0x1000 * i + 0x1001);
		sees(&w, 0x1000, 0x1001);
		sees(&v, 0x1000, 0x1000 * i + 0x1001);
		viommu_fence_init(&f);
		viommu_endpoint_destroy(v.ep, &f);
		fence_run(&f);
		viommu_fence_init(&f);
		viommu_memory_destroy(mem, &f);
		fence_run(&f);
	}
	world_free(&w);
}

static void the_end_of_memory_is_its_end(void **state)
{
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = 0x100000,
				   .len = 0xffc,
				   .prot = VIOMMU_READ };
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w, 1);
	r.host = w.ram + 0x3000;
	assert_int_equal(viommu_memory_add(viommu_memory_of(w.vi), &r), 0);
	assert_int_equal(map_rw(&w, 0x3000, 0x3fff, 0x100000), 0);
	sees(&w, 0x3000, 0x3001);
	sees(&w, 0x3ff0, 0x3ff1);
	for (int i = 0; i < LOOKS; i++) {
		assert_int_equal(viommu_dma_load(w.ep, 0x3ff8, 4, &val), 0);
		faults(&w, 0x3ff8);
		assert_int_equal(viommu_dma_store(w.ep, 0x3000, 8, 1), -EACCES);
	}
	world_free(&w);
}

/* The leaf in the same slot of another table would do, but is not it. */
static void a_burst_tells_tables_apart(void **state)
{
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = 0x201000,
				   .len = 0x1000,
				   .prot = VIOMMU_READ };
	struct world w;

	(void)state;
	setup(&w, 1);
	r.host = w.ram + 0x8000;
	assert_int_equal(viommu_memory_add(viommu_memory_of(w.vi), &r), 0);
	assert_int_equal(map_rw(&w, 0x201000, 0x201fff, 0x5000), 0);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	/* reads what the leaf of 0x1000 would mean there: it is remembered */
	assert_int_equal(map_rw(&w, 0x2000, 0x2fff, 0x201000), 0);
	for (int i = 0; i < LOOKS; i++)
		assert_int_equal(load(&w, 0x2000), 0x8001);
	assert_int_equal(load(&w, 0x201000), 0x5001);
	assert_int_equal(load(&w, 0x1000), 0x1001);
	viommu_dma_exit(w.ep);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	for (int i = 0; i < LOOKS; i++)
		assert_int_equal(load(&w, 0x2000), 0x8001);
	assert_int_equal(load(&w, 0x1000), 0x1001);
	assert_int_equal(load(&w, 0x201000), 0x5001);
	viommu_dma_exit(w.ep);
	world_free(&w);
}

/* In a burst, from whatever table it remembers: pages near and far, a large
 * leaf, holes, and all of them replaced. */
static void bursts_find_their_way(void **state)
{
	static const uint64_t at[] = { 0x0,	     0x1000,
				       0x200000,     0x40000000,
				       0x40001000,   0x8000000000,
				       0x8000200000, 0x800000000000 };
	enum {
		N = sizeof(at) / sizeof(*at)
	};
	struct viommu_fence f;
	struct world w;
	uint64_t val;
	unsigned x = 1;

	(void)state;
	world_make(&w, NULL, 4096);
	for (uint64_t a = 0; a < WORLD_RAM; a += 8)
		memcpy(w.ram + a, &(uint64_t){ a + 1 }, 8);
	for (uint64_t i = 0; i < N; i++)
		assert_int_equal(map_rw(&w, at[i], at[i] + 0xfff, i << 12), 0);
	assert_int_equal(map_rw(&w, 0x600000, 0x7fffff, 0), 0);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	for (int round = 0; round < 400; round++) {
		unsigned i, to;

		x = x * 1664525 + 1013904223;
		i = (x >> 8) % N;
		to = (x >> 16) % 16;
		assert_int_equal(load(&w, 0x602008), 0x2009);
		viommu_fence_init(&f);
		if (round % 3) {
			assert_int_equal(viommu_space_remap(
						 w.space,
						 &(struct viommu_mapping){
							 .start = at[i],
							 .last = at[i] + 0xfff,
							 .gpa = to << 12,
							 .prot = VIOMMU_READ },
						 &f),
					 0);
		} else {
			assert_int_equal(viommu_space_unmap(w.space, at[i],
							    at[i] + 0xfff, &f),
					 0x1000);
			assert_int_equal(viommu_dma_load(w.ep, at[i], 8, &val),
					 -EFAULT);
			assert_int_equal(
				map_rw(&w, at[i], at[i] + 0xfff, to << 12), 0);
		}
		assert_int_equal(load(&w, at[i] + 8), (to << 12) + 9);
		/* under the burst's own pin, which is left and taken again */
		viommu_dma_exit(w.ep);
		fence_run(&f);
		assert_int_equal(viommu_dma_enter(w.ep), 0);
		for (unsigned j = 0; j < round % 4u; j++)
			(void)load(&w, at[(i + j) % N]);
	}
	viommu_dma_exit(w.ep);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_instances_are_two),
		cmocka_unit_test(a_page_that_went_is_gone),
		cmocka_unit_test(memory_that_went_is_gone),
		cmocka_unit_test(another_memory_is_another),
		cmocka_unit_test(the_end_of_memory_is_its_end),
		cmocka_unit_test(a_burst_tells_tables_apart),
		cmocka_unit_test(bursts_find_their_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
