/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_REGION_H
#define VI_CORE_REGION_H

/* One span of GPA that is RAM or a device's: made aside, in its memory's trees
 * while it is there, retired by the fence that took it. */

#include <stdbool.h>
#include <viommu/memory.h>

#include "base/itree.h"
#include "base/retire.h"

struct vi_region {
	struct vi_retire retire;
	struct viommu_memory *mem; /* has a reference */
	uint64_t gpa, last;
	struct vi_inode by_gpa; /* in the memory's trees of regions */
	uint32_t prot;
	bool device;
	union {
		struct {			    /* RAM */
			struct vi_inode host;	    /* where, in by_host */
			struct vi_backing *backing; /* NULL: the caller's */
		};
		struct { /* a device */
			struct viommu_device_ops ops;
			void *arg;
			uint64_t offset; /* of its first byte */
		};
	};
};

/* Copy @in and see that it can be: -EINVAL. */
int vi_region_check(struct viommu_region *c, const struct viommu_region *in);

/* Make what vi_region_check() found good.  Errors of viommu_memory_add(). */
int vi_region_make(struct viommu_memory *mem, const struct viommu_region *c,
		   struct vi_region **out);

/* One that no access has seen. */
void vi_region_free(struct vi_region *r);

/* The part of @r in [gpa, last], which it has. */
void vi_region_describe(const struct vi_region *r, uint64_t gpa, uint64_t last,
			struct viommu_region *out);

/* Let @right, which is raw storage, be the part of @r from @at on, and @r what
 * is before; neither is in a tree. */
void vi_region_split(struct vi_region *r, uint64_t at, struct vi_region *right);

#endif
