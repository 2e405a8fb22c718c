/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load, store, cas: one aligned little-endian word, single-copy atomic.
 */
#include <endian.h>

#include "base/range.h"
#include "core/dirty.h"
#include "dma/access.h"
#include "dma/burst.h"

static uint64_t word_swap(unsigned size, uint64_t val)
{
	switch (size) {
	case 2:
		return htole16((uint16_t)val);
	case 4:
		return htole32((uint32_t)val);
	case 8:
		return htole64(val);
	default:
		return (uint8_t)val;
	}
}

static uint64_t word_load(const void *p, unsigned size)
{
	switch (size) {
	case 1:
		return __atomic_load_n((const uint8_t *)p, __ATOMIC_ACQUIRE);
	case 2:
		return __atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE);
	case 4:
		return __atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE);
	default:
		return __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
	}
}

static void word_store(void *p, unsigned size, uint64_t val)
{
	switch (size) {
	case 1:
		__atomic_store_n((uint8_t *)p, (uint8_t)val, __ATOMIC_RELEASE);
		return;
	case 2:
		__atomic_store_n((uint16_t *)p, (uint16_t)val,
				 __ATOMIC_RELEASE);
		return;
	case 4:
		__atomic_store_n((uint32_t *)p, (uint32_t)val,
				 __ATOMIC_RELEASE);
		return;
	default:
		__atomic_store_n((uint64_t *)p, val, __ATOMIC_RELEASE);
	}
}

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

/* ---- the short way: in a burst, one leaf, one region ------------------- */

/* The entry for @iova in the burst's space, and the table to remember. */
static uint64_t burst_walk(struct vi_burst *b, uint64_t iova)
{
	const struct vi_radix *r = &b->space->table;
	unsigned shift;

	b->tag = UINT64_MAX;
	/* with a lesser granule a word may have several leaves */
	if (b->space->kind == VIOMMU_SPACE_IDENTITY || r->granule_lg2 < 8)
		return 0;
	b->top = vi_radix_top(r);
	b->table = vi_burst_table(r, b->top, iova, &shift);
	if (!b->table)
		return 0;
	b->shift = shift;
	b->tag = iova >> shift >> VI_RADIX_BITS;
	return vi_table_entry(b->table, iova >> shift);
}

/*
 * What most words come to.  NULL: whatever is not as usual, faults among it, is
 * left to the long way.
 */
static inline __attribute__((always_inline)) void *
burst_word(const struct viommu_endpoint *ep, uint64_t iova, unsigned size,
	   uint32_t prot, uint64_t *gpa)
{
	struct vi_burst *b = &vi_bursts[0];
	void *host;
	uint64_t e;

	if (VI_UNLIKELY(b->ep != ep || (iova & (size - 1)) || size > 8 ||
			(size & (size - 1)) || !b->space ||
			atomic_load(&ep->space) != b->space))
		return NULL;
	if (VI_LIKELY(iova >> b->shift >> VI_RADIX_BITS == b->tag &&
		      vi_radix_top(&b->space->table) == b->top))
		e = vi_table_entry(b->table, iova >> b->shift);
	else
		e = burst_walk(b, iova);
	if (VI_UNLIKELY(!(e & VI_LEAF) || (prot & ~vi_leaf_prot(e))))
		return NULL;
	*gpa = vi_leaf_target(&b->space->table, e, iova);
	if (VI_UNLIKELY(vi_memory_host(ep->memory, *gpa, size, prot, &host) !=
				size ||
			((uintptr_t)host & (size - 1))))
		return NULL;
	b->accesses++;
	*(prot & VIOMMU_WRITE ? &b->written : &b->read) += size;
	return host;
}

/* ---- the long way ----------------------------------------------------- */

/* A word that is found; the access is under way. */
struct word {
	struct vi_access a;
	void *host;
	uint64_t gpa;
};

/* With a granule of a few bytes it has several leaves. */
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
		if ((char *)w->host + n != piece.host ||
		    ((uintptr_t)w->host & (size - 1))) {
			vi_access_finish(a);
			return -EINVAL;
		}
	}
	return 0;
}

static int word_begin(struct word *w, struct viommu_endpoint *ep, uint64_t iova,
		      unsigned size, uint32_t prot)
{
	struct vi_seat *seat;
	int rc;

	if ((size != 1 && size != 2 && size != 4 && size != 8) ||
	    (iova & (size - 1)))
		return -EINVAL;
	vi_access_init(&w->a, ep, iova, size, prot);
	do {
		rc = vi_access_begin(&w->a);
		if (!rc)
			rc = word_look(w, iova, size);
	} while (rc == VI_ACCESS_AGAIN);
	if (rc)
		return rc;
	seat = w->a.pin->seat;
	vi_count(&seat->accesses, 1);
	if (prot & VIOMMU_READ)
		vi_count(&seat->bytes_read, size);
	if (prot & VIOMMU_WRITE)
		vi_count(&seat->bytes_written, size);
	return 0;
}

/* ---- load, store, cas ------------------------------------------------- */

static __attribute__((noinline)) int load_long(struct viommu_endpoint *ep,
					       uint64_t iova, unsigned size,
					       uint64_t *val)
{
	struct word w;
	int rc = word_begin(&w, ep, iova, size, VIOMMU_READ);

	if (rc)
		return rc;
	*val = word_swap(size, word_load(w.host, size));
	vi_access_finish(&w.a);
	return 0;
}

int viommu_dma_load(struct viommu_endpoint *ep, viommu_iova_t iova,
		    unsigned size, uint64_t *val)
{
	uint64_t gpa;
	const void *host = burst_word(ep, iova, size, VIOMMU_READ, &gpa);

	if (VI_UNLIKELY(!host))
		return load_long(ep, iova, size, val);
	*val = word_swap(size, word_load(host, size));
	return 0;
}

static __attribute__((noinline)) int store_long(struct viommu_endpoint *ep,
						uint64_t iova, unsigned size,
						uint64_t val)
{
	struct word w;
	int rc = word_begin(&w, ep, iova, size, VIOMMU_WRITE);

	if (rc)
		return rc;
	word_store(w.host, size, word_swap(size, val));
	vi_dirty_mark(ep->memory, w.gpa, size);
	vi_access_finish(&w.a);
	return 0;
}

int viommu_dma_store(struct viommu_endpoint *ep, viommu_iova_t iova,
		     unsigned size, uint64_t val)
{
	uint64_t gpa;
	void *host = burst_word(ep, iova, size, VIOMMU_WRITE, &gpa);

	if (VI_UNLIKELY(!host))
		return store_long(ep, iova, size, val);
	word_store(host, size, word_swap(size, val));
	vi_dirty_mark(ep->memory, gpa, size);
	return 0;
}

int viommu_dma_cas(struct viommu_endpoint *ep, viommu_iova_t iova,
		   unsigned size, uint64_t *old, uint64_t val)
{
	struct word w;
	int rc = word_begin(&w, ep, iova, size, VIOMMU_READ | VIOMMU_WRITE);
	uint64_t was, want;

	if (rc)
		return rc;
	want = word_swap(size, *old);
	was = word_cas(w.host, size, want, word_swap(size, val));
	if (was == want)
		vi_dirty_mark(ep->memory, w.gpa, size);
	*old = word_swap(size, was);
	vi_access_finish(&w.a);
	return 0;
}
