/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vfio-user servers: connections, and which command is carried out by whom.
 *
 *	LISTEN -> NEGOTIATE -> SERVE -> DRAIN -> LISTEN
 *
 * A connection ends from any state in between.  DRAIN lasts until the fence of
 * its memory is done; the next client is not accepted before.
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
#define BURST	      32		  /* messages, then others' turn */
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

/* @broke: the client's fault. */
static void conn_drop(struct viommu_vfio_user *s, const char *why, bool broke)
{
	if (s->chan.fd < 0)
		return;
	if (broke)
		vs_count(s, VS_STAT_PROTOCOL_ERRORS);
	viommu_timer_stop(s->loop, &s->timer);
	viommu_loop_remove(s->loop, s->chan.fd);
	vs_chan_close(&s->chan);
	vs_irqs_drop(s);
	s->state = VS_DRAIN;
	vs_dma_drain(&s->dma);
	viommu_loop_post(s->loop, &s->progress);
	if (s->cfg.state)
		s->cfg.state(s->cfg.arg, false, why);
}

/* Whether the next message may be taken in. */
static bool conn_ready(const struct viommu_vfio_user *s)
{
	return s->chan.fd >= 0 && vs_chan_roomy(&s->chan) &&
	       vs_dma_ready(&s->dma);
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
	vs_pci_reset(s->pci);
	return 0;
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
	[VU_REGION_WRITE_MULTI] = { vs_region_write_multi,
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

static void command_do(struct viommu_vfio_user *s)
{
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
	if (rc != VS_LATER)
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
	if (s->chan.fd >= 0)
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
		int rc = vs_chan_recv(&s->chan);

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

/* Some DMA command is done, or a connection has just ended. */
static void progress(void *arg)
{
	struct viommu_vfio_user *s = arg;
	struct vs_dma_op *op;

	while ((op = vs_dma_answer(&s->dma))) {
		reply_send(s, &op->hdr, op->error, &op->reply, op->reply_len);
		vs_dma_put(&s->dma, op);
	}
	if (s->state == VS_DRAIN && vs_dma_drained(&s->dma)) {
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
	*out = s;
	return 0;
}

void viommu_vfio_user_destroy(struct viommu_vfio_user *server)
{
	if (!server)
		return;
	server->closing = true;
	viommu_loop_remove(server->loop, server->listen.fd);
	conn_drop(server, "the server is shut down", false);
	vs_pci_reset(server->pci);
	while (server->state == VS_DRAIN) {
		progress(server);
		if (server->state == VS_DRAIN)
			(void)vs_loop_once(server->loop);
	}
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
	conn_watch(server);
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
