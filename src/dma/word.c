/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load, store, cas: one aligned little-endian word, single-copy atomic.
 */
#include <endian.h>

#include "dma/access.h"

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

/* Where the word is; with a granule of a few bytes it has several leaves. */
static int word_look(struct vi_access *a, unsigned size, void **p)
{
	struct vi_piece piece;
	uint64_t n = 0;
	int rc;

	for (; n < size; n += piece.len) {
		rc = vi_access_look(a, a->iova + n, size - n, &piece);
		if (rc)
			return vi_access_refuse(a, a->iova + n, rc);
		if (!n)
			*p = piece.host;
		if ((char *)*p + n != piece.host ||
		    ((uintptr_t)*p & (size - 1))) {
			vi_access_finish(a);
			return -EINVAL;
		}
	}
	return 0;
}

/* Publish and find the word.  On success the access is still under way. */
static int word_begin(struct vi_access *a, struct viommu_endpoint *ep,
		      uint64_t iova, unsigned size, uint32_t prot, void **p)
{
	int rc;

	if ((size != 1 && size != 2 && size != 4 && size != 8) ||
	    (iova & (size - 1)))
		return -EINVAL;
	rc = vi_access_begin(a, ep, iova, size, prot);
	if (rc)
		return rc;
	rc = word_look(a, size, p);
	if (rc)
		return rc;
	vi_count(&a->pin->seat->accesses, 1);
	if (prot & VIOMMU_READ)
		vi_count(&a->pin->seat->bytes_read, size);
	if (prot & VIOMMU_WRITE)
		vi_count(&a->pin->seat->bytes_written, size);
	return 0;
}

int viommu_dma_load(struct viommu_endpoint *ep, viommu_iova_t iova,
		    unsigned size, uint64_t *val)
{
	struct vi_access a;
	void *p;
	int rc = word_begin(&a, ep, iova, size, VIOMMU_READ, &p);

	if (rc)
		return rc;
	*val = word_swap(size, word_load(p, size));
	vi_access_finish(&a);
	return 0;
}

int viommu_dma_store(struct viommu_endpoint *ep, viommu_iova_t iova,
		     unsigned size, uint64_t val)
{
	struct vi_access a;
	void *p;
	int rc = word_begin(&a, ep, iova, size, VIOMMU_WRITE, &p);

	if (rc)
		return rc;
	word_store(p, size, word_swap(size, val));
	vi_access_finish(&a);
	return 0;
}

int viommu_dma_cas(struct viommu_endpoint *ep, viommu_iova_t iova,
		   unsigned size, uint64_t *old, uint64_t val)
{
	struct vi_access a;
	void *p;
	int rc = word_begin(&a, ep, iova, size, VIOMMU_READ | VIOMMU_WRITE, &p);

	if (rc)
		return rc;
	*old = word_swap(size, word_cas(p, size, word_swap(size, *old),
					word_swap(size, val)));
	vi_access_finish(&a);
	return 0;
}
