/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_LOOP_H
#define VS_LOOP_H

/* What the servers need of a loop beyond <viommu/serve/loop.h>. */

#include <viommu/serve/loop.h>

/*
 * Sleep until something is due, run it, return.  For teardown that has to
 * wait for work which only the loop can finish: on the loop's thread, also in
 * one of its callbacks, or while it does not run.  Does not look at
 * viommu_loop_stop().  0, or what epoll_wait(2) failed with.
 */
int vs_loop_once(struct viommu_loop *loop);

#endif
