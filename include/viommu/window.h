/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_WINDOW_H
#define VIOMMU_WINDOW_H

/**
 * @file
 * Windows: DMA to the same place again and again, as to a ring.
 *
 * A window remembers where its IOVAs led, and that nothing has been taken from
 * its space since.  An access to it is an access as those of dma.h, and under
 * the same law; it only walks no table as long as what it remembers is true.
 * Inside a burst (viommu_dma_enter()) that is a matter of some loads.
 *
 * Between accesses a window holds nothing: no fence waits for it.  What it
 * spans may be unmapped, mapped, remapped, its endpoint attached elsewhere:
 * the next access sees what is there by then.
 */

#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

/** The caller's storage; one thread at a time.  Holds no resources, so it may
 * be forgotten without viommu_window_close(). */
struct viommu_window {
	uint64_t opaque[32];
};

/**
 * Open a window.  What it spans need not be mapped: accesses find that out.
 *
 * @param w    storage
 * @param ep   endpoint, which outlives the window
 * @param iova first byte, any
 * @param len  bytes, any but 0
 * @param prot what it is for: READ, WRITE or both; each access needs only the
 *             one that it is
 * @return 0, -EINVAL (len 0, prot, or it wraps past 2^64)
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_window_open(struct viommu_window *w, struct viommu_endpoint *ep,
		   viommu_iova_t iova, uint64_t len, uint32_t prot);

/**
 * Close a window.
 *
 * @param w an open window
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_window_close(struct viommu_window *w);

/**
 * Copy from it.
 *
 * @param w      window
 * @param offset from its first byte
 * @param buf    to
 * @param len    bytes; 0 is fine
 * @return 0, -ERANGE (not all inside the window), -EINVAL (not opened for
 *         READ), -EFAULT, -EACCES, -EIO, -EINPROGRESS, -EAGAIN and
 *         -ELOOP as viommu_dma_read()
 *
 * Context: as viommu_dma_read().
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_window_read(struct viommu_window *w,
						    uint64_t offset, void *buf,
						    size_t len);

/**
 * Copy to it.
 *
 * @param w      window
 * @param offset from its first byte
 * @param buf    from
 * @param len    bytes; 0 is fine
 * @return as viommu_window_read(), for WRITE and as viommu_dma_write(); -EBUSY
 *         as there
 *
 * Context: as viommu_dma_write().
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_window_write(struct viommu_window *w,
						     uint64_t offset,
						     const void *buf,
						     size_t len);

/**
 * Load one little-endian word, acquire.
 *
 * @param w      window
 * @param offset such that the IOVA is a multiple of @p size
 * @param size   1, 2, 4 or 8
 * @param val    the value, host order
 * @return as viommu_window_read(), -EINVAL also as viommu_dma_load()
 *
 * Context: as viommu_dma_load().
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_window_load(struct viommu_window *w,
						    uint64_t offset,
						    unsigned size,
						    uint64_t *val);

/**
 * Store one little-endian word, release.
 *
 * @param w      window
 * @param offset such that the IOVA is a multiple of @p size
 * @param size   1, 2, 4 or 8
 * @param val    the value, host order
 * @return as viommu_window_write(), -EINVAL and -EBUSY also as
 *         viommu_dma_store()
 *
 * Context: as viommu_dma_store().
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_window_store(struct viommu_window *w,
						     uint64_t offset,
						     unsigned size,
						     uint64_t val);

VIOMMU_END_DECLS

#endif
