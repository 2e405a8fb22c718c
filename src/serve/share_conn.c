/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Messages of clients, see docs/share.md.  The loop's thread only.
 *
 * What goes out keeps its order: the pieces of a map come before the
 * invalidation of it, and that before the pieces of a later map of the same
 * pages.  A client that does not read is not read from, once VS_SHARE_REPLIES
 * wait; up to there its answers are heard while it is still being told, or each
 * could wait for the other.  Invalidations are bounded by what is mapped.
 *
 * The kernel may refuse to pass a descriptor because too many of ours are under
 * way, to anybody who does not read.  That says nothing of this client, and
 * nothing tells us when it is over: we try again for some time.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <viommu/fence.h>
#include <viommu/space.h>

#include "serve/fds.h"
#include "serve/share_impl.h"

#define BURST	 32	  /* messages, then others' turn */
#define AGAIN_NS 10000000 /* VS_SHARE_TRIES of them are five seconds */

/* ------------------------------------------------------------------- out */

static void out_free(struct vs_share_out *out)
{
	if (out->fd >= 0)
		close(out->fd);
	if (!out->sent)
		free(out);
}

void vs_share_queue(struct vs_share_client *c, struct vs_share_out *out)
{
	out->next = NULL;
	if (c->first)
		c->last->next = out;
	else
		c->first = out;
	c->last = out;
	c->replies += !out->sent;
}

void vs_share_unqueue(struct vs_share_client *c)
{
	while (c->first) {
		struct vs_share_out *out = c->first;

		c->first = out->next;
		out_free(out);
	}
	c->out_at = 0;
	c->replies = 0;
}

/* A descriptor goes with the first byte. */
static ssize_t send_some(struct vs_share_client *c)
{
	struct vs_share_out *out = c->first;
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (char *)&out->msg + c->out_at,
			     .iov_len = sizeof(out->msg) - c->out_at };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cm;

	if (out->fd >= 0 && !c->out_at) {
		msg.msg_control = control.buf;
		msg.msg_controllen = sizeof(control.buf);
		cm = CMSG_FIRSTHDR(&msg);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &out->fd, sizeof(int));
	}
	return sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Whether it is us who have no room, and not the client. */
static bool out_short(int rc)
{
	return rc == -ETOOMANYREFS || rc == -ENOMEM || rc == -ENOBUFS;
}

/* Send what can be sent.  0, or -errno: the kernel has no room, or the peer is
 * gone. */
static int out_send(struct vs_share_client *c)
{
	while (c->first) {
		struct vs_share_out *out = c->first;
		ssize_t n = send_some(c);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		c->tries = 0;
		c->out_at += (size_t)n;
		if (c->out_at < sizeof(out->msg))
			continue;
		c->out_at = 0;
		c->first = out->next;
		if (out->sent)
			*out->sent = true;
		else
			c->replies--;
		out_free(out);
	}
	return 0;
}

/* Send, and see to it that what is left is tried again. */
static void out_go_on(struct vs_share_client *c)
{
	int rc;

	if (c->stuck)
		return;
	rc = out_send(c);
	c->stuck = out_short(rc);
	if (!c->stuck) {
		c->tries = 0;
		if (rc)
			vs_share_drop(c, "the client closed the connection",
				      false);
	} else if (c->tries == VS_SHARE_TRIES) {
		vs_share_drop(c, "the kernel passes no descriptors", false);
	} else {
		viommu_timer_start(c->s->cfg.loop, &c->again, AGAIN_NS);
	}
}

void vs_share_again(void *arg)
{
	struct vs_share_client *c = arg;

	c->stuck = false;
	c->tries++;
	vs_share_watch(c);
}

static struct vs_share_out *reply_make(const struct vs_share_msg *m,
				       uint32_t kind)
{
	struct vs_share_out *out = calloc(1, sizeof(*out));

	if (!out)
		return NULL;
	out->msg.kind = kind;
	out->msg.id = m->id;
	out->fd = -1;
	return out;
}

/* The request is over.  @value: of HELLO. */
static void done(struct vs_share_client *c, const struct vs_share_msg *m,
		 int rc, uint64_t value)
{
	struct vs_share_out *out = reply_make(m, VS_SHARE_DONE);

	if (!out) {
		vs_share_drop(c, "out of memory", false);
		return;
	}
	if (rc)
		vs_share_add(c->s, VS_SHARE_REFUSED, 1);
	out->msg.error = (uint32_t)-rc;
	out->msg.value = value;
	if (value)
		out->msg.len = c->s->page_size;
	vs_share_queue(c, out);
}

/* ----------------------------------------------------------------- HELLO */

/* Those of this process that have no connection any more hold nothing: the
 * number is still its own, since it has not ended.  That one has hung up may
 * not have been seen yet. */
static void fresh(struct vs_share_client *c)
{
	struct vs_share_client *other;

	for (other = c->s->clients; other; other = other->next) {
		if (other == c || other->ended || other->peer.pid <= 0 ||
		    other->peer.pid != c->peer.pid)
			continue;
		if (other->fd >= 0 && !vs_share_hung_up(other->fd))
			continue;
		vs_share_drop(other, "the client closed the connection", false);
		vs_share_end(other);
	}
}

static void hello(struct vs_share_client *c, const struct vs_share_msg *m)
{
	const uint32_t known = VS_SHARE_TARGETED | VS_SHARE_FRESH;
	int rc = 0;

	if (m->owner | m->gpa | m->len | m->offset | m->prot | m->error |
	    (m->flags & ~known))
		rc = -EINVAL;
	else if (!m->value)
		rc = -EPROTONOSUPPORT;
	if (!rc) {
		c->hello = true;
		c->targeted = m->flags & VS_SHARE_TARGETED;
		if (m->flags & VS_SHARE_FRESH)
			fresh(c);
	}
	done(c, m, rc, rc ? 0 : VS_SHARE_VERSION);
}

/* ------------------------------------------------------------------- MAP */

static int endpoint_make(struct vs_share_view *v)
{
	struct viommu_share *s = v->c->s;
	struct viommu_endpoint_config cfg = {
		.size = sizeof(cfg),
		.pasid = VIOMMU_NO_PASID,
		.memory = v->owner->memory,
		.arg = v,
		.expire = vs_share_expire,
		.flags = VIOMMU_ENDPOINT_NONBLOCK,
	};
	struct viommu_fence f;
	int rc;

	cfg.id = s->cfg.first_id + v->c->peer.slot * s->cfg.nowners +
		 (uint32_t)(v->owner - s->owners);
	rc = viommu_endpoint_create(s->cfg.vi, &cfg, &v->ep);
	if (rc) {
		v->ep = NULL;
		return rc;
	}
	viommu_fence_init(&f);
	rc = viommu_endpoint_attach(v->ep, s->space, &f);
	if (rc) {
		viommu_endpoint_destroy(v->ep, &f);
		v->ep = NULL;
	}
	/* nobody has used it */
	viommu_fence_commit(&f, NULL, NULL);
	return rc;
}

static bool range_ok(const struct vs_share_client *c,
		     const struct vs_share_msg *m)
{
	const uint64_t mask = c->s->page_size - 1;

	return m->len && !(m->gpa & mask) && !(m->len & mask) &&
	       m->gpa + (m->len - 1) >= m->gpa;
}

static struct vs_share_view *view_find(struct vs_share_client *c,
				       uint64_t owner)
{
	for (uint32_t i = 0; i < c->s->cfg.nowners; i++)
		if (c->views[i].owner->id == owner)
			return &c->views[i];
	return NULL;
}

static int map_check(struct vs_share_client *c, const struct vs_share_msg *m,
		     struct vs_share_view *v)
{
	const uint32_t both = VIOMMU_READ | VIOMMU_WRITE;
	const struct viommu_share_config *cfg = &c->s->cfg;

	if (c->s->closing)
		return -ESHUTDOWN;
	if ((m->flags | m->offset | m->error | m->value) || !range_ok(c, m) ||
	    !m->prot || (m->prot & ~both))
		return -EINVAL;
	if (!v)
		return -ENOENT;
	if (vs_share_ref_find(v, m->gpa, m->gpa + (m->len - 1)))
		return -EEXIST;
	if (c->nrefs >= cfg->max_maps || m->len > cfg->max_bytes ||
	    c->bytes > cfg->max_bytes - m->len)
		return -ENOSPC;
	return v->ep ? 0 : endpoint_make(v);
}

/* One message for what the embedder finds at @ask. */
static int piece_make(struct viommu_share *s, const struct vs_share_msg *m,
		      struct viommu_share_ask *ask, struct vs_share_out **at)
{
	struct viommu_share_piece p = { .fd = -1 };
	struct vs_share_out *out;
	int rc;

	rc = s->cfg.page(s->cfg.arg, ask, &p);
	if (rc)
		return rc < 0 && rc >= -4095 ? rc : -EIO;
	if (p.fd < 0 || !p.len || p.len > ask->len ||
	    ((p.len | p.offset) & (s->page_size - 1)))
		return -EIO;
	out = reply_make(m, VS_SHARE_PIECE);
	if (!out)
		return -ENOMEM;
	out->fd = fcntl(p.fd, F_DUPFD_CLOEXEC, 0);
	if (out->fd < 0) {
		rc = -errno;
		free(out);
		return rc == -EMFILE ? -EAGAIN : -EIO;
	}
	out->msg.owner = ask->owner;
	out->msg.gpa = ask->gpa;
	out->msg.len = p.len;
	out->msg.offset = p.offset;
	out->msg.prot = m->prot;
	*at = out;
	return 0;
}

struct pieces {
	struct vs_share_out *first, **next;
	unsigned n;
};

/* All that shows one piece of the reference. */
static int pieces_of(struct viommu_share *s, const struct vs_share_msg *m,
		     struct viommu_share_ask *ask, struct pieces *to)
{
	while (ask->len) {
		uint64_t len;
		int rc;

		if (to->n++ == VS_SHARE_PIECES)
			return -E2BIG;
		rc = piece_make(s, m, ask, to->next);
		if (rc)
			return rc;
		len = (*to->next)->msg.len;
		to->next = &(*to->next)->next;
		ask->gpa += len;
		ask->host = (char *)ask->host + len;
		ask->len -= len;
	}
	return 0;
}

static int pieces_make(struct viommu_share *s, const struct vs_share_msg *m,
		       const struct vs_share_ref *r, struct pieces *to)
{
	struct viommu_share_ask ask = { .owner = m->owner,
					.gpa = m->gpa,
					.prot = m->prot };
	int rc = 0;

	for (uint32_t i = 0; !rc && i < r->d.niov; i++) {
		ask.host = r->d.iov[i].iov_base;
		ask.len = r->d.iov[i].iov_len;
		rc = pieces_of(s, m, &ask, to);
	}
	return rc;
}

static void map(struct vs_share_client *c, const struct vs_share_msg *m)
{
	struct vs_share_view *v = view_find(c, m->owner);
	struct pieces to = { .next = &to.first };
	struct vs_share_ref *r = NULL;
	int rc;

	rc = map_check(c, m, v);
	if (!rc)
		rc = vs_share_ref_get(v, m, &r);
	if (!rc)
		rc = pieces_make(c->s, m, r, &to);
	if (rc && r)
		vs_share_ref_put(r);
	while (to.first) {
		struct vs_share_out *out = to.first;

		to.first = out->next;
		if (rc)
			out_free(out);
		else
			vs_share_queue(c, out);
	}
	done(c, m, rc, 0);
}

/* ----------------------------------------------------------------- UNMAP */

/* Whether there is one more reference when the range has gone. */
static bool parts(const struct vs_share_view *v, uint64_t gpa, uint64_t last)
{
	const struct vs_share_ref *r;

	if (!gpa || last == UINT64_MAX)
		return false;
	r = vs_share_ref_find(v, gpa - 1, gpa - 1);
	return r && r == vs_share_ref_find(v, last + 1, last + 1);
}

static int unmap_check(struct vs_share_client *c, const struct vs_share_msg *m,
		       const struct vs_share_view *v)
{
	if ((m->flags & ~(uint32_t)VS_SHARE_CLEAN) ||
	    (m->offset | m->prot | m->error | m->value) || !range_ok(c, m))
		return -EINVAL;
	if (!v)
		return -ENOENT;
	if (c->nrefs >= c->s->cfg.max_maps &&
	    parts(v, m->gpa, m->gpa + (m->len - 1)))
		return -ENOSPC;
	return 0;
}

static void unmap(struct vs_share_client *c, const struct vs_share_msg *m)
{
	struct vs_share_view *v = view_find(c, m->owner);
	uint64_t last = m->gpa + (m->len - 1);
	struct vs_share_ref *r;
	int rc;

	rc = unmap_check(c, m, v);
	while (!rc && (r = vs_share_ref_find(v, m->gpa, last))) {
		uint64_t from = m->gpa > r->d.iova ? m->gpa : r->d.iova;
		uint64_t to = r->d.iova + (r->d.len - 1);

		to = to < last ? to : last;
		if (!(m->flags & VS_SHARE_CLEAN) && (r->d.prot & VIOMMU_WRITE))
			vs_share_written(v, from, to);
		rc = vs_share_ref_cut(r, from, to);
	}
	done(c, m, rc, 0);
}

/* -------------------------------------------------------------- messages */

static bool invalidated(struct vs_share_client *c, const struct vs_share_msg *m)
{
	return !(m->flags | m->owner | m->gpa | m->len | m->offset | m->prot |
		 m->error | m->value) &&
	       vs_share_answered(c, m->id);
}

static void message(struct vs_share_client *c)
{
	const struct vs_share_msg *m = &c->in;

	if (c->hello != (m->kind != VS_SHARE_HELLO))
		vs_share_drop(c, "HELLO comes first, and once", true);
	else if (m->kind == VS_SHARE_HELLO)
		hello(c, m);
	else if (m->kind == VS_SHARE_MAP)
		map(c, m);
	else if (m->kind == VS_SHARE_UNMAP)
		unmap(c, m);
	else if (m->kind != VS_SHARE_INVALIDATED)
		vs_share_drop(c, "an unknown message", true);
	else if (!invalidated(c, m))
		vs_share_drop(c, "an answer that nobody asked for", true);
}

/* 1: one is whole; 0: more has to come; or -errno. */
static int in_recv(struct vs_share_client *c)
{
	unsigned nfds = 0;
	int error = 0;
	const struct vs_fds none = { .n = &nfds, .error = &error };
	ssize_t n;

	n = vs_fds_recv(c->fd, (char *)&c->in + c->got, sizeof(c->in) - c->got,
			&none);
	if (n < 0)
		return n == -EAGAIN ? 0 : (int)n;
	c->got += (size_t)n;
	if (error)
		return -EPROTO;
	return c->got == sizeof(c->in);
}

static bool in_ready(const struct vs_share_client *c)
{
	return c->fd >= 0 && c->replies < VS_SHARE_REPLIES;
}

static void in_lost(struct vs_share_client *c, int rc)
{
	if (rc == -EPROTO)
		vs_share_drop(c, "descriptors that nobody asked for", true);
	else if (c->got)
		vs_share_drop(c, "the connection ended within a message", true);
	else
		vs_share_drop(c, "the client closed the connection", false);
}

static void conn_event(void *arg, uint32_t events)
{
	struct vs_share_client *c = arg;

	for (int i = 0; i < BURST && in_ready(c); i++) {
		int rc = in_recv(c);

		if (rc < 0)
			in_lost(c, rc);
		if (rc <= 0)
			break;
		c->got = 0;
		message(c);
	}
	if (c->fd >= 0 && !in_ready(c) && (events & (EPOLLHUP | EPOLLERR)))
		vs_share_drop(c, "the client closed the connection", false);
	vs_share_watch(c);
}

void vs_share_watch(struct vs_share_client *c)
{
	uint32_t events;

	if (c->fd >= 0)
		out_go_on(c);
	if (c->fd < 0)
		return;
	events = (in_ready(c) ? EPOLLIN : 0) |
		 (c->first && !c->stuck ? EPOLLOUT : 0);
	if (events == c->watched)
		return;
	if (viommu_loop_add(c->s->cfg.loop, c->fd, events, conn_event, c))
		vs_share_drop(c, "the loop cannot watch it", false);
	else
		c->watched = events;
}
