/* SPDX-License-Identifier: BSD-2-Clause */
/* Maps that are asked to let go (L6), and maps beyond a thread's pins. */
#include <pthread.h>
#include <semaphore.h>

#include "world.h"

/* A holder, and what it does when it is asked. */
struct holder {
	struct viommu_dma d;
	struct iovec iov;
	struct world *w;
	int asked;
	bool lets_go;	       /* within the callback */
	bool maps_anew;	       /* and then, too */
	int anew;	       /* what that said */
	sem_t is_asked, go_on; /* of a callback that takes its time */
	bool slow;
};

static void on_revoke(struct viommu_dma *d)
{
	struct holder *h = d->arg;

	assert_ptr_equal(d, &h->d);
	h->asked++;
	if (h->slow) {
		sem_post(&h->is_asked);
		sem_wait(&h->go_on);
	}
	if (h->lets_go)
		viommu_dma_unmap(d, 0);
	if (h->maps_anew)
		h->anew = viommu_dma_map(d);
}

static void holder_init(struct holder *h, struct world *w, uint64_t iova,
			uint64_t len)
{
	memset(h, 0, sizeof(*h));
	h->w = w;
	h->anew = 1;
	sem_init(&h->is_asked, 0, 0);
	sem_init(&h->go_on, 0, 0);
	h->d = (struct viommu_dma){ .ep = w->ep,
				    .iova = iova,
				    .len = len,
				    .prot = VIOMMU_READ,
				    .iov = &h->iov,
				    .max_iov = 1,
				    .revoke = on_revoke,
				    .arg = h };
}

static void hold(struct holder *h, struct world *w, uint64_t iova, uint64_t len)
{
	holder_init(h, w, iova, len);
	assert_int_equal(viommu_dma_map(&h->d), 0);
}

static void take(struct world *w, uint64_t start, uint64_t last,
		 struct viommu_fence *f)
{
	viommu_fence_init(f);
	assert_in_range(viommu_space_unmap(w->space, start, last, f), 0,
			INT64_MAX);
	viommu_fence_commit(f, NULL, NULL);
}

static struct viommu_stats stats(const struct world *w)
{
	struct viommu_stats s;

	viommu_read_stats(w->vi, &s);
	return s;
}

static void setup(struct world *w, const struct viommu_config *cfg)
{
	world_make(w, cfg, 4096);
	for (uint64_t a = 0; a < 0x10000; a += 0x1000)
		assert_int_equal(map_rw(w, a, a + 0xfff, a), 0);
}

static void is_asked_once_and_lets_go_later(void **state)
{
	struct viommu_endpoint_stats es;
	struct viommu_fence f, g;
	struct holder h;
	struct world w;

	(void)state;
	setup(&w, NULL);
	hold(&h, &w, 0x2800, 0x100);
	take(&w, 0x2000, 0x2fff, &f);
	assert_int_equal(h.asked, 1);
	assert_false(viommu_fence_done(&f));
	take(&w, 0, 0xffff, &g);
	assert_int_equal(h.asked, 1);
	assert_false(viommu_fence_done(&g));
	viommu_dma_unmap(&h.d, 0);
	assert_true(viommu_fence_done(&f));
	assert_true(viommu_fence_done(&g));
	assert_int_equal(stats(&w).revokes, 1);
	viommu_endpoint_read_stats(w.ep, &es);
	assert_int_equal(es.revokes, 1);
	world_free(&w);
}

static void lets_go_when_asked(void **state)
{
	struct viommu_fence f;
	struct holder h;
	struct world w;

	(void)state;
	setup(&w, NULL);
	hold(&h, &w, 0x2800, 0x100);
	h.lets_go = true;
	take(&w, 0x2000, 0x2fff, &f);
	assert_int_equal(h.asked, 1);
	assert_true(viommu_fence_done(&f));
	world_free(&w);
}

static void maps_again_when_asked_and_is_told_why_not(void **state)
{
	struct viommu_fence f;
	struct holder h;
	struct world w;

	(void)state;
	setup(&w, NULL);
	hold(&h, &w, 0x2800, 0x100);
	h.lets_go = h.maps_anew = true;
	take(&w, 0x2000, 0x2fff, &f);
	assert_int_equal(h.anew, -EFAULT);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_UNMAPPED);
	assert_true(viommu_fence_done(&f));
	world_free(&w);
}

/* It holds what is there now, which nobody takes. */
static void maps_again_what_came_instead(void **state)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = 4096 };
	struct viommu_space *other;
	struct viommu_mapping m = { .start = 0x2000,
				    .last = 0x2fff,
				    .gpa = 0x5000,
				    .prot = VIOMMU_READ };
	struct viommu_fence f;
	struct holder h;
	struct world w;

	(void)state;
	setup(&w, NULL);
	assert_int_equal(viommu_space_create(w.vi, &sc, &other), 0);
	assert_int_equal(viommu_space_map(other, &m), 0);
	hold(&h, &w, 0x2800, 0x100);
	h.lets_go = h.maps_anew = true;
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w.ep, other, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(h.anew, 0);
	assert_true(viommu_fence_done(&f));
	assert_ptr_equal(h.iov.iov_base, w.ram + 0x5800);
	assert_int_equal(h.asked, 1);
	h.maps_anew = false;
	viommu_fence_init(&f);
	viommu_space_destroy(other, &f);
	fence_run(&f);
	assert_int_equal(h.asked, 2); /* it is another map */
	world_free(&w);
}

static void is_not_asked_for_others(void **state)
{
	struct viommu_fence f;
	struct holder h;
	struct world w;

	(void)state;
	setup(&w, NULL);
	hold(&h, &w, 0x2000, 0x1000);
	take(&w, 0x0000, 0x1fff, &f);
	assert_true(viommu_fence_done(&f));
	take(&w, 0x3000, 0xffff, &f);
	assert_true(viommu_fence_done(&f));
	take(&w, 0x10000, UINT64_MAX, &f); /* a hole */
	assert_true(viommu_fence_done(&f));
	assert_int_equal(h.asked, 0);
	viommu_dma_unmap(&h.d, 0);
	world_free(&w);
}

static void not_asked_by_a_fence_from_before(void **state)
{
	struct viommu_fence f, g;
	struct holder old, new;
	struct world w;

	(void)state;
	setup(&w, NULL);
	hold(&old, &w, 0x2000, 0x100);
	take(&w, 0x2000, 0x2fff, &f);
	assert_int_equal(map_rw(&w, 0x2000, 0x2fff, 0x7000), 0);
	hold(&new, &w, 0x2000, 0x100);
	viommu_dma_unmap(&old.d, 0);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(new.asked, 0);
	take(&w, 0x2000, 0x2fff, &g);
	assert_int_equal(new.asked, 1);
	viommu_dma_unmap(&new.d, 0);
	assert_true(viommu_fence_done(&g));
	world_free(&w);
}

/* Each way to take something away finds it. */
static void every_taking_asks(void **state)
{
	struct viommu_fence f;
	struct holder h;

	(void)state;
	for (int how = 0; how < 5; how++) {
		struct world w;

		setup(&w, NULL);
		hold(&h, &w, 0x2800, 0x100);
		h.lets_go = true;
		viommu_fence_init(&f);
		if (how == 0)
			viommu_endpoint_detach(w.ep, &f);
		else if (how == 1)
			assert_int_equal(
				viommu_memory_remove(viommu_memory_of(w.vi), 0,
						     WORLD_RAM, &f),
				0);
		else if (how == 2)
			assert_int_equal(
				viommu_space_unmap(w.space, 0, UINT64_MAX, &f),
				0x10000);
		/* a fence with more extents than it has room for */
		for (uint64_t i = 0; how == 3 && i < 12; i++)
			assert_int_equal(viommu_space_unmap(w.space, i << 12,
							    (i << 12) + 0xfff,
							    &f),
					 0x1000);
		if (how == 4) {
			viommu_endpoint_destroy(w.ep, &f);
			viommu_space_destroy(w.space, &f);
			fence_run(&f);
			assert_int_equal(h.asked, 1);
			viommu_destroy(w.vi);
			free(w.ram);
			continue;
		}
		fence_run(&f);
		assert_int_equal(h.asked, 1);
		world_free(&w);
	}
}

/* ---- two threads ------------------------------------------------------ */

static void *unmap_thread(void *arg)
{
	struct holder *h = arg;

	viommu_dma_unmap(&h->d, 0);
	memset(&h->d, 0xa5, sizeof(h->d));
	return NULL;
}

static void *take_thread(void *arg)
{
	struct world *w = arg;
	struct viommu_fence f;

	take(w, 0x2000, 0x2fff, &f);
	assert_int_equal(viommu_fence_wait(&f, -1), 0);
	return NULL;
}

/* The handle stays until the callback has returned. */
static void unmap_waits_for_the_callback(void **state)
{
	struct timespec soon;
	pthread_t taker, owner;
	struct holder h;
	struct world w;

	(void)state;
	setup(&w, NULL);
	hold(&h, &w, 0x2800, 0x100);
	h.slow = true;
	assert_int_equal(pthread_create(&taker, NULL, take_thread, &w), 0);
	sem_wait(&h.is_asked);
	assert_int_equal(pthread_create(&owner, NULL, unmap_thread, &h), 0);
	/* if it did not wait it would be over by then, as good as always */
	clock_gettime(CLOCK_REALTIME, &soon);
	soon.tv_nsec += 50000000;
	if (soon.tv_nsec >= 1000000000) {
		soon.tv_nsec -= 1000000000;
		soon.tv_sec++;
	}
	assert_int_equal(pthread_timedjoin_np(owner, NULL, &soon), ETIMEDOUT);
	sem_post(&h.go_on);
	pthread_join(owner, NULL);
	pthread_join(taker, NULL);
	assert_int_equal(h.asked, 1);
	world_free(&w);
}

/* ---- many ------------------------------------------------------------- */

enum {
	MANY = 3000
};

/* All of them are asked, each once, and no other. */
static void asks_all_that_overlap(void **state)
{
	struct holder *h = calloc(MANY, sizeof(*h));
	struct viommu_fence f;
	struct world w;

	(void)state;
	assert_non_null(h);
	setup(&w, NULL);
	for (unsigned i = 0; i < MANY; i++) {
		hold(&h[i], &w, (i % 16) << 12, 1);
		h[i].lets_go = i % 2;
	}
	take(&w, 0x4000, 0x7fff, &f);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(h[i].asked, i % 16 >= 4 && i % 16 <= 7);
	assert_false(viommu_fence_done(&f));
	for (unsigned i = 0; i < MANY; i++)
		if (!h[i].asked || !h[i].lets_go)
			viommu_dma_unmap(&h[i].d, 0);
	assert_true(viommu_fence_done(&f));
	world_free(&w);
	free(h);
}

/* Not revocable ones, beyond the pins: seen by every taking, too. */
static void maps_beyond_the_pins_are_waited_for(void **state)
{
	struct holder *h = calloc(40, sizeof(*h));
	struct viommu_fence f;
	struct world w;

	(void)state;
	assert_non_null(h);
	setup(&w, NULL);
	for (unsigned i = 0; i < 40; i++) {
		holder_init(&h[i], &w, (i % 16) << 12, 1);
		h[i].d.revoke = NULL;
		assert_int_equal(viommu_dma_map(&h[i].d), 0);
	}
	for (unsigned p = 0; p < 16; p++) {
		take(&w, p << 12, (p << 12) + 0xfff, &f);
		for (unsigned i = p; i < 40; i += 16) {
			assert_false(viommu_fence_done(&f));
			viommu_dma_unmap(&h[i].d, 0);
		}
		assert_true(viommu_fence_done(&f));
	}
	world_free(&w);
	free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_asked_once_and_lets_go_later),
		cmocka_unit_test(lets_go_when_asked),
		cmocka_unit_test(maps_again_when_asked_and_is_told_why_not),
		cmocka_unit_test(maps_again_what_came_instead),
		cmocka_unit_test(is_not_asked_for_others),
		cmocka_unit_test(not_asked_by_a_fence_from_before),
		cmocka_unit_test(every_taking_asks),
		cmocka_unit_test(unmap_waits_for_the_callback),
		cmocka_unit_test(asks_all_that_overlap),
		cmocka_unit_test(maps_beyond_the_pins_are_waited_for),
	};

	return cmocka_run_group_tests_name("revoke", tests, NULL, NULL);
}
