/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * viommu serve: the functions alone, until asked to stop.  Clients may come
 * and go meanwhile.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <viommu/serve/loop.h>
#include <viommu/serve/sigbus.h>

#include "cmd.h"
#include "machine.h"
#include "options.h"
#include "qemu.h"
#include "say.h"
#include "stop.h"
#include "summary.h"
#include "viot.h"
#include "workdir.h"

#define MEMORY_MIB 512

struct serve {
	const char *socket_dir, *disk;
	char folder[PATH_MAX]; /* absolute: QEMU may run elsewhere */
	uint64_t memory, fence_timeout_ns;
	bool bypass, json, verbose;
	bool made_folder; /* so it is ours to remove */

	struct summary sum;
	struct workdir work;
	char *viot;
	struct machine *machine;
};

/* clang-format off */
static void usage(FILE *to)
{
	fprintf(to,
"usage: viommu serve [OPTIONS]\n"
"       viommu serve vhost-user-blk [OPTIONS]\n"
"\n"
"Serves a virtio-iommu, a virtio disk and a test device behind it to a QEMU\n"
"(10.1 or newer) that you start: prints the options to give it. Runs until\n"
"interrupted, then sums up.\n"
"\n"
"  --socket-dir DIR  where the sockets are made; default: a temporary folder\n"
"  --disk FILE       serve this raw image as the disk; default: no disk\n"
"  --iommu KIND      virtio (default), or none: devices see all memory\n"
"  --bypass          devices see all memory until the guest's driver attaches\n"
"                    them: lets the guest's firmware boot from the disk. Without\n"
"                    it, boot with -kernel, and edd=off in -append\n"
"  --fence-timeout MS\n"
"                    how long the guest's IOMMU waits for a device that does\n"
"                    not let go of memory, before it fails the guest's request\n"
"                    and stops the device; default 1000, 0: for ever\n"
"  --memory SIZE     of the guest, for the options printed, default %dM\n"
"  --json            sum up as one JSON object, the last line of standard\n"
"                    output; everything else goes to standard error\n"
"  --verbose         tell who comes and goes\n"
"  --help            this\n"
"\n"
"vhost-user-blk: a disk alone, for any vhost-user front-end and behind its IOMMU;\n"
"'viommu serve vhost-user-blk --help' tells more.\n"
"\n"
"Exit status: 0 served until interrupted; 1 something broke; 2 bad options,\n"
"or something they name is no good; 3 this machine lacks something.\n",
		MEMORY_MIB);
}
/* clang-format on */

enum {
	OPT_SOCKET_DIR = 256,
	OPT_DISK,
	OPT_IOMMU,
	OPT_BYPASS,
	OPT_FENCE_TIMEOUT,
	OPT_MEMORY,
	OPT_JSON,
	OPT_VERBOSE,
};

static const struct option options[] = {
	{ "socket-dir", required_argument, NULL, OPT_SOCKET_DIR },
	{ "disk", required_argument, NULL, OPT_DISK },
	{ "iommu", required_argument, NULL, OPT_IOMMU },
	{ "bypass", no_argument, NULL, OPT_BYPASS },
	{ "fence-timeout", required_argument, NULL, OPT_FENCE_TIMEOUT },
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "verbose", no_argument, NULL, OPT_VERBOSE },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static bool option_take(struct serve *s, int opt, const char *value)
{
	switch (opt) {
	case OPT_SOCKET_DIR:
		s->socket_dir = value;
		return true;
	case OPT_DISK:
		s->disk = value;
		return option_image("--disk", value);
	case OPT_IOMMU:
		return option_iommu(value, &s->sum.iommu);
	case OPT_BYPASS:
		s->bypass = true;
		return true;
	case OPT_FENCE_TIMEOUT:
		return option_fence_timeout(value, &s->fence_timeout_ns);
	case OPT_MEMORY:
		return option_memory(value, &s->memory);
	case OPT_JSON:
		s->json = true;
		return true;
	case OPT_VERBOSE:
		s->verbose = true;
		return true;
	default: /* getopt has said what */
		return false;
	}
}

/* -1: go on; else the exit status. */
static int options_parse(struct serve *s, int argc, char **argv)
{
	char name[] = "viommu serve";
	int opt;

	argv[0] = name; /* getopt's messages begin with it */
	optind = 1;
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'h') {
			usage(stdout);
			return EXIT_PASS;
		}
		if (!option_take(s, opt, optarg))
			return option_hint("serve");
	}
	if (optind == argc)
		return -1;
	complain("unexpected argument: %s", argv[optind]);
	return option_hint("serve");
}

/* ---------------------------------------------------------------- serve */

/* The folder that was given: made, if need be.  0 or -errno. */
static int folder_open(struct serve *s)
{
	struct stat st;

	s->made_folder = !mkdir(s->socket_dir, 0700);
	if (!s->made_folder && errno != EEXIST)
		return -errno;
	if (!realpath(s->socket_dir, s->folder) || stat(s->folder, &st))
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return access(s->folder, W_OK | X_OK) ? -errno : 0;
}

static bool folder_make(struct serve *s, struct outcome *o)
{
	int rc;

	if (s->socket_dir) {
		rc = folder_open(s);
		return !rc || outcome_fail(o, EXIT_USAGE, "--socket-dir %s: %s",
					   s->socket_dir, strerror(-rc));
	}
	rc = workdir_create(&s->work);
	if (rc)
		return outcome_fail(o, EXIT_WORK, "a temporary folder: %s",
				    strerror(-rc));
	memcpy(s->folder, s->work.path, sizeof(s->folder));
	return true;
}

static bool serve_make(struct serve *s, struct outcome *o)
{
	const struct machine_config cfg = {
		.folder = s->folder,
		.disk = s->disk,
		.iommu = s->sum.iommu,
		.bypass = s->bypass,
		.fence_timeout_ns = s->fence_timeout_ns,
	};
	struct viot v;
	int rc;

	if (!folder_make(s, o) || !machine_create(&cfg, &s->machine, o))
		return false;
	if (!s->sum.iommu)
		return true;
	if (asprintf(&s->viot, "%s/viot.aml", s->folder) < 0) {
		s->viot = NULL;
		return outcome_fail(o, EXIT_WORK, "no memory");
	}
	machine_viot(s->machine, &v);
	rc = viot_write(&v, s->viot);
	return !rc ||
	       outcome_fail(o, EXIT_WORK, "%s: %s", s->viot, strerror(-rc));
}

static void options_tell(struct serve *s)
{
	struct args args = { .n = 0 };
	const struct qemu_config cfg = {
		.program = "qemu-system-x86_64",
		.viot = s->viot,
		.memory = s->memory,
		.accel = "tcg",
		.machine = s->machine,
	};

	qemu_args_machine(&args, &cfg);
	fprintf(people(), "Serving. Start a guest with these, and options of "
			  "your own:\n\n");
	args_print(&args, people());
	fprintf(people(), "\nInterrupt (Ctrl-C) to stop.\n");
	fflush(people());
	args_free(&args);
}

static void machine_event_in(void *arg, uint32_t events)
{
	struct serve *s = arg;
	struct machine_event e;

	(void)events;
	while (machine_next_event(s->machine, &e)) {
		if (e.broken)
			complain("%s serves no more: %s", e.function, e.why);
		else
			say_detail("%s: %s%s", e.function,
				   e.connected ? "connected" : "disconnected: ",
				   e.why);
	}
}

static bool serve_loop(struct serve *s, struct outcome *o)
{
	struct viommu_loop *loop = NULL;
	int rc = viommu_loop_create(&loop);

	if (!rc)
		rc = stop_watch(loop);
	if (!rc)
		rc = viommu_loop_add(loop, machine_event_fd(s->machine),
				     EPOLLIN, machine_event_in, s);
	if (!rc && !stop_requested())
		rc = viommu_loop_run(loop);
	viommu_loop_destroy(loop);
	return !rc || outcome_fail(o, EXIT_WORK, "a loop: %s", strerror(-rc));
}

static void serve_end(struct serve *s)
{
	if (s->machine) {
		machine_read_stats(s->machine, &s->sum.stats);
		machine_destroy(s->machine);
	}
	if (s->viot)
		unlink(s->viot);
	free(s->viot);
	workdir_destroy(&s->work);
	if (s->made_folder)
		rmdir(s->folder);
}

int cmd_serve(int argc, char **argv)
{
	struct serve s = {
		.memory = MEMORY_MIB,
		.sum = { .iommu = true },
	};
	struct outcome *o = &s.sum.outcome;
	struct timespec started, now;
	int rc;

	if (argc > 1 && !strcmp(argv[1], "vhost-user-blk"))
		return cmd_serve_vhost(argc - 1, argv + 1);
	clock_gettime(CLOCK_MONOTONIC, &started);
	rc = options_parse(&s, argc, argv);
	if (rc >= 0)
		return rc;
	say_init(s.json, s.verbose);
	s.sum.disk = s.disk;
	rc = stop_init();
	if (!rc)
		rc = viommu_sigbus_install(STDERR_FILENO);
	if (rc) {
		outcome_fail(o, EXIT_WORK, "signals: %s", strerror(-rc));
	} else if (serve_make(&s, o)) {
		options_tell(&s);
		serve_loop(&s, o);
	}
	serve_end(&s);
	clock_gettime(CLOCK_MONOTONIC, &now);
	s.sum.seconds = (double)(now.tv_sec - started.tv_sec) +
			(double)(now.tv_nsec - started.tv_nsec) / 1e9;
	if (!o->status)
		summary_print(&s.sum, people());
	if (s.json)
		summary_json(&s.sum);
	return o->status;
}
