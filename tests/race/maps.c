/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * maps: hundreds of live maps for each worker, more than its seat has pins, of
 * one page or of two that are not one range of memory; whichever worker comes
 * along lets go of them.  Nobody waits for a fence: each is done when the last
 * map of its page goes, and poisons the page from there.
 *
 * revoke: nobody lets go of a map but when it is asked to; so a fence that did
 * not ask somebody is never done.  A map in the way is asked at most once, and
 * is not asked any more, nor read, when unmap has returned: it is poison then,
 * its revoke a trap.
 */
#include "race.h"

#include <stdio.h>

enum {
	NPAGES = 48,
	NHOT = 6, /* for revoke: so that maps and takings meet */
	NTAKEN = 32,
	LIVE_EACH = 200, /* maps for each worker */
	NHOLDERS = 384,
};

static struct viommu_space *space;
static struct viommu_endpoint *ep;
static unsigned npages;
static void *pages[NPAGES];
static uint64_t filled[NPAGES];
static struct taken takens[NTAKEN];
/* The least number of a page's filling that an access may see. */
static _Atomic(uint64_t) committed[NPAGES];

static struct spot spot_of(unsigned i)
{
	return (struct spot){ .ep = ep,
			      .iova = i * PAGE,
			      .slot = i,
			      .committed = &committed[i] };
}

static void world_open(unsigned n)
{
	npages = n;
	space = space_make(PAGE, VIOMMU_SPACE_REFUSE);
	ep = endpoint_make(1, space);
	for (unsigned i = 0; i < npages; i++) {
		pages[i] = page_fill(i, ++filled[i]);
		map_at(space, i * PAGE, pages[i], PAGE);
		atomic_store(&committed[i], filled[i]);
	}
}

static void world_step(void)
{
	struct taken *t = taken_open(takens, NTAKEN);
	unsigned i = dice(npages);
	struct spot s;
	void *old;

	if (!t) {
		sched_yield();
		return;
	}
	old = pages[i];
	s = spot_of(i);
	pages[i] = page_fill(i, ++filled[i]);
	unmap_at(space, s.iova, PAGE, &t->f);
	taken_commit(t, old);
	atomic_store(&committed[i], filled[i]);
	if (dice(2))
		must_be_gone(&s);
	map_at(space, s.iova, pages[i], PAGE);
	if (!dice(8)) {
		s = spot_of(i);
		must_be_there(&s);
	}
}

static void world_close(void)
{
	taken_all_done(takens, NTAKEN);
	endpoint_drop(ep);
	space_drop(space);
	for (unsigned i = 0; i < npages; i++)
		page_poison(pages[i]);
}

/* ---- maps ------------------------------------------------------------- */

static _Atomic(struct held *) live[MAX_WORKERS * LIVE_EACH];

static void maps_work(void)
{
	unsigned j = dice(nworkers * LIVE_EACH);
	struct spot s = spot_of(dice(npages));
	struct held *h = NULL;
	int rc;

	/* what is in the slot lives on unless there is something new */
	switch (dice(4)) {
	case 0:
		way_plain(&s);
		return;
	case 1:
		break;
	default:
		h = hold(&s, s.slot + 1 < npages ? 1 + dice(2) : 1, &rc);
	}
	held_drop(atomic_exchange(&live[j], h));
}

static void maps_open(void)
{
	world_open(NPAGES);
}

/* What is a slot's is also another worker's to take. */
static void maps_drain(void)
{
	for (unsigned j = 0; j < MAX_WORKERS * LIVE_EACH; j++)
		held_drop(atomic_exchange(&live[j], NULL));
}

static void maps_close(void)
{
	maps_drain(); /* of those who came after others had drained */
	world_close();
}

const struct subject subject_maps = {
	.name = "maps",
	.open = maps_open,
	.step = world_step,
	.work = maps_work,
	.drain = maps_drain,
	.close = maps_close,
};

/* ---- revoke: who holds ------------------------------------------------- */

enum state {
	FREE,
	SETUP,	 /* its fields are being written */
	MAPPING, /* viommu_dma_map() is under way: may be asked */
	LIVE,
	ASKED,	  /* whoever comes along is to let go of it */
	DROPPING, /* somebody does */
	STATE = 7,
	ERA, /* above the state: counts maps and unmaps */
};

struct holder {
	struct viommu_dma d;
	struct iovec iov[2];
	_Atomic(uint64_t) state;
	_Atomic(unsigned) asks;
	unsigned slot;
};

static struct holder holders[NHOLDERS];
static _Atomic(uint64_t) asked;
static _Atomic(bool) calm;

static struct holder *holder_of(struct viommu_dma *d)
{
	return (struct holder *)(void *)((char *)d -
					 offsetof(struct holder, d));
}

/* From one state to another of the same era. */
static bool step_to(struct holder *h, uint64_t from, enum state to)
{
	return atomic_compare_exchange_strong(&h->state, &from,
					      (from & ~(uint64_t)STATE) | to);
}

static void trap(struct viommu_dma *d)
{
	(void)d;
	broken("a map was asked that is gone");
}

/* DROPPING is the caller's. */
static void holder_drop(struct holder *h)
{
	volatile uint64_t *page = h->iov[0].iov_base;

	stamp_check(*page, h->slot, 0);
	me->did.unmaps++;
	viommu_dma_unmap(&h->d, 0);
	poison(&h->d, sizeof(h->d));
	h->d.revoke = trap;
	atomic_store(&h->state, (atomic_load(&h->state) | STATE) + 1 + FREE);
}

static void revoke(struct viommu_dma *d);

/* SETUP is the caller's.  What becomes of it may be over on return. */
static void holder_map(struct holder *h)
{
	uint64_t era = atomic_load(&h->state) & ~(uint64_t)STATE;
	unsigned i = dice(npages);
	int rc;

	h->slot = i;
	h->d = (struct viommu_dma){ .ep = ep,
				    .iova = i * PAGE,
				    .len = PAGE,
				    .prot = RW,
				    .iov = h->iov,
				    .max_iov = 2,
				    .revoke = revoke };
	atomic_store(&h->asks, 0);
	atomic_store(&h->state, era | MAPPING);
	rc = viommu_dma_map(&h->d);
	if (!rc) {
		me->did.maps++;
		step_to(h, era | MAPPING, LIVE);
		return;
	}
	accessed(rc);
	if (!step_to(h, era | MAPPING, FREE))
		broken("a map was asked that failed");
}

/* ---- revoke: who is asked ---------------------------------------------- */

/* Somebody else may let go of it, and wait for us: not beyond this. */
static void linger(struct holder *h, uint64_t state)
{
	for (int i = dice(64); i >= 0; i--) {
		if (atomic_load(&h->state) ==
		    ((state & ~(uint64_t)STATE) | DROPPING))
			sched_yield();
		if ((atomic_load(&h->state) ^ state) & ~(uint64_t)STATE)
			broken("unmap returned while its map was asked");
	}
}

static void revoke(struct viommu_dma *d)
{
	struct holder *h = holder_of(d);
	uint64_t state = atomic_load(&h->state);

	atomic_fetch_add(&asked, 1);
	if (atomic_fetch_add(&h->asks, 1))
		broken("a map was asked twice");
	/* the mapper may go on to LIVE between the look and the step */
	while ((state & STATE) == MAPPING || (state & STATE) == LIVE) {
		bool within = dice(2);

		if (!step_to(h, state, within ? DROPPING : ASKED)) {
			state = atomic_load(&h->state);
			continue;
		}
		if (!within)
			break;
		holder_drop(h);
		state = atomic_load(&h->state);
		if (dice(2) && step_to(h, state & ~(uint64_t)STATE, SETUP))
			holder_map(h);
		return;
	}
	if ((state & STATE) == FREE || (state & STATE) == SETUP)
		broken("a map was asked that is gone");
	linger(h, state);
}

static void revoke_work(void)
{
	static __thread unsigned next;
	struct holder *h = &holders[next++ % NHOLDERS];
	uint64_t state = atomic_load(&h->state);
	struct spot s;

	if (!dice(4)) {
		s = spot_of(dice(npages));
		way_any(&s);
	}
	switch (state & STATE) {
	case FREE:
		if (step_to(h, state, SETUP))
			holder_map(h);
		return;
	case ASKED:
		if (step_to(h, state, DROPPING))
			holder_drop(h);
		return;
	case LIVE:
		/* a few go by themselves, while they are asked perhaps */
		if (!atomic_load(&calm) && !dice(256) &&
		    step_to(h, state, DROPPING))
			holder_drop(h);
		return;
	default:
		return;
	}
}

/*
 * A fence that was forgotten would be remembered when its IOVA is taken again,
 * or its map's storage let go of: so now and then nothing is taken for a while,
 * and then nobody lets go who is not asked.
 */
static void revoke_step(void)
{
	unsigned pending = 1;

	world_step();
	if (dice(4))
		return;
	atomic_store(&calm, true);
	while (pending) {
		pending = 0;
		for (unsigned i = 0; i < NTAKEN; i++)
			pending += taken_pends(&takens[i]);
		sched_yield();
	}
	atomic_store(&calm, false);
}

static void revoke_open(void)
{
	memset(holders, 0, sizeof(holders));
	atomic_store(&asked, 0);
	world_open(NHOT);
}

static void revoke_close(void)
{
	struct viommu_stats stats;

	for (unsigned i = 0; i < NHOLDERS; i++) {
		uint64_t state = atomic_load(&holders[i].state);

		if ((state & STATE) == FREE)
			continue;
		if (((state & STATE) != LIVE && (state & STATE) != ASKED) ||
		    !step_to(&holders[i], state, DROPPING))
			broken("a map is neither held nor let go of");
		holder_drop(&holders[i]);
	}
	world_close();
	viommu_read_stats(vi, &stats);
	if (stats.revokes != atomic_load(&asked))
		broken("the library asked other than it counted");
}

const struct subject subject_revoke = {
	.name = "revoke",
	.open = revoke_open,
	.step = revoke_step,
	.work = revoke_work,
	.close = revoke_close,
};
