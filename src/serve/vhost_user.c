/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vhost-user back-ends: connections, answers, what is left when one ends.
 *
 *	LISTEN -> SERVE -> DRAIN -> LISTEN
 *
 * DRAIN lasts until the device, which is reset, has let go of all that it was
 * asked for, and the fences of the front-end's memory are done.  The next one
 * is not accepted before.
 *
 * Everything runs on the loop's thread and nothing blocks it: a front-end that
 * does not read its answers is not read from, either.  Others reach it by the
 * tasks progress (something is over) and wake (questions are settled).
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <viommu/endpoint.h>
#include <viommu/memory.h>
#include <viommu/space.h>

#include "serve/opts.h"
#include "serve/vhost_user_impl.h"

#define ACCEPT_NS UINT64_C(100000000) /* out of descriptors: try again */
#define BURST	  32		      /* messages, then others' turn */

void vs_vcount(struct viommu_vhost_user *s, enum vs_vstat stat)
{
	atomic_fetch_add_explicit(&s->stats[stat], 1, memory_order_relaxed);
}

bool vs_vfeature(const struct viommu_vhost_user *s, unsigned bit)
{
	return s->features >> bit & 1;
}

bool vs_vprotocol(const struct viommu_vhost_user *s, unsigned bit)
{
	return s->protocol >> bit & 1;
}

void vs_vtrouble(struct viommu_vhost_user *s, const char *what)
{
	if (s->cfg.trouble)
		s->cfg.trouble(s->cfg.arg, what);
}

/* ----------------------------------------------------------- connections */

static void listen_event(void *arg, uint32_t events);
static void conn_event(void *arg, uint32_t events);

static void listen_watch(struct viommu_vhost_user *s)
{
	if (s->closing)
		return;
	if (viommu_loop_add(s->loop, s->listen.fd, EPOLLIN, listen_event, s))
		viommu_timer_start(s->loop, &s->timer, ACCEPT_NS);
}

/* Everything that the front-end gave, under one fence. */
static void memory_drain(struct viommu_vhost_user *s)
{
	struct viommu_fence *f = &s->drain.fence;

	vs_vfence_open(s, &s->drain);
	viommu_endpoint_detach(s->dev->cfg.endpoint, f);
	s->attached = NULL;
	vs_slots_clear(s, f);
	viommu_vhost_iotlb_reset(s->iotlb, f);
	if (s->logging)
		viommu_memory_dirty_stop(s->memory, f);
	s->logging = false;
	vs_vfence_commit(&s->drain, VS_VOP_NONE);
}

void vs_vdrop(struct viommu_vhost_user *s, const char *why, bool broke)
{
	if (s->chan.fd < 0)
		return;
	if (broke)
		vs_vcount(s, VS_VSTAT_PROTOCOL_ERRORS);
	viommu_loop_remove(s->loop, s->chan.fd);
	vs_vchan_close(&s->chan);
	vs_back_close(&s->back);
	s->state = VS_VH_DRAIN;
	s->watched = 0;
	s->dev->live = false;
	vs_vop_forget(s);
	s->stopping = NULL;
	s->parked = false;
	vs_virtio_system_reset(s->dev);
	vs_virtio_reset(s->dev);
	vs_vrings_drop(s);
	memory_drain(s);
	/* the queues are stopped: nobody marks anything there */
	vs_area_unmap(&s->log);
	vs_area_unmap(&s->inflight);
	s->inflight_queues = s->inflight_queue_len = 0;
	s->features = s->protocol = 0;
	viommu_loop_post(s->loop, &s->progress);
	if (s->cfg.state)
		s->cfg.state(s->cfg.arg, false, why);
}

/* Whether the next message may be taken in. */
static bool conn_ready(const struct viommu_vhost_user *s)
{
	return s->chan.fd >= 0 && !s->chan.out_len && !s->parked &&
	       vs_vop_room(s);
}

/* Watch for what we can go on with. */
static void conn_watch(struct viommu_vhost_user *s)
{
	uint32_t events = (conn_ready(s) ? EPOLLIN : 0) |
			  (s->chan.out_len ? EPOLLOUT : 0);

	if (s->chan.fd < 0 || events == s->watched)
		return;
	if (viommu_loop_add(s->loop, s->chan.fd, events, conn_event, s))
		vs_vdrop(s, "the loop cannot watch it", false);
	else
		s->watched = events;
}

static void listen_event(void *arg, uint32_t events)
{
	struct viommu_vhost_user *s = arg;
	int fd = vs_unix_accept(&s->listen);

	(void)events;
	if (fd == -EAGAIN || fd == -EINTR || fd == -ECONNABORTED)
		return;
	viommu_loop_remove(s->loop, s->listen.fd);
	if (fd < 0) {
		viommu_timer_start(s->loop, &s->timer, ACCEPT_NS);
		return;
	}
	vs_vchan_open(&s->chan, fd);
	if (viommu_loop_add(s->loop, fd, EPOLLIN, conn_event, s)) {
		vs_vchan_close(&s->chan);
		viommu_timer_start(s->loop, &s->timer, ACCEPT_NS);
		return;
	}
	s->watched = EPOLLIN;
	s->state = VS_VH_SERVE;
	s->dev->live = true;
	vs_vcount(s, VS_VSTAT_CONNECTIONS);
	if (s->cfg.state)
		s->cfg.state(s->cfg.arg, true, NULL);
}

static void timer_expired(void *arg)
{
	listen_watch(arg);
}

/* --------------------------------------------------------------- answers */

static void op_send(struct viommu_vhost_user *s, const struct vs_vop *op)
{
	const uint64_t status = op->status ? 1 : 0;
	const struct vh_header hdr = {
		.request = op->request,
		.flags = VH_VERSION | VH_REPLY,
		.len = op->reply ? (uint32_t)op->len : sizeof(status),
	};
	int rc = 0;

	if (op->reply || op->ack)
		rc = vs_vchan_put(&s->chan, &hdr,
				  op->reply ? (const void *)op->body : &status,
				  op->fd);
	if (rc)
		vs_vdrop(s, "an answer cannot be sent", false);
	else if (vs_vchan_flush(&s->chan))
		vs_vdrop(s, "the front-end closed the connection", false);
}

/* An error with nobody to tell ends the connection; what has failed late is
 * not the message's fault.  GET_CONFIG has an answer that means error. */
static void op_refused(struct viommu_vhost_user *s, const struct vs_vop *op)
{
	static const char late[] = "DMA that was to end did not in time";
	const char *what = op->status == -ETIMEDOUT    ? late
			   : op->status == -EOPNOTSUPP ? "an unknown message"
						       : "a bad message";

	vs_vcount(s, VS_VSTAT_REFUSED);
	if ((op->ack && !op->reply) || op->request == VH_GET_CONFIG ||
	    what == late)
		vs_vtrouble(s, what);
	else
		vs_vdrop(s, what, true);
	if (op->status == -ETIMEDOUT)
		viommu_virtio_dev_fail(s->dev, late);
}

static void answers_send(struct viommu_vhost_user *s)
{
	struct vs_vop op;

	while (s->chan.fd >= 0 && vs_vop_take(s, &op)) {
		if (op.status)
			op_refused(s, &op);
		if (s->chan.fd >= 0)
			op_send(s, &op);
		if (op.fd >= 0)
			close(op.fd);
	}
}

/* -------------------------------------------------------------- messages */

static void conn_lost(struct viommu_vhost_user *s, int rc)
{
	if (rc == -EPROTO)
		vs_vdrop(s, "a message with an impossible header", true);
	else if (s->chan.got)
		vs_vdrop(s, "the connection ended within a message", true);
	else
		vs_vdrop(s, "the front-end closed the connection", false);
}

static void message_do(struct viommu_vhost_user *s)
{
	s->parked = !vs_message(s);
	if (s->chan.fd >= 0 && !s->parked)
		vs_vchan_next(&s->chan);
	answers_send(s);
}

/* Take in what there is and may be taken. */
static void conn_pump(struct viommu_vhost_user *s)
{
	if (s->chan.fd >= 0 && s->parked && !s->stopping)
		message_do(s);
	for (int i = 0; i < BURST && conn_ready(s); i++) {
		int rc = vs_vchan_recv(&s->chan);

		if (!rc)
			break;
		if (rc < 0) {
			conn_lost(s, rc);
			return;
		}
		message_do(s);
	}
	conn_watch(s);
}

static void conn_event(void *arg, uint32_t events)
{
	struct viommu_vhost_user *s = arg;

	if (vs_vchan_flush(&s->chan) ||
	    (!conn_ready(s) && (events & (EPOLLHUP | EPOLLERR)))) {
		vs_vdrop(s, "the front-end closed the connection", false);
		return;
	}
	conn_pump(s);
}

static bool drained(struct viommu_vhost_user *s)
{
	return !s->dev->resetting && vs_vfences_done(s);
}

/* Some message is over, a ring has nothing in flight, the device is reset, or a
 * connection has just ended. */
static void progress(void *arg)
{
	struct viommu_vhost_user *s = arg;

	if (s->state == VS_VH_SERVE) {
		vs_stop_check(s);
		answers_send(s);
		vs_vrings_start(s);
		conn_pump(s);
	} else if (s->state == VS_VH_DRAIN && drained(s)) {
		s->state = VS_VH_LISTEN;
		listen_watch(s);
	}
}

/* ----------------------------------------------------------------- IOTLB */

static void iotlb_miss(void *arg, const struct vhost_iotlb_msg *msg)
{
	struct viommu_vhost_user *s = arg;

	vs_back_send(&s->back, VH_BACKEND_IOTLB_MSG, msg, sizeof(*msg));
	/* a ring that is to be stopped may not have to wait for it */
	viommu_loop_post(s->loop, &s->progress);
}

static void iotlb_ack(void *arg, uint64_t token, int status)
{
	vs_vop_over(arg, token, status);
}

static void iotlb_wake(void *arg)
{
	struct viommu_vhost_user *s = arg;

	viommu_loop_post(s->loop, &s->wake);
}

static void wake(void *arg)
{
	struct viommu_vhost_user *s = arg;
	viommu_iova_t start, last;

	while (!viommu_vhost_iotlb_timed_out(s->iotlb, &start, &last))
		vs_virtio_timed_out(s->dev, start, last);
	vs_virtio_again(s->dev);
}

static int iotlb_make(struct viommu_vhost_user *s)
{
	static const struct viommu_vhost_iotlb_ops ops = {
		.miss = iotlb_miss,
		.ack = iotlb_ack,
		.wake = iotlb_wake,
	};
	const struct viommu_vhost_iotlb_config cfg = {
		.size = sizeof(cfg),
		.vi = s->dev->cfg.vi,
		.ops = &ops,
		.arg = s,
		.miss_timeout_ns = s->cfg.miss_timeout_ns,
		.fence_timeout_ns = s->cfg.fence_timeout_ns,
		/* as many as there are messages, and as have failed */
		.max_pending = VS_VH_OPS + VS_VH_FENCES,
	};
	const struct viommu_space_config sc = {
		.size = sizeof(sc),
		.kind = VIOMMU_SPACE_IDENTITY,
		.page_sizes = 4096,
	};
	int rc = viommu_vhost_iotlb_create(&cfg, &s->iotlb);

	return rc ? rc : viommu_space_create(cfg.vi, &sc, &s->identity);
}

/* ---------------------------------------------------------------- public */

/* The device has no front-end any more. */
static void spaces_destroy(struct viommu_vhost_user *s)
{
	vs_vfence_open(s, &s->drain);
	viommu_vhost_iotlb_destroy(s->iotlb, &s->drain.fence);
	if (s->identity)
		viommu_space_destroy(s->identity, &s->drain.fence);
	vs_vfence_commit(&s->drain, VS_VOP_NONE);
	while (!vs_vfences_done(s))
		(void)vs_loop_once(s->loop);
}

static void server_free(struct viommu_vhost_user *s)
{
	vs_unix_close(&s->listen);
	spaces_destroy(s);
	vs_deadlines_remove(s->loop, &s->deadlines);
	viommu_timer_stop(s->loop, &s->timer);
	viommu_loop_cancel(s->loop, &s->progress);
	viommu_loop_cancel(s->loop, &s->wake);
	vs_back_fini(&s->back);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void server_init(struct viommu_vhost_user *s)
{
	s->dev = s->cfg.dev;
	s->loop = s->dev->cfg.loop;
	s->memory = s->dev->cfg.memory;
	s->listen.fd = -1;
	vs_vchan_init(&s->chan);
	vs_back_init(&s->back, s);
	vs_vrings_init(s);
	pthread_mutex_init(&s->lock, NULL);
	viommu_task_init(&s->progress, progress, s);
	viommu_task_init(&s->wake, wake, s);
	viommu_timer_init(&s->timer, timer_expired, s);
	vs_deadlines_add(s->loop, &s->deadlines, s->dev->cfg.vi);
}

int viommu_vhost_user_create(const struct viommu_vhost_user_config *cfg,
			     struct viommu_vhost_user **out)
{
	struct viommu_vhost_user *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	rc = vs_opts_copy(&s->cfg, sizeof(s->cfg), cfg, cfg->size);
	if (!rc && (!cfg->path || !cfg->dev))
		rc = -EINVAL;
	if (rc) {
		free(s);
		return rc;
	}
	server_init(s);
	rc = iotlb_make(s);
	if (!rc)
		rc = vs_unix_listen(&s->listen, cfg->path);
	if (!rc)
		rc = viommu_loop_add(s->loop, s->listen.fd, EPOLLIN,
				     listen_event, s);
	if (!rc) {
		rc = vs_virtio_attach(s->dev, &vs_vhost_transport, s);
		if (rc)
			viommu_loop_remove(s->loop, s->listen.fd);
	}
	if (rc) {
		server_free(s);
		return rc;
	}
	s->cfg.path = NULL; /* the caller's */
	*out = s;
	return 0;
}

void viommu_vhost_user_destroy(struct viommu_vhost_user *server)
{
	if (!server)
		return;
	server->closing = true;
	viommu_loop_remove(server->loop, server->listen.fd);
	vs_vdrop(server, "the server is shut down", false);
	while (!drained(server))
		(void)vs_loop_once(server->loop);
	vs_virtio_detach(server->dev);
	server_free(server);
}

static uint64_t stat_of(const struct viommu_vhost_user *s, enum vs_vstat which)
{
	return atomic_load_explicit(&s->stats[which], memory_order_relaxed);
}

void viommu_vhost_user_read_stats(const struct viommu_vhost_user *server,
				  struct viommu_vhost_user_stats *out)
{
	*out = (struct viommu_vhost_user_stats){
		.connections = stat_of(server, VS_VSTAT_CONNECTIONS),
		.messages = stat_of(server, VS_VSTAT_MESSAGES),
		.protocol_errors = stat_of(server, VS_VSTAT_PROTOCOL_ERRORS),
		.refused = stat_of(server, VS_VSTAT_REFUSED),
		.kicks = stat_of(server, VS_VSTAT_KICKS),
		.interrupts = stat_of(server, VS_VSTAT_INTERRUPTS),
		.regions = atomic_load(&server->slots.count),
		.waited = stat_of(server, VS_VSTAT_WAITED),
	};
	viommu_vhost_iotlb_read_stats(server->iotlb, &out->iotlb);
}
