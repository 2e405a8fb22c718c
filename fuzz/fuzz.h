/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

/*
 * What fuzzers share: an input that is eaten from the front, and a check that
 * no build leaves out.  An input that is used up reads as zeroes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <viommu.h>

/* libFuzzer's names. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define CHECK(cond)                                                           \
	((cond) ? (void)0                                                     \
		: (fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, \
			   #cond),                                            \
		   abort()))

/* An instance is made for each input: one that is made quickly. */
#define SMALL                                                          \
	{                                                              \
		.size = sizeof(struct viommu_config), .max_threads = 2 \
	}

struct input {
	const uint8_t *at;
	size_t left;
};

/* @n bytes, or as many as there are and zeroes. */
static inline void take(struct input *in, void *to, size_t n)
{
	size_t some = n < in->left ? n : in->left;

	memset(to, 0, n);
	if (some)
		memcpy(to, in->at, some);
	in->at += some;
	in->left -= some;
}

static inline uint8_t take8(struct input *in)
{
	uint8_t val;

	take(in, &val, sizeof(val));
	return val;
}

static inline uint16_t take16(struct input *in)
{
	uint16_t val;

	take(in, &val, sizeof(val));
	return val;
}

static inline uint64_t take64(struct input *in)
{
	uint64_t val;

	take(in, &val, sizeof(val));
	return val;
}

/* Commit; nothing is held, so it must be done. */
static inline void fence_run(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	CHECK(viommu_fence_done(f));
}

#endif
