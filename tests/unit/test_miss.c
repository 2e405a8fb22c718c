/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The questions of REMOTE spaces, as accesses bring them about and as the
 * space's owner settles them.
 */
#include "miss.h"

#include "core/miss.h"
#include "dma/access.h"

/* The first half of an access: its pin is BUSY. */
static void look_begin(struct rig *r, struct vi_access *a, uint64_t iova)
{
	struct vi_piece piece;

	vi_access_init(a, r->w.ep, iova, 1, VIOMMU_READ);
	assert_int_equal(vi_access_begin(a), 0);
	assert_int_equal(vi_access_look(a, iova, 1, &piece), -EFAULT);
}

/* ---- one question ----------------------------------------------------- */

static void a_page_is_asked_for_once(void **state)
{
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	assert_int_equal(touch(&r.w, 0x10800, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(touch(&r.w, 0x10fff, VIOMMU_WRITE), -EINPROGRESS);
	assert_int_equal(touch(&r.w, 0x10000, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(r.nasked, 1);
	assert_int_equal(r.asked[0].start, 0x10000);
	assert_int_equal(r.asked[0].last, 0x10fff);
	assert_int_equal(r.asked[0].prot, VIOMMU_READ);
	assert_int_equal(r.asked[0].id, 1);
	assert_int_equal(r.asked[0].pasid, VIOMMU_NO_PASID);
	assert_int_equal(touch(&r.w, 0x11000, VIOMMU_WRITE), -EINPROGRESS);
	assert_int_equal(r.nasked, 2);
	assert_int_equal(r.asked[1].prot, VIOMMU_WRITE);
	assert_int_equal(misses(&r), 2);
	assert_int_equal(r.nsettled, 0);
	assert_int_equal(r.w.nfaults, 0);
	rig_free(&r);
}

static void an_answer_settles(void **state)
{
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	assert_int_equal(touch(&r.w, 0x10800, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(map_page(&r, 0x11000, RW), 0); /* another page */
	assert_int_equal(r.nsettled, 0);
	assert_int_equal(map_page(&r, 0x10000, RW), 0);
	assert_int_equal(r.nsettled, 1);
	assert_int_equal(r.settled[0].rc, 0);
	assert_memory_equal(&r.settled[0].m, &r.asked[0], sizeof(r.asked[0]));
	assert_int_equal(touch(&r.w, 0x10800, RW), 0);
	assert_int_equal(touch(&r.w, 0x11800, RW), 0);
	assert_int_equal(misses(&r), 1);
	rig_free(&r);
}

static void an_answer_before_the_question_is_not_lost(void **state)
{
	struct vi_access a;
	struct vi_ask ask;
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	look_begin(&r, &a, 0x10000);
	assert_int_equal(map_page(&r, 0x10000, VIOMMU_READ), 0);
	assert_int_equal(vi_miss_begin(&ask, r.w.ep, r.s, 0x10000, VIOMMU_READ),
			 0);
	vi_access_finish(&a);
	assert_int_equal(misses(&r), 0);
	rig_free(&r);
}

static void answer_at_once(struct rig *r, const struct viommu_miss *m)
{
	assert_int_equal(map_page(r, m->start, RW), 0);
}

static void a_handler_may_answer_at_once(void **state)
{
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	r.on_miss = answer_at_once;
	assert_int_equal(touch(&r.w, 0x10800, RW), 0);
	assert_int_equal(r.nasked, 1);
	assert_int_equal(r.nsettled, 1);
	assert_int_equal(r.settled[0].rc, 0);
	rig_free(&r);
}

static void cancel_at_once(struct rig *r, const struct viommu_miss *m)
{
	vi_miss_cancel(r->s, m->start, m->last);
}

static void a_handler_that_always_cancels_is_not_asked_for_ever(void **state)
{
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	r.on_miss = cancel_at_once;
	assert_int_equal(touch(&r.w, 0x10800, RW), -EINPROGRESS);
	assert_int_equal(r.nasked, r.nsettled);
	assert_in_range(r.nasked, 1, 2);
	rig_free(&r);
}

static void a_question_over_before_it_is_put_is_not_put(void **state)
{
	struct viommu_space_config sc;
	struct vi_ask ask, other;
	struct rig r;

	(void)state;
	sc = rig_config(&r);
	sc.max_misses = 1;
	rig_make(&r, &sc);
	assert_int_equal(vi_miss_begin(&ask, r.w.ep, r.s, 0x10000, RW),
			 -EINPROGRESS);
	vi_miss_cancel(r.s, 0x10fff, 0x10fff);
	assert_int_equal(r.nsettled, 1);
	/* also when its record is in use again */
	assert_int_equal(vi_miss_begin(&other, r.w.ep, r.s, 0x10000, RW),
			 -EINPROGRESS);
	assert_int_equal(vi_miss_ask(&ask), 0);
	assert_int_equal(r.nasked, 0);
	assert_int_equal(vi_miss_ask(&other), -EINPROGRESS);
	assert_int_equal(r.nasked, 1);
	rig_free(&r);
}

static void nothing_is_asked_outside_the_aperture(void **state)
{
	struct viommu_space_config sc;
	struct vi_ask ask;
	struct rig r;

	(void)state;
	sc = rig_config(&r);
	sc.start = 0x10800; /* the first whole page is at 0x11000 */
	sc.last = 0x12fff;
	rig_make(&r, &sc);
	assert_int_equal(vi_miss_begin(&ask, r.w.ep, r.s, 0x10800, VIOMMU_READ),
			 -EFAULT);
	assert_int_equal(vi_miss_begin(&ask, r.w.ep, r.s, 0x13000, VIOMMU_READ),
			 -EFAULT);
	assert_int_equal(touch(&r.w, 0x11000, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(touch(&r.w, 0x12fff, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(misses(&r), 2);
	rig_free(&r);
}

/* ---- many ------------------------------------------------------------- */

static void ask_pages(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(touch(&r->w, i * PAGE, VIOMMU_READ),
				 -EINPROGRESS);
	assert_int_equal(r->nasked, n);
}

static void one_answer_settles_many_pages(void **state)
{
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	ask_pages(&r, 100);
	/* more than a round, fewer pages than questions */
	vi_miss_answer(r.s, 10 * PAGE + 5, 59 * PAGE + 5);
	check_told(&r, 10, 59, 0);
	r.nsettled = 0;
	/* more pages than questions */
	vi_miss_answer(r.s, 60 * PAGE, UINT64_MAX);
	check_told(&r, 60, 99, 0);
	r.nsettled = 0;
	vi_miss_answer(r.s, 0, UINT64_MAX);
	check_told(&r, 0, 9, 0);
	rig_free(&r);
}

static void an_invalidation_takes_questions_back(void **state)
{
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	ask_pages(&r, 40);
	assert_int_equal(take(&r, 2 * PAGE, 33 * PAGE + 4095), 0);
	check_told(&r, 2, 33, -ECANCELED);
	assert_int_equal(touch(&r.w, 1 * PAGE, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(r.nasked, 40);
	assert_int_equal(touch(&r.w, 2 * PAGE, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(r.nasked, 41);
	rig_free(&r);
}

static void questions_at_once_are_limited(void **state)
{
	struct viommu_space_config sc;
	struct rig r;

	(void)state;
	sc = rig_config(&r);
	sc.max_misses = 3;
	rig_make(&r, &sc);
	ask_pages(&r, 3);
	assert_int_equal(touch(&r.w, 3 * PAGE, VIOMMU_READ), -EAGAIN);
	assert_int_equal(touch(&r.w, 2 * PAGE, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(r.nasked, 3);
	assert_int_equal(misses(&r), 3);
	assert_int_equal(take(&r, PAGE, PAGE), 0);
	assert_int_equal(touch(&r.w, 3 * PAGE, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(touch(&r.w, 4 * PAGE, VIOMMU_READ), -EAGAIN);
	assert_int_equal(r.nasked, 4);
	rig_free(&r);
}

static void the_top_page_is_a_page(void **state)
{
	uint64_t top = UINT64_MAX - 4095;
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(touch(&r.w, UINT64_MAX, VIOMMU_READ),
				 -EINPROGRESS);
		assert_int_equal(r.asked[i].start, top);
		assert_int_equal(r.asked[i].last, UINT64_MAX);
		if (!i)
			vi_miss_cancel(r.s, UINT64_MAX, UINT64_MAX);
	}
	vi_miss_cancel(r.s, 0, top - 1);
	assert_int_equal(r.nsettled, 1);
	assert_int_equal(map_page(&r, top, VIOMMU_READ), 0);
	assert_int_equal(r.nsettled, 2);
	assert_int_equal(touch(&r.w, UINT64_MAX, VIOMMU_READ), 0);
	assert_int_equal(take(&r, top, UINT64_MAX), PAGE);
	assert_int_equal(touch(&r.w, top, VIOMMU_READ), -EINPROGRESS);
	rig_free(&r);
}

static void taking_one_page_leaves_the_others_hot(void **state)
{
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(map_page(&r, i * PAGE, RW), 0);
	assert_int_equal(take(&r, 5 * PAGE, 5 * PAGE + 4095), PAGE);
	for (unsigned i = 0; i < 16; i++)
		if (i != 5)
			assert_int_equal(touch(&r.w, i * PAGE, RW), 0);
	assert_int_equal(misses(&r), 0);
	assert_int_equal(touch(&r.w, 5 * PAGE, RW), -EINPROGRESS);
	assert_int_equal(misses(&r), 1);
	rig_free(&r);
}

/* ---- permissions ------------------------------------------------------ */

static void a_missing_permission_is_asked_for_once(void **state)
{
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	assert_int_equal(map_page(&r, 0, VIOMMU_READ), 0);
	assert_int_equal(touch(&r.w, 0, VIOMMU_READ), 0);
	assert_int_equal(touch(&r.w, 0, RW), -EINPROGRESS);
	assert_int_equal(r.asked[0].prot, RW);
	remap_page(&r, 0, VIOMMU_READ); /* the same again */
	assert_int_equal(r.nsettled, 1);
	assert_int_equal(r.settled[0].rc, 0);
	assert_int_equal(touch(&r.w, 0, RW), -EACCES);
	assert_int_equal(touch(&r.w, 0, VIOMMU_WRITE), -EACCES);
	assert_int_equal(touch(&r.w, 0, VIOMMU_READ), 0);
	assert_int_equal(r.nasked, 1);
	/* any news of the page, and it is asked for again */
	vi_miss_answer(r.s, 4095, 4096);
	assert_int_equal(touch(&r.w, 0, VIOMMU_WRITE), -EINPROGRESS);
	assert_int_equal(r.nasked, 2);
	remap_page(&r, 0, RW);
	assert_int_equal(r.settled[1].rc, 0);
	assert_int_equal(touch(&r.w, 0, RW), 0);
	assert_int_equal(r.w.nfaults, 2);
	rig_free(&r);
}

static void a_denial_is_of_what_was_asked_for(void **state)
{
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	/* a reader asked; the answer is enough for it, not for a writer */
	assert_int_equal(touch(&r.w, 0, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(touch(&r.w, 0, VIOMMU_WRITE), -EINPROGRESS);
	assert_int_equal(map_page(&r, 0, VIOMMU_READ), 0);
	assert_int_equal(touch(&r.w, 0, VIOMMU_READ), 0);
	assert_int_equal(touch(&r.w, 0, VIOMMU_WRITE), -EINPROGRESS);
	assert_int_equal(r.nasked, 2);
	assert_int_equal(r.asked[1].prot, VIOMMU_WRITE);
	vi_miss_answer(r.s, 0, 4095);
	assert_int_equal(touch(&r.w, 0, VIOMMU_WRITE), -EACCES);
	/* both was never denied */
	assert_int_equal(touch(&r.w, 0, RW), -EINPROGRESS);
	assert_int_equal(r.nasked, 3);
	assert_int_equal(take(&r, 0, 4095), PAGE);
	assert_int_equal(r.settled[2].rc, -ECANCELED);
	assert_int_equal(map_page(&r, 0, RW), 0);
	assert_int_equal(touch(&r.w, 0, RW), 0);
	rig_free(&r);
}

/* Denials of @n pages, which stay mapped for reading. */
static void deny_pages(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(map_page(r, i * PAGE, VIOMMU_READ), 0);
		assert_int_equal(touch(&r->w, i * PAGE, RW), -EINPROGRESS);
	}
	vi_miss_answer(r->s, 0, UINT64_MAX);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(touch(&r->w, i * PAGE, RW), -EACCES);
}

static void denials_give_way_to_questions(void **state)
{
	struct viommu_space_config sc;
	struct rig r;

	(void)state;
	sc = rig_config(&r);
	sc.max_misses = 2;
	rig_make(&r, &sc);
	deny_pages(&r, 2);
	assert_int_equal(touch(&r.w, 7 * PAGE, RW), -EINPROGRESS);
	assert_int_equal(touch(&r.w, PAGE, RW), -EACCES); /* the younger */
	assert_int_equal(touch(&r.w, 0, RW), -EINPROGRESS);
	assert_int_equal(touch(&r.w, 8 * PAGE, RW), -EAGAIN);
	rig_free(&r);
}

static void denials_of_a_wide_answer_stay(void **state)
{
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	deny_pages(&r, 50); /* in several rounds */
	assert_int_equal(r.nasked, 50);
	assert_int_equal(r.nsettled, 50);
	/* time is for questions */
	assert_int_equal(touch(&r.w, 60 * PAGE, RW), -EINPROGRESS);
	vi_miss_poll(r.w.vi, UINT64_MAX - 1);
	assert_int_equal(r.nsettled, 51);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(touch(&r.w, i * PAGE, RW), -EACCES);
	vi_miss_cancel(r.s, 0, UINT64_MAX);
	assert_int_equal(r.nsettled, 51); /* they were over */
	assert_int_equal(touch(&r.w, 0, RW), -EINPROGRESS);
	rig_free(&r);
}

/* ---- deadlines -------------------------------------------------------- */

static void questions_time_out(void **state)
{
	struct viommu_space_config sc;
	struct rig r;

	(void)state;
	sc = rig_config(&r);
	sc.miss_timeout_ns = 500;
	rig_make(&r, &sc);
	assert_int_equal(vi_miss_next_deadline(r.w.vi), UINT64_MAX);
	assert_int_equal(touch(&r.w, 0, VIOMMU_READ), -EINPROGRESS);
	r.now = 1100;
	assert_int_equal(touch(&r.w, PAGE, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(vi_miss_next_deadline(r.w.vi), 1500);
	vi_miss_poll(r.w.vi, 1499);
	assert_int_equal(r.nsettled, 0);
	vi_miss_poll(r.w.vi, 1500);
	check_told(&r, 0, 0, -ETIMEDOUT);
	assert_int_equal(vi_miss_next_deadline(r.w.vi), 1600);
	/* asked again, it has all its time again */
	assert_int_equal(touch(&r.w, 0, VIOMMU_READ), -EINPROGRESS);
	vi_miss_poll(r.w.vi, 1599);
	assert_int_equal(r.nsettled, 1);
	assert_int_equal(map_page(&r, PAGE, RW), 0);
	r.nsettled = 0;
	vi_miss_poll(r.w.vi, 1600);
	check_told(&r, 0, 0, -ETIMEDOUT);
	assert_int_equal(vi_miss_next_deadline(r.w.vi), UINT64_MAX);
	rig_free(&r);
}

static void a_clock_that_was_read_late_keeps_the_order(void **state)
{
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	assert_int_equal(touch(&r.w, 0, VIOMMU_READ), -EINPROGRESS);
	r.now = 900; /* as if it had been read before the other one's */
	assert_int_equal(touch(&r.w, PAGE, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(vi_miss_next_deadline(r.w.vi), 1000000900);
	vi_miss_poll(r.w.vi, 1000000900);
	check_told(&r, 1, 1, -ETIMEDOUT);
	assert_int_equal(vi_miss_next_deadline(r.w.vi), 1000001000);
	rig_free(&r);
}

static void each_space_has_its_own_timeout(void **state)
{
	struct viommu_space_config sc;
	struct viommu_space *s2, *s3;
	struct viommu_fence f;
	struct rig r;

	(void)state;
	sc = rig_config(&r);
	sc.miss_timeout_ns = UINT64_MAX;
	rig_make(&r, &sc);
	assert_int_equal(touch(&r.w, 0, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(vi_miss_next_deadline(r.w.vi), UINT64_MAX);
	sc.miss_timeout_ns = 300;
	assert_int_equal(viommu_space_create(r.w.vi, &sc, &s2), 0);
	sc.miss_timeout_ns = 200;
	assert_int_equal(viommu_space_create(r.w.vi, &sc, &s3), 0);
	see(&r.w, s2);
	assert_int_equal(touch(&r.w, PAGE, VIOMMU_READ), -EINPROGRESS);
	see(&r.w, s3);
	assert_int_equal(touch(&r.w, 2 * PAGE, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(vi_miss_next_deadline(r.w.vi), 1200);
	vi_miss_poll(r.w.vi, 1200);
	check_told(&r, 2, 2, -ETIMEDOUT);
	assert_int_equal(vi_miss_next_deadline(r.w.vi), 1300);
	assert_int_equal(touch(&r.w, 2 * PAGE, VIOMMU_READ), -EINPROGRESS);
	r.nsettled = 0;
	vi_miss_poll(r.w.vi, UINT64_MAX - 1); /* all that may time out */
	check_told(&r, 1, 2, -ETIMEDOUT);
	viommu_fence_init(&f);
	viommu_space_destroy(s2, &f);
	viommu_space_destroy(s3, &f);
	fence_run(&f);
	assert_int_equal(r.nsettled, 2);
	rig_free(&r);
}

static void the_instance_polls(void **state)
{
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	assert_int_equal(touch(&r.w, 0, VIOMMU_READ), -EINPROGRESS);
	assert_int_equal(viommu_next_deadline(r.w.vi), 1000001000);
	viommu_poll(r.w.vi, 1000001000);
	check_told(&r, 0, 0, -ETIMEDOUT);
	rig_free(&r);
}

/* ---- life ------------------------------------------------------------- */

static void a_remote_space_needs_somebody_to_ask(void **state)
{
	struct viommu_space_config sc;
	struct viommu_space *s;
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	sc = rig_config(&r);
	sc.miss = NULL;
	assert_int_equal(viommu_space_create(r.w.vi, &sc, &s), -EINVAL);
	sc.miss = rig_miss;
	sc.max_misses = (1 << 20) + 1;
	assert_int_equal(viommu_space_create(r.w.vi, &sc, &s), -EINVAL);
	rig_free(&r);
}

static void nobody_has_to_be_told(void **state)
{
	struct viommu_space_config sc;
	struct rig r;

	(void)state;
	sc = rig_config(&r);
	sc.settled = NULL;
	rig_make(&r, &sc);
	ask_pages(&r, 40);
	vi_miss_cancel(r.s, 0, UINT64_MAX);
	ask_pages((r.nasked = 0, &r), 40);
	rig_free(&r);
}

static void destruction_takes_questions_back(void **state)
{
	struct viommu_fence f;
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	ask_pages(&r, 40);
	viommu_fence_init(&f);
	viommu_space_destroy(r.s, &f);
	check_told(&r, 0, 39, -ECANCELED);
	viommu_fence_commit(&f, NULL, NULL);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(vi_miss_next_deadline(r.w.vi), UINT64_MAX);
	r.s = NULL;
	rig_free(&r);
}

static void an_access_caught_by_destruction_starts_over(void **state)
{
	struct viommu_fence f;
	struct vi_access a;
	struct vi_ask ask;
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	look_begin(&r, &a, 0);
	viommu_fence_init(&f);
	viommu_space_destroy(r.s, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(vi_miss_begin(&ask, r.w.ep, a.space, 0, VIOMMU_READ),
			 0);
	vi_access_finish(&a);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(misses(&r), 0);
	r.s = NULL;
	rig_free(&r);
}

static void dawdle(struct rig *r, const struct viommu_miss *m)
{
	(void)m;
	sem_post(&r->in);
	sem_wait(&r->out);
}

static void *touch_thread(void *arg)
{
	struct rig *r = arg;

	return touch(&r->w, 0, VIOMMU_READ) == -EFAULT ? r : NULL;
}

static void destruction_waits_for_a_running_handler(void **state)
{
	struct viommu_fence f;
	pthread_t thread;
	struct rig r;
	void *ok;

	(void)state;
	rig_make(&r, NULL);
	r.on_miss = dawdle;
	assert_int_equal(pthread_create(&thread, NULL, touch_thread, &r), 0);
	sem_wait(&r.in);
	viommu_fence_init(&f);
	viommu_space_destroy(r.s, &f); /* itself it waits for nobody */
	check_told(&r, 0, 0, -ECANCELED);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	sem_post(&r.out);
	pthread_join(thread, &ok);
	assert_non_null(ok); /* started over, and found nothing to see */
	assert_int_equal(viommu_fence_wait(&f, 0), 0);
	r.s = NULL;
	rig_free(&r);
}

static void invalidation_waits_for_no_handler(void **state)
{
	pthread_t thread;
	struct rig r;
	void *ok;

	(void)state;
	rig_make(&r, NULL);
	r.on_miss = dawdle;
	assert_int_equal(pthread_create(&thread, NULL, touch_thread, &r), 0);
	sem_wait(&r.in);
	assert_int_equal(take(&r, 0, UINT64_MAX), 0); /* its fence is done */
	check_told(&r, 0, 0, -ECANCELED);
	sem_post(&r.out);
	sem_post(&r.out);
	pthread_join(thread, &ok);
	assert_null(ok);
	rig_free(&r);
}

static void destroy_it(struct rig *r, const struct viommu_miss *m)
{
	static struct viommu_fence f;

	(void)m;
	viommu_fence_init(&f);
	viommu_space_destroy(r->s, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f)); /* we are still in here */
	r->s = NULL;
}

static void a_handler_may_destroy_its_space(void **state)
{
	struct rig r;

	(void)state;
	rig_make(&r, NULL);
	r.on_miss = destroy_it;
	assert_int_equal(touch(&r.w, 0, VIOMMU_READ), -EFAULT);
	assert_int_equal(r.nsettled, 1);
	assert_int_equal(r.settled[0].rc, -ECANCELED);
	rig_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_is_asked_for_once),
		cmocka_unit_test(an_answer_settles),
		cmocka_unit_test(an_answer_before_the_question_is_not_lost),
		cmocka_unit_test(a_handler_may_answer_at_once),
		cmocka_unit_test(
			a_handler_that_always_cancels_is_not_asked_for_ever),
		cmocka_unit_test(a_question_over_before_it_is_put_is_not_put),
		cmocka_unit_test(nothing_is_asked_outside_the_aperture),
		cmocka_unit_test(one_answer_settles_many_pages),
		cmocka_unit_test(an_invalidation_takes_questions_back),
		cmocka_unit_test(questions_at_once_are_limited),
		cmocka_unit_test(the_top_page_is_a_page),
		cmocka_unit_test(taking_one_page_leaves_the_others_hot),
		cmocka_unit_test(a_missing_permission_is_asked_for_once),
		cmocka_unit_test(a_denial_is_of_what_was_asked_for),
		cmocka_unit_test(denials_give_way_to_questions),
		cmocka_unit_test(denials_of_a_wide_answer_stay),
		cmocka_unit_test(questions_time_out),
		cmocka_unit_test(a_clock_that_was_read_late_keeps_the_order),
		cmocka_unit_test(each_space_has_its_own_timeout),
		cmocka_unit_test(the_instance_polls),
		cmocka_unit_test(a_remote_space_needs_somebody_to_ask),
		cmocka_unit_test(nobody_has_to_be_told),
		cmocka_unit_test(destruction_takes_questions_back),
		cmocka_unit_test(an_access_caught_by_destruction_starts_over),
		cmocka_unit_test(destruction_waits_for_a_running_handler),
		cmocka_unit_test(invalidation_waits_for_no_handler),
		cmocka_unit_test(a_handler_may_destroy_its_space),
	};

	return cmocka_run_group_tests_name("miss", tests, NULL, NULL);
}
