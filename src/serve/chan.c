/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Channels, see chan.h.  The loop's thread only.
 *
 * File descriptors travel with a message's first byte, and recvmsg(2) does not
 * say with which of the bytes that it returns they came.  So no call reads
 * past one message: what comes while a message is incomplete is its own.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/chan.h"
#include "serve/fds.h"

#define BODY_MAX (VU_MAX_LEN - sizeof(struct vu_header))
#define OUT_MAX	 (2 * (size_t)VU_MAX_LEN)

int vs_chan_init(struct vs_chan *c)
{
	memset(c, 0, sizeof(*c));
	c->fd = -1;
	/* pages that are never touched cost nothing */
	c->body = malloc(BODY_MAX);
	c->out = malloc(OUT_MAX);
	if (c->body && c->out)
		return 0;
	vs_chan_fini(c);
	return -ENOMEM;
}

void vs_chan_fini(struct vs_chan *c)
{
	vs_chan_close(c);
	free(c->body);
	free(c->out);
	c->body = c->out = NULL;
}

void vs_chan_open(struct vs_chan *c, int fd)
{
	c->fd = fd;
	c->got = 0;
	c->out_at = c->out_len = 0;
}

void vs_chan_next(struct vs_chan *c)
{
	for (unsigned i = 0; i < c->nfds; i++)
		if (c->fds[i] >= 0)
			close(c->fds[i]);
	c->nfds = 0;
	c->fd_error = 0;
	c->got = 0;
}

void vs_chan_close(struct vs_chan *c)
{
	vs_chan_next(c);
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->out_at = c->out_len = 0;
}

static ssize_t recv_some(struct vs_chan *c, void *buf, size_t len)
{
	const struct vs_fds to = { .fd = c->fds,
				   .n = &c->nfds,
				   .max = VU_MAX_FDS,
				   .error = &c->fd_error };

	return vs_fds_recv(c->fd, buf, len, &to);
}

int vs_chan_recv(struct vs_chan *c)
{
	const size_t head = sizeof(c->hdr);

	for (;;) {
		ssize_t n;

		if (c->got < head) {
			n = recv_some(c, (uint8_t *)&c->hdr + c->got,
				      head - c->got);
		} else {
			c->body_len = c->hdr.len - head;
			if (c->got == c->hdr.len)
				return 1;
			n = recv_some(c, c->body + (c->got - head),
				      c->hdr.len - c->got);
		}
		if (n < 0)
			return n == -EAGAIN ? 0 : (int)n;
		c->got += (size_t)n;
		if (c->got >= head &&
		    (c->hdr.len < head || c->hdr.len > VU_MAX_LEN))
			return -EPROTO;
	}
}

void *vs_chan_reserve(struct vs_chan *c, size_t len)
{
	if (len > OUT_MAX - c->out_len)
		return NULL;
	if (len > OUT_MAX - c->out_at - c->out_len) {
		memmove(c->out, c->out + c->out_at, c->out_len);
		c->out_at = 0;
	}
	return c->out + c->out_at + c->out_len;
}

void vs_chan_commit(struct vs_chan *c, size_t len)
{
	c->out_len += len;
}

int vs_chan_flush(struct vs_chan *c)
{
	while (c->out_len) {
		ssize_t n = send(c->fd, c->out + c->out_at, c->out_len,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		c->out_at += (size_t)n;
		c->out_len -= (size_t)n;
	}
	c->out_at = 0;
	return 0;
}

bool vs_chan_roomy(const struct vs_chan *c)
{
	/* half is left to those that nobody asks: DMA replies, DMA_WRITE */
	return c->out_len <= OUT_MAX / 4;
}
