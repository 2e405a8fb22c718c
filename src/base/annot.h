/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_BASE_ANNOT_H
#define VI_BASE_ANNOT_H

/*
 * What the compiler can check for us, and the switches of the test builds.
 */

#include <stdlib.h>

#if defined(__clang__)
#define VI_CAPABILITY(x) __attribute__((capability(x)))
#define VI_ACQUIRE(...)	 __attribute__((acquire_capability(__VA_ARGS__)))
#define VI_RELEASE(...)	 __attribute__((release_capability(__VA_ARGS__)))
#define VI_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define VI_NO_ANALYSIS	 __attribute__((no_thread_safety_analysis))
#else
#define VI_CAPABILITY(x)
#define VI_ACQUIRE(...)
#define VI_RELEASE(...)
#define VI_REQUIRES(...)
#define VI_NO_ANALYSIS
#endif

/* A member guarded by a lock: for readers (clang 14 cannot check it in C). */
#define VI_GUARDED(lock)

#define VI_LIKELY(x)   __builtin_expect(!!(x), 1)
#define VI_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* An embedder's mistake, never a guest's: stops debug builds only. */
#ifdef VI_DEBUG
#define VI_BUG_ON(x) ((x) ? abort() : (void)0)
#else
#define VI_BUG_ON(x) ((void)sizeof(x))
#endif

/*
 * A mutant is the library with one step of its protocol left out.  The race
 * tests are built with each of them and must fail: see tests/race/.  0 in
 * every other build, so that nothing is left of them.
 */
enum vi_mutant {
	VI_MUTANT_NO_WAIT = 1,	   /* a fence is done when committed */
	VI_MUTANT_LOOK_FIRST = 2,  /* a pin is published after the look */
	VI_MUTANT_NO_GRACE = 3,	   /* tables are freed under walkers */
	VI_MUTANT_LOST_WAKEUP = 4, /* a dropped pin wakes nobody */
	VI_MUTANT_NO_RELOOK = 5,   /* a map stays that a fence came across */
	VI_MUTANT_REVOKE_GONE = 6, /* unmap does not wait for the callback */
	VI_MUTANT_NO_SETTLE = 7,   /* a map that looks again wakes nobody */
	VI_MUTANT_EARLY_DROP = 8, /* done while the last pin is being dropped */
	VI_MUTANT_EARLY_DEADLINE = 9, /* a deadline fires before its time */
	VI_MUTANT_NO_MEMBARRIER = 10, /* the taker of asymmetric seats */
	VI_MUTANT_SETTLE_INSIDE = 11, /* between two publications of a pin */
	VI_MUTANT_NO_HEIRS = 12,      /* a scan ignores inherited pins */
	VI_MUTANT_NOTIFY_REPLAY_EARLY = 13, /* before it is told of changes */
	VI_MUTANT_NOTIFY_UNORDERED = 14,    /* told without the notify lock */
	VI_MUTANT_NOTIFY_NO_UNDO = 15,	    /* a refusal is not taken back */
	VI_MUTANT_NOTIFY_NO_SWITCH = 16,    /* attach tells nobody */
	VI_MUTANT_NOTIFY_NO_WAIT = 17,	/* removal, for a running callback */
	VI_MUTANT_HOLD_PINS_FIRST = 18, /* a commit looks at pins, then holds */
	VI_MUTANT_HOLD_NO_SETTLE = 19,	/* a release wakes nobody */
	VI_MUTANT_HOLD_FENCE_ONLY = 20, /* in the way of its own fence only */
	VI_MUTANT_HOLD_UNWATCH_EARLY = 21, /* who leaves, before it is told */
	VI_MUTANT_LINEAR_GENERATION_FIRST = 22, /* before the entry changes */
	VI_MUTANT_LINEAR_UNSEEN = 23,	   /* who comes passes writers by */
	VI_MUTANT_MOVE_EARLY_PUBLISH = 24, /* the new place, before the copy */
	VI_MUTANT_MOVE_NO_GENERATION = 25, /* leaves change, and nobody knows */
	VI_MUTANT_MOVE_NO_REST = 26,	   /* the old place is left too early */
	VI_MUTANT_MOVE_NO_DRAIN = 27,	   /* copied while it is written */
	VI_MUTANT_MOVE_ONE_STEP = 28, /* written before the old is forgotten */
	VI_MUTANT_MOVE_NO_PAUSE = 29, /* a burst waits for itself */
	VI_MUTANT_GIVE_UP_TELL_FIRST = 30, /* the generation, then the table */
};
#ifndef VI_MUTANT
#define VI_MUTANT 0
#endif

/* How often a fence looks before it pends.  tests/model looks once. */
#ifndef VI_SPINS
#define VI_SPINS 256
#endif

/*
 * A window of the protocol.  The race tests' builds now and then dawdle in it,
 * long enough for the other side to go all the way.
 */
#ifdef VI_YIELD
#include <sched.h>
#include <unistd.h>
static inline void vi_window(void)
{
	static __thread unsigned x;

	if (!x)
		x = (unsigned)(size_t)&x | 1;
	x = x * 1664525 + 1013904223;
	if (!((x >> 8) % 64))
		usleep((x >> 16) % 64);
	else if (!((x >> 8) % 8))
		(void)sched_yield();
}
#define VI_WINDOW() vi_window()
#else
#define VI_WINDOW() ((void)0)
#endif

#endif
