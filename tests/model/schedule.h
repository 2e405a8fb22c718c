/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_MODEL_SCHEDULE_H
#define TESTS_MODEL_SCHEDULE_H

/*
 * A scheduler for real code: threads that run one at a time, and at each step
 * of theirs a choice who goes on.  All choices are tried, depth first, each
 * schedule from the start again.
 *
 * A step is an atomic operation, a lock, a condition, membarrier, or a touch
 * of an object whose life matters.  The code under test is not changed for it:
 * it is compiled as for ThreadSanitizer, which makes each atomic operation a
 * call, and these calls are ours (steps.c).  Locks and conditions come by the
 * linker's --wrap.  What only one thread uses is no step.
 *
 * Memory is x86's, and weaker: each thread's atomic stores that are not
 * sequentially consistent go through a store buffer, first in first out, which
 * its owner reads, and which is drained, as far as is decided by a choice,
 * when another thread looks at an address in it; in full by the owner's
 * sequentially consistent stores, read-modify-writes and fences, by whatever
 * releases and reads in one (so by an unlock, not by a lock), and by anybody's
 * membarrier.  Loads are not reordered.
 *
 * What is cut off: schedules with more than `bound` preemptions (a switch from
 * a thread that could have gone on); and what follows a state that was reached
 * before with as many left: two schedules that differ only in the order of
 * independent steps lead to the same.
 */

#include <stdbool.h>
#include <stdint.h>

enum {
	SCHED_THREADS = 3,
	SCHED_FOREVER = 99, /* preemptions */
};

struct sched_job {
	unsigned nthreads;
	unsigned bound;
	unsigned long limit; /* schedules; then it is given up: not proven */
	void (*setup)(void); /* both without a choice, on the caller */
	void (*check)(void);
	void (*warm[SCHED_THREADS])(void); /* on the thread, without a choice */
	void (*run[SCHED_THREADS])(void);
};

struct sched_result {
	unsigned long schedules, states;
	unsigned steps; /* of the longest */
	bool complete;
};

/* Explore.  A schedule that fails ends the process (sched_fail()). */
void sched_explore(const struct sched_job *job, struct sched_result *out);

/* One schedule, as sched_fail() printed it, step by step on standard output. */
void sched_replay(const struct sched_job *job, const char *schedule);

/* The law is broken: say so with the schedule, exit status 1. */
_Noreturn void sched_fail(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));

/* ---- for what runs under it ------------------------------------------- */

/* [p, p + len) has a life: until it is over the code under test may touch it.
 */
void sched_object(const void *p, uint64_t len, const char *name);
void sched_object_dies(const void *p);
void sched_object_lives(const void *p);

/* A touch by the test itself. */
void sched_touch(const void *p);

/* A word of the test's own: a step, sequentially consistent. */
uint64_t sched_get(const uint64_t *word);
void sched_set(uint64_t *word, uint64_t val);

/* Wait until it has been set: to anything but 0. */
void sched_await(uint64_t *word);

/* The thread that runs, or -1: not under the scheduler. */
int sched_self(void);

/* ---- for steps.c ------------------------------------------------------- */

enum sched_rmw {
	SCHED_XCHG,
	SCHED_ADD,
	SCHED_SUB,
	SCHED_AND,
	SCHED_OR,
	SCHED_XOR,
};

struct sched_at {
	volatile void *p;
	unsigned size;
	int order; /* memory_order */
	const void *pc;
};

uint64_t sched_load(const struct sched_at *at);
void sched_store(const struct sched_at *at, uint64_t val);
uint64_t sched_rmw(const struct sched_at *at, enum sched_rmw how, uint64_t val);
bool sched_cas(const struct sched_at *at, uint64_t *old, uint64_t val);
void sched_fence(int order, const void *pc);
void sched_membarrier(const void *pc);
/* May be touched?  The test's answer, for what is no object. */
extern const char *(*sched_wrong)(const volatile void *p);
void sched_freed(const void *p, uint64_t len);
void sched_plain(const volatile void *p, uint64_t len, const void *pc);
void sched_lock(void *lock, const void *pc);
void sched_unlock(void *lock, const void *pc);
void sched_wait(void *cond, void *lock, const void *pc);
bool sched_wait_until(void *cond, void *lock, uint64_t when, const void *pc);
void sched_signal(void *cond, const void *pc);
uint64_t sched_clock(void);
void sched_clock_set(uint64_t now);

#endif
