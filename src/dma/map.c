/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map and unmap: pointers into the guest's pages, for as long as the caller
 * holds them.  The pin that guarded the look stays, HELD, until unmap, or the
 * map goes into its seat's index (core/pin.h); d remembers which.
 */
#include "base/range.h"
#include "core/dirty.h"
#include "dma/access.h"
#include "dma/quick.h"

/* What map collects on its way along the range. */
struct pieces {
	struct viommu_dma *d;
	uint64_t gpa, gpa_last; /* around all of them */
	uint64_t next;		/* GPA, if they are one range */
	bool scattered;
};

/* Pieces that meet in memory, too, are one. */
static int piece_add(struct pieces *p, const struct vi_piece *piece)
{
	struct viommu_dma *d = p->d;
	struct iovec *prev = d->niov ? &d->iov[d->niov - 1] : NULL;

	if (prev && (char *)prev->iov_base + prev->iov_len == piece->host) {
		prev->iov_len += piece->len;
	} else {
		if (d->niov == d->max_iov)
			return -E2BIG;
		d->iov[d->niov].iov_base = piece->host;
		d->iov[d->niov++].iov_len = piece->len;
	}
	/* GPA 0 does not follow the last one */
	p->scattered =
		p->scattered || (prev && (piece->gpa != p->next || !p->next));
	p->next = piece->gpa + piece->len;
	p->gpa = vi_min(p->gpa, piece->gpa);
	p->gpa_last = vi_max(p->gpa_last, piece->gpa + (piece->len - 1));
	return 0;
}

static int map_pieces(struct vi_access *a, struct pieces *p)
{
	uint64_t iova = a->iova, len = p->d->len;
	struct vi_piece piece;
	int rc;

	for (;;) {
		rc = vi_access_look(a, iova, len, &piece);
		if (rc)
			return vi_access_refuse(a, iova, rc);
		rc = piece.host ? piece_add(p, &piece) : -ENODEV;
		if (rc) {
			if (rc == -E2BIG && vi_access_turned(a))
				return VI_ACCESS_AGAIN;
			vi_access_finish(a);
			return rc;
		}
		if (piece.len == len)
			return 0;
		iova += piece.len;
		len -= piece.len;
	}
}

static void count(struct vi_seat *seat, uint32_t prot, uint64_t len)
{
	vi_count(&seat->maps, 1);
	if (prot & VIOMMU_READ)
		vi_count(&seat->bytes_read, len);
	if (prot & VIOMMU_WRITE)
		vi_count(&seat->bytes_written, len);
}

/* Maps that may be revoked are not for pins: leave the long ones alone. */
static struct vi_pin *pin_claim(const struct viommu_dma *d)
{
	return d->revoke ? vi_pin_claim(d->ep->vi)
			 : vi_pin_claim_long(d->ep->vi);
}

static int map_once(struct vi_access *a, struct viommu_dma *d)
{
	struct pieces p = { .d = d, .gpa = UINT64_MAX };
	struct vi_seat *seat;
	uint64_t len = d->len;
	int rc;

	rc = vi_access_begin_pin(a, pin_claim(d));
	if (rc)
		return rc;
	if (vi_access_wraps(d->iova, d->len))
		return vi_access_refuse_wrap(a);
	d->niov = 0;
	rc = map_pieces(a, &p);
	if (rc)
		return rc;
	seat = a->pin->seat;
	vi_held_of(d)->scattered = p.scattered;
	vi_held_of(d)->gpa = p.gpa;
	if (!vi_pin_keep(a->pin, d, p.gpa, p.gpa_last))
		return VI_ACCESS_AGAIN;
	/* d may have been revoked, and be gone */
	count(seat, a->prot, len);
	return 0;
}

static __attribute__((noinline)) int map_long(struct viommu_dma *d)
{
	struct vi_access a;
	int rc;

	vi_access_init(&a, d->ep, d->iova, d->len, d->prot);
	a.mem_prot = vi_map_prot(d->prot);
	do
		rc = map_once(&a, d);
	while (rc == VI_ACCESS_AGAIN);
	return rc;
}

/* The map is found.  False: start over. */
static inline bool quick_hold(struct vi_quick *q, struct viommu_dma *d,
			      void *host)
{
	struct vi_held *h = vi_held_of(d);

	d->iov[0].iov_base = host;
	d->iov[0].iov_len = d->len;
	d->niov = 1;
	h->vi = q->vi;
	h->seat = q->seat;
	h->gpa = q->gpa;
	h->scattered = false;
	vi_held_in_pin(q->pin, d, q->gpa, q->gpa + (d->len - 1));
	if (vi_fences_pend(q->vi) && !vi_pin_kept(h))
		return false;
	count(q->seat, d->prot, d->len);
	return true;
}

static struct vi_quick_what quick_what(const struct viommu_dma *d)
{
	return (struct vi_quick_what){
		.ep = d->ep,
		.iova = d->iova,
		.len = d->len,
		.prot = d->prot,
		.hold = true,
	};
}

/* @pin is published, all of it is at @gpa. */
static VI_NOINLINE int map_walk(struct viommu_dma *d, struct vi_pin *pin,
				uint64_t gpa)
{
	struct vi_quick_what w = quick_what(d);
	struct vi_quick q;
	void *host = vi_quick_walk(&q, &w, pin, gpa);

	if (!host) {
		vi_quick_undo(&q);
		return map_long(d);
	}
	return quick_hold(&q, d, host) ? 0 : map_long(d);
}

int viommu_dma_map(struct viommu_dma *d)
{
	struct vi_quick_what w = quick_what(d);
	struct vi_quick q;
	void *host;

	if (!d->len || !d->prot ||
	    (d->prot & ~(uint32_t)(VIOMMU_READ | VIOMMU_WRITE)))
		return -EINVAL;
	if (VI_UNLIKELY(d->revoke || !d->max_iov || !vi_quick_begin(&q, &w)))
		return map_long(d);
	if (VI_UNLIKELY(!vi_quick_leaf(&q, &w))) {
		vi_quick_undo(&q);
		return map_long(d);
	}
	host = vi_quick_host(&q, &w);
	if (VI_UNLIKELY(!host))
		return map_walk(d, q.pin, q.gpa);
	return VI_LIKELY(quick_hold(&q, d, host)) ? 0 : map_long(d);
}

static void mark_written(const struct viommu_dma *d, const struct vi_held *h,
			 uint64_t written)
{
	struct viommu_memory *mem = d->ep->memory;

	if (h->scattered)
		vi_dirty_mark_host(mem, d->iov, d->niov, written);
	else
		vi_dirty_mark_held(mem, h->gpa, written);
}

void viommu_dma_unmap(struct viommu_dma *d, uint64_t written)
{
	struct vi_held *h = vi_held_of(d);
	struct viommu *vi;

	VI_BUG_ON(written > d->len);
	/* while the map keeps endpoint and memory */
	if (written && (d->prot & VIOMMU_WRITE))
		mark_written(d, h, vi_min(written, d->len));
	if (VI_UNLIKELY(!h->pin)) {
		vi_pin_let_go(h);
		return;
	}
	vi = h->vi;
	vi_pin_step(vi, h->pin, VI_PIN_IDLE);
	if (vi_fences_pend(vi))
		vi_fence_settle(vi, h);
}
