/* SPDX-License-Identifier: BSD-2-Clause */
/* Saving, and loading what was saved. */
#include "state.h"

/* The portable form, byte for byte: what was saved once is read for ever. */
static const uint8_t golden[] = {
	'v', 'i', 'o', 'm', 'm', 'u', ' ', 'v', 'i', 'r', 't', 'i', 'o', ' ',
	'1', '\n', 0xb0, 0, 0, 0, 0, 0, 0, 0, /* length */
	0, 0, 0, 0, 0, 0, 0, 0,		      /* sum; checked apart */
	1, 0, 0, 0,			      /* bypass */
	2, 0, 0, 0,			      /* domains */
	2, 0, 0, 0,			      /* endpoints */
	1, 0, 0, 0,			      /* faults */
	/* endpoints */
	8, 0, 0, 0, 0x34, 0x12, 0, 0, 11, 0, 0, 0, 5, 0, 0, 0,
	/* domain 5: bypass */
	5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	/* domain 0x1234, one mapping */
	0x34, 0x12, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0,
	0, 0, 0, 0xff, 0x2f, 0, 0, 0, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 7, 0,
	0, 0, 0, 0, 0, 0,
	/* fault */
	2, 0, 0, 0, 2, 1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0x21, 0x43, 0, 0, 0, 0,
	0, 0,
	/* too long by these, lest an array end where the state does */
	0, 0, 0, 0, 0, 0, 0, 0
};
enum {
	GOLDEN = sizeof(golden) - 8
};

static void golden_make(struct world *w)
{
	assert_int_equal(attach(w, 0x1234, EP), OK);
	assert_int_equal(attach_flags(w, 5, EP + 3, BYPASS), OK);
	assert_int_equal(
		map_flags(w, 0x1234, 0x1000, 0x2fff, 0x3000, R | W | MMIO), OK);
	assert_int_equal(poke(w, 0, 0x4321), -EFAULT);
	bypass_write(w, 1);
}

static void form_is_fixed(void **state)
{
	struct world *w = *state;
	uint8_t *buf, sealed[GOLDEN];
	size_t len;

	golden_make(w);
	buf = save(w, &len);
	assert_int_equal(len, GOLDEN);
	memcpy(sealed, golden, GOLDEN);
	sealed[16] = GOLDEN;
	seal(sealed, GOLDEN);
	assert_memory_equal(buf, sealed, GOLDEN);
	free(buf);
}

static void loads_what_was_saved(void **state)
{
	struct world *w = *state, to;
	uint8_t *buf, *again;
	size_t len, len2;

	world_fill(w);
	buf = save(w, &len);
	world_make(&to, NULL);
	assert_int_equal(viommu_virtio_load(to.v, buf, len), 0);
	/* the same, byte for byte */
	again = save(&to, &len2);
	assert_int_equal(len, len2);
	assert_memory_equal(buf, again, len);
	assert_filled(&to);
	/* and saving changed nothing */
	assert_filled(w);
	/* domains and counts work on */
	assert_int_equal(unmap(&to, 7, 0x2000, 0x2fff), RANGE);
	assert_int_equal(unmap(&to, 7, 0, 0x3fff), OK);
	assert_int_equal(detach(&to, UINT32_MAX, EP + 1), OK);
	assert_int_equal(detach(&to, 7, EP), OK);
	assert_int_equal(map(&to, 7, 0, 0xfff, 0), OK);
	assert_int_equal(detach(&to, 7, EP + 2), OK);
	assert_int_equal(map(&to, 7, 0, 0xfff, 0), NOENT);
	world_free(&to);
	free(buf);
	free(again);
}

/* Into a device that is not new: it is reset first. */
static void replaces_what_is_there(void **state)
{
	struct world *w = *state, to;
	uint8_t *buf;
	size_t len;

	world_fill(w);
	buf = save(w, &len);
	world_make(&to, NULL);
	assert_int_equal(attach(&to, 7, EP + 3), OK);
	assert_int_equal(map(&to, 7, 0x2000, 0x2fff, 0), OK);
	assert_int_equal(attach(&to, 8, EP), OK);
	assert_int_equal(peek(&to, 1, 0), -EFAULT);
	assert_int_equal(viommu_virtio_load(to.v, buf, len), 0);
	assert_filled(&to);
	assert_int_equal(map(&to, 8, 0, 0xfff, 0), NOENT);
	world_free(&to);
	free(buf);
}

static void blank_device(void **state)
{
	struct world *w = *state;
	uint8_t *buf;
	size_t len;

	buf = save(w, &len);
	assert_int_equal(len, HEAD);
	bypass_write(w, 1);
	assert_int_equal(viommu_virtio_load(w->v, buf, len), 0);
	assert_int_equal(bypass_read(w), 0);
	assert_int_equal(peek(w, 0, 0), -EFAULT);
	free(buf);
}

/* Too little room: nothing is written. */
static void too_little_room(void **state)
{
	struct world *w = *state;
	uint8_t buf[1024];
	size_t len;

	world_fill(w);
	len = viommu_virtio_save(w->v, NULL, 0);
	assert_true(len < sizeof(buf));
	for (size_t n = 0; n < len; n++) {
		memset(buf, 0xa5, sizeof(buf));
		assert_int_equal(viommu_virtio_save(w->v, buf, n), len);
		assert_int_equal(buf[0], 0xa5);
		assert_int_equal(buf[n], 0xa5);
	}
	assert_int_equal(viommu_virtio_save(w->v, buf, sizeof(buf)), len);
	assert_int_equal(buf[0], 'v');
	assert_int_equal(buf[len], 0xa5);
}

/* A request that waits is not in the state: its mapping is gone already. */
static void waiting_requests(void **state)
{
	struct world *w = *state;
	struct held h;
	struct ask a;
	uint8_t *buf;
	size_t len;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 0xfff, 0), OK);
	hold(w, &h, 0, 0, 16);
	assert_int_equal(ask_unmap(w, &a, 1, 0, 0xfff), WAITING);
	buf = save(w, &len);
	assert_int_equal(len, HEAD + 8 + 16);
	assert_int_equal(viommu_virtio_load(w->v, buf, len), 0);
	assert_int_equal(ask_status(&a), WAITING);
	let_go(&h);
	assert_int_equal(ask_status(&a), OK);
	assert_int_equal(gpa_of(w, 0, 0), -1);
	assert_int_equal(map(w, 1, 0, 0xfff, 0x1000), OK);
	free(buf);
}

/* Numbers that share their first bits, or their last, as a hostile guest would
 * pick them, come and go; the state lists them all, in order. */
enum {
	MANY = 160
};

static uint32_t number(uint32_t i)
{
	switch (i / 32) {
	case 0:
		return UINT32_C(1) << i;
	case 1:
		return ~(UINT32_C(1) << i % 32);
	case 2:
		return 0x80000000 | (i % 32 + 16);
	case 3:
		return (i % 32 + 3) * 0x01000100;
	default:
		return i * 0x9e3779b1;
	}
}

static void assert_listed(struct world *w, uint32_t attached)
{
	uint32_t ids, domains;
	uint8_t *buf;
	size_t len;

	buf = save(w, &len);
	memcpy(&domains, buf + 36, 4);
	memcpy(&ids, buf + 40, 4);
	assert_int_equal(le32toh(domains), attached);
	assert_int_equal(le32toh(ids), attached);
	/* which refuses what is not in order */
	assert_int_equal(viommu_virtio_load(w->v, buf, len), 0);
	free(buf);
}

static void many_numbers(void **state)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .pasid = VIOMMU_NO_PASID };
	struct viommu_endpoint *ep[MANY];
	struct world *w = *state;
	struct viommu_fence f;

	for (uint32_t i = 0; i < MANY; i++) {
		c.id = ~number(i);
		while (viommu_endpoint_find(w->vi, c.id, VIOMMU_NO_PASID))
			c.id++;
		assert_int_equal(viommu_endpoint_create(w->vi, &c, &ep[i]), 0);
		assert_int_equal(viommu_virtio_add(w->v, ep[i]), 0);
		assert_int_equal(attach(w, number(i), c.id), OK);
		assert_listed(w, i + 1);
	}
	for (uint32_t i = 0; i < MANY; i += 3)
		assert_int_equal(
			detach(w, number(i), viommu_endpoint_id(ep[i])), OK);
	assert_listed(w, MANY - (MANY + 2) / 3);
	viommu_fence_init(&f);
	for (uint32_t i = 0; i < MANY; i++) {
		viommu_virtio_remove(w->v, ep[i * 7 % MANY], &f);
		viommu_endpoint_destroy(ep[i * 7 % MANY], &f);
	}
	fence_run(&f);
	assert_listed(w, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(form_is_fixed),	      TEST(loads_what_was_saved),
		TEST(replaces_what_is_there), TEST(blank_device),
		TEST(too_little_room),	      TEST(waiting_requests),
		TEST(many_numbers),
	};

	return cmocka_run_group_tests_name("save", tests, NULL, NULL);
}
