/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Virtqueues: what a request is (virtio 1.3, 2.7.5), and copies out of and into
 * one.  Everything is read once, into our own memory, and checked there.
 *
 * Who locks what: nobody, a queue is one thread's.
 */

#include <endian.h>
#include <errno.h>
#include <viommu/dma.h>

#include "serve/virtqueue_impl.h"

#define TOTAL_MAX   (UINT64_C(1) << 32) /* 2.7.5.1: of one chain */
#define BURST_DESCS 32u			/* descriptors read in one burst */

/* -------------------------------------------------------------- a chain */

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

static void desc_decode(struct desc *d, const struct vring_desc *raw)
{
	d->addr = le64toh(raw->addr);
	d->len = le32toh(raw->len);
	d->flags = le16toh(raw->flags);
	d->next = le16toh(raw->next);
}

/* Entry @i of the ring's own table, or of an indirect one already copied. */
static int desc_get(struct viommu_virtqueue *vq, const struct vring_desc *table,
		    unsigned i, struct desc *d)
{
	viommu_iova_t at = vq->ring.desc + sizeof(*table) * (uint64_t)i;
	struct vring_desc raw;
	int rc;

	if (table) {
		desc_decode(d, &table[i]);
		return 0;
	}
	rc = viommu_dma_read(vq->cfg.endpoint, at, &raw, sizeof(raw));
	if (rc)
		return vs_vq_refused(vq, rc, at, sizeof(raw));
	desc_decode(d, &raw);
	return 0;
}

static int segment_add(struct viommu_virtqueue *vq, struct viommu_element *e,
		       const struct desc *d)
{
	bool in = d->flags & VRING_DESC_F_WRITE;

	if (!in && e->in_len)
		return vs_vq_break(vq, "readable descriptor after writable");
	if (d->len > TOTAL_MAX - e->out_len - e->in_len)
		return vs_vq_break(vq, "chain describes more than 2^32 bytes");
	/* there is nothing in it, and no map of nothing */
	if (!d->len)
		return 0;
	if (e->nout + e->nin == e->max)
		return vs_vq_break(vq, "chain of too many descriptors");
	e->segments[e->nout + e->nin] =
		(struct viommu_piece){ .iova = d->addr, .len = d->len };
	if (in) {
		e->nin++;
		e->in_len += d->len;
	} else {
		e->nout++;
		e->out_len += d->len;
	}
	return 0;
}

/* Copy the table that @d describes to vq->table; how many entries. */
static int indirect_read(struct viommu_virtqueue *vq, const struct desc *d)
{
	unsigned n = d->len / (unsigned)sizeof(struct vring_desc);
	int rc;

	if (!vq->ring.indirect)
		return vs_vq_break(vq, "indirect descriptor, not negotiated");
	if (d->flags & VRING_DESC_F_NEXT)
		return vs_vq_break(vq, "indirect descriptor with a next");
	if (!n || d->len % sizeof(struct vring_desc))
		return vs_vq_break(vq, "indirect table of odd length");
	if (n > vq->cfg.max_segments)
		return vs_vq_break(vq, "indirect table too long");
	/* what is left to do is in the copy */
	vs_vq_burst_end(vq);
	rc = viommu_dma_read(vq->cfg.endpoint, d->addr, vq->table, d->len);
	return rc ? vs_vq_refused(vq, rc, d->addr, d->len) : (int)n;
}

enum {
	CHAIN_INDIRECT = 1 /* goes on in another table */
};

/*
 * From entry @i of a table of @n on: 0, an error, or CHAIN_INDIRECT and the
 * descriptor that says where.  A chain of more steps than its table has
 * entries has been somewhere twice.
 */
static int table_walk(struct viommu_virtqueue *vq, struct viommu_element *e,
		      const struct vring_desc *table, unsigned n, unsigned i,
		      struct desc *d)
{
	int rc;

	for (unsigned steps = 0; steps < n; steps++) {
		if (i >= n)
			return vs_vq_break(vq, "descriptor index out of range");
		if (!table && steps % BURST_DESCS == BURST_DESCS - 1) {
			vs_vq_burst_end(vq);
			vs_vq_burst_begin(vq);
		}
		rc = desc_get(vq, table, i, d);
		if (rc)
			return rc;
		if (d->flags & VRING_DESC_F_INDIRECT)
			return CHAIN_INDIRECT;
		rc = segment_add(vq, e, d);
		if (rc || !(d->flags & VRING_DESC_F_NEXT))
			return rc;
		i = d->next;
	}
	return vs_vq_break(vq, "descriptors form a loop");
}

/* The ring's own descriptors come first, an indirect one last (2.7.5.3.2). */
int vs_vq_chain(struct viommu_virtqueue *vq, struct viommu_element *e)
{
	struct desc d;
	int rc;

	e->nout = e->nin = 0;
	e->out_len = e->in_len = 0;
	rc = table_walk(vq, e, NULL, vq->ring.len, e->head, &d);
	if (rc != CHAIN_INDIRECT)
		return rc;
	rc = indirect_read(vq, &d);
	if (rc < 0)
		return rc;
	rc = table_walk(vq, e, vq->table, (unsigned)rc, 0, &d);
	if (rc == CHAIN_INDIRECT)
		return vs_vq_break(vq, "indirect in indirect");
	return rc;
}

/* Only of an indirect table is worth it: the ring's own pages are few, and
 * stay. What is no good is found out by who reads it in its turn. */
void vs_vq_chain_ask(struct viommu_virtqueue *vq, uint16_t head)
{
	struct vring_desc raw;
	struct desc d;
	uint8_t byte;

	if (!vq->ring.indirect ||
	    viommu_dma_read(vq->cfg.endpoint,
			    vq->ring.desc + sizeof(raw) * (uint64_t)head, &raw,
			    sizeof(raw)))
		return;
	desc_decode(&d, &raw);
	if ((d.flags & VRING_DESC_F_INDIRECT) &&
	    viommu_dma_read(vq->cfg.endpoint, d.addr, &byte, 1))
		return;
}

/* ------------------------------------------------------------------ copy */

/* One direction or the other, over @n segments from @s on. */
static int segments_copy(struct viommu_endpoint *ep,
			 const struct viommu_piece *s, uint32_t n, uint64_t off,
			 char *buf, size_t len, bool in)
{
	for (; n && len; n--, s++) {
		uint64_t some = s->len > off ? s->len - off : 0;
		int rc;

		if (some > len)
			some = len;
		if (in)
			rc = viommu_dma_write(ep, s->iova + off, buf,
					      (size_t)some);
		else
			rc = viommu_dma_read(ep, s->iova + off, buf,
					     (size_t)some);
		if (some && rc)
			return rc;
		off = s->len > off ? 0 : off - s->len;
		buf += some;
		len -= (size_t)some;
	}
	return 0;
}

static bool inside(uint64_t room, uint64_t off, size_t len)
{
	return off <= room && len <= room - off;
}

int viommu_virtqueue_read(struct viommu_virtqueue *vq,
			  const struct viommu_element *elem, uint64_t off,
			  void *buf, size_t len)
{
	if (!inside(elem->out_len, off, len))
		return -EMSGSIZE;
	return segments_copy(vq->cfg.endpoint, elem->segments, elem->nout, off,
			     buf, len, false);
}

int viommu_virtqueue_write(struct viommu_virtqueue *vq,
			   const struct viommu_element *elem, uint64_t off,
			   const void *buf, size_t len)
{
	if (!inside(elem->in_len, off, len))
		return -EMSGSIZE;
	/* copied from only */
	return segments_copy(vq->cfg.endpoint, elem->segments + elem->nout,
			     elem->nin, off, (char *)(uintptr_t)buf, len, true);
}
