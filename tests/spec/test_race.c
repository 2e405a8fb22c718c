/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Device models on other threads, while the guest changes its mind.  What is
 * checked in the end is the law: once UNMAP, DETACH or a destruction has been
 * answered, nobody writes there any more.
 */
#include "world.h"

#include <pthread.h>
#include <sched.h>

enum {
	ROUNDS = 300,
	WORLDS = 40,
	MODELS = 2,
	SIZE = 64, /* what each model writes, one after the other */
	/* what models write, and what the owner of the memory writes later */
	MODEL = 0x11,
	OWNER = 0x77,
};

struct model {
	struct world *w;
	int ep;
	_Atomic(bool) *stop;
	_Atomic(uint64_t) maps;
};

/* Map, write through the pointers with some delay, let go; faults are fine. */
static void *model_run(void *arg)
{
	struct model *m = arg;

	while (!*m->stop) {
		struct iovec iov[4];
		struct viommu_dma d = { .ep = m->w->ep[m->ep],
					.iova = 0x1000 + (uint64_t)m->ep * SIZE,
					.len = SIZE,
					.prot = VIOMMU_WRITE,
					.iov = iov,
					.max_iov = 4 };
		volatile uint8_t *p;

		if (viommu_dma_map(&d))
			continue;
		p = iov[0].iov_base;
		for (int i = 0; i < SIZE; i++) {
			p[i] = MODEL;
			if (i == SIZE / 2)
				sched_yield();
		}
		viommu_dma_unmap(&d, SIZE);
		m->maps++;
	}
	return NULL;
}

static void models_start(struct world *w, struct model *m, pthread_t *threads,
			 _Atomic(bool) *stop)
{
	for (int i = 0; i < MODELS; i++) {
		m[i] = (struct model){ .w = w, .ep = i, .stop = stop };
		assert_int_equal(
			pthread_create(&threads[i], NULL, model_run, &m[i]), 0);
	}
}

static uint64_t models_stop(struct model *m, pthread_t *threads,
			    _Atomic(bool) *stop)
{
	uint64_t maps = 0;

	*stop = true;
	for (int i = 0; i < MODELS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		maps += m[i].maps;
	}
	return maps;
}

static void ask_wait(struct ask *a)
{
	while (!a->answers)
		sched_yield();
	assert_int_equal(ask_status(a), OK);
}

/* The memory is the owner's again: nobody writes there. */
static void assert_quiet(struct world *w, uint64_t gpa)
{
	memset(w->ram + gpa, OWNER, MODELS * SIZE);
	for (int i = 0; i < 3; i++)
		sched_yield();
	for (int i = 0; i < MODELS * SIZE; i++)
		assert_int_equal(w->ram[gpa + (uint64_t)i], OWNER);
}

static void nobody_writes_after_the_answer(void **state)
{
	_Atomic(bool) stop = false;
	struct model models[MODELS];
	pthread_t threads[MODELS];
	struct world *w = *state;
	struct ask a;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(attach(w, 1, EP + 1), OK);
	models_start(w, models, threads, &stop);
	/* a machine that is busy elsewhere may not have let them run yet */
	for (uint64_t i = 0; i < ROUNDS || !(models[0].maps + models[1].maps);
	     i++) {
		uint64_t gpa = i % 16 * PAGE;

		assert_int_equal(map(w, 1, 0x1000, 0x1fff, gpa), OK);
		sched_yield();
		switch (i % 3) {
		case 0:
			ask_unmap(w, &a, 1, 0, 0x1fff);
			ask_wait(&a);
			break;
		case 1: /* with the last one the domain goes */
			ask_detach(w, &a, 1, EP);
			ask_wait(&a);
			ask_detach(w, &a, 1, EP + 1);
			ask_wait(&a);
			break;
		default: /* moved; back when it was looked at */
			ask_attach(w, &a, 2, EP, 0);
			ask_wait(&a);
			ask_attach(w, &a, 2, EP + 1, 0);
			ask_wait(&a);
		}
		assert_quiet(w, gpa);
		for (uint32_t j = 0; i % 3 && j < 2; j++) {
			ask_attach(w, &a, 1, EP + j, 0);
			ask_wait(&a);
		}
	}
	assert_true(models_stop(models, threads, &stop) > 0);
}

struct holder {
	struct held h;
	_Atomic(bool) *go;
};

static void *holder_run(void *arg)
{
	struct holder *h = arg;

	while (!*h->go)
		sched_yield();
	let_go(&h->h);
	return NULL;
}

/* Requests wait; the maps go, on other threads, while the device is reset and
 * destroyed.  Each request is answered once, before the fence is done. */
static void destruction_meets_the_last_unmap(void **state)
{
	(void)state;
	for (int i = 0; i < WORLDS; i++) {
		struct holder holders[MODELS];
		pthread_t threads[MODELS];
		_Atomic(bool) go = false;
		struct ask a[MODELS];
		struct viommu_fence f, r;
		struct world w;

		world_make(&w, NULL);
		for (uint32_t j = 0; j < MODELS; j++) {
			assert_int_equal(attach(&w, j, EP + j), OK);
			assert_int_equal(map(&w, j, 0, 4095, 0), OK);
			hold(&w, &holders[j].h, (int)j, 0, 16);
			holders[j].go = &go;
			assert_int_equal(pthread_create(&threads[j], NULL,
							holder_run,
							&holders[j]),
					 0);
		}
		assert_int_equal(ask_unmap(&w, &a[0], 0, 0, 4095), WAITING);
		assert_int_equal(ask_detach(&w, &a[1], 1, EP + 1), WAITING);
		viommu_fence_init(&f);
		viommu_fence_init(&r);
		go = true;
		if (i % 2)
			viommu_virtio_reset(w.v, &r);
		viommu_fence_commit(&r, NULL, NULL);
		w.gone = true;
		viommu_virtio_destroy(w.v, &f);
		fence_run(&f);
		for (int j = 0; j < MODELS; j++)
			assert_int_equal(ask_status(&a[j]), OK);
		assert_int_equal(viommu_fence_wait(&r, 10000000000), 0);
		for (int j = 0; j < MODELS; j++)
			assert_int_equal(pthread_join(threads[j], NULL), 0);
		world_free(&w);
	}
}

/* Everything that any thread may call, at once with requests. */
static void *others_run(void *arg)
{
	struct model *m = arg;
	struct virtio_iommu_fault e;
	struct viommu_virtio_stats s;
	uint8_t buf[40];

	for (unsigned i = 0; !*m->stop; i++) {
		struct viommu_fence f;
		uint8_t bypass = i % 2;

		viommu_fence_init(&f);
		viommu_virtio_config_write(m->w->v, 36, &bypass, 1, &f);
		if (i % 16 == 3)
			viommu_virtio_reset(m->w->v, &f);
		if (i % 16 == 5)
			viommu_virtio_remove(m->w->v, m->w->ep[3], &f);
		fence_run(&f);
		if (i % 16 == 5)
			m->maps += viommu_virtio_add(m->w->v, m->w->ep[3]) != 0;
		(void)!viommu_virtio_event(m->w->v, &e, sizeof(e));
		viommu_virtio_config_read(m->w->v, 0, buf, sizeof(buf));
		viommu_virtio_read_stats(m->w->v, &s);
		(void)viommu_virtio_save(m->w->v, NULL, 0);
		sched_yield();
	}
	return NULL;
}

static void everything_at_once(void **state)
{
	_Atomic(bool) stop = false;
	struct model models[MODELS], other;
	pthread_t threads[MODELS], thread;
	struct world *w = *state;
	struct ask a;

	models_start(w, models, threads, &stop);
	other = (struct model){ .w = w, .stop = &stop };
	assert_int_equal(pthread_create(&thread, NULL, others_run, &other), 0);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		ask_attach(w, &a, i % 3, EP + i % 4, 0);
		while (!a.answers)
			sched_yield();
		(void)map(w, i % 3, 0x1000, 0x1fff, 0x3000);
		sched_yield();
		if (i % 2)
			ask_unmap(w, &a, i % 3, 0, UINT64_MAX);
		else
			ask_detach(w, &a, i % 3, EP + i % 4);
		while (!a.answers)
			sched_yield();
	}
	models_stop(models, threads, &stop);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(other.maps, 0);
	bypass_write(w, 0);
	reset(w);
	assert_quiet(w, 0x3000);
	assert_quiet(w, 0x1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(nobody_writes_after_the_answer),
		cmocka_unit_test(destruction_meets_the_last_unmap),
		TEST(everything_at_once),
	};

	return cmocka_run_group_tests_name("race", tests, NULL, NULL);
}
