/* SPDX-License-Identifier: BSD-2-Clause */
#include "host.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#define MSI_START UINT64_C(0xfee00000)
#define MSI_LAST  UINT64_C(0xfeefffff)

static const struct host_options plain = { .kind = KERNEL_TYPE1,
					   .policy = VIOMMU_SPACE_SPLIT };

static unsigned calls(const struct host *h)
{
	return h->k.calls[KERNEL_MAP] + h->k.calls[KERNEL_UNMAP];
}

/* ---- beginning and end ------------------------------------------------ */

static void what_was_mapped_before_is_there(void **state)
{
	struct host h;

	(void)state;
	host_make(&h, &plain);
	assert_int_equal(host_ram_add(&h, 0), 0);
	assert_int_equal(host_attach(&h, 0), 0);
	assert_int_equal(host_map(&h, 0, 4, 8, 2, RW), 0);
	assert_int_equal(host_map(&h, 0, 40, 1, 0, VIOMMU_READ), 0);
	assert_int_equal(host_add(&h, &plain), 0);
	assert_int_equal(h.k.n, 2);
	host_is_equal(&h, 0);
	host_end(&h);
}

static void each_mapping_is_one_entry(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 8, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 8, 8, 8, RW), 0);
	assert_int_equal(h.k.calls[KERNEL_MAP], 2);
	assert_int_equal(h.k.n, 2);
	assert_int_equal(host_unmap(&h, 0, 0, 100), 16 * PAGE);
	assert_int_equal(h.k.calls[KERNEL_UNMAP], 1);
	host_is_equal(&h, 0);
	host_end(&h);
}

static void device_memory_and_holes_have_no_entry(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 8, 0, RW | VIOMMU_MMIO), 0);
	assert_int_equal(host_map(&h, 0, 8, 4, REGION_PAGES, RW), 0);
	assert_int_equal(h.k.n, 0);
	/* from one region over a hole into the next */
	assert_int_equal(host_map(&h, 0, 16, 32, 8, RW), 0);
	assert_int_equal(h.k.n, 2);
	host_is_equal(&h, 0);
	host_end(&h);
}

static void permissions_are_what_both_grant(void **state)
{
	uint64_t ro = 2 * REGION_STRIDE;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 1, ro, RW), 0);
	assert_int_equal(kernel_find(&h.k, 0)->prot, VIOMMU_READ);
	assert_int_equal(host_map(&h, 0, 1, 1, ro, VIOMMU_WRITE), 0);
	assert_null(kernel_find(&h.k, PAGE));
	assert_int_equal(host_map(&h, 0, 2, 1, 0, VIOMMU_WRITE | VIOMMU_PRIV),
			 0);
	assert_int_equal(kernel_find(&h.k, 2 * PAGE)->prot, VIOMMU_WRITE);
	host_is_equal(&h, 0);
	host_end(&h);
}

static void another_space_is_another_picture(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	for (uint64_t i = 0; i < 16; i++) {
		assert_int_equal(host_map(&h, 0, 2 * i, 1, i, RW), 0);
		assert_int_equal(host_map(&h, 1, 3 * i, 1, 15 - i, RW), 0);
	}
	host_is_equal(&h, 0);
	assert_int_equal(host_attach(&h, 1), 0);
	host_is_equal(&h, 1);
	assert_int_equal(h.k.unmap_alls, 1);
	assert_int_equal(h.k.calls[KERNEL_UNMAP], 1);
	assert_int_equal(host_attach(&h, -1), 0);
	host_is_equal(&h, -1);
	host_end(&h);
}

/* Before Linux 5.12. */
static void a_kernel_without_unmap_all_is_told_ranges(void **state)
{
	struct host h;

	(void)state;
	host_make(&h, &plain);
	h.k.unmap_all = false;
	h.k.caps = false;
	assert_int_equal(host_ram_add(&h, 0), 0);
	assert_int_equal(host_attach(&h, 0), 0);
	assert_int_equal(host_add(&h, &plain), 0);
	/* to the very ends: no length says how long that is */
	assert_int_equal(host_map(&h, 0, 0, 1, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, UINT64_MAX / PAGE, 1, 1, RW), 0);
	assert_int_equal(h.k.n, 2);
	assert_int_equal(host_attach(&h, -1), 0);
	assert_int_equal(h.k.unmap_alls, 0);
	assert_int_equal(h.k.calls[KERNEL_UNMAP], 2);
	host_end(&h);
}

static void nobody_is_where_the_kernel_cannot_map(void **state)
{
	struct viommu_reserved r;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(viommu_endpoint_next_reserved(h.ep, 0, &r), 0);
	assert_int_equal(r.start, MSI_START);
	assert_int_equal(r.last, MSI_LAST);
	assert_int_equal(r.kind, VIOMMU_RESERVED_MSI);
	assert_int_equal(viommu_endpoint_next_reserved(h.ep, r.last + 1, &r),
			 0);
	assert_int_equal(r.start, UINT64_C(1) << 39);
	assert_int_equal(r.last, UINT64_MAX);
	assert_int_equal(r.kind, VIOMMU_RESERVED_HOLE);
	assert_int_equal(host_map(&h, 0, MSI_START / PAGE, 1, 0, RW),
			 -EADDRNOTAVAIL);
	host_is_equal(&h, 0);
	host_end(&h);
}

/* A hole around the doorbell; some of it is reserved by somebody else. */
static void what_is_reserved_already_stays_so(void **state)
{
	static const struct viommu_reserved own[] = {
		{ .start = 0xfe000000, .last = 0xfe000fff },
		{ .start = 0xfeef0000, .last = 0xfef0ffff },
		{ .start = UINT64_C(1) << 40, .last = UINT64_C(1) << 41 },
	};
	static const struct {
		uint64_t start, last;
		uint32_t kind;
	} want[] = {
		{ 0xfd000000, 0xfdffffff, VIOMMU_RESERVED_HOLE },
		{ 0xfe000000, 0xfe000fff, VIOMMU_RESERVED_HOLE },
		{ 0xfe001000, 0xfedfffff, VIOMMU_RESERVED_HOLE },
		{ 0xfee00000, 0xfeeeffff, VIOMMU_RESERVED_MSI },
		{ 0xfeef0000, 0xfef0ffff, VIOMMU_RESERVED_HOLE },
		{ 0xfef10000, 0xffffffff, VIOMMU_RESERVED_HOLE },
	};
	struct viommu_reserved r = { .last = UINT64_MAX };
	struct host h;

	(void)state;
	host_make(&h, &plain);
	/* neither in order nor apart */
	h.k.ranges[0] = (struct kernel_range){ UINT64_C(1) << 32, UINT64_MAX };
	h.k.ranges[1] = (struct kernel_range){ 0, 0x7fffffff };
	h.k.ranges[2] = (struct kernel_range){ 0x1000, 0xfcffffff };
	h.k.ranges[3] = (struct kernel_range){ 0x2000, 0x2fff };
	h.k.ranges[4] = (struct kernel_range){ 0xfd001000, 0xfd000fff };
	h.k.nranges = 5;
	for (int i = 0; i < 3; i++)
		assert_int_equal(viommu_endpoint_reserve(h.ep, &own[i]), 0);
	assert_int_equal(host_add(&h, &plain), 0);
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		assert_int_equal(
			viommu_endpoint_next_reserved(h.ep, r.last + 1, &r), 0);
		assert_int_equal(r.start, want[i].start);
		assert_int_equal(r.last, want[i].last);
		assert_int_equal(r.kind, want[i].kind);
	}
	host_end(&h);
}

static void identity_shows_what_the_kernel_can_map(void **state)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_IDENTITY,
					  .page_sizes = ~UINT64_C(0xfff) };
	struct viommu_space *identity;
	struct viommu_fence f;
	struct host h;

	(void)state;
	host_make(&h, &plain);
	/* in the middle of region 1 */
	h.k.ranges[0].last = (REGION_STRIDE + 4) * PAGE - 1;
	h.k.ranges[1].start = (REGION_STRIDE + 6) * PAGE;
	for (int i = 0; i < REGIONS; i++)
		assert_int_equal(host_ram_add(&h, i), 0);
	assert_int_equal(viommu_space_create(h.vi, &sc, &identity), 0);
	assert_int_equal(host_add(&h, &plain), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(h.ep, identity, &f), 0);
	fence_run(&f);
	assert_int_equal(h.k.n, REGIONS + 1);
	assert_int_equal(h.k.pinned, (REGIONS * REGION_PAGES - 2) * PAGE);
	assert_ptr_equal(kernel_find(&h.k, REGION_STRIDE * PAGE)->host,
			 host_ram(&h, 1, 0));
	assert_int_equal(host_attach(&h, -1), 0);
	viommu_fence_init(&f);
	viommu_space_destroy(identity, &f);
	fence_run(&f);
	host_end(&h);
}

static void no_answer(void *arg, const struct viommu_miss *m)
{
	(void)arg;
	(void)m;
}

static void what_somebody_else_forgets_is_cut_exactly(void **state)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_REMOTE,
					  .page_sizes = ~UINT64_C(0xfff),
					  .miss = no_answer };
	struct viommu_fence f;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	viommu_fence_init(&f);
	viommu_space_destroy(h.spaces[0], &f);
	assert_int_equal(viommu_space_create(h.vi, &sc, &h.spaces[0]), 0);
	assert_int_equal(viommu_endpoint_attach(h.ep, h.spaces[0], &f), 0);
	fence_run(&f);
	assert_int_equal(host_map(&h, 0, 0, 8, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 8, 8, 8, RW), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_invalidate(h.spaces[0], 3 * PAGE,
						 5 * PAGE - 1, &f),
			 0);
	fence_run(&f);
	assert_int_equal(h.k.n, 3);
	host_is_equal(&h, 0);
	host_end(&h);
}

static void an_endpoint_that_is_destroyed_leaves_nothing(void **state)
{
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = 1,
					     .pasid = VIOMMU_NO_PASID };
	struct viommu_fence f;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 8, 0, RW), 0);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(h.ep, &f);
	fence_run(&f);
	assert_int_equal(h.k.n, 0);
	assert_int_equal(host_stats(&h).gone, 1);
	assert_int_equal(h.lost, 0);
	assert_int_equal(host_map(&h, 0, 8, 8, 0, RW), 0);
	assert_int_equal(h.k.n, 0);
	assert_int_equal(viommu_endpoint_create(h.vi, &ec, &h.ep), 0);
	host_end(&h);
}

/* ---- what cannot begin ------------------------------------------------ */

static void a_wrong_configuration_is_refused(void **state)
{
	struct host h;
	struct {
		struct viommu_vfio_config c;
		uint64_t later;
	} a = { .c = { .size = sizeof(a.c) } };

	(void)state;
	host_make(&h, &plain);
	a.c.container = h.k.fd;
	assert_int_equal(viommu_vfio_add(h.ep, &a.c, &h.vfio), -EINVAL);
	a.c.vi = h.vi;
	a.c.size = 4;
	assert_int_equal(viommu_vfio_add(h.ep, &a.c, &h.vfio), -EINVAL);
	a.c.size = sizeof(a);
	a.later = 1;
	assert_int_equal(viommu_vfio_add(h.ep, &a.c, &h.vfio), -EINVAL);
	a.later = 0;
	a.c.reserved = 1;
	assert_int_equal(viommu_vfio_add(h.ep, &a.c, &h.vfio), -EINVAL);
	a.c.reserved = 0;
	a.c.piece_size = 3 * PAGE;
	assert_int_equal(viommu_vfio_add(h.ep, &a.c, &h.vfio), -EINVAL);
	a.c.piece_size = PAGE / 2;
	assert_int_equal(viommu_vfio_add(h.ep, &a.c, &h.vfio), -EINVAL);
	a.c.piece_size = PAGE;
	assert_int_equal(viommu_vfio_add(h.ep, &a.c, &h.vfio), 0);
	host_end(&h);
}

/* Offsets into GET_INFO's answer, and what is written there. */
static void a_kernel_that_makes_no_sense_is_refused(void **state)
{
	static const struct {
		unsigned at;
		uint32_t v;
	} bad[] = {
		{ 4, 0 },	    /* flags: no page sizes */
		{ 16, 0xfffffff0 }, /* cap_offset, outside */
		{ 24 + 4, 24 },	    /* the first cap's next, itself */
		{ 24 + 4, 8 },	    /* ... backwards */
		{ 72 + 8, 0 },	    /* no ranges */
		{ 72 + 8, 1000 },   /* more than there is room for */
	};
	struct host h;

	(void)state;
	host_make(&h, &plain);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		h.k.garble_at = bad[i].at;
		h.k.garble = bad[i].v;
		assert_int_equal(host_add(&h, &plain), -ENODEV);
	}
	h.k.garble_at = 0;
	kernel_fail(&h.k, KERNEL_INFO, 0, 1000, ENOTTY);
	assert_int_equal(host_add(&h, &plain), -ENODEV);
	kernel_fail(&h.k, KERNEL_INFO, 0, 0, 0);
	assert_int_equal(host_add(&h, &plain), 0);
	host_end(&h);
}

static void what_cannot_be_shown_is_no_beginning(void **state)
{
	struct host_options few = plain;
	struct host h;

	(void)state;
	host_make(&h, &plain);
	assert_int_equal(host_ram_add(&h, 0), 0);
	assert_int_equal(host_attach(&h, 0), 0);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(host_map(&h, 0, 2 * i, 1, i, RW), 0);
	few.max_entries = 7;
	assert_int_equal(host_add(&h, &few), -ENOSPC);
	assert_int_equal(h.k.n, 0);
	h.k.memlock = 7 * PAGE;
	assert_int_equal(host_add(&h, &plain), -ENOMEM);
	assert_int_equal(h.k.n, 0);
	h.k.memlock = UINT64_MAX;
	kernel_fail(&h.k, KERNEL_MAP, 5, 1, EFAULT);
	assert_int_equal(host_add(&h, &plain), -EIO);
	assert_int_equal(h.refused, 1);
	assert_int_equal(h.err, EFAULT);
	assert_int_equal(h.k.n, 0);
	h.no_memory = true;
	assert_int_equal(host_add(&h, &plain), -ENOMEM);
	h.no_memory = false;
	assert_int_equal(host_add(&h, &plain), 0);
	host_is_equal(&h, 0);
	host_end(&h);
}

/* It was mapped, what followed was refused, and it cannot be removed. */
static void what_is_stuck_at_the_beginning_is_told(void **state)
{
	struct host_options few = plain;
	struct host h;

	(void)state;
	few.max_entries = 1;
	host_make(&h, &plain);
	assert_int_equal(host_ram_add(&h, 0), 0);
	assert_int_equal(host_attach(&h, 0), 0);
	for (uint64_t i = 0; i < 2; i++)
		assert_int_equal(host_map(&h, 0, 2 * i, 1, i, RW), 0);
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 1000, EBUSY);
	assert_int_equal(host_add(&h, &few), -ENOSPC);
	assert_int_equal(h.stuck, 1);
	assert_int_equal(h.k.n, 1);
	/* another container */
	kernel_fini(&h.k);
	kernel_init(&h.k, KERNEL_TYPE1);
	assert_int_equal(host_add(&h, &plain), 0);
	host_is_equal(&h, 0);
	host_end(&h);
}

static void a_mapping_on_a_doorbell_is_no_beginning(void **state)
{
	struct host h;

	(void)state;
	host_make(&h, &plain);
	assert_int_equal(host_attach(&h, 0), 0);
	assert_int_equal(host_map(&h, 0, MSI_START / PAGE, 1, 0, RW), 0);
	assert_int_equal(host_add(&h, &plain), -EBUSY);
	assert_int_equal(host_unmap(&h, 0, MSI_START / PAGE, 1), PAGE);
	assert_int_equal(host_add(&h, &plain), 0);
	host_end(&h);
}

/* ---- refusals --------------------------------------------------------- */

static void what_is_off_the_hosts_pages_is_refused(void **state)
{
	struct host_options o = { .kind = KERNEL_TYPE1,
				  .policy = VIOMMU_SPACE_SPLIT,
				  .page_sizes = ~UINT64_C(0xff) };
	struct viommu_mapping m = {
		.start = 0x1100, .last = 0x20ff, .gpa = 0x100, .prot = RW
	};
	struct viommu_region odd = { .size = sizeof(odd),
				     .gpa = 0x1000100,
				     .len = PAGE,
				     .prot = RW,
				     .fd = -1 };
	struct viommu_fence f;
	struct host h;

	(void)state;
	host_make(&h, &o);
	for (int i = 0; i < REGIONS; i++)
		assert_int_equal(host_ram_add(&h, i), 0);
	assert_int_equal(host_attach(&h, 0), 0);
	/* before the shadow begins, and after */
	assert_int_equal(viommu_space_map(h.spaces[0], &m), 0);
	assert_int_equal(host_add(&h, &o), -ERANGE);
	assert_int_equal(host_unmap(&h, 0, 0, 3), PAGE);
	assert_int_equal(host_add(&h, &o), 0);
	assert_int_equal(viommu_space_map(h.spaces[0], &m), -ERANGE);
	m.start = 0x1000;
	m.last = 0x1fff;
	m.gpa = 0x100;
	assert_int_equal(viommu_space_map(h.spaces[0], &m), -ERANGE);
	/* a cut within a page of the host */
	m.gpa = 0;
	assert_int_equal(viommu_space_map(h.spaces[0], &m), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(h.spaces[0], 0x1000, 0x17ff, &f),
			 -ERANGE);
	assert_int_equal(viommu_space_unmap(h.spaces[0], 0x1800, 0x1fff, &f),
			 -ERANGE);
	host_is_equal(&h, 0);
	/* memory that is no whole pages, and that something leads to */
	m = (struct viommu_mapping){ 0x100000, 0x101fff, 0x1000000, RW, 0 };
	assert_int_equal(viommu_space_map(h.spaces[0], &m), 0);
	odd.host = host_ram(&h, 0, 1);
	assert_int_equal(viommu_memory_add(viommu_memory_of(h.vi), &odd),
			 -ERANGE);
	assert_int_equal(host_stats(&h).refused, 5);
	assert_int_equal(host_unmap(&h, 0, 0, 1000), 3 * PAGE);
	/* ... and that nothing leads to */
	assert_int_equal(viommu_memory_add(viommu_memory_of(h.vi), &odd), 0);
	host_end(&h);
}

static void the_entry_limit_is_the_guests_limit(void **state)
{
	struct viommu_segment list[] = { { 0, PAGE },
					 { 4 * PAGE, PAGE },
					 { 8 * PAGE, PAGE } };
	struct viommu_space_stats before, after;
	struct host h;

	(void)state;
	host_make(&h, &plain);
	h.k.limit = 4;
	for (int i = 0; i < 2; i++)
		assert_int_equal(host_ram_add(&h, i), 0);
	assert_int_equal(host_attach(&h, 0), 0);
	assert_int_equal(host_add(&h, &plain), 0);
	assert_int_equal(host_stats(&h).max_entries, 4);
	assert_int_equal(host_map(&h, 0, 0, 1, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 2, 1, 1, RW), 0);
	viommu_space_read_stats(h.spaces[0], &before);
	/* three at once, of which two would fit */
	assert_int_equal(
		viommu_space_map_list(h.spaces[0], 16 * PAGE, RW, list, 3),
		-ENOSPC);
	viommu_space_read_stats(h.spaces[0], &after);
	assert_memory_equal(&before, &after, sizeof(before));
	host_is_equal(&h, 0);
	assert_int_equal(host_map(&h, 0, 4, 1, 2, RW), 0);
	assert_int_equal(host_map(&h, 0, 8, 4, 3, RW), 0);
	assert_int_equal(host_map(&h, 0, 20, 1, 0, RW), -ENOSPC);
	/* that would be one more, that one less */
	assert_int_equal(host_unmap(&h, 0, 9, 1), -ENOSPC);
	host_is_equal(&h, 0);
	assert_int_equal(host_unmap(&h, 0, 8, 1), PAGE);
	assert_int_equal(host_stats(&h).refused, 3);
	host_is_equal(&h, 0);
	host_end(&h);
}

static void the_kernels_own_limits_are_told(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	/* somebody else has entries since we looked */
	h.k.limit = 2;
	assert_int_equal(host_map(&h, 0, 0, 1, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 1, 1, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 2, 1, 0, RW), -ENOSPC);
	h.k.limit = 100;
	h.k.memlock = 4 * PAGE;
	assert_int_equal(host_map(&h, 0, 2, 3, 0, RW), -ENOMEM);
	assert_int_equal(host_map(&h, 0, 2, 2, 0, RW), 0);
	kernel_fail(&h.k, KERNEL_MAP, 0, 1, EEXIST);
	assert_int_equal(host_map(&h, 0, 8, 1, 0, RW), -EIO);
	assert_int_equal(h.refused, 1);
	assert_int_equal(h.err, EEXIST);
	host_is_equal(&h, 0);
	host_end(&h);
}

/* A part of what is refused was made. */
static void what_is_refused_is_undone(void **state)
{
	struct host_options pieces = plain;
	struct host h;

	(void)state;
	pieces.piece_size = PAGE;
	host_begin(&h, &pieces);
	kernel_fail(&h.k, KERNEL_MAP, 5, 1, ENOMEM);
	assert_int_equal(host_map(&h, 0, 0, 16, 0, RW), -ENOMEM);
	assert_int_equal(h.k.n, 0);
	host_is_equal(&h, 0);
	assert_int_equal(host_map(&h, 1, 0, 16, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 0, 8, 4, RW), 0);
	/* a switch: the old is back */
	kernel_fail(&h.k, KERNEL_MAP, 5, 1, ENOSPC);
	assert_int_equal(host_attach(&h, 1), -ENOSPC);
	host_is_equal(&h, 0);
	/* memory: nothing leads there */
	host_ram_remove(&h, 0);
	assert_int_equal(h.k.n, 0);
	kernel_fail(&h.k, KERNEL_MAP, 3, 1, ENOMEM);
	assert_int_equal(host_ram_add(&h, 0), -ENOMEM);
	assert_int_equal(h.k.n, 0);
	assert_int_equal(host_ram_add(&h, 0), 0);
	host_is_equal(&h, 0);
	host_end(&h);
}

/* ---- cuts ------------------------------------------------------------- */

static void a_cut_takes_out_and_puts_back(void **state)
{
	struct viommu_shadow_stats st;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 4, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 4, 4, 4, RW), 0);
	assert_int_equal(host_map(&h, 0, 8, 4, 8, RW), 0);
	/* within the first and the last, and all that is between */
	assert_int_equal(host_unmap(&h, 0, 2, 8), 8 * PAGE);
	st = host_stats(&h);
	assert_int_equal(h.k.calls[KERNEL_UNMAP], 1);
	assert_int_equal(h.k.calls[KERNEL_MAP], 5);
	assert_int_equal(st.cuts, 2);
	assert_int_equal(st.entries, 2);
	assert_int_equal(st.lost, 0);
	host_is_equal(&h, 0);
	host_end(&h);
}

static void whole_pieces_go_alone(void **state)
{
	struct host_options pieces = plain;
	unsigned before;
	struct host h;

	(void)state;
	pieces.piece_size = 4 * PAGE;
	host_begin(&h, &pieces);
	assert_int_equal(host_map(&h, 0, 2, 12, 0, RW), 0);
	/* 2-3, 4-7, 8-11, 12-13 */
	assert_int_equal(h.k.n, 4);
	before = calls(&h);
	assert_int_equal(host_unmap(&h, 0, 4, 4), 4 * PAGE);
	assert_int_equal(calls(&h), before + 1);
	assert_int_equal(host_stats(&h).cuts, 0);
	/* a part of one */
	assert_int_equal(host_unmap(&h, 0, 9, 1), PAGE);
	assert_int_equal(host_stats(&h).cuts, 2);
	host_is_equal(&h, 0);
	host_end(&h);
}

static void remains_that_are_refused_are_lost_and_told(void **state)
{
	struct difference d;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 8, 0, RW), 0);
	/* both sides; then one */
	kernel_fail(&h.k, KERNEL_MAP, 0, 2, ENOMEM);
	assert_int_equal(host_unmap(&h, 0, 2, 2), 2 * PAGE);
	assert_int_equal(h.lost, 2);
	assert_int_equal(h.err, ENOMEM);
	assert_int_equal(host_stats(&h).lost, 2);
	assert_int_equal(h.k.n, 0);
	d = host_compare(&h, 0);
	assert_int_equal(d.stale, 0);
	assert_int_equal(d.missing, 6);
	/* it is whole again when it is mapped anew */
	assert_int_equal(host_unmap(&h, 0, 0, 8), 6 * PAGE);
	assert_int_equal(host_map(&h, 0, 0, 8, 0, RW), 0);
	host_is_equal(&h, 0);
	host_end(&h);
}

/* An unmap cannot fail for want of memory: a cut is asked for before. */
static void a_cut_without_memory_is_refused(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 8, 0, RW), 0);
	h.no_memory = true;
	assert_int_equal(host_unmap(&h, 0, 2, 2), -ENOMEM);
	host_is_equal(&h, 0);
	h.no_memory = false;
	assert_int_equal(host_unmap(&h, 0, 2, 2), 2 * PAGE);
	host_is_equal(&h, 0);
	/* what it needs is kept for the next */
	h.no_memory = true;
	assert_int_equal(host_unmap(&h, 0, 5, 1), PAGE);
	host_is_equal(&h, 0);
	assert_int_equal(host_stats(&h).lost, 0);
	h.no_memory = false;
	host_end(&h);
}

/* ---- what is stuck ---------------------------------------------------- */

static void what_cannot_be_removed_holds_the_fence(void **state)
{
	struct viommu_fence f, g, other;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 4, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 8, 4, 8, RW), 0);
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 1000, EBUSY);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(h.spaces[0], 0, 4 * PAGE - 1, &f),
			 4 * PAGE);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(h.stuck, 1);
	assert_int_equal(h.err, EBUSY);
	assert_int_equal(host_stats(&h).stuck, 1);
	assert_int_equal(host_retry(&h), -EBUSY);
	/* nothing comes in its place */
	assert_int_equal(host_map(&h, 0, 3, 1, 0, RW), -EBUSY);
	/* who takes it again waits, too */
	viommu_fence_init(&g);
	assert_int_equal(viommu_space_unmap(h.spaces[0], 0, PAGE - 1, &g), 0);
	viommu_fence_commit(&g, NULL, NULL);
	assert_false(viommu_fence_done(&g));
	/* others do not */
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 0, 0);
	viommu_fence_init(&other);
	assert_int_equal(viommu_space_unmap(h.spaces[0], 8 * PAGE,
					    12 * PAGE - 1, &other),
			 4 * PAGE);
	viommu_fence_commit(&other, NULL, NULL);
	assert_true(viommu_fence_done(&other));
	/* it goes when something comes there, its fences with the retry */
	assert_non_null(kernel_find(&h.k, 0));
	assert_int_equal(host_map(&h, 0, 3, 1, 9, RW), 0);
	assert_null(kernel_find(&h.k, 0));
	assert_false(viommu_fence_done(&f));
	assert_int_equal(host_retry(&h), 0);
	assert_true(viommu_fence_done(&f));
	assert_true(viommu_fence_done(&g));
	assert_int_equal(host_stats(&h).held, 2);
	host_is_equal(&h, 0);
	host_end(&h);
}

/* The device still reaches what was cut off, and what stays. */
static void a_cut_that_is_stuck_is_lost_in_the_end(void **state)
{
	struct viommu_fence f;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 4, 0, RW), 0);
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 2, EINTR);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(h.spaces[0], 0, PAGE - 1, &f),
			 PAGE);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(h.lost, 1);
	assert_int_equal(host_retry(&h), 0);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(h.k.n, 0);
	assert_int_equal(host_compare(&h, 0).stale, 0);
	host_end(&h);
}

static void a_deadline_decides_about_the_endpoint(void **state)
{
	struct host_options o = plain;
	struct viommu_fence f;
	struct host h;

	(void)state;
	o.fence_timeout_ns = 1000000;
	host_begin(&h, &o);
	h.verdict = VIOMMU_GIVE_UP;
	assert_int_equal(host_map(&h, 0, 0, 4, 0, RW), 0);
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 1000, EBUSY);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(h.spaces[0], 0, PAGE * 4 - 1, &f),
			 PAGE * 4);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(&f, -1), -ECANCELED);
	assert_int_equal(h.nexpired, 1);
	assert_false(viommu_fence_done(&f));
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 0, 0);
	assert_int_equal(host_retry(&h), 0);
	assert_true(viommu_fence_done(&f));
	host_end(&h);
}

static void memory_that_is_stuck_holds_the_fence(void **state)
{
	struct viommu_memory *mem;
	struct viommu_fence f;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	mem = viommu_memory_of(h.vi);
	/* twice, with something else between */
	assert_int_equal(host_map(&h, 0, 0, 4, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 4, 4, REGION_STRIDE, RW), 0);
	assert_int_equal(host_map(&h, 0, 8, 4, 2, RW), 0);
	kernel_fail(&h.k, KERNEL_UNMAP, 1, 2, EBUSY);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem, 0, REGION_PAGES * PAGE, &f),
			 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(h.k.n, 2);
	assert_int_equal(host_retry(&h), 0);
	assert_true(viommu_fence_done(&f));
	host_is_equal(&h, 0);
	host_end(&h);
}

/* Without memory to remember the hold it is held all the same. */
static void no_memory_is_no_excuse(void **state)
{
	static struct host h; /* its fences are never done */
	static struct viommu_fence f[2];

	(void)state;
	host_begin(&h, &plain);
	for (uint64_t i = 0; i < 2; i++)
		assert_int_equal(host_map(&h, 0, i, 1, i, RW), 0);
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 1000, EBUSY);
	h.no_memory = true;
	for (uint64_t i = 0; i < 2; i++) {
		viommu_fence_init(&f[i]);
		assert_int_equal(viommu_space_unmap(h.spaces[0], i * PAGE,
						    i * PAGE + PAGE - 1, &f[i]),
				 PAGE);
		viommu_fence_commit(&f[i], NULL, NULL);
		assert_false(viommu_fence_done(&f[i]));
	}
	h.no_memory = false;
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 0, 0);
	assert_int_equal(host_retry(&h), 0);
	assert_true(viommu_fence_done(&f[0]));
	assert_false(viommu_fence_done(&f[1]));
}

/* Static: what is stuck for good is never freed. */
static void what_is_stuck_at_the_end_holds_for_good(void **state)
{
	static struct viommu_vfio *left;
	static struct viommu_fence f;
	static struct host h;

	(void)state;
	host_begin(&h, &plain);
	left = h.vfio;
	assert_int_equal(host_map(&h, 0, 0, 1, 0, RW), 0);
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 1000, EBUSY);
	viommu_fence_init(&f);
	viommu_vfio_remove(left, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
}

/* A remap that is refused, and the kernel refuses what was there before. */
static void a_shadow_that_cannot_come_back_says_so(void **state)
{
	struct viommu_mapping m = { .last = 4 * PAGE - 1,
				    .gpa = 8 * PAGE,
				    .prot = RW };
	struct viommu_fence f;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 4, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 8, 4, 0, RW), 0);
	kernel_fail(&h.k, KERNEL_MAP, 0, 1000, ENOMEM);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_remap(h.spaces[0], &m, &f), -ENOMEM);
	fence_run(&f);
	assert_int_equal(h.k.n, 0);
	assert_int_equal(h.lost, 1);
	assert_int_equal(host_stats(&h).gone, 1);
	kernel_fail(&h.k, KERNEL_MAP, 0, 0, 0);
	/* nobody is told any more */
	assert_int_equal(host_map(&h, 0, 16, 4, 0, RW), 0);
	assert_int_equal(h.k.n, 0);
	host_end(&h);
}

/* ---- the dirty log ---------------------------------------------------- */

static void log_on(struct host *h)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(
		viommu_memory_dirty_start(viommu_memory_of(h->vi), 0, &f), 0);
	fence_run(&f);
}

static void log_off(struct host *h)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_memory_dirty_stop(viommu_memory_of(h->vi), &f);
	fence_run(&f);
}

/* The dirty pages of region 0, as bits. */
static uint64_t fetch(struct host *h)
{
	uint64_t bits = 0;

	assert_true(viommu_memory_dirty_fetch(viommu_memory_of(h->vi), 0,
					      64 * PAGE, &bits) >= 0);
	return bits;
}

static void the_kernels_bits_are_exact(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 100, 4, 0, RW), 0);
	log_on(&h);
	assert_int_equal(host_map(&h, 0, 104, 4, 8, RW), 0);
	assert_int_equal(host_map(&h, 0, 110, 2, 4, RW), 0);
	/* writes that are not there: this one cannot be written */
	assert_int_equal(host_map(&h, 0, 112, 2, 2 * REGION_STRIDE, RW), 0);
	assert_int_equal(fetch(&h), 0);
	assert_non_null(kernel_write(&h.k, 101 * PAGE));
	assert_non_null(kernel_write(&h.k, 102 * PAGE));
	assert_non_null(kernel_write(&h.k, 107 * PAGE));
	assert_non_null(kernel_write(&h.k, 110 * PAGE));
	assert_null(kernel_write(&h.k, 112 * PAGE));
	assert_int_equal(fetch(&h), 1 << 1 | 1 << 2 | 1 << 11 | 1 << 4);
	assert_int_equal(fetch(&h), 0);
	assert_int_equal(host_stats(&h).dirty_pages, 4);
	log_off(&h);
	assert_false(h.k.logging);
	host_end(&h);
}

static void bits_are_collected_before_an_entry_goes(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	log_on(&h);
	assert_int_equal(host_map(&h, 0, 0, 8, 0, RW), 0);
	assert_non_null(kernel_write(&h.k, 1 * PAGE));
	assert_non_null(kernel_write(&h.k, 5 * PAGE));
	/* a cut */
	assert_int_equal(host_unmap(&h, 0, 4, 2), 2 * PAGE);
	assert_int_equal(fetch(&h), 1 << 1 | 1 << 5);
	/* a switch, of entries with a hole between */
	assert_non_null(kernel_write(&h.k, 3 * PAGE));
	assert_non_null(kernel_write(&h.k, 6 * PAGE));
	assert_int_equal(host_attach(&h, -1), 0);
	assert_int_equal(h.k.n, 0);
	assert_int_equal(fetch(&h), 1 << 3 | 1 << 6);
	assert_int_equal(h.k.calls[KERNEL_FETCH], 2);
	/* the end, with the log on */
	assert_int_equal(host_attach(&h, 0), 0);
	assert_non_null(kernel_write(&h.k, 7 * PAGE));
	host_end(&h);
}

static void without_bits_all_that_could_be_written_counts(void **state)
{
	struct host h;

	(void)state;
	host_make(&h, &plain);
	h.k.migration = false;
	for (int i = 0; i < REGIONS; i++)
		assert_int_equal(host_ram_add(&h, i), 0);
	assert_int_equal(host_attach(&h, 0), 0);
	assert_int_equal(host_add(&h, &plain), 0);
	assert_int_equal(host_map(&h, 0, 0, 4, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 4, 4, 4, VIOMMU_READ), 0);
	assert_int_equal(host_unmap(&h, 0, 3, 1), PAGE);
	log_on(&h);
	assert_int_equal(fetch(&h), 7);
	assert_int_equal(fetch(&h), 7);
	assert_int_equal(host_map(&h, 0, 8, 4, 8, RW), 0);
	assert_int_equal(host_unmap(&h, 0, 0, 100), 11 * PAGE);
	assert_int_equal(fetch(&h), 0xf07);
	assert_int_equal(fetch(&h), 0);
	log_off(&h);
	assert_int_equal(host_map(&h, 0, 8, 4, 8, RW), 0);
	assert_int_equal(host_unmap(&h, 0, 8, 4), 4 * PAGE);
	host_end(&h);
}

static void bits_that_fail_are_all_set(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 4, 0, RW), 0);
	/* the log does not start */
	kernel_fail(&h.k, KERNEL_LOG, 0, 1, ENOMEM);
	log_on(&h);
	assert_false(h.k.logging);
	assert_int_equal(fetch(&h), 0xf);
	log_off(&h);
	log_on(&h);
	assert_int_equal(fetch(&h), 0);
	/* a fetch fails, an unmap does with bits */
	kernel_fail(&h.k, KERNEL_FETCH, 0, 1, EFAULT);
	assert_int_equal(fetch(&h), 0xf);
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 1, EFAULT);
	assert_int_equal(host_unmap(&h, 0, 0, 4), 4 * PAGE);
	assert_int_equal(h.k.n, 0);
	assert_int_equal(fetch(&h), 0xf);
	assert_int_equal(h.stuck, 0);
	log_off(&h);
	host_end(&h);
}

static void a_bitmap_has_a_size(void **state)
{
	struct host h;

	(void)state;
	host_make(&h, &plain);
	/* 64 pages: one entry of region 1 is more */
	h.k.max_bitmap = 8;
	assert_int_equal(host_ram_add(&h, 0), 0);
	assert_int_equal(host_attach(&h, 0), 0);
	assert_int_equal(host_add(&h, &plain), 0);
	log_on(&h);
	for (uint64_t i = 0; i < 10; i++)
		assert_int_equal(host_map(&h, 0, i * 16, 16, 0, RW), 0);
	assert_non_null(kernel_write(&h.k, 0));
	assert_non_null(kernel_write(&h.k, 159 * PAGE));
	assert_int_equal(fetch(&h), 1 << 15 | 1);
	assert_true(h.k.calls[KERNEL_FETCH] >= 3);
	assert_non_null(kernel_write(&h.k, 70 * PAGE));
	assert_int_equal(host_attach(&h, -1), 0);
	assert_int_equal(fetch(&h), 1 << 6);
	assert_int_equal(h.k.broken, 0);
	log_off(&h);
	host_end(&h);
}

/* ---- many ------------------------------------------------------------- */

static void as_many_as_the_kernel_takes(void **state)
{
	int64_t removed;
	enum {
		N = 65535
	};
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	for (uint64_t i = 0; i < N; i++)
		assert_int_equal(host_map(&h, 0, (i ^ 31) * 2, 1, 0, RW), 0);
	assert_int_equal(h.k.n, N);
	assert_int_equal(host_map(&h, 0, 200000, 1, 0, RW), -ENOSPC);
	assert_int_equal(h.k.calls[KERNEL_MAP], N);
	/* one call for all of them, or for half */
	removed = host_unmap(&h, 0, 0, 65536);
	assert_int_equal(removed, (N - h.k.n) * PAGE);
	assert_true(h.k.n > N / 3 && h.k.n < N - N / 3);
	assert_int_equal(h.k.calls[KERNEL_UNMAP], 1);
	host_ram_remove(&h, 0);
	assert_int_equal(h.k.n, 0);
	assert_int_equal(h.k.calls[KERNEL_UNMAP], 2);
	assert_int_equal(host_ram_add(&h, 0), 0);
	assert_int_equal(host_stats(&h).entries, h.k.n);
	assert_int_equal(host_attach(&h, -1), 0);
	assert_int_equal(h.k.calls[KERNEL_UNMAP], 3);
	host_end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_mapped_before_is_there),
		cmocka_unit_test(each_mapping_is_one_entry),
		cmocka_unit_test(device_memory_and_holes_have_no_entry),
		cmocka_unit_test(permissions_are_what_both_grant),
		cmocka_unit_test(another_space_is_another_picture),
		cmocka_unit_test(a_kernel_without_unmap_all_is_told_ranges),
		cmocka_unit_test(nobody_is_where_the_kernel_cannot_map),
		cmocka_unit_test(what_is_reserved_already_stays_so),
		cmocka_unit_test(identity_shows_what_the_kernel_can_map),
		cmocka_unit_test(what_somebody_else_forgets_is_cut_exactly),
		cmocka_unit_test(an_endpoint_that_is_destroyed_leaves_nothing),
		cmocka_unit_test(a_wrong_configuration_is_refused),
		cmocka_unit_test(a_kernel_that_makes_no_sense_is_refused),
		cmocka_unit_test(what_cannot_be_shown_is_no_beginning),
		cmocka_unit_test(what_is_stuck_at_the_beginning_is_told),
		cmocka_unit_test(a_mapping_on_a_doorbell_is_no_beginning),
		cmocka_unit_test(what_is_off_the_hosts_pages_is_refused),
		cmocka_unit_test(the_entry_limit_is_the_guests_limit),
		cmocka_unit_test(the_kernels_own_limits_are_told),
		cmocka_unit_test(what_is_refused_is_undone),
		cmocka_unit_test(a_cut_takes_out_and_puts_back),
		cmocka_unit_test(whole_pieces_go_alone),
		cmocka_unit_test(remains_that_are_refused_are_lost_and_told),
		cmocka_unit_test(a_cut_without_memory_is_refused),
		cmocka_unit_test(what_cannot_be_removed_holds_the_fence),
		cmocka_unit_test(a_cut_that_is_stuck_is_lost_in_the_end),
		cmocka_unit_test(a_deadline_decides_about_the_endpoint),
		cmocka_unit_test(memory_that_is_stuck_holds_the_fence),
		cmocka_unit_test(no_memory_is_no_excuse),
		cmocka_unit_test(what_is_stuck_at_the_end_holds_for_good),
		cmocka_unit_test(a_shadow_that_cannot_come_back_says_so),
		cmocka_unit_test(the_kernels_bits_are_exact),
		cmocka_unit_test(bits_are_collected_before_an_entry_goes),
		cmocka_unit_test(without_bits_all_that_could_be_written_counts),
		cmocka_unit_test(bits_that_fail_are_all_set),
		cmocka_unit_test(a_bitmap_has_a_size),
		cmocka_unit_test(as_many_as_the_kernel_takes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
