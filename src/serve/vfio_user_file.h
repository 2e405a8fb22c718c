/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_VFIO_USER_FILE_H
#define VS_VFIO_USER_FILE_H

/*
 * The files a client gives as memory: which are fit, and how much of this
 * process' address space they may take.  A file is mapped whole and once, and
 * once more when it has grown, so what counts is files, not maps: with each map
 * comes a descriptor, which nobody keeps.
 */

#include <stdbool.h>
#include <stdint.h>

enum {
	/* of one client at a time; and as often they may have grown: a process
	 * has room for some 65,000 mappings (vm.max_map_count), and others
	 * need theirs */
	VS_FILES = 256,
};

/* All files together: 16 TiB, an eighth of a 47-bit address space. */
#define VS_FILES_BYTES (UINT64_C(1) << 44)

struct vs_file {
	uint64_t dev, ino;
	uint64_t len;	  /* the longest it has been */
	uint64_t charged; /* of the budget: for each time it grew */
	uint64_t maps;	  /* 0: the place is free */
	unsigned grown;	  /* so many times */
};

struct vs_files {
	struct vs_file file[VS_FILES];
	unsigned n;	/* places in use, or free below one in use */
	unsigned grown; /* all together */
	uint64_t bytes;
};

/* Whether an access to it waits for nobody. */
bool vs_file_in_memory(int fd);

/*
 * One more map shows @fd, whose file is *@out until as many have ceased to:
 * -EBADF (not in memory: an access could wait for a disk, a network or the
 * client itself, and a fence with it), -ENOSPC (too many files, too long, or
 * grown too often).
 */
int vs_files_get(struct vs_files *files, int fd, struct vs_file **out);

/* One map less does. */
void vs_files_put(struct vs_files *files, struct vs_file *file);

/* Is @fd one of @file? */
bool vs_files_same(const struct vs_file *file, int fd);

#endif
