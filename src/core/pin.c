/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See pin.h for the protocol; index.c has the maps that are not in seats.  The
 * registry of live instances serves one purpose: a thread that exits leaves
 * its seats, in whichever instances are still there.
 */
#include "core/pin.h"

#include <errno.h>

#include "base/range.h"
#include "core/endpoint.h"
#include "core/fence.h"
#include "core/index.h"
#include "core/instance.h"
#include "core/pin_fast.h"

enum {
	/* An asymmetric seat costs each commit some 1.5 us, a fenced one each
	 * publication some 6 ns: it pays up to one commit in 256. */
	TURN = 1024,
	TURN_COMMITS = TURN / 256,
};

__thread struct vi_hint vi_hints[VI_HINTS];

static struct vi_lock registry = VI_LOCK_INIT;
static struct vi_list instances = { &instances, &instances };
static uint64_t last_id;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int key_error;

static uintptr_t self(void)
{
	return (uintptr_t)&vi_hints;
}

static void thread_leave(void *unused)
{
	struct vi_list *l;

	(void)unused;
	vi_lock(&registry);
	vi_list_for_each (l, &instances) {
		struct viommu *vi = vi_list_of(l, struct viommu, instances);
		uint32_t n = atomic_load(&vi->seats_used);

		for (uint32_t i = 0; i < n; i++)
			if (atomic_load(&vi->seats[i].owner) == self())
				atomic_store(&vi->seats[i].owner, 0);
	}
	vi_unlock(&registry);
	for (int i = 0; i < VI_HINTS; i++)
		vi_hints[i].id = 0;
}

static void key_make(void)
{
	key_error = -pthread_key_create(&key, thread_leave);
}

int vi_seats_init(struct viommu *vi, uint32_t max_threads)
{
	pthread_once(&once, key_make);
	if (key_error)
		return -ENOMEM;
	vi->nseats = 1 + max_threads;
	vi->seats = vi_alloc(&vi->env, vi->nseats * sizeof(*vi->seats),
			     _Alignof(struct vi_seat));
	if (!vi->seats)
		return -ENOMEM;
	for (uint32_t i = 0; i < vi->nseats; i++) {
		struct vi_seat *seat = &vi->seats[i];

		seat->asymmetric = vi->barrier == VIOMMU_BARRIER_ASYMMETRIC;
		seat->until = TURN;
		vi_lock_init(&seat->lock);
		/* the first: no thread has this name, and heirs are published
		 * with a barrier */
		if (!i) {
			seat->owner = (uintptr_t)vi;
			seat->asymmetric = false;
		}
		for (int j = 0; j < VI_SEAT_PINS; j++)
			seat->pin[j].seat = seat;
	}
	atomic_store(&vi->seats_used, 1);
	vi_lock(&registry);
	vi->id = ++last_id;
	vi_list_add_tail(&instances, &vi->instances);
	vi_unlock(&registry);
	return 0;
}

void vi_seats_fini(struct viommu *vi)
{
	vi_lock(&registry);
	vi_list_remove(&vi->instances);
	vi_unlock(&registry);
	for (uint32_t i = 0; i < vi->nseats; i++)
		vi_lock_fini(&vi->seats[i].lock);
	vi_free(&vi->env, vi->seats);
}

bool vi_seats_asymmetric(struct viommu *vi)
{
	uint32_t n = atomic_load(&vi->seats_used);

	for (uint32_t i = 0; i < n; i++) {
		struct vi_seat *seat = &vi->seats[i];
		uintptr_t owner = atomic_load(&seat->owner);

		if (owner && owner != self() && atomic_load(&seat->asymmetric))
			return true;
	}
	return false;
}

/* ---- claiming --------------------------------------------------------- */

static struct vi_pin *seat_idle_pin(struct vi_seat *seat, uint32_t from)
{
	uint32_t used = atomic_load_explicit(&seat->used, memory_order_relaxed);

	for (uint32_t i = from; i < VI_SEAT_PINS; i++) {
		struct vi_pin *pin = &seat->pin[i];

		/* acquire: what its last user did is done */
		if (atomic_load_explicit(&pin->word, memory_order_acquire) &
		    VI_PIN_STATE)
			continue;
		/* sequentially consistent, as the publication that follows: a
		 * taker that sees the pin's word sees that it must look at it
		 */
		if (i >= used)
			atomic_store(&seat->used, i + 1);
		return pin;
	}
	return NULL;
}

/*
 * See to it that the thread leaves @seat when it exits.  With more than thirty
 * keys in the process libc allocates for it; if it cannot, there is no seat, or
 * it would be lost with its thread.
 */
static bool seat_keep(struct vi_seat *seat)
{
	if (!pthread_setspecific(key, seat))
		return true;
	/* pins that are held keep their word: the next owner sees it */
	atomic_store(&seat->owner, 0);
	return false;
}

/* This thread's seat, or a free one. */
static struct vi_seat *seat_take(struct viommu *vi)
{
	struct vi_hint *hint = &vi_hints[vi->id % VI_HINTS];
	uint32_t used = atomic_load(&vi->seats_used);
	struct vi_seat *mine = NULL;

	for (uint32_t i = 0; i < used && !mine; i++)
		if (atomic_load(&vi->seats[i].owner) == self())
			mine = &vi->seats[i];
	for (uint32_t i = 0; i < vi->nseats && !mine; i++) {
		struct vi_seat *seat = &vi->seats[i];
		uintptr_t nobody = 0;

		if (atomic_load(&seat->owner) ||
		    !atomic_compare_exchange_strong(&seat->owner, &nobody,
						    self()))
			continue;
		while (i >= used && !atomic_compare_exchange_weak(
					    &vi->seats_used, &used, i + 1))
			;
		if (!seat_keep(seat))
			return NULL;
		mine = seat;
	}
	if (mine) {
		/* vi_pin_ready() counts on it */
		if (!atomic_load(&mine->used))
			atomic_store(&mine->used, 1);
		hint->id = vi->id;
		hint->seat = mine;
	}
	return mine;
}

static struct vi_seat *seat_of_thread(struct viommu *vi)
{
	struct vi_seat *seat;

	return vi_seat_at_hand(vi, &seat) ? seat : seat_take(vi);
}

struct vi_pin *vi_pin_claim(struct viommu *vi)
{
	struct vi_seat *seat = seat_of_thread(vi);

	return VI_LIKELY(seat != NULL) ? seat_idle_pin(seat, 0) : NULL;
}

struct vi_pin *vi_pin_claim_long(struct viommu *vi)
{
	struct vi_seat *seat = seat_of_thread(vi);
	struct vi_pin *pin;

	if (VI_UNLIKELY(!seat))
		return NULL;
	pin = seat_idle_pin(seat, VI_SEAT_SHORT);
	return VI_LIKELY(pin != NULL) ? pin : seat_idle_pin(seat, 0);
}

/* ---- a pin's life ----------------------------------------------------- */

/*
 * AUTO: who shall pay?  Only the owner changes how its pins are published.  To
 * asymmetric it says so before the first plain store; to fenced after the last
 * one, with a full barrier between: a taker that finds the seat fenced sees
 * whatever was published otherwise.
 */
static void seat_choose(struct viommu *vi, struct vi_seat *seat)
{
	uint64_t commits =
		atomic_load_explicit(&vi->commits, memory_order_relaxed);

	seat->until = TURN;
	if (vi->barrier == VIOMMU_BARRIER_AUTO && vi->membarrier) {
		atomic_thread_fence(memory_order_seq_cst);
		atomic_store(&seat->asymmetric,
			     commits - seat->commits <= TURN_COMMITS);
		atomic_thread_fence(memory_order_seq_cst);
	}
	seat->commits = commits;
}

void vi_pin_publish(struct viommu *vi, struct vi_pin *pin,
		    const struct vi_extent *what)
{
	struct vi_seat *seat = pin->seat;

	if (VI_UNLIKELY(!--seat->until))
		seat_choose(vi, seat);
	vi_pin_write(vi, seat, pin, what);
}

void vi_pin_unpublish(struct vi_pin *pin)
{
	atomic_store_explicit(&pin->word,
			      vi_pin_word(pin) & ~(uint64_t)VI_PIN_STATE,
			      memory_order_release);
}

void vi_pin_keep_endpoint(struct viommu *vi, struct vi_pin *pin)
{
	VI_PIN_SET(pin->space, NULL);
	VI_PIN_SET(pin->mem, NULL);
	VI_PIN_SET(pin->prot, 0);
	vi_pin_step(vi, pin, VI_PIN_HELD);
	if (vi_fences_pend(vi))
		vi_fence_settle(vi, NULL);
}

void vi_pin_drop(struct viommu *vi, struct vi_pin *pin)
{
	vi_pin_step(vi, pin, VI_PIN_IDLE);
	if (vi_fences_pend(vi))
		vi_fence_settle(vi, NULL);
}

/* ---- maps ------------------------------------------------------------- */

static void held_drop(struct vi_held *h)
{
	if (h->pin)
		vi_pin_step(h->vi, h->pin, VI_PIN_IDLE);
	else
		vi_index_remove(h);
}

static void keep_undo(struct vi_held *h)
{
	held_drop(h);
	if (vi_fences_pend(h->vi) && VI_MUTANT != VI_MUTANT_NO_SETTLE)
		vi_fence_settle(h->vi, h);
}

void vi_pin_let_go(struct vi_held *h)
{
	struct viommu *vi = h->vi;

	held_drop(h);
	if (vi_fences_pend(vi))
		vi_fence_settle(vi, h);
}

bool vi_pin_kept(struct vi_held *h)
{
	struct viommu *vi = h->vi;

	if (VI_UNLIKELY(vi_fences_pend(vi))) {
		/* one that pends and is not older was committed since the look
		 * began, and may have asked before this map was to be found */
		if (VI_MUTANT != VI_MUTANT_NO_RELOOK && vi_fence_waits(vi, h)) {
			keep_undo(h);
			return false;
		}
		vi_fence_settle(vi, NULL); /* BUSY went, or was narrowed */
	}
	/* the caller's, from here on: it may be asked, and gone */
	if (VI_LIKELY(h->pin || vi_index_ripen(h)))
		return true;
	keep_undo(h);
	return false;
}

bool vi_pin_keep(struct vi_pin *pin, struct viommu_dma *d, uint64_t gpa,
		 uint64_t gpa_last)
{
	struct vi_held *h = vi_held_of(d);

	h->vi = d->ep->vi;
	h->seat = pin->seat;
	if (pin - h->seat->pin < VI_SEAT_SHORT || d->revoke ||
	    (h->scattered && (d->prot & VIOMMU_WRITE))) {
		h->pin = NULL;
		vi_index_add(pin, d, gpa, gpa_last);
		vi_pin_step(h->vi, pin, VI_PIN_IDLE);
	} else {
		vi_held_in_pin(pin, d, gpa, gpa_last);
	}
	return vi_pin_kept(h);
}

/* ---- the taker's side ------------------------------------------------- */

/* An access may touch any GPA that its IOVAs lead to. */
static bool memory_hits(const struct vi_extent *what, const struct vi_pin *pin,
			uint64_t word)
{
	if (VI_PIN_GET(pin->mem) != what->mem)
		return false;
	if ((word & VI_PIN_STATE) == VI_PIN_HELD)
		return vi_overlap(what->start, what->last, VI_PIN_GET(pin->gpa),
				  VI_PIN_GET(pin->gpa_last));
	return VI_PIN_GET(pin->space) ||
	       vi_overlap(what->start, what->last, VI_PIN_GET(pin->start),
			  VI_PIN_GET(pin->last));
}

static bool extent_hits(const struct vi_extent *what, const struct vi_pin *pin,
			uint64_t word)
{
	if (what->mem)
		return memory_hits(what, pin, word);
	if (what->space && VI_PIN_GET(pin->space) != what->space)
		return false;
	if (what->ep && VI_PIN_GET(pin->ep) != what->ep)
		return false;
	return vi_overlap(what->start, what->last, VI_PIN_GET(pin->start),
			  VI_PIN_GET(pin->last));
}

static bool pin_hit(const struct vi_pin *pin, uint64_t word,
		    const struct vi_taking *t)
{
	if (VI_PIN_GET(pin->seq) > t->seq)
		return false;
	if (t->writers && (word & VI_PIN_STATE) == VI_PIN_HELD &&
	    !(VI_PIN_GET(pin->prot) & VIOMMU_WRITE))
		return false;
	if (t->grace && (word & VI_PIN_STATE) == VI_PIN_BUSY)
		return true;
	for (unsigned i = 0; i < t->n; i++)
		if (extent_hits(&t->what[i], pin, word))
			return true;
	return false;
}

bool vi_pin_blocks(const struct vi_pin *pin, const struct vi_taking *t)
{
	uint64_t word = VI_PIN_GET(pin->word), again;
	bool hit;

	for (; word & VI_PIN_STATE; word = again) {
		hit = pin_hit(pin, word, t);
		again = VI_PIN_GET(pin->word);
		/* same occupation, and not over: what was read is its */
		if (again == word)
			return hit;
	}
	return false;
}

bool vi_held_blocks(const struct vi_held *h, const struct vi_taking *t)
{
	return h->pin ? vi_pin_blocks(h->pin, t) : vi_index_blocks(h, t);
}

bool vi_pin_find(struct viommu *vi, const struct vi_taking *t,
		 struct vi_blocker *out)
{
	uint32_t nseats = atomic_load(&vi->seats_used);

	*out = (struct vi_blocker){ NULL, NULL };
	for (uint32_t i = 0; i < nseats; i++) {
		struct vi_seat *seat = &vi->seats[i];
		uint32_t npins = atomic_load(&seat->used);

		for (uint32_t j = 0; j < npins; j++)
			if (vi_pin_blocks(&seat->pin[j], t)) {
				out->pin = &seat->pin[j];
				return true;
			}
		/* after the pins: a map goes from there to here */
		if (atomic_load(&seat->spilled)) {
			out->held = vi_index_find(seat, t);
			if (out->held)
				return true;
		}
	}
	return false;
}

void vi_pin_revoke(struct viommu *vi, const struct vi_taking *t)
{
	uint32_t nseats = atomic_load(&vi->seats_used);

	for (uint32_t i = 0; i < nseats; i++)
		if (atomic_load(&vi->seats[i].spilled))
			vi_index_revoke(vi, &vi->seats[i], t);
}

/* ---- inheriting ------------------------------------------------------- */

static void publish_heir(struct vi_pin *pin, uint64_t seq,
			 struct viommu_endpoint *ep)
{
	uint64_t word = (vi_pin_word(pin) & ~(uint64_t)VI_PIN_STATE) +
			(VI_PIN_STATE + 1) + VI_PIN_HELD;

	VI_PIN_SET(pin->seq, seq);
	VI_PIN_SET(pin->space, NULL);
	VI_PIN_SET(pin->ep, ep);
	VI_PIN_SET(pin->mem, NULL);
	VI_PIN_SET(pin->prot, 0);
	VI_PIN_SET(pin->start, 0);
	VI_PIN_SET(pin->last, UINT64_MAX);
	atomic_store(&pin->word, word);
}

/*
 * A taker may have passed @pin before it was published, and pass @from after
 * that is gone: it would see neither.  So takers who found nobody look again if
 * `heirs` was raised since they began; and one that read it before saw @from,
 * if it was there, before we look whether it is (core/fence.c).
 */
static bool pin_inherit(struct viommu *vi, struct vi_pin *pin,
			const struct vi_pin *from, const struct vi_taking *t,
			struct vi_extent *out)
{
	while (vi_pin_blocks(from, t)) {
		uint64_t word = VI_PIN_GET(from->word);

		*out = (struct vi_extent){
			.ep = VI_PIN_GET(from->ep),
			.start = VI_PIN_GET(from->start),
			.last = VI_PIN_GET(from->last),
		};
		if (!out->ep || !(word & VI_PIN_STATE))
			break;
		publish_heir(pin, VI_PIN_GET(from->seq), out->ep);
		atomic_fetch_add(&vi->heirs, 1);
		if (atomic_load(&from->word) == word)
			return true;
		/* over, or held now: nobody believes the heir of something
		 * that was not */
		vi_pin_unpublish(pin);
	}
	return false;
}

static bool held_inherit(struct viommu *vi, struct vi_pin *pin,
			 struct vi_seat *seat, const struct vi_taking *t,
			 struct vi_extent *out)
{
	const struct vi_held *h;

	vi_lock(&seat->lock);
	h = vi_index_find_locked(seat, t);
	if (h) {
		*out = (struct vi_extent){
			.ep = h->d->ep,
			.start = h->by_space.start,
			.last = h->by_space.last,
		};
		publish_heir(pin, h->seq, out->ep);
		atomic_fetch_add(&vi->heirs, 1);
	}
	vi_unlock(&seat->lock);
	return h;
}

static bool seat_inherit(struct viommu *vi, struct vi_pin *pin,
			 struct vi_seat *seat, const struct vi_taking *t,
			 struct vi_extent *out)
{
	uint32_t npins = atomic_load(&seat->used);

	for (uint32_t i = 0; i < npins; i++)
		if (pin_inherit(vi, pin, &seat->pin[i], t, out))
			return true;
	return atomic_load(&seat->spilled) &&
	       held_inherit(vi, pin, seat, t, out);
}

struct vi_pin *vi_pin_inherit(struct viommu *vi, const struct vi_taking *t,
			      struct vi_extent *out)
{
	struct vi_pin *pin = seat_idle_pin(&vi->seats[0], 0);
	uint32_t nseats = atomic_load(&vi->seats_used);

	/* not from another heir: those go by themselves */
	for (uint32_t i = 1; pin && i < nseats; i++)
		if (seat_inherit(vi, pin, &vi->seats[i], t, out))
			return pin;
	return NULL;
}

struct vi_pin *vi_pin_inherit_endpoint(struct viommu *vi,
				       struct viommu_endpoint *ep)
{
	struct vi_pin *pin = seat_idle_pin(&vi->seats[0], 0);

	if (pin) {
		publish_heir(pin, 0, ep);
		atomic_fetch_add(&vi->heirs, 1);
	}
	return pin;
}

/* ---- for moves -------------------------------------------------------- */

static bool pin_holds(const struct vi_pin *pin, const struct vi_taking *t,
		      const struct viommu_endpoint *ep)
{
	return (VI_PIN_GET(pin->word) & VI_PIN_STATE) == VI_PIN_HELD &&
	       (!ep || VI_PIN_GET(pin->ep) == ep) && vi_pin_blocks(pin, t);
}

static bool seat_holds(struct vi_seat *seat, const struct vi_taking *t,
		       const struct viommu_endpoint *ep)
{
	uint32_t npins = atomic_load(&seat->used);

	for (uint32_t j = 0; j < npins; j++)
		if (pin_holds(&seat->pin[j], t, ep))
			return true;
	return atomic_load(&seat->spilled) && vi_index_holds(seat, t, ep);
}

bool vi_pin_holds(struct viommu *vi, const struct vi_taking *t,
		  const struct viommu_endpoint *ep)
{
	uint32_t nseats = atomic_load(&vi->seats_used);
	struct vi_seat *mine = seat_of_thread(vi);

	for (uint32_t i = 0; i < nseats; i++) {
		struct vi_seat *seat = &vi->seats[i];

		if (seat_holds(seat, t, seat == mine ? NULL : ep))
			return true;
	}
	return false;
}

/* ---- for the dirty log ------------------------------------------------ */

static void pin_writer(const struct vi_pin *pin,
		       const struct viommu_memory *mem, vi_writer_fn *fn,
		       void *arg)
{
	uint64_t word = VI_PIN_GET(pin->word), again;

	for (; (word & VI_PIN_STATE) == VI_PIN_HELD; word = again) {
		struct vi_writer w = { .gpa = VI_PIN_GET(pin->gpa),
				       .last = VI_PIN_GET(pin->gpa_last) };
		bool writes = VI_PIN_GET(pin->mem) == mem &&
			      (VI_PIN_GET(pin->prot) & VIOMMU_WRITE);

		again = VI_PIN_GET(pin->word);
		if (again != word)
			continue;
		if (writes)
			fn(arg, &w);
		return;
	}
}

void vi_pin_writers(struct viommu *vi, struct viommu_memory *mem,
		    vi_writer_fn *fn, void *arg)
{
	uint32_t nseats = atomic_load(&vi->seats_used);

	for (uint32_t i = 0; i < nseats; i++) {
		struct vi_seat *seat = &vi->seats[i];
		uint32_t npins = atomic_load(&seat->used);

		for (uint32_t j = 0; j < npins; j++)
			pin_writer(&seat->pin[j], mem, fn, arg);
		if (atomic_load(&seat->spilled))
			vi_index_writers(seat, mem, fn, arg);
	}
}
