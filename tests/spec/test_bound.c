/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When a device does not let go: 5.13.6.4.2 and 5.13.6.6.2 forbid to answer OK,
 * so a request whose fence has failed (L9) is answered DEVERR.  Time is what
 * the test says.
 */
#include "state.h"
#include "stay.h"
#include "world.h"

enum {
	TIMEOUT = 1000, /* ns */
};

static uint64_t now;

static uint64_t fake_clock(void *arg)
{
	(void)arg;
	return now;
}

/* Domain 1 with EP and EP + 1, domain 2 with EP + 2; two pages in each. */
static int setup(void **state)
{
	static const struct viommu_env env = { .size = sizeof(env),
					       .clock = fake_clock };
	const struct viommu_config c = { .size = sizeof(c),
					 .env = &env,
					 .fence_timeout_ns = TIMEOUT };
	struct world *w = malloc(sizeof(*w));

	assert_non_null(w);
	now = 5000000;
	world_make_limited(w, &c, NULL);
	*state = w;
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(attach(w, 1, EP + 1), OK);
	assert_int_equal(attach(w, 2, EP + 2), OK);
	for (uint32_t d = 1; d < 3; d++) {
		assert_int_equal(map(w, d, 0x1000, 0x1fff, 0x4000), OK);
		assert_int_equal(map(w, d, 0x2000, 0x2fff, 0x5000), OK);
	}
	return 0;
}

static void pass(struct world *w, uint64_t ns)
{
	now += ns;
	viommu_poll(w->vi, now);
}

static struct viommu_virtio_stats stats(struct world *w)
{
	struct viommu_virtio_stats s;

	viommu_virtio_read_stats(w->v, &s);
	return s;
}

/* ---- the answer, the release ------------------------------------------ */

static void unmap_fails_at_the_deadline(void **state)
{
	struct world *w = *state;
	struct held h;
	struct stay s;

	hold(w, &h, 0, 0x1800, 16);
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), WAITING);
	assert_int_equal(viommu_next_deadline(w->vi), now + TIMEOUT);
	pass(w, TIMEOUT - 1);
	assert_int_equal(ask_status(&s.a), WAITING);
	pass(w, 1);
	assert_int_equal(ask_status(&s.a), DEVERR);
	assert_int_equal(s.a.written, 4);
	assert_int_equal(s.released, 0);
	assert_int_equal(stats(w).waiting, 1);
	assert_int_equal(stats(w).failed, 1);
	assert_int_equal(stats(w).unmaps, 0);
	/* it is over only when the device lets go */
	pass(w, 100 * TIMEOUT);
	assert_int_equal(s.released, 0);
	let_go(&h);
	assert_int_equal(s.released, 1);
	assert_int_equal(s.a.answers, 1);
	assert_int_equal(stats(w).waiting, 0);
	assert_int_equal(stats(w).unmaps, 0);
}

/* L2: the mapping is gone for all, whatever the answer. */
static void what_failed_has_happened(void **state)
{
	struct world *w = *state;
	struct held h;
	struct stay s;

	hold(w, &h, 0, 0x1800, 16);
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), WAITING);
	pass(w, TIMEOUT);
	assert_int_equal(ask_status(&s.a), DEVERR);
	assert_int_equal(peek(w, 1, 0x1800), -EFAULT);
	assert_int_equal(gpa_of(w, 1, 0x1000), -1);
	/* its place is free */
	assert_int_equal(map(w, 1, 0x1000, 0x1fff, 0x9000), OK);
	assert_int_equal(peek(w, 1, 0x1800), 10);
	assert_ptr_equal(h.iov[0].iov_base, w->ram + 0x4800);
	let_go(&h);
	assert_int_equal(s.released, 1);
}

/* The device does no DMA until it was reset, and let go. */
static void given_up_until_recovered(void **state)
{
	struct world *w = *state;
	struct held h;
	struct stay s;

	hold(w, &h, 0, 0x1800, 16);
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), WAITING);
	pass(w, TIMEOUT);
	assert_int_equal(peek(w, 0, 0x2000), -EIO);
	assert_int_equal(peek(w, 1, 0x2000), 6);
	assert_int_equal(viommu_endpoint_recover(w->ep[0]), -EBUSY);
	let_go(&h);
	assert_int_equal(peek(w, 0, 0x2000), -EIO);
	assert_int_equal(viommu_endpoint_recover(w->ep[0]), 0);
	assert_int_equal(peek(w, 0, 0x2000), 6);
	assert_int_equal(peek(w, 0, 0x1800), -EFAULT);
}

static void detach_fails(void **state)
{
	struct world *w = *state;
	struct held h;
	struct stay s;

	hold(w, &h, 0, 0x1000, 16);
	assert_int_equal(stay_detach(w, &s, 1, EP), WAITING);
	pass(w, TIMEOUT);
	assert_int_equal(ask_status(&s.a), DEVERR);
	assert_int_equal(stats(w).detaches, 0);
	/* detached nevertheless, and where it goes it sees when recovered */
	assert_int_equal(detach(w, 1, EP), INVAL);
	assert_int_equal(attach(w, 2, EP), OK);
	assert_int_equal(peek(w, 0, 0x1000), -EIO);
	let_go(&h);
	assert_int_equal(s.released, 1);
	assert_int_equal(viommu_endpoint_recover(w->ep[0]), 0);
	assert_int_equal(peek(w, 0, 0x1000), 5);
}

/* With the last endpoint goes the domain. */
static void last_detach_fails(void **state)
{
	struct world *w = *state;
	struct held h;
	struct stay s;

	hold(w, &h, 2, 0x1000, 16);
	assert_int_equal(stay_detach(w, &s, 2, EP + 2), WAITING);
	pass(w, TIMEOUT);
	assert_int_equal(ask_status(&s.a), DEVERR);
	assert_int_equal(map(w, 2, 0x8000, 0x8fff, 0), NOENT);
	assert_int_equal(attach(w, 2, EP + 3), OK);
	assert_int_equal(peek(w, 3, 0x1000), -EFAULT);
	let_go(&h);
	assert_int_equal(s.released, 1);
}

static void moving_attach_fails(void **state)
{
	struct world *w = *state;
	struct held h;
	struct stay s;

	hold(w, &h, 0, 0x1000, 16);
	assert_int_equal(map(w, 2, 0x7000, 0x7fff, 0x8000), OK);
	assert_int_equal(stay_attach(w, &s, 2, EP), WAITING);
	pass(w, TIMEOUT);
	assert_int_equal(ask_status(&s.a), DEVERR);
	let_go(&h);
	assert_int_equal(s.released, 1);
	/* it is in domain 2 */
	assert_int_equal(viommu_endpoint_recover(w->ep[0]), 0);
	assert_int_equal(peek(w, 0, 0x7000), 9);
	assert_int_equal(detach(w, 2, EP), OK);
}

static void wait_on_keeps_waiting(void **state)
{
	struct world *w = *state;
	struct viommu_endpoint_stats es;
	struct held h;
	struct stay s;

	w->verdict = VIOMMU_WAIT_ON;
	hold(w, &h, 0, 0x1800, 16);
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), WAITING);
	for (unsigned i = 1; i < 4; i++) {
		pass(w, TIMEOUT);
		viommu_endpoint_read_stats(w->ep[0], &es);
		assert_int_equal(es.expired, i);
		assert_int_equal(ask_status(&s.a), WAITING);
	}
	let_go(&h);
	assert_int_equal(ask_status(&s.a), OK);
	assert_int_equal(s.released, 1);
	assert_int_equal(stats(w).failed, 0);
	assert_int_equal(stats(w).unmaps, 1);
}

/* Wait on once, then no more. */
static void given_up_later(void **state)
{
	struct world *w = *state;
	struct held h;
	struct stay s;

	w->verdict = VIOMMU_WAIT_ON;
	hold(w, &h, 0, 0x1800, 16);
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), WAITING);
	pass(w, TIMEOUT);
	w->verdict = VIOMMU_GIVE_UP;
	pass(w, TIMEOUT - 1);
	assert_int_equal(ask_status(&s.a), WAITING);
	pass(w, 1);
	assert_int_equal(ask_status(&s.a), DEVERR);
	let_go(&h);
	assert_int_equal(s.released, 1);
}

/* No place to stay: the answer can only wait. */
static void without_release_it_waits(void **state)
{
	struct world *w = *state;
	struct held h;
	struct ask a;

	hold(w, &h, 0, 0x1800, 16);
	assert_int_equal(ask_unmap(w, &a, 1, 0x1000, 0x1fff), WAITING);
	pass(w, 10 * TIMEOUT);
	assert_int_equal(peek(w, 0, 0x2000), -EIO);
	assert_int_equal(ask_status(&a), WAITING);
	let_go(&h);
	assert_int_equal(ask_status(&a), OK);
	assert_int_equal(stats(w).failed, 0);
}

/* Those that wait for it fail together, later ones need no second timeout;
 * those that wait for others do not fail. */
static void all_that_wait_for_it_fail(void **state)
{
	struct stay s, same, other, late;
	struct world *w = *state;
	struct held h, g;

	hold(w, &h, 0, 0x1000, 0x2000);
	hold(w, &g, 2, 0x1000, 16);
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), WAITING);
	assert_int_equal(stay_unmap(w, &same, 1, 0x1000, 0x1fff), WAITING);
	pass(w, TIMEOUT / 2);
	assert_int_equal(stay_unmap(w, &other, 2, 0x1000, 0x1fff), WAITING);
	pass(w, TIMEOUT / 2);
	assert_int_equal(ask_status(&s.a), DEVERR);
	assert_int_equal(ask_status(&same.a), DEVERR);
	assert_int_equal(ask_status(&other.a), WAITING);
	assert_int_equal(stay_unmap(w, &late, 1, 0x2000, 0x2fff), WAITING);
	pass(w, 0);
	assert_int_equal(ask_status(&late.a), DEVERR);
	assert_int_equal(ask_status(&other.a), WAITING);
	let_go(&g);
	assert_int_equal(ask_status(&other.a), OK);
	assert_int_equal(s.released | same.released | late.released, 0);
	let_go(&h);
	assert_int_equal(s.released & same.released & late.released, 1);
	assert_int_equal(other.released, 1);
}

/* Two hold it, one is given up: the answer does not wait for the other, what
 * it stands for does. */
static void released_when_all_let_go(void **state)
{
	struct world *w = *state;
	struct held h, g;
	struct stay s;

	hold(w, &h, 0, 0x1000, 16);
	hold(w, &g, 1, 0x1000, 16);
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), WAITING);
	pass(w, TIMEOUT);
	assert_int_equal(ask_status(&s.a), DEVERR);
	let_go(&g);
	assert_int_equal(s.released, 0);
	let_go(&h);
	assert_int_equal(s.released, 1);
}

/* ---- what is whose, and when ------------------------------------------ */

static void buffers_are_left_alone_after_the_answer(void **state)
{
	struct world *w = *state;
	struct held h;
	struct stay s;

	hold(w, &h, 0, 0x1800, 16);
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), WAITING);
	pass(w, TIMEOUT);
	assert_int_equal(ask_status(&s.a), DEVERR);
	memset(s.a.in, 0x5a, sizeof(s.a.in));
	/* a sanitizer would see it read */
	s.a.req.out = s.a.req.in = NULL;
	let_go(&h);
	assert_int_equal(s.released, 1);
	for (size_t i = 0; i < sizeof(s.a.in); i++)
		assert_int_equal(s.a.in[i], 0x5a);
}

/* Whatever the request: done, then released, once each. */
static void every_request_is_released(void **state)
{
	struct virtio_iommu_req_map m = { .head.type = VIRTIO_IOMMU_T_MAP,
					  .domain = htole32(1),
					  .virt_start = htole64(0x8000),
					  .virt_end = htole64(0x8fff),
					  .flags = htole32(R) };
	uint8_t probe[72] = { VIRTIO_IOMMU_T_PROBE, 0, 0, 0, EP };
	uint8_t unknown[16] = { 77 };
	struct world *w = *state;
	struct stay s;

	assert_int_equal(stay_send(w, &s, &m, 36, 4), OK);
	assert_int_equal(s.released, 1);
	assert_int_equal(stay_send(w, &s, &m, 36, 4), INVAL);
	assert_int_equal(s.released, 1);
	assert_int_equal(stay_send(w, &s, &m, 35, 4), UNWRITTEN);
	assert_int_equal(s.released, 1);
	assert_int_equal(stay_send(w, &s, unknown, 16, 4), UNWRITTEN);
	assert_int_equal(s.released, 1);
	assert_int_equal(stay_send(w, &s, probe, 72, 516), OK);
	assert_int_equal(s.released, 1);
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x17ff), RANGE);
	assert_int_equal(s.released, 1);
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), OK);
	assert_int_equal(s.released, 1);
	assert_int_equal(stay_detach(w, &s, 1, EP), OK);
	assert_int_equal(s.released, 1);
	assert_int_equal(stay_attach(w, &s, 2, EP + 1), OK);
	assert_int_equal(s.released, 1);
}

static unsigned freed;

static void free_release(struct viommu_virtio_req *req)
{
	free(req->arg);
	freed++;
}

/* A sanitizer sees it touched after that. */
static void may_be_freed_when_released(void **state)
{
	struct virtio_iommu_req_unmap r = {
		.head.type = VIRTIO_IOMMU_T_UNMAP,
		.domain = htole32(1),
		.virt_start = htole64(0x1000),
		.virt_end = htole64(0x1fff),
	};
	struct world *w = *state;
	struct held h;

	freed = 0;
	hold(w, &h, 0, 0x1800, 16);
	for (int i = 0; i < 2; i++) {
		struct stay *s = calloc(1, sizeof(*s));

		assert_non_null(s);
		memcpy(s->a.out, &r, sizeof(r));
		s->a.req = (struct viommu_virtio_req){ .out = s->a.out,
						       .out_len = 28,
						       .in = s->a.in,
						       .in_len = 4,
						       .done = ask_done,
						       .release = free_release,
						       .arg = s };
		viommu_virtio_request(w->v, &s->a.req);
		if (!i) {
			pass(w, TIMEOUT);
			assert_int_equal(freed, 0);
			assert_int_equal(s->a.in[0], DEVERR);
			let_go(&h);
		}
		assert_int_equal(freed, i + 1);
		/* the second: nobody is in the way */
		r.virt_start = htole64(0x2000);
		r.virt_end = htole64(0x2fff);
	}
}

/* ---- reset, destruction, saving --------------------------------------- */

static void reset_while_it_waits(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;
	struct held h;
	struct stay s;

	hold(w, &h, 0, 0x1000, 16);
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), WAITING);
	pass(w, TIMEOUT);
	viommu_fence_init(&f);
	viommu_virtio_reset(w->v, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	/* the caller can have its own bound */
	pass(w, TIMEOUT);
	assert_int_equal(viommu_fence_wait(&f, 0), -ECANCELED);
	let_go(&h);
	assert_int_equal(s.released, 1);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(s.a.answers, 1);
}

static void released_before_destruction_is_over(struct viommu_fence *f,
						void *arg)
{
	struct stay *s = arg;

	(void)f;
	assert_int_equal(s->released, 1);
	s->released++;
}

static void destroy_while_it_waits(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;
	struct held h;
	struct stay s;

	hold(w, &h, 0, 0x1000, 16);
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), WAITING);
	pass(w, TIMEOUT);
	assert_int_equal(ask_status(&s.a), DEVERR);
	viommu_fence_init(&f);
	w->gone = true;
	viommu_virtio_destroy(w->v, &f);
	viommu_fence_commit(&f, released_before_destruction_is_over, &s);
	assert_int_equal(s.released, 0);
	let_go(&h);
	assert_int_equal(s.released, 2);
}

/* It fails after the device is gone: its answer needs no more than itself. */
static void fails_after_destruction(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;
	struct held h;
	struct stay s;

	hold(w, &h, 0, 0x1000, 16);
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), WAITING);
	viommu_fence_init(&f);
	w->gone = true;
	viommu_virtio_destroy(w->v, &f);
	viommu_fence_commit(&f, released_before_destruction_is_over, &s);
	pass(w, TIMEOUT);
	assert_int_equal(ask_status(&s.a), DEVERR);
	assert_int_equal(s.released, 0);
	let_go(&h);
	assert_int_equal(s.released, 2);
}

/* What is saved is what the guest was told of: the mapping is gone. */
static void saved_while_it_waits(void **state)
{
	struct world *w = *state, to;
	size_t len, again;
	uint8_t *a, *b;
	struct held h;
	struct stay s;

	hold(w, &h, 0, 0x1000, 16);
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), WAITING);
	pass(w, TIMEOUT);
	assert_int_equal(ask_status(&s.a), DEVERR);
	a = save(w, &len);
	let_go(&h);
	b = save(w, &again);
	assert_int_equal(len, again);
	assert_memory_equal(a, b, len);
	world_make(&to, NULL);
	assert_int_equal(viommu_virtio_load(to.v, a, len), 0);
	/* the device is another one, which was not given up */
	assert_int_equal(peek(&to, 0, 0x1000), -EFAULT);
	assert_int_equal(peek(&to, 0, 0x2000), 6);
	world_free(&to);
	free(a);
	free(b);
}

#define BOUND(fn) cmocka_unit_test_setup_teardown(fn, setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOUND(unmap_fails_at_the_deadline),
		BOUND(what_failed_has_happened),
		BOUND(given_up_until_recovered),
		BOUND(detach_fails),
		BOUND(last_detach_fails),
		BOUND(moving_attach_fails),
		BOUND(wait_on_keeps_waiting),
		BOUND(given_up_later),
		BOUND(without_release_it_waits),
		BOUND(all_that_wait_for_it_fail),
		BOUND(released_when_all_let_go),
		BOUND(buffers_are_left_alone_after_the_answer),
		BOUND(every_request_is_released),
		BOUND(may_be_freed_when_released),
		BOUND(reset_while_it_waits),
		BOUND(destroy_while_it_waits),
		BOUND(fails_after_destruction),
		BOUND(saved_while_it_waits),
	};

	return cmocka_run_group_tests_name("bound", tests, NULL, NULL);
}
