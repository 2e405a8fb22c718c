/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An emulator that means harm, and an owner who gives pages up meanwhile:
 * bytes, messages that are nearly right, answers to what was asked and to what
 * was not.  No fence is done while the emulator holds a page that went with it,
 * as far as it has said the truth; and when it says that it holds nothing,
 * nothing is held, and all fences are done.
 *
 * The server lives from one input to the next; the loop is stepped here.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fuzz.h"
#include "serve/loop.h"
#include "serve/share_impl.h"

enum {
	PAGE = 0x1000,
	PAGES = 16,
	FENCES = 32,
	STEPS = 96,
	TURNS = 400,
	ASKED = 1024,
	OWNER = 5,
};

static struct {
	char dir[64], path[96];
	struct viommu *vi;
	struct viommu_memory *memory;
	struct viommu_loop *loop;
	struct viommu_share *server;
	struct viommu_task nudge;
	int file;
	uint8_t *ram; /* twice as much as there are pages */
} w;

/* A page that was given up, and whether the emulator has it: it has not said
 * otherwise. */
static struct {
	struct viommu_fence fence;
	uint16_t held; /* a bit a page */
} f[FENCES];

static struct {
	int fd;
	unsigned fences;
	uint16_t held;
	struct vs_share_msg asked[ASKED]; /* of it, and not answered */
	unsigned nasked;
	struct vs_share_msg wants[256]; /* by id: what it asked for */
	bool mad; /* it said what it does not know: it cannot be believed */
} e;

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

	for (int fd = 0; fd < 128; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int page(void *arg, const struct viommu_share_ask *ask,
		struct viommu_share_piece *out)
{
	(void)arg;
	CHECK(ask->owner == OWNER && ask->len && !(ask->len % PAGE));
	out->fd = w.file;
	out->offset = (uint64_t)((uint8_t *)ask->host - w.ram);
	CHECK(out->offset + ask->len <= 2 * PAGES * PAGE);
	/* several pieces, where there are many pages */
	out->len = ask->len > 4 * PAGE ? 4 * PAGE : ask->len;
	return 0;
}

static void server_end(void)
{
	unlink(w.path);
	rmdir(w.dir);
}

static void memory_make(void)
{
	w.file = memfd_create("guest", MFD_CLOEXEC);
	CHECK(w.file >= 0 && !ftruncate(w.file, 2 * PAGES * PAGE));
	w.ram = mmap(NULL, 2 * PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		     w.file, 0);
	CHECK(w.ram != MAP_FAILED);
	w.memory = viommu_memory_of(w.vi);
}

static void server_make(void)
{
	const struct viommu_config small = SMALL;
	const char *tmp = getenv("TMPDIR");
	struct viommu_share_owner owner = { .id = OWNER };
	struct viommu_share_config cfg = {
		.size = sizeof(cfg),
		.owners = &owner,
		.nowners = 1,
		.page = page,
		.max_maps = 12,
		.max_bytes = 20 * PAGE,
	};

	snprintf(w.dir, sizeof(w.dir), "%.40s/fuzz-XXXXXX", tmp ? tmp : "/tmp");
	CHECK(mkdtemp(w.dir));
	snprintf(w.path, sizeof(w.path), "%s/socket", w.dir);
	atexit(server_end);
	CHECK(!viommu_create(&small, &w.vi));
	memory_make();
	CHECK(!viommu_loop_create(&w.loop));
	viommu_task_init(&w.nudge, nudged, NULL);
	owner.memory = w.memory;
	cfg.path = w.path;
	cfg.loop = w.loop;
	cfg.vi = w.vi;
	CHECK(!viommu_share_create(&cfg, &w.server));
}

static struct viommu_share_stats stats(void)
{
	struct viommu_share_stats st;

	viommu_share_read_stats(w.server, &st);
	return st;
}

/* -------------------------------------------------------------- emulator */

static uint16_t bits(uint64_t gpa, uint64_t len)
{
	uint16_t mask = 0;

	for (unsigned p = 0; p < PAGES; p++)
		if (p * PAGE <= gpa + (len - 1) && p * PAGE + PAGE > gpa)
			mask |= (uint16_t)(1u << p);
	return mask;
}

/* It says that it has let go. */
static void released(uint16_t mask)
{
	e.held &= (uint16_t)~mask;
	for (unsigned i = 0; i < e.fences; i++)
		f[i].held &= (uint16_t)~mask;
	/* or has let go before it was told that it has */
	for (unsigned i = 0; i < 256; i++)
		if (e.wants[i].kind &&
		    (mask & bits(e.wants[i].gpa, e.wants[i].len)))
			e.wants[i].kind = 0;
}

static void fences_look(void)
{
	for (unsigned i = 0; i < e.fences; i++)
		CHECK(e.mad || !viommu_fence_done(&f[i].fence) || !f[i].held);
}

static void heard(const struct vs_share_msg *m)
{
	const struct vs_share_msg *want = &e.wants[m->id % 256];

	if (m->kind == VS_SHARE_INVALIDATE) {
		CHECK(m->owner == OWNER && !(m->gpa % PAGE) && m->len &&
		      !(m->len % PAGE));
		CHECK(m->gpa + m->len <= PAGES * PAGE);
	}
	if (m->kind == VS_SHARE_INVALIDATE ||
	    m->kind == VS_SHARE_INVALIDATE_ALL) {
		CHECK(e.nasked < ASKED);
		e.asked[e.nasked++] = *m;
	} else if (m->kind == VS_SHARE_DONE && !m->error &&
		   want->kind == VS_SHARE_MAP && want->id == m->id) {
		e.held |= bits(want->gpa, want->len);
	}
}

static void drain(void)
{
	struct vs_share_msg m;
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = &m, .iov_len = sizeof(m) };

	for (;;) {
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control.buf,
				      .msg_controllen = sizeof(control.buf) };
		ssize_t n = recvmsg(e.fd, &msg, MSG_DONTWAIT);
		struct cmsghdr *cm;
		int fd;

		if (n <= 0)
			return;
		/* the server does not send halves */
		CHECK(n == sizeof(m));
		cm = CMSG_FIRSTHDR(&msg);
		CHECK(!cm == (m.kind != VS_SHARE_PIECE));
		if (cm) {
			memcpy(&fd, CMSG_DATA(cm), sizeof(fd));
			close(fd);
		}
		heard(&m);
	}
}

static void serve(void)
{
	int unread = 1;

	for (int i = 0; i < TURNS && unread; i++) {
		turn();
		if (ioctl(e.fd, SIOCOUTQ, &unread))
			break;
	}
	turn();
	turn();
}

static void tell(const void *m, size_t len)
{
	(void)!send(e.fd, m, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void do_map(struct input *in, uint8_t how)
{
	struct vs_share_msg m = { .kind = VS_SHARE_MAP, .owner = OWNER };
	static uint64_t id;

	m.id = ++id;
	m.gpa = (uint64_t)(how >> 4) * PAGE;
	m.len = (uint64_t)(1 + take8(in) % PAGES) * PAGE;
	m.prot = 1 + take8(in) % 3;
	e.wants[m.id % 256] = m;
	tell(&m, sizeof(m));
}

static void do_unmap(struct input *in, uint8_t how)
{
	const struct vs_share_msg m = {
		.kind = VS_SHARE_UNMAP,
		.owner = OWNER,
		.gpa = (uint64_t)(how >> 4) * PAGE,
		.len = (uint64_t)(1 + take8(in) % PAGES) * PAGE,
	};

	released(bits(m.gpa, m.len));
	tell(&m, sizeof(m));
}

static void do_answer(struct input *in)
{
	struct vs_share_msg m = { .kind = VS_SHARE_INVALIDATED };
	unsigned i = take8(in);

	m.id = i;
	if (e.nasked) {
		const struct vs_share_msg *a = &e.asked[i % e.nasked];

		m.id = a->id;
		released(a->kind == VS_SHARE_INVALIDATE ? bits(a->gpa, a->len)
							: UINT16_MAX);
		e.asked[i % e.nasked] = e.asked[--e.nasked];
	}
	tell(&m, sizeof(m));
}

/* Nearly right, or not at all: it does not know what it says. */
static void do_raw(struct input *in)
{
	struct vs_share_msg m;

	take(in, &m, sizeof(m));
	m.kind %= 24;
	e.mad = true;
	tell(&m, 1 + take8(in) % sizeof(m));
}

/* ----------------------------------------------------------------- owner */

static void do_give_up(struct input *in, uint8_t how)
{
	uint64_t gpa = (uint64_t)(how >> 4) * PAGE;
	uint64_t len = 1 + take16(in) % (3 * PAGE);

	if (e.fences == FENCES || gpa + len > PAGES * PAGE)
		return;
	viommu_fence_init(&f[e.fences].fence);
	if (viommu_memory_give_up(w.memory, gpa, len, &f[e.fences].fence))
		return;
	f[e.fences].held = e.held & bits(gpa, len);
	viommu_fence_commit(&f[e.fences++].fence, NULL, NULL);
}

static void put_back(uint64_t n, uint64_t from)
{
	const struct viommu_region r = {
		.size = sizeof(r),
		.gpa = n * PAGE,
		.len = PAGE,
		.prot = VIOMMU_READ | VIOMMU_WRITE,
		.host = w.ram + from * PAGE,
		.fd = -1,
	};
	int rc = viommu_memory_add(w.memory, &r);

	/* of a fence whose pages are in use again, nothing can be said */
	if (!rc)
		for (unsigned i = 0; i < e.fences && from == n; i++)
			f[i].held &= (uint16_t) ~(1u << n);
}

/* ------------------------------------------------------------ one of them */

static void connect_with(uint32_t flags)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	const struct vs_share_msg m = { .kind = VS_SHARE_HELLO,
					.flags = flags,
					.value = VS_SHARE_VERSION };

	memcpy(sa.sun_path, w.path, strlen(w.path) + 1);
	e.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(e.fd >= 0);
	CHECK(!connect(e.fd, (const struct sockaddr *)&sa, sizeof(sa)));
	tell(&m, sizeof(m));
	serve();
}

static void leave(void)
{
	close(e.fd);
	for (int i = 0; i < TURNS && stats().clients; i++)
		turn();
	CHECK(!stats().clients);
}

static void world_begin(void)
{
	struct viommu_fence gone;

	viommu_fence_init(&gone);
	(void)!viommu_memory_remove(w.memory, 0, 0, &gone);
	fence_run(&gone);
	for (unsigned n = 0; n < PAGES; n++)
		put_back(n, n);
	memset(&e, 0, sizeof(e));
}

static void do_one(struct input *in)
{
	uint8_t how = take8(in);

	switch (how % 8) {
	case 0:
	case 1:
		do_map(in, how);
		break;
	case 2:
		do_unmap(in, how);
		break;
	case 3:
		do_answer(in);
		break;
	case 4:
		do_give_up(in, how);
		break;
	case 5:
		put_back(how >> 4, (how >> 4) + (how & 8 ? PAGES : 0));
		break;
	case 6:
		/* else nobody looks in between */
		serve();
		drain();
		break;
	default:
		do_raw(in);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };
	unsigned open;

	if (!w.server)
		server_make();
	world_begin();
	open = fds_count();
	connect_with(take8(&in) & VS_SHARE_TARGETED);
	for (int i = 0; i < STEPS && in.left; i++) {
		do_one(&in);
		fences_look();
	}
	leave();
	fences_look();
	connect_with(VS_SHARE_FRESH);
	leave();
	CHECK(!stats().lingering && !stats().maps && !stats().bytes &&
	      !stats().invalidations_left);
	for (unsigned i = 0; i < e.fences; i++)
		CHECK(viommu_fence_done(&f[i].fence));
	CHECK(fds_count() == open);
	return 0;
}
