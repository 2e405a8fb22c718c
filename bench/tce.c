/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a pseries guest does: hypervisor calls, with their commit, which is done
 * at once since nobody is in the way.  A row's arg says on which bus: 0 for one
 * without dynamic windows, 1 for one with them.
 *
 * The other thread is another vCPU and does the same elsewhere in the table, in
 * a pool of entries of its own.
 */
#include <endian.h>
#include <string.h>
#include <viommu/guest/tce.h>

#include "bench.h"

enum {
	ENTRIES = 1 << 18,
	POOL = ENTRIES * 3 / 16, /* as Linux divides a table */
	CALL = 512,		 /* entries of a list or a run */
	LIST_AT = DATA,		 /* in RAM */
	BUSES = 2,
};

static void list_make(struct world *w)
{
	for (uint64_t i = 0; i < CALL; i++) {
		uint64_t tce = htobe64((RAM_AT + i * PAGE % DATA) | 1);

		memcpy(w->ram + LIST_AT + i * sizeof(tce), &tce, sizeof(tce));
	}
}

static void tce_make(struct world *w)
{
	if (w->tce)
		return;
	must(viommu_tce_create(w->vi, NULL, &w->tce));
	for (uint32_t i = 0; i < BUSES; i++)
		must(viommu_tce_add_bus(
			w->tce, &(struct viommu_tce_bus){
					.size = sizeof(struct viommu_tce_bus),
					.buid = i,
					.liobn = 2 * i,
					.page_sizes = i ? VIOMMU_TCE_4K : 0,
					.window_size = (uint64_t)ENTRIES * PAGE,
				}));
	list_make(w);
}

void tce_free(struct world *w)
{
	struct viommu_fence f;

	if (!w->tce)
		return;
	viommu_fence_init(&f);
	viommu_tce_destroy(w->tce, &f);
	fence_run(&f);
	w->tce = NULL;
}

/* Nobody is in the way, and everything fits. */
static inline void hcall(struct world *w, uint64_t opcode, uint64_t ioba,
			 uint64_t what, uint64_t n)
{
	const uint64_t args[4] = { 2 * w->row->arg, ioba, what, n };
	struct viommu_tce_call call = { 0 };

	must(viommu_tce_hcall(w->tce, opcode, args, &call) != 0);
}

static uint64_t ioba(unsigned pool, unsigned i)
{
	return ((uint64_t)pool * POOL + i) * PAGE;
}

static void put_pairs(struct world *w, unsigned n, unsigned pool)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t at = ioba(pool, i % K);

		hcall(w, VIOMMU_H_PUT_TCE, at, RAM_AT | 1, 0);
		hcall(w, VIOMMU_H_PUT_TCE, at, 0, 0);
	}
}

static void indirect(struct world *w, unsigned i, unsigned pool)
{
	hcall(w, VIOMMU_H_PUT_TCE_INDIRECT, ioba(pool, i % 16 * CALL),
	      RAM_AT + LIST_AT, CALL);
}

static void stuff(struct world *w, unsigned i, unsigned pool)
{
	hcall(w, VIOMMU_H_STUFF_TCE, ioba(pool, i % 16 * CALL), 0, CALL);
}

void calls_elsewhere(struct world *w)
{
	if (w->row->op == op_tce_put) {
		put_pairs(w, 64, 1);
		return;
	}
	for (unsigned i = 0; i < 4; i++) {
		indirect(w, i, 1);
		stuff(w, i, 1);
	}
}

double op_tce_put(struct world *w, unsigned n)
{
	double t;

	tce_make(w);
	t = cpu_now();
	put_pairs(w, n, 0);
	return (cpu_now() - t) / n;
}

/* Both: the one or the other is timed. */
static double lists(struct world *w, unsigned n, bool stuffing)
{
	double sum = 0, t;

	tce_make(w);
	for (unsigned i = 0; i < n; i++) {
		t = cpu_now();
		indirect(w, i, 0);
		sum += stuffing ? 0 : cpu_now() - t;
		t = cpu_now();
		stuff(w, i, 0);
		sum += stuffing ? cpu_now() - t : 0;
	}
	return sum / n / CALL;
}

double op_tce_indirect(struct world *w, unsigned n)
{
	return lists(w, n, false);
}

double op_tce_stuff(struct world *w, unsigned n)
{
	return lists(w, n, true);
}
