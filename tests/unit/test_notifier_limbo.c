/* SPDX-License-Identifier: BSD-2-Clause */
/* However often it is refused: the instance's tables are not used up. */
#include "notifier.h"

static void refusals_use_nothing_up(void **state)
{
	const struct viommu_config cfg = { .size = sizeof(cfg),
					   .max_mappings = 100 };
	static struct shadow s;
	struct world w;
	struct viommu_fence f;

	(void)state;
	world_make(&w, &cfg, PAGE);
	shadow_init(&s, NULL);
	assert_int_equal(shadow_add(&s, w.ep, NULL), 0);
	for (uint64_t i = 1; i < 5000; i++) {
		uint64_t at = i << 40;
		int rc;

		s.plan = (struct shadow_plan){ .kinds = ~0u,
					       .times = 1,
					       .rc = -EACCES };
		rc = map_rw(&w, at, at + 0xfff, 0);
		if (rc != -EACCES)
			fail_msg("refusal %u: %d", (unsigned)i, rc);
	}
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	viommu_fence_init(&f);
	shadow_remove(&s, &f);
	fence_run(&f);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(
		refusals_use_nothing_up) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
