/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_WAITER_H
#define VS_WAITER_H

/*
 * A fence whose end a loop waits for.  It is done on any thread; the loop is
 * told by a task, unless it was done by the time it had been committed.
 */

#include <pthread.h>
#include <stdbool.h>
#include <viommu/fence.h>
#include <viommu/serve/loop.h>

/* Whose it is. */
struct vs_waits {
	void *owner;
	struct viommu_loop *loop;
	pthread_mutex_t *lock;
};

struct vs_waiter {
	struct vs_waits of;
	struct viommu_fence fence;
	struct viommu_task task;
	bool pending;
	bool committing, done; /* by the lock */
};

/* @done is the task's, called with the waiter: it begins by vs_waiter_done().
 */
void vs_waiter_init(struct vs_waiter *w, const struct vs_waits *of,
		    viommu_loop_fn *done);

/* The fence, to gather into.  The last one has ended. */
struct viommu_fence *vs_waiter_begin(struct vs_waiter *w);

/* Nobody in the way: no longer pending when this returns, and nothing is
 * posted. */
void vs_waiter_commit(struct vs_waiter *w);

/* Whoever posted the task is done with us when this returns.  The owner. */
void *vs_waiter_done(struct vs_waiter *w);

#endif
