/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Maps of memory that is moved: which are waited for, which wait, which are
 * refused, and who is asked.
 */
#include "move_wait.h"

static unsigned char other[WORLD_RAM];

static void setup(struct scene *s)
{
	scene_make(s, UINT64_MAX);
	memset(other, 0xee, sizeof(other));
}

static void hold_how(struct holder *h, struct viommu_endpoint *ep,
		     uint64_t iova, bool revoke)
{
	hold(h, ep, iova, RW);
	if (!revoke)
		return;
	viommu_dma_unmap(&h->d, 0);
	h->d.revoke = nothing;
	assert_int_equal(viommu_dma_map(&h->d), 0);
}

/* ---- for writing ------------------------------------------------------ */

/* All else goes on, in the old place, and is not lost. */
static void maps_are_waited_for_before_writes_wait(void **state)
{
	struct writer t;
	struct holder h;
	struct mover v;
	struct scene s;

	(void)state;
	for (enum way way = 0; way < WAYS; way++) {
		const uint64_t at = way == ACROSS ? 0x2000 : 0x2800;

		if (way == MAP || way == MAP_LONG)
			continue;
		setup(&s);
		hold(&h, s.w2.ep, 0x2100, VIOMMU_WRITE);
		mover_init(&v, 0x2000, PAGE, other);
		v.m.copy = mover_copy;
		mover_go(&v, &s.w);
		assert_int_equal(put(&s, way, at), 0);
		assert_memory_equal(s.w.ram + at, "ZZZZZZZZ", 8);
		assert_int_equal(v.copies, 0);
		writer_start(&t, &s, MAP, 0x2900);
		memset(h.iov.iov_base, 'H', 0x100);
		viommu_dma_unmap(&h.d, 0x100);
		assert_moved(&v, 0);
		writer_join(&t, 0);
		assert_true(t.when > v.copied);
		assert_int_equal(other[0x1ff], 'H');
		assert_memory_equal(other + at - 0x2000, "ZZZZZZZZ", 8);
		assert_memory_equal(other + 0x900, "ZZZZZZZZ", 8);
		assert_int_equal(memcmp(s.w.ram + 0x2900, "ZZZZZZZZ", 8) != 0,
				 1);
		assert_int_equal(viommu_fence_wait(&v.f, -1), 0);
		scene_free(&s);
	}
}

/* Who would wait for itself is told: its thread or its endpoint has one. */
static void a_map_does_not_wait_for_its_own(void **state)
{
	struct holder h, i;
	struct mover v;
	struct scene s;

	(void)state;
	/* held in a pin, or in the index */
	for (int revoke = 0; revoke < 2; revoke++) {
		setup(&s);
		hold_how(&h, s.w.ep, 0x2100, revoke);
		mover_init(&v, 0x2000, 2 * PAGE, other);
		mover_go(&v, &s.w);
		/* this thread's */
		assert_int_equal(hold_try(&i, s.w2.ep, 0x3000, RW), -EBUSY);
		assert_int_equal(hold_try(&i, s.w.ep, 0x2000, VIOMMU_WRITE),
				 -EBUSY);
		/* it does not matter for what is elsewhere, or for reading */
		hold(&i, s.w.ep, 0x4000, RW);
		viommu_dma_unmap(&i.d, 0);
		hold(&i, s.w.ep, 0x3000, VIOMMU_READ);
		assert_ptr_equal(i.iov.iov_base, s.w.ram + 0x3000);
		viommu_dma_unmap(&i.d, 0);
		assert_int_equal(v.told, 0);
		viommu_dma_unmap(&h.d, 0);
		assert_moved(&v, 0);
		assert_true(viommu_fence_done(&v.f));
		hold(&i, s.w.ep, 0x3000, RW);
		assert_ptr_equal(i.iov.iov_base, other + PAGE);
		viommu_dma_unmap(&i.d, 0);
		scene_free(&s);
	}
}

struct elsewhere {
	struct scene *s;
	struct viommu_endpoint *ep;
	uint64_t iova;
	uint32_t prot;
	int rc;
};

static void *elsewhere_run(void *arg)
{
	struct elsewhere *e = arg;
	struct holder h;

	e->rc = hold_try(&h, e->ep, e->iova, e->prot);
	if (!e->rc)
		viommu_dma_unmap(&h.d, 0);
	return NULL;
}

static int map_at(struct scene *s, struct viommu_endpoint *ep, uint64_t iova,
		  uint32_t prot)
{
	struct elsewhere e = { .s = s, .ep = ep, .iova = iova, .prot = prot };
	pthread_t thread;

	pthread_create(&thread, NULL, elsewhere_run, &e);
	pthread_join(thread, NULL);
	return e.rc;
}

static int map_elsewhere(struct scene *s, struct viommu_endpoint *ep,
			 uint32_t prot)
{
	return map_at(s, ep, 0x2800, prot);
}

static void nor_does_one_of_the_endpoint_on_another_thread(void **state)
{
	struct holder h;
	struct mover v;
	struct scene s;

	(void)state;
	for (int revoke = 0; revoke < 2; revoke++) {
		setup(&s);
		hold_how(&h, s.w.ep, 0x2100, revoke);
		mover_init(&v, 0x2000, PAGE, other);
		mover_go(&v, &s.w);
		assert_int_equal(map_elsewhere(&s, s.w.ep, RW), -EBUSY);
		assert_int_equal(map_elsewhere(&s, s.w.ep, VIOMMU_READ), 0);
		assert_int_equal(map_elsewhere(&s, s.w2.ep, VIOMMU_READ), 0);
		assert_int_equal(v.told, 0);
		viommu_dma_unmap(&h.d, 0);
		assert_moved(&v, 0);
		assert_int_equal(map_elsewhere(&s, s.w.ep, RW), 0);
		scene_free(&s);
	}
}

/* ... nor for one move, if it has what another waits for: who is in the way of
 * the one may wait for the other. */
static void a_map_for_one_move_does_not_wait_with_one_for_another(void **state)
{
	struct holder h, i, k;
	struct mover v, u;
	struct scene s;

	(void)state;
	for (int revoke = 0; revoke < 2; revoke++) {
		setup(&s);
		hold_how(&h, s.w.ep, 0x2100, revoke);
		hold_how(&i, s.w2.ep, 0x4100, revoke);
		mover_init(&v, 0x2000, PAGE, other);
		mover_init(&u, 0x4000, PAGE, other + PAGE);
		mover_go(&v, &s.w);
		mover_go(&u, &s.w);
		assert_int_equal(map_at(&s, s.w.ep, 0x4800, RW), -EBUSY);
		assert_int_equal(map_at(&s, s.w2.ep, 0x2800, RW), -EBUSY);
		viommu_dma_unmap(&h.d, 0);
		assert_moved(&v, 0);
		assert_int_equal(u.told, 0);
		hold(&k, s.w2.ep, 0x2800, RW);
		assert_ptr_equal(k.iov.iov_base, other + 0x800);
		viommu_dma_unmap(&k.d, 0);
		viommu_dma_unmap(&i.d, 0);
		assert_moved(&u, 0);
		assert_int_equal(map_at(&s, s.w.ep, 0x4800, RW), 0);
		scene_free(&s);
	}
}

static void a_map_that_must_not_wait_is_told(void **state)
{
	struct viommu_endpoint_config ec = {
		.size = sizeof(ec), .id = 3, .flags = VIOMMU_ENDPOINT_NONBLOCK
	};
	struct viommu_endpoint *ep;
	struct viommu_fence f;
	struct holder h;
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	assert_int_equal(viommu_endpoint_create(s.w.vi, &ec, &ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(ep, s.w.space, &f), 0);
	fence_run(&f);
	hold(&h, s.w.ep, 0x2100, RW);
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &s.w);
	assert_int_equal(map_elsewhere(&s, ep, VIOMMU_WRITE), -EBUSY);
	/* but writes need not wait yet */
	s.by = ep;
	assert_int_equal(put(&s, WRITE, 0x2800), 0);
	assert_int_equal(put(&s, CAS, 0x2808), 0);
	viommu_dma_unmap(&h.d, 0);
	assert_moved(&v, 0);
	assert_memory_equal(other + 0x800, "ZZZZZZZZZZZZZZZZ", 16);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep, &f);
	fence_run(&f);
	scene_free(&s);
}

/* A map that waits goes on where it was, if the move is off. */
static void a_map_goes_on_when_it_is_off(void **state)
{
	struct writer t;
	struct holder h;
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	hold(&h, s.w2.ep, 0x2100, RW);
	mover_init(&v, 0x2000, PAGE, other);
	v.m.copy = mover_copy;
	v.copy_rc = -EIO;
	mover_go(&v, &s.w);
	writer_start(&t, &s, MAP, 0x2800);
	viommu_dma_unmap(&h.d, 0);
	assert_moved(&v, -EIO);
	writer_join(&t, 0);
	assert_true(t.when > v.copied);
	assert_memory_equal(s.w.ram + 0x2800, "ZZZZZZZZ", 8);
	assert_int_equal(other[0x800], 0xee);
	scene_free(&s);
}

/* ---- readers ---------------------------------------------------------- */

/* Maps for reading are no hindrance, but use the old place. */
static void the_fence_waits_for_readers(void **state)
{
	struct holder a, b, h;
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	hold(&h, s.w.ep, 0x2100, VIOMMU_WRITE);
	hold(&a, s.w2.ep, 0x2100, VIOMMU_READ);
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &s.w);
	assert_int_equal(v.told, 0);
	/* since the fence was committed; in the old place */
	hold(&b, s.w2.ep, 0x2f00, VIOMMU_READ);
	assert_ptr_equal(b.iov.iov_base, s.w.ram + 0x2f00);
	viommu_dma_unmap(&h.d, 0);
	assert_moved(&v, 0);
	assert_false(viommu_fence_done(&v.f));
	viommu_dma_unmap(&a.d, 0);
	assert_false(viommu_fence_done(&v.f));
	viommu_dma_unmap(&b.d, 0);
	assert_true(viommu_fence_done(&v.f));
	hold(&b, s.w2.ep, 0x2f00, VIOMMU_READ);
	assert_ptr_equal(b.iov.iov_base, other + 0xf00);
	viommu_dma_unmap(&b.d, 0);
	scene_free(&s);
}

/* ... also beyond the pins, and in pieces. */
static void the_fence_waits_for_long_readers(void **state)
{
	struct holder h[40];
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	for (unsigned i = 0; i < 40; i++)
		hold(&h[i], s.w.ep, 0x2000 + i, VIOMMU_READ);
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &s.w);
	assert_moved(&v, 0);
	for (unsigned i = 0; i < 40; i++) {
		assert_false(viommu_fence_done(&v.f));
		viommu_dma_unmap(&h[i].d, 0);
	}
	assert_true(viommu_fence_done(&v.f));
	/* and the drain for as many writers */
	for (unsigned i = 0; i < 40; i++)
		hold(&h[i], s.w.ep, 0x2000 + i, i < 30 ? RW : VIOMMU_READ);
	mover_init(&v, 0x2000, PAGE, s.w.ram + 0x2000);
	mover_go(&v, &s.w);
	for (unsigned i = 0; i < 40; i++) {
		assert_int_equal(v.told, i >= 30);
		viommu_dma_unmap(&h[i].d, 0);
	}
	assert_true(viommu_fence_done(&v.f));
	scene_free(&s);
}

static void others_are_not_waited_for(void **state)
{
	struct holder a, b;
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	hold(&a, s.w.ep, 0x1f00, RW);
	hold(&b, s.w.ep, 0x3000, RW);
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &s.w);
	assert_moved(&v, 0);
	assert_true(viommu_fence_done(&v.f));
	viommu_dma_unmap(&a.d, 0);
	viommu_dma_unmap(&b.d, 0);
	scene_free(&s);
}

/* ---- maps that are asked ---------------------------------------------- */

enum {
	LET_GO = 1 << 0,
	AGAIN = 1 << 1,
};

struct asked {
	struct holder h;
	unsigned asked, does;
	uint64_t taken, taken_last;
	int again; /* what mapping again said */
};

static void on_revoke(struct viommu_dma *d)
{
	struct asked *a = d->arg;

	a->asked++;
	a->taken = d->taken;
	a->taken_last = d->taken_last;
	if (a->does & LET_GO)
		viommu_dma_unmap(d, 0);
	if (a->does & AGAIN)
		a->again = viommu_dma_map(d);
}

static void asked_hold(struct asked *a, struct viommu_endpoint *ep,
		       uint64_t iova, uint64_t len, uint32_t prot)
{
	a->asked = 0;
	a->again = 1;
	a->h.d = (struct viommu_dma){ .ep = ep,
				      .iova = iova,
				      .len = len,
				      .prot = prot,
				      .iov = &a->h.iov,
				      .max_iov = 1,
				      .revoke = on_revoke,
				      .arg = a };
	assert_int_equal(viommu_dma_map(&a->h.d), 0);
}

static void maps_are_asked_and_find_the_new_place(void **state)
{
	struct asked a = { .does = LET_GO | AGAIN };
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	asked_hold(&a, s.w.ep, 0x1800, 0x1000, RW);
	mover_init(&v, 0x2000, 2 * PAGE, other);
	mover_go(&v, &s.w);
	assert_int_equal(a.asked, 1);
	assert_int_equal(a.taken, 0x2000);
	assert_int_equal(a.taken_last, 0x27ff);
	/* it was the last in the way: over before it maps again.  Of two
	 * places there is no pointer */
	assert_moved(&v, 0);
	assert_true(viommu_fence_done(&v.f));
	assert_int_equal(a.again, -E2BIG);
	asked_hold(&a, s.w.ep, 0x2800, 0x1000, RW);
	mover_init(&v, 0x2000, 2 * PAGE, s.w.ram + 0x2000);
	mover_go(&v, &s.w);
	assert_moved(&v, 0);
	assert_int_equal(a.again, 0);
	assert_ptr_equal(a.h.iov.iov_base, s.w.ram + 0x2800);
	viommu_dma_unmap(&a.h.d, 0);
	assert_true(viommu_fence_done(&v.f));
	scene_free(&s);
}

/* Nobody waits for one that has not been asked yet. */
static void all_are_asked_though_each_maps_again(void **state)
{
	struct asked a = { .does = LET_GO | AGAIN }, b = a, c = a;
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	asked_hold(&a, s.w.ep, 0x2000, 0x100, RW);
	asked_hold(&b, s.w.ep, 0x2100, 0x100, RW);
	asked_hold(&c, s.w2.ep, 0x2200, 0x100, RW);
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &s.w);
	assert_moved(&v, 0);
	/* once, or again for what they mapped in the new place before the
	 * caller's fence was committed */
	assert_in_range(a.asked, 1, 2);
	assert_in_range(b.asked, 1, 2);
	assert_in_range(c.asked, 1, 2);
	/* who maps again before the others have let go is not kept waiting */
	if (!a.again)
		viommu_dma_unmap(&a.h.d, 0);
	if (!b.again)
		viommu_dma_unmap(&b.h.d, 0);
	if (!c.again)
		viommu_dma_unmap(&c.h.d, 0);
	assert_true(viommu_fence_done(&v.f));
	scene_free(&s);
}

struct other_thread {
	struct scene *s;
	struct asked a;
	sem_t held, leave;
};

static void *other_run(void *arg)
{
	struct other_thread *t = arg;

	asked_hold(&t->a, t->s->w2.ep, 0x2200, 0x100, RW);
	sem_post(&t->held);
	sem_wait_long(&t->leave);
	return NULL;
}

/* ... and who has none left does not wait for another's, within. */
static void nobody_waits_in_a_revocation(void **state)
{
	struct asked a = { .does = LET_GO | AGAIN };
	struct other_thread t = { .a.does = LET_GO };
	pthread_t thread;
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	t.s = &s;
	sem_init(&t.held, 0, 0);
	sem_init(&t.leave, 0, 0);
	asked_hold(&a, s.w.ep, 0x2000, 0x100, RW);
	pthread_create(&thread, NULL, other_run, &t);
	sem_wait_long(&t.held);
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &s.w);
	assert_moved(&v, 0);
	assert_int_equal(t.a.asked, 1);
	/* seats are looked at in order, and this thread's is the first */
	assert_int_equal(a.again, -EBUSY);
	assert_int_equal(a.asked, 1);
	assert_true(viommu_fence_done(&v.f));
	sem_post(&t.leave);
	pthread_join(thread, NULL);
	scene_free(&s);
}

/* For reading only: for the sake of the fence, not of the copy. */
static void readers_are_asked_too(void **state)
{
	struct asked a = { 0 };
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	asked_hold(&a, s.w.ep, 0x2800, 0x100, VIOMMU_READ);
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &s.w);
	assert_moved(&v, 0);
	assert_int_equal(a.asked, 1);
	assert_false(viommu_fence_done(&v.f));
	viommu_dma_unmap(&a.h.d, 0);
	assert_true(viommu_fence_done(&v.f));
	scene_free(&s);
}

/* Within the callback of an expiry, neither. */
struct hasty {
	struct scene *s;
	struct holder h;
	int rc;
};

static enum viommu_verdict map_when_expired(void *arg,
					    const struct viommu_expiry *e)
{
	struct hasty *x = arg;

	(void)e;
	x->rc = hold_try(&x->h, x->s->w2.ep, 0x2800, VIOMMU_WRITE);
	return VIOMMU_WAIT_ON;
}

static void *hold_run(void *arg)
{
	struct holder *h = arg;

	hold(h, h->d.ep, 0x2100, VIOMMU_WRITE);
	return NULL;
}

static void who_is_asked_for_a_verdict_does_not_wait(void **state)
{
	struct hasty x = { .rc = 1 };
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = 3,
					     .expire = map_when_expired,
					     .arg = &x };
	struct viommu_endpoint *ep;
	struct viommu_fence f;
	pthread_t thread;
	struct holder h;
	struct mover v;
	struct scene s;

	(void)state;
	scene_make(&s, UINT64_MAX);
	x.s = &s;
	assert_int_equal(viommu_endpoint_create(s.w.vi, &ec, &ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(ep, s.w.space, &f), 0);
	fence_run(&f);
	/* this thread has a seat of its own, which is no other's */
	assert_int_equal(put(&s, WRITE, 0x8000), 0);
	/* by a thread that has gone: it is not this one's to let go of */
	h.d.ep = ep;
	pthread_create(&thread, NULL, hold_run, &h);
	pthread_join(thread, NULL);
	mover_init(&v, 0x2000, PAGE, other);
	v.m.timeout_ns = TIMEOUT;
	mover_go(&v, &s.w);
	pass_time(&s, TIMEOUT);
	assert_int_equal(x.rc, -EBUSY);
	viommu_dma_unmap(&h.d, 0);
	assert_moved(&v, 0);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep, &f);
	fence_run(&f);
	scene_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maps_are_waited_for_before_writes_wait),
		cmocka_unit_test(a_map_does_not_wait_for_its_own),
		cmocka_unit_test(
			nor_does_one_of_the_endpoint_on_another_thread),
		cmocka_unit_test(
			a_map_for_one_move_does_not_wait_with_one_for_another),
		cmocka_unit_test(a_map_that_must_not_wait_is_told),
		cmocka_unit_test(a_map_goes_on_when_it_is_off),
		cmocka_unit_test(the_fence_waits_for_readers),
		cmocka_unit_test(the_fence_waits_for_long_readers),
		cmocka_unit_test(others_are_not_waited_for),
		cmocka_unit_test(maps_are_asked_and_find_the_new_place),
		cmocka_unit_test(all_are_asked_though_each_maps_again),
		cmocka_unit_test(nobody_waits_in_a_revocation),
		cmocka_unit_test(readers_are_asked_too),
		cmocka_unit_test(who_is_asked_for_a_verdict_does_not_wait),
	};

	return cmocka_run_group_tests_name("move_map", tests, NULL, NULL);
}
