/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Virtio devices: what is the same behind every transport.  Queues and their
 * retries, resets, the end of DMA.
 *
 * A reset begins by stopping the queues and ends when the model says so.  A
 * device whose endpoint was given up, since it did not let go in time (L9),
 * needs one; it ends when the device has let go of all.
 *
 * A queue that waits for an answer of a REMOTE space has lost nothing: the
 * transport says when to look again, by a task, so not before the access that
 * asked has returned.
 *
 * Everything belongs to the loop's thread, but for `failure`.
 */

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <viommu/endpoint.h>

#include "serve/opts.h"
#include "serve/virtio.h"

#define RETRY_NS UINT64_C(1000000) /* when no pin was left */
#define NOWHERE	 UINT32_MAX	   /* no index: it was done before */

#define FEATURE(bit) (UINT64_C(1) << (bit))
#define RING_FEATURES                                                     \
	(FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |                           \
	 FEATURE(VIRTIO_RING_F_EVENT_IDX) | FEATURE(VIRTIO_F_VERSION_1) | \
	 FEATURE(VIRTIO_F_ACCESS_PLATFORM))

/* ---------------------------------------------------------- no transport */

static bool none_may_dma(const void *t)
{
	(void)t;
	return false;
}

static void none(void *t)
{
	(void)t;
}

static void none_queue(void *t, unsigned queue)
{
	(void)t;
	(void)queue;
}

static void none_failed(void *t, const char *why)
{
	(void)t;
	(void)why;
}

static const struct vs_virtio_transport no_transport = {
	.may_dma = none_may_dma,
	.interrupt = none_queue,
	.config_changed = none,
	.failed = none_failed,
	.publishing = none,
	.published = none_queue,
	.busy = none,
	.idle = none,
	.reset_done = none,
};

int vs_virtio_attach(struct viommu_virtio_dev *dev,
		     const struct vs_virtio_transport *transport, void *t)
{
	if (dev->transport != &no_transport)
		return -EBUSY;
	dev->transport = transport;
	dev->t = t;
	return 0;
}

static void queues_stop(struct viommu_virtio_dev *dev)
{
	for (unsigned i = 0; i < dev->cfg.queues; i++)
		vs_virtio_queue_stop(dev, i);
}

void vs_virtio_detach(struct viommu_virtio_dev *dev)
{
	queues_stop(dev);
	dev->live = dev->quiescing = false;
	dev->transport = &no_transport;
	dev->t = NULL;
}

/* ------------------------------------------------------- tell the driver */

static bool driver_ready(const struct viommu_virtio_dev *dev)
{
	return dev->live && !dev->resetting;
}

static bool running(const struct viommu_virtio_dev *dev)
{
	return driver_ready(dev) && !atomic_load(&dev->failure);
}

void viommu_virtio_dev_config_changed(struct viommu_virtio_dev *dev)
{
	dev->transport->config_changed(dev->t);
}

void viommu_virtio_dev_fail(struct viommu_virtio_dev *dev, const char *why)
{
	if (dev->resetting || atomic_load(&dev->failure))
		return;
	atomic_store(&dev->failure, why);
	dev->transport->failed(dev->t, why);
}

const char *viommu_virtio_dev_failure(const struct viommu_virtio_dev *dev)
{
	return atomic_load(&dev->failure);
}

/* ---------------------------------------------------------------- queues */

void vs_virtio_queue_kick(struct viommu_virtio_dev *dev, unsigned queue)
{
	if (running(dev) && dev->queues[queue].started &&
	    viommu_virtio_dev_may_dma(dev))
		dev->cfg.ops->notify(dev->cfg.arg, queue);
}

/* Also what is pushed may not be published yet: pins were short, or no DMA was
 * allowed.  A device that has failed takes nothing more, but goes on with what
 * it has: until that is over its queues cannot be stopped. */
static void queue_again(void *arg)
{
	struct vs_virtio_queue *q = arg;
	struct viommu_virtio_dev *dev = q->dev;

	viommu_virtio_dev_publish(dev, q->index);
	if (driver_ready(dev) && q->started && viommu_virtio_dev_may_dma(dev))
		dev->cfg.ops->notify(dev->cfg.arg, q->index);
}

bool vs_virtio_queue_start(struct viommu_virtio_dev *dev, unsigned queue,
			   const struct viommu_ring *ring,
			   const struct viommu_virtqueue_state *state)
{
	struct vs_virtio_queue *q = &dev->queues[queue];

	if (state ? viommu_virtqueue_resume(q->vq, ring, state)
		  : viommu_virtqueue_start(q->vq, ring)) {
		viommu_virtio_dev_fail(dev, "queue at a bad address");
		return false;
	}
	q->unpushed = q->unshown = q->ndropped = 0;
	q->held = q->missed = false;
	q->started = true;
	/* the driver may have filled it before it was ready */
	viommu_virtio_dev_again(dev, queue);
	return true;
}

void vs_virtio_queue_stop(struct viommu_virtio_dev *dev, unsigned queue)
{
	struct vs_virtio_queue *q = &dev->queues[queue];

	viommu_loop_cancel(dev->cfg.loop, &q->again);
	viommu_timer_stop(dev->cfg.loop, &q->retry);
	viommu_virtqueue_stop(q->vq);
	q->started = q->held = q->missed = false;
	q->unpushed = q->unshown = 0;
}

void vs_virtio_queue_hold(struct viommu_virtio_dev *dev, unsigned queue,
			  bool held)
{
	dev->queues[queue].held = held;
}

void vs_virtio_queue_drop(struct viommu_virtio_dev *dev, unsigned queue)
{
	struct vs_virtio_queue *q = &dev->queues[queue];

	if (dev->cfg.ops->drop)
		dev->cfg.ops->drop(dev->cfg.arg, queue);
	if (q->missed)
		q->unshown = 0;
}

void viommu_virtio_dev_drop(struct viommu_virtio_dev *dev, unsigned queue,
			    const struct viommu_element *elem)
{
	struct vs_virtio_queue *q = &dev->queues[queue];

	if (!q->unpushed)
		return;
	q->unpushed--;
	q->dropped[q->ndropped++] = elem->head;
}

bool vs_virtio_queue_unpop(struct viommu_virtio_dev *dev, unsigned queue,
			   uint16_t next, uint16_t *head)
{
	struct vs_virtio_queue *q = &dev->queues[queue];

	for (unsigned i = 0; i < q->ndropped; i++) {
		*head = q->dropped[i];
		if (q->popped_at[*head] != (uint16_t)(next - 1))
			continue;
		q->dropped[i] = q->dropped[--q->ndropped];
		return true;
	}
	return false;
}

bool vs_virtio_queue_idle(const struct viommu_virtio_dev *dev, unsigned queue)
{
	const struct vs_virtio_queue *q = &dev->queues[queue];

	if (!q->started)
		return true;
	/* a device that has failed shows nothing any more */
	return !q->unpushed && (!q->unshown || atomic_load(&dev->failure));
}

struct viommu_virtqueue *viommu_virtio_dev_queue(struct viommu_virtio_dev *dev,
						 unsigned queue)
{
	return dev->queues[queue].vq;
}

/* What a queue's call came to, if it came to something else than usual. */
static void queue_trouble(struct vs_virtio_queue *q, int rc)
{
	if (rc == -EAGAIN)
		viommu_timer_start(q->dev->cfg.loop, &q->retry, RETRY_NS);
	else if (rc == -EPROTO)
		viommu_virtio_dev_fail(q->dev, viommu_virtqueue_broken(q->vq));
}

int viommu_virtio_dev_pop(struct viommu_virtio_dev *dev, unsigned queue,
			  struct viommu_element *elem)
{
	struct vs_virtio_queue *q = &dev->queues[queue];
	uint16_t next;
	int rc;

	if (!running(dev) || !q->started || q->held ||
	    !viommu_virtio_dev_may_dma(dev))
		return -ENOENT;
	next = viommu_virtqueue_next(q->vq);
	rc = viommu_virtqueue_pop(q->vq, elem);
	queue_trouble(q, rc);
	if (rc)
		return -ENOENT;
	/* one that an in-flight area remembered is behind that */
	q->popped_at[elem->head] =
		viommu_virtqueue_next(q->vq) == (uint16_t)(next + 1) ? next
								     : NOWHERE;
	q->unpushed++;
	return 0;
}

void viommu_virtio_dev_push(struct viommu_virtio_dev *dev, unsigned queue,
			    const struct viommu_element *elem, uint32_t written)
{
	struct vs_virtio_queue *q = &dev->queues[queue];

	/* popped before the queue was stopped */
	if (!q->unpushed)
		return;
	viommu_virtqueue_push(q->vq, elem, written);
	q->unpushed--;
	q->unshown++;
}

void viommu_virtio_dev_publish(struct viommu_virtio_dev *dev, unsigned queue)
{
	struct vs_virtio_queue *q = &dev->queues[queue];
	int rc;

	if (!driver_ready(dev) || !q->started || !q->unshown ||
	    !viommu_virtio_dev_may_dma(dev))
		return;
	dev->transport->publishing(dev->t);
	rc = viommu_virtqueue_publish(q->vq);
	queue_trouble(q, rc);
	if (rc >= 0)
		q->unshown = 0;
	q->missed = rc == -EINPROGRESS;
	dev->transport->published(dev->t, queue);
	if (rc == 1)
		dev->transport->interrupt(dev->t, queue);
}

void viommu_virtio_dev_again(struct viommu_virtio_dev *dev, unsigned queue)
{
	if (!dev->resetting)
		viommu_loop_post(dev->cfg.loop, &dev->queues[queue].again);
}

void vs_virtio_again(struct viommu_virtio_dev *dev)
{
	for (unsigned i = 0; i < dev->cfg.queues; i++)
		if (dev->queues[i].started)
			viommu_virtio_dev_again(dev, i);
}

void vs_virtio_timed_out(struct viommu_virtio_dev *dev, viommu_iova_t start,
			 viommu_iova_t last)
{
	for (unsigned i = 0; i < dev->cfg.queues; i++) {
		struct vs_virtio_queue *q = &dev->queues[i];

		if (!q->started)
			continue;
		viommu_virtqueue_timed_out(q->vq, start, last);
		if (viommu_virtqueue_broken(q->vq))
			queue_trouble(q, -EPROTO);
	}
	if (dev->cfg.ops->timed_out)
		dev->cfg.ops->timed_out(dev->cfg.arg, start, last);
}

/* ------------------------------------------------------------------- DMA */

bool viommu_virtio_dev_may_dma(const struct viommu_virtio_dev *dev)
{
	return dev->transport->may_dma(dev->t);
}

void vs_virtio_dma(struct viommu_virtio_dev *dev, bool on)
{
	/* a reset stopped all of it */
	if (dev->resetting)
		return;
	if (on) {
		viommu_virtio_dev_quiet(dev);
		/* kicks that came meanwhile were not heard */
		vs_virtio_again(dev);
	} else if (dev->cfg.ops->quiesce) {
		dev->quiescing = true;
		dev->cfg.ops->quiesce(dev->cfg.arg);
		if (dev->quiescing)
			dev->transport->busy(dev->t);
	}
}

void viommu_virtio_dev_quiet(struct viommu_virtio_dev *dev)
{
	if (!dev->quiescing)
		return;
	dev->quiescing = false;
	dev->transport->idle(dev->t);
}

/* ---------------------------------------------------------------- resets */

void vs_virtio_reset(struct viommu_virtio_dev *dev)
{
	if (dev->resetting)
		return;
	queues_stop(dev);
	dev->resetting = true;
	dev->quiescing = false; /* the reset waits for no less */
	dev->cfg.ops->reset(dev->cfg.arg);
	if (dev->resetting)
		dev->transport->busy(dev->t);
}

void viommu_virtio_dev_reset_done(struct viommu_virtio_dev *dev)
{
	if (!dev->resetting)
		return;
	/* the model has let go; but who asks about it now may hold on for a
	 * moment */
	if (viommu_endpoint_recover(dev->cfg.endpoint)) {
		viommu_timer_start(dev->cfg.loop, &dev->recover, RETRY_NS);
		return;
	}
	dev->live = false;
	atomic_store(&dev->failure, NULL);
	dev->transport->reset_done(dev->t);
	dev->resetting = false;
	dev->transport->idle(dev->t);
}

static void recover(void *arg)
{
	viommu_virtio_dev_reset_done(arg);
}

void vs_virtio_system_reset(struct viommu_virtio_dev *dev)
{
	if (dev->cfg.ops->system_reset)
		dev->cfg.ops->system_reset(dev->cfg.arg);
}

/* ------------------------------------------------ features, configuration */

bool vs_virtio_features_fit(const struct viommu_virtio_dev *dev,
			    uint64_t features)
{
	return !(features & ~dev->offered) && !(dev->cfg.required & ~features);
}

void vs_virtio_features(struct viommu_virtio_dev *dev, uint64_t features)
{
	if (dev->cfg.ops->features)
		dev->cfg.ops->features(dev->cfg.arg, features);
}

static size_t config_inside(const struct viommu_virtio_dev *dev, uint64_t off,
			    size_t len)
{
	uint64_t room = dev->cfg.config_len;

	if (off >= room)
		return 0;
	return len < room - off ? len : (size_t)(room - off);
}

size_t vs_virtio_config_read(struct viommu_virtio_dev *dev, uint64_t off,
			     void *buf, size_t len)
{
	size_t n = config_inside(dev, off, len);

	if (!dev->cfg.ops->config_read)
		return 0;
	if (n)
		dev->cfg.ops->config_read(dev->cfg.arg, (size_t)off, buf, n);
	return n;
}

size_t vs_virtio_config_write(struct viommu_virtio_dev *dev, uint64_t off,
			      const void *buf, size_t len)
{
	size_t n = config_inside(dev, off, len);

	if (!dev->cfg.ops->config_write)
		return 0;
	if (n)
		dev->cfg.ops->config_write(dev->cfg.arg, (size_t)off, buf, n);
	return n;
}

/* ---------------------------------------------------------------- public */

static int queues_make(struct viommu_virtio_dev *dev)
{
	const struct viommu_virtqueue_config cfg = {
		.size = sizeof(cfg),
		.endpoint = dev->cfg.endpoint,
		.max_len = dev->cfg.queue_len,
		.max_segments = dev->cfg.segments,
	};
	int rc = 0;

	for (unsigned i = 0; i < dev->cfg.queues && !rc; i++) {
		struct vs_virtio_queue *q = &dev->queues[i];

		q->dev = dev;
		q->index = i;
		viommu_task_init(&q->again, queue_again, q);
		viommu_timer_init(&q->retry, queue_again, q);
		q->popped_at = calloc(cfg.max_len, sizeof(*q->popped_at));
		q->dropped = calloc(cfg.max_len, sizeof(*q->dropped));
		rc = viommu_virtqueue_create(&cfg, &q->vq);
		if (!rc && (!q->popped_at || !q->dropped))
			rc = -ENOMEM;
	}
	return rc;
}

static bool config_valid(const struct viommu_virtio_dev_config *cfg)
{
	return cfg->loop && cfg->vi && cfg->memory && cfg->endpoint &&
	       cfg->ops && cfg->ops->notify && cfg->ops->reset && cfg->queues &&
	       cfg->queues <= VS_VIRTIO_QUEUES &&
	       cfg->config_len <= VS_VIRTIO_CONFIG_MAX &&
	       !(cfg->features >> 24) && !cfg->reserved;
}

int viommu_virtio_dev_create(const struct viommu_virtio_dev_config *cfg,
			     struct viommu_virtio_dev **out)
{
	struct viommu_virtio_dev *dev = calloc(1, sizeof(*dev));
	int rc;

	if (!dev)
		return -ENOMEM;
	rc = vs_opts_copy(&dev->cfg, sizeof(dev->cfg), cfg, cfg->size);
	if (!rc && !config_valid(&dev->cfg))
		rc = -EINVAL;
	if (rc) {
		free(dev);
		return rc;
	}
	snprintf(dev->name, sizeof(dev->name), "%s",
		 cfg->name ? cfg->name : "virtio");
	dev->cfg.name = dev->name;
	dev->transport = &no_transport;
	dev->offered = dev->cfg.features | RING_FEATURES;
	dev->cfg.required |= FEATURE(VIRTIO_F_VERSION_1);
	viommu_timer_init(&dev->recover, recover, dev);
	rc = queues_make(dev);
	if (rc) {
		viommu_virtio_dev_destroy(dev);
		return rc;
	}
	*out = dev;
	return 0;
}

void viommu_virtio_dev_destroy(struct viommu_virtio_dev *dev)
{
	if (!dev)
		return;
	for (unsigned i = 0; i < dev->cfg.queues; i++) {
		if (dev->queues[i].vq)
			vs_virtio_queue_stop(dev, i);
		viommu_virtqueue_destroy(dev->queues[i].vq);
		free(dev->queues[i].popped_at);
		free(dev->queues[i].dropped);
	}
	viommu_timer_stop(dev->cfg.loop, &dev->recover);
	free(dev);
}
