/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_VIRTIO_PCI_IMPL_H
#define VS_VIRTIO_PCI_IMPL_H

/*
 * What the files of virtio over PCI share: virtio_pci.c (the device's life, its
 * queues and interrupts) and virtio_regs.c (BAR 0, the capabilities that say
 * what is where in it).
 */

#include <stdatomic.h>
#include <viommu/serve/virtio_pci.h>

enum {
	VS_VIRTIO_QUEUES = 16,
	VS_VIRTIO_CONFIG_MAX = 4096, /* of the model's space */
};

struct vs_virtio_queue {
	struct viommu_virtio_pci *vp;
	unsigned index;
	struct viommu_virtqueue *vq;
	uint16_t len, vector;
	bool enabled, started;
	uint64_t desc, avail, used;
	struct viommu_task again; /* notify the model */
	struct viommu_timer retry;
};

struct viommu_virtio_pci {
	struct viommu_virtio_pci_config cfg;
	struct viommu_pci *pci;
	uint64_t offered;

	bool resetting;
	bool quiescing; /* bus mastering is off, DMA is not over yet */
	uint8_t status, generation, isr;
	struct viommu_timer recover; /* the endpoint, to end a reset */
	uint32_t offered_select, accepted_select;
	uint64_t accepted;
	uint16_t vector; /* of the configuration */
	uint16_t select;
	bool stray_features; /* beyond bit 63 were accepted */
	_Atomic(const char *) failure;

	struct vs_virtio_queue queues[VS_VIRTIO_QUEUES];
};

/* --------------------------------------------------------- virtio_pci.c */

/* The driver writes status. */
void vs_virtio_status_write(struct viommu_virtio_pci *vp, uint8_t val);

/* The driver enables a queue, or says that there is something in it. */
void vs_virtio_queue_enable(struct vs_virtio_queue *q);
void vs_virtio_queue_notify(struct vs_virtio_queue *q);

/* -------------------------------------------------------- virtio_regs.c */

/* Add BARs, MSI-X and capabilities to vp->pci. */
int vs_virtio_regs_add(struct viommu_virtio_pci *vp);

#endif
