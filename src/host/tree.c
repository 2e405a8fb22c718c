/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Recursion goes as deep as the tree: some 3 lg(n), n being bounded by memory.
 * The guest chooses keys, but not priorities: those are made of our addresses.
 */
#include "host/tree.h"

#include <stddef.h>

static uint64_t priority(const struct vh_node *n)
{
	uint64_t x = (uintptr_t)n * UINT64_C(0x9e3779b97f4a7c15);

	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	return x ^ x >> 32;
}

/* Those before @addr, and those after. */
static void split(struct vh_node *n, uint64_t addr, struct vh_node **less,
		  struct vh_node **more)
{
	if (!n) {
		*less = *more = NULL;
	} else if (n->last < addr) {
		split(n->right, addr, &n->right, more);
		*less = n;
	} else {
		split(n->left, addr, less, &n->left);
		*more = n;
	}
}

/* All of @a is before all of @b. */
static struct vh_node *merge(struct vh_node *a, struct vh_node *b)
{
	if (!a || !b)
		return a ? a : b;
	if (priority(a) > priority(b)) {
		a->right = merge(a->right, b);
		return a;
	}
	b->left = merge(a, b->left);
	return b;
}

struct vh_node *vh_tree_first(struct vh_node *root, uint64_t addr)
{
	struct vh_node *found = NULL;

	while (root) {
		if (root->last >= addr) {
			found = root;
			root = root->left;
		} else {
			root = root->right;
		}
	}
	return found;
}

struct vh_node *vh_tree_overlap(struct vh_node *root, uint64_t addr,
				uint64_t last)
{
	struct vh_node *n = vh_tree_first(root, addr);

	return n && n->start <= last ? n : NULL;
}

struct vh_node *vh_tree_next(struct vh_node *root, const struct vh_node *n)
{
	return n->last == UINT64_MAX ? NULL : vh_tree_first(root, n->last + 1);
}

void vh_tree_insert(struct vh_node **root, struct vh_node *n)
{
	while (*root && priority(*root) >= priority(n))
		root = n->start < (*root)->start ? &(*root)->left
						 : &(*root)->right;
	split(*root, n->start, &n->left, &n->right);
	*root = n;
}

void vh_tree_remove(struct vh_node **root, struct vh_node *n)
{
	while (*root != n)
		root = n->start < (*root)->start ? &(*root)->left
						 : &(*root)->right;
	*root = merge(n->left, n->right);
}
