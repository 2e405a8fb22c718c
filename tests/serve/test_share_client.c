/* SPDX-License-Identifier: BSD-2-Clause */

/* Shared memory: what clients' library says, what makes a server or a client
 * impossible, and who cannot be seen to end. */

#include "share.h"

#include <limits.h>
#include <sys/pidfd.h>

/* ------------------------------------------------ what the kernel lacks */

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

static atomic_bool no_peer_pidfd, no_pidfd_open;
static atomic_int calloc_at;			  /* this one fails; 0: none */
static _Thread_local int my_calloc_at, my_socket; /* an errno */
/* Descriptors that the kernel does not pass, and why. */
static atomic_int passes_not, passes_why;

int __real_getsockopt(int fd, int level, int name, void *val, socklen_t *len);
int __real_pidfd_open(pid_t pid, unsigned flags);
ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);
int __real_socket(int domain, int type, int protocol);
void *__real_calloc(size_t n, size_t size);
int __wrap_getsockopt(int fd, int level, int name, void *val, socklen_t *len);
int __wrap_pidfd_open(pid_t pid, unsigned flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
int __wrap_socket(int domain, int type, int protocol);
void *__wrap_calloc(size_t n, size_t size);

int __wrap_getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	if (name == SO_PEERPIDFD && atomic_load(&no_peer_pidfd)) {
		errno = ENOPROTOOPT;
		return -1;
	}
	return __real_getsockopt(fd, level, name, val, len);
}

int __wrap_pidfd_open(pid_t pid, unsigned flags)
{
	if (atomic_load(&no_pidfd_open)) {
		errno = ENOSYS;
		return -1;
	}
	return __real_pidfd_open(pid, flags);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	if (msg->msg_controllen && atomic_load(&passes_not)) {
		atomic_fetch_sub(&passes_not, 1);
		errno = atomic_load(&passes_why);
		return -1;
	}
	return __real_sendmsg(fd, msg, flags);
}

int __wrap_socket(int domain, int type, int protocol)
{
	if (my_socket) {
		errno = my_socket;
		return -1;
	}
	return __real_socket(domain, type, protocol);
}

void *__wrap_calloc(size_t n, size_t size)
{
	if ((my_calloc_at && !--my_calloc_at) ||
	    (atomic_load(&calloc_at) && atomic_fetch_sub(&calloc_at, 1) == 1)) {
		errno = ENOMEM;
		return NULL;
	}
	return __real_calloc(n, size);
}

/* ---------------------------------------------------- who cannot be seen */

static void where_no_process_can_be_seen_nobody_is_served(void **state)
{
	struct world *w = *state;
	struct order o;

	/* the number will do */
	atomic_store(&no_peer_pidfd, true);
	child_connect(&w->child[0], 0);
	child_map(&w->child[0], A, 0, 10);
	child_end(&w->child[0], SIGKILL);
	UNTIL(stats(w).maps == 0 && stats(w).lingering == 0);
	atomic_store(&no_pidfd_open, true);
	o = child_ask(&w->child[1], (struct order){ DO_CONNECT, { 0 }, 0 });
	atomic_store(&no_peer_pidfd, false);
	atomic_store(&no_pidfd_open, false);
	assert_int_equal(o.rc, -ECONNRESET);
	assert_int_equal(stats(w).sent_away, 1);
	assert_int_equal(stats(w).clients, 0);
}

static int setup_trusting(void **state)
{
	const struct viommu_share_config cfg = {
		.flags = VIOMMU_SHARE_TRUST_CLOSE
	};

	*state = world_make_with(&cfg, (uint64_t)WAIT_MS * 1000000);
	return 0;
}

static void or_the_end_of_the_connection_is_trusted(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;

	atomic_store(&no_peer_pidfd, true);
	atomic_store(&no_pidfd_open, true);
	child_connect(&w->child[0], 0);
	atomic_store(&no_peer_pidfd, false);
	atomic_store(&no_pidfd_open, false);
	child_map(&w->child[0], A, 0, 10);
	give_up(w, 0, 4, 1, &f);
	UNTIL(stats(w).invalidations == 1);
	assert_false(viommu_fence_done(&f));
	child_ask(&w->child[0], (struct order){ DO_DEAFEN, { 0 }, 0 });
	fence_ends(&f);
	/* who can be seen is not taken by his word */
	child_connect(&w->child[1], 0);
	child_map(&w->child[1], A, 20, 10);
	child_ask(&w->child[1], (struct order){ DO_DEAFEN, { 0 }, 0 });
	UNTIL(stats(w).lingering == 1);
}

/* -------------------------------------------------------------- library */

static int before_later(void *arg, const struct viommu_share_gone *gone)
{
	emulator_before(arg, gone);
	return VIOMMU_SHARE_LATER;
}

static void a_client_may_let_go_later(void **state)
{
	struct world *w = *state;
	struct emulator e = { 0 };
	const struct viommu_share_client_config cfg = {
		.size = sizeof(cfg),
		.path = w->path,
		.before = before_later,
		.after = emulator_after,
		.arg = &e,
	};
	const struct viommu_share_range r = { A, 0, GPA(4) };
	struct viommu_fence f;
	unsigned char vec[4];
	uint8_t *page;
	void *at;

	assert_int_equal(viommu_share_connect(&cfg, &e.c), 0);
	assert_int_equal(viommu_share_map(e.c, &r, RW, &at), 0);
	page = at;
	give_up(w, 0, 1, 1, &f);
	UNTIL(!viommu_share_dispatch(e.c) && e.gone.id);
	/* it is still ours */
	assert_int_equal(page[GPA(1)], content(A, 1));
	assert_int_equal(viommu_share_map(e.c, &r, RW, &at), -EEXIST);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(e.told, 0);
	assert_int_equal(viommu_share_let_go(e.c, e.gone.id + 1), -ENOENT);
	assert_int_equal(viommu_share_let_go(e.c, e.gone.id), 0);
	assert_int_equal(e.told, 1);
	fence_ends(&f);
	/* it has left, and nothing else has */
	assert_int_equal(mincore(page + GPA(1), PAGE, vec), -1);
	assert_int_equal(mincore(page, PAGE, vec), 0);
	assert_int_equal(mincore(page + GPA(2), GPA(2), vec), 0);
	assert_int_equal(viommu_share_let_go(e.c, e.gone.id), -ENOENT);
	/* or with everything else */
	give_up(w, 0, 2, 1, &f);
	e.gone.id = 0;
	UNTIL(!viommu_share_dispatch(e.c) && e.gone.id);
	assert_false(viommu_fence_done(&f));
	viommu_share_close(e.c);
	fence_ends(&f);
	UNTIL(stats(w).clients == 0);
	assert_int_equal(stats(w).lingering, 0);
}

/* It has eight pages; six of them are to go, and it says: later. */
static void *later_begin(struct world *w, struct emulator *e, uint32_t flags,
			 struct viommu_fence *f)
{
	const struct viommu_share_client_config cfg = {
		.size = sizeof(cfg),
		.path = w->path,
		.before = before_later,
		.after = emulator_after,
		.arg = e,
		.flags = flags,
	};
	const struct viommu_share_range r = { A, 0, GPA(8) };
	void *at;

	assert_int_equal(viommu_share_connect(&cfg, &e->c), 0);
	assert_int_equal(viommu_share_map(e->c, &r, RW, &at), 0);
	give_up(w, 0, 1, 6, f);
	UNTIL(!viommu_share_dispatch(e->c) && e->gone.id);
	assert_int_equal(e->gone.all, flags == VIOMMU_SHARE_ALL_ONLY);
	return at;
}

static bool is_there(void *at, uint64_t page)
{
	unsigned char vec;

	return !mincore((uint8_t *)at + GPA(page), PAGE, &vec);
}

/* There is a new map of some of it when it goes. */
static void what_is_mapped_again_does_not_go_later(void **state)
{
	struct world *w = *state;
	struct emulator e = { 0 };
	const struct viommu_share_range again = { A, GPA(3), GPA(2) };
	struct viommu_fence f;
	uint8_t *at, *new_at;
	void *out;

	at = later_begin(w, &e, 0, &f);
	assert_int_equal(viommu_share_unmap(e.c, &again, false), 0);
	put_back(w, 0, 3, 2);
	assert_int_equal(viommu_share_map(e.c, &again, RW, &out), 0);
	new_at = out;
	assert_false(viommu_fence_done(&f));
	assert_int_equal(viommu_share_let_go(e.c, e.gone.id), 0);
	fence_ends(&f);
	assert_true(is_there(new_at, 0) && is_there(new_at, 1));
	assert_int_equal(new_at[0], content(A, 3));
	/* all around it has gone, and no more than that; where the two were,
	 * the new ones may be */
	for (unsigned p = 0; p < 8; p++)
		if (p != 3 && p != 4)
			assert_int_equal(is_there(at, p), p == 0 || p == 7);
	/* they are known to be there */
	e.gone.id = 0;
	give_up(w, 0, 4, 1, &f);
	UNTIL(!viommu_share_dispatch(e.c) && e.gone.id);
	assert_int_equal(viommu_share_let_go(e.c, e.gone.id), 0);
	fence_ends(&f);
	assert_true(is_there(new_at, 0));
	viommu_share_close(e.c);
	UNTIL(stats(w).clients == 0);
	assert_int_equal(stats(w).lingering, 0);
}

static void what_is_mapped_since_does_not_go_with_everything(void **state)
{
	struct world *w = *state;
	struct emulator e = { 0 };
	const struct viommu_share_range since = { A, GPA(20), GPA(3) };
	const struct viommu_share_range middle = { A, GPA(21), PAGE };
	struct viommu_fence f;
	uint8_t *at, *new_at;
	void *out;

	at = later_begin(w, &e, VIOMMU_SHARE_ALL_ONLY, &f);
	assert_int_equal(viommu_share_map(e.c, &since, RW, &out), 0);
	new_at = out;
	/* the parts are as new as what they are of */
	assert_int_equal(viommu_share_unmap(e.c, &middle, false), 0);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(viommu_share_let_go(e.c, e.gone.id), 0);
	fence_ends(&f);
	assert_true(is_there(new_at, 0) && is_there(new_at, 2));
	assert_int_equal(new_at[GPA(2)], content(A, 22));
	for (unsigned p = 0; p < 8; p++)
		assert_false(is_there(at, p));
	viommu_share_close(e.c);
	UNTIL(stats(w).clients == 0);
	assert_int_equal(stats(w).lingering, 0);
}

/* The kernel lets a user have so many descriptors under way, and others may
 * have used them up. */
static void a_map_waits_until_its_descriptor_is_passed(void **state)
{
	static const int why[] = { ETOOMANYREFS, ENOMEM, ENOBUFS };
	struct world *w = *state;
	struct child *k = &w->child[0];
	struct order o;

	child_connect(k, 0);
	for (unsigned i = 0; i < 3; i++) {
		atomic_store(&passes_why, why[i]);
		atomic_store(&passes_not, 5);
		child_map(k, A, 8 * i, 8);
		assert_int_equal(atomic_load(&passes_not), 0);
		assert_int_equal(child_peek(k, i, 9), content(A, 8 * i));
	}
	assert_int_equal(atomic_load(&w->went), 0);
	/* but not for ever, and it holds what it held */
	atomic_store(&passes_not, INT_MAX);
	child_tell(k, &(struct order){ DO_MAP, { A, 40, 1, RW }, 0 });
	o = child_hear(k);
	assert_int_equal(o.rc, -ECONNRESET);
	assert_true(INT_MAX - atomic_load(&passes_not) < 1000);
	atomic_store(&passes_not, 0);
	UNTIL(atomic_load(&w->went) == 1);
	assert_string_equal(w->why[0], "the kernel passes no descriptors");
	assert_int_equal(stats(w).lingering, 1);
	assert_int_equal(child_peek(k, 2, 0), content(A, 16));
}

static void one_that_waits_for_its_descriptor_may_die(void **state)
{
	struct world *w = *state;
	struct child *k = &w->child[0];

	atomic_store(&passes_why, ETOOMANYREFS);
	child_connect(k, 0);
	atomic_store(&passes_not, INT_MAX);
	child_tell(k, &(struct order){ DO_MAP, { A, 0, 8, RW }, 0 });
	UNTIL(atomic_load(&passes_not) != INT_MAX);
	child_end(k, SIGKILL);
	UNTIL(stats(w).clients + stats(w).lingering == 0);
	assert_int_equal(stats(w).maps, 0);
	atomic_store(&passes_not, 2);
	/* takes longer than the other would have waited */
	child_connect(&w->child[1], 0);
	child_map(&w->child[1], A, 0, 8);
	assert_int_equal(atomic_load(&passes_not), 0);
}

static void a_child_does_not_inherit_what_is_mapped(void **state)
{
	struct world *w = *state;
	struct emulator e = { 0 };
	const struct viommu_share_range r = { A, 0, GPA(4) };
	unsigned char vec[4];
	void *at;
	int status;
	pid_t pid;

	assert_int_equal(emulator_connect(&e, w->path, 0), 0);
	assert_int_equal(viommu_share_map(e.c, &r, RW, &at), 0);
	assert_int_equal(mincore(at, GPA(4), vec), 0);
	pid = fork();
	if (!pid)
		_exit(mincore(at, GPA(4), vec) && errno == ENOMEM ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	viommu_share_close(e.c);
}

static int device_read(void *arg, uint64_t offset, void *buf, size_t len)
{
	(void)arg;
	(void)offset;
	memset(buf, 0, len);
	return 0;
}

static int try(struct emulator *e, uint64_t owner, uint64_t page, uint64_t n,
	       uint32_t prot)
{
	const struct viommu_share_range r = { owner, GPA(page), GPA(n) };
	void *at = NULL;

	return viommu_share_map(e->c, &r, prot, &at);
}

static void what_cannot_be_mapped_is_refused(void **state)
{
	static const struct viommu_device_ops ops = { .size = sizeof(ops),
						      .read = device_read };
	struct world *w = *state;
	struct viommu_region device = { .size = sizeof(device),
					.gpa = LEN,
					.len = PAGE,
					.prot = VIOMMU_READ,
					.fd = -1,
					.device = &ops };
	struct viommu_region ro = { .size = sizeof(ro),
				    .gpa = LEN + PAGE,
				    .len = PAGE,
				    .prot = VIOMMU_READ,
				    .host = w->ram[0],
				    .fd = -1 };
	const struct viommu_share_range odd = { A, 1, PAGE };
	struct emulator e = { 0 };
	void *at;

	assert_int_equal(viommu_memory_add(w->memory[0], &device), 0);
	assert_int_equal(viommu_memory_add(w->memory[0], &ro), 0);
	assert_int_equal(emulator_connect(&e, w->path, 0), 0);
	assert_int_equal(try(&e, A, 0, 0, RW), -EINVAL);
	assert_int_equal(try(&e, A, 0, 1, 0), -EINVAL);
	assert_int_equal(try(&e, A, 0, 1, 8), -EINVAL);
	assert_int_equal(viommu_share_map(e.c, &odd, RW, &at), -EINVAL);
	assert_int_equal(viommu_share_unmap(e.c, &odd, true), -EINVAL);
	assert_int_equal(try(&e, NOBODY, 0, 1, RW), -ENOENT);
	assert_int_equal(try(&e, A, PAGES + 2, 1, RW), -EFAULT);
	assert_int_equal(try(&e, A, PAGES, 1, VIOMMU_READ), -ENODEV);
	assert_int_equal(try(&e, A, PAGES + 1, 1, RW), -EACCES);
	assert_int_equal(try(&e, A, PAGES + 1, 1, VIOMMU_READ), 0);
	assert_int_equal(try(&e, A, PAGES + 1, 1, VIOMMU_READ), -EEXIST);
	atomic_store(&w->page_rc, -EXDEV);
	assert_int_equal(try(&e, A, 0, 1, RW), -EXDEV);
	atomic_store(&w->page_rc, 0);
	assert_int_equal(stats(w).maps, 1);
	assert_int_equal(try(&e, A, 0, 1, RW), 0);
	viommu_share_close(e.c);
}

/* The server: whole of the memory, a part more, a part less. */
static void without_memory_a_map_is_refused_and_more_goes(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;
	struct vs_share_msg m;
	int fd = raw_connect(w);

	raw_hello(fd, VS_SHARE_TARGETED);
	m = raw_range(VS_SHARE_MAP, A, 0, 8);
	atomic_store(&calloc_at, 2); /* the first is the endpoint's */
	raw_send(fd, &m);
	raw_done(fd, m.id, ENOMEM);
	atomic_store(&calloc_at, 0);
	raw_map(fd, A, 0, 8);
	atomic_store(&calloc_at, 2); /* the part behind */
	give_up(w, 0, 3, 1, &f);
	assert_true(raw_recv(fd, &m, NULL));
	assert_int_equal(m.kind, VS_SHARE_INVALIDATE);
	assert_int_equal(m.gpa, 0);
	assert_int_equal(m.len, GPA(8));
	assert_int_equal(atomic_load(&calloc_at), 0);
	assert_int_equal(stats(w).maps, 1);
	raw_send(fd, &(struct vs_share_msg){ .kind = VS_SHARE_INVALIDATED,
					     .id = m.id });
	fence_ends(&f);
	close(fd);
}

/* The client: what cannot be cut is not said to be gone. */
static void without_memory_a_client_keeps_what_it_has(void **state)
{
	struct world *w = *state;
	struct emulator e = { 0 };
	const struct viommu_share_range r = { A, 0, GPA(8) };
	const struct viommu_share_range part = { A, GPA(3), PAGE };
	struct viommu_fence f;
	void *at;
	int fd;

	assert_int_equal(emulator_connect(&e, w->path, 0), 0);
	my_calloc_at = 1;
	assert_int_equal(viommu_share_map(e.c, &r, RW, &at), -ENOMEM);
	assert_int_equal(viommu_share_map(e.c, &r, RW, &at), 0);
	my_calloc_at = 1;
	assert_int_equal(viommu_share_unmap(e.c, &part, true), -ENOMEM);
	assert_int_equal(((uint8_t *)at)[GPA(3)], content(A, 3));
	give_up(w, 0, 4, 1, &f);
	UNTIL(stats(w).invalidations == 1);
	my_calloc_at = 1;
	assert_int_equal(emulator_dispatch(&e), -ENOMEM);
	assert_int_equal(e.told, 0);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(viommu_share_let_go(e.c, 1), -ENOMEM);
	assert_int_equal(try(&e, A, 20, 1, RW), -ENOMEM);
	viommu_share_close(e.c);
	UNTIL(stats(w).clients == 0);
	assert_false(viommu_fence_done(&f));
	fd = raw_connect(w);
	raw_hello(fd, VS_SHARE_FRESH);
	fence_ends(&f);
	close(fd);
}

static int setup_mean(void **state)
{
	const struct viommu_share_config cfg = { .max_maps = 1 };

	*state = world_make_with(&cfg, (uint64_t)WAIT_MS * 1000000);
	return 0;
}

static void a_client_is_told_of_limits(void **state)
{
	struct world *w = *state;
	struct emulator e = { 0 };
	const struct viommu_share_range part = { A, GPA(3), PAGE };

	assert_int_equal(emulator_connect(&e, w->path, 0), 0);
	assert_int_equal(try(&e, A, 0, 8, RW), 0);
	assert_int_equal(try(&e, A, 8, 8, RW), -ENOSPC);
	assert_int_equal(viommu_share_unmap(e.c, &part, true), -ENOSPC);
	viommu_share_close(e.c);
	UNTIL(stats(w).clients == 0);
	assert_int_equal(stats(w).lingering, 0);
}

/* Who does not speak the language: waits, hangs up, or talks nonsense. */
enum manner {
	HANG_UP,
	SILENCE,
	NONSENSE,
	FLOOD, /* of invalidations, without hearing the answers */
};

struct odd {
	char path[128];
	const struct vs_share_msg *hello; /* its answer; NULL: none */
	enum manner manner;		  /* then */
	struct vs_share_msg say;
	int fd;
};

static void odd_talk(const struct odd *o, int fd)
{
	const struct vs_share_msg inv = { .kind = VS_SHARE_INVALIDATE,
					  .len = PAGE };
	struct vs_share_msg m;

	if (o->hello)
		(void)send(fd, o->hello, sizeof(m), MSG_NOSIGNAL);
	if (o->manner == NONSENSE)
		(void)send(fd, &o->say, sizeof(m), MSG_NOSIGNAL);
	while (o->manner == FLOOD)
		if (send(fd, &inv, sizeof(inv), MSG_NOSIGNAL) < 0)
			return;
	while (o->manner != HANG_UP)
		if (recv(fd, &m, sizeof(m), 0) <= 0)
			return;
}

static void *odd_run(void *arg)
{
	struct odd *o = arg;
	struct vs_share_msg m;
	int fd = accept4(o->fd, NULL, NULL, SOCK_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(recv(fd, &m, sizeof(m), MSG_WAITALL), sizeof(m));
	odd_talk(o, fd);
	close(fd);
	return NULL;
}

static pthread_t odd_begin(struct odd *o)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	pthread_t thread;

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.90s", o->path);
	o->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(o->fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(o->fd, 4), 0);
	assert_int_equal(pthread_create(&thread, NULL, odd_run, o), 0);
	return thread;
}

static void odd_end(struct odd *o, pthread_t thread)
{
	pthread_join(thread, NULL);
	close(o->fd);
	unlink(o->path);
}

/* Patience is for those who answer. */
static int odd_connect(struct odd *o, struct viommu_share_client **c)
{
	const struct viommu_share_client_config cfg = {
		.size = sizeof(cfg),
		.path = o->path,
		.timeout_ns = o->manner == HANG_UP || o->manner == NONSENSE
				      ? 0
				      : 200000000,
	};

	return viommu_share_connect(&cfg, c);
}

static int odd_meet(struct odd *o)
{
	struct viommu_share_client *c;
	pthread_t thread = odd_begin(o);
	int rc = odd_connect(o, &c);

	odd_end(o, thread);
	return rc;
}

/* The time is short for HELLO, too: it may take several. */
static void odd_greet(struct odd *o, pthread_t *thread,
		      struct viommu_share_client **c)
{
	int rc;

	for (;;) {
		*thread = odd_begin(o);
		rc = odd_connect(o, c);
		if (rc != -ETIMEDOUT)
			break;
		odd_end(o, *thread);
	}
	assert_int_equal(rc, 0);
}

/* What each call answers, and whether the connection is over for good. */
static void odd_ask(struct odd *o, int map, int unmap, int dispatch)
{
	static const struct vs_share_msg hello = {
		.kind = VS_SHARE_DONE, .id = 1, .len = PAGE, .value = 1
	};
	const struct viommu_share_range r = { A, 0, PAGE };
	const int want[3] = { map, unmap, dispatch };

	o->hello = &hello;
	for (int i = 0; i < 3; i++) {
		struct viommu_share_client *c;
		pthread_t thread;
		void *at;
		int rc;

		odd_greet(o, &thread, &c);
		if (i == 0)
			rc = viommu_share_map(c, &r, RW, &at);
		else if (i == 1)
			rc = viommu_share_unmap(c, &r, true);
		else
			while (!(rc = viommu_share_dispatch(c)) && want[i])
				breathe();
		assert_int_equal(rc, want[i]);
		if (rc) {
			assert_int_equal(viommu_share_dispatch(c), rc);
			assert_int_equal(viommu_share_let_go(c, 1), rc);
		}
		viommu_share_close(c);
		odd_end(o, thread);
	}
}

static void a_server_that_goes_mad_is_found_out(void **state)
{
	struct world *w = *state;
	struct odd o = { .manner = HANG_UP };

	snprintf(o.path, sizeof(o.path), "%s/odd", w->dir);
	odd_ask(&o, -ECONNRESET, -ECONNRESET, -ECONNRESET);
	o.manner = SILENCE;
	odd_ask(&o, -ETIMEDOUT, -ETIMEDOUT, 0);
	o.manner = FLOOD;
	odd_ask(&o, -ETIMEDOUT, -ETIMEDOUT, -ETIMEDOUT);
	o.manner = NONSENSE;
	o.say = (struct vs_share_msg){ .kind = VS_SHARE_DONE, .id = 9 };
	odd_ask(&o, -EPROTO, -EPROTO, -EPROTO);
	/* a piece without a file, or one that nobody asked for */
	o.say = (struct vs_share_msg){ .kind = VS_SHARE_PIECE,
				       .id = 2,
				       .len = PAGE };
	odd_ask(&o, -EPROTO, -EPROTO, -EPROTO);
	/* no pieces at all */
	o.say = (struct vs_share_msg){ .kind = VS_SHARE_DONE, .id = 2 };
	odd_ask(&o, -EPROTO, 0, -EPROTO);
	o.say = (struct vs_share_msg){ .kind = VS_SHARE_INVALIDATE,
				       .gpa = PAGE,
				       .len = UINT64_MAX };
	odd_ask(&o, -EPROTO, -EPROTO, -EPROTO);
}

static void who_is_no_server_is_found_out(void **state)
{
	struct world *w = *state;
	struct vs_share_msg m = {
		.kind = VS_SHARE_DONE, .id = 1, .len = PAGE, .value = 2
	};
	struct odd o = { .manner = HANG_UP };

	snprintf(o.path, sizeof(o.path), "%s/odd", w->dir);
	assert_int_equal(odd_meet(&o), -ECONNRESET);
	o.manner = SILENCE;
	assert_int_equal(odd_meet(&o), -ETIMEDOUT);
	o.hello = &m;
	o.manner = HANG_UP;
	assert_int_equal(odd_meet(&o), -EPROTO); /* a version to come */
	m.value = 1;
	m.len = 1000;
	assert_int_equal(odd_meet(&o), -EPROTO);
	m.len = PAGE;
	m.id = 2;
	assert_int_equal(odd_meet(&o), -EPROTO);
	m.id = 1;
	m.kind = VS_SHARE_PIECE;
	assert_int_equal(odd_meet(&o), -EPROTO);
	m.kind = 99;
	assert_int_equal(odd_meet(&o), -EPROTO);
	m.kind = VS_SHARE_DONE;
	m.error = EINVAL;
	assert_int_equal(odd_meet(&o), -EPROTO);
	/* nobody is there any more, but for the file */
	o.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(o.fd >= 0);
	{
		struct sockaddr_un sa = { .sun_family = AF_UNIX };
		struct viommu_share_client *c;

		snprintf(sa.sun_path, sizeof(sa.sun_path), "%.90s", o.path);
		assert_int_equal(bind(o.fd, (struct sockaddr *)&sa, sizeof(sa)),
				 0);
		assert_int_equal(odd_connect(&o, &c), -ECONNREFUSED);
	}
	close(o.fd);
	unlink(o.path);
}

static void connections_that_cannot_be_made(void **state)
{
	struct world *w = *state;
	struct viommu_share_client_config cfg = { .size = sizeof(cfg) };
	struct viommu_share_client *c;
	char path[200];

	assert_int_equal(viommu_share_connect(&cfg, &c), -EINVAL);
	cfg.path = w->path;
	cfg.flags = 64;
	assert_int_equal(viommu_share_connect(&cfg, &c), -EINVAL);
	cfg.flags = 0;
	cfg.size--;
	assert_int_equal(viommu_share_connect(&cfg, &c), -EINVAL);
	cfg.size++;
	memset(path, 'x', sizeof(path));
	path[199] = 0;
	cfg.path = path;
	assert_int_equal(viommu_share_connect(&cfg, &c), -ENAMETOOLONG);
	cfg.path = "/nowhere/x";
	assert_int_equal(viommu_share_connect(&cfg, &c), -ENOENT);
	cfg.path = w->path;
	my_socket = EMFILE;
	assert_int_equal(viommu_share_connect(&cfg, &c), -EMFILE);
	my_socket = ENFILE;
	assert_int_equal(viommu_share_connect(&cfg, &c), -EMFILE);
	my_socket = 0;
	my_calloc_at = 1;
	assert_int_equal(viommu_share_connect(&cfg, &c), -ENOMEM);
}

static void a_client_whose_server_is_gone(void **state)
{
	struct world *w = *state;
	struct emulator e = { 0 };
	const struct viommu_share_range r = { A, 0, PAGE };

	assert_int_equal(emulator_connect(&e, w->path, 0), 0);
	world_stop(w);
	assert_int_equal(viommu_share_destroy(w->share, -1), 0);
	w->share = NULL;
	assert_int_equal(viommu_share_dispatch(e.c), -ECONNRESET);
	assert_int_equal(try(&e, A, 0, 1, RW), -ECONNRESET);
	assert_int_equal(viommu_share_unmap(e.c, &r, false), -ECONNRESET);
	assert_int_equal(viommu_share_let_go(e.c, 1), -ECONNRESET);
	viommu_share_close(e.c);
}

static int create(struct world *w, const char *path, uint32_t first)
{
	struct viommu_share_config cfg = w->cfg;
	const struct viommu_share_owner owners[2] = { { A, w->memory[0] },
						      { B, w->memory[1] } };
	struct viommu_share *s;

	cfg.owners = owners;
	cfg.path = path;
	cfg.first_id = first;
	return viommu_share_create(&cfg, &s);
}

static void servers_that_cannot_be_made(void **state)
{
	struct world *w = *state;
	struct viommu_share_owner twice[2] = { { A, w->memory[0] },
					       { A, w->memory[1] } };
	struct viommu_share_config cfg = w->cfg;
	struct viommu_share *s;
	char path[200];

	world_stop(w);
	assert_int_equal(create(w, NULL, 0), -EINVAL);
	assert_int_equal(create(w, w->path, UINT32_MAX), -EINVAL);
	/* the last id is an id */
	assert_int_equal(create(w, w->path, UINT32_MAX - 31), -EADDRINUSE);
	assert_int_equal(create(w, w->path, UINT32_MAX - 30), -EINVAL);
	cfg.owners = twice;
	assert_int_equal(viommu_share_create(&cfg, &s), -EINVAL);
	memset(path, 'x', sizeof(path));
	path[199] = 0;
	assert_int_equal(create(w, path, 0), -ENAMETOOLONG);
	assert_int_equal(create(w, "/nowhere/x", 0), -ENOENT);
	snprintf(path, sizeof(path), "%s/other", w->dir);
	my_socket = EMFILE;
	assert_int_equal(create(w, path, 0), -EMFILE);
	my_socket = 0;
	for (int i = 1; i < 3; i++) {
		my_calloc_at = i;
		assert_int_equal(create(w, path, 0), -ENOMEM);
		assert_int_equal(my_calloc_at, 0);
	}
	world_start(w);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(where_no_process_can_be_seen_nobody_is_served),
		T(a_client_may_let_go_later),
		T(what_is_mapped_again_does_not_go_later),
		T(what_is_mapped_since_does_not_go_with_everything),
		T(a_map_waits_until_its_descriptor_is_passed),
		T(one_that_waits_for_its_descriptor_may_die),
		T(a_child_does_not_inherit_what_is_mapped),
		T(what_cannot_be_mapped_is_refused),
		T(without_memory_a_map_is_refused_and_more_goes),
		T(without_memory_a_client_keeps_what_it_has),
		cmocka_unit_test_setup_teardown(a_client_is_told_of_limits,
						setup_mean, teardown),
		T(a_server_that_goes_mad_is_found_out),
		T(who_is_no_server_is_found_out),
		T(connections_that_cannot_be_made),
		T(a_client_whose_server_is_gone),
		T(servers_that_cannot_be_made),
		cmocka_unit_test_setup_teardown(
			or_the_end_of_the_connection_is_trusted, setup_trusting,
			teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
