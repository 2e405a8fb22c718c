/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_SERVE_FRONT_H
#define TESTS_SERVE_FRONT_H

/*
 * Both ends of vhost-user.  A front-end for tests, which says what it is told
 * to, in QEMU's manner or in a worse one, and a back-end with a small device
 * model, on a loop with a thread of its own.  Every wait has a bound.
 *
 * The guest's RAM is a memfd, twice REGION bytes: at GPA 0 and, behind a hole,
 * at GPA_HIGH.  The front-end has it elsewhere (USER, USER_HIGH), and its IOMMU
 * yet elsewhere (IOVA + GPA), so that one address taken for another is noticed.
 *
 * The model fills a request's writable part with FILL, and gives it back; or
 * holds it, mapped, until it is told to let go.
 */

#include "ring.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <viommu/serve/loop.h>
#include <viommu/serve/vhost_user.h>

#include "serve/vhost_user_wire.h"

#define WAIT_MS	  10000
#define REGION	  UINT64_C(0x200000)
#define GPA_HIGH  UINT64_C(0x100000000)
#define USER	  UINT64_C(0x7f1200000000)
#define USER_HIGH UINT64_C(0x7e0000000000)
#define IOVA	  UINT64_C(0xab0000000)
#define FILL	  0x5a
#define QUEUES	  2u
#define LEN	  64u
#define HELD	  8u
#define CONFIG	  24u
#define RINGS	  UINT64_C(0x10000) /* GPA; each takes three pages */
#define DATA	  UINT64_C(0x40000)

#define BIT(n)	 (UINT64_C(1) << (n))
#define PLATFORM BIT(VIRTIO_F_ACCESS_PLATFORM)
#define VIRTIO_1 BIT(VIRTIO_F_VERSION_1)
#define PROTOCOL BIT(VH_F_PROTOCOL_FEATURES)
#define LOG_ALL	 BIT(VH_F_LOG_ALL)
#define ALL_PROTOCOL                                                           \
	(BIT(VH_P_MQ) | BIT(VH_P_LOG_SHMFD) | BIT(VH_P_REPLY_ACK) |            \
	 BIT(VH_P_BACKEND_REQ) | BIT(VH_P_CONFIG) | BIT(VH_P_INFLIGHT_SHMFD) | \
	 BIT(VH_P_CONFIGURE_MEM_SLOTS))

static inline uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Only between two looks at something that is about to happen. */
static inline void breathe(void)
{
	const struct timespec ts = { .tv_nsec = 200000 };

	nanosleep(&ts, NULL);
}

#define WAIT_UNTIL(condition)                             \
	do {                                              \
		uint64_t until_ = now_ms() + WAIT_MS;     \
                                                          \
		while (!(condition) && now_ms() < until_) \
			breathe();                        \
		assert_true(condition);                   \
	} while (0)

static inline unsigned fds_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* --------------------------------------------------------------- back-end */

struct held {
	struct back *b;
	bool used, waits; /* for an answer */
	unsigned queue;
	struct viommu_element e;
	struct viommu_piece segments[LEN];
	struct viommu_dma map;
	struct iovec iov[4];
	bool mapped;
};

struct back {
	char dir[64], path[96];
	unsigned fds; /* open before */
	struct viommu *vi;
	struct viommu_endpoint *ep;
	struct viommu_loop *loop;
	struct viommu_virtio_dev *dev;
	struct viommu_vhost_user *server;
	pthread_t thread;
	bool running;

	/* the model; on the loop's thread */
	struct held held[HELD];
	struct viommu_task let_go, change;
	uint8_t config[CONFIG];
	bool resetting;
	/* and what others may look at, or say */
	atomic_uint hold; /* bit n: queue n's requests are held */
	atomic_uint mapped, finished, resets, faults;
	_Atomic uint64_t features;

	atomic_uint came, went, troubles;
	char why[128];	   /* written before went is counted */
	char trouble[128]; /* likewise */
};

static inline void model_finish(struct held *h, uint32_t written)
{
	struct back *b = h->b;

	if (h->mapped) {
		viommu_dma_unmap(&h->map, written);
		atomic_fetch_sub(&b->mapped, 1);
	}
	h->mapped = h->used = h->waits = false;
	if (b->resetting)
		return;
	atomic_fetch_add(&b->finished, 1);
	viommu_virtio_dev_push(b->dev, h->queue, &h->e, written);
	viommu_virtio_dev_publish(b->dev, h->queue);
}

/* Map it, if that is to be done; fill and return it, if that is. */
static inline void model_work(struct held *h)
{
	struct back *b = h->b;
	int rc;

	h->waits = false;
	if (!h->e.nin) {
		model_finish(h, 0);
		return;
	}
	h->map = (struct viommu_dma){
		.ep = b->ep,
		.iova = h->e.segments[h->e.nout].iova,
		.len = h->e.segments[h->e.nout].len,
		.prot = VIOMMU_WRITE,
		.iov = h->iov,
		.max_iov = 4,
	};
	rc = viommu_dma_map(&h->map);
	if (rc == -EINPROGRESS) {
		h->waits = true;
		return;
	}
	if (rc) {
		model_finish(h, 0);
		return;
	}
	h->mapped = true;
	atomic_fetch_add(&b->mapped, 1);
	for (uint32_t i = 0; i < h->map.niov; i++)
		memset(h->iov[i].iov_base, FILL, h->iov[i].iov_len);
	if (!(atomic_load(&b->hold) & BIT(h->queue)))
		model_finish(h, (uint32_t)h->map.len);
}

static inline void model_notify(void *arg, unsigned queue)
{
	struct back *b = arg;

	for (unsigned i = 0; i < HELD; i++)
		if (b->held[i].used && b->held[i].waits)
			model_work(&b->held[i]);
	for (unsigned i = 0; i < HELD; i++) {
		struct held *h = &b->held[i];

		if (h->used)
			continue;
		h->b = b;
		h->e.segments = h->segments;
		h->e.max = LEN;
		if (viommu_virtio_dev_pop(b->dev, queue, &h->e))
			return;
		h->used = true;
		h->queue = queue;
		model_work(h);
	}
}

static inline bool model_busy(const struct back *b)
{
	for (unsigned i = 0; i < HELD; i++)
		if (b->held[i].used)
			return true;
	return false;
}

/* What is held keeps a reset waiting, too. */
static inline void model_let_go(void *arg)
{
	struct back *b = arg;

	for (unsigned i = 0; i < HELD; i++)
		if (b->held[i].used && b->held[i].mapped)
			model_finish(&b->held[i], (uint32_t)b->held[i].map.len);
	if (b->resetting && !model_busy(b)) {
		b->resetting = false;
		viommu_virtio_dev_reset_done(b->dev);
	}
}

static inline void model_reset(void *arg)
{
	struct back *b = arg;

	b->resetting = true;
	atomic_fetch_add(&b->resets, 1);
	for (unsigned i = 0; i < HELD; i++)
		if (b->held[i].used && !b->held[i].mapped)
			b->held[i].used = b->held[i].waits = false;
	if (!atomic_load(&b->hold) || !model_busy(b))
		model_let_go(b);
}

static inline void model_timed_out(void *arg, viommu_iova_t start,
				   viommu_iova_t last)
{
	struct back *b = arg;

	for (unsigned i = 0; i < HELD; i++) {
		struct held *h = &b->held[i];

		if (h->used && h->waits && h->map.iova <= last &&
		    h->map.iova + (h->map.len - 1) >= start)
			model_finish(h, 0);
	}
}

static inline void model_drop(void *arg, unsigned queue)
{
	struct back *b = arg;

	for (unsigned i = 0; i < HELD; i++) {
		struct held *h = &b->held[i];

		if (!h->used || !h->waits || h->queue != queue)
			continue;
		viommu_virtio_dev_drop(b->dev, queue, &h->e);
		h->used = h->waits = false;
	}
}

static inline void model_features(void *arg, uint64_t features)
{
	struct back *b = arg;

	atomic_store(&b->features, features);
}

static inline void model_config_read(void *arg, size_t off, void *buf,
				     size_t len)
{
	struct back *b = arg;

	assert_true(off + len <= CONFIG);
	memcpy(buf, b->config + off, len);
}

static inline void model_config_write(void *arg, size_t off, const void *buf,
				      size_t len)
{
	struct back *b = arg;

	assert_true(off + len <= CONFIG);
	memcpy(b->config + off, buf, len);
}

static inline void model_change(void *arg)
{
	struct back *b = arg;

	b->config[0]++;
	viommu_virtio_dev_config_changed(b->dev);
}

static const struct viommu_virtio_dev_ops model_ops = {
	.features = model_features,
	.config_read = model_config_read,
	.config_write = model_config_write,
	.notify = model_notify,
	.reset = model_reset,
	.timed_out = model_timed_out,
	.drop = model_drop,
};

static inline void back_state(void *arg, bool connected, const char *why)
{
	struct back *b = arg;

	if (connected) {
		atomic_fetch_add(&b->came, 1);
		return;
	}
	snprintf(b->why, sizeof(b->why), "%s", why);
	atomic_fetch_add(&b->went, 1);
}

static inline void back_trouble(void *arg, const char *what)
{
	struct back *b = arg;

	snprintf(b->trouble, sizeof(b->trouble), "%s", what);
	atomic_fetch_add(&b->troubles, 1);
}

static inline void back_fault(void *arg, const struct viommu_fault *fault)
{
	struct back *b = arg;

	(void)fault;
	atomic_fetch_add(&b->faults, 1);
}

static inline void *back_run(void *arg)
{
	struct back *b = arg;

	return (void *)(intptr_t)viommu_loop_run(b->loop);
}

static inline void back_device(struct back *b)
{
	const struct viommu_virtio_dev_config cfg = {
		.size = sizeof(cfg),
		.name = "model",
		.loop = b->loop,
		.vi = b->vi,
		.memory = viommu_memory_of(b->vi),
		.endpoint = b->ep,
		.device_id = 5,
		.queue_len = LEN,
		.segments = LEN,
		.features = 0x21,
		.queues = QUEUES,
		.config_len = CONFIG,
		.ops = &model_ops,
		.arg = b,
	};

	assert_int_equal(viommu_virtio_dev_create(&cfg, &b->dev), 0);
}

/* Time-outs of 0: the defaults.  Its loop does not run yet. */
static inline struct back *back_begin(uint64_t fence_ns, uint64_t miss_ns)
{
	struct back *b = calloc(1, sizeof(*b));
	const char *tmp = getenv("TMPDIR");
	const struct viommu_config ic = {
		.size = sizeof(ic),
		.fence_timeout_ns = fence_ns,
	};
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = 8,
					     .pasid = VIOMMU_NO_PASID,
					     .fault = back_fault };
	struct viommu_vhost_user_config vc = { .size = sizeof(vc),
					       .state = back_state,
					       .trouble = back_trouble,
					       .miss_timeout_ns = miss_ns };

	assert_non_null(b);
	b->fds = fds_open();
	snprintf(b->dir, sizeof(b->dir), "%.40s/viommu-XXXXXX",
		 tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(b->dir));
	snprintf(b->path, sizeof(b->path), "%s/socket", b->dir);
	for (unsigned i = 0; i < CONFIG; i++)
		b->config[i] = (uint8_t)(i + 1);
	viommu_task_init(&b->let_go, model_let_go, b);
	viommu_task_init(&b->change, model_change, b);
	ec.arg = vc.arg = b;
	assert_int_equal(viommu_create(&ic, &b->vi), 0);
	assert_int_equal(viommu_endpoint_create(b->vi, &ec, &b->ep), 0);
	assert_int_equal(viommu_loop_create(&b->loop), 0);
	back_device(b);
	vc.path = b->path;
	vc.dev = b->dev;
	assert_int_equal(viommu_vhost_user_create(&vc, &b->server), 0);
	return b;
}

static inline struct back *back_make(uint64_t fence_ns, uint64_t miss_ns)
{
	struct back *b = back_begin(fence_ns, miss_ns);

	assert_int_equal(pthread_create(&b->thread, NULL, back_run, b), 0);
	b->running = true;
	return b;
}

/* Nothing of it is left afterwards. */
static inline void back_free(struct back *b)
{
	struct viommu_fence f;
	void *rc;

	if (b->running) {
		viommu_loop_stop(b->loop);
		assert_int_equal(pthread_join(b->thread, &rc), 0);
		assert_null(rc);
	}
	atomic_store(&b->hold, 0);
	model_let_go(b);
	viommu_vhost_user_destroy(b->server);
	assert_int_equal(rmdir(b->dir), 0);
	viommu_virtio_dev_destroy(b->dev);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(b->ep, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(&f, 10000000000), 0);
	viommu_loop_destroy(b->loop);
	viommu_destroy(b->vi);
	assert_int_equal(fds_open(), b->fds);
	free(b);
}

static inline void back_let_go(struct back *b)
{
	viommu_loop_post(b->loop, &b->let_go);
}

static inline struct viommu_vhost_user_stats back_stats(struct back *b)
{
	struct viommu_vhost_user_stats st;

	viommu_vhost_user_read_stats(b->server, &st);
	return st;
}

/* -------------------------------------------------------------- front-end */

struct front {
	int fd, back; /* back: our end of the other socket; -1 */
	int ram_fd;
	uint8_t *ram; /* of the region at GPA 0; the high one follows */
	struct ring rings[QUEUES];
	int kick[QUEUES], call[QUEUES], err[QUEUES]; /* -1: not given */
	uint64_t features;

	/* the last message received */
	struct vh_header hdr;
	uint8_t body[VH_BODY_MAX];
	int got_fd; /* -1: none */
};

static inline int front_memfd(uint64_t len)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	return fd;
}

static inline void front_connect(struct front *f, const struct back *b)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(f->fd >= 0);
	assert_true(strlen(b->path) < sizeof(sa.sun_path));
	memcpy(sa.sun_path, b->path, strlen(b->path) + 1);
	assert_int_equal(
		connect(f->fd, (const struct sockaddr *)&sa, sizeof(sa)), 0);
}

static inline struct front *front_make(const struct back *b)
{
	struct front *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->back = f->got_fd = -1;
	for (unsigned i = 0; i < QUEUES; i++)
		f->kick[i] = f->call[i] = f->err[i] = -1;
	f->ram_fd = front_memfd(2 * REGION);
	f->ram = mmap(NULL, 2 * REGION, PROT_READ | PROT_WRITE, MAP_SHARED,
		      f->ram_fd, 0);
	assert_ptr_not_equal(f->ram, MAP_FAILED);
	front_connect(f, b);
	return f;
}

static inline void fd_drop(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void front_hang_up(struct front *f)
{
	fd_drop(&f->fd);
	fd_drop(&f->back);
	fd_drop(&f->got_fd);
	for (unsigned i = 0; i < QUEUES; i++) {
		fd_drop(&f->kick[i]);
		fd_drop(&f->call[i]);
		fd_drop(&f->err[i]);
	}
}

static inline void front_free(struct front *f)
{
	front_hang_up(f);
	munmap(f->ram, 2 * REGION);
	close(f->ram_fd);
	free(f);
}

/* Raw bytes, with fds on the first.  false: the back-end is gone. */
static inline bool front_put(struct front *f, const void *buf, size_t len,
			     const int *fds, unsigned nfds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(253 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf,
			     .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (nfds) {
		struct cmsghdr *cm;

		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		cm = CMSG_FIRSTHDR(&msg);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(cm), fds, nfds * sizeof(int));
	}
	return sendmsg(f->fd, &msg, MSG_NOSIGNAL) == (ssize_t)len;
}

static inline bool front_send_fds(struct front *f, uint32_t request,
				  uint32_t flags, const void *body, size_t len,
				  const int *fds, unsigned nfds)
{
	uint8_t buf[sizeof(struct vh_header) + VH_BODY_MAX];
	const struct vh_header hdr = { .request = request,
				       .flags = VH_VERSION | flags,
				       .len = (uint32_t)len };

	memcpy(buf, &hdr, sizeof(hdr));
	if (len)
		memcpy(buf + sizeof(hdr), body, len);
	return front_put(f, buf, sizeof(hdr) + len, fds, nfds);
}

static inline bool front_send(struct front *f, uint32_t request, uint32_t flags,
			      const void *body, size_t len)
{
	return front_send_fds(f, request, flags, body, len, NULL, 0);
}

static inline bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

static inline bool recv_all(struct front *f, int fd, void *buf, size_t len)
{
	uint8_t *at = buf;

	while (len) {
		union {
			struct cmsghdr align;
			char buf[CMSG_SPACE(sizeof(int))];
		} control;
		struct iovec iov = { .iov_base = at, .iov_len = len };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control.buf,
				      .msg_controllen = sizeof(control.buf) };
		struct cmsghdr *cm;
		ssize_t n;

		assert_true(readable(fd, WAIT_MS));
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
		if (n <= 0)
			return false;
		cm = CMSG_FIRSTHDR(&msg);
		if (cm) {
			fd_drop(&f->got_fd);
			memcpy(&f->got_fd, CMSG_DATA(cm), sizeof(int));
		}
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* One message from either socket; false: the back-end has hung up. */
static inline bool front_recv_from(struct front *f, int fd)
{
	if (!recv_all(f, fd, &f->hdr, sizeof(f->hdr)))
		return false;
	assert_int_equal(f->hdr.flags & VH_VERSION_MASK, VH_VERSION);
	assert_true(f->hdr.len <= VH_BODY_MAX);
	return recv_all(f, fd, f->body, f->hdr.len);
}

static inline bool front_hung_up(struct front *f)
{
	char c;

	assert_true(readable(f->fd, WAIT_MS));
	return recv(f->fd, &c, 1, 0) <= 0;
}

/* The next answer is to @request. */
static inline void front_answered(struct front *f, uint32_t request)
{
	assert_true(front_recv_from(f, f->fd));
	assert_int_equal(f->hdr.request, request);
	assert_int_equal(f->hdr.flags, VH_VERSION | VH_REPLY);
}

static inline uint64_t front_u64(const struct front *f)
{
	uint64_t val;

	assert_int_equal(f->hdr.len, sizeof(val));
	memcpy(&val, f->body, sizeof(val));
	return val;
}

/* Ask; a number is the answer. */
static inline uint64_t front_get(struct front *f, uint32_t request)
{
	assert_true(front_send(f, request, 0, NULL, 0));
	front_answered(f, request);
	return front_u64(f);
}

/* Tell, and have it acknowledged: whether it was accepted. */
static inline bool front_tell_fds(struct front *f, uint32_t request,
				  const void *body, size_t len, const int *fds,
				  unsigned nfds)
{
	assert_true(front_send_fds(f, request, VH_NEED_REPLY, body, len, fds,
				   nfds));
	front_answered(f, request);
	return !front_u64(f);
}

static inline bool front_tell(struct front *f, uint32_t request,
			      const void *body, size_t len)
{
	return front_tell_fds(f, request, body, len, NULL, 0);
}

static inline bool front_tell_u64(struct front *f, uint32_t request,
				  uint64_t val)
{
	return front_tell(f, request, &val, sizeof(val));
}

static inline bool front_state(struct front *f, uint32_t request,
			       uint32_t index, uint32_t num)
{
	const struct vh_vring_state state = { .index = index, .num = num };

	return front_tell(f, request, &state, sizeof(state));
}

/* ------------------------------------------------------------- in QEMU's way
 */

static inline struct vh_region front_low(void)
{
	return (struct vh_region){ .len = REGION, .user = USER };
}

static inline struct vh_region front_high(void)
{
	return (struct vh_region){ .gpa = GPA_HIGH,
				   .len = REGION,
				   .user = USER_HIGH,
				   .offset = REGION };
}

static inline bool front_table(struct front *f, const struct vh_region *r,
			       unsigned n)
{
	struct vh_mem_table t = { .n = n };
	int fds[VH_TABLE_REGIONS];

	for (unsigned i = 0; i < n; i++) {
		t.region[i] = r[i];
		fds[i] = f->ram_fd;
	}
	return front_tell_fds(f, VH_SET_MEM_TABLE, &t,
			      offsetof(struct vh_mem_table, region) +
				      n * sizeof(t.region[0]),
			      fds, n);
}

static inline bool front_memory(struct front *f)
{
	const struct vh_region r[] = { front_low(), front_high() };

	return front_table(f, r, 2);
}

/* Both features, acknowledged from here on; the other socket. */
static inline void front_negotiate(struct front *f, uint64_t features)
{
	const uint64_t protocol = ALL_PROTOCOL;
	int pair[2];

	f->features = features | VIRTIO_1 | PROTOCOL;
	assert_true(front_get(f, VH_GET_FEATURES) & PROTOCOL);
	assert_true((front_get(f, VH_GET_PROTOCOL_FEATURES) & protocol) ==
		    protocol);
	assert_true(front_send(f, VH_SET_PROTOCOL_FEATURES, 0, &protocol,
			       sizeof(protocol)));
	assert_true(front_tell(f, VH_SET_OWNER, NULL, 0));
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_true(
		front_tell_fds(f, VH_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1));
	close(pair[1]);
	f->back = pair[0];
	assert_true(front_tell_u64(f, VH_SET_FEATURES, f->features));
}

/* Give an eventfd; what was given before goes. */
static inline bool front_file(struct front *f, uint32_t request, unsigned index,
			      int *at)
{
	const uint64_t val = index;

	fd_drop(at);
	*at = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	assert_true(*at >= 0);
	return front_tell_fds(f, request, &val, sizeof(val), at, 1);
}

static inline bool front_addr(struct front *f, unsigned index, uint32_t flags)
{
	const struct ring *r = &f->rings[index];
	/* what the driver and the front-end agree to call it */
	uint64_t base = f->features & PLATFORM ? IOVA : USER;
	const struct vh_vring_addr addr = {
		.index = index,
		.flags = flags,
		.desc = base + r->desc,
		.used = base + r->used,
		.avail = base + r->avail,
		.log = r->used,
	};

	return front_tell(f, VH_SET_VRING_ADDR, &addr, sizeof(addr));
}

static inline void front_ring_fresh(struct front *f, unsigned index)
{
	ring_init(&f->rings[index], f->ram, f->features & PLATFORM ? IOVA : 0,
		  RINGS + index * 3 * GUEST_PAGE, LEN);
}

/* As it stands in memory, from index @base on. */
static inline void front_ring_go(struct front *f, unsigned index, uint16_t base)
{
	assert_true(front_state(f, VH_SET_VRING_NUM, index, LEN));
	assert_true(front_state(f, VH_SET_VRING_BASE, index, base));
	assert_true(front_addr(f, index, 0));
	assert_true(front_file(f, VH_SET_VRING_ERR, index, &f->err[index]));
	assert_true(front_file(f, VH_SET_VRING_CALL, index, &f->call[index]));
	assert_true(front_file(f, VH_SET_VRING_KICK, index, &f->kick[index]));
	assert_true(front_state(f, VH_SET_VRING_ENABLE, index, 1));
}

static inline void front_ring(struct front *f, unsigned index)
{
	front_ring_fresh(f, index);
	front_ring_go(f, index, 0);
}

/* Index @base that GET_VRING_BASE tells. */
static inline uint32_t front_base(const struct front *f, unsigned index)
{
	struct vh_vring_state state;

	assert_int_equal(f->hdr.len, sizeof(state));
	memcpy(&state, f->body, sizeof(state));
	assert_int_equal(state.index, index);
	return state.num;
}

static inline void front_ring_stop(struct front *f, unsigned index)
{
	const struct vh_vring_state state = { .index = index };

	assert_true(front_send(f, VH_GET_VRING_BASE, 0, &state, sizeof(state)));
}

static inline struct front *front_up(struct back *b, uint64_t features)
{
	struct front *f = front_make(b);

	front_negotiate(f, features);
	assert_true(front_memory(f));
	for (unsigned i = 0; i < QUEUES; i++)
		front_ring(f, i);
	return f;
}

/* ---------------------------------------------------------------- IOTLB */

static inline struct vhost_iotlb_msg front_iotlb(uint8_t type, uint64_t gpa,
						 uint64_t len)
{
	struct vhost_iotlb_msg m = { .type = type, .perm = VHOST_ACCESS_RW };

	m.iova = IOVA + gpa;
	m.size = len;
	m.uaddr = gpa < GPA_HIGH ? USER + gpa : USER_HIGH + gpa - GPA_HIGH;
	return m;
}

/* Send, not waiting for the acknowledgement. */
static inline void front_iotlb_send(struct front *f, uint8_t type, uint64_t gpa,
				    uint64_t len)
{
	const struct vhost_iotlb_msg m = front_iotlb(type, gpa, len);

	assert_true(front_send(f, VH_IOTLB_MSG, VH_NEED_REPLY, &m, sizeof(m)));
}

static inline bool front_update(struct front *f, uint64_t gpa, uint64_t len)
{
	front_iotlb_send(f, VHOST_IOTLB_UPDATE, gpa, len);
	front_answered(f, VH_IOTLB_MSG);
	return !front_u64(f);
}

/* The next question: its GPA. */
static inline uint64_t front_asked(struct front *f)
{
	struct vhost_iotlb_msg m;

	assert_true(front_recv_from(f, f->back));
	assert_int_equal(f->hdr.request, VH_BACKEND_IOTLB_MSG);
	assert_int_equal(f->hdr.len, sizeof(m));
	memcpy(&m, f->body, sizeof(m));
	assert_int_equal(m.type, VHOST_IOTLB_MISS);
	assert_true(m.iova >= IOVA);
	return m.iova - IOVA;
}

/* Forget what was asked until now. */
static inline void front_asked_drop(struct front *f)
{
	while (readable(f->back, 0))
		(void)front_asked(f);
}

/* --------------------------------------------------------------- requests */

static inline void front_kick(struct front *f, unsigned index)
{
	const uint64_t one = 1;

	assert_int_equal(write(f->kick[index], &one, sizeof(one)), sizeof(one));
}

/* A page to be filled; head @slot. */
static inline void front_offer(struct front *f, unsigned index, uint16_t slot,
			       uint64_t gpa)
{
	struct ring *r = &f->rings[index];

	ring_buffer(r, slot, gpa, GUEST_PAGE, VRING_DESC_F_WRITE, 0);
	ring_offer(r, slot);
}

/* Until something came back; one call too many does no harm. */
static inline void front_wait_call(struct front *f, unsigned index)
{
	const struct ring *r = &f->rings[index];
	uint64_t n;

	do {
		assert_true(readable(f->call[index], WAIT_MS));
		assert_int_equal(read(f->call[index], &n, sizeof(n)),
				 sizeof(n));
	} while (ring_used_idx(r) == r->seen);
}

/* It came back, filled. */
static inline void front_taken(struct front *f, unsigned index, uint16_t slot)
{
	uint32_t id, len;

	assert_true(ring_take(&f->rings[index], &id, &len));
	assert_int_equal(id, slot);
	assert_int_equal(len, GUEST_PAGE);
}

static inline uint8_t *front_page(struct front *f, uint64_t gpa)
{
	return gpa < GPA_HIGH ? f->ram + gpa : f->ram + REGION + gpa - GPA_HIGH;
}

static inline bool front_filled(struct front *f, uint64_t gpa)
{
	const uint8_t *at = front_page(f, gpa);

	for (unsigned i = 0; i < GUEST_PAGE; i++)
		if (at[i] != FILL)
			return false;
	return true;
}

/* One from beginning to end. */
static inline void front_run(struct front *f, unsigned index, uint16_t slot,
			     uint64_t gpa)
{
	memset(front_page(f, gpa), 0, GUEST_PAGE);
	front_offer(f, index, slot, gpa);
	front_kick(f, index);
	front_wait_call(f, index);
	front_taken(f, index, slot);
	assert_true(front_filled(f, gpa));
}

#endif
