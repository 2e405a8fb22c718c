/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_SERVE_SHARE_H
#define TESTS_SERVE_SHARE_H

/*
 * Two guests whose memory is shared by a server on a thread of its own, and
 * emulators: in this process, by the library or by hand; and in processes that
 * are forked before there are threads, and do as they are told by a pipe.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <viommu.h>
#include <viommu/serve/loop.h>
#include <viommu/serve/share.h>
#include <viommu/serve/share_client.h>

#include "serve/share_wire.h"

enum {
	PAGE = 4096,
	PAGES = 4096,
	A = 7, /* owners */
	B = 9,
	NOBODY = 11,
	RW = VIOMMU_READ | VIOMMU_WRITE,
	WAIT_MS = 20000,
	CHILDREN = 3,
};

#define GPA(page) ((uint64_t)(page)*PAGE)
#define LEN	  GPA(PAGES)

struct child {
	pid_t pid;
	int to, from;
};

struct world {
	char dir[64], path[96];
	struct viommu *vi;
	struct viommu_memory *memory[2];
	int fd[2];
	uint8_t *ram[2];
	struct viommu_loop *loop;
	struct viommu_share *share;
	struct viommu_share_config cfg;
	pthread_t thread;
	bool running;
	unsigned fds;
	struct child child[CHILDREN];
	atomic_int page_rc;	/* what the page callback answers */
	atomic_uint page_parts; /* pages a piece; 0: all */
	atomic_uint came, went, expired;
	atomic_bool wait_on;
	char why[64][64]; /* each written before went counts it */
};

static inline uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline void breathe(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

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

/* ------------------------------------------------- the children's life */

/* Commands and what they answer: eight words. */
struct order {
	uint64_t what, arg[6];
	int64_t rc;
};

enum {
	DO_CONNECT = 1, /* flags; path follows */
	DO_MAP,		/* owner, first page, pages, prot */
	DO_UNMAP,	/* likewise, written */
	DO_PEEK,	/* slot, byte: its value */
	DO_POKE,	/* slot, byte, value */
	DO_DISPATCH,	/* wait for an invalidation; what it was */
	DO_CLOSE,
	DO_DEAFEN, /* close the socket, keep what is mapped */
};

struct emulator {
	struct viommu_share_client *c;
	uint8_t *map[16];
	unsigned maps;
	struct viommu_share_gone gone; /* the last one */
	struct viommu_share_gone log[64];
	unsigned told, heard; /* all; of which DO_DISPATCH has answered */
};

static inline int emulator_before(void *arg,
				  const struct viommu_share_gone *gone)
{
	struct emulator *e = arg;

	e->gone = *gone;
	return VIOMMU_SHARE_NOW;
}

static inline void emulator_after(void *arg,
				  const struct viommu_share_gone *gone)
{
	struct emulator *e = arg;

	e->log[e->told++ % 64] = *gone;
}

static inline int emulator_connect(struct emulator *e, const char *path,
				   uint32_t flags)
{
	const struct viommu_share_client_config cfg = {
		.size = sizeof(cfg),
		.path = path,
		.before = emulator_before,
		.after = emulator_after,
		.arg = e,
		.flags = flags,
	};

	return viommu_share_connect(&cfg, &e->c);
}

/* Until there is an invalidation, which is answered. */
static inline int emulator_dispatch(struct emulator *e)
{
	int rc = 0;

	while (!rc && e->told == e->heard) {
		struct pollfd p = { .fd = viommu_share_fd(e->c),
				    .events = POLLIN };

		if (poll(&p, 1, WAIT_MS) <= 0)
			return -ETIME;
		rc = viommu_share_dispatch(e->c);
	}
	/* what was told counts, also if nothing comes after it */
	return e->told == e->heard ? rc : 0;
}

static inline void child_dispatch(struct emulator *e, struct order *o)
{
	const struct viommu_share_gone *gone = &e->log[e->heard % 64];

	o->rc = emulator_dispatch(e);
	if (o->rc)
		return;
	e->heard++;
	o->arg[0] = gone->range.owner;
	o->arg[1] = gone->range.gpa / PAGE;
	o->arg[2] = gone->range.len / PAGE;
	o->arg[3] = gone->all;
}

static inline void child_do(struct emulator *e, struct order *o,
			    const char *path)
{
	const struct viommu_share_range r = { o->arg[0], GPA(o->arg[1]),
					      GPA(o->arg[2]) };
	void *at;

	switch (o->what) {
	case DO_CONNECT:
		o->rc = emulator_connect(e, path, (uint32_t)o->arg[0]);
		break;
	case DO_MAP:
		o->rc = viommu_share_map(e->c, &r, (uint32_t)o->arg[3], &at);
		if (!o->rc) {
			e->map[e->maps] = at;
			o->arg[0] = e->maps++;
		}
		break;
	case DO_UNMAP:
		o->rc = viommu_share_unmap(e->c, &r, o->arg[3]);
		break;
	case DO_PEEK:
		o->rc = e->map[o->arg[0]][o->arg[1]];
		break;
	case DO_POKE:
		e->map[o->arg[0]][o->arg[1]] = (uint8_t)o->arg[2];
		o->rc = 0;
		break;
	case DO_DISPATCH:
		child_dispatch(e, o);
		break;
	case DO_CLOSE:
		viommu_share_close(e->c);
		memset(e, 0, sizeof(*e));
		o->rc = 0;
		break;
	case DO_DEAFEN:
		o->rc = shutdown(viommu_share_fd(e->c), SHUT_RDWR);
		break;
	default:
		_exit(2);
	}
}

static inline _Noreturn void child_main(int from, int to, const char *path)
{
	struct emulator e = { 0 };
	struct order o;

	while (read(from, &o, sizeof(o)) == sizeof(o)) {
		child_do(&e, &o, path);
		if (write(to, &o, sizeof(o)) != sizeof(o))
			break;
	}
	_exit(0);
}

static inline void child_begin(struct world *w, struct child *k)
{
	int down[2], up[2];

	assert_int_equal(pipe2(down, O_CLOEXEC), 0);
	assert_int_equal(pipe2(up, O_CLOEXEC), 0);
	k->pid = fork();
	assert_true(k->pid >= 0);
	if (!k->pid) {
		close(down[1]);
		close(up[0]);
		/* or its brothers would not see that the parent is gone */
		for (struct child *b = w->child; b != k; b++) {
			close(b->to);
			close(b->from);
		}
		child_main(down[0], up[1], w->path);
	}
	close(down[0]);
	close(up[1]);
	k->to = down[1];
	k->from = up[0];
}

static inline void child_tell(struct child *k, const struct order *o)
{
	assert_int_equal(write(k->to, o, sizeof(*o)), sizeof(*o));
}

static inline struct order child_hear(struct child *k)
{
	struct pollfd p = { .fd = k->from, .events = POLLIN };
	struct order o;

	assert_int_equal(poll(&p, 1, WAIT_MS), 1);
	assert_int_equal(read(k->from, &o, sizeof(o)), sizeof(o));
	return o;
}

static inline struct order child_ask(struct child *k, struct order o)
{
	child_tell(k, &o);
	return child_hear(k);
}

static inline void child_end(struct child *k, int sig)
{
	int status;

	if (k->pid <= 0)
		return;
	if (sig)
		assert_int_equal(kill(k->pid, sig), 0);
	close(k->to);
	close(k->from);
	assert_int_equal(waitpid(k->pid, &status, 0), k->pid);
	if (!sig)
		assert_int_equal(status, 0);
	k->pid = 0;
}

/* Orders that must succeed. */
static inline void child_connect(struct child *k, uint64_t flags)
{
	assert_int_equal(
		child_ask(k, (struct order){ DO_CONNECT, { flags }, 0 }).rc, 0);
}

static inline uint64_t child_map(struct child *k, uint64_t owner, uint64_t page,
				 uint64_t n)
{
	const struct order o = child_ask(
		k, (struct order){ DO_MAP, { owner, page, n, RW }, 0 });

	assert_int_equal(o.rc, 0);
	return o.arg[0];
}

static inline int64_t child_peek(struct child *k, uint64_t slot, uint64_t byte)
{
	return child_ask(k, (struct order){ DO_PEEK, { slot, byte }, 0 }).rc;
}

/* It is told exactly this next. */
static inline void child_told(struct child *k, uint64_t owner, uint64_t page,
			      uint64_t n)
{
	const struct order o =
		child_ask(k, (struct order){ DO_DISPATCH, { 0 }, 0 });

	assert_int_equal(o.rc, 0);
	assert_int_equal(o.arg[3], 0);
	assert_int_equal(o.arg[0], owner);
	assert_int_equal(o.arg[1], page);
	assert_int_equal(o.arg[2], n);
}

/* Two, in any order. */
static inline void child_told_both(struct child *k, uint64_t page, uint64_t n,
				   uint64_t page2, uint64_t n2)
{
	uint64_t seen = 0;

	for (int i = 0; i < 2; i++) {
		const struct order o =
			child_ask(k, (struct order){ DO_DISPATCH, { 0 }, 0 });

		assert_int_equal(o.rc, 0);
		assert_int_equal(o.arg[3], 0);
		seen |= o.arg[1] == page && o.arg[2] == n;
		seen |= (o.arg[1] == page2 && o.arg[2] == n2) << 1;
	}
	assert_int_equal(seen, 3);
}

/* ----------------------------------------------------------- the server */

static inline int world_page(void *arg, const struct viommu_share_ask *ask,
			     struct viommu_share_piece *out)
{
	struct world *w = arg;
	unsigned parts = atomic_load(&w->page_parts);
	/* memory moves */
	unsigned i = (uint8_t *)ask->host - w->ram[0] >= (ptrdiff_t)LEN ||
		     (uint8_t *)ask->host < w->ram[0];

	if (atomic_load(&w->page_rc))
		return atomic_load(&w->page_rc);
	out->fd = w->fd[i];
	out->offset = (uint64_t)((uint8_t *)ask->host - w->ram[i]);
	out->len = parts && ask->len > GPA(parts) ? GPA(parts) : ask->len;
	return 0;
}

static inline enum viommu_verdict
world_expire(void *arg, const struct viommu_share_peer *peer,
	     const struct viommu_expiry *e)
{
	struct world *w = arg;

	(void)peer;
	(void)e;
	atomic_fetch_add(&w->expired, 1);
	return atomic_load(&w->wait_on) ? VIOMMU_WAIT_ON : VIOMMU_GIVE_UP;
}

static inline void world_state(void *arg, const struct viommu_share_peer *peer,
			       const char *why)
{
	struct world *w = arg;

	(void)peer;
	if (!why) {
		atomic_fetch_add(&w->came, 1);
		return;
	}
	snprintf(w->why[atomic_load(&w->went) % 64], sizeof(w->why[0]), "%s",
		 why);
	atomic_fetch_add(&w->went, 1);
}

static inline void *world_run(void *arg)
{
	struct world *w = arg;

	return (void *)(intptr_t)viommu_loop_run(w->loop);
}

static inline struct viommu_share_stats stats(struct world *w)
{
	struct viommu_share_stats st;

	viommu_share_read_stats(w->share, &st);
	return st;
}

#define UNTIL(cond)                                     \
	do {                                            \
		uint64_t until_ = now_ms() + WAIT_MS;   \
                                                        \
		while (!(cond)) {                       \
			assert_true(now_ms() < until_); \
			breathe();                      \
		}                                       \
	} while (0)

/* Page n of a guest is full of this. */
static inline uint8_t content(unsigned owner, uint64_t page)
{
	return (uint8_t)(page * 5 + owner + 1);
}

static inline void world_memory(struct world *w, unsigned i)
{
	struct viommu_region r = {
		.size = sizeof(r), .len = LEN, .prot = RW, .fd = -1
	};

	w->fd[i] = memfd_create("guest", MFD_CLOEXEC);
	assert_true(w->fd[i] >= 0);
	assert_int_equal(ftruncate(w->fd[i], (off_t)LEN), 0);
	w->ram[i] = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED,
			 w->fd[i], 0);
	assert_ptr_not_equal(w->ram[i], MAP_FAILED);
	for (unsigned p = 0; p < PAGES; p += p < 128 ? 1 : 64)
		memset(w->ram[i] + GPA(p), content(i ? B : A, p), PAGE);
	assert_int_equal(viommu_memory_create(w->vi, &w->memory[i]), 0);
	r.host = w->ram[i];
	assert_int_equal(viommu_memory_add(w->memory[i], &r), 0);
}

static inline void world_start(struct world *w)
{
	assert_int_equal(pthread_create(&w->thread, NULL, world_run, w), 0);
	w->running = true;
}

static inline void world_stop(struct world *w)
{
	void *rc;

	if (!w->running)
		return;
	viommu_loop_stop(w->loop);
	assert_int_equal(pthread_join(w->thread, &rc), 0);
	assert_null(rc);
	w->running = false;
}

static inline void world_share(struct world *w)
{
	const struct viommu_share_owner owners[2] = {
		{ A, w->memory[0] },
		{ B, w->memory[1] },
	};

	w->cfg.size = sizeof(w->cfg);
	w->cfg.path = w->path;
	w->cfg.loop = w->loop;
	w->cfg.vi = w->vi;
	w->cfg.owners = owners;
	w->cfg.nowners = 2;
	w->cfg.first_id = 100;
	w->cfg.page = world_page;
	w->cfg.expire = world_expire;
	w->cfg.state = world_state;
	w->cfg.arg = w;
	assert_int_equal(viommu_share_create(&w->cfg, &w->share), 0);
}

static inline struct world *
world_make_with(const struct viommu_share_config *cfg, uint64_t timeout_ns)
{
	struct world *w = calloc(1, sizeof(*w));
	struct viommu_config vc = { .size = sizeof(vc),
				    .fence_timeout_ns = timeout_ns };
	const char *tmp = getenv("TMPDIR");

	assert_non_null(w);
	if (cfg)
		w->cfg = *cfg;
	w->fds = fds_open();
	snprintf(w->dir, sizeof(w->dir), "%.40s/viommu-XXXXXX",
		 tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->path, sizeof(w->path), "%s/socket", w->dir);
	for (unsigned i = 0; i < CHILDREN; i++)
		child_begin(w, &w->child[i]);
	assert_int_equal(viommu_create(&vc, &w->vi), 0);
	world_memory(w, 0);
	world_memory(w, 1);
	assert_int_equal(viommu_loop_create(&w->loop), 0);
	world_share(w);
	world_start(w);
	return w;
}

/* Fences wait for as long as a test may take. */
static inline struct world *world_make(void)
{
	return world_make_with(NULL, (uint64_t)WAIT_MS * 1000000);
}

/* Nothing is left. */
static inline void world_free(struct world *w)
{
	struct viommu_fence f;

	for (unsigned i = 0; i < CHILDREN; i++)
		child_end(&w->child[i], 0);
	world_stop(w);
	assert_int_equal(
		viommu_share_destroy(w->share, (int64_t)WAIT_MS * 1000000), 0);
	assert_int_equal(rmdir(w->dir), 0);
	viommu_fence_init(&f);
	for (unsigned i = 0; i < 2; i++)
		viommu_memory_destroy(w->memory[i], &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(&f, 10000000000), 0);
	for (unsigned i = 0; i < 2; i++) {
		munmap(w->ram[i], LEN);
		close(w->fd[i]);
	}
	viommu_loop_destroy(w->loop);
	viommu_destroy(w->vi);
	assert_int_equal(fds_open(), w->fds);
	free(w);
}

static inline int setup(void **state)
{
	*state = world_make();
	return 0;
}

static inline int teardown(void **state)
{
	world_free(*state);
	return 0;
}

/* ------------------------------------------------------------ the owner */

static inline void give_up(struct world *w, unsigned i, uint64_t page,
			   uint64_t n, struct viommu_fence *f)
{
	viommu_fence_init(f);
	assert_int_equal(
		viommu_memory_give_up(w->memory[i], GPA(page), GPA(n), f), 0);
	viommu_fence_commit(f, NULL, NULL);
}

static inline void put_back(struct world *w, unsigned i, uint64_t page,
			    uint64_t n)
{
	const struct viommu_region r = { .size = sizeof(r),
					 .gpa = GPA(page),
					 .len = GPA(n),
					 .prot = RW,
					 .host = w->ram[i] + GPA(page),
					 .fd = -1 };

	assert_int_equal(viommu_memory_add(w->memory[i], &r), 0);
}

static inline void fence_ends(struct viommu_fence *f)
{
	assert_int_equal(viommu_fence_wait(f, (int64_t)WAIT_MS * 1000000), 0);
}

/* -------------------------------------------- clients that do it by hand */

static inline int raw_connect(const struct world *w)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", w->path);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static inline void raw_send(int fd, const struct vs_share_msg *m)
{
	assert_int_equal(send(fd, m, sizeof(*m), MSG_NOSIGNAL), sizeof(*m));
}

/* False: hung up.  Descriptors that come are closed, and counted. */
static inline bool raw_recv(int fd, struct vs_share_msg *m, unsigned *fds)
{
	size_t got = 0;

	while (got < sizeof(*m)) {
		union {
			struct cmsghdr align;
			char buf[CMSG_SPACE(sizeof(int))];
		} control;
		struct iovec iov = { (char *)m + got, sizeof(*m) - got };
		struct msghdr msg = { .msg_iov = &iov,
				      .msg_iovlen = 1,
				      .msg_control = control.buf,
				      .msg_controllen = sizeof(control.buf) };
		struct pollfd p = { .fd = fd, .events = POLLIN };
		struct cmsghdr *cm;
		ssize_t n;
		int in;

		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
		if (n <= 0)
			return false;
		got += (size_t)n;
		cm = CMSG_FIRSTHDR(&msg);
		if (!cm)
			continue;
		memcpy(&in, CMSG_DATA(cm), sizeof(in));
		close(in);
		if (fds)
			++*fds;
	}
	return true;
}

static inline void raw_done(int fd, uint64_t id, uint32_t error)
{
	struct vs_share_msg m;

	assert_true(raw_recv(fd, &m, NULL));
	assert_int_equal(m.kind, VS_SHARE_DONE);
	assert_int_equal(m.id, id);
	assert_int_equal(m.error, error);
}

static inline void raw_hello(int fd, uint32_t flags)
{
	raw_send(fd, &(struct vs_share_msg){ .kind = VS_SHARE_HELLO,
					     .flags = flags,
					     .id = 1,
					     .value = VS_SHARE_VERSION });
	raw_done(fd, 1, 0);
}

static inline struct vs_share_msg raw_range(uint32_t kind, uint64_t owner,
					    uint64_t page, uint64_t n)
{
	return (struct vs_share_msg){ .kind = kind,
				      .id = 1000 + page,
				      .owner = owner,
				      .gpa = GPA(page),
				      .len = GPA(n),
				      .prot = kind == VS_SHARE_MAP ? RW : 0 };
}

static inline void raw_map(int fd, uint64_t owner, uint64_t page, uint64_t n)
{
	const struct vs_share_msg m = raw_range(VS_SHARE_MAP, owner, page, n);
	struct vs_share_msg r;
	unsigned fds = 0;

	raw_send(fd, &m);
	assert_true(raw_recv(fd, &r, &fds));
	assert_int_equal(r.kind, VS_SHARE_PIECE);
	assert_int_equal(fds, 1);
	raw_done(fd, m.id, 0);
}

static inline void raw_unmap_all(int fd, uint64_t owner)
{
	const struct vs_share_msg m =
		raw_range(VS_SHARE_UNMAP, owner, 0, PAGES);

	raw_send(fd, &m);
	raw_done(fd, m.id, 0);
}

static inline bool raw_hung_up(int fd)
{
	struct vs_share_msg m;

	while (raw_recv(fd, &m, NULL))
		;
	return true;
}

#endif
