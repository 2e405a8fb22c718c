/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When requests are answered: 5.13.6.4.2 (no access to any mapping once DETACH
 * is answered) and 5.13.6.6.2 (likewise UNMAP), for accesses that are under
 * way.  What does not touch them is answered at once.
 */
#include "world.h"

#include <pthread.h>
#include <sched.h>

/* Domain 1 with EP and EP + 1, domain 2 with EP + 2; two pages in each. */
static int setup(void **state)
{
	struct world *w;

	world_setup(state);
	w = *state;
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(attach(w, 1, EP + 1), OK);
	assert_int_equal(attach(w, 2, EP + 2), OK);
	for (uint32_t d = 1; d < 3; d++) {
		assert_int_equal(map(w, d, 0x1000, 0x1fff, 0x4000), OK);
		assert_int_equal(map(w, d, 0x2000, 0x2fff, 0x5000), OK);
	}
	return 0;
}

static uint64_t waiting(struct world *w)
{
	struct viommu_virtio_stats s;

	viommu_virtio_read_stats(w->v, &s);
	return s.waiting;
}

static void unmap_waits_for_the_map(void **state)
{
	struct world *w = *state;
	struct held h;
	struct ask a;

	hold(w, &h, 0, 0x1800, 16);
	assert_int_equal(ask_unmap(w, &a, 1, 0x1000, 0x1fff), WAITING);
	assert_int_equal(a.in[0], 0xa5);
	assert_int_equal(waiting(w), 1);
	/* no new access sees it */
	assert_int_equal(peek(w, 0, 0x1800), -EFAULT);
	assert_int_equal(ask_status(&a), WAITING);
	let_go(&h);
	assert_int_equal(ask_status(&a), OK);
	assert_int_equal(waiting(w), 0);
}

static void others_do_not_wait_behind_it(void **state)
{
	struct world *w = *state;
	struct held h;
	struct ask a, b;

	hold(w, &h, 0, 0x1800, 16);
	assert_int_equal(ask_unmap(w, &a, 1, 0x1000, 0x1fff), WAITING);
	/* elsewhere in the domain, in another, of another endpoint */
	assert_int_equal(map(w, 1, 0x8000, 0x8fff, 0), OK);
	assert_int_equal(unmap(w, 1, 0x2000, 0x2fff), OK);
	assert_int_equal(unmap(w, 2, 0x1000, 0x1fff), OK);
	assert_int_equal(attach(w, 2, EP + 3), OK);
	assert_int_equal(attach(w, 3, EP + 2), OK);
	assert_int_equal(detach(w, 1, EP + 1), OK);
	assert_int_equal(probe(w, &b, EP, 516), OK);
	assert_int_equal(ask_status(&a), WAITING);
	let_go(&h);
	assert_int_equal(ask_status(&a), OK);
}

/* The range may be mapped again meanwhile; who holds the old keeps the old. */
static void map_over_a_waiting_unmap(void **state)
{
	struct world *w = *state;
	struct held h, again;
	struct ask a, b;

	hold(w, &h, 0, 0x1000, 16);
	assert_int_equal(ask_unmap(w, &a, 1, 0x1000, 0x1fff), WAITING);
	assert_int_equal(map(w, 1, 0x1000, 0x1fff, 0x9000), OK);
	assert_int_equal(peek(w, 0, 0x1000), 10);
	assert_ptr_equal(h.iov[0].iov_base, w->ram + 0x4000);
	hold(w, &again, 0, 0x1000, 16);
	assert_ptr_equal(again.iov[0].iov_base, w->ram + 0x9000);
	let_go(&h);
	/* the new map is none of the first UNMAP's business */
	assert_int_equal(ask_status(&a), OK);
	assert_int_equal(ask_unmap(w, &b, 1, 0x1000, 0x1fff), WAITING);
	let_go(&again);
	assert_int_equal(ask_status(&b), OK);
}

/* An UNMAP that finds nothing says so about all of its range. */
static void second_unmap_waits_too(void **state)
{
	struct world *w = *state;
	struct held h;
	struct ask a, b;

	hold(w, &h, 0, 0x1000, 16);
	assert_int_equal(ask_unmap(w, &a, 1, 0x1000, 0x1fff), WAITING);
	assert_int_equal(ask_unmap(w, &b, 1, 0, UINT64_MAX), WAITING);
	assert_int_equal(waiting(w), 2);
	let_go(&h);
	assert_int_equal(ask_status(&a), OK);
	assert_int_equal(ask_status(&b), OK);
}

static void unmap_waits_for_every_map(void **state)
{
	struct world *w = *state;
	struct held h[3];
	struct ask a;

	hold(w, &h[0], 0, 0x1000, 16);
	hold(w, &h[1], 1, 0x1ff0, 0x20); /* into the next page */
	hold(w, &h[2], 2, 0x1000, 16);	 /* in the other domain */
	assert_int_equal(ask_unmap(w, &a, 1, 0x1000, 0x1fff), WAITING);
	let_go(&h[0]);
	assert_int_equal(ask_status(&a), WAITING);
	let_go(&h[1]);
	assert_int_equal(ask_status(&a), OK);
	let_go(&h[2]);
}

static void detach_waits_for_the_map(void **state)
{
	struct world *w = *state;
	struct held h, other;
	struct ask a;

	hold(w, &h, 0, 0x1000, 16);
	hold(w, &other, 1, 0x1000, 16);
	assert_int_equal(ask_detach(w, &a, 1, EP), WAITING);
	assert_int_equal(peek(w, 0, 0x1000), -EFAULT);
	assert_int_equal(attach(w, 3, EP + 3), OK);
	assert_int_equal(map(w, 3, 0, 4095, 0), OK);
	/* its place is free already */
	assert_int_equal(detach(w, 1, EP), INVAL);
	assert_int_equal(attach(w, 3, EP), OK);
	assert_int_equal(peek(w, 0, 0), 1);
	let_go(&h);
	/* the other endpoint is still attached: not waited for */
	assert_int_equal(ask_status(&a), OK);
	let_go(&other);
}

/* The last one: its domain is gone, another of that number comes. */
static void last_detach_waits_for_the_map(void **state)
{
	struct world *w = *state;
	struct held h;
	struct ask a;

	hold(w, &h, 2, 0x1000, 16);
	assert_int_equal(ask_detach(w, &a, 2, EP + 2), WAITING);
	assert_int_equal(map(w, 2, 0x8000, 0x8fff, 0), NOENT);
	assert_int_equal(attach(w, 2, EP + 2), OK);
	assert_int_equal(peek(w, 2, 0x1000), -EFAULT);
	assert_int_equal(map(w, 2, 0x1000, 0x1fff, 0), OK);
	assert_int_equal(unmap(w, 2, 0x1000, 0x1fff), OK);
	assert_int_equal(ask_status(&a), WAITING);
	let_go(&h);
	assert_int_equal(ask_status(&a), OK);
}

static void moving_attach_waits_for_the_map(void **state)
{
	struct world *w = *state;
	struct held h;
	struct ask a;

	hold(w, &h, 2, 0x1000, 16);
	assert_int_equal(map(w, 1, 0x7000, 0x7fff, 0x8000), OK);
	assert_int_equal(ask_attach(w, &a, 1, EP + 2, 0), WAITING);
	/* it is there already */
	assert_int_equal(peek(w, 2, 0x7000), 9);
	let_go(&h);
	assert_int_equal(ask_status(&a), OK);
}

/* Out of bypass, too, it is access that goes. */
static void attach_from_bypass_waits(void **state)
{
	struct world *w = *state;
	struct held h;
	struct ask a;

	bypass_write(w, 1);
	hold(w, &h, 3, 0x1000, 16);
	assert_int_equal(ask_attach(w, &a, 9, EP + 3, 0), WAITING);
	assert_int_equal(peek(w, 3, 0x1000), -EFAULT);
	let_go(&h);
	assert_int_equal(ask_status(&a), OK);
	/* into a bypass domain nothing goes */
	assert_int_equal(detach(w, 9, EP + 3), OK);
	hold(w, &h, 3, 0x1000, 16);
	assert_int_equal(attach_flags(w, 9, EP + 3, BYPASS), OK);
	let_go(&h);
}

static void again_to_the_same_domain_does_not_wait(void **state)
{
	struct world *w = *state;
	struct held h;

	hold(w, &h, 0, 0x1000, 16);
	assert_int_equal(attach(w, 1, EP), OK);
	let_go(&h);
}

/* What is refused takes nothing, and does not wait. */
static void refusals_do_not_wait(void **state)
{
	struct world *w = *state;
	struct held h;

	hold(w, &h, 0, 0x1000, 0x1800);
	assert_int_equal(unmap(w, 1, 0x1000, 0x17ff), RANGE);
	assert_int_equal(unmap(w, 7, 0x1000, 0x1fff), NOENT);
	assert_int_equal(detach(w, 2, EP), INVAL);
	assert_int_equal(attach_flags(w, 2, EP, BYPASS), INVAL);
	assert_int_equal(attach_flags(w, 2, EP, 4), INVAL);
	assert_int_equal(peek(w, 0, 0x1000), 5);
	let_go(&h);
}

/* ---- reset ------------------------------------------------------------ */

/* The reset's fence waits as the request does; each is answered once. */
static void reset_while_a_request_waits(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;
	struct held h, other;
	struct ask a;

	hold(w, &h, 0, 0x1000, 16);
	hold(w, &other, 2, 0x2000, 16);
	assert_int_equal(ask_unmap(w, &a, 1, 0x1000, 0x1fff), WAITING);
	viommu_fence_init(&f);
	viommu_virtio_reset(w->v, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(ask_status(&a), WAITING);
	assert_false(viommu_fence_done(&f));
	/* the device works meanwhile */
	assert_int_equal(attach(w, 1, EP + 3), OK);
	assert_int_equal(map(w, 1, 0x1000, 0x1fff, 0), OK);
	assert_int_equal(peek(w, 3, 0x1000), 1);
	let_go(&h);
	assert_int_equal(ask_status(&a), OK);
	assert_false(viommu_fence_done(&f));
	let_go(&other);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(waiting(w), 0);
}

/* ---- destruction ------------------------------------------------------ */

struct last_words {
	struct ask *ask;
	unsigned n;
	bool done;
};

/* When the fence is done every request has been answered. */
static void last_words(struct viommu_fence *f, void *arg)
{
	struct last_words *l = arg;

	(void)f;
	for (unsigned i = 0; i < l->n; i++)
		assert_int_equal(ask_status(&l->ask[i]), OK);
	l->done = true;
}

static void destroy_while_requests_wait(void **state)
{
	struct ask a[3];
	struct last_words l = { .ask = a, .n = 3 };
	struct world *w = *state;
	struct viommu_fence f;
	struct held h[3];

	for (int i = 0; i < 3; i++)
		hold(w, &h[i], i, 0x1000, 16);
	assert_int_equal(ask_unmap(w, &a[0], 2, 0x1000, 0x1fff), WAITING);
	assert_int_equal(ask_detach(w, &a[1], 1, EP), WAITING);
	assert_int_equal(ask_attach(w, &a[2], 3, EP + 1, 0), WAITING);
	viommu_fence_init(&f);
	w->gone = true;
	viommu_virtio_destroy(w->v, &f);
	viommu_fence_commit(&f, last_words, &l);
	assert_false(l.done);
	let_go(&h[2]);
	assert_int_equal(ask_status(&a[0]), OK);
	let_go(&h[0]);
	assert_int_equal(ask_status(&a[1]), OK);
	assert_int_equal(ask_status(&a[2]), WAITING);
	assert_false(l.done);
	let_go(&h[1]);
	assert_int_equal(ask_status(&a[2]), OK);
	assert_true(l.done);
}

/* The maps go between the destruction and its commit: the device is freed
 * while the caller's fence is still open. */
static void destroy_commits_late(void **state)
{
	struct ask a;
	struct last_words l = { .ask = &a, .n = 1 };
	struct world *w = *state;
	struct viommu_fence f;
	struct held h;

	hold(w, &h, 0, 0x1000, 16);
	assert_int_equal(ask_unmap(w, &a, 1, 0x1000, 0x1fff), WAITING);
	viommu_fence_init(&f);
	w->gone = true;
	viommu_virtio_destroy(w->v, &f);
	let_go(&h);
	assert_int_equal(ask_status(&a), OK);
	viommu_fence_commit(&f, last_words, &l);
	assert_true(l.done);
}

/* A request that waits longer than the destruction itself takes: its map is on
 * an endpoint that moved on, which the destruction does not see. */
static void destroy_holds_for_requests_alone(void **state)
{
	struct ask a;
	struct last_words l = { .ask = &a, .n = 1 };
	struct world *w = *state;
	struct viommu_fence f, mine;
	struct held h;

	hold(w, &h, 2, 0x1000, 16);
	assert_int_equal(ask_detach(w, &a, 2, EP + 2), WAITING);
	viommu_fence_init(&mine);
	viommu_virtio_remove(w->v, w->ep[2], &mine);
	viommu_fence_commit(&mine, NULL, NULL);
	viommu_fence_init(&f);
	w->gone = true;
	viommu_virtio_destroy(w->v, &f);
	viommu_fence_commit(&f, last_words, &l);
	assert_false(l.done);
	let_go(&h);
	assert_int_equal(ask_status(&a), OK);
	assert_true(l.done);
	assert_true(viommu_fence_done(&mine));
}

/* A fault handler that is running holds the destruction: it still comes to the
 * device (a sanitizer sees it if that is gone). */
struct slow {
	struct viommu_virtio *v;
	struct viommu_endpoint *ep;
	_Atomic(int) step; /* 1: in the handler, 2: may go on */
};

static void slow_fault(void *arg, const struct viommu_fault *fault)
{
	struct slow *s = arg;

	s->step = 1;
	while (s->step != 2)
		sched_yield();
	viommu_virtio_fault(s->v, fault);
}

static void slow_event(void *arg)
{
	struct slow *s = arg;

	s->step = 3;
}

static void *slow_access(void *arg)
{
	struct slow *s = arg;
	uint8_t byte;

	return viommu_dma_read(s->ep, 0, &byte, 1) == -EFAULT ? s : NULL;
}

static void destroy_waits_for_a_fault(void **state)
{
	struct slow s = { 0 };
	struct viommu_virtio_config c = { .size = sizeof(c),
					  .event = slow_event,
					  .arg = &s };
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = 77,
					     .pasid = VIOMMU_NO_PASID,
					     .fault = slow_fault,
					     .arg = &s };
	struct world *w = *state;
	struct viommu_fence f;
	pthread_t thread;
	void *ret;

	assert_int_equal(viommu_virtio_create(w->vi, &c, &s.v), 0);
	assert_int_equal(viommu_endpoint_create(w->vi, &ec, &s.ep), 0);
	assert_int_equal(viommu_virtio_add(s.v, s.ep), 0);
	assert_int_equal(pthread_create(&thread, NULL, slow_access, &s), 0);
	while (s.step != 1)
		sched_yield();
	viommu_fence_init(&f);
	viommu_virtio_destroy(s.v, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(&f, 20000000), -ETIMEDOUT);
	s.step = 2;
	assert_int_equal(viommu_fence_wait(&f, 10000000000), 0);
	assert_int_equal(pthread_join(thread, &ret), 0);
	assert_ptr_equal(ret, &s);
	assert_int_equal(s.step, 3);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(s.ep, &f);
	fence_run(&f);
}

static void remove_waits_for_the_map(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;
	struct held h;

	hold(w, &h, 0, 0x1000, 16);
	viommu_fence_init(&f);
	viommu_virtio_remove(w->v, w->ep[0], &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	let_go(&h);
	assert_true(viommu_fence_done(&f));
}

#define WAIT(fn) cmocka_unit_test_setup_teardown(fn, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WAIT(unmap_waits_for_the_map),
		WAIT(others_do_not_wait_behind_it),
		WAIT(map_over_a_waiting_unmap),
		WAIT(second_unmap_waits_too),
		WAIT(unmap_waits_for_every_map),
		WAIT(detach_waits_for_the_map),
		WAIT(last_detach_waits_for_the_map),
		WAIT(moving_attach_waits_for_the_map),
		WAIT(attach_from_bypass_waits),
		WAIT(again_to_the_same_domain_does_not_wait),
		WAIT(refusals_do_not_wait),
		WAIT(reset_while_a_request_waits),
		WAIT(destroy_while_requests_wait),
		WAIT(destroy_commits_late),
		WAIT(destroy_holds_for_requests_alone),
		WAIT(destroy_waits_for_a_fault),
		WAIT(remove_waits_for_the_map),
	};

	return cmocka_run_group_tests_name("wait", tests, NULL, NULL);
}
