/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_VIRTIO_PCI_H
#define VIOMMU_SERVE_VIRTIO_PCI_H

/**
 * @file
 * virtio over PCI (virtio 1.3, 4.1), modern only: registers, feature
 * negotiation and interrupts of a virtio device (virtio.h).
 *
 * While the model is reset the guest reads a status that is not 0 yet, and the
 * function is busy (viommu_pci_busy()), so a server does not go on with what
 * the driver wrote after the status, for a while at least: a driver that does
 * not wait for 0 loses nothing if the reset ends by then.
 *
 * A device that failed says DEVICE_NEEDS_RESET, with a configuration interrupt.
 */

#include <viommu/serve/pci.h>
#include <viommu/serve/virtio.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_virtio_pci;

/**
 * Make the PCI function of a virtio device: BAR 0 with the registers, BAR 1
 * with a MSI-X vector for the configuration and one for each queue, INTx.
 *
 * @param dev        device; stays the caller's
 * @param class_code of the function
 * @param out        the new function, owned by the caller
 * @return 0, -EINVAL (bad class code), -EBUSY (it has a transport), -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_virtio_pci_create(struct viommu_virtio_dev *dev, uint32_t class_code,
			 struct viommu_virtio_pci **out);

/**
 * Unmake it.  The device has no transport then.
 *
 * @param vp function, or NULL; its server must have been destroyed
 *
 * Context: the loop's thread, or while it does not run.
 */
VIOMMU_API void viommu_virtio_pci_destroy(struct viommu_virtio_pci *vp);

/**
 * Its PCI function, for a server.
 *
 * @param vp function
 * @return borrowed
 *
 * Context: any thread.
 */
VIOMMU_API struct viommu_pci *
viommu_virtio_pci_pci(struct viommu_virtio_pci *vp);

VIOMMU_END_DECLS

#endif
