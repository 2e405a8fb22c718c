/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All ways to do DMA to a page, and what each must find there.
 *
 * A page: eight words of stamp; from byte 64 a byte for each worker's maps;
 * from byte 128 a word for each worker; the upper half is divided among them,
 * but for eight words of stamp again, so that what a read across two pages sees
 * is stamps.  Nobody touches what another one writes: only lifetimes race.
 */
#include "race.h"

#include <stdio.h>
#include <sys/mman.h>

enum {
	BYTES = 64,
	WORDS = 128,
	AREAS = PAGE / 2,
	AREAS_END = PAGE - STAMP_BYTES,
	SHELF = 64,
	SEAL = 16, /* one page in so many is sealed while on the shelf */
};

#define LIVE UINT64_C(0x5a17)

/* ---- stamps ----------------------------------------------------------- */

uint64_t stamp_of(unsigned slot, uint64_t n)
{
	return LIVE << 48 | (uint64_t)slot << 40 | n;
}

uint64_t stamp_check(uint64_t stamp, unsigned slot, uint64_t least)
{
	uint64_t n = stamp & ((UINT64_C(1) << 40) - 1);

	if (stamp == POISONED)
		broken("a read after the fence was done");
	if (stamp >> 40 != (LIVE << 8 | slot))
		broken("a read of memory that was never mapped there");
	if (n < least)
		broken("an access saw what had been taken before it began");
	return n;
}

void poison(void *p, size_t len)
{
	memset(p, POISON, len);
}

void must_be_poison(const void *p, size_t len)
{
	const volatile uint64_t *w = p;

	for (size_t i = 0; i < len / sizeof(*w); i++)
		if (w[i] != POISONED)
			broken("a write after the fence was done");
}

/* ---- the shelf -------------------------------------------------------- */

static pthread_mutex_t shelf_lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	void *page;
	bool sealed;
} shelf[SHELF];
static unsigned shelved;

static void shelf_check(unsigned i)
{
	void *page = shelf[i].page;

	shelf[i].page = NULL;
	if (!page)
		return;
	if (shelf[i].sealed)
		must(mprotect(page, PAGE, PROT_READ | PROT_WRITE) ? -errno : 0,
		     "mprotect");
	must_be_poison(page, PAGE);
	free(page);
}

void page_poison(void *page)
{
	unsigned i;

	if (!page)
		return;
	poison(page, PAGE);
	pthread_mutex_lock(&shelf_lock);
	i = shelved++ % SHELF;
	shelf_check(i);
	shelf[i].page = page;
	shelf[i].sealed = !dice(SEAL);
	if (shelf[i].sealed)
		must(mprotect(page, PAGE, PROT_NONE) ? -errno : 0, "mprotect");
	pthread_mutex_unlock(&shelf_lock);
}

void shelf_clear(void)
{
	for (unsigned i = 0; i < SHELF; i++)
		shelf_check(i);
}

void *page_fill(unsigned slot, uint64_t n)
{
	uint64_t *page = aligned_alloc(PAGE, PAGE);

	if (!page)
		must(-ENOMEM, "page");
	memset(page, 0, PAGE);
	for (unsigned i = 0; i < STAMP_BYTES / sizeof(*page); i++)
		page[i] = page[AREAS_END / sizeof(*page) + i] =
			stamp_of(slot, n);
	return page;
}

/* ---- words and copies ------------------------------------------------- */

int accessed(int rc)
{
	me->did.accesses++;
	if (!rc)
		return 0;
	if (rc != -EFAULT && rc != -EIO)
		broken("a refusal that nobody can explain");
	me->did.refused++;
	return rc;
}

static uint64_t least_of(const struct spot *s)
{
	return s->committed ? atomic_load(s->committed) : 0;
}

int way_load(const struct spot *s)
{
	uint64_t val = 0, least = least_of(s),
		 at = s->iova + 8 * dice(STAMP_BYTES / 8);
	int rc = accessed(viommu_dma_load(s->ep, at, 8, &val));

	if (!rc)
		stamp_check(val, s->slot, least);
	return rc;
}

int way_store(const struct spot *s)
{
	return accessed(
		viommu_dma_store(s->ep, s->iova + WORDS + 8 * me->n, 4, me->n));
}

static int way_cas(const struct spot *s)
{
	uint64_t old = me->n;

	return accessed(viommu_dma_cas(s->ep, s->iova + WORDS + 8 * me->n, 8,
				       &old, me->n + 1));
}

static void stamps_check(const struct spot *s, const uint64_t *stamp,
			 uint64_t least)
{
	for (int i = 0; i < STAMP_BYTES / 8; i++)
		stamp_check(stamp[i], s->slot, least);
}

static int way_read(const struct spot *s)
{
	uint64_t stamp[STAMP_BYTES / 8], least = least_of(s);
	int rc =
		accessed(viommu_dma_read(s->ep, s->iova, stamp, sizeof(stamp)));

	if (!rc)
		stamps_check(s, stamp, least);
	return rc;
}

/* Long enough to be in the way of somebody who did not wait. */
static int way_write(const struct spot *s)
{
	char buf[AREAS];
	size_t len = (AREAS_END - AREAS) / (nworkers + 1) & ~(size_t)7;

	memset(buf, (int)me->n, len);
	return accessed(viommu_dma_write(s->ep, s->iova + AREAS + me->n * len,
					 buf, len));
}

/* ---- maps ------------------------------------------------------------- */

static volatile uint64_t *held_page(struct held *h, unsigned page)
{
	size_t at = (size_t)page * PAGE;
	unsigned i = 0;

	while (at >= h->iov[i].iov_len)
		at -= h->iov[i++].iov_len;
	return (void *)((char *)h->iov[i].iov_base + at);
}

/* A byte of its own for each thread. */
static void scribble(volatile uint64_t *page)
{
	((volatile unsigned char *)page)[BYTES + me->n]++;
}

static int held_map(struct held *h, const struct spot *s, unsigned pages)
{
	uint64_t least = least_of(s);
	int rc;

	h->pages = pages;
	h->d = (struct viommu_dma){ .ep = s->ep,
				    .iova = s->iova,
				    .len = (pages - 1) * PAGE + AREAS,
				    .prot = RW,
				    .iov = h->iov,
				    .max_iov = 4 };
	rc = viommu_dma_map(&h->d);
	if (rc)
		return accessed(rc);
	me->did.maps++;
	for (unsigned i = 0; i < pages; i++) {
		h->stamp[i] = *held_page(h, i);
		stamp_check(h->stamp[i], s->slot + i, i ? 0 : least);
		scribble(held_page(h, i));
	}
	return 0;
}

static void held_unmap(struct held *h)
{
	for (unsigned i = 0; i < h->pages; i++) {
		if (*held_page(h, i) != h->stamp[i])
			broken("a page was taken while a map held it");
		scribble(held_page(h, i));
	}
	me->did.unmaps++;
	viommu_dma_unmap(&h->d, dice(2) ? h->d.len : 0);
}

struct held *hold(const struct spot *s, unsigned pages, int *rc)
{
	struct held *h = malloc(sizeof(*h));

	if (!h)
		must(-ENOMEM, "hold");
	*rc = held_map(h, s, pages);
	if (!*rc)
		return h;
	free(h);
	return NULL;
}

void held_drop(struct held *h)
{
	if (!h)
		return;
	held_unmap(h);
	poison(h, sizeof(*h));
	free(h);
}

static int way_map(const struct spot *s)
{
	struct held h;
	int rc = held_map(&h, s, 1);

	if (rc)
		return rc;
	for (int i = 0; i < 16; i++)
		scribble(held_page(&h, 0));
	held_unmap(&h);
	return 0;
}

/* ---- windows and bursts ------------------------------------------------ */

/* One is kept for each spot, by each thread, across all that happens. */
static struct viommu_window *window_of(const struct spot *s)
{
	static __thread struct {
		struct viommu_window w;
		struct viommu_endpoint *ep;
		uint64_t iova;
	} kept[16];
	unsigned i = (unsigned)(s->iova / PAGE + (uintptr_t)s->ep / 64) % 16;

	if (kept[i].ep != s->ep || kept[i].iova != s->iova) {
		must(viommu_window_open(&kept[i].w, s->ep, s->iova, PAGE, RW),
		     "window");
		kept[i].ep = s->ep;
		kept[i].iova = s->iova;
	}
	return &kept[i].w;
}

static int way_window(const struct spot *s)
{
	struct viommu_window *w = window_of(s);
	uint64_t val, least = least_of(s);
	int rc = accessed(viommu_window_load(w, 8 * dice(8), 8, &val));

	if (rc)
		return rc;
	stamp_check(val, s->slot, least);
	return accessed(viommu_window_store(w, WORDS + 8 * me->n, 8, me->n));
}

static int way_burst(const struct spot *s)
{
	int rc = 0, one;

	must(viommu_dma_enter(s->ep), "enter");
	me->did.bursts++;
	for (int i = dice(32); i >= 0; i--) {
		one = way_plain(s);
		rc = one ? one : rc;
	}
	viommu_dma_exit(s->ep);
	return rc;
}

/* ---- any -------------------------------------------------------------- */

int way_plain(const struct spot *s)
{
	switch (dice(8)) {
	case 0:
		return way_read(s);
	case 1:
		return way_cas(s);
	case 2:
		return way_window(s);
	case 3:
		return way_store(s);
	default:
		return way_load(s);
	}
}

int way_any(const struct spot *s)
{
	switch (dice(8)) {
	case 0:
		return way_write(s);
	case 1:
	case 2:
		return way_map(s);
	case 3:
		return way_burst(s);
	default:
		return way_plain(s);
	}
}

void must_be_gone(const struct spot *s)
{
	if (way_plain(s) != -EFAULT)
		broken("an access after the commit got through");
}

void must_be_there(const struct spot *s)
{
	if (way_plain(s))
		broken("an access to what is mapped was refused");
}

/* ---- fences that nobody waits for -------------------------------------- */

bool taken_pends(const struct taken *t)
{
	uint64_t since = atomic_load(&t->since);

	if (since && now() > since + patience)
		broken("a fence was forgotten");
	return since;
}

struct taken *taken_open(struct taken *all, unsigned n)
{
	struct taken *t = NULL;

	for (unsigned i = 0; i < n; i++)
		if (!taken_pends(&all[i]))
			t = &all[i];
	if (t)
		viommu_fence_init(&t->f);
	return t;
}

static void taken_done(struct viommu_fence *f, void *arg)
{
	struct taken *t = arg;
	void *page = t->page;

	if (!viommu_fence_done(f) || !atomic_load(&t->since))
		broken("a fence was done twice");
	page_poison(page);
	atomic_store(&t->since, 0);
}

void taken_commit(struct taken *t, void *page)
{
	t->page = page;
	atomic_store(&t->failed, false);
	atomic_store(&t->since, now());
	fence_commit(&t->f, taken_done, t);
}

void taken_all_done(struct taken *all, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (atomic_load(&all[i].since))
			broken("nobody is left, and a fence still pends");
}
