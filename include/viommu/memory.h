/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_MEMORY_H
#define VIOMMU_MEMORY_H

/**
 * @file
 * Memory: what a guest-physical address means in this process.
 *
 * An instance has a memory of its own; more can be made where several views
 * exist (a device server learns each function's from its own socket).  Regions
 * are RAM, given by pointer or by file descriptor.  However many regions show
 * parts of one file, the file is mapped into this process once,
 * and once more each time a region needs it longer, or writable.
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
	uint32_t prot; /* READ, or READ and WRITE */
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
 *         pointer), -ENOMEM
 *
 * Context: any thread; may block in mmap(2).
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
 * Context: any thread; does not block.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_memory_remove(struct viommu_memory *mem,
						      viommu_gpa_t gpa,
						      uint64_t len,
						      struct viommu_fence *f);

/**
 * Copy out of guest memory, untranslated.  Front-ends read their tables so.
 *
 * @param mem memory
 * @param gpa where
 * @param buf to
 * @param len bytes; 0 is fine
 * @return 0, -EFAULT (some byte is not memory; @p buf may be partly written),
 *         -EAGAIN (max_pins accesses are under way)
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
 *         (max_pins accesses are under way); on error nothing was written
 *
 * Context: any thread; not atomic.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_memory_write(struct viommu_memory *mem,
						     viommu_gpa_t gpa,
						     const void *buf,
						     size_t len);

VIOMMU_END_DECLS

#endif
