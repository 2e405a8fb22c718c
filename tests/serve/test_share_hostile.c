/* SPDX-License-Identifier: BSD-2-Clause */

/* Shared memory under clients that are wrong, greedy or silent: each costs its
 * own connection, at most, and nothing stays behind. */

#include "share.h"

#include <sys/eventfd.h>

/* A connection that has said hello. */
static int raw_client(struct world *w)
{
	int fd = raw_connect(w);

	raw_hello(fd, VS_SHARE_TARGETED);
	return fd;
}

/* Somebody else is served. */
static void alive(struct world *w)
{
	int fd = raw_client(w);

	raw_map(fd, B, 100, 4);
	raw_unmap_all(fd, B);
	close(fd);
}

static void broke(struct world *w, int fd, unsigned n)
{
	assert_true(raw_hung_up(fd));
	close(fd);
	UNTIL(stats(w).clients == 0 && stats(w).lingering == 0);
	assert_int_equal(stats(w).protocol_errors, n);
}

static void messages_of_no_meaning_end_the_connection(void **state)
{
	static const uint32_t kinds[] = {
		0,
		5,
		VS_SHARE_DONE,
		VS_SHARE_PIECE,
		VS_SHARE_INVALIDATE,
		VS_SHARE_INVALIDATE_ALL,
		VS_SHARE_HELLO,
		UINT32_MAX,
		VS_SHARE_INVALIDATED, /* that nobody asked for */
	};
	struct world *w = *state;
	unsigned n = 0;

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct vs_share_msg m = { .kind = kinds[i], .value = 1 };
		int fd = raw_client(w);

		m.value = kinds[i] == VS_SHARE_HELLO;
		raw_send(fd, &m);
		broke(w, fd, ++n);
		/* and before HELLO everything else */
		if (kinds[i] == VS_SHARE_HELLO)
			continue;
		fd = raw_connect(w);
		raw_send(fd, &m);
		broke(w, fd, ++n);
	}
	alive(w);
}

static void a_hello_that_asks_for_too_much_is_refused(void **state)
{
	struct world *w = *state;
	struct vs_share_msg m = { .kind = VS_SHARE_HELLO, .id = 3 };
	int fd = raw_connect(w);

	raw_send(fd, &m);
	raw_done(fd, 3, EPROTONOSUPPORT);
	m.value = 1;
	m.flags = 8;
	raw_send(fd, &m);
	raw_done(fd, 3, EINVAL);
	m.flags = 0;
	m.value = 77; /* of a later one, which knows ours */
	raw_send(fd, &m);
	raw_done(fd, 3, 0);
	close(fd);
}

/* What becomes of a request with one field set that it does not have. */
static void fields_without_meaning_are_refused(void **state)
{
	struct world *w = *state;
	static const size_t of_map[] = {
		offsetof(struct vs_share_msg, flags),
		offsetof(struct vs_share_msg, offset),
		offsetof(struct vs_share_msg, error),
		offsetof(struct vs_share_msg, value),
	};
	static const size_t of_answer[] = {
		offsetof(struct vs_share_msg, flags),
		offsetof(struct vs_share_msg, gpa),
		offsetof(struct vs_share_msg, value),
	};
	int fd = raw_client(w);
	unsigned broken = 0;

	for (unsigned i = 0; i < 4; i++) {
		struct vs_share_msg m = raw_range(VS_SHARE_MAP, A, 0, 1);

		((uint8_t *)&m)[of_map[i]] = 2;
		raw_send(fd, &m);
		raw_done(fd, m.id, EINVAL);
		m.kind = VS_SHARE_UNMAP;
		m.prot = 0;
		raw_send(fd, &m);
		raw_done(fd, m.id, EINVAL);
	}
	assert_int_equal(stats(w).refused, 8);
	assert_int_equal(stats(w).maps, 0);
	close(fd);
	for (unsigned i = 0; i < 3; i++) {
		struct vs_share_msg m;
		struct viommu_fence f;

		fd = raw_client(w);
		raw_map(fd, A, 8 * i, 4);
		give_up(w, 0, 8 * i, 1, &f);
		assert_true(raw_recv(fd, &m, NULL));
		m = (struct vs_share_msg){ .kind = VS_SHARE_INVALIDATED,
					   .id = m.id };
		((uint8_t *)&m)[of_answer[i]] = 1;
		raw_send(fd, &m);
		assert_true(raw_hung_up(fd));
		close(fd);
		assert_false(viommu_fence_done(&f));
		/* this process holds nothing */
		fd = raw_connect(w);
		raw_hello(fd, VS_SHARE_FRESH);
		close(fd);
		fence_ends(&f);
		assert_int_equal(stats(w).protocol_errors, ++broken);
	}
}

static void ranges_at_the_edge(void **state)
{
	static const struct {
		uint64_t gpa, len;
		uint32_t prot, error;
	} ranges[] = {
		{ 0, 0, RW, EINVAL },
		{ 1, PAGE, RW, EINVAL },
		{ 0, PAGE + 1, RW, EINVAL },
		{ 0, PAGE, 0, EINVAL },
		{ 0, PAGE, 4, EINVAL },
		{ 0, -(uint64_t)PAGE, RW, EFAULT },
		{ PAGE, -(uint64_t)PAGE, RW, EFAULT }, /* the last byte is */
		{ 2 * PAGE, -(uint64_t)PAGE, RW, EINVAL }, /* wraps */
		{ -(uint64_t)PAGE, PAGE, RW, EFAULT },
		{ -(uint64_t)PAGE, 2 * PAGE, RW, EINVAL },
		{ LEN - PAGE, 2 * PAGE, RW, EFAULT },
		{ LEN, PAGE, RW, EFAULT },
	};
	struct world *w = *state;
	int fd = raw_client(w);

	for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		struct vs_share_msg m = { .kind = VS_SHARE_MAP,
					  .id = i,
					  .owner = A,
					  .gpa = ranges[i].gpa,
					  .len = ranges[i].len,
					  .prot = ranges[i].prot };

		raw_send(fd, &m);
		raw_done(fd, i, ranges[i].error);
		/* nothing is there to be unmapped, and that is fine */
		m.kind = VS_SHARE_UNMAP;
		m.prot = 0;
		raw_send(fd, &m);
		raw_done(fd, i,
			 ranges[i].error == EFAULT || ranges[i].prot != RW
				 ? 0
				 : EINVAL);
	}
	assert_int_equal(stats(w).maps, 0);
	close(fd);
}

static void pages_at_the_top(void **state)
{
	const uint64_t top = -(uint64_t)PAGE;
	struct world *w = *state;
	struct vs_share_msg m;
	struct viommu_fence f;
	int fd = raw_client(w);

	assert_int_equal(
		viommu_memory_add(w->memory[1],
				  &(struct viommu_region){
					  .size = sizeof(struct viommu_region),
					  .gpa = -(uint64_t)GPA(4),
					  .len = GPA(4),
					  .prot = RW,
					  .host = w->ram[1],
					  .fd = -1 }),
		0);
	m = raw_range(VS_SHARE_MAP, B, 0, 4);
	m.gpa = top - GPA(3);
	raw_send(fd, &m);
	assert_true(raw_recv(fd, &m, NULL));
	assert_int_equal(m.kind, VS_SHARE_PIECE);
	raw_done(fd, m.id, 0);
	for (unsigned i = 0; i < 2; i++) {
		viommu_fence_init(&f);
		assert_int_equal(viommu_memory_give_up(w->memory[1],
						       top - GPA(i), PAGE, &f),
				 0);
		viommu_fence_commit(&f, NULL, NULL);
		assert_true(raw_recv(fd, &m, NULL));
		assert_int_equal(m.gpa, top - GPA(i));
		assert_int_equal(m.len, PAGE);
		m = (struct vs_share_msg){ .kind = VS_SHARE_INVALIDATED,
					   .id = m.id };
		raw_send(fd, &m);
		fence_ends(&f);
	}
	m = raw_range(VS_SHARE_UNMAP, B, 0, 4);
	m.gpa = top - GPA(3);
	raw_send(fd, &m);
	raw_done(fd, m.id, 0);
	assert_int_equal(stats(w).maps, 0);
	close(fd);
}

static void answers_that_nobody_asked_for(void **state)
{
	struct world *w = *state;
	struct vs_share_msg m;
	struct viommu_fence f;
	int fd = raw_client(w);

	raw_map(fd, A, 0, 4);
	give_up(w, 0, 1, 1, &f);
	assert_true(raw_recv(fd, &m, NULL));
	m = (struct vs_share_msg){ .kind = VS_SHARE_INVALIDATED, .id = m.id };
	raw_send(fd, &m);
	fence_ends(&f);
	raw_unmap_all(fd, A);
	/* twice */
	raw_send(fd, &m);
	broke(w, fd, 1);
	alive(w);
}

/* Before it was told: the answer may not be a guess. */
static void an_answer_cannot_be_given_in_advance(void **state)
{
	struct world *w = *state;
	int fd = raw_client(w);
	struct viommu_fence f;
	unsigned n;

	/* one page a map, until the socket does not take what is told */
	for (n = 0; n < PAGES; n++)
		raw_map(fd, A, n, 1);
	give_up(w, 0, 0, PAGES, &f);
	UNTIL(stats(w).invalidations == PAGES);
	raw_send(fd, &(struct vs_share_msg){ .kind = VS_SHARE_INVALIDATED,
					     .id = PAGES });
	assert_true(raw_hung_up(fd));
	close(fd);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(stats(w).protocol_errors, 1);
	fd = raw_connect(w);
	raw_hello(fd, VS_SHARE_FRESH);
	fence_ends(&f);
	close(fd);
}

static void thousands_of_answers_the_wrong_way_round(void **state)
{
	struct world *w = *state;
	uint64_t id[PAGES];
	struct viommu_fence f;
	int fd = raw_client(w);

	for (unsigned n = 0; n < PAGES; n++)
		raw_map(fd, A, n, 1);
	give_up(w, 0, 0, PAGES, &f);
	for (unsigned n = 0; n < PAGES; n++) {
		struct vs_share_msg m;

		assert_true(raw_recv(fd, &m, NULL));
		assert_int_equal(m.kind, VS_SHARE_INVALIDATE);
		id[n] = m.id;
	}
	for (unsigned n = PAGES; n--;) {
		assert_false(viommu_fence_done(&f));
		raw_send(fd,
			 &(struct vs_share_msg){ .kind = VS_SHARE_INVALIDATED,
						 .id = id[n] });
	}
	fence_ends(&f);
	assert_int_equal(stats(w).maps, 0);
	close(fd);
}

static void half_a_message(void **state)
{
	struct world *w = *state;
	const struct vs_share_msg m = raw_range(VS_SHARE_MAP, A, 0, 1);
	struct vs_share_msg r;
	int fd = raw_client(w), slow = raw_client(w);

	assert_int_equal(send(slow, &m, 30, 0), 30);
	/* others do not wait for the rest */
	alive(w);
	UNTIL(atomic_load(&w->went) == 1);
	assert_int_equal(send(fd, &m, 63, 0), 63);
	shutdown(fd, SHUT_WR);
	assert_true(raw_hung_up(fd));
	close(fd);
	UNTIL(atomic_load(&w->went) == 2);
	assert_int_equal(stats(w).protocol_errors, 1);
	assert_string_equal(w->why[1], "the connection ended within a message");
	/* byte by byte */
	for (size_t i = 30; i < sizeof(m); i++)
		assert_int_equal(send(slow, (const char *)&m + i, 1, 0), 1);
	assert_true(raw_recv(slow, &r, NULL));
	assert_int_equal(r.kind, VS_SHARE_PIECE);
	raw_done(slow, m.id, 0);
	raw_unmap_all(slow, A);
	close(slow);
}

static void descriptors_that_nobody_wants_are_closed(void **state)
{
	struct world *w = *state;
	struct vs_share_msg m = raw_range(VS_SHARE_MAP, A, 0, 1);
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(8 * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { &m, sizeof(m) };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.buf,
			      .msg_controllen = sizeof(control.buf) };
	struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);
	int fd = raw_client(w), some[8];
	unsigned fds;

	alive(w);
	UNTIL(stats(w).clients == 1);
	fds = fds_open();
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(some));
	for (int i = 0; i < 8; i++)
		some[i] = eventfd(0, EFD_CLOEXEC);
	memcpy(CMSG_DATA(cm), some, sizeof(some));
	assert_int_equal(sendmsg(fd, &msg, 0), sizeof(m));
	for (int i = 0; i < 8; i++)
		close(some[i]);
	broke(w, fd, 1);
	/* our end, the server's, and what says that we live */
	assert_int_equal(fds_open(), fds - 3);
}

/* The server hears that nothing is held before it sees the end of what held. */
static void a_hang_up_that_was_not_seen_yet_counts(void **state)
{
	struct world *w = *state;
	int old = raw_client(w), other = raw_client(w), fd = raw_connect(w);
	struct viommu_fence f;

	raw_map(old, A, 0, 4);
	raw_map(other, A, 10, 4);
	UNTIL(stats(w).clients == 3);
	give_up(w, 0, 0, 1, &f);
	UNTIL(stats(w).invalidations == 1);
	world_stop(w);
	raw_send(fd, &(struct vs_share_msg){ .kind = VS_SHARE_HELLO,
					     .flags = VS_SHARE_FRESH,
					     .id = 1,
					     .value = VS_SHARE_VERSION });
	close(old);
	world_start(w);
	raw_done(fd, 1, 0);
	fence_ends(&f);
	UNTIL(stats(w).clients == 2);
	assert_int_equal(stats(w).lingering, 0);
	/* not those that are there */
	assert_int_equal(stats(w).maps, 1);
	raw_unmap_all(other, A);
	close(other);
	close(fd);
}

static int setup_mean(void **state)
{
	const struct viommu_share_config cfg = {
		.max_clients = 2,
		.max_maps = 4,
		.max_bytes = GPA(16),
	};

	*state = world_make_with(&cfg, (uint64_t)WAIT_MS * 1000000);
	return 0;
}

static void raw_refused(int fd, uint32_t kind, uint64_t page, uint64_t n,
			uint32_t error)
{
	const struct vs_share_msg m = raw_range(kind, A, page, n);

	raw_send(fd, &m);
	raw_done(fd, m.id, error);
}

static void a_greedy_client_has_its_limits(void **state)
{
	struct world *w = *state;
	struct vs_share_msg m;
	struct viommu_fence f;
	int fd = raw_client(w);

	raw_refused(fd, VS_SHARE_MAP, 0, 17, ENOSPC);
	raw_map(fd, A, 0, 15);
	raw_refused(fd, VS_SHARE_MAP, 20, 2, ENOSPC);
	raw_map(fd, A, 20, 1);
	raw_refused(fd, VS_SHARE_MAP, 30, 1, ENOSPC);
	/* each cut is one more */
	raw_refused(fd, VS_SHARE_UNMAP, 2, 1, 0);
	raw_refused(fd, VS_SHARE_UNMAP, 4, 1, 0);
	assert_int_equal(stats(w).maps, 4);
	raw_refused(fd, VS_SHARE_UNMAP, 6, 1, ENOSPC);
	raw_refused(fd, VS_SHARE_MAP, 30, 1, ENOSPC);
	/* at an edge it is none */
	raw_refused(fd, VS_SHARE_UNMAP, 14, 1, 0);
	raw_refused(fd, VS_SHARE_UNMAP, 1, 4, 0);
	raw_refused(fd, VS_SHARE_UNMAP, 0, 1, 0);
	raw_map(fd, A, 30, 1);
	raw_map(fd, A, 40, 1);
	assert_int_equal(stats(w).maps, 4);
	/* another one has its own */
	alive(w);
	/* what the owner cuts does not count against anybody */
	give_up(w, 0, 8, 1, &f);
	assert_true(raw_recv(fd, &m, NULL));
	assert_int_equal(m.kind, VS_SHARE_INVALIDATE);
	assert_int_equal(stats(w).maps, 6);
	raw_unmap_all(fd, A);
	close(fd);
	fd = raw_connect(w);
	raw_hello(fd, VS_SHARE_FRESH);
	fence_ends(&f);
	close(fd);
}

static void a_client_maps_a_page_once(void **state)
{
	struct world *w = *state;
	int fd = raw_client(w);

	raw_map(fd, A, 4, 4);
	for (unsigned p = 3; p < 8; p++)
		raw_refused(fd, VS_SHARE_MAP, p, 2, EEXIST);
	raw_refused(fd, VS_SHARE_MAP, 0, 16, EEXIST);
	raw_map(fd, A, 8, 1);
	raw_map(fd, A, 2, 2);
	/* of another owner it is another page */
	raw_map(fd, B, 4, 4);
	raw_unmap_all(fd, A);
	raw_unmap_all(fd, B);
	assert_int_equal(stats(w).maps, 0);
	close(fd);
}

static void more_clients_than_there_is_room_for_wait(void **state)
{
	struct world *w = *state;
	int a = raw_client(w), b = raw_client(w), c = raw_connect(w);
	struct pollfd p = { .fd = c, .events = POLLIN };

	raw_send(c, &(struct vs_share_msg){ .kind = VS_SHARE_HELLO,
					    .id = 1,
					    .value = VS_SHARE_VERSION });
	raw_map(a, A, 0, 1);
	raw_map(b, A, 0, 1);
	assert_int_equal(poll(&p, 1, 20), 0);
	assert_int_equal(stats(w).clients, 2);
	raw_unmap_all(b, A);
	close(b);
	raw_done(c, 1, 0);
	raw_unmap_all(a, A);
	close(a);
	close(c);
}

static void set_nonblocking(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

/* Send until nothing is taken for a while. */
static unsigned flood(int fd, const struct vs_share_msg *m)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	unsigned n = 0;

	set_nonblocking(fd);
	while (n < 1000000) {
		ssize_t sent = send(fd, m, sizeof(*m), MSG_NOSIGNAL);

		if (sent == sizeof(*m)) {
			n++;
		} else {
			assert_int_equal(errno, EAGAIN);
			if (!poll(&p, 1, 300))
				break;
		}
	}
	return n;
}

static void who_does_not_read_is_not_read_from(void **state)
{
	struct world *w = *state;
	const struct vs_share_msg bad = raw_range(VS_SHARE_MAP, NOBODY, 0, 1);
	struct vs_share_msg m;
	int fd = raw_client(w);
	unsigned n, fds;

	n = flood(fd, &bad);
	assert_true(n < 100000);
	fds = fds_open();
	alive(w);
	/* and all is answered once it reads */
	for (unsigned i = 0; i < n; i++) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		assert_int_equal(poll(&p, 1, WAIT_MS), 1);
		assert_true(raw_recv(fd, &m, NULL));
		assert_int_equal(m.error, ENOENT);
	}
	assert_int_equal(stats(w).refused, n);
	assert_true(fds_open() <= fds);
	close(fd);
}

/* Descriptors wait with the replies; they go with the connection. */
static void who_does_not_read_descriptors(void **state)
{
	struct world *w = *state;
	int fd = raw_client(w);
	unsigned n = 0, fds;

	set_nonblocking(fd);
	UNTIL(stats(w).clients == 1);
	fds = fds_open();
	for (; n < PAGES; n++) {
		const struct vs_share_msg m = raw_range(VS_SHARE_MAP, A, n, 1);
		struct pollfd p = { .fd = fd, .events = POLLOUT };

		if (send(fd, &m, sizeof(m), MSG_NOSIGNAL) < 0 &&
		    !poll(&p, 1, 300))
			break;
	}
	assert_true(n < PAGES);
	/* our own table, of those that the server has not sent */
	assert_true(fds_open() < fds + VS_SHARE_PIECES + 64);
	alive(w);
	close(fd);
	UNTIL(stats(w).clients == 0);
	fd = raw_connect(w);
	raw_hello(fd, VS_SHARE_FRESH);
	UNTIL(stats(w).maps == 0);
	close(fd);
}

/* Nobody waits for it but who gave the page up. */
static void who_does_not_read_what_goes(void **state)
{
	struct world *w = *state;
	int fd = raw_client(w);
	struct viommu_fence f;

	for (unsigned n = 0; n < PAGES; n++)
		raw_map(fd, A, n, 1);
	give_up(w, 0, 0, PAGES, &f);
	UNTIL(stats(w).invalidations == PAGES);
	alive(w);
	assert_false(viommu_fence_done(&f));
	/* it does not read, but asks */
	(void)flood(fd, &(struct vs_share_msg){ .kind = VS_SHARE_MAP });
	alive(w);
	close(fd);
	UNTIL(stats(w).clients == 0);
	fd = raw_connect(w);
	raw_hello(fd, VS_SHARE_FRESH);
	fence_ends(&f);
	close(fd);
}

/* Nearly right. */
static struct vs_share_msg random_message(unsigned *seed)
{
	static const uint32_t kinds[] = { 1, 2, 2, 2, 3, 3, 4, 16, 0 };
	static const uint64_t lens[] = { PAGE, GPA(3), GPA(64), 0, 7, -PAGE };
	struct vs_share_msg m = { 0 };

	m.kind = kinds[(unsigned)rand_r(seed) % 40 ? 1 + rand_r(seed) % 5
						   : rand_r(seed) % 9];
	m.id = (uint64_t)rand_r(seed) % 8;
	m.owner = rand_r(seed) % 9 ? A : NOBODY;
	m.gpa = GPA(rand_r(seed) % 70);
	m.len = lens[rand_r(seed) % 3 ? rand_r(seed) % 3 : rand_r(seed) % 6];
	m.prot = m.kind == VS_SHARE_MAP ? (uint32_t)rand_r(seed) % 4 : 0;
	if (rand_r(seed) % 50 == 0)
		((uint8_t *)&m)[(unsigned)rand_r(seed) % sizeof(m)] ^=
			(uint8_t)rand_r(seed);
	return m;
}

static void random_talk(struct world *w, unsigned seed)
{
	int fd = raw_connect(w);
	struct viommu_fence f;
	struct vs_share_msg m;

	raw_send(fd, &(struct vs_share_msg){ .kind = VS_SHARE_HELLO,
					     .flags = seed & 3,
					     .value = 1 });
	for (unsigned i = 0; i < 40; i++) {
		m = random_message(&seed);
		if (send(fd, &m, sizeof(m), MSG_NOSIGNAL) < 0)
			break;
	}
	give_up(w, 0, seed % 64, 3, &f);
	close(fd);
	fd = raw_connect(w);
	UNTIL(stats(w).clients == 1);
	raw_hello(fd, VS_SHARE_FRESH);
	fence_ends(&f);
	close(fd);
	put_back(w, 0, seed % 64, 3);
}

static void random_talk_leaves_nothing(void **state)
{
	struct world *w = *state;

	for (unsigned seed = 1; seed <= 300; seed++)
		random_talk(w, seed);
	UNTIL(stats(w).maps == 0);
	assert_int_equal(stats(w).bytes, 0);
	assert_int_equal(stats(w).invalidations_left, 0);
	alive(w);
}

int main(void)
{
#define T(fn)	 cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define MEAN(fn) cmocka_unit_test_setup_teardown(fn, setup_mean, teardown)
	const struct CMUnitTest tests[] = {
		T(messages_of_no_meaning_end_the_connection),
		T(a_hello_that_asks_for_too_much_is_refused),
		T(fields_without_meaning_are_refused),
		T(ranges_at_the_edge),
		T(pages_at_the_top),
		T(answers_that_nobody_asked_for),
		T(an_answer_cannot_be_given_in_advance),
		T(thousands_of_answers_the_wrong_way_round),
		T(half_a_message),
		T(descriptors_that_nobody_wants_are_closed),
		T(a_hang_up_that_was_not_seen_yet_counts),
		MEAN(a_greedy_client_has_its_limits),
		MEAN(more_clients_than_there_is_room_for_wait),
		T(a_client_maps_a_page_once),
		T(who_does_not_read_is_not_read_from),
		T(who_does_not_read_descriptors),
		T(who_does_not_read_what_goes),
		T(random_talk_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
