/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VV_DEVICE_H
#define VV_DEVICE_H

/*
 * What the files of the virtio-iommu front-end share.
 *
 * Locks: `lock` is the device's state: domains, who is attached, bypass.  The
 * library is called with it held, so it ranks above the library's locks; no
 * fence is committed and no callback of the embedder runs with it held, since
 * those may come back.  The event ring has a lock of its own, held over a copy
 * of 24 bytes and over no call at all: faults come from any thread, at any
 * depth.
 *
 * Life: `refs` counts the owner, each request that waits for its fence, and
 * nothing else.  viommu_virtio_destroy() hands the owner's to the fence `gone`
 * and holds the caller's fence; whoever drops the last one frees the device and
 * releases that hold (virtio.c).
 */

#include <linux/virtio_iommu.h>
#include <pthread.h>
#include <stdatomic.h>
#include <viommu/guest/virtio.h>
#include <viommu/space.h>
#include <viommu/viommu.h>

#include "guest/virtio/idmap.h"

/* Headers of older kernels end before these. */
#ifndef VIRTIO_IOMMU_F_BYPASS_CONFIG
#define VIRTIO_IOMMU_F_BYPASS_CONFIG 6
#endif
#ifndef VIRTIO_IOMMU_ATTACH_F_BYPASS
#define VIRTIO_IOMMU_ATTACH_F_BYPASS (1 << 0)
#endif

#define VV_FEATURE(bit) (UINT64_C(1) << (bit))

/* Never VIRTIO_IOMMU_F_BYPASS: 5.13.3 wants one of the two at most. */
#define VV_FEATURES                                                           \
	(VV_FEATURE(VIRTIO_IOMMU_F_INPUT_RANGE) |                             \
	 VV_FEATURE(VIRTIO_IOMMU_F_DOMAIN_RANGE) |                            \
	 VV_FEATURE(VIRTIO_IOMMU_F_MAP_UNMAP) |                               \
	 VV_FEATURE(VIRTIO_IOMMU_F_PROBE) | VV_FEATURE(VIRTIO_IOMMU_F_MMIO) | \
	 VV_FEATURE(VIRTIO_IOMMU_F_BYPASS_CONFIG))

enum {
	VV_EVENT_SIZE = sizeof(struct virtio_iommu_fault),
};
_Static_assert(sizeof(struct virtio_iommu_fault) == 24, "5.13.6.9");

/* Lives from the first ATTACH that names it to the last DETACH. */
struct vv_domain {
	struct vv_id id;
	struct viommu_space *space; /* its own; bypass: the device's */
	uint32_t endpoints;	    /* attached to it: at least one */
	bool bypass;
};

struct vv_endpoint {
	struct vv_id id;
	struct viommu_endpoint *ep;
	struct vv_domain *domain; /* or NULL: unattached */
};

/* Faults that the guest has not fetched; a ring of wire records. */
struct vv_events {
	pthread_mutex_t lock; /* innermost */
	struct virtio_iommu_fault *ring;
	uint32_t first, n, max;
};

struct viommu_virtio {
	struct viommu *vi;
	struct viommu_virtio_config cfg; /* defaults filled in; never changes */
	struct viommu_space *identity;	 /* what bypass sees */
	struct vv_events events;

	pthread_mutex_t lock;
	struct vv_id *domains, *endpoints; /* lock */
	uint32_t ndomains;		   /* lock */
	bool bypass;			   /* lock */

	_Atomic(uint64_t) accepted; /* features */

	_Atomic(uint64_t) requests, refused, maps, unmaps, attaches, detaches,
		probes, waiting, failed, fetched, dropped;

	_Atomic(uint32_t) refs;
	struct viommu_fence gone;	/* faults under way at destruction */
	struct viommu_fence *destroyed; /* the caller's, held by us */
};

/* ---- virtio.c --------------------------------------------------------- */

/* Somebody will come back to @v later, from a fence. */
void vv_ref(struct viommu_virtio *v);
/* It came; @v may be gone. */
void vv_unref(struct viommu_virtio *v);

/* All memory of the device comes from here, zeroed, or is NULL. */
void *vv_alloc(struct viommu_virtio *v, size_t n, size_t size);
void vv_free(struct viommu_virtio *v, void *p);

void vv_reset_locked(struct viommu_virtio *v, struct viommu_fence *f);

/* Let every unattached endpoint see what @bypass says. */
void vv_bypass_locked(struct viommu_virtio *v, bool bypass,
		      struct viommu_fence *f);

/* ---- domain.c; v->lock is held ---------------------------------------- */

struct vv_domain *vv_domain_find(struct viommu_virtio *v, uint32_t number);
struct vv_endpoint *vv_endpoint_find(struct viommu_virtio *v, uint32_t id);

/* Make a domain nobody is attached to: the caller attaches or destroys.
 * -ERANGE, -ENOSPC (max_domains; @spare more are fine), -ENOMEM. */
int vv_domain_create(struct viommu_virtio *v, uint32_t number, bool bypass,
		     uint32_t spare, struct vv_domain **out);
void vv_domain_destroy(struct viommu_virtio *v, struct vv_domain *d,
		       struct viommu_fence *f);

/* Let @e see @d in place of what it saw.  -EOPNOTSUPP: cannot. */
int vv_domain_join(struct viommu_virtio *v, struct vv_endpoint *e,
		   struct vv_domain *d, struct viommu_fence *f);

/* Let @e, attached or not, see what unattached endpoints see. */
void vv_domain_leave(struct viommu_virtio *v, struct vv_endpoint *e,
		     struct viommu_fence *f);

/* @e has seen the last of its domain: count it out. */
void vv_domain_put(struct viommu_virtio *v, struct vv_endpoint *e,
		   struct viommu_fence *f);

/* The four requests; -errno is request.c's to translate. */
int vv_attach(struct viommu_virtio *v, const struct virtio_iommu_req_attach *r,
	      struct viommu_fence *f);
int vv_detach(struct viommu_virtio *v, const struct virtio_iommu_req_detach *r,
	      struct viommu_fence *f);
int vv_map(struct viommu_virtio *v, const struct virtio_iommu_req_map *r);
int vv_unmap(struct viommu_virtio *v, const struct virtio_iommu_req_unmap *r,
	     struct viommu_fence *f);

/* Permissions of a mapping, the guest's and the library's. */
uint32_t vv_prot_of(uint32_t flags);
uint32_t vv_flags_of(uint32_t prot);

/* ---- probe.c ---------------------------------------------------------- */

/* Fill the @len zeroed bytes at @properties.  -ENOENT, -EMSGSIZE. */
int vv_probe(struct viommu_virtio *v, uint32_t endpoint, uint8_t *properties,
	     size_t len);

/* ---- event.c ---------------------------------------------------------- */

int vv_events_init(struct viommu_virtio *v);
void vv_events_fini(struct viommu_virtio *v);
/* Forget all faults. */
void vv_events_clear(struct viommu_virtio *v);
/* Queue a record; false: no room. */
bool vv_events_add(struct viommu_virtio *v, const struct virtio_iommu_fault *e);
/* Copy the record that @i older ones precede, leaving it; false: none. */
bool vv_events_peek(struct viommu_virtio *v, uint32_t i,
		    struct virtio_iommu_fault *out);

#endif
