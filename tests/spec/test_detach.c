/* SPDX-License-Identifier: BSD-2-Clause */
/* DETACH: 5.13.6.4. */
#include "world.h"

/* 5.13.6.4.2: reserved: MUST ignore. */
static void reserved_is_ignored(void **state)
{
	struct virtio_iommu_req_detach r = {
		.head.type = VIRTIO_IOMMU_T_DETACH,
		.domain = htole32(1),
		.endpoint = htole32(EP),
	};
	struct world *w = *state;
	struct ask a;

	memset(r.reserved, 0xff, sizeof(r.reserved));
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(ask_bytes(w, &a, &r, 20, 4), OK);
	assert_int_equal(detach(w, 1, EP), INVAL);
}

/* 5.13.6.4.2: endpoint does not exist: MUST NOENT. */
static void unknown_endpoint(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(detach(w, 1, EP + EPS), NOENT);
}

/* 5.13.6.4.2: domain does not exist: MAY INVAL; we do. */
static void unknown_domain(void **state)
{
	struct world *w = *state;

	assert_int_equal(detach(w, 1, EP), INVAL);
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(detach(w, 2, EP), INVAL);
}

/* 5.13.6.4.2: attached to another domain: MAY INVAL; we do, and it stays. */
static void other_domain(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(attach(w, 2, EP + 1), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
	assert_int_equal(detach(w, 2, EP), INVAL);
	assert_int_equal(peek(w, 0, 0), 1);
}

/* 5.13.6.4.2: afterwards the endpoint MUST NOT access any mapping. */
static void sees_nothing_afterwards(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(attach(w, 1, EP + 1), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
	assert_int_equal(peek(w, 0, 0), 1);
	assert_int_equal(detach(w, 1, EP), OK);
	assert_int_equal(peek(w, 0, 0), -EFAULT);
	assert_int_equal(poke(w, 0, 0), -EFAULT);
	assert_int_equal(w->ram[0], 1);
	assert_int_equal(peek(w, 1, 0), 1);
}

/* 5.13.6.4: with its last endpoint the domain is gone, and all mappings. */
static void last_one_takes_the_mappings(void **state)
{
	struct viommu_stats s;
	struct world *w = *state;

	assert_int_equal(attach(w, 1, EP), OK);
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(map(w, 1, i * PAGE, i * PAGE + PAGE - 1, 0),
				 OK);
	viommu_read_stats(w->vi, &s);
	assert_int_equal(s.mappings, 100);
	assert_int_equal(detach(w, 1, EP), OK);
	viommu_read_stats(w->vi, &s);
	assert_int_equal(s.mappings, 0);
	assert_int_equal(unmap(w, 1, 0, UINT64_MAX), NOENT);
	/* a new one of that number is blank */
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(peek(w, 0, 0), -EFAULT);
	assert_int_equal(map(w, 1, 0, 4095, 2 * PAGE), OK);
	assert_int_equal(peek(w, 0, 0), 3);
}

static void bypass_domain(void **state)
{
	struct world *w = *state;

	assert_int_equal(attach_flags(w, 1, EP, BYPASS), OK);
	assert_int_equal(attach_flags(w, 1, EP + 1, BYPASS), OK);
	assert_int_equal(detach(w, 1, EP), OK);
	assert_int_equal(peek(w, 0, 0), -EFAULT);
	assert_int_equal(peek(w, 1, 0), 1);
	assert_int_equal(detach(w, 1, EP + 1), OK);
	/* the number is free for the other kind */
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(peek(w, 0, 0), -EFAULT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(reserved_is_ignored),
		TEST(unknown_endpoint),
		TEST(unknown_domain),
		TEST(other_domain),
		TEST(sees_nothing_afterwards),
		TEST(last_one_takes_the_mappings),
		TEST(bypass_domain),
	};

	return cmocka_run_group_tests_name("detach", tests, NULL, NULL);
}
