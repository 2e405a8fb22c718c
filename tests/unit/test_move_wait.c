/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Accesses to memory that is moved: who waits for the copy, who does not, and
 * what they find.  A thread that waits is known by its look at the clock
 * (move.h); what happens first is known by its tick.
 */
#include "move_wait.h"

static unsigned char other[WORLD_RAM];

static void setup(struct scene *s)
{
	scene_make(s, UINT64_MAX);
	memset(other, 0xee, sizeof(other));
}

/* What happens while the library copies, on its thread. */
struct meanwhile {
	struct scene *s;
	struct writer t;
	uint64_t at;
	struct viommu_window win;
	char old[8];
};

static void assert_old(struct meanwhile *x)
{
	struct viommu_endpoint *ep = x->s->w.ep;
	struct holder h;
	uint64_t val;

	assert_int_equal(viommu_dma_load(ep, x->at, 8, &val), 0);
	assert_memory_equal(&val, x->old, 8);
	assert_int_equal(viommu_dma_read(ep, x->at, &val, 8), 0);
	assert_memory_equal(&val, x->old, 8);
	assert_int_equal(viommu_window_load(&x->win, 0, 8, &val), 0);
	assert_memory_equal(&val, x->old, 8);
	assert_int_equal(viommu_memory_read(x->s->mem, x->at, &val, 8), 0);
	assert_memory_equal(&val, x->old, 8);
	hold(&h, ep, x->at, VIOMMU_READ);
	assert_memory_equal(h.iov.iov_base, x->old, 8);
	viommu_dma_unmap(&h.d, 0);
}

static void write_meanwhile(struct mover *v)
{
	struct meanwhile *x = v->arg;

	writer_start(&x->t, x->s, x->t.way, x->at);
	/* reads do not wait, of whatever kind */
	assert_old(x);
}

/* No write is lost, none lands in the old place, and reads go on. */
static void each_way_to_write_waits(void **state)
{
	struct meanwhile x;
	struct mover v;
	struct scene s;
	uint64_t val;

	(void)state;
	for (enum way way = 0; way < WAYS; way++) {
		setup(&s);
		x = (struct meanwhile){ .s = &s,
					.at = way == ACROSS ? 0x2000 : 0x2800,
					.t.way = way };
		memcpy(x.old, s.w.ram + x.at, 8);
		assert_int_equal(
			viommu_window_open(&x.win, s.w.ep, x.at, 8, RW), 0);
		assert_int_equal(viommu_window_load(&x.win, 0, 8, &val), 0);
		mover_init(&v, 0x2000, PAGE, other);
		v.m.copy = mover_copy;
		v.during = write_meanwhile;
		v.arg = &x;
		mover_go(&v, &s.w);
		writer_join(&x.t, 0);
		assert_moved(&v, 0);
		assert_true(x.t.when > v.copied);
		assert_memory_equal(s.w.ram + x.at, x.old, 8);
		assert_memory_equal(other + (x.at - 0x2000), "ZZZZZZZZ", 8);
		if (way == ACROSS)
			assert_memory_equal(s.w.ram + x.at - 8, "YYYYYYYY", 8);
		assert_int_equal(viommu_window_load(&x.win, 0, 8, &val), 0);
		assert_int_equal(val, 0x5a5a5a5a5a5a5a5a);
		/* which may have waited for the map in its new place */
		assert_int_equal(viommu_fence_wait(&v.f, -1), 0);
		assert_int_equal(s.w.nfaults, 0);
		scene_free(&s);
	}
}

static void write_beside(struct mover *v)
{
	struct scene *s = v->arg;

	for (enum way way = 0; way < WAYS; way++) {
		const uint64_t at = way == ACROSS ? 0x4000 : 0x3000;

		assert_int_equal(put(s, way, at), 0);
		assert_memory_equal(s->w.ram + at, "ZZZZZZZZ", 8);
		memset(s->w.ram + at, 0, 8);
		assert_int_equal(put(s, WRITE, 0x1ff8), 0);
	}
}

static void other_pages_are_written_meanwhile(void **state)
{
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	mover_init(&v, 0x2000, PAGE, other);
	v.m.copy = mover_copy;
	v.during = write_beside;
	v.arg = &s;
	mover_go(&v, &s.w);
	assert_moved(&v, 0);
	scene_free(&s);
}

/* It goes on where it was, if the move is off. */
static void a_write_goes_on_when_it_is_off(void **state)
{
	struct meanwhile x;
	struct mover v;
	struct scene s;
	uint64_t val;

	(void)state;
	for (enum way way = 0; way < WAYS; way++) {
		setup(&s);
		x = (struct meanwhile){ .s = &s,
					.at = way == ACROSS ? 0x2000 : 0x2800,
					.t.way = way };
		memcpy(x.old, s.w.ram + x.at, 8);
		assert_int_equal(
			viommu_window_open(&x.win, s.w.ep, x.at, 8, RW), 0);
		assert_int_equal(viommu_window_load(&x.win, 0, 8, &val), 0);
		mover_init(&v, 0x2000, PAGE, other);
		v.m.copy = mover_copy;
		v.during = write_meanwhile;
		v.arg = &x;
		v.copy_rc = -EIO;
		mover_go(&v, &s.w);
		writer_join(&x.t, 0);
		assert_moved(&v, -EIO);
		assert_true(x.t.when > v.copied);
		assert_memory_equal(s.w.ram + x.at, "ZZZZZZZZ", 8);
		assert_int_equal(other[x.at - 0x2000], 0xee);
		scene_free(&s);
	}
}

/* ---- those under way -------------------------------------------------- */

/* A write that stops in a device, before it comes to memory. */
struct stopped {
	struct scene *s;
	struct toy toy;
	pthread_t thread;
	sem_t inside, go_on;
	int rc;
};

static void stop(struct toy *t)
{
	struct stopped *x = t->arg;

	t->during = NULL;
	sem_post(&x->inside);
	sem_wait_long(&x->go_on);
}

static void *stopped_run(void *arg)
{
	struct stopped *x = arg;

	x->rc = viommu_dma_write(x->s->w.ep, 0x100ff8, "DDDDDDDDZZZZZZZZ", 16);
	return NULL;
}

/* The device, and after it, for the endpoint, page 2. */
static void stopped_start(struct stopped *x, struct scene *s)
{
	struct viommu_region r = toy_region(&x->toy, 0x100000, PAGE, 0);

	memset(x, 0, sizeof(*x));
	x->s = s;
	x->rc = 1;
	x->toy.arg = x;
	x->toy.during = stop;
	sem_init(&x->inside, 0, 0);
	sem_init(&x->go_on, 0, 0);
	assert_int_equal(viommu_memory_add(s->mem, &r), 0);
	assert_int_equal(map_rw(&s->w, 0x100000, 0x100fff, 0x100000), 0);
	assert_int_equal(map_rw(&s->w, 0x101000, 0x101fff, 0x2000), 0);
	assert_int_equal(pthread_create(&x->thread, NULL, stopped_run, x), 0);
	sem_wait_long(&x->inside);
}

static void stopped_join(struct stopped *x)
{
	sem_post(&x->go_on);
	pthread_join(x->thread, NULL);
	sem_destroy(&x->inside);
	sem_destroy(&x->go_on);
}

/* The move waits for it, and then it for the move: it begins anew. */
static void writes_under_way_are_waited_for(void **state)
{
	static struct stopped x;
	struct holder h;
	struct writer t;
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	hold(&h, s.w2.ep, 0x2100, VIOMMU_WRITE);
	mover_init(&v, 0x2000, PAGE, other);
	v.m.copy = mover_copy;
	mover_go(&v, &s.w);
	/* since then, so that maps are not waited for because of it */
	stopped_start(&x, &s);
	viommu_dma_unmap(&h.d, 0);
	assert_int_equal(v.told, 0);
	writer_start(&t, &s, STORE, 0x2800);
	assert_int_equal(v.told, 0);
	stopped_join(&x);
	assert_int_equal(x.rc, 0);
	writer_join(&t, 0);
	assert_moved(&v, 0);
	assert_true(t.when > v.copied);
	assert_int_equal(x.toy.writes, 2);
	assert_memory_equal(x.toy.mem + 0xff8, "DDDDDDDD", 8);
	assert_memory_equal(other, "ZZZZZZZZ", 8);
	assert_memory_equal(other + 0x800, "ZZZZZZZZ", 8);
	assert_int_equal(memcmp(s.w.ram + 0x2000, "ZZZZZZZZ", 8) != 0, 1);
	assert_int_equal(viommu_fence_wait(&v.f, -1), 0);
	scene_free(&s);
}

/* ... up to a deadline (L9). */
static void a_write_that_does_not_end_is_given_up(void **state)
{
	static struct stopped x;
	struct holder h;
	struct writer t;
	struct mover v;
	struct scene s;

	(void)state;
	scene_make(&s, 100 * TIMEOUT);
	memset(other, 0xee, sizeof(other));
	hold(&h, s.w2.ep, 0x2100, VIOMMU_WRITE);
	mover_init(&v, 0x2000, PAGE, other);
	v.m.timeout_ns = TIMEOUT;
	mover_go(&v, &s.w);
	stopped_start(&x, &s);
	viommu_dma_unmap(&h.d, 0);
	s.by = s.w2.ep;
	writer_start(&t, &s, STORE, 0x2800);
	s.w.verdict = VIOMMU_WAIT_ON;
	pass_time(&s, TIMEOUT - 1);
	assert_int_equal(s.w.nexpired, 0);
	pass_time(&s, 1);
	await_expired(&s.w, 1);
	assert_int_equal(s.w.expiry.id, 1);
	assert_int_equal(v.told, 0);
	s.w.verdict = VIOMMU_GIVE_UP;
	pass_time(&s, TIMEOUT);
	writer_join(&t, 0);
	assert_moved(&v, -ETIMEDOUT);
	assert_true(t.when > v.copied);
	assert_memory_equal(s.w.ram + 0x2800, "ZZZZZZZZ", 8);
	/* it is where it was, and has been all the time for that one */
	stopped_join(&x);
	assert_int_equal(x.rc, 0);
	assert_memory_equal(s.w.ram + 0x2000, "ZZZZZZZZ", 8);
	assert_int_equal(other[0], 0xee);
	assert_int_equal(v.told, 1);
	assert_true(viommu_fence_done(&v.f));
	assert_int_equal(viommu_endpoint_recover(s.w.ep), 0);
	move_now(&s.w, 0x2000, PAGE, other);
	scene_free(&s);
}

/* ... and is still there, for who lets its endpoint recover. */
static void a_write_that_waits_is_not_forgotten(void **state)
{
	static const enum way ways[] = { WRITE, STORE,	      CAS,
					 MAP,	WINDOW_WRITE, BURST_STORE };
	static struct stopped x;
	struct holder h, r;
	struct viommu_fence f;
	struct writer t;
	struct mover v;
	struct scene s;

	(void)state;
	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		scene_make(&s, TIMEOUT);
		memset(other, 0xee, sizeof(other));
		assert_int_equal(map_rw(&s.w, 0x200000, 0x200fff, 0x8000), 0);
		hold(&h, s.w2.ep, 0x2100, VIOMMU_WRITE);
		mover_init(&v, 0x2000, PAGE, other);
		v.m.timeout_ns = UINT64_MAX;
		mover_go(&v, &s.w);
		stopped_start(&x, &s);
		viommu_dma_unmap(&h.d, 0);
		s.by = s.w2.ep;
		writer_start(&t, &s, ways[i], 0x2800);
		hold(&r, s.w2.ep, 0x200000, VIOMMU_READ);
		viommu_fence_init(&f);
		assert_int_equal(
			viommu_space_unmap(s.w.space, 0x200000, 0x200fff, &f),
			PAGE);
		viommu_fence_commit(&f, NULL, NULL);
		s.w2.verdict = VIOMMU_GIVE_UP;
		pass_time(&s, TIMEOUT);
		await_expired(&s.w2, 1);
		await_given_up(s.w2.ep);
		assert_int_equal(viommu_endpoint_recover(s.w2.ep), -EBUSY);
		viommu_dma_unmap(&r.d, 0);
		while (!viommu_fence_done(&f))
			sched_yield();
		/* it has the write yet */
		assert_int_equal(viommu_endpoint_recover(s.w2.ep), -EBUSY);
		assert_int_equal(v.told, 0);
		stopped_join(&x);
		writer_join(&t, -EIO);
		assert_moved(&v, 0);
		assert_int_equal(memcmp(other + 0x800, "ZZZZZZZZ", 8) != 0, 1);
		assert_int_equal(viommu_endpoint_recover(s.w2.ep), 0);
		assert_int_equal(put(&s, ways[i], 0x2800), 0);
		assert_memory_equal(other + 0x800, "ZZZZZZZZ", 8);
		scene_free(&s);
	}
}

/* ---- who must not wait ------------------------------------------------ */

/* Each way to write, while it is copied, by a thread of its own. */
struct busy {
	struct scene *s;
	pthread_t thread;
	int rc[WAYS];
};

static void *busy_run(void *arg)
{
	struct busy *b = arg;

	for (enum way way = 0; way < WAYS; way++)
		b->rc[way] = put(b->s, way, way == ACROSS ? 0x2000 : 0x2800);
	return NULL;
}

static void busy_aside(struct mover *v)
{
	struct busy *b = v->arg;

	pthread_create(&b->thread, NULL, busy_run, b);
	pthread_join(b->thread, NULL);
}

static void who_must_not_wait_is_told(void **state)
{
	struct viommu_endpoint_config ec = {
		.size = sizeof(ec), .id = 3, .flags = VIOMMU_ENDPOINT_NONBLOCK
	};
	struct viommu_fence f;
	struct busy b = { 0 };
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	b.s = &s;
	assert_int_equal(viommu_endpoint_create(s.w.vi, &ec, &s.by), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(s.by, s.w.space, &f), 0);
	fence_run(&f);
	mover_init(&v, 0x2000, PAGE, other);
	v.m.copy = mover_copy;
	v.during = busy_aside;
	v.arg = &b;
	s.memory_at = 0x4000; /* that has no endpoint: it would wait */
	mover_go(&v, &s.w);
	assert_moved(&v, 0);
	for (enum way way = 0; way < WAYS; way++)
		assert_int_equal(b.rc[way], way == MEMORY ? 0 : -EBUSY);
	/* nothing of it */
	assert_int_equal(memcmp(s.w.ram + 0x1ff8, "YYYYYYYY", 8) != 0, 1);
	assert_int_equal(s.w.nfaults, 0);
	s.memory_at = 0;
	for (enum way way = 0; way < WAYS; way++)
		assert_int_equal(put(&s, way, 0x2800), 0);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(s.by, &f);
	fence_run(&f);
	scene_free(&s);
}

static void busy_here(struct mover *v)
{
	busy_run(v->arg);
}

/* The copy is what it would wait for. */
static void a_copy_does_not_wait(void **state)
{
	struct busy b = { 0 };
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	b.s = &s;
	mover_init(&v, 0x2000, PAGE, other);
	v.m.copy = mover_copy;
	v.during = busy_here;
	v.arg = &b;
	mover_go(&v, &s.w);
	assert_moved(&v, 0);
	for (enum way way = 0; way < WAYS; way++)
		assert_int_equal(b.rc[way], -EBUSY);
	/* the library's own, too */
	mover_init(&v, 0x2000, PAGE, s.w.ram + 0x2000);
	mover_go(&v, &s.w);
	assert_moved(&v, 0);
	for (enum way way = 0; way < WAYS; way++)
		assert_int_equal(put(&s, way, 0x2800), 0);
	scene_free(&s);
}

static void busy_inside(struct toy *t)
{
	busy_run(t->arg);
}

static void a_device_that_is_copied_does_not_wait(void **state)
{
	static struct toy toy;
	struct busy b = { 0 };
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	b.s = &s;
	memset(&toy, 0, sizeof(toy));
	toy.during = busy_inside;
	toy.arg = &b;
	mover_init(&v, 0x2000, PAGE, NULL);
	v.m.to = toy_region(&toy, 0x2000, PAGE, 0);
	mover_go(&v, &s.w);
	assert_moved(&v, 0);
	for (enum way way = 0; way < WAYS; way++)
		assert_int_equal(b.rc[way], -EBUSY);
	scene_free(&s);
}

/* An access of this thread is under way, for which a move may wait. */
struct inside {
	struct busy b;
	struct toy toy;
	pthread_t thread;
	enum way how; /* it comes to the device */
};

static void *inside_run(void *arg)
{
	struct inside *in = arg;
	struct scene *s = in->b.s;
	uint64_t val;

	switch (in->how) {
	case MEMORY:
		(void)!viommu_memory_read(s->mem, 0x100000, &val, 8);
		break;
	case BURST_STORE:
		(void)!viommu_dma_enter(s->w.ep);
		(void)!viommu_dma_store(s->w.ep, 0x100000, 8, 1);
		viommu_dma_exit(s->w.ep);
		break;
	default:
		(void)!viommu_dma_write(s->w.ep, 0x100000, "12345678", 8);
	}
	return NULL;
}

static void inside_aside(struct mover *v)
{
	struct inside *in = v->arg;

	pthread_create(&in->thread, NULL, inside_run, in);
	pthread_join(in->thread, NULL);
}

static void a_device_does_not_wait(void **state)
{
	static const enum way how[] = { WRITE, MEMORY, BURST_STORE };
	static struct inside in;
	struct viommu_region r = toy_region(&in.toy, 0x100000, PAGE, 0);
	struct mover v;
	struct scene s;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		setup(&s);
		memset(&in, 0, sizeof(in));
		in.b.s = &s;
		in.how = how[i];
		in.toy.during = busy_inside;
		in.toy.arg = &in.b;
		assert_int_equal(viommu_memory_add(s.mem, &r), 0);
		assert_int_equal(map_rw(&s.w, 0x100000, 0x100fff, 0x100000), 0);
		mover_init(&v, 0x2000, PAGE, other);
		v.m.copy = mover_copy;
		v.during = inside_aside;
		v.arg = &in;
		mover_go(&v, &s.w);
		assert_moved(&v, 0);
		assert_true(viommu_fence_done(&v.f));
		for (enum way way = 0; way < WAYS; way++)
			assert_int_equal(in.b.rc[way], -EBUSY);
		inside_run(&in);
		for (enum way way = 0; way < WAYS; way++)
			assert_int_equal(in.b.rc[way], 0);
		scene_free(&s);
	}
}

/* ---- bursts ----------------------------------------------------------- */

struct callback {
	struct scene *s;
	struct toy toy;
	struct viommu_fence f, g;
	bool ran, early;
};

/* In the device's call, on behalf of the done callback's read: take the
 * device's pages.  The fence must wait for that very call. */
static void take_inside(struct toy *t)
{
	struct callback *c = t->arg;

	viommu_fence_init(&c->g);
	assert_int_equal(
		viommu_space_unmap(c->s->w.space, 0x100000, 0x100fff, &c->g),
		PAGE);
	viommu_fence_commit(&c->g, NULL, NULL);
	c->early = viommu_fence_done(&c->g);
}

static void read_when_done(struct viommu_fence *f, void *arg)
{
	struct callback *c = arg;
	uint64_t val;

	(void)f;
	c->ran = true;
	assert_int_equal(viommu_dma_read(c->s->w.ep, 0x100000, &val, 8), 0);
}

/*
 * A burst that waits is no pin meanwhile.  A done callback runs on its thread
 * then, for which it was in the way: what that reads is guarded all the same.
 */
static void a_callback_in_a_burst_that_waits_is_guarded(void **state)
{
	static struct callback c;
	struct viommu_region r = toy_region(&c.toy, 0x100000, PAGE, 0);
	struct holder h;
	struct mover v;
	struct scene s;

	(void)state;
	setup(&s);
	memset(&c, 0, sizeof(c));
	c.s = &s;
	c.toy.arg = &c;
	c.toy.during = take_inside;
	assert_int_equal(viommu_memory_add(s.mem, &r), 0);
	assert_int_equal(map_rw(&s.w, 0x100000, 0x100fff, 0x100000), 0);
	assert_int_equal(map_rw(&s.w, 0x200000, 0x200fff, 0x8000), 0);
	hold(&h, s.w2.ep, 0x2100, VIOMMU_WRITE);
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &s.w);
	assert_int_equal(viommu_dma_enter(s.w.ep), 0);
	viommu_fence_init(&c.f);
	assert_int_equal(
		viommu_space_unmap(s.w.space, 0x200000, 0x200fff, &c.f), PAGE);
	viommu_fence_commit(&c.f, read_when_done, &c);
	assert_false(c.ran);
	viommu_dma_unmap(&h.d, 0);
	assert_int_equal(v.told, 0);
	assert_false(c.ran);
	assert_int_equal(viommu_dma_write(s.w.ep, 0x2800, "ZZZZZZZZ", 8), 0);
	assert_true(c.ran);
	assert_false(c.early);
	viommu_dma_exit(s.w.ep);
	assert_moved(&v, 0);
	assert_true(viommu_fence_done(&c.g));
	assert_memory_equal(other + 0x800, "ZZZZZZZZ", 8);
	assert_int_equal(viommu_fence_wait(&v.f, -1), 0);
	scene_free(&s);
}

/* Back from its wait a burst is in the way again, and the others are. */
static void a_burst_that_waited_is_a_burst(void **state)
{
	struct viommu_fence f;
	struct holder h;
	struct mover v;
	struct scene s;
	uint64_t val;

	(void)state;
	setup(&s);
	assert_int_equal(map_rw(&s.w, 0x200000, 0x200fff, 0x8000), 0);
	hold(&h, s.w2.ep, 0x2100, VIOMMU_WRITE);
	mover_init(&v, 0x2000, PAGE, other);
	mover_go(&v, &s.w);
	assert_int_equal(viommu_dma_enter(s.w2.ep), 0);
	assert_int_equal(viommu_dma_enter(s.w.ep), 0);
	viommu_dma_unmap(&h.d, 0);
	/* which these bursts hold up, until they wait */
	assert_int_equal(v.told, 0);
	assert_int_equal(viommu_dma_load(s.w.ep, 0x2800, 8, &val), 0);
	assert_int_equal(v.told, 0);
	assert_int_equal(viommu_dma_store(s.w.ep, 0x2800, 8, 5), 0);
	assert_moved(&v, 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(s.w.space, 0x200000, 0x200fff, &f),
			 PAGE);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(viommu_dma_load(s.w.ep, 0x2800, 8, &val), 0);
	assert_int_equal(val, 5);
	viommu_dma_exit(s.w.ep);
	assert_false(viommu_fence_done(&f)); /* the other burst */
	viommu_dma_exit(s.w2.ep);
	assert_true(viommu_fence_done(&f));
	assert_true(viommu_fence_done(&v.f));
	scene_free(&s);
}

/* ---- one after the other ---------------------------------------------- */

enum {
	ROUNDS = 1000,
	AT = 0x200, /* in leaves of 512 bytes */
	LONG = 0xfc00,
};

struct counter {
	struct viommu_endpoint *ep;
	_Atomic(bool) stop;
	uint64_t n, busy;
	const char *wrong;
};

/* What is written is read, wherever it is by then.  In the first leaf, which is
 * somewhere else first, by what remembers where it was. */
static void *count_run(void *arg)
{
	struct counter *c = arg;
	struct viommu_window win;
	uint64_t val = 0;
	int rc;

	(void)!viommu_window_open(&win, c->ep, AT, LONG, RW);
	while (!atomic_load(&c->stop) && !c->wrong) {
		rc = viommu_dma_store(c->ep, AT, 8, c->n + 1);
		if (!rc)
			c->n++;
		else if (rc == -EBUSY)
			c->busy++;
		else
			c->wrong = "store";
		if (viommu_window_load(&win, 0, 8, &val) || val != c->n)
			c->wrong = "a window sees what was there before";
		if (viommu_dma_load(c->ep, AT, 8, &val) || val != c->n)
			c->wrong = "a load sees what was there before";
	}
	return NULL;
}

static void what_is_written_is_read(void **state)
{
	struct viommu_endpoint_config ec = {
		.size = sizeof(ec), .id = 3, .flags = VIOMMU_ENDPOINT_NONBLOCK
	};
	struct counter c = { 0 };
	struct viommu_fence f;
	pthread_t thread;
	struct scene s;

	(void)state;
	setup(&s);
	assert_int_equal(viommu_endpoint_create(s.w.vi, &ec, &c.ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(c.ep, s.w.space, &f), 0);
	fence_run(&f);
	assert_int_equal(viommu_dma_store(c.ep, AT, 8, 0), 0);
	pthread_create(&thread, NULL, count_run, &c);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct mover v;

		mover_init(&v, AT, LONG, i % 2 ? s.w.ram + AT : other);
		mover_go(&v, &s.w);
		assert_int_equal(viommu_fence_wait(&v.f, -1), 0);
		assert_moved(&v, 0);
	}
	atomic_store(&c.stop, true);
	pthread_join(thread, NULL);
	if (c.wrong)
		fail_msg("%s", c.wrong);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(c.ep, &f);
	fence_run(&f);
	scene_free(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_way_to_write_waits),
		cmocka_unit_test(other_pages_are_written_meanwhile),
		cmocka_unit_test(a_write_goes_on_when_it_is_off),
		cmocka_unit_test(writes_under_way_are_waited_for),
		cmocka_unit_test(a_write_that_does_not_end_is_given_up),
		cmocka_unit_test(a_write_that_waits_is_not_forgotten),
		cmocka_unit_test(who_must_not_wait_is_told),
		cmocka_unit_test(a_copy_does_not_wait),
		cmocka_unit_test(a_device_that_is_copied_does_not_wait),
		cmocka_unit_test(a_device_does_not_wait),
		cmocka_unit_test(a_callback_in_a_burst_that_waits_is_guarded),
		cmocka_unit_test(a_burst_that_waited_is_a_burst),
		cmocka_unit_test(what_is_written_is_read),
	};

	return cmocka_run_group_tests_name("move_wait", tests, NULL, NULL);
}
