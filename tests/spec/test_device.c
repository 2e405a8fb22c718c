/* SPDX-License-Identifier: BSD-2-Clause */
/* The device: features 5.13.3, configuration 5.13.4, life and reset. */
#include "world.h"

static uint64_t config64(struct world *w, size_t off)
{
	uint64_t val;

	viommu_virtio_config_read(w->v, off, &val, sizeof(val));
	return le64toh(val);
}

static uint32_t config32(struct world *w, size_t off)
{
	uint32_t val;

	viommu_virtio_config_read(w->v, off, &val, sizeof(val));
	return le32toh(val);
}

/* 5.13.3: BYPASS_CONFIG and not BYPASS: SHOULD NOT offer both. */
static void features(void **state)
{
	struct world *w = *state;

	assert_int_equal(viommu_virtio_features(w->v), 0x77);
}

static void config_of_defaults(void **state)
{
	struct world *w = *state;

	/* 5.13.4.2: at least one bit MUST be set */
	assert_true(config64(w, 0) == ~UINT64_C(0xfff));
	assert_true(config64(w, 8) == 0);
	assert_true(config64(w, 16) == UINT64_MAX);
	assert_int_equal(config32(w, 24), 0);
	assert_true(config32(w, 28) == UINT32_MAX);
	assert_int_equal(config32(w, 32), 512);
	/* bypass, reserved */
	assert_int_equal(config32(w, 36), 0);
}

static void config_as_given(void **state)
{
	struct viommu_virtio_config c = { .page_size_mask = 0x40201000,
					  .input_start = 0x1000,
					  .input_last = 0x7fffffffffff,
					  .domain_first = 3,
					  .domain_last = 1000,
					  .probe_size = 96,
					  .bypass = true };
	struct world w;

	(void)state;
	world_make(&w, &c);
	assert_true(config64(&w, 0) == 0x40201000);
	assert_true(config64(&w, 8) == 0x1000);
	assert_true(config64(&w, 16) == 0x7fffffffffff);
	assert_int_equal(config32(&w, 24), 3);
	assert_int_equal(config32(&w, 28), 1000);
	assert_int_equal(config32(&w, 32), 96);
	assert_int_equal(config32(&w, 36), 1);
	world_free(&w);
}

/* Any part of it, and beyond its last byte zeroes. */
static void config_read_anywhere(void **state)
{
	struct world *w = *state;
	uint8_t all[64], part[64];

	viommu_virtio_config_read(w->v, 0, all, sizeof(all));
	for (size_t off = 0; off < 48; off++)
		for (size_t len = 0; len < 16; len++) {
			memset(part, 0xa5, sizeof(part));
			viommu_virtio_config_read(w->v, off, part, len);
			assert_memory_equal(part, all + off, len);
			assert_int_equal(part[len], 0xa5);
		}
	for (size_t i = 40; i < 64; i++)
		assert_int_equal(all[i], 0);
	viommu_virtio_config_read(w->v, SIZE_MAX, part, 4);
	assert_int_equal(part[0], 0);
}

/* 5.13.4: everything but bypass is read-only. */
static void config_write_anywhere(void **state)
{
	struct world *w = *state;
	uint8_t before[40], after[40], ones[80];
	struct viommu_fence f;

	memset(ones, 0xff, sizeof(ones));
	viommu_virtio_config_read(w->v, 0, before, sizeof(before));
	viommu_fence_init(&f);
	for (size_t off = 0; off < 48; off++)
		viommu_virtio_config_write(w->v, off, ones, 80 - off, &f);
	viommu_virtio_config_write(w->v, SIZE_MAX, ones, 80, &f);
	viommu_virtio_config_read(w->v, 0, after, sizeof(after));
	assert_memory_equal(before, after, sizeof(before));
	/* bypass by a write that covers it */
	ones[36] = 1;
	viommu_virtio_config_write(w->v, 0, ones, 36, &f);
	assert_int_equal(bypass_read(w), 0);
	viommu_virtio_config_write(w->v, 0, ones, 40, &f);
	assert_int_equal(bypass_read(w), 1);
	ones[1] = 0;
	viommu_virtio_config_write(w->v, 35, ones, 2, &f);
	assert_int_equal(bypass_read(w), 0);
	fence_run(&f);
}

static int create_rc(struct viommu *vi, const struct viommu_virtio_config *c)
{
	struct viommu_virtio *v;
	struct viommu_fence f;
	int rc = viommu_virtio_create(vi, c, &v);

	if (rc)
		return rc;
	viommu_fence_init(&f);
	viommu_virtio_destroy(v, &f);
	fence_run(&f);
	return 0;
}

static void create_refuses(void **state)
{
	struct viommu_virtio_config c = { .size = sizeof(c) };
	struct {
		struct viommu_virtio_config c;
		uint8_t later[8];
	} later = { .c.size = sizeof(later) };
	struct world *w = *state;

	assert_int_equal(create_rc(w->vi, NULL), 0);
	assert_int_equal(create_rc(w->vi, &c), 0);
	c.size = 0;
	assert_int_equal(create_rc(w->vi, &c), -EINVAL);
	/* as an earlier version knew it */
	c.size = offsetof(struct viommu_virtio_config, input_start);
	c.input_start = 2;
	c.input_last = 1;
	assert_int_equal(create_rc(w->vi, &c), 0);
	c.size = sizeof(c);
	assert_int_equal(create_rc(w->vi, &c), -EINVAL);
	c.input_start = 0;
	c.domain_first = 2;
	c.domain_last = 1;
	assert_int_equal(create_rc(w->vi, &c), -EINVAL);
	c.domain_first = 0;
	c.page_size_mask = UINT64_C(1) << 40;
	assert_int_equal(create_rc(w->vi, &c), -EINVAL);
	c.page_size_mask = 0;
	c.probe_size = UINT32_MAX;
	assert_int_equal(create_rc(w->vi, &c), -EINVAL);
	/* as a later one does */
	assert_int_equal(create_rc(w->vi, &later.c), 0);
	later.later[7] = 1;
	assert_int_equal(create_rc(w->vi, &later.c), -EINVAL);
}

static void destroy_of_nothing(void **state)
{
	struct viommu_fence f;

	(void)state;
	viommu_fence_init(&f);
	viommu_virtio_destroy(NULL, &f);
	fence_run(&f);
}

/* The fence is the caller's, with more in it, and a callback. */
static void on_done(struct viommu_fence *f, void *arg)
{
	(void)f;
	++*(int *)arg;
}

static void destroy_with_others_work(void **state)
{
	struct world *w = *state;
	struct viommu_virtio *v;
	struct viommu_fence f;
	int done = 0;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
	assert_int_equal(viommu_virtio_create(w->vi, NULL, &v), 0);
	viommu_fence_init(&f);
	viommu_virtio_destroy(v, &f);
	viommu_virtio_destroy(w->v, &f);
	w->gone = true;
	assert_int_equal(peek(w, 0, 0), -EFAULT);
	viommu_fence_commit(&f, on_done, &done);
	assert_int_equal(done, 1);
}

/* Nothing is left of an endpoint that was taken away, its domain neither. */
static void remove_endpoint(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;
	struct ask a;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(attach(w, 2, EP + 1), OK);
	assert_int_equal(attach(w, 2, EP + 2), OK);
	assert_int_equal(map(w, 2, 0, 4095, 0), OK);
	viommu_fence_init(&f);
	viommu_virtio_remove(w->v, w->ep[0], &f);
	viommu_virtio_remove(w->v, w->ep[1], &f);
	viommu_virtio_remove(w->v, w->ep[1], &f);
	fence_run(&f);
	assert_int_equal(peek(w, 1, 0), -EFAULT);
	assert_int_equal(peek(w, 2, 0), 1);
	assert_int_equal(map(w, 1, 0, 4095, 0), NOENT);
	assert_int_equal(attach(w, 1, EP), NOENT);
	assert_int_equal(detach(w, 2, EP + 1), NOENT);
	assert_int_equal(probe(w, &a, EP, 516), NOENT);
	/* and back */
	assert_int_equal(viommu_virtio_add(w->v, w->ep[0]), 0);
	assert_int_equal(attach(w, 2, EP), OK);
	assert_int_equal(peek(w, 0, 0), 1);
}

static void add_refuses(void **state)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = EP,
					    .pasid = 7 };
	struct viommu_endpoint *ep;
	struct world *w = *state, other;
	struct viommu_fence f;

	assert_int_equal(viommu_virtio_add(w->v, w->ep[0]), -EEXIST);
	world_make(&other, NULL);
	assert_int_equal(viommu_virtio_add(w->v, other.ep[0]), -EINVAL);
	world_free(&other);
	assert_int_equal(viommu_endpoint_create(w->vi, &c, &ep), 0);
	assert_int_equal(viommu_virtio_add(w->v, ep), -EINVAL);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep, &f);
	fence_run(&f);
}

/* 5.13.5: after a reset nothing is attached, and no domain exists. */
static void reset_detaches(void **state)
{
	struct viommu_stats s;
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(attach(w, 1, EP + 1), OK);
	assert_int_equal(attach(w, 2, EP + 2), OK);
	assert_int_equal(attach_flags(w, 3, EP + 3, BYPASS), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
	assert_int_equal(map(w, 2, 0, 4095, 0), OK);
	reset(w);
	viommu_read_stats(w->vi, &s);
	assert_int_equal(s.mappings, 0);
	for (int i = 0; i < EPS; i++)
		assert_int_equal(peek(w, i, 0), -EFAULT);
	for (uint32_t d = 1; d < 4; d++)
		assert_int_equal(map(w, d, 0, 4095, 0), NOENT);
	/* the numbers are free, for either kind */
	assert_int_equal(attach(w, 3, EP), OK);
	assert_int_equal(attach_flags(w, 1, EP + 1, BYPASS), OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(features),
		TEST(config_of_defaults),
		cmocka_unit_test(config_as_given),
		TEST(config_read_anywhere),
		TEST(config_write_anywhere),
		TEST(create_refuses),
		TEST(destroy_of_nothing),
		TEST(destroy_with_others_work),
		TEST(remove_endpoint),
		TEST(add_refuses),
		TEST(reset_detaches),
	};

	return cmocka_run_group_tests_name("device", tests, NULL, NULL);
}
