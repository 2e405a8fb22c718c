/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_VIRTIO_IOMMU_H
#define VIOMMU_SERVE_VIRTIO_IOMMU_H

/**
 * @file
 * virtio-iommu as a PCI function: puts a struct viommu_virtio behind virtio
 * queues.  The function's own rings are in guest-physical memory: an IOMMU is
 * not behind itself.
 */

#include <viommu/guest/virtio.h>
#include <viommu/serve/pci.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_virtio_iommu;

struct viommu_virtio_iommu_config {
	size_t size; /* sizeof(struct viommu_virtio_iommu_config) */
	const char *name;
	struct viommu_loop *loop;
	struct viommu *vi;
	struct viommu_memory *memory;
	uint32_t id; /* of the endpoint made for the rings, unique in @p vi */
	const struct viommu_virtio_config *virtio; /* event, arg ignored */
};

/**
 * Make the function and the struct viommu_virtio behind it.
 *
 * @param cfg names; copied
 * @param out the new function, owned by the caller
 * @return 0, -EINVAL, -EEXIST (@p id is taken), -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtio_iommu_create(const struct viommu_virtio_iommu_config *cfg,
			   struct viommu_virtio_iommu **out);

/**
 * Unmake both.  Waits for the fence: device models behind the IOMMU must let
 * go of their maps meanwhile.
 *
 * @param vio function, or NULL; its transport must have been destroyed
 *
 * Context: the loop's thread, or while it does not run; sleeps.
 */
VIOMMU_API void viommu_virtio_iommu_destroy(struct viommu_virtio_iommu *vio);

/**
 * Its PCI function, for a transport.
 *
 * @param vio function
 * @return borrowed
 *
 * Context: any thread.
 */
VIOMMU_API struct viommu_pci *
viommu_virtio_iommu_pci(struct viommu_virtio_iommu *vio);

/**
 * The device behind it: to add endpoints, and as the argument of their
 * viommu_virtio_fault() handlers.
 *
 * @param vio function
 * @return borrowed
 *
 * Context: any thread.
 */
VIOMMU_API struct viommu_virtio *
viommu_virtio_iommu_device(struct viommu_virtio_iommu *vio);

VIOMMU_END_DECLS

#endif
