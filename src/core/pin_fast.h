/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_PIN_FAST_H
#define VI_CORE_PIN_FAST_H

/*
 * The steps of a pin's life that every access takes, inline.  See pin.h for
 * what they mean, and for who may take them; pin.c has the others.
 */

#include "core/instance.h"
#include "core/pin.h"

enum {
	VI_HINTS = 4, /* instances that a thread finds its seat in at once */
};

/* A thread's seats.  Its address is the thread's name. */
struct vi_hint {
	uint64_t id; /* of the instance; 0: none */
	struct vi_seat *seat;
};
extern __thread struct vi_hint vi_hints[VI_HINTS]
	__attribute__((tls_model("initial-exec")));

/* Is this thread's seat at hand? */
static inline bool vi_seat_at_hand(const struct viommu *vi,
				   struct vi_seat **seat)
{
	uint64_t i = vi->id % VI_HINTS;

	if (VI_UNLIKELY(vi_hints[i].id != vi->id))
		return false;
	*seat = vi_hints[i].seat;
	return true;
}

/* Release: a taker that reads the new value sees at least that the former
 * occupation is over. */
#define VI_PIN_SET(field, val) \
	atomic_store_explicit(&(field), (val), memory_order_release)
#define VI_PIN_GET(field) atomic_load_explicit(&(field), memory_order_acquire)

static inline uint64_t vi_pin_word(const struct vi_pin *pin)
{
	return atomic_load_explicit(&pin->word, memory_order_relaxed);
}

/* Is pin @i of @seat IDLE, and do takers look at it? */
static inline bool vi_pin_ready(const struct vi_seat *seat, uint32_t i)
{
	/* acquire: what its last user did is done.  The first one of a seat
	 * that was taken is always looked at */
	return !(VI_PIN_GET(seat->pin[i].word) & VI_PIN_STATE) &&
	       (!i ||
		i < atomic_load_explicit(&seat->used, memory_order_relaxed));
}

static inline void vi_pin_publish_word(struct vi_seat *seat, struct vi_pin *pin,
				       uint64_t word)
{
	VI_WINDOW();
	if (atomic_load_explicit(&seat->asymmetric, memory_order_relaxed)) {
		atomic_store_explicit(&pin->word, word, memory_order_release);
		atomic_signal_fence(memory_order_seq_cst);
	} else {
		atomic_store(&pin->word, word);
	}
	VI_WINDOW();
}

/* Write what @pin of @seat may touch and make it BUSY.  Its new word. */
static inline uint64_t vi_pin_write(struct viommu *vi, struct vi_seat *seat,
				    struct vi_pin *pin,
				    const struct vi_extent *what)
{
	uint64_t word = (vi_pin_word(pin) & ~(uint64_t)VI_PIN_STATE) +
			(VI_PIN_STATE + 1) + VI_PIN_BUSY;

	/* acquire: an access that began after a commit, by this number, sees
	 * the table as it was changed */
	VI_PIN_SET(pin->seq, VI_PIN_GET(vi->commits));
	VI_PIN_SET(pin->space, what->space);
	VI_PIN_SET(pin->ep, what->ep);
	VI_PIN_SET(pin->mem, what->mem);
	VI_PIN_SET(pin->start, what->start);
	VI_PIN_SET(pin->last, what->last);
	if (VI_MUTANT != VI_MUTANT_LOOK_FIRST)
		vi_pin_publish_word(seat, pin, word);
	return word;
}

/* A step after which fewer fences have to wait for @pin. */
static inline void vi_pin_step_to(struct viommu *vi, struct vi_pin *pin,
				  uint64_t word)
{
	VI_WINDOW();
	if (VI_LIKELY(vi->membarrier)) {
		atomic_store_explicit(&pin->word, word, memory_order_release);
		atomic_signal_fence(memory_order_seq_cst);
	} else {
		atomic_store(&pin->word, word);
	}
	VI_WINDOW();
}

static inline void vi_pin_step(struct viommu *vi, struct vi_pin *pin,
			       enum vi_pin_state state)
{
	vi_pin_step_to(vi, pin,
		       (vi_pin_word(pin) & ~(uint64_t)VI_PIN_STATE) | state);
}

/* After a step: is there somebody to tell? */
static inline bool vi_fences_pend(struct viommu *vi)
{
	return VI_MUTANT != VI_MUTANT_LOST_WAKEUP &&
	       VI_UNLIKELY(atomic_load(&vi->npending));
}

/* The map @d is held in its pin.  The caller looks for fences that pend. */
static inline void vi_held_in_pin(struct vi_pin *pin, struct viommu_dma *d,
				  uint64_t gpa, uint64_t gpa_last)
{
	struct vi_held *h = vi_held_of(d);

	h->pin = pin;
	VI_PIN_SET(pin->gpa, gpa);
	VI_PIN_SET(pin->gpa_last, gpa_last);
	VI_PIN_SET(pin->prot, d->prot);
	vi_pin_step(h->vi, pin, VI_PIN_HELD);
}

/* The end of vi_pin_keep(): what pending fences make of the map that is held
 * now. */
bool vi_pin_kept(struct vi_held *h);

#endif
