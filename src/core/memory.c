/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What guest-physical addresses mean.  Adding builds the region aside and
 * publishes it in the tree; removing takes it from the tree, gathers its GPA
 * range, and retires it: host memory and mapping go when the fence is done.
 *
 * A region that is retired keeps the structure of its memory, whose files it
 * shares: its fence may be done after the one that the memory went with.
 */
#include "core/memory.h"

#include <errno.h>
#include <string.h>

#include "base/opts.h"
#include "core/backing.h"
#include "core/dirty.h"
#include "core/fence.h"
#include "core/instance.h"

/* A generation that no memory had before, nor will have. */
static uint64_t generation_next(void)
{
	static _Atomic(uint64_t) last;

	return atomic_fetch_add(&last, 1) + 1;
}

static void memory_put(struct viommu_memory *mem)
{
	if (atomic_fetch_sub(&mem->refs, 1) != 1)
		return;
	vi_lock_fini(&mem->backings_lock);
	vi_free(&mem->vi->env, mem);
}

static void region_free(struct vi_region *r)
{
	struct viommu_memory *mem = r->mem;

	if (r->backing)
		vi_backing_put(r->backing);
	vi_free(&mem->vi->env, r);
	memory_put(mem);
}

static void region_retired(struct vi_retire *retire)
{
	region_free(vi_list_of(retire, struct vi_region, retire));
}

static void memory_retired(struct vi_retire *retire)
{
	struct viommu_memory *mem =
		vi_list_of(retire, struct viommu_memory, retire);

	vi_radix_fini(&mem->table);
	vi_lock_fini(&mem->lock);
	vi_free(&mem->vi->env, mem->regions);
	memory_put(mem);
}

struct viommu_memory *viommu_memory_of(struct viommu *vi)
{
	return vi->memory;
}

int viommu_memory_create(struct viommu *vi, struct viommu_memory **out)
{
	struct viommu_memory *mem = vi_alloc(&vi->env, sizeof(*mem),
					     _Alignof(struct viommu_memory));

	if (!mem)
		return -ENOMEM;
	mem->vi = vi;
	mem->retire.free = memory_retired;
	atomic_init(&mem->refs, 1);
	atomic_init(&mem->generation, generation_next());
	vi_lock_init(&mem->lock);
	vi_lock_init(&mem->backings_lock);
	vi_list_init(&mem->backings);
	vi_radix_init(&mem->table, &vi->tables, 0);
	*out = mem;
	return 0;
}

/* ---- regions, sorted -------------------------------------------------- */

size_t vi_memory_find_locked(struct viommu_memory *mem, uint64_t gpa)
{
	size_t lo = 0, hi = mem->nregions;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (mem->regions[mid]->last < gpa)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Room for one more, so that inserting cannot fail. */
static int regions_reserve_locked(struct viommu_memory *mem)
	VI_REQUIRES(&mem->lock)
{
	size_t room = mem->room ? 2 * mem->room : 16;
	struct vi_region **p;

	if (mem->nregions < mem->room)
		return 0;
	p = vi_alloc(&mem->vi->env, room * sizeof(struct vi_region *),
		     sizeof(void *));
	if (!p)
		return -ENOMEM;
	if (mem->nregions)
		memcpy(p, mem->regions,
		       mem->nregions * sizeof(struct vi_region *));
	vi_free(&mem->vi->env, mem->regions);
	mem->regions = p;
	mem->room = room;
	return 0;
}

/* ---- add -------------------------------------------------------------- */

static int region_make(struct viommu_memory *mem, const struct viommu_region *c,
		       struct vi_region **out)
{
	struct vi_region *r =
		vi_alloc(&mem->vi->env, sizeof(*r), _Alignof(max_align_t));
	void *host = c->host;
	int rc = 0;

	if (!r)
		return -ENOMEM;
	if (!host)
		rc = vi_backing_get(mem, c, &r->backing, &host);
	if (rc) {
		vi_free(&mem->vi->env, r);
		return rc;
	}
	r->retire.free = region_retired;
	r->mem = mem;
	r->gpa = c->gpa;
	r->last = c->gpa + (c->len - 1);
	r->host.key = mem;
	r->host.start = (uintptr_t)host;
	r->host.last = (uintptr_t)host + (c->len - 1);
	atomic_fetch_add(&mem->refs, 1);
	*out = r;
	return 0;
}

static int region_publish_locked(struct viommu_memory *mem, struct vi_region *r,
				 uint32_t prot) VI_REQUIRES(&mem->lock)
{
	size_t i = vi_memory_find_locked(mem, r->gpa);
	int rc;

	if (i < mem->nregions && mem->regions[i]->gpa <= r->last)
		return -EEXIST;
	rc = regions_reserve_locked(mem);
	if (rc)
		return rc;
	/* no access may find memory whose log is not there */
	rc = vi_dirty_cover_locked(mem, r);
	if (rc)
		return rc;
	rc = vi_radix_map(&mem->table, r->gpa, r->last, r->host.start, prot);
	if (rc) {
		vi_dirty_uncover_locked(mem, r, NULL);
		return rc == -ERANGE ? -EOVERFLOW : rc;
	}
	memmove(&mem->regions[i + 1], &mem->regions[i],
		(mem->nregions - i) * sizeof(struct vi_region *));
	mem->regions[i] = r;
	mem->nregions++;
	vi_itree_insert(&mem->by_host, &r->host);
	return 0;
}

int viommu_memory_add(struct viommu_memory *mem, const struct viommu_region *in)
{
	struct viommu_region c;
	struct vi_region *r;
	int rc;

	if (vi_opts_copy(&c, sizeof(c), in, in->size, sizeof(c)))
		return -EINVAL;
	if (!c.len || c.gpa + (c.len - 1) < c.gpa || !(c.prot & VIOMMU_READ) ||
	    (c.prot & ~(uint32_t)(VIOMMU_READ | VIOMMU_WRITE)))
		return -EINVAL;
	if (c.host && (uintptr_t)c.host + (c.len - 1) < (uintptr_t)c.host)
		return -EINVAL;
	if (!c.host && (c.fd < 0 || c.fd_offset + c.len < c.len))
		return -EINVAL;
	rc = region_make(mem, &c, &r);
	if (rc)
		return rc;
	vi_lock(&mem->lock);
	rc = region_publish_locked(mem, r, c.prot);
	vi_unlock(&mem->lock);
	if (rc)
		region_free(r); /* no access has seen it */
	return rc;
}

/* ---- remove ----------------------------------------------------------- */

/* Take regions [i, j) out; they and the tables they leave go with @f. */
static void regions_remove_locked(struct viommu_memory *mem, size_t i, size_t j,
				  struct viommu_fence *f)
	VI_REQUIRES(&mem->lock)
{
	struct vi_removed removed = { 0 };
	struct vi_retire *gone = NULL;

	for (size_t k = i; k < j; k++) {
		struct vi_region *r = mem->regions[k];

		vi_radix_unmap(&mem->table, r->gpa, r->last, &gone, &removed);
		vi_fence_gather(f, mem->vi,
				&(struct vi_extent){ .mem = mem,
						     .start = r->gpa,
						     .last = r->last });
		vi_dirty_uncover_locked(mem, r, &gone);
		vi_itree_remove(&mem->by_host, &r->host);
		vi_retire_add(&gone, &r->retire);
	}
	if (!gone)
		return;
	/* windows: after the table, before the fence can be committed */
	atomic_store(&mem->generation, generation_next());
	vi_fence_retire(f, gone);
	memmove(&mem->regions[i], &mem->regions[j],
		(mem->nregions - j) * sizeof(struct vi_region *));
	mem->nregions -= j - i;
}

int viommu_memory_remove(struct viommu_memory *mem, viommu_gpa_t gpa,
			 uint64_t len, struct viommu_fence *f)
{
	uint64_t last = gpa + (len - 1);
	size_t i, j;
	int rc = 0;

	if (!len)
		last = UINT64_MAX;
	if (last < gpa)
		return -EINVAL;
	vi_lock(&mem->lock);
	i = vi_memory_find_locked(mem, gpa);
	for (j = i; j < mem->nregions && mem->regions[j]->gpa <= last; j++)
		if (mem->regions[j]->gpa < gpa || mem->regions[j]->last > last)
			rc = -ERANGE;
	if (i == j)
		rc = -ENOENT;
	if (!rc)
		regions_remove_locked(mem, i, j, f);
	vi_unlock(&mem->lock);
	return rc;
}

void viommu_memory_destroy(struct viommu_memory *mem, struct viommu_fence *f)
{
	VI_BUG_ON(mem == mem->vi->memory);
	viommu_memory_dirty_stop(mem, f);
	vi_lock(&mem->lock);
	regions_remove_locked(mem, 0, mem->nregions, f);
	vi_unlock(&mem->lock);
	/* L8: also where there was no region, somebody may be looking */
	vi_fence_gather(f, mem->vi,
			&(struct vi_extent){ .mem = mem, .last = UINT64_MAX });
	mem->retire.next = NULL;
	vi_fence_retire(f, &mem->retire);
}
