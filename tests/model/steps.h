/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_MODEL_STEPS_H
#define TESTS_MODEL_STEPS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

/* Does the kernel have membarrier(2)? */
extern bool steps_membarrier;

/* What the code under test has libc call when a thread exits. */
extern void (*steps_thread_exit)(void *);

/* As the compiler calls them, and the linker. */
void __tsan_atomic_thread_fence(int mo);
void __tsan_atomic_signal_fence(int mo);
void __tsan_read_range(void *p, unsigned long len);
void __tsan_write_range(void *p, unsigned long len);
void __tsan_init(void);
void __tsan_func_entry(void *pc);
void __tsan_func_exit(void);

void *__real_memcpy(void *to, const void *from, size_t len);
void *__wrap_memcpy(void *to, const void *from, size_t len);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *m);
int __wrap_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
int __wrap_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m,
				  const struct timespec *ts);
int __wrap_pthread_cond_broadcast(pthread_cond_t *c);
bool __wrap_vi_membarrier_setup(void);
void __wrap_vi_membarrier(void);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __real_pthread_key_create(pthread_key_t *key, void (*leave)(void *));
int __wrap_pthread_key_create(pthread_key_t *key, void (*leave)(void *));

#endif
