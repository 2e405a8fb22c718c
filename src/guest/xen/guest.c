/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest: mapper and owner.
 *
 * Destruction takes what it mapped out of its own view with one fence, and what
 * others mapped of it out of each of theirs with a fence each; it walks the
 * lists of its links, and nothing else.  New mappings do not come any more:
 * a link that is dead gets none.
 */
#include <errno.h>
#include <string.h>

#include "guest/xen/hypervisor.h"

enum {
	CHUNK = 256, /* mappings that go before others get the lock */
	MAX_MAPPINGS = 1 << 20,
};
#define LAST_DFN ((UINT64_C(1) << 40) - 1)
#define DFN_MAX	 ((UINT64_C(1) << 42) - 1)

/* ---- creation --------------------------------------------------------- */

static int config_complete(struct viommu_xen_guest_config *c)
{
	if (!c->max_mappings)
		c->max_mappings = MAX_MAPPINGS;
	if (!c->last_dfn)
		c->last_dfn = LAST_DFN;
	if (c->domid >= VIOMMU_XEN_SELF || c->last_dfn > DFN_MAX || c->zero)
		return -EINVAL;
	for (uint32_t i = 0; i < c->nreserved; i++)
		if (c->reserved[i].last < c->reserved[i].start)
			return -EINVAL;
	return 0;
}

static int reserved_copy(struct viommu_xen_guest *g,
			 const struct viommu_xen_guest_config *c)
{
	size_t size = c->nreserved * sizeof(*g->reserved);

	if (!size)
		return 0;
	g->reserved = viommu_alloc(g->x->vi, size);
	if (!g->reserved)
		return -ENOMEM;
	memcpy(g->reserved, c->reserved, size);
	g->nreserved = c->nreserved;
	return 0;
}

static int memories_make(struct viommu_xen_guest *g)
{
	int rc = viommu_memory_create(g->x->vi, &g->view);

	if (rc)
		return rc;
	g->own_memory = !g->memory;
	if (g->own_memory)
		rc = viommu_memory_create(g->x->vi, &g->memory);
	return rc;
}

/* Of memories that nobody has seen: their fence takes nothing from anybody. */
static void guest_undo(struct viommu_xen_guest *g)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	if (g->view)
		viommu_memory_destroy(g->view, &f);
	if (g->own_memory && g->memory)
		viommu_memory_destroy(g->memory, &f);
	viommu_fence_commit(&f, NULL, NULL);
	(void)!viommu_fence_wait(&f, -1);
	viommu_free(g->x->vi, g->reserved);
	viommu_free(g->x->vi, g);
}

static int guest_enter(struct viommu_xen_guest *g)
{
	struct viommu_xen *x = g->x;
	int rc = 0;

	vx_lock(x);
	if (vx_tree_find(&x->guests, g->node.first))
		rc = -EEXIST;
	else
		vx_tree_insert(&x->guests, &g->node);
	vx_unlock(x);
	return rc;
}

int viommu_xen_guest_create(struct viommu_xen *x,
			    const struct viommu_xen_guest_config *cfg,
			    struct viommu_xen_guest **out)
{
	struct viommu_xen_guest_config c;
	struct viommu_xen_guest *g;
	int rc = vx_opts_copy(&c, sizeof(c), cfg, cfg->size);

	if (!rc)
		rc = config_complete(&c);
	if (rc)
		return rc;
	g = viommu_alloc(x->vi, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->x = x;
	g->node.first = g->node.last = c.domid;
	g->memory = c.memory;
	g->last = ((c.last_dfn + 1) << VX_FRAME_SHIFT) - 1;
	g->max_mappings = c.max_mappings;
	g->takings_tail = &g->takings;
	atomic_init(&g->refs, 1);
	rc = reserved_copy(g, &c);
	if (!rc)
		rc = memories_make(g);
	if (!rc)
		rc = guest_enter(g);
	if (rc)
		guest_undo(g);
	else
		*out = g;
	return rc;
}

/* ---- destruction ------------------------------------------------------ */

static void memory_gone(struct viommu_fence *f, void *arg)
{
	struct viommu_xen_guest *g = arg;
	struct viommu_fence *destroyed = g->destroyed;
	struct viommu_xen *x = g->x;

	(void)f;
	vx_lock(x);
	vx_tree_remove(&x->guests, &g->node);
	vx_unlock(x);
	viommu_free(x->vi, g->reserved);
	viommu_free(x->vi, g);
	/* last: the caller may then unmake everything */
	viommu_fence_release(destroyed);
}

void vx_guest_put(struct viommu_xen_guest *g)
{
	if (atomic_fetch_sub(&g->refs, 1) != 1)
		return;
	viommu_fence_init(&g->spare.fence);
	if (g->own_memory)
		viommu_memory_destroy(g->memory, &g->spare.fence);
	viommu_fence_commit(&g->spare.fence, memory_gone, g);
}

/* Some of what is live in @l goes with @t.  False: that was all. */
static bool take_some_locked(struct vx_link *l, struct vx_taking *t)
{
	for (unsigned i = 0; l->live && i < CHUNK; i++)
		vx_mapping_take_locked(l->live, t);
	return l->live;
}

/*
 * Some of what @g mapped goes; *@at is the domid of the owner that is next.
 * False: that was all.
 *
 * Its owner may have buried a link, and be about to take what is live there:
 * that is taken here as well, for there is no view to take it from once this is
 * over.  What keeps the link is the lock then, and after that what is live.
 */
static bool leave_some(struct viommu_xen_guest *g, uint64_t *at)
{
	struct vx_link *l = NULL;
	bool found, buried = false;
	struct vx_node *n;

	vx_lock(g->x);
	n = vx_tree_next(&g->links, *at);
	found = n;
	if (found) {
		l = vx_node_of(n, struct vx_link, node);
		buried = !l->dead;
		*at = n->first;
		if (buried)
			vx_link_bury_locked(l);
		if (!take_some_locked(l, &g->last_taking))
			++*at;
	}
	vx_unlock(g->x);
	if (buried)
		vx_link_put(l);
	return found;
}

/* All that it mapped, and what it has not flushed. */
static void leave_as_mapper(struct viommu_xen_guest *g)
{
	uint64_t at = 0;

	while (leave_some(g, &at))
		;
	vx_taking_commit_open(g);
	vx_taking_commit(&g->last_taking);
}

/* Bury one of those in which @g is the owner. */
static struct vx_link *bury_one(struct viommu_xen_guest *g)
{
	struct vx_link *l;

	vx_lock(g->x);
	l = g->owned;
	if (l) {
		vx_link_bury_locked(l);
		vx_taking_init_locked(&l->last, l->mapper);
		l->last.storage = VX_LINKS;
	}
	vx_unlock(g->x);
	return l;
}

static bool take_some(struct vx_link *l)
{
	struct viommu_xen *x = l->mapper->x;
	bool more;

	vx_lock(x);
	more = take_some_locked(l, &l->last);
	vx_unlock(x);
	return more;
}

/* What others mapped of it, or have unmapped and not flushed. */
static void leave_as_owner(struct viommu_xen_guest *g)
{
	struct vx_link *l;

	while ((l = bury_one(g))) {
		while (take_some(l))
			;
		vx_taking_commit_open(l->mapper);
		/* which has the link's first reference from here on */
		vx_taking_commit(&l->last);
	}
}

void viommu_xen_guest_destroy(struct viommu_xen_guest *g,
			      struct viommu_fence *f)
{
	if (!g)
		return;
	vx_lock(g->x);
	g->dying = true;
	vx_taking_init_locked(&g->last_taking, g);
	vx_unlock(g->x);
	leave_as_mapper(g);
	leave_as_owner(g);
	viommu_memory_destroy(g->view, f);
	/* it has gathered the view, so it may be held */
	viommu_fence_hold(f);
	g->destroyed = f;
	vx_guest_put(g);
}

/* ---- looking ---------------------------------------------------------- */

struct viommu_xen_guest *vx_guest_find_locked(struct viommu_xen *x,
					      uint32_t domid)
{
	struct vx_node *n = vx_tree_find(&x->guests, domid);
	struct viommu_xen_guest *g =
		n ? vx_node_of(n, struct viommu_xen_guest, node) : NULL;

	return g && !g->dying ? g : NULL;
}

uint32_t vx_guest_domid(const struct viommu_xen_guest *g)
{
	return (uint32_t)g->node.first;
}

struct viommu_memory *viommu_xen_guest_memory(struct viommu_xen_guest *g)
{
	return g->memory;
}

struct viommu_memory *viommu_xen_guest_view(struct viommu_xen_guest *g)
{
	return g->view;
}

int viommu_xen_guest_attach(struct viommu_xen_guest *g,
			    struct viommu_endpoint *ep, struct viommu_fence *f)
{
	return viommu_endpoint_attach(ep, g->x->identity, f);
}

int viommu_xen_next(struct viommu_xen *x, uint32_t mapper, uint64_t dfn,
		    struct viommu_xen_mapping *out)
{
	struct viommu_xen_guest *g;
	int rc = -ESRCH;

	vx_lock(x);
	g = vx_guest_find_locked(x, mapper);
	if (g)
		rc = vx_mapping_next_locked(g, dfn, out);
	vx_unlock(x);
	return rc;
}
