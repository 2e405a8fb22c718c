/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See idmap.h.  Locks: the caller's.
 */
#include "guest/virtio/idmap.h"

enum {
	TOP_BIT = 31,
};

/* Where @key's node hangs, or would hang. */
static struct vv_id **link_of(struct vv_id **link, uint32_t key)
{
	/* the bit cannot run out: below 32 nodes all numbers are equal */
	for (int bit = TOP_BIT; *link && (*link)->key != key; bit--)
		link = &(*link)->child[(key >> bit) & 1];
	return link;
}

struct vv_id *vv_idmap_find(struct vv_id *root, uint32_t key)
{
	return *link_of(&root, key);
}

void vv_idmap_add(struct vv_id **root, struct vv_id *id)
{
	id->child[0] = id->child[1] = NULL;
	*link_of(root, id->key) = id;
}

void vv_idmap_remove(struct vv_id **root, struct vv_id *id)
{
	struct vv_id **link = link_of(root, id->key), **leaf = link, *last;

	/* any leaf below has the same first bits, so it may sit here */
	while ((*leaf)->child[0] || (*leaf)->child[1])
		leaf = &(*leaf)->child[!(*leaf)->child[0]];
	last = *leaf;
	*leaf = NULL;
	if (last == id)
		return;
	last->child[0] = id->child[0];
	last->child[1] = id->child[1];
	*link = last;
}

static struct vv_id *next_below(struct vv_id *id, uint32_t key, int bit)
{
	struct vv_id *best = id->key >= key ? id : NULL;

	for (int i = 0; i < 2; i++) {
		struct vv_id *child = id->child[i], *found;

		/* its largest number */
		if (!child || (child->key | ((1u << bit) - 1)) < key)
			continue;
		found = next_below(child, key, bit - 1);
		if (found && (!best || found->key < best->key))
			best = found;
		if (found)
			break; /* those on the right are larger */
	}
	return best;
}

struct vv_id *vv_idmap_next(struct vv_id *root, uint32_t key)
{
	return root ? next_below(root, key, TOP_BIT) : NULL;
}

struct vv_id *vv_idmap_after(struct vv_id *root, uint32_t key)
{
	return key == UINT32_MAX ? NULL : vv_idmap_next(root, key + 1);
}
