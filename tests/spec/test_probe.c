/* SPDX-License-Identifier: BSD-2-Clause */
/* PROBE: 5.13.6.7, and its properties: 5.13.6.8. */
#include "world.h"

static void reserve(struct world *w, int i, uint64_t start, uint64_t last,
		    uint32_t kind)
{
	struct viommu_reserved r = { .start = start,
				     .last = last,
				     .kind = kind };

	assert_int_equal(viommu_endpoint_reserve(w->ep[i], &r), 0);
}

static void assert_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(p[i], 0);
}

static void assert_property(const uint8_t *p, uint8_t subtype, uint64_t start,
			    uint64_t last)
{
	struct virtio_iommu_probe_resv_mem m;

	memcpy(&m, p, sizeof(m));
	assert_int_equal(le16toh(m.head.type), VIRTIO_IOMMU_PROBE_T_RESV_MEM);
	/* of the value alone */
	assert_int_equal(le16toh(m.head.length), 20);
	assert_int_equal(m.subtype, subtype);
	assert_zero(m.reserved, 3);
	assert_true(le64toh(m.start) == start);
	assert_true(le64toh(m.end) == last);
}

/* 5.13.6.7.2: what properties do not fill SHOULD be zero. */
static void none(void **state)
{
	struct world *w = *state;
	struct ask a;

	assert_int_equal(probe(w, &a, EP, 516), OK);
	assert_int_equal(a.written, 516);
	assert_zero(a.in, 512);
}

/* 5.13.6.8.1: MSI is subtype 1, everything else RESERVED; last inclusive. */
static void reserved_ranges(void **state)
{
	struct world *w = *state;
	struct ask a;

	reserve(w, 0, 0xfee00000, 0xfeefffff, VIOMMU_RESERVED_MSI);
	reserve(w, 0, 0, 0xfff, VIOMMU_RESERVED_HOLE);
	reserve(w, 0, UINT64_MAX - 0xfff, UINT64_MAX, VIOMMU_RESERVED_HOLE);
	reserve(w, 1, 0x5000, 0x5fff, VIOMMU_RESERVED_HOLE);
	assert_int_equal(probe(w, &a, EP, 516), OK);
	assert_int_equal(a.written, 516);
	assert_property(a.in, VIRTIO_IOMMU_RESV_MEM_T_RESERVED, 0, 0xfff);
	assert_property(a.in + 24, VIRTIO_IOMMU_RESV_MEM_T_MSI, 0xfee00000,
			0xfeefffff);
	assert_property(a.in + 48, VIRTIO_IOMMU_RESV_MEM_T_RESERVED,
			UINT64_MAX - 0xfff, UINT64_MAX);
	assert_zero(a.in + 72, 512 - 72);
	assert_int_equal(probe(w, &a, EP + 1, 516), OK);
	assert_property(a.in, VIRTIO_IOMMU_RESV_MEM_T_RESERVED, 0x5000, 0x5fff);
	assert_zero(a.in + 24, 512 - 24);
}

/* 5.13.6.7.2: reserved: MUST be ignored. */
static void reserved_is_ignored(void **state)
{
	struct world *w = *state;
	uint8_t out[72];
	struct ask a;

	memset(out, 0xff, sizeof(out));
	memcpy(out, (uint8_t[]){ VIRTIO_IOMMU_T_PROBE, 0, 0, 0, EP, 0, 0, 0 },
	       8);
	assert_int_equal(ask_bytes(w, &a, out, 72, 516), OK);
}

/* 5.13.6.7.2: endpoint does not exist: SHOULD NOENT. */
static void unknown_endpoint(void **state)
{
	struct world *w = *state;
	struct ask a;

	assert_int_equal(probe(w, &a, EP + EPS, 516), NOENT);
	assert_int_equal(a.written, 516);
	assert_zero(a.in, 512);
}

/* 5.13.6.7.2: a list smaller than probe_size: SHOULD INVAL, and no property
 * written (QEMU 9). */
static void short_list(void **state)
{
	struct world *w = *state;
	struct ask a;

	reserve(w, 0, 0xfee00000, 0xfeefffff, VIOMMU_RESERVED_MSI);
	for (size_t len = 4; len < 516; len++) {
		assert_int_equal(probe(w, &a, EP, len), INVAL);
		assert_int_equal(a.written, len);
		assert_zero(a.in, len - 4);
	}
}

/* The tail is behind probe_size bytes, wherever the buffer ends. */
static void long_list(void **state)
{
	struct world *w = *state;
	struct ask a;

	assert_int_equal(probe(w, &a, EP, 600), OK);
	assert_int_equal(a.written, 516);
}

/* Half a list is never told. */
static void list_does_not_fit(void **state)
{
	struct viommu_virtio_config c = { .probe_size = 48 };
	struct world w;
	struct ask a;

	(void)state;
	world_make(&w, &c);
	reserve(&w, 0, 0x1000, 0x1fff, VIOMMU_RESERVED_HOLE);
	reserve(&w, 0, 0x3000, 0x3fff, VIOMMU_RESERVED_HOLE);
	assert_int_equal(probe(&w, &a, EP, 52), OK);
	assert_property(a.in + 24, VIRTIO_IOMMU_RESV_MEM_T_RESERVED, 0x3000,
			0x3fff);
	reserve(&w, 0, 0x5000, 0x5fff, VIOMMU_RESERVED_HOLE);
	assert_int_equal(probe(&w, &a, EP, 52), DEVERR);
	assert_zero(a.in, 48);
	world_free(&w);
}

/* Attached or not is no matter. */
static void attached_endpoint(void **state)
{
	struct world *w = *state;
	struct ask a;

	reserve(w, 0, 0x1000, 0x1fff, VIOMMU_RESERVED_HOLE);
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(probe(w, &a, EP, 516), OK);
	assert_property(a.in, VIRTIO_IOMMU_RESV_MEM_T_RESERVED, 0x1000, 0x1fff);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(none),
		TEST(reserved_ranges),
		TEST(reserved_is_ignored),
		TEST(unknown_endpoint),
		TEST(short_list),
		TEST(long_list),
		cmocka_unit_test(list_does_not_fit),
		TEST(attached_endpoint),
	};

	return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}
