/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * virtio over PCI (virtio 1.3, 4.1): the life of the device,
 *
 *	0 -> ACKNOWLEDGE -> DRIVER -> FEATURES_OK -> DRIVER_OK -> 0
 *
 * A queue is started when it is enabled and the driver is ready, whichever
 * comes last, since before FEATURES_OK nobody knows how its ring is laid out.
 *
 * A reset begins by stopping the queues and ends when the model says so.  In
 * between the registers keep what they held and take nothing, and status is
 * not 0 yet: the driver waits for that (4.1.4.3.1).
 *
 * A device whose endpoint was given up, since it did not let go in time (L9),
 * needs a reset, and says so.  That reset ends when it has let go of all.
 *
 * Everything belongs to the loop's thread, but for `failure`.
 */

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <viommu/endpoint.h>

#include "serve/opts.h"
#include "serve/virtio_pci_impl.h"

#define VENDOR	    0x1af4
#define DEVICE_BASE 0x1040
#define REVISION    1
#define RETRY_NS    UINT64_C(1000000) /* when no pin was left */

#define FEATURE(bit) (UINT64_C(1) << (bit))
#define RING_FEATURES                                                     \
	(FEATURE(VIRTIO_RING_F_INDIRECT_DESC) |                           \
	 FEATURE(VIRTIO_RING_F_EVENT_IDX) | FEATURE(VIRTIO_F_VERSION_1) | \
	 FEATURE(VIRTIO_F_ACCESS_PLATFORM))
#define DRIVER_STATUS                                              \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |    \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK | \
	 VIRTIO_CONFIG_S_FAILED)
#define ISR_QUEUE  0x1u
#define ISR_CONFIG ((uint8_t)VIRTIO_PCI_ISR_CONFIG)

/* ------------------------------------------------------------ interrupts */

static bool driver_ready(const struct viommu_virtio_pci *vp)
{
	return !vp->resetting && (vp->status & VIRTIO_CONFIG_S_DRIVER_OK);
}

static bool running(const struct viommu_virtio_pci *vp)
{
	return driver_ready(vp) && !(vp->status & VIRTIO_CONFIG_S_NEEDS_RESET);
}

/* NO_VECTOR is none of MSI-X's vectors, and nothing to INTx. */
static void interrupt(struct viommu_virtio_pci *vp, uint8_t isr,
		      uint16_t vector)
{
	vp->isr |= isr;
	viommu_pci_interrupt(vp->pci, vector);
}

void viommu_virtio_pci_config_changed(struct viommu_virtio_pci *vp)
{
	vp->generation++;
	if (driver_ready(vp))
		interrupt(vp, ISR_CONFIG, vp->vector);
}

void viommu_virtio_pci_fail(struct viommu_virtio_pci *vp, const char *why)
{
	if (vp->resetting || (vp->status & VIRTIO_CONFIG_S_NEEDS_RESET))
		return;
	atomic_store(&vp->failure, why);
	vp->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	viommu_virtio_pci_config_changed(vp);
}

const char *viommu_virtio_pci_failure(const struct viommu_virtio_pci *vp)
{
	return atomic_load(&vp->failure);
}

/* ---------------------------------------------------------------- queues */

/* The model looks at the queue, if there is one to look at, and if the guest
 * lets the function do DMA. */
void vs_virtio_queue_notify(struct vs_virtio_queue *q)
{
	struct viommu_virtio_pci *vp = q->vp;

	if (running(vp) && q->started && viommu_pci_bus_master(vp->pci))
		vp->cfg.ops->notify(vp->cfg.arg, q->index);
}

/* Also what is pushed may not be published yet: pins were short, or bus
 * mastering was off. */
static void queue_again(void *arg)
{
	struct vs_virtio_queue *q = arg;

	viommu_virtio_pci_publish(q->vp, q->index);
	vs_virtio_queue_notify(q);
}

static void queue_start(struct vs_virtio_queue *q)
{
	struct viommu_virtio_pci *vp = q->vp;
	const struct viommu_ring ring = {
		.desc = q->desc,
		.avail = q->avail,
		.used = q->used,
		.len = q->len,
		.indirect = vp->accepted & FEATURE(VIRTIO_RING_F_INDIRECT_DESC),
		.event_idx = vp->accepted & FEATURE(VIRTIO_RING_F_EVENT_IDX),
	};

	if (viommu_virtqueue_start(q->vq, &ring)) {
		viommu_virtio_pci_fail(vp, "queue at a bad address");
		return;
	}
	q->started = true;
	/* the driver may have filled it before it was ready */
	viommu_virtio_pci_again(vp, q->index);
}

void vs_virtio_queue_enable(struct vs_virtio_queue *q)
{
	if (q->enabled)
		return;
	q->enabled = true;
	if (running(q->vp))
		queue_start(q);
}

static void queue_stop(struct vs_virtio_queue *q)
{
	viommu_loop_cancel(q->vp->cfg.loop, &q->again);
	viommu_timer_stop(q->vp->cfg.loop, &q->retry);
	viommu_virtqueue_stop(q->vq);
	q->started = false;
}

static void queue_forget(struct vs_virtio_queue *q)
{
	q->len = q->vp->cfg.queue_len;
	q->vector = VIRTIO_MSI_NO_VECTOR;
	q->enabled = false;
	q->desc = q->avail = q->used = 0;
}

struct viommu_virtqueue *viommu_virtio_pci_queue(struct viommu_virtio_pci *vp,
						 unsigned queue)
{
	return vp->queues[queue].vq;
}

/* What a queue's call came to, if it came to something else than usual. */
static void queue_trouble(struct vs_virtio_queue *q, int rc)
{
	if (rc == -EAGAIN)
		viommu_timer_start(q->vp->cfg.loop, &q->retry, RETRY_NS);
	else if (rc == -EPROTO)
		viommu_virtio_pci_fail(q->vp, viommu_virtqueue_broken(q->vq));
}

int viommu_virtio_pci_pop(struct viommu_virtio_pci *vp, unsigned queue,
			  struct viommu_element *elem)
{
	struct vs_virtio_queue *q = &vp->queues[queue];
	int rc;

	if (!running(vp) || !q->started || !viommu_virtio_pci_may_dma(vp))
		return -ENOENT;
	rc = viommu_virtqueue_pop(q->vq, elem);
	queue_trouble(q, rc);
	return rc ? -ENOENT : 0;
}

void viommu_virtio_pci_publish(struct viommu_virtio_pci *vp, unsigned queue)
{
	struct vs_virtio_queue *q = &vp->queues[queue];
	int rc;

	if (!driver_ready(vp) || !q->started || !viommu_virtio_pci_may_dma(vp))
		return;
	rc = viommu_virtqueue_publish(q->vq);
	queue_trouble(q, rc);
	if (rc == 1)
		interrupt(vp, ISR_QUEUE, q->vector);
}

void viommu_virtio_pci_again(struct viommu_virtio_pci *vp, unsigned queue)
{
	if (!vp->resetting)
		viommu_loop_post(vp->cfg.loop, &vp->queues[queue].again);
}

/* ------------------------------------------------------------ bus master */

bool viommu_virtio_pci_may_dma(const struct viommu_virtio_pci *vp)
{
	return viommu_pci_bus_master(vp->pci);
}

static void bus_master(void *arg, bool on)
{
	struct viommu_virtio_pci *vp = arg;

	/* a reset stopped all of it */
	if (vp->resetting)
		return;
	if (on) {
		viommu_virtio_pci_quiet(vp);
		/* kicks that came meanwhile were not heard */
		for (unsigned i = 0; i < vp->cfg.queues; i++)
			if (vp->queues[i].started)
				viommu_virtio_pci_again(vp, i);
	} else if (vp->cfg.ops->quiesce) {
		vp->quiescing = true;
		vp->cfg.ops->quiesce(vp->cfg.arg);
		if (vp->quiescing)
			viommu_pci_busy(vp->pci);
	}
}

void viommu_virtio_pci_quiet(struct viommu_virtio_pci *vp)
{
	if (!vp->quiescing)
		return;
	vp->quiescing = false;
	viommu_pci_idle(vp->pci);
}

/* ---------------------------------------------------------------- status */

static void registers_reset(struct viommu_virtio_pci *vp)
{
	vp->status = 0;
	vp->isr = 0;
	vp->offered_select = vp->accepted_select = 0;
	vp->accepted = 0;
	vp->stray_features = false;
	vp->vector = VIRTIO_MSI_NO_VECTOR;
	vp->select = 0;
	for (unsigned i = 0; i < vp->cfg.queues; i++)
		queue_forget(&vp->queues[i]);
	atomic_store(&vp->failure, NULL);
}

static void reset_start(struct viommu_virtio_pci *vp)
{
	if (vp->resetting)
		return;
	for (unsigned i = 0; i < vp->cfg.queues; i++)
		queue_stop(&vp->queues[i]);
	vp->isr = 0;
	viommu_pci_deassert(vp->pci);
	vp->resetting = true;
	vp->quiescing = false; /* the reset waits for no less */
	vp->cfg.ops->reset(vp->cfg.arg);
	if (vp->resetting)
		viommu_pci_busy(vp->pci);
}

void viommu_virtio_pci_reset_done(struct viommu_virtio_pci *vp)
{
	if (!vp->resetting)
		return;
	/* the model has let go; but who asks about it now may hold on for a
	 * moment */
	if (viommu_endpoint_recover(vp->cfg.endpoint)) {
		viommu_timer_start(vp->cfg.loop, &vp->recover, RETRY_NS);
		return;
	}
	registers_reset(vp);
	vp->resetting = false;
	viommu_pci_idle(vp->pci);
}

static void recover(void *arg)
{
	viommu_virtio_pci_reset_done(arg);
}

static void given_up(void *arg)
{
	viommu_virtio_pci_fail(arg, "its DMA did not end in time");
}

/* The VMM or the guest reset the function. */
static void pci_reset(void *arg)
{
	reset_start(arg);
}

static void pci_system_reset(void *arg)
{
	struct viommu_virtio_pci *vp = arg;

	if (vp->cfg.ops->system_reset)
		vp->cfg.ops->system_reset(vp->cfg.arg);
}

static bool features_fit(const struct viommu_virtio_pci *vp)
{
	return !vp->stray_features && !(vp->accepted & ~vp->offered) &&
	       !(vp->cfg.required & ~vp->accepted);
}

static void driver_ok(struct viommu_virtio_pci *vp)
{
	for (unsigned i = 0; i < vp->cfg.queues; i++)
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
	if (vp->resetting)
		return;
	if ((fresh & VIRTIO_CONFIG_S_FEATURES_OK) && !features_fit(vp))
		fresh &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	if (!((vp->status | fresh) & VIRTIO_CONFIG_S_FEATURES_OK))
		fresh &= (uint8_t)~VIRTIO_CONFIG_S_DRIVER_OK;
	vp->status |= fresh;
	if ((fresh & VIRTIO_CONFIG_S_FEATURES_OK) && vp->cfg.ops->features)
		vp->cfg.ops->features(vp->cfg.arg, vp->accepted);
	if (fresh & VIRTIO_CONFIG_S_DRIVER_OK)
		driver_ok(vp);
}

/* ---------------------------------------------------------------- public */

static int pci_make(struct viommu_virtio_pci *vp)
{
	const struct viommu_pci_config cfg = {
		.size = sizeof(cfg),
		.name = vp->cfg.name,
		.loop = vp->cfg.loop,
		.vi = vp->cfg.vi,
		.memory = vp->cfg.memory,
		.vendor = VENDOR,
		.device = (uint16_t)(DEVICE_BASE + vp->cfg.device_id),
		.subsystem_vendor = VENDOR,
		.subsystem = (uint16_t)(DEVICE_BASE + vp->cfg.device_id),
		.class_code = vp->cfg.class_code,
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

static int queues_make(struct viommu_virtio_pci *vp)
{
	const struct viommu_virtqueue_config cfg = {
		.size = sizeof(cfg),
		.endpoint = vp->cfg.endpoint,
		.max_len = vp->cfg.queue_len,
		.max_segments = vp->cfg.segments,
	};
	int rc = 0;

	for (unsigned i = 0; i < vp->cfg.queues && !rc; i++) {
		struct vs_virtio_queue *q = &vp->queues[i];

		q->vp = vp;
		q->index = i;
		viommu_task_init(&q->again, queue_again, q);
		viommu_timer_init(&q->retry, queue_again, q);
		rc = viommu_virtqueue_create(&cfg, &q->vq);
	}
	return rc;
}

static bool config_valid(const struct viommu_virtio_pci_config *cfg)
{
	return cfg->loop && cfg->vi && cfg->memory && cfg->endpoint &&
	       cfg->ops && cfg->ops->notify && cfg->ops->reset && cfg->queues &&
	       cfg->queues <= VS_VIRTIO_QUEUES &&
	       cfg->config_len <= VS_VIRTIO_CONFIG_MAX &&
	       !(cfg->features >> 24) && !cfg->reserved && !cfg->reserved2;
}

int viommu_virtio_pci_create(const struct viommu_virtio_pci_config *cfg,
			     struct viommu_virtio_pci **out)
{
	struct viommu_virtio_pci *vp = calloc(1, sizeof(*vp));
	int rc;

	if (!vp)
		return -ENOMEM;
	rc = vs_opts_copy(&vp->cfg, sizeof(vp->cfg), cfg, cfg->size);
	if (!rc && !config_valid(&vp->cfg))
		rc = -EINVAL;
	if (rc) {
		free(vp);
		return rc;
	}
	vp->offered = vp->cfg.features | RING_FEATURES;
	vp->cfg.required |= FEATURE(VIRTIO_F_VERSION_1);
	viommu_timer_init(&vp->recover, recover, vp);
	rc = queues_make(vp);
	if (!rc)
		rc = pci_make(vp);
	if (rc) {
		viommu_virtio_pci_destroy(vp);
		return rc;
	}
	vp->cfg.name = NULL; /* the caller's */
	registers_reset(vp);
	*out = vp;
	return 0;
}

void viommu_virtio_pci_destroy(struct viommu_virtio_pci *vp)
{
	if (!vp)
		return;
	for (unsigned i = 0; i < vp->cfg.queues; i++) {
		if (vp->queues[i].vq)
			queue_stop(&vp->queues[i]);
		viommu_virtqueue_destroy(vp->queues[i].vq);
	}
	viommu_timer_stop(vp->cfg.loop, &vp->recover);
	viommu_pci_destroy(vp->pci);
	free(vp);
}

struct viommu_pci *viommu_virtio_pci_pci(struct viommu_virtio_pci *vp)
{
	return vp->pci;
}
