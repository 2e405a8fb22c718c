/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The disk's process.  It is killed while the guest writes: after a round is
 * told of, and a moment that differs each time, so that the kill falls into
 * whatever the next one does; the disk is slow then, so that something is in
 * flight.  The socket's file stays behind; who is started next takes its place.
 */
#include "disk_process.h"

#include <errno.h>
#include <json-c/json.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "say.h"

#define LISTEN_MS 5000
#define SLOW_US	  "2000"     /* a request, where it is to be killed */
#define MOMENT_NS 7300000ull /* times how often it was killed */

static void disk_out(void *arg, const char *line)
{
	struct disk_process *d = arg;

	if (*line == '{')
		snprintf(d->summary, sizeof(d->summary), "%s", line);
	else if (say_verbose())
		relay(stderr, "disk:", line);
}

/* Its complaints; its table is for who runs it alone. */
static void disk_err(void *arg, const char *line)
{
	(void)arg;
	if (say_verbose() || !strncmp(line, "viommu:", 7))
		relay(stderr, "disk:", line);
}

static bool disk_spawn(struct disk_process *d);

static void disk_ended(void *arg)
{
	struct disk_process *d = arg;

	if (!d->ours) {
		outcome_fail(d->o, EXIT_WORK, "the disk's process ended");
		viommu_loop_stop(d->loop);
		return;
	}
	d->ours = false;
	if (!disk_spawn(d))
		viommu_loop_stop(d->loop);
}

static void disk_kill(void *arg)
{
	struct disk_process *d = arg;

	if (!d->process.pid)
		return;
	d->killed++;
	say("Killing the disk's process (%u of %u)", d->killed, d->kills);
	d->ours = true;
	kill(d->process.pid, SIGKILL);
}

static bool disk_spawn(struct disk_process *d)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *argv[] = {
		self,
		"serve",
		"vhost-user-blk",
		"--socket",
		d->socket,
		"--disk",
		d->image,
		"--json",
		/* NULL ends it here, or after the two that follow */
		d->kills ? "--delay-us" : NULL,
		SLOW_US,
		NULL,
	};
	const struct process_config cfg = {
		.argv = argv,
		.out = disk_out,
		.err = disk_err,
		.ended = disk_ended,
		.arg = d,
	};
	int rc = n < 0 ? -errno : 0;

	self[n < 0 ? 0 : n] = '\0';
	if (!rc)
		rc = process_start(&d->process, &cfg, d->loop);
	return !rc || outcome_fail(d->o, EXIT_WORK, "the disk's process: %s",
				   strerror(-rc));
}

bool disk_process_start(struct disk_process *d, struct viommu_loop *loop)
{
	const struct timespec moment = { .tv_nsec = 1000000 };
	struct stat st;

	d->loop = loop;
	d->process.out.fd = d->process.err.fd = -1;
	viommu_timer_init(&d->kill, disk_kill, d);
	if (!disk_spawn(d))
		return false;
	for (int ms = 0; ms < LISTEN_MS; ms++) {
		siginfo_t ended = { .si_pid = 0 };

		if (!stat(d->socket, &st))
			return true;
		waitid(P_PID, (id_t)d->process.pid, &ended,
		       WEXITED | WNOHANG | WNOWAIT);
		if (ended.si_pid)
			break;
		nanosleep(&moment, NULL);
	}
	disk_process_stop(d);
	return outcome_fail(d->o, EXIT_WORK,
			    "the disk's process does not listen on %s",
			    d->socket);
}

void disk_process_round(struct disk_process *d, unsigned round)
{
	unsigned long long due =
		(unsigned long long)d->rounds * (d->armed + 1) / (d->kills + 1);

	if (d->armed > d->killed || d->armed == d->kills || round < due ||
	    round >= d->rounds)
		return;
	viommu_timer_start(d->loop, &d->kill, 1 + d->armed * MOMENT_NS);
	d->armed++;
}

uint64_t disk_process_told(const char *summary, const char *key)
{
	struct json_object *o = json_tokener_parse(summary), *v;
	uint64_t n = 0;

	if (json_object_object_get_ex(o, key, &v))
		n = json_object_get_uint64(v);
	json_object_put(o);
	return n;
}

void disk_process_stop(struct disk_process *d)
{
	if (!d->loop)
		return;
	viommu_timer_stop(d->loop, &d->kill);
	process_stop(&d->process);
	d->loop = NULL;
}
