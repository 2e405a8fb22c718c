/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_CHAN_H
#define VS_CHAN_H

/*
 * A channel: vfio-user messages over one connected socket, one coming in at a
 * time, any number waiting to go out, within fixed buffers.  Never blocks.
 */

#include <stdbool.h>
#include <stddef.h>

#include "serve/vfio_user_wire.h"

struct vs_chan {
	int fd; /* -1: closed */

	/* the message that comes in; whole if vs_chan_recv() said so */
	struct vu_header hdr;
	uint8_t *body;
	size_t body_len;
	size_t got; /* bytes of header and body */
	int fds[VU_MAX_FDS];
	unsigned nfds;
	int fd_error; /* an errno if some that were sent are not there */

	/* what goes out */
	uint8_t *out;
	size_t out_at, out_len;
};

/* 0 or -ENOMEM. */
int vs_chan_init(struct vs_chan *c);
void vs_chan_fini(struct vs_chan *c);

/* Start on a connected, non-blocking socket, taken over. */
void vs_chan_open(struct vs_chan *c, int fd);
void vs_chan_close(struct vs_chan *c);

/*
 * Take in what there is, up to one message.
 * 1: whole; 0: more has to come; -ECONNRESET: the peer is gone; -EPROTO: the
 * header's length is impossible; or what recvmsg(2) failed with.
 */
int vs_chan_recv(struct vs_chan *c);

/* Forget the whole message, close what is left of its fds, ready for more. */
void vs_chan_next(struct vs_chan *c);

/* Where a message may be put that goes out; @len at most VU_MAX_LEN.  NULL:
 * too much is waiting already. */
void *vs_chan_reserve(struct vs_chan *c, size_t len);

/* Send what was put there. */
void vs_chan_commit(struct vs_chan *c, size_t len);

/* Send what can be sent.  0 or an -errno: the peer is gone. */
int vs_chan_flush(struct vs_chan *c);

/* Whether a reply of any length has room. */
bool vs_chan_roomy(const struct vs_chan *c);

#endif
