/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_VHOST_IOTLB_H
#define VIOMMU_SERVE_VHOST_IOTLB_H

/**
 * @file
 * The IOTLB of a vhost-user back-end whose front-end has an IOMMU
 * (VIRTIO_F_ACCESS_PLATFORM): a REMOTE space, filled by the front-end's UPDATE
 * messages, asking it by MISS, and acknowledging its INVALIDATE when nothing
 * can touch what went.  It knows nothing of sockets: hand in what came, send
 * what it gives out.
 *
 *      access -> nothing there -> miss()  ~~ MISS ~~>  front-end
 *      message()  <~~ UPDATE ~~   -> mapped -> wake(): try the access again
 *      message()  <~~ INVALIDATE ~~ -> gone; its last user lets go -> ack()
 *
 * What a message says takes effect within viommu_vhost_iotlb_message(), so in
 * the order of the socket: an INVALIDATE removes what an UPDATE before it
 * brought, and takes back the questions about its range, so that accesses ask
 * again.  The call waits for nobody; the acknowledgement may come later, and
 * acknowledgements keep the order of the messages.
 *
 * An UPDATE's user addresses become GPAs when it comes, by the regions that
 * were added.  It adds: where the same address leads to the same place already,
 * the permissions are united, since QEMU's virtio-iommu answers with no more
 * than what was asked for; what it took away it says by INVALIDATE.  Where an
 * address led elsewhere the UPDATE replaces that, and is acknowledged like an
 * INVALIDATE, when nobody uses the old place.
 *
 * It is a cache: when it is full, others' entries go, and are asked for again.
 * For an UPDATE in the place of what went and is still in use, it is the same
 * as if that had stayed.
 *
 * While a device is stopped its front-end says nothing of what goes.  So before
 * it starts again, forget everything (viommu_space_invalidate()).
 *
 * A holder of a DMA map must not wait for a miss: an UPDATE or INVALIDATE that
 * waits for the map would be in the way of the answer.
 *
 * ACCESS_FAIL is not sent: front-ends see themselves that a translation fails,
 * and QEMU takes it for an error.  Whom nobody answers, times out.
 */

#ifdef __cplusplus
struct vhost_iotlb_msg; /* the kernel's header is no C++ */
#else
#include <linux/vhost_types.h>
#endif
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_vhost_iotlb;

/** What to call.  All must be there; none may block. */
struct viommu_vhost_iotlb_ops {
	/** Send this on the back-end's channel; if there is no room, later: not
	 * more than max_misses are waited for.  Runs on the thread of the
	 * access, no library lock held.  What is lost times out. */
	void (*miss)(void *arg, const struct vhost_iotlb_msg *msg);
	/** Answer the message that was given @p token: 0, or -errno: with
	 * failure.
	 *	-EINVAL     unknown type or permission, a size of 0 in an
	 *	            UPDATE, off the page size, or it wraps
	 *	-EFAULT     user addresses of no region; nothing has changed
	 *	-ETIMEDOUT  an endpoint that held on was given up (L9); what was
	 *	            to go is gone for new accesses, but may be in use
	 *	-ENOBUFS    as many as max_pending of those are still in use:
	 *	            nothing has changed
	 * or what mapping failed with, although others' entries went for it:
	 * nothing of its range is cached.
	 * On any thread, one call at a time, perhaps before message() returns;
	 * may hand in the next message if it is on that thread. */
	void (*ack)(void *arg, uint64_t token, int status);
	/** Questions were settled: post to the device's thread that it look
	 * (viommu_vhost_iotlb_timed_out()) and try again what failed with
	 * -EINPROGRESS.  On any thread; may come before such an access has
	 * returned, and for each settled question once. */
	void (*wake)(void *arg);
};

struct viommu_vhost_iotlb_config {
	size_t size; /* sizeof(struct viommu_vhost_iotlb_config) */
	struct viommu *vi;
	const struct viommu_vhost_iotlb_ops *ops; /* copied */
	void *arg;
	/** unit of entries and questions: a power of two; 0: 4096.  An UPDATE
	 * that is off it is refused */
	uint64_t page_size;
	uint64_t max_entries;	  /* 0: 65,536 */
	uint64_t miss_timeout_ns; /* 0: one second */
	/** how long an acknowledgement waits for DMA; 0: as the instance */
	uint64_t fence_timeout_ns;
	uint32_t max_misses;  /* questions at once; 0: 1,024 */
	uint32_t max_regions; /* 0: 512 */
	uint32_t max_pending; /* messages that wait; 0: 256 */
	uint32_t reserved;    /* 0 */
};

/** Memory as the front-end knows it. */
struct viommu_vhost_region {
	viommu_gpa_t gpa;
	uint64_t user; /* its address in the front-end */
	uint64_t len;
};

/** Counters from its creation on. */
struct viommu_vhost_iotlb_stats {
	uint64_t entries;	/* now */
	uint64_t misses;	/* MISS messages */
	uint64_t timeouts;	/* of those, never answered */
	uint64_t updates;	/* that were carried out */
	uint64_t invalidations; /* likewise */
	uint64_t waited;	/* of both, not acknowledged at once */
	uint64_t evicted;	/* entries that went because it was full */
	uint64_t refused;	/* acknowledged with an error */
};

/**
 * Make an empty one.
 *
 * @param cfg limits and callbacks; copied
 * @param out the new one, owned by the caller
 * @return 0, -EINVAL (a callback is missing, page_size or max_misses that a
 *         space refuses, or an option from a later version), -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_vhost_iotlb_create(const struct viommu_vhost_iotlb_config *cfg,
			  struct viommu_vhost_iotlb **out);

/**
 * Unmake it: its space is destroyed, what waits for an acknowledgement gets
 * it.  The handle is dead on return.
 *
 * @param tlb one, or NULL
 * @param f   fence: once done nobody goes by an entry, no callback is running
 *            or will
 *
 * Context: the thread of the messages; cannot fail.
 */
VIOMMU_API void viommu_vhost_iotlb_destroy(struct viommu_vhost_iotlb *tlb,
					   struct viommu_fence *f);

/**
 * Its space, to attach endpoints to.
 *
 * @param tlb one
 * @return borrowed
 *
 * Context: any thread.
 */
VIOMMU_API struct viommu_space *
viommu_vhost_iotlb_space(struct viommu_vhost_iotlb *tlb);

/**
 * Forget every entry and every region and take back all questions: the
 * front-end is gone, or starts anew.
 *
 * @param tlb one
 * @param f   fence for the entries
 *
 * Context: the thread of the messages; messages that wait are acknowledged
 * nevertheless.
 */
VIOMMU_API void viommu_vhost_iotlb_reset(struct viommu_vhost_iotlb *tlb,
					 struct viommu_fence *f);

/**
 * Tell where a piece of memory is in the front-end.  That it is there at all
 * viommu_memory_add() has been told before.
 *
 * @param tlb one
 * @param r   region; copied
 * @return 0, -EINVAL (empty, or it wraps), -EEXIST (overlaps another, by GPA or
 *         user address), -ENOSPC (max_regions)
 *
 * Context: the thread of the messages.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_vhost_iotlb_region_add(struct viommu_vhost_iotlb *tlb,
			      const struct viommu_vhost_region *r);

/**
 * Forget a region, and the entries that lead there.
 *
 * @param tlb one
 * @param r   as added
 * @param f   fence for the entries; then viommu_memory_remove() with the same
 * @return 0, -ENOENT (no such region)
 *
 * Context: the thread of the messages; looks at every entry.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_vhost_iotlb_region_remove(struct viommu_vhost_iotlb *tlb,
				 const struct viommu_vhost_region *r,
				 struct viommu_fence *f);

/**
 * Turn a user address into a GPA: ring addresses, where the front-end has no
 * IOMMU.
 *
 * @param tlb  one
 * @param user first byte
 * @param len  bytes, not 0
 * @param out  the GPA
 * @return 0, -EFAULT (not all in one region)
 *
 * Context: the thread of the messages.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_vhost_iotlb_gpa_of_user(const struct viommu_vhost_iotlb *tlb,
			       uint64_t user, uint64_t len, viommu_gpa_t *out);

/**
 * Carry out what the front-end sent.  An INVALIDATE of size 0 is for everything
 * from its iova to the top; its user address and permission are ignored.
 *
 * @param tlb   one
 * @param msg   UPDATE or INVALIDATE
 * @param token passed to ack()
 * @return 0 (ack() comes, or was called already), -EBUSY (max_pending of them
 *         wait: nothing was done, and after the next ack() it may be handed in
 *         again)
 *
 * Context: one thread at a time, the thread of the messages; waits for nobody.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_vhost_iotlb_message(struct viommu_vhost_iotlb *tlb,
			   const struct vhost_iotlb_msg *msg, uint64_t token);

/**
 * Fetch a question that nobody answered in time.  What waits for it has failed:
 * asked again it would wait for the same once more.
 *
 * @param tlb   one
 * @param start first byte; of many, all of 2^64 may be told instead
 * @param last  last byte
 * @return 0, -ENOENT (no more)
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_vhost_iotlb_timed_out(struct viommu_vhost_iotlb *tlb,
			     viommu_iova_t *start, viommu_iova_t *last);

/**
 * Read the counters.
 *
 * @param tlb one
 * @param out each counter is exact; together they are not a snapshot
 *
 * Context: any thread.
 */
VIOMMU_API void
viommu_vhost_iotlb_read_stats(struct viommu_vhost_iotlb *tlb,
			      struct viommu_vhost_iotlb_stats *out);

VIOMMU_END_DECLS

#endif
