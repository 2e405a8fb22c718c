/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_VIRTIO_H
#define VIOMMU_SERVE_VIRTIO_H

/**
 * @file
 * A virtio device as its model sees it, whichever way the driver gets to it: a
 * model is written once, and stands behind PCI (virtio_pci.h) or a vhost-user
 * front-end (vhost_user.h), which are its transports.
 *
 * A reset takes as long as the model needs.  Queues are stopped from the moment
 * it begins, and may be set up anew once viommu_virtio_dev_reset_done() was
 * called.
 *
 * While the device must not do DMA (bus mastering is off), nothing is popped or
 * published; what a model has in hand it must not touch either
 * (viommu_virtio_dev_may_dma()).  When it may again, the model is notified of
 * every queue; so it is when a question of a REMOTE space is settled.
 *
 * Everything is the loop's thread's, unless said otherwise.
 */

#include <stdbool.h>
#include <viommu/serve/virtqueue.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_loop;
struct viommu_virtio_dev;

/** A device model.  Called on the loop's thread; any but notify and reset may
 * be NULL. */
struct viommu_virtio_dev_ops {
	/** the driver and the device agreed on @p features */
	void (*features)(void *arg, uint64_t features);
	/** configuration space, inside config_len; little-endian bytes */
	void (*config_read)(void *arg, size_t off, void *buf, size_t len);
	void (*config_write)(void *arg, size_t off, const void *buf,
			     size_t len);
	/** there may be requests: pop until there are none, or some and
	 * viommu_virtio_dev_again() */
	void (*notify)(void *arg, unsigned queue);
	/** begin to let go of every request; finish by
	 * viommu_virtio_dev_reset_done(), here or later.  Not called again
	 * before that */
	void (*reset)(void *arg);
	/** the machine is reset, or the client gone: registers that stay over
	 * a device's reset go back to what they were.  Before reset(), or
	 * while one goes on */
	void (*system_reset)(void *arg);
	/** the device may not do DMA any more: end all of it; finish by
	 * viommu_virtio_dev_quiet(), here or later.  NULL: there never is any
	 * outside of the calls */
	void (*quiesce)(void *arg);
	/** what a REMOTE space was asked about [start, last] was not answered
	 * in time: requests that wait for it have failed.  NULL: none waits
	 * outside of the queues */
	void (*timed_out)(void *arg, viommu_iova_t start, viommu_iova_t last);
	/** the queue is about to be stopped, and somebody else remembers what
	 * was in flight: viommu_virtio_dev_drop() the requests that wait for
	 * an answer of a REMOTE space, since nobody may give one before.  May
	 * be called several times.  NULL: they are waited for */
	void (*drop)(void *arg, unsigned queue);
};

struct viommu_virtio_dev_config {
	size_t size;	  /* sizeof(struct viommu_virtio_dev_config) */
	const char *name; /* for messages; copied */
	struct viommu_loop *loop;
	struct viommu *vi;
	struct viommu_memory *memory;
	struct viommu_endpoint *endpoint; /* the rings go through it */
	uint16_t device_id;		  /* virtio's: 2 block, 23 IOMMU */
	uint16_t queue_len;		  /* the longest, a power of two */
	uint16_t segments;		  /* see max_segments of a virtqueue */
	uint16_t reserved;		  /* 0 */
	/** of the device type, bits 0 to 23; those of the rings, VERSION_1 and
	 * ACCESS_PLATFORM are always offered */
	uint64_t features;
	/** refuse drivers that do not accept these; VERSION_1 always is one */
	uint64_t required;
	uint32_t queues;     /* 1 to 16 */
	uint32_t config_len; /* bytes of configuration space, up to 4096 */
	const struct viommu_virtio_dev_ops *ops; /* not copied */
	void *arg;
};

/**
 * Make the device, without a transport: nothing happens to it yet.
 *
 * @param cfg model and limits; copied
 * @param out the new device, owned by the caller
 * @return 0, -EINVAL (bad limits, or an option from a later version), -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtio_dev_create(const struct viommu_virtio_dev_config *cfg,
			 struct viommu_virtio_dev **out);

/**
 * Unmake it.  No more of the model's callbacks run.
 *
 * @param dev device, or NULL; its transport must have been destroyed
 *
 * Context: the loop's thread, or while it does not run.
 */
VIOMMU_API void viommu_virtio_dev_destroy(struct viommu_virtio_dev *dev);

/**
 * A queue, to copy out of and into its requests.  Pop, push and publish by the
 * functions below.
 *
 * @param dev   device
 * @param queue its number
 * @return borrowed
 */
VIOMMU_API struct viommu_virtqueue *
viommu_virtio_dev_queue(struct viommu_virtio_dev *dev, unsigned queue);

/**
 * viommu_virtqueue_pop(), with what follows: a broken queue makes the device
 * need a reset, and when pins are short, or what is asked is not answered yet,
 * the model is notified again.
 *
 * @param dev   device
 * @param queue its number
 * @param elem  as viommu_virtqueue_pop()
 * @return 0, -ENOENT (no request now; the model will be notified), also while
 *         the device is not running or needs a reset
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtio_dev_pop(struct viommu_virtio_dev *dev, unsigned queue,
		      struct viommu_element *elem);

/**
 * viommu_virtqueue_push().
 *
 * @param dev     device
 * @param queue   its number
 * @param elem    popped there, and not pushed yet
 * @param written as viommu_virtqueue_push()
 */
VIOMMU_API void viommu_virtio_dev_push(struct viommu_virtio_dev *dev,
				       unsigned queue,
				       const struct viommu_element *elem,
				       uint32_t written);

/**
 * Forget a request, within drop(): it will be popped again when the queue is
 * started again, perhaps by another process.
 *
 * @param dev   device
 * @param queue its number
 * @param elem  popped there, and not pushed
 */
VIOMMU_API void viommu_virtio_dev_drop(struct viommu_virtio_dev *dev,
				       unsigned queue,
				       const struct viommu_element *elem);

/**
 * viommu_virtqueue_publish(), with what follows: the interrupt if it is wanted,
 * a later try when pins are short, and as in viommu_virtio_dev_pop().
 *
 * @param dev   device
 * @param queue its number
 */
VIOMMU_API void viommu_virtio_dev_publish(struct viommu_virtio_dev *dev,
					  unsigned queue);

/**
 * Have the model notified of a queue again, after others had their turn.
 *
 * @param dev   device
 * @param queue its number
 */
VIOMMU_API void viommu_virtio_dev_again(struct viommu_virtio_dev *dev,
					unsigned queue);

/**
 * The configuration space has changed: tell the driver.
 *
 * @param dev device
 */
VIOMMU_API void viommu_virtio_dev_config_changed(struct viommu_virtio_dev *dev);

/**
 * Give up until the driver resets the device, and tell it as the transport can.
 *
 * @param dev device
 * @param why static, for people
 */
VIOMMU_API void viommu_virtio_dev_fail(struct viommu_virtio_dev *dev,
				       const char *why);

/**
 * Tell why the device needs a reset.
 *
 * @param dev device
 * @return a static string, or NULL: it needs none
 *
 * Context: any thread.
 */
VIOMMU_API const char *
viommu_virtio_dev_failure(const struct viommu_virtio_dev *dev);

/**
 * Look whether the guest lets the model do DMA.
 *
 * @param dev device
 * @return whether bus mastering is on, where there is such a thing
 *
 * Context: any thread.
 */
VIOMMU_API bool viommu_virtio_dev_may_dma(const struct viommu_virtio_dev *dev);

/**
 * No DMA of the model is left, after quiesce().
 *
 * @param dev device; nothing happens if it was not asked to
 */
VIOMMU_API void viommu_virtio_dev_quiet(struct viommu_virtio_dev *dev);

/**
 * The model has let go of everything.  If its endpoint was given up it is
 * recovered first, so the reset may last a little longer.
 *
 * @param dev device whose reset() was called and not finished yet
 */
VIOMMU_API void viommu_virtio_dev_reset_done(struct viommu_virtio_dev *dev);

VIOMMU_END_DECLS

#endif
