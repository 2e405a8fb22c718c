/* SPDX-License-Identifier: BSD-2-Clause */
#include "serve/fds.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void take(const struct vs_fds *to, const struct cmsghdr *cm)
{
	size_t n = (cm->cmsg_len - CMSG_LEN(0)) / sizeof(int);

	for (size_t i = 0; i < n; i++) {
		int fd;

		memcpy(&fd, CMSG_DATA(cm) + i * sizeof(int), sizeof(fd));
		if (*to->n < to->max) {
			to->fd[(*to->n)++] = fd;
		} else {
			close(fd);
			*to->error = E2BIG;
		}
	}
}

ssize_t vs_fds_recv(int sock, void *buf, size_t len, const struct vs_fds *to)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(VS_SCM_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	struct cmsghdr *cm;
	ssize_t n;

	do
		n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	for (cm = CMSG_FIRSTHDR(&msg); cm; cm = CMSG_NXTHDR(&msg, cm))
		if (cm->cmsg_level == SOL_SOCKET && cm->cmsg_type == SCM_RIGHTS)
			take(to, cm);
	/* this process has no room for more descriptors */
	if (msg.msg_flags & MSG_CTRUNC)
		*to->error = EMFILE;
	return n ? n : -ECONNRESET;
}
