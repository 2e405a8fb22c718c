/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A range of GPA comes to be somewhere else.  What was there is drained of
 * writers, copied, replaced, and drained of readers:
 *
 *	begin	its leaves lose MAPPABLE and get VI_MOVING: who wants to map for
 *		writing looks, finds that, drops its pin and waits
 *		(dma/detour.c); everything else goes on
 *	maps	a fence for maps for writing that may have begun before
 *	still	its leaves lose WRITE: other writes wait, too.  Shadows lose
 *		all of it
 *	writes	a fence for accesses that may have seen a leaf with WRITE
 *	copy	nobody writes to the old place, nobody knows the new one
 *	publish	its leaves lead to the new place; then what threads remember is
 *		made stale; then they have WRITE and MAPPABLE again
 *	rest	a fence for who may still be reading in the old place
 *
 * So a write is over before the copy, or begins after the publication, and then
 * finds nothing but the new place.  A read before the publication sees what
 * every write before it has left, in the old place; after it, in the new one.
 * Each step changes leaf by leaf (table/set.c), which shows nothing else: while
 * they come to lead elsewhere nobody may write, and old and new are the same.
 *
 * Maps first, since who holds one does other things meanwhile: a device writes
 * a ring before it lets go of a buffer.  An access waits only for accesses, of
 * which none waits for it, and for the copy.  A map waits for maps, but not
 * for one that its own thread or endpoint holds: it is refused.
 *
 * The caller's fence is held from the beginning until `rest` is done, or until
 * the move is off: what is read in the old place may have begun after its
 * commit.
 *
 * Off: a holder did not let go in time and was given up (L9), the copy failed,
 * a shadow refused the new place, or the memory is destroyed.  The leaves get
 * back what they had; nothing has been written elsewhere.
 *
 * L5: once it has begun nothing is allocated.
 *
 * Locks: what a move is, and the list of moves, are the memory's lock's.  The
 * three fences are the move's own; their callbacks run with no lock.
 */
#include "core/move.h"

#include <errno.h>
#include <string.h>

#include "base/opts.h"
#include "base/range.h"
#include "core/device.h"
#include "core/dirty.h"
#include "core/fence.h"
#include "core/instance.h"
#include "core/notifier.h"

struct vi_move {
	struct vi_list link; /* in mem->moves, until it is over */
	struct viommu_memory *mem;
	struct viommu_move cfg;
	uint64_t gpa, last;
	struct vi_region *to;		/* not published, or NULL */
	struct viommu_fence *f;		/* the caller's, held */
	struct viommu_fence *destroyed; /* the memory's, held; or NULL */
	bool still, over;
	struct viommu_fence maps, writes, rest;
};

static bool overlaps(const struct vi_move *m, uint64_t gpa, uint64_t last)
{
	return vi_overlap(m->gpa, m->last, gpa, last);
}

struct vi_move *vi_move_find_locked(struct viommu_memory *mem, uint64_t gpa,
				    uint64_t last)
{
	struct vi_list *l;

	vi_list_for_each (l, &mem->moves) {
		struct vi_move *m = vi_list_of(l, struct vi_move, link);

		if (overlaps(m, gpa, last))
			return m;
	}
	return NULL;
}

bool vi_move_hides_locked(struct viommu_memory *mem, const struct vi_region *r)
{
	const struct vi_move *m = vi_move_find_locked(mem, r->gpa, r->last);

	return m && m->still;
}

bool vi_move_awaits(struct viommu_memory *mem, const struct viommu_endpoint *ep)
{
	struct vi_extent what = { .mem = mem };
	const struct vi_taking t = {
		.seq = UINT64_MAX, .what = &what, .n = 1, .writers = true
	};
	bool awaits = false;
	struct vi_list *l;

	vi_lock(&mem->lock);
	vi_list_for_each (l, &mem->moves) {
		const struct vi_move *m = vi_list_of(l, struct vi_move, link);

		what.start = m->gpa;
		what.last = m->last;
		awaits = awaits || vi_pin_holds(mem->vi, &t, ep);
	}
	vi_unlock(&mem->lock);
	return awaits;
}

void vi_moves_cancel_locked(struct viommu_memory *mem, struct viommu_fence *f)
{
	struct vi_list *l;

	vi_list_for_each (l, &mem->moves) {
		struct vi_move *m = vi_list_of(l, struct vi_move, link);

		m->destroyed = f;
		viommu_fence_hold(f);
	}
}

static __thread unsigned nowait;

void vi_nowait_begin(void)
{
	nowait++;
}

void vi_nowait_end(void)
{
	nowait--;
}

bool vi_nowait(void)
{
	return nowait;
}

void vi_move_wait(struct viommu_memory *mem, uint64_t gpa)
{
	bool moving;

	do {
		vi_fence_look(mem->vi);
		vi_fence_help(mem->vi);
		vi_lock(&mem->lock);
		moving = vi_move_find_locked(mem, gpa, gpa);
		/* under the lock: a drain that is committed from here on has
		 * its deadline told by a signal */
		if (moving)
			vi_wait_until(&mem->moved, &mem->lock,
				      vi_fence_wake(mem->vi));
		vi_unlock(&mem->lock);
	} while (moving);
}

static void move_free(struct vi_move *m)
{
	struct viommu_memory *mem = m->mem;

	vi_free(&mem->vi->env, m);
	vi_memory_put(mem);
}

static void gather(struct vi_move *m, struct viommu_fence *f)
{
	vi_fence_gather(f, m->mem->vi,
			&(struct vi_extent){ .mem = m->mem,
					     .start = m->gpa,
					     .last = m->last });
}

/* ---- over ------------------------------------------------------------- */

enum may {
	WRITE, /* but not map for writing */
	READ,
	ANYTHING,
};

static uint32_t leaf_prot(const struct vi_region *r, enum may may)
{
	uint32_t prot = vi_region_leaf(r);

	if (may == ANYTHING || (may == WRITE && r->device))
		return prot;
	prot &= ~(uint32_t)VI_MAPPABLE;
	if (may == READ)
		prot &= ~(uint32_t)VIOMMU_WRITE;
	return prot | VI_MOVING;
}

/* Those in the range, all of which are inside: what may be done there? */
static void protect_locked(struct viommu_memory *mem, struct vi_move *m,
			   enum may may) VI_REQUIRES(&mem->lock)
{
	struct vi_region *r = vi_memory_first_locked(mem, m->gpa, m->last);

	for (; r; r = vi_memory_after_locked(mem, r, m->last))
		vi_radix_protect(&mem->table, r->gpa, r->last,
				 leaf_prot(r, may));
	if (VI_MUTANT != VI_MUTANT_MOVE_NO_GENERATION)
		vi_memory_changed(mem);
}

static void over_locked(struct viommu_memory *mem, struct vi_move *m)
	VI_REQUIRES(&mem->lock)
{
	vi_list_remove(&m->link);
	m->over = true;
	vi_signal_all(&mem->moved);
}

/* Tell, then let go of the fences that waited for it. */
static void tell(struct vi_move *m, int rc)
{
	if (m->cfg.moved)
		m->cfg.moved(m->cfg.arg, rc);
}

static void let_go(struct vi_move *m)
{
	struct viommu_fence *destroyed = m->destroyed, *f = m->f;

	viommu_fence_release(f);
	if (destroyed)
		viommu_fence_release(destroyed);
}

/* ---- off -------------------------------------------------------------- */

/* Shadows were told that the old place goes: it has come back. */
static void shadows_restore(struct viommu_memory *mem, struct vi_move *m)
	VI_REQUIRES(&mem->vi->notify_lock)
{
	struct viommu_region old;
	uint64_t at = m->gpa;
	struct vi_region *r;

	do {
		vi_lock(&mem->lock);
		r = vi_memory_first_locked(mem, at, m->last);
		if (r) {
			vi_region_describe(r, at, m->last, &old);
			at = r->last + 1;
		}
		vi_unlock(&mem->lock);
		if (r)
			vi_notify_ram_back(mem, &old, m->f);
	} while (r && at - 1 < m->last);
}

static void move_off(struct vi_move *m, int rc)
{
	struct viommu_memory *mem = m->mem;

	vi_lock(&mem->vi->notify_lock);
	if (m->still)
		shadows_restore(mem, m);
	vi_lock(&mem->lock);
	if (m->destroyed)
		rc = -ECANCELED;
	protect_locked(mem, m, ANYTHING);
	over_locked(mem, m);
	vi_unlock(&mem->lock);
	vi_unlock(&mem->vi->notify_lock);
	vi_region_free(m->to); /* nobody has seen it */
	m->to = NULL;
	tell(m, rc);
	let_go(m);
}

/* L9: who held on has been given up, and may write yet. */
static void drain_failed(struct viommu_fence *drain, void *arg)
{
	(void)drain;
	move_off(arg, -ETIMEDOUT);
}

/* A drain has its deadline from its commit on: those who wait must know. */
static void drain_commit(struct vi_move *m, struct viommu_fence *drain,
			 viommu_fence_fn *done)
{
	struct viommu_memory *mem = m->mem;

	viommu_fence_set_timeout(drain, m->cfg.timeout_ns);
	viommu_fence_set_failed(drain, drain_failed);
	vi_fence_of_move(drain, NULL);
	vi_memory_get(mem);
	viommu_fence_commit(drain, done, m);
	/* the move may be over, and gone */
	vi_lock(&mem->lock);
	vi_signal_all(&mem->moved);
	vi_unlock(&mem->lock);
	vi_memory_put(mem);
}

/* ---- copy ------------------------------------------------------------- */

enum {
	CHUNK = 4096,
};

static int bytes_read(const struct viommu_region *r, uint64_t at, void *buf,
		      size_t len)
{
	if (r->device)
		return vi_device_read(r->device, r->arg, r->fd_offset + at, buf,
				      len);
	memcpy(buf, (const char *)r->host + at, len);
	return 0;
}

static int bytes_write(const struct viommu_region *r, uint64_t at,
		       const void *buf, size_t len)
{
	if (r->device)
		return vi_device_write(r->device, r->arg, r->fd_offset + at,
				       buf, len);
	memcpy((char *)r->host + at, buf, len);
	return 0;
}

/* Can they be asked for their bytes? */
static bool devices_do(const struct viommu_device_ops *from,
		       const struct viommu_device_ops *to)
{
	return (!from || from->read || from->load) &&
	       (!to || to->write || to->store);
}

/* If nobody else does. */
static int copy(void *arg, const struct viommu_region *from,
		const struct viommu_region *to)
{
	char buf[CHUNK];
	int rc = 0;

	(void)arg;
	if (from->host && to->host) {
		if (from->host != to->host)
			memcpy(to->host, from->host, from->len);
		return 0;
	}
	if (!devices_do(from->device, to->device))
		return -EACCES;
	for (uint64_t at = 0; at < from->len && !rc; at += CHUNK) {
		size_t n = vi_min(CHUNK, from->len - at);

		rc = bytes_read(from, at, buf, n);
		if (!rc)
			rc = bytes_write(to, at, buf, n);
	}
	return rc;
}

/* Piece by piece.  Regions in the range stay: they are busy, and the memory's
 * destruction, which takes them, waits for the move. */
static int copy_all(struct vi_move *m)
{
	struct viommu_memory *mem = m->mem;
	struct viommu_region from, to;
	struct vi_region *r;
	uint64_t at = m->gpa;
	int rc = 0;

	do {
		vi_lock(&mem->lock);
		r = vi_memory_first_locked(mem, at, m->last);
		if (r) {
			vi_region_describe(r, at, m->last, &from);
			at = r->last + 1;
		}
		vi_unlock(&mem->lock);
		if (!r)
			return -ECANCELED; /* the memory is gone */
		vi_region_describe(m->to, from.gpa, from.gpa + (from.len - 1),
				   &to);
		vi_nowait_begin();
		rc = (m->cfg.copy ? m->cfg.copy : copy)(m->cfg.arg, &from, &to);
		vi_nowait_end();
		rc = rc > 0 ? -EIO : rc;
	} while (!rc && at - 1 < m->last);
	return rc;
}

/* ---- publish ---------------------------------------------------------- */

/* L9: who reads in the old place did not stop in time. */
static void rest_failed(struct viommu_fence *rest, void *arg)
{
	const struct vi_move *m = arg;

	(void)rest;
	vi_fence_fail(m->f);
}

static void rest_done(struct viommu_fence *rest, void *arg)
{
	struct vi_move *m = arg;

	(void)rest;
	if (VI_MUTANT != VI_MUTANT_MOVE_NO_REST)
		let_go(m);
	move_free(m);
}

/* A log has nothing of what a device had. */
static bool was_device_locked(struct viommu_memory *mem, struct vi_move *m)
	VI_REQUIRES(&mem->lock)
{
	struct vi_region *r = vi_memory_first_locked(mem, m->gpa, m->last);

	while (r && !r->device)
		r = vi_memory_after_locked(mem, r, m->last);
	return r;
}

/* Leaves lead to the new place, where no more than @may be done. */
static void retarget_locked(struct viommu_memory *mem, struct vi_move *m,
			    enum may may) VI_REQUIRES(&mem->lock)
{
	atomic_fetch_add(&mem->turns, 1);
	vi_radix_retarget(&mem->table, m->gpa, m->last,
			  m->to->device ? m->gpa : m->to->host.start,
			  leaf_prot(m->to, may));
	atomic_fetch_add(&mem->turns, 1);
}

/* The new region in the place of the old ones. */
static void publish_locked(struct viommu_memory *mem, struct vi_move *m)
	VI_REQUIRES(&mem->lock)
{
	struct vi_region *to = m->to, *r, *next;
	bool mark = !to->device && was_device_locked(mem, m);
	struct vi_retire *gone = NULL;

	vi_dirty_inherit_locked(mem, to);
	r = vi_memory_first_locked(mem, m->gpa, m->last);
	for (; r; r = next) {
		next = vi_memory_after_locked(mem, r, m->last);
		vi_memory_take_locked(mem, r, &gone);
	}
	vi_memory_insert_locked(mem, to);
	retarget_locked(mem, m,
			VI_MUTANT == VI_MUTANT_MOVE_ONE_STEP ? ANYTHING : READ);
	if (mark && vi_dirty_on(mem))
		vi_dirty_mark_slow(mem, m->gpa, m->last - m->gpa + 1);
	vi_memory_changed(mem);
	vi_radix_protect(&mem->table, m->gpa, m->last, leaf_prot(to, ANYTHING));
	gather(m, &m->rest);
	vi_fence_retire(&m->rest, gone);
	m->to = NULL;
	over_locked(mem, m);
}

static int publish(struct vi_move *m)
{
	struct viommu_memory *mem = m->mem;
	struct viommu_region told;
	bool gone;
	int rc;

	vi_region_describe(m->to, m->gpa, m->last, &told);
	vi_lock(&mem->vi->notify_lock);
	rc = vi_notify_ram_add(mem, &told);
	vi_lock(&mem->lock);
	gone = !rc && m->destroyed;
	if (!rc && !gone)
		publish_locked(mem, m);
	vi_unlock(&mem->lock);
	if (gone) {
		vi_notify_ram_remove(mem, m->gpa, m->last, m->f);
		rc = -ECANCELED;
	}
	vi_unlock(&mem->vi->notify_lock);
	return rc;
}

static void written(struct viommu_fence *writes, void *arg)
{
	struct vi_move *m = arg;
	int rc;

	(void)writes;
	if (m->over) { /* it failed, before */
		move_free(m);
		return;
	}
	rc = copy_all(m);
	if (!rc)
		rc = publish(m);
	if (rc) {
		move_off(m, rc);
		move_free(m);
		return;
	}
	tell(m, 0);
	if (VI_MUTANT == VI_MUTANT_MOVE_NO_REST)
		let_go(m);
	viommu_fence_set_failed(&m->rest, rest_failed);
	vi_fence_of_move(&m->rest, m->f);
	viommu_fence_commit(&m->rest, rest_done, m);
}

/* ---- still ------------------------------------------------------------ */

static void unmapped(struct viommu_fence *maps, void *arg)
{
	struct vi_move *m = arg;
	struct viommu_memory *mem = m->mem;

	(void)maps;
	if (m->over) { /* it failed, before */
		move_free(m);
		return;
	}
	vi_lock(&mem->vi->notify_lock);
	vi_lock(&mem->lock);
	m->still = true;
	protect_locked(mem, m, READ);
	if (VI_MUTANT == VI_MUTANT_MOVE_EARLY_PUBLISH)
		retarget_locked(mem, m, ANYTHING);
	vi_fence_gather(&m->writes, mem->vi, NULL);
	if (VI_MUTANT != VI_MUTANT_MOVE_NO_DRAIN)
		gather(m, &m->writes);
	vi_unlock(&mem->lock);
	vi_notify_ram_remove(mem, m->gpa, m->last, &m->writes);
	vi_unlock(&mem->vi->notify_lock);
	/* no map for writing is left: this is for accesses.  One for reading
	 * may stay */
	vi_fence_writers_only(&m->writes);
	drain_commit(m, &m->writes, written);
}

/* ---- begin ------------------------------------------------------------ */

/* Is there memory all over [gpa, last], none of it moving? */
static int range_check_locked(struct viommu_memory *mem, uint64_t gpa,
			      uint64_t last) VI_REQUIRES(&mem->lock)
{
	const struct vi_region *r = vi_memory_first_locked(mem, gpa, gpa);

	while (r && r->last < last)
		r = vi_memory_first_locked(mem, r->last + 1, r->last + 1);
	if (!r)
		return -ENOENT;
	return vi_move_find_locked(mem, gpa, last) ? -EBUSY : 0;
}

/* Is any byte of the new place another one's in the old? */
static bool places_clash_locked(struct viommu_memory *mem,
				const struct vi_move *m) VI_REQUIRES(&mem->lock)
{
	const struct vi_region *to = m->to, *r;

	r = vi_memory_first_locked(mem, m->gpa, m->last);
	for (; r && !to->device; r = vi_memory_after_locked(mem, r, m->last))
		if (!r->device &&
		    r->host.start - r->gpa != to->host.start - to->gpa &&
		    vi_overlap(r->host.start, r->host.last, to->host.start,
			       to->host.last))
			return true;
	return false;
}

static int begin_locked(struct viommu_memory *mem, struct vi_move *m)
	VI_REQUIRES(&mem->lock)
{
	int rc = range_check_locked(mem, m->gpa, m->last);

	if (!rc && places_clash_locked(mem, m))
		rc = -EINVAL;
	if (!rc && !m->to->device &&
	    !vi_radix_fits(&mem->table, m->gpa, m->to->host.start))
		rc = -EOVERFLOW;
	if (!rc)
		rc = vi_memory_cut_locked(mem, m->gpa, m->last);
	if (rc)
		return rc;
	protect_locked(mem, m, WRITE);
	gather(m, &m->maps);
	vi_list_add_tail(&mem->moves, &m->link);
	return 0;
}

static int begin(struct vi_move *m)
{
	struct viommu_memory *mem = m->mem;
	int rc;

	vi_lock(&mem->vi->notify_lock);
	vi_lock(&mem->lock);
	rc = begin_locked(mem, m);
	vi_unlock(&mem->lock);
	vi_unlock(&mem->vi->notify_lock);
	return rc;
}

static int move_make(struct viommu_memory *mem, const struct viommu_move *cfg,
		     struct vi_move **out)
{
	struct viommu_region to;
	struct vi_move *m;
	int rc = vi_region_check(&to, &cfg->to);

	/* it is mapped as it may be used, and is to be copied to */
	if (!rc && !cfg->copy && !to.device && !to.host &&
	    !(to.prot & VIOMMU_WRITE))
		rc = -EACCES;
	if (rc)
		return rc;
	m = vi_alloc(&mem->vi->env, sizeof(*m), _Alignof(max_align_t));
	if (!m)
		return -ENOMEM;
	rc = vi_region_make(mem, &to, &m->to);
	if (rc) {
		vi_free(&mem->vi->env, m);
		return rc;
	}
	m->mem = mem;
	m->cfg = *cfg;
	m->gpa = m->to->gpa;
	m->last = m->to->last;
	vi_list_init(&m->link);
	viommu_fence_init(&m->maps);
	viommu_fence_init(&m->writes);
	viommu_fence_init(&m->rest);
	vi_memory_get(mem);
	*out = m;
	return 0;
}

int viommu_memory_move(struct viommu_memory *mem, const struct viommu_move *in,
		       struct viommu_fence *f)
{
	struct viommu_move cfg;
	struct vi_move *m;
	int rc;

	if (vi_opts_copy(&cfg, sizeof(cfg), in, in->size, sizeof(cfg)) ||
	    cfg.reserved[0] || cfg.reserved[1])
		return -EINVAL;
	rc = move_make(mem, &cfg, &m);
	if (rc)
		return rc;
	rc = begin(m);
	if (rc) {
		vi_region_free(m->to);
		move_free(m);
		return rc;
	}
	/* it waits for the move's own, by being held */
	vi_fence_gather(f, mem->vi, NULL);
	m->f = f;
	viommu_fence_hold(f);
	vi_fence_writers_only(&m->maps);
	drain_commit(m, &m->maps, unmapped);
	return 0;
}
