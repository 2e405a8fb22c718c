/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_NOTIFIER_H
#define VIOMMU_NOTIFIER_H

/**
 * @file
 * Notifiers: who else must know.  A host IOMMU, a process across a socket, a
 * recorder: whoever keeps a *shadow* of what an endpoint sees, and lets a
 * device go by it.  A notifier belongs to an endpoint and follows it from space
 * to space.
 *
 * It is told what comes before anybody can use it, and may refuse: then the
 * request that would have made it fails with the notifier's error, those that
 * were told already are told to undo it, and nothing has changed.  It is told
 * what goes before the fence can be committed, and cannot refuse; if it needs
 * time it holds the fence.
 *
 * Order.  All events of an instance come one after the other, in the order in
 * which the tables change.  Of several notifiers what comes is told to the one
 * that was added first, first, and what goes to the one that was added last,
 * first.  An event is a request, not a page: one call of map for each mapping,
 * or for each few of a list; one of unmap, for its whole range.
 *
 * Callbacks run with the lock held under which the instance tells, and with no
 * other of the library's; what calls them may hold locks of its own.  They may
 * sleep; DMA goes on meanwhile, and maps and unmaps of spaces that nobody
 * watches; all else that changes who sees what waits.  So a callback must not
 * wait for DMA that goes through the library, nor for a thread that releases a
 * hold.  From within a callback call
 * viommu_memory_next(), viommu_memory_dirty_mark(), viommu_notifier_hold() and
 * viommu_fence_hold(); and nothing that changes something, ends an access or a
 * map, or commits, releases or waits for a fence: other people's callbacks
 * would run there.
 *
 * An endpoint that was given up (L9) keeps its shadows: what a fence waits for
 * has gone from them already.
 */

#include <viommu/memory.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_notifier;

/** Why no more events will come. */
enum viommu_gone {
	/** the endpoint is destroyed */
	VIOMMU_GONE_DESTROYED,
	/** taking back a change that somebody refused, this notifier refused
	 * to have what it had before: its shadow is empty from here on */
	VIOMMU_GONE_LOST,
};

/** What happens to the dirty log of the endpoint's memory. */
enum viommu_dirty_event {
	VIOMMU_DIRTY_START, /* the device's writes count from here on */
	VIOMMU_DIRTY_STOP,
	/** it is about to be fetched: mark what the device wrote since */
	VIOMMU_DIRTY_SYNC,
};

/** What to call.  map and unmap must be there, the others may be NULL. */
struct viommu_notifier_ops {
	size_t size; /* sizeof(struct viommu_notifier_ops) */

	/**
	 * Mappings come, where nothing is mapped: all n of them or none.
	 * Exactly as they were made; after a cut, or when a remap or cut was
	 * refused and is taken back, a piece each.
	 *
	 * @return 0, or -errno: refused, and none of the n is in the shadow
	 */
	int (*map)(void *arg, const struct viommu_mapping *m, size_t n);

	/**
	 * Everything in [start, last] goes, whether or not something is there.
	 * An edge may lie within a mapping: what is left of it stays.
	 *
	 * @param f to be held, by viommu_notifier_hold(), if devices can still
	 *          use what goes; then later fences that take the same wait,
	 *          too.  NULL: what a map of this request brought is undone;
	 *          it must be over when this returns
	 */
	void (*unmap)(void *arg, viommu_iova_t start, viommu_iova_t last,
		      struct viommu_fence *f);

	/**
	 * One mapping takes the place of all that is in its range, in one
	 * step.  NULL, or -EOPNOTSUPP: unmap and map are called instead.
	 *
	 * @return as map; the shadow has changed or not at all
	 */
	int (*remap)(void *arg, const struct viommu_mapping *m,
		     struct viommu_fence *f);

	/**
	 * An unmap or remap of [start, last] is asked for that would cut
	 * mappings in two at one edge or both.  Can the shadow do that?
	 *
	 * @return 0, or -errno: the request is refused
	 */
	int (*cut)(void *arg, viommu_iova_t start, viommu_iova_t last);

	/**
	 * A region of the endpoint's memory comes: mappings that lead there
	 * lead to memory.  r->host is where it is, also if it came by fd; of
	 * a device it is NULL, and r->device not.  What moves goes, and comes
	 * back so when it has been copied, or as it was if the move is off.
	 *
	 * @return 0, or -errno: viommu_memory_add() fails with it, or the move
	 * is off
	 */
	int (*ram_add)(void *arg, const struct viommu_region *r);

	/**
	 * What is in [gpa, last] goes: regions, or parts of them, also out of
	 * the middle.  What mappings lead there stays mapped, but leads
	 * nowhere, until something is there again.
	 *
	 * @param f as for unmap; a hold is one on all of the memory, and on all
	 *          that the endpoint sees.  NULL: a ram_add is undone
	 */
	void (*ram_remove)(void *arg, viommu_gpa_t gpa, viommu_gpa_t last,
			   struct viommu_fence *f);

	/** The dirty log of [gpa, last]; START and STOP are for all of it. */
	void (*dirty)(void *arg, enum viommu_dirty_event what, viommu_gpa_t gpa,
		      viommu_gpa_t last);

	/** The last call.  The shadow has been emptied by unmap.  The notifier
	 * is still to be removed. */
	void (*gone)(void *arg, enum viommu_gone why);
};

/** A notifier's hold on a fence.  The caller's storage, from
 * viommu_notifier_hold() until viommu_notifier_release(). */
struct viommu_hold {
	uint64_t opaque[12];
};

/**
 * Subscribe: be told what the endpoint sees now, in ranges, and from then on
 * every change, with nothing in between missed or told twice.
 *
 * @param ep  endpoint, attached or not
 * @param ops what to call; copied
 * @param arg passed to each call
 * @param out the new notifier, owned by the caller; set before the first call
 * @return 0, -EINVAL (no map or no unmap, or a call from a later version),
 *         -ENOMEM, or what map answered: it was told to undo the rest
 *
 * Context: any thread but a notifier's callback; map, and dirty if the log is
 * on, run here.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_notifier_add(struct viommu_endpoint *ep,
		    const struct viommu_notifier_ops *ops, void *arg,
		    struct viommu_notifier **out);

/**
 * Unsubscribe, also after gone.  The last call, if it was not gone, is an unmap
 * of everything.  When this returns no call is under way, and none will come.
 * The handle is dead.
 *
 * @param n notifier, or NULL
 * @param f fence: may be held by that unmap; once done the notifier's memory
 *          is freed
 *
 * Context: any thread but a notifier's callback; before viommu_destroy(); waits
 * for the callback that is running; cannot fail.
 */
VIOMMU_API void viommu_notifier_remove(struct viommu_notifier *n,
				       struct viommu_fence *f);

/**
 * Hold a fence, as viommu_fence_hold(), in the endpoint's name, since its
 * shadow still has what the callback was told to forget.  Until it is released
 * that is a pin like others: each later fence that takes the same waits for it,
 * though the notifier may have left the space, or been removed.  If a deadline
 * passes the endpoint's expire handler decides (L9).
 *
 * @param n notifier
 * @param f a fence that one of its callbacks was given
 * @param h storage
 *
 * Context: within that callback.
 */
VIOMMU_API void viommu_notifier_hold(struct viommu_notifier *n,
				     struct viommu_fence *f,
				     struct viommu_hold *h);

/**
 * Let go; may run the fence's done callback.
 *
 * @param h from viommu_notifier_hold(); the caller's again on return
 *
 * Context: any thread but a notifier's callback; also after the notifier was
 * removed or the endpoint destroyed.
 */
VIOMMU_API void viommu_notifier_release(struct viommu_hold *h);

VIOMMU_END_DECLS

#endif
