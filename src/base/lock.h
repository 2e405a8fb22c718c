/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_BASE_LOCK_H
#define VI_BASE_LOCK_H

/*
 * A mutex that clang's thread-safety analysis knows.  Ranks, outermost first:
 * notify > instance (topology) > space, memory > backings, table pool, pending
 * fences > seat > asking; REMOTE spaces' list, space > a space's questions;
 * space > its stripes, the first ones first (core/linear.h).
 */

#include <pthread.h>
#include <stdint.h>
#include <time.h>

#include "base/annot.h"

struct VI_CAPABILITY("mutex") vi_lock {
	pthread_mutex_t m;
};

#define VI_LOCK_INIT                           \
	{                                      \
		.m = PTHREAD_MUTEX_INITIALIZER \
	}

static inline void vi_lock_init(struct vi_lock *l)
{
	pthread_mutex_init(&l->m, NULL);
}

static inline void vi_lock_fini(struct vi_lock *l)
{
	pthread_mutex_destroy(&l->m);
}

static inline void vi_lock(struct vi_lock *l) VI_ACQUIRE(l) VI_NO_ANALYSIS
{
	pthread_mutex_lock(&l->m);
}

/* A condition whose clock is CLOCK_MONOTONIC. */
static inline void vi_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

/* On such a condition, until it is signalled. */
static inline void vi_wait(pthread_cond_t *cond, struct vi_lock *l)
	VI_REQUIRES(l)
{
	pthread_cond_wait(cond, &l->m);
}

/* Likewise, or until @until, in nanoseconds; UINT64_MAX: never. */
static inline void vi_wait_until(pthread_cond_t *cond, struct vi_lock *l,
				 uint64_t until) VI_REQUIRES(l)
{
	const struct timespec ts = { .tv_sec = (time_t)(until / 1000000000),
				     .tv_nsec = (long)(until % 1000000000) };

	if (until == UINT64_MAX)
		vi_wait(cond, l);
	else
		(void)pthread_cond_timedwait(cond, &l->m, &ts);
}

static inline void vi_signal_all(pthread_cond_t *cond)
{
	pthread_cond_broadcast(cond);
}

static inline void vi_unlock(struct vi_lock *l) VI_RELEASE(l) VI_NO_ANALYSIS
{
	pthread_mutex_unlock(&l->m);
}

#endif
