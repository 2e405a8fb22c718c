/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio-iommu device (virtio 1.3, 5.13): its life, the endpoints behind
 * it, its configuration space.  Requests are request.c's and domain.c's.
 *
 * Destruction is the delicate part.  Requests may be waiting for their fences,
 * and a fault handler may be running; both come back to the device, from other
 * threads, after viommu_virtio_destroy() has returned.  So the device is freed
 * by whoever comes back last, and until then it holds the caller's fence:
 *
 *	refs = 1 owner + waiting requests
 *	destroy: the owner's reference goes to the fence `gone`, which gathers
 *	         each endpoint and so waits for its faults under way
 *	refs = 0: free the device, release the caller's fence
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "guest/virtio/device.h"

enum {
	DEFAULT_PROBE_SIZE = 512,
	DEFAULT_MAX_DOMAINS = 65536,
	DEFAULT_MAX_EVENTS = 64,
	PROBE_SIZE_MAX = 1 << 20,
};
#define DEFAULT_PAGE_SIZES (~UINT64_C(0xfff))

_Static_assert(sizeof(struct virtio_iommu_config) == 40, "5.13.4");

void *vv_alloc(struct viommu_virtio *v, size_t n, size_t size)
{
	return n > SIZE_MAX / size ? NULL : viommu_alloc(v->vi, n * size);
}

void vv_free(struct viommu_virtio *v, void *p)
{
	viommu_free(v->vi, p);
}

/* ---- life ------------------------------------------------------------- */

void vv_ref(struct viommu_virtio *v)
{
	atomic_fetch_add(&v->refs, 1);
}

void vv_unref(struct viommu_virtio *v)
{
	struct viommu_fence *f;

	if (atomic_fetch_sub(&v->refs, 1) != 1)
		return;
	f = v->destroyed;
	vv_events_fini(v);
	pthread_mutex_destroy(&v->lock);
	viommu_free(v->vi, v);
	/* last: the caller may then unmake the whole instance */
	if (f)
		viommu_fence_release(f);
}

/* As compiled by the caller: shorter is padded with zeroes, longer is fine as
 * long as what we do not know is zero. */
static int config_copy(struct viommu_virtio_config *c,
		       const struct viommu_virtio_config *in)
{
	const uint8_t *bytes = (const uint8_t *)in;

	memset(c, 0, sizeof(*c));
	if (!in)
		return 0;
	if (in->size < sizeof(in->size))
		return -EINVAL;
	for (size_t i = sizeof(*c); i < in->size; i++)
		if (bytes[i])
			return -EINVAL;
	memcpy(c, in, in->size < sizeof(*c) ? in->size : sizeof(*c));
	return 0;
}

static int config_complete(struct viommu_virtio_config *c)
{
	c->size = sizeof(*c);
	if (!c->page_size_mask)
		c->page_size_mask = DEFAULT_PAGE_SIZES;
	if (!c->input_start && !c->input_last)
		c->input_last = UINT64_MAX;
	if (!c->domain_first && !c->domain_last)
		c->domain_last = UINT32_MAX;
	if (!c->probe_size)
		c->probe_size = DEFAULT_PROBE_SIZE;
	if (!c->max_domains)
		c->max_domains = DEFAULT_MAX_DOMAINS;
	if (!c->max_events)
		c->max_events = DEFAULT_MAX_EVENTS;
	if (c->input_last < c->input_start ||
	    c->domain_last < c->domain_first || c->probe_size > PROBE_SIZE_MAX)
		return -EINVAL;
	return 0;
}

/* Bypass goes around the IOMMU: input_range does not bound it.  The page sizes
 * mean nothing here, but are refused here if a domain would refuse them. */
static int identity_create(struct viommu_virtio *v)
{
	struct viommu_space_config cfg = {
		.size = sizeof(cfg),
		.kind = VIOMMU_SPACE_IDENTITY,
		.page_sizes = v->cfg.page_size_mask,
	};

	return viommu_space_create(v->vi, &cfg, &v->identity);
}

int viommu_virtio_create(struct viommu *vi,
			 const struct viommu_virtio_config *cfg,
			 struct viommu_virtio **out)
{
	struct viommu_virtio *v;
	struct viommu_virtio_config c;
	int rc = config_copy(&c, cfg);

	if (!rc)
		rc = config_complete(&c);
	if (rc)
		return rc;
	v = viommu_alloc(vi, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->vi = vi;
	v->cfg = c;
	v->bypass = c.bypass;
	v->accepted = VV_FEATURES;
	v->refs = 1;
	rc = vv_events_init(v);
	if (rc)
		goto free_device;
	rc = identity_create(v);
	if (rc)
		goto fini_events;
	pthread_mutex_init(&v->lock, NULL);
	*out = v;
	return 0;

fini_events:
	vv_events_fini(v);
free_device:
	viommu_free(vi, v);
	return rc;
}

/* Let go of what is behind @id; @f gathers all it saw and its faults. */
static void endpoint_remove_locked(struct viommu_virtio *v,
				   struct vv_endpoint *e,
				   struct viommu_fence *f)
{
	viommu_endpoint_detach(e->ep, f);
	vv_domain_put(v, e, f);
	vv_idmap_remove(&v->endpoints, &e->id);
	vv_free(v, e);
}

static void gone_done(struct viommu_fence *f, void *arg)
{
	(void)f;
	vv_unref(arg);
}

void viommu_virtio_destroy(struct viommu_virtio *v, struct viommu_fence *f)
{
	if (!v)
		return;
	viommu_fence_init(&v->gone);
	pthread_mutex_lock(&v->lock);
	while (v->endpoints) {
		struct vv_endpoint *e =
			vv_id_of(v->endpoints, struct vv_endpoint, id);

		viommu_endpoint_detach(e->ep, &v->gone);
		endpoint_remove_locked(v, e, f);
	}
	viommu_space_destroy(v->identity, f);
	/* it has gathered the identity space, so it may be held */
	viommu_fence_hold(f);
	v->destroyed = f;
	pthread_mutex_unlock(&v->lock);
	viommu_fence_commit(&v->gone, gone_done, v);
}

/* ---- endpoints -------------------------------------------------------- */

static int endpoint_add_locked(struct viommu_virtio *v, struct vv_endpoint *e,
			       struct viommu_fence *f)
{
	int rc = 0;

	if (vv_idmap_find(v->endpoints, e->id.key))
		return -EEXIST;
	if (v->bypass)
		rc = viommu_endpoint_attach(e->ep, v->identity, f);
	if (!rc)
		vv_idmap_add(&v->endpoints, &e->id);
	return rc;
}

int viommu_virtio_add(struct viommu_virtio *v, struct viommu_endpoint *ep)
{
	uint32_t id = viommu_endpoint_id(ep);
	struct vv_endpoint *e;
	struct viommu_fence f;
	int rc;

	if (viommu_endpoint_find(v->vi, id, VIOMMU_NO_PASID) != ep)
		return -EINVAL;
	e = vv_alloc(v, 1, sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->ep = ep;
	e->id.key = id;
	viommu_fence_init(&f);
	pthread_mutex_lock(&v->lock);
	rc = endpoint_add_locked(v, e, &f);
	pthread_mutex_unlock(&v->lock);
	/* it was attached to nothing, so nothing was gathered, and the fence
	 * may be abandoned */
	if (rc)
		vv_free(v, e);
	return rc;
}

void viommu_virtio_remove(struct viommu_virtio *v, struct viommu_endpoint *ep,
			  struct viommu_fence *f)
{
	struct vv_endpoint *e;

	pthread_mutex_lock(&v->lock);
	e = vv_endpoint_find(v, viommu_endpoint_id(ep));
	if (e && e->ep == ep)
		endpoint_remove_locked(v, e, f);
	pthread_mutex_unlock(&v->lock);
}

/* ---- features, configuration ------------------------------------------ */

uint64_t viommu_virtio_features(const struct viommu_virtio *v)
{
	(void)v;
	return VV_FEATURES;
}

void viommu_virtio_features_write(struct viommu_virtio *v, uint64_t accepted)
{
	atomic_store(&v->accepted, accepted & VV_FEATURES);
}

void viommu_virtio_config_read(struct viommu_virtio *v, size_t off, void *buf,
			       size_t len)
{
	struct virtio_iommu_config c = {
		.page_size_mask = htole64(v->cfg.page_size_mask),
		.input_range.start = htole64(v->cfg.input_start),
		.input_range.end = htole64(v->cfg.input_last),
		.domain_range.start = htole32(v->cfg.domain_first),
		.domain_range.end = htole32(v->cfg.domain_last),
		.probe_size = htole32(v->cfg.probe_size),
	};
	size_t have;

	pthread_mutex_lock(&v->lock);
	c.bypass = v->bypass;
	pthread_mutex_unlock(&v->lock);
	memset(buf, 0, len);
	if (off >= sizeof(c))
		return;
	have = sizeof(c) - off;
	memcpy(buf, (const uint8_t *)&c + off, len < have ? len : have);
}

void vv_bypass_locked(struct viommu_virtio *v, bool bypass,
		      struct viommu_fence *f)
{
	struct vv_id *id;

	if (v->bypass == bypass)
		return;
	v->bypass = bypass;
	for (id = vv_idmap_next(v->endpoints, 0); id;
	     id = vv_idmap_after(v->endpoints, id->key)) {
		struct vv_endpoint *e = vv_id_of(id, struct vv_endpoint, id);

		if (!e->domain)
			vv_domain_leave(v, e, f);
	}
}

void viommu_virtio_config_write(struct viommu_virtio *v, size_t off,
				const void *buf, size_t len,
				struct viommu_fence *f)
{
	size_t at = offsetof(struct virtio_iommu_config, bypass);
	uint8_t val;

	if (off > at || at - off >= len)
		return;
	val = ((const uint8_t *)buf)[at - off];
	if (val > 1 || !(atomic_load(&v->accepted) &
			 VV_FEATURE(VIRTIO_IOMMU_F_BYPASS_CONFIG)))
		return;
	pthread_mutex_lock(&v->lock);
	vv_bypass_locked(v, val, f);
	pthread_mutex_unlock(&v->lock);
}

/* ---- reset, counters -------------------------------------------------- */

void vv_reset_locked(struct viommu_virtio *v, struct viommu_fence *f)
{
	struct vv_id *id;

	for (id = vv_idmap_next(v->endpoints, 0); id;
	     id = vv_idmap_after(v->endpoints, id->key)) {
		struct vv_endpoint *e = vv_id_of(id, struct vv_endpoint, id);

		if (e->domain)
			vv_domain_leave(v, e, f);
	}
	vv_events_clear(v);
	atomic_store(&v->accepted, VV_FEATURES);
}

void viommu_virtio_reset(struct viommu_virtio *v, struct viommu_fence *f)
{
	pthread_mutex_lock(&v->lock);
	vv_reset_locked(v, f);
	pthread_mutex_unlock(&v->lock);
}

void viommu_virtio_read_stats(struct viommu_virtio *v,
			      struct viommu_virtio_stats *out)
{
	*out = (struct viommu_virtio_stats){
		.requests = atomic_load(&v->requests),
		.refused = atomic_load(&v->refused),
		.maps = atomic_load(&v->maps),
		.unmaps = atomic_load(&v->unmaps),
		.attaches = atomic_load(&v->attaches),
		.detaches = atomic_load(&v->detaches),
		.probes = atomic_load(&v->probes),
		.waiting = atomic_load(&v->waiting),
		.failed = atomic_load(&v->failed),
		.events = atomic_load(&v->fetched),
		.events_dropped = atomic_load(&v->dropped),
	};
}
