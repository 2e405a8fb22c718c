/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * UNMAP: gathers into the mapper's open taking.  At either end a mapping may be
 * cut, and its rest is given a reference before (rest.c); that takes the lock
 * off, so that everything is looked at again then.
 */
#include <errno.h>
#include <string.h>

#include "guest/xen/hypervisor.h"

enum {
	AGAIN = 1,
	TRIES = 8,
};

/* What is unmapped, and what stays at either end: of nothing, if nothing does.
 */
struct cut {
	uint64_t first, last; /* of all that is touched */
	struct vx_part left, right;
	bool asked;
};

static int cut_plan_locked(struct viommu_xen_guest *mapper, uint64_t first,
			   uint64_t last, struct cut *c)
{
	uint64_t at = first;

	memset(c, 0, sizeof(*c));
	c->first = first;
	for (;;) {
		struct vx_node *n = vx_tree_find(&mapper->mappings, at);
		struct vx_mapping *m;

		m = n ? vx_node_of(n, struct vx_mapping, node) : NULL;
		if (!m || m->state != VX_LIVE)
			return -ENOENT;
		c->asked |= m->asked;
		if (n->first < first) {
			c->left = vx_mapping_part(m, n->first, first - 1);
			c->first = n->first;
		}
		if (n->last > last)
			c->right = vx_mapping_part(m, last + 1, n->last);
		c->last = n->last;
		if (n->last >= last)
			return 0;
		at = n->last + 1;
	}
}

static bool part_same(const struct vx_part *a, const struct vx_part *b)
{
	return a->of == b->of && a->first == b->first && a->last == b->last;
}

/* With @r, which was made for @planned. */
static int cut_locked(struct viommu_xen_guest *mapper, const struct cut *now,
		      const struct cut *planned, struct vx_rests *r)
{
	struct vx_taking *t;

	if (!part_same(&now->left, &planned->left) ||
	    !part_same(&now->right, &planned->right) ||
	    vx_rests_asked_locked(r))
		return AGAIN;
	t = vx_taking_open_locked(mapper);
	if (!t)
		return -ENOMEM;
	return vx_rests_cut_locked(r, now->first, now->last, t, false);
}

/* So that what is cut can be compared with what it leaves. */
static void cut_hold(const struct cut *c, void (*how)(struct vx_mapping *))
{
	if (c->left.of)
		how(c->left.of);
	if (c->right.of)
		how(c->right.of);
}

static void rests_refer(struct vx_rests *r, const struct cut *c)
{
	if (c->left.of)
		vx_rests_add(r, &c->left);
	if (c->right.of)
		vx_rests_add(r, &c->right);
}

/* @planned: what stays as of the last look, which holds it. */
static int unmap_once(struct viommu_xen_guest *mapper, uint64_t first,
		      uint64_t last, struct cut *planned)
{
	struct cut now, old = *planned;
	struct vx_rests r;
	int rc;

	vx_rests_init(&r);
	rests_refer(&r, &old);
	vx_lock(mapper->x);
	rc = mapper->dying ? -ESRCH : r.rc;
	if (!rc)
		rc = cut_plan_locked(mapper, first, last, &now);
	if (!rc)
		rc = cut_locked(mapper, &now, &old, &r);
	/* those in r are counted, but will not be there the next time */
	if (rc == AGAIN &&
	    atomic_load(&mapper->nmappings) + 2 > mapper->max_mappings + r.made)
		rc = -ENOSPC;
	memset(planned, 0, sizeof(*planned));
	if (rc == AGAIN) {
		*planned = now;
		cut_hold(planned, vx_mapping_get);
	}
	vx_unlock(mapper->x);
	vx_rests_fini(&r);
	cut_hold(&old, vx_mapping_put);
	/* its owner waits for it */
	if (!rc && now.asked)
		vx_taking_commit_open(mapper);
	return rc;
}

int vx_unmap(struct viommu_xen_guest *mapper, uint64_t first, uint64_t last)
{
	struct cut planned = { 0 };

	for (int i = 0; i < TRIES; i++) {
		int rc = unmap_once(mapper, first, last, &planned);

		if (rc != AGAIN)
			return rc;
	}
	cut_hold(&planned, vx_mapping_put);
	return -EBUSY;
}
