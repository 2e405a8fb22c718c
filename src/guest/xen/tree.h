/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VX_TREE_H
#define VX_TREE_H

/*
 * Ranges that do not overlap, by address: a splay tree.  No allocation, no
 * field for a balance; neighbours are found in constant time one after the
 * other, which is how batches come.  Whoever has the root has it locked: a look
 * changes the tree, too.
 */

#include <stddef.h>
#include <stdint.h>

struct vx_node {
	struct vx_node *left, *right;
	uint64_t first, last;
};

#define vx_node_of(n, type, member) \
	((type *)(void *)((char *)(n)-offsetof(type, member)))

/* The first whose last is at or after @at, or NULL. */
struct vx_node *vx_tree_next(struct vx_node **root, uint64_t at);

/* The one that @at is in, or NULL. */
struct vx_node *vx_tree_find(struct vx_node **root, uint64_t at);

/* It overlaps none. */
void vx_tree_insert(struct vx_node **root, struct vx_node *n);

/* It is in there. */
void vx_tree_remove(struct vx_node **root, struct vx_node *n);

#endif
