/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * L3 for shadows that have left: what a fence takes from a space, a memory, is
 * waited for by later fences, too, although the notifier is not told any more.
 */
#include "notifier.h"

static void take_and_look(struct rig *r, struct viommu_space *s,
			  struct viommu_fence *f)
{
	struct viommu_fence g;

	viommu_fence_init(&g);
	assert_int_equal(viommu_space_unmap(s, 0x1000, 0x1fff, &g), PAGE);
	viommu_fence_commit(&g, NULL, NULL);
	assert_false(viommu_fence_done(f));
	assert_false(viommu_fence_done(&g)); /* the device still has it */
	shadow_release(&r->s[0]);
	assert_true(viommu_fence_done(f));
	assert_true(viommu_fence_done(&g));
}

static struct rig *setup(struct viommu_fence *f)
{
	struct rig *r = rig_make();

	rig_add(r, 1);
	assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0x1000), 0);
	r->s[0].holds = true;
	viommu_fence_init(f);
	return r;
}

static void after_a_switch(void **state)
{
	struct viommu_fence f;
	struct rig *r = setup(&f);
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_REFUSE);

	(void)state;
	assert_int_equal(viommu_endpoint_attach(r->w.ep, s, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	r->s[0].holds = false;
	take_and_look(r, r->w.space, &f);
	space_free(s);
	rig_free(r);
}

static void after_a_detachment(void **state)
{
	struct viommu_fence f;
	struct rig *r = setup(&f);

	(void)state;
	viommu_endpoint_detach(r->w.ep, &f);
	viommu_fence_commit(&f, NULL, NULL);
	r->s[0].holds = false;
	take_and_look(r, r->w.space, &f);
	rig_free(r);
}

static void after_its_removal(void **state)
{
	struct viommu_fence f;
	struct rig *r = setup(&f);

	(void)state;
	shadow_remove(&r->s[0], &f);
	r->s[0].notifier = NULL;
	viommu_fence_commit(&f, NULL, NULL);
	take_and_look(r, r->w.space, &f);
	rig_free(r);
}

static void its_memory_after_its_removal(void **state)
{
	struct viommu_fence f, g;
	struct rig *r = setup(&f);

	(void)state;
	shadow_remove(&r->s[0], &f);
	r->s[0].notifier = NULL;
	viommu_fence_commit(&f, NULL, NULL);
	viommu_fence_init(&g);
	assert_int_equal(viommu_memory_remove(viommu_memory_of(r->w.vi), 0,
					      WORLD_RAM, &g),
			 0);
	viommu_fence_commit(&g, NULL, NULL);
	assert_false(viommu_fence_done(&g)); /* it would be unmapped */
	shadow_release(&r->s[0]);
	assert_true(viommu_fence_done(&g));
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(after_a_switch),
		cmocka_unit_test(after_a_detachment),
		cmocka_unit_test(after_its_removal),
		cmocka_unit_test(its_memory_after_its_removal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
