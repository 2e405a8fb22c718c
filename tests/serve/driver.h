/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_SERVE_DRIVER_H
#define TESTS_SERVE_DRIVER_H

/*
 * A virtio driver: finds the registers by the capabilities, as guests do, and
 * steps the loop itself, so that a test knows what has happened by when.
 */

#include "ring.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <viommu/serve/loop.h>
#include <viommu/serve/pci.h>

#include "serve/loop.h"
#include "serve/pci.h"
#include "serve/pci_irq.h"

#define CONFIG	    VFIO_PCI_CONFIG_REGION_INDEX
#define MSIX	    VFIO_PCI_MSIX_IRQ_INDEX
#define INTX	    VFIO_PCI_INTX_IRQ_INDEX
#define DRV_QUEUES  2
#define DRV_RINGS   0x10000u /* GPA; 16 KiB for each queue */
#define DRV_VECTORS (DRV_QUEUES + 1)
#define DRV_FEATURES                         \
	(UINT64_C(1) << VIRTIO_F_VERSION_1 | \
	 UINT64_C(1) << VIRTIO_F_ACCESS_PLATFORM)
#define DRV_EVENT_IDX (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
#define DRV_INDIRECT  (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)

struct place {
	unsigned bar;
	uint64_t off, len;
};

struct driver {
	struct viommu_loop *loop;
	struct viommu_pci *pci;
	struct place common, notify, isr, device;
	uint32_t multiplier;
	unsigned window; /* offset of the PCI_CFG capability */
	int irqs[DRV_VECTORS];
	struct ring rings[DRV_QUEUES];
	struct viommu_timer tick;
};

/* -------------------------------------------------------------- registers */

static inline uint64_t drv_region_get(struct driver *d, unsigned region,
				      uint64_t off, unsigned len)
{
	uint64_t val = 0;

	assert_true(vs_pci_inside(d->pci, region, off, len));
	vs_pci_read(d->pci, region, off, &val, len);
	return le64toh(val);
}

static inline void drv_region_set(struct driver *d, unsigned region,
				  uint64_t off, unsigned len, uint64_t val)
{
	assert_true(vs_pci_inside(d->pci, region, off, len));
	val = htole64(val);
	vs_pci_write(d->pci, region, off, &val, len);
}

static inline uint64_t drv_get(struct driver *d, const struct place *p,
			       uint64_t off, unsigned len)
{
	assert_true(off + len <= p->len);
	return drv_region_get(d, p->bar, p->off + off, len);
}

static inline void drv_set(struct driver *d, const struct place *p,
			   uint64_t off, unsigned len, uint64_t val)
{
	assert_true(off + len <= p->len);
	drv_region_set(d, p->bar, p->off + off, len, val);
}

static inline uint64_t common_get(struct driver *d, unsigned off, unsigned len)
{
	return drv_get(d, &d->common, off, len);
}

static inline void common_set(struct driver *d, unsigned off, unsigned len,
			      uint64_t val)
{
	drv_set(d, &d->common, off, len, val);
}

static inline uint8_t status_get(struct driver *d)
{
	return (uint8_t)common_get(d, VIRTIO_PCI_COMMON_STATUS, 1);
}

static inline void status_set(struct driver *d, uint8_t val)
{
	common_set(d, VIRTIO_PCI_COMMON_STATUS, 1, val);
}

/* ------------------------------------------------------------------ loop */

static inline void drv_tick(void *arg)
{
	struct driver *d = arg;

	viommu_timer_start(d->loop, &d->tick, 2000000);
}

static inline uint64_t drv_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Let the loop turn until @cond, for ten seconds at most. */
#define LOOP_UNTIL(d, cond)                                           \
	do {                                                          \
		uint64_t until_ = drv_now() + 10000000000;            \
		while (!(cond)) {                                     \
			assert_true(drv_now() < until_);              \
			assert_int_equal(vs_loop_once((d)->loop), 0); \
		}                                                     \
	} while (0)

/* Let it turn for a while. */
static inline void loop_for_ms(struct driver *d, uint64_t ms)
{
	uint64_t until = drv_now() + ms * 1000000;

	while (drv_now() < until)
		assert_int_equal(vs_loop_once(d->loop), 0);
}

/* ------------------------------------------------------------------- life */

static inline void drv_cap(struct driver *d, unsigned cap)
{
	struct place p = {
		.bar = (unsigned)drv_region_get(d, CONFIG,
						cap + VIRTIO_PCI_CAP_BAR, 1),
		.off = drv_region_get(d, CONFIG, cap + VIRTIO_PCI_CAP_OFFSET,
				      4),
		.len = drv_region_get(d, CONFIG, cap + VIRTIO_PCI_CAP_LENGTH,
				      4),
	};

	switch (drv_region_get(d, CONFIG, cap + VIRTIO_PCI_CAP_CFG_TYPE, 1)) {
	case VIRTIO_PCI_CAP_COMMON_CFG:
		d->common = p;
		break;
	case VIRTIO_PCI_CAP_NOTIFY_CFG:
		d->notify = p;
		d->multiplier = (uint32_t)drv_region_get(
			d, CONFIG, cap + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
		break;
	case VIRTIO_PCI_CAP_ISR_CFG:
		d->isr = p;
		break;
	case VIRTIO_PCI_CAP_DEVICE_CFG:
		d->device = p;
		break;
	case VIRTIO_PCI_CAP_PCI_CFG:
		d->window = cap;
		break;
	}
}

static inline void drv_init(struct driver *d, struct viommu_loop *loop,
			    struct viommu_pci *pci)
{
	uint64_t cap;

	*d = (struct driver){ .loop = loop, .pci = pci };
	viommu_timer_init(&d->tick, drv_tick, d);
	drv_tick(d);
	for (cap = drv_region_get(d, CONFIG, PCI_CAPABILITY_LIST, 1); cap;
	     cap = drv_region_get(d, CONFIG, cap + PCI_CAP_LIST_NEXT, 1))
		if (drv_region_get(d, CONFIG, cap, 1) == PCI_CAP_ID_VNDR)
			drv_cap(d, (unsigned)cap);
	assert_true(d->common.len && d->notify.len && d->isr.len);
	for (unsigned i = 0; i < DRV_VECTORS; i++)
		d->irqs[i] = -1;
}

static inline void drv_fini(struct driver *d)
{
	viommu_timer_stop(d->loop, &d->tick);
}

static inline void drv_bus_master(struct driver *d, bool on)
{
	drv_region_set(d, CONFIG, PCI_COMMAND, 2,
		       PCI_COMMAND_MEMORY | (on ? PCI_COMMAND_MASTER : 0));
}

/* MSI-X on, with eventfds to look at; they become the function's. */
static inline void drv_msix(struct driver *d)
{
	uint64_t cap = drv_region_get(d, CONFIG, PCI_CAPABILITY_LIST, 1);
	unsigned n = vs_irqs_count(vs_pci_irqs(d->pci), MSIX);

	while (drv_region_get(d, CONFIG, cap, 1) != PCI_CAP_ID_MSIX)
		cap = drv_region_get(d, CONFIG, cap + PCI_CAP_LIST_NEXT, 1);
	drv_region_set(d, CONFIG, cap + PCI_MSIX_FLAGS, 2,
		       PCI_MSIX_FLAGS_ENABLE);
	for (unsigned i = 0; i < n && i < DRV_VECTORS; i++) {
		d->irqs[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_true(d->irqs[i] >= 0);
		vs_irq_set(vs_pci_irqs(d->pci), MSIX, i, d->irqs[i]);
	}
}

/* Interrupts since last asked. */
static inline uint64_t drv_irqs(struct driver *d, unsigned vector)
{
	uint64_t n = 0;

	if (read(d->irqs[vector], &n, sizeof(n)) < 0)
		return 0;
	return n;
}

static inline void drv_accept(struct driver *d, uint64_t features)
{
	common_set(d, VIRTIO_PCI_COMMON_GFSELECT, 4, 0);
	common_set(d, VIRTIO_PCI_COMMON_GF, 4, (uint32_t)features);
	common_set(d, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
	common_set(d, VIRTIO_PCI_COMMON_GF, 4, features >> 32);
}

static inline uint64_t drv_offered(struct driver *d)
{
	uint64_t low;

	common_set(d, VIRTIO_PCI_COMMON_DFSELECT, 4, 0);
	low = common_get(d, VIRTIO_PCI_COMMON_DF, 4);
	common_set(d, VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
	return low | common_get(d, VIRTIO_PCI_COMMON_DF, 4) << 32;
}

/* Up to FEATURES_OK; whether the device agreed. */
static inline bool drv_negotiate(struct driver *d, uint64_t features)
{
	uint8_t s = VIRTIO_CONFIG_S_ACKNOWLEDGE;

	status_set(d, s);
	status_set(d, s |= VIRTIO_CONFIG_S_DRIVER);
	drv_accept(d, features);
	status_set(d, s |= VIRTIO_CONFIG_S_FEATURES_OK);
	return status_get(d) & VIRTIO_CONFIG_S_FEATURES_OK;
}

static inline void drv_queue_place(struct driver *d, uint64_t desc,
				   uint64_t avail, uint64_t used)
{
	common_set(d, VIRTIO_PCI_COMMON_Q_DESCLO, 4, (uint32_t)desc);
	common_set(d, VIRTIO_PCI_COMMON_Q_DESCHI, 4, desc >> 32);
	common_set(d, VIRTIO_PCI_COMMON_Q_AVAILLO, 4, (uint32_t)avail);
	common_set(d, VIRTIO_PCI_COMMON_Q_AVAILHI, 4, avail >> 32);
	common_set(d, VIRTIO_PCI_COMMON_Q_USEDLO, 4, (uint32_t)used);
	common_set(d, VIRTIO_PCI_COMMON_Q_USEDHI, 4, used >> 32);
}

/* Queue @n at its place in RAM, vector @n + 1; devices add @base. */
static inline void drv_queue(struct driver *d, unsigned n, uint8_t *ram,
			     uint64_t base, uint16_t len, bool event_idx)
{
	struct ring *r = &d->rings[n];

	ring_init(r, ram, base, DRV_RINGS + 0x4000 * n, len);
	r->event_idx = event_idx;
	common_set(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, n);
	common_set(d, VIRTIO_PCI_COMMON_Q_SIZE, 2, len);
	common_set(d, VIRTIO_PCI_COMMON_Q_MSIX, 2, n + 1);
	drv_queue_place(d, r->desc + base, r->avail + base, r->used + base);
	common_set(d, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static inline void drv_ready(struct driver *d)
{
	status_set(d, status_get(d) | VIRTIO_CONFIG_S_DRIVER_OK);
	assert_true(status_get(d) & VIRTIO_CONFIG_S_DRIVER_OK);
}

/* All of it: bus mastering, MSI-X, @queues queues of @len. */
static inline void drv_start(struct driver *d, uint64_t features,
			     unsigned queues, uint8_t *ram, uint64_t base,
			     uint16_t len)
{
	drv_bus_master(d, true);
	drv_msix(d);
	assert_true(drv_negotiate(d, features));
	common_set(d, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	for (unsigned i = 0; i < queues; i++)
		drv_queue(d, i, ram, base, len, features & DRV_EVENT_IDX);
	drv_ready(d);
}

static inline void drv_kick(struct driver *d, unsigned n)
{
	drv_set(d, &d->notify, (uint64_t)d->multiplier * n, 2, n);
}

/* What the device returns next on queue @n; it has ten seconds. */
static inline uint32_t drv_wait(struct driver *d, unsigned n, uint32_t *id)
{
	uint32_t len;

	LOOP_UNTIL(d, ring_take(&d->rings[n], id, &len));
	return len;
}

static inline void drv_reset(struct driver *d)
{
	status_set(d, 0);
	LOOP_UNTIL(d, !status_get(d));
}

#endif
