/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_REPORT_H
#define TOOLS_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#define REPORT_BENCH 16

/* A phase of its measurements. */
struct report_bench {
	bool write;
	uint64_t kib, jobs; /* a request's size, requests at a time */
	uint64_t bytes, us;
};

/* What the guest told of its work (tools/guest/README.md).  Zeroed to begin
 * with.  It is the guest's word: whoever can check it does. */
struct report {
	char kernel[64];
	char group_type[16];
	char sha256[65];
	char reason[256];	 /* the first */
	char not_refused[64];	 /* the first attack that got through */
	char control_failed[64]; /* the first good access that did not work */
	double init_seconds, seconds;
	uint64_t files, files_verified, files_mismatched;
	uint64_t files_written, files_reread;
	uint64_t rounds; /* files acknowledged one by one */
	uint64_t attacks, attacks_refused, controls, controls_ok;
	uint64_t faults_expected, guest_faults;
	uint64_t live_unmap_us, live_plain_us, live_hold_us;
	bool live_ok;
	bool has_faults;
	struct report_bench bench[REPORT_BENCH];
	unsigned benches;
	bool passed; /* result=pass */
	bool ended;  /* the last line has come */
};

/* One line of the report. */
void report_line(struct report *r, const char *line);

#endif
