/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <viommu.h>
#include <viommu/serve/loop.h>

#include "serve/loop.h"

#define MS UINT64_C(1000000)

struct fix {
	struct viommu_loop *loop;
	struct viommu_timer limit; /* nothing here takes longer */
};

static void too_long(void *arg)
{
	(void)arg;
	fail_msg("the loop did not stop");
}

static int setup(void **state)
{
	struct fix *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	assert_int_equal(viommu_loop_create(&x->loop), 0);
	viommu_timer_init(&x->limit, too_long, x);
	viommu_timer_start(x->loop, &x->limit, 20000 * MS);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fix *x = *state;

	viommu_loop_destroy(x->loop);
	free(x);
	return 0;
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void stop_fn(void *arg)
{
	viommu_loop_stop(arg);
}

/* ----------------------------------------------------------------- tasks */

struct counter {
	struct viommu_loop *loop;
	struct viommu_task task;
	unsigned n, stop_at;
};

static void count_fn(void *arg)
{
	struct counter *c = arg;

	if (++c->n == c->stop_at)
		viommu_loop_stop(c->loop);
}

static void posted_twice_runs_once(void **state)
{
	struct fix *x = *state;
	struct counter a = { .loop = x->loop },
		       b = { .loop = x->loop, .stop_at = 1 };

	viommu_task_init(&a.task, count_fn, &a);
	viommu_task_init(&b.task, count_fn, &b);
	viommu_loop_post(x->loop, &a.task);
	viommu_loop_post(x->loop, &a.task);
	viommu_loop_post(x->loop, &b.task);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(a.n, 1);
	assert_int_equal(b.n, 1);
	viommu_loop_post(x->loop, &a.task);
	viommu_loop_post(x->loop, &b.task);
	b.stop_at = 2;
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(a.n, 2);
}

static void cancelled_task_does_not_run(void **state)
{
	struct fix *x = *state;
	struct counter c[4];

	for (int i = 0; i < 4; i++) {
		c[i] = (struct counter){ .loop = x->loop };
		viommu_task_init(&c[i].task, count_fn, &c[i]);
		viommu_loop_post(x->loop, &c[i].task);
	}
	viommu_loop_cancel(x->loop, &c[1].task);
	viommu_loop_cancel(x->loop, &c[3].task); /* the last */
	viommu_loop_cancel(x->loop, &c[0].task); /* the first */
	viommu_loop_cancel(x->loop, &c[0].task); /* not posted */
	c[3].stop_at = 1;
	viommu_loop_post(x->loop, &c[3].task); /* may be posted again */
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(c[0].n, 0);
	assert_int_equal(c[1].n, 0);
	assert_int_equal(c[2].n, 1);
	assert_int_equal(c[3].n, 1);
}

struct poster {
	struct viommu_loop *loop;
	struct viommu_task task;
	pthread_t thread;
	atomic_uint sent; /* last value posted */
	unsigned seen;	  /* on the loop's thread */
	unsigned *left;
};

#define POSTS 20000

static void poster_fn(void *arg)
{
	struct poster *p = arg;

	/* what happened before the post is seen */
	p->seen = atomic_load_explicit(&p->sent, memory_order_relaxed);
	if (p->seen == POSTS && !--*p->left)
		viommu_loop_stop(p->loop);
}

static void *poster_run(void *arg)
{
	struct poster *p = arg;

	for (unsigned i = 1; i <= POSTS; i++) {
		atomic_store_explicit(&p->sent, i, memory_order_relaxed);
		viommu_loop_post(p->loop, &p->task);
	}
	return NULL;
}

/* A lost post would leave the loop asleep for ever. */
static void posts_from_threads_are_not_lost(void **state)
{
	struct fix *x = *state;
	struct poster p[3];
	unsigned left = 3;

	for (int i = 0; i < 3; i++) {
		p[i] = (struct poster){ .loop = x->loop, .left = &left };
		viommu_task_init(&p[i].task, poster_fn, &p[i]);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(
			pthread_create(&p[i].thread, NULL, poster_run, &p[i]),
			0);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	for (int i = 0; i < 3; i++) {
		pthread_join(p[i].thread, NULL);
		assert_int_equal(p[i].seen, POSTS);
	}
}

static void repost_fn(void *arg)
{
	struct counter *c = arg;

	c->n++;
	viommu_loop_post(c->loop, &c->task);
}

static void reposting_task_starves_nobody(void **state)
{
	struct fix *x = *state;
	struct counter c = { .loop = x->loop };
	struct viommu_timer t;

	viommu_task_init(&c.task, repost_fn, &c);
	viommu_loop_post(x->loop, &c.task);
	viommu_timer_init(&t, stop_fn, x->loop);
	viommu_timer_start(x->loop, &t, 20 * MS);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_true(c.n > 10);
	viommu_loop_cancel(x->loop, &c.task);
}

/* ------------------------------------------------------------------ stop */

static void stopped_before_it_runs(void **state)
{
	struct fix *x = *state;
	struct counter c = { .loop = x->loop, .stop_at = 1 };

	viommu_task_init(&c.task, count_fn, &c);
	viommu_loop_stop(x->loop);
	viommu_loop_post(x->loop, &c.task);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(c.n, 0);
	/* one stop, one return */
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(c.n, 1);
}

static void stops_after_the_callback(void **state)
{
	struct fix *x = *state;
	struct counter a = { .loop = x->loop, .stop_at = 1 },
		       b = { .loop = x->loop, .stop_at = 1 };

	viommu_task_init(&a.task, count_fn, &a);
	viommu_task_init(&b.task, count_fn, &b);
	viommu_loop_post(x->loop, &a.task);
	viommu_loop_post(x->loop, &b.task);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(a.n, 1);
	assert_int_equal(b.n, 0);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(b.n, 1);
}

static struct viommu_loop *signalled;

static void on_signal(int sig)
{
	(void)sig;
	viommu_loop_stop(signalled);
}

static void stops_from_a_signal(void **state)
{
	struct fix *x = *state;
	struct sigaction sa = { .sa_handler = on_signal }, before;
	timer_t timer;
	struct itimerspec its = { .it_value = { .tv_nsec = 20000000 } };
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL,
			       .sigev_signo = SIGUSR1 };

	signalled = x->loop;
	sigaction(SIGUSR1, &sa, &before);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &ev, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &its, NULL), 0);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	timer_delete(timer);
	sigaction(SIGUSR1, &before, NULL);
}

/* ------------------------------------------------------ file descriptors */

struct pair {
	struct viommu_loop *loop;
	int fd, other;
	unsigned n;
	uint32_t events;
	struct pair *victim;
	struct pair *heir; /* watched under the victim's number */
};

static void pair_fn(void *arg, uint32_t events)
{
	struct pair *p = arg;

	p->n++;
	p->events = events;
	viommu_loop_stop(p->loop);
}

static void kill_fn(void *arg, uint32_t events)
{
	struct pair *p = arg;
	struct pair *v = p->victim;

	(void)events;
	p->n++;
	viommu_loop_remove(p->loop, p->fd);
	if (v->fd < 0)
		return;
	viommu_loop_remove(p->loop, v->fd);
	if (v->heir) {
		/* same number, another file, nothing to read */
		int fd = eventfd(0, EFD_NONBLOCK);

		assert_int_equal(dup2(fd, v->fd), v->fd);
		close(fd);
		v->heir->fd = v->fd;
		assert_int_equal(viommu_loop_add(p->loop, v->fd, EPOLLIN,
						 pair_fn, v->heir),
				 0);
	} else {
		close(v->fd);
	}
	v->fd = -1;
	p->victim->victim = p;
}

static int ready_fd(void)
{
	int fd = eventfd(1, EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

/* Two are ready in one batch; whichever comes first removes the other. */
static void removed_in_the_same_batch(void **state)
{
	struct fix *x = *state;
	struct pair heir = { .loop = x->loop, .fd = -1 };
	struct pair a = { .loop = x->loop, .fd = ready_fd() };
	struct pair b = { .loop = x->loop, .fd = ready_fd() };
	struct viommu_timer t;

	a.victim = &b;
	b.victim = &a;
	a.heir = b.heir = &heir;
	assert_int_equal(viommu_loop_add(x->loop, a.fd, EPOLLIN, kill_fn, &a),
			 0);
	assert_int_equal(viommu_loop_add(x->loop, b.fd, EPOLLIN, kill_fn, &b),
			 0);
	viommu_timer_init(&t, stop_fn, x->loop);
	viommu_timer_start(x->loop, &t, 30 * MS);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(a.n + b.n, 1);
	assert_int_equal(heir.n, 0);
	/* and the heir is really watched */
	assert_int_equal(write(heir.fd, &(uint64_t){ 1 }, 8), 8);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(heir.n, 1);
	viommu_loop_remove(x->loop, heir.fd);
	close(heir.fd);
	if (a.fd >= 0)
		close(a.fd);
	if (b.fd >= 0)
		close(b.fd);
}

static void watched_for_something_else(void **state)
{
	struct fix *x = *state;
	struct pair p = { .loop = x->loop };
	struct viommu_timer t;

	p.fd = eventfd(0, EFD_NONBLOCK);
	assert_int_equal(viommu_loop_add(x->loop, p.fd, EPOLLOUT, pair_fn, &p),
			 0);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(p.n, 1);
	assert_int_equal(p.events, EPOLLOUT);
	assert_int_equal(viommu_loop_add(x->loop, p.fd, EPOLLIN, pair_fn, &p),
			 0);
	viommu_timer_init(&t, stop_fn, x->loop);
	viommu_timer_start(x->loop, &t, 20 * MS);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(p.n, 1);
	viommu_loop_remove(x->loop, p.fd);
	viommu_loop_remove(x->loop, p.fd);
	close(p.fd);
}

static void bad_fds(void **state)
{
	struct fix *x = *state;
	int fd = open("/proc/self/exe", O_RDONLY);

	assert_int_equal(viommu_loop_add(x->loop, -1, EPOLLIN, pair_fn, NULL),
			 -EBADF);
	assert_int_equal(viommu_loop_add(x->loop, 9999, EPOLLIN, pair_fn, NULL),
			 -EBADF);
	assert_int_equal(viommu_loop_add(x->loop, fd, EPOLLIN, pair_fn, NULL),
			 -EPERM);
	close(fd);
}

/* ---------------------------------------------------------------- timers */

struct tick {
	struct viommu_loop *loop;
	struct viommu_timer timer;
	struct tick *other;
	unsigned n;
	unsigned *order;
	unsigned place;
	uint64_t at;
};

static void tick_fn(void *arg)
{
	struct tick *t = arg;

	t->n++;
	t->at = now();
	t->place = ++*t->order;
}

static void timers_in_order_and_not_early(void **state)
{
	static const uint64_t after[] = { 30, 10, 20, 10, 0, 5 };
	static const unsigned place[] = { 6, 3, 5, 4, 1, 2 };
	struct fix *x = *state;
	struct tick t[6];
	struct viommu_timer last;
	uint64_t start = now();
	unsigned order = 0;

	for (int i = 0; i < 6; i++) {
		t[i] = (struct tick){ .order = &order };
		viommu_timer_init(&t[i].timer, tick_fn, &t[i]);
		viommu_timer_start(x->loop, &t[i].timer, after[i] * MS);
	}
	viommu_timer_init(&last, stop_fn, x->loop);
	viommu_timer_start(x->loop, &last, 60 * MS);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	for (int i = 0; i < 6; i++) {
		assert_int_equal(t[i].n, 1);
		assert_int_equal(t[i].place, place[i]);
		assert_true(t[i].at >= start + after[i] * MS);
	}
}

static void stop_other_fn(void *arg)
{
	struct tick *t = arg;

	t->n++;
	viommu_timer_stop(t->loop, &t->other->timer);
	viommu_timer_stop(t->loop, &t->timer);
}

static void stopped_timers_do_not_run(void **state)
{
	struct fix *x = *state;
	struct tick a = { .loop = x->loop }, b = { .loop = x->loop };
	unsigned order = 0;
	struct viommu_timer last;

	a.other = &b;
	b.order = &order;
	viommu_timer_init(&a.timer, stop_other_fn, &a);
	viommu_timer_init(&b.timer, tick_fn, &b);
	/* both are due at once */
	viommu_timer_start(x->loop, &a.timer, 0);
	viommu_timer_start(x->loop, &b.timer, 0);
	viommu_timer_init(&last, stop_fn, x->loop);
	viommu_timer_start(x->loop, &last, 10 * MS);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(a.n, 1);
	assert_int_equal(b.n, 0);
	viommu_timer_stop(x->loop, &b.timer);
}

static void timer_started_anew(void **state)
{
	struct fix *x = *state;
	struct viommu_timer t;
	uint64_t start = now();

	viommu_timer_init(&t, stop_fn, x->loop);
	viommu_timer_start(x->loop, &t, UINT64_MAX);
	viommu_timer_start(x->loop, &t, 0);
	viommu_timer_start(x->loop, &t, 25 * MS);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_true(now() >= start + 25 * MS);
}

/* --------------------------------------------------------------- nesting */

struct nest {
	struct viommu_loop *loop;
	struct viommu_timer timer;
	bool ticked;
	int a, b;
	unsigned runs;
};

static void nest_tick(void *arg)
{
	struct nest *n = arg;

	n->ticked = true;
}

static void nest_event(void *arg, uint32_t events)
{
	struct nest *n = arg;

	(void)events;
	if (n->runs++)
		return;
	viommu_loop_remove(n->loop, n->a);
	viommu_loop_remove(n->loop, n->b);
	viommu_timer_start(n->loop, &n->timer, 5 * MS);
	while (!n->ticked)
		assert_int_equal(vs_loop_once(n->loop), 0);
	/* not at once: the outer batch has another one to look at */
	viommu_timer_init(&n->timer, stop_fn, n->loop);
	viommu_timer_start(n->loop, &n->timer, 0);
}

/* A nested batch must not free watches that the outer one points to. */
static void callback_waits_for_a_timer(void **state)
{
	struct fix *x = *state;
	struct nest n = { .loop = x->loop, .a = ready_fd(), .b = ready_fd() };

	viommu_timer_init(&n.timer, nest_tick, &n);
	assert_int_equal(viommu_loop_add(x->loop, n.a, EPOLLIN, nest_event, &n),
			 0);
	assert_int_equal(viommu_loop_add(x->loop, n.b, EPOLLIN, nest_event, &n),
			 0);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(n.runs, 1);
	close(n.a);
	close(n.b);
}

static void wait_event(void *arg, uint32_t events)
{
	struct nest *n = arg;

	(void)events;
	viommu_loop_remove(n->loop, n->a);
	while (!n->ticked)
		assert_int_equal(vs_loop_once(n->loop), 0);
	viommu_loop_stop(n->loop);
}

/* The outer batch has used up the timerfd's event, and has not come to the
 * timer yet: the nested one must not wait for another event. */
static void timer_is_not_lost_to_a_nested_wait(void **state)
{
	struct fix *x = *state;
	struct nest n = { .loop = x->loop, .a = eventfd(0, EFD_NONBLOCK) };
	struct timespec pause = { .tv_nsec = 3000000 };
	struct viommu_task stop;

	viommu_timer_init(&n.timer, nest_tick, &n);
	viommu_timer_start(x->loop, &n.timer, 2 * MS);
	assert_int_equal(viommu_loop_add(x->loop, n.a, EPOLLIN, wait_event, &n),
			 0);
	viommu_task_init(&stop, stop_fn, x->loop);
	viommu_loop_post(x->loop, &stop);
	assert_int_equal(viommu_loop_run(x->loop), 0); /* arms it */
	nanosleep(&pause, NULL);
	/* ready after it, so told after it, in the same batch */
	assert_int_equal(write(n.a, &(uint64_t){ 1 }, 8), 8);
	alarm(10);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	alarm(0);
	assert_true(n.ticked);
	close(n.a);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* ------------------------------------------------------------- deadlines */

/* A map that is not let go of, and a fence that waits for it, begun by a task
 * of the loop; nothing else goes on there. */
struct late {
	struct fix *x;
	struct viommu *vi;
	struct viommu_space *space;
	struct viommu_endpoint *ep;
	struct vs_deadlines node;
	struct viommu_dma d;
	struct iovec iov;
	struct viommu_fence f;
	struct viommu_task task;
	uint64_t started, timeout;
	unsigned expired, wait_on;
};

static char ram[4096] __attribute__((aligned(4096)));

static enum viommu_verdict late_expire(void *arg, const struct viommu_expiry *e)
{
	struct late *l = arg;

	(void)e;
	l->expired++;
	/* not early, each time */
	assert_true(now() - l->started >= l->expired * l->timeout);
	return l->expired <= l->wait_on ? VIOMMU_WAIT_ON : VIOMMU_GIVE_UP;
}

static void late_failed(struct viommu_fence *f, void *arg)
{
	struct late *l = arg;

	(void)f;
	viommu_loop_stop(l->x->loop);
}

static void late_done(struct viommu_fence *f, void *arg)
{
	(void)f;
	(void)arg;
}

static void late_begin(void *arg)
{
	struct late *l = arg;

	l->started = now();
	viommu_fence_init(&l->f);
	viommu_fence_set_timeout(&l->f, l->timeout);
	viommu_fence_set_failed(&l->f, late_failed);
	viommu_endpoint_detach(l->ep, &l->f);
	viommu_fence_commit(&l->f, late_done, l);
}

static struct late *late_make(struct fix *x)
{
	struct viommu_region r = { .size = sizeof(r),
				   .len = sizeof(ram),
				   .prot = VIOMMU_READ | VIOMMU_WRITE,
				   .host = ram,
				   .fd = -1 };
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_IDENTITY,
					  .page_sizes = 4096 };
	struct late *l = calloc(1, sizeof(*l));
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .pasid = VIOMMU_NO_PASID,
					     .expire = late_expire,
					     .arg = l };
	struct viommu_fence f;

	assert_non_null(l);
	l->x = x;
	l->timeout = 10 * MS;
	assert_int_equal(viommu_create(NULL, &l->vi), 0);
	assert_int_equal(viommu_memory_add(viommu_memory_of(l->vi), &r), 0);
	assert_int_equal(viommu_space_create(l->vi, &sc, &l->space), 0);
	assert_int_equal(viommu_endpoint_create(l->vi, &ec, &l->ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(l->ep, l->space, &f), 0);
	l->d = (struct viommu_dma){ .ep = l->ep,
				    .len = 8,
				    .prot = VIOMMU_READ,
				    .iov = &l->iov,
				    .max_iov = 1 };
	assert_int_equal(viommu_dma_map(&l->d), 0);
	viommu_task_init(&l->task, late_begin, l);
	vs_deadlines_add(x->loop, &l->node, l->vi);
	return l;
}

static void late_free(struct late *l)
{
	struct viommu_fence f;

	viommu_dma_unmap(&l->d, 0);
	assert_true(viommu_fence_done(&l->f));
	vs_deadlines_remove(l->x->loop, &l->node);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(l->ep, &f);
	viommu_space_destroy(l->space, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(&f, -1), 0);
	viommu_destroy(l->vi);
	free(l);
}

static void deadlines_pass(void **state)
{
	struct fix *x = *state;
	struct late *l = late_make(x);

	l->wait_on = 2;
	viommu_loop_post(x->loop, &l->task);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(l->expired, 3);
	late_free(l);
}

/* Of several instances, and of one that is there twice. */
static void deadlines_of_several(void **state)
{
	struct fix *x = *state;
	struct late *l = late_make(x), *idle = late_make(x);
	struct vs_deadlines again;

	vs_deadlines_add(x->loop, &again, l->vi);
	vs_deadlines_remove(x->loop, &l->node);
	late_begin(idle);
	viommu_dma_unmap(&idle->d, 0);
	viommu_loop_post(x->loop, &l->task);
	assert_int_equal(viommu_loop_run(x->loop), 0);
	assert_int_equal(l->expired, 1);
	assert_int_equal(idle->expired, 0);
	vs_deadlines_remove(x->loop, &again);
	assert_int_equal(viommu_dma_map(&idle->d), -EFAULT);
	viommu_fence_init(&idle->f);
	assert_int_equal(
		viommu_endpoint_attach(idle->ep, idle->space, &idle->f), 0);
	viommu_fence_commit(&idle->f, NULL, NULL);
	assert_int_equal(viommu_dma_map(&idle->d), 0);
	late_free(l);
	late_free(idle);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(posted_twice_runs_once),
		TEST(cancelled_task_does_not_run),
		TEST(posts_from_threads_are_not_lost),
		TEST(reposting_task_starves_nobody),
		TEST(stopped_before_it_runs),
		TEST(stops_after_the_callback),
		TEST(stops_from_a_signal),
		TEST(removed_in_the_same_batch),
		TEST(watched_for_something_else),
		TEST(bad_fds),
		TEST(timers_in_order_and_not_early),
		TEST(stopped_timers_do_not_run),
		TEST(timer_started_anew),
		TEST(timer_is_not_lost_to_a_nested_wait),
		TEST(callback_waits_for_a_timer),
		cmocka_unit_test_setup_teardown(deadlines_pass, setup,
						teardown),
		cmocka_unit_test_setup_teardown(deadlines_of_several, setup,
						teardown),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
