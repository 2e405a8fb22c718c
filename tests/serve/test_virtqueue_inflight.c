/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Virtqueues that outlive their process.  A child serves a ring in memory that
 * it shares with us, is stepped through it instruction by instruction, and each
 * state of that memory is one that a process could leave behind: for each, one
 * that comes after it must do what was not acknowledged, in order, and nothing
 * that was.
 */

#include "ring.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include <viommu/serve/virtqueue.h>

/* Each instruction is stepped through, and sanitizers make too many of one:
 * they are for the rest, and a build without them for this. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STEPPED 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define STEPPED 0
#endif
#endif
#ifndef STEPPED
#define STEPPED 1
#endif

#define LEN	8
#define RING	0x1000u
#define SHARED	(8 * GUEST_PAGE)
#define AREA	(4 * GUEST_PAGE) /* where the in-flight area is */
#define STATES	4096
#define OFFERED 6

/* vhost-user's layout, as its specification has it. */
struct area_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};

struct area {
	uint64_t features;
	uint16_t version, desc_num, last_batch_head, used_idx;
	struct area_desc desc[LEN];
};

struct fix {
	struct viommu *vi;
	struct viommu_space *space;
	struct viommu_endpoint *ep;
	struct viommu_virtqueue *vq;
	struct ring ring;
	struct area *area;
	struct viommu_piece segments[LEN];
	struct viommu_element e;
	uint8_t *ram; /* shared: rings, and the area */
};

/* The order in which they are made available. */
static const uint16_t heads[OFFERED] = { 3, 1, 7, 0, 5, 2 };

static int resume_with(struct fix *x, uint16_t next, void *area, size_t len)
{
	const struct viommu_ring r = { .desc = x->ring.desc,
				       .avail = x->ring.avail,
				       .used = x->ring.used,
				       .len = LEN };
	const struct viommu_virtqueue_state st = { .size = sizeof(st),
						   .inflight = area,
						   .inflight_len = len,
						   .next = next };

	return viommu_virtqueue_resume(x->vq, &r, &st);
}

static void resume(struct fix *x, uint16_t next)
{
	assert_int_equal(resume_with(x, next, x->area, sizeof(*x->area)), 0);
}

static void world_make(struct fix *x)
{
	const struct viommu_region r = { .size = sizeof(r),
					 .len = SHARED,
					 .host = x->ram,
					 .prot = VIOMMU_READ | VIOMMU_WRITE,
					 .fd = -1 };
	const struct viommu_space_config sc = { .size = sizeof(sc),
						.kind = VIOMMU_SPACE_IDENTITY,
						.page_sizes = GUEST_PAGE };
	const struct viommu_endpoint_config ec = { .size = sizeof(ec),
						   .pasid = VIOMMU_NO_PASID };
	struct viommu_virtqueue_config qc = { .size = sizeof(qc),
					      .max_len = LEN,
					      .max_segments = LEN };
	struct viommu_fence f;

	assert_int_equal(viommu_create(NULL, &x->vi), 0);
	assert_int_equal(viommu_memory_add(viommu_memory_of(x->vi), &r), 0);
	assert_int_equal(viommu_space_create(x->vi, &sc, &x->space), 0);
	assert_int_equal(viommu_endpoint_create(x->vi, &ec, &x->ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(x->ep, x->space, &f), 0);
	guest_commit(&f);
	qc.endpoint = x->ep;
	assert_int_equal(viommu_virtqueue_create(&qc, &x->vq), 0);
}

static int setup(void **state)
{
	struct fix *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	x->ram = mmap(NULL, SHARED, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(x->ram != MAP_FAILED);
	world_make(x);
	ring_init(&x->ring, x->ram, 0, RING, LEN);
	x->area = (struct area *)(void *)(x->ram + AREA);
	x->e.segments = x->segments;
	x->e.max = LEN;
	for (unsigned i = 0; i < LEN; i++)
		ring_buffer(&x->ring, i, 0x7000, 16, 0, 0);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fix *x = *state;
	struct viommu_fence f;

	viommu_virtqueue_destroy(x->vq);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(x->ep, &f);
	viommu_space_destroy(x->space, &f);
	guest_commit(&f);
	viommu_destroy(x->vi);
	munmap(x->ram, SHARED);
	free(x);
	return 0;
}

static void offer_all(struct fix *x)
{
	for (unsigned i = 0; i < OFFERED; i++)
		ring_offer(&x->ring, heads[i]);
}

static struct viommu_element pop(struct fix *x)
{
	if (viommu_virtqueue_pop(x->vq, &x->e))
		abort();
	return x->e;
}

static void push(struct fix *x, const struct viommu_element *e)
{
	viommu_virtqueue_push(x->vq, e, e->head);
}

/* ------------------------------------------------------------------ basics */

static void it_goes_on_at_an_index(void **state)
{
	struct fix *x = *state;
	uint32_t id, len;

	/* two were served before */
	offer_all(x);
	ring_store16(&x->ring, x->ring.used + 2, 2);
	x->ring.seen = 2;
	assert_int_equal(resume_with(x, 2, NULL, 0), 0);
	assert_int_equal(viommu_virtqueue_next(x->vq), 2);
	assert_int_equal(pop(x).head, heads[2]);
	push(x, &x->e);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 1);
	assert_true(ring_take(&x->ring, &id, &len));
	assert_int_equal(id, heads[2]);
	assert_int_equal(ring_used_idx(&x->ring), 3);
	assert_int_equal(viommu_virtqueue_next(x->vq), 3);
	viommu_virtqueue_stop(x->vq);
	assert_int_equal(viommu_virtqueue_next(x->vq), 3);
}

/* Whoever died may have owed the driver an interrupt. */
static void after_a_resume_it_interrupts_once(void **state)
{
	struct fix *x = *state;

	ring_store16(&x->ring, x->ring.avail, VRING_AVAIL_F_NO_INTERRUPT);
	resume(x, 0);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 0);
	assert_int_equal(viommu_virtqueue_pop(x->vq, &x->e), -ENOENT);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 1);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 0);
	offer_all(x);
	pop(x);
	push(x, &x->e);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 0);
	/* also if there is something to show */
	resume(x, 0);
	pop(x);
	push(x, &x->e);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 1);
}

static void the_area_is_checked(void **state)
{
	struct fix *x = *state;
	char *mem = (char *)x->area;
	const struct viommu_ring ring = { .desc = 8, .len = LEN };
	struct {
		struct viommu_virtqueue_state st;
		uint64_t later;
	} st = { .st.size = sizeof(st) };

	assert_int_equal(viommu_virtqueue_inflight_len(LEN), sizeof(*x->area));
	assert_int_equal(resume_with(x, 0, mem, sizeof(*x->area) - 1), -EINVAL);
	assert_int_equal(resume_with(x, 0, mem + 4, sizeof(*x->area)), -EINVAL);
	x->area->version = 2;
	x->area->desc_num = LEN;
	assert_int_equal(resume_with(x, 0, mem, sizeof(*x->area)), -EINVAL);
	x->area->version = 1;
	assert_int_equal(resume_with(x, 0, mem, sizeof(*x->area)), 0);
	x->area->desc_num = LEN / 2;
	assert_int_equal(resume_with(x, 0, mem, sizeof(*x->area)), -EINVAL);
	/* a bad ring */
	assert_int_equal(viommu_virtqueue_resume(x->vq, &ring, &st.st),
			 -EINVAL);
	st.later = 1;
	assert_int_equal(viommu_virtqueue_resume(x->vq, &ring, &st.st),
			 -EINVAL);
}

static void a_fresh_area_is_taken_into_use(void **state)
{
	struct fix *x = *state;

	ring_store16(&x->ring, x->ring.used + 2, 9);
	resume(x, 9);
	assert_int_equal(viommu_virtqueue_pop(x->vq, &x->e), -EPROTO);
	x->ring.added = 9;
	ring_show(&x->ring);
	x->area->version = 0;
	resume(x, 9);
	assert_int_equal(viommu_virtqueue_pop(x->vq, &x->e), -ENOENT);
	assert_int_equal(x->area->version, 1);
	assert_int_equal(x->area->desc_num, LEN);
	assert_int_equal(x->area->used_idx, 9);
	/* it knows nothing yet: the index is as we were told */
	*x->area = (struct area){ 0 };
	x->ring.added = 0;
	offer_all(x);
	ring_store16(&x->ring, x->ring.used + 2, 1);
	resume(x, 2);
	assert_int_equal(pop(x).head, heads[2]);
}

static void the_area_says_what_is_in_flight(void **state)
{
	struct fix *x = *state;
	struct viommu_element e;

	offer_all(x);
	resume(x, 0);
	e = pop(x);
	pop(x);
	assert_int_equal(x->area->desc[heads[0]].inflight, 1);
	assert_int_equal(x->area->desc[heads[1]].inflight, 1);
	assert_true(x->area->desc[heads[0]].counter <
		    x->area->desc[heads[1]].counter);
	push(x, &e);
	assert_int_equal(x->area->desc[heads[0]].inflight, 1);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 1);
	assert_int_equal(x->area->desc[heads[0]].inflight, 0);
	assert_int_equal(x->area->last_batch_head, heads[0]);
	assert_int_equal(x->area->used_idx, 1);
}

static void expect_broken(struct fix *x)
{
	assert_int_equal(viommu_virtqueue_pop(x->vq, &x->e), -EPROTO);
	assert_non_null(strstr(viommu_virtqueue_broken(x->vq), "in-flight"));
}

static void an_area_of_another_ring_breaks_the_queue(void **state)
{
	struct fix *x = *state;

	*x->area = (struct area){ .version = 1, .desc_num = LEN };
	ring_store16(&x->ring, x->ring.used + 2, LEN + 1);
	resume(x, 0);
	expect_broken(x);
	/* a list that leads out of it */
	ring_store16(&x->ring, x->ring.used + 2, 2);
	x->area->last_batch_head = 1;
	x->area->desc[1].next = LEN;
	resume(x, 0);
	expect_broken(x);
}

static void whatever_is_in_the_area_does_no_harm(void **state)
{
	struct fix *x = *state;
	uint64_t seed = 12345;
	uint8_t *raw = (uint8_t *)x->area;

	offer_all(x);
	for (unsigned i = 0; i < 20000; i++) {
		for (size_t at = 0; at < sizeof(*x->area); at++) {
			seed = seed * 6364136223846793005u +
			       1442695040888963407u;
			raw[at] =
				(uint8_t)(seed >> 60 ? seed >> 61 : seed >> 33);
		}
		x->area->version = 1;
		x->area->desc_num = LEN;
		if (i % 4)
			x->area->used_idx = ring_used_idx(&x->ring);
		resume(x, 0);
		for (unsigned n = 0; n < 2 * LEN; n++)
			if (!viommu_virtqueue_pop(x->vq, &x->e)) {
				assert_true(x->e.head < LEN);
				push(x, &x->e);
			}
		assert_true(viommu_virtqueue_publish(x->vq) <= 1);
		ring_store16(&x->ring, x->ring.used + 2, 0);
	}
}

/* --------------------------------------------------------------- crashing */

#if STEPPED

static void stop_here(void)
{
	if (raise(SIGSTOP))
		abort();
}

/* Serve some of it: batches, out of order, the ring's end. */
static void life(struct fix *x)
{
	struct viommu_element a, b, c;

	resume(x, 0);
	a = pop(x);
	b = pop(x);
	c = pop(x);
	push(x, &b);
	push(x, &a);
	if (viommu_virtqueue_publish(x->vq) < 0)
		abort();
	b = pop(x);
	push(x, &c);
	if (viommu_virtqueue_publish(x->vq) < 0)
		abort();
	c = pop(x);
	push(x, &c);
	push(x, &b);
	if (viommu_virtqueue_publish(x->vq) < 0)
		abort();
}

/* What the one does who comes after: all that there is. */
static unsigned afterlife(struct fix *x, uint16_t *order)
{
	unsigned n = 0;

	/* what a front-end says that knows the used ring only */
	resume(x, ring_used_idx(&x->ring));
	while (!viommu_virtqueue_pop(x->vq, &x->e)) {
		if (n == OFFERED)
			return n + 1;
		order[n++] = x->e.head;
		push(x, &x->e);
		if (n % 2 && viommu_virtqueue_publish(x->vq) < 0)
			abort();
	}
	if (viommu_virtqueue_publish(x->vq) < 0)
		abort();
	return n;
}

static void afterlife_only(struct fix *x)
{
	uint16_t order[OFFERED + 1];

	afterlife(x, order);
}

/* Every state that the shared memory is in while a child runs @fn. */
static unsigned states_record(struct fix *x, void (*fn)(struct fix *x),
			      uint8_t (*states)[SHARED])
{
	unsigned n = 0;
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			abort();
		stop_here();
		fn(x);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status));
	memcpy(states[n++], x->ram, SHARED);
	for (;;) {
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (!WIFSTOPPED(status))
			break;
		assert_int_equal(WSTOPSIG(status), SIGTRAP);
		if (!memcmp(states[n - 1] + RING, x->ram + RING,
			    AREA + sizeof(struct area) - RING))
			continue;
		assert_true(n < STATES);
		memcpy(states[n++], x->ram, SHARED);
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	return n;
}

static unsigned place_of(uint16_t head)
{
	for (unsigned i = 0; i < OFFERED; i++)
		if (heads[i] == head)
			return i;
	fail();
	return 0;
}

/* Somebody died and left the memory so: who comes after does what is right. */
static void state_check(struct fix *x)
{
	uint16_t order[OFFERED + 1];
	unsigned used = ring_used_idx(&x->ring), n;
	bool seen[OFFERED] = { false };
	int before = -1;
	uint32_t id, len;

	/* acknowledged: not to be done again */
	x->ring.seen = 0;
	while (ring_take(&x->ring, &id, &len))
		seen[place_of((uint16_t)id)] = true;
	n = afterlife(x, order);
	assert_int_equal(n, OFFERED - used);
	for (unsigned i = 0; i < n; i++) {
		unsigned at = place_of(order[i]);

		assert_false(seen[at]);
		seen[at] = true;
		/* the oldest first */
		assert_true((int)at > before);
		before = (int)at;
	}
	assert_int_equal(ring_used_idx(&x->ring), OFFERED);
	assert_int_equal(x->area->used_idx, OFFERED);
	memset(seen, 0, sizeof(seen));
	x->ring.seen = 0;
	while (ring_take(&x->ring, &id, &len)) {
		assert_int_equal(id, len);
		assert_false(seen[place_of((uint16_t)id)]);
		seen[place_of((uint16_t)id)] = true;
	}
	for (unsigned i = 0; i < LEN; i++)
		assert_int_equal(x->area->desc[i].inflight, 0);
}

static uint8_t (*states_alloc(void))[SHARED]
{
	uint8_t(*states)[SHARED] = calloc(STATES, SHARED);

	assert_non_null(states);
	return states;
}

static void a_process_may_die_anywhere(void **state)
{
	struct fix *x = *state;
	uint8_t(*states)[SHARED] = states_alloc();
	unsigned n;

	offer_all(x);
	n = states_record(x, life, states);
	/* each pop two, each publish some */
	assert_true(n > 30);
	for (unsigned i = 0; i < n; i++) {
		memcpy(x->ram, states[i], SHARED);
		state_check(x);
	}
	printf("%u states\n", n);
	free(states);
}

/* From some of the states of the first: it takes long. */
static void the_next_one_may_die_anywhere_too(void **state)
{
	struct fix *x = *state;
	uint8_t(*first)[SHARED] = states_alloc();
	uint8_t(*second)[SHARED] = states_alloc();
	unsigned n, all = 0;

	offer_all(x);
	n = states_record(x, life, first);
	for (unsigned i = 3; i < n; i += 7) {
		unsigned m;

		memcpy(x->ram, first[i], SHARED);
		m = states_record(x, afterlife_only, second);
		for (unsigned j = 0; j < m; j++) {
			memcpy(x->ram, second[j], SHARED);
			state_check(x);
		}
		all += m;
	}
	printf("%u states\n", all);
	free(first);
	free(second);
}

#endif

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_goes_on_at_an_index),
		TEST(after_a_resume_it_interrupts_once),
		TEST(the_area_is_checked),
		TEST(a_fresh_area_is_taken_into_use),
		TEST(the_area_says_what_is_in_flight),
		TEST(an_area_of_another_ring_breaks_the_queue),
		TEST(whatever_is_in_the_area_does_no_harm),
#if STEPPED
		TEST(a_process_may_die_anywhere),
		TEST(the_next_one_may_die_anywhere_too),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
