/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_FAULT_H
#define VI_CORE_FAULT_H

#include <viommu/fault.h>

struct viommu_endpoint;
struct vi_pin;

/*
 * Count and report a refused access, and let go of its pin: the handler runs
 * while the pin still stands for the endpoint, and for nothing else.
 */
void vi_fault_report(struct viommu_endpoint *ep, struct vi_pin *pin,
		     const struct viommu_fault *fault);

#endif
