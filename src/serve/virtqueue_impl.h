/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_VIRTQUEUE_IMPL_H
#define VS_VIRTQUEUE_IMPL_H

/*
 * What the files of virtqueues share: virtqueue.c (the rings),
 * virtqueue_chain.c (what a request is), virtqueue_inflight.c.
 */

#include <linux/virtio_ring.h>
#include <viommu/serve/virtqueue.h>

#include "serve/virtqueue_inflight.h"

/* Whose a head is. */
enum head {
	HEAD_DRIVER,
	HEAD_POPPED,
	HEAD_PUSHED, /* but not published */
};

/* Which call waits for an answer. */
enum call {
	CALL_POP,
	CALL_PUBLISH,
	CALLS,
};

/* What it has asked for. */
struct wait {
	bool waits;
	viommu_iova_t start, last;
};

struct viommu_virtqueue {
	struct viommu_virtqueue_config cfg;
	struct viommu_ring ring;
	bool running;
	bool quiet; /* it looks by itself: the driver need not notify */
	bool armed; /* the driver was told to notify, for index next */
	const char *broken;

	uint16_t next;	/* avail index of the next request */
	uint16_t seen;	/* avail idx as last read: next or later */
	uint16_t used;	/* used idx as the driver sees it */
	uint16_t asked; /* up to there tables were asked for ahead */

	uint8_t *heads;			 /* enum head, each */
	struct vring_used_elem *pending; /* pushed, not published */
	unsigned npending;
	struct vring_desc *table; /* an indirect one, copied */
	bool burst;		  /* in one */

	enum call call; /* that is being made */
	struct wait waits[CALLS];

	bool resuming; /* the ring is still to be looked at */
	bool owed;     /* an interrupt that somebody else may owe */
	struct vs_inflight *inflight; /* or NULL */
	uint64_t counter;	      /* of requests, in the area */
	struct vs_redo *redo;	      /* what others popped: to begin with */
	unsigned nredo, redone;
};

/* ---------------------------------------------------------- virtqueue.c */

/* -EPROTO, and why. */
int vs_vq_break(struct viommu_virtqueue *vq, const char *why);

/* What an access to the ring, @len bytes at @iova, failed with. */
int vs_vq_refused(struct viommu_virtqueue *vq, int rc, viommu_iova_t iova,
		  uint64_t len);

void vs_vq_burst_begin(struct viommu_virtqueue *vq);
void vs_vq_burst_end(struct viommu_virtqueue *vq);

/* ---------------------------------------------------- virtqueue_chain.c */

/* Read the chain of e->head. */
int vs_vq_chain(struct viommu_virtqueue *vq, struct viommu_element *e);

/* A chain that begins at @head will be read: have asked for where it is. */
void vs_vq_chain_ask(struct viommu_virtqueue *vq, uint16_t head);

#endif
