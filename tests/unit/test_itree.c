/* SPDX-License-Identifier: BSD-2-Clause */
/* The interval tree against an array that is searched from end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/itree.h"

enum {
	N = 400,
	KEYS = 5
};

static struct vi_inode nodes[N];
static bool in[N];

static uint64_t rnd(void)
{
	static uint64_t x = 88172645463325252;

	x ^= x << 13;
	x ^= x >> 7;
	return x ^= x << 17;
}

/* Small numbers, and those at the top. */
static uint64_t address(void)
{
	uint64_t a = rnd() % 300;

	return rnd() % 8 ? a : UINT64_MAX - a;
}

static const void *key(unsigned i)
{
	static const char keys[KEYS + 1];

	return i ? &keys[i] : NULL;
}

static void set(struct vi_inode *n)
{
	uint64_t a = address(), b = address();

	n->key = key(1 + rnd() % KEYS);
	n->start = a < b ? a : b;
	n->last = a < b ? b : a;
}

static bool wanted(unsigned i, const void *k, uint64_t start, uint64_t last)
{
	return in[i] && (!k || nodes[i].key == k) && nodes[i].start <= last &&
	       nodes[i].last >= start;
}

/* Each one once, and in order. */
static void compare(const struct vi_itree *t, const void *k, uint64_t start,
		    uint64_t last)
{
	struct vi_icursor at = { 0 };
	const struct vi_inode *n, *before = NULL;
	static bool seen[N];

	memset(seen, 0, sizeof(seen));
	while ((n = vi_itree_next(t, k, start, last, &at))) {
		ptrdiff_t i = n - nodes;

		assert_true(wanted((unsigned)i, k, start, last));
		assert_false(seen[i]);
		seen[i] = true;
		if (before && before->key == n->key)
			assert_true(before->start <= n->start);
		before = n;
	}
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(seen[i], wanted(i, k, start, last));
}

static void finds_what_a_list_finds(void **state)
{
	struct vi_itree t = { NULL };

	(void)state;
	for (int round = 0; round < 6000; round++) {
		unsigned i = (unsigned)(rnd() % N);
		uint64_t a = address(), b = address();

		if (in[i]) {
			vi_itree_remove(&t, &nodes[i]);
		} else {
			set(&nodes[i]);
			vi_itree_insert(&t, &nodes[i]);
		}
		in[i] = !in[i];
		compare(&t, key((unsigned)(rnd() % (KEYS + 1))), a < b ? a : b,
			a < b ? b : a);
	}
	compare(&t, NULL, 0, UINT64_MAX);
	for (unsigned i = 0; i < N; i++)
		if (in[i])
			vi_itree_remove(&t, &nodes[i]);
	assert_null(t.root);
}

/* Removed nodes do not disturb a search that goes on by value. */
static void a_search_goes_on_though_its_node_went(void **state)
{
	struct vi_itree t = { NULL };
	struct vi_icursor at = { 0 };
	struct vi_inode *n;
	int found = 0;

	(void)state;
	for (unsigned i = 0; i < N; i++) {
		nodes[i] = (struct vi_inode){ .key = key(1),
					      .start = i,
					      .last = i + 1 };
		vi_itree_insert(&t, &nodes[i]);
	}
	while ((n = vi_itree_next(&t, key(1), 0, UINT64_MAX, &at))) {
		vi_itree_remove(&t, n);
		memset(n, 0xff, sizeof(*n));
		found++;
	}
	assert_int_equal(found, N);
	assert_null(t.root);
}

static unsigned depth(const struct vi_inode *n)
{
	unsigned l, r;

	if (!n)
		return 0;
	l = depth(n->left);
	r = depth(n->right);
	return 1 + (l > r ? l : r);
}

/* The worst order for a plain tree. */
static void stays_shallow(void **state)
{
	enum {
		MANY = 100000
	};
	struct vi_inode *many = calloc(MANY, sizeof(*many));
	struct vi_itree t = { NULL };

	(void)state;
	assert_non_null(many);
	for (unsigned i = 0; i < MANY; i++) {
		many[i] = (struct vi_inode){ .key = key(1),
					     .start = i,
					     .last = i };
		vi_itree_insert(&t, &many[i]);
	}
	assert_in_range(depth(t.root), 17, 80);
	free(many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_what_a_list_finds),
		cmocka_unit_test(a_search_goes_on_though_its_node_went),
		cmocka_unit_test(stays_shallow),
	};

	return cmocka_run_group_tests_name("itree", tests, NULL, NULL);
}
