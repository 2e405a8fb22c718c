/* SPDX-License-Identifier: BSD-2-Clause */
/* Misses from many threads: none is asked twice, no answer is lost. */
#include <stdio.h>
#include <time.h>

#include "core/miss.h"
#include "miss.h"

enum {
	FOREVER_S = 60, /* longer than any healthy run */
	THREADS = 4,
	PAGES = 8,
	QUESTIONS = 1000, /* before it is enough */
};

/* Accessors want pages, an answerer maps those that were asked for, a taker
 * takes pages away.  Nothing times out: a lost answer hangs. */
struct storm {
	struct rig r;
	pthread_cond_t cond; /* with r.lock: something was asked, or settled */
	_Atomic(uint64_t) nsettled; /* written with r.lock */
	uint32_t wanted;	    /* with r.lock: a bit a page */
	_Atomic(bool) over;	    /* written with r.lock */
	_Atomic(int) lost;
};

static void storm_miss(void *arg, const struct viommu_miss *m)
{
	struct storm *st = arg;

	pthread_mutex_lock(&st->r.lock);
	st->wanted |= 1u << m->start / PAGE;
	pthread_cond_broadcast(&st->cond);
	pthread_mutex_unlock(&st->r.lock);
}

static void storm_settled(void *arg, const struct viommu_miss *m, int rc)
{
	struct storm *st = arg;

	(void)m;
	(void)rc;
	pthread_mutex_lock(&st->r.lock);
	st->nsettled++;
	pthread_cond_broadcast(&st->cond);
	pthread_mutex_unlock(&st->r.lock);
}

static void *storm_answer(void *arg)
{
	struct storm *st = arg;

	pthread_mutex_lock(&st->r.lock);
	for (;;) {
		unsigned page;

		while (!st->wanted && !st->over)
			pthread_cond_wait(&st->cond, &st->r.lock);
		if (!st->wanted)
			break;
		page = (unsigned)__builtin_ctz(st->wanted);
		st->wanted &= st->wanted - 1;
		pthread_mutex_unlock(&st->r.lock);
		(void)!map_page(&st->r, page * PAGE, RW); /* or it is there */
		pthread_mutex_lock(&st->r.lock);
	}
	pthread_mutex_unlock(&st->r.lock);
	return NULL;
}

static void *storm_take(void *arg)
{
	struct storm *st = arg;

	for (uint64_t i = 0; !atomic_load(&st->over); i++) {
		uint64_t page = i * 5 % PAGES * PAGE;

		struct viommu_fence f;

		viommu_fence_init(&f);
		if (viommu_space_invalidate(st->r.s, page,
					    page + (i % 4 ? 4095 : UINT16_MAX),
					    &f))
			atomic_store(&st->lost, 1);
		viommu_fence_commit(&f, NULL, NULL);
		if (viommu_fence_wait(&f, -1))
			atomic_store(&st->lost, 1);
	}
	return NULL;
}

/* Until the count has moved on from @before. */
static void storm_wait(struct storm *st, uint64_t before)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += FOREVER_S;
	pthread_mutex_lock(&st->r.lock);
	while (st->nsettled == before && !atomic_load(&st->lost))
		if (pthread_cond_timedwait(&st->cond, &st->r.lock, &ts))
			atomic_store(&st->lost, 1);
	pthread_mutex_unlock(&st->r.lock);
}

static void *storm_touch(void *arg)
{
	struct storm *st = arg;

	for (uint64_t i = 0; atomic_load(&st->nsettled) < QUESTIONS; i++) {
		uint64_t iova = i * 3 % PAGES * PAGE, before;
		int rc;

		do {
			before = atomic_load(&st->nsettled);
			rc = touch(&st->r.w, iova, RW);
			if (rc == -EINPROGRESS)
				storm_wait(st, before);
		} while (rc == -EINPROGRESS && !atomic_load(&st->lost));
		if (rc) {
			atomic_store(&st->lost, 1);
			break;
		}
	}
	return NULL;
}

static void no_answer_is_lost_in_a_storm(void **state)
{
	pthread_t accessor[THREADS], answerer, taker;
	struct viommu_space_config sc;
	static struct storm st;

	(void)state;
	sc = rig_config(&st.r);
	sc.miss = storm_miss;
	sc.settled = storm_settled;
	sc.arg = &st;
	rig_make(&st.r, &sc);
	pthread_cond_init(&st.cond, NULL);
	pthread_create(&answerer, NULL, storm_answer, &st);
	pthread_create(&taker, NULL, storm_take, &st);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&accessor[i], NULL, storm_touch, &st);
	for (int i = 0; i < THREADS; i++)
		pthread_join(accessor[i], NULL);
	pthread_mutex_lock(&st.r.lock);
	st.over = true;
	pthread_cond_broadcast(&st.cond);
	pthread_mutex_unlock(&st.r.lock);
	pthread_join(taker, NULL);
	pthread_join(answerer, NULL);
	assert_int_equal(st.lost, 0);
	vi_miss_cancel(st.r.s, 0, UINT64_MAX);
	/* each was settled, once */
	assert_int_equal(st.nsettled, misses(&st.r));
	print_message("# %llu questions\n", (unsigned long long)st.nsettled);
	rig_free(&st.r);
	pthread_cond_destroy(&st.cond);
}

struct crowd {
	struct rig r;
	pthread_barrier_t start;
	_Atomic(unsigned) waiting;
};

static void *crowd_touch(void *arg)
{
	struct crowd *c = arg;

	for (uint64_t i = 0; i < LOG; i++) {
		pthread_barrier_wait(&c->start);
		if (touch(&c->r.w, i * PAGE, VIOMMU_READ) == -EINPROGRESS)
			atomic_fetch_add(&c->waiting, 1);
	}
	return NULL;
}

static void a_crowd_asks_once(void **state)
{
	pthread_t thread[THREADS];
	static struct crowd c;

	(void)state;
	rig_make(&c.r, NULL);
	pthread_barrier_init(&c.start, NULL, THREADS);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, crowd_touch, &c);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(c.waiting, THREADS * LOG);
	assert_int_equal(c.r.nasked, LOG);
	assert_int_equal(misses(&c.r), LOG);
	vi_miss_cancel(c.r.s, 0, UINT64_MAX);
	check_told(&c.r, 0, LOG - 1, -ECANCELED);
	rig_free(&c.r);
	pthread_barrier_destroy(&c.start);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_answer_is_lost_in_a_storm),
		cmocka_unit_test(a_crowd_asks_once),
	};

	return cmocka_run_group_tests_name("miss_race", tests, NULL, NULL);
}
