/* SPDX-License-Identifier: BSD-2-Clause */

/* What a vhost-user back-end shares with its front-end beside memory: the log
 * of pages that it wrote, and what was in flight when it died. */

#include "front.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#define LOG_LEN ((GPA_HIGH + REGION) / GUEST_PAGE / 8)

struct shared {
	int fd;
	uint8_t *at;
	uint64_t len;
};

static void shared_map(struct shared *a, int fd, uint64_t len)
{
	a->fd = fd;
	a->len = len;
	a->at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(a->at, MAP_FAILED);
}

static void shared_free(struct shared *a)
{
	munmap(a->at, a->len);
	close(a->fd);
}

static int setup(void **state)
{
	*state = back_make(0, 0);
	return 0;
}

static int teardown(void **state)
{
	back_free(*state);
	return 0;
}

/* ------------------------------------------------------------------- log */

static bool log_on(struct front *f, const struct shared *log)
{
	const struct vh_log l = { .len = log->len };

	return front_tell_fds(f, VH_SET_LOG_BASE, &l, sizeof(l), &log->fd, 1) &&
	       front_tell_u64(f, VH_SET_FEATURES, f->features | LOG_ALL);
}

static bool logged(const struct shared *log, uint64_t gpa)
{
	uint64_t page = gpa / GUEST_PAGE;

	return log->at[page / 8] >> page % 8 & 1;
}

/* How many pages, of what is not a ring: the device writes there also to say
 * that it wants to be notified, when it likes. */
static unsigned log_take(const struct shared *log)
{
	unsigned n = 0;

	for (uint64_t gpa = 0; gpa < log->len * 8 * GUEST_PAGE;
	     gpa += GUEST_PAGE)
		if (gpa < RINGS || gpa >= RINGS + 6 * GUEST_PAGE)
			n += logged(log, gpa);
	memset(log->at, 0, log->len);
	return n;
}

static void log_is_by_gpa(struct back *b, uint64_t features)
{
	struct front *f = front_up(b, features);
	struct shared log;

	if (features) {
		assert_true(front_update(f, RINGS, 6 * GUEST_PAGE));
		assert_true(front_update(f, DATA, 2 * GUEST_PAGE));
		assert_true(front_update(f, GPA_HIGH, 8 * GUEST_PAGE));
	}
	front_run(f, 0, 0, DATA);
	shared_map(&log, front_memfd(LOG_LEN), LOG_LEN);
	assert_true(log_on(f, &log));
	assert_int_equal(log_take(&log), 0);
	/* by the time that the driver is told, all of it is there */
	front_run(f, 0, 1, DATA + GUEST_PAGE);
	assert_true(logged(&log, DATA + GUEST_PAGE));
	assert_true(logged(&log, f->rings[0].used));
	assert_int_equal(log_take(&log), 1);
	front_run(f, 1, 0, GPA_HIGH + 7 * GUEST_PAGE);
	assert_true(logged(&log, GPA_HIGH + 7 * GUEST_PAGE));
	assert_true(logged(&log, f->rings[1].used));
	assert_int_equal(log_take(&log), 1);
	assert_true(front_tell_u64(f, VH_SET_FEATURES, f->features));
	log_take(&log);
	front_run(f, 1, 1, DATA);
	assert_int_equal(log_take(&log), 0);
	assert_false(logged(&log, f->rings[1].used));
	shared_free(&log);
	front_free(f);
}

static void what_is_written_is_logged(void **state)
{
	log_is_by_gpa(*state, 0);
}

static void what_is_written_behind_an_iommu_is_logged_by_gpa(void **state)
{
	log_is_by_gpa(*state, PLATFORM);
}

/* A write that began before the log, and ends with the ring's stop. */
static void what_was_in_flight_is_logged(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, 0);
	struct shared log;

	atomic_store(&b->hold, BIT(0));
	front_offer(f, 0, 0, DATA);
	front_kick(f, 0);
	WAIT_UNTIL(atomic_load(&b->mapped) == 1);
	shared_map(&log, front_memfd(LOG_LEN), LOG_LEN);
	assert_true(log_on(f, &log));
	front_ring_stop(f, 0);
	back_let_go(b);
	front_answered(f, VH_GET_VRING_BASE);
	assert_true(logged(&log, DATA));
	assert_true(logged(&log, f->rings[0].used));
	shared_free(&log);
	front_free(f);
}

static void a_short_log_has_what_fits(void **state)
{
	struct front *f = front_up(*state, 0);
	struct shared log;

	shared_map(&log, front_memfd(GUEST_PAGE), GUEST_PAGE);
	log.len = DATA / GUEST_PAGE / 8 + 1; /* of the file's page */
	assert_true(log_on(f, &log));
	front_run(f, 0, 0, DATA);
	front_run(f, 0, 1, GPA_HIGH);
	front_run(f, 0, 2, DATA + 8 * GUEST_PAGE);
	assert_true(logged(&log, DATA));
	assert_int_equal(log.at[log.len], 0);
	log.len = GUEST_PAGE;
	shared_free(&log);
	front_free(f);
}

/* A used ring is written when it is shown, so it is marked after that: also if
 * the front-end has seen, and cleared, that it was written before. */
static void the_ring_is_logged_when_it_is_shown(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, 0);
	struct shared log;

	shared_map(&log, front_memfd(LOG_LEN), LOG_LEN);
	assert_true(log_on(f, &log));
	atomic_store(&b->hold, BIT(0));
	front_offer(f, 0, 0, DATA);
	front_kick(f, 0);
	WAIT_UNTIL(atomic_load(&b->mapped) == 1);
	front_run(f, 1, 0, DATA + GUEST_PAGE);
	log_take(&log);
	back_let_go(b);
	front_wait_call(f, 0);
	assert_true(logged(&log, f->rings[0].used));
	assert_true(logged(&log, DATA));
	shared_free(&log);
	front_free(f);
}

/* What is not shown to anybody is told when the ring is stopped at the latest:
 * here, that the device wants to be notified again. */
static void the_rest_is_logged_when_a_ring_is_stopped(void **state)
{
	struct front *f = front_up(*state, 0);
	struct shared log;

	shared_map(&log, front_memfd(LOG_LEN), LOG_LEN);
	assert_true(log_on(f, &log));
	front_run(f, 0, 0, DATA);
	WAIT_UNTIL(!(ring_load16(&f->rings[0], f->rings[0].used) &
		     VRING_USED_F_NO_NOTIFY));
	log_take(&log);
	front_ring_stop(f, 0);
	front_answered(f, VH_GET_VRING_BASE);
	assert_true(logged(&log, f->rings[0].used));
	shared_free(&log);
	front_free(f);
}

/* Whoever sees that a request is done, sees that its page was written. */
static void what_is_written_is_logged_before_it_is_shown(void **state)
{
	struct front *f = front_up(*state, 0);
	struct ring *r = &f->rings[0];
	struct shared log;
	uint32_t id, len;

	shared_map(&log, front_memfd(LOG_LEN), LOG_LEN);
	assert_true(log_on(f, &log));
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t until = now_ms() + WAIT_MS;
		uint64_t calls;
		bool seen;

		log.at[DATA / GUEST_PAGE / 8] = 0;
		front_offer(f, 0, (uint16_t)(i % LEN), DATA);
		front_kick(f, 0);
		/* look as soon as it can be seen */
		while (ring_used_idx(r) == r->seen)
			if (now_ms() > until)
				break;
		seen = logged(&log, DATA);
		/* when the call comes, all of this one is logged */
		assert_true(readable(f->call[0], WAIT_MS));
		assert_int_equal(read(f->call[0], &calls, sizeof(calls)),
				 sizeof(calls));
		assert_true(ring_take(r, &id, &len));
		assert_true(seen);
	}
	shared_free(&log);
	front_free(f);
}

/* Memory that goes takes its log along: it is told before. */
static void goes(struct back *b, uint32_t request, const void *body, size_t len,
		 bool fd)
{
	struct front *f = front_up(b, 0);
	struct shared log;

	shared_map(&log, front_memfd(LOG_LEN), LOG_LEN);
	assert_true(log_on(f, &log));
	atomic_store(&b->hold, BIT(0));
	front_offer(f, 0, 0, GPA_HIGH);
	front_kick(f, 0);
	WAIT_UNTIL(atomic_load(&b->mapped) == 1);
	assert_true(front_send_fds(f, request, VH_NEED_REPLY, body, len,
				   &f->ram_fd, fd));
	WAIT_UNTIL(back_stats(b).regions == 1);
	back_let_go(b);
	front_answered(f, request);
	assert_int_equal(front_u64(f), 0);
	assert_true(logged(&log, GPA_HIGH));
	shared_free(&log);
	front_free(f);
}

static void what_goes_is_logged(void **state)
{
	const struct vh_mem_reg reg = { .region = front_high() };

	goes(*state, VH_REM_MEM_REG, &reg, sizeof(reg), false);
}

static void what_the_table_lacks_is_logged(void **state)
{
	const struct vh_mem_table t = { .n = 1, .region[0] = front_low() };

	goes(*state, VH_SET_MEM_TABLE, &t,
	     offsetof(struct vh_mem_table, region) + sizeof(t.region[0]), true);
}

static void logs_that_cannot_be(void **state)
{
	struct front *f = front_up(*state, 0);
	struct vh_log l = { .len = 2 * REGION + 1 };
	int fd = eventfd(0, EFD_CLOEXEC);

	/* none was given */
	assert_false(front_tell_u64(f, VH_SET_FEATURES, f->features | LOG_ALL));
	assert_false(front_tell_fds(f, VH_SET_LOG_BASE, &l, 16, &f->ram_fd, 1));
	l.len = 1;
	l.offset = 2 * REGION;
	assert_false(front_tell_fds(f, VH_SET_LOG_BASE, &l, 16, &f->ram_fd, 1));
	l.offset = UINT64_MAX;
	assert_false(front_tell_fds(f, VH_SET_LOG_BASE, &l, 16, &f->ram_fd, 1));
	l.offset = l.len = 0;
	assert_false(front_tell_fds(f, VH_SET_LOG_BASE, &l, 16, &f->ram_fd, 1));
	l.len = 8;
	assert_false(front_tell_fds(f, VH_SET_LOG_BASE, &l, 16, &fd, 1));
	assert_false(front_tell(f, VH_SET_LOG_BASE, &l, 16));
	assert_true(front_tell_fds(f, VH_SET_LOG_FD, NULL, 0, &fd, 1));
	close(fd);
	front_free(f);
}

/* A page of such a file may have to be waited for: by a disk, or by whoever
 * serves the file system. */
static void an_area_is_in_memory(void **state)
{
	struct back *b = *state;
	struct front *f = front_up(b, 0);
	const struct vh_log l = { .len = 4096 };
	struct statfs fs;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/log", b->dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(fstatfs(fd, &fs), 0);
	assert_int_equal(
		front_tell_fds(f, VH_SET_LOG_BASE, &l, sizeof(l), &fd, 1),
		fs.f_type == TMPFS_MAGIC);
	close(fd);
	front_free(f);
}

/* -------------------------------------------------------------- in flight */

static bool inflight_ask(struct front *f, uint16_t queues, uint16_t len,
			 struct vh_inflight *i)
{
	*i = (struct vh_inflight){ .queues = queues, .queue_len = len };
	if (!front_send(f, VH_GET_INFLIGHT_FD, 0, i, sizeof(*i)) ||
	    !front_recv_from(f, f->fd))
		return false;
	assert_int_equal(f->hdr.request, VH_GET_INFLIGHT_FD);
	assert_int_equal(f->hdr.len, sizeof(*i));
	memcpy(i, f->body, sizeof(*i));
	return true;
}

static bool inflight_give(struct front *f, const struct vh_inflight *i, int fd)
{
	return front_tell_fds(f, VH_SET_INFLIGHT_FD, i, sizeof(*i), &fd, 1);
}

/* The first of a front-end's life with back-ends. */
static struct front *front_up_inflight(struct back *b, uint64_t features,
				       struct vh_inflight *i, int *fd)
{
	struct front *f = front_make(b);

	front_negotiate(f, features);
	assert_true(front_memory(f));
	assert_true(inflight_ask(f, QUEUES, LEN, i));
	assert_true(f->got_fd >= 0);
	*fd = f->got_fd;
	f->got_fd = -1;
	assert_true(inflight_give(f, i, *fd));
	for (unsigned q = 0; q < QUEUES; q++)
		front_ring(f, q);
	return f;
}

/* The back-end is gone, and another is there: the rings are as they were. */
static void front_again(struct front *f, struct back *b,
			const struct vh_inflight *i, int fd)
{
	front_hang_up(f);
	front_connect(f, b);
	front_negotiate(f, 0);
	assert_true(front_memory(f));
	assert_true(inflight_give(f, i, fd));
	/* the front-end does not know how far the old one was: what is used
	 * is all that it can tell */
	for (unsigned q = 0; q < QUEUES; q++)
		front_ring_go(f, q, ring_used_idx(&f->rings[q]));
}

static bool in_flight(int fd, uint16_t head)
{
	struct vh_inflight_entry e;

	assert_int_equal(pread(fd, &e, sizeof(e),
			       (off_t)(sizeof(struct vh_inflight_head) +
				       head * sizeof(e))),
			 sizeof(e));
	return e.inflight;
}

/* Three are taken, the second is given back, the process dies. */
static void what_was_in_flight_is_done_again(void **state)
{
	static const uint16_t order[] = { 7, 3, 5, 2 };
	struct back *b = *state, *next;
	struct vh_inflight i;
	struct front *f;
	uint32_t id, len;
	int fd;

	f = front_up_inflight(b, 0, &i, &fd);
	front_run(f, 0, 9, DATA);
	atomic_store(&b->hold, BIT(0));
	front_offer(f, 0, 3, DATA);
	/* nothing to be filled: it does not take long */
	ring_buffer(&f->rings[0], 7, DATA, GUEST_PAGE, 0, 0);
	ring_offer(&f->rings[0], 7);
	front_offer(f, 0, 5, DATA + GUEST_PAGE);
	front_kick(f, 0);
	WAIT_UNTIL(atomic_load(&b->mapped) == 2);
	front_wait_call(f, 0);
	/* once it has seen that, nothing of the others is ever shown */
	front_hang_up(f);
	WAIT_UNTIL(atomic_load(&b->went) == 1);
	back_let_go(b);
	memset(f->ram + DATA, 0, 3 * GUEST_PAGE);
	assert_int_equal(ring_used_idx(&f->rings[0]), 2);
	next = back_make(0, 0);
	front_offer(f, 0, 2, DATA + 2 * GUEST_PAGE);
	front_again(f, next, &i, fd);
	/* nobody has kicked */
	WAIT_UNTIL(ring_used_idx(&f->rings[0]) == 5);
	for (unsigned n = 0; n < 4; n++) {
		assert_true(ring_take(&f->rings[0], &id, &len));
		assert_int_equal(id, order[n]);
	}
	for (unsigned n = 0; n < 3; n++)
		assert_true(front_filled(f, DATA + n * GUEST_PAGE));
	front_run(f, 0, 1, DATA);
	front_ring_stop(f, 0);
	front_answered(f, VH_GET_VRING_BASE);
	assert_int_equal(front_base(f, 0), 6);
	front_hang_up(f);
	back_free(next);
	front_free(f);
	close(fd);
}

/* A front-end that waits for GET_VRING_BASE answers no question: what waits for
 * one is left in the area. */
static void what_waits_for_an_answer_is_done_when_started_again(void **state)
{
	struct back *b = *state;
	struct vh_inflight i;
	struct front *f;
	int fd;

	f = front_up_inflight(b, PLATFORM, &i, &fd);
	assert_true(front_update(f, RINGS, 6 * GUEST_PAGE));
	assert_true(front_update(f, DATA + GUEST_PAGE, GUEST_PAGE));
	front_asked_drop(f);
	front_offer(f, 0, 3, DATA);
	front_offer(f, 0, 4, DATA + GUEST_PAGE);
	front_kick(f, 0);
	assert_int_equal(front_asked(f), DATA);
	front_wait_call(f, 0);
	front_taken(f, 0, 4);
	front_ring_stop(f, 0);
	front_answered(f, VH_GET_VRING_BASE);
	assert_int_equal(front_base(f, 0), 2);
	assert_int_equal(back_stats(b).iotlb.timeouts, 0);
	assert_int_equal(ring_used_idx(&f->rings[0]), 1);
	assert_true(in_flight(fd, 3));
	assert_false(in_flight(fd, 4));
	front_ring_go(f, 0, 2);
	assert_true(front_update(f, DATA, GUEST_PAGE));
	front_wait_call(f, 0);
	front_taken(f, 0, 3);
	assert_true(front_filled(f, DATA));
	front_free(f);
	close(fd);
}

/* A migration: the other machine has the memory, and no area. */
static void what_came_last_and_waits_is_for_whoever_goes_on(void **state)
{
	struct vh_inflight i, fresh;
	struct front *f;
	int fd;

	f = front_up_inflight(*state, PLATFORM, &i, &fd);
	assert_true(front_update(f, RINGS, 6 * GUEST_PAGE));
	assert_true(front_update(f, DATA, GUEST_PAGE));
	front_asked_drop(f);
	front_run(f, 0, 9, DATA);
	front_offer(f, 0, 3, DATA + GUEST_PAGE);
	front_offer(f, 0, 4, DATA + 2 * GUEST_PAGE);
	front_kick(f, 0);
	assert_int_equal(front_asked(f), DATA + GUEST_PAGE);
	assert_int_equal(front_asked(f), DATA + 2 * GUEST_PAGE);
	for (unsigned q = 0; q < QUEUES; q++) {
		front_ring_stop(f, q);
		front_answered(f, VH_GET_VRING_BASE);
		assert_int_equal(front_base(f, q), q ? 0 : 1);
	}
	close(fd);
	assert_true(inflight_ask(f, QUEUES, LEN, &fresh));
	assert_true(inflight_give(f, &fresh, f->got_fd));
	front_ring_go(f, 0, 1);
	assert_true(front_update(f, DATA + GUEST_PAGE, 2 * GUEST_PAGE));
	WAIT_UNTIL(ring_used_idx(&f->rings[0]) == 3);
	front_taken(f, 0, 3);
	front_taken(f, 0, 4);
	front_free(f);
}

/* The same, with the area that there was: once is enough. */
static void what_came_last_and_waits_is_done_once(void **state)
{
	struct vh_inflight i;
	struct front *f;
	int fd;

	f = front_up_inflight(*state, PLATFORM, &i, &fd);
	assert_true(front_update(f, RINGS, 6 * GUEST_PAGE));
	front_asked_drop(f);
	front_offer(f, 0, 3, DATA);
	front_kick(f, 0);
	assert_int_equal(front_asked(f), DATA);
	front_ring_stop(f, 0);
	front_answered(f, VH_GET_VRING_BASE);
	assert_int_equal(front_base(f, 0), 0);
	/* or somebody who believes both would do it twice */
	assert_false(in_flight(fd, 3));
	front_ring_go(f, 0, 0);
	assert_true(front_update(f, DATA, GUEST_PAGE));
	front_wait_call(f, 0);
	front_taken(f, 0, 3);
	front_run(f, 0, 4, DATA);
	assert_int_equal(ring_used_idx(&f->rings[0]), 2);
	front_free(f);
	close(fd);
}

static void areas_that_cannot_be(void **state)
{
	struct back *b = *state;
	struct vh_inflight i, wrong;
	struct front *f = front_make(b);
	int fd, small = front_memfd(64);

	front_negotiate(f, 0);
	assert_true(inflight_ask(f, 1, LEN, &i));
	fd = f->got_fd;
	f->got_fd = -1;
	/* it stays as long as it is */
	assert_int_not_equal(ftruncate(fd, 0), 0);
	assert_false(inflight_give(f, &i, small));
	wrong = i;
	wrong.len--;
	assert_false(inflight_give(f, &wrong, fd));
	wrong = i;
	wrong.queues = QUEUES + 1;
	assert_false(inflight_give(f, &wrong, fd));
	wrong.queues = 0;
	assert_false(inflight_give(f, &wrong, fd));
	wrong = i;
	wrong.queue_len = 2 * LEN;
	assert_false(inflight_give(f, &wrong, fd));
	wrong = i;
	wrong.offset = 4;
	assert_false(inflight_give(f, &wrong, fd));
	assert_true(inflight_give(f, &i, fd));
	/* one ring has an area, and the other none */
	assert_true(front_memory(f));
	for (unsigned q = 0; q < QUEUES; q++) {
		front_ring(f, q);
		front_run(f, q, 0, DATA);
	}
	assert_false(inflight_give(f, &i, fd));
	/* an error has no answer of its own */
	assert_false(inflight_ask(f, 0, LEN, &i));
	front_free(f);
	close(fd);
	close(small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(what_is_written_is_logged),
		TEST(what_is_written_behind_an_iommu_is_logged_by_gpa),
		TEST(what_was_in_flight_is_logged),
		TEST(a_short_log_has_what_fits),
		TEST(the_ring_is_logged_when_it_is_shown),
		TEST(the_rest_is_logged_when_a_ring_is_stopped),
		TEST(what_is_written_is_logged_before_it_is_shown),
		TEST(what_goes_is_logged),
		TEST(what_the_table_lacks_is_logged),
		TEST(logs_that_cannot_be),
		TEST(an_area_is_in_memory),
		TEST(what_was_in_flight_is_done_again),
		TEST(what_waits_for_an_answer_is_done_when_started_again),
		TEST(what_came_last_and_waits_is_for_whoever_goes_on),
		TEST(what_came_last_and_waits_is_done_once),
		TEST(areas_that_cannot_be),
	};

	return cmocka_run_group_tests_name("vhost_user_area", tests, NULL,
					   NULL);
}
