/* SPDX-License-Identifier: BSD-2-Clause */

/* Virtqueues whose ring has to be asked for: nothing is lost over a miss. */

#include "ring.h"

#include <viommu/serve/virtqueue.h>

#define LEN	 8
#define RING	 0x10000u
#define TABLE	 (0x20000u - 32) /* an indirect one, on two pages */
#define DATA	 0x30000u
#define MAX	 256
#define WRITABLE VRING_DESC_F_WRITE
#define NEXT	 VRING_DESC_F_NEXT

struct fix {
	struct guest *g;
	struct viommu_space *remote;
	struct viommu_virtqueue *vq;
	struct ring ring;
	struct viommu_piece segments[MAX];
	struct viommu_element e;
	struct viommu_miss miss; /* the last one */
	struct viommu_miss open[16];
	unsigned nopen, misses;
};

static void on_miss(void *arg, const struct viommu_miss *m)
{
	struct fix *x = arg;

	x->miss = *m;
	x->misses++;
	assert_true(x->nopen < 16);
	x->open[x->nopen++] = *m;
}

/* Answer the oldest question. */
static void answer(struct fix *x)
{
	const struct viommu_miss q = x->open[0];
	const struct viommu_mapping m = { .start = q.start,
					  .last = q.last,
					  .gpa = q.start - GUEST_IOVA,
					  .prot = VIOMMU_READ | VIOMMU_WRITE };

	assert_true(x->nopen > 0);
	x->nopen--;
	memmove(&x->open[0], &x->open[1], x->nopen * sizeof(q));
	assert_int_equal(viommu_space_map(x->remote, &m), 0);
}

/* Everything. */
static void invalidate(struct fix *x)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_space_invalidate(x->remote, 0, UINT64_MAX, &f),
			 0);
	guest_commit(&f);
	x->nopen = 0;
}

static void fix_start(struct fix *x, bool event_idx)
{
	const struct viommu_ring r = { .desc = x->ring.desc + GUEST_IOVA,
				       .avail = x->ring.avail + GUEST_IOVA,
				       .used = x->ring.used + GUEST_IOVA,
				       .len = LEN,
				       .indirect = true,
				       .event_idx = event_idx };

	x->ring.event_idx = event_idx;
	assert_int_equal(viommu_virtqueue_start(x->vq, &r), 0);
}

static int setup(void **state)
{
	struct fix *x = calloc(1, sizeof(*x));
	const struct viommu_virtqueue_config cfg = { .size = sizeof(cfg),
						     .max_len = LEN,
						     .max_segments = MAX };
	struct viommu_virtqueue_config c = cfg;
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_REMOTE,
					  .page_sizes = GUEST_PAGE,
					  .miss = on_miss,
					  .arg = x };
	struct viommu_fence f;

	assert_non_null(x);
	x->g = guest_make(NULL);
	assert_int_equal(viommu_space_create(x->g->vi, &sc, &x->remote), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(x->g->ep, x->remote, &f), 0);
	guest_commit(&f);
	c.endpoint = x->g->ep;
	assert_int_equal(viommu_virtqueue_create(&c, &x->vq), 0);
	x->e.segments = x->segments;
	x->e.max = MAX;
	ring_init(&x->ring, x->g->ram, GUEST_IOVA, RING, LEN);
	fix_start(x, false);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fix *x = *state;
	struct viommu_fence f;

	viommu_virtqueue_destroy(x->vq);
	viommu_fence_init(&f);
	viommu_space_destroy(x->remote, &f);
	guest_commit(&f);
	guest_free(x->g);
	free(x);
	return 0;
}

/* Until it comes to something else than a question. */
static int pop_answered(struct fix *x)
{
	int rc;

	while ((rc = viommu_virtqueue_pop(x->vq, &x->e)) == -EINPROGRESS)
		answer(x);
	return rc;
}

static int publish_answered(struct fix *x)
{
	int rc;

	while ((rc = viommu_virtqueue_publish(x->vq)) == -EINPROGRESS)
		answer(x);
	return rc;
}

/* Two requests: a direct one, and one of three pieces in a table. */
static void offer(struct fix *x)
{
	ring_buffer(&x->ring, 3, DATA, 100, 0, 0);
	ring_desc(&x->ring, x->ring.desc, 5, TABLE + GUEST_IOVA, 3 * 16,
		  VRING_DESC_F_INDIRECT, 0);
	ring_desc(&x->ring, TABLE, 0, DATA + GUEST_IOVA, 10, NEXT, 1);
	ring_desc(&x->ring, TABLE, 1, DATA + GUEST_IOVA + 50, 20, NEXT, 2);
	ring_desc(&x->ring, TABLE, 2, DATA + GUEST_IOVA + 90, 1, WRITABLE, 0);
	ring_offer(&x->ring, 3);
	ring_offer(&x->ring, 5);
}

static void served(struct fix *x)
{
	uint32_t id, len;

	assert_int_equal(pop_answered(x), 0);
	assert_int_equal(x->e.head, 3);
	assert_int_equal(x->e.out_len, 100);
	viommu_virtqueue_push(x->vq, &x->e, 0);
	assert_int_equal(pop_answered(x), 0);
	assert_int_equal(x->e.head, 5);
	assert_int_equal(x->e.nout, 2);
	assert_int_equal(x->e.out_len, 30);
	assert_int_equal(x->e.in_len, 1);
	viommu_virtqueue_push(x->vq, &x->e, 1);
	assert_int_equal(publish_answered(x), 1);
	assert_true(ring_take(&x->ring, &id, &len));
	assert_int_equal(id, 3);
	assert_true(ring_take(&x->ring, &id, &len));
	assert_int_equal(id, 5);
	assert_int_equal(len, 1);
	assert_false(ring_take(&x->ring, &id, &len));
	assert_int_equal(pop_answered(x), -ENOENT);
	assert_null(viommu_virtqueue_broken(x->vq));
}

static void each_page_is_asked_for_once_and_nothing_is_lost(void **state)
{
	struct fix *x = *state;

	offer(x);
	served(x);
	/* three of the ring, two of the table */
	assert_int_equal(x->misses, 5);
	assert_int_equal(x->g->faults, 0);
}

static void event_index_is_asked_for(void **state)
{
	struct fix *x = *state;

	fix_start(x, true);
	offer(x);
	served(x);
	assert_int_equal(ring_avail_event(&x->ring), 2);
}

/* The guest's IOMMU forgets everything again and again. */
static void pages_that_go_are_asked_for_again(void **state)
{
	struct fix *x = *state;

	for (unsigned i = 0; i < 20; i++) {
		offer(x);
		served(x);
		invalidate(x);
	}
	assert_int_equal(x->misses, 20 * 5);
}

static void a_question_taken_back_is_asked_again(void **state)
{
	struct fix *x = *state;

	offer(x);
	assert_int_equal(viommu_virtqueue_pop(x->vq, &x->e), -EINPROGRESS);
	assert_int_equal(viommu_virtqueue_pop(x->vq, &x->e), -EINPROGRESS);
	assert_int_equal(x->misses, 1);
	invalidate(x);
	assert_int_equal(viommu_virtqueue_pop(x->vq, &x->e), -EINPROGRESS);
	assert_int_equal(x->misses, 2);
	served(x);
}

/* What was pushed meanwhile is shown with the rest. */
static void a_publish_that_waits_takes_more(void **state)
{
	struct fix *x = *state;

	offer(x);
	assert_int_equal(pop_answered(x), 0);
	viommu_virtqueue_push(x->vq, &x->e, 0);
	invalidate(x);
	assert_int_equal(viommu_virtqueue_publish(x->vq), -EINPROGRESS);
	assert_int_equal(ring_used_idx(&x->ring), 0);
	assert_int_equal(pop_answered(x), 0);
	viommu_virtqueue_push(x->vq, &x->e, 1);
	assert_int_equal(publish_answered(x), 1);
	assert_int_equal(ring_used_idx(&x->ring), 2);
}

/* Whether the driver wants to be interrupted is not known, so it is. */
static void in_doubt_it_interrupts(void **state)
{
	struct fix *x = *state;
	const struct viommu_mapping used = {
		.start = RING + 2 * GUEST_PAGE + GUEST_IOVA,
		.last = RING + 3 * GUEST_PAGE + GUEST_IOVA - 1,
		.gpa = RING + 2 * GUEST_PAGE,
		.prot = VIOMMU_READ | VIOMMU_WRITE,
	};

	ring_store16(&x->ring, x->ring.avail, VRING_AVAIL_F_NO_INTERRUPT);
	offer(x);
	assert_int_equal(pop_answered(x), 0);
	viommu_virtqueue_push(x->vq, &x->e, 0);
	invalidate(x);
	assert_int_equal(viommu_space_map(x->remote, &used), 0);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 1);
}

static void nobody_answers_where_the_ring_is(void **state)
{
	struct fix *x = *state;

	offer(x);
	assert_int_equal(viommu_virtqueue_pop(x->vq, &x->e), -EINPROGRESS);
	/* another page */
	viommu_virtqueue_timed_out(x->vq, x->miss.last + 1, UINT64_MAX);
	viommu_virtqueue_timed_out(x->vq, 0, x->miss.start - 1);
	assert_null(viommu_virtqueue_broken(x->vq));
	viommu_virtqueue_timed_out(x->vq, x->miss.start, x->miss.last);
	assert_non_null(viommu_virtqueue_broken(x->vq));
	assert_int_equal(viommu_virtqueue_pop(x->vq, &x->e), -EPROTO);
	fix_start(x, false);
	served(x);
}

static void what_was_answered_meanwhile_has_not_timed_out(void **state)
{
	struct fix *x = *state;
	struct viommu_miss old;

	offer(x);
	assert_int_equal(viommu_virtqueue_pop(x->vq, &x->e), -EINPROGRESS);
	assert_int_equal(pop_answered(x), 0);
	old = x->miss;
	viommu_virtqueue_timed_out(x->vq, old.start, old.last);
	assert_null(viommu_virtqueue_broken(x->vq));
}

/* Both may wait, each for its own. */
static void a_pop_does_not_hide_what_a_publish_waits_for(void **state)
{
	struct fix *x = *state;
	struct viommu_miss used;

	offer(x);
	assert_int_equal(pop_answered(x), 0);
	viommu_virtqueue_push(x->vq, &x->e, 0);
	invalidate(x);
	assert_int_equal(viommu_virtqueue_publish(x->vq), -EINPROGRESS);
	used = x->miss;
	assert_int_equal(viommu_virtqueue_pop(x->vq, &x->e), -EINPROGRESS);
	assert_int_not_equal(x->miss.start, used.start);
	viommu_virtqueue_timed_out(x->vq, used.start, used.last);
	assert_int_equal(viommu_virtqueue_publish(x->vq), -EPROTO);
}

static void copies_ask_too(void **state)
{
	struct fix *x = *state;
	char buf[100];

	offer(x);
	assert_int_equal(pop_answered(x), 0);
	assert_int_equal(viommu_virtqueue_read(x->vq, &x->e, 0, buf, 100),
			 -EINPROGRESS);
	while (x->nopen)
		answer(x);
	assert_int_equal(viommu_virtqueue_read(x->vq, &x->e, 0, buf, 100), 0);
}

/* Tables are mapped for each request anew: not one question after the other. */
static void tables_are_asked_for_ahead(void **state)
{
	struct fix *x = *state;
	unsigned misses;

	offer(x);
	served(x);
	for (unsigned i = 0; i < 4; i++) {
		uint64_t table = DATA + i * GUEST_PAGE;

		ring_desc(&x->ring, x->ring.desc, i, table + GUEST_IOVA, 16,
			  VRING_DESC_F_INDIRECT, 0);
		ring_desc(&x->ring, table, 0, DATA + GUEST_IOVA, i + 1, 0, 0);
		ring_put(&x->ring, (uint16_t)i);
	}
	/* not worth a question */
	ring_buffer(&x->ring, 4, DATA + 9 * GUEST_PAGE, 8, 0, 0);
	ring_offer(&x->ring, 4);
	misses = x->misses;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(viommu_virtqueue_pop(x->vq, &x->e),
				 -EINPROGRESS);
		assert_int_equal(x->misses, misses + 4);
	}
	for (unsigned i = 0; i < 4; i++) {
		answer(x);
		assert_int_equal(viommu_virtqueue_pop(x->vq, &x->e), 0);
		assert_int_equal(x->e.out_len, i + 1);
	}
	assert_int_equal(viommu_virtqueue_pop(x->vq, &x->e), 0);
	assert_int_equal(x->e.head, 4);
	assert_int_equal(x->misses, misses + 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_page_is_asked_for_once_and_nothing_is_lost),
		TEST(event_index_is_asked_for),
		TEST(pages_that_go_are_asked_for_again),
		TEST(a_question_taken_back_is_asked_again),
		TEST(a_publish_that_waits_takes_more),
		TEST(in_doubt_it_interrupts),
		TEST(nobody_answers_where_the_ring_is),
		TEST(what_was_answered_meanwhile_has_not_timed_out),
		TEST(a_pop_does_not_hide_what_a_publish_waits_for),
		TEST(copies_ask_too),
		TEST(tables_are_asked_for_ahead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
