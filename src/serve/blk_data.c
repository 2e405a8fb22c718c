/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * virtio-blk: guest memory as pointers, round by round (blk_impl.h).
 */

#include <errno.h>
#include <string.h>

#include "serve/blk_impl.h"

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
		.prot = req->type == VIRTIO_BLK_T_IN ? VIOMMU_WRITE
						     : VIOMMU_READ,
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

/*
 * The rest of one segment; less, if it is in so many pieces that they do not
 * even fit a round of its own.  One byte is one piece, so it comes to a stop.
 */
static int map_next(struct vs_blk_req *req)
{
	uint64_t len = req->data[req->at].len - req->at_off;
	int rc;

	if (req->blk->maps == VS_BLK_MAPS_ALL)
		return -EAGAIN;
	do {
		rc = map_some(req, len);
		len /= 2;
	} while (rc == -E2BIG && !req->nmaps && len);
	return rc;
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
	/* what does not fit or has no pin now has its turn in a later round */
	if (rc && (!req->nmaps || (rc != -E2BIG && rc != -EAGAIN))) {
		vs_blk_data_unmap(req);
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
