/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_BACKING_H
#define VI_CORE_BACKING_H

/*
 * Backings: files mapped into this process, one mmap(2) each however many
 * regions show parts of them.  A peer sends the same descriptor once per
 * mapping, thousands of times; a mapping each would meet vm.max_map_count.
 */

#include <stdbool.h>
#include <stdint.h>

struct viommu;
struct vi_backing;

/*
 * The backing of @fd that reaches @reach bytes and can be written if @write.
 * -EBADF (cannot be mapped), -ERANGE (shorter than @reach), -EACCES (not open
 * for that), -ENOMEM.
 */
int vi_backing_get(struct viommu *vi, int fd, uint64_t reach, bool write,
		   struct vi_backing **out);
void vi_backing_put(struct vi_backing *b);
void *vi_backing_at(struct vi_backing *b, uint64_t offset);

#endif
