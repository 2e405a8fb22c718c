/* SPDX-License-Identifier: BSD-2-Clause */
/* What device emulation does, page by page in an order at random. */
#include <stdlib.h>

#include "bench.h"

static __thread volatile uint64_t sink;

void loads(struct world *w, unsigned n)
{
	uint64_t val, sum = 0;

	for (unsigned i = 0; i < n; i++) {
		must(viommu_dma_load(w->ep, key(w, i), 8, &val));
		sum += val;
	}
	sink = sum;
}

void stores(struct world *w, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		must(viommu_dma_store(w->ep, key(w, i), 8, i));
}

double op_load(struct world *w, unsigned n)
{
	double t = cpu_now();

	loads(w, n);
	return (cpu_now() - t) / n;
}

double op_load_burst(struct world *w, unsigned n)
{
	double ns;

	must(viommu_dma_enter(w->ep));
	ns = op_load(w, n);
	viommu_dma_exit(w->ep);
	return ns;
}

double op_store_burst(struct world *w, unsigned n)
{
	double t = cpu_now();

	must(viommu_dma_enter(w->ep));
	for (unsigned i = 0; i < n; i++)
		must(viommu_dma_store(w->ep, key(w, i), 8, i));
	viommu_dma_exit(w->ep);
	return (cpu_now() - t) / n;
}

double op_window(struct world *w, unsigned n)
{
	double t = cpu_now();
	uint64_t val, sum = 0;

	must(viommu_dma_enter(w->ep));
	for (unsigned i = 0; i < n; i++) {
		must(viommu_window_load(&w->window, key(w, i), 8, &val));
		sum += val;
	}
	viommu_dma_exit(w->ep);
	sink = sum;
	return (cpu_now() - t) / n;
}

double op_read(struct world *w, unsigned n)
{
	static char buf[PAGE];
	double t = cpu_now();

	for (unsigned i = 0; i < n; i++)
		must(viommu_dma_read(w->ep, key(w, i) & ~(uint64_t)(PAGE - 1),
				     buf, w->row->arg));
	return (cpu_now() - t) / n;
}

/* ---- maps ------------------------------------------------------------- */

static double map_unmap(struct world *w, unsigned n, viommu_revoke_fn *revoke)
{
	struct iovec iov[1];
	struct viommu_dma d = { .ep = w->ep,
				.len = PAGE,
				.prot = VIOMMU_READ,
				.revoke = revoke,
				.iov = iov,
				.max_iov = 1 };
	double t = cpu_now();

	for (unsigned i = 0; i < n; i++) {
		d.iova = key(w, i) & ~(uint64_t)(PAGE - 1);
		must(viommu_dma_map(&d));
		viommu_dma_unmap(&d, 0);
	}
	sink = (uintptr_t)iov[0].iov_base;
	return (cpu_now() - t) / n;
}

double op_map_unmap(struct world *w, unsigned n)
{
	return map_unmap(w, n, NULL);
}

/* Of maps that are gone by the time anybody could be in their way. */
static void revoked(struct viommu_dma *d)
{
	(void)d;
	abort();
}

double op_map_unmap_revocable(struct world *w, unsigned n)
{
	return map_unmap(w, n, revoked);
}

/* With no pin left for it. */
double op_map_unmap_spilled(struct world *w, unsigned n)
{
	struct iovec iov[1];
	struct viommu_dma d[11] = { 0 };
	double ns;

	for (int i = 0; i < 11; i++) {
		d[i].ep = w->ep;
		d[i].len = PAGE;
		d[i].prot = VIOMMU_READ;
		d[i].iov = iov;
		d[i].max_iov = 1;
		must(viommu_dma_map(&d[i]));
	}
	ns = map_unmap(w, n, NULL);
	for (int i = 0; i < 11; i++)
		viommu_dma_unmap(&d[i], 0);
	return ns;
}
