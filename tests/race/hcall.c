/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hcall: a pseries machine with a bus of either kind.  Every thread is a vCPU
 * that puts TCEs, one, as a list, or a run of them, and a device that does DMA
 * to all of them; the control thread lets a dynamic window come and go as well.
 *
 * Some entries are one vCPU's own: what a call put there is there when it
 * returns, also if it is pending (L2), and the page that it took is poisoned
 * the moment the call is over, on whichever thread that is.  One entry of each
 * bus is everybody's; in the end it says what the bus's space maps.
 */
#include "race.h"

#include <endian.h>
#include <stdio.h>
#include <viommu/guest/tce.h>

enum {
	BUSES = 2,
	OWN = 4, /* entries of a vCPU, in a row */
	THREADS = MAX_WORKERS + 1,
	SHARED_AT = THREADS * OWN,
	ENTRIES = 64, /* so that some share a word of locks */
	CALLS = 8,    /* of a vCPU, that may wait */
	WINDOW = 1,   /* the bus that has a dynamic one */
	SLOT_WINDOW = BUSES * THREADS * OWN,
	SLOT_SHARED, /* nobody compares */
};

#define DYNAMIC (UINT64_C(1) << 59)

/* A call, and the pages that it takes. */
struct vcall {
	struct viommu_tce_call call;
	_Atomic(uint64_t) since; /* 0: free */
	void *pages[OWN];
	unsigned n;
	bool stays;   /* it is freed by release */
	uint32_t ret; /* of a firmware call */
};

static struct viommu_tce *tce;
static struct viommu_endpoint *eps[BUSES];
static struct vcall calls[THREADS][CALLS];
static struct own {
	void *page; /* or NULL */
	uint64_t n;
	_Atomic(uint64_t) committed;
} own[BUSES][THREADS][OWN];
static uint64_t *lists[THREADS];
static void *shared, *window_page;
static _Atomic(struct held *) parked;
/* who puts what is everybody's; who looks at it */
static pthread_rwlock_t still = PTHREAD_RWLOCK_INITIALIZER;

static struct spot spot_of(unsigned bus, unsigned thread, unsigned i)
{
	return (struct spot){
		.ep = eps[bus],
		.iova = (uint64_t)(thread * OWN + i) * PAGE,
		.slot = (bus * THREADS + thread) * OWN + i,
		.committed = &own[bus][thread][i].committed,
	};
}

static uint64_t liobn_of(unsigned bus)
{
	return 2 * bus;
}

/* ---- calls ------------------------------------------------------------ */

static void vcall_over(struct vcall *c)
{
	for (unsigned i = 0; i < c->n; i++)
		page_poison(c->pages[i]);
	c->n = 0;
}

static void vcall_done(struct viommu_tce_call *call, int64_t code)
{
	struct vcall *c = call->arg;

	if (code || !atomic_load(&c->since))
		broken("a call was over twice, or with an error");
	vcall_over(c);
	if (!c->stays)
		atomic_store(&c->since, 0);
}

static void vcall_release(struct viommu_tce_call *call)
{
	struct vcall *c = call->arg;

	if (c->n)
		broken("a call was released before it was over");
	atomic_store(&c->since, 0);
}

/* NULL: all of this vCPU's are pending. */
static struct vcall *vcall_open(void)
{
	for (unsigned i = 0; i < CALLS; i++) {
		struct vcall *c = &calls[me->n][i];
		uint64_t since = atomic_load(&c->since);

		if (since && now() > since + patience)
			broken("a call was forgotten");
		if (since)
			continue;
		c->stays = dice(2);
		c->call.done = vcall_done;
		c->call.release = c->stays ? vcall_release : NULL;
		c->call.arg = c;
		c->n = 0;
		atomic_store(&c->since, now());
		return c;
	}
	return NULL;
}

/* It returned @code: what it put is there, though maybe not all is over. */
static void vcall_close(struct vcall *c, int64_t code)
{
	me->did.fences++;
	if (code == VIOMMU_PENDING)
		return;
	if (code)
		broken("a call was refused");
	vcall_over(c);
	atomic_store(&c->since, 0);
}

/* ---- own entries ------------------------------------------------------- */

/* The TCE of a new page in the place of entry @i, or of none. */
static uint64_t own_change(struct vcall *c, unsigned bus, unsigned i, bool page)
{
	struct own *o = &own[bus][me->n][i];
	struct spot s = spot_of(bus, me->n, i);

	if (o->page)
		c->pages[c->n++] = o->page;
	o->page = page ? page_fill(s.slot, ++o->n) : NULL;
	me->did.mapped += page;
	return page ? (uintptr_t)o->page | RW : dice(2) << 12;
}

/* The call has returned. */
static void own_look(unsigned bus, unsigned i)
{
	struct own *o = &own[bus][me->n][i];
	struct spot s = spot_of(bus, me->n, i);

	atomic_store(&o->committed, o->n);
	if (o->page)
		must_be_there(&s);
	else
		must_be_gone(&s);
}

static int64_t own_put(struct vcall *c, unsigned bus, unsigned i)
{
	const uint64_t args[4] = { liobn_of(bus), spot_of(bus, me->n, i).iova,
				   own_change(c, bus, i, dice(4)) };

	return viommu_tce_hcall(tce, VIOMMU_H_PUT_TCE, args, &c->call);
}

static int64_t own_list(struct vcall *c, unsigned bus, unsigned i, unsigned n)
{
	uint64_t *list = lists[me->n];
	const uint64_t args[4] = { liobn_of(bus), spot_of(bus, me->n, i).iova,
				   (uintptr_t)list, n };

	for (unsigned k = 0; k < n; k++)
		list[k] = htobe64(own_change(c, bus, i + k, dice(4)));
	return viommu_tce_hcall(tce, VIOMMU_H_PUT_TCE_INDIRECT, args, &c->call);
}

static int64_t own_stuff(struct vcall *c, unsigned bus, unsigned i, unsigned n)
{
	const uint64_t args[4] = { liobn_of(bus), spot_of(bus, me->n, i).iova,
				   0, n };

	for (unsigned k = 0; k < n; k++)
		own_change(c, bus, i + k, false);
	return viommu_tce_hcall(tce, VIOMMU_H_STUFF_TCE, args, &c->call);
}

static void own_work(struct vcall *c)
{
	unsigned bus = dice(BUSES), i = dice(OWN), n = 1 + dice(OWN - i);
	int64_t code;

	switch (dice(4)) {
	case 0:
		code = own_stuff(c, bus, i, n);
		break;
	case 1:
		code = own_list(c, bus, i, n);
		break;
	default:
		code = own_put(c, bus, i);
		n = 1;
	}
	vcall_close(c, code);
	for (unsigned k = 0; k < n; k++)
		own_look(bus, i + k);
}

/* ---- everybody's entry -------------------------------------------------- */

/* A page that stays, and two sides of it. */
static void shared_work(struct vcall *c)
{
	const uint64_t tces[] = { 0, (uintptr_t)shared | RW,
				  (uintptr_t)shared | VIOMMU_READ };
	const uint64_t args[4] = { liobn_of(dice(BUSES)), SHARED_AT * PAGE,
				   tces[dice(3)], 1 + dice(2) };

	int64_t code;

	pthread_rwlock_rdlock(&still);
	code = viommu_tce_hcall(tce,
				dice(4) ? VIOMMU_H_PUT_TCE : VIOMMU_H_STUFF_TCE,
				args, &c->call);
	pthread_rwlock_unlock(&still);
	vcall_close(c, code);
}

static void shared_agree(unsigned bus)
{
	const uint64_t args[4] = { liobn_of(bus), SHARED_AT * PAGE };
	struct viommu_tce_call call;
	struct viommu_mapping m;
	uint32_t prot = 0;

	if (viommu_tce_hcall(tce, VIOMMU_H_GET_TCE, args, &call))
		broken("an entry was not to be had");
	if (!viommu_dma_translate(eps[bus], args[1], 0, &m))
		prot = m.prot;
	if (prot != (call.value & RW) || (prot && m.gpa != (uintptr_t)shared))
		broken("an entry is not what the space maps");
}

/* ---- the dynamic window -------------------------------------------------- */

static struct spot window_spot(void)
{
	return (struct spot){ .ep = eps[WINDOW],
			      .iova = DYNAMIC,
			      .slot = SLOT_WINDOW };
}

static int64_t firmware(struct vcall *c, uint32_t call, const uint32_t *args,
			uint32_t nargs, uint32_t *rets, uint32_t nrets)
{
	const struct viommu_tce_rtas r = { .call = call,
					   .nargs = nargs,
					   .nrets = nrets,
					   .args = args,
					   .rets = rets };

	return viommu_tce_rtas(tce, &r, &c->call);
}

static void window_make(struct vcall *c)
{
	static const uint32_t args[] = { 0, 0, WINDOW, 12, 16 };
	uint64_t put[4] = { liobn_of(WINDOW) + 1, DYNAMIC };
	struct spot s = window_spot();
	uint32_t rets[4];

	if (firmware(c, VIOMMU_RTAS_CREATE_PE_DMA_WINDOW, args, 5, rets, 4))
		broken("a window was refused");
	window_page = page_fill(SLOT_WINDOW, 0);
	put[2] = (uintptr_t)window_page | RW;
	vcall_close(c, viommu_tce_hcall(tce, VIOMMU_H_PUT_TCE, put, &c->call));
	must_be_there(&s);
}

/* With all that it maps; or all windows, and all of the default one. */
static void window_remove(struct vcall *c)
{
	static const uint32_t liobn[] = { 2 * WINDOW + 1 };
	struct spot s = window_spot();

	c->pages[c->n++] = window_page;
	window_page = NULL;
	vcall_close(c, firmware(c, VIOMMU_RTAS_REMOVE_PE_DMA_WINDOW, liobn, 1,
				&c->ret, 1));
	must_be_gone(&s);
}

/* ---- all of them ------------------------------------------------------- */

static void dma_work(void)
{
	struct spot s = spot_of(dice(BUSES), dice(nworkers + 1), dice(OWN));
	int rc;

	if (!dice(8))
		s = window_spot();
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

static void hcall_work(void)
{
	struct vcall *c = dice(4) ? NULL : vcall_open();

	if (!c)
		dma_work();
	else if (dice(2))
		own_work(c);
	else
		shared_work(c);
}

static void hcall_step(void)
{
	struct vcall *c = vcall_open();

	if (!dice(16)) {
		pthread_rwlock_wrlock(&still);
		shared_agree(dice(BUSES));
		pthread_rwlock_unlock(&still);
	}
	if (!c)
		sched_yield();
	else if (dice(4))
		shared_work(c);
	else if (dice(4))
		own_work(c);
	else if (window_page)
		window_remove(c);
	else
		window_make(c);
}

static void hcall_drain(void)
{
	held_drop(atomic_exchange(&parked, NULL));
}

static void bus_make(unsigned bus)
{
	const struct viommu_tce_bus b = {
		.size = sizeof(b),
		.buid = bus,
		.liobn = (uint32_t)liobn_of(bus),
		.page_sizes = bus == WINDOW ? VIOMMU_TCE_4K : 0,
		.window_size = ENTRIES * PAGE,
	};

	must(viommu_tce_add_bus(tce, &b), "bus");
	eps[bus] = endpoint_make(bus + 1, viommu_tce_space(tce, bus));
}

static void hcall_open(void)
{
	memset(own, 0, sizeof(own));
	memset(calls, 0, sizeof(calls));
	must(viommu_tce_create(vi, NULL, &tce), "tce");
	for (unsigned bus = 0; bus < BUSES; bus++)
		bus_make(bus);
	for (unsigned i = 0; i < THREADS; i++)
		lists[i] = page_fill(SLOT_SHARED, 0);
	shared = page_fill(SLOT_SHARED, 0);
}

static void own_free(void)
{
	for (unsigned bus = 0; bus < BUSES; bus++)
		for (unsigned i = 0; i < THREADS * OWN; i++)
			page_poison(own[bus][i / OWN][i % OWN].page);
}

static void hcall_close(void)
{
	struct viommu_fence f;

	hcall_drain();
	for (unsigned i = 0; i < THREADS * CALLS; i++)
		if (atomic_load(&calls[i / CALLS][i % CALLS].since))
			broken("nobody is left, and a call still pends");
	for (unsigned bus = 0; bus < BUSES; bus++) {
		shared_agree(bus);
		endpoint_drop(eps[bus]);
	}
	viommu_fence_init(&f);
	viommu_tce_destroy(tce, &f);
	fence_commit(&f, NULL, NULL);
	fence_wait(&f);
	own_free();
	page_poison(window_page);
	window_page = NULL;
	page_poison(shared);
	for (unsigned i = 0; i < THREADS; i++)
		free(lists[i]);
}

const struct subject subject_hcall = {
	.name = "hcall",
	.open = hcall_open,
	.step = hcall_step,
	.work = hcall_work,
	.drain = hcall_drain,
	.close = hcall_close,
};
