/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_DISK_PROCESS_H
#define TOOLS_DISK_PROCESS_H

#include "outcome.h"
#include "process.h"

/* The disk as a vhost-user back-end: `viommu serve vhost-user-blk' in a
 * process of its own, which can be killed and comes back. */
struct disk_process {
	const char *socket, *image;
	unsigned rounds;    /* that the guest will tell of */
	unsigned kills;	    /* so many times, spread over them */
	struct outcome *o;  /* of the run */
	unsigned killed;    /* so far */
	unsigned armed;	    /* with those that are about to be */
	char summary[4096]; /* its last words: a JSON object, or empty */

	struct viommu_loop *loop;
	struct viommu_timer kill;
	struct process process;
	bool ours; /* its end, when it comes, is our doing */
};

/* Start it and wait until it listens.  False: o says why. */
bool disk_process_start(struct disk_process *d, struct viommu_loop *loop);

/* The guest had so many writes acknowledged. */
void disk_process_round(struct disk_process *d, unsigned round);

/* End it in good order. */
void disk_process_stop(struct disk_process *d);

/* A number that its summary has under that key, or 0. */
uint64_t disk_process_told(const char *summary, const char *key);

#endif
