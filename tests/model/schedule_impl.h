/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_MODEL_SCHEDULE_IMPL_H
#define TESTS_MODEL_SCHEDULE_IMPL_H

/*
 * What the parts of the scheduler share: schedule.c (who goes on), places.c
 * (addresses and what happened there), memory.c (store buffers and atomic
 * operations), locks.c.  One thread runs at a time, so that nothing here needs
 * a lock.
 *
 * A state is known by the history that led to it, as a set of events, each a
 * hash of its thread's event before it and of the events at its address that
 * it came after: schedules that differ in the order of independent events have
 * the same set.  Each point is followed by an event of its thread, or the
 * state at the next point would be taken for the same.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "schedule.h"

enum {
	SCHED_BUFFER = 64,
};

enum sched_doing {
	SCHED_READY,
	SCHED_LOCKING,
	SCHED_WAITING, /* for a condition */
	SCHED_AWAITING,
	SCHED_FINISHED,
};

struct sched_stored {
	volatile void *p;
	unsigned size;
	uint64_t val, event;
};

struct sched_thread {
	pthread_t id;
	_Atomic(int) go;
	enum sched_doing doing;
	void *on;   /* lock, condition or word */
	void *lock; /* WAITING: to be taken again */
	uint64_t until;
	bool timed_out;
	unsigned ops, points;
	uint64_t last; /* event */
	const void *object;
	unsigned object_points;
	unsigned nstored;
	struct sched_stored stored[SCHED_BUFFER];
	const void *pc;
};

/* An address that a step was at. */
struct sched_place {
	const volatile void *p;
	unsigned users, writers; /* threads, in any schedule so far */
	unsigned long epoch;	 /* the schedule of what follows */
	uint64_t write, reads;	 /* events */
	int owner;		 /* of a lock: thread + 1 */
};

extern struct sched_thread sched_threads[SCHED_THREADS];
extern unsigned sched_nthreads;
extern __thread int sched_me;
extern uint64_t sched_now;
extern bool sched_tracing; /* every address is a step, and is told */

/* ---- schedule.c ---------------------------------------------------------- */

/* This thread's next operation. */
struct sched_thread *sched_begin(const void *pc);
/* Another thread may run before what this one is about to do. */
void sched_point(void);
/* Likewise, until it is enabled again. */
void sched_sleep_as(enum sched_doing doing, void *on);
void sched_tell(const char *what, const volatile void *p, uint64_t val);

/* ---- places.c -------------------------------------------------------------
 */

uint64_t sched_mix(uint64_t a, uint64_t b);
/* A new schedule begins. */
void sched_places_reset(void);
/* The history of this schedule. */
uint64_t sched_history(void);
/* An address turned out to be shared: there are more steps than we knew. */
bool sched_relearn(void);

struct sched_place *sched_place(const volatile void *p);
/* Is it used by another thread, too, and not only read? */
bool sched_shared(struct sched_place *pl, bool writes);
void sched_event_own(void);
void sched_event_read(struct sched_place *pl);
void sched_event_write(struct sched_place *pl);
/* A store whose event was @e comes out of a buffer. */
void sched_event_drain(struct sched_place *pl, uint64_t e);
/* What this thread is about to do touches @p. */
void sched_touches(const volatile void *p);

/* ---- memory.c --------------------------------------------------------------
 */

void sched_drain_all(int owner);

#endif
