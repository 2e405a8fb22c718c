/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_DMATEST_H
#define VIOMMU_SERVE_DMATEST_H

/**
 * @file
 * dmatest: a PCI function that does the DMA it is told to, right or wrong.
 * Its registers are described in docs/dmatest.md.
 */

#include <viommu/serve/pci.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_dmatest;

struct viommu_dmatest_config {
	size_t size; /* sizeof(struct viommu_dmatest_config) */
	const char *name;
	struct viommu_loop *loop;
	struct viommu *vi;
	struct viommu_memory *memory;
	struct viommu_endpoint *endpoint; /* who its DMA is done as */
};

struct viommu_dmatest_stats {
	uint64_t commands; /* finished */
	uint64_t refused;  /* of those, with STATUS 3 */
	uint64_t holds;	   /* live maps made */
};

/**
 * Make the function.
 *
 * @param cfg names; copied
 * @param out the new function, owned by the caller
 * @return 0, -EINVAL, -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_dmatest_create(const struct viommu_dmatest_config *cfg,
		      struct viommu_dmatest **out);

/**
 * Unmake it; a held map is let go of.
 *
 * @param d function, or NULL; its transport must have been destroyed
 *
 * Context: the loop's thread, or while it does not run.
 */
VIOMMU_API void viommu_dmatest_destroy(struct viommu_dmatest *d);

/**
 * Its PCI function, for a transport.
 *
 * @param d function
 * @return borrowed
 *
 * Context: any thread.
 */
VIOMMU_API struct viommu_pci *viommu_dmatest_pci(struct viommu_dmatest *d);

/**
 * Read the counters.
 *
 * @param d   function
 * @param out each counter is exact; together they are not a snapshot
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_dmatest_read_stats(const struct viommu_dmatest *d,
					  struct viommu_dmatest_stats *out);

VIOMMU_END_DECLS

#endif
