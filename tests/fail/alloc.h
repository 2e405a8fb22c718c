/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_FAIL_ALLOC_H
#define TESTS_FAIL_ALLOC_H

/*
 * Allocations that are counted, and fail on demand: those that go through the
 * hooks of an instance, and, since the program is linked with --wrap, each
 * malloc(3) and mmap(2) of the library, so that none can go past the hooks
 * unseen; and all its system calls that can fail.  libc's own are left alone.
 */

#include <stddef.h>
#include <viommu/viommu.h>

/* Hands out dirty memory, as malloc() does. */
extern const struct viommu_env alloc_env;

enum alloc_mode {
	ALLOC_ONCE,   /* one fails, those after it do not */
	ALLOC_ONWARD, /* it fails, and so do all after it */
};

enum alloc_call {
	CALL_ALLOC, /* through hooks or not */
	CALL_MMAP,
	CALL_MADVISE,
	CALL_FSTAT,
	CALL_GETFL,
	CALL_GET_SEALS,
	CALL_MEMBARRIER, /* registering for it */
	/* the barrier itself: fails if alloc_fail_call() says so, is counted by
	 * alloc_calls() alone */
	CALL_BARRIER,
	CALLS,
};

/* Let the @nth allocation or other call from now on fail, 1 being the next; 0:
 * none. */
void alloc_fail(unsigned nth, enum alloc_mode mode);

/* Let each @call fail with @err, whatever alloc_fail() says; 0: not so. */
void alloc_fail_call(enum alloc_call call, int err);

unsigned alloc_calls(enum alloc_call call); /* since alloc_fail() */
/* Which calls failed since this was asked last, or alloc_fail(): bit mask. */
unsigned alloc_failed_calls(void);

unsigned alloc_asked(void);  /* of any kind, since alloc_fail() */
unsigned alloc_failed(void); /* of those */
unsigned alloc_hooked(void); /* of those, through the hooks */

/* Blocks and mappings that were not given back, whenever they were made. */
size_t alloc_live(void);

#endif
