/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Regions of one file that come and go, as a client behind an IOMMU of its own
 * sends them: one for each mapping there.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

static int file_get(void)
{
	static int fd = -1;

	if (fd >= 0)
		return fd;
	fd = memfd_create("bench", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, RAM))
		fail(-errno);
	return fd;
}

static void region_add(struct viommu_memory *mem, uint64_t i)
{
	const struct viommu_region r = { .size = sizeof(r),
					 .gpa = i * PAGE,
					 .len = PAGE,
					 .prot = VIOMMU_READ | VIOMMU_WRITE,
					 .fd = file_get(),
					 .fd_offset = i * PAGE % RAM };

	must(viommu_memory_add(mem, &r));
}

/* In an order that has neither neighbours nor a pattern. */
static uint64_t scattered(const struct world *w, uint64_t i)
{
	return i * 0x9e3779b1 % w->nregions;
}

static void regions_make(struct world *w)
{
	must(viommu_memory_create(w->vi, &w->memory));
	w->nregions = w->row->arg;
	for (uint64_t i = 0; i < w->nregions; i++)
		region_add(w->memory, scattered(w, i));
}

void regions_free(struct world *w)
{
	struct viommu_fence f;

	if (!w->memory)
		return;
	viommu_fence_init(&f);
	viommu_memory_destroy(w->memory, &f);
	fence_run(&f);
	w->memory = NULL;
}

/* Remove one of row->arg regions, wait, and add it again: the pair. */
double op_memory_change(struct world *w, unsigned n)
{
	struct viommu_fence f;
	double t;

	if (w->memory && w->nregions != w->row->arg)
		regions_free(w);
	if (!w->memory)
		regions_make(w);
	t = cpu_now();
	for (unsigned i = 0; i < n; i++) {
		uint64_t at = scattered(w, w->turn++ * 7);

		viommu_fence_init(&f);
		must(viommu_memory_remove(w->memory, at * PAGE, PAGE, &f));
		fence_run(&f);
		region_add(w->memory, at);
	}
	return (cpu_now() - t) / n;
}
