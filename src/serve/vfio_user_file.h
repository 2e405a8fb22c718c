/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_VFIO_USER_FILE_H
#define VS_VFIO_USER_FILE_H

/*
 * The files a client gives as memory: which are fit, and how much of this
 * process' address space they may take.  A file is mapped whole and once, so
 * what counts is files, not maps.
 */

#include <stdint.h>

enum {
	VS_FILES = 256, /* of one client at a time */
};

/* All files together: 16 TiB, an eighth of a 47-bit address space. */
#define VS_FILES_BYTES (UINT64_C(1) << 44)

struct vs_file {
	uint64_t dev, ino;
	uint64_t len;	  /* the longest it has been */
	uint64_t charged; /* of the budget: for each time it grew */
	uint64_t maps;
};

struct vs_files {
	struct vs_file file[VS_FILES];
	unsigned n;
	uint64_t bytes;
};

/*
 * One more map shows @fd: -EBADF (not in memory: an access could wait for a
 * disk, a network or the client itself, and a fence with it), -ENOSPC (too many
 * files, or too long).
 */
int vs_files_add(struct vs_files *files, int fd);

/* One map less does. */
void vs_files_remove(struct vs_files *files, uint64_t dev, uint64_t ino);

#endif
