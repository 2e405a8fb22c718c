/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VT_DEVICE_H
#define VT_DEVICE_H

/*
 * What the files of the TCE front-end share.
 *
 * Which windows there are changes rarely, and is asked by each call of each
 * vCPU, so its lock has readers that are counted in many places, a thread's own
 * as a rule (tce.c).  Space calls run with it held, and notifiers that they
 * tell; no fence is committed, no guest memory is read and no callback of the
 * embedder runs with it held, since those may come back.
 *
 * An entry of a window has a lock of its own, a bit, which orders what was put
 * and what the space maps (window.c).  So calls on different entries share no
 * lock of ours.  The space's are the space's: LINEAR has many, MAPPED one.
 *
 * Life: `refs` counts the owner and the calls that returned VIOMMU_PENDING.
 * viommu_tce_destroy() holds the caller's fence, until the last of them is
 * over.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <viommu/guest/tce.h>
#include <viommu/memory.h>
#include <viommu/space.h>
#include <viommu/viommu.h>

enum {
	VT_PARTS = 64, /* of the lock */
	VT_BUS_WINDOWS = 2,
	VT_DEFAULT_SHIFT = 12,
};

#define VT_TCE_PROT ((uint64_t)(VIOMMU_READ | VIOMMU_WRITE))

/* A window's place on its bus. */
struct vt_place {
	uint64_t start, entries;
	uint8_t shift; /* lg2 of its pages */
};

struct vt_window {
	struct vt_place at;
	struct viommu_space *space; /* its bus's */
	/* for entries whose bit was set; see window.c */
	pthread_mutex_t lock;
	pthread_cond_t freed;
	_Atomic(uint32_t) waiters;
	_Atomic(uint64_t) *busy; /* a bit an entry */
	_Atomic(uint64_t) tce[]; /* as they were put: all 64 bits */
};

struct vt_bus {
	struct viommu_tce_bus cfg; /* defaults filled in; never changes */
	struct viommu_space *space;
	/* kept when the guest removes it, so that it can be restored */
	struct vt_window *standard;
	struct vt_window *windows[VT_BUS_WINDOWS]; /* or NULL; by liobn */
};

/* Who is at a liobn. */
struct vt_entry {
	uint32_t liobn;
	struct vt_window *window;
};

/* A part of the lock, with counters beside it that all threads would share. */
struct vt_part {
	_Atomic(uint32_t) readers;
	_Atomic(uint64_t) hcalls, rtas, refused, entries;
	uint8_t apart[128]; /* no two in one line */
};

struct viommu_tce {
	struct viommu *vi;
	struct viommu_tce_config cfg; /* defaults filled in; never changes */
	struct viommu_memory *memory;

	/* changing, to write; entered, to read */
	struct vt_bus **buses;	  /* by buid */
	struct vt_entry *windows; /* by liobn */
	uint32_t nbuses, nwindows;

	pthread_mutex_t change; /* one at a time */
	pthread_mutex_t drain;	/* within it: for readers to leave */
	pthread_cond_t drained;
	_Atomic(bool) changing;
	struct vt_part part[VT_PARTS];

	_Atomic(uint64_t) waiting, failed;
	_Atomic(uint32_t) refs;
	struct viommu_space *anchor;	/* what destruction can hold on to */
	struct viommu_fence *destroyed; /* the caller's, held by us */
};

/* ---- tce.c ------------------------------------------------------------ */

void vt_ref(struct viommu_tce *t);
void vt_unref(struct viommu_tce *t); /* @t may be gone */

/* Look at buses and windows, which stay until vt_leave(). */
struct vt_part *vt_enter(struct viommu_tce *t);
void vt_leave(struct viommu_tce *t, struct vt_part *p);
/* Change them. */
void vt_change_begin(struct viommu_tce *t);
void vt_change_end(struct viommu_tce *t);

/* This thread's part, to count in. */
struct vt_part *vt_part(struct viommu_tce *t);
void vt_count(_Atomic(uint64_t) *counter, uint64_t n);

/* A structure of ours from one that the caller compiled, size first: -EINVAL
 * for what we do not know. */
int vt_opts(void *to, size_t size, const void *from);

/* ---- bus.c; entered or changing ---------------------------------------- */

struct vt_bus *vt_bus_find(struct viommu_tce *t, uint64_t buid);
struct vt_window *vt_window_find(const struct viommu_tce *t, uint64_t liobn);
/* The bus with a window at @liobn, and which; or NULL. */
struct vt_bus *vt_bus_of(struct viommu_tce *t, uint32_t liobn, unsigned *nth);
/* Is there room on @bus, and are there entries?  -ERANGE. */
int vt_bus_fits(const struct viommu_tce *t, const struct vt_bus *bus,
		const struct vt_place *at);
/* Let @w, with no space or @bus's, be the @nth window of @bus. */
void vt_bus_open(struct viommu_tce *t, struct vt_bus *bus, unsigned nth,
		 struct vt_window *w);
/* Take it away, and all that it maps. */
void vt_bus_close(struct viommu_tce *t, struct vt_bus *bus, unsigned nth,
		  struct viommu_fence *f);
void vt_bus_close_all(struct viommu_tce *t, struct vt_bus *bus,
		      struct viommu_fence *f);
/* The default window, all zero; there is no other. */
void vt_bus_standard(struct viommu_tce *t, struct vt_bus *bus);
void vt_bus_reset(struct viommu_tce *t, struct vt_bus *bus,
		  struct viommu_fence *f);
/* Free @bus; what it mapped is gone with @f. */
void vt_bus_drop(struct viommu_tce *t, struct vt_bus *bus,
		 struct viommu_fence *f);
/* What size of pages is VIOMMU_TCE_...?  0: there is none such. */
uint32_t vt_size_of(unsigned shift);

/* ---- window.c --------------------------------------------------------- */

/* All zero, of no space yet.  NULL: no memory. */
struct vt_window *vt_window_make(struct viommu_tce *t,
				 const struct vt_place *at);
void vt_window_free(struct viommu_tce *t, struct vt_window *w);
uint64_t vt_place_last(const struct vt_place *at);

/* What a call took. */
struct vt_taking {
	struct viommu_fence *f;
	bool took; /* it must be committed */
};

/* Put one entry, or [first, first + n) without permissions: -errno, and the
 * entry is as it was. */
int vt_put(struct vt_window *w, uint64_t i, uint64_t tce,
	   struct vt_taking *taking);
int vt_clear(struct vt_window *w, uint64_t first, uint64_t n, uint64_t tce,
	     struct vt_taking *taking);

/* ---- call.c ----------------------------------------------------------- */

/* Begin a call: its fence is open. */
struct viommu_fence *vt_call_open(struct viommu_tce *t,
				  struct viommu_tce_call *call);
/*
 * It was carried out: @code now, or when the fence is done.  @status, or NULL,
 * is where it goes, too.  What viommu_tce_hcall() returns; @call and @t may be
 * gone.
 */
int64_t vt_call_close(struct viommu_tce *t, struct viommu_tce_call *call,
		      const struct vt_taking *taking, int64_t code,
		      uint32_t *status);

#endif
