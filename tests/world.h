/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H

/*
 * A small world for tests: the real library, one guest whose RAM is an array,
 * one space, one endpoint attached to it.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <viommu.h>

#define WORLD_RAM (64u << 10) /* at GPA 0 */

struct world {
	struct viommu *vi;
	struct viommu_space *space;
	struct viommu_endpoint *ep;
	unsigned char *ram;
	unsigned nfaults;
	struct viommu_fault fault; /* the last one */
	/* what the expire handler says, and was told last */
	enum viommu_verdict verdict;
	_Atomic(unsigned) nexpired; /* after all else that an expiry does */
	struct viommu_expiry expiry;
};

static inline void world_fault(void *arg, const struct viommu_fault *fault)
{
	struct world *w = arg;

	w->nfaults++;
	w->fault = *fault;
}

static inline enum viommu_verdict world_expire(void *arg,
					       const struct viommu_expiry *e)
{
	struct world *w = arg;

	enum viommu_verdict verdict = w->verdict;

	w->expiry = *e;
	w->nexpired++;
	return verdict;
}

static inline void fence_run(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(f, -1), 0);
}

static inline void world_make(struct world *w, const struct viommu_config *cfg,
			      uint64_t page_sizes)
{
	struct viommu_region r = { .size = sizeof(r),
				   .len = WORLD_RAM,
				   .prot = VIOMMU_READ | VIOMMU_WRITE,
				   .fd = -1 };
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = page_sizes };
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = 1,
					     .pasid = VIOMMU_NO_PASID,
					     .fault = world_fault,
					     .expire = world_expire,
					     .arg = w };
	struct viommu_config c = { .size = sizeof(c) };
	struct viommu_fence f;

	if (cfg)
		c = *cfg;
	/* a machine that is busy with something else gives nobody up */
	if (!c.fence_timeout_ns)
		c.fence_timeout_ns = UINT64_MAX;
	memset(w, 0, sizeof(*w));
	w->ram = calloc(1, WORLD_RAM);
	assert_non_null(w->ram);
	r.host = w->ram;
	assert_int_equal(viommu_create(&c, &w->vi), 0);
	assert_int_equal(viommu_memory_add(viommu_memory_of(w->vi), &r), 0);
	assert_int_equal(viommu_space_create(w->vi, &sc, &w->space), 0);
	assert_int_equal(viommu_endpoint_create(w->vi, &ec, &w->ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w->ep, w->space, &f), 0);
	fence_run(&f);
}

static inline void world_free(struct world *w)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_endpoint_destroy(w->ep, &f);
	viommu_space_destroy(w->space, &f);
	fence_run(&f);
	viommu_destroy(w->vi);
	free(w->ram);
}

static inline int map_prot(struct world *w, uint64_t start, uint64_t last,
			   uint64_t gpa, uint32_t prot)
{
	return viommu_space_map(w->space,
				&(struct viommu_mapping){ .start = start,
							  .last = last,
							  .gpa = gpa,
							  .prot = prot });
}

static inline int map_rw(struct world *w, uint64_t start, uint64_t last,
			 uint64_t gpa)
{
	return map_prot(w, start, last, gpa, VIOMMU_READ | VIOMMU_WRITE);
}

/* Unmap, and wait until it is so. */
static inline int64_t unmap(struct world *w, uint64_t start, uint64_t last)
{
	struct viommu_fence f;
	int64_t n;

	viommu_fence_init(&f);
	n = viommu_space_unmap(w->space, start, last, &f);
	if (n >= 0)
		fence_run(&f);
	return n;
}

#endif
