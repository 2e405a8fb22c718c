/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client that means harm: bytes, messages that are nearly right, and file
 * descriptors, to a server with a dmatest function.  Whatever it says, the
 * server answers no more than it was asked, and afterwards is as before: no
 * memory, no descriptor is left, and the next client is welcome.
 *
 * The server lives from one input to the next; the loop is stepped here, so
 * nothing waits for longer than a number of turns.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/sockios.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <viommu/serve/dmatest.h>

#include "fuzz.h"
#include "serve/loop.h"
#include "serve/vfio_user_impl.h"

enum {
	FILE_LEN = 0x10000,
	FD_KINDS = 4,
	FDS_MAX = 18, /* two more than may come */
	BODY_MAX = 1024,
	MESSAGES = 64,
	TURNS = 200,
	DT_IOVA = 8,
};

static struct {
	char dir[64], path[96];
	struct viommu *vi;
	struct viommu_memory *memory;
	struct viommu_space *space;
	struct viommu_endpoint *ep;
	struct viommu_loop *loop;
	struct viommu_dmatest *dmatest;
	struct viommu_vfio_user *server;
	struct viommu_task nudge;
	int fds[FD_KINDS]; /* to give away */
} w;

struct client {
	int fd;
	unsigned open; /* descriptors, before it came */
	uint64_t sent; /* bytes */
	unsigned messages, answered;
	uint8_t got[VU_MAX_LEN]; /* of what was sent to it */
	size_t ngot;
};

/* ---------------------------------------------------------------- server */

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

	for (int fd = 0; fd < 64; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void world_make(void)
{
	const struct viommu_config small = SMALL;
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_IDENTITY,
					  .page_sizes = 4096 };
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .pasid = VIOMMU_NO_PASID };
	struct viommu_fence f;

	CHECK(!viommu_create(&small, &w.vi));
	CHECK(!viommu_memory_create(w.vi, &w.memory));
	CHECK(!viommu_space_create(w.vi, &sc, &w.space));
	ec.memory = w.memory;
	CHECK(!viommu_endpoint_create(w.vi, &ec, &w.ep));
	viommu_fence_init(&f);
	CHECK(!viommu_endpoint_attach(w.ep, w.space, &f));
	fence_run(&f);
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
}

static void server_end(void)
{
	unlink(w.path);
	rmdir(w.dir);
}

static void server_make(void)
{
	const char *tmp = getenv("TMPDIR");
	struct viommu_dmatest_config dc = { .size = sizeof(dc),
					    .name = "fuzz" };
	struct viommu_vfio_user_config vc = { .size = sizeof(vc) };

	snprintf(w.dir, sizeof(w.dir), "%.40s/fuzz-XXXXXX", tmp ? tmp : "/tmp");
	CHECK(mkdtemp(w.dir));
	snprintf(w.path, sizeof(w.path), "%s/socket", w.dir);
	atexit(server_end);
	world_make();
	fds_make();
	CHECK(!viommu_loop_create(&w.loop));
	viommu_task_init(&w.nudge, nudged, NULL);
	dc.loop = w.loop;
	dc.vi = w.vi;
	dc.memory = w.memory;
	dc.endpoint = w.ep;
	CHECK(!viommu_dmatest_create(&dc, &w.dmatest));
	vc.path = w.path;
	vc.pci = viommu_dmatest_pci(w.dmatest);
	CHECK(!viommu_vfio_user_create(&vc, &w.server));
}

/* ---------------------------------------------------------------- client */

/* An answer must be to something. */
static void message_check(struct client *c, const struct vu_header *h)
{
	if ((h->flags & VU_F_TYPE) == VU_F_COMMAND)
		return;
	CHECK((h->flags & VU_F_TYPE) == VU_F_REPLY);
	CHECK(!(h->flags & VU_F_ERROR) || (h->error && h->len == sizeof(*h)));
	c->answered++;
	/* whatever they were taken for, each had a header */
	CHECK(c->answered <= c->sent / sizeof(*h));
}

/* Take what was sent; whether the server is still there. */
static bool client_drain(struct client *c)
{
	struct vu_header h;
	size_t at = 0;
	ssize_t n;

	do {
		n = recv(c->fd, c->got + c->ngot, sizeof(c->got) - c->ngot,
			 MSG_DONTWAIT);
		if (n > 0)
			c->ngot += (size_t)n;
	} while (n > 0 && c->ngot < sizeof(c->got));
	while (c->ngot - at >= sizeof(h)) {
		memcpy(&h, c->got + at, sizeof(h));
		CHECK(h.len >= sizeof(h) && h.len <= VU_MAX_LEN);
		if (c->ngot - at < h.len)
			break;
		message_check(c, &h);
		at += h.len;
	}
	memmove(c->got, c->got + at, c->ngot - at);
	c->ngot -= at;
	return n != 0 || c->ngot == sizeof(c->got);
}

/* Let the server have what was sent to it, as far as it wants it. */
static void serve(struct client *c)
{
	int unread = 1;

	for (int i = 0; i < TURNS && unread; i++) {
		turn();
		(void)client_drain(c);
		if (ioctl(c->fd, SIOCOUTQ, &unread))
			break;
	}
}

static void client_send(struct client *c, const void *buf, size_t len,
			unsigned nfds, uint8_t kinds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf,
			     .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	int fds[FDS_MAX];
	ssize_t n;

	if (nfds) {
		struct cmsghdr *cm;

		for (unsigned i = 0; i < nfds; i++)
			fds[i] = w.fds[(kinds >> i % 4 * 2) % FD_KINDS];
		msg.msg_control = control.buf;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		cm = CMSG_FIRSTHDR(&msg);
		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(cm), fds, nfds * sizeof(int));
	}
	/* what does not fit is lost: then the stream is another one */
	n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0)
		c->sent += (uint64_t)n;
}

/* -------------------------------------------------------------- messages */

struct message {
	struct vu_header hdr;
	uint8_t body[BODY_MAX];
};

static uint64_t address(struct input *in)
{
	uint8_t page = take8(in);

	if (page == 255)
		return take64(in);
	return page < 200 ? page % 32 * UINT64_C(0x1000)
			  : 0 - (256 - page) * UINT64_C(0x1000);
}

static size_t body_map(struct input *in, uint8_t *body)
{
	struct vu_dma_map m = { .argsz = sizeof(m), .flags = take8(in) % 8 };

	m.offset = address(in);
	m.iova = address(in);
	m.len = address(in);
	memcpy(body, &m, sizeof(m));
	return sizeof(m);
}

static size_t body_unmap(struct input *in, uint8_t *body)
{
	struct vu_dma_unmap m = { .argsz = sizeof(m), .flags = take8(in) % 4 };

	m.iova = address(in);
	m.len = address(in);
	memcpy(body, &m, sizeof(m));
	return sizeof(m);
}

static size_t body_access(struct input *in, uint8_t *body, bool write)
{
	struct vu_region_access a = { .region = take8(in) % 12 };

	a.offset = take8(in);
	if (a.offset >= 250)
		a.offset = take64(in);
	a.count = take8(in);
	if (a.count >= 250)
		a.count = take16(in) * 32u;
	memcpy(body, &a, sizeof(a));
	if (!write)
		return sizeof(a);
	take(in, body + sizeof(a), a.count < 250 ? a.count : 250);
	return sizeof(a) + (a.count < 250 ? a.count : 250);
}

/* A few, or as many as there can be, but for a few. */
static uint32_t number(struct input *in)
{
	uint8_t val = take8(in);

	return val < 128 ? val % 8u : 0u - (1 + val % 4u);
}

static size_t body_irqs(struct input *in, uint8_t *body)
{
	struct vu_set_irqs q = { .argsz = sizeof(q), .flags = take8(in) };

	q.index = take8(in) % 8;
	q.start = number(in);
	q.count = number(in);
	memcpy(body, &q, sizeof(q));
	take(in, body + sizeof(q), q.flags % 4 == 2 ? 4 : 0);
	return sizeof(q) + (q.flags % 4 == 2 ? 4 : 0);
}

static size_t body_multi(struct input *in, uint8_t *body)
{
	struct vu_write_multi m = { .count = take8(in) % 8 };
	size_t len = sizeof(m);

	for (unsigned i = 0; i < m.count; i++) {
		struct vu_write_one one = { .offset = take8(in),
					    .region = take8(in) % 10,
					    .count = take8(in) % 10 };

		take(in, one.data, sizeof(one.data));
		memcpy(body + len, &one, sizeof(one));
		len += sizeof(one);
	}
	if (m.count == 7)
		m.count = take64(in);
	memcpy(body, &m, sizeof(m));
	return len;
}

/* A command for dmatest: its registers from IOVA to COMMAND in one write. */
static size_t body_dma(struct input *in, struct message *m)
{
	struct vu_region_access a = { .offset = DT_IOVA, .count = 28 };
	uint64_t iova = address(in), len = take8(in) * 64u;
	uint32_t command = take8(in) % 8;

	m->hdr.command = VU_REGION_WRITE;
	memcpy(m->body, &a, sizeof(a));
	memcpy(m->body + sizeof(a), &iova, sizeof(iova));
	memcpy(m->body + sizeof(a) + 8, &len, sizeof(len));
	memset(m->body + sizeof(a) + 16, 0x5a, 8);
	memcpy(m->body + sizeof(a) + 24, &command, sizeof(command));
	return sizeof(a) + a.count;
}

static size_t body_master(struct message *m, bool on)
{
	struct vu_region_access a = { .offset = PCI_COMMAND,
				      .region = VFIO_PCI_CONFIG_REGION_INDEX,
				      .count = 2 };

	m->hdr.command = VU_REGION_WRITE;
	memcpy(m->body, &a, sizeof(a));
	m->body[sizeof(a)] = PCI_COMMAND_MEMORY | (on ? PCI_COMMAND_MASTER : 0);
	m->body[sizeof(a) + 1] = 0;
	return sizeof(a) + a.count;
}

/* From few bytes, something that a server carries out. */
static size_t body_sensible(struct input *in, struct message *m)
{
	uint32_t words[8] = { 32 };

	switch (m->hdr.command) {
	case VU_DMA_MAP:
		return body_map(in, m->body);
	case VU_DMA_UNMAP:
		return body_unmap(in, m->body);
	case VU_REGION_READ:
	case VU_REGION_WRITE:
		return body_access(in, m->body,
				   m->hdr.command == VU_REGION_WRITE);
	case VU_SET_IRQS:
		return body_irqs(in, m->body);
	case VU_REGION_WRITE_MULTI:
		return body_multi(in, m->body);
	case VU_RESET:
		return 0;
	case VU_DMA_READ: /* no client sends these */
		return body_dma(in, m);
	case VU_DMA_WRITE:
		return body_master(m, take8(in) & 3);
	default:
		words[2] = take8(in) % 12;
		memcpy(m->body, words, sizeof(words));
		return sizeof(words);
	}
}

static void do_message(struct client *c, struct input *in, uint8_t how)
{
	static const uint8_t counts[] = { 0, 1, 2, FDS_MAX };
	struct message m = { .hdr = { .id = (uint16_t)c->messages++ } };
	uint8_t fds = 0, kinds = 0;
	size_t len;

	m.hdr.command = take8(in) % 20;
	if (how & 4) {
		len = take8(in);
		take(in, m.body, len);
	} else {
		len = body_sensible(in, &m);
	}
	m.hdr.len = (uint32_t)(sizeof(m.hdr) + len);
	if (how & 8)
		m.hdr.len += (uint32_t)(int8_t)take8(in);
	if (how & 16)
		m.hdr.flags = take8(in);
	if (how & 32) {
		fds = take8(in);
		kinds = take8(in);
	}
	client_send(c, &m, sizeof(m.hdr) + len, counts[fds % 4], kinds);
}

static void do_raw(struct client *c, struct input *in)
{
	uint8_t buf[256], n = take8(in);

	take(in, buf, n);
	client_send(c, buf, n, 0, 0);
}

static void negotiate(struct client *c)
{
	struct {
		struct vu_header hdr;
		struct vu_version version;
		char json[3];
	} __attribute__((packed)) m = {
		.hdr = { .command = VU_VERSION, .len = sizeof(m) },
		.json = "{}",
	};

	client_send(c, &m, sizeof(m), 0, 0);
	serve(c);
	CHECK(w.server->state == VS_SERVE);
}

static void client_connect(struct client *c)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	memcpy(sa.sun_path, w.path, strlen(w.path) + 1);
	c->open = fds_count();
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(c->fd >= 0);
	CHECK(!connect(c->fd, (const struct sockaddr *)&sa, sizeof(sa)));
	for (int i = 0; i < TURNS && w.server->state == VS_LISTEN; i++)
		turn();
	CHECK(w.server->state == VS_NEGOTIATE);
}

static void client_leave(struct client *c)
{
	struct viommu_vfio_user_stats st;

	close(c->fd);
	for (int i = 0; i < TURNS && w.server->state != VS_LISTEN; i++)
		turn();
	CHECK(w.server->state == VS_LISTEN);
	viommu_vfio_user_read_stats(w.server, &st);
	CHECK(!st.maps);
	CHECK(fds_count() == c->open);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct client c;
	struct input in = { data, len };

	if (!w.server)
		server_make();
	c.sent = c.ngot = 0;
	c.messages = c.answered = 0;
	client_connect(&c);
	if (take8(&in) != 1)
		negotiate(&c);
	for (int i = 0; i < MESSAGES && in.left; i++) {
		uint8_t how = take8(&in);

		if (how % 4 == 3)
			do_raw(&c, &in);
		else
			do_message(&c, &in, how);
		/* now and then several at once */
		if (!(how & 64))
			serve(&c);
	}
	serve(&c);
	client_leave(&c);
	return 0;
}
