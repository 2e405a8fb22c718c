/* SPDX-License-Identifier: BSD-2-Clause */
/* Words of which a device has only some bytes: they are none. */
#include <viommu/window.h>

#include "device.h"
#include "world.h"

enum {
	RW = VIOMMU_READ | VIOMMU_WRITE,
	PAGE = 4096,
	DEV = 0x100000,
	CUT = 0x104, /* in the page, where the first of two ends */
};

static struct toy toy, next;

/* IOVA 0x20000: a page, of which the first bytes are a device's. */
static void setup(struct world *w)
{
	const struct viommu_region r = toy_region(&toy, DEV, CUT, 0);

	memset(&toy, 0, sizeof(toy));
	memset(&next, 0, sizeof(next));
	world_make(w, NULL, PAGE);
	assert_int_equal(viommu_memory_add(viommu_memory_of(w->vi), &r), 0);
	assert_int_equal(map_rw(w, 0x20000, 0x20fff, DEV), 0);
}

static void add_next(const struct world *w, const struct viommu_region *r)
{
	assert_int_equal(viommu_memory_add(viommu_memory_of(w->vi), r), 0);
}

static unsigned calls(const struct toy *t)
{
	return t->reads + t->writes + t->loads + t->stores;
}

/* None of the ways to it leads anywhere, also in a burst. */
static void assert_no_word(struct world *w, uint64_t offset, unsigned size)
{
	const uint64_t iova = 0x20000 + offset;
	struct viommu_window win;
	uint64_t val = 0;

	assert_int_equal(viommu_window_open(&win, w->ep, 0x20000, PAGE, RW), 0);
	for (int burst = 0; burst < 2; burst++) {
		if (burst)
			assert_int_equal(viommu_dma_enter(w->ep), 0);
		assert_int_equal(viommu_dma_load(w->ep, iova, size, &val),
				 -EINVAL);
		assert_int_equal(viommu_dma_store(w->ep, iova, size, 1),
				 -EINVAL);
		assert_int_equal(viommu_window_load(&win, offset, size, &val),
				 -EINVAL);
		assert_int_equal(viommu_window_store(&win, offset, size, 1),
				 -EINVAL);
		if (burst)
			viommu_dma_exit(w->ep);
	}
	viommu_window_close(&win);
	assert_int_equal(calls(&toy) + calls(&next), 0);
	assert_int_equal(w->nfaults, 0);
}

/* Half of it is one's, half the other's. */
static void a_word_in_two_devices_is_none(void **state)
{
	struct viommu_region r =
		toy_region(&next, DEV + CUT, PAGE - CUT, 0x800 + CUT);
	char buf[8];
	struct world w;
	uint64_t val;

	(void)state;
	setup(&w);
	memset(toy.mem, 't', sizeof(toy.mem));
	memset(next.mem, 'n', sizeof(next.mem));
	add_next(&w, &r);
	assert_no_word(&w, 0x100, 8);
	/* each half is a word, */
	assert_int_equal(viommu_dma_load(w.ep, 0x20100, 4, &val), 0);
	assert_int_equal(val, 0x74747474);
	assert_int_equal(viommu_dma_load(w.ep, 0x20104, 4, &val), 0);
	assert_int_equal(val, 0x6e6e6e6e);
	assert_int_equal(toy.loads, 1);
	assert_int_equal(next.loads, 1);
	/* and both are bytes */
	assert_int_equal(viommu_dma_read(w.ep, 0x20100, buf, 8), 0);
	assert_memory_equal(buf, "ttttnnnn", 8);
	assert_int_equal(viommu_dma_write(w.ep, 0x20100, "01234567", 8), 0);
	assert_memory_equal(toy.mem + 0x100, "0123", 4);
	assert_memory_equal(next.mem + 0x904, "4567", 4);
	world_free(&w);
}

/* ... also of two pieces of the same. */
static void a_word_in_two_regions_is_none(void **state)
{
	struct viommu_region r = toy_region(&toy, DEV + CUT, PAGE - CUT, CUT);
	struct world w;

	(void)state;
	setup(&w);
	add_next(&w, &r);
	assert_no_word(&w, 0x100, 8);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_word_in_two_devices_is_none),
		cmocka_unit_test(a_word_in_two_regions_is_none),
	};

	return cmocka_run_group_tests_name("device_word", tests, NULL, NULL);
}
