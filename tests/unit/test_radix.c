/* SPDX-License-Identifier: BSD-2-Clause */
/* The table room: address in, address out, against a plain list. */
#include "table/radix.h"
#include "world.h"

struct fixture {
	struct viommu_env env;
	struct vi_table_pool pool;
	struct vi_radix r;
	struct vi_retire *retired;
	struct vi_removed removed;
};

static size_t live; /* blocks that were allocated and not freed */

static void *count_alloc(void *arg, size_t size, size_t align)
{
	(void)arg;
	live++;
	return aligned_alloc(align, (size + align - 1) / align * align);
}

static void count_free(void *arg, void *p)
{
	(void)arg;
	live--;
	free(p);
}

static void make(struct fixture *x, unsigned granule_lg2)
{
	memset(x, 0, sizeof(*x));
	live = 0;
	x->env.alloc = count_alloc;
	x->env.free = count_free;
	vi_table_pool_init(&x->pool, &x->env);
	vi_radix_init(&x->r, &x->pool, granule_lg2);
}

static void finish(struct fixture *x)
{
	vi_retire_free(x->retired);
	vi_radix_fini(&x->r);
	vi_table_pool_fini(&x->pool);
	assert_int_equal(live, 0);
}

static int radix_map(struct fixture *x, uint64_t start, uint64_t last,
		     uint64_t target)
{
	return vi_radix_map(&x->r, start, last, target, VIOMMU_READ);
}

static void radix_unmap(struct fixture *x, uint64_t start, uint64_t last)
{
	vi_radix_unmap(&x->r, start, last, &x->retired, &x->removed);
	/* no reader here: the fence is done at once */
	vi_retire_free(x->retired);
	x->retired = NULL;
}

/* Where @addr leads, or UINT64_MAX. */
static uint64_t lookup(struct fixture *x, uint64_t addr)
{
	unsigned lg2;
	uint64_t e = vi_radix_find(&x->r, addr, &lg2);

	return e ? vi_leaf_target(&x->r, e, addr) : UINT64_MAX;
}

static void empty_tree_has_nothing(void **state)
{
	struct viommu_mapping m;
	struct fixture x;

	(void)state;
	make(&x, 12);
	assert_int_equal(lookup(&x, 0), UINT64_MAX);
	assert_int_equal(lookup(&x, UINT64_MAX), UINT64_MAX);
	assert_false(vi_radix_next(&x.r, 0, &m));
	assert_false(vi_radix_cuts(&x.r, 0, UINT64_MAX));
	radix_unmap(&x, 0, UINT64_MAX);
	assert_int_equal(x.removed.mappings, 0);
	finish(&x);
}

static void whole_space_is_an_ordinary_range(void **state)
{
	static const unsigned granules[] = { 0, 3, 8, 12, 16, 21, 30 };
	struct viommu_mapping m;
	struct fixture x;

	(void)state;
	for (size_t i = 0; i < 7; i++) {
		make(&x, granules[i]);
		assert_int_equal(radix_map(&x, 0, UINT64_MAX, 0), 0);
		assert_int_equal(lookup(&x, 0), 0);
		assert_int_equal(lookup(&x, UINT64_MAX - 1), UINT64_MAX - 1);
		assert_true(vi_radix_next(&x.r, 12345, &m));
		assert_int_equal(m.start, 0);
		assert_int_equal(m.last, UINT64_MAX);
		assert_int_equal(radix_map(&x, 0, UINT64_MAX, 0), -EEXIST);
		assert_true(vi_radix_cuts(&x.r, 1, UINT64_MAX));
		assert_true(vi_radix_cuts(&x.r, 0, UINT64_MAX - 1));
		radix_unmap(&x, 0, UINT64_MAX);
		assert_int_equal(x.removed.mappings, 1);
		assert_int_equal(x.removed.bytes, UINT64_MAX);
		assert_int_equal(lookup(&x, 0), UINT64_MAX);
		finish(&x);
	}
}

static void one_byte_at_the_edge_sees_no_neighbour(void **state)
{
	struct fixture x;

	(void)state;
	make(&x, 0);
	assert_int_equal(radix_map(&x, 0x1000, 0x1fff, 0x50000), 0);
	assert_int_equal(radix_map(&x, 0x2000, 0x2fff, 0x90000), 0);
	assert_int_equal(lookup(&x, 0x1fff), 0x50fff);
	assert_int_equal(lookup(&x, 0x2000), 0x90000);
	assert_int_equal(lookup(&x, 0x0fff), UINT64_MAX);
	assert_int_equal(lookup(&x, 0x3000), UINT64_MAX);
	finish(&x);
}

static void target_may_sit_anywhere(void **state)
{
	struct fixture x;

	(void)state;
	make(&x, 12);
	/* an aligned gigabyte to a target that is 4 KiB aligned only */
	assert_int_equal(radix_map(&x, 1ull << 30, (2ull << 30) - 1, 0x7000),
			 0);
	assert_int_equal(lookup(&x, (1ull << 30) + 0x12345), 0x7000 + 0x12345);
	assert_int_equal(lookup(&x, (2ull << 30) - 1), 0x40006fff);
	/* one leaf, so one table at the level that reaches it */
	assert_int_equal(live, 1);
	finish(&x);
}

static void delta_that_does_not_fit_is_refused(void **state)
{
	struct fixture x;

	(void)state;
	make(&x, 0);
	assert_int_equal(radix_map(&x, 0, 9, 1ull << 55), -ERANGE);
	assert_int_equal(radix_map(&x, 0, 9, (1ull << 55) - 1), 0);
	assert_int_equal(lookup(&x, 9), (1ull << 55) + 8);
	assert_int_equal(radix_map(&x, 1ull << 63, (1ull << 63) + 9,
				   (1ull << 63) - (1ull << 55)),
			 0);
	assert_int_equal(lookup(&x, 1ull << 63), (1ull << 63) - (1ull << 55));
	finish(&x);
}

static void boundaries_are_kept(void **state)
{
	struct viommu_mapping m;
	struct fixture x;

	(void)state;
	make(&x, 12);
	assert_int_equal(radix_map(&x, 0x1000, 0x5fff, 0x1000), 0);
	assert_int_equal(radix_map(&x, 0x6000, 0x6fff, 0x6000), 0);
	for (uint64_t a = 0x1000; a < 0x6000; a += 0x800) {
		assert_true(vi_radix_next(&x.r, a, &m));
		assert_int_equal(m.start, 0x1000);
		assert_int_equal(m.last, 0x5fff);
		assert_int_equal(m.gpa, 0x1000);
	}
	assert_true(vi_radix_cuts(&x.r, 0, 0x1fff));
	assert_true(vi_radix_cuts(&x.r, 0x5000, 0x6fff));
	assert_false(vi_radix_cuts(&x.r, 0x6000, 0x6fff));
	assert_false(vi_radix_cuts(&x.r, 0x6000, 0xffff));
	assert_false(vi_radix_cuts(&x.r, 0, 0xfff));
	finish(&x);
}

static void page_in_turns_costs_no_table(void **state)
{
	struct fixture x;
	size_t after;

	(void)state;
	make(&x, 12);
	assert_int_equal(radix_map(&x, 0, 0xfff, 0), 0);
	radix_unmap(&x, 0, 0xfff);
	after = live;
	for (int i = 0; i < 100; i++) {
		assert_int_equal(radix_map(&x, 0, 0xfff, 0), 0);
		radix_unmap(&x, 0, 0xfff);
		assert_int_equal(live, after);
	}
	finish(&x);
}

static void empty_tables_do_not_pile_up(void **state)
{
	struct fixture x;

	(void)state;
	make(&x, 12);
	for (uint64_t i = 0; i < 20000; i++) {
		uint64_t at = (i * 0x9e3779b97f4a7c15ull) & ~0xfffull;

		assert_int_equal(radix_map(&x, at, at + 0xfff, 0), 0);
		radix_unmap(&x, at, at + 0xfff);
	}
	assert_true(live <= 64 + 2 * 6); /* the pool, two paths */
	finish(&x);
}

/* An allocator that gives @budget blocks and then none. */
static size_t budget;

static void *mean_alloc(void *arg, size_t size, size_t align)
{
	return budget ? budget--, count_alloc(arg, size, align) : NULL;
}

static void no_memory_changes_nothing(void **state)
{
	struct viommu_mapping m;
	struct fixture x;
	size_t given = 0;
	int rc = -ENOMEM;

	(void)state;
	for (; rc; given++) {
		make(&x, 12);
		assert_int_equal(radix_map(&x, 0, 0xfff, 0), 0);
		x.env.alloc = mean_alloc;
		budget = given;
		/* both edges need a path of tables of their own */
		rc = radix_map(&x, 1ull << 40 | 0x3000, 3ull << 40 | 0x4fff, 0);
		if (rc) {
			assert_int_equal(rc, -ENOMEM);
			assert_int_equal(lookup(&x, 2ull << 40), UINT64_MAX);
			assert_true(vi_radix_next(&x.r, 0, &m));
			assert_false(vi_radix_next(&x.r, 0x1000, &m));
		}
		assert_int_equal(lookup(&x, 0), 0);
		finish(&x);
	}
	assert_true(given > 6);
}

/* ---- against a model -------------------------------------------------- */

enum {
	MODEL = 512,   /* granules */
	STEPS = 20000, /* and each mapping at index of its first granule */
};

static uint32_t dice(uint32_t *seed, uint32_t n)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 8) % n;
}

/* The mapping that covers granule @i, or NULL. */
static struct viommu_mapping *model_at(struct viommu_mapping *model, int i)
{
	for (int j = i; j >= 0; j--)
		if (model[j].prot)
			return model[j].last >= (uint64_t)i ? &model[j] : NULL;
	return NULL;
}

static void check(struct fixture *x, struct viommu_mapping *model,
		  uint64_t base, unsigned g)
{
	for (int i = 0; i < MODEL; i++) {
		struct viommu_mapping *m = model_at(model, i), got;
		uint64_t addr = base + ((uint64_t)i << g);

		if (!m) {
			assert_int_equal(lookup(x, addr), UINT64_MAX);
			continue;
		}
		assert_int_equal(lookup(x, addr),
				 m->gpa + (((uint64_t)i - m->start) << g));
		assert_true(vi_radix_next(&x->r, addr, &got));
		assert_int_equal(got.start, base + (m->start << g));
		assert_int_equal(got.last, base + ((m->last + 1) << g) - 1);
	}
}

static void step(struct fixture *x, struct viommu_mapping *model, uint64_t base,
		 unsigned g, uint32_t *seed)
{
	uint64_t a = dice(seed, MODEL), n = dice(seed, 4) ? 12 : MODEL;
	uint64_t b = a + dice(seed, (uint32_t)n);
	uint64_t start, last, gpa = (uint64_t)dice(seed, 1000) << g;
	bool hit = false, cut = false;
	uint64_t gone = 0;

	if (b >= MODEL)
		b = MODEL - 1;
	start = base + (a << g);
	last = base + ((b + 1) << g) - 1;
	for (int i = 0; i < MODEL; i++) {
		if (!model[i].prot || model[i].start > b || model[i].last < a)
			continue;
		hit = true;
		cut |= model[i].start < a || model[i].last > b;
		gone++;
	}
	if (dice(seed, 2)) {
		assert_int_equal(radix_map(x, start, last, gpa),
				 hit ? -EEXIST : 0);
		if (!hit)
			model[a] = (struct viommu_mapping){
				.start = a, .last = b, .gpa = gpa, .prot = 1
			};
		return;
	}
	assert_int_equal(vi_radix_cuts(&x->r, start, last), cut);
	if (cut)
		return;
	x->removed.mappings = 0;
	radix_unmap(x, start, last);
	assert_int_equal(x->removed.mappings, gone);
	for (uint64_t i = a; i <= b; i++)
		model[i].prot = 0;
}

static void agrees_with_a_model(void **state)
{
	/* across a table's edge, at the bottom and the very top */
	static const struct {
		unsigned g;
		uint64_t base;
	} worlds[] = { { 12, 0 },
		       { 12, (1ull << 39) - (200ull << 12) },
		       { 12, 0 - ((uint64_t)MODEL << 12) },
		       { 0, 0x1f0 },
		       { 0, 0 - (uint64_t)MODEL },
		       { 16, 300ull << 16 } };

	(void)state;
	for (size_t w = 0; w < sizeof(worlds) / sizeof(*worlds); w++) {
		struct viommu_mapping *model = calloc(MODEL, sizeof(*model));
		uint32_t seed = 1234 + (uint32_t)w;
		struct fixture x;

		make(&x, worlds[w].g);
		for (int i = 0; i < STEPS; i++) {
			step(&x, model, worlds[w].base, worlds[w].g, &seed);
			if (i % 200 == 0)
				check(&x, model, worlds[w].base, worlds[w].g);
		}
		check(&x, model, worlds[w].base, worlds[w].g);
		finish(&x);
		free(model);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_tree_has_nothing),
		cmocka_unit_test(whole_space_is_an_ordinary_range),
		cmocka_unit_test(one_byte_at_the_edge_sees_no_neighbour),
		cmocka_unit_test(target_may_sit_anywhere),
		cmocka_unit_test(delta_that_does_not_fit_is_refused),
		cmocka_unit_test(boundaries_are_kept),
		cmocka_unit_test(page_in_turns_costs_no_table),
		cmocka_unit_test(empty_tables_do_not_pile_up),
		cmocka_unit_test(no_memory_changes_nothing),
		cmocka_unit_test(agrees_with_a_model),
	};

	return cmocka_run_group_tests_name("radix", tests, NULL, NULL);
}
