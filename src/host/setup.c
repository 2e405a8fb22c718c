/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a kernel can map, and what of the rest the endpoint's guest has to be
 * told of: reserved ranges.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <viommu/endpoint.h>

#include "host/shadow.h"

/* Where an x86 device's writes are interrupts. */
#define X86_MSI_START UINT64_C(0xfee00000)
#define X86_MSI_LAST  UINT64_C(0xfeefffff)

int vh_options_copy(void *out, size_t known, const void *in, size_t size)
{
	const unsigned char *bytes = in;

	if (size < sizeof(size_t))
		return -EINVAL;
	for (size_t i = known; i < size; i++)
		if (bytes[i])
			return -EINVAL;
	memset(out, 0, known);
	memcpy(out, in, size < known ? size : known);
	return 0;
}

static int by_start(const void *a, const void *b)
{
	const struct vh_range *x = a, *y = b;

	return (x->start > y->start) - (x->start < y->start);
}

void vh_ranges_sort(struct vh_range *r, size_t *n)
{
	size_t out = 0;

	if (*n)
		qsort(r, *n, sizeof(*r), by_start);
	for (size_t i = 0; i < *n; i++) {
		if (r[i].last < r[i].start)
			continue;
		if (out && r[i].start <= r[out - 1].last) {
			if (r[i].last > r[out - 1].last)
				r[out - 1].last = r[i].last;
		} else {
			r[out++] = r[i];
		}
	}
	*n = out;
}

static int reserve(struct viommu_endpoint *ep, uint64_t start, uint64_t last,
		   uint32_t kind)
{
	struct viommu_reserved r = { .start = start,
				     .last = last,
				     .kind = kind };

	return viommu_endpoint_reserve(ep, &r);
}

/* What of [start, last] is not reserved already. */
static int reserve_rest(struct viommu_endpoint *ep, uint64_t start,
			uint64_t last, uint32_t kind)
{
	struct viommu_reserved r;
	int rc = 0;

	while (!rc && !viommu_endpoint_next_reserved(ep, start, &r) &&
	       r.start <= last) {
		if (r.start > start)
			rc = reserve(ep, start, r.start - 1, kind);
		if (r.last >= last)
			return rc;
		start = r.last + 1;
	}
	return rc ? rc : reserve(ep, start, last, kind);
}

/* The interrupts in a hole are a range of their own. */
static int reserve_hole(struct viommu_endpoint *ep, uint64_t start,
			uint64_t last)
{
#if defined(__x86_64__) || defined(__i386__)
	if (start <= X86_MSI_START && last >= X86_MSI_LAST) {
		int rc = reserve_rest(ep, X86_MSI_START, X86_MSI_LAST,
				      VIOMMU_RESERVED_MSI);

		if (!rc && start < X86_MSI_START)
			rc = reserve_rest(ep, start, X86_MSI_START - 1,
					  VIOMMU_RESERVED_HOLE);
		if (!rc && last > X86_MSI_LAST)
			rc = reserve_rest(ep, X86_MSI_LAST + 1, last,
					  VIOMMU_RESERVED_HOLE);
		return rc;
	}
#endif
	return reserve_rest(ep, start, last, VIOMMU_RESERVED_HOLE);
}

int vh_reserve(struct viommu_endpoint *ep, const struct vh_limits *lim)
{
	uint64_t at = 0;
	int rc = 0;

	for (size_t i = 0; i < lim->nranges && !rc; i++) {
		if (at < lim->ranges[i].start)
			rc = reserve_hole(ep, at, lim->ranges[i].start - 1);
		at = lim->ranges[i].last + 1;
		if (!at)
			return rc;
	}
	return rc || !lim->nranges ? rc : reserve_hole(ep, at, UINT64_MAX);
}
