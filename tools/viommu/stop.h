/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_STOP_H
#define TOOLS_STOP_H

#include <stdbool.h>
#include <viommu/serve/loop.h>

/* Block SIGINT, SIGTERM and SIGHUP in this thread and those it makes; from
 * here on they are only noted.  0 or -errno. */
int stop_init(void);

/* Whether one of them came. */
bool stop_requested(void);

/* Have loop stop when one comes. */
int stop_watch(struct viommu_loop *loop);

/* Undo stop_init() in a child before exec: async-signal-safe. */
void stop_child(void);

#endif
