/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_MOVE_H
#define TESTS_UNIT_MOVE_H

/*
 * A world whose RAM is moved: IOVAs are GPAs, time stands still, and what
 * happens is numbered.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

#include "device.h"
#include "world.h"

#ifndef TESTS_UNIT_NOTIFIER_H /* which has them, too */
enum {
	RW = VIOMMU_READ | VIOMMU_WRITE,
	PAGE = 4096,
};
#endif

enum {
	PIECES = 8,
};

static _Atomic(uint64_t) now;
static _Atomic(unsigned) ticks;
/* A thread that waits for a move looks at the clock before it sleeps, and a
 * write that goes on does not: it is told here that it waits. */
static __thread sem_t *waits;

static inline unsigned tick(void)
{
	return atomic_fetch_add(&ticks, 1) + 1;
}

static inline uint64_t still_clock(void *arg)
{
	(void)arg;
	if (waits)
		sem_post(waits);
	waits = NULL;
	return atomic_load(&now);
}

static const struct viommu_env still_env = { .size = sizeof(still_env),
					     .clock = still_clock };

/* With pages of 4 KiB, 0 to 0xffff mapped; the RAM has a pattern. */
static inline void still_world(struct world *w, uint64_t timeout)
{
	const struct viommu_config cfg = { .size = sizeof(cfg),
					   .env = &still_env,
					   .fence_timeout_ns = timeout };

	atomic_store(&now, 1000000);
	world_make(w, &cfg, PAGE);
	assert_int_equal(map_rw(w, 0, WORLD_RAM - 1, 0), 0);
	for (unsigned i = 0; i < WORLD_RAM; i++)
		w->ram[i] = (unsigned char)(i / 7);
}

/* Patience that a machine has which is busy with something else. */
static inline void sem_wait_long(sem_t *sem)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += 30;
	assert_int_equal(sem_timedwait(sem, &ts), 0);
}

/* ---- a move, and what comes of it ------------------------------------- */

struct mover {
	struct viommu_move m;
	struct viommu_fence f;
	unsigned told, copied; /* at that tick */
	int rc;
	bool done_before; /* ... and the fence was done by then */
	unsigned copies;
	int copy_rc;
	struct viommu_region from[PIECES], to[PIECES];
	void (*during)(struct mover *v); /* within copy, or NULL */
	void *arg;
};

static inline void mover_moved(void *arg, int rc)
{
	struct mover *v = arg;

	v->told++;
	v->rc = rc;
	v->done_before = viommu_fence_done(&v->f);
}

/* As the library does it, between RAM and RAM. */
static inline int mover_copy(void *arg, const struct viommu_region *from,
			     const struct viommu_region *to)
{
	struct mover *v = arg;

	assert_in_range(v->copies, 0, PIECES - 1);
	v->from[v->copies] = *from;
	v->to[v->copies++] = *to;
	if (v->during)
		v->during(v);
	if (!v->copy_rc && from->host && to->host)
		memcpy(to->host, from->host, from->len);
	v->copied = tick();
	return v->copy_rc;
}

static inline void mover_init(struct mover *v, uint64_t gpa, uint64_t len,
			      void *host)
{
	memset(v, 0, sizeof(*v));
	v->rc = 1;
	v->m = (struct viommu_move){
		.size = sizeof(v->m),
		.to = { .size = sizeof(v->m.to),
			.gpa = gpa,
			.len = len,
			.host = host,
			.prot = RW,
			.fd = -1 },
		.moved = mover_moved,
		.arg = v,
	};
	viommu_fence_init(&v->f);
}

static inline int mover_try(struct mover *v, struct viommu_memory *mem)
{
	int rc = viommu_memory_move(mem, &v->m, &v->f);

	if (!rc)
		viommu_fence_commit(&v->f, NULL, NULL);
	return rc;
}

static inline void mover_go(struct mover *v, const struct world *w)
{
	assert_int_equal(mover_try(v, viommu_memory_of(w->vi)), 0);
}

static inline void assert_moved(const struct mover *v, int rc)
{
	assert_int_equal(v->told, 1);
	assert_int_equal(v->rc, rc);
	assert_false(v->done_before);
}

/* Nobody uses anything: all of it happens within the call. */
static inline void move_now(const struct world *w, uint64_t gpa, uint64_t len,
			    void *host)
{
	struct mover v;

	mover_init(&v, gpa, len, host);
	mover_go(&v, w);
	assert_moved(&v, 0);
	assert_true(viommu_fence_done(&v.f));
}

/* ---- a map that stands in the way ------------------------------------- */

struct holder {
	struct viommu_dma d;
	struct iovec iov;
};

static inline int hold_try(struct holder *h, struct viommu_endpoint *ep,
			   uint64_t iova, uint32_t prot)
{
	h->d = (struct viommu_dma){ .ep = ep,
				    .iova = iova,
				    .len = 0x100,
				    .prot = prot,
				    .iov = &h->iov,
				    .max_iov = 1 };
	return viommu_dma_map(&h->d);
}

static inline void hold(struct holder *h, struct viommu_endpoint *ep,
			uint64_t iova, uint32_t prot)
{
	assert_int_equal(hold_try(h, ep, iova, prot), 0);
}

/* ---- regions, as text would be --------------------------------------- */

struct span {
	uint64_t gpa, len;
	const void *host; /* NULL: a device's */
	uint64_t offset;
	uint32_t prot;
};

/* These are all regions of @mem. */
static inline void assert_regions(struct viommu_memory *mem,
				  const struct span *s, size_t n)
{
	struct viommu_region r = { .size = sizeof(r) };
	uint64_t at = 0;

	for (size_t i = 0; i < n; i++) {
		assert_int_equal(viommu_memory_next(mem, at, &r), 0);
		assert_int_equal(r.gpa, s[i].gpa);
		assert_int_equal(r.len, s[i].len);
		assert_ptr_equal(r.host, s[i].host);
		assert_int_equal(!r.device, r.host != NULL);
		assert_int_equal(r.fd_offset, s[i].offset);
		assert_int_equal(r.prot, s[i].prot);
		assert_int_equal(r.fd, -1);
		at = r.gpa + r.len;
	}
	if (!n || at)
		assert_int_equal(viommu_memory_next(mem, at, &r), -ENOENT);
}

#define assert_spans(mem, ...)                                        \
	assert_regions(mem, (const struct span[]){ __VA_ARGS__ },     \
		       sizeof((const struct span[]){ __VA_ARGS__ }) / \
			       sizeof(struct span))

#endif
