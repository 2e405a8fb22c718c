/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the guest does: map, unmap, invalidate.  Mapping is timed without the
 * unmapping, and the other way round, BATCH at a time; a round is the median of
 * its batches, so that a batch in which something else ran is left out.
 */
#include <stdlib.h>

#include "bench.h"

enum {
	BATCHES = 64,
};

/* The place of page @i of those of row->arg bytes. */
static struct viommu_mapping churn(const struct world *w, unsigned i)
{
	uint64_t size = UINT64_C(1) << w->row->arg;
	struct viommu_mapping m = { .start = CHURN + (i + 1) * size,
				    .gpa = RAM_AT,
				    .prot = VIOMMU_READ };

	m.last = m.start + (size - 1);
	return m;
}

static void churn_map(struct world *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct viommu_mapping m = churn(w, i);

		must(viommu_space_map(w->space, &m));
	}
}

static void churn_unmap(struct world *w, unsigned n, struct viommu_fence *f)
{
	for (unsigned i = 0; i < n; i++) {
		struct viommu_mapping m = churn(w, i);

		if (viommu_space_unmap(w->space, m.start, m.last, f) !=
		    (int64_t)(m.last - m.start + 1))
			abort();
	}
}

/* Keep the tables, whatever is unmapped. */
static void churn_keep(struct world *w, bool keep)
{
	struct viommu_mapping m = churn(w, BATCH);
	struct viommu_fence f;

	viommu_fence_init(&f);
	if (keep)
		must(viommu_space_map(w->space, &m));
	else if (viommu_space_unmap(w->space, m.start, m.last, &f) > 0)
		fence_run(&f);
}

enum timed {
	MAP,
	UNMAP
};

static double map_or_unmap(struct world *w, unsigned n, enum timed which)
{
	unsigned batches = n / BATCH;
	double v[BATCHES], t0, t1, t2;
	struct viommu_fence f;

	churn_keep(w, true);
	for (unsigned i = 0; i < batches; i++) {
		viommu_fence_init(&f);
		t0 = now();
		churn_map(w, BATCH);
		t1 = now();
		churn_unmap(w, BATCH, &f);
		t2 = now();
		fence_run(&f);
		v[i % BATCHES] = (which == MAP ? t1 - t0 : t2 - t1) / BATCH;
	}
	churn_keep(w, false);
	return median(v, batches < BATCHES ? batches : BATCHES);
}

double op_space_map(struct world *w, unsigned n)
{
	return map_or_unmap(w, n, MAP);
}

double op_space_unmap(struct world *w, unsigned n)
{
	return map_or_unmap(w, n, UNMAP);
}

/* Unmap a page at random and map it again: the pair. */
double op_space_map_random(struct world *w, unsigned n)
{
	double t = cpu_now();
	struct viommu_fence f;

	for (unsigned i = 0; i < n; i++) {
		uint64_t at = key(w, i) & ~(uint64_t)(PAGE - 1);
		struct viommu_mapping m = { .start = at,
					    .last = at + PAGE - 1,
					    .gpa = RAM_AT + at % DATA,
					    .prot = VIOMMU_READ };

		viommu_fence_init(&f);
		if (viommu_space_unmap(w->space, m.start, m.last, &f) != PAGE)
			abort();
		must(viommu_space_map(w->space, &m));
	}
	return (cpu_now() - t) / n;
}

static double many(struct world *w, unsigned n, enum timed which)
{
	struct viommu_mapping m = { .start = CHURN + 2 * MIB,
				    .last = CHURN + 2 * MIB + 256 * PAGE - 1,
				    .gpa = RAM_AT,
				    .prot = VIOMMU_READ };
	struct viommu_fence f;
	double v[BATCHES], t0, t1, t2;

	churn_keep(w, true);
	for (unsigned i = 0; i < n; i++) {
		viommu_fence_init(&f);
		t0 = now();
		must(viommu_space_map(w->space, &m));
		t1 = now();
		if (viommu_space_unmap(w->space, m.start, m.last, &f) !=
		    256 * PAGE)
			abort();
		t2 = now();
		v[i % BATCHES] = which == MAP ? t1 - t0 : t2 - t1;
	}
	churn_keep(w, false);
	return median(v, n < BATCHES ? n : BATCHES);
}

double op_space_map_256(struct world *w, unsigned n)
{
	return many(w, n, MAP);
}

double op_space_unmap_256(struct world *w, unsigned n)
{
	return many(w, n, UNMAP);
}

/* ---- fences ----------------------------------------------------------- */

/* The fence alone: what is gathered was not mapped. */
double op_commit(struct world *w, unsigned n)
{
	double v[BATCHES], t;
	struct viommu_fence f;

	for (unsigned i = 0; i < n / BATCH; i++) {
		t = now();
		for (unsigned j = 0; j < BATCH; j++) {
			viommu_fence_init(&f);
			must((int)viommu_space_unmap(w->space, CHURN,
						     CHURN + PAGE - 1, &f));
			fence_run(&f);
		}
		v[i % BATCHES] = (now() - t) / BATCH;
	}
	return median(v, n / BATCH < BATCHES ? n / BATCH : BATCHES);
}

static void take(struct world *w, unsigned i)
{
	struct viommu_mapping m = churn(w, i);
	struct viommu_fence f;

	viommu_fence_init(&f);
	if (viommu_space_unmap(w->space, m.start, m.last, &f) < 0)
		abort();
	viommu_fence_commit(&f, NULL, NULL);
	if (!viommu_fence_done(&f))
		must(viommu_fence_wait(&f, -1));
}

/* Unmap a page, commit, done. */
double op_unmap_commit(struct world *w, unsigned n)
{
	double v[BATCHES], t;

	churn_keep(w, true);
	for (unsigned i = 0; i < n / BATCH; i++) {
		churn_map(w, BATCH);
		t = now();
		for (unsigned j = 0; j < BATCH; j++)
			take(w, j);
		v[i % BATCHES] = (now() - t) / BATCH;
	}
	churn_keep(w, false);
	return median(v, n / BATCH < BATCHES ? n / BATCH : BATCHES);
}

/* The same, each timed alone: the row's percentile. */
double op_unmap_commit_wait(struct world *w, unsigned n)
{
	static double v[8192];
	double t;

	churn_keep(w, true);
	for (unsigned i = 0; i < n; i++) {
		if (i % BATCH == 0)
			churn_map(w, BATCH);
		peer_await();
		t = now();
		take(w, i % BATCH);
		v[i] = now() - t;
	}
	churn_keep(w, false);
	return percentile(v, n, w->row->pct);
}

/* 64 pages, not adjacent, and one commit: each. */
double op_unmap_64(struct world *w, unsigned n)
{
	double v[BATCHES], t;
	struct viommu_fence f;

	churn_keep(w, true);
	for (unsigned i = 0; i < n / 64; i++) {
		for (unsigned j = 0; j < 64; j++) {
			struct viommu_mapping m = churn(w, 2 * j);

			must(viommu_space_map(w->space, &m));
		}
		t = now();
		viommu_fence_init(&f);
		for (unsigned j = 0; j < 64; j++) {
			struct viommu_mapping m = churn(w, 2 * j);

			if (viommu_space_unmap(w->space, m.start, m.last, &f) <
			    0)
				abort();
		}
		fence_run(&f);
		v[i % BATCHES] = (now() - t) / 64;
	}
	churn_keep(w, false);
	return median(v, n / 64 < BATCHES ? n / 64 : BATCHES);
}

/* Bytes of library memory a mapping, beyond an empty world's. */
double op_memory(struct world *w, unsigned n)
{
	static const struct row empty = { .pages = 1 };
	struct world e = { 0 };
	double bytes;

	(void)n;
	world_make(&e, &empty);
	bytes = (double)w->bytes - (double)e.bytes;
	world_free(&e);
	return bytes / w->row->pages;
}
