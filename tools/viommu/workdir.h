/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_WORKDIR_H
#define TOOLS_WORKDIR_H

#include <limits.h>

/* A private folder for a run's sockets and images. */
struct workdir {
	char path[PATH_MAX]; /* empty: none */
};

/* Make one, in TMPDIR or else /tmp.  0 or -errno. */
int workdir_create(struct workdir *w);

/* Remove it and all that is in it. */
void workdir_destroy(struct workdir *w);

/* The name of a file in it: malloc'd, or NULL. */
char *workdir_file(const struct workdir *w, const char *name);

#endif
