/* SPDX-License-Identifier: BSD-2-Clause */
#include "serve/waiter.h"

void vs_waiter_init(struct vs_waiter *w, const struct vs_waits *of,
		    viommu_loop_fn *done)
{
	w->of = *of;
	viommu_task_init(&w->task, done, w);
}

struct viommu_fence *vs_waiter_begin(struct vs_waiter *w)
{
	w->pending = w->committing = true;
	w->done = false;
	viommu_fence_init(&w->fence);
	return &w->fence;
}

/* Any thread. */
static void fence_done(struct viommu_fence *f, void *arg)
{
	struct vs_waiter *w = arg;
	pthread_mutex_t *lock = w->of.lock;

	(void)f;
	pthread_mutex_lock(lock);
	w->done = true;
	if (!w->committing)
		viommu_loop_post(w->of.loop, &w->task);
	pthread_mutex_unlock(lock);
}

void vs_waiter_commit(struct vs_waiter *w)
{
	viommu_fence_commit(&w->fence, fence_done, w);
	pthread_mutex_lock(w->of.lock);
	w->committing = false;
	w->pending = !w->done;
	pthread_mutex_unlock(w->of.lock);
}

void *vs_waiter_done(struct vs_waiter *w)
{
	pthread_mutex_lock(w->of.lock);
	w->pending = false;
	pthread_mutex_unlock(w->of.lock);
	return w->of.owner;
}
