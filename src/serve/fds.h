/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_FDS_H
#define VS_FDS_H

/* Descriptors that come with bytes on a UNIX socket. */

#include <sys/types.h>

enum {
	VS_SCM_FDS_MAX = 253, /* the kernel's, a message */
};

/* Where a channel keeps those of its message. */
struct vs_fds {
	int *fd;
	unsigned *n, max;
	int *error; /* set to an errno if some that were sent are not there */
};

/* Receive up to @len bytes without waiting, and what comes with them; surplus
 * descriptors are closed.  Bytes, or -EAGAIN, -ECONNRESET (the peer is gone),
 * or what recvmsg(2) failed with. */
ssize_t vs_fds_recv(int sock, void *buf, size_t len, const struct vs_fds *to);

#endif
