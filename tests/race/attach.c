/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attach: an endpoint goes to and fro between two spaces, each time to pages
 * that are newer.  An access sees those of the last commit before it began or
 * newer ones, all of one age, and is never refused.
 *
 * restart: the same, as fast as it goes, with fences whose done callback maps
 * and holds on, on whichever thread: on one that is about to start over, too.
 *
 * bursts: of several endpoints, nested, while pages are unmapped and the
 * endpoints go elsewhere.
 */
#include "race.h"

enum {
	NPAGES = 4,
	NTAKEN = 16,
	NLIVE = 64,
	NEPS = 4,
	BURSTS = 3, /* of other endpoints at once, for one thread */
};

static struct viommu_space *space[2];
static struct viommu_endpoint *eps[NEPS];
static void *pages[2][NPAGES];
static unsigned sees[NEPS]; /* which of the two */
static uint64_t age;
static _Atomic(uint64_t) committed;

static void spaces_open(unsigned neps)
{
	memset(pages, 0, sizeof(pages));
	for (int k = 0; k < 2; k++)
		space[k] = space_make(PAGE, VIOMMU_SPACE_REFUSE);
	for (unsigned i = 0; i < neps; i++) {
		sees[i] = i % 2;
		eps[i] = endpoint_make(i + 1, space[i % 2]);
	}
}

static void spaces_close(unsigned neps)
{
	for (unsigned i = 0; i < neps; i++)
		endpoint_drop(eps[i]);
	for (int k = 0; k < 2; k++) {
		space_drop(space[k]);
		for (int i = 0; i < NPAGES; i++)
			page_poison(pages[k][i]);
	}
}

static void page_put(unsigned k, unsigned i)
{
	pages[k][i] = page_fill(i, age);
	map_at(space[k], i * PAGE, pages[k][i], PAGE);
}

/* Nobody sees the space: what is poisoned there is nobody's. */
static void space_refill(unsigned k)
{
	struct viommu_fence f;

	age++;
	viommu_fence_init(&f);
	if (pages[k][0])
		unmap_at(space[k], 0, NPAGES * PAGE, &f);
	fence_commit(&f, NULL, NULL);
	fence_wait(&f);
	for (unsigned i = 0; i < NPAGES; i++)
		page_put(k, i);
}

/* ---- attach ----------------------------------------------------------- */

static void attach_open(void)
{
	age = 0;
	spaces_open(1);
	space_refill(0);
	atomic_store(&committed, age);
}

static struct spot newest(void)
{
	unsigned i = dice(NPAGES);

	return (struct spot){ .ep = eps[0],
			      .iova = i * PAGE,
			      .slot = i,
			      .committed = &committed };
}

static void attach_step(void)
{
	unsigned k = !sees[0];
	struct viommu_fence f;
	struct spot s;

	space_refill(k);
	viommu_fence_init(&f);
	attach(eps[0], space[k], &f);
	fence_commit(&f, NULL, NULL);
	atomic_store(&committed, age);
	s = newest();
	must_be_there(&s);
	fence_wait(&f);
	/* still mapped there, but that nobody sees */
	for (unsigned i = 0; i < NPAGES; i++) {
		page_poison(pages[!k][i]);
		pages[!k][i] = NULL;
	}
	viommu_fence_init(&f);
	unmap_at(space[!k], 0, NPAGES * PAGE, &f);
	fence_commit(&f, NULL, NULL);
	fence_wait(&f);
	sees[0] = k;
}

/* Where two pages meet: they are of one age. */
static void read_across(void)
{
	uint64_t least = atomic_load(&committed), n[2];
	uint64_t stamp[2 * STAMP_BYTES / 8];
	unsigned i = dice(NPAGES - 1);

	if (accessed(viommu_dma_read(eps[0], (i + 1) * PAGE - STAMP_BYTES,
				     stamp, sizeof(stamp))))
		broken("a read across an attachment was refused");
	n[0] = stamp_check(stamp[0], i, least);
	n[1] = stamp_check(stamp[STAMP_BYTES / 8], i + 1, least);
	if (n[0] != n[1])
		broken("a read saw a mix of two spaces");
}

static void attach_work(void)
{
	struct spot s = newest();

	if (!dice(4))
		read_across();
	else if (way_any(&s))
		broken("an access across an attachment was refused");
}

static void attach_close(void)
{
	spaces_close(1);
}

const struct subject subject_attach = {
	.name = "attach",
	.open = attach_open,
	.step = attach_step,
	.work = attach_work,
	.close = attach_close,
};

/* ---- restart ---------------------------------------------------------- */

/* eps[0] goes to and fro; what eps[1] sees is mapped by done callbacks. */
static struct away {
	struct viommu_fence f;
	_Atomic(uint64_t) since;
} aways[NTAKEN];
static struct taken takens[NTAKEN];
static _Atomic(struct held *) live[NLIVE];

static void restart_open(void)
{
	age = 0;
	spaces_open(2);
	for (unsigned i = 0; i < NPAGES; i++)
		for (unsigned k = 0; k < 2; k++)
			page_put(k, i);
}

static void hold_one(void)
{
	struct spot s = { .ep = eps[1], .slot = dice(NPAGES) };
	int rc;

	s.iova = s.slot * PAGE;
	held_drop(atomic_exchange(&live[dice(NLIVE)], hold(&s, 1, &rc)));
}

static void went(struct viommu_fence *f, void *arg)
{
	struct away *a = arg;

	if (!viommu_fence_done(f) || !atomic_load(&a->since))
		broken("a fence was done twice");
	hold_one();
	atomic_store(&a->since, 0);
}

/* To the other space and back: nobody knows the difference. */
static void go_away(void)
{
	struct away *a = &aways[dice(NTAKEN)];
	uint64_t since = atomic_load(&a->since);

	if (since && now() > since + patience)
		broken("a fence was forgotten");
	if (since)
		return;
	viommu_fence_init(&a->f);
	atomic_store(&a->since, now());
	sees[0] = !sees[0];
	attach(eps[0], space[sees[0]], &a->f);
	fence_commit(&a->f, went, a);
}

static void restart_step(void)
{
	struct taken *t = dice(4) ? NULL : taken_open(takens, NTAKEN);
	unsigned i = dice(NPAGES), k = sees[1];
	void *old = pages[k][i];

	if (!t) {
		go_away();
		return;
	}
	unmap_at(space[k], i * PAGE, PAGE, &t->f);
	taken_commit(t, old);
	page_put(k, i);
}

static void restart_work(void)
{
	struct spot s = { .ep = eps[0], .slot = dice(NPAGES) };
	int rc;

	s.iova = s.slot * PAGE;
	switch (dice(16)) {
	case 0:
		held_drop(atomic_exchange(&live[dice(NLIVE)], NULL));
		break;
	case 1:
		way_any(&s);
		break;
	default:
		held_drop(hold(&s, 1, &rc));
	}
}

static void restart_drain(void)
{
	for (unsigned i = 0; i < NLIVE; i++)
		held_drop(atomic_exchange(&live[i], NULL));
}

static void restart_close(void)
{
	restart_drain(); /* each may make done a fence that maps again */
	for (unsigned i = 0; i < NTAKEN; i++)
		if (atomic_load(&aways[i].since))
			broken("nobody is left, and a fence still pends");
	restart_drain();
	taken_all_done(takens, NTAKEN);
	spaces_close(2);
}

const struct subject subject_restart = {
	.name = "restart",
	.open = restart_open,
	.step = restart_step,
	.work = restart_work,
	.drain = restart_drain,
	.close = restart_close,
};

/* ---- bursts ----------------------------------------------------------- */

static void bursts_open(void)
{
	age = 0;
	spaces_open(NEPS);
	for (unsigned i = 0; i < NPAGES; i++)
		for (unsigned k = 0; k < 2; k++)
			page_put(k, i);
}

static void bursts_unmap(void)
{
	unsigned k = dice(2), i = dice(NPAGES), e = dice(NEPS);
	struct spot s = { .ep = eps[e], .iova = i * PAGE, .slot = i };
	struct viommu_fence f;

	viommu_fence_init(&f);
	unmap_at(space[k], s.iova, PAGE, &f);
	fence_commit(&f, NULL, NULL);
	if (sees[e] == k)
		must_be_gone(&s);
	else
		must_be_there(&s);
	fence_wait(&f);
	page_poison(pages[k][i]);
	page_put(k, i);
}

static void bursts_attach(void)
{
	unsigned e = dice(NEPS);
	struct viommu_fence f;

	viommu_fence_init(&f);
	sees[e] = !sees[e];
	attach(eps[e], space[sees[e]], &f);
	fence_commit(&f, NULL, NULL);
	fence_wait(&f);
}

static void bursts_step(void)
{
	if (dice(2))
		bursts_unmap();
	else
		bursts_attach();
}

static void burst(unsigned depth)
{
	unsigned e = dice(NEPS);
	struct spot s = { .ep = eps[e] };
	int rc = viommu_dma_enter(eps[e]);

	/* the same one again is no other */
	must(rc, "enter");
	me->did.bursts++;
	for (int i = dice(24); i >= 0; i--) {
		s.slot = dice(NPAGES);
		s.iova = s.slot * PAGE;
		s.ep = eps[dice(8) ? e : dice(NEPS)];
		if (dice(16))
			way_plain(&s);
		else if (depth < BURSTS && dice(2))
			burst(depth + 1);
		else if (depth < BURSTS)
			way_any(&s);
	}
	viommu_dma_exit(eps[e]);
}

static void bursts_work(void)
{
	burst(1);
}

static void bursts_close(void)
{
	spaces_close(NEPS);
}

const struct subject subject_bursts = {
	.name = "bursts",
	.open = bursts_open,
	.step = bursts_step,
	.work = bursts_work,
	.close = bursts_close,
};
