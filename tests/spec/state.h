/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_SPEC_STATE_H
#define TESTS_SPEC_STATE_H

/* Saved states, for the tests of saving and of loading. */

#include "world.h"

enum {
	SUM_AT = 24,
	HEAD = 48,
};

/* Make the sum right, so that what is behind it gets read. */
static inline void seal(uint8_t *buf, size_t len)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	if (len < HEAD)
		return;
	for (size_t i = 0; i < len; i++)
		if (i < SUM_AT || i >= SUM_AT + 8)
			sum = (sum ^ buf[i]) * UINT64_C(0x100000001b3);
	sum = htole64(sum);
	memcpy(buf + SUM_AT, &sum, sizeof(sum));
}

/* The state of @w; the caller's to free. */
static inline uint8_t *save(struct world *w, size_t *len)
{
	uint8_t *buf;

	*len = viommu_virtio_save(w->v, NULL, 0);
	buf = malloc(*len);
	assert_non_null(buf);
	assert_int_equal(viommu_virtio_save(w->v, buf, *len), *len);
	return buf;
}

/* Two domains, one of them bypass; three mappings; two faults; bypass on:
 * something of everything. */
static inline void world_fill(struct world *w)
{
	assert_int_equal(attach(w, 7, EP), OK);
	assert_int_equal(attach(w, 7, EP + 2), OK);
	assert_int_equal(attach_flags(w, UINT32_MAX, EP + 1, BYPASS), OK);
	assert_int_equal(map(w, 7, 0x1000, 0x1fff, 0x3000), OK);
	assert_int_equal(map_flags(w, 7, 0x2000, 0x3fff, 0x8000, R), OK);
	assert_int_equal(map_flags(w, 7, UINT64_MAX - 0xfff, UINT64_MAX, 0x4000,
				   W | MMIO),
			 OK);
	assert_int_equal(peek(w, 0, 0x123), -EFAULT);
	assert_int_equal(poke(w, 3, 0x456), -EFAULT);
	bypass_write(w, 1);
}

/* As world_fill() made it; takes the faults. */
static inline void assert_filled(struct world *w)
{
	struct virtio_iommu_fault e;
	struct viommu_mapping m;

	assert_int_equal(bypass_read(w), 1);
	for (int i = 0; i < 3; i += 2) {
		assert_int_equal(gpa_of(w, i, 0xfff), -1);
		assert_int_equal(gpa_of(w, i, 0x1fff), 0x3fff);
		assert_int_equal(viommu_dma_translate(w->ep[i], 0x3fff, 0, &m),
				 0);
		assert_true(m.start == 0x2000 && m.last == 0x3fff);
		assert_true(m.gpa == 0x8000 && m.prot == VIOMMU_READ);
		assert_int_equal(
			viommu_dma_translate(w->ep[i], UINT64_MAX, 0, &m), 0);
		assert_int_equal(m.prot, VIOMMU_WRITE | VIOMMU_MMIO);
	}
	assert_int_equal(gpa_of(w, 1, 0x5000), 0x5000);
	assert_int_equal(gpa_of(w, 3, 0x5000), 0x5000);
	assert_true(event(w, &e));
	assert_true(le64toh(e.address) == 0x123);
	assert_true(event(w, &e));
	assert_true(le64toh(e.address) == 0x456);
	assert_int_equal(le32toh(e.endpoint), EP + 3);
	assert_false(event(w, &e));
}

/* As after a reset. */
static inline void assert_blank(struct world *w)
{
	struct virtio_iommu_fault e;
	struct viommu_stats s;
	size_t len;

	viommu_read_stats(w->vi, &s);
	assert_int_equal(s.mappings, 0);
	assert_false(event(w, &e));
	len = viommu_virtio_save(w->v, NULL, 0);
	assert_int_equal(len, HEAD);
}

#endif
