/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who else must know.  Everything that notifiers are told is told under the
 * instance's notify lock, outermost of all: so events come in the order of the
 * changes, nothing comes between a replay and what follows, and removing a
 * notifier waits for its callback.  A space counts the notifiers that follow
 * it; while that is 0 its writers never see the notify lock (core/space.c).
 *
 * What comes is told first and published then, so that a refusal needs no
 * undoing in the table: a device may use its shadow a moment before the library
 * would let it, of a mapping that nobody was told exists.  If there is no table
 * for it then, they are told to undo it.  What goes is taken
 * from the table first and told then, before the fence can be committed (L1):
 * its shadow is a pin like others, which the callback drops or holds the fence
 * for.  It is told by the call that takes, not by the commit: otherwise an
 * unmap and a map of the same IOVA under one fence would be told in the wrong
 * order.
 *
 * Locks: notifiers and their list are the notify lock's.
 */
#include "core/notifier.h"

#include <errno.h>

#include "base/opts.h"
#include "base/range.h"
#include "core/endpoint.h"
#include "core/fence.h"
#include "core/hold.h"
#include "core/memory.h"
#include "core/space.h"

enum {
	BATCH = 16, /* mappings that are told at once */
};

struct viommu_notifier {
	struct viommu *vi;
	struct viommu_endpoint *ep; /* NULL: gone */
	struct viommu_notifier_ops ops;
	void *arg;
	struct vi_extent told; /* what it is told to forget right now */
	struct vi_list link;   /* in vi->notifiers, first added first */
	struct vi_retire retire;
};

static struct viommu_notifier *notifier_of(struct vi_list *l)
{
	return vi_list_of(l, struct viommu_notifier, link);
}

static bool follows(const struct viommu_notifier *n,
		    const struct viommu_space *s)
{
	return n->ep && n->ep->attached == s;
}

static bool has_memory(const struct viommu_notifier *n,
		       const struct viommu_memory *mem)
{
	return n->ep && n->ep->memory == mem;
}

/* ---- one notifier ----------------------------------------------------- */

/* It is about to be told to forget [start, last] of @s; NULL: nothing is known
 * there, or nobody can hold. */
static void told(struct viommu_notifier *n, struct viommu_space *s,
		 uint64_t start, uint64_t last)
{
	n->told = (struct vi_extent){
		.space = s,
		.ep = n->ep,
		.mem = n->ep->memory,
		.start = start,
		.last = last,
	};
}

static void unmap(struct viommu_notifier *n, struct viommu_space *s,
		  uint64_t start, uint64_t last, struct viommu_fence *f)
{
	told(n, s, start, last);
	n->ops.unmap(n->arg, start, last, f);
}

static void unmap_all(struct viommu_notifier *n, struct viommu_space *s,
		      struct viommu_fence *f)
{
	unmap(n, s, 0, UINT64_MAX, f);
}

void viommu_notifier_hold(struct viommu_notifier *n, struct viommu_fence *f,
			  struct viommu_hold *h)
{
	vi_hold(h, n->vi, f, &n->told);
}

/* A callback may answer anything; -EAGAIN has a meaning here (core/quota.h). */
static int refusal(int rc)
{
	return rc > 0 || rc == -EAGAIN ? -EBUSY : rc;
}

/* All of @src or none. */
static int map(struct viommu_notifier *n, struct vi_source *src)
{
	struct viommu_mapping m[BATCH];
	bool some = false;
	size_t got;
	int rc = 0;

	src->rewind(src);
	while (!rc && (got = src->next(src, m, BATCH))) {
		rc = refusal(n->ops.map(n->arg, m, got));
		if (!rc)
			some = true;
	}
	if (rc && some)
		unmap(n, NULL, src->start, src->last, NULL);
	return rc;
}

/* ---- what a space has ------------------------------------------------- */

/* The part in [start, last] of what is mapped. */
struct replay {
	struct vi_source src;
	struct viommu_space *space;
	uint64_t at;
	bool end;
};

static void replay_rewind(struct vi_source *src)
{
	struct replay *r = vi_list_of(src, struct replay, src);

	r->at = src->start;
	r->end = false;
}

static size_t replay_next(struct vi_source *src, struct viommu_mapping *m,
			  size_t max)
{
	struct replay *r = vi_list_of(src, struct replay, src);
	struct viommu_space *s = r->space;
	size_t n = 0;

	vi_lock(&s->lock);
	while (n < max && !r->end) {
		if (!vi_space_next_locked(s, r->at, &m[n]) ||
		    m[n].start > src->last) {
			r->end = true;
			break;
		}
		if (m[n].start < src->start) {
			m[n].gpa += src->start - m[n].start;
			m[n].start = src->start;
		}
		m[n].last = vi_min(m[n].last, src->last);
		r->end = m[n].last == src->last;
		r->at = m[n++].last + 1;
	}
	vi_unlock(&s->lock);
	return n;
}

static struct replay replay_of(struct viommu_space *s, uint64_t start,
			       uint64_t last)
{
	return (struct replay){
		.src = { .start = start,
			 .last = last,
			 .rewind = replay_rewind,
			 .next = replay_next },
		.space = s,
	};
}

static void watch(struct viommu_space *s, int n)
{
	vi_space_lock(s);
	s->watched = (uint32_t)((int)s->watched + n);
	vi_space_unlock(s);
}

static void gone(struct viommu_notifier *n, enum viommu_gone why)
{
	n->ep->notifiers--;
	n->ep = NULL;
	if (n->ops.gone)
		n->ops.gone(n->arg, why);
}

/* It sees @s, and cannot have what it had: it has nothing from here on. */
static void lose(struct viommu_notifier *n, struct viommu_space *s,
		 struct viommu_fence *f)
{
	unmap_all(n, s, f);
	if (s)
		watch(s, -1);
	gone(n, VIOMMU_GONE_LOST);
}

/* It was told to forget what is in the range: tell it again. */
static void take_back(struct viommu_notifier *n, struct viommu_space *s,
		      uint64_t start, uint64_t last, struct viommu_fence *f)
{
	struct replay r = replay_of(s, start, last);

	if (map(n, &r.src))
		lose(n, s, f);
}

/* ---- changes of a space ----------------------------------------------- */

static int tell_map(struct viommu_space *s, struct vi_source *src)
{
	struct vi_list *all = &s->vi->notifiers, *l;
	int rc = 0;

	for (l = all->next; l != all; l = l->next) {
		if (follows(notifier_of(l), s))
			rc = map(notifier_of(l), src);
		if (rc)
			break;
	}
	if (!rc || VI_MUTANT == VI_MUTANT_NOTIFY_NO_UNDO)
		return rc;
	while ((l = l->prev) != all)
		if (follows(notifier_of(l), s))
			unmap(notifier_of(l), s, src->start, src->last, NULL);
	return rc;
}

static void tell_unmap(struct viommu_space *s, uint64_t start, uint64_t last,
		       struct viommu_fence *f)
{
	struct vi_list *all = &s->vi->notifiers;

	for (struct vi_list *l = all->prev; l != all; l = l->prev)
		if (follows(notifier_of(l), s))
			unmap(notifier_of(l), s, start, last, f);
}

static int tell_cut(struct viommu_space *s, uint64_t start, uint64_t last)
{
	struct vi_list *all = &s->vi->notifiers;
	int rc = 0;

	for (struct vi_list *l = all->next; l != all && !rc; l = l->next) {
		struct viommu_notifier *n = notifier_of(l);

		if (follows(n, s) && n->ops.cut)
			rc = refusal(n->ops.cut(n->arg, start, last));
	}
	return rc;
}

static int remap(struct viommu_notifier *n, struct viommu_space *s,
		 const struct viommu_mapping *m, struct viommu_fence *f)
{
	int rc;

	told(n, s, m->start, m->last);
	rc = n->ops.remap ? n->ops.remap(n->arg, m, f) : -EOPNOTSUPP;
	if (rc != -EOPNOTSUPP)
		return refusal(rc);
	unmap(n, s, m->start, m->last, f);
	rc = refusal(n->ops.map(n->arg, m, 1));
	if (rc)
		take_back(n, s, m->start, m->last, f);
	return rc;
}

/* Those before @end have seen something come in the place of [start, last]. */
static void remap_undo(struct viommu_space *s, struct vi_list *end,
		       uint64_t start, uint64_t last, struct viommu_fence *f)
{
	struct vi_list *all = &s->vi->notifiers;

	for (struct vi_list *l = end->prev; l != all; l = l->prev) {
		if (!follows(notifier_of(l), s))
			continue;
		unmap(notifier_of(l), s, start, last, f);
		take_back(notifier_of(l), s, start, last, f);
	}
}

static int tell_remap(struct viommu_space *s, const struct viommu_mapping *m,
		      struct viommu_fence *f)
{
	struct vi_list *all = &s->vi->notifiers, *l;
	int rc = 0;

	for (l = all->next; l != all; l = l->next) {
		if (follows(notifier_of(l), s))
			rc = remap(notifier_of(l), s, m, f);
		if (rc)
			break;
	}
	if (rc && VI_MUTANT != VI_MUTANT_NOTIFY_NO_UNDO)
		remap_undo(s, l, m->start, m->last, f);
	return rc;
}

/*
 * Tell, in the middle of a change.  The space's lock is let go of meanwhile:
 * callbacks may sleep, and who is told has the notify lock, which everybody
 * waits for who might write there, unless the last notifier was lost meanwhile:
 * then the request fails in any case.  (That the lock is held cannot be known
 * to the analysis.)
 */
int vi_tell_map_locked(struct viommu_space *s, struct vi_source *src)
{
	int rc;

	if (!s->watched)
		return 0;
	vi_unlock(&s->lock);
	rc = tell_map(s, src);
	vi_lock(&s->lock);
	return rc;
}

int vi_tell_cut_locked(struct viommu_space *s, uint64_t start, uint64_t last)
{
	int rc;

	if (!s->watched || !vi_radix_cuts(&s->table, start, last))
		return 0;
	vi_unlock(&s->lock);
	rc = tell_cut(s, start, last);
	vi_lock(&s->lock);
	return rc;
}

void vi_tell_unmap_locked(struct viommu_space *s, uint64_t start, uint64_t last,
			  struct viommu_fence *f)
{
	if (!s->watched)
		return;
	vi_unlock(&s->lock);
	tell_unmap(s, start, last, f);
	vi_lock(&s->lock);
}

int vi_tell_remap_locked(struct viommu_space *s, const struct viommu_mapping *m,
			 struct viommu_fence *f)
{
	int rc = vi_tell_cut_locked(s, m->start, m->last);

	if (rc || !s->watched)
		return rc;
	vi_fence_gather(f, s->vi, NULL); /* so that it can be held */
	vi_unlock(&s->lock);
	rc = tell_remap(s, m, f);
	vi_lock(&s->lock);
	return rc;
}

void vi_tell_remap_undo_locked(struct viommu_space *s,
			       const struct viommu_mapping *m,
			       struct viommu_fence *f)
{
	if (!s->watched)
		return;
	vi_unlock(&s->lock);
	remap_undo(s, &s->vi->notifiers, m->start, m->last, f);
	vi_lock(&s->lock);
}

/* ---- changes of an endpoint ------------------------------------------- */

/* Those of @ep before @end forget all that they saw of @s, or NULL. */
static void leave_all(struct viommu_endpoint *ep, struct vi_list *end,
		      struct viommu_space *s, struct viommu_fence *f)
{
	struct vi_list *all = &ep->vi->notifiers;

	for (struct vi_list *l = end->prev; l != all; l = l->prev)
		if (notifier_of(l)->ep == ep)
			unmap_all(notifier_of(l), s, f);
}

/* Those of @ep before @end, which have forgotten everything, see @s again. */
static void return_all(struct viommu_endpoint *ep, struct viommu_space *s,
		       struct viommu_fence *f)
{
	struct vi_list *all = &ep->vi->notifiers, *next;

	for (struct vi_list *l = all->next; l != all; l = next) {
		next = l->next;
		if (notifier_of(l)->ep == ep)
			take_back(notifier_of(l), s, 0, UINT64_MAX, f);
	}
}

int vi_notify_switch(struct viommu_endpoint *ep, struct viommu_space *to,
		     struct viommu_fence *f)
{
	struct vi_list *all = &ep->vi->notifiers, *l;
	struct replay r = replay_of(to, 0, UINT64_MAX);
	struct viommu_space *old = ep->attached;
	int n = (int)ep->notifiers, rc = 0;

	if (VI_MUTANT == VI_MUTANT_NOTIFY_NO_SWITCH) {
		watch(to, n);
		if (old)
			watch(old, -n);
		return 0;
	}
	watch(to, n); /* nothing is mapped there behind our back from here on */
	if (!vi_endpoint_may_see(ep, to)) {
		watch(to, -n);
		return -EADDRNOTAVAIL;
	}
	vi_fence_gather(f, ep->vi, NULL); /* so that it can be held */
	leave_all(ep, all, old, f);
	for (l = all->next; l != all; l = l->next) {
		if (notifier_of(l)->ep == ep)
			rc = map(notifier_of(l), &r.src);
		if (rc)
			break;
	}
	if (rc) {
		leave_all(ep, l, to, f);
		watch(to, -n);
		if (old)
			return_all(ep, old, f);
	} else if (old) {
		watch(old, -n);
	}
	return rc;
}

void vi_notify_leave(struct viommu_endpoint *ep, struct viommu_space *old,
		     struct viommu_fence *f)
{
	if (!ep->notifiers)
		return;
	vi_fence_gather(f, ep->vi, NULL);
	leave_all(ep, &ep->vi->notifiers, old, f);
	if (old)
		watch(old, -(int)ep->notifiers);
}

void vi_notify_destroy(struct viommu_endpoint *ep)
{
	struct vi_list *all = &ep->vi->notifiers;

	for (struct vi_list *l = all->prev; l != all; l = l->prev)
		if (notifier_of(l)->ep == ep)
			gone(notifier_of(l), VIOMMU_GONE_DESTROYED);
}

/* ---- changes of a memory ---------------------------------------------- */

int vi_notify_ram_add(struct viommu_memory *mem, const struct viommu_region *r)
{
	struct vi_list *all = &mem->vi->notifiers, *l;
	uint64_t last = r->gpa + (r->len - 1);
	int rc = 0;

	for (l = all->next; l != all; l = l->next) {
		struct viommu_notifier *n = notifier_of(l);

		if (has_memory(n, mem) && n->ops.ram_add)
			rc = refusal(n->ops.ram_add(n->arg, r));
		if (rc)
			break;
	}
	if (!rc)
		return 0;
	while ((l = l->prev) != all) {
		struct viommu_notifier *n = notifier_of(l);

		if (has_memory(n, mem) && n->ops.ram_remove)
			n->ops.ram_remove(n->arg, r->gpa, last, NULL);
	}
	return rc;
}

void vi_notify_ram_remove(struct viommu_memory *mem, uint64_t gpa,
			  uint64_t last, struct viommu_fence *f)
{
	struct vi_list *all = &mem->vi->notifiers;

	for (struct vi_list *l = all->prev; l != all; l = l->prev) {
		struct viommu_notifier *n = notifier_of(l);

		if (!has_memory(n, mem) || !n->ops.ram_remove)
			continue;
		/* whatever it sees may lead there */
		told(n, n->ep->attached, 0, UINT64_MAX);
		n->ops.ram_remove(n->arg, gpa, last, f);
	}
}

void vi_notify_ram_back(struct viommu_memory *mem,
			const struct viommu_region *r, struct viommu_fence *f)
{
	struct vi_list *all = &mem->vi->notifiers, *l;

	for (l = all->next; l != all; l = l->next) {
		struct viommu_notifier *n = notifier_of(l);

		if (has_memory(n, mem) && n->ops.ram_add &&
		    n->ops.ram_add(n->arg, r))
			lose(n, n->ep->attached, f);
	}
}

void vi_notify_dirty(struct viommu_memory *mem, enum viommu_dirty_event what,
		     uint64_t gpa, uint64_t last)
{
	struct vi_list *all = &mem->vi->notifiers;

	for (struct vi_list *l = all->next; l != all; l = l->next) {
		struct viommu_notifier *n = notifier_of(l);

		if (has_memory(n, mem) && n->ops.dirty)
			n->ops.dirty(n->arg, what, gpa, last);
	}
}

/* ---- subscribing ------------------------------------------------------ */

static void notifier_free(struct vi_retire *retire)
{
	struct viommu_notifier *n =
		vi_list_of(retire, struct viommu_notifier, retire);

	vi_free(&n->vi->env, n);
}

/* The space counts it before it looks what is there: what comes after the look
 * is told. */
static int begin_locked(struct viommu_notifier *n)
	VI_REQUIRES(&n->vi->notify_lock)
{
	struct viommu_space *s = n->ep->attached;
	struct replay r = replay_of(s, 0, UINT64_MAX);
	int rc = 0;

	if (s && VI_MUTANT == VI_MUTANT_NOTIFY_REPLAY_EARLY)
		rc = map(n, &r.src);
	VI_WINDOW();
	if (s) {
		watch(s, 1);
		if (VI_MUTANT != VI_MUTANT_NOTIFY_REPLAY_EARLY)
			rc = map(n, &r.src);
		if (rc)
			watch(s, -1);
	}
	if (rc)
		return rc;
	vi_list_add_tail(&n->vi->notifiers, &n->link);
	n->ep->notifiers++;
	if (n->ops.dirty && atomic_load(&n->ep->memory->dirty))
		n->ops.dirty(n->arg, VIOMMU_DIRTY_START, 0, UINT64_MAX);
	return 0;
}

int viommu_notifier_add(struct viommu_endpoint *ep,
			const struct viommu_notifier_ops *in, void *arg,
			struct viommu_notifier **out)
{
	struct viommu_notifier_ops ops;
	struct viommu *vi = ep->vi;
	struct viommu_notifier *n;
	int rc;

	if (vi_opts_copy(&ops, sizeof(ops), in, in->size, sizeof(ops)) ||
	    !ops.map || !ops.unmap)
		return -EINVAL;
	n = vi_alloc(&vi->env, sizeof(*n), _Alignof(max_align_t));
	if (!n)
		return -ENOMEM;
	n->vi = vi;
	n->ep = ep;
	n->ops = ops;
	n->arg = arg;
	n->retire.free = notifier_free;
	*out = n;
	vi_lock(&n->vi->notify_lock);
	rc = begin_locked(n);
	vi_unlock(&n->vi->notify_lock);
	if (rc) {
		*out = NULL;
		vi_free(&vi->env, n);
	}
	return rc;
}

/* Counted by its space until nothing of it is in the shadow, or the fence is
 * held: who changes the space meanwhile waits for the notify lock. */
static void end_locked(struct viommu_notifier *n, struct viommu_fence *f)
	VI_REQUIRES(&n->vi->notify_lock)
{
	struct viommu_endpoint *ep = n->ep;

	vi_list_remove(&n->link);
	if (!ep)
		return;
	if (ep->attached && VI_MUTANT == VI_MUTANT_HOLD_UNWATCH_EARLY)
		watch(ep->attached, -1);
	unmap_all(n, ep->attached, f);
	if (ep->attached && VI_MUTANT != VI_MUTANT_HOLD_UNWATCH_EARLY)
		watch(ep->attached, -1);
	ep->notifiers--;
}

/* The analysis cannot know the mutant. */
void viommu_notifier_remove(struct viommu_notifier *n,
			    struct viommu_fence *f) VI_NO_ANALYSIS
{
	struct viommu *vi;

	if (!n)
		return;
	vi = n->vi;
	vi_fence_gather(f, vi, NULL); /* so that it can be held */
	if (VI_MUTANT != VI_MUTANT_NOTIFY_NO_WAIT)
		vi_lock(&vi->notify_lock);
	end_locked(n, f);
	if (VI_MUTANT != VI_MUTANT_NOTIFY_NO_WAIT)
		vi_unlock(&vi->notify_lock);
	n->retire.next = NULL;
	vi_fence_retire(f, &n->retire);
}
