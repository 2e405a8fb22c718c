/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_BASE_RANGE_H
#define VI_BASE_RANGE_H

/* Closed ranges [start, last], without a length beside them: [0, 2^64 - 1]
 * has none that fits. */

#include <stdbool.h>
#include <stdint.h>

/* All but one byte of 2^lg2: the offset mask of a naturally aligned block. */
static inline uint64_t vi_mask(unsigned lg2)
{
	return lg2 >= 64 ? UINT64_MAX : (UINT64_C(1) << lg2) - 1;
}

static inline bool vi_overlap(uint64_t start, uint64_t last, uint64_t start2,
			      uint64_t last2)
{
	return start <= last2 && start2 <= last;
}

static inline uint64_t vi_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t vi_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

#endif
