/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest's requests, and a notifier on the endpoint's side: what the host
 * cannot do the guest is told by a status, and what takes the host time the
 * guest is not told too early.  5.13.6.5.2: a MAP that fails for want of
 * resources is answered NOMEM.
 */
#include "../shadow.h"
#include "state.h"
#include "stay.h"
#include "world.h"

enum {
	TIMEOUT = 1000, /* ns */
};

static uint64_t now;
static struct shadow shadow;

static uint64_t fake_clock(void *arg)
{
	(void)arg;
	return now;
}

static int setup(void **state)
{
	struct viommu_env env = { .size = sizeof(env), .clock = fake_clock };
	struct viommu_config c = { .size = sizeof(c),
				   .env = &env,
				   .fence_timeout_ns = TIMEOUT };
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	now = 1000000;
	world_make_limited(w, &c, NULL);
	shadow_init(&shadow, NULL);
	assert_int_equal(shadow_add(&shadow, w->ep[0], viommu_memory_of(w->vi)),
			 0);
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0x1000, 0x1fff, 0x4000), OK);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;

	assert_null(shadow_broken(&shadow));
	viommu_fence_init(&f);
	shadow.holds = false;
	shadow_remove(&shadow, &f);
	fence_run(&f);
	shadow_fini(&shadow);
	world_free(w);
	free(w);
	return 0;
}

static void refuse(unsigned kinds, int rc)
{
	shadow.plan =
		(struct shadow_plan){ .kinds = kinds, .times = 1, .rc = rc };
}

static unsigned pieces(void)
{
	return shadow.npieces;
}

static void the_guest_is_told_that_the_host_is_full(void **state)
{
	struct world *w = *state;

	refuse(SHADOW_ANY(SHADOW_MAP), -ENOSPC);
	assert_int_equal(map(w, 1, 0x2000, 0x2fff, 0x5000), NOMEM);
	refuse(SHADOW_ANY(SHADOW_MAP), -ENOMEM);
	assert_int_equal(map(w, 1, 0x2000, 0x2fff, 0x5000), NOMEM);
	refuse(SHADOW_ANY(SHADOW_MAP), -EIO);
	assert_int_equal(map(w, 1, 0x2000, 0x2fff, 0x5000), DEVERR);
	/* nothing has changed: it is not mapped, and may be now */
	assert_int_equal(peek(w, 0, 0x2000), -EFAULT);
	assert_int_equal(pieces(), 1);
	assert_int_equal(map(w, 1, 0x2000, 0x2fff, 0x5000), OK);
	assert_int_equal(peek(w, 0, 0x2000), 6);
	assert_int_equal(pieces(), 2);
}

static void an_attach_that_the_host_refuses_leaves_the_endpoint(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 2, EP + 1), OK);
	assert_int_equal(map(w, 2, 0x8000, 0x8fff, 0x6000), OK);
	refuse(SHADOW_ANY(SHADOW_MAP), -ENOMEM);
	assert_int_equal(attach(w, 2, EP), NOMEM);
	assert_int_equal(peek(w, 0, 0x1000), 5);
	assert_int_equal(peek(w, 0, 0x8000), -EFAULT);
	assert_int_equal(pieces(), 1);
	assert_int_equal(attach(w, 2, EP), OK);
	assert_int_equal(peek(w, 0, 0x8000), 7);
	assert_int_equal(shadow.piece[0].start, 0x8000);
}

static void unmap_is_answered_when_the_shadow_has_followed(void **state)
{
	struct world *w = *state;
	struct stay s;

	shadow.holds = true;
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), WAITING);
	shadow_release(&shadow);
	assert_int_equal(ask_status(&s.a), OK);
}

/* A slow shadow may still have what an earlier request took, and need not say
 * so again. */
static void a_second_unmap_waits_for_the_shadow_too(void **state)
{
	struct world *w = *state;
	struct stay first, second;

	shadow.holds = true;
	assert_int_equal(stay_unmap(w, &first, 1, 0x1000, 0x1fff), WAITING);
	shadow.holds = false;
	assert_int_equal(stay_unmap(w, &second, 1, 0x1000, 0x1fff), WAITING);
	assert_int_equal(unmap(w, 1, 0x2000, 0x2fff), OK);
	shadow_release(&shadow);
	assert_int_equal(ask_status(&first.a), OK);
	assert_int_equal(ask_status(&second.a), OK);
}

static void detach_is_answered_when_the_shadow_is_empty(void **state)
{
	struct world *w = *state;
	struct stay s;

	shadow.holds = true;
	assert_int_equal(stay_detach(w, &s, 1, EP), WAITING);
	assert_int_equal(pieces(), 0);
	shadow_release(&shadow);
	assert_int_equal(ask_status(&s.a), OK);
}

/* L9: no guest waits for ever for a shadow. */
static void a_shadow_that_does_not_follow_is_given_up(void **state)
{
	struct world *w = *state;
	struct stay s;

	shadow.holds = true;
	assert_int_equal(stay_unmap(w, &s, 1, 0x1000, 0x1fff), WAITING);
	now += TIMEOUT - 1;
	viommu_poll(w->vi, now);
	assert_int_equal(ask_status(&s.a), WAITING);
	now++;
	viommu_poll(w->vi, now);
	assert_int_equal(ask_status(&s.a), DEVERR);
	assert_int_equal(s.released, 0);
	assert_int_equal(viommu_endpoint_recover(w->ep[0]), -EBUSY);
	shadow_release(&shadow);
	assert_int_equal(s.released, 1);
	assert_int_equal(viommu_endpoint_recover(w->ep[0]), 0);
}

/* The last endpoint leaves: the domain and its mappings are gone. */
static void the_shadow_of_a_domain_that_ends_is_empty(void **state)
{
	struct world *w = *state;

	assert_int_equal(detach(w, 1, EP), OK);
	assert_int_equal(pieces(), 0);
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(pieces(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			the_guest_is_told_that_the_host_is_full, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			an_attach_that_the_host_refuses_leaves_the_endpoint,
			setup, teardown),
		cmocka_unit_test_setup_teardown(
			unmap_is_answered_when_the_shadow_has_followed, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			a_second_unmap_waits_for_the_shadow_too, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			detach_is_answered_when_the_shadow_is_empty, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			a_shadow_that_does_not_follow_is_given_up, setup,
			teardown),
		cmocka_unit_test_setup_teardown(
			the_shadow_of_a_domain_that_ends_is_empty, setup,
			teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
