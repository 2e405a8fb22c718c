/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Whose process is at the other end, such that we see it end.
 *
 * The kernel keeps who connected, and newer ones give a pidfd of just that.
 * Where there is only the number, it may have been given to another process
 * since.  Then the one that connected is gone, and its end of the socket with
 * it, since that is closed before a number becomes free: so if the other end is
 * open after the pidfd was opened, it is of the right process.  Unless the
 * socket was handed on; then nobody can know.
 */

#include <errno.h>
#include <poll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/share_impl.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

bool vs_share_hung_up(int sock)
{
	struct pollfd p = { .fd = sock };

	return poll(&p, 1, 0) < 0 || (p.revents & (POLLHUP | POLLERR));
}

int vs_share_peer(int sock, pid_t *pid)
{
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);
	int fd;

	*pid = 0;
	if (!getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		*pid = cred.pid;
	len = sizeof(fd);
	if (!getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &fd, &len))
		return fd;
	if (*pid <= 0)
		return -ESRCH;
	fd = pidfd_open(*pid, 0);
	if (fd < 0)
		return -errno;
	if (vs_share_hung_up(sock)) {
		close(fd);
		return -ESRCH;
	}
	return fd;
}
