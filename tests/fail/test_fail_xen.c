/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Foreign mapping when there is no memory: an operation whose allocation fails
 * has that as its status and no effect; FLUSH, what an owner takes back, and
 * destruction by force need none.
 */
#include "sweep.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <viommu.h>
#include <viommu/guest/xen.h>

#include "alloc.h"

enum {
	DOMS = 3, /* 0 maps, of itself, 1 and 2 */
	FRAME = 4096,
	FRAMES = 16, /* a region each; two are neighbours in guest 0's only */
	SHIFT = 12,
	RW = VIOMMU_READ | VIOMMU_WRITE,
};

struct world;

struct step {
	const char *name;
	int (*run)(struct world *w, const struct step *s);
	unsigned dom;
	uint64_t dfn, gfn, count;
};

struct world {
	struct viommu *vi;
	struct viommu_xen *x;
	struct viommu_xen_guest *dom[DOMS];
	struct viommu_endpoint *ep;
	unsigned regions[DOMS];
};

static _Alignas(FRAME) unsigned char ram[DOMS][FRAMES][2 * FRAME];

static unsigned char *frame(unsigned d, unsigned i)
{
	return d ? ram[d][i] : ram[0][0] + (size_t)i * FRAME;
}

static void fence_run(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(f, 10000000000), 0);
}

static bool may(void *arg, enum viommu_xen_privilege what, uint32_t mapper,
		uint32_t owner)
{
	(void)arg;
	(void)what;
	(void)mapper;
	(void)owner;
	return true;
}

/* ---- steps ------------------------------------------------------------- */

static int instance(struct world *w, const struct step *s)
{
	struct viommu_config c = { .size = sizeof(c),
				   .env = &alloc_env,
				   .max_threads = 1 };

	(void)s;
	return viommu_create(&c, &w->vi);
}

static int hypervisor(struct world *w, const struct step *s)
{
	struct viommu_xen_config c = { .size = sizeof(c),
				       .may = may,
				       .id = 100 };

	(void)s;
	return viommu_xen_create(w->vi, &c, &w->x);
}

static int dom(struct world *w, const struct step *s)
{
	const struct viommu_reserved r = { .start = 1 << 20, .last = 2 << 20 };
	struct viommu_xen_guest_config c = { .size = sizeof(c),
					     .domid = s->dom,
					     .reserved = &r,
					     .nreserved = 1 };

	return viommu_xen_guest_create(w->x, &c, &w->dom[s->dom]);
}

static int memory(struct world *w, const struct step *s)
{
	for (unsigned *i = &w->regions[s->dom]; *i < FRAMES; (*i)++) {
		struct viommu_region r = { .size = sizeof(r),
					   .gpa = *i * FRAME,
					   .len = FRAME,
					   .host = frame(s->dom, *i),
					   .prot = RW,
					   .fd = -1 };
		int rc = viommu_memory_add(
			viommu_xen_guest_memory(w->dom[s->dom]), &r);

		if (rc)
			return rc;
	}
	return 0;
}

static int device(struct world *w, const struct step *s)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = 1,
					    .pasid = VIOMMU_NO_PASID };
	struct viommu_fence f;
	int rc;

	(void)s;
	c.memory = viommu_xen_guest_view(w->dom[0]);
	rc = viommu_endpoint_create(w->vi, &c, &w->ep);
	if (rc)
		return rc;
	viommu_fence_init(&f);
	return viommu_xen_guest_attach(w->dom[0], w->ep, &f);
}

static void batch_done(struct viommu_xen_batch *b)
{
	(void)b;
}

static int run(struct world *w, struct viommu_xen_op *op)
{
	struct viommu_xen_batch b = { .ops = op, .n = 1, .done = batch_done };

	assert_int_equal(viommu_xen_run(w->x, &b), 0);
	return op->status;
}

static int map(struct world *w, const struct step *s)
{
	struct viommu_xen_op op = { .kind = VIOMMU_XEN_MAP,
				    .flags = RW,
				    .owner = (uint16_t)s->dom,
				    .page_shift = SHIFT,
				    .dfn = s->dfn,
				    .gfn = s->gfn,
				    .count = s->count };

	return run(w, &op);
}

static int unmap(struct world *w, const struct step *s)
{
	struct viommu_xen_op op = { .kind = VIOMMU_XEN_UNMAP,
				    .page_shift = SHIFT,
				    .dfn = s->dfn,
				    .count = s->count };

	return run(w, &op);
}

static int flush(struct world *w, const struct step *s)
{
	struct viommu_xen_op op = { .kind = VIOMMU_XEN_FLUSH };

	(void)s;
	return run(w, &op);
}

/* Whole regions, and whole mappings. */
static int give_up(struct world *w, const struct step *s)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(
		viommu_memory_remove(viommu_xen_guest_memory(w->dom[s->dom]),
				     s->gfn * FRAME, s->count * FRAME, &f),
		0);
	fence_run(&f);
	return 0;
}

static int destroy(struct world *w, const struct step *s)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_xen_guest_destroy(w->dom[s->dom], &f);
	w->dom[s->dom] = NULL;
	fence_run(&f);
	return 0;
}

static const struct step steps[] = {
	{ "instance", instance, 0, 0, 0, 0 },
	{ "hypervisor", hypervisor, 0, 0, 0, 0 },
	{ "guest", dom, 0, 0, 0, 0 },
	{ "guest", dom, 1, 0, 0, 0 },
	{ "guest", dom, 2, 0, 0, 0 },
	{ "memory", memory, 0, 0, 0, 0 },
	{ "memory", memory, 1, 0, 0, 0 },
	{ "memory", memory, 2, 0, 0, 0 },
	{ "device", device, 0, 0, 0, 0 },
	{ "MAP, the first of this owner", map, 1, 16, 0, 1 },
	{ "MAP", map, 1, 17, 1, 1 },
	{ "MAP of itself", map, 0, 32, 3, 1 },
	{ "MAP in pieces", map, 2, 0, 0, 8 },
	{ "MAP in many pieces", map, 2, 1 << 26, 0, 16 },
	{ "UNMAP", unmap, 0, 16, 0, 1 },
	{ "UNMAP, as well", unmap, 0, 32, 0, 1 },
	{ "FLUSH", flush, 0, 0, 0, 0 },
	{ "UNMAP that cuts", unmap, 0, 3, 0, 2 },
	{ "FLUSH", flush, 0, 0, 0, 0 },
	{ "UNMAP that cuts an end", unmap, 0, 1 << 26, 0, 1 },
	{ "MAP in one piece", map, 0, 24, 4, 8 },
	{ "UNMAP that cuts it", unmap, 0, 26, 0, 2 },
	{ "give up what is mapped", give_up, 1, 0, 1, 1 },
	{ "MAP", map, 1, 17, 2, 1 },
	{ "destroy", destroy, 1, 0, 0, 0 },
	{ "guest again", dom, 1, 0, 0, 0 },
};

enum {
	STEPS = sizeof(steps) / sizeof(steps[0]),
};

static const char *name(void *world, unsigned i)
{
	(void)world;
	return steps[i].name;
}

static int step(void *world, unsigned i)
{
	return steps[i].run(world, &steps[i]);
}

/* ---- looking ------------------------------------------------------------ */

static void look(void *world, unsigned i, struct view *v)
{
	struct world *w = world;
	struct viommu_xen_mapping m;
	struct viommu_xen_stats s;
	uint64_t at = 0;

	(void)i;
	view_say(v, "instance %d hypervisor %d\n", w->vi != NULL, w->x != NULL);
	if (!w->x)
		return;
	viommu_xen_read_stats(w->x, &s);
	view_say(v, "mappings %" PRIu64 " references %" PRIu64 "\n", s.mappings,
		 s.references);
	for (; !viommu_xen_next(w->x, 0, at, &m); at = m.dfn + m.count)
		view_say(v,
			 "%" PRIx64 " is %" PRIx64 " of %u, %" PRIx64 " %x\n",
			 m.dfn, m.gfn, m.owner, m.count, m.flags);
	for (at = 0; w->ep && at < 40; at++) {
		unsigned char byte;

		view_say(v, " %d",
			 viommu_dma_read(w->ep, at * FRAME, &byte, 1));
	}
	view_say(v, "\n");
}

static void teardown(void *world)
{
	struct world *w = world;
	struct viommu_fence f;

	viommu_fence_init(&f);
	if (w->ep)
		viommu_endpoint_destroy(w->ep, &f);
	fence_run(&f);
	for (int i = 0; i < DOMS; i++) {
		viommu_fence_init(&f);
		viommu_xen_guest_destroy(w->dom[i], &f);
		fence_run(&f);
	}
	viommu_fence_init(&f);
	viommu_xen_destroy(w->x, &f);
	fence_run(&f);
	viommu_destroy(w->vi);
	memset(w, 0, sizeof(*w));
}

static void every_failure_is_undone(void **state)
{
	static const struct sweep s = {
		.steps = STEPS,
		.name = name,
		.step = step,
		.look = look,
		.teardown = teardown,
	};
	static struct world w;

	(void)state;
	sweep(&s, &w);
}

/* ---- without any allocation ---------------------------------------------- */

static void world_fill(struct world *w)
{
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(step(w, i), 0);
}

static void must_map(struct world *w, unsigned d, uint64_t dfn, uint64_t gfn,
		     uint64_t n)
{
	const struct step s = { .dom = d, .dfn = dfn, .gfn = gfn, .count = n };

	assert_int_equal(map(w, &s), 0);
}

struct held {
	struct viommu_dma d;
	struct iovec iov;
};

static void hold(struct world *w, struct held *h, uint64_t dfn)
{
	*h = (struct held){ .d = { .ep = w->ep,
				   .iova = dfn * FRAME,
				   .len = FRAME,
				   .prot = VIOMMU_READ,
				   .max_iov = 1 } };
	h->d.iov = &h->iov;
	assert_int_equal(viommu_dma_map(&h->d), 0);
}

static void take_back(struct world *w, struct viommu_fence *f, uint64_t gfn)
{
	viommu_fence_init(f);
	assert_int_equal(
		viommu_memory_remove(viommu_xen_guest_memory(w->dom[1]),
				     gfn * FRAME, FRAME, f),
		0);
	viommu_fence_commit(f, NULL, NULL);
}

static struct viommu_xen_stats stats(struct world *w)
{
	struct viommu_xen_stats s;

	viommu_xen_read_stats(w->x, &s);
	return s;
}

/* More of a mapping goes than was wanted back, but it goes. */
static void wanted_back_without(void **state)
{
	static struct world w;
	size_t live = alloc_live();
	struct viommu_fence f;

	(void)state;
	world_fill(&w);
	must_map(&w, 1, 0, 0, 8);
	must_map(&w, 1, 8, 8, 1);
	alloc_fail(1, ALLOC_ONWARD);
	take_back(&w, &f, 3);
	assert_true(viommu_fence_done(&f));
	assert_true(alloc_failed());
	assert_int_equal(stats(&w).mappings, 1);
	assert_int_equal(stats(&w).references, 1);
	alloc_fail(0, ALLOC_ONCE);
	teardown(&w);
	assert_int_equal(alloc_live(), live);
}

/* One taking is kept for this; who finds it used waits until it is free. */
static void wanted_back_one_after_the_other(void **state)
{
	static struct world w;
	size_t live = alloc_live();
	struct viommu_fence f[3];
	struct held h;

	(void)state;
	world_fill(&w);
	for (uint64_t i = 0; i < 4; i++)
		must_map(&w, 1, i, i, 1);
	hold(&w, &h, 0);
	alloc_fail(1, ALLOC_ONWARD);
	for (uint64_t i = 0; i < 3; i++)
		take_back(&w, &f[i], i);
	for (int i = 0; i < 3; i++)
		assert_false(viommu_fence_done(&f[i]));
	assert_int_equal(stats(&w).references, 4);
	viommu_dma_unmap(&h.d, 0);
	for (int i = 0; i < 3; i++)
		assert_true(viommu_fence_done(&f[i]));
	assert_int_equal(stats(&w).references, 1);
	assert_int_equal(stats(&w).mappings, 1);
	alloc_fail(0, ALLOC_ONCE);
	teardown(&w);
	assert_int_equal(alloc_live(), live);
}

/* It waits for the taking that is kept; the mapper unmaps it, and need not
 * flush for it to go. */
static void wanted_back_and_unmapped(void **state)
{
	static struct world w;
	size_t live = alloc_live();
	struct viommu_fence f[2];
	struct held h;

	(void)state;
	world_fill(&w);
	must_map(&w, 1, 0, 0, 1);
	must_map(&w, 1, 1, 1, 1);
	hold(&w, &h, 0);
	alloc_fail(1, ALLOC_ONWARD);
	take_back(&w, &f[0], 0);
	take_back(&w, &f[1], 1);
	assert_false(viommu_fence_done(&f[1]));
	alloc_fail(0, ALLOC_ONCE);
	assert_int_equal(unmap(&w, &(struct step){ .dfn = 1, .count = 1 }), 0);
	assert_true(viommu_fence_done(&f[1]));
	viommu_dma_unmap(&h.d, 0);
	assert_true(viommu_fence_done(&f[0]));
	teardown(&w);
	assert_int_equal(alloc_live(), live);
}

static void taking_away_without(void **state)
{
	static struct world w;
	size_t live = alloc_live();

	(void)state;
	world_fill(&w);
	for (uint64_t i = 0; i < 8; i++) {
		must_map(&w, 1, i, i, 1);
		must_map(&w, 2, 16 + 8 * i, i, 8);
		must_map(&w, 0, 128 + i, i, 1);
	}
	assert_int_equal(unmap(&w, &(struct step){ .dfn = 2, .count = 5 }), 0);
	alloc_fail(1, ALLOC_ONWARD);
	assert_int_equal(flush(&w, NULL), 0);
	teardown(&w);
	assert_int_equal(alloc_asked(), 0);
	assert_int_equal(alloc_live(), live);
	alloc_fail(0, ALLOC_ONCE);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_failure_is_undone),
		cmocka_unit_test(wanted_back_without),
		cmocka_unit_test(wanted_back_one_after_the_other),
		cmocka_unit_test(wanted_back_and_unmapped),
		cmocka_unit_test(taking_away_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
