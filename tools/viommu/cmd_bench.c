/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * viommu bench guest: the same guest, kernel, QEMU, image and work with one
 * thing different each time: who the disk is, and whose IOMMU is in front of
 * it.  The wirings take turns, beginning with another one each round, so that
 * what else the machine does falls on all of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <viommu/serve/sigbus.h>

#include "bench.h"
#include "cmd.h"
#include "kit.h"
#include "options.h"
#include "run.h"
#include "say.h"
#include "stop.h"
#include "workdir.h"

#define MEMORY_MIB 512
#define TIMEOUT_S  300
#define SIZE_MIB   32
#define SIZE_MIN   8
#define SIZE_TOP   4096
#define RUNS	   3

struct bench_run {
	struct bench b;
	struct kit_config kit_cfg;
	struct kit kit;
	struct workdir work; /* for the image */
	char *image, *qemu;
	const char *svg, *only;
	unsigned timeout_s;
	bool json, verbose;
	struct run_result result;
	struct outcome outcome;
};

static const struct bench_setup setups[BENCH_SETUPS] = {
	{ .name = "qemu-none", .wiring = { IOMMU_NONE, DISK_QEMU, false } },
	{ .name = "qemu-lazy",
	  .wiring = { IOMMU_QEMU_VIRTIO, DISK_QEMU, false } },
	{ .name = "vfio-user-lazy",
	  .wiring = { IOMMU_OURS, DISK_VFIO_USER, false } },
	{ .name = "vhost-user-lazy",
	  .wiring = { IOMMU_QEMU_VIRTIO, DISK_VHOST_USER, false } },
	{ .name = "qemu-strict",
	  .wiring = { IOMMU_QEMU_VIRTIO, DISK_QEMU, true } },
	{ .name = "vfio-user-strict",
	  .wiring = { IOMMU_OURS, DISK_VFIO_USER, true } },
	{ .name = "vhost-user-strict",
	  .wiring = { IOMMU_QEMU_VIRTIO, DISK_VHOST_USER, true } },
};

/* clang-format off */
static void usage(FILE *to)
{
	fprintf(to,
"usage: viommu bench guest [OPTIONS]\n"
"\n"
"Measures the throughput of a guest's disk: QEMU's own without an IOMMU, QEMU's\n"
"own behind QEMU's virtio-iommu, ours by vfio-user behind our virtio-iommu, and\n"
"ours by vhost-user behind QEMU's; with an IOMMU both lazy (unmaps are gathered)\n"
"and strict (each unmap waits). The same kernel, QEMU, image and work (dd with\n"
"O_DIRECT) each time, taking turns. Ends with a table of medians.\n"
"\n"
"  --size MIB         how much is read and written in each measurement, %d to\n"
"                     %d, default %d; a quarter of it in requests of 4 KiB\n"
"  --runs N           guests of each kind, 1 to %d, default %d\n"
"  --only NAME,...    of qemu-none, qemu-lazy, qemu-strict, vfio-user-lazy,\n"
"                     vfio-user-strict, vhost-user-lazy, vhost-user-strict\n"
"  --svg FILE         draw a bar plot\n"
"  --json             the results as one JSON object, the last line of standard\n"
"                     output; everything else goes to standard error\n"
"  --qemu PROGRAM     a qemu-system-x86_64, 10.1 or newer\n"
"  --kernel FILE      an amd64 bzImage with VIRTIO_IOMMU, 6.12 or newer\n"
"  --modules DIR      that kernel's modules (lib/modules/VERSION)\n"
"  --cache DIR        default ${XDG_CACHE_HOME:-~/.cache}/viommu\n"
"  --offline          fetch nothing\n"
"  --accel KIND       tcg (default: software, runs anywhere) or kvm\n"
"  --timeout SECONDS  how long each guest may run, default %d\n"
"  --verbose          what the guests say, what is run\n"
"  --help             this\n"
"\n"
"Exit status: 0 measured; 1 a guest failed, or something broke; 2 bad options;\n"
"3 something is missing on this machine (network, QEMU); 4 timeout; 130\n"
"interrupted.\n",
		SIZE_MIN, SIZE_TOP, SIZE_MIB, BENCH_RUNS, RUNS, TIMEOUT_S);
}
/* clang-format on */

enum {
	OPT_SIZE = 256,
	OPT_RUNS,
	OPT_ONLY,
	OPT_SVG,
	OPT_JSON,
	OPT_QEMU,
	OPT_KERNEL,
	OPT_MODULES,
	OPT_CACHE,
	OPT_OFFLINE,
	OPT_ACCEL,
	OPT_TIMEOUT,
	OPT_VERBOSE,
};

static const struct option options[] = {
	{ "size", required_argument, NULL, OPT_SIZE },
	{ "runs", required_argument, NULL, OPT_RUNS },
	{ "only", required_argument, NULL, OPT_ONLY },
	{ "svg", required_argument, NULL, OPT_SVG },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "qemu", required_argument, NULL, OPT_QEMU },
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "modules", required_argument, NULL, OPT_MODULES },
	{ "cache", required_argument, NULL, OPT_CACHE },
	{ "offline", no_argument, NULL, OPT_OFFLINE },
	{ "accel", required_argument, NULL, OPT_ACCEL },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "verbose", no_argument, NULL, OPT_VERBOSE },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* ------------------------------------------------------------- options */

static bool option_number(const char *name, const char *value, unsigned min,
			  unsigned max, unsigned *to)
{
	char *rest;
	unsigned long v = strtoul(value, &rest, 10);

	if (*value >= '0' && *value <= '9' && !*rest && v >= min && v <= max) {
		*to = (unsigned)v;
		return true;
	}
	complain("%s %s: want %u to %u", name, value, min, max);
	return false;
}

/* The named ones are wanted, no others. */
static bool option_only(struct bench *b, const char *value)
{
	size_t n;

	for (const char *at = value;; at += n + 1) {
		bool known = false;

		n = strcspn(at, ",");
		for (unsigned i = 0; i < BENCH_SETUPS; i++)
			if (strlen(setups[i].name) == n &&
			    !strncmp(setups[i].name, at, n))
				known = b->setups[i].wanted = true;
		if (!known) {
			complain("--only %s: there is no %.*s", value, (int)n,
				 at);
			return false;
		}
		if (!at[n])
			return true;
	}
}

static bool option_part(struct bench_run *r, int opt, const char *value)
{
	switch (opt) {
	case OPT_QEMU:
		return option_program("--qemu", value, &r->qemu);
	case OPT_KERNEL:
		r->kit_cfg.kernel = value;
		return option_file("--kernel", value);
	case OPT_MODULES:
		r->kit_cfg.modules = value;
		return option_folder("--modules", value);
	case OPT_CACHE:
		r->kit_cfg.cache = value;
		return true;
	case OPT_OFFLINE:
		r->kit_cfg.offline = true;
		return true;
	default: /* getopt has said what */
		return false;
	}
}

static bool option_take(struct bench_run *r, int opt, const char *value)
{
	switch (opt) {
	case OPT_SIZE:
		return option_number("--size", value, SIZE_MIN, SIZE_TOP,
				     &r->b.size_mib);
	case OPT_RUNS:
		return option_number("--runs", value, 1, BENCH_RUNS,
				     &r->b.runs);
	case OPT_ONLY:
		r->only = value;
		return option_only(&r->b, value);
	case OPT_SVG:
		r->svg = value;
		return true;
	case OPT_JSON:
		r->json = true;
		return true;
	case OPT_ACCEL:
		return option_accel(value, &r->b.accel);
	case OPT_TIMEOUT:
		return option_seconds(value, &r->timeout_s);
	case OPT_VERBOSE:
		r->verbose = true;
		return true;
	default:
		return option_part(r, opt, value);
	}
}

/* -1: go on; else the exit status. */
static int options_parse(struct bench_run *r, int argc, char **argv)
{
	char name[] = "viommu bench";
	int opt;

	argv[0] = name; /* getopt's messages begin with it */
	optind = 1;
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'h') {
			usage(stdout);
			return EXIT_PASS;
		}
		if (!option_take(r, opt, optarg))
			return option_hint("bench");
	}
	if (optind + 1 == argc && !strcmp(argv[optind], "guest"))
		return -1;
	if (optind == argc)
		complain("what is to be measured? There is: guest");
	else
		complain("unexpected argument: %s",
			 argv[strcmp(argv[optind], "guest") ? optind
							    : optind + 1]);
	return option_hint("bench");
}

/* ------------------------------------------------------------------ run */

/* Bytes that nobody can leave out: no holes, nothing that repeats. */
static int image_fill(int fd, unsigned mib)
{
	static char buf[1 << 20];

	for (unsigned i = 0; i < mib; i++) {
		for (size_t n = 0; n < sizeof(buf); n += 256)
			if (getrandom(buf + n, 256, 0) != 256)
				return -EIO;
		errno = ENOSPC;
		if (write(fd, buf, sizeof(buf)) != (ssize_t)sizeof(buf))
			return -errno;
	}
	return 0;
}

static bool image_make(struct bench_run *r)
{
	int fd, rc = workdir_create(&r->work);

	if (rc)
		return outcome_fail(&r->outcome, EXIT_WORK,
				    "a temporary folder: %s", strerror(-rc));
	r->image = workdir_file(&r->work, "disk.img");
	fd = r->image ? open(r->image, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)
		      : -1;
	rc = fd < 0 ? -errno : image_fill(fd, r->b.size_mib);
	if (fd >= 0)
		close(fd);
	return !rc || outcome_fail(&r->outcome, EXIT_WORK, "an image: %s",
				   strerror(-rc));
}

static void counts_take(const struct run_result *r, struct bench_setup *s)
{
	const char *told = r->disk_process;

	if (s->wiring.disk == DISK_VHOST_USER)
		s->counts = (struct bench_counts){
			.requests = disk_process_told(told, "disk_requests"),
			.maps = disk_process_told(told, "updates"),
			.unmaps = disk_process_told(told, "invalidations"),
			.asked = disk_process_told(told, "misses"),
		};
	else if (s->wiring.disk == DISK_VFIO_USER)
		s->counts = (struct bench_counts){
			.requests = r->stats.blk.requests,
			.maps = r->stats.virtio.maps,
			.unmaps = r->stats.virtio.unmaps,
			.asked = r->stats.iommu_client.region_writes,
		};
}

static void guest_judge(struct bench_run *r, struct bench_setup *s)
{
	const struct report *report = &r->result.guest.report;
	struct outcome *o = &r->outcome;

	if (!report->passed)
		outcome_fail(o, EXIT_WORK, "%s, in the guest: %s", s->name,
			     report->reason[0] ? report->reason
					       : "it does not say why");
	else if (strcmp(report->group_type, wiring_group(&s->wiring)))
		outcome_fail(o, EXIT_WORK,
			     "%s: the disk's IOMMU group is of type \"%s\"",
			     s->name, report->group_type);
	else if (!bench_take(&r->b, s, report))
		outcome_fail(o, EXIT_WORK, "%s: the guest measured too little",
			     s->name);
	counts_take(&r->result, s);
}

static bool guest_measure(struct bench_run *r, struct bench_setup *s)
{
	struct workdir work = { .path = "" };
	const struct run_config cfg = {
		.kit = &r->kit,
		.work = &work,
		.wiring = s->wiring,
		.disk = r->image,
		.mode = "bench",
		.accel = r->b.accel,
		.memory_mib = MEMORY_MIB,
		.timeout_s = r->timeout_s,
		.bench_mib = r->b.size_mib,
		.silent = !r->verbose,
	};
	int rc = workdir_create(&work);

	if (rc)
		return outcome_fail(&r->outcome, EXIT_WORK,
				    "a temporary folder: %s", strerror(-rc));
	say("%s (%u of %u)", s->name, s->runs + 1, r->b.runs);
	if (run_guest(&cfg, &r->result, &r->outcome))
		guest_judge(r, s);
	workdir_destroy(&work);
	return !r->outcome.status;
}

static void bench_guests(struct bench_run *r)
{
	for (unsigned run = 0; run < r->b.runs; run++)
		for (unsigned i = 0; i < BENCH_SETUPS; i++) {
			struct bench_setup *s =
				&r->b.setups[(run + i) % BENCH_SETUPS];

			if ((!r->only || s->wanted) && !guest_measure(r, s))
				return;
		}
}

static void bench_run(struct bench_run *r)
{
	struct timespec started, now;

	clock_gettime(CLOCK_MONOTONIC, &started);
	r->kit_cfg.qemu = r->qemu;
	if (!kit_find(&r->kit, &r->kit_cfg, &r->outcome) || !image_make(r))
		return;
	r->b.kernel = r->kit.kernel_version;
	r->b.qemu = r->kit.qemu_version;
	bench_guests(r);
	clock_gettime(CLOCK_MONOTONIC, &now);
	r->b.seconds = (double)(now.tv_sec - started.tv_sec) +
		       (double)(now.tv_nsec - started.tv_nsec) / 1e9;
}

static void bench_tell(struct bench_run *r)
{
	int rc;

	bench_print(&r->b, people());
	rc = r->svg ? bench_plot(&r->b, r->svg) : 0;
	if (rc)
		outcome_fail(&r->outcome, EXIT_WORK, "%s: %s", r->svg,
			     strerror(-rc));
	if (r->json)
		bench_json(&r->b);
}

int cmd_bench(int argc, char **argv)
{
	static struct bench_run r;
	int rc;

	r = (struct bench_run){
		.b = { .size_mib = SIZE_MIB, .runs = RUNS, .accel = "tcg" },
		.timeout_s = TIMEOUT_S,
	};
	memcpy(r.b.setups, setups, sizeof(setups));
	rc = options_parse(&r, argc, argv);
	if (rc < 0) {
		say_init(r.json, r.verbose);
		rc = stop_init();
		if (!rc)
			rc = viommu_sigbus_install(STDERR_FILENO);
		if (rc)
			outcome_fail(&r.outcome, EXIT_WORK, "signals: %s",
				     strerror(-rc));
		else
			bench_run(&r);
		if (!r.outcome.status)
			bench_tell(&r);
		rc = r.outcome.status;
	}
	free(r.image);
	free(r.qemu);
	kit_free(&r.kit);
	workdir_destroy(&r.work);
	return rc;
}
