/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * virtio over PCI (virtio 1.3, 4.1): the life of the device,
 *
 *	0 -> ACKNOWLEDGE -> DRIVER -> FEATURES_OK -> DRIVER_OK -> 0
 *
 * A queue is started when it is enabled and the driver is ready, whichever
 * comes last, since before FEATURES_OK nobody knows how its ring is laid out.
 *
 * While the model is reset the registers keep what they held and take nothing,
 * and status is not 0 yet: the driver waits for that (4.1.4.3.1).
 *
 * Everything belongs to the loop's thread.
 */

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>

#include "serve/virtio_pci_impl.h"

#define VENDOR	    0x1af4
#define DEVICE_BASE 0x1040
#define REVISION    1

#define FEATURE(bit) (UINT64_C(1) << (bit))
#define DRIVER_STATUS                                              \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |    \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK | \
	 VIRTIO_CONFIG_S_FAILED)
#define ISR_QUEUE  0x1u
#define ISR_CONFIG ((uint8_t)VIRTIO_PCI_ISR_CONFIG)

/* ------------------------------------------------- what the device asks for */

/* NO_VECTOR is none of MSI-X's vectors, and nothing to INTx. */
static void interrupt(struct viommu_virtio_pci *vp, uint8_t isr,
		      uint16_t vector)
{
	vp->isr |= isr;
	viommu_pci_interrupt(vp->pci, vector);
}

static void queue_interrupt(void *t, unsigned queue)
{
	struct viommu_virtio_pci *vp = t;

	interrupt(vp, ISR_QUEUE, vp->queues[queue].vector);
}

static void config_changed(void *t)
{
	struct viommu_virtio_pci *vp = t;

	vp->generation++;
	if (!vp->dev->resetting && (vp->status & VIRTIO_CONFIG_S_DRIVER_OK))
		interrupt(vp, ISR_CONFIG, vp->vector);
}

static void failed(void *t, const char *why)
{
	struct viommu_virtio_pci *vp = t;

	(void)why;
	vp->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	config_changed(vp);
}

static bool may_dma(const void *t)
{
	const struct viommu_virtio_pci *vp = t;

	return viommu_pci_bus_master(vp->pci);
}

static void publishing(void *t)
{
	(void)t;
}

static void published(void *t, unsigned queue)
{
	(void)t;
	(void)queue;
}

static void busy(void *t)
{
	struct viommu_virtio_pci *vp = t;

	viommu_pci_busy(vp->pci);
}

static void idle(void *t)
{
	struct viommu_virtio_pci *vp = t;

	viommu_pci_idle(vp->pci);
}

static void queue_forget(struct vs_pci_queue *q)
{
	q->len = q->vp->dev->cfg.queue_len;
	q->vector = VIRTIO_MSI_NO_VECTOR;
	q->enabled = false;
	q->desc = q->avail = q->used = 0;
}

static void registers_reset(void *t)
{
	struct viommu_virtio_pci *vp = t;

	vp->status = 0;
	vp->isr = 0;
	vp->offered_select = vp->accepted_select = 0;
	vp->accepted = 0;
	vp->stray_features = false;
	vp->vector = VIRTIO_MSI_NO_VECTOR;
	vp->select = 0;
	for (unsigned i = 0; i < vp->dev->cfg.queues; i++)
		queue_forget(&vp->queues[i]);
}

static const struct vs_virtio_transport transport = {
	.may_dma = may_dma,
	.interrupt = queue_interrupt,
	.config_changed = config_changed,
	.failed = failed,
	.publishing = publishing,
	.published = published,
	.busy = busy,
	.idle = idle,
	.reset_done = registers_reset,
};

/* ---------------------------------------------------- what the driver does */

static void queue_start(struct vs_pci_queue *q)
{
	const uint64_t accepted = q->vp->accepted;
	const struct viommu_ring ring = {
		.desc = q->desc,
		.avail = q->avail,
		.used = q->used,
		.len = q->len,
		.indirect = accepted & FEATURE(VIRTIO_RING_F_INDIRECT_DESC),
		.event_idx = accepted & FEATURE(VIRTIO_RING_F_EVENT_IDX),
	};

	vs_virtio_queue_start(q->vp->dev, q->index, &ring, NULL);
}

void vs_pci_queue_enable(struct vs_pci_queue *q)
{
	const struct viommu_virtio_dev *dev = q->vp->dev;

	if (q->enabled)
		return;
	q->enabled = true;
	if (dev->live && !viommu_virtio_dev_failure(dev))
		queue_start(q);
}

static bool features_fit(const struct viommu_virtio_pci *vp)
{
	return !vp->stray_features &&
	       vs_virtio_features_fit(vp->dev, vp->accepted);
}

static void reset_start(struct viommu_virtio_pci *vp)
{
	if (vp->dev->resetting)
		return;
	vp->isr = 0;
	viommu_pci_deassert(vp->pci);
	vs_virtio_reset(vp->dev);
}

static void driver_ok(struct viommu_virtio_pci *vp)
{
	vp->dev->live = true;
	for (unsigned i = 0; i < vp->dev->cfg.queues; i++)
		if (vp->queues[i].enabled)
			queue_start(&vp->queues[i]);
}

/* A driver sets bits one after the other and clears none but all (2.1.1). */
void vs_virtio_status_write(struct viommu_virtio_pci *vp, uint8_t val)
{
	uint8_t fresh = (uint8_t)(val & DRIVER_STATUS & ~vp->status);

	if (!val) {
		reset_start(vp);
		return;
	}
	if (vp->dev->resetting)
		return;
	if ((fresh & VIRTIO_CONFIG_S_FEATURES_OK) && !features_fit(vp))
		fresh &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	if (!((vp->status | fresh) & VIRTIO_CONFIG_S_FEATURES_OK))
		fresh &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
	vp->status |= fresh;
	if (fresh & VIRTIO_CONFIG_S_FEATURES_OK)
		vs_virtio_features(vp->dev, vp->accepted);
	if (fresh & VIRTIO_CONFIG_S_DRIVER_OK)
		driver_ok(vp);
}

/* -------------------------------------------------------- what PCI tells us */

/* The VMM or the guest reset the function. */
static void pci_reset(void *arg)
{
	reset_start(arg);
}

static void pci_system_reset(void *arg)
{
	struct viommu_virtio_pci *vp = arg;

	vs_virtio_system_reset(vp->dev);
}

static void bus_master(void *arg, bool on)
{
	struct viommu_virtio_pci *vp = arg;

	vs_virtio_dma(vp->dev, on);
}

static void given_up(void *arg)
{
	struct viommu_virtio_pci *vp = arg;

	viommu_virtio_dev_fail(vp->dev, "its DMA did not end in time");
}

/* ---------------------------------------------------------------- public */

static int pci_make(struct viommu_virtio_pci *vp, uint32_t class_code)
{
	const struct viommu_virtio_dev_config *dev = &vp->dev->cfg;
	const struct viommu_pci_config cfg = {
		.size = sizeof(cfg),
		.name = dev->name,
		.loop = dev->loop,
		.vi = dev->vi,
		.memory = dev->memory,
		.vendor = VENDOR,
		.device = (uint16_t)(DEVICE_BASE + dev->device_id),
		.subsystem_vendor = VENDOR,
		.subsystem = (uint16_t)(DEVICE_BASE + dev->device_id),
		.class_code = class_code,
		.revision = REVISION,
		.reset = pci_reset,
		.arg = vp,
		.system_reset = pci_system_reset,
		.bus_master = bus_master,
		.given_up = given_up,
	};
	int rc = viommu_pci_create(&cfg, &vp->pci);

	return rc ? rc : vs_virtio_regs_add(vp);
}

int viommu_virtio_pci_create(struct viommu_virtio_dev *dev, uint32_t class_code,
			     struct viommu_virtio_pci **out)
{
	struct viommu_virtio_pci *vp = calloc(1, sizeof(*vp));
	int rc;

	if (!vp)
		return -ENOMEM;
	vp->dev = dev;
	for (unsigned i = 0; i < VS_VIRTIO_QUEUES; i++) {
		vp->queues[i].vp = vp;
		vp->queues[i].index = i;
	}
	registers_reset(vp);
	rc = pci_make(vp, class_code);
	if (!rc)
		rc = vs_virtio_attach(dev, &transport, vp);
	if (rc) {
		viommu_pci_destroy(vp->pci);
		free(vp);
		return rc;
	}
	*out = vp;
	return 0;
}

void viommu_virtio_pci_destroy(struct viommu_virtio_pci *vp)
{
	if (!vp)
		return;
	vs_virtio_detach(vp->dev);
	viommu_pci_destroy(vp->pci);
	free(vp);
}

struct viommu_pci *viommu_virtio_pci_pci(struct viommu_virtio_pci *vp)
{
	return vp->pci;
}
