/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_SCATTER_H
#define VI_CORE_SCATTER_H

/*
 * Pieces of memory that are to be mapped in a row, as mappings: pieces that are
 * adjacent in GPA are one.
 */

#include <viommu/space.h>

#include "core/notifier.h"

struct vi_scatter {
	struct vi_source src; /* the mappings, for those who are told */
	const struct viommu_segment *list;
	size_t n, i;
	uint64_t at; /* of the next mapping */
	uint32_t prot;
};

/* @list at src.start on.  Rewound; src.last is not set. */
void vi_scatter_init(struct vi_scatter *sc, uint64_t start, uint32_t prot,
		     const struct viommu_segment *list, size_t n);

/* The next mapping.  False: no more, or no address for the rest. */
bool vi_scatter_next(struct vi_scatter *sc, struct viommu_mapping *m);

void vi_scatter_rewind(struct vi_scatter *sc);

#endif
