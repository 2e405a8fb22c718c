/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One mapping, and the reference that it holds.
 */
#include <errno.h>

#include "guest/xen/hypervisor.h"

enum {
	PIECES_MAX = 4096, /* of host memory, of one mapping */
	PIECES_STEP = 16,
};

struct vx_mapping *vx_mapping_make(const struct vx_part *p)
{
	struct viommu_xen *x = p->link->mapper->x;
	struct vx_mapping *m = viommu_alloc(x->vi, sizeof(*m));

	if (!m)
		return NULL;
	vx_link_get(p->link);
	atomic_fetch_add(&p->link->mapper->nmappings, 1);
	m->link = p->link;
	m->node.first = p->first;
	m->node.last = p->last;
	m->dma.ep = p->link->ep;
	m->dma.iova = p->gpa;
	m->dma.len = p->last - p->first + 1;
	m->dma.prot = p->prot;
	m->dma.iov = &m->one;
	m->dma.max_iov = 1;
	m->dma.revoke = vx_revoke;
	m->state = VX_COMING;
	atomic_init(&m->refs, 1);
	return m;
}

void vx_mapping_get(struct vx_mapping *m)
{
	atomic_fetch_add(&m->refs, 1);
}

void vx_mapping_put(struct vx_mapping *m)
{
	struct viommu *vi = m->link->mapper->x->vi;
	struct vx_link *link = m->link;

	if (atomic_fetch_sub(&m->refs, 1) != 1)
		return;
	if (m->dma.iov != &m->one)
		viommu_free(vi, m->dma.iov);
	viommu_free(vi, m);
	atomic_fetch_sub(&link->mapper->nmappings, 1);
	vx_link_put(link);
}

struct vx_part vx_mapping_part(struct vx_mapping *m, uint64_t first,
			       uint64_t last)
{
	return (struct vx_part){
		.link = m->link,
		.first = first,
		.last = last,
		.gpa = m->dma.iova + (first - m->node.first),
		.prot = m->dma.prot,
		.of = m,
	};
}

/* ---- the reference ----------------------------------------------------- */

static int pieces_more(struct vx_mapping *m)
{
	struct viommu *vi = m->link->mapper->x->vi;
	uint32_t n = m->dma.max_iov * PIECES_STEP;
	struct iovec *iov;

	if (n > PIECES_MAX)
		return -E2BIG;
	iov = viommu_alloc(vi, n * sizeof(*iov));
	if (!iov)
		return -ENOMEM;
	if (m->dma.iov != &m->one)
		viommu_free(vi, m->dma.iov);
	m->dma.iov = iov;
	m->dma.max_iov = n;
	return 0;
}

/* Try again if it makes sense: 0. */
static int refer_help(struct vx_mapping *m, int rc, bool *recovered)
{
	if (rc == -E2BIG)
		return pieces_more(m);
	if (rc != -EIO || *recovered)
		return rc;
	/* given up: unless all that it held is let go of */
	*recovered = true;
	return viommu_endpoint_recover(m->dma.ep) ? -EIO : 0;
}

int vx_mapping_refer(struct vx_mapping *m)
{
	bool recovered = false;
	int rc;

	while ((rc = viommu_dma_map(&m->dma))) {
		rc = refer_help(m, rc, &recovered);
		if (rc)
			return rc == -EFAULT ? -ENOENT : rc;
	}
	atomic_fetch_add(&m->link->mapper->x->references, 1);
	return 0;
}

void vx_mapping_drop(struct vx_mapping *m)
{
	bool written = m->state != VX_COMING && m->dma.prot & VIOMMU_WRITE;
	struct viommu_xen *x = m->link->mapper->x;

	viommu_dma_unmap(&m->dma, written ? m->dma.len : 0);
	atomic_fetch_sub(&x->references, 1);
	vx_mapping_put(m);
}

/* ---- where it is -------------------------------------------------------- */

void vx_mapping_live_locked(struct vx_mapping *m)
{
	struct vx_mapping **head = &m->link->live;

	m->state = VX_LIVE;
	m->next = *head;
	if (m->next)
		m->next->pprev = &m->next;
	m->pprev = head;
	*head = m;
	atomic_fetch_add(&m->link->mapper->x->mappings, 1);
}

static void leave_locked(struct vx_mapping *m)
{
	struct viommu_xen_guest *mapper = m->link->mapper;

	vx_tree_remove(&mapper->mappings, &m->node);
	if (m->state == VX_LIVE) {
		*m->pprev = m->next;
		if (m->next)
			m->next->pprev = m->pprev;
		atomic_fetch_sub(&mapper->x->mappings, 1);
	}
	m->state = VX_GOING;
}

void vx_mapping_going_locked(struct vx_mapping *m, struct vx_taking *t)
{
	leave_locked(m);
	m->next = t->mappings;
	t->mappings = m;
}

void vx_mapping_take_locked(struct vx_mapping *m, struct vx_taking *t)
{
	/*
	 * Some of it is there.  Its regions begin and end where it does: MAP
	 * made them so, or a cut, which leaves holes between what stays.  So
	 * nothing is cut, nor allocated.  Nobody else changes or moves a view,
	 * nor is it destroyed before all that is live is taken.  Should it fail
	 * all the same, devices may see the pages: the reference is never
	 * dropped then, and the owner's fence is not done.
	 */
	if (viommu_memory_give_up(m->link->mapper->view, m->node.first,
				  m->dma.len, &t->fence))
		leave_locked(m);
	else
		vx_mapping_going_locked(m, t);
}

int vx_mapping_next_locked(struct viommu_xen_guest *g, uint64_t dfn,
			   struct viommu_xen_mapping *out)
{
	struct vx_mapping *m;
	struct vx_node *n;

	if (dfn > g->last >> VX_FRAME_SHIFT)
		return -ENOENT;
	n = vx_tree_next(&g->mappings, dfn << VX_FRAME_SHIFT);
	for (; n; n = vx_tree_next(&g->mappings, n->last + 1)) {
		m = vx_node_of(n, struct vx_mapping, node);
		if (m->state != VX_LIVE)
			continue;
		*out = (struct viommu_xen_mapping){
			.dfn = n->first >> VX_FRAME_SHIFT,
			.gfn = m->dma.iova >> VX_FRAME_SHIFT,
			.count = m->dma.len >> VX_FRAME_SHIFT,
			.owner = vx_guest_domid(m->link->owner),
			.flags = m->dma.prot,
		};
		return 0;
	}
	return -ENOENT;
}
