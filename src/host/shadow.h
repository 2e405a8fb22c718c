/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VH_SHADOW_H
#define VH_SHADOW_H

/*
 * What the back-ends for a host's IOMMU share: a shadow of what an endpoint
 * sees, kept in a kernel.  vfio.c and iommufd.c say how to talk to it.
 *
 * Invariants, whenever no callback is running:
 *   - `mappings` is what the endpoint's notifiers were told, less what of a
 *     mapping leads to device memory;
 *   - `entries` is what the kernel has, and an entry that is not stuck is
 *     wholly within one mapping and one region, and leads where they do;
 *   - what is in `mappings` and leads to RAM is in `entries`, but for what
 *     was reported as lost.
 *
 * Locks: the shadow's own, innermost of all that a callback holds but the
 * memory's and the fences', which it calls.  Callbacks of one shadow never run
 * together; the lock keeps retry and the counters out.
 */

#include <pthread.h>
#include <viommu/host/shadow.h>
#include <viommu/notifier.h>
#include <viommu/viommu.h>

#include "host/tree.h"

/* A part of a mapping that leads to memory. */
struct vh_piece {
	uint64_t start, last, gpa;
	uint32_t prot; /* READ, WRITE */
	char *host;
};

/* Whole entries, the first to the last of them; all that lies between. */
struct vh_run {
	uint64_t start, last;
	uint64_t entries;
};

/* A range that the kernel can map. */
struct vh_range {
	uint64_t start, last;
};

struct vh_shadow;

/* The kernel's verbs; 0 or -errno as it says. */
struct vh_ops {
	int (*map)(struct vh_shadow *sh, const struct vh_piece *p);
	/* nothing being there is fine.  @bits, if not NULL, is zeroed, and gets
	 * a bit for each page that was written, from run->start on: the run has
	 * no holes then */
	int (*unmap)(struct vh_shadow *sh, const struct vh_run *run,
		     uint64_t *bits);
	/* all at once; NULL: by runs */
	int (*unmap_all)(struct vh_shadow *sh);
	/* start or stop to collect bits */
	int (*log)(struct vh_shadow *sh, bool on);
	/* fetch and clear, of a run without holes */
	int (*fetch)(struct vh_shadow *sh, const struct vh_run *run,
		     uint64_t *bits);
};

/* What the kernel said of itself. */
struct vh_limits {
	uint64_t page;	      /* everything is a multiple of it */
	uint64_t max_entries; /* UINT64_MAX: no limit */
	/** sorted; allocated; 0: everything */
	struct vh_range *ranges;
	size_t nranges;
	uint64_t bits_page; /* of the log; 0: the kernel has none */
	uint64_t bits_max;  /* bytes that it fills at once */
	bool bits_unmap;    /* unmap fills them, too */
};

/* The part of both configurations that is the same. */
struct vh_options {
	struct viommu *vi;
	struct viommu_memory *memory;
	uint64_t piece_size;
	uint64_t max_entries;
	viommu_shadow_trouble_fn *trouble;
	void *arg;
};

enum vh_log {
	VH_LOG_OFF,
	VH_LOG_ALL,  /* what can be written counts as written */
	VH_LOG_BITS, /* the kernel tells */
};

struct vh_hold; /* shadow.c */

struct vh_shadow {
	const struct vh_ops *ops;	  /* never changes, ... */
	struct vh_options opt;		  /* ... */
	struct vh_limits lim;		  /* ... */
	struct viommu_notifier *notifier; /* ... once it is there */

	pthread_mutex_t lock; /* of everything below */
	struct vh_node *mappings, *entries;
	struct vh_node *spare; /* so that an unmap can cut */
	unsigned nspare;
	struct vh_hold *holds, *spare_hold;
	enum vh_log log;
	uint64_t *bits;
	size_t bits_size; /* bytes */
	struct viommu_shadow_stats st;
};

/* ---- shadow.c --------------------------------------------------------- */

/* Take over @lim, whose ranges are freed with the shadow, also on error:
 * -EINVAL. */
int vh_shadow_init(struct vh_shadow *sh, const struct vh_ops *ops,
		   const struct vh_options *opt, const struct vh_limits *lim);
/* Follow @ep. */
int vh_shadow_add(struct vh_shadow *sh, struct viommu_endpoint *ep);
/* Follow it no more; false: something is stuck, @sh must stay. */
bool vh_shadow_remove(struct vh_shadow *sh, struct viommu_fence *f);
/* Free what it has, but not @sh. */
void vh_shadow_fini(struct vh_shadow *sh);

int vh_shadow_retry(struct vh_shadow *sh);
void vh_shadow_read_stats(struct vh_shadow *sh,
			  struct viommu_shadow_stats *out);

/* ---- entries.c; sh->lock is held -------------------------------------- */

/* Make entries for all that [start, last] of the mappings leads to, or only for
 * what is in @only, which the memory does not have yet.  On error some of them
 * are there. */
int vh_fill(struct vh_shadow *sh, uint64_t start, uint64_t last,
	    const struct viommu_region *only);
/* Remove all entries that overlap [start, last], which is widened to what was
 * removed.  Those that are still there are stuck. */
void vh_take_out(struct vh_shadow *sh, struct vh_range *r);

/* Try again to remove what is stuck. */
void vh_take_out_stuck(struct vh_shadow *sh);

void vh_trouble(struct vh_shadow *sh, enum viommu_shadow_trouble what,
		const struct vh_range *r, int err);

struct vh_node *vh_node_get(struct vh_shadow *sh);
void vh_node_put(struct vh_shadow *sh, struct vh_node *n);
/* Have @n spare ones.  -ENOMEM. */
int vh_node_reserve(struct vh_shadow *sh, unsigned n);

/* ---- dirty.c; sh->lock is held ---------------------------------------- */

void vh_dirty_event(struct vh_shadow *sh, enum viommu_dirty_event what,
		    uint64_t gpa, uint64_t last);
/* Is there room for the bits of [start, last]? */
bool vh_dirty_fits(struct vh_shadow *sh, uint64_t start, uint64_t last);
/* Zeroed room for the bits of a run that is to be removed; NULL: they are not
 * collected, and what could be written is marked instead. */
uint64_t *vh_dirty_bits(struct vh_shadow *sh, const struct vh_run *run);
/* Does a run to be removed have to be without holes? */
bool vh_dirty_exact(const struct vh_shadow *sh);
/* Mark what was written of @e, by @bits, or all of it. */
void vh_dirty_mark(struct vh_shadow *sh, const struct vh_node *e,
		   const struct vh_run *run, const uint64_t *bits);
/* Mark all that could be written of a run. */
void vh_dirty_mark_run(struct vh_shadow *sh, const struct vh_run *run);

/* ---- setup.c ---------------------------------------------------------- */

/* Copy options that begin with their size, as the caller was compiled: -EINVAL
 * if there is more in it than we know. */
int vh_options_copy(void *out, size_t known, const void *in, size_t size);
/* Sort, join. */
void vh_ranges_sort(struct vh_range *r, size_t *n);
/* Reserve at @ep what is in none of the ranges. */
int vh_reserve(struct viommu_endpoint *ep, const struct vh_limits *lim);

#endif
