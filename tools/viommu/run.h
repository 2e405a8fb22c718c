/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_RUN_H
#define TOOLS_RUN_H

#include "guest.h"
#include "kit.h"
#include "machine.h"
#include "outcome.h"
#include "wiring.h"
#include "workdir.h"

/* One guest: what it is made of, and what it is to do. */
struct run_config {
	const struct kit *kit;
	const struct workdir *work; /* for this run's files alone */
	struct wiring wiring;
	const char *disk;     /* raw image */
	const char *mode;     /* tools/guest/README.md */
	const char *manifest; /* for that mode; NULL: none */
	const char *append;   /* more kernel arguments, or NULL */
	const char *accel;
	uint64_t memory_mib, fence_timeout_ns;
	unsigned timeout_s; /* 0: none */
	unsigned rounds;    /* files to be written one by one */
	unsigned kills;	    /* of the disk's process meanwhile */
	unsigned bench_mib; /* to be read and written in each measurement */
	bool attack, shell, silent;
};

struct run_result {
	struct guest_result guest;
	struct machine_stats stats;
	unsigned kills;
	char disk_process[4096]; /* its summary: JSON, or empty */
};

/* From starting the functions to their end.  False: o says why it did not come
 * to that; what is known by then is in r. */
bool run_guest(const struct run_config *cfg, struct run_result *r,
	       struct outcome *o);

#endif
