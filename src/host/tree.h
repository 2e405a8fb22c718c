/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VH_TREE_H
#define VH_TREE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Ranges of IOVAs that do not overlap, each with where it leads, in a treap.
 * A node's range may be narrowed while it is in the tree.
 */
struct vh_node {
	struct vh_node *left, *right; /* spare nodes: right is the next */
	uint64_t start, last;
	uint64_t gpa; /* of start */
	uint32_t prot;
	bool stuck; /* shadow.c */
};

/* The first node whose last is at or after @addr; NULL: none. */
struct vh_node *vh_tree_first(struct vh_node *root, uint64_t addr);
/* ... and that begins at or before @last. */
struct vh_node *vh_tree_overlap(struct vh_node *root, uint64_t addr,
				uint64_t last);

/* The one after @n; NULL: none. */
struct vh_node *vh_tree_next(struct vh_node *root, const struct vh_node *n);

void vh_tree_insert(struct vh_node **root, struct vh_node *n);
void vh_tree_remove(struct vh_node **root, struct vh_node *n);

#endif
