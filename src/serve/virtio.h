/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_VIRTIO_H
#define VS_VIRTIO_H

/*
 * The transport's side of a virtio device: virtio.c has what all of them need,
 * virtio_pci.c and vhost_user.c are the transports.
 */

#include <stdatomic.h>
#include <viommu/serve/loop.h>
#include <viommu/serve/virtio.h>

enum {
	VS_VIRTIO_QUEUES = 16,
	VS_VIRTIO_CONFIG_MAX = 4096, /* of the model's space */
};

struct vs_virtio_queue {
	struct viommu_virtio_dev *dev;
	unsigned index;
	struct viommu_virtqueue *vq;
	bool started;
	bool held;	   /* nothing is popped, what was popped ends */
	unsigned unpushed; /* popped, and not given back */
	unsigned unshown;  /* pushed, and not published */
	bool missed;	   /* what is unshown waits for an answer */
	/* by head: the index that it was popped at; and those that are dropped
	 */
	uint32_t *popped_at;
	uint16_t *dropped;
	unsigned ndropped;
	struct viommu_task again; /* notify the model */
	struct viommu_timer retry;
};

/* What a transport does when the device asks for it.  All of them are there. */
struct vs_virtio_transport {
	bool (*may_dma)(const void *t);
	void (*interrupt)(void *t, unsigned queue);
	void (*config_changed)(void *t);
	void (*failed)(void *t, const char *why);
	/* around viommu_virtqueue_publish(): what the driver will see is
	 * written; it was shown it (or this was tried) */
	void (*publishing)(void *t);
	void (*published)(void *t, unsigned queue);
	/* a reset, or the end of DMA, goes on after the call that asked */
	void (*busy)(void *t);
	void (*idle)(void *t);
	/* the reset is over: what the driver set up is forgotten */
	void (*reset_done)(void *t);
};

struct viommu_virtio_dev {
	struct viommu_virtio_dev_config cfg;
	char name[32];
	uint64_t offered;
	const struct vs_virtio_transport *transport;
	void *t;

	bool live; /* the driver is ready: queues run once started */
	bool resetting;
	bool quiescing; /* no DMA is allowed, and it is not over yet */
	_Atomic(const char *) failure;
	struct viommu_timer recover; /* the endpoint, to end a reset */

	struct vs_virtio_queue queues[VS_VIRTIO_QUEUES];
};

/* 0 or -EBUSY: there is one. */
int vs_virtio_attach(struct viommu_virtio_dev *dev,
		     const struct vs_virtio_transport *transport, void *t);
/* Queues are stopped; a reset that goes on stays with the model. */
void vs_virtio_detach(struct viommu_virtio_dev *dev);

/* Whether the driver may accept @features. */
bool vs_virtio_features_fit(const struct viommu_virtio_dev *dev,
			    uint64_t features);
/* They are agreed on. */
void vs_virtio_features(struct viommu_virtio_dev *dev, uint64_t features);

/* Start a queue where @state says (NULL: at 0), and have the model notified of
 * it.  At a bad address, or state: false, the device has failed. */
bool vs_virtio_queue_start(struct viommu_virtio_dev *dev, unsigned queue,
			   const struct viommu_ring *ring,
			   const struct viommu_virtqueue_state *state);
void vs_virtio_queue_stop(struct viommu_virtio_dev *dev, unsigned queue);

/* Pop no more, or again.  It is idle when all that was popped is shown. */
void vs_virtio_queue_hold(struct viommu_virtio_dev *dev, unsigned queue,
			  bool held);
bool vs_virtio_queue_idle(const struct viommu_virtio_dev *dev, unsigned queue);

/* It is held and has an in-flight area: what waits for an answer is left to
 * that. */
void vs_virtio_queue_drop(struct viommu_virtio_dev *dev, unsigned queue);
/* The request that was popped last before index @next was dropped: its @head.
 * Nothing keeps it from being popped there again, once each. */
bool vs_virtio_queue_unpop(struct viommu_virtio_dev *dev, unsigned queue,
			   uint16_t next, uint16_t *head);

/* The driver says that there is something in it. */
void vs_virtio_queue_kick(struct viommu_virtio_dev *dev, unsigned queue);

/* The device may do DMA again, or no more. */
void vs_virtio_dma(struct viommu_virtio_dev *dev, bool on);

/* All queues that run: look again, after others had their turn. */
void vs_virtio_again(struct viommu_virtio_dev *dev);

/* A question of the endpoint's space was not answered in time. */
void vs_virtio_timed_out(struct viommu_virtio_dev *dev, viommu_iova_t start,
			 viommu_iova_t last);

/* Begin a reset, unless one goes on. */
void vs_virtio_reset(struct viommu_virtio_dev *dev);
void vs_virtio_system_reset(struct viommu_virtio_dev *dev);

/* Bytes [off, off + len - 1] as far as they are inside the model's space;
 * returns how many are. */
size_t vs_virtio_config_read(struct viommu_virtio_dev *dev, uint64_t off,
			     void *buf, size_t len);
size_t vs_virtio_config_write(struct viommu_virtio_dev *dev, uint64_t off,
			      const void *buf, size_t len);

#endif
