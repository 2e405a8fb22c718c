/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vhost-user: rings, and what the device asks of its transport.
 *
 *	set up (NUM, BASE, ADDR, KICK, enabled) -> started -> GET_VRING_BASE
 *
 * A ring is started as soon as all of it is known, without waiting for a kick:
 * what an earlier process left in the in-flight area is nobody's to kick for.
 * Where the driver has no IOMMU its addresses are the front-end's own, and are
 * looked up in the memory table when it starts.
 *
 * The device fails as a whole, when one ring is broken; front-ends see that by
 * the err eventfds, and end it by stopping all rings.
 *
 * Kicks are read by a call that cannot be made to wait, whatever the front-end
 * does to the eventfd.  The loop's thread only.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "serve/pci_irq.h"
#include "serve/vhost_user_impl.h"

#define FEATURE(bit) (UINT64_C(1) << (bit))

static void fd_set_to(int *at, int fd)
{
	if (*at >= 0)
		close(*at);
	*at = fd;
}

static void fd_signal(int fd)
{
	uint64_t one = 1;
	int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	/* shared with the front-end, which may have made it blocking again */
	if (flags < 0 ||
	    (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK)))
		return;
	/* -EAGAIN: the counter is full, and nobody has read it */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

/* ----------------------------------------------------------------- start */

static int user_to_gpa(const struct vs_vring *r, uint64_t *addr, uint64_t len)
{
	return viommu_vhost_iotlb_gpa_of_user(r->s->iotlb, *addr, len, addr);
}

/* Where the ring is for the device's endpoint. */
static int ring_of(const struct vs_vring *r, struct viommu_ring *ring)
{
	const uint64_t len = r->len;
	int rc;

	*ring = (struct viommu_ring){
		.desc = r->addr.desc,
		.avail = r->addr.avail,
		.used = r->addr.used,
		.len = (uint16_t)r->len,
		.indirect = vs_vfeature(r->s, VIRTIO_RING_F_INDIRECT_DESC),
		.event_idx = vs_vfeature(r->s, VIRTIO_RING_F_EVENT_IDX),
	};
	if (vs_vfeature(r->s, VIRTIO_F_ACCESS_PLATFORM))
		return 0;
	rc = user_to_gpa(r, &ring->desc, sizeof(struct vring_desc) * len);
	if (!rc)
		rc = user_to_gpa(r, &ring->avail,
				 sizeof(struct vring_avail) + 2 * len +
					 (ring->event_idx ? 2 : 0));
	if (!rc)
		rc = user_to_gpa(r, &ring->used,
				 sizeof(struct vring_used) +
					 sizeof(struct vring_used_elem) * len +
					 (ring->event_idx ? 2 : 0));
	return rc;
}

/* NULL: it has none, or is started for the first time. */
static void state_of(const struct vs_vring *r,
		     struct viommu_virtqueue_state *state)
{
	const struct viommu_vhost_user *s = r->s;
	size_t len = viommu_virtqueue_inflight_len(s->inflight_queue_len);

	*state = (struct viommu_virtqueue_state){
		.size = sizeof(*state),
		.next = r->base,
	};
	if (r->index >= s->inflight_queues)
		return;
	state->inflight = s->inflight.at + r->index * len;
	state->inflight_len = len;
}

static bool ready(const struct vs_vring *r)
{
	/* there are no disabled rings where that was not negotiated */
	bool enabled = r->enabled || !vs_vfeature(r->s, VH_F_PROTOCOL_FEATURES);

	return !r->started && r->len && r->addressed && r->kick >= 0 && enabled;
}

static void ring_start(struct vs_vring *r)
{
	struct viommu_virtio_dev *dev = r->s->dev;
	struct viommu_virtqueue_state state;
	struct viommu_ring ring;

	if (!ready(r) || dev->resetting || viommu_virtio_dev_failure(dev))
		return;
	if (!vs_virtio_features_fit(dev, r->s->features & dev->offered)) {
		viommu_virtio_dev_fail(dev, "the driver lacks a feature that "
					    "is required");
		return;
	}
	if (ring_of(r, &ring)) {
		viommu_virtio_dev_fail(dev, "a ring is outside of memory");
		return;
	}
	state_of(r, &state);
	r->started = vs_virtio_queue_start(dev, r->index, &ring, &state);
}

void vs_vrings_start(struct viommu_vhost_user *s)
{
	for (unsigned i = 0; i < s->dev->cfg.queues; i++)
		ring_start(&s->rings[i]);
}

static void kick_event(void *arg, uint32_t events)
{
	struct vs_vring *r = arg;
	struct viommu_vhost_user *s = r->s;
	uint64_t n;
	const struct iovec iov = { .iov_base = &n, .iov_len = sizeof(n) };

	(void)events;
	if (preadv2(r->kick, &iov, 1, -1, RWF_NOWAIT) < 0 && errno != EAGAIN &&
	    errno != EINTR) {
		viommu_loop_remove(s->loop, r->kick);
		viommu_virtio_dev_fail(s->dev, "a kick cannot be read");
		return;
	}
	vs_vcount(s, VS_VSTAT_KICKS);
	if (r->started)
		vs_virtio_queue_kick(s->dev, r->index);
	else
		ring_start(r);
}

/* ------------------------------------------------------- what is told us */

int vs_vring_num(struct vs_vring *r, uint32_t num)
{
	if (r->started)
		return -EBUSY;
	if (!num || (num & (num - 1)) || num > r->s->dev->cfg.queue_len)
		return -EINVAL;
	r->len = num;
	return 0;
}

int vs_vring_base(struct vs_vring *r, uint32_t base)
{
	if (r->started)
		return -EBUSY;
	if (base > UINT16_MAX)
		return -EINVAL;
	r->base = (uint16_t)base;
	return 0;
}

/* It may be told again while it runs, to have it logged: all we log by what is
 * written, so that changes nothing. */
int vs_vring_addr(struct vs_vring *r, const struct vh_vring_addr *addr)
{
	if (addr->flags & ~(uint32_t)VH_VRING_F_LOG)
		return -EINVAL;
	if (r->started &&
	    (addr->desc != r->addr.desc || addr->avail != r->addr.avail ||
	     addr->used != r->addr.used))
		return -EBUSY;
	if ((addr->desc & (VRING_DESC_ALIGN_SIZE - 1)) ||
	    (addr->avail & (VRING_AVAIL_ALIGN_SIZE - 1)) ||
	    (addr->used & (VRING_USED_ALIGN_SIZE - 1)))
		return -EINVAL;
	r->addr = *addr;
	r->addressed = true;
	ring_start(r);
	return 0;
}

int vs_vring_enable(struct vs_vring *r, bool enable)
{
	struct viommu_virtio_dev *dev = r->s->dev;

	r->enabled = enable;
	if (!r->started) {
		ring_start(r);
		return 0;
	}
	vs_virtio_queue_hold(dev, r->index, !enable);
	if (enable)
		viommu_virtio_dev_again(dev, r->index);
	return 0;
}

static void kick_close(struct vs_vring *r)
{
	if (r->kick >= 0)
		viommu_loop_remove(r->s->loop, r->kick);
	fd_set_to(&r->kick, -1);
}

int vs_vring_kick(struct vs_vring *r, int fd)
{
	int rc;

	if (fd < 0)
		return -EOPNOTSUPP; /* it would have to be polled */
	if (!vs_irq_usable(fd)) {
		close(fd);
		return -EBADF;
	}
	kick_close(r);
	rc = viommu_loop_add(r->s->loop, fd, EPOLLIN, kick_event, r);
	if (rc) {
		close(fd);
		return rc;
	}
	r->kick = fd;
	/* the one before may have had something to say */
	if (r->started)
		viommu_virtio_dev_again(r->s->dev, r->index);
	else
		ring_start(r);
	return 0;
}

static int signal_set(int *at, int fd)
{
	if (fd >= 0 && !vs_irq_usable(fd)) {
		close(fd);
		return -EBADF;
	}
	fd_set_to(at, fd);
	return 0;
}

/* A ring may be running since before there was anybody to be told. */
int vs_vring_call(struct vs_vring *r, int fd)
{
	int rc = signal_set(&r->call, fd);

	if (!rc && r->started)
		fd_signal(fd);
	return rc;
}

int vs_vring_err(struct vs_vring *r, int fd)
{
	return signal_set(&r->err, fd);
}

/* ------------------------------------------------------------------ stop */

/* Requests that were dropped are popped again: if no later one was finished, by
 * whoever goes on there, who need not have the area (a migration); else by who
 * has. */
static void base_find(struct vs_vring *r)
{
	struct viommu_virtio_dev *dev = r->s->dev;
	uint16_t head;

	r->base = viommu_virtqueue_next(viommu_virtio_dev_queue(dev, r->index));
	while (vs_virtio_queue_unpop(dev, r->index, r->base, &head)) {
		vs_inflight_forget(r->s, r->index, head);
		r->base--;
	}
}

void vs_vring_stop(struct vs_vring *r)
{
	struct viommu_virtio_dev *dev = r->s->dev;

	if (r->started) {
		base_find(r);
		vs_virtio_queue_stop(dev, r->index);
	}
	r->started = false;
	kick_close(r);
	/* nobody uses what has failed any more */
	if (viommu_virtio_dev_failure(dev) && !vs_vrings_started(r->s))
		vs_virtio_reset(dev);
}

bool vs_vrings_started(const struct viommu_vhost_user *s)
{
	for (unsigned i = 0; i < s->dev->cfg.queues; i++)
		if (s->rings[i].started)
			return true;
	return false;
}

void vs_vrings_init(struct viommu_vhost_user *s)
{
	for (unsigned i = 0; i < VS_VIRTIO_QUEUES; i++)
		s->rings[i] = (struct vs_vring){
			.s = s,
			.index = i,
			.kick = -1,
			.call = -1,
			.err = -1,
		};
}

void vs_vrings_drop(struct viommu_vhost_user *s)
{
	for (unsigned i = 0; i < VS_VIRTIO_QUEUES; i++) {
		kick_close(&s->rings[i]);
		fd_set_to(&s->rings[i].call, -1);
		fd_set_to(&s->rings[i].err, -1);
	}
	vs_vrings_init(s);
}

/* ------------------------------------------------- what the device asks for */

static bool may_dma(const void *t)
{
	const struct viommu_vhost_user *s = t;

	return s->state == VS_VH_SERVE;
}

static void interrupt(void *t, unsigned queue)
{
	struct viommu_vhost_user *s = t;

	if (s->rings[queue].call < 0)
		return;
	fd_signal(s->rings[queue].call);
	vs_vcount(s, VS_VSTAT_INTERRUPTS);
}

static void config_changed(void *t)
{
	struct viommu_vhost_user *s = t;

	if (vs_vprotocol(s, VH_P_CONFIG))
		vs_back_send(&s->back, VH_BACKEND_CONFIG_CHANGE_MSG, NULL, 0);
}

static void failed(void *t, const char *why)
{
	struct viommu_vhost_user *s = t;

	for (unsigned i = 0; i < s->dev->cfg.queues; i++)
		fd_signal(s->rings[i].err);
	vs_vtrouble(s, why);
	/* a ring that is to be stopped has nothing to wait for any more */
	viommu_loop_post(s->loop, &s->progress);
}

static void publishing(void *t)
{
	vs_log_sync(t);
}

static void published(void *t, unsigned queue)
{
	struct viommu_vhost_user *s = t;

	vs_log_sync(s);
	if (s->stopping && s->stopping->index == queue)
		viommu_loop_post(s->loop, &s->progress);
}

static void busy(void *t)
{
	struct viommu_vhost_user *s = t;

	s->busy = true;
}

static void idle(void *t)
{
	struct viommu_vhost_user *s = t;

	s->busy = false;
	viommu_loop_post(s->loop, &s->progress);
}

static void reset_done(void *t)
{
	struct viommu_vhost_user *s = t;

	s->dev->live = s->state == VS_VH_SERVE;
}

const struct vs_virtio_transport vs_vhost_transport = {
	.may_dma = may_dma,
	.interrupt = interrupt,
	.config_changed = config_changed,
	.failed = failed,
	.publishing = publishing,
	.published = published,
	.busy = busy,
	.idle = idle,
	.reset_done = reset_done,
};
