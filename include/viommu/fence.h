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
	uint64_t opaque[48];
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
 * Make what was gathered take effect: after it returns no new access sees
 * what was taken (L2).
 *
 * @param f    an open fence; one that gathered nothing is done at once
 * @param done called when done; NULL: poll or wait instead
 * @param arg  passed to @p done
 *
 * Context: any thread; may spin for some microseconds, does not sleep.
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
 * @return 0, -ETIMEDOUT (still pending; may be waited for again)
 *
 * Context: a thread that holds no DMA map which the fence waits for; sleeps.
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
