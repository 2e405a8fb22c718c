/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_VIRTQUEUE_H
#define VIOMMU_SERVE_VIRTQUEUE_H

/**
 * @file
 * Split virtqueues (virtio 1.3, 2.7), the device's side.  Ring addresses and
 * buffers are the endpoint's IOVAs, touched by viommu_dma_* only: with an
 * endpoint on an IDENTITY space they are guest-physical.
 *
 *      pop --> the device works --> push ... publish --> interrupt?
 *
 * A ring is the guest's, so anything may stand in it.  What the specification
 * forbids (a loop, an index out of range, a ring that is not mapped any more)
 * breaks the queue: it moves no more until it is started anew, and
 * viommu_virtqueue_broken() says why.  No call does more than the work of one
 * chain, whatever the ring says.
 *
 * Where the endpoint's space is REMOTE, what a call needs may be asked for:
 * it returns -EINPROGRESS, nothing is lost, and the same call is to be made
 * again when a question is settled (which may have been before it returned:
 * space.h), as often as it takes.  If nobody answers, the queue is broken by
 * viommu_virtqueue_timed_out().
 *
 * A queue that is to outlive the process has an in-flight area, memory that
 * somebody else keeps, with the layout of vhost-user's for split rings.  It
 * says what was popped and not published, so that a process that comes after
 * one that died begins with exactly those requests, in their order, and then
 * goes on: what the driver was told is done is not done again, and nothing
 * else is forgotten.
 *
 * A queue is one thread's.
 */

#include <stdbool.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_virtqueue;

struct viommu_virtqueue_config {
	size_t size; /* sizeof(struct viommu_virtqueue_config) */
	struct viommu_endpoint *endpoint;
	uint16_t max_len; /* a power of two up to 32,768 */
	/** descriptors of one chain, max_len or more; a longer indirect table
	 * breaks the queue */
	uint16_t max_segments;
	uint32_t reserved; /* 0 */
};

/** Where the driver put a queue. */
struct viommu_ring {
	viommu_iova_t desc, avail, used;
	uint16_t len;	/* Queue Size */
	bool indirect;	/* VIRTIO_RING_F_INDIRECT_DESC was accepted */
	bool event_idx; /* VIRTIO_RING_F_EVENT_IDX was accepted */
};

/** Where a queue goes on that ran before, perhaps in another process. */
struct viommu_virtqueue_state {
	size_t size; /* sizeof(struct viommu_virtqueue_state) */
	/** in-flight area of this queue, zeroed at first; aligned to 8 bytes,
	 * left alone by others until the queue is stopped; or NULL */
	void *inflight;
	size_t inflight_len;
	/** index of the next request, as viommu_virtqueue_next() told; an area
	 * that was in use knows better */
	uint16_t next;
	uint16_t reserved[3]; /* 0 */
};

/** A piece of a request: what one descriptor describes. */
struct viommu_piece {
	viommu_iova_t iova;
	uint64_t len; /* 1 to 2^32 - 1 */
};

/** One request: a chain of descriptors.  The caller's storage. */
struct viommu_element {
	struct viommu_piece *segments; /* the caller's */
	uint32_t max;		       /* of them; max_segments suffices */

	/* The rest is set by viommu_virtqueue_pop().  First nout segments that
	 * the device reads, then nin that it writes. */
	uint16_t head;
	uint32_t nout, nin;
	uint64_t out_len, in_len; /* together at most 2^32 */
};

/**
 * Make a queue, stopped.
 *
 * @param cfg limits; copied
 * @param out the new queue, owned by the caller
 * @return 0, -EINVAL (bad limits, or an option from a later version), -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtqueue_create(const struct viommu_virtqueue_config *cfg,
			struct viommu_virtqueue **out);

/**
 * Unmake it.
 *
 * @param vq queue, or NULL
 *
 * Context: the queue's thread.
 */
VIOMMU_API void viommu_virtqueue_destroy(struct viommu_virtqueue *vq);

/**
 * Start at index 0 of a ring.  What was popped before is forgotten.
 *
 * @param vq   queue
 * @param ring where it is; copied
 * @return 0, -EINVAL (len is no power of two or above max_len, a misaligned
 *         address, or a part that wraps)
 *
 * Context: the queue's thread; does not look at the ring yet.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtqueue_start(struct viommu_virtqueue *vq,
		       const struct viommu_ring *ring);

/**
 * Start where a queue left off: at an index, behind what the ring says is used,
 * with what an in-flight area says was not.  What was popped before is
 * forgotten here, but not there.
 *
 * @param vq    queue
 * @param ring  where it is; copied
 * @param state where it goes on; copied
 * @return 0, -EINVAL (as viommu_virtqueue_start(); an area that is short, not
 *         aligned, of another version or of a shorter ring; or an
 *         option from a later version)
 *
 * Context: as viommu_virtqueue_start().
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtqueue_resume(struct viommu_virtqueue *vq,
			const struct viommu_ring *ring,
			const struct viommu_virtqueue_state *state);

/**
 * Tell the index of the next request (vhost-user: the vring's base).  To go on
 * there without an area, first publish all that was popped.
 *
 * @param vq queue, stopped or not
 * @return the index
 *
 * Context: the queue's thread.
 */
VIOMMU_API uint16_t viommu_virtqueue_next(const struct viommu_virtqueue *vq);

/**
 * Tell how long an in-flight area is.
 *
 * @param len of the ring
 * @return bytes, a multiple of 16
 *
 * Context: any thread.
 */
VIOMMU_API size_t viommu_virtqueue_inflight_len(uint16_t len);

/**
 * A question was not answered in time: if pop or publish waits for it, the
 * queue is broken.
 *
 * @param vq    queue
 * @param start first byte that was asked for
 * @param last  last byte
 *
 * Context: the queue's thread.
 */
VIOMMU_API void viommu_virtqueue_timed_out(struct viommu_virtqueue *vq,
					   viommu_iova_t start,
					   viommu_iova_t last);

/**
 * Stop: the ring is not touched again.  Pushing what was popped before is
 * harmless and does nothing.
 *
 * @param vq queue
 *
 * Context: the queue's thread.
 */
VIOMMU_API void viommu_virtqueue_stop(struct viommu_virtqueue *vq);

/**
 * Take the next request.
 *
 * @param vq   queue
 * @param elem segments and max are set
 * @return 0, -ENOENT (none, or stopped; the driver will notify when there is
 *         one), -EAGAIN (too many threads do DMA, or too much is asked
 *         for: try later), -EINPROGRESS (try when a question is settled),
 *         -EPROTO (the queue is broken)
 *
 * Context: the queue's thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtqueue_pop(struct viommu_virtqueue *vq, struct viommu_element *elem);

/**
 * Do not ask to be notified where a queue turns out to be empty: for who will
 * look again very soon without being told, and spares the driver an exit.
 *
 * @param vq    queue
 * @param quiet whether; from false on the next viommu_virtqueue_pop() that
 *              finds nothing asks again, so there has to be one
 *
 * Context: as viommu_virtqueue_pop().
 */
VIOMMU_API void viommu_virtqueue_quiet(struct viommu_virtqueue *vq, bool quiet);

/**
 * Give a request back.  The driver sees it after viommu_virtqueue_publish().
 *
 * @param vq      queue
 * @param elem    popped since the queue was started; in any order; dead on
 *                return
 * @param written bytes written to its writable part, from its start on
 *
 * Context: the queue's thread; cannot fail.
 */
VIOMMU_API void viommu_virtqueue_push(struct viommu_virtqueue *vq,
				      const struct viommu_element *elem,
				      uint32_t written);

/**
 * Show the driver what was pushed.
 *
 * @param vq queue
 * @return 1 (interrupt the driver; once also after viommu_virtqueue_resume()
 * and a pop, for whoever died before it did), 0 (it does not want to be, or
 * there was nothing to show), -EAGAIN and -EINPROGRESS (as pop; nothing is
 *         lost), -EPROTO (the queue is broken)
 *
 * Context: the queue's thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtqueue_publish(struct viommu_virtqueue *vq);

/**
 * Copy out of a request's readable part, across segments.
 *
 * @param vq   queue
 * @param elem popped
 * @param off  byte to start at
 * @param buf  to
 * @param len  bytes
 * @return 0, -EMSGSIZE (the part is shorter), or as viommu_dma_read()
 *
 * Context: the queue's thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtqueue_read(struct viommu_virtqueue *vq,
		      const struct viommu_element *elem, uint64_t off,
		      void *buf, size_t len);

/**
 * Copy into a request's writable part, across segments.
 *
 * @param vq   queue
 * @param elem popped
 * @param off  byte to start at
 * @param buf  from
 * @param len  bytes
 * @return 0, -EMSGSIZE (the part is shorter), or as viommu_dma_write(); the
 *         segments before the one that failed have been written
 *
 * Context: the queue's thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtqueue_write(struct viommu_virtqueue *vq,
		       const struct viommu_element *elem, uint64_t off,
		       const void *buf, size_t len);

/**
 * Tell why a queue does not move any more.
 *
 * @param vq queue
 * @return a static string for people, or NULL: it is not broken
 *
 * Context: the queue's thread.
 */
VIOMMU_API const char *
viommu_virtqueue_broken(const struct viommu_virtqueue *vq);

VIOMMU_END_DECLS

#endif
