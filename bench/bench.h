/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_H
#define BENCH_H

/*
 * A row is one operation in one world.  Its world is made from it (world.c),
 * its operation and its floor take turns (bench.c), so that a change of clock
 * hits both.  An operation times itself: it returns nanoseconds an operation.
 */

#include <stdbool.h>
#include <stdint.h>
#include <viommu.h>
#include <viommu/window.h>

enum {
	PAGE = 4096,
	KEYS = 65536, /* shorter streams let branch prediction flatter trees */
	RAM = 2 << 20,
	DATA = 4 * PAGE, /* of it, what pages lead to: fits the L1 cache */
	BATCH = 256,	 /* one after the other, between two looks at a clock */
	BURST = 32,	 /* accesses of a burst */
	SIXTEEN = 16,
	K = 1024,
	K64 = 65536,
	M = 1048576,
};

/* Where rows map and unmap.  As high as makes four levels of tables. */
#define CHURN  (UINT64_C(1) << 40)
#define GIB    (UINT64_C(1) << 30)
#define MIB    (UINT64_C(1) << 20)
/* RAM's GPA */
#define RAM_AT (UINT64_C(4) << 30)

/* What another thread does meanwhile. */
enum peer {
	PEER_NONE,
	PEER_IDLE,   /* did DMA, and sleeps */
	PEER_READER, /* loads, one by one */
	PEER_BURSTS, /* loads, BURST under one pin */
	PEER_MAPPER, /* maps and unmaps */
	PEER_TAKER,  /* 10,000 invalidations a second */
	PEER_MEMORY, /* 10,000 regions a second come and go */
	PEER_WRITER, /* stores, one by one */
	PEER_PUTTER, /* writes other entries of a LINEAR space */
	PEER_VCPU,   /* calls for other entries of a TCE table */
};

struct row;

struct world {
	struct viommu *vi;
	struct viommu_space *space;
	struct viommu_space *linear; /* or NULL */
	struct viommu_tce *tce;	     /* or NULL */
	struct viommu_endpoint *ep;
	struct viommu_dma *live;
	struct viommu_window window;  /* over all pages */
	uint32_t *keys;		      /* KEYS random IOVAs that are mapped */
	uint32_t key_mask;	      /* of the index: 0 for one page */
	struct viommu_memory *memory; /* of nregions, or NULL */
	uint64_t nregions, turn;
	const struct row *row;
	char *ram;
	uint64_t bytes; /* that the library has allocated */
};

typedef double op_fn(struct world *w, unsigned n);

/* At most the sum, on a core with an L1 load of 1.4 ns and an atomic of 5 ns.
 */
struct aim {
	double load;   /* nanoseconds that go as L1 loads */
	double atomic; /* that go as uncontended atomics */
	double floors; /* so many times the row's floor */
	double bytes;  /* bytes, which do not scale */
};

struct row {
	const char *name;
	op_fn *op;
	op_fn *floor; /* NULL: none */
	const char *floor_name;
	struct aim aim;
	uint32_t barrier; /* enum viommu_barrier */
	uint32_t pages;	  /* that are mapped */
	uint32_t live;	  /* maps held elsewhere */
	enum peer peer;
	bool floor_beside; /* the floor beside the peer, too */
	unsigned n;	   /* operations a round */
	unsigned arg;	   /* of the operation: bytes, or lg2 of a page's, or
			    * regions */
	unsigned pct;	   /* a percentile */
	const char *calls; /* what instructions are counted in */
};

extern const struct row rows[];
extern const unsigned nrows;

_Noreturn void fail(int rc);
double now(void);     /* CLOCK_MONOTONIC */
double cpu_now(void); /* the thread's own: without what others ran meanwhile */
double median(double *v, unsigned n);
double percentile(double *v, unsigned n, unsigned p);

/* Inline: it is between any two operations. */
static inline void must(int rc)
{
	if (__builtin_expect(rc, 0))
		fail(rc);
}

/* An IOVA that is mapped, at random. */
static inline uint64_t key(const struct world *w, unsigned i)
{
	return w->keys[i & w->key_mask];
}

/* world.c */
void world_make(struct world *w, const struct row *r);
void world_free(struct world *w);
void peer_start(struct world *w, enum peer kind);
void peer_run(bool run); /* or else park it */
void peer_await(void);	 /* until it does something */
void peer_stop(void);
void fence_run(struct viommu_fence *f);

/* floors.c */
struct floors {
	double load, load_tput, atomic, call;
	double membarrier, membarrier_idle, membarrier_busy;
};
void floors_make(void);
void floors_measure(struct floors *f, unsigned rounds);
void floor_pages(uint32_t pages);
op_fn floor_walk, floor_data, floor_atomic, floor_membarrier;

/* dma.c */
/* Without looking at the clock. */
void loads(struct world *w, unsigned n);
void stores(struct world *w, unsigned n);
op_fn op_load_burst, op_store_burst, op_load, op_read, op_window, op_map_unmap,
	op_map_unmap_revocable, op_map_unmap_spilled;

/* memory.c */
op_fn op_memory_change;
void regions_free(struct world *w);

/* move.c */
op_fn op_give_up, floor_let_go, op_move, floor_copy;
void owner_free(struct world *w);

/* linear.c */
op_fn op_linear_put;
void puts_elsewhere(struct world *w, unsigned n);
void linear_free(struct world *w);

/* tce.c */
op_fn op_tce_put, op_tce_indirect, op_tce_stuff;
void calls_elsewhere(struct world *w);
void tce_free(struct world *w);

/* xen.c */
op_fn op_xen_batch, floor_xen_batch, op_xen_destroy_mapper,
	op_xen_destroy_owner, op_xen_memory;

/* space.c */
op_fn op_space_map, op_space_unmap, op_space_map_random, op_space_map_256,
	op_space_unmap_256, op_commit, op_unmap_commit, op_unmap_commit_wait,
	op_unmap_64, op_memory;

#endif
