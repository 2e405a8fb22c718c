/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_MODEL_STAGE_H
#define TESTS_MODEL_STAGE_H

/*
 * Where the scenarios play: one instance with some pages of guest memory, two
 * spaces and an endpoint, all of it made anew for each schedule, and the law's
 * checks.
 *
 *	IOVA page i of space a: guest page i;  of space b: guest page 4 + i
 *
 * Whatever must not be touched from some moment on is an object (schedule.h):
 * guest pages from the moment that a fence which takes them is done, handles
 * from the moment that the owner may free them.  What the library freed is
 * never allocated again, and must not be touched either.
 */

#include <stdbool.h>
#include <stdint.h>
#include <viommu.h>

enum {
	PAGE = 4096,
	PAGES = 4, /* mapped in each space */
};

#define IOVA(i) ((uint64_t)(i)*PAGE)

/* A fence, what it takes, and what came of it. */
struct taker {
	struct viommu_fence f;
	unsigned pages; /* of guest memory, die when it is done: bits */
	void (*then)(void);
	uint64_t done; /* a word of schedule.h */
	bool committed, failed;
	uint64_t since; /* time of its commit */
};

/* A map and who has it. */
struct holder {
	struct viommu_dma d;
	struct iovec iov[4];
	uint64_t held;	/* words of schedule.h */
	uint64_t asked; /* times */
	bool gone;	/* the handle is the owner's again */
};

extern struct stage {
	unsigned char page[2 * PAGES][PAGE] __attribute__((aligned(4096)));
	struct viommu *vi;
	struct viommu_space *a, *b;
	struct viommu_endpoint *ep, *other;
	struct taker taker[3];
	struct holder holder[3];
	uint64_t word[4];  /* of schedule.h */
	unsigned handling; /* expire and fault handlers that run */
	unsigned handled;
} stage;

/* How the instance is made: the command's choice. */
extern enum viommu_barrier stage_barrier;

void stage_set(void);
/* Everybody is gone: no fence is forgotten, and nothing is left. */
void stage_check(void);

/* For warm: sit down. */
void sit(void);

/* Commit @t, which has gathered; the done callback does the rest. */
void take_init(struct taker *t, unsigned pages);
void take_commit(struct taker *t);
/* All of it: unmap IOVA page @i of space a. */
void take_page(struct taker *t, unsigned i);

/* One page; 0 or the error.  Touched, if it went well. */
int hold(struct holder *h, unsigned i, viommu_revoke_fn *revoke);
void use(struct holder *h);
void let_go(struct holder *h);

/* A revoke callback: count, look whether it is still right to ask. */
void asked(struct viommu_dma *d);

/* One access; it may fail with -EFAULT. */
void access_done(int rc);
void access_store(unsigned i);
void access_load(unsigned i);

void must(int rc, const char *what);

#endif
