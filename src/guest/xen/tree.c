/* SPDX-License-Identifier: BSD-2-Clause */
#include "guest/xen/tree.h"

/*
 * Bring the node nearest to @at to the top: the one it is in, or one of its two
 * neighbours.  Top-down: what is less hangs on the right edge of one tree, what
 * is more on the left edge of another.
 */
static struct vx_node *splay(struct vx_node *t, uint64_t at)
{
	struct vx_node head = { 0 }, *less = &head, *more = &head, *y;

	while (t) {
		if (at < t->first) {
			y = t->left;
			if (y && at < y->first) {
				t->left = y->right;
				y->right = t;
				t = y;
			}
			if (!t->left)
				break;
			more->left = t;
			more = t;
			t = t->left;
		} else if (at > t->last) {
			y = t->right;
			if (y && at > y->last) {
				t->right = y->left;
				y->left = t;
				t = y;
			}
			if (!t->right)
				break;
			less->right = t;
			less = t;
			t = t->right;
		} else {
			break;
		}
	}
	if (!t)
		return NULL;
	less->right = t->left;
	more->left = t->right;
	t->left = head.right;
	t->right = head.left;
	return t;
}

struct vx_node *vx_tree_find(struct vx_node **root, uint64_t at)
{
	struct vx_node *t = *root = splay(*root, at);

	return t && t->first <= at && at <= t->last ? t : NULL;
}

struct vx_node *vx_tree_next(struct vx_node **root, uint64_t at)
{
	struct vx_node *t = *root = splay(*root, at);

	if (!t || t->last >= at)
		return t;
	/* the top is the neighbour below: the other one is to its right */
	t->right = splay(t->right, at);
	return t->right;
}

void vx_tree_insert(struct vx_node **root, struct vx_node *n)
{
	struct vx_node *t = splay(*root, n->first);

	n->left = n->right = NULL;
	if (t && t->last < n->first) {
		n->left = t;
		n->right = t->right;
		t->right = NULL;
	} else if (t) {
		n->right = t;
		n->left = t->left;
		t->left = NULL;
	}
	*root = n;
}

void vx_tree_remove(struct vx_node **root, struct vx_node *n)
{
	struct vx_node *t = splay(*root, n->first); /* which is n */

	if (!t->left) {
		*root = t->right;
		return;
	}
	/* all there is less: its last comes to the top, with no right */
	*root = splay(t->left, n->first);
	(*root)->right = t->right;
}
