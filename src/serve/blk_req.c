/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * virtio-blk: what a request asks for (virtio 1.3, 5.2.6).
 *
 *	vs_blk_start -> what it is -> I/O -> step -> ... -> vs_blk_finish
 *
 * Without VIRTIO_BLK_F_FLUSH the driver takes what is written for stable
 * (5.2.6.2), so a fdatasync comes after it.
 */

#include <endian.h>
#include <errno.h>
#include <linux/falloc.h>

#include "serve/blk_impl.h"

#define FEATURE(bit) (UINT64_C(1) << (bit))
#define TRIES	     64 /* without progress: EINTR, EAGAIN */
#define ZEROES	     65536
#define MAX_SECTORS  (1u << 21) /* of a DISCARD or WRITE_ZEROES range */

static const uint8_t zeroes[ZEROES];

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static struct viommu_virtqueue *queue_of(const struct vs_blk_req *req)
{
	return viommu_virtio_dev_queue(req->blk->dev, req->queue);
}

static void fail(struct vs_blk_req *req)
{
	vs_blk_finish(req, VIRTIO_BLK_S_IOERR,
		      req->type == VIRTIO_BLK_T_IN ? req->done : 0);
}

/* A copy from or to the request came to @rc.  True: it has been dealt with. */
static bool refused(struct vs_blk_req *req, int rc)
{
	if (vs_blk_waits(rc))
		vs_blk_stall(req, VS_BLK_START, rc);
	else if (rc)
		fail(req);
	return rc;
}

/* The kernel was disturbed: once more?  Not for ever. */
static bool again(struct vs_blk_req *req, int res)
{
	return (res == -EINTR || res == -EAGAIN) && !req->blk->resetting &&
	       req->tries++ < TRIES;
}

/* [sector, sector + bytes / 512 - 1] lies in the image. */
static bool sectors_inside(const struct viommu_blk *blk, uint64_t sector,
			   uint64_t bytes)
{
	uint64_t capacity = blk->bytes / VS_BLK_SECTOR;

	return bytes % VS_BLK_SECTOR == 0 && sector <= capacity &&
	       bytes / VS_BLK_SECTOR <= capacity - sector;
}

/* ----------------------------------------------------------------- FLUSH */

static void sync_submit(struct vs_blk_req *req);

static void sync_step(struct vs_blk_req *req, int res)
{
	if (again(req, res))
		sync_submit(req);
	else
		vs_blk_finish(req, res ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK,
			      0);
}

/* Covers what was completed before: the driver waits for more than that. */
static void sync_submit(struct vs_blk_req *req)
{
	struct io_uring_sqe *sqe = vs_blk_sqe(req);

	io_uring_prep_fsync(sqe, req->blk->fd, IORING_FSYNC_DATASYNC);
	vs_blk_submitted(req, sqe, sync_step);
}

/* It is in the image; is it to stay there? */
static void written(struct vs_blk_req *req)
{
	req->tries = 0;
	if (req->blk->resetting ||
	    (req->blk->features & FEATURE(VIRTIO_BLK_F_FLUSH)))
		vs_blk_finish(req, VIRTIO_BLK_S_OK, 0);
	else
		sync_submit(req);
}

/* --------------------------------------------------------------- IN, OUT */

static void data_submit(struct vs_blk_req *req);

static void data_finish(struct vs_blk_req *req)
{
	if (req->type == VIRTIO_BLK_T_IN) {
		count(&req->blk->bytes_read, req->len);
		vs_blk_finish(req, VIRTIO_BLK_S_OK, req->len);
	} else {
		count(&req->blk->bytes_written, req->len);
		written(req);
	}
}

/* Bus mastering was turned off within a round: what is left of it is done when
 * it is on again. */
static void data_pause(struct vs_blk_req *req)
{
	req->done += req->round_done;
	vs_blk_data_unmap(req);
	vs_blk_data_rewind(req);
	vs_blk_stall(req, VS_BLK_ROUND, -EAGAIN);
}

static void data_go_on(struct vs_blk_req *req)
{
	if (vs_blk_may_dma(req->blk))
		data_submit(req);
	else
		data_pause(req);
}

/* Is it in the part of the disk that is slow? */
static bool slow(const struct vs_blk_req *req)
{
	const struct viommu_blk_config *cfg = &req->blk->cfg;
	uint64_t first = req->off / VS_BLK_SECTOR;
	uint64_t last = first + (req->len / VS_BLK_SECTOR - 1);

	if (!cfg->delay_us || req->blk->resetting)
		return false;
	return (!cfg->delay_first && !cfg->delay_last) ||
	       (first <= cfg->delay_last && cfg->delay_first <= last);
}

static void data_complete(struct vs_blk_req *req, int res)
{
	(void)res; /* it timed out, as it should */
	vs_blk_data_unmap(req);
	data_finish(req);
}

/* As if the disk were still at it: the kernel has the request, and the maps are
 * live. */
static void delay_submit(struct vs_blk_req *req)
{
	struct io_uring_sqe *sqe = vs_blk_sqe(req);
	uint32_t us = req->blk->cfg.delay_us;

	req->delay.tv_sec = us / 1000000;
	req->delay.tv_nsec = (long long)(us % 1000000) * 1000;
	io_uring_prep_timeout(sqe, &req->delay, 0, 0);
	vs_blk_submitted(req, sqe, data_complete);
}

/* A round was transferred, or as much of it as there is. */
static void round_end(struct vs_blk_req *req, int res)
{
	req->done += req->round_done;
	req->misses = req->asks_at = 0;
	req->reach = 0;
	if (res > 0 && req->done == req->len && slow(req)) {
		delay_submit(req);
		return;
	}
	vs_blk_data_unmap(req);
	if (res <= 0 || req->blk->resetting)
		fail(req);
	else if (req->done < req->len)
		vs_blk_round(req);
	else
		data_finish(req);
}

/* Nothing at the file's end: the image is shorter than it was. */
static void data_step(struct vs_blk_req *req, int res)
{
	if (again(req, res)) {
		data_go_on(req);
		return;
	}
	if (res > 0) {
		req->tries = 0;
		req->round_done += (uint64_t)res;
		if (req->round_done < req->round_len && !req->blk->resetting) {
			vs_blk_io_advance(req, (uint64_t)res);
			data_go_on(req);
			return;
		}
	}
	round_end(req, res);
}

static void data_submit(struct vs_blk_req *req)
{
	struct io_uring_sqe *sqe = vs_blk_sqe(req);
	uint64_t off = req->off + req->done + req->round_done;

	if (req->type == VIRTIO_BLK_T_IN)
		io_uring_prep_readv(sqe, req->blk->fd, req->io, req->nio, off);
	else
		io_uring_prep_writev(sqe, req->blk->fd, req->io, req->nio, off);
	vs_blk_submitted(req, sqe, data_step);
}

void vs_blk_round(struct vs_blk_req *req)
{
	int rc = vs_blk_may_dma(req->blk) ? vs_blk_data_map(req) : -EAGAIN;

	if (vs_blk_waits(rc))
		vs_blk_stall(req, VS_BLK_ROUND, rc);
	else if (rc)
		fail(req);
	else
		data_submit(req);
}

static void data_start(struct vs_blk_req *req, uint64_t sector)
{
	bool in = req->type == VIRTIO_BLK_T_IN;
	size_t head = sizeof(struct virtio_blk_outhdr);
	uint64_t len = in ? req->elem.in_len - 1 : req->elem.out_len - head;

	if (!sectors_inside(req->blk, sector, len) ||
	    (!in && req->blk->cfg.readonly)) {
		fail(req);
		return;
	}
	req->off = sector * VS_BLK_SECTOR;
	vs_blk_data_set(req, in, in ? 0 : head, len);
	if (len)
		vs_blk_round(req);
	else
		data_finish(req);
}

/* -------------------------------------------------- DISCARD, WRITE_ZEROES */

static void range_submit(struct vs_blk_req *req);

/* Where to begin with a range. */
static void range_start(struct vs_blk_req *req)
{
	const struct vs_blk_range *r = &req->ranges[req->range];

	req->tries = 0;
	req->range_done = 0;
	req->zero = r->unmap ? VS_BLK_PUNCH : VS_BLK_ZERO;
	range_submit(req);
}

static void range_next(struct vs_blk_req *req)
{
	if (++req->range == req->nranges || req->blk->resetting)
		written(req);
	else
		range_start(req);
}

/*
 * This way of zeroing is not to be had here.  A block device also says EINVAL,
 * to what is off its own sectors.  A discard is a hint only.
 */
static bool range_other_way(struct vs_blk_req *req, int res)
{
	if ((res != -EOPNOTSUPP && res != -ENOSYS && res != -EINVAL) ||
	    req->zero == VS_BLK_WRITE)
		return false;
	if (req->type == VIRTIO_BLK_T_DISCARD)
		req->zero = VS_BLK_WRITE;
	else
		req->zero++;
	return true;
}

static void range_step(struct vs_blk_req *req, int res)
{
	const struct vs_blk_range *r = &req->ranges[req->range];

	if (again(req, res)) {
		range_submit(req);
	} else if (range_other_way(req, res)) {
		if (req->type == VIRTIO_BLK_T_DISCARD || req->blk->resetting)
			range_next(req);
		else
			range_submit(req);
	} else if (req->zero != VS_BLK_WRITE) {
		if (res < 0)
			fail(req);
		else
			range_next(req);
	} else if (res <= 0) {
		fail(req);
	} else {
		req->tries = 0;
		req->range_done += (uint64_t)res;
		if (req->range_done < r->len && !req->blk->resetting)
			range_submit(req);
		else
			range_next(req);
	}
}

/* As many zeroes as io_uring takes at once. */
static void zeroes_prepare(struct vs_blk_req *req, uint64_t len)
{
	for (req->nio = 0; len && req->nio < VS_BLK_IOVS / 16; req->nio++) {
		uint64_t some = len < ZEROES ? len : ZEROES;

		req->io[req->nio] = (struct iovec){
			.iov_base = (void *)(uintptr_t)zeroes,
			.iov_len = (size_t)some,
		};
		len -= some;
	}
}

static void range_submit(struct vs_blk_req *req)
{
	const struct vs_blk_range *r = &req->ranges[req->range];
	struct io_uring_sqe *sqe = vs_blk_sqe(req);
	int mode = FALLOC_FL_KEEP_SIZE;

	if (req->zero == VS_BLK_WRITE) {
		zeroes_prepare(req, r->len - req->range_done);
		io_uring_prep_writev(sqe, req->blk->fd, req->io, req->nio,
				     r->off + req->range_done);
	} else {
		mode |= req->zero == VS_BLK_PUNCH ? FALLOC_FL_PUNCH_HOLE
						  : FALLOC_FL_ZERO_RANGE;
		io_uring_prep_fallocate(sqe, req->blk->fd, mode,
					(__off_t)r->off, (__off_t)r->len);
	}
	vs_blk_submitted(req, sqe, range_step);
}

/* One range as the driver wrote it; a status. */
static uint8_t range_decode(struct vs_blk_req *req,
			    const struct virtio_blk_discard_write_zeroes *raw)
{
	bool discard = req->type == VIRTIO_BLK_T_DISCARD;
	uint64_t sector = le64toh(raw->sector);
	uint64_t n = le32toh(raw->num_sectors);
	uint32_t flags = le32toh(raw->flags);

	/* 5.2.6.2: unknown flags, and any flag with a discard */
	if (flags & (discard ? UINT32_MAX
			     : ~(uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
		return VIRTIO_BLK_S_UNSUPP;
	if (n > MAX_SECTORS ||
	    !sectors_inside(req->blk, sector, n * VS_BLK_SECTOR))
		return VIRTIO_BLK_S_IOERR;
	if (n)
		req->ranges[req->nranges++] = (struct vs_blk_range){
			.off = sector * VS_BLK_SECTOR,
			.len = n * VS_BLK_SECTOR,
			.unmap = discard || flags,
		};
	return VIRTIO_BLK_S_OK;
}

/* All of them are looked at before the first is carried out. */
static void ranges_start(struct vs_blk_req *req)
{
	struct virtio_blk_discard_write_zeroes raw;
	uint64_t at = sizeof(struct virtio_blk_outhdr);
	uint64_t len = req->elem.out_len - at;

	if (!len || len % sizeof(raw) || len / sizeof(raw) > VS_BLK_RANGES ||
	    req->blk->cfg.readonly) {
		fail(req);
		return;
	}
	for (; at < req->elem.out_len; at += sizeof(raw)) {
		uint8_t status;

		if (refused(req,
			    viommu_virtqueue_read(queue_of(req), &req->elem, at,
						  &raw, sizeof(raw))))
			return;
		status = range_decode(req, &raw);
		if (status) {
			vs_blk_finish(req, status, 0);
			return;
		}
	}
	if (req->nranges)
		range_start(req);
	else
		vs_blk_finish(req, VIRTIO_BLK_S_OK, 0);
}

/* ---------------------------------------------------------------- GET_ID */

static void id_write(struct vs_blk_req *req)
{
	uint64_t len = req->elem.in_len - 1;

	if (len > VIRTIO_BLK_ID_BYTES)
		len = VIRTIO_BLK_ID_BYTES;
	if (!refused(req,
		     viommu_virtqueue_write(queue_of(req), &req->elem, 0,
					    req->blk->serial, (size_t)len)))
		vs_blk_finish(req, VIRTIO_BLK_S_OK, len);
}

/* ----------------------------------------------------------------- start */

static void status_locate(struct vs_blk_req *req)
{
	const struct viommu_element *e = &req->elem;
	const struct viommu_piece *s = &e->segments[e->nout + e->nin - 1];

	req->status_at = s->iova + (s->len - 1);
}

static bool agreed(const struct vs_blk_req *req, unsigned feature)
{
	return req->blk->features & FEATURE(feature);
}

/* Type by type (5.2.6). */
static void dispatch(struct vs_blk_req *req, uint64_t sector)
{
	switch (req->type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		data_start(req, sector);
		return;
	case VIRTIO_BLK_T_FLUSH:
		sync_submit(req);
		return;
	case VIRTIO_BLK_T_GET_ID:
		id_write(req);
		return;
	case VIRTIO_BLK_T_DISCARD:
		if (!agreed(req, VIRTIO_BLK_F_DISCARD))
			break;
		ranges_start(req);
		return;
	case VIRTIO_BLK_T_WRITE_ZEROES:
		if (!agreed(req, VIRTIO_BLK_F_WRITE_ZEROES))
			break;
		ranges_start(req);
		return;
	}
	vs_blk_finish(req, VIRTIO_BLK_S_UNSUPP, 0);
}

void vs_blk_start(struct vs_blk_req *req)
{
	struct virtio_blk_outhdr head;

	req->type = UINT32_MAX;
	req->tries = req->misses = req->asks_at = 0;
	req->reach = 0;
	req->unanswered = false;
	req->len = req->done = 0;
	req->ndata = req->at = 0;
	req->at_off = 0;
	req->nmaps = 0;
	req->nranges = req->range = 0;
	if (!vs_blk_may_dma(req->blk)) {
		vs_blk_stall(req, VS_BLK_START, -EAGAIN);
		return;
	}
	/* no room for a status: it comes back as it went */
	if (!req->elem.in_len) {
		fail(req);
		return;
	}
	status_locate(req);
	if (refused(req, viommu_virtqueue_read(queue_of(req), &req->elem, 0,
					       &head, sizeof(head))))
		return;
	req->type = le32toh(head.type);
	dispatch(req, le64toh(head.sector));
}

/* ------------------------------------------------------------- timed out */

static bool meets(const struct viommu_piece *s, viommu_iova_t start,
		  viommu_iova_t last)
{
	return s->iova <= last && start <= s->iova + (s->len - 1);
}

/* Whether what @req waits for can be in [start, last]. */
static bool concerned(const struct vs_blk_req *req, viommu_iova_t start,
		      viommu_iova_t last)
{
	const struct viommu_element *e = &req->elem;

	if (!req->missed)
		return false;
	if (req->stage == VS_BLK_FINISH)
		return start <= req->status_at && req->status_at <= last;
	for (uint32_t i = 0; i < e->nout + e->nin; i++)
		if (meets(&e->segments[i], start, last))
			return true;
	return false;
}

void vs_blk_timed_out(struct viommu_blk *blk, viommu_iova_t start,
		      viommu_iova_t last)
{
	struct vs_blk_req *req = vs_blk_stalled(blk);

	while (req) {
		struct vs_blk_req *next = req->next;

		if (!concerned(req, start, last)) {
			vs_blk_stall(req, req->stage,
				     req->missed ? -EINPROGRESS : -EAGAIN);
		} else if (req->stage == VS_BLK_FINISH) {
			req->unanswered = true;
			vs_blk_finish(req, req->status, req->written);
		} else {
			fail(req);
		}
		req = next;
	}
}
