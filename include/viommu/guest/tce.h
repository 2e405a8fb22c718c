/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_GUEST_TCE_H
#define VIOMMU_GUEST_TCE_H

/**
 * @file
 * The IOMMU of a pseries machine (PAPR): tables of translation control entries
 * (TCEs) that the guest fills by hypervisor calls, and windows on the bus,
 * which it makes by firmware calls.  Numbers in, numbers out.
 *
 * A bus is what its devices see: one space (viommu_tce_space()), in which each
 * window is a range.  A window has pages of one size, an entry a page.  A bus
 * begins with the default window, of 4 KiB pages; with dynamic windows the
 * guest may have a second one beside it, or in its place, with pages of its
 * own, and devices see both.
 *
 * The law: a call that takes access away, of what was mapped or by way of a
 * window, is over when its fence is done.  If nothing is in flight the call
 * returns its code at once; else it returns VIOMMU_PENDING, the embedder
 * suspends that vCPU and no other, and done() brings the code.  A PUT that maps
 * what was not mapped takes nothing, and never waits.
 *
 * Not for ever, if the embedder lets deadlines pass (viommu_poll()): when an
 * endpoint in the way is given up, the code is H_HARDWARE, or HW_ERROR from
 * firmware, and never success.  To the guest that says: the entry is what it
 * was to be, but the device that was given up may still touch what it touched,
 * until it has been reset.
 *
 * Where PAPR leaves room: H_STUFF_TCE takes a value with permissions and maps
 * each page of its range there; H_PUT_TCE_INDIRECT reads its list before it
 * changes anything; whether memory is behind an entry each access asks, since
 * that may come and go.
 */

#include <viommu/fence.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_tce;

/** Hypervisor calls that are served, as in the guest's R3. */
enum {
	VIOMMU_H_GET_TCE = 0x1c,	   /* liobn, ioba */
	VIOMMU_H_PUT_TCE = 0x20,	   /* liobn, ioba, tce */
	VIOMMU_H_STUFF_TCE = 0x138,	   /* liobn, ioba, tce, pages */
	VIOMMU_H_PUT_TCE_INDIRECT = 0x13c, /* liobn, ioba, list, pages */
};

/** Their codes. */
enum {
	VIOMMU_H_SUCCESS = 0,
	VIOMMU_H_HARDWARE = -1,
	VIOMMU_H_FUNCTION = -2,
	VIOMMU_H_PARAMETER = -4,
	VIOMMU_H_NOT_ENOUGH_RESOURCES = -44,
};

/** Firmware calls (RTAS) that are served.  Their tokens are the embedder's. */
enum {
	VIOMMU_RTAS_QUERY_PE_DMA_WINDOW,  /* ibm,query-pe-dma-window */
	VIOMMU_RTAS_CREATE_PE_DMA_WINDOW, /* ibm,create-pe-dma-window */
	VIOMMU_RTAS_REMOVE_PE_DMA_WINDOW, /* ibm,remove-pe-dma-window */
	VIOMMU_RTAS_RESET_PE_DMA_WINDOW,  /* ibm,reset-pe-dma-window */
};

/** Their statuses. */
enum {
	VIOMMU_RTAS_SUCCESS = 0,
	VIOMMU_RTAS_HW_ERROR = -1,
	VIOMMU_RTAS_PARAM_ERROR = -3,
};

/** Sizes of pages, as firmware numbers them. */
enum {
	VIOMMU_TCE_4K = 1u << 0,
	VIOMMU_TCE_64K = 1u << 1,
	VIOMMU_TCE_16M = 1u << 2,
	VIOMMU_TCE_32M = 1u << 3,
	VIOMMU_TCE_64M = 1u << 4,
	VIOMMU_TCE_128M = 1u << 5,
	VIOMMU_TCE_256M = 1u << 6,
	VIOMMU_TCE_16G = 1u << 7,
	VIOMMU_TCE_2M = 1u << 8,
};

/** In the place of a code: it comes by done().  No call has this code. */
#define VIOMMU_PENDING INT64_MAX

struct viommu_tce_config {
	size_t size; /* sizeof(struct viommu_tce_config) */
	/** where lists of H_PUT_TCE_INDIRECT are; NULL: viommu_memory_of() */
	struct viommu_memory *memory;
	uint64_t max_entries; /* of a window; 0: 2^20, at most 2^32 */
	uint32_t max_buses;   /* 0: 256, at most 65,536 */
	uint32_t reserved;    /* 0 */
};

/** A bus: a PCI host bridge, or a virtual one. */
struct viommu_tce_bus {
	size_t size;   /* sizeof(struct viommu_tce_bus) */
	uint64_t buid; /* its name for firmware calls */
	/** of its default window; of a second one: the next */
	uint32_t liobn;
	/** VIOMMU_TCE_4K ... that dynamic windows may have; 0: there are none,
	 * and firmware calls are refused */
	uint32_t page_sizes;
	uint64_t window_start; /* the default window, of 4 KiB pages */
	uint64_t window_size;  /* 0: 1 GiB */
	/** of a dynamic window beside another; 0: 2^59 */
	uint64_t dynamic_start;
};

/** One call of a vCPU's.  The caller's storage: free for the next call when a
 * code was returned; after VIOMMU_PENDING, with done() or, if that is set,
 * release(). */
struct viommu_tce_call {
	/** the call is over, after VIOMMU_PENDING only, though maybe before
	 * that was seen; on whichever thread lets the last user of a mapping go
	 * or polls; must not block.  May reuse @p call if release is NULL. */
	void (*done)(struct viommu_tce_call *call, int64_t code);
	/** called once, after done() has returned: @p call may be reused.  At
	 * once as a rule; when its fence is done, if it failed before that.  As
	 * done() in all else.  NULL: there is no place to stay, so the code
	 * waits for the fence, however long that takes. */
	void (*release)(struct viommu_tce_call *call);
	void *arg;
	uint64_t value; /* of H_GET_TCE, for the guest's R4 */
	uint64_t opaque[64];
};

/** A firmware call: 32-bit cells in host order. */
struct viommu_tce_rtas {
	uint32_t call; /* VIOMMU_RTAS_... */
	uint32_t nargs;
	uint32_t nrets; /* with the status, which is the first */
	uint32_t reserved;
	const uint32_t *args;
	/** written before the call is over, and left alone from there on */
	uint32_t *rets;
};

/** What guests asked for. */
struct viommu_tce_stats {
	uint64_t hcalls;
	uint64_t rtas;
	uint64_t refused; /* of both: a code other than success */
	uint64_t entries; /* that were put */
	uint64_t waiting; /* calls whose fence is not done */
	uint64_t failed;  /* calls that a device did not let go of in time */
};

/**
 * Make the machine's IOMMU, without a bus.
 *
 * @param vi  instance
 * @param cfg limits; copied; NULL means defaults
 * @param out the new IOMMU, owned by the caller
 * @return 0, -EINVAL (an option from a later version, or a limit above what
 *         there can be), -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_tce_create(struct viommu *vi, const struct viommu_tce_config *cfg,
		  struct viommu_tce **out);

/**
 * Unmake it and its buses.  The handle is dead on return; calls that wait are
 * over before the fence is done.
 *
 * @param t IOMMU, or NULL
 * @param f fence: once done nobody touches what was mapped
 *
 * Context: no other call into @p t is running or will be made.
 */
VIOMMU_API void viommu_tce_destroy(struct viommu_tce *t,
				   struct viommu_fence *f);

/**
 * Add a bus with its default window, all entries zero.
 *
 * @param t   IOMMU
 * @param bus its name and windows; copied
 * @return 0, -EINVAL (an option from a later version, an unknown page size, or
 *         a default window off the page, that wraps, meets the dynamic one, or
 *         has more than max_entries), -EEXIST (buid or one of its two liobns
 *         taken), -ENOSPC (max_buses, or the instance's limit of tables),
 *         -ENOMEM
 *
 * Context: any thread; calls of vCPUs wait meanwhile.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_tce_add_bus(struct viommu_tce *t, const struct viommu_tce_bus *bus);

/**
 * Remove a bus: its windows are gone, its endpoints see nothing.
 *
 * @param t    IOMMU
 * @param buid its name
 * @param f    fence
 * @return 0, -ENOENT (no such bus)
 *
 * Context: any thread; calls of vCPUs wait meanwhile.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_tce_remove_bus(struct viommu_tce *t,
						       uint64_t buid,
						       struct viommu_fence *f);

/**
 * Tell what devices on a bus see: attach their endpoints to it.
 *
 * @param t    IOMMU
 * @param buid the bus
 * @return its space: borrowed, until the bus is removed, only to be looked at
 *         and attached to; NULL if there is no such bus
 *
 * Context: any thread.
 */
VIOMMU_API struct viommu_space *viommu_tce_space(struct viommu_tce *t,
						 uint64_t buid);

/**
 * Fill the device tree's ibm,dma-window: the default window.
 *
 * @param t     IOMMU
 * @param buid  the bus
 * @param cells liobn, start (high, low), size (high, low), in host order
 * @return 0, -ENOENT (no such bus)
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_tce_dma_window(struct viommu_tce *t, uint64_t buid, uint32_t cells[5]);

/**
 * Carry out a hypervisor call.
 *
 * @param t      IOMMU
 * @param opcode VIOMMU_H_...; any other is H_FUNCTION
 * @param args   the guest's R4 to R7
 * @param call   done is set
 * @return VIOMMU_PENDING, or what the guest is answered at once: H_PARAMETER
 *         for a liobn that nobody has, an address outside its window, no pages
 *         or too many, a list off its page or that is no memory;
 *         H_NOT_ENOUGH_RESOURCES for a limit of ours, or a want of memory;
 *         H_HARDWARE for what a notifier refused.  Entries before the one that
 *         was refused stay put
 *
 * Context: any thread, any number at once.  Calls on different entries share no
 * lock here, and on a bus without dynamic windows none in its LINEAR space, but
 * for 64 entries in a row; on one with them they take turns at the space, and a
 * PUT may have to make tables.
 */
VIOMMU_API VIOMMU_MUST_CHECK int64_t
viommu_tce_hcall(struct viommu_tce *t, uint64_t opcode, const uint64_t args[4],
		 struct viommu_tce_call *call);

/**
 * Carry out a firmware call.
 *
 * @param t    IOMMU
 * @param rtas the call and its cells; copied, but for the cells
 * @param call done is set
 * @return VIOMMU_PENDING, or what the guest is answered at once, in the first
 *         cell, too: PARAM_ERROR for wrong numbers of cells, a bus that is not
 *         known or has no dynamic windows, no window of that liobn, a size of
 *         pages that is not allowed, or shifts that do not fit; HW_ERROR for a
 *         third window, or one that is too large
 *
 * Context: any thread; calls of vCPUs wait meanwhile, but not for what is in
 * flight.
 */
VIOMMU_API VIOMMU_MUST_CHECK int64_t
viommu_tce_rtas(struct viommu_tce *t, const struct viommu_tce_rtas *rtas,
		struct viommu_tce_call *call);

/**
 * System reset: each bus has its default window, of which all entries are zero.
 *
 * @param t IOMMU
 * @param f fence
 *
 * Context: any thread; cannot fail; calls of vCPUs wait meanwhile.
 */
VIOMMU_API void viommu_tce_reset(struct viommu_tce *t, struct viommu_fence *f);

/**
 * Write the state in the portable form "viommu tce 1": windows and entries.
 *
 * @param t   IOMMU that no call changes meanwhile
 * @param buf to; NULL with @p len 0 asks for the size
 * @param len its size
 * @return the size of the state; if larger than @p len nothing was written
 *
 * Context: any thread.
 */
VIOMMU_API size_t viommu_tce_save(struct viommu_tce *t, void *buf, size_t len);

/**
 * Restore a state, in the place of the windows and entries that there are.
 *
 * @param t   IOMMU with the same buses as the one that was saved
 * @param buf from viommu_tce_save(), by any version up to this one
 * @param len its size
 * @param f   fence: for what was there
 * @return 0, -EINVAL (not such a state, cut short, or damaged), -EOPNOTSUPP
 *         (of a later version), -ENOENT (of other buses), -ERANGE (a window
 *         does not fit its bus); nothing has changed.  -ENOMEM and -ENOSPC, or
 *         what a notifier answered: it is as after a reset, and @p f has to be
 *         committed
 *
 * Context: any thread; calls of vCPUs wait meanwhile; hostile input is fine.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_tce_load(struct viommu_tce *t,
						 const void *buf, size_t len,
						 struct viommu_fence *f);

/**
 * Read the counters.
 *
 * @param t   IOMMU
 * @param out each counter is exact; together they are not a snapshot
 *
 * Context: any thread.
 */
VIOMMU_API void viommu_tce_read_stats(struct viommu_tce *t,
				      struct viommu_tce_stats *out);

VIOMMU_END_DECLS

#endif
