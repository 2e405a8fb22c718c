/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fences that notifiers hold, and what becomes of those that they hold for too
 * long (L9).
 */
#include "notifier.h"

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

static void fence_open(struct viommu_fence *f, struct told *t)
{
	*t = (struct told){ 0 };
	viommu_fence_init(f);
	viommu_fence_set_failed(f, on_failed);
}

/* A page is taken; the first @n hold the fence. */
static void take(struct rig *r, unsigned n, struct viommu_fence *f,
		 struct told *t)
{
	for (unsigned i = 0; i < NSHADOWS; i++)
		r->s[i].holds = i < n;
	fence_open(f, t);
	assert_int_equal(viommu_space_unmap(r->w.space, 0x1000, 0x1fff, f),
			 PAGE);
	for (unsigned i = 0; i < NSHADOWS; i++)
		r->s[i].holds = false;
	viommu_fence_commit(f, on_done, t);
}

static struct rig *setup(unsigned n)
{
	struct rig *r = rig_make();

	rig_add(r, n);
	for (uint64_t a = 0; a < 0x8000; a += PAGE)
		assert_int_equal(map_rw(&r->w, a, a + 0xfff, a), 0);
	return r;
}

static void later(struct rig *r, uint64_t ns)
{
	atomic_fetch_add(&r->now, ns);
	viommu_poll(r->w.vi, atomic_load(&r->now));
}

static uint64_t pending(const struct rig *r)
{
	struct viommu_stats s;

	viommu_read_stats(r->w.vi, &s);
	return s.fences_pending;
}

/* ---- in time ---------------------------------------------------------- */

static void not_done_until_released(void **state)
{
	struct rig *r = setup(2);
	struct viommu_fence f;
	struct told t;

	(void)state;
	take(r, 0, &f, &t);
	assert_int_equal(t.done, 1);
	assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0), 0);
	take(r, 2, &f, &t);
	assert_int_equal(t.done, 0);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(pending(r), 1);
	shadow_release(&r->s[1]);
	assert_int_equal(t.done, 0);
	shadow_release(&r->s[0]);
	assert_int_equal(t.done, 1);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(pending(r), 0);
	rig_free(r);
}

/* Twice the same fence; and released before it is committed. */
static void as_many_holds_as_calls(void **state)
{
	struct rig *r = setup(1);
	struct viommu_fence f;
	struct told t;

	(void)state;
	fence_open(&f, &t);
	r->s[0].holds = true;
	assert_int_equal(viommu_space_unmap(r->w.space, 0x1000, 0x1fff, &f),
			 PAGE);
	assert_int_equal(r->s[0].nholds, 1);
	shadow_release(&r->s[0]);
	assert_int_equal(viommu_space_unmap(r->w.space, 0x2000, 0x2fff, &f),
			 PAGE);
	assert_int_equal(viommu_space_unmap(r->w.space, 0x3000, 0x3fff, &f),
			 PAGE);
	assert_int_equal(r->s[0].nholds, 2);
	viommu_fence_commit(&f, on_done, &t);
	assert_int_equal(t.done, 0);
	viommu_notifier_release(&r->s[0].hold[--r->s[0].nholds]);
	assert_int_equal(t.done, 0);
	shadow_release(&r->s[0]);
	assert_int_equal(t.done, 1);
	r->s[0].holds = false;
	rig_free(r);
}

/* Whatever they hold of: a fence of each kind of taking. */
static void whatever_was_taken(void **state)
{
	const struct viommu_mapping m = {
		.start = 0x2000, .last = 0x2fff, .gpa = 0x8000, .prot = RW
	};
	struct rig *r = setup(1);
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_REFUSE);
	struct viommu_fence f[5];
	struct told t[5];

	(void)state;
	for (int i = 0; i < 5; i++)
		fence_open(&f[i], &t[i]);
	r->s[0].holds = true;
	assert_int_equal(viommu_space_remap(r->w.space, &m, &f[0]), 0);
	assert_int_equal(viommu_endpoint_attach(r->w.ep, s, &f[1]), 0);
	viommu_endpoint_detach(r->w.ep, &f[2]);
	assert_int_equal(viommu_endpoint_attach(r->w.ep, s, &f[2]), 0);
	viommu_space_destroy(s, &f[3]);
	assert_int_equal(viommu_memory_remove(viommu_memory_of(r->w.vi), 0,
					      WORLD_RAM, &f[4]),
			 0);
	r->s[0].holds = false;
	for (int i = 0; i < 5; i++) {
		viommu_fence_commit(&f[i], on_done, &t[i]);
		assert_int_equal(t[i].done, 0);
	}
	shadow_release(&r->s[0]);
	for (int i = 0; i < 5; i++)
		assert_int_equal(t[i].done, 1);
	rig_free(r);
}

/* By the plain hold, too. */
static void hold_plainly(struct shadow *s, uint64_t start, uint64_t last,
			 struct viommu_fence *f)
{
	(void)start;
	(void)last;
	if (f) {
		viommu_fence_hold(f);
		s->arg = f;
	}
}

static void a_plain_hold_is_nobodys(void **state)
{
	struct rig *r = setup(1);
	struct viommu_fence f;
	struct told t;

	(void)state;
	r->s[0].went = hold_plainly;
	take(r, 0, &f, &t);
	r->s[0].went = NULL;
	assert_int_equal(t.done, 0);
	later(r, 10 * TIMEOUT);
	assert_int_equal(r->w.nexpired, 0);
	assert_int_equal(t.failed, 0);
	viommu_fence_release(&f);
	assert_int_equal(t.done, 1);
	rig_free(r);
}

/* ---- too late (L9) ---------------------------------------------------- */

static void the_handler_decides(void **state)
{
	struct rig *r = setup(1);
	struct viommu_fence f;
	struct told t;
	char c;

	(void)state;
	take(r, 1, &f, &t);
	assert_int_equal(viommu_next_deadline(r->w.vi),
			 atomic_load(&r->now) + TIMEOUT);
	later(r, TIMEOUT - 1);
	assert_int_equal(r->w.nexpired, 0);
	/* wait on, for as long again */
	r->w.verdict = VIOMMU_WAIT_ON;
	later(r, 1);
	assert_int_equal(r->w.nexpired, 1);
	assert_int_equal(r->w.expiry.id, 1);
	assert_int_equal(r->w.expiry.waited_ns, TIMEOUT);
	assert_int_equal(r->w.expiry.start, 0x1000);
	assert_int_equal(r->w.expiry.last, 0x1fff);
	assert_int_equal(t.failed, 0);
	later(r, TIMEOUT - 1);
	assert_int_equal(r->w.nexpired, 1);
	r->w.verdict = VIOMMU_GIVE_UP;
	later(r, 1);
	assert_int_equal(r->w.nexpired, 2);
	assert_int_equal(t.failed, 1);
	assert_int_equal(t.done, 0); /* L3 */
	assert_int_equal(viommu_dma_read(r->w.ep, 0x3000, &c, 1), -EIO);
	later(r, 10 * TIMEOUT);
	assert_int_equal(t.failed, 1);
	assert_int_equal(r->w.nexpired, 2);
	/* not before it has let go */
	assert_int_equal(viommu_endpoint_recover(r->w.ep), -EBUSY);
	shadow_release(&r->s[0]);
	assert_int_equal(t.done, 1);
	assert_int_equal(viommu_endpoint_recover(r->w.ep), 0);
	assert_int_equal(viommu_dma_read(r->w.ep, 0x3000, &c, 1), 0);
	rig_free(r);
}

static void who_waits_is_told_that_it_failed(void **state)
{
	struct rig *r = setup(1);
	struct viommu_fence f;

	(void)state;
	r->s[0].holds = true;
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(r->w.space, 0x1000, 0x1fff, &f),
			 PAGE);
	viommu_fence_commit(&f, NULL, NULL);
	later(r, TIMEOUT);
	assert_int_equal(viommu_fence_wait(&f, 0), -ECANCELED);
	assert_false(viommu_fence_done(&f));
	shadow_release(&r->s[0]);
	r->s[0].holds = false;
	assert_int_equal(viommu_fence_wait(&f, 0), 0);
	rig_free(r);
}

/* As with maps: that it is given up lets the fence fail, and that is that. */
static void one_endpoint_that_holds_is_asked(void **state)
{
	struct rig *r = rig_make();
	struct viommu_endpoint_config c = {
		.size = sizeof(c), .id = 2, .expire = world_expire, .arg = &r->w
	};
	struct viommu_endpoint *ep;
	struct viommu_fence f, g;
	struct told t;

	(void)state;
	assert_int_equal(viommu_endpoint_create(r->w.vi, &c, &ep), 0);
	viommu_fence_init(&g);
	assert_int_equal(viommu_endpoint_attach(ep, r->w.space, &g), 0);
	rig_add(r, 1);
	assert_int_equal(shadow_add(&r->s[1], ep, NULL), 0);
	assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0), 0);
	take(r, 2, &f, &t);
	later(r, TIMEOUT);
	later(r, TIMEOUT);
	assert_int_equal(r->w.nexpired, 1);
	assert_int_equal(t.failed, 1);
	/* whoever it was, it is done when both have let go */
	shadow_release(&r->s[0]);
	later(r, TIMEOUT);
	assert_int_equal(t.done, 0);
	shadow_release(&r->s[1]);
	assert_int_equal(t.done, 1);
	viommu_fence_init(&g);
	shadow_remove(&r->s[1], &g);
	r->s[1].notifier = NULL;
	viommu_endpoint_destroy(ep, &g);
	fence_run(&g);
	rig_free(r);
}

/* Two endpoints, each with a recorder, in spaces of their own. */
struct two {
	struct rig *r;
	struct viommu_endpoint *ep;
	struct viommu_space *s;
};

static struct two two_make(void)
{
	struct two t = { .r = setup(1) };
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = 2,
					    .expire = world_expire,
					    .arg = &t.r->w };
	struct viommu_fence f;

	t.s = rig_space(t.r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_REFUSE);
	assert_int_equal(map_in(t.s, 0x1000, 0x1fff, 0), 0);
	assert_int_equal(viommu_endpoint_create(t.r->w.vi, &c, &t.ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(t.ep, t.s, &f), 0);
	assert_int_equal(shadow_add(&t.r->s[1], t.ep, NULL), 0);
	return t;
}

static void two_free(struct two *t)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	shadow_remove(&t->r->s[1], &f);
	t->r->s[1].notifier = NULL;
	viommu_endpoint_destroy(t->ep, &f);
	viommu_space_destroy(t->s, &f);
	fence_run(&f);
	rig_free(t->r);
}

static void the_endpoint_is_asked_that_holds_this_fence(void **state)
{
	struct two t = two_make();
	struct viommu_fence f, g;
	struct told of, og;

	(void)state;
	t.r->s[0].holds = t.r->s[1].holds = true;
	fence_open(&f, &of);
	viommu_fence_set_timeout(&f, UINT64_MAX);
	assert_int_equal(viommu_space_unmap(t.r->w.space, 0x1000, 0x1fff, &f),
			 PAGE);
	viommu_fence_commit(&f, on_done, &of);
	fence_open(&g, &og);
	assert_int_equal(viommu_space_unmap(t.s, 0x1000, 0x1fff, &g), PAGE);
	viommu_fence_commit(&g, on_done, &og);
	t.r->s[0].holds = t.r->s[1].holds = false;
	later(t.r, TIMEOUT);
	assert_int_equal(t.r->w.nexpired, 1);
	assert_int_equal(t.r->w.expiry.id, 2);
	assert_int_equal(of.failed, 0);
	assert_int_equal(og.failed, 1);
	shadow_release(&t.r->s[0]);
	assert_int_equal(of.done, 1);
	assert_int_equal(og.done, 0);
	shadow_release(&t.r->s[1]);
	assert_int_equal(og.done, 1);
	two_free(&t);
}

static void anothers_hold_does_not_keep_it_from_recovering(void **state)
{
	struct two t = two_make();
	struct viommu_fence f, g;
	struct told of, og;

	(void)state;
	t.r->s[0].holds = t.r->s[1].holds = true;
	fence_open(&f, &of);
	assert_int_equal(viommu_space_unmap(t.r->w.space, 0x1000, 0x1fff, &f),
			 PAGE);
	viommu_fence_commit(&f, on_done, &of);
	later(t.r, TIMEOUT);
	assert_int_equal(of.failed, 1);
	fence_open(&g, &og);
	assert_int_equal(viommu_space_unmap(t.s, 0x1000, 0x1fff, &g), PAGE);
	viommu_fence_commit(&g, on_done, &og);
	t.r->s[0].holds = t.r->s[1].holds = false;
	assert_int_equal(viommu_endpoint_recover(t.r->w.ep), -EBUSY);
	shadow_release(&t.r->s[0]);
	assert_int_equal(viommu_endpoint_recover(t.r->w.ep), 0);
	shadow_release(&t.r->s[1]);
	assert_int_equal(og.done, 1);
	two_free(&t);
}

/* ---- holds that outlive ----------------------------------------------- */

static void a_hold_outlives_its_notifier(void **state)
{
	struct rig *r = setup(1);
	struct viommu_fence f, g;
	struct told t, u;

	(void)state;
	take(r, 1, &f, &t);
	/* the last unmap may hold the fence of the removal, too */
	r->s[0].holds = true;
	fence_open(&g, &u);
	shadow_remove(&r->s[0], &g);
	r->s[0].notifier = NULL;
	viommu_fence_commit(&g, on_done, &u);
	assert_int_equal(t.done, 0);
	assert_int_equal(u.done, 0);
	assert_int_equal(r->s[0].nholds, 2);
	/* its endpoint is still asked */
	later(r, TIMEOUT);
	assert_int_equal(r->w.nexpired, 1);
	assert_int_equal(t.failed, 1);
	assert_int_equal(u.failed, 1);
	shadow_release(&r->s[0]);
	assert_int_equal(t.done, 1);
	assert_int_equal(u.done, 1);
	assert_int_equal(viommu_endpoint_recover(r->w.ep), 0);
	rig_free(r);
}

static void a_hold_outlives_its_endpoint(void **state)
{
	const struct viommu_endpoint_config c = { .size = sizeof(c), .id = 9 };
	struct rig *r = setup(1);
	struct viommu_fence f, g, h;
	struct told t, u;

	(void)state;
	take(r, 1, &f, &t);
	r->s[0].holds = true;
	fence_open(&g, &u);
	viommu_endpoint_destroy(r->w.ep, &g);
	viommu_fence_commit(&g, on_done, &u);
	assert_int_equal(u.done, 0);
	assert_int_equal(r->s[0].nholds, 2);
	rig_remove(r, 0);
	assert_int_equal(viommu_endpoint_create(r->w.vi, &c, &r->w.ep), 0);
	viommu_fence_init(&h);
	assert_int_equal(viommu_endpoint_attach(r->w.ep, r->w.space, &h), 0);
	/* it lives until its shadow is gone, and is asked */
	later(r, TIMEOUT);
	assert_int_equal(r->w.nexpired, 1);
	assert_int_equal(t.failed, 1);
	assert_int_equal(u.failed, 1);
	assert_int_equal(t.done, 0);
	assert_int_equal(u.done, 0);
	shadow_release(&r->s[0]);
	assert_int_equal(t.done, 1);
	assert_int_equal(u.done, 1);
	rig_free(r);
}

/* The fence that it is destroyed under waits for a hold on another fence. */
static void the_endpoint_lives_as_long_as_the_hold(void **state)
{
	const struct viommu_endpoint_config c = { .size = sizeof(c), .id = 9 };
	struct rig *r = setup(1);
	struct viommu_fence f, g;
	struct told t, u;

	(void)state;
	take(r, 1, &f, &t);
	fence_open(&g, &u);
	viommu_endpoint_destroy(r->w.ep, &g);
	viommu_fence_commit(&g, on_done, &u);
	assert_int_equal(r->s[0].nholds, 1);
	assert_int_equal(u.done, 0);
	rig_remove(r, 0);
	later(r, TIMEOUT);
	assert_int_equal(r->w.nexpired, 1);
	assert_int_equal(t.done, 0);
	assert_int_equal(u.done, 0);
	shadow_release(&r->s[0]);
	assert_int_equal(t.done, 1);
	assert_int_equal(u.done, 1);
	assert_int_equal(viommu_endpoint_create(r->w.vi, &c, &r->w.ep), 0);
	rig_free(r);
}

static enum viommu_verdict destroy_it(void *arg, const struct viommu_expiry *e)
{
	/* cannot be waited for here */
	static struct viommu_fence g;
	struct rig *r = arg;

	(void)e;
	viommu_fence_init(&g);
	viommu_endpoint_destroy(r->w.ep, &g);
	viommu_fence_commit(&g, NULL, NULL);
	r->w.nexpired++;
	return VIOMMU_GIVE_UP;
}

/* Destroyed by the very handler that is asked about it. */
static void the_handler_may_destroy_the_endpoint(void **state)
{
	const struct viommu_endpoint_config e = { .size = sizeof(e), .id = 9 };
	struct rig *r = rig_make();
	struct viommu_endpoint_config c = {
		.size = sizeof(c), .id = 2, .expire = destroy_it, .arg = r
	};
	struct viommu_fence f;
	struct told t;

	(void)state;
	viommu_fence_init(&f);
	viommu_endpoint_destroy(r->w.ep, &f);
	fence_run(&f);
	assert_int_equal(viommu_endpoint_create(r->w.vi, &c, &r->w.ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(r->w.ep, r->w.space, &f), 0);
	rig_add(r, 1);
	assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0), 0);
	take(r, 1, &f, &t);
	later(r, TIMEOUT);
	assert_int_equal(r->w.nexpired, 1);
	assert_int_equal(t.failed, 1);
	shadow_release(&r->s[0]);
	assert_int_equal(t.done, 1);
	rig_remove(r, 0);
	assert_int_equal(viommu_endpoint_create(r->w.vi, &e, &r->w.ep), 0);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(not_done_until_released),
		cmocka_unit_test(as_many_holds_as_calls),
		cmocka_unit_test(whatever_was_taken),
		cmocka_unit_test(a_plain_hold_is_nobodys),
		cmocka_unit_test(the_handler_decides),
		cmocka_unit_test(who_waits_is_told_that_it_failed),
		cmocka_unit_test(one_endpoint_that_holds_is_asked),
		cmocka_unit_test(the_endpoint_is_asked_that_holds_this_fence),
		cmocka_unit_test(
			anothers_hold_does_not_keep_it_from_recovering),
		cmocka_unit_test(a_hold_outlives_its_notifier),
		cmocka_unit_test(a_hold_outlives_its_endpoint),
		cmocka_unit_test(the_endpoint_lives_as_long_as_the_hold),
		cmocka_unit_test(the_handler_may_destroy_the_endpoint),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
