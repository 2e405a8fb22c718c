/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_SEAT_H
#define TESTS_SEAT_H

/*
 * A thread that does nothing but sit: in an instance for one thread, no other
 * thread can do DMA until it leaves.
 */

#include <pthread.h>
#include <semaphore.h>
#include <viommu/memory.h>

struct seat {
	struct viommu_memory *mem;
	pthread_t thread;
	sem_t sits, leave;
};

static void *seat_thread(void *arg)
{
	struct seat *s = arg;
	char c;

	/* whether anything is there makes no difference */
	(void)!viommu_memory_read(s->mem, 0, &c, 1);
	sem_post(&s->sits);
	sem_wait(&s->leave);
	return NULL;
}

static inline void seat_sit(struct seat *s, struct viommu_memory *mem)
{
	s->mem = mem;
	sem_init(&s->sits, 0, 0);
	sem_init(&s->leave, 0, 0);
	pthread_create(&s->thread, NULL, seat_thread, s);
	sem_wait(&s->sits);
}

static inline void seat_leave(struct seat *s)
{
	sem_post(&s->leave);
	pthread_join(s->thread, NULL);
	sem_destroy(&s->sits);
	sem_destroy(&s->leave);
}

#endif
