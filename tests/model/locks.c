/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locks, conditions, and the words of tests.
 */
#include "schedule_impl.h"

void sched_lock(void *lock, const void *pc)
{
	struct sched_place *pl;

	if (sched_self() < 0)
		return;
	sched_begin(pc);
	pl = sched_place(lock);
	if (sched_shared(pl, true)) {
		sched_sleep_as(SCHED_LOCKING, lock);
		sched_event_write(pl);
	}
	sched_tell("lock", lock, 0);
	if (pl->owner)
		sched_fail("a lock is taken twice");
	pl->owner = sched_me + 1;
}

void sched_unlock(void *lock, const void *pc)
{
	struct sched_place *pl;

	if (sched_self() < 0)
		return;
	sched_begin(pc);
	pl = sched_place(lock);
	sched_threads[sched_me].object =
		NULL; /* a touch before is not one after */
	sched_tell("unlock", lock, 0);
	if (sched_threads[sched_me].nstored)
		sched_point();
	sched_drain_all(sched_me);
	sched_event_write(pl);
	if (pl->owner != sched_me + 1)
		sched_fail("a lock is released that is not held");
	pl->owner = 0;
}

bool sched_wait_until(void *cond, void *lock, uint64_t when, const void *pc)
{
	struct sched_place *pl;

	if (sched_self() < 0)
		sched_fail("would sleep for ever");
	sched_unlock(lock, pc);
	pl = sched_place(cond);
	(void)sched_shared(pl, true);
	sched_event_write(pl);
	sched_tell("wait", cond, when);
	sched_threads[sched_me].until = when;
	sched_threads[sched_me].lock = lock;
	sched_threads[sched_me].timed_out = false;
	sched_sleep_as(SCHED_WAITING, cond);
	/* signalled: it is after the lock, sleep_as() has taken care of that */
	pl = sched_place(lock);
	(void)sched_shared(pl, true);
	sched_event_write(pl);
	if (pl->owner)
		sched_fail("a lock is taken twice");
	pl->owner = sched_me + 1;
	sched_tell("woken", cond, sched_threads[sched_me].timed_out);
	return !sched_threads[sched_me].timed_out;
}

void sched_wait(void *cond, void *lock, const void *pc)
{
	(void)sched_wait_until(cond, lock, UINT64_MAX, pc);
}

/* Whoever waits wants the lock from now on; it is the one that signals hold. */
void sched_signal(void *cond, const void *pc)
{
	struct sched_place *pl;

	if (sched_self() < 0)
		return;
	sched_begin(pc);
	sched_tell("signal", cond, 0);
	pl = sched_place(cond);
	(void)sched_shared(pl, true);
	sched_event_write(pl);
	for (unsigned i = 0; i < sched_nthreads; i++) {
		struct sched_thread *t = &sched_threads[i];

		if (t->doing == SCHED_WAITING && t->on == cond) {
			t->doing = SCHED_LOCKING;
			t->on = t->lock;
		}
	}
}

/* ---- the test's own words ----------------------------------------------- */

uint64_t sched_get(const uint64_t *word)
{
	struct sched_at at = { .p = (void *)(uintptr_t)word,
			       .size = 8,
			       .order = memory_order_seq_cst,
			       .pc = __builtin_return_address(0) };

	return sched_load(&at);
}

void sched_set(uint64_t *word, uint64_t val)
{
	struct sched_at at = { .p = word,
			       .size = 8,
			       .order = memory_order_seq_cst,
			       .pc = __builtin_return_address(0) };

	sched_store(&at, val);
}

void sched_await(uint64_t *word)
{
	struct sched_place *pl = sched_place(word);

	sched_begin(__builtin_return_address(0));
	(void)sched_shared(pl, false);
	sched_sleep_as(SCHED_AWAITING, word);
	sched_event_read(pl);
	sched_tell("awaited", word, *word);
}

uint64_t sched_clock(void)
{
	return sched_get(&sched_now);
}

void sched_clock_set(uint64_t to)
{
	sched_set(&sched_now, to);
}
