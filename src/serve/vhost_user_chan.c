/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Channels of vhost-user, see vhost_user_chan.h.
 *
 * File descriptors travel with a message's first byte, and recvmsg(2) does not
 * say with which of the bytes that it returns they came.  So no call reads
 * past one message: what comes while a message is incomplete is its own.
 */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/fds.h"
#include "serve/vhost_user_chan.h"

union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(VS_SCM_FDS_MAX * sizeof(int))];
};

void vs_vchan_init(struct vs_vchan *c)
{
	c->fd = c->out_fd = -1;
	c->got = c->out_at = c->out_len = 0;
	c->nfds = 0;
	c->fd_error = 0;
}

void vs_vchan_open(struct vs_vchan *c, int fd)
{
	c->fd = fd;
}

void vs_vchan_next(struct vs_vchan *c)
{
	for (unsigned i = 0; i < c->nfds; i++)
		if (c->fds[i] >= 0)
			close(c->fds[i]);
	c->nfds = 0;
	c->fd_error = 0;
	c->got = 0;
}

static void out_fd_close(struct vs_vchan *c)
{
	if (c->out_fd >= 0)
		close(c->out_fd);
	c->out_fd = -1;
}

void vs_vchan_close(struct vs_vchan *c)
{
	vs_vchan_next(c);
	out_fd_close(c);
	if (c->fd >= 0)
		close(c->fd);
	vs_vchan_init(c);
}

static ssize_t recv_some(struct vs_vchan *c, void *buf, size_t len)
{
	const struct vs_fds to = { .fd = c->fds,
				   .n = &c->nfds,
				   .max = VH_FDS_MAX,
				   .error = &c->fd_error };

	return vs_fds_recv(c->fd, buf, len, &to);
}

static bool header_valid(const struct vh_header *hdr)
{
	return (hdr->flags & VH_VERSION_MASK) == VH_VERSION &&
	       hdr->len <= VH_BODY_MAX;
}

int vs_vchan_recv(struct vs_vchan *c)
{
	const size_t head = sizeof(c->hdr);

	for (;;) {
		ssize_t n;

		if (c->got < head)
			n = recv_some(c, (uint8_t *)&c->hdr + c->got,
				      head - c->got);
		else if (c->got == head + c->hdr.len)
			return 1;
		else
			n = recv_some(c, c->body + (c->got - head),
				      head + c->hdr.len - c->got);
		if (n < 0)
			return n == -EAGAIN ? 0 : (int)n;
		c->got += (size_t)n;
		if (c->got >= head && !header_valid(&c->hdr))
			return -EPROTO;
	}
}

int vs_vchan_put(struct vs_vchan *c, const struct vh_header *hdr,
		 const void *body, int fd)
{
	size_t len = sizeof(*hdr) + hdr->len;

	if (len > VS_VCHAN_OUT - c->out_len || (fd >= 0 && c->out_fd >= 0))
		return -ENOBUFS;
	if (len > VS_VCHAN_OUT - c->out_at - c->out_len) {
		memmove(c->out, c->out + c->out_at, c->out_len);
		c->out_fd_at -= c->out_at;
		c->out_at = 0;
	}
	if (fd >= 0) {
		c->out_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		if (c->out_fd < 0)
			return -errno;
		c->out_fd_at = c->out_at + c->out_len;
	}
	memcpy(c->out + c->out_at + c->out_len, hdr, sizeof(*hdr));
	if (hdr->len)
		memcpy(c->out + c->out_at + c->out_len + sizeof(*hdr), body,
		       hdr->len);
	c->out_len += len;
	return 0;
}

/* What may go in one call: up to the byte that a descriptor goes with. */
static ssize_t send_some(struct vs_vchan *c)
{
	union control control = { 0 };
	struct iovec iov = { .iov_base = c->out + c->out_at,
			     .iov_len = c->out_len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cm;

	if (c->out_fd >= 0 && c->out_fd_at > c->out_at) {
		iov.iov_len = c->out_fd_at - c->out_at;
	} else if (c->out_fd >= 0) {
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(sizeof(int));
		cm = CMSG_FIRSTHDR(&msg);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &c->out_fd, sizeof(int));
	}
	return sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int vs_vchan_flush(struct vs_vchan *c)
{
	while (c->out_len) {
		ssize_t n = send_some(c);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		if (n && c->out_fd >= 0 && c->out_fd_at == c->out_at)
			out_fd_close(c);
		c->out_at += (size_t)n;
		c->out_len -= (size_t)n;
	}
	c->out_at = 0;
	return 0;
}
