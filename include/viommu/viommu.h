/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_VIOMMU_H
#define VIOMMU_VIOMMU_H

/**
 * @file
 * The instance: one world of memory, spaces and endpoints, and the services
 * that it borrows from its embedder.  Instances share nothing.
 */

#include <stdarg.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

enum viommu_log_level {
	VIOMMU_LOG_ERROR,
	VIOMMU_LOG_WARN,
	VIOMMU_LOG_INFO,
	VIOMMU_LOG_DEBUG
};

/** What the embedder lends.  Any hook may be NULL: libc's is used, and the
 * log goes nowhere. */
struct viommu_env {
	size_t size; /* sizeof(struct viommu_env) */
	void *arg;   /* passed to each hook */
	/** NULL or @p size bytes aligned to @p align, a power of two */
	void *(*alloc)(void *arg, size_t size, size_t align);
	void (*free)(void *arg, void *ptr);
	void (*log)(void *arg, enum viommu_log_level level, const char *fmt,
		    va_list ap);
	/** monotonic nanoseconds */
	uint64_t (*clock)(void *arg);
};

/** Who pays for the order between a device's access and a fence. */
enum viommu_barrier {
	/** each thread by what it sees: ASYMMETRIC as long as it does some
	 * hundreds of accesses for each fence of the instance, else FENCED */
	VIOMMU_BARRIER_AUTO,
	/** the access pays some 6 ns, the fence nothing: for guests that
	 * invalidate after each request */
	VIOMMU_BARRIER_FENCED,
	/** the access pays nothing, the fence a membarrier(2), some 1.5 us:
	 * for rare invalidations */
	VIOMMU_BARRIER_ASYMMETRIC,
};

struct viommu_config {
	size_t size;		      /* sizeof(struct viommu_config) */
	const struct viommu_env *env; /* hooks; copied; NULL: libc's */
	uint32_t barrier;	      /* enum viommu_barrier */
	uint32_t max_endpoints;	      /* 0: 65,536 */
	/** threads that do DMA: each from its first access until it exits, but
	 * none for viommu_poll();
	 * some 2 KiB each, allocated at once; 0: 256 */
	uint32_t max_threads;
	uint32_t reserved;     /* 0 */
	uint64_t max_mappings; /* in all spaces together; 0: 2^24 */
	/** L9: how long a fence waits for DMA before the expire handler of the
	 * endpoint in the way decides; 0: one second; UINT64_MAX: for ever */
	uint64_t fence_timeout_ns;
};

/** Counters of an instance, from its creation on. */
struct viommu_stats {
	uint64_t accesses;	 /* read, write, load, store, cas */
	uint64_t maps;		 /* viommu_dma_map() that succeeded */
	uint64_t bytes_read;	 /* by devices: copied, or mapped for reading */
	uint64_t bytes_written;	 /* likewise */
	uint64_t faults;	 /* accesses refused */
	uint64_t mapped;	 /* viommu_space_map() that succeeded */
	uint64_t unmapped;	 /* mappings removed */
	uint64_t mappings;	 /* that exist now */
	uint64_t fences;	 /* that were committed and took something */
	uint64_t fences_waited;	 /* of those, not done within their commit */
	uint64_t fences_pending; /* of those, still not done */
	uint64_t fences_failed;	 /* an endpoint in their way was given up */
	uint64_t expired;	 /* deadlines that passed */
	uint64_t revokes;	 /* maps that were asked to let go */
	uint64_t misses;	 /* questions of REMOTE spaces */
	/** from commit to done over all fences, 0 for those that did not
	 * wait; p50 and p99 are within 12% */
	uint64_t fence_wait_ns_p50, fence_wait_ns_p99, fence_wait_ns_max;
};

/**
 * Make an empty world: no memory, no spaces, no endpoints.
 *
 * @param cfg limits and services; copied; NULL means defaults
 * @param out the new instance, owned by the caller
 * @return 0, -EINVAL (unknown value, or an option from a later version),
 *         -EOPNOTSUPP (ASYMMETRIC where the kernel has no membarrier),
 *         -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_create(const struct viommu_config *cfg,
					       struct viommu **out);

/**
 * Unmake it.  Its endpoints, spaces, memories (but its own) and front-ends
 * must have been destroyed and every fence must be done.
 *
 * @param vi instance, or NULL
 *
 * Context: one thread, the last.
 */
VIOMMU_API void viommu_destroy(struct viommu *vi);

/**
 * Read the counters.
 *
 * @param vi  instance
 * @param out each counter is exact, but for accesses under way; together they
 *            are not a snapshot
 *
 * Context: any thread; takes the lock of pending fences.
 */
VIOMMU_API void viommu_read_stats(struct viommu *vi, struct viommu_stats *out);

/**
 * Tell when viommu_poll() has something to do next.
 *
 * @param vi instance
 * @return on the clock of the instance's environment; UINT64_MAX: nothing is
 *         pending that has a deadline.  A fence that comes to wait later may
 *         have an earlier one than this, but not less than its timeout ahead
 *
 * Context: any thread.
 */
VIOMMU_API uint64_t viommu_next_deadline(struct viommu *vi);

/**
 * Let deadlines that have passed have their effect (L9): expire handlers and
 * failed callbacks of fences, time-outs of misses.
 *
 * @param vi  instance
 * @param now on the clock of the instance's environment
 *
 * Context: any thread, a thread of an event loop for instance; does not wait.
 */
VIOMMU_API void viommu_poll(struct viommu *vi, uint64_t now);

/**
 * Allocate as the instance does, through its hooks: for front-ends and others
 * who build on the library.
 *
 * @param vi   instance
 * @param size bytes
 * @return zeroed and aligned for any type, or NULL; freed by viommu_free()
 *
 * Context: any thread; as the hook.
 */
VIOMMU_API void *viommu_alloc(struct viommu *vi, size_t size);

/**
 * Free what viommu_alloc() gave.
 *
 * @param vi  the same instance
 * @param ptr what it gave, or NULL
 *
 * Context: any thread; as the hook.
 */
VIOMMU_API void viommu_free(struct viommu *vi, void *ptr);

/**
 * Tell the version of the library that was loaded.
 *
 * @return "major.minor.patch", static
 *
 * Context: any thread.
 */
VIOMMU_API const char *viommu_version(void);

VIOMMU_END_DECLS

#endif
