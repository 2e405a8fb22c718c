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

/* Those before @by, and those after. */
static void split(struct vi_inode *n, const struct vi_inode *by,
		  struct vi_inode **less, struct vi_inode **more)
{
	if (!n) {
		*less = *more = NULL;
	} else if (before(n, by)) {
		split(n->right, by, &n->right, more);
		*less = n;
		update(n);
	} else {
		split(n->left, by, less, &n->left);
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
		a->right = merge(a->right, b);
		update(a);
		return a;
	}
	b->left = merge(a, b->left);
	update(b);
	return b;
}

static struct vi_inode *insert(struct vi_inode *root, struct vi_inode *n)
{
	if (!root || priority(n) > priority(root)) {
		split(root, n, &n->left, &n->right);
		update(n);
		return n;
	}
	if (before(n, root))
		root->left = insert(root->left, n);
	else
		root->right = insert(root->right, n);
	/* without a look at its children, which are elsewhere */
	if (n->last > root->max)
		root->max = n->last;
	return root;
}

static struct vi_inode *without(struct vi_inode *root, struct vi_inode *n)
{
	if (root == n)
		return merge(n->left, n->right);
	if (before(n, root))
		root->left = without(root->left, n);
	else
		root->right = without(root->right, n);
	update(root);
	return root;
}

void vi_itree_insert(struct vi_itree *t, struct vi_inode *n)
{
	t->root = insert(t->root, n);
}

void vi_itree_remove(struct vi_itree *t, struct vi_inode *n)
{
	t->root = without(t->root, n);
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
