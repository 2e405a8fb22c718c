/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_FAULT_H
#define VI_CORE_FAULT_H

#include <viommu/fault.h>

/* An access of @ep, which lives, was refused. */
void vi_fault_count(struct viommu_endpoint *ep);

#endif
