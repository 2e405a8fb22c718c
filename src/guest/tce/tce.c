/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine's IOMMU: its life, its lock, its counters.
 *
 * The lock.  Who asks counts himself a reader and then looks whether there is a
 * change; who changes says so and then looks at the readers.  All of that is
 * sequentially consistent, so one of them sees the other: the reader takes it
 * back and queues, or the change waits until he has left.  Each thread is dealt
 * one of 64 counters when it first calls: as long as there are no more threads,
 * none shares a line with another.
 */
#include <errno.h>
#include <string.h>

#include "guest/tce/device.h"

enum {
	DEFAULT_BUSES = 256,
	MAX_BUSES = 65536,
};
#define DEFAULT_ENTRIES (UINT64_C(1) << 20)
#define MAX_ENTRIES	(UINT64_C(1) << 32)

/* ---- the lock --------------------------------------------------------- */

struct vt_part *vt_part(struct viommu_tce *t)
{
	static _Atomic(uint32_t) dealt;
	static __thread uint32_t mine; /* from 1 on */

	if (!mine)
		mine = 1 + atomic_fetch_add(&dealt, 1) % VT_PARTS;
	return &t->part[mine - 1];
}

/* The last one lets a change go on. */
void vt_leave(struct viommu_tce *t, struct vt_part *p)
{
	atomic_fetch_sub(&p->readers, 1);
	if (!atomic_load(&t->changing))
		return;
	pthread_mutex_lock(&t->drain);
	pthread_cond_signal(&t->drained);
	pthread_mutex_unlock(&t->drain);
}

struct vt_part *vt_enter(struct viommu_tce *t)
{
	struct vt_part *p = vt_part(t);

	for (;;) {
		atomic_fetch_add(&p->readers, 1);
		if (!atomic_load(&t->changing))
			return p;
		vt_leave(t, p);
		pthread_mutex_lock(&t->change);
		pthread_mutex_unlock(&t->change);
	}
}

void vt_change_begin(struct viommu_tce *t)
{
	pthread_mutex_lock(&t->change);
	atomic_store(&t->changing, true);
	pthread_mutex_lock(&t->drain);
	for (unsigned i = 0; i < VT_PARTS; i++)
		while (atomic_load(&t->part[i].readers))
			pthread_cond_wait(&t->drained, &t->drain);
	pthread_mutex_unlock(&t->drain);
}

void vt_change_end(struct viommu_tce *t)
{
	atomic_store(&t->changing, false);
	pthread_mutex_unlock(&t->change);
}

static void lock_init(struct viommu_tce *t)
{
	pthread_mutex_init(&t->change, NULL);
	pthread_mutex_init(&t->drain, NULL);
	pthread_cond_init(&t->drained, NULL);
}

static void lock_fini(struct viommu_tce *t)
{
	pthread_cond_destroy(&t->drained);
	pthread_mutex_destroy(&t->drain);
	pthread_mutex_destroy(&t->change);
}

/* ---- life ------------------------------------------------------------- */

static void tce_free(struct viommu_tce *t)
{
	viommu_free(t->vi, t->buses);
	viommu_free(t->vi, t->windows);
	viommu_free(t->vi, t);
}

void vt_ref(struct viommu_tce *t)
{
	atomic_fetch_add(&t->refs, 1);
}

void vt_unref(struct viommu_tce *t)
{
	struct viommu_fence *f;

	if (atomic_fetch_sub(&t->refs, 1) != 1)
		return;
	f = t->destroyed;
	lock_fini(t);
	tce_free(t);
	/* last: the caller may then unmake the whole instance */
	viommu_fence_release(f);
}

int vt_opts(void *to, size_t size, const void *from)
{
	const uint8_t *bytes = from;
	size_t given;

	memcpy(&given, from, sizeof(given));
	if (given < sizeof(given))
		return -EINVAL;
	for (size_t i = size; i < given; i++)
		if (bytes[i])
			return -EINVAL;
	memset(to, 0, size);
	memcpy(to, from, given < size ? given : size);
	memcpy(to, &size, sizeof(size));
	return 0;
}

static int config_complete(struct viommu_tce_config *c,
			   const struct viommu_tce_config *in)
{
	static const struct viommu_tce_config none = { .size = sizeof(none) };
	int rc = vt_opts(c, sizeof(*c), in ? in : &none);

	if (rc)
		return rc;
	if (!c->max_entries)
		c->max_entries = DEFAULT_ENTRIES;
	if (!c->max_buses)
		c->max_buses = DEFAULT_BUSES;
	if (c->max_entries > MAX_ENTRIES || c->max_buses > MAX_BUSES ||
	    c->reserved)
		return -EINVAL;
	return 0;
}

/* Attached to by nobody; what a destruction gathers for certain. */
static int anchor_make(struct viommu_tce *t)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .kind = VIOMMU_SPACE_IDENTITY,
					 .page_sizes = 1 << VT_DEFAULT_SHIFT };

	return viommu_space_create(t->vi, &c, &t->anchor);
}

int viommu_tce_create(struct viommu *vi, const struct viommu_tce_config *cfg,
		      struct viommu_tce **out)
{
	struct viommu_tce_config c;
	struct viommu_tce *t;
	int rc = config_complete(&c, cfg);

	if (rc)
		return rc;
	t = viommu_alloc(vi, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->vi = vi;
	t->cfg = c;
	t->memory = c.memory ? c.memory : viommu_memory_of(vi);
	t->refs = 1;
	t->buses = viommu_alloc(vi, c.max_buses * sizeof(*t->buses));
	t->windows = viommu_alloc(vi, (size_t)c.max_buses * VT_BUS_WINDOWS *
					      sizeof(*t->windows));
	rc = t->buses && t->windows ? anchor_make(t) : -ENOMEM;
	if (rc) {
		tce_free(t);
		return rc;
	}
	lock_init(t);
	*out = t;
	return 0;
}

void viommu_tce_destroy(struct viommu_tce *t, struct viommu_fence *f)
{
	if (!t)
		return;
	while (t->nbuses)
		vt_bus_drop(t, t->buses[t->nbuses - 1], f);
	viommu_space_destroy(t->anchor, f);
	viommu_fence_hold(f); /* it has gathered the anchor */
	t->destroyed = f;
	vt_unref(t);
}

void viommu_tce_reset(struct viommu_tce *t, struct viommu_fence *f)
{
	vt_change_begin(t);
	for (uint32_t i = 0; i < t->nbuses; i++)
		vt_bus_reset(t, t->buses[i], f);
	vt_change_end(t);
}

/* ---- counters --------------------------------------------------------- */

void vt_count(_Atomic(uint64_t) *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

void viommu_tce_read_stats(struct viommu_tce *t, struct viommu_tce_stats *out)
{
	*out = (struct viommu_tce_stats){
		.waiting = atomic_load(&t->waiting),
		.failed = atomic_load(&t->failed),
	};
	for (unsigned i = 0; i < VT_PARTS; i++) {
		struct vt_part *p = &t->part[i];

		out->hcalls += atomic_load(&p->hcalls);
		out->rtas += atomic_load(&p->rtas);
		out->refused += atomic_load(&p->refused);
		out->entries += atomic_load(&p->entries);
	}
}
