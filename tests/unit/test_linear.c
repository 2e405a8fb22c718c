/* SPDX-License-Identifier: BSD-2-Clause */
/* LINEAR spaces: what they are made of, what each call does to their entries,
 * who is told, and what is refused. */
#include "core/instance.h"
#include "notifier.h"

#define APERTURE (UINT64_C(64) * PAGE)
#define AT(i)	 ((uint64_t)(i)*PAGE)

static struct viommu_space_config config(uint64_t start, uint64_t last,
					 uint64_t page)
{
	return (struct viommu_space_config){
		.size = sizeof(struct viommu_space_config),
		.kind = VIOMMU_SPACE_LINEAR,
		.start = start,
		.last = last,
		.page_sizes = page
	};
}

static int try_create(struct viommu *vi, const struct viommu_space_config *c)
{
	struct viommu_space *s;
	int rc = viommu_space_create(vi, c, &s);

	if (!rc)
		space_free(s);
	return rc;
}

static struct viommu_space *linear_make(struct rig *r, uint64_t start,
					uint64_t last, uint64_t page)
{
	struct viommu_space_config c = config(start, last, page);
	struct viommu_space *s;

	assert_int_equal(viommu_space_create(r->w.vi, &c, &s), 0);
	return s;
}

/* A world whose endpoint sees a LINEAR space of 64 pages. */
static struct viommu_space *linear_rig(struct rig **r)
{
	struct viommu_space *s;

	*r = rig_make();
	s = linear_make(*r, 0, APERTURE - 1, PAGE);
	assert_int_equal(see(*r, s), 0);
	return s;
}

static void linear_end(struct rig *r, struct viommu_space *s)
{
	for (unsigned i = 0; i < NSHADOWS; i++)
		rig_remove(r, i);
	space_free(s);
	rig_free(r);
}

static struct viommu_space_stats stats(struct viommu_space *s)
{
	struct viommu_space_stats st;

	viommu_space_read_stats(s, &st);
	return st;
}

static uint64_t load(struct rig *r, uint64_t iova)
{
	uint64_t val = 0;

	assert_int_equal(viommu_dma_load(r->w.ep, iova, 8, &val), 0);
	return val;
}

static int load_fails(struct rig *r, uint64_t iova)
{
	uint64_t val;

	return viommu_dma_load(r->w.ep, iova, 8, &val);
}

/* Word 0 of each page of RAM says which it is. */
static void ram_number(struct rig *r)
{
	for (uint64_t i = 0; i < WORLD_RAM / PAGE; i++)
		memcpy(r->w.ram + AT(i), &i, sizeof(i));
}

static void assert_next(struct viommu_space *s, uint64_t from, uint64_t start,
			uint64_t gpa)
{
	struct viommu_mapping m;

	assert_int_equal(viommu_space_next(s, from, &m), 0);
	assert_int_equal(m.start, start);
	assert_int_equal(m.last, start + PAGE - 1);
	assert_int_equal(m.gpa, gpa);
	assert_int_equal(m.prot, RW);
}

static void assert_empty(struct viommu_space *s)
{
	struct viommu_mapping m;

	assert_int_equal(viommu_space_next(s, 0, &m), -ENOENT);
	assert_int_equal(stats(s).mappings, 0);
	assert_int_equal(stats(s).bytes, 0);
}

/* ---- making one ------------------------------------------------------- */

static void never_asked(void *arg, const struct viommu_miss *m)
{
	(void)arg;
	(void)m;
	abort();
}

static void bad_configs_are_refused(void **state)
{
	struct rig *r = rig_make();
	struct viommu *vi = r->w.vi;
	struct viommu_space_config c;

	(void)state;
	c = config(0, APERTURE - 1, 0);
	assert_int_equal(try_create(vi, &c), -EINVAL);
	c = config(0, APERTURE - 1, PAGE | 1 << 16);
	assert_int_equal(try_create(vi, &c), -EINVAL);
	c = config(0, APERTURE - 1, 1 << 11);
	assert_int_equal(try_create(vi, &c), -EINVAL);
	c = config(0, (UINT64_C(1) << 40) - 1, UINT64_C(1) << 35);
	assert_int_equal(try_create(vi, &c), -EINVAL);
	/* no aperture, or one with a part of a page */
	c = config(0, 0, PAGE);
	assert_int_equal(try_create(vi, &c), -EINVAL);
	c = config(1, APERTURE - 1, PAGE);
	assert_int_equal(try_create(vi, &c), -EINVAL);
	c = config(0, APERTURE, PAGE);
	assert_int_equal(try_create(vi, &c), -EINVAL);
	c = config(APERTURE, APERTURE - 1, PAGE);
	assert_int_equal(try_create(vi, &c), -EINVAL);
	/* there is nothing to be cut, and nobody to be asked */
	c = config(0, APERTURE - 1, PAGE);
	c.policy = VIOMMU_SPACE_SPLIT;
	assert_int_equal(try_create(vi, &c), -EINVAL);
	c.policy = VIOMMU_SPACE_WHOLE_PAGE;
	assert_int_equal(try_create(vi, &c), -EINVAL);
	c.policy = VIOMMU_SPACE_REFUSE;
	c.miss = never_asked;
	assert_int_equal(try_create(vi, &c), -EINVAL);
	c.miss = NULL;
	assert_int_equal(try_create(vi, &c), 0);
	rig_free(r);
}

/* What is refused has taken no quota. */
static void hostile_sizes_are_refused_at_once(void **state)
{
	struct rig *r = rig_make();
	struct viommu_space_config c;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		c = config(0, UINT64_MAX, PAGE);
		assert_int_equal(try_create(r->w.vi, &c), -ENOSPC);
		c.start = UINT64_C(1) << 63;
		assert_int_equal(try_create(r->w.vi, &c), -ENOSPC);
		c = config(0, UINT64_MAX, UINT64_C(1) << 34);
		assert_int_equal(try_create(r->w.vi, &c), -ENOSPC);
		c.max_mappings = UINT64_MAX;
		assert_int_equal(try_create(r->w.vi, &c), -ENOSPC);
		c = config(0, UINT64_MAX >> 1, PAGE);
		assert_int_equal(try_create(r->w.vi, &c), -ENOSPC);
	}
	c = config(0, APERTURE - 1, PAGE);
	c.max_mappings = 63;
	assert_int_equal(try_create(r->w.vi, &c), -ENOSPC);
	c.max_mappings = 64;
	assert_int_equal(try_create(r->w.vi, &c), 0);
	rig_free(r);
}

static void each_entry_counts_from_the_start(void **state)
{
	struct viommu_config cfg = { .size = sizeof(cfg), .max_mappings = 164 };
	struct viommu_space_config c = config(0, APERTURE - 1, PAGE);
	struct viommu_space *s, *other;
	struct viommu_stats st;
	struct world w;

	(void)state;
	world_make(&w, &cfg, PAGE);
	assert_int_equal(viommu_space_create(w.vi, &c, &s), 0);
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(map_rw(&w, AT(2 * i), AT(2 * i) + PAGE - 1, 0),
				 0);
	assert_int_equal(map_rw(&w, AT(300), AT(301) - 1, 0), -ENOSPC);
	/* it has had its own since then */
	assert_int_equal(map_in(s, 0, APERTURE - 1, 0), 0);
	viommu_read_stats(w.vi, &st);
	assert_int_equal(st.mappings, 164);
	space_free(s);
	viommu_read_stats(w.vi, &st);
	assert_int_equal(st.mappings, 100);
	assert_int_equal(st.mapped, 164);
	assert_int_equal(st.unmapped, 64);
	assert_int_equal(map_rw(&w, AT(300), AT(301) - 1, 0), 0);
	/* what another space has to spare is no reason to refuse */
	assert_int_equal(unmap(&w, 0, AT(400)), 101 * PAGE);
	c.last = AT(164) - 1;
	assert_int_equal(viommu_space_create(w.vi, &c, &s), 0);
	c.last = PAGE - 1;
	assert_int_equal(viommu_space_create(w.vi, &c, &other), -ENOSPC);
	space_free(s);
	assert_int_equal(viommu_space_create(w.vi, &c, &s), 0);
	space_free(s);
	world_free(&w);
}

struct counting {
	size_t allocs, frees, fail_at;
};

static void *count_alloc(void *arg, size_t size, size_t align)
{
	struct counting *c = arg;
	size_t rounded = (size + align - 1) / align * align;

	if (++c->allocs == c->fail_at)
		return NULL;
	return aligned_alloc(align < sizeof(void *) ? sizeof(void *) : align,
			     rounded);
}

static void count_free(void *arg, void *p)
{
	struct counting *c = arg;

	c->frees++;
	free(p);
}

static void counting_make(struct world *w, struct counting *c)
{
	const struct viommu_env env = { .size = sizeof(env),
					.alloc = count_alloc,
					.free = count_free,
					.arg = c };
	const struct viommu_config cfg = { .size = sizeof(cfg), .env = &env };

	world_make(w, &cfg, PAGE);
}

static void nothing_is_allocated_once_it_is_there(void **state)
{
	struct viommu_space_config cfg = config(
		UINT64_C(1) << 59, (UINT64_C(1) << 59) + AT(2000) - 1, PAGE);
	const struct viommu_segment list[] = { { 0, AT(3) }, { 0, AT(2) } };
	struct counting c = { 0 };
	struct viommu_space *s;
	struct viommu_fence f;
	uint64_t tables;
	struct world w;

	(void)state;
	counting_make(&w, &c);
	assert_int_equal(viommu_space_create(w.vi, &cfg, &s), 0);
	tables = stats(s).table_bytes;
	assert_true(tables >= 2000 * 8);
	c.allocs = c.frees = 0;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(map_in(s, cfg.start, cfg.last, 0), 0);
		assert_int_equal(remap_in(s, cfg.start + PAGE, cfg.last, 0), 0);
		assert_int_equal(unmap_in(s, 0, UINT64_MAX), AT(2000));
		assert_int_equal(viommu_space_map_list(s, cfg.start + AT(500),
						       RW, list, 2),
				 0);
		assert_int_equal(unmap_in(s, cfg.start, cfg.last), AT(5));
		assert_int_equal(stats(s).table_bytes, tables);
	}
	viommu_fence_init(&f);
	viommu_space_destroy(s, &f);
	assert_int_equal(c.allocs, 0);
	assert_int_equal(c.frees, 0);
	fence_run(&f);
	assert_true(c.frees);
	world_free(&w);
}

static void what_cannot_be_made_leaves_nothing(void **state)
{
	struct viommu_space_config cfg = config(0, AT(2000) - 1, PAGE);
	struct counting c = { 0 };
	struct viommu_space *s;
	struct viommu_stats st;
	struct world w;
	size_t n;
	int rc;

	(void)state;
	counting_make(&w, &c);
	for (n = 1;; n++) {
		c.allocs = c.frees = 0;
		c.fail_at = n;
		rc = viommu_space_create(w.vi, &cfg, &s);
		if (!rc)
			break;
		assert_int_equal(rc, -ENOMEM);
		viommu_read_stats(w.vi, &st);
		assert_int_equal(st.mappings, 0);
		assert_int_equal(w.vi->mappings, 0);
	}
	/* the space, its stripes, a top, four tables that the pool had */
	assert_true(n > 3);
	c.fail_at = 0;
	space_free(s);
	/* the limit of tables, not its own: the pool's books are full */
	w.vi->tables.out += UINT64_C(1) << 32;
	assert_int_equal(viommu_space_create(w.vi, &cfg, &s), -ENOSPC);
	w.vi->tables.out -= UINT64_C(1) << 32;
	assert_int_equal(w.vi->mappings, 0);
	assert_int_equal(try_create(w.vi, &cfg), 0);
	world_free(&w);
}

static void every_page_size_leads_where_it_says(void **state)
{
	struct rig *r = rig_make();

	(void)state;
	for (unsigned lg2 = 12; lg2 <= 34; lg2++) {
		uint64_t page = UINT64_C(1) << lg2, gpa;
		uint64_t start = (UINT64_C(1) << 59) + 3 * page;
		struct viommu_space *s =
			linear_make(r, start, start + 700 * page - 1, page);
		struct viommu_mapping m;

		assert_int_equal(map_in(s, start + 699 * page,
					start + 700 * page - 1, 5 * page),
				 0);
		assert_int_equal(viommu_space_translate(
					 s, start + 699 * page + 1234, &gpa),
				 0);
		assert_int_equal(gpa, 5 * page + 1234);
		assert_int_equal(
			viommu_space_translate(s, start + 699 * page - 1, &gpa),
			-ENOENT);
		assert_int_equal(viommu_space_next(s, 0, &m), 0);
		assert_int_equal(m.start, start + 699 * page);
		assert_int_equal(m.last, start + 700 * page - 1);
		assert_int_equal(stats(s).bytes, page);
		/* the GPA is below, and may be anywhere */
		assert_int_equal(remap_in(s, m.start, m.last, 0), 0);
		assert_int_equal(viommu_space_translate(s, m.start, &gpa), 0);
		assert_int_equal(gpa, 0);
		assert_int_equal(remap_in(s, m.start, m.last, 0 - page), 0);
		assert_int_equal(viommu_space_translate(s, m.last, &gpa), 0);
		assert_int_equal(gpa, UINT64_MAX);
		assert_int_equal(unmap_in(s, start, UINT64_MAX), page);
		assert_empty(s);
		space_free(s);
	}
	rig_free(r);
}

static void an_aperture_may_reach_the_top(void **state)
{
	struct rig *r = rig_make();
	uint64_t start = 0 - AT(600);
	struct viommu_space *s = linear_make(r, start, UINT64_MAX, PAGE);

	(void)state;
	assert_int_equal(see(r, s), 0);
	ram_number(r);
	assert_int_equal(map_in(s, start, UINT64_MAX, 0), 0);
	assert_int_equal(stats(s).mappings, 600);
	assert_next(s, UINT64_MAX, 0 - AT(1), AT(599));
	assert_int_equal(load(r, start + AT(7)), 7);
	assert_int_equal(unmap_in(s, 0 - AT(1), UINT64_MAX), PAGE);
	assert_int_equal(unmap_in(s, 0, UINT64_MAX), AT(599));
	assert_empty(s);
	linear_end(r, s);
}

/* ---- map -------------------------------------------------------------- */

static void a_map_makes_a_mapping_a_page(void **state)
{
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);

	(void)state;
	ram_number(r);
	assert_int_equal(map_in(s, AT(2), AT(5) - 1, AT(4)), 0);
	assert_next(s, 0, AT(2), AT(4));
	assert_next(s, AT(3), AT(3), AT(5));
	assert_next(s, AT(4) + 5, AT(4), AT(6));
	assert_int_equal(stats(s).mappings, 3);
	assert_int_equal(stats(s).mapped, 3);
	assert_int_equal(stats(s).bytes, AT(3));
	assert_int_equal(load(r, AT(3)), 5);
	assert_int_equal(load_fails(r, AT(5)), -EFAULT);
	/* so any of them goes alone */
	assert_int_equal(unmap_in(s, AT(3), AT(4) - 1), PAGE);
	assert_int_equal(load(r, AT(4)), 6);
	assert_int_equal(load_fails(r, AT(3)), -EFAULT);
	linear_end(r, s);
}

static void a_map_is_all_or_none(void **state)
{
	static struct before b;
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);
	const struct viommu_segment list[] = { { AT(3), AT(2) },
					       { AT(1), AT(1) } };

	(void)state;
	assert_int_equal(map_in(s, AT(60), AT(61) - 1, 0), 0);
	before_look(r, s, &b);
	assert_int_equal(map_in(s, 0, AT(61) - 1, 0), -EEXIST);
	assert_int_equal(map_in(s, AT(60), AT(64) - 1, 0), -EEXIST);
	assert_int_equal(viommu_space_map_list(s, AT(58), RW, list, 2),
			 -EEXIST);
	assert_unchanged(r, s, &b);
	linear_end(r, s);
}

static void bad_maps_are_refused(void **state)
{
	static struct before b;
	struct rig *r = rig_make();
	struct viommu_space *s = linear_make(r, AT(8), AT(16) - 1, PAGE);
	struct viommu_mapping m = { .start = AT(8), .last = AT(9) - 1 };

	(void)state;
	before_look(r, s, &b);
	assert_int_equal(map_in(s, AT(9), AT(9) - 1, 0), -EINVAL);
	assert_int_equal(viommu_space_map(s, &m), -EINVAL);
	m.prot = 1 << 5;
	assert_int_equal(viommu_space_map(s, &m), -EINVAL);
	assert_int_equal(map_in(s, AT(8) + 1, AT(9) - 1, 0), -ERANGE);
	assert_int_equal(map_in(s, AT(8), AT(9) - 2, 0), -ERANGE);
	assert_int_equal(map_in(s, AT(8), AT(9) - 1, 8), -ERANGE);
	assert_int_equal(map_in(s, AT(7), AT(9) - 1, 0), -ERANGE);
	assert_int_equal(map_in(s, AT(8), AT(17) - 1, 0), -ERANGE);
	assert_int_equal(map_in(s, 0, UINT64_MAX, 0), -ERANGE);
	assert_int_equal(map_in(s, AT(8), AT(10) - 1, 0 - AT(1)), -ERANGE);
	assert_int_equal(remap_in(s, AT(7), AT(9) - 1, 0), -ERANGE);
	assert_int_equal(remap_in(s, AT(9), AT(9) - 1, 0), -EINVAL);
	assert_unchanged(r, s, &b);
	space_free(s);
	rig_free(r);
}

static void a_list_is_mapped_page_by_page(void **state)
{
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);
	const struct viommu_segment list[] = { { AT(3), AT(2) },
					       { AT(5), AT(1) },
					       { AT(1), AT(1) } };
	const struct viommu_segment none[] = { { 0, 0 } }, odd[] = { { 0, 1 } };
	const struct viommu_segment large[] = { { 0, AT(65) } };

	(void)state;
	assert_int_equal(viommu_space_map_list(s, AT(62), RW, large, 1),
			 -ERANGE);
	assert_int_equal(viommu_space_map_list(s, 0, RW, none, 1), -EINVAL);
	assert_int_equal(viommu_space_map_list(s, 0, RW, odd, 1), -ERANGE);
	assert_empty(s);
	assert_int_equal(viommu_space_map_list(s, AT(10), RW, list, 3), 0);
	assert_next(s, 0, AT(10), AT(3));
	assert_next(s, AT(11), AT(11), AT(4));
	assert_next(s, AT(12), AT(12), AT(5));
	assert_next(s, AT(13), AT(13), AT(1));
	assert_int_equal(stats(s).mappings, 4);
	linear_end(r, s);
}

/* ---- remap and unmap -------------------------------------------------- */

static void a_remap_replaces_pages_and_fills_holes(void **state)
{
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);

	(void)state;
	ram_number(r);
	assert_int_equal(map_in(s, AT(1), AT(2) - 1, AT(9)), 0);
	assert_int_equal(map_in(s, AT(3), AT(4) - 1, AT(9)), 0);
	assert_int_equal(remap_in(s, AT(0), AT(3) - 1, AT(4)), 0);
	assert_int_equal(load(r, AT(0)), 4);
	assert_int_equal(load(r, AT(1)), 5);
	assert_int_equal(load(r, AT(2)), 6);
	assert_int_equal(load(r, AT(3)), 9);
	assert_int_equal(stats(s).mappings, 4);
	assert_int_equal(stats(s).mapped, 5);
	assert_int_equal(stats(s).unmapped, 1);
	linear_end(r, s);
}

static void an_unmap_takes_the_pages_of_any_range(void **state)
{
	static struct before b;
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);

	(void)state;
	assert_int_equal(map_in(s, AT(4), AT(12) - 1, 0), 0);
	assert_int_equal(unmap_in(s, AT(4), AT(5) - 1), PAGE);
	assert_int_equal(unmap_in(s, AT(4), AT(5) - 1), 0);
	assert_int_equal(unmap_in(s, AT(0), AT(7) - 1), AT(2));
	/* off the page is fine where there is none */
	assert_int_equal(unmap_in(s, AT(3) + 7, AT(8) - 1), PAGE);
	assert_int_equal(unmap_in(s, AT(11), AT(20) + 7), PAGE);
	before_look(r, s, &b);
	assert_int_equal(unmap_in(s, AT(8) + 1, AT(10) - 1), -ERANGE);
	assert_int_equal(unmap_in(s, AT(8), AT(10) - 2), -ERANGE);
	assert_int_equal(unmap_in(s, AT(9) + 5, AT(9) + 5), -ERANGE);
	assert_int_equal(unmap_in(s, AT(9), AT(9) - 1), -EINVAL);
	assert_int_equal(unmap_in(s, APERTURE, UINT64_MAX), 0);
	assert_unchanged(r, s, &b);
	assert_int_equal(unmap_in(s, 0, UINT64_MAX), AT(3));
	assert_empty(s);
	assert_int_equal(stats(s).mapped, 8);
	assert_int_equal(stats(s).unmapped, 8);
	linear_end(r, s);
}

static void an_unmap_may_be_of_many_stripes(void **state)
{
	struct rig *r = rig_make();
	struct viommu_space *s = linear_make(r, AT(100), AT(40100) - 1, PAGE);

	(void)state;
	assert_int_equal(map_in(s, AT(100), AT(40100) - 1, 0), 0);
	assert_int_equal(stats(s).mappings, 40000);
	assert_int_equal(remap_in(s, AT(200), AT(30000) - 1, 0), 0);
	assert_int_equal(stats(s).unmapped, 29800);
	assert_int_equal(unmap_in(s, AT(150), AT(40000) - 1), AT(39850));
	assert_int_equal(unmap_in(s, 0, UINT64_MAX), AT(150));
	assert_empty(s);
	space_free(s);
	rig_free(r);
}

/* Each way that remembers: a word, a window, a burst. */
static void what_an_access_remembered_goes_with_its_entry(void **state)
{
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);
	struct viommu_mapping m = { .last = AT(1) - 1, .prot = RW };
	struct viommu_fence f[8];
	struct viommu_window w;
	uint64_t val;

	(void)state;
	ram_number(r);
	assert_int_equal(map_in(s, 0, AT(1) - 1, AT(1)), 0);
	assert_int_equal(viommu_window_open(&w, r->w.ep, 0, PAGE, VIOMMU_READ),
			 0);
	assert_int_equal(viommu_dma_enter(r->w.ep), 0);
	for (uint64_t i = 2; i < 8; i++) {
		assert_int_equal(load(r, 0), i - 1);
		assert_int_equal(viommu_window_load(&w, 0, 8, &val), 0);
		assert_int_equal(val, i - 1);
		m.gpa = AT(i);
		viommu_fence_init(&f[i]);
		assert_int_equal(viommu_space_remap(s, &m, &f[i]), 0);
		viommu_fence_commit(&f[i], NULL, NULL);
		assert_int_equal(load(r, 0), i);
		assert_int_equal(viommu_window_load(&w, 0, 8, &val), 0);
		assert_int_equal(val, i);
	}
	/* the burst was in the way of the accesses before */
	assert_false(viommu_fence_done(&f[2]));
	viommu_dma_exit(r->w.ep);
	assert_true(viommu_fence_done(&f[2]));
	assert_true(viommu_fence_done(&f[7]));
	assert_int_equal(load(r, 0), 7);
	assert_int_equal(unmap_in(s, 0, AT(1) - 1), PAGE);
	assert_int_equal(load_fails(r, 0), -EFAULT);
	assert_int_equal(viommu_window_load(&w, 0, 8, &val), -EFAULT);
	viommu_window_close(&w);
	linear_end(r, s);
}

/* Held: a map of page 1. */
static void hold_page(struct rig *r, struct viommu_dma *d, struct iovec *iov)
{
	*d = (struct viommu_dma){ .ep = r->w.ep,
				  .iova = AT(1),
				  .len = PAGE,
				  .prot = VIOMMU_READ,
				  .iov = iov,
				  .max_iov = 1 };
	assert_int_equal(viommu_dma_map(d), 0);
}

static void a_fence_waits_for_maps_of_its_entries_only(void **state)
{
	struct viommu_fence take, other, again, change;
	struct viommu_mapping m = { .start = AT(1),
				    .last = AT(2) - 1,
				    .prot = RW };
	struct viommu_dma d;
	struct iovec iov;
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);

	(void)state;
	assert_int_equal(map_in(s, 0, AT(4) - 1, 0), 0);
	hold_page(r, &d, &iov);
	viommu_fence_init(&take);
	viommu_fence_init(&other);
	viommu_fence_init(&again);
	viommu_fence_init(&change);
	assert_int_equal(viommu_space_unmap(s, AT(1), AT(2) - 1, &take), PAGE);
	assert_int_equal(viommu_space_unmap(s, AT(2), AT(3) - 1, &other), PAGE);
	/* a hole is gathered, too */
	assert_int_equal(viommu_space_unmap(s, AT(1), AT(2) - 1, &again), 0);
	assert_int_equal(viommu_space_remap(s, &m, &change), 0);
	viommu_fence_commit(&take, NULL, NULL);
	viommu_fence_commit(&other, NULL, NULL);
	viommu_fence_commit(&again, NULL, NULL);
	viommu_fence_commit(&change, NULL, NULL);
	assert_false(viommu_fence_done(&take));
	assert_true(viommu_fence_done(&other));
	assert_false(viommu_fence_done(&again));
	assert_false(viommu_fence_done(&change));
	viommu_dma_unmap(&d, 0);
	assert_true(viommu_fence_done(&take));
	assert_true(viommu_fence_done(&again));
	assert_true(viommu_fence_done(&change));
	linear_end(r, s);
}

static void tables_stay_until_the_space_is_destroyed(void **state)
{
	struct viommu_fence f;
	struct viommu_dma d;
	struct iovec iov;
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);

	(void)state;
	assert_int_equal(map_in(s, 0, AT(4) - 1, 0), 0);
	hold_page(r, &d, &iov);
	viommu_fence_init(&f);
	viommu_space_destroy(s, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	assert_int_equal(load_fails(r, 0), -EFAULT);
	viommu_dma_unmap(&d, 0);
	assert_true(viommu_fence_done(&f));
	rig_free(r);
}

static void only_a_remote_space_is_invalidated(void **state)
{
	struct viommu_fence f;
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);

	(void)state;
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_invalidate(s, 0, PAGE - 1, &f), -EINVAL);
	linear_end(r, s);
}

/* ---- reserved ranges -------------------------------------------------- */

static void reserved_ranges_are_kept_off(void **state)
{
	struct viommu_reserved res = { .start = AT(8), .last = AT(10) - 1 };
	const struct viommu_segment list[] = { { 0, AT(2) } };
	static struct before b;
	struct viommu_fence f;
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);

	(void)state;
	assert_int_equal(map_in(s, AT(9), AT(10) - 1, 0), 0);
	assert_int_equal(viommu_endpoint_reserve(r->w.ep, &res), -EBUSY);
	assert_int_equal(unmap_in(s, AT(9), AT(10) - 1), PAGE);
	assert_int_equal(viommu_endpoint_reserve(r->w.ep, &res), 0);
	before_look(r, s, &b);
	assert_int_equal(map_in(s, AT(7), AT(9) - 1, 0), -EADDRNOTAVAIL);
	assert_int_equal(remap_in(s, AT(9), AT(11) - 1, 0), -EADDRNOTAVAIL);
	assert_int_equal(viommu_space_map_list(s, AT(7), RW, list, 1),
			 -EADDRNOTAVAIL);
	assert_unchanged(r, s, &b);
	/* who sees it no more reserves nothing there */
	viommu_fence_init(&f);
	viommu_endpoint_detach(r->w.ep, &f);
	fence_run(&f);
	assert_int_equal(map_in(s, AT(7), AT(9) - 1, 0), 0);
	assert_int_equal(see(r, s), -EADDRNOTAVAIL);
	assert_int_equal(unmap_in(s, AT(8), AT(9) - 1), PAGE);
	assert_int_equal(see(r, s), 0);
	linear_end(r, s);
}

/* ---- who is told ------------------------------------------------------ */

static void a_notifier_is_told_of_pages(void **state)
{
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);

	(void)state;
	assert_int_equal(map_in(s, AT(1), AT(3) - 1, AT(4)), 0);
	rig_add(r, 1);
	assert_heard(r, "a map 1000-2fff 4000 3 x2\n");
	assert_int_equal(map_in(s, AT(8), AT(10) - 1, AT(1)), 0);
	assert_heard(r, "a map 8000-9fff 1000 3 x2\n");
	assert_int_equal(remap_in(s, AT(9), AT(11) - 1, 0), 0);
	assert_heard(r, "a remap 9000-9fff 0 3 f\n"
			"a remap a000-afff 1000 3 f\n");
	pictures(r, 1, s);
	assert_int_equal(unmap_in(s, AT(2), AT(9) - 1), AT(2));
	assert_heard(r, "a unmap 2000-8fff f\n");
	assert_int_equal(unmap_in(s, AT(2), AT(9) - 1), 0);
	assert_heard(r, "a unmap 2000-8fff f\n");
	pictures(r, 1, s);
	/* what is refused is not told */
	assert_int_equal(map_in(s, AT(7), AT(10) - 1, 0), -EEXIST);
	assert_int_equal(unmap_in(s, AT(9) + 1, AT(10) - 1), -ERANGE);
	assert_heard(r, "");
	/* nor is anything to who has left */
	rig_remove(r, 0);
	assert_heard(r, "a unmap " ALL " f\n");
	assert_int_equal(map_in(s, AT(20), AT(21) - 1, 0), 0);
	assert_int_equal(unmap_in(s, AT(20), AT(21) - 1), PAGE);
	assert_heard(r, "");
	linear_end(r, s);
}

static void a_refused_map_changes_nothing(void **state)
{
	static struct before b;
	const struct viommu_segment list[] = { { 0, AT(20) }, { 0, AT(20) } };
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);

	(void)state;
	rig_add(r, 2);
	before_look(r, s, &b);
	refuse(r, 1, SHADOW_ANY(SHADOW_MAP), 0);
	assert_int_equal(map_in(s, AT(1), AT(3) - 1, 0), -ENOSPC);
	assert_heard(r, "a map 1000-2fff 0 3 x2\n"
			"b map 1000-2fff 0 3 x2 ENOSPC\n"
			"a unmap 1000-2fff -\n");
	assert_unchanged(r, s, &b);
	pictures(r, 2, s);
	/* after some batches */
	refuse(r, 0, SHADOW_ANY(SHADOW_MAP), 2);
	assert_int_equal(viommu_space_map_list(s, 0, RW, list, 2), -ENOSPC);
	assert_heard(r, "a map 0-ffff 0 3 x16\n"
			"a map 10000-1ffff 10000 3 x16\n"
			"a map 20000-27fff c000 3 x8 ENOSPC\n"
			"a unmap 0-27fff -\n");
	assert_unchanged(r, s, &b);
	pictures(r, 2, s);
	assert_int_equal(map_in(s, AT(1), AT(3) - 1, 0), 0);
	pictures(r, 2, s);
	linear_end(r, s);
}

static void a_refused_remap_leaves_the_pages_before_it_done(void **state)
{
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);

	(void)state;
	assert_int_equal(map_in(s, AT(0), AT(4) - 1, AT(0)), 0);
	rig_add(r, 2);
	heard(r);
	refuse(r, 1, SHADOW_ANY(SHADOW_REMAP), 1);
	assert_int_equal(remap_in(s, AT(1), AT(4) - 1, AT(8)), -ENOSPC);
	assert_heard(r, "a remap 1000-1fff 8000 3 f\n"
			"b remap 1000-1fff 8000 3 f\n"
			"a remap 2000-2fff 9000 3 f\n"
			"b remap 2000-2fff 9000 3 f ENOSPC\n"
			"a unmap 2000-2fff f\n"
			"a map 2000-2fff 2000 3 x1\n");
	assert_next(s, AT(1), AT(1), AT(8));
	assert_next(s, AT(2), AT(2), AT(2));
	assert_next(s, AT(3), AT(3), AT(3));
	assert_int_equal(stats(s).unmapped, 1);
	pictures(r, 2, s);
	linear_end(r, s);
}

static void who_holds_a_fence_is_waited_for(void **state)
{
	struct viommu_fence f;
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);

	(void)state;
	assert_int_equal(map_in(s, AT(0), AT(4) - 1, AT(0)), 0);
	rig_add(r, 1);
	r->s[0].holds = true;
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(s, AT(1), AT(2) - 1, &f), PAGE);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	r->s[0].holds = false;
	shadow_release(&r->s[0]);
	assert_true(viommu_fence_done(&f));
	linear_end(r, s);
}

static void
an_endpoint_that_changes_spaces_takes_its_notifiers_along(void **state)
{
	struct rig *r;
	struct viommu_space *s = linear_rig(&r);

	(void)state;
	rig_add(r, 1);
	assert_int_equal(map_in(s, AT(1), AT(3) - 1, AT(4)), 0);
	heard(r);
	assert_int_equal(see(r, r->w.space), 0);
	assert_heard(r, "a unmap " ALL " f\n");
	assert_int_equal(map_in(s, AT(3), AT(4) - 1, 0), 0);
	assert_heard(r, "");
	assert_int_equal(see(r, s), 0);
	assert_heard(r, "a unmap " ALL " f\n"
			"a map 1000-3fff 4000 3 x3\n");
	pictures(r, 1, s);
	linear_end(r, s);
}

/* ---- any order -------------------------------------------------------- */

enum {
	CELLS = 200, /* pages of the aperture, from FIRST on */
	FIRST = 1000,
	TURNS = 6000,
};

/* What each page should be: the page of GPA it leads to, plus 1, or 0. */
struct plan {
	uint64_t cell[CELLS];
	uint64_t mapped, unmapped;
	unsigned seed;
};

static unsigned dice(struct plan *p, unsigned n)
{
	p->seed = p->seed * 1664525 + 1013904223;
	return (p->seed >> 8) % n;
}

/* Pages, of which some are outside at times. */
static void range_pick(struct plan *p, unsigned *first, unsigned *last)
{
	unsigned most = dice(p, 4) ? 4 : CELLS;

	*first = dice(p, CELLS + 1);
	*last = *first + dice(p, most);
	if (*last >= CELLS && dice(p, 16))
		*last = CELLS - 1;
	if (*last < *first)
		*last = *first;
}

static void put(struct plan *p, unsigned i, uint64_t cell)
{
	p->mapped += !!cell;
	p->unmapped += !!p->cell[i];
	p->cell[i] = cell;
}

static bool free_in(const struct plan *p, unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i++)
		if (p->cell[i])
			return false;
	return true;
}

static void map_turn(struct plan *p, struct viommu_space *s)
{
	unsigned first, last;
	uint64_t gpa = dice(p, 1000);
	bool again = dice(p, 2);
	int rc;

	range_pick(p, &first, &last);
	rc = (again ? remap_in : map_in)(s, AT(FIRST + first),
					 AT(FIRST + last + 1) - 1, AT(gpa));
	if (last >= CELLS) {
		assert_int_equal(rc, -ERANGE);
		return;
	}
	if (!again && !free_in(p, first, last)) {
		assert_int_equal(rc, -EEXIST);
		return;
	}
	assert_int_equal(rc, 0);
	for (unsigned i = first; i <= last; i++)
		put(p, i, gpa + (i - first) + 1);
}

static void unmap_turn(struct plan *p, struct viommu_space *s)
{
	uint64_t start, to, n = 0;
	unsigned first, last;
	bool cuts;

	range_pick(p, &first, &last);
	start = AT(FIRST + first) + (dice(p, 4) ? 0 : 5);
	to = AT(FIRST + last + 1) - (dice(p, 4) ? 1 : 6);
	cuts = (first < CELLS && p->cell[first] && start % PAGE) ||
	       (last < CELLS && p->cell[last] && (to + 1) % PAGE);
	for (unsigned i = first; !cuts && i <= last && i < CELLS; i++) {
		n += p->cell[i] ? PAGE : 0;
		put(p, i, 0);
	}
	assert_int_equal(unmap_in(s, start, to), cuts ? -ERANGE : (int64_t)n);
}

static void plan_compare(const struct plan *p, struct viommu_space *s)
{
	uint64_t at = 0, n = 0;
	struct viommu_mapping m;

	for (unsigned i = 0; i < CELLS; i++) {
		if (!p->cell[i])
			continue;
		assert_next(s, at, AT(FIRST + i), AT(p->cell[i] - 1));
		at = AT(FIRST + i + 1);
		n++;
	}
	assert_int_equal(viommu_space_next(s, at, &m), -ENOENT);
	assert_int_equal(stats(s).mappings, n);
	assert_int_equal(stats(s).mapped, p->mapped);
	assert_int_equal(stats(s).unmapped, p->unmapped);
}

static void calls_in_any_order_do_what_they_say(void **state)
{
	struct rig *r = rig_make();
	struct viommu_space *s =
		linear_make(r, AT(FIRST), AT(FIRST + CELLS) - 1, PAGE);
	struct plan p = { .seed = 1 };

	(void)state;
	assert_int_equal(see(r, s), 0);
	for (unsigned i = 0; i < TURNS; i++) {
		if (dice(&p, 3))
			map_turn(&p, s);
		else
			unmap_turn(&p, s);
		r->log.n = 0;
		if (i % 16)
			continue;
		plan_compare(&p, s);
		if (r->s[0].notifier)
			pictures(r, 1, s);
		if (!r->s[0].notifier && dice(&p, 8) == 0) {
			shadow_reset(&r->s[0]);
			rig_add(r, 1);
		} else if (dice(&p, 8) == 0) {
			rig_remove(r, 0);
		}
	}
	linear_end(r, s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bad_configs_are_refused),
		cmocka_unit_test(hostile_sizes_are_refused_at_once),
		cmocka_unit_test(each_entry_counts_from_the_start),
		cmocka_unit_test(nothing_is_allocated_once_it_is_there),
		cmocka_unit_test(what_cannot_be_made_leaves_nothing),
		cmocka_unit_test(every_page_size_leads_where_it_says),
		cmocka_unit_test(an_aperture_may_reach_the_top),
		cmocka_unit_test(a_map_makes_a_mapping_a_page),
		cmocka_unit_test(a_map_is_all_or_none),
		cmocka_unit_test(bad_maps_are_refused),
		cmocka_unit_test(a_list_is_mapped_page_by_page),
		cmocka_unit_test(a_remap_replaces_pages_and_fills_holes),
		cmocka_unit_test(an_unmap_takes_the_pages_of_any_range),
		cmocka_unit_test(an_unmap_may_be_of_many_stripes),
		cmocka_unit_test(what_an_access_remembered_goes_with_its_entry),
		cmocka_unit_test(a_fence_waits_for_maps_of_its_entries_only),
		cmocka_unit_test(tables_stay_until_the_space_is_destroyed),
		cmocka_unit_test(only_a_remote_space_is_invalidated),
		cmocka_unit_test(reserved_ranges_are_kept_off),
		cmocka_unit_test(a_notifier_is_told_of_pages),
		cmocka_unit_test(a_refused_map_changes_nothing),
		cmocka_unit_test(
			a_refused_remap_leaves_the_pages_before_it_done),
		cmocka_unit_test(who_holds_a_fence_is_waited_for),
		cmocka_unit_test(
			an_endpoint_that_changes_spaces_takes_its_notifiers_along),
		cmocka_unit_test(calls_in_any_order_do_what_they_say),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
