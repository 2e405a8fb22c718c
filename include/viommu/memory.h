/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_MEMORY_H
#define VIOMMU_MEMORY_H

/**
 * @file
 * Memory: what a guest-physical address means in this process.
 *
 * An instance has a memory of its own; more can be made where several views
 * exist (a device server learns each function's from its own socket).  Regions
 * are RAM, given by pointer or by file descriptor.  However many regions of one
 * memory show parts of one file, the file is mapped into this process once, or
 * once per 64 GiB, and once more each time a region needs more of it since it
 * has grown, or needs it writable.  Memories do not share what they map.
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

/** One span of RAM. */
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
 *            names it
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
 *         or neither host nor fd), -ERANGE (the file is too short), -EACCES
 *         (the fd lacks what prot wants), -EBADF (the fd is no regular file
 *         that can be mapped), -EOVERFLOW (gpa is 2^55 or more away from its
 *         pointer), -ENOMEM, or what a notifier answered
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
 *         -EINVAL (wraps); on error nothing has changed
 *
 * Context: any thread; notifiers are told here, and may sleep.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_memory_remove(struct viommu_memory *mem,
						      viommu_gpa_t gpa,
						      uint64_t len,
						      struct viommu_fence *f);

/**
 * Find the first region whose last byte is at or after @p gpa: the iterator.
 *
 * @param mem memory
 * @param gpa where to start looking
 * @param out size is set; a copy of the region, whose host is where it is, also
 *            if it came by fd, which is then -1
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
 * @return 0, -EFAULT (some byte is not memory, or may not be read; @p buf may
 * be partly written), -EAGAIN (max_threads other threads do DMA)
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
 * @return 0, -EFAULT (some byte is not memory), -EACCES (read-only), -EAGAIN
 *         (max_threads other threads do DMA); on error nothing was written
 *
 * Context: any thread; not atomic.
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
