/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A row's world: pages that are mapped to little RAM, since it is translations
 * that are measured and not the machine's memory; maps that are held; and the
 * other thread.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "bench.h"

static char *ram_get(void)
{
	static char *ram;

	if (ram)
		return ram;
	ram = aligned_alloc(RAM, RAM);
	must(ram ? 0 : -ENOMEM);
	(void)madvise(ram, RAM, MADV_HUGEPAGE);
	memset(ram, 1, RAM);
	return ram;
}

void fence_run(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	must(viommu_fence_wait(f, -1));
}

/* ---- memory that is counted ------------------------------------------- */

/* Sizes stand before what was asked for. */
static void *counted_alloc(void *arg, size_t size, size_t align)
{
	struct world *w = arg;
	size_t head = align > 16 ? align : 16;
	char *p = aligned_alloc(head, (size + 2 * head - 1) & ~(head - 1));

	if (!p)
		return NULL;
	((size_t *)(void *)(p + head))[-1] = size;
	((size_t *)(void *)(p + head))[-2] = head;
	__atomic_fetch_add(&w->bytes, size, __ATOMIC_RELAXED);
	return p + head;
}

static void counted_free(void *arg, void *ptr)
{
	struct world *w = arg;

	__atomic_fetch_sub(&w->bytes, ((size_t *)ptr)[-1], __ATOMIC_RELAXED);
	free((char *)ptr - ((size_t *)ptr)[-2]);
}

/* ---- the world -------------------------------------------------------- */

static void pages_map(struct world *w, uint32_t pages)
{
	for (uint64_t i = 0; i < pages; i++) {
		struct viommu_mapping m = { .start = i * PAGE,
					    .last = i * PAGE + PAGE - 1,
					    .gpa = RAM_AT + i * PAGE % DATA,
					    .prot = VIOMMU_READ |
						    VIOMMU_WRITE };

		must(viommu_space_map(w->space, &m));
	}
}

static void keys_make(struct world *w, uint32_t pages)
{
	static uint32_t keys[KEYS];
	uint32_t x = 1;

	for (int i = 0; i < KEYS; i++) {
		x = x * 1664525 + 1013904223;
		/* no two pages' words in the same lines only */
		keys[i] = (x >> 8) % pages * PAGE + (x >> 2) % 64 * 64;
	}
	w->keys = keys;
	w->key_mask = pages > 1 ? KEYS - 1 : 0;
}

static void live_map(struct world *w, uint32_t n)
{
	static struct iovec iov[1];

	if (!n)
		return;
	w->live = calloc(n, sizeof(*w->live));
	must(w->live ? 0 : -ENOMEM);
	for (uint32_t i = 0; i < n; i++) {
		struct viommu_dma *d = &w->live[i];

		d->ep = w->ep;
		d->iova = (uint64_t)i % w->row->pages * PAGE;
		d->len = PAGE;
		d->prot = VIOMMU_READ;
		d->iov = iov;
		d->max_iov = 1;
		must(viommu_dma_map(d));
	}
}

void world_make(struct world *w, const struct row *r)
{
	struct viommu_env env = { .size = sizeof(env),
				  .arg = w,
				  .alloc = counted_alloc,
				  .free = counted_free };
	struct viommu_config cfg = { .size = sizeof(cfg),
				     .barrier = r->barrier,
				     .env = &env };
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = PAGE };
	struct viommu_endpoint_config ec = { .size = sizeof(ec) };
	struct viommu_region region = { .size = sizeof(region),
					.gpa = RAM_AT,
					.len = RAM,
					.host = ram_get(),
					.prot = VIOMMU_READ | VIOMMU_WRITE };
	struct viommu_mapping high = { .start = CHURN - PAGE,
				       .last = CHURN - 1,
				       .gpa = RAM_AT,
				       .prot = VIOMMU_READ };
	struct viommu_fence f;

	w->row = r;
	w->ram = ram_get();
	must(viommu_create(&cfg, &w->vi));
	must(viommu_memory_add(viommu_memory_of(w->vi), &region));
	must(viommu_space_create(w->vi, &sc, &w->space));
	must(viommu_endpoint_create(w->vi, &ec, &w->ep));
	viommu_fence_init(&f);
	must(viommu_endpoint_attach(w->ep, w->space, &f));
	fence_run(&f);
	must(viommu_space_map(w->space, &high));
	pages_map(w, r->pages);
	keys_make(w, r->pages);
	must(viommu_window_open(&w->window, w->ep, 0, (uint64_t)r->pages * PAGE,
				VIOMMU_READ));
	live_map(w, r->live);
}

void world_free(struct world *w)
{
	struct viommu_fence f;

	regions_free(w);
	linear_free(w);
	tce_free(w);
	owner_free(w);
	for (uint32_t i = 0; i < w->row->live; i++)
		viommu_dma_unmap(&w->live[i], 0);
	free(w->live);
	w->live = NULL;
	viommu_fence_init(&f);
	viommu_endpoint_destroy(w->ep, &f);
	viommu_space_destroy(w->space, &f);
	fence_run(&f);
	viommu_destroy(w->vi);
}

/* ---- the other thread ------------------------------------------------- */

enum state {
	PARK,
	RUN,
	STOP
};

static struct {
	pthread_t thread;
	struct world *w;
	enum peer kind;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	_Atomic(enum state) want;
	bool parked;
	_Atomic(uint64_t) turns;
} peer = { .lock = PTHREAD_MUTEX_INITIALIZER,
	   .changed = PTHREAD_COND_INITIALIZER };

/* Pages of its own, beside those that the row uses. */
static void space_take(struct world *w)
{
	struct viommu_mapping m = { .start = CHURN + 600 * GIB,
				    .last = CHURN + 600 * GIB + PAGE - 1,
				    .gpa = RAM_AT,
				    .prot = VIOMMU_READ };
	struct viommu_fence f;

	viommu_fence_init(&f);
	must(viommu_space_map(w->space, &m));
	if (viommu_space_unmap(w->space, m.start, m.last, &f) != PAGE)
		abort();
	fence_run(&f);
}

static void memory_take(struct world *w)
{
	struct viommu_memory *mem = viommu_memory_of(w->vi);
	const struct viommu_region r = { .size = sizeof(r),
					 .gpa = RAM_AT + GIB,
					 .len = PAGE,
					 .host = w->ram,
					 .prot = VIOMMU_READ };
	struct viommu_fence f;

	viommu_fence_init(&f);
	must(viommu_memory_add(mem, &r));
	must(viommu_memory_remove(mem, r.gpa, r.len, &f));
	fence_run(&f);
}

/* 10,000 a second. */
static void peer_take(struct world *w, void (*take)(struct world *w))
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	for (int i = 0; i < 100 && atomic_load(&peer.want) == RUN; i++) {
		take(w);
		ts.tv_nsec += 100000;
		if (ts.tv_nsec >= 1000000000) {
			ts.tv_nsec -= 1000000000;
			ts.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	}
}

static void peer_work(struct world *w)
{
	switch (peer.kind) {
	case PEER_READER:
		loads(w, 64);
		break;
	case PEER_WRITER:
		stores(w, 64);
		break;
	case PEER_BURSTS:
		must(viommu_dma_enter(w->ep));
		loads(w, BURST);
		viommu_dma_exit(w->ep);
		break;
	case PEER_MAPPER:
		op_map_unmap(w, 64);
		break;
	case PEER_TAKER:
		peer_take(w, space_take);
		break;
	case PEER_PUTTER:
		puts_elsewhere(w, 64);
		break;
	case PEER_VCPU:
		calls_elsewhere(w);
		break;
	case PEER_MEMORY:
		peer_take(w, memory_take);
		break;
	default:
		break;
	}
}

/* Each of the two threads on a core of its own, where there are two. */
static void pin_to(unsigned nth)
{
	cpu_set_t all, one;

	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(all), &all) || CPU_COUNT(&all) < 2)
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &all) && !nth--) {
			CPU_SET(cpu, &one);
			(void)pthread_setaffinity_np(pthread_self(),
						     sizeof(one), &one);
			return;
		}
}

static void *peer_thread(void *arg)
{
	enum state want;

	pin_to(1);
	loads(arg, 1); /* takes its seat */
	pthread_mutex_lock(&peer.lock);
	while ((want = atomic_load(&peer.want)) != STOP) {
		if (want == PARK || peer.kind == PEER_IDLE) {
			peer.parked = true;
			pthread_cond_broadcast(&peer.changed);
			pthread_cond_wait(&peer.changed, &peer.lock);
			continue;
		}
		peer.parked = false;
		pthread_mutex_unlock(&peer.lock);
		while (atomic_load_explicit(&peer.want, memory_order_relaxed) ==
		       RUN) {
			peer_work(arg);
			atomic_fetch_add_explicit(&peer.turns, 1,
						  memory_order_relaxed);
		}
		pthread_mutex_lock(&peer.lock);
	}
	pthread_mutex_unlock(&peer.lock);
	return NULL;
}

static void peer_want(enum state want)
{
	pthread_mutex_lock(&peer.lock);
	atomic_store(&peer.want, want);
	pthread_cond_broadcast(&peer.changed);
	while (want == PARK && !peer.parked)
		pthread_cond_wait(&peer.changed, &peer.lock);
	pthread_mutex_unlock(&peer.lock);
}

void peer_start(struct world *w, enum peer kind)
{
	peer.kind = kind;
	peer.w = w;
	if (kind == PEER_NONE)
		return;
	peer.parked = false;
	atomic_store(&peer.want, PARK);
	must(-pthread_create(&peer.thread, NULL, peer_thread, w));
	peer_want(PARK);
}

void peer_run(bool run)
{
	if (peer.kind != PEER_NONE)
		peer_want(run ? RUN : PARK);
}

/* Whoever shares the machine may have taken its core for a while. */
void peer_await(void)
{
	uint64_t turns = atomic_load(&peer.turns);

	while (peer.kind != PEER_NONE && atomic_load(&peer.want) == RUN &&
	       atomic_load(&peer.turns) == turns)
		;
}

void peer_stop(void)
{
	if (peer.kind == PEER_NONE)
		return;
	peer_want(STOP);
	pthread_join(peer.thread, NULL);
	peer.kind = PEER_NONE;
}
