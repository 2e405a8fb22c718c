/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VT_STATE_H
#define VT_STATE_H

/*
 * The state of a TCE front-end, as it is saved: version 1.  Little-endian
 * whoever writes it, words of 64 bits, no padding, no pointers:
 *
 *	0	"viommu tce 1\n", three bytes zero
 *	16	u64 length of the whole state
 *	24	u64 sum of all other words, in order
 *	32	u64 number of buses
 *	40	buses, ascending: u64 buid, u64 number of windows,
 *		windows, ascending: u64 number (0 or 1), u64 flags (1: the
 *			default window), u64 lg2 of its pages, u64 start,
 *			u64 number of entries, entries as they were put
 *
 * The sum is FNV-1a by words, which no change of a single one survives.  It is
 * against accidents; against malice every field is checked.
 */

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VT_STATE_MAGIC "viommu tce 1\n\0\0"

enum {
	VT_STATE_MAGIC_SIZE = 16,
	VT_STATE_VERSION_AT = 11, /* a digit; two from version 10 on */
	VT_STATE_SUM_AT = 24,
	VT_STATE_F_DEFAULT = 1,
};
_Static_assert(sizeof(VT_STATE_MAGIC) == VT_STATE_MAGIC_SIZE, "with its 0");

struct vt_state_head {
	char magic[VT_STATE_MAGIC_SIZE];
	uint64_t len, sum, buses;
};
_Static_assert(sizeof(struct vt_state_head) == 40, "no padding");

struct vt_state_bus {
	uint64_t buid, windows;
};

struct vt_state_window {
	uint64_t nth, flags, shift, start, entries;
};

/* Over the whole state, of @len / 8 words, less the sum itself. */
uint64_t vt_state_sum(const uint8_t *buf, size_t len);

static inline uint64_t vt_state_word(const uint8_t *p)
{
	uint64_t word;

	memcpy(&word, p, sizeof(word));
	return le64toh(word);
}

#endif
