/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_SHADOW_H
#define TESTS_SHADOW_H

/*
 * A recorder: a notifier that keeps the picture which its calls paint, mapping
 * by mapping and region by region, and refuses what its plan says.
 *
 * It goes by the contract of notifier.h, and by nothing else, and notes the
 * first breach of it in @wrong: a map where something is, a cut that nobody
 * asked about, two calls at once, a call after the last one.  It is for the
 * caller to look at that, and to compare the picture with the space.
 *
 * Locks: the picture is under @lock, so that others may look at it while events
 * come.  The log and the plan belong to whoever stands still.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <viommu.h>
#include <viommu/notifier.h>

enum {
	SHADOW_PIECES = 2048,
	SHADOW_REGIONS = 64,
	SHADOW_HOLDS = 32,
	SHADOW_EVENTS = 512,
};

enum shadow_what {
	SHADOW_MAP,
	SHADOW_UNMAP,
	SHADOW_REMAP,
	SHADOW_CUT,
	SHADOW_RAM_ADD,
	SHADOW_RAM_REMOVE,
	SHADOW_DIRTY,
	SHADOW_GONE,
};

/* Some of them: a plan's kinds. */
#define SHADOW_ANY(what) (1u << (what))

struct shadow_event {
	struct shadow *by;
	enum shadow_what what;
	uint64_t start, last; /* of all that it is about */
	uint64_t gpa;	      /* map and remap: of the first mapping */
	uint32_t prot;	      /* likewise; a region's */
	uint32_t n;	      /* mappings */
	unsigned value;	      /* what is dirty, why it is gone */
	bool fence;	      /* there is one */
	void *host;	      /* of a region */
	int rc;
};

/* What came, in order.  Subscribers that share one show who comes first. */
struct shadow_log {
	_Atomic(unsigned) inside; /* calls that run: one at most */
	unsigned n;
	struct shadow_event e[SHADOW_EVENTS];
};

/* Let calls fail: of these kinds, after so many, for so many. */
struct shadow_plan {
	unsigned kinds; /* SHADOW_ANY() of map, remap, cut, ram_add */
	unsigned after, times;
	int rc;
};

struct shadow {
	struct viommu_notifier *notifier;
	struct viommu_notifier_ops ops;
	struct shadow_log *log; /* or NULL */
	struct shadow_plan plan;
	bool holds; /* each fence that it is given, if there is room */
	/* a change may be taken back: then there are pieces of what is one
	 * mapping, and it is asked about cuts that it has made already */
	bool pieces;
	/* called by each call, before anything is done; or NULL */
	void (*during)(struct shadow *s, const struct shadow_event *e);
	/* called by unmap and remap, when what goes has gone from the picture;
	 * no lock is held */
	void (*went)(struct shadow *s, uint64_t start, uint64_t last,
		     struct viommu_fence *f);
	void *arg; /* the caller's */

	pthread_mutex_t lock;
	const char *wrong; /* the first thing that is, or NULL */
	bool over;	   /* there was a last call */
	bool logging;	   /* the dirty log is on */
	bool was_asked;
	uint64_t asked_start, asked_last; /* the cut that was granted last */
	unsigned npieces, nregions, nholds;
	struct viommu_mapping piece[SHADOW_PIECES];  /* sorted */
	struct viommu_region region[SHADOW_REGIONS]; /* sorted */
	struct viommu_hold hold[SHADOW_HOLDS];
	unsigned long calls, refused;
};

/* One that hears everything.  The caller may take ops away before it adds it,
 * but for map and unmap, and set what it wants. */
void shadow_init(struct shadow *s, struct shadow_log *log);

/* As new, but for ops, log and what the caller set besides: when it has been
 * removed. */
void shadow_reset(struct shadow *s);

/* With what regions there are, if nobody adds or removes one meanwhile. */
int shadow_add(struct shadow *s, struct viommu_endpoint *ep,
	       struct viommu_memory *mem);

/* After which it must be empty, and stay so.  Nobody waits for @f here. */
void shadow_remove(struct shadow *s, struct viommu_fence *f);

/* Let go of all that is held. */
void shadow_release(struct shadow *s);

/* Of nothing that is held. */
void shadow_fini(struct shadow *s);

/* Note a breach.  With s->lock held. */
void shadow_wrong_locked(struct shadow *s, const char *what);

/* The first breach, or NULL. */
const char *shadow_broken(struct shadow *s);

/* Is the picture that of @space (NULL: empty), mapping by mapping?  Nobody
 * changes it meanwhile.  NULL: it is; or what is wrong. */
const char *shadow_compare(struct shadow *s, struct viommu_space *space);

/* As above, but for where mappings end that lead on in one: a change that was
 * taken back may leave a mapping in pieces. */
const char *shadow_compare_pages(struct shadow *s, struct viommu_space *space);

/* As above: the regions of @mem. */
const char *shadow_compare_memory(struct shadow *s, struct viommu_memory *mem);

/* The piece around @iova.  With s->lock held. */
const struct viommu_mapping *shadow_find_locked(const struct shadow *s,
						uint64_t iova);

#endif
