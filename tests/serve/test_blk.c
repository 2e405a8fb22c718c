/* SPDX-License-Identifier: BSD-2-Clause */

/* virtio-blk on a real file, through scattered memory behind the IOMMU. */

#include "driver.h"
#include "seat.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <viommu/serve/blk.h>

#define ALL	 (VIOMMU_READ | VIOMMU_WRITE)
#define QUEUE	 256
#define IMAGE	 (8u << 20)
#define SECTOR	 512u
#define HEADS	 0x20000u  /* 64 bytes each: header, status at 32 */
#define TABLES	 0x100000u /* a page each */
#define DATA	 0x200000u /* page i of it is at IOVA page PAGES - 1 - i */
#define PAGES	 ((GUEST_RAM - DATA) / GUEST_PAGE)
#define DATA_LEN (PAGES * GUEST_PAGE)
#define PENDING	 0xee /* a status that was not written */
#define WRITABLE VRING_DESC_F_WRITE
#define FEATURES                                                           \
	(DRV_FEATURES | DRV_INDIRECT | UINT64_C(1) << VIRTIO_BLK_F_FLUSH | \
	 UINT64_C(1) << VIRTIO_BLK_F_DISCARD |                             \
	 UINT64_C(1) << VIRTIO_BLK_F_WRITE_ZEROES)

struct fix {
	struct guest *g;
	struct viommu_loop *loop;
	struct viommu_blk *blk;
	struct driver d;
	char dir[64], path[96];
	int fd; /* the image, for us to look at */
};

/* A part of the data area, by its IOVA's offset. */
struct part {
	uint64_t off;
	uint32_t len;
};

/* ---------------------------------------------------------------- fixture */

static uint8_t *data_at(struct fix *x, uint64_t off)
{
	return x->g->ram + DATA + (PAGES - 1 - off / GUEST_PAGE) * GUEST_PAGE +
	       off % GUEST_PAGE;
}

static void data_map(struct fix *x, uint64_t page, uint32_t prot)
{
	const struct viommu_mapping m = {
		.start = DATA + GUEST_IOVA + page * GUEST_PAGE,
		.last = DATA + GUEST_IOVA + (page + 1) * GUEST_PAGE - 1,
		.gpa = DATA + (PAGES - 1 - page) * GUEST_PAGE,
		.prot = prot,
	};

	assert_int_equal(viommu_space_map(x->g->space, &m), 0);
}

static uint8_t image_byte(uint64_t off)
{
	return (uint8_t)(off / SECTOR * 7 + off % 251);
}

static struct viommu_blk_config blk_config(struct fix *x)
{
	return (struct viommu_blk_config){
		.size = sizeof(struct viommu_blk_config),
		.name = "disk",
		.loop = x->loop,
		.vi = x->g->vi,
		.memory = viommu_memory_of(x->g->vi),
		.endpoint = x->g->ep,
		.path = x->path,
		.serial = "serial-0123456789abc",
	};
}

static void image_make(struct fix *x)
{
	const char *tmp = getenv("TMPDIR");
	uint8_t buf[4096];

	snprintf(x->dir, sizeof(x->dir), "%.40s/viommu-blk-XXXXXX",
		 tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(x->dir));
	snprintf(x->path, sizeof(x->path), "%s/image", x->dir);
	x->fd = open(x->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(x->fd >= 0);
	for (uint64_t off = 0; off < IMAGE; off += sizeof(buf)) {
		for (size_t i = 0; i < sizeof(buf); i++)
			buf[i] = image_byte(off + i);
		assert_int_equal(pwrite(x->fd, buf, sizeof(buf), (off_t)off),
				 sizeof(buf));
	}
}

static struct fix *fix_make(const struct viommu_config *cfg)
{
	struct fix *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	x->g = guest_make(cfg);
	guest_map(x->g, DRV_RINGS, 0x10000, ALL);
	guest_map(x->g, HEADS, 64 * QUEUE, ALL);
	guest_map(x->g, TABLES, QUEUE * GUEST_PAGE, ALL);
	for (uint64_t i = 0; i < PAGES; i++)
		data_map(x, i, ALL);
	assert_int_equal(viommu_loop_create(&x->loop), 0);
	image_make(x);
	return x;
}

static void fix_blk(struct fix *x, const struct viommu_blk_config *cfg)
{
	assert_int_equal(viommu_blk_create(cfg, &x->blk), 0);
	drv_init(&x->d, x->loop, viommu_blk_pci(x->blk));
}

static void fix_free(struct fix *x)
{
	if (x->blk)
		drv_fini(&x->d);
	viommu_blk_destroy(x->blk);
	viommu_loop_destroy(x->loop);
	close(x->fd);
	unlink(x->path);
	rmdir(x->dir);
	guest_free(x->g);
	free(x);
}

static void start(struct fix *x, uint64_t features)
{
	drv_start(&x->d, features, 1, x->g->ram, GUEST_IOVA, QUEUE);
}

static int setup(void **state)
{
	struct fix *x = fix_make(NULL);
	struct viommu_blk_config cfg = blk_config(x);

	fix_blk(x, &cfg);
	start(x, FEATURES);
	*state = x;
	return 0;
}

/* Requests are not over before the loop has turned, for a while. */
static int setup_slow(void **state)
{
	struct fix *x = fix_make(NULL);
	struct viommu_blk_config cfg = blk_config(x);

	cfg.delay_us = 50000;
	fix_blk(x, &cfg);
	start(x, FEATURES);
	*state = x;
	return 0;
}

static int setup_bare(void **state)
{
	*state = fix_make(NULL);
	return 0;
}

static int teardown(void **state)
{
	fix_free(*state);
	return 0;
}

/* ----------------------------------------------------------------- driver */

static uint8_t *status_of(struct fix *x, unsigned slot)
{
	return x->g->ram + HEADS + 64 * slot + 32;
}

static void head_set(struct fix *x, unsigned slot, uint32_t type,
		     uint64_t sector)
{
	struct virtio_blk_outhdr head = { .type = htole32(type),
					  .sector = htole64(sector) };

	memcpy(x->g->ram + HEADS + 64 * slot, &head, sizeof(head));
	*status_of(x, slot) = PENDING;
}

/* One request in an indirect table of its own; not kicked yet. */
static void offer(struct fix *x, unsigned slot, uint32_t type, uint64_t sector,
		  const struct part *parts, unsigned n)
{
	uint64_t table = TABLES + slot * (uint64_t)GUEST_PAGE;
	bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	struct ring *r = &x->d.rings[0];
	unsigned at = 0;

	head_set(x, slot, type, sector);
	ring_desc(r, table, at, HEADS + 64 * slot + GUEST_IOVA, 16,
		  VRING_DESC_F_NEXT, (uint16_t)(at + 1));
	for (unsigned i = 0; i < n; i++) {
		at++;
		ring_desc(r, table, at, DATA + GUEST_IOVA + parts[i].off,
			  parts[i].len, VRING_DESC_F_NEXT | (in ? WRITABLE : 0),
			  (uint16_t)(at + 1));
	}
	at++;
	ring_desc(r, table, at, HEADS + 64 * slot + 32 + GUEST_IOVA, 1,
		  WRITABLE, 0);
	ring_desc(r, r->desc, slot, table + GUEST_IOVA, 16 * (at + 1),
		  VRING_DESC_F_INDIRECT, 0);
	ring_offer(r, (uint16_t)slot);
}

/* One request from beginning to end; its status, and the used length. */
static uint8_t run(struct fix *x, uint32_t type, uint64_t sector,
		   const struct part *parts, unsigned n, uint32_t *used)
{
	uint32_t id, len;

	offer(x, 5, type, sector, parts, n);
	drv_kick(&x->d, 0);
	len = drv_wait(&x->d, 0, &id);
	assert_int_equal(id, 5);
	if (used)
		*used = len;
	return *status_of(x, 5);
}

static void data_fill(struct fix *x, const struct part *parts, unsigned n,
		      uint8_t seed)
{
	uint64_t at = 0;

	for (unsigned i = 0; i < n; i++)
		for (uint32_t j = 0; j < parts[i].len; j++, at++)
			*data_at(x, parts[i].off + j) =
				(uint8_t)(seed + at * 13 + at / SECTOR);
}

static uint8_t fill_byte(uint8_t seed, uint64_t at)
{
	return (uint8_t)(seed + at * 13 + at / SECTOR);
}

/* The parts hold what the image was made with at @off. */
static void data_is_image(struct fix *x, const struct part *parts, unsigned n,
			  uint64_t off)
{
	for (unsigned i = 0; i < n; i++)
		for (uint32_t j = 0; j < parts[i].len; j++, off++)
			if (*data_at(x, parts[i].off + j) != image_byte(off))
				fail_msg("byte %u of part %u", j, i);
}

/* [off, off + len - 1] of the file is what data_fill() made. */
static void file_is_fill(struct fix *x, uint64_t off, uint64_t len,
			 uint8_t seed)
{
	uint8_t *buf = malloc(len);

	assert_non_null(buf);
	assert_int_equal(pread(x->fd, buf, len, (off_t)off), len);
	for (uint64_t i = 0; i < len; i++)
		if (buf[i] != fill_byte(seed, i))
			fail_msg("byte %llu", (unsigned long long)i);
	free(buf);
}

static void file_is_image(struct fix *x, uint64_t off, uint64_t len)
{
	uint8_t *buf = malloc(len);

	assert_non_null(buf);
	assert_int_equal(pread(x->fd, buf, len, (off_t)off), len);
	for (uint64_t i = 0; i < len; i++)
		if (buf[i] != image_byte(off + i))
			fail_msg("byte %llu", (unsigned long long)(off + i));
	free(buf);
}

static void file_is_zero(struct fix *x, uint64_t off, uint64_t len)
{
	uint8_t *buf = malloc(len);

	assert_non_null(buf);
	assert_int_equal(pread(x->fd, buf, len, (off_t)off), len);
	for (uint64_t i = 0; i < len; i++)
		assert_int_equal(buf[i], 0);
	free(buf);
}

static uint64_t file_len(struct fix *x)
{
	struct stat st;

	assert_int_equal(fstat(x->fd, &st), 0);
	return (uint64_t)st.st_size;
}

static struct viommu_blk_stats stats(struct fix *x)
{
	struct viommu_blk_stats st;

	viommu_blk_read_stats(x->blk, &st);
	return st;
}

/* ----------------------------------------------------------------- create */

static void create_refuses(void **state)
{
	struct fix *x = *state;
	struct viommu_blk_config cfg = blk_config(x);
	struct viommu_blk *blk;
	char path[128];

	cfg.path = "/nonexistent/image";
	assert_int_equal(viommu_blk_create(&cfg, &blk), -ENOENT);
	cfg.path = x->dir;
	assert_int_equal(viommu_blk_create(&cfg, &blk), -EISDIR);
	cfg.readonly = true;
	assert_int_equal(viommu_blk_create(&cfg, &blk), -EINVAL);
	snprintf(path, sizeof(path), "%s/fifo", x->dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	cfg.path = path;
	assert_int_equal(viommu_blk_create(&cfg, &blk), -EINVAL);
	unlink(path);
	cfg = blk_config(x);
	cfg.serial = "one more than 20 char";
	assert_int_equal(viommu_blk_create(&cfg, &blk), -EINVAL);
	cfg = blk_config(x);
	cfg.path = NULL;
	assert_int_equal(viommu_blk_create(&cfg, &blk), -EINVAL);
	cfg = blk_config(x);
	assert_int_equal(ftruncate(x->fd, IMAGE - 1), 0);
	assert_int_equal(viommu_blk_create(&cfg, &blk), -EINVAL);
	viommu_blk_destroy(NULL);
}

static void image_is_locked(void **state)
{
	struct fix *x = *state;
	struct viommu_blk_config cfg = blk_config(x);
	struct viommu_blk *a, *b;

	assert_int_equal(viommu_blk_create(&cfg, &a), 0);
	assert_int_equal(viommu_blk_create(&cfg, &b), -EBUSY);
	cfg.readonly = true;
	assert_int_equal(viommu_blk_create(&cfg, &b), -EBUSY);
	viommu_blk_destroy(a);
	/* readers bear each other */
	assert_int_equal(viommu_blk_create(&cfg, &a), 0);
	assert_int_equal(viommu_blk_create(&cfg, &b), 0);
	viommu_blk_destroy(a);
	cfg.readonly = false;
	assert_int_equal(viommu_blk_create(&cfg, &a), -EBUSY);
	viommu_blk_destroy(b);
}

static void configuration(void **state)
{
	struct fix *x = *state;
	struct driver *d = &x->d;
	uint64_t f = drv_offered(d);

	assert_int_equal(drv_region_get(d, CONFIG, PCI_DEVICE_ID, 2), 0x1042);
	assert_int_equal(drv_region_get(d, CONFIG, PCI_CLASS_REVISION + 1, 1),
			 0);
	assert_int_equal(drv_region_get(d, CONFIG, PCI_CLASS_DEVICE, 2),
			 0x0100);
	assert_true((f & FEATURES) == FEATURES);
	assert_false(f & UINT64_C(1) << VIRTIO_BLK_F_RO);
	assert_int_equal(drv_get(d, &d->device, 0, 8), IMAGE / SECTOR);
	assert_int_equal(drv_get(d, &d->device,
				 offsetof(struct virtio_blk_config, seg_max),
				 4),
			 126);
	assert_int_equal(drv_get(d, &d->device,
				 offsetof(struct virtio_blk_config, blk_size),
				 4),
			 SECTOR);
	assert_int_equal(
		drv_get(d, &d->device,
			offsetof(struct virtio_blk_config, max_discard_seg), 4),
		64);
	/* without ACCESS_PLATFORM its addresses would mean something else */
	drv_reset(d);
	assert_false(drv_negotiate(d, UINT64_C(1) << VIRTIO_F_VERSION_1));
}

/* --------------------------------------------------------------- IN, OUT */

static void reads(void **state)
{
	struct fix *x = *state;
	/* odd pieces, over page borders, no two pages adjacent */
	const struct part parts[] = {
		{ 4090, 13 },
		{ 100000, 1 },
		{ 200001, 8193 },
		{ 9, 497 },
	};
	const struct part one[] = { { 0, SECTOR } };
	uint32_t used;

	assert_int_equal(run(x, VIRTIO_BLK_T_IN, 3, parts, 4, &used), 0);
	assert_int_equal(used, 8704 + 1);
	data_is_image(x, parts, 4, 3 * SECTOR);
	assert_int_equal(
		run(x, VIRTIO_BLK_T_IN, IMAGE / SECTOR - 1, one, 1, &used), 0);
	assert_int_equal(used, SECTOR + 1);
	data_is_image(x, one, 1, IMAGE - SECTOR);
	assert_int_equal(drv_irqs(&x->d, 1), 2);
	assert_int_equal(stats(x).bytes_read, 8704 + SECTOR);
	assert_int_equal(stats(x).requests, 2);
	assert_int_equal(stats(x).errors, 0);
	assert_int_equal(x->g->faults, 0);
}

static void writes(void **state)
{
	struct fix *x = *state;
	const struct part parts[] = {
		{ 4090, 13 },
		{ 100000, 1 },
		{ 200001, 8193 },
		{ 9, 497 },
	};
	uint32_t used;

	data_fill(x, parts, 4, 0x42);
	assert_int_equal(run(x, VIRTIO_BLK_T_OUT, 7, parts, 4, &used), 0);
	assert_int_equal(used, 1);
	file_is_fill(x, 7 * SECTOR, 8704, 0x42);
	file_is_image(x, 0, 7 * SECTOR);
	file_is_image(x, 7 * SECTOR + 8704, 65536);
	assert_int_equal(stats(x).bytes_written, 8704);
}

/* The layout is the driver's business: here the header comes in two parts, the
 * second with data behind it, and the status shares one with data. */
static void any_layout(void **state)
{
	struct fix *x = *state;
	struct ring *r = &x->d.rings[0];
	uint32_t id;

	head_set(x, 0, VIRTIO_BLK_T_OUT, 9);
	memcpy(data_at(x, 0), x->g->ram + HEADS + 10, 6);
	for (unsigned i = 0; i < SECTOR; i++)
		*data_at(x, 6 + i) = fill_byte(1, i);
	ring_buffer(r, 0, HEADS, 10, VRING_DESC_F_NEXT, 1);
	ring_desc(r, r->desc, 1, DATA + GUEST_IOVA, 6 + SECTOR,
		  VRING_DESC_F_NEXT, 2);
	ring_buffer(r, 2, HEADS + 32, 1, WRITABLE, 0);
	ring_offer(r, 0);
	drv_kick(&x->d, 0);
	assert_int_equal(drv_wait(&x->d, 0, &id), 1);
	assert_int_equal(*status_of(x, 0), 0);
	file_is_fill(x, 9 * SECTOR, SECTOR, 1);

	head_set(x, 0, VIRTIO_BLK_T_IN, 9);
	*data_at(x, 10000 + SECTOR) = PENDING;
	ring_buffer(r, 0, HEADS, 16, VRING_DESC_F_NEXT, 1);
	ring_desc(r, r->desc, 1, DATA + GUEST_IOVA + 10000, SECTOR + 1,
		  WRITABLE, 0);
	ring_offer(r, 0);
	drv_kick(&x->d, 0);
	assert_int_equal(drv_wait(&x->d, 0, &id), SECTOR + 1);
	assert_int_equal(*data_at(x, 10000 + SECTOR), 0);
	for (unsigned i = 0; i < SECTOR; i++)
		assert_int_equal(*data_at(x, 10000 + i), fill_byte(1, i));
}

/* More descriptors than maps in a round, more pages than pointers in one. */
static void large_requests(void **state)
{
	struct fix *x = *state;
	const struct part whole[] = { { 512, 5u << 20 } };
	struct part many[250];
	uint32_t used;

	data_fill(x, whole, 1, 3);
	assert_int_equal(run(x, VIRTIO_BLK_T_OUT, 1, whole, 1, NULL), 0);
	file_is_fill(x, SECTOR, 5u << 20, 3);
	memset(x->g->ram + DATA, 0, DATA_LEN);
	assert_int_equal(run(x, VIRTIO_BLK_T_IN, 1, whole, 1, &used), 0);
	assert_int_equal(used, (5u << 20) + 1);
	for (uint64_t i = 0; i < 5u << 20; i++)
		if (*data_at(x, 512 + i) != fill_byte(3, i))
			fail_msg("byte %llu", (unsigned long long)i);
	for (unsigned i = 0; i < 250; i++)
		many[i] = (struct part){ i * 6000, SECTOR };
	assert_int_equal(run(x, VIRTIO_BLK_T_IN, 12000, many, 250, &used), 0);
	assert_int_equal(used, 250 * SECTOR + 1);
	data_is_image(x, many, 250, 12000 * SECTOR);
	/* nothing is left mapped */
	for (uint64_t i = 0; i < PAGES; i++)
		guest_unmap(x->g, DATA + i * GUEST_PAGE, GUEST_PAGE);
}

static void bad_sectors(void **state)
{
	struct fix *x = *state;
	static const uint64_t sectors[] = {
		IMAGE / SECTOR - 1,  IMAGE / SECTOR, IMAGE / SECTOR + 1,
		UINT64_MAX / SECTOR, UINT64_MAX,     UINT64_MAX - 1,
	};
	const struct part two[] = { { 0, 2 * SECTOR } };
	const struct part odd[] = { { 0, SECTOR + 1 } };
	const struct part less[] = { { 0, SECTOR - 1 } };
	uint32_t used;

	memset(data_at(x, 0), 0x77, 2 * SECTOR);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(
			run(x, VIRTIO_BLK_T_IN, sectors[i], two, 1, &used),
			VIRTIO_BLK_S_IOERR);
		assert_int_equal(used, 0); /* the status is behind a gap */
		assert_int_equal(
			run(x, VIRTIO_BLK_T_OUT, sectors[i], two, 1, &used),
			VIRTIO_BLK_S_IOERR);
		assert_int_equal(used, 1);
	}
	assert_int_equal(run(x, VIRTIO_BLK_T_IN, 0, odd, 1, NULL),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(x, VIRTIO_BLK_T_OUT, 0, less, 1, NULL),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(file_len(x), IMAGE);
	file_is_image(x, 0, IMAGE);
	for (unsigned i = 0; i < 2 * SECTOR; i++)
		assert_int_equal(*data_at(x, i), 0x77);
	/* nothing at all, at the very end, is fine */
	assert_int_equal(
		run(x, VIRTIO_BLK_T_IN, IMAGE / SECTOR, NULL, 0, &used), 0);
	assert_int_equal(used, 1);
	assert_int_equal(
		run(x, VIRTIO_BLK_T_IN, IMAGE / SECTOR + 1, NULL, 0, NULL),
		VIRTIO_BLK_S_IOERR);
	assert_int_equal(stats(x).errors, 15);
}

static void unmapped_buffers(void **state)
{
	struct fix *x = *state;
	const struct part parts[] = { { 0, GUEST_PAGE },
				      { 10 * GUEST_PAGE, GUEST_PAGE } };

	memset(data_at(x, 0), 0x77, GUEST_PAGE);
	guest_unmap(x->g, DATA + 10 * GUEST_PAGE, GUEST_PAGE);
	assert_int_equal(run(x, VIRTIO_BLK_T_IN, 0, parts, 2, NULL),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(x->g->faults, 1);
	assert_int_equal(run(x, VIRTIO_BLK_T_OUT, 0, parts, 2, NULL),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(x->g->faults, 2);
	/* not even the part that could be */
	for (unsigned i = 0; i < GUEST_PAGE; i++)
		assert_int_equal(*data_at(x, i), 0x77);
	file_is_image(x, 0, 65536);
	/* the permission that is asked for is the one that is needed */
	data_map(x, 10, VIOMMU_READ);
	assert_int_equal(run(x, VIRTIO_BLK_T_IN, 0, parts, 2, NULL),
			 VIRTIO_BLK_S_IOERR);
	data_fill(x, parts, 2, 5);
	assert_int_equal(run(x, VIRTIO_BLK_T_OUT, 0, parts, 2, NULL), 0);
	file_is_fill(x, 0, 2 * GUEST_PAGE, 5);
	guest_unmap(x->g, DATA + 10 * GUEST_PAGE, GUEST_PAGE);
	data_map(x, 10, VIOMMU_WRITE);
	assert_int_equal(run(x, VIRTIO_BLK_T_OUT, 0, parts, 2, NULL),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(x, VIRTIO_BLK_T_IN, 16, parts, 2, NULL), 0);
	data_is_image(x, parts, 2, 16 * SECTOR);
	assert_int_equal(status_get(&x->d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

static void malformed_requests(void **state)
{
	struct fix *x = *state;
	struct ring *r = &x->d.rings[0];
	uint32_t id;

	/* no status */
	head_set(x, 0, VIRTIO_BLK_T_IN, 0);
	ring_buffer(r, 0, HEADS, 16, 0, 0);
	ring_offer(r, 0);
	drv_kick(&x->d, 0);
	assert_int_equal(drv_wait(&x->d, 0, &id), 0);
	/* a short header */
	ring_buffer(r, 0, HEADS, 15, VRING_DESC_F_NEXT, 1);
	ring_buffer(r, 1, HEADS + 32, 1, WRITABLE, 0);
	ring_offer(r, 0);
	drv_kick(&x->d, 0);
	assert_int_equal(drv_wait(&x->d, 0, &id), 1);
	assert_int_equal(*status_of(x, 0), VIRTIO_BLK_S_IOERR);
	/* a header or a status that is not there */
	*status_of(x, 0) = PENDING;
	ring_buffer(r, 0, 0x700000 + GUEST_RAM, 16, VRING_DESC_F_NEXT, 1);
	ring_offer(r, 0);
	drv_kick(&x->d, 0);
	assert_int_equal(drv_wait(&x->d, 0, &id), 1);
	assert_int_equal(*status_of(x, 0), VIRTIO_BLK_S_IOERR);
	ring_buffer(r, 0, HEADS, 16, VRING_DESC_F_NEXT, 1);
	ring_buffer(r, 1, 0x700000 + GUEST_RAM, 1, WRITABLE, 0);
	ring_offer(r, 0);
	drv_kick(&x->d, 0);
	assert_int_equal(drv_wait(&x->d, 0, &id), 0);
	/* unknown types */
	assert_int_equal(run(x, 2, 0, NULL, 0, NULL), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(run(x, 14, 0, NULL, 0, NULL), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(run(x, UINT32_MAX, 0, NULL, 0, NULL),
			 VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(status_get(&x->d) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

static void readonly_image(void **state)
{
	struct fix *x = *state;
	struct viommu_blk_config cfg = blk_config(x);
	const struct part parts[] = { { 0, SECTOR } };
	const struct virtio_blk_discard_write_zeroes z = { .num_sectors = 1 };
	const struct part range[] = { { 0, sizeof(z) } };

	cfg.readonly = true;
	fix_blk(x, &cfg);
	assert_true(drv_offered(&x->d) & UINT64_C(1) << VIRTIO_BLK_F_RO);
	start(x, DRV_FEATURES | DRV_INDIRECT | 1u << VIRTIO_BLK_F_RO);
	assert_int_equal(run(x, VIRTIO_BLK_T_IN, 4, parts, 1, NULL), 0);
	data_is_image(x, parts, 1, 4 * SECTOR);
	assert_int_equal(run(x, VIRTIO_BLK_T_OUT, 3, parts, 1, NULL),
			 VIRTIO_BLK_S_IOERR);
	memcpy(data_at(x, 0), &z, sizeof(z));
	assert_int_equal(run(x, VIRTIO_BLK_T_WRITE_ZEROES, 0, range, 1, NULL),
			 VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(run(x, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, NULL), 0);
	file_is_image(x, 0, 65536);
}

static void image_shrinks(void **state)
{
	struct fix *x = *state;
	const struct part parts[] = { { 0, 4 * SECTOR } };
	uint32_t used;

	assert_int_equal(ftruncate(x->fd, 2 * SECTOR), 0);
	memset(data_at(x, 0), 0x77, 4 * SECTOR);
	assert_int_equal(run(x, VIRTIO_BLK_T_IN, 0, parts, 1, &used),
			 VIRTIO_BLK_S_IOERR);
	/* what there was is there, and told */
	assert_int_equal(used, 2 * SECTOR);
	assert_int_equal(*data_at(x, 2 * SECTOR - 1), image_byte(1023));
	assert_int_equal(*data_at(x, 2 * SECTOR), 0x77);
	assert_int_equal(run(x, VIRTIO_BLK_T_IN, 8, parts, 1, &used),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(used, 0);
	/* a write is held to what was announced, and no more */
	data_fill(x, parts, 1, 8);
	assert_int_equal(
		run(x, VIRTIO_BLK_T_OUT, IMAGE / SECTOR - 3, parts, 1, NULL),
		VIRTIO_BLK_S_IOERR);
	assert_int_equal(file_len(x), 2 * SECTOR);
	assert_int_equal(
		run(x, VIRTIO_BLK_T_OUT, IMAGE / SECTOR - 4, parts, 1, NULL),
		0);
	assert_int_equal(file_len(x), IMAGE);
	/* one that grows shows no more than was announced */
	assert_int_equal(ftruncate(x->fd, 2 * IMAGE), 0);
	assert_int_equal(
		run(x, VIRTIO_BLK_T_OUT, IMAGE / SECTOR, parts, 1, NULL),
		VIRTIO_BLK_S_IOERR);
}

/* ---------------------------------------------------------- other requests */

static void flushes(void **state)
{
	struct fix *x = *state;
	uint32_t used;

	assert_int_equal(run(x, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, &used), 0);
	assert_int_equal(used, 1);
}

/* Without FLUSH each write is made stable: the same data, another way there. */
static void write_through(void **state)
{
	struct fix *x = *state;
	const struct part parts[] = { { 17, 9 * SECTOR } };

	drv_reset(&x->d);
	start(x, DRV_FEATURES | DRV_INDIRECT);
	data_fill(x, parts, 1, 6);
	assert_int_equal(run(x, VIRTIO_BLK_T_OUT, 2, parts, 1, NULL), 0);
	file_is_fill(x, 2 * SECTOR, 9 * SECTOR, 6);
	/* what was not agreed on is not there */
	assert_int_equal(run(x, VIRTIO_BLK_T_DISCARD, 0, parts, 1, NULL),
			 VIRTIO_BLK_S_UNSUPP);
}

static void gets_id(void **state)
{
	struct fix *x = *state;
	const struct part full[] = { { 4090, 20 } };
	const struct part less[] = { { 0, 7 } };
	const struct part more[] = { { 0, 64 } };
	char id[20];
	uint32_t used;

	assert_int_equal(run(x, VIRTIO_BLK_T_GET_ID, 0, full, 1, &used), 0);
	assert_int_equal(used, 21);
	for (unsigned i = 0; i < 20; i++)
		id[i] = (char)*data_at(x, 4090 + i);
	assert_memory_equal(id, "serial-0123456789abc", 20);
	memset(data_at(x, 0), 0x77, 64);
	assert_int_equal(run(x, VIRTIO_BLK_T_GET_ID, 0, less, 1, &used), 0);
	assert_int_equal(used, 8);
	assert_memory_equal(data_at(x, 0), "serial-\x77", 8);
	assert_int_equal(run(x, VIRTIO_BLK_T_GET_ID, 0, more, 1, &used), 0);
	assert_int_equal(used, 20); /* then comes a gap */
	assert_memory_equal(data_at(x, 0), "serial-0123456789abc\x77", 21);
	assert_int_equal(run(x, VIRTIO_BLK_T_GET_ID, 0, NULL, 0, &used), 0);
	assert_int_equal(used, 1);
}

static uint8_t ranges(struct fix *x, uint32_t type, unsigned n,
		      const struct virtio_blk_discard_write_zeroes *r)
{
	const struct part parts[] = { { 4000, n * 16 } };

	for (unsigned i = 0; i < n * 16; i++)
		*data_at(x, 4000 + i) = ((const uint8_t *)r)[i];
	return run(x, type, 0, parts, 1, NULL);
}

static void writes_zeroes(void **state)
{
	struct fix *x = *state;
	const struct virtio_blk_discard_write_zeroes r[] = {
		{ .sector = 1, .num_sectors = 3 },
		{ .sector = 100, .num_sectors = 4096, .flags = 1 },
		{ .sector = 8000, .num_sectors = 0 },
		{ .sector = IMAGE / SECTOR - 5000, .num_sectors = 5000 },
	};

	assert_int_equal(ranges(x, VIRTIO_BLK_T_WRITE_ZEROES, 4, r), 0);
	file_is_image(x, 0, SECTOR);
	file_is_zero(x, SECTOR, 3 * SECTOR);
	file_is_image(x, 4 * SECTOR, 96 * SECTOR);
	file_is_zero(x, 100 * SECTOR, 4096 * SECTOR);
	file_is_image(x, 4196 * SECTOR, 4000 * SECTOR);
	file_is_zero(x, IMAGE - 5000 * SECTOR, 5000 * SECTOR);
	assert_int_equal(file_len(x), IMAGE);
	assert_int_equal(stats(x).errors, 0);
}

/* Whether this file system can punch holes. */
static bool can_punch(struct fix *x)
{
	char path[128];
	bool can;
	int fd;

	snprintf(path, sizeof(path), "%s/punch", x->dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	can = !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
			 4096);
	close(fd);
	unlink(path);
	return can;
}

static void discards(void **state)
{
	struct fix *x = *state;
	const struct virtio_blk_discard_write_zeroes r[] = {
		{ .sector = 4096, .num_sectors = 2048 },
	};
	struct stat before, after;

	assert_int_equal(fsync(x->fd), 0);
	assert_int_equal(fstat(x->fd, &before), 0);
	assert_int_equal(ranges(x, VIRTIO_BLK_T_DISCARD, 1, r), 0);
	assert_int_equal(fsync(x->fd), 0);
	assert_int_equal(fstat(x->fd, &after), 0);
	/* where the file system can: then the space is given back */
	if (can_punch(x)) {
		file_is_zero(x, 4096 * SECTOR, 2048 * SECTOR);
		assert_true(after.st_blocks <= before.st_blocks - 2000);
	}
	file_is_image(x, 0, 4096 * SECTOR);
	file_is_image(x, 6144 * SECTOR, IMAGE - 6144 * SECTOR);
	assert_int_equal(file_len(x), IMAGE);
}

static void bad_ranges(void **state)
{
	struct fix *x = *state;
	struct virtio_blk_discard_write_zeroes r[65] = {
		{ .num_sectors = 1 },
		{ .sector = IMAGE / SECTOR, .num_sectors = 1 },
	};
	const struct part odd[] = { { 0, 17 } };

	/* none is carried out when one is wrong */
	assert_int_equal(ranges(x, VIRTIO_BLK_T_WRITE_ZEROES, 2, r),
			 VIRTIO_BLK_S_IOERR);
	r[1] = (struct virtio_blk_discard_write_zeroes){ .sector = UINT64_MAX,
							 .num_sectors = 2 };
	assert_int_equal(ranges(x, VIRTIO_BLK_T_DISCARD, 2, r),
			 VIRTIO_BLK_S_IOERR);
	r[1] = (struct virtio_blk_discard_write_zeroes){ .num_sectors =
								 UINT32_MAX };
	assert_int_equal(ranges(x, VIRTIO_BLK_T_WRITE_ZEROES, 2, r),
			 VIRTIO_BLK_S_IOERR);
	r[1] = (struct virtio_blk_discard_write_zeroes){ .num_sectors = 1,
							 .flags = 2 };
	assert_int_equal(ranges(x, VIRTIO_BLK_T_WRITE_ZEROES, 2, r),
			 VIRTIO_BLK_S_UNSUPP);
	r[1].flags = 1;
	assert_int_equal(ranges(x, VIRTIO_BLK_T_DISCARD, 2, r),
			 VIRTIO_BLK_S_UNSUPP);
	/* nor when a good one comes last */
	r[2].num_sectors = 1;
	assert_int_equal(ranges(x, VIRTIO_BLK_T_DISCARD, 3, r),
			 VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ranges(x, VIRTIO_BLK_T_WRITE_ZEROES, 0, r),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(ranges(x, VIRTIO_BLK_T_WRITE_ZEROES, 65, r),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(x, VIRTIO_BLK_T_DISCARD, 0, odd, 1, NULL),
			 VIRTIO_BLK_S_IOERR);
	file_is_image(x, 0, IMAGE);
}

/* ---------------------------------------------------------------- in flight */

/* The law: a page under I/O is a live map, and to unmap it is to wait for it;
 * other pages are let go of at once. */
static void unmap_waits_for_io(void **state)
{
	struct fix *x = *state;
	const struct part parts[] = { { 0, GUEST_PAGE } };
	struct viommu_fence f, other;
	uint32_t id;

	memset(data_at(x, 0), 0x77, GUEST_PAGE);
	offer(x, 0, VIRTIO_BLK_T_IN, 8, parts, 1);
	drv_kick(&x->d, 0);
	viommu_fence_init(&other);
	assert_true(viommu_space_unmap(x->g->space,
				       DATA + GUEST_IOVA + GUEST_PAGE,
				       DATA + GUEST_IOVA + 2 * GUEST_PAGE - 1,
				       &other) == GUEST_PAGE);
	viommu_fence_commit(&other, NULL, NULL);
	assert_true(viommu_fence_done(&other));
	viommu_fence_init(&f);
	assert_true(viommu_space_unmap(x->g->space, DATA + GUEST_IOVA,
				       DATA + GUEST_IOVA + GUEST_PAGE - 1,
				       &f) == GUEST_PAGE);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(viommu_fence_wait(&f, 20000000), -ETIMEDOUT);
	LOOP_UNTIL(&x->d, viommu_fence_done(&f));
	drv_wait(&x->d, 0, &id);
	assert_int_equal(*status_of(x, 0), 0);
	/* it had been allowed to, and so it was written */
	data_is_image(x, parts, 1, 8 * SECTOR);
	assert_int_equal(run(x, VIRTIO_BLK_T_IN, 8, parts, 1, NULL),
			 VIRTIO_BLK_S_IOERR);
}

static void reset_waits_for_io(void **state)
{
	struct fix *x = *state;
	const struct part parts[] = { { 0, 64 * GUEST_PAGE } };
	uint32_t id, len;

	for (unsigned i = 0; i < 20; i++)
		offer(x, i, VIRTIO_BLK_T_IN, 8, parts, 1);
	drv_kick(&x->d, 0);
	status_set(&x->d, 0);
	assert_int_not_equal(status_get(&x->d), 0);
	LOOP_UNTIL(&x->d, !status_get(&x->d));
	/* nothing of it was shown */
	assert_false(ring_take(&x->d.rings[0], &id, &len));
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(*status_of(x, i), PENDING);
	assert_int_equal(drv_irqs(&x->d, 1), 0);
	/* no map is left */
	for (uint64_t i = 0; i < 64; i++)
		guest_unmap(x->g, DATA + i * GUEST_PAGE, GUEST_PAGE);
	for (uint64_t i = 0; i < 64; i++)
		data_map(x, i, ALL);
	start(x, FEATURES);
	assert_int_equal(run(x, VIRTIO_BLK_T_IN, 8, parts, 1, NULL), 0);
	data_is_image(x, parts, 1, 8 * SECTOR);
}

/* What the kernel has may end, what the driver sees must not change. */
static void bus_mastering_off_within_io(void **state)
{
	struct fix *x = *state;
	const struct part parts[] = { { 0, 64 * GUEST_PAGE } };
	uint32_t id, len;

	for (unsigned i = 0; i < 20; i++)
		offer(x, i, VIRTIO_BLK_T_IN, 8, parts, 1);
	drv_kick(&x->d, 0);
	drv_bus_master(&x->d, false);
	assert_true(vs_pci_is_busy(x->d.pci));
	LOOP_UNTIL(&x->d, !vs_pci_is_busy(x->d.pci));
	/* from here on nothing is written, by requests from before either */
	memset(data_at(x, 0), 0xaa, GUEST_PAGE);
	offer(x, 20, VIRTIO_BLK_T_IN, 8, parts, 1);
	drv_kick(&x->d, 0);
	loop_for_ms(&x->d, 50);
	assert_false(ring_take(&x->d.rings[0], &id, &len));
	for (unsigned i = 0; i < 21; i++)
		assert_int_equal(*status_of(x, i), PENDING);
	assert_int_equal(data_at(x, 0)[0], 0xaa);
	assert_int_equal(drv_irqs(&x->d, 1), 0);
	/* no map is left */
	for (uint64_t i = 0; i < 64; i++)
		guest_unmap(x->g, DATA + i * GUEST_PAGE, GUEST_PAGE);
	for (uint64_t i = 0; i < 64; i++)
		data_map(x, i, ALL);
	/* and all of it goes on, without a kick */
	drv_bus_master(&x->d, true);
	for (unsigned i = 0; i < 21; i++)
		drv_wait(&x->d, 0, &id);
	for (unsigned i = 0; i < 21; i++)
		assert_int_equal(*status_of(x, i), 0);
	data_is_image(x, parts, 1, 8 * SECTOR);
	/* off and on at once */
	offer(x, 0, VIRTIO_BLK_T_IN, 8, parts, 1);
	drv_kick(&x->d, 0);
	drv_bus_master(&x->d, false);
	drv_bus_master(&x->d, true);
	assert_false(vs_pci_is_busy(x->d.pci));
	drv_wait(&x->d, 0, &id);
	assert_int_equal(*status_of(x, 0), 0);
}

/* A request of several rounds: none of them begins any more. */
static void bus_mastering_off_between_rounds(void **state)
{
	struct fix *x = *state;
	const struct part parts[] = { { 0, 1200 * GUEST_PAGE } };
	uint64_t later = 1199 * (uint64_t)GUEST_PAGE;
	uint32_t id;

	memset(data_at(x, later), 0xaa, GUEST_PAGE);
	offer(x, 0, VIRTIO_BLK_T_IN, 8, parts, 1);
	drv_kick(&x->d, 0);
	drv_bus_master(&x->d, false);
	LOOP_UNTIL(&x->d, !vs_pci_is_busy(x->d.pci));
	loop_for_ms(&x->d, 20);
	for (unsigned i = 0; i < GUEST_PAGE; i++)
		assert_int_equal(data_at(x, later)[i], 0xaa);
	assert_int_equal(*status_of(x, 0), PENDING);
	drv_bus_master(&x->d, true);
	drv_wait(&x->d, 0, &id);
	assert_int_equal(*status_of(x, 0), 0);
	data_is_image(x, parts, 1, 8 * SECTOR);
}

/* The memory is another client's by the time that it ends. */
static void reset_of_the_function_waits_for_io(void **state)
{
	struct fix *x = *state;
	uint32_t id, len;

	offer(x, 0, VIRTIO_BLK_T_IN, 0, (struct part[]){ { 0, 512 } }, 1);
	drv_kick(&x->d, 0);
	vs_pci_reset(x->d.pci, true);
	assert_true(vs_pci_is_busy(x->d.pci));
	LOOP_UNTIL(&x->d, !vs_pci_is_busy(x->d.pci));
	drv_bus_master(&x->d, true);
	loop_for_ms(&x->d, 20);
	assert_int_equal(*status_of(x, 0), PENDING);
	assert_false(ring_take(&x->d.rings[0], &id, &len));
	/* off, then reset, while it goes on */
	start(x, FEATURES);
	offer(x, 0, VIRTIO_BLK_T_IN, 8, (struct part[]){ { 0, 512 } }, 1);
	drv_kick(&x->d, 0);
	drv_bus_master(&x->d, false);
	vs_pci_reset(x->d.pci, false);
	assert_true(vs_pci_is_busy(x->d.pci));
	LOOP_UNTIL(&x->d, !vs_pci_is_busy(x->d.pci));
	assert_int_equal(status_get(&x->d), 0);
	assert_int_equal(*status_of(x, 0), PENDING);
}

static void idle_reset_is_immediate(void **state)
{
	struct fix *x = *state;

	status_set(&x->d, 0);
	assert_int_equal(status_get(&x->d), 0);
}

static void destroy_waits_for_io(void **state)
{
	struct fix *x = *state;
	const struct part parts[] = { { 0, 64 * GUEST_PAGE } };

	for (unsigned i = 0; i < 60; i++)
		offer(x, i, VIRTIO_BLK_T_IN, 8, parts, 1);
	drv_kick(&x->d, 0);
	drv_fini(&x->d);
	viommu_blk_destroy(x->blk);
	x->blk = NULL;
	for (uint64_t i = 0; i < 64; i++)
		guest_unmap(x->g, DATA + i * GUEST_PAGE, GUEST_PAGE);
}

#define PIECES 12

/* A request with sectors and memory of its own: their order is nobody's. */
struct job {
	struct part parts[PIECES];
	uint64_t sector;
	uint8_t seed;
	bool in;
};

static void job_make(struct job *job, unsigned i, uint64_t r)
{
	uint32_t total = 0;

	job->sector = i * 60 + (r >> 20) % 10;
	job->seed = (uint8_t)(r >> 32);
	job->in = r >> 63;
	for (unsigned j = 0; j < PIECES; j++) {
		job->parts[j].off = i * 6 * (uint64_t)GUEST_PAGE + j * 2048 +
				    (r >> 8) % 1000;
		job->parts[j].len = 100 + j * (r % 50);
		if (j + 1 < PIECES)
			total += job->parts[j].len;
	}
	job->parts[PIECES - 1].len = 2 * SECTOR - total % SECTOR;
}

/* What the image is when it is done. */
static void job_apply(struct fix *x, const struct job *job, uint8_t *model)
{
	uint64_t at = job->sector * SECTOR, k = 0;

	if (job->in)
		return;
	data_fill(x, job->parts, PIECES, job->seed);
	for (unsigned j = 0; j < PIECES; j++)
		for (uint32_t b = 0; b < job->parts[j].len; b++)
			model[at++] = fill_byte(job->seed, k++);
}

static void job_check(struct fix *x, const struct job *job,
		      const uint8_t *model)
{
	uint64_t at = job->sector * SECTOR;

	for (unsigned j = 0; j < PIECES && job->in; j++)
		for (uint32_t b = 0; b < job->parts[j].len; b++)
			if (*data_at(x, job->parts[j].off + b) != model[at++])
				fail_msg("sector %u", (unsigned)job->sector);
}

/* A queue full of requests of many pieces, against a model of the image. */
static void full_queue(struct fix *x, unsigned rounds, uint64_t r)
{
	struct job *jobs = calloc(QUEUE, sizeof(*jobs));
	uint8_t *model = malloc(IMAGE), *file = malloc(IMAGE);
	uint32_t id;

	assert_true(jobs && model && file);
	for (uint64_t i = 0; i < IMAGE; i++)
		model[i] = image_byte(i);
	while (rounds--) {
		for (unsigned i = 0; i < QUEUE; i++) {
			r = r * UINT64_C(6364136223846793005) + 1442695;
			job_make(&jobs[i], i, r);
			job_apply(x, &jobs[i], model);
			offer(x, i,
			      jobs[i].in ? VIRTIO_BLK_T_IN : VIRTIO_BLK_T_OUT,
			      jobs[i].sector, jobs[i].parts, PIECES);
		}
		drv_kick(&x->d, 0);
		for (unsigned i = 0; i < QUEUE; i++) {
			drv_wait(&x->d, 0, &id);
			assert_int_equal(*status_of(x, id), 0);
			job_check(x, &jobs[id], model);
		}
		assert_int_equal(pread(x->fd, file, IMAGE, 0), IMAGE);
		assert_memory_equal(file, model, IMAGE);
	}
	free(jobs);
	free(model);
	free(file);
}

static void many_at_once(void **state)
{
	struct fix *x = *state;

	full_queue(x, 4, 12345);
	assert_int_equal(stats(x).requests, 4 * QUEUE);
	assert_int_equal(stats(x).errors, 0);
}

/* No other thread may do DMA: requests come later, none is lost. */
static void short_of_seats(void **state)
{
	const struct viommu_config cfg = { .size = sizeof(cfg),
					   .max_threads = 1 };
	struct fix *x = fix_make(&cfg);
	struct viommu_blk_config bc = blk_config(x);
	struct seat seat;
	uint32_t id, len;

	(void)state;
	seat_sit(&seat, viommu_memory_of(x->g->vi));
	fix_blk(x, &bc);
	start(x, FEATURES);
	for (unsigned i = 0; i < 5; i++)
		offer(x, i, VIRTIO_BLK_T_FLUSH, 0, NULL, 0);
	drv_kick(&x->d, 0);
	loop_for_ms(&x->d, 20);
	assert_false(ring_take(&x->d.rings[0], &id, &len));
	assert_int_equal(*status_of(x, 0), PENDING);
	seat_leave(&seat);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(drv_wait(&x->d, 0, &id), 1);
		assert_int_equal(*status_of(x, id), 0);
	}
	assert_int_equal(stats(x).errors, 0);
	fix_free(x);
}

/* A reset while requests wait for maps: they are forgotten, and do not touch
 * the guest's memory in its next life. */
static void reset_with_stalled(struct fix *x, unsigned turns)
{
	const struct part other[] = { { 3u << 20, SECTOR } };
	struct part parts[40];

	for (unsigned i = 0; i < 40; i++)
		parts[i] = (struct part){ i * 5000, SECTOR };
	for (unsigned i = 0; i < 60; i++)
		offer(x, i, VIRTIO_BLK_T_IN, 8, parts, 40);
	drv_kick(&x->d, 0);
	while (turns--)
		assert_int_equal(vs_loop_once(x->loop), 0);
	drv_reset(&x->d);
	memset(x->g->ram + DATA, 0x77, DATA_LEN);
	start(x, FEATURES);
	assert_int_equal(run(x, VIRTIO_BLK_T_IN, 8, other, 1, NULL), 0);
	data_is_image(x, other, 1, 8 * SECTOR);
	loop_for_ms(&x->d, 5);
	for (unsigned i = 0; i < 40 * 5000; i++)
		assert_int_equal(*data_at(x, i), 0x77);
	assert_int_equal(ring_used_idx(&x->d.rings[0]), 1);
	drv_reset(&x->d);
	start(x, FEATURES);
}

/* No device takes more than its share of maps. */
static void reset_with_many_maps(void **state)
{
	struct fix *x = *state;

	for (unsigned turns = 0; turns < 4; turns++)
		reset_with_stalled(x, turns);
}

/* Requests that need no I/O, more than a batch: nobody else wakes it up. */
static void batches(void **state)
{
	struct fix *x = *state;
	const struct part id[] = { { 0, 20 } };
	uint32_t head;

	for (unsigned i = 0; i < 200; i++)
		offer(x, i, VIRTIO_BLK_T_GET_ID, 0, id, 1);
	drv_kick(&x->d, 0);
	assert_int_equal(ring_used_idx(&x->d.rings[0]), 64);
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(drv_wait(&x->d, 0, &head), 21);
}

#define T(name)	   cmocka_unit_test_setup_teardown(name, setup, teardown)
#define SLOW(name) cmocka_unit_test_setup_teardown(name, setup_slow, teardown)
#define BARE(name) cmocka_unit_test_setup_teardown(name, setup_bare, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BARE(create_refuses),
		BARE(image_is_locked),
		T(configuration),
		T(reads),
		T(writes),
		T(any_layout),
		T(large_requests),
		T(bad_sectors),
		T(unmapped_buffers),
		T(malformed_requests),
		BARE(readonly_image),
		T(image_shrinks),
		T(flushes),
		T(write_through),
		T(gets_id),
		T(writes_zeroes),
		T(discards),
		T(bad_ranges),
		SLOW(unmap_waits_for_io),
		SLOW(reset_waits_for_io),
		SLOW(bus_mastering_off_within_io),
		SLOW(bus_mastering_off_between_rounds),
		SLOW(reset_of_the_function_waits_for_io),
		T(idle_reset_is_immediate),
		T(destroy_waits_for_io),
		T(batches),
		T(reset_with_many_maps),
		T(many_at_once),
		cmocka_unit_test(short_of_seats),
	};

	return cmocka_run_group_tests_name("blk", tests, NULL, NULL);
}
