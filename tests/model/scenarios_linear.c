/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is played in a LINEAR space: writers of one entry, of two, and a
 * notifier that comes or goes while they write.  As scenarios.c.
 *
 * Two writers put guest pages 4 and 5 in the place of page 0.  Which of them
 * stays is for the schedule to say; page 0 is gone when the first of their
 * fences is done, and one of the two when both are.
 */
#include "scenarios.h"

#include <stddef.h>
#include <string.h>
#include <viommu/notifier.h>

#include "stage.h"

static struct taker *const t0 = &stage.taker[0], *const t1 = &stage.taker[1];

static unsigned puts_done;

/* What a notifier was told: guest page + 1, or 0. */
static struct picture {
	struct viommu_notifier *n;
	unsigned char page[PAGES];
} picture;

/* ---- the set ------------------------------------------------------------ */

static void set_linear(void)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .kind = VIOMMU_SPACE_LINEAR,
					 .last = IOVA(PAGES) - 1,
					 .page_sizes = PAGE };
	struct viommu_mapping m = { .last = IOVA(PAGES) - 1,
				    .prot = VIOMMU_READ | VIOMMU_WRITE };
	struct viommu_space *radix;
	struct viommu_fence f;

	stage_set();
	radix = stage.a;
	must(viommu_space_create(stage.vi, &c, &stage.a), "space");
	must(viommu_space_map(stage.a, &m), "map");
	viommu_fence_init(&f);
	must(viommu_endpoint_attach(stage.ep, stage.a, &f), "attach");
	viommu_space_destroy(radix, &f);
	viommu_fence_commit(&f, NULL, NULL);
	puts_done = 0;
	memset(&picture, 0, sizeof(picture));
}

/* ---- puts --------------------------------------------------------------- */

static unsigned page_at(unsigned i)
{
	uint64_t gpa;

	return viommu_space_translate(stage.a, IOVA(i), &gpa)
		       ? 0
		       : (unsigned)(gpa / PAGE) + 1;
}

static void put_done(void)
{
	unsigned there = page_at(0) - 1;

	if (there != PAGES && there != PAGES + 1)
		sched_fail("an entry is not what was put there last");
	if (!puts_done++)
		sched_object_dies(stage.page[0]);
	else
		sched_object_dies(
			stage.page[there == PAGES ? PAGES + 1 : PAGES]);
}

static void put(struct taker *t, unsigned page)
{
	struct viommu_mapping m = { .last = IOVA(1) - 1,
				    .gpa = IOVA(page),
				    .prot = VIOMMU_READ | VIOMMU_WRITE };

	take_init(t, 0);
	t->then = put_done;
	must(viommu_space_remap(stage.a, &m, &t->f), "remap");
	take_commit(t);
}

static void put_4(void)
{
	put(t0, PAGES);
}

static void put_5(void)
{
	put(t1, PAGES + 1);
}

static void take_0(void)
{
	take_page(t0, 0);
}

static void take_1(void)
{
	take_page(t1, 1);
}

/* L2: what begins after the commit does not see what was there. */
static void put_4_then_look(void)
{
	struct viommu_mapping m;

	put_4();
	must(viommu_dma_translate(stage.ep, IOVA(0), VIOMMU_READ, &m), "look");
	if (m.gpa != IOVA(PAGES))
		sched_fail("an access saw what was taken before it began");
}

/* ---- accesses ----------------------------------------------------------- */

/* The second goes by what the first has found. */
static void twice_0(void)
{
	access_store(0);
	access_load(0);
}

static void twice_01(void)
{
	access_store(0);
	access_load(1);
	access_store(0);
}

/* ---- a notifier --------------------------------------------------------- */

static int on_map(void *arg, const struct viommu_mapping *m, size_t n)
{
	struct picture *p = arg;

	for (size_t i = 0; i < n; i++) {
		unsigned char *page = &p->page[m[i].start / PAGE];

		if (*page || m[i].last != m[i].start + PAGE - 1)
			sched_fail("told of a page that it has");
		*page = (unsigned char)(m[i].gpa / PAGE + 1);
	}
	return 0;
}

static void on_unmap(void *arg, viommu_iova_t start, viommu_iova_t last,
		     struct viommu_fence *f)
{
	struct picture *p = arg;

	(void)f;
	for (unsigned i = 0; i < PAGES; i++)
		if (IOVA(i) >= start && IOVA(i) <= last)
			p->page[i] = 0;
}

static void watch(void)
{
	static const struct viommu_notifier_ops ops = { .size = sizeof(ops),
							.map = on_map,
							.unmap = on_unmap };

	must(viommu_notifier_add(stage.ep, &ops, &picture, &picture.n),
	     "notifier");
}

static void watch_no_more(void)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_notifier_remove(picture.n, &f);
	viommu_fence_commit(&f, NULL, NULL);
	picture.n = NULL;
}

static void set_watched(void)
{
	set_linear();
	watch();
}

/* In the end it has what is there; who left has nothing. */
static void check_picture(void)
{
	for (unsigned i = 0; i < PAGES; i++)
		if (picture.page[i] != (picture.n ? page_at(i) : 0))
			sched_fail("a notifier missed an entry");
	if (picture.n)
		watch_no_more();
	stage_check();
}

/* ---- the list ----------------------------------------------------------- */

#define WATCH_JOB(n, b, set) \
	.nthreads = (n), .bound = (b), .setup = (set), .check = check_picture

const struct scenario scenarios_linear[] = {
	{ "linear",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, set_linear), .warm = { twice_0, NULL },
	    .run = { twice_0, put_4_then_look } } },
	{ "linear-one",
	  FENCED | ASYMMETRIC | MANY,
	  { JOB(3, 2, set_linear), .warm = { sit, NULL, NULL },
	    .run = { twice_0, put_4, put_5 } } },
	{ "linear-two",
	  FENCED | MANY,
	  { JOB(3, 1, set_linear), .warm = { twice_01, NULL, NULL },
	    .run = { twice_01, take_0, take_1 } } },
	{ "linear-watch",
	  FENCED,
	  { WATCH_JOB(2, 3, set_linear), .warm = { sit, NULL },
	    .run = { watch, put_4 } } },
	{ "linear-watch-two",
	  FENCED,
	  { WATCH_JOB(3, 2, set_linear), .warm = { sit, NULL, NULL },
	    .run = { watch, take_0, take_1 } } },
	{ "linear-leave",
	  FENCED,
	  { WATCH_JOB(3, 2, set_watched), .warm = { sit, NULL, NULL },
	    .run = { watch_no_more, put_4, put_5 } } },
	{ NULL, 0, { 0 } },
};
