/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is played while memory moves.  As scenarios.c.
 *
 * The first bytes of guest page i, one leaf of the memory's table, move to the
 * first bytes of page PAGES + i, which is nobody's memory before.  What was
 * left, the old place or, if the move is off, the new one, dies when the
 * caller's fence is done.  Each word has one writer, who reads what he wrote;
 * in the end the last of it is where the table leads to.
 *
 * Nobody comes late unless the scenario says so: a move that is off because of
 * its deadline says that threads waited for each other.
 */
#include "scenarios.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <viommu/window.h>

#include "stage.h"

enum {
	CHUNK = 512, /* what a leaf is for that is larger than a byte */
	WORDS = 3,
	TIMEOUT = 10,
};

#define RW (VIOMMU_READ | VIOMMU_WRITE)

static struct taker *const t1 = &stage.taker[1], *const t2 = &stage.taker[2];
static struct holder *const h0 = &stage.holder[0], *const h1 = &stage.holder[1];

static struct mover {
	struct taker *t;
	unsigned page;
	bool told;
	int rc;
} mover[2];

static uint64_t wrote[WORDS]; /* the last value of each word's writer */
static unsigned nwords;	      /* that are mapped at the end */
static struct viommu_endpoint *reader; /* who sees them then */
static int may_be_off;		       /* why a move may be, here; or 0 */
static uint64_t timeout;
static struct viommu_memory *memory; /* whose pages move */

/* ---- the set ------------------------------------------------------------ */

static void give_up(viommu_gpa_t gpa, uint64_t len)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	must(viommu_memory_give_up(memory, gpa, len, &f), "give up");
	viommu_fence_commit(&f, NULL, NULL);
}

/* A region of its own, so that a move cuts nothing. */
static void chunk_add(unsigned page)
{
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = IOVA(page),
				   .len = CHUNK,
				   .host = stage.page[page],
				   .prot = RW,
				   .fd = -1 };

	must(viommu_memory_add(memory, &r), "add");
}

static void set_move(void)
{
	memset(stage.page, 0, sizeof(stage.page));
	memset(wrote, 0, sizeof(wrote));
	nwords = WORDS;
	may_be_off = 0;
	timeout = 0;
	for (unsigned i = 0; i < 2; i++)
		mover[i] = (struct mover){ .t = &stage.taker[i], .page = i };
	stage_set();
	memory = viommu_memory_of(stage.vi);
	reader = stage.ep;
	give_up(IOVA(PAGES), PAGES * PAGE);
	for (unsigned i = 0; i < 2; i++) {
		give_up(IOVA(i), CHUNK);
		chunk_add(i);
	}
}

static struct viommu_endpoint *attached(const struct viommu_endpoint_config *c)
{
	struct viommu_endpoint *ep;
	struct viommu_fence f;

	must(viommu_endpoint_create(stage.vi, c, &ep), "endpoint");
	viommu_fence_init(&f);
	must(viommu_endpoint_attach(ep, stage.a, &f), "attach");
	viommu_fence_commit(&f, NULL, NULL);
	return ep;
}

/* Word @j; the second is on page 1, or beside the first. */
static uint64_t iova_of(unsigned j)
{
	return j < 2 ? 8 * j : IOVA(1);
}

static void check(void)
{
	uint64_t val;

	for (unsigned j = 0; j < nwords; j++) {
		must(viommu_dma_load(reader, iova_of(j), 8, &val), "the end");
		if (val != wrote[j])
			sched_fail("what was written to word %u is lost", j);
	}
	stage_check();
}

/* ---- moving ------------------------------------------------------------- */

static void moved(void *arg, int rc)
{
	struct mover *m = arg;

	if (m->told)
		sched_fail("a move is told twice");
	if (rc && rc != may_be_off)
		sched_fail("a move is off: %s", strerror(-rc));
	m->told = true;
	m->rc = rc;
	m->t->pages = 1u << (rc ? PAGES + m->page : m->page);
	sched_set(&stage.word[m->page], 1);
}

static void move_gather(struct mover *m)
{
	struct viommu_move cfg = {
		.size = sizeof(cfg),
		.to = { .size = sizeof(cfg.to),
			.gpa = IOVA(m->page),
			.len = CHUNK,
			.host = stage.page[PAGES + m->page],
			.prot = RW,
			.fd = -1 },
		.moved = moved,
		.arg = m,
		.timeout_ns = timeout,
	};

	take_init(m->t, 0);
	must(viommu_memory_move(memory, &cfg, &m->t->f), "move");
}

static void move_0(void)
{
	move_gather(&mover[0]);
	take_commit(mover[0].t);
}

static void move_1(void)
{
	move_gather(&mover[1]);
	take_commit(mover[1].t);
}

/* ---- words -------------------------------------------------------------- */

static void word_is(unsigned j, uint64_t want)
{
	uint64_t val;

	must(viommu_dma_load(stage.ep, iova_of(j), 8, &val), "load");
	if (val != want)
		sched_fail("word %u is not what was written", j);
}

static void word_write(unsigned j, uint64_t val)
{
	must(viommu_dma_store(stage.ep, iova_of(j), 8, val), "store");
	wrote[j] = val;
}

/* What is remembered from here on may be written to. */
static void warm_words(void)
{
	sit();
	word_write(0, 1);
}

static void store_load(void)
{
	word_write(0, 2);
	word_is(0, 2);
}

static void store_1(void)
{
	word_write(1, 2);
}

/* Both add one. */
static void cas_add(void)
{
	uint64_t old = wrote[0], was;

	do {
		was = old;
		must(viommu_dma_cas(stage.ep, IOVA(0), 8, &old, was + 1),
		     "cas");
	} while (old != was);
	wrote[0]++;
}

static void load_twice(void)
{
	word_is(0, 1);
	word_is(0, 1);
}

/* The first piece stays, the second moves: it begins anew. */
static void write_01(void)
{
	uint64_t buf[2] = { 7, 8 };

	must(viommu_dma_write(stage.ep, IOVA(1) - 8, buf, sizeof(buf)),
	     "write");
	wrote[2] = 8;
}

static void memory_write(void)
{
	uint64_t val = 2;

	must(viommu_memory_write(memory, IOVA(0), &val, 8), "write");
	wrote[0] = 2;
}

static struct viommu_window window;

static void warm_window(void)
{
	sit();
	must(viommu_window_open(&window, stage.ep, IOVA(0), PAGE, RW),
	     "window");
	must(viommu_window_store(&window, 0, 8, 1), "store");
	wrote[0] = 1;
}

static void window_store(void)
{
	must(viommu_window_store(&window, 0, 8, 2), "store");
	wrote[0] = 2;
}

/* ---- bursts ------------------------------------------------------------- */

static void burst(void)
{
	must(viommu_dma_enter(stage.ep), "enter");
	word_is(0, 1);
	word_write(0, 2);
	word_write(0, 3);
	viommu_dma_exit(stage.ep);
}

/* Of another endpoint, too, which is in no space. */
static void set_two(void)
{
	struct viommu_endpoint_config c = { .size = sizeof(c), .id = 2 };

	set_move();
	nwords = 2;
	must(viommu_endpoint_create(stage.vi, &c, &stage.other), "endpoint");
}

static void warm_enter(void)
{
	warm_words();
	must(viommu_dma_enter(stage.other), "enter");
	must(viommu_dma_enter(stage.ep), "enter");
}

static void store_and_exit(void)
{
	word_write(0, 2);
	viommu_dma_exit(stage.ep);
	viommu_dma_exit(stage.other);
}

/* ---- maps --------------------------------------------------------------- */

/* 0, or why not: a move is waited for where that can be. */
static int hold_for(struct holder *h, uint32_t prot, viommu_revoke_fn *revoke)
{
	int rc;

	h->d = (struct viommu_dma){ .ep = stage.ep,
				    .iova = IOVA(0),
				    .len = 8,
				    .prot = prot,
				    .iov = h->iov,
				    .max_iov = 4,
				    .revoke = revoke,
				    .arg = h };
	h->asked = 0;
	h->gone = false;
	rc = viommu_dma_map(&h->d);
	if (!rc)
		sched_set(&h->held, 1);
	return rc;
}

/* By the pointer, as late as can be. */
static void put_and_let_go(struct holder *h, uint64_t val)
{
	use(h);
	*(uint64_t *)h->iov[0].iov_base = val;
	wrote[0] = val;
	let_go(h);
}

static void map_write(void)
{
	must(hold_for(h0, RW, NULL), "map");
	put_and_let_go(h0, 2);
}

static void map_read(void)
{
	must(hold_for(h0, VIOMMU_READ, NULL), "map");
	let_go(h0);
}

static void warm_hold(void)
{
	warm_words();
	must(hold_for(h0, RW, NULL), "map");
}

static void put_2(void)
{
	put_and_let_go(h0, 2);
}

static void warm_hold_read(void)
{
	warm_words();
	must(hold_for(h0, VIOMMU_READ, NULL), "map");
}

/* Not before somebody else has written to the new place. */
static void let_go_written(void)
{
	sched_await(&stage.word[2]);
	let_go(h0);
}

static void store_tell(void)
{
	word_write(1, 2);
	sched_set(&stage.word[2], 1);
}

/* It may be refused, since others of its endpoint's are waited for. */
static void map_or_not(struct holder *h)
{
	int rc = hold_for(h, RW, NULL);

	if (!rc)
		let_go(h);
	else if (rc != -EBUSY)
		sched_fail("map: %s", strerror(-rc));
}

/* Within the callback, and maps again: the same. */
static void let_go_within(struct viommu_dma *d)
{
	struct holder *h = d->arg;

	let_go(h);
	sched_object_lives(&h->d);
	map_or_not(h);
}

static void warm_revocable(void)
{
	warm_words();
	must(hold_for(h0, RW, let_go_within), "map");
}

static void warm_revocable_two(void)
{
	warm_revocable();
	must(hold_for(h1, RW, let_go_within), "map");
}

static void asked_tell(struct viommu_dma *d)
{
	asked(d);
	sched_set(&stage.word[0], 1);
}

/* Or until it has moved without that. */
static void map_until_asked(void)
{
	must(hold_for(h0, RW, asked_tell), "map");
	sched_await(&stage.word[0]);
	put_and_let_go(h0, 2);
}

static void warm_hold_move(void)
{
	warm_hold();
	move_0();
}

/* ---- what a burst does while it pauses ---------------------------------- */

static void load_2(void)
{
	access_load(2);
}

/* The burst of the first thread is in the way of a fence whose callback does
 * DMA again. */
static void pause_then(void (*then)(void))
{
	warm_hold_move();
	take_init(t1, 1u << 1);
	t1->then = then;
	if (viommu_space_unmap(stage.a, IOVA(1), IOVA(2) - 1, &t1->f) < 0)
		sched_fail("unmap failed");
	take_commit(t1);
}

static void warm_pause(void)
{
	pause_then(load_2);
}

static void take_2(void)
{
	take_page(t2, 2);
}

/* It waits for the same move, and must be in nobody's way meanwhile. */
static void warm_pause_write(void)
{
	pause_then(store_1);
}

static void map_and_exit(void)
{
	map_or_not(h1);
	viommu_dma_exit(stage.ep);
	viommu_dma_exit(stage.other);
}

/* ---- what is remembered from the time of the move ----------------------- */

/* Its fence is committed, and held: who reads now is in the way, too. */
static void load_1(void)
{
	word_is(1, 0);
}

/* It may be read, and not written. */
static void warm_load(void)
{
	sit();
	load_1();
}

static void store_1_load(void)
{
	word_write(1, 2);
	word_is(1, 2);
}

/* ---- two moves: who holds in one and maps in the other ------------------ */

static void set_cross(void)
{
	struct viommu_endpoint_config c = { .size = sizeof(c), .id = 2 };

	set_move();
	stage.other = attached(&c);
}

static int map_of(struct holder *h, struct viommu_endpoint *ep, unsigned page)
{
	h->d = (struct viommu_dma){ .ep = ep,
				    .iova = IOVA(page),
				    .len = 8,
				    .prot = RW,
				    .iov = h->iov,
				    .max_iov = 4 };
	return viommu_dma_map(&h->d);
}

static void warm_cross_0(void)
{
	sit();
	must(map_of(h0, stage.ep, 0), "map");
}

static void warm_cross_1(void)
{
	sit();
	must(map_of(h1, stage.other, 1), "map");
	move_0();
	move_1();
}

/* It may be refused, or there would be no end. */
static void cross(struct holder *h, struct viommu_endpoint *ep, unsigned page)
{
	struct holder more;
	int rc = map_of(&more, ep, page);

	if (!rc)
		viommu_dma_unmap(&more.d, 0);
	else if (rc != -EBUSY)
		sched_fail("map: %s", strerror(-rc));
	viommu_dma_unmap(&h->d, 0);
}

static void cross_0(void)
{
	cross(h0, stage.ep, 1);
}

static void cross_1(void)
{
	cross(h1, stage.other, 0);
}

/* ---- deadlines ---------------------------------------------------------- */

static enum viommu_verdict expire(void *arg, const struct viommu_expiry *e)
{
	(void)arg;
	(void)e;
	sched_touch(&stage.ep);
	return VIOMMU_GIVE_UP;
}

/* The endpoint that is given up takes the place of the other. */
static void set_late(void)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = 2,
					    .expire = expire };

	set_move();
	may_be_off = -ETIMEDOUT;
	timeout = TIMEOUT;
	stage.other = stage.ep;
	stage.ep = attached(&c);
}

/* It is over time, and nobody has looked. */
static void warm_late(void)
{
	warm_hold_move();
	sched_clock_set(20);
}

/* A map waits for maps, and looks at deadlines meanwhile. */
static void other_map(void)
{
	struct viommu_dma *d = &h1->d;

	*d = (struct viommu_dma){ .ep = stage.other,
				  .iova = iova_of(1),
				  .len = 8,
				  .prot = RW,
				  .iov = h1->iov,
				  .max_iov = 4 };
	must(viommu_dma_map(d), "map");
	use(h1);
	*(uint64_t *)h1->iov[0].iov_base = wrote[1] = 2;
	viommu_dma_unmap(d, 8);
}

static void poll(void)
{
	viommu_poll(stage.vi, 20);
}

/* ---- the memory is destroyed -------------------------------------------- */

/* One with pages of its own, and an endpoint that is gone but for its map. */
static void set_destroyed(void)
{
	struct viommu_endpoint_config c = { .size = sizeof(c), .id = 2 };

	set_move();
	may_be_off = -ECANCELED;
	must(viommu_memory_create(stage.vi, &memory), "memory");
	chunk_add(0);
	c.memory = memory;
	stage.other = stage.ep;
	stage.ep = attached(&c);
}

/* Then nothing is anybody's. */
static void all_die(void)
{
	sched_object_dies(stage.page[0]);
	sched_object_dies(stage.page[PAGES]);
}

static void warm_destroyed(void)
{
	must(hold_for(h0, RW, NULL), "map");
	move_0();
}

static void destroy_gather(void)
{
	struct viommu_endpoint *ep = stage.ep;

	stage.ep = NULL;
	take_init(t1, 0);
	t1->then = all_die;
	viommu_endpoint_destroy(ep, &t1->f);
	viommu_memory_destroy(memory, &t1->f);
}

static void destroy(void)
{
	destroy_gather();
	take_commit(t1);
}

/* Its tables are freed afterwards: that takes steps by the thousand. */
static void destroy_held(void)
{
	destroy_gather();
	viommu_fence_hold(&t1->f);
	take_commit(t1);
}

static void let_go_0(void)
{
	let_go(h0);
}

static void check_destroyed(void)
{
	if (!mover[0].told)
		sched_fail("a move was forgotten");
	stage_check();
}

static void check_held(void)
{
	viommu_fence_release(&t1->f);
	check_destroyed();
}

/* ---- beside other takers ------------------------------------------------ */

/* The unmapped page is the mover's, still. */
static void take_then_load(void)
{
	uint64_t val;

	take_init(t1, 0);
	if (viommu_space_unmap(stage.a, IOVA(0), IOVA(1) - 1, &t1->f) < 0)
		sched_fail("unmap failed");
	take_commit(t1);
	if (!viommu_dma_load(stage.ep, IOVA(0), 8, &val))
		sched_fail("an access got through after the commit");
}

static void store_both(void)
{
	word_write(0, 2);
	word_write(2, 2);
}

/* ---- the list ----------------------------------------------------------- */

#define PLAY(n, b, make, end) \
	.nthreads = (n), .bound = (b), .setup = (make), .check = (end)

const struct scenario scenarios_move[] = {
	{ "move-store",
	  FENCED | ASYMMETRIC | MANY,
	  { PLAY(2, 2, set_move, check), .warm = { warm_words, NULL },
	    .run = { store_load, move_0 } } },
	{ "move-remember",
	  FENCED | MANY,
	  { PLAY(2, 2, set_move, check), .warm = { warm_hold_move, warm_load },
	    .run = { put_2, store_1_load } } },
	{ "move-rest",
	  FENCED | ASYMMETRIC | MANY,
	  { PLAY(2, 2, set_move, check), .warm = { warm_hold_move, sit },
	    .run = { put_2, load_1 } } },
	{ "move-cas-two",
	  FENCED | MANY,
	  { PLAY(3, 1, set_move, check), .warm = { warm_words, sit, NULL },
	    .run = { cas_add, cas_add, move_0 } } },
	{ "move-write",
	  FENCED | MANY,
	  { PLAY(2, 2, set_move, check), .warm = { sit, NULL },
	    .run = { write_01, move_1 } } },
	{ "move-memory",
	  FENCED | MANY,
	  { PLAY(2, 2, set_move, check), .warm = { sit, NULL },
	    .run = { memory_write, move_0 } } },
	{ "move-window",
	  FENCED | MANY,
	  { PLAY(2, 1, set_move, check), .warm = { warm_window, NULL },
	    .run = { window_store, move_0 } } },
	{ "move-load",
	  FENCED | ASYMMETRIC | MANY,
	  { PLAY(2, 2, set_move, check), .warm = { warm_words, NULL },
	    .run = { load_twice, move_0 } } },
	{ "move-map",
	  FENCED | MANY,
	  { PLAY(2, 2, set_move, check), .warm = { sit, NULL },
	    .run = { map_write, move_0 } } },
	{ "move-map-read",
	  FENCED | MANY,
	  { PLAY(2, 1, set_move, check), .warm = { warm_words, NULL },
	    .run = { map_read, move_0 } } },
	{ "move-hold",
	  FENCED | ASYMMETRIC | MANY,
	  { PLAY(3, 1, set_move, check), .warm = { warm_hold, sit, NULL },
	    .run = { put_2, store_1, move_0 } } },
	{ "move-written",
	  FENCED | MANY,
	  { PLAY(3, 1, set_move, check), .warm = { warm_hold_read, sit, NULL },
	    .run = { let_go_written, store_tell, move_0 } } },
	{ "move-burst",
	  FENCED | MANY,
	  { PLAY(2, 2, set_move, check), .warm = { warm_words, NULL },
	    .run = { burst, move_0 } } },
	{ "move-pause",
	  FENCED | MANY,
	  { PLAY(3, 1, set_two, check),
	    .warm = { warm_enter, warm_pause, NULL },
	    .run = { store_and_exit, put_2, take_2 } } },
	{ "move-pause-write",
	  FENCED | MANY,
	  { PLAY(2, 1, set_two, check),
	    .warm = { warm_enter, warm_pause_write },
	    .run = { map_and_exit, put_2 } } },
	{ "move-revoke",
	  FENCED | MANY,
	  { PLAY(2, 2, set_move, check), .warm = { warm_revocable, NULL },
	    .run = { load_2, move_0 } } },
	{ "move-revoke-two",
	  FENCED | MANY,
	  { PLAY(2, 1, set_move, check), .warm = { warm_revocable_two, NULL },
	    .run = { load_2, move_0 } } },
	{ "move-asked",
	  FENCED | MANY,
	  { PLAY(2, 1, set_move, check), .warm = { sit, NULL },
	    .run = { map_until_asked, move_0 } } },
	{ "move-late",
	  FENCED | MANY,
	  { PLAY(3, 1, set_late, check), .warm = { warm_late, sit, NULL },
	    .run = { put_2, other_map, poll } } },
	{ "move-destroyed",
	  FENCED | MANY,
	  { PLAY(2, 1, set_destroyed, check_held),
	    .warm = { warm_destroyed, NULL },
	    .run = { let_go_0, destroy_held } } },
	{ "move-destroyed-end",
	  FENCED | MANY,
	  { PLAY(2, 0, set_destroyed, check_destroyed),
	    .warm = { warm_destroyed, NULL }, .run = { let_go_0, destroy } } },
	{ "move-unmap",
	  FENCED | MANY,
	  { PLAY(2, 1, set_move, stage_check), .warm = { sit, NULL },
	    .run = { take_then_load, move_0 } } },
	{ "move-cross",
	  FENCED | MANY,
	  { PLAY(2, 1, set_cross, check),
	    .warm = { warm_cross_0, warm_cross_1 },
	    .run = { cross_0, cross_1 } } },
	{ "move-two",
	  FENCED | MANY,
	  { PLAY(3, 1, set_move, check), .warm = { sit, NULL, NULL },
	    .run = { store_both, move_0, move_1 } } },
	{ NULL, 0, { 0 } },
};
