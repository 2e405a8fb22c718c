/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A window: its entries, and what the bus's space maps for them.
 *
 * The two must agree, also where two vCPUs put the same entry at once, and an
 * entry whose mapping is refused must stay what it was.  So each entry has a
 * lock, a bit, that is held around both.  GET takes none: it sees what was
 * there before or after.
 *
 * Bits: a word holds those of 64 entries; whoever sets one owns the entry.  Who
 * finds it set waits at the window: he counts himself a waiter, then looks
 * again; who clears a bit does so, then looks for waiters.  All of that is
 * sequentially consistent, so one of them sees the other.  A run of entries is
 * locked a word at a time, all that it needs of one or nothing, upwards; so who
 * waits in a word holds nothing there, nor above, and there is no circle.
 *
 * What an entry takes: clearing it gathers it, also where nothing is mapped
 * any more, since a clearing before this one may be waited for; changing it
 * gathers it; setting one that was clear takes nothing.
 */
#include <errno.h>

#include "guest/tce/device.h"

enum {
	BITS = 64,
};

/* ---- life ------------------------------------------------------------- */

uint64_t vt_place_last(const struct vt_place *at)
{
	return at->start + ((at->entries << at->shift) - 1);
}

struct vt_window *vt_window_make(struct viommu_tce *t,
				 const struct vt_place *at)
{
	uint64_t words = at->entries + (at->entries + BITS - 1) / BITS;
	struct vt_window *w;

	if (words > (SIZE_MAX - sizeof(*w)) / sizeof(w->tce[0]))
		return NULL;
	w = viommu_alloc(t->vi, sizeof(*w) + words * sizeof(w->tce[0]));
	if (!w)
		return NULL;
	w->at = *at;
	w->busy = &w->tce[at->entries];
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->freed, NULL);
	return w;
}

void vt_window_free(struct viommu_tce *t, struct vt_window *w)
{
	pthread_cond_destroy(&w->freed);
	pthread_mutex_destroy(&w->lock);
	viommu_free(t->vi, w);
}

/* ---- entries' locks --------------------------------------------------- */

/* Set all of @mask, or none. */
static bool bits_take(_Atomic(uint64_t) *word, uint64_t mask)
{
	uint64_t was = atomic_load(word);

	do {
		if (was & mask)
			return false;
	} while (!atomic_compare_exchange_weak(word, &was, was | mask));
	return true;
}

static void bits_wait(struct vt_window *w, _Atomic(uint64_t) *word,
		      uint64_t mask)
{
	pthread_mutex_lock(&w->lock);
	atomic_fetch_add(&w->waiters, 1);
	while (!bits_take(word, mask))
		pthread_cond_wait(&w->freed, &w->lock);
	atomic_fetch_sub(&w->waiters, 1);
	pthread_mutex_unlock(&w->lock);
}

static void bits_lock(struct vt_window *w, uint64_t word, uint64_t mask)
{
	if (!bits_take(&w->busy[word], mask))
		bits_wait(w, &w->busy[word], mask);
}

static void bits_unlock(struct vt_window *w, uint64_t word, uint64_t mask)
{
	atomic_fetch_and(&w->busy[word], ~mask);
	if (!atomic_load(&w->waiters))
		return;
	pthread_mutex_lock(&w->lock);
	pthread_cond_broadcast(&w->freed);
	pthread_mutex_unlock(&w->lock);
}

/* Those of [first, last] in the word of @first. */
static uint64_t bits_of(uint64_t first, uint64_t last)
{
	uint64_t mask = UINT64_MAX << first % BITS;

	if (last / BITS == first / BITS)
		mask &= UINT64_MAX >> (BITS - 1 - last % BITS);
	return mask;
}

static void run_do(struct vt_window *w, uint64_t first, uint64_t last,
		   void (*what)(struct vt_window *, uint64_t, uint64_t))
{
	for (uint64_t i = first; i <= last; i = (i | (BITS - 1)) + 1)
		what(w, i / BITS, bits_of(i, last));
}

/* ---- put -------------------------------------------------------------- */

static uint64_t page_of(const struct vt_window *w, uint64_t i)
{
	return w->at.start + (i << w->at.shift);
}

static int pages_unmap(struct vt_window *w, uint64_t first, uint64_t last,
		       struct vt_taking *taking)
{
	uint64_t mask = (UINT64_C(1) << w->at.shift) - 1;
	int64_t rc = viommu_space_unmap(w->space, page_of(w, first),
					page_of(w, last) | mask, taking->f);

	if (rc < 0)
		return (int)rc;
	taking->took = true;
	return 0;
}

/* Let the space map what @tce says, in the place of what @was said. */
static int page_put(struct vt_window *w, uint64_t i, uint64_t was, uint64_t tce,
		    struct vt_taking *taking)
{
	uint64_t mask = (UINT64_C(1) << w->at.shift) - 1;
	struct viommu_mapping m = { .start = page_of(w, i),
				    .last = page_of(w, i) | mask,
				    .gpa = tce & ~mask,
				    .prot = (uint32_t)(tce & VT_TCE_PROT) };

	if (!m.prot)
		return pages_unmap(w, i, i, taking);
	if (!(was & VT_TCE_PROT))
		return viommu_space_map(w->space, &m);
	/* a notifier that refuses may hold the fence */
	taking->took = true;
	return viommu_space_remap(w->space, &m, taking->f);
}

int vt_put(struct vt_window *w, uint64_t i, uint64_t tce,
	   struct vt_taking *taking)
{
	uint64_t bit = UINT64_C(1) << i % BITS;
	int rc;

	bits_lock(w, i / BITS, bit);
	rc = page_put(w, i,
		      atomic_load_explicit(&w->tce[i], memory_order_relaxed),
		      tce, taking);
	if (!rc)
		atomic_store_explicit(&w->tce[i], tce, memory_order_release);
	bits_unlock(w, i / BITS, bit);
	return rc;
}

int vt_clear(struct vt_window *w, uint64_t first, uint64_t n, uint64_t tce,
	     struct vt_taking *taking)
{
	uint64_t last = first + (n - 1);
	int rc;

	run_do(w, first, last, bits_lock);
	rc = pages_unmap(w, first, last, taking);
	for (uint64_t i = first; !rc && i <= last; i++)
		atomic_store_explicit(&w->tce[i], tce, memory_order_release);
	run_do(w, first, last, bits_unlock);
	return rc;
}
