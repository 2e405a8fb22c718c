/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The owner wants pages back.  What it took away goes out of the view under a
 * fence of its own, and the reference when that is done; the rest of the
 * mapping stays.
 */
#include <errno.h>

#include "guest/xen/hypervisor.h"

enum {
	TRIES = 4,
};

#define FRAME (UINT64_C(1) << VX_FRAME_SHIFT)

static struct vx_mapping *mapping_of(struct viommu_dma *d)
{
	return vx_node_of(d, struct vx_mapping, dma);
}

/* Frames of @m that may be affected, as addresses of the mapper's. */
static void taken_of(const struct vx_mapping *m, uint64_t *first,
		     uint64_t *last)
{
	uint64_t gpa = m->dma.iova, gpa_last = gpa + (m->dma.len - 1);
	uint64_t a = m->dma.taken & ~(FRAME - 1);
	uint64_t b = m->dma.taken_last | (FRAME - 1);

	a = a < gpa ? gpa : a;
	b = b > gpa_last ? gpa_last : b;
	if (a > b) {
		a = gpa;
		b = gpa_last;
	}
	*first = m->node.first + (a - gpa);
	*last = m->node.first + (b - gpa);
}

/* What is still there, around and among what goes. */
static void rests_refer(struct vx_rests *r, struct vx_mapping *m)
{
	uint64_t first, last;
	struct vx_part p;

	taken_of(m, &first, &last);
	if (first > m->node.first) {
		p = vx_mapping_part(m, m->node.first, first - 1);
		vx_rests_add(r, &p);
	}
	if (last - first >= FRAME) {
		p = vx_mapping_part(m, first, last);
		vx_rests_add(r, &p);
	}
	if (last < m->node.last) {
		p = vx_mapping_part(m, last + 1, m->node.last);
		vx_rests_add(r, &p);
	}
}

/* False: again. */
static bool take_locked(struct vx_mapping *m, struct vx_rests *r, bool anyway,
			struct vx_taking **t)
{
	struct viommu_xen_guest *mapper = m->link->mapper;

	*t = NULL;
	if (m->state != VX_LIVE)
		return true;
	if (vx_rests_asked_locked(r) && !anyway)
		return false;
	*t = vx_taking_spare_locked(mapper);
	if (!*t)
		m->late = mapper->deferred = true;
	else
		/* should it fail, which it does not, the reference stays */
		(void)!vx_rests_cut_locked(r, m->node.first, m->node.last, *t,
					   true);
	return true;
}

/* Live, or was, and nobody drops it until this returns. */
static void let_go(struct vx_mapping *m)
{
	struct viommu_xen *x = m->link->mapper->x;
	struct vx_taking *t = NULL;
	bool over = false;

	for (int i = 1; !over; i++) {
		struct vx_rests r;

		vx_rests_init(&r);
		rests_refer(&r, m);
		vx_lock(x);
		over = take_locked(m, &r, i >= TRIES, &t);
		vx_unlock(x);
		vx_rests_fini(&r);
	}
	if (t)
		vx_taking_commit(t);
}

void vx_revoke(struct viommu_dma *d)
{
	struct vx_mapping *m = mapping_of(d);
	struct viommu_xen_guest *mapper = m->link->mapper;
	struct viommu_xen *x = mapper->x;
	bool busy, drop;
	uint8_t state;

	atomic_fetch_add(&x->asked, 1);
	vx_lock(x);
	m->asked = true;
	state = m->state;
	m->asking = busy = state == VX_LIVE || state == VX_GOING;
	/* what follows may drop all that keeps the mapper */
	atomic_fetch_add(&mapper->refs, 1);
	vx_unlock(x);
	if (state == VX_LIVE)
		let_go(m);
	/* gathered, perhaps, and not flushed: now or, in the open one, before
	 */
	if (busy && VX_MUTANT != VX_MUTANT_NO_COMMIT)
		vx_taking_commit_open(mapper);
	if (busy) {
		vx_lock(x);
		m->asking = false;
		drop = m->drop;
		vx_unlock(x);
		if (drop)
			vx_mapping_drop(m);
	}
	vx_guest_put(mapper);
}

/* Where nobody had memory: the spare taking is free again.  Revoke may still be
 * at it, but will not look for memory again. */
static void take_asked_locked(struct vx_link *l, struct vx_taking *t)
{
	struct vx_mapping *m, *next;

	for (m = l->live; m; m = next) {
		next = m->next;
		if (m->late)
			vx_mapping_take_locked(m, t);
	}
}

void vx_revoke_deferred(struct viommu_xen_guest *mapper)
{
	struct vx_taking *t;
	struct vx_node *n;

	vx_lock(mapper->x);
	t = vx_taking_spare_locked(mapper);
	mapper->deferred = !t;
	for (n = vx_tree_next(&mapper->links, 0); t && n;
	     n = vx_tree_next(&mapper->links, n->last + 1))
		take_asked_locked(vx_node_of(n, struct vx_link, node), t);
	vx_unlock(mapper->x);
	if (t)
		vx_taking_commit(t);
}
