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
#include "core/dirty.h"
#include "core/fence.h"
#include "core/instance.h"
#include "core/move.h"
#include "core/notifier.h"

/* A generation that no memory had before, nor will have. */
static uint64_t generation_next(void)
{
	static _Atomic(uint64_t) last;

	return atomic_fetch_add(&last, 1) + 1;
}

void vi_memory_changed(struct viommu_memory *mem)
{
	atomic_store(&mem->generation, generation_next());
}

void vi_memory_get(struct viommu_memory *mem)
{
	atomic_fetch_add(&mem->refs, 1);
}

void vi_memory_put(struct viommu_memory *mem)
{
	if (atomic_fetch_sub(&mem->refs, 1) != 1)
		return;
	pthread_cond_destroy(&mem->moved);
	vi_lock_fini(&mem->lock);
	vi_lock_fini(&mem->backings_lock);
	vi_free(&mem->vi->env, mem);
}

static void memory_retired(struct vi_retire *retire)
{
	struct viommu_memory *mem =
		vi_list_of(retire, struct viommu_memory, retire);

	vi_radix_fini(&mem->table);
	vi_memory_put(mem);
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
	vi_cond_init(&mem->moved);
	vi_list_init(&mem->moves);
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

int viommu_memory_next(struct viommu_memory *mem, viommu_gpa_t gpa,
		       struct viommu_region *out)
{
	struct viommu_region c;
	struct vi_region *r;

	if (out->size > sizeof(c))
		return -EINVAL;
	vi_lock(&mem->lock);
	r = vi_memory_first_locked(mem, gpa, UINT64_MAX);
	/* shadows were told that it goes: they must not find the old place */
	while (r && vi_move_hides_locked(mem, r))
		r = vi_memory_after_locked(mem, r, UINT64_MAX);
	if (r)
		vi_region_describe(r, r->gpa, r->last, &c);
	vi_unlock(&mem->lock);
	if (!r)
		return -ENOENT;
	c.size = out->size;
	memcpy(out, &c, out->size);
	return 0;
}

/* ---- add -------------------------------------------------------------- */

void vi_memory_insert_locked(struct viommu_memory *mem, struct vi_region *r)
{
	vi_itree_insert(&mem->by_gpa, &r->by_gpa);
	if (!r->device)
		vi_itree_insert(&mem->by_host, &r->host);
}

static void trees_remove_locked(struct viommu_memory *mem, struct vi_region *r)
	VI_REQUIRES(&mem->lock)
{
	vi_itree_remove(&mem->by_gpa, &r->by_gpa);
	if (!r->device)
		vi_itree_remove(&mem->by_host, &r->host);
}

static int table_map_locked(struct viommu_memory *mem,
			    const struct vi_region *r) VI_REQUIRES(&mem->lock)
{
	return vi_radix_map(&mem->table, r->gpa, r->last,
			    r->device ? r->gpa : r->host.start,
			    vi_region_leaf(r));
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
	rc = table_map_locked(mem, r);
	if (rc) {
		vi_dirty_uncover_locked(mem, r, NULL);
		return rc == -ERANGE ? -EOVERFLOW : rc;
	}
	vi_memory_insert_locked(mem, r);
	return 0;
}

/* Tell, then publish; it may be refused. */
static int region_add(struct viommu_memory *mem, struct vi_region *r)
	VI_REQUIRES(&mem->vi->notify_lock)
{
	struct viommu_region told;
	int rc = 0;

	vi_region_describe(r, r->gpa, r->last, &told);
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
	int rc = vi_region_check(&c, in);

	if (!rc)
		rc = vi_region_make(mem, &c, &r);
	if (rc)
		return rc;
	vi_lock(&mem->vi->notify_lock);
	rc = region_add(mem, r);
	vi_unlock(&mem->vi->notify_lock);
	if (rc)
		vi_region_free(r);
	return rc;
}

/* ---- cut -------------------------------------------------------------- */

/* Let a region end before @at, and another, @right, begin there. */
static void region_cut_locked(struct viommu_memory *mem, uint64_t at,
			      struct vi_region *right) VI_REQUIRES(&mem->lock)
{
	struct vi_region *r = vi_memory_first_locked(mem, at, at);

	trees_remove_locked(mem, r);
	vi_region_split(r, at, right);
	vi_dirty_split_locked(mem, at);
	vi_memory_insert_locked(mem, r);
	vi_memory_insert_locked(mem, right);
}

static bool inside_locked(struct viommu_memory *mem, uint64_t at)
	VI_REQUIRES(&mem->lock)
{
	const struct vi_region *r = vi_memory_first_locked(mem, at, at);

	return r && r->gpa < at;
}

int vi_memory_cut_locked(struct viommu_memory *mem, uint64_t gpa, uint64_t last)
{
	/* where a region begins there shall be a boundary; 0 is one */
	const uint64_t at[] = { gpa, last + 1 };
	struct vi_region *right[2] = { NULL, NULL };
	int rc = 0;

	for (int i = 0; i < 2 && !rc; i++) {
		if (!inside_locked(mem, at[i]))
			continue;
		right[i] = vi_alloc(&mem->vi->env, sizeof(*right[i]),
				    _Alignof(max_align_t));
		if (!right[i])
			rc = -ENOMEM;
	}
	if (!rc && (right[0] || right[1]))
		rc = vi_radix_cut(&mem->table, gpa, last);
	for (int i = 0; i < 2; i++) {
		if (rc < 0)
			vi_free(&mem->vi->env, right[i]);
		else if (right[i])
			region_cut_locked(mem, at[i], right[i]);
	}
	return rc < 0 ? rc : 0;
}

/* ---- remove ----------------------------------------------------------- */

void vi_memory_take_locked(struct viommu_memory *mem, struct vi_region *r,
			   struct vi_retire **gone)
{
	vi_dirty_uncover_locked(mem, r, gone);
	trees_remove_locked(mem, r);
	vi_retire_add(gone, &r->retire);
}

static void region_take_locked(struct viommu_memory *mem, struct vi_region *r,
			       struct vi_retire **gone) VI_REQUIRES(&mem->lock)
{
	struct vi_removed removed = { 0 };

	vi_radix_unmap(&mem->table, r->gpa, r->last, gone, &removed);
	vi_memory_take_locked(mem, r, gone);
}

/* Take those in [gpa, last] out, which cuts none; they and the tables they
 * leave go with @f.  Holes are gathered, too: what went there before may still
 * be waited for. */
static void regions_remove_locked(struct viommu_memory *mem, uint64_t gpa,
				  uint64_t last, struct viommu_fence *f)
	VI_REQUIRES(&mem->lock)
{
	struct vi_region *r = vi_memory_first_locked(mem, gpa, last), *next;
	struct vi_retire *gone = NULL;

	if (VI_MUTANT == VI_MUTANT_GIVE_UP_TELL_FIRST)
		vi_memory_changed(mem);
	for (; r; r = next) {
		next = vi_memory_after_locked(mem, r, last);
		region_take_locked(mem, r, &gone);
	}
	if (!gone)
		return;
	if (VI_MUTANT != VI_MUTANT_GIVE_UP_TELL_FIRST)
		vi_memory_changed(mem);
	vi_fence_gather(
		f, mem->vi,
		&(struct vi_extent){ .mem = mem, .start = gpa, .last = last });
	vi_fence_retire(f, gone);
}

/* Can [gpa, last] be removed?  0, -ENOENT, -ERANGE, -EBUSY. */
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
	if (r && r->last > last)
		return -ERANGE;
	return vi_move_find_locked(mem, gpa, last) ? -EBUSY : 0;
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

static int give_up_locked(struct viommu_memory *mem, uint64_t gpa,
			  uint64_t last, struct viommu_fence *f)
	VI_REQUIRES(&mem->lock)
{
	int rc;

	if (!vi_memory_first_locked(mem, gpa, last))
		return -ENOENT;
	if (vi_move_find_locked(mem, gpa, last))
		return -EBUSY;
	rc = vi_memory_cut_locked(mem, gpa, last);
	if (!rc)
		regions_remove_locked(mem, gpa, last, f);
	return rc;
}

int viommu_memory_give_up(struct viommu_memory *mem, viommu_gpa_t gpa,
			  uint64_t len, struct viommu_fence *f)
{
	uint64_t last = gpa + (len - 1);
	int rc;

	if (!len || last < gpa)
		return -EINVAL;
	vi_lock(&mem->vi->notify_lock);
	vi_lock(&mem->lock);
	rc = give_up_locked(mem, gpa, last, f);
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
	/* L8: also where there is no region, somebody may be looking */
	vi_fence_gather(f, mem->vi,
			&(struct vi_extent){ .mem = mem, .last = UINT64_MAX });
	vi_lock(&mem->lock);
	vi_moves_cancel_locked(mem, f);
	regions_remove_locked(mem, 0, UINT64_MAX, f);
	vi_unlock(&mem->lock);
	mem->retire.next = NULL;
	vi_fence_retire(f, &mem->retire);
}

/* ---- devices ---------------------------------------------------------- */

bool vi_memory_device(struct viommu_memory *mem, uint64_t gpa,
		      struct vi_device *out)
{
	const struct vi_region *r;

	vi_lock(&mem->lock);
	r = vi_memory_first_locked(mem, gpa, gpa);
	if (r && r->device)
		*out = (struct vi_device){
			.ops = r->ops,
			.arg = r->arg,
			.offset = r->offset + (gpa - r->gpa),
			.len = r->last - gpa + 1,
			.prot = r->prot,
		};
	else
		r = NULL;
	vi_unlock(&mem->lock);
	return r;
}
