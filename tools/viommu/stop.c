/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Being asked to stop: SIGINT, SIGTERM and SIGHUP become a readable file
 * descriptor, so that everything is unmade in order and by one thread.
 * The main thread's alone, but for stop_child().
 */
#include "stop.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

static int signals = -1;
static bool requested;

int stop_init(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct sigaction normal = { .sa_handler = SIG_DFL };
	sigset_t set;

	sigaction(SIGPIPE, &ignore, NULL);
	/* A shell's background job has it ignored, and is still to obey who
	 * sends it on purpose. */
	sigaction(SIGINT, &normal, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return signals < 0 ? -errno : 0;
}

bool stop_requested(void)
{
	struct signalfd_siginfo info;

	while (read(signals, &info, sizeof(info)) == sizeof(info))
		requested = true;
	return requested;
}

static void stop_event(void *arg, uint32_t events)
{
	(void)events;
	if (stop_requested())
		viommu_loop_stop(arg);
}

int stop_watch(struct viommu_loop *loop)
{
	return viommu_loop_add(loop, signals, EPOLLIN, stop_event, loop);
}

void stop_child(void)
{
	struct sigaction normal = { .sa_handler = SIG_DFL };
	sigset_t none;

	sigaction(SIGPIPE, &normal, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}
