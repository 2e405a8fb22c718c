/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_DEVICE_H
#define VI_CORE_DEVICE_H

/* Calls of a device that answers in the place of RAM: bytes where it has words,
 * and words where it has bytes.  0, or what it answered. */

#include <stdbool.h>
#include <viommu/memory.h>

int vi_device_read(const struct viommu_device_ops *ops, void *arg,
		   uint64_t offset, void *buf, uint64_t len);
int vi_device_write(const struct viommu_device_ops *ops, void *arg,
		    uint64_t offset, const void *buf, uint64_t len);
int vi_device_load(const struct viommu_device_ops *ops, void *arg,
		   uint64_t offset, unsigned size, uint64_t *val);
int vi_device_store(const struct viommu_device_ops *ops, void *arg,
		    uint64_t offset, unsigned size, uint64_t val);

/* This thread is about to call one for an access: a device that does DMA to a
 * device that does DMA ends somewhere.  False: here. */
bool vi_device_enter(void);
void vi_device_exit(void);

#endif
