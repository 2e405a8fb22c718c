/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_DMA_DETOUR_H
#define VI_DMA_DETOUR_H

/* Where a memory's table leads to no RAM that would do: a device answers, or
 * the memory is being moved.  The caller has a pin that names the memory. */

#include "core/memory.h"
#include "core/pin.h"

/*
 * What is at @gpa: 0, a device that has @prot, of *len bytes no more than
 * *len; VI_ACCESS_MOVING (vi_detour_wait()); VI_ACCESS_AGAIN, it has changed
 * just now; -EACCES, -EFAULT.
 */
int vi_detour_find(struct viommu_memory *mem, uint64_t gpa, uint64_t *len,
		   uint32_t prot);

/* Let the device answer: 0, -EFAULT (it refuses), -ELOOP, or, if that is no
 * device any more, VI_ACCESS_AGAIN.  @len is what vi_detour_find() found. */
int vi_detour_copy(struct viommu_memory *mem, uint64_t gpa, char *buf,
		   uint64_t len, uint32_t prot);

/* Likewise one word, in host order; also -EINVAL: it is no aligned word
 * there, all of it. */
int vi_detour_word(struct viommu_memory *mem, uint64_t gpa, unsigned size,
		   uint64_t *val, uint32_t prot);

/* @gpa is being moved: wait, with nothing but the endpoint in @pin, if it is
 * not NULL; then drop it.  VI_ACCESS_AGAIN; -EBUSY: this thread must not. */
int vi_detour_wait(struct viommu_memory *mem, uint64_t gpa, struct vi_pin *pin);

#endif
