/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that is moved, and who does not let go of it in time (L9). */
#include "move_wait.h"

static unsigned char other[WORLD_RAM];

static void a_holder_is_waited_for_or_given_up(void **state)
{
	struct writer t;
	struct holder h;
	struct mover v;
	struct scene s;

	(void)state;
	scene_make(&s, 100 * TIMEOUT);
	memset(other, 0xee, sizeof(other));
	hold(&h, s.w2.ep, 0x2100, VIOMMU_WRITE);
	mover_init(&v, 0x2000, PAGE, other);
	v.m.timeout_ns = TIMEOUT;
	v.m.copy = mover_copy;
	mover_go(&v, &s.w);
	writer_start(&t, &s, MAP, 0x2800);
	s.w2.verdict = VIOMMU_WAIT_ON;
	pass_time(&s, TIMEOUT - 1);
	assert_int_equal(s.w2.nexpired, 0);
	pass_time(&s, 1);
	await_expired(&s.w2, 1);
	assert_int_equal(s.w2.expiry.id, 2);
	assert_int_equal(s.w2.expiry.start, 0x2100);
	assert_int_equal(v.told, 0);
	s.w2.verdict = VIOMMU_GIVE_UP;
	pass_time(&s, TIMEOUT);
	writer_join(&t, 0);
	assert_moved(&v, -ETIMEDOUT);
	assert_memory_equal(s.w.ram + 0x2800, "ZZZZZZZZ", 8);
	assert_int_equal(other[0x800], 0xee);
	assert_int_equal(v.copies, 0);
	assert_spans(s.mem, { 0, 0x2000, s.w.ram, 0, RW },
		     { 0x2000, PAGE, s.w.ram + 0x2000, 0, RW },
		     { 0x3000, WORLD_RAM - 0x3000, s.w.ram + 0x3000, 0, RW });
	assert_int_equal(viommu_dma_write(s.w2.ep, 0, "x", 1), -EIO);
	viommu_dma_unmap(&h.d, 0x100);
	assert_true(viommu_fence_done(&v.f));
	assert_int_equal(v.told, 1);
	assert_int_equal(viommu_endpoint_recover(s.w2.ep), 0);
	move_now(&s.w, 0x2000, PAGE, other);
	scene_free(&s);
}

static void count_failed(struct viommu_fence *f, void *arg)
{
	assert_false(viommu_fence_done(f));
	++*(unsigned *)arg;
}

/* Who reads in the old place, also since the caller's commit, is given up, and
 * the caller is told.  The move is not off. */
static void a_reader_is_waited_for_or_given_up(void **state)
{
	unsigned failed;
	struct holder h, r;
	struct mover v;
	struct scene s;

	(void)state;
	for (int wait_on = 0; wait_on < 2; wait_on++) {
		scene_make(&s, TIMEOUT);
		failed = 0;
		hold(&h, s.w.ep, 0x2100, VIOMMU_WRITE);
		mover_init(&v, 0x2000, PAGE, other);
		viommu_fence_set_failed(&v.f, count_failed);
		assert_int_equal(viommu_memory_move(s.mem, &v.m, &v.f), 0);
		viommu_fence_commit(&v.f, NULL, &failed);
		hold(&r, s.w2.ep, 0x2800, VIOMMU_READ);
		viommu_dma_unmap(&h.d, 0);
		assert_moved(&v, 0);
		assert_int_equal(viommu_fence_wait(&v.f, 0), -ETIMEDOUT);
		s.w2.verdict = wait_on ? VIOMMU_WAIT_ON : VIOMMU_GIVE_UP;
		pass_time(&s, TIMEOUT);
		assert_int_equal(s.w2.nexpired, 1);
		assert_int_equal(s.w2.expiry.start, 0x2800);
		if (wait_on) {
			assert_int_equal(failed, 0);
			s.w2.verdict = VIOMMU_GIVE_UP;
			pass_time(&s, TIMEOUT);
		}
		assert_int_equal(failed, 1);
		assert_int_equal(viommu_fence_wait(&v.f, -1), -ECANCELED);
		assert_false(viommu_fence_done(&v.f)); /* L3 */
		pass_time(&s, 10 * TIMEOUT);
		assert_int_equal(failed, 1);
		viommu_dma_unmap(&r.d, 0);
		assert_true(viommu_fence_done(&v.f));
		assert_int_equal(viommu_fence_wait(&v.f, -1), 0);
		assert_int_equal(v.told, 1);
		assert_int_equal(viommu_endpoint_recover(s.w2.ep), 0);
		scene_free(&s);
	}
}

/* The caller commits when the reader has been given up already. */
static void a_fence_that_is_committed_late_fails_too(void **state)
{
	unsigned failed = 0;
	struct holder r;
	struct mover v;
	struct scene s;

	(void)state;
	scene_make(&s, TIMEOUT);
	hold(&r, s.w2.ep, 0x2800, VIOMMU_READ);
	mover_init(&v, 0x2000, PAGE, other);
	viommu_fence_set_failed(&v.f, count_failed);
	assert_int_equal(viommu_memory_move(s.mem, &v.m, &v.f), 0);
	assert_moved(&v, 0);
	s.w2.verdict = VIOMMU_GIVE_UP;
	pass_time(&s, TIMEOUT);
	assert_int_equal(s.w2.nexpired, 1);
	assert_int_equal(failed, 0);
	viommu_fence_commit(&v.f, NULL, &failed);
	for (int i = 0; i < 3; i++)
		pass_time(&s, TIMEOUT);
	assert_int_equal(failed, 1);
	assert_int_equal(viommu_fence_wait(&v.f, 0), -ECANCELED);
	viommu_dma_unmap(&r.d, 0);
	assert_true(viommu_fence_done(&v.f));
	scene_free(&s);
}

/* While its handler is asked, another one polls, and is answered. */
struct pollers {
	struct scene *s;
	unsigned asked;
};

static void *poll_run(void *arg)
{
	pass_time(arg, TIMEOUT);
	return NULL;
}

static enum viommu_verdict poll_meanwhile(void *arg,
					  const struct viommu_expiry *e)
{
	struct pollers *p = arg;
	pthread_t thread;

	(void)e;
	if (!p->asked++) {
		pthread_create(&thread, NULL, poll_run, p->s);
		pthread_join(thread, NULL);
	}
	return VIOMMU_GIVE_UP;
}

/* The caller says how long, of his fence. */
static void readers_have_the_callers_time(void **state)
{
	struct holder h;
	struct mover v;
	struct scene s;

	(void)state;
	scene_make(&s, 100 * TIMEOUT);
	hold(&h, s.w2.ep, 0x2800, VIOMMU_READ);
	mover_init(&v, 0x2000, PAGE, other);
	viommu_fence_set_timeout(&v.f, TIMEOUT);
	assert_int_equal(viommu_memory_move(s.mem, &v.m, &v.f), 0);
	viommu_fence_commit(&v.f, NULL, NULL);
	assert_moved(&v, 0);
	s.w2.verdict = VIOMMU_GIVE_UP;
	pass_time(&s, TIMEOUT);
	assert_int_equal(s.w2.nexpired, 1);
	assert_int_equal(viommu_fence_wait(&v.f, 0), -ECANCELED);
	viommu_dma_unmap(&h.d, 0);
	assert_true(viommu_fence_done(&v.f));
	scene_free(&s);
}

static void two_pollers_end_it_once(void **state)
{
	struct pollers p = { 0 };
	struct viommu_endpoint_config ec = {
		.size = sizeof(ec), .id = 3, .expire = poll_meanwhile, .arg = &p
	};
	struct viommu_endpoint *ep;
	struct viommu_fence f;
	struct holder h;
	struct mover v;
	struct scene s;

	(void)state;
	scene_make(&s, 100 * TIMEOUT);
	p.s = &s;
	assert_int_equal(viommu_endpoint_create(s.w.vi, &ec, &ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(ep, s.w.space, &f), 0);
	fence_run(&f);
	hold(&h, ep, 0x2100, VIOMMU_WRITE);
	mover_init(&v, 0x2000, PAGE, other);
	v.m.timeout_ns = TIMEOUT;
	assert_int_equal(viommu_memory_move(s.mem, &v.m, &v.f), 0);
	/* somebody's, who has not let go */
	viommu_fence_hold(&v.f);
	viommu_fence_commit(&v.f, NULL, NULL);
	pass_time(&s, TIMEOUT);
	assert_int_equal(p.asked, 2);
	assert_moved(&v, -ETIMEDOUT);
	assert_false(viommu_fence_done(&v.f));
	viommu_dma_unmap(&h.d, 0);
	assert_false(viommu_fence_done(&v.f));
	viommu_fence_release(&v.f);
	assert_true(viommu_fence_done(&v.f));
	assert_int_equal(v.told, 1);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep, &f);
	fence_run(&f);
	scene_free(&s);
}

/* Whoever waits sees to deadlines: nobody polls. */
static void who_waits_looks_at_the_clock(void **state)
{
	struct writer t;
	struct holder h;
	struct mover v;
	struct scene s;

	(void)state;
	scene_make(&s, TIMEOUT);
	hold(&h, s.w2.ep, 0x2100, VIOMMU_WRITE);
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &s.w); /* by the instance's timeout */
	s.w2.verdict = VIOMMU_GIVE_UP;
	writer_start(&t, &s, MAP, 0x2800);
	assert_int_equal(v.told, 0);
	atomic_fetch_add(&now, TIMEOUT);
	writer_join(&t, 0);
	assert_moved(&v, -ETIMEDOUT);
	assert_in_range(s.w2.nexpired, 1, 2);
	assert_memory_equal(s.w.ram + 0x2800, "ZZZZZZZZ", 8);
	viommu_dma_unmap(&h.d, 0);
	assert_true(viommu_fence_done(&v.f));
	scene_free(&s);
}

/* The old holder is still there, and in the way of the next move. */
static void a_move_after_one_that_was_off(void **state)
{
	struct holder h;
	struct mover v, u;
	struct scene s;

	(void)state;
	scene_make(&s, TIMEOUT);
	hold(&h, s.w2.ep, 0x2100, VIOMMU_WRITE);
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &s.w);
	s.w2.verdict = VIOMMU_GIVE_UP;
	pass_time(&s, TIMEOUT);
	assert_moved(&v, -ETIMEDOUT);
	mover_init(&u, 0x2000, PAGE, other);
	mover_go(&u, &s.w);
	assert_int_equal(u.told, 0);
	memset(h.iov.iov_base, 'H', 0x100);
	viommu_dma_unmap(&h.d, 0x100);
	assert_moved(&u, 0);
	assert_int_equal(v.told, 1);
	assert_int_equal(other[0x100], 'H');
	assert_true(viommu_fence_done(&v.f));
	assert_true(viommu_fence_done(&u.f));
	scene_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_holder_is_waited_for_or_given_up),
		cmocka_unit_test(a_reader_is_waited_for_or_given_up),
		cmocka_unit_test(a_fence_that_is_committed_late_fails_too),
		cmocka_unit_test(readers_have_the_callers_time),
		cmocka_unit_test(two_pollers_end_it_once),
		cmocka_unit_test(who_waits_looks_at_the_clock),
		cmocka_unit_test(a_move_after_one_that_was_off),
	};

	return cmocka_run_group_tests_name("move_deadline", tests, NULL, NULL);
}
