/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MAP: claim the dfns, take the reference, show the pages.
 *
 * Between the first step and the last the mapping is COMING.  Should its owner
 * ask for it meanwhile it never comes: the reference goes, and all begins anew,
 * to learn what there is now.
 */
#include <errno.h>

#include "guest/xen/hypervisor.h"

enum {
	AGAIN = 1,
	TRIES = 4,
};

static bool reserved(const struct viommu_xen_guest *g, const struct vx_part *p)
{
	for (uint32_t i = 0; i < g->nreserved; i++)
		if (p->first <= g->reserved[i].last &&
		    p->last >= g->reserved[i].start)
			return true;
	return false;
}

static int claim_locked(struct viommu_xen_guest *mapper, uint32_t domid,
			struct vx_part *p, struct vx_mapping **out)
{
	struct viommu_xen_guest *owner = vx_guest_find_locked(mapper->x, domid);
	struct vx_node *n = vx_tree_next(&mapper->mappings, p->first);
	int rc;

	if (mapper->dying || !owner)
		return -ESRCH;
	if (n && n->first <= p->last)
		return -EADDRINUSE;
	if (reserved(mapper, p))
		return -EADDRNOTAVAIL;
	if (mapper->nmappings >= mapper->max_mappings)
		return -ENOSPC;
	rc = vx_link_find_locked(mapper, owner, &p->link);
	if (rc)
		return rc;
	*out = vx_mapping_make(p);
	if (!*out)
		return -ENOMEM;
	vx_tree_insert(&mapper->mappings, &(*out)->node);
	return 0;
}

/* Into the view, piece by piece; *@shown bytes are there. */
static int show_locked(struct vx_mapping *m, uint64_t *shown)
{
	for (uint32_t i = 0; i < m->dma.niov; i++) {
		struct viommu_region r = {
			.size = sizeof(r),
			.gpa = m->node.first + *shown,
			.len = m->dma.iov[i].iov_len,
			.host = m->dma.iov[i].iov_base,
			.prot = m->dma.prot,
			.fd = -1,
		};
		int rc = viommu_memory_add(m->link->mapper->view, &r);

		if (rc)
			return rc;
		*shown += r.len;
	}
	return 0;
}

/* On error *@t is set if something was seen, and @m goes with it. */
static int come_locked(struct vx_mapping *m, struct vx_taking **t)
{
	struct viommu_xen_guest *mapper = m->link->mapper;
	uint64_t shown = 0;
	int rc;

	if (m->asked && VX_MUTANT != VX_MUTANT_NO_ASKED)
		return AGAIN;
	if (m->link->dead)
		return -ESRCH;
	if (m->dma.niov > 1) {
		*t = vx_taking_make_locked(mapper);
		if (!*t)
			return -ENOMEM;
	}
	rc = show_locked(m, &shown);
	if (rc && shown) {
		vx_mapping_take_locked(m, *t);
		return rc;
	}
	if (*t)
		vx_taking_cancel_locked(*t);
	*t = NULL;
	if (!rc)
		vx_mapping_live_locked(m);
	return rc;
}

/* It was not seen. */
static void forget(struct vx_mapping *m, bool referred)
{
	struct viommu_xen_guest *mapper = m->link->mapper;

	vx_lock(mapper->x);
	vx_tree_remove(&mapper->mappings, &m->node);
	vx_unlock(mapper->x);
	if (referred)
		vx_mapping_drop(m);
	else
		vx_mapping_put(m);
}

static int map_once(struct viommu_xen_guest *mapper, uint32_t owner,
		    struct vx_part *p)
{
	struct vx_taking *t = NULL;
	struct vx_mapping *m;
	int rc;

	vx_lock(mapper->x);
	rc = claim_locked(mapper, owner, p, &m);
	vx_unlock(mapper->x);
	if (rc)
		return rc;
	rc = vx_mapping_refer(m);
	if (rc) {
		forget(m, false);
		return rc;
	}
	vx_lock(mapper->x);
	rc = come_locked(m, &t);
	vx_unlock(mapper->x);
	if (t)
		vx_taking_commit(t);
	else if (rc)
		forget(m, true);
	return rc;
}

int vx_map(struct viommu_xen_guest *mapper, uint32_t owner, struct vx_part *p)
{
	for (int i = 0; i < TRIES; i++) {
		int rc = map_once(mapper, owner, p);

		if (rc != AGAIN)
			return rc;
	}
	return -EBUSY;
}
