/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_VHOST_USER_CHAN_H
#define VS_VHOST_USER_CHAN_H

/*
 * A channel of vhost-user messages: one coming in at a time, a bounded number
 * waiting to go out, one of them with a file descriptor.  Never blocks.
 */

#include <stdbool.h>
#include <stddef.h>

#include "serve/vhost_user_wire.h"

enum {
	VS_VCHAN_OUT = 65536, /* more than 1,024 IOTLB messages */
};

struct vs_vchan {
	int fd; /* -1: closed */

	/* the message that comes in; whole if vs_vchan_recv() said so */
	struct vh_header hdr;
	uint8_t body[VH_BODY_MAX];
	size_t got; /* bytes of header and body */
	int fds[VH_FDS_MAX];
	unsigned nfds;
	int fd_error; /* an errno if some that were sent are not there */

	/* what goes out */
	uint8_t out[VS_VCHAN_OUT];
	size_t out_at, out_len;
	int out_fd; /* goes with the byte at out_fd_at; -1: none */
	size_t out_fd_at;
};

void vs_vchan_init(struct vs_vchan *c);

/* Start on a connected socket, taken over. */
void vs_vchan_open(struct vs_vchan *c, int fd);
void vs_vchan_close(struct vs_vchan *c);

/*
 * Take in what there is, up to one message.
 * 1: whole; 0: more has to come; -ECONNRESET: the peer is gone; -EPROTO: the
 * header is impossible; or what recvmsg(2) failed with.
 */
int vs_vchan_recv(struct vs_vchan *c);

/* Forget the whole message, close what is left of its fds, ready for more. */
void vs_vchan_next(struct vs_vchan *c);

/* Put a message there to be sent, with @fd (duplicated) unless it is -1.
 * -ENOBUFS: no room; or what dup(2) failed with. */
int vs_vchan_put(struct vs_vchan *c, const struct vh_header *hdr,
		 const void *body, int fd);

/* Send what can be sent.  0 or an -errno: the peer is gone. */
int vs_vchan_flush(struct vs_vchan *c);

#endif
