/* SPDX-License-Identifier: BSD-2-Clause */
/* MAP: 5.13.6.5. */
#include "world.h"

/* 5.13.6.5.2: virt_start, phys_start or virt_end + 1 off the granule: SHOULD
 * RANGE (QEMU 4). */
static void misaligned(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 1, 4095, 0), RANGE);
	assert_int_equal(map(w, 1, 2048, 4095, 0), RANGE);
	assert_int_equal(map(w, 1, 0, 4094, 0), RANGE);
	assert_int_equal(map(w, 1, 0, 4096, 0), RANGE);
	assert_int_equal(map(w, 1, 0, 4095, 1), RANGE);
	assert_int_equal(map(w, 1, 0, 4095, 2048), RANGE);
	assert_int_equal(gpa_of(w, 0, 0), -1);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
}

/* 5.13.4: the granule is the lowest bit of page_size_mask. */
static void granule_follows_the_mask(void **state)
{
	struct viommu_virtio_config c = { .page_size_mask = 0x10000 };
	struct world w;

	(void)state;
	world_make(&w, &c);
	assert_int_equal(attach(&w, 1, EP), OK);
	assert_int_equal(map(&w, 1, 0, 0xfff, 0), RANGE);
	assert_int_equal(map(&w, 1, 0x1000, 0x10fff, 0), RANGE);
	assert_int_equal(map(&w, 1, 0, 0xffff, 0x1000), RANGE);
	assert_int_equal(map(&w, 1, 0, 0xffff, 0x10000), OK);
	world_free(&w);
}

/* 5.13.6.5.2: overlaps a mapping: SHOULD INVAL; nothing changes. */
static void overlapping(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 2 * PAGE, 4 * PAGE - 1, 0), OK);
	assert_int_equal(map(w, 1, 2 * PAGE, 4 * PAGE - 1, 0), INVAL);
	assert_int_equal(map(w, 1, 0, 3 * PAGE - 1, 0), INVAL);
	assert_int_equal(map(w, 1, 3 * PAGE, 8 * PAGE - 1, 0), INVAL);
	assert_int_equal(map(w, 1, 0, UINT64_MAX, 0), INVAL);
	assert_int_equal(map(w, 1, 3 * PAGE, 4 * PAGE - 1, 9 * PAGE), INVAL);
	assert_int_equal(gpa_of(w, 0, 3 * PAGE), PAGE);
	assert_int_equal(gpa_of(w, 0, PAGE), -1);
	assert_int_equal(gpa_of(w, 0, 4 * PAGE), -1);
	assert_int_equal(map(w, 1, 0, 2 * PAGE - 1, 0), OK);
	assert_int_equal(map(w, 1, 4 * PAGE, 5 * PAGE - 1, 0), OK);
}

/* 5.13.6.5.2: unknown flag: MUST INVAL. */
static void unknown_flag(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	for (unsigned bit = 3; bit < 32; bit++)
		assert_int_equal(map_flags(w, 1, 0, 4095, 0, R | W | 1u << bit),
				 INVAL);
	assert_int_equal(gpa_of(w, 0, 0), -1);
}

/* QEMU 4: neither READ nor WRITE. */
static void no_permission(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map_flags(w, 1, 0, 4095, 0, 0), INVAL);
	assert_int_equal(map_flags(w, 1, 0, 4095, 0, MMIO), INVAL);
	assert_int_equal(gpa_of(w, 0, 0), -1);
}

/* 5.13.6.5: MMIO with its feature; without, the flag is unknown. */
static void mmio_flag(void **state)
{
	struct viommu_mapping m;
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map_flags(w, 1, 0, 4095, 0, W | MMIO), OK);
	assert_int_equal(viommu_dma_translate(w->ep[0], 0, 0, &m), 0);
	assert_int_equal(m.prot, VIOMMU_WRITE | VIOMMU_MMIO);
	viommu_virtio_features_write(w->v,
				     ~(UINT64_C(1) << VIRTIO_IOMMU_F_MMIO));
	assert_int_equal(map_flags(w, 1, 4096, 8191, 0, W | MMIO), INVAL);
	assert_int_equal(map_flags(w, 1, 4096, 8191, 0, W), OK);
}

/* 5.13.6.5.2: no such domain: SHOULD NOENT. */
static void unknown_domain(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 0, 0, 4095, 0), NOENT);
	assert_int_equal(map(w, 2, 0, 4095, 0), NOENT);
	assert_int_equal(map(w, UINT32_MAX, 0, 4095, 0), NOENT);
}

/* 5.13.6.5.2: bypass domain: SHOULD INVAL. */
static void bypass_domain(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach_flags(w, 1, EP, BYPASS), OK);
	assert_int_equal(map(w, 1, 0, 4095, PAGE), INVAL);
	assert_int_equal(gpa_of(w, 0, 0), 0);
}

/* 5.13.6.8: a reserved range of an endpoint in the domain: SHOULD be refused
 * (QEMU 4); of one elsewhere: none of its business. */
static void reserved_range(void **state)
{
	struct viommu_reserved msi = { .start = 0xfee00000,
				       .last = 0xfeefffff,
				       .kind = VIOMMU_RESERVED_MSI };
	struct viommu_reserved hole = { .start = 0x1000, .last = 0x1fff };
	struct world *w = *state;

	assert_int_equal(viommu_endpoint_reserve(w->ep[0], &msi), 0);
	assert_int_equal(viommu_endpoint_reserve(w->ep[0], &hole), 0);
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0xfee00000, 0xfee00fff, 0), INVAL);
	assert_int_equal(map(w, 1, 0xfeeff000, 0xfef00fff, 0), INVAL);
	assert_int_equal(map(w, 1, 0, UINT64_MAX, 0), INVAL);
	assert_int_equal(map(w, 1, 0, 0x1fff, 0), INVAL);
	assert_int_equal(map(w, 1, 0, 0xfff, 0), OK);
	assert_int_equal(map(w, 1, 0x2000, 0x2fff, 0), OK);
	assert_int_equal(attach(w, 2, EP + 1), OK);
	assert_int_equal(map(w, 2, 0x1000, 0x1fff, 0), OK);
}

/* 5.13.6.5.2: without WRITE MUST NOT allow writes. */
static void write_needs_the_flag(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map_flags(w, 1, 0, 4095, 0, R), OK);
	assert_int_equal(poke(w, 0, 0), -EACCES);
	assert_int_equal(w->ram[0], 1);
	assert_int_equal(peek(w, 0, 0), 1);
}

/* Write-only MAY permit reads; ours does not. */
static void read_needs_the_flag(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map_flags(w, 1, 0, 4095, 0, W), OK);
	assert_int_equal(peek(w, 0, 0), -EACCES);
	assert_int_equal(poke(w, 0, 0), 0);
	assert_int_equal(w->ram[0], 0xee);
}

/* 5.13.6.2: outside input_range MAY be refused with RANGE (QEMU 4). */
static void outside_input_range(void **state)
{
	struct viommu_virtio_config c = { .input_start = 0x10000,
					  .input_last = 0x1ffff };
	struct world w;

	(void)state;
	world_make(&w, &c);
	assert_int_equal(attach(&w, 1, EP), OK);
	assert_int_equal(map(&w, 1, 0xf000, 0xffff, 0), RANGE);
	assert_int_equal(map(&w, 1, 0xf000, 0x10fff, 0), RANGE);
	assert_int_equal(map(&w, 1, 0x1f000, 0x20fff, 0), RANGE);
	assert_int_equal(map(&w, 1, 0x20000, 0x20fff, 0), RANGE);
	assert_int_equal(map(&w, 1, 0, UINT64_MAX, 0), RANGE);
	assert_int_equal(map(&w, 1, 0x10000, 0x1ffff, 0), OK);
	world_free(&w);
}

/* QEMU 6: virt_end below virt_start is refused; nothing hangs on it. */
static void last_below_start(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0x2000, 0xfff, 0), INVAL);
	assert_int_equal(map(w, 1, UINT64_MAX - 4095, 0xfff, 0), INVAL);
	assert_int_equal(map(w, 1, 1, 0, 0), INVAL);
	assert_int_equal(unmap(w, 1, 0, UINT64_MAX), OK);
}

/* phys_start + length wraps. */
static void phys_wraps(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 0x1fff, UINT64_MAX - 4095), RANGE);
	assert_int_equal(map(w, 1, 0, 0xfff, UINT64_MAX - 4095), OK);
	assert_int_equal(map(w, 1, 0x1000, UINT64_MAX, 0x2000), RANGE);
}

/* QEMU 4: memory that is not there is refused when it is accessed: it may be
 * plugged in after the MAP. */
static void phys_without_memory(void **state)
{
	struct virtio_iommu_fault e;
	struct world *w = *state;
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = 0x40000000,
				   .len = PAGE,
				   .prot = VIOMMU_READ,
				   .host = w->ram,
				   .fd = -1 };

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0x40000000), OK);
	assert_int_equal(peek(w, 0, 0), -EFAULT);
	assert_true(event(w, &e));
	assert_int_equal(e.reason, VIRTIO_IOMMU_FAULT_R_UNKNOWN);
	assert_int_equal(viommu_memory_add(viommu_memory_of(w->vi), &r), 0);
	assert_int_equal(peek(w, 0, 0), 1);
}

static void all_of_it(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, UINT64_MAX, 0), OK);
	assert_int_equal(gpa_of(w, 0, 0), 0);
	assert_int_equal(gpa_of(w, 0, INT64_MAX), INT64_MAX);
	assert_int_equal(map(w, 1, UINT64_MAX - 4095, UINT64_MAX, 0), INVAL);
	assert_int_equal(unmap(w, 1, 0, UINT64_MAX), OK);
	assert_int_equal(map(w, 1, UINT64_MAX - 4095, UINT64_MAX, 0), OK);
	assert_int_equal(gpa_of(w, 0, UINT64_MAX), 4095);
	assert_int_equal(unmap(w, 1, UINT64_MAX - 4095, UINT64_MAX), OK);
}

/* QEMU 1: the last byte of a mapping belongs to it, not to its neighbour. */
static void last_byte_of_a_mapping(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0x1000, 0x1fff, 4 * PAGE), OK);
	assert_int_equal(map(w, 1, 0x2000, 0x2fff, 9 * PAGE), OK);
	for (uint64_t i = 0; i < PAGE; i++) {
		assert_int_equal(peek(w, 0, 0x1000 + i), 5);
		assert_int_equal(peek(w, 0, 0x2000 + i), 10);
	}
	assert_int_equal(peek(w, 0, 0xfff), -EFAULT);
	assert_int_equal(peek(w, 0, 0x3000), -EFAULT);
}

/* One byte: a driver MUST NOT ask for it, but with byte pages it is clear. */
static void one_byte(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 7, 7, 3), OK);
	assert_int_equal(gpa_of(w, 0, 6), -1);
	assert_int_equal(gpa_of(w, 0, 7), 3);
	assert_int_equal(gpa_of(w, 0, 8), -1);
	assert_int_equal(unmap(w, 1, 7, 7), OK);
	assert_int_equal(gpa_of(w, 0, 7), -1);
}

static void mapping_limit(void **state)
{
	struct viommu_config limits = { .size = sizeof(limits),
					.max_mappings = 3 };
	struct world w;

	(void)state;
	world_make_limited(&w, &limits, NULL);
	assert_int_equal(attach(&w, 1, EP), OK);
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(map(&w, 1, i * PAGE, i * PAGE + 4095, 0), OK);
	assert_int_equal(map(&w, 1, 3 * PAGE, 4 * PAGE - 1, 0), NOMEM);
	assert_int_equal(unmap(&w, 1, 0, 4095), OK);
	assert_int_equal(map(&w, 1, 3 * PAGE, 4 * PAGE - 1, 0), OK);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(misaligned),
		cmocka_unit_test(granule_follows_the_mask),
		TEST(overlapping),
		TEST(unknown_flag),
		TEST(no_permission),
		TEST(mmio_flag),
		TEST(unknown_domain),
		TEST(bypass_domain),
		TEST(reserved_range),
		TEST(write_needs_the_flag),
		TEST(read_needs_the_flag),
		cmocka_unit_test(outside_input_range),
		TEST(last_below_start),
		TEST(phys_wraps),
		TEST(phys_without_memory),
		TEST(all_of_it),
		TEST(last_byte_of_a_mapping),
		TEST_BYTES(one_byte),
		cmocka_unit_test(mapping_limit),
	};

	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
