/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What stays of a mapping that is cut, because part of it is unmapped or is
 * wanted back.  A mapping has one reference, which goes as a whole; so each
 * part that stays first gets a reference of its own, while the old one holds
 * the pages, and then takes its place: in the view nothing changes there (L7).
 *
 * The new reference is by gfn, as the old one was, and the owner may have other
 * pages at that gfn by now.  So they are compared, by host address: what
 * differs does not stay.  (Nor could the address be the same and the page
 * another: the old reference is held until after the new one is in its place,
 * or else nothing is done with that.)
 */
#include <errno.h>

#include "guest/xen/hypervisor.h"

enum {
	TRIES = 64, /* references that are tried for, in one part */
};

#define FRAME (UINT64_C(1) << VX_FRAME_SHIFT)

void vx_rests_init(struct vx_rests *r)
{
	*r = (struct vx_rests){ .head = NULL };
	r->tail = &r->head;
}

/* ---- the same pages? ---------------------------------------------------- */

/* Where byte @at of @m is, and how many follow it there. */
static const char *host_of(const struct vx_mapping *m, uint64_t at,
			   uint64_t *len)
{
	for (uint32_t i = 0; i < m->dma.niov; i++) {
		const struct iovec *v = &m->dma.iov[i];

		if (at < v->iov_len) {
			*len = v->iov_len - at;
			return (const char *)v->iov_base + at;
		}
		at -= v->iov_len;
	}
	*len = 0;
	return NULL;
}

static bool same_pages(const struct vx_mapping *whole,
		       const struct vx_mapping *rest)
{
	uint64_t off = rest->node.first - whole->node.first, at = 0, a, b;

	if (VX_MUTANT == VX_MUTANT_NO_COMPARE)
		return true;
	while (at < rest->dma.len) {
		if (host_of(whole, off + at, &a) != host_of(rest, at, &b))
			return false;
		at += a < b ? a : b;
	}
	return true;
}

/* ---- refer -------------------------------------------------------------- */

/* The last one, if @p begins right behind it. */
static struct vx_mapping *rest_beside(const struct vx_rests *r,
				      const struct vx_part *p)
{
	struct vx_mapping *last;

	if (!r->head)
		return NULL;
	last = vx_node_of(r->tail, struct vx_mapping, next);
	return last->node.last + 1 == p->first ? last : NULL;
}

/* As vx_mapping_refer(), but -ESTALE: other pages are there. */
static int rest_refer(const struct vx_part *p, struct vx_mapping **out)
{
	struct vx_mapping *m = vx_mapping_make(p);
	int rc = m ? vx_mapping_refer(m) : -ENOMEM;

	if (!rc && same_pages(p->of, m)) {
		*out = m;
		return 0;
	}
	if (!rc)
		vx_mapping_drop(m);
	else if (m)
		vx_mapping_put(m);
	return rc ? rc : -ESTALE;
}

static void rest_append(struct vx_rests *r, struct vx_mapping *m)
{
	*r->tail = m;
	r->tail = &m->next;
	r->made++;
}

/* @m in the place of the last one, which it covers. */
static void rest_replace(struct vx_rests *r, struct vx_mapping *m)
{
	struct vx_mapping **at = &r->head, *last;

	while (&(*at)->next != r->tail)
		at = &(*at)->next;
	last = *at;
	*at = m;
	r->tail = &m->next;
	/* asked for or not: revoke only looks at what never came */
	vx_mapping_drop(last);
}

/*
 * False: they are not there, not all of them, or r->rc.  There is a hole in the
 * view between any two rests, which is what cuts it (holes()): a region that
 * two shared could not be taken out for one.  So what is beside the last one
 * becomes one mapping with it, or does not stay.  (Both are of one mapping:
 * between those of two there is what is unmapped.)
 */
static bool rest_add(struct vx_rests *r, const struct vx_part *p)
{
	struct vx_mapping *last = rest_beside(r, p), *m;
	struct vx_part part = *p;
	int rc;

	if (last)
		part = vx_mapping_part(p->of, last->node.first, p->last);
	r->tries--;
	rc = rest_refer(&part, &m);
	if (!rc && part.first < p->first)
		rest_replace(r, m);
	else if (!rc)
		rest_append(r, m);
	if (!rc)
		return true;
	if (rc == -ENOMEM || rc == -EAGAIN || rc == -EBUSY || rc == -EIO)
		r->rc = rc;
	return false;
}

static void refer(struct vx_rests *r, const struct vx_part *p)
{
	struct vx_part left = *p, right = *p;
	uint64_t half;

	if (!r->tries || rest_add(r, p) || p->last - p->first < FRAME)
		return;
	half = (p->last - p->first + 1) / 2 & ~(FRAME - 1);
	left.last = p->first + (half - 1);
	right.first = p->first + half;
	right.gpa = p->gpa + half;
	refer(r, &left);
	refer(r, &right);
}

void vx_rests_add(struct vx_rests *r, const struct vx_part *p)
{
	r->tries = TRIES;
	refer(r, p);
}

bool vx_rests_asked_locked(struct vx_rests *r)
{
	struct vx_mapping **at = &r->head, *m;

	while ((m = *at)) {
		if (!m->asked) {
			at = &m->next;
			continue;
		}
		*at = m->next;
		m->next = r->unwanted;
		r->unwanted = m;
	}
	r->tail = at;
	return r->unwanted && VX_MUTANT != VX_MUTANT_NO_ASKED;
}

/* ---- cut ---------------------------------------------------------------- */

static int hole(struct viommu_xen_guest *mapper, uint64_t first, uint64_t last,
		struct vx_taking *t)
{
	return viommu_memory_give_up(mapper->view, first, last - first + 1,
				     &t->fence);
}

/* Between the rests.  *@some: of several some are there already. */
static int holes(const struct vx_rests *r, uint64_t first, uint64_t last,
		 struct vx_taking *t, bool *some)
{
	const struct vx_mapping *m;
	int rc = 0;

	for (m = r->head; m && !rc; m = m->next) {
		if (m->node.first > first) {
			rc = hole(t->mapper, first, m->node.first - 1, t);
			*some |= !rc;
		}
		first = m->node.last + 1;
	}
	if (!rc && first <= last)
		rc = hole(t->mapper, first, last, t);
	return rc;
}

/* The mappings that are cut go; those that stay come in their place. */
static void swap_locked(struct vx_rests *r, uint64_t first, uint64_t last,
			struct vx_taking *t)
{
	struct viommu_xen_guest *mapper = t->mapper;
	struct vx_mapping *m, *next;
	struct vx_node *n;

	while ((n = vx_tree_next(&mapper->mappings, first)) && n->first <= last)
		vx_mapping_going_locked(vx_node_of(n, struct vx_mapping, node),
					t);
	for (m = r->head; m; m = next) {
		next = m->next;
		vx_tree_insert(&mapper->mappings, &m->node);
		vx_mapping_live_locked(m);
	}
	r->head = NULL;
	r->tail = &r->head;
}

static void all_unwanted(struct vx_rests *r)
{
	*r->tail = r->unwanted;
	r->unwanted = r->head;
	r->head = NULL;
	r->tail = &r->head;
}

int vx_rests_cut_locked(struct vx_rests *r, uint64_t first, uint64_t last,
			struct vx_taking *t, bool must)
{
	bool some = false;
	int rc = 0;

	if (r->head)
		rc = holes(r, first, last, t, &some);
	if (rc && !must && !some)
		return rc;
	if (rc)
		all_unwanted(r);
	/* which cuts no region, and so does not fail; if it did, what is there
	 * would stay, and its references */
	rc = r->head ? 0 : hole(t->mapper, first, last, t);
	if (rc)
		return rc;
	swap_locked(r, first, last, t);
	return 0;
}

void vx_rests_fini(struct vx_rests *r)
{
	struct vx_mapping *m;

	all_unwanted(r);
	while ((m = r->unwanted)) {
		r->unwanted = m->next;
		vx_mapping_drop(m);
	}
}
