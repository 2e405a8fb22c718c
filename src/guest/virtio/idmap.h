/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VV_IDMAP_H
#define VV_IDMAP_H

/*
 * A set of 32-bit numbers that the guest chooses: domains, endpoints.  The
 * node lives inside what it names, so nothing here allocates or fails.
 *
 * It is a digital search tree: at depth d the way goes by bit 31 - d, and a
 * node may sit anywhere on its number's way.  33 steps at most, whatever
 * numbers a hostile guest picks: no hash to collide in, nothing to balance.
 */

#include <stddef.h>
#include <stdint.h>

struct vv_id {
	uint32_t key;
	struct vv_id *child[2];
};

#define vv_id_of(ptr, type, member) \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* The node of @key, or NULL. */
struct vv_id *vv_idmap_find(struct vv_id *root, uint32_t key);

/* Put @id, whose key is set and not in the tree. */
void vv_idmap_add(struct vv_id **root, struct vv_id *id);

/* Take @id, which is in the tree. */
void vv_idmap_remove(struct vv_id **root, struct vv_id *id);

/* The node with the smallest key that is not below @key, or NULL. */
struct vv_id *vv_idmap_next(struct vv_id *root, uint32_t key);

/* The node with the smallest key above @key, or NULL: an iteration goes on
 * by number, so the current node may have been removed. */
struct vv_id *vv_idmap_after(struct vv_id *root, uint32_t key);

#endif
