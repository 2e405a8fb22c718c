/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing the state (state.h).  Twice: once without a buffer, to know how long
 * it is, and then into the buffer, if that is long enough.
 *
 * Locks: windows are changed by nobody meanwhile, so both passes see the same.
 */
#include "guest/tce/device.h"
#include "guest/tce/state.h"

struct writer {
	uint8_t *buf; /* NULL: count only */
	size_t at;
};

uint64_t vt_state_sum(const uint8_t *buf, size_t len)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i + sizeof(sum) <= len; i += sizeof(sum))
		if (i != VT_STATE_SUM_AT)
			sum = (sum ^ vt_state_word(buf + i)) *
			      UINT64_C(0x100000001b3);
	return sum;
}

static void put(struct writer *w, uint64_t word)
{
	word = htole64(word);
	if (w->buf)
		memcpy(w->buf + w->at, &word, sizeof(word));
	w->at += sizeof(word);
}

static void window_write(struct writer *w, const struct vt_bus *bus,
			 unsigned nth)
{
	const struct vt_window *win = bus->windows[nth];

	put(w, nth);
	put(w, win == bus->standard ? VT_STATE_F_DEFAULT : 0);
	put(w, win->at.shift);
	put(w, win->at.start);
	put(w, win->at.entries);
	if (!w->buf)
		w->at += win->at.entries * sizeof(uint64_t);
	for (uint64_t i = 0; w->buf && i < win->at.entries; i++)
		put(w,
		    atomic_load_explicit(&win->tce[i], memory_order_acquire));
}

static void bus_write(struct writer *w, const struct vt_bus *bus)
{
	unsigned n = 0;

	for (unsigned i = 0; i < VT_BUS_WINDOWS; i++)
		n += bus->windows[i] != NULL;
	put(w, bus->cfg.buid);
	put(w, n);
	for (unsigned i = 0; i < VT_BUS_WINDOWS; i++)
		if (bus->windows[i])
			window_write(w, bus, i);
}

static size_t state_write(const struct viommu_tce *t, uint8_t *buf)
{
	struct vt_state_head h = { .magic = VT_STATE_MAGIC };
	struct writer w = { .buf = buf, .at = sizeof(h) };

	for (uint32_t i = 0; i < t->nbuses; i++)
		bus_write(&w, t->buses[i]);
	if (!buf)
		return w.at;
	h.len = htole64(w.at);
	h.buses = htole64(t->nbuses);
	memcpy(buf, &h, sizeof(h));
	h.sum = htole64(vt_state_sum(buf, w.at));
	memcpy(buf, &h, sizeof(h));
	return w.at;
}

size_t viommu_tce_save(struct viommu_tce *t, void *buf, size_t len)
{
	struct vt_part *p = vt_enter(t);
	size_t need = state_write(t, NULL);

	if (buf && need <= len)
		state_write(t, buf);
	vt_leave(t, p);
	return need;
}
