/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_NOTIFIER_H
#define VI_CORE_NOTIFIER_H

#include <viommu/notifier.h>

#include "base/list.h"
#include "base/retire.h"
#include "core/endpoint.h"
#include "core/instance.h"
#include "core/memory.h"
#include "core/space.h"

/*
 * Mappings to be told, from the start again for each notifier.
 */
struct vi_source {
	uint64_t start, last; /* around all of them */
	void (*rewind)(struct vi_source *src);
	/* the next ones, up to @max; 0: no more */
	size_t (*next)(struct vi_source *src, struct viommu_mapping *m,
		       size_t max);
};

/*
 * Tell, in the middle of a change of a space, if it is watched: then the notify
 * lock is held, which everybody waits for who might write there.  The space's
 * lock is let go of meanwhile, since callbacks may sleep.  What comes is told
 * before the table has it, what goes after the table has lost it.
 */

/* Refused: nothing is told any more. */
int vi_tell_map_locked(struct viommu_space *s, struct vi_source *src)
	VI_REQUIRES(&s->lock) VI_NO_ANALYSIS;
void vi_tell_unmap_locked(struct viommu_space *s, uint64_t start, uint64_t last,
			  struct viommu_fence *f)
	VI_REQUIRES(&s->lock) VI_NO_ANALYSIS;
/* If removing the range cuts mappings: may it? */
int vi_tell_cut_locked(struct viommu_space *s, uint64_t start, uint64_t last)
	VI_REQUIRES(&s->lock) VI_NO_ANALYSIS;
/* Also asks about cuts.  The table still has what was there before, in case
 * somebody refuses ... */
int vi_tell_remap_locked(struct viommu_space *s, const struct viommu_mapping *m,
			 struct viommu_fence *f)
	VI_REQUIRES(&s->lock) VI_NO_ANALYSIS;
/* ... or it could not follow: they are told of the old again. */
void vi_tell_remap_undo_locked(struct viommu_space *s,
			       const struct viommu_mapping *m,
			       struct viommu_fence *f)
	VI_REQUIRES(&s->lock) VI_NO_ANALYSIS;

/* @ep is about to see @to, with something mapped there that it may see.
 * Refused: it is told of what it sees again. */
int vi_notify_switch(struct viommu_endpoint *ep, struct viommu_space *to,
		     struct viommu_fence *f) VI_REQUIRES(&ep->vi->notify_lock);
/* @ep sees nothing any more; it saw @old, or NULL. */
void vi_notify_leave(struct viommu_endpoint *ep, struct viommu_space *old,
		     struct viommu_fence *f) VI_REQUIRES(&ep->vi->notify_lock);
/* ... and is being destroyed. */
void vi_notify_destroy(struct viommu_endpoint *ep)
	VI_REQUIRES(&ep->vi->notify_lock);

/* Before a region is added: may be refused; after one was removed. */
int vi_notify_ram_add(struct viommu_memory *mem, const struct viommu_region *r)
	VI_REQUIRES(&mem->vi->notify_lock);
void vi_notify_ram_remove(struct viommu_memory *mem, uint64_t gpa,
			  uint64_t last, struct viommu_fence *f)
	VI_REQUIRES(&mem->vi->notify_lock);
/* They were told that @r goes: it is there again.  Who refuses is lost. */
void vi_notify_ram_back(struct viommu_memory *mem,
			const struct viommu_region *r, struct viommu_fence *f)
	VI_REQUIRES(&mem->vi->notify_lock);

void vi_notify_dirty(struct viommu_memory *mem, enum viommu_dirty_event what,
		     uint64_t gpa, uint64_t last)
	VI_REQUIRES(&mem->vi->notify_lock);

#endif
