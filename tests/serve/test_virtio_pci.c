/* SPDX-License-Identifier: BSD-2-Clause */

/* The registers of virtio over PCI, with a small device model behind. */

#include "driver.h"
#include "seat.h"

#include <viommu/serve/virtio_pci.h>

#define DEVICE_ID   5
#define CLASS	    0xff0000u
#define ALL	    (VIOMMU_READ | VIOMMU_WRITE)
#define DATA	    0x40000u
#define OFFERED	    (UINT64_C(0x21) | DRV_FEATURES | DRV_EVENT_IDX | DRV_INDIRECT)
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET

struct fix {
	struct guest *g;
	struct viommu_loop *loop;
	struct viommu_virtio_dev *dev;
	struct viommu_virtio_pci *vp;
	struct driver d;
	/* the model */
	uint64_t features;
	uint8_t config[10];
	unsigned notified[DRV_QUEUES], resets;
	bool serve;	 /* answer requests when notified */
	bool slow_reset; /* the test finishes it */
	bool untold;	 /* the endpoint is given up behind its back */
	struct viommu_piece segments[8];
	struct viommu_element e;
};

/* ----------------------------------------------------------------- model */

static void model_features(void *arg, uint64_t features)
{
	struct fix *x = arg;

	x->features = features;
}

static void model_read(void *arg, size_t off, void *buf, size_t len)
{
	struct fix *x = arg;

	assert_true(off + len <= sizeof(x->config));
	memcpy(buf, x->config + off, len);
}

static void model_write(void *arg, size_t off, const void *buf, size_t len)
{
	struct fix *x = arg;

	assert_true(off + len <= sizeof(x->config));
	memcpy(x->config + off, buf, len);
}

static void model_notify(void *arg, unsigned queue)
{
	struct fix *x = arg;

	x->notified[queue]++;
	if (!x->serve)
		return;
	while (!viommu_virtio_dev_pop(x->dev, queue, &x->e))
		viommu_virtio_dev_push(x->dev, queue, &x->e, 1);
	viommu_virtio_dev_publish(x->dev, queue);
}

static void model_reset(void *arg)
{
	struct fix *x = arg;

	x->resets++;
	if (!x->slow_reset)
		viommu_virtio_dev_reset_done(x->dev);
}

static const struct viommu_virtio_dev_ops model = {
	.features = model_features,
	.config_read = model_read,
	.config_write = model_write,
	.notify = model_notify,
	.reset = model_reset,
};

/* ---------------------------------------------------------------- fixture */

static struct viommu_virtio_dev_config fix_config(struct fix *x)
{
	return (struct viommu_virtio_dev_config){
		.size = sizeof(struct viommu_virtio_dev_config),
		.name = "model",
		.loop = x->loop,
		.vi = x->g->vi,
		.memory = viommu_memory_of(x->g->vi),
		.endpoint = x->g->ep,
		.device_id = DEVICE_ID,
		.features = 0x21,
		.queues = DRV_QUEUES,
		.queue_len = 64,
		.segments = 64,
		.config_len = sizeof(x->config),
		.ops = &model,
		.arg = x,
	};
}

static enum viommu_verdict expire(void *arg, const struct viommu_expiry *e)
{
	struct fix *x = arg;

	assert_int_equal(e->start, DATA + GUEST_IOVA);
	if (!x->untold)
		viommu_pci_give_up(viommu_virtio_pci_pci(x->vp));
	return VIOMMU_GIVE_UP;
}

static struct fix *fix_make(const struct viommu_config *limits)
{
	struct fix *x = calloc(1, sizeof(*x));
	struct viommu_virtio_dev_config cfg;

	assert_non_null(x);
	x->g = guest_make_expiring(limits, expire, x);
	guest_map(x->g, DRV_RINGS, 0x10000, ALL);
	guest_map(x->g, DATA, 0x10000, ALL);
	assert_int_equal(viommu_loop_create(&x->loop), 0);
	cfg = fix_config(x);
	assert_int_equal(viommu_virtio_dev_create(&cfg, &x->dev), 0);
	assert_int_equal(viommu_virtio_pci_create(x->dev, CLASS, &x->vp), 0);
	drv_init(&x->d, x->loop, viommu_virtio_pci_pci(x->vp));
	x->serve = true;
	x->e.segments = x->segments;
	x->e.max = 8;
	return x;
}

static int setup(void **state)
{
	*state = fix_make(NULL);
	return 0;
}

static void fix_free(struct fix *x)
{
	if (x->vp)
		drv_fini(&x->d);
	viommu_virtio_pci_destroy(x->vp);
	viommu_virtio_dev_destroy(x->dev);
	viommu_loop_destroy(x->loop);
	guest_free(x->g);
	free(x);
}

static int teardown(void **state)
{
	fix_free(*state);
	return 0;
}

static void start(struct fix *x)
{
	drv_start(&x->d, DRV_FEATURES, DRV_QUEUES, x->g->ram, GUEST_IOVA, 8);
}

static void request(struct fix *x, unsigned n, uint16_t head)
{
	ring_buffer(&x->d.rings[n], head, DATA, 16, VRING_DESC_F_WRITE, 0);
	ring_offer(&x->d.rings[n], head);
	drv_kick(&x->d, n);
}

static unsigned taken(struct fix *x, unsigned n)
{
	uint32_t id, len;
	unsigned some = 0;

	while (ring_take(&x->d.rings[n], &id, &len))
		some++;
	return some;
}

/* ----------------------------------------------------------------- tests */

static void config_is_checked(void **state)
{
	struct fix *x = *state;
	struct viommu_virtio_dev_config cfg = fix_config(x);
	struct viommu_virtio_dev *dev;
	struct viommu_virtio_pci *vp;

#define REFUSED(member, val)                                           \
	do {                                                           \
		cfg = fix_config(x);                                   \
		cfg.member = val;                                      \
		assert_int_equal(viommu_virtio_dev_create(&cfg, &dev), \
				 -EINVAL);                             \
	} while (0)
	REFUSED(queues, 0);
	REFUSED(queues, 17);
	REFUSED(queue_len, 63);
	REFUSED(segments, 32);
	REFUSED(config_len, 4097);
	REFUSED(features, UINT64_C(1) << 33);
	REFUSED(ops, NULL);
	REFUSED(size, sizeof(cfg) - 1);
#undef REFUSED
	cfg = fix_config(x);
	assert_int_equal(viommu_virtio_dev_create(&cfg, &dev), 0);
	assert_int_equal(viommu_virtio_pci_create(dev, 0x1000000, &vp),
			 -EINVAL);
	viommu_virtio_dev_destroy(dev);
	/* one transport */
	assert_int_equal(viommu_virtio_pci_create(x->dev, CLASS, &vp), -EBUSY);
}

static void looks_like_virtio(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;

	assert_int_equal(drv_region_get(d, CONFIG, PCI_VENDOR_ID, 2), 0x1af4);
	assert_int_equal(drv_region_get(d, CONFIG, PCI_DEVICE_ID, 2),
			 0x1040 + DEVICE_ID);
	assert_int_equal(drv_region_get(d, CONFIG, PCI_REVISION_ID, 1), 1);
	assert_true(drv_region_get(d, CONFIG, PCI_SUBSYSTEM_ID, 2) >= 0x40);
	assert_int_equal(d->common.len, sizeof(struct virtio_pci_common_cfg));
	assert_int_equal(d->isr.len, 1);
	assert_int_equal(d->device.len, sizeof(x->config));
	assert_true(d->notify.len >= d->multiplier * (DRV_QUEUES - 1) + 2);
	assert_true(d->window);
	/* after power-on */
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_NUMQ, 2), DRV_QUEUES);
	assert_int_equal(status_get(d), 0);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_MSIX, 2),
			 VIRTIO_MSI_NO_VECTOR);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_MSIX, 2),
			 VIRTIO_MSI_NO_VECTOR);
}

static void features_are_negotiated(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;

	assert_true(drv_offered(d) == OFFERED);
	common_set(d, VIRTIO_PCI_COMMON_DFSELECT, 4, 2);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_DF, 4), 0);
	assert_true(drv_negotiate(d, DRV_FEATURES | 1));
	assert_true(x->features == (DRV_FEATURES | 1));
	/* settled */
	drv_accept(d, 0);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_GF, 4),
			 DRV_FEATURES >> 32);
}

static void features_are_refused(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;
	uint8_t s;

	/* not offered; no VERSION_1; a bit that nobody has ever heard of */
	assert_false(drv_negotiate(d, DRV_FEATURES | 2));
	drv_reset(d);
	assert_false(drv_negotiate(d, 0x21));
	drv_reset(d);
	common_set(d, VIRTIO_PCI_COMMON_GFSELECT, 4, 2);
	common_set(d, VIRTIO_PCI_COMMON_GF, 4, 1);
	assert_false(drv_negotiate(d, DRV_FEATURES));
	assert_true(x->features == 0);
	/* DRIVER_OK needs FEATURES_OK */
	s = status_get(d);
	status_set(d, s | VIRTIO_CONFIG_S_DRIVER_OK);
	assert_int_equal(status_get(d), s);
	/* this device does without ACCESS_PLATFORM */
	drv_reset(d);
	assert_true(drv_negotiate(d, UINT64_C(1) << VIRTIO_F_VERSION_1));
	status_set(d, status_get(d) | VIRTIO_CONFIG_S_FAILED);
	assert_true(status_get(d) & VIRTIO_CONFIG_S_FAILED);
}

static void required_features(void **state)
{
	struct fix *x = *state;
	struct viommu_virtio_dev_config cfg = fix_config(x);
	struct viommu_virtio_dev *dev;
	struct viommu_virtio_pci *vp;
	struct driver d;

	cfg.required = UINT64_C(1) << VIRTIO_F_ACCESS_PLATFORM;
	assert_int_equal(viommu_virtio_dev_create(&cfg, &dev), 0);
	assert_int_equal(viommu_virtio_pci_create(dev, CLASS, &vp), 0);
	drv_init(&d, x->loop, viommu_virtio_pci_pci(vp));
	assert_false(drv_negotiate(&d, UINT64_C(1) << VIRTIO_F_VERSION_1));
	drv_fini(&d);
	viommu_virtio_pci_destroy(vp);
	viommu_virtio_dev_destroy(dev);
}

static void status_bits_stay(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;

	status_set(d, VIRTIO_CONFIG_S_ACKNOWLEDGE | 0x30 | NEEDS_RESET);
	assert_int_equal(status_get(d), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	status_set(d, VIRTIO_CONFIG_S_DRIVER);
	assert_int_equal(status_get(d),
			 VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
}

static void queue_registers(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;

	common_set(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_NOFF, 2), 1);
	common_set(d, VIRTIO_PCI_COMMON_Q_SIZE, 2, 16);
	common_set(d, VIRTIO_PCI_COMMON_Q_SIZE, 2, 17);
	common_set(d, VIRTIO_PCI_COMMON_Q_SIZE, 2, 128);
	common_set(d, VIRTIO_PCI_COMMON_Q_SIZE, 2, 0);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_SIZE, 2), 16);
	common_set(d, VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_MSIX, 2), 2);
	common_set(d, VIRTIO_PCI_COMMON_Q_MSIX, 2, DRV_QUEUES + 1);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_MSIX, 2),
			 VIRTIO_MSI_NO_VECTOR);
	drv_queue_place(d, UINT64_C(0x1122334455667780), 0x2000,
			UINT64_C(0xaabbccdd00000000));
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_DESCLO, 4),
			 0x55667780);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_DESCHI, 4),
			 0x11223344);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_USEDHI, 4),
			 0xaabbccdd);
	/* in one piece, too; and the pieces of a field */
	assert_true(common_get(d, VIRTIO_PCI_COMMON_Q_DESCLO, 8) ==
		    UINT64_C(0x1122334455667780));
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_DESCLO + 1, 1),
			 0x77);
	common_set(d, VIRTIO_PCI_COMMON_Q_AVAILLO, 8,
		   UINT64_C(0x0102030405060708));
	assert_true(common_get(d, VIRTIO_PCI_COMMON_Q_AVAILLO, 8) ==
		    UINT64_C(0x0102030405060708));
	/* half a field is none */
	common_set(d, VIRTIO_PCI_COMMON_Q_DESCLO, 2, 0);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_DESCLO, 4),
			 0x55667780);
	/* the other queue has its own */
	common_set(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0);
	/* and one that does not exist has none */
	common_set(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, DRV_QUEUES);
	common_set(d, VIRTIO_PCI_COMMON_Q_SIZE, 2, 16);
	common_set(d, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	common_set(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, UINT16_MAX);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
}

static void enabled_queue_stays_put(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;

	assert_true(drv_negotiate(d, DRV_FEATURES));
	drv_queue(d, 0, x->g->ram, GUEST_IOVA, 8, false);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	common_set(d, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
	common_set(d, VIRTIO_PCI_COMMON_Q_SIZE, 2, 16);
	drv_queue_place(d, 0, 0, 0);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_SIZE, 2), 8);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_DESCLO, 4),
			 DRV_RINGS);
}

static void device_config(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;

	memcpy(x->config, "\1\2\3\4\5\6\7\10\11\12", 10);
	assert_int_equal(drv_get(d, &d->device, 0, 4), 0x04030201);
	assert_int_equal(drv_get(d, &d->device, 9, 1), 10);
	assert_int_equal(drv_get(d, &d->device, 8, 2), 0x0a09);
	/* beyond it there is nothing to read or write */
	assert_int_equal(drv_region_get(d, d->device.bar, d->device.off + 8, 8),
			 0x0a09);
	drv_region_set(d, d->device.bar, d->device.off + 8, 8,
		       UINT64_C(0x7777777777771122));
	drv_region_set(d, d->device.bar, d->device.off + 16, 8, 1);
	assert_int_equal(x->config[8], 0x22);
	assert_int_equal(x->config[9], 0x11);
	drv_set(d, &d->device, 2, 2, 0xbeef);
	assert_int_equal(x->config[2], 0xef);
	assert_int_equal(x->config[3], 0xbe);
}

static void rest_of_the_bar_is_empty(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;
	uint64_t len = vs_pci_region_len(d->pci, 0);

	for (uint64_t off = 0; off < len; off += 8) {
		if (off >= 0x38)
			assert_int_equal(drv_region_get(d, 0, off, 8), 0);
		drv_region_set(d, 0, off, 8, UINT64_MAX);
	}
	/* whatever that was, it goes away */
	drv_reset(d);
	start(x);
	request(x, 0, 0);
	assert_int_equal(taken(x, 0), 1);
}

static void window_set(struct driver *d, uint64_t off, uint32_t len)
{
	drv_region_set(d, CONFIG, d->window + VIRTIO_PCI_CAP_BAR, 1,
		       d->common.bar);
	drv_region_set(d, CONFIG, d->window + VIRTIO_PCI_CAP_OFFSET, 4, off);
	drv_region_set(d, CONFIG, d->window + VIRTIO_PCI_CAP_LENGTH, 4, len);
}

/* As firmware that cannot map a BAR does it. */
static void window_into_the_bar(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;
	unsigned data = d->window + sizeof(struct virtio_pci_cap);

	window_set(d, d->common.off + VIRTIO_PCI_COMMON_STATUS, 1);
	drv_region_set(d, CONFIG, data, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(status_get(d), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	assert_int_equal(drv_region_get(d, CONFIG, data, 1), 1);
	window_set(d, d->common.off + VIRTIO_PCI_COMMON_GFSELECT, 4);
	drv_region_set(d, CONFIG, data, 4, 0x12345678);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_GFSELECT, 4),
			 0x12345678);
	window_set(d, d->common.off + VIRTIO_PCI_COMMON_NUMQ, 2);
	assert_int_equal(drv_region_get(d, CONFIG, data, 2), DRV_QUEUES);
	/* nowhere, too long, misaligned, no such BAR */
	window_set(d, 0x4000, 4);
	drv_region_set(d, CONFIG, data, 4, 1);
	window_set(d, UINT32_MAX, 1);
	drv_region_set(d, CONFIG, data, 4, 1);
	window_set(d, 0, 8);
	drv_region_set(d, CONFIG, data, 4, 1);
	window_set(d, 2, 4);
	drv_region_set(d, CONFIG, data, 4, 1);
	window_set(d, d->common.off + VIRTIO_PCI_COMMON_STATUS, 1);
	drv_region_set(d, CONFIG, d->window + VIRTIO_PCI_CAP_BAR, 1, 7);
	drv_region_set(d, CONFIG, data, 4, 0);
	assert_int_equal(status_get(d), VIRTIO_CONFIG_S_ACKNOWLEDGE);
}

static void requests_and_vectors(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;

	start(x);
	request(x, 0, 0);
	assert_int_equal(x->notified[0], 1);
	assert_int_equal(x->notified[1], 0);
	assert_int_equal(taken(x, 0), 1);
	assert_int_equal(drv_irqs(d, 1), 1);
	assert_int_equal(drv_irqs(d, 0) + drv_irqs(d, 2), 0);
	request(x, 1, 3);
	assert_int_equal(taken(x, 1), 1);
	assert_int_equal(drv_irqs(d, 2), 1);
	assert_int_equal(drv_irqs(d, 0) + drv_irqs(d, 1), 0);
	/* without a vector there is no interrupt */
	common_set(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	common_set(d, VIRTIO_PCI_COMMON_Q_MSIX, 2, VIRTIO_MSI_NO_VECTOR);
	request(x, 1, 4);
	assert_int_equal(taken(x, 1), 1);
	assert_int_equal(drv_irqs(d, 0) + drv_irqs(d, 1) + drv_irqs(d, 2), 0);
	/* notifications of queues that do not exist, or of half a register */
	drv_region_set(d, d->notify.bar, d->notify.off + 4 * DRV_QUEUES, 2, 0);
	drv_region_set(d, d->notify.bar, d->notify.off + 2, 2, 0);
	assert_int_equal(x->notified[0], 1);
}

static void filled_before_driver_ok(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;

	drv_bus_master(d, true);
	drv_msix(d);
	assert_true(drv_negotiate(d, DRV_FEATURES));
	drv_queue(d, 0, x->g->ram, GUEST_IOVA, 8, false);
	request(x, 0, 0);
	loop_for_ms(d, 5);
	assert_int_equal(x->notified[0], 0);
	drv_ready(d);
	loop_for_ms(d, 5);
	assert_int_equal(taken(x, 0), 1);
	/* and a queue that is enabled late */
	drv_queue(d, 1, x->g->ram, GUEST_IOVA, 8, false);
	request(x, 1, 0);
	assert_int_equal(taken(x, 1), 1);
}

static void no_dma_without_bus_mastering(void **state)
{
	struct fix *x = *state;

	start(x);
	drv_bus_master(&x->d, false);
	request(x, 0, 0);
	assert_int_equal(x->notified[0], 0);
	drv_bus_master(&x->d, true);
	drv_kick(&x->d, 0);
	assert_int_equal(taken(x, 0), 1);
}

static void intx_and_isr(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;
	struct vs_irqs *irqs = vs_pci_irqs(d->pci);

	drv_bus_master(d, true);
	assert_true(drv_negotiate(d, DRV_FEATURES));
	drv_queue(d, 0, x->g->ram, GUEST_IOVA, 8, false);
	common_set(d, VIRTIO_PCI_COMMON_Q_MSIX, 2, VIRTIO_MSI_NO_VECTOR);
	drv_ready(d);
	loop_for_ms(d, 5);
	assert_false(vs_irqs_asserted(irqs));
	request(x, 0, 0);
	assert_true(vs_irqs_asserted(irqs));
	viommu_virtio_dev_config_changed(x->dev);
	/* reading tells why, once, and takes the line down */
	assert_int_equal(drv_get(d, &d->isr, 0, 1), 3);
	assert_false(vs_irqs_asserted(irqs));
	assert_int_equal(drv_get(d, &d->isr, 0, 1), 0);
	request(x, 0, 1);
	assert_int_equal(drv_get(d, &d->isr, 0, 1), 1);
	request(x, 0, 2);
	drv_reset(d);
	assert_false(vs_irqs_asserted(irqs));
	assert_int_equal(drv_get(d, &d->isr, 0, 1), 0);
}

static void config_changes_are_told(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;
	uint64_t before = common_get(d, VIRTIO_PCI_COMMON_CFGGENERATION, 1);

	viommu_virtio_dev_config_changed(x->dev);
	assert_int_not_equal(common_get(d, VIRTIO_PCI_COMMON_CFGGENERATION, 1),
			     before);
	start(x);
	assert_int_equal(drv_irqs(d, 0), 0);
	viommu_virtio_dev_config_changed(x->dev);
	assert_int_equal(drv_irqs(d, 0), 1);
}

static void broken_queue_needs_a_reset(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;

	start(x);
	assert_null(viommu_virtio_dev_failure(x->dev));
	ring_offer(&d->rings[0], 8); /* no such descriptor */
	drv_kick(d, 0);
	assert_true(status_get(d) & NEEDS_RESET);
	assert_string_equal(viommu_virtio_dev_failure(x->dev),
			    "head out of range");
	assert_int_equal(drv_irqs(d, 0), 1);
	assert_int_equal(drv_irqs(d, 1), 0);
	/* the device stands still, the other queue, too */
	request(x, 1, 0);
	drv_kick(d, 0);
	assert_int_equal(x->notified[0], 1);
	assert_int_equal(x->notified[1], 0);
	assert_int_equal(drv_irqs(d, 0), 0);
	/* the driver cannot wish it away but by the reset */
	status_set(d, 0xf);
	assert_true(status_get(d) & NEEDS_RESET);
	drv_reset(d);
	assert_null(viommu_virtio_dev_failure(x->dev));
	start(x);
	request(x, 0, 0);
	assert_int_equal(taken(x, 0), 1);
}

static void misplaced_queue_needs_a_reset(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;

	drv_bus_master(d, true);
	assert_true(drv_negotiate(d, DRV_FEATURES));
	common_set(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	drv_queue_place(d, 0x1001, 0x2000, 0x3000);
	common_set(d, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	drv_ready(d);
	assert_true(status_get(d) & NEEDS_RESET);
	drv_kick(d, 0);
	assert_int_equal(x->notified[0], 0);
}

static void bus_mastering_off_and_on(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;

	start(x);
	loop_for_ms(d, 5);
	/* pushed, not published; kicked, not heard; kicked on another one */
	x->serve = false;
	request(x, 0, 0);
	assert_int_equal(viommu_virtio_dev_pop(x->dev, 0, &x->e), 0);
	viommu_virtio_dev_push(x->dev, 0, &x->e, 1);
	drv_bus_master(d, false);
	assert_false(vs_pci_is_busy(d->pci));
	x->serve = true;
	request(x, 0, 1);
	request(x, 1, 0);
	viommu_virtio_dev_publish(x->dev, 0);
	assert_int_equal(viommu_virtio_dev_pop(x->dev, 0, &x->e), -ENOENT);
	loop_for_ms(d, 5);
	assert_int_equal(taken(x, 0), 0);
	assert_int_equal(taken(x, 1), 0);
	assert_int_equal(drv_irqs(d, 1), 0);
	drv_bus_master(d, true);
	loop_for_ms(d, 5);
	assert_int_equal(taken(x, 0), 2);
	assert_int_equal(taken(x, 1), 1);
	assert_true(drv_irqs(d, 1) > 0);
}

static void reset_takes_its_time(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;
	uint16_t used;

	x->serve = false;
	x->slow_reset = true;
	start(x);
	request(x, 0, 0);
	assert_int_equal(viommu_virtio_dev_pop(x->dev, 0, &x->e), 0);
	used = ring_used_idx(&d->rings[0]);
	status_set(d, 0);
	assert_int_equal(x->resets, 1);
	assert_int_not_equal(status_get(d), 0);
	/* asked again, set up, kicked: nothing of it counts */
	status_set(d, 0);
	assert_int_equal(x->resets, 1);
	status_set(d, 0x3f);
	common_set(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_SELECT, 2), 1);
	common_set(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_SELECT, 2), 1);
	drv_set(d, &d->device, 0, 1, 0x55);
	assert_int_equal(x->config[0], 0);
	drv_kick(d, 0);
	viommu_virtio_dev_again(x->dev, 0);
	loop_for_ms(d, 5);
	assert_int_equal(viommu_virtio_dev_pop(x->dev, 0, &x->e), -ENOENT);
	/* what comes to its end now is not shown */
	viommu_virtio_dev_push(x->dev, 0, &x->e, 1);
	viommu_virtio_dev_publish(x->dev, 0);
	viommu_virtio_dev_fail(x->dev, "late");
	assert_int_equal(ring_used_idx(&d->rings[0]), used);
	assert_null(viommu_virtio_dev_failure(x->dev));
	viommu_virtio_dev_reset_done(x->dev);
	assert_int_equal(status_get(d), 0);
	viommu_virtio_dev_reset_done(x->dev); /* harmless */
	common_set(d, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_MSIX, 2),
			 VIRTIO_MSI_NO_VECTOR);
	x->serve = true;
	x->slow_reset = false;
	start(x);
	request(x, 0, 0);
	assert_int_equal(taken(x, 0), 1);
}

static void function_reset_is_one_too(void **state)
{
	struct fix *x = *state;

	start(x);
	vs_pci_reset(x->d.pci, true);
	assert_int_equal(x->resets, 1);
	assert_int_equal(status_get(&x->d), 0);
	start(x);
	request(x, 0, 0);
	assert_int_equal(taken(x, 0), 1);
}

static void event_idx_reaches_the_queue(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;

	drv_start(d, DRV_FEATURES | DRV_EVENT_IDX, 1, x->g->ram, GUEST_IOVA, 8);
	ring_used_event(&d->rings[0], 1);
	request(x, 0, 0);
	assert_int_equal(drv_irqs(d, 1), 0);
	request(x, 0, 1);
	assert_int_equal(drv_irqs(d, 1), 1);
	assert_int_equal(ring_avail_event(&d->rings[0]), 2);
}

static void indirect_needs_its_feature(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;

	for (int with = 0; with < 2; with++) {
		drv_start(d, DRV_FEATURES | (with ? DRV_INDIRECT : 0), 1,
			  x->g->ram, GUEST_IOVA, 8);
		ring_buffer(&d->rings[0], 0, DATA, 16, VRING_DESC_F_INDIRECT,
			    0);
		ring_desc(&d->rings[0], DATA, 0, DATA + GUEST_IOVA, 16,
			  VRING_DESC_F_WRITE, 0);
		ring_offer(&d->rings[0], 0);
		drv_kick(d, 0);
		assert_int_equal(taken(x, 0), with);
		drv_reset(d);
	}
}

/* No other thread may do DMA for a while: the device goes on by itself
 * afterwards. */
static void short_of_seats(void **state)
{
	const struct viommu_config cfg = { .size = sizeof(cfg),
					   .max_threads = 1 };
	struct fix *x = fix_make(&cfg);
	struct seat seat;

	(void)state;
	seat_sit(&seat, viommu_memory_of(x->g->vi));
	start(x);
	request(x, 0, 0);
	assert_int_equal(taken(x, 0), 0);
	loop_for_ms(&x->d, 5);
	assert_int_equal(taken(x, 0), 0);
	assert_int_equal(drv_irqs(&x->d, 1), 0);
	seat_leave(&seat);
	LOOP_UNTIL(&x->d, taken(x, 0));
	assert_int_equal(drv_irqs(&x->d, 1), 1);
	assert_false(status_get(&x->d) & NEEDS_RESET);
	fix_free(x);
}

/* ---------------------------------------------------------------- given up */

static void hold(struct fix *x, struct viommu_dma *d, struct iovec *iov)
{
	*d = (struct viommu_dma){ .ep = x->g->ep,
				  .iova = DATA + GUEST_IOVA,
				  .len = 16,
				  .prot = VIOMMU_READ,
				  .iov = iov,
				  .max_iov = 1 };
	assert_int_equal(viommu_dma_map(d), 0);
}

/* A page is taken away, and the device does not let go of it. */
static void take_away(struct fix *x, struct viommu_fence *f)
{
	viommu_fence_init(f);
	viommu_fence_set_timeout(f, 5000000);
	assert_int_equal(viommu_space_unmap(x->g->space, DATA + GUEST_IOVA,
					    DATA + GUEST_IOVA + 0xffff, f),
			 0x10000);
	viommu_fence_commit(f, NULL, NULL);
	assert_false(viommu_fence_done(f));
}

/* The loop lets the deadline pass; the driver is told, and its reset lasts
 * until the device has let go. */
static void given_up_needs_a_reset(void **state)
{
	struct fix *x = *state;
	struct viommu_endpoint_stats es;
	struct viommu_fence f;
	struct viommu_dma d;
	struct iovec iov;

	start(x);
	hold(x, &d, &iov);
	take_away(x, &f);
	LOOP_UNTIL(&x->d, status_get(&x->d) & NEEDS_RESET);
	viommu_endpoint_read_stats(x->g->ep, &es);
	assert_int_equal(es.given_up, 1);
	assert_int_equal(drv_irqs(&x->d, 0), 1);
	assert_non_null(viommu_virtio_dev_failure(x->dev));
	request(x, 0, 0);
	assert_int_equal(taken(x, 0), 0);
	status_set(&x->d, 0);
	loop_for_ms(&x->d, 10);
	assert_int_not_equal(status_get(&x->d), 0);
	assert_true(vs_pci_is_busy(viommu_virtio_pci_pci(x->vp)));
	viommu_dma_unmap(&d, 0);
	assert_true(viommu_fence_done(&f));
	LOOP_UNTIL(&x->d, !status_get(&x->d));
	assert_false(vs_pci_is_busy(viommu_virtio_pci_pci(x->vp)));
	guest_map(x->g, DATA, 0x10000, ALL);
	start(x);
	request(x, 0, 0);
	LOOP_UNTIL(&x->d, taken(x, 0));
}

/* Without anybody who tells it, the device finds out by itself. */
static void given_up_unawares(void **state)
{
	struct fix *x = *state;
	struct viommu_fence f;
	struct viommu_dma d;
	struct iovec iov;

	x->untold = true;
	start(x);
	hold(x, &d, &iov);
	take_away(x, &f);
	loop_for_ms(&x->d, 20);
	assert_false(status_get(&x->d) & NEEDS_RESET);
	viommu_dma_unmap(&d, 0);
	request(x, 0, 0);
	LOOP_UNTIL(&x->d, status_get(&x->d) & NEEDS_RESET);
	drv_reset(&x->d);
	guest_map(x->g, DATA, 0x10000, ALL);
	start(x);
	request(x, 0, 0);
	LOOP_UNTIL(&x->d, taken(x, 0));
}

static void destroyed_within_its_reset(void **state)
{
	struct fix *x = *state;
	struct viommu_fence f;
	struct viommu_dma d;
	struct iovec iov;

	start(x);
	hold(x, &d, &iov);
	take_away(x, &f);
	LOOP_UNTIL(&x->d, status_get(&x->d) & NEEDS_RESET);
	status_set(&x->d, 0);
	loop_for_ms(&x->d, 3);
	assert_int_not_equal(status_get(&x->d), 0);
	viommu_pci_give_up(viommu_virtio_pci_pci(x->vp)); /* posted, not run */
	viommu_virtio_pci_destroy(x->vp);
	x->vp = NULL;
	viommu_dma_unmap(&d, 0);
	loop_for_ms(&x->d, 3); /* nothing comes any more */
	drv_fini(&x->d);
}

/* Anything into any register, on a fixed seed: it may not hurt, and the
 * device is well again after a reset. */
static void fuzz(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;
	uint64_t r = UINT64_C(0x9e3779b97f4a7c15);

	for (unsigned n = 0; n < 200000; n++) {
		static const unsigned where[] = { 0,	  0,	  0,
						  0x1000, 0x2000, 0x3000 };
		unsigned len;
		uint64_t off;

		r ^= r << 13;
		r ^= r >> 7;
		r ^= r << 17;
		len = 1u << (r & 3);
		off = where[(r >> 2) % 6] + ((r >> 8) & 0x3f & ~(len - 1));
		if (n % 64 == 0)
			drv_bus_master(d, true);
		if (r & 0x80)
			drv_region_get(d, 0, off, len);
		else
			drv_region_set(d, 0, off, len,
				       r & 0x40000 ? r >> 24 : r >> 60);
		if (n % 256 == 0)
			assert_int_equal(vs_loop_once(x->loop), 0);
	}
	drv_reset(d);
	start(x);
	request(x, 0, 0);
	assert_int_equal(taken(x, 0), 1);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(config_is_checked),
		T(looks_like_virtio),
		T(features_are_negotiated),
		T(features_are_refused),
		T(required_features),
		T(status_bits_stay),
		T(queue_registers),
		T(enabled_queue_stays_put),
		T(device_config),
		T(rest_of_the_bar_is_empty),
		T(window_into_the_bar),
		T(requests_and_vectors),
		T(filled_before_driver_ok),
		T(no_dma_without_bus_mastering),
		T(bus_mastering_off_and_on),
		T(intx_and_isr),
		T(config_changes_are_told),
		T(broken_queue_needs_a_reset),
		T(misplaced_queue_needs_a_reset),
		T(reset_takes_its_time),
		T(function_reset_is_one_too),
		T(event_idx_reaches_the_queue),
		T(indirect_needs_its_feature),
		cmocka_unit_test(short_of_seats),
		T(given_up_needs_a_reset),
		T(given_up_unawares),
		T(destroyed_within_its_reset),
		T(fuzz),
	};

	return cmocka_run_group_tests_name("virtio_pci", tests, NULL, NULL);
}
