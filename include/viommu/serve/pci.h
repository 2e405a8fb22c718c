/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_PCI_H
#define VIOMMU_SERVE_PCI_H

/**
 * @file
 * PCI functions: configuration space, BARs, capabilities, interrupts.  A
 * transport (<viommu/serve/vfio_user.h>) shows one to a VMM; a device model
 * (virtio, dmatest) stands behind it.  Register layouts: PCI Local Bus 3.0,
 * names of <linux/pci_regs.h>.
 */

#include <stdbool.h>
#include <viommu/serve/loop.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_pci;

struct viommu_pci_config {
	size_t size;	  /* sizeof(struct viommu_pci_config) */
	const char *name; /* for messages; copied */
	struct viommu_loop *loop;
	struct viommu *vi;
	/** what the VMM maps for this function (DMA_MAP) is added here, and
	 * taken away under a fence */
	struct viommu_memory *memory;
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code; /* 24 bits: class, subclass, interface */
	uint8_t revision;
	/** the VMM or the guest resets the function; what takes longer than
	 * the call is announced by viommu_pci_busy(); may be NULL */
	void (*reset)(void *arg);
	void *arg;
	/** called before reset() if it is the machine that is reset, or the
	 * client is gone, and not the function alone; may be NULL */
	void (*system_reset)(void *arg);
	/** the guest has changed Bus Master Enable, not by a reset; what
	 * takes longer is announced likewise; may be NULL */
	void (*bus_master)(void *arg, bool on);
	/** its endpoint was given up (viommu_pci_give_up()): what it starts is
	 * refused with -EIO; on the loop's thread; may be NULL.  Its reset
	 * calls viommu_endpoint_recover(), and is over when that was done */
	void (*given_up)(void *arg);
};

enum {
	VIOMMU_PCI_BAR_F_64 = 1u << 0,
	VIOMMU_PCI_BAR_F_PREFETCH = 1u << 1,
	VIOMMU_PCI_BAR_F_IO = 1u << 2,
};

/*
 * When DMA is over.  A function starts no DMA while Bus Master Enable is off,
 * and none for what was asked before a reset.  What the host's kernel has been
 * given already (a disk's read into guest memory) cannot be called back: until
 * it has ended the function is busy, shows so in AF_STATUS (Transactions
 * Pending), and is not finished with what made it so:
 *
 *  - the reply to a config write that clears Bus Master Enable or initiates a
 *    FLR, and the reply to DEVICE_RESET, are sent when it is not busy any more;
 *  - a client that went is followed by the next one only then.
 *
 * So whoever waits for the reply knows that no DMA is left.  A config write
 * that wants no reply tells nothing.
 */

/** An access to a BAR.  len is 1, 2, 4 or 8 and the access lies within the
 * BAR, but need not be aligned; words are little-endian. */
typedef uint64_t viommu_pci_read_fn(void *arg, uint64_t off, unsigned len);
typedef void viommu_pci_write_fn(void *arg, uint64_t off, unsigned len,
				 uint64_t val);

/**
 * Make a function without BARs, capabilities or interrupts.
 *
 * @param cfg names and callbacks; copied
 * @param out the new function, owned by the caller
 * @return 0, -EINVAL, -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_pci_create(const struct viommu_pci_config *cfg, struct viommu_pci **out);

/**
 * Unmake it; its transport must have been destroyed.
 *
 * @param pci function, or NULL
 *
 * Context: the loop's thread, or while it does not run.
 */
VIOMMU_API void viommu_pci_destroy(struct viommu_pci *pci);

/**
 * Add a BAR.
 *
 * @param pci   function
 * @param index 0 to 5; a 64-bit BAR takes the next one, too
 * @param len   a power of two, 16 or more (4 or more for I/O)
 * @param flags VIOMMU_PCI_BAR_F_*
 * @param read  called on the loop's thread
 * @param write likewise
 * @param arg   passed to both
 * @return 0, -EINVAL, -EEXIST (the index is taken)
 *
 * Context: before a transport is added.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_pci_add_bar(struct viommu_pci *pci, unsigned index, uint64_t len,
		   uint32_t flags, viommu_pci_read_fn *read,
		   viommu_pci_write_fn *write, void *arg);

/**
 * Add a capability to the list.
 *
 * @param pci  function
 * @param id   PCI_CAP_ID_*
 * @param body what follows the two header bytes; copied, read-only for guests
 * @param len  its length
 * @param off  where it was put (of the id byte); may be NULL
 * @return 0, -ENOSPC
 *
 * Context: before a transport is added.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_pci_add_capability(struct viommu_pci *pci, uint8_t id, const void *body,
			  size_t len, uint16_t *off);

/**
 * Offer MSI-X.  Table and PBA lie in a BAR that this adds.
 *
 * @param pci     function
 * @param bar     index of the BAR, 32-bit memory, 4 KiB or more
 * @param vectors 1 to 64
 * @return 0, -EINVAL, -EEXIST, -ENOSPC
 *
 * Context: before a transport is added.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_pci_add_msix(struct viommu_pci *pci, unsigned bar, unsigned vectors);

/**
 * Offer MSI (one vector, 64-bit address).
 *
 * @param pci function
 * @return 0, -EEXIST, -ENOSPC
 *
 * Context: before a transport is added.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_pci_add_msi(struct viommu_pci *pci);

/**
 * Offer the legacy interrupt, pin A.
 *
 * @param pci function
 *
 * Context: before a transport is added.
 */
VIOMMU_API void viommu_pci_add_intx(struct viommu_pci *pci);

/**
 * Interrupt the guest: MSI-X @p vector if enabled, else MSI, else assert the
 * legacy interrupt until viommu_pci_deassert().
 *
 * @param pci    function
 * @param vector MSI-X vector; ignored by the others
 *
 * Context: any thread; does not block.
 */
VIOMMU_API void viommu_pci_interrupt(struct viommu_pci *pci, unsigned vector);

/**
 * The device's reason for its legacy interrupt is gone (virtio: ISR read).
 *
 * @param pci function
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_pci_deassert(struct viommu_pci *pci);

/**
 * The function needs more time: it may still touch guest memory, though it was
 * reset or Bus Master Enable was cleared; or its reset goes on.
 *
 * @param pci function
 *
 * Context: the loop's thread, within an access or a reset.
 */
VIOMMU_API void viommu_pci_busy(struct viommu_pci *pci);

/**
 * It is done with that.
 *
 * @param pci function
 *
 * Context: the loop's thread.
 */
VIOMMU_API void viommu_pci_idle(struct viommu_pci *pci);

/**
 * Tell a function that it has not let go of guest memory in time and is given
 * up: for the expire handler of its endpoint, which then returns
 * VIOMMU_GIVE_UP.  It is on again after its reset, if by then it has let go;
 * the reset lasts until it has.
 *
 * @param pci function
 *
 * Context: any thread; does not block.  The model hears of it by given_up(),
 * not after viommu_pci_destroy().
 */
VIOMMU_API void viommu_pci_give_up(struct viommu_pci *pci);

/**
 * Look whether the guest lets the function do DMA.
 *
 * @param pci function
 * @return the command register's Bus Master Enable
 *
 * Context: any thread.
 */
VIOMMU_API bool viommu_pci_bus_master(const struct viommu_pci *pci);

VIOMMU_END_DECLS

#endif
