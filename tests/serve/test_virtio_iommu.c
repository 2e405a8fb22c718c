/* SPDX-License-Identifier: BSD-2-Clause */

/* The virtio-iommu function: requests and events through its queues. */

#include "driver.h"
#include "seat.h"

#include <linux/virtio_iommu.h>
#include <pthread.h>
#include <viommu/serve/virtio_iommu.h>

#define QUEUE	 256
#define SLOTS	 0x20000u  /* 128 bytes for each request: out, in at 96 */
#define EVENTS	 0x40000u  /* 64 bytes each */
#define BIG	 0x50000u  /* for PROBE */
#define TARGET	 0x100000u /* what the device behind is to reach */
#define WRITABLE VRING_DESC_F_WRITE
#define NEXT	 VRING_DESC_F_NEXT
#define BEHIND	 8 /* the endpoint's id */
#define FEATURES                                         \
	(DRV_FEATURES | 1u << VIRTIO_IOMMU_F_MAP_UNMAP | \
	 1u << VIRTIO_IOMMU_F_PROBE | 1u << VIRTIO_IOMMU_F_BYPASS_CONFIG)
#define BYPASS_AT offsetof(struct virtio_iommu_config, bypass)
#define IN_AT	  96

struct fix {
	struct guest *g;
	struct viommu_loop *loop;
	struct viommu_virtio_iommu *vio;
	struct viommu_endpoint *ep; /* behind it */
	struct driver d;
	struct viommu_dma hold;
	struct iovec iov[4];
};

/* ---------------------------------------------------------------- fixture */

static void fix_vio(struct fix *x, const struct viommu_virtio_config *virtio)
{
	const struct viommu_virtio_iommu_config cfg = {
		.size = sizeof(cfg),
		.name = "iommu",
		.loop = x->loop,
		.vi = x->g->vi,
		.memory = viommu_memory_of(x->g->vi),
		.id = 100,
		.virtio = virtio,
	};
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = BEHIND,
					     .pasid = VIOMMU_NO_PASID,
					     .fault = viommu_virtio_fault };

	assert_int_equal(viommu_virtio_iommu_create(&cfg, &x->vio), 0);
	ec.arg = viommu_virtio_iommu_device(x->vio);
	assert_int_equal(viommu_endpoint_create(x->g->vi, &ec, &x->ep), 0);
	assert_int_equal(
		viommu_virtio_add(viommu_virtio_iommu_device(x->vio), x->ep),
		0);
	drv_init(&x->d, x->loop, viommu_virtio_iommu_pci(x->vio));
}

static struct fix *fix_make_limited(const struct viommu_config *limits,
				    const struct viommu_virtio_config *virtio)
{
	struct fix *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	x->g = guest_make(limits);
	assert_int_equal(viommu_loop_create(&x->loop), 0);
	fix_vio(x, virtio);
	return x;
}

static struct fix *fix_make(const struct viommu_virtio_config *virtio)
{
	return fix_make_limited(NULL, virtio);
}

static void ep_free(struct fix *x)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_endpoint_destroy(x->ep, &f);
	guest_commit(&f);
}

static void vio_free(struct fix *x)
{
	drv_fini(&x->d);
	viommu_virtio_iommu_destroy(x->vio);
	ep_free(x);
}

static void fix_free(struct fix *x)
{
	if (x->vio)
		vio_free(x);
	viommu_loop_destroy(x->loop);
	guest_free(x->g);
	free(x);
}

static void start(struct fix *x)
{
	drv_start(&x->d, FEATURES, 2, x->g->ram, 0, QUEUE);
}

static int setup(void **state)
{
	struct fix *x = fix_make(NULL);

	start(x);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	fix_free(*state);
	return 0;
}

static struct viommu_virtio_stats stats(struct fix *x)
{
	struct viommu_virtio_stats st;

	viommu_virtio_read_stats(viommu_virtio_iommu_device(x->vio), &st);
	return st;
}

/* ----------------------------------------------------------------- driver */

static uint8_t *slot_at(struct fix *x, unsigned slot)
{
	return x->g->ram + SLOTS + 128 * slot;
}

static uint8_t status_of(struct fix *x, unsigned slot)
{
	return slot_at(x, slot)[IN_AT];
}

/* Descriptors 2 * slot and the next; slots 0 to 127. */
static void offer(struct fix *x, unsigned slot, const void *out, size_t len)
{
	struct ring *r = &x->d.rings[0];

	memcpy(slot_at(x, slot), out, len);
	memset(slot_at(x, slot) + IN_AT, 0xee, 4);
	ring_buffer(r, 2 * slot, SLOTS + 128 * slot, (uint32_t)len, NEXT,
		    (uint16_t)(2 * slot + 1));
	ring_buffer(r, 2 * slot + 1, SLOTS + 128 * slot + IN_AT, 4, WRITABLE,
		    0);
	ring_offer(r, (uint16_t)(2 * slot));
}

static void offer_attach(struct fix *x, unsigned slot, uint32_t domain)
{
	struct virtio_iommu_req_attach a = { .head.type = VIRTIO_IOMMU_T_ATTACH,
					     .domain = htole32(domain),
					     .endpoint = htole32(BEHIND) };

	offer(x, slot, &a, offsetof(struct virtio_iommu_req_attach, tail));
}

static void offer_map(struct fix *x, unsigned slot, uint32_t domain,
		      uint64_t iova, uint64_t len, uint64_t gpa)
{
	struct virtio_iommu_req_map m = {
		.head.type = VIRTIO_IOMMU_T_MAP,
		.domain = htole32(domain),
		.virt_start = htole64(iova),
		.virt_end = htole64(iova + len - 1),
		.phys_start = htole64(gpa),
		.flags = htole32(VIRTIO_IOMMU_MAP_F_READ |
				 VIRTIO_IOMMU_MAP_F_WRITE),
	};

	offer(x, slot, &m, offsetof(struct virtio_iommu_req_map, tail));
}

static void offer_unmap(struct fix *x, unsigned slot, uint32_t domain,
			uint64_t iova, uint64_t len)
{
	struct virtio_iommu_req_unmap u = {
		.head.type = VIRTIO_IOMMU_T_UNMAP,
		.domain = htole32(domain),
		.virt_start = htole64(iova),
		.virt_end = htole64(iova + len - 1),
	};

	offer(x, slot, &u, offsetof(struct virtio_iommu_req_unmap, tail));
}

/* Kick, and wait for this one; its status. */
static uint8_t answered(struct fix *x, unsigned slot)
{
	uint32_t id, len;

	drv_kick(&x->d, 0);
	len = drv_wait(&x->d, 0, &id);
	assert_int_equal(id, 2 * slot);
	assert_int_equal(len, 4);
	return status_of(x, slot);
}

/* Domain 1 with a page of TARGET at 0x10000. */
static void domain_make(struct fix *x)
{
	offer_attach(x, 0, 1);
	assert_int_equal(answered(x, 0), VIRTIO_IOMMU_S_OK);
	offer_map(x, 0, 1, 0x10000, 0x1000, TARGET);
	assert_int_equal(answered(x, 0), VIRTIO_IOMMU_S_OK);
}

static int reach(struct fix *x, uint64_t iova, uint32_t *val)
{
	return viommu_dma_read(x->ep, iova, val, sizeof(*val));
}

static void hold(struct fix *x, uint64_t iova)
{
	x->hold = (struct viommu_dma){ .ep = x->ep,
				       .iova = iova,
				       .len = 64,
				       .prot = VIOMMU_WRITE,
				       .iov = x->iov,
				       .max_iov = 4 };
	assert_int_equal(viommu_dma_map(&x->hold), 0);
}

static void *let_go(void *arg)
{
	struct fix *x = arg;
	const struct timespec soon = { .tv_nsec = 3000000 };

	nanosleep(&soon, NULL);
	viommu_dma_unmap(&x->hold, 0);
	return NULL;
}

/* When it has been given up on. */
static void *let_go_late(void *arg)
{
	const struct timespec moment = { .tv_nsec = 1000000 };
	struct viommu_endpoint_stats es;
	struct fix *x = arg;

	do {
		nanosleep(&moment, NULL);
		viommu_endpoint_read_stats(x->ep, &es);
	} while (!es.given_up);
	viommu_dma_unmap(&x->hold, 0);
	return NULL;
}

static pthread_t let_go_elsewhere(struct fix *x)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, let_go, x), 0);
	return thread;
}

/* --------------------------------------------------------------- requests */

static void looks_like_an_iommu(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;

	assert_int_equal(drv_region_get(d, CONFIG, PCI_VENDOR_ID, 2), 0x1af4);
	assert_int_equal(drv_region_get(d, CONFIG, PCI_DEVICE_ID, 2), 0x1057);
	assert_int_equal(drv_region_get(d, CONFIG, PCI_CLASS_DEVICE, 2),
			 0x0806);
	assert_true((drv_offered(d) & FEATURES) == FEATURES);
	assert_int_equal(drv_get(d, &d->device, 0, 8), ~UINT64_C(0xfff));
	assert_int_equal(
		drv_get(d, &d->device,
			offsetof(struct virtio_iommu_config, probe_size), 4),
		512);
	assert_int_equal(common_get(d, VIRTIO_PCI_COMMON_NUMQ, 2), 2);
	/* an IOMMU is not behind an IOMMU: this driver need not know of any */
	drv_reset(d);
	assert_true(drv_negotiate(d, UINT64_C(1) << VIRTIO_F_VERSION_1 |
					     1u << VIRTIO_IOMMU_F_MAP_UNMAP));
}

static void requests_are_carried_out(void **state)
{
	struct fix *x = *state;
	uint32_t val = 0x12345678;

	memcpy(x->g->ram + TARGET, &val, 4);
	assert_int_equal(reach(x, 0x10000, &val), -EFAULT);
	domain_make(x);
	val = 0;
	assert_int_equal(reach(x, 0x10000, &val), 0);
	assert_int_equal(val, 0x12345678);
	offer_map(x, 3, 1, 0x10000, 0x1000, TARGET);
	assert_int_equal(answered(x, 3), VIRTIO_IOMMU_S_INVAL);
	offer_unmap(x, 4, 1, 0, UINT64_C(1) << 32);
	assert_int_equal(answered(x, 4), VIRTIO_IOMMU_S_OK);
	assert_int_equal(reach(x, 0x10000, &val), -EFAULT);
	assert_int_equal(stats(x).requests, 4);
	assert_true(drv_irqs(&x->d, 1) > 0);
}

/* Those answered at once are shown with one interrupt; more than a batch go in
 * several, with others in between. */
static void batches(void **state)
{
	struct fix *x = *state;
	unsigned n = 0;
	uint32_t id, len;

	loop_for_ms(&x->d, 2); /* what DRIVER_OK brought is over */
	offer_attach(x, 0, 1);
	for (unsigned i = 1; i < 20; i++)
		offer_map(x, i, 1, i * 0x1000, 0x1000, TARGET);
	drv_kick(&x->d, 0);
	assert_int_equal(drv_irqs(&x->d, 1), 1);
	for (; ring_take(&x->d.rings[0], &id, &len); n++)
		assert_int_equal(status_of(x, id / 2), 0);
	assert_int_equal(n, 20);
	for (unsigned i = 0; i < 128; i++)
		offer_map(x, i, 1, (100 + i) * 0x1000, 0x1000, TARGET);
	drv_kick(&x->d, 0);
	for (n = 0; ring_take(&x->d.rings[0], &id, &len);)
		n++;
	assert_int_equal(n, 64);
	for (; n < 128; n++)
		assert_int_equal(drv_wait(&x->d, 0, &id), 4);
	assert_int_equal(stats(x).maps, 19 + 128);
}

static void odd_requests(void **state)
{
	struct fix *x = *state;
	struct ring *r = &x->d.rings[0];
	uint8_t out[200] = { 77 };
	uint32_t id;

	/* unknown, or too short for anything: nothing is written */
	offer(x, 0, out, 80);
	drv_kick(&x->d, 0);
	assert_int_equal(drv_wait(&x->d, 0, &id), 0);
	assert_int_equal(status_of(x, 0), 0xee);
	out[0] = VIRTIO_IOMMU_T_ATTACH;
	offer(x, 0, out, 3);
	drv_kick(&x->d, 0);
	assert_int_equal(drv_wait(&x->d, 0, &id), 0);
	/* longer than any: what it starts with counts */
	memcpy(x->g->ram + BIG, out, sizeof(out));
	x->g->ram[BIG + 4] = 9; /* domain */
	x->g->ram[BIG + 8] = BEHIND;
	offer(x, 0, out, 4);
	ring_buffer(r, 0, BIG, 0x10000, NEXT, 1);
	drv_kick(&x->d, 0);
	assert_int_equal(drv_wait(&x->d, 0, &id), 4);
	assert_int_equal(status_of(x, 0), VIRTIO_IOMMU_S_OK);
	/* in as many descriptors as it has bytes */
	offer_map(x, 0, 9, 0x10000, 0x1000, TARGET);
	for (unsigned i = 0; i < 36; i++)
		ring_buffer(r, 100 + i, SLOTS + i, 1, NEXT,
			    (uint16_t)(100 + i + 1));
	for (unsigned i = 36; i < 40; i++)
		ring_buffer(r, 100 + i, SLOTS + IN_AT + i - 36, 1,
			    i < 39 ? NEXT | WRITABLE : WRITABLE,
			    (uint16_t)(100 + i + 1));
	r->added--;
	ring_offer(r, 100);
	drv_kick(&x->d, 0);
	assert_int_equal(drv_wait(&x->d, 0, &id), 4);
	assert_int_equal(status_of(x, 0), VIRTIO_IOMMU_S_OK);
	/* from or to where there is no memory */
	offer_attach(x, 0, 1);
	ring_buffer(r, 0, GUEST_RAM, 20, NEXT, 1);
	drv_kick(&x->d, 0);
	assert_int_equal(drv_wait(&x->d, 0, &id), 0);
	offer_attach(x, 0, 1);
	ring_buffer(r, 1, GUEST_RAM, 4, WRITABLE, 0);
	drv_kick(&x->d, 0);
	assert_int_equal(drv_wait(&x->d, 0, &id), 0);
	assert_int_equal(status_get(&x->d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

static uint32_t probe(struct fix *x, uint32_t in_len)
{
	struct virtio_iommu_req_probe p = { .head.type = VIRTIO_IOMMU_T_PROBE,
					    .endpoint = htole32(BEHIND) };
	uint32_t id;

	memset(x->g->ram + BIG, 0xee, 0x8000);
	offer(x, 0, &p, offsetof(struct virtio_iommu_req_probe, properties));
	ring_buffer(&x->d.rings[0], 1, BIG, in_len, WRITABLE, 0);
	drv_kick(&x->d, 0);
	return drv_wait(&x->d, 0, &id);
}

static void probes(void **state)
{
	struct fix *x = *state;
	const struct viommu_reserved r = { .start = 0x8000000,
					   .last = 0x80fffff,
					   .kind = VIOMMU_RESERVED_MSI };
	struct virtio_iommu_probe_resv_mem mem;

	assert_int_equal(viommu_endpoint_reserve(x->ep, &r), 0);
	assert_int_equal(probe(x, 516), 516);
	assert_int_equal(x->g->ram[BIG + 512], VIRTIO_IOMMU_S_OK);
	memcpy(&mem, x->g->ram + BIG, sizeof(mem));
	assert_int_equal(le16toh(mem.head.type), VIRTIO_IOMMU_PROBE_T_RESV_MEM);
	assert_int_equal(le64toh(mem.start), 0x8000000);
	/* a buffer much longer than asked for; its rest is left alone */
	assert_int_equal(probe(x, 0x8000), 516);
	assert_int_equal(x->g->ram[BIG + 512], VIRTIO_IOMMU_S_OK);
	for (unsigned i = 516; i < 0x8000; i++)
		assert_int_equal(x->g->ram[BIG + i], 0xee);
	/* and shorter */
	assert_int_equal(probe(x, 100), 100);
	assert_int_equal(x->g->ram[BIG + 96], VIRTIO_IOMMU_S_INVAL);
}

/* The law, from the guest's side; and nobody stands in a queue for it. */
static void waiting_unmap_stops_no_other(void **state)
{
	struct fix *x = *state;
	uint32_t id, len;
	pthread_t thread;

	domain_make(x);
	hold(x, 0x10000);
	offer_unmap(x, 7, 1, 0x10000, 0x1000);
	drv_kick(&x->d, 0);
	loop_for_ms(&x->d, 10);
	assert_false(ring_take(&x->d.rings[0], &id, &len));
	assert_int_equal(status_of(x, 7), 0xee);
	/* another page, then even the same one anew */
	offer_map(x, 1, 1, 0x20000, 0x1000, TARGET);
	assert_int_equal(answered(x, 1), VIRTIO_IOMMU_S_OK);
	offer_unmap(x, 2, 1, 0x20000, 0x1000);
	assert_int_equal(answered(x, 2), VIRTIO_IOMMU_S_OK);
	offer_map(x, 3, 1, 0x10000, 0x1000, TARGET + 0x1000);
	assert_int_equal(answered(x, 3), VIRTIO_IOMMU_S_OK);
	assert_int_equal(status_of(x, 7), 0xee);
	assert_int_equal(stats(x).waiting, 1);
	drv_irqs(&x->d, 1);
	thread = let_go_elsewhere(x);
	assert_int_equal(drv_wait(&x->d, 0, &id), 4);
	assert_int_equal(id, 14);
	assert_int_equal(status_of(x, 7), VIRTIO_IOMMU_S_OK);
	assert_int_equal(drv_irqs(&x->d, 1), 1);
	pthread_join(thread, NULL);
}

/* ----------------------------------------------------------------- events */

static void offer_event(struct fix *x, unsigned n, uint32_t len)
{
	memset(x->g->ram + EVENTS + 64 * n, 0xee, 64);
	ring_buffer(&x->d.rings[1], n, EVENTS + 64 * n, len, WRITABLE, 0);
	ring_offer(&x->d.rings[1], (uint16_t)n);
}

static void event_is(struct fix *x, uint32_t flags, uint64_t address)
{
	struct virtio_iommu_fault fault;
	uint32_t id, len = drv_wait(&x->d, 1, &id);

	assert_int_equal(len, sizeof(fault));
	memcpy(&fault, x->g->ram + EVENTS + 64 * id, sizeof(fault));
	assert_int_equal(le32toh(fault.flags),
			 flags | VIRTIO_IOMMU_FAULT_F_ADDRESS);
	assert_int_equal(le32toh(fault.endpoint), BEHIND);
	assert_int_equal(le64toh(fault.address), address);
}

static void events_arrive(void **state)
{
	struct fix *x = *state;
	uint32_t val = 0, id, len;

	for (unsigned i = 0; i < 4; i++)
		offer_event(x, i, 24);
	drv_kick(&x->d, 1);
	assert_int_equal(reach(x, 0x1234, &val), -EFAULT);
	event_is(x, VIRTIO_IOMMU_FAULT_F_READ, 0x1234);
	assert_int_equal(drv_irqs(&x->d, 2), 1);
	assert_int_equal(drv_irqs(&x->d, 1), 0);
	assert_int_equal(viommu_dma_write(x->ep, 0x5678, &val, 4), -EFAULT);
	event_is(x, VIRTIO_IOMMU_FAULT_F_WRITE, 0x5678);
	/* no fault, no event */
	loop_for_ms(&x->d, 5);
	assert_false(ring_take(&x->d.rings[1], &id, &len));
}

static void events_wait_for_buffers(void **state)
{
	struct fix *x = *state;
	uint32_t val, id;

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(reach(x, 0x1000 * i, &val), -EFAULT);
	loop_for_ms(&x->d, 5);
	assert_int_equal(ring_used_idx(&x->d.rings[1]), 0);
	/* too small: it comes back, the event does not get lost */
	offer_event(x, 0, 23);
	offer_event(x, 1, 24);
	offer_event(x, 2, 64);
	drv_kick(&x->d, 1);
	assert_int_equal(drv_wait(&x->d, 1, &id), 0);
	assert_int_equal(id, 0);
	event_is(x, VIRTIO_IOMMU_FAULT_F_READ, 0);
	event_is(x, VIRTIO_IOMMU_FAULT_F_READ, 0x1000);
	offer_event(x, 3, 24);
	drv_kick(&x->d, 1);
	event_is(x, VIRTIO_IOMMU_FAULT_F_READ, 0x2000);
	assert_int_equal(stats(x).events, 3);
}

/* From a device on a thread of its own, many. */
static void *faulty(void *arg)
{
	struct fix *x = arg;
	uint32_t val;

	for (unsigned i = 0; i < 2000; i++)
		if (reach(x, 0x1000 * (uint64_t)i, &val) != -EFAULT)
			return x;
	return NULL;
}

static void events_from_other_threads(void **state)
{
	struct fix *x = *state;
	pthread_t thread;
	unsigned head = 0;
	uint32_t id;
	void *rc;

	for (unsigned i = 0; i < 64; i++)
		offer_event(x, i, 24);
	drv_kick(&x->d, 1);
	assert_int_equal(pthread_create(&thread, NULL, faulty, x), 0);
	for (; head < 64; head++)
		assert_int_equal(drv_wait(&x->d, 1, &id), 24);
	pthread_join(thread, &rc);
	assert_null(rc);
	assert_true(stats(x).events >= 64);
}

/* ------------------------------------------------------------ seats short */

/* No other thread may do DMA: requests and events come later, none is lost. */
static void short_of_seats(void **state)
{
	const struct viommu_config cfg = { .size = sizeof(cfg),
					   .max_threads = 1 };
	const struct viommu_fault fault = { .id = BEHIND,
					    .prot = VIOMMU_WRITE,
					    .start = 0x77 };
	struct fix *x = fix_make_limited(&cfg, NULL);
	uint32_t id, len;
	struct seat seat;

	(void)state;
	seat_sit(&seat, viommu_memory_of(x->g->vi));
	start(x);
	offer_event(x, 0, 24);
	drv_kick(&x->d, 1);
	offer_attach(x, 0, 1);
	offer_map(x, 1, 1, 0x10000, 0x1000, TARGET);
	drv_kick(&x->d, 0);
	viommu_virtio_fault(viommu_virtio_iommu_device(x->vio), &fault);
	loop_for_ms(&x->d, 10);
	assert_false(ring_take(&x->d.rings[0], &id, &len));
	assert_false(ring_take(&x->d.rings[1], &id, &len));
	seat_leave(&seat);
	assert_int_equal(drv_wait(&x->d, 0, &id), 4);
	assert_int_equal(drv_wait(&x->d, 0, &id), 4);
	/* in the order given */
	assert_int_equal(status_of(x, 0), VIRTIO_IOMMU_S_OK);
	assert_int_equal(status_of(x, 1), VIRTIO_IOMMU_S_OK);
	event_is(x, VIRTIO_IOMMU_FAULT_F_WRITE, 0x77);
	fix_free(x);
}

/* --------------------------------------------- devices that do not let go */

/* Domain 1 with a page of which the device behind holds some. */
static struct fix *fix_stuck(void)
{
	const struct viommu_config cfg = { .size = sizeof(cfg),
					   .fence_timeout_ns = 5000000 };
	struct fix *x = fix_make_limited(&cfg, NULL);

	start(x);
	domain_make(x);
	hold(x, 0x10000);
	return x;
}

/* Nobody but the loop looks at the time. */
static void failed_unmap_is_answered(void **state)
{
	struct fix *x = fix_stuck();
	uint32_t val;

	(void)state;
	offer_unmap(x, 7, 1, 0x10000, 0x1000);
	assert_int_equal(answered(x, 7), VIRTIO_IOMMU_S_DEVERR);
	assert_int_equal(stats(x).failed, 1);
	assert_int_equal(stats(x).waiting, 1);
	assert_int_equal(reach(x, 0x10000, &val), -EIO);
	/* the IOMMU works on */
	offer_map(x, 8, 1, 0x10000, 0x1000, TARGET);
	assert_int_equal(answered(x, 8), VIRTIO_IOMMU_S_OK);
	viommu_dma_unmap(&x->hold, 0);
	assert_int_equal(stats(x).waiting, 0);
	assert_int_equal(viommu_endpoint_recover(x->ep), 0);
	assert_int_equal(reach(x, 0x10000, &val), 0);
	fix_free(x);
}

/* As many as there is room for are answered, the next ones wait in the ring
 * until there is some again. */
static void failed_unmaps_run_out(void **state)
{
	struct fix *x = fix_stuck();
	uint32_t id, len;

	(void)state;
	for (unsigned n = 0; n < 256; n++) {
		offer_unmap(x, n % 128, 1, 0x10000, 0x1000);
		assert_int_equal(answered(x, n % 128), VIRTIO_IOMMU_S_DEVERR);
	}
	offer_map(x, 5, 1, 0x20000, 0x1000, TARGET);
	offer_unmap(x, 6, 1, 0x20000, 0x1000);
	drv_kick(&x->d, 0);
	loop_for_ms(&x->d, 10);
	assert_false(ring_take(&x->d.rings[0], &id, &len));
	viommu_dma_unmap(&x->hold, 0);
	assert_int_equal(drv_wait(&x->d, 0, &id), 4);
	assert_int_equal(drv_wait(&x->d, 0, &id), 4);
	assert_int_equal(status_of(x, 5), VIRTIO_IOMMU_S_OK);
	assert_int_equal(status_of(x, 6), VIRTIO_IOMMU_S_OK);
	fix_free(x);
}

/* Whoever sees the end of a reset knows that nobody touches the pages. */
static void reset_waits_for_what_failed(void **state)
{
	struct fix *x = fix_stuck();
	pthread_t thread;

	(void)state;
	offer_unmap(x, 7, 1, 0x10000, 0x1000);
	assert_int_equal(answered(x, 7), VIRTIO_IOMMU_S_DEVERR);
	status_set(&x->d, 0);
	loop_for_ms(&x->d, 10);
	assert_int_not_equal(status_get(&x->d), 0);
	thread = let_go_elsewhere(x);
	LOOP_UNTIL(&x->d, !status_get(&x->d));
	pthread_join(thread, NULL);
	assert_int_equal(stats(x).waiting, 0);
	start(x);
	offer_attach(x, 0, 1);
	assert_int_equal(answered(x, 0), VIRTIO_IOMMU_S_OK);
	fix_free(x);
}

static void destroy_waits_for_what_failed(void **state)
{
	struct fix *x = fix_stuck();
	pthread_t thread;

	(void)state;
	offer_unmap(x, 7, 1, 0x10000, 0x1000);
	assert_int_equal(answered(x, 7), VIRTIO_IOMMU_S_DEVERR);
	thread = let_go_elsewhere(x);
	vio_free(x);
	pthread_join(thread, NULL);
	x->vio = NULL;
	fix_free(x);
}

/* The deadline passes while it is being destroyed. */
static void fails_while_destroyed(void **state)
{
	struct fix *x = fix_stuck();
	struct viommu_endpoint_stats es;
	pthread_t thread;

	(void)state;
	offer_unmap(x, 7, 1, 0x10000, 0x1000);
	drv_kick(&x->d, 0);
	assert_int_equal(pthread_create(&thread, NULL, let_go_late, x), 0);
	drv_fini(&x->d);
	viommu_virtio_iommu_destroy(x->vio);
	pthread_join(thread, NULL);
	viommu_endpoint_read_stats(x->ep, &es);
	assert_int_equal(es.given_up, 1);
	assert_int_equal(status_of(x, 7), 0xee);
	ep_free(x);
	x->vio = NULL;
	fix_free(x);
}

/* ------------------------------------------------------------------ reset */

static void reset_waits(void **state)
{
	struct fix *x = *state;
	uint32_t val, id, len;
	uint16_t used;
	pthread_t thread;

	domain_make(x);
	offer_event(x, 0, 24);
	drv_kick(&x->d, 1);
	hold(x, 0x10000);
	offer_unmap(x, 7, 1, 0x10000, 0x1000);
	drv_kick(&x->d, 0);
	used = ring_used_idx(&x->d.rings[0]);
	status_set(&x->d, 0);
	loop_for_ms(&x->d, 10);
	assert_int_not_equal(status_get(&x->d), 0);
	/* it has forgotten, but it has not finished */
	assert_int_equal(reach(x, 0x10000, &val), -EFAULT);
	thread = let_go_elsewhere(x);
	LOOP_UNTIL(&x->d, !status_get(&x->d));
	pthread_join(thread, NULL);
	assert_int_equal(ring_used_idx(&x->d.rings[0]), used);
	assert_int_equal(status_of(x, 7), 0xee);
	assert_false(ring_take(&x->d.rings[1], &id, &len));
	start(x);
	domain_make(x);
	assert_int_equal(reach(x, 0x10000, &val), 0);
	/* the buffer of before the reset was forgotten, too */
	assert_int_equal(reach(x, 0, &val), -EFAULT);
	loop_for_ms(&x->d, 5);
	assert_false(ring_take(&x->d.rings[1], &id, &len));
	assert_int_equal(x->g->ram[EVENTS], 0xee);
}

/* Only the domain's map is held, no request waits. */
static void reset_waits_for_maps(void **state)
{
	struct fix *x = *state;
	pthread_t thread;

	domain_make(x);
	hold(x, 0x10000);
	status_set(&x->d, 0);
	loop_for_ms(&x->d, 5);
	assert_int_not_equal(status_get(&x->d), 0);
	thread = let_go_elsewhere(x);
	LOOP_UNTIL(&x->d, !status_get(&x->d));
	pthread_join(thread, NULL);
}

/* A detached domain's map, which the reset itself knows nothing of. */
static void reset_waits_for_requests(void **state)
{
	struct fix *x = *state;
	struct virtio_iommu_req_detach det = {
		.head.type = VIRTIO_IOMMU_T_DETACH,
		.domain = htole32(1),
		.endpoint = htole32(BEHIND),
	};
	pthread_t thread;

	domain_make(x);
	hold(x, 0x10000);
	offer(x, 5, &det, offsetof(struct virtio_iommu_req_detach, tail));
	drv_kick(&x->d, 0);
	loop_for_ms(&x->d, 5);
	status_set(&x->d, 0);
	loop_for_ms(&x->d, 5);
	assert_int_not_equal(status_get(&x->d), 0);
	thread = let_go_elsewhere(x);
	LOOP_UNTIL(&x->d, !status_get(&x->d));
	pthread_join(thread, NULL);
	assert_int_equal(status_of(x, 5), 0xee);
}

static void idle_reset_is_immediate(void **state)
{
	struct fix *x = *state;

	domain_make(x);
	status_set(&x->d, 0);
	assert_int_equal(status_get(&x->d), 0);
}

static void broken_ring_needs_a_reset(void **state)
{
	struct fix *x = *state;

	ring_offer(&x->d.rings[0], QUEUE);
	drv_kick(&x->d, 0);
	assert_true(status_get(&x->d) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(drv_irqs(&x->d, 0), 1);
	drv_reset(&x->d);
	start(x);
	domain_make(x);
}

/* ----------------------------------------------------------------- bypass */

static uint8_t bypass_get(struct fix *x)
{
	return (uint8_t)drv_get(&x->d, &x->d.device, BYPASS_AT, 1);
}

static void bypass_set(struct fix *x, uint8_t val)
{
	drv_set(&x->d, &x->d.device, BYPASS_AT, 1, val);
}

static void bypass_is_written(void **state)
{
	struct fix *x = *state;
	uint32_t val;

	assert_int_equal(bypass_get(x), 0);
	assert_int_equal(reach(x, TARGET, &val), -EFAULT);
	bypass_set(x, 1);
	assert_int_equal(bypass_get(x), 1);
	assert_int_equal(reach(x, TARGET, &val), 0);
	bypass_set(x, 7); /* neither 0 nor 1 */
	assert_int_equal(bypass_get(x), 1);
	bypass_set(x, 0);
	assert_int_equal(bypass_get(x), 0);
	assert_int_equal(reach(x, TARGET, &val), -EFAULT);
	/* and stays over a reset */
	bypass_set(x, 1);
	drv_reset(&x->d);
	assert_int_equal(bypass_get(x), 1);
	/* the function's as well */
	vs_pci_reset(x->d.pci, false);
	LOOP_UNTIL(&x->d, !vs_pci_is_busy(x->d.pci));
	assert_int_equal(bypass_get(x), 1);
}

static void bypass_is_restored_by_the_system(void **state)
{
	struct fix *x = *state;
	uint32_t val;
	pthread_t thread;

	bypass_set(x, 1);
	vs_pci_reset(x->d.pci, true);
	LOOP_UNTIL(&x->d, !vs_pci_is_busy(x->d.pci));
	assert_int_equal(bypass_get(x), 0);
	assert_int_equal(reach(x, TARGET, &val), -EFAULT);
	/* whatever the driver of the moment accepts */
	start(x);
	bypass_set(x, 1);
	drv_reset(&x->d);
	drv_start(&x->d, DRV_FEATURES | 1u << VIRTIO_IOMMU_F_MAP_UNMAP, 2,
		  x->g->ram, 0, QUEUE);
	vs_pci_reset(x->d.pci, true);
	assert_int_equal(bypass_get(x), 0);
	/* the reset lasts as long as that does; also one that was under way */
	start(x);
	bypass_set(x, 1);
	hold(x, TARGET);
	vs_pci_reset(x->d.pci, false);
	vs_pci_reset(x->d.pci, true);
	loop_for_ms(&x->d, 5);
	assert_true(vs_pci_is_busy(x->d.pci));
	assert_int_equal(reach(x, TARGET, &val), -EFAULT);
	thread = let_go_elsewhere(x);
	LOOP_UNTIL(&x->d, !vs_pci_is_busy(x->d.pci));
	pthread_join(thread, NULL);
	assert_int_equal(bypass_get(x), 0);
}

static void nothing_is_written_without_bus_mastering(void **state)
{
	struct fix *x = *state;
	pthread_t thread;
	uint32_t id;

	domain_make(x);
	hold(x, 0x10000);
	offer_unmap(x, 3, 1, 0x10000, GUEST_PAGE);
	drv_kick(&x->d, 0);
	loop_for_ms(&x->d, 5);
	drv_bus_master(&x->d, false);
	thread = let_go_elsewhere(x);
	pthread_join(thread, NULL);
	loop_for_ms(&x->d, 20);
	assert_int_equal(status_of(x, 3), 0xee);
	offer_attach(x, 4, 1);
	drv_kick(&x->d, 0);
	loop_for_ms(&x->d, 5);
	assert_int_equal(status_of(x, 4), 0xee);
	drv_bus_master(&x->d, true);
	drv_wait(&x->d, 0, &id);
	drv_wait(&x->d, 0, &id);
	assert_int_equal(status_of(x, 3), 0);
	assert_int_equal(status_of(x, 4), 0);
}

/* Nobody may read that it is gone as long as it is not. */
static void bypass_is_taken_away(void **state)
{
	struct fix *x = *state;
	uint32_t val;
	pthread_t thread;

	bypass_set(x, 1);
	hold(x, TARGET);
	bypass_set(x, 0);
	assert_int_equal(bypass_get(x), 1);
	assert_int_equal(drv_get(&x->d, &x->d.device, 32, 8) >> 32, 1);
	assert_int_equal(reach(x, TARGET, &val), -EFAULT);
	/* written meanwhile: the last one counts, after the first is done */
	bypass_set(x, 0);
	bypass_set(x, 1);
	assert_int_equal(reach(x, TARGET, &val), -EFAULT);
	bypass_set(x, 0);
	loop_for_ms(&x->d, 5);
	assert_int_equal(bypass_get(x), 1);
	thread = let_go_elsewhere(x);
	LOOP_UNTIL(&x->d, !bypass_get(x));
	pthread_join(thread, NULL);
	assert_int_equal(reach(x, TARGET, &val), -EFAULT);
	/* a reset waits for it, too */
	bypass_set(x, 1);
	hold(x, TARGET);
	bypass_set(x, 0);
	status_set(&x->d, 0);
	loop_for_ms(&x->d, 5);
	assert_int_not_equal(status_get(&x->d), 0);
	thread = let_go_elsewhere(x);
	LOOP_UNTIL(&x->d, !status_get(&x->d));
	pthread_join(thread, NULL);
	assert_int_equal(bypass_get(x), 0);
}

/* ---------------------------------------------------------------- destroy */

static void let_go_task(void *arg)
{
	struct fix *x = arg;

	viommu_dma_unmap(&x->hold, 0);
}

static void destroy_waits(void **state)
{
	struct fix *x = *state;
	struct viommu_task task;
	pthread_t thread;

	/* for another thread */
	domain_make(x);
	hold(x, 0x10000);
	offer_unmap(x, 7, 1, 0x10000, 0x1000);
	drv_kick(&x->d, 0);
	thread = let_go_elsewhere(x);
	vio_free(x);
	pthread_join(thread, NULL);
	assert_int_equal(status_of(x, 7), 0xee);
	/* and for one that needs the same loop to let go */
	fix_vio(x, NULL);
	start(x);
	domain_make(x);
	hold(x, 0x10000);
	viommu_task_init(&task, let_go_task, x);
	viommu_loop_post(x->loop, &task);
	vio_free(x);
	x->vio = NULL;
}

static void create_refuses(void **state)
{
	struct fix *x = *state;
	struct viommu_virtio_config bad = { .size = sizeof(bad),
					    .input_start = 2,
					    .input_last = 1 };
	struct viommu_virtio_iommu_config cfg = {
		.size = sizeof(cfg),
		.loop = x->loop,
		.vi = x->g->vi,
		.memory = viommu_memory_of(x->g->vi),
		.id = 100,
	};
	struct viommu_virtio_iommu *vio;

	assert_int_equal(viommu_virtio_iommu_create(&cfg, &vio), -EEXIST);
	cfg.id = 101;
	cfg.virtio = &bad;
	assert_int_equal(viommu_virtio_iommu_create(&cfg, &vio), -EINVAL);
	cfg.virtio = NULL;
	cfg.memory = NULL;
	assert_int_equal(viommu_virtio_iommu_create(&cfg, &vio), -EINVAL);
	/* what was begun was undone: the id is free */
	cfg.memory = viommu_memory_of(x->g->vi);
	assert_int_equal(viommu_virtio_iommu_create(&cfg, &vio), 0);
	viommu_virtio_iommu_destroy(vio);
	viommu_virtio_iommu_destroy(NULL);
}

/* ----------------------------------------------------------------- threads */

#define TURNS 3000

struct device {
	struct fix *x;
	atomic_bool stop;
	/* what the guest says: odd while it is mapped */
	atomic_uint phase;
	atomic_uint wrong, hits;
};

/* Writes through a live map; when it still has it, the guest may not have been
 * told that it is gone. */
static void *device_run(void *arg)
{
	struct device *dev = arg;

	while (!atomic_load(&dev->stop)) {
		struct iovec iov;
		struct viommu_dma d = { .ep = dev->x->ep,
					.iova = 0x10000,
					.len = 64,
					.prot = VIOMMU_WRITE,
					.iov = &iov,
					.max_iov = 1 };
		unsigned phase;

		if (viommu_dma_map(&d))
			continue;
		phase = atomic_load(&dev->phase);
		memset(iov.iov_base, (int)(phase & 0xff), 64);
		/* mapped when we looked, and not gone since */
		if (!(phase & 1) || atomic_load(&dev->phase) != phase)
			atomic_fetch_add(&dev->wrong, 1);
		atomic_fetch_add(&dev->hits, 1);
		viommu_dma_unmap(&d, 64);
	}
	return NULL;
}

static void answered_unmap_is_over(void **state)
{
	struct device dev = { .x = *state };
	struct fix *x = dev.x;
	pthread_t thread;
	unsigned turns = 0;

	offer_attach(x, 0, 1);
	assert_int_equal(answered(x, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, device_run, &dev), 0);
	for (; turns < TURNS || atomic_load(&dev.hits) < 100; turns++) {
		assert_in_range(turns, 0, 100 * TURNS);
		atomic_fetch_add(&dev.phase, 1);
		offer_map(x, 0, 1, 0x10000, 0x1000, TARGET);
		assert_int_equal(answered(x, 0), 0);
		offer_unmap(x, 1, 1, 0x10000, 0x1000);
		assert_int_equal(answered(x, 1), 0);
		atomic_fetch_add(&dev.phase, 1);
	}
	atomic_store(&dev.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&dev.wrong), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(looks_like_an_iommu),
		T(requests_are_carried_out),
		T(batches),
		T(odd_requests),
		T(probes),
		T(waiting_unmap_stops_no_other),
		T(events_arrive),
		T(events_wait_for_buffers),
		T(events_from_other_threads),
		cmocka_unit_test(short_of_seats),
		cmocka_unit_test(failed_unmap_is_answered),
		cmocka_unit_test(failed_unmaps_run_out),
		cmocka_unit_test(reset_waits_for_what_failed),
		cmocka_unit_test(destroy_waits_for_what_failed),
		cmocka_unit_test(fails_while_destroyed),
		T(reset_waits),
		T(reset_waits_for_maps),
		T(reset_waits_for_requests),
		T(idle_reset_is_immediate),
		T(broken_ring_needs_a_reset),
		T(bypass_is_written),
		T(bypass_is_taken_away),
		T(bypass_is_restored_by_the_system),
		T(nothing_is_written_without_bus_mastering),
		T(destroy_waits),
		T(create_refuses),
		T(answered_unmap_is_over),
	};

	return cmocka_run_group_tests_name("virtio_iommu", tests, NULL, NULL);
}
