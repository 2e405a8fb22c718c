/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_BLK_IMPL_H
#define VS_BLK_IMPL_H

/*
 * What the files of virtio-blk share: blk.c (the function, its image and its
 * queue), blk_req.c (what a request asks for), blk_data.c (guest memory as
 * pointers).
 *
 * A request's data goes in rounds: as much of it as MAPS maps and IOVS
 * pointers can hold is mapped, given to io_uring and unmapped, then the next.
 * So a request of any shape needs a bounded amount of everything, and one map
 * is enough to make progress.
 */

#include <liburing.h>
#include <linux/virtio_blk.h>
#include <stdatomic.h>
#include <viommu/dma.h>
#include <viommu/serve/blk.h>
#include <viommu/serve/virtio_pci.h>

enum {
	VS_BLK_QUEUES = 16,
	VS_BLK_QUEUE_LEN = 256,
	VS_BLK_QUEUE_LEN_MAX = 1024,
	VS_BLK_SEGMENTS = 256, /* of a chain */
	VS_BLK_REQS = 128,     /* at once */
	VS_BLK_MAPS = 128,     /* of a round */
	VS_BLK_IOVS = 512,     /* of a round */
	VS_BLK_RANGES = 64,    /* of a DISCARD or WRITE_ZEROES */
	/* all requests' together: what those who take memory away have to
	 * look through */
	VS_BLK_MAPS_ALL = 1024,
	VS_BLK_SECTOR = 512,
};

struct vs_blk_range {
	uint64_t off, len; /* bytes */
	bool unmap;
};

/* How a range is made to read zero; each is tried where the one before it is
 * not supported. */
enum vs_blk_zero {
	VS_BLK_PUNCH,
	VS_BLK_ZERO,
	VS_BLK_WRITE,
};

/* Where a request goes on that found no pin. */
enum vs_blk_stage {
	VS_BLK_START,
	VS_BLK_ROUND,
	VS_BLK_FINISH,
};

struct vs_blk_req {
	struct viommu_blk *blk;
	struct vs_blk_req *next; /* unused, or stalled */
	enum vs_blk_stage stage; /* while stalled */
	bool missed;		 /* stalled for an answer, not for a pin */
	bool unanswered;	 /* there will be none about its status */
	uint8_t status;		 /* VS_BLK_FINISH */
	uint8_t queue;		 /* where it was popped */
	uint64_t written;
	/* what to do with the result of the I/O that was submitted */
	void (*step)(struct vs_blk_req *req, int res);
	struct viommu_element elem;
	viommu_iova_t status_at;
	uint32_t type;
	unsigned tries; /* in a row without progress */
	/* this round waited for answers: so often without getting farther than
	 * reach bytes; asks for all that is missing when that is asks_at */
	unsigned misses, asks_at;
	uint64_t reach;
	struct __kernel_timespec delay;

	/* IN, OUT: all of it; from segments[at] + at_off on it is still to be
	 * mapped */
	uint64_t off; /* in the image */
	uint64_t len, done;
	struct viommu_piece *data;
	uint32_t ndata, at;
	uint64_t at_off;

	/* IN, OUT: this round */
	uint64_t round_len, round_done;
	uint32_t nmaps, niov;

	/* DISCARD, WRITE_ZEROES */
	uint32_t nranges, range;
	uint64_t range_done;
	enum vs_blk_zero zero;

	/* what io_uring was given */
	uint32_t nio;
	struct iovec io[VS_BLK_IOVS];

	struct iovec iov[VS_BLK_IOVS];
	struct viommu_dma maps[VS_BLK_MAPS];
	struct vs_blk_range ranges[VS_BLK_RANGES];
	struct viommu_piece segments[VS_BLK_SEGMENTS];
};

struct viommu_blk {
	struct viommu_blk_config cfg;
	struct viommu_virtio_dev *dev;
	struct viommu_virtio_pci *vp; /* NULL: another transport */
	int fd, eventfd;
	bool uring; /* there is a ring */
	struct io_uring ring;
	uint64_t bytes; /* of the image, as announced */
	char serial[VIRTIO_BLK_ID_BYTES];

	uint64_t features;
	bool resetting;	   /* what completes is dropped */
	unsigned inflight; /* given to io_uring */
	unsigned maps;	   /* live */
	struct vs_blk_req *reqs, *unused;
	unsigned taken[VS_BLK_QUEUES], taken_all;
	struct vs_blk_req *stalled, *stalled_last; /* oldest first */
	unsigned pinless; /* of those, how many wait for pins */
	struct viommu_timer retry;

	_Atomic uint64_t requests, errors, bytes_read, bytes_written;
};

/* ---------------------------------------------------------------- blk.c */

/* A submission entry for @req's next I/O; vs_blk_submitted() when filled. */
struct io_uring_sqe *vs_blk_sqe(struct vs_blk_req *req);
void vs_blk_submitted(struct vs_blk_req *req, struct io_uring_sqe *sqe,
		      void (*step)(struct vs_blk_req *req, int res));

/* Whether the device may touch guest memory now; if not, stall. */
bool vs_blk_may_dma(const struct viommu_blk *blk);

/* @rc is why @req cannot go on: -EAGAIN, pins are short or bus mastering is
 * off; -EINPROGRESS, a REMOTE space has asked.  It goes on from @stage when
 * that may have changed. */
void vs_blk_stall(struct vs_blk_req *req, enum vs_blk_stage stage, int rc);

/* Take all of those off, oldest first. */
struct vs_blk_req *vs_blk_stalled(struct viommu_blk *blk);

/* Whether @rc says so. */
bool vs_blk_waits(int rc);

/* Give @req back to the driver, or drop it if the device is being reset.
 * @written: of its writable part, from the start on, without the status. */
void vs_blk_finish(struct vs_blk_req *req, uint8_t status, uint64_t written);

/* ------------------------------------------------------------- blk_req.c */

/* Carry out a request that was popped. */
void vs_blk_start(struct vs_blk_req *req);

/* Map the next round and do it. */
void vs_blk_round(struct vs_blk_req *req);

/* Nobody said what is at [start, last]: requests that wait for it fail. */
void vs_blk_timed_out(struct viommu_blk *blk, viommu_iova_t start,
		      viommu_iova_t last);

/* ------------------------------------------------------------ blk_data.c */

/* Set the data of IN or OUT: @len bytes from @off on of the writable or
 * readable part.  Pieces that meet are joined. */
void vs_blk_data_set(struct vs_blk_req *req, bool in, uint64_t off,
		     uint64_t len);

/* Map the next round.  0; -EAGAIN: no map is to be had; -EINPROGRESS: what is
 * missing was asked for; -EFAULT, -EACCES: the guest has been told.  On error
 * nothing is mapped: who waits for an answer holds no map. */
int vs_blk_data_map(struct vs_blk_req *req);

/* Let go of the round.  round_done bytes of it were transferred. */
void vs_blk_data_unmap(struct vs_blk_req *req);

/* Have what was not done yet mapped again from where it stands; nothing is
 * mapped now. */
void vs_blk_data_rewind(struct vs_blk_req *req);

/* Take @n bytes off the front of req->io. */
void vs_blk_io_advance(struct vs_blk_req *req, uint64_t n);

#endif
