/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_MODEL_SCENARIOS_H
#define TESTS_MODEL_SCENARIOS_H

#include "schedule.h"
#include "stage.h"

/* How the instance publishes pins, and whether the kernel has membarrier. */
enum {
	FENCED = 1,
	ASYMMETRIC = 2,
	BARE = 4, /* fenced, without membarrier */
	AUTO = 8,
	/* no mode: there are too many interleavings to try all */
	MANY = 16,
};

struct scenario {
	const char *name;
	unsigned modes;
	struct sched_job job;
};

/* @b: preemptions, if all interleavings are too many. */
#define JOB(n, b, set) \
	.nthreads = (n), .bound = (b), .setup = (set), .check = stage_check

/* Each ends with one without a name. */
extern const struct scenario scenarios_dma[], scenarios_late[],
	scenarios_hold[], scenarios_linear[], scenarios_move[],
	scenarios_recycle[];

#endif
