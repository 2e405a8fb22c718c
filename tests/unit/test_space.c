/* SPDX-License-Identifier: BSD-2-Clause */
/* Spaces and endpoints: what map and attach refuse, what stays unchanged;
 * partial unmaps by each policy, remap, lists, quotas. */
#include "core/space.h"
#include "world.h"

static struct viommu_space_config config(uint64_t page_sizes)
{
	return (struct viommu_space_config){
		.size = sizeof(struct viommu_space_config),
		.page_sizes = page_sizes
	};
}

static int try_create(struct world *w, const struct viommu_space_config *c)
{
	struct viommu_space *s;
	struct viommu_fence f;
	int rc = viommu_space_create(w->vi, c, &s);

	if (rc)
		return rc;
	viommu_fence_init(&f);
	viommu_space_destroy(s, &f);
	fence_run(&f);
	return 0;
}

static void bad_spaces_are_refused(void **state)
{
	struct {
		struct viommu_space_config c;
		uint64_t tail;
	} big = { .c = config(4096) };
	struct viommu_space_config c;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	c = config(0);
	assert_int_equal(try_create(&w, &c), -EINVAL);
	c = config(1ull << 31);
	assert_int_equal(try_create(&w, &c), -EINVAL);
	c = config(1ull << 30);
	assert_int_equal(try_create(&w, &c), 0);
	c.kind = 77;
	assert_int_equal(try_create(&w, &c), -EINVAL);
	c = config(1);
	c.start = 2;
	c.last = 1;
	assert_int_equal(try_create(&w, &c), -EINVAL);
	c.last = 2;
	c.size--;
	assert_int_equal(try_create(&w, &c), -EINVAL);
	/* from a later version: fine if what is new is not used */
	big.c.size = sizeof(big);
	assert_int_equal(try_create(&w, &big.c), 0);
	big.tail = 1;
	assert_int_equal(try_create(&w, &big.c), -EINVAL);
	world_free(&w);
}

static void bad_maps_are_refused(void **state)
{
	struct viommu_mapping m;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096 | 1 << 21);
	assert_int_equal(map_rw(&w, 4096, 4095, 0), -EINVAL);
	assert_int_equal(map_rw(&w, 8192, 4095, 0), -EINVAL);
	assert_int_equal(map_prot(&w, 0, 4095, 0, 0), -EINVAL);
	assert_int_equal(map_prot(&w, 0, 4095, 0, 1 << 5), -EINVAL);
	assert_int_equal(map_rw(&w, 1, 4095, 0), -ERANGE);
	assert_int_equal(map_rw(&w, 0, 4094, 0), -ERANGE);
	assert_int_equal(map_rw(&w, 0, 4096, 0), -ERANGE);
	assert_int_equal(map_rw(&w, 0, 4095, 2048), -ERANGE);
	assert_int_equal(map_rw(&w, 0, 8191, UINT64_MAX - 4095), -ERANGE);
	assert_int_equal(viommu_space_next(w.space, 0, &m), -ENOENT);
	assert_int_equal(map_rw(&w, 0, 4095, UINT64_MAX - 4095), 0);
	assert_int_equal(map_rw(&w, 0, UINT64_MAX, 0), -EEXIST);
	assert_int_equal(unmap(&w, 0, UINT64_MAX), 4096);
	assert_int_equal(map_rw(&w, 0, UINT64_MAX, 0), 0);
	assert_int_equal(viommu_space_next(w.space, UINT64_MAX, &m), 0);
	assert_int_equal(m.last, UINT64_MAX);
	assert_int_equal(unmap(&w, 0, UINT64_MAX), INT64_MAX);
	world_free(&w);
}

static void aperture_is_kept(void **state)
{
	struct viommu_space_config c = config(4096);
	struct viommu_mapping m = { .start = 0x1000,
				    .last = 0x2fff,
				    .prot = VIOMMU_READ };
	struct viommu_space *s;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	c.start = 0x1000;
	c.last = 0x2fff;
	assert_int_equal(viommu_space_create(w.vi, &c, &s), 0);
	assert_int_equal(viommu_space_map(s, &m), 0);
	m.start = 0;
	m.last = 0xfff;
	assert_int_equal(viommu_space_map(s, &m), -ERANGE);
	m.start = 0x3000;
	m.last = 0x3fff;
	assert_int_equal(viommu_space_map(s, &m), -ERANGE);
	viommu_fence_init(&f);
	viommu_space_destroy(s, &f);
	fence_run(&f);
	world_free(&w);
}

static void unmap_that_would_cut_changes_nothing(void **state)
{
	struct viommu_fence f;
	struct viommu_mapping m;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	assert_int_equal(map_rw(&w, 0x10000, 0x1ffff, 0), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0x10fff, &f), -ERANGE);
	assert_int_equal(viommu_space_unmap(w.space, 0x1f000, 0x1ffff, &f),
			 -ERANGE);
	assert_int_equal(viommu_space_unmap(w.space, 0x12345, 0x12345, &f),
			 -ERANGE);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0xffe, &f), -ERANGE);
	assert_int_equal(viommu_space_unmap(w.space, 5, 4, &f), -EINVAL);
	assert_int_equal(viommu_space_next(w.space, 0, &m), 0);
	assert_int_equal(m.last, 0xfff);
	/* the range itself may be off the granule, where nothing is cut */
	assert_int_equal(viommu_space_unmap(w.space, 0, 0x2345, &f), 0x1000);
	assert_int_equal(viommu_space_unmap(w.space, 0x5000, 0xffffffff, &f),
			 0x10000);
	fence_run(&f);
	world_free(&w);
}

static void number_of_mappings_is_limited(void **state)
{
	struct viommu_config cfg = { .size = sizeof(cfg), .max_mappings = 3 };
	struct viommu_space_config c = config(4096);
	struct viommu_mapping m = { .last = 0xfff, .prot = VIOMMU_READ };
	struct viommu_space *s2;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, &cfg, 4096);
	assert_int_equal(viommu_space_create(w.vi, &c, &s2), 0);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), -EEXIST);
	assert_int_equal(map_rw(&w, 0x1000, 0x1fff, 0), 0);
	assert_int_equal(viommu_space_map(s2, &m), 0);
	assert_int_equal(map_rw(&w, 0x2000, 0x2fff, 0), -ENOSPC);
	viommu_fence_init(&f);
	viommu_space_destroy(s2, &f);
	fence_run(&f);
	assert_int_equal(map_rw(&w, 0x2000, 0x2fff, 0), 0);
	assert_int_equal(map_rw(&w, 0x3000, 0x3fff, 0), -ENOSPC);
	assert_int_equal(unmap(&w, 0, 0x1fff), 0x2000);
	assert_int_equal(map_rw(&w, 0x3000, 0x3fff, 0), 0);
	assert_int_equal(unmap(&w, 0, UINT64_MAX), 0x2000);
	world_free(&w);
}

static void reserved_ranges_are_kept_free(void **state)
{
	struct viommu_reserved msi = { .start = 0xfee00000,
				       .last = 0xfeefffff,
				       .kind = VIOMMU_RESERVED_MSI };
	struct viommu_reserved low = { .start = 0, .last = 0xfff }, r;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(viommu_endpoint_reserve(w.ep, &msi), 0);
	assert_int_equal(viommu_endpoint_reserve(w.ep, &low), 0);
	assert_int_equal(viommu_endpoint_reserve(w.ep, &msi), -EEXIST);
	r = low;
	r.last = 0;
	r.start = 1;
	assert_int_equal(viommu_endpoint_reserve(w.ep, &r), -EINVAL);
	r.start = 0;
	r.kind = 9;
	assert_int_equal(viommu_endpoint_reserve(w.ep, &r), -EINVAL);
	assert_int_equal(map_rw(&w, 0xfeeff000, 0xfef00fff, 0), -EADDRNOTAVAIL);
	assert_int_equal(map_rw(&w, 0xfef00000, 0xfef00fff, 0), 0);
	r = msi;
	r.start = r.last = 0xfef00123;
	assert_int_equal(viommu_endpoint_reserve(w.ep, &r), -EBUSY);
	assert_int_equal(viommu_endpoint_next_reserved(w.ep, 0, &r), 0);
	assert_int_equal(r.last, 0xfff);
	assert_int_equal(viommu_endpoint_next_reserved(w.ep, 0x1000, &r), 0);
	assert_int_equal(r.start, 0xfee00000);
	assert_int_equal(r.kind, VIOMMU_RESERVED_MSI);
	assert_int_equal(viommu_endpoint_next_reserved(w.ep, 0xfef00000, &r),
			 -ENOENT);
	/* attach checks what is mapped already */
	viommu_fence_init(&f);
	viommu_endpoint_detach(w.ep, &f);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	assert_int_equal(viommu_endpoint_attach(w.ep, w.space, &f),
			 -EADDRNOTAVAIL);
	assert_int_equal(viommu_space_unmap(w.space, 0, 0xfff, &f), 0x1000);
	assert_int_equal(viommu_endpoint_attach(w.ep, w.space, &f), 0);
	fence_run(&f);
	world_free(&w);
}

static void endpoints_have_names(void **state)
{
	struct viommu_config cfg = { .size = sizeof(cfg), .max_endpoints = 3 };
	struct viommu_endpoint_config ec = { .size = sizeof(ec), .id = 1 };
	struct viommu_endpoint *ep2, *ep3, *ep4;
	struct viommu_endpoint_stats st;
	struct viommu_fence f;
	struct world w;
	char c;

	(void)state;
	world_make(&w, &cfg, 4096);
	assert_ptr_equal(viommu_endpoint_find(w.vi, 1, VIOMMU_NO_PASID), w.ep);
	assert_null(viommu_endpoint_find(w.vi, 1, 0));
	assert_int_equal(viommu_endpoint_create(w.vi, &ec, &ep2), 0);
	assert_int_equal(viommu_endpoint_create(w.vi, &ec, &ep3), -EEXIST);
	ec.id = 2;
	assert_int_equal(viommu_endpoint_create(w.vi, &ec, &ep3), 0);
	assert_int_equal(viommu_endpoint_id(ep3), 2);
	ec.id = 3;
	assert_int_equal(viommu_endpoint_create(w.vi, &ec, &ep4), -ENOSPC);
	assert_ptr_equal(viommu_endpoint_find(w.vi, 1, 0), ep2);
	assert_int_equal(viommu_dma_read(ep2, 0, &c, 1), -EFAULT);
	viommu_endpoint_read_stats(ep2, &st);
	assert_int_equal(st.faults, 1);
	assert_int_equal(st.attaches, 0);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep2, &f);
	viommu_endpoint_destroy(ep3, &f);
	fence_run(&f);
	assert_null(viommu_endpoint_find(w.vi, 1, 0));
	world_free(&w);
}

static void bad_instances_are_refused(void **state)
{
	struct viommu_config cfg = { .size = sizeof(cfg), .barrier = 3 };
	struct viommu_env env = { .size = sizeof(env) };
	struct viommu *vi;

	(void)state;
	assert_int_equal(viommu_create(&cfg, &vi), -EINVAL);
	cfg.barrier = 0;
	cfg.reserved = 1;
	assert_int_equal(viommu_create(&cfg, &vi), -EINVAL);
	cfg.reserved = 0;
	cfg.max_threads = UINT32_MAX;
	assert_int_equal(viommu_create(&cfg, &vi), -EINVAL);
	cfg.max_threads = 1;
	cfg.env = &env;
	env.size = 1;
	assert_int_equal(viommu_create(&cfg, &vi), -EINVAL);
	env.size = sizeof(env);
	assert_int_equal(viommu_create(&cfg, &vi), 0);
	viommu_destroy(vi);
	viommu_destroy(NULL);
	assert_string_not_equal(viommu_version(), "");
}

/* ---- partial unmaps --------------------------------------------------- */

#define KB UINT64_C(1024)
#define MB (KB * KB)
#define GB (KB * MB)

/* A world whose endpoint sees a space of this policy instead. */
static void policy_make(struct world *w, const struct viommu_config *cfg,
			const struct viommu_space_config *c)
{
	struct viommu_space *old;
	struct viommu_fence f;

	world_make(w, cfg, 4096);
	old = w->space;
	assert_int_equal(viommu_space_create(w->vi, c, &w->space), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(w->ep, w->space, &f), 0);
	viommu_space_destroy(old, &f);
	fence_run(&f);
}

static int64_t take(struct viommu_space *s, uint64_t start, uint64_t last)
{
	struct viommu_fence f;
	int64_t n;

	viommu_fence_init(&f);
	n = viommu_space_unmap(s, start, last, &f);
	fence_run(&f);
	return n;
}

static int replace(struct world *w, uint64_t start, uint64_t last, uint64_t gpa)
{
	struct viommu_mapping m = {
		.start = start, .last = last, .gpa = gpa, .prot = VIOMMU_READ
	};
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_space_remap(w->space, &m, &f);
	fence_run(&f);
	return rc;
}

/* The first mapping at or after @at is this; its IOVA and GPA differ by @off.
 */
static void expect_next(struct world *w, uint64_t at, uint64_t start,
			uint64_t last, uint64_t off)
{
	struct viommu_mapping m;

	assert_int_equal(viommu_space_next(w->space, at, &m), 0);
	assert_int_equal(m.start, start);
	assert_int_equal(m.last, last);
	assert_int_equal(m.gpa, start + off);
}

static void expect_none(struct world *w, uint64_t at)
{
	struct viommu_mapping m;

	assert_int_equal(viommu_space_next(w->space, at, &m), -ENOENT);
}

static void split_removes_exactly(void **state)
{
	struct viommu_space_config c = config(4096);
	struct viommu_space_stats st;
	struct world w;
	char buf[8];

	(void)state;
	c.policy = VIOMMU_SPACE_SPLIT;
	policy_make(&w, NULL, &c);
	assert_int_equal(map_rw(&w, 2 * MB, 4 * MB - 1, 0), 0);
	assert_int_equal(unmap(&w, 3 * MB, 3 * MB + 4 * KB - 1), 4 * KB);
	expect_next(&w, 0, 2 * MB, 3 * MB - 1, 0 - 2 * MB);
	expect_next(&w, 3 * MB, 3 * MB + 4 * KB, 4 * MB - 1, 0 - 2 * MB);
	expect_none(&w, 4 * MB);
	assert_int_equal(viommu_dma_read(w.ep, 2 * MB + 8, buf, 8), 0);
	viommu_space_read_stats(w.space, &st);
	assert_int_equal(st.mappings, 2);
	assert_int_equal(st.mapped, 3);
	assert_int_equal(st.unmapped, 1);
	assert_int_equal(st.splits, 2);
	assert_int_equal(st.bytes, 2 * MB - 4 * KB);
	assert_true(st.table_bytes >= 2 * 4096);
	/* at an edge, across a hole, and inside the granule */
	assert_int_equal(unmap(&w, 0, 2 * MB + 4 * KB - 1), 4 * KB);
	assert_int_equal(unmap(&w, 3 * MB - 8 * KB, 3 * MB + 8 * KB - 1),
			 12 * KB);
	assert_int_equal(unmap(&w, 3 * MB + 8 * KB + 1, 4 * MB - 1), -ERANGE);
	assert_int_equal(unmap(&w, 0, 3 * MB + 8 * KB), -ERANGE);
	expect_next(&w, 0, 2 * MB + 4 * KB, 3 * MB - 8 * KB - 1, 0 - 2 * MB);
	assert_int_equal(unmap(&w, 0, UINT64_MAX), 2 * MB - 20 * KB);
	viommu_space_read_stats(w.space, &st);
	assert_int_equal(st.mappings, 0);
	assert_int_equal(st.bytes, 0);
	world_free(&w);
}

static void whole_pages_go(void **state)
{
	struct viommu_space_config c = config(4 * KB | 2 * MB | GB);
	struct world w;

	(void)state;
	c.policy = VIOMMU_SPACE_WHOLE_PAGE;
	policy_make(&w, NULL, &c);
	/* 1 MiB of small pages, two large ones, one small */
	assert_int_equal(map_rw(&w, MB, 6 * MB + 4 * KB - 1, GB + MB), 0);
	assert_int_equal(unmap(&w, 2 * MB, 2 * MB), 2 * MB);
	expect_next(&w, 0, MB, 2 * MB - 1, GB);
	expect_next(&w, 2 * MB, 4 * MB, 6 * MB + 4 * KB - 1, GB);
	assert_int_equal(unmap(&w, MB + 5, MB + 6), 4 * KB);
	assert_int_equal(unmap(&w, 5 * MB, 6 * MB), 2 * MB + 4 * KB);
	expect_next(&w, 0, MB + 4 * KB, 2 * MB - 1, GB);
	expect_none(&w, 2 * MB);
	/* not congruent: small pages only */
	assert_int_equal(map_rw(&w, 2 * MB, 4 * MB - 1, 4 * KB), 0);
	assert_int_equal(unmap(&w, 2 * MB, 2 * MB), 4 * KB);
	assert_int_equal(unmap(&w, 0, UINT64_MAX),
			 MB - 4 * KB + 2 * MB - 4 * KB);
	world_free(&w);
}

/* How Linux goes through a mapping, page size by page size. */
static void linux_page(uint64_t sizes, const struct viommu_mapping *m,
		       uint64_t iova, uint64_t *start, uint64_t *last)
{
	uint64_t at = m->start, gpa = m->gpa, size, p, p2, n, off;

	for (;; at += n, gpa += n) {
		size = m->last - at + 1;
		p = p2 = 0;
		for (unsigned i = 0; i < 63; i++) {
			uint64_t s = sizes & (1ull << i);

			if (s && s <= size && !((at | gpa) & (s - 1)))
				p = s;
			else if (s && p && !p2)
				p2 = s;
		}
		n = size / p * p;
		off = p2 - (at & (p2 - 1));
		if (p2 && !((at ^ gpa) & (p2 - 1)) && off + p2 <= size)
			n = off;
		if (iova - at < n)
			break;
	}
	*start = at + (iova - at) / p * p;
	*last = *start + p - 1;
}

static void pages_are_those_that_linux_would_choose(void **state)
{
	static const uint64_t sizes[] = { 4 * KB,
					  4 * KB | 2 * MB,
					  4 * KB | 64 * KB | 2 * MB,
					  4 * KB | 2 * MB | GB,
					  0x1ff000,
					  ~UINT64_C(4095) };
	uint64_t x = 88172645463325252ull;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		struct viommu_space s = { .page_sizes =
						  sizes[(unsigned)i % 6] };
		struct viommu_mapping m;
		uint64_t a, b, c, d, r[3];

		for (int j = 0; j < 3; j++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			r[j] = x >> 8;
		}
		m.start = (r[0] % (1 << (r[0] >> 40) % 19)) * 4096;
		m.last = m.start +
			 (1 + r[1] % (1 << (r[1] >> 40) % 19)) * 4096 - 1;
		/* congruent by some power of two */
		m.gpa = m.start +
			(r[2] << (12 + (r[2] >> 40) % 20)) % (1ull << 40);
		linux_page(s.page_sizes, &m,
			   m.start + r[2] % (m.last - m.start + 1), &a, &b);
		vi_space_page(&s, &m, m.start + r[2] % (m.last - m.start + 1),
			      &c, &d);
		assert_int_equal(a, c);
		assert_int_equal(b, d);
	}
}

/* A removal by @policy, or a remap, with a map held at @at: done at once? */
static bool done_with_map_held(uint32_t policy, bool remap, uint64_t at)
{
	struct viommu_space_config c = config(4 * KB | 64 * KB);
	struct viommu_mapping m = { .start = 64 * KB,
				    .last = 68 * KB - 1,
				    .gpa = 0,
				    .prot = VIOMMU_READ };
	struct iovec iov[1];
	struct viommu_dma d = { .iova = at,
				.len = 8,
				.prot = VIOMMU_READ,
				.iov = iov,
				.max_iov = 1 };
	struct viommu_fence f;
	struct world w;
	bool done;

	c.policy = policy;
	policy_make(&w, NULL, &c);
	assert_int_equal(map_rw(&w, 64 * KB, 128 * KB - 1, 0), 0);
	d.ep = w.ep;
	assert_int_equal(viommu_dma_map(&d), 0);
	viommu_fence_init(&f);
	if (remap)
		assert_int_equal(viommu_space_remap(w.space, &m, &f), 0);
	else
		assert_true(viommu_space_unmap(w.space, m.start, m.last, &f) >
			    0);
	viommu_fence_commit(&f, NULL, NULL);
	done = viommu_fence_done(&f);
	viommu_dma_unmap(&d, 0);
	assert_true(viommu_fence_done(&f));
	world_free(&w);
	return done;
}

static void fences_wait_for_what_went(void **state)
{
	(void)state;
	assert_false(done_with_map_held(VIOMMU_SPACE_SPLIT, false, 64 * KB));
	assert_true(done_with_map_held(VIOMMU_SPACE_SPLIT, false, 68 * KB));
	assert_false(done_with_map_held(VIOMMU_SPACE_SPLIT, true, 64 * KB));
	assert_true(done_with_map_held(VIOMMU_SPACE_SPLIT, true, 68 * KB));
	/* the page, not only what was named */
	assert_false(
		done_with_map_held(VIOMMU_SPACE_WHOLE_PAGE, false, 68 * KB));
}

/* ---- remap, lists, translate ------------------------------------------ */

static void remap_replaces(void **state)
{
	struct viommu_space_config c = config(4096);
	struct world w;
	char buf[8];

	(void)state;
	c.policy = VIOMMU_SPACE_SPLIT;
	policy_make(&w, NULL, &c);
	memset(w.ram, 1, 4096);
	memset(w.ram + 4096, 2, 4096);
	assert_int_equal(replace(&w, 0, 4095, 0), 0); /* nothing there */
	assert_int_equal(replace(&w, 0, 4095, 4096), 0);
	assert_int_equal(viommu_dma_read(w.ep, 0, buf, 8), 0);
	assert_int_equal(buf[0], 2);
	assert_int_equal(map_rw(&w, 2 * MB, 6 * MB - 1, 0), 0);
	/* in the middle; then the edge of one, a hole, and more */
	assert_int_equal(replace(&w, 4 * MB, 4 * MB + 8 * KB - 1, 0), 0);
	expect_next(&w, 2 * MB, 2 * MB, 4 * MB - 1, 0 - 2 * MB);
	expect_next(&w, 4 * MB, 4 * MB, 4 * MB + 8 * KB - 1, 0 - 4 * MB);
	expect_next(&w, 5 * MB, 4 * MB + 8 * KB, 6 * MB - 1, 0 - 2 * MB);
	assert_int_equal(replace(&w, 5 * MB, GB - 1, 4 * KB), 0);
	expect_next(&w, 5 * MB, 5 * MB, GB - 1, 4 * KB - 5 * MB);
	expect_next(&w, 5 * MB - 1, 4 * MB + 8 * KB, 5 * MB - 1, 0 - 2 * MB);
	/* map's errors */
	assert_int_equal(replace(&w, 4095, 0, 0), -EINVAL);
	assert_int_equal(replace(&w, 0, 4094, 0), -ERANGE);
	assert_int_equal(replace(&w, 0, UINT64_MAX, 0), 0);
	expect_next(&w, 5, 0, UINT64_MAX, 0);
	assert_int_equal(unmap(&w, 0, UINT64_MAX), INT64_MAX);
	world_free(&w);
}

static void remap_obeys_the_policy(void **state)
{
	struct viommu_reserved msi = { .start = GB, .last = GB + MB - 1 };
	struct viommu_space_config c = config(4 * KB | 2 * MB);
	struct world w;

	(void)state;
	policy_make(&w, NULL, &c);
	assert_int_equal(viommu_endpoint_reserve(w.ep, &msi), 0);
	assert_int_equal(map_rw(&w, 2 * MB, 6 * MB - 1, 0), 0);
	assert_int_equal(replace(&w, 2 * MB, 4 * MB - 1, MB), -ERANGE);
	assert_int_equal(replace(&w, 4 * MB, 6 * MB - 1, MB), -ERANGE);
	expect_next(&w, 0, 2 * MB, 6 * MB - 1, 0 - 2 * MB);
	assert_int_equal(replace(&w, GB, GB + 4 * KB - 1, 0), -EADDRNOTAVAIL);
	assert_int_equal(replace(&w, 0, 8 * MB - 1, MB), 0);
	assert_int_equal(unmap(&w, 0, UINT64_MAX), 8 * MB);
	world_free(&w);

	c.policy = VIOMMU_SPACE_WHOLE_PAGE;
	policy_make(&w, NULL, &c);
	assert_int_equal(map_rw(&w, 2 * MB, 6 * MB - 1, 0), 0);
	assert_int_equal(replace(&w, 2 * MB, 3 * MB - 1, MB), -ERANGE);
	assert_int_equal(replace(&w, 3 * MB, 6 * MB - 1, MB), -ERANGE);
	expect_next(&w, 0, 2 * MB, 6 * MB - 1, 0 - 2 * MB);
	assert_int_equal(replace(&w, 2 * MB, 4 * MB - 1, MB), 0);
	expect_next(&w, 0, 2 * MB, 4 * MB - 1, 0 - MB);
	expect_next(&w, 4 * MB, 4 * MB, 6 * MB - 1, 0 - 2 * MB);
	world_free(&w);
}

static int map_list(struct world *w, uint64_t iova,
		    const struct viommu_segment *list, size_t n)
{
	return viommu_space_map_list(w->space, iova, VIOMMU_READ, list, n);
}

static void lists_merge_what_is_adjacent(void **state)
{
	static const struct viommu_segment list[] = {
		{ 4 * KB, 4 * KB },  { 8 * KB, 8 * KB },  { 0, 4 * KB },
		{ 32 * KB, 4 * KB }, { 32 * KB, 4 * KB },
	};
	struct viommu_segment bad[2] = { { 0, 4 * KB }, { 4 * KB, 0 } };
	struct viommu_space_config c = config(4096);
	struct viommu_space_stats st;
	struct world w;

	(void)state;
	c.last = GB - 1;
	policy_make(&w, NULL, &c);
	assert_int_equal(map_list(&w, MB, list, 5), 0);
	expect_next(&w, 0, MB, MB + 12 * KB - 1, 4 * KB - MB);
	expect_next(&w, MB + 12 * KB, MB + 12 * KB, MB + 16 * KB - 1,
		    0 - MB - 12 * KB);
	expect_next(&w, MB + 16 * KB, MB + 16 * KB, MB + 20 * KB - 1,
		    16 * KB - MB);
	expect_next(&w, MB + 20 * KB, MB + 20 * KB, MB + 24 * KB - 1,
		    12 * KB - MB);
	viommu_space_read_stats(w.space, &st);
	assert_int_equal(st.mappings, 4);
	/* none of it, for each reason */
	assert_int_equal(map_list(&w, MB - 8 * KB, list, 5), -EEXIST);
	assert_int_equal(map_list(&w, 0, list, 0), -EINVAL);
	assert_int_equal(map_list(&w, 0, bad, 2), -EINVAL);
	bad[1].len = 5;
	assert_int_equal(map_list(&w, 0, bad, 2), -ERANGE);
	assert_int_equal(map_list(&w, GB - 4 * KB, list, 5), -ERANGE);
	assert_int_equal(map_list(&w, 0 - 4 * KB, list, 5), -ERANGE);
	assert_int_equal(viommu_space_map_list(w.space, 0, 0, list, 5),
			 -EINVAL);
	bad[1].len = 0 - 8 * KB;
	assert_int_equal(map_list(&w, 0, bad, 2), -ERANGE);
	expect_next(&w, 0, MB, MB + 12 * KB - 1, 4 * KB - MB);
	viommu_space_read_stats(w.space, &st);
	assert_int_equal(st.mappings, 4);
	assert_int_equal(unmap(&w, 0, UINT64_MAX), 24 * KB);
	world_free(&w);
}

static void zero_is_an_address(void **state)
{
	struct viommu_space_config c = config(4096);
	struct viommu_space *bypass;
	struct viommu_fence f;
	struct world w;
	uint64_t gpa = 77;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(viommu_space_translate(w.space, MB, &gpa), -ENOENT);
	assert_int_equal(gpa, 77);
	assert_int_equal(map_rw(&w, MB, MB + 4 * KB - 1, 0), 0);
	assert_int_equal(viommu_space_translate(w.space, MB, &gpa), 0);
	assert_int_equal(gpa, 0);
	assert_int_equal(viommu_space_translate(w.space, MB + 123, &gpa), 0);
	assert_int_equal(gpa, 123);
	c.kind = VIOMMU_SPACE_IDENTITY;
	c.last = MB - 1;
	assert_int_equal(viommu_space_create(w.vi, &c, &bypass), 0);
	assert_int_equal(viommu_space_translate(bypass, 4711, &gpa), 0);
	assert_int_equal(gpa, 4711);
	assert_int_equal(viommu_space_translate(bypass, MB, &gpa), -ENOENT);
	assert_int_equal(take(bypass, 0, MB), -EINVAL);
	assert_int_equal(viommu_space_map_list(bypass, 0, VIOMMU_READ, NULL, 0),
			 -EINVAL);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_invalidate(w.space, 0, 1, &f), -EINVAL);
	viommu_space_destroy(bypass, &f);
	fence_run(&f);
	world_free(&w);
}

/* ---- quotas ----------------------------------------------------------- */

static void cut_needs_quota(void **state)
{
	struct viommu_space_config c = config(4096);
	struct viommu_space_stats st;
	struct world w;

	(void)state;
	c.policy = VIOMMU_SPACE_SPLIT;
	c.max_mappings = 2;
	policy_make(&w, NULL, &c);
	assert_int_equal(map_rw(&w, 0, MB - 1, 0), 0);
	assert_int_equal(unmap(&w, 4 * KB, 8 * KB - 1), 4 * KB);
	assert_int_equal(unmap(&w, 16 * KB, 20 * KB - 1), -ENOSPC);
	assert_int_equal(map_rw(&w, MB, 2 * MB - 1, 0), -ENOSPC);
	assert_int_equal(replace(&w, 16 * KB, 20 * KB - 1, 0), -ENOSPC);
	expect_next(&w, 8 * KB, 8 * KB, MB - 1, 0);
	/* none where nothing is more than before */
	assert_int_equal(unmap(&w, MB - 4 * KB, MB - 1), 4 * KB);
	assert_int_equal(replace(&w, 0, 4 * KB - 1, 4 * KB), 0);
	assert_int_equal(replace(&w, 0, 12 * KB - 1, 4 * KB), 0);
	assert_int_equal(unmap(&w, 8 * KB, 16 * KB - 1), 8 * KB);
	viommu_space_read_stats(w.space, &st);
	assert_int_equal(st.mappings, 2);
	assert_int_equal(unmap(&w, 0, UINT64_MAX), MB - 4 * KB - 8 * KB);
	assert_int_equal(map_rw(&w, 0, MB - 1, 0), 0);
	world_free(&w);
}

/* Also where another space has used it, and has not. */
static void quota_is_for_whoever_asks(void **state)
{
	struct viommu_config cfg = { .size = sizeof(cfg), .max_mappings = 300 };
	struct viommu_space_config c = config(4096);
	struct viommu_stats st;
	struct viommu_space *s2;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, &cfg, 4096);
	assert_int_equal(viommu_space_create(w.vi, &c, &s2), 0);
	for (int round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < 200; i++)
			assert_int_equal(
				map_rw(&w, i * 4096, i * 4096 + 4095, 0), 0);
		assert_int_equal(unmap(&w, 0, UINT64_MAX), 200 * 4096);
		for (uint64_t i = 0; i < 300; i++) {
			struct viommu_mapping m = { .start = i * 4096,
						    .last = i * 4096 + 4095,
						    .prot = VIOMMU_READ };

			assert_int_equal(viommu_space_map(s2, &m), 0);
		}
		assert_int_equal(map_rw(&w, 0, 4095, 0), -ENOSPC);
		viommu_read_stats(w.vi, &st);
		assert_int_equal(st.mappings, 300);
		assert_int_equal(st.mapped, (uint64_t)(round + 1) * 500);
		assert_int_equal(take(s2, 0, UINT64_MAX), 300 * 4096);
	}
	viommu_fence_init(&f);
	viommu_space_destroy(s2, &f);
	fence_run(&f);
	viommu_read_stats(w.vi, &st);
	assert_int_equal(st.mapped, 1500);
	assert_int_equal(st.unmapped, 1500);
	world_free(&w);
}

static void tables_are_limited_with_the_mappings(void **state)
{
	struct viommu_config cfg = { .size = sizeof(cfg),
				     .max_mappings = 16000 };
	struct viommu_space_stats st;
	struct world w;
	uint64_t i;
	int rc = 0;

	(void)state;
	world_make(&w, &cfg, 4096);
	for (i = 0; !rc; i++)
		rc = map_rw(&w, i * GB, i * GB + 4095, 0);
	assert_int_equal(rc, -ENOSPC);
	viommu_space_read_stats(w.space, &st);
	assert_int_equal(st.mappings, i - 1);
	assert_in_range(i, 2500, 2560); /* two tables each */
	assert_true(st.table_bytes < (4096 + 1000) * 4200);
	assert_int_equal(map_rw(&w, 4 * KB, 8 * KB - 1, 0), 0);
	assert_int_equal(unmap(&w, 0, UINT64_MAX), (int64_t)i * 4096);
	assert_int_equal(map_rw(&w, i * GB, i * GB + 4095, 0), 0);
	world_free(&w);
}

/* ---- no memory -------------------------------------------------------- */

static int64_t allowed = -1; /* allocations; -1: any number */

static void *mean_alloc(void *arg, size_t size, size_t align)
{
	(void)arg;
	if (!allowed)
		return NULL;
	if (allowed > 0)
		allowed--;
	return aligned_alloc(align, (size + align - 1) / align * align);
}

static void mean_free(void *arg, void *p)
{
	(void)arg;
	free(p);
}

enum change {
	SPLIT,
	WHOLE_PAGE,
	REMAP,
	LIST,
	CHANGES,
};

static int64_t change(struct world *w, enum change what)
{
	static const struct viommu_segment list[] = {
		{ 0, 3 * MB }, { GB, 4 * KB }, { 0, 4 * GB }, { 0, 4 * KB }
	};

	switch (what) {
	case SPLIT:
	case WHOLE_PAGE:
		return unmap(w, 3 * MB, 512 * GB + 4 * KB - 1);
	case REMAP:
		return replace(w, 3 * MB, 512 * GB + 4 * KB - 1, 4 * KB);
	default:
		return map_list(w, 2048 * GB - MB, list, 4);
	}
}

/* All that can be asked for is as in @before; or copy it. */
static void same_as(struct world *w, struct viommu_space_stats *before,
		    bool copy)
{
	struct viommu_space_stats now;

	viommu_space_read_stats(w->space, &now);
	if (copy)
		*before = now;
	assert_int_equal(now.mappings, before->mappings);
	assert_int_equal(now.bytes, before->bytes);
	assert_int_equal(now.mapped, before->mapped);
	assert_int_equal(now.unmapped, before->unmapped);
	assert_int_equal(now.splits, before->splits);
	assert_int_equal(now.table_bytes, before->table_bytes);
	expect_next(w, 0, 0, 1024 * GB - 1, 4 * KB);
	expect_none(w, 1024 * GB);
}

static void no_memory_changes_nothing(void **state)
{
	struct viommu_env env = { .size = sizeof(env),
				  .alloc = mean_alloc,
				  .free = mean_free };
	struct viommu_config cfg = { .size = sizeof(cfg), .env = &env };
	struct viommu_space_config c = config(4096);
	struct viommu_space_stats before;
	struct world w;

	(void)state;
	for (int what = 0; what < CHANGES; what++) {
		int64_t n = 0, rc;

		c.policy = what == WHOLE_PAGE ? VIOMMU_SPACE_WHOLE_PAGE
					      : VIOMMU_SPACE_SPLIT;
		for (rc = -ENOMEM; rc < 0; n++) {
			policy_make(&w, &cfg, &c);
			assert_int_equal(map_rw(&w, 0, 1024 * GB - 1, 4 * KB),
					 0);
			same_as(&w, &before, true);
			allowed = n;
			rc = change(&w, (enum change)what);
			allowed = -1;
			if (rc < 0) {
				assert_int_equal(rc, -ENOMEM);
				same_as(&w, &before, false);
				/* nor is anything in the way now */
				rc = change(&w, (enum change)what);
				assert_true(rc >= 0);
				rc = -ENOMEM;
			}
			world_free(&w);
		}
		assert_true(n > 3);
	}
}

/* ---- REMOTE ----------------------------------------------------------- */

static void no_miss(void *arg, const struct viommu_miss *m)
{
	(void)arg;
	(void)m;
}

static void remote_spaces_have_a_handler(void **state)
{
	struct viommu_space_config c = config(4096);
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	c.kind = VIOMMU_SPACE_REMOTE;
	assert_int_equal(try_create(&w, &c), -EINVAL);
	c.miss = no_miss;
	assert_int_equal(try_create(&w, &c), 0);
	c.kind = VIOMMU_SPACE_MAPPED;
	assert_int_equal(try_create(&w, &c), -EINVAL);
	c.miss = NULL;
	c.policy = VIOMMU_SPACE_WHOLE_PAGE + 1;
	assert_int_equal(try_create(&w, &c), -EINVAL);
	world_free(&w);
}

static int invalidate(struct world *w, uint64_t start, uint64_t last)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_space_invalidate(w->space, start, last, &f);
	fence_run(&f);
	return rc;
}

static void invalidation_is_exact_unless_there_is_no_memory(void **state)
{
	struct viommu_env env = { .size = sizeof(env),
				  .alloc = mean_alloc,
				  .free = mean_free };
	struct viommu_config cfg = { .size = sizeof(cfg), .env = &env };
	struct viommu_space_config c = config(4 * KB | 2 * MB);
	struct world w;

	(void)state;
	c.kind = VIOMMU_SPACE_REMOTE;
	c.miss = no_miss;
	policy_make(&w, &cfg, &c);
	assert_int_equal(invalidate(&w, 5, 4), -EINVAL);
	assert_int_equal(map_rw(&w, 2 * MB, 6 * MB - 1, 0), 0);
	/* the granule around it, whatever the policy (REFUSE) */
	assert_int_equal(invalidate(&w, 3 * MB + 5, 3 * MB + 6), 0);
	expect_next(&w, 0, 2 * MB, 3 * MB - 1, 0 - 2 * MB);
	expect_next(&w, 3 * MB, 3 * MB + 4 * KB, 6 * MB - 1, 0 - 2 * MB);
	allowed = 0;
	assert_int_equal(map_rw(&w, 8 * MB, 10 * MB - 1, 0), 0);
	assert_int_equal(invalidate(&w, 5 * MB, 5 * MB), 0);
	allowed = -1;
	expect_next(&w, 0, 2 * MB, 3 * MB - 1, 0 - 2 * MB);
	expect_next(&w, 3 * MB, 8 * MB, 10 * MB - 1, 0 - 8 * MB);
	assert_int_equal(invalidate(&w, 0, UINT64_MAX), 0);
	expect_none(&w, 0);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_spaces_are_refused),
		cmocka_unit_test(bad_maps_are_refused),
		cmocka_unit_test(aperture_is_kept),
		cmocka_unit_test(unmap_that_would_cut_changes_nothing),
		cmocka_unit_test(number_of_mappings_is_limited),
		cmocka_unit_test(reserved_ranges_are_kept_free),
		cmocka_unit_test(endpoints_have_names),
		cmocka_unit_test(bad_instances_are_refused),
		cmocka_unit_test(split_removes_exactly),
		cmocka_unit_test(whole_pages_go),
		cmocka_unit_test(pages_are_those_that_linux_would_choose),
		cmocka_unit_test(fences_wait_for_what_went),
		cmocka_unit_test(remap_replaces),
		cmocka_unit_test(remap_obeys_the_policy),
		cmocka_unit_test(lists_merge_what_is_adjacent),
		cmocka_unit_test(zero_is_an_address),
		cmocka_unit_test(cut_needs_quota),
		cmocka_unit_test(quota_is_for_whoever_asks),
		cmocka_unit_test(tables_are_limited_with_the_mappings),
		cmocka_unit_test(no_memory_changes_nothing),
		cmocka_unit_test(remote_spaces_have_a_handler),
		cmocka_unit_test(
			invalidation_is_exact_unless_there_is_no_memory),
	};

	return cmocka_run_group_tests_name("space", tests, NULL, NULL);
}
