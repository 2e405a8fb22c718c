/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * viommu boot: find the parts, make the disk, start the functions, run the
 * guest, check its work, sum up.  Passing is decided in one place: judge().
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <viommu/serve/sigbus.h>

#include "cmd.h"
#include "image.h"
#include "kit.h"
#include "options.h"
#include "run.h"
#include "say.h"
#include "stop.h"
#include "summary.h"
#include "wiring.h"
#include "workdir.h"

#define TIMEOUT_S  300
#define MEMORY_MIB 512
#define ROUNDS	   24 /* while the disk's process is killed */
#define KILLS_MAX  8

struct boot {
	const char *disk, *folder, *append;
	char *qemu;
	struct kit_config kit;
	uint64_t memory, fence_timeout_ns;
	unsigned timeout_s;
	unsigned kills;
	bool timeout_given, iommu_given, keep, json, verbose, shell, no_attack;

	struct summary sum;
	struct workdir work;
	struct run_result result;
};

/* clang-format off */
static void usage(FILE *to)
{
	fprintf(to,
"usage: viommu boot --folder DIR | --disk FILE [OPTIONS]\n"
"\n"
"Runs an unmodified Linux under an unmodified QEMU. Its disk, and a device that\n"
"attacks it, live in this process behind a virtio-iommu that lives here, too.\n"
"What is not on this machine (QEMU, kernel) is fetched from Debian's archive\n"
"into a cache; nothing is installed. Ends with a table of what happened.\n"
"\n"
"What is on the disk\n"
"  --folder DIR       make an ext4 image of DIR; the guest checks each file and\n"
"                     writes some, which are checked here after it is off\n"
"  --disk FILE        use this raw image as it is; the guest reads all of it\n"
"\n"
"How the IOMMU is used\n"
"  --iommu KIND       virtio (default): ours; qemu-virtio or qemu-vtd: QEMU's own,\n"
"                     in front of our disk; or none: devices see all memory\n"
"  --strict           the guest waits for each unmap (iommu.strict=1); else it\n"
"                     gathers them\n"
"  --no-attack        do not let the device attack\n"
"  --fence-timeout MS how long the guest's IOMMU waits for a device that does\n"
"                     not let go of memory, before it fails the guest's request\n"
"                     and stops the device; default 1000, 0: for ever\n"
"\n"
"How the disk comes\n"
"  --disk-by KIND     vfio-user (default): from this process; vhost-user: from a\n"
"                     process of its own, behind QEMU's IOMMU; qemu: QEMU's own\n"
"                     disk, to compare with\n"
"  --kill-disk N      kill the vhost-user disk's process N times while the guest\n"
"                     writes; it comes back, and nothing that it had acknowledged\n"
"                     may be lost. It is slow on purpose: 2 ms a request\n"
"\n"
"The machine\n"
"  --qemu PROGRAM     a qemu-system-x86_64, 10.1 or newer; 7.2 will do where\n"
"                     the disk does not come by vfio-user\n"
"  --debian12-qemu    the QEMU 7.2 of Debian 12, likewise\n"
"  --kernel FILE      an amd64 bzImage with VIRTIO_IOMMU, 6.12 or newer\n"
"  --modules DIR      that kernel's modules (lib/modules/VERSION)\n"
"  --cache DIR        default ${XDG_CACHE_HOME:-~/.cache}/viommu\n"
"  --offline          fetch nothing\n"
"  --memory SIZE      of the guest, default %dM\n"
"  --accel KIND       tcg (default: software, runs anywhere) or kvm\n"
"  --append WORDS     more of the guest kernel's command line\n"
"  --timeout SECONDS  how long the guest may run, default %d\n"
"\n"
"What is shown\n"
"  --shell            a shell in the guest when its work is done\n"
"  --json             the results as one JSON object, the last line of standard\n"
"                     output; everything else goes to standard error\n"
"  --verbose          the kernel's messages, the report, what is run\n"
"  --keep             keep the folder with the images, and tell its name\n"
"  --help             this\n"
"\n"
"Exit status: 0 all passed; 1 the guest's work failed, or something broke;\n"
"2 bad options; 3 something is missing on this machine (network, QEMU);\n"
"4 timeout; 130 interrupted.\n", MEMORY_MIB, TIMEOUT_S);
}
/* clang-format on */

enum {
	OPT_DISK = 256,
	OPT_FOLDER,
	OPT_IOMMU,
	OPT_DISK_BY,
	OPT_KILL_DISK,
	OPT_DEBIAN12_QEMU,
	OPT_STRICT,
	OPT_NO_ATTACK,
	OPT_FENCE_TIMEOUT,
	OPT_QEMU,
	OPT_KERNEL,
	OPT_MODULES,
	OPT_CACHE,
	OPT_OFFLINE,
	OPT_MEMORY,
	OPT_ACCEL,
	OPT_APPEND,
	OPT_TIMEOUT,
	OPT_SHELL,
	OPT_JSON,
	OPT_VERBOSE,
	OPT_KEEP,
};

static const struct option options[] = {
	{ "disk", required_argument, NULL, OPT_DISK },
	{ "folder", required_argument, NULL, OPT_FOLDER },
	{ "iommu", required_argument, NULL, OPT_IOMMU },
	{ "disk-by", required_argument, NULL, OPT_DISK_BY },
	{ "kill-disk", required_argument, NULL, OPT_KILL_DISK },
	{ "debian12-qemu", no_argument, NULL, OPT_DEBIAN12_QEMU },
	{ "strict", no_argument, NULL, OPT_STRICT },
	{ "no-attack", no_argument, NULL, OPT_NO_ATTACK },
	{ "fence-timeout", required_argument, NULL, OPT_FENCE_TIMEOUT },
	{ "qemu", required_argument, NULL, OPT_QEMU },
	{ "kernel", required_argument, NULL, OPT_KERNEL },
	{ "modules", required_argument, NULL, OPT_MODULES },
	{ "cache", required_argument, NULL, OPT_CACHE },
	{ "offline", no_argument, NULL, OPT_OFFLINE },
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "accel", required_argument, NULL, OPT_ACCEL },
	{ "append", required_argument, NULL, OPT_APPEND },
	{ "timeout", required_argument, NULL, OPT_TIMEOUT },
	{ "shell", no_argument, NULL, OPT_SHELL },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "verbose", no_argument, NULL, OPT_VERBOSE },
	{ "keep", no_argument, NULL, OPT_KEEP },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* ------------------------------------------------------------- options */

static bool option_kills(const char *value, unsigned *kills)
{
	char *rest;
	unsigned long v = strtoul(value, &rest, 10);

	if (*value >= '0' && *value <= '9' && !*rest && v <= KILLS_MAX) {
		*kills = (unsigned)v;
		return true;
	}
	complain("--kill-disk %s: want 0 to %d", value, KILLS_MAX);
	return false;
}

/* Those that choose files and sizes; false: the value is no good. */
static bool option_value(struct boot *b, int opt, const char *value)
{
	switch (opt) {
	case OPT_DISK:
		b->disk = value;
		return option_image("--disk", value);
	case OPT_FOLDER:
		b->folder = value;
		return option_folder("--folder", value);
	case OPT_IOMMU:
		b->iommu_given = true;
		return option_wiring_iommu(value, &b->sum.wiring.iommu);
	case OPT_DISK_BY:
		return option_wiring_disk(value, &b->sum.wiring.disk);
	case OPT_KILL_DISK:
		return option_kills(value, &b->kills);
	case OPT_FENCE_TIMEOUT:
		return option_fence_timeout(value, &b->fence_timeout_ns);
	case OPT_QEMU:
		return option_program("--qemu", value, &b->qemu);
	case OPT_KERNEL:
		b->kit.kernel = value;
		return option_file("--kernel", value);
	case OPT_MODULES:
		b->kit.modules = value;
		return option_folder("--modules", value);
	case OPT_CACHE:
		b->kit.cache = value;
		return true;
	case OPT_MEMORY:
		return option_memory(value, &b->memory);
	case OPT_ACCEL:
		return option_accel(value, &b->sum.accel);
	case OPT_APPEND:
		b->append = value;
		return true;
	case OPT_TIMEOUT:
		b->timeout_given = true;
		return option_seconds(value, &b->timeout_s);
	default: /* getopt has said what */
		return false;
	}
}

static bool option_take(struct boot *b, int opt, const char *value)
{
	switch (opt) {
	case OPT_STRICT:
		b->sum.wiring.strict = true;
		return true;
	case OPT_DEBIAN12_QEMU:
		b->kit.debian12 = true;
		return true;
	case OPT_NO_ATTACK:
		b->no_attack = true;
		return true;
	case OPT_OFFLINE:
		b->kit.offline = true;
		return true;
	case OPT_SHELL:
		b->shell = true;
		return true;
	case OPT_JSON:
		b->json = true;
		return true;
	case OPT_VERBOSE:
		b->verbose = true;
		return true;
	case OPT_KEEP:
		b->keep = true;
		return true;
	default:
		return option_value(b, opt, value);
	}
}

/* What cannot go together. */
static bool options_fit(const struct boot *b)
{
	const struct wiring *w = &b->sum.wiring;

	if (b->disk && b->folder)
		complain("--disk and --folder: choose one");
	else if (!b->disk && !b->folder)
		complain("what should the guest's disk hold? Give --folder DIR "
			 "or --disk FILE");
	else if (b->kit.modules && !b->kit.kernel)
		complain("--modules is of use with --kernel only");
	else if (wiring_fault(w))
		complain("%s", wiring_fault(w));
	else if (b->kills && (w->disk != DISK_VHOST_USER || !b->folder))
		complain("--kill-disk needs --disk-by vhost-user and --folder");
	else if (b->kit.debian12 && w->disk == DISK_VFIO_USER)
		complain("--debian12-qemu: that one does not speak vfio-user");
	else if (b->shell && b->json)
		complain("--shell and --json: choose one");
	else if (b->shell && !isatty(STDIN_FILENO))
		complain("--shell needs a terminal");
	else
		return true;
	return false;
}

/* -1: go on; else the exit status. */
static int options_parse(struct boot *b, int argc, char **argv)
{
	char name[] = "viommu boot";
	int opt;

	argv[0] = name; /* getopt's messages begin with it */
	optind = 1;
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'h') {
			usage(stdout);
			return EXIT_PASS;
		}
		if (!option_take(b, opt, optarg))
			return option_hint("boot");
	}
	if (optind < argc) {
		complain("unexpected argument: %s", argv[optind]);
		return option_hint("boot");
	}
	if (!b->iommu_given && b->sum.wiring.disk != DISK_VFIO_USER)
		b->sum.wiring.iommu = IOMMU_QEMU_VIRTIO;
	if (!options_fit(b))
		return option_hint("boot");
	return -1;
}

/* ----------------------------------------------------------------- run */

static bool boot_run(struct boot *b)
{
	struct summary *s = &b->sum;
	const struct run_config cfg = {
		.kit = &s->kit,
		.work = &b->work,
		.wiring = s->wiring,
		.disk = s->image.path,
		.mode = b->folder ? "folder" : "disk",
		.manifest = s->image.manifest,
		.append = b->append,
		.accel = s->accel,
		.memory_mib = b->memory,
		.fence_timeout_ns = b->fence_timeout_ns,
		.timeout_s = b->shell && !b->timeout_given ? 0 : b->timeout_s,
		.rounds = b->kills ? ROUNDS : 0,
		.kills = b->kills,
		.attack = s->attack,
		.shell = b->shell,
	};
	bool ok;

	say("Starting the guest: Linux %s under QEMU %s (%s)",
	    s->kit.kernel_version, s->kit.qemu_version, s->accel);
	ok = run_guest(&cfg, &b->result, &s->outcome);
	s->guest = b->result.guest;
	s->stats = b->result.stats;
	s->kills = b->result.kills;
	s->disk_process = b->result.disk_process;
	return ok;
}

/* --------------------------------------------------------------- judge */

static bool judge_disk(const struct boot *b, struct outcome *o)
{
	const struct summary *s = &b->sum;
	const struct report *r = &s->guest.report;

	if (s->stats.blk.errors)
		outcome_fail(o, EXIT_WORK, "the disk refused %llu requests",
			     (unsigned long long)s->stats.blk.errors);
	if (disk_process_told(b->result.disk_process, "disk_errors"))
		outcome_fail(o, EXIT_WORK, "the disk refused requests");
	if (b->kills != s->kills)
		outcome_fail(o, EXIT_WORK,
			     "the disk's process was killed %u times, not %u",
			     s->kills, b->kills);
	if (b->disk)
		return s->disk_same ||
		       outcome_fail(o, EXIT_WORK,
				    "the guest did not read what is in %s",
				    b->disk);
	if (r->files_mismatched || r->files_verified != s->image.content.files)
		outcome_fail(o, EXIT_WORK,
			     "the guest verified %llu of %llu files",
			     (unsigned long long)r->files_verified,
			     (unsigned long long)s->image.content.files);
	if (!r->files_written || r->files_written != s->image.files_checked)
		outcome_fail(o, EXIT_WORK,
			     "the guest wrote %llu files, %llu were found",
			     (unsigned long long)r->files_written,
			     (unsigned long long)s->image.files_checked);
	return !o->status;
}

/* Whether the IOMMU was in the way, of the kind that was asked for. */
static void judge_iommu(const struct boot *b, struct outcome *o)
{
	const struct summary *s = &b->sum;
	const char *type = s->guest.report.group_type;
	const char *want = wiring_group(&s->wiring);
	bool seen = true;

	if (s->wiring.iommu == IOMMU_NONE)
		return;
	if (strcmp(type, want))
		outcome_fail(o, EXIT_WORK,
			     "the disk's IOMMU group is of type \"%s\", not %s",
			     type, want);
	if (s->wiring.iommu == IOMMU_OURS)
		seen = s->stats.virtio.maps && s->stats.virtio.unmaps;
	else if (s->wiring.disk == DISK_VHOST_USER)
		seen = disk_process_told(s->disk_process, "updates") &&
		       disk_process_told(s->disk_process, "invalidations");
	else if (s->wiring.disk == DISK_VFIO_USER)
		seen = s->stats.disk_client.dma_unmaps;
	if (!seen)
		outcome_fail(o, EXIT_WORK, "the guest mapped nothing");
}

static void judge_attacks(const struct boot *b, struct outcome *o)
{
	const struct summary *s = &b->sum;
	const struct report *r = &s->guest.report;

	if (!s->attack)
		return; /* and the guest fails by itself if it sees a fault */
	if (!r->attacks || r->attacks_refused != r->attacks)
		outcome_fail(o, EXIT_WORK, "%llu of %llu attacks refused%s%s",
			     (unsigned long long)r->attacks_refused,
			     (unsigned long long)r->attacks,
			     r->not_refused[0] ? ", first not refused: " : "",
			     r->not_refused);
	if (!r->controls || r->controls_ok != r->controls)
		outcome_fail(
			o, EXIT_WORK, "%llu of %llu good accesses worked%s%s",
			(unsigned long long)r->controls_ok,
			(unsigned long long)r->controls,
			r->control_failed[0] ? ", first that did not: " : "",
			r->control_failed);
	if (!r->guest_faults && s->wiring.iommu == IOMMU_OURS)
		outcome_fail(o, EXIT_WORK, "the guest heard of no fault");
	/* The device's own count has to bear out what the guest says. */
	if (s->stats.dmatest.refused < r->attacks_refused)
		outcome_fail(o, EXIT_WORK,
			     "the guest tells of %llu refusals, the device of "
			     "%llu",
			     (unsigned long long)r->attacks_refused,
			     (unsigned long long)s->stats.dmatest.refused);
}

/* Of a guest that came to its end. */
static void judge(struct boot *b)
{
	struct outcome *o = &b->sum.outcome;
	const struct report *r = &b->sum.guest.report;

	if (!r->passed)
		outcome_fail(o, EXIT_WORK, "in the guest: %s",
			     r->reason[0] ? r->reason : "it does not say why");
	judge_disk(b, o);
	judge_iommu(b, o);
	judge_attacks(b, o);
}

/* ---------------------------------------------------------------- boot */

static bool boot_disk(struct boot *b)
{
	struct summary *s = &b->sum;

	if (b->folder)
		return image_of_folder(&s->image, &b->work, b->folder,
				       &s->outcome);
	return image_of_disk(&s->image, b->disk, &s->outcome);
}

static void boot_guest(struct boot *b)
{
	struct summary *s = &b->sum;
	int rc;

	if (!kit_find(&s->kit, &b->kit, &s->outcome))
		return;
	rc = workdir_create(&b->work);
	if (rc) {
		outcome_fail(&s->outcome, EXIT_WORK, "a temporary folder: %s",
			     strerror(-rc));
		return;
	}
	if (!boot_disk(b))
		return;
	if (!boot_run(b))
		return;
	if (b->folder && s->guest.report.files_written)
		image_check(&s->image, &b->work, &s->outcome);
	s->disk_same = b->disk && s->guest.report.sha256[0] &&
		       !strcmp(s->guest.report.sha256, s->image.sha256);
	if (s->outcome.status != EXIT_STOPPED)
		judge(b);
}

static int boot_end(struct boot *b, const struct timespec *started)
{
	struct summary *s = &b->sum;
	struct timespec now;
	int status;

	clock_gettime(CLOCK_MONOTONIC, &now);
	s->seconds = (double)(now.tv_sec - started->tv_sec) +
		     (double)(now.tv_nsec - started->tv_nsec) / 1e9;
	if (b->keep && b->work.path[0])
		say("Kept: %s", b->work.path);
	else
		workdir_destroy(&b->work);
	/* A table of nothing helps nobody. */
	if (s->guest.report.kernel[0] && s->outcome.status != EXIT_STOPPED)
		summary_print(s, people());
	if (b->json)
		summary_json(s);
	status = s->outcome.status;
	image_free(&s->image);
	kit_free(&s->kit);
	free(b->qemu);
	return status;
}

int cmd_boot(int argc, char **argv)
{
	struct boot b = {
		.memory = MEMORY_MIB,
		.timeout_s = TIMEOUT_S,
		.sum = { .boot = true,
			 .wiring = { .iommu = IOMMU_OURS },
			 .accel = "tcg" },
	};
	struct timespec started;
	int rc;

	clock_gettime(CLOCK_MONOTONIC, &started);
	rc = options_parse(&b, argc, argv);
	if (rc >= 0) {
		free(b.qemu);
		return rc;
	}
	say_init(b.json, b.verbose);
	b.kit.qemu = b.qemu;
	b.sum.folder = b.folder;
	b.sum.disk = b.disk;
	b.sum.iommu = b.sum.wiring.iommu == IOMMU_OURS;
	b.sum.attack = b.sum.wiring.iommu != IOMMU_NONE &&
		       b.sum.wiring.disk == DISK_VFIO_USER && !b.no_attack;
	/* A QEMU that is given has to fit what it is for. */
	b.kit.debian12 |= b.qemu && b.sum.wiring.disk != DISK_VFIO_USER;
	rc = stop_init();
	if (!rc)
		rc = viommu_sigbus_install(STDERR_FILENO);
	if (rc)
		outcome_fail(&b.sum.outcome, EXIT_WORK, "signals: %s",
			     strerror(-rc));
	else
		boot_guest(&b);
	return boot_end(&b, &started);
}
