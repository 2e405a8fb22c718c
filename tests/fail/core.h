/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_FAIL_CORE_H
#define TESTS_FAIL_CORE_H

/* A world of the core's nouns, made in steps, and all there is to see of it. */

#include <stdint.h>
#include <viommu.h>

#include "sweep.h"

#define TERA (UINT64_C(1) << 40)
#define TOP  UINT64_MAX

enum {
	MAPS = 30, /* held at once */
	STEPS = 113,
};

enum {
	MEM_0, /* the instance's own */
	MEM_1,
	MEMS,
};

enum {
	PAGES, /* of 4 KiB */
	BYTES,
	LARGE, /* pages of 1 GiB */
	IDENTITY,
	SPLITS, /* pages of 4 KiB, cut where an unmap says */
	ASKS,	/* REMOTE */
	SPACES,
};

enum {
	EP_PAGES,
	EP_BYTES,
	EP_IDENTITY, /* sees MEM_1 */
	EP_LOOSE,
	EP_SPLITS,
	EP_ASKS,
	EPS,
};

struct world;

struct step {
	const char *name;
	int (*run)(struct world *w, const struct step *s);
	unsigned obj;
	uint64_t start, last, target;
	uint32_t prot;
};

struct world {
	struct viommu *vi;
	struct viommu_memory *mem[MEMS];
	struct viommu_space *space[SPACES];
	struct viommu_endpoint *ep[EPS];
	unsigned faults, asked, settled;

	/* not part of what is made */
	uint32_t barrier;
	unsigned nsteps;
	struct step step[STEPS];
};

void core_init(struct world *w, uint32_t barrier);

/* As struct sweep has them. */
const char *core_name(void *world, unsigned i);
int core_step(void *world, unsigned i);
void core_look(void *world, unsigned i, struct view *view);
void core_teardown(void *world);

void fence_run(struct viommu_fence *f);

#endif
