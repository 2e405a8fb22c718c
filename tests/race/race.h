/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_RACE_RACE_H
#define TESTS_RACE_RACE_H

/*
 * What the subjects share.  A subject is a small world in which one control
 * thread takes access away and some workers do DMA meanwhile.
 *
 * The oracle is in the pages.  As long as a page can be reached its first words
 * are a *stamp*: which slot it is in, and how many times that slot was filled
 * before.  The moment the fence that took it is done it is poisoned all over
 * and goes to a shelf, from which it comes back only if the poison is whole.
 * So a stale read shows as poison, or as a stamp older than one whose fence was
 * committed before the read began; a stale write shows as a hole in the poison,
 * or, in a page that is sealed meanwhile, as a signal.
 */

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <viommu.h>

enum {
	PAGE = 4096,
	STAMP_BYTES = 64, /* at either end of a page */
	MAX_WORKERS = 8,
	POISON = 0xa5,
};

#define NS	 UINT64_C(1000000000)
#define POISONED UINT64_C(0xa5a5a5a5a5a5a5a5)
#define RW	 (VIOMMU_READ | VIOMMU_WRITE)

/* What a thread did.  Each is an operation. */
struct tally {
	uint64_t accesses; /* DMA that was let through, and that was refused */
	uint64_t refused;
	uint64_t maps, unmaps;	   /* DMA maps */
	uint64_t mapped, unmapped; /* of spaces; remaps are both */
	uint64_t attaches, fences, bursts;
};

struct worker {
	_Alignas(128) struct tally did;
	unsigned n; /* of the control thread: the number of workers */
	unsigned seed;
	uint64_t turns;
	pthread_t thread;
};

/* This thread's. */
extern __thread struct worker *me;

struct subject {
	const char *name;
	void (*config)(struct viommu_config *c); /* or NULL */
	void (*open)(void);
	void (*step)(void);  /* the control thread, again and again */
	void (*work)(void);  /* each worker, again and again */
	void (*drain)(void); /* each worker, before it goes; or NULL */
	void (*close)(void); /* when the workers are gone */
	bool own_barrier;    /* it has one of its own, in config */
};

extern const struct subject subject_pages, subject_tables, subject_spaces,
	subject_memory, subject_auto, subject_maps, subject_revoke,
	subject_bursts, subject_attach, subject_restart, subject_remap,
	subject_giveup, subject_foreign, subject_notify, subject_linear,
	subject_hcall, subject_move, subject_recycle;

/* ---- the world -------------------------------------------------------- */

/* Guest memory is this process: GPA is host. */
extern struct viommu *vi;
extern unsigned nworkers;
extern uint64_t patience; /* ns; a fence that takes longer was forgotten */

/* The law is broken: say how, and exit with 1. */
_Noreturn void broken(const char *what);

/* The test cannot run: 2. */
void must(int rc, const char *what);

uint64_t now(void);

/* A number below @n, from this thread's own dice. */
unsigned dice(unsigned n);

/* For some moments: each is a turn of an empty loop. */
void dwell(unsigned most);

struct viommu_space *space_make(uint64_t page_sizes, uint32_t policy);
void space_drop(struct viommu_space *s);
struct viommu_endpoint *endpoint_make(uint32_t id, struct viommu_space *s);
void endpoint_drop(struct viommu_endpoint *ep);

void map_at(struct viommu_space *s, uint64_t iova, const void *host,
	    uint64_t len);
/* Gathered only. */
void unmap_at(struct viommu_space *s, uint64_t iova, uint64_t len,
	      struct viommu_fence *f);
void attach(struct viommu_endpoint *ep, struct viommu_space *s,
	    struct viommu_fence *f);

void fence_commit(struct viommu_fence *f, viommu_fence_fn *done, void *arg);
/* Until it is done, or the patience is. */
void fence_wait(struct viommu_fence *f);

/* ---- pages ------------------------------------------------------------ */

/* A page for @slot, the @n-th there, any number if nobody compares. */
void *page_fill(unsigned slot, uint64_t n);

/* The fence is done. */
void page_poison(void *page);

/* Look whether the poison is whole in each page on the shelf, and free them. */
void shelf_clear(void);

uint64_t stamp_of(unsigned slot, uint64_t n);
void poison(void *p, size_t len);
void must_be_poison(const void *p, size_t len);

/* What was read as the stamp of @slot: the number, which is @least or more. */
uint64_t stamp_check(uint64_t stamp, unsigned slot, uint64_t least);

/* ---- ways to do DMA ---------------------------------------------------- */

/* The page that @ep has at @iova. */
struct spot {
	struct viommu_endpoint *ep;
	uint64_t iova;
	unsigned slot;
	/* the least number that an access may see that begins now; or NULL */
	const _Atomic(uint64_t) *committed;
};

/* One of all ways, or of those that hold no map and begin no burst. */
int way_any(const struct spot *s);
int way_plain(const struct spot *s);
int way_load(const struct spot *s);
int way_store(const struct spot *s);

/* The taking was committed: this thread must not get through (L2). */
void must_be_gone(const struct spot *s);
/* And here it must, to the latest. */
void must_be_there(const struct spot *s);

/* Count; and nothing but -EFAULT is a refusal that can be explained. */
int accessed(int rc);

/* ---- maps that are held ------------------------------------------------ */

struct held {
	struct viommu_dma d;
	struct iovec iov[4];
	uint64_t stamp[2];
	unsigned pages;
};

/* Map one page or two and look at the stamps.  NULL: refused, @rc says why. */
struct held *hold(const struct spot *s, unsigned pages, int *rc);

/* What it was when it was mapped it must be still (L3).  NULL is fine. */
void held_drop(struct held *h);

/* ---- fences that nobody waits for -------------------------------------- */

/* A page that was taken, poisoned by the done callback on whichever thread. */
struct taken {
	struct viommu_fence f;
	void *page;
	_Atomic(uint64_t) since; /* 0: free */
	_Atomic(bool) failed;
};

/* Is it pending?  If it has been for longer than the patience, it was
 * forgotten. */
bool taken_pends(const struct taken *t);

/* A free one with its fence open, or NULL: all of @n are pending. */
struct taken *taken_open(struct taken *all, unsigned n);
void taken_commit(struct taken *t, void *page);
/* The workers are gone, and with them all maps: so are all fences. */
void taken_all_done(struct taken *all, unsigned n);

#endif
