/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vhost-user: the socket on which the back-end asks.
 *
 * No answer is asked for: an IOTLB miss is answered by an UPDATE on the main
 * socket, or not at all.  So nothing is to be read here but the end of it.  The
 * buffer has room for more questions than may be open; a front-end that does
 * not read at all has those beyond it lost, and they time out.
 */

#include <sys/epoll.h>
#include <unistd.h>

#include "serve/vhost_user_impl.h"

#define BURST 32 /* messages, then others' turn */

static void event(void *arg, uint32_t events);

/* With the lock, on the loop's thread. */
static void watch_locked(struct vs_back *b)
{
	uint32_t events = EPOLLIN | (b->chan.out_len ? EPOLLOUT : 0);

	if (b->chan.fd < 0 || events == b->watched)
		return;
	if (!viommu_loop_add(b->s->loop, b->chan.fd, events, event, b))
		b->watched = events;
}

static void watch(void *arg)
{
	struct vs_back *b = arg;

	pthread_mutex_lock(&b->lock);
	watch_locked(b);
	pthread_mutex_unlock(&b->lock);
}

static void event(void *arg, uint32_t events)
{
	struct vs_back *b = arg;
	int rc;

	(void)events;
	pthread_mutex_lock(&b->lock);
	rc = vs_vchan_flush(&b->chan);
	/* answers that nobody asked for are not looked at; nor need they ever
	 * come to an end */
	for (int i = 0; i < BURST && !rc; i++) {
		rc = vs_vchan_recv(&b->chan);
		if (rc != 1)
			break;
		vs_vchan_next(&b->chan);
		rc = 0;
	}
	watch_locked(b);
	pthread_mutex_unlock(&b->lock);
	if (rc < 0)
		vs_back_close(b);
}

void vs_back_init(struct vs_back *b, struct viommu_vhost_user *s)
{
	b->s = s;
	vs_vchan_init(&b->chan);
	pthread_mutex_init(&b->lock, NULL);
	viommu_task_init(&b->watch, watch, b);
}

void vs_back_fini(struct vs_back *b)
{
	vs_back_close(b);
	viommu_loop_cancel(b->s->loop, &b->watch);
	pthread_mutex_destroy(&b->lock);
}

int vs_back_open(struct vs_back *b, int fd)
{
	int rc;

	vs_back_close(b);
	rc = viommu_loop_add(b->s->loop, fd, EPOLLIN, event, b);
	if (rc) {
		close(fd);
		return rc;
	}
	pthread_mutex_lock(&b->lock);
	vs_vchan_open(&b->chan, fd);
	b->watched = EPOLLIN;
	pthread_mutex_unlock(&b->lock);
	return 0;
}

void vs_back_close(struct vs_back *b)
{
	pthread_mutex_lock(&b->lock);
	if (b->chan.fd >= 0)
		viommu_loop_remove(b->s->loop, b->chan.fd);
	vs_vchan_close(&b->chan);
	b->watched = 0;
	pthread_mutex_unlock(&b->lock);
}

void vs_back_send(struct vs_back *b, uint32_t request, const void *body,
		  uint32_t len)
{
	const struct vh_header hdr = {
		.request = request,
		.flags = VH_VERSION,
		.len = len,
	};

	pthread_mutex_lock(&b->lock);
	if (b->chan.fd >= 0 && !vs_vchan_put(&b->chan, &hdr, body, -1)) {
		/* that the front-end is gone will be seen by event() */
		(void)vs_vchan_flush(&b->chan);
		if (b->chan.out_len)
			viommu_loop_post(b->s->loop, &b->watch);
	}
	pthread_mutex_unlock(&b->lock);
}
