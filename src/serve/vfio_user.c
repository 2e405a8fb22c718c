/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vfio-user servers: connections, and which command is carried out by whom.
 *
 *	LISTEN -> NEGOTIATE -> SERVE -> DRAIN -> LISTEN
 *
 * A connection ends from any state in between.  DRAIN lasts until the fence of
 * its memory is done and the function, which is reset, has let go of all that
 * it was asked for; the next client is not accepted before.
 *
 * What leaves the function busy (a reset, the end of bus mastering) is answered
 * when it is idle.  Until then nothing else is read: a driver's next steps, be
 * they posted writes, are not lost on a function that is not ready for them.
 * A reset of virtio-iommu may take as long as others hold their maps, and VMMs
 * do not wait for ever: so after PATIENCE_NS reading goes on, and registers say
 * what is going on (status, AF's TP).  The answer still waits.
 *
 * Everything runs on the loop's thread and nothing blocks it: a client that
 * does not read is not read from, either; an unmap that waits is parked in
 * vfio_user_dma.c.  All buffers are there from the beginning.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "serve/loop.h"
#include "serve/opts.h"
#include "serve/vfio_user_impl.h"

#define NEGOTIATE_NS  UINT64_C(5000000000)
#define ACCEPT_NS     UINT64_C(100000000) /* out of descriptors: try again */
#define PATIENCE_NS   UINT64_C(2000000000)
#define BURST	      32 /* messages, then others' turn */
#define DMA_WRITE_MAX 65536

void vs_count(struct viommu_vfio_user *s, enum vs_stat stat)
{
	atomic_fetch_add_explicit(&s->stats[stat], 1, memory_order_relaxed);
}

/* ----------------------------------------------------------- connections */

static void listen_event(void *arg, uint32_t events);
static void conn_event(void *arg, uint32_t events);

static void listen_watch(struct viommu_vfio_user *s)
{
	if (s->closing)
		return;
	if (viommu_loop_add(s->loop, s->listen.fd, EPOLLIN, listen_event, s))
		viommu_timer_start(s->loop, &s->timer, ACCEPT_NS);
}

/* Nothing that this client asked for may go on when the next one comes. */
static void conn_reset(struct viommu_vfio_user *s)
{
	/* not under a device's feet */
	s->reset_due = s->busy;
	if (!s->busy)
		vs_pci_reset(s->pci, true);
}

/* @broke: the client's fault. */
static void conn_drop(struct viommu_vfio_user *s, const char *why, bool broke)
{
	if (s->chan.fd < 0)
		return;
	if (broke)
		vs_count(s, VS_STAT_PROTOCOL_ERRORS);
	viommu_timer_stop(s->loop, &s->timer);
	viommu_loop_remove(s->loop, s->chan.fd);
	viommu_timer_stop(s->loop, &s->patience);
	vs_chan_close(&s->chan);
	vs_irqs_drop(s);
	s->nheld = 0;
	s->stopped = s->part = false;
	s->part_at = 0;
	s->state = VS_DRAIN;
	conn_reset(s);
	vs_dma_drain(&s->dma);
	viommu_loop_post(s->loop, &s->progress);
	if (s->cfg.state)
		s->cfg.state(s->cfg.arg, false, why);
}

/* Whether the next message may be taken in. */
static bool conn_ready(const struct viommu_vfio_user *s)
{
	return s->chan.fd >= 0 && vs_chan_roomy(&s->chan) &&
	       vs_dma_ready(&s->dma) && !s->stopped && s->nheld < VS_HELD;
}

/* Watch for what we can go on with. */
static void conn_watch(struct viommu_vfio_user *s)
{
	uint32_t events = (conn_ready(s) ? EPOLLIN : 0) |
			  (s->chan.out_len ? EPOLLOUT : 0);

	if (s->chan.fd < 0 || events == s->watched)
		return;
	if (viommu_loop_add(s->loop, s->chan.fd, events, conn_event, s))
		conn_drop(s, "the loop cannot watch it", false);
	else
		s->watched = events;
}

static void conn_flush(struct viommu_vfio_user *s)
{
	if (s->chan.fd >= 0 && vs_chan_flush(&s->chan))
		conn_drop(s, "the client closed the connection", false);
}

static void listen_event(void *arg, uint32_t events)
{
	struct viommu_vfio_user *s = arg;
	int fd = vs_unix_accept(&s->listen);

	(void)events;
	if (fd == -EAGAIN || fd == -EINTR || fd == -ECONNABORTED)
		return;
	viommu_loop_remove(s->loop, s->listen.fd);
	if (fd < 0) {
		viommu_timer_start(s->loop, &s->timer, ACCEPT_NS);
		return;
	}
	vs_chan_open(&s->chan, fd);
	if (viommu_loop_add(s->loop, fd, EPOLLIN, conn_event, s)) {
		vs_chan_close(&s->chan);
		viommu_timer_start(s->loop, &s->timer, ACCEPT_NS);
		return;
	}
	s->watched = EPOLLIN;
	s->state = VS_NEGOTIATE;
	viommu_timer_start(s->loop, &s->timer, NEGOTIATE_NS);
	if (s->cfg.state)
		s->cfg.state(s->cfg.arg, true, NULL);
}

static void timer_expired(void *arg)
{
	struct viommu_vfio_user *s = arg;

	if (s->state == VS_LISTEN)
		listen_watch(s);
	else if (s->state == VS_NEGOTIATE)
		conn_drop(s, "no VERSION within 5 seconds", true);
}

/* -------------------------------------------------------------- commands */

static int cmd_version(struct viommu_vfio_user *s, const struct vs_msg *m,
		       struct vs_reply *r)
{
	return vs_version(&s->peer, m, r);
}

static int cmd_dma_map(struct viommu_vfio_user *s, const struct vs_msg *m,
		       struct vs_reply *r)
{
	return vs_dma_map(&s->dma, m, r);
}

static int cmd_dma_unmap(struct viommu_vfio_user *s, const struct vs_msg *m,
			 struct vs_reply *r)
{
	return vs_dma_unmap(&s->dma, m, r);
}

static int cmd_reset(struct viommu_vfio_user *s, const struct vs_msg *m,
		     struct vs_reply *r)
{
	(void)m;
	(void)r;
	vs_pci_reset(s->pci, true);
	return 0;
}

/* Write @i of several, as a message of its own. */
static int multi_one(struct viommu_vfio_user *s, const struct vs_msg *m,
		     uint64_t i)
{
	struct vu_write_multi multi = { .count = 1 };
	uint8_t body[sizeof(multi) + sizeof(struct vu_write_one)];
	uint8_t reply[sizeof(multi)];
	const struct vs_msg one = { .hdr = m->hdr,
				    .body = body,
				    .len = sizeof(body) };
	struct vs_reply r = { .body = reply };

	memcpy(body, &multi, sizeof(multi));
	memcpy(body + sizeof(multi),
	       m->body + sizeof(multi) + i * sizeof(struct vu_write_one),
	       sizeof(struct vu_write_one));
	return vs_region_write_multi(s, &one, &r);
}

static int multi_check(struct viommu_vfio_user *s, const struct vs_msg *m,
		       uint64_t count)
{
	struct vu_write_one one;

	if (count > VU_MAX_MULTI ||
	    count * sizeof(one) > m->len - sizeof(struct vu_write_multi))
		return -EINVAL;
	for (uint64_t i = 0; i < count; i++) {
		memcpy(&one,
		       m->body + sizeof(struct vu_write_multi) +
			       i * sizeof(one),
		       sizeof(one));
		if (one.count > sizeof(one.data) ||
		    !vs_pci_inside(s->pci, one.region, one.offset, one.count))
			return -EINVAL;
	}
	return 0;
}

/* A write that leaves the function busy is the last one for now. */
static int cmd_write_multi(struct viommu_vfio_user *s, const struct vs_msg *m,
			   struct vs_reply *r)
{
	uint64_t asked = vs_pci_asked(s->pci);
	struct vu_write_multi multi;
	int rc;

	memcpy(&multi, m->body, sizeof(multi));
	rc = multi_check(s, m, multi.count);
	while (!rc && s->part_at < multi.count) {
		rc = multi_one(s, m, s->part_at++);
		if (!rc && s->part_at < multi.count && vs_pci_is_busy(s->pci) &&
		    vs_pci_asked(s->pci) != asked)
			return VS_PART;
	}
	s->part_at = 0;
	memcpy(r->body, &multi, sizeof(multi));
	r->len = sizeof(multi);
	return rc;
}

/* VFIO's own answer where a device lacks a feature: migration, dirty log. */
static int cmd_feature(struct viommu_vfio_user *s, const struct vs_msg *m,
		       struct vs_reply *r)
{
	(void)s;
	(void)m;
	(void)r;
	return -ENOTTY;
}

struct command {
	int (*fn)(struct viommu_vfio_user *s, const struct vs_msg *m,
		  struct vs_reply *r);
	size_t least; /* of the body */
	bool fds;     /* may come with some */
};

static const struct command commands[] = {
	[VU_VERSION] = { cmd_version, sizeof(struct vu_version), false },
	[VU_DMA_MAP] = { cmd_dma_map, sizeof(struct vu_dma_map), true },
	[VU_DMA_UNMAP] = { cmd_dma_unmap, sizeof(struct vu_dma_unmap), false },
	[VU_GET_INFO] = { vs_get_info, sizeof(struct vu_info), false },
	[VU_GET_REGION_INFO] = { vs_get_region_info,
				 sizeof(struct vu_region_info), false },
	[VU_GET_REGION_IO_FDS] = { vs_get_region_io_fds,
				   sizeof(struct vu_region_io_fds), false },
	[VU_GET_IRQ_INFO] = { vs_get_irq_info, sizeof(struct vu_irq_info),
			      false },
	[VU_SET_IRQS] = { vs_set_irqs, sizeof(struct vu_set_irqs), true },
	[VU_REGION_READ] = { vs_region_read, sizeof(struct vu_region_access),
			     false },
	[VU_REGION_WRITE] = { vs_region_write, sizeof(struct vu_region_access),
			      false },
	[VU_RESET] = { cmd_reset, 0, false },
	[VU_REGION_WRITE_MULTI] = { cmd_write_multi,
				    sizeof(struct vu_write_multi), false },
	[VU_FEATURE] = { cmd_feature, 2 * sizeof(uint32_t), false },
};

static int command_run(struct viommu_vfio_user *s, const struct vs_msg *m,
		       struct vs_reply *r)
{
	const uint32_t known = VU_F_TYPE | VU_F_NO_REPLY;
	const struct command *c;

	if (s->chan.fd_error)
		return -s->chan.fd_error;
	if (m->hdr->flags & ~known)
		return -EINVAL;
	if ((m->hdr->command == VU_VERSION) != (s->state == VS_NEGOTIATE))
		return -EINVAL;
	if (m->hdr->command >= sizeof(commands) / sizeof(commands[0]))
		return -EOPNOTSUPP;
	c = &commands[m->hdr->command];
	if (!c->fn)
		return -EOPNOTSUPP;
	if (m->len < c->least || (m->nfds && !c->fds))
		return -EINVAL;
	return c->fn(s, m, r);
}

/* @error: 0 or -errno; @body counts without one. */
static void reply_send(struct viommu_vfio_user *s, const struct vu_header *to,
		       int error, const void *body, size_t len)
{
	struct vu_header hdr = { .id = to->id, .command = to->command };
	uint8_t *at;

	if (error)
		vs_count(s, VS_STAT_REFUSED);
	if ((to->flags & VU_F_NO_REPLY) || s->chan.fd < 0)
		return;
	if (error)
		len = 0;
	hdr.len = (uint32_t)(sizeof(hdr) + len);
	hdr.flags = VU_F_REPLY | (error ? VU_F_ERROR : 0);
	hdr.error = (uint32_t)-error;
	at = vs_chan_reserve(&s->chan, hdr.len);
	if (!at) {
		/* conn_ready() had seen room */
		conn_drop(s, "the client does not read", false);
		return;
	}
	memcpy(at, &hdr, sizeof(hdr));
	if (len)
		memcpy(at + sizeof(hdr), body, len);
	vs_chan_commit(&s->chan, hdr.len);
	conn_flush(s);
}

/* Read nothing for the time being. */
static void conn_stop(struct viommu_vfio_user *s)
{
	s->stopped = true;
	viommu_timer_start(s->loop, &s->patience, PATIENCE_NS);
}

static void patience_over(void *arg)
{
	struct viommu_vfio_user *s = arg;

	s->stopped = false;
	viommu_loop_post(s->loop, &s->progress);
}

/* Answer when the function is idle.  There is room: conn_ready(). */
static void reply_hold(struct viommu_vfio_user *s, const struct vu_header *to,
		       const struct vs_reply *r)
{
	struct vs_held *h = &s->held[s->nheld];

	conn_stop(s);
	if (to->flags & VU_F_NO_REPLY)
		return;
	h->hdr = *to;
	h->len = r->len < sizeof(h->body) ? r->len : sizeof(h->body);
	memcpy(h->body, r->body, h->len);
	s->nheld++;
}

static void held_send(struct viommu_vfio_user *s)
{
	unsigned n = s->nheld;

	viommu_timer_stop(s->loop, &s->patience);
	s->stopped = false;
	s->nheld = 0;
	/* one that finds the client gone is no reply any more */
	for (unsigned i = 0; i < n; i++)
		reply_send(s, &s->held[i].hdr, 0, s->held[i].body,
			   s->held[i].len);
}

/* The command has left the function busy: its answer has to wait. */
static bool command_waits(const struct viommu_vfio_user *s, int rc,
			  uint64_t asked)
{
	return !rc && s->chan.fd >= 0 && vs_pci_is_busy(s->pci) &&
	       vs_pci_asked(s->pci) != asked;
}

static void command_do(struct viommu_vfio_user *s)
{
	uint64_t asked = vs_pci_asked(s->pci);
	struct vs_msg m = {
		.hdr = &s->chan.hdr,
		.body = s->chan.body,
		.len = s->chan.body_len,
		.fds = s->chan.fds,
		.nfds = s->chan.nfds,
	};
	struct vs_reply r = { .body = s->reply };
	int rc;

	s->busy = true;
	rc = command_run(s, &m, &r);
	s->busy = false;
	if (s->reset_due)
		conn_reset(s);
	s->part = rc == VS_PART && s->chan.fd >= 0;
	if (s->part)
		conn_stop(s);
	else if (command_waits(s, rc, asked))
		reply_hold(s, m.hdr, &r);
	else if (rc != VS_LATER && rc != VS_PART)
		reply_send(s, m.hdr, rc, r.body, r.len);
	if (s->state != VS_NEGOTIATE)
		return;
	if (rc) {
		conn_drop(s, "the first message is not a fitting VERSION",
			  true);
		return;
	}
	viommu_timer_stop(s->loop, &s->timer);
	s->state = VS_SERVE;
}

static void message_do(struct viommu_vfio_user *s)
{
	const struct vu_header *hdr = &s->chan.hdr;

	if (!s->part)
		vs_count(s, VS_STAT_MESSAGES);
	if ((hdr->flags & VU_F_TYPE) == VU_F_REPLY) {
		/* DMA_WRITE asks for none; a client may complain all the same
		 */
		if (s->state != VS_SERVE || hdr->command != VU_DMA_WRITE)
			conn_drop(s, "a reply that nobody asked for", true);
	} else if ((hdr->flags & VU_F_TYPE) != VU_F_COMMAND) {
		conn_drop(s, "neither a command nor a reply", true);
	} else {
		command_do(s);
	}
	if (s->chan.fd >= 0 && !s->part)
		vs_chan_next(&s->chan);
}

static void conn_lost(struct viommu_vfio_user *s, int rc)
{
	if (rc == -EPROTO)
		conn_drop(s, "a message of impossible length", true);
	else if (s->chan.got)
		conn_drop(s, "the connection ended within a message", true);
	else
		conn_drop(s, "the client closed the connection", false);
}

/* Take in what there is and may be taken. */
static void conn_pump(struct viommu_vfio_user *s)
{
	for (int i = 0; i < BURST && conn_ready(s); i++) {
		int rc = s->part ? 1 : vs_chan_recv(&s->chan);

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
	struct viommu_vfio_user *s = arg;

	/* a device's callback waits in vs_loop_once() for something else */
	if (s->busy)
		return;
	conn_flush(s);
	if (!conn_ready(s) && (events & (EPOLLHUP | EPOLLERR)))
		conn_drop(s, "the client closed the connection", false);
	conn_pump(s);
}

/* Some DMA command is done, the function is idle, or a connection has just
 * ended. */
static void progress(void *arg)
{
	struct viommu_vfio_user *s = arg;
	struct vs_dma_op *op;

	while ((op = vs_dma_answer(&s->dma))) {
		reply_send(s, &op->hdr, op->error, &op->reply, op->reply_len);
		vs_dma_put(&s->dma, op);
	}
	if (!vs_pci_is_busy(s->pci))
		held_send(s);
	if (s->reset_due)
		conn_reset(s);
	if (s->state == VS_DRAIN && !s->reset_due && !vs_pci_is_busy(s->pci) &&
	    vs_dma_drained(&s->dma)) {
		s->state = VS_LISTEN;
		listen_watch(s);
	} else if (!s->busy) {
		conn_pump(s);
	}
}

/* ---------------------------------------------------------------- public */

static void server_free(struct viommu_vfio_user *s)
{
	vs_unix_close(&s->listen);
	vs_dma_fini(&s->dma);
	vs_chan_fini(&s->chan);
	free(s->reply);
	free(s);
}

/* All that needs undoing by server_free() alone. */
static int server_init(struct viommu_vfio_user *s)
{
	int rc;

	s->pci = s->cfg.pci;
	s->loop = vs_pci_loop(s->pci);
	s->intx[0].fd = s->intx[1].fd = -1;
	viommu_timer_init(&s->timer, timer_expired, s);
	viommu_timer_init(&s->patience, patience_over, s);
	viommu_task_init(&s->progress, progress, s);
	s->reply = malloc(sizeof(struct vu_region_access) + VU_MAX_XFER);
	if (!s->reply)
		return -ENOMEM;
	rc = vs_chan_init(&s->chan);
	if (!rc)
		rc = vs_dma_init(&s->dma, s->loop, vs_pci_memory(s->pci),
				 &s->progress);
	if (!rc)
		rc = vs_unix_listen(&s->listen, s->cfg.path);
	if (!rc)
		rc = viommu_loop_add(s->loop, s->listen.fd, EPOLLIN,
				     listen_event, s);
	s->cfg.path = NULL; /* the caller's */
	return rc;
}

int viommu_vfio_user_create(const struct viommu_vfio_user_config *cfg,
			    struct viommu_vfio_user **out)
{
	struct viommu_vfio_user *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	s->listen.fd = s->chan.fd = -1;
	rc = vs_opts_copy(&s->cfg, sizeof(s->cfg), cfg, cfg->size);
	if (!rc && (!cfg->path || !cfg->pci || cfg->reserved ||
		    cfg->layout > VIOMMU_VFIO_USER_LAYOUT_SPEC ||
		    !vs_pci_claim(cfg->pci)))
		rc = -EINVAL;
	if (rc) {
		free(s);
		return rc;
	}
	rc = server_init(s);
	if (rc) {
		vs_pci_unclaim(cfg->pci);
		server_free(s);
		return rc;
	}
	vs_pci_on_idle(s->pci, &s->progress);
	*out = s;
	return 0;
}

/* The client's memory, or a user of it, is still there. */
static bool lingers(const struct viommu_vfio_user *s)
{
	return s->state == VS_DRAIN || vs_pci_is_busy(s->pci);
}

void viommu_vfio_user_destroy(struct viommu_vfio_user *server)
{
	if (!server)
		return;
	server->closing = true;
	viommu_loop_remove(server->loop, server->listen.fd);
	conn_drop(server, "the server is shut down", false);
	vs_pci_reset(server->pci, true);
	server->reset_due = false;
	while (lingers(server)) {
		progress(server);
		if (lingers(server))
			(void)vs_loop_once(server->loop);
	}
	vs_pci_on_idle(server->pci, NULL);
	viommu_timer_stop(server->loop, &server->timer);
	viommu_loop_cancel(server->loop, &server->progress);
	vs_pci_unclaim(server->pci);
	server_free(server);
}

/* One DMA_WRITE; there is room.  Returns its length. */
static size_t dma_write_put(struct viommu_vfio_user *s, uint8_t *at,
			    viommu_gpa_t gpa, const void *buf, size_t len)
{
	struct vu_header hdr = { .command = VU_DMA_WRITE,
				 .flags = VU_F_COMMAND | VU_F_NO_REPLY };
	struct vu_dma_access_qemu qemu = { .iova = gpa,
					   .count = (uint32_t)len };
	struct vu_dma_access spec = { .iova = gpa, .count = len };
	bool is_spec = s->cfg.layout == VIOMMU_VFIO_USER_LAYOUT_SPEC;
	size_t head = is_spec ? sizeof(spec) : sizeof(qemu);
	size_t total = sizeof(hdr) + head + len;

	if (!is_spec && total < VU_QEMU_DMA_LEAST)
		total = VU_QEMU_DMA_LEAST;
	hdr.len = (uint32_t)total;
	memset(at, 0, VU_QEMU_DMA_LEAST);
	memcpy(at, &hdr, sizeof(hdr));
	if (is_spec)
		memcpy(at + sizeof(hdr), &spec, head);
	else
		memcpy(at + sizeof(hdr), &qemu, head);
	memcpy(at + sizeof(hdr) + head, buf, len);
	return total;
}

int viommu_vfio_user_dma_write(struct viommu_vfio_user *server,
			       viommu_gpa_t gpa, const void *buf, size_t len)
{
	const uint8_t *from = buf;

	if (!len || len > DMA_WRITE_MAX || gpa + (len - 1) < gpa)
		return -EINVAL;
	if (server->state != VS_SERVE)
		return -ENOTCONN;
	if (!viommu_pci_bus_master(server->pci))
		return -EPERM;
	if (!vs_chan_roomy(&server->chan))
		return -EAGAIN;
	while (len) {
		size_t n = len < server->peer.max_xfer ? len
						       : server->peer.max_xfer;
		/* roomy: even if each piece is of the least size */
		uint8_t *at = vs_chan_reserve(&server->chan, n + 64);

		if (!at)
			return -EAGAIN;
		vs_chan_commit(&server->chan,
			       dma_write_put(server, at, gpa, from, n));
		gpa += n;
		from += n;
		len -= n;
	}
	/* that the client is gone will be seen by whoever reads */
	(void)vs_chan_flush(&server->chan);
	/* what could end the connection must not do so under a device's feet */
	viommu_loop_post(server->loop, &server->progress);
	return 0;
}

static uint64_t stat_of(const struct viommu_vfio_user *s, enum vs_stat which)
{
	return atomic_load_explicit(&s->stats[which], memory_order_relaxed);
}

void viommu_vfio_user_read_stats(const struct viommu_vfio_user *server,
				 struct viommu_vfio_user_stats *out)
{
	const struct vs_dma *dma = &server->dma;

	*out = (struct viommu_vfio_user_stats){
		.messages = stat_of(server, VS_STAT_MESSAGES),
		.dma_maps = atomic_load(&dma->maps_done),
		.dma_unmaps = atomic_load(&dma->unmaps_done),
		.region_reads = stat_of(server, VS_STAT_READS),
		.region_writes = stat_of(server, VS_STAT_WRITES),
		.interrupts = vs_irqs_written(vs_pci_irqs(server->pci)),
		.protocol_errors = stat_of(server, VS_STAT_PROTOCOL_ERRORS),
		.refused = stat_of(server, VS_STAT_REFUSED),
		.holes = atomic_load(&dma->holes),
		.maps = atomic_load(&dma->mapped),
	};
}
