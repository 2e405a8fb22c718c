/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_MISS_H
#define TESTS_UNIT_MISS_H

/* A world whose endpoint sees a REMOTE space, for the tests of misses. */

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "world.h"

#define PAGE UINT64_C(4096)

enum {
	LOG = 256,
	RW = VIOMMU_READ | VIOMMU_WRITE,
};

struct told {
	struct viommu_miss m;
	int rc;
};

/* A world whose endpoint sees a REMOTE space; the clock is ours. */
struct rig {
	struct world w;
	struct viommu_space *s;
	_Atomic(uint64_t) now;
	pthread_mutex_t lock;
	unsigned nasked, nsettled;
	struct viommu_miss asked[LOG];
	struct told settled[LOG];
	/* what the miss handler does besides, or NULL */
	void (*on_miss)(struct rig *r, const struct viommu_miss *m);
	sem_t in, out;
};

static inline uint64_t rig_clock(void *arg)
{
	return atomic_load(&((struct rig *)arg)->now);
}

static inline void rig_miss(void *arg, const struct viommu_miss *m)
{
	struct rig *r = arg;

	pthread_mutex_lock(&r->lock);
	if (r->nasked < LOG)
		r->asked[r->nasked] = *m;
	r->nasked++;
	pthread_mutex_unlock(&r->lock);
	if (r->on_miss)
		r->on_miss(r, m);
}

static inline void rig_settled(void *arg, const struct viommu_miss *m, int rc)
{
	struct rig *r = arg;

	pthread_mutex_lock(&r->lock);
	if (r->nsettled < LOG)
		r->settled[r->nsettled] = (struct told){ *m, rc };
	r->nsettled++;
	pthread_mutex_unlock(&r->lock);
}

static inline struct viommu_space_config rig_config(struct rig *r)
{
	return (struct viommu_space_config){
		.size = sizeof(struct viommu_space_config),
		.kind = VIOMMU_SPACE_REMOTE,
		.page_sizes = PAGE,
		.miss = rig_miss,
		.settled = rig_settled,
		.arg = r,
	};
}

static inline void see(struct world *w, struct viommu_space *s)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w->ep, s, &f), 0);
	fence_run(&f);
}

static inline void rig_make(struct rig *r, const struct viommu_space_config *sc)
{
	struct viommu_env env = { .size = sizeof(env),
				  .clock = rig_clock,
				  .arg = r };
	struct viommu_config cfg = { .size = sizeof(cfg), .env = &env };
	struct viommu_space_config own;

	memset(r, 0, sizeof(*r));
	r->now = 1000;
	pthread_mutex_init(&r->lock, NULL);
	sem_init(&r->in, 0, 0);
	sem_init(&r->out, 0, 0);
	own = sc ? *sc : rig_config(r);
	world_make(&r->w, &cfg, PAGE);
	assert_int_equal(viommu_space_create(r->w.vi, &own, &r->s), 0);
	see(&r->w, r->s);
}

static inline void rig_free(struct rig *r)
{
	struct viommu_fence f;

	if (r->s) {
		viommu_fence_init(&f);
		viommu_space_destroy(r->s, &f);
		fence_run(&f);
	}
	world_free(&r->w);
	sem_destroy(&r->in);
	sem_destroy(&r->out);
	pthread_mutex_destroy(&r->lock);
}

/* An access to one byte that needs @prot. */
static inline int touch(struct world *w, uint64_t iova, uint32_t prot)
{
	uint64_t val = 0;

	if (prot == VIOMMU_READ)
		return viommu_dma_load(w->ep, iova, 1, &val);
	if (prot == VIOMMU_WRITE)
		return viommu_dma_store(w->ep, iova, 1, val);
	return viommu_dma_cas(w->ep, iova, 1, &val, val);
}

static inline int map_page(struct rig *r, uint64_t iova, uint32_t prot)
{
	return viommu_space_map(r->s,
				&(struct viommu_mapping){ .start = iova,
							  .last = iova + 4095,
							  .prot = prot });
}

static inline void remap_page(struct rig *r, uint64_t iova, uint32_t prot)
{
	struct viommu_mapping m = { .start = iova,
				    .last = iova + 4095,
				    .prot = prot };
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_space_remap(r->s, &m, &f), 0);
	fence_run(&f);
}

/* The bytes that went. */
static inline uint64_t take(struct rig *r, uint64_t start, uint64_t last)
{
	struct viommu_space_stats before, after;
	struct viommu_fence f;

	viommu_space_read_stats(r->s, &before);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_invalidate(r->s, start, last, &f), 0);
	fence_run(&f);
	viommu_space_read_stats(r->s, &after);
	return before.bytes - after.bytes;
}

static inline uint64_t misses(struct rig *r)
{
	struct viommu_stats st;

	viommu_read_stats(r->w.vi, &st);
	return st.misses;
}

/* Each of pages [from, to] was told once, with @rc; nothing else was. */
static inline void check_told(struct rig *r, unsigned from, unsigned to, int rc)
{
	unsigned char seen[LOG] = { 0 };

	assert_int_equal(r->nsettled, to - from + 1);
	for (unsigned i = 0; i < r->nsettled; i++) {
		uint64_t page = r->settled[i].m.start / PAGE;

		assert_int_equal(r->settled[i].rc, rc);
		assert_in_range(page, from, to);
		assert_int_equal(seen[page]++, 0);
	}
}

#endif
