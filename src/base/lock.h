/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_BASE_LOCK_H
#define VI_BASE_LOCK_H

/*
 * A mutex that clang's thread-safety analysis knows.  Ranks, outermost first:
 * notify > instance (topology) > space, memory > backings, table pool, pending
 * fences > seat > asking; REMOTE spaces' list, space > a space's questions.
 */

#include <pthread.h>

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

/* On a condition whose clock is CLOCK_MONOTONIC, until it is signalled. */
static inline void vi_wait(pthread_cond_t *cond, struct vi_lock *l)
	VI_REQUIRES(l)
{
	pthread_cond_wait(cond, &l->m);
}

/* Likewise; 0, or ETIMEDOUT at @when. */
static inline int vi_wait_until(pthread_cond_t *cond, struct vi_lock *l,
				const struct timespec *when) VI_REQUIRES(l)
{
	return pthread_cond_timedwait(cond, &l->m, when);
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
