/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See schedule.h: who goes on, and one schedule after the other.
 */
#include <link.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "explore.h"
#include "schedule_impl.h"

enum {
	STEPS = 20000, /* in one schedule: more is a livelock */
};

struct sched_thread sched_threads[SCHED_THREADS];
unsigned sched_nthreads;
uint64_t sched_now;
bool sched_tracing;
__thread int sched_me = -1;

static const struct sched_job *job;
static unsigned long schedules;
static bool live; /* the threads run under the scheduler */
static bool warming;
static unsigned preemptions, steps;
static _Atomic(int) main_go;

int sched_self(void)
{
	return live ? sched_me : -1;
}

/* ---- failing ------------------------------------------------------------ */

_Noreturn void sched_fail(const char *fmt, ...)
{
	static char schedule[1 << 16];
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	explore_print(schedule, sizeof(schedule));
	printf("\n  after %lu schedules, at step %u, %u preemptions, by %s\n",
	       schedules, steps, preemptions, schedule);
	fflush(stdout);
	_exit(1);
}

void sched_tell(const char *what, const volatile void *p, uint64_t val)
{
	const struct sched_thread *t = &sched_threads[sched_me];

	if (sched_tracing)
		printf("%*sT%d.%u %s %p %#lx @%#lx\n", sched_me * 4, "",
		       sched_me, t->ops, what, (const void *)(uintptr_t)p,
		       (unsigned long)val, (unsigned long)t->pc);
}

/* ---- handing over ------------------------------------------------------- */

static void futex(_Atomic(int) *word, int op, int val)
{
	syscall(SYS_futex, word, op | FUTEX_PRIVATE_FLAG, val, NULL, NULL, 0);
}

static void hand_over(_Atomic(int) *to)
{
	atomic_store(to, 1);
	futex(to, FUTEX_WAKE, 1);
}

static void stand_by(_Atomic(int) *word)
{
	while (!atomic_load(word))
		futex(word, FUTEX_WAIT, 0);
	atomic_store(word, 0);
}

/* ---- who goes on -------------------------------------------------------- */

static bool enabled(int i)
{
	const struct sched_thread *t = &sched_threads[i];

	switch (t->doing) {
	case SCHED_READY:
		return true;
	case SCHED_LOCKING:
		return !sched_place(t->on)->owner;
	case SCHED_AWAITING:
		return *(const uint64_t *)t->on;
	default:
		return false;
	}
}

static int first_to_time_out(void)
{
	int first = -1;

	for (unsigned i = 0; i < sched_nthreads; i++)
		if (sched_threads[i].doing == SCHED_WAITING &&
		    sched_threads[i].until != UINT64_MAX &&
		    (first < 0 ||
		     sched_threads[i].until < sched_threads[first].until))
			first = (int)i;
	return first;
}

static int nobody_can(void)
{
	static const char *const names[] = { "ready", "in a lock",
					     "at a condition", "for a word",
					     "finished" };
	int i = first_to_time_out();

	if (i >= 0) {
		sched_now = sched_now > sched_threads[i].until
				    ? sched_now
				    : sched_threads[i].until;
		sched_threads[i].timed_out = true;
		sched_threads[i].doing = SCHED_LOCKING;
		sched_threads[i].on = sched_threads[i].lock;
		if (enabled(i))
			return i;
	}
	for (unsigned j = 0; j < sched_nthreads; j++)
		if (sched_threads[j].doing != SCHED_FINISHED)
			goto stuck;
	return -1;
stuck:
	for (unsigned j = 0; j < sched_nthreads; j++)
		printf("thread %u %s, at %#lx\n", j,
		       names[sched_threads[j].doing],
		       (unsigned long)sched_threads[j].pc);
	sched_fail("nobody can go on");
}

/* -1: all are finished. */
static int pick(int cur)
{
	struct choice at = { .thread = cur, .buffer = -1 };
	bool goes = cur >= 0 && enabled(cur);
	signed char alt[SCHED_THREADS];
	unsigned left = job->bound - preemptions;
	int next;

	if (goes)
		alt[at.n++] = (signed char)cur;
	for (unsigned i = 0; i < sched_nthreads; i++)
		if ((int)i != cur && enabled((int)i) && (!goes || left))
			alt[at.n++] = (signed char)i;
	if (!at.n)
		return nobody_can();
	if (at.n == 1)
		return alt[0];
	at.op = cur >= 0 ? sched_threads[cur].ops : 0;
	/* who runs makes a difference to what it costs to let another run */
	explore_state(job->bound < SCHED_FOREVER
			      ? sched_mix(sched_history(), (uint64_t)cur)
			      : sched_history(),
		      left);
	next = explore_choose(at, alt);
	preemptions += goes && next != cur;
	return next;
}

static void give_way(void)
{
	int self = sched_me, next = pick(self);

	if (next == self)
		return;
	hand_over(next < 0 ? &main_go : &sched_threads[next].go);
	stand_by(&sched_threads[self].go);
}

void sched_point(void)
{
	if (++steps > STEPS)
		sched_fail("no end of it");
	sched_threads[sched_me].points++;
	give_way();
}

struct sched_thread *sched_begin(const void *pc)
{
	struct sched_thread *t = &sched_threads[sched_me];

	t->ops++;
	t->pc = pc;
	return t;
}

void sched_sleep_as(enum sched_doing doing, void *on)
{
	sched_threads[sched_me].doing = doing;
	sched_threads[sched_me].on = on;
	if (++steps > STEPS)
		sched_fail("no end of it");
	sched_threads[sched_me].points++;
	give_way();
	sched_threads[sched_me].doing = SCHED_READY;
}

/* ---- schedules ---------------------------------------------------------- */

/* This program's variables of the calling thread, as they were at its start:
 * what the code under test remembers there must not outlive a schedule. */
static int tls_renew(struct dl_phdr_info *info, size_t size, void *unused)
{
	(void)size;
	(void)unused;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type != PT_TLS || !info->dlpi_tls_data)
			continue;
		memset(info->dlpi_tls_data, 0, p->p_memsz);
		memcpy(info->dlpi_tls_data,
		       (const char *)info->dlpi_addr + p->p_vaddr, p->p_filesz);
	}
	return 1; /* the first is the program */
}

static void thread_renew(int self)
{
	static unsigned long renewed[SCHED_THREADS + 1];

	if (renewed[self + 1] == schedules)
		return;
	renewed[self + 1] = schedules;
	dl_iterate_phdr(tls_renew, NULL);
	sched_me = self;
}

static void *thread_main(void *arg)
{
	int self = sched_me = (int)(uintptr_t)arg, next;

	for (;;) {
		stand_by(&sched_threads[self].go);
		thread_renew(self);
		if (warming) {
			job->warm[self]();
			hand_over(&main_go);
			continue;
		}
		sched_event_own();
		job->run[self]();
		sched_event_own();
		sched_threads[self].doing = SCHED_FINISHED;
		sched_threads[self].ops++;
		next = pick(self);
		hand_over(next < 0 ? &main_go : &sched_threads[next].go);
	}
	return NULL;
}

static void threads_start(void)
{
	static bool started;
	cpu_set_t one;

	if (started)
		return;
	started = true;
	/* to hand over is cheaper on one processor */
	CPU_ZERO(&one);
	CPU_SET((unsigned)sched_getcpu(), &one);
	(void)sched_setaffinity(0, sizeof(one), &one);
	for (uintptr_t i = 0; i < sched_nthreads; i++)
		if (pthread_create(&sched_threads[i].id, NULL, thread_main,
				   (void *)i))
			abort();
}

static void threads_reset(void)
{
	for (unsigned i = 0; i < SCHED_THREADS; i++) {
		struct sched_thread *t = &sched_threads[i];

		t->doing = SCHED_READY;
		t->ops = t->points = t->nstored = 0;
		t->last = sched_mix(i, 7);
		t->object = NULL;
	}
	preemptions = steps = 0;
	sched_now = 1;
	sched_places_reset();
}

static void schedule_run(void)
{
	int first;

	schedules++;
	threads_reset();
	thread_renew(-1);
	job->setup();
	warming = true;
	for (unsigned i = 0; i < sched_nthreads; i++)
		if (job->warm[i]) {
			hand_over(&sched_threads[i].go);
			stand_by(&main_go);
		}
	warming = false;
	explore_begin();
	live = true;
	first = pick(-1);
	hand_over(&sched_threads[first].go);
	stand_by(&main_go);
	for (unsigned i = 0; i < sched_nthreads; i++)
		sched_drain_all((int)i);
	live = false;
	job->check();
}

void sched_explore(const struct sched_job *j, struct sched_result *out)
{
	unsigned long first;

	job = j;
	sched_nthreads = j->nthreads;
	*out = (struct sched_result){ .complete = true };
	explore_reset();
	threads_start();
	first = schedules;
	do {
		schedule_run();
		out->steps = steps > out->steps ? steps : out->steps;
		if (sched_relearn()) { /* the tree has more branches than we
					  knew */
			explore_reset();
			first = schedules;
		} else if (schedules - first > job->limit) {
			out->complete = false;
			break;
		}
	} while (sched_relearn() || explore_next());
	out->schedules = schedules - first;
	out->states = explore_states();
}

void sched_replay(const struct sched_job *j, const char *schedule)
{
	job = j;
	sched_nthreads = j->nthreads;
	if (!explore_follow(schedule)) {
		fprintf(stderr, "this is no schedule: %s\n", schedule);
		exit(2);
	}
	sched_tracing = true;
	threads_start();
	schedule_run();
}
