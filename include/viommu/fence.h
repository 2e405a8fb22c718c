/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_FENCE_H
#define VIOMMU_FENCE_H

/**
 * @file
 * Fences: when it is safe.
 *
 * Every function that takes access away from a device takes a fence, and no
 * other function does.  The taking gathers into the fence; committing it makes
 * it so and starts the clock; it is done when nobody can still touch what was
 * taken:
 *
 *      init --(unmap, detach, remove ...)*--> commit --> done
 *
 * None of the four allocates or fails.  A fence may be wider than what was
 * asked; it is never early (docs/LAW.md, L1 to L6).
 */

#include <stdbool.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

/** Caller's storage.  May be reused or freed once done, not before; not to be
 * copied. */
struct viommu_fence {
	uint64_t opaque[56];
};

/** Called once, by whichever thread lets the last user go: from within
 * viommu_fence_commit(), or from any call of its that ends an access or a map.
 * No library lock is held; may free @p f, may use the library, must not wait
 * for another fence. */
typedef void viommu_fence_fn(struct viommu_fence *f, void *arg);

/**
 * Open a fence.  One that gathered nothing may be abandoned.
 *
 * @param f storage, not in use by an undone fence
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_fence_init(struct viommu_fence *f);

/**
 * Set how long it may wait for holders of DMA before they are given up (L9).
 *
 * @param f          an open fence
 * @param timeout_ns from its commit on; 0: the instance's fence_timeout_ns;
 *                   UINT64_MAX: for ever
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_fence_set_timeout(struct viommu_fence *f,
					 uint64_t timeout_ns);

/**
 * Ask to be told, once, if the deadline passed and an endpoint that @p f waits
 * for was given up: what the guest asked for has failed, and may be answered
 * with its protocol's error.  It is not done: done comes later, or never, and
 * until then nothing that was taken may be reused, nor @p f.
 *
 * @param f      an open fence that will be committed with a done callback
 * @param failed called with the argument of the done callback, before it, by
 *               the thread that polls; as viommu_fence_fn says
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_fence_set_failed(struct viommu_fence *f,
					viommu_fence_fn *failed);

/**
 * Make what was gathered take effect: after it returns no new access sees
 * what was taken (L2).
 *
 * @param f    an open fence; one that gathered nothing is done at once
 * @param done called when done; NULL: poll or wait instead
 * @param arg  passed to @p done
 *
 * Context: any thread; may spin for some microseconds, does not sleep; revoke
 * callbacks of maps in the way run here.
 */
VIOMMU_API void viommu_fence_commit(struct viommu_fence *f,
				    viommu_fence_fn *done, void *arg);

/**
 * Look whether it is done.
 *
 * @param f a committed fence
 * @return true once nobody can touch what was taken (L3); acquire ordering
 *
 * Context: any thread; wait-free.
 */
VIOMMU_API bool viommu_fence_done(const struct viommu_fence *f);

/**
 * Wait until it is done.
 *
 * @param f          a fence committed without a done callback
 * @param timeout_ns how long; negative: for ever
 * @return 0, -ETIMEDOUT (still pending; may be waited for again), -ECANCELED
 *         (still pending, and an endpoint that it waits for was given up: as
 *         viommu_fence_set_failed() says)
 *
 * Context: a thread that holds no DMA map which the fence waits for; sleeps;
 * polls as viommu_poll() does, so expire handlers may run here.  Not to be
 * cancelled.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_fence_wait(struct viommu_fence *f,
						   int64_t timeout_ns);

/**
 * Keep a fence from being done: somebody's work is still in the air.
 *
 * @param f a fence that gathered something and is not done: open, or held
 *          already
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_fence_hold(struct viommu_fence *f);

/**
 * Undo one viommu_fence_hold(); may run the fence's done callback.
 *
 * @param f the fence
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_fence_release(struct viommu_fence *f);

VIOMMU_END_DECLS

#endif
