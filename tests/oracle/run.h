/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_ORACLE_RUN_H
#define TESTS_ORACLE_RUN_H

/*
 * A run: a stream carried out on the library and on the model.  What a file
 * of it does: run.c worlds and fences, run_space.c what changes the meaning of
 * IOVAs, run_access.c what devices do, run_notify.c who is told.
 */

#include "model.h"

enum {
	USERS = HOLDS + ENDPOINTS, /* maps, and bursts */
	EXTENTS = 24,
	PRECISE = 7, /* extents that a fence tells apart */
	IOVS = 64,
	BUF = 16384,
	/* blocks in which a fault's extent is looked for */
	FAULT_STEPS = 48,
	PATTERN = 997,
	LIST_MAX = 8, /* pieces of a scatter list */
	RECORDERS = ENDPOINTS + 1,
	ASKED_MAX = 2 * OPS_MAX,
};

/* What a fence took. */
struct extent {
	enum {
		OF_SPACE,
		OF_ENDPOINT,
		OF_MEMORY
	} of;
	unsigned space; /* births; 0: any */
	unsigned ep;
	struct range r;
	unsigned when;
	bool all; /* the space itself went: its address may be another's */
};

struct fence {
	struct viommu_fence *f; /* NULL: not opened */
	bool committed, done;
	unsigned n;
	struct extent extent[EXTENTS];
	uint64_t must, may; /* holds, by bit */
	uint8_t *frees[REGIONS];
};

struct hold {
	bool used;
	bool burst;
	bool moved;  /* its endpoint, meanwhile */
	bool asked;  /* to let go */
	bool yields; /* does so when it is asked */
	struct run *run;
	struct viommu_dma *d;
	unsigned when, space, ep;
	struct range iova, gpa;
	struct iovec iov[IOVS];
};

/* What a REMOTE space was asked, and what is to become of it now. */
struct questions {
	unsigned n;
	uint64_t page[ASKED_MAX];
	struct range about; /* that are being settled */
	int rc;
};

struct run {
	struct model m;
	struct viommu *vi;
	struct viommu_space *space[SPACES];
	struct viommu_endpoint *ep[ENDPOINTS];
	uint8_t *bytes[REGIONS];
	struct hold hold[USERS];
	struct fence fence[FENCES];
	unsigned serial, births;
	unsigned allocated; /* by the library */
	unsigned nfaults;
	struct questions q;
	struct shadow *recorder[RECORDERS]; /* or none */
	struct viommu_fault fault;
	uint8_t buf[BUF];
};

/* Of the fence that is being committed: who may be asked to let go. */
extern uint64_t fence_may;

/* The first thing that is wrong is what is wrong. */
void wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void compare_rc(const char *what, errors possible, int64_t rc);

/* An open fence to gather into, or NULL: its slot's is pending. */
struct fence *fence_open(struct run *r, unsigned slot);
void fence_took(struct run *r, struct fence *f, struct extent x);

void region_add(struct run *r, unsigned i);
uint8_t *region_host(const struct run *r, unsigned i);
void memory_compare(const struct run *r);
void space_make(struct run *r, unsigned i);

/* What the next call answers, or takes back; and it did so, to all of them. */
void questions_expect(struct run *r, unsigned space, struct range about,
		      int rc);
void questions_compare(const struct run *r);

/* Fences that waited for it wait no more. */
void hold_over(struct run *r, unsigned i);
void let_go(struct run *r, unsigned i);

/* Recorders of what endpoints see (run_notify.c). */
void recorders_make(struct run *r);
void recorders_compare(const struct run *r);
/* The endpoints are destroyed. */
void recorders_end(struct run *r, struct viommu_fence *f);

/* Endpoints may have been moved during a burst. */
void bursts_follow(struct run *r);

typedef void do_fn(struct run *r, const struct op *op);

do_fn do_map, do_map_list, do_unmap, do_remap, do_invalidate, do_next, do_renew,
	do_attach, do_detach, do_translate;
do_fn do_read, do_write, do_word, do_hold, do_enter, do_exit;

#endif
