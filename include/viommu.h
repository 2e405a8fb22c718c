/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_H
#define VIOMMU_H

/**
 * @file
 * All of the core.  Guest interfaces and device servers are asked for by
 * name: <viommu/guest/...>, <viommu/serve/...>.
 *
 * Seven nouns: instance, memory, space, endpoint, dma, fence, notifier; two
 * values: mapping, fault.  One law: nothing is taken from a device
 * except through a fence (docs/LAW.md).
 *
 * Unless a function says otherwise: any thread may call it, it does not
 * block, it returns 0 or -errno, and on error nothing has changed.
 */

#include <viommu/dma.h>
#include <viommu/endpoint.h>
#include <viommu/fault.h>
#include <viommu/fence.h>
#include <viommu/memory.h>
#include <viommu/notifier.h>
#include <viommu/space.h>
#include <viommu/types.h>
#include <viommu/viommu.h>
#include <viommu/window.h>

#endif
