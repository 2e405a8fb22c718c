/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the first call to the last: what a notifier is told when it is added,
 * when its endpoint comes to see something else, and how it ends.
 */
#include "notifier.h"

/* ---- being added ------------------------------------------------------ */

static void what_is_seen_is_told_at_once(void **state)
{
	struct rig *r = rig_make();
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_SPLIT);

	(void)state;
	assert_int_equal(see(r, s), 0);
	assert_int_equal(map_in(s, 0x10000, 0x4fffffff, 0x1000), 0);
	assert_int_equal(map_in(s, 0, 0xfff, 0x8000), 0);
	assert_int_equal(map_in(s, 0x1000, 0x1fff, 0x9000), 0);
	assert_int_equal(map_in(s, UINT64_MAX - 0xfff, UINT64_MAX, 0), 0);
	assert_int_equal(unmap_in(s, 0x20000, 0x2ffff), 0x10000);
	rig_add(r, 1);
	/* in ranges, in order; of one that was cut the pieces */
	pictures(r, 1, s);
	assert_int_equal(r->s[0].npieces, 5);
	assert_heard(r, "a map 0-ffffffffffffffff 8000 3 x5\n");
	assert_int_equal(r->s[0].piece[2].start, 0x10000);
	assert_int_equal(r->s[0].piece[2].last, 0x1ffff);
	assert_int_equal(r->s[0].piece[3].gpa, 0x21000);
	assert_int_equal(see(r, r->w.space), 0);
	space_free(s);
	rig_free(r);
}

/* Or in a few calls, which are in order. */
static void however_much_it_is(void **state)
{
	struct rig *r = rig_make();

	(void)state;
	for (uint64_t i = 0; i < 1000; i++)
		assert_int_equal(map_rw(&r->w, i * PAGE, i * PAGE + 0xfff,
					(i % 2) * PAGE),
				 0);
	rig_add(r, 1);
	pictures(r, 1, r->w.space);
	assert_true(r->log.n < 500);
	for (unsigned i = 1; i < r->log.n; i++)
		assert_true(r->log.e[i].start > r->log.e[i - 1].last);
	rig_free(r);
}

static void nothing_is_nothing(void **state)
{
	struct rig *r = rig_make();
	struct viommu_fence f;

	(void)state;
	rig_add(r, 1);
	assert_heard(r, "");
	viommu_fence_init(&f);
	viommu_endpoint_detach(r->w.ep, &f);
	fence_run(&f);
	assert_int_equal(shadow_add(&r->s[1], r->w.ep, NULL), 0);
	(void)heard(r);
	assert_int_equal(map_rw(&r->w, 0, 0xfff, 0), 0);
	assert_heard(r, "");
	assert_int_equal(see(r, r->w.space), 0);
	pictures(r, 2, r->w.space);
	rig_free(r);
}

static void identity_is_one_mapping(void **state)
{
	struct rig *r = rig_make();
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_IDENTITY, VIOMMU_SPACE_REFUSE);

	(void)state;
	assert_int_equal(see(r, s), 0);
	rig_add(r, 1);
	assert_heard(r, "a map " ALL " 0 f x1\n");
	pictures(r, 1, s);
	assert_int_equal(see(r, r->w.space), 0);
	assert_int_equal(see(r, s), 0);
	assert_heard(r, "a unmap " ALL " f\n"
			"a unmap " ALL " f\n"
			"a map " ALL " 0 f x1\n");
	assert_int_equal(see(r, r->w.space), 0);
	space_free(s);
	rig_free(r);
}

static void the_handle_is_set_before_the_first_call(void **state)
{
	struct rig *r = rig_make();

	(void)state;
	assert_int_equal(map_rw(&r->w, 0, 0xfff, 0), 0);
	rig_add(r, 1); /* which the recorder checks */
	assert_heard(r, "a map 0-fff 0 3 x1\n");
	rig_free(r);
}

static void who_refuses_is_not_added(void **state)
{
	struct rig *r = rig_make();

	(void)state;
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(map_rw(&r->w, i * PAGE, i * PAGE + 0xfff, 0),
				 0);
	for (unsigned after = 0; after < 2; after++) {
		refuse(r, 0, SHADOW_ANY(SHADOW_MAP), after);
		assert_int_equal(shadow_add(&r->s[0], r->w.ep, NULL), -ENOSPC);
		assert_null(shadow_broken(&r->s[0]));
		assert_int_equal(r->s[0].npieces, 0);
	}
	(void)heard(r);
	/* and is told no more */
	assert_int_equal(unmap(&r->w, 0, UINT64_MAX), 100 * PAGE);
	assert_int_equal(map_rw(&r->w, 0, 0xfff, 0), 0);
	assert_heard(r, "");
	r->s[0].notifier = NULL;
	assert_int_equal(r->w.space->watched, 0);
	assert_int_equal(shadow_add(&r->s[0], r->w.ep, NULL), 0);
	pictures(r, 1, r->w.space);
	rig_free(r);
}

static void what_it_must_have_it_must_have(void **state)
{
	struct rig *r = rig_make();
	struct shadow *s = &r->s[0];
	struct viommu_notifier_ops ops = s->ops;
	struct {
		struct viommu_notifier_ops ops;
		uint64_t more;
	} later = { .ops = s->ops, .more = 0 };
	struct viommu_notifier *n;
	struct viommu_fence f;

	(void)state;
	ops.map = NULL;
	assert_int_equal(viommu_notifier_add(r->w.ep, &ops, s, &n), -EINVAL);
	ops = s->ops;
	ops.unmap = NULL;
	assert_int_equal(viommu_notifier_add(r->w.ep, &ops, s, &n), -EINVAL);
	later.ops.size = sizeof(later);
	later.more = 1;
	assert_int_equal(viommu_notifier_add(r->w.ep, &later.ops, s, &n),
			 -EINVAL);
	later.more = 0;
	assert_int_equal(
		viommu_notifier_add(r->w.ep, &later.ops, s, &s->notifier), 0);
	assert_int_equal(map_rw(&r->w, 0, 0xfff, 0), 0);
	pictures(r, 1, r->w.space);
	/* the rest it need not have */
	ops = (struct viommu_notifier_ops){ .size = sizeof(ops),
					    .map = s->ops.map,
					    .unmap = s->ops.unmap };
	r->s[1].ops = ops;
	assert_int_equal(shadow_add(&r->s[1], r->w.ep, NULL), 0);
	assert_int_equal(remap_in(r->w.space, 0, 0xfff, 0x1000), 0);
	pictures(r, 2, r->w.space);
	viommu_fence_init(&f);
	viommu_notifier_remove(NULL, &f);
	viommu_endpoint_destroy(r->w.ep, &f);
	fence_run(&f);
	rig_remove(r, 0);
	rig_remove(r, 1);
	assert_int_equal(
		viommu_endpoint_create(
			r->w.vi,
			&(struct viommu_endpoint_config){
				.size = sizeof(struct viommu_endpoint_config) },
			&r->w.ep),
		0);
	rig_free(r);
}

/* ---- seeing something else -------------------------------------------- */

static void a_switch_is_an_unmap_of_all_then_a_replay(void **state)
{
	struct rig *r = rig_make();
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_REFUSE);

	(void)state;
	assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0), 0);
	assert_int_equal(map_in(s, 0x1000, 0x1fff, 0x4000), 0);
	assert_int_equal(map_in(s, 0x3000, 0x3fff, 0x6000), 0);
	rig_add(r, 2);
	(void)heard(r);
	assert_int_equal(see(r, s), 0);
	assert_heard(r, "b unmap " ALL " f\n"
			"a unmap " ALL " f\n"
			"a map 1000-3fff 4000 3 x2\n"
			"b map 1000-3fff 4000 3 x2\n");
	pictures(r, 2, s);
	/* to where it is already */
	assert_int_equal(see(r, s), 0);
	assert_heard(r, "");
	/* changes of the one are told, of the other not */
	assert_int_equal(map_in(s, 0x7000, 0x7fff, 0), 0);
	assert_int_equal(map_rw(&r->w, 0x8000, 0x8fff, 0), 0);
	assert_heard(r, "a map 7000-7fff 0 3 x1\n"
			"b map 7000-7fff 0 3 x1\n");
	assert_int_equal(see(r, r->w.space), 0);
	pictures(r, 2, r->w.space);
	(void)heard(r);
	space_free(s);
	assert_heard(r, "");
	rig_free(r);
}

static void detached_is_an_unmap_of_all(void **state)
{
	struct rig *r = rig_make();
	struct viommu_fence f;

	(void)state;
	rig_add(r, 1);
	assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0), 0);
	(void)heard(r);
	viommu_fence_init(&f);
	viommu_endpoint_detach(r->w.ep, &f);
	fence_run(&f);
	assert_heard(r, "a unmap " ALL " f\n");
	pictures(r, 1, NULL);
	assert_int_equal(unmap(&r->w, 0, 0xffff), 0x1000);
	assert_heard(r, "");
	rig_free(r);
}

static void a_space_that_is_destroyed_is_an_unmap_of_all(void **state)
{
	struct rig *r = rig_make();
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_REFUSE);

	(void)state;
	assert_int_equal(map_in(s, 0x1000, 0x1fff, 0x4000), 0);
	assert_int_equal(see(r, s), 0);
	rig_add(r, 2);
	(void)heard(r);
	space_free(s);
	assert_heard(r, "b unmap " ALL " f\n"
			"a unmap " ALL " f\n");
	pictures(r, 2, NULL);
	assert_int_equal(see(r, r->w.space), 0);
	assert_int_equal(map_rw(&r->w, 0, 0xfff, 0), 0);
	pictures(r, 2, r->w.space);
	rig_free(r);
}

/* A space that it may not see: nothing is told, or all of it again. */
static void a_switch_that_fails_changes_nothing(void **state)
{
	const struct viommu_reserved res = { .start = 0x3000, .last = 0x3fff };
	struct rig *r = rig_make();
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_REFUSE);

	(void)state;
	assert_int_equal(viommu_endpoint_reserve(r->w.ep, &res), 0);
	assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0), 0);
	assert_int_equal(map_in(s, 0x3000, 0x3fff, 0x4000), 0);
	rig_add(r, 1);
	assert_int_equal(see(r, s), -EADDRNOTAVAIL);
	pictures(r, 1, r->w.space);
	assert_int_equal(map_in(s, 0x7000, 0x7fff, 0), 0);
	pictures(r, 1, r->w.space);
	space_free(s);
	pictures(r, 1, r->w.space);
	rig_free(r);
}

/* Whichever of them refuses, at whichever call. */
static void a_switch_that_is_refused_changes_nothing(void **state)
{
	struct rig *r = rig_make();
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_REFUSE);
	char c;

	(void)state;
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(map_in(s, i * PAGE, i * PAGE + 0xfff, 0), 0);
	assert_int_equal(map_rw(&r->w, 0x200000, 0x200fff, 0), 0);
	rig_add(r, 3);
	for (unsigned i = 0; i < 6; i++) {
		refuse(r, i / 2, SHADOW_ANY(SHADOW_MAP), i % 2);
		assert_int_equal(see(r, s), -ENOSPC);
		assert_int_equal(r->s[i / 2].plan.times, 0);
		pictures(r, 3, r->w.space);
		assert_int_equal(viommu_dma_read(r->w.ep, 0x200000, &c, 1), 0);
		assert_int_equal(viommu_dma_read(r->w.ep, 0, &c, 1), -EFAULT);
	}
	(void)heard(r);
	assert_int_equal(map_in(s, 0x300000, 0x300fff, 0), 0);
	assert_heard(r, "");
	assert_int_equal(unmap(&r->w, 0x200000, 0x200fff), PAGE);
	pictures(r, 3, r->w.space);
	assert_int_equal(s->watched, 0);
	assert_int_equal(see(r, s), 0);
	pictures(r, 3, s);
	assert_int_equal(see(r, r->w.space), 0);
	assert_int_equal(s->watched, 0);
	space_free(s);
	rig_free(r);
}

/* Its fence may be held by what was told, so it is to be committed. */
static void the_fence_of_a_refused_switch_may_be_held(void **state)
{
	struct rig *r = rig_make();
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_REFUSE);
	struct viommu_fence f;

	(void)state;
	assert_int_equal(map_in(s, 0, 0xfff, 0), 0);
	rig_add(r, 1);
	refuse(r, 0, SHADOW_ANY(SHADOW_MAP), 0);
	r->s[0].holds = true;
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(r->w.ep, s, &f), -ENOSPC);
	r->s[0].holds = false;
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_fence_done(&f), !r->s[0].nholds);
	shadow_release(&r->s[0]);
	assert_true(viommu_fence_done(&f));
	space_free(s);
	rig_free(r);
}

static void who_cannot_return_is_lost(void **state)
{
	struct rig *r = rig_make();
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_REFUSE);

	(void)state;
	assert_int_equal(map_in(s, 0, 0xfff, 0), 0);
	assert_int_equal(map_rw(&r->w, 0x2000, 0x2fff, 0), 0);
	rig_add(r, 2);
	/* b refuses the new, a the old */
	refuse(r, 1, SHADOW_ANY(SHADOW_MAP), 0);
	refuse(r, 0, SHADOW_ANY(SHADOW_MAP), 1);
	assert_int_equal(see(r, s), -ENOSPC);
	assert_true(r->s[0].over);
	assert_int_equal(r->s[0].npieces, 0);
	assert_non_null(strstr(heard(r), "a gone lost\n"));
	assert_null(shadow_compare(&r->s[1], r->w.space));
	assert_int_equal(map_rw(&r->w, 0x5000, 0x5fff, 0), 0);
	assert_heard(r, "b map 5000-5fff 0 3 x1\n");
	assert_int_equal(see(r, s), 0);
	assert_null(shadow_compare(&r->s[1], s));
	rig_remove(r, 0);
	assert_int_equal(see(r, r->w.space), 0);
	/* there is nobody left who watches it */
	rig_remove(r, 1);
	(void)heard(r);
	assert_int_equal(map_in(s, 0x7000, 0x7fff, 0), 0);
	assert_int_equal(map_rw(&r->w, 0x7000, 0x7fff, 0), 0);
	assert_heard(r, "");
	space_free(s);
	rig_free(r);
}

/* ---- the end ---------------------------------------------------------- */

static void the_last_call_is_an_unmap_of_all(void **state)
{
	struct rig *r = rig_make();
	struct viommu_fence f;

	(void)state;
	assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0), 0);
	rig_add(r, 2);
	(void)heard(r);
	viommu_fence_init(&f);
	shadow_remove(&r->s[0], &f);
	r->s[0].notifier = NULL;
	assert_heard(r, "a unmap " ALL " f\n");
	fence_run(&f);
	assert_int_equal(map_rw(&r->w, 0x2000, 0x2fff, 0), 0);
	assert_heard(r, "b map 2000-2fff 0 3 x1\n");
	rig_remove(r, 1);
	(void)heard(r);
	assert_int_equal(map_rw(&r->w, 0x3000, 0x3fff, 0), 0);
	assert_heard(r, "");
	rig_free(r);
}

static void gone_with_the_endpoint(void **state)
{
	const struct viommu_endpoint_config c = { .size = sizeof(c), .id = 9 };
	struct rig *r = rig_make();
	struct viommu_fence f;

	(void)state;
	assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0), 0);
	rig_add(r, 2);
	(void)heard(r);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(r->w.ep, &f);
	assert_heard(r, "b unmap " ALL " f\n"
			"a unmap " ALL " f\n"
			"b gone destroyed\n"
			"a gone destroyed\n");
	fence_run(&f);
	assert_int_equal(map_rw(&r->w, 0x5000, 0x5fff, 0), 0);
	assert_heard(r, "");
	/* the handle is not dead until it is removed, which tells nothing */
	rig_remove(r, 0);
	rig_remove(r, 1);
	assert_heard(r, "");
	assert_int_equal(viommu_endpoint_create(r->w.vi, &c, &r->w.ep), 0);
	rig_free(r);
}

/* Removed and destroyed under one fence, in either order. */
static void removed_and_destroyed_at_once(void **state)
{
	const struct viommu_endpoint_config c = { .size = sizeof(c), .id = 9 };
	struct rig *r = rig_make();
	struct viommu_fence f;

	(void)state;
	rig_add(r, 2);
	viommu_fence_init(&f);
	shadow_remove(&r->s[0], &f);
	viommu_endpoint_destroy(r->w.ep, &f);
	shadow_remove(&r->s[1], &f);
	fence_run(&f);
	r->s[0].notifier = r->s[1].notifier = NULL;
	assert_int_equal(viommu_endpoint_create(r->w.vi, &c, &r->w.ep), 0);
	rig_free(r);
}

/* ---- given up (L9) ---------------------------------------------------- */

static void given_up_it_keeps_its_shadow(void **state)
{
	struct iovec iov;
	struct viommu_dma d = { .iova = 0x1000,
				.len = 16,
				.prot = VIOMMU_READ,
				.iov = &iov,
				.max_iov = 1 };
	struct rig *r = rig_make();
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_REFUSE);
	struct viommu_fence f, g;

	(void)state;
	assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0), 0);
	assert_int_equal(map_rw(&r->w, 0x2000, 0x2fff, 0), 0);
	rig_add(r, 1);
	(void)heard(r);
	d.ep = r->w.ep;
	assert_int_equal(viommu_dma_map(&d), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(r->w.space, 0x1000, 0x1fff, &f),
			 PAGE);
	viommu_fence_commit(&f, NULL, NULL);
	viommu_poll(r->w.vi, atomic_load(&r->now) + TIMEOUT);
	assert_int_equal(r->w.nexpired, 1);
	/* what the fence waits for has gone already; the rest stays, follows */
	assert_heard(r, "a unmap 1000-1fff f\n");
	pictures(r, 1, r->w.space);
	assert_int_equal(map_rw(&r->w, 0x4000, 0x4fff, 0), 0);
	pictures(r, 1, r->w.space);
	assert_int_equal(map_in(s, 0, 0xfff, 0), 0);
	viommu_fence_init(&g);
	assert_int_equal(viommu_endpoint_attach(r->w.ep, s, &g), 0);
	viommu_fence_commit(&g, NULL, NULL);
	pictures(r, 1, s);
	viommu_dma_unmap(&d, 0);
	assert_true(viommu_fence_done(&f));
	assert_true(viommu_fence_done(&g));
	assert_int_equal(viommu_endpoint_recover(r->w.ep), 0);
	pictures(r, 1, s);
	assert_int_equal(see(r, r->w.space), 0);
	space_free(s);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_seen_is_told_at_once),
		cmocka_unit_test(however_much_it_is),
		cmocka_unit_test(nothing_is_nothing),
		cmocka_unit_test(identity_is_one_mapping),
		cmocka_unit_test(the_handle_is_set_before_the_first_call),
		cmocka_unit_test(who_refuses_is_not_added),
		cmocka_unit_test(what_it_must_have_it_must_have),
		cmocka_unit_test(a_switch_is_an_unmap_of_all_then_a_replay),
		cmocka_unit_test(detached_is_an_unmap_of_all),
		cmocka_unit_test(a_space_that_is_destroyed_is_an_unmap_of_all),
		cmocka_unit_test(a_switch_that_fails_changes_nothing),
		cmocka_unit_test(a_switch_that_is_refused_changes_nothing),
		cmocka_unit_test(the_fence_of_a_refused_switch_may_be_held),
		cmocka_unit_test(who_cannot_return_is_lost),
		cmocka_unit_test(the_last_call_is_an_unmap_of_all),
		cmocka_unit_test(gone_with_the_endpoint),
		cmocka_unit_test(removed_and_destroyed_at_once),
		cmocka_unit_test(given_up_it_keeps_its_shadow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
