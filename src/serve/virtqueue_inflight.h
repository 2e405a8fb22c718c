/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_VIRTQUEUE_INFLIGHT_H
#define VS_VIRTQUEUE_INFLIGHT_H

/*
 * The in-flight area of a split ring (vhost-user): which requests were popped
 * and not shown to the driver yet, in memory that outlives us.
 *
 *	pop      its number, then "in flight"
 *	publish  the batch as a list; [the ring's used idx]; none of it in
 *	         flight; the area's used idx
 *
 * So where the two used indices differ the batch was shown, and was not struck
 * off to the end: the list says what it was.
 *
 * The process may die between any two stores.  Others may write to the area, as
 * to a ring: what is read from it is checked.
 *
 * Who locks what: nobody, an area is its queue's thread's.
 */

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vs_inflight;

/* A request to begin with. */
struct vs_redo {
	uint64_t counter;
	uint16_t head;
};

/* Bytes of the area of a ring of @len. */
size_t vs_inflight_len(uint16_t len);

/* 0, or -EINVAL: not the area of a ring of @len, or a longer one. */
int vs_inflight_check(const void *area, size_t bytes, uint16_t len);

/* Nobody has used it yet. */
bool vs_inflight_fresh(const struct vs_inflight *area);

/*
 * The ring says that @used were shown.  Finish what was begun, and tell what is
 * in flight, in order, in @redo, which has room for the ring's length.  How
 * many; -EPROTO: the area is not of this ring.
 */
int vs_inflight_recover(struct vs_inflight *area, uint16_t len, uint16_t used,
			struct vs_redo *redo);

/* @head was popped, the @counter-th. */
void vs_inflight_pop(struct vs_inflight *area, uint16_t head, uint64_t counter);

/* These @n are going to be shown in one step; again, perhaps. */
void vs_inflight_batch(struct vs_inflight *area,
		       const struct vring_used_elem *batch, unsigned n);

/* They were, and the ring's index is @used by now. */
void vs_inflight_shown(struct vs_inflight *area,
		       const struct vring_used_elem *batch, unsigned n,
		       uint16_t used);

#endif
