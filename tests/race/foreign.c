/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * foreign: guests map each other's pages in batches, their devices use them,
 * owners give pages up and have others in their place at once, and guests are
 * destroyed amid all that, as mappers and as owners.
 *
 * A page is poisoned when the fence of its owner is done.  Each worker has dfns
 * of its own in every mapper, so that it knows what an access there may see:
 * what it mapped last, or nothing.  A flush waits for a map that is held there,
 * and when it is over nothing is seen.  Now and then all is calm, and whatever
 * an owner waits for has to go without anybody's flush.  In the end there is no
 * reference, no mapping and no fence left.
 */
#include "race.h"

#include <stdio.h>
#include <viommu/guest/xen.h>

enum {
	NDOMS = 3,
	NPAGES = 12,
	NTAKEN = 24,
	NCELLS = 24, /* dfns of a worker, in each mapper */
	NHELD = 3,
	NPENDING = 4,
	NOPS = 6,
	/* what is in a cell; else it is a slot */
	GONE = 255,  /* flushed, or never mapped */
	LOOSE = 254, /* unmapped, not flushed */
};

struct dom {
	struct viommu_memory *mem;
	struct viommu_xen_guest *g;
	struct viommu_endpoint *ep;
	pthread_rwlock_t lock; /* of ep, against its destruction */
	void *pages[NPAGES];
	uint64_t filled[NPAGES];
	struct viommu_fence f, ep_f;
	_Atomic(uint64_t) since; /* its destruction; 0: it lives */
	_Atomic(bool) gone;
};

struct pending {
	struct viommu_xen_batch b;
	struct viommu_xen_op ops[NOPS + 1];
	unsigned mapper;
	uint32_t loose; /* cells that are gone when it is done */
	_Atomic(bool) done;
	bool used;
};

/* What only the worker knows. */
struct hand {
	uint8_t cells[NDOMS][NCELLS];
	struct held *held[NHELD];
	struct pending pending[NPENDING];
};

static struct viommu_xen *x;
static struct dom doms[NDOMS];
static struct taken takens[NTAKEN];
static struct hand hands[MAX_WORKERS];
static _Atomic(bool) calm;
static _Atomic(uint64_t) destroyed, batches, flushed;
static _Atomic(uint64_t) device_maps;

static bool may(void *arg, enum viommu_xen_privilege what, uint32_t mapper,
		uint32_t owner)
{
	(void)arg;
	(void)what;
	(void)mapper;
	(void)owner;
	return true;
}

static unsigned slot_of(unsigned d, unsigned gfn)
{
	return d * NPAGES + gfn;
}

static uint64_t dfn_of(unsigned cell)
{
	return (me->n + 1) * 64 + cell;
}

/* ---- guests ------------------------------------------------------------ */

static void page_put(struct dom *d, unsigned i)
{
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = i * PAGE,
				   .len = PAGE,
				   .prot = RW,
				   .fd = -1 };

	d->pages[i] =
		page_fill(slot_of((unsigned)(d - doms), i), ++d->filled[i]);
	r.host = d->pages[i];
	must(viommu_memory_add(d->mem, &r), "page");
}

static void dom_make(struct dom *d)
{
	struct viommu_xen_guest_config c = { .size = sizeof(c),
					     .domid = (uint32_t)(d - doms) };
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = (uint32_t)(d - doms) + 1,
					     .pasid = VIOMMU_NO_PASID };
	struct viommu_fence f;

	must(viommu_memory_create(vi, &d->mem), "memory");
	c.memory = d->mem;
	must(viommu_xen_guest_create(x, &c, &d->g), "guest");
	for (unsigned i = 0; i < NPAGES; i++)
		page_put(d, i);
	ec.memory = viommu_xen_guest_view(d->g);
	must(viommu_endpoint_create(vi, &ec, &d->ep), "endpoint");
	viommu_fence_init(&f);
	must(viommu_xen_guest_attach(d->g, d->ep, &f), "attach");
}

/* No reference is left on its pages. */
static void dom_gone(struct viommu_fence *f, void *arg)
{
	struct dom *d = arg;

	(void)f;
	for (unsigned i = 0; i < NPAGES; i++)
		page_poison(d->pages[i]);
	atomic_store(&d->gone, true);
}

static void dom_destroy(struct dom *d)
{
	atomic_fetch_add(&destroyed, 1);
	atomic_store(&d->since, now());
	pthread_rwlock_wrlock(&d->lock);
	viommu_fence_init(&d->ep_f);
	viommu_endpoint_destroy(d->ep, &d->ep_f);
	d->ep = NULL;
	pthread_rwlock_unlock(&d->lock);
	fence_commit(&d->ep_f, NULL, NULL);
	viommu_fence_init(&d->f);
	viommu_xen_guest_destroy(d->g, &d->f);
	fence_commit(&d->f, dom_gone, d);
}

static bool dom_is_gone(struct dom *d)
{
	if (atomic_load(&d->gone) && viommu_fence_done(&d->ep_f))
		return true;
	if (now() > atomic_load(&d->since) + patience)
		broken("a guest was not gone in time");
	return false;
}

static void dom_clear(struct dom *d)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_memory_destroy(d->mem, &f);
	fence_commit(&f, NULL, NULL);
	fence_wait(&f);
	atomic_store(&d->gone, false);
}

static void dom_again(struct dom *d)
{
	dom_clear(d);
	pthread_rwlock_wrlock(&d->lock);
	dom_make(d);
	pthread_rwlock_unlock(&d->lock);
	atomic_store(&d->since, 0);
}

/* ---- control ------------------------------------------------------------ */

static void page_give_up(struct dom *d, struct taken *t)
{
	unsigned i = dice(NPAGES);
	void *old = d->pages[i];

	must(viommu_memory_give_up(d->mem, i * PAGE, PAGE, &t->f), "give up");
	me->did.unmapped++;
	if (dice(2))
		page_put(d, i);
	dwell(2000);
	taken_commit(t, old);
	if (d->pages[i] == old)
		page_put(d, i);
}

static bool all_done(void)
{
	bool pends = false;

	for (unsigned i = 0; i < NTAKEN; i++)
		pends |= taken_pends(&takens[i]);
	for (unsigned i = 0; i < NDOMS; i++)
		pends |= atomic_load(&doms[i].since) && !dom_is_gone(&doms[i]);
	return !pends;
}

static void foreign_step(void)
{
	struct dom *d = &doms[dice(NDOMS)];
	struct taken *t;

	if (atomic_load(&d->since)) {
		if (dom_is_gone(d))
			dom_again(d);
		else
			sched_yield();
		return;
	}
	t = taken_open(takens, NTAKEN);
	if (t)
		page_give_up(d, t);
	else
		sched_yield();
	if (!dice(64))
		dom_destroy(d);
	if (dice(16))
		return;
	atomic_store(&calm, true);
	while (!all_done())
		sched_yield();
	atomic_store(&calm, false);
}

/* ---- workers: batches --------------------------------------------------- */

static struct hand *mine(void)
{
	return &hands[me->n];
}

/* A flush that is under way says nothing about it any more. */
static void cell_set(unsigned m, unsigned cell, uint8_t what)
{
	struct hand *h = mine();

	h->cells[m][cell] = what;
	for (unsigned i = 0; i < NPENDING; i++)
		if (h->pending[i].used && h->pending[i].mapper == m)
			h->pending[i].loose &= ~(1u << cell);
}

static void op_over(unsigned m, const struct viommu_xen_op *op)
{
	unsigned cell = (unsigned)(op->dfn - dfn_of(0));

	switch (op->status) {
	case 0:
		break;
	case -EADDRINUSE:
	case -ENOENT:
	case -ESRCH:
	case -EBUSY:
		return;
	default:
		fprintf(stderr, "operation %d: %d\n", op->kind, op->status);
		broken("a status that nobody can explain");
	}
	for (unsigned i = 0; i < op->count; i++)
		cell_set(m, cell + i,
			 op->kind == VIOMMU_XEN_MAP
				 ? (uint8_t)slot_of(op->owner,
						    (unsigned)op->gfn + i)
				 : LOOSE);
}

static struct viommu_xen_op op_make(void)
{
	struct viommu_xen_op op = { .kind = dice(2) ? VIOMMU_XEN_MAP
						    : VIOMMU_XEN_UNMAP,
				    .page_shift = 12,
				    .count = 1 + dice(4) };

	op.dfn = dfn_of(dice(NCELLS - 4));
	if (op.kind == VIOMMU_XEN_UNMAP)
		return op;
	op.flags = RW;
	op.owner = (uint16_t)dice(NDOMS);
	op.gfn = dice(NPAGES - 4);
	return op;
}

static void batch_done(struct viommu_xen_batch *b)
{
	struct pending *p = b->arg;

	if (p->ops[b->index - 1].status)
		broken("a flush failed, and nobody was given up");
	atomic_fetch_add(&flushed, 1);
	atomic_store(&p->done, true);
}

static struct pending *pending_free(void)
{
	for (unsigned i = 0; i < NPENDING; i++)
		if (!mine()->pending[i].used)
			return &mine()->pending[i];
	return NULL;
}

static void flushed_cells(struct pending *p)
{
	for (unsigned i = 0; i < NCELLS; i++)
		if (p->loose >> i & 1)
			mine()->cells[p->mapper][i] = GONE;
	p->used = false;
}

/* @p->ops are set; the last may be a flush. */
static int batch_run(struct pending *p, unsigned m, unsigned n)
{
	bool flush = p->ops[n - 1].kind == VIOMMU_XEN_FLUSH;
	int rc;

	p->b = (struct viommu_xen_batch){
		.mapper = m, .ops = p->ops, .n = n, .done = batch_done, .arg = p
	};
	p->mapper = m;
	p->loose = 0;
	atomic_store(&p->done, false);
	do
		rc = viommu_xen_run(x, &p->b);
	while (rc == -EAGAIN);
	atomic_fetch_add(&batches, 1);
	if (rc == -ESRCH)
		return rc;
	for (unsigned i = 0; i < n - flush; i++)
		op_over(m, &p->ops[i]);
	if (!flush)
		return rc;
	for (unsigned i = 0; i < NCELLS; i++)
		if (mine()->cells[m][i] == LOOSE)
			p->loose |= 1u << i;
	p->used = true;
	if (!rc && p->ops[n - 1].status)
		broken("a flush failed, and nobody was given up");
	if (!rc)
		flushed_cells(p);
	return rc;
}

static void batch(unsigned m)
{
	struct pending *p = pending_free();
	unsigned n = 1 + dice(NOPS);

	if (!p)
		return;
	for (unsigned i = 0; i < n; i++)
		p->ops[i] = op_make();
	if (!dice(3))
		p->ops[n++] =
			(struct viommu_xen_op){ .kind = VIOMMU_XEN_FLUSH };
	(void)batch_run(p, m, n);
}

static void pending_look(void)
{
	for (unsigned i = 0; i < NPENDING; i++) {
		struct pending *p = &mine()->pending[i];

		if (p->used && atomic_load(&p->done))
			flushed_cells(p);
	}
}

/* ---- workers: devices --------------------------------------------------- */

/* The cell's owner may be another by now, or nobody: then nothing is seen. */
static bool spot_at(unsigned m, unsigned cell, struct spot *s)
{
	struct dom *d = &doms[m];

	if (pthread_rwlock_tryrdlock(&d->lock))
		return false;
	if (!d->ep) {
		pthread_rwlock_unlock(&d->lock);
		return false;
	}
	*s = (struct spot){ .ep = d->ep,
			    .iova = dfn_of(cell) * PAGE,
			    .slot = mine()->cells[m][cell] };
	return true;
}

static void use(unsigned m, unsigned cell)
{
	uint8_t what = mine()->cells[m][cell];
	struct spot s;

	if (what == LOOSE || !spot_at(m, cell, &s))
		return;
	if (what == GONE)
		must_be_gone(&s);
	else
		way_any(&s);
	pthread_rwlock_unlock(&doms[m].lock);
}

static struct held *cell_hold(unsigned m, unsigned cell)
{
	uint8_t what = mine()->cells[m][cell];
	struct held *h;
	struct spot s;
	int rc;

	if (what == LOOSE || what == GONE || !spot_at(m, cell, &s))
		return NULL;
	h = hold(&s, 1, &rc);
	pthread_rwlock_unlock(&doms[m].lock);
	return h;
}

/* Unmap what this thread's device holds, and flush: that has to wait. */
static void flush_against(unsigned m, unsigned cell)
{
	struct pending *p = pending_free();
	struct held *h;

	if (!p)
		return;
	h = cell_hold(m, cell);
	if (!h)
		return;
	p->ops[0] = (struct viommu_xen_op){ .kind = VIOMMU_XEN_UNMAP,
					    .page_shift = 12,
					    .dfn = dfn_of(cell),
					    .count = 1 };
	p->ops[1] = (struct viommu_xen_op){ .kind = VIOMMU_XEN_FLUSH };
	if (!batch_run(p, m, 2) && !p->ops[0].status)
		broken("a flush did not wait for a device");
	held_drop(h);
}

static void let_go(unsigned i)
{
	struct held *h = mine()->held[i];

	mine()->held[i] = NULL;
	held_drop(h);
}

static void foreign_drain(void)
{
	for (unsigned i = 0; i < NHELD; i++)
		let_go(i);
}

static void foreign_leave(void)
{
	foreign_drain();
	atomic_fetch_add(&device_maps, me->did.maps);
}

static void foreign_work(void)
{
	unsigned m = dice(NDOMS), cell = dice(NCELLS), i = dice(NHELD);

	pending_look();
	if (atomic_load(&calm)) {
		foreign_drain();
		sched_yield();
		return;
	}
	switch (dice(8)) {
	case 0:
	case 1:
	case 2:
		batch(m);
		return;
	case 3:
		let_go(i);
		mine()->held[i] = cell_hold(m, cell);
		return;
	case 4:
		flush_against(m, cell);
		return;
	default:
		use(m, cell);
	}
}

/* ---- the beginning and the end ------------------------------------------ */

static void foreign_open(void)
{
	struct viommu_xen_config c = {
		.size = sizeof(c), .may = may, .id = 1000, .preempt_ops = 3
	};

	memset(doms, 0, sizeof(doms));
	memset(hands, 0, sizeof(hands));
	for (unsigned i = 0; i < MAX_WORKERS; i++)
		memset(hands[i].cells, GONE, sizeof(hands[i].cells));
	atomic_store(&destroyed, 0);
	atomic_store(&batches, 0);
	atomic_store(&flushed, 0);
	atomic_store(&device_maps, 0);
	must(viommu_xen_create(vi, &c, &x), "xen");
	for (unsigned i = 0; i < NDOMS; i++) {
		pthread_rwlock_init(&doms[i].lock, NULL);
		dom_make(&doms[i]);
	}
}

/* References are maps, too. */
static void count_references(void)
{
	struct viommu_stats s;

	viommu_read_stats(vi, &s);
	me->did.maps = s.maps - atomic_load(&device_maps);
}

static void pending_must_be_over(void)
{
	for (unsigned i = 0; i < MAX_WORKERS; i++)
		for (unsigned j = 0; j < NPENDING; j++)
			if (hands[i].pending[j].used &&
			    !atomic_load(&hands[i].pending[j].done))
				broken("a flush was forgotten");
}

static void foreign_close(void)
{
	struct viommu_xen_stats s;
	struct viommu_fence f;

	while (!all_done())
		sched_yield();
	for (unsigned i = 0; i < NDOMS; i++) {
		if (!atomic_load(&doms[i].since))
			dom_destroy(&doms[i]);
		while (!dom_is_gone(&doms[i]))
			sched_yield();
		dom_clear(&doms[i]);
		pthread_rwlock_destroy(&doms[i].lock);
	}
	taken_all_done(takens, NTAKEN);
	pending_must_be_over();
	viommu_xen_read_stats(x, &s);
	if (s.references || s.mappings || s.unflushed || s.waiting)
		broken("a reference was leaked");
	viommu_fence_init(&f);
	viommu_xen_destroy(x, &f);
	fence_commit(&f, NULL, NULL);
	fence_wait(&f);
	me->did.mapped += s.ops;
	count_references();
	fprintf(stderr,
		"foreign: %llu batches, %llu operations (%llu refused), %llu "
		"flushes that waited, %llu references wanted back, %llu guests "
		"destroyed\n",
		(unsigned long long)atomic_load(&batches),
		(unsigned long long)s.ops, (unsigned long long)s.refused,
		(unsigned long long)atomic_load(&flushed),
		(unsigned long long)s.asked,
		(unsigned long long)atomic_load(&destroyed));
}

const struct subject subject_foreign = {
	.name = "foreign",
	.open = foreign_open,
	.step = foreign_step,
	.work = foreign_work,
	.drain = foreign_leave,
	.close = foreign_close,
};
