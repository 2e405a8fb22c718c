/* SPDX-License-Identifier: BSD-2-Clause */

/* A vhost-user back-end under a front-end that is wrong, or gone: each message
 * is refused or ends the connection, and nothing stays behind. */

#include "front.h"

#include <sys/ioctl.h>

#include "serve/loop.h"

static int setup(void **state)
{
	*state = back_make(0, 0);
	return 0;
}

/* The descriptors are counted here. */
static int teardown(void **state)
{
	back_free(*state);
	return 0;
}

static int some_fd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

/* All of them, their right length, and how many descriptors they may have. */
static const struct {
	uint32_t request;
	size_t len;
	unsigned fds;
	bool optional; /* the body may be missing */
	bool answered; /* by an answer of its own */
} messages[] = {
	{ VH_GET_FEATURES, 0, 0, false, true },
	{ VH_SET_FEATURES, 8, 0, false, false },
	{ VH_SET_OWNER, 0, 0, false, false },
	{ VH_RESET_OWNER, 0, 0, false, false },
	{ VH_SET_LOG_BASE, 16, 1, false, false },
	{ VH_SET_LOG_FD, 8, 1, true, false },
	{ VH_SET_VRING_NUM, 8, 0, false, false },
	{ VH_SET_VRING_ADDR, 40, 0, false, false },
	{ VH_SET_VRING_BASE, 8, 0, false, false },
	{ VH_GET_VRING_BASE, 8, 0, false, true },
	{ VH_SET_VRING_KICK, 8, 1, false, false },
	{ VH_SET_VRING_CALL, 8, 1, false, false },
	{ VH_SET_VRING_ERR, 8, 1, false, false },
	{ VH_GET_PROTOCOL_FEATURES, 0, 0, false, true },
	{ VH_SET_PROTOCOL_FEATURES, 8, 0, false, false },
	{ VH_GET_QUEUE_NUM, 0, 0, false, true },
	{ VH_SET_VRING_ENABLE, 8, 0, false, false },
	{ VH_SET_BACKEND_REQ_FD, 8, 1, true, false },
	{ VH_IOTLB_MSG, 32, 0, false, false },
	{ VH_SET_INFLIGHT_FD, 24, 1, false, false },
	{ VH_GET_MAX_MEM_SLOTS, 0, 0, false, true },
	{ VH_ADD_MEM_REG, 40, 1, false, false },
	{ VH_REM_MEM_REG, 40, 1, false, false },
	{ VH_SET_MEM_TABLE, 8, 8, false, false },
};

#define MESSAGES (sizeof(messages) / sizeof(messages[0]))

/* Said to a fresh connection: refused, or it ends.  fds: how many of them. */
static void refused(struct back *b, unsigned i, size_t len, unsigned fds)
{
	struct front *f = front_make(b);
	const uint8_t zeroes[VH_BODY_MAX] = { 0 };
	const uint64_t protocol = ALL_PROTOCOL;
	int some[16];

	assert_true(front_send(f, VH_SET_PROTOCOL_FEATURES, 0, &protocol,
			       sizeof(protocol)));
	for (unsigned n = 0; n < fds; n++)
		some[n] = some_fd();
	assert_true(front_send_fds(f, messages[i].request, VH_NEED_REPLY,
				   zeroes, len, some, fds));
	for (unsigned n = 0; n < fds; n++)
		close(some[n]);
	if (messages[i].answered) {
		assert_true(front_hung_up(f));
	} else {
		front_answered(f, messages[i].request);
		assert_int_not_equal(front_u64(f), 0);
		/* it lives */
		assert_int_equal(front_get(f, VH_GET_QUEUE_NUM), QUEUES);
	}
	front_free(f);
}

static void messages_of_a_wrong_length(void **state)
{
	for (unsigned i = 0; i < MESSAGES; i++) {
		refused(*state, i, messages[i].len + 1, 0);
		refused(*state, i, VH_BODY_MAX, 0);
		if (!messages[i].len || messages[i].optional)
			continue;
		refused(*state, i, messages[i].len - 1, 0);
		refused(*state, i, 0, 0);
	}
}

static void descriptors_where_none_belong(void **state)
{
	for (unsigned i = 0; i < MESSAGES; i++) {
		refused(*state, i, messages[i].len, messages[i].fds + 1);
		refused(*state, i, messages[i].len, 12);
	}
}

/* The same without asking for an answer: the connection ends, and why is
 * told. */
static void what_cannot_be_refused_ends_the_connection(void **state)
{
	struct back *b = *state;

	for (unsigned i = 0; i < MESSAGES; i++) {
		const uint8_t zeroes[128] = { 0 };
		struct front *f = front_make(b);
		int fd = some_fd();

		assert_true(front_send_fds(f, messages[i].request, 0, zeroes,
					   messages[i].len + 1, &fd, 1));
		assert_true(front_hung_up(f));
		close(fd);
		front_free(f);
		WAIT_UNTIL(atomic_load(&b->went) == i + 1);
		assert_string_equal(b->why, "a bad message");
	}
	assert_int_equal(back_stats(b).protocol_errors, MESSAGES);
}

static void impossible_headers(void **state)
{
	static const struct vh_header wrong[] = {
		{ .request = 1, .flags = 0 },
		{ .request = 1, .flags = 2 },
		{ .request = 1, .flags = 1, .len = VH_BODY_MAX + 1 },
		{ .request = 1, .flags = 1, .len = UINT32_MAX },
		{ .request = 1, .flags = 1 | VH_REPLY },
		{ .request = 1, .flags = 0x10 | 1 },
		{ .request = 0, .flags = 1 },
		{ .request = 23, .flags = 1 },
		{ .request = UINT32_MAX, .flags = 1 },
	};
	struct back *b = *state;

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct front *f = front_make(b);

		assert_true(front_put(f, &wrong[i], sizeof(wrong[i]), NULL, 0));
		assert_true(front_hung_up(f));
		front_free(f);
	}
}

static void an_unknown_message_is_refused(void **state)
{
	struct front *f = front_make(*state);

	front_negotiate(f, 0);
	assert_false(front_tell(f, 99, NULL, 0));
	assert_false(front_tell(f, 0, NULL, 0));
	assert_int_equal(front_get(f, VH_GET_QUEUE_NUM), QUEUES);
	front_free(f);
}

static void gone_within_a_message(void **state)
{
	struct back *b = *state;
	struct front *f = front_make(b);
	const struct vh_header hdr = { .request = VH_SET_VRING_CALL,
				       .flags = VH_VERSION,
				       .len = 8 };
	int fd = some_fd();

	assert_true(front_put(f, &hdr, sizeof(hdr), &fd, 1));
	assert_true(front_put(f, "abc", 3, NULL, 0));
	close(fd);
	front_free(f);
	WAIT_UNTIL(atomic_load(&b->went) == 1);
	assert_string_equal(b->why, "the connection ended within a message");
}

/* One byte after the other is a message, too. */
static void a_message_in_pieces(void **state)
{
	struct front *f = front_make(*state);
	const struct vh_header hdr = { .request = VH_GET_QUEUE_NUM,
				       .flags = VH_VERSION };

	for (size_t i = 0; i < sizeof(hdr); i++)
		assert_true(
			front_put(f, (const uint8_t *)&hdr + i, 1, NULL, 0));
	front_answered(f, VH_GET_QUEUE_NUM);
	front_free(f);
}

/* ----------------------------------------------------------------- rings */

static void rings_that_are_not_there(void **state)
{
	static const uint32_t requests[] = { VH_SET_VRING_NUM,
					     VH_SET_VRING_BASE,
					     VH_SET_VRING_ENABLE };
	struct front *f = front_make(*state);
	struct vh_vring_addr addr = { .index = QUEUES };
	const struct vh_vring_state state_of = { .index = QUEUES };

	front_negotiate(f, 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_false(front_state(f, requests[i], QUEUES, 1));
		assert_false(front_state(f, requests[i], UINT32_MAX, 1));
	}
	assert_false(front_tell(f, VH_SET_VRING_ADDR, &addr, sizeof(addr)));
	for (uint32_t i = VH_SET_VRING_KICK; i <= VH_SET_VRING_ERR; i++) {
		const uint64_t val = 200;
		int fd = some_fd();

		assert_false(front_tell_fds(f, i, &val, sizeof(val), &fd, 1));
		close(fd);
	}
	assert_true(front_send(f, VH_GET_VRING_BASE, 0, &state_of,
			       sizeof(state_of)));
	assert_true(front_hung_up(f));
	front_free(f);
}

static void rings_of_a_wrong_shape(void **state)
{
	struct back *b = *state;
	struct front *f = front_make(b);
	struct vh_vring_addr addr = { .desc = 8 };

	front_negotiate(f, 0);
	assert_false(front_state(f, VH_SET_VRING_NUM, 0, 0));
	assert_false(front_state(f, VH_SET_VRING_NUM, 0, 63));
	assert_false(front_state(f, VH_SET_VRING_NUM, 0, 2 * LEN));
	assert_false(front_state(f, VH_SET_VRING_NUM, 0, 0x10000 + LEN));
	assert_false(front_state(f, VH_SET_VRING_BASE, 0, 0x10000));
	assert_false(front_state(f, VH_SET_VRING_ENABLE, 0, 2));
	assert_false(front_tell(f, VH_SET_VRING_ADDR, &addr, sizeof(addr)));
	addr.desc = 0;
	addr.used = 2;
	assert_false(front_tell(f, VH_SET_VRING_ADDR, &addr, sizeof(addr)));
	addr.used = 0;
	addr.avail = 1;
	assert_false(front_tell(f, VH_SET_VRING_ADDR, &addr, sizeof(addr)));
	addr.avail = 0;
	addr.flags = 2;
	assert_false(front_tell(f, VH_SET_VRING_ADDR, &addr, sizeof(addr)));
	front_free(f);
}

/* Where there is no IOMMU, a ring lies in the front-end's memory. */
static void a_ring_outside_of_memory(void **state)
{
	struct back *b = *state;
	struct front *f = front_make(b);

	front_negotiate(f, 0);
	assert_true(front_memory(f));
	ring_init(&f->rings[0], f->ram, 0, RINGS, LEN);
	f->rings[0].used = REGION - 64; /* not all of it */
	front_ring_go(f, 0, 0);
	assert_true(readable(f->err[0], WAIT_MS));
	WAIT_UNTIL(atomic_load(&b->troubles) == 1);
	assert_string_equal(b->trouble, "a ring is outside of memory");
	front_free(f);
}

static void a_ring_that_is_broken(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, 0);

	front_run(f, 0, 0, DATA);
	f->rings[0].added += 2 * LEN;
	ring_show(&f->rings[0]);
	front_kick(f, 0);
	assert_true(readable(f->err[1], WAIT_MS));
	for (unsigned i = 0; i < QUEUES; i++) {
		front_ring_stop(f, i);
		front_answered(f, VH_GET_VRING_BASE);
	}
	front_ring(f, 0);
	front_run(f, 0, 0, DATA);
	front_free(f);
}

static void a_running_ring_is_left_alone(void **state)
{
	struct front *f = front_up(*state, 0);

	assert_false(front_state(f, VH_SET_VRING_NUM, 0, LEN / 2));
	assert_false(front_state(f, VH_SET_VRING_BASE, 0, 3));
	f->rings[0].used += GUEST_PAGE;
	assert_false(front_addr(f, 0, 0));
	f->rings[0].used -= GUEST_PAGE;
	assert_true(front_addr(f, 0, VH_VRING_F_LOG));
	front_run(f, 0, 0, DATA);
	front_free(f);
}

static void kicks_that_are_no_eventfds(void **state)
{
	struct front *f = front_make(*state);
	const uint64_t none = VH_FILE_NONE, zero = 0;
	int pipes[2];

	front_negotiate(f, 0);
	assert_int_equal(pipe(pipes), 0);
	for (uint32_t i = VH_SET_VRING_KICK; i <= VH_SET_VRING_ERR; i++) {
		assert_false(front_tell_fds(f, i, &zero, 8, &pipes[0], 1));
		assert_false(front_tell_fds(f, i, &zero, 8, &f->ram_fd, 1));
		assert_false(front_tell(f, i, &zero, 8));
		assert_false(front_tell_fds(f, i, &none, 8, &pipes[0], 1));
	}
	/* nobody polls, but one may do without interrupts */
	assert_false(front_tell(f, VH_SET_VRING_KICK, &none, 8));
	assert_true(front_tell(f, VH_SET_VRING_CALL, &none, 8));
	assert_true(front_tell(f, VH_SET_VRING_ERR, &none, 8));
	close(pipes[0]);
	close(pipes[1]);
	front_free(f);
}

/* The front-end's own eventfd, made to block: full, and then empty. */
static void an_eventfd_that_blocks_stops_nobody(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, 0);
	const uint64_t full = UINT64_MAX - 1;

	assert_int_equal(write(f->call[0], &full, sizeof(full)), sizeof(full));
	assert_int_equal(fcntl(f->call[0], F_SETFL, 0), 0);
	assert_int_equal(fcntl(f->kick[0], F_SETFL, 0), 0);
	front_offer(f, 0, 0, DATA);
	front_kick(f, 0);
	WAIT_UNTIL(ring_used_idx(&f->rings[0]) == 1);
	front_run(f, 1, 0, DATA);
	front_free(f);
}

/* ---------------------------------------------------------------- memory */

static bool add_region(struct front *f, const struct vh_region *r, int fd)
{
	const struct vh_mem_reg reg = { .region = *r };

	return front_tell_fds(f, VH_ADD_MEM_REG, &reg, sizeof(reg), &fd, 1);
}

static void regions_that_cannot_be(void **state)
{
	struct back *b = *state;
	struct front *f = front_make(b);
	struct vh_region r = front_low();
	int fd = some_fd();

	front_negotiate(f, 0);
	assert_false(add_region(f, &r, fd));
	r.len = 0;
	assert_false(add_region(f, &r, f->ram_fd));
	r.len = UINT64_MAX;
	assert_false(add_region(f, &r, f->ram_fd));
	r.len = 2 * REGION + 1; /* longer than the file */
	assert_false(add_region(f, &r, f->ram_fd));
	r = front_low();
	r.gpa = UINT64_MAX - 4095;
	assert_false(add_region(f, &r, f->ram_fd));
	r = front_low();
	r.user = UINT64_MAX - 4095;
	assert_false(add_region(f, &r, f->ram_fd));
	r = front_low();
	r.offset = UINT64_MAX - 4095;
	assert_false(add_region(f, &r, f->ram_fd));
	assert_int_equal(back_stats(b).regions, 0);
	r = front_low();
	assert_true(add_region(f, &r, f->ram_fd));
	/* there, and what the front-end calls it, is something already */
	r.user += REGION;
	assert_false(add_region(f, &r, f->ram_fd));
	r = front_low();
	r.gpa += REGION;
	assert_false(add_region(f, &r, f->ram_fd));
	assert_int_equal(back_stats(b).regions, 1);
	r.user += REGION;
	assert_true(add_region(f, &r, f->ram_fd));
	close(fd);
	front_free(f);
}

static void tables_that_cannot_be(void **state)
{
	struct back *b = *state;
	struct front *f = front_make(b);
	struct vh_region r[] = { front_low(), front_high() };
	struct vh_mem_table t = { .n = 9 };
	int fds[VH_TABLE_REGIONS];

	front_negotiate(f, 0);
	assert_true(front_memory(f));
	r[1].gpa = GUEST_PAGE;
	assert_false(front_table(f, r, 2));
	r[1] = front_high();
	r[1].user = USER + REGION - 1;
	assert_false(front_table(f, r, 2));
	r[1] = front_high();
	r[1].len = 0;
	assert_false(front_table(f, r, 2));
	r[1].len = -r[1].gpa + 1;
	assert_false(front_table(f, r, 2));
	/* nothing has changed */
	assert_int_equal(back_stats(b).regions, 2);
	for (unsigned i = 0; i < VH_TABLE_REGIONS; i++)
		fds[i] = f->ram_fd;
	assert_false(
		front_tell_fds(f, VH_SET_MEM_TABLE, &t, sizeof(t), fds, 8));
	t.n = UINT32_MAX;
	assert_false(
		front_tell_fds(f, VH_SET_MEM_TABLE, &t, sizeof(t), fds, 8));
	t.n = 8;
	assert_false(
		front_tell_fds(f, VH_SET_MEM_TABLE, &t, sizeof(t), fds, 7));
	assert_false(front_tell_fds(f, VH_SET_MEM_TABLE, &t, 8, fds, 8));
	front_ring(f, 0);
	front_run(f, 0, 0, GPA_HIGH);
	assert_true(front_table(f, r, 0));
	assert_int_equal(back_stats(b).regions, 0);
	front_free(f);
}

static void more_slots_than_there_are(void **state)
{
	struct front *f = front_make(*state);
	uint64_t slots = front_get(f, VH_GET_MAX_MEM_SLOTS);
	struct vh_region r = { .len = GUEST_PAGE };

	front_negotiate(f, 0);
	for (uint64_t i = 0; i < slots; i++) {
		r.gpa = r.user = i << 32;
		assert_true(add_region(f, &r, f->ram_fd));
	}
	r.gpa = r.user = slots << 32;
	assert_false(add_region(f, &r, f->ram_fd));
	front_free(f);
}

/* ------------------------------------------------------- come and be gone */

static void reconnecting(void **state)
{
	struct back *b = *state;

	for (unsigned i = 0; i < 5; i++) {
		struct front *f = front_up(b, i % 2 ? PLATFORM : 0);

		if (i % 2) {
			assert_true(front_update(f, RINGS, 6 * GUEST_PAGE));
			assert_true(front_update(f, DATA, GUEST_PAGE));
		}
		front_run(f, 1, 0, DATA);
		front_free(f);
		WAIT_UNTIL(atomic_load(&b->went) == i + 1);
	}
	assert_int_equal(back_stats(b).connections, 5);
	assert_int_equal(back_stats(b).protocol_errors, 0);
}

static void the_next_one_waits_for_what_is_in_use(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, 0), *next;

	atomic_store(&b->hold, BIT(0));
	front_offer(f, 0, 0, DATA);
	front_kick(f, 0);
	WAIT_UNTIL(atomic_load(&b->mapped) == 1);
	next = front_make(b);
	assert_true(front_send(next, VH_GET_QUEUE_NUM, 0, NULL, 0));
	front_free(f);
	WAIT_UNTIL(atomic_load(&b->resets) == 1);
	/* its memory is still written to */
	assert_false(readable(next->fd, 0));
	assert_int_equal(atomic_load(&b->came), 1);
	back_let_go(b);
	front_answered(next, VH_GET_QUEUE_NUM);
	front_free(next);
}

static void gone_with_answers_due(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, PLATFORM);

	assert_true(front_update(f, RINGS, 6 * GUEST_PAGE));
	assert_true(front_update(f, DATA, GUEST_PAGE));
	atomic_store(&b->hold, BIT(0));
	front_offer(f, 0, 0, DATA);
	front_kick(f, 0);
	WAIT_UNTIL(atomic_load(&b->mapped) == 1);
	for (unsigned i = 0; i < 200; i++)
		front_iotlb_send(f, VHOST_IOTLB_INVALIDATE, DATA, GUEST_PAGE);
	front_ring_stop(f, 0);
	front_free(f);
	WAIT_UNTIL(atomic_load(&b->went) == 1);
	back_let_go(b);
	atomic_store(&b->hold, 0);
	f = front_up(b, 0);
	front_run(f, 0, 0, DATA);
	front_free(f);
}

/* A front-end that asks, and does not listen. */
static void answers_that_nobody_reads(void **state)
{
	struct back *b = *state;
	struct front *f = front_make(b);
	const struct timeval soon = { .tv_usec = 100000 };
	unsigned sent = 0;

	assert_int_equal(
		setsockopt(f->fd, SOL_SOCKET, SO_SNDTIMEO, &soon, sizeof(soon)),
		0);
	while (sent < 1000000 && front_send(f, VH_GET_FEATURES, 0, NULL, 0))
		sent++;
	/* it is not read from any more, either; and not sent away */
	assert_true(sent < 1000000);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(atomic_load(&b->went), 0);
	front_free(f);
	WAIT_UNTIL(atomic_load(&b->went) == 1);
}

static void the_other_socket_is_closed(void **state)
{
	struct back *b = back_make(0, 20000000);
	struct front *f = front_up(b, PLATFORM);

	(void)state;
	assert_true(front_update(f, RINGS, 6 * GUEST_PAGE));
	fd_drop(&f->back);
	/* nobody hears the question: the request fails, the ring does not */
	front_offer(f, 0, 0, DATA);
	front_kick(f, 0);
	front_wait_call(f, 0);
	assert_int_equal(ring_used_idx(&f->rings[0]), 1);
	assert_int_equal(back_stats(b).iotlb.timeouts, 1);
	front_free(f);
	back_free(b);
}

/* What comes there says nothing, and is no reason to keep others waiting. */
static void the_other_socket_has_a_lot_to_say(void **state)
{
	struct back *b = back_begin(0, 0);
	struct front *f = front_make(b);
	const struct vh_header hdr = { .request = VH_BACKEND_IOTLB_MSG,
				       .flags = VH_VERSION | VH_REPLY };
	int pair[2], before, unread = 0;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX,
				    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
				    0, pair),
			 0);
	while (send(pair[0], &hdr, sizeof(hdr), MSG_NOSIGNAL) > 0)
		;
	assert_int_equal(ioctl(pair[1], FIONREAD, &before), 0);
	assert_true(before > 100 * (int)sizeof(hdr));
	assert_true(front_send_fds(f, VH_SET_BACKEND_REQ_FD, 0, NULL, 0,
				   &pair[1], 1));
	/* accepted, told, and then it is read */
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(vs_loop_once(b->loop), 0);
		assert_int_equal(ioctl(pair[1], FIONREAD, &unread), 0);
		assert_true(unread > 0);
	}
	assert_true(unread < before);
	close(pair[0]);
	close(pair[1]);
	front_free(f);
	back_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(messages_of_a_wrong_length),
		TEST(descriptors_where_none_belong),
		TEST(what_cannot_be_refused_ends_the_connection),
		TEST(impossible_headers),
		TEST(an_unknown_message_is_refused),
		TEST(gone_within_a_message),
		TEST(a_message_in_pieces),
		TEST(rings_that_are_not_there),
		TEST(rings_of_a_wrong_shape),
		TEST(a_ring_outside_of_memory),
		TEST(a_ring_that_is_broken),
		TEST(a_running_ring_is_left_alone),
		TEST(kicks_that_are_no_eventfds),
		TEST(an_eventfd_that_blocks_stops_nobody),
		TEST(regions_that_cannot_be),
		TEST(tables_that_cannot_be),
		TEST(more_slots_than_there_are),
		TEST(reconnecting),
		TEST(the_next_one_waits_for_what_is_in_use),
		TEST(gone_with_answers_due),
		TEST(answers_that_nobody_reads),
		cmocka_unit_test(the_other_socket_is_closed),
		cmocka_unit_test(the_other_socket_has_a_lot_to_say),
	};

	return cmocka_run_group_tests_name("vhost_user_hostile", tests, NULL,
					   NULL);
}
