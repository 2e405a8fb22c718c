/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest's run: QEMU, its console, its report, and what may go wrong.  All on
 * one loop of the main thread.  Ends when QEMU has ended; QEMU is ended when
 * we are asked to stop, when time is up, when a function lost its client while
 * the guest still works, or when the guest is through and QEMU stays.
 */
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "process.h"
#include "say.h"
#include "stop.h"

#define SECOND_NS 1000000000ull
/* A power-off takes a moment; the disconnect of a function comes first. */
#define OFF_S	  10
#define LOST_S	  2
#define ESCAPE	  0x1d /* Ctrl-] */

struct guest {
	const struct guest_config *cfg;
	struct guest_result *result;
	struct outcome *o;
	struct viommu_loop *loop;
	struct process qemu;
	struct lines console, report;
	struct viommu_timer timeout, off, lost;
	uint64_t started;
	char why[256];	     /* a function's last words */
	char qemu_said[256]; /* and QEMU's */
	struct termios saved;
	bool raw;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static double seconds_since(uint64_t then)
{
	return (double)(now_ns() - then) / 1e9;
}

/* ------------------------------------------------------ what is told us */

static void console_line(void *arg, const char *line)
{
	struct guest *g = arg;

	if (!g->cfg->shell && !g->cfg->silent)
		relay(people(), "guest|", line);
}

static void console_raw(void *arg, const char *buf, size_t len)
{
	struct guest *g = arg;

	if (g->cfg->shell)
		fwrite(buf, 1, len, stdout), fflush(stdout);
}

static void report_in(void *arg, const char *line)
{
	struct guest *g = arg;
	struct report *r = &g->result->report;
	bool ended = r->ended;
	uint64_t rounds = r->rounds;

	if (g->result->boot_seconds <= 0)
		g->result->boot_seconds = seconds_since(g->started);
	say_detail("report: %s", line);
	report_line(r, line);
	if (g->cfg->disk && r->rounds != rounds)
		disk_process_round(g->cfg->disk, (unsigned)r->rounds);
	if (r->ended && !ended)
		viommu_timer_start(g->loop, &g->off, OFF_S * SECOND_NS);
}

static void qemu_line(void *arg, const char *line)
{
	struct guest *g = arg;

	relay(stderr, "qemu:", line);
	if (*line)
		snprintf(g->qemu_said, sizeof(g->qemu_said), "%s", line);
}

static void machine_event_in(void *arg, uint32_t events)
{
	struct guest *g = arg;
	struct machine_event e;

	(void)events;
	while (machine_next_event(g->cfg->machine, &e)) {
		if (e.connected) {
			say_detail("%s: connected", e.function);
			continue;
		}
		say_detail("%s: disconnected: %s", e.function, e.why);
		if (!g->why[0]) {
			snprintf(g->why, sizeof(g->why), "%s: %s", e.function,
				 e.why);
			viommu_timer_start(g->loop, &g->lost,
					   LOST_S * SECOND_NS);
		}
	}
}

static void qemu_ended(void *arg)
{
	struct guest *g = arg;

	viommu_loop_stop(g->loop);
}

/* -------------------------------------------------------- what is wrong */

static void time_is_up(void *arg)
{
	struct guest *g = arg;

	outcome_fail(g->o, EXIT_TIMEOUT,
		     "the guest was not ready after %u s (--timeout)%s",
		     g->cfg->timeout_s,
		     g->result->report.ended ? ", though it had ended" : "");
	viommu_loop_stop(g->loop);
}

static void off_is_up(void *arg)
{
	struct guest *g = arg;

	outcome_fail(g->o, EXIT_WORK,
		     "the guest ended, but QEMU did not in %u s", OFF_S);
	viommu_loop_stop(g->loop);
}

static void lost_is_up(void *arg)
{
	struct guest *g = arg;

	outcome_fail(g->o, EXIT_WORK, "lost the guest's connection to %s",
		     g->why);
	viommu_loop_stop(g->loop);
}

/* How QEMU ended, where it should not have. */
static void early_end(struct guest *g)
{
	int status = g->qemu.status;
	const char *said = g->qemu_said;

	if (WIFSIGNALED(status))
		outcome_fail(g->o, EXIT_WORK,
			     "QEMU was killed by signal %d (%s)",
			     WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status))
		outcome_fail(g->o, EXIT_WORK, "QEMU failed (%d)%s%s",
			     WEXITSTATUS(status), *said ? ": " : "", said);
	else if (!g->result->report.ended)
		outcome_fail(g->o, EXIT_WORK,
			     "the guest went off before it was ready: see its "
			     "last words above%s%s",
			     *said ? "; QEMU said: " : "", said);
}

/* ------------------------------------------------------------- terminal */

static void terminal_in(void *arg, uint32_t events)
{
	struct guest *g = arg;
	char buf[256];
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));

	(void)events;
	if (n <= 0) {
		viommu_loop_remove(g->loop, STDIN_FILENO);
		return;
	}
	if (g->raw && memchr(buf, ESCAPE, (size_t)n)) {
		outcome_fail(g->o, EXIT_STOPPED, "interrupted");
		viommu_loop_stop(g->loop);
		return;
	}
	/* A guest that does not read loses what was typed. */
	if (write(g->console.fd, buf, (size_t)n) < 0)
		return;
}

static int terminal_open(struct guest *g)
{
	struct termios raw;

	if (!tcgetattr(STDIN_FILENO, &g->saved)) {
		say("The guest's shell comes when its work is done. "
		    "Ctrl-] ends it at once.");
		raw = g->saved;
		cfmakeraw(&raw);
		raw.c_oflag |= OPOST;
		g->raw = !tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	}
	return viommu_loop_add(g->loop, STDIN_FILENO, EPOLLIN, terminal_in, g);
}

static void terminal_close(struct guest *g)
{
	if (g->raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &g->saved);
	g->raw = false;
}

/* ------------------------------------------------------------------ run */

static void timers_start(struct guest *g)
{
	viommu_timer_init(&g->timeout, time_is_up, g);
	viommu_timer_init(&g->off, off_is_up, g);
	viommu_timer_init(&g->lost, lost_is_up, g);
	if (g->cfg->timeout_s)
		viommu_timer_start(g->loop, &g->timeout,
				   g->cfg->timeout_s * SECOND_NS);
}

static int pair_open(int *ours, int *theirs)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return -errno;
	*ours = fds[0];
	*theirs = fds[1];
	return 0;
}

static int ports_open(struct guest *g, int theirs[2])
{
	int ours = -1, rc = pair_open(&ours, &theirs[0]);

	if (rc)
		return rc;
	rc = lines_open(&g->console, g->loop, ours, console_line, g);
	g->console.raw = console_raw;
	if (!rc)
		rc = pair_open(&ours, &theirs[1]);
	if (!rc)
		rc = lines_open(&g->report, g->loop, ours, report_in, g);
	return rc;
}

static int qemu_start(struct guest *g)
{
	struct process_config cfg = {
		.argv = g->cfg->qemu->v,
		.out = qemu_line,
		.err = qemu_line,
		.ended = qemu_ended,
		.arg = g,
		.death = SIGKILL,
	};
	int rc = ports_open(g, cfg.pass);

	g->started = now_ns();
	if (!rc)
		rc = process_start(&g->qemu, &cfg, g->loop);
	for (int i = 0; i < 2; i++)
		if (cfg.pass[i] > 0)
			close(cfg.pass[i]);
	return rc;
}

static int guest_start(struct guest *g)
{
	int rc = stop_watch(g->loop);

	if (!rc && g->cfg->disk && !disk_process_start(g->cfg->disk, g->loop))
		return 0;
	if (!rc && g->cfg->machine)
		rc = viommu_loop_add(g->loop, machine_event_fd(g->cfg->machine),
				     EPOLLIN, machine_event_in, g);
	if (!rc && g->cfg->shell)
		rc = terminal_open(g);
	if (!rc)
		rc = qemu_start(g);
	if (!rc)
		timers_start(g);
	return rc;
}

/* What QEMU wrote is told before its end is judged. */
static void guest_end(struct guest *g)
{
	bool alone = !g->qemu.pid;

	process_stop(&g->qemu);
	if (g->cfg->disk)
		disk_process_stop(g->cfg->disk);
	lines_close(&g->console);
	lines_close(&g->report);
	terminal_close(g);
	g->result->seconds = seconds_since(g->started);
	if (stop_requested())
		outcome_fail(g->o, EXIT_STOPPED, "interrupted");
	else if (alone && !g->o->status)
		early_end(g);
}

bool guest_run(const struct guest_config *cfg, struct guest_result *r,
	       struct outcome *o)
{
	struct guest g = { .cfg = cfg, .result = r, .o = o };
	int rc = viommu_loop_create(&g.loop);

	memset(r, 0, sizeof(*r));
	g.console.fd = g.report.fd = g.qemu.out.fd = g.qemu.err.fd = -1;
	if (!rc) {
		rc = guest_start(&g);
		if (!rc && !o->status)
			rc = viommu_loop_run(g.loop);
		if (rc)
			outcome_fail(o, EXIT_WORK, "starting QEMU: %s",
				     strerror(-rc));
		guest_end(&g);
		viommu_loop_destroy(g.loop);
	} else {
		outcome_fail(o, EXIT_WORK, "a loop: %s", strerror(-rc));
	}
	return !o->status;
}
