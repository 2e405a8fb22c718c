/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_BACKING_H
#define VI_CORE_BACKING_H

/*
 * Backings: parts of files that are mapped into this process, each mmap(2)
 * shared by all regions of one memory that lie in it.  A peer sends the same
 * descriptor once per mapping, thousands of times; an mmap(2) each would meet
 * vm.max_map_count.  Memories share none: who shows a file in one learns and
 * changes nothing about another.
 *
 * A file of up to 64 GiB is mapped whole; of a larger one, which may be sparse,
 * the aligned blocks of 64 GiB that a region lies in.  When it has grown, a
 * region in the new part gets what is from there to the end: together no more
 * than some times the file, where mapping it whole at each step would take the
 * square.  It takes a mapping a step, though: mapping beyond the end, for steps
 * to come, would make hugetlbfs lengthen the file.  Where the address space has
 * no room for that much, the pages of the region alone are mapped.
 */

#include <viommu/memory.h>

struct vi_backing;

/*
 * The backing for @r, which has a descriptor, in @mem; and where it is.
 * -EBADF (cannot be mapped), -ERANGE (the file is shorter), -EACCES (not open
 * for that), -ENOMEM.
 */
int vi_backing_get(struct viommu_memory *mem, const struct viommu_region *r,
		   struct vi_backing **out, void **host);
/* One user more. */
void vi_backing_share(struct vi_backing *b);
void vi_backing_put(struct vi_backing *b);

#endif
