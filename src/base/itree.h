/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_BASE_ITREE_H
#define VI_BASE_ITREE_H

/*
 * An interval tree: closed ranges under keys, nodes inside other structures.
 * It is a treap, ordered by (key, start, address of the node), each node
 * knowing the greatest last below it.  To insert and to find the next overlap
 * each take a time that is logarithmic in the number of nodes, whatever lies
 * under other keys; to remove, as a rule, one that does not grow with it.  No
 * locks: the owner's.
 */

#include <stdint.h>

struct vi_inode {
	struct vi_inode *left, *right, *parent;
	const void *key;
	uint64_t start, last;
	uint64_t max; /* greatest last of this subtree */
};

struct vi_itree {
	struct vi_inode *root;
};

/* Where a search goes on, by value: nodes may come and go meanwhile. */
struct vi_icursor {
	const void *key;
	uint64_t start;
	uintptr_t node;
};

/* Key, start and last are set; start <= last. */
void vi_itree_insert(struct vi_itree *t, struct vi_inode *n);

/* @n is in @t. */
void vi_itree_remove(struct vi_itree *t, struct vi_inode *n);

/*
 * The next node under @key (NULL: any) that overlaps [start, last], in the
 * order of keys and starts, or NULL.  *@at says after which; it begins as zero
 * and moves.
 */
struct vi_inode *vi_itree_next(const struct vi_itree *t, const void *key,
			       uint64_t start, uint64_t last,
			       struct vi_icursor *at);

#endif
