/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The vhost-user IOTLB, its front-end played by the test: what is asked, what
 * messages do, and when they are acknowledged.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <viommu.h>
#include <viommu/serve/vhost_iotlb.h>

#define PAGE   UINT64_C(4096)
#define PAGES  64u		  /* in each of two regions */
#define LOW    UINT64_C(0x100000) /* GPA */
#define HIGH   UINT64_C(0x40000000)
#define USER   UINT64_C(0x7f0000000000) /* both, in a row */
#define USER2  (USER + PAGES * PAGE)
#define IOVA   UINT64_C(0xfffe000000)
#define SECOND UINT64_C(1000000000)
#define EVENTS 4096u

enum {
	R = VHOST_ACCESS_RO,
	W = VHOST_ACCESS_WO,
	RW = VHOST_ACCESS_RW
};

struct ack {
	uint64_t token;
	int status;
};

struct world {
	struct viommu *vi;
	struct viommu_vhost_iotlb *tlb;
	struct viommu_endpoint *ep;
	uint8_t *ram; /* LOW's pages, then HIGH's */
	pthread_mutex_t lock;
	struct vhost_iotlb_msg miss[EVENTS];
	unsigned nmiss;
	struct ack ack[EVENTS];
	unsigned nack;
	atomic_uint wakes, faults;
	uint64_t now;	   /* the clock */
	bool no_memory;	   /* allocations fail */
	unsigned allowed;  /* after so many */
	bool answer;	   /* each ack hands in one more message */
	atomic_bool stays; /* an ack does not return */
	atomic_bool in;	   /* one is there */
};

/* -------------------------------------------------------------- callbacks */

static void on_miss(void *arg, const struct vhost_iotlb_msg *msg)
{
	struct world *w = arg;

	pthread_mutex_lock(&w->lock);
	assert_true(w->nmiss < EVENTS);
	w->miss[w->nmiss++] = *msg;
	pthread_mutex_unlock(&w->lock);
}

static void on_ack(void *arg, uint64_t token, int status)
{
	struct world *w = arg;
	struct vhost_iotlb_msg m = { .type = VHOST_IOTLB_INVALIDATE };

	pthread_mutex_lock(&w->lock);
	assert_true(w->nack < EVENTS);
	w->ack[w->nack++] = (struct ack){ token, status };
	pthread_mutex_unlock(&w->lock);
	atomic_store(&w->in, true);
	while (atomic_load(&w->stays))
		sched_yield();
	if (w->answer && token < 50)
		assert_int_equal(
			viommu_vhost_iotlb_message(w->tlb, &m, token + 1), 0);
}

static void on_wake(void *arg)
{
	struct world *w = arg;

	atomic_fetch_add(&w->wakes, 1);
}

static const struct viommu_vhost_iotlb_ops ops = {
	.miss = on_miss,
	.ack = on_ack,
	.wake = on_wake,
};

static void on_fault(void *arg, const struct viommu_fault *fault)
{
	struct world *w = arg;

	(void)fault;
	atomic_fetch_add(&w->faults, 1);
}

static uint64_t the_clock(void *arg)
{
	struct world *w = arg;

	return __atomic_load_n(&w->now, __ATOMIC_RELAXED);
}

static void *the_alloc(void *arg, size_t size, size_t align)
{
	struct world *w = arg;

	if (w->no_memory && !w->allowed)
		return NULL;
	w->allowed -= w->no_memory;
	return aligned_alloc(align, (size + align - 1) & ~(align - 1));
}

static void the_free(void *arg, void *ptr)
{
	(void)arg;
	free(ptr);
}

/* ------------------------------------------------------------------ world */

static void region(struct world *w, uint64_t gpa, uint64_t user, uint8_t *host)
{
	const struct viommu_region r = { .size = sizeof(r),
					 .gpa = gpa,
					 .len = PAGES * PAGE,
					 .host = host,
					 .prot = VIOMMU_READ | VIOMMU_WRITE,
					 .fd = -1 };
	const struct viommu_vhost_region v = { .gpa = gpa,
					       .user = user,
					       .len = PAGES * PAGE };

	assert_int_equal(viommu_memory_add(viommu_memory_of(w->vi), &r), 0);
	assert_int_equal(viommu_vhost_iotlb_region_add(w->tlb, &v), 0);
}

static void fence_end(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(f, (int64_t)(10 * SECOND)), 0);
}

static struct world *world_make(struct viommu_vhost_iotlb_config *cfg)
{
	struct world *w = calloc(1, sizeof(*w));
	const struct viommu_env env = { .size = sizeof(env),
					.arg = w,
					.alloc = the_alloc,
					.free = the_free,
					.clock = the_clock };
	const struct viommu_config vc = { .size = sizeof(vc), .env = &env };
	const struct viommu_endpoint_config ec = { .size = sizeof(ec),
						   .id = 3,
						   .pasid = VIOMMU_NO_PASID,
						   .fault = on_fault,
						   .arg = w };
	struct viommu_fence f;

	assert_non_null(w);
	w->now = SECOND;
	pthread_mutex_init(&w->lock, NULL);
	w->ram = aligned_alloc(PAGE, 2 * PAGES * PAGE);
	assert_non_null(w->ram);
	for (unsigned i = 0; i < 2 * PAGES; i++)
		memset(w->ram + i * PAGE, (int)i + 1, PAGE);
	assert_int_equal(viommu_create(&vc, &w->vi), 0);
	cfg->size = sizeof(*cfg);
	cfg->vi = w->vi;
	cfg->ops = &ops;
	cfg->arg = w;
	assert_int_equal(viommu_vhost_iotlb_create(cfg, &w->tlb), 0);
	region(w, HIGH, USER2, w->ram + PAGES * PAGE);
	region(w, LOW, USER, w->ram);
	assert_int_equal(viommu_endpoint_create(w->vi, &ec, &w->ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(
				 w->ep, viommu_vhost_iotlb_space(w->tlb), &f),
			 0);
	fence_end(&f);
	return w;
}

static void world_free(struct world *w)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_endpoint_destroy(w->ep, &f);
	viommu_vhost_iotlb_destroy(w->tlb, &f);
	fence_end(&f);
	viommu_destroy(w->vi);
	pthread_mutex_destroy(&w->lock);
	free(w->ram);
	free(w);
}

static int setup(void **state)
{
	struct viommu_vhost_iotlb_config cfg = { 0 };

	*state = world_make(&cfg);
	return 0;
}

static int setup_small(void **state)
{
	struct viommu_vhost_iotlb_config cfg = {
		.max_entries = 16,
		.max_misses = 64,
		.max_regions = 3,
		.max_pending = 2,
		.fence_timeout_ns = SECOND / 4,
		.miss_timeout_ns = SECOND / 2,
	};

	*state = world_make(&cfg);
	return 0;
}

static int teardown(void **state)
{
	world_free(*state);
	return 0;
}

static struct viommu_vhost_iotlb_stats stats(struct world *w)
{
	struct viommu_vhost_iotlb_stats st;

	viommu_vhost_iotlb_read_stats(w->tlb, &st);
	return st;
}

/* ------------------------------------------------------------ a front-end */

static void send(struct world *w, uint8_t type, uint64_t iova, uint64_t size,
		 uint64_t user, uint8_t perm, uint64_t token)
{
	const struct vhost_iotlb_msg m = { .iova = iova,
					   .size = size,
					   .uaddr = user,
					   .perm = perm,
					   .type = type };

	assert_int_equal(viommu_vhost_iotlb_message(w->tlb, &m, token), 0);
}

/* The status of what was acknowledged as @token, which was the last. */
static int acked(struct world *w, uint64_t token)
{
	int status;

	pthread_mutex_lock(&w->lock);
	assert_true(w->nack > 0);
	assert_int_equal(w->ack[w->nack - 1].token, token);
	status = w->ack[w->nack - 1].status;
	pthread_mutex_unlock(&w->lock);
	return status;
}

/* Send one that is acknowledged at once; its status. */
static int tell(struct world *w, uint8_t type, uint64_t iova, uint64_t size,
		uint64_t user, uint8_t perm)
{
	unsigned before = w->nack;

	send(w, type, iova, size, user, perm, 1000 + before);
	assert_int_equal(w->nack, before + 1);
	return acked(w, 1000 + before);
}

static int update(struct world *w, uint64_t iova, uint64_t size, uint64_t user,
		  uint8_t perm)
{
	return tell(w, VHOST_IOTLB_UPDATE, iova, size, user, perm);
}

static int invalidate(struct world *w, uint64_t iova, uint64_t size)
{
	return tell(w, VHOST_IOTLB_INVALIDATE, iova, size, 0, 0);
}

static int look(struct world *w, uint64_t iova)
{
	uint8_t byte;
	int rc = viommu_dma_read(w->ep, iova, &byte, 1);

	return rc ? rc : byte;
}

static int poke(struct world *w, uint64_t iova, uint8_t byte)
{
	return viommu_dma_write(w->ep, iova, &byte, 1);
}

struct held {
	struct viommu_dma d;
	struct iovec iov[4];
};

static void hold(struct world *w, struct held *h, uint64_t iova, uint32_t prot)
{
	h->d = (struct viommu_dma){ .ep = w->ep,
				    .iova = iova,
				    .len = PAGE,
				    .prot = prot,
				    .iov = h->iov,
				    .max_iov = 4 };
	assert_int_equal(viommu_dma_map(&h->d), 0);
}

/* --------------------------------------------------------------- questions */

static void an_access_asks_and_goes_on_when_it_is_answered(void **state)
{
	struct world *w = *state;

	assert_int_equal(look(w, IOVA + 5), -EINPROGRESS);
	assert_int_equal(poke(w, IOVA + 7, 0), -EINPROGRESS);
	/* one question for the page */
	assert_int_equal(w->nmiss, 1);
	assert_int_equal(w->miss[0].type, VHOST_IOTLB_MISS);
	assert_int_equal(w->miss[0].iova, IOVA);
	assert_int_equal(w->miss[0].perm, R);
	assert_int_equal(w->wakes, 0);
	assert_int_equal(update(w, IOVA, PAGE, USER + 3 * PAGE, RW), 0);
	assert_int_equal(w->wakes, 1);
	assert_int_equal(look(w, IOVA + 5), 4);
	assert_int_equal(poke(w, IOVA + 7, 99), 0);
	assert_int_equal(w->ram[3 * PAGE + 7], 99);
	assert_int_equal(stats(w).misses, 1);
	assert_int_equal(stats(w).updates, 1);
	assert_int_equal(stats(w).entries, 1);
	assert_int_equal(w->faults, 0);
}

static void a_write_asks_for_writing(void **state)
{
	struct world *w = *state;

	assert_int_equal(poke(w, IOVA, 0), -EINPROGRESS);
	assert_int_equal(w->miss[0].perm, W);
}

static void permissions_of_one_place_add_up(void **state)
{
	struct world *w = *state;
	struct held h;

	assert_int_equal(update(w, IOVA, PAGE, USER, R), 0);
	hold(w, &h, IOVA, VIOMMU_READ);
	assert_int_equal(poke(w, IOVA, 7), -EINPROGRESS);
	assert_int_equal(w->miss[0].perm, W);
	/* acknowledged at once, since nothing is taken from the map */
	assert_int_equal(update(w, IOVA, PAGE, USER, W), 0);
	assert_int_equal(poke(w, IOVA, 7), 0);
	assert_int_equal(look(w, IOVA), 7);
	assert_int_equal(w->nmiss, 1);
	viommu_dma_unmap(&h.d, 0);
}

static void permissions_add_up_in_a_part_of_what_comes(void **state)
{
	struct world *w = *state;

	assert_int_equal(update(w, IOVA + PAGE, PAGE, USER + PAGE, R), 0);
	assert_int_equal(update(w, IOVA, 4 * PAGE, USER, W), 0);
	assert_int_equal(look(w, IOVA + PAGE), 2);
	assert_int_equal(poke(w, IOVA + PAGE, 50), 0);
	assert_int_equal(poke(w, IOVA + 3 * PAGE, 51), 0);
	assert_int_equal(w->ram[3 * PAGE], 51);
	assert_int_equal(look(w, IOVA), -EINPROGRESS);
	assert_int_equal(look(w, IOVA + 2 * PAGE), -EINPROGRESS);
}

static void an_answer_that_grants_too_little_is_a_fault(void **state)
{
	struct world *w = *state;

	assert_int_equal(poke(w, IOVA, 7), -EINPROGRESS);
	assert_int_equal(update(w, IOVA, PAGE, USER, R), 0);
	assert_int_equal(poke(w, IOVA, 7), -EACCES);
	assert_int_equal(w->faults, 1);
	assert_int_equal(w->nmiss, 1);
}

static void a_question_that_an_invalidation_meets_is_asked_again(void **state)
{
	struct world *w = *state;

	assert_int_equal(look(w, IOVA), -EINPROGRESS);
	assert_int_equal(invalidate(w, IOVA - PAGE, PAGE), 0);
	assert_int_equal(w->wakes, 0);
	assert_int_equal(invalidate(w, IOVA, PAGE), 0);
	assert_int_equal(w->wakes, 1);
	assert_int_equal(look(w, IOVA), -EINPROGRESS);
	assert_int_equal(w->nmiss, 2);
}

static void an_update_is_gone_after_the_invalidation_behind_it(void **state)
{
	struct world *w = *state;

	assert_int_equal(look(w, IOVA), -EINPROGRESS);
	assert_int_equal(update(w, IOVA, PAGE, USER, RW), 0);
	assert_int_equal(invalidate(w, IOVA, PAGE), 0);
	assert_int_equal(look(w, IOVA), -EINPROGRESS);
	assert_int_equal(w->nmiss, 2);
}

static void a_question_times_out(void **state)
{
	struct world *w = *state;
	viommu_iova_t start, last;

	assert_int_equal(look(w, IOVA + 9), -EINPROGRESS);
	assert_int_equal(viommu_vhost_iotlb_timed_out(w->tlb, &start, &last),
			 -ENOENT);
	w->now += SECOND / 2;
	viommu_poll(w->vi, w->now);
	assert_int_equal(w->wakes, 1);
	assert_int_equal(viommu_vhost_iotlb_timed_out(w->tlb, &start, &last),
			 0);
	assert_int_equal(start, IOVA);
	assert_int_equal(last, IOVA + PAGE - 1);
	assert_int_equal(viommu_vhost_iotlb_timed_out(w->tlb, &start, &last),
			 -ENOENT);
	assert_int_equal(stats(w).timeouts, 1);
	/* late is not too late */
	assert_int_equal(update(w, IOVA, PAGE, USER, R), 0);
	assert_int_equal(look(w, IOVA), 1);
}

static void of_many_that_time_out_none_is_forgotten(void **state)
{
	struct world *w = *state;
	viommu_iova_t start, last;
	bool seen[40] = { false };

	for (unsigned i = 40; i > 0; i--)
		assert_int_equal(look(w, IOVA + 2 * (i - 1) * PAGE),
				 -EINPROGRESS);
	w->now += SECOND / 2;
	viommu_poll(w->vi, w->now);
	while (!viommu_vhost_iotlb_timed_out(w->tlb, &start, &last))
		for (unsigned i = 0; i < 40; i++)
			if (start <= IOVA + 2 * i * PAGE &&
			    IOVA + 2 * i * PAGE <= last)
				seen[i] = true;
	for (unsigned i = 0; i < 40; i++)
		assert_true(seen[i]);
}

/* ----------------------------------------------------------------- UPDATE */

static void an_update_may_cross_regions(void **state)
{
	struct world *w = *state;
	uint64_t from = (PAGES - 1) * PAGE;

	assert_int_equal(update(w, IOVA, 3 * PAGE, USER + from, R), 0);
	assert_int_equal(stats(w).entries, 2);
	assert_int_equal(look(w, IOVA), PAGES);
	assert_int_equal(look(w, IOVA + PAGE), PAGES + 1);
	assert_int_equal(look(w, IOVA + 3 * PAGE - 1), PAGES + 2);
}

static void an_update_outside_of_the_regions_changes_nothing(void **state)
{
	struct world *w = *state;
	uint64_t end = USER2 + PAGES * PAGE;

	assert_int_equal(update(w, IOVA, PAGE, end, R), -EFAULT);
	assert_int_equal(update(w, IOVA, PAGE, USER - PAGE, R), -EFAULT);
	/* nor does one that begins inside */
	assert_int_equal(update(w, IOVA, 2 * PAGE, end - PAGE, R), -EFAULT);
	assert_int_equal(stats(w).entries, 0);
	assert_int_equal(stats(w).refused, 3);
	assert_int_equal(stats(w).updates, 0);
}

static void a_bad_message_is_refused(void **state)
{
	struct world *w = *state;

	assert_int_equal(update(w, IOVA, 0, USER, R), -EINVAL);
	assert_int_equal(update(w, 0, 0, 0, R), -EINVAL);
	assert_int_equal(update(w, IOVA, PAGE, USER, 0), -EINVAL);
	assert_int_equal(update(w, IOVA, PAGE, USER, 4 | R), -EINVAL);
	assert_int_equal(update(w, IOVA + 1, PAGE, USER, R), -EINVAL);
	assert_int_equal(update(w, IOVA, PAGE + 1, USER, R), -EINVAL);
	assert_int_equal(update(w, IOVA, PAGE, USER + 1, R), -EINVAL);
	assert_int_equal(update(w, -PAGE, 2 * PAGE, USER, R), -EINVAL);
	assert_int_equal(update(w, IOVA, 2 * PAGE, -PAGE, R), -EINVAL);
	for (unsigned type = 0; type < 256; type++)
		if (type != VHOST_IOTLB_UPDATE &&
		    type != VHOST_IOTLB_INVALIDATE)
			assert_int_equal(
				tell(w, (uint8_t)type, IOVA, PAGE, USER, R),
				-EINVAL);
	assert_int_equal(stats(w).entries, 0);
}

static void
an_update_elsewhere_is_acknowledged_when_the_old_place_is_free(void **state)
{
	struct world *w = *state;
	struct held h;

	assert_int_equal(update(w, IOVA, PAGE, USER, R), 0);
	hold(w, &h, IOVA, VIOMMU_READ);
	send(w, VHOST_IOTLB_UPDATE, IOVA, PAGE, USER + PAGE, R, 1);
	assert_int_equal(w->nack, 1);
	/* in effect already */
	assert_int_equal(look(w, IOVA), 2);
	assert_int_equal(stats(w).waited, 1);
	viommu_dma_unmap(&h.d, 0);
	assert_int_equal(w->nack, 2);
	assert_int_equal(acked(w, 1), 0);
}

static void
an_update_replaces_also_the_permission_of_another_place(void **state)
{
	struct world *w = *state;

	assert_int_equal(update(w, IOVA, PAGE, USER, RW), 0);
	assert_int_equal(update(w, IOVA, PAGE, USER + PAGE, R), 0);
	assert_int_equal(poke(w, IOVA, 7), -EINPROGRESS);
}

static void an_update_replaces_a_part(void **state)
{
	struct world *w = *state;

	assert_int_equal(update(w, IOVA, 3 * PAGE, USER, R), 0);
	assert_int_equal(update(w, IOVA + PAGE, PAGE, USER2, R), 0);
	assert_int_equal(look(w, IOVA), 1);
	assert_int_equal(look(w, IOVA + PAGE), PAGES + 1);
	assert_int_equal(look(w, IOVA + 2 * PAGE), 3);
}

static void a_full_cache_takes_what_comes(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < 60; i++) {
		assert_int_equal(update(w, IOVA + 2 * i * PAGE, PAGE,
					USER + i * PAGE, R),
				 0);
		assert_int_equal(look(w, IOVA + 2 * i * PAGE), i + 1);
		assert_true(stats(w).entries <= 16);
	}
	assert_true(stats(w).entries >= 8);
	assert_int_equal(stats(w).evicted + stats(w).entries, 60);
	/* what went is asked for */
	assert_int_equal(look(w, IOVA), -EINPROGRESS);
}

/* Not always the same: those that came last stay for a while. */
static void entries_go_in_turns(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(update(w, IOVA + 2 * i * PAGE, PAGE, USER, R),
				 0);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(update(w, i * PAGE, PAGE, USER, R), 0);
		for (unsigned j = 0; j <= i; j++)
			assert_int_equal(look(w, j * PAGE), 1);
	}
	assert_true(stats(w).evicted > 3);
}

static void what_is_in_use_may_go_from_a_full_cache(void **state)
{
	struct world *w = *state;
	struct held h;

	assert_int_equal(update(w, IOVA, PAGE, USER, R), 0);
	hold(w, &h, IOVA, VIOMMU_READ);
	/* nobody waits for the map */
	for (unsigned i = 1; i < 20; i++)
		assert_int_equal(update(w, IOVA + 2 * i * PAGE, PAGE,
					USER + i * PAGE, R),
				 0);
	assert_true(stats(w).evicted > 0);
	/* but an invalidation does, although the entry is gone */
	send(w, VHOST_IOTLB_INVALIDATE, IOVA, PAGE, 0, 0, 1);
	assert_int_not_equal(w->ack[w->nack - 1].token, 1);
	viommu_dma_unmap(&h.d, 0);
	assert_int_equal(acked(w, 1), 0);
}

/* What went from a full cache is not there to be compared; yet somebody may use
 * it. */
static void
an_update_in_the_place_of_what_was_forgotten_waits_for_who_uses_it(void **state)
{
	struct world *w = *state;
	struct held h;

	assert_int_equal(update(w, IOVA, PAGE, USER, R), 0);
	hold(w, &h, IOVA, VIOMMU_READ);
	for (unsigned i = 1; i < 17; i++)
		assert_int_equal(update(w, IOVA + 2 * i * PAGE, PAGE,
					USER + i * PAGE, R),
				 0);
	assert_int_equal(look(w, IOVA), -EINPROGRESS);
	/* in the hole before one that has more permission, too */
	assert_int_equal(update(w, IOVA + PAGE, PAGE, USER + 10 * PAGE, RW), 0);
	send(w, VHOST_IOTLB_UPDATE, IOVA, 2 * PAGE, USER + 9 * PAGE, R, 1);
	assert_int_equal(look(w, IOVA), 10);
	assert_int_not_equal(w->ack[w->nack - 1].token, 1);
	viommu_dma_unmap(&h.d, 0);
	assert_int_equal(acked(w, 1), 0);
	/* from here on nobody uses what is not there */
	hold(w, &h, IOVA, VIOMMU_READ);
	assert_int_equal(update(w, IOVA, PAGE, USER + 9 * PAGE, W), 0);
	viommu_dma_unmap(&h.d, 0);
}

/* The same if its own place is among what goes to make room for it. */
static void
an_update_that_takes_its_own_place_waits_for_who_uses_it(void **state)
{
	struct world *w = *state;
	struct held h;

	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(update(w, IOVA + 2 * i * PAGE, PAGE,
					USER + i * PAGE, R),
				 0);
	hold(w, &h, IOVA, VIOMMU_READ);
	send(w, VHOST_IOTLB_UPDATE, IOVA, PAGE, USER + 20 * PAGE, R, 1);
	assert_int_equal(look(w, IOVA), 21);
	assert_int_not_equal(w->ack[w->nack - 1].token, 1);
	viommu_dma_unmap(&h.d, 0);
	assert_int_equal(acked(w, 1), 0);
}

/* ------------------------------------------------------------- INVALIDATE */

static void an_invalidation_is_acknowledged_when_the_map_is_gone(void **state)
{
	struct world *w = *state;
	struct held a, b;

	assert_int_equal(update(w, IOVA, 4 * PAGE, USER, RW), 0);
	hold(w, &a, IOVA, VIOMMU_READ);
	hold(w, &b, IOVA + 2 * PAGE, VIOMMU_WRITE);
	/* others' maps do not matter */
	assert_int_equal(invalidate(w, IOVA + PAGE, PAGE), 0);
	send(w, VHOST_IOTLB_INVALIDATE, IOVA + 2 * PAGE, PAGE, 77, 78, 1);
	assert_int_equal(w->nack, 2);
	/* gone for new accesses */
	assert_int_equal(look(w, IOVA + 2 * PAGE), -EINPROGRESS);
	assert_int_equal(look(w, IOVA + 3 * PAGE), 4);
	viommu_dma_unmap(&a.d, 0);
	assert_int_equal(w->nack, 2);
	viommu_dma_unmap(&b.d, PAGE);
	assert_int_equal(w->nack, 3);
	assert_int_equal(acked(w, 1), 0);
	assert_int_equal(stats(w).invalidations, 2);
	assert_int_equal(stats(w).waited, 1);
}

static void size_0_goes_to_the_top(void **state)
{
	struct world *w = *state;

	assert_int_equal(update(w, 0, PAGE, USER, R), 0);
	assert_int_equal(update(w, IOVA, PAGE, USER, R), 0);
	assert_int_equal(update(w, -PAGE, PAGE, USER, R), 0);
	assert_int_equal(invalidate(w, IOVA, 0), 0);
	assert_int_equal(look(w, 0), 1);
	assert_int_equal(look(w, IOVA), -EINPROGRESS);
	assert_int_equal(look(w, UINT64_MAX), -EINPROGRESS);
	assert_int_equal(invalidate(w, 0, 0), 0);
	assert_int_equal(look(w, 0), -EINPROGRESS);
	assert_int_equal(stats(w).entries, 0);
}

static void a_range_ends_at_the_top_and_not_beyond(void **state)
{
	struct world *w = *state;

	assert_int_equal(update(w, -PAGE, PAGE, USER, R), 0);
	assert_int_equal(update(w, 0, PAGE, USER, R), 0);
	assert_int_equal(invalidate(w, -PAGE, PAGE + 1), -EINVAL);
	assert_int_equal(look(w, UINT64_MAX), 1);
	assert_int_equal(invalidate(w, -PAGE, PAGE), 0);
	assert_int_equal(look(w, UINT64_MAX), -EINPROGRESS);
	assert_int_equal(look(w, 0), 1);
}

static void an_invalidation_cuts_what_is_larger(void **state)
{
	struct world *w = *state;

	assert_int_equal(update(w, IOVA, 3 * PAGE, USER, R), 0);
	assert_int_equal(invalidate(w, IOVA + PAGE, PAGE), 0);
	assert_int_equal(look(w, IOVA), 1);
	assert_int_equal(look(w, IOVA + PAGE), -EINPROGRESS);
	assert_int_equal(look(w, IOVA + 2 * PAGE), 3);
}

static void acknowledgements_keep_the_order_of_the_messages(void **state)
{
	struct world *w = *state;
	struct held a, b;

	assert_int_equal(update(w, IOVA, 4 * PAGE, USER, R), 0);
	hold(w, &a, IOVA, VIOMMU_READ);
	hold(w, &b, IOVA + PAGE, VIOMMU_READ);
	send(w, VHOST_IOTLB_INVALIDATE, IOVA, PAGE, 0, 0, 1);
	send(w, VHOST_IOTLB_INVALIDATE, IOVA + PAGE, PAGE, 0, 0, 2);
	send(w, VHOST_IOTLB_UPDATE, IOVA + 9 * PAGE, PAGE, USER, R, 3);
	send(w, VHOST_IOTLB_UPDATE, IOVA, PAGE, 0, R, 4);
	/* carried out all the same */
	assert_int_equal(look(w, IOVA + 9 * PAGE), 1);
	viommu_dma_unmap(&b.d, 0);
	assert_int_equal(w->nack, 1);
	viommu_dma_unmap(&a.d, 0);
	assert_int_equal(w->nack, 5);
	for (unsigned i = 1; i < 5; i++)
		assert_int_equal(w->ack[i].token, i);
	assert_int_equal(w->ack[3].status, 0);
	assert_int_equal(w->ack[4].status, -EFAULT);
}

static void an_acknowledgement_may_hand_in_the_next_message(void **state)
{
	struct world *w = *state;

	w->answer = true;
	send(w, VHOST_IOTLB_INVALIDATE, IOVA, PAGE, 0, 0, 1);
	assert_int_equal(w->nack, 50);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(w->ack[i].token, i + 1);
}

static void *let_go(void *arg)
{
	struct held *h = arg;

	viommu_dma_unmap(&h->d, 0);
	return NULL;
}

/* Whoever is in the callback also makes the calls that come to be due. */
static void one_acknowledgement_at_a_time(void **state)
{
	struct world *w = *state;
	struct held a, b;
	pthread_t thread;

	assert_int_equal(update(w, IOVA, 2 * PAGE, USER, R), 0);
	hold(w, &a, IOVA, VIOMMU_READ);
	hold(w, &b, IOVA + PAGE, VIOMMU_READ);
	send(w, VHOST_IOTLB_INVALIDATE, IOVA, PAGE, 0, 0, 1);
	send(w, VHOST_IOTLB_INVALIDATE, IOVA + PAGE, PAGE, 0, 0, 2);
	atomic_store(&w->in, false);
	atomic_store(&w->stays, true);
	assert_int_equal(pthread_create(&thread, NULL, let_go, &a), 0);
	while (!atomic_load(&w->in))
		sched_yield();
	/* would never return if it were to make the call itself */
	viommu_dma_unmap(&b.d, 0);
	assert_int_equal(w->nack, 2);
	atomic_store(&w->stays, false);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(w->nack, 3);
	assert_int_equal(acked(w, 2), 0);
}

static void too_many_that_wait_are_not_taken(void **state)
{
	struct world *w = *state;
	struct vhost_iotlb_msg m = { .iova = IOVA,
				     .size = PAGE,
				     .type = VHOST_IOTLB_INVALIDATE };
	struct held h;

	assert_int_equal(update(w, IOVA, PAGE, USER, R), 0);
	hold(w, &h, IOVA, VIOMMU_READ);
	for (unsigned i = 0; i < 3; i++)
		send(w, VHOST_IOTLB_INVALIDATE, IOVA, PAGE, 0, 0, i);
	assert_int_equal(viommu_vhost_iotlb_message(w->tlb, &m, 9), -EBUSY);
	assert_int_equal(w->nack, 1);
	viommu_dma_unmap(&h.d, 0);
	assert_int_equal(w->nack, 4);
	assert_int_equal(viommu_vhost_iotlb_message(w->tlb, &m, 9), 0);
	assert_int_equal(acked(w, 9), 0);
}

static void
who_does_not_let_go_is_given_up_and_the_answer_is_an_error(void **state)
{
	struct world *w = *state;
	struct held h;

	assert_int_equal(update(w, IOVA, 2 * PAGE, USER, R), 0);
	hold(w, &h, IOVA, VIOMMU_READ);
	send(w, VHOST_IOTLB_INVALIDATE, IOVA, PAGE, 0, 0, 1);
	w->now += SECOND / 4 - 1;
	viommu_poll(w->vi, w->now);
	assert_int_equal(w->nack, 1);
	w->now++;
	viommu_poll(w->vi, w->now);
	assert_int_equal(acked(w, 1), -ETIMEDOUT);
	/* as many as may wait so */
	send(w, VHOST_IOTLB_INVALIDATE, IOVA, PAGE, 0, 0, 2);
	w->now += SECOND / 4;
	viommu_poll(w->vi, w->now);
	assert_int_equal(acked(w, 2), -ETIMEDOUT);
	assert_int_equal(invalidate(w, IOVA + PAGE, PAGE), -ENOBUFS);
	assert_int_equal(stats(w).entries, 1);
	/* it lets go after all: as before */
	viommu_dma_unmap(&h.d, 0);
	assert_int_equal(viommu_endpoint_recover(w->ep), 0);
	assert_int_equal(w->nack, 4);
	assert_int_equal(invalidate(w, IOVA + PAGE, PAGE), 0);
	assert_int_equal(stats(w).entries, 0);
	assert_int_equal(stats(w).refused, 3);
}

/* ---------------------------------------------------------------- regions */

static void a_region_takes_its_entries_with_it(void **state)
{
	struct world *w = *state;
	const struct viommu_vhost_region low = { LOW, USER, PAGES * PAGE };
	struct viommu_fence f;
	struct held h;

	assert_int_equal(update(w, IOVA, 2 * PAGE, USER2 - PAGE, RW), 0);
	assert_int_equal(update(w, IOVA + 9 * PAGE, PAGE, USER, RW), 0);
	hold(w, &h, IOVA, VIOMMU_READ);
	viommu_fence_init(&f);
	assert_int_equal(viommu_vhost_iotlb_region_remove(w->tlb, &low, &f), 0);
	assert_int_equal(viommu_memory_remove(viommu_memory_of(w->vi), LOW,
					      PAGES * PAGE, &f),
			 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(look(w, IOVA), -EINPROGRESS);
	assert_int_equal(look(w, IOVA + 9 * PAGE), -EINPROGRESS);
	assert_int_equal(look(w, IOVA + PAGE), PAGES + 1);
	assert_int_equal(update(w, IOVA, PAGE, USER, R), -EFAULT);
	viommu_dma_unmap(&h.d, 0);
	assert_true(viommu_fence_done(&f));
	viommu_fence_init(&f);
	assert_int_equal(viommu_vhost_iotlb_region_remove(w->tlb, &low, &f),
			 -ENOENT);
}

static int region_add(struct world *w, uint64_t gpa, uint64_t user,
		      uint64_t len)
{
	const struct viommu_vhost_region r = { gpa, user, len };

	return viommu_vhost_iotlb_region_add(w->tlb, &r);
}

static void regions_are_checked(void **state)
{
	struct world *w = *state;

	assert_int_equal(region_add(w, 0, PAGE, 0), -EINVAL);
	assert_int_equal(region_add(w, 0, -PAGE, PAGE + 1), -EINVAL);
	assert_int_equal(region_add(w, -PAGE, 0, PAGE + 1), -EINVAL);
	assert_int_equal(region_add(w, 0, USER - PAGE, PAGE + 1), -EEXIST);
	assert_int_equal(region_add(w, HIGH + PAGE, 0, PAGE), -EEXIST);
	assert_int_equal(region_add(w, 0, USER - PAGE, PAGE), 0);
	assert_int_equal(region_add(w, PAGE, 0, PAGE), -ENOSPC);
}

static void a_user_address_is_in_one_region(void **state)
{
	struct world *w = *state;
	viommu_gpa_t gpa;

	assert_int_equal(
		viommu_vhost_iotlb_gpa_of_user(w->tlb, USER2 + 5, PAGE, &gpa),
		0);
	assert_int_equal(gpa, HIGH + 5);
	assert_int_equal(viommu_vhost_iotlb_gpa_of_user(w->tlb, USER,
							PAGES * PAGE, &gpa),
			 0);
	assert_int_equal(gpa, LOW);
	assert_int_equal(
		viommu_vhost_iotlb_gpa_of_user(w->tlb, USER2 - 1, 2, &gpa),
		-EFAULT);
	assert_int_equal(
		viommu_vhost_iotlb_gpa_of_user(w->tlb, USER - 1, 1, &gpa),
		-EFAULT);
	assert_int_equal(viommu_vhost_iotlb_gpa_of_user(w->tlb, USER, 0, &gpa),
			 -EFAULT);
}

/* ------------------------------------------------------------------- life */

static void a_reset_forgets_all(void **state)
{
	struct world *w = *state;
	struct viommu_fence f;
	struct held h;

	assert_int_equal(update(w, IOVA, PAGE, USER, RW), 0);
	assert_int_equal(look(w, 0), -EINPROGRESS);
	hold(w, &h, IOVA, VIOMMU_READ);
	viommu_fence_init(&f);
	viommu_vhost_iotlb_reset(w->tlb, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(w->wakes, 1);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(stats(w).entries, 0);
	assert_int_equal(update(w, IOVA, PAGE, USER, RW), -EFAULT);
	viommu_dma_unmap(&h.d, 0);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(region_add(w, LOW, USER2, PAGE), 0);
	assert_int_equal(update(w, IOVA, PAGE, USER2, RW), 0);
	assert_int_equal(look(w, IOVA), 1);
}

static void its_end_answers_what_waits_and_takes_its_time(void **state)
{
	struct viommu_vhost_iotlb_config cfg = { 0 };
	struct world *w = world_make(&cfg);
	struct viommu_fence f;
	struct held h;

	(void)state;
	assert_int_equal(update(w, IOVA, PAGE, USER, RW), 0);
	hold(w, &h, IOVA, VIOMMU_READ);
	send(w, VHOST_IOTLB_INVALIDATE, IOVA, PAGE, 0, 0, 1);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(w->ep, &f);
	viommu_vhost_iotlb_destroy(w->tlb, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(w->nack, 1);
	viommu_dma_unmap(&h.d, 0);
	assert_true(viommu_fence_done(&f));
	assert_int_equal(acked(w, 1), 0);
	viommu_destroy(w->vi);
	pthread_mutex_destroy(&w->lock);
	free(w->ram);
	free(w);
	viommu_vhost_iotlb_destroy(NULL, NULL);
}

static void bad_options_are_refused(void **state)
{
	struct world *w = *state;
	const struct viommu_vhost_iotlb_config good = { .size = sizeof(good),
							.vi = w->vi,
							.ops = &ops };
	struct {
		struct viommu_vhost_iotlb_config cfg;
		uint64_t later;
	} c = { .cfg = good };
	struct viommu_vhost_iotlb_ops none = ops;
	struct viommu_vhost_iotlb *tlb;

	c.cfg.size = sizeof(c);
	c.later = 1;
	assert_int_equal(viommu_vhost_iotlb_create(&c.cfg, &tlb), -EINVAL);
	c.cfg = good;
	c.cfg.page_size = 3 * PAGE;
	assert_int_equal(viommu_vhost_iotlb_create(&c.cfg, &tlb), -EINVAL);
	c.cfg.page_size = UINT64_C(1) << 31;
	assert_int_equal(viommu_vhost_iotlb_create(&c.cfg, &tlb), -EINVAL);
	c.cfg = good;
	c.cfg.max_misses = (1u << 20) + 1;
	assert_int_equal(viommu_vhost_iotlb_create(&c.cfg, &tlb), -EINVAL);
	c.cfg = good;
	c.cfg.ops = NULL;
	assert_int_equal(viommu_vhost_iotlb_create(&c.cfg, &tlb), -EINVAL);
	c.cfg.ops = &none;
	none.miss = NULL;
	assert_int_equal(viommu_vhost_iotlb_create(&c.cfg, &tlb), -EINVAL);
	none = ops;
	none.ack = NULL;
	assert_int_equal(viommu_vhost_iotlb_create(&c.cfg, &tlb), -EINVAL);
	none = ops;
	none.wake = NULL;
	assert_int_equal(viommu_vhost_iotlb_create(&c.cfg, &tlb), -EINVAL);
}

static void it_is_made_whole_or_not_at_all(void **state)
{
	struct world *w = *state;
	const struct viommu_vhost_iotlb_config cfg = {
		.size = sizeof(cfg), .vi = w->vi, .ops = &ops, .arg = w
	};
	struct viommu_vhost_iotlb *tlb = NULL;
	struct viommu_fence f;
	unsigned n = 0;
	int rc;

	w->no_memory = true;
	do {
		w->allowed = n++;
		rc = viommu_vhost_iotlb_create(&cfg, &tlb);
		assert_true(!rc || rc == -ENOMEM);
	} while (rc);
	w->no_memory = false;
	assert_true(n > 4);
	viommu_fence_init(&f);
	viommu_vhost_iotlb_destroy(tlb, &f);
	fence_end(&f);
}

static void without_memory_an_update_is_refused(void **state)
{
	struct world *w = *state;

	assert_int_equal(look(w, IOVA), -EINPROGRESS);
	w->no_memory = true;
	w->allowed = 0;
	assert_int_equal(update(w, IOVA, PAGE, USER, R), -ENOMEM);
	/* no reason to ask again at once */
	assert_int_equal(w->wakes, 0);
	w->no_memory = false;
	assert_int_equal(update(w, IOVA, PAGE, USER, R), 0);
	assert_int_equal(look(w, IOVA), 1);
}

/* A page may be a byte. */
static void pages_are_as_large_as_configured(void **state)
{
	struct viommu_vhost_iotlb_config cfg = { .page_size = 1 };
	struct world *w = world_make(&cfg);

	(void)state;
	assert_int_equal(look(w, IOVA + 3), -EINPROGRESS);
	assert_int_equal(w->miss[0].iova, IOVA + 3);
	assert_int_equal(update(w, IOVA + 3, 2, USER + PAGE + 1, R), 0);
	assert_int_equal(look(w, IOVA + 4), 2);
	assert_int_equal(look(w, IOVA + 5), -EINPROGRESS);
	world_free(w);
}

/* ---------------------------------------------------------------- threads */

enum {
	ROUNDS = 300,
	POISON = 0xee
};

struct racer {
	struct world *w;
	atomic_bool stop;
	atomic_uint reads;
	bool poisoned;
};

/* A device that reads and holds; a page that was acknowledged as gone says
 * so. */
static void *race_device(void *arg)
{
	struct racer *r = arg;
	struct held h;

	while (!atomic_load(&r->stop)) {
		h.d = (struct viommu_dma){ .ep = r->w->ep,
					   .iova = IOVA,
					   .len = PAGE,
					   .prot = VIOMMU_READ,
					   .iov = h.iov,
					   .max_iov = 4 };
		if (viommu_dma_map(&h.d)) {
			sched_yield();
			continue;
		}
		for (unsigned i = 0; i < PAGE; i += 512)
			if (((volatile uint8_t *)h.iov[0].iov_base)[i] ==
			    POISON)
				r->poisoned = true;
		viommu_dma_unmap(&h.d, 0);
		atomic_fetch_add(&r->reads, 1);
	}
	return NULL;
}

static void race_wait(struct world *w, unsigned acks)
{
	bool there;

	do {
		pthread_mutex_lock(&w->lock);
		there = w->nack >= acks;
		pthread_mutex_unlock(&w->lock);
		sched_yield();
	} while (!there);
}

/* Acknowledged on whichever thread; nothing sees the page afterwards. */
static void what_is_acknowledged_is_not_touched_any_more(void **state)
{
	struct world *w = *state;
	struct racer r = { .w = w };
	pthread_t threads[2];
	uint8_t *page = w->ram;

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, race_device, &r), 0);
	for (unsigned i = 0; i < ROUNDS || atomic_load(&r.reads) < 100; i++) {
		pthread_mutex_lock(&w->lock);
		w->nack = w->nmiss = 0;
		pthread_mutex_unlock(&w->lock);
		send(w, VHOST_IOTLB_UPDATE, IOVA, PAGE, USER, R, 1);
		race_wait(w, 1);
		send(w, VHOST_IOTLB_INVALIDATE, IOVA, i % 2 ? PAGE : 0, 0, 0,
		     2);
		race_wait(w, 2);
		memset(page, POISON, PAGE);
		__asm__ volatile("" ::: "memory");
		memset(page, 1, PAGE);
	}
	atomic_store(&r.stop, true);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_false(r.poisoned);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_SMALL(name) \
	cmocka_unit_test_setup_teardown(name, setup_small, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_access_asks_and_goes_on_when_it_is_answered),
		TEST(a_write_asks_for_writing),
		TEST(permissions_of_one_place_add_up),
		TEST(permissions_add_up_in_a_part_of_what_comes),
		TEST(an_answer_that_grants_too_little_is_a_fault),
		TEST(a_question_that_an_invalidation_meets_is_asked_again),
		TEST(an_update_is_gone_after_the_invalidation_behind_it),
		TEST_SMALL(a_question_times_out),
		TEST_SMALL(of_many_that_time_out_none_is_forgotten),
		TEST(an_update_may_cross_regions),
		TEST(an_update_outside_of_the_regions_changes_nothing),
		TEST(a_bad_message_is_refused),
		TEST(an_update_elsewhere_is_acknowledged_when_the_old_place_is_free),
		TEST(an_update_replaces_also_the_permission_of_another_place),
		TEST(an_update_replaces_a_part),
		TEST_SMALL(a_full_cache_takes_what_comes),
		TEST_SMALL(entries_go_in_turns),
		TEST_SMALL(what_is_in_use_may_go_from_a_full_cache),
		TEST_SMALL(
			an_update_in_the_place_of_what_was_forgotten_waits_for_who_uses_it),
		TEST_SMALL(
			an_update_that_takes_its_own_place_waits_for_who_uses_it),
		TEST(an_invalidation_is_acknowledged_when_the_map_is_gone),
		TEST(size_0_goes_to_the_top),
		TEST(a_range_ends_at_the_top_and_not_beyond),
		TEST(an_invalidation_cuts_what_is_larger),
		TEST(acknowledgements_keep_the_order_of_the_messages),
		TEST(an_acknowledgement_may_hand_in_the_next_message),
		TEST(one_acknowledgement_at_a_time),
		TEST_SMALL(too_many_that_wait_are_not_taken),
		TEST_SMALL(
			who_does_not_let_go_is_given_up_and_the_answer_is_an_error),
		TEST(a_region_takes_its_entries_with_it),
		TEST_SMALL(regions_are_checked),
		TEST(a_user_address_is_in_one_region),
		TEST(a_reset_forgets_all),
		cmocka_unit_test(its_end_answers_what_waits_and_takes_its_time),
		TEST(bad_options_are_refused),
		TEST(it_is_made_whole_or_not_at_all),
		TEST(without_memory_an_update_is_refused),
		cmocka_unit_test(pages_are_as_large_as_configured),
		TEST(what_is_acknowledged_is_not_touched_any_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
