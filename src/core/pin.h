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
 *	                  BUSY --spill--> IDLE, and held in the seat's index
 *
 * Two store-then-load pairs carry the law; whoever comes second sees the other:
 *
 *	access: pin BUSY, then table      | taker: table, then pins
 *	access: pin IDLE, then npending   | taker: npending, then pins
 *
 * First pair.  A seat is fenced: its pins are published by a sequentially
 * consistent store, the table is read by sequentially consistent loads, and
 * the taker has a sequentially consistent fence between its two.  Or it is
 * asymmetric: the access has plain stores and loads, the taker membarrier(2).
 * Second pair: only a taker that found a pin in its way gets there, so it
 * always pays the membarrier, if there is one (core/fence.c).
 *
 * Seats.  A thread that does DMA sits on a seat of the instance: an array of
 * pins that it alone publishes, so publishing needs no read-modify-write.  It
 * takes the seat at its first access and leaves it when it exits; anybody may
 * drop a pin, also after its thread is gone.  All seats are allocated with the
 * instance: the DMA path allocates nothing.  The first seat is no thread's: who
 * polls inherits into it, under the lock of pending fences.
 *
 * The index.  Maps for which a seat has no pin to spare, and those that may be
 * revoked, are nodes in the caller's struct viommu_dma, in three trees of the
 * seat, under its lock: by space and IOVA, by endpoint, by memory and GPA.  A
 * map is in the index before its BUSY pin is dropped, and a taker looks at the
 * pins of a seat before its index, so it is seen in one of the two.
 *
 * A pin's fields are written while it is IDLE, by its seat's owner.  Takers
 * read them between two looks at the word and drop what they read if it
 * changed; BUSY to HELD may narrow the fields, never widen them.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <viommu/dma.h>

#include "base/annot.h"
#include "base/itree.h"
#include "base/lock.h"

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
	_Atomic(uint64_t) start, last; /* IOVA; without space: GPA */
	/* HELD: GPA, around all pieces.  BUSY, with a space: any */
	_Atomic(uint64_t) gpa, gpa_last;
	_Atomic(uint32_t) prot; /* HELD: by a map, for this */
	struct vi_seat *seat;
};

enum {
	VI_SEAT_PINS = 16,
	/* the first are for accesses, and maps leave them: three bursts, an
	 * access that faults, one of its handler's */
	VI_SEAT_SHORT = 5,
};

struct vi_seat {
	_Alignas(128) _Atomic(uintptr_t) owner; /* a thread, or 0 */
	_Atomic(uint32_t) used; /* pins that were ever used: the first ones */
	_Atomic(uint32_t) spilled; /* maps in the index */
	_Atomic(bool) asymmetric;  /* how its pins are published */
	/* the owner's, to choose how: publications left until it looks again,
	 * and vi->commits when it last did */
	uint32_t until;
	uint64_t commits;
	/* counters, written by the owner */
	_Atomic(uint64_t) accesses, maps, bytes_read, bytes_written;

	_Alignas(128) struct vi_lock lock;
	struct vi_itree by_space, by_ep, by_mem; /* VI_GUARDED(lock) */

	struct vi_pin pin[VI_SEAT_PINS];
};

/* What struct viommu_dma remembers in `opaque`. */
struct vi_held {
	struct viommu *vi;
	struct vi_pin *pin;   /* or NULL: it is spilled */
	struct vi_seat *seat; /* of the pin, or whose index it is in */
	uint64_t gpa;	      /* the lowest */
	/* if spilled, guarded by the seat's lock: */
	struct viommu_dma *d;
	struct vi_inode by_space, by_ep, by_mem; /* keys: what it may touch */
	uint64_t seq;
	bool scattered; /* the pieces are not one range of GPA */
	bool fresh;	/* its map call is not over: not to be asked yet */
	bool asked;	/* to let go; or, if fresh, to look again */
};

static inline struct vi_held *vi_held_of(struct viommu_dma *d)
{
	return (struct vi_held *)(void *)d->opaque;
}

/* Make the seats, remember the instance for threads that exit.  -ENOMEM. */
int vi_seats_init(struct viommu *vi, uint32_t max_threads);
void vi_seats_fini(struct viommu *vi);

/* Has another thread than the caller a seat that is asymmetric? */
bool vi_seats_asymmetric(struct viommu *vi);

/* An IDLE pin of this thread's seat.  NULL: there is no seat, or no pin. */
struct vi_pin *vi_pin_claim(struct viommu *vi);

/* Likewise; one that may stay HELD, if there is one. */
struct vi_pin *vi_pin_claim_long(struct viommu *vi);

/* Write what it may touch and make it BUSY.  The caller looks afterwards. */
void vi_pin_publish(struct viommu *vi, struct vi_pin *pin,
		    const struct vi_extent *what);

/* BUSY to IDLE, to be published again at once: nobody is told, so that no
 * callback runs here and claims it.  The drop or keep that follows tells. */
void vi_pin_unpublish(struct vi_pin *pin);

/*
 * The map @d, whose pin is BUSY, is held from here on: in the pin, or in the
 * index if it has to be there.  It touches [gpa, gpa_last] only.  False: a
 * fence that came meanwhile waits for it, so it has been dropped: look again.
 */
bool vi_pin_keep(struct vi_pin *pin, struct viommu_dma *d, uint64_t gpa,
		 uint64_t gpa_last);

/* Let go of a map.  Fences may be done here, their callbacks run. */
void vi_pin_let_go(struct vi_held *h);

/* BUSY to HELD by a fault handler: it touches nothing but the endpoint. */
void vi_pin_keep_endpoint(struct viommu *vi, struct vi_pin *pin);

/* BUSY or HELD to IDLE.  Fences may be done here, their callbacks run. */
void vi_pin_drop(struct viommu *vi, struct vi_pin *pin);

/* ---- the taker's side ------------------------------------------------- */

/* What a fence takes: number @seq, the @n extents @what.  With @grace, an
 * access that may be reading any table is in its way, too. */
struct vi_taking {
	uint64_t seq;
	const struct vi_extent *what;
	unsigned n;
	bool grace;
	bool writers; /* a map that is held for reading only is not */
};

/* Who is in the way: one of the two.  A spilled map may be gone by now: only
 * to compare. */
struct vi_blocker {
	struct vi_pin *pin;
	const struct vi_held *held;
};

/* Is @pin in the way? */
bool vi_pin_blocks(const struct vi_pin *pin, const struct vi_taking *t);

/* Is the map @h, which its owner holds on to meanwhile? */
bool vi_held_blocks(const struct vi_held *h, const struct vi_taking *t);

/* The first in the way, or false.  The taker's order has been made. */
bool vi_pin_find(struct viommu *vi, const struct vi_taking *t,
		 struct vi_blocker *out);

/*
 * Publish a pin, HELD, for the endpoint of one that is in the way, and as old,
 * so that whoever waits for that one waits for this one, too, and the endpoint
 * lives.  @out is what the former looked like.  NULL: none is in the way that
 * has an endpoint, or all pins for this are in use.  With vi->pending_lock
 * held; the caller settles afterwards in either case.
 */
struct vi_pin *vi_pin_inherit(struct viommu *vi, const struct vi_taking *t,
			      struct vi_extent *out);

/* Likewise for @ep itself, which cannot go before the lock is let go of: older
 * than any pin.  NULL: all are in use. */
struct vi_pin *vi_pin_inherit_endpoint(struct viommu *vi,
				       struct viommu_endpoint *ep);

/*
 * Ask each map in the way that can be asked and has not been.  The lock of
 * asking (instance.h) orders the call and an unmap on another thread.
 */
void vi_pin_revoke(struct viommu *vi, const struct vi_taking *t);

/* Is there a map in the way of @t that belongs to @ep or was made by this
 * thread? */
bool vi_pin_holds(struct viommu *vi, const struct vi_taking *t,
		  const struct viommu_endpoint *ep);

/* A map held for writing. */
struct vi_writer {
	uint64_t gpa, last;
	/* NULL: exactly these; else the pieces, which are scattered there */
	const struct iovec *iov;
	uint32_t niov;
	uint64_t len;
};
typedef void vi_writer_fn(void *arg, const struct vi_writer *w);

/* Tell @fn of each map that is held for writing to @mem. */
void vi_pin_writers(struct viommu *vi, struct viommu_memory *mem,
		    vi_writer_fn *fn, void *arg);

/* A thread's own counter: no read-modify-write needed. */
static inline void vi_count(_Atomic(uint64_t) *c, uint64_t n)
{
	atomic_store_explicit(c,
			      atomic_load_explicit(c, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

#endif
