/* SPDX-License-Identifier: BSD-2-Clause */
/* ATTACH: 5.13.6.3. */
#include "world.h"

/* 5.13.6.3: the domain exists from its first ATTACH on. */
static void first_attach_makes_the_domain(void **state)
{
	struct world *w = *state;

	assert_int_equal(map(w, 1, 0, 4095, 0), NOENT);
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
	assert_int_equal(peek(w, 0, 0), 1);
}

/* 5.13.6.3.2: reserved is not zero: MUST INVAL (QEMU 2). */
static void reserved_is_refused(void **state)
{
	struct world *w = *state;

	for (size_t i = 0; i < 4; i++) {
		struct virtio_iommu_req_attach r = {
			.head.type = VIRTIO_IOMMU_T_ATTACH,
			.domain = htole32(1),
			.endpoint = htole32(EP),
		};
		struct ask a;

		r.reserved[i] = 1;
		assert_int_equal(ask_bytes(w, &a, &r, 20, 4), INVAL);
		assert_int_equal(map(w, 1, 0, 4095, 0), NOENT);
	}
}

/* 5.13.6.3.2: unknown flag: MUST INVAL. */
static void unknown_flag_is_refused(void **state)
{
	struct world *w = *state;

	for (unsigned bit = 1; bit < 32; bit++) {
		assert_int_equal(attach_flags(w, 1, EP, 1u << bit), INVAL);
		assert_int_equal(attach_flags(w, 1, EP, 1u << bit | BYPASS),
				 INVAL);
	}
	assert_int_equal(map(w, 1, 0, 4095, 0), NOENT);
}

/* A flag comes with its feature: without BYPASS_CONFIG there is none. */
static void bypass_flag_without_feature_is_unknown(void **state)
{
	struct world *w = *state;

	viommu_virtio_features_write(
		w->v, ~(UINT64_C(1) << VIRTIO_IOMMU_F_BYPASS_CONFIG));
	assert_int_equal(attach_flags(w, 1, EP, BYPASS), INVAL);
	assert_int_equal(attach(w, 1, EP), OK);
	reset(w);
	assert_int_equal(attach_flags(w, 1, EP, BYPASS), OK);
}

/* 5.13.6.3.2: endpoint does not exist: MUST NOENT. */
static void unknown_endpoint(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP + EPS), NOENT);
	assert_int_equal(attach(w, 1, 0), NOENT);
	assert_int_equal(attach(w, 1, UINT32_MAX), NOENT);
	assert_int_equal(map(w, 1, 0, 4095, 0), NOENT);
}

/* 5.13.6.3.2: another endpoint is there already: MAY attach; we do. */
static void several_endpoints_share_a_domain(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4095, 3 * PAGE), OK);
	assert_int_equal(attach(w, 1, EP + 1), OK);
	assert_int_equal(gpa_of(w, 0, 5), 3 * PAGE + 5);
	assert_int_equal(gpa_of(w, 1, 5), 3 * PAGE + 5);
	assert_int_equal(gpa_of(w, 2, 5), -1);
	assert_int_equal(detach(w, 1, EP), OK);
	assert_int_equal(gpa_of(w, 0, 5), -1);
	assert_int_equal(gpa_of(w, 1, 5), 3 * PAGE + 5);
}

/* 5.13.6.3.2: attached elsewhere: SHOULD be detached first, then attached. */
static void moves_from_another_domain(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(attach(w, 2, EP + 1), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
	assert_int_equal(map(w, 2, 0, 4095, 7 * PAGE), OK);
	assert_int_equal(attach(w, 2, EP), OK);
	assert_int_equal(peek(w, 0, 0), 8);
	/* as by DETACH: the last endpoint took domain 1 with it */
	assert_int_equal(map(w, 1, 4096, 8191, 0), NOENT);
	assert_int_equal(detach(w, 1, EP), INVAL);
	assert_int_equal(detach(w, 2, EP), OK);
}

/* A domain that is left by one of two goes on. */
static void moving_leaves_the_others(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(attach(w, 1, EP + 1), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
	assert_int_equal(attach(w, 2, EP), OK);
	assert_int_equal(peek(w, 0, 0), -EFAULT);
	assert_int_equal(peek(w, 1, 0), 1);
}

static void again_to_the_same_domain(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(peek(w, 0, 0), 1);
	/* and it counts once */
	assert_int_equal(detach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 4096, 8191, 0), NOENT);
}

/* 5.13.6.3.2: bypass flag unlike the domain's: SHOULD INVAL.  QEMU 3: the
 * endpoint stays where it was, with all its mappings. */
static void bypass_flag_mismatch_changes_nothing(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4095, 5 * PAGE), OK);
	assert_int_equal(attach_flags(w, 2, EP + 1, BYPASS), OK);
	/* into a bypass domain without the flag */
	assert_int_equal(attach(w, 2, EP), INVAL);
	assert_int_equal(gpa_of(w, 0, 0), 5 * PAGE);
	/* into the other kind with it */
	assert_int_equal(attach_flags(w, 1, EP + 1, BYPASS), INVAL);
	assert_int_equal(gpa_of(w, 1, 6 * PAGE), 6 * PAGE);
	/* also where it is already, and alone */
	assert_int_equal(attach_flags(w, 1, EP, BYPASS), INVAL);
	assert_int_equal(gpa_of(w, 0, 0), 5 * PAGE);
	assert_int_equal(detach(w, 1, EP), OK);
	assert_int_equal(detach(w, 2, EP + 1), OK);
}

/* Every refusal leaves an attached endpoint, and its domain, alone. */
static void refusals_do_not_detach(void **state)
{
	struct virtio_iommu_req_attach r = {
		.head.type = VIRTIO_IOMMU_T_ATTACH,
		.domain = htole32(2),
		.endpoint = htole32(EP),
		.reserved = { 0, 1 },
	};
	struct world *w = *state;
	struct ask a;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4095, 5 * PAGE), OK);
	assert_int_equal(ask_bytes(w, &a, &r, 20, 4), INVAL);
	assert_int_equal(attach_flags(w, 2, EP, 2), INVAL);
	assert_int_equal(ask_bytes(w, &a, &r, 19, 4), UNWRITTEN);
	assert_int_equal(gpa_of(w, 0, 0), 5 * PAGE);
	assert_int_equal(map(w, 2, 0, 4095, 0), NOENT);
	assert_int_equal(detach(w, 1, EP), OK);
}

/* 5.13.6.3.2: properties that do not go with the domain: SHOULD UNSUPP.  The
 * domain maps what the endpoint reserves. */
static void incompatible_endpoint(void **state)
{
	struct viommu_reserved r = { .start = 8 * PAGE, .last = 9 * PAGE - 1 };
	struct world *w = *state;

	assert_int_equal(viommu_endpoint_reserve(w->ep[1], &r), 0);
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 8 * PAGE, 9 * PAGE - 1, 0), OK);
	assert_int_equal(attach(w, 2, EP + 1), OK);
	assert_int_equal(map(w, 2, 0, 4095, 3 * PAGE), OK);
	assert_int_equal(attach(w, 1, EP + 1), UNSUPP);
	assert_int_equal(gpa_of(w, 1, 0), 3 * PAGE);
	assert_int_equal(unmap(w, 1, 8 * PAGE, 9 * PAGE - 1), OK);
	assert_int_equal(attach(w, 1, EP + 1), OK);
}

/* 5.13.6.2: outside domain_range MAY be refused with RANGE. */
static void outside_domain_range(void **state)
{
	struct viommu_virtio_config c = { .domain_first = 10,
					  .domain_last = 12 };
	struct world w;

	(void)state;
	world_make(&w, &c);
	assert_int_equal(attach(&w, 9, EP), RANGE);
	assert_int_equal(attach(&w, 13, EP), RANGE);
	assert_int_equal(attach(&w, UINT32_MAX, EP), RANGE);
	assert_int_equal(attach(&w, 10, EP), OK);
	assert_int_equal(attach(&w, 13, EP), RANGE);
	/* the other requests: there is no such domain */
	assert_int_equal(map(&w, 13, 0, 4095, 0), NOENT);
	assert_int_equal(unmap(&w, 13, 0, 4095), NOENT);
	assert_int_equal(detach(&w, 13, EP), INVAL);
	assert_int_equal(detach(&w, 10, EP), OK);
	assert_int_equal(attach(&w, 12, EP), OK);
	world_free(&w);
}

static void domain_limit(void **state)
{
	struct viommu_virtio_config c = { .max_domains = 2 };
	struct world w;

	(void)state;
	world_make(&w, &c);
	assert_int_equal(attach(&w, 0, EP), OK);
	assert_int_equal(attach(&w, UINT32_MAX, EP + 1), OK);
	assert_int_equal(attach(&w, 7, EP + 2), NOMEM);
	/* by moving, the last endpoint makes room */
	assert_int_equal(attach(&w, 7, EP), OK);
	assert_int_equal(attach(&w, 7, EP + 2), OK);
	assert_int_equal(attach(&w, 8, EP), NOMEM);
	assert_int_equal(detach(&w, 7, EP), OK);
	world_free(&w);
}

/* Numbers that share all but one bit, made and unmade in two orders. */
static void any_domain_number(void **state)
{
	struct world *w = *state;

	for (unsigned bit = 0; bit < 32; bit++) {
		uint32_t a = UINT32_C(1) << bit, b = ~a;

		assert_int_equal(attach(w, a, EP), OK);
		assert_int_equal(attach(w, b, EP + 1), OK);
		assert_int_equal(attach(w, 0, EP + 2), OK);
		assert_int_equal(attach(w, UINT32_MAX, EP + 3), OK);
		assert_int_equal(map(w, a, 0, 4095, PAGE), OK);
		assert_int_equal(map(w, b, 0, 4095, 2 * PAGE), OK);
		assert_int_equal(map(w, 0, 0, 4095, 3 * PAGE), OK);
		assert_int_equal(map(w, UINT32_MAX, 0, 4095, 4 * PAGE), OK);
		for (int i = 0; i < EPS; i++)
			assert_int_equal(gpa_of(w, i, 0), (i + 1) * PAGE);
		if (bit % 2)
			assert_int_equal(detach(w, 0, EP + 2), OK);
		assert_int_equal(detach(w, a, EP), OK);
		assert_int_equal(map(w, a, 0, 4095, 0), NOENT);
		assert_int_equal(gpa_of(w, 1, 0), 2 * PAGE);
		assert_int_equal(detach(w, b, EP + 1), OK);
		assert_int_equal(detach(w, UINT32_MAX, EP + 3), OK);
		if (!(bit % 2))
			assert_int_equal(detach(w, 0, EP + 2), OK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(first_attach_makes_the_domain),
		TEST(reserved_is_refused),
		TEST(unknown_flag_is_refused),
		TEST(bypass_flag_without_feature_is_unknown),
		TEST(unknown_endpoint),
		TEST(several_endpoints_share_a_domain),
		TEST(moves_from_another_domain),
		TEST(moving_leaves_the_others),
		TEST(again_to_the_same_domain),
		TEST(bypass_flag_mismatch_changes_nothing),
		TEST(refusals_do_not_detach),
		TEST(incompatible_endpoint),
		cmocka_unit_test(outside_domain_range),
		cmocka_unit_test(domain_limit),
		TEST(any_domain_number),
	};

	return cmocka_run_group_tests_name("attach", tests, NULL, NULL);
}
