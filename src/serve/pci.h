/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_PCI_H
#define VS_PCI_H

/*
 * What a transport needs of a PCI function: its regions, by VFIO's indexes
 * (linux/vfio.h, VFIO_PCI_*_REGION_INDEX), and its interrupts (pci_irq.h).
 * All of it on the loop's thread, or before it runs.
 */

#include <viommu/serve/pci.h>

struct vs_irqs;

/* A transport takes the function.  false: another one has it. */
bool vs_pci_claim(struct viommu_pci *pci);
void vs_pci_unclaim(struct viommu_pci *pci);

struct viommu_loop *vs_pci_loop(const struct viommu_pci *pci);
struct viommu_memory *vs_pci_memory(const struct viommu_pci *pci);
struct vs_irqs *vs_pci_irqs(struct viommu_pci *pci);

/* Bytes in region @index, 0 if there is none. */
uint64_t vs_pci_region_len(const struct viommu_pci *pci, unsigned index);

/* Whether [@off, @off + @len - 1] lies in region @index; 0 bytes do if @off
 * does. */
bool vs_pci_inside(const struct viommu_pci *pci, unsigned index, uint64_t off,
		   uint64_t len);

/* Access bytes that are inside; BARs in aligned pieces of 1, 2, 4 or 8. */
void vs_pci_read(struct viommu_pci *pci, unsigned index, uint64_t off,
		 void *buf, size_t len);
void vs_pci_write(struct viommu_pci *pci, unsigned index, uint64_t off,
		  const void *buf, size_t len);

/* Make the vendor capability at @cap virtio's window into the BARs (virtio
 * 1.3, 4.1.4.9): bar, offset and length can be written, and what is accessed at
 * data is accessed there. */
void vs_pci_add_window(struct viommu_pci *pci, unsigned cap);

/* The function as after power-on, but for the client's eventfds.  @system:
 * the machine is reset, not the function alone. */
void vs_pci_reset(struct viommu_pci *pci, bool system);

/*
 * Whether the function still needs time for a reset or to end its DMA.  What
 * asked for it is answered later: vs_pci_asked() counts the accesses and resets
 * that left the function busy.
 */
bool vs_pci_is_busy(const struct viommu_pci *pci);
uint64_t vs_pci_asked(const struct viommu_pci *pci);

/* Have @task posted whenever the function is not busy any more; NULL: none. */
void vs_pci_on_idle(struct viommu_pci *pci, struct viommu_task *task);

#endif
