/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Restoring a state (state.h) that anybody may have written.  First it is read
 * through without effect: its form is right or it is -EINVAL, it is of these
 * buses or -ENOENT, and each window fits its bus or it is -ERANGE.  Then what
 * there was goes, and windows and entries are put one after the other; should
 * one be refused, for want of memory for example, all is reset.  Nothing is
 * allocated for what does not stand in the state, word for word.
 *
 * Locks: changing, throughout.
 */
#include <errno.h>

#include "guest/tce/device.h"
#include "guest/tce/state.h"

enum {
	WORD = sizeof(uint64_t),
};

struct reader {
	const uint8_t *at;
	size_t left; /* bytes */
};

/* A window of the state, and where its entries are. */
struct saved {
	unsigned nth;
	bool standard;
	struct vt_place at;
	const uint8_t *entries;
};

/* ---- is its form right? ----------------------------------------------- */

static int magic_check(const uint8_t *magic)
{
	const uint8_t *version = magic + VT_STATE_VERSION_AT;

	if (!memcmp(magic, VT_STATE_MAGIC, VT_STATE_MAGIC_SIZE))
		return 0;
	if (memcmp(magic, VT_STATE_MAGIC, VT_STATE_VERSION_AT) ||
	    version[0] < '1' || version[0] > '9')
		return -EINVAL;
	if (version[1] == '\n' && version[0] > '1')
		return -EOPNOTSUPP;
	return version[1] >= '0' && version[1] <= '9' ? -EOPNOTSUPP : -EINVAL;
}

static int head_read(struct reader *r, uint64_t *buses)
{
	const uint8_t *at = r->at;
	struct vt_state_head h;
	int rc;

	if (r->left < sizeof(h.magic))
		return -EINVAL;
	rc = magic_check(at);
	if (rc)
		return rc;
	if (r->left < sizeof(h) || r->left % WORD)
		return -EINVAL;
	memcpy(&h, at, sizeof(h));
	if (le64toh(h.len) != r->left ||
	    le64toh(h.sum) != vt_state_sum(at, r->left))
		return -EINVAL;
	*buses = le64toh(h.buses);
	r->at += sizeof(h);
	r->left -= sizeof(h);
	return 0;
}

static bool word_read(struct reader *r, uint64_t *word)
{
	if (r->left < WORD)
		return false;
	*word = vt_state_word(r->at);
	r->at += WORD;
	r->left -= WORD;
	return true;
}

static bool window_read(struct reader *r, struct saved *s)
{
	struct vt_state_window w;

	if (!word_read(r, &w.nth) || !word_read(r, &w.flags) ||
	    !word_read(r, &w.shift) || !word_read(r, &w.start) ||
	    !word_read(r, &w.entries))
		return false;
	if (w.nth >= VT_BUS_WINDOWS || w.flags & ~UINT64_C(1) ||
	    w.shift > UINT8_MAX || !vt_size_of((unsigned)w.shift) ||
	    w.entries > r->left / WORD)
		return false;
	*s = (struct saved){ .nth = (unsigned)w.nth,
			     .standard = w.flags & VT_STATE_F_DEFAULT,
			     .at = { .start = w.start,
				     .entries = w.entries,
				     .shift = (uint8_t)w.shift },
			     .entries = r->at };
	r->at += w.entries * WORD;
	r->left -= w.entries * WORD;
	return true;
}

/* ---- does it fit? ----------------------------------------------------- */

/* A default window is the bus's, and a dynamic one what the bus allows, beside
 * @others. */
static int window_check(const struct viommu_tce *t, const struct vt_bus *bus,
			const struct vt_bus *others, const struct saved *s)
{
	const struct vt_place *at = &bus->standard->at;

	if (s->standard)
		return s->nth || s->at.start != at->start ||
				       s->at.entries != at->entries ||
				       s->at.shift != at->shift
			       ? -ERANGE
			       : vt_bus_fits(t, others, &s->at);
	if (!(vt_size_of(s->at.shift) & bus->cfg.page_sizes))
		return -ERANGE;
	return vt_bus_fits(t, others, &s->at);
}

static int bus_check(struct viommu_tce *t, const struct vt_bus *bus,
		     struct reader *r, uint64_t windows)
{
	struct vt_window stand_in; /* for the first, when it is the second's */
	struct vt_bus others = { 0 };
	unsigned from = 0;
	struct saved s;
	int rc;

	/* it never goes */
	if (!bus->cfg.page_sizes && windows != 1)
		return -ERANGE;
	for (uint64_t i = 0; i < windows; i++) {
		if (!window_read(r, &s) || s.nth < from)
			return -EINVAL;
		from = s.nth + 1;
		rc = window_check(t, bus, &others, &s);
		if (rc)
			return rc;
		stand_in.at = s.at;
		others.windows[s.nth] = &stand_in;
	}
	return 0;
}

static int state_check(struct viommu_tce *t, struct reader r, uint64_t buses)
{
	struct vt_state_bus b;
	int rc = 0;

	for (uint64_t i = 0; i < buses && !rc; i++) {
		if (!word_read(&r, &b.buid) || !word_read(&r, &b.windows))
			return -EINVAL;
		if (i >= t->nbuses || t->buses[i]->cfg.buid != b.buid)
			return -ENOENT;
		rc = bus_check(t, t->buses[i], &r, b.windows);
	}
	if (rc)
		return rc;
	if (r.left)
		return -EINVAL;
	return buses == t->nbuses ? 0 : -ENOENT;
}

/* ---- apply ------------------------------------------------------------ */

static int entries_apply(struct vt_window *w, const uint8_t *entries,
			 struct vt_taking *taking)
{
	int rc = 0;

	for (uint64_t i = 0; i < w->at.entries && !rc; i++) {
		uint64_t tce = vt_state_word(entries + i * WORD);

		if (tce & VT_TCE_PROT)
			rc = vt_put(w, i, tce, taking);
		else
			atomic_store_explicit(&w->tce[i], tce,
					      memory_order_release);
	}
	return rc;
}

static int window_apply(struct viommu_tce *t, struct vt_bus *bus,
			const struct saved *s, struct vt_taking *taking)
{
	struct vt_window *w = bus->standard;

	if (s->standard) {
		vt_bus_standard(t, bus);
	} else {
		w = vt_window_make(t, &s->at);
		if (!w)
			return -ENOMEM;
		vt_bus_open(t, bus, s->nth, w);
	}
	return entries_apply(w, s->entries, taking);
}

static int state_apply(struct viommu_tce *t, struct reader r,
		       struct viommu_fence *f)
{
	struct vt_taking taking = { .f = f };
	struct vt_state_bus b = { 0 };
	struct saved s;
	int rc = 0;

	for (uint32_t i = 0; i < t->nbuses && !rc; i++) {
		vt_bus_close_all(t, t->buses[i], f);
		word_read(&r, &b.buid);
		word_read(&r, &b.windows);
		for (uint64_t n = 0; n < b.windows && !rc; n++) {
			window_read(&r, &s);
			rc = window_apply(t, t->buses[i], &s, &taking);
		}
	}
	for (uint32_t i = 0; i < t->nbuses && rc; i++)
		vt_bus_reset(t, t->buses[i], f);
	return rc;
}

int viommu_tce_load(struct viommu_tce *t, const void *buf, size_t len,
		    struct viommu_fence *f)
{
	struct reader r = { .at = buf, .left = len };
	uint64_t buses;
	int rc = head_read(&r, &buses);

	if (rc)
		return rc;
	vt_change_begin(t);
	rc = state_check(t, r, buses);
	if (!rc)
		rc = state_apply(t, r, f);
	vt_change_end(t);
	return rc;
}
