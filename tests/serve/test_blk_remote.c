/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * virtio-blk behind somebody else's IOMMU, whom the test plays: requests wait
 * for answers, not the device, and nobody waits with a map in hand.  And a disk
 * that is slow on purpose: who takes memory away waits for the I/O in it, and
 * for no other.
 */

#include "driver.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <viommu/serve/blk.h>
#include <viommu/serve/vhost_iotlb.h>

#include "serve/virtio.h"

#define QUEUE	 16
#define IMAGE	 (1u << 20)
#define SECTOR	 512u
#define USER	 UINT64_C(0x7f0000000000)
#define HEADS	 0x20000u /* a page for each request's header */
#define STATUSES 0x40000u /* and for its status */
#define DATA	 0x100000u
#define PENDING	 0xee /* a status that was not written */
#define WRITABLE VRING_DESC_F_WRITE
#define FEATURES (DRV_FEATURES | UINT64_C(1) << VIRTIO_BLK_F_FLUSH)
#define SLOT_MAX (QUEUE / 4)

struct fix {
	struct guest *g;
	struct viommu_loop *loop;
	struct viommu_vhost_iotlb *tlb;
	struct viommu_blk *blk;
	struct driver d;
	struct viommu_task woken, answers;
	char dir[64], path[96];
	uint64_t asked[4096]; /* GPAs of pages, not answered yet */
	unsigned nasked;
	unsigned misses;
	unsigned acks;
	int status;	   /* of the last one */
	uint64_t patience; /* for answers */
	bool by_itself;	   /* the front-end answers */
	uint64_t deaf[2];  /* but about none of these GPAs, 0: none */
};

static uint8_t image_byte(uint64_t off)
{
	return (uint8_t)(off / SECTOR * 7 + off % 251);
}

/* -------------------------------------------------------------- front-end */

static void on_miss(void *arg, const struct vhost_iotlb_msg *msg)
{
	struct fix *x = arg;

	x->misses++;
	assert_true(x->nasked < 4096);
	x->asked[x->nasked++] = msg->iova - GUEST_IOVA;
	viommu_loop_post(x->loop, &x->answers);
}

static void on_ack(void *arg, uint64_t token, int status)
{
	struct fix *x = arg;

	(void)token;
	x->acks++;
	x->status = status;
}

static void on_wake(void *arg)
{
	struct fix *x = arg;

	viommu_loop_post(x->loop, &x->woken);
}

/* As a transport does it. */
static void woken(void *arg)
{
	struct fix *x = arg;
	viommu_iova_t start, last;

	while (!viommu_vhost_iotlb_timed_out(x->tlb, &start, &last))
		vs_virtio_timed_out(viommu_blk_virtio(x->blk), start, last);
	vs_virtio_again(viommu_blk_virtio(x->blk));
}

static void send(struct fix *x, uint8_t type, uint64_t gpa, uint64_t len)
{
	const struct vhost_iotlb_msg m = { .iova = gpa + GUEST_IOVA,
					   .size = len,
					   .uaddr = gpa + USER,
					   .perm = VHOST_ACCESS_RW,
					   .type = type };

	assert_int_equal(viommu_vhost_iotlb_message(x->tlb, &m, 0), 0);
}

static void answer_all(struct fix *x)
{
	for (unsigned i = 0; i < x->nasked; i++)
		if (x->asked[i] != x->deaf[0] && x->asked[i] != x->deaf[1])
			send(x, VHOST_IOTLB_UPDATE, x->asked[i], GUEST_PAGE);
	x->nasked = 0;
}

static void answers(void *arg)
{
	struct fix *x = arg;

	if (x->by_itself)
		answer_all(x);
}

/* ---------------------------------------------------------------- fixture */

static void image_make(struct fix *x)
{
	const char *tmp = getenv("TMPDIR");
	static uint8_t image[IMAGE];
	int fd;

	snprintf(x->dir, sizeof(x->dir), "%.40s/viommu-blk-XXXXXX",
		 tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(x->dir));
	snprintf(x->path, sizeof(x->path), "%s/image", x->dir);
	for (size_t i = 0; i < sizeof(image); i++)
		image[i] = image_byte(i);
	fd = open(x->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, image, sizeof(image)), sizeof(image));
	close(fd);
}

static void tlb_make(struct fix *x, uint64_t max_entries)
{
	static const struct viommu_vhost_iotlb_ops ops = {
		.miss = on_miss,
		.ack = on_ack,
		.wake = on_wake,
	};
	const struct viommu_vhost_iotlb_config cfg = {
		.size = sizeof(cfg),
		.vi = x->g->vi,
		.ops = &ops,
		.arg = x,
		.max_entries = max_entries,
		.miss_timeout_ns = x->patience,
	};
	const struct viommu_vhost_region r = { .gpa = 0,
					       .user = USER,
					       .len = GUEST_RAM };
	struct viommu_fence f;

	assert_int_equal(viommu_vhost_iotlb_create(&cfg, &x->tlb), 0);
	assert_int_equal(viommu_vhost_iotlb_region_add(x->tlb, &r), 0);
	viommu_fence_init(&f);
	assert_int_equal(
		viommu_endpoint_attach(x->g->ep,
				       viommu_vhost_iotlb_space(x->tlb), &f),
		0);
	guest_commit(&f);
}

static struct fix *fix_make(uint64_t patience, uint64_t max_entries,
			    const struct viommu_blk_config *slow)
{
	struct fix *x = calloc(1, sizeof(*x));
	struct viommu_blk_config cfg = *slow;

	assert_non_null(x);
	x->g = guest_make(NULL);
	x->by_itself = true;
	x->patience = patience;
	viommu_task_init(&x->woken, woken, x);
	viommu_task_init(&x->answers, answers, x);
	assert_int_equal(viommu_loop_create(&x->loop), 0);
	image_make(x);
	tlb_make(x, max_entries);
	cfg.size = sizeof(cfg);
	cfg.name = "disk";
	cfg.loop = x->loop;
	cfg.vi = x->g->vi;
	cfg.memory = viommu_memory_of(x->g->vi);
	cfg.endpoint = x->g->ep;
	cfg.path = x->path;
	assert_int_equal(viommu_blk_create(&cfg, &x->blk), 0);
	drv_init(&x->d, x->loop, viommu_blk_pci(x->blk));
	drv_start(&x->d, FEATURES, 1, x->g->ram, GUEST_IOVA, QUEUE);
	return x;
}

#define PLENTY	  UINT64_C(60000000000)
#define IMPATIENT UINT64_C(500000000)

static int setup(void **state)
{
	*state = fix_make(PLENTY, 0, &(struct viommu_blk_config){ 0 });
	return 0;
}

static int setup_impatient(void **state)
{
	*state = fix_make(IMPATIENT, 0, &(struct viommu_blk_config){ 0 });
	return 0;
}

static int setup_tiny(void **state)
{
	*state = fix_make(PLENTY, 8, &(struct viommu_blk_config){ 0 });
	return 0;
}

/* Sectors 8 to 15 are slow. */
static int setup_slow(void **state)
{
	*state = fix_make(PLENTY, 0,
			  &(struct viommu_blk_config){ .delay_us = 500000,
						       .delay_first = 8,
						       .delay_last = 15 });
	return 0;
}

static int setup_all_slow(void **state)
{
	*state = fix_make(PLENTY, 0,
			  &(struct viommu_blk_config){ .delay_us = 20000 });
	return 0;
}

static int teardown(void **state)
{
	struct fix *x = *state;
	struct viommu_fence f;

	drv_fini(&x->d);
	viommu_blk_destroy(x->blk);
	viommu_fence_init(&f);
	viommu_vhost_iotlb_destroy(x->tlb, &f);
	guest_commit(&f);
	viommu_loop_destroy(x->loop);
	unlink(x->path);
	rmdir(x->dir);
	guest_free(x->g);
	free(x);
	return 0;
}

/* ----------------------------------------------------------------- driver */

static uint8_t *status_of(struct fix *x, unsigned slot)
{
	return x->g->ram + STATUSES + slot * GUEST_PAGE;
}

/* Read or write @pages pages at @gpa; descriptors 3 * slot on. */
static void request(struct fix *x, unsigned slot, uint32_t type,
		    uint64_t sector, uint64_t gpa, unsigned pages)
{
	struct virtio_blk_outhdr head = { .type = htole32(type),
					  .sector = htole64(sector) };
	struct ring *r = &x->d.rings[0];
	unsigned at = 3 * slot;
	bool in = type == VIRTIO_BLK_T_IN;

	memcpy(x->g->ram + HEADS + slot * GUEST_PAGE, &head, sizeof(head));
	*status_of(x, slot) = PENDING;
	ring_buffer(r, at, HEADS + slot * GUEST_PAGE, sizeof(head),
		    VRING_DESC_F_NEXT, (uint16_t)(at + 1));
	ring_buffer(r, at + 1, gpa, pages * GUEST_PAGE,
		    VRING_DESC_F_NEXT | (in ? WRITABLE : 0),
		    (uint16_t)(at + 2));
	ring_buffer(r, at + 2, STATUSES + slot * GUEST_PAGE, 1, WRITABLE, 0);
	ring_offer(r, (uint16_t)at);
	drv_kick(&x->d, 0);
}

static void read_pages(struct fix *x, unsigned slot, uint64_t sector,
		       uint64_t gpa, unsigned pages)
{
	memset(x->g->ram + gpa, 0, pages * GUEST_PAGE);
	request(x, slot, VIRTIO_BLK_T_IN, sector, gpa, pages);
}

static void expect_data(struct fix *x, uint64_t sector, uint64_t gpa,
			unsigned pages)
{
	for (unsigned i = 0; i < pages * GUEST_PAGE; i++)
		assert_int_equal(x->g->ram[gpa + i],
				 image_byte(sector * SECTOR + i));
}

static unsigned next_slot(struct fix *x)
{
	uint32_t id;

	drv_wait(&x->d, 0, &id);
	return id / 3;
}

/* One that fails or not. */
static uint8_t served(struct fix *x, unsigned slot)
{
	assert_int_equal(next_slot(x), slot);
	return *status_of(x, slot);
}

/* The rings and what surrounds a request are known from here on. */
static void warm_up(struct fix *x)
{
	for (unsigned slot = 0; slot < SLOT_MAX; slot++) {
		read_pages(x, slot, 0, DATA, 1);
		assert_int_equal(served(x, slot), VIRTIO_BLK_S_OK);
	}
}

/* ----------------------------------------------------------------- misses */

static void it_begins_with_nothing_mapped(void **state)
{
	struct fix *x = *state;

	read_pages(x, 0, 100, DATA, 20);
	assert_int_equal(served(x, 0), VIRTIO_BLK_S_OK);
	expect_data(x, 100, DATA, 20);
	/* ring, header, data, status */
	assert_int_equal(x->misses, 3 + 1 + 20 + 1);
	assert_int_equal(x->g->faults, 0);
	assert_null(viommu_virtio_dev_failure(viommu_blk_virtio(x->blk)));
}

static void writes_wait_too(void **state)
{
	struct fix *x = *state;
	uint8_t *out = x->g->ram + DATA;

	memset(out, 0x5a, 4 * GUEST_PAGE);
	request(x, 0, VIRTIO_BLK_T_OUT, 8, DATA, 4);
	assert_int_equal(served(x, 0), VIRTIO_BLK_S_OK);
	read_pages(x, 1, 8, DATA + 0x10000, 4);
	assert_int_equal(served(x, 1), VIRTIO_BLK_S_OK);
	assert_memory_equal(out, x->g->ram + DATA + 0x10000, 4 * GUEST_PAGE);
}

static void its_pages_are_asked_for_at_once_and_held_by_nobody(void **state)
{
	struct fix *x = *state;
	uint64_t gpa = DATA + 0x10000;
	unsigned acks;

	warm_up(x);
	x->by_itself = false;
	x->misses = 0;
	read_pages(x, 0, 40, gpa, 12);
	LOOP_UNTIL(&x->d, x->misses == 12);
	/* all but one */
	for (unsigned i = 0; i < 12; i++)
		if (i != 7)
			send(x, VHOST_IOTLB_UPDATE, gpa + i * GUEST_PAGE,
			     GUEST_PAGE);
	loop_for_ms(&x->d, 5);
	assert_int_equal(x->misses, 12);
	/* the invalidation of another is acknowledged at once */
	acks = x->acks;
	send(x, VHOST_IOTLB_INVALIDATE, gpa, GUEST_PAGE);
	assert_int_equal(x->acks, acks + 1);
	send(x, VHOST_IOTLB_UPDATE, gpa + 7 * GUEST_PAGE, GUEST_PAGE);
	LOOP_UNTIL(&x->d, x->misses == 13);
	send(x, VHOST_IOTLB_UPDATE, gpa, GUEST_PAGE);
	assert_int_equal(served(x, 0), VIRTIO_BLK_S_OK);
	expect_data(x, 40, gpa, 12);
}

static void others_go_on_while_one_waits(void **state)
{
	struct fix *x = *state;
	uint64_t gpa = DATA + 0x10000;

	warm_up(x);
	x->deaf[0] = gpa;
	read_pages(x, 0, 40, gpa, 2);
	read_pages(x, 1, 60, gpa + 0x10000, 3);
	assert_int_equal(served(x, 1), VIRTIO_BLK_S_OK);
	expect_data(x, 60, gpa + 0x10000, 3);
	assert_int_equal(*status_of(x, 0), PENDING);
	x->deaf[0] = 0;
	send(x, VHOST_IOTLB_UPDATE, gpa, GUEST_PAGE);
	assert_int_equal(served(x, 0), VIRTIO_BLK_S_OK);
	expect_data(x, 40, gpa, 2);
}

/* One I/O is better than two: what is known already waits for the rest. */
static void a_request_is_done_as_a_whole(void **state)
{
	struct fix *x = *state;
	struct ring *r = &x->d.rings[0];
	uint64_t known = DATA + 0x10000, unknown = DATA + 0x20000;
	struct virtio_blk_outhdr head = { .sector = htole64(40) };

	warm_up(x);
	send(x, VHOST_IOTLB_UPDATE, known, GUEST_PAGE);
	x->by_itself = false;
	x->misses = 0;
	memcpy(x->g->ram + HEADS, &head, sizeof(head));
	ring_buffer(r, 0, HEADS, sizeof(head), VRING_DESC_F_NEXT, 1);
	ring_buffer(r, 1, known, GUEST_PAGE, VRING_DESC_F_NEXT | WRITABLE, 2);
	ring_buffer(r, 2, unknown, GUEST_PAGE, VRING_DESC_F_NEXT | WRITABLE, 3);
	ring_buffer(r, 3, STATUSES, 1, WRITABLE, 0);
	ring_offer(r, 0);
	drv_kick(&x->d, 0);
	LOOP_UNTIL(&x->d, x->misses);
	loop_for_ms(&x->d, 5);
	assert_int_equal(x->g->ram[known + 1], 0);
	send(x, VHOST_IOTLB_UPDATE, unknown, GUEST_PAGE);
	assert_int_equal(served(x, 0), VIRTIO_BLK_S_OK);
	expect_data(x, 40, known, 1);
	expect_data(x, 48, unknown, 1);
}

static void a_time_out_is_for_whom_it_concerns(void **state)
{
	struct fix *x = *state;
	uint64_t a = DATA + 0x10000, b = DATA + 0x20000;

	warm_up(x);
	x->deaf[0] = a;
	x->deaf[1] = b;
	x->misses = 0;
	read_pages(x, 0, 40, a, 1);
	read_pages(x, 1, 60, b, 1);
	LOOP_UNTIL(&x->d, x->misses == 2);
	vs_virtio_timed_out(viommu_blk_virtio(x->blk), a + GUEST_IOVA,
			    a + GUEST_IOVA + GUEST_PAGE - 1);
	send(x, VHOST_IOTLB_UPDATE, b, GUEST_PAGE);
	assert_int_equal(served(x, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(served(x, 1), VIRTIO_BLK_S_OK);
	expect_data(x, 60, b, 1);
}

static uint64_t errors(struct fix *x)
{
	struct viommu_blk_stats st;

	viommu_blk_read_stats(x->blk, &st);
	return st.errors;
}

static void what_nobody_answers_is_an_error(void **state)
{
	struct fix *x = *state;
	uint64_t gpa = DATA + 0x10000;

	warm_up(x);
	x->deaf[0] = gpa + GUEST_PAGE;
	read_pages(x, 0, 40, gpa, 3);
	assert_int_equal(served(x, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(errors(x), 1);
	read_pages(x, 1, 40, gpa + 2 * GUEST_PAGE, 3);
	assert_int_equal(served(x, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(errors(x), 1);
}

static void a_header_nobody_answers_is_an_error(void **state)
{
	struct fix *x = *state;

	warm_up(x);
	send(x, VHOST_IOTLB_INVALIDATE, HEADS, GUEST_PAGE);
	x->deaf[0] = HEADS;
	read_pages(x, 0, 40, DATA, 1);
	assert_int_equal(served(x, 0), VIRTIO_BLK_S_IOERR);
}

/* It comes back, but what the driver finds there is not ours to write. */
static void without_an_answer_there_is_no_status(void **state)
{
	struct fix *x = *state;

	warm_up(x);
	send(x, VHOST_IOTLB_INVALIDATE, STATUSES, GUEST_PAGE);
	x->deaf[0] = STATUSES;
	read_pages(x, 0, 40, DATA, 1);
	assert_int_equal(served(x, 0), PENDING);
	read_pages(x, 1, 40, DATA, 1);
	assert_int_equal(served(x, 1), VIRTIO_BLK_S_OK);
}

static void a_ring_nobody_answers_fails_the_device(void **state)
{
	struct fix *x = *state;
	struct viommu_virtio_dev *dev = viommu_blk_virtio(x->blk);

	warm_up(x);
	x->deaf[0] = x->d.rings[0].avail;
	send(x, VHOST_IOTLB_INVALIDATE, x->deaf[0], GUEST_PAGE);
	read_pages(x, 0, 40, DATA, 1);
	LOOP_UNTIL(&x->d, viommu_virtio_dev_failure(dev));
	assert_non_null(strstr(viommu_virtio_dev_failure(dev), "answered"));
}

/* More pages than the cache has room for, for one request alone. */
static void a_tiny_cache_is_enough(void **state)
{
	struct fix *x = *state;

	read_pages(x, 0, 100, DATA, 32);
	read_pages(x, 1, 300, DATA + 0x40000, 32);
	(void)next_slot(x);
	(void)next_slot(x);
	assert_int_equal(*status_of(x, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(*status_of(x, 1), VIRTIO_BLK_S_OK);
	expect_data(x, 100, DATA, 32);
	expect_data(x, 300, DATA + 0x40000, 32);
}

static void a_reset_forgets_who_waits(void **state)
{
	struct fix *x = *state;
	uint64_t gpa = DATA + 0x10000;

	warm_up(x);
	x->deaf[0] = gpa;
	x->misses = 0;
	read_pages(x, 0, 40, gpa, 1);
	LOOP_UNTIL(&x->d, x->misses);
	drv_reset(&x->d);
	/* and the answer comes all the same */
	send(x, VHOST_IOTLB_UPDATE, gpa, GUEST_PAGE);
	loop_for_ms(&x->d, 5);
	assert_int_equal(*status_of(x, 0), PENDING);
}

/* ---------------------------------------------------------- a slow disk */

static void an_invalidation_waits_for_the_io_that_it_meets(void **state)
{
	struct fix *x = *state;
	uint64_t slow = DATA + 0x10000, fast = DATA + 0x20000;
	unsigned acks, others = 0;
	uint32_t id, len;

	warm_up(x);
	send(x, VHOST_IOTLB_UPDATE, slow, 2 * GUEST_PAGE);
	send(x, VHOST_IOTLB_UPDATE, fast, 2 * GUEST_PAGE);
	acks = x->acks;
	read_pages(x, 0, 15, slow, 1);
	read_pages(x, 1, 16, fast, 1);
	/* in flight together, and the other one is not kept */
	assert_int_equal(served(x, 1), VIRTIO_BLK_S_OK);
	/* memory without I/O goes at once: beside it, and behind the other */
	send(x, VHOST_IOTLB_INVALIDATE, slow + GUEST_PAGE, GUEST_PAGE);
	send(x, VHOST_IOTLB_INVALIDATE, fast, GUEST_PAGE);
	assert_int_equal(x->acks, acks + 2);
	send(x, VHOST_IOTLB_INVALIDATE, slow, GUEST_PAGE);
	assert_int_equal(x->acks, acks + 2);
	while (x->acks == acks + 2) {
		read_pages(x, 2, 100, fast + GUEST_PAGE, 1);
		LOOP_UNTIL(&x->d, ring_take(&x->d.rings[0], &id, &len));
		if (id == 0)
			break;
		others++;
		assert_int_equal(*status_of(x, 2), VIRTIO_BLK_S_OK);
	}
	/* it was at it all the time, and others were served meanwhile */
	assert_true(others > 0);
	LOOP_UNTIL(&x->d, *status_of(x, 0) != PENDING);
	assert_int_equal(x->acks, acks + 3);
	assert_int_equal(x->status, 0);
	assert_int_equal(*status_of(x, 0), VIRTIO_BLK_S_OK);
	expect_data(x, 15, slow, 1);
}

static void a_slow_disk_takes_its_time(void **state)
{
	struct fix *x = *state;
	uint64_t since;

	for (unsigned i = 0; i < 2; i++) {
		since = drv_now();
		request(x, i, i ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, 300, DATA,
			1);
		assert_int_equal(served(x, i), VIRTIO_BLK_S_OK);
		assert_true(drv_now() - since >= 20000000);
	}
	expect_data(x, 300, DATA, 1);
}

static void a_reset_waits_for_a_slow_disk(void **state)
{
	struct fix *x = *state;
	uint64_t slow = DATA + 0x10000;
	unsigned acks;

	warm_up(x);
	send(x, VHOST_IOTLB_UPDATE, slow, GUEST_PAGE);
	read_pages(x, 0, 8, slow, 1);
	/* as soon as it was read it is only slow */
	LOOP_UNTIL(&x->d, x->g->ram[slow + 1] == image_byte(8 * SECTOR + 1));
	acks = x->acks;
	send(x, VHOST_IOTLB_INVALIDATE, slow, GUEST_PAGE);
	assert_int_equal(x->acks, acks);
	drv_reset(&x->d);
	assert_int_equal(x->acks, acks + 1);
	assert_int_equal(*status_of(x, 0), PENDING);
}

#define TEST(name, setup) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_begins_with_nothing_mapped, setup),
		TEST(writes_wait_too, setup),
		TEST(its_pages_are_asked_for_at_once_and_held_by_nobody, setup),
		TEST(others_go_on_while_one_waits, setup),
		TEST(a_request_is_done_as_a_whole, setup),
		TEST(a_time_out_is_for_whom_it_concerns, setup),
		TEST(what_nobody_answers_is_an_error, setup_impatient),
		TEST(a_header_nobody_answers_is_an_error, setup_impatient),
		TEST(without_an_answer_there_is_no_status, setup_impatient),
		TEST(a_ring_nobody_answers_fails_the_device, setup_impatient),
		TEST(a_tiny_cache_is_enough, setup_tiny),
		TEST(a_reset_forgets_who_waits, setup),
		TEST(an_invalidation_waits_for_the_io_that_it_meets,
		     setup_slow),
		TEST(a_slow_disk_takes_its_time, setup_all_slow),
		TEST(a_reset_waits_for_a_slow_disk, setup_slow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
