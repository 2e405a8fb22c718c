/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_SPEC_WORLD_H
#define TESTS_SPEC_WORLD_H

/*
 * A virtio-iommu with four endpoints behind it and a guest whose RAM is an
 * array.  The library is the real one; requests are the bytes that a driver
 * would put into its queue.
 *
 * Numbers in the tests' comments are sections of virtio 1.3; QEMU 1 to QEMU 10
 * are defects that another implementation of this device has.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_iommu.h>
#include <stdatomic.h>
#include <viommu.h>
#include <viommu/guest/virtio.h>

#ifndef VIRTIO_IOMMU_F_BYPASS_CONFIG
#define VIRTIO_IOMMU_F_BYPASS_CONFIG 6
#endif
#ifndef VIRTIO_IOMMU_ATTACH_F_BYPASS
#define VIRTIO_IOMMU_ATTACH_F_BYPASS (1 << 0)
#endif

enum {
	RAM = 1 << 20, /* at GPA 0; byte i of page p is p + 1 */
	PAGE = 4096,
	EPS = 4,
	EP = 8, /* ids 8 to 11 */
	IN_SIZE = 1024,

	/* what is no status */
	WAITING = -1,	/* not answered yet */
	UNWRITTEN = -2, /* used length 0, nothing written */
};

enum {
	OK = VIRTIO_IOMMU_S_OK,
	UNSUPP = VIRTIO_IOMMU_S_UNSUPP,
	DEVERR = VIRTIO_IOMMU_S_DEVERR,
	INVAL = VIRTIO_IOMMU_S_INVAL,
	RANGE = VIRTIO_IOMMU_S_RANGE,
	NOENT = VIRTIO_IOMMU_S_NOENT,
	NOMEM = VIRTIO_IOMMU_S_NOMEM,
	R = VIRTIO_IOMMU_MAP_F_READ,
	W = VIRTIO_IOMMU_MAP_F_WRITE,
	MMIO = VIRTIO_IOMMU_MAP_F_MMIO,
	BYPASS = VIRTIO_IOMMU_ATTACH_F_BYPASS,
};

struct world {
	struct viommu *vi;
	struct viommu_virtio *v;
	struct viommu_endpoint *ep[EPS];
	uint8_t *ram;
	_Atomic(unsigned) notified;  /* calls of the event hook */
	bool gone;		     /* v was destroyed by the test */
	enum viommu_verdict verdict; /* on endpoints that do not let go */
};

static inline void world_event(void *arg)
{
	struct world *w = arg;

	w->notified++;
}

static inline void fence_run(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(f, 10000000000), 0);
}

/* For faults that outlive the device, as those of tests that destroy it. */
static inline void world_fault(void *arg, const struct viommu_fault *fault)
{
	struct world *w = arg;

	if (!w->gone)
		viommu_virtio_fault(w->v, fault);
}

static inline enum viommu_verdict world_expire(void *arg,
					       const struct viommu_expiry *e)
{
	struct world *w = arg;

	(void)e;
	return w->verdict;
}

static inline void world_endpoints(struct world *w)
{
	for (uint32_t i = 0; i < EPS; i++) {
		struct viommu_endpoint_config c = { .size = sizeof(c),
						    .id = EP + i,
						    .pasid = VIOMMU_NO_PASID,
						    .fault = world_fault,
						    .expire = world_expire,
						    .arg = w };

		assert_int_equal(viommu_endpoint_create(w->vi, &c, &w->ep[i]),
				 0);
		assert_int_equal(viommu_virtio_add(w->v, w->ep[i]), 0);
	}
}

static inline void world_make_limited(struct world *w,
				      const struct viommu_config *limits,
				      const struct viommu_virtio_config *cfg)
{
	struct viommu_virtio_config c = { 0 };
	struct viommu_region r = { .size = sizeof(r),
				   .len = RAM,
				   .prot = VIOMMU_READ | VIOMMU_WRITE,
				   .fd = -1 };

	memset(w, 0, sizeof(*w));
	w->ram = malloc(RAM);
	assert_non_null(w->ram);
	for (size_t i = 0; i < RAM; i++)
		w->ram[i] = (uint8_t)(i / PAGE + 1);
	r.host = w->ram;
	assert_int_equal(viommu_create(limits, &w->vi), 0);
	assert_int_equal(viommu_memory_add(viommu_memory_of(w->vi), &r), 0);
	if (cfg)
		c = *cfg;
	c.size = sizeof(c);
	c.event = world_event;
	c.arg = w;
	assert_int_equal(viommu_virtio_create(w->vi, &c, &w->v), 0);
	world_endpoints(w);
}

static inline void world_make(struct world *w,
			      const struct viommu_virtio_config *cfg)
{
	world_make_limited(w, NULL, cfg);
}

/* Pages of one byte, as the specification's examples have them. */
static inline void world_make_bytes(struct world *w)
{
	struct viommu_virtio_config c = { .page_size_mask = UINT64_MAX };

	world_make(w, &c);
}

static inline void world_free(struct world *w)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	if (!w->gone)
		viommu_virtio_destroy(w->v, &f);
	w->gone = true;
	for (int i = 0; i < EPS; i++)
		viommu_endpoint_destroy(w->ep[i], &f);
	fence_run(&f);
	viommu_destroy(w->vi);
	free(w->ram);
}

/* ---- asking ----------------------------------------------------------- */

/* A request and its buffers.  0xa5 is what nobody wrote. */
struct ask {
	struct viommu_virtio_req req;
	uint8_t in[IN_SIZE];
	uint8_t out[128];
	size_t written;
	_Atomic(unsigned) answers;
};

static inline void ask_done(struct viommu_virtio_req *req, size_t written)
{
	struct ask *a = req->arg;

	a->written = written;
	a->answers++;
}

/* The status; or WAITING, or UNWRITTEN, then checks that nothing was. */
static inline int ask_status(struct ask *a)
{
	const uint8_t *tail;

	if (!a->answers)
		return WAITING;
	assert_int_equal(a->answers, 1);
	for (size_t i = a->written; i < IN_SIZE; i++)
		if (a->in[i] != 0xa5)
			fail_msg("byte %zu was written", i);
	if (!a->written)
		return UNWRITTEN;
	tail = a->in + a->written - 4;
	/* 5.13.6.2: reserved bytes of the tail are zero */
	assert_int_equal(tail[1] | tail[2] | tail[3], 0);
	return tail[0];
}

static inline int ask_bytes(struct world *w, struct ask *a, const void *out,
			    size_t out_len, size_t in_len)
{
	memset(a, 0, sizeof(*a));
	memset(a->in, 0xa5, sizeof(a->in));
	assert_true(out_len <= sizeof(a->out) && in_len <= sizeof(a->in));
	memcpy(a->out, out, out_len);
	a->req.out = a->out;
	a->req.out_len = out_len;
	a->req.in = a->in;
	a->req.in_len = in_len;
	a->req.done = ask_done;
	a->req.arg = a;
	viommu_virtio_request(w->v, &a->req);
	return ask_status(a);
}

static inline int ask_attach(struct world *w, struct ask *a, uint32_t domain,
			     uint32_t ep, uint32_t flags)
{
	struct virtio_iommu_req_attach r = {
		.head.type = VIRTIO_IOMMU_T_ATTACH,
		.domain = htole32(domain),
		.endpoint = htole32(ep),
		.flags = htole32(flags),
	};

	return ask_bytes(w, a, &r, 20, 4);
}

static inline int ask_detach(struct world *w, struct ask *a, uint32_t domain,
			     uint32_t ep)
{
	struct virtio_iommu_req_detach r = {
		.head.type = VIRTIO_IOMMU_T_DETACH,
		.domain = htole32(domain),
		.endpoint = htole32(ep),
	};

	return ask_bytes(w, a, &r, 20, 4);
}

static inline int ask_unmap(struct world *w, struct ask *a, uint32_t domain,
			    uint64_t start, uint64_t last)
{
	struct virtio_iommu_req_unmap r = {
		.head.type = VIRTIO_IOMMU_T_UNMAP,
		.domain = htole32(domain),
		.virt_start = htole64(start),
		.virt_end = htole64(last),
	};

	return ask_bytes(w, a, &r, 28, 4);
}

/* ---- requests that are answered at once ------------------------------- */

static inline int attach_flags(struct world *w, uint32_t domain, uint32_t ep,
			       uint32_t flags)
{
	struct ask a;
	int status = ask_attach(w, &a, domain, ep, flags);

	assert_int_not_equal(status, WAITING);
	return status;
}

static inline int attach(struct world *w, uint32_t domain, uint32_t ep)
{
	return attach_flags(w, domain, ep, 0);
}

static inline int detach(struct world *w, uint32_t domain, uint32_t ep)
{
	struct ask a;
	int status = ask_detach(w, &a, domain, ep);

	assert_int_not_equal(status, WAITING);
	return status;
}

static inline int map_flags(struct world *w, uint32_t domain, uint64_t start,
			    uint64_t last, uint64_t phys, uint32_t flags)
{
	struct virtio_iommu_req_map r = {
		.head.type = VIRTIO_IOMMU_T_MAP,
		.domain = htole32(domain),
		.virt_start = htole64(start),
		.virt_end = htole64(last),
		.phys_start = htole64(phys),
		.flags = htole32(flags),
	};
	struct ask a;
	int status = ask_bytes(w, &a, &r, 36, 4);

	assert_int_not_equal(status, WAITING);
	return status;
}

static inline int map(struct world *w, uint32_t domain, uint64_t start,
		      uint64_t last, uint64_t phys)
{
	return map_flags(w, domain, start, last, phys, R | W);
}

static inline int unmap(struct world *w, uint32_t domain, uint64_t start,
			uint64_t last)
{
	struct ask a;
	int status = ask_unmap(w, &a, domain, start, last);

	assert_int_not_equal(status, WAITING);
	return status;
}

static inline int probe(struct world *w, struct ask *a, uint32_t ep,
			size_t in_len)
{
	uint8_t out[72] = { VIRTIO_IOMMU_T_PROBE };
	uint32_t id = htole32(ep);

	memcpy(out + 4, &id, sizeof(id));
	return ask_bytes(w, a, out, sizeof(out), in_len);
}

/* ---- looking ---------------------------------------------------------- */

/* Where @iova leads for endpoint EP + @i, or -1. */
static inline int64_t gpa_of(struct world *w, int i, uint64_t iova)
{
	struct viommu_mapping m;

	if (viommu_dma_translate(w->ep[i], iova, 0, &m))
		return -1;
	return (int64_t)(m.gpa + (iova - m.start));
}

/* The byte that endpoint EP + @i reads at @iova, or -errno. */
static inline int peek(struct world *w, int i, uint64_t iova)
{
	uint8_t byte;
	int rc = viommu_dma_read(w->ep[i], iova, &byte, 1);

	return rc ? rc : byte;
}

static inline int poke(struct world *w, int i, uint64_t iova)
{
	uint8_t byte = 0xee;

	return viommu_dma_write(w->ep[i], iova, &byte, 1);
}

/* Fetch an event: false if there is none. */
static inline bool event(struct world *w, struct virtio_iommu_fault *e)
{
	int n = viommu_virtio_event(w->v, e, sizeof(*e));

	assert_true(n == 0 || n == (int)sizeof(*e));
	return n;
}

static inline void bypass_write(struct world *w, uint8_t val)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_virtio_config_write(w->v, 36, &val, 1, &f);
	fence_run(&f);
}

static inline uint8_t bypass_read(struct world *w)
{
	uint8_t val;

	viommu_virtio_config_read(w->v, 36, &val, 1);
	return val;
}

static inline void reset(struct world *w)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_virtio_reset(w->v, &f);
	fence_run(&f);
}

/* ---- holding on ------------------------------------------------------- */

struct held {
	struct viommu_dma d;
	struct iovec iov[8];
};

static inline void hold(struct world *w, struct held *h, int i, uint64_t iova,
			uint64_t len)
{
	memset(h, 0, sizeof(*h));
	h->d.ep = w->ep[i];
	h->d.iova = iova;
	h->d.len = len;
	h->d.prot = VIOMMU_READ;
	h->d.iov = h->iov;
	h->d.max_iov = 8;
	assert_int_equal(viommu_dma_map(&h->d), 0);
}

static inline void let_go(struct held *h)
{
	viommu_dma_unmap(&h->d, 0);
}

/* ---- running ---------------------------------------------------------- */

static inline int world_setup(void **state)
{
	struct world *w = malloc(sizeof(*w));

	world_make(w, NULL);
	*state = w;
	return 0;
}

static inline int world_setup_bytes(void **state)
{
	struct world *w = malloc(sizeof(*w));

	world_make_bytes(w);
	*state = w;
	return 0;
}

static inline int world_teardown(void **state)
{
	world_free(*state);
	free(*state);
	return 0;
}

#define TEST(fn) \
	cmocka_unit_test_setup_teardown(fn, world_setup, world_teardown)
#define TEST_BYTES(fn) \
	cmocka_unit_test_setup_teardown(fn, world_setup_bytes, world_teardown)

#endif
