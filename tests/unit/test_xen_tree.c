/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The splay tree of foreign mapping, against an array.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <guest/xen/tree.h>

enum {
	PLACES = 64, /* of WIDTH addresses; a node takes up to WIDTH of one */
	WIDTH = 8,
	STEPS = 200000,
};

static unsigned dice(unsigned n)
{
	static uint32_t x = 1;

	x = x * 1664525 + 1013904223;
	return (x >> 8) % n;
}

static struct vx_node nodes[PLACES];
static bool there[PLACES];

static struct vx_node *next_in_array(uint64_t at)
{
	for (unsigned i = 0; i < PLACES; i++)
		if (there[i] && nodes[i].last >= at)
			return &nodes[i];
	return NULL;
}

static void must_agree(struct vx_node **root, uint64_t at)
{
	struct vx_node *n = next_in_array(at);

	assert_ptr_equal(vx_tree_next(root, at), n);
	if (n && n->first > at)
		n = NULL;
	assert_ptr_equal(vx_tree_find(root, at), n);
}

static void like_an_array(void **state)
{
	struct vx_node *root = NULL;

	(void)state;
	must_agree(&root, 0);
	for (unsigned step = 0; step < STEPS; step++) {
		unsigned i = dice(PLACES);

		if (there[i]) {
			vx_tree_remove(&root, &nodes[i]);
		} else {
			nodes[i].first = i * WIDTH + dice(WIDTH);
			nodes[i].last = nodes[i].first +
					dice((unsigned)((i + 1) * WIDTH -
							nodes[i].first));
			vx_tree_insert(&root, &nodes[i]);
		}
		there[i] = !there[i];
		must_agree(&root, dice(PLACES * WIDTH + 8));
	}
	must_agree(&root, UINT64_MAX);
	for (uint64_t at = 0; at < PLACES * WIDTH; at++)
		must_agree(&root, at);
}

/* However they come: neither stack nor patience of a recursion is needed. */
static void a_million_in_a_row(void **state)
{
	enum {
		N = 1 << 20
	};
	struct vx_node *n = test_calloc(N, sizeof(*n)), *root = NULL, *at;
	uint64_t from = 0;

	(void)state;
	for (uint64_t i = 0; i < N; i++) {
		n[i].first = n[i].last = i;
		vx_tree_insert(&root, &n[i]);
	}
	for (uint64_t i = 0; i < N; i++) {
		at = vx_tree_next(&root, from);
		assert_ptr_equal(at, &n[i]);
		from = at->last + 1;
	}
	assert_null(vx_tree_next(&root, from));
	for (uint64_t i = 0; i < N; i++)
		vx_tree_remove(&root, &n[i * 7919 % N]);
	assert_null(root);
	test_free(n);
}

static void to_the_last_address(void **state)
{
	struct vx_node low = { .first = 0, .last = 0 };
	struct vx_node high = { .first = UINT64_MAX, .last = UINT64_MAX };
	struct vx_node *root = NULL;

	(void)state;
	vx_tree_insert(&root, &high);
	vx_tree_insert(&root, &low);
	assert_ptr_equal(vx_tree_next(&root, 0), &low);
	assert_ptr_equal(vx_tree_next(&root, 1), &high);
	assert_ptr_equal(vx_tree_find(&root, UINT64_MAX), &high);
	assert_null(vx_tree_find(&root, 1));
	vx_tree_remove(&root, &low);
	assert_ptr_equal(vx_tree_next(&root, 0), &high);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(like_an_array),
		cmocka_unit_test(a_million_in_a_row),
		cmocka_unit_test(to_the_last_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
