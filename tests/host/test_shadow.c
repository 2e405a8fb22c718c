/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random guests: after each step the kernel's entries equal the space, through
 * the memory; whatever fails, nothing that was taken is still there once its
 * fence is done.
 */
#include "host.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum {
	STEPS = 1200,
	GPAGES = REGIONS * REGION_STRIDE,
};

struct stream {
	struct host h;
	uint64_t x; /* of the generator */
	int space;  /* attached; -1: none */
	bool logging;
	struct host_options options;
	bool written[GPAGES]; /* since the last fetch */
	bool there[GPAGES];   /* memory, or a device */
	/* what the device wrote there last; 0: nothing */
	unsigned char value[GPAGES];
	unsigned nvalues; /* that it wrote */
	unsigned refusals, losses, sticks, fetched, gone, given, moved, off;
};

static uint64_t rnd(struct stream *s, uint64_t n)
{
	s->x ^= s->x << 13;
	s->x ^= s->x >> 7;
	s->x ^= s->x << 17;
	return (s->x >> 11) % n;
}

static uint32_t rnd_prot(struct stream *s)
{
	static const uint32_t prots[] = { RW,
					  RW,
					  RW,
					  VIOMMU_READ,
					  VIOMMU_WRITE,
					  RW | VIOMMU_MMIO,
					  RW | VIOMMU_PRIV,
					  VIOMMU_EXEC };

	return prots[rnd(s, 8)];
}

static struct viommu_mapping rnd_mapping(struct stream *s)
{
	uint64_t page = rnd(s, WINDOW - 24), n = 1 + rnd(s, rnd(s, 3) ? 8 : 24);

	return (struct viommu_mapping){ .start = page * PAGE,
					.last = (page + n) * PAGE - 1,
					.gpa = rnd(s, GPAGES - 24) * PAGE,
					.prot = rnd_prot(s) };
}

/* ---- the device, and the dirty log ------------------------------------ */

static void dma(struct stream *s)
{
	for (int i = 0; i < 4; i++) {
		char *p = kernel_write(&s->h.k, rnd(s, WINDOW) * PAGE);
		size_t n;

		if (!p)
			continue;
		n = (size_t)(p - s->h.ram) / PAGE % (REGIONS * REGION_PAGES);
		n = n / REGION_PAGES * REGION_STRIDE + n % REGION_PAGES;
		s->written[n] = true;
		s->value[n] = (unsigned char)(s->nvalues++ % 255 + 1);
		*p = (char)s->value[n];
	}
}

/* Wherever memory is now, it has what the device wrote. */
static void look(struct stream *s)
{
	struct viommu_memory *mem = viommu_memory_of(s->h.vi);
	struct viommu_region r = { .size = sizeof(r) };

	for (uint64_t i = 0; i < GPAGES; i++) {
		if (!s->value[i])
			continue;
		assert_int_equal(viommu_memory_next(mem, i * PAGE, &r), 0);
		assert_int_equal(((unsigned char *)r.host)[i * PAGE - r.gpa],
				 s->value[i]);
	}
}

static void log_toggle(struct stream *s)
{
	struct viommu_memory *mem = viommu_memory_of(s->h.vi);
	struct viommu_fence f;

	viommu_fence_init(&f);
	if (s->logging)
		viommu_memory_dirty_stop(mem, &f);
	else
		assert_int_equal(viommu_memory_dirty_start(mem, 0, &f), 0);
	fence_run(&f);
	s->logging = !s->logging;
	memset(s->written, 0, sizeof(s->written));
}

static void log_fetch(struct stream *s)
{
	uint64_t bits[(GPAGES + 63) / 64] = { 0 };

	if (!s->logging)
		return;
	assert_true(viommu_memory_dirty_fetch(viommu_memory_of(s->h.vi), 0,
					      GPAGES * PAGE, bits) >= 0);
	for (int i = 0; i < GPAGES; i++) {
		if (s->written[i])
			assert_true(bits[i / 64] >> (i % 64) & 1);
		s->fetched += s->written[i];
		s->written[i] = false;
	}
}

/* ---- steps ------------------------------------------------------------ */

static int step_map(struct stream *s, int space)
{
	struct viommu_mapping m = rnd_mapping(s);

	return viommu_space_map(s->h.spaces[space], &m);
}

static int step_unmap(struct stream *s, int space, struct viommu_fence *f)
{
	struct viommu_mapping m = rnd_mapping(s);
	int64_t rc = viommu_space_unmap(s->h.spaces[space], m.start, m.last, f);

	return rc < 0 ? (int)rc : 0;
}

static int step_remap(struct stream *s, int space, struct viommu_fence *f)
{
	struct viommu_mapping m = rnd_mapping(s);

	return viommu_space_remap(s->h.spaces[space], &m, f);
}

static int step_attach(struct stream *s, struct viommu_fence *f)
{
	int to = (int)rnd(s, SPACES + 1) - 1, rc = 0;

	if (to < 0)
		viommu_endpoint_detach(s->h.ep, f);
	else
		rc = viommu_endpoint_attach(s->h.ep, s->h.spaces[to], f);
	if (!rc)
		s->space = to;
	return rc;
}

/* It is there from now on, or not. */
static void ram_is(struct stream *s, uint64_t page, uint64_t n, bool there)
{
	memset(&s->there[page], there, n);
	memset(&s->written[page], 0, n);
	memset(&s->value[page], 0, n);
}

static int step_region(struct stream *s, struct viommu_fence *f)
{
	uint64_t page = rnd(s, REGIONS) * REGION_STRIDE;
	int rc;

	if (memchr(&s->there[page], true, REGION_PAGES)) {
		ram_is(s, page, REGION_PAGES, false);
		return viommu_memory_remove(viommu_memory_of(s->h.vi),
					    page * PAGE, REGION_PAGES * PAGE,
					    f);
	}
	rc = host_ram_put(&s->h, page, REGION_PAGES, (int)rnd(s, BANKS));
	if (!rc)
		ram_is(s, page, REGION_PAGES, true);
	return rc;
}

static int step_give_up(struct stream *s, struct viommu_fence *f)
{
	uint64_t n = 1 + rnd(s, rnd(s, 3) ? 6 : 20), page = rnd(s, GPAGES - n);
	bool some = memchr(&s->there[page], true, n);
	int rc = viommu_memory_give_up(viommu_memory_of(s->h.vi), page * PAGE,
				       n * PAGE, f);

	assert_int_equal(rc, some ? 0 : -ENOENT);
	ram_is(s, page, n, false);
	s->given += some;
	return 0;
}

/* Some of a hole comes back, here or there, as RAM or as a device. */
static int step_put(struct stream *s)
{
	uint64_t page = rnd(s, REGIONS) * REGION_STRIDE, last = page, n = 0;
	uint64_t most = 1 + rnd(s, REGION_PAGES), bank = rnd(s, BANKS + 1);
	int rc;

	last += REGION_PAGES - 1;
	page += rnd(s, REGION_PAGES);
	while (page <= last && s->there[page])
		page++;
	while (n < most && page + n <= last && !s->there[page + n])
		n++;
	if (!n)
		return 0;
	rc = bank < BANKS ? host_ram_put(&s->h, page, n, (int)bank)
			  : host_device_put(&s->h, page, n);
	if (!rc)
		ram_is(s, page, n, true);
	return rc;
}

static void moved(void *arg, int rc)
{
	struct stream *s = arg;

	s->moved += rc == 0;
	s->off += rc != 0;
}

/* From wherever it is; a device has nothing to be copied. */
static int copy(void *arg, const struct viommu_region *from,
		const struct viommu_region *to)
{
	(void)arg;
	if (from->host && from->host != to->host)
		memcpy(to->host, from->host, from->len);
	return 0;
}

static int step_move(struct stream *s, struct viommu_fence *f)
{
	uint64_t region = rnd(s, REGIONS), at = rnd(s, REGION_PAGES);
	uint64_t page = region * REGION_STRIDE + at;
	uint64_t n = 1 + rnd(s, REGION_PAGES - at);
	struct viommu_move m = { .size = sizeof(m),
				 .to = { .size = sizeof(m.to),
					 .gpa = page * PAGE,
					 .len = n * PAGE,
					 .host = host_at(&s->h, page,
							 (int)rnd(s, BANKS)),
					 .prot = region == 2 ? VIOMMU_READ : RW,
					 .fd = -1 },
				 .copy = copy,
				 .moved = moved,
				 .arg = s };
	int rc = viommu_memory_move(viommu_memory_of(s->h.vi), &m, f);

	assert_int_equal(rc, memchr(&s->there[page], false, n) ? -ENOENT : 0);
	return 0;
}

static int step_ram(struct stream *s, struct viommu_fence *f)
{
	uint64_t what = rnd(s, 10);

	if (what < 1)
		return step_region(s, f);
	if (what > 7)
		return step_move(s, f);
	return what < 3 ? step_give_up(s, f) : step_put(s);
}

static int step(struct stream *s, struct viommu_fence *f)
{
	int space = s->space >= 0 && rnd(s, 4) ? s->space : (int)rnd(s, SPACES);

	uint64_t what = rnd(s, 16);

	if (what < 1)
		return step_attach(s, f);
	if (what < 4)
		return step_ram(s, f);
	if (what < 6)
		return step_remap(s, space, f);
	if (what < 11)
		return step_unmap(s, space, f);
	return step_map(s, space);
}

/* Something fails in the next step. */
static void inject(struct stream *s)
{
	static const int errs[] = { ENOMEM, ENOSPC, EFAULT, EINVAL,
				    EBUSY,  EINTR,  EIO };

	kernel_fail(&s->h.k, (enum kernel_call)rnd(s, KERNEL_INFO),
		    (unsigned)rnd(s, 3), rnd(s, 3) ? 1000 : 1, errs[rnd(s, 7)]);
}

static void begin_anew(struct stream *s)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_vfio_remove(s->h.vfio, &f);
	viommu_iommufd_remove(s->h.iommufd, &f);
	fence_run(&f);
	s->h.vfio = NULL;
	s->h.iommufd = NULL;
	s->gone++;
	assert_int_equal(host_add(&s->h, &s->options), 0);
}

/* All of it anew; it may have become too many entries. */
static void attach_anew(struct stream *s)
{
	struct viommu_fence f;
	int rc;

	assert_int_equal(host_attach(&s->h, -1), 0);
	if (s->space < 0)
		return;
	rc = host_attach(&s->h, s->space);
	if (rc) {
		assert_int_equal(rc, -ENOSPC);
		assert_int_not_equal(s->options.max_entries, 0);
		viommu_fence_init(&f);
		assert_true(viommu_space_unmap(s->h.spaces[s->space], 0,
					       UINT64_MAX, &f) > 0);
		fence_run(&f);
		assert_int_equal(host_attach(&s->h, s->space), 0);
	}
}

static void settle(struct stream *s, struct viommu_fence *f, unsigned lost)
{
	struct difference d;

	viommu_fence_commit(f, NULL, NULL);
	d = host_compare(&s->h, s->space);
	if (viommu_fence_done(f)) {
		/* an entry of a map that was refused and could not be undone:
		 * it led where the guest wanted it to lead */
		if (!host_stats(&s->h).stuck)
			assert_int_equal(d.stale, 0);
	} else {
		s->sticks++;
		assert_int_not_equal(host_stats(&s->h).held, 0);
	}
	kernel_fail(&s->h.k, KERNEL_MAP, 0, 0, 0);
	assert_int_equal(host_retry(&s->h), 0);
	assert_int_equal(viommu_fence_wait(f, 0), 0);
	d = host_compare(&s->h, s->space);
	assert_int_equal(d.stale, 0);
	assert_int_equal(s->h.k.broken, 0);
	if (s->h.lost == lost && !s->h.stuck)
		assert_int_equal(d.missing, 0);
	if (d.missing) {
		s->losses++;
		if (host_stats(&s->h).gone)
			begin_anew(s);
		attach_anew(s);
	}
	s->h.stuck = 0;
	host_is_equal(&s->h, s->space);
	look(s);
}

static void run(struct stream *s, const struct host_options *o, uint64_t seed,
		bool faults)
{
	memset(s, 0, sizeof(*s));
	s->x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	s->options = *o;
	host_begin(&s->h, o);
	for (uint64_t r = 0; r < REGIONS; r++)
		ram_is(s, r * REGION_STRIDE, REGION_PAGES, true);
	for (int i = 0; i < STEPS; i++) {
		unsigned lost = s->h.lost;
		struct viommu_fence f;
		bool fail = faults && !rnd(s, 6);

		if (!rnd(s, 30))
			log_toggle(s);
		dma(s);
		if (!rnd(s, 8))
			log_fetch(s);
		viommu_fence_init(&f);
		if (fail)
			inject(s);
		s->refusals += step(s, &f) != 0;
		settle(s, &f, lost);
	}
	if (s->logging)
		log_toggle(s);
	host_end(&s->h);
}

static void streams(enum kernel_kind kind, bool faults)
{
	static struct stream s;
	unsigned sticks = 0, losses = 0, refusals = 0, fetched = 0, given = 0;
	unsigned ups = 0, offs = 0;

	for (uint64_t seed = 1; seed <= 24; seed++) {
		struct host_options o = {
			.kind = kind,
			.policy = (enum viommu_space_policy)(seed % 3),
			.piece_size = seed / 3 % 2 ? 4 * PAGE : 0,
			.max_entries = seed / 6 % 2 ? 24 : 0,
			.read_before_unmap = seed / 12 % 2,
			.no_hwpt = seed % 5 == 0,
		};

		run(&s, &o, seed, faults);
		sticks += s.sticks;
		/* a cut may be one entry more than there may be, and of memory
		 * nobody asks before */
		if (!o.max_entries)
			losses += s.losses;
		refusals += s.refusals;
		fetched += s.fetched;
		given += s.given;
		ups += s.moved;
		offs += s.off;
	}
	print_message("# refused %u, lost %u, stuck %u, dirty %u, given %u, "
		      "moved %u, off %u\n",
		      refusals, losses, sticks, fetched, given, ups, offs);
	assert_int_not_equal(given, 0);
	assert_int_not_equal(ups, 0);
	assert_true(!faults || offs);
	assert_int_not_equal(refusals, 0);
	assert_int_not_equal(fetched, 0);
	assert_int_equal(sticks != 0, faults);
	assert_int_equal(losses != 0, faults);
}

static void vfio_shows_what_the_endpoint_sees(void **state)
{
	(void)state;
	streams(KERNEL_TYPE1, false);
}

static void iommufd_shows_what_the_endpoint_sees(void **state)
{
	(void)state;
	streams(KERNEL_IOMMUFD, false);
}

static void vfio_shows_nothing_stale_whatever_fails(void **state)
{
	(void)state;
	streams(KERNEL_TYPE1, true);
}

static void iommufd_shows_nothing_stale_whatever_fails(void **state)
{
	(void)state;
	streams(KERNEL_IOMMUFD, true);
}

/* ---- two threads ------------------------------------------------------ */

struct helper {
	struct host *h;
	_Atomic(bool) stop;
};

static void *help(void *arg)
{
	struct helper *a = arg;

	while (!atomic_load(&a->stop)) {
		if (host_retry(a->h) == -EBUSY)
			sched_yield();
		(void)host_stats(a->h);
	}
	return NULL;
}

/* An unmap that fails twice is stuck: its fence is let go by the other. */
static void another_thread_may_retry(void **state)
{
	struct host_options o = { .kind = KERNEL_TYPE1 };
	struct helper a;
	struct host h;
	pthread_t t;

	(void)state;
	host_begin(&h, &o);
	for (uint64_t p = 0; p < WINDOW; p += 4)
		assert_int_equal(host_map(&h, 0, p, 2, p % 8, RW), 0);
	h.k.flaky = 3;
	a.h = &h;
	atomic_init(&a.stop, false);
	assert_int_equal(pthread_create(&t, NULL, help, &a), 0);
	for (int i = 0; i < 500; i++) {
		uint64_t p = (uint64_t)i * 4 % WINDOW;

		/* host_unmap() waits until it is done */
		assert_int_equal(host_unmap(&h, 0, p, 2), 2 * PAGE);
		assert_int_equal(host_map(&h, 0, p, 2, p % 8, RW), 0);
	}
	atomic_store(&a.stop, true);
	pthread_join(t, NULL);
	h.k.flaky = 0;
	host_is_equal(&h, 0);
	assert_int_equal(host_stats(&h).stuck, 0);
	assert_int_not_equal(host_stats(&h).held, 0);
	host_end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vfio_shows_what_the_endpoint_sees),
		cmocka_unit_test(iommufd_shows_what_the_endpoint_sees),
		cmocka_unit_test(vfio_shows_nothing_stale_whatever_fails),
		cmocka_unit_test(iommufd_shows_nothing_stale_whatever_fails),
		cmocka_unit_test(another_thread_may_retry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
