/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_INDEX_H
#define VI_CORE_INDEX_H

/*
 * A seat's index: the maps that are held outside its pins (pin.h), found by
 * what they may touch in a time that is logarithmic in their number.
 */

#include "core/pin.h"

/* The map @d, which @pin covers until it is in. */
void vi_index_add(struct vi_pin *pin, struct viommu_dma *d, uint64_t gpa,
		  uint64_t gpa_last);

/* The map call is over: from now on it may be asked to let go.  False: it was
 * found in somebody's way before. */
bool vi_index_ripen(struct vi_held *h);

/* Out with it.  Waits while another thread is asking it to let go. */
void vi_index_remove(struct vi_held *h);

/* Is @h, which stays, in the way? */
bool vi_index_blocks(const struct vi_held *h, const struct vi_taking *t);

/* The first in the way, or NULL. */
const struct vi_held *vi_index_find(struct vi_seat *seat,
				    const struct vi_taking *t);
const struct vi_held *vi_index_find_locked(struct vi_seat *seat,
					   const struct vi_taking *t)
	VI_REQUIRES(&seat->lock);

/* Is there one of @ep in the way, or of any if that is NULL? */
bool vi_index_holds(struct vi_seat *seat, const struct vi_taking *t,
		    const struct viommu_endpoint *ep);

/* Ask those in the way that can be asked and were not. */
void vi_index_revoke(struct viommu *vi, struct vi_seat *seat,
		     const struct vi_taking *t);

/* See vi_pin_writers(). */
void vi_index_writers(struct vi_seat *seat, const struct viommu_memory *mem,
		      vi_writer_fn *fn, void *arg);

#endif
