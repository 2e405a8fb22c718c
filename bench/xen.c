/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Foreign mapping: batches of single pages, and what is left of guests that are
 * destroyed.  The floor of a batch is what it cannot do without: of each page a
 * reference, a region in the view, and both away again under one fence.
 */
#include <stdlib.h>
#include <viommu/guest/xen.h>

#include "bench.h"

enum {
	MAPPER,
	OWNER,
	GUESTS,
	OPS_MAX = 512,
	SHIFT = 12,
	REFERENCES = 4096, /* their requester id */
};

struct xen {
	struct viommu_xen *x;
	struct viommu_xen_guest *g[GUESTS];
	struct viommu_xen_op ops[OPS_MAX + 1];
};

static bool may(void *arg, enum viommu_xen_privilege what, uint32_t mapper,
		uint32_t owner)
{
	(void)arg;
	(void)what;
	(void)mapper;
	(void)owner;
	return true;
}

static void xen_make(struct world *w, struct xen *x)
{
	struct viommu_xen_config c = { .size = sizeof(c),
				       .may = may,
				       .preempt_ops = OPS_MAX + 1,
				       .id = REFERENCES };
	struct viommu_region r = { .size = sizeof(r),
				   .len = RAM,
				   .host = w->ram,
				   .prot = VIOMMU_READ | VIOMMU_WRITE };

	must(viommu_xen_create(w->vi, &c, &x->x));
	for (uint32_t i = 0; i < GUESTS; i++) {
		struct viommu_xen_guest_config gc = { .size = sizeof(gc),
						      .domid = i };

		must(viommu_xen_guest_create(x->x, &gc, &x->g[i]));
	}
	must(viommu_memory_add(viommu_xen_guest_memory(x->g[OWNER]), &r));
}

static void guest_destroy(struct xen *x, int i)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_xen_guest_destroy(x->g[i], &f);
	fence_run(&f);
	x->g[i] = NULL;
}

static void xen_free(struct xen *x)
{
	struct viommu_fence f;

	for (int i = 0; i < GUESTS; i++)
		guest_destroy(x, i);
	viommu_fence_init(&f);
	viommu_xen_destroy(x->x, &f);
	fence_run(&f);
}

static void batch_done(struct viommu_xen_batch *b)
{
	(void)b;
	abort(); /* nobody is in the way */
}

static void run(struct xen *x, unsigned n)
{
	struct viommu_xen_batch b = {
		.mapper = MAPPER, .ops = x->ops, .n = n, .done = batch_done
	};

	must(viommu_xen_run(x->x, &b));
	for (unsigned i = 0; i < n; i++)
		must(x->ops[i].status);
}

/* Pages in a row at dfns in a row, but no two as one operation. */
static void map(struct xen *x, uint64_t dfn, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		x->ops[i] =
			(struct viommu_xen_op){ .kind = VIOMMU_XEN_MAP,
						.flags = VIOMMU_READ |
							 VIOMMU_WRITE,
						.owner = OWNER,
						.page_shift = SHIFT,
						.dfn = dfn + i,
						.gfn = (dfn + i) % (RAM / PAGE),
						.count = 1 };
	run(x, n);
}

static void unmap_flush(struct xen *x, uint64_t dfn, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		x->ops[i] = (struct viommu_xen_op){ .kind = VIOMMU_XEN_UNMAP,
						    .page_shift = SHIFT,
						    .dfn = dfn + i,
						    .count = 1 };
	x->ops[n] = (struct viommu_xen_op){ .kind = VIOMMU_XEN_FLUSH };
	run(x, n + 1);
}

/* row->arg pages are mapped by a batch, unmapped and flushed by another: each
 * page. */
double op_xen_batch(struct world *w, unsigned n)
{
	unsigned each = w->row->arg;
	static struct xen x;
	double t;

	xen_make(w, &x);
	map(&x, 1 << 20, 1); /* the link, and the view's tables */
	t = cpu_now();
	for (unsigned i = 0; i < n / each; i++) {
		map(&x, 0, each);
		unmap_flush(&x, 0, each);
	}
	t = cpu_now() - t;
	xen_free(&x);
	return t / (n / each * each);
}

/* ---- the floor ----------------------------------------------------------- */

struct page {
	struct viommu_dma d;
	struct iovec iov;
};

static void never(struct viommu_dma *d)
{
	(void)d;
	abort();
}

static void page_map(struct viommu_endpoint *ep, struct viommu_memory *view,
		     struct page *p, uint64_t i)
{
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = i * PAGE,
				   .len = PAGE,
				   .prot = VIOMMU_READ | VIOMMU_WRITE };

	*p = (struct page){ .d = { .ep = ep,
				   .iova = i * PAGE % RAM,
				   .len = PAGE,
				   .prot = VIOMMU_READ | VIOMMU_WRITE,
				   .iov = &p->iov,
				   .max_iov = 1,
				   .revoke = never } };
	must(viommu_dma_map(&p->d));
	r.host = p->iov.iov_base;
	must(viommu_memory_add(view, &r));
}

static void round_run(struct viommu_endpoint *ep, struct viommu_memory *view,
		      unsigned n)
{
	static struct page pages[OPS_MAX];
	struct viommu_fence f;

	for (unsigned i = 0; i < n; i++)
		page_map(ep, view, &pages[i], i);
	viommu_fence_init(&f);
	for (unsigned i = 0; i < n; i++)
		must(viommu_memory_remove(view, i * PAGE, PAGE, &f));
	fence_run(&f);
	for (unsigned i = 0; i < n; i++)
		viommu_dma_unmap(&pages[i].d, PAGE);
}

static void memory_drop(struct viommu_memory *mem)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_memory_destroy(mem, &f);
	fence_run(&f);
}

double floor_xen_batch(struct world *w, unsigned n)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = REFERENCES };
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_IDENTITY,
					  .page_sizes = PAGE };
	struct viommu_region r = { .size = sizeof(r),
				   .len = RAM,
				   .host = w->ram,
				   .prot = VIOMMU_READ | VIOMMU_WRITE };
	struct viommu_memory *owner, *view;
	struct viommu_endpoint *ep;
	struct viommu_space *space;
	struct viommu_fence f;
	unsigned each = w->row->arg;
	double t;

	must(viommu_memory_create(w->vi, &owner));
	must(viommu_memory_create(w->vi, &view));
	must(viommu_memory_add(owner, &r));
	must(viommu_space_create(w->vi, &sc, &space));
	c.memory = owner;
	must(viommu_endpoint_create(w->vi, &c, &ep));
	viommu_fence_init(&f);
	must(viommu_endpoint_attach(ep, space, &f));
	t = cpu_now();
	for (unsigned i = 0; i < n / each; i++)
		round_run(ep, view, each);
	t = cpu_now() - t;
	viommu_endpoint_destroy(ep, &f);
	viommu_space_destroy(space, &f);
	fence_run(&f);
	memory_drop(view);
	memory_drop(owner);
	return t / (n / each * each);
}

/* ---- destruction ----------------------------------------------------------
 */

static void map_all(struct xen *x, unsigned n)
{
	for (unsigned i = 0; i < n; i += OPS_MAX)
		map(x, i, n - i < OPS_MAX ? n - i : OPS_MAX);
}

static double destroy(struct world *w, int guest)
{
	unsigned n = w->row->arg;
	static struct xen x;
	double t;

	xen_make(w, &x);
	map_all(&x, n);
	t = cpu_now();
	guest_destroy(&x, guest);
	t = cpu_now() - t;
	xen_free(&x);
	return t / n;
}

/* A guest that has mapped row->arg pages is destroyed: each. */
double op_xen_destroy_mapper(struct world *w, unsigned n)
{
	(void)n;
	return destroy(w, MAPPER);
}

/* Likewise the one whose they are. */
double op_xen_destroy_owner(struct world *w, unsigned n)
{
	(void)n;
	return destroy(w, OWNER);
}

/* Bytes of library memory for each of row->arg pages that are mapped. */
double op_xen_memory(struct world *w, unsigned n)
{
	unsigned pages = w->row->arg;
	static struct xen x;
	double bytes;

	(void)n;
	xen_make(w, &x);
	bytes = (double)w->bytes;
	map_all(&x, pages);
	bytes = (double)w->bytes - bytes;
	xen_free(&x);
	return bytes / pages;
}
