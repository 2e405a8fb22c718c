/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hypervisor calls.  Each is checked, carried out entry by entry up to the
 * first that is refused, and committed once.
 *
 *	viommu_tce_hcall -> put | put_indirect | stuff [-> window.c]
 *	                 -> vt_call_close [-> viommu_fence_commit]
 *
 * The list of an INDIRECT is copied first, without the lock: reading guest
 * memory is DMA, and may run done callbacks of other calls.
 */
#include <endian.h>
#include <errno.h>

#include "guest/tce/device.h"

enum {
	LIST_MAX = 512, /* entries: a page of 4 KiB */
	LIST_ALIGN = 4096,
};

/* A call under way, and the entries that it names. */
struct op {
	struct viommu_tce *t;
	struct vt_taking taking;
	struct vt_window *w;
	uint64_t first;
	uint64_t entries; /* that were put */
};

/* The one place where errors become codes. */
static int64_t code_of(int error)
{
	switch (error) {
	case 0:
		return VIOMMU_H_SUCCESS;
	case -ENOMEM:
	case -ENOSPC:
	case -EAGAIN:
		return VIOMMU_H_NOT_ENOUGH_RESOURCES;
	case -EFAULT:
	case -EADDRNOTAVAIL:
		return VIOMMU_H_PARAMETER;
	default:
		return VIOMMU_H_HARDWARE;
	}
}

/* The address is taken down to its page; one below the window wraps, and is
 * beyond it. */
static bool find(struct op *op, uint64_t liobn, uint64_t ioba)
{
	op->w = vt_window_find(op->t, liobn);
	if (!op->w)
		return false;
	op->first = ((ioba >> op->w->at.shift << op->w->at.shift) -
		     op->w->at.start) >>
		    op->w->at.shift;
	return op->first < op->w->at.entries;
}

/* Entry @i from the first one on. */
static int64_t put_nth(struct op *op, uint64_t i, uint64_t tce)
{
	int rc;

	if (i >= op->w->at.entries - op->first)
		return VIOMMU_H_PARAMETER;
	rc = vt_put(op->w, op->first + i, tce, &op->taking);
	op->entries += !rc;
	return code_of(rc);
}

static int64_t put(struct op *op, const uint64_t args[4])
{
	return find(op, args[0], args[1]) ? put_nth(op, 0, args[2])
					  : VIOMMU_H_PARAMETER;
}

static int64_t put_list(struct op *op, const uint64_t args[4],
			const uint64_t *list)
{
	int64_t code = VIOMMU_H_SUCCESS;

	if (!find(op, args[0], args[1]))
		return VIOMMU_H_PARAMETER;
	for (uint64_t i = 0; i < args[3] && !code; i++)
		code = put_nth(op, i, be64toh(list[i]));
	return code;
}

/* As many as there are, then what is too many is refused. */
static int64_t clear(struct op *op, uint64_t n, uint64_t tce)
{
	uint64_t room = op->w->at.entries - op->first;
	uint64_t some = n < room ? n : room;
	int rc = vt_clear(op->w, op->first, some, tce, &op->taking);

	if (rc)
		return code_of(rc);
	op->entries += some;
	return n > room ? VIOMMU_H_PARAMETER : VIOMMU_H_SUCCESS;
}

static int64_t stuff(struct op *op, const uint64_t args[4])
{
	uint64_t tce = args[2], n = args[3];
	int64_t code = VIOMMU_H_SUCCESS;

	if (!find(op, args[0], args[1]) || !n || n > op->w->at.entries)
		return VIOMMU_H_PARAMETER;
	if (!(tce & VT_TCE_PROT))
		return clear(op, n, tce);
	for (uint64_t i = 0; i < n && !code; i++)
		code = put_nth(op, i, tce);
	return code;
}

/* ---- the calls -------------------------------------------------------- */

static int64_t get_tce(struct viommu_tce *t, const uint64_t args[4],
		       uint64_t *value)
{
	struct op op = { .t = t };
	struct vt_part *p = vt_enter(t);
	bool found = find(&op, args[0], args[1]);

	if (found)
		*value = atomic_load_explicit(&op.w->tce[op.first],
					      memory_order_acquire);
	else
		vt_count(&p->refused, 1);
	vt_count(&p->hcalls, 1);
	vt_leave(t, p);
	return found ? VIOMMU_H_SUCCESS : VIOMMU_H_PARAMETER;
}

/* -EFAULT, -EAGAIN. */
static int list_read(struct viommu_tce *t, const uint64_t args[4],
		     uint64_t *list)
{
	if (!args[3] || args[3] > LIST_MAX || args[2] % LIST_ALIGN)
		return -EFAULT;
	return viommu_memory_read(t->memory, args[2], list,
				  args[3] * sizeof(*list));
}

static int64_t indirect(struct op *op, struct vt_part **p,
			const uint64_t args[4])
{
	uint64_t list[LIST_MAX];
	int rc = list_read(op->t, args, list);

	*p = vt_enter(op->t);
	return rc ? code_of(rc) : put_list(op, args, list);
}

static int64_t carry_out(struct op *op, struct vt_part **p, uint64_t opcode,
			 const uint64_t args[4])
{
	if (opcode == VIOMMU_H_PUT_TCE_INDIRECT)
		return indirect(op, p, args);
	*p = vt_enter(op->t);
	if (opcode == VIOMMU_H_PUT_TCE)
		return put(op, args);
	if (opcode == VIOMMU_H_STUFF_TCE)
		return stuff(op, args);
	return VIOMMU_H_FUNCTION;
}

int64_t viommu_tce_hcall(struct viommu_tce *t, uint64_t opcode,
			 const uint64_t args[4], struct viommu_tce_call *call)
{
	struct op op = { .t = t };
	struct vt_part *p;
	int64_t code;

	if (opcode == VIOMMU_H_GET_TCE)
		return get_tce(t, args, &call->value);
	op.taking.f = vt_call_open(t, call);
	code = carry_out(&op, &p, opcode, args);
	vt_count(&p->hcalls, 1);
	vt_count(&p->entries, op.entries);
	vt_leave(t, p);
	return vt_call_close(t, call, &op.taking, code, NULL);
}
