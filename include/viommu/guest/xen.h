/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_GUEST_XEN_H
#define VIOMMU_GUEST_XEN_H

/**
 * @file
 * Foreign mapping, in the style of Xen's iommu_op: a privileged guest, the
 * *mapper*, maps pages of another, the *owner*, where its own devices find them
 * (the hypercall's transport and its numbers are the embedder's).
 *
 * Frames are of 4 KiB.  A *gfn* is a frame of the owner's memory, a *dfn* a
 * frame of what the mapper's devices see.  Host addresses have no name here.
 *
 *   - No capability can be asked for: what is not allowed is -EACCES.
 *   - Operations come in batches, with a status each, and a batch goes on where
 *     it was interrupted.
 *   - Every mapping holds a reference on the pages behind it, and there is no
 *     mapping without one.  It is a DMA map of an endpoint that stands for
 *     "mapper M in owner O": so the owner's viommu_memory_give_up() and
 *     viommu_memory_remove() take exactly the mappings of exactly those pages
 *     away, their fence waits for the references, and what is mapped for
 *     writing is in the owner's dirty log.
 *   - UNMAP gathers; FLUSH commits, once.  A reference is dropped when the
 *     flush is done, not before.  What is never flushed is committed when the
 *     owner gives the pages up, or when either guest is destroyed.
 *
 * What the owner takes is gone from the mapper at once, to the frame, and the
 * rest of a mapping stays without a hole; unless a mapping is cut into more
 * than a few dozen pieces by one fence, or there is no memory for the cut: then
 * more of it goes.  A mapping of pages that are moved (viommu_memory_move())
 * goes, too; the mapper may map anew.
 *
 * Not done, of the operations that were proposed for Xen since: contexts (each
 * guest has the one default context), nested translation, PASIDs, references by
 * grant, queries of capabilities or of reserved ranges.
 */

#include <stdbool.h>
#include <viommu/endpoint.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_xen;
struct viommu_xen_guest;

/** Guests' numbers are below this, which means the caller itself. */
#define VIOMMU_XEN_SELF 0x7ff0

enum viommu_xen_privilege {
	VIOMMU_XEN_CONTROL, /* @p mapper may use the interface; no owner */
	VIOMMU_XEN_MAP_OF,  /* @p mapper may map pages of @p owner */
};

struct viommu_xen_config {
	size_t size; /* sizeof(struct viommu_xen_config) */
	/** asked before each operation, on the thread that runs the batch, with
	 * no lock held; that a guest may map its own pages is not asked */
	bool (*may)(void *arg, enum viommu_xen_privilege what, uint32_t mapper,
		    uint32_t owner);
	/** L9: what waits for the references of @p mapper on pages of @p owner
	 * has waited too long.  As viommu_expire_fn says.  NULL: give up, and
	 * @p mapper maps nothing of @p owner until all it had is let go of */
	enum viommu_verdict (*expire)(void *arg, uint32_t mapper,
				      uint32_t owner,
				      const struct viommu_expiry *e);
	void *arg;
	/** bit n: pages of 2^n bytes, n from 12 on; 0: 4 KiB only */
	uint64_t page_sizes;
	/** the requester id of the endpoints that hold references, which no
	 * other endpoint of the instance has; PASIDs tell them apart */
	uint32_t id;
	/** a batch is interrupted after so many operations; 0: 256 */
	uint32_t preempt_ops;
	/** or after one with which they have come to so many frames; 0: 2^18 */
	uint64_t preempt_frames;
};

struct viommu_xen_guest_config {
	size_t size;	/* sizeof(struct viommu_xen_guest_config) */
	uint32_t domid; /* below VIOMMU_XEN_SELF */
	/** mappings that it makes, those included whose flush is not done; 0:
	 * 2^20 */
	uint32_t max_mappings;
	/** what its gfns mean; the caller's, until the fence of its destruction
	 * is done; NULL: it gets one of its own, viommu_xen_guest_memory() */
	struct viommu_memory *memory;
	/** the last dfn there is; 0: 2^40 - 1 */
	uint64_t last_dfn;
	/** what must not be mapped, in bytes; copied */
	const struct viommu_reserved *reserved;
	uint32_t nreserved;
	uint32_t zero;
};

enum viommu_xen_op_kind {
	VIOMMU_XEN_MAP = 1, /* count pages of owner from gfn, at dfn */
	VIOMMU_XEN_UNMAP,   /* count pages at dfn, all of which are mapped */
	VIOMMU_XEN_FLUSH,   /* what was unmapped is gone */
	VIOMMU_XEN_LOOKUP,  /* what is mapped at dfn? */
};

/**
 * One operation.  Its status is written when it is over, and -errno is one of
 *
 *   -EACCES	not allowed, or the owner's page is read-only; for who may
 *		nothing, whatever else is wrong
 *   -EOPNOTSUPP	there is no such operation
 *   -EINVAL	a field that is not 0 and should be, an unknown flag or none,
 *		a page size there is not, a count of 0 or one that overflows, a
 *		gfn or dfn off the page size
 *   -ERANGE	beyond the last dfn
 *   -ESRCH	there is no such owner, or the caller is being destroyed
 *   -ENOENT	MAP: a gfn that is no memory; UNMAP, LOOKUP: not mapped
 *   -ENODEV	MAP: a gfn that is a device's
 *   -EADDRINUSE	MAP: a dfn is mapped
 *   -EADDRNOTAVAIL MAP: a dfn is reserved
 *   -E2BIG	MAP: the pages lie in more than 4,096 pieces of host memory
 *   -ENOSPC	MAP, or UNMAP that cuts: max_mappings, or another limit of the
 *		instance's; or -ENOMEM
 *   -EBUSY	the owner's pages are being moved or given up: try again
 *   -EAGAIN	MAP, UNMAP: max_threads other threads do DMA
 *   -EIO	FLUSH: a device was given up and may still touch what it did;
 *		MAP: the mapper was given up by config.expire
 *   -EEXIST	MAP: the name of the endpoint for the reference is taken
 *
 * or what a notifier of the mapper's endpoints answered; -EBUSY if that was
 * -EINPROGRESS, for only a FLUSH is over later.  On error nothing has changed,
 * but that a FLUSH has been committed.
 */
struct viommu_xen_op {
	uint16_t kind;	    /* enum viommu_xen_op_kind */
	uint16_t flags;	    /* MAP: VIOMMU_READ, VIOMMU_WRITE; LOOKUP sets it */
	uint16_t owner;	    /* MAP: domid or VIOMMU_XEN_SELF; LOOKUP sets it */
	uint8_t page_shift; /* MAP, UNMAP: lg2 of the bytes of a page */
	uint8_t zero;
	int32_t status;
	uint32_t zero2;
	uint64_t dfn;	/* a multiple of the page's frames, as gfn */
	uint64_t gfn;	/* MAP; LOOKUP sets it: behind dfn */
	uint64_t count; /* pages; LOOKUP sets it: frames of which this is so */
};

/** A batch.  The caller's storage, also while a flush waits. */
struct viommu_xen_batch {
	uint32_t mapper; /* who calls */
	uint32_t zero;
	struct viommu_xen_op *ops; /* each is read once */
	uint64_t n;
	uint64_t index; /* of the operation to go on with */
	/** the flush for which viommu_xen_run() returned -EINPROGRESS is over:
	 * its status is written, index is past it.  On whichever thread lets
	 * the last user go or polls, with no lock held; must not block; may
	 * come before viommu_xen_run() has returned */
	void (*done)(struct viommu_xen_batch *b);
	void *arg;
	uint64_t opaque[6];
};

/** A mapping, or what is left of one. */
struct viommu_xen_mapping {
	uint64_t dfn, gfn, count; /* frames */
	uint32_t owner;
	uint32_t flags; /* VIOMMU_READ, VIOMMU_WRITE */
};

struct viommu_xen_stats {
	uint64_t batches;    /* calls of viommu_xen_run() */
	uint64_t ops;	     /* that are over */
	uint64_t refused;    /* of those, with a status other than 0 */
	uint64_t mappings;   /* now */
	uint64_t references; /* DMA maps, now: those of mappings, and of what is
			      * unmapped and not yet done */
	uint64_t asked;	     /* references, when an owner wanted pages back */
	uint64_t unflushed;  /* gathered or committed, and not done */
	uint64_t waiting;    /* batches in a flush */
};

/**
 * Make the hypervisor's side.
 *
 * @param vi  instance
 * @param cfg copied
 * @param out owned by the caller
 * @return 0, -EINVAL (an option from a later version, no may, or pages of less
 *         than 4 KiB or of 2^55 bytes or more), -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_xen_create(struct viommu *vi, const struct viommu_xen_config *cfg,
		  struct viommu_xen **out);

/**
 * Unmake it.  The handle is dead on return.
 *
 * @param x without guests, the fences of whose destruction are done; or NULL
 * @param f fence
 *
 * Context: no other call into @p x is running or will be made.
 */
VIOMMU_API void viommu_xen_destroy(struct viommu_xen *x,
				   struct viommu_fence *f);

/**
 * Make a guest, which is an owner from then on, and a mapper if it may.
 *
 * @param x   hypervisor
 * @param cfg copied
 * @param out owned by the caller
 * @return 0, -EEXIST (there is one of that domid, or the fence of its
 *         destruction is not done), -EINVAL (an option from a later version,
 *         domid, a last_dfn of 2^42 or more, a reserved range with last <
 *         start), -ENOMEM
 *
 * Context: any thread, but no callback of a notifier.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_xen_guest_create(struct viommu_xen *x,
			const struct viommu_xen_guest_config *cfg,
			struct viommu_xen_guest **out);

/**
 * Destroy it, whatever it is doing: all it has mapped goes, and all that others
 * have mapped of it, in time proportional to that.  Its batches get -ESRCH from
 * here on, or their flush is over when it is done.  The handle is dead on
 * return.
 *
 * @param g guest, or NULL; the endpoints with its view have been destroyed
 * @param f an open fence: once done every reference that it held, or that was
 *          held on its pages, is dropped
 *
 * Context: any thread, but no callback of a notifier; cannot fail.
 */
VIOMMU_API void viommu_xen_guest_destroy(struct viommu_xen_guest *g,
					 struct viommu_fence *f);

/**
 * What its gfns mean.
 *
 * @param g guest
 * @return borrowed, until @p g is destroyed
 *
 * Context: any thread.
 */
VIOMMU_API struct viommu_memory *
viommu_xen_guest_memory(struct viommu_xen_guest *g);

/**
 * What its devices see: give it to their endpoints as memory.  It is filled by
 * MAP; only look.
 *
 * @param g guest
 * @return borrowed, until @p g is destroyed
 *
 * Context: any thread.
 */
VIOMMU_API struct viommu_memory *
viommu_xen_guest_view(struct viommu_xen_guest *g);

/**
 * Put a device's endpoint behind the interface.
 *
 * @param g  guest
 * @param ep made with viommu_xen_guest_view()
 * @param f  fence for what it saw before
 * @return as viommu_endpoint_attach(), never -EADDRNOTAVAIL
 *
 * Context: as viommu_endpoint_attach().
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_xen_guest_attach(struct viommu_xen_guest *g, struct viommu_endpoint *ep,
			struct viommu_fence *f);

/**
 * Run a batch from its index on.
 *
 * @param x hypervisor
 * @param b batch; index and the statuses are written
 * @return 0 (it is over), -EAGAIN (interrupted: call again), -EINPROGRESS (a
 *         flush waits for devices: @p b is the library's until done() is
 *         called; then call again), -ESRCH (no such guest), -EINVAL (index
 *         beyond n, no done, or a field that is not 0 and should be), -E2BIG
 *         (n is above 2^24); of the last three, nothing was done
 *
 * Context: any thread, several at once for one guest; no callback of a
 * notifier, nor a burst; revoke callbacks and done callbacks of fences may run
 * here.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_xen_run(struct viommu_xen *x,
						struct viommu_xen_batch *b);

/**
 * Find the first mapping of @p mapper whose last frame is at or after @p dfn:
 * the iterator.
 *
 * @param x      hypervisor
 * @param mapper domid
 * @param dfn    where to start looking
 * @param out    a copy
 * @return 0, -ENOENT (none), -ESRCH (no such guest)
 *
 * Context: any thread; the answer may be old by the time it is read.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_xen_next(struct viommu_xen *x, uint32_t mapper, uint64_t dfn,
		struct viommu_xen_mapping *out);

/**
 * Read the counters.
 *
 * @param x   hypervisor
 * @param out each counter is exact; together they are not a snapshot
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_xen_read_stats(struct viommu_xen *x,
				      struct viommu_xen_stats *out);

VIOMMU_END_DECLS

#endif
