/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One request (5.13.6): decode once, carry out under the device's lock, commit
 * the request's own fence without it, answer when that is done.  The fence
 * lives inside the request, so a request that waits costs no memory, and those
 * behind it do not wait for it.
 *
 *	viommu_virtio_request -> carry_out [-> domain.c, probe.c]
 *	                      -> viommu_fence_commit -> answer_waiting
 *	                                      ... or -> answer_failed, and then
 *
 * L9: the fence may fail, when its deadline has passed and a device in its way
 * was given up.  Then the request is answered, with an error, while its fence
 * is pending: the storage stays ours until that is done.  A fence fails at most
 * once, and before it is done, so `answered` needs no lock.
 *
 * The last thing is done(), or release() if there is one: from there on the
 * request is its owner's again.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "guest/virtio/device.h"

struct request {
	struct viommu_fence fence;
	struct viommu_virtio *v;
	uint8_t type, status;
	bool answered; /* the fence had failed */
};
_Static_assert(sizeof(struct request) <=
		       sizeof(((struct viommu_virtio_req *)0)->opaque),
	       "request grew");

static struct request *request_of(struct viommu_virtio_req *req)
{
	return (struct request *)(void *)req->opaque;
}

/* ---- decode ----------------------------------------------------------- */

/* The device-readable parts, less the tail. */
union wire {
	struct virtio_iommu_req_head head;
	struct virtio_iommu_req_attach attach;
	struct virtio_iommu_req_detach detach;
	struct virtio_iommu_req_map map;
	struct virtio_iommu_req_unmap unmap;
	struct {
		struct virtio_iommu_req_head head;
		__le32 endpoint;
		__u8 reserved[64];
	} probe;
};

enum {
	ATTACH_LEN = offsetof(struct virtio_iommu_req_attach, tail),
	DETACH_LEN = offsetof(struct virtio_iommu_req_detach, tail),
	MAP_LEN = offsetof(struct virtio_iommu_req_map, tail),
	UNMAP_LEN = offsetof(struct virtio_iommu_req_unmap, tail),
	PROBE_LEN = offsetof(struct virtio_iommu_req_probe, properties),
};

static const struct kind {
	uint8_t out_len;
	uint8_t feature; /* that brings it, or 0 */
} kinds[] = {
	[VIRTIO_IOMMU_T_ATTACH] = { ATTACH_LEN, 0 },
	[VIRTIO_IOMMU_T_DETACH] = { DETACH_LEN, 0 },
	[VIRTIO_IOMMU_T_MAP] = { MAP_LEN, VIRTIO_IOMMU_F_MAP_UNMAP },
	[VIRTIO_IOMMU_T_UNMAP] = { UNMAP_LEN, VIRTIO_IOMMU_F_MAP_UNMAP },
	[VIRTIO_IOMMU_T_PROBE] = { PROBE_LEN, VIRTIO_IOMMU_F_PROBE },
};
_Static_assert(PROBE_LEN == sizeof(((union wire *)0)->probe), "5.13.6.7");

/* False: unknown, or cut short: returned with nothing written (5.13.6.2). */
static bool request_decode(const struct viommu_virtio_req *req, union wire *w)
{
	uint8_t type;

	if (req->out_len < sizeof(w->head) ||
	    req->in_len < sizeof(struct virtio_iommu_req_tail))
		return false;
	memcpy(&w->head, req->out, sizeof(w->head));
	type = w->head.type;
	if (type >= sizeof(kinds) / sizeof(kinds[0]) || !kinds[type].out_len ||
	    req->out_len < kinds[type].out_len)
		return false;
	memcpy(w, req->out, kinds[type].out_len);
	return true;
}

/* ---- answer ----------------------------------------------------------- */

/* The one place where errors become statuses. */
static uint8_t status_of(int error)
{
	static const struct {
		int error;
		uint8_t status;
	} table[] = {
		{ 0, VIRTIO_IOMMU_S_OK },
		{ -ERANGE, VIRTIO_IOMMU_S_RANGE },
		{ -EEXIST, VIRTIO_IOMMU_S_INVAL },
		{ -EINVAL, VIRTIO_IOMMU_S_INVAL },
		{ -EADDRNOTAVAIL, VIRTIO_IOMMU_S_INVAL },
		{ -ENOENT, VIRTIO_IOMMU_S_NOENT },
		{ -ENOMEM, VIRTIO_IOMMU_S_NOMEM },
		{ -ENOSPC, VIRTIO_IOMMU_S_NOMEM },
		{ -EOPNOTSUPP, VIRTIO_IOMMU_S_UNSUPP },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].error == error)
			return table[i].status;
	return VIRTIO_IOMMU_S_DEVERR;
}

static void count(struct viommu_virtio *v, uint8_t type, uint8_t status)
{
	_Atomic(uint64_t) *const counter[] = {
		[VIRTIO_IOMMU_T_ATTACH] = &v->attaches,
		[VIRTIO_IOMMU_T_DETACH] = &v->detaches,
		[VIRTIO_IOMMU_T_MAP] = &v->maps,
		[VIRTIO_IOMMU_T_UNMAP] = &v->unmaps,
		[VIRTIO_IOMMU_T_PROBE] = &v->probes,
	};

	atomic_fetch_add_explicit(status ? &v->refused : counter[type], 1,
				  memory_order_relaxed);
}

/* The request is its owner's when this returns. */
static void give_back(struct viommu_virtio_req *req, size_t written)
{
	void (*release)(struct viommu_virtio_req *) = req->release;

	req->done(req, written);
	if (release)
		release(req);
}

/* The used length. */
static size_t answer_write(struct viommu_virtio *v,
			   struct viommu_virtio_req *req, uint8_t type,
			   uint8_t status, size_t tail)
{
	struct virtio_iommu_req_tail t = { .status = status };

	count(v, type, status);
	memcpy((uint8_t *)req->in + tail, &t, sizeof(t));
	return tail + sizeof(t);
}

static void answer(struct viommu_virtio *v, struct viommu_virtio_req *req,
		   uint8_t type, uint8_t status, size_t tail)
{
	give_back(req, answer_write(v, req, type, status, tail));
}

/* The fence's; any thread, and the device may have been destroyed: then our
 * reference is what is left of it. */
static void answer_waiting(struct viommu_fence *f, void *arg)
{
	struct viommu_virtio_req *req = arg;
	struct request *r = request_of(req);
	struct viommu_virtio *v = r->v;

	(void)f;
	atomic_fetch_sub(&v->waiting, 1);
	if (r->answered)
		req->release(req);
	else
		answer(v, req, r->type, r->status, 0);
	vv_unref(v);
}

/* The fence has failed; it holds on to the request until this returns, and
 * then until it is done.  What was refused for a reason of its own keeps its
 * status: it took nothing that is of interest to the guest. */
static void answer_failed(struct viommu_fence *f, void *arg)
{
	struct viommu_virtio_req *req = arg;
	struct request *r = request_of(req);
	uint8_t status = r->status ? r->status : VIRTIO_IOMMU_S_DEVERR;

	(void)f;
	r->answered = true;
	atomic_fetch_add(&r->v->failed, 1);
	req->done(req, answer_write(r->v, req, r->type, status, 0));
}

/* ---- carry out -------------------------------------------------------- */

/* What takes access away goes through a fence; the others are answered at
 * once, and cheaply: MAP is the request that guests send most. */
static int carry_out_fenced(struct viommu_virtio *v, const union wire *w,
			    struct viommu_fence *f)
{
	switch (w->head.type) {
	case VIRTIO_IOMMU_T_ATTACH:
		return vv_attach(v, &w->attach, f);
	case VIRTIO_IOMMU_T_DETACH:
		return vv_detach(v, &w->detach, f);
	default:
		return vv_unmap(v, &w->unmap, f);
	}
}

static void request_fenced(struct viommu_virtio *v,
			   struct viommu_virtio_req *req, const union wire *w)
{
	struct request *r = request_of(req);
	int rc;

	r->v = v;
	r->type = w->head.type;
	r->answered = false;
	viommu_fence_init(&r->fence);
	if (req->release)
		viommu_fence_set_failed(&r->fence, answer_failed);
	pthread_mutex_lock(&v->lock);
	rc = carry_out_fenced(v, w, &r->fence);
	pthread_mutex_unlock(&v->lock);
	r->status = status_of(rc);
	atomic_fetch_add(&v->waiting, 1);
	vv_ref(v);
	/* r and req are somebody else's from here on */
	viommu_fence_commit(&r->fence, answer_waiting, req);
}

static void request_map(struct viommu_virtio *v, struct viommu_virtio_req *req,
			const union wire *w)
{
	int rc;

	pthread_mutex_lock(&v->lock);
	rc = vv_map(v, &w->map);
	pthread_mutex_unlock(&v->lock);
	answer(v, req, VIRTIO_IOMMU_T_MAP, status_of(rc), 0);
}

/*
 * 5.13.6.7.2: a list shorter than probe_size gets no property, and INVAL; what
 * the properties do not fill is zero.  The tail is where the driver put it:
 * behind probe_size bytes, or at the end of what it gave.
 */
static void request_probe(struct viommu_virtio *v,
			  struct viommu_virtio_req *req, const union wire *w)
{
	size_t room = req->in_len - sizeof(struct virtio_iommu_req_tail);
	size_t len = v->cfg.probe_size;
	int rc = -EINVAL;

	if (room < len)
		len = room;
	memset(req->in, 0, len);
	if (len == v->cfg.probe_size) {
		pthread_mutex_lock(&v->lock);
		rc = vv_probe(v, le32toh(w->probe.endpoint), req->in, len);
		pthread_mutex_unlock(&v->lock);
	}
	answer(v, req, VIRTIO_IOMMU_T_PROBE, status_of(rc), len);
}

/* Requests come with a feature; without it they are unrecognised. */
static bool request_accepted(struct viommu_virtio *v, uint8_t type)
{
	return !kinds[type].feature ||
	       (atomic_load(&v->accepted) & VV_FEATURE(kinds[type].feature));
}

void viommu_virtio_request(struct viommu_virtio *v,
			   struct viommu_virtio_req *req)
{
	union wire w;

	atomic_fetch_add_explicit(&v->requests, 1, memory_order_relaxed);
	if (!request_decode(req, &w) || !request_accepted(v, w.head.type))
		give_back(req, 0);
	else if (w.head.type == VIRTIO_IOMMU_T_MAP)
		request_map(v, req, &w);
	else if (w.head.type == VIRTIO_IOMMU_T_PROBE)
		request_probe(v, req, &w);
	else
		request_fenced(v, req, &w);
}
