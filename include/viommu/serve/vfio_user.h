/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_VFIO_USER_H
#define VIOMMU_SERVE_VFIO_USER_H

/**
 * @file
 * vfio-user servers: show a PCI function to a VMM in another process over a
 * UNIX socket (vfio-user protocol 0.0 and 0.1, as QEMU's vfio-user-pci speaks
 * it).
 *
 * The reply to DMA_UNMAP is sent when the fence of the removal is done.  The
 * loop goes on meanwhile, and so does the client: register accesses and resets
 * that come later are carried out at once; answers to DMA_MAP and DMA_UNMAP
 * keep their order among themselves, since clients wait for the last one only.
 *
 * A client may have an IOMMU of its own, and send a map for each IOVA: 262,144
 * of them at once, of which those that show one file share its mapping here. An
 * unmap takes every map inside its range, and waits for the DMA that overlaps
 * them, not for the whole device; one that would cut a map is refused.
 *
 * The reply to DEVICE_RESET, and to a write that resets the function or takes
 * bus mastering away, is sent when the function does no more DMA
 * (<viommu/serve/pci.h>).  What comes after it, posted writes too, waits unread
 * for up to 2 seconds; after that it is carried out, and the registers say that
 * the reset goes on.
 *
 * One client at a time.  When it is gone the function is reset.  A second one
 * that connects waits, unanswered, until the first is gone, that reset is over
 * and nobody touches the first one's memory any more.  A client that
 * does not start with VERSION within 5 seconds is sent away.
 *
 * Memory that comes without a file descriptor cannot be mapped.  The message
 * that would fetch it from the client is laid out differently in the protocol's
 * text and in QEMU (which takes a 32-bit count and answers writes with a
 * header only), so reads do not interoperate.  Such a range is accepted and
 * counted (holes), and every access to it faults.  Writes that nobody has to
 * answer work in either layout: viommu_vfio_user_dma_write().
 *
 * A client may cut a file short that it has given away; touching what is gone
 * raises SIGBUS: see <viommu/serve/sigbus.h>.
 */

#include <stdbool.h>
#include <viommu/serve/pci.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_vfio_user;

/** How DMA_WRITE commands to the client are laid out. */
enum viommu_vfio_user_layout {
	VIOMMU_VFIO_USER_LAYOUT_QEMU, /* u32 count, data follows */
	VIOMMU_VFIO_USER_LAYOUT_SPEC, /* u64 count, data follows */
};

struct viommu_vfio_user_config {
	size_t size;	  /* sizeof(struct viommu_vfio_user_config) */
	const char *path; /* of the socket, made here; at most 107 bytes */
	struct viommu_pci *pci;
	/** a client came (@p why is NULL) or went (why, for people; static or
	 * valid during the call); on the loop's thread, must not destroy the
	 * server; may be NULL */
	void (*state)(void *arg, bool connected, const char *why);
	void *arg;
	uint32_t layout;   /* enum viommu_vfio_user_layout */
	uint32_t reserved; /* 0 */
};

struct viommu_vfio_user_stats {
	uint64_t messages, dma_maps, dma_unmaps, region_reads, region_writes,
		interrupts;
	/** connections ended since the client broke the protocol */
	uint64_t protocol_errors;
	uint64_t refused; /* messages answered with an error, or dropped */
	uint64_t holes;	  /* DMA_MAP without a file descriptor */
	uint64_t maps;	  /* that exist now, holes too */
};

/**
 * Listen.  One client at a time; after it went, its memory is removed and the
 * next may come.
 *
 * @param cfg socket and function; copied
 * @param out the new server, owned by the caller
 * @return 0, -EINVAL (also: the function has a server already), -EADDRINUSE
 *         (somebody listens there, or the file is no socket; a stale socket
 *         file is replaced), -ENAMETOOLONG, -EACCES, -ENOENT (no such folder),
 *         -EMFILE, -ENOMEM, or what else bind(2) failed with
 *
 * Context: the loop's thread, or before it runs.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_vfio_user_create(const struct viommu_vfio_user_config *cfg,
			struct viommu_vfio_user **out);

/**
 * Disconnect the client, remove its memory, stop listening and remove the
 * socket file.  Resets the function and waits for the fence of the removal;
 * meanwhile the loop's other callbacks go on, within this call, so that device
 * models can let go of their maps.
 *
 * @param server server, or NULL
 *
 * Context: the loop's thread, or while it does not run; sleeps.
 */
VIOMMU_API void viommu_vfio_user_destroy(struct viommu_vfio_user *server);

/**
 * Write to memory of the client by message, also where it gave no file
 * descriptor, or to what is no memory at all (an interrupt's address).  No
 * translation: @p gpa is what the client calls it.  Nobody answers: the write
 * is under way when this returns, in order with later replies.
 *
 * @param server server
 * @param gpa    where
 * @param buf    from
 * @param len    bytes, at most 64 KiB; split as the client asks for
 * @return 0, -ENOTCONN (no client that has negotiated), -EPERM (bus mastering
 *         is off), -EAGAIN (the client does not read what was sent before),
 *         -EINVAL (len, or wraps)
 *
 * Context: the loop's thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_vfio_user_dma_write(struct viommu_vfio_user *server, viommu_gpa_t gpa,
			   const void *buf, size_t len);

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
