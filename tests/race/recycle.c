/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * recycle: pages are given up, one by one, out of the middle of regions, and
 * others come in their place, at once or when the fence is done; and now and
 * then a whole run of them goes, whatever regions it consists of by then.
 *
 * A page that was given up is poisoned the moment its fence is done, and stays
 * so until its run goes.  Numbers of stamps go up with each page that comes.
 */
#include "race.h"

#include <stdio.h>

enum {
	NRUNS = 4,
	RUN = 4, /* pages, which begin as one region */
	NPAGES = NRUNS * RUN,
	NTAKEN = 12,
};

#define BASE                                                            \
	UINT64_C(0x1000000000000) /* GPA: above all that is host memory \
				   */

static struct viommu_space *space;
static struct viommu_endpoint *ep;
static _Atomic(struct held *) parked[4];
static unsigned long given_up;

/* What is there now; of the run's block, or a page of its own. */
static char *blocks[NRUNS];
static void *pages[NPAGES];
static bool whole[NPAGES]; /* of its block */
static uint64_t number[NPAGES];
/* nothing older may be seen by an access that begins now */
static _Atomic(uint64_t) committed[NPAGES];

static struct given {
	struct viommu_fence f;
	void *page;
	bool of_block;
	_Atomic(uint64_t) since; /* 0: free */
} given[NTAKEN];

static struct spot spot_of(unsigned i)
{
	return (struct spot){ .ep = ep,
			      .iova = i * PAGE,
			      .slot = i,
			      .committed = &committed[i] };
}

static void region_add(unsigned i, unsigned n, void *host)
{
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = BASE + i * PAGE,
				   .len = n * PAGE,
				   .host = host,
				   .prot = RW,
				   .fd = -1 };

	must(viommu_memory_add(viommu_memory_of(vi), &r), "add");
}

static void give_up(unsigned i, unsigned n, struct viommu_fence *f)
{
	given_up++;
	must(viommu_memory_give_up(viommu_memory_of(vi), BASE + i * PAGE,
				   n * PAGE, f),
	     "give up");
}

/* ---- one page --------------------------------------------------------- */

static void page_done(struct viommu_fence *f, void *arg)
{
	struct given *g = arg;

	if (!viommu_fence_done(f) || !atomic_load(&g->since))
		broken("a fence was done twice");
	if (g->of_block)
		poison(g->page, PAGE);
	else
		page_poison(g->page);
	atomic_store(&g->since, 0);
}

static bool pends(const struct given *g)
{
	uint64_t since = atomic_load(&g->since);

	if (since && now() > since + patience)
		broken("a fence was forgotten");
	return since;
}

static void page_come(unsigned i)
{
	struct spot s = spot_of(i);

	pages[i] = page_fill(i, ++number[i]);
	whole[i] = false;
	region_add(i, 1, pages[i]);
	must_be_there(&s);
}

static void page_recycle(struct given *g, unsigned i)
{
	struct spot s = spot_of(i);
	bool wait = dice(2);

	viommu_fence_init(&g->f);
	g->page = pages[i];
	g->of_block = whole[i];
	give_up(i, 1, &g->f);
	atomic_store(&g->since, now());
	fence_commit(&g->f, page_done, g);
	atomic_store(&committed[i], number[i] + 1);
	must_be_gone(&s);
	while (wait && pends(g))
		sched_yield();
	page_come(i);
}

/* ---- a run ------------------------------------------------------------ */

static void run_come(unsigned r)
{
	blocks[r] = aligned_alloc(PAGE, RUN * PAGE);
	if (!blocks[r])
		must(-ENOMEM, "block");
	for (unsigned i = r * RUN; i < (r + 1) * RUN; i++) {
		void *page = page_fill(i, ++number[i]);

		pages[i] = blocks[r] + i % RUN * PAGE;
		memcpy(pages[i], page, PAGE);
		free(page);
		whole[i] = true;
	}
	region_add(r * RUN, RUN, blocks[r]);
}

/* All its fences are done by the time that a new one is. */
static void run_go(unsigned r)
{
	struct viommu_fence f;

	for (unsigned i = 0; i < NTAKEN; i++)
		while (pends(&given[i]))
			sched_yield();
	viommu_fence_init(&f);
	give_up(r * RUN, RUN, &f);
	fence_commit(&f, NULL, NULL);
	fence_wait(&f);
	for (unsigned i = r * RUN; i < (r + 1) * RUN; i++) {
		atomic_store(&committed[i], number[i] + 1);
		if (whole[i])
			continue;
		page_poison(pages[i]);
		must_be_poison(blocks[r] + i % RUN * PAGE, PAGE);
	}
	poison(blocks[r], RUN * PAGE);
	free(blocks[r]);
}

/* ---- the subject ------------------------------------------------------ */

static struct given *given_free(void)
{
	for (unsigned i = 0; i < NTAKEN; i++)
		if (!pends(&given[i]))
			return &given[i];
	return NULL;
}

static void recycle_open(void)
{
	space = space_make(PAGE, VIOMMU_SPACE_REFUSE);
	ep = endpoint_make(1, space);
	memset(number, 0, sizeof(number));
	given_up = 0;
	for (unsigned i = 0; i < NPAGES; i++) {
		atomic_store(&committed[i], 0);
		map_at(space, i * PAGE, (void *)(uintptr_t)(BASE + i * PAGE),
		       PAGE);
	}
	for (unsigned r = 0; r < NRUNS; r++)
		run_come(r);
}

static void recycle_step(void)
{
	struct given *g = given_free();
	unsigned r = dice(NRUNS);

	if (!g) {
		sched_yield();
	} else if (dice(8)) {
		page_recycle(g, dice(NPAGES));
	} else {
		run_go(r);
		run_come(r);
	}
}

static void recycle_work(void)
{
	struct spot s = spot_of(dice(NPAGES));
	_Atomic(struct held *) *at = &parked[dice(4)];
	int rc;

	switch (dice(16)) {
	case 0:
		held_drop(atomic_exchange(at, hold(&s, 1, &rc)));
		break;
	case 1:
		held_drop(atomic_exchange(at, NULL));
		break;
	default:
		way_any(&s);
	}
}

static void recycle_drain(void)
{
	for (unsigned i = 0; i < 4; i++)
		held_drop(atomic_exchange(&parked[i], NULL));
}

static void recycle_close(void)
{
	recycle_drain();
	for (unsigned r = 0; r < NRUNS; r++)
		run_go(r);
	endpoint_drop(ep);
	space_drop(space);
	fprintf(stderr, "recycle: %lu given up\n", given_up);
}

const struct subject subject_recycle = {
	.name = "recycle",
	.open = recycle_open,
	.step = recycle_step,
	.work = recycle_work,
	.drain = recycle_drain,
	.close = recycle_close,
};
