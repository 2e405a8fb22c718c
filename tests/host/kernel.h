/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_HOST_KERNEL_H
#define TESTS_HOST_KERNEL_H

/*
 * A kernel's IOMMU interfaces at the ioctl boundary: VFIO type 1 version 2, and
 * iommufd.  The linker puts it in the place of ioctl().  It keeps the rules of
 * the real ones, counts, fails when it is told to, and complains (`broken`) of
 * a call that no correct caller makes: one that cuts an entry, overlaps one, or
 * is malformed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kernel_kind {
	KERNEL_TYPE1,
	KERNEL_IOMMUFD,
};

enum {
	KERNEL_PAGE = 4096,
	KERNEL_IOAS = 11,
	KERNEL_HWPT = 22,
	KERNEL_RANGES = 6,
};

enum kernel_call {
	KERNEL_MAP,
	KERNEL_UNMAP,
	KERNEL_LOG,
	KERNEL_FETCH,
	KERNEL_INFO,
	KERNEL_CALLS,
};

struct kernel_entry {
	uint64_t iova, size;
	char *host;
	uint32_t prot;	      /* READ 1, WRITE 2, as the library's */
	unsigned char *dirty; /* a byte for each page; while logging */
};

struct kernel_range {
	uint64_t start, last;
};

struct kernel {
	enum kernel_kind kind;
	int fd; /* names it to ioctl() */
	/* what it offers; as kernel_init() sets it, or as changed before use */
	bool caps, has_avail, unmap_all, migration;
	uint64_t pgsizes, alignment;
	uint64_t limit;	  /* entries */
	uint64_t memlock; /* bytes */
	uint64_t max_bitmap;
	struct kernel_range ranges[KERNEL_RANGES];
	unsigned nranges;
	/* bytes of GET_INFO's answer that are written over: 0: none */
	unsigned garble_at;
	uint32_t garble;

	struct kernel_entry *entries; /* sorted */
	size_t n, room;
	uint64_t pinned;
	bool logging;
	unsigned calls[KERNEL_CALLS];
	unsigned broken;
	uint64_t last_unmap; /* size of the last that succeeded */
	unsigned unmap_alls;

	/* the next calls of one kind fail: let `skip` pass, fail `times` */
	enum kernel_call fail;
	unsigned skip, times;
	int err;
	unsigned flaky; /* so many unmaps fail, as many do not, ...; 0: none */
};

void kernel_init(struct kernel *k, enum kernel_kind kind);
void kernel_fini(struct kernel *k);

void kernel_fail(struct kernel *k, enum kernel_call call, unsigned skip,
		 unsigned times, int err);

/* What the device finds at @iova; NULL: it faults. */
const struct kernel_entry *kernel_find(const struct kernel *k, uint64_t iova);
/* The device writes there: where; NULL: it faults. */
char *kernel_write(struct kernel *k, uint64_t iova);

#endif
