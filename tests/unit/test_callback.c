/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Callbacks that do what others do: accesses of the endpoint for which they
 * run, writes to what is moved, and the end of what they are told of.
 */
#include <sys/mman.h>

#include "move_wait.h"

static unsigned char other[WORLD_RAM];

static void setup(struct scene *s)
{
	scene_make(s, UINT64_MAX);
	memset(other, 0xee, sizeof(other));
}

/* ---- a device's call in a burst --------------------------------------- */

enum {
	DEV = 0x100000, /* the device, and for the endpoint page 3 after it */
};

enum inner {
	LOAD,
	READ,
	WRITE_BYTES,
	HOLD,
	BURST,
	INNERS,
};

struct inside {
	struct scene *s;
	struct toy toy;
	struct viommu_space *old, *to;
	enum inner how;
	struct viommu_fence f[3];
	bool early;
	int rc;
	uint64_t val;
};

static int inner_access(struct inside *x)
{
	struct viommu_endpoint *ep = x->s->w.ep;
	struct holder h;
	int rc;

	switch (x->how) {
	case LOAD:
		return viommu_dma_load(ep, 0x2000, 8, &x->val);
	case READ:
		return viommu_dma_read(ep, 0x2000, &x->val, 8);
	case WRITE_BYTES:
		memcpy(&x->val, x->s->w.ram + 0x9000, 8);
		return viommu_dma_write(ep, 0x2000, &x->val, 8);
	case HOLD:
		rc = hold_try(&h, ep, 0x2000, VIOMMU_READ);
		if (rc)
			return rc;
		memcpy(&x->val, h.iov.iov_base, 8);
		viommu_dma_unmap(&h.d, 0);
		return 0;
	default:
		assert_int_equal(viommu_dma_enter(ep), 0);
		rc = viommu_dma_load(ep, 0x2000, 8, &x->val);
		viommu_dma_exit(ep);
		return rc;
	}
}

/* All goes that the access in whose call this is came by. */
static void dma_inside(struct toy *t)
{
	struct inside *x = t->arg;
	struct scene *s = x->s;

	t->during = NULL;
	for (unsigned i = 0; i < 3; i++)
		viommu_fence_init(&x->f[i]);
	assert_int_equal(viommu_memory_remove(s->mem, DEV, PAGE, &x->f[0]), 0);
	assert_int_equal(viommu_endpoint_attach(s->w.ep, x->to, &x->f[1]), 0);
	viommu_space_destroy(x->old, &x->f[2]);
	for (unsigned i = 0; i < 3; i++)
		viommu_fence_commit(&x->f[i], NULL, NULL);
	x->rc = inner_access(x);
	for (unsigned i = 0; i < 3; i++)
		x->early |= viommu_fence_done(&x->f[i]);
}

/* Endpoint 1 sees @x->old, where the device is; in @x->to page 9 is at 2. */
static void inside_make(struct inside *x, struct scene *s)
{
	struct viommu_region r = toy_region(&x->toy, DEV, PAGE, 0);
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = PAGE };
	struct viommu_mapping m = {
		.start = 0x2000, .last = 0x2fff, .gpa = 0x9000, .prot = RW
	};
	struct viommu_fence f;

	x->s = s;
	x->rc = 1;
	x->toy.arg = x;
	x->toy.during = dma_inside;
	memset(x->toy.mem, 'D', sizeof(x->toy.mem));
	assert_int_equal(viommu_memory_add(s->mem, &r), 0);
	assert_int_equal(viommu_space_create(s->w.vi, &sc, &x->old), 0);
	assert_int_equal(viommu_space_create(s->w.vi, &sc, &x->to), 0);
	assert_int_equal(viommu_space_map(x->to, &m), 0);
	m.start = DEV;
	m.last = DEV + PAGE - 1;
	m.gpa = DEV;
	assert_int_equal(viommu_space_map(x->old, &m), 0);
	m.start = DEV + PAGE;
	m.last = DEV + 2 * PAGE - 1;
	m.gpa = 0x3000;
	assert_int_equal(viommu_space_map(x->old, &m), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(s->w.ep, x->old, &f), 0);
	fence_run(&f);
}

static void inside_free(struct inside *x)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_space_destroy(x->to, &f);
	fence_run(&f);
	scene_free(x->s);
}

/*
 * What is done in there has a pin of its own, and sees what is there by then.
 * The burst's stays as it is: it is what all that was taken waits for.
 */
static void what_a_device_does_in_a_burst_is_guarded(void **state)
{
	static struct inside x;
	char buf[16];
	struct scene s;
	uint64_t val;

	(void)state;
	for (unsigned i = 0; i < 2 * INNERS; i++) {
		setup(&s);
		memset(&x, 0, sizeof(x));
		x.how = i % INNERS;
		inside_make(&x, &s);
		assert_int_equal(viommu_dma_enter(s.w.ep), 0);
		if (i < INNERS) {
			/* it goes on to what it found at first */
			assert_int_equal(viommu_dma_read(s.w.ep, DEV + PAGE - 8,
							 buf, sizeof(buf)),
					 0);
			assert_memory_equal(buf, "DDDDDDDD", 8);
			assert_memory_equal(buf + 8, s.w.ram + 0x3000, 8);
		} else {
			assert_int_equal(
				viommu_dma_load(s.w.ep, DEV + 8, 8, &val), 0);
			assert_memory_equal(&val, "DDDDDDDD", 8);
		}
		assert_int_equal(x.rc, 0);
		assert_memory_equal(&x.val, s.w.ram + 0x9000, 8);
		assert_false(x.early);
		/* the next access of the burst sees what there is now */
		assert_int_equal(viommu_dma_load(s.w.ep, 0x2000, 8, &val), 0);
		assert_memory_equal(&val, s.w.ram + 0x9000, 8);
		viommu_dma_exit(s.w.ep);
		for (unsigned k = 0; k < 3; k++)
			assert_true(viommu_fence_done(&x.f[k]));
		inside_free(&x);
	}
}

/* ---- writes to what is moved ------------------------------------------ */

struct reply {
	struct scene *s;
	enum way way;
	uint64_t iova;
	unsigned ran;
	int rc;
};

static void write_when_done(struct viommu_fence *f, void *arg)
{
	struct reply *r = arg;

	(void)f;
	r->ran++;
	r->rc = put(r->s, r->way, r->iova);
}

/* One map is let go of, for which a fence has waited, and a move: the
 * fence's callback waits for the move, or comes after it. */
static void a_done_callback_writes_to_what_is_moved(void **state)
{
	static const enum way ways[] = { STORE, WRITE, MAP, MAP_LONG };
	struct viommu_fence f;
	struct holder h;
	struct reply r;
	struct mover v;
	struct scene s;

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		setup(&s);
		assert_int_equal(map_rw(&s.w, 0x200000, 0x200fff, 0x2000), 0);
		hold(&h, s.w.ep, 0x200100, VIOMMU_WRITE);
		r = (struct reply){
			.s = &s, .way = ways[i / 2], .iova = 0x2800, .rc = 1
		};
		mover_init(&v, 0x2000, PAGE, other);
		/* of both, either is the first that was committed */
		if (i % 2)
			mover_go(&v, &s.w);
		viommu_fence_init(&f);
		assert_int_equal(
			viommu_space_unmap(s.w.space, 0x200000, 0x200fff, &f),
			PAGE);
		viommu_fence_commit(&f, write_when_done, &r);
		if (!(i % 2))
			mover_go(&v, &s.w);
		assert_int_equal(v.told, 0);
		assert_int_equal(r.ran, 0);
		viommu_dma_unmap(&h.d, 0);
		assert_int_equal(r.ran, 1);
		assert_int_equal(r.rc, 0);
		assert_moved(&v, 0);
		assert_memory_equal(other + 0x800, "ZZZZZZZZ", 8);
		assert_true(viommu_fence_done(&v.f));
		scene_free(&s);
	}
}

/* Two that move, of which the first to be told maps the other's. */
struct couple {
	struct scene *s;
	struct mover v[2];
	unsigned first; /* told that it has moved */
	int rc;
};

static void couple_moved(struct couple *c, unsigned i, int rc)
{
	struct mover *v = &c->v[i];

	v->told++;
	v->rc = rc;
	if (c->v[!i].told)
		return;
	c->first = i;
	c->rc = put(c->s, MAP, 0x2800 + !i * PAGE);
}

static void first_moved(void *arg, int rc)
{
	couple_moved(arg, 0, rc);
}

static void second_moved(void *arg, int rc)
{
	couple_moved(arg, 1, rc);
}

/* One map is in the way of both: they are found to be free of it at once, and
 * told one by one. */
static void one_that_moved_waits_for_the_next(void **state)
{
	struct couple c = { .rc = 1 };
	struct holder h;
	struct scene s;

	(void)state;
	setup(&s);
	c.s = &s;
	hold(&h, s.w.ep, 0x2f80, VIOMMU_WRITE);
	for (unsigned i = 0; i < 2; i++) {
		mover_init(&c.v[i], 0x2000 + i * PAGE, PAGE, other + i * PAGE);
		c.v[i].m.moved = i ? second_moved : first_moved;
		c.v[i].m.arg = &c;
		mover_go(&c.v[i], &s.w);
	}
	viommu_dma_unmap(&h.d, 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_moved(&c.v[i], 0);
		assert_true(viommu_fence_done(&c.v[i].f));
	}
	assert_int_equal(c.rc, 0);
	assert_memory_equal(other + 0x800 + !c.first * PAGE, "ZZZZZZZZ", 8);
	scene_free(&s);
}

/* ---- the end of what is told of --------------------------------------- */

/* What was freed is not there any more: who touches it is not overlooked. */
static void *guarded_alloc(void *arg, size_t size, size_t align)
{
	size_t len = ((size + PAGE - 1) & ~(size_t)(PAGE - 1)) + PAGE;
	char *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	assert_in_range(align, 1, PAGE);
	if (p == MAP_FAILED)
		return NULL;
	memcpy(p, &len, sizeof(len));
	return p + PAGE;
}

static const void *watched; /* NULL: freed */

static void guarded_free(void *arg, void *ptr)
{
	char *p = (char *)ptr - PAGE;
	size_t len;

	(void)arg;
	if (!ptr)
		return;
	memcpy(&len, p, sizeof(len));
	assert_int_equal(mprotect(p, len, PROT_NONE), 0);
	if (watched == ptr)
		watched = NULL;
}

struct last {
	struct viommu_memory *mem;
	struct viommu_fence f;
	unsigned told;
	int rc;
	bool early;
};

static void destroy_when_moved(void *arg, int rc)
{
	struct last *l = arg;

	l->told++;
	l->rc = rc;
	viommu_fence_init(&l->f);
	viommu_memory_destroy(l->mem, &l->f);
	viommu_fence_commit(&l->f, NULL, NULL);
	l->early = !watched;
}

static int no_copy(void *arg, const struct viommu_region *from,
		   const struct viommu_region *to)
{
	(void)arg;
	(void)from;
	(void)to;
	return -EIO;
}

/* It is there until the move has no more to do with it, and no longer. */
static void a_memory_is_destroyed_when_it_has_moved(void **state)
{
	const struct viommu_env env = { .size = sizeof(env),
					.alloc = guarded_alloc,
					.free = guarded_free };
	const struct viommu_config cfg = { .size = sizeof(cfg), .env = &env };
	struct viommu_region r = {
		.size = sizeof(r), .len = PAGE, .prot = RW, .fd = -1
	};
	struct last l;
	struct mover v;
	struct world w;

	(void)state;
	for (int off = 0; off < 2; off++) {
		world_make(&w, &cfg, PAGE);
		memset(&l, 0, sizeof(l));
		assert_int_equal(viommu_memory_create(w.vi, &l.mem), 0);
		r.host = w.ram;
		assert_int_equal(viommu_memory_add(l.mem, &r), 0);
		watched = l.mem;
		mover_init(&v, 0, PAGE, other);
		v.m.moved = destroy_when_moved;
		v.m.arg = &l;
		v.m.copy = off ? no_copy : NULL;
		assert_int_equal(viommu_memory_move(l.mem, &v.m, &v.f), 0);
		assert_int_equal(l.told, 1);
		assert_int_equal(l.rc, off ? -EIO : 0);
		assert_false(l.early);
		assert_true(viommu_fence_done(&l.f));
		assert_null(watched);
		fence_run(&v.f);
		world_free(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_a_device_does_in_a_burst_is_guarded),
		cmocka_unit_test(a_done_callback_writes_to_what_is_moved),
		cmocka_unit_test(one_that_moved_waits_for_the_next),
		cmocka_unit_test(a_memory_is_destroyed_when_it_has_moved),
	};

	return cmocka_run_group_tests_name("callback", tests, NULL, NULL);
}
