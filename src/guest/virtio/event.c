/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The event queue (5.13.6.9): faults on their way to the guest.  A ring of
 * max_events records; what comes when it is full is dropped and counted, as
 * 5.13.6.9.2 allows: a hostile guest can make millions of faults.
 *
 * Locks: the ring's own, over copies only.  The embedder is told afterwards.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "guest/virtio/device.h"

int vv_events_init(struct viommu_virtio *v)
{
	struct vv_events *q = &v->events;

	q->max = v->cfg.max_events;
	q->ring = vv_alloc(v, q->max, sizeof(*q->ring));
	if (!q->ring)
		return -ENOMEM;
	pthread_mutex_init(&q->lock, NULL);
	return 0;
}

void vv_events_fini(struct viommu_virtio *v)
{
	pthread_mutex_destroy(&v->events.lock);
	vv_free(v, v->events.ring);
}

void vv_events_clear(struct viommu_virtio *v)
{
	pthread_mutex_lock(&v->events.lock);
	v->events.n = 0;
	pthread_mutex_unlock(&v->events.lock);
}

static uint32_t slot(const struct vv_events *q, uint32_t i)
{
	return (uint32_t)(((uint64_t)q->first + i) % q->max);
}

bool vv_events_add(struct viommu_virtio *v, const struct virtio_iommu_fault *e)
{
	struct vv_events *q = &v->events;
	bool room;

	pthread_mutex_lock(&q->lock);
	room = q->n < q->max;
	if (room)
		q->ring[slot(q, q->n++)] = *e;
	pthread_mutex_unlock(&q->lock);
	return room;
}

bool vv_events_peek(struct viommu_virtio *v, uint32_t i,
		    struct virtio_iommu_fault *out)
{
	struct vv_events *q = &v->events;
	bool there;

	pthread_mutex_lock(&q->lock);
	there = i < q->n;
	if (there)
		*out = q->ring[slot(q, i)];
	pthread_mutex_unlock(&q->lock);
	return there;
}

/* The guest thinks in terms of what it can mend: the domain or a mapping. */
static uint8_t reason_of(uint32_t reason)
{
	switch (reason) {
	case VIOMMU_FAULT_DETACHED:
		return VIRTIO_IOMMU_FAULT_R_DOMAIN;
	case VIOMMU_FAULT_UNMAPPED:
	case VIOMMU_FAULT_PERMISSION:
		return VIRTIO_IOMMU_FAULT_R_MAPPING;
	default:
		return VIRTIO_IOMMU_FAULT_R_UNKNOWN;
	}
}

static struct virtio_iommu_fault record_of(const struct viommu_fault *fault)
{
	/* the address is always known, what was wanted is, too: also where
	 * nothing is mapped */
	uint32_t flags = VIRTIO_IOMMU_FAULT_F_ADDRESS;

	if (fault->prot & VIOMMU_READ)
		flags |= VIRTIO_IOMMU_FAULT_F_READ;
	if (fault->prot & VIOMMU_WRITE)
		flags |= VIRTIO_IOMMU_FAULT_F_WRITE;
	return (struct virtio_iommu_fault){
		.reason = reason_of(fault->reason),
		.flags = htole32(flags),
		.endpoint = htole32(fault->id),
		.address = htole64(fault->start),
	};
}

void viommu_virtio_fault(void *arg, const struct viommu_fault *fault)
{
	struct virtio_iommu_fault e = record_of(fault);
	struct viommu_virtio *v = arg;

	if (!vv_events_add(v, &e)) {
		atomic_fetch_add(&v->dropped, 1);
		return;
	}
	if (v->cfg.event)
		v->cfg.event(v->cfg.arg);
}

int viommu_virtio_event(struct viommu_virtio *v, void *buf, size_t len)
{
	struct vv_events *q = &v->events;
	bool some;

	if (len < VV_EVENT_SIZE)
		return -EMSGSIZE;
	pthread_mutex_lock(&q->lock);
	some = q->n > 0;
	if (some) {
		memcpy(buf, &q->ring[q->first], VV_EVENT_SIZE);
		q->first = slot(q, 1);
		q->n--;
	}
	pthread_mutex_unlock(&q->lock);
	if (!some)
		return 0;
	atomic_fetch_add(&v->fetched, 1);
	return VV_EVENT_SIZE;
}
