/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fences.  L1: gather.  L2 and L3: commit takes a number, makes the taker's
 * order (pin.h, first pair) and looks at the pins.  None in the way: done,
 * with no lock and no system call.  One in the way: it is an access, which is
 * over in a moment, so spin that long; then join the pending list, make the
 * second pair's order, ask the maps in the way that can be asked, and look
 * again.  From there on whoever drops a pin settles: it takes the pending lock
 * and looks for those that are done.
 *
 * L9: a pending fence has a deadline.  When it passes, somebody who polls finds
 * who is in the way and inherits from it (pin.h), so that the endpoint lives
 * while its handler decides.  If the endpoint is given up the fence has failed,
 * and says so; it stays pending until it is done all the same (L3).
 *
 * L5: a fence has room for seven extents.  An eighth widens one of the same
 * space, or else the fence takes everything: wider, never early (L4).
 *
 * State: OPEN -> COMMITTED -> DONE.  Nothing touches a fence after DONE is
 * stored, since its storage may be gone: with a callback DONE is stored before
 * the call, without one under the pending lock that waiters hold.
 *
 * Locks: the pending list is the pending lock's, and what is marked so below;
 * the rest is the caller's until commit, and the settler's from the moment it
 * took the fence off the list.  Callbacks run with no lock held.
 */
#include "core/fence.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/barrier.h"
#include "base/probe.h"
#include "base/range.h"
#include "core/endpoint.h"
#include "core/hold.h"
#include "core/instance.h"
#include "core/move.h"

enum {
	EXTENTS = 7,
	SPINS = VI_SPINS, /* some microseconds: longer than a short access */
	RETRY_NS = 1000000,
};

enum {
	OPEN,
	COMMITTED,
	DONE
};

struct fence {
	struct viommu *vi; /* NULL: gathered nothing */
	uint64_t seq;
	viommu_fence_fn *done, *failed;
	void *arg;
	struct vi_list pending;
	struct vi_retire *retired;
	struct vi_blocker blocker; /* the last one found in the way */
	uint64_t timeout;	   /* 0: the instance's */
	uint64_t since;		   /* when it had to wait, or 0 */
	uint64_t deadline;	   /* VI_GUARDED(pending_lock) */
	/* when to look whether the endpoint in the way was given up already:
	 * the deadline, or before.  VI_GUARDED(pending_lock) */
	uint64_t due;
	_Atomic(uint32_t) state;
	_Atomic(uint32_t) holds;
	uint32_t n;
	_Atomic(bool) has_failed;
	_Atomic(bool) doomed; /* what it is held for has */
	bool writers;	      /* ... only are in its way, of held maps */
	bool move;	      /* it is a move's own */
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
	if (!what)
		return;
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

void vi_fence_writers_only(struct viommu_fence *pub)
{
	fence_of(pub)->writers = true;
}

void vi_fence_of_move(struct viommu_fence *pub, const struct viommu_fence *f)
{
	fence_of(pub)->move = true;
	if (f)
		fence_of(pub)->timeout = fence_of_const(f)->timeout;
}

/* ---- done ------------------------------------------------------------- */

static struct vi_taking taking_of(const struct fence *f)
{
	return (struct vi_taking){
		.seq = f->seq,
		.what = f->what,
		.n = f->n,
		.grace = f->retired && VI_MUTANT != VI_MUTANT_NO_GRACE,
		.writers = f->writers,
	};
}

/* The pin that was in the way is, still.  A spilled map that has not just gone
 * is, too: whoever takes it out settles. */
static bool blocker_stays(struct fence *f, const struct vi_held *gone)
{
	struct vi_taking t = taking_of(f);

	if (f->blocker.pin)
		return vi_pin_blocks(f->blocker.pin, &t);
	return f->blocker.held && f->blocker.held != gone;
}

/*
 * A scan that found nobody is repeated if a pin was inherited meanwhile
 * (vi_pin_inherit()).
 */
static bool pins_find(struct viommu *vi, const struct vi_taking *t,
		      struct vi_blocker *out)
{
	uint64_t heirs;

	do {
		heirs = atomic_load(&vi->heirs);
		VI_WINDOW();
		if (vi_pin_find(vi, t, out))
			return true;
		VI_WINDOW();
	} while (VI_MUTANT != VI_MUTANT_NO_HEIRS &&
		 heirs != atomic_load(&vi->heirs));
	return false;
}

bool vi_fence_clear(struct viommu *vi, const struct vi_taking *t)
{
	struct vi_blocker unused;

	return !pins_find(vi, t, &unused);
}

static bool fence_blocked(struct fence *f)
{
	struct vi_taking t = taking_of(f);

	if (VI_MUTANT == VI_MUTANT_NO_WAIT)
		return false;
	return atomic_load(&f->holds) || pins_find(f->vi, &t, &f->blocker);
}

static bool fence_blocked_still(struct fence *f, const struct vi_held *gone)
{
	bool had = f->blocker.pin || f->blocker.held;

	if (VI_MUTANT != VI_MUTANT_NO_WAIT && blocker_stays(f, gone))
		return true;
	if (VI_MUTANT == VI_MUTANT_EARLY_DROP && had)
		return false;
	f->blocker = (struct vi_blocker){ NULL, NULL };
	return fence_blocked(f);
}

/* Some shadow still has what was taken, and nobody told it again. */
static bool hold_blocks_locked(struct viommu *vi, const struct fence *f)
	VI_REQUIRES(&vi->pending_lock)
{
	struct vi_taking t = taking_of(f);
	struct vi_extent unused;

	return vi_hold_find_locked(vi, NULL, &t, &unused);
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

/* For how long it has waited.  A clock may begin at 0, which f->since cannot.
 */
static uint64_t since(const struct fence *f, uint64_t now)
{
	return now > f->since ? now - f->since : 0;
}

/* It had to wait: count how long, and tell those who wait for it. */
static void waited_complete(struct fence *f)
{
	struct viommu *vi = f->vi;
	uint64_t waited = since(f, vi_clock(&vi->env));

	VI_PROBE3(fence_done, f, waited, atomic_load(&f->has_failed));
	vi_lock(&vi->pending_lock);
	vi->waits[wait_bucket(waited)]++;
	vi->wait_max = vi_max(vi->wait_max, waited);
	if (!f->done) {
		atomic_store(&f->state, DONE);
		vi_signal_all(&vi->done);
	}
	vi_unlock(&vi->pending_lock);
}

static void fence_complete(struct fence *f)
{
	struct viommu_fence *pub = (struct viommu_fence *)(void *)f;
	viommu_fence_fn *done = f->done;
	void *arg = f->arg;

	vi_retire_free(f->retired);
	f->retired = NULL;
	if (f->since)
		waited_complete(f);
	else if (!done)
		atomic_store(&f->state, DONE); /* nobody waits yet */
	if (done) {
		atomic_store(&f->state, DONE);
		done(pub, arg);
	}
}

/*
 * What somebody found to be done, and is telling of one by one.  On his stack,
 * and in vi->settling: others take moves' fences from there, so that none comes
 * after a callback that waits for it.
 */
struct settling {
	struct vi_list link;
	struct vi_list moves, ready;
};

static struct fence *take_first(struct vi_list *l)
{
	struct fence *f;

	if (vi_list_empty(l))
		return NULL;
	f = vi_list_of(l->next, struct fence, pending);
	vi_list_remove(&f->pending);
	return f;
}

/* The next of its own; NULL: there are no more, and it is out of the list. */
static struct fence *settling_next(struct viommu *vi, struct settling *s)
{
	struct fence *f;

	vi_lock(&vi->pending_lock);
	f = take_first(&s->moves);
	if (!f)
		f = take_first(&s->ready);
	if (!f)
		vi_list_remove(&s->link);
	vi_unlock(&vi->pending_lock);
	return f;
}

/* A move's, anybody's. */
static struct fence *settling_move(struct viommu *vi)
{
	struct fence *f = NULL;
	struct vi_list *l;

	vi_lock(&vi->pending_lock);
	vi_list_for_each (l, &vi->settling) {
		f = take_first(&vi_list_of(l, struct settling, link)->moves);
		if (f)
			break;
	}
	vi_unlock(&vi->pending_lock);
	return f;
}

void vi_fence_help(struct viommu *vi)
{
	struct fence *f;

	while ((f = settling_move(vi)))
		fence_complete(f);
}

void vi_fence_settle(struct viommu *vi, const struct vi_held *gone)
{
	struct vi_list *l, *next;
	struct settling s;
	struct fence *done;

	vi_list_init(&s.moves);
	vi_list_init(&s.ready);
	vi_lock(&vi->pending_lock);
	for (l = vi->pending.next; l != &vi->pending; l = next) {
		struct fence *f = vi_list_of(l, struct fence, pending);

		next = l->next;
		if (hold_blocks_locked(vi, f) || fence_blocked_still(f, gone))
			continue;
		vi_list_remove(l);
		/* those without a callback first: callbacks may take long, and
		 * may wait for one of them */
		vi_list_add_tail(f->move   ? &s.moves
				 : f->done ? &s.ready
					   : s.ready.next,
				 l);
		atomic_fetch_sub(&vi->npending, 1);
	}
	vi_list_add_tail(&vi->settling, &s.link);
	vi_unlock(&vi->pending_lock);
	while ((done = settling_next(vi, &s)))
		fence_complete(done);
}

bool vi_fence_waits(struct viommu *vi, const struct vi_held *h)
{
	bool waits = false;
	struct vi_list *l;

	vi_lock(&vi->pending_lock);
	vi_list_for_each (l, &vi->pending) {
		struct vi_taking t =
			taking_of(vi_list_of(l, struct fence, pending));

		waits = waits || vi_held_blocks(h, &t);
	}
	vi_unlock(&vi->pending_lock);
	return waits;
}

/* ---- commit ----------------------------------------------------------- */

void viommu_fence_set_timeout(struct viommu_fence *pub, uint64_t timeout_ns)
{
	VI_BUG_ON(atomic_load(&fence_of(pub)->state) != OPEN);
	fence_of(pub)->timeout = timeout_ns;
}

void viommu_fence_set_failed(struct viommu_fence *pub, viommu_fence_fn *failed)
{
	VI_BUG_ON(atomic_load(&fence_of(pub)->state) != OPEN);
	fence_of(pub)->failed = failed;
}

uint64_t vi_fence_number(struct viommu *vi)
{
	VI_WINDOW();
	atomic_thread_fence(memory_order_seq_cst);
	/* a thread that takes its seat from here on does so by a sequentially
	 * consistent operation, after which it looks */
	if (VI_MUTANT != VI_MUTANT_NO_MEMBARRIER && vi_seats_asymmetric(vi))
		vi_membarrier();
	return atomic_fetch_add(&vi->commits, 1);
}

/* An access in the way is over sooner than we would be asleep. */
static bool pins_block_spin(struct fence *f)
{
	for (int i = 0; i < SPINS; i++) {
		const struct vi_pin *pin;

		if (!fence_blocked_still(f, NULL))
			return false;
		pin = f->blocker.pin;
		if (!pin ||
		    (atomic_load(&pin->word) & VI_PIN_STATE) == VI_PIN_HELD)
			return true;
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#endif
	}
	return true;
}

static bool fence_blocked_spin(struct fence *f)
{
	struct vi_taking t = taking_of(f);

	if (VI_MUTANT == VI_MUTANT_HOLD_PINS_FIRST)
		return pins_block_spin(f) || vi_hold_blocks(f->vi, &t);
	/* holds first: from one that is found and gone since, a pin may have
	 * been inherited */
	return vi_hold_blocks(f->vi, &t) || pins_block_spin(f);
}

static uint64_t later(uint64_t now, uint64_t ns)
{
	return ns < UINT64_MAX - now ? now + ns : UINT64_MAX;
}

static uint64_t timeout_of(const struct fence *f)
{
	return f->timeout ? f->timeout : f->vi->fence_timeout;
}

static void fence_pend(struct fence *f)
{
	struct vi_extent what[EXTENTS];
	struct vi_taking t = taking_of(f);
	struct viommu *vi = f->vi;

	f->since = vi_max(vi_clock(&vi->env), 1);
	f->deadline = later(f->since, timeout_of(f));
	f->due = atomic_load(&vi->given_up) ? f->since : f->deadline;
	/* what was found may be gone by the time that drops tell us */
	f->blocker = (struct vi_blocker){ NULL, NULL };
	VI_PROBE3(fence_wait, f, f->what[0].start, f->what[0].last);
	atomic_fetch_add_explicit(&vi->fences_waited, 1, memory_order_relaxed);
	memcpy(what, f->what, f->n * sizeof(what[0]));
	t.what = what;
	vi_lock(&vi->pending_lock);
	vi_list_add_tail(&vi->pending, &f->pending);
	atomic_fetch_add(&vi->npending, 1);
	vi_unlock(&vi->pending_lock);
	/* f may be done, and gone, as soon as somebody settles */
	if (vi->membarrier)
		vi_membarrier();
	else
		atomic_thread_fence(memory_order_seq_cst);
	vi_pin_revoke(vi, &t);
	vi_fence_settle(vi, NULL);
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
	VI_PROBE3(fence_commit, f, f->what[0].start, f->what[0].last);
	atomic_fetch_add_explicit(&vi->fences, 1, memory_order_relaxed);
	atomic_store(&f->state, COMMITTED);
	f->seq = vi_fence_number(vi);
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

/* ---- waiting ---------------------------------------------------------- */

/* On CLOCK_MONOTONIC, in nanoseconds: what conditions go by. */
static uint64_t monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* When, on the instance's clock, to when on ours.  What has passed and is still
 * there: nobody could look, try again. */
static uint64_t wake_at(struct viommu *vi, uint64_t due)
{
	uint64_t now;

	if (due == UINT64_MAX)
		return UINT64_MAX;
	now = vi_clock(&vi->env);
	return later(monotonic(), due > now ? due - now : RETRY_NS);
}

/* Sleep until the fence may be done, failed or overdue, or @until has come. */
static void wait_locked(struct viommu *vi, struct fence *f, uint64_t until)
	VI_REQUIRES(&vi->pending_lock)
{
	vi_wait_until(&vi->done, &vi->pending_lock,
		      vi_min(until, wake_at(vi, f->due)));
}

void vi_fence_look(struct viommu *vi)
{
	if (vi_fence_deadline(vi) <= vi_clock(&vi->env))
		vi_fence_expire(vi, vi_clock(&vi->env));
}

uint64_t vi_fence_wake(struct viommu *vi)
{
	return wake_at(vi, vi_fence_deadline(vi));
}

int viommu_fence_wait(struct viommu_fence *pub, int64_t timeout_ns)
{
	struct fence *f = fence_of(pub);
	struct viommu *vi = f->vi;
	uint64_t until = timeout_ns < 0
				 ? UINT64_MAX
				 : later(monotonic(), (uint64_t)timeout_ns);
	int rc = -EAGAIN;

	VI_BUG_ON(atomic_load(&f->state) == OPEN || f->done);
	while (rc == -EAGAIN) {
		if (atomic_load(&f->state) == DONE)
			return 0;
		vi_fence_look(vi);
		vi_lock(&vi->pending_lock);
		if (atomic_load(&f->state) == DONE)
			rc = 0;
		else if (atomic_load(&f->has_failed))
			rc = -ECANCELED;
		else if (until != UINT64_MAX && monotonic() >= until)
			rc = -ETIMEDOUT;
		else
			wait_locked(vi, f, until);
		vi_unlock(&vi->pending_lock);
	}
	return rc;
}

void viommu_fence_hold(struct viommu_fence *pub)
{
	struct fence *f = fence_of(pub);

	VI_BUG_ON(!f->vi || atomic_load(&f->state) == DONE);
	atomic_fetch_add(&f->holds, 1);
}

void vi_fence_unhold(struct viommu_fence *pub)
{
	atomic_fetch_sub(&fence_of(pub)->holds, 1);
}

void viommu_fence_release(struct viommu_fence *pub)
{
	struct fence *f = fence_of(pub);
	struct viommu *vi = f->vi;

	if (atomic_fetch_sub(&f->holds, 1) == 1 && atomic_load(&vi->npending))
		vi_fence_settle(vi, NULL);
}

/* ---- deadlines -------------------------------------------------------- */

uint64_t vi_fence_deadline(struct viommu *vi)
{
	uint64_t first = UINT64_MAX;
	struct vi_list *l;

	if (!atomic_load(&vi->npending))
		return UINT64_MAX;
	vi_lock(&vi->pending_lock);
	vi_list_for_each (l, &vi->pending)
		first = vi_min(first,
			       vi_list_of(l, struct fence, pending)->due);
	vi_unlock(&vi->pending_lock);
	return first;
}

/* A fence that is due, and held, so that it is not done before it has been told
 * whether it failed; and who is in its way. */
struct overdue {
	struct fence *f;
	bool expired; /* not only due */
	struct viommu_expiry expiry;
	/* NULL: nobody who could be asked */
	struct viommu_endpoint *ep;
	struct vi_pin *heir;
};

/* No pin is in the way, but perhaps a notifier's hold. */
static struct vi_pin *hold_inherit_locked(struct viommu *vi, struct fence *f,
					  struct vi_extent *out)
	VI_REQUIRES(&vi->pending_lock)
{
	const struct viommu_fence *pub = (struct viommu_fence *)(void *)f;
	struct vi_taking t = taking_of(f);

	if (!vi_hold_find_locked(vi, pub, &t, out))
		return NULL;
	return vi_pin_inherit_endpoint(vi, out->ep);
}

/* Take one; its time is set anew. */
static bool overdue_take(struct viommu *vi, uint64_t now, struct overdue *out)
{
	struct vi_extent held = { 0 };
	struct fence *f = NULL;
	struct vi_list *l;

	vi_lock(&vi->pending_lock);
	vi_list_for_each (l, &vi->pending) {
		f = vi_list_of(l, struct fence, pending);
		if (f->due <= now)
			break;
	}
	if (l != &vi->pending) {
		struct vi_taking t = taking_of(f);

		*out = (struct overdue){
			.f = f,
			.expired = f->deadline <= now,
			.expiry.waited_ns = since(f, now),
		};
		atomic_fetch_add(&f->holds, 1);
		if (out->expired)
			f->deadline = later(now, timeout_of(f));
		f->due = f->deadline;
		out->heir = vi_pin_inherit(vi, &t, &held);
		if (!out->heir)
			out->heir = hold_inherit_locked(vi, f, &held);
		out->ep = held.ep;
		out->expiry.start = held.start;
		out->expiry.last = held.last;
	}
	vi_unlock(&vi->pending_lock);
	return l != &vi->pending;
}

/* Its deadline passed, or not.  Is the endpoint in its way given up? */
static bool overdue_ask(struct viommu *vi, struct overdue *o)
{
	bool given_up;

	if (o->expired)
		atomic_fetch_add_explicit(&vi->expired, 1,
					  memory_order_relaxed);
	VI_PROBE3(fence_expire, o->f, o->expiry.waited_ns, o->ep);
	if (atomic_load(&o->f->doomed) && o->expired)
		return true;
	if (!o->heir)
		return false;
	/* this fence may be what its handler would wait for */
	vi_nowait_begin();
	given_up = vi_endpoint_expire(o->ep, &o->expiry, o->expired);
	vi_nowait_end();
	return given_up;
}

/* Once, whoever comes first: several may poll, and have asked. */
static void overdue_fail(struct viommu *vi, struct fence *f)
{
	bool again;

	vi_lock(&vi->pending_lock);
	again = atomic_exchange(&f->has_failed, true);
	f->due = f->deadline = UINT64_MAX;
	vi_signal_all(&vi->done);
	vi_unlock(&vi->pending_lock);
	if (again)
		return;
	atomic_fetch_add_explicit(&vi->fences_failed, 1, memory_order_relaxed);
	VI_PROBE1(fence_failed, f);
	if (f->failed)
		f->failed((struct viommu_fence *)(void *)f, f->arg);
}

void vi_fence_fail(struct viommu_fence *pub)
{
	struct fence *f = fence_of(pub);

	/* one that is its owner's still fails at its deadline */
	atomic_store(&f->doomed, true);
	if (atomic_load(&f->state) == COMMITTED)
		overdue_fail(f->vi, f);
}

static void overdue_handle(struct viommu *vi, struct overdue *o)
{
	bool failed = overdue_ask(vi, o);

	/* before it is told, so that whoever is can let the endpoint recover */
	if (o->heir)
		vi_pin_drop(vi, o->heir);
	if (failed)
		overdue_fail(vi, o->f);
	/* settles, also after an heir that was unpublished */
	viommu_fence_release((struct viommu_fence *)(void *)o->f);
}

void vi_fence_expire(struct viommu *vi, uint64_t now)
{
	struct overdue o = { 0 };

	if (VI_MUTANT == VI_MUTANT_EARLY_DEADLINE)
		now = later(now, 1000);
	/* UINT64_MAX is no time, but never: that of fences that have failed */
	now = vi_min(now, UINT64_MAX - 1);
	while (vi_fence_deadline(vi) <= now && overdue_take(vi, now, &o))
		overdue_handle(vi, &o);
}
