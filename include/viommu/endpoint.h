/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_ENDPOINT_H
#define VIOMMU_ENDPOINT_H

/**
 * @file
 * Endpoints: who asks.  One per (requester id, PASID) that can DMA, attached
 * to at most one space.
 */

#include <viommu/fault.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

/** A fence's deadline passed and this endpoint holds what it waits for. */
struct viommu_expiry {
	uint32_t id;
	uint32_t pasid;
	viommu_iova_t start; /* of one access or map that is in the way */
	viommu_iova_t last;
	uint64_t waited_ns; /* since the fence's commit */
};

enum viommu_verdict {
	/** stop the device: no new accesses until viommu_endpoint_recover();
	 * fences that wait for it fail, and are done when it lets go */
	VIOMMU_GIVE_UP,
	/** wait on, for another timeout */
	VIOMMU_WAIT_ON,
};

/** Decide what becomes of an endpoint that does not let go (L9).  Runs on the
 * thread that polls or waits, for a fence or for memory that is moved, which
 * holds no library lock; must not wait for a
 * fence. */
typedef enum viommu_verdict viommu_expire_fn(void *arg,
					     const struct viommu_expiry *e);

enum {
	/** its accesses do not wait for memory that is being moved, but fail
	 * with -EBUSY (viommu_memory_move()): for event loops */
	VIOMMU_ENDPOINT_NONBLOCK = 1u << 0,
};

struct viommu_endpoint_config {
	size_t size;	/* sizeof(struct viommu_endpoint_config) */
	uint32_t id;	/* as the guest names it: BDF, stream id ... */
	uint32_t pasid; /* or VIOMMU_NO_PASID */
	/** what GPAs mean for it; NULL: viommu_memory_of() */
	struct viommu_memory *memory;
	viommu_fault_fn *fault; /* or NULL */
	void *arg;		/* passed to @p fault and @p expire */
	/** NULL: it is given up at the first deadline */
	viommu_expire_fn *expire;
	uint32_t flags;	   /* VIOMMU_ENDPOINT_NONBLOCK */
	uint32_t reserved; /* 0 */
};

struct viommu_endpoint_stats {
	uint64_t faults;   /* accesses refused */
	uint64_t attaches; /* times it came to see another space */
	uint64_t revokes;  /* maps that were asked for */
	uint64_t expired;  /* deadlines that passed while it held on */
	uint64_t given_up; /* times that it was */
};

/** Why a range must not be mapped. */
enum viommu_reserved_kind {
	VIOMMU_RESERVED_HOLE, /* cannot be translated */
	VIOMMU_RESERVED_MSI,  /* a doorbell: writes are interrupts */
};

/** A range that this endpoint does not translate. */
struct viommu_reserved {
	viommu_iova_t start;
	viommu_iova_t last;
	uint32_t kind;	   /* enum viommu_reserved_kind */
	uint32_t reserved; /* 0 */
};

/**
 * Make an endpoint, attached to nothing: every access faults.
 *
 * @param vi  instance
 * @param cfg its name and fault handler; copied
 * @param out the new endpoint, owned by the caller
 * @return 0, -EINVAL (an option from a later version, or another instance's
 *         memory), -EEXIST (id and pasid taken), -ENOSPC (max_endpoints),
 *         -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_endpoint_create(struct viommu *vi,
		       const struct viommu_endpoint_config *cfg,
		       struct viommu_endpoint **out);

/**
 * Unmake it.  The handle is dead on return, but for viommu_dma_unmap() of
 * maps that are still held: no other call that names it may be under way.
 *
 * @param ep endpoint
 * @param f  fence: once done its DMA maps are gone, and no fault callback of
 *           it is running or will, nor an expire callback
 *
 * Context: any thread; cannot fail; its notifiers are told here, and may sleep.
 */
VIOMMU_API void viommu_endpoint_destroy(struct viommu_endpoint *ep,
					struct viommu_fence *f);

/**
 * Find an endpoint by name.
 *
 * @param vi    instance
 * @param id    as in the config
 * @param pasid as in the config
 * @return borrowed, until its owner destroys it; NULL if none
 *
 * Context: any thread; the caller keeps it from being destroyed.
 */
VIOMMU_API struct viommu_endpoint *
viommu_endpoint_find(struct viommu *vi, uint32_t id, uint32_t pasid);

/**
 * Tell an endpoint's requester id.
 *
 * @param ep endpoint
 * @return the id it was made with
 *
 * Context: any thread.
 */
VIOMMU_API uint32_t viommu_endpoint_id(const struct viommu_endpoint *ep);

/**
 * Let @p ep see @p space in place of what it saw before, in one step: each
 * access goes by the one or the other.
 *
 * @param ep    endpoint
 * @param space of the same instance
 * @param f     fence for the space it left
 * @return 0, -EADDRNOTAVAIL (a MAPPED space maps one of its reserved ranges),
 *         -EINVAL (another instance's space), or what a notifier of @p ep
 *         answered, who was told to forget the old space and refused the new
 *         one; on error it stays where it was, but if a notifier refused, @p f
 *         has to be committed
 *
 * Context: any thread; notifiers are told here, and may sleep.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_endpoint_attach(struct viommu_endpoint *ep, struct viommu_space *space,
		       struct viommu_fence *f);

/**
 * Let @p ep see nothing.
 *
 * @param ep endpoint, attached or not
 * @param f  fence for the space it left; gathers also what earlier, pending
 *           detachments took from @p ep
 *
 * Context: any thread; cannot fail.
 */
VIOMMU_API void viommu_endpoint_detach(struct viommu_endpoint *ep,
				       struct viommu_fence *f);

/**
 * Let an endpoint that was given up do DMA again, with what it is attached to.
 * The device has been reset.
 *
 * @param ep endpoint, given up or not
 * @return 0, -EBUSY (an access or map from before is still there, or a
 *         notifier's hold, or its expire handler is running)
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_endpoint_recover(struct viommu_endpoint *ep);

/**
 * Keep mappings off a range that this endpoint cannot translate (an MSI
 * window, a hole).
 *
 * @param ep endpoint
 * @param r  the range; copied
 * @return 0, -EINVAL (last < start, unknown kind), -EEXIST (overlaps another
 *         reserved range), -EBUSY (its space maps some of it), -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_endpoint_reserve(struct viommu_endpoint *ep,
			const struct viommu_reserved *r);

/**
 * Find the first reserved range whose last is at or after @p iova.
 *
 * @param ep   endpoint
 * @param iova where to start looking
 * @param out  a copy
 * @return 0, -ENOENT (none)
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_endpoint_next_reserved(struct viommu_endpoint *ep, viommu_iova_t iova,
			      struct viommu_reserved *out);

/**
 * Read the counters.
 *
 * @param ep  endpoint
 * @param out each counter is exact; together they are not a snapshot
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_endpoint_read_stats(const struct viommu_endpoint *ep,
					   struct viommu_endpoint_stats *out);

VIOMMU_END_DECLS

#endif
