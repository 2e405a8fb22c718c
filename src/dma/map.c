/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * map and unmap: pointers into the guest's pages, for as long as the caller
 * holds them.  The pin that guarded the look stays, HELD, until unmap; d
 * remembers which it is.
 */
#include "dma/access.h"

enum {
	PIN,
	INSTANCE,
};

/* What map collects on its way along the range. */
struct pieces {
	struct viommu_dma *d;
	uint64_t gpa, gpa_last; /* around all of them */
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
		rc = piece_add(p, &piece);
		if (rc) {
			vi_access_finish(a);
			return rc;
		}
		if (piece.len == len)
			return 0;
		iova += piece.len;
		len -= piece.len;
	}
}

int viommu_dma_map(struct viommu_dma *d)
{
	struct pieces p = { .d = d, .gpa = UINT64_MAX };
	struct viommu *vi = d->ep->vi;
	struct vi_access a;
	struct vi_seat *seat;
	int rc;

	if (!d->len || !d->prot ||
	    (d->prot & ~(uint32_t)(VIOMMU_READ | VIOMMU_WRITE)))
		return -EINVAL;
	rc = vi_access_begin(&a, d->ep, d->iova, d->len, d->prot);
	if (rc)
		return rc;
	if (vi_access_wraps(d->iova, d->len)) {
		vi_access_deny_wrap(&a);
		return vi_access_refuse(&a, d->iova, -EFAULT);
	}
	d->niov = 0;
	rc = map_pieces(&a, &p);
	if (rc)
		return rc;
	seat = a.pin->seat;
	vi_count(&seat->maps, 1);
	if (d->prot & VIOMMU_READ)
		vi_count(&seat->bytes_read, d->len);
	if (d->prot & VIOMMU_WRITE)
		vi_count(&seat->bytes_written, d->len);
	d->opaque[PIN] = (uintptr_t)a.pin;
	d->opaque[INSTANCE] = (uintptr_t)vi;
	vi_pin_keep(vi, a.pin, p.gpa, p.gpa_last);
	return 0;
}

void viommu_dma_unmap(struct viommu_dma *d, uint64_t written)
{
	struct vi_pin *pin = (struct vi_pin *)(uintptr_t)d->opaque[PIN];
	struct viommu *vi = (struct viommu *)(uintptr_t)d->opaque[INSTANCE];

	VI_BUG_ON(!pin || written > d->len);
	(void)written; /* for the dirty log, which is to come */
	d->opaque[PIN] = 0;
	vi_pin_drop(vi, pin);
}
