/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * virtio-blk: guest memory as pointers, round by round (blk_impl.h).
 */

#include <errno.h>
#include <string.h>

#include "serve/blk_impl.h"

#define PAGE	   4096u /* what questions are about, as a rule */
#define ASK_PAGES  256	 /* asked for at once */
#define ASK_AGAIN  8	 /* misses later */
#define MISSES_MAX 48	 /* then a round need not be complete */

/* Also where two descriptors are one piece of IOVA: one map for both. */
static bool joins(const struct viommu_piece *a, const struct viommu_piece *b)
{
	viommu_iova_t next = a->iova + a->len;

	return next == b->iova && next > a->iova;
}

void vs_blk_data_set(struct vs_blk_req *req, bool in, uint64_t off,
		     uint64_t len)
{
	const struct viommu_element *e = &req->elem;
	struct viommu_piece *s = e->segments + (in ? e->nout : 0);
	uint32_t n = in ? e->nin : e->nout;
	uint32_t made = 0;

	req->data = s;
	req->len = len;
	for (uint32_t i = 0; i < n && len; i++) {
		struct viommu_piece some = s[i];
		uint64_t skip = off < some.len ? off : some.len;

		off -= skip;
		some.iova += skip;
		some.len -= skip;
		if (some.len > len)
			some.len = len;
		len -= some.len;
		if (!some.len)
			continue;
		/* made <= i: what is overwritten has been read */
		if (made && joins(&s[made - 1], &some))
			s[made - 1].len += some.len;
		else
			s[made++] = some;
	}
	req->ndata = made;
}

static uint32_t data_prot(const struct vs_blk_req *req)
{
	return req->type == VIRTIO_BLK_T_IN ? VIOMMU_WRITE : VIOMMU_READ;
}

/* Map up to @len bytes from where the request is.  -E2BIG: too many pieces
 * for the room that is left. */
static int map_some(struct vs_blk_req *req, uint64_t len)
{
	struct viommu_dma *d = &req->maps[req->nmaps];
	const struct viommu_piece *s = &req->data[req->at];
	int rc;

	*d = (struct viommu_dma){
		.ep = req->blk->cfg.endpoint,
		.iova = s->iova + req->at_off,
		.len = len,
		.prot = data_prot(req),
		.iov = &req->iov[req->niov],
		.max_iov = VS_BLK_IOVS - req->niov,
	};
	rc = viommu_dma_map(d);
	if (rc)
		return rc;
	req->blk->maps++;
	req->nmaps++;
	req->niov += d->niov;
	req->round_len += len;
	req->at_off += len;
	if (req->at_off == s->len) {
		req->at++;
		req->at_off = 0;
	}
	return 0;
}

/* Whether less than all of a segment is to be tried: it is in so many pieces
 * that they do not even fit a round of its own; or it does not come to be
 * mapped as a whole. */
static bool smaller(const struct vs_blk_req *req, int rc)
{
	return !req->nmaps && (rc == -E2BIG || (rc == -EINPROGRESS &&
						req->misses == MISSES_MAX));
}

/* The rest of one segment.  One byte is one piece, so it comes to a stop. */
static int map_next(struct vs_blk_req *req)
{
	uint64_t len = req->data[req->at].len - req->at_off;
	int rc;

	if (req->blk->maps == VS_BLK_MAPS_ALL)
		return -EAGAIN;
	do {
		rc = map_some(req, len);
		len /= 2;
	} while (smaller(req, rc) && len);
	return rc;
}

/*
 * Ask for all that is missing from where the request is, @pages at most, so
 * that the answers are not waited for one after the other.  A map that succeeds
 * is let go of at once.  Anything else is for the round itself to find out.
 */
static void ask_ahead(const struct vs_blk_req *req, unsigned pages)
{
	uint64_t off = req->at_off;
	uint32_t at = req->at;
	struct iovec iov[2];

	for (unsigned n = 0; n < pages && at < req->ndata; n++) {
		const struct viommu_piece *s = &req->data[at];
		uint64_t some = PAGE - ((s->iova + off) & (PAGE - 1));
		struct viommu_dma d = {
			.ep = req->blk->cfg.endpoint,
			.iova = s->iova + off,
			.len = some < s->len - off ? some : s->len - off,
			.prot = data_prot(req),
			.iov = iov,
			.max_iov = 2,
		};
		int rc = viommu_dma_map(&d);

		if (!rc)
			viommu_dma_unmap(&d, 0);
		else if (rc != -EINPROGRESS && rc != -E2BIG)
			return;
		off += d.len;
		if (off == s->len) {
			at++;
			off = 0;
		}
	}
}

/*
 * A round that is not complete waits, got as far as @len: one I/O is better
 * than two.  If it gets no farther, questions may have been taken back, so they
 * are asked again; or entries go as fast as they come, so it is fewer each
 * time.
 */
static void round_missed(struct vs_blk_req *req, uint64_t len)
{
	if (len > req->reach)
		req->reach = len;
	else if (req->misses < MISSES_MAX)
		req->misses++;
	if (req->misses < req->asks_at)
		return;
	ask_ahead(req, ASK_PAGES >> (req->misses / 4));
	req->asks_at = req->misses + ASK_AGAIN;
}

/* What does not fit, has no pin now or is not answered has its turn in a later
 * round, if this one has something. */
static bool round_suffices(const struct vs_blk_req *req, int rc)
{
	if (!rc)
		return true;
	if (!req->nmaps)
		return false;
	return rc == -E2BIG || rc == -EAGAIN ||
	       (rc == -EINPROGRESS && req->misses == MISSES_MAX);
}

int vs_blk_data_map(struct vs_blk_req *req)
{
	uint64_t at_off = req->at_off;
	uint32_t at = req->at;
	int rc = 0;

	req->nmaps = req->niov = 0;
	req->round_len = req->round_done = 0;
	while (!rc && req->at < req->ndata && req->nmaps < VS_BLK_MAPS &&
	       req->niov < VS_BLK_IOVS)
		rc = map_next(req);
	if (!round_suffices(req, rc)) {
		vs_blk_data_unmap(req);
		if (rc == -EINPROGRESS)
			round_missed(req, req->round_len);
		req->at = at;
		req->at_off = at_off;
		return rc;
	}
	memcpy(req->io, req->iov, req->niov * sizeof(*req->io));
	req->nio = req->niov;
	return 0;
}

void vs_blk_data_unmap(struct vs_blk_req *req)
{
	uint64_t done = req->round_done;

	for (uint32_t i = 0; i < req->nmaps; i++) {
		struct viommu_dma *d = &req->maps[i];
		uint64_t some = done < d->len ? done : d->len;

		done -= some;
		viommu_dma_unmap(d, req->type == VIRTIO_BLK_T_IN ? some : 0);
	}
	req->blk->maps -= req->nmaps;
	req->nmaps = 0;
}

void vs_blk_data_rewind(struct vs_blk_req *req)
{
	uint64_t off = req->done;
	uint32_t at = 0;

	while (at < req->ndata && off >= req->data[at].len)
		off -= req->data[at++].len;
	req->at = at;
	req->at_off = off;
}

void vs_blk_io_advance(struct vs_blk_req *req, uint64_t n)
{
	uint32_t gone = 0;

	while (gone < req->nio && n >= req->io[gone].iov_len)
		n -= req->io[gone++].iov_len;
	req->nio -= gone;
	memmove(req->io, req->io + gone, req->nio * sizeof(*req->io));
	if (req->nio) {
		req->io[0].iov_base = (char *)req->io[0].iov_base + n;
		req->io[0].iov_len -= n;
	}
}
