/* SPDX-License-Identifier: BSD-2-Clause */
/* Bursts: the same accesses, and what a fence sees of them. */
#include "world.h"

static uint64_t load(struct world *w, uint64_t iova)
{
	uint64_t val = 0;

	assert_int_equal(viommu_dma_load(w->ep, iova, 8, &val), 0);
	return val;
}

static void take(struct world *w, uint64_t start, uint64_t last,
		 struct viommu_fence *f)
{
	viommu_fence_init(f);
	assert_in_range(viommu_space_unmap(w->space, start, last, f), 0,
			INT64_MAX);
	viommu_fence_commit(f, NULL, NULL);
}

/* Pages 0 to 15 at themselves; words are their addresses, and one. */
static void setup(struct world *w)
{
	world_make(w, NULL, 4096);
	for (uint64_t a = 0; a < WORLD_RAM; a += 8)
		memcpy(w->ram + a, &(uint64_t){ a + 1 }, 8);
	for (uint64_t a = 0; a < 0x10000; a += 0x1000)
		assert_int_equal(map_rw(w, a, a + 0xfff, a), 0);
}

static void words_in_a_burst_are_words(void **state)
{
	uint64_t old = 0x2009;
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	for (int round = 0; round < 2; round++)
		for (uint64_t a = 0; a < 0x10000; a += 0x808)
			assert_int_equal(load(&w, a), a + 1);
	assert_int_equal(viommu_dma_store(w.ep, 0x3010, 4, 0xabcd), 0);
	assert_int_equal(w.ram[0x3010] | w.ram[0x3011] << 8, 0xabcd);
	assert_int_equal(viommu_dma_cas(w.ep, 0x2008, 8, &old, 7), 0);
	assert_int_equal(old, 0x2009);
	assert_int_equal(w.ram[0x2008], 7);
	assert_int_equal(viommu_dma_store(w.ep, 0x3012, 4, 1), -EINVAL);
	assert_int_equal(viommu_dma_load(w.ep, 0, 3, &old), -EINVAL);
	assert_int_equal(viommu_dma_load(w.ep, 0, 0, &old), -EINVAL);
	assert_int_equal(viommu_dma_load(w.ep, 0, 16, &old), -EINVAL);
	assert_int_equal(w.nfaults, 0);
	viommu_dma_exit(w.ep);
	world_free(&w);
}

static void faults_in_a_burst_are_reported(void **state)
{
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w);
	assert_int_equal(map_prot(&w, 0x20000, 0x20fff, 0, VIOMMU_READ), 0);
	assert_int_equal(map_rw(&w, 0x30000, 0x30fff, WORLD_RAM), 0);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	assert_int_equal(load(&w, 0x20000), 1);
	assert_int_equal(viommu_dma_store(w.ep, 0x20000, 8, 1), -EACCES);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_PERMISSION);
	assert_int_equal(viommu_dma_load(w.ep, 0x30000, 8, &val), -EFAULT);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_MEMORY);
	assert_int_equal(viommu_dma_load(w.ep, 0x10000, 8, &val), -EFAULT);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_UNMAPPED);
	assert_int_equal(w.nfaults, 3);
	assert_int_equal(load(&w, 0x1000), 0x1001);
	viommu_dma_exit(w.ep);
	world_free(&w);
}

/* L2: what was taken is gone at the commit, though the burst goes on. */
static void sees_every_change_at_once(void **state)
{
	struct viommu_fence f;
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	assert_int_equal(load(&w, 0x2000), 0x2001);
	take(&w, 0x2000, 0x2fff, &f);
	assert_int_equal(viommu_dma_load(w.ep, 0x2000, 8, &val), -EFAULT);
	assert_int_equal(load(&w, 0x3000), 0x3001);
	assert_int_equal(map_rw(&w, 0x2000, 0x2fff, 0x5000), 0);
	assert_int_equal(load(&w, 0x2000), 0x5001);
	/* all of the table, and another one in its place */
	assert_false(viommu_fence_done(&f));
	viommu_dma_exit(w.ep);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	take(&w, 0, UINT64_MAX, &f);
	assert_int_equal(viommu_dma_load(w.ep, 0x2000, 8, &val), -EFAULT);
	assert_int_equal(map_rw(&w, 0x200000, 0x200fff, 0), 0);
	assert_int_equal(load(&w, 0x200000), 1);
	assert_int_equal(map_rw(&w, 0x2000, 0x2fff, 0x6000), 0);
	assert_int_equal(load(&w, 0x2000), 0x6001);
	/* the tree grows above what is remembered */
	assert_int_equal(map_rw(&w, UINT64_MAX - 0xfff, UINT64_MAX, 0x1000), 0);
	assert_int_equal(load(&w, UINT64_MAX - 7), 0x1ff9);
	assert_int_equal(load(&w, 0x2000), 0x6001);
	viommu_dma_exit(w.ep);
	assert_true(viommu_fence_done(&f));
	world_free(&w);
}

static void a_fence_waits_for_the_outermost_end(void **state)
{
	struct viommu_fence f;
	struct world w;

	(void)state;
	setup(&w);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	take(&w, 0x2000, 0x2fff, &f);
	viommu_dma_exit(w.ep);
	assert_false(viommu_fence_done(&f));
	viommu_dma_exit(w.ep);
	assert_true(viommu_fence_done(&f));
	world_free(&w);
}

/* One that was committed before does not concern the burst. */
static void an_older_fence_does_not_wait(void **state)
{
	struct viommu_dma d;
	struct viommu_fence f;
	struct iovec iov;
	struct world w;

	(void)state;
	setup(&w);
	d = (struct viommu_dma){ .ep = w.ep,
				 .iova = 0x2000,
				 .len = 1,
				 .prot = VIOMMU_READ,
				 .iov = &iov,
				 .max_iov = 1 };
	assert_int_equal(viommu_dma_map(&d), 0);
	take(&w, 0x2000, 0x2fff, &f);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	viommu_dma_unmap(&d, 0);
	assert_true(viommu_fence_done(&f));
	viommu_dma_exit(w.ep);
	world_free(&w);
}

static struct viommu_endpoint *endpoint(struct world *w, uint32_t id,
					struct viommu_space *space)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = id,
					    .pasid = VIOMMU_NO_PASID };
	struct viommu_endpoint *ep;
	struct viommu_fence f;

	assert_int_equal(viommu_endpoint_create(w->vi, &c, &ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(ep, space, &f), 0);
	fence_run(&f);
	return ep;
}

static void endpoint_away(struct viommu_endpoint *ep)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep, &f);
	fence_run(&f);
}

static struct viommu_space *space_at(struct world *w, uint64_t gpa)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = 4096 };
	struct viommu_mapping m = {
		.start = 0x2000, .last = 0x2fff, .gpa = gpa, .prot = VIOMMU_READ
	};
	struct viommu_space *s;

	assert_int_equal(viommu_space_create(w->vi, &sc, &s), 0);
	assert_int_equal(viommu_space_map(s, &m), 0);
	return s;
}

static void space_away(struct viommu_space *s)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_space_destroy(s, &f);
	fence_run(&f);
}

static void bursts_of_three_endpoints_nest(void **state)
{
	struct viommu_endpoint *ep[4];
	struct viommu_space *s[4];
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w);
	for (uint32_t i = 0; i < 4; i++) {
		s[i] = space_at(&w, 0x3000 + i * 0x1000);
		ep[i] = endpoint(&w, 10 + i, s[i]);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(viommu_dma_enter(ep[i]), 0);
	assert_int_equal(viommu_dma_enter(ep[3]), -EAGAIN);
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(viommu_dma_load(ep[i], 0x2000, 8, &val), 0);
		assert_int_equal(val, 0x3001 + i * 0x1000);
	}
	viommu_dma_exit(ep[1]); /* in any order */
	assert_int_equal(viommu_dma_enter(ep[3]), 0);
	viommu_dma_exit(ep[0]);
	viommu_dma_exit(ep[2]);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(viommu_dma_load(ep[i], 0x2000, 8, &val), 0);
	viommu_dma_exit(ep[3]);
	for (int i = 0; i < 4; i++) {
		endpoint_away(ep[i]);
		space_away(s[i]);
	}
	world_free(&w);
}

/* Attached elsewhere in the middle: the next access sees it (L2), and who
 * waits for the former space need not wait for the rest of the burst. */
static void follows_its_endpoint(void **state)
{
	struct viommu_space *s;
	struct viommu_fence f, g;
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w);
	s = space_at(&w, 0x7000);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	assert_int_equal(load(&w, 0x2000), 0x2001);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w.ep, s, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(load(&w, 0x2000), 0x7001);
	assert_true(viommu_fence_done(&f));
	take(&w, 0, UINT64_MAX, &g); /* frees tables: waits for any access */
	viommu_fence_init(&f);
	viommu_endpoint_detach(w.ep, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_dma_load(w.ep, 0x2000, 8, &val), -EFAULT);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_DETACHED);
	viommu_dma_exit(w.ep);
	assert_true(viommu_fence_done(&f));
	assert_true(viommu_fence_done(&g));
	space_away(s);
	world_free(&w);
}

/* Who is told, when a burst lets go of the space it named, may begin a burst of
 * another endpoint: that one's space is not this access's. */
static struct viommu_endpoint *begun;

static void on_done_enter(struct viommu_fence *f, void *arg)
{
	(void)f;
	(void)arg;
	assert_int_equal(viommu_dma_enter(begun), 0);
}

static void a_callback_may_begin_a_burst(void **state)
{
	struct viommu_space *mine, *other;
	struct viommu_fence f;
	struct world w;

	(void)state;
	setup(&w);
	mine = space_at(&w, 0x4000);
	other = space_at(&w, 0x9000);
	begun = endpoint(&w, 20, other);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w.ep, mine, &f), 0);
	viommu_fence_commit(&f, on_done_enter, NULL);
	assert_int_equal(load(&w, 0x2000), 0x4001);
	assert_int_equal(load(&w, 0x2008), 0x4009);
	viommu_dma_exit(begun);
	viommu_dma_exit(w.ep);
	endpoint_away(begun);
	space_away(mine);
	space_away(other);
	world_free(&w);
}

static void identity_and_small_granules_work(void **state)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_IDENTITY,
					  .page_sizes = 4096 };
	struct viommu_space *s, *bytes;
	struct viommu_fence f;
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w);
	assert_int_equal(viommu_space_create(w.vi, &sc, &s), 0);
	sc.kind = VIOMMU_SPACE_MAPPED;
	sc.page_sizes = 1;
	assert_int_equal(viommu_space_create(w.vi, &sc, &bytes), 0);
	/* one word in eight mappings */
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(
			viommu_space_map(bytes,
					 &(struct viommu_mapping){
						 .start = 0x100 + i,
						 .last = 0x100 + i,
						 .gpa = 0x4000 + i,
						 .prot = VIOMMU_READ }),
			0);
	assert_int_equal(viommu_dma_enter(w.ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w.ep, s, &f), 0);
	assert_int_equal(load(&w, 0x5000), 0x5001);
	assert_int_equal(viommu_endpoint_attach(w.ep, bytes, &f), 0);
	assert_int_equal(load(&w, 0x100), 0x4001);
	assert_int_equal(viommu_dma_load(w.ep, 0x108, 1, &val), -EFAULT);
	viommu_dma_exit(w.ep);
	fence_run(&f);
	space_away(s);
	space_away(bytes);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_in_a_burst_are_words),
		cmocka_unit_test(faults_in_a_burst_are_reported),
		cmocka_unit_test(sees_every_change_at_once),
		cmocka_unit_test(a_fence_waits_for_the_outermost_end),
		cmocka_unit_test(an_older_fence_does_not_wait),
		cmocka_unit_test(bursts_of_three_endpoints_nest),
		cmocka_unit_test(follows_its_endpoint),
		cmocka_unit_test(a_callback_may_begin_a_burst),
		cmocka_unit_test(identity_and_small_granules_work),
	};

	return cmocka_run_group_tests_name("burst", tests, NULL, NULL);
}
