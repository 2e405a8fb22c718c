/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VV_STATE_H
#define VV_STATE_H

/*
 * The state of a virtio-iommu device, as it is saved: version 1.  Little-endian
 * whoever writes it, no padding, no pointers:
 *
 *	0	"viommu virtio 1\n"
 *	16	u64 length of the whole state
 *	24	u64 sum of all other bytes, in order
 *	32	u8 bypass, u8[3] zero
 *	36	u32 number of domains, 40 of attached endpoints, 44 of faults
 *	48	endpoints, ascending: u32 id, u32 domain
 *		domains, ascending: u32 number, u32 flags (1: bypass),
 *			u64 number of mappings,
 *			mappings, ascending: u64 start, u64 last, u64 gpa,
 *				u32 flags as in MAP, u32 zero
 *		faults, oldest first, as in the event queue
 *
 * The sum is FNV-1a, which no change of a single byte survives.  It is against
 * accidents; against malice every field is checked.
 */

#include <endian.h>
#include <stddef.h>
#include <stdint.h>

#define VV_STATE_MAGIC "viommu virtio 1\n"

enum {
	VV_STATE_MAGIC_SIZE = 16,
	VV_STATE_VERSION_AT = 14, /* a digit; two from version 10 on */
	VV_STATE_SUM_AT = 24,
	VV_STATE_F_BYPASS = 1,
};

struct vv_state_head {
	char magic[VV_STATE_MAGIC_SIZE];
	uint64_t len, sum;
	uint8_t bypass, zero[3];
	uint32_t domains, endpoints, events;
};
_Static_assert(sizeof(struct vv_state_head) == 48, "no padding");

struct vv_state_endpoint {
	uint32_t id, domain;
};
_Static_assert(sizeof(struct vv_state_endpoint) == 8, "no padding");

struct vv_state_domain {
	uint32_t number, flags;
	uint64_t mappings;
};
_Static_assert(sizeof(struct vv_state_domain) == 16, "no padding");

struct vv_state_mapping {
	uint64_t start, last, gpa;
	uint32_t flags, zero;
};
_Static_assert(sizeof(struct vv_state_mapping) == 32, "no padding");

/* Over the whole state, less the sum itself. */
uint64_t vv_state_sum(const uint8_t *buf, size_t len);

#endif
