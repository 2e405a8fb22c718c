/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_ORACLE_STREAM_H
#define TESTS_ORACLE_STREAM_H

/*
 * A stream: a few bytes that say what the world is like, and operations of
 * eight bytes each.  Any bytes are a stream, and any operations of a stream
 * without the others are one again: that is what fuzzing and shrinking need.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	SPACES = 4, /* two MAPPED, one REMOTE, one IDENTITY */
	SPACE_REMOTE = 2,
	SPACE_IDENTITY = 3,
	ENDPOINTS = 3,
	RESERVING = 2, /* the endpoint that has a reserved range */
	FENCES = 4,
	HOLDS = 6,
	REGIONS = 3,
	OPS_MAX = 400,
	/* a bit of struct setup's aperture: what endpoints see is recorded
	 */
	SETUP_RECORDERS = 4,
};

enum what {
	OP_MAP,
	OP_UNMAP,
	OP_REMAP,
	OP_MAP_LIST,
	OP_INVALIDATE,
	OP_ATTACH,
	OP_DETACH,
	OP_RENEW, /* destroy a space, make another in its place */
	OP_READ,
	OP_WRITE,
	OP_LOAD,
	OP_STORE,
	OP_CAS,
	OP_HOLD,
	OP_LET_GO,
	OP_COMMIT,
	OP_NEXT,
	OP_TRANSLATE,
	OP_FORGET,   /* take a memory region away */
	OP_REMEMBER, /* add it again */
	OP_ENTER,    /* a burst */
	OP_EXIT,
	OP_KINDS
};

struct op {
	uint8_t what;
	uint8_t who;   /* space, endpoint, hold or region */
	uint8_t at, n; /* cells, or bytes */
	uint8_t gpa;
	uint8_t prot;
	uint8_t odd; /* how it is off the cells */
	uint8_t fence;
};

struct setup {
	uint8_t layout;
	uint8_t granule;
	uint8_t policy;
	uint8_t aperture;
};

struct stream {
	struct setup setup;
	unsigned n;
	struct op op[OPS_MAX];
};

void stream_decode(struct stream *s, const uint8_t *bytes, size_t len);
void stream_random(struct stream *s, uint64_t seed, unsigned n);
void stream_print(FILE *to, const struct stream *s);

/* NULL, or what was not as it should be; valid until the next call. */
typedef const char *stream_run_fn(const struct stream *s);

const char *stream_run(const struct stream *s);

/* What came about in all runs so far. */
extern struct stream_seen {
	unsigned long mapped, taken;
	unsigned long accesses, refused, held, asked;
	unsigned long fences, waited, questions;
} stream_seen;

/* Leave out operations, then simplify those that are left, for as long as
 * @run still finds something.  How many runs it took. */
unsigned stream_shrink(struct stream *s, stream_run_fn *run);

#endif
