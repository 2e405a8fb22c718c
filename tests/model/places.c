/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses, the objects that some of them are in, and what happened there.
 */
#include <stdlib.h>

#include "schedule_impl.h"

enum {
	PLACES = 1 << 13,
	OBJECTS = 32,
};

static struct object {
	const char *p;
	uint64_t len;
	const char *name;
	bool dead;
} objects[OBJECTS];

static struct sched_place places[PLACES];
static unsigned nplaces, nobjects;
static unsigned long epoch;
static bool relearn;
static uint64_t history;

uint64_t sched_mix(uint64_t a, uint64_t b)
{
	a ^= b + UINT64_C(0x9e3779b97f4a7c15) + (a << 6) + (a >> 2);
	a = (a ^ (a >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	a = (a ^ (a >> 27)) * UINT64_C(0x94d049bb133111eb);
	return a ^ (a >> 31);
}

void sched_places_reset(void)
{
	epoch++;
	relearn = false;
	history = 0;
	nobjects = 0;
}

uint64_t sched_history(void)
{
	return history;
}

bool sched_relearn(void)
{
	return relearn;
}

struct sched_place *sched_place(const volatile void *p)
{
	unsigned i = (unsigned)(sched_mix((uintptr_t)p, 1) % PLACES);

	while (places[i].p && places[i].p != p)
		i = (i + 1) % PLACES;
	if (!places[i].p) {
		if (++nplaces > PLACES / 2)
			abort();
		places[i].p = p;
	}
	if (places[i].epoch != epoch) {
		places[i].epoch = epoch;
		places[i].write = places[i].reads = 0;
		places[i].owner = 0;
	}
	return &places[i];
}

bool sched_shared(struct sched_place *pl, bool writes)
{
	unsigned bit = 1u << sched_me;
	bool was = (pl->users & (pl->users - 1)) && pl->writers, is;

	pl->users |= bit;
	pl->writers |= writes ? bit : 0;
	is = (pl->users & (pl->users - 1)) && pl->writers;
	if (is && !was)
		relearn = true;
	return is || sched_tracing;
}

static void event(uint64_t e)
{
	sched_threads[sched_me].last = e;
	history += e;
}

/* Of the thread alone. */
void sched_event_own(void)
{
	event(sched_mix(sched_threads[sched_me].last, 5));
}

void sched_event_read(struct sched_place *pl)
{
	uint64_t e = sched_mix(
		sched_mix(sched_threads[sched_me].last, pl->write), 2);

	pl->reads += e;
	event(e);
}

void sched_event_write(struct sched_place *pl)
{
	uint64_t e = sched_mix(
		sched_mix(sched_mix(sched_threads[sched_me].last, pl->write),
			  pl->reads),
		3);

	pl->write = e;
	pl->reads = 0;
	event(e);
}

void sched_event_drain(struct sched_place *pl, uint64_t event)
{
	uint64_t e =
		sched_mix(sched_mix(sched_mix(event, pl->write), pl->reads), 4);

	pl->write = e;
	pl->reads = 0;
	history += e;
}

/* ---- objects ------------------------------------------------------------ */

static struct object *object_at(const volatile void *p)
{
	const volatile char *c = p;

	for (unsigned i = 0; i < nobjects; i++)
		if (c >= objects[i].p && c < objects[i].p + objects[i].len)
			return &objects[i];
	return NULL;
}

void sched_object(const void *p, uint64_t len, const char *name)
{
	struct object *o = object_at(p);

	if (!o && nobjects == OBJECTS)
		abort();
	if (!o)
		o = &objects[nobjects++];
	*o = (struct object){ .p = p, .len = len, .name = name };
}

static void object_set(const void *p, bool dead)
{
	struct object *o = object_at(p);

	if (sched_self() >= 0) {
		struct sched_place *pl = sched_place(o->p);

		sched_begin(__builtin_return_address(0));
		if (sched_shared(pl, true)) {
			sched_point();
			sched_event_write(pl);
		}
		sched_tell(dead ? "dies" : "lives", p, 0);
	}
	o->dead = dead;
}

void sched_object_dies(const void *p)
{
	object_set(p, true);
}

void sched_object_lives(const void *p)
{
	object_set(p, false);
}

/* To touch it twice with no step between is to touch it once. */
static void object_touch(struct object *o, const volatile void *p)
{
	struct sched_thread *t = &sched_threads[sched_me];
	struct sched_place *pl = sched_place(o->p);

	if (sched_shared(pl, false) &&
	    (t->object != o || t->object_points != t->points)) {
		sched_point();
		sched_event_read(pl);
		t->object = o;
		t->object_points = t->points;
	}
	if (o->dead)
		sched_fail("%s is touched after its end (+%ld, at %#lx)",
			   o->name, (long)((const volatile char *)p - o->p),
			   (unsigned long)t->pc);
}

const char *(*sched_wrong)(const volatile void *p);

void sched_touches(const volatile void *p)
{
	struct object *o = object_at(p);
	const char *why;

	if (o)
		object_touch(o, p);
	why = sched_wrong ? sched_wrong(p) : NULL;
	if (why)
		sched_fail("%s, at %#lx", why,
			   (unsigned long)sched_threads[sched_me].pc);
}

void sched_plain(const volatile void *p, uint64_t len, const void *pc)
{
	(void)len;
	if (sched_self() < 0)
		return;
	sched_begin(pc);
	sched_touches(p);
}

void sched_touch(const void *p)
{
	sched_plain(p, 1, __builtin_return_address(0));
}

/* Whoever uses an address in it comes before or after: a step of theirs. */
void sched_freed(const void *p, uint64_t len)
{
	const char *c = p;

	if (sched_self() < 0)
		return;
	sched_begin(__builtin_return_address(0));
	sched_point();
	sched_event_own();
	for (unsigned i = 0; i < PLACES; i++) {
		const volatile char *q = places[i].p;

		if (q && q >= c && q < c + len &&
		    sched_shared(&places[i], true))
			sched_event_write(sched_place(q));
	}
	sched_tell("free", p, len);
}
