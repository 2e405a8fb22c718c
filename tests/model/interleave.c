/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All interleavings of the pin and fence protocol, in the real code.
 *
 *   interleave [--part K N]           every scenario, or every Nth, in each of
 *                                     its modes
 *   interleave SCENARIO [MODE [BOUND]]
 *   interleave --mutants              each mutant must be caught
 *   interleave --replay SCENARIO MODE SCHEDULE [MUTANT]
 *
 * A mutant is the library with a step left out (base/annot.h): in this build a
 * variable says which.  Each scenario runs in a process of its own, which ends
 * where the law is broken.  Exit status 0: the law held, or every mutant was
 * caught.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mutant.h"
#include "scenarios.h"
#include "stage.h"
#include "steps.h"

#include "base/annot.h"

enum {
	/* All interleavings, if there are no more than this, which is not
	 * tried where there are known to be; else those with so many
	 * preemptions as the scenario says. */
	ALL_LIMIT = 10000,
	LIMIT = 1000000, /* schedules: more is a failure */
};

int vi_mutant;
static unsigned bound;		 /* in place of the scenario's */
static unsigned long *schedules; /* in all processes together */

static const struct mode {
	unsigned bit;
	const char *name;
	enum viommu_barrier barrier;
	bool membarrier;
} modes[] = {
	{ FENCED, "fenced", VIOMMU_BARRIER_FENCED, true },
	{ ASYMMETRIC, "asymmetric", VIOMMU_BARRIER_ASYMMETRIC, true },
	{ BARE, "bare", VIOMMU_BARRIER_FENCED, false },
	{ AUTO, "auto", VIOMMU_BARRIER_AUTO, true },
	{ 0, NULL, 0, false },
};

/* The scenario that has to catch it. */
static const struct mutant {
	int id;
	const char *name, *scenario, *mode;
	unsigned bound; /* preemptions that it takes; 0: the scenario's */
} mutants[] = {
	{ VI_MUTANT_NO_WAIT, "no wait", "access", "fenced", 0 },
	{ VI_MUTANT_LOOK_FIRST, "look before publish", "access", "fenced", 0 },
	{ VI_MUTANT_NO_GRACE, "no grace", "grace", "fenced", 0 },
	{ VI_MUTANT_LOST_WAKEUP, "lost wake-up", "access", "fenced", 0 },
	{ VI_MUTANT_NO_RELOOK, "no re-look", "relook", "fenced", 0 },
	{ VI_MUTANT_REVOKE_GONE, "asked when gone", "revoke", "fenced", 0 },
	{ VI_MUTANT_NO_SETTLE, "no settle after map", "relook", "fenced", 0 },
	{ VI_MUTANT_EARLY_DROP, "done before the last drop", "two-pins",
	  "fenced", 0 },
	{ VI_MUTANT_EARLY_DEADLINE, "deadline early", "deadline", "fenced", 0 },
	{ VI_MUTANT_NO_MEMBARRIER, "no membarrier", "access", "asymmetric", 0 },
	{ VI_MUTANT_SETTLE_INSIDE, "settle inside", "restart", "fenced", 3 },
	{ VI_MUTANT_NO_HEIRS, "heirs ignored", "destroy", "fenced", 0 },
	{ VI_MUTANT_HOLD_PINS_FIRST, "pins before holds", "hold-destroy",
	  "fenced", 0 },
	{ VI_MUTANT_HOLD_NO_SETTLE, "a release wakes nobody", "hold-commit",
	  "fenced", 0 },
	{ VI_MUTANT_HOLD_FENCE_ONLY, "a hold is of one fence", "hold-commit",
	  "fenced", 0 },
	{ VI_MUTANT_HOLD_UNWATCH_EARLY, "unwatched, then told", "hold-remove",
	  "fenced", 0 },
	{ VI_MUTANT_LINEAR_GENERATION_FIRST, "generation, then entry", "linear",
	  "fenced", 0 },
	{ VI_MUTANT_LINEAR_UNSEEN, "a writer goes unseen", "linear-watch",
	  "fenced", 0 },
	{ VI_MUTANT_MOVE_EARLY_PUBLISH, "published before copied", "move-store",
	  "fenced", 0 },
	{ VI_MUTANT_MOVE_NO_GENERATION, "moves, and nobody knows", "move-store",
	  "fenced", 0 },
	{ VI_MUTANT_MOVE_NO_REST, "left too early", "move-rest", "fenced", 0 },
	{ VI_MUTANT_MOVE_NO_DRAIN, "copied while written", "move-memory",
	  "fenced", 0 },
	{ VI_MUTANT_MOVE_ONE_STEP, "published in one step", "move-remember",
	  "fenced", 0 },
	{ VI_MUTANT_MOVE_NO_PAUSE, "a burst does not pause", "move-burst",
	  "fenced", 0 },
	{ VI_MUTANT_GIVE_UP_TELL_FIRST, "told before it goes", "recycle-again",
	  "fenced", 0 },
	{ 0, NULL, NULL, NULL, 0 },
};

/* Of all lists. */
static const struct scenario *scenario_at(unsigned i)
{
	const struct scenario *const lists[] = { scenarios_dma,
						 scenarios_late,
						 scenarios_hold,
						 scenarios_linear,
						 scenarios_move,
						 scenarios_recycle,
						 NULL };

	for (unsigned l = 0; lists[l]; l++)
		for (const struct scenario *s = lists[l]; s->name; s++)
			if (!i--)
				return s;
	return NULL;
}

/* One with this mode: some are there twice, with other bounds. */
static const struct scenario *scenario_of(const char *name, unsigned mode)
{
	const struct scenario *s;

	for (unsigned i = 0; (s = scenario_at(i)); i++)
		if (!strcmp(s->name, name) && (s->modes & mode))
			return s;
	fprintf(stderr, "no scenario %s\n", name);
	exit(2);
}

static const struct mode *mode_of(const char *name)
{
	for (const struct mode *m = modes; m->name; m++)
		if (!strcmp(m->name, name))
			return m;
	fprintf(stderr, "no mode %s\n", name);
	exit(2);
}

static void crashed(int sig)
{
	sched_fail("it crashed, by signal %d", sig);
}

static void mode_set(const struct mode *m)
{
	stage_barrier = m->barrier;
	steps_membarrier = m->membarrier;
	signal(SIGSEGV, crashed);
	signal(SIGABRT, crashed);
}

/* ---- exploring ---------------------------------------------------------- */

static int explore_here(const struct scenario *s, const struct mode *m)
{
	struct sched_job job = s->job;
	struct sched_result r = { .complete = false };

	mode_set(m);
	job.bound = bound ? bound : SCHED_FOREVER;
	job.limit = bound ? ULONG_MAX : ALL_LIMIT;
	if (bound || !(s->modes & MANY))
		sched_explore(&job, &r);
	if (!r.complete) {
		*schedules += r.schedules;
		job.bound = s->job.bound;
		job.limit = LIMIT;
		sched_explore(&job, &r);
	}
	*schedules += r.schedules;
	printf("%7lu schedules, %7lu states, up to %3u steps, ", r.schedules,
	       r.states, r.steps);
	if (job.bound < SCHED_FOREVER)
		printf("%u preemptions", job.bound);
	else
		printf("all");
	printf("%s\n", r.complete ? "" : ": NOT COMPLETE");
	fflush(stdout);
	return r.complete ? 0 : 4;
}

/* In a process of its own.  Its exit status, or 128 + signal. */
static int explore(const struct scenario *s, const struct mode *m, int mutant)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return 2;
	if (!pid) {
		vi_mutant = mutant;
		_exit(explore_here(s, m));
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 2;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static double seconds(void)
{
	struct timespec ts;

	timespec_get(&ts, TIME_UTC);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_CHILDREN, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int run(const struct scenario *s, const char *only)
{
	int bad = 0;

	for (const struct mode *m = modes; m->name; m++) {
		double t;

		if (!(s->modes & m->bit) || (only && strcmp(only, m->name)))
			continue;
		printf("%-15s %-10s ", s->name, m->name);
		t = cpu_seconds();
		bad |= explore(s, m, 0);
		t = cpu_seconds() - t;
		if (t > 1)
			printf("%26s took %.1f s of the processor\n", "", t);
	}
	return bad;
}

static int run_part(unsigned k, unsigned n)
{
	const struct scenario *s;
	int bad = 0;

	for (unsigned i = 0; (s = scenario_at(i)); i++)
		if (i % n == k)
			bad |= run(s, NULL);
	return bad;
}

static int run_named(const char *name, const char *mode)
{
	const struct scenario *s;
	int bad = 0;

	for (unsigned i = 0; (s = scenario_at(i)); i++)
		if (!strcmp(s->name, name))
			bad |= run(s, mode);
	return bad;
}

static int run_mutants(void)
{
	int bad = 0;

	for (const struct mutant *m = mutants; m->name; m++) {
		int rc;

		printf("%-26s %-10s %-10s ", m->name, m->scenario, m->mode);
		bound = m->bound;
		rc = explore(scenario_of(m->scenario, mode_of(m->mode)->bit),
			     mode_of(m->mode), m->id);
		if (rc == 1)
			continue;
		printf("the mutant %s survived (%d)\n", m->name, rc);
		bad = 1;
	}
	return bad;
}

int main(int argc, char *argv[])
{
	double t = seconds();
	int bad = 0;

	schedules = mmap(NULL, sizeof(*schedules), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (schedules == MAP_FAILED)
		return 2;
	if (argc >= 5 && !strcmp(argv[1], "--replay")) {
		vi_mutant = argc > 5 ? atoi(argv[5]) : 0;
		mode_set(mode_of(argv[3]));
		sched_replay(&scenario_of(argv[2], mode_of(argv[3])->bit)->job,
			     argv[4]);
		printf("the law held\n");
		return 0;
	}
	if (argc > 1 && !strcmp(argv[1], "--mutants"))
		bad = run_mutants();
	else if (argc == 4 && !strcmp(argv[1], "--part"))
		bad = run_part((unsigned)atoi(argv[2]),
			       (unsigned)atoi(argv[3]));
	else if (argc > 1) {
		bound = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
		bad = run_named(argv[1], argc > 2 ? argv[2] : NULL);
	} else
		bad = run_part(0, 1);
	printf("%lu schedules in %.1f s, %.1f s of the processor\n", *schedules,
	       seconds() - t, cpu_seconds());
	return bad;
}
