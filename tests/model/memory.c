/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory as schedule.h says: store buffers, and the operations on it.
 */
#include <stddef.h>
#include <string.h>

#include "explore.h"
#include "schedule_impl.h"

static uint64_t mem_get(const volatile void *p, unsigned size)
{
	switch (size) {
	case 1:
		return *(const volatile uint8_t *)p;
	case 2:
		return *(const volatile uint16_t *)p;
	case 4:
		return *(const volatile uint32_t *)p;
	default:
		return *(const volatile uint64_t *)p;
	}
}

static void mem_set(volatile void *p, unsigned size, uint64_t val)
{
	switch (size) {
	case 1:
		*(volatile uint8_t *)p = (uint8_t)val;
		break;
	case 2:
		*(volatile uint16_t *)p = (uint16_t)val;
		break;
	case 4:
		*(volatile uint32_t *)p = (uint32_t)val;
		break;
	default:
		*(volatile uint64_t *)p = val;
	}
}

/* The first @n stores of @owner become visible. */
static void drain(int owner, unsigned n)
{
	struct sched_thread *t = &sched_threads[owner];

	for (unsigned i = 0; i < n; i++) {
		struct sched_stored *s = &t->stored[i];

		mem_set(s->p, s->size, s->val);
		sched_event_drain(sched_place(s->p), s->event);
	}
	t->nstored -= n;
	memmove(t->stored, t->stored + n, t->nstored * sizeof(t->stored[0]));
}

void sched_drain_all(int owner)
{
	drain(owner, sched_threads[owner].nstored);
}

/* Up to the last store to @p, which is the next operation's. */
static void drain_place(int owner, const volatile void *p)
{
	const struct sched_thread *t = &sched_threads[owner];
	unsigned n = t->nstored;

	while (n && t->stored[n - 1].p != p)
		n--;
	drain(owner, n);
}

static const struct sched_stored *own_store(const struct sched_thread *t,
					    const volatile void *p)
{
	for (unsigned i = t->nstored; i-- > 0;)
		if (t->stored[i].p == p)
			return &t->stored[i];
	return NULL;
}

/* How much of the other's stores to @p has come through? */
static void resolve_one(int other, const volatile void *p)
{
	const struct sched_thread *t = &sched_threads[other];
	signed char alt[SCHED_BUFFER + 1];
	struct choice at = { .thread = sched_me,
			     .op = sched_threads[sched_me].ops,
			     .buffer = other,
			     .n = 1 };
	unsigned n = 0;
	int k;

	for (unsigned i = 0; i < t->nstored; i++)
		at.n += t->stored[i].p == p;
	if (at.n == 1)
		return;
	/* counted among those to @p: the others may be no steps */
	for (unsigned i = 0; i < at.n; i++)
		alt[i] = (signed char)(at.n - 1 - i);
	for (k = explore_choose(at, alt); k; n++)
		k -= t->stored[n].p == p;
	drain(other, n);
}

static void resolve(const volatile void *p)
{
	for (unsigned i = 0; i < sched_nthreads; i++)
		if ((int)i != sched_me && sched_threads[i].nstored)
			resolve_one((int)i, p);
}

/* ---- atomic operations -------------------------------------------------- */

static bool acts(const struct sched_at *at)
{
	if (sched_self() < 0)
		return false;
	sched_begin(at->pc);
	sched_touches(at->p);
	return true;
}

uint64_t sched_load(const struct sched_at *at)
{
	const struct sched_stored *own;
	struct sched_place *pl;
	uint64_t val;

	if (!acts(at))
		return mem_get(at->p, at->size);
	own = own_store(&sched_threads[sched_me], at->p);
	if (own)
		return own->val;
	pl = sched_place(at->p);
	if (!sched_shared(pl, false))
		return mem_get(at->p, at->size);
	sched_point();
	resolve(at->p);
	sched_event_read(pl);
	val = mem_get(at->p, at->size);
	sched_tell("load", at->p, val);
	return val;
}

static void store_later(const struct sched_at *at, uint64_t val)
{
	struct sched_thread *t = &sched_threads[sched_me];

	if (t->nstored == SCHED_BUFFER)
		drain(sched_me, 1);
	sched_event_own();
	t->stored[t->nstored++] = (struct sched_stored){
		.p = at->p,
		.size = at->size,
		.val = val,
		.event = t->last,
	};
	sched_tell("store, later", at->p, val);
}

/* What comes next is visible at once.  Whether it @drains the buffer must not
 * depend on who shares its place: a replay takes all places to be shared. */
static void update_begin(const struct sched_at *at, bool drains)
{
	struct sched_place *pl = sched_place(at->p);
	bool step = sched_shared(pl, true);

	if (step || (drains && sched_threads[sched_me].nstored))
		sched_point();
	sched_event_own();
	if (drains)
		sched_drain_all(sched_me);
	else
		drain_place(sched_me, at->p);
	if (!step)
		return;
	resolve(at->p);
	sched_event_write(pl);
}

void sched_store(const struct sched_at *at, uint64_t val)
{
	if (!acts(at)) {
		mem_set(at->p, at->size, val);
		return;
	}
	if (at->order == memory_order_seq_cst) {
		update_begin(at, true);
		mem_set(at->p, at->size, val);
		sched_tell("store", at->p, val);
	} else if (sched_shared(sched_place(at->p), true)) {
		store_later(at, val);
	} else {
		drain_place(sched_me, at->p);
		mem_set(at->p, at->size, val);
	}
}

static bool releases(int order)
{
	return order == memory_order_release || order == memory_order_acq_rel ||
	       order == memory_order_seq_cst;
}

uint64_t sched_rmw(const struct sched_at *at, enum sched_rmw how, uint64_t val)
{
	uint64_t old;

	if (acts(at))
		update_begin(at, releases(at->order));
	old = mem_get(at->p, at->size);
	switch (how) {
	case SCHED_XCHG:
		break;
	case SCHED_ADD:
		val = old + val;
		break;
	case SCHED_SUB:
		val = old - val;
		break;
	case SCHED_AND:
		val = old & val;
		break;
	case SCHED_OR:
		val = old | val;
		break;
	case SCHED_XOR:
		val = old ^ val;
		break;
	}
	mem_set(at->p, at->size, val);
	if (sched_self() >= 0)
		sched_tell("update", at->p, val);
	return old;
}

bool sched_cas(const struct sched_at *at, uint64_t *old, uint64_t val)
{
	uint64_t was;

	if (acts(at))
		update_begin(at, releases(at->order));
	was = mem_get(at->p, at->size);
	if (was == *old)
		mem_set(at->p, at->size, val);
	if (sched_self() >= 0)
		sched_tell("cas", at->p, was);
	if (was == *old)
		return true;
	*old = was;
	return false;
}

void sched_fence(int order, const void *pc)
{
	if (sched_self() < 0 || order != memory_order_seq_cst)
		return;
	sched_begin(pc);
	sched_tell("fence", NULL, 0);
	if (sched_threads[sched_me].nstored)
		sched_point();
	sched_event_own();
	sched_drain_all(sched_me);
}

void sched_membarrier(const void *pc)
{
	if (sched_self() < 0)
		return;
	sched_begin(pc);
	sched_point();
	sched_event_own();
	sched_tell("membarrier", NULL, 0);
	for (unsigned i = 0; i < sched_nthreads; i++)
		sched_drain_all((int)i);
}
