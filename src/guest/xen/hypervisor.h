/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VX_HYPERVISOR_H
#define VX_HYPERVISOR_H

/*
 * What the files of foreign mapping share.
 *
 *	guest --links--> link (mapper in owner) --live--> mapping (reference)
 *	guest --open---> taking (a fence, and the mappings it takes)
 *
 * A mapper's devices see its *view*: a memory in which each mapped frame is a
 * region, or part of one, at its dfn, and whose host pointers are those of the
 * mapping's reference.  So what they see is changed by viommu_memory_add() and
 * give_up(), each of which is one step, and foreign pages never are in
 * anybody's own memory, where a third guest could name them.
 *
 * The reference is a DMA map, with revoke, of the endpoint of the link, whose
 * memory is the owner's.  Invariant: whatever is in a view is covered by the
 * reference of a mapping that is LIVE, or by that of one in a taking which is
 * not done (L3 for the view's regions).  So a reference is dropped by the done
 * callback of the taking, and nowhere else, unless it never was in a view.
 *
 * Locks: one, `lock`, for all of this.  The library is called with it held, so
 * it ranks above the library's locks, but not what may run callbacks: mapping
 * and unmapping DMA, and committing.  What is counted in stats is atomic.
 *
 * A revoke callback may unmap no map but its own and those that nobody else has
 * seen (dma.h), yet what it calls may run done callbacks, which drop others.
 * Those never wait for a revoke callback that does more than look: one that
 * does is `asking`, and drops its reference itself when it is through.  It is
 * so for a mapping that is LIVE or GOING; later, GONE, it only looks.
 *
 * Life.  A guest goes when `refs` does: its owner's, one for each of its links,
 * each taking, each batch that runs.  It keeps its domid until then, and holds
 * the fence of its destruction.  A link goes when its refs do: one until either
 * guest is destroyed, one for each mapping, whatever its state.
 */

#include <pthread.h>
#include <stdatomic.h>
#include <viommu/dma.h>
#include <viommu/fence.h>
#include <viommu/guest/xen.h>
#include <viommu/memory.h>
#include <viommu/space.h>
#include <viommu/viommu.h>

#include "guest/xen/tree.h"

enum {
	VX_FRAME_SHIFT = 12,
};

enum vx_state {
	VX_COMING, /* the reference is being taken; not in the view */
	VX_LIVE,
	VX_GOING, /* in a taking */
	VX_GONE,  /* which is done: it is being dropped */
};

struct vx_link;
struct vx_taking;

/* Frames of one owner in one mapper.  What is in the first group never changes:
 * a mapping that is cut goes, and others come for what stays. */
struct vx_mapping {
	struct vx_node node; /* of mapper->mappings, by dfn; in bytes */
	struct vx_link *link;
	struct viommu_dma dma;	/* iova is the gfn's address */
	struct iovec one;	/* dma.iov, if that is enough */
	_Atomic(uint32_t) refs; /* who reads the above; one is the reference */

	struct vx_mapping *next, **pprev; /* lock: of link->live or a taking */
	uint8_t state;			  /* lock: enum vx_state */
	bool asked;			  /* lock: the owner wants it back */
	bool asking;			  /* lock: revoke is at work on it */
	bool drop;			  /* lock: and is to drop it */
	bool late; /* lock: nobody had memory to take it */
};

/* A fence for what is taken out of one view.  (One fence for several would
 * become one that waits for everything, and asks everybody.) */
struct vx_taking {
	struct viommu_fence fence;
	struct viommu_xen_guest *mapper;
	struct vx_mapping *mappings;	 /* lock */
	struct vx_taking *next, **pprev; /* lock: of mapper->takings, by seq */
	uint64_t seq;
	bool failed; /* lock */
	enum {
		VX_ALLOCATED,
		VX_SPARE,  /* the mapper's */
		VX_GUESTS, /* its last one */
		VX_LINKS,  /* likewise: it has a reference on the link */
	} storage;
};

/* Mapper and owner, which may be the same. */
struct vx_link {
	/* lock: of mapper->links, by the owner's domid, until refs is 0 */
	struct vx_node node;
	struct viommu_xen_guest *mapper, *owner;
	struct vx_link *next, **pprev; /* lock: of owner->owned */
	struct viommu_endpoint *ep;
	struct vx_mapping *live; /* lock */
	_Atomic(uint64_t) refs;
	bool dead;		  /* lock: not in that list; nothing comes */
	struct vx_taking last;	  /* when the owner is destroyed */
	struct viommu_fence gone; /* the endpoint's */
};

struct viommu_xen_guest {
	struct vx_node node; /* of guests, by domid */
	struct viommu_xen *x;
	struct viommu_memory *memory, *view;
	bool own_memory;
	uint64_t last; /* byte that can be mapped */
	uint64_t max_mappings;
	struct viommu_reserved *reserved;
	uint32_t nreserved;

	_Atomic(uint64_t) refs, nmappings; /* in any state */

	/* lock, all of it */
	bool dying;
	struct vx_node *mappings, *links;
	struct vx_link *owned;
	struct vx_taking *open; /* gathered, not flushed; or NULL */
	struct vx_taking *takings, **takings_tail;
	uint64_t seq;
	struct viommu_xen_batch *flushes; /* waiting, any order */
	struct vx_taking spare;		  /* for revokes without memory */
	bool spare_used;
	bool deferred; /* some wait for the spare one */

	struct vx_taking last_taking; /* when it is destroyed */
	struct viommu_fence *destroyed;
};

struct viommu_xen {
	struct viommu *vi;
	struct viommu_xen_config cfg; /* defaults filled in; never changes */
	struct viommu_space *identity;

	pthread_mutex_t lock;
	struct vx_node *guests; /* lock */

	_Atomic(uint64_t) batches, ops, refused, mappings, references, asked,
		unflushed, waiting;
};

/*
 * The library with one step left out, as base/annot.h has it: the race tests
 * must catch each.  0 in every other build.
 */
enum vx_mutant {
	VX_MUTANT_DROP_EARLY = 101, /* a reference, before its taking is done */
	VX_MUTANT_TOLD_EARLY = 102, /* a flush, before its takings are done */
	VX_MUTANT_NO_ASKED = 103,   /* what was asked for while it came */
	VX_MUTANT_NO_COMMIT = 104,  /* when asked for what nobody has flushed */
	VX_MUTANT_NO_COMPARE = 105, /* what stays with what the view has */
};
#ifdef VI_MUTANT
#define VX_MUTANT VI_MUTANT
#else
#define VX_MUTANT 0
#endif

static inline void vx_lock(struct viommu_xen *x)
{
	pthread_mutex_lock(&x->lock);
}

static inline void vx_unlock(struct viommu_xen *x)
{
	pthread_mutex_unlock(&x->lock);
}

/* ---- xen.c ------------------------------------------------------------ */

/* As compiled by the caller: shorter is padded with zeroes, longer is fine as
 * long as what we do not know is zero.  -EINVAL. */
int vx_opts_copy(void *out, size_t known, const void *in, size_t size);

/* ---- guest.c ---------------------------------------------------------- */

/* One that is not being destroyed, or NULL. */
struct viommu_xen_guest *vx_guest_find_locked(struct viommu_xen *x,
					      uint32_t domid);
uint32_t vx_guest_domid(const struct viommu_xen_guest *g);
void vx_guest_put(struct viommu_xen_guest *g);

/* ---- batch.c ---------------------------------------------------------- */

/* The operation at b->index is over. */
void vx_batch_step(struct viommu_xen *x, struct viommu_xen_batch *b,
		   int status);

/* ---- link.c ----------------------------------------------------------- */

/* Make it if there is none.  -ENOMEM, -ENOSPC, -EEXIST. */
int vx_link_find_locked(struct viommu_xen_guest *mapper,
			struct viommu_xen_guest *owner, struct vx_link **out);
void vx_link_get(struct vx_link *l);
void vx_link_put(struct vx_link *l);
/* Nothing comes any more; what is live stays, and its first reference. */
void vx_link_bury_locked(struct vx_link *l);

/* ---- taking.c --------------------------------------------------------- */

/* Open one. */
void vx_taking_init_locked(struct vx_taking *t,
			   struct viommu_xen_guest *mapper);
/* Likewise, or NULL: no memory. */
struct vx_taking *vx_taking_make_locked(struct viommu_xen_guest *mapper);
/* Likewise, but the spare one unless it is used. */
struct vx_taking *vx_taking_spare_locked(struct viommu_xen_guest *mapper);
void vx_taking_commit(struct vx_taking *t);
/* What UNMAP gathers into: NULL if there is no memory. */
struct vx_taking *vx_taking_open_locked(struct viommu_xen_guest *mapper);
void vx_taking_commit_open(struct viommu_xen_guest *mapper);
/* Flush: 0, -EIO, or -EINPROGRESS: @b will be called. */
int vx_taking_flush(struct viommu_xen_guest *mapper,
		    struct viommu_xen_batch *b);

/* Undo vx_taking_make_locked(): it has gathered nothing. */
void vx_taking_cancel_locked(struct vx_taking *t);

/* ---- mapping.c -------------------------------------------------------- */

/* Frames of an owner, and where the mapper's devices see them. */
struct vx_part {
	struct vx_link *link;
	uint64_t first, last, gpa; /* bytes */
	uint32_t prot;
	/* what it is part of, or NULL: then it has to be the same pages */
	struct vx_mapping *of;
};

/* That nothing knows yet; it has a reference on the link.  NULL: no memory. */
struct vx_mapping *vx_mapping_make(const struct vx_part *p);
void vx_mapping_get(struct vx_mapping *m);
void vx_mapping_put(struct vx_mapping *m);

/* [first, last] of @m. */
struct vx_part vx_mapping_part(struct vx_mapping *m, uint64_t first,
			       uint64_t last);

/* Take its reference: 0, or -errno as struct viommu_xen_op has it. */
int vx_mapping_refer(struct vx_mapping *m);
/* Drop it, and put @m: no view leads there, nor can any access be under way
 * that saw one which did. */
void vx_mapping_drop(struct vx_mapping *m);

void vx_mapping_live_locked(struct vx_mapping *m);
/* Out of the tree and the list, but not out of the view; it goes with @t. */
void vx_mapping_going_locked(struct vx_mapping *m, struct vx_taking *t);
/* Likewise, and out of the view: all of it that is there, which is some. */
void vx_mapping_take_locked(struct vx_mapping *m, struct vx_taking *t);

/* What is at @dfn or after it: 0, -ENOENT. */
int vx_mapping_next_locked(struct viommu_xen_guest *g, uint64_t dfn,
			   struct viommu_xen_mapping *out);

/* ---- map.c, unmap.c, revoke.c: the verbs ------------------------------ */

/* @p: link is not set, but @owner. */
int vx_map(struct viommu_xen_guest *mapper, uint32_t owner, struct vx_part *p);
int vx_unmap(struct viommu_xen_guest *mapper, uint64_t first, uint64_t last);
void vx_revoke(struct viommu_dma *d);
/* The spare taking is free again: for those that found it used. */
void vx_revoke_deferred(struct viommu_xen_guest *mapper);

/* ---- rest.c ----------------------------------------------------------- */

/* What stays of mappings that are cut, by dfn: mappings with references of
 * their own. */
struct vx_rests {
	struct vx_mapping *head, **tail;
	struct vx_mapping *unwanted;
	unsigned tries, made;
	int rc;
};

void vx_rests_init(struct vx_rests *r);
/* Refer to what is still there of @p.  r->rc: why more is not. */
void vx_rests_add(struct vx_rests *r, const struct vx_part *p);
/* Was one asked for by its owner meanwhile?  Those are not wanted then. */
bool vx_rests_asked_locked(struct vx_rests *r);
/* Take [first, last] out of the view, less the rests, which are live then.
 * On error nothing has changed, unless it @must succeed: then all of it goes,
 * if need be. */
int vx_rests_cut_locked(struct vx_rests *r, uint64_t first, uint64_t last,
			struct vx_taking *t, bool must);
/* Drop those that did not come to live; no lock. */
void vx_rests_fini(struct vx_rests *r);

#endif
