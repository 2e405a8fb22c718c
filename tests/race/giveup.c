/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * giveup: fences with deadlines, on a clock that the control thread pushes.
 * Workers hold maps for longer than that, poll, and recover endpoints that
 * were given up.  Each page has an IOVA that is never used again, and no table
 * goes when it does, so that an expiry says which fence it is about.
 *
 * No deadline comes before its time.  Failed is told at most once, and before
 * done; done is told once, when nobody holds the page (L3), given up or not.
 * No expire handler runs for an endpoint whose destruction is done.
 */
#include "race.h"

#include <stdio.h>

enum {
	NPAGES = 16,
	NEPS = 3,
	NTAKEN = 12,
	NLIVE = 128,
	NGUESTS = 4, /* endpoints that come and go */
	TIMEOUT = 5000,
	TICKS = 200, /* at most, at once */
	BEGUN = 1 << 16,
	SPAN = 512, /* pages of a table: the first stays, so that it stays */
};

static struct viommu_space *space;
static struct viommu_endpoint *eps[NEPS];
static struct taken takens[NTAKEN];
static _Atomic(struct held *) live[NLIVE];
static _Atomic(uint64_t) ticks;
static _Atomic(uint64_t) expiries, verdicts, failures, recoveries;

/* What is mapped now: the IOVA's number; that, modulo 256, is the slot. */
static _Atomic(uint64_t) numbers[NPAGES];
static void *pages[NPAGES], *stays;
static uint64_t last_number;
static _Atomic(uint64_t) begun[BEGUN]; /* when its fence was, at least */

/* An endpoint that is destroyed while somebody holds a map of its. */
static struct guest {
	struct viommu_fence f;
	_Atomic(uint64_t) since;
	_Atomic(bool) gone;
} guests[NGUESTS];

static uint64_t ticks_read(void *arg)
{
	(void)arg;
	return atomic_load(&ticks);
}

static void giveup_config(struct viommu_config *c)
{
	static const struct viommu_env env = { .size = sizeof(env),
					       .clock = ticks_read };

	c->env = &env;
	c->fence_timeout_ns = TIMEOUT;
}

static struct spot spot_of(struct viommu_endpoint *ep, uint64_t number)
{
	return (struct spot){ .ep = ep,
			      .iova = number * PAGE,
			      .slot = number % 256 };
}

static void page_put(unsigned i)
{
	uint64_t number = ++last_number;

	if (number % SPAN == 0)
		map_at(space, number * PAGE, stays, PAGE);
	if (number % SPAN == 0)
		number = ++last_number;
	pages[i] = page_fill(number % 256, number);
	map_at(space, number * PAGE, pages[i], PAGE);
	atomic_store(&numbers[i], number);
}

/* ---- expiry ----------------------------------------------------------- */

static enum viommu_verdict expire(void *arg, const struct viommu_expiry *e)
{
	uint64_t number = e->start / PAGE;

	(void)arg;
	atomic_fetch_add(&expiries, 1);
	if (e->waited_ns < TIMEOUT ||
	    (number && atomic_load(&ticks) <
			       atomic_load(&begun[number % BEGUN]) + TIMEOUT))
		broken("a deadline came before its time");
	if (dice(4))
		return VIOMMU_WAIT_ON;
	atomic_fetch_add(&verdicts, 1);
	return VIOMMU_GIVE_UP;
}

static enum viommu_verdict guest_expire(void *arg,
					const struct viommu_expiry *e)
{
	struct guest *g = arg;

	(void)e;
	for (int i = 0; i < 4; i++) {
		if (atomic_load(&g->gone))
			broken("an expire handler runs for what is destroyed");
		sched_yield();
	}
	return VIOMMU_WAIT_ON;
}

static void failed(struct viommu_fence *f, void *arg)
{
	struct taken *t = arg;

	atomic_fetch_add(&failures, 1);
	if (viommu_fence_done(f) || !atomic_load(&t->since))
		broken("a fence failed after it was done");
	if (atomic_exchange(&t->failed, true))
		broken("a fence failed twice");
}

/* ---- guests ----------------------------------------------------------- */

static void guest_gone(struct viommu_fence *f, void *arg)
{
	struct guest *g = arg;

	if (!viommu_fence_done(f))
		broken("done was told before it was so");
	atomic_store(&g->gone, true);
	/* for some time: a handler that is late finds it gone */
	atomic_store(&g->since, 0);
}

static struct viommu_endpoint *guest_make(struct guest *g, uint32_t id)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = id,
					    .pasid = VIOMMU_NO_PASID,
					    .arg = g,
					    .expire = guest_expire };
	struct viommu_endpoint *ep;
	struct viommu_fence f;

	atomic_store(&g->gone, false);
	must(viommu_endpoint_create(vi, &c, &ep), "endpoint");
	viommu_fence_init(&f);
	attach(ep, space, &f);
	return ep;
}

/* It comes, maps, and goes: others let go of the map, or have done so. */
static void guest_step(void)
{
	static uint32_t next;
	struct guest *g = &guests[next++ % NGUESTS];
	uint64_t number = atomic_load(&numbers[dice(NPAGES)]);
	uint64_t since = atomic_load(&g->since);
	struct viommu_endpoint *ep;
	struct held *h;
	int rc;

	if (since && now() > since + patience)
		broken("a fence was forgotten");
	if (since || dice(4))
		return;
	ep = guest_make(g, 1000 + next);
	h = hold(&(struct spot){ .ep = ep,
				 .iova = number * PAGE,
				 .slot = number % 256 },
		 1, &rc);
	held_drop(atomic_exchange(&live[dice(NLIVE)], h));
	viommu_fence_init(&g->f);
	viommu_fence_set_timeout(&g->f, UINT64_MAX);
	viommu_endpoint_destroy(ep, &g->f);
	atomic_store(&g->since, now());
	fence_commit(&g->f, guest_gone, g);
}

/* ---- control ---------------------------------------------------------- */

static void poll_now(void)
{
	viommu_poll(vi, atomic_load(&ticks));
}

static void take(struct taken *t, unsigned i)
{
	uint64_t number = atomic_load(&numbers[i]);
	void *page = pages[i];

	viommu_fence_set_failed(&t->f, failed);
	unmap_at(space, number * PAGE, PAGE, &t->f);
	atomic_store(&begun[number % BEGUN], atomic_load(&ticks));
	page_put(i);
	taken_commit(t, page);
}

static void giveup_step(void)
{
	struct taken *t = taken_open(takens, NTAKEN);

	if (t)
		take(t, dice(NPAGES));
	else
		sched_yield();
	guest_step();
	atomic_fetch_add(&ticks, 1 + dice(TICKS));
	if (viommu_next_deadline(vi) <= atomic_load(&ticks))
		poll_now();
}

static struct viommu_endpoint *ep_make(uint32_t id)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = id,
					    .pasid = VIOMMU_NO_PASID,
					    .expire = expire };
	struct viommu_endpoint *ep;
	struct viommu_fence f;

	must(viommu_endpoint_create(vi, &c, &ep), "endpoint");
	viommu_fence_init(&f);
	attach(ep, space, &f);
	return ep;
}

static void giveup_open(void)
{
	memset(guests, 0, sizeof(guests));
	atomic_store(&expiries, 0);
	atomic_store(&verdicts, 0);
	atomic_store(&failures, 0);
	atomic_store(&recoveries, 0);
	last_number = SPAN - 1;
	stays = page_fill(0, 0);
	space = space_make(PAGE, VIOMMU_SPACE_REFUSE);
	for (unsigned i = 0; i < NEPS; i++)
		eps[i] = ep_make(i + 1);
	for (unsigned i = 0; i < NPAGES; i++)
		page_put(i);
}

/* ---- workers ---------------------------------------------------------- */

/* The device has been reset, as far as the others let go, too. */
static void recover(struct viommu_endpoint *ep)
{
	int rc;

	held_drop(atomic_exchange(&live[dice(NLIVE)], NULL));
	rc = viommu_endpoint_recover(ep);
	if (rc && rc != -EBUSY)
		broken("an endpoint was not recovered, and nobody can say why");
	if (!rc)
		atomic_fetch_add(&recoveries, 1);
}

static void giveup_work(void)
{
	struct viommu_endpoint *ep = eps[dice(NEPS)];
	struct spot s = spot_of(ep, atomic_load(&numbers[dice(NPAGES)]));
	int rc = 0;

	switch (dice(16)) {
	case 0:
		poll_now();
		return;
	case 1:
		held_drop(
			atomic_exchange(&live[dice(NLIVE)], hold(&s, 1, &rc)));
		break;
	case 2:
		held_drop(atomic_exchange(&live[dice(NLIVE)], NULL));
		break;
	default:
		rc = dice(4) ? way_load(&s) : way_store(&s);
	}
	if (rc == -EIO)
		recover(ep);
}

static void giveup_drain(void)
{
	for (unsigned i = 0; i < NLIVE; i++)
		held_drop(atomic_exchange(&live[i], NULL));
}

static void giveup_close(void)
{
	giveup_drain();
	taken_all_done(takens, NTAKEN);
	for (unsigned i = 0; i < NGUESTS; i++)
		if (atomic_load(&guests[i].since))
			broken("nobody is left, and a fence still pends");
	for (unsigned i = 0; i < NEPS; i++) {
		if (viommu_endpoint_recover(eps[i]))
			broken("nobody is left, and an endpoint is busy");
		endpoint_drop(eps[i]);
	}
	space_drop(space);
	page_poison(stays);
	for (unsigned i = 0; i < NPAGES; i++)
		page_poison(pages[i]);
	fprintf(stderr,
		"giveup: %llu expiries, %llu verdicts, %llu failures, %llu "
		"recoveries\n",
		(unsigned long long)atomic_load(&expiries),
		(unsigned long long)atomic_load(&verdicts),
		(unsigned long long)atomic_load(&failures),
		(unsigned long long)atomic_load(&recoveries));
}

const struct subject subject_giveup = {
	.name = "giveup",
	.config = giveup_config,
	.open = giveup_open,
	.step = giveup_step,
	.work = giveup_work,
	.drain = giveup_drain,
	.close = giveup_close,
};
