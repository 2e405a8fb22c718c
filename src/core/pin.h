/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_PIN_H
#define VI_CORE_PIN_H

/*
 * Pins: an access under way, or a DMA map that is held.
 *
 * A pin is published before its owner looks a translation up (L3 needs it):
 *
 *	IDLE --publish--> BUSY --keep--> HELD --drop--> IDLE
 *	                  BUSY --drop--> IDLE
 *
 * Two store-then-load pairs carry the law; whoever comes second sees the other:
 *
 *	access: pin BUSY, then table      | taker: table, then pins
 *	access: pin IDLE, then npending   | taker: npending, then pins
 *
 * First pair.  FENCED: the pin is published by a sequentially consistent
 * store, the table is read by sequentially consistent loads, and the taker
 * has a sequentially consistent fence between its two.  ASYMMETRIC: the access
 * has plain stores and loads, the taker membarrier(2).  Second pair: only a
 * taker that found a pin in its way gets there, so it always pays the
 * membarrier, if there is one (core/fence.c).
 *
 * Seats.  A thread that does DMA sits on a seat of the instance: an array of
 * pins that it alone publishes, so publishing needs no read-modify-write.  It
 * takes the seat at its first access and leaves it when it exits; anybody may
 * drop a pin, also after its thread is gone.  All seats are allocated with the
 * instance: the DMA path allocates nothing.
 *
 * A pin's fields are written while it is IDLE, by its seat's owner.  Takers
 * read them between two looks at the word and drop what they read if it
 * changed; BUSY to HELD may narrow the fields, never widen them.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <viommu/types.h>

#include "base/annot.h"

enum vi_pin_state {
	VI_PIN_IDLE = 0,
	VI_PIN_BUSY = 1,
	VI_PIN_HELD = 2,
	VI_PIN_STATE = 3, /* mask; the rest of the word counts occupations */
};

/* What a pin may touch, and what a fence takes: NULL is "any" for a fence,
 * "none" for a pin. */
struct vi_extent {
	struct viommu_space *space;
	struct viommu_endpoint *ep;
	struct viommu_memory *mem;
	uint64_t start, last; /* IOVA; for a fence with mem: GPA */
};

struct vi_pin {
	_Alignas(128) _Atomic(uint64_t) word;
	/* vi->commits when it was published: a fence with this number or a
	 * later one waits for it */
	_Atomic(uint64_t) seq;
	_Atomic(struct viommu_space *) space;
	_Atomic(struct viommu_endpoint *) ep;
	_Atomic(struct viommu_memory *) mem;
	_Atomic(uint64_t) start, last; /* IOVA */
	/* GPA, around all pieces; everything until it is known */
	_Atomic(uint64_t) gpa, gpa_last;
	struct vi_seat *seat;
};

enum {
	VI_SEAT_PINS = 15,
};

struct vi_seat {
	_Alignas(128) _Atomic(uintptr_t) owner; /* a thread, or 0 */
	_Atomic(uint32_t) used; /* pins that were ever used: the first ones */
	/* counters, written by the owner */
	_Atomic(uint64_t) accesses, maps, bytes_read, bytes_written;
	struct vi_pin pin[VI_SEAT_PINS];
};

/* Make the seats, remember the instance for threads that exit.  -ENOMEM. */
int vi_seats_init(struct viommu *vi, uint32_t max_pins);
void vi_seats_fini(struct viommu *vi);

/* Has another thread than the caller a seat? */
bool vi_seats_others(struct viommu *vi);

/* An IDLE pin of a seat of this thread, or NULL: max_pins are in use. */
struct vi_pin *vi_pin_claim(struct viommu *vi);

/* Write what it may touch and make it BUSY.  The caller looks afterwards. */
void vi_pin_publish(struct viommu *vi, struct vi_pin *pin,
		    const struct vi_extent *what);

/* BUSY to IDLE, to be published again at once: nobody is told, so that no
 * callback runs here and claims it.  The drop or keep that follows tells. */
void vi_pin_unpublish(struct vi_pin *pin);

/* BUSY to HELD: it will touch [gpa, gpa_last] only. */
void vi_pin_keep(struct viommu *vi, struct vi_pin *pin, uint64_t gpa,
		 uint64_t gpa_last);

/* BUSY to HELD by a fault handler: it touches nothing but the endpoint. */
void vi_pin_keep_endpoint(struct viommu *vi, struct vi_pin *pin);

/* BUSY or HELD to IDLE.  Fences may be done here, their callbacks run. */
void vi_pin_drop(struct viommu *vi, struct vi_pin *pin);

/*
 * Does @pin stand in the way of fence number @seq taking the @n extents @what?
 * With @grace, an access that may be reading any table does, too.
 */
bool vi_pin_blocks(const struct vi_pin *pin, uint64_t seq,
		   const struct vi_extent *what, unsigned n, bool grace);

/* The first pin in the way, or NULL.  The taker's order has been made. */
struct vi_pin *vi_pin_find(struct viommu *vi, uint64_t seq,
			   const struct vi_extent *what, unsigned n,
			   bool grace);

/* A thread's own counter: no read-modify-write needed. */
static inline void vi_count(_Atomic(uint64_t) *c, uint64_t n)
{
	atomic_store_explicit(c,
			      atomic_load_explicit(c, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

#endif
