/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dynamic DMA windows: the firmware calls.  32-bit cells in, 32-bit cells out;
 * the first out is the status.  A number of 64 bits is two cells, high first.
 *
 * A window that the guest makes begins where the default one does if there is
 * no window, else at the bus's dynamic start; where that is taken, at the
 * default start again.  When it removes the last one it made, the default one
 * comes back (so that the next kernel finds it); when it removes the default
 * one, none does.
 */
#include <errno.h>

#include "guest/tce/device.h"

enum {
	SHIFT_MAX = 63,
};
#define LARGEST_CELL                                            \
	UINT32_C(0x80000000) /* in one cell; as other hosts say \
			      */

static uint64_t cells_64(const uint32_t *cell)
{
	return (uint64_t)cell[0] << 32 | cell[1];
}

/* The bus that (address, buid high, low) names, if it has dynamic windows. */
static struct vt_bus *bus_named(struct viommu_tce *t, const uint32_t *args)
{
	struct vt_bus *bus = vt_bus_find(t, cells_64(&args[1]));

	return bus && bus->cfg.page_sizes ? bus : NULL;
}

static unsigned windows_of(const struct vt_bus *bus)
{
	unsigned n = 0;

	for (unsigned i = 0; i < VT_BUS_WINDOWS; i++)
		n += bus->windows[i] != NULL;
	return n;
}

/* ---- the calls; the windows are ours to change ------------------------- */

struct op {
	struct viommu_tce *t;
	const uint32_t *args;
	uint32_t *rets, nrets;
	struct vt_taking taking;
};

/* The largest block in one cell or in two, by the number of cells. */
static int query(struct op *op)
{
	struct vt_bus *bus = bus_named(op->t, op->args);
	uint64_t largest = op->t->cfg.max_entries;
	uint32_t *ret = op->rets;

	if (!bus)
		return VIOMMU_RTAS_PARAM_ERROR;
	*++ret = VT_BUS_WINDOWS - windows_of(bus);
	if (op->nrets == 6)
		*++ret = (uint32_t)(largest >> 32);
	else if (largest > LARGEST_CELL)
		largest = LARGEST_CELL;
	*++ret = (uint32_t)largest;
	*++ret = bus->cfg.page_sizes;
	*++ret = 0; /* no migration */
	return VIOMMU_RTAS_SUCCESS;
}

/* False: there is no room. */
static bool place_find(const struct op *op, const struct vt_bus *bus,
		       struct vt_place *at)
{
	uint64_t starts[] = { bus->cfg.window_start, bus->cfg.dynamic_start };
	bool any = windows_of(bus) > 0;

	at->start = starts[any];
	if (!vt_bus_fits(op->t, bus, at))
		return true;
	at->start = starts[!any];
	return !vt_bus_fits(op->t, bus, at);
}

static int window_create(struct op *op, struct vt_bus *bus, struct vt_place *at)
{
	unsigned nth = bus->windows[0] != NULL;
	struct vt_window *w;

	if (bus->windows[nth] || !place_find(op, bus, at))
		return VIOMMU_RTAS_HW_ERROR;
	w = vt_window_make(op->t, at);
	if (!w)
		return VIOMMU_RTAS_HW_ERROR;
	vt_bus_open(op->t, bus, nth, w);
	op->rets[1] = bus->cfg.liobn + nth;
	op->rets[2] = (uint32_t)(at->start >> 32);
	op->rets[3] = (uint32_t)at->start;
	return VIOMMU_RTAS_SUCCESS;
}

static int create(struct op *op)
{
	struct vt_bus *bus = bus_named(op->t, op->args);
	uint32_t shift = op->args[3], window = op->args[4];
	struct vt_place at = { .shift = (uint8_t)shift };

	if (!bus || !(vt_size_of(shift) & bus->cfg.page_sizes) ||
	    window < shift || window > SHIFT_MAX)
		return VIOMMU_RTAS_PARAM_ERROR;
	at.entries = UINT64_C(1) << (window - shift);
	return window_create(op, bus, &at);
}

static int window_remove(struct op *op)
{
	unsigned nth;
	struct vt_bus *bus = vt_bus_of(op->t, op->args[0], &nth);
	bool standard;

	if (!bus || !bus->cfg.page_sizes)
		return VIOMMU_RTAS_PARAM_ERROR;
	standard = bus->windows[nth] == bus->standard;
	op->taking.took = true;
	vt_bus_close(op->t, bus, nth, op->taking.f);
	if (!standard && !windows_of(bus))
		vt_bus_standard(op->t, bus);
	return VIOMMU_RTAS_SUCCESS;
}

static int reset(struct op *op)
{
	struct vt_bus *bus = bus_named(op->t, op->args);

	if (!bus)
		return VIOMMU_RTAS_PARAM_ERROR;
	op->taking.took = true;
	vt_bus_reset(op->t, bus, op->taking.f);
	return VIOMMU_RTAS_SUCCESS;
}

/* ---- which one -------------------------------------------------------- */

static const struct {
	int (*run)(struct op *op);
	uint32_t nargs, nrets, nrets_more; /* one or the other */
} calls[] = {
	[VIOMMU_RTAS_QUERY_PE_DMA_WINDOW] = { query, 3, 5, 6 },
	[VIOMMU_RTAS_CREATE_PE_DMA_WINDOW] = { create, 5, 4, 4 },
	[VIOMMU_RTAS_REMOVE_PE_DMA_WINDOW] = { window_remove, 1, 1, 1 },
	[VIOMMU_RTAS_RESET_PE_DMA_WINDOW] = { reset, 3, 1, 1 },
};

static int carry_out(struct op *op, const struct viommu_tce_rtas *r)
{
	int status;

	if (r->call >= sizeof(calls) / sizeof(calls[0]) ||
	    r->nargs != calls[r->call].nargs ||
	    (r->nrets != calls[r->call].nrets &&
	     r->nrets != calls[r->call].nrets_more))
		return VIOMMU_RTAS_PARAM_ERROR;
	vt_change_begin(op->t);
	status = calls[r->call].run(op);
	vt_change_end(op->t);
	return status;
}

int64_t viommu_tce_rtas(struct viommu_tce *t, const struct viommu_tce_rtas *r,
			struct viommu_tce_call *call)
{
	struct op op = {
		.t = t, .args = r->args, .rets = r->rets, .nrets = r->nrets
	};

	op.taking.f = vt_call_open(t, call);
	for (uint32_t i = 0; i < r->nrets; i++)
		r->rets[i] = 0;
	vt_count(&vt_part(t)->rtas, 1);
	return vt_call_close(t, call, &op.taking, carry_out(&op, r),
			     r->nrets ? r->rets : NULL);
}
