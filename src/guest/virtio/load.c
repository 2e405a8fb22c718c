/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Restoring a state (state.h) that anybody may have written.  First it is read
 * through without effect: its form is right or it is -EINVAL.  Then it is
 * applied from the inside out: domains that nobody sees, filled; endpoints
 * into them; bypass.  Nothing is allocated for what does not stand in the
 * state, byte for byte, or is not there already, behind the device.
 *
 * Whatever goes wrong, the device is reset.  What that takes away goes through
 * a fence, as everything; it belongs to nobody who could wait, so it lives on
 * the heap and holds a reference of the device.
 *
 * Locks: v->lock over all of the second part.
 */
#include <errno.h>
#include <string.h>

#include "guest/virtio/device.h"
#include "guest/virtio/state.h"

/* Where the parts of a state are. */
struct state {
	struct vv_state_head head; /* host order */
	const uint8_t *endpoints, *domains, *events;
};

/* ---- reading ---------------------------------------------------------- */

struct reader {
	const uint8_t *at;
	size_t left;
};

static bool get(struct reader *r, void *to, size_t len)
{
	if (r->left < len)
		return false;
	memcpy(to, r->at, len);
	r->at += len;
	r->left -= len;
	return true;
}

/* @n elements of @size bytes, not looked at; NULL: there are not so many. */
static const uint8_t *skip(struct reader *r, uint64_t n, size_t size)
{
	const uint8_t *at = r->at;

	if (n > r->left / size)
		return NULL;
	r->at += n * size;
	r->left -= n * size;
	return at;
}

static struct vv_state_endpoint endpoint_at(const uint8_t *p, uint32_t i)
{
	struct vv_state_endpoint s;

	memcpy(&s, p + (size_t)i * sizeof(s), sizeof(s));
	s.id = le32toh(s.id);
	s.domain = le32toh(s.domain);
	return s;
}

static struct vv_state_domain domain_at(const uint8_t *p)
{
	struct vv_state_domain s;

	memcpy(&s, p, sizeof(s));
	s.number = le32toh(s.number);
	s.flags = le32toh(s.flags);
	s.mappings = le64toh(s.mappings);
	return s;
}

static struct vv_state_mapping mapping_at(const uint8_t *p)
{
	struct vv_state_mapping s;

	memcpy(&s, p, sizeof(s));
	s.start = le64toh(s.start);
	s.last = le64toh(s.last);
	s.gpa = le64toh(s.gpa);
	s.flags = le32toh(s.flags);
	return s;
}

static struct virtio_iommu_fault event_at(const uint8_t *p, uint32_t i)
{
	struct virtio_iommu_fault e;

	memcpy(&e, p + (size_t)i * sizeof(e), sizeof(e));
	return e;
}

/* ---- is its form right? ----------------------------------------------- */

static int magic_check(const char *magic)
{
	const char *version = magic + VV_STATE_VERSION_AT;

	if (!memcmp(magic, VV_STATE_MAGIC, VV_STATE_MAGIC_SIZE))
		return 0;
	if (memcmp(magic, VV_STATE_MAGIC, VV_STATE_VERSION_AT) ||
	    version[0] < '1' || version[0] > '9')
		return -EINVAL;
	if (version[1] == '\n' || (version[1] >= '0' && version[1] <= '9'))
		return -EOPNOTSUPP;
	return -EINVAL;
}

static int head_read(struct reader *r, struct vv_state_head *h)
{
	const uint8_t *start = r->at;
	size_t len = r->left;
	int rc;

	if (len < sizeof(h->magic))
		return -EINVAL;
	memcpy(h->magic, start, sizeof(h->magic));
	rc = magic_check(h->magic);
	if (rc)
		return rc;
	if (!get(r, h, sizeof(*h)) || le64toh(h->len) != len ||
	    le64toh(h->sum) != vv_state_sum(start, len) || h->bypass > 1 ||
	    h->zero[0] || h->zero[1] || h->zero[2])
		return -EINVAL;
	h->domains = le32toh(h->domains);
	h->endpoints = le32toh(h->endpoints);
	h->events = le32toh(h->events);
	/* somebody is attached to each */
	return h->domains > h->endpoints ? -EINVAL : 0;
}

static bool mapping_ok(const struct vv_state_mapping *m)
{
	uint32_t rw = VIRTIO_IOMMU_MAP_F_READ | VIRTIO_IOMMU_MAP_F_WRITE;

	return !m->zero && m->last >= m->start && (m->flags & rw) &&
	       !(m->flags & ~(uint32_t)VIRTIO_IOMMU_MAP_F_MASK);
}

/* Each right, and above the one before. */
static bool mappings_ok(const uint8_t *p, uint64_t n)
{
	uint64_t last = 0;

	for (uint64_t i = 0; i < n; i++) {
		struct vv_state_mapping m = mapping_at(p + i * sizeof(m));

		if (!mapping_ok(&m) || (i && m.start <= last))
			return false;
		last = m.last;
	}
	return true;
}

static bool domain_read(struct reader *r, struct vv_state_domain *d)
{
	const uint8_t *p = skip(r, 1, sizeof(*d));

	if (!p)
		return false;
	*d = domain_at(p);
	if (d->flags & ~(uint32_t)VV_STATE_F_BYPASS)
		return false;
	p = skip(r, d->mappings, sizeof(struct vv_state_mapping));
	return p && mappings_ok(p, d->mappings);
}

static bool domains_read(struct reader *r, uint32_t n)
{
	struct vv_state_domain d;
	uint64_t above = 0; /* numbers from here on may come */

	for (uint32_t i = 0; i < n; i++) {
		if (!domain_read(r, &d) || d.number < above)
			return false;
		above = (uint64_t)d.number + 1;
	}
	return true;
}

static bool endpoints_ok(const uint8_t *p, uint32_t n)
{
	uint64_t above = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct vv_state_endpoint e = endpoint_at(p, i);

		if (e.id < above)
			return false;
		above = (uint64_t)e.id + 1;
	}
	return true;
}

static bool events_ok(const uint8_t *p, uint32_t n)
{
	const uint32_t known = VIRTIO_IOMMU_FAULT_F_READ |
			       VIRTIO_IOMMU_FAULT_F_WRITE |
			       VIRTIO_IOMMU_FAULT_F_ADDRESS;

	for (uint32_t i = 0; i < n; i++) {
		struct virtio_iommu_fault e = event_at(p, i);

		if (e.reason > VIRTIO_IOMMU_FAULT_R_MAPPING ||
		    (le32toh(e.flags) & ~known) || e.reserved[0] ||
		    e.reserved[1] || e.reserved[2] || e.reserved2[0] ||
		    e.reserved2[1] || e.reserved2[2] || e.reserved2[3])
			return false;
	}
	return true;
}

static int state_read(const void *buf, size_t len, struct state *s)
{
	struct reader r = { .at = buf, .left = len };
	int rc = head_read(&r, &s->head);

	if (rc)
		return rc;
	s->endpoints =
		skip(&r, s->head.endpoints, sizeof(struct vv_state_endpoint));
	if (!s->endpoints || !endpoints_ok(s->endpoints, s->head.endpoints))
		return -EINVAL;
	s->domains = r.at;
	if (!domains_read(&r, s->head.domains))
		return -EINVAL;
	s->events = skip(&r, s->head.events, VV_EVENT_SIZE);
	if (!s->events || r.left || !events_ok(s->events, s->head.events))
		return -EINVAL;
	return 0;
}

/* ---- apply; its form is right, v->lock is held ------------------------- */

static int endpoints_check(struct viommu_virtio *v, const struct state *s)
{
	for (uint32_t i = 0; i < s->head.endpoints; i++)
		if (!vv_endpoint_find(v, endpoint_at(s->endpoints, i).id))
			return -ENOENT;
	return 0;
}

/* Into a bypass domain: -EINVAL, as by MAP. */
static int mappings_apply(struct vv_domain *d, const uint8_t *p, uint64_t n)
{
	int rc = 0;

	for (uint64_t i = 0; i < n && !rc; i++) {
		struct vv_state_mapping m = mapping_at(p + i * sizeof(m));

		rc = viommu_space_map(d->space,
				      &(struct viommu_mapping){
					      .start = m.start,
					      .last = m.last,
					      .gpa = m.gpa,
					      .prot = vv_prot_of(m.flags) });
	}
	return rc;
}

static int domains_apply(struct viommu_virtio *v, const struct state *s)
{
	const uint8_t *p = s->domains;
	struct vv_domain *d;
	int rc = 0;

	for (uint32_t i = 0; i < s->head.domains && !rc; i++) {
		struct vv_state_domain in = domain_at(p);

		p += sizeof(in);
		rc = vv_domain_create(v, in.number,
				      in.flags & VV_STATE_F_BYPASS, 0, &d);
		if (!rc)
			rc = mappings_apply(d, p, in.mappings);
		p += in.mappings * sizeof(struct vv_state_mapping);
	}
	return rc;
}

static int endpoints_apply(struct viommu_virtio *v, const struct state *s,
			   struct viommu_fence *f)
{
	struct vv_id *id;
	int rc = 0;

	for (uint32_t i = 0; i < s->head.endpoints && !rc; i++) {
		struct vv_state_endpoint in = endpoint_at(s->endpoints, i);
		struct vv_domain *d = vv_domain_find(v, in.domain);

		rc = d ? vv_domain_join(v, vv_endpoint_find(v, in.id), d, f)
		       : -EINVAL;
	}
	for (id = vv_idmap_next(v->domains, 0); id && !rc;
	     id = vv_idmap_after(v->domains, id->key))
		if (!vv_id_of(id, struct vv_domain, id)->endpoints)
			rc = -EINVAL;
	return rc == -EOPNOTSUPP ? -ERANGE : rc;
}

static int state_apply(struct viommu_virtio *v, const struct state *s,
		       struct viommu_fence *f)
{
	int rc = endpoints_check(v, s);

	if (!rc && s->head.events > v->events.max)
		rc = -ERANGE;
	if (!rc)
		rc = domains_apply(v, s);
	if (!rc)
		rc = endpoints_apply(v, s, f);
	if (rc)
		return rc;
	for (uint32_t i = 0; i < s->head.events; i++) {
		struct virtio_iommu_fault e = event_at(s->events, i);

		if (!vv_events_add(v, &e))
			atomic_fetch_add(&v->dropped, 1);
	}
	vv_bypass_locked(v, s->head.bypass, f);
	return 0;
}

/* Domains that nobody joined are not found by a reset. */
static void state_undo(struct viommu_virtio *v, struct viommu_fence *f)
{
	vv_reset_locked(v, f);
	while (v->domains)
		vv_domain_destroy(v, vv_id_of(v->domains, struct vv_domain, id),
				  f);
}

/* ---- load ------------------------------------------------------------- */

struct late {
	struct viommu_fence fence;
	struct viommu_virtio *v;
};

static void late_done(struct viommu_fence *f, void *arg)
{
	struct late *late = arg;
	struct viommu_virtio *v = late->v;

	(void)f;
	vv_free(v, late);
	vv_unref(v);
}

int viommu_virtio_load(struct viommu_virtio *v, const void *buf, size_t len)
{
	struct late *late = vv_alloc(v, 1, sizeof(*late));
	struct state s;
	int rc;

	if (!late) {
		/* nothing is attached: its faults are all there is to reset */
		vv_events_clear(v);
		return -ENOMEM;
	}
	late->v = v;
	viommu_fence_init(&late->fence);
	rc = state_read(buf, len, &s);
	pthread_mutex_lock(&v->lock);
	vv_reset_locked(v, &late->fence); /* should it not be new */
	if (!rc)
		rc = state_apply(v, &s, &late->fence);
	if (rc)
		state_undo(v, &late->fence);
	pthread_mutex_unlock(&v->lock);
	vv_ref(v);
	viommu_fence_commit(&late->fence, late_done, late);
	return rc;
}
