/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entries: what the kernel has.  They are made of mappings, piece by piece
 * (vh_fill), and removed as wholes, by runs (vh_take_out).
 */
#include <errno.h>
#include <viommu/memory.h>

#include "host/shadow.h"

enum {
	SPARES = 8, /* nodes that are kept */
};
/* "Two halves": so long may a run be that its length has a number. */
#define RUN_MAX (UINT64_C(1) << 63)

void vh_trouble(struct vh_shadow *sh, enum viommu_shadow_trouble what,
		const struct vh_range *r, int err)
{
	if (sh->opt.trouble)
		sh->opt.trouble(sh->opt.arg, what, r->start, r->last, err);
}

/* ---- nodes ------------------------------------------------------------ */

struct vh_node *vh_node_get(struct vh_shadow *sh)
{
	struct vh_node *n = viommu_alloc(sh->opt.vi, sizeof(*n));

	if (!n && sh->spare) {
		n = sh->spare;
		sh->spare = n->right;
		sh->nspare--;
		n->right = NULL;
	}
	return n;
}

void vh_node_put(struct vh_shadow *sh, struct vh_node *n)
{
	if (sh->nspare >= SPARES) {
		viommu_free(sh->opt.vi, n);
		return;
	}
	*n = (struct vh_node){ .right = sh->spare };
	sh->spare = n;
	sh->nspare++;
}

int vh_node_reserve(struct vh_shadow *sh, unsigned n)
{
	while (sh->nspare < n) {
		struct vh_node *node = viommu_alloc(sh->opt.vi, sizeof(*node));

		if (!node)
			return -ENOMEM;
		vh_node_put(sh, node);
	}
	return 0;
}

/* ---- making ----------------------------------------------------------- */

/* The part of @p in [start, last]; false: nothing. */
static bool narrow(struct vh_piece *p, uint64_t start, uint64_t last)
{
	if (start > p->last || last < p->start)
		return false;
	if (start > p->start) {
		p->gpa += start - p->start;
		p->host += start - p->start;
		p->start = start;
	}
	if (last < p->last)
		p->last = last;
	return true;
}

static int put_entry(struct vh_shadow *sh, const struct vh_piece *p)
{
	uint64_t off = sh->lim.page - 1;
	struct vh_node *e;
	int rc;

	if ((p->start | (p->last + 1) | (uintptr_t)p->host) & off)
		return -ERANGE;
	if (vh_tree_overlap(sh->entries, p->start, p->last))
		return -EBUSY; /* it is stuck */
	if (sh->st.entries >= sh->st.max_entries)
		return -ENOSPC;
	e = vh_node_get(sh);
	if (!e)
		return -ENOMEM;
	sh->st.calls++;
	rc = sh->ops->map(sh, p);
	if (rc) {
		vh_node_put(sh, e);
		if (rc == -ENOSPC || rc == -ENOMEM)
			return rc;
		vh_trouble(sh, VIOMMU_SHADOW_REFUSED,
			   &(struct vh_range){ p->start, p->last }, -rc);
		return -EIO;
	}
	e->start = p->start;
	e->last = p->last;
	e->gpa = p->gpa;
	e->prot = p->prot;
	vh_tree_insert(&sh->entries, e);
	sh->st.entries++;
	sh->st.maps++;
	sh->st.bytes += p->last - p->start + 1;
	return 0;
}

/* No entry crosses a multiple of the piece size. */
static int put_pieces(struct vh_shadow *sh, const struct vh_piece *p)
{
	uint64_t size = sh->opt.piece_size, at = p->start;
	int rc;

	if (!size)
		return put_entry(sh, p);
	for (;;) {
		struct vh_piece part = *p;

		narrow(&part, at, at | (size - 1));
		rc = put_entry(sh, &part);
		if (rc || part.last == p->last)
			return rc;
		at = part.last + 1;
	}
}

/* What the kernel cannot map is reserved, so only a space that is identity
 * has something there: there the device sees nothing, as on real machines. */
static int put_mappable(struct vh_shadow *sh, const struct vh_piece *p)
{
	int rc = 0;

	if (!sh->lim.nranges)
		return put_pieces(sh, p);
	for (size_t i = 0; i < sh->lim.nranges && !rc; i++) {
		struct vh_piece part = *p;

		if (narrow(&part, sh->lim.ranges[i].start,
			   sh->lim.ranges[i].last))
			rc = put_pieces(sh, &part);
	}
	return rc;
}

/* @m is at most as long as its mapping, whose target does not wrap.  A device
 * that is memory to the guest is code of this process: the host's IOMMU has no
 * page for it. */
static int put_region(struct vh_shadow *sh, const struct vh_node *m,
		      const struct viommu_region *r)
{
	uint64_t last = m->gpa + (m->last - m->start);
	uint64_t rlast = r->gpa + (r->len - 1);
	uint64_t from = r->gpa > m->gpa ? r->gpa : m->gpa;
	uint64_t to = rlast < last ? rlast : last;
	struct vh_piece p = { .gpa = from,
			      .prot = m->prot & r->prot &
				      (VIOMMU_READ | VIOMMU_WRITE) };

	if (r->device || from > to || !p.prot)
		return 0;
	p.start = m->start + (from - m->gpa);
	p.last = m->start + (to - m->gpa);
	p.host = (char *)r->host + (from - r->gpa);
	return put_mappable(sh, &p);
}

static int put_mapping(struct vh_shadow *sh, const struct vh_node *m)
{
	uint64_t last = m->gpa + (m->last - m->start), at = m->gpa;
	struct viommu_region r = { .size = sizeof(r) };
	int rc;

	while (!viommu_memory_next(sh->opt.memory, at, &r) && r.gpa <= last) {
		rc = put_region(sh, m, &r);
		if (rc)
			return rc;
		at = r.gpa + r.len;
		if (at - 1 >= last)
			break;
	}
	return 0;
}

int vh_fill(struct vh_shadow *sh, uint64_t start, uint64_t last,
	    const struct viommu_region *only)
{
	struct vh_node *m;
	int rc;

	while ((m = vh_tree_overlap(sh->mappings, start, last))) {
		struct vh_node part = *m;

		if (part.start < start) {
			part.gpa += start - part.start;
			part.start = start;
		}
		if (part.last > last)
			part.last = last;
		rc = only ? put_region(sh, &part, only)
			  : put_mapping(sh, &part);
		if (rc || part.last == last)
			return rc;
		start = part.last + 1;
	}
	return 0;
}

/* ---- removing --------------------------------------------------------- */

static void forget_run(struct vh_shadow *sh, const struct vh_run *run,
		       const uint64_t *bits)
{
	struct vh_node *e;

	while ((e = vh_tree_overlap(sh->entries, run->start, run->last))) {
		vh_dirty_mark(sh, e, run, bits);
		sh->st.stuck -= e->stuck;
		sh->st.entries--;
		sh->st.unmaps++;
		sh->st.bytes -= e->last - e->start + 1;
		vh_tree_remove(&sh->entries, e);
		vh_node_put(sh, e);
	}
}

static int remove_run(struct vh_shadow *sh, const struct vh_run *run)
{
	uint64_t *bits = vh_dirty_bits(sh, run);
	int rc;

	sh->st.calls++;
	rc = sh->ops->unmap(sh, run, bits);
	if (rc && bits) {
		/* bits may have been cleared */
		vh_dirty_mark_run(sh, run);
		bits = NULL;
		sh->st.calls++;
		rc = sh->ops->unmap(sh, run, NULL);
	}
	if (!rc)
		forget_run(sh, run, bits);
	return rc;
}

/* Once more, each by itself. */
static void remove_each(struct vh_shadow *sh, const struct vh_run *run)
{
	uint64_t at = run->start;
	struct vh_node *e;

	while ((e = vh_tree_overlap(sh->entries, at, run->last))) {
		struct vh_run one = { e->start, e->last, 1 };
		int rc = remove_run(sh, &one);

		if (rc && !e->stuck) {
			e->stuck = true;
			sh->st.stuck++;
			vh_trouble(sh, VIOMMU_SHADOW_STUCK,
				   &(struct vh_range){ one.start, one.last },
				   -rc);
		}
		if (one.last == run->last)
			break;
		at = one.last + 1;
	}
}

/* As many entries from @e on, up to @last, as can go in one call. */
static struct vh_run run_of(struct vh_shadow *sh, const struct vh_node *e,
			    uint64_t last)
{
	struct vh_run run = { e->start, e->last, 1 };
	bool exact = vh_dirty_exact(sh);

	while (run.last < last) {
		const struct vh_node *n =
			vh_tree_overlap(sh->entries, run.last + 1, last);

		if (!n || n->last - run.start >= RUN_MAX)
			break;
		if (exact && (n->start != run.last + 1 ||
			      !vh_dirty_fits(sh, run.start, n->last)))
			break;
		run.last = n->last;
		run.entries++;
	}
	return run;
}

static bool remove_all(struct vh_shadow *sh)
{
	struct vh_run all = { 0, UINT64_MAX, sh->st.entries };

	if (!sh->ops->unmap_all || vh_dirty_exact(sh))
		return false;
	sh->st.calls++;
	if (sh->ops->unmap_all(sh))
		return false;
	forget_run(sh, &all, NULL);
	return true;
}

void vh_take_out(struct vh_shadow *sh, struct vh_range *r)
{
	uint64_t at = r->start, last = r->last;
	struct vh_node *e = vh_tree_overlap(sh->entries, at, last);

	if (e && !at && last == UINT64_MAX && remove_all(sh))
		return;
	if (e && e->start < at)
		r->start = e->start;
	while ((e = vh_tree_overlap(sh->entries, at, last))) {
		struct vh_run run = run_of(sh, e, last);

		if (run.last > last)
			r->last = run.last;
		if (remove_run(sh, &run))
			remove_each(sh, &run);
		if (run.last >= last)
			break;
		at = run.last + 1;
	}
}

void vh_take_out_stuck(struct vh_shadow *sh)
{
	struct vh_node *e = vh_tree_first(sh->entries, 0), *next;

	for (; e && sh->st.stuck; e = next) {
		struct vh_run one = { e->start, e->last, 1 };

		next = vh_tree_next(sh->entries, e);
		if (e->stuck)
			(void)remove_run(sh, &one);
	}
}
