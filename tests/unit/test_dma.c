/* SPDX-License-Identifier: BSD-2-Clause */
/* Accesses: what they see, what they are refused, what they report. */
#include "seat.h"
#include "world.h"

static struct iovec iov[64];

static int hold(struct world *w, struct viommu_dma *d, uint64_t iova,
		uint64_t len, uint32_t prot, uint32_t max_iov)
{
	*d = (struct viommu_dma){ .ep = w->ep,
				  .iova = iova,
				  .len = len,
				  .prot = prot,
				  .iov = iov,
				  .max_iov = max_iov };
	return viommu_dma_map(d);
}

static void copies_cross_any_number_of_mappings(void **state)
{
	unsigned char out[6 * 4096], in[sizeof(out)];
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	/* adjacent IOVA, scattered memory */
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(map_rw(&w, i * 4096, i * 4096 + 4095,
					(i * 5 % 8) * 8192),
				 0);
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (unsigned char)(i * 7 + i / 4096);
	assert_int_equal(viommu_dma_write(w.ep, 100, out, sizeof(out)), 0);
	assert_int_equal(viommu_dma_read(w.ep, 100, in, sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(in));
	/* and they are where they belong */
	assert_int_equal(w.ram[100], out[0]);
	assert_int_equal(w.ram[5 * 8192], out[4096 - 100]);
	assert_int_equal(w.nfaults, 0);
	world_free(&w);
}

static void refused_write_writes_nothing(void **state)
{
	unsigned char buf[8192];
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 4095, 0), 0);
	memset(buf, 0xee, sizeof(buf));
	assert_int_equal(viommu_dma_write(w.ep, 4095, buf, 2), -EFAULT);
	assert_int_equal(w.ram[4095], 0);
	assert_int_equal(w.ram[4096], 0);
	assert_int_equal(w.nfaults, 1);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_UNMAPPED);
	assert_int_equal(w.fault.start, 4096);
	assert_int_equal(w.fault.last, 4096);
	assert_int_equal(w.fault.prot, VIOMMU_WRITE);
	assert_int_equal(w.fault.id, 1);
	world_free(&w);
}

static void permissions_hold_both_ways(void **state)
{
	unsigned char c = 1;
	uint64_t val;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_prot(&w, 0, 4095, 0, VIOMMU_READ), 0);
	assert_int_equal(map_prot(&w, 4096, 8191, 4096, VIOMMU_WRITE), 0);
	assert_int_equal(viommu_dma_write(w.ep, 0, &c, 1), -EACCES);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_PERMISSION);
	assert_int_equal(w.fault.prot, VIOMMU_WRITE);
	assert_int_equal(viommu_dma_read(w.ep, 4096, &c, 1), -EACCES);
	assert_int_equal(w.fault.prot, VIOMMU_READ);
	assert_int_equal(viommu_dma_store(w.ep, 0, 4, 9), -EACCES);
	assert_int_equal(viommu_dma_load(w.ep, 4096, 4, &val), -EACCES);
	assert_int_equal(viommu_dma_cas(w.ep, 0, 4, &val, 9), -EACCES);
	assert_int_equal(w.fault.prot, VIOMMU_READ | VIOMMU_WRITE);
	assert_int_equal(viommu_dma_cas(w.ep, 4096, 4, &val, 9), -EACCES);
	assert_int_equal(w.nfaults, 6);
	assert_int_equal(viommu_dma_read(w.ep, 0, &c, 1), 0);
	assert_int_equal(viommu_dma_write(w.ep, 4096, &c, 1), 0);
	assert_int_equal(w.nfaults, 6);
	world_free(&w);
}

static void wrap_is_refused(void **state)
{
	unsigned char buf[8192];
	struct viommu_dma d;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, UINT64_MAX - 4095, UINT64_MAX, 0), 0);
	assert_int_equal(map_rw(&w, 0, 4095, 4096), 0);
	assert_int_equal(viommu_dma_write(w.ep, UINT64_MAX - 4095, buf, 4096),
			 0);
	assert_int_equal(w.nfaults, 0);
	assert_int_equal(viommu_dma_write(w.ep, UINT64_MAX - 4095, buf, 4097),
			 -EFAULT);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_UNMAPPED);
	assert_int_equal(w.fault.last, UINT64_MAX);
	assert_int_equal(viommu_dma_read(w.ep, UINT64_MAX, buf, 2), -EFAULT);
	assert_int_equal(viommu_dma_read(w.ep, 1, buf, SIZE_MAX), -EFAULT);
	assert_int_equal(hold(&w, &d, UINT64_MAX, 2, VIOMMU_READ, 64), -EFAULT);
	assert_int_equal(hold(&w, &d, 2, UINT64_MAX, VIOMMU_READ, 64), -EFAULT);
	assert_int_equal(w.nfaults, 5);
	world_free(&w);
}

static void fault_tells_how_far_it_goes(void **state)
{
	unsigned char buf[32768];
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 4095, 0), 0);
	assert_int_equal(map_rw(&w, 0x4000, 0x4fff, 0x4000), 0);
	assert_int_equal(viommu_dma_read(w.ep, 100, buf, 0x6000), -EFAULT);
	assert_int_equal(w.fault.start, 0x1000);
	assert_int_equal(w.fault.last, 0x3fff);
	assert_int_equal(viommu_dma_read(w.ep, 0x5000, buf, 0x2000), -EFAULT);
	assert_int_equal(w.fault.start, 0x5000);
	assert_int_equal(w.fault.last, 0x6fff);
	world_free(&w);
}

static void mapping_to_no_memory_faults(void **state)
{
	struct viommu_region ro = { .size = sizeof(ro),
				    .gpa = 0x100000,
				    .len = 4096,
				    .prot = VIOMMU_READ,
				    .fd = -1 };
	unsigned char c = 0;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	ro.host = w.ram;
	assert_int_equal(viommu_memory_add(viommu_memory_of(w.vi), &ro), 0);
	assert_int_equal(map_rw(&w, 0, 8191, 0x100000), 0);
	assert_int_equal(viommu_dma_read(w.ep, 0, &c, 1), 0);
	assert_int_equal(viommu_dma_write(w.ep, 5, &c, 1), -EACCES);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_MEMORY);
	assert_int_equal(w.fault.gpa, 0x100005);
	assert_int_equal(viommu_dma_read(w.ep, 4097, &c, 1), -EFAULT);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_MEMORY);
	assert_int_equal(w.fault.start, 4097);
	assert_int_equal(w.fault.gpa, 0x101001);
	world_free(&w);
}

static void detached_sees_nothing(void **state)
{
	struct viommu_fence f;
	unsigned char c;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 4095, 0), 0);
	viommu_fence_init(&f);
	viommu_endpoint_detach(w.ep, &f);
	fence_run(&f);
	assert_int_equal(viommu_dma_read(w.ep, 0, &c, 1), -EFAULT);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_DETACHED);
	assert_int_equal(viommu_dma_read(w.ep, 0, &c, 0), 0);
	world_free(&w);
}

static void words_are_little_endian(void **state)
{
	uint64_t val;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 4095, 0), 0);
	assert_int_equal(viommu_dma_store(w.ep, 8, 8, 0x0807060504030201), 0);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(w.ram[8 + i], i + 1);
	assert_int_equal(viommu_dma_load(w.ep, 10, 2, &val), 0);
	assert_int_equal(val, 0x0403);
	assert_int_equal(viommu_dma_load(w.ep, 15, 1, &val), 0);
	assert_int_equal(val, 8);
	val = 0x04030201;
	assert_int_equal(viommu_dma_cas(w.ep, 8, 4, &val, 0x11223344), 0);
	assert_int_equal(val, 0x04030201);
	assert_int_equal(w.ram[8], 0x44);
	val = 1;
	assert_int_equal(viommu_dma_cas(w.ep, 8, 4, &val, 5), 0);
	assert_int_equal(val, 0x11223344);
	assert_int_equal(w.ram[8], 0x44);
	for (unsigned size = 1; size <= 8; size *= 2) {
		val = 0;
		assert_int_equal(viommu_dma_cas(w.ep, 64, size, &val, 0xff), 0);
		assert_int_equal(val, 0);
		assert_int_equal(w.ram[64], 0xff);
		w.ram[64] = 0;
	}
	world_free(&w);
}

static void words_must_be_aligned(void **state)
{
	uint64_t val = 0;
	struct world w;

	(void)state;
	world_make(&w, NULL, 1);
	assert_int_equal(map_rw(&w, 0, 99, 1), 0); /* odd target */
	assert_int_equal(map_rw(&w, 100, 101, 100), 0);
	assert_int_equal(map_rw(&w, 102, 103, 102), 0);
	assert_int_equal(viommu_dma_load(w.ep, 1, 2, &val), -EINVAL);
	assert_int_equal(viommu_dma_load(w.ep, 0, 3, &val), -EINVAL);
	assert_int_equal(viommu_dma_load(w.ep, 0, 0, &val), -EINVAL);
	assert_int_equal(viommu_dma_load(w.ep, 0, 16, &val), -EINVAL);
	assert_int_equal(viommu_dma_store(w.ep, 0, 2, 1), -EINVAL);
	/* pieces that meet in memory are a word, others are none */
	assert_int_equal(viommu_dma_load(w.ep, 100, 4, &val), 0);
	assert_int_equal(map_rw(&w, 104, 105, 104), 0);
	assert_int_equal(map_rw(&w, 106, 107, 108), 0);
	assert_int_equal(viommu_dma_load(w.ep, 104, 4, &val), -EINVAL);
	assert_int_equal(viommu_dma_load(w.ep, 104, 2, &val), 0);
	assert_int_equal(viommu_dma_load(w.ep, 0, 1, &val), 0);
	assert_int_equal(w.nfaults, 0);
	world_free(&w);
}

static void map_gives_pieces_in_order(void **state)
{
	struct viommu_dma d;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 4095, 0x8000), 0);
	assert_int_equal(map_rw(&w, 4096, 8191, 0x2000), 0);
	assert_int_equal(map_rw(&w, 8192, 12287, 0x3000), 0);
	assert_int_equal(map_rw(&w, 12288, 16383, 0x1000), 0);
	assert_int_equal(hold(&w, &d, 10, 16000, VIOMMU_READ, 64), 0);
	/* the second and third meet in memory: one piece */
	assert_int_equal(d.niov, 3);
	assert_ptr_equal(iov[0].iov_base, w.ram + 0x8000 + 10);
	assert_int_equal(iov[0].iov_len, 4086);
	assert_ptr_equal(iov[1].iov_base, w.ram + 0x2000);
	assert_int_equal(iov[1].iov_len, 8192);
	assert_ptr_equal(iov[2].iov_base, w.ram + 0x1000);
	assert_int_equal(iov[2].iov_len, 16000 - 4086 - 8192);
	viommu_dma_unmap(&d, 0);
	assert_int_equal(hold(&w, &d, 10, 16000, VIOMMU_READ, 2), -E2BIG);
	assert_int_equal(w.nfaults, 0);
	assert_int_equal(hold(&w, &d, 0, 0, VIOMMU_READ, 2), -EINVAL);
	assert_int_equal(hold(&w, &d, 0, 1, 0, 2), -EINVAL);
	assert_int_equal(hold(&w, &d, 0, 1, VIOMMU_READ | VIOMMU_EXEC, 2),
			 -EINVAL);
	assert_int_equal(hold(&w, &d, 0, 16385, VIOMMU_READ, 64), -EFAULT);
	assert_int_equal(w.fault.start, 16384);
	assert_int_equal(unmap(&w, 0, UINT64_MAX), 16384);
	world_free(&w);
}

/* Far more than a thread has pins: a map is bounded by its owner's memory. */
static void maps_are_as_many_as_you_like(void **state)
{
	enum {
		N = 5000
	};
	struct viommu_dma *d = calloc(N, sizeof(*d));
	unsigned char c;
	struct world w;

	(void)state;
	assert_non_null(d);
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 4095, 0), 0);
	for (int i = 0; i < N; i++)
		assert_int_equal(hold(&w, &d[i], 0, 1, VIOMMU_READ, 1), 0);
	assert_int_equal(viommu_dma_read(w.ep, 0, &c, 1), 0);
	for (int i = 0; i < N; i++)
		viommu_dma_unmap(&d[i], 0);
	world_free(&w);
	free(d);
}

static void threads_are_limited(void **state)
{
	struct viommu_config cfg = { .size = sizeof(cfg), .max_threads = 1 };
	struct viommu_dma d;
	struct seat seat;
	unsigned char c;
	struct world w;

	(void)state;
	world_make(&w, &cfg, 4096);
	assert_int_equal(map_rw(&w, 0, 4095, 0), 0);
	seat_sit(&seat, viommu_memory_of(w.vi));
	assert_int_equal(viommu_dma_read(w.ep, 0, &c, 1), -EAGAIN);
	assert_int_equal(hold(&w, &d, 0, 1, VIOMMU_READ, 1), -EAGAIN);
	assert_int_equal(viommu_dma_enter(w.ep), -EAGAIN);
	assert_int_equal(w.nfaults, 0);
	seat_leave(&seat);
	assert_int_equal(viommu_dma_read(w.ep, 0, &c, 1), 0);
	assert_int_equal(w.nfaults, 0);
	world_free(&w);
}

static void nested_fault(void *arg, const struct viommu_fault *fault)
{
	struct world *w = arg;
	struct viommu_fence f;
	unsigned char c;

	w->nfaults++;
	w->fault = *fault;
	if (w->nfaults > 1)
		return;
	assert_int_equal(viommu_dma_read(w->ep, 0x5000, &c, 1), -EFAULT);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w->space, 0, UINT64_MAX, &f), 4096);
	/* the access that faulted is over: nothing to wait for */
	viommu_fence_commit(&f, NULL, NULL);
	assert_true(viommu_fence_done(&f));
}

static void handler_may_use_the_library(void **state)
{
	struct viommu_endpoint_config ec = { .size = sizeof(ec), .id = 9 };
	struct viommu_fence f;
	unsigned char c;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 4095, 0), 0);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(w.ep, &f);
	fence_run(&f);
	ec.fault = nested_fault;
	ec.arg = &w;
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_create(w.vi, &ec, &w.ep), 0);
	assert_int_equal(viommu_endpoint_attach(w.ep, w.space, &f), 0);
	assert_int_equal(viommu_dma_read(w.ep, 4096, &c, 1), -EFAULT);
	assert_int_equal(w.nfaults, 2);
	world_free(&w);
}

static void translate_looks_only(void **state)
{
	struct viommu_mapping m;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_prot(&w, 0x1000, 0x3fff, 0x7000, VIOMMU_READ), 0);
	assert_int_equal(viommu_dma_translate(w.ep, 0x2345, 0, &m), 0);
	assert_int_equal(m.start, 0x1000);
	assert_int_equal(m.last, 0x3fff);
	assert_int_equal(m.gpa, 0x7000);
	assert_int_equal(viommu_dma_translate(w.ep, 0x2345, VIOMMU_WRITE, &m),
			 -EACCES);
	assert_int_equal(viommu_dma_translate(w.ep, 0xfff, 0, &m), -EFAULT);
	assert_int_equal(viommu_dma_translate(w.ep, 0x4000, 0, &m), -EFAULT);
	assert_int_equal(w.nfaults, 0);
	world_free(&w);
}

static void identity_is_memory_itself(void **state)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_IDENTITY,
					  .page_sizes = 4096,
					  .last = 0x7fff };
	struct viommu_space *id;
	struct viommu_mapping m;
	struct viommu_fence f;
	unsigned char c = 3;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(viommu_space_create(w.vi, &sc, &id), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w.ep, id, &f), 0);
	fence_run(&f);
	assert_int_equal(viommu_dma_write(w.ep, 0x7fff, &c, 1), 0);
	assert_int_equal(w.ram[0x7fff], 3);
	assert_int_equal(viommu_dma_write(w.ep, 0x7fff, &w, 2), -EFAULT);
	assert_int_equal(w.fault.start, 0x8000);
	assert_int_equal(viommu_dma_translate(w.ep, 5, VIOMMU_WRITE, &m), 0);
	assert_int_equal(m.last, 0x7fff);
	assert_int_equal(viommu_dma_translate(w.ep, 0x8000, 0, &m), -EFAULT);
	viommu_fence_init(&f);
	viommu_space_destroy(id, &f);
	fence_run(&f);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies_cross_any_number_of_mappings),
		cmocka_unit_test(refused_write_writes_nothing),
		cmocka_unit_test(permissions_hold_both_ways),
		cmocka_unit_test(wrap_is_refused),
		cmocka_unit_test(fault_tells_how_far_it_goes),
		cmocka_unit_test(mapping_to_no_memory_faults),
		cmocka_unit_test(detached_sees_nothing),
		cmocka_unit_test(words_are_little_endian),
		cmocka_unit_test(words_must_be_aligned),
		cmocka_unit_test(map_gives_pieces_in_order),
		cmocka_unit_test(maps_are_as_many_as_you_like),
		cmocka_unit_test(threads_are_limited),
		cmocka_unit_test(handler_may_use_the_library),
		cmocka_unit_test(translate_looks_only),
		cmocka_unit_test(identity_is_memory_itself),
	};

	return cmocka_run_group_tests_name("dma", tests, NULL, NULL);
}
