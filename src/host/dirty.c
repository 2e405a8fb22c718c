/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's writes, for the memory's dirty log: bits that the kernel
 * collects, in runs of entries without holes, or, where it does not, all that
 * the device could have written.  More may be marked than was written, never
 * less.
 */
#include <string.h>
#include <viommu/memory.h>

#include "host/shadow.h"

enum {
	BITS_MIN = 64 << 10, /* bytes */
};

static void mark(struct vh_shadow *sh, uint64_t gpa, uint64_t len)
{
	viommu_memory_dirty_mark(sh->opt.memory, gpa, len);
	sh->st.dirty_pages += len / sh->lim.page;
}

bool vh_dirty_exact(const struct vh_shadow *sh)
{
	return sh->log == VH_LOG_BITS && sh->lim.bits_unmap;
}

/* Bytes for the bits of [start, last]: whole words. */
static uint64_t bits_need(const struct vh_shadow *sh, uint64_t start,
			  uint64_t last)
{
	uint64_t pages = (last - start) / sh->lim.bits_page + 1;

	return ((pages - 1) / 64 + 1) * sizeof(uint64_t);
}

static bool bits_grow(struct vh_shadow *sh, uint64_t need)
{
	uint64_t size = sh->bits_size ? sh->bits_size : BITS_MIN;
	uint64_t *bits;

	if (need > sh->lim.bits_max)
		return false;
	if (need <= sh->bits_size)
		return true;
	while (size < need)
		size *= 2;
	bits = viommu_alloc(sh->opt.vi, size);
	if (!bits)
		return false;
	viommu_free(sh->opt.vi, sh->bits);
	sh->bits = bits;
	sh->bits_size = size;
	return true;
}

bool vh_dirty_fits(struct vh_shadow *sh, uint64_t start, uint64_t last)
{
	return bits_grow(sh, bits_need(sh, start, last));
}

static uint64_t *bits_zeroed(struct vh_shadow *sh, const struct vh_run *run)
{
	if (!vh_dirty_fits(sh, run->start, run->last))
		return NULL;
	return memset(sh->bits, 0, bits_need(sh, run->start, run->last));
}

uint64_t *vh_dirty_bits(struct vh_shadow *sh, const struct vh_run *run)
{
	return vh_dirty_exact(sh) ? bits_zeroed(sh, run) : NULL;
}

static bool is_set(const uint64_t *bits, uint64_t n)
{
	return bits[n / 64] >> (n % 64) & 1;
}

static void mark_bits(struct vh_shadow *sh, const struct vh_node *e,
		      const struct vh_run *run, const uint64_t *bits)
{
	uint64_t page = sh->lim.bits_page;
	uint64_t n = (e->start - run->start) / page;
	uint64_t end = n + (e->last - e->start) / page + 1, from = n;

	for (uint64_t i = n; i < end; i = from) {
		while (i < end && !is_set(bits, i))
			i++;
		from = i;
		while (from < end && is_set(bits, from))
			from++;
		if (from > i)
			mark(sh, e->gpa + (i - n) * page, (from - i) * page);
	}
}

void vh_dirty_mark(struct vh_shadow *sh, const struct vh_node *e,
		   const struct vh_run *run, const uint64_t *bits)
{
	if (sh->log == VH_LOG_OFF || !(e->prot & VIOMMU_WRITE))
		return;
	if (bits)
		mark_bits(sh, e, run, bits);
	else
		mark(sh, e->gpa, e->last - e->start + 1);
}

void vh_dirty_mark_run(struct vh_shadow *sh, const struct vh_run *run)
{
	struct vh_node *e = vh_tree_first(sh->entries, run->start);

	for (; e && e->start <= run->last; e = vh_tree_next(sh->entries, e))
		vh_dirty_mark(sh, e, run, NULL);
}

static bool wanted(const struct vh_node *e, uint64_t gpa, uint64_t last)
{
	return e->prot & VIOMMU_WRITE && e->gpa <= last &&
	       e->gpa + (e->last - e->start) >= gpa;
}

/* The part of @e that leads to [gpa, last]. */
static void mark_part(struct vh_shadow *sh, const struct vh_node *e,
		      uint64_t gpa, uint64_t last)
{
	uint64_t from = e->gpa, to = e->gpa + (e->last - e->start);

	if (from < gpa)
		from = gpa;
	if (to > last)
		to = last;
	mark(sh, from, to - from + 1);
}

/* If the kernel fails, it may have cleared bits. */
static void collect_run(struct vh_shadow *sh, const struct vh_run *run)
{
	uint64_t *bits = bits_zeroed(sh, run);
	struct vh_node *e = vh_tree_first(sh->entries, run->start);

	if (bits && sh->ops->fetch(sh, run, bits))
		bits = NULL;
	for (uint64_t i = 0; i < run->entries; i++) {
		vh_dirty_mark(sh, e, run, bits);
		e = vh_tree_next(sh->entries, e);
	}
}

/* What was written of the entries that lead to [gpa, last]; or more. */
static void collect(struct vh_shadow *sh, uint64_t gpa, uint64_t last)
{
	struct vh_node *e = vh_tree_first(sh->entries, 0), *next;

	for (; e; e = next) {
		struct vh_run run = { e->start, e->last, 1 };

		next = vh_tree_next(sh->entries, e);
		if (!wanted(e, gpa, last))
			continue;
		if (sh->log == VH_LOG_ALL) {
			mark_part(sh, e, gpa, last);
			continue;
		}
		while (next && wanted(next, gpa, last) &&
		       next->start == run.last + 1 &&
		       vh_dirty_fits(sh, run.start, next->last)) {
			run.last = next->last;
			run.entries++;
			next = vh_tree_next(sh->entries, next);
		}
		collect_run(sh, &run);
	}
}

void vh_dirty_event(struct vh_shadow *sh, enum viommu_dirty_event what,
		    uint64_t gpa, uint64_t last)
{
	switch (what) {
	case VIOMMU_DIRTY_START:
		sh->log = VH_LOG_ALL;
		if (sh->lim.bits_page && !sh->ops->log(sh, true))
			sh->log = VH_LOG_BITS;
		break;
	case VIOMMU_DIRTY_SYNC:
		if (sh->log != VH_LOG_OFF)
			collect(sh, gpa, last);
		break;
	case VIOMMU_DIRTY_STOP:
		/* bits that go on being collected harm nobody */
		if (sh->log == VH_LOG_BITS)
			(void)sh->ops->log(sh, false);
		sh->log = VH_LOG_OFF;
		viommu_free(sh->opt.vi, sh->bits);
		sh->bits = NULL;
		sh->bits_size = 0;
		break;
	}
}
