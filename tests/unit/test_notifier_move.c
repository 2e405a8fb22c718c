/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What notifiers are told of memory that is moved or given up, how they are in
 * the way of that, and what becomes of the dirty log.
 */
#include "notifier.h"

#include "move.h"

static unsigned char other[WORLD_RAM], third[WORLD_RAM];

static struct viommu_memory *mem_of(const struct rig *r)
{
	return viommu_memory_of(r->w.vi);
}

static struct rig *setup(unsigned shadows)
{
	struct rig *r = rig_make();

	memset(other, 0xee, sizeof(other));
	assert_int_equal(map_in(r->w.space, 0, WORLD_RAM - 1, 0), 0);
	rig_add(r, shadows);
	heard(r);
	return r;
}

static void memories(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		const char *what = shadow_compare_memory(&r->s[i], mem_of(r));

		if (what)
			fail_msg("shadow %c: %s", 'a' + i, what);
	}
}

static void pass(struct rig *r, uint64_t ns)
{
	viommu_poll(r->w.vi, atomic_fetch_add(&r->now, ns) + ns);
}

/* ---- giving up -------------------------------------------------------- */

static void they_hear_what_is_given_up(void **state)
{
	struct rig *r = setup(2);
	struct viommu_fence f;

	(void)state;
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_give_up(mem_of(r), 0x2345, 0x1000, &f),
			 0);
	assert_heard(r, "b ram- 2345-3344 f\na ram- 2345-3344 f\n");
	memories(r, 2);
	assert_int_equal(viommu_memory_give_up(mem_of(r), WORLD_RAM, 1, &f),
			 -ENOENT);
	assert_int_equal(viommu_memory_give_up(mem_of(r), 0, 0, &f), -EINVAL);
	assert_heard(r, "");
	assert_int_equal(viommu_memory_give_up(mem_of(r), 0x2000, 0x2000, &f),
			 0);
	assert_heard(r, "b ram- 2000-3fff f\na ram- 2000-3fff f\n");
	memories(r, 2);
	fence_run(&f);
	rig_free(r);
}

static void they_hold_what_is_given_up(void **state)
{
	struct rig *r = setup(1);
	struct viommu_fence f;

	(void)state;
	r->s[0].holds = true;
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_give_up(mem_of(r), 0x2000, 0x1000, &f),
			 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	shadow_release(&r->s[0]);
	assert_true(viommu_fence_done(&f));
	r->s[0].holds = false;
	rig_free(r);
}

/* ---- moving ----------------------------------------------------------- */

static void they_see_it_go_and_come(void **state)
{
	struct rig *r = setup(2);
	struct holder h;
	struct mover v;

	(void)state;
	hold(&h, r->w.ep, 0x2100, VIOMMU_WRITE);
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &r->w);
	/* their devices write on, as others do, until the maps are gone */
	assert_heard(r, "");
	viommu_dma_unmap(&h.d, 0);
	assert_moved(&v, 0);
	assert_heard(r, "b ram- 2000-2fff f\na ram- 2000-2fff f\n"
			"a ram+ 2000-2fff\nb ram+ 2000-2fff\n");
	memories(r, 2);
	assert_ptr_equal(r->s[0].region[1].host, other);
	assert_true(viommu_fence_done(&v.f));
	/* parts of several, into one; and a device */
	mover_init(&v, 0x1800, 0x2000, other + PAGE);
	mover_go(&v, &r->w);
	assert_moved(&v, 0);
	assert_heard(r, "b ram- 1800-37ff f\na ram- 1800-37ff f\n"
			"a ram+ 1800-37ff\nb ram+ 1800-37ff\n");
	memories(r, 2);
	rig_free(r);
}

static void what_is_refused_at_once_is_not_told(void **state)
{
	struct rig *r = setup(1);
	struct mover v;

	(void)state;
	mover_init(&v, WORLD_RAM, PAGE, other);
	assert_int_equal(mover_try(&v, mem_of(r)), -ENOENT);
	mover_init(&v, 0x2000, 0, other);
	assert_int_equal(mover_try(&v, mem_of(r)), -EINVAL);
	assert_heard(r, "");
	memories(r, 1);
	rig_free(r);
}

/* The shadow's device may write until it has let go: so long nothing is
 * copied, and no longer. */
static void they_hold_up_the_copy(void **state)
{
	struct rig *r = setup(1);
	struct mover v;

	(void)state;
	r->s[0].holds = true;
	mover_init(&v, 0x2000, PAGE, other);
	v.m.copy = mover_copy;
	mover_go(&v, &r->w);
	assert_int_equal(v.copies, 0);
	assert_heard(r, "a ram- 2000-2fff f\n");
	r->w.ram[0x2fff] = 'W';
	shadow_release(&r->s[0]);
	assert_moved(&v, 0);
	assert_int_equal(other[0xfff], 'W');
	assert_true(viommu_fence_done(&v.f));
	assert_heard(r, "a ram+ 2000-2fff\n");
	memories(r, 1);
	r->s[0].holds = false;
	rig_free(r);
}

/* ... up to a deadline (L9). */
static void a_holder_is_given_up(void **state)
{
	struct rig *r = setup(1);
	struct mover v;

	(void)state;
	r->s[0].holds = true;
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &r->w);
	r->s[0].holds = false;
	r->w.verdict = VIOMMU_WAIT_ON;
	heard(r);
	pass(r, TIMEOUT);
	assert_int_equal(v.told, 0);
	assert_true(r->w.nexpired > 0);
	r->w.verdict = VIOMMU_GIVE_UP;
	pass(r, TIMEOUT);
	assert_moved(&v, -ETIMEDOUT);
	assert_heard(r, "a ram+ 2000-2fff\n");
	memories(r, 1);
	assert_int_equal(other[0], 0xee);
	shadow_release(&r->s[0]);
	assert_true(viommu_fence_done(&v.f));
	assert_int_equal(viommu_endpoint_recover(r->w.ep), 0);
	memories(r, 1);
	rig_free(r);
}

/* They need not hear of what did not come to that. */
static void what_is_off_before_is_not_told(void **state)
{
	struct rig *r = setup(1);
	struct holder h;
	struct mover v;

	(void)state;
	hold(&h, r->w.ep, 0x2100, VIOMMU_WRITE);
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &r->w);
	pass(r, TIMEOUT);
	assert_moved(&v, -ETIMEDOUT);
	assert_heard(r, "");
	assert_null(shadow_broken(&r->s[0]));
	viommu_dma_unmap(&h.d, 0);
	assert_heard(r, "");
	assert_true(viommu_fence_done(&v.f));
	rig_free(r);
}

static void who_refuses_gets_back_what_was(void **state)
{
	struct rig *r = setup(3);
	struct mover v;
	char c = 'c';

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		refuse(r, i, SHADOW_ANY(SHADOW_RAM_ADD), 0);
		mover_init(&v, 0x2000, PAGE, other);
		mover_go(&v, &r->w);
		assert_moved(&v, -ENOSPC);
		memories(r, 3);
		assert_int_equal(viommu_dma_write(r->w.ep, 0x2000 + i, &c, 1),
				 0);
		assert_int_equal(r->w.ram[0x2000 + i], 'c');
		assert_true(viommu_fence_done(&v.f));
	}
	assert_string_equal(strstr(heard(r), "c ram+ 2000-2fff ENOSPC"),
			    "c ram+ 2000-2fff ENOSPC\n"
			    "b ram- 2000-2fff -\n"
			    "a ram- 2000-2fff -\n"
			    "a ram+ 2000-2fff\n"
			    "b ram+ 2000-2fff\n"
			    "c ram+ 2000-2fff\n");
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &r->w);
	assert_moved(&v, 0);
	memories(r, 3);
	rig_free(r);
}

/* A copy that fails is no fault of theirs. */
static void what_is_off_comes_back(void **state)
{
	struct rig *r = setup(1);
	struct mover v;

	(void)state;
	mover_init(&v, 0x2000, PAGE, other);
	v.m.copy = mover_copy;
	v.copy_rc = -EIO;
	mover_go(&v, &r->w);
	assert_moved(&v, -EIO);
	assert_heard(r, "a ram- 2000-2fff f\na ram+ 2000-2fff\n");
	memories(r, 1);
	/* in pieces, if it was */
	v.told = v.copies = 0;
	v.m.to.gpa = 0x1000;
	v.m.to.len = 0x3000;
	viommu_fence_init(&v.f);
	mover_go(&v, &r->w);
	assert_moved(&v, -EIO);
	assert_heard(r, "a ram- 1000-3fff f\na ram+ 1000-1fff\n"
			"a ram+ 2000-2fff\na ram+ 3000-3fff\n");
	memories(r, 1);
	rig_free(r);
}

/* Who will not have back what it had follows no more. */
static void who_refuses_twice_is_lost(void **state)
{
	struct rig *r = setup(2);
	struct mover v;

	(void)state;
	refuse(r, 0, SHADOW_ANY(SHADOW_RAM_ADD), 0);
	r->s[0].plan.times = 2;
	r->s[0].holds = true;
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &r->w);
	/* of the first hold; it takes another within */
	viommu_notifier_release(&r->s[0].hold[--r->s[0].nholds]);
	assert_moved(&v, -ENOSPC);
	assert_heard(r, "b ram- 2000-2fff f\na ram- 2000-2fff f\n"
			"a ram+ 2000-2fff ENOSPC\n"
			"a ram+ 2000-2fff ENOSPC\n"
			"a unmap " ALL " f\na gone lost\n"
			"b ram+ 2000-2fff\n");
	/* what it lost, and holds, is still to be waited for */
	assert_false(viommu_fence_done(&v.f));
	shadow_release(&r->s[0]);
	assert_true(viommu_fence_done(&v.f));
	r->s[0].holds = false;
	rig_remove(r, 0);
	assert_null(shadow_compare_memory(&r->s[1], mem_of(r)));
	rig_free(r);
}

/* ---- who comes meanwhile ---------------------------------------------- */

static void come(struct mover *v)
{
	struct rig *r = v->arg;

	assert_int_equal(shadow_add(&r->s[1], r->w.ep, mem_of(r)), 0);
}

/* It must not find the old place, where its device would write, nor the new
 * one twice. */
static void who_comes_meanwhile_finds_it_once(void **state)
{
	struct rig *r = setup(1);
	struct holder h;
	struct mover v;

	(void)state;
	for (int off = 0; off < 2; off++) {
		mover_init(&v, 0x2000, PAGE, off ? r->w.ram + 0x2000 : other);
		v.m.copy = mover_copy;
		v.copy_rc = off ? -EIO : 0;
		v.during = come;
		v.arg = r;
		mover_go(&v, &r->w);
		assert_moved(&v, v.copy_rc);
		memories(r, 2);
		rig_remove(r, 1);
		shadow_reset(&r->s[1]);
		heard(r);
	}
	/* before that it is where it was */
	hold(&h, r->w.ep, 0x2100, VIOMMU_WRITE);
	mover_init(&v, 0x1000, 3 * PAGE, other + PAGE);
	mover_go(&v, &r->w);
	assert_int_equal(shadow_add(&r->s[1], r->w.ep, mem_of(r)), 0);
	viommu_dma_unmap(&h.d, 0);
	assert_moved(&v, 0);
	memories(r, 2);
	rig_free(r);
}

/* ---- the log ---------------------------------------------------------- */

static uint64_t dirty(struct rig *r)
{
	uint64_t bits = 0;

	assert_in_range(
		viommu_memory_dirty_fetch(mem_of(r), 0, WORLD_RAM, &bits), 0,
		64);
	return bits;
}

static void log_start(struct rig *r)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_start(mem_of(r), 0, &f), 0);
	fence_run(&f);
}

static void log_stop(struct rig *r)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_memory_dirty_stop(mem_of(r), &f);
	fence_run(&f);
}

static void put_byte(struct rig *r, uint64_t iova)
{
	assert_int_equal(viommu_dma_write(r->w.ep, iova, "d", 1), 0);
}

/* Who copies the memory elsewhere, page by page, notices nothing. */
static void the_log_moves_with_it(void **state)
{
	struct rig *r = setup(0);
	struct holder h;
	struct mover v;

	(void)state;
	log_start(r);
	put_byte(r, 0x1fff);
	put_byte(r, 0x2000);
	put_byte(r, 0x4fff);
	put_byte(r, 0x8000);
	hold(&h, r->w.ep, 0x3100, VIOMMU_WRITE);
	mover_init(&v, 0x2000, 3 * PAGE, other);
	mover_go(&v, &r->w);
	viommu_dma_unmap(&h.d, 1);
	assert_moved(&v, 0);
	assert_int_equal(dirty(r), 0x11e);
	put_byte(r, 0x2fff);
	put_byte(r, 0x5000);
	assert_int_equal(dirty(r), 0x24);
	/* and back, in parts, with edges in pages */
	mover_init(&v, 0x2800, PAGE, r->w.ram + 0x2800);
	mover_go(&v, &r->w);
	assert_moved(&v, 0);
	assert_int_equal(dirty(r), 0);
	put_byte(r, 0x27ff);
	put_byte(r, 0x37ff);
	assert_int_equal(dirty(r), 0xc);
	/* all that the log is for */
	put_byte(r, 0x1000);
	mover_init(&v, 0, WORLD_RAM, third);
	mover_go(&v, &r->w);
	assert_moved(&v, 0);
	put_byte(r, 0xffff);
	assert_int_equal(dirty(r), 0x8002);
	log_stop(r);
	rig_free(r);
}

/* A log knows nothing of what a device had. */
static void what_was_a_device_is_dirty(void **state)
{
	static struct toy toy;
	struct rig *r = setup(0);
	struct mover v;

	(void)state;
	log_start(r);
	mover_init(&v, 0x2000, 2 * PAGE, NULL);
	v.m.to = toy_region(&toy, 0x2000, 2 * PAGE, 0);
	mover_go(&v, &r->w);
	assert_moved(&v, 0);
	assert_int_equal(dirty(r) & ~UINT64_C(0xc), 0);
	put_byte(r, 0x2000);
	assert_int_equal(dirty(r), 0);
	/* with some RAM: all of it */
	mover_init(&v, 0x3000, 2 * PAGE, other);
	mover_go(&v, &r->w);
	assert_moved(&v, 0);
	assert_int_equal(dirty(r), 0x18);
	mover_init(&v, 0x2000, PAGE, r->w.ram + 0x2000);
	mover_go(&v, &r->w);
	assert_moved(&v, 0);
	assert_int_equal(dirty(r), 0x4);
	log_stop(r);
	rig_free(r);
}

static void start_meanwhile(struct mover *v)
{
	log_start(v->arg);
}

static void stop_meanwhile(struct mover *v)
{
	log_stop(v->arg);
}

static void a_log_that_comes_or_goes_meanwhile(void **state)
{
	struct rig *r = setup(0);
	struct mover v;

	(void)state;
	mover_init(&v, 0x2000, PAGE, other);
	v.m.copy = mover_copy;
	v.during = start_meanwhile;
	v.arg = r;
	mover_go(&v, &r->w);
	assert_moved(&v, 0);
	assert_int_equal(dirty(r), 0);
	put_byte(r, 0x2fff);
	put_byte(r, 0x3000);
	assert_int_equal(dirty(r), 0xc);
	mover_init(&v, 0x2000, PAGE, r->w.ram + 0x2000);
	v.m.copy = mover_copy;
	v.during = stop_meanwhile;
	v.arg = r;
	mover_go(&v, &r->w);
	assert_moved(&v, 0);
	put_byte(r, 0x2fff);
	log_start(r);
	assert_int_equal(dirty(r), 0);
	put_byte(r, 0x2fff);
	assert_int_equal(dirty(r), 0x4);
	log_stop(r);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(they_hear_what_is_given_up),
		cmocka_unit_test(they_hold_what_is_given_up),
		cmocka_unit_test(they_see_it_go_and_come),
		cmocka_unit_test(what_is_refused_at_once_is_not_told),
		cmocka_unit_test(they_hold_up_the_copy),
		cmocka_unit_test(a_holder_is_given_up),
		cmocka_unit_test(what_is_off_before_is_not_told),
		cmocka_unit_test(who_refuses_gets_back_what_was),
		cmocka_unit_test(what_is_off_comes_back),
		cmocka_unit_test(who_refuses_twice_is_lost),
		cmocka_unit_test(who_comes_meanwhile_finds_it_once),
		cmocka_unit_test(the_log_moves_with_it),
		cmocka_unit_test(what_was_a_device_is_dirty),
		cmocka_unit_test(a_log_that_comes_or_goes_meanwhile),
	};

	return cmocka_run_group_tests_name("notifier_move", tests, NULL, NULL);
}
