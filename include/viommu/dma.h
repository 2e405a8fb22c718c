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
 *
 * Each access may cross any number of mappings: adjacent IOVA is not adjacent
 * memory.  -EFAULT and -EACCES have been reported to the endpoint's fault
 * handler, once per call, with the first part that failed.
 *
 * "Lock-free" below holds while no fence is pending.  While one is, the call
 * that ends an access or a map looks whether it was waited for: it takes a
 * lock, and may run done callbacks.  Not for signal handlers.
 */

#include <sys/uio.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

/**
 * A DMA map.  The caller's storage, not to be copied while mapped; one thread
 * at a time.  The caller sets the first group, viommu_dma_map() sets niov, the
 * rest is the library's.
 */
struct viommu_dma {
	struct viommu_endpoint *ep;
	viommu_iova_t iova;
	uint64_t len;
	uint32_t prot; /* READ, WRITE or both */
	uint32_t max_iov;
	struct iovec *iov;

	uint32_t niov;
	uint32_t opaque32;
	uint64_t opaque[4];
};

/**
 * Copy from the device's view.
 *
 * @param ep   endpoint
 * @param iova where
 * @param buf  to
 * @param len  bytes; 0 is fine
 * @return 0, -EFAULT (some byte unmapped or no memory, detached, or wraps),
 *         -EACCES (some byte not readable), -EAGAIN (max_pins accesses are
 *         under way); @p buf may be partly written on error
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
 * @return as viommu_dma_read(), -EACCES if some byte is not writable; on
 *         error nothing was written, unless the space changed meanwhile
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
 * @return as viommu_dma_load(), for writing
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
 * @return as viommu_dma_load(), for reading and writing; compare @p old to
 *         know whether it swapped
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
 *         -EINVAL (len 0 or prot), -EAGAIN (max_pins maps are held)
 *
 * Context: any thread; lock-free; allocates nothing.  Until it is unmapped,
 * fences that take any of its range away wait for it (L3).
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
 * may run here.
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
