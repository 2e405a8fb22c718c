/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Recursion goes as deep as the tree: some 3 lg(n), n being bounded by memory.
 */
#include "base/itree.h"

#include <stdbool.h>
#include <stddef.h>

/* A node's priority: its address, well mixed.  Nothing to store. */
static uint64_t priority(const struct vi_inode *n)
{
	uint64_t x = (uintptr_t)n * UINT64_C(0x9e3779b97f4a7c15);

	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	return x ^ x >> 32;
}

static bool before(const struct vi_inode *a, const struct vi_inode *b)
{
	if (a->key != b->key)
		return (uintptr_t)a->key < (uintptr_t)b->key;
	if (a->start != b->start)
		return a->start < b->start;
	return (uintptr_t)a < (uintptr_t)b;
}

static void update(struct vi_inode *n)
{
	n->max = n->last;
	if (n->left && n->left->max > n->max)
		n->max = n->left->max;
	if (n->right && n->right->max > n->max)
		n->max = n->right->max;
}

static void left_set(struct vi_inode *n, struct vi_inode *child)
{
	n->left = child;
	if (child)
		child->parent = n;
}

static void right_set(struct vi_inode *n, struct vi_inode *child)
{
	n->right = child;
	if (child)
		child->parent = n;
}

/* Those before @by, and those after; whose parents are the caller's to set. */
static void split(struct vi_inode *n, const struct vi_inode *by,
		  struct vi_inode **less, struct vi_inode **more)
{
	struct vi_inode *rest;

	if (!n) {
		*less = *more = NULL;
	} else if (before(n, by)) {
		split(n->right, by, &rest, more);
		right_set(n, rest);
		*less = n;
		update(n);
	} else {
		split(n->left, by, less, &rest);
		left_set(n, rest);
		*more = n;
		update(n);
	}
}

/* All of @a is before all of @b. */
static struct vi_inode *merge(struct vi_inode *a, struct vi_inode *b)
{
	if (!a || !b)
		return a ? a : b;
	if (priority(a) > priority(b)) {
		right_set(a, merge(a->right, b));
		update(a);
		return a;
	}
	left_set(b, merge(a, b->left));
	update(b);
	return b;
}

void vi_itree_insert(struct vi_itree *t, struct vi_inode *n)
{
	struct vi_inode **link = &t->root, *parent = NULL, *less, *more;
	uint64_t mine = priority(n);

	while (*link && priority(*link) >= mine) {
		parent = *link;
		/* without a look at its children, which are elsewhere */
		if (n->last > parent->max)
			parent->max = n->last;
		link = before(n, parent) ? &parent->left : &parent->right;
	}
	split(*link, n, &less, &more);
	left_set(n, less);
	right_set(n, more);
	update(n);
	n->parent = parent;
	*link = n;
}

void vi_itree_remove(struct vi_itree *t, struct vi_inode *n)
{
	struct vi_inode *rest = merge(n->left, n->right), *up = n->parent;

	if (rest)
		rest->parent = up;
	if (!up)
		t->root = rest;
	else if (up->left == n)
		up->left = rest;
	else
		up->right = rest;
	/* as far as it was the greatest */
	for (; up && up->max == n->last; up = up->parent) {
		update(up);
		if (up->max == n->last)
			return;
	}
}

/* What is looked for: after `at`, in this key, with a byte in the range. */
struct search {
	const void *key;
	uint64_t start, last;
	struct vi_icursor at;
};

static bool after_cursor(const struct vi_inode *n, const struct search *s)
{
	if (n->key != s->at.key)
		return (uintptr_t)n->key > (uintptr_t)s->at.key;
	if (n->start != s->at.start)
		return n->start > s->at.start;
	return (uintptr_t)n > s->at.node;
}

/* It, and all that follow it, begin beyond the range or are another key's. */
static bool beyond(const struct vi_inode *n, const struct search *s)
{
	if (!s->key)
		return false; /* other keys' come after it */
	if (n->key != s->key)
		return (uintptr_t)n->key > (uintptr_t)s->key;
	return n->start > s->last;
}

/*
 * A subtree wholly between cursor and end of the range is left out, or holds
 * what is looked for: so only the two paths along the edges are walked.
 */
static struct vi_inode *search(struct vi_inode *n, const struct search *s)
{
	while (n && n->max >= s->start) {
		if (after_cursor(n, s)) {
			struct vi_inode *found = search(n->left, s);

			if (found)
				return found;
			if (beyond(n, s))
				return NULL;
			if (n->last >= s->start && n->start <= s->last)
				return n;
		}
		n = n->right;
	}
	return NULL;
}

struct vi_inode *vi_itree_next(const struct vi_itree *t, const void *key,
			       uint64_t start, uint64_t last,
			       struct vi_icursor *at)
{
	struct search s = { key, start, last, *at };
	struct vi_inode *n;

	/* those of lesser keys are not before it: they are not looked at */
	if ((uintptr_t)s.at.key < (uintptr_t)key)
		s.at = (struct vi_icursor){ .key = key };
	n = search(t->root, &s);
	if (n)
		*at = (struct vi_icursor){ n->key, n->start, (uintptr_t)n };
	return n;
}
