/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_FAIL_ALLOC_H
#define TESTS_FAIL_ALLOC_H

/*
 * Allocations that are counted, and fail on demand: those that go through the
 * hooks of an instance, and, since the program is linked with --wrap, each
 * malloc(3) and mmap(2) of the library, so that none can go past the hooks
 * unseen.  libc's own are left alone.
 */

#include <stddef.h>
#include <viommu/viommu.h>

/* Hands out dirty memory, as malloc() does. */
extern const struct viommu_env alloc_env;

enum alloc_mode {
	ALLOC_ONCE,   /* one fails, those after it do not */
	ALLOC_ONWARD, /* it fails, and so do all after it */
};

/* Let the @nth allocation from now on fail, 1 being the next; 0: none. */
void alloc_fail(unsigned nth, enum alloc_mode mode);

unsigned alloc_asked(void);  /* since alloc_fail() */
unsigned alloc_failed(void); /* of those */
unsigned alloc_hooked(void); /* of those, through the hooks */

/* Blocks and mappings that were not given back, whenever they were made. */
size_t alloc_live(void);

#endif
