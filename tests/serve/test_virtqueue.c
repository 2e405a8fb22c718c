/* SPDX-License-Identifier: BSD-2-Clause */

/* Virtqueues against rings as drivers write them, and as attackers do. */

#include "ring.h"
#include "seat.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <viommu/serve/virtqueue.h>

#define LEN	 8
#define MAX	 256 /* queue and segments */
#define RING	 0x10000u
#define TABLE	 0x20000u /* an indirect one */
#define DATA	 0x30000u
#define WRITABLE VRING_DESC_F_WRITE
#define NEXT	 VRING_DESC_F_NEXT
#define INDIRECT VRING_DESC_F_INDIRECT
#define ALL	 (VIOMMU_READ | VIOMMU_WRITE)

struct fix {
	struct guest *g;
	struct viommu_virtqueue *vq;
	struct ring ring;
	struct viommu_piece segments[MAX];
	struct viommu_element e;
};

static struct viommu_virtqueue *queue_make(struct guest *g)
{
	const struct viommu_virtqueue_config cfg = { .size = sizeof(cfg),
						     .endpoint = g->ep,
						     .max_len = MAX,
						     .max_segments = MAX };
	struct viommu_virtqueue *vq;

	assert_int_equal(viommu_virtqueue_create(&cfg, &vq), 0);
	return vq;
}

static int queue_start(struct fix *x, bool event_idx)
{
	const struct viommu_ring r = { .desc = x->ring.desc + x->ring.base,
				       .avail = x->ring.avail + x->ring.base,
				       .used = x->ring.used + x->ring.base,
				       .len = x->ring.len,
				       .indirect = true,
				       .event_idx = event_idx };

	x->ring.event_idx = event_idx;
	return viommu_virtqueue_start(x->vq, &r);
}

static void fix_ring(struct fix *x, uint16_t len, bool event_idx)
{
	ring_init(&x->ring, x->g->ram, GUEST_IOVA, RING, len);
	assert_int_equal(queue_start(x, event_idx), 0);
}

static struct fix *fix_make(const struct viommu_config *cfg)
{
	struct fix *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	x->g = guest_make(cfg);
	x->vq = queue_make(x->g);
	x->e.segments = x->segments;
	x->e.max = MAX;
	guest_map(x->g, RING, 3 * GUEST_PAGE, ALL);
	guest_map(x->g, TABLE, 0x10000, ALL);
	guest_map(x->g, DATA, 0x10000, ALL);
	fix_ring(x, LEN, false);
	return x;
}

static void fix_free(struct fix *x)
{
	viommu_virtqueue_destroy(x->vq);
	guest_free(x->g);
	free(x);
}

static int setup(void **state)
{
	*state = fix_make(NULL);
	return 0;
}

static int teardown(void **state)
{
	fix_free(*state);
	return 0;
}

static int pop(struct fix *x)
{
	return viommu_virtqueue_pop(x->vq, &x->e);
}

/* ------------------------------------------------------------- behaviour */

static void config_is_checked(void **state)
{
	struct fix *x = *state;
	struct viommu_virtqueue_config cfg = { .size = sizeof(cfg),
					       .endpoint = x->g->ep,
					       .max_len = 12,
					       .max_segments = 12 };
	struct {
		struct viommu_virtqueue_config cfg;
		uint64_t tail;
	} later = { .tail = 0 };
	struct viommu_virtqueue *vq;

	assert_int_equal(viommu_virtqueue_create(&cfg, &vq), -EINVAL);
	cfg.max_len = 0;
	assert_int_equal(viommu_virtqueue_create(&cfg, &vq), -EINVAL);
	cfg.max_len = 16; /* a whole queue must fit one chain's storage */
	assert_int_equal(viommu_virtqueue_create(&cfg, &vq), -EINVAL);
	cfg.max_len = 8;
	assert_int_equal(viommu_virtqueue_create(&cfg, &vq), 0);
	viommu_virtqueue_destroy(vq);
	viommu_virtqueue_destroy(NULL);
	/* of a later version: fine as long as it asks for nothing new */
	later.cfg = cfg;
	later.cfg.size = sizeof(later);
	assert_int_equal(viommu_virtqueue_create(&later.cfg, &vq), 0);
	viommu_virtqueue_destroy(vq);
	later.tail = 1;
	assert_int_equal(viommu_virtqueue_create(&later.cfg, &vq), -EINVAL);
}

static void place_is_checked(void **state)
{
	struct fix *x = *state;
	const struct viommu_ring good = {
		.desc = 0x1000, .avail = 0x2000, .used = 0x3000, .len = 8
	};
	struct viommu_ring r;

	assert_int_equal(viommu_virtqueue_start(x->vq, &good), 0);
#define REFUSED(member, val)                                                  \
	do {                                                                  \
		r = good;                                                     \
		r.member = val;                                               \
		assert_int_equal(viommu_virtqueue_start(x->vq, &r), -EINVAL); \
	} while (0)
	REFUSED(len, 0);
	REFUSED(len, 7);
	REFUSED(len, 512);
	REFUSED(desc, 0x1008);
	REFUSED(avail, 0x2001);
	REFUSED(used, 0x3002);
	REFUSED(desc, UINT64_C(0xfffffffffffffff0));
	REFUSED(used, UINT64_C(0xfffffffffffffffc));
#undef REFUSED
	/* up to the last byte is fine */
	r = good;
	r.desc = UINT64_C(0) - 128;
	assert_int_equal(viommu_virtqueue_start(x->vq, &r), 0);
}

static void chain_becomes_segments(void **state)
{
	struct fix *x = *state;

	ring_buffer(&x->ring, 3, DATA, 16, NEXT, 5);
	ring_buffer(&x->ring, 5, DATA + 0x100, 0, NEXT, 1); /* of nothing */
	ring_buffer(&x->ring, 1, DATA + 0x200, 512, NEXT | WRITABLE, 0);
	ring_buffer(&x->ring, 0, DATA + 0x1001, 1, WRITABLE, 9);
	ring_offer(&x->ring, 3);
	assert_int_equal(pop(x), 0);
	assert_int_equal(x->e.head, 3);
	assert_int_equal(x->e.nout, 1);
	assert_int_equal(x->e.nin, 2);
	assert_int_equal(x->e.out_len, 16);
	assert_int_equal(x->e.in_len, 513);
	assert_int_equal(x->segments[0].iova, DATA + GUEST_IOVA);
	assert_int_equal(x->segments[1].iova, DATA + 0x200 + GUEST_IOVA);
	assert_int_equal(x->segments[1].len, 512);
	assert_int_equal(x->segments[2].iova, DATA + 0x1001 + GUEST_IOVA);
	assert_int_equal(x->segments[2].len, 1);
	assert_int_equal(pop(x), -ENOENT);
	assert_int_equal(x->g->faults, 0);
}

static void indirect_table_is_followed(void **state)
{
	struct fix *x = *state;

	/* direct ones first, then the table; its write flag means nothing */
	ring_buffer(&x->ring, 0, DATA, 4, NEXT, 1);
	ring_buffer(&x->ring, 1, TABLE, 3 * 16, INDIRECT | WRITABLE, 7);
	ring_desc(&x->ring, TABLE, 0, 0x1111, 5, NEXT, 2);
	ring_desc(&x->ring, TABLE, 2, 0x2222, 6, NEXT | WRITABLE, 1);
	ring_desc(&x->ring, TABLE, 1, 0x3333, 7, WRITABLE, 0);
	ring_offer(&x->ring, 0);
	assert_int_equal(pop(x), 0);
	assert_int_equal(x->e.nout, 2);
	assert_int_equal(x->e.nin, 2);
	assert_int_equal(x->e.out_len, 9);
	assert_int_equal(x->e.in_len, 13);
	assert_int_equal(x->segments[3].iova, 0x3333);
}

/* Linux makes tables longer than a small queue: there is room, so be it. */
static void indirect_table_may_be_longer_than_the_queue(void **state)
{
	struct fix *x = *state;

	for (unsigned i = 0; i < MAX; i++)
		ring_desc(&x->ring, TABLE, i, 0x1000 + i, 1,
			  i + 1 < MAX ? NEXT : 0, (uint16_t)(i + 1));
	ring_buffer(&x->ring, 0, TABLE, MAX * 16, INDIRECT, 0);
	ring_offer(&x->ring, 0);
	assert_int_equal(pop(x), 0);
	assert_int_equal(x->e.nout, MAX);
	assert_int_equal(x->e.out_len, MAX);
}

static void copies_cross_segments(void **state)
{
	struct fix *x = *state;
	char buf[32] = "";

	memcpy(x->g->ram + DATA, "Hello", 5);
	memcpy(x->g->ram + DATA + 100, ", world", 7);
	ring_buffer(&x->ring, 0, DATA, 5, NEXT, 1);
	ring_buffer(&x->ring, 1, DATA + 100, 7, NEXT, 2);
	ring_buffer(&x->ring, 2, DATA + 200, 3, NEXT | WRITABLE, 3);
	ring_buffer(&x->ring, 3, DATA + 300, 3, WRITABLE, 0);
	ring_offer(&x->ring, 0);
	assert_int_equal(pop(x), 0);
	assert_int_equal(viommu_virtqueue_read(x->vq, &x->e, 0, buf, 12), 0);
	assert_string_equal(buf, "Hello, world");
	memset(buf, 0, sizeof(buf));
	assert_int_equal(viommu_virtqueue_read(x->vq, &x->e, 3, buf, 4), 0);
	assert_string_equal(buf, "lo, ");
	assert_int_equal(viommu_virtqueue_read(x->vq, &x->e, 7, buf, 5), 0);
	assert_memory_equal(buf, "world", 5);
	assert_int_equal(viommu_virtqueue_read(x->vq, &x->e, 12, buf, 0), 0);
	assert_int_equal(viommu_virtqueue_read(x->vq, &x->e, 12, buf, 1),
			 -EMSGSIZE);
	assert_int_equal(
		viommu_virtqueue_read(x->vq, &x->e, UINT64_MAX, buf, 2),
		-EMSGSIZE);
	assert_int_equal(viommu_virtqueue_write(x->vq, &x->e, 2, "xyz", 3), 0);
	assert_int_equal(x->g->ram[DATA + 202], 'x');
	assert_memory_equal(x->g->ram + DATA + 300, "yz", 3);
	assert_int_equal(viommu_virtqueue_write(x->vq, &x->e, 4, "xyz", 3),
			 -EMSGSIZE);
}

static void copy_to_what_is_not_mapped_fails(void **state)
{
	struct fix *x = *state;
	char buf[4] = "";

	ring_buffer(&x->ring, 0, 0x700000, 4, NEXT, 1);
	ring_buffer(&x->ring, 1, 0x700000, 4, WRITABLE, 0);
	ring_offer(&x->ring, 0);
	assert_int_equal(pop(x), 0);
	assert_int_equal(viommu_virtqueue_read(x->vq, &x->e, 0, buf, 4),
			 -EFAULT);
	assert_int_equal(viommu_virtqueue_write(x->vq, &x->e, 0, buf, 4),
			 -EFAULT);
	assert_int_equal(x->g->faults, 2);
	/* a bad buffer is no bad ring */
	assert_null(viommu_virtqueue_broken(x->vq));
}

static void pushed_in_any_order(void **state)
{
	struct fix *x = *state;
	struct viommu_element e[3];
	uint32_t id, len;

	for (uint16_t i = 0; i < 3; i++) {
		ring_buffer(&x->ring, i, DATA, 16, WRITABLE, 0);
		ring_offer(&x->ring, i);
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pop(x), 0);
		e[i] = x->e;
	}
	viommu_virtqueue_push(x->vq, &e[2], 7);
	viommu_virtqueue_push(x->vq, &e[2], 8); /* once is enough */
	viommu_virtqueue_push(x->vq, &e[0], 9);
	assert_int_equal(ring_used_idx(&x->ring), 0);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 1);
	assert_int_equal(ring_used_idx(&x->ring), 2);
	assert_true(ring_take(&x->ring, &id, &len));
	assert_int_equal(id, 2);
	assert_int_equal(len, 7);
	assert_true(ring_take(&x->ring, &id, &len));
	assert_int_equal(id, 0);
	assert_int_equal(len, 9);
	/* nothing new, no interrupt */
	assert_int_equal(viommu_virtqueue_publish(x->vq), 0);
	viommu_virtqueue_push(x->vq, &e[1], 0);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 1);
	assert_true(ring_take(&x->ring, &id, &len));
	assert_int_equal(id, 1);
	assert_int_equal(len, 0);
}

/* Three at a time through a ring of 8: indexes wrap at 2^16, and the used ring
 * in the middle of a batch. */
static void indexes_wrap(void **state)
{
	struct fix *x = *state;
	uint16_t head = 0;

	for (uint32_t n = 0; n < 70000; n += 3) {
		struct viommu_element e[3];

		for (int i = 0; i < 3; i++, head = (head + 1) % LEN) {
			ring_buffer(&x->ring, head, DATA, n + 1, WRITABLE, 0);
			ring_put(&x->ring, head);
		}
		ring_show(&x->ring);
		for (int i = 0; i < 3; i++) {
			assert_int_equal(pop(x), 0);
			assert_int_equal(x->e.in_len, n + 1);
			e[i] = x->e;
			viommu_virtqueue_push(x->vq, &e[i], n + i);
		}
		assert_int_equal(pop(x), -ENOENT);
		assert_int_equal(viommu_virtqueue_publish(x->vq), 1);
		for (int i = 0; i < 3; i++) {
			uint32_t id, len;

			assert_true(ring_take(&x->ring, &id, &len));
			assert_int_equal(id, e[i].head);
			assert_int_equal(len, n + i);
		}
	}
}

static void stopped_queue_touches_nothing(void **state)
{
	struct fix *x = *state;
	uint8_t *before = malloc(3 * GUEST_PAGE);

	assert_non_null(before);
	ring_buffer(&x->ring, 0, DATA, 16, WRITABLE, 0);
	ring_buffer(&x->ring, 1, DATA, 16, WRITABLE, 0);
	ring_offer(&x->ring, 0);
	ring_offer(&x->ring, 1);
	assert_int_equal(pop(x), 0);
	viommu_virtqueue_push(x->vq, &x->e, 1);
	assert_int_equal(pop(x), 0);
	memcpy(before, x->g->ram + RING, 3 * GUEST_PAGE);
	viommu_virtqueue_stop(x->vq);
	viommu_virtqueue_push(x->vq, &x->e, 1);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 0);
	assert_int_equal(pop(x), -ENOENT);
	assert_memory_equal(before, x->g->ram + RING, 3 * GUEST_PAGE);
	free(before);
	/* and what was pushed before is not in a new ring */
	fix_ring(x, LEN, false);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 0);
	assert_int_equal(ring_used_idx(&x->ring), 0);
}

/* --------------------------------------------------------- notifications */

static void flags_suppress_both_ways(void **state)
{
	struct fix *x = *state;

	for (uint16_t i = 0; i < 3; i++)
		ring_buffer(&x->ring, i, DATA, 16, WRITABLE, 0);
	assert_true(ring_wants_notify(&x->ring, 0));
	assert_int_equal(pop(x), -ENOENT);
	assert_true(ring_wants_notify(&x->ring, 0));
	ring_offer(&x->ring, 0);
	ring_offer(&x->ring, 1);
	assert_int_equal(pop(x), 0);
	/* it is awake: no need to be told */
	assert_false(ring_wants_notify(&x->ring, 0));
	viommu_virtqueue_push(x->vq, &x->e, 0);
	ring_store16(&x->ring, x->ring.avail, VRING_AVAIL_F_NO_INTERRUPT);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 0);
	assert_int_equal(pop(x), 0);
	viommu_virtqueue_push(x->vq, &x->e, 0);
	ring_store16(&x->ring, x->ring.avail, 0);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 1);
	assert_int_equal(pop(x), -ENOENT);
	assert_true(ring_wants_notify(&x->ring, 2));
}

static void event_idx_suppresses_both_ways(void **state)
{
	struct fix *x = *state;
	struct viommu_element e[4];

	fix_ring(x, LEN, true);
	for (uint16_t i = 0; i < 4; i++)
		ring_buffer(&x->ring, i, DATA, 16, WRITABLE, 0);
	for (uint16_t i = 0; i < 4; i++) {
		ring_put(&x->ring, i);
		ring_show(&x->ring);
		if (i == 0)
			assert_true(ring_wants_notify(&x->ring, 0));
		assert_int_equal(pop(x), 0);
		e[i] = x->e;
		if (i)
			assert_false(ring_wants_notify(&x->ring, i));
	}
	assert_int_equal(pop(x), -ENOENT);
	assert_int_equal(ring_avail_event(&x->ring), 4);
	/* flags are ignored with it */
	ring_store16(&x->ring, x->ring.avail, VRING_AVAIL_F_NO_INTERRUPT);
	/* interrupt when the third is used, i.e. idx goes past 2 */
	ring_used_event(&x->ring, 2);
	viommu_virtqueue_push(x->vq, &e[0], 0);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 0);
	viommu_virtqueue_push(x->vq, &e[1], 0);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 0);
	viommu_virtqueue_push(x->vq, &e[2], 0);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 1);
	viommu_virtqueue_push(x->vq, &e[3], 0);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 0);
}

/* Where the ring was laid so that asking to be notified changes the driver's
 * idx: whoever looks again sees it. */
static void looks_again_after_asking(void **state)
{
	struct fix *x = *state;
	const struct viommu_ring r = {
		.desc = RING + GUEST_IOVA,
		.avail = RING + GUEST_PAGE + 2 + GUEST_IOVA,
		.used = RING + GUEST_PAGE + 4 + GUEST_IOVA,
		.len = LEN
	};

	assert_int_equal(viommu_virtqueue_start(x->vq, &r), 0);
	ring_buffer(&x->ring, 1, DATA, 16, WRITABLE, 0);
	/* avail idx and used flags; ring[0] and used idx */
	ring_store16(&x->ring, RING + GUEST_PAGE + 4, 1);
	ring_store16(&x->ring, RING + GUEST_PAGE + 6, 1);
	assert_int_equal(pop(x), 0);
	assert_int_equal(ring_load16(&x->ring, RING + GUEST_PAGE + 4),
			 VRING_USED_F_NO_NOTIFY);
	assert_int_equal(pop(x), -EPROTO);
	assert_string_equal(viommu_virtqueue_broken(x->vq), "avail idx jumped");
}

/*
 * Both sides of each store-then-load pair at the same moment: not both may
 * overlook the other.  The accesses are the cheap kind, which bring no order
 * of their own.
 */
#define RACES	100000
#define RACE_NS UINT64_C(4000000000)

struct race {
	struct fix *x;
	atomic_uint gate[2]; /* turns that either has come to */
	atomic_bool stop;
	int popped, told; /* by the device, this turn */
};

static void spin(unsigned n)
{
	for (volatile unsigned i = 0; i < n;)
		i = i + 1;
}

/* Wait for the other; false: there is none any more. */
static bool race_meet(struct race *r, int me)
{
	unsigned turn = atomic_fetch_add(&r->gate[me], 1) + 1;

	for (unsigned n = 1; atomic_load(&r->gate[!me]) < turn; n++) {
		if (atomic_load(&r->stop))
			return false;
		if (n % 4096 == 0)
			sched_yield();
	}
	return true;
}

/* Each turn: take what was there, look for more, give it back. */
static void *race_device(void *arg)
{
	struct race *r = arg;
	struct viommu_element first;

	for (unsigned turn = 0;; turn++) {
		if (!race_meet(r, 0) || pop(r->x))
			break;
		first = r->x->e;
		if (!race_meet(r, 0))
			break;
		spin(turn * 7 % 41);
		r->popped = pop(r->x);
		if (!race_meet(r, 0) || !race_meet(r, 0))
			break;
		if (r->popped && pop(r->x))
			break;
		viommu_virtqueue_push(r->x->vq, &first, 0);
		viommu_virtqueue_push(r->x->vq, &r->x->e, 0);
		if (!race_meet(r, 0))
			break;
		spin(turn * 5 % 41);
		r->told = viommu_virtqueue_publish(r->x->vq);
		if (!race_meet(r, 0))
			break;
	}
	atomic_store(&r->stop, true);
	return NULL;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* One turn from the driver's side; what went wrong. */
static const char *race_turn(struct race *r, unsigned turn)
{
	struct ring *ring = &r->x->ring;
	bool wants, seen;

	ring_offer(ring, ring->added % LEN);
	/* no interrupt wanted until asked for */
	ring_used_event(ring, (uint16_t)(ring->seen - 100));
	if (!race_meet(r, 1) || !race_meet(r, 1))
		return "the device stopped";
	spin(turn * 3 % 43);
	ring_offer(ring, ring->added % LEN);
	wants = ring_wants_notify(ring, (uint16_t)(ring->added - 1));
	if (!race_meet(r, 1))
		return "the device stopped";
	if (r->popped == -ENOENT && !wants)
		return "a notification was lost";
	if (!race_meet(r, 1) || !race_meet(r, 1))
		return "the device stopped";
	spin(turn * 2 % 43);
	ring_used_event(ring, ring->seen);
	atomic_thread_fence(memory_order_seq_cst);
	seen = ring_used_idx(ring) != ring->seen;
	if (!race_meet(r, 1))
		return "the device stopped";
	if (!r->told && !seen)
		return "an interrupt was lost";
	ring->seen = (uint16_t)(ring->seen + 2);
	return NULL;
}

static void no_notification_is_lost(void **state)
{
	const struct viommu_config cfg = { .size = sizeof(cfg),
					   .barrier =
						   VIOMMU_BARRIER_ASYMMETRIC };
	struct race r = { .x = fix_make(&cfg) };
	uint64_t until = now_ns() + RACE_NS;
	const char *why = NULL;
	unsigned turn = 0;
	pthread_t thread;

	(void)state;
	fix_ring(r.x, LEN, true);
	for (uint16_t i = 0; i < LEN; i++)
		ring_buffer(&r.x->ring, i, DATA, 16, WRITABLE, 0);
	assert_int_equal(pthread_create(&thread, NULL, race_device, &r), 0);
	while (!why && turn < RACES && now_ns() < until)
		why = race_turn(&r, turn++);
	atomic_store(&r.stop, true);
	pthread_join(thread, NULL);
	if (why)
		fail_msg("%s in turn %u", why, turn);
	assert_true(turn > 100);
	fix_free(r.x);
}

/* --------------------------------------------------------------- hostile */

/* The queue is broken for @why, stays so, and the ring is left alone. */
static void expect_broken(struct fix *x, const char *why)
{
	uint16_t used = ring_used_idx(&x->ring);

	assert_int_equal(pop(x), -EPROTO);
	assert_string_equal(viommu_virtqueue_broken(x->vq), why);
	assert_int_equal(pop(x), -EPROTO);
	assert_int_equal(viommu_virtqueue_publish(x->vq), -EPROTO);
	assert_int_equal(ring_used_idx(&x->ring), used);
	/* until it is started anew */
	fix_ring(x, LEN, false);
	assert_null(viommu_virtqueue_broken(x->vq));
	assert_int_equal(pop(x), -ENOENT);
}

static void loop_is_no_chain(void **state)
{
	struct fix *x = *state;

	ring_buffer(&x->ring, 0, DATA, 16, NEXT, 1);
	ring_buffer(&x->ring, 1, DATA, 16, NEXT, 0);
	ring_offer(&x->ring, 0);
	expect_broken(x, "descriptors form a loop");
	ring_buffer(&x->ring, 0, DATA, 0, NEXT, 0); /* of nothing at all */
	ring_offer(&x->ring, 0);
	expect_broken(x, "descriptors form a loop");
	ring_buffer(&x->ring, 0, TABLE, 2 * 16, INDIRECT, 0);
	ring_desc(&x->ring, TABLE, 0, DATA, 16, NEXT, 1);
	ring_desc(&x->ring, TABLE, 1, DATA, 16, NEXT, 0);
	ring_offer(&x->ring, 0);
	expect_broken(x, "descriptors form a loop");
	/* as long as the queue is fine */
	for (uint16_t i = 0; i < LEN; i++)
		ring_buffer(&x->ring, i, DATA, 16, i + 1 < LEN ? NEXT : 0,
			    (uint16_t)(i + 1));
	ring_offer(&x->ring, 0);
	assert_int_equal(pop(x), 0);
	assert_int_equal(x->e.nout, LEN);
}

static void indexes_out_of_range(void **state)
{
	struct fix *x = *state;

	ring_offer(&x->ring, LEN);
	expect_broken(x, "head out of range");
	ring_offer(&x->ring, UINT16_MAX);
	expect_broken(x, "head out of range");
	ring_buffer(&x->ring, 0, DATA, 16, NEXT, LEN);
	ring_offer(&x->ring, 0);
	expect_broken(x, "descriptor index out of range");
	ring_buffer(&x->ring, 0, TABLE, 16, INDIRECT, 0);
	ring_desc(&x->ring, TABLE, 0, DATA, 16, NEXT, 1);
	ring_offer(&x->ring, 0);
	/* a table of one has no other to go to */
	assert_int_equal(pop(x), -EPROTO);
}

static void bad_indirect_tables(void **state)
{
	struct fix *x = *state;

	ring_buffer(&x->ring, 0, TABLE, 0, INDIRECT, 0);
	ring_offer(&x->ring, 0);
	expect_broken(x, "indirect table of odd length");
	ring_buffer(&x->ring, 0, TABLE, 15, INDIRECT, 0);
	ring_offer(&x->ring, 0);
	expect_broken(x, "indirect table of odd length");
	ring_buffer(&x->ring, 0, TABLE, 24, INDIRECT, 0);
	ring_offer(&x->ring, 0);
	expect_broken(x, "indirect table of odd length");
	ring_buffer(&x->ring, 0, TABLE, (MAX + 1) * 16, INDIRECT, 0);
	ring_offer(&x->ring, 0);
	expect_broken(x, "indirect table too long");
	ring_buffer(&x->ring, 0, TABLE, UINT32_MAX - 15, INDIRECT, 0);
	ring_offer(&x->ring, 0);
	expect_broken(x, "indirect table too long");
	ring_buffer(&x->ring, 0, TABLE, 16, INDIRECT | NEXT, 1);
	ring_offer(&x->ring, 0);
	expect_broken(x, "indirect descriptor with a next");
	ring_buffer(&x->ring, 0, TABLE, 16, INDIRECT, 0);
	ring_desc(&x->ring, TABLE, 0, TABLE + GUEST_IOVA, 16, INDIRECT, 0);
	ring_offer(&x->ring, 0);
	expect_broken(x, "indirect in indirect");
	ring_buffer(&x->ring, 0, 0x700000, 16, INDIRECT, 0);
	ring_offer(&x->ring, 0);
	expect_broken(x, "ring cannot be accessed");
}

static void indirect_without_agreement(void **state)
{
	struct fix *x = *state;
	const struct viommu_ring r = { .desc = x->ring.desc + GUEST_IOVA,
				       .avail = x->ring.avail + GUEST_IOVA,
				       .used = x->ring.used + GUEST_IOVA,
				       .len = LEN };

	assert_int_equal(viommu_virtqueue_start(x->vq, &r), 0);
	ring_buffer(&x->ring, 0, TABLE, 16, INDIRECT, 0);
	ring_offer(&x->ring, 0);
	expect_broken(x, "indirect descriptor, not negotiated");
}

static void avail_idx_jumps(void **state)
{
	struct fix *x = *state;

	x->ring.added = LEN + 1;
	ring_show(&x->ring);
	expect_broken(x, "avail idx jumped");
	x->ring.added = UINT16_MAX; /* backwards */
	ring_show(&x->ring);
	expect_broken(x, "avail idx jumped");
}

static void readable_after_writable(void **state)
{
	struct fix *x = *state;

	ring_buffer(&x->ring, 0, DATA, 16, NEXT | WRITABLE, 1);
	ring_buffer(&x->ring, 1, DATA, 16, 0, 0);
	ring_offer(&x->ring, 0);
	expect_broken(x, "readable descriptor after writable");
	ring_buffer(&x->ring, 0, DATA, 16, NEXT | WRITABLE, 1);
	ring_buffer(&x->ring, 1, TABLE, 16, INDIRECT, 0);
	ring_desc(&x->ring, TABLE, 0, DATA, 16, 0, 0);
	ring_offer(&x->ring, 0);
	expect_broken(x, "readable descriptor after writable");
}

static void total_above_4g(void **state)
{
	struct fix *x = *state;

	ring_buffer(&x->ring, 0, DATA, UINT32_MAX, NEXT, 1);
	ring_buffer(&x->ring, 1, DATA, 1, NEXT | WRITABLE, 2);
	ring_buffer(&x->ring, 2, DATA, 1, WRITABLE, 0);
	ring_offer(&x->ring, 0);
	expect_broken(x, "chain describes more than 2^32 bytes");
	ring_buffer(&x->ring, 0, DATA, UINT32_MAX, NEXT, 1);
	ring_buffer(&x->ring, 1, DATA, 1, WRITABLE, 0);
	ring_offer(&x->ring, 0);
	assert_int_equal(pop(x), 0);
	assert_int_equal(x->e.out_len + x->e.in_len, UINT64_C(1) << 32);
}

static void more_segments_than_storage(void **state)
{
	struct fix *x = *state;

	x->e.max = 2;
	for (uint16_t i = 0; i < 3; i++)
		ring_buffer(&x->ring, i, DATA, 16, i < 2 ? NEXT : 0,
			    (uint16_t)(i + 1));
	ring_offer(&x->ring, 0);
	expect_broken(x, "chain of too many descriptors");
}

/* As many requests as the driver likes would need as much storage. */
static void head_offered_twice(void **state)
{
	struct fix *x = *state;
	uint32_t id, len;

	ring_buffer(&x->ring, 4, DATA, 16, WRITABLE, 0);
	ring_offer(&x->ring, 4);
	assert_int_equal(pop(x), 0);
	viommu_virtqueue_push(x->vq, &x->e, 0);
	/* not even when it is done with, but the driver has not been told */
	ring_offer(&x->ring, 4);
	expect_broken(x, "head made available twice");
	ring_buffer(&x->ring, 4, DATA, 16, WRITABLE, 0);
	ring_offer(&x->ring, 4);
	assert_int_equal(pop(x), 0);
	viommu_virtqueue_push(x->vq, &x->e, 0);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 1);
	assert_true(ring_take(&x->ring, &id, &len));
	ring_offer(&x->ring, 4);
	assert_int_equal(pop(x), 0);
}

static void ring_is_taken_away(void **state)
{
	struct fix *x = *state;

	/* each part of it, at the time it is needed */
	ring_buffer(&x->ring, 0, DATA, 16, WRITABLE, 0);
	ring_offer(&x->ring, 0);
	assert_int_equal(pop(x), 0);
	viommu_virtqueue_push(x->vq, &x->e, 0);
	guest_unmap(x->g, RING, 3 * GUEST_PAGE);
	assert_int_equal(viommu_virtqueue_publish(x->vq), -EPROTO);
	assert_string_equal(viommu_virtqueue_broken(x->vq),
			    "ring cannot be accessed");
	assert_true(x->g->faults > 0);

	fix_ring(x, LEN, false);
	assert_int_equal(pop(x), -EPROTO);
	guest_map(x->g, RING, GUEST_PAGE, ALL);
	guest_map(x->g, RING + GUEST_PAGE, 2 * GUEST_PAGE, ALL);
	fix_ring(x, LEN, false);
	guest_unmap(x->g, RING, GUEST_PAGE); /* the descriptors */
	ring_offer(&x->ring, 0);
	assert_int_equal(pop(x), -EPROTO);

	guest_map(x->g, RING, GUEST_PAGE, VIOMMU_READ);
	guest_unmap(x->g, RING + GUEST_PAGE, 2 * GUEST_PAGE);
	guest_map(x->g, RING + GUEST_PAGE, 2 * GUEST_PAGE, VIOMMU_READ);
	fix_ring(x, LEN, true); /* the used ring may not be written */
	ring_buffer(&x->ring, 0, DATA, 16, WRITABLE, 0);
	ring_offer(&x->ring, 0);
	assert_int_equal(pop(x), 0);
	viommu_virtqueue_push(x->vq, &x->e, 0);
	assert_int_equal(viommu_virtqueue_publish(x->vq), -EPROTO);
	assert_int_equal(ring_used_idx(&x->ring), 0);
}

/* ----------------------------------------------------------- seats short */

static void short_of_seats_is_not_broken(void **state)
{
	const struct viommu_config cfg = { .size = sizeof(cfg),
					   .max_threads = 1 };
	struct fix *x = fix_make(&cfg);
	struct seat seat;
	uint32_t id, len;

	(void)state;
	seat_sit(&seat, viommu_memory_of(x->g->vi));
	ring_buffer(&x->ring, 0, DATA, 16, WRITABLE, 0);
	ring_offer(&x->ring, 0);
	assert_int_equal(pop(x), -EAGAIN);
	seat_leave(&seat);
	assert_int_equal(pop(x), 0);
	viommu_virtqueue_push(x->vq, &x->e, 5);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 1);
	assert_true(ring_take(&x->ring, &id, &len));
	assert_int_equal(len, 5);
	assert_null(viommu_virtqueue_broken(x->vq));
	fix_free(x);
}

static void *pop_thread(void *arg)
{
	return (void *)(intptr_t)pop(arg);
}

/* What was pushed stays so until there is a seat. */
static void short_of_seats_publishes_later(void **state)
{
	const struct viommu_config cfg = { .size = sizeof(cfg),
					   .max_threads = 1 };
	struct fix *x = fix_make(&cfg);
	pthread_t thread;
	struct seat seat;
	uint32_t id, len;
	void *rc;

	(void)state;
	ring_buffer(&x->ring, 0, DATA, 16, WRITABLE, 0);
	ring_offer(&x->ring, 0);
	/* by a thread that leaves its seat */
	assert_int_equal(pthread_create(&thread, NULL, pop_thread, x), 0);
	assert_int_equal(pthread_join(thread, &rc), 0);
	assert_null(rc);
	viommu_virtqueue_push(x->vq, &x->e, 5);
	seat_sit(&seat, viommu_memory_of(x->g->vi));
	assert_int_equal(viommu_virtqueue_publish(x->vq), -EAGAIN);
	assert_int_equal(ring_used_idx(&x->ring), 0);
	seat_leave(&seat);
	assert_int_equal(viommu_virtqueue_publish(x->vq), 1);
	assert_true(ring_take(&x->ring, &id, &len));
	assert_int_equal(len, 5);
	assert_null(viommu_virtqueue_broken(x->vq));
	fix_free(x);
}

/* ------------------------------------------------------------------ fuzz */

static uint64_t rnd(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

/* What drivers write, with a part of it replaced by anything. */
static void fuzz_fill(struct fix *x, uint64_t *seed)
{
	for (unsigned i = 0; i < LEN + 64; i++) {
		bool direct = i < LEN;
		uint64_t table = direct ? x->ring.desc : TABLE;
		uint64_t r = rnd(seed);
		uint16_t flags = (uint16_t)(r & 3);

		if (direct && r % 5 == 0)
			flags = INDIRECT;
		if (r % 31 == 0)
			flags = (uint16_t)rnd(seed);
		ring_desc(
			&x->ring, table, direct ? i : i - LEN,
			(flags == INDIRECT ? TABLE : DATA) + GUEST_IOVA +
				(r % 37 == 0 ? rnd(seed) : 0),
			r % 41 == 0 ? (uint32_t)rnd(seed)
				    : 16 * (uint32_t)(rnd(seed) % 65),
			flags,
			(uint16_t)(r % 29 == 0 ? rnd(seed) : rnd(seed) % LEN));
	}
	for (unsigned i = 0; i < LEN; i++)
		ring_store16(
			&x->ring, x->ring.avail + 4 + 2 * i,
			(uint16_t)(rnd(seed) % (rnd(seed) % 17 ? LEN : 65536)));
	if (rnd(seed) % 11 == 0)
		ring_store16(&x->ring, x->ring.avail + 2, (uint16_t)rnd(seed));
	else
		ring_store16(&x->ring, x->ring.avail + 2,
			     (uint16_t)(x->ring.added += rnd(seed) % 4));
}

static void element_is_sound(const struct viommu_element *e)
{
	uint64_t sum = 0;

	assert_true(e->head < LEN);
	assert_true(e->nout + e->nin <= MAX);
	for (uint32_t i = 0; i < e->nout + e->nin; i++) {
		assert_true(e->segments[i].len > 0);
		sum += e->segments[i].len;
	}
	assert_int_equal(sum, e->out_len + e->in_len);
	assert_true(sum <= UINT64_C(1) << 32);
}

static void fuzz(void **state)
{
	struct fix *x = *state;
	unsigned popped = 0, broken = 0;

	for (uint64_t n = 1; n <= 4000; n++) {
		uint64_t seed = n * UINT64_C(0x9e3779b97f4a7c15);

		fix_ring(x, LEN, n & 1);
		for (int round = 0; round < 8; round++) {
			struct viommu_element e[LEN];
			unsigned got = 0;

			if (n % 3)
				fuzz_fill(x, &seed);
			else
				for (unsigned i = 0; i < 3 * GUEST_PAGE; i += 8)
					*(uint64_t *)(void *)(x->g->ram + RING +
							      i) = rnd(&seed);
			while (!pop(x)) {
				element_is_sound(&x->e);
				assert_in_range(got, 0, LEN - 1);
				e[got++] = x->e;
			}
			popped += got;
			while (got)
				viommu_virtqueue_push(x->vq, &e[--got],
						      (uint32_t)rnd(&seed));
			if (viommu_virtqueue_publish(x->vq) < 0)
				break;
		}
		broken += viommu_virtqueue_broken(x->vq) != NULL;
	}
	/* it got somewhere, by both ways */
	assert_in_range(popped, 1000, 1000000);
	assert_in_range(broken, 1000, 4000);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(config_is_checked),
		T(place_is_checked),
		T(chain_becomes_segments),
		T(indirect_table_is_followed),
		T(indirect_table_may_be_longer_than_the_queue),
		T(copies_cross_segments),
		T(copy_to_what_is_not_mapped_fails),
		T(pushed_in_any_order),
		T(indexes_wrap),
		T(stopped_queue_touches_nothing),
		T(flags_suppress_both_ways),
		T(event_idx_suppresses_both_ways),
		T(looks_again_after_asking),
		cmocka_unit_test(no_notification_is_lost),
		T(loop_is_no_chain),
		T(indexes_out_of_range),
		T(bad_indirect_tables),
		T(indirect_without_agreement),
		T(avail_idx_jumps),
		T(readable_after_writable),
		T(total_above_4g),
		T(more_segments_than_storage),
		T(head_offered_twice),
		T(ring_is_taken_away),
		cmocka_unit_test(short_of_seats_is_not_broken),
		cmocka_unit_test(short_of_seats_publishes_later),
		T(fuzz),
	};

	return cmocka_run_group_tests_name("virtqueue", tests, NULL, NULL);
}
