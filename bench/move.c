/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that goes, or goes elsewhere: a page that an owner gives up, among
 * many that somebody holds; and 2 MiB that are moved while a device writes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

/* ---- a page among many ------------------------------------------------ */

/* A guest whose pages are held, one by one, by somebody who lets go when asked:
 * an emulator, a foreign mapping. */
static struct owner {
	struct viommu *vi; /* whose world this is, or NULL */
	struct viommu_memory *mem;
	struct viommu_space *space;
	struct viommu_endpoint *ep;
	struct viommu_dma *held;
	struct iovec *iov;
	uint64_t pages, turn;
	char *ram;
} owner;

static void let_go(struct viommu_dma *d)
{
	viommu_dma_unmap(d, 0);
}

static void pages_show(uint64_t i, uint64_t n)
{
	const struct viommu_region r = { .size = sizeof(r),
					 .gpa = i * PAGE,
					 .len = n * PAGE,
					 .host = owner.ram + i * PAGE,
					 .prot = VIOMMU_READ | VIOMMU_WRITE };

	must(viommu_memory_add(owner.mem, &r));
}

static void page_hold(uint64_t i)
{
	struct viommu_dma *d = &owner.held[i];

	d->ep = owner.ep;
	d->iova = i * PAGE;
	d->len = PAGE;
	d->prot = VIOMMU_READ | VIOMMU_WRITE;
	d->iov = &owner.iov[i];
	d->max_iov = 1;
	d->revoke = let_go;
	must(viommu_dma_map(d));
}

void owner_free(struct world *w)
{
	struct viommu_fence f;

	if (owner.vi != w->vi || !owner.vi)
		return;
	for (uint64_t i = 0; i < owner.pages; i++)
		viommu_dma_unmap(&owner.held[i], 0);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(owner.ep, &f);
	viommu_space_destroy(owner.space, &f);
	viommu_memory_destroy(owner.mem, &f);
	fence_run(&f);
	munmap(owner.ram, owner.pages * PAGE);
	free(owner.held);
	free(owner.iov);
	owner.vi = NULL;
}

static void owner_make(struct world *w, uint64_t pages)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_IDENTITY,
					  .page_sizes = PAGE };
	struct viommu_endpoint_config ec = { .size = sizeof(ec), .id = 7 };
	struct viommu_fence f;

	owner = (struct owner){ .vi = w->vi, .pages = pages };
	owner.held = calloc(pages, sizeof(*owner.held));
	owner.iov = calloc(pages, sizeof(*owner.iov));
	must(owner.held && owner.iov ? 0 : -ENOMEM);
	must(viommu_memory_create(w->vi, &owner.mem));
	must(viommu_space_create(w->vi, &sc, &owner.space));
	ec.memory = owner.mem;
	must(viommu_endpoint_create(w->vi, &ec, &owner.ep));
	viommu_fence_init(&f);
	must(viommu_endpoint_attach(owner.ep, owner.space, &f));
	fence_run(&f);
	/* nothing of it is ever touched */
	owner.ram = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(owner.ram == MAP_FAILED ? -errno : 0);
	pages_show(0, pages);
	for (uint64_t i = 0; i < pages; i++)
		page_hold(i);
}

static void owner_get(struct world *w)
{
	if (owner.vi && owner.pages != w->row->arg)
		owner_free(w);
	if (!owner.vi)
		owner_make(w, w->row->arg);
}

/* In an order that has neither neighbours nor a pattern. */
static uint64_t owner_page(void)
{
	return owner.turn++ * 0x9e3779b1 % owner.pages;
}

/* What the holder does of it: let go of a map. */
double floor_let_go(struct world *w, unsigned n)
{
	double t = 0;

	owner_get(w);
	for (unsigned i = 0; i < n; i++) {
		uint64_t at = owner_page();
		double since = now();

		viommu_dma_unmap(&owner.held[at], 0);
		t += now() - since;
		page_hold(at);
	}
	return t / n;
}

/* Give a page up until it may be recycled; its holder lets go at once. */
double op_give_up(struct world *w, unsigned n)
{
	double t = 0;

	owner_get(w);
	for (unsigned i = 0; i < n; i++) {
		uint64_t at = owner_page();
		struct viommu_fence f;
		double since = now();

		viommu_fence_init(&f);
		must(viommu_memory_give_up(owner.mem, at * PAGE, PAGE, &f));
		fence_run(&f);
		t += now() - since;
		pages_show(at, 1);
		page_hold(at);
	}
	return t / n;
}

/* ---- 2 MiB under load ------------------------------------------------- */

static char *other_get(void)
{
	static char *other;

	if (other)
		return other;
	other = aligned_alloc(RAM, RAM);
	must(other ? 0 : -ENOMEM);
	(void)madvise(other, RAM, MADV_HUGEPAGE);
	memset(other, 1, RAM);
	return other;
}

double floor_copy(struct world *w, unsigned n)
{
	double t = now();

	for (unsigned i = 0; i < n; i++)
		memcpy(other_get(), w->ram, RAM);
	return (now() - t) / n;
}

static void moved(void *arg, int rc)
{
	(void)arg;
	must(rc);
}

/* There and back again. */
double op_move(struct world *w, unsigned n)
{
	char *place[] = { other_get(), w->ram };
	double t = now();

	for (unsigned i = 0; i < 2 * n; i++) {
		const struct viommu_move m = {
			.size = sizeof(m),
			.to = { .size = sizeof(m.to),
				.gpa = RAM_AT,
				.len = RAM,
				.host = place[i % 2],
				.prot = VIOMMU_READ | VIOMMU_WRITE },
			.moved = moved,
		};
		struct viommu_fence f;

		viommu_fence_init(&f);
		must(viommu_memory_move(viommu_memory_of(w->vi), &m, &f));
		fence_run(&f);
	}
	return (now() - t) / n / 2;
}
