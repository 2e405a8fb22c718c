/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_BENCH_H
#define TOOLS_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "report.h"
#include "wiring.h"

#define BENCH_RUNS   25
#define BENCH_SETUPS 7

/* What a disk of ours was asked for in all of a guest's life. */
struct bench_counts {
	uint64_t requests;
	uint64_t maps, unmaps; /* by the guest, or updates, invalidations */
	uint64_t asked;	       /* times our IOMMU was notified, or misses */
};

/* One way to wire a disk, and what was measured of it. */
struct bench_setup {
	const char *name; /* for --only, and programs */
	struct wiring wiring;
	bool wanted;
	unsigned runs;
	struct bench_counts counts; /* of the last run */
	double mib_s[REPORT_BENCH][BENCH_RUNS];
};

/* All of a run of `viommu bench guest'. */
struct bench {
	const char *kernel, *qemu, *accel; /* versions */
	unsigned size_mib, runs;
	struct report_bench phases[REPORT_BENCH]; /* without their times */
	unsigned nphases;
	struct bench_setup setups[BENCH_SETUPS];
	double seconds;
};

/* A guest's measurements.  False: they are not of the same phases. */
bool bench_take(struct bench *b, struct bench_setup *s, const struct report *r);

/* MiB/s: the middle of its runs; 0: none. */
double bench_median(const struct bench_setup *s, unsigned phase);

/* What it is, for people; "" where nothing is to be said of an IOMMU. */
const char *bench_disk(const struct bench_setup *s);
const char *bench_iommu(const struct bench_setup *s);
const char *bench_mode(const struct bench_setup *s);

void bench_print(const struct bench *b, FILE *to);
void bench_json(const struct bench *b);

/* A bar plot.  0 or -errno. */
int bench_plot(const struct bench *b, const char *path);

#endif
