/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the core costs, beside floors measured in the same run.
 *
 * Each figure is the median of some rounds, in which floor and operation take
 * turns.  Aims are for a core where an L1 load takes 1.4 ns and an uncontended
 * atomic 5 ns; they are scaled by what these take here.  Times of operations
 * that wait for nobody are the thread's own: others may run beside.
 *
 * Nothing is asserted about time: a miss is printed, not returned.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench.h"

enum {
	ROUNDS = 15,
	ROUNDS_QUICK = 3,
	QUICK = 16, /* times less of everything */
};

static struct options {
	bool json, quick, list;
	const char *only;
	const char *count; /* a row's number */
	unsigned n;
} opt;

/* ---- helpers ---------------------------------------------------------- */

void fail(int rc)
{
	fprintf(stderr, "viommu-bench: %s\n", strerror(-rc));
	exit(1);
}

static double clock_read(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

double now(void)
{
	return clock_read(CLOCK_MONOTONIC);
}

double cpu_now(void)
{
	return clock_read(CLOCK_THREAD_CPUTIME_ID);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double percentile(double *v, unsigned n, unsigned p)
{
	qsort(v, n, sizeof(*v), by_value);
	return v[(size_t)n * p / 100];
}

double median(double *v, unsigned n)
{
	return percentile(v, n, 50);
}

/* ---- one row ---------------------------------------------------------- */

struct figures {
	double ns, best, floor, aim; /* 0: none */
};

static double aim_of(const struct row *r, const struct floors *f, double floor)
{
	return r->aim.load * f->load / 1.4 + r->aim.atomic * f->atomic / 5 +
	       r->aim.floors * floor + r->aim.bytes;
}

/* Rounds need so many that a batch, or a percentile, makes sense. */
static unsigned round_n(const struct row *r)
{
	unsigned n = opt.quick ? r->n / QUICK : r->n;

	if (r->n >= BATCH && n < BATCH)
		n = BATCH;
	return n ? n : 1;
}

static void row_measure(struct world *w, const struct row *r,
			const struct floors *f, struct figures *out)
{
	unsigned rounds = opt.quick ? ROUNDS_QUICK : ROUNDS, n = round_n(r);
	double op[ROUNDS], low[ROUNDS];

	floor_pages(r->pages);
	peer_start(w, r->peer);
	r->op(w, n); /* warm */
	for (unsigned i = 0; i < rounds; i++) {
		peer_run(r->floor_beside);
		low[i] = r->floor ? r->floor(w, n) : 0;
		peer_run(true);
		op[i] = r->op(w, n);
		peer_run(false);
	}
	peer_stop();
	out->ns = median(op, rounds);
	out->best = op[0];
	out->floor = median(low, rounds);
	out->aim = aim_of(r, f, out->floor);
}

/* ---- printing --------------------------------------------------------- */

static const char *barrier_name(const struct row *r)
{
	static const char *const names[] = { "auto", "fenced", "asym" };

	return names[r->barrier];
}

static const char *peer_name(const struct row *r)
{
	static const char *const names[] = { "-",      "idle",	 "reader",
					     "bursts", "mapper", "taker",
					     "memory", "writer", "putter",
					     "vcpu" };

	return names[r->peer];
}

static const char *verdict(const struct figures *x)
{
	if (!(x->aim > 0))
		return "";
	return x->ns <= x->aim ? "ok" : "miss";
}

static void print_floors(const struct floors *f)
{
	const struct {
		const char *name;
		double ns;
	} v[] = {
		{ "L1 load, latency", f->load },
		{ "L1 load, throughput", f->load_tput },
		{ "uncontended atomic", f->atomic },
		{ "call into the library", f->call },
		{ "membarrier, one thread", f->membarrier },
		{ "membarrier, a sleeping one beside", f->membarrier_idle },
		{ "membarrier, a running one beside", f->membarrier_busy },
	};

	printf(opt.json ? "{\"floors\": [" : "%-36s %8s\n", "floor", "ns");
	for (size_t i = 0; i < sizeof(v) / sizeof(*v); i++)
		if (opt.json)
			printf("%s\n{\"name\": \"%s\", \"ns\": %.2f}",
			       i ? "," : "", v[i].name, v[i].ns);
		else
			printf("%-36s %8.2f\n", v[i].name, v[i].ns);
	if (opt.json)
		printf("],\n\"rows\": [");
	else
		printf("\n%-36s %-6s %7s %6s %-6s %8s %8s %8s %-4s  %-10s %8s "
		       "%6s\n",
		       "operation", "kind", "pages", "maps", "beside", "ns",
		       "best", "aim", "", "floor", "ns", "ratio");
}

static void print_row(const struct row *r, const struct figures *x, bool first)
{
	const char *floor = r->floor ? r->floor_name : "-";
	double ratio = x->floor > 0 ? x->ns / x->floor : 0;

	if (opt.json)
		printf("%s\n{\"name\": \"%s\", \"barrier\": \"%s\", "
		       "\"pages\": %u, \"maps\": %u, \"beside\": \"%s\", "
		       "\"ns\": %.2f, \"best\": %.2f, \"aim\": %.2f, "
		       "\"verdict\": \"%s\", \"floor\": \"%s\", "
		       "\"floor_ns\": %.2f, \"ratio\": %.2f}",
		       first ? "" : ",", r->name, barrier_name(r), r->pages,
		       r->live, peer_name(r), x->ns, x->best, x->aim,
		       verdict(x), floor, x->floor, ratio);
	else
		printf("%-36s %-6s %7u %6u %-6s %8.1f %8.1f %8.1f %-4s  %-10s "
		       "%8.1f %6.2f\n",
		       r->name, barrier_name(r), r->pages, r->live,
		       peer_name(r), x->ns, x->best, x->aim, verdict(x), floor,
		       x->floor, ratio);
	fflush(stdout);
}

/* ---- runs ------------------------------------------------------------- */

static bool wanted(const struct row *r)
{
	/* a hundred thousand mappings are not made in passing */
	if (opt.quick && (r->pages > K64 || r->arg >= 100000))
		return false;
	return !opt.only || strstr(r->name, opt.only);
}

static bool same_world(const struct world *w, const struct row *r)
{
	return w->vi && w->row->barrier == r->barrier &&
	       w->row->pages == r->pages && w->row->live == r->live;
}

static void run_all(void)
{
	struct world w = { 0 };
	struct floors f;
	bool first = true;

	floors_measure(&f, opt.quick ? ROUNDS_QUICK : ROUNDS);
	print_floors(&f);
	for (unsigned i = 0; i < nrows; i++) {
		struct figures x;

		if (!wanted(&rows[i]))
			continue;
		if (!same_world(&w, &rows[i])) {
			if (w.vi)
				world_free(&w);
			memset(&w, 0, sizeof(w));
			world_make(&w, &rows[i]);
		}
		w.row = &rows[i];
		row_measure(&w, &rows[i], &f, &x);
		print_row(&rows[i], &x, first);
		first = false;
	}
	if (w.vi)
		world_free(&w);
	if (opt.json)
		printf("]}\n");
}

/* For those who count instructions: one row, a given number of times. */
static int run_count(void)
{
	unsigned long i = strtoul(opt.count, NULL, 10);
	struct world w = { 0 };

	if (i >= nrows)
		return 2;
	world_make(&w, &rows[i]);
	peer_start(&w, rows[i].peer);
	rows[i].op(&w, opt.n);
	peer_stop();
	world_free(&w);
	return 0;
}

/* Rows whose instructions can be counted. */
static void run_list(void)
{
	for (unsigned i = 0; i < nrows; i++)
		if (rows[i].calls && rows[i].peer == PEER_NONE)
			printf("%u\t%s\t%s\t%u\t%u\t%s\n", i, rows[i].name,
			       barrier_name(&rows[i]), rows[i].pages,
			       rows[i].live, rows[i].calls);
}

static const char usage[] =
	"usage: viommu-bench [--json] [--quick] [--only TEXT]\n"
	"       viommu-bench --list\n"
	"       viommu-bench --count ROW N\n"
	"\n"
	"Measures the core: nanoseconds an operation, beside aims and floors.\n"
	"\n"
	"  --json       print JSON\n"
	"  --quick      a smoke run: figures are worth little\n"
	"  --only TEXT  rows whose name has TEXT in it\n"
	"  --list       rows whose instructions can be counted: number, name,\n"
	"               barrier, pages, maps, functions; separated by tabs\n"
	"  --count ROW N  run the operation of a row N times, measure nothing\n"
	"  --help       this\n";

static int args_parse(int argc, char *argv[])
{
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json")) {
			opt.json = true;
		} else if (!strcmp(argv[i], "--quick")) {
			opt.quick = true;
		} else if (!strcmp(argv[i], "--list")) {
			opt.list = true;
		} else if (!strcmp(argv[i], "--only") && i + 1 < argc) {
			opt.only = argv[++i];
		} else if (!strcmp(argv[i], "--count") && i + 2 < argc) {
			opt.count = argv[++i];
			opt.n = (unsigned)strtoul(argv[++i], NULL, 10);
		} else if (!strcmp(argv[i], "--help")) {
			fputs(usage, stdout);
			exit(0);
		} else {
			return -EINVAL;
		}
	}
	return opt.count && !opt.n ? -EINVAL : 0;
}

int main(int argc, char *argv[])
{
	int rc = 0;

	if (args_parse(argc, argv)) {
		fputs(usage, stderr);
		return 2;
	}
	floors_make();
	if (opt.list)
		run_list();
	else if (opt.count)
		rc = run_count();
	else
		run_all();
	return rc;
}
