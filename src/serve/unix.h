/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_UNIX_H
#define VS_UNIX_H

/* A listening UNIX socket and its file. */

#include <sys/types.h>

struct vs_unix {
	int fd;
	char *path;
	dev_t dev; /* of the file that we made */
	ino_t ino;
};

/*
 * Listen at @path (copied).  A socket file where nobody listens any more is
 * replaced.  0 or -errno as viommu_vfio_user_create() has it.
 */
int vs_unix_listen(struct vs_unix *u, const char *path);

/* Stop; remove the file if it is still ours. */
void vs_unix_close(struct vs_unix *u);

/* The next connection, non-blocking, or -errno. */
int vs_unix_accept(struct vs_unix *u);

#endif
