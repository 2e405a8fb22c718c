/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is played.  Each part is a thread's; `warm` parts run before, one after
 * the other, and set the scene with no choice.  Threads sit down in the order
 * of their numbers, so that is the order in which takers look at their pins.
 */
#include "scenarios.h"

#include <stddef.h>
#include <viommu/window.h>

#include "core/instance.h"
#include "stage.h"
#include "steps.h"

static struct taker *const t0 = &stage.taker[0], *const t1 = &stage.taker[1];
static struct holder *const h0 = &stage.holder[0], *const h1 = &stage.holder[1];

static void take_0(void)
{
	take_page(t0, 0);
}

static void take_1(void)
{
	take_page(t1, 1);
}

static void store_0(void)
{
	access_store(0);
}

/* ---- access: beside an unmap -------------------------------------------- */

static void store_load(void)
{
	access_store(0);
	access_load(0);
}

/* Across two pages: the second is taken. */
static void copy_01(void)
{
	char buf[16] = { 0 };

	access_done(viommu_dma_write(stage.ep, IOVA(1) - 8, buf, sizeof(buf)));
}

/* L2: what begins after the commit does not get through. */
static void take_then_load(void)
{
	uint64_t val;

	take_page(t0, 0);
	if (!viommu_dma_load(stage.ep, IOVA(0), 8, &val))
		sched_fail("an access got through after the commit");
}

/* ---- map: dropped by another thread ------------------------------------- */

static void map_give(void)
{
	if (!hold(h0, 0, NULL))
		use(h0);
	sched_set(&stage.word[0], 1);
}

static void map_take_over(void)
{
	sched_await(&stage.word[0]);
	if (sched_get(&h0->held))
		let_go(h0);
}

static void map_unmap(void)
{
	if (!hold(h0, 0, NULL))
		let_go(h0);
}

/* ---- relook: held until asked ------------------------------------------- */

static void map_until_asked(void)
{
	if (hold(h0, 0, asked))
		return;
	sched_await(&h0->asked);
	let_go(h0);
}

/* ---- revoke: asked, and let go of elsewhere ----------------------------- */

static void warm_revocable(void)
{
	must(hold(h0, 0, asked), "hold");
}

static void let_go_0(void)
{
	let_go(h0);
}

static void let_go_1(void)
{
	let_go(h1);
}

/* What was taken already, a second time. */
static void take_0_again(void)
{
	take_page(t1, 0);
}

/* Within the callback, and maps again: something else. */
static void let_go_within(struct viommu_dma *d)
{
	struct holder *h = d->arg;

	let_go(h);
	sched_object_lives(&h->d);
	if (!hold(h, 2, asked))
		let_go(h);
}

static void warm_let_go_within(void)
{
	must(hold(h0, 0, let_go_within), "hold");
}

/* ---- restart: attached elsewhere, a callback that maps ------------------ */

static void then_map_b1(void)
{
	(void)hold(h1, 1, NULL);
	sched_set(&stage.word[1], 1);
}

static void restart_dma(void)
{
	if (!hold(h0, 0, NULL))
		let_go(h0);
	sched_await(&stage.word[1]);
	if (sched_get(&h1->held))
		let_go(h1);
}

static void restart_take(void)
{
	take_init(t0, 1u << 0 | 1u << 1);
	t0->then = then_map_b1;
	must(viommu_endpoint_attach(stage.ep, stage.b, &t0->f), "attach");
	take_commit(t0);
	take_init(t1, 1u << 5);
	if (viommu_space_unmap(stage.b, IOVA(1), IOVA(2) - 1, &t1->f) < 0)
		sched_fail("unmap failed");
	take_commit(t1);
}

/* ---- two: fences -------------------------------------------------------- */

static void warm_hold_01(void)
{
	sit();
	must(hold(h0, 0, NULL), "hold");
	must(hold(h1, 1, NULL), "hold");
}

static void let_go_both(void)
{
	let_go(h0);
	let_go(h1);
}

/* Two pins in the way of one fence. */
static void warm_hold_00(void)
{
	sit();
	must(hold(h0, 0, NULL), "hold");
	must(hold(h1, 0, NULL), "hold");
}

/* ---- wait --------------------------------------------------------------- */

static void take_wait(void)
{
	take_init(t0, 0);
	if (viommu_space_unmap(stage.a, IOVA(0), IOVA(1) - 1, &t0->f) < 0)
		sched_fail("unmap failed");
	viommu_fence_commit(&t0->f, NULL, NULL);
	must(viommu_fence_wait(&t0->f, -1), "wait");
	sched_object_dies(stage.page[0]);
	sched_object_dies(&t0->f);
}

/* ---- grace: a table that goes from one space to another ----------------- */

#define REGION UINT64_C(0x40000000)
#define TABLE  UINT64_C(0x200000) /* what a table of pages spans */

static void map_at(struct viommu_space *s, uint64_t iova, unsigned page)
{
	struct viommu_mapping m = { .start = iova,
				    .last = iova + PAGE - 1,
				    .gpa = IOVA(page),
				    .prot = VIOMMU_READ | VIOMMU_WRITE };

	must(viommu_space_map(s, &m), "map");
}

/* The first table of the region is a's, for one page; b has none there. */
static void set_grace(void)
{
	stage_set();
	map_at(stage.a, REGION + IOVA(3), 3);
	map_at(stage.a, REGION + TABLE, 2);
	map_at(stage.a, REGION + 2 * TABLE, 1);
	map_at(stage.b, REGION + TABLE, 6);
	/* nobody who sees a may touch b's */
	sched_object_dies(stage.page[4]);
}

/* Where a has nothing, in the table of that one page. */
static void look_beside(void)
{
	uint64_t val;

	if (!viommu_dma_load(stage.ep, REGION, 8, &val))
		sched_fail("an access got through where nothing was mapped");
}

static void unmap_at(uint64_t iova, struct viommu_fence *f)
{
	if (viommu_space_unmap(stage.a, iova, iova + PAGE - 1, f) < 0)
		sched_fail("unmap failed");
}

/* Its table is empty, and goes when there is another one to spare (radix.c); b
 * gets it, when it is free. */
static void take_recycle(void)
{
	take_init(t0, 1u << 3 | 1u << 1);
	unmap_at(REGION + IOVA(3), &t0->f);
	unmap_at(REGION + 2 * TABLE, &t0->f);
	take_commit(t0);
	map_at(stage.b, REGION, 4);
}

/* ---- exit: of a thread whose map is still held -------------------------- */

static void map_exit(void)
{
	(void)hold(h0, 0, NULL);
	steps_thread_exit(NULL);
	sched_set(&stage.word[0], 1);
}

/* The next one on the seat. */
static void sit_and_let_go(void)
{
	sched_await(&stage.word[0]);
	access_load(1);
	if (sched_get(&h0->held))
		let_go(h0);
}

/* ---- turns: a seat changes its way, and back ---------------------------- */

/* In core/pin.c, after so many publications a seat looks again. */
static void turn_next(bool asymmetric)
{
	struct vi_seat *seat = &stage.vi->seats[1];

	seat->until = 1;
	seat->commits = asymmetric ? atomic_load(&stage.vi->commits) : 0;
}

static void set_turns(void)
{
	stage_set();
	atomic_store(&stage.vi->commits, 100);
}

static void store_turning(void)
{
	turn_next(true);
	access_store(0);
	access_store(0);
	turn_next(false);
	access_store(0);
}

/* ---- memory ------------------------------------------------------------- */

static void memory_store(void)
{
	uint64_t val = 0;

	access_done(viommu_memory_write(viommu_memory_of(stage.vi), IOVA(0),
					&val, 8));
}

static void memory_take(void)
{
	take_init(t0, (1u << 2 * PAGES) - 1);
	must(viommu_memory_remove(viommu_memory_of(stage.vi), 0,
				  sizeof(stage.page), &t0->f),
	     "remove");
	take_commit(t0);
}

/* ---- burst -------------------------------------------------------------- */

static void burst(void)
{
	if (viommu_dma_enter(stage.ep))
		sched_fail("no burst");
	access_store(0);
	access_store(0);
	viommu_dma_exit(stage.ep);
}

static void take_attach(void)
{
	take_init(t0, 1u << 0);
	must(viommu_endpoint_attach(stage.ep, stage.b, &t0->f), "attach");
	take_commit(t0);
}

/* ---- L7: one step, never a hole ----------------------------------------- */

static void store_must(void)
{
	must(viommu_dma_store(stage.ep, IOVA(0), 8, 1), "an access");
}

static void copy_must(void)
{
	char buf[16] = { 0 };

	must(viommu_dma_write(stage.ep, IOVA(1) - 8, buf, sizeof(buf)), "copy");
}

static void map_must(void)
{
	must(hold(h0, 0, NULL), "map");
	let_go(h0);
}

static void take_remap(void)
{
	struct viommu_mapping m = { .start = IOVA(0),
				    .last = IOVA(1) - 1,
				    .gpa = IOVA(4),
				    .prot = VIOMMU_READ | VIOMMU_WRITE };

	take_init(t0, 1u << 0);
	must(viommu_space_remap(stage.a, &m, &t0->f), "remap");
	take_commit(t0);
}

/* ---- window ------------------------------------------------------------- */

static struct viommu_window window;

static void warm_window(void)
{
	uint64_t val;

	must(viommu_window_open(&window, stage.ep, IOVA(0), 2 * PAGE,
				VIOMMU_READ | VIOMMU_WRITE),
	     "window");
	must(viommu_window_load(&window, 0, 8, &val), "load");
}

static void window_store(void)
{
	access_done(viommu_window_store(&window, 0, 8, 1));
}

static void window_burst(void)
{
	if (viommu_dma_enter(stage.ep))
		sched_fail("no burst");
	window_store();
	window_store();
	viommu_dma_exit(stage.ep);
}

static void window_must(void)
{
	must(viommu_window_store(&window, 0, 8, 1), "an access");
}

/* ---- the list ----------------------------------------------------------- */

const struct scenario scenarios_dma[] = {
	{ "access",
	  FENCED | ASYMMETRIC | BARE,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { store_0, take_0 } } },
	{ "again",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { store_load, take_0 } } },
	{ "commit",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { sit, sit },
	    .run = { store_0, take_then_load } } },
	{ "copy",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { copy_01, take_1 } } },
	{ "first",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { NULL, NULL },
	    .run = { store_0, take_0 } } },
	{ "map",
	  FENCED | ASYMMETRIC | BARE,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { map_unmap, take_0 } } },
	{ "map-give",
	  FENCED | ASYMMETRIC | BARE,
	  { JOB(3, 2, stage_set), .warm = { sit, sit, NULL },
	    .run = { map_give, map_take_over, take_0 } } },
	{ "relook",
	  FENCED | ASYMMETRIC | BARE,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { map_until_asked, take_0 } } },
	{ "revoke",
	  FENCED | ASYMMETRIC | BARE,
	  { JOB(2, 3, stage_set), .warm = { warm_revocable, NULL },
	    .run = { let_go_0, take_0 } } },
	{ "revoke-two",
	  FENCED,
	  { JOB(3, 2, stage_set), .warm = { warm_revocable, NULL, NULL },
	    .run = { let_go_0, take_0, take_0_again } } },
	{ "revoke-within",
	  FENCED,
	  { JOB(2, 3, stage_set), .warm = { warm_let_go_within, NULL },
	    .run = { sit, take_0 } } },
	{ "restart",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 2, stage_set), .warm = { sit, sit },
	    .run = { restart_dma, restart_take } } },
	{ "two",
	  FENCED | ASYMMETRIC,
	  { JOB(3, 2, stage_set), .warm = { warm_hold_01, NULL, NULL },
	    .run = { let_go_both, take_0, take_1 } } },
	{ "two-pins",
	  FENCED | ASYMMETRIC | BARE,
	  { JOB(2, 3, stage_set), .warm = { warm_hold_00, NULL },
	    .run = { let_go_both, take_0 } } },
	{ "two-droppers",
	  FENCED | BARE,
	  { JOB(3, 2, stage_set), .warm = { warm_hold_00, sit, NULL },
	    .run = { let_go_0, let_go_1, take_0 } } },
	{ "wait",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { map_unmap, take_wait } } },
	{ "grace",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, set_grace), .warm = { sit, NULL },
	    .run = { look_beside, take_recycle } } },
	{ "exit",
	  FENCED | ASYMMETRIC,
	  { JOB(3, 2, stage_set), .warm = { sit, NULL, NULL },
	    .run = { map_exit, sit_and_let_go, take_0 } } },
	{ "turns",
	  AUTO,
	  { JOB(2, 3, set_turns), .warm = { sit, NULL },
	    .run = { store_turning, take_0 } } },
	{ "memory",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { memory_store, memory_take } } },
	{ "burst",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { burst, take_0 } } },
	{ "burst-attach",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { burst, take_attach } } },
	{ "attach",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { store_must, take_attach } } },
	{ "attach-map",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { map_must, take_attach } } },
	{ "remap",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { store_must, take_remap } } },
	{ "remap-copy",
	  FENCED,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { copy_must, take_remap } } },
	{ "remap-map",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { sit, NULL },
	    .run = { map_must, take_remap } } },
	{ "window",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { warm_window, NULL },
	    .run = { window_store, take_0 } } },
	{ "window-remap",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { warm_window, NULL },
	    .run = { window_must, take_remap } } },
	{ "window-attach",
	  FENCED,
	  { JOB(2, 3, stage_set), .warm = { warm_window, NULL },
	    .run = { window_must, take_attach } } },
	{ "window-burst",
	  FENCED | ASYMMETRIC,
	  { JOB(2, 3, stage_set), .warm = { warm_window, NULL },
	    .run = { window_burst, take_0 } } },
	{ NULL, 0, { 0 } },
};
