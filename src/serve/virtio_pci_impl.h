/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_VIRTIO_PCI_IMPL_H
#define VS_VIRTIO_PCI_IMPL_H

/*
 * What the files of virtio over PCI share: virtio_pci.c (the device's life and
 * its interrupts) and virtio_regs.c (BAR 0, the capabilities that say what is
 * where in it).
 */

#include <viommu/serve/virtio_pci.h>

#include "serve/virtio.h"

/* What the driver has set of a queue. */
struct vs_pci_queue {
	struct viommu_virtio_pci *vp;
	unsigned index;
	uint16_t len, vector;
	bool enabled;
	uint64_t desc, avail, used;
};

struct viommu_virtio_pci {
	struct viommu_virtio_dev *dev;
	struct viommu_pci *pci;

	uint8_t status, generation, isr;
	uint32_t offered_select, accepted_select;
	uint64_t accepted;
	uint16_t vector; /* of the configuration */
	uint16_t select;
	bool stray_features; /* beyond bit 63 were accepted */

	struct vs_pci_queue queues[VS_VIRTIO_QUEUES];
};

/* --------------------------------------------------------- virtio_pci.c */

/* The driver writes status. */
void vs_virtio_status_write(struct viommu_virtio_pci *vp, uint8_t val);

/* The driver enables a queue. */
void vs_pci_queue_enable(struct vs_pci_queue *q);

/* -------------------------------------------------------- virtio_regs.c */

/* Add BARs, MSI-X and capabilities to vp->pci. */
int vs_virtio_regs_add(struct viommu_virtio_pci *vp);

#endif
