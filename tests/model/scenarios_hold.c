/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is played with notifiers that hold fences.  As scenarios.c.
 *
 * A shadow is what a device goes by without the library.  The device may touch
 * what is in there up to the moment that it is told to forget it, or, if it is
 * slow, up to the release of its hold; so that is when it does.
 */
#include "scenarios.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <viommu/notifier.h>

#include "core/instance.h"
#include "stage.h"

enum {
	SEEN = PAGES + 1, /* IOVA pages of a shadow: the last is not mapped */
	HOLDS = 2,
	TIMEOUT = 10,
};

static struct taker *const t0 = &stage.taker[0], *const t1 = &stage.taker[1];

static struct holder *const h0 = &stage.holder[0];

static struct shadow {
	struct viommu_notifier *n;
	unsigned char page[SEEN]; /* guest page + 1, or 0 */
	unsigned slow;		  /* so many unmaps more hold their fence */
	unsigned refuse;	  /* so many maps more are refused */
} first, second;

static struct slow {
	struct viommu_hold hold;
	unsigned pages; /* that the device still has: bits */
	uint64_t held;	/* a word of schedule.h */
} slow[HOLDS];

static unsigned nslow;
static bool ram; /* is there memory? */
static enum viommu_verdict verdict;

/* ---- the shadow --------------------------------------------------------- */

static int on_map(void *arg, const struct viommu_mapping *m, size_t n)
{
	struct shadow *s = arg;

	if (s->refuse) {
		s->refuse--;
		return -ENOSPC;
	}
	for (size_t i = 0; ram && i < n; i++)
		for (uint64_t at = m[i].start; at < m[i].last; at += PAGE)
			s->page[at / PAGE] =
				(unsigned char)((m[i].gpa + (at - m[i].start)) /
							PAGE +
						1);
	return 0;
}

static void forget(struct shadow *s, unsigned i, struct slow *h)
{
	unsigned page = s->page[i] - 1u;

	if (h)
		h->pages |= 1u << page;
	else
		sched_touch(stage.page[page]);
	s->page[i] = 0;
}

static struct slow *hold_begin(struct shadow *s, struct viommu_fence *f)
{
	struct slow *h;

	if (!f || !s->slow)
		return NULL;
	s->slow--;
	h = &slow[nslow++];
	viommu_notifier_hold(s->n, f, &h->hold);
	return h;
}

static void on_unmap(void *arg, viommu_iova_t start, viommu_iova_t last,
		     struct viommu_fence *f)
{
	struct shadow *s = arg;
	struct slow *h = hold_begin(s, f);

	for (unsigned i = 0; i < SEEN; i++)
		if (s->page[i] && IOVA(i) >= start && IOVA(i) <= last)
			forget(s, i, h);
	if (h)
		sched_set(&h->held, 1);
}

static void on_ram_remove(void *arg, viommu_gpa_t gpa, viommu_gpa_t last,
			  struct viommu_fence *f)
{
	(void)gpa; /* there is one region */
	(void)last;
	ram = false;
	on_unmap(arg, 0, UINT64_MAX, f);
}

static void release(struct slow *h)
{
	for (unsigned i = 0; i < 2 * PAGES; i++)
		if (h->pages & (1u << i))
			sched_touch(stage.page[i]);
	viommu_notifier_release(&h->hold);
	/* the storage is the caller's again */
	sched_object_dies(&h->hold);
}

static void release_0(void)
{
	release(&slow[0]);
}

static void release_1(void)
{
	release(&slow[1]);
}

/* When it is there. */
static void release_0_told(void)
{
	sched_await(&slow[0].held);
	release(&slow[0]);
}

/* ---- the set ------------------------------------------------------------ */

static void shadow_add(struct shadow *s)
{
	static const struct viommu_notifier_ops ops = {
		.size = sizeof(ops),
		.map = on_map,
		.unmap = on_unmap,
		.ram_remove = on_ram_remove,
	};

	memset(s, 0, sizeof(*s));
	must(viommu_notifier_add(stage.ep, &ops, s, &s->n), "notifier");
}

static void shadows_reset(void)
{
	memset(slow, 0, sizeof(slow));
	memset(&second, 0, sizeof(second));
	nslow = 0;
	ram = true;
	for (unsigned i = 0; i < HOLDS; i++)
		sched_object(&slow[i].hold, sizeof(slow[i].hold), "a hold");
}

static void set_hold(void)
{
	stage_set();
	shadows_reset();
	shadow_add(&first);
}

static enum viommu_verdict expire(void *arg, const struct viommu_expiry *e)
{
	(void)arg;
	(void)e;
	if (sched_clock() < t0->since + TIMEOUT)
		sched_fail("a deadline fired early");
	if (sched_get(&stage.word[0]))
		sched_fail("asked after it has let go and recovered");
	stage.handling++;
	sched_touch(&stage.ep);
	stage.handling--;
	stage.handled++;
	return verdict;
}

/* The endpoint that decides takes the place of the other. */
static void set_deadline(void)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = 2,
					    .expire = expire };
	struct viommu_fence f;

	stage_set();
	shadows_reset();
	stage.other = stage.ep;
	must(viommu_endpoint_create(stage.vi, &c, &stage.ep), "endpoint");
	viommu_fence_init(&f);
	must(viommu_endpoint_attach(stage.ep, stage.a, &f), "attach");
	viommu_fence_commit(&f, NULL, NULL);
	shadow_add(&first);
}

static void set_wait_on(void)
{
	verdict = VIOMMU_WAIT_ON;
	set_deadline();
}

static void set_give_up(void)
{
	verdict = VIOMMU_GIVE_UP;
	set_deadline();
}

/* What a fence that is done took, and a shadow has. */
static void check_forgotten(const struct shadow *s, const struct taker *t)
{
	for (unsigned i = 0; t->done && i < SEEN; i++)
		if (s->page[i] && (t->pages & (1u << (s->page[i] - 1))))
			sched_fail("a shadow has what was taken");
}

static void check_hold(void)
{
	struct viommu_fence f;

	for (unsigned i = 0; i < 3; i++) {
		check_forgotten(&first, &stage.taker[i]);
		check_forgotten(&second, &stage.taker[i]);
	}
	if (atomic_load(&stage.vi->nholding))
		sched_fail("there are holds, by the counter");
	viommu_fence_init(&f);
	viommu_notifier_remove(second.n, &f);
	viommu_notifier_remove(first.n, &f);
	viommu_fence_commit(&f, NULL, NULL);
	stage_check();
}

/* ---- taking ------------------------------------------------------------- */

static void failed(struct viommu_fence *f, void *arg)
{
	struct taker *t = arg;

	(void)f;
	if (t->failed || sched_get(&t->done))
		sched_fail("failed twice, or after it was done");
	t->failed = true;
}

static void unmap_page(struct taker *t, unsigned i)
{
	if (viommu_space_unmap(stage.a, IOVA(i), IOVA(i + 1) - 1, &t->f) < 0)
		sched_fail("unmap failed");
}

static void take_timed(struct taker *t, unsigned i)
{
	take_init(t, 1u << i);
	viommu_fence_set_timeout(&t->f, TIMEOUT);
	viommu_fence_set_failed(&t->f, failed);
	unmap_page(t, i);
	take_commit(t);
}

static void commit_1(void)
{
	take_commit(t1);
}

static void take_1(void)
{
	take_page(t1, 1);
}

/* What was taken already, a second time. */
static void take_0_again(void)
{
	take_page(t1, 0);
}

static void take_memory(void)
{
	take_init(t1, (1u << 2 * PAGES) - 1);
	must(viommu_memory_remove(viommu_memory_of(stage.vi), 0,
				  sizeof(stage.page), &t1->f),
	     "remove");
	take_commit(t1);
}

/* ---- hold: beside another fence ------------------------------------------ */

static void warm_held(void)
{
	sit();
	first.slow = 1;
	take_page(t0, 0);
}

/* Its notifier sees nothing any more: nobody tells it what goes. */
static void warm_held_detached(void)
{
	struct taker *t = &stage.taker[2];

	warm_held();
	take_init(t, 0);
	viommu_endpoint_detach(stage.ep, &t->f);
	take_commit(t);
}

/* Its hold is begun here, and may be over before the commit. */
static void take_0_first(void)
{
	take_page(t0, 0);
}

/* ---- late: a hold is begun while a fence of the same is committed ---------
 */

static void ignore(struct viommu_dma *d)
{
	(void)d;
}

/* What is in the way is in an index. */
static void warm_late(void)
{
	must(hold(h0, 0, ignore), "hold");
	take_init(t1, 1u << 0);
	unmap_page(t1, 0);
	first.slow = 1;
}

static void take_0_release(void)
{
	take_page(t0, 0);
	release_0();
}

static void let_go_0(void)
{
	let_go(h0);
}

/* ---- two: holds of one fence --------------------------------------------- */

static void warm_held_twice(void)
{
	sit();
	first.slow = 2;
	take_init(t0, 1u << 0 | 1u << 1);
	unmap_page(t0, 0);
	unmap_page(t0, 1);
}

static void commit_0(void)
{
	take_commit(t0);
}

static void warm_held_twice_commit(void)
{
	warm_held_twice();
	commit_0();
}

/* ---- leave: beside a taking in the old space, or of memory --------------- */

static void warm_slow(void)
{
	sit();
	first.slow = 1;
}

static void left(void)
{
	take_commit(t0);
	release_0();
}

static void leave_attach(void)
{
	take_init(t0, (1u << PAGES) - 1);
	must(viommu_endpoint_attach(stage.ep, stage.b, &t0->f), "attach");
	left();
}

static void leave_detach(void)
{
	take_init(t0, 0);
	viommu_endpoint_detach(stage.ep, &t0->f);
	left();
}

static void leave_remove(void)
{
	take_init(t0, 0);
	viommu_notifier_remove(first.n, &t0->f);
	first.n = NULL;
	left();
}

/* It can have neither the new nor the old. */
static void leave_lost(void)
{
	struct viommu_mapping m = { .start = IOVA(0),
				    .last = IOVA(1) - 1,
				    .gpa = IOVA(4),
				    .prot = VIOMMU_READ | VIOMMU_WRITE };

	first.refuse = 2;
	take_init(t0, 0);
	if (viommu_space_remap(stage.a, &m, &t0->f) != -ENOSPC)
		sched_fail("remap was not refused");
	take_commit(t0);
}

/* Held: the first thing that it is told to forget. */
static void leave_lost_slow(void)
{
	leave_lost();
	release_0();
}

/* ---- refuse: a map, beside an unmap of the same -------------------------- */

static int map_4(unsigned page)
{
	struct viommu_mapping m = { .start = IOVA(PAGES),
				    .last = IOVA(PAGES + 1) - 1,
				    .gpa = IOVA(page),
				    .prot = VIOMMU_READ | VIOMMU_WRITE };

	return viommu_space_map(stage.a, &m);
}

static void set_refuse(void)
{
	set_hold();
	shadow_add(&second);
	must(map_4(4), "map");
	first.slow = 1;
	take_page(t0, PAGES);
	second.refuse = 1;
}

static void map_refused(void)
{
	if (map_4(5) != -ENOSPC)
		sched_fail("map was not refused");
	if (first.page[PAGES] || second.page[PAGES])
		sched_fail("a refused map is in a shadow");
}

/* Page 4, which the hold is for. */
static void take_4_again(void)
{
	take_page(t1, PAGES);
}

/* ---- deadlines ----------------------------------------------------------- */

static void warm_overdue(void)
{
	first.slow = 1;
	take_timed(t0, 0);
	sched_clock_set(20);
}

static void poll(void)
{
	viommu_poll(stage.vi, 20);
}

/* The device is reset: it lets go. */
static void release_recover(void)
{
	release_0();
	if (viommu_endpoint_recover(stage.ep))
		stage.handled++; /* its handler runs */
}

static void endpoint_dies(void)
{
	if (stage.handling)
		sched_fail("the endpoint is gone in its handler");
	sched_object_dies(&stage.ep);
}

static void warm_overdue_destroy(void)
{
	struct viommu_endpoint *ep = stage.ep;

	warm_overdue();
	stage.ep = NULL;
	take_init(t1, 0);
	t1->then = endpoint_dies;
	viommu_endpoint_destroy(ep, &t1->f);
}

/* One fence has failed; another one is about to. */
static void warm_given_up(void)
{
	warm_overdue();
	poll();
	if (!t0->failed)
		sched_fail("it was not given up");
	take_timed(t1, 0);
	sched_clock_set(40);
}

static void recover(void)
{
	if (!viommu_endpoint_recover(stage.ep))
		sched_set(&stage.word[0], 1);
}

static void poll_later(void)
{
	viommu_poll(stage.vi, 40);
}

/* ---- the list ----------------------------------------------------------- */

#define HOLD_JOB(n, b, set) \
	.nthreads = (n), .bound = (b), .setup = (set), .check = check_hold

const struct scenario scenarios_hold[] = {
	{ "hold-commit",
	  FENCED | ASYMMETRIC,
	  { HOLD_JOB(2, 3, set_hold), .warm = { warm_held, NULL },
	    .run = { release_0, take_0_again } } },
	{ "hold-own",
	  FENCED | ASYMMETRIC,
	  { HOLD_JOB(2, 3, set_hold), .warm = { warm_slow, NULL },
	    .run = { release_0_told, take_0_first } } },
	{ "hold-late",
	  FENCED | MANY,
	  { HOLD_JOB(3, 2, set_hold), .warm = { NULL, NULL, warm_late },
	    .run = { take_0_release, commit_1, let_go_0 } } },
	{ "hold-memory",
	  FENCED | ASYMMETRIC | MANY,
	  { HOLD_JOB(2, 3, set_hold), .warm = { warm_held_detached, NULL },
	    .run = { release_0, take_memory } } },
	{ "hold-two",
	  FENCED | ASYMMETRIC | MANY,
	  { HOLD_JOB(3, 2, set_hold), .warm = { warm_held_twice, sit, NULL },
	    .run = { release_0, release_1, commit_0 } } },
	{ "hold-two-more",
	  FENCED | MANY,
	  { HOLD_JOB(3, 2, set_hold),
	    .warm = { warm_held_twice_commit, sit, NULL },
	    .run = { release_0, release_1, take_1 } } },
	{ "hold-attach",
	  FENCED | MANY,
	  { HOLD_JOB(2, 2, set_hold), .warm = { warm_slow, NULL },
	    .run = { leave_attach, take_1 } } },
	{ "hold-attach-mem",
	  FENCED | MANY,
	  { HOLD_JOB(2, 2, set_hold), .warm = { warm_slow, NULL },
	    .run = { leave_attach, take_memory } } },
	{ "hold-detach",
	  FENCED | MANY,
	  { HOLD_JOB(2, 2, set_hold), .warm = { warm_slow, NULL },
	    .run = { leave_detach, take_1 } } },
	{ "hold-remove",
	  FENCED | ASYMMETRIC | MANY,
	  { HOLD_JOB(2, 2, set_hold), .warm = { warm_slow, NULL },
	    .run = { leave_remove, take_1 } } },
	{ "hold-remove-mem",
	  FENCED | MANY,
	  { HOLD_JOB(2, 2, set_hold), .warm = { warm_slow, NULL },
	    .run = { leave_remove, take_memory } } },
	{ "hold-lost",
	  FENCED,
	  { HOLD_JOB(2, 2, set_hold), .warm = { sit, NULL },
	    .run = { leave_lost, take_1 } } },
	{ "hold-lost-slow",
	  FENCED | MANY,
	  { HOLD_JOB(2, 3, set_hold), .warm = { warm_slow, NULL },
	    .run = { leave_lost_slow, take_1 } } },
	{ "hold-refuse",
	  FENCED | MANY,
	  { HOLD_JOB(3, 2, set_refuse), .warm = { sit, NULL, NULL },
	    .run = { release_0, map_refused, take_4_again } } },
	{ "hold-give-up",
	  FENCED,
	  { HOLD_JOB(2, 3, set_give_up), .warm = { sit, warm_overdue },
	    .run = { poll, release_recover } } },
	{ "hold-destroy",
	  FENCED | ASYMMETRIC | MANY,
	  { HOLD_JOB(3, 2, set_wait_on),
	    .warm = { sit, NULL, warm_overdue_destroy },
	    .run = { poll, release_0, commit_1 } } },
	{ "hold-recover",
	  FENCED | MANY,
	  { HOLD_JOB(3, 2, set_give_up), .warm = { sit, NULL, warm_given_up },
	    .run = { poll_later, release_0, recover } } },
	{ NULL, 0, { 0 } },
};
