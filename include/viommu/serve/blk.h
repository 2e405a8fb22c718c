/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_BLK_H
#define VIOMMU_SERVE_BLK_H

/**
 * @file
 * virtio-blk (virtio 1.3, 5.2) on a raw image: IN, OUT, FLUSH, GET_ID,
 * DISCARD, WRITE_ZEROES.  io_uring reads and writes the guest's pages in
 * place: a request in flight is a live DMA map.
 */

#include <stdbool.h>
#include <viommu/serve/pci.h>
#include <viommu/serve/virtio.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_blk;

struct viommu_blk_config {
	size_t size; /* sizeof(struct viommu_blk_config) */
	const char *name;
	struct viommu_loop *loop;
	struct viommu *vi;
	struct viommu_memory *memory;
	struct viommu_endpoint *endpoint; /* rings and data go through it */
	const char *path;		  /* a file or a block device */
	bool readonly;
	const char *serial; /* at most 20 bytes; NULL: none */
	uint32_t queues;    /* 0: one; up to 16 */
	/** no PCI function: the embedder gives viommu_blk_virtio() another
	 * transport, and drivers need not accept ACCESS_PLATFORM */
	bool no_pci;
	/** for tests and demonstrations, a slow disk: what reads or writes any
	 * of these sectors takes so much longer, as seen by the driver and by
	 * whoever takes its memory away.  Both sectors 0: all of them */
	uint32_t delay_us;
	uint64_t delay_first, delay_last;
};

struct viommu_blk_stats {
	uint64_t requests;
	uint64_t errors; /* answered with a status other than OK */
	uint64_t bytes_read, bytes_written;
};

/**
 * Make the device, its PCI function, and open its image.
 *
 * @param cfg names; copied
 * @param out the new function, owned by the caller
 * @return 0, -EINVAL (also: not a file or block device, or its size is no
 *         multiple of 512), -EBUSY (another process has it open for writing
 *         and holds its lock), -ENOSYS or -EPERM (no io_uring here), -ENOMEM,
 *         or what open(2) failed with
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_blk_create(const struct viommu_blk_config *cfg, struct viommu_blk **out);

/**
 * Unmake it: waits for the I/O in flight, flushes and closes the image.
 *
 * @param blk function, or NULL; its transport must have been destroyed
 *
 * Context: the loop's thread, or while it does not run; sleeps.
 */
VIOMMU_API void viommu_blk_destroy(struct viommu_blk *blk);

/**
 * Its PCI function, for a server.
 *
 * @param blk function
 * @return borrowed; NULL if it was made without
 *
 * Context: any thread.
 */
VIOMMU_API struct viommu_pci *viommu_blk_pci(struct viommu_blk *blk);

/**
 * Its virtio device, for a transport.
 *
 * @param blk function
 * @return borrowed
 *
 * Context: any thread.
 */
VIOMMU_API struct viommu_virtio_dev *viommu_blk_virtio(struct viommu_blk *blk);

/**
 * Read the counters.
 *
 * @param blk function
 * @param out each counter is exact; together they are not a snapshot
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_blk_read_stats(const struct viommu_blk *blk,
				      struct viommu_blk_stats *out);

VIOMMU_END_DECLS

#endif
