/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SPACE_H
#define VIOMMU_SPACE_H

/**
 * @file
 * Spaces: what IOVAs mean.  (IOMMU people say "domain"; that word is left to
 * the guests' own numbers.)
 *
 * Mapping boundaries are kept: a mapping is one viommu_space_map(), adjacent
 * ones are never merged.  An unmap that would cut one does what the space's
 * policy says.
 *
 * A LINEAR space is a flat table: one page size, and each page is a mapping of
 * its own, however many one call makes.  Its entries are there from its
 * creation on, and count as mappings for as long as it is, so that no map,
 * remap or unmap fails for the lack of tables or mappings, or allocates.
 * Calls that have no page in common go on at the same time, most of them; of
 * two that have, one is first in all pages.  Each page changes in one step, but
 * not all of a call's in the same one: an access across two may see the one as
 * it was and the other as it is.
 *
 * A REMOTE space is filled by somebody else, who is asked.  An access that
 * finds nothing mapped calls the space's miss handler, once for each page
 * however many accesses want it, and fails with -EINPROGRESS; map or remap
 * answers, invalidate takes back the question.  Then, or when nobody answers
 * in time, the settled handler is called, and the embedder tries the access
 * again.  A page that is mapped with less permission than an access needs is
 * asked for, too; an answer that grants too little again is remembered, and
 * such accesses fault, until the page is mapped or invalidated anew.
 */

#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

enum viommu_space_kind {
	/** ours: a radix table, filled by map and unmap */
	VIOMMU_SPACE_MAPPED,
	/** IOVA is GPA, all permissions (bypass) */
	VIOMMU_SPACE_IDENTITY,
	/** as MAPPED, and what is not mapped is asked for */
	VIOMMU_SPACE_REMOTE,
	/** ours: an entry a page, all of them there from the start */
	VIOMMU_SPACE_LINEAR,
};

/** What an unmap does that would cut a mapping. */
enum viommu_space_policy {
	/** refuse it, nothing has changed (virtio-iommu) */
	VIOMMU_SPACE_REFUSE,
	/** cut the mapping in two, or three, at the granule */
	VIOMMU_SPACE_SPLIT,
	/** remove the whole pages that it touches: the largest of page_sizes
	 * that the mapping was made of (the Linux IOMMU API of old) */
	VIOMMU_SPACE_WHOLE_PAGE,
};

/** A question of a REMOTE space: what is at [start, last], one page? */
struct viommu_miss {
	viommu_iova_t start;
	viommu_iova_t last;
	uint32_t prot; /* what the access needs that asked first */
	uint32_t id;   /* its endpoint's */
	uint32_t pasid;
	uint32_t reserved; /* 0 */
};

/** Ask.  Runs on the thread of the access, which holds no library lock, and no
 * pin but that of a burst it is in; may answer at once; must not block, nor
 * wait for a fence.  (Where notifiers follow the space an answer may sleep.) */
typedef void viommu_miss_fn(void *arg, const struct viommu_miss *m);

/** A question is over: answered (0), taken back by an invalidation or the
 * space's destruction (-ECANCELED), or nobody answered in time (-ETIMEDOUT).
 * Runs on the thread that did it, no library lock held; must not block.  May
 * come before the access has returned -EINPROGRESS: who waits for it compares
 * a count of its own from before the access. */
typedef void viommu_settled_fn(void *arg, const struct viommu_miss *m, int rc);

struct viommu_space_config {
	size_t size;	     /* sizeof(struct viommu_space_config) */
	uint32_t kind;	     /* enum viommu_space_kind */
	uint32_t policy;     /* enum viommu_space_policy; LINEAR: REFUSE */
	viommu_iova_t start; /* aperture; both 0: everything */
	viommu_iova_t last;  /* LINEAR: given, whole pages */
	/** bit n: pages of 2^n bytes; the lowest is the granule, down to one
	 * byte; 0 is refused.  LINEAR: exactly one bit, 12 to 34 */
	uint64_t page_sizes;
	/** of this space; 0: the instance's limit only.  Tables are limited
	 * with them: 4,096, and one more for each 16 of max_mappings, here
	 * and in the instance.  LINEAR: at least the pages of the aperture */
	uint64_t max_mappings;
	/** REMOTE: whom to ask (must not be NULL), whom to tell (may be) */
	viommu_miss_fn *miss;
	viommu_settled_fn *settled;
	void *arg;
	uint64_t miss_timeout_ns; /* 0: one second */
	uint32_t max_misses;	  /* questions at once; 0: 1,024 */
	uint32_t reserved;	  /* 0 */
};

/** A piece of a scatter list. */
struct viommu_segment {
	viommu_gpa_t gpa;
	uint64_t len;
};

/** What a space has, and what it had from its creation on. */
struct viommu_space_stats {
	uint64_t mappings;    /* now */
	uint64_t bytes;	      /* mapped now; UINT64_MAX if it is all 2^64 */
	uint64_t mapped;      /* mappings that were made, also by cutting one */
	uint64_t unmapped;    /* mappings that were removed or replaced */
	uint64_t splits;      /* places where a mapping was cut */
	uint64_t misses;      /* questions that were asked */
	uint64_t table_bytes; /* memory of its tables */
};

/**
 * Make an empty space.
 *
 * @param vi  instance
 * @param cfg what kind; copied
 * @param out the new space, owned by the caller
 * @return 0, -EINVAL (unknown kind, policy or option, last < start, no page
 *         size, a granule above 2^30, a miss handler that is missing or that
 *         belongs to no REMOTE space, or more than 2^20 misses; LINEAR: what
 *         struct viommu_space_config says of it), -ENOSPC (LINEAR: the
 *         aperture has more pages than there may be mappings, or the limit of
 *         tables), -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_space_create(struct viommu *vi, const struct viommu_space_config *cfg,
		    struct viommu_space **out);

/**
 * Detach every endpoint and forget every mapping.  The handle is dead on
 * return; its memory is freed when the fence is done.
 *
 * @param space space
 * @param f     fence
 *
 * Context: any thread; cannot fail; notifiers are told here, and may sleep.
 */
VIOMMU_API void viommu_space_destroy(struct viommu_space *space,
				     struct viommu_fence *f);

/**
 * Add a mapping, all of it or none.
 *
 * @param space MAPPED, REMOTE or LINEAR
 * @param m     start, last + 1 and gpa are multiples of the granule
 * @return 0, -EINVAL (last < start, no or unknown prot, or an IDENTITY space),
 *         -ERANGE (off the granule, outside the aperture, gpa wraps; or, with
 *         a granule of 2^n < 256, gpa 2^(55+n) or more away from start),
 *         -EADDRNOTAVAIL (on a range that an attached endpoint reserves),
 *         -EEXIST (overlaps a mapping), -ENOSPC (max_mappings, or the limit of
 *         tables), -ENOMEM; or what a notifier answered (notifier.h)
 *
 * Context: any thread; writers of one space take turns, of a LINEAR one those
 * of the same entries; DMA goes on.  In a REMOTE space settled handlers may run
 * here.  Where notifiers follow the space they are called here, by whoever
 * changes it, and may sleep.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_space_map(struct viommu_space *space, const struct viommu_mapping *m);

/**
 * Map pieces of memory to IOVAs in a row, all of them or none.  Pieces that
 * follow each other in memory, too, become one mapping.
 *
 * @param space MAPPED, REMOTE or LINEAR
 * @param iova  of the first byte
 * @param prot  of all
 * @param list  each gpa and len is a multiple of the granule
 * @param n     pieces
 * @return as viommu_space_map(); -EINVAL also for n or a len of 0, -ERANGE also
 *         if the IOVAs wrap
 *
 * Context: as viommu_space_map().
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_space_map_list(struct viommu_space *space, viommu_iova_t iova,
		      uint32_t prot, const struct viommu_segment *list,
		      size_t n);

/**
 * Put a mapping in the place of whatever is there, in one step: each access
 * sees all of the old or all of the new.
 *
 * In a LINEAR space each page is a step.  Should a notifier refuse one, those
 * before it have been replaced, and @p f gathers them.
 *
 * Mappings that reach beyond m are cut by the space's policy: REFUSE refuses,
 * SPLIT cuts, WHOLE_PAGE cuts between pages and refuses within one, of which
 * otherwise a part would go that nobody asked for.
 *
 * @param space MAPPED, REMOTE or LINEAR
 * @param m     as for viommu_space_map()
 * @param f     fence: gathers what m covers; once done, nobody uses what was
 *              there
 * @return as viommu_space_map(), but never -EEXIST; -ERANGE also if the policy
 *         refuses a cut; on error nothing has changed (LINEAR: see above), but
 *         if a notifier refused, it may hold @p f, which has to be committed
 *
 * Context: as viommu_space_map(); new accesses may go on through the old
 * mapping until @p f is committed.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_space_remap(struct viommu_space *space, const struct viommu_mapping *m,
		   struct viommu_fence *f);

/**
 * Remove every mapping inside [start, last]; holes are fine.  Where that would
 * cut a mapping the policy says what goes: nothing (REFUSE), exactly the range
 * (SPLIT), or all pages that it touches (WHOLE_PAGE).
 *
 * @param space MAPPED, REMOTE or LINEAR
 * @param start first byte, any
 * @param last  last byte, any
 * @param f     fence: gathers [start, last], or what more was removed, also
 *              where nothing was mapped any more: a removal that another fence
 *              still waits for is waited for here, too
 * @return the bytes removed (INT64_MAX if more); -EINVAL (last < start, or an
 *         IDENTITY space), -ERANGE (would cut a mapping, and the policy is
 *         REFUSE, or SPLIT and it is cut off the granule), -ENOSPC (a cut makes
 *         one mapping more than max_mappings, or more tables than there may
 *         be), -ENOMEM (tables for a cut), or what a notifier answered that
 *         was asked about a cut; on error nothing has changed
 *
 * Context: any thread; allocates nothing, and cannot fail, unless it cuts a
 * mapping; new accesses may go on through the old mapping until @p f is
 * committed.  Accesses to what stays are not disturbed.  In a REMOTE space
 * settled handlers may run here.
 */
VIOMMU_API VIOMMU_MUST_CHECK int64_t
viommu_space_unmap(struct viommu_space *space, viommu_iova_t start,
		   viommu_iova_t last, struct viommu_fence *f);

/**
 * Forget what somebody else has answered about [start, last], and take back
 * the questions about it.  Exactly that is forgotten, to the granule, whatever
 * the policy; unless there are no tables or mappings left for a cut, or a
 * notifier refuses it: then all of the mappings that it touches, which will be
 * asked for again.  What is left of a mapping is a mapping of its own, and has
 * pages of its own.
 *
 * @param space REMOTE
 * @param start first byte, any
 * @param last  last byte, any
 * @param f     fence: gathers what is forgotten
 * @return 0, -EINVAL (last < start, or no REMOTE space)
 *
 * Context: any thread; waits for no question; settled handlers may run here.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_space_invalidate(struct viommu_space *space, viommu_iova_t start,
			viommu_iova_t last, struct viommu_fence *f);

/**
 * Look one address up.
 *
 * @param space any kind
 * @param iova  address
 * @param out   where it leads; 0 is an address like any other
 * @return 0, -ENOENT (not mapped; @p out is left alone)
 *
 * Context: any thread; the answer may be old by the time it is read, so it is
 * no way to memory: that is viommu_dma_map().
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_space_translate(struct viommu_space *space, viommu_iova_t iova,
		       viommu_gpa_t *out);

/**
 * Find the first mapping whose last is at or after @p iova: the iterator.
 *
 * @param space any kind
 * @param iova  where to start looking
 * @param out   a copy of the mapping as it was made
 * @return 0, -ENOENT (none)
 *
 * Context: any thread; the answer may be old by the time it is read.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_space_next(struct viommu_space *space,
						   viommu_iova_t iova,
						   struct viommu_mapping *out);

/**
 * Read the counters, each correct by itself.
 *
 * @param space any kind
 * @param out   counters
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_space_read_stats(struct viommu_space *space,
					struct viommu_space_stats *out);

VIOMMU_END_DECLS

#endif
