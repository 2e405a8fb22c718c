/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The law under load: race [OPTION...] SUBJECT...|all
 *
 *   pages    unmap, fence, poison: nobody reads it, nobody writes it
 *   tables   unmap so that tables leave one space and enter another: an access
 *            to the first must never see the second's memory
 *   spaces   attach elsewhere, destroy the space that was left
 *   memory   add and remove a file: its mapping is gone when the fence is done
 *   auto     pages, with barriers that the seats choose and choose again
 *   maps     hundreds of live maps a thread, in pins and in the index, let go
 *            of by other threads
 *   revoke   maps that nobody lets go of unless asked: asked once, not after
 *            unmap has returned; let go within, later, elsewhere; mapped again
 *   bursts   of several endpoints, nested, with all of that beside them
 *   attach   attach elsewhere: old or new, never a fault, never a mix
 *   restart  likewise, with done callbacks that map on whichever thread
 *   remap    one page, many, huge ones: old or new, never a fault, never a mix
 *   giveup   deadlines on a clock of the test's: wait on, give up, recover;
 *            what was not let go of is not taken (L3)
 *   notify   recorders and devices that go by them: each picture is what its
 *            endpoint sees; what was taken is in none when its fence is done
 *   move     memory moves, also to devices and back: no write is lost, nothing
 *            is read or written where it was
 *   recycle  pages given up out of the middle of memory, and others come
 *   linear   all threads write entries of a LINEAR space, their own and the
 *            same: nothing stale, nothing lost, also by a recorder that comes
 *   hcall    vCPUs put TCEs of their own and the same, windows come and go:
 *            a page is poisoned when the call that took it is over
 *   foreign  guests map each other's pages in batches, owners give pages up,
 *            guests are destroyed: no page is seen that was given up, no
 *            flush is over early, no reference is left
 *
 * Options: --barrier fenced|asymmetric|auto, --seconds S for each subject,
 * --threads N workers, --patience S after which a fence was forgotten,
 * --operations N: all of it again, with each barrier, until there were N.
 *
 * The checks need no sanitizer (race.h); under one they find more.
 *
 * Mutants.  The library with one step left out (base/annot.h) must fail here,
 * or this program proves nothing: --mutant N, where it was built with
 * RACE_MUTANTS.  meson.build says which subject catches which.  Two are left to
 * tests/model, which goes through interleavings one by one:
 *
 *   NO_MEMBARRIER  the window is as long as a store waits in its processor,
 *                  and pauses in it close it: pages, asymmetric, without
 *                  pauses, met it in some runs of five seconds, not in most
 *   NO_HEIRS       a scan has to pass a pin before it is inherited and come to
 *                  the one it was inherited from after that is gone: not met
 *
 * Exit status 0: the law held; 1: it was broken (said on standard error); by
 * signal: likewise; 2: the test itself could not run.
 */
#include "race.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum {
	ROUNDS_LEAST = 5, /* a race nobody ran in proves nothing */
	TURNS = 64,	  /* of a worker, before it yields */
};

struct viommu *vi;
unsigned nworkers = 3;
uint64_t patience = 20 * NS;
__thread struct worker *me;

static struct worker workers[MAX_WORKERS + 1];
static const struct subject *subject;
static atomic_bool stop;

#ifdef RACE_MUTANTS
#include "mutant.h"
int vi_mutant;
#endif

static const struct subject *const subjects[] = {
	&subject_pages,	  &subject_tables,  &subject_spaces, &subject_memory,
	&subject_auto,	  &subject_maps,    &subject_revoke, &subject_bursts,
	&subject_attach,  &subject_restart, &subject_remap,  &subject_giveup,
	&subject_foreign, &subject_notify,  &subject_linear, &subject_hcall,
	&subject_move,	  &subject_recycle,
};

enum {
	NSUBJECTS = sizeof(subjects) / sizeof(*subjects)
};

enum {
	NBARRIERS = 3
};

static const char *const barriers[NBARRIERS] = {
	[VIOMMU_BARRIER_AUTO] = "auto",
	[VIOMMU_BARRIER_FENCED] = "fenced",
	[VIOMMU_BARRIER_ASYMMETRIC] = "asymmetric",
};

void broken(const char *what)
{
	fprintf(stderr, "%s: the law is broken: %s\n", subject->name, what);
	_exit(1);
}

void must(int rc, const char *what)
{
	if (!rc)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(-rc));
	_exit(2);
}

uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

unsigned dice(unsigned n)
{
	me->seed = me->seed * 1664525 + 1013904223;
	return (me->seed >> 8) % n;
}

/* ---- the world -------------------------------------------------------- */

static void world_make(uint32_t barrier)
{
	struct viommu_config c = { .size = sizeof(c),
				   .barrier = barrier,
				   .max_threads = MAX_WORKERS + 1,
				   .fence_timeout_ns = UINT64_MAX };
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = PAGE,
				   .len = (UINT64_C(1) << 47) - 2 * PAGE,
				   .host = (void *)(uintptr_t)PAGE,
				   .prot = RW };

	if (subject->config)
		subject->config(&c);
	must(viommu_create(&c, &vi), "create");
	must(viommu_memory_add(viommu_memory_of(vi), &r), "memory");
}

void dwell(unsigned most)
{
	for (unsigned i = dice(most + 1); i; i--)
		atomic_signal_fence(memory_order_seq_cst);
}

struct viommu_space *space_make(uint64_t page_sizes, uint32_t policy)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .policy = policy,
					 .page_sizes = page_sizes };
	struct viommu_space *s;

	must(viommu_space_create(vi, &c, &s), "space");
	return s;
}

void space_drop(struct viommu_space *s)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_space_destroy(s, &f);
	fence_commit(&f, NULL, NULL);
	fence_wait(&f);
}

struct viommu_endpoint *endpoint_make(uint32_t id, struct viommu_space *s)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = id,
					    .pasid = VIOMMU_NO_PASID };
	struct viommu_endpoint *ep;
	struct viommu_fence f;

	must(viommu_endpoint_create(vi, &c, &ep), "endpoint");
	viommu_fence_init(&f);
	attach(ep, s, &f);
	return ep; /* it left nothing: the fence is empty */
}

void endpoint_drop(struct viommu_endpoint *ep)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep, &f);
	fence_commit(&f, NULL, NULL);
	fence_wait(&f);
}

void map_at(struct viommu_space *s, uint64_t iova, const void *host,
	    uint64_t len)
{
	struct viommu_mapping m = { .start = iova,
				    .last = iova + (len - 1),
				    .gpa = (uintptr_t)host,
				    .prot = RW };

	must(viommu_space_map(s, &m), "map");
	me->did.mapped++;
}

void unmap_at(struct viommu_space *s, uint64_t iova, uint64_t len,
	      struct viommu_fence *f)
{
	int64_t rc = viommu_space_unmap(s, iova, iova + (len - 1), f);

	if (rc < 0 || (rc && (uint64_t)rc != len))
		broken("unmap failed");
	me->did.unmapped++;
}

void attach(struct viommu_endpoint *ep, struct viommu_space *s,
	    struct viommu_fence *f)
{
	must(viommu_endpoint_attach(ep, s, f), "attach");
	me->did.attaches++;
}

void fence_commit(struct viommu_fence *f, viommu_fence_fn *done, void *arg)
{
	me->did.fences++;
	viommu_fence_commit(f, done, arg);
}

void fence_wait(struct viommu_fence *f)
{
	if (viommu_fence_wait(f, (int64_t)patience))
		broken("a fence was not done in time");
}

/* ---- the run ---------------------------------------------------------- */

static void *worker_thread(void *arg)
{
	me = arg;
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		subject->work();
		/* there may be fewer processors than threads */
		if (!(++me->turns % TURNS))
			sched_yield();
	}
	if (subject->drain)
		subject->drain();
	return NULL;
}

static void tally_add(struct tally *to, const struct tally *t)
{
	to->accesses += t->accesses;
	to->refused += t->refused;
	to->maps += t->maps;
	to->unmaps += t->unmaps;
	to->mapped += t->mapped;
	to->unmapped += t->unmapped;
	to->attaches += t->attaches;
	to->fences += t->fences;
	to->bursts += t->bursts;
}

static uint64_t operations(const struct tally *t)
{
	return t->accesses + t->maps + t->unmaps + t->mapped + t->unmapped +
	       t->attaches + t->fences;
}

/* What the library counted is what was done. */
static void must_agree(const struct tally *t)
{
	struct viommu_stats s;

	viommu_read_stats(vi, &s);
	if (s.fences_pending)
		broken("a fence still pends, and nobody is in its way");
	if (s.accesses != t->accesses - t->refused || s.maps != t->maps)
		broken("the library counted other than was done");
}

static uint64_t run(uint32_t barrier, double seconds)
{
	uint64_t until = now() + (uint64_t)(seconds * (double)NS), n;
	struct tally t = { 0 };

	memset(workers, 0, sizeof(workers));
	for (unsigned i = 0; i <= nworkers; i++) {
		workers[i].n = i;
		workers[i].seed = i * 7919 + (unsigned)until;
	}
	me = &workers[nworkers];
	atomic_store(&stop, false);
	world_make(barrier);
	subject->open();
	for (unsigned i = 0; i < nworkers; i++)
		pthread_create(&workers[i].thread, NULL, worker_thread,
			       &workers[i]);
	for (n = 0; now() < until; n++)
		subject->step();
	atomic_store(&stop, true);
	for (unsigned i = 0; i < nworkers; i++)
		pthread_join(workers[i].thread, NULL);
	subject->close();
	shelf_clear();
	for (unsigned i = 0; i <= nworkers; i++)
		tally_add(&t, &workers[i].did);
	must_agree(&t);
	viommu_destroy(vi);
	printf("%-8s %-10s %8" PRIu64 " rounds, %" PRIu64 " accesses (%" PRIu64
	       " refused), %" PRIu64 " maps, %" PRIu64 " fences: %" PRIu64
	       " operations, 0 stale\n",
	       subject->name, subject->own_barrier ? "auto" : barriers[barrier],
	       n, t.accesses, t.refused, t.maps, t.fences, operations(&t));
	fflush(stdout);
	if (n < ROUNDS_LEAST || t.accesses + t.maps == t.refused) {
		fprintf(stderr, "nothing happened\n");
		_exit(2);
	}
	return operations(&t);
}

/* ---- the command line -------------------------------------------------- */

struct options {
	uint32_t barrier;
	double seconds;
	uint64_t operations; /* 0: each subject once */
	bool chosen[NSUBJECTS];
};

static _Noreturn void usage(void)
{
	fprintf(stderr, "usage: race [--barrier fenced|asymmetric|auto] "
			"[--seconds S] [--threads N] [--patience S]\n"
			"            [--operations N] SUBJECT...|all\n");
	exit(2);
}

static uint32_t barrier_named(const char *name)
{
	for (uint32_t i = 0; i < NBARRIERS; i++)
		if (!strcmp(name, barriers[i]))
			return i;
	usage();
}

static void subject_choose(struct options *o, const char *name)
{
	bool found = false;

	for (int i = 0; i < NSUBJECTS; i++)
		if (!strcmp(name, "all") || !strcmp(name, subjects[i]->name))
			found = o->chosen[i] = true;
	if (!found)
		usage();
}

static void option(struct options *o, int which)
{
	switch (which) {
	case 'b':
		o->barrier = barrier_named(optarg);
		return;
	case 's':
		o->seconds = atof(optarg);
		return;
	case 't':
		nworkers = (unsigned)atoi(optarg);
		if (!nworkers || nworkers > MAX_WORKERS)
			usage();
		return;
	case 'p':
		patience = (uint64_t)(atof(optarg) * (double)NS);
		return;
	case 'o':
		o->operations = strtoull(optarg, NULL, 10);
		return;
#ifdef RACE_MUTANTS
	case 'm':
		vi_mutant = atoi(optarg);
		return;
#endif
	default:
		usage();
	}
}

static void options_parse(struct options *o, int argc, char *argv[])
{
	static const struct option names[] = {
		{ "barrier", required_argument, NULL, 'b' },
		{ "seconds", required_argument, NULL, 's' },
		{ "threads", required_argument, NULL, 't' },
		{ "patience", required_argument, NULL, 'p' },
		{ "operations", required_argument, NULL, 'o' },
		{ "mutant", required_argument, NULL, 'm' },
		{ NULL, 0, NULL, 0 },
	};
	int which;

	while ((which = getopt_long(argc, argv, "", names, NULL)) != -1)
		option(o, which);
	if (optind == argc)
		usage();
	for (; optind < argc; optind++)
		subject_choose(o, argv[optind]);
}

static uint64_t run_chosen(const struct options *o, uint32_t barrier)
{
	uint64_t n = 0;

	for (int i = 0; i < NSUBJECTS; i++) {
		if (!o->chosen[i])
			continue;
		subject = subjects[i];
		n += run(barrier, o->seconds);
	}
	return n;
}

int main(int argc, char *argv[])
{
	struct options o = { .barrier = VIOMMU_BARRIER_FENCED, .seconds = 1 };
	uint64_t n = 0, since = now();

	options_parse(&o, argc, argv);
	if (!o.operations)
		n = run_chosen(&o, o.barrier);
	for (uint32_t i = 0;
	     o.operations && (i < NBARRIERS || n < o.operations); i++)
		n += run_chosen(&o, i % NBARRIERS);
	printf("%" PRIu64 " operations, 0 stale, in %.0f s\n", n,
	       (double)(now() - since) / (double)NS);
	return 0;
}
