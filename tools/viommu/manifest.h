/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_MANIFEST_H
#define TOOLS_MANIFEST_H

#include <stdint.h>

/* What a folder holds. */
struct manifest {
	uint64_t files;	  /* regular ones, as many as lines */
	uint64_t entries; /* of all kinds */
	uint64_t bytes;	  /* in files, each rounded up to 4 KiB */
	uint64_t state;	  /* a digest of names, sizes and times */
	char failed[512]; /* the name of what could not be read, if any */
};

/* Walk a folder and write each file's SHA-256 as sha256sum(1) does, with names
 * relative to the folder, to path.  0 or -errno; -EINTR: asked to stop. */
int manifest_make(struct manifest *m, const char *folder, const char *path);

/* Walk it again, without reading files, for what can be compared. */
int manifest_look(struct manifest *m, const char *folder);

/* Compare a folder with a list of sums made elsewhere: how many files are as
 * listed, and how many lines there are.  0 or -errno. */
int manifest_check(const char *folder, const char *path, uint64_t *good,
		   uint64_t *lines);

#endif
