/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A link: a mapper in an owner, and the endpoint that stands for it there.  The
 * endpoint sees the owner's memory as it is, its IOVAs are the owner's GPAs,
 * and all that it ever does is to hold references.
 */
#include <errno.h>

#include "guest/xen/hypervisor.h"

/* L9: it is for the embedder to say who is at fault. */
static enum viommu_verdict link_expire(void *arg, const struct viommu_expiry *e)
{
	const struct vx_link *l = arg;
	const struct viommu_xen_config *c = &l->mapper->x->cfg;

	if (!c->expire)
		return VIOMMU_GIVE_UP;
	return c->expire(c->arg, vx_guest_domid(l->mapper),
			 vx_guest_domid(l->owner), e);
}

static int endpoint_make(struct vx_link *l)
{
	struct viommu_xen *x = l->mapper->x;
	struct viommu_endpoint_config c = {
		.size = sizeof(c),
		.id = x->cfg.id,
		.pasid = vx_guest_domid(l->mapper) << 16 |
			 vx_guest_domid(l->owner),
		.memory = l->owner->memory,
		.arg = l,
		.expire = link_expire,
		/* a reference is there or not: nobody waits for one */
		.flags = VIOMMU_ENDPOINT_NONBLOCK,
	};
	int rc = viommu_endpoint_create(x->vi, &c, &l->ep);

	if (rc)
		return rc;
	viommu_fence_init(&l->gone);
	/* it saw nothing before: nothing is gathered, and nothing refused */
	return viommu_endpoint_attach(l->ep, x->identity, &l->gone);
}

static int link_make_locked(struct viommu_xen_guest *mapper,
			    struct viommu_xen_guest *owner,
			    struct vx_link **out)
{
	struct vx_link *l = viommu_alloc(mapper->x->vi, sizeof(*l));
	int rc;

	if (!l)
		return -ENOMEM;
	l->mapper = mapper;
	l->owner = owner;
	rc = endpoint_make(l);
	if (rc) {
		viommu_free(mapper->x->vi, l);
		return rc;
	}
	l->node.first = l->node.last = vx_guest_domid(owner);
	atomic_init(&l->refs, 1);
	atomic_fetch_add(&mapper->refs, 1);
	atomic_fetch_add(&owner->refs, 1);
	vx_tree_insert(&mapper->links, &l->node);
	l->next = owner->owned;
	if (l->next)
		l->next->pprev = &l->next;
	l->pprev = &owner->owned;
	owner->owned = l;
	*out = l;
	return 0;
}

int vx_link_find_locked(struct viommu_xen_guest *mapper,
			struct viommu_xen_guest *owner, struct vx_link **out)
{
	struct vx_node *n = vx_tree_find(&mapper->links, vx_guest_domid(owner));

	if (!n)
		return link_make_locked(mapper, owner, out);
	*out = vx_node_of(n, struct vx_link, node);
	return 0;
}

void vx_link_bury_locked(struct vx_link *l)
{
	l->dead = true;
	*l->pprev = l->next;
	if (l->next)
		l->next->pprev = l->pprev;
}

static void link_gone(struct viommu_fence *f, void *arg)
{
	struct vx_link *l = arg;
	struct viommu_xen_guest *mapper = l->mapper, *owner = l->owner;

	(void)f;
	viommu_free(mapper->x->vi, l);
	vx_guest_put(mapper);
	vx_guest_put(owner);
}

void vx_link_get(struct vx_link *l)
{
	atomic_fetch_add(&l->refs, 1);
}

void vx_link_put(struct vx_link *l)
{
	struct viommu_xen *x = l->mapper->x;

	if (atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	vx_lock(x);
	vx_tree_remove(&l->mapper->links, &l->node);
	vx_unlock(x);
	viommu_fence_init(&l->gone);
	viommu_endpoint_destroy(l->ep, &l->gone);
	viommu_fence_commit(&l->gone, link_gone, l);
}
