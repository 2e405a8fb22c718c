/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_LINEAR_H
#define VI_CORE_LINEAR_H

/*
 * LINEAR spaces: one page size, all tables there, a mapping a page.
 *
 * Writers of such a space do not take its lock but one of its *stripes*: 64
 * entries in a row are of one, those in another row of another one, most
 * likely.  Who writes several entries takes the stripes of all of them, in
 * order, so a map is all or none against other writers, too.
 *
 * What writers have to know beside the entries, who follows the space and who
 * sees it, is changed with all stripes taken: vi_space_lock().  So no writer is
 * then between its look and its store, and one stripe is enough to look.  Where
 * notifiers follow, writers go the way of all spaces: the notify lock, the
 * space's, then what is told, with no stripe taken.
 *
 * Quota: each entry counts as a mapping for as long as the space is.
 */

#include "core/scatter.h"
#include "core/space.h"

/* Stripes, and how many entries in a row are of one.  Who moves an endpoint has
 * those of two spaces: no more locks than ThreadSanitizer follows.  tests/model
 * has two stripes, of one entry: each lock there is a choice who goes on. */
#ifndef VI_LINEAR_STRIPES
#define VI_LINEAR_STRIPES   16
#define VI_LINEAR_BLOCK_LG2 6
#endif

struct vi_linear_stripe {
	_Alignas(64) struct vi_lock lock;
	/* of its entries: made, and removed or replaced.  VI_GUARDED(lock) */
	uint64_t mapped, unmapped;
};

struct vi_linear {
	struct vi_linear_stripe stripe[VI_LINEAR_STRIPES];
};

/* Is @c right for a LINEAR space?  0 or -EINVAL. */
int vi_linear_check(const struct viommu_space_config *c);

/* Quota, stripes and tables for @s, which nobody knows yet.  -ENOSPC, -ENOMEM:
 * for vi_linear_free(). */
int vi_linear_create(struct viommu_space *s);
void vi_linear_free(struct viommu_space *s);

/* @s is going: leave its quota to vi_quota_leave_locked(). */
void vi_linear_leave_locked(struct viommu_space *s) VI_REQUIRES(&s->lock);

/* Map what is checked; -EADDRNOTAVAIL, -EEXIST, or what a notifier answers. */
int vi_linear_map(struct viommu_space *s, struct vi_scatter *sc);

/* Likewise.  In steps, one a page; if a notifier refuses one, those before it
 * have been done. */
int vi_linear_remap(struct viommu_space *s, const struct viommu_mapping *m,
		    struct viommu_fence *f);

/* Bytes; -ERANGE: would cut a page, nothing has changed. */
int64_t vi_linear_unmap(struct viommu_space *s, uint64_t start, uint64_t last,
			struct viommu_fence *f);

/* Add what its stripes counted. */
void vi_linear_count(struct vi_linear *l, uint64_t *mapped, uint64_t *unmapped);

#endif
