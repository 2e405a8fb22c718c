/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Foreign mapping by a privileged guest: the rules of the discussion of Xen's
 * iommu_op, each by its name.
 *
 *	any_guest   a mapper with the privilege maps pages of any guest, SELF
 *	            its own; by gfn, never by host frame
 *	eacces      no capability query: what is not allowed is -EACCES
 *	batch       a status each, restartable at the index that was reached
 *	flush       unmap does not flush; flush is explicit, and once
 *	page_size   larger pages by mask
 *
 * and what is wrong with an operation that is allowed.  References, and how
 * they go, are xen_reference.c.
 */
#include "xen.h"

/* ---- any guest --------------------------------------------------------- */

static void any_guest_that_it_may(void **state)
{
	struct world *w = *state;

	assert_int_equal(run(w, op_map(DOM1, 0x100, 3, 2, R)), 0);
	assert_int_equal(run(w, op_map(DOM2, 0x102, 7, 1, RW)), 0);
	for (int i = 0; i < EPS; i++) {
		assert_int_equal(peek(w, i, 0x100), byte_of(DOM1, 3));
		assert_int_equal(peek(w, i, 0x101), byte_of(DOM1, 4));
		assert_int_equal(peek(w, i, 0x102), byte_of(DOM2, 7));
		assert_int_equal(peek(w, i, 0x103), -EFAULT);
		assert_int_equal(peek(w, i, 0xff), -EFAULT);
	}
	assert_int_equal(poke(w, 0, 0x102, 0xee), 0);
	assert_int_equal(w->ram[DOM2][7 * FRAME], 0xee);
	assert_int_equal(poke(w, 0, 0x101, 0xee), -EACCES);
}

static void any_guest_self_is_its_own(void **state)
{
	struct world *w = *state;

	assert_int_equal(run(w, op_map(SELF, 5, 9, 1, RW)), 0);
	assert_int_equal(run(w, op_map(DOM0, 6, 10, 1, RW)), 0);
	assert_int_equal(peek(w, 0, 5), byte_of(DOM0, 9));
	assert_int_equal(peek(w, 0, 6), byte_of(DOM0, 10));
}

/* The same page twice, also by two guests. */
static void any_guest_more_than_once(void **state)
{
	struct world *w = *state;

	w->control[DOM1] = w->map_of[DOM1][DOM2] = true;
	assert_int_equal(run(w, op_map(DOM2, 1, 4, 1, R)), 0);
	assert_int_equal(run(w, op_map(DOM2, 2, 4, 1, R)), 0);
	assert_int_equal(run_as(w, DOM1, op_map(DOM2, 1, 4, 1, R)), 0);
	assert_int_equal(stats(w).references, 3);
	assert_int_equal(peek(w, 0, 1), byte_of(DOM2, 4));
	assert_int_equal(peek(w, 0, 2), byte_of(DOM2, 4));
}

/* What a guest has mapped is not its own: nobody gets at it by its name. */
static void any_guest_but_not_what_it_mapped(void **state)
{
	struct world *w = *state;

	w->control[DOM2] = w->map_of[DOM2][DOM0] = true;
	assert_int_equal(run(w, op_map(DOM1, 0x100, 3, 1, RW)), 0);
	assert_int_equal(run_as(w, DOM2, op_map(DOM0, 1, 0x100, 1, R)),
			 -ENOENT);
	assert_int_equal(run(w, op_map(SELF, 1, 0x100, 1, R)), -ENOENT);
}

static void any_guest_by_gfn(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op ops[] = { op_map(DOM1, 0x10, 3, 4, RW),
				       op_map(SELF, 0x14, 20, 1, R),
				       op_lookup(0x12), op_lookup(0x14),
				       op_lookup(0x15) };
	struct batch b;

	assert_int_equal(run_in(w, &b, DOM0, ops, 5), -ENOENT);
	assert_int_equal(b.ops[2].status, 0);
	assert_int_equal(b.ops[2].owner, DOM1);
	assert_int_equal(b.ops[2].gfn, 5);
	assert_int_equal(b.ops[2].count, 2);
	assert_int_equal(b.ops[2].flags, RW);
	assert_int_equal(b.ops[3].owner, DOM0);
	assert_int_equal(b.ops[3].gfn, 20);
	assert_int_equal(b.ops[3].flags, R);
	assert_int_equal(b.ops[4].gfn, 0);
}

static void any_guest_iterator(void **state)
{
	struct world *w = *state;
	struct viommu_xen_mapping m;

	assert_int_equal(viommu_xen_next(w->x, DOM0, 0, &m), -ENOENT);
	assert_int_equal(viommu_xen_next(w->x, 77, 0, &m), -ESRCH);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(run(w, op_map(DOM1, 70 - 10 * i, i, 2, R)), 0);
	for (uint64_t i = 8, at = 0; i--; at = m.dfn + m.count) {
		assert_int_equal(viommu_xen_next(w->x, DOM0, at, &m), 0);
		assert_int_equal(m.dfn, 70 - 10 * i);
		assert_int_equal(m.gfn, i);
		assert_int_equal(m.count, 2);
		assert_int_equal(m.owner, DOM1);
		assert_int_equal(m.flags, R);
	}
	assert_int_equal(viommu_xen_next(w->x, DOM0, 71, &m), 0);
	assert_int_equal(viommu_xen_next(w->x, DOM0, 72, &m), -ENOENT);
	assert_int_equal(viommu_xen_next(w->x, DOM0, UINT64_MAX, &m), -ENOENT);
	assert_int_equal(viommu_xen_next(w->x, DOM1, 0, &m), -ENOENT);
}

/* ---- eacces ------------------------------------------------------------ */

/* Whatever is wrong besides: who may nothing learns nothing. */
static void eacces_without_control(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op bad = op_map(77, UINT64_MAX, UINT64_MAX, 0, 99),
			     unknown = { .kind = 99 };

	w->map_of[DOM1][DOM2] = true;
	assert_int_equal(run_as(w, DOM1, op_map(DOM2, 1, 1, 1, R)), -EACCES);
	assert_int_equal(run_as(w, DOM1, op_map(SELF, 1, 1, 1, R)), -EACCES);
	assert_int_equal(run_as(w, DOM1, op_unmap(1, 1)), -EACCES);
	assert_int_equal(run_as(w, DOM1, op_flush()), -EACCES);
	assert_int_equal(run_as(w, DOM1, op_lookup(1)), -EACCES);
	assert_int_equal(run_as(w, DOM1, bad), -EACCES);
	assert_int_equal(run_as(w, DOM1, unknown), -EACCES);
	assert_int_equal(stats(w).references, 0);
}

static void eacces_without_privilege_over_the_owner(void **state)
{
	struct world *w = *state;

	w->map_of[DOM0][DOM2] = false;
	assert_int_equal(run(w, op_map(DOM1, 1, 1, 1, R)), 0);
	assert_int_equal(run(w, op_map(DOM2, 2, 1, 1, R)), -EACCES);
	/* no such gfn, no such guest, and no flags */
	assert_int_equal(run(w, op_map(DOM2, 2, 1 << 20, 1, R)), -EACCES);
	assert_int_equal(run(w, op_map(9, 2, 1, 1, R)), -EACCES);
	assert_int_equal(run(w, op_map(DOM2, 2, 1, 1, 0)), -EACCES);
	assert_int_equal(peek(w, 0, 2), -EFAULT);
}

/* What it has it may give back. */
static void eacces_unmap_needs_control_only(void **state)
{
	struct world *w = *state;

	assert_int_equal(run(w, op_map(DOM1, 1, 1, 1, R)), 0);
	w->map_of[DOM0][DOM1] = false;
	assert_int_equal(peek(w, 0, 1), byte_of(DOM1, 1));
	assert_int_equal(run(w, op_lookup(1)), 0);
	assert_int_equal(run(w, op_unmap(1, 1)), 0);
	assert_int_equal(run(w, op_flush()), 0);
	assert_int_equal(stats(w).references, 0);
}

static void eacces_for_writing_what_is_read_only(void **state)
{
	struct world *w = *state;
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = 64 * FRAME,
				   .len = FRAME,
				   .host = w->ram[DOM2],
				   .prot = R,
				   .fd = -1 };

	assert_int_equal(
		viommu_memory_add(viommu_xen_guest_memory(w->dom[DOM1]), &r),
		0);
	assert_int_equal(run(w, op_map(DOM1, 1, 64, 1, RW)), -EACCES);
	assert_int_equal(run(w, op_map(DOM1, 1, 64, 1, R)), 0);
}

static void lose_dom1(struct world *w)
{
	w->map_of[DOM0][DOM1] = false;
}

static void lose_control(struct world *w)
{
	w->control[DOM0] = false;
}

/* The privilege is asked for operation by operation. */
static void eacces_from_where_it_vanished(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op ops[] = { op_map(DOM1, 1, 1, 1, R),
				       op_map(DOM1, 2, 2, 1, R),
				       op_map(DOM1, 3, 3, 1, R),
				       op_map(SELF, 4, 4, 1, R),
				       op_unmap(1, 1) };
	struct batch b;

	w->hook = lose_dom1; /* two questions each, up to SELF */
	w->hook_in = 4;
	assert_int_equal(run_in(w, &b, DOM0, ops, 5), 0);
	assert_int_equal(b.ops[1].status, 0);
	assert_int_equal(b.ops[2].status, -EACCES);
	assert_int_equal(b.ops[3].status, 0);
	w->map_of[DOM0][DOM1] = true;
	w->hook = lose_control;
	w->hook_in = 1;
	ops[0].dfn = 11;
	assert_int_equal(run_in(w, &b, DOM0, ops, 5), -EACCES);
	for (int i = 1; i < 5; i++)
		assert_int_equal(b.ops[i].status, -EACCES);
	assert_int_equal(stats(w).mappings, 3);
}

/* ---- batch ------------------------------------------------------------- */

static void batch_has_a_status_each(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op ops[] = {
		op_map(DOM1, 1, 1, 1, R),
		op_map(DOM1, 1, 2, 1, R),
		op_unmap(5, 1),
		op_map(DOM1, 2, 1 << 20, 1, R),
		op_map(DOM1, 2, 2, 1, R),
		op_unmap(1, 1),
		op_map(DOM2, 1, 8, 1, RW),
		op_flush(),
	};
	const int expect[] = { 0, -EADDRINUSE, -ENOENT, -ENOENT, 0, 0, 0, 0 };
	struct batch b;

	assert_int_equal(run_in(w, &b, DOM0, ops, 8), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(b.ops[i].status, expect[i]);
	assert_int_equal(b.done, 0);
	assert_int_equal(stats(w).ops, 8);
	assert_int_equal(stats(w).refused, 3);
	assert_int_equal(peek(w, 0, 1), byte_of(DOM2, 8));
}

static void batch_is_interrupted_and_goes_on(void **state)
{
	struct viommu_xen_config c = { .preempt_ops = 3 };
	struct viommu_xen_op ops[8];
	struct world w;
	struct batch b;

	(void)state;
	world_make(&w, &c, 0);
	for (uint64_t i = 0; i < 8; i++)
		ops[i] = op_map(DOM1, i, i, 1, R);
	memset(&b, 0, sizeof(b));
	assert_int_equal(run_in(&w, &b, DOM0, ops, 3), 0);
	for (uint64_t i = 0; i < 8; i++)
		ops[i].dfn += 16;
	memcpy(b.ops, ops, sizeof(ops));
	b.b.n = 8;
	b.b.index = 0;
	assert_int_equal(viommu_xen_run(w.x, &b.b), -EAGAIN);
	assert_int_equal(b.b.index, 3);
	assert_int_equal(b.ops[2].status, 0);
	assert_int_equal(b.ops[3].status, 99);
	assert_int_equal(viommu_xen_run(w.x, &b.b), -EAGAIN);
	assert_int_equal(b.b.index, 6);
	assert_int_equal(viommu_xen_run(w.x, &b.b), 0);
	assert_int_equal(b.b.index, 8);
	for (int i = 0; i < 8; i++)
		assert_int_equal(b.ops[i].status, 0);
	/* once more: there is nothing left to do */
	assert_int_equal(viommu_xen_run(w.x, &b.b), 0);
	assert_int_equal(stats(&w).ops, 11);
	world_free(&w);
}

static void batch_is_interrupted_by_frames(void **state)
{
	struct viommu_xen_config c = { .preempt_frames = 8 };
	struct viommu_xen_op ops[] = { op_map(DOM1, 0, 0, 7, R),
				       op_map(DOM1, 16, 0, 20, R),
				       op_map(DOM1, 64, 0, 1, R) };
	struct world w;
	struct batch b;

	(void)state;
	world_make(&w, &c, 0);
	memset(&b, 0, sizeof(b));
	assert_int_equal(run_in(&w, &b, DOM0, ops, 2), 0);
	ops[0].dfn += 256;
	ops[1].dfn += 256;
	memcpy(b.ops, ops, sizeof(ops));
	b.b.n = 3;
	b.b.index = 0;
	assert_int_equal(viommu_xen_run(w.x, &b.b), -EAGAIN);
	assert_int_equal(b.b.index, 2);
	assert_int_equal(viommu_xen_run(w.x, &b.b), 0);
	world_free(&w);
}

static void batch_that_makes_no_sense(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op op = op_map(DOM1, 1, 1, 1, R);
	struct batch b;

	assert_int_equal(run_in(w, &b, DOM0, &op, 1), 0);
	b.ops[0].status = 99;
	b.b.n = b.b.index = 0;
	assert_int_equal(viommu_xen_run(w->x, &b.b), 0);
	b.b.index = 1;
	assert_int_equal(viommu_xen_run(w->x, &b.b), -EINVAL);
	b.b.index = UINT64_MAX;
	assert_int_equal(viommu_xen_run(w->x, &b.b), -EINVAL);
	b.b.index = 0;
	b.b.n = UINT64_C(1) << 32;
	assert_int_equal(viommu_xen_run(w->x, &b.b), -E2BIG);
	b.b.n = 1;
	b.b.zero = 1;
	assert_int_equal(viommu_xen_run(w->x, &b.b), -EINVAL);
	b.b.zero = 0;
	b.b.done = NULL;
	assert_int_equal(viommu_xen_run(w->x, &b.b), -EINVAL);
	assert_int_equal(run_in(w, &b, DOM0, &op, 1), -EADDRINUSE);
	b.b.index = 0;
	b.b.mapper = 77;
	assert_int_equal(viommu_xen_run(w->x, &b.b), -ESRCH);
	b.b.mapper = SELF;
	assert_int_equal(viommu_xen_run(w->x, &b.b), -ESRCH);
	assert_int_equal(stats(w).ops, 2);
}

static struct batch reentered;

static void run_another(struct world *w)
{
	struct viommu_xen_op op = op_map(DOM2, 50, 5, 1, R);

	assert_int_equal(run_in(w, &reentered, DOM0, &op, 1), 0);
}

/* No lock is held where the embedder is asked. */
static void batch_within_a_batch(void **state)
{
	struct world *w = *state;

	w->hook = run_another;
	assert_int_equal(run(w, op_map(DOM1, 51, 5, 1, R)), 0);
	assert_int_equal(peek(w, 0, 50), byte_of(DOM2, 5));
	assert_int_equal(peek(w, 0, 51), byte_of(DOM1, 5));
}

/* ---- flush ------------------------------------------------------------- */

static uint64_t fences(struct world *w)
{
	struct viommu_stats s;

	viommu_read_stats(w->vi, &s);
	return s.fences;
}

static void flush_is_once_for_all(void **state)
{
	struct world *w = *state;
	uint64_t before;

	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(run(w, op_map(DOM1, i, i, 1, RW)), 0);
	before = fences(w);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(run(w, op_unmap(i, 1)), 0);
	assert_int_equal(fences(w), before);
	assert_int_equal(stats(w).mappings, 0);
	assert_int_equal(stats(w).references, 8);
	assert_int_equal(stats(w).unflushed, 1);
	assert_int_equal(run(w, op_flush()), 0);
	assert_int_equal(fences(w), before + 1);
	assert_int_equal(stats(w).references, 0);
	/* and there is nothing more to do */
	assert_int_equal(run(w, op_flush()), 0);
	assert_int_equal(fences(w), before + 1);
}

static void flush_waits_for_devices(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op ops[] = { op_unmap(1, 1), op_flush(),
				       op_map(DOM2, 1, 3, 1, R) };
	struct batch b;
	struct held h;

	assert_int_equal(run(w, op_map(DOM1, 1, 1, 1, R)), 0);
	hold(w, &h, 0, 1, 1, false);
	assert_int_equal(run_in(w, &b, DOM0, ops, 3), WAITING);
	assert_int_equal(b.b.index, 1);
	assert_int_equal(b.ops[0].status, 0);
	assert_int_equal(b.ops[1].status, 99);
	assert_int_equal(stats(w).waiting, 1);
	assert_int_equal(stats(w).references, 1);
	assert_int_equal(peek(w, 1, 1), -EFAULT);
	let_go(&h);
	assert_int_equal(b.done, 1);
	assert_int_equal(b.b.index, 2);
	assert_int_equal(b.ops[1].status, 0);
	assert_int_equal(stats(w).references, 0);
	assert_int_equal(stats(w).waiting, 0);
	/* it goes on where it was */
	assert_int_equal(viommu_xen_run(w->x, &b.b), 0);
	assert_int_equal(b.ops[2].status, 0);
	assert_int_equal(peek(w, 0, 1), byte_of(DOM2, 3));
	assert_int_equal(b.done, 1);
}

/* One vCPU's flush does not overtake another's. */
static void flush_waits_for_earlier_ones(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op ops[] = { op_unmap(1, 1), op_flush() };
	struct batch a, b, c;
	struct held h, other;

	assert_int_equal(run(w, op_map(DOM1, 1, 1, 2, R)), 0);
	hold(w, &h, 0, 1, 1, false);
	hold(w, &other, 1, 2, 1, false);
	assert_int_equal(run_in(w, &a, DOM0, ops, 2), WAITING);
	assert_int_equal(run_in(w, &b, DOM0, ops + 1, 1), WAITING);
	ops[0].dfn = 2;
	assert_int_equal(run_in(w, &c, DOM0, ops, 2), WAITING);
	/* other guests' are none of its business */
	w->control[DOM1] = true;
	assert_int_equal(run_as(w, DOM1, op_flush()), 0);
	let_go(&h);
	assert_int_equal(a.done, 1);
	assert_int_equal(b.done, 1);
	assert_int_equal(c.done, 0);
	let_go(&other);
	assert_int_equal(c.done, 1);
	assert_int_equal(c.ops[1].status, 0);
}

/* Done out of order: the later is over when the earlier one is, too. */
static void flush_is_over_when_all_are(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op ops[] = { op_unmap(1, 1), op_flush() };
	struct held h, other;
	struct batch a, b;

	assert_int_equal(run(w, op_map(DOM1, 1, 1, 2, R)), 0);
	hold(w, &h, 0, 1, 1, false);
	hold(w, &other, 1, 2, 1, false);
	assert_int_equal(run_in(w, &a, DOM0, ops, 2), WAITING);
	ops[0].dfn = 2;
	assert_int_equal(run_in(w, &b, DOM0, ops, 2), WAITING);
	let_go(&other);
	assert_int_equal(a.done + b.done, 0);
	let_go(&h);
	assert_int_equal(a.done, 1);
	assert_int_equal(b.done, 1);
}

/* The range may be mapped again meanwhile. */
static void flush_need_not_come_before_the_next_map(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op ops[] = { op_unmap(1, 1), op_map(DOM2, 1, 3, 1, R),
				       op_flush() };
	struct batch b;
	struct held h;

	assert_int_equal(run(w, op_map(DOM1, 1, 1, 1, R)), 0);
	hold(w, &h, 0, 1, 1, false);
	assert_int_equal(run_in(w, &b, DOM0, ops, 3), WAITING);
	assert_int_equal(peek(w, 1, 1), byte_of(DOM2, 3));
	assert_int_equal(stats(w).references, 2);
	let_go(&h);
	assert_int_equal(b.ops[2].status, 0);
	assert_int_equal(stats(w).references, 1);
}

/* L9: an error, never success. */
static void flush_fails_when_a_device_is_given_up(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op ops[] = { op_unmap(1, 1), op_flush() };
	struct batch b;
	struct held h;

	assert_int_equal(run(w, op_map(DOM1, 1, 1, 2, R)), 0);
	hold(w, &h, 0, 1, 1, false);
	assert_int_equal(run_in(w, &b, DOM0, ops, 2), WAITING);
	ticks += 2 * TIMEOUT;
	viommu_poll(w->vi, ticks);
	assert_int_equal(b.done, 1);
	assert_int_equal(b.ops[1].status, -EIO);
	assert_int_equal(b.b.index, 2);
	/* it may still be touched: referred to, and no later flush says more */
	assert_int_equal(stats(w).references, 2);
	assert_int_equal(run(w, op_flush()), -EIO);
	let_go(&h);
	assert_int_equal(b.done, 1);
	assert_int_equal(stats(w).references, 1);
	assert_int_equal(run(w, op_flush()), 0);
}

/* ---- page size ---------------------------------------------------------- */

static void page_size_by_mask(void **state)
{
	struct viommu_xen_config c = { .page_sizes = 1 << 12 | 1 << 14 };
	struct viommu_xen_op op = op_map(DOM1, 16, 8, 2, R);
	struct world w;

	(void)state;
	world_make(&w, &c, 0);
	op.page_shift = 14;
	assert_int_equal(run(&w, op), 0);
	assert_int_equal(peek(&w, 0, 23), byte_of(DOM1, 15));
	assert_int_equal(peek(&w, 0, 24), -EFAULT);
	op.dfn = 34;
	assert_int_equal(run(&w, op), -EINVAL);
	op.dfn = 32;
	op.gfn = 9;
	assert_int_equal(run(&w, op), -EINVAL);
	op.gfn = 8;
	for (unsigned shift = 0; shift < 256; shift++) {
		if (shift == 12 || shift == 14)
			continue;
		op.page_shift = (uint8_t)shift;
		assert_int_equal(run(&w, op), -EINVAL);
	}
	/* frames of a larger page may go one by one, and many at once */
	assert_int_equal(run(&w, op_unmap(17, 1)), 0);
	op = op_unmap(20, 1);
	op.page_shift = 14;
	assert_int_equal(run(&w, op), 0);
	assert_int_equal(run(&w, op_flush()), 0);
	assert_int_equal(peek(&w, 0, 16), byte_of(DOM1, 8));
	assert_int_equal(peek(&w, 0, 17), -EFAULT);
	assert_int_equal(peek(&w, 0, 18), byte_of(DOM1, 10));
	assert_int_equal(peek(&w, 0, 20), -EFAULT);
	world_free(&w);
}

/* ---- what is wrong ------------------------------------------------------ */

static void wrong_fields(void **state)
{
	struct world *w = *state;
	struct viommu_xen_op op = op_map(DOM1, 1, 1, 1, R), o;

	o = op, o.flags = 0;
	assert_int_equal(run(w, o), -EINVAL);
	o = op, o.flags = R | VIOMMU_EXEC;
	assert_int_equal(run(w, o), -EINVAL);
	o = op, o.zero = 1;
	assert_int_equal(run(w, o), -EINVAL);
	o = op, o.zero2 = 1;
	assert_int_equal(run(w, o), -EINVAL);
	for (uint32_t kind = 0; kind < 65536; kind += kind < 16 ? 1 : 4099) {
		o = op, o.kind = (uint16_t)kind;
		if (kind < VIOMMU_XEN_MAP || kind > VIOMMU_XEN_LOOKUP)
			assert_int_equal(run(w, o), -EOPNOTSUPP);
	}
	o = op_unmap(1, 1), o.flags = R;
	assert_int_equal(run(w, o), -EINVAL);
	o = op_unmap(1, 1), o.gfn = 1;
	assert_int_equal(run(w, o), -EINVAL);
	o = op_flush(), o.dfn = 1;
	assert_int_equal(run(w, o), -EINVAL);
	o = op_lookup(1), o.count = 1;
	assert_int_equal(run(w, o), -EINVAL);
	assert_int_equal(stats(w).references, 0);
}

static void wrong_ranges(void **state)
{
	struct world *w = *state;
	const uint64_t top = UINT64_MAX >> SHIFT, last = (1ull << 40) - 1;

	assert_int_equal(run(w, op_map(DOM1, 1, 1, 0, R)), -EINVAL);
	assert_int_equal(run(w, op_map(DOM1, 1, 1, UINT64_MAX, R)), -EINVAL);
	assert_int_equal(run(w, op_map(DOM1, 1, 1, top + 1, R)), -EINVAL);
	assert_int_equal(run(w, op_map(DOM1, 2, 1, top, R)), -EINVAL);
	assert_int_equal(run(w, op_map(DOM1, 1, 2, top, R)), -EINVAL);
	assert_int_equal(run(w, op_map(DOM1, 1, 1, top, R)), -ERANGE);
	/* that wrap, in frames and in bytes */
	assert_int_equal(run(w, op_map(DOM1, top, 1, 2, R)), -EINVAL);
	assert_int_equal(run(w, op_map(DOM1, 1, top, 2, R)), -EINVAL);
	assert_int_equal(run(w, op_map(DOM1, 1, top + 2, 1, R)), -EINVAL);
	assert_int_equal(run(w, op_map(DOM1, top + 2, 1, 1, R)), -EINVAL);
	assert_int_equal(run(w, op_map(DOM1, UINT64_MAX, 1, 1, R)), -EINVAL);
	assert_int_equal(run(w, op_unmap(top, 2)), -EINVAL);
	assert_int_equal(run(w, op_unmap(1, 0)), -EINVAL);
	/* past the last dfn, past the last gfn, and up to them */
	assert_int_equal(run(w, op_map(DOM1, last + 1, 1, 1, R)), -ERANGE);
	assert_int_equal(run(w, op_map(DOM1, last, 1, 2, R)), -ERANGE);
	assert_int_equal(run(w, op_unmap(last, 2)), -ERANGE);
	assert_int_equal(run(w, op_map(DOM1, 1, FRAMES, 1, R)), -ENOENT);
	assert_int_equal(run(w, op_map(DOM1, 1, FRAMES - 1, 2, R)), -ENOENT);
	assert_int_equal(run(w, op_map(DOM1, 1, top, 1, R)), -ENOENT);
	assert_int_equal(run(w, op_lookup(UINT64_MAX)), -ENOENT);
	assert_int_equal(run(w, op_map(DOM1, last, FRAMES - 1, 1, R)), 0);
	assert_int_equal(peek(w, 0, last), byte_of(DOM1, FRAMES - 1));
	assert_int_equal(stats(w).references, 1);
}

static void wrong_owner(void **state)
{
	struct world *w = *state;

	w->map_of[DOM0][9] = true;
	assert_int_equal(run(w, op_map(9, 1, 1, 1, R)), -ESRCH);
}

static void wrong_where_something_is(void **state)
{
	struct world *w = *state;

	assert_int_equal(run(w, op_map(DOM1, 10, 0, 4, R)), 0);
	assert_int_equal(run(w, op_map(DOM2, 13, 0, 1, R)), -EADDRINUSE);
	assert_int_equal(run(w, op_map(DOM2, 8, 0, 3, R)), -EADDRINUSE);
	assert_int_equal(run(w, op_map(DOM2, 5, 0, 20, R)), -EADDRINUSE);
	assert_int_equal(run(w, op_map(DOM2, 8, 0, 2, R)), 0);
	assert_int_equal(run(w, op_map(DOM2, 14, 0, 2, R)), 0);
	assert_int_equal(peek(w, 0, 13), byte_of(DOM1, 3));
	assert_int_equal(run(w, op_map(DOM1, 0xfee00, 0, 1, R)),
			 -EADDRNOTAVAIL);
	assert_int_equal(run(w, op_map(DOM1, 0xfedff, 0, 2, R)),
			 -EADDRNOTAVAIL);
	assert_int_equal(run(w, op_map(DOM1, 0xfedff, 0, 1, R)), 0);
}

/* All of the range has to be mapped, or nothing goes. */
static void wrong_unmap_of_what_is_not_there(void **state)
{
	struct world *w = *state;

	assert_int_equal(run(w, op_map(DOM1, 10, 0, 4, R)), 0);
	assert_int_equal(run(w, op_map(DOM1, 15, 0, 4, R)), 0);
	assert_int_equal(run(w, op_unmap(9, 2)), -ENOENT);
	assert_int_equal(run(w, op_unmap(13, 2)), -ENOENT);
	assert_int_equal(run(w, op_unmap(12, 5)), -ENOENT);
	assert_int_equal(run(w, op_unmap(14, 1)), -ENOENT);
	assert_int_equal(run(w, op_unmap(18, 2)), -ENOENT);
	assert_int_equal(stats(w).mappings, 2);
	assert_int_equal(peek(w, 0, 13), byte_of(DOM1, 3));
	assert_int_equal(run(w, op_unmap(10, 4)), 0);
	assert_int_equal(run(w, op_unmap(10, 4)), -ENOENT);
}

static int never(void *arg, uint64_t offset, void *buf, size_t len)
{
	(void)arg;
	(void)offset;
	memset(buf, 0, len);
	return 0;
}

static void wrong_kind_of_memory(void **state)
{
	static const struct viommu_device_ops device = { .size = sizeof(device),
							 .read = never };
	struct world *w = *state;
	struct viommu_memory *mem = viommu_xen_guest_memory(w->dom[DOM1]);
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = 64 * FRAME,
				   .len = FRAME,
				   .device = &device,
				   .prot = R,
				   .fd = -1 };

	assert_int_equal(viommu_memory_add(mem, &r), 0);
	assert_int_equal(run(w, op_map(DOM1, 1, 64, 1, R)), -ENODEV);
	/* in pieces: as many as there may be, and one more */
	r = (struct viommu_region){
		.size = sizeof(r), .len = FRAME, .prot = R, .fd = -1
	};
	for (uint64_t i = 0; i < 4097; i++) {
		r.gpa = (128 + i) * FRAME;
		r.host = w->ram[DOM1] + i * 7 % FRAMES * FRAME;
		assert_int_equal(viommu_memory_add(mem, &r), 0);
	}
	assert_int_equal(run(w, op_map(DOM1, 0x10000, 128, 4097, R)), -E2BIG);
	assert_int_equal(run(w, op_map(DOM1, 0x10000, 128, 4096, R)), 0);
	assert_int_equal(stats(w).references, 1);
	for (uint64_t i = 0; i < 4096; i++)
		assert_int_equal(peek(w, 0, 0x10000 + i),
				 byte_of(DOM1, i * 7 % FRAMES));
}

static void wrong_number_of_mappings(void **state)
{
	struct world w;

	(void)state;
	world_make(&w, NULL, 3);
	assert_int_equal(run(&w, op_map(DOM1, 0, 0, 8, R)), 0);
	assert_int_equal(run(&w, op_map(DOM1, 8, 0, 1, R)), 0);
	/* two more would be needed, for a while */
	assert_int_equal(run(&w, op_unmap(4, 1)), -ENOSPC);
	assert_int_equal(peek(&w, 0, 4), byte_of(DOM1, 4));
	assert_int_equal(run(&w, op_map(DOM1, 9, 0, 1, R)), 0);
	assert_int_equal(run(&w, op_map(DOM1, 10, 0, 1, R)), -ENOSPC);
	/* what is not flushed counts, too */
	assert_int_equal(run(&w, op_unmap(9, 1)), 0);
	assert_int_equal(run(&w, op_map(DOM1, 10, 0, 1, R)), -ENOSPC);
	assert_int_equal(run(&w, op_flush()), 0);
	assert_int_equal(run(&w, op_map(DOM1, 10, 0, 1, R)), 0);
	world_free(&w);
}

static void wrong_name_is_taken(void **state)
{
	struct world *w = *state;
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = REFERENCES,
					    .pasid = DOM0 << 16 | DOM1 };
	struct viommu_endpoint *ep;
	struct viommu_fence f;

	assert_int_equal(viommu_endpoint_create(w->vi, &c, &ep), 0);
	assert_int_equal(run(w, op_map(DOM1, 1, 1, 1, R)), -EEXIST);
	assert_int_equal(run(w, op_map(DOM2, 1, 1, 1, R)), 0);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep, &f);
	fence_run(&f);
	assert_int_equal(run(w, op_map(DOM1, 2, 1, 1, R)), 0);
}

/* ---- making them -------------------------------------------------------- */

static bool may_not(void *arg, enum viommu_xen_privilege what, uint32_t mapper,
		    uint32_t owner)
{
	(void)arg;
	(void)what;
	(void)mapper;
	(void)owner;
	return false;
}

static void wrong_hypervisor(void **state)
{
	struct world *w = *state;
	struct viommu_xen_config c = { .size = sizeof(c), .may = may_not }, o;
	struct viommu_xen *x;

	o = c, o.size = 4;
	assert_int_equal(viommu_xen_create(w->vi, &o, &x), -EINVAL);
	o = c, o.may = NULL;
	assert_int_equal(viommu_xen_create(w->vi, &o, &x), -EINVAL);
	o = c, o.page_sizes = 1 << 11 | 1 << 12;
	assert_int_equal(viommu_xen_create(w->vi, &o, &x), -EINVAL);
	o = c, o.page_sizes = UINT64_C(1) << 55;
	assert_int_equal(viommu_xen_create(w->vi, &o, &x), -EINVAL);
	viommu_xen_destroy(NULL, NULL);
}

static void wrong_guest(void **state)
{
	struct world *w = *state;
	struct viommu_reserved reserved = { .start = 2, .last = 1 };
	struct viommu_xen_guest_config c = { .size = sizeof(c), .domid = 9 }, o;
	struct viommu_xen_guest *g;
	struct viommu *other;
	struct viommu_endpoint_config ec = { .size = sizeof(ec) };
	struct viommu_endpoint *ep;
	struct viommu_fence f;

	o = c, o.domid = DOM1;
	assert_int_equal(viommu_xen_guest_create(w->x, &o, &g), -EEXIST);
	o = c, o.domid = SELF;
	assert_int_equal(viommu_xen_guest_create(w->x, &o, &g), -EINVAL);
	o = c, o.zero = 1;
	assert_int_equal(viommu_xen_guest_create(w->x, &o, &g), -EINVAL);
	o = c, o.last_dfn = UINT64_C(1) << 42;
	assert_int_equal(viommu_xen_guest_create(w->x, &o, &g), -EINVAL);
	o = c, o.reserved = &reserved, o.nreserved = 1;
	assert_int_equal(viommu_xen_guest_create(w->x, &o, &g), -EINVAL);
	viommu_xen_guest_destroy(NULL, NULL);
	/* an endpoint of another world */
	assert_int_equal(viommu_create(NULL, &other), 0);
	assert_int_equal(viommu_endpoint_create(other, &ec, &ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_xen_guest_attach(w->dom[DOM0], ep, &f),
			 -EINVAL);
	viommu_endpoint_destroy(ep, &f);
	fence_run(&f);
	viommu_destroy(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(any_guest_that_it_may),
		TEST(any_guest_self_is_its_own),
		TEST(any_guest_more_than_once),
		TEST(any_guest_but_not_what_it_mapped),
		TEST(any_guest_by_gfn),
		TEST(any_guest_iterator),
		TEST(eacces_without_control),
		TEST(eacces_without_privilege_over_the_owner),
		TEST(eacces_unmap_needs_control_only),
		TEST(eacces_for_writing_what_is_read_only),
		TEST(eacces_from_where_it_vanished),
		TEST(batch_has_a_status_each),
		cmocka_unit_test(batch_is_interrupted_and_goes_on),
		cmocka_unit_test(batch_is_interrupted_by_frames),
		TEST(batch_that_makes_no_sense),
		TEST(batch_within_a_batch),
		TEST(flush_is_once_for_all),
		TEST(flush_waits_for_devices),
		TEST(flush_waits_for_earlier_ones),
		TEST(flush_is_over_when_all_are),
		TEST(flush_need_not_come_before_the_next_map),
		TEST(flush_fails_when_a_device_is_given_up),
		cmocka_unit_test(page_size_by_mask),
		TEST(wrong_fields),
		TEST(wrong_ranges),
		TEST(wrong_owner),
		TEST(wrong_where_something_is),
		TEST(wrong_unmap_of_what_is_not_there),
		TEST(wrong_kind_of_memory),
		cmocka_unit_test(wrong_number_of_mappings),
		TEST(wrong_name_is_taken),
		TEST(wrong_hypervisor),
		TEST(wrong_guest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
