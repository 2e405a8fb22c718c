/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load, store, cas: one aligned little-endian word, single-copy atomic.
 */
#include "dma/word.h"

#include "core/dirty.h"
#include "dma/access.h"
#include "dma/burst.h"
#include "dma/detour.h"
#include "dma/quick.h"
#include "dma/recent.h"

/* What was there; it was swapped if that is @old. */
#define WORD_CAS(type)                                                      \
	do {                                                                \
		type seen = (type)old;                                      \
		__atomic_compare_exchange_n((type *)p, &seen, (type)val, 0, \
					    __ATOMIC_SEQ_CST,               \
					    __ATOMIC_SEQ_CST);              \
		return seen;                                                \
	} while (0)

static uint64_t word_cas(void *p, unsigned size, uint64_t old, uint64_t val)
{
	switch (size) {
	case 1:
		WORD_CAS(uint8_t);
	case 2:
		WORD_CAS(uint16_t);
	case 4:
		WORD_CAS(uint32_t);
	default:
		WORD_CAS(uint64_t);
	}
}

/* ---- the long way ----------------------------------------------------- */

/* A word that is found; the access is under way. */
struct word {
	struct vi_access a;
	void *host; /* NULL: a device answers */
	uint64_t gpa;
};

/* With a granule of a few bytes it has several leaves.  A device's, all of
 * them, or it is no word. */
static int word_look(struct word *w, uint64_t iova, unsigned size)
{
	struct vi_access *a = &w->a;
	struct vi_piece piece;
	uint64_t n = 0;
	int rc;

	for (; n < size; n += piece.len) {
		rc = vi_access_look(a, iova + n, size - n, &piece);
		if (rc)
			return vi_access_refuse(a, iova + n, rc);
		if (!n) {
			w->host = piece.host;
			w->gpa = piece.gpa;
		}
		if (!w->host ? piece.host || piece.gpa != w->gpa + n
			     : (char *)w->host + n != piece.host ||
				       ((uintptr_t)w->host & (size - 1))) {
			if (vi_access_turned(a))
				return VI_ACCESS_AGAIN;
			vi_access_finish(a);
			return -EINVAL;
		}
	}
	return 0;
}

static void word_count(const struct word *w, unsigned size)
{
	struct vi_seat *seat = w->a.pin->seat;

	vi_count(&seat->accesses, 1);
	if (w->a.prot & VIOMMU_READ)
		vi_count(&seat->bytes_read, size);
	if (w->a.prot & VIOMMU_WRITE)
		vi_count(&seat->bytes_written, size);
}

/* It is counted, unless a device has yet to answer. */
static int word_begin(struct word *w, struct viommu_endpoint *ep, uint64_t iova,
		      unsigned size, uint32_t prot)
{
	int rc;

	vi_access_init(&w->a, ep, iova, size, prot);
	do {
		rc = vi_access_begin(&w->a);
		if (!rc)
			rc = word_look(w, iova, size);
	} while (rc == VI_ACCESS_AGAIN);
	if (!rc && w->host)
		word_count(w, size);
	return rc;
}

/* The device answers for it, or it is to be begun again. */
static int word_device(struct word *w, uint64_t iova, unsigned size,
		       uint64_t *val)
{
	const struct vi_piece piece = { .gpa = w->gpa, .len = size };
	int rc = vi_detour_word(w->a.ep->memory, w->gpa, size, val, w->a.prot);

	if (rc)
		return vi_access_device_refused(&w->a, iova, &piece, rc);
	word_count(w, size);
	vi_access_finish(&w->a);
	return 0;
}

/* ---- in a burst ------------------------------------------------------- */

/* A word in a burst, to where it leads. */
struct burst_word {
	struct vi_burst *b;
	uint64_t iova;
	unsigned size;
	uint32_t prot;
	uint64_t leaf, gpa;
	void *host;
};

static VI_ALWAYS_INLINE bool burst_sees_space(const struct vi_burst *b)
{
	return VI_LIKELY(atomic_load(&b->ep->space) == b->space && b->space);
}

static VI_ALWAYS_INLINE bool burst_leaf_ok(struct burst_word *w)
{
	if (VI_UNLIKELY(!w->leaf || (w->prot & ~vi_leaf_prot(w->leaf))))
		return false;
	w->gpa = w->iova + (w->leaf & ~(uint64_t)VI_LEAF_FLAGS);
	return true;
}

static VI_ALWAYS_INLINE void burst_count(struct burst_word *w)
{
	struct vi_burst *b = w->b;

	if (w->prot == VIOMMU_READ && w->size == 8) {
		b->words++;
		return;
	}
	b->accesses++;
	*(w->prot & VIOMMU_WRITE ? &b->written : &b->read) += w->size;
}

/* By what is remembered, without a call.  False: not as usual. */
static VI_ALWAYS_INLINE bool burst_find(struct burst_word *w)
{
	if (!burst_sees_space(w->b))
		return false;
	w->leaf = vi_burst_leaf(w->b, w->iova);
	if (!burst_leaf_ok(w))
		return false;
	w->host = vi_recent_word(w->b->ep->memory, w->gpa, w->prot);
	if (VI_UNLIKELY(!w->host))
		return false;
	burst_count(w);
	return true;
}

/* By walking.  False: go the long way. */
static bool burst_walk(struct burst_word *w)
{
	if (!burst_sees_space(w->b))
		return false;
	w->leaf = vi_burst_walk(w->b, w->iova);
	if (!burst_leaf_ok(w))
		return false;
	w->host = vi_recent_walk(w->b->ep->memory, w->gpa, w->size, w->prot);
	if (!w->host || ((uintptr_t)w->host & (w->size - 1)))
		return false;
	burst_count(w);
	return true;
}

/* ---- load ------------------------------------------------------------- */

/*
 * Each operation has a way for bursts and one for accesses alone, without a
 * call; two that walk the memory's table, in a function of their own; and the
 * long way.  They call each other last, so that the first two save no
 * registers.
 */

static VI_NOINLINE int load_long(struct viommu_endpoint *ep, uint64_t iova,
				 unsigned size, uint64_t *val)
{
	struct word w;
	int rc;

	do {
		rc = word_begin(&w, ep, iova, size, VIOMMU_READ);
		if (rc)
			return rc;
		if (w.host)
			break;
		rc = word_device(&w, iova, size, val);
	} while (rc == VI_ACCESS_AGAIN);
	if (!w.host)
		return rc;
	*val = vi_word_swap(size, vi_word_load(w.host, size));
	vi_access_finish(&w.a);
	return 0;
}

static VI_NOINLINE int load_burst_walk(struct viommu_endpoint *ep,
				       uint64_t iova, unsigned size,
				       uint64_t *val)
{
	struct burst_word w = { .b = &vi_bursts[0],
				.iova = iova,
				.size = size,
				.prot = VIOMMU_READ };

	if (!burst_walk(&w))
		return load_long(ep, iova, size, val);
	*val = vi_word_swap(size, vi_word_load(w.host, size));
	return 0;
}

/* @pin is published, the word is at @gpa. */
static VI_NOINLINE int load_walk(struct viommu_endpoint *ep, uint64_t iova,
				 unsigned size, uint64_t *val,
				 struct vi_pin *pin, uint64_t gpa)
{
	struct vi_quick_what w = {
		.ep = ep, .iova = iova, .len = size, .prot = VIOMMU_READ
	};
	struct vi_quick q;
	const void *host = vi_quick_walk(&q, &w, pin, gpa);

	if (!host || ((uintptr_t)host & (size - 1))) {
		vi_quick_undo(&q);
		return load_long(ep, iova, size, val);
	}
	*val = vi_word_swap(size, vi_word_load(host, size));
	return vi_quick_end(&q, &w);
}

static VI_ALWAYS_INLINE int load_quick(struct viommu_endpoint *ep,
				       uint64_t iova, unsigned size,
				       uint64_t *val)
{
	const struct vi_quick_what w = { .ep = ep,
					 .iova = iova,
					 .len = size,
					 .prot = VIOMMU_READ,
					 .word = true };
	struct vi_quick q;
	const void *host;

	if (VI_UNLIKELY(vi_bursts[0].ep || !vi_quick_begin(&q, &w)))
		return load_long(ep, iova, size, val);
	if (VI_UNLIKELY(!vi_quick_leaf(&q, &w))) {
		vi_quick_undo(&q);
		return load_long(ep, iova, size, val);
	}
	host = vi_quick_host(&q, &w);
	if (VI_UNLIKELY(!host))
		return load_walk(ep, iova, size, val, q.pin, q.gpa);
	*val = vi_word_swap(size, vi_word_load(host, size));
	return vi_quick_end(&q, &w);
}

/* Of its own, or the burst would save registers for it. */
static VI_NOINLINE int load_quick_8(struct viommu_endpoint *ep, uint64_t iova,
				    uint64_t *val)
{
	return load_quick(ep, iova, 8, val);
}

static VI_ALWAYS_INLINE int load(struct viommu_endpoint *ep, uint64_t iova,
				 unsigned size, uint64_t *val)
{
	struct burst_word w = { .b = &vi_bursts[0],
				.iova = iova,
				.size = size,
				.prot = VIOMMU_READ };

	if (w.b->ep != ep)
		return size == 8 ? load_quick_8(ep, iova, val)
				 : load_quick(ep, iova, size, val);
	if (VI_UNLIKELY(!burst_find(&w)))
		return load_burst_walk(ep, iova, size, val);
	*val = vi_word_swap(size, vi_word_load(w.host, size));
	return 0;
}

/* Sizes that are less usual. */
static VI_NOINLINE int load_any(struct viommu_endpoint *ep, uint64_t iova,
				unsigned size, uint64_t *val)
{
	if (!vi_word_size(size) || (iova & (size - 1)))
		return -EINVAL;
	return load(ep, iova, size, val);
}

int viommu_dma_load(struct viommu_endpoint *ep, viommu_iova_t iova,
		    unsigned size, uint64_t *val)
{
	if (VI_LIKELY(size == 8 && !(iova & 7)))
		return load(ep, iova, 8, val);
	return load_any(ep, iova, size, val);
}

/* ---- store ------------------------------------------------------------ */

static VI_NOINLINE int store_long(struct viommu_endpoint *ep, uint64_t iova,
				  unsigned size, uint64_t val)
{
	struct word w;
	int rc;

	do {
		rc = word_begin(&w, ep, iova, size, VIOMMU_WRITE);
		if (rc)
			return rc;
		if (w.host)
			break;
		rc = word_device(&w, iova, size, &val);
	} while (rc == VI_ACCESS_AGAIN);
	if (!w.host)
		return rc;
	vi_word_store(w.host, size, vi_word_swap(size, val));
	vi_dirty_mark(ep->memory, w.gpa, size);
	vi_access_finish(&w.a);
	return 0;
}

static VI_NOINLINE int store_burst_walk(struct viommu_endpoint *ep,
					uint64_t iova, unsigned size,
					uint64_t val)
{
	struct burst_word w = { .b = &vi_bursts[0],
				.iova = iova,
				.size = size,
				.prot = VIOMMU_WRITE };

	if (!burst_walk(&w))
		return store_long(ep, iova, size, val);
	vi_word_store(w.host, size, vi_word_swap(size, val));
	vi_dirty_mark(ep->memory, w.gpa, size);
	return 0;
}

/* @pin is published, the word is at @gpa. */
static VI_NOINLINE int store_walk(struct viommu_endpoint *ep, uint64_t iova,
				  unsigned size, uint64_t val,
				  struct vi_pin *pin, uint64_t gpa)
{
	struct vi_quick_what w = {
		.ep = ep, .iova = iova, .len = size, .prot = VIOMMU_WRITE
	};
	struct vi_quick q;
	void *host = vi_quick_walk(&q, &w, pin, gpa);

	if (!host || ((uintptr_t)host & (size - 1))) {
		vi_quick_undo(&q);
		return store_long(ep, iova, size, val);
	}
	vi_word_store(host, size, vi_word_swap(size, val));
	vi_dirty_mark(ep->memory, q.gpa, size);
	return vi_quick_end(&q, &w);
}

static VI_ALWAYS_INLINE int store_quick(struct viommu_endpoint *ep,
					uint64_t iova, unsigned size,
					uint64_t val)
{
	const struct vi_quick_what w = { .ep = ep,
					 .iova = iova,
					 .len = size,
					 .prot = VIOMMU_WRITE,
					 .word = true };
	struct vi_quick q;
	void *host;

	if (VI_UNLIKELY(vi_bursts[0].ep || !vi_quick_begin(&q, &w)))
		return store_long(ep, iova, size, val);
	if (VI_UNLIKELY(!vi_quick_leaf(&q, &w))) {
		vi_quick_undo(&q);
		return store_long(ep, iova, size, val);
	}
	host = vi_quick_host(&q, &w);
	if (VI_UNLIKELY(!host))
		return store_walk(ep, iova, size, val, q.pin, q.gpa);
	vi_word_store(host, size, vi_word_swap(size, val));
	vi_dirty_mark(ep->memory, q.gpa, size);
	return vi_quick_end(&q, &w);
}

/* Of its own, or the burst would save registers for it. */
static VI_NOINLINE int store_quick_8(struct viommu_endpoint *ep, uint64_t iova,
				     uint64_t val)
{
	return store_quick(ep, iova, 8, val);
}

static VI_ALWAYS_INLINE int store(struct viommu_endpoint *ep, uint64_t iova,
				  unsigned size, uint64_t val)
{
	struct burst_word w = { .b = &vi_bursts[0],
				.iova = iova,
				.size = size,
				.prot = VIOMMU_WRITE };

	if (w.b->ep != ep)
		return size == 8 ? store_quick_8(ep, iova, val)
				 : store_quick(ep, iova, size, val);
	if (VI_UNLIKELY(!burst_find(&w)))
		return store_burst_walk(ep, iova, size, val);
	vi_word_store(w.host, size, vi_word_swap(size, val));
	vi_dirty_mark(ep->memory, w.gpa, size);
	return 0;
}

static VI_NOINLINE int store_any(struct viommu_endpoint *ep, uint64_t iova,
				 unsigned size, uint64_t val)
{
	if (!vi_word_size(size) || (iova & (size - 1)))
		return -EINVAL;
	return store(ep, iova, size, val);
}

int viommu_dma_store(struct viommu_endpoint *ep, viommu_iova_t iova,
		     unsigned size, uint64_t val)
{
	if (VI_LIKELY(size == 8 && !(iova & 7)))
		return store(ep, iova, 8, val);
	return store_any(ep, iova, size, val);
}

/* ---- cas --------------------------------------------------------------- */

int viommu_dma_cas(struct viommu_endpoint *ep, viommu_iova_t iova,
		   unsigned size, uint64_t *old, uint64_t val)
{
	struct word w;
	uint64_t was, want;
	int rc;

	if (!vi_word_size(size) || (iova & (size - 1)))
		return -EINVAL;
	rc = word_begin(&w, ep, iova, size, VIOMMU_READ | VIOMMU_WRITE);
	if (rc)
		return rc;
	if (!w.host) {
		vi_access_finish(&w.a);
		return -ENODEV;
	}
	want = vi_word_swap(size, *old);
	was = word_cas(w.host, size, want, vi_word_swap(size, val));
	if (was == want)
		vi_dirty_mark(ep->memory, w.gpa, size);
	*old = vi_word_swap(size, was);
	vi_access_finish(&w.a);
	return 0;
}
