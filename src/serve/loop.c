/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Loops: epoll, one eventfd for wake-ups, one timerfd for the nearest timer.
 *
 * Who locks what: lock guards the list of posted tasks, and is held while the
 * eventfd is written: a task that runs proves that its poster is done with
 * the loop; and the list of instances, which others may add to.  Everything
 * else belongs to the loop's thread.
 *
 * Deadlines (L9): before it sleeps the loop asks each instance for its next
 * one.  A fence comes to wait on the thread that commits it, and for functions
 * that is a loop's: so none is missed, and none costs a wake-up in vain.
 *
 * epoll hands out pointers to watches in batches.  A watch removed in the
 * middle of a batch is marked and stays allocated until no batch is under
 * way, so that neither a freed watch nor a new one with the same fd number
 * gets an event of the old one.
 */

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <viommu/serve/loop.h>
#include <viommu/viommu.h>

#include "serve/loop.h"

#define BATCH	 32
#define POLL_GAP UINT64_C(1000000) /* between two polls */

struct watch {
	struct watch *next;
	int fd; /* -1: removed */
	uint32_t events;
	viommu_loop_fd_fn *fn;
	void *arg;
};

struct viommu_loop {
	int epfd, wakefd, timerfd;
	atomic_bool stop;

	pthread_mutex_t lock;
	struct viommu_task *first, *last;

	struct watch *watches;
	struct watch *dead; /* removed, but a batch may point to them */
	unsigned depth;	    /* batches under way: callbacks may nest one */
	struct watch wake, tick;

	struct viommu_timer *timers; /* nearest first */
	uint64_t armed;		     /* what the timerfd is set to; 0: off */

	struct vs_deadlines *instances; /* added at the front, by the lock */
	uint64_t due, polled;		/* when to poll; when we last did */
};

/* Behind the opaque words of a task. */
struct task {
	viommu_loop_fn *fn;
	void *arg;
	struct viommu_task *next;
	uint64_t posted;
};

/* Behind the opaque words of a timer. */
struct timer {
	viommu_loop_fn *fn;
	void *arg;
	struct viommu_timer *next, *prev;
	uint64_t when;
	uint64_t running;
};

static_assert(sizeof(struct task) <= sizeof(struct viommu_task), "opaque");
static_assert(sizeof(struct timer) <= sizeof(struct viommu_timer), "opaque");

static struct task *task_of(struct viommu_task *task)
{
	return (struct task *)(void *)task;
}

static struct timer *timer_of(struct viommu_timer *timer)
{
	return (struct timer *)(void *)timer;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Async-signal-safe.  A full counter wakes as well as a written one. */
static void loop_wake(struct viommu_loop *loop)
{
	uint64_t one = 1;
	ssize_t n;

	do
		n = write(loop->wakefd, &one, sizeof(one));
	while (n < 0 && errno == EINTR);
}

static void drain(int fd)
{
	uint64_t count;
	ssize_t n;

	do
		n = read(fd, &count, sizeof(count));
	while (n < 0 && errno == EINTR);
}

static void wake_event(void *arg, uint32_t events)
{
	const struct viommu_loop *loop = arg;

	(void)events;
	drain(loop->wakefd);
}

static void tick_event(void *arg, uint32_t events)
{
	struct viommu_loop *loop = arg;

	(void)events;
	drain(loop->timerfd);
	loop->armed = 0;
}

static int watch_system(struct viommu_loop *loop, struct watch *w, int fd,
			viommu_loop_fd_fn *fn)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = w };

	w->fd = fd;
	w->events = EPOLLIN;
	w->fn = fn;
	w->arg = loop;
	return epoll_ctl(loop->epfd, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

static int loop_open(struct viommu_loop *loop)
{
	int rc;

	loop->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epfd < 0)
		return -errno;
	loop->wakefd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wakefd < 0)
		return -errno;
	loop->timerfd =
		timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (loop->timerfd < 0)
		return -errno;
	rc = watch_system(loop, &loop->wake, loop->wakefd, wake_event);
	if (!rc)
		rc = watch_system(loop, &loop->tick, loop->timerfd, tick_event);
	return rc == -ENOSPC ? -ENOMEM : rc;
}

int viommu_loop_create(struct viommu_loop **out)
{
	struct viommu_loop *loop = calloc(1, sizeof(*loop));
	int rc;

	if (!loop)
		return -ENOMEM;
	loop->epfd = loop->wakefd = loop->timerfd = -1;
	loop->due = UINT64_MAX;
	pthread_mutex_init(&loop->lock, NULL);
	rc = loop_open(loop);
	if (rc) {
		viommu_loop_destroy(loop);
		return rc;
	}
	*out = loop;
	return 0;
}

static void watches_free(struct watch **list)
{
	while (*list) {
		struct watch *w = *list;

		*list = w->next;
		free(w);
	}
}

static void fd_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

void viommu_loop_destroy(struct viommu_loop *loop)
{
	if (!loop)
		return;
	watches_free(&loop->watches);
	watches_free(&loop->dead);
	fd_close(loop->timerfd);
	fd_close(loop->wakefd);
	fd_close(loop->epfd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

void viommu_loop_stop(struct viommu_loop *loop)
{
	int saved = errno;

	atomic_store(&loop->stop, true);
	loop_wake(loop);
	errno = saved;
}

/* ----------------------------------------------------- file descriptors */

static struct watch **watch_find(struct viommu_loop *loop, int fd)
{
	struct watch **at = &loop->watches;

	while (*at && (*at)->fd != fd)
		at = &(*at)->next;
	return at;
}

int viommu_loop_add(struct viommu_loop *loop, int fd, uint32_t events,
		    viommu_loop_fd_fn *fn, void *arg)
{
	struct watch *w = *watch_find(loop, fd);
	struct epoll_event ev = { .events = events };
	int op = EPOLL_CTL_MOD;

	if (!w) {
		w = calloc(1, sizeof(*w));
		if (!w)
			return -ENOMEM;
		op = EPOLL_CTL_ADD;
	}
	ev.data.ptr = w;
	if (epoll_ctl(loop->epfd, op, fd, &ev)) {
		int rc = errno == ENOSPC ? -ENOMEM : -errno;

		if (op == EPOLL_CTL_ADD)
			free(w);
		return rc;
	}
	w->fd = fd;
	w->events = events;
	w->fn = fn;
	w->arg = arg;
	if (op == EPOLL_CTL_ADD) {
		w->next = loop->watches;
		loop->watches = w;
	}
	return 0;
}

void viommu_loop_remove(struct viommu_loop *loop, int fd)
{
	struct watch **at = watch_find(loop, fd);
	struct watch *w = *at;

	if (!w)
		return;
	epoll_ctl(loop->epfd, EPOLL_CTL_DEL, fd, NULL);
	*at = w->next;
	w->fd = -1;
	w->next = loop->dead;
	loop->dead = w;
	if (!loop->depth)
		watches_free(&loop->dead);
}

/* ---------------------------------------------------------------- tasks */

void viommu_task_init(struct viommu_task *task, viommu_loop_fn *fn, void *arg)
{
	struct task *t = task_of(task);

	t->fn = fn;
	t->arg = arg;
	t->next = NULL;
	t->posted = 0;
}

void viommu_loop_post(struct viommu_loop *loop, struct viommu_task *task)
{
	struct task *t = task_of(task);

	pthread_mutex_lock(&loop->lock);
	if (!t->posted) {
		t->posted = 1;
		t->next = NULL;
		if (loop->first)
			task_of(loop->last)->next = task;
		else
			loop->first = task;
		loop->last = task;
		loop_wake(loop);
	}
	pthread_mutex_unlock(&loop->lock);
}

void viommu_loop_cancel(struct viommu_loop *loop, struct viommu_task *task)
{
	struct viommu_task *before = NULL, *at;

	pthread_mutex_lock(&loop->lock);
	for (at = loop->first; at && at != task; at = task_of(at)->next)
		before = at;
	if (at) {
		if (before)
			task_of(before)->next = task_of(at)->next;
		else
			loop->first = task_of(at)->next;
		if (loop->last == at)
			loop->last = before;
		task_of(at)->posted = 0;
	}
	pthread_mutex_unlock(&loop->lock);
}

static struct viommu_task *task_take(struct viommu_loop *loop)
{
	struct viommu_task *task;

	pthread_mutex_lock(&loop->lock);
	task = loop->first;
	if (task) {
		loop->first = task_of(task)->next;
		if (!loop->first)
			loop->last = NULL;
		task_of(task)->posted = 0;
	}
	pthread_mutex_unlock(&loop->lock);
	return task;
}

static unsigned tasks_count(struct viommu_loop *loop)
{
	struct viommu_task *at;
	unsigned n = 0;

	pthread_mutex_lock(&loop->lock);
	for (at = loop->first; at; at = task_of(at)->next)
		n++;
	pthread_mutex_unlock(&loop->lock);
	return n;
}

/* -------------------------------------------------------------- timers */

void viommu_timer_init(struct viommu_timer *timer, viommu_loop_fn *fn,
		       void *arg)
{
	struct timer *t = timer_of(timer);

	t->fn = fn;
	t->arg = arg;
	t->next = t->prev = NULL;
	t->when = 0;
	t->running = 0;
}

void viommu_timer_start(struct viommu_loop *loop, struct viommu_timer *timer,
			uint64_t ns)
{
	struct viommu_timer *before = NULL, *at;
	struct timer *t = timer_of(timer);
	uint64_t now = now_ns();

	viommu_timer_stop(loop, timer);
	/* 2^63 ns are 292 years: as good as never, and a timespec holds it */
	t->when = ns > INT64_MAX - now ? INT64_MAX : now + ns;
	for (at = loop->timers; at && timer_of(at)->when <= t->when;
	     at = timer_of(at)->next)
		before = at;
	t->next = at;
	t->prev = before;
	if (at)
		timer_of(at)->prev = timer;
	if (before)
		timer_of(before)->next = timer;
	else
		loop->timers = timer;
	t->running = 1;
}

void viommu_timer_stop(struct viommu_loop *loop, struct viommu_timer *timer)
{
	struct timer *t = timer_of(timer);

	if (!t->running)
		return;
	if (t->next)
		timer_of(t->next)->prev = t->prev;
	if (t->prev)
		timer_of(t->prev)->next = t->next;
	else
		loop->timers = t->next;
	t->running = 0;
}

/* ----------------------------------------------------------- deadlines */

void vs_deadlines_add(struct viommu_loop *loop, struct vs_deadlines *d,
		      struct viommu *vi)
{
	d->vi = vi;
	pthread_mutex_lock(&loop->lock);
	d->next = loop->instances;
	loop->instances = d;
	pthread_mutex_unlock(&loop->lock);
}

void vs_deadlines_remove(struct viommu_loop *loop, struct vs_deadlines *d)
{
	struct vs_deadlines **at = &loop->instances;

	pthread_mutex_lock(&loop->lock);
	while (*at && *at != d)
		at = &(*at)->next;
	if (*at)
		*at = d->next;
	pthread_mutex_unlock(&loop->lock);
}

/* What is behind the first one is the loop's thread's alone. */
static struct vs_deadlines *instances(struct viommu_loop *loop)
{
	struct vs_deadlines *first;

	pthread_mutex_lock(&loop->lock);
	first = loop->instances;
	pthread_mutex_unlock(&loop->lock);
	return first;
}

/* When to poll next.  One that has passed and stays (another thread is at it,
 * or has no room for us) must not keep us awake. */
static uint64_t deadline_look(struct viommu_loop *loop)
{
	uint64_t first = UINT64_MAX;

	for (struct vs_deadlines *d = instances(loop); d; d = d->next) {
		uint64_t next = viommu_next_deadline(d->vi);

		first = next < first ? next : first;
	}
	/* no sooner than now, and no later than never */
	if (first < loop->polled + POLL_GAP)
		first = loop->polled + POLL_GAP;
	return first;
}

static void run_deadlines(struct viommu_loop *loop)
{
	uint64_t now;

	if (loop->due == UINT64_MAX)
		return;
	now = now_ns();
	if (now < loop->due)
		return;
	loop->polled = now;
	for (struct vs_deadlines *d = instances(loop); d; d = d->next)
		viommu_poll(d->vi, now);
}

/* Set the timerfd to the nearest timer or deadline, if it is not. */
static void timers_arm(struct viommu_loop *loop)
{
	uint64_t when = loop->timers ? timer_of(loop->timers)->when : 0;
	struct itimerspec its;

	loop->due = deadline_look(loop);
	if (loop->due < INT64_MAX && (!when || loop->due < when))
		when = loop->due;
	if (when == loop->armed)
		return;
	its = (struct itimerspec){
		.it_value = { .tv_sec = (time_t)(when / 1000000000u),
			      .tv_nsec = (long)(when % 1000000000u) },
	};
	timerfd_settime(loop->timerfd, TFD_TIMER_ABSTIME, &its, NULL);
	loop->armed = when;
}

/* ----------------------------------------------------------------- run */

/* @stoppable: return after the callback that saw or made the stop. */
static bool stopped(struct viommu_loop *loop, bool stoppable)
{
	return stoppable && atomic_load(&loop->stop);
}

static void run_events(struct viommu_loop *loop, struct epoll_event *ev, int n,
		       bool stoppable)
{
	for (int i = 0; i < n && !stopped(loop, stoppable); i++) {
		struct watch *w = ev[i].data.ptr;
		uint32_t events;

		/* removed, or watched for something else by now? */
		events = ev[i].events & (w->events | EPOLLERR | EPOLLHUP);
		if (w->fd >= 0 && events)
			w->fn(w->arg, events);
	}
}

static void run_timers(struct viommu_loop *loop, bool stoppable)
{
	uint64_t now;

	if (!loop->timers)
		return;
	now = now_ns();
	while (loop->timers && timer_of(loop->timers)->when <= now &&
	       !stopped(loop, stoppable)) {
		struct viommu_timer *timer = loop->timers;

		viommu_timer_stop(loop, timer);
		timer_of(timer)->fn(timer_of(timer)->arg);
	}
}

/* As many as there are now: one that posts itself leaves room for others. */
static void run_tasks(struct viommu_loop *loop, bool stoppable)
{
	unsigned n = tasks_count(loop);

	while (n-- && !stopped(loop, stoppable)) {
		struct viommu_task *task = task_take(loop);

		if (!task)
			return;
		task_of(task)->fn(task_of(task)->arg);
	}
}

static int loop_step(struct viommu_loop *loop, bool stoppable)
{
	struct epoll_event ev[BATCH];
	int n;

	timers_arm(loop);
	/* what was posted and not run yet must not wait for an event */
	n = epoll_wait(loop->epfd, ev, BATCH, tasks_count(loop) ? 0 : -1);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	loop->depth++;
	run_events(loop, ev, n, stoppable);
	run_timers(loop, stoppable);
	run_deadlines(loop);
	run_tasks(loop, stoppable);
	if (!--loop->depth)
		watches_free(&loop->dead);
	return 0;
}

int viommu_loop_run(struct viommu_loop *loop)
{
	int rc = 0;

	while (!rc && !atomic_load(&loop->stop))
		rc = loop_step(loop, true);
	if (!rc)
		atomic_store(&loop->stop, false);
	return rc;
}

int vs_loop_once(struct viommu_loop *loop)
{
	return loop_step(loop, false);
}
