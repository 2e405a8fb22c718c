/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_DMA_WORD_H
#define VI_DMA_WORD_H

/* One aligned little-endian word in the guest's memory, single-copy atomic. */

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>

static inline bool vi_word_size(unsigned size)
{
	return size == 1 || size == 2 || size == 4 || size == 8;
}

/* Between host order and memory order, both ways. */
static inline uint64_t vi_word_swap(unsigned size, uint64_t val)
{
	switch (size) {
	case 1:
		return (uint8_t)val;
	case 2:
		return htole16((uint16_t)val);
	case 4:
		return htole32((uint32_t)val);
	default:
		return htole64(val);
	}
}

static inline uint64_t vi_word_load(const void *p, unsigned size)
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

static inline void vi_word_store(void *p, unsigned size, uint64_t val)
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

#endif
