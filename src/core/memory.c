/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What guest-physical addresses mean.  Adding builds the region aside and
 * publishes it in the tree; removing takes it from the tree, gathers its GPA
 * range, and retires it: host memory and mapping go when the fence is done.
 */
#include "core/memory.h"

#include <errno.h>
#include <string.h>

#include "base/opts.h"
#include "core/backing.h"
#include "core/fence.h"
#include "core/instance.h"

struct vi_region {
	struct vi_retire retire;
	struct viommu *vi;
	uint64_t gpa, last;
	struct vi_backing *backing; /* or NULL: the caller's pointer */
};

static void region_free(struct vi_region *r)
{
	if (r->backing)
		vi_backing_put(r->backing);
	vi_free(&r->vi->env, r);
}

static void region_retired(struct vi_retire *retire)
{
	region_free((struct vi_region *)(void *)retire);
}
_Static_assert(offsetof(struct vi_region, retire) == 0, "cast above");

static void memory_free(struct vi_retire *retire)
{
	struct viommu_memory *mem =
		vi_list_of(retire, struct viommu_memory, retire);

	vi_radix_fini(&mem->table);
	vi_lock_fini(&mem->lock);
	vi_free(&mem->vi->env, mem->regions);
	vi_free(&mem->vi->env, mem);
}

struct viommu_memory *viommu_memory_of(struct viommu *vi)
{
	return vi->memory;
}

int viommu_memory_create(struct viommu *vi, struct viommu_memory **out)
{
	struct viommu_memory *mem =
		vi_alloc(&vi->env, sizeof(*mem), _Alignof(max_align_t));

	if (!mem)
		return -ENOMEM;
	mem->vi = vi;
	mem->retire.free = memory_free;
	vi_lock_init(&mem->lock);
	vi_radix_init(&mem->table, &vi->tables, 0);
	*out = mem;
	return 0;
}

/* ---- regions, sorted -------------------------------------------------- */

/* The first region whose last is at or after @gpa. */
static size_t region_find_locked(struct viommu_memory *mem, uint64_t gpa)
	VI_REQUIRES(&mem->lock)
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
		       struct vi_region **out, void **host)
{
	struct viommu *vi = mem->vi;
	struct vi_region *r = vi_alloc(&vi->env, sizeof(*r), sizeof(void *));
	int rc = 0;

	if (!r)
		return -ENOMEM;
	r->retire.free = region_retired;
	r->vi = vi;
	r->gpa = c->gpa;
	r->last = c->gpa + (c->len - 1);
	*host = c->host;
	if (!c->host) {
		rc = vi_backing_get(vi, c->fd, c->fd_offset + c->len,
				    c->prot & VIOMMU_WRITE, &r->backing);
		if (!rc)
			*host = vi_backing_at(r->backing, c->fd_offset);
	}
	if (rc)
		vi_free(&vi->env, r);
	else
		*out = r;
	return rc;
}

static int region_publish_locked(struct viommu_memory *mem, struct vi_region *r,
				 void *host, uint32_t prot)
	VI_REQUIRES(&mem->lock)
{
	size_t i = region_find_locked(mem, r->gpa);
	int rc;

	if (i < mem->nregions && mem->regions[i]->gpa <= r->last)
		return -EEXIST;
	rc = regions_reserve_locked(mem);
	if (!rc)
		rc = vi_radix_map(&mem->table, r->gpa, r->last, (uintptr_t)host,
				  prot);
	if (rc)
		return rc == -ERANGE ? -EOVERFLOW : rc;
	memmove(&mem->regions[i + 1], &mem->regions[i],
		(mem->nregions - i) * sizeof(struct vi_region *));
	mem->regions[i] = r;
	mem->nregions++;
	return 0;
}

int viommu_memory_add(struct viommu_memory *mem, const struct viommu_region *in)
{
	struct viommu_region c;
	struct vi_region *r;
	void *host;
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
	rc = region_make(mem, &c, &r, &host);
	if (rc)
		return rc;
	vi_lock(&mem->lock);
	rc = region_publish_locked(mem, r, host, c.prot);
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
		vi_retire_add(&gone, &r->retire);
	}
	if (!gone)
		return;
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
	i = region_find_locked(mem, gpa);
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
	vi_lock(&mem->lock);
	regions_remove_locked(mem, 0, mem->nregions, f);
	vi_unlock(&mem->lock);
	/* L8: also where there was no region, somebody may be looking */
	vi_fence_gather(f, mem->vi,
			&(struct vi_extent){ .mem = mem, .last = UINT64_MAX });
	mem->retire.next = NULL;
	vi_fence_retire(f, &mem->retire);
}
