/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is played when somebody does not let go, or an endpoint goes: deadlines,
 * giving up, handlers.  As scenarios.c.
 */
#include "scenarios.h"

#include <errno.h>
#include <stddef.h>

#include "stage.h"

static struct taker *const t0 = &stage.taker[0], *const t1 = &stage.taker[1];
static struct holder *const h0 = &stage.holder[0];

static void store_0(void)
{
	access_store(0);
}

static void let_go_0(void)
{
	let_go(h0);
}

static void warm_hold_0(void)
{
	sit();
	must(hold(h0, 0, NULL), "hold");
}

/* ---- hold: a fence that is held, and a map in an index ------------------ */

static void ignore(struct viommu_dma *d)
{
	(void)d;
}

static void warm_ignoring(void)
{
	must(hold(h0, 0, ignore), "hold");
}

static void take_0_held(void)
{
	take_init(t0, 1u << 0);
	if (viommu_space_unmap(stage.a, IOVA(0), IOVA(1) - 1, &t0->f) < 0)
		sched_fail("unmap failed");
	viommu_fence_hold(&t0->f);
	take_commit(t0);
	if (sched_get(&t0->done))
		sched_fail("done, although it was held");
	viommu_fence_release(&t0->f);
}

/* ---- deadline ----------------------------------------------------------- */

enum {
	TIMEOUT = 10,
};

static unsigned verdict;

static enum viommu_verdict expire(void *arg, const struct viommu_expiry *e)
{
	(void)arg;
	(void)e;
	if (sched_clock() < t0->since + TIMEOUT)
		sched_fail("a deadline fired early");
	stage.handling++;
	sched_touch(&stage.ep);
	stage.handling--;
	return verdict;
}

static void failed(struct viommu_fence *f, void *arg)
{
	struct taker *t = arg;

	(void)f;
	if (t->failed || sched_get(&t->done))
		sched_fail("failed twice, or after it was done");
	t->failed = true;
}

/* The endpoint that decides takes the place of the other. */
static void deadline_make(viommu_expire_fn *fn)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = 2,
					    .expire = fn };
	struct viommu_fence f;

	stage_set();
	stage.other = stage.ep;
	must(viommu_endpoint_create(stage.vi, &c, &stage.ep), "endpoint");
	viommu_fence_init(&f);
	must(viommu_endpoint_attach(stage.ep, stage.a, &f), "attach");
	viommu_fence_commit(&f, NULL, NULL);
}

static void set_give_up(void)
{
	verdict = VIOMMU_GIVE_UP;
	deadline_make(expire);
}

static void set_wait_on(void)
{
	verdict = VIOMMU_WAIT_ON;
	deadline_make(expire);
}

static void take_0_timed(void)
{
	take_init(t0, 1u << 0);
	viommu_fence_set_timeout(&t0->f, TIMEOUT);
	viommu_fence_set_failed(&t0->f, failed);
	if (viommu_space_unmap(stage.a, IOVA(0), IOVA(1) - 1, &t0->f) < 0)
		sched_fail("unmap failed");
	take_commit(t0);
}

static void poll_twice(void)
{
	sched_clock_set(5);
	viommu_poll(stage.vi, 5);
	sched_clock_set(20);
	viommu_poll(stage.vi, 20);
}

/* Time has passed. */
static void warm_overdue(void)
{
	take_0_timed();
	sched_clock_set(20);
}

static void poll(void)
{
	viommu_poll(stage.vi, 20);
}

/* Then the device is reset: it lets go, and goes on. */
static void reset_0(void)
{
	let_go(h0);
	if (viommu_endpoint_recover(stage.ep))
		stage.handled++; /* somebody else is in it */
	access_load(2);
}

/* The failed callback resets the device itself. */
static void failed_lets_go(struct viommu_fence *f, void *arg)
{
	failed(f, arg);
	let_go(h0);
	/* not before all its accesses are over, too */
	if (viommu_endpoint_recover(stage.ep) != -EBUSY)
		return;
	if (!stage.word[0])
		sched_fail("busy, but nobody is");
}

static void take_0_failing(void)
{
	take_init(t0, 1u << 0);
	viommu_fence_set_timeout(&t0->f, TIMEOUT);
	viommu_fence_set_failed(&t0->f, failed_lets_go);
	if (viommu_space_unmap(stage.a, IOVA(0), IOVA(1) - 1, &t0->f) < 0)
		sched_fail("unmap failed");
	take_commit(t0);
}

static void warm_ignoring_then_take(void)
{
	warm_ignoring();
	take_0_failing();
	sched_clock_set(20);
}

static void access_1(void)
{
	stage.word[0] = 1;
	access_store(1);
}

/* Beside the taking of something else. */
static void take_1(void)
{
	take_page(t1, 1);
}

/* ---- destroy: beside a handler of the endpoint -------------------------- */

static void endpoint_dies(void)
{
	if (stage.handling)
		sched_fail("the endpoint is gone in its handler");
	sched_object_dies(&stage.ep);
}

static void destroy_begin(void)
{
	struct viommu_endpoint *ep = stage.ep;

	stage.ep = NULL;
	take_init(t1, 0);
	t1->then = endpoint_dies;
	viommu_endpoint_destroy(ep, &t1->f);
}

static void warm_overdue_destroy(void)
{
	warm_overdue();
	destroy_begin();
}

static void commit_1(void)
{
	take_commit(t1);
}

/* Nothing is mapped there.  Its handler says when it runs: before that, no
 * call of the endpoint's may be under way when it is destroyed. */
static void faulting_load(void)
{
	access_load(PAGES + 1);
}

static void destroy_faulting(void)
{
	sched_await(&stage.word[3]);
	destroy_begin();
	take_commit(t1);
}

/* ---- two who poll, one who waits ---------------------------------------- */

static enum viommu_verdict expire_once(void *arg, const struct viommu_expiry *e)
{
	(void)expire(arg, e);
	if (sched_get(&stage.word[2]))
		sched_fail("one deadline had its effect twice");
	sched_set(&stage.word[2], 1);
	return VIOMMU_WAIT_ON;
}

static void set_once(void)
{
	deadline_make(expire_once);
}

static void failed_waits(void)
{
	take_init(t0, 0);
	viommu_fence_set_timeout(&t0->f, TIMEOUT);
	if (viommu_space_unmap(stage.a, IOVA(0), IOVA(1) - 1, &t0->f) < 0)
		sched_fail("unmap failed");
	t0->since = sched_clock();
	viommu_fence_commit(&t0->f, NULL, NULL);
	if (viommu_fence_wait(&t0->f, -1) != -ECANCELED)
		sched_fail("done, or not failed");
	sched_set(&stage.word[2], 1);
	while (viommu_fence_wait(&t0->f, -1) == -ECANCELED)
		sched_await(&stage.word[1]);
	sched_object_dies(stage.page[0]);
	sched_object_dies(&t0->f);
}

/* When it hears that it was given up. */
static void let_go_told(void)
{
	sched_await(&stage.word[2]);
	let_go(h0);
	sched_set(&stage.word[1], 1);
}

/* ---- the list ----------------------------------------------------------- */

const struct scenario scenarios_late[] = {
	{ "hold",
	  FENCED,
	  { JOB(2, 3, stage_set), .warm = { warm_ignoring, NULL },
	    .run = { let_go_0, take_0_held } } },
	{ "deadline",
	  FENCED | ASYMMETRIC,
	  { JOB(3, 2, set_wait_on), .warm = { sit, warm_hold_0, NULL },
	    .run = { poll_twice, let_go_0, take_0_timed } } },
	{ "give-up",
	  FENCED,
	  { JOB(3, 2, set_give_up), .warm = { sit, warm_hold_0, warm_overdue },
	    .run = { poll, reset_0, store_0 } } },
	{ "give-up",
	  ASYMMETRIC,
	  { JOB(3, 1, set_give_up), .warm = { sit, warm_hold_0, warm_overdue },
	    .run = { poll, reset_0, store_0 } } },
	{ "give-up-within",
	  FENCED,
	  { JOB(2, 3, set_give_up), .warm = { sit, warm_ignoring_then_take },
	    .run = { poll, access_1 } } },
	{ "recover-within",
	  FENCED,
	  { JOB(2, 3, set_give_up), .warm = { sit, warm_ignoring_then_take },
	    .run = { poll, take_1 } } },
	{ "destroy",
	  FENCED,
	  { JOB(3, 2, set_wait_on),
	    .warm = { sit, warm_hold_0, warm_overdue_destroy },
	    .run = { poll, let_go_0, commit_1 } } },
	{ "fault",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { faulting_load, destroy_faulting } } },
	{ "poll-two",
	  FENCED,
	  { JOB(3, 2, set_once), .warm = { sit, warm_hold_0, warm_overdue },
	    .run = { poll, let_go_0, poll } } },
	{ "wait-failed",
	  FENCED,
	  { JOB(2, 3, set_give_up), .warm = { warm_hold_0, NULL },
	    .run = { let_go_told, failed_waits } } },
	{ NULL, 0, { 0 } },
};
