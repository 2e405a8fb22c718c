/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pages, tables, spaces, memory, auto: one endpoint, fences that are waited
 * for; what they took is poisoned, freed, unmapped from the process, or used by
 * somebody else.  Held maps wander: mapped by one thread, let go of by another.
 */
#include "race.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/instance.h"

enum {
	NPAGES = 8
};

static struct viommu_space *space;
static struct viommu_endpoint *ep;
static void *pages[NPAGES];
static _Atomic(struct held *) parked;

static struct spot spot_of(unsigned i)
{
	return (struct spot){ .ep = ep, .iova = i * PAGE, .slot = i };
}

static void any_work(void)
{
	struct spot s = spot_of(dice(NPAGES));
	int rc;

	switch (dice(16)) {
	case 0:
		held_drop(atomic_exchange(&parked, hold(&s, 1, &rc)));
		break;
	case 1:
		held_drop(atomic_exchange(&parked, NULL));
		break;
	default:
		way_any(&s);
	}
}

static void any_drain(void)
{
	held_drop(atomic_exchange(&parked, NULL));
}

static void world_open(void)
{
	space = space_make(PAGE, VIOMMU_SPACE_REFUSE);
	ep = endpoint_make(1, space);
	memset(pages, 0, sizeof(pages));
}

static void world_close(void)
{
	endpoint_drop(ep);
	space_drop(space);
}

/* ---- pages ------------------------------------------------------------ */

static void page_replace(unsigned i, void *page)
{
	struct spot s = spot_of(i);
	struct viommu_fence f;

	viommu_fence_init(&f);
	unmap_at(space, s.iova, PAGE, &f);
	fence_commit(&f, NULL, NULL);
	must_be_gone(&s);
	fence_wait(&f);
	page_poison(pages[i]);
	pages[i] = page;
	if (!page)
		return;
	map_at(space, s.iova, page, PAGE);
	must_be_there(&s);
}

static void pages_step(void)
{
	unsigned i = dice(NPAGES);

	page_replace(i, page_fill(i, 0));
}

static void pages_close(void)
{
	for (unsigned i = 0; i < NPAGES; i++)
		page_replace(i, NULL);
	world_close();
}

const struct subject subject_pages = {
	.name = "pages",
	.open = world_open,
	.step = pages_step,
	.work = any_work,
	.drain = any_drain,
	.close = pages_close,
};

/* ---- auto ------------------------------------------------------------- */

enum {
	COMMITS = 64, /* at one go; then pauses that seats find quiet */
	QUIET = 4096, /* accesses by one worker */
};

static unsigned commits, was_asymmetric;
static unsigned long changes;

static void auto_config(struct viommu_config *c)
{
	c->barrier = VIOMMU_BARRIER_AUTO;
}

static void auto_open(void)
{
	commits = was_asymmetric = 0;
	changes = 0;
	world_open();
}

/* How many seats changed their mind since the last time. */
static void seats_watch(void)
{
	unsigned is = 0;

	for (unsigned i = 0; i < atomic_load(&vi->seats_used); i++)
		is |= (unsigned)atomic_load(&vi->seats[i].asymmetric) << i;
	changes += (unsigned)__builtin_popcount(is ^ was_asymmetric);
	was_asymmetric = is;
}

static void auto_step(void)
{
	static unsigned long pause;

	if (pause) {
		pause--;
		sched_yield();
	} else {
		pages_step();
		if (!(++commits % COMMITS))
			pause = dice(QUIET);
	}
	seats_watch();
}

static void auto_close(void)
{
	pages_close();
	/* on a machine that is busy enough there may be no quiet */
	fprintf(stderr, "auto: seats changed %lu times\n", changes);
}

const struct subject subject_auto = {
	.name = "auto",
	.config = auto_config,
	.open = auto_open,
	.step = auto_step,
	.work = any_work,
	.drain = any_drain,
	.close = auto_close,
	.own_barrier = true,
};

/* ---- tables ----------------------------------------------------------- */

enum {
	MINE,
	OTHERS,
	STAYS = 4, /* a region whose page does */
};
#define REGION (UINT64_C(2) << 20) /* what a table of pages spans */

static struct viommu_space *other;
static unsigned turn;

static void tables_work(void)
{
	struct spot s = { .ep = ep,
			  .iova = dice(STAYS + 1) * REGION,
			  .slot = MINE };

	way_load(&s);
}

static void tables_open(void)
{
	world_open();
	other = space_make(PAGE, VIOMMU_SPACE_REFUSE);
	pages[MINE] = page_fill(MINE, 0);
	pages[OTHERS] = page_fill(OTHERS, 0);
	map_at(space, STAYS * REGION, pages[MINE], PAGE);
	turn = 0;
}

static void unmap_now(struct viommu_space *s, uint64_t iova)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	unmap_at(s, iova, PAGE, &f);
	fence_commit(&f, NULL, NULL);
	fence_wait(&f);
}

/* A page comes and goes in each region in turn: each time the table that was
 * left empty before retires, and enters the other space, same slot. */
static void tables_step(void)
{
	uint64_t at = turn++ % STAYS * REGION;

	map_at(space, at, pages[MINE], PAGE);
	map_at(other, at, pages[OTHERS], PAGE);
	unmap_now(space, at);
	map_at(other, at + (STAYS + 1) * REGION, pages[OTHERS], PAGE);
	unmap_now(other, at);
	unmap_now(other, at + (STAYS + 1) * REGION);
}

static void tables_close(void)
{
	space_drop(other);
	world_close();
	page_poison(pages[MINE]);
	page_poison(pages[OTHERS]);
}

const struct subject subject_tables = {
	.name = "tables",
	.open = tables_open,
	.step = tables_step,
	.work = tables_work,
	.close = tables_close,
};

/* ---- spaces ----------------------------------------------------------- */

static struct viommu_space *space_filled(void *page)
{
	struct viommu_space *s = space_make(PAGE, VIOMMU_SPACE_REFUSE);

	/* the same in each slot: it needs but one stamp */
	for (unsigned i = 0; i < NPAGES; i++)
		map_at(s, i * PAGE, page, PAGE);
	return s;
}

static void spaces_work(void)
{
	struct spot s = { .ep = ep, .iova = dice(NPAGES) * PAGE };
	int rc;

	if (dice(16))
		way_any(&s);
	else
		held_drop(atomic_exchange(&parked, hold(&s, 1, &rc)));
}

static void spaces_step(void)
{
	void *page = page_fill(0, 0);
	struct viommu_space *next = space_filled(page);
	struct spot s = spot_of(0);
	struct viommu_fence f;

	viommu_fence_init(&f);
	if (dice(4)) {
		attach(ep, next, &f);
		viommu_space_destroy(space, &f);
		fence_commit(&f, NULL, NULL);
		must_be_there(&s);
	} else {
		viommu_space_destroy(space, &f);
		fence_commit(&f, NULL, NULL);
		must_be_gone(&s);
		struct viommu_fence none;

		viommu_fence_init(&none);
		attach(ep, next, &none);
	}
	fence_wait(&f);
	page_poison(pages[0]);
	pages[0] = page;
	space = next;
}

static void spaces_close(void)
{
	world_close();
	page_poison(pages[0]);
}

const struct subject subject_spaces = {
	.name = "spaces",
	.open = world_open,
	.step = spaces_step,
	.work = spaces_work,
	.drain = any_drain,
	.close = spaces_close,
};

/* ---- memory ----------------------------------------------------------- */

static struct viommu_region file;

static void memory_open(void)
{
	int fd = memfd_create("race", MFD_CLOEXEC);

	world_open();
	file = (struct viommu_region){ .size = sizeof(file),
				       .gpa = UINT64_C(1) << 48,
				       .len = NPAGES * PAGE,
				       .prot = RW,
				       .fd = fd };
	if (fd < 0 || ftruncate(fd, NPAGES * PAGE))
		must(-errno, "memfd");
	for (unsigned i = 0; i < NPAGES; i++) {
		void *page = page_fill(i, 0);

		if (pwrite(fd, page, PAGE, i * PAGE) != PAGE)
			must(-EIO, "memfd");
		free(page);
		map_at(space, i * PAGE,
		       (void *)(uintptr_t)(file.gpa + i * PAGE), PAGE);
	}
}

static void memory_step(void)
{
	struct viommu_memory *memory = viommu_memory_of(vi);
	struct spot s = spot_of(dice(NPAGES));
	struct viommu_fence f;

	must(viommu_memory_add(memory, &file), "add");
	for (int i = 0; i < 64; i++)
		must_be_there(&s);
	viommu_fence_init(&f);
	must(viommu_memory_remove(memory, file.gpa, file.len, &f), "remove");
	fence_commit(&f, NULL, NULL);
	must_be_gone(&s);
	fence_wait(&f); /* unmapped from here: a touch is a SIGSEGV */
}

static void memory_close(void)
{
	world_close();
	close(file.fd);
}

const struct subject subject_memory = {
	.name = "memory",
	.open = memory_open,
	.step = memory_step,
	.work = any_work,
	.drain = any_drain,
	.close = memory_close,
};
