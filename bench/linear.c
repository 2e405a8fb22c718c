/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest with a flat table does (LINEAR spaces): put an entry and put
 * nothing in its place again, each with its commit, which is done at once since
 * nobody is in the way.
 *
 * The other thread does the same elsewhere in the table, as two processors of
 * a guest do, each in a pool of entries of its own.
 */
#include "bench.h"

enum {
	ENTRIES = 1 << 18,
	POOL = ENTRIES * 3 / 16, /* as Linux divides a table */
};

static void linear_make(struct world *w)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .kind = VIOMMU_SPACE_LINEAR,
					 .last = (uint64_t)ENTRIES * PAGE - 1,
					 .page_sizes = PAGE };

	if (!w->linear)
		must(viommu_space_create(w->vi, &c, &w->linear));
}

void linear_free(struct world *w)
{
	struct viommu_fence f;

	if (!w->linear)
		return;
	viommu_fence_init(&f);
	viommu_space_destroy(w->linear, &f);
	fence_run(&f);
	w->linear = NULL;
}

static inline void done(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	if (!viommu_fence_done(f))
		must(viommu_fence_wait(f, -1));
}

static void puts_in(struct world *w, unsigned n, uint64_t pool)
{
	for (unsigned i = 0; i < n; i++) {
		struct viommu_mapping m = { .start = (pool * POOL + i % K) *
						     PAGE,
					    .gpa = RAM_AT,
					    .prot = VIOMMU_READ };
		struct viommu_fence f;

		m.last = m.start + PAGE - 1;
		viommu_fence_init(&f);
		must(viommu_space_remap(w->linear, &m, &f));
		done(&f);
		viommu_fence_init(&f);
		if (viommu_space_unmap(w->linear, m.start, m.last, &f) != PAGE)
			must(-1);
		done(&f);
	}
}

void puts_elsewhere(struct world *w, unsigned n)
{
	puts_in(w, n, 1);
}

double op_linear_put(struct world *w, unsigned n)
{
	/* who waits for a lock sleeps: with another one, time is everybody's */
	double (*clock)(void) = w->row->peer == PEER_NONE ? cpu_now : now;
	double t;

	linear_make(w);
	t = clock();
	puts_in(w, n, 0);
	return (clock() - t) / n;
}
