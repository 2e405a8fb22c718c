/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Buses, and which windows each has.  What a bus's devices see is one space;
 * its windows are ranges of it that do not meet, so that a device that rings by
 * the one and buffers by the other needs no more than its endpoint.
 *
 * A bus that can have no second window has a LINEAR space, in which vCPUs
 * hardly meet.  One with dynamic windows needs pages of several sizes, far
 * apart, so it has a MAPPED one, which makes tables where they are needed.
 *
 * Locks: whoever calls has entered, to find; or is changing (tce.c).
 */
#include <errno.h>
#include <string.h>

#include "guest/tce/device.h"

#define DEFAULT_SIZE	(UINT64_C(1) << 30)
#define DEFAULT_DYNAMIC (UINT64_C(1) << 59)

/* ---- page sizes -------------------------------------------------------- */

static const struct {
	uint32_t size;
	uint8_t shift;
} sizes[] = {
	{ VIOMMU_TCE_4K, 12 },	 { VIOMMU_TCE_64K, 16 },
	{ VIOMMU_TCE_16M, 24 },	 { VIOMMU_TCE_32M, 25 },
	{ VIOMMU_TCE_64M, 26 },	 { VIOMMU_TCE_128M, 27 },
	{ VIOMMU_TCE_256M, 28 }, { VIOMMU_TCE_16G, 34 },
	{ VIOMMU_TCE_2M, 21 },
};

enum {
	NSIZES = sizeof(sizes) / sizeof(sizes[0]),
	ALL_SIZES = (1 << NSIZES) - 1,
};

uint32_t vt_size_of(unsigned shift)
{
	for (unsigned i = 0; i < NSIZES; i++)
		if (sizes[i].shift == shift)
			return sizes[i].size;
	return 0;
}

/* ---- finding ---------------------------------------------------------- */

/* The first bus at or above @buid. */
static uint32_t bus_from(const struct viommu_tce *t, uint64_t buid)
{
	uint32_t i = 0;

	while (i < t->nbuses && t->buses[i]->cfg.buid < buid)
		i++;
	return i;
}

struct vt_bus *vt_bus_find(struct viommu_tce *t, uint64_t buid)
{
	uint32_t i = bus_from(t, buid);

	return i < t->nbuses && t->buses[i]->cfg.buid == buid ? t->buses[i]
							      : NULL;
}

/* The first window at or above @liobn. */
static uint32_t window_from(const struct viommu_tce *t, uint32_t liobn)
{
	uint32_t low = 0, high = t->nwindows;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (t->windows[mid].liobn < liobn)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct vt_window *vt_window_find(const struct viommu_tce *t, uint64_t liobn)
{
	/* a wide one is found short of its upper half, and is not the same */
	uint32_t i = window_from(t, (uint32_t)liobn);

	return i < t->nwindows && t->windows[i].liobn == liobn
		       ? t->windows[i].window
		       : NULL;
}

struct vt_bus *vt_bus_of(struct viommu_tce *t, uint32_t liobn, unsigned *nth)
{
	for (uint32_t i = 0; i < t->nbuses; i++) {
		struct vt_bus *bus = t->buses[i];

		*nth = liobn - bus->cfg.liobn;
		if (*nth < VT_BUS_WINDOWS && bus->windows[*nth])
			return bus;
	}
	return NULL;
}

/* ---- windows come and go ----------------------------------------------- */

int vt_bus_fits(const struct viommu_tce *t, const struct vt_bus *bus,
		const struct vt_place *at)
{
	uint64_t last = vt_place_last(at);

	if (!at->entries || at->entries > t->cfg.max_entries ||
	    at->entries > UINT64_MAX >> at->shift || last < at->start ||
	    at->start & ((UINT64_C(1) << at->shift) - 1))
		return -ERANGE;
	for (unsigned i = 0; i < VT_BUS_WINDOWS; i++) {
		const struct vt_window *w = bus->windows[i];

		if (w && at->start <= vt_place_last(&w->at) &&
		    last >= w->at.start)
			return -ERANGE;
	}
	return 0;
}

void vt_bus_open(struct viommu_tce *t, struct vt_bus *bus, unsigned nth,
		 struct vt_window *w)
{
	uint32_t liobn = bus->cfg.liobn + nth, i = window_from(t, liobn);

	memmove(&t->windows[i + 1], &t->windows[i],
		(t->nwindows - i) * sizeof(t->windows[0]));
	t->windows[i] = (struct vt_entry){ .liobn = liobn, .window = w };
	t->nwindows++;
	w->space = bus->space;
	bus->windows[nth] = w;
}

/* Without what the space maps. */
static void window_forget(struct viommu_tce *t, struct vt_bus *bus,
			  unsigned nth)
{
	uint32_t i = window_from(t, bus->cfg.liobn + nth);
	struct vt_window *w = bus->windows[nth];

	t->nwindows--;
	memmove(&t->windows[i], &t->windows[i + 1],
		(t->nwindows - i) * sizeof(t->windows[0]));
	bus->windows[nth] = NULL;
	if (w != bus->standard)
		vt_window_free(t, w);
}

void vt_bus_close(struct viommu_tce *t, struct vt_bus *bus, unsigned nth,
		  struct viommu_fence *f)
{
	const struct vt_window *w = bus->windows[nth];

	/* whole mappings only: no cut, so it cannot fail */
	(void)!viommu_space_unmap(bus->space, w->at.start,
				  vt_place_last(&w->at), f);
	window_forget(t, bus, nth);
}

void vt_bus_standard(struct viommu_tce *t, struct vt_bus *bus)
{
	struct vt_window *w = bus->standard;

	for (uint64_t i = 0; i < w->at.entries; i++)
		atomic_store_explicit(&w->tce[i], 0, memory_order_relaxed);
	vt_bus_open(t, bus, 0, w);
}

void vt_bus_close_all(struct viommu_tce *t, struct vt_bus *bus,
		      struct viommu_fence *f)
{
	for (unsigned i = 0; i < VT_BUS_WINDOWS; i++)
		if (bus->windows[i])
			vt_bus_close(t, bus, i, f);
}

void vt_bus_reset(struct viommu_tce *t, struct vt_bus *bus,
		  struct viommu_fence *f)
{
	vt_bus_close_all(t, bus, f);
	vt_bus_standard(t, bus);
}

/* ---- buses come and go ------------------------------------------------- */

static struct vt_place standard_place(const struct viommu_tce_bus *c)
{
	return (struct vt_place){ .start = c->window_start,
				  .shift = VT_DEFAULT_SHIFT,
				  .entries =
					  c->window_size >> VT_DEFAULT_SHIFT };
}

static int config_complete(const struct viommu_tce *t, struct viommu_tce_bus *c,
			   const struct viommu_tce_bus *in)
{
	static const struct vt_bus empty;
	struct vt_place at;
	int rc = vt_opts(c, sizeof(*c), in);

	if (rc)
		return rc;
	if (!c->window_size)
		c->window_size = DEFAULT_SIZE;
	if (!c->dynamic_start)
		c->dynamic_start = DEFAULT_DYNAMIC;
	at = standard_place(c);
	if ((c->page_sizes & ~(uint32_t)ALL_SIZES) || c->liobn == UINT32_MAX ||
	    c->window_size & ((1 << VT_DEFAULT_SHIFT) - 1) ||
	    vt_bus_fits(t, &empty, &at))
		return -EINVAL;
	if (c->page_sizes && c->dynamic_start >= at.start &&
	    c->dynamic_start <= vt_place_last(&at))
		return -EINVAL;
	return 0;
}

static int space_make(struct viommu_tce *t, struct vt_bus *bus)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .page_sizes = 1 << VT_DEFAULT_SHIFT };

	c.kind = VIOMMU_SPACE_MAPPED;
	if (!bus->cfg.page_sizes) {
		c.kind = VIOMMU_SPACE_LINEAR;
		c.start = bus->standard->at.start;
		c.last = vt_place_last(&bus->standard->at);
	}
	return viommu_space_create(t->vi, &c, &bus->space);
}

static void bus_free(struct viommu_tce *t, struct vt_bus *bus)
{
	if (bus->standard)
		vt_window_free(t, bus->standard);
	viommu_free(t->vi, bus);
}

/* The space last: one that nobody has seen yet cannot be unmade in silence. */
static int bus_make(struct viommu_tce *t, const struct viommu_tce_bus *c,
		    struct vt_bus **out)
{
	struct vt_bus *bus = viommu_alloc(t->vi, sizeof(*bus));
	struct vt_place at = standard_place(c);
	int rc = -ENOMEM;

	if (!bus)
		return -ENOMEM;
	bus->cfg = *c;
	bus->standard = vt_window_make(t, &at);
	if (bus->standard)
		rc = space_make(t, bus);
	if (rc) {
		bus_free(t, bus);
		return rc;
	}
	*out = bus;
	return 0;
}

/* Of the two liobns that a bus has. */
static bool liobns_taken(const struct viommu_tce *t, uint32_t liobn)
{
	for (uint32_t i = 0; i < t->nbuses; i++) {
		uint32_t other = t->buses[i]->cfg.liobn;

		if (liobn - other < VT_BUS_WINDOWS ||
		    other - liobn < VT_BUS_WINDOWS)
			return true;
	}
	return false;
}

static int bus_allowed(struct viommu_tce *t, const struct viommu_tce_bus *c)
{
	if (vt_bus_find(t, c->buid) || liobns_taken(t, c->liobn))
		return -EEXIST;
	return t->nbuses < t->cfg.max_buses ? 0 : -ENOSPC;
}

static void bus_insert(struct viommu_tce *t, struct vt_bus *bus)
{
	uint32_t i = bus_from(t, bus->cfg.buid);

	memmove(&t->buses[i + 1], &t->buses[i],
		(t->nbuses - i) * sizeof(t->buses[0]));
	t->buses[i] = bus;
	t->nbuses++;
	vt_bus_open(t, bus, 0, bus->standard);
}

int viommu_tce_add_bus(struct viommu_tce *t, const struct viommu_tce_bus *in)
{
	struct viommu_tce_bus c;
	struct vt_bus *bus;
	int rc = config_complete(t, &c, in);

	if (rc)
		return rc;
	vt_change_begin(t);
	rc = bus_allowed(t, &c);
	if (!rc)
		rc = bus_make(t, &c, &bus);
	if (!rc)
		bus_insert(t, bus);
	vt_change_end(t);
	return rc;
}

void vt_bus_drop(struct viommu_tce *t, struct vt_bus *bus,
		 struct viommu_fence *f)
{
	uint32_t i = bus_from(t, bus->cfg.buid);

	t->nbuses--;
	memmove(&t->buses[i], &t->buses[i + 1],
		(t->nbuses - i) * sizeof(t->buses[0]));
	for (unsigned n = 0; n < VT_BUS_WINDOWS; n++)
		if (bus->windows[n])
			window_forget(t, bus, n);
	viommu_space_destroy(bus->space, f);
	bus_free(t, bus);
}

int viommu_tce_remove_bus(struct viommu_tce *t, uint64_t buid,
			  struct viommu_fence *f)
{
	struct vt_bus *bus;

	vt_change_begin(t);
	bus = vt_bus_find(t, buid);
	if (bus)
		vt_bus_drop(t, bus, f);
	vt_change_end(t);
	return bus ? 0 : -ENOENT;
}

/* ---- looking ---------------------------------------------------------- */

struct viommu_space *viommu_tce_space(struct viommu_tce *t, uint64_t buid)
{
	struct vt_part *p = vt_enter(t);
	struct vt_bus *bus = vt_bus_find(t, buid);
	struct viommu_space *space = bus ? bus->space : NULL;

	vt_leave(t, p);
	return space;
}

int viommu_tce_dma_window(struct viommu_tce *t, uint64_t buid,
			  uint32_t cells[5])
{
	struct vt_part *p = vt_enter(t);
	struct vt_bus *bus = vt_bus_find(t, buid);

	if (bus) {
		cells[0] = bus->cfg.liobn;
		cells[1] = (uint32_t)(bus->cfg.window_start >> 32);
		cells[2] = (uint32_t)bus->cfg.window_start;
		cells[3] = (uint32_t)(bus->cfg.window_size >> 32);
		cells[4] = (uint32_t)bus->cfg.window_size;
	}
	vt_leave(t, p);
	return bus ? 0 : -ENOENT;
}
