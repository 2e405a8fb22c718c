/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vhost-user IOTLB: what messages do to the space.
 *
 * An UPDATE is looked at as a whole before anything changes.  Then it goes
 * region by region; in each it is one mapping, unless there is something that
 * leads to the same place and allows more: that is kept, so there it is a
 * mapping for each of those and for each hole.
 *
 * Its answer waits only if an address led elsewhere before: that was taken.
 * What was forgotten to make room cannot be compared any more.  So before that
 * is done, and until nobody can use what went, it is looked who uses the
 * addresses of an UPDATE.
 *
 * When there is no room, an eighth of all entries goes, the next time the next
 * eighth; if that is not enough (tables of what goes are freed when its fence
 * is done), everything.
 *
 * Everything is the thread's of the messages.
 */

#include <errno.h>
#include <viommu/space.h>

#include "serve/vhost_iotlb_impl.h"

#define EIGHTH 8u

/* ---------------------------------------------------------------- evict */

/* The next entry at or after the cursor, which begins anew at the top. */
static int cursor_next(struct viommu_vhost_iotlb *tlb, struct viommu_mapping *m)
{
	int rc = viommu_space_next(tlb->space, tlb->cursor, m);

	if (rc && tlb->cursor) {
		tlb->cursor = 0;
		rc = viommu_space_next(tlb->space, 0, m);
	}
	return rc;
}

static void forget_range(struct viommu_vhost_iotlb *tlb, viommu_iova_t start,
			 viommu_iova_t last, struct viommu_fence *f)
{
	int rc = viommu_space_invalidate(tlb->space, start, last, f);

	(void)rc; /* it is REMOTE, and start <= last */
}

static void evict_some(struct viommu_vhost_iotlb *tlb, struct vs_iotlb_op *op)
{
	uint64_t most = tlb->cfg.max_entries / EIGHTH + 1, n = 1;
	struct viommu_mapping first, m;

	if (cursor_next(tlb, &first))
		return;
	m = first;
	while (n < most && m.last < UINT64_MAX &&
	       !viommu_space_next(tlb->space, m.last + 1, &m))
		n++;
	forget_range(tlb, first.start, m.last, &op->fence);
	tlb->cursor = m.last + 1; /* or 0 */
	op->gathered = true;
	vs_iotlb_count(&tlb->evicted, n);
}

static void evict_all(struct viommu_vhost_iotlb *tlb, struct vs_iotlb_op *op)
{
	struct viommu_space_stats st;

	viommu_space_read_stats(tlb->space, &st);
	/* it would take back questions, for nothing */
	if (!st.mappings)
		return;
	forget_range(tlb, 0, UINT64_MAX, &op->fence);
	op->gathered = true;
	vs_iotlb_count(&tlb->evicted, st.mappings);
}

/* --------------------------------------------------------------- update */

/* What is there already. */
struct found {
	bool elsewhere; /* some of it leads to another place */
	bool more;	/* some, to the same, with more permission */
};

static bool same_place(const struct viommu_mapping *a,
		       const struct viommu_mapping *b)
{
	return a->gpa - a->start == b->gpa - b->start;
}

static void look(struct viommu_vhost_iotlb *tlb, const struct viommu_mapping *m,
		 struct found *found)
{
	viommu_iova_t iova = m->start;
	struct viommu_mapping old;

	*found = (struct found){ 0 };
	while (!viommu_space_next(tlb->space, iova, &old) &&
	       old.start <= m->last) {
		if (!same_place(&old, m))
			found->elsewhere = true;
		else if (old.prot & ~m->prot)
			found->more = true;
		if (old.last >= m->last)
			break;
		iova = old.last + 1;
	}
}

/* Map @m, where nothing is or in the place of what is there. */
static int place(struct viommu_vhost_iotlb *tlb, const struct viommu_mapping *m,
		 bool replace, struct vs_iotlb_op *op)
{
	struct found found;
	int rc;

	for (unsigned tries = 0;; tries++) {
		rc = replace ? viommu_space_remap(tlb->space, m, &op->fence)
			     : viommu_space_map(tlb->space, m);
		if ((rc != -ENOSPC && rc != -ENOMEM) || tries == 2)
			break;
		/* it may be among what goes */
		look(tlb, m, &found);
		op->takes |= found.elsewhere;
		if (tries)
			evict_all(tlb, op);
		else
			evict_some(tlb, op);
	}
	if (rc)
		return rc;
	op->placed = true;
	op->gathered |= replace;
	return 0;
}

/* Piece by piece: each hole, and each entry that is there.  Of holes, too, the
 * fence is to know. */
static int place_between(struct viommu_vhost_iotlb *tlb,
			 const struct viommu_mapping *m, struct vs_iotlb_op *op)
{
	struct viommu_mapping old, part = *m;
	int rc;

	for (;;) {
		bool there = !viommu_space_next(tlb->space, part.start, &old) &&
			     old.start <= m->last;

		part.gpa = m->gpa + (part.start - m->start);
		part.prot = m->prot;
		part.last = m->last;
		if (there && old.start > part.start)
			part.last = old.start - 1;
		else if (there && old.last < m->last)
			part.last = old.last;
		there = there && old.start <= part.start;
		if (there && same_place(&old, &part))
			part.prot |= old.prot;
		rc = place(tlb, &part, true, op);
		if (rc || part.last == m->last)
			return rc;
		part.start = part.last + 1;
	}
}

/* As a rule nothing is there, and to look costs more than to try. */
static int region_update(struct viommu_vhost_iotlb *tlb,
			 const struct viommu_mapping *m, struct vs_iotlb_op *op)
{
	struct found found;
	int rc = -EEXIST;

	if (vs_iotlb_op_behind(op))
		op->takes = true;
	else
		rc = place(tlb, m, false, op);
	if (rc != -EEXIST)
		return rc;
	look(tlb, m, &found);
	op->takes |= found.elsewhere;
	if (found.more)
		return place_between(tlb, m, op);
	return place(tlb, m, true, op);
}

/* Call @fn, or just look, for what is in each region. */
static int
each_region(struct viommu_vhost_iotlb *tlb, const struct vhost_iotlb_msg *msg,
	    int (*fn)(struct viommu_vhost_iotlb *tlb,
		      const struct viommu_mapping *m, struct vs_iotlb_op *op),
	    struct vs_iotlb_op *op)
{
	struct viommu_mapping m = { .prot = msg->perm };
	uint64_t some;

	for (uint64_t at = 0; at < msg->size; at += some) {
		int rc;

		some = vs_iotlb_region_at(tlb, msg->uaddr + at, &m.gpa);
		if (!some)
			return -EFAULT;
		if (some > msg->size - at)
			some = msg->size - at;
		m.start = msg->iova + at;
		m.last = m.start + (some - 1);
		rc = fn(tlb, &m, op);
		if (rc)
			return rc;
	}
	return 0;
}

/* The message's own edges, and those of regions within it. */
static int aligned(struct viommu_vhost_iotlb *tlb,
		   const struct viommu_mapping *m, struct vs_iotlb_op *op)
{
	uint64_t mask = tlb->cfg.page_size - 1;

	(void)op;
	return (m->start | (m->last + 1) | m->gpa) & mask ? -EINVAL : 0;
}

static int update(struct viommu_vhost_iotlb *tlb,
		  const struct vhost_iotlb_msg *msg, struct vs_iotlb_op *op)
{
	int rc;

	_Static_assert((int)VIOMMU_READ == VHOST_ACCESS_RO &&
			       (int)VIOMMU_WRITE == VHOST_ACCESS_WO,
		       "permissions are the same bits");
	if (!msg->size || msg->iova + (msg->size - 1) < msg->iova ||
	    msg->uaddr + (msg->size - 1) < msg->uaddr || !msg->perm ||
	    (msg->perm & ~VHOST_ACCESS_RW))
		return -EINVAL;
	rc = each_region(tlb, msg, aligned, op);
	if (!rc)
		rc = each_region(tlb, msg, region_update, op);
	if (rc && op->placed) {
		forget_range(tlb, msg->iova, msg->iova + (msg->size - 1),
			     &op->fence);
		op->gathered = true;
	}
	if (!rc)
		vs_iotlb_count(&tlb->updates, 1);
	return rc;
}

/* ----------------------------------------------------------- invalidate */

static int invalidate(struct viommu_vhost_iotlb *tlb,
		      const struct vhost_iotlb_msg *msg, struct vs_iotlb_op *op)
{
	/* QEMU's size is a mask and one: 0 for everything */
	uint64_t last = msg->size ? msg->iova + (msg->size - 1) : UINT64_MAX;

	if (last < msg->iova)
		return -EINVAL;
	forget_range(tlb, msg->iova, last, &op->fence);
	op->gathered = op->takes = true;
	vs_iotlb_count(&tlb->invalidations, 1);
	return 0;
}

int vs_iotlb_carry_out(struct viommu_vhost_iotlb *tlb,
		       const struct vhost_iotlb_msg *msg,
		       struct vs_iotlb_op *op)
{
	if (!vs_iotlb_op_may_fence(op))
		return -ENOBUFS;
	switch (msg->type) {
	case VHOST_IOTLB_UPDATE:
		return update(tlb, msg, op);
	case VHOST_IOTLB_INVALIDATE:
		return invalidate(tlb, msg, op);
	default:
		return -EINVAL;
	}
}

void vs_iotlb_forget(struct viommu_vhost_iotlb *tlb, viommu_gpa_t gpa,
		     viommu_gpa_t last, struct viommu_fence *f)
{
	struct viommu_mapping m = { .last = UINT64_MAX };
	viommu_iova_t iova = 0;

	while (!viommu_space_next(tlb->space, iova, &m)) {
		if (m.gpa >= gpa && m.gpa <= last)
			forget_range(tlb, m.start, m.last, f);
		if (m.last == UINT64_MAX)
			break;
		iova = m.last + 1;
	}
}
