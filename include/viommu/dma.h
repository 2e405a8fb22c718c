/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_DMA_H
#define VIOMMU_DMA_H

/**
 * @file
 * DMA: what device emulation calls.
 *
 *   - viommu_dma_read, write: copy; nothing to let go of
 *   - viommu_dma_load, store, cas: one aligned word, single-copy atomic
 *   - viommu_dma_map: pointers, until viommu_dma_unmap
 *   - viommu_dma_enter, exit: a burst, in which the first two cost less
 *
 * Long-lived cached accesses (rings) are windows: window.h.
 *
 * Each access may cross any number of mappings: adjacent IOVA is not adjacent
 * memory.  -EFAULT and -EACCES have been reported to the endpoint's fault
 * handler, once per call, with the first part that failed.
 *
 * "Lock-free" below holds while no fence is pending and no device answers.
 * While one is, the call that ends an access or a map looks whether it was
 * waited for: it takes a lock, and may run done callbacks.  Writes to memory
 * that is being moved wait (viommu_memory_move()).  Not for signal handlers.
 */

#include <sys/uio.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_dma;

/**
 * Please let go: a fence waits for this map, and its IOVAs lead elsewhere by
 * now, or nowhere.  Called at most once a map, by whichever thread commits the
 * fence or polls, or, if memory is being moved, ends an access or a map or
 * waits, with no library lock held.  The holder may call
 * viommu_dma_unmap() from within, later, or on another thread, and may map
 * again afterwards, also from within; that may fail, with the reason.
 *
 * viommu_dma_unmap() on another thread waits for this call to return, so it
 * must not take a lock that is held around a call of this file, nor wait for
 * the map's owner or for a fence; and of maps with revoke it must unmap none
 * but @p d, or two such calls may wait for each other.
 */
typedef void viommu_revoke_fn(struct viommu_dma *d);

/**
 * A DMA map.  The caller's storage, not to be copied while mapped; one thread
 * at a time.  The caller sets the first group and leaves it and what iov
 * points to alone until the map is gone; viommu_dma_map() sets niov, the rest
 * is the library's.
 */
struct viommu_dma {
	struct viommu_endpoint *ep;
	viommu_iova_t iova;
	uint64_t len;
	uint32_t prot; /* READ, WRITE or both */
	uint32_t max_iov;
	struct iovec *iov;
	viommu_revoke_fn *revoke; /* NULL: held for one request, not longer */
	void *arg;		  /* the caller's, for revoke */

	uint32_t niov;
	uint32_t opaque32;
	/** for revoke: what goes lies in there; all of it, or a part */
	viommu_iova_t taken, taken_last;
	uint64_t opaque[28];
};

/**
 * Begin a burst: a batch of accesses of @p ep by this thread under one
 * barrier.  Short, since fences that take anything of what @p ep sees wait for
 * its end: not longer than the handling of one queue notification.  Nests,
 * also with bursts of other endpoints.
 *
 * @param ep endpoint
 * @return 0, -EAGAIN (max_threads other threads do DMA, or this thread is in
 *         bursts of three other endpoints)
 *
 * Context: any thread, which also ends it; lock-free; must not wait for a
 * fence within, nor create or destroy @p ep.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_dma_enter(struct viommu_endpoint *ep);

/**
 * End a burst.
 *
 * @param ep as given to viommu_dma_enter()
 *
 * Context: the thread that began it; done callbacks of fences may run here.
 */
VIOMMU_API void viommu_dma_exit(struct viommu_endpoint *ep);

/**
 * Copy from the device's view.
 *
 * @param ep   endpoint
 * @param iova where
 * @param buf  to
 * @param len  bytes; 0 is fine
 * @return 0, -EFAULT (some byte unmapped or no memory, detached, or wraps),
 *         -EACCES (some byte not readable), -EIO (the endpoint was given up:
 *         viommu_endpoint_recover()), -EINPROGRESS (a REMOTE space has asked:
 *         space.h), -EAGAIN (max_threads other threads do DMA, or a REMOTE
 *         space has no room for another question), -ELOOP (devices that answer
 *         DMA by DMA, more than four deep); @p buf may be partly written on
 *         error.  -EFAULT also if a device answers there that refuses
 *
 * Context: any thread; lock-free; not atomic.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_dma_read(struct viommu_endpoint *ep,
						 viommu_iova_t iova, void *buf,
						 size_t len);

/**
 * Copy to the device's view.
 *
 * @param ep   endpoint
 * @param iova where
 * @param buf  from
 * @param len  bytes; 0 is fine
 * @return as viommu_dma_read(), -EACCES if some byte is not writable, -EBUSY
 *         (the memory is being moved, and this access must not wait); on error
 *         nothing was written, unless the space changed meanwhile, its memory
 *         began to move or a device refused
 *
 * Context: any thread; lock-free; not atomic.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_dma_write(struct viommu_endpoint *ep,
						  viommu_iova_t iova,
						  const void *buf, size_t len);

/**
 * Load one little-endian word, acquire.
 *
 * @param ep   endpoint
 * @param iova a multiple of @p size
 * @param size 1, 2, 4 or 8
 * @param val  the value, host order
 * @return as viommu_dma_read(), -EINVAL (bad size or alignment, or the memory
 *         it is mapped to is no aligned word; not reported as a fault)
 *
 * Context: any thread; lock-free.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_dma_load(struct viommu_endpoint *ep,
						 viommu_iova_t iova,
						 unsigned size, uint64_t *val);

/**
 * Store one little-endian word, release.
 *
 * @param ep   endpoint
 * @param iova a multiple of @p size
 * @param size 1, 2, 4 or 8
 * @param val  the value, host order
 * @return as viommu_dma_load(), for writing, and -EBUSY as viommu_dma_write()
 *
 * Context: any thread; lock-free.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_dma_store(struct viommu_endpoint *ep,
						  viommu_iova_t iova,
						  unsigned size, uint64_t val);

/**
 * Compare and swap one little-endian word, sequentially consistent.
 *
 * @param ep   endpoint
 * @param iova a multiple of @p size
 * @param size 1, 2, 4 or 8
 * @param old  what is expected; on return, what was there
 * @param val  what to put there if it was
 * @return 0, -EFAULT, -EACCES, -EIO, -EINPROGRESS, -EAGAIN and -EBUSY as
 *         viommu_dma_write(), for reading, too; -EINVAL as viommu_dma_load();
 *         -ENODEV (a device answers there); compare @p old to know whether it
 *         swapped
 *
 * Context: any thread; lock-free.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_dma_cas(struct viommu_endpoint *ep,
						viommu_iova_t iova,
						unsigned size, uint64_t *old,
						uint64_t val);

/**
 * Turn IOVA into pointers, for all of the range or none of it.
 *
 * @param d the caller's group is set
 * @return 0 with d->iov[0..niov-1] covering len bytes in order, -EFAULT and
 *         -EACCES as viommu_dma_read(), -E2BIG (more than max_iov pieces),
 *         -ENODEV (some of it is a device's: no pointer leads there, but read
 *         and write do), -EINVAL (len 0 or prot), -EIO, -EINPROGRESS, -EAGAIN
 *         and -EBUSY as viommu_dma_write(), the last also if a move waits for
 *         another map of this thread or of ep
 *
 * Context: any thread; allocates nothing.  Lock-free for the first eleven maps
 * that this thread holds; those beyond, maps with revoke, and maps for writing
 * whose memory is not contiguous take a lock of the thread's own.  Until it is
 * unmapped, fences that take any of its range away wait for it (L3).
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_dma_map(struct viommu_dma *d);

/**
 * Let go.  The pointers are dead; fences that waited for this map alone are
 * done when it returns.
 *
 * @param d       a mapped map; may be reused or freed on return
 * @param written bytes written, from the first on, for the dirty log
 *
 * Context: any thread, also another than mapped it; done callbacks of fences
 * may run here; waits for a revoke callback of @p d that another thread runs.
 */
VIOMMU_API void viommu_dma_unmap(struct viommu_dma *d, uint64_t written);

/**
 * Translate without holding on to anything: for look-ups and tests.
 *
 * @param ep   endpoint
 * @param iova where
 * @param prot what is needed; 0: just look
 * @param out  a copy of the mapping around @p iova
 * @return 0, -EFAULT (unmapped or detached), -EACCES; no fault is reported
 *
 * Context: any thread; the answer may be old by the time it is read.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_dma_translate(struct viommu_endpoint *ep, viommu_iova_t iova,
		     uint32_t prot, struct viommu_mapping *out);

VIOMMU_END_DECLS

#endif
