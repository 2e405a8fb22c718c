/* SPDX-License-Identifier: BSD-2-Clause */
/* Spaces and endpoints: what map and attach refuse, what stays unchanged. */
#include "world.h"

static struct viommu_space_config config(uint64_t page_sizes)
{
	return (struct viommu_space_config){
		.size = sizeof(struct viommu_space_config),
		.page_sizes = page_sizes
	};
}

static int try_create(struct world *w, const struct viommu_space_config *c)
{
	struct viommu_space *s;
	struct viommu_fence f;
	int rc = viommu_space_create(w->vi, c, &s);

	if (rc)
		return rc;
	viommu_fence_init(&f);
	viommu_space_destroy(s, &f);
	fence_run(&f);
	return 0;
}

static void bad_spaces_are_refused(void **state)
{
	struct {
		struct viommu_space_config c;
		uint64_t tail;
	} big = { .c = config(4096) };
	struct viommu_space_config c;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	c = config(0);
	assert_int_equal(try_create(&w, &c), -EINVAL);
	c = config(1ull << 31);
	assert_int_equal(try_create(&w, &c), -EINVAL);
	c = config(1ull << 30);
	assert_int_equal(try_create(&w, &c), 0);
	c.kind = 77;
	assert_int_equal(try_create(&w, &c), -EINVAL);
	c = config(1);
	c.start = 2;
	c.last = 1;
	assert_int_equal(try_create(&w, &c), -EINVAL);
	c.last = 2;
	c.size--;
	assert_int_equal(try_create(&w, &c), -EINVAL);
	/* from a later version: fine if what is new is not used */
	big.c.size = sizeof(big);
	assert_int_equal(try_create(&w, &big.c), 0);
	big.tail = 1;
	assert_int_equal(try_create(&w, &big.c), -EINVAL);
	world_free(&w);
}

static void bad_maps_are_refused(void **state)
{
	struct viommu_mapping m;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096 | 1 << 21);
	assert_int_equal(map_rw(&w, 4096, 4095, 0), -EINVAL);
	assert_int_equal(map_rw(&w, 8192, 4095, 0), -EINVAL);
	assert_int_equal(map_prot(&w, 0, 4095, 0, 0), -EINVAL);
	assert_int_equal(map_prot(&w, 0, 4095, 0, 1 << 5), -EINVAL);
	assert_int_equal(map_rw(&w, 1, 4095, 0), -ERANGE);
	assert_int_equal(map_rw(&w, 0, 4094, 0), -ERANGE);
	assert_int_equal(map_rw(&w, 0, 4096, 0), -ERANGE);
	assert_int_equal(map_rw(&w, 0, 4095, 2048), -ERANGE);
	assert_int_equal(map_rw(&w, 0, 8191, UINT64_MAX - 4095), -ERANGE);
	assert_int_equal(viommu_space_next(w.space, 0, &m), -ENOENT);
	assert_int_equal(map_rw(&w, 0, 4095, UINT64_MAX - 4095), 0);
	assert_int_equal(map_rw(&w, 0, UINT64_MAX, 0), -EEXIST);
	assert_int_equal(unmap(&w, 0, UINT64_MAX), 4096);
	assert_int_equal(map_rw(&w, 0, UINT64_MAX, 0), 0);
	assert_int_equal(viommu_space_next(w.space, UINT64_MAX, &m), 0);
	assert_int_equal(m.last, UINT64_MAX);
	assert_int_equal(unmap(&w, 0, UINT64_MAX), INT64_MAX);
	world_free(&w);
}

static void aperture_is_kept(void **state)
{
	struct viommu_space_config c = config(4096);
	struct viommu_mapping m = { .start = 0x1000,
				    .last = 0x2fff,
				    .prot = VIOMMU_READ };
	struct viommu_space *s;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	c.start = 0x1000;
	c.last = 0x2fff;
	assert_int_equal(viommu_space_create(w.vi, &c, &s), 0);
	assert_int_equal(viommu_space_map(s, &m), 0);
	m.start = 0;
	m.last = 0xfff;
	assert_int_equal(viommu_space_map(s, &m), -ERANGE);
	m.start = 0x3000;
	m.last = 0x3fff;
	assert_int_equal(viommu_space_map(s, &m), -ERANGE);
	viommu_fence_init(&f);
	viommu_space_destroy(s, &f);
	fence_run(&f);
	world_free(&w);
}

static void unmap_that_would_cut_changes_nothing(void **state)
{
	struct viommu_fence f;
	struct viommu_mapping m;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	assert_int_equal(map_rw(&w, 0x10000, 0x1ffff, 0), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0x10fff, &f), -ERANGE);
	assert_int_equal(viommu_space_unmap(w.space, 0x1f000, 0x1ffff, &f),
			 -ERANGE);
	assert_int_equal(viommu_space_unmap(w.space, 0x12345, 0x12345, &f),
			 -ERANGE);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0xffe, &f), -ERANGE);
	assert_int_equal(viommu_space_unmap(w.space, 5, 4, &f), -EINVAL);
	assert_int_equal(viommu_space_next(w.space, 0, &m), 0);
	assert_int_equal(m.last, 0xfff);
	/* the range itself may be off the granule, where nothing is cut */
	assert_int_equal(viommu_space_unmap(w.space, 0, 0x2345, &f), 0x1000);
	assert_int_equal(viommu_space_unmap(w.space, 0x5000, 0xffffffff, &f),
			 0x10000);
	fence_run(&f);
	world_free(&w);
}

static void number_of_mappings_is_limited(void **state)
{
	struct viommu_config cfg = { .size = sizeof(cfg), .max_mappings = 3 };
	struct viommu_space_config c = config(4096);
	struct viommu_mapping m = { .last = 0xfff, .prot = VIOMMU_READ };
	struct viommu_space *s2;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, &cfg, 4096);
	assert_int_equal(viommu_space_create(w.vi, &c, &s2), 0);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), -EEXIST);
	assert_int_equal(map_rw(&w, 0x1000, 0x1fff, 0), 0);
	assert_int_equal(viommu_space_map(s2, &m), 0);
	assert_int_equal(map_rw(&w, 0x2000, 0x2fff, 0), -ENOSPC);
	viommu_fence_init(&f);
	viommu_space_destroy(s2, &f);
	fence_run(&f);
	assert_int_equal(map_rw(&w, 0x2000, 0x2fff, 0), 0);
	assert_int_equal(map_rw(&w, 0x3000, 0x3fff, 0), -ENOSPC);
	assert_int_equal(unmap(&w, 0, 0x1fff), 0x2000);
	assert_int_equal(map_rw(&w, 0x3000, 0x3fff, 0), 0);
	assert_int_equal(unmap(&w, 0, UINT64_MAX), 0x2000);
	world_free(&w);
}

static void reserved_ranges_are_kept_free(void **state)
{
	struct viommu_reserved msi = { .start = 0xfee00000,
				       .last = 0xfeefffff,
				       .kind = VIOMMU_RESERVED_MSI };
	struct viommu_reserved low = { .start = 0, .last = 0xfff }, r;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(viommu_endpoint_reserve(w.ep, &msi), 0);
	assert_int_equal(viommu_endpoint_reserve(w.ep, &low), 0);
	assert_int_equal(viommu_endpoint_reserve(w.ep, &msi), -EEXIST);
	r = low;
	r.last = 0;
	r.start = 1;
	assert_int_equal(viommu_endpoint_reserve(w.ep, &r), -EINVAL);
	r.start = 0;
	r.kind = 9;
	assert_int_equal(viommu_endpoint_reserve(w.ep, &r), -EINVAL);
	assert_int_equal(map_rw(&w, 0xfeeff000, 0xfef00fff, 0), -EADDRNOTAVAIL);
	assert_int_equal(map_rw(&w, 0xfef00000, 0xfef00fff, 0), 0);
	r = msi;
	r.start = r.last = 0xfef00123;
	assert_int_equal(viommu_endpoint_reserve(w.ep, &r), -EBUSY);
	assert_int_equal(viommu_endpoint_next_reserved(w.ep, 0, &r), 0);
	assert_int_equal(r.last, 0xfff);
	assert_int_equal(viommu_endpoint_next_reserved(w.ep, 0x1000, &r), 0);
	assert_int_equal(r.start, 0xfee00000);
	assert_int_equal(r.kind, VIOMMU_RESERVED_MSI);
	assert_int_equal(viommu_endpoint_next_reserved(w.ep, 0xfef00000, &r),
			 -ENOENT);
	/* attach checks what is mapped already */
	viommu_fence_init(&f);
	viommu_endpoint_detach(w.ep, &f);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	assert_int_equal(viommu_endpoint_attach(w.ep, w.space, &f),
			 -EADDRNOTAVAIL);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0xfff, &f), 0x1000);
	assert_int_equal(viommu_endpoint_attach(w.ep, w.space, &f), 0);
	fence_run(&f);
	world_free(&w);
}

static void endpoints_have_names(void **state)
{
	struct viommu_config cfg = { .size = sizeof(cfg), .max_endpoints = 3 };
	struct viommu_endpoint_config ec = { .size = sizeof(ec), .id = 1 };
	struct viommu_endpoint *ep2, *ep3, *ep4;
	struct viommu_endpoint_stats st;
	struct viommu_fence f;
	struct world w;
	char c;

	(void)state;
	world_make(&w, &cfg, 4096);
	assert_ptr_equal(viommu_endpoint_find(w.vi, 1, VIOMMU_NO_PASID), w.ep);
	assert_null(viommu_endpoint_find(w.vi, 1, 0));
	assert_int_equal(viommu_endpoint_create(w.vi, &ec, &ep2), 0);
	assert_int_equal(viommu_endpoint_create(w.vi, &ec, &ep3), -EEXIST);
	ec.id = 2;
	assert_int_equal(viommu_endpoint_create(w.vi, &ec, &ep3), 0);
	assert_int_equal(viommu_endpoint_id(ep3), 2);
	ec.id = 3;
	assert_int_equal(viommu_endpoint_create(w.vi, &ec, &ep4), -ENOSPC);
	assert_ptr_equal(viommu_endpoint_find(w.vi, 1, 0), ep2);
	assert_int_equal(viommu_dma_read(ep2, 0, &c, 1), -EFAULT);
	viommu_endpoint_read_stats(ep2, &st);
	assert_int_equal(st.faults, 1);
	assert_int_equal(st.attaches, 0);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep2, &f);
	viommu_endpoint_destroy(ep3, &f);
	fence_run(&f);
	assert_null(viommu_endpoint_find(w.vi, 1, 0));
	world_free(&w);
}

static void bad_instances_are_refused(void **state)
{
	struct viommu_config cfg = { .size = sizeof(cfg), .barrier = 3 };
	struct viommu_env env = { .size = sizeof(env) };
	struct viommu *vi;

	(void)state;
	assert_int_equal(viommu_create(&cfg, &vi), -EINVAL);
	cfg.barrier = 0;
	cfg.reserved = 1;
	assert_int_equal(viommu_create(&cfg, &vi), -EINVAL);
	cfg.reserved = 0;
	cfg.max_pins = UINT32_MAX;
	assert_int_equal(viommu_create(&cfg, &vi), -EINVAL);
	cfg.max_pins = 1;
	cfg.env = &env;
	env.size = 1;
	assert_int_equal(viommu_create(&cfg, &vi), -EINVAL);
	env.size = sizeof(env);
	assert_int_equal(viommu_create(&cfg, &vi), 0);
	viommu_destroy(vi);
	viommu_destroy(NULL);
	assert_string_not_equal(viommu_version(), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_spaces_are_refused),
		cmocka_unit_test(bad_maps_are_refused),
		cmocka_unit_test(aperture_is_kept),
		cmocka_unit_test(unmap_that_would_cut_changes_nothing),
		cmocka_unit_test(number_of_mappings_is_limited),
		cmocka_unit_test(reserved_ranges_are_kept_free),
		cmocka_unit_test(endpoints_have_names),
		cmocka_unit_test(bad_instances_are_refused),
	};

	return cmocka_run_group_tests_name("space", tests, NULL, NULL);
}
