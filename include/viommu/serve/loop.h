/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_LOOP_H
#define VIOMMU_SERVE_LOOP_H

/**
 * @file
 * Loops: one thread's event loop.  A device function belongs to one loop: all
 * of its callbacks run on that loop's thread, so it needs no lock.  Others
 * reach it by viommu_loop_post().  libviommu itself knows no loop; only the
 * device servers use this one.
 *
 * A loop lets deadlines pass (viommu_poll()) in the instance of every function
 * that lives on it.  It looks at them before it sleeps, so it knows of fences
 * that came to wait on its own thread; with nothing pending nobody is woken.
 * Who commits fences on threads without a loop polls, or waits, by himself.
 * The instance's clock is taken to be CLOCK_MONOTONIC, as it is by default.
 */

#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_loop;

typedef void viommu_loop_fn(void *arg);
typedef void viommu_loop_fd_fn(void *arg, uint32_t events);

/** One call to be made on the loop's thread.  The caller's storage, zeroed
 * and then set by viommu_task_init(); may be posted again once it runs. */
struct viommu_task {
	viommu_loop_fn *fn;
	void *arg;
	uint64_t opaque[4];
};

/** One timer of a loop.  The caller's storage. */
struct viommu_timer {
	viommu_loop_fn *fn;
	void *arg;
	uint64_t opaque[6];
};

/**
 * Make a loop.
 *
 * @param out the new loop, owned by the caller
 * @return 0, -EMFILE, -ENFILE (no more file descriptors), -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_loop_create(struct viommu_loop **out);

/**
 * Unmake it.  Posted tasks that did not run are dropped.
 *
 * @param loop a loop that does not run, or NULL
 *
 * Context: one thread, the last.
 */
VIOMMU_API void viommu_loop_destroy(struct viommu_loop *loop);

/**
 * Run callbacks until viommu_loop_stop().
 *
 * @param loop loop
 * @return 0, or what epoll_wait(2) failed with
 *
 * Context: one thread, from here on the loop's; sleeps.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_loop_run(struct viommu_loop *loop);

/**
 * Make viommu_loop_run() return after the callback that runs now.  A loop that
 * does not run yet returns at once when it does.
 *
 * @param loop loop
 *
 * Context: any thread, signal handlers too.
 */
VIOMMU_API void viommu_loop_stop(struct viommu_loop *loop);

/**
 * Watch a file descriptor, or change what it is watched for.  EPOLLERR and
 * EPOLLHUP are always told.
 *
 * @param loop   loop
 * @param fd     file descriptor; stays the caller's
 * @param events EPOLLIN, EPOLLOUT
 * @param fn     called while any of them holds
 * @param arg    passed to @p fn
 * @return 0, -EBADF, -EPERM (a file that cannot be polled), -ENOMEM
 *
 * Context: the loop's thread, or before it runs.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_loop_add(struct viommu_loop *loop,
						 int fd, uint32_t events,
						 viommu_loop_fd_fn *fn,
						 void *arg);

/**
 * Watch it no more; its callback does not run again.
 *
 * @param loop loop
 * @param fd   as added; not yet closed
 *
 * Context: the loop's thread, also in a callback; or while it does not run.
 */
VIOMMU_API void viommu_loop_remove(struct viommu_loop *loop, int fd);

/**
 * Set a task's call.
 *
 * @param task storage, not posted
 * @param fn   what to call
 * @param arg  passed to @p fn
 */
VIOMMU_API void viommu_task_init(struct viommu_task *task, viommu_loop_fn *fn,
				 void *arg);

/**
 * Have a task's call made on the loop's thread, once.  Posting a task that is
 * posted already changes nothing.
 *
 * @param loop loop
 * @param task task; stays valid until it ran
 *
 * Context: any thread; does not block; cannot fail.  What happened before the
 * post is seen by the call.
 */
VIOMMU_API void viommu_loop_post(struct viommu_loop *loop,
				 struct viommu_task *task);

/**
 * Take a posted task back; its call is not made until it is posted again.
 *
 * @param loop loop
 * @param task task, posted or not
 *
 * Context: the loop's thread, or while it does not run: on any other the call
 * may be running now.
 */
VIOMMU_API void viommu_loop_cancel(struct viommu_loop *loop,
				   struct viommu_task *task);

/**
 * Set a timer's call.
 *
 * @param timer storage
 * @param fn    what to call
 * @param arg   passed to @p fn
 */
VIOMMU_API void viommu_timer_init(struct viommu_timer *timer,
				  viommu_loop_fn *fn, void *arg);

/**
 * Start a timer, or start it anew.
 *
 * @param loop  loop
 * @param timer timer
 * @param ns    from now
 *
 * Context: the loop's thread, or before it runs; cannot fail.
 */
VIOMMU_API void viommu_timer_start(struct viommu_loop *loop,
				   struct viommu_timer *timer, uint64_t ns);

/**
 * Stop a timer; its call does not run until it is started again.
 *
 * @param loop  loop
 * @param timer timer, running or not
 *
 * Context: the loop's thread, or while it does not run.
 */
VIOMMU_API void viommu_timer_stop(struct viommu_loop *loop,
				  struct viommu_timer *timer);

VIOMMU_END_DECLS

#endif
