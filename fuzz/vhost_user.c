/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vhost-user front-end that means harm: bytes, messages that are nearly
 * right, file descriptors, and rings with anything in them.  Whatever it says,
 * the back-end answers no more than it was asked, and afterwards is as before:
 * no memory, no descriptor is left, and the next one is welcome.
 *
 * The back-end lives from one input to the next; the loop is stepped here, so
 * nothing waits for longer than a number of turns.  GPAs, user addresses and
 * IOVAs are the same, so that fewer bytes make sense.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz.h"
#include "serve/loop.h"
#include "serve/vhost_user_impl.h"

enum {
	FILE_LEN = 0x10000,
	PAGE = 0x1000,
	FD_KINDS = 4, /* RAM, a short file, an eventfd, a device */
	FDS_MAX = 10, /* two more than may come */
	BODY_MAX = 512,
	STEPS = 64,
	TURNS = 200,
	QUEUES = 2,
	LEN = 16,
	CONFIG = 16,
};

#define BIT(n)	 (UINT64_C(1) << (n))
#define PLATFORM BIT(33)
#define VIRTIO_1 BIT(32)

static struct {
	char dir[64], path[96];
	struct viommu *vi;
	struct viommu_endpoint *ep;
	struct viommu_loop *loop;
	struct viommu_virtio_dev *dev;
	struct viommu_vhost_user *server;
	struct viommu_task nudge;
	int fds[FD_KINDS]; /* to give away */
	uint8_t *ram;
	/* the model holds one request, if that has to wait */
	struct viommu_piece segments[LEN];
	struct viommu_element e;
	unsigned queue;
	bool held;
	uint8_t config[CONFIG];
} w;

struct front {
	int fd, back;  /* back: our end of the other socket */
	unsigned open; /* descriptors, before it came */
	uint64_t sent; /* bytes */
	unsigned answered;
	uint8_t got[65536]; /* of what was sent to it */
	size_t ngot;
};

/* ----------------------------------------------------------------- model */

static bool request_do(void)
{
	struct viommu_virtqueue *vq = viommu_virtio_dev_queue(w.dev, w.queue);
	uint64_t n = w.e.in_len < 64 ? w.e.in_len : 64;
	uint8_t buf[64] = { 0x5a };
	int rc = 0;

	if (w.e.out_len)
		rc = viommu_virtqueue_read(vq, &w.e, w.e.out_len - 1, buf, 1);
	if (!rc)
		rc = viommu_virtqueue_write(vq, &w.e, 0, buf, n);
	if (rc == -EINPROGRESS || rc == -EAGAIN)
		return false;
	viommu_virtio_dev_push(w.dev, w.queue, &w.e, rc ? 0 : (uint32_t)n);
	viommu_virtio_dev_publish(w.dev, w.queue);
	w.held = false;
	return true;
}

static void notify(void *arg, unsigned queue)
{
	(void)arg;
	for (int i = 0; i < LEN; i++) {
		if (w.held && !request_do())
			return;
		if (viommu_virtio_dev_pop(w.dev, queue, &w.e))
			return;
		w.queue = queue;
		w.held = true;
	}
}

static void reset(void *arg)
{
	(void)arg;
	w.held = false;
	viommu_virtio_dev_reset_done(w.dev);
}

static void drop(void *arg, unsigned queue)
{
	(void)arg;
	if (!w.held || w.queue != queue)
		return;
	w.held = false;
	viommu_virtio_dev_drop(w.dev, queue, &w.e);
}

static void config_read(void *arg, size_t off, void *buf, size_t len)
{
	(void)arg;
	CHECK(off + len <= CONFIG);
	memcpy(buf, w.config + off, len);
}

static void config_write(void *arg, size_t off, const void *buf, size_t len)
{
	(void)arg;
	CHECK(off + len <= CONFIG);
	memcpy(w.config + off, buf, len);
}

static const struct viommu_virtio_dev_ops ops = {
	.notify = notify,
	.reset = reset,
	.drop = drop,
	.config_read = config_read,
	.config_write = config_write,
};

/* -------------------------------------------------------------- back-end */

static void nudged(void *arg)
{
	(void)arg;
}

/* Once round, without sleep. */
static void turn(void)
{
	viommu_loop_post(w.loop, &w.nudge);
	CHECK(!vs_loop_once(w.loop));
}

static unsigned fds_count(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 128; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void fds_make(void)
{
	w.fds[0] = memfd_create("ram", MFD_CLOEXEC);
	w.fds[1] = memfd_create("short", MFD_CLOEXEC);
	w.fds[2] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	w.fds[3] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	for (unsigned i = 0; i < FD_KINDS; i++)
		CHECK(w.fds[i] >= 0);
	CHECK(!ftruncate(w.fds[0], FILE_LEN));
	CHECK(!ftruncate(w.fds[1], 100));
	w.ram = mmap(NULL, FILE_LEN, PROT_READ | PROT_WRITE, MAP_SHARED,
		     w.fds[0], 0);
	CHECK(w.ram != MAP_FAILED);
}

static void server_end(void)
{
	unlink(w.path);
	rmdir(w.dir);
}

static void device_make(void)
{
	const struct viommu_config small = SMALL;
	const struct viommu_endpoint_config ec = { .size = sizeof(ec),
						   .pasid = VIOMMU_NO_PASID };
	struct viommu_virtio_dev_config cfg = {
		.size = sizeof(cfg),
		.device_id = 5,
		.queue_len = LEN,
		.segments = LEN,
		.queues = QUEUES,
		.config_len = CONFIG,
		.ops = &ops,
	};

	CHECK(!viommu_create(&small, &w.vi));
	CHECK(!viommu_endpoint_create(w.vi, &ec, &w.ep));
	CHECK(!viommu_loop_create(&w.loop));
	cfg.loop = w.loop;
	cfg.vi = w.vi;
	cfg.memory = viommu_memory_of(w.vi);
	cfg.endpoint = w.ep;
	CHECK(!viommu_virtio_dev_create(&cfg, &w.dev));
	w.e.segments = w.segments;
	w.e.max = LEN;
}

static void server_make(void)
{
	const char *tmp = getenv("TMPDIR");
	struct viommu_vhost_user_config vc = { .size = sizeof(vc) };

	snprintf(w.dir, sizeof(w.dir), "%.40s/fuzz-XXXXXX", tmp ? tmp : "/tmp");
	CHECK(mkdtemp(w.dir));
	snprintf(w.path, sizeof(w.path), "%s/socket", w.dir);
	atexit(server_end);
	fds_make();
	device_make();
	viommu_task_init(&w.nudge, nudged, NULL);
	vc.path = w.path;
	vc.dev = w.dev;
	CHECK(!viommu_vhost_user_create(&vc, &w.server));
}

/* ------------------------------------------------------------- front-end */

/* Take what was sent: each an answer, and to something. */
static void front_drain(struct front *f)
{
	struct vh_header h;
	size_t at = 0;
	ssize_t n;

	do {
		n = recv(f->fd, f->got + f->ngot, sizeof(f->got) - f->ngot,
			 MSG_DONTWAIT);
		if (n > 0)
			f->ngot += (size_t)n;
	} while (n > 0 && f->ngot < sizeof(f->got));
	while (f->ngot - at >= sizeof(h)) {
		memcpy(&h, f->got + at, sizeof(h));
		CHECK(h.len <= VH_BODY_MAX);
		CHECK(h.flags == (VH_VERSION | VH_REPLY));
		if (f->ngot - at < sizeof(h) + h.len)
			break;
		f->answered++;
		CHECK(f->answered <= f->sent / sizeof(h));
		at += sizeof(h) + h.len;
	}
	memmove(f->got, f->got + at, f->ngot - at);
	f->ngot -= at;
	/* and what was asked: nobody looks at it */
	while (f->back >= 0 && recv(f->back, &h, sizeof(h), MSG_DONTWAIT) > 0)
		;
}

/* Let the back-end have what was sent to it, as far as it wants it. */
static void serve(struct front *f)
{
	int unread = 1;

	for (int i = 0; i < TURNS && unread; i++) {
		turn();
		front_drain(f);
		if (ioctl(f->fd, SIOCOUTQ, &unread))
			break;
	}
	turn();
}

static void front_send(struct front *f, const void *buf, size_t len,
		       const int *fds, unsigned nfds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf,
			     .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

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
	/* what does not fit is lost: then the stream is another one */
	n = sendmsg(f->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0)
		f->sent += (uint64_t)n;
}

/* One message as it should be. */
static void say(struct front *f, uint32_t request, const void *body, size_t len,
		int fd)
{
	struct {
		struct vh_header hdr;
		uint8_t body[BODY_MAX];
	} m = { .hdr = { .request = request,
			 .flags = VH_VERSION,
			 .len = (uint32_t)len } };

	memcpy(m.body, body, len);
	front_send(f, &m, sizeof(m.hdr) + len, &fd, fd >= 0);
}

/* What a front-end in good order says before its guest's driver runs. */
static void begin(struct front *f, bool platform)
{
	const uint64_t zero = 0, protocol = 0x922b;
	const uint64_t features = VIRTIO_1 | BIT(VH_F_PROTOCOL_FEATURES) |
				  (platform ? PLATFORM : 0);
	const struct vh_mem_table t = { .n = 1, .region[0].len = FILE_LEN };
	const struct vhost_iotlb_msg all = { .type = VHOST_IOTLB_UPDATE,
					     .perm = VHOST_ACCESS_RW,
					     .size = FILE_LEN / 2 };
	const struct vh_vring_state num = { .num = LEN }, on = { .num = 1 };
	const struct vh_vring_addr addr = { .avail = PAGE, .used = 2 * PAGE };
	int pair[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	f->back = pair[0];
	say(f, VH_SET_PROTOCOL_FEATURES, &protocol, sizeof(protocol), -1);
	say(f, VH_SET_BACKEND_REQ_FD, &zero, 0, pair[1]);
	close(pair[1]);
	say(f, VH_SET_FEATURES, &features, sizeof(features), -1);
	say(f, VH_SET_MEM_TABLE, &t,
	    offsetof(struct vh_mem_table, region) + sizeof(t.region[0]),
	    w.fds[0]);
	say(f, VH_IOTLB_MSG, &all, sizeof(all), -1);
	say(f, VH_SET_VRING_NUM, &num, sizeof(num), -1);
	say(f, VH_SET_VRING_ADDR, &addr, sizeof(addr), -1);
	say(f, VH_SET_VRING_CALL, &zero, sizeof(zero), w.fds[2]);
	say(f, VH_SET_VRING_KICK, &zero, sizeof(zero), w.fds[2]);
	say(f, VH_SET_VRING_ENABLE, &on, sizeof(on), -1);
	serve(f);
	CHECK(w.server->state == VS_VH_SERVE);
}

/* -------------------------------------------------------------- messages */

static uint64_t address(struct input *in)
{
	uint8_t page = take8(in);

	if (page == 255)
		return take64(in);
	return page < 240 ? page % 20 * (uint64_t)PAGE
			  : 0 - (256 - page) * (uint64_t)PAGE;
}

static size_t region(struct input *in, uint8_t *body)
{
	const struct vh_region r = { .gpa = address(in),
				     .len = address(in),
				     .user = address(in),
				     .offset = address(in) };

	memcpy(body, &r, sizeof(r));
	return sizeof(r);
}

static size_t body_table(struct input *in, uint8_t *body)
{
	uint32_t head[2] = { take8(in) % 4 };
	size_t len = sizeof(head);

	for (unsigned i = 0; i < head[0]; i++)
		len += region(in, body + len);
	if (take8(in) == 7)
		head[0] = take8(in);
	memcpy(body, head, sizeof(head));
	return len;
}

static size_t body_iotlb(struct input *in, uint8_t *body)
{
	struct vhost_iotlb_msg m = { .type = take8(in) % 8 };

	m.iova = address(in);
	m.size = address(in);
	m.uaddr = address(in);
	m.perm = take8(in) % 5;
	memcpy(body, &m, sizeof(m));
	return sizeof(m);
}

static size_t body_addr(struct input *in, uint8_t *body)
{
	struct vh_vring_addr a = { .index = take8(in) % 20 };

	a.desc = address(in) + take8(in) % 4 * 16;
	a.avail = address(in);
	a.used = address(in);
	a.flags = take8(in) % 4;
	memcpy(body, &a, sizeof(a));
	return sizeof(a);
}

static size_t body_config(struct input *in, uint8_t *body)
{
	struct vh_config c = { .offset = take8(in), .len = take8(in) };
	const size_t head = offsetof(struct vh_config, data);

	memcpy(body, &c, sizeof(c));
	return head + c.len;
}

static size_t body_area(struct input *in, uint8_t *body)
{
	struct vh_inflight i = { .len = address(in), .offset = address(in) };

	i.queues = take8(in) % 4;
	i.queue_len = take8(in) % 32;
	memcpy(body, &i, sizeof(i));
	return sizeof(i);
}

static size_t body_numbers(struct input *in, uint8_t *body)
{
	const uint32_t words[2] = { take8(in) % 20, take8(in) };

	memcpy(body, words, sizeof(words));
	return sizeof(words);
}

static size_t body_features(struct input *in, uint8_t *body)
{
	uint64_t f = VIRTIO_1 | BIT(VH_F_PROTOCOL_FEATURES);
	uint8_t some = take8(in);

	f |= some & 1 ? PLATFORM : 0;
	f |= some & 2 ? BIT(VH_F_LOG_ALL) : 0;
	f |= some & 4 ? BIT(28) | BIT(29) : 0;
	f |= some & 8 ? take64(in) : 0;
	memcpy(body, &f, sizeof(f));
	return sizeof(f);
}

/* From few bytes, something that a back-end carries out. */
static size_t body_sensible(struct input *in, uint32_t request, uint8_t *body)
{
	switch (request) {
	case VH_SET_MEM_TABLE:
		return body_table(in, body);
	case VH_ADD_MEM_REG:
	case VH_REM_MEM_REG:
		return 8 + region(in, body + 8);
	case VH_IOTLB_MSG:
		return body_iotlb(in, body);
	case VH_SET_VRING_ADDR:
		return body_addr(in, body);
	case VH_GET_CONFIG:
	case VH_SET_CONFIG:
		return body_config(in, body);
	case VH_GET_INFLIGHT_FD:
	case VH_SET_INFLIGHT_FD:
		return body_area(in, body);
	case VH_SET_LOG_BASE:
		(void)body_area(in, body);
		return sizeof(struct vh_log);
	case VH_SET_FEATURES:
		return body_features(in, body);
	case VH_GET_FEATURES:
	case VH_SET_OWNER:
	case VH_RESET_OWNER:
	case VH_GET_PROTOCOL_FEATURES:
	case VH_GET_QUEUE_NUM:
	case VH_GET_MAX_MEM_SLOTS:
		return 0;
	default:
		return body_numbers(in, body);
	}
}

static void do_message(struct front *f, struct input *in, uint8_t how)
{
	static const uint8_t counts[] = { 1, 2, 8, FDS_MAX };
	struct {
		struct vh_header hdr;
		uint8_t body[BODY_MAX];
	} m = { .hdr.flags = VH_VERSION };
	int fds[FDS_MAX];
	uint8_t n = 0, kinds = 0;
	size_t len;

	m.hdr.request = take8(in) % 40;
	len = body_sensible(in, m.hdr.request, m.body);
	if (!(how & 4))
		m.hdr.flags |= VH_NEED_REPLY;
	m.hdr.len = (uint32_t)len;
	if (how & 8)
		m.hdr.len += (uint32_t)(int8_t)take8(in);
	if (how & 16)
		m.hdr.flags = take8(in);
	if (how & 32) {
		n = take8(in);
		kinds = take8(in);
		for (unsigned i = 0; i < FDS_MAX; i++)
			fds[i] = w.fds[(kinds >> i % 4 * 2) % FD_KINDS];
		n = counts[n % 4];
	}
	front_send(f, &m, sizeof(m.hdr) + len, fds, n);
}

static void do_raw(struct front *f, struct input *in)
{
	uint8_t buf[256], n = take8(in);

	take(in, buf, n);
	front_send(f, buf, n, NULL, 0);
}

/* The driver: some bytes anywhere in its memory, then a kick. */
static void do_driver(struct input *in)
{
	const uint64_t one = 1;
	uint64_t at = take8(in) % 16 * (uint64_t)PAGE + take8(in) % 64;
	uint8_t n = take8(in) % 64;
	ssize_t rc;

	take(in, w.ram + at, n);
	rc = write(w.fds[2], &one, sizeof(one));
	CHECK(rc == sizeof(one) || errno == EAGAIN);
}

/* A request in the first ring, as it should be, but for where it is. */
static void do_request(struct input *in)
{
	uint16_t *avail = (uint16_t *)(void *)(w.ram + PAGE);
	const struct {
		uint64_t addr;
		uint32_t len;
		uint16_t flags, next;
	} desc = { .addr = address(in), .len = take8(in), .flags = 2 };
	const uint64_t one = 1;
	ssize_t rc;

	memcpy(w.ram + avail[1] % LEN * sizeof(desc), &desc, sizeof(desc));
	avail[2 + avail[1] % LEN] = avail[1] % LEN;
	__atomic_store_n(&avail[1], (uint16_t)(avail[1] + 1), __ATOMIC_RELEASE);
	rc = write(w.fds[2], &one, sizeof(one));
	CHECK(rc == sizeof(one) || errno == EAGAIN);
}

/* ------------------------------------------------------------- one of them */

static void front_connect(struct front *f)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	memcpy(sa.sun_path, w.path, strlen(w.path) + 1);
	f->back = -1;
	f->open = fds_count();
	f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(f->fd >= 0);
	CHECK(!connect(f->fd, (const struct sockaddr *)&sa, sizeof(sa)));
	for (int i = 0; i < TURNS && w.server->state == VS_VH_LISTEN; i++)
		turn();
	CHECK(w.server->state == VS_VH_SERVE);
}

static void front_leave(struct front *f)
{
	struct viommu_vhost_user_stats st;

	close(f->fd);
	if (f->back >= 0)
		close(f->back);
	for (int i = 0; i < TURNS && w.server->state != VS_VH_LISTEN; i++)
		turn();
	CHECK(w.server->state == VS_VH_LISTEN);
	viommu_vhost_user_read_stats(w.server, &st);
	CHECK(!st.regions && !st.iotlb.entries);
	CHECK(fds_count() == f->open);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct front f;
	struct input in = { data, len };
	uint8_t first = take8(&in);

	if (!w.server)
		server_make();
	memset(w.ram, 0, FILE_LEN);
	f.sent = f.ngot = 0;
	f.answered = 0;
	front_connect(&f);
	if (first != 1)
		begin(&f, first & 2);
	for (int i = 0; i < STEPS && in.left; i++) {
		uint8_t how = take8(&in);

		if (how % 4 == 3)
			do_raw(&f, &in);
		else if (how % 4 == 2)
			do_driver(&in);
		else if (how % 4 == 1)
			do_request(&in);
		else
			do_message(&f, &in, (uint8_t)(how & ~3u));
		serve(&f);
	}
	front_leave(&f);
	return 0;
}
