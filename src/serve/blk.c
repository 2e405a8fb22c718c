/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * virtio-blk: the function, its image and its queues (blk_impl.h has the plan).
 *
 * Queues share the requests.  Half of them are kept for queues that have less
 * than their share, so that a queue of slow ones does not keep others waiting.
 *
 * Completions come by an eventfd of io_uring's in the loop, so that a map is
 * let go of on the loop's thread, too.  A reset, or the destruction, waits for
 * what the kernel has been given; nothing of it is shown to the driver.
 *
 * Everything but the counters belongs to the loop's thread.
 */

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serve/blk_impl.h"
#include "serve/opts.h"

#define DEVICE_ID    2
#define CLASS_SCSI   0x010000 /* what virtio-blk has always been */
#define BATCH	     64	      /* requests, then others have their turn */
#define RETRY_NS     UINT64_C(1000000)
#define SEG_MAX	     (VS_BLK_MAPS - 2) /* in one round, as a rule */
#define MAX_SECTORS  (1u << 21)
#define FEATURE(bit) (UINT64_C(1) << (bit))

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* ----------------------------------------------------- requests, stalled */

static bool share_left(const struct viommu_blk *blk, unsigned queue)
{
	return blk->cfg.queues == 1 || blk->taken_all < VS_BLK_REQS / 2 ||
	       blk->taken[queue] < VS_BLK_REQS / 2 / blk->cfg.queues;
}

static struct vs_blk_req *req_get(struct viommu_blk *blk, unsigned queue)
{
	struct vs_blk_req *req = blk->unused;

	if (!req || !share_left(blk, queue))
		return NULL;
	blk->unused = req->next;
	blk->taken[queue]++;
	blk->taken_all++;
	req->queue = (uint8_t)queue;
	return req;
}

static void req_put(struct vs_blk_req *req)
{
	struct viommu_blk *blk = req->blk;

	req->next = blk->unused;
	blk->unused = req;
	blk->taken[req->queue]--;
	blk->taken_all--;
}

bool vs_blk_waits(int rc)
{
	return rc == -EAGAIN || rc == -EINPROGRESS;
}

void vs_blk_stall(struct vs_blk_req *req, enum vs_blk_stage stage, int rc)
{
	struct viommu_blk *blk = req->blk;

	req->stage = stage;
	req->missed = rc == -EINPROGRESS;
	req->next = NULL;
	if (blk->stalled)
		blk->stalled_last->next = req;
	else
		blk->stalled = req;
	blk->stalled_last = req;
	blk->pinless += !req->missed;
	/* others' maps may be what we wait for, and nobody tells of those; of
	 * bus mastering and of answers we are told */
	if (!req->missed && vs_blk_may_dma(blk))
		viommu_timer_start(blk->cfg.loop, &blk->retry, RETRY_NS);
}

struct vs_blk_req *vs_blk_stalled(struct viommu_blk *blk)
{
	struct vs_blk_req *req = blk->stalled;

	blk->stalled = NULL;
	blk->pinless = 0;
	return req;
}

bool vs_blk_may_dma(const struct viommu_blk *blk)
{
	return viommu_virtio_dev_may_dma(blk->dev);
}

static void resume(struct vs_blk_req *req)
{
	switch (req->stage) {
	case VS_BLK_START:
		vs_blk_start(req);
		break;
	case VS_BLK_ROUND:
		vs_blk_round(req);
		break;
	case VS_BLK_FINISH:
		vs_blk_finish(req, req->status, req->written);
		break;
	}
}

/* Those that still find none stall again, in the same order. */
static void stalled_resume(struct viommu_blk *blk)
{
	struct vs_blk_req *req = vs_blk_stalled(blk);

	while (req) {
		struct vs_blk_req *next = req->next;

		resume(req);
		req = next;
	}
}

/* Write the status and push; or why not now, as vs_blk_stall() takes it. */
static int req_answer(struct vs_blk_req *req, uint8_t status, uint64_t len)
{
	struct viommu_blk *blk = req->blk;
	int rc = -EMSGSIZE;

	if (req->elem.in_len && !req->unanswered)
		rc = viommu_dma_write(blk->cfg.endpoint, req->status_at,
				      &status, sizeof(status));
	if (vs_blk_waits(rc))
		return rc;
	if (status)
		count(&blk->errors, 1);
	/* what is told was written has no gap in it (2.7.8.2) */
	if (!rc && len == req->elem.in_len - 1)
		len++;
	viommu_virtio_dev_push(blk->dev, req->queue, &req->elem, (uint32_t)len);
	return 0;
}

void vs_blk_finish(struct vs_blk_req *req, uint8_t status, uint64_t written)
{
	int rc = -EAGAIN;

	if (req->blk->resetting)
		rc = 0;
	else if (vs_blk_may_dma(req->blk))
		rc = req_answer(req, status, written);
	if (!rc) {
		req_put(req);
		return;
	}
	req->status = status;
	req->written = written;
	vs_blk_stall(req, VS_BLK_FINISH, rc);
}

/* -------------------------------------------------------------- io_uring */

struct io_uring_sqe *vs_blk_sqe(struct vs_blk_req *req)
{
	/* never NULL: there are as many as requests, and each has but one */
	return io_uring_get_sqe(&req->blk->ring);
}

void vs_blk_submitted(struct vs_blk_req *req, struct io_uring_sqe *sqe,
		      void (*step)(struct vs_blk_req *req, int res))
{
	req->step = step;
	req->blk->inflight++;
	io_uring_sqe_set_data(sqe, req);
}

static void submit(struct viommu_blk *blk)
{
	/* the kernel is short of something: what it left stays in the ring */
	if (io_uring_submit(&blk->ring) < 0)
		viommu_timer_start(blk->cfg.loop, &blk->retry, RETRY_NS);
}

static void reap(struct viommu_blk *blk)
{
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&blk->ring, &cqe)) {
		struct vs_blk_req *req = io_uring_cqe_get_data(cqe);
		int res = cqe->res;

		io_uring_cqe_seen(&blk->ring, cqe);
		blk->inflight--;
		req->step(req, res);
	}
}

/* What the page cache has is there as soon as it is submitted: no need to be
 * woken for it.  Once; the eventfd tells of the rest. */
static void submit_and_reap(struct viommu_blk *blk)
{
	submit(blk);
	if (io_uring_cq_ready(&blk->ring)) {
		reap(blk);
		submit(blk);
	}
}

/* ----------------------------------------------------------------- queue */

/* Take requests of a queue; false: the batch is full, there may be more. */
static bool take(struct viommu_blk *blk, unsigned queue)
{
	for (unsigned n = 0; n < BATCH; n++) {
		struct vs_blk_req *req;

		/* those that wait for pins come first */
		if (blk->pinless)
			return true;
		req = req_get(blk, queue);
		if (!req)
			return true;
		if (viommu_virtio_dev_pop(blk->dev, queue, &req->elem)) {
			req_put(req);
			return true;
		}
		count(&blk->requests, 1);
		vs_blk_start(req);
	}
	return false;
}

static void serve(struct viommu_blk *blk)
{
	for (unsigned i = 0; i < blk->cfg.queues; i++)
		if (!take(blk, i))
			viommu_virtio_dev_again(blk->dev, i);
	submit_and_reap(blk);
	for (unsigned i = 0; i < blk->cfg.queues; i++)
		viommu_virtio_dev_publish(blk->dev, i);
}

static void reset_check(struct viommu_blk *blk)
{
	if (!blk->resetting || blk->inflight)
		return;
	blk->resetting = false;
	blk->features = 0;
	viommu_virtio_dev_reset_done(blk->dev);
}

/* Only the kernel's part is not ours to stop: its pointers are live maps.  A
 * FLUSH or DISCARD touches no guest memory until its status is written. */
static void quiet_check(struct viommu_blk *blk)
{
	if (!blk->maps)
		viommu_virtio_dev_quiet(blk->dev);
}

/* Whatever was going on: go on with it. */
static void advance(struct viommu_blk *blk)
{
	if (blk->resetting) {
		submit(blk); /* what was left in the ring */
		reset_check(blk);
	} else if (!vs_blk_may_dma(blk)) {
		submit(blk);
		quiet_check(blk);
	} else {
		stalled_resume(blk);
		serve(blk);
	}
}

/* A kick, or bus mastering is on again. */
static void notify(void *arg, unsigned queue)
{
	(void)queue;
	advance(arg);
}

static void timed_out(void *arg, viommu_iova_t start, viommu_iova_t last)
{
	vs_blk_timed_out(arg, start, last);
}

static void quiesce(void *arg)
{
	quiet_check(arg);
}

static void completed(void *arg, uint32_t events)
{
	struct viommu_blk *blk = arg;
	uint64_t n;

	(void)events;
	/* reset it first: what completes from here on wakes us again */
	if (read(blk->eventfd, &n, sizeof(n)) < 0 && errno != EAGAIN &&
	    errno != EINTR)
		return;
	reap(blk);
	advance(blk);
}

static void retry(void *arg)
{
	advance(arg);
}

static void stalled_drop(struct viommu_blk *blk)
{
	struct vs_blk_req *req = vs_blk_stalled(blk);

	while (req) {
		struct vs_blk_req *next = req->next;

		req_put(req);
		req = next;
	}
}

static void reset(void *arg)
{
	struct viommu_blk *blk = arg;

	blk->resetting = true;
	stalled_drop(blk);
	reset_check(blk);
}

/* ---------------------------------------------------- features, registers */

static void features(void *arg, uint64_t accepted)
{
	struct viommu_blk *blk = arg;

	blk->features = accepted;
}

static uint64_t features_of(const struct viommu_blk *blk)
{
	uint64_t f =
		FEATURE(VIRTIO_BLK_F_SEG_MAX) | FEATURE(VIRTIO_BLK_F_BLK_SIZE) |
		FEATURE(VIRTIO_BLK_F_TOPOLOGY) | FEATURE(VIRTIO_BLK_F_FLUSH);

	if (blk->cfg.queues > 1)
		f |= FEATURE(VIRTIO_BLK_F_MQ);
	if (blk->cfg.readonly)
		return f | FEATURE(VIRTIO_BLK_F_RO);
	return f | FEATURE(VIRTIO_BLK_F_DISCARD) |
	       FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
}

static void config_read(void *arg, size_t off, void *buf, size_t len)
{
	const struct viommu_blk *blk = arg;
	const struct virtio_blk_config c = {
		.capacity = htole64(blk->bytes / VS_BLK_SECTOR),
		.seg_max = htole32(SEG_MAX),
		.blk_size = htole32(VS_BLK_SECTOR),
		/* pages of 4 KiB below, whatever the file system */
		.physical_block_exp = 3,
		.min_io_size = htole16(8),
		.num_queues = htole16((uint16_t)blk->cfg.queues),
		.max_discard_sectors = htole32(MAX_SECTORS),
		.max_discard_seg = htole32(VS_BLK_RANGES),
		.discard_sector_alignment = htole32(1),
		.max_write_zeroes_sectors = htole32(MAX_SECTORS),
		.max_write_zeroes_seg = htole32(VS_BLK_RANGES),
		.write_zeroes_may_unmap = 1,
	};

	memcpy(buf, (const uint8_t *)&c + off, len);
}

/* What was done of them is done again. */
static void drop(void *arg, unsigned queue)
{
	struct viommu_blk *blk = arg;
	struct vs_blk_req *req = vs_blk_stalled(blk);

	while (req) {
		struct vs_blk_req *next = req->next;

		if (req->missed && req->queue == queue) {
			viommu_virtio_dev_drop(blk->dev, queue, &req->elem);
			req_put(req);
		} else {
			vs_blk_stall(req, req->stage,
				     req->missed ? -EINPROGRESS : -EAGAIN);
		}
		req = next;
	}
}

static const struct viommu_virtio_dev_ops ops = {
	.features = features,
	.config_read = config_read,
	.notify = notify,
	.reset = reset,
	.quiesce = quiesce,
	.timed_out = timed_out,
	.drop = drop,
};

/* ----------------------------------------------------------------- image */

static int image_size(struct viommu_blk *blk)
{
	struct stat st;

	if (fstat(blk->fd, &st))
		return -errno;
	if (S_ISREG(st.st_mode))
		blk->bytes = (uint64_t)st.st_size;
	else if (!S_ISBLK(st.st_mode))
		return -EINVAL;
	else if (ioctl(blk->fd, BLKGETSIZE64, &blk->bytes))
		return -errno;
	return blk->bytes % VS_BLK_SECTOR ? -EINVAL : 0;
}

static int image_open(struct viommu_blk *blk)
{
	bool readonly = blk->cfg.readonly;
	int rc;

	/* a FIFO would make us wait; and for files that flag would turn what
	 * io_uring waits for into EAGAIN, so it goes again */
	blk->fd = open(blk->cfg.path,
		       (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
	if (blk->fd < 0)
		return -errno;
	rc = image_size(blk);
	if (rc)
		return rc;
	if (fcntl(blk->fd, F_SETFL, 0))
		return -errno;
	if (flock(blk->fd, (readonly ? LOCK_SH : LOCK_EX) | LOCK_NB))
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	return 0;
}

static int uring_open(struct viommu_blk *blk)
{
	int rc = io_uring_queue_init(VS_BLK_REQS, &blk->ring, 0);

	if (rc)
		return rc;
	blk->uring = true;
	blk->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (blk->eventfd < 0)
		return -errno;
	rc = io_uring_register_eventfd(&blk->ring, blk->eventfd);
	if (rc)
		return rc;
	return viommu_loop_add(blk->cfg.loop, blk->eventfd, EPOLLIN, completed,
			       blk);
}

/* ---------------------------------------------------------------- public */

static int virtio_make(struct viommu_blk *blk)
{
	const struct viommu_virtio_dev_config cfg = {
		.size = sizeof(cfg),
		.name = blk->cfg.name,
		.loop = blk->cfg.loop,
		.vi = blk->cfg.vi,
		.memory = blk->cfg.memory,
		.endpoint = blk->cfg.endpoint,
		.device_id = DEVICE_ID,
		.features = features_of(blk),
		/* its addresses are IOVAs: a driver that takes them for
		 * physical would have nothing but faults; other transports
		 * know what to do about those */
		.required =
			blk->cfg.no_pci ? 0 : FEATURE(VIRTIO_F_ACCESS_PLATFORM),
		.queues = blk->cfg.queues,
		/* others than PCI's choose the length, QEMU up to 1,024 */
		.queue_len = blk->cfg.no_pci ? VS_BLK_QUEUE_LEN_MAX
					     : VS_BLK_QUEUE_LEN,
		.segments = VS_BLK_QUEUE_LEN_MAX,
		.config_len = offsetof(struct virtio_blk_config,
				       max_secure_erase_sectors),
		.ops = &ops,
		.arg = blk,
	};

	int rc = viommu_virtio_dev_create(&cfg, &blk->dev);

	if (rc || blk->cfg.no_pci)
		return rc;
	return viommu_virtio_pci_create(blk->dev, CLASS_SCSI, &blk->vp);
}

static int reqs_make(struct viommu_blk *blk)
{
	blk->reqs = calloc(VS_BLK_REQS, sizeof(*blk->reqs));
	if (!blk->reqs)
		return -ENOMEM;
	for (unsigned i = 0; i < VS_BLK_REQS; i++) {
		struct vs_blk_req *req = &blk->reqs[i];

		req->blk = blk;
		req->elem.segments = req->segments;
		req->elem.max = VS_BLK_SEGMENTS;
		req->next = blk->unused;
		blk->unused = req;
	}
	return 0;
}

static int config_take(struct viommu_blk *blk,
		       const struct viommu_blk_config *cfg)
{
	int rc = vs_opts_copy(&blk->cfg, sizeof(blk->cfg), cfg, cfg->size);
	size_t len;

	if (rc)
		return rc;
	if (!cfg->loop || !cfg->vi || !cfg->memory || !cfg->endpoint ||
	    !cfg->path || cfg->queues > VS_BLK_QUEUES)
		return -EINVAL;
	if (!cfg->queues)
		blk->cfg.queues = 1;
	len = cfg->serial ? strlen(cfg->serial) : 0;
	if (len > sizeof(blk->serial))
		return -EINVAL;
	memcpy(blk->serial, cfg->serial ? cfg->serial : "", len);
	return 0;
}

int viommu_blk_create(const struct viommu_blk_config *cfg,
		      struct viommu_blk **out)
{
	struct viommu_blk *blk = calloc(1, sizeof(*blk));
	int rc;

	if (!blk)
		return -ENOMEM;
	blk->fd = blk->eventfd = -1;
	rc = config_take(blk, cfg);
	if (!rc)
		rc = image_open(blk);
	if (!rc)
		rc = reqs_make(blk);
	if (!rc)
		rc = uring_open(blk);
	if (!rc)
		rc = virtio_make(blk);
	if (rc) {
		viommu_blk_destroy(blk);
		return rc;
	}
	/* the caller's */
	blk->cfg.name = blk->cfg.path = blk->cfg.serial = NULL;
	viommu_timer_init(&blk->retry, retry, blk);
	*out = blk;
	return 0;
}

/* Wait for the kernel; what it gives back is dropped. */
static void drain(struct viommu_blk *blk)
{
	blk->resetting = true;
	stalled_drop(blk);
	while (blk->inflight) {
		io_uring_submit_and_wait(&blk->ring, 1);
		reap(blk);
	}
}

void viommu_blk_destroy(struct viommu_blk *blk)
{
	if (!blk)
		return;
	if (blk->dev) {
		drain(blk);
		viommu_timer_stop(blk->cfg.loop, &blk->retry);
		if (!blk->cfg.readonly)
			fdatasync(blk->fd);
	}
	viommu_virtio_pci_destroy(blk->vp);
	viommu_virtio_dev_destroy(blk->dev);
	if (blk->eventfd >= 0) {
		viommu_loop_remove(blk->cfg.loop, blk->eventfd);
		close(blk->eventfd);
	}
	if (blk->uring)
		io_uring_queue_exit(&blk->ring);
	if (blk->fd >= 0)
		close(blk->fd);
	free(blk->reqs);
	free(blk);
}

struct viommu_pci *viommu_blk_pci(struct viommu_blk *blk)
{
	return blk->vp ? viommu_virtio_pci_pci(blk->vp) : NULL;
}

struct viommu_virtio_dev *viommu_blk_virtio(struct viommu_blk *blk)
{
	return blk->dev;
}

void viommu_blk_read_stats(const struct viommu_blk *blk,
			   struct viommu_blk_stats *out)
{
	*out = (struct viommu_blk_stats){
		.requests = atomic_load(&blk->requests),
		.errors = atomic_load(&blk->errors),
		.bytes_read = atomic_load(&blk->bytes_read),
		.bytes_written = atomic_load(&blk->bytes_written),
	};
}
