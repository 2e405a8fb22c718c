/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_QUOTA_H
#define VI_CORE_QUOTA_H

/*
 * How many mappings there may be: of a space, and of all the instance's.
 *
 * vi->mappings counts what spaces have, and their credit: some mappings more
 * each, so that most maps and unmaps leave the instance's count alone.  Who
 * finds none left takes other spaces' credit back first: nobody is refused for
 * what somebody else does not use.
 */

#include <stdbool.h>

#include "core/space.h"

/* @n mappings more.  -ENOSPC: the space has all it may; -EAGAIN: so has the
 * instance, but if vi_quota_reclaim() finds some, try again. */
int vi_quota_take_locked(struct viommu_space *s, uint64_t n)
	VI_REQUIRES(&s->lock);

/* @n mappings that were taken, or that were there, are not. */
void vi_quota_put_locked(struct viommu_space *s, uint64_t n)
	VI_REQUIRES(&s->lock);

/* @s is going, with all it has. */
void vi_quota_leave_locked(struct viommu_space *s) VI_REQUIRES(&s->lock);

/* Take back the credit of all spaces; was there any?  No lock held. */
bool vi_quota_reclaim(struct viommu *vi);

/* The limits on tables that go with those on mappings. */
void vi_quota_tables(struct viommu_space *s);

/* The sums over all spaces that are there or were. */
void vi_quota_read_stats(struct viommu *vi, struct viommu_stats *out);

#endif
