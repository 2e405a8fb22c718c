/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the machine does at best: only ratios to these travel.
 */
#include <linux/membarrier.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

struct node {
	uint64_t e[512];
};

static struct node *top;
static uint32_t mapped;
static void *ring[512]; /* each to the next: 4 KiB */
static volatile uint64_t sink;

/* ---- a bare four-level walk ------------------------------------------- */

static void walk_map(uint64_t addr, uint64_t leaf)
{
	struct node *n = top;

	for (int shift = 39; shift > 12; shift -= 9) {
		uint64_t *e = &n->e[(addr >> shift) & 511];

		if (!*e) {
			*e = (uintptr_t)calloc(1, sizeof(*n));
			must(*e ? 0 : -12);
		}
		n = (struct node *)(uintptr_t)*e;
	}
	n->e[(addr >> 12) & 511] = leaf;
}

void floor_pages(uint32_t pages)
{
	for (; mapped < pages; mapped++)
		walk_map((uint64_t)mapped * PAGE, mapped + 1);
}

void floors_make(void)
{
	top = calloc(1, sizeof(*top));
	must(top ? 0 : -12);
	for (int i = 0; i < 512; i++)
		ring[i] = &ring[(i + 8 * 5 + 1) % 512];
	must(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED,
		     0, 0)
		     ? -95
		     : 0);
}

/* Four dependent loads, nothing checked but presence. */
double floor_walk(struct world *w, unsigned n)
{
	double t = cpu_now();
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t addr = key(w, i);
		const struct node *t1 = top;

		for (int shift = 39; shift > 12; shift -= 9) {
			t1 = (const struct node *)(uintptr_t)__atomic_load_n(
				&t1->e[(addr >> shift) & 511],
				__ATOMIC_ACQUIRE);
			if (!t1)
				abort();
		}
		sum += __atomic_load_n(&t1->e[(addr >> 12) & 511],
				       __ATOMIC_ACQUIRE);
	}
	sink = sum;
	return (cpu_now() - t) / n;
}

/* The data alone. */
double floor_data(struct world *w, unsigned n)
{
	double t = cpu_now();
	uint64_t sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += __atomic_load_n(
			(uint64_t *)(void *)(w->ram + key(w, i) % DATA),
			__ATOMIC_ACQUIRE);
	sink = sum;
	return (cpu_now() - t) / n;
}

/* ---- the core --------------------------------------------------------- */

static double load_latency(unsigned n)
{
	double t = cpu_now();
	void **p = ring;

	for (unsigned i = 0; i < n; i++) {
		p = *p;
		__asm__ volatile("" : "+r"(p));
	}
	sink = (uintptr_t)p;
	return (cpu_now() - t) / n;
}

static double load_tput(unsigned n)
{
	double t = cpu_now();
	uintptr_t sum = 0;

	for (unsigned i = 0; i < n; i += 4) {
		sum += (uintptr_t)__atomic_load_n(&ring[i % 512],
						  __ATOMIC_RELAXED);
		sum ^= (uintptr_t)__atomic_load_n(&ring[(i + 1) % 512],
						  __ATOMIC_RELAXED);
		sum += (uintptr_t)__atomic_load_n(&ring[(i + 2) % 512],
						  __ATOMIC_RELAXED);
		sum ^= (uintptr_t)__atomic_load_n(&ring[(i + 3) % 512],
						  __ATOMIC_RELAXED);
	}
	sink = sum;
	return (cpu_now() - t) / n;
}

double floor_atomic(struct world *w, unsigned n)
{
	static _Atomic(uint64_t) word;
	double t = cpu_now();

	(void)w;
	for (unsigned i = 0; i < n; i++)
		atomic_exchange(&word, i);
	return (cpu_now() - t) / n;
}

/* A function of the library that does nothing, through the PLT. */
static double call(unsigned n)
{
	double t = cpu_now();

	for (unsigned i = 0; i < n; i++)
		sink = (uintptr_t)viommu_version();
	return (cpu_now() - t) / n;
}

static double membarriers(unsigned n)
{
	double t = now();

	for (unsigned i = 0; i < n; i++)
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	return now() - t;
}

double floor_membarrier(struct world *w, unsigned n)
{
	static double v[8192];

	if (!w->row->pct)
		return membarriers(n / 64 + 16) / (n / 64 + 16);
	for (unsigned i = 0; i < n; i++) {
		peer_await();
		v[i] = membarriers(1);
	}
	return percentile(v, n, w->row->pct);
}

static double membarrier_beside(enum peer kind, unsigned rounds)
{
	const struct row row = { .pages = 1,
				 .pct = kind == PEER_READER ? 50 : 0 };
	struct world w = { 0 };
	double v[64];

	world_make(&w, &row);
	peer_start(&w, kind);
	peer_run(true);
	for (unsigned i = 0; i < rounds; i++)
		v[i] = floor_membarrier(&w, 256);
	peer_stop();
	world_free(&w);
	return median(v, rounds);
}

void floors_measure(struct floors *f, unsigned rounds)
{
	double v[4][64];
	struct world w = { 0 };

	for (unsigned i = 0; i < rounds; i++) {
		v[0][i] = load_latency(100000);
		v[1][i] = load_tput(100000);
		v[2][i] = floor_atomic(&w, 100000);
		v[3][i] = call(100000);
	}
	f->load = median(v[0], rounds);
	f->load_tput = median(v[1], rounds);
	f->atomic = median(v[2], rounds);
	f->call = median(v[3], rounds);
	f->membarrier = membarrier_beside(PEER_NONE, rounds);
	f->membarrier_idle = membarrier_beside(PEER_IDLE, rounds);
	f->membarrier_busy = membarrier_beside(PEER_READER, rounds);
}
