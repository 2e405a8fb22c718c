/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A batch: each operation is read once, checked, carried out, answered.  What a
 * guest says is not to be trusted, and neither is that it may still say it: the
 * privilege is asked for each time.
 */
#include <errno.h>

#include "guest/xen/hypervisor.h"

enum {
	BATCH_MAX = 1 << 24,
};

void vx_batch_step(struct viommu_xen *x, struct viommu_xen_batch *b, int status)
{
	b->ops[b->index++].status = status;
	atomic_fetch_add(&x->ops, 1);
	if (status)
		atomic_fetch_add(&x->refused, 1);
}

/* ---- operations --------------------------------------------------------- */

static int may(const struct viommu_xen_guest *mapper,
	       enum viommu_xen_privilege what, uint32_t owner)
{
	const struct viommu_xen_config *c = &mapper->x->cfg;

	return c->may(c->arg, what, vx_guest_domid(mapper), owner) ? 0
								   : -EACCES;
}

/* The op's dfns, as bytes. */
static int part_of(const struct viommu_xen_guest *mapper,
		   const struct viommu_xen_op *op, struct vx_part *p)
{
	uint64_t page, len, off = op->dfn | op->gfn;

	if (op->page_shift > 63 ||
	    !(mapper->x->cfg.page_sizes >> op->page_shift & 1))
		return -EINVAL;
	page = UINT64_C(1) << op->page_shift;
	if (off & ((page >> VX_FRAME_SHIFT) - 1) || !op->count ||
	    __builtin_mul_overflow(op->count, page, &len) ||
	    op->dfn > UINT64_MAX >> VX_FRAME_SHIFT ||
	    op->gfn > UINT64_MAX >> VX_FRAME_SHIFT)
		return -EINVAL;
	*p = (struct vx_part){ .first = op->dfn << VX_FRAME_SHIFT,
			       .gpa = op->gfn << VX_FRAME_SHIFT,
			       .prot = op->flags };
	p->last = p->first + (len - 1);
	if (p->last < p->first || p->gpa + (len - 1) < p->gpa)
		return -EINVAL;
	return p->last > mapper->last ? -ERANGE : 0;
}

static int op_map(struct viommu_xen_guest *mapper,
		  const struct viommu_xen_op *op)
{
	uint32_t self = vx_guest_domid(mapper);
	uint32_t owner = op->owner == VIOMMU_XEN_SELF ? self : op->owner;
	struct vx_part p;
	int rc = 0;

	if (owner != self)
		rc = may(mapper, VIOMMU_XEN_MAP_OF, owner);
	if (rc)
		return rc;
	if (!op->flags || op->flags & ~(VIOMMU_READ | VIOMMU_WRITE))
		return -EINVAL;
	rc = part_of(mapper, op, &p);
	if (!rc)
		rc = vx_map(mapper, owner, &p);
	/* a notifier's answer: nobody would call when it is over */
	return rc == -EINPROGRESS ? -EBUSY : rc;
}

static int op_unmap(struct viommu_xen_guest *mapper,
		    const struct viommu_xen_op *op)
{
	struct vx_part p;
	int rc = part_of(mapper, op, &p);

	if (!rc && (op->flags || op->owner || op->gfn))
		rc = -EINVAL;
	return rc ? rc : vx_unmap(mapper, p.first, p.last);
}

static int op_lookup(struct viommu_xen_guest *mapper, struct viommu_xen_op *op)
{
	struct viommu_xen_mapping m;
	int rc;

	if (op->flags || op->owner || op->gfn || op->count || op->page_shift)
		return -EINVAL;
	vx_lock(mapper->x);
	rc = vx_mapping_next_locked(mapper, op->dfn, &m);
	vx_unlock(mapper->x);
	if (rc || m.dfn > op->dfn)
		return -ENOENT;
	op->owner = (uint16_t)m.owner;
	op->flags = (uint16_t)m.flags;
	op->gfn = m.gfn + (op->dfn - m.dfn);
	op->count = m.count - (op->dfn - m.dfn);
	return 0;
}

static int op_flush(struct viommu_xen_guest *mapper,
		    const struct viommu_xen_op *op, struct viommu_xen_batch *b)
{
	if (op->flags || op->owner || op->gfn || op->dfn || op->count ||
	    op->page_shift)
		return -EINVAL;
	return vx_taking_flush(mapper, b);
}

/* A status; -EINPROGRESS: none yet, and @b is not ours any more. */
static int op_run(struct viommu_xen_guest *mapper, struct viommu_xen_op *op,
		  struct viommu_xen_batch *b)
{
	int rc = may(mapper, VIOMMU_XEN_CONTROL, VIOMMU_XEN_SELF);

	if (rc)
		return rc;
	if (op->kind >= VIOMMU_XEN_MAP && op->kind <= VIOMMU_XEN_LOOKUP &&
	    (op->zero || op->zero2))
		return -EINVAL;
	switch (op->kind) {
	case VIOMMU_XEN_MAP:
		return op_map(mapper, op);
	case VIOMMU_XEN_UNMAP:
		return op_unmap(mapper, op);
	case VIOMMU_XEN_FLUSH:
		return op_flush(mapper, op, b);
	case VIOMMU_XEN_LOOKUP:
		return op_lookup(mapper, op);
	default:
		return -EOPNOTSUPP;
	}
}

/* ---- batches ------------------------------------------------------------ */

static uint64_t frames_of(const struct viommu_xen_op *op)
{
	if (op->status || op->page_shift < VX_FRAME_SHIFT)
		return 0;
	return op->count << (op->page_shift - VX_FRAME_SHIFT);
}

static int batch_run(struct viommu_xen_guest *mapper,
		     struct viommu_xen_batch *b)
{
	const struct viommu_xen_config *c = &mapper->x->cfg;
	uint64_t frames = 0;

	for (uint32_t n = 0; b->index < b->n; n++) {
		struct viommu_xen_op op;

		if (n == c->preempt_ops || frames >= c->preempt_frames)
			return -EAGAIN;
		op = b->ops[b->index];
		op.status = op_run(mapper, &op, b);
		if (op.status == -EINPROGRESS)
			return op.status;
		frames += frames_of(&op);
		b->ops[b->index] = op;
		vx_batch_step(mapper->x, b, op.status);
	}
	return 0;
}

int viommu_xen_run(struct viommu_xen *x, struct viommu_xen_batch *b)
{
	struct viommu_xen_guest *mapper;
	int rc;

	if (b->n > BATCH_MAX)
		return -E2BIG;
	if (b->index > b->n || !b->done || b->zero)
		return -EINVAL;
	vx_lock(x);
	mapper = vx_guest_find_locked(x, b->mapper);
	if (mapper)
		atomic_fetch_add(&mapper->refs, 1);
	vx_unlock(x);
	if (!mapper)
		return -ESRCH;
	atomic_fetch_add(&x->batches, 1);
	rc = batch_run(mapper, b);
	vx_guest_put(mapper);
	return rc;
}
