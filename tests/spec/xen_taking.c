/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Foreign mapping: what goes, when much of it goes at once.
 *
 *	seam      what is left of a mapping may go in its turn, in any parts
 *	revoke    two owners' questions that wait for each other's devices
 *	memory    there is none when the owner asks: its pages go later
 *	notifier  of the mapper's, which answers what it likes
 *	destroy   owner and mapper at the same time
 *
 * Each test ends with a count: no reference, no mapping, no fence is left.
 */
#include "xen.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <viommu/notifier.h>

/* ---- what owners do ----------------------------------------------------- */

struct given {
	struct viommu_fence f;
	atomic_uint done;
};

static void given_done(struct viommu_fence *f, void *arg)
{
	struct given *g = arg;

	(void)f;
	atomic_fetch_add(&g->done, 1);
}

static void given_open(struct given *g)
{
	viommu_fence_init(&g->f);
	atomic_init(&g->done, 0);
}

static void given_commit(struct given *g)
{
	viommu_fence_commit(&g->f, given_done, g);
}

static void gather(struct world *w, struct given *g, unsigned d, uint64_t gfn)
{
	assert_int_equal(
		viommu_memory_give_up(viommu_xen_guest_memory(w->dom[d]),
				      gfn << SHIFT, FRAME, &g->f),
		0);
}

static void give_up(struct world *w, struct given *g, unsigned d, uint64_t gfn)
{
	given_open(g);
	gather(w, g, d, gfn);
	given_commit(g);
}

static void must(struct world *w, struct viommu_xen_op op)
{
	assert_int_equal(run(w, op), 0);
}

/* ---- seam ---------------------------------------------------------------- */

static unsigned regions(struct world *w)
{
	struct viommu_region r = { .size = sizeof(r) };
	unsigned n = 0;
	uint64_t at = 0;

	while (!viommu_memory_next(viommu_xen_guest_view(w->dom[DOM0]), at,
				   &r)) {
		at = r.gpa + r.len;
		n++;
	}
	return n;
}

/* Frames 0 to 15 at dfn 0x40, without 3 and 7. */
static void seam_make(struct world *w)
{
	struct given g;

	must(w, op_map(DOM1, 0x40, 0, 16, RW));
	given_open(&g);
	gather(w, &g, DOM1, 3);
	gather(w, &g, DOM1, 7);
	given_commit(&g);
	assert_int_equal(g.done, 1);
}

/* A region for each mapping, or one could not go without the other. */
static void seam_nowhere(void **state)
{
	struct world *w = *state;

	seam_make(w);
	assert_int_equal(stats(w).mappings, 3);
	assert_int_equal(stats(w).references, 3);
	assert_int_equal(regions(w), 3);
}

static void seam_unmapped(void **state)
{
	struct world *w = *state;
	struct given g;

	seam_make(w);
	for (uint64_t i = 4; i < 7; i++) {
		must(w, op_unmap(0x40 + i, 1));
		must(w, op_flush());
		assert_int_equal(poke(w, 0, 0x40 + i, 1), -EFAULT);
		give_up(w, &g, DOM1, i);
		assert_int_equal(g.done, 1);
	}
	assert_int_equal(stats(w).mappings, 2);
	assert_int_equal(peek(w, 0, 0x48), byte_of(DOM1, 8));
}

static bool none(void)
{
	return false;
}

/* Without memory what shares a mapping goes as well, but nothing stays. */
static void seam_given_up_without_memory(void **state)
{
	struct world *w = *state;
	struct given g;

	seam_make(w);
	given_open(&g);
	gather(w, &g, DOM1, 5);
	on_alloc = none;
	given_commit(&g);
	on_alloc = NULL;
	assert_int_equal(g.done, 1);
	assert_int_equal(poke(w, 0, 0x45, 1), -EFAULT);
	assert_int_equal(stats(w).mappings, 2);
	assert_int_equal(stats(w).references, 2);
	assert_int_equal(regions(w), 2);
}

static void seam_destroyed(void **state)
{
	struct world *w = *state;

	seam_make(w);
	dom_destroy(w, DOM1);
	for (uint64_t i = 0; i < 16; i++)
		assert_int_equal(poke(w, 0, 0x40 + i, 1), -EFAULT);
	assert_int_equal(regions(w), 0);
}

/* ---- revoke -------------------------------------------------------------- */

/* A device's map that goes with another device's, when both are asked for. */
struct knot {
	struct held asked, other;
	struct given g;
};

static pthread_barrier_t both;
static atomic_uint asking;

static void knot_revoked(struct viommu_dma *d)
{
	struct knot *k = d->arg;

	atomic_fetch_add(&asking, 1);
	pthread_barrier_wait(&both);
	viommu_dma_unmap(d, 0);
	let_go(&k->other);
}

static void *knot_commit(void *arg)
{
	struct knot *k = arg;

	given_commit(&k->g);
	return NULL;
}

static void knot_hold(struct world *w, struct knot *k, uint64_t dfn)
{
	hold(w, &k->asked, 0, dfn, 1, true);
	let_go(&k->asked);
	k->asked.d.revoke = knot_revoked;
	k->asked.d.arg = k;
	assert_int_equal(viommu_dma_map(&k->asked.d), 0);
}

/* Each of two threads is amid a question, of what was flushed before, when its
 * device lets go of what the other asks for. */
static void revoke_crosswise(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op flush = op_flush();
	struct batch b[2];
	struct knot k[2];
	pthread_t t[2];

	atomic_store(&asking, 0);
	pthread_barrier_init(&both, NULL, 2);
	for (uint64_t i = 0; i < 4; i++)
		must(w, op_map(DOM1, i, i, 1, RW));
	for (unsigned i = 0; i < 2; i++) {
		hold(w, &k[!i].other, 0, i, 1, false);
		knot_hold(w, &k[i], 2 + i);
		must(w, op_unmap(i, 1));
		assert_int_equal(run_in(w, &b[i], DOM0, &flush, 1), WAITING);
		given_open(&k[i].g);
		gather(w, &k[i].g, DOM1, i);
	}
	for (unsigned i = 0; i < 2; i++) {
		must(w, op_unmap(2 + i, 1));
		pthread_create(&t[i], NULL, knot_commit, &k[i]);
		/* it has committed that, and nothing else */
		while (atomic_load(&asking) == i)
			sched_yield();
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	pthread_barrier_destroy(&both);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(k[i].g.done, 1);
		assert_int_equal(b[i].done, 1);
	}
	assert_int_equal(stats(w).references, 0);
}

/* ---- memory -------------------------------------------------------------- */

static struct {
	struct world *w;
	struct held h;
	unsigned left; /* that there is memory for */
	uint64_t before, after;
	bool refused, freed;
} scarce;

static bool scarce_alloc(void)
{
	scarce.refused |= !scarce.left;
	return scarce.left && scarce.left--;
}

/* The owner's question is not over: it frees what it could not use.  Now there
 * is memory. */
static void scarce_free(void)
{
	if (!scarce.refused || scarce.freed)
		return;
	scarce.freed = true;
	on_alloc = NULL;
	scarce.before = stats(scarce.w).references;
	let_go(&scarce.h);
	scarce.after = stats(scarce.w).references;
}

/* Frame 0 is waited for; then frame 9 of a mapping of two is asked for, with
 * memory for @left things. */
static void scarce_make(struct world *w, struct given *first,
			struct given *second, unsigned left)
{
	memset(&scarce, 0, sizeof(scarce));
	scarce.w = w;
	scarce.left = left;
	must(w, op_map(DOM1, 0, 0, 1, RW));
	must(w, op_map(DOM1, 8, 8, 2, RW));
	hold(w, &scarce.h, 0, 0, 1, false);
	give_up(w, first, DOM1, 0);
	assert_int_equal(first->done, 0);
	given_open(second);
	gather(w, second, DOM1, 9);
	on_alloc = scarce_alloc;
	given_commit(second);
	on_alloc = NULL;
	on_free = NULL;
	assert_true(scarce.refused);
}

static void memory_later(void **state)
{
	struct world *w = *state;
	struct given first, second;

	scarce_make(w, &first, &second, 0);
	assert_int_equal(second.done, 0);
	assert_int_equal(peek(w, 0, 9), byte_of(DOM1, 9));
	let_go(&scarce.h);
	assert_int_equal(first.done, 1);
	assert_int_equal(second.done, 1);
	assert_int_equal(peek(w, 0, 9), -EFAULT);
	assert_int_equal(stats(w).references, 0);
}

/* It comes while the owner still asks. */
static void memory_amid_the_question(void **state)
{
	struct world *w = *state;
	struct given first, second;

	on_free = scarce_free;
	scarce_make(w, &first, &second, 1);
	assert_true(scarce.freed);
	assert_int_equal(scarce.before, 2);
	assert_int_equal(scarce.after, 1);
	assert_int_equal(first.done, 1);
	assert_int_equal(second.done, 1);
	assert_int_equal(peek(w, 0, 9), -EFAULT);
	assert_int_equal(stats(w).references, 0);
}

/* ---- notifier ------------------------------------------------------------ */

static int shadow_map(void *arg, const struct viommu_mapping *m, size_t n)
{
	(void)arg;
	(void)m;
	(void)n;
	return 0;
}

static void shadow_unmap(void *arg, viommu_iova_t start, viommu_iova_t last,
			 struct viommu_fence *f)
{
	(void)arg;
	(void)start;
	(void)last;
	(void)f;
}

static int shadow_ram_add(void *arg, const struct viommu_region *r)
{
	(void)r;
	return *(int *)arg;
}

/* Only a flush is over later: nothing else may look as if it were. */
static void notifier_answers(void **state)
{
	static const struct viommu_notifier_ops ops = {
		.size = sizeof(ops),
		.map = shadow_map,
		.unmap = shadow_unmap,
		.ram_add = shadow_ram_add,
	};
	struct world *w = *state;
	struct viommu_notifier *n;
	struct viommu_fence f;
	int answer = 0;

	assert_int_equal(viommu_notifier_add(w->ep[0], &ops, &answer, &n), 0);
	answer = -ENOTSUP;
	assert_int_equal(run(w, op_map(DOM1, 1, 1, 1, R)), -ENOTSUP);
	answer = -EINPROGRESS;
	assert_int_equal(run(w, op_map(DOM1, 1, 1, 1, R)), -EBUSY);
	assert_int_equal(stats(w).references, 0);
	answer = 0;
	assert_int_equal(run(w, op_map(DOM1, 1, 1, 1, R)), 0);
	viommu_fence_init(&f);
	viommu_notifier_remove(n, &f);
	fence_run(&f);
}

/* ---- destroy ------------------------------------------------------------- */

struct owner {
	struct viommu_xen_guest *guest;
	struct given g;
};

static void *owner_destroy(void *arg)
{
	struct owner *o = arg;

	viommu_xen_guest_destroy(o->guest, &o->g.f);
	given_commit(&o->g);
	return NULL;
}

static void eps_leave(struct world *w, struct given *g)
{
	given_open(g);
	for (int i = 0; i < EPS; i++)
		viommu_endpoint_destroy(w->ep[i], &g->f);
	memset(w->ep, 0, sizeof(w->ep));
	given_commit(g);
}

/* The mapper's destruction finds the owner's amid what both take. */
static void destroy_once(struct world *w)
{
	enum {
		MAPPINGS = 20000
	};
	struct owner o = { .guest = w->dom[DOM1] };
	struct given devices, mapper;
	struct held h;
	pthread_t t;

	for (uint64_t i = 0; i < MAPPINGS; i++)
		must(w, op_map(DOM1, 2 * i, i % FRAMES, 1, RW));
	hold(w, &h, 0, 0, 1, false);
	eps_leave(w, &devices);
	given_open(&mapper);
	given_open(&o.g);
	pthread_create(&t, NULL, owner_destroy, &o);
	while (stats(w).mappings == MAPPINGS)
		sched_yield();
	viommu_xen_guest_destroy(w->dom[DOM0], &mapper.f);
	/* there is no view any more */
	assert_int_equal(stats(w).mappings, 0);
	given_commit(&mapper);
	pthread_join(t, NULL);
	w->dom[DOM0] = w->dom[DOM1] = NULL;
	/* a device still has its frame */
	assert_int_equal(o.g.done, 0);
	assert_true(stats(w).references > 0);
	let_go(&h);
	assert_int_equal(o.g.done, 1);
	assert_int_equal(mapper.done, 1);
	assert_int_equal(devices.done, 1);
}

static void destroy_both_at_once(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct world w;

		world_make(&w, NULL, 0);
		destroy_once(&w);
		world_free(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(seam_nowhere),
		TEST(seam_unmapped),
		TEST(seam_given_up_without_memory),
		TEST(seam_destroyed),
		TEST(revoke_crosswise),
		TEST(memory_later),
		TEST(memory_amid_the_question),
		TEST(notifier_answers),
		cmocka_unit_test(destroy_both_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
