/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Servers of shared memory: who comes, and who goes.
 *
 *	connected -> lingering -> ended
 *
 * A client ends when it holds nothing and has no connection, and when its
 * process has ended; and if we cannot see that, with its connection.  Lingering
 * is what it does between: its connection is over, and the pages that it has
 * mapped are not.  It is freed later, from the loop, so that whoever ends it
 * may go on reading it.
 */

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <viommu/fence.h>
#include <viommu/space.h>

#include "serve/opts.h"
#include "serve/share_impl.h"

#define ACCEPT_NS UINT64_C(100000000) /* out of descriptors: try again */

enum {
	CLIENTS = 16,
	MAPS = 65536,
};

/* --------------------------------------------------------------- endings */

static void client_unlink(struct vs_share_client *c)
{
	struct vs_share_client **at = &c->s->clients;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->s->nclients--;
}

static void listen_watch(struct viommu_share *s);

static void client_free(struct vs_share_client *c)
{
	struct viommu_share *s = c->s;

	client_unlink(c);
	free(c);
	listen_watch(s);
}

static void client_gone(void *arg)
{
	client_free(vs_waiter_done(arg));
}

static void endpoints_destroy(struct vs_share_client *c)
{
	struct viommu_fence *f = vs_waiter_begin(&c->gone);

	for (uint32_t i = 0; i < c->s->cfg.nowners; i++)
		if (c->views[i].ep)
			viommu_endpoint_destroy(c->views[i].ep, f);
	vs_waiter_commit(&c->gone);
}

void vs_share_end(struct vs_share_client *c)
{
	struct viommu_share *s = c->s;

	if (c->ended)
		return;
	c->ended = true;
	if (c->lingers)
		vs_share_add(s, VS_SHARE_LINGERING, (uint64_t)-1);
	if (c->pidfd >= 0) {
		viommu_loop_remove(s->cfg.loop, c->pidfd);
		close(c->pidfd);
	}
	while (c->refs) {
		struct vs_share_ref *r = c->refs;

		if (r->d.prot & VIOMMU_WRITE)
			vs_share_written(r->view, r->d.iova,
					 r->d.iova + (r->d.len - 1));
		vs_share_ref_put(r);
	}
	viommu_loop_post(s->cfg.loop, &s->work);
}

void vs_share_drop(struct vs_share_client *c, const char *why, bool broke)
{
	struct viommu_share *s = c->s;

	if (c->fd < 0)
		return;
	if (broke)
		vs_share_add(s, VS_SHARE_PROTOCOL_ERRORS, 1);
	viommu_loop_remove(s->cfg.loop, c->fd);
	close(c->fd);
	c->fd = -1;
	c->watched = 0;
	viommu_timer_stop(s->cfg.loop, &c->again);
	vs_share_unqueue(c);
	vs_share_forget(c);
	/* others may look meanwhile: one that ends here never lingers */
	c->lingers = c->nrefs && c->pidfd >= 0;
	vs_share_add(s, VS_SHARE_LINGERING, c->lingers);
	vs_share_add(s, VS_SHARE_CLIENTS, (uint64_t)-1);
	if (!c->lingers)
		vs_share_end(c);
	if (s->cfg.state)
		s->cfg.state(s->cfg.arg, &c->peer, why);
}

static void pid_event(void *arg, uint32_t events)
{
	struct vs_share_client *c = arg;

	(void)events;
	vs_share_add(c->s, VS_SHARE_EXITED, 1);
	vs_share_drop(c, "the client's process has ended", false);
	vs_share_end(c);
}

/* Any thread. */
enum viommu_verdict vs_share_expire(void *arg, const struct viommu_expiry *e)
{
	struct vs_share_client *c = ((struct vs_share_view *)arg)->c;
	const struct viommu_share_config *cfg = &c->s->cfg;

	if (cfg->expire && cfg->expire(cfg->arg, &c->peer, e) == VIOMMU_WAIT_ON)
		return VIOMMU_WAIT_ON;
	atomic_store(&c->expired, true);
	viommu_loop_post(cfg->loop, &c->s->work);
	return VIOMMU_GIVE_UP;
}

/* What others have left for the loop to do, and what it has for itself. */
static void work(void *arg)
{
	struct viommu_share *s = arg;
	struct vs_share_client *c, *next;

	vs_share_tell(s);
	for (c = s->clients; c; c = next) {
		next = c->next;
		if (c->fd >= 0 && atomic_load(&c->expired)) {
			vs_share_add(s, VS_SHARE_GIVEN_UP, 1);
			vs_share_drop(c, "the client did not answer in time",
				      false);
		}
		if (c->ended && !c->gone.pending && !c->freeing) {
			c->freeing = true;
			endpoints_destroy(c);
			if (!c->gone.pending)
				client_free(c);
		}
	}
}

/* ------------------------------------------------------------- beginning */

static void listen_event(void *arg, uint32_t events);

static void listen_watch(struct viommu_share *s)
{
	if (s->closing || s->listening || s->nclients == s->cfg.max_clients)
		return;
	if (viommu_loop_add(s->cfg.loop, s->listen.fd, EPOLLIN, listen_event,
			    s))
		viommu_timer_start(s->cfg.loop, &s->timer, ACCEPT_NS);
	else
		s->listening = true;
}

static void listen_pause(struct viommu_share *s)
{
	viommu_loop_remove(s->cfg.loop, s->listen.fd);
	s->listening = false;
}

static void listen_later(struct viommu_share *s)
{
	listen_pause(s);
	viommu_timer_start(s->cfg.loop, &s->timer, ACCEPT_NS);
}

static void timer_expired(void *arg)
{
	listen_watch(arg);
}

static uint32_t slot_free(const struct viommu_share *s)
{
	for (uint32_t slot = 0;; slot++) {
		const struct vs_share_client *c = s->clients;

		while (c && c->peer.slot != slot)
			c = c->next;
		if (!c)
			return slot;
	}
}

static struct vs_share_client *client_make(struct viommu_share *s, int fd)
{
	const struct vs_waits of = { .loop = s->cfg.loop, .lock = &s->lock };
	struct vs_share_client *c;
	struct vs_waits mine = of;

	c = calloc(1, sizeof(*c) + s->cfg.nowners * sizeof(c->views[0]));
	if (!c)
		return NULL;
	c->s = s;
	c->fd = fd;
	c->peer.slot = slot_free(s);
	mine.owner = c;
	vs_waiter_init(&c->gone, &mine, client_gone);
	viommu_timer_init(&c->again, vs_share_again, c);
	for (uint32_t i = 0; i < s->cfg.nowners; i++) {
		c->views[i].c = c;
		c->views[i].owner = &s->owners[i];
	}
	c->pidfd = vs_share_peer(fd, &c->peer.pid);
	return c;
}

static int client_watch(struct vs_share_client *c)
{
	struct viommu_loop *loop = c->s->cfg.loop;
	int rc = 0;

	if (c->pidfd >= 0)
		rc = viommu_loop_add(loop, c->pidfd, EPOLLIN, pid_event, c);
	else if (!(c->s->cfg.flags & VIOMMU_SHARE_TRUST_CLOSE))
		rc = c->pidfd;
	if (rc)
		return rc;
	c->next = c->s->clients;
	c->s->clients = c;
	c->s->nclients++;
	vs_share_add(c->s, VS_SHARE_CLIENTS, 1);
	vs_share_add(c->s, VS_SHARE_CONNECTIONS, 1);
	return 0;
}

static void listen_event(void *arg, uint32_t events)
{
	struct viommu_share *s = arg;
	int fd = vs_unix_accept(&s->listen);
	struct vs_share_client *c;

	(void)events;
	if (fd == -EAGAIN || fd == -EINTR || fd == -ECONNABORTED)
		return;
	if (fd < 0) {
		listen_later(s);
		return;
	}
	c = client_make(s, fd);
	if (!c || client_watch(c)) {
		vs_share_add(s, VS_SHARE_SENT_AWAY, 1);
		if (c && c->pidfd >= 0)
			close(c->pidfd);
		free(c);
		close(fd);
		return;
	}
	if (s->nclients == s->cfg.max_clients)
		listen_pause(s);
	if (s->cfg.state)
		s->cfg.state(s->cfg.arg, &c->peer, NULL);
	vs_share_watch(c);
}

/* ---------------------------------------------------------------- public */

static int owners_copy(struct viommu_share *s)
{
	const struct viommu_share_config *cfg = &s->cfg;

	s->owners = calloc(cfg->nowners, sizeof(s->owners[0]));
	if (!s->owners)
		return -ENOMEM;
	for (uint32_t i = 0; i < cfg->nowners; i++) {
		s->owners[i] = cfg->owners[i];
		if (!s->owners[i].memory)
			return -EINVAL;
		for (uint32_t j = 0; j < i; j++)
			if (s->owners[j].id == s->owners[i].id)
				return -EINVAL;
	}
	return 0;
}

static int config_take(struct viommu_share *s,
		       const struct viommu_share_config *cfg)
{
	struct viommu_share_config *my = &s->cfg;
	uint64_t ids;
	int rc;

	rc = vs_opts_copy(my, sizeof(*my), cfg, cfg->size);
	if (rc)
		return rc;
	if (!my->path || !my->loop || !my->vi || !my->owners || !my->nowners ||
	    !my->page || my->reserved ||
	    (my->flags & ~(uint32_t)VIOMMU_SHARE_TRUST_CLOSE))
		return -EINVAL;
	my->max_clients = my->max_clients ? my->max_clients : CLIENTS;
	my->max_maps = my->max_maps ? my->max_maps : MAPS;
	my->max_bytes = my->max_bytes ? my->max_bytes : UINT64_MAX;
	ids = (uint64_t)my->max_clients * my->nowners;
	if (ids > (UINT64_C(1) << 32) - my->first_id)
		return -EINVAL;
	return owners_copy(s);
}

static int space_make(struct viommu_share *s)
{
	const struct viommu_space_config cfg = {
		.size = sizeof(cfg),
		.kind = VIOMMU_SPACE_IDENTITY,
		.page_sizes = 4096,
	};

	return viommu_space_create(s->cfg.vi, &cfg, &s->space);
}

static void space_gone(void *arg)
{
	(void)vs_waiter_done(arg);
}

/* Nobody is connected, nothing is held. */
static void server_free(struct viommu_share *s)
{
	if (s->space) {
		viommu_space_destroy(s->space, vs_waiter_begin(&s->gone));
		vs_waiter_commit(&s->gone);
	}
	while (s->gone.pending)
		(void)vs_loop_once(s->cfg.loop);
	vs_unix_close(&s->listen);
	vs_deadlines_remove(s->cfg.loop, &s->deadlines);
	viommu_timer_stop(s->cfg.loop, &s->timer);
	viommu_timer_stop(s->cfg.loop, &s->bound);
	viommu_loop_cancel(s->cfg.loop, &s->work);
	pthread_mutex_destroy(&s->lock);
	free(s->owners);
	free(s);
}

static void bound_expired(void *arg)
{
	((struct viommu_share *)arg)->late = true;
}

static void server_init(struct viommu_share *s)
{
	const struct vs_waits of = { .owner = s,
				     .loop = s->cfg.loop,
				     .lock = &s->lock };

	s->listen.fd = -1;
	s->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	pthread_mutex_init(&s->lock, NULL);
	viommu_task_init(&s->work, work, s);
	viommu_timer_init(&s->timer, timer_expired, s);
	viommu_timer_init(&s->bound, bound_expired, s);
	vs_waiter_init(&s->gone, &of, space_gone);
	vs_deadlines_add(s->cfg.loop, &s->deadlines, s->cfg.vi);
}

int viommu_share_create(const struct viommu_share_config *cfg,
			struct viommu_share **out)
{
	struct viommu_share *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return -ENOMEM;
	rc = config_take(s, cfg);
	if (rc) {
		free(s->owners);
		free(s);
		return rc;
	}
	server_init(s);
	rc = space_make(s);
	if (!rc)
		rc = vs_unix_listen(&s->listen, s->cfg.path);
	if (!rc)
		rc = viommu_loop_add(s->cfg.loop, s->listen.fd, EPOLLIN,
				     listen_event, s);
	if (rc) {
		server_free(s);
		return rc;
	}
	s->listening = true;
	s->cfg.path = NULL;
	s->cfg.owners = NULL;
	*out = s;
	return 0;
}

static void server_close(struct viommu_share *s)
{
	if (s->closing)
		return;
	if (s->listening)
		listen_pause(s);
	vs_unix_close(&s->listen);
	s->closing = true;
	for (struct vs_share_client *c = s->clients; c; c = c->next) {
		if (c->fd >= 0)
			vs_share_take_all(c);
		vs_share_watch(c);
	}
}

int viommu_share_destroy(struct viommu_share *s, int64_t timeout_ns)
{
	struct viommu_loop *loop;

	if (!s)
		return 0;
	loop = s->cfg.loop;
	server_close(s);
	s->late = !timeout_ns;
	if (timeout_ns > 0)
		viommu_timer_start(loop, &s->bound, (uint64_t)timeout_ns);
	for (;;) {
		struct vs_share_client *c;

		for (c = s->clients; c; c = c->next)
			if (!c->nrefs)
				vs_share_drop(c, "the server ends", false);
		if (!s->clients || s->late)
			break;
		(void)vs_loop_once(loop);
	}
	viommu_timer_stop(loop, &s->bound);
	if (s->clients)
		return -ETIMEDOUT;
	server_free(s);
	return 0;
}

void viommu_share_read_stats(const struct viommu_share *s,
			     struct viommu_share_stats *out)
{
	uint64_t n[VS_SHARE_STATS];

	for (int i = 0; i < VS_SHARE_STATS; i++)
		n[i] = atomic_load_explicit(&s->stats[i], memory_order_relaxed);
	*out = (struct viommu_share_stats){
		.clients = n[VS_SHARE_CLIENTS],
		.lingering = n[VS_SHARE_LINGERING],
		.maps = n[VS_SHARE_MAPS],
		.bytes = n[VS_SHARE_BYTES],
		.connections = n[VS_SHARE_CONNECTIONS],
		.invalidations = n[VS_SHARE_INVALIDATIONS],
		.invalidations_all = n[VS_SHARE_INVALIDATIONS_ALL],
		.invalidations_left = n[VS_SHARE_LEFT],
		.refused = n[VS_SHARE_REFUSED],
		.protocol_errors = n[VS_SHARE_PROTOCOL_ERRORS],
		.given_up = n[VS_SHARE_GIVEN_UP],
		.exited = n[VS_SHARE_EXITED],
		.sent_away = n[VS_SHARE_SENT_AWAY],
	};
}
