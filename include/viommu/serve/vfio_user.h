/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_VFIO_USER_H
#define VIOMMU_SERVE_VFIO_USER_H

/**
 * @file
 * vfio-user servers: show a PCI function to a VMM in another process over a
 * UNIX socket (vfio-user protocol 0.0 and 0.1, as QEMU's vfio-user-pci speaks
 * it).  The reply to DMA_UNMAP is sent when the fence of the removal is done.
 */

#include <stdbool.h>
#include <viommu/serve/pci.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_vfio_user;

struct viommu_vfio_user_config {
	size_t size;	  /* sizeof(struct viommu_vfio_user_config) */
	const char *path; /* of the socket, made here; at most 107 bytes */
	struct viommu_pci *pci;
	/** a client came (@p why is NULL) or went (why, for people; static or
	 * valid during the call); on the loop's thread; may be NULL */
	void (*state)(void *arg, bool connected, const char *why);
	void *arg;
};

struct viommu_vfio_user_stats {
	uint64_t messages, dma_maps, dma_unmaps, region_reads, region_writes,
		interrupts;
	/** connections ended since the client broke the protocol */
	uint64_t protocol_errors;
};

/**
 * Listen.  One client at a time; after it went, its memory is removed and the
 * next may come.
 *
 * @param cfg socket and function; copied
 * @param out the new server, owned by the caller
 * @return 0, -EINVAL, -EADDRINUSE (somebody listens there; a stale socket file
 *         is replaced), -ENAMETOOLONG, -EACCES, -ENOENT (no such folder),
 *         -EMFILE, -ENOMEM
 *
 * Context: the loop's thread, or before it runs.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_vfio_user_create(const struct viommu_vfio_user_config *cfg,
			struct viommu_vfio_user **out);

/**
 * Disconnect the client, remove its memory, stop listening and remove the
 * socket file.  Waits for the fence of the removal: device models must let go
 * of their maps meanwhile.
 *
 * @param server server, or NULL
 *
 * Context: the loop's thread, or while it does not run; sleeps.
 */
VIOMMU_API void viommu_vfio_user_destroy(struct viommu_vfio_user *server);

/**
 * Read the counters.
 *
 * @param server server
 * @param out    each counter is exact; together they are not a snapshot
 *
 * Context: any thread.
 */
VIOMMU_API void
viommu_vfio_user_read_stats(const struct viommu_vfio_user *server,
			    struct viommu_vfio_user_stats *out);

VIOMMU_END_DECLS

#endif
