/* SPDX-License-Identifier: BSD-2-Clause */

/* virtio-blk with several queues: each has its share of the requests. */

#include "driver.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <viommu/serve/blk.h>

#define ALL	 (VIOMMU_READ | VIOMMU_WRITE)
#define QUEUE	 256
#define REQUESTS (QUEUE / 2) /* as many as the disk has, too */
#define IMAGE	 (1u << 20)
#define SECTOR	 512u
#define HEADS	 0x20000u /* 16 bytes each */
#define DATA	 0x40000u /* a page each: a sector and the status */
#define SLOW	 8u	  /* this sector takes long */
#define PENDING	 0xee

struct fix {
	struct guest *g;
	struct viommu_loop *loop;
	struct viommu_blk *blk;
	struct driver d;
	char path[96];
};

static int setup(void **state)
{
	struct fix *x = calloc(1, sizeof(*x));
	struct viommu_blk_config cfg = { .size = sizeof(cfg),
					 .queues = DRV_QUEUES,
					 .delay_us = 2000000,
					 .delay_first = SLOW,
					 .delay_last = SLOW };
	const char *tmp = getenv("TMPDIR");
	int fd;

	assert_non_null(x);
	x->g = guest_make(NULL);
	guest_map(x->g, DRV_RINGS, 0x10000, ALL);
	guest_map(x->g, HEADS, 0x10000, ALL);
	guest_map(x->g, DATA, 2 * REQUESTS * GUEST_PAGE, ALL);
	assert_int_equal(viommu_loop_create(&x->loop), 0);
	snprintf(x->path, sizeof(x->path), "%.40s/viommu-blk-XXXXXX",
		 tmp ? tmp : "/tmp");
	fd = mkstemp(x->path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, IMAGE), 0);
	close(fd);
	cfg.loop = x->loop;
	cfg.vi = x->g->vi;
	cfg.memory = viommu_memory_of(x->g->vi);
	cfg.endpoint = x->g->ep;
	cfg.path = x->path;
	assert_int_equal(viommu_blk_create(&cfg, &x->blk), 0);
	drv_init(&x->d, x->loop, viommu_blk_pci(x->blk));
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fix *x = *state;

	drv_fini(&x->d);
	viommu_blk_destroy(x->blk);
	viommu_loop_destroy(x->loop);
	unlink(x->path);
	guest_free(x->g);
	free(x);
	return 0;
}

/* Read a sector, in two descriptors; slots are one queue's after the other's.
 */
static void offer(struct fix *x, unsigned queue, unsigned n, uint64_t sector)
{
	const struct virtio_blk_outhdr head = {
		.type = htole32(VIRTIO_BLK_T_IN),
		.sector = htole64(sector),
	};
	struct ring *r = &x->d.rings[queue];
	unsigned slot = queue * REQUESTS + n;
	uint64_t at = DATA + slot * (uint64_t)GUEST_PAGE;

	memcpy(x->g->ram + HEADS + 16 * slot, &head, sizeof(head));
	x->g->ram[at + SECTOR] = PENDING;
	ring_buffer(r, 2 * n, HEADS + 16 * slot, 16, VRING_DESC_F_NEXT,
		    (uint16_t)(2 * n + 1));
	ring_buffer(r, 2 * n + 1, at, SECTOR + 1, VRING_DESC_F_WRITE, 0);
	ring_offer(r, (uint16_t)(2 * n));
}

static void a_queue_of_slow_requests_leaves_others_their_share(void **state)
{
	struct fix *x = *state;
	uint32_t id;

	drv_start(&x->d, DRV_FEATURES | UINT64_C(1) << VIRTIO_BLK_F_MQ,
		  DRV_QUEUES, x->g->ram, GUEST_IOVA, QUEUE);
	for (unsigned i = 0; i < REQUESTS; i++)
		offer(x, 0, i, SLOW);
	drv_kick(&x->d, 0);
	for (unsigned i = 0; i < REQUESTS; i++)
		offer(x, 1, i, 0);
	drv_kick(&x->d, 1);
	for (unsigned i = 0; i < REQUESTS; i++)
		drv_wait(&x->d, 1, &id);
	assert_int_equal(ring_used_idx(&x->d.rings[0]), 0);
	for (unsigned i = 0; i < REQUESTS; i++)
		drv_wait(&x->d, 0, &id);
	for (unsigned i = 0; i < 2 * REQUESTS; i++)
		assert_int_equal(x->g->ram[DATA + i * GUEST_PAGE + SECTOR],
				 VIRTIO_BLK_S_OK);
}

static void queues_are_announced(void **state)
{
	struct fix *x = *state;
	size_t at = offsetof(struct virtio_blk_config, num_queues);

	assert_true(drv_offered(&x->d) & UINT64_C(1) << VIRTIO_BLK_F_MQ);
	assert_int_equal(drv_get(&x->d, &x->d.device, (unsigned)at, 2),
			 DRV_QUEUES);
}

static void more_queues_than_there_may_be(void **state)
{
	struct fix *x = *state;
	struct viommu_blk_config cfg = { .size = sizeof(cfg),
					 .loop = x->loop,
					 .vi = x->g->vi,
					 .memory = viommu_memory_of(x->g->vi),
					 .endpoint = x->g->ep,
					 .path = x->path,
					 .readonly = true,
					 .queues = 17 };
	struct viommu_blk *blk;

	assert_int_equal(viommu_blk_create(&cfg, &blk), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(a_queue_of_slow_requests_leaves_others_their_share),
		TEST(queues_are_announced),
		TEST(more_queues_than_there_may_be),
	};

	return cmocka_run_group_tests_name("blk_queues", tests, NULL, NULL);
}
