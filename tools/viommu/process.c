/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Other programs.  Each leads its own process group, so that a terminal's
 * interrupt reaches us alone and we end them in order; each is told by the
 * kernel to end should we die.  The main thread's alone: that promise hangs
 * on the thread that forked.
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stop.h"

#define TERM_MS	  3000
/* mke2fs and its kin are where a plain user's PATH does not look. */
#define MORE_PATH "/usr/local/sbin:/usr/sbin:/sbin"

struct pipes {
	int out[2], err[2], error[2];
};

static void pipe_close(int fds[2])
{
	for (int i = 0; i < 2; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
}

static void pipes_close(struct pipes *p)
{
	pipe_close(p->out);
	pipe_close(p->err);
	pipe_close(p->error);
}

static int pipes_open(struct pipes *p)
{
	*p = (struct pipes){ { -1, -1 }, { -1, -1 }, { -1, -1 } };
	if (pipe2(p->out, O_CLOEXEC) || pipe2(p->err, O_CLOEXEC) ||
	    pipe2(p->error, O_CLOEXEC)) {
		int rc = -errno;

		pipes_close(p);
		return rc;
	}
	return 0;
}

/* Between fork and exec: async-signal-safe calls only. */
static void child_exec(const struct process_config *cfg, struct pipes *p,
		       pid_t parent)
{
	int null, i, saved;
	/* Above 4, so that no dup2 below hits what is still needed. */
	int pass[2] = { -1, -1 };

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, cfg->death ? cfg->death : SIGTERM);
	if (getppid() != parent)
		_exit(127);
	stop_child();
	p->error[1] = fcntl(p->error[1], F_DUPFD_CLOEXEC, 5);
	for (i = 0; i < 2; i++)
		if (cfg->pass[i])
			pass[i] = fcntl(cfg->pass[i], F_DUPFD_CLOEXEC, 5);
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0 || dup2(null, 0) < 0 || dup2(p->out[1], 1) < 0 ||
	    dup2(p->err[1], 2) < 0)
		goto fail;
	for (i = 0; i < 2; i++)
		if (cfg->pass[i] && dup2(pass[i], 3 + i) < 0)
			goto fail;
	if (cfg->cwd && chdir(cfg->cwd))
		goto fail;
	execvp(cfg->argv[0], (char *const *)(uintptr_t)cfg->argv);
fail:
	saved = errno;
	if (write(p->error[1], &saved, sizeof(saved)) < 0)
		_exit(126);
	_exit(127);
}

/* Our PATH and where an administrator's programs are, for execvp(3). */
static int path_extend(void)
{
	static bool done;
	const char *path = getenv("PATH");
	char *more;

	if (done)
		return 0;
	if (asprintf(&more, "%s:%s",
		     path && *path ? path : "/usr/local/bin:/usr/bin:/bin",
		     MORE_PATH) < 0)
		return -ENOMEM;
	setenv("PATH", more, 1);
	free(more);
	done = true;
	return 0;
}

/* The errno that kept the child from becoming the program, or 0. */
static int child_error(struct pipes *p)
{
	int error;
	ssize_t n;

	close(p->error[1]);
	p->error[1] = -1;
	do {
		n = read(p->error[0], &error, sizeof(error));
	} while (n < 0 && errno == EINTR);
	return n == sizeof(error) ? -error : 0;
}

static void process_reap(struct process *p)
{
	if (p->pidfd >= 0) {
		viommu_loop_remove(p->loop, p->pidfd);
		close(p->pidfd);
		p->pidfd = -1;
	}
	while (waitpid(p->pid, &p->status, 0) < 0 && errno == EINTR)
		;
	p->pid = 0;
}

static void process_event(void *arg, uint32_t events)
{
	struct process *p = arg;

	(void)events;
	kill(-p->pid, SIGTERM); /* what it may have left behind */
	process_reap(p);
	lines_close(&p->out);
	lines_close(&p->err);
	if (p->ended)
		p->ended(p->arg);
}

static int process_watch(struct process *p, const struct process_config *cfg,
			 struct pipes *pipes)
{
	int rc;

	p->pidfd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	if (p->pidfd < 0)
		return -errno;
	rc = viommu_loop_add(p->loop, p->pidfd, EPOLLIN, process_event, p);
	if (rc) {
		close(p->pidfd);
		p->pidfd = -1;
		return rc;
	}
	rc = lines_open(&p->out, p->loop, pipes->out[0], cfg->out, cfg->arg);
	pipes->out[0] = -1;
	if (rc)
		return rc;
	rc = lines_open(&p->err, p->loop, pipes->err[0], cfg->err, cfg->arg);
	pipes->err[0] = -1;
	return rc;
}

int process_start(struct process *p, const struct process_config *cfg,
		  struct viommu_loop *loop)
{
	struct pipes pipes;
	pid_t parent = getpid();
	int rc;

	memset(p, 0, sizeof(*p));
	p->loop = loop;
	p->pidfd = p->out.fd = p->err.fd = -1;
	p->ended = cfg->ended;
	p->arg = cfg->arg;
	rc = path_extend();
	if (!rc)
		rc = pipes_open(&pipes);
	if (rc)
		return rc;
	p->pid = fork();
	if (p->pid < 0) {
		rc = -errno;
		p->pid = 0;
		pipes_close(&pipes);
		return rc;
	}
	if (!p->pid)
		child_exec(cfg, &pipes, parent);
	setpgid(p->pid, p->pid); /* both do: whoever is first */
	rc = child_error(&pipes);
	if (!rc)
		rc = process_watch(p, cfg, &pipes);
	pipes_close(&pipes);
	if (rc)
		process_stop(p);
	return rc;
}

void process_stop(struct process *p)
{
	struct pollfd ended = { .fd = p->pidfd, .events = POLLIN };

	if (p->pid) {
		kill(-p->pid, SIGTERM);
		if (p->pidfd < 0 || poll(&ended, 1, TERM_MS) != 1)
			kill(-p->pid, SIGKILL);
		process_reap(p);
	}
	lines_close(&p->out);
	lines_close(&p->err);
}

/* The caller's line handlers keep their argument: ours is the loop. */
struct run {
	const struct process_config *cfg;
	struct viommu_loop *loop;
};

static void run_out(void *arg, const char *line)
{
	struct run *run = arg;

	if (run->cfg->out)
		run->cfg->out(run->cfg->arg, line);
}

static void run_err(void *arg, const char *line)
{
	struct run *run = arg;

	if (run->cfg->err)
		run->cfg->err(run->cfg->arg, line);
}

static void run_done(void *arg)
{
	struct run *run = arg;

	viommu_loop_stop(run->loop);
}

static int run_loop(struct run *run, const struct process_config *cfg)
{
	struct process p;
	int rc = stop_watch(run->loop);

	if (rc)
		return rc;
	rc = process_start(&p, cfg, run->loop);
	if (rc)
		return rc;
	rc = viommu_loop_run(run->loop);
	if (!rc && p.pid && stop_requested())
		rc = -EINTR;
	process_stop(&p);
	if (rc)
		return rc;
	return WIFEXITED(p.status) ? WEXITSTATUS(p.status)
				   : 128 + WTERMSIG(p.status);
}

int process_run(const struct process_config *cfg)
{
	struct run run = { .cfg = cfg };
	struct process_config mine = *cfg;
	int rc;

	if (stop_requested())
		return -EINTR;
	rc = viommu_loop_create(&run.loop);
	if (rc)
		return rc;
	mine.out = run_out;
	mine.err = run_err;
	mine.ended = run_done;
	mine.arg = &run;
	rc = run_loop(&run, &mine);
	viommu_loop_destroy(run.loop);
	return rc;
}
