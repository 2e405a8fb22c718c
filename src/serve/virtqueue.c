/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Split virtqueues, the device's side (virtio 1.3, 2.7).
 *
 * Everything in the ring is read once, into our own memory, and checked there:
 * the guest may rewrite it at any time.
 *
 * Work is bounded by what we count ourselves, never by what the ring says: a
 * chain by its table's length, the requests in flight by a state per head, so
 * that what waits to be pushed fits an array as long as the ring.
 *
 * Two store-then-load pairs keep notifications from being lost; whoever comes
 * second sees the other (2.7.7, 2.7.10):
 *
 *	device: avail_event or flags, then avail idx | driver: idx, then event
 *	device: used idx, then used_event or flags   | driver: event, then idx
 *
 * A pop and a publish are a burst each: a handful of accesses under one
 * barrier.  Fences wait for bursts, so what a guest can make long is left out
 * of them: a long chain is several bursts, an indirect table is read outside.
 *
 * Who locks what: nobody, a queue is one thread's.
 */

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <viommu/dma.h>
#include <viommu/serve/virtqueue.h>

#include "serve/opts.h"

#define MAX_LEN	    32768u
#define TOTAL_MAX   (UINT64_C(1) << 32) /* 2.7.5.1: of one chain */
#define AVAIL_FLAGS 0
#define AVAIL_IDX   2
#define AVAIL_RING  4
#define USED_FLAGS  0
#define USED_IDX    2
#define USED_RING   4
#define BURST_DESCS 32u /* descriptors read in one burst */

/* Whose a head is. */
enum head {
	HEAD_DRIVER,
	HEAD_POPPED,
	HEAD_PUSHED, /* but not published */
};

struct viommu_virtqueue {
	struct viommu_virtqueue_config cfg;
	struct viommu_ring ring;
	bool running;
	bool armed; /* the driver was told to notify, for index next */
	const char *broken;

	uint16_t next; /* avail index of the next request */
	uint16_t seen; /* avail idx as last read: next or later */
	uint16_t used; /* used idx as the driver sees it */

	uint8_t *heads;			 /* enum head, each */
	struct vring_used_elem *pending; /* pushed, not published */
	unsigned npending;
	struct vring_desc *table; /* an indirect one, copied */
	bool burst;		  /* in one */
};

static int queue_break(struct viommu_virtqueue *vq, const char *why)
{
	vq->broken = why;
	return -EPROTO;
}

/* What an access to the ring failed with. */
static int queue_refused(struct viommu_virtqueue *vq, int rc)
{
	if (rc == -EAGAIN)
		return rc;
	return queue_break(vq, rc == -EINVAL ? "ring is no aligned memory"
					     : "ring cannot be accessed");
}

/* Accesses cost more without one, that is all: so it may be refused. */
static void burst_begin(struct viommu_virtqueue *vq)
{
	vq->burst = !viommu_dma_enter(vq->cfg.endpoint);
}

static void burst_end(struct viommu_virtqueue *vq)
{
	if (vq->burst)
		viommu_dma_exit(vq->cfg.endpoint);
	vq->burst = false;
}

/* --------------------------------------------------------- ring accesses */

static uint64_t avail_ring_len(const struct viommu_ring *r)
{
	return AVAIL_RING + 2 * (uint64_t)r->len + (r->event_idx ? 2 : 0);
}

static uint64_t used_ring_len(const struct viommu_ring *r)
{
	return USED_RING + sizeof(struct vring_used_elem) * (uint64_t)r->len +
	       (r->event_idx ? 2 : 0);
}

static int load16(struct viommu_virtqueue *vq, viommu_iova_t iova,
		  uint16_t *val)
{
	uint64_t word;
	int rc = viommu_dma_load(vq->cfg.endpoint, iova, 2, &word);

	if (rc)
		return queue_refused(vq, rc);
	*val = (uint16_t)word;
	return 0;
}

static int store16(struct viommu_virtqueue *vq, viommu_iova_t iova,
		   uint16_t val)
{
	int rc = viommu_dma_store(vq->cfg.endpoint, iova, 2, val);

	return rc ? queue_refused(vq, rc) : 0;
}

static int load_used_event(struct viommu_virtqueue *vq, uint16_t *val)
{
	return load16(vq,
		      vq->ring.avail + AVAIL_RING + 2 * (uint64_t)vq->ring.len,
		      val);
}

static int store_avail_event(struct viommu_virtqueue *vq, uint16_t val)
{
	return store16(vq,
		       vq->ring.used + USED_RING +
			       sizeof(struct vring_used_elem) *
				       (uint64_t)vq->ring.len,
		       val);
}

/* ------------------------------------------------------------------ life */

int viommu_virtqueue_create(const struct viommu_virtqueue_config *cfg,
			    struct viommu_virtqueue **out)
{
	struct viommu_virtqueue *vq = calloc(1, sizeof(*vq));
	unsigned n;
	int rc;

	if (!vq)
		return -ENOMEM;
	rc = vs_opts_copy(&vq->cfg, sizeof(vq->cfg), cfg, cfg->size);
	n = vq->cfg.max_len;
	if (!rc && (!vq->cfg.endpoint || !n || (n & (n - 1)) || n > MAX_LEN ||
		    vq->cfg.max_segments < n || vq->cfg.reserved))
		rc = -EINVAL;
	if (rc) {
		free(vq);
		return rc;
	}
	vq->heads = calloc(n, sizeof(*vq->heads));
	vq->pending = calloc(n, sizeof(*vq->pending));
	vq->table = calloc(vq->cfg.max_segments, sizeof(*vq->table));
	if (!vq->heads || !vq->pending || !vq->table) {
		viommu_virtqueue_destroy(vq);
		return -ENOMEM;
	}
	*out = vq;
	return 0;
}

void viommu_virtqueue_destroy(struct viommu_virtqueue *vq)
{
	if (!vq)
		return;
	free(vq->heads);
	free(vq->pending);
	free(vq->table);
	free(vq);
}

static bool part_valid(viommu_iova_t iova, uint64_t len, uint64_t align)
{
	return !(iova & (align - 1)) && iova + (len - 1) >= iova;
}

static bool ring_valid(const struct viommu_virtqueue *vq,
		       const struct viommu_ring *r)
{
	if (!r->len || (r->len & (r->len - 1)) || r->len > vq->cfg.max_len)
		return false;
	return part_valid(r->desc, sizeof(struct vring_desc) * r->len,
			  VRING_DESC_ALIGN_SIZE) &&
	       part_valid(r->avail, avail_ring_len(r),
			  VRING_AVAIL_ALIGN_SIZE) &&
	       part_valid(r->used, used_ring_len(r), VRING_USED_ALIGN_SIZE);
}

int viommu_virtqueue_start(struct viommu_virtqueue *vq,
			   const struct viommu_ring *ring)
{
	if (!ring_valid(vq, ring))
		return -EINVAL;
	viommu_virtqueue_stop(vq);
	vq->ring = *ring;
	vq->broken = NULL;
	vq->next = vq->seen = vq->used = 0;
	/* as the driver zeroed it: notify at index 0, or always */
	vq->armed = true;
	vq->running = true;
	return 0;
}

void viommu_virtqueue_stop(struct viommu_virtqueue *vq)
{
	vq->running = false;
	vq->npending = 0;
	memset(vq->heads, HEAD_DRIVER, vq->cfg.max_len);
}

const char *viommu_virtqueue_broken(const struct viommu_virtqueue *vq)
{
	return vq->broken;
}

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
	struct vring_desc raw;
	int rc;

	if (table) {
		desc_decode(d, &table[i]);
		return 0;
	}
	rc = viommu_dma_read(vq->cfg.endpoint,
			     vq->ring.desc + sizeof(raw) * (uint64_t)i, &raw,
			     sizeof(raw));
	if (rc)
		return queue_refused(vq, rc);
	desc_decode(d, &raw);
	return 0;
}

static int segment_add(struct viommu_virtqueue *vq, struct viommu_element *e,
		       const struct desc *d)
{
	bool in = d->flags & VRING_DESC_F_WRITE;

	if (!in && e->in_len)
		return queue_break(vq, "readable descriptor after writable");
	if (d->len > TOTAL_MAX - e->out_len - e->in_len)
		return queue_break(vq, "chain describes more than 2^32 bytes");
	/* there is nothing in it, and no map of nothing */
	if (!d->len)
		return 0;
	if (e->nout + e->nin == e->max)
		return queue_break(vq, "chain of too many descriptors");
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
		return queue_break(vq, "indirect descriptor, not negotiated");
	if (d->flags & VRING_DESC_F_NEXT)
		return queue_break(vq, "indirect descriptor with a next");
	if (!n || d->len % sizeof(struct vring_desc))
		return queue_break(vq, "indirect table of odd length");
	if (n > vq->cfg.max_segments)
		return queue_break(vq, "indirect table too long");
	/* what is left to do is in the copy */
	burst_end(vq);
	rc = viommu_dma_read(vq->cfg.endpoint, d->addr, vq->table, d->len);
	return rc ? queue_refused(vq, rc) : (int)n;
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
			return queue_break(vq, "descriptor index out of range");
		if (!table && steps % BURST_DESCS == BURST_DESCS - 1) {
			burst_end(vq);
			burst_begin(vq);
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
	return queue_break(vq, "descriptors form a loop");
}

/* The ring's own descriptors come first, an indirect one last (2.7.5.3.2). */
static int chain_walk(struct viommu_virtqueue *vq, struct viommu_element *e)
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
		return queue_break(vq, "indirect in indirect");
	return rc;
}

/* ------------------------------------------------------------------- pop */

/* Read the driver's idx. */
static int avail_look(struct viommu_virtqueue *vq)
{
	uint16_t idx;
	int rc = load16(vq, vq->ring.avail + AVAIL_IDX, &idx);

	if (rc)
		return rc;
	if ((uint16_t)(idx - vq->next) > vq->ring.len)
		return queue_break(vq, "avail idx jumped");
	vq->seen = idx;
	return 0;
}

/* Nothing is there: ask to be notified, then look again. */
static int notify_arm(struct viommu_virtqueue *vq)
{
	int rc;

	if (vq->armed)
		return 0;
	if (vq->ring.event_idx)
		rc = store_avail_event(vq, vq->next);
	else
		rc = store16(vq, vq->ring.used + USED_FLAGS, 0);
	if (rc)
		return rc;
	vq->armed = true;
	atomic_thread_fence(memory_order_seq_cst);
	return avail_look(vq);
}

/* There is something: no need to be told of more.  With EVENT_IDX the event
 * index, which stays behind, says so. */
static int notify_disarm(struct viommu_virtqueue *vq)
{
	if (vq->armed && !vq->ring.event_idx) {
		int rc = store16(vq, vq->ring.used + USED_FLAGS,
				 VRING_USED_F_NO_NOTIFY);
		if (rc)
			return rc;
	}
	vq->armed = false;
	return 0;
}

static int head_get(struct viommu_virtqueue *vq, uint16_t *head)
{
	uint64_t at = vq->next & (vq->ring.len - 1u);
	int rc = load16(vq, vq->ring.avail + AVAIL_RING + 2 * at, head);

	if (rc)
		return rc;
	if (*head >= vq->ring.len)
		return queue_break(vq, "head out of range");
	if (vq->heads[*head] != HEAD_DRIVER)
		return queue_break(vq, "head made available twice");
	return 0;
}

static int pop(struct viommu_virtqueue *vq, struct viommu_element *elem)
{
	int rc = 0;

	if (vq->next == vq->seen)
		rc = avail_look(vq);
	if (!rc && vq->next == vq->seen)
		rc = notify_arm(vq);
	if (rc)
		return rc;
	if (vq->next == vq->seen)
		return -ENOENT;
	rc = notify_disarm(vq);
	if (!rc)
		rc = head_get(vq, &elem->head);
	if (!rc)
		rc = chain_walk(vq, elem);
	if (rc)
		return rc;
	vq->heads[elem->head] = HEAD_POPPED;
	vq->next++;
	return 0;
}

int viommu_virtqueue_pop(struct viommu_virtqueue *vq,
			 struct viommu_element *elem)
{
	int rc;

	if (vq->broken)
		return -EPROTO;
	if (!vq->running)
		return -ENOENT;
	burst_begin(vq);
	rc = pop(vq, elem);
	burst_end(vq);
	return rc;
}

/* ------------------------------------------------------------------ push */

void viommu_virtqueue_push(struct viommu_virtqueue *vq,
			   const struct viommu_element *elem, uint32_t written)
{
	/* forgotten by a stop? */
	if (!vq->running || elem->head >= vq->ring.len ||
	    vq->heads[elem->head] != HEAD_POPPED)
		return;
	vq->heads[elem->head] = HEAD_PUSHED;
	vq->pending[vq->npending++] = (struct vring_used_elem){
		.id = htole32(elem->head),
		.len = htole32(written),
	};
}

/* Write what is pending behind what the driver sees; in two pieces where the
 * ring wraps. */
static int used_write(struct viommu_virtqueue *vq)
{
	unsigned at = vq->used & (vq->ring.len - 1u);
	unsigned first = vq->ring.len - at;
	viommu_iova_t ring = vq->ring.used + USED_RING;
	int rc;

	if (first > vq->npending)
		first = vq->npending;
	rc = viommu_dma_write(vq->cfg.endpoint,
			      ring + sizeof(*vq->pending) * (uint64_t)at,
			      vq->pending, sizeof(*vq->pending) * first);
	if (!rc)
		rc = viommu_dma_write(
			vq->cfg.endpoint, ring, vq->pending + first,
			sizeof(*vq->pending) * (vq->npending - first));
	if (rc)
		return queue_refused(vq, rc);
	return store16(vq, vq->ring.used + USED_IDX,
		       (uint16_t)(vq->used + vq->npending));
}

/* Whether the driver wants to be interrupted, now that idx went from @old to
 * where it is. */
static int interrupt_wanted(struct viommu_virtqueue *vq, uint16_t old)
{
	uint16_t word;
	int rc;

	atomic_thread_fence(memory_order_seq_cst);
	if (vq->ring.event_idx)
		rc = load_used_event(vq, &word);
	else
		rc = load16(vq, vq->ring.avail + AVAIL_FLAGS, &word);
	if (rc == -EAGAIN)
		return 1; /* one too many does no harm */
	if (rc)
		return rc;
	if (vq->ring.event_idx)
		return vring_need_event(word, vq->used, old) ? 1 : 0;
	return word & VRING_AVAIL_F_NO_INTERRUPT ? 0 : 1;
}

static int publish(struct viommu_virtqueue *vq)
{
	uint16_t old = vq->used;
	int rc = used_write(vq);

	if (rc)
		return rc;
	for (unsigned i = 0; i < vq->npending; i++)
		vq->heads[le32toh(vq->pending[i].id)] = HEAD_DRIVER;
	vq->used = (uint16_t)(vq->used + vq->npending);
	vq->npending = 0;
	return interrupt_wanted(vq, old);
}

int viommu_virtqueue_publish(struct viommu_virtqueue *vq)
{
	int rc;

	if (vq->broken)
		return -EPROTO;
	if (!vq->running || !vq->npending)
		return 0;
	burst_begin(vq);
	rc = publish(vq);
	burst_end(vq);
	return rc;
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
