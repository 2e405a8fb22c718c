/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_VIRTIO_PCI_H
#define VIOMMU_SERVE_VIRTIO_PCI_H

/**
 * @file
 * virtio over PCI (virtio 1.3, 4.1), modern only: registers, feature
 * negotiation, queues and interrupts of a device model that stands behind.
 *
 * A reset takes as long as the model needs: the guest reads status 0, and the
 * queues may be set up anew, once viommu_virtio_pci_reset_done() was called.
 * Queues are stopped from the moment the reset begins.  Meanwhile the function
 * is busy (viommu_pci_busy()), so a transport does not go on with what the
 * driver wrote after the status, for a while at least: a driver that does not
 * wait for 0 loses nothing if the reset ends by then.
 *
 * While bus mastering is off, nothing is popped or published; what a model has
 * in hand it must not touch either (viommu_virtio_pci_may_dma()).  When it is
 * on again, the model is notified of every queue.
 *
 * Everything is the loop's thread's, unless said otherwise.
 */

#include <stdbool.h>
#include <viommu/serve/pci.h>
#include <viommu/serve/virtqueue.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_virtio_pci;

/** A device model.  Called on the loop's thread; any but notify and reset may
 * be NULL. */
struct viommu_virtio_pci_ops {
	/** the driver and the device agreed on @p features (FEATURES_OK) */
	void (*features)(void *arg, uint64_t features);
	/** configuration space, inside config_len; little-endian bytes */
	void (*config_read)(void *arg, size_t off, void *buf, size_t len);
	void (*config_write)(void *arg, size_t off, const void *buf,
			     size_t len);
	/** there may be requests: pop until there are none, or some and
	 * viommu_virtio_pci_again() */
	void (*notify)(void *arg, unsigned queue);
	/** begin to let go of every request; finish by
	 * viommu_virtio_pci_reset_done(), here or later.  Not called again
	 * before that */
	void (*reset)(void *arg);
	/** the machine is reset, or the client gone: registers that stay over
	 * a device's reset go back to what they were.  Before reset(), or
	 * while one goes on */
	void (*system_reset)(void *arg);
	/** bus mastering is off: end all DMA; finish by
	 * viommu_virtio_pci_quiet(), here or later.  NULL: there never is any
	 * outside of the calls */
	void (*quiesce)(void *arg);
};

struct viommu_virtio_pci_config {
	size_t size;	  /* sizeof(struct viommu_virtio_pci_config) */
	const char *name; /* for messages; copied */
	struct viommu_loop *loop;
	struct viommu *vi;
	struct viommu_memory *memory;
	struct viommu_endpoint *endpoint; /* the rings go through it */
	uint16_t device_id;		  /* virtio's: 2 block, 23 IOMMU */
	uint16_t reserved;		  /* 0 */
	uint32_t class_code;
	/** of the device type, bits 0 to 23; those of the rings, VERSION_1 and
	 * ACCESS_PLATFORM are always offered */
	uint64_t features;
	/** refuse drivers that do not accept these; VERSION_1 always is one */
	uint64_t required;
	uint32_t queues;     /* 1 to 16 */
	uint16_t queue_len;  /* the longest, a power of two */
	uint16_t segments;   /* see max_segments of a virtqueue */
	uint32_t config_len; /* bytes of configuration space, up to 4096 */
	uint32_t reserved2;  /* 0 */
	const struct viommu_virtio_pci_ops *ops; /* not copied */
	void *arg;
};

/**
 * Make the PCI function of a virtio device: BAR 0 with the registers, BAR 1
 * with a MSI-X vector for the configuration and one for each queue, INTx.
 *
 * @param cfg model and limits; copied
 * @param out the new function, owned by the caller
 * @return 0, -EINVAL (bad limits, or an option from a later version), -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtio_pci_create(const struct viommu_virtio_pci_config *cfg,
			 struct viommu_virtio_pci **out);

/**
 * Unmake it.  No more of the model's callbacks run.
 *
 * @param vp function, or NULL; its transport must have been destroyed
 *
 * Context: the loop's thread, or while it does not run.
 */
VIOMMU_API void viommu_virtio_pci_destroy(struct viommu_virtio_pci *vp);

/**
 * Its PCI function, for a transport.
 *
 * @param vp function
 * @return borrowed
 *
 * Context: any thread.
 */
VIOMMU_API struct viommu_pci *
viommu_virtio_pci_pci(struct viommu_virtio_pci *vp);

/**
 * A queue, to copy out of and into its requests.  Pop and publish by the
 * functions below.
 *
 * @param vp    function
 * @param queue its number
 * @return borrowed
 */
VIOMMU_API struct viommu_virtqueue *
viommu_virtio_pci_queue(struct viommu_virtio_pci *vp, unsigned queue);

/**
 * viommu_virtqueue_pop(), with what follows: a broken queue makes the device
 * need a reset, and when pins are short the model is notified again soon.
 *
 * @param vp    function
 * @param queue its number
 * @param elem  as viommu_virtqueue_pop()
 * @return 0, -ENOENT (no request now; the model will be notified), also while
 *         the device is not running or needs a reset
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtio_pci_pop(struct viommu_virtio_pci *vp, unsigned queue,
		      struct viommu_element *elem);

/**
 * viommu_virtqueue_publish(), with what follows: the interrupt if it is wanted,
 * a later try when pins are short, and as in viommu_virtio_pci_pop().
 *
 * @param vp    function
 * @param queue its number
 */
VIOMMU_API void viommu_virtio_pci_publish(struct viommu_virtio_pci *vp,
					  unsigned queue);

/**
 * Have the model notified of a queue again, after others had their turn.
 *
 * @param vp    function
 * @param queue its number
 */
VIOMMU_API void viommu_virtio_pci_again(struct viommu_virtio_pci *vp,
					unsigned queue);

/**
 * The configuration space has changed: tell the driver.
 *
 * @param vp function
 */
VIOMMU_API void viommu_virtio_pci_config_changed(struct viommu_virtio_pci *vp);

/**
 * Give up until the driver resets the device: DEVICE_NEEDS_RESET and a
 * configuration interrupt.
 *
 * @param vp  function
 * @param why static, for people
 */
VIOMMU_API void viommu_virtio_pci_fail(struct viommu_virtio_pci *vp,
				       const char *why);

/**
 * Tell why the device needs a reset.
 *
 * @param vp function
 * @return a static string, or NULL: it needs none
 *
 * Context: any thread.
 */
VIOMMU_API const char *
viommu_virtio_pci_failure(const struct viommu_virtio_pci *vp);

/**
 * Look whether the guest lets the model do DMA.
 *
 * @param vp function
 * @return whether bus mastering is on
 *
 * Context: any thread.
 */
VIOMMU_API bool viommu_virtio_pci_may_dma(const struct viommu_virtio_pci *vp);

/**
 * No DMA of the model is left, after quiesce().
 *
 * @param vp function; nothing happens if it was not asked to
 */
VIOMMU_API void viommu_virtio_pci_quiet(struct viommu_virtio_pci *vp);

/**
 * The model has let go of everything.  If its endpoint was given up it is
 * recovered first, so the reset may last a little longer.
 *
 * @param vp function whose reset() was called and not finished yet
 */
VIOMMU_API void viommu_virtio_pci_reset_done(struct viommu_virtio_pci *vp);

VIOMMU_END_DECLS

#endif
