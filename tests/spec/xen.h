/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_SPEC_XEN_H
#define TESTS_SPEC_XEN_H

/*
 * A hypervisor with three guests: DOM0, which may, and two owners.  Each has
 * RAM that is an array, byte i of frame n of guest d is 64 * d + n + 1.  DOM0
 * has two devices.  Time stands still unless a test pushes it.
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
#include <viommu/guest/xen.h>

enum {
	DOM0,
	DOM1,
	DOM2,
	DOMS,
	FRAME = 4096,
	SHIFT = 12,
	FRAMES = 32, /* each has */
	EPS = 2,
	REFERENCES = 0xfffe, /* the endpoints that hold them */
	SELF = VIOMMU_XEN_SELF,
	R = VIOMMU_READ,
	W = VIOMMU_WRITE,
	RW = R | W,
	TIMEOUT = 1000, /* of fences, in ticks */
	WAITING = 1,	/* no status yet */
};

struct world {
	struct viommu *vi;
	struct viommu_xen *x;
	struct viommu_xen_guest *dom[DOMS];
	struct viommu_endpoint *ep[EPS];
	uint8_t *ram[DOMS];

	bool control[128], map_of[128][128];
	/* called when privileges are asked for the time'th time from now on */
	void (*hook)(struct world *w);
	int hook_in;
	enum viommu_verdict verdict;
	unsigned expired;
	uint32_t expired_mapper, expired_owner;
};

extern uint64_t ticks;

/* Not NULL: called by the library's allocator.  False: there is no memory. */
extern bool (*on_alloc)(void);
extern void (*on_free)(void);

struct batch {
	struct viommu_xen_batch b;
	struct viommu_xen_op ops[16];
	unsigned done;
};

/* A device's map. */
struct held {
	struct viommu_dma d;
	struct iovec iov[8];
	unsigned asked;
};

void world_make(struct world *w, const struct viommu_xen_config *more,
		uint32_t max_mappings);
void world_free(struct world *w);
/* One of them, and wait. */
void dom_destroy(struct world *w, unsigned d);
void eps_destroy(struct world *w);

void fence_run(struct viommu_fence *f);
struct viommu_xen_stats stats(struct world *w);

struct viommu_xen_op op_map(uint32_t owner, uint64_t dfn, uint64_t gfn,
			    uint64_t count, uint32_t flags);
struct viommu_xen_op op_unmap(uint64_t dfn, uint64_t count);
struct viommu_xen_op op_flush(void);
struct viommu_xen_op op_lookup(uint64_t dfn);

/* One operation by @mapper: its status, or WAITING. */
int run_in(struct world *w, struct batch *b, uint32_t mapper,
	   const struct viommu_xen_op *ops, unsigned n);
/* One that does not wait. */
int run(struct world *w, struct viommu_xen_op op);
int run_as(struct world *w, uint32_t mapper, struct viommu_xen_op op);

/* The byte that device @i sees there, or -errno. */
int peek(struct world *w, int i, uint64_t dfn);
int poke(struct world *w, int i, uint64_t dfn, uint8_t byte);
uint8_t byte_of(unsigned d, uint64_t gfn);

void hold(struct world *w, struct held *h, int i, uint64_t dfn, uint64_t frames,
	  bool revocable);
void let_go(struct held *h);

int setup(void **state);
int teardown(void **state);

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

#endif
