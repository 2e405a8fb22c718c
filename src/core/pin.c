/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See pin.h for the protocol.  The registry of live instances serves one
 * purpose: a thread that exits leaves its seats, in whichever instances are
 * still there.
 */
#include "core/pin.h"

#include <errno.h>

#include "base/range.h"
#include "core/fence.h"
#include "core/instance.h"

enum {
	HINTS = 4, /* instances that a thread finds its seat in at once */
};

/* A thread's seats.  Its address is the thread's name. */
static __thread struct hint {
	uint64_t id; /* of the instance; 0: none */
	struct vi_seat *seat;
} hints[HINTS] __attribute__((tls_model("initial-exec")));

static struct vi_lock registry = VI_LOCK_INIT;
static struct vi_list instances = { &instances, &instances };
static uint64_t last_id;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int key_error;

static uintptr_t self(void)
{
	return (uintptr_t)&hints;
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
	for (int i = 0; i < HINTS; i++)
		hints[i].id = 0;
}

static void key_make(void)
{
	key_error = -pthread_key_create(&key, thread_leave);
}

int vi_seats_init(struct viommu *vi, uint32_t max_pins)
{
	pthread_once(&once, key_make);
	if (key_error)
		return -ENOMEM;
	vi->nseats = (max_pins + VI_SEAT_PINS - 1) / VI_SEAT_PINS;
	vi->seats = vi_alloc(&vi->env, vi->nseats * sizeof(*vi->seats),
			     _Alignof(struct vi_seat));
	if (!vi->seats)
		return -ENOMEM;
	for (uint32_t i = 0; i < vi->nseats; i++)
		for (int j = 0; j < VI_SEAT_PINS; j++)
			vi->seats[i].pin[j].seat = &vi->seats[i];
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
	vi_free(&vi->env, vi->seats);
}

bool vi_seats_others(struct viommu *vi)
{
	uint32_t n = atomic_load(&vi->seats_used);

	for (uint32_t i = 0; i < n; i++) {
		uintptr_t owner = atomic_load(&vi->seats[i].owner);

		if (owner && owner != self())
			return true;
	}
	return false;
}

/* ---- claiming --------------------------------------------------------- */

static struct vi_pin *seat_idle_pin(struct vi_seat *seat)
{
	uint32_t used = atomic_load_explicit(&seat->used, memory_order_relaxed);

	for (uint32_t i = 0; i < VI_SEAT_PINS; i++) {
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

/* A seat of this thread, or a free one, that has an idle pin. */
static struct vi_pin *seat_take(struct viommu *vi, struct hint *hint)
{
	uint32_t used = atomic_load(&vi->seats_used);
	struct vi_pin *pin;

	for (uint32_t i = 0; i < vi->nseats; i++) {
		struct vi_seat *seat = &vi->seats[i];
		uintptr_t owner = atomic_load(&seat->owner);

		if (owner && owner != self())
			continue;
		if (!owner && !atomic_compare_exchange_strong(&seat->owner,
							      &owner, self()))
			continue;
		while (i >= used && !atomic_compare_exchange_weak(
					    &vi->seats_used, &used, i + 1))
			;
		if (!seat_keep(seat))
			return NULL;
		pin = seat_idle_pin(seat);
		if (pin) {
			hint->id = vi->id;
			hint->seat = seat;
			return pin;
		}
	}
	return NULL;
}

struct vi_pin *vi_pin_claim(struct viommu *vi)
{
	struct hint *hint = &hints[vi->id % HINTS];
	struct vi_pin *pin;

	if (VI_LIKELY(hint->id == vi->id)) {
		pin = seat_idle_pin(hint->seat);
		if (VI_LIKELY(pin != NULL))
			return pin;
	}
	return seat_take(vi, hint);
}

/* ---- a pin's life ----------------------------------------------------- */

/* Release: a taker that reads the new value sees at least that the former
 * occupation is over. */
#define PIN_SET(field, val) \
	atomic_store_explicit(&(field), (val), memory_order_release)
#define PIN_GET(field) atomic_load_explicit(&(field), memory_order_acquire)

static uint64_t pin_word(const struct vi_pin *pin)
{
	return atomic_load_explicit(&pin->word, memory_order_relaxed);
}

void vi_pin_publish(struct viommu *vi, struct vi_pin *pin,
		    const struct vi_extent *what)
{
	uint64_t word = (pin_word(pin) & ~(uint64_t)VI_PIN_STATE) +
			(VI_PIN_STATE + 1) + VI_PIN_BUSY;

	/* acquire: an access that began after a commit, by this number, sees
	 * the table as it was changed */
	PIN_SET(pin->seq, PIN_GET(vi->commits));
	PIN_SET(pin->space, what->space);
	PIN_SET(pin->ep, what->ep);
	PIN_SET(pin->mem, what->mem);
	PIN_SET(pin->start, what->start);
	PIN_SET(pin->last, what->last);
	PIN_SET(pin->gpa, what->space ? 0 : what->start);
	PIN_SET(pin->gpa_last, what->space ? UINT64_MAX : what->last);
	VI_WINDOW();
	if (VI_MUTANT == VI_MUTANT_LOOK_FIRST)
		return;
	if (vi->asymmetric) {
		atomic_store_explicit(&pin->word, word, memory_order_release);
		atomic_signal_fence(memory_order_seq_cst);
	} else {
		atomic_store(&pin->word, word);
	}
	VI_WINDOW();
}

void vi_pin_unpublish(struct vi_pin *pin)
{
	atomic_store_explicit(&pin->word,
			      pin_word(pin) & ~(uint64_t)VI_PIN_STATE,
			      memory_order_release);
}

/* A step after which fewer fences have to wait for @pin. */
static void pin_step(struct viommu *vi, struct vi_pin *pin, uint64_t word)
{
	VI_WINDOW();
	if (vi->membarrier) {
		atomic_store_explicit(&pin->word, word, memory_order_release);
		atomic_signal_fence(memory_order_seq_cst);
	} else {
		atomic_store(&pin->word, word);
	}
	VI_WINDOW();
	if (VI_MUTANT == VI_MUTANT_LOST_WAKEUP)
		return;
	if (VI_UNLIKELY(atomic_load(&vi->npending)))
		vi_fence_settle(vi);
}

void vi_pin_keep(struct viommu *vi, struct vi_pin *pin, uint64_t gpa,
		 uint64_t gpa_last)
{
	PIN_SET(pin->gpa, gpa);
	PIN_SET(pin->gpa_last, gpa_last);
	pin_step(vi, pin,
		 (pin_word(pin) & ~(uint64_t)VI_PIN_STATE) | VI_PIN_HELD);
}

void vi_pin_keep_endpoint(struct viommu *vi, struct vi_pin *pin)
{
	PIN_SET(pin->space, NULL);
	PIN_SET(pin->mem, NULL);
	pin_step(vi, pin,
		 (pin_word(pin) & ~(uint64_t)VI_PIN_STATE) | VI_PIN_HELD);
}

void vi_pin_drop(struct viommu *vi, struct vi_pin *pin)
{
	pin_step(vi, pin, pin_word(pin) & ~(uint64_t)VI_PIN_STATE);
}

/* ---- the taker's side ------------------------------------------------- */

static bool extent_hits(const struct vi_extent *what, const struct vi_pin *pin)
{
	if (what->mem)
		return PIN_GET(pin->mem) == what->mem &&
		       vi_overlap(what->start, what->last, PIN_GET(pin->gpa),
				  PIN_GET(pin->gpa_last));
	if (what->space && PIN_GET(pin->space) != what->space)
		return false;
	if (what->ep && PIN_GET(pin->ep) != what->ep)
		return false;
	return vi_overlap(what->start, what->last, PIN_GET(pin->start),
			  PIN_GET(pin->last));
}

static bool pin_hit(const struct vi_pin *pin, uint64_t word, uint64_t seq,
		    const struct vi_extent *what, unsigned n, bool grace)
{
	if (PIN_GET(pin->seq) > seq)
		return false;
	if (grace && (word & VI_PIN_STATE) == VI_PIN_BUSY)
		return true;
	for (unsigned i = 0; i < n; i++)
		if (extent_hits(&what[i], pin))
			return true;
	return false;
}

bool vi_pin_blocks(const struct vi_pin *pin, uint64_t seq,
		   const struct vi_extent *what, unsigned n, bool grace)
{
	uint64_t word = PIN_GET(pin->word), again;
	bool hit;

	for (; word & VI_PIN_STATE; word = again) {
		hit = pin_hit(pin, word, seq, what, n, grace);
		again = PIN_GET(pin->word);
		/* same occupation, and not over: what was read is its */
		if (again == word)
			return hit;
	}
	return false;
}

struct vi_pin *vi_pin_find(struct viommu *vi, uint64_t seq,
			   const struct vi_extent *what, unsigned n, bool grace)
{
	uint32_t nseats = atomic_load(&vi->seats_used);

	for (uint32_t i = 0; i < nseats; i++) {
		struct vi_seat *seat = &vi->seats[i];
		uint32_t npins = atomic_load(&seat->used);

		for (uint32_t j = 0; j < npins; j++)
			if (vi_pin_blocks(&seat->pin[j], seq, what, n, grace))
				return &seat->pin[j];
	}
	return NULL;
}
