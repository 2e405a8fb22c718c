/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_FAIL_SWEEP_H
#define TESTS_FAIL_SWEEP_H

/*
 * A sequence of steps that succeeds is run again and again, with its 1st, 2nd,
 * 3rd ... call that can fail (alloc.h) failing, until a run needs no failure.
 * Each time twice:
 *
 *   - one fails: the step it belongs to says so, nothing has changed; the step
 *     is tried again, and all comes out as if it never were;
 *   - all from there on fail: the step says so as often as it is tried, and
 *     takes no more memory each time; then everything is torn down, which
 *     makes none of these calls.
 *
 * There are calls without which a step does as well: then it succeeds, and what
 * comes out is the same.  No block, mapping or descriptor is left after any of
 * these runs.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* What there is to see of a world, in lines. */
struct view {
	size_t len;
	char text[1 << 18];
};

void view_say(struct view *view, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

struct sweep {
	unsigned steps;
	const char *(*name)(void *world, unsigned i);
	/* 0 or -errno; on error nothing has changed */
	int (*step)(void *world, unsigned i);
	/* all that step @i must leave as it is if it fails */
	void (*look)(void *world, unsigned i, struct view *view);
	/* of as much of it as there is; leaves the world as it began */
	void (*teardown)(void *world);
	unsigned needed; /* calls besides, that no step does without: a mask */
};

/* @world is empty, and is empty again on return. */
void sweep(const struct sweep *s, void *world);

#endif
