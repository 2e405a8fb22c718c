/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_SERVE_RING_H
#define TESTS_SERVE_RING_H

/*
 * The guest's side of a split virtqueue: RAM that is an array, one endpoint,
 * rings that the test writes as it likes.  What devices are told are IOVAs,
 * GPA + GUEST_IOVA, so that one taken for the other is noticed.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <viommu.h>

#define GUEST_RAM  (8u << 20) /* at GPA 0 */
#define GUEST_IOVA UINT64_C(0x100000000)
#define GUEST_PAGE 4096u

struct guest {
	struct viommu *vi;
	struct viommu_space *space;
	struct viommu_endpoint *ep;
	uint8_t *ram;
	unsigned faults;
};

static inline void guest_fault(void *arg, const struct viommu_fault *fault)
{
	struct guest *g = arg;

	(void)fault;
	g->faults++;
}

static inline void guest_commit(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(f, 10000000000), 0);
}

/* Map [gpa, gpa + len - 1] where devices look for it. */
static inline void guest_map(struct guest *g, uint64_t gpa, uint64_t len,
			     uint32_t prot)
{
	const struct viommu_mapping m = { .start = gpa + GUEST_IOVA,
					  .last = gpa + GUEST_IOVA + len - 1,
					  .gpa = gpa,
					  .prot = prot };

	assert_int_equal(viommu_space_map(g->space, &m), 0);
}

static inline void guest_unmap(struct guest *g, uint64_t gpa, uint64_t len)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(g->space, gpa + GUEST_IOVA,
					    gpa + GUEST_IOVA + len - 1, &f),
			 (int64_t)len);
	guest_commit(&f);
}

/* A guest whose devices see nothing yet. */
static inline struct guest *guest_make_expiring(const struct viommu_config *cfg,
						viommu_expire_fn *expire,
						void *arg)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct viommu_region r = { .size = sizeof(r),
				   .len = GUEST_RAM,
				   .prot = VIOMMU_READ | VIOMMU_WRITE,
				   .fd = -1 };
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = GUEST_PAGE };
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = 1,
					     .pasid = VIOMMU_NO_PASID,
					     .fault = guest_fault };
	struct viommu_fence f;

	assert_non_null(g);
	g->ram = aligned_alloc(GUEST_PAGE, GUEST_RAM);
	assert_non_null(g->ram);
	memset(g->ram, 0, GUEST_RAM);
	r.host = g->ram;
	/* one argument for both: faults are counted where nothing expires */
	ec.arg = expire ? arg : g;
	ec.expire = expire;
	if (expire)
		ec.fault = NULL;
	assert_int_equal(viommu_create(cfg, &g->vi), 0);
	assert_int_equal(viommu_memory_add(viommu_memory_of(g->vi), &r), 0);
	assert_int_equal(viommu_space_create(g->vi, &sc, &g->space), 0);
	assert_int_equal(viommu_endpoint_create(g->vi, &ec, &g->ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(g->ep, g->space, &f), 0);
	guest_commit(&f);
	return g;
}

static inline struct guest *guest_make(const struct viommu_config *cfg)
{
	return guest_make_expiring(cfg, NULL, NULL);
}

static inline void guest_free(struct guest *g)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_endpoint_destroy(g->ep, &f);
	viommu_space_destroy(g->space, &f);
	guest_commit(&f);
	viommu_destroy(g->vi);
	free(g->ram);
	free(g);
}

/* ------------------------------------------------------------------- ring */

/* One ring; the device may be reading it on another thread. */
struct ring {
	uint8_t *ram;
	uint64_t base;		    /* what devices have to add to a GPA */
	uint64_t desc, avail, used; /* GPAs */
	uint16_t len;
	uint16_t added, seen; /* avail idx, used idx */
	bool event_idx;
};

static inline void *ring_at(const struct ring *r, uint64_t gpa)
{
	return r->ram + gpa;
}

static inline void ring_store16(const struct ring *r, uint64_t gpa,
				uint16_t val)
{
	__atomic_store_n((uint16_t *)ring_at(r, gpa), htole16(val),
			 __ATOMIC_RELEASE);
}

static inline uint16_t ring_load16(const struct ring *r, uint64_t gpa)
{
	return le16toh(
		__atomic_load_n((uint16_t *)ring_at(r, gpa), __ATOMIC_ACQUIRE));
}

static inline uint32_t ring_load32(const struct ring *r, uint64_t gpa)
{
	uint32_t val;

	memcpy(&val, ring_at(r, gpa), sizeof(val));
	return le32toh(val);
}

/* A fresh ring on three pages (more for a long one) from @gpa on. */
static inline void ring_init(struct ring *r, uint8_t *ram, uint64_t base,
			     uint64_t gpa, uint16_t len)
{
	*r = (struct ring){ .ram = ram,
			    .base = base,
			    .desc = gpa,
			    .avail = gpa + GUEST_PAGE,
			    .used = gpa + 2 * GUEST_PAGE,
			    .len = len };
	assert_true(16u * len <= GUEST_PAGE);
	memset(ram + gpa, 0, 3 * GUEST_PAGE);
}

static inline void ring_desc(struct ring *r, uint64_t table, unsigned i,
			     uint64_t iova, uint32_t len, uint16_t flags,
			     uint16_t next)
{
	struct vring_desc d = { .addr = htole64(iova),
				.len = htole32(len),
				.flags = htole16(flags),
				.next = htole16(next) };

	memcpy(ring_at(r, table + 16 * (uint64_t)i), &d, sizeof(d));
}

/* A buffer at @gpa in the ring's own table. */
static inline void ring_buffer(struct ring *r, unsigned i, uint64_t gpa,
			       uint32_t len, uint16_t flags, uint16_t next)
{
	ring_desc(r, r->desc, i, gpa + r->base, len, flags, next);
}

/* Make @head available, not yet the index. */
static inline void ring_put(struct ring *r, uint16_t head)
{
	ring_store16(r, r->avail + 4 + 2 * (uint64_t)(r->added % r->len), head);
	r->added++;
}

static inline void ring_show(struct ring *r)
{
	ring_store16(r, r->avail + 2, r->added);
}

static inline void ring_offer(struct ring *r, uint16_t head)
{
	ring_put(r, head);
	ring_show(r);
}

static inline uint16_t ring_used_idx(const struct ring *r)
{
	return ring_load16(r, r->used + 2);
}

static inline uint16_t ring_avail_event(const struct ring *r)
{
	return ring_load16(r, r->used + 4 + 8 * (uint64_t)r->len);
}

static inline void ring_used_event(const struct ring *r, uint16_t val)
{
	ring_store16(r, r->avail + 4 + 2 * (uint64_t)r->len, val);
}

/* What the device returned next, if anything. */
static inline bool ring_take(struct ring *r, uint32_t *id, uint32_t *len)
{
	uint64_t at = r->used + 4 + 8 * (uint64_t)(r->seen % r->len);

	if (ring_used_idx(r) == r->seen)
		return false;
	*id = ring_load32(r, at);
	*len = ring_load32(r, at + 4);
	r->seen++;
	return true;
}

/* Does the device want to be told that idx went from @old to added? */
static inline bool ring_wants_notify(const struct ring *r, uint16_t old)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (r->event_idx)
		return vring_need_event(ring_avail_event(r), r->added, old);
	return !(ring_load16(r, r->used) & VRING_USED_F_NO_NOTIFY);
}

#endif
