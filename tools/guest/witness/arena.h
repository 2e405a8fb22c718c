/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WITNESS_ARENA_H
#define WITNESS_ARENA_H

/*
 * The arena: all memory the device is ever given.  2 MiB, physically
 * contiguous where the kernel has a huge page, so that an access that strays
 * past a mapping's edge lands on bytes that are watched.  A copy of what the
 * arena should hold is kept beside it and compared after every access.
 */

#include <stdbool.h>
#include <stdint.h>

#define ARENA_LEN (2u << 20)

extern unsigned char *arena, *expected;

void arena_create(void);

/* Whether the arena is as expected; else says where, and accepts it. */
bool arena_intact(const char *who);

/* Whether page @at is full of @pattern. */
bool arena_page_has(uint64_t at, uint64_t pattern);

/* What a WRITE, HOLD or STORE of @pattern leaves at page @at + @offset. */
void expect_pattern(uint64_t at, uint64_t offset, uint64_t len,
		    uint64_t pattern);

uint64_t expected_word(uint64_t at, uint64_t offset, uint64_t len);

/* What READ returns for these bytes. */
uint64_t fnv1a(const unsigned char *p, uint64_t len);

#endif
