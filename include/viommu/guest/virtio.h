/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_GUEST_VIRTIO_H
#define VIOMMU_GUEST_VIRTIO_H

/**
 * @file
 * virtio-iommu, as section 5.13 of the virtio specification 1.3 has it, less
 * the transport: buffers in, done() out.
 *
 * UNMAP, DETACH, and an ATTACH that moves an endpoint are answered when their
 * fence is done; requests that come later do not wait behind them.
 *
 * Not for ever, if the embedder lets deadlines pass (viommu_poll()): when an
 * endpoint in the way is given up, the request is answered at once, with
 * VIRTIO_IOMMU_S_DEVERR and never with OK.  To the guest that says: what was
 * to be taken is gone for every new access, and the request must not be
 * repeated; but the device that was given up may still touch what it touched,
 * until the guest has reset it and the reset is over.  Pages that were mapped
 * must not be reused before.
 */

#include <stdbool.h>
#include <viommu/endpoint.h>
#include <viommu/fault.h>
#include <viommu/fence.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_virtio;

struct viommu_virtio_config {
	size_t size;		   /* sizeof(struct viommu_virtio_config) */
	uint64_t page_size_mask;   /* 0: 4 KiB and above */
	viommu_iova_t input_start; /* both 0: everything */
	viommu_iova_t input_last;
	uint32_t domain_first; /* both 0: all of them */
	uint32_t domain_last;
	uint32_t probe_size;  /* 0: 512 */
	uint32_t max_domains; /* 0: 65,536 */
	uint32_t max_events;  /* faults kept for the guest; 0: 64 */
	/** unattached endpoints see all memory until the guest says otherwise;
	 * kept by viommu_virtio_reset() */
	bool bypass;
	/** a fault waits to be fetched by viommu_virtio_event(); called on the
	 * faulting thread, must not block; may be NULL */
	void (*event)(void *arg);
	void *arg;
};

/** One request.  The caller's storage, until done() or, if that is set,
 * release(). */
struct viommu_virtio_req {
	const void *out; /* the device-readable part, copied by the caller */
	size_t out_len;
	void *in; /* the device-writable part; written from its start */
	size_t in_len;
	/** the answer is in @p in; @p written is the used length; neither
	 * buffer is touched from here on.  Runs within viommu_virtio_request(),
	 * or later on whichever thread lets the last user of a mapping go or
	 * polls; must not block.  May reuse the request if release is NULL. */
	void (*done)(struct viommu_virtio_req *req, size_t written);
	/** called once, after done() has returned: the request may be reused.
	 * At once as a rule; when its fence is done, if it was answered with
	 * DEVERR before that.  As done() in all else.  NULL: the request has
	 * no place to stay, so its answer waits for the fence, however long
	 * that takes. */
	void (*release)(struct viommu_virtio_req *req);
	void *arg;
	uint64_t opaque[64];
};

/** What guests asked for. */
struct viommu_virtio_stats {
	uint64_t requests;
	uint64_t refused; /* answered with a status other than OK */
	uint64_t maps, unmaps, attaches, detaches, probes; /* answered OK */
	uint64_t waiting;	 /* requests whose fence is not done */
	uint64_t failed;	 /* answered DEVERR: a device did not let go */
	uint64_t events;	 /* faults fetched by the guest */
	uint64_t events_dropped; /* faults lost since the guest is slow */
};

/**
 * Make the device.
 *
 * @param vi  instance
 * @param cfg what the guest will read; copied; NULL means defaults
 * @param out the new device, owned by the caller
 * @return 0, -EINVAL (an option from a later version, last < start, a granule
 *         above 2^30, probe_size above 1 MiB), -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtio_create(struct viommu *vi, const struct viommu_virtio_config *cfg,
		     struct viommu_virtio **out);

/**
 * Unmake it: remove its endpoints, destroy its spaces.  The handle is dead on
 * return, but for faults and requests under way, which the fence waits for:
 * once it is done every waiting request has been answered, and released.
 *
 * @param v device, or NULL
 * @param f fence
 *
 * Context: no other call into @p v is running or will be made; no access of an
 * endpoint behind it begins any more, since its faults come here.
 */
VIOMMU_API void viommu_virtio_destroy(struct viommu_virtio *v,
				      struct viommu_fence *f);

/**
 * Put an endpoint behind the device.  Until the guest attaches it, it sees all
 * memory or none, as the bypass field says (virtio 5.13.6.2).
 *
 * @param v  device
 * @param ep endpoint without a PASID, attached to nothing; its reserved ranges
 *           are what PROBE tells; its fault handler should be
 *           viommu_virtio_fault() with @p v
 * @return 0, -EEXIST (it is there already), -EINVAL (another instance's, or
 *         with a PASID), -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_virtio_add(struct viommu_virtio *v,
						   struct viommu_endpoint *ep);

/**
 * Take an endpoint out from behind the device and detach it.
 *
 * @param v  device
 * @param ep endpoint; one that is not behind it is left alone
 * @param f  fence
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_virtio_remove(struct viommu_virtio *v,
				     struct viommu_endpoint *ep,
				     struct viommu_fence *f);

/**
 * The fault handler for endpoints behind the device: queues a fault for the
 * guest's event queue, or drops and counts it when max_events wait.
 *
 * @param v     a struct viommu_virtio
 * @param fault fault
 *
 * Context: any thread; does not block.
 */
VIOMMU_API void viommu_virtio_fault(void *v, const struct viommu_fault *fault);

/**
 * Carry out one request of the request queue.
 *
 * @param v   device
 * @param req out, in and done are set
 *
 * Context: any thread, one at a time: requests take effect in the order given.
 */
VIOMMU_API void viommu_virtio_request(struct viommu_virtio *v,
				      struct viommu_virtio_req *req);

/**
 * Fetch the oldest fault that the guest has not been told, as the event
 * queue's record (24 bytes, virtio 5.13.6.9).
 *
 * @param v   device
 * @param buf to
 * @param len its size
 * @return bytes written, 0 (no fault waits), -EMSGSIZE (len < 24; nothing was
 *         taken)
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_virtio_event(struct viommu_virtio *v,
						     void *buf, size_t len);

/**
 * Tell which device features there are (bits 0 to 6, virtio 5.13.3).
 *
 * @param v device
 * @return bit mask
 *
 * Context: any thread.
 */
VIOMMU_API uint64_t viommu_virtio_features(const struct viommu_virtio *v);

/**
 * Tell which of them the driver accepted.  Requests and flags that come with a
 * feature it did not accept are then unknown; the bypass field keeps its
 * meaning (virtio 5.13.6.1).  Until told, and after a reset, all are taken as
 * accepted, so a transport need not call this.
 *
 * @param v        device
 * @param accepted bit mask; bits that were not offered are ignored
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_virtio_features_write(struct viommu_virtio *v,
					     uint64_t accepted);

/**
 * Read the device's configuration space (virtio 5.13.4).
 *
 * @param v   device
 * @param off offset
 * @param buf to; bytes past the end of the space read as zero
 * @param len bytes
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_virtio_config_read(struct viommu_virtio *v, size_t off,
					  void *buf, size_t len);

/**
 * Write the device's configuration space; only bypass is writable, to 0 or 1;
 * anything else is ignored.
 *
 * @param v   device
 * @param off offset
 * @param buf from
 * @param len bytes
 * @param f   fence: unattached endpoints may lose their access
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_virtio_config_write(struct viommu_virtio *v, size_t off,
					   const void *buf, size_t len,
					   struct viommu_fence *f);

/**
 * Device reset: nothing is attached, no domain exists, no fault waits; bypass
 * stays (virtio 5.13.4.2).
 *
 * @param v device
 * @param f fence
 *
 * Context: any thread; requests still waiting are answered, or released, in
 * their turn.
 */
VIOMMU_API void viommu_virtio_reset(struct viommu_virtio *v,
				    struct viommu_fence *f);

/**
 * Write the device's state in the portable form "viommu virtio 1": bypass,
 * domains, mappings, which endpoints are attached, faults not yet fetched.
 *
 * @param v   device that no request changes meanwhile
 * @param buf to; NULL with @p len 0 asks for the size
 * @param len its size
 * @return the size of the state; if larger than @p len nothing was written
 *
 * Context: any thread.
 */
VIOMMU_API size_t viommu_virtio_save(struct viommu_virtio *v, void *buf,
				     size_t len);

/**
 * Restore a state into a device just made with the same configuration, behind
 * which the same endpoints have been put.
 *
 * @param v   device, nothing attached
 * @param buf from viommu_virtio_save(), by any version up to this one
 * @param len its size
 * @return 0, -EINVAL (not such a state, cut short, or damaged), -EOPNOTSUPP
 *         (of a later version), -ENOENT (an endpoint is missing), -ERANGE
 *         (does not fit the configuration or an endpoint's reserved ranges),
 *         -ENOMEM, -ENOSPC; on error the device is as after a reset
 *
 * Context: any thread; does not block; hostile input is fine.  What unattached
 * endpoints had under way by bypass is not waited for.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtio_load(struct viommu_virtio *v, const void *buf, size_t len);

/**
 * Read the counters.
 *
 * @param v   device
 * @param out each counter is exact; together they are not a snapshot
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_virtio_read_stats(struct viommu_virtio *v,
					 struct viommu_virtio_stats *out);

VIOMMU_END_DECLS

#endif
