/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_SHARE_WIRE_H
#define VS_SHARE_WIRE_H

/*
 * The messages of docs/share.md: 64 bytes each, in host byte order.  What a
 * kind has no use for is 0, and is refused if it is not.
 */

#include <assert.h>
#include <stdint.h>

struct vs_share_msg {
	uint32_t kind;
	uint32_t flags;
	uint64_t id; /* of the sender; the reply has the same */
	uint64_t owner;
	uint64_t gpa;
	uint64_t len;
	uint64_t offset; /* PIECE: in the file that comes with it */
	uint32_t prot;	 /* VIOMMU_READ, VIOMMU_WRITE */
	uint32_t error;	 /* DONE: an errno of Linux, or 0 */
	uint64_t value;	 /* HELLO and its DONE: the version */
};

enum vs_share_kind {
	/* client to server */
	VS_SHARE_HELLO = 1,
	VS_SHARE_MAP = 2,
	VS_SHARE_UNMAP = 3,
	VS_SHARE_INVALIDATED = 4,
	/* server to client */
	VS_SHARE_DONE = 16,
	VS_SHARE_PIECE = 17,
	VS_SHARE_INVALIDATE = 18,
	VS_SHARE_INVALIDATE_ALL = 19,
};

enum {
	VS_SHARE_VERSION = 1,

	/* flags of HELLO */
	VS_SHARE_TARGETED = 1u << 0, /* knows INVALIDATE */
	VS_SHARE_FRESH = 1u << 1,    /* holds nothing of former connections */
	/* of UNMAP */
	VS_SHARE_CLEAN = 1u << 0, /* nothing was written there */

	VS_SHARE_PIECES = 32, /* of one MAP */
};

static_assert(sizeof(struct vs_share_msg) == 64, "message");

#endif
