/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_LOOP_H
#define VS_LOOP_H

/* What the servers need of a loop beyond <viommu/serve/loop.h>. */

#include <viommu/serve/loop.h>

struct viommu;

/* An instance whose deadlines pass on a loop (L9); storage of whoever asked
 * for it.  The same instance may be there several times. */
struct vs_deadlines {
	struct vs_deadlines *next;
	struct viommu *vi;
};

/* Any thread. */
void vs_deadlines_add(struct viommu_loop *loop, struct vs_deadlines *d,
		      struct viommu *vi);
/* The loop's thread, or while it does not run; added or zeroed. */
void vs_deadlines_remove(struct viommu_loop *loop, struct vs_deadlines *d);

/*
 * Sleep until something is due, run it, return.  For teardown that has to
 * wait for work which only the loop can finish: on the loop's thread, also in
 * one of its callbacks, or while it does not run.  Does not look at
 * viommu_loop_stop().  0, or what epoll_wait(2) failed with.
 */
int vs_loop_once(struct viommu_loop *loop);

#endif
