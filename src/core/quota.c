/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/quota.h"

#include <errno.h>

#include "base/range.h"
#include "core/instance.h"
#include "core/linear.h"

enum {
	CREDIT = 64, /* mappings that a space takes ahead */
	KEEP = 128,  /* and keeps, at most, when some are removed */
	/* tables that anybody may have, and mappings for each one more */
	TABLES = 4096,
	TABLE_MAPPINGS = 16,
};

/* Take up to @n + @more mappings from the instance, @n at least. */
static uint64_t instance_take(struct viommu *vi, uint64_t n, uint64_t more)
{
	uint64_t now = atomic_load_explicit(&vi->mappings,
					    memory_order_relaxed),
		 got;

	do {
		if (vi->max_mappings - now < n)
			return 0;
		/* the last half is not parked */
		got = now + n < vi->max_mappings / 2 ? n + more : n;
		got = vi_min(got, vi->max_mappings - now);
	} while (!atomic_compare_exchange_weak(&vi->mappings, &now, now + got));
	return got;
}

int vi_quota_take_locked(struct viommu_space *s, uint64_t n)
{
	uint64_t got;

	if (s->max_mappings - (s->mapped - s->unmapped) < n)
		return -ENOSPC;
	if (VI_UNLIKELY(s->credit < n)) {
		got = instance_take(s->vi, n - s->credit, CREDIT);
		if (!got)
			return -EAGAIN;
		s->credit += got;
	}
	s->credit -= n;
	return 0;
}

void vi_quota_put_locked(struct viommu_space *s, uint64_t n)
{
	s->credit += n;
	if (VI_LIKELY(s->credit <= KEEP))
		return;
	atomic_fetch_sub(&s->vi->mappings, s->credit - CREDIT);
	s->credit = CREDIT;
}

void vi_quota_leave_locked(struct viommu_space *s)
{
	struct viommu *vi = s->vi;

	atomic_fetch_sub(&vi->mappings, s->mapped - s->unmapped + s->credit);
	atomic_fetch_add(&vi->mapped, s->mapped);
	atomic_fetch_add(&vi->unmapped, s->mapped);
	s->credit = 0;
}

bool vi_quota_reclaim(struct viommu *vi)
{
	struct vi_list *l;
	uint64_t got = 0;

	vi_lock(&vi->lock);
	vi_list_for_each (l, &vi->spaces) {
		struct viommu_space *s =
			vi_list_of(l, struct viommu_space, link);

		vi_lock(&s->lock);
		got += s->credit;
		atomic_fetch_sub(&vi->mappings, s->credit);
		s->credit = 0;
		vi_unlock(&s->lock);
	}
	vi_unlock(&vi->lock);
	return got;
}

void vi_quota_tables(struct viommu_space *s)
{
	s->table.max_tables = TABLES + s->max_mappings / TABLE_MAPPINGS;
	s->table.max_pool_tables =
		TABLES + s->vi->max_mappings / TABLE_MAPPINGS;
}

void vi_quota_read_stats(struct viommu *vi, struct viommu_stats *out)
{
	struct vi_list *l;

	vi_lock(&vi->lock);
	out->mapped = atomic_load(&vi->mapped);
	out->unmapped = atomic_load(&vi->unmapped);
	vi_list_for_each (l, &vi->spaces) {
		struct viommu_space *s =
			vi_list_of(l, struct viommu_space, link);

		vi_lock(&s->lock);
		out->mapped += s->mapped;
		out->unmapped += s->unmapped;
		if (s->linear)
			vi_linear_count(s->linear, &out->mapped,
					&out->unmapped);
		vi_unlock(&s->lock);
	}
	vi_unlock(&vi->lock);
	out->mappings = out->mapped - out->unmapped;
}
