/* SPDX-License-Identifier: BSD-2-Clause */
/* The law in one thread: L1 to L6 of docs/LAW.md, by number. */
#include "world.h"

static struct iovec iov[8];

static struct viommu_dma hold(struct world *w, uint64_t iova, uint64_t len)
{
	struct viommu_dma d = { .ep = w->ep,
				.iova = iova,
				.len = len,
				.prot = VIOMMU_READ,
				.iov = iov,
				.max_iov = 8 };

	assert_int_equal(viommu_dma_map(&d), 0);
	return d;
}

static void on_done(struct viommu_fence *f, void *arg)
{
	assert_true(viommu_fence_done(f));
	++*(int *)arg;
}

static void fence_of_nothing_is_done_at_once(void **state)
{
	struct viommu_fence f;
	int done = 0;

	(void)state;
	viommu_fence_init(&f);
	viommu_fence_commit(&f, on_done, &done);
	assert_int_equal(done, 1);
	assert_true(viommu_fence_done(&f));
}

static void waits_for_an_overlapping_map(void **state) /* L3 */
{
	struct viommu_fence f;
	struct viommu_dma d;
	struct world w;
	int done = 0;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0x10000, 0x10fff, 0), 0);
	d = hold(&w, 0x10800, 0x100);
	assert_ptr_equal(d.iov[0].iov_base, w.ram + 0x800);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w.space, 0x10000, 0x10fff, &f),
			 0x1000);
	viommu_fence_commit(&f, on_done, &done);
	assert_int_equal(done, 0);
	assert_false(viommu_fence_done(&f));
	viommu_dma_unmap(&d, 0);
	assert_int_equal(done, 1);
	world_free(&w);
}

static void taken_at_commit_though_not_done(void **state) /* L2 */
{
	struct viommu_fence f;
	struct viommu_dma d;
	struct world w;
	char c;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0x10000, 0x10fff, 0), 0);
	d = hold(&w, 0x10000, 1);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w.space, 0, UINT64_MAX, &f),
			 0x1000);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_dma_read(w.ep, 0x10000, &c, 1), -EFAULT);
	assert_int_equal(viommu_fence_wait(&f, 1000000), -ETIMEDOUT);
	viommu_dma_unmap(&d, 0);
	assert_int_equal(viommu_fence_wait(&f, -1), 0);
	world_free(&w);
}

static void ignores_maps_elsewhere(void **state) /* L6 */
{
	struct viommu_endpoint_config ec = { .size = sizeof(ec), .id = 2 };
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = 4096 };
	struct viommu_mapping m = { .start = 0x10000,
				    .last = 0x10fff,
				    .prot = VIOMMU_READ };
	struct viommu_space *space2;
	struct viommu_endpoint *ep2;
	struct viommu_dma d, d2;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_create(w.vi, &sc, &space2), 0);
	assert_int_equal(viommu_endpoint_create(w.vi, &ec, &ep2), 0);
	assert_int_equal(viommu_endpoint_attach(ep2, space2, &f), 0);
	assert_int_equal(viommu_space_map(space2, &m), 0);
	assert_int_equal(map_rw(&w, 0x10000, 0x10fff, 0), 0);
	assert_int_equal(map_rw(&w, 0x11000, 0x11fff, 0), 0);
	d = hold(&w, 0x11000, 1); /* the next byte, same space */
	d2 = d;
	d2.ep = ep2;
	d2.iova = 0x10000; /* same range, other space */
	assert_int_equal(viommu_dma_map(&d2), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w.space, 0x10000, 0x10fff, &f),
			 0x1000);
	viommu_fence_commit(&f, NULL, NULL);
	assert_true(viommu_fence_done(&f));
	viommu_dma_unmap(&d, 0);
	viommu_dma_unmap(&d2, 0);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep2, &f);
	viommu_space_destroy(space2, &f);
	fence_run(&f);
	world_free(&w);
}

static void ignores_maps_made_after_it(void **state) /* L6 */
{
	struct viommu_dma old, young;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	old = hold(&w, 0, 1);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0xfff, &f), 0x1000);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0x1000), 0);
	young = hold(&w, 0, 1);
	assert_ptr_equal(young.iov[0].iov_base, w.ram + 0x1000);
	viommu_dma_unmap(&old, 0);
	assert_true(viommu_fence_done(&f));
	viommu_dma_unmap(&young, 0);
	world_free(&w);
}

static void hole_is_waited_for_too(void **state)
{
	/* a second unmap of what the first still waits for must not be early */
	struct viommu_fence f, g;
	struct viommu_dma d;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	d = hold(&w, 0, 1);
	viommu_fence_init(&f);
	viommu_fence_init(&g);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0xfff, &f), 0x1000);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0xfff, &g), 0);
	viommu_fence_commit(&g, NULL, NULL);
	assert_false(viommu_fence_done(&g));
	viommu_dma_unmap(&d, 0);
	assert_true(viommu_fence_done(&f));
	assert_true(viommu_fence_done(&g));
	world_free(&w);
}

static void gathers_more_than_it_has_room_for(void **state) /* L4, L5 */
{
	struct viommu_fence f;
	struct viommu_dma d[10];
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	for (unsigned i = 0; i < 10; i++) {
		uint64_t at = i * UINT64_C(0x100000);

		assert_int_equal(map_rw(&w, at, at + 0xfff, 0), 0);
		d[i] = hold(&w, at, 1);
	}
	viommu_fence_init(&f);
	for (unsigned i = 0; i < 10; i++) {
		uint64_t at = i * UINT64_C(0x100000);

		assert_int_equal(
			viommu_space_unmap(w.space, at, at + 0xfff, &f),
			0x1000);
	}
	viommu_fence_commit(&f, NULL, NULL);
	for (unsigned i = 0; i < 10; i++) {
		assert_false(viommu_fence_done(&f));
		viommu_dma_unmap(&d[(i * 7) % 10], 0);
	}
	assert_true(viommu_fence_done(&f));
	world_free(&w);
}

static void several_spaces_overflow_to_everything(void **state) /* L4 */
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = 4096 };
	struct viommu_space *s[9];
	struct viommu_fence f, g;
	struct viommu_dma d;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	d = hold(&w, 0, 1);
	viommu_fence_init(&f);
	for (int i = 0; i < 9; i++) {
		assert_int_equal(viommu_space_create(w.vi, &sc, &s[i]), 0);
		viommu_space_destroy(s[i], &f);
	}
	assert_int_equal(viommu_space_unmap(w.space, 0, 0xfff, &f), 0x1000);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	viommu_fence_init(&g); /* an unrelated one is not held up */
	assert_int_equal(viommu_space_unmap(w.space, 0x5000, 0x5fff, &g), 0);
	viommu_fence_commit(&g, NULL, NULL);
	assert_true(viommu_fence_done(&g));
	viommu_dma_unmap(&d, 0);
	assert_true(viommu_fence_done(&f));
	world_free(&w);
}

static void endpoints_of_one_space_stay_in_it(void **state) /* L6 */
{
	struct viommu_endpoint_config ec = { .size = sizeof(ec) };
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = 4096 };
	struct viommu_mapping m = { .last = 0xfff, .prot = VIOMMU_READ };
	struct viommu_endpoint *ep[20];
	struct viommu_space *from, *to;
	struct viommu_dma d, d2;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	assert_int_equal(viommu_space_create(w.vi, &sc, &from), 0);
	assert_int_equal(viommu_space_create(w.vi, &sc, &to), 0);
	assert_int_equal(viommu_space_map(from, &m), 0);
	viommu_fence_init(&f);
	for (uint32_t i = 0; i < 20; i++) {
		ec.id = 100 + i;
		assert_int_equal(viommu_endpoint_create(w.vi, &ec, &ep[i]), 0);
		assert_int_equal(viommu_endpoint_attach(ep[i], from, &f), 0);
	}
	fence_run(&f);
	d = hold(&w, 0, 1); /* elsewhere: never in the way */
	d2 = d;
	d2.ep = ep[19];
	assert_int_equal(viommu_dma_map(&d2), 0);
	viommu_fence_init(&f);
	for (int i = 0; i < 20; i++)
		assert_int_equal(viommu_endpoint_attach(ep[i], to, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	viommu_dma_unmap(&d2, 0);
	assert_true(viommu_fence_done(&f));
	viommu_dma_unmap(&d, 0);
	viommu_fence_init(&f);
	for (int i = 0; i < 20; i++)
		viommu_endpoint_destroy(ep[i], &f);
	viommu_space_destroy(from, &f);
	viommu_space_destroy(to, &f);
	fence_run(&f);
	world_free(&w);
}

static void check_done(struct viommu_fence *f, void *arg)
{
	(void)f;
	assert_true(viommu_fence_done(arg));
}

static void callbacks_come_last(void **state)
{
	struct viommu_fence f, g;
	struct viommu_dma d;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	d = hold(&w, 0, 1);
	viommu_fence_init(&f);
	viommu_fence_init(&g);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0xfff, &f), 0x1000);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0xfff, &g), 0);
	viommu_fence_commit(&f, check_done, &g);
	viommu_fence_commit(&g, NULL, NULL);
	viommu_dma_unmap(&d, 0);
	assert_true(viommu_fence_done(&f));
	world_free(&w);
}

static void hold_and_release(void **state)
{
	struct viommu_fence f;
	struct world w;
	int done = 0;

	(void)state;
	world_make(&w, NULL, 4096);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w.space, 0, UINT64_MAX, &f), 0);
	viommu_fence_hold(&f);
	viommu_fence_hold(&f);
	viommu_fence_commit(&f, on_done, &done);
	viommu_fence_release(&f);
	assert_int_equal(done, 0);
	viommu_fence_release(&f);
	assert_int_equal(done, 1);
	world_free(&w);
}

static void detach_waits_for_that_endpoint_only(void **state)
{
	struct viommu_endpoint_config ec = { .size = sizeof(ec), .id = 2 };
	struct viommu_endpoint *ep2;
	struct viommu_dma d, d2;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_create(w.vi, &ec, &ep2), 0);
	assert_int_equal(viommu_endpoint_attach(ep2, w.space, &f), 0);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	d = hold(&w, 0, 1);
	d2 = d;
	d2.ep = ep2;
	assert_int_equal(viommu_dma_map(&d2), 0);
	viommu_fence_init(&f);
	viommu_endpoint_detach(ep2, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(
		viommu_dma_map(&(struct viommu_dma){ .ep = ep2,
						     .len = 1,
						     .prot = VIOMMU_READ,
						     .iov = iov,
						     .max_iov = 1 }),
		-EFAULT);
	viommu_dma_unmap(&d2, 0);
	assert_true(viommu_fence_done(&f));
	viommu_dma_unmap(&d, 0);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep2, &f);
	fence_run(&f);
	world_free(&w);
}

static void moving_waits_for_the_old_space_only(void **state) /* L7 */
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = 4096 };
	struct viommu_mapping m = { .last = 0xfff,
				    .gpa = 0x2000,
				    .prot = VIOMMU_READ };
	struct viommu_space *space2;
	struct viommu_dma old, young;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(viommu_space_create(w.vi, &sc, &space2), 0);
	assert_int_equal(viommu_space_map(space2, &m), 0);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0x1000), 0);
	old = hold(&w, 0, 1);
	assert_ptr_equal(old.iov[0].iov_base, w.ram + 0x1000);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w.ep, space2, &f), 0);
	young = hold(&w, 0, 1); /* before the commit: sees the new one */
	assert_ptr_equal(young.iov[0].iov_base, w.ram + 0x2000);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	viommu_dma_unmap(&old, 0);
	assert_true(viommu_fence_done(&f));
	viommu_dma_unmap(&young, 0);
	viommu_fence_init(&f);
	viommu_space_destroy(space2, &f);
	fence_run(&f);
	world_free(&w);
}

static void handles_outlive_their_objects(void **state) /* L8 */
{
	struct viommu_fence f;
	struct viommu_dma d;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	d = hold(&w, 0, 16);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(w.ep, &f);
	viommu_space_destroy(w.space, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	memset(d.iov[0].iov_base, 0x5a, d.iov[0].iov_len);
	viommu_dma_unmap(&d, 16);
	assert_true(viommu_fence_done(&f));
	viommu_destroy(w.vi);
	assert_int_equal(w.ram[15], 0x5a);
	free(w.ram);
}

static void counts_fences_and_their_waits(void **state)
{
	struct viommu_stats st;
	struct viommu_fence f;
	struct viommu_dma d;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	d = hold(&w, 0, 1);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0xfff, &f), 0x1000);
	viommu_fence_commit(&f, NULL, NULL);
	viommu_read_stats(w.vi, &st);
	assert_int_equal(st.fences_pending, 1);
	assert_int_equal(viommu_fence_wait(&f, 2000000), -ETIMEDOUT);
	viommu_dma_unmap(&d, 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(unmap(&w, 0, 0xfff), 0);
	viommu_read_stats(w.vi, &st);
	assert_int_equal(st.fences_pending, 0);
	assert_int_equal(st.fences, 4);
	assert_int_equal(st.fences_waited, 1);
	assert_int_equal(st.mapped, 1);
	assert_int_equal(st.unmapped, 1);
	assert_int_equal(st.mappings, 0);
	assert_int_equal(st.maps, 1);
	assert_int_equal(st.fence_wait_ns_p50, 0);
	assert_true(st.fence_wait_ns_p99 >= 2000000 * 7 / 8);
	assert_true(st.fence_wait_ns_max >= st.fence_wait_ns_p99);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fence_of_nothing_is_done_at_once),
		cmocka_unit_test(waits_for_an_overlapping_map),
		cmocka_unit_test(taken_at_commit_though_not_done),
		cmocka_unit_test(ignores_maps_elsewhere),
		cmocka_unit_test(ignores_maps_made_after_it),
		cmocka_unit_test(hole_is_waited_for_too),
		cmocka_unit_test(gathers_more_than_it_has_room_for),
		cmocka_unit_test(several_spaces_overflow_to_everything),
		cmocka_unit_test(endpoints_of_one_space_stay_in_it),
		cmocka_unit_test(callbacks_come_last),
		cmocka_unit_test(hold_and_release),
		cmocka_unit_test(detach_waits_for_that_endpoint_only),
		cmocka_unit_test(moving_waits_for_the_old_space_only),
		cmocka_unit_test(handles_outlive_their_objects),
		cmocka_unit_test(counts_fences_and_their_waits),
	};

	return cmocka_run_group_tests_name("fence", tests, NULL, NULL);
}
