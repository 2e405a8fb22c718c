/* SPDX-License-Identifier: BSD-2-Clause */
/* Bypass: 5.13.4 and 5.13.6.1. */
#include "world.h"

static const struct viommu_virtio_config on = { .bypass = true };

/* 5.13.6.1: bypass is 0: an unattached endpoint has no access. */
static void off_unattached_sees_nothing(void **state)
{
	struct world *w = *state;

	assert_int_equal(bypass_read(w), 0);
	for (int i = 0; i < EPS; i++)
		assert_int_equal(peek(w, i, 0), -EFAULT);
}

/* 5.13.6.1: bypass is 1: it accesses guest-physical addresses.  Whether the
 * driver accepted the feature is no matter. */
static void on_unattached_sees_all_memory(void **state)
{
	struct world w;

	(void)state;
	world_make(&w, &on);
	assert_int_equal(bypass_read(&w), 1);
	for (int i = 0; i < EPS; i++) {
		assert_int_equal(peek(&w, i, (uint64_t)i * PAGE), i + 1);
		assert_int_equal(poke(&w, i, (uint64_t)i * PAGE), 0);
	}
	viommu_virtio_features_write(w.v, 0);
	assert_int_equal(peek(&w, 0, 9 * PAGE), 10);
	assert_int_equal(bypass_read(&w), 1);
	world_free(&w);
}

/* An attached endpoint sees its domain, whatever bypass says. */
static void on_attached_sees_its_domain(void **state)
{
	struct world w;

	(void)state;
	world_make(&w, &on);
	assert_int_equal(attach(&w, 1, EP), OK);
	assert_int_equal(peek(&w, 0, 0), -EFAULT);
	assert_int_equal(map(&w, 1, 0, 4095, 4 * PAGE), OK);
	assert_int_equal(peek(&w, 0, 0), 5);
	assert_int_equal(peek(&w, 1, 0), 1);
	assert_int_equal(detach(&w, 1, EP), OK);
	assert_int_equal(peek(&w, 0, 0), 1);
	world_free(&w);
}

/* input_range bounds the domains, not who goes around them. */
static void on_sees_beyond_input_range(void **state)
{
	struct viommu_virtio_config c = { .bypass = true,
					  .input_start = 0x1000,
					  .input_last = 0x1fff };
	struct world w;

	(void)state;
	world_make(&w, &c);
	assert_int_equal(peek(&w, 0, 8 * PAGE), 9);
	world_free(&w);
}

/* 5.13.4: bypass is writable; it takes effect on all unattached endpoints, and
 * on them alone. */
static void write_takes_effect(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4095, 4 * PAGE), OK);
	assert_int_equal(attach_flags(w, 2, EP + 1, BYPASS), OK);
	bypass_write(w, 1);
	assert_int_equal(bypass_read(w), 1);
	assert_int_equal(peek(w, 0, 0), 5);
	assert_int_equal(peek(w, 1, 0), 1);
	assert_int_equal(peek(w, 2, PAGE), 2);
	assert_int_equal(peek(w, 3, PAGE), 2);
	bypass_write(w, 0);
	assert_int_equal(bypass_read(w), 0);
	assert_int_equal(peek(w, 0, 0), 5);
	assert_int_equal(peek(w, 1, 0), 1);
	assert_int_equal(peek(w, 2, PAGE), -EFAULT);
	assert_int_equal(peek(w, 3, PAGE), -EFAULT);
}

/* 5.13.4.1: the driver MUST NOT write anything but 0 and 1: ignored. */
static void other_values_are_ignored(void **state)
{
	struct world *w = *state;

	bypass_write(w, 1);
	bypass_write(w, 2);
	bypass_write(w, 0xfe);
	assert_int_equal(bypass_read(w), 1);
	bypass_write(w, 0);
	bypass_write(w, 0xff);
	assert_int_equal(bypass_read(w), 0);
}

/* Without the feature the field is not writable. */
static void not_writable_without_feature(void **state)
{
	struct world *w = *state;

	viommu_virtio_features_write(w->v, 0);
	bypass_write(w, 1);
	assert_int_equal(bypass_read(w), 0);
	assert_int_equal(peek(w, 0, 0), -EFAULT);
}

/* 5.13.4.2: bypass SHOULD survive a device reset. */
static void survives_reset(void **state)
{
	struct world *w = *state;

	bypass_write(w, 1);
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(peek(w, 0, 0), -EFAULT);
	reset(w);
	assert_int_equal(bypass_read(w), 1);
	assert_int_equal(peek(w, 0, 0), 1);
	bypass_write(w, 0);
	reset(w);
	assert_int_equal(bypass_read(w), 0);
	assert_int_equal(peek(w, 0, 0), -EFAULT);
}

/* 5.13.6.3: the flag makes a bypass domain: its endpoints see all memory. */
static void domain_with_the_flag(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach_flags(w, 5, EP, BYPASS), OK);
	assert_int_equal(attach_flags(w, 5, EP + 1, BYPASS), OK);
	assert_int_equal(peek(w, 0, 6 * PAGE), 7);
	assert_int_equal(peek(w, 1, 6 * PAGE), 7);
	assert_int_equal(peek(w, 2, 6 * PAGE), -EFAULT);
	/* and from there into another */
	assert_int_equal(attach(w, 6, EP), OK);
	assert_int_equal(peek(w, 0, 6 * PAGE), -EFAULT);
	assert_int_equal(attach_flags(w, 5, EP, BYPASS), OK);
	assert_int_equal(peek(w, 0, 6 * PAGE), 7);
}

/* An endpoint that is put behind the device later. */
static void add_follows_bypass(void **state)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = 99,
					    .pasid = VIOMMU_NO_PASID };
	struct viommu_endpoint *ep;
	struct world *w = *state;
	struct viommu_fence f;
	uint8_t byte;

	assert_int_equal(viommu_endpoint_create(w->vi, &c, &ep), 0);
	bypass_write(w, 1);
	assert_int_equal(viommu_virtio_add(w->v, ep), 0);
	assert_int_equal(viommu_dma_read(ep, 0, &byte, 1), 0);
	viommu_fence_init(&f);
	viommu_virtio_remove(w->v, ep, &f);
	assert_int_equal(viommu_dma_read(ep, 0, &byte, 1), -EFAULT);
	viommu_endpoint_destroy(ep, &f);
	fence_run(&f);
}

/* Taking bypass away is taking access away: the fence waits. */
static void write_waits_for_maps(void **state)
{
	struct viommu_fence f;
	struct world w;
	struct held h;
	uint8_t off = 0;

	(void)state;
	world_make(&w, &on);
	hold(&w, &h, 2, 0x3000, 16);
	viommu_fence_init(&f);
	viommu_virtio_config_write(w.v, 36, &off, 1, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(peek(&w, 2, 0x3000), -EFAULT);
	let_go(&h);
	assert_true(viommu_fence_done(&f));
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(off_unattached_sees_nothing),
		cmocka_unit_test(on_unattached_sees_all_memory),
		cmocka_unit_test(on_attached_sees_its_domain),
		cmocka_unit_test(on_sees_beyond_input_range),
		TEST(write_takes_effect),
		TEST(other_values_are_ignored),
		TEST(not_writable_without_feature),
		TEST(survives_reset),
		TEST(domain_with_the_flag),
		TEST(add_follows_bypass),
		cmocka_unit_test(write_waits_for_maps),
	};

	return cmocka_run_group_tests_name("bypass", tests, NULL, NULL);
}
