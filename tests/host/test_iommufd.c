/* SPDX-License-Identifier: BSD-2-Clause */
/* What differs from VFIO's type 1; the rest is test_vfio.c's and
 * test_shadow.c's. */
#include "host.h"

#include <errno.h>

static const struct host_options plain = { .kind = KERNEL_IOMMUFD,
					   .policy = VIOMMU_SPACE_SPLIT };

static void an_ioas_shows_what_the_endpoint_sees(void **state)
{
	struct viommu_reserved r;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(viommu_endpoint_next_reserved(h.ep, 0, &r), 0);
	assert_int_equal(r.start, 0xfee00000);
	assert_int_equal(r.last, 0xfeefffff);
	assert_int_equal(host_map(&h, 0, 0, 8, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 20, 8, 8, VIOMMU_READ), 0);
	assert_int_equal(host_unmap(&h, 0, 2, 2), 2 * PAGE);
	host_is_equal(&h, 0);
	/* over a hole: one call */
	h.k.calls[KERNEL_UNMAP] = 0;
	assert_int_equal(host_unmap(&h, 0, 4, 24), 12 * PAGE);
	assert_int_equal(h.k.calls[KERNEL_UNMAP], 1);
	assert_int_equal(host_attach(&h, 1), 0);
	assert_int_equal(h.k.unmap_alls, 1);
	host_is_equal(&h, 1);
	host_end(&h);
}

static void a_wrong_configuration_is_refused(void **state)
{
	struct host h;
	struct viommu_iommufd_config c = { .size = sizeof(c) };

	(void)state;
	host_make(&h, &plain);
	c.fd = h.k.fd;
	c.ioas = KERNEL_IOAS;
	assert_int_equal(viommu_iommufd_add(h.ep, &c, &h.iommufd), -EINVAL);
	c.vi = h.vi;
	c.read_before_unmap = 2;
	assert_int_equal(viommu_iommufd_add(h.ep, &c, &h.iommufd), -EINVAL);
	c.read_before_unmap = 0;
	c.piece_size = 100;
	assert_int_equal(viommu_iommufd_add(h.ep, &c, &h.iommufd), -EINVAL);
	c.piece_size = 0;
	c.size = 3;
	assert_int_equal(viommu_iommufd_add(h.ep, &c, &h.iommufd), -EINVAL);
	c.size = sizeof(c);
	/* no such IOAS; no iommufd; one with nothing in it */
	c.ioas = KERNEL_IOAS + 1;
	assert_int_equal(viommu_iommufd_add(h.ep, &c, &h.iommufd), -ENODEV);
	c.ioas = KERNEL_IOAS;
	c.fd = -1;
	assert_int_equal(viommu_iommufd_add(h.ep, &c, &h.iommufd), -ENODEV);
	c.fd = h.k.fd;
	h.k.nranges = 0;
	assert_int_equal(viommu_iommufd_add(h.ep, &c, &h.iommufd), -ENODEV);
	h.k.nranges = 2;
	h.no_memory = true;
	assert_int_equal(viommu_iommufd_add(h.ep, &c, &h.iommufd), -ENOMEM);
	h.no_memory = false;
	assert_int_equal(viommu_iommufd_add(h.ep, &c, &h.iommufd), 0);
	assert_int_equal(host_stats(&h).max_entries, UINT64_MAX);
	host_end(&h);
}

static void what_cannot_be_shown_is_no_beginning(void **state)
{
	struct host_options o = plain;
	struct host h;

	(void)state;
	host_make(&h, &plain);
	assert_int_equal(host_ram_add(&h, 0), 0);
	assert_int_equal(host_attach(&h, 0), 0);
	assert_int_equal(host_map(&h, 0, 0xfee00, 1, 0, RW), 0);
	assert_int_equal(host_add(&h, &plain), -EBUSY);
	assert_int_equal(host_unmap(&h, 0, 0xfee00, 1), PAGE);
	assert_int_equal(host_map(&h, 0, 0, 1, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 2, 3, 0, RW), 0);
	o.max_entries = 1;
	assert_int_equal(host_add(&h, &o), -ENOSPC);
	h.k.memlock = 2 * PAGE;
	assert_int_equal(host_add(&h, &plain), -ENOMEM);
	h.k.memlock = UINT64_MAX;
	kernel_fail(&h.k, KERNEL_MAP, 1, 1, EPERM);
	assert_int_equal(host_add(&h, &plain), -EIO);
	assert_int_equal(h.err, EPERM);
	h.k.alignment = 4 * PAGE;
	assert_int_equal(host_add(&h, &plain), -ERANGE);
	h.k.alignment = 1;
	assert_int_equal(h.k.n, 0);
	assert_int_equal(host_add(&h, &plain), 0);
	host_is_equal(&h, 0);
	host_end(&h);
}

/* It says -ENOENT. */
static void what_is_gone_already_is_no_failure(void **state)
{
	struct viommu_fence f;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 2, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 2, 2, 2, RW), 0);
	/* of two it may mean anything: they are tried one by one */
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 1, ENOENT);
	assert_int_equal(host_unmap(&h, 0, 0, 4), 4 * PAGE);
	assert_int_equal(h.k.n, 0);
	assert_int_equal(host_map(&h, 0, 0, 2, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 2, 2, 2, RW), 0);
	/* of one it means that it is gone */
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 3, ENOENT);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(h.spaces[0], 0, 4 * PAGE - 1, &f),
			 4 * PAGE);
	viommu_fence_commit(&f, NULL, NULL);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(host_stats(&h).stuck, 0);
	assert_int_equal(host_stats(&h).entries, 0);
	/* the model did not, so tidy up */
	assert_int_equal(h.k.n, 2);
	assert_int_equal(host_attach(&h, -1), 0);
	kernel_fini(&h.k);
	kernel_init(&h.k, KERNEL_IOMMUFD);
	host_end(&h);
}

static void what_cannot_be_removed_holds_the_fence(void **state)
{
	struct viommu_fence f;
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	assert_int_equal(host_map(&h, 0, 0, 2, 0, RW), 0);
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 1000, EBUSY);
	viommu_fence_init(&f);
	viommu_endpoint_detach(h.ep, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(host_retry(&h), -EBUSY);
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 0, 0);
	assert_int_equal(host_retry(&h), 0);
	assert_true(viommu_fence_done(&f));
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

static uint64_t fetch(struct host *h)
{
	uint64_t bits = 0;

	assert_true(viommu_memory_dirty_fetch(viommu_memory_of(h->vi), 0,
					      64 * PAGE, &bits) >= 0);
	return bits;
}

static void the_page_tables_bits_are_exact(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	log_on(&h);
	assert_true(h.k.logging);
	assert_int_equal(host_map(&h, 0, 0, 4, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 4, 4, 4, RW), 0);
	assert_int_equal(host_map(&h, 0, 12, 4, 8, RW), 0);
	assert_non_null(kernel_write(&h.k, 1 * PAGE));
	assert_non_null(kernel_write(&h.k, 7 * PAGE));
	assert_non_null(kernel_write(&h.k, 14 * PAGE));
	assert_int_equal(fetch(&h), 1 << 1 | 1 << 7 | 1 << 10);
	/* neighbours are fetched together, not over a hole */
	assert_int_equal(h.k.calls[KERNEL_FETCH], 2);
	assert_int_equal(fetch(&h), 0);
	host_end(&h);
}

/* A write between reading bits and unmapping would be missed. */
static void what_goes_counts_as_written(void **state)
{
	struct host h;

	(void)state;
	host_begin(&h, &plain);
	log_on(&h);
	assert_int_equal(host_map(&h, 0, 0, 4, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 4, 4, 4, VIOMMU_READ), 0);
	assert_int_equal(host_unmap(&h, 0, 0, 8), 8 * PAGE);
	assert_int_equal(h.k.calls[KERNEL_FETCH], 0);
	assert_int_equal(fetch(&h), 0xf);
	host_end(&h);
}

static void bits_can_be_read_before_an_unmap(void **state)
{
	struct host_options o = plain;
	struct host h;

	(void)state;
	o.read_before_unmap = true;
	host_begin(&h, &o);
	log_on(&h);
	assert_int_equal(host_map(&h, 0, 0, 4, 0, RW), 0);
	assert_int_equal(host_map(&h, 0, 8, 4, 8, RW), 0);
	assert_non_null(kernel_write(&h.k, 2 * PAGE));
	assert_int_equal(host_attach(&h, -1), 0);
	assert_int_equal(h.k.calls[KERNEL_FETCH], 2);
	assert_int_equal(fetch(&h), 1 << 2);
	/* they are cleared then: if it stays, all of it counts */
	assert_int_equal(host_attach(&h, 0), 0);
	assert_non_null(kernel_write(&h.k, 9 * PAGE));
	kernel_fail(&h.k, KERNEL_UNMAP, 0, 4, EBUSY);
	assert_int_equal(host_unmap(&h, 1, 0, 1), 0);
	{
		struct viommu_fence f;

		viommu_fence_init(&f);
		assert_int_equal(viommu_space_unmap(h.spaces[0], 8 * PAGE,
						    12 * PAGE - 1, &f),
				 4 * PAGE);
		viommu_fence_commit(&f, NULL, NULL);
		assert_false(viommu_fence_done(&f));
		assert_int_equal(fetch(&h), 0xf00);
		assert_int_equal(host_retry(&h), 0);
		assert_true(viommu_fence_done(&f));
	}
	host_end(&h);
}

static void without_a_page_table_all_that_could_be_written_counts(void **state)
{
	struct host_options o = plain;
	struct host h;

	(void)state;
	o.no_hwpt = true;
	host_begin(&h, &o);
	assert_int_equal(host_map(&h, 0, 0, 4, 0, RW), 0);
	log_on(&h);
	assert_false(h.k.logging);
	assert_int_equal(fetch(&h), 0xf);
	assert_int_equal(host_unmap(&h, 0, 0, 4), 4 * PAGE);
	assert_int_equal(fetch(&h), 0xf);
	assert_int_equal(fetch(&h), 0);
	assert_int_equal(h.k.calls[KERNEL_FETCH] + h.k.calls[KERNEL_LOG], 0);
	host_end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_ioas_shows_what_the_endpoint_sees),
		cmocka_unit_test(a_wrong_configuration_is_refused),
		cmocka_unit_test(what_cannot_be_shown_is_no_beginning),
		cmocka_unit_test(what_is_gone_already_is_no_failure),
		cmocka_unit_test(what_cannot_be_removed_holds_the_fence),
		cmocka_unit_test(the_page_tables_bits_are_exact),
		cmocka_unit_test(what_goes_counts_as_written),
		cmocka_unit_test(bits_can_be_read_before_an_unmap),
		cmocka_unit_test(
			without_a_page_table_all_that_could_be_written_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
