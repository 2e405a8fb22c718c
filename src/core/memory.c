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
#include "core/notifier.h"

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
	vi_radix_init(&mem->table, &vi->tables, 0);
	*out = mem;
	return 0;
}

/* ---- regions, by GPA --------------------------------------------------- */

struct vi_region *vi_memory_first_locked(struct viommu_memory *mem,
					 uint64_t gpa, uint64_t last)
{
	struct vi_icursor at = { 0 };
	struct vi_inode *n = vi_itree_next(&mem->by_gpa, mem, gpa, last, &at);

	return n ? vi_list_of(n, struct vi_region, by_gpa) : NULL;
}

struct vi_region *vi_memory_after_locked(struct viommu_memory *mem,
					 const struct vi_region *r,
					 uint64_t last)
{
	if (r->last >= last)
		return NULL;
	return vi_memory_first_locked(mem, r->last + 1, last);
}

static void region_describe(const struct vi_region *r,
			    struct viommu_region *out)
{
	*out = (struct viommu_region){
		.size = sizeof(*out),
		.gpa = r->gpa,
		.len = r->last - r->gpa + 1,
		.host = (void *)(uintptr_t)r->host.start,
		.prot = r->prot,
		.fd = -1,
	};
}

int viommu_memory_next(struct viommu_memory *mem, viommu_gpa_t gpa,
		       struct viommu_region *out)
{
	struct viommu_region c;
	struct vi_region *r;

	if (out->size > sizeof(c))
		return -EINVAL;
	vi_lock(&mem->lock);
	r = vi_memory_first_locked(mem, gpa, UINT64_MAX);
	if (r)
		region_describe(r, &c);
	vi_unlock(&mem->lock);
	if (!r)
		return -ENOENT;
	c.size = out->size;
	memcpy(out, &c, out->size);
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
	r->prot = c->prot;
	r->by_gpa.key = mem;
	r->by_gpa.start = r->gpa;
	r->by_gpa.last = r->last;
	r->host.key = mem;
	r->host.start = (uintptr_t)host;
	r->host.last = (uintptr_t)host + (c->len - 1);
	atomic_fetch_add(&mem->refs, 1);
	*out = r;
	return 0;
}

static int region_publish_locked(struct viommu_memory *mem, struct vi_region *r)
	VI_REQUIRES(&mem->lock)
{
	int rc;

	if (vi_memory_first_locked(mem, r->gpa, r->last))
		return -EEXIST;
	/* no access may find memory whose log is not there */
	rc = vi_dirty_cover_locked(mem, r);
	if (rc)
		return rc;
	rc = vi_radix_map(&mem->table, r->gpa, r->last, r->host.start, r->prot);
	if (rc) {
		vi_dirty_uncover_locked(mem, r, NULL);
		return rc == -ERANGE ? -EOVERFLOW : rc;
	}
	vi_itree_insert(&mem->by_gpa, &r->by_gpa);
	vi_itree_insert(&mem->by_host, &r->host);
	return 0;
}

/* Tell, then publish; it may be refused. */
static int region_add(struct viommu_memory *mem, struct vi_region *r)
	VI_REQUIRES(&mem->vi->notify_lock)
{
	struct viommu_region told;
	int rc = 0;

	region_describe(r, &told);
	vi_lock(&mem->lock);
	if (vi_memory_first_locked(mem, r->gpa, r->last))
		rc = -EEXIST;
	vi_unlock(&mem->lock);
	if (!rc)
		rc = vi_notify_ram_add(mem, &told);
	if (rc)
		return rc;
	vi_lock(&mem->lock);
	rc = region_publish_locked(mem, r);
	vi_unlock(&mem->lock);
	if (rc)
		vi_notify_ram_remove(mem, r->gpa, r->last, NULL);
	return rc;
}

int viommu_memory_add(struct viommu_memory *mem, const struct viommu_region *in)
{
	struct viommu_region c;
	struct vi_region *r;
	int rc;

	if (vi_opts_copy(&c, sizeof(c), in, in->size, sizeof(c)))
		return -EINVAL;
	if (!c.len || c.gpa + (c.len - 1) < c.gpa || !c.prot ||
	    (c.prot & ~(uint32_t)(VIOMMU_READ | VIOMMU_WRITE)))
		return -EINVAL;
	if (c.host && (uintptr_t)c.host + (c.len - 1) < (uintptr_t)c.host)
		return -EINVAL;
	if (!c.host && (c.fd < 0 || c.fd_offset + c.len < c.len))
		return -EINVAL;
	rc = region_make(mem, &c, &r);
	if (rc)
		return rc;
	vi_lock(&mem->vi->notify_lock);
	rc = region_add(mem, r);
	vi_unlock(&mem->vi->notify_lock);
	if (rc)
		region_free(r); /* no access has seen it */
	return rc;
}

/* ---- remove ----------------------------------------------------------- */

static void region_take_locked(struct viommu_memory *mem, struct vi_region *r,
			       struct viommu_fence *f, struct vi_retire **gone)
	VI_REQUIRES(&mem->lock)
{
	struct vi_removed removed = { 0 };

	vi_radix_unmap(&mem->table, r->gpa, r->last, gone, &removed);
	vi_fence_gather(f, mem->vi,
			&(struct vi_extent){
				.mem = mem, .start = r->gpa, .last = r->last });
	vi_dirty_uncover_locked(mem, r, gone);
	vi_itree_remove(&mem->by_gpa, &r->by_gpa);
	vi_itree_remove(&mem->by_host, &r->host);
	vi_retire_add(gone, &r->retire);
}

/* Take those in [gpa, last] out, which cuts none; they and the tables they
 * leave go with @f. */
static void regions_remove_locked(struct viommu_memory *mem, uint64_t gpa,
				  uint64_t last, struct viommu_fence *f)
	VI_REQUIRES(&mem->lock)
{
	struct vi_region *r = vi_memory_first_locked(mem, gpa, last), *next;
	struct vi_retire *gone = NULL;

	for (; r; r = next) {
		next = vi_memory_after_locked(mem, r, last);
		region_take_locked(mem, r, f, &gone);
	}
	if (!gone)
		return;
	/* windows: after the table, before the fence can be committed */
	atomic_store(&mem->generation, generation_next());
	vi_fence_retire(f, gone);
}

/* Can [gpa, last] be removed?  0, -ENOENT, -ERANGE. */
static int regions_check_locked(struct viommu_memory *mem, uint64_t gpa,
				uint64_t last) VI_REQUIRES(&mem->lock)
{
	const struct vi_region *r = vi_memory_first_locked(mem, gpa, last);

	if (!r)
		return -ENOENT;
	if (r->gpa < gpa)
		return -ERANGE;
	if (r->last < last)
		r = vi_memory_first_locked(mem, last, last);
	return r && r->last > last ? -ERANGE : 0;
}

int viommu_memory_remove(struct viommu_memory *mem, viommu_gpa_t gpa,
			 uint64_t len, struct viommu_fence *f)
{
	uint64_t last = gpa + (len - 1);
	int rc;

	if (!len)
		last = UINT64_MAX;
	if (last < gpa)
		return -EINVAL;
	vi_lock(&mem->vi->notify_lock);
	vi_lock(&mem->lock);
	rc = regions_check_locked(mem, gpa, last);
	if (!rc)
		regions_remove_locked(mem, gpa, last, f);
	vi_unlock(&mem->lock);
	if (!rc)
		vi_notify_ram_remove(mem, gpa, last, f);
	vi_unlock(&mem->vi->notify_lock);
	return rc;
}

void viommu_memory_destroy(struct viommu_memory *mem, struct viommu_fence *f)
{
	VI_BUG_ON(mem == mem->vi->memory);
	viommu_memory_dirty_stop(mem, f);
	vi_lock(&mem->lock);
	regions_remove_locked(mem, 0, UINT64_MAX, f);
	vi_unlock(&mem->lock);
	/* L8: also where there was no region, somebody may be looking */
	vi_fence_gather(f, mem->vi,
			&(struct vi_extent){ .mem = mem, .last = UINT64_MAX });
	mem->retire.next = NULL;
	vi_fence_retire(f, &mem->retire);
}
