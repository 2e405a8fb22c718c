/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * move: pages of guest memory move, two at once, between RAM and devices, while
 * all threads use them in all ways.
 *
 * Each page has words that only one worker writes, by one way each, and counts
 * in: what he finds there is what he wrote last, wherever it has moved
 * meanwhile.  A word of all workers counts by cas.  What was left is poisoned
 * the moment that the move's fence is done; stamps are never written, so they
 * show it.  In the end all counters are what their writers say.
 */
#include "race.h"

#include <stdio.h>
#include <viommu/window.h>

enum {
	NPAGES = 6,
	NMOVES = 2,	 /* at once */
	STAMPS = 4,	 /* words */
	SHARED = STAMPS, /* that of all */
	LINES = 8,	 /* the workers', */
	LINE = 16,	 /* so many words each */
	BULK = 8,
	/* a map for reading may see a page on its way, some of it here and
	 * some there: what is looked at is in the first leaf */
	LEAVES = 8,
};

#define BASE                                                            \
	UINT64_C(0x1000000000000) /* GPA: above all that is host memory \
				   */

/* Words of a worker's line, one for each way. */
enum {
	STORE,
	CAS,
	MAP,
	WINDOW,
	MEMORY,
	COPY = 8,    /* BULK of them */
	CROSS = 504, /* the first worker's: the last eight of a page */
};

static struct viommu_space *space;
static struct viommu_endpoint *eps[MAX_WORKERS];
static unsigned long moves, devices;

/* What its writer wrote last. */
static uint64_t last[MAX_WORKERS][NPAGES][COPY + 1], crossed[NPAGES];
static _Atomic(uint64_t) shared[NPAGES];

static struct place {
	void *page;
	bool device;
} places[NPAGES];

static struct moving {
	struct viommu_fence f;
	void *left;
	_Atomic(uint64_t) since; /* 0: free */
} moving[NMOVES];

static uint64_t word_at(unsigned page, unsigned word)
{
	unsigned at = LINES + me->n * LINE + word;

	return page * PAGE + 8 * at;
}

/* ---- devices ---------------------------------------------------------- */

static int device_read(void *arg, uint64_t offset, void *buf, size_t len)
{
	memcpy(buf, (char *)arg + offset, len);
	return 0;
}

static int device_write(void *arg, uint64_t offset, const void *buf, size_t len)
{
	memcpy((char *)arg + offset, buf, len);
	return 0;
}

static int device_load(void *arg, uint64_t offset, unsigned size, uint64_t *val)
{
	if (size != 8)
		broken("a device is asked for a word that nobody asked for");
	*val = __atomic_load_n((uint64_t *)(void *)((char *)arg + offset),
			       __ATOMIC_ACQUIRE);
	return 0;
}

static int device_store(void *arg, uint64_t offset, unsigned size, uint64_t val)
{
	if (size != 8)
		broken("a device is given a word that nobody wrote");
	__atomic_store_n((uint64_t *)(void *)((char *)arg + offset), val,
			 __ATOMIC_RELEASE);
	return 0;
}

static const struct viommu_device_ops ops = { .size = sizeof(ops),
					      .read = device_read,
					      .write = device_write,
					      .load = device_load,
					      .store = device_store };

static struct viommu_region region_of(unsigned i, const struct place *p)
{
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = BASE + i * PAGE,
				   .len = PAGE,
				   .prot = RW,
				   .fd = -1 };

	if (p->device) {
		r.device = &ops;
		r.arg = p->page;
	} else {
		r.host = p->page;
	}
	return r;
}

/* ---- moving ----------------------------------------------------------- */

static bool pends(const struct moving *m)
{
	uint64_t since = atomic_load(&m->since);

	if (since && now() > since + patience)
		broken("a fence was forgotten");
	return since;
}

static void moved(void *arg, int rc)
{
	(void)arg;
	if (rc)
		broken("a move is off, and nobody can say why");
}

static void move_done(struct viommu_fence *f, void *arg)
{
	struct moving *m = arg;

	if (!viommu_fence_done(f) || !atomic_load(&m->since))
		broken("a fence was done twice");
	page_poison(m->left);
	atomic_store(&m->since, 0);
}

static void move(struct moving *m)
{
	unsigned i = dice(NPAGES);
	struct place to = { .page = page_fill(255, 0), .device = !dice(3) };
	struct viommu_move cfg = { .size = sizeof(cfg),
				   .to = region_of(i, &to),
				   .moved = moved };
	int rc;

	m->left = places[i].page;
	viommu_fence_init(&m->f);
	atomic_store(&m->since, now());
	rc = viommu_memory_move(viommu_memory_of(vi), &cfg, &m->f);
	if (rc == -EBUSY) { /* by the other one */
		atomic_store(&m->since, 0);
		free(to.page);
		return;
	}
	must(rc, "move");
	places[i] = to;
	moves++;
	devices += to.device;
	fence_commit(&m->f, move_done, m);
}

/* ---- ways ------------------------------------------------------------- */

/* How the access went; what a device cannot do is refused, and so is a map of
 * what is moving, if this endpoint holds one. */
static bool went(int rc, bool map)
{
	if (rc && !(map && (rc == -ENODEV || rc == -EBUSY)))
		broken("a refusal that nobody can explain");
	return !rc;
}

static void must_be(uint64_t val, uint64_t want)
{
	if (val == POISONED)
		broken("a read after the fence was done");
	if (val != want)
		broken(val < want ? "a write is lost"
				  : "a word is not its own");
}

static uint64_t *mine(unsigned page, unsigned word)
{
	return &last[me->n][page][word];
}

static uint64_t load(uint64_t iova)
{
	uint64_t val;

	me->did.accesses++;
	went(viommu_dma_load(eps[me->n], iova, 8, &val), false);
	return val;
}

static void way_stamps(unsigned page)
{
	uint64_t stamp[STAMPS];

	me->did.accesses++;
	went(viommu_dma_read(eps[me->n], page * PAGE, stamp, sizeof(stamp)),
	     false);
	for (int i = 0; i < STAMPS; i++)
		stamp_check(stamp[i], page, 0);
	stamp_check(load(page * PAGE), page, 0);
}

static void way_word(unsigned page)
{
	uint64_t at = word_at(page, STORE);

	me->did.accesses++;
	went(viommu_dma_store(eps[me->n], at, 8, ++*mine(page, STORE)), false);
	must_be(load(at), *mine(page, STORE));
}

static void way_swap(unsigned page)
{
	uint64_t *own = mine(page, CAS), old = *own;
	int rc = viommu_dma_cas(eps[me->n], word_at(page, CAS), 8, &old,
				*own + 1);

	me->did.accesses++;
	me->did.refused += rc != 0;
	if (!went(rc, true))
		return;
	must_be(old, *own);
	++*own;
}

static void way_count(unsigned page)
{
	uint64_t was, old = load(page * PAGE + 8 * SHARED);
	int rc;

	do {
		was = old;
		me->did.accesses++;
		rc = viommu_dma_cas(eps[me->n], page * PAGE + 8 * SHARED, 8,
				    &old, was + 1);
		me->did.refused += rc != 0;
	} while (!rc && old != was);
	if (went(rc, true))
		atomic_fetch_add(&shared[page], 1);
}

static void way_bulk(unsigned page)
{
	uint64_t buf[BULK], at = word_at(page, COPY);

	++*mine(page, COPY);
	for (int i = 0; i < BULK; i++)
		buf[i] = *mine(page, COPY);
	me->did.accesses += 2;
	went(viommu_dma_write(eps[me->n], at, buf, sizeof(buf)), false);
	memset(buf, 0, sizeof(buf));
	went(viommu_dma_read(eps[me->n], at, buf, sizeof(buf)), false);
	for (int i = 0; i < BULK; i++)
		must_be(buf[i], *mine(page, COPY));
}

/* The end of one page, and of the next what is not written: two pieces. */
static void way_cross(unsigned page)
{
	uint64_t buf[12], at = page * PAGE + 8 * CROSS;

	if (me->n || page == NPAGES - 1)
		return;
	me->did.accesses += 2;
	crossed[page]++;
	for (int i = 0; i < 8; i++)
		buf[i] = crossed[page];
	went(viommu_dma_write(eps[me->n], at, buf, 64), false);
	went(viommu_dma_read(eps[me->n], at, buf, sizeof(buf)), false);
	for (int i = 0; i < 8; i++)
		must_be(buf[i], crossed[page]);
	for (int i = 0; i < 4; i++)
		stamp_check(buf[8 + i], page + 1, 0);
}

static void way_memory(unsigned page)
{
	struct viommu_memory *mem = viommu_memory_of(vi);
	uint64_t val = ++*mine(page, MEMORY),
		 gpa = BASE + word_at(page, MEMORY);

	must(viommu_memory_write(mem, gpa, &val, 8), "memory write");
	val = 0;
	must(viommu_memory_read(mem, gpa, &val, 8), "memory read");
	must_be(val, *mine(page, MEMORY));
}

static void way_window(unsigned page)
{
	static __thread struct viommu_window w;
	static __thread const struct viommu_endpoint *of;
	uint64_t val = 0, at = word_at(page, WINDOW);

	if (of != eps[me->n]) {
		of = eps[me->n];
		must(viommu_window_open(&w, eps[me->n], 0, NPAGES * PAGE, RW),
		     "window");
	}
	me->did.accesses += 2;
	went(viommu_window_store(&w, at, 8, ++*mine(page, WINDOW)), false);
	went(viommu_window_load(&w, at, 8, &val), false);
	must_be(val, *mine(page, WINDOW));
}

/* ---- maps ------------------------------------------------------------- */

/* One that a worker keeps for a while.  Whoever takes it out of there lets go
 * of it: he, or who asks him. */
struct kept {
	struct viommu_dma d;
	struct iovec iov[LEAVES];
	unsigned page;
};
static _Atomic(struct kept *) kept[MAX_WORKERS];

static volatile uint64_t *kept_word(const struct kept *k, unsigned word)
{
	return (volatile uint64_t *)k->iov[0].iov_base + word;
}

static void kept_unmap(struct kept *k)
{
	for (int i = 0; i < STAMPS; i++)
		stamp_check(*kept_word(k, (unsigned)i), k->page, 0);
	me->did.unmaps++;
	viommu_dma_unmap(&k->d, k->d.prot & VIOMMU_WRITE ? PAGE : 0);
	poison(k, sizeof(*k));
	free(k);
}

/* The worker's own: he has counted in there. */
static void kept_drop(struct kept *k)
{
	unsigned at;

	if (!k)
		return;
	at = (unsigned)(word_at(0, MAP) / 8);
	if (k->d.prot & VIOMMU_WRITE) {
		must_be(*kept_word(k, at), *mine(k->page, MAP));
		*kept_word(k, at) = ++*mine(k->page, MAP);
	}
	kept_unmap(k);
}

static void asked(struct viommu_dma *d)
{
	struct kept *k = d->arg, *self = k;

	for (unsigned i = 0; i < nworkers; i++)
		if (atomic_compare_exchange_strong(&kept[i], &self, NULL)) {
			kept_unmap(k);
			return;
		} else {
			self = k;
		}
}

static struct kept *keep(unsigned page, uint32_t prot, bool revocable)
{
	struct kept *k = malloc(sizeof(*k));

	if (!k)
		must(-ENOMEM, "map");
	k->page = page;
	k->d = (struct viommu_dma){ .ep = eps[me->n],
				    .iova = page * PAGE,
				    .len = PAGE,
				    .prot = prot,
				    .iov = k->iov,
				    .max_iov = LEAVES,
				    .revoke = revocable ? asked : NULL,
				    .arg = k };
	if (!went(viommu_dma_map(&k->d), true)) {
		free(k);
		return NULL;
	}
	me->did.maps++;
	return k;
}

/* With none of his own that is kept: he would wait for himself, or others, who
 * wait for him. */
static void way_map(unsigned page)
{
	static const uint32_t prots[] = { RW, RW, VIOMMU_READ };
	bool revocable = dice(2);
	struct kept *k;

	kept_drop(atomic_exchange(&kept[me->n], NULL));
	k = keep(page, prots[dice(3)], revocable);
	if (!k)
		return;
	if (!revocable && dice(2))
		kept_drop(k);
	else
		atomic_store(&kept[me->n], k);
}

/* ---- workers ---------------------------------------------------------- */

static void way_short(unsigned page)
{
	static void (*const ways[])(unsigned) = {
		way_stamps, way_stamps, way_word,  way_word,   way_swap,
		way_count,  way_bulk,	way_cross, way_memory, way_window,
	};

	ways[dice(sizeof(ways) / sizeof(*ways))](page);
}

static void way_batch(unsigned page)
{
	must(viommu_dma_enter(eps[me->n]), "enter");
	me->did.bursts++;
	for (int i = dice(16); i >= 0; i--)
		way_short(dice(2) ? page : dice(NPAGES));
	viommu_dma_exit(eps[me->n]);
}

static void move_work(void)
{
	unsigned page = dice(NPAGES);

	switch (dice(16)) {
	case 0:
	case 1:
		way_map(page);
		break;
	case 2:
		kept_drop(atomic_exchange(&kept[me->n], NULL));
		break;
	case 3:
		way_batch(page);
		break;
	default:
		way_short(page);
	}
}

static void move_drain(void)
{
	kept_drop(atomic_exchange(&kept[me->n], NULL));
}

/* ---- the subject ------------------------------------------------------ */

static void move_open(void)
{
	memset(last, 0, sizeof(last));
	memset(crossed, 0, sizeof(crossed));
	moves = devices = 0;
	space = space_make(PAGE, VIOMMU_SPACE_REFUSE);
	for (unsigned i = 0; i < nworkers; i++)
		eps[i] = endpoint_make(i + 1, space);
	for (unsigned i = 0; i < NPAGES; i++) {
		uint64_t *page = page_fill(i, 0);
		struct viommu_region r;

		/* of stamps just the first ones */
		memset(page + STAMPS, 0, PAGE - STAMPS * sizeof(*page));
		atomic_store(&shared[i], 0);
		places[i] = (struct place){ .page = page };
		r = region_of(i, &places[i]);
		must(viommu_memory_add(viommu_memory_of(vi), &r), "add");
		map_at(space, i * PAGE, (void *)(uintptr_t)(BASE + i * PAGE),
		       PAGE);
	}
}

static void move_step(void)
{
	struct moving *m = &moving[dice(NMOVES)];

	if (pends(m))
		sched_yield();
	else
		move(m);
}

static void counters_check(unsigned i)
{
	const uint64_t *page = places[i].page;

	must_be(page[SHARED], atomic_load(&shared[i]));
	for (unsigned n = 0; n < nworkers; n++)
		for (unsigned j = 0; j <= COPY; j++)
			must_be(page[LINES + n * LINE + j], last[n][i][j]);
	must_be(page[CROSS], crossed[i]);
}

static void move_close(void)
{
	struct viommu_fence f;

	for (unsigned i = 0; i < NMOVES; i++)
		if (pends(&moving[i]))
			broken("nobody is left, and a fence still pends");
	viommu_fence_init(&f);
	must(viommu_memory_remove(viommu_memory_of(vi), BASE, NPAGES * PAGE,
				  &f),
	     "remove");
	fence_commit(&f, NULL, NULL);
	fence_wait(&f);
	for (unsigned i = 0; i < NPAGES; i++) {
		counters_check(i);
		page_poison(places[i].page);
	}
	for (unsigned i = 0; i < nworkers; i++)
		endpoint_drop(eps[i]);
	space_drop(space);
	fprintf(stderr, "move: %lu moves, %lu of them to devices\n", moves,
		devices);
}

const struct subject subject_move = {
	.name = "move",
	.open = move_open,
	.step = move_step,
	.work = move_work,
	.drain = move_drain,
	.close = move_close,
};
