/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The core when there is no memory: every allocation of a world's making fails
 * in its turn (sweep.h); and what must not allocate is run without any.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <viommu.h>

#include "alloc.h"
#include "core.h"
#include "sweep.h"

static const struct sweep core = {
	.name = core_name,
	.step = core_step,
	.look = core_look,
	.teardown = core_teardown,
};

static void sweep_core(uint32_t barrier)
{
	static struct world w;
	struct sweep s = core;

	core_init(&w, barrier);
	s.steps = w.nsteps;
	if (barrier == VIOMMU_BARRIER_ASYMMETRIC)
		s.needed = 1u << CALL_MEMBARRIER;
	sweep(&s, &w);
}

static void every_failure_is_undone(void **state)
{
	(void)state;
	sweep_core(VIOMMU_BARRIER_FENCED);
}

static void every_failure_is_undone_asymmetric(void **state)
{
	(void)state;
	sweep_core(VIOMMU_BARRIER_ASYMMETRIC);
}

/* ---- without any allocation ------------------------------------------- */

static struct world *built(uint32_t barrier)
{
	static struct world w;

	core_init(&w, barrier);
	alloc_fail(0, ALLOC_ONCE);
	for (unsigned i = 0; i < w.nsteps; i++)
		assert_int_equal(core_step(&w, i), 0);
	/* all of it through the hooks; the file is mapped once a memory */
	assert_int_equal(alloc_calls(CALL_ALLOC), alloc_hooked());
	assert_int_equal(alloc_calls(CALL_MMAP), 2);
	alloc_fail(1, ALLOC_ONWARD);
	return &w;
}

static void torn_down(struct world *w, size_t live)
{
	core_teardown(w);
	assert_int_equal(alloc_asked(), 0);
	assert_int_equal(alloc_live(), live);
	alloc_fail(0, ALLOC_ONCE);
}

static void dma_words(struct viommu_endpoint *ep, uint64_t iova)
{
	uint64_t val = 0, old;

	assert_int_equal(viommu_dma_store(ep, iova, 8, 42), 0);
	assert_int_equal(viommu_dma_load(ep, iova, 8, &val), 0);
	assert_int_equal(val, 42);
	old = val;
	assert_int_equal(viommu_dma_cas(ep, iova, 8, &old, 43), 0);
	assert_int_equal(old, 42);
}

static void dma_copies(struct world *w, uint64_t iova)
{
	struct viommu_endpoint *ep = w->ep[EP_PAGES];
	unsigned char buf[64] = { 0 };
	struct viommu_mapping m;

	assert_int_equal(viommu_dma_write(ep, iova, buf, sizeof(buf)), 0);
	assert_int_equal(viommu_dma_read(ep, iova, buf, sizeof(buf)), 0);
	assert_int_equal(viommu_dma_translate(ep, iova, VIOMMU_READ, &m), 0);
	/* refused, and reported */
	w->faults = 0;
	assert_int_equal(viommu_dma_read(ep, 0, buf, 1), -EFAULT);
	assert_int_equal(viommu_dma_write(ep, 0x2000, buf, 1), -EACCES);
	assert_int_equal(viommu_dma_read(w->ep[EP_LOOSE], 0, buf, 1), -EFAULT);
	assert_int_equal(viommu_dma_read(w->ep[EP_BYTES], TOP - 3, buf, 8),
			 -EFAULT);
	assert_int_equal(w->faults, 4);
}

struct held {
	struct viommu_dma d;
	struct iovec iov[4];
};

static void let_go(struct viommu_dma *d)
{
	viommu_dma_unmap(d, d->prot & VIOMMU_WRITE ? d->len : 0);
}

static int hold_as(struct held *h, struct viommu_endpoint *ep, uint64_t iova,
		   uint64_t len, uint32_t prot)
{
	memset(h, 0, sizeof(*h));
	h->d = (struct viommu_dma){ .ep = ep,
				    .iova = iova,
				    .len = len,
				    .prot = prot,
				    .iov = h->iov,
				    .max_iov = 4 };
	return viommu_dma_map(&h->d);
}

static int hold(struct world *w, struct held *h, uint64_t iova, uint64_t len)
{
	return hold_as(h, w->ep[EP_PAGES], iova, len, VIOMMU_READ);
}

/* Over two mappings; more than a thread has pins; in more than one piece; for
 * writing, while the log is on; such as may be revoked. */
static void dma_holds(struct world *w)
{
	static struct held held[MAPS];
	int n = 0;

	for (; n < MAPS - 2; n++)
		assert_int_equal(hold(w, &held[n], 0x1fff, 2), 0);
	assert_int_equal(hold_as(&held[n++], w->ep[EP_SPLITS], TERA + 0xff0, 32,
				 VIOMMU_READ | VIOMMU_WRITE),
			 0);
	assert_int_equal(held[n - 1].d.niov, 2);
	memset(&held[n], 0, sizeof(held[n]));
	held[n].d = held[0].d;
	held[n].d.iov = held[n].iov;
	held[n].d.revoke = let_go;
	assert_int_equal(viommu_dma_map(&held[n].d), 0);
	for (; n >= 0; n--)
		let_go(&held[n].d);
}

static void dma_windows(struct viommu_endpoint *ep, uint64_t iova)
{
	struct viommu_window win;
	uint64_t val = 0;
	char buf[64];

	assert_int_equal(viommu_window_open(&win, ep, iova, 64,
					    VIOMMU_READ | VIOMMU_WRITE),
			 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(viommu_window_read(&win, 0, buf, 64), 0);
		assert_int_equal(viommu_window_write(&win, 0, buf, 64), 0);
		assert_int_equal(viommu_window_store(&win, 8, 8, 7), 0);
		assert_int_equal(viommu_window_load(&win, 8, 8, &val), 0);
		assert_int_equal(val, 7);
	}
	viommu_window_close(&win);
}

/* Asking, and nobody who answers. */
static void dma_asks(struct world *w)
{
	char c;

	w->asked = w->settled = 0;
	for (uint64_t i = 0; i < 40; i++)
		assert_int_equal(viommu_dma_read(w->ep[EP_ASKS],
						 5 * TERA + i * 4096, &c, 1),
				 -EINPROGRESS);
	assert_int_equal(w->asked, 40);
	while (w->settled < 40)
		viommu_poll(w->vi, viommu_next_deadline(w->vi));
}

/* All of a thread's first DMA: it takes its seat. */
static void *dma_everything(void *arg)
{
	struct world *w = arg;

	dma_copies(w, 0x1000);
	dma_words(w->ep[EP_PAGES], 0x1000);
	dma_windows(w->ep[EP_PAGES], 0x1000);
	assert_int_equal(viommu_dma_enter(w->ep[EP_PAGES]), 0);
	assert_int_equal(viommu_dma_enter(w->ep[EP_SPLITS]), 0);
	dma_words(w->ep[EP_PAGES], 0x1000);
	dma_words(w->ep[EP_SPLITS], TERA);
	dma_windows(w->ep[EP_PAGES], 0x1000);
	viommu_dma_exit(w->ep[EP_SPLITS]);
	viommu_dma_exit(w->ep[EP_PAGES]);
	dma_holds(w);
	dma_asks(w);
	return NULL;
}

static void dma_allocates_nothing(uint32_t barrier)
{
	size_t live = alloc_live();
	struct world *w = built(barrier);
	unsigned char buf[16];
	pthread_t t;

	/* first, since we would not leave it a seat */
	assert_int_equal(pthread_create(&t, NULL, dma_everything, w), 0);
	assert_int_equal(pthread_join(t, NULL), 0);
	dma_everything(w);
	assert_int_equal(viommu_memory_read(w->mem[MEM_0], 0, buf, 16), 0);
	assert_int_equal(viommu_memory_write(w->mem[MEM_0], 0, buf, 16), 0);
	assert_int_equal(alloc_asked(), 0);
	torn_down(w, live);
}

static void on_done(struct viommu_fence *f, void *arg)
{
	(void)f;
	++*(unsigned *)arg;
}

/* More extents than a fence has room for, of all kinds; a hold; a wait. */
static void fences_wait(struct world *w)
{
	struct viommu_fence f, g;
	unsigned done = 0;
	struct held h;

	assert_int_equal(hold(w, &h, 0x1000, 0x2000), 0);
	viommu_fence_init(&f);
	for (uint64_t i = 0; i < 8; i++)
		assert_int_equal(viommu_space_unmap(w->space[BYTES],
						    TERA * i * 2, TERA * i * 2,
						    &f) < 0,
				 i > 0); /* would cut */
	assert_int_equal(
		viommu_space_unmap(w->space[PAGES], 0x1000, 0x1fff, &f), 4096);
	viommu_endpoint_detach(w->ep[EP_LOOSE], &f);
	assert_int_equal(
		viommu_endpoint_attach(w->ep[EP_BYTES], w->space[LARGE], &f),
		0);
	viommu_endpoint_detach(w->ep[EP_BYTES], &f);
	viommu_endpoint_detach(w->ep[EP_IDENTITY], &f);
	assert_int_equal(viommu_memory_remove(w->mem[MEM_0], TERA + 5, 1, &f),
			 0);
	viommu_fence_hold(&f);
	viommu_fence_commit(&f, on_done, &done);
	viommu_fence_init(&g);
	assert_int_equal(
		viommu_space_unmap(w->space[PAGES], 0x2000, 0x2fff, &g), 4096);
	viommu_fence_commit(&g, NULL, NULL);
	assert_int_equal(viommu_fence_wait(&g, 1000), -ETIMEDOUT);
	viommu_dma_unmap(&h.d, 0);
	assert_int_equal(viommu_fence_wait(&g, 10000000000), 0);
	assert_int_equal(done, 0);
	viommu_fence_release(&f);
	assert_int_equal(done, 1);
	assert_true(viommu_fence_done(&f));
}

/* Asked to let go; held on to, given up, let go, recovered. */
static void fences_fail(struct world *w)
{
	const uint32_t rw = VIOMMU_READ | VIOMMU_WRITE;
	const uint64_t giga = 1 << 30;
	unsigned done = 0, told = 0;
	struct viommu_fence f;
	struct held h;

	assert_int_equal(hold_as(&h, w->ep[EP_ASKS], giga, 8, rw), 0);
	viommu_dma_unmap(&h.d, 8);
	h.d.revoke = let_go;
	assert_int_equal(viommu_dma_map(&h.d), 0);
	viommu_fence_init(&f);
	assert_int_equal(
		viommu_space_invalidate(w->space[ASKS], giga, 2 * giga - 1, &f),
		0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_true(viommu_fence_done(&f));

	assert_int_equal(hold_as(&h, w->ep[EP_SPLITS], TERA, 8, rw), 0);
	viommu_fence_init(&f);
	viommu_fence_set_timeout(&f, 1);
	viommu_fence_set_failed(&f, on_done);
	assert_int_equal(
		viommu_space_unmap(w->space[SPLITS], TERA, TERA + 4095, &f),
		4096);
	viommu_fence_commit(&f, on_done, &told);
	viommu_poll(w->vi, viommu_next_deadline(w->vi));
	assert_int_equal(told, 1); /* failed */
	assert_int_equal(viommu_endpoint_recover(w->ep[EP_SPLITS]), -EBUSY);
	viommu_dma_unmap(&h.d, 8);
	assert_int_equal(told, 2); /* done */
	assert_int_equal(viommu_endpoint_recover(w->ep[EP_SPLITS]), 0);

	/* the log may be stopped while it is written to */
	assert_int_equal(hold_as(&h, w->ep[EP_SPLITS], TERA + 4096, 8, rw), 0);
	viommu_fence_init(&f);
	viommu_memory_dirty_stop(w->mem[MEM_0], &f);
	viommu_fence_commit(&f, on_done, &done);
	assert_int_equal(done, 1);
	viommu_dma_unmap(&h.d, 8);
}

static void taking_away_allocates_nothing(uint32_t barrier)
{
	static struct view view;
	size_t live = alloc_live();
	struct world *w = built(barrier);
	struct viommu_fence f;

	fences_wait(w);
	fences_fail(w);
	assert_int_equal(alloc_asked(), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w->space[PAGES], 0, TOP, &f) > 0,
			 1);
	assert_int_equal(viommu_space_unmap(w->space[BYTES], 0, TOP, &f) > 0,
			 1);
	/* all regions but the last byte's, then that */
	assert_int_equal(viommu_memory_remove(w->mem[MEM_0], 0, TOP - 4095, &f),
			 0);
	assert_int_equal(viommu_memory_remove(w->mem[MEM_0], 0, 0, &f), 0);
	viommu_endpoint_destroy(w->ep[EP_PAGES], &f);
	w->ep[EP_PAGES] = NULL;
	viommu_space_destroy(w->space[LARGE], &f);
	w->space[LARGE] = NULL;
	fence_run(&f);
	view.len = 0;
	core_look(w, 0, &view);
	assert_int_equal(alloc_asked(), 0);
	torn_down(w, live);
}

static void dma_without(void **state)
{
	(void)state;
	dma_allocates_nothing(VIOMMU_BARRIER_FENCED);
	dma_allocates_nothing(VIOMMU_BARRIER_ASYMMETRIC);
}

static void taking_away_without(void **state)
{
	(void)state;
	taking_away_allocates_nothing(VIOMMU_BARRIER_FENCED);
	taking_away_allocates_nothing(VIOMMU_BARRIER_ASYMMETRIC);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_failure_is_undone),
		cmocka_unit_test(every_failure_is_undone_asymmetric),
		cmocka_unit_test(dma_without),
		cmocka_unit_test(taking_away_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
