/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_MEMORY_H
#define VIOMMU_MEMORY_H

/**
 * @file
 * Memory: what a guest-physical address means in this process.
 *
 * An instance has a memory of its own; more can be made where several views
 * exist (a device server learns each function's from its own socket; each of
 * several guests has its own).  Regions are RAM, given by pointer or by file
 * descriptor, or devices, given by callbacks: DMA that leads there is
 * peer-to-peer.  However many regions of one memory show parts of one file, the
 * file is mapped into this process once, or once per 64 GiB, and once more each
 * time a region needs more of it since it has grown, or needs it writable.
 * Memories do not share what they map.
 *
 * The dirty log tells which pages devices have written: for live migration.
 * Pages are named by GPA.  Every write through the library counts: copies,
 * stores, a cas that swapped, windows, viommu_memory_write(), and of a DMA map
 * for writing what viommu_dma_unmap() says was written; as long as it is held,
 * all of it may be written at any time.  What the process writes past the
 * library does not.  Memory that is shown at two GPAs is logged where it was
 * written, but for a map whose memory is not contiguous: everywhere.
 */

#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

/**
 * Who answers where a region is a device: its memory or its registers.  Offsets
 * are the device's: see viommu_region.  An access lies within the region.  Each
 * returns 0, or -errno: the device refuses, and the access fails with -EFAULT.
 *
 * They run on the thread of the access, which holds no library lock, several at
 * once.  A fence that takes the region waits for them, so they must not wait
 * for a fence; they may do DMA in turn, up to four deep.
 */
struct viommu_device_ops {
	size_t size; /* sizeof(struct viommu_device_ops) */
	/** bytes, in any order; NULL: in words, by load and store */
	int (*read)(void *arg, uint64_t offset, void *buf, size_t len);
	int (*write)(void *arg, uint64_t offset, const void *buf, size_t len);
	/** one aligned word of 1, 2, 4 or 8 bytes, host order; NULL: by read
	 * and write, as it lies in memory, little-endian */
	int (*load)(void *arg, uint64_t offset, unsigned size, uint64_t *val);
	int (*store)(void *arg, uint64_t offset, unsigned size, uint64_t val);
};

/** One span of RAM, or of a device. */
struct viommu_region {
	size_t size; /* sizeof(struct viommu_region) */
	viommu_gpa_t gpa;
	uint64_t len;
	/** where it is; or NULL: map @p fd at @p fd_offset.  Stays the
	 * caller's, and valid until viommu_memory_remove()'s fence is done */
	void *host;
	uint32_t prot; /* READ, WRITE or both */
	int32_t fd;    /* without @p host; not kept: may be closed on return */
	uint64_t fd_offset; /* any; need not be page aligned */
	/** not NULL: a device answers, and there is no host and no fd; copied.
	 * Its offset of the first byte is @p fd_offset.  @p arg is passed to
	 * it, and valid as a host would be */
	const struct viommu_device_ops *device;
	void *arg;
};

/** What moves: see viommu_memory_move(). */
struct viommu_move {
	size_t size; /* sizeof(struct viommu_move) */
	/** Copy one piece: @p from and @p to have the same gpa and len, and are
	 * where its old and new bytes are (or which device has them: host is
	 * NULL then).  Nobody writes to either through the library.  NULL: the
	 * library copies, by memcpy and by the devices' calls.
	 * @return 0, or -errno: the move is off */
	int (*copy)(void *arg, const struct viommu_region *from,
		    const struct viommu_region *to);
	/** It has happened (0), or is off, and what is mapped leads where it
	 * did: what copy answered, or a device that was to be read or written,
	 * what a notifier answered who was told of the new place, -EACCES (a
	 * device cannot be read, or written), -ETIMEDOUT (a map or access did
	 * not end in time) or -ECANCELED (the memory was destroyed).  Once,
	 * before the fence is done; or NULL */
	void (*moved)(void *arg, int rc);
	void *arg;
	/** how long a map or access that is in the way is waited for; 0: the
	 * instance's fence timeout; UINT64_MAX: for ever.  Who reads in the
	 * old place has the time of the caller's fence */
	uint64_t timeout_ns;
	uint64_t reserved[2]; /* 0 */
	/** what shall be at to.gpa in the place of what is there */
	struct viommu_region to;
};

/**
 * The memory that the instance was born with.
 *
 * @param vi instance
 * @return borrowed, as long as @p vi lives
 *
 * Context: any thread.
 */
VIOMMU_API struct viommu_memory *viommu_memory_of(struct viommu *vi);

/**
 * Make a further, empty memory.
 *
 * @param vi  instance
 * @param out the new memory, owned by the caller
 * @return 0, -ENOMEM
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_memory_create(struct viommu *vi, struct viommu_memory **out);

/**
 * Remove all regions and unmake it.  The handle is dead on return.
 *
 * @param mem from viommu_memory_create(); no endpoint that is not destroyed
 *            names it, and no call does that is under way
 * @param f   fence: once done nobody touches its regions
 *
 * Context: any thread; cannot fail.
 */
VIOMMU_API void viommu_memory_destroy(struct viommu_memory *mem,
				      struct viommu_fence *f);

/**
 * Add a region.
 *
 * @param mem memory
 * @param r   the region; copied
 * @return 0, -EEXIST (overlaps another), -EINVAL (empty, wraps, unknown prot,
 *         neither host nor fd nor device, a device that cannot do what prot
 *         says or with a host, or a callback from a later version),
 *         -ERANGE (the file is too short), -EACCES (the fd lacks what prot
 *         wants), -EBADF (the fd is no regular file that can be mapped),
 *         -EOVERFLOW (gpa is 2^55 or more away from its pointer), -ENOMEM, or
 *         what a notifier answered
 *
 * Context: any thread; may block in mmap(2); notifiers are told here.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_memory_add(struct viommu_memory *mem, const struct viommu_region *r);

/**
 * Take away every region inside [gpa, gpa + len - 1].
 *
 * @param mem memory
 * @param gpa first byte
 * @param len bytes; 0: to the top, 2^64
 * @param f   fence: once done nobody touches the regions' host memory, and
 *            what the library had mapped is unmapped
 * @return 0, -ENOENT (no region there), -ERANGE (would cut a region),
 *         -EBUSY (some of it is being moved), -EINVAL (wraps); on error nothing
 *         has changed
 *
 * Context: any thread; notifiers are told here, and may sleep.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_memory_remove(struct viommu_memory *mem,
						      viommu_gpa_t gpa,
						      uint64_t len,
						      struct viommu_fence *f);

/**
 * Give pages up: take exactly [gpa, gpa + len - 1] away, also out of the middle
 * of a region, whose rest stays as it is and is not disturbed.  Who uses some
 * of it, and nobody else, is told, and the fence waits for them: accesses and
 * maps of any endpoint with this memory, of which those with revoke are asked
 * and find in viommu_dma what of theirs goes; windows, which look again;
 * notifiers.  Once the fence is done the pages may be recycled.
 *
 * @param mem memory
 * @param gpa first byte, any
 * @param len bytes; holes within are fine
 * @param f   fence: once done nobody touches what was there
 * @return 0, -ENOENT (nothing there), -EBUSY (some of it is being moved),
 *         -EINVAL (len 0, or wraps), -ENOMEM; on error nothing has changed
 *
 * Context: any thread; allocates unless it cuts nothing; notifiers are told
 * here, and may sleep.  It takes the same time however much is mapped.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_memory_give_up(struct viommu_memory *mem, viommu_gpa_t gpa, uint64_t len,
		      struct viommu_fence *f);

/**
 * Let a range of GPA be somewhere else from now on: in other RAM, or in a
 * device, or in RAM again, while devices go on.
 *
 * First those wait who want to map it for writing, until such maps that were
 * there before are gone; those with revoke are asked.  Then all other writes
 * wait, too, for those under way.  The old bytes are copied to the new place,
 * that is published, and those who wait go on there.  Reads, and maps for
 * reading, go on all the time, in the old place or in the new.  So no write is
 * lost, nor lands in the old place afterwards; writes and words wait for the
 * copy, and not for whoever holds a map.
 *
 * How long a map is waited for is bounded: when the time is over, the endpoint
 * that still holds on is asked what to do (L9, endpoint.h); if it is given up
 * the move is off.  Each move has a time of its own: several of one range, one
 * right after the other, may keep somebody waiting for all of them.
 *
 * Some do not wait, but fail with -EBUSY, to be tried again: accesses of an
 * endpoint with VIOMMU_ENDPOINT_NONBLOCK; accesses in a callback of a device, a
 * copy, an expiry or a revocation; and a map, if its thread or its endpoint
 * holds another that the move waits for: once that is let go of.  An access
 * whose bytes lie in several pieces begins anew after it had to wait, and may
 * have been at a device before.  A device behind a notifier's shadow cannot
 * wait; it faults.  RAM that is shown at another GPA, too, must not be written
 * there meanwhile: nobody waits for that.
 *
 * Regions are cut at the ends of the range, and stay so if the move is off;
 * else what moved is one region.
 *
 * @param mem memory
 * @param m   what, and how; copied
 * @param f   fence: held until it is over; once done nobody touches what was
 *            there before, or, if the move is off, what should have come
 * @return 0 (it is under way, or over: moved is called), -ENOENT (some of the
 *         range is not memory), -EBUSY (some of it is being moved), -EINVAL as
 *         viommu_memory_add(), or the new place overlaps the old one, -EACCES
 *         as there, or the library cannot copy to what it may only read,
 *         -ERANGE, -EBADF and -EOVERFLOW as viommu_memory_add(), -ENOMEM; on
 *         error nothing has changed
 *
 * Context: any thread that is in no burst, access or device callback; does not
 * wait for accesses.  copy and moved run here, or on the thread whose access,
 * map or hold was the last in the way, or that polls or waits, with no library
 * lock held; they must not wait for a fence, nor write to the range through the
 * library.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_memory_move(struct viommu_memory *mem,
						    const struct viommu_move *m,
						    struct viommu_fence *f);

/**
 * Find the first region whose last byte is at or after @p gpa: the iterator.
 *
 * @param mem memory
 * @param gpa where to start looking
 * @param out size is set; a copy of the region, whose host is where it is, also
 *            if it came by fd, which is then -1; of a device, host is NULL and
 *            device not, but not to be called.  What is being moved is left
 *            out while it is neither here nor there
 * @return 0, -ENOENT (none), -EINVAL (size is that of a later version)
 *
 * Context: any thread.  The region may be gone by the time it is read: only a
 * notifier of an endpoint with this memory may keep its pointer, until it is
 * told that it goes.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_memory_next(struct viommu_memory *mem,
						    viommu_gpa_t gpa,
						    struct viommu_region *out);

/**
 * Copy out of guest memory, untranslated.  Front-ends read their tables so.
 *
 * @param mem memory
 * @param gpa where
 * @param buf to
 * @param len bytes; 0 is fine
 * @return 0, -EFAULT (some byte is not memory, or may not be read, or a device
 * refuses; @p buf may be partly written), -EAGAIN (max_threads other threads do
 * DMA), -ELOOP as viommu_dma_read()
 *
 * Context: any thread; not atomic.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_memory_read(struct viommu_memory *mem,
						    viommu_gpa_t gpa, void *buf,
						    size_t len);

/**
 * Copy into guest memory, untranslated.
 *
 * @param mem memory
 * @param gpa where
 * @param buf from
 * @param len bytes; 0 is fine
 * @return 0, -EFAULT (some byte is not memory, or a device refuses), -EACCES
 *         (read-only), -EAGAIN (max_threads other threads do DMA), -ELOOP and
 *         -EBUSY as viommu_dma_write(); on error nothing was written, unless a
 *         device refused
 *
 * Context: any thread; not atomic; waits while the memory is moved.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_memory_write(struct viommu_memory *mem,
						     viommu_gpa_t gpa,
						     const void *buf,
						     size_t len);

/**
 * Start the dirty log: once the fence is done, every write is logged.  So copy
 * all memory after that, and then what is fetched.
 *
 * @param mem       memory; regions that are added later are logged, too
 * @param page_size what a bit is for: a power of two from 4096 up; 0: 4096
 * @param f         fence: once done no access is under way that began without
 *                  the log; maps that are held are not waited for
 * @return 0, -EBUSY (there is one), -EINVAL (page_size), -ENOMEM; while it is
 *         on, viommu_memory_add() may be out of memory for it, and unmapping
 *         after writing takes the memory's lock
 *
 * Context: any thread.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_memory_dirty_start(struct viommu_memory *mem, uint64_t page_size,
			  struct viommu_fence *f);

/**
 * Stop the dirty log, if it is on.  What has not been fetched is lost.
 *
 * @param mem memory
 * @param f   fence: once done what the log took is freed; maps that are held
 *            are not waited for
 *
 * Context: any thread; cannot fail.
 */
VIOMMU_API void viommu_memory_dirty_stop(struct viommu_memory *mem,
					 struct viommu_fence *f);

/**
 * Mark pages as written, by somebody who does not go through the library: a
 * device behind a host IOMMU.  Without a log, and where no memory is, nothing
 * happens.
 *
 * @param mem memory
 * @param gpa first byte
 * @param len bytes; 0 is fine
 *
 * Context: any thread, also a notifier's callback.
 */
VIOMMU_API void viommu_memory_dirty_mark(struct viommu_memory *mem,
					 viommu_gpa_t gpa, uint64_t len);

/**
 * Fetch which pages were written since the last fetch, and clear them in the
 * log.  Copy the pages afterwards: what is written to one later is logged
 * again, so nothing is missed.  A page that is mapped for writing right now is
 * reported by each fetch until it is unmapped, and once more if it was written.
 * A region's bits go with the region when it is removed; one that is added
 * begins with none.
 *
 * @param mem    memory
 * @param gpa    first byte, a multiple of the page size
 * @param len    bytes, likewise; there need not be memory everywhere
 * @param bitmap bit n % 64 of word n / 64 is set if page n of the range is
 *               dirty; (len / page size + 63) / 64 words
 * @return how many are; -ENOENT (no log), -EINVAL (not aligned, len 0, or
 *         wraps)
 *
 * Context: any thread; notifiers are asked here; holds up unmaps that wrote,
 * and other changes of @p mem, for some milliseconds per TiB; may take a
 * membarrier(2).
 */
VIOMMU_API VIOMMU_MUST_CHECK int64_t
viommu_memory_dirty_fetch(struct viommu_memory *mem, viommu_gpa_t gpa,
			  uint64_t len, uint64_t *bitmap);

VIOMMU_END_DECLS

#endif
