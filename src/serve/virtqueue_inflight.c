/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * In-flight areas (virtqueue_inflight.h has the plan).
 *
 * Stores are releases: the compiler keeps their order, and a process that is
 * killed has made all stores up to some point and none beyond.
 */

#include "serve/virtqueue_inflight.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>

enum {
	VERSION = 1,
};

/* As vhost-user lays it out, in the machine's byte order. */
struct state {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};

struct vs_inflight {
	uint64_t features;
	uint16_t version; /* 0: not in use yet */
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct state desc[];
};

_Static_assert(sizeof(struct state) == 16, "vhost-user's layout");
_Static_assert(sizeof(struct vs_inflight) == 16, "vhost-user's layout");

#define STORE(to, val) __atomic_store_n(to, val, __ATOMIC_RELEASE)
#define LOAD(from)     __atomic_load_n(from, __ATOMIC_ACQUIRE)

size_t vs_inflight_len(uint16_t len)
{
	return sizeof(struct vs_inflight) + sizeof(struct state) * (size_t)len;
}

int vs_inflight_check(const void *mem, size_t bytes, uint16_t len)
{
	const struct vs_inflight *area = mem;
	uint16_t version;

	if (bytes < vs_inflight_len(len) ||
	    ((uintptr_t)mem & (_Alignof(struct vs_inflight) - 1)))
		return -EINVAL;
	version = LOAD(&area->version);
	if (version && (version != VERSION || LOAD(&area->desc_num) < len))
		return -EINVAL;
	return 0;
}

bool vs_inflight_fresh(const struct vs_inflight *area)
{
	return !LOAD(&area->version);
}

/* The version last: until then it is as it was made. */
static void area_begin(struct vs_inflight *area, uint16_t len, uint16_t used)
{
	STORE(&area->desc_num, len);
	STORE(&area->used_idx, used);
	STORE(&area->version, VERSION);
}

/* Strike off the @n that were shown last. */
static int batch_finish(struct vs_inflight *area, uint16_t len, unsigned n)
{
	uint16_t head = LOAD(&area->last_batch_head);

	if (n > len)
		return -EPROTO;
	for (; n; n--) {
		if (head >= len)
			return -EPROTO;
		STORE(&area->desc[head].inflight, 0);
		head = LOAD(&area->desc[head].next);
	}
	return 0;
}

static int redo_compare(const void *a, const void *b)
{
	const struct vs_redo *x = a, *y = b;

	return (x->counter > y->counter) - (x->counter < y->counter);
}

int vs_inflight_recover(struct vs_inflight *area, uint16_t len, uint16_t used,
			struct vs_redo *redo)
{
	unsigned n = 0;

	if (vs_inflight_fresh(area)) {
		area_begin(area, len, used);
		return 0;
	}
	if (batch_finish(area, len, (uint16_t)(used - LOAD(&area->used_idx))))
		return -EPROTO;
	STORE(&area->used_idx, used);
	for (uint16_t i = 0; i < len; i++)
		if (LOAD(&area->desc[i].inflight))
			redo[n++] = (struct vs_redo){
				.counter = LOAD(&area->desc[i].counter),
				.head = i,
			};
	qsort(redo, n, sizeof(*redo), redo_compare);
	return (int)n;
}

void vs_inflight_pop(struct vs_inflight *area, uint16_t head, uint64_t counter)
{
	STORE(&area->desc[head].counter, counter);
	STORE(&area->desc[head].inflight, 1);
}

void vs_inflight_batch(struct vs_inflight *area,
		       const struct vring_used_elem *batch, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint16_t head = (uint16_t)le32toh(batch[i].id);

		STORE(&area->desc[head].next, LOAD(&area->last_batch_head));
		STORE(&area->last_batch_head, head);
	}
}

void vs_inflight_shown(struct vs_inflight *area,
		       const struct vring_used_elem *batch, unsigned n,
		       uint16_t used)
{
	for (unsigned i = 0; i < n; i++)
		STORE(&area->desc[le32toh(batch[i].id)].inflight, 0);
	STORE(&area->used_idx, used);
}
