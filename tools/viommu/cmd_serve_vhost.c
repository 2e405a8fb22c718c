/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * viommu serve vhost-user-blk: one disk for a front-end such as QEMU's own
 * vhost-user-blk-pci, until asked to stop.  Front-ends may come and go, and so
 * may this process: what it was killed over is done again by the next one.
 */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <viommu.h>
#include <viommu/serve/blk.h>
#include <viommu/serve/loop.h>
#include <viommu/serve/sigbus.h>
#include <viommu/serve/vhost_user.h>

#include "cmd.h"
#include "options.h"
#include "outcome.h"
#include "say.h"
#include "stop.h"

#define QUEUES	   16
#define ID	   1 /* of the endpoint, for messages */
/* 3 s */
#define BUSY_NS	   20000000
#define BUSY_TRIES 150

struct disk {
	const char *socket, *path, *serial;
	bool readonly, json, verbose;
	uint32_t queues, delay_us;
	uint64_t delay_first, delay_last;
	uint64_t fence_timeout_ns, miss_timeout_ns;
	double seconds;
	uint64_t faults;

	struct viommu *vi;
	struct viommu_memory *memory;
	struct viommu_endpoint *endpoint;
	struct viommu_loop *loop;
	struct viommu_blk *blk;
	struct viommu_vhost_user *server;
};

/* clang-format off */
static void usage(FILE *to)
{
	fprintf(to,
"usage: viommu serve vhost-user-blk --socket PATH --disk FILE [OPTIONS]\n"
"\n"
"Serves a disk to a vhost-user front-end, QEMU's for instance: with memory that\n"
"is shared (-object memory-backend-memfd,share=on), give it\n"
"\n"
"  -chardev socket,id=d0,path=PATH,reconnect=1\n"
"  -device vhost-user-blk-pci,chardev=d0,iommu_platform=on,disable-legacy=on\n"
"\n"
"Behind QEMU's own IOMMU or without one; it may be killed and started again\n"
"while the guest runs. Runs until interrupted, then sums up.\n"
"\n"
"  --socket PATH      where to listen\n"
"  --disk FILE        serve this raw image\n"
"  --readonly         and do not write to it\n"
"  --serial TEXT      its serial number, at most 20 bytes\n"
"  --queues N         as many as the front-end may use, 1 to %d (default)\n"
"  --fence-timeout MS how long an invalidation waits for requests in flight,\n"
"                     before it is answered with an error and the disk stops;\n"
"                     default 1000, 0: for ever\n"
"  --miss-timeout MS  how long a request waits for the front-end to translate,\n"
"                     before it fails; default 1000\n"
"  --delay-us N       for tests, a slow disk: each request takes so much longer\n"
"  --delay-sectors A-B\n"
"                     only those that touch any of these sectors\n"
"  --json             sum up as one JSON object, the last line of standard\n"
"                     output; everything else goes to standard error\n"
"  --verbose          tell who comes and goes\n"
"  --help             this\n"
"\n"
"Exit status: 0 served until interrupted; 1 something broke; 2 bad options,\n"
"or something they name is no good; 3 this machine lacks something.\n",
		QUEUES);
}
/* clang-format on */

enum {
	OPT_SOCKET = 256,
	OPT_DISK,
	OPT_READONLY,
	OPT_SERIAL,
	OPT_QUEUES,
	OPT_FENCE_TIMEOUT,
	OPT_MISS_TIMEOUT,
	OPT_DELAY_US,
	OPT_DELAY_SECTORS,
	OPT_JSON,
	OPT_VERBOSE,
};

static const struct option options[] = {
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "disk", required_argument, NULL, OPT_DISK },
	{ "readonly", no_argument, NULL, OPT_READONLY },
	{ "serial", required_argument, NULL, OPT_SERIAL },
	{ "queues", required_argument, NULL, OPT_QUEUES },
	{ "fence-timeout", required_argument, NULL, OPT_FENCE_TIMEOUT },
	{ "miss-timeout", required_argument, NULL, OPT_MISS_TIMEOUT },
	{ "delay-us", required_argument, NULL, OPT_DELAY_US },
	{ "delay-sectors", required_argument, NULL, OPT_DELAY_SECTORS },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "verbose", no_argument, NULL, OPT_VERBOSE },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* A whole number, at least @least and at most @most. */
static bool number(const char *name, const char *value, uint64_t least,
		   uint64_t most, uint64_t *out)
{
	char *rest;

	errno = 0;
	*out = strtoull(value, &rest, 10);
	if (!errno && *value >= '0' && *value <= '9' && !*rest &&
	    *out >= least && *out <= most)
		return true;
	complain("%s %s: want a number from %llu to %llu", name, value,
		 (unsigned long long)least, (unsigned long long)most);
	return false;
}

static bool sectors(struct disk *d, const char *value)
{
	unsigned long long first, last;
	char more;

	if (sscanf(value, "%llu-%llu%c", &first, &last, &more) == 2 && last &&
	    first <= last && !strchr(value, ' ') && *value != '-') {
		d->delay_first = first;
		d->delay_last = last;
		return true;
	}
	complain("--delay-sectors %s: want two numbers, as in 2048-4095",
		 value);
	return false;
}

static bool serial(struct disk *d, const char *value)
{
	d->serial = value;
	if (strlen(value) <= 20)
		return true;
	complain("--serial %s: want at most 20 bytes", value);
	return false;
}

static bool option_number(struct disk *d, int opt, const char *value)
{
	uint64_t n;

	switch (opt) {
	case OPT_QUEUES:
		if (!number("--queues", value, 1, QUEUES, &n))
			return false;
		d->queues = (uint32_t)n;
		return true;
	case OPT_MISS_TIMEOUT:
		if (!number("--miss-timeout", value, 1, 3600000, &n))
			return false;
		d->miss_timeout_ns = n * 1000000;
		return true;
	default:
		if (!number("--delay-us", value, 0, 60000000, &n))
			return false;
		d->delay_us = (uint32_t)n;
		return true;
	}
}

static bool option_take(struct disk *d, int opt, const char *value)
{
	switch (opt) {
	case OPT_SOCKET:
		d->socket = value;
		return true;
	case OPT_DISK:
		d->path = value;
		return option_image("--disk", value);
	case OPT_READONLY:
		d->readonly = true;
		return true;
	case OPT_SERIAL:
		return serial(d, value);
	case OPT_FENCE_TIMEOUT:
		return option_fence_timeout(value, &d->fence_timeout_ns);
	case OPT_QUEUES:
	case OPT_MISS_TIMEOUT:
	case OPT_DELAY_US:
		return option_number(d, opt, value);
	case OPT_DELAY_SECTORS:
		return sectors(d, value);
	case OPT_JSON:
		d->json = true;
		return true;
	case OPT_VERBOSE:
		d->verbose = true;
		return true;
	default: /* getopt has said what */
		return false;
	}
}

/* -1: go on; else the exit status. */
static int options_parse(struct disk *d, int argc, char **argv)
{
	static const char command[] = "serve vhost-user-blk";
	char name[] = "viommu serve vhost-user-blk";
	int opt;

	argv[0] = name; /* getopt's messages begin with it */
	optind = 1;
	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'h') {
			usage(stdout);
			return EXIT_PASS;
		}
		if (!option_take(d, opt, optarg))
			return option_hint(command);
	}
	if (optind < argc)
		complain("unexpected argument: %s", argv[optind]);
	else if (!d->socket)
		complain("--socket is missing");
	else if (!d->path)
		complain("--disk is missing");
	else
		return -1;
	return option_hint(command);
}

/* --------------------------------------------------------- what happens */

static void fault(void *arg, const struct viommu_fault *f)
{
	struct disk *d = arg;

	d->faults++;
	say_detail("fault at 0x%llx: %s", (unsigned long long)f->start,
		   viommu_fault_name(f->reason));
}

static enum viommu_verdict expire(void *arg, const struct viommu_expiry *e)
{
	struct disk *d = arg;

	complain("still touches 0x%llx to 0x%llx, %llu ms after it was taken "
		 "away: no more DMA until the front-end starts anew",
		 (unsigned long long)e->start, (unsigned long long)e->last,
		 (unsigned long long)(e->waited_ns / 1000000));
	viommu_virtio_dev_fail(viommu_blk_virtio(d->blk),
			       "its DMA did not end in time");
	return VIOMMU_GIVE_UP;
}

static void state(void *arg, bool connected, const char *why)
{
	(void)arg;
	if (connected)
		say_detail("a front-end connected");
	else
		say_detail("the front-end is gone: %s", why);
}

static void trouble(void *arg, const char *what)
{
	(void)arg;
	complain("%s", what);
}

/* ---------------------------------------------------------------- making */

static int instance_make(struct disk *d)
{
	const struct viommu_config cfg = {
		.size = sizeof(cfg),
		.fence_timeout_ns = d->fence_timeout_ns,
	};
	const struct viommu_endpoint_config ep = {
		.size = sizeof(ep),
		.id = ID,
		.pasid = VIOMMU_NO_PASID,
		.fault = fault,
		.expire = expire,
		.arg = d,
	};
	int rc = viommu_create(&cfg, &d->vi);

	if (rc)
		return rc;
	d->memory = viommu_memory_of(d->vi);
	rc = viommu_endpoint_create(d->vi, &ep, &d->endpoint);
	return rc ? rc : viommu_loop_create(&d->loop);
}

static int blk_make(struct disk *d)
{
	const struct viommu_blk_config cfg = {
		.size = sizeof(cfg),
		.name = "disk",
		.loop = d->loop,
		.vi = d->vi,
		.memory = d->memory,
		.endpoint = d->endpoint,
		.path = d->path,
		.readonly = d->readonly,
		.serial = d->serial,
		.queues = d->queues,
		.no_pci = true,
		.delay_us = d->delay_us,
		.delay_first = d->delay_first,
		.delay_last = d->delay_last,
	};

	return viommu_blk_create(&cfg, &d->blk);
}

/* What a process that was killed had in flight still goes on for a moment, and
 * keeps the image locked for as long: not to be overtaken. */
static int blk_make_patiently(struct disk *d)
{
	const struct timespec moment = { .tv_nsec = BUSY_NS };
	int rc = blk_make(d);

	for (int i = 0; rc == -EBUSY && i < BUSY_TRIES; i++) {
		if (stop_requested())
			break;
		nanosleep(&moment, NULL);
		rc = blk_make(d);
	}
	return rc;
}

static int server_make(struct disk *d)
{
	const struct viommu_vhost_user_config cfg = {
		.size = sizeof(cfg),
		.path = d->socket,
		.dev = viommu_blk_virtio(d->blk),
		.state = state,
		.trouble = trouble,
		.arg = d,
		.miss_timeout_ns = d->miss_timeout_ns,
	};

	return viommu_vhost_user_create(&cfg, &d->server);
}

static bool disk_make(struct disk *d, struct outcome *o)
{
	int rc = instance_make(d);

	if (rc)
		return outcome_fail(o, EXIT_WORK, "%s", strerror(-rc));
	rc = blk_make_patiently(d);
	if (rc == -ENOSYS || rc == -EPERM)
		return outcome_fail(o, EXIT_MISSING, "io_uring: %s",
				    strerror(-rc));
	if (rc)
		return outcome_fail(o, EXIT_USAGE, "--disk %s: %s", d->path,
				    strerror(-rc));
	rc = server_make(d);
	return !rc || outcome_fail(o, EXIT_USAGE, "--socket %s: %s", d->socket,
				   strerror(-rc));
}

static bool disk_serve(struct disk *d, struct outcome *o)
{
	int rc = stop_watch(d->loop);

	fprintf(people(), "Serving %s on %s. Interrupt (Ctrl-C) to stop.\n",
		d->path, d->socket);
	fflush(people());
	if (!rc && !stop_requested())
		rc = viommu_loop_run(d->loop);
	return !rc || outcome_fail(o, EXIT_WORK, "a loop: %s", strerror(-rc));
}

static void disk_end(struct disk *d)
{
	struct viommu_fence f;

	viommu_vhost_user_destroy(d->server);
	viommu_blk_destroy(d->blk);
	if (d->endpoint) {
		viommu_fence_init(&f);
		viommu_endpoint_destroy(d->endpoint, &f);
		viommu_fence_commit(&f, NULL, NULL);
		/* its maps went with the disk */
		if (viommu_fence_wait(&f, -1))
			return;
	}
	viommu_loop_destroy(d->loop);
	viommu_destroy(d->vi);
}

/* --------------------------------------------------------------- summary */

struct figures {
	struct viommu_vhost_user_stats vhost;
	struct viommu_blk_stats blk;
	struct viommu_stats core;
};

static void figures_read(const struct disk *d, struct figures *out)
{
	viommu_vhost_user_read_stats(d->server, &out->vhost);
	viommu_blk_read_stats(d->blk, &out->blk);
	viommu_read_stats(d->vi, &out->core);
}

static void summary(const struct figures *f, FILE *to)
{
	const struct viommu_vhost_iotlb_stats *t = &f->vhost.iotlb;

#define N(value) ((unsigned long long)(value))
	fprintf(to,
		"\n  Front-ends             %llu, %llu messages, %llu "
		"refused\n",
		N(f->vhost.connections), N(f->vhost.messages),
		N(f->vhost.refused));
	fprintf(to,
		"  Moved by the disk      %.1f MB read, %.1f MB written, "
		"%llu requests, %llu errors\n",
		(double)f->blk.bytes_read / 1e6,
		(double)f->blk.bytes_written / 1e6, N(f->blk.requests),
		N(f->blk.errors));
	fprintf(to,
		"  Translations           %llu misses (%llu never "
		"answered), %llu updates, %llu evicted\n",
		N(t->misses), N(t->timeouts), N(t->updates), N(t->evicted));
	fprintf(to,
		"  Invalidations          %llu; %llu acknowledgements had "
		"to wait, the longest %.1f us\n",
		N(t->invalidations), N(t->waited + f->vhost.waited),
		(double)f->core.fence_wait_ns_max / 1e3);
	fprintf(to, "  Kicks, interrupts      %llu, %llu\n", N(f->vhost.kicks),
		N(f->vhost.interrupts));
#undef N
}

static void put(struct json_object *to, const char *key, uint64_t v)
{
	json_object_object_add(to, key, json_object_new_uint64(v));
}

static void summary_put(struct json_object *to, const struct figures *f)
{
	const struct viommu_vhost_iotlb_stats *t = &f->vhost.iotlb;

	put(to, "connections", f->vhost.connections);
	put(to, "messages", f->vhost.messages);
	put(to, "protocol_errors", f->vhost.protocol_errors);
	put(to, "refused", f->vhost.refused);
	put(to, "kicks", f->vhost.kicks);
	put(to, "interrupts", f->vhost.interrupts);
	put(to, "misses", t->misses);
	put(to, "misses_unanswered", t->timeouts);
	put(to, "updates", t->updates);
	put(to, "invalidations", t->invalidations);
	put(to, "evicted", t->evicted);
	put(to, "waited", t->waited + f->vhost.waited);
	put(to, "disk_requests", f->blk.requests);
	put(to, "disk_errors", f->blk.errors);
	put(to, "disk_bytes_read", f->blk.bytes_read);
	put(to, "disk_bytes_written", f->blk.bytes_written);
	put(to, "fences", f->core.fences);
	put(to, "fences_waited", f->core.fences_waited);
	put(to, "fences_failed", f->core.fences_failed);
	put(to, "faults", f->core.faults);
}

static void summary_json(const struct disk *d, const struct outcome *o,
			 const struct figures *f)
{
	struct json_object *to = json_object_new_object();
	char seconds[64];

	/* three decimals, as elsewhere */
	snprintf(seconds, sizeof(seconds), "%.3f", d->seconds);
	json_object_object_add(
		to, "result",
		json_object_new_string(o->status ? "fail" : "pass"));
	json_object_object_add(to, "status", json_object_new_int(o->status));
	json_object_object_add(to, "reason",
			       *o->reason ? json_object_new_string(o->reason)
					  : NULL);
	json_object_object_add(to, "seconds",
			       json_object_new_double_s(d->seconds, seconds));
	if (d->server)
		summary_put(to, f);
	printf("%s\n",
	       json_object_to_json_string_ext(to, JSON_C_TO_STRING_SPACED));
	json_object_put(to);
}

int cmd_serve_vhost(int argc, char **argv)
{
	struct disk d = { .queues = QUEUES };
	struct outcome o = { .status = 0 };
	struct figures f;
	struct timespec started, now;
	int rc;

	memset(&f, 0, sizeof(f));
	clock_gettime(CLOCK_MONOTONIC, &started);
	rc = options_parse(&d, argc, argv);
	if (rc >= 0)
		return rc;
	say_init(d.json, d.verbose);
	rc = stop_init();
	if (!rc)
		rc = viommu_sigbus_install(STDERR_FILENO);
	if (rc)
		outcome_fail(&o, EXIT_WORK, "signals: %s", strerror(-rc));
	else if (disk_make(&d, &o))
		disk_serve(&d, &o);
	if (d.server)
		figures_read(&d, &f);
	disk_end(&d);
	clock_gettime(CLOCK_MONOTONIC, &now);
	d.seconds = (double)(now.tv_sec - started.tv_sec) +
		    (double)(now.tv_nsec - started.tv_nsec) / 1e9;
	if (!o.status)
		summary(&f, people());
	if (d.json)
		summary_json(&d, &o, &f);
	return o.status;
}
