/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_MOVE_WAIT_H
#define TESTS_UNIT_MOVE_WAIT_H

/*
 * Two endpoints, each way to write, and threads that do so while memory is
 * moved.
 */
#include <sched.h>
#include <viommu/window.h>

#include "move.h"

enum {
	TIMEOUT = 1000,
};

/* A world with a second endpoint that sees the same. */
struct scene {
	struct world w, w2; /* of w2 only what is its own: ep, verdict ... */
	struct viommu_memory *mem;
	struct viommu_endpoint *by; /* who writes: the first one */
	uint64_t memory_at;	    /* where MEMORY writes, if not where told */
};

static inline void scene_make(struct scene *s, uint64_t timeout)
{
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = 2,
					     .fault = world_fault,
					     .expire = world_expire,
					     .arg = &s->w2 };
	struct viommu_fence f;

	memset(s, 0, sizeof(*s));
	still_world(&s->w, timeout);
	s->mem = viommu_memory_of(s->w.vi);
	s->by = s->w.ep;
	assert_int_equal(viommu_endpoint_create(s->w.vi, &ec, &s->w2.ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(s->w2.ep, s->w.space, &f), 0);
	fence_run(&f);
}

static inline void scene_free(struct scene *s)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_endpoint_destroy(s->w2.ep, &f);
	fence_run(&f);
	world_free(&s->w);
}

static inline void pass_time(const struct scene *s, uint64_t ns)
{
	viommu_poll(s->w.vi, atomic_fetch_add(&now, ns) + ns);
}

/* Somebody has seen that it passed: this thread, or one that waits. */
static inline void await_expired(struct world *w, unsigned n)
{
	while (w->nexpired < n)
		sched_yield();
	assert_int_equal(w->nexpired, n);
}

static inline void await_given_up(struct viommu_endpoint *ep)
{
	struct viommu_endpoint_stats st;

	do
		viommu_endpoint_read_stats(ep, &st);
	while (!st.given_up);
}

/* ---- ways to write ---------------------------------------------------- */

enum way {
	WRITE,
	STORE,
	STORE_BYTE,
	CAS,
	MAP,
	MAP_LONG,
	WINDOW_WRITE,
	WINDOW_STORE,
	MEMORY,
	ACROSS,
	BURST_WRITE,
	BURST_STORE,
	BURST_WINDOW,
	BURSTS,
	BURSTS_OTHER,
	WAYS,
};

static inline void nothing(struct viommu_dma *d)
{
	(void)d;
}

static inline int by_map(struct viommu_endpoint *ep, uint64_t iova, bool revoke)
{
	struct iovec iov;
	struct viommu_dma d = { .ep = ep,
				.iova = iova,
				.len = 8,
				.prot = VIOMMU_WRITE,
				.iov = &iov,
				.max_iov = 1,
				.revoke = revoke ? nothing : NULL };
	int rc = viommu_dma_map(&d);

	if (rc)
		return rc;
	memset(iov.iov_base, 'Z', 8);
	viommu_dma_unmap(&d, 8);
	return 0;
}

static inline int by_cas(struct viommu_endpoint *ep, uint64_t iova)
{
	uint64_t old = 0, was;
	int rc;

	do {
		was = old;
		rc = viommu_dma_cas(ep, iova, 8, &old, 0x5a5a5a5a5a5a5a5a);
	} while (!rc && old != was);
	return rc;
}

static inline int by_window(struct viommu_endpoint *ep, uint64_t iova,
			    bool store)
{
	struct viommu_window win;
	uint64_t val;
	int rc;

	assert_int_equal(viommu_window_open(&win, ep, iova, 8, RW), 0);
	/* it remembers where it may be read */
	assert_int_equal(viommu_window_load(&win, 0, 8, &val), 0);
	rc = store ? viommu_window_store(&win, 0, 8, 0x5a5a5a5a5a5a5a5a)
		   : viommu_window_write(&win, 0, "ZZZZZZZZ", 8);
	viommu_window_close(&win);
	return rc;
}

/* Eight bytes 'Z'. */
static inline int put(struct scene *s, enum way way, uint64_t iova)
{
	struct viommu_endpoint *ep = s->by;
	int rc;

	switch (way) {
	case WRITE:
		return viommu_dma_write(ep, iova, "ZZZZZZZZ", 8);
	case STORE:
		return viommu_dma_store(ep, iova, 8, 0x5a5a5a5a5a5a5a5a);
	case STORE_BYTE:
		for (unsigned i = 0; i < 8; i++) {
			rc = viommu_dma_store(ep, iova + i, 1, 0x5a);
			if (rc)
				return rc;
		}
		return 0;
	case CAS:
		return by_cas(ep, iova);
	case MAP:
	case MAP_LONG:
		return by_map(ep, iova, way == MAP_LONG);
	case WINDOW_WRITE:
	case WINDOW_STORE:
		return by_window(ep, iova, way == WINDOW_STORE);
	case MEMORY:
		return viommu_memory_write(s->mem,
					   s->memory_at ? s->memory_at : iova,
					   "ZZZZZZZZ", 8);
	case ACROSS:
		/* begins where nothing moves */
		iova &= ~UINT64_C(0xfff);
		return viommu_dma_write(ep, iova - 8, "YYYYYYYYZZZZZZZZ", 16);
	case BURST_WRITE:
	case BURST_STORE:
	case BURST_WINDOW:
		assert_int_equal(viommu_dma_enter(ep), 0);
		rc = put(s,
			 way == BURST_WRITE   ? WRITE
			 : way == BURST_STORE ? STORE
					      : WINDOW_STORE,
			 iova);
		viommu_dma_exit(ep);
		return rc;
	case BURSTS:
	case BURSTS_OTHER:
		assert_int_equal(viommu_dma_enter(s->w2.ep), 0);
		rc = put(s, BURST_STORE, iova);
		if (!rc && way == BURSTS_OTHER)
			rc = viommu_dma_store(s->w2.ep, iova, 8,
					      0x5a5a5a5a5a5a5a5a);
		viommu_dma_exit(s->w2.ep);
		return rc;
	default:
		return -ENOSYS;
	}
}

/* ---- a thread that writes --------------------------------------------- */

struct writer {
	struct scene *s;
	enum way way;
	uint64_t iova;
	pthread_t thread;
	sem_t waits;
	int rc;
	unsigned when;
};

static inline void *writer_run(void *arg)
{
	struct writer *t = arg;

	waits = &t->waits;
	t->rc = put(t->s, t->way, t->iova);
	t->when = tick();
	return NULL;
}

/* Begin, and wait until it waits. */
static inline void writer_start(struct writer *t, struct scene *s, enum way way,
				uint64_t iova)
{
	*t = (struct writer){ .s = s, .way = way, .iova = iova, .rc = 1 };
	sem_init(&t->waits, 0, 0);
	assert_int_equal(pthread_create(&t->thread, NULL, writer_run, t), 0);
	sem_wait_long(&t->waits);
}

static inline void writer_join(struct writer *t, int rc)
{
	pthread_join(t->thread, NULL);
	sem_destroy(&t->waits);
	assert_int_equal(t->rc, rc);
}

#endif
