/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Foreign mapping: references, and how they go.
 *
 *	reference   every mapping holds one on the pages behind it, which unmap
 *	            drops when it has been flushed; there is no way around it
 *	destroy     of mapper or owner, by force: every reference goes, in time
 *	            proportional to what was mapped, not to the host's memory
 *	targeted    an owner gives pages up: exactly the users of exactly those
 *	            are told; then, and only then, the pages are recycled
 *
 * Each test ends with a count: no reference, no mapping, no fence is left.
 */
#include "xen.h"

#include <stdio.h>
#include <sys/mman.h>
#include <time.h>

/* ---- what owners do ----------------------------------------------------- */

struct given {
	struct viommu_fence f;
	unsigned done, failed;
};

static void given_done(struct viommu_fence *f, void *arg)
{
	struct given *g = arg;

	(void)f;
	g->done++;
}

static void given_failed(struct viommu_fence *f, void *arg)
{
	struct given *g = arg;

	(void)f;
	g->failed++;
}

static void given_open(struct given *g)
{
	memset(g, 0, sizeof(*g));
	viommu_fence_init(&g->f);
	viommu_fence_set_failed(&g->f, given_failed);
}

static void gather(struct world *w, struct given *g, unsigned d, uint64_t gfn,
		   uint64_t n)
{
	assert_int_equal(
		viommu_memory_give_up(viommu_xen_guest_memory(w->dom[d]),
				      gfn << SHIFT, n << SHIFT, &g->f),
		0);
}

static void given_commit(struct given *g)
{
	viommu_fence_commit(&g->f, given_done, g);
}

static void give_up(struct world *w, struct given *g, unsigned d, uint64_t gfn,
		    uint64_t n)
{
	given_open(g);
	gather(w, g, d, gfn, n);
	given_commit(g);
}

static uint64_t dirty(struct world *w, unsigned d)
{
	uint64_t bits[1];

	assert_true(
		viommu_memory_dirty_fetch(viommu_xen_guest_memory(w->dom[d]), 0,
					  FRAMES * FRAME, bits) >= 0);
	return bits[0];
}

static void must_map(struct world *w, struct viommu_xen_op op)
{
	assert_int_equal(run(w, op), 0);
}

/* Frames [0, n) of @d are at dfn, but for those in the mask. */
static void must_see(struct world *w, unsigned d, uint64_t dfn, unsigned n,
		     uint64_t gone)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(peek(w, 0, dfn + i),
				 gone >> i & 1 ? -EFAULT : byte_of(d, i));
}

/* ---- reference ---------------------------------------------------------- */

static void reference_for_every_mapping(void **state)
{
	struct world *w = *state;

	must_map(w, op_map(DOM1, 1, 1, 1, R));
	must_map(w, op_map(DOM1, 2, 1, 1, RW));
	must_map(w, op_map(SELF, 3, 1, 1, RW));
	assert_int_equal(stats(w).references, 3);
	assert_int_equal(run(w, op_map(DOM1, 3, 2, 1, R)), -EADDRINUSE);
	assert_int_equal(run(w, op_map(DOM1, 4, FRAMES, 1, R)), -ENOENT);
	assert_int_equal(stats(w).references, 3);
}

static void reference_until_flushed(void **state)
{
	struct world *w = *state;

	must_map(w, op_map(DOM1, 1, 1, 1, R));
	must_map(w, op_unmap(1, 1));
	assert_int_equal(stats(w).mappings, 0);
	assert_int_equal(stats(w).references, 1);
	must_map(w, op_flush());
	assert_int_equal(stats(w).references, 0);
}

/* Of a mapping of many pages each goes for itself. */
static void reference_to_the_page(void **state)
{
	struct world *w = *state;
	struct given g;

	must_map(w, op_map(DOM1, 0x20, 0, 16, R));
	must_map(w, op_unmap(0x24, 2));
	assert_int_equal(stats(w).mappings, 2);
	must_map(w, op_unmap(0x20, 1));
	must_map(w, op_unmap(0x2f, 1));
	must_see(w, DOM1, 0x20, 16, 0x8031);
	must_map(w, op_flush());
	assert_int_equal(stats(w).references, 2);
	/* nobody is in the way of those that went */
	give_up(w, &g, DOM1, 4, 2);
	assert_int_equal(g.done, 1);
	assert_int_equal(stats(w).asked, 0);
	/* a range that begins in one mapping and ends in another */
	must_map(w, op_map(DOM2, 0x30, 0, 4, R));
	must_map(w, op_map(DOM1, 0x2f, 15, 1, R));
	must_map(w, op_unmap(0x2e, 4));
	must_map(w, op_flush());
	must_see(w, DOM2, 0x30, 4, 3);
	must_see(w, DOM1, 0x20, 16, 0xc031);
}

/* L7: devices go on in what stays. */
static void reference_changes_without_a_hole(void **state)
{
	struct world *w = *state;
	struct held h;
	struct batch b;
	struct viommu_xen_op ops[] = { op_unmap(4, 1), op_flush() };

	must_map(w, op_map(DOM1, 0, 0, 8, R));
	hold(w, &h, 0, 0, 4, false);
	assert_int_equal(run_in(w, &b, DOM0, ops, 2), 0);
	let_go(&h);
	assert_int_equal(stats(w).references, 2);
}

/* What may be written is reported, as long as it may. */
static void reference_for_writing_is_in_the_dirty_log(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_dirty_start(
				 viommu_xen_guest_memory(w->dom[DOM1]), 0, &f),
			 0);
	fence_run(&f);
	must_map(w, op_map(DOM1, 1, 3, 2, RW));
	must_map(w, op_map(DOM1, 3, 9, 1, R));
	assert_int_equal(dirty(w, DOM1), 0x18);
	assert_int_equal(dirty(w, DOM1), 0x18);
	must_map(w, op_unmap(1, 1));
	must_map(w, op_flush());
	assert_int_equal(dirty(w, DOM1), 0x18);
	assert_int_equal(dirty(w, DOM1), 0x10);
	must_map(w, op_unmap(2, 1));
	must_map(w, op_flush());
	assert_int_equal(dirty(w, DOM1), 0x10);
	assert_int_equal(dirty(w, DOM1), 0);
	/* and what never came is not */
	assert_int_equal(run(w, op_map(DOM1, 3, 9, 1, RW)), -EADDRINUSE);
	assert_int_equal(run(w, op_map(DOM1, 4, 31, 2, RW)), -ENOENT);
	assert_int_equal(dirty(w, DOM1), 0);
}

/* ---- destroy ------------------------------------------------------------- */

static void destroy_mapper(void **state)
{
	struct world *w = *state;
	struct given g;

	w->control[DOM2] = w->map_of[DOM2][DOM1] = true;
	for (uint64_t i = 0; i < 8; i++) {
		must_map(w, op_map(i % 2 ? DOM1 : DOM2, i, i, 1, RW));
		assert_int_equal(run_as(w, DOM2, op_map(DOM1, i, i, 1, R)), 0);
	}
	must_map(w, op_map(SELF, 8, 8, 1, RW));
	must_map(w, op_unmap(1, 1));
	eps_destroy(w);
	dom_destroy(w, DOM0);
	/* DOM2's own are left */
	assert_int_equal(stats(w).references, 8);
	assert_int_equal(stats(w).mappings, 8);
	give_up(w, &g, DOM2, 0, FRAMES);
	assert_int_equal(g.done, 1);
	assert_int_equal(stats(w).asked, 0);
}

static void destroy_owner(void **state)
{
	struct world *w = *state;

	for (uint64_t i = 0; i < 8; i++)
		must_map(w, op_map(i % 2 ? DOM1 : DOM2, i, i, 1, RW));
	must_map(w, op_unmap(7, 1));
	assert_int_equal(stats(w).references, 8);
	dom_destroy(w, DOM1);
	assert_int_equal(stats(w).references, 4);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(peek(w, 0, i),
				 i % 2 ? -EFAULT : byte_of(DOM2, i));
	assert_int_equal(run(w, op_map(DOM1, 1, 1, 1, R)), -ESRCH);
	assert_int_equal(run(w, op_unmap(1, 1)), -ENOENT);
	must_map(w, op_map(DOM2, 1, 1, 1, R));
}

static void must_pend(struct world *w, unsigned d, struct given *g)
{
	given_open(g);
	viommu_xen_guest_destroy(w->dom[d], &g->f);
	w->dom[d] = NULL;
	given_commit(g);
	assert_int_equal(g->done, 0);
}

/* The owner's pages are not anybody else's before the device lets go. */
static void destroy_owner_waits_for_devices(void **state)
{
	struct world *w = *state;
	struct viommu_xen_guest_config c = { .size = sizeof(c), .domid = DOM1 };
	struct viommu_xen_guest *again;
	struct given g;
	struct held h;

	must_map(w, op_map(DOM1, 1, 1, 2, RW));
	hold(w, &h, 0, 1, 1, false);
	must_pend(w, DOM1, &g);
	assert_int_equal(peek(w, 1, 1), -EFAULT);
	assert_int_equal(stats(w).references, 1);
	/* nor is its number */
	assert_int_equal(viommu_xen_guest_create(w->x, &c, &again), -EEXIST);
	assert_int_equal(run(w, op_map(DOM1, 1, 1, 1, R)), -ESRCH);
	let_go(&h);
	assert_int_equal(g.done, 1);
	assert_int_equal(stats(w).references, 0);
	assert_int_equal(viommu_xen_guest_create(w->x, &c, &again), 0);
	w->dom[DOM1] = again;
}

static void destroy_mapper_waits_for_devices(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;
	struct given g, pages;
	struct held h;

	must_map(w, op_map(DOM1, 1, 1, 2, RW));
	hold(w, &h, 0, 1, 1, false);
	viommu_fence_init(&f);
	for (int i = 0; i < EPS; i++)
		viommu_endpoint_destroy(w->ep[i], &f);
	viommu_fence_commit(&f, NULL, NULL);
	memset(w->ep, 0, sizeof(w->ep));
	must_pend(w, DOM0, &g);
	assert_int_equal(stats(w).references, 1);
	give_up(w, &pages, DOM1, 1, 1);
	assert_int_equal(pages.done, 0);
	let_go(&h);
	assert_int_equal(pages.done, 1);
	assert_int_equal(g.done, 1);
	assert_true(viommu_fence_done(&f));
}

/* A flush that waits is over when it is. */
static void destroy_mapper_in_a_flush(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op ops[] = { op_unmap(1, 1), op_flush(),
				       op_map(DOM1, 1, 1, 1, R) };
	struct viommu_fence f;
	struct given g;
	struct batch b;
	struct held h;

	must_map(w, op_map(DOM1, 1, 1, 2, RW));
	hold(w, &h, 0, 1, 1, false);
	assert_int_equal(run_in(w, &b, DOM0, ops, 3), WAITING);
	viommu_fence_init(&f);
	for (int i = 0; i < EPS; i++)
		viommu_endpoint_destroy(w->ep[i], &f);
	viommu_fence_commit(&f, NULL, NULL);
	memset(w->ep, 0, sizeof(w->ep));
	must_pend(w, DOM0, &g);
	assert_int_equal(b.done, 0);
	let_go(&h);
	assert_int_equal(b.done, 1);
	assert_int_equal(b.ops[1].status, 0);
	assert_int_equal(g.done, 1);
	assert_int_equal(viommu_xen_run(w->x, &b.b), -ESRCH);
}

static struct given destroyed;

static void destroy_dom1(struct world *w)
{
	given_open(&destroyed);
	viommu_xen_guest_destroy(w->dom[DOM1], &destroyed.f);
	w->dom[DOM1] = NULL;
	given_commit(&destroyed);
}

static void destroy_owner_amid_a_batch(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op ops[] = { op_map(DOM1, 1, 1, 1, R),
				       op_map(DOM2, 2, 1, 1, R),
				       op_map(DOM1, 3, 1, 1, R), op_unmap(1, 1),
				       op_unmap(2, 1) };
	const int expect[] = { 0, 0, -ESRCH, -ENOENT, 0 };
	struct batch b;

	w->hook = destroy_dom1;
	w->hook_in = 5; /* the question about DOM1 of the third */
	assert_int_equal(run_in(w, &b, DOM0, ops, 5), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(b.ops[i].status, expect[i]);
	assert_int_equal(destroyed.done, 1);
	assert_int_equal(stats(w).references, 1); /* not flushed */
}

static void destroy_mapper_amid_a_batch(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op ops[] = { op_map(DOM2, 1, 1, 1, R),
				       op_map(SELF, 2, 1, 1, R), op_unmap(1, 1),
				       op_lookup(1), op_flush() };
	const int expect[] = { 0, -ESRCH, -ESRCH, -ENOENT, 0 };
	struct batch b;

	w->control[DOM1] = w->map_of[DOM1][DOM2] = true;
	w->hook = destroy_dom1;
	w->hook_in = 2; /* the question about the second */
	assert_int_equal(run_in(w, &b, DOM1, ops, 5), 0);
	for (int i = 0; i < 5; i++)
		assert_int_equal(b.ops[i].status, expect[i]);
	assert_int_equal(destroyed.done, 1);
	assert_int_equal(stats(w).references, 0);
}

/* More mappers than a fence has room for: each has a fence of its own. */
static void destroy_owner_of_many_mappers(void **state)
{
	enum {
		MAPPERS = 12
	};
	struct world *w = *state;
	struct viommu_xen_guest *g[MAPPERS];
	struct viommu_fence f;

	must_map(w, op_map(DOM2, 1, 1, 1, R));
	for (unsigned i = 0; i < MAPPERS; i++) {
		struct viommu_xen_guest_config c = { .size = sizeof(c),
						     .domid = 100 + i };

		assert_int_equal(viommu_xen_guest_create(w->x, &c, &g[i]), 0);
		w->control[c.domid] = w->map_of[c.domid][DOM1] = true;
		assert_int_equal(run_as(w, c.domid, op_map(DOM1, i, i, 1, RW)),
				 0);
	}
	must_map(w, op_map(DOM1, 2, 1, 1, R));
	dom_destroy(w, DOM1);
	assert_int_equal(stats(w).asked, 0);
	assert_int_equal(stats(w).references, 1);
	assert_int_equal(peek(w, 0, 1), byte_of(DOM2, 1));
	for (unsigned i = 0; i < MAPPERS; i++) {
		viommu_fence_init(&f);
		viommu_xen_guest_destroy(g[i], &f);
		fence_run(&f);
	}
}

/* ---- destroy: time ---------------------------------------------------- */

static double cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

struct big {
	double ns;	  /* of the destruction */
	uint64_t touched; /* pages of the owner's memory that came to be */
};

/* An owner of @len bytes, of which 1,000 frames here and there are mapped, is
 * destroyed; it, or the mapper. */
static struct big big_destroy(struct world *w, uint64_t len, bool mapper)
{
	enum {
		MAPPINGS = 1000
	};
	struct viommu_xen_guest_config c = { .size = sizeof(c), .domid = 8 };
	struct viommu_region r = {
		.size = sizeof(r), .len = len, .prot = RW, .fd = -1
	};
	struct viommu_xen_guest *owner, *m = w->dom[DOM0];
	unsigned char vec[512];
	struct big big = { 0 };
	struct viommu_fence f;
	double t;

	r.host = mmap(NULL, len, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(r.host, MAP_FAILED);
	assert_int_equal(viommu_xen_guest_create(w->x, &c, &owner), 0);
	assert_int_equal(viommu_memory_add(viommu_xen_guest_memory(owner), &r),
			 0);
	w->map_of[DOM0][8] = true;
	for (uint64_t i = 0; i < MAPPINGS; i++)
		must_map(w,
			 op_map(8, 2 * i, len / FRAME / MAPPINGS * i, 1, RW));
	viommu_fence_init(&f);
	t = cpu();
	viommu_xen_guest_destroy(mapper ? m : owner, &f);
	fence_run(&f);
	big.ns = cpu() - t;
	if (mapper) {
		w->dom[DOM0] = NULL;
		viommu_fence_init(&f);
		viommu_xen_guest_destroy(owner, &f);
		fence_run(&f);
	}
	for (uint64_t at = 0; at < len; at += sizeof(vec) * FRAME) {
		assert_int_equal(
			mincore((char *)r.host + at, sizeof(vec) * FRAME, vec),
			0);
		for (size_t i = 0; i < sizeof(vec); i++)
			big.touched += vec[i] & 1;
	}
	munmap(r.host, len);
	return big;
}

static void destroy_in_time_of(bool mapper)
{
	double small = 1e18, large = 1e18;

	for (int i = 0; i < 5; i++) {
		for (int l = 0; l < 2; l++) {
			struct world w;
			struct big b;

			world_make(&w, NULL, 0);
			eps_destroy(&w);
			b = big_destroy(&w, UINT64_C(1) << (l ? 36 : 32),
					mapper);
			assert_int_equal(b.touched, 0);
			if (l && b.ns < large)
				large = b.ns;
			if (!l && b.ns < small)
				small = b.ns;
			world_free(&w);
		}
	}
	print_message(
		"# 1,000 mappings of 4 GiB: %.0f us, of 64 GiB: %.0f us\n",
		small / 1000, large / 1000);
	/* sixteen times the memory; other things may happen in between */
	assert_true(large < 8 * small);
}

static void destroy_takes_as_long_as_there_are_mappings(void **state)
{
	(void)state;
	destroy_in_time_of(true);
	destroy_in_time_of(false);
}

/* ---- targeted ------------------------------------------------------------ */

static void targeted_exactly_those_pages(void **state)
{
	struct world *w = *state;
	struct given g;

	w->control[DOM2] = w->map_of[DOM2][DOM1] = true;
	must_map(w, op_map(DOM1, 0, 0, 1, R));
	must_map(w, op_map(DOM1, 1, 1, 1, R));
	must_map(w, op_map(DOM1, 2, 2, 1, R));
	must_map(w, op_map(DOM2, 3, 1, 1, R));
	assert_int_equal(run_as(w, DOM2, op_map(DOM1, 9, 1, 1, R)), 0);
	assert_int_equal(run_as(w, DOM2, op_map(DOM1, 10, 3, 1, R)), 0);
	give_up(w, &g, DOM1, 1, 1);
	assert_int_equal(g.done, 1);
	assert_int_equal(stats(w).asked, 2);
	assert_int_equal(stats(w).references, 4);
	must_see(w, DOM1, 0, 3, 2);
	assert_int_equal(peek(w, 0, 3), byte_of(DOM2, 1));
	assert_int_equal(run_as(w, DOM2, op_lookup(9)), -ENOENT);
	assert_int_equal(run_as(w, DOM2, op_lookup(10)), 0);
	/* it is gone, and stays so */
	assert_int_equal(run(w, op_unmap(1, 1)), -ENOENT);
	assert_int_equal(run(w, op_map(DOM1, 1, 1, 1, R)), -ENOENT);
}

/* Out of the middle of one mapping, whose rest stays without a hole. */
static void targeted_the_rest_stays(void **state)
{
	struct world *w = *state;
	struct held below, above;
	struct given g;

	must_map(w, op_map(DOM1, 0x40, 0, 32, R));
	hold(w, &below, 0, 0x40, 8, false);
	hold(w, &above, 1, 0x4c, 4, false);
	give_up(w, &g, DOM1, 9, 2);
	assert_int_equal(g.done, 1);
	must_see(w, DOM1, 0x40, 32, 0x600);
	assert_int_equal(stats(w).mappings, 2);
	let_go(&below);
	let_go(&above);
	/* they may be given up in their turn */
	give_up(w, &g, DOM1, 0, 2);
	assert_int_equal(g.done, 1);
	give_up(w, &g, DOM1, 31, 1);
	assert_int_equal(g.done, 1);
	must_see(w, DOM1, 0x40, 32, 0x80000603);
}

/* Several pieces by one fence: one question, one exact answer. */
static void targeted_several_pieces_at_once(void **state)
{
	struct world *w = *state;
	struct given g;

	must_map(w, op_map(DOM1, 0x40, 0, 32, R));
	given_open(&g);
	gather(w, &g, DOM1, 3, 1);
	gather(w, &g, DOM1, 10, 2);
	gather(w, &g, DOM1, 20, 5);
	given_commit(&g);
	assert_int_equal(g.done, 1);
	assert_int_equal(stats(w).asked, 1);
	must_see(w, DOM1, 0x40, 32, 0x1f00c08);
}

static void targeted_bytes_of_a_page(void **state)
{
	struct world *w = *state;
	struct given g;

	must_map(w, op_map(DOM1, 0x40, 0, 4, R));
	given_open(&g);
	assert_int_equal(
		viommu_memory_give_up(viommu_xen_guest_memory(w->dom[DOM1]),
				      FRAME + 5, 1, &g.f),
		0);
	given_commit(&g);
	assert_int_equal(g.done, 1);
	must_see(w, DOM1, 0x40, 4, 2);
}

static void targeted_then_and_only_then(void **state)
{
	struct world *w = *state;
	struct held h, other;
	struct given g;

	must_map(w, op_map(DOM1, 0, 0, 4, RW));
	must_map(w, op_map(DOM1, 9, 1, 1, RW));
	hold(w, &h, 0, 1, 1, true);
	hold(w, &other, 1, 9, 1, false);
	give_up(w, &g, DOM1, 1, 1);
	/* the mapper's device is asked in its turn */
	assert_int_equal(h.asked, 1);
	assert_int_equal(g.done, 0);
	assert_int_equal(peek(w, 1, 1), -EFAULT);
	must_see(w, DOM1, 0, 4, 2);
	let_go(&h);
	assert_int_equal(g.done, 0);
	let_go(&other);
	assert_int_equal(g.done, 1);
	assert_int_equal(stats(w).references, 2);
}

static void targeted_a_whole_region(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;

	must_map(w, op_map(DOM1, 0, 0, 4, RW));
	must_map(w, op_map(DOM1, 9, 31, 1, RW));
	viommu_fence_init(&f);
	assert_int_equal(
		viommu_memory_remove(viommu_xen_guest_memory(w->dom[DOM1]), 0,
				     FRAMES * FRAME, &f),
		0);
	fence_run(&f);
	assert_int_equal(stats(w).references, 0);
	assert_int_equal(stats(w).mappings, 0);
	assert_int_equal(peek(w, 0, 9), -EFAULT);
}

/* The mapper has unmapped it, and never flushes: that is not the owner's
 * problem. */
static void targeted_what_nobody_flushed(void **state)
{
	struct world *w = *state;
	struct given g;
	struct held h;

	must_map(w, op_map(DOM1, 0, 0, 2, RW));
	must_map(w, op_unmap(0, 2));
	assert_int_equal(stats(w).references, 1);
	give_up(w, &g, DOM1, 1, 1);
	assert_int_equal(g.done, 1);
	assert_int_equal(stats(w).references, 0);
	must_map(w, op_map(DOM1, 0, 0, 1, RW));
	hold(w, &h, 0, 0, 1, false);
	must_map(w, op_unmap(0, 1));
	give_up(w, &g, DOM1, 0, 1);
	assert_int_equal(g.done, 0);
	let_go(&h);
	assert_int_equal(g.done, 1);
}

/* The owner has other memory there by now: new mappings see that, and what is
 * left of the old ones what they saw. */
static void targeted_and_replaced(void **state)
{
	struct world *w = *state;
	struct viommu_memory *mem = viommu_xen_guest_memory(w->dom[DOM1]);
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = FRAME,
				   .len = FRAME,
				   .host = w->ram[DOM2],
				   .prot = RW,
				   .fd = -1 };
	struct given g;

	must_map(w, op_map(DOM1, 0, 0, 4, R));
	given_open(&g);
	gather(w, &g, DOM1, 1, 1);
	assert_int_equal(viommu_memory_add(mem, &r), 0);
	/* a cut before the owner's fence is committed */
	must_map(w, op_unmap(3, 1));
	assert_int_equal(peek(w, 0, 0), byte_of(DOM1, 0));
	assert_int_equal(peek(w, 0, 2), byte_of(DOM1, 2));
	given_commit(&g);
	assert_int_equal(g.done, 1);
	must_see(w, DOM1, 0, 4, 0xa);
	must_map(w, op_map(DOM1, 1, 1, 1, R));
	assert_int_equal(peek(w, 0, 1), byte_of(DOM2, 0));
}

/* Of what it asks back the owner has all anew, as if nothing were missing. */
static void targeted_and_replaced_at_once(void **state)
{
	struct world *w = *state;
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = FRAME,
				   .len = 2 * FRAME,
				   .host = w->ram[DOM2],
				   .prot = RW,
				   .fd = -1 };
	struct given g;

	must_map(w, op_map(DOM1, 0, 0, 4, R));
	given_open(&g);
	gather(w, &g, DOM1, 1, 2);
	assert_int_equal(
		viommu_memory_add(viommu_xen_guest_memory(w->dom[DOM1]), &r),
		0);
	given_commit(&g);
	assert_int_equal(g.done, 1);
	must_see(w, DOM1, 0, 4, 6);
	must_map(w, op_map(DOM1, 1, 1, 2, R));
	assert_int_equal(peek(w, 0, 1), byte_of(DOM2, 0));
	assert_int_equal(peek(w, 0, 2), byte_of(DOM2, 1));
}

/* L9, for owners: who is in the way is the mapper. */
static void targeted_and_nobody_lets_go(void **state)
{
	struct world *w = *state;
	struct given g, other;
	struct held h;

	must_map(w, op_map(DOM1, 0, 0, 2, RW));
	must_map(w, op_map(DOM2, 2, 0, 1, RW));
	hold(w, &h, 0, 0, 1, false);
	w->verdict = VIOMMU_WAIT_ON;
	give_up(w, &g, DOM1, 0, 1);
	ticks += 2 * TIMEOUT;
	viommu_poll(w->vi, ticks);
	assert_int_equal(w->expired, 1);
	assert_int_equal(w->expired_mapper, DOM0);
	assert_int_equal(w->expired_owner, DOM1);
	assert_int_equal(g.failed, 0);
	w->verdict = VIOMMU_GIVE_UP;
	ticks += 2 * TIMEOUT;
	viommu_poll(w->vi, ticks);
	assert_int_equal(g.failed, 1);
	assert_int_equal(g.done, 0);
	/* it gets no more of DOM1, but of others */
	assert_int_equal(run(w, op_map(DOM1, 8, 8, 1, R)), -EIO);
	assert_int_equal(run(w, op_map(DOM2, 16, 8, 1, R)), 0);
	give_up(w, &other, DOM2, 0, 1);
	assert_int_equal(other.done, 1);
	let_go(&h);
	assert_int_equal(g.done, 1);
	/* until all that it had is let go of */
	assert_int_equal(run(w, op_map(DOM1, 8, 8, 1, R)), -EIO);
	must_map(w, op_unmap(1, 1));
	assert_int_equal(run(w, op_flush()), 0);
	assert_int_equal(run(w, op_map(DOM1, 8, 8, 1, R)), 0);
}

/* Memory that moves is asked for; what was mapped may be mapped anew. */
static void targeted_by_a_move(void **state)
{
	struct world *w = *state;
	struct viommu_move m = { .size = sizeof(m),
				 .to = { .size = sizeof(m.to),
					 .gpa = 2 * FRAME,
					 .len = 2 * FRAME,
					 .prot = RW,
					 .fd = -1 } };
	struct viommu_fence f;

	m.to.host = aligned_alloc(FRAME, 2 * FRAME);
	assert_non_null(m.to.host);
	must_map(w, op_map(DOM1, 0, 0, 8, RW));
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_move(
				 viommu_xen_guest_memory(w->dom[DOM1]), &m, &f),
			 0);
	fence_run(&f);
	must_see(w, DOM1, 0, 8, 0xc);
	must_map(w, op_map(DOM1, 2, 2, 2, RW));
	must_see(w, DOM1, 0, 8, 0);
	assert_int_equal(poke(w, 0, 2, 0x77), 0);
	assert_int_equal(*(unsigned char *)m.to.host, 0x77);
	dom_destroy(w, DOM1);
	free(m.to.host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reference_for_every_mapping),
		TEST(reference_until_flushed),
		TEST(reference_to_the_page),
		TEST(reference_changes_without_a_hole),
		TEST(reference_for_writing_is_in_the_dirty_log),
		TEST(destroy_mapper),
		TEST(destroy_owner),
		TEST(destroy_owner_waits_for_devices),
		TEST(destroy_mapper_waits_for_devices),
		TEST(destroy_mapper_in_a_flush),
		TEST(destroy_owner_amid_a_batch),
		TEST(destroy_mapper_amid_a_batch),
		TEST(destroy_owner_of_many_mappers),
		cmocka_unit_test(destroy_takes_as_long_as_there_are_mappings),
		TEST(targeted_exactly_those_pages),
		TEST(targeted_the_rest_stays),
		TEST(targeted_several_pieces_at_once),
		TEST(targeted_bytes_of_a_page),
		TEST(targeted_then_and_only_then),
		TEST(targeted_a_whole_region),
		TEST(targeted_what_nobody_flushed),
		TEST(targeted_and_replaced),
		TEST(targeted_and_replaced_at_once),
		TEST(targeted_and_nobody_lets_go),
		TEST(targeted_by_a_move),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
