/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing the state (state.h).  Twice: once without a buffer, to know how long
 * it is, and then into the buffer, if that is long enough.
 *
 * Locks: v->lock throughout, so that both passes see the same domains.  Faults
 * may come in meanwhile; the second pass writes as many as the first counted.
 */
#include <string.h>

#include "guest/virtio/device.h"
#include "guest/virtio/state.h"

struct writer {
	uint8_t *buf; /* NULL: count only */
	size_t at;
};

uint64_t vv_state_sum(const uint8_t *buf, size_t len)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++) {
		if (i >= VV_STATE_SUM_AT &&
		    i < VV_STATE_SUM_AT + sizeof(uint64_t))
			continue;
		sum = (sum ^ buf[i]) * UINT64_C(0x100000001b3);
	}
	return sum;
}

static void put(struct writer *w, const void *data, size_t len)
{
	if (w->buf)
		memcpy(w->buf + w->at, data, len);
	w->at += len;
}

static uint32_t endpoints_write(struct viommu_virtio *v, struct writer *w)
{
	struct vv_id *id;
	uint32_t n = 0;

	for (id = vv_idmap_next(v->endpoints, 0); id;
	     id = vv_idmap_after(v->endpoints, id->key)) {
		struct vv_endpoint *e = vv_id_of(id, struct vv_endpoint, id);
		struct vv_state_endpoint s = { .id = htole32(id->key) };

		if (!e->domain)
			continue;
		s.domain = htole32(e->domain->id.key);
		put(w, &s, sizeof(s));
		n++;
	}
	return n;
}

static uint64_t mappings_write(struct vv_domain *d, struct writer *w)
{
	viommu_iova_t from = 0;
	struct viommu_mapping m;
	uint64_t n = 0;

	while (!viommu_space_next(d->space, from, &m)) {
		struct vv_state_mapping s = {
			.start = htole64(m.start),
			.last = htole64(m.last),
			.gpa = htole64(m.gpa),
			.flags = htole32(vv_flags_of(m.prot)),
		};

		put(w, &s, sizeof(s));
		n++;
		if (m.last == UINT64_MAX)
			break;
		from = m.last + 1;
	}
	return n;
}

static void domain_write(struct vv_domain *d, struct writer *w)
{
	struct vv_state_domain s = {
		.number = htole32(d->id.key),
		.flags = htole32(d->bypass ? VV_STATE_F_BYPASS : 0),
	};
	size_t at = w->at;

	put(w, &s, sizeof(s));
	if (!d->bypass)
		s.mappings = htole64(mappings_write(d, w));
	if (w->buf)
		memcpy(w->buf + at, &s, sizeof(s));
}

static uint32_t events_write(struct viommu_virtio *v, struct writer *w,
			     uint32_t max)
{
	struct virtio_iommu_fault e;
	uint32_t n = 0;

	while (n < max && vv_events_peek(v, n, &e)) {
		put(w, &e, sizeof(e));
		n++;
	}
	return n;
}

/* How long it is; *@events: at most so many faults, and how many it were. */
static size_t state_write(struct viommu_virtio *v, uint8_t *buf,
			  uint32_t *events)
{
	struct vv_state_head h = { .bypass = v->bypass };
	struct writer w = { .buf = buf };
	struct vv_id *id;

	memcpy(h.magic, VV_STATE_MAGIC, sizeof(h.magic));
	put(&w, &h, sizeof(h));
	h.domains = htole32(v->ndomains);
	h.endpoints = htole32(endpoints_write(v, &w));
	for (id = vv_idmap_next(v->domains, 0); id;
	     id = vv_idmap_after(v->domains, id->key))
		domain_write(vv_id_of(id, struct vv_domain, id), &w);
	*events = events_write(v, &w, *events);
	h.events = htole32(*events);
	h.len = htole64(w.at);
	if (!buf)
		return w.at;
	memcpy(buf, &h, sizeof(h));
	h.sum = htole64(vv_state_sum(buf, w.at));
	memcpy(buf, &h, sizeof(h));
	return w.at;
}

size_t viommu_virtio_save(struct viommu_virtio *v, void *buf, size_t len)
{
	uint32_t events = UINT32_MAX;
	size_t need;

	pthread_mutex_lock(&v->lock);
	need = state_write(v, NULL, &events);
	if (buf && need <= len)
		need = state_write(v, buf, &events);
	pthread_mutex_unlock(&v->lock);
	return need;
}
