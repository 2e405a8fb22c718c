/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fences.  L1: gather.  L2 and L3: commit takes a number, makes the taker's
 * order (pin.h, first pair) and looks at the pins.  None in the way: done,
 * with no lock and no system call.  One in the way: it is an access, which is
 * over in a moment, so spin that long; then join the pending list, make the
 * second pair's order and look again.  From there on whoever drops a pin
 * settles: it takes the pending lock and looks for those that are done.
 *
 * L5: a fence has room for seven extents.  An eighth widens one of the same
 * space, or else the fence takes everything: wider, never early (L4).
 *
 * State: OPEN -> COMMITTED -> DONE.  Nothing touches a fence after DONE is
 * stored, since its storage may be gone: with a callback DONE is stored before
 * the call, without one under the pending lock that waiters hold.
 *
 * Locks: the pending list is the pending lock's; the rest is the caller's
 * until commit, and the settler's from the moment it took the fence off the
 * list.  Callbacks run with no lock held.
 */
#include "core/fence.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/barrier.h"
#include "base/range.h"
#include "core/instance.h"

enum {
	EXTENTS = 7,
	SPINS = 256, /* some microseconds: longer than a short access */
};

enum {
	OPEN,
	COMMITTED,
	DONE
};

struct fence {
	struct viommu *vi; /* NULL: gathered nothing */
	uint64_t seq;
	viommu_fence_fn *done;
	void *arg;
	struct vi_list pending;
	struct vi_retire *retired;
	struct vi_pin *blocker; /* the last pin found in the way */
	uint64_t since;		/* when it had to wait, or 0 */
	_Atomic(uint32_t) state;
	_Atomic(uint32_t) holds;
	uint32_t n;
	struct vi_extent what[EXTENTS];
};
_Static_assert(sizeof(struct fence) <= sizeof(struct viommu_fence),
	       "fence grew");

static struct fence *fence_of(struct viommu_fence *f)
{
	return (struct fence *)(void *)f->opaque;
}

static const struct fence *fence_of_const(const struct viommu_fence *f)
{
	return (const struct fence *)(const void *)f->opaque;
}

/* ---- gather ----------------------------------------------------------- */

void viommu_fence_init(struct viommu_fence *pub)
{
	memset(pub, 0, sizeof(*pub));
	vi_list_init(&fence_of(pub)->pending);
}

static bool same_key(const struct vi_extent *a, const struct vi_extent *b)
{
	return a->space == b->space && a->ep == b->ep && a->mem == b->mem;
}

/* Adjacent or overlapping. */
static bool touch(const struct vi_extent *a, const struct vi_extent *b)
{
	return (!a->start || b->last >= a->start - 1) &&
	       (!b->start || a->last >= b->start - 1);
}

/* One for another endpoint of the same space: for any endpoint, it does. */
static struct vi_extent *same_space(struct fence *f,
				    const struct vi_extent *what)
{
	for (uint32_t i = 0; what->space && i < f->n; i++)
		if (f->what[i].space == what->space && !f->what[i].mem)
			return &f->what[i];
	return NULL;
}

static void widen(struct vi_extent *e, const struct vi_extent *what)
{
	e->start = vi_min(e->start, what->start);
	e->last = vi_max(e->last, what->last);
}

void vi_fence_gather(struct viommu_fence *pub, struct viommu *vi,
		     const struct vi_extent *what)
{
	struct fence *f = fence_of(pub);
	struct vi_extent *same = NULL;

	VI_BUG_ON(f->vi && f->vi != vi);
	VI_BUG_ON(atomic_load(&f->state) != OPEN);
	f->vi = vi;
	for (uint32_t i = 0; i < f->n; i++) {
		if (!same_key(&f->what[i], what))
			continue;
		same = &f->what[i];
		if (touch(same, what)) {
			widen(same, what);
			return;
		}
	}
	if (f->n < EXTENTS) {
		f->what[f->n++] = *what;
		return;
	}
	if (!same)
		same = same_space(f, what);
	if (same) {
		widen(same, what);
		same->ep = same->ep == what->ep ? same->ep : NULL;
	} else {
		/* GPA extents, too: any pin, whatever it touches */
		f->what[0] = (struct vi_extent){ .last = UINT64_MAX };
		f->n = 1;
	}
}

void vi_fence_retire(struct viommu_fence *pub, struct vi_retire *list)
{
	struct fence *f = fence_of(pub);

	VI_BUG_ON(!f->vi);
	while (list) {
		struct vi_retire *next = list->next;

		vi_retire_add(&f->retired, list);
		list = next;
	}
}

/* ---- done ------------------------------------------------------------- */

static bool fence_blocked(struct fence *f)
{
	bool grace = f->retired && VI_MUTANT != VI_MUTANT_NO_GRACE;

	if (VI_MUTANT == VI_MUTANT_NO_WAIT)
		return false;
	if (atomic_load(&f->holds))
		return true;
	if (f->blocker &&
	    vi_pin_blocks(f->blocker, f->seq, f->what, f->n, grace))
		return true;
	f->blocker = vi_pin_find(f->vi, f->seq, f->what, f->n, grace);
	return f->blocker;
}

/* Log-linear, eight steps an octave: within 12%. */
static unsigned wait_bucket(uint64_t ns)
{
	unsigned lg2;

	if (ns < 8)
		return (unsigned)ns;
	lg2 = 63 - (unsigned)__builtin_clzll(ns);
	return (lg2 - 2) * 8 + ((ns >> (lg2 - 3)) & 7);
}

uint64_t vi_fence_wait_of_bucket(unsigned bucket)
{
	unsigned lg2 = bucket / 8 + 2;

	if (bucket < 8)
		return bucket;
	return (UINT64_C(8) + bucket % 8) << (lg2 - 3);
}

static void fence_complete(struct fence *f)
{
	struct viommu_fence *pub = (struct viommu_fence *)(void *)f;
	viommu_fence_fn *done = f->done;
	struct viommu *vi = f->vi;
	void *arg = f->arg;
	uint64_t waited = f->since ? vi_clock(&vi->env) - f->since : 0;

	vi_retire_free(f->retired);
	f->retired = NULL;
	if (f->since) {
		vi_lock(&vi->pending_lock);
		vi->waits[wait_bucket(waited)]++;
		vi->wait_max = vi_max(vi->wait_max, waited);
		vi_unlock(&vi->pending_lock);
	}
	if (done) {
		atomic_store(&f->state, DONE);
		done(pub, arg);
	} else if (f->since) {
		vi_lock(&vi->pending_lock);
		atomic_store(&f->state, DONE);
		pthread_cond_broadcast(&vi->done);
		vi_unlock(&vi->pending_lock);
	} else {
		atomic_store(&f->state, DONE); /* nobody waits yet */
	}
}

void vi_fence_settle(struct viommu *vi)
{
	struct vi_list ready, *l, *next;

	vi_list_init(&ready);
	vi_lock(&vi->pending_lock);
	for (l = vi->pending.next; l != &vi->pending; l = next) {
		struct fence *f = vi_list_of(l, struct fence, pending);

		next = l->next;
		if (fence_blocked(f))
			continue;
		vi_list_remove(l);
		/* those without a callback first: callbacks may take long, and
		 * may wait for one of them */
		vi_list_add_tail(f->done ? &ready : ready.next, l);
		atomic_fetch_sub(&vi->npending, 1);
	}
	vi_unlock(&vi->pending_lock);

	while (!vi_list_empty(&ready)) {
		struct fence *f = vi_list_of(ready.next, struct fence, pending);

		vi_list_remove(&f->pending);
		fence_complete(f);
	}
}

/* ---- commit ----------------------------------------------------------- */

static void taker_order(struct viommu *vi)
{
	atomic_thread_fence(memory_order_seq_cst);
	/* a thread that takes its seat from here on does so by a sequentially
	 * consistent operation, after which it looks */
	if (vi->asymmetric && vi_seats_others(vi))
		vi_membarrier();
}

/* An access in the way is over sooner than we would be asleep. */
static bool fence_blocked_spin(struct fence *f)
{
	for (int i = 0; i < SPINS; i++) {
		if (!fence_blocked(f))
			return false;
		if (!f->blocker || (atomic_load(&f->blocker->word) &
				    VI_PIN_STATE) == VI_PIN_HELD)
			return true;
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#endif
	}
	return fence_blocked(f);
}

static void fence_pend(struct fence *f)
{
	struct viommu *vi = f->vi;

	f->since = vi_max(vi_clock(&vi->env), 1);
	atomic_fetch_add_explicit(&vi->fences_waited, 1, memory_order_relaxed);
	vi_lock(&vi->pending_lock);
	vi_list_add_tail(&vi->pending, &f->pending);
	atomic_fetch_add(&vi->npending, 1);
	vi_unlock(&vi->pending_lock);
	/* f may be done, and gone, as soon as somebody settles */
	if (vi->membarrier)
		vi_membarrier();
	else
		atomic_thread_fence(memory_order_seq_cst);
	vi_fence_settle(vi);
}

void viommu_fence_commit(struct viommu_fence *pub, viommu_fence_fn *done,
			 void *arg)
{
	struct fence *f = fence_of(pub);
	struct viommu *vi = f->vi;

	VI_BUG_ON(atomic_load(&f->state) != OPEN);
	f->done = done;
	f->arg = arg;
	if (!vi) {
		atomic_store(&f->state, DONE);
		if (done)
			done(pub, arg);
		return;
	}
	atomic_fetch_add_explicit(&vi->fences, 1, memory_order_relaxed);
	atomic_store(&f->state, COMMITTED);
	VI_WINDOW();
	taker_order(vi);
	f->seq = atomic_fetch_add(&vi->commits, 1);
	VI_WINDOW();
	if (fence_blocked_spin(f))
		fence_pend(f);
	else
		fence_complete(f);
}

bool viommu_fence_done(const struct viommu_fence *pub)
{
	return atomic_load(&fence_of_const(pub)->state) == DONE;
}

static void deadline_of(struct timespec *ts, int64_t timeout_ns)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += timeout_ns / 1000000000;
	ts->tv_nsec += timeout_ns % 1000000000;
	if (ts->tv_nsec >= 1000000000) {
		ts->tv_sec++;
		ts->tv_nsec -= 1000000000;
	}
}

int viommu_fence_wait(struct viommu_fence *pub, int64_t timeout_ns)
{
	struct fence *f = fence_of(pub);
	struct viommu *vi = f->vi;
	struct timespec ts = { 0 };
	int rc = 0;

	VI_BUG_ON(atomic_load(&f->state) == OPEN || f->done);
	if (atomic_load(&f->state) == DONE)
		return 0;
	if (timeout_ns >= 0)
		deadline_of(&ts, timeout_ns);
	vi_lock(&vi->pending_lock);
	while (atomic_load(&f->state) != DONE && !rc)
		rc = timeout_ns < 0
			     ? pthread_cond_wait(&vi->done, &vi->pending_lock.m)
			     : pthread_cond_timedwait(&vi->done,
						      &vi->pending_lock.m, &ts);
	rc = atomic_load(&f->state) == DONE ? 0 : -ETIMEDOUT;
	vi_unlock(&vi->pending_lock);
	return rc;
}

void viommu_fence_hold(struct viommu_fence *pub)
{
	struct fence *f = fence_of(pub);

	VI_BUG_ON(!f->vi || atomic_load(&f->state) == DONE);
	atomic_fetch_add(&f->holds, 1);
}

void viommu_fence_release(struct viommu_fence *pub)
{
	struct fence *f = fence_of(pub);
	struct viommu *vi = f->vi;

	if (atomic_fetch_sub(&f->holds, 1) == 1 && atomic_load(&vi->npending))
		vi_fence_settle(vi);
}
