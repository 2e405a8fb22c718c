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
 * Calls that came to nothing, since a pin or a mapping was missing, have
 *changed nothing that counts, and start from the beginning when they are made
 *again.
 *
 * Where the ring has to be asked for, so have the tables of requests, each
 *anew: a pop that waits for one asks for those behind it, too.
 *
 * A queue that goes on where another process left off looks at the ring and its
 * in-flight area (virtqueue_inflight.h) when it first pops or publishes, not
 * when it is started: the ring may have to be asked for.
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

#include "serve/opts.h"
#include "serve/virtqueue_impl.h"

#define MAX_LEN	    32768u
#define AVAIL_FLAGS 0
#define AVAIL_IDX   2
#define AVAIL_RING  4
#define USED_FLAGS  0
#define USED_IDX    2
#define USED_RING   4
#define ASK_AHEAD   16 /* requests */

int vs_vq_break(struct viommu_virtqueue *vq, const char *why)
{
	vq->broken = why;
	return -EPROTO;
}

/* What an access to the ring, @len bytes at @iova, failed with. */
int vs_vq_refused(struct viommu_virtqueue *vq, int rc, viommu_iova_t iova,
		  uint64_t len)
{
	if (rc == -EAGAIN)
		return rc;
	if (rc == -EINPROGRESS) {
		vq->waits[vq->call] = (struct wait){
			.waits = true,
			.start = iova,
			.last = iova + (len - 1),
		};
		return rc;
	}
	return vs_vq_break(vq, rc == -EINVAL ? "ring is no aligned memory"
					     : "ring cannot be accessed");
}

/* Accesses cost more without one, that is all: so it may be refused. */
void vs_vq_burst_begin(struct viommu_virtqueue *vq)
{
	vq->burst = !viommu_dma_enter(vq->cfg.endpoint);
}

void vs_vq_burst_end(struct viommu_virtqueue *vq)
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
		return vs_vq_refused(vq, rc, iova, 2);
	*val = (uint16_t)word;
	return 0;
}

static int store16(struct viommu_virtqueue *vq, viommu_iova_t iova,
		   uint16_t val)
{
	int rc = viommu_dma_store(vq->cfg.endpoint, iova, 2, val);

	return rc ? vs_vq_refused(vq, rc, iova, 2) : 0;
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
	vq->redo = calloc(n, sizeof(*vq->redo));
	if (!vq->heads || !vq->pending || !vq->table || !vq->redo) {
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
	free(vq->redo);
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

static void queue_start(struct viommu_virtqueue *vq,
			const struct viommu_ring *ring, uint16_t next)
{
	viommu_virtqueue_stop(vq);
	vq->ring = *ring;
	vq->broken = NULL;
	vq->next = vq->seen = next;
	vq->used = 0;
	vq->running = true;
}

int viommu_virtqueue_start(struct viommu_virtqueue *vq,
			   const struct viommu_ring *ring)
{
	if (!ring_valid(vq, ring))
		return -EINVAL;
	queue_start(vq, ring, 0);
	/* as the driver zeroed it: notify at index 0, or always */
	vq->armed = true;
	return 0;
}

int viommu_virtqueue_resume(struct viommu_virtqueue *vq,
			    const struct viommu_ring *ring,
			    const struct viommu_virtqueue_state *state)
{
	struct viommu_virtqueue_state st;
	int rc = vs_opts_copy(&st, sizeof(st), state, state->size);

	if (!rc && (!ring_valid(vq, ring) || st.reserved[0] || st.reserved[1] ||
		    st.reserved[2]))
		rc = -EINVAL;
	if (!rc && st.inflight)
		rc = vs_inflight_check(st.inflight, st.inflight_len, ring->len);
	if (rc)
		return rc;
	queue_start(vq, ring, st.next);
	vq->inflight = st.inflight;
	/* whatever another process left there: begin as one that was told */
	vq->armed = false;
	vq->resuming = vq->owed = true;
	return 0;
}

void viommu_virtqueue_stop(struct viommu_virtqueue *vq)
{
	vq->running = false;
	vq->npending = 0;
	vq->inflight = NULL;
	vq->resuming = vq->owed = false;
	vq->nredo = vq->redone = 0;
	memset(vq->waits, 0, sizeof(vq->waits));
	memset(vq->heads, HEAD_DRIVER, vq->cfg.max_len);
}

uint16_t viommu_virtqueue_next(const struct viommu_virtqueue *vq)
{
	return vq->next;
}

size_t viommu_virtqueue_inflight_len(uint16_t len)
{
	return vs_inflight_len(len);
}

const char *viommu_virtqueue_broken(const struct viommu_virtqueue *vq)
{
	return vq->broken;
}

void viommu_virtqueue_timed_out(struct viommu_virtqueue *vq,
				viommu_iova_t start, viommu_iova_t last)
{
	for (unsigned i = 0; i < CALLS; i++) {
		const struct wait *w = &vq->waits[i];

		if (w->waits && !vq->broken && w->start <= last &&
		    start <= w->last)
			vs_vq_break(vq, "nobody answered where the ring is");
	}
}

/* ---------------------------------------------------------------- resume */

/* What was popped is what is used or in flight; so that is what the next one
 * comes after. */
static int inflight_recover(struct viommu_virtqueue *vq)
{
	bool fresh = vs_inflight_fresh(vq->inflight);
	int n = vs_inflight_recover(vq->inflight, vq->ring.len, vq->used,
				    vq->redo);

	if (n < 0)
		return vs_vq_break(vq, "in-flight area of another ring");
	vq->nredo = (unsigned)n;
	for (unsigned i = 0; i < vq->nredo; i++)
		vq->heads[vq->redo[i].head] = HEAD_POPPED;
	vq->counter = n ? vq->redo[n - 1].counter + 1 : 0;
	if (!fresh)
		vq->next = vq->seen = (uint16_t)(vq->used + vq->nredo);
	return 0;
}

/* The first look at a ring that others used before. */
static int resume(struct viommu_virtqueue *vq)
{
	int rc;

	if (!vq->resuming)
		return 0;
	rc = load16(vq, vq->ring.used + USED_IDX, &vq->used);
	if (!rc && vq->inflight)
		rc = inflight_recover(vq);
	if (!rc)
		vq->resuming = false;
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
		return vs_vq_break(vq, "avail idx jumped");
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
		return vs_vq_break(vq, "head out of range");
	if (vq->heads[*head] != HEAD_DRIVER)
		return vs_vq_break(vq, "head made available twice");
	return 0;
}

static int redo_pop(struct viommu_virtqueue *vq, struct viommu_element *elem)
{
	int rc;

	elem->head = vq->redo[vq->redone].head;
	rc = vs_vq_chain(vq, elem);
	if (!rc)
		vq->redone++;
	return rc;
}

static int pop(struct viommu_virtqueue *vq, struct viommu_element *elem)
{
	int rc = resume(vq);

	if (rc)
		return rc;
	if (vq->redone < vq->nredo)
		return redo_pop(vq, elem);
	if (vq->next == vq->seen)
		rc = avail_look(vq);
	if (!rc && vq->next == vq->seen && !vq->quiet)
		rc = notify_arm(vq);
	if (rc)
		return rc;
	if (vq->next == vq->seen)
		return -ENOENT;
	rc = notify_disarm(vq);
	if (!rc)
		rc = head_get(vq, &elem->head);
	if (!rc)
		rc = vs_vq_chain(vq, elem);
	if (rc)
		return rc;
	if (vq->inflight)
		vs_inflight_pop(vq->inflight, elem->head, vq->counter++);
	vq->heads[elem->head] = HEAD_POPPED;
	vq->next++;
	return 0;
}

static void call_begin(struct viommu_virtqueue *vq, enum call call)
{
	vq->call = call;
	vq->waits[call].waits = false;
	vs_vq_burst_begin(vq);
}

/* What the requests behind this one will need is asked for meanwhile, each
 * once.  They are looked at in earnest when they have their turn. */
static void ask_ahead(struct viommu_virtqueue *vq)
{
	uint16_t ahead = (uint16_t)(vq->seen - vq->next);
	uint16_t at = (uint16_t)(vq->asked - vq->next);
	uint64_t head;

	if (!at || at > ahead)
		at = 1;
	for (unsigned n = 0; n < ASK_AHEAD && at < ahead; n++, at++) {
		uint64_t slot = (vq->next + at) & (vq->ring.len - 1u);

		if (viommu_dma_load(vq->cfg.endpoint,
				    vq->ring.avail + AVAIL_RING + 2 * slot, 2,
				    &head) ||
		    head >= vq->ring.len)
			break;
		vs_vq_chain_ask(vq, (uint16_t)head);
	}
	vq->asked = (uint16_t)(vq->next + at);
}

void viommu_virtqueue_quiet(struct viommu_virtqueue *vq, bool quiet)
{
	vq->quiet = quiet;
}

int viommu_virtqueue_pop(struct viommu_virtqueue *vq,
			 struct viommu_element *elem)
{
	int rc;

	if (vq->broken)
		return -EPROTO;
	if (!vq->running)
		return -ENOENT;
	call_begin(vq, CALL_POP);
	rc = pop(vq, elem);
	vs_vq_burst_end(vq);
	if (rc == -EINPROGRESS)
		ask_ahead(vq);
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

/* Entries @first to @last - 1 of what is pending, to entry @at of the ring. */
static int used_copy(struct viommu_virtqueue *vq, unsigned at, unsigned first,
		     unsigned last)
{
	size_t one = sizeof(*vq->pending);
	viommu_iova_t to = vq->ring.used + USED_RING + one * (uint64_t)at;
	int rc;

	if (first == last)
		return 0;
	rc = viommu_dma_write(vq->cfg.endpoint, to, vq->pending + first,
			      one * (last - first));
	return rc ? vs_vq_refused(vq, rc, to, one * (last - first)) : 0;
}

/* Write what is pending behind what the driver sees; in two pieces where the
 * ring wraps. */
static int used_write(struct viommu_virtqueue *vq)
{
	unsigned at = vq->used & (vq->ring.len - 1u);
	unsigned first = vq->ring.len - at;
	int rc;

	if (first > vq->npending)
		first = vq->npending;
	rc = used_copy(vq, at, 0, first);
	if (!rc)
		rc = used_copy(vq, 0, first, vq->npending);
	if (!rc)
		rc = store16(vq, vq->ring.used + USED_IDX,
			     (uint16_t)(vq->used + vq->npending));
	return rc;
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
	if (rc == -EAGAIN || rc == -EINPROGRESS)
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
	int rc;

	if (vq->inflight)
		vs_inflight_batch(vq->inflight, vq->pending, vq->npending);
	rc = used_write(vq);
	if (rc)
		return rc;
	vq->used = (uint16_t)(vq->used + vq->npending);
	if (vq->inflight)
		vs_inflight_shown(vq->inflight, vq->pending, vq->npending,
				  vq->used);
	for (unsigned i = 0; i < vq->npending; i++)
		vq->heads[le32toh(vq->pending[i].id)] = HEAD_DRIVER;
	vq->npending = 0;
	return interrupt_wanted(vq, old);
}

/* Who died may have shown the driver something and not told it. */
static int owed(struct viommu_virtqueue *vq)
{
	bool was = vq->owed;

	vq->owed = false;
	return was;
}

int viommu_virtqueue_publish(struct viommu_virtqueue *vq)
{
	int rc;

	if (vq->broken)
		return -EPROTO;
	if (!vq->running || vq->resuming)
		return 0;
	if (!vq->npending)
		return owed(vq);
	call_begin(vq, CALL_PUBLISH);
	rc = publish(vq);
	vs_vq_burst_end(vq);
	return rc < 0 ? rc : rc | owed(vq);
}
