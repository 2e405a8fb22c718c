/* SPDX-License-Identifier: BSD-2-Clause */
/* L9: the bound of a wait, and what becomes of who does not keep it. */
#include <pthread.h>
#include <stdatomic.h>

#include "core/instance.h"
#include "world.h"

enum {
	TIMEOUT = 1000
};

static uint64_t now;

static uint64_t fake_clock(void *arg)
{
	(void)arg;
	return now;
}

static const struct viommu_env env = { .size = sizeof(env),
				       .clock = fake_clock };
static const struct viommu_config cfg = { .size = sizeof(cfg),
					  .env = &env,
					  .fence_timeout_ns = TIMEOUT };

struct told {
	int done, failed;
};

static void on_done(struct viommu_fence *f, void *arg)
{
	(void)f;
	((struct told *)arg)->done++;
}

static void on_failed(struct viommu_fence *f, void *arg)
{
	struct told *t = arg;

	assert_false(viommu_fence_done(f));
	assert_int_equal(t->done, 0);
	t->failed++;
}

static struct iovec iov;

static void hold(struct world *w, struct viommu_dma *d, uint64_t iova)
{
	*d = (struct viommu_dma){ .ep = w->ep,
				  .iova = iova,
				  .len = 16,
				  .prot = VIOMMU_READ,
				  .iov = &iov,
				  .max_iov = 1 };
	assert_int_equal(viommu_dma_map(d), 0);
}

static void setup(struct world *w)
{
	now = 1000000;
	world_make(w, &cfg, 4096);
	for (uint64_t a = 0; a < 0x8000; a += 0x1000)
		assert_int_equal(map_rw(w, a, a + 0xfff, a), 0);
}

static void take(struct world *w, uint64_t page, struct viommu_fence *f,
		 struct told *t)
{
	*t = (struct told){ 0 };
	viommu_fence_init(f);
	viommu_fence_set_failed(f, on_failed);
	assert_int_equal(viommu_space_unmap(w->space, page, page + 0xfff, f),
			 0x1000);
	viommu_fence_commit(f, on_done, t);
}

static struct viommu_stats stats(const struct world *w)
{
	struct viommu_stats s;

	viommu_read_stats(w->vi, &s);
	return s;
}

static void given_up_at_the_deadline_and_not_before(void **state)
{
	struct viommu_endpoint_stats es;
	struct viommu_fence f;
	struct viommu_dma d;
	struct world w;
	struct told t;

	(void)state;
	setup(&w);
	assert_int_equal(viommu_next_deadline(w.vi), UINT64_MAX);
	hold(&w, &d, 0x2800);
	take(&w, 0x2000, &f, &t);
	assert_int_equal(viommu_next_deadline(w.vi), now + TIMEOUT);
	viommu_poll(w.vi, now + TIMEOUT - 1);
	assert_int_equal(w.nexpired, 0);
	viommu_poll(w.vi, now + TIMEOUT);
	assert_int_equal(w.nexpired, 1);
	assert_int_equal(w.expiry.id, 1);
	assert_int_equal(w.expiry.pasid, VIOMMU_NO_PASID);
	assert_int_equal(w.expiry.start, 0x2800);
	assert_int_equal(w.expiry.last, 0x280f);
	assert_int_equal(w.expiry.waited_ns, TIMEOUT);
	assert_int_equal(t.failed, 1);
	assert_int_equal(t.done, 0); /* L3 */
	assert_int_equal(viommu_next_deadline(w.vi), UINT64_MAX);
	viommu_poll(w.vi, now + 10 * TIMEOUT);
	assert_int_equal(w.nexpired, 1);
	assert_int_equal(t.failed, 1);
	viommu_dma_unmap(&d, 0);
	assert_int_equal(t.done, 1);
	viommu_endpoint_read_stats(w.ep, &es);
	assert_int_equal(es.expired, 1);
	assert_int_equal(es.given_up, 1);
	assert_int_equal(stats(&w).expired, 1);
	assert_int_equal(stats(&w).fences_failed, 1);
	assert_int_equal(stats(&w).fences_pending, 0);
	world_free(&w);
}

/* No access gets through until it has recovered, which it cannot while it
 * holds on. */
static void given_up_until_it_recovers(void **state)
{
	struct viommu_fence f;
	struct viommu_dma d, e;
	struct world w;
	struct told t;
	char c;

	(void)state;
	setup(&w);
	assert_int_equal(viommu_endpoint_recover(w.ep), 0);
	hold(&w, &d, 0x2800);
	take(&w, 0x2000, &f, &t);
	viommu_poll(w.vi, now + TIMEOUT);
	assert_int_equal(viommu_dma_read(w.ep, 0x3000, &c, 1), -EIO);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_GIVEN_UP);
	assert_string_equal(viommu_fault_name(w.fault.reason), "given up");
	e = d;
	assert_int_equal(viommu_dma_map(&e), -EIO);
	assert_int_equal(viommu_endpoint_recover(w.ep), -EBUSY);
	viommu_dma_unmap(&d, 0);
	assert_int_equal(t.done, 1);
	assert_int_equal(viommu_dma_read(w.ep, 0x3000, &c, 1), -EIO);
	assert_int_equal(viommu_endpoint_recover(w.ep), 0);
	assert_int_equal(viommu_dma_read(w.ep, 0x3000, &c, 1), 0);
	world_free(&w);
}

/* What it is attached to meanwhile is what it sees afterwards. */
static void attach_while_given_up(void **state)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_IDENTITY,
					  .page_sizes = 4096 };
	struct viommu_space *s;
	struct viommu_fence f, g;
	struct viommu_dma d;
	struct world w;
	struct told t;
	char c;

	(void)state;
	setup(&w);
	assert_int_equal(viommu_space_create(w.vi, &sc, &s), 0);
	hold(&w, &d, 0x2800);
	take(&w, 0x2000, &f, &t);
	viommu_poll(w.vi, now + TIMEOUT);
	viommu_fence_init(&g);
	assert_int_equal(viommu_endpoint_attach(w.ep, s, &g), 0);
	viommu_fence_commit(&g, NULL, NULL);
	assert_false(viommu_fence_done(&g));
	assert_int_equal(viommu_dma_read(w.ep, 0xf000, &c, 1), -EIO);
	viommu_dma_unmap(&d, 0);
	assert_true(viommu_fence_done(&g));
	assert_int_equal(viommu_endpoint_recover(w.ep), 0);
	assert_int_equal(viommu_dma_read(w.ep, 0xf000, &c, 1), 0);
	viommu_fence_init(&g);
	viommu_space_destroy(s, &g);
	fence_run(&g);
	world_free(&w);
}

static void wait_on_is_another_timeout(void **state)
{
	struct viommu_fence f;
	struct viommu_dma d;
	struct world w;
	struct told t;

	(void)state;
	setup(&w);
	w.verdict = VIOMMU_WAIT_ON;
	hold(&w, &d, 0x2800);
	take(&w, 0x2000, &f, &t);
	for (unsigned i = 1; i < 5; i++) {
		now += TIMEOUT;
		viommu_poll(w.vi, now);
		assert_int_equal(w.nexpired, i);
		viommu_poll(w.vi, now + TIMEOUT - 1);
		assert_int_equal(w.nexpired, i);
		assert_int_equal(viommu_next_deadline(w.vi), now + TIMEOUT);
	}
	assert_int_equal(t.failed, 0);
	viommu_dma_unmap(&d, 0);
	assert_int_equal(t.done, 1);
	world_free(&w);
}

static void a_fence_has_its_own_timeout(void **state)
{
	struct viommu_fence f, g;
	struct viommu_dma d, e;
	struct world w;

	(void)state;
	setup(&w);
	hold(&w, &d, 0x2800);
	hold(&w, &e, 0x3800);
	viommu_fence_init(&f);
	viommu_fence_set_timeout(&f, 5 * TIMEOUT);
	assert_int_equal(viommu_space_unmap(w.space, 0x2000, 0x2fff, &f),
			 0x1000);
	viommu_fence_commit(&f, NULL, NULL);
	viommu_fence_init(&g);
	viommu_fence_set_timeout(&g, UINT64_MAX);
	assert_int_equal(viommu_space_unmap(w.space, 0x3000, 0x3fff, &g),
			 0x1000);
	viommu_fence_commit(&g, NULL, NULL);
	assert_int_equal(viommu_next_deadline(w.vi), now + 5 * TIMEOUT);
	viommu_dma_unmap(&d, 0);
	assert_int_equal(viommu_next_deadline(w.vi), UINT64_MAX);
	viommu_poll(w.vi, UINT64_MAX - 1);
	assert_int_equal(w.nexpired, 0);
	viommu_dma_unmap(&e, 0);
	assert_true(viommu_fence_done(&g));
	world_free(&w);
}

/* Once an endpoint is given up, fences it stands in the way of fail at the next
 * poll; those that wait for another endpoint have their time. */
static void others_have_their_time(void **state)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = 2,
					    .pasid = VIOMMU_NO_PASID };
	struct viommu_fence f, g, h;
	struct viommu_dma d, e;
	struct told t, tg, th;
	struct world w;

	(void)state;
	setup(&w);
	c.expire = world_expire;
	c.arg = &w;
	hold(&w, &d, 0x2800);
	hold(&w, &e, 0x3800);
	viommu_dma_unmap(&e, 0);
	assert_int_equal(viommu_endpoint_create(w.vi, &c, &e.ep), 0);
	viommu_fence_init(&g);
	assert_int_equal(viommu_endpoint_attach(e.ep, w.space, &g), 0);
	assert_int_equal(viommu_dma_map(&e), 0);
	take(&w, 0x2000, &f, &t);
	now += TIMEOUT;
	viommu_poll(w.vi, now);
	assert_int_equal(t.failed, 1);

	take(&w, 0x3000, &h, &th); /* the healthy one is in its way */
	assert_int_equal(map_rw(&w, 0x2000, 0x2fff, 0x2000), 0);
	take(&w, 0x2000, &g, &tg); /* the one that was given up */
	assert_in_range(viommu_next_deadline(w.vi), 0, now);
	viommu_poll(w.vi, now);
	assert_int_equal(tg.failed, 1);
	assert_int_equal(th.failed, 0);
	assert_int_equal(w.nexpired, 1);
	viommu_poll(w.vi, now + TIMEOUT - 1);
	assert_int_equal(w.nexpired, 1);
	viommu_poll(w.vi, now + TIMEOUT);
	assert_int_equal(w.nexpired, 2);
	assert_int_equal(w.expiry.id, 2);
	assert_int_equal(th.failed, 1);
	viommu_dma_unmap(&d, 0);
	viommu_dma_unmap(&e, 0);
	assert_int_equal(t.done + tg.done + th.done, 3);
	viommu_fence_init(&g);
	viommu_endpoint_destroy(e.ep, &g);
	fence_run(&g);
	world_free(&w);
}

/* An access without endpoint, a hold: nobody to give up.  It waits on. */
static void nobody_to_give_up(void **state)
{
	struct viommu_fence f;
	struct world w;
	struct told t = { 0 };

	(void)state;
	setup(&w);
	viommu_fence_init(&f);
	viommu_fence_set_failed(&f, on_failed);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0xfff, &f), 0x1000);
	viommu_fence_hold(&f);
	viommu_fence_commit(&f, on_done, &t);
	for (int i = 0; i < 3; i++) {
		now += TIMEOUT;
		viommu_poll(w.vi, now);
		assert_int_equal(viommu_next_deadline(w.vi), now + TIMEOUT);
	}
	assert_int_equal(t.failed + t.done, 0);
	viommu_fence_release(&f);
	assert_int_equal(t.done, 1);
	world_free(&w);
}

/* The holder lets go in the expire handler, of all places. */
static enum viommu_verdict let_go(void *arg, const struct viommu_expiry *e)
{
	(void)e;
	viommu_dma_unmap(arg, 0);
	return VIOMMU_GIVE_UP;
}

static void lets_go_in_the_handler(void **state)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = 2,
					    .pasid = VIOMMU_NO_PASID,
					    .expire = let_go };
	struct viommu_fence f, g;
	struct viommu_dma d;
	struct world w;
	struct told t;
	char b;

	(void)state;
	setup(&w);
	c.arg = &d;
	hold(&w, &d, 0x2800);
	viommu_dma_unmap(&d, 0);
	assert_int_equal(viommu_endpoint_create(w.vi, &c, &d.ep), 0);
	viommu_fence_init(&g);
	assert_int_equal(viommu_endpoint_attach(d.ep, w.space, &g), 0);
	assert_int_equal(viommu_dma_map(&d), 0);
	take(&w, 0x2000, &f, &t);
	viommu_poll(w.vi, now + TIMEOUT);
	/* told first, and done at once */
	assert_int_equal(t.failed, 1);
	assert_int_equal(t.done, 1);
	assert_int_equal(viommu_dma_read(d.ep, 0, &b, 1), -EIO);
	assert_int_equal(viommu_endpoint_recover(d.ep), 0);
	assert_int_equal(viommu_dma_read(d.ep, 0, &b, 1), 0);
	viommu_fence_init(&g);
	viommu_endpoint_destroy(d.ep, &g);
	fence_run(&g);
	world_free(&w);
}

/* The device is reset by who is told: it lets go, and recovers. */
static struct viommu_dma reset_map;

static void on_failed_reset(struct viommu_fence *f, void *arg)
{
	struct told *t = arg;

	t->failed++;
	assert_int_equal(viommu_endpoint_recover(reset_map.ep), -EBUSY);
	viommu_dma_unmap(&reset_map, 0);
	assert_int_equal(viommu_endpoint_recover(reset_map.ep), 0);
	/* not while it is being told */
	assert_false(viommu_fence_done(f));
}

static void recovers_when_told(void **state)
{
	struct viommu_fence f;
	struct world w;
	struct told t = { 0 };
	char c;

	(void)state;
	setup(&w);
	hold(&w, &reset_map, 0x2800);
	viommu_fence_init(&f);
	viommu_fence_set_failed(&f, on_failed_reset);
	assert_int_equal(viommu_space_unmap(w.space, 0x2000, 0x2fff, &f),
			 0x1000);
	viommu_fence_commit(&f, on_done, &t);
	viommu_poll(w.vi, now + TIMEOUT);
	assert_int_equal(t.failed, 1);
	assert_int_equal(t.done, 1);
	assert_int_equal(viommu_dma_read(w.ep, 0x3000, &c, 1), 0);
	world_free(&w);
}

static void *poll_thread(void *arg)
{
	viommu_poll(arg, now + TIMEOUT);
	return NULL;
}

/* While its handler is asked, another one polls, and is answered. */
struct pollers {
	struct viommu *vi;
	unsigned asked;
};

static enum viommu_verdict poll_meanwhile(void *arg,
					  const struct viommu_expiry *e)
{
	struct pollers *p = arg;
	pthread_t t;

	(void)e;
	if (!p->asked++) {
		now += TIMEOUT;
		pthread_create(&t, NULL, poll_thread, p->vi);
		pthread_join(t, NULL);
	}
	return VIOMMU_GIVE_UP;
}

static void two_pollers_fail_it_once(void **state)
{
	struct pollers p = { 0 };
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = 2,
					    .pasid = VIOMMU_NO_PASID,
					    .expire = poll_meanwhile,
					    .arg = &p };
	struct viommu_fence f, g;
	struct viommu_dma d;
	struct world w, w2;
	struct told t;

	(void)state;
	setup(&w);
	p.vi = w.vi;
	assert_int_equal(viommu_endpoint_create(w.vi, &c, &w2.ep), 0);
	viommu_fence_init(&g);
	assert_int_equal(viommu_endpoint_attach(w2.ep, w.space, &g), 0);
	fence_run(&g);
	hold(&w2, &d, 0x2800);
	take(&w, 0x2000, &f, &t);
	viommu_poll(w.vi, now + TIMEOUT);
	assert_int_equal(p.asked, 2);
	assert_int_equal(t.failed, 1);
	assert_int_equal(t.done, 0);
	assert_int_equal(stats(&w).fences_failed, 1);
	assert_int_equal(viommu_next_deadline(w.vi), UINT64_MAX);
	viommu_dma_unmap(&d, 0);
	assert_int_equal(t.done, 1);
	viommu_fence_init(&g);
	viommu_endpoint_destroy(w2.ep, &g);
	fence_run(&g);
	world_free(&w);
}

/* It does no DMA, and there may be no room for one more that does. */
static void a_poller_needs_no_seat(void **state)
{
	struct viommu_config c = cfg;
	struct viommu_fence f;
	struct viommu_dma d;
	struct world w;
	struct told t;
	pthread_t poller;

	(void)state;
	c.max_threads = 1;
	now = 1000000;
	world_make(&w, &c, 4096);
	assert_int_equal(map_rw(&w, 0x2000, 0x2fff, 0), 0);
	hold(&w, &d, 0x2800);
	take(&w, 0x2000, &f, &t);
	assert_int_equal(pthread_create(&poller, NULL, poll_thread, w.vi), 0);
	pthread_join(poller, NULL);
	assert_int_equal(w.nexpired, 1);
	assert_int_equal(t.failed, 1);
	viommu_dma_unmap(&d, 0);
	assert_int_equal(t.done, 1);
	world_free(&w);
}

/* UINT64_MAX is what viommu_next_deadline() says for never. */
static void never_does_not_come(void **state)
{
	struct viommu_fence f, g;
	struct viommu_dma d;
	struct world w;
	struct told t;

	(void)state;
	setup(&w);
	hold(&w, &d, 0x2800);
	viommu_fence_init(&g);
	viommu_fence_set_timeout(&g, UINT64_MAX);
	assert_int_equal(viommu_space_unmap(w.space, 0x2000, 0x2fff, &g),
			 0x1000);
	viommu_fence_commit(&g, NULL, NULL);
	viommu_poll(w.vi, viommu_next_deadline(w.vi));
	assert_int_equal(w.nexpired, 0);
	assert_int_equal(map_rw(&w, 0x2000, 0x2fff, 0), 0);
	take(&w, 0x2000, &f, &t);
	viommu_poll(w.vi, now + TIMEOUT);
	assert_int_equal(t.failed, 1);
	viommu_poll(w.vi, viommu_next_deadline(w.vi));
	assert_int_equal(w.nexpired, 1);
	viommu_dma_unmap(&d, 0);
	assert_true(viommu_fence_done(&g));
	world_free(&w);
}

/* A destroyed endpoint that holds on: its handler is asked all the same, and
 * may be given up, and the fence is done when it is. */
static void a_destroyed_endpoint_expires(void **state)
{
	struct viommu_fence f;
	struct viommu_dma d;
	struct world w;
	struct told t = { 0 };

	(void)state;
	setup(&w);
	hold(&w, &d, 0x2800);
	viommu_fence_init(&f);
	viommu_fence_set_failed(&f, on_failed);
	viommu_endpoint_destroy(w.ep, &f);
	viommu_space_destroy(w.space, &f);
	viommu_fence_commit(&f, on_done, &t);
	viommu_poll(w.vi, now + TIMEOUT);
	assert_int_equal(w.nexpired, 1);
	assert_int_equal(t.failed, 1);
	assert_int_equal(t.done, 0);
	viommu_dma_unmap(&d, 0);
	assert_int_equal(t.done, 1);
	assert_int_equal(atomic_load(&w.vi->given_up), 0);
	viommu_destroy(w.vi);
	free(w.ram);
}

/* On a real clock: the wait itself lets the deadline pass. */
static void a_blocking_wait_is_bounded(void **state)
{
	struct viommu_config c = { .size = sizeof(c),
				   .fence_timeout_ns = 3000000 };
	struct viommu_fence f;
	struct viommu_dma d;
	struct world w;

	(void)state;
	world_make(&w, &c, 4096);
	assert_int_equal(map_rw(&w, 0x2000, 0x2fff, 0), 0);
	hold(&w, &d, 0x2800);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w.space, 0x2000, 0x2fff, &f),
			 0x1000);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(&f, -1), -ECANCELED);
	assert_int_equal(w.nexpired, 1);
	assert_int_equal(viommu_fence_wait(&f, -1), -ECANCELED);
	assert_false(viommu_fence_done(&f));
	viommu_dma_unmap(&d, 0);
	assert_int_equal(viommu_fence_wait(&f, -1), 0);
	world_free(&w);
}

static void a_waiter_has_a_timeout_of_its_own(void **state)
{
	struct viommu_fence f;
	struct viommu_dma d;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0x2000, 0x2fff, 0), 0);
	hold(&w, &d, 0x2800);
	viommu_fence_init(&f);
	viommu_fence_set_timeout(&f, UINT64_MAX);
	assert_int_equal(viommu_space_unmap(w.space, 0x2000, 0x2fff, &f),
			 0x1000);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(&f, 0), -ETIMEDOUT);
	assert_int_equal(viommu_fence_wait(&f, 1000000), -ETIMEDOUT);
	assert_int_equal(w.nexpired, 0);
	viommu_dma_unmap(&d, 0);
	assert_int_equal(viommu_fence_wait(&f, 0), 0);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(given_up_at_the_deadline_and_not_before),
		cmocka_unit_test(given_up_until_it_recovers),
		cmocka_unit_test(attach_while_given_up),
		cmocka_unit_test(wait_on_is_another_timeout),
		cmocka_unit_test(a_fence_has_its_own_timeout),
		cmocka_unit_test(others_have_their_time),
		cmocka_unit_test(nobody_to_give_up),
		cmocka_unit_test(lets_go_in_the_handler),
		cmocka_unit_test(recovers_when_told),
		cmocka_unit_test(two_pollers_fail_it_once),
		cmocka_unit_test(a_poller_needs_no_seat),
		cmocka_unit_test(never_does_not_come),
		cmocka_unit_test(a_destroyed_endpoint_expires),
		cmocka_unit_test(a_blocking_wait_is_bounded),
		cmocka_unit_test(a_waiter_has_a_timeout_of_its_own),
	};

	return cmocka_run_group_tests_name("deadline", tests, NULL, NULL);
}
