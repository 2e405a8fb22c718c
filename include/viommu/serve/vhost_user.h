/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_VHOST_USER_H
#define VIOMMU_SERVE_VHOST_USER_H

/**
 * @file
 * A vhost-user back-end: one virtio device (virtio.h) for a front-end such as
 * QEMU's, over a UNIX socket, as the transport of that device.
 *
 * Where the driver accepts ACCESS_PLATFORM, the front-end has an IOMMU: all
 * addresses are IOVAs, asked for by IOTLB messages (vhost_iotlb.h), and an
 * INVALIDATE is acknowledged when no request in flight can touch what went.
 * Otherwise they are guest-physical.  The endpoint of the device is attached
 * accordingly, so the embedder leaves that alone.  The device's memory is what
 * the front-end gives: files in memory (memfd, tmpfs, hugetlbfs).  When some of
 * it is taken back, that is acknowledged when nobody touches it.
 *
 * Acknowledgements keep the order of the messages.  While one waits, further
 * messages are carried out; behind a GET_VRING_BASE they wait until the ring's
 * requests are finished.  If a request does not let go in time (L9), the
 * message is answered with an error, and the device needs a reset: it runs
 * again when the front-end has stopped its rings, or has come back.
 *
 * SET_FEATURES while no ring runs forgets what the IOTLB knows: front-ends do
 * not say what goes while the device is stopped.
 *
 * What cannot be carried out is answered with an error if the front-end asked
 * for an answer, else, or if it cannot be understood, the connection ends.
 *
 * One front-end at a time.  When it is gone the device is reset; the next one
 * waits until nobody touches the memory of the one before.  A front-end that
 * keeps an in-flight area (INFLIGHT_SHMFD) has requests carried out again that
 * this process, or one before it, did not finish.
 *
 * Migration: with LOG_ALL, pages that the device writes are marked in the
 * front-end's log by their guest-physical address, before the driver is shown
 * that a request is done, and those of the rings right after.
 *
 * Eventfds only: a kick that has no descriptor is refused, there is no polling.
 * A front-end may cut a file short that it has given away; touching what is
 * gone raises SIGBUS: see <viommu/serve/sigbus.h>.
 */

#include <stdbool.h>
#include <viommu/serve/vhost_iotlb.h>
#include <viommu/serve/virtio.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_vhost_user;

struct viommu_vhost_user_config {
	size_t size;	  /* sizeof(struct viommu_vhost_user_config) */
	const char *path; /* of the socket, made here; at most 107 bytes */
	struct viommu_virtio_dev *dev;
	/** a front-end came (@p why is NULL) or went (why, for people; valid
	 * during the call); on the loop's thread, must not destroy the server;
	 * may be NULL */
	void (*state)(void *arg, bool connected, const char *why);
	/** something is wrong, and the connection goes on: a message was
	 * answered with an error, or the device failed; as state() */
	void (*trouble)(void *arg, const char *what);
	void *arg;
	uint64_t miss_timeout_ns;  /* see vhost_iotlb.h; 0: one second */
	uint64_t fence_timeout_ns; /* of acknowledgements; 0: the instance's */
};

struct viommu_vhost_user_stats {
	uint64_t connections, messages;
	/** connections ended since the front-end broke the protocol */
	uint64_t protocol_errors;
	uint64_t refused; /* messages answered with an error */
	uint64_t kicks, interrupts;
	uint64_t regions; /* of memory, now */
	uint64_t waited;  /* acknowledgements, not given at once */
	struct viommu_vhost_iotlb_stats iotlb;
};

/**
 * Listen.
 *
 * @param cfg socket and device; copied
 * @param out the new server, owned by the caller
 * @return 0, -EINVAL (an option from a later version, or something is missing),
 *         -EBUSY (the device has a transport), -EADDRINUSE (somebody listens
 *         there, or the file is no socket; a stale socket file is replaced),
 *         -ENAMETOOLONG, -EACCES, -ENOENT (no such folder), -EMFILE, -ENOMEM,
 *         or what else bind(2) failed with
 *
 * Context: the loop's thread, or before it runs.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_vhost_user_create(const struct viommu_vhost_user_config *cfg,
			 struct viommu_vhost_user **out);

/**
 * Disconnect the front-end, remove its memory, stop listening and remove the
 * socket file.  Resets the device, detaches its endpoint and waits for the
 * fence; meanwhile the loop's other callbacks go on, within this call.
 *
 * @param server server, or NULL
 *
 * Context: the loop's thread, or while it does not run; sleeps.
 */
VIOMMU_API void viommu_vhost_user_destroy(struct viommu_vhost_user *server);

/**
 * Read the counters.
 *
 * @param server server
 * @param out    each counter is exact; together they are not a snapshot
 *
 * Context: any thread.
 */
VIOMMU_API void
viommu_vhost_user_read_stats(const struct viommu_vhost_user *server,
			     struct viommu_vhost_user_stats *out);

VIOMMU_END_DECLS

#endif
