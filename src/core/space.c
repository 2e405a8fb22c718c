/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What IOVAs mean.  Writers of one space take turns under its lock; accesses
 * read the table without (radix.h) and are waited for by fences (pin.h).
 *
 * map: check, then one call that publishes or changes nothing.  unmap: check
 * for cuts at both edges, gather, remove; it allocates nothing (L5).
 */
#include "core/space.h"

#include <errno.h>

#include "base/opts.h"
#include "core/endpoint.h"
#include "core/fence.h"
#include "core/instance.h"

enum {
	PROT_ALL = VIOMMU_READ | VIOMMU_WRITE | VIOMMU_EXEC | VIOMMU_PRIV |
		   VIOMMU_MMIO,
	GRANULE_MAX_LG2 = 30,
};

static void space_free(struct vi_retire *retire)
{
	struct viommu_space *s =
		vi_list_of(retire, struct viommu_space, retire);

	vi_radix_fini(&s->table);
	vi_lock_fini(&s->lock);
	vi_free(&s->vi->env, s);
}

int viommu_space_create(struct viommu *vi, const struct viommu_space_config *in,
			struct viommu_space **out)
{
	struct viommu_space_config c;
	struct viommu_space *s;
	unsigned lg2;

	if (vi_opts_copy(&c, sizeof(c), in, in->size, sizeof(c)) ||
	    c.kind > VIOMMU_SPACE_IDENTITY || c.reserved || c.last < c.start ||
	    !c.page_sizes)
		return -EINVAL;
	lg2 = (unsigned)__builtin_ctzll(c.page_sizes);
	if (lg2 > GRANULE_MAX_LG2)
		return -EINVAL;
	s = vi_alloc(&vi->env, sizeof(*s), _Alignof(max_align_t));
	if (!s)
		return -ENOMEM;
	s->vi = vi;
	s->kind = (enum viommu_space_kind)c.kind;
	s->start = c.start;
	s->last = c.start || c.last ? c.last : UINT64_MAX;
	s->retire.free = space_free;
	vi_list_init(&s->endpoints);
	vi_lock_init(&s->lock);
	vi_radix_init(&s->table, &vi->tables, lg2);
	*out = s;
	return 0;
}

void viommu_space_destroy(struct viommu_space *s, struct viommu_fence *f)
{
	struct viommu *vi = s->vi;

	vi_lock(&vi->lock);
	vi_lock(&s->lock);
	while (!vi_list_empty(&s->endpoints)) {
		struct viommu_endpoint *ep = vi_list_of(
			s->endpoints.next, struct viommu_endpoint, space_link);

		vi_list_remove(&ep->space_link);
		atomic_store(&ep->space, NULL);
	}
	atomic_fetch_sub(&vi->mappings, s->mappings);
	atomic_fetch_add_explicit(&vi->unmapped, s->mappings,
				  memory_order_relaxed);
	vi_unlock(&s->lock);
	vi_unlock(&vi->lock);
	vi_fence_gather(f, vi,
			&(struct vi_extent){ .space = s, .last = UINT64_MAX });
	s->retire.next = NULL;
	vi_fence_retire(f, &s->retire);
}

/* ---- map -------------------------------------------------------------- */

static int mapping_check(const struct viommu_space *s,
			 const struct viommu_mapping *m)
{
	uint64_t mask = vi_mask(s->table.granule_lg2);

	if (s->kind != VIOMMU_SPACE_MAPPED || m->last < m->start ||
	    m->reserved || !m->prot || (m->prot & ~(uint32_t)PROT_ALL))
		return -EINVAL;
	if ((m->start & mask) || (~m->last & mask) || (m->gpa & mask))
		return -ERANGE;
	if (m->start < s->start || m->last > s->last ||
	    m->gpa + (m->last - m->start) < m->gpa)
		return -ERANGE;
	return 0;
}

static bool range_reserved_locked(const struct viommu_space *s, uint64_t start,
				  uint64_t last) VI_REQUIRES(&s->lock)
{
	struct vi_list *l;

	vi_list_for_each (l, &s->endpoints)
		if (vi_endpoint_reserved(
			    vi_list_of(l, struct viommu_endpoint, space_link),
			    start, last))
			return true;
	return false;
}

int viommu_space_map(struct viommu_space *s, const struct viommu_mapping *m)
{
	struct viommu *vi = s->vi;
	int rc = mapping_check(s, m);

	if (rc)
		return rc;
	if (atomic_fetch_add(&vi->mappings, 1) >= vi->max_mappings) {
		atomic_fetch_sub(&vi->mappings, 1);
		return -ENOSPC;
	}
	vi_lock(&s->lock);
	if (range_reserved_locked(s, m->start, m->last))
		rc = -EADDRNOTAVAIL;
	else
		rc = vi_radix_map(&s->table, m->start, m->last, m->gpa,
				  m->prot);
	if (!rc)
		s->mappings++;
	vi_unlock(&s->lock);
	if (rc)
		atomic_fetch_sub(&vi->mappings, 1);
	else
		atomic_fetch_add_explicit(&vi->mapped, 1, memory_order_relaxed);
	return rc;
}

/* ---- unmap ------------------------------------------------------------ */

static void unmap_locked(struct viommu_space *s, uint64_t start, uint64_t last,
			 struct viommu_fence *f, struct vi_removed *removed)
	VI_REQUIRES(&s->lock)
{
	struct vi_retire *tables = NULL;

	vi_radix_unmap(&s->table, start, last, &tables, removed);
	s->mappings -= removed->mappings;
	vi_fence_gather(f, s->vi,
			&(struct vi_extent){
				.space = s, .start = start, .last = last });
	if (tables)
		vi_fence_retire(f, tables);
}

int64_t viommu_space_unmap(struct viommu_space *s, viommu_iova_t start,
			   viommu_iova_t last, struct viommu_fence *f)
{
	struct vi_removed removed = { 0 };
	bool cuts;

	if (last < start || s->kind != VIOMMU_SPACE_MAPPED)
		return -EINVAL;
	vi_lock(&s->lock);
	cuts = vi_radix_cuts(&s->table, start, last);
	if (!cuts)
		unmap_locked(s, start, last, f, &removed);
	vi_unlock(&s->lock);
	if (cuts)
		return -ERANGE;
	if (removed.mappings) {
		atomic_fetch_sub(&s->vi->mappings, removed.mappings);
		atomic_fetch_add_explicit(&s->vi->unmapped, removed.mappings,
					  memory_order_relaxed);
	}
	return (int64_t)vi_min(removed.bytes, INT64_MAX);
}

/* ---- looking ---------------------------------------------------------- */

bool vi_space_next_locked(const struct viommu_space *s, uint64_t iova,
			  struct viommu_mapping *out)
{
	if (s->kind == VIOMMU_SPACE_MAPPED)
		return vi_radix_next(&s->table, iova, out);
	*out = (struct viommu_mapping){ .start = s->start,
					.last = s->last,
					.gpa = s->start,
					.prot = PROT_ALL & ~VIOMMU_MMIO };
	return iova <= s->last;
}

bool vi_space_maps_locked(const struct viommu_space *s, uint64_t start,
			  uint64_t last)
{
	struct viommu_mapping m;

	return vi_space_next_locked(s, start, &m) && m.start <= last;
}

int viommu_space_next(struct viommu_space *s, viommu_iova_t iova,
		      struct viommu_mapping *out)
{
	bool found;

	vi_lock(&s->lock);
	found = vi_space_next_locked(s, iova, out);
	vi_unlock(&s->lock);
	return found ? 0 : -ENOENT;
}
