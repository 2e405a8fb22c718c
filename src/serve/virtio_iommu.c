/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * virtio-iommu as a PCI function: struct viommu_virtio between two virtqueues
 * (virtio 1.3, 5.13.2).
 *
 * A request is copied in, carried out, and answered when its fence is done:
 * at once as a rule, or later on whichever thread let the last map go.  That
 * thread only links the request into `answered` and posts to the loop, where
 * the answer is written to the guest.  Requests that come later do not wait.
 * One whose fence has failed (L9) is answered as well, with an error, but its
 * storage stays taken until it is released; so there may be none for the next
 * one, which then waits in the ring.
 *
 * Taking the bypass away is a register write, which cannot be held back.  It
 * has a fence as well: until that is done, the guest reads the old value.
 *
 * While the guest has bus mastering off, answers and faults wait in our hands.
 *
 * A reset is over when its own fence is done, that of the bypass too, and no
 * request is waiting, or unreleased: then the driver reads status 0, and
 * nobody can still touch what its domains mapped.
 *
 * Who locks what: `lock` guards the answered and released lists and the flag
 * beside them, and how a fence came to its end.  It is held while a task is
 * posted and taken by the task, which thus knows that whoever posted it is done
 * with us.  The rest is the loop's thread's.
 */

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_iommu.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <viommu/serve/virtio_iommu.h>
#include <viommu/serve/virtio_pci.h>
#include <viommu/space.h>

#include "serve/loop.h"
#include "serve/opts.h"
#include "serve/waiter.h"

#define CLASS_IOMMU 0x080600
#define BATCH	    64
#define POLL_NS	    UINT64_C(20000)   /* for the next request */
#define RETRY_NS    UINT64_C(1000000) /* when no pin was left */
#define EVENT_LEN   sizeof(struct virtio_iommu_fault)
#define BYPASS_AT   offsetof(struct virtio_iommu_config, bypass)

enum {
	REQUESTQ,
	EVENTQ,
	QUEUES,
	QUEUE_LEN = 256,
	OUT_MAX = 128, /* the longest request has 72 bytes */
	IN_MAX = 64,   /* answers but PROBE's have 4 */
};

struct request {
	struct viommu_virtio_iommu *vio;
	struct request *next; /* unused, answered or released */
	/* who still needs it: the guest for its answer, the IOMMU */
	_Atomic unsigned needed;
	struct viommu_virtio_req req;
	struct viommu_element elem;
	size_t written;
	uint8_t *large; /* in place of in[], for PROBE */
	uint8_t out[OUT_MAX], in[IN_MAX];
	struct viommu_piece segments[QUEUE_LEN];
};

struct viommu_virtio_iommu {
	struct viommu_virtio_iommu_config cfg;
	struct viommu_virtio *virtio;
	struct viommu_virtio_dev *dev;
	struct viommu_virtio_pci *vp;
	struct viommu_endpoint *endpoint; /* of the rings */
	struct viommu_space *identity;
	uint32_t probe_size;

	struct request *requests, *unused;
	bool starved; /* there was a request to take, and none to put it in */
	unsigned inflight;
	pthread_mutex_t lock;
	struct request *answered, **answered_last;
	struct request *released; /* answered before that */
	bool looking; /* the loop will look at the lists without being told */
	struct viommu_task answer;
	/* those that found no pin: to be carried out, to be given back */
	struct request *unfilled, *unanswered;
	struct viommu_timer retry;

	struct viommu_task event;
	struct viommu_element event_elem;
	struct viommu_piece event_segments[QUEUE_LEN];
	bool event_buffer;  /* event_elem waits for a fault */
	bool event_fetched; /* it is this one */
	uint8_t fault[EVENT_LEN];

	bool resetting;
	struct vs_waiter reset, bypass, gone;
	struct vs_deadlines deadlines; /* after vp is gone, too */
	uint8_t bypass_shown;	       /* while bypass.pending */
	bool bypass_again; /* and then another value is to be written */
	uint8_t bypass_next;
	uint8_t bypass_initial;
	bool bypass_restore; /* by the reset that is about to begin */
};

/* The reset is over when nobody is left who began before it. */
static void reset_check(struct viommu_virtio_iommu *vio)
{
	if (!vio->dev || !vio->resetting || vio->reset.pending ||
	    vio->bypass.pending || vio->inflight)
		return;
	vio->resetting = false;
	viommu_virtio_dev_reset_done(vio->dev);
}

/* -------------------------------------------------------------- requests */

static void request_put(struct request *r)
{
	struct viommu_virtio_iommu *vio = r->vio;

	free(r->large);
	r->large = NULL;
	r->next = vio->unused;
	vio->unused = r;
}

/* Pins were short: look again soon. */
static void retry_later(struct viommu_virtio_iommu *vio)
{
	viommu_timer_start(vio->cfg.loop, &vio->retry, RETRY_NS);
}

/* Back to the driver with what was written, or with nothing.  False: no pin
 * for it. */
static bool request_return(struct request *r)
{
	struct viommu_virtio_dev *dev = r->vio->dev;
	int rc;

	if (r->vio->resetting)
		return true;
	rc = viommu_virtqueue_write(viommu_virtio_dev_queue(dev, REQUESTQ),
				    &r->elem, 0, r->req.in, r->written);
	if (rc == -EAGAIN)
		return false;
	viommu_virtio_dev_push(dev, REQUESTQ, &r->elem,
			       rc ? 0 : (uint32_t)r->written);
	return true;
}

/* There is something in a list. */
static void look_locked(struct viommu_virtio_iommu *vio)
{
	if (!vio->looking)
		viommu_loop_post(vio->cfg.loop, &vio->answer);
	vio->looking = true;
}

/* Any thread. */
static void request_done(struct viommu_virtio_req *req, size_t written)
{
	struct request *r = req->arg;
	struct viommu_virtio_iommu *vio = r->vio;

	r->written = written;
	r->next = NULL;
	pthread_mutex_lock(&vio->lock);
	*vio->answered_last = r;
	vio->answered_last = &r->next;
	look_locked(vio);
	pthread_mutex_unlock(&vio->lock);
}

/* Any thread.  As a rule the answer is still to be written. */
static void request_released(struct viommu_virtio_req *req)
{
	struct request *r = req->arg;
	struct viommu_virtio_iommu *vio = r->vio;

	if (atomic_fetch_sub(&r->needed, 1) != 1)
		return;
	pthread_mutex_lock(&vio->lock);
	r->next = vio->released;
	vio->released = r;
	look_locked(vio);
	pthread_mutex_unlock(&vio->lock);
}

/* Take the lists: the answered is returned, the released put back. */
static struct request *answered_take(struct viommu_virtio_iommu *vio)
{
	struct request *answered, *released;

	pthread_mutex_lock(&vio->lock);
	answered = vio->answered;
	released = vio->released;
	vio->answered = vio->released = NULL;
	vio->answered_last = &vio->answered;
	vio->looking = false;
	pthread_mutex_unlock(&vio->lock);
	while (released) {
		struct request *next = released->next;

		request_put(released);
		vio->inflight--;
		released = next;
	}
	return answered;
}

/* Bounded by the requests that there are. */
static void answer(void *arg)
{
	struct viommu_virtio_iommu *vio = arg;
	struct request **last = &vio->unanswered;

	while (*last)
		last = &(*last)->next;
	*last = answered_take(vio);
	while (vio->unanswered) {
		struct request *r = vio->unanswered, *next = r->next;

		if (!vio->resetting && !viommu_virtio_dev_may_dma(vio->dev))
			break;
		if (!request_return(r)) {
			retry_later(vio);
			break;
		}
		vio->unanswered = next;
		if (atomic_fetch_sub(&r->needed, 1) == 1) {
			request_put(r);
			vio->inflight--;
		}
	}
	if (vio->dev)
		viommu_virtio_dev_publish(vio->dev, REQUESTQ);
	if (vio->dev && vio->starved && vio->unused) {
		vio->starved = false;
		viommu_virtio_dev_again(vio->dev, REQUESTQ);
	}
	reset_check(vio);
}

/*
 * Copy in what may be read and make room for what may be written: no more of
 * either than any request has.  0, -EAGAIN, or: a buffer is not memory, or the
 * room is not to be had.
 */
static int request_fill(struct request *r)
{
	struct viommu_virtio_iommu *vio = r->vio;
	size_t most = vio->probe_size + sizeof(struct virtio_iommu_req_tail);
	const struct viommu_element *e = &r->elem;
	int rc;

	if (most < IN_MAX)
		most = IN_MAX;
	r->req.out = r->out;
	r->req.out_len = e->out_len < OUT_MAX ? (size_t)e->out_len : OUT_MAX;
	r->req.in = r->in;
	r->req.in_len = e->in_len < most ? (size_t)e->in_len : most;
	rc = viommu_virtqueue_read(viommu_virtio_dev_queue(vio->dev, REQUESTQ),
				   e, 0, r->out, r->req.out_len);
	if (rc)
		return rc;
	if (r->req.in_len > IN_MAX) {
		r->large = malloc(r->req.in_len);
		r->req.in = r->large;
	}
	return r->req.in ? 0 : -ENOMEM;
}

/* The next request: the one that found no pin, or a new one. */
static struct request *request_next(struct viommu_virtio_iommu *vio)
{
	struct request *r = vio->unfilled;

	vio->unfilled = NULL;
	if (r)
		return r;
	/* as many as heads: there is one, but for those not released, or while
	 * a reset goes on */
	r = vio->unused;
	vio->starved = !r;
	if (!r || viommu_virtio_dev_pop(vio->dev, REQUESTQ, &r->elem))
		return NULL;
	vio->unused = r->next;
	r->written = 0;
	atomic_store(&r->needed, 2);
	return r;
}

/* Take one; false: there is none, or not yet. */
static bool request_take(struct viommu_virtio_iommu *vio)
{
	struct request *r = request_next(vio);
	int rc;

	if (!r)
		return false;
	if (!viommu_virtio_dev_may_dma(vio->dev)) {
		vio->unfilled = r; /* until we are notified that it may */
		return false;
	}
	rc = request_fill(r);
	if (rc == -EAGAIN) {
		vio->unfilled = r; /* they take effect in the order given */
		retry_later(vio);
		return false;
	}
	vio->inflight++;
	if (rc) {
		request_done(&r->req, 0);
		request_released(&r->req);
	} else {
		viommu_virtio_request(vio->virtio, &r->req);
	}
	return true;
}

static unsigned requests_take(struct viommu_virtio_iommu *vio, unsigned most)
{
	unsigned n = 0;

	pthread_mutex_lock(&vio->lock);
	vio->looking = true;
	pthread_mutex_unlock(&vio->lock);
	while (n < most && request_take(vio))
		n++;
	answer(vio);
	return n;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/*
 * What is answered at once is shown together, with one interrupt.
 *
 * A driver that maps a request's buffers comes back within microseconds, and
 * waits for each of them with its interrupts off; a notification is an exit of
 * its processor, a message and a wake-up.  So we look a while by ourselves.
 */
static void requests_serve(struct viommu_virtio_iommu *vio)
{
	struct viommu_virtqueue *vq =
		viommu_virtio_dev_queue(vio->dev, REQUESTQ);
	uint64_t until = now_ns() + POLL_NS;
	unsigned n = 0, more;

	viommu_virtqueue_quiet(vq, true);
	do {
		more = requests_take(vio, BATCH - n);
		n += more;
		if (more)
			until = now_ns() + POLL_NS;
	} while (n < BATCH && now_ns() < until);
	viommu_virtqueue_quiet(vq, false);
	n += requests_take(vio, BATCH - n);
	if (n == BATCH)
		viommu_virtio_dev_again(vio->dev, REQUESTQ);
}

/* ---------------------------------------------------------------- events */

/* A buffer that a fault fits in; others go back as they came. */
static bool event_buffer_get(struct viommu_virtio_iommu *vio)
{
	if (vio->event_buffer)
		return true;
	if (viommu_virtio_dev_pop(vio->dev, EVENTQ, &vio->event_elem))
		return false;
	vio->event_buffer = vio->event_elem.in_len >= EVENT_LEN;
	if (!vio->event_buffer)
		viommu_virtio_dev_push(vio->dev, EVENTQ, &vio->event_elem, 0);
	return true;
}

/* One buffer, one fault; false: one of them is missing, or not to be touched
 * now. */
static bool event_serve(struct viommu_virtio_iommu *vio)
{
	int rc;

	if (!viommu_virtio_dev_may_dma(vio->dev) || !event_buffer_get(vio))
		return false;
	if (!vio->event_buffer)
		return true;
	if (!vio->event_fetched)
		vio->event_fetched =
			viommu_virtio_event(vio->virtio, vio->fault,
					    EVENT_LEN) > 0;
	if (!vio->event_fetched)
		return false;
	rc = viommu_virtqueue_write(viommu_virtio_dev_queue(vio->dev, EVENTQ),
				    &vio->event_elem, 0, vio->fault, EVENT_LEN);
	if (rc == -EAGAIN) {
		retry_later(vio);
		return false;
	}
	viommu_virtio_dev_push(vio->dev, EVENTQ, &vio->event_elem,
			       rc ? 0 : EVENT_LEN);
	vio->event_buffer = vio->event_fetched = false;
	return true;
}

static void events_serve(struct viommu_virtio_iommu *vio)
{
	unsigned n = 0;

	while (n < BATCH && event_serve(vio))
		n++;
	viommu_virtio_dev_publish(vio->dev, EVENTQ);
	if (n == BATCH)
		viommu_virtio_dev_again(vio->dev, EVENTQ);
}

static void event_task(void *arg)
{
	struct viommu_virtio_iommu *vio = arg;

	if (vio->dev)
		events_serve(vio);
}

static void retry(void *arg)
{
	requests_serve(arg);
	events_serve(arg);
}

/* Any thread. */
static void event_waits(void *arg)
{
	struct viommu_virtio_iommu *vio = arg;

	viommu_loop_post(vio->cfg.loop, &vio->event);
}

/* ----------------------------------------------------------------- reset */

static void bypass_write(struct viommu_virtio_iommu *vio, uint8_t val);

static void reset_fence_done(void *arg)
{
	reset_check(vs_waiter_done(arg));
}

static void reset(void *arg)
{
	struct viommu_virtio_iommu *vio = arg;

	vio->resetting = true;
	vio->event_buffer = vio->event_fetched = false;
	if (vio->unfilled)
		request_put(vio->unfilled);
	vio->unfilled = NULL;
	viommu_virtio_reset(vio->virtio, vs_waiter_begin(&vio->reset));
	vs_waiter_commit(&vio->reset);
	/* now that no driver's features are in the way */
	if (vio->bypass_restore)
		bypass_write(vio, vio->bypass_initial);
	vio->bypass_restore = false;
	answer(vio); /* drops those that wait for a pin */
}

/* ---------------------------------------------------- features, registers */

static void features(void *arg, uint64_t accepted)
{
	struct viommu_virtio_iommu *vio = arg;

	viommu_virtio_features_write(vio->virtio, accepted);
}

static void notify(void *arg, unsigned queue)
{
	if (queue == REQUESTQ)
		requests_serve(arg);
	else
		events_serve(arg);
}

static uint8_t bypass_get(struct viommu_virtio_iommu *vio)
{
	uint8_t val;

	viommu_virtio_config_read(vio->virtio, BYPASS_AT, &val, sizeof(val));
	return val;
}

static void config_read(void *arg, size_t off, void *buf, size_t len)
{
	struct viommu_virtio_iommu *vio = arg;

	viommu_virtio_config_read(vio->virtio, off, buf, len);
	if (vio->bypass.pending && off <= BYPASS_AT && BYPASS_AT - off < len)
		((uint8_t *)buf)[BYPASS_AT - off] = vio->bypass_shown;
}

static void bypass_set(struct viommu_virtio_iommu *vio, uint8_t val)
{
	vio->bypass_shown = bypass_get(vio);
	viommu_virtio_config_write(vio->virtio, BYPASS_AT, &val, sizeof(val),
				   vs_waiter_begin(&vio->bypass));
	vs_waiter_commit(&vio->bypass);
}

static void bypass_fence_done(void *arg)
{
	struct viommu_virtio_iommu *vio = vs_waiter_done(arg);

	/* also during a reset: a device's does not change it (5.13.4.2) */
	if (vio->bypass_again && vio->dev) {
		vio->bypass_again = false;
		bypass_set(vio, vio->bypass_next);
	}
	reset_check(vio);
}

static void bypass_write(struct viommu_virtio_iommu *vio, uint8_t val)
{
	if (!vio->bypass.pending) {
		bypass_set(vio, val);
		return;
	}
	vio->bypass_again = true;
	vio->bypass_next = val;
}

static void config_write(void *arg, size_t off, const void *buf, size_t len)
{
	/* the only field that can be written */
	if (off <= BYPASS_AT && BYPASS_AT - off < len)
		bypass_write(arg, ((const uint8_t *)buf)[BYPASS_AT - off]);
}

/* The machine starts over: firmware finds what it was configured to find. */
static void system_reset(void *arg)
{
	struct viommu_virtio_iommu *vio = arg;

	if (vio->resetting)
		bypass_write(vio, vio->bypass_initial);
	else
		vio->bypass_restore = true;
}

static const struct viommu_virtio_dev_ops ops = {
	.features = features,
	.config_read = config_read,
	.config_write = config_write,
	.notify = notify,
	.reset = reset,
	.system_reset = system_reset,
};

/* ---------------------------------------------------------------- public */

/* An IOMMU is not behind itself: its rings are where the guest's memory is. */
static int endpoint_make(struct viommu_virtio_iommu *vio)
{
	const struct viommu_space_config sc = {
		.size = sizeof(sc),
		.kind = VIOMMU_SPACE_IDENTITY,
		.page_sizes = 4096,
	};
	const struct viommu_endpoint_config ec = {
		.size = sizeof(ec),
		.id = vio->cfg.id,
		.pasid = VIOMMU_NO_PASID,
		.memory = vio->cfg.memory,
	};
	struct viommu_fence f;
	int rc = viommu_space_create(vio->cfg.vi, &sc, &vio->identity);

	if (!rc)
		rc = viommu_endpoint_create(vio->cfg.vi, &ec, &vio->endpoint);
	if (rc)
		return rc;
	viommu_fence_init(&f);
	rc = viommu_endpoint_attach(vio->endpoint, vio->identity, &f);
	/* it was attached to nothing: done at once */
	viommu_fence_commit(&f, NULL, NULL);
	return viommu_fence_wait(&f, -1) ? -EINVAL : rc;
}

static int virtio_make(struct viommu_virtio_iommu *vio)
{
	struct viommu_virtio_config cfg = { .size = sizeof(cfg) };
	__le32 probe_size;
	int rc = 0;

	if (vio->cfg.virtio)
		rc = vs_opts_copy(&cfg, sizeof(cfg), vio->cfg.virtio,
				  vio->cfg.virtio->size);
	if (rc)
		return rc;
	cfg.size = sizeof(cfg);
	cfg.event = event_waits;
	cfg.arg = vio;
	rc = viommu_virtio_create(vio->cfg.vi, &cfg, &vio->virtio);
	if (rc)
		return rc;
	viommu_virtio_config_read(
		vio->virtio, offsetof(struct virtio_iommu_config, probe_size),
		&probe_size, sizeof(probe_size));
	vio->probe_size = le32toh(probe_size);
	vio->bypass_initial = bypass_get(vio);
	return 0;
}

static int pci_make(struct viommu_virtio_iommu *vio)
{
	const struct viommu_virtio_dev_config cfg = {
		.size = sizeof(cfg),
		.name = vio->cfg.name,
		.loop = vio->cfg.loop,
		.vi = vio->cfg.vi,
		.memory = vio->cfg.memory,
		.endpoint = vio->endpoint,
		.device_id = VIRTIO_ID_IOMMU,
		.features = viommu_virtio_features(vio->virtio),
		.queues = QUEUES,
		.queue_len = QUEUE_LEN,
		.segments = QUEUE_LEN,
		.config_len = sizeof(struct virtio_iommu_config),
		.ops = &ops,
		.arg = vio,
	};

	int rc = viommu_virtio_dev_create(&cfg, &vio->dev);

	return rc ? rc
		  : viommu_virtio_pci_create(vio->dev, CLASS_IOMMU, &vio->vp);
}

static int requests_make(struct viommu_virtio_iommu *vio)
{
	vio->requests = calloc(QUEUE_LEN, sizeof(*vio->requests));
	if (!vio->requests)
		return -ENOMEM;
	for (unsigned i = 0; i < QUEUE_LEN; i++) {
		struct request *r = &vio->requests[i];

		r->vio = vio;
		r->req.done = request_done;
		r->req.release = request_released;
		r->req.arg = r;
		r->elem.segments = r->segments;
		r->elem.max = QUEUE_LEN;
		request_put(r);
	}
	vio->event_elem.segments = vio->event_segments;
	vio->event_elem.max = QUEUE_LEN;
	return 0;
}

static void gone_fence_done(void *arg)
{
	vs_waiter_done(arg);
}

static void init(struct viommu_virtio_iommu *vio)
{
	const struct vs_waits waits = { .owner = vio,
					.loop = vio->cfg.loop,
					.lock = &vio->lock };

	vs_deadlines_add(vio->cfg.loop, &vio->deadlines, vio->cfg.vi);
	pthread_mutex_init(&vio->lock, NULL);
	vio->answered_last = &vio->answered;
	viommu_task_init(&vio->answer, answer, vio);
	viommu_task_init(&vio->event, event_task, vio);
	viommu_timer_init(&vio->retry, retry, vio);
	vs_waiter_init(&vio->reset, &waits, reset_fence_done);
	vs_waiter_init(&vio->bypass, &waits, bypass_fence_done);
	vs_waiter_init(&vio->gone, &waits, gone_fence_done);
}

int viommu_virtio_iommu_create(const struct viommu_virtio_iommu_config *cfg,
			       struct viommu_virtio_iommu **out)
{
	struct viommu_virtio_iommu *vio = calloc(1, sizeof(*vio));
	int rc;

	if (!vio)
		return -ENOMEM;
	rc = vs_opts_copy(&vio->cfg, sizeof(vio->cfg), cfg, cfg->size);
	if (!rc && (!cfg->loop || !cfg->vi || !cfg->memory))
		rc = -EINVAL;
	if (rc) {
		free(vio);
		return rc;
	}
	init(vio);
	rc = requests_make(vio);
	if (!rc)
		rc = endpoint_make(vio);
	if (!rc)
		rc = virtio_make(vio);
	if (!rc)
		rc = pci_make(vio);
	if (rc) {
		viommu_virtio_iommu_destroy(vio);
		return rc;
	}
	/* the caller's */
	vio->cfg.name = NULL;
	vio->cfg.virtio = NULL;
	*out = vio;
	return 0;
}

static bool waiting(const struct viommu_virtio_iommu *vio)
{
	return vio->gone.pending || vio->reset.pending || vio->bypass.pending ||
	       vio->inflight;
}

/* The others' callbacks go on: they hold what we wait for. */
static void wait_gone(struct viommu_virtio_iommu *vio)
{
	struct viommu_fence *f = vs_waiter_begin(&vio->gone);

	viommu_virtio_destroy(vio->virtio, f);
	if (vio->endpoint)
		viommu_endpoint_destroy(vio->endpoint, f);
	if (vio->identity)
		viommu_space_destroy(vio->identity, f);
	vs_waiter_commit(&vio->gone);
	while (waiting(vio))
		vs_loop_once(vio->cfg.loop);
}

void viommu_virtio_iommu_destroy(struct viommu_virtio_iommu *vio)
{
	if (!vio)
		return;
	vio->resetting = true; /* nothing is written to the guest any more */
	viommu_virtio_pci_destroy(vio->vp);
	viommu_virtio_dev_destroy(vio->dev);
	vio->dev = NULL; /* answers go nowhere */
	viommu_timer_stop(vio->cfg.loop, &vio->retry);
	answer(vio);
	wait_gone(vio);
	viommu_loop_cancel(vio->cfg.loop, &vio->answer);
	viommu_loop_cancel(vio->cfg.loop, &vio->event);
	vs_deadlines_remove(vio->cfg.loop, &vio->deadlines);
	for (unsigned i = 0; vio->requests && i < QUEUE_LEN; i++)
		free(vio->requests[i].large);
	pthread_mutex_destroy(&vio->lock);
	free(vio->requests);
	free(vio);
}

struct viommu_pci *viommu_virtio_iommu_pci(struct viommu_virtio_iommu *vio)
{
	return viommu_virtio_pci_pci(vio->vp);
}

struct viommu_virtio *
viommu_virtio_iommu_device(struct viommu_virtio_iommu *vio)
{
	return vio->virtio;
}
