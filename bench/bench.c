/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the core costs, beside floors measured in the same run.
 *
 * Only ratios travel between machines, so each row names the floor it is held
 * against: a bare walk of a four-level table, or a bare membarrier(2).  Each
 * figure is the median of ROUNDS rounds; floors and operations take turns, so
 * that a change of clock hits both.  Indices are random, from 64 Ki of them:
 * shorter streams let branch prediction flatter whoever is measured.
 */
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <viommu.h>

enum {
	PAGE = 4096,
	PAGES = 4096, /* mapped; RAM has as many */
	INDICES = 65536,
	ROUNDS = 15,
};

static struct viommu *vi;
static struct viommu_space *space;
static struct viommu_endpoint *ep;
static char *ram;
static uint32_t indices[INDICES];
static volatile uint64_t sink;

static void must(int rc)
{
	if (!rc)
		return;
	fprintf(stderr, "bench: %s\n", strerror(-rc));
	exit(1);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void run_fence(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	must(viommu_fence_wait(f, -1));
}

/* ---- floors ----------------------------------------------------------- */

struct node {
	uint64_t e[512];
};

static struct node *walk_top;

static void walk_map(uint64_t addr, uint64_t leaf)
{
	struct node *n = walk_top;

	for (int shift = 39; shift > 12; shift -= 9) {
		uint64_t *e = &n->e[(addr >> shift) & 511];

		if (!*e)
			*e = (uintptr_t)calloc(1, sizeof(*n));
		n = (struct node *)(uintptr_t)*e;
	}
	n->e[(addr >> 12) & 511] = leaf;
}

/* Four dependent loads, nothing checked but presence. */
static void floor_walk(unsigned n)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t addr = (uint64_t)indices[i % INDICES] * PAGE;
		const struct node *t = walk_top;

		for (int shift = 39; shift > 12; shift -= 9) {
			t = (const struct node *)(uintptr_t)__atomic_load_n(
				&t->e[(addr >> shift) & 511], __ATOMIC_ACQUIRE);
			if (!t)
				abort();
		}
		sum += __atomic_load_n(&t->e[(addr >> 12) & 511],
				       __ATOMIC_ACQUIRE);
	}
	sink = sum;
}

static void floor_membarrier(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

/* ---- operations ------------------------------------------------------- */

static void op_load(unsigned n)
{
	uint64_t val, sum = 0;

	for (unsigned i = 0; i < n; i++) {
		must(viommu_dma_load(ep, (uint64_t)indices[i % INDICES] * PAGE,
				     8, &val));
		sum += val;
	}
	sink = sum;
}

static void op_read(unsigned n)
{
	uint64_t val = 0;

	for (unsigned i = 0; i < n; i++)
		must(viommu_dma_read(ep, (uint64_t)indices[i % INDICES] * PAGE,
				     &val, sizeof(val)));
	sink = val;
}

static void op_map_unmap(unsigned n)
{
	struct iovec iov[1];
	struct viommu_dma d = { .ep = ep,
				.len = PAGE,
				.prot = VIOMMU_READ,
				.iov = iov,
				.max_iov = 1 };

	for (unsigned i = 0; i < n; i++) {
		d.iova = (uint64_t)indices[i % INDICES] * PAGE;
		must(viommu_dma_map(&d));
		viommu_dma_unmap(&d, 0);
	}
	sink = (uintptr_t)iov[0].iov_base;
}

/* Beside the others, in a table of their own. */
#define CHURN (UINT64_C(1) << 32)

static void op_space_map_unmap(unsigned n)
{
	struct viommu_mapping m = { .start = CHURN,
				    .last = CHURN + PAGE - 1,
				    .prot = VIOMMU_READ };
	struct viommu_fence f;

	for (unsigned i = 0; i < n; i++) {
		viommu_fence_init(&f);
		must(viommu_space_map(space, &m));
		if (viommu_space_unmap(space, m.start, m.last, &f) != PAGE)
			abort();
		/* gathered, not committed: another endpoint's time */
	}
}

static void op_space_map_unmap_256(unsigned n)
{
	struct viommu_mapping m = { .start = CHURN,
				    .last = CHURN + 256 * PAGE - 1,
				    .prot = VIOMMU_READ };
	struct viommu_fence f;

	for (unsigned i = 0; i < n; i++) {
		viommu_fence_init(&f);
		must(viommu_space_map(space, &m));
		if (viommu_space_unmap(space, m.start, m.last, &f) !=
		    256 * PAGE)
			abort();
	}
}

static void op_unmap_commit(unsigned n)
{
	struct viommu_fence f;

	for (unsigned i = 0; i < n; i++) {
		viommu_fence_init(&f);
		if (viommu_space_unmap(space, CHURN, CHURN + PAGE - 1, &f))
			abort();
		run_fence(&f);
	}
}

/* ---- measuring -------------------------------------------------------- */

struct row {
	const char *name;
	void (*op)(unsigned n);
	void (*floor)(unsigned n);
	unsigned n;
	unsigned floor_n;
	bool busy; /* another thread does DMA meanwhile */
};

static const struct row rows[] = {
	{ "load, hit", op_load, floor_walk, 200000, 400000, false },
	{ "read 8 bytes, hit", op_read, floor_walk, 200000, 400000, false },
	{ "map + unmap a page for DMA", op_map_unmap, floor_walk, 200000,
	  400000, false },
	{ "space map + unmap 4 KiB", op_space_map_unmap, floor_walk, 200000,
	  400000, false },
	{ "space map + unmap 256 x 4 KiB", op_space_map_unmap_256, floor_walk,
	  5000, 400000, false },
	{ "unmap + commit, nobody in flight", op_unmap_commit, floor_membarrier,
	  100000, 20000, false },
	{ "unmap + commit, a busy device", op_unmap_commit, floor_membarrier,
	  20000, 20000, true },
};

static atomic_bool stop;

static void *busy_thread(void *arg)
{
	while (!atomic_load_explicit(&stop, memory_order_relaxed))
		op_load(64);
	return arg;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof(*v), by_value);
	return v[n / 2];
}

static void measure(const struct row *r, double *ns, double *floor_ns)
{
	double op[ROUNDS], low[ROUNDS], t0, t1, t2;
	pthread_t t;

	atomic_store(&stop, false);
	if (r->busy)
		must(-pthread_create(&t, NULL, busy_thread, NULL));
	r->op(r->n / 4); /* warm */
	for (int i = 0; i < ROUNDS; i++) {
		t0 = now();
		r->floor(r->floor_n);
		t1 = now();
		r->op(r->n);
		t2 = now();
		low[i] = (t1 - t0) / r->floor_n;
		op[i] = (t2 - t1) / r->n;
	}
	atomic_store(&stop, true);
	if (r->busy)
		pthread_join(t, NULL);
	*ns = median(op, ROUNDS);
	*floor_ns = median(low, ROUNDS);
}

static void world_make(enum viommu_barrier barrier)
{
	struct viommu_config cfg = { .size = sizeof(cfg), .barrier = barrier };
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = PAGE };
	struct viommu_endpoint_config ec = { .size = sizeof(ec) };
	struct viommu_region r = { .size = sizeof(r),
				   .len = (uint64_t)PAGES * PAGE,
				   .host = ram,
				   .prot = VIOMMU_READ | VIOMMU_WRITE };
	struct viommu_fence f;

	must(viommu_create(&cfg, &vi));
	must(viommu_memory_add(viommu_memory_of(vi), &r));
	must(viommu_space_create(vi, &sc, &space));
	must(viommu_endpoint_create(vi, &ec, &ep));
	viommu_fence_init(&f);
	must(viommu_endpoint_attach(ep, space, &f));
	run_fence(&f);
	for (uint64_t i = 0; i < PAGES; i++) {
		struct viommu_mapping m = { .start = i * PAGE,
					    .last = i * PAGE + PAGE - 1,
					    .gpa = (i * 7 % PAGES) * PAGE,
					    .prot = VIOMMU_READ };

		must(viommu_space_map(space, &m));
	}
}

static void world_free(void)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep, &f);
	viommu_space_destroy(space, &f);
	run_fence(&f);
	viommu_destroy(vi);
}

static void floors_make(void)
{
	uint32_t x = 1;

	must(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
		     0, 0)
		     ? -1
		     : 0);
	walk_top = calloc(1, sizeof(*walk_top));
	for (uint64_t i = 0; i < PAGES; i++)
		walk_map(i * PAGE, i + 1);
	for (int i = 0; i < INDICES; i++) {
		x = x * 1664525 + 1013904223;
		indices[i] = (x >> 8) % PAGES;
	}
}

static void report(const char *barrier, bool json)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		const struct row *r = &rows[i];
		const char *floor =
			r->floor == floor_walk ? "walk" : "membarrier";
		double ns, floor_ns;

		measure(r, &ns, &floor_ns);
		printf(json ? "{\"op\": \"%s\", \"barrier\": \"%s\", "
			      "\"ns\": %.2f, \"floor\": \"%s\", "
			      "\"floor_ns\": %.2f, \"ratio\": %.2f}\n"
			    : "%-34s %-10s %9.1f  %-10s %8.1f  %7.2f\n",
		       r->name, barrier, ns, floor, floor_ns, ns / floor_ns);
		fflush(stdout);
	}
}

int main(int argc, char *argv[])
{
	bool json = argc > 1 && !strcmp(argv[1], "--json");

	if (argc > 1 && !json) {
		printf("usage: viommu-bench [--json]\n\nMeasures the core, in "
		       "nanoseconds and beside floors.\n");
		return strcmp(argv[1], "--help") ? 2 : 0;
	}
	ram = aligned_alloc(PAGE, (size_t)PAGES * PAGE);
	memset(ram, 1, (size_t)PAGES * PAGE);
	floors_make();
	if (!json)
		printf("%-34s %-10s %9s  %-10s %8s  %7s\n", "operation",
		       "barrier", "ns", "floor", "ns", "ratio");
	world_make(VIOMMU_BARRIER_FENCED);
	report("fenced", json);
	world_free();
	world_make(VIOMMU_BARRIER_ASYMMETRIC);
	report("asymmetric", json);
	world_free();
	free(ram);
	return 0;
}
