/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_SPEC_STAY_H
#define TESTS_SPEC_STAY_H

#include "world.h"

/* A request with a place to stay until it is released. */
struct stay {
	struct ask a;
	unsigned released;
};

static inline void stay_release(struct viommu_virtio_req *req)
{
	struct ask *a = req->arg;
	struct stay *s = (struct stay *)(void *)a;

	assert_int_equal(a->answers, 1);
	s->released++;
}

static inline int stay_send(struct world *w, struct stay *s, const void *out,
			    size_t out_len, size_t in_len)
{
	struct ask *a = &s->a;

	memset(s, 0, sizeof(*s));
	memset(a->in, 0xa5, sizeof(a->in));
	memcpy(a->out, out, out_len);
	a->req.out = a->out;
	a->req.out_len = out_len;
	a->req.in = a->in;
	a->req.in_len = in_len;
	a->req.done = ask_done;
	a->req.release = stay_release;
	a->req.arg = a;
	viommu_virtio_request(w->v, &a->req);
	return ask_status(a);
}

static inline int stay_unmap(struct world *w, struct stay *s, uint32_t domain,
			     uint64_t start, uint64_t last)
{
	struct virtio_iommu_req_unmap r = {
		.head.type = VIRTIO_IOMMU_T_UNMAP,
		.domain = htole32(domain),
		.virt_start = htole64(start),
		.virt_end = htole64(last),
	};

	return stay_send(w, s, &r, 28, 4);
}

static inline int stay_detach(struct world *w, struct stay *s, uint32_t domain,
			      uint32_t ep)
{
	struct virtio_iommu_req_detach r = {
		.head.type = VIRTIO_IOMMU_T_DETACH,
		.domain = htole32(domain),
		.endpoint = htole32(ep),
	};

	return stay_send(w, s, &r, 20, 4);
}

static inline int stay_attach(struct world *w, struct stay *s, uint32_t domain,
			      uint32_t ep)
{
	struct virtio_iommu_req_attach r = {
		.head.type = VIRTIO_IOMMU_T_ATTACH,
		.domain = htole32(domain),
		.endpoint = htole32(ep),
	};

	return stay_send(w, s, &r, 20, 4);
}

#endif
