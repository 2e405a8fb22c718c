/* SPDX-License-Identifier: BSD-2-Clause */
/* The event queue: 5.13.6.9. */
#include "world.h"

static void assert_event(struct world *w, uint8_t reason, uint32_t flags,
			 uint32_t ep, uint64_t address)
{
	struct virtio_iommu_fault e;

	assert_true(event(w, &e));
	assert_int_equal(e.reason, reason);
	assert_int_equal(le32toh(e.flags), flags);
	assert_int_equal(le32toh(e.endpoint), ep);
	assert_true(le64toh(e.address) == address);
	assert_int_equal(e.reserved[0] | e.reserved[1] | e.reserved[2], 0);
	assert_int_equal(e.reserved2[0] | e.reserved2[1] | e.reserved2[2] |
				 e.reserved2[3],
			 0);
}

/* 5.13.6.9: reason DOMAIN: the endpoint is attached to none. */
static void unattached_is_domain(void **state)
{
	struct virtio_iommu_fault e;
	struct world *w = *state;

	assert_int_equal(peek(w, 0, 0x1234), -EFAULT);
	assert_int_equal(poke(w, 3, 0x5678), -EFAULT);
	assert_int_equal(w->notified, 2);
	assert_event(w, VIRTIO_IOMMU_FAULT_R_DOMAIN, 0x101, EP, 0x1234);
	assert_event(w, VIRTIO_IOMMU_FAULT_R_DOMAIN, 0x102, EP + 3, 0x5678);
	assert_false(event(w, &e));
}

/* 5.13.6.9: reason MAPPING: unmapped.  QEMU 10: READ or WRITE and ADDRESS are
 * told also where nothing is mapped. */
static void unmapped_is_mapping(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(peek(w, 0, 0x1234), -EFAULT);
	assert_int_equal(poke(w, 0, UINT64_MAX), -EFAULT);
	assert_event(w, VIRTIO_IOMMU_FAULT_R_MAPPING, 0x101, EP, 0x1234);
	assert_event(w, VIRTIO_IOMMU_FAULT_R_MAPPING, 0x102, EP, UINT64_MAX);
}

/* 5.13.6.9: reason MAPPING: permission. */
static void permission_is_mapping(void **state)
{
	struct world *w = *state;
	uint64_t old = 0;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map_flags(w, 1, 0, 0xfff, 0, R), OK);
	assert_int_equal(map_flags(w, 1, 0x1000, 0x1fff, 0, W), OK);
	assert_int_equal(poke(w, 0, 0x10), -EACCES);
	assert_int_equal(peek(w, 0, 0x1010), -EACCES);
	assert_int_equal(viommu_dma_cas(w->ep[0], 0x20, 8, &old, 1), -EACCES);
	assert_event(w, VIRTIO_IOMMU_FAULT_R_MAPPING, 0x102, EP, 0x10);
	assert_event(w, VIRTIO_IOMMU_FAULT_R_MAPPING, 0x101, EP, 0x1010);
	assert_event(w, VIRTIO_IOMMU_FAULT_R_MAPPING, 0x103, EP, 0x20);
}

/* 5.13.6.9: reason UNKNOWN: neither; no memory behind the mapping. */
static void no_memory_is_unknown(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 0xfff, UINT64_C(1) << 40), OK);
	assert_int_equal(peek(w, 0, 0x10), -EFAULT);
	assert_event(w, VIRTIO_IOMMU_FAULT_R_UNKNOWN, 0x101, EP, 0x10);
}

/* The address is that of the first byte that failed. */
static void address_is_where_it_failed(void **state)
{
	struct world *w = *state;
	uint8_t buf[0x200];

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 0xfff, 0), OK);
	assert_int_equal(viommu_dma_read(w->ep[0], 0xf00, buf, sizeof(buf)),
			 -EFAULT);
	assert_event(w, VIRTIO_IOMMU_FAULT_R_MAPPING, 0x101, EP, 0x1000);
}

/* 5.13.6.9.2: no buffer: the device MAY drop; ours keeps some, in order, and
 * counts what it drops. */
static void ring_is_bounded(void **state)
{
	struct viommu_virtio_config c = { .max_events = 3 };
	struct viommu_virtio_stats s;
	struct virtio_iommu_fault e;
	struct world w;

	(void)state;
	world_make(&w, &c);
	for (uint64_t round = 0; round < 5; round++) {
		w.notified = 0;
		for (uint64_t i = 0; i < 5; i++)
			assert_int_equal(peek(&w, 0, i), -EFAULT);
		assert_int_equal(w.notified, 3);
		assert_event(&w, VIRTIO_IOMMU_FAULT_R_DOMAIN, 0x101, EP, 0);
		assert_int_equal(peek(&w, 0, 9), -EFAULT);
		assert_event(&w, VIRTIO_IOMMU_FAULT_R_DOMAIN, 0x101, EP, 1);
		assert_event(&w, VIRTIO_IOMMU_FAULT_R_DOMAIN, 0x101, EP, 2);
		assert_event(&w, VIRTIO_IOMMU_FAULT_R_DOMAIN, 0x101, EP, 9);
		assert_false(event(&w, &e));
	}
	viommu_virtio_read_stats(w.v, &s);
	assert_int_equal(s.events, 20);
	assert_int_equal(s.events_dropped, 10);
	world_free(&w);
}

static void default_ring_holds_64(void **state)
{
	struct virtio_iommu_fault e;
	struct world *w = *state;

	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(peek(w, 0, i), -EFAULT);
	for (uint64_t i = 0; i < 64; i++)
		assert_event(w, VIRTIO_IOMMU_FAULT_R_DOMAIN, 0x101, EP, i);
	assert_false(event(w, &e));
}

/* A buffer that is too small takes nothing away. */
static void short_buffer(void **state)
{
	struct world *w = *state;
	uint8_t buf[64];

	assert_int_equal(peek(w, 0, 0x77), -EFAULT);
	assert_int_equal(viommu_virtio_event(w->v, buf, 23), -EMSGSIZE);
	assert_int_equal(viommu_virtio_event(w->v, buf, 0), -EMSGSIZE);
	assert_event(w, VIRTIO_IOMMU_FAULT_R_DOMAIN, 0x101, EP, 0x77);
	assert_int_equal(viommu_virtio_event(w->v, buf, sizeof(buf)), 0);
}

/* Device reset: no fault waits. */
static void reset_forgets(void **state)
{
	struct virtio_iommu_fault e;
	struct world *w = *state;

	assert_int_equal(peek(w, 0, 0), -EFAULT);
	reset(w);
	assert_false(event(w, &e));
	assert_int_equal(peek(w, 0, 1), -EFAULT);
	assert_event(w, VIRTIO_IOMMU_FAULT_R_DOMAIN, 0x101, EP, 1);
}

/* Nothing is told of accesses that succeed, nor of look-ups. */
static void no_fault_no_event(void **state)
{
	struct virtio_iommu_fault e;
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 0xfff, 0), OK);
	assert_int_equal(peek(w, 0, 0), 1);
	assert_int_equal(gpa_of(w, 0, 0x1000), -1);
	assert_false(event(w, &e));
	assert_int_equal(w->notified, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(unattached_is_domain),
		TEST(unmapped_is_mapping),
		TEST(permission_is_mapping),
		TEST(no_memory_is_unknown),
		TEST(address_is_where_it_failed),
		cmocka_unit_test(ring_is_bounded),
		TEST(default_ring_holds_64),
		TEST(short_buffer),
		TEST(reset_forgets),
		TEST(no_fault_no_event),
	};

	return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
