/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_HOLD_H
#define VI_CORE_HOLD_H

/*
 * A notifier's hold on a fence: its shadow still has what it was told to
 * forget.  That makes it a pin like others: besides the fence that it names,
 * each later one waits for it that takes the same, also after the notifier has
 * left the space, when nobody tells it any more.  The fence that its endpoint
 * is destroyed under waits for it, too, so the endpoint lives as long.
 */

#include <viommu/notifier.h>

#include "core/instance.h"

/* @f is held by a notifier that was told to forget @what, of what->ep. */
void vi_hold(struct viommu_hold *h, struct viommu *vi, struct viommu_fence *f,
	     const struct vi_extent *what);

/* One that is in the way of @t, or of @f if it is not NULL, as what. */
bool vi_hold_find_locked(struct viommu *vi, const struct viommu_fence *f,
			 const struct vi_taking *t, struct vi_extent *what)
	VI_REQUIRES(&vi->pending_lock);

bool vi_hold_blocks(struct viommu *vi, const struct vi_taking *t);

/* Does a notifier of @ep hold a fence? */
bool vi_hold_exists(struct viommu_endpoint *ep);

#endif
