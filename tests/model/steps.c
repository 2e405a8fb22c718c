/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the code under test calls in place of atomic instructions, of libc's
 * locks and of the kernel: the interface of ThreadSanitizer's run time, and
 * the functions that the linker wraps.
 */
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <time.h>

#include "schedule.h"
#include "steps.h"

#define PC __builtin_return_address(0)

/* ---- atomics ------------------------------------------------------------ */

#define AT(ptr, mo)                                             \
	&(struct sched_at)                                      \
	{                                                       \
		.p = (volatile void *)(uintptr_t)(ptr),         \
		.size = sizeof(*(ptr)), .order = (mo), .pc = PC \
	}

#define RMW(bits, type, name, how)                                           \
	type __tsan_atomic##bits##_##name(volatile type *p, type v, int mo); \
	type __tsan_atomic##bits##_##name(volatile type *p, type v, int mo)  \
	{                                                                    \
		return (type)sched_rmw(AT(p, mo), how, v);                   \
	}

#define CAS(bits, type, name)                                           \
	int __tsan_atomic##bits##_compare_exchange_##name(              \
		volatile type *p, type *old, type v, int mo, int fail); \
	int __tsan_atomic##bits##_compare_exchange_##name(              \
		volatile type *p, type *old, type v, int mo, int fail)  \
	{                                                               \
		uint64_t o = *old;                                      \
		int swapped = sched_cas(AT(p, mo), &o, v);              \
                                                                        \
		(void)fail;                                             \
		*old = (type)o;                                         \
		return swapped;                                         \
	}

/* As clang calls it. */
#define CAS_VAL(bits, type)                                            \
	type __tsan_atomic##bits##_compare_exchange_val(               \
		volatile type *p, type old, type v, int mo, int fail); \
	type __tsan_atomic##bits##_compare_exchange_val(               \
		volatile type *p, type old, type v, int mo, int fail)  \
	{                                                              \
		uint64_t o = old;                                      \
                                                                       \
		(void)fail;                                            \
		(void)sched_cas(AT(p, mo), &o, v);                     \
		return (type)o;                                        \
	}

#define ATOMICS(bits, type)                                                 \
	type __tsan_atomic##bits##_load(const volatile type *p, int mo);    \
	type __tsan_atomic##bits##_load(const volatile type *p, int mo)     \
	{                                                                   \
		return (type)sched_load(AT(p, mo));                         \
	}                                                                   \
	void __tsan_atomic##bits##_store(volatile type *p, type v, int mo); \
	void __tsan_atomic##bits##_store(volatile type *p, type v, int mo)  \
	{                                                                   \
		sched_store(AT(p, mo), v);                                  \
	}                                                                   \
	RMW(bits, type, exchange, SCHED_XCHG)                               \
	RMW(bits, type, fetch_add, SCHED_ADD)                               \
	RMW(bits, type, fetch_sub, SCHED_SUB)                               \
	RMW(bits, type, fetch_and, SCHED_AND)                               \
	RMW(bits, type, fetch_or, SCHED_OR)                                 \
	RMW(bits, type, fetch_xor, SCHED_XOR)                               \
	CAS(bits, type, strong)                                             \
	CAS(bits, type, weak) CAS_VAL(bits, type)

ATOMICS(8, unsigned char)
ATOMICS(16, unsigned short)
ATOMICS(32, unsigned)
ATOMICS(64, unsigned long)

void __tsan_atomic_thread_fence(int mo)
{
	sched_fence(mo, PC);
}

void __tsan_atomic_signal_fence(int mo)
{
	(void)mo;
}

/* ---- plain accesses ----------------------------------------------------- */

#define PLAIN(name, size)                   \
	void __tsan_##name(void *p);        \
	void __tsan_##name(void *p)         \
	{                                   \
		sched_plain(p, (size), PC); \
	}
#define PLAINS(size)                      \
	PLAIN(read##size, size)           \
	PLAIN(write##size, size)          \
	PLAIN(unaligned_read##size, size) \
	PLAIN(unaligned_write##size, size)

PLAINS(1)
PLAINS(2)
PLAINS(4)
PLAINS(8)
PLAINS(16)

void __tsan_read_range(void *p, unsigned long len)
{
	sched_plain(p, len, PC);
}

void __tsan_write_range(void *p, unsigned long len)
{
	sched_plain(p, len, PC);
}

void __tsan_init(void)
{
}

void __tsan_func_entry(void *pc)
{
	(void)pc;
}

void __tsan_func_exit(void)
{
}

void *__wrap_memcpy(void *to, const void *from, size_t len)
{
	if (len) {
		sched_plain(from, len, PC);
		sched_plain(to, len, PC);
	}
	return __real_memcpy(to, from, len);
}

/* ---- locks -------------------------------------------------------------- */

int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
	sched_lock(m, PC);
	return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *m)
{
	sched_unlock(m, PC);
	return 0;
}

int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
	sched_wait(c, m, PC);
	return 0;
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m,
				  const struct timespec *ts)
{
	uint64_t when =
		(uint64_t)ts->tv_sec * 1000000000 + (uint64_t)ts->tv_nsec;

	return sched_wait_until(c, m, when, PC) ? 0 : ETIMEDOUT;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *c)
{
	sched_signal(c, PC);
	return 0;
}

/* ---- the kernel --------------------------------------------------------- */

bool steps_membarrier = true;
void (*steps_thread_exit)(void *);

bool __wrap_vi_membarrier_setup(void)
{
	return steps_membarrier;
}

void __wrap_vi_membarrier(void)
{
	sched_membarrier(PC);
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
	uint64_t now = sched_clock();

	(void)clock;
	ts->tv_sec = (time_t)(now / 1000000000);
	ts->tv_nsec = (long)(now % 1000000000);
	return 0;
}

int __wrap_pthread_key_create(pthread_key_t *key, void (*leave)(void *))
{
	steps_thread_exit = leave;
	return __real_pthread_key_create(key, NULL);
}
