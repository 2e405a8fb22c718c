/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Limits: what is refused for want of quota has no effect, however often it is
 * tried; and what a space forgets when there is no memory to forget exactly.
 */
#include <errno.h>
#include <string.h>

#include "alloc.h"
#include "core/instance.h"
#include "core/space.h"
#include "world.h"

enum {
	RW = VIOMMU_READ | VIOMMU_WRITE,
	PAGE = 4096,
};

#define GIGA  (UINT64_C(1) << 30)
#define MEGA2 (UINT64_C(1) << 21)

static void setup(struct world *w, uint64_t max_mappings)
{
	struct viommu_config cfg = { .size = sizeof(cfg),
				     .env = &alloc_env,
				     .max_mappings = max_mappings,
				     .max_threads = 1 };

	world_make(w, &cfg, PAGE);
}

static struct viommu_space *space(struct world *w, uint32_t policy,
				  viommu_miss_fn *miss)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .policy = policy,
					 .page_sizes = PAGE,
					 .kind = miss ? VIOMMU_SPACE_REMOTE
						      : VIOMMU_SPACE_MAPPED,
					 .miss = miss };
	struct viommu_space *s;

	assert_int_equal(viommu_space_create(w->vi, &c, &s), 0);
	return s;
}

static int map(struct viommu_space *s, uint64_t start, uint64_t len)
{
	return viommu_space_map(
		s, &(struct viommu_mapping){ .start = start,
					     .last = start + (len - 1),
					     .prot = RW });
}

static int64_t take(struct viommu_space *s, uint64_t start, uint64_t len)
{
	struct viommu_fence f;
	int64_t n;

	viommu_fence_init(&f);
	n = viommu_space_unmap(s, start, start + (len - 1), &f);
	fence_run(&f);
	return n;
}

static int replace(struct viommu_space *s, uint64_t start, uint64_t len)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_space_remap(
		s,
		&(struct viommu_mapping){ .start = start,
					  .last = start + len - 1,
					  .gpa = GIGA,
					  .prot = VIOMMU_READ },
		&f);
	fence_run(&f);
	return rc;
}

static int map_list(struct viommu_space *s, uint64_t iova, size_t n)
{
	struct viommu_segment list[8];

	for (size_t i = 0; i < n; i++)
		list[i] = (struct viommu_segment){ .len = PAGE };
	return viommu_space_map_list(s, iova, RW, list, n);
}

static void destroy(struct viommu_space *s)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_space_destroy(s, &f);
	fence_run(&f);
}

/* All of what is to be seen of @s. */
struct sight {
	struct viommu_space_stats stats;
	struct viommu_mapping m[64];
	size_t n;
};

static void see(struct viommu_space *s, struct sight *out)
{
	uint64_t from = 0;

	memset(out, 0, sizeof(*out));
	viommu_space_read_stats(s, &out->stats);
	out->stats.table_bytes = 0; /* of which some may be spare */
	while (out->n < 64 && !viommu_space_next(s, from, &out->m[out->n]))
		from = out->m[out->n++].last + 1;
}

/* ---- mappings --------------------------------------------------------- */

static void no_mapping_too_many(void **state)
{
	size_t live = alloc_live();
	struct viommu_space *s, *other;
	static struct sight before, after;
	struct world w;

	(void)state;
	setup(&w, 10);
	s = space(&w, VIOMMU_SPACE_SPLIT, NULL);
	other = space(&w, VIOMMU_SPACE_SPLIT, NULL);
	assert_int_equal(map(s, 0, GIGA), 0);
	for (uint64_t i = 1; i < 9; i++)
		assert_int_equal(map(s, i * GIGA, PAGE), 0);
	assert_int_equal(map(other, 0, PAGE), 0);
	see(s, &before);
	assert_int_equal(before.stats.mappings, 9);
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(map(s, 20 * GIGA, PAGE), -ENOSPC);
		assert_int_equal(map(other, 20 * GIGA, PAGE), -ENOSPC);
		assert_int_equal(map_list(s, 20 * GIGA, 2), -ENOSPC);
		assert_int_equal(take(s, PAGE, PAGE), -ENOSPC);
		assert_int_equal(replace(s, PAGE, PAGE), -ENOSPC);
	}
	see(s, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	assert_int_equal(w.vi->mappings, 10);
	/* what needs no more is not refused */
	assert_int_equal(take(s, 0, PAGE), PAGE);
	assert_int_equal(replace(s, GIGA, PAGE), 0);
	assert_int_equal(take(s, GIGA, PAGE), PAGE);
	assert_int_equal(map(other, 20 * GIGA, PAGE), 0);
	destroy(s);
	destroy(other);
	assert_int_equal(w.vi->mappings, 0);
	world_free(&w);
	assert_int_equal(alloc_live(), live);
}

/* ---- tables ----------------------------------------------------------- */

/* As sparse as can be: each page takes tables of its own. */
static uint64_t sparse(uint64_t i)
{
	return (i << 39) | (i << 31);
}

static void no_table_too_many(void **state)
{
	size_t live = alloc_live(), full;
	static struct sight before, after;
	struct viommu_space *s;
	struct world w;
	uint64_t n = 0, ones = 0, out;

	(void)state;
	/* this space has room for 4352 tables, all of them for twice as many */
	setup(&w, 1 << 16);
	assert_int_equal(
		viommu_space_create(
			w.vi,
			&(struct viommu_space_config){
				.size = sizeof(struct viommu_space_config),
				.policy = VIOMMU_SPACE_SPLIT,
				.page_sizes = PAGE,
				.max_mappings = 4096 },
			&s),
		0);
	assert_int_equal(map(s, 0, GIGA), 0);
	while (!map(s, sparse(n + 1), PAGE))
		n++;
	assert_in_range(n, 1000, 4000);
	/* room for one table, where each failure needs three */
	while (!map(s, sparse(1) + (ones + 1) * MEGA2, PAGE))
		ones++;
	for (int i = 0; i < 2; i++, ones--) /* an empty one may stay */
		assert_int_equal(take(s, sparse(1) + ones * MEGA2, PAGE), PAGE);
	see(s, &before);
	out = w.vi->tables.out;
	full = alloc_live();
	for (uint64_t i = 0; i < 200; i++) {
		uint64_t at = sparse(n + 1 + i % 8);

		assert_int_equal(map(s, at, PAGE), -ENOSPC);
		assert_int_equal(map_list(s, at, 2), -ENOSPC);
	}
	see(s, &after);
	assert_memory_equal(&before, &after, sizeof(before));
	/* it may keep some for next time, but not more and more */
	assert_in_range(w.vi->tables.out, out, out + 32);
	assert_in_range(alloc_live(), full, full + 32);
	assert_int_equal(take(s, sparse(1), UINT64_MAX - sparse(1)),
			 (n + ones) * PAGE);
	assert_int_equal(map(s, sparse(n + 1), PAGE), 0);
	destroy(s);
	assert_int_equal(w.vi->mappings, 0);
	world_free(&w);
	assert_int_equal(alloc_live(), live);
}

/* ---- the dirty log ---------------------------------------------------- */

static int add_over_two_chunks(struct world *w)
{
	return viommu_memory_add(
		viommu_memory_of(w->vi),
		&(struct viommu_region){ .size = sizeof(struct viommu_region),
					 .gpa = (17 << 24) - PAGE,
					 .len = 2 * PAGE,
					 .host = w->ram,
					 .prot = RW,
					 .fd = -1 });
}

static void remove_it(struct world *w)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(viommu_memory_of(w->vi),
					      (17 << 24) - PAGE, 2 * PAGE, &f),
			 0);
	fence_run(&f);
}

static void what_was_not_added_leaves_no_log(void **state)
{
	struct viommu_fence f;
	unsigned failures = 0;
	struct world w;
	size_t live;

	(void)state;
	setup(&w, 0);
	viommu_fence_init(&f);
	assert_int_equal(
		viommu_memory_dirty_start(viommu_memory_of(w.vi), 0, &f), 0);
	fence_run(&f);
	assert_int_equal(add_over_two_chunks(&w), 0);
	remove_it(&w);
	live = alloc_live();
	for (unsigned n = 1; n < 10; n++) {
		alloc_fail(n, ALLOC_ONCE);
		failures += !!add_over_two_chunks(&w);
		alloc_fail(0, ALLOC_ONCE);
		if (viommu_memory_read(viommu_memory_of(w.vi),
				       (17 << 24) - PAGE, &(char){ 0 }, 1))
			assert_int_equal(add_over_two_chunks(&w), 0);
		remove_it(&w);
		assert_int_equal(alloc_live(), live);
	}
	assert_in_range(failures, 3, 8); /* the region, two chunks ... */
	viommu_fence_init(&f);
	viommu_memory_dirty_stop(viommu_memory_of(w.vi), &f);
	fence_run(&f);
	world_free(&w);
}

/* ---- no memory to forget exactly -------------------------------------- */

static void on_miss(void *arg, const struct viommu_miss *m)
{
	(void)arg;
	(void)m;
}

static void forgets_more_rather_than_not(void **state)
{
	size_t live = alloc_live();
	struct viommu_space *s;
	struct viommu_fence f;
	struct sight sight;
	struct world w;

	(void)state;
	setup(&w, 0);
	s = space(&w, VIOMMU_SPACE_REFUSE, on_miss);
	assert_int_equal(map(s, 0, GIGA), 0);
	assert_int_equal(map(s, GIGA, GIGA), 0);
	alloc_fail(1, ALLOC_ONWARD);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_invalidate(s, 8 * PAGE, 8 * PAGE, &f), 0);
	fence_run(&f);
	assert_int_equal(alloc_asked(), 1);
	see(s, &sight);
	assert_int_equal(sight.n, 1);
	assert_int_equal(sight.m[0].start, GIGA);
	assert_int_equal(sight.stats.bytes, GIGA);
	assert_int_equal(sight.stats.splits, 0);
	/* nor does what is whole need any */
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_invalidate(s, 0, UINT64_MAX, &f), 0);
	fence_run(&f);
	destroy(s);
	world_free(&w);
	alloc_fail(0, ALLOC_ONCE);
	assert_int_equal(alloc_live(), live);
}

/* A guest's unmap that would cut is refused, and asks for nothing. */
static void refusing_needs_nothing(void **state)
{
	struct viommu_space *s;
	struct viommu_fence f;
	struct world w;

	(void)state;
	setup(&w, 0);
	s = space(&w, VIOMMU_SPACE_REFUSE, NULL);
	assert_int_equal(map(s, 0, GIGA), 0);
	alloc_fail(1, ALLOC_ONWARD);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(s, PAGE, 3 * PAGE, &f), -ERANGE);
	assert_int_equal(viommu_space_unmap(s, 0, GIGA - 2, &f), -ERANGE);
	assert_int_equal(viommu_space_unmap(s, 0, GIGA, &f), GIGA);
	fence_run(&f);
	destroy(s);
	world_free(&w);
	assert_int_equal(alloc_asked(), 0);
	alloc_fail(0, ALLOC_ONCE);
}

/* Tables that a larger leaf took the place of wait for a fence, and are not
 * lost with one that comes to nothing. */
static void refusing_loses_nothing(void **state)
{
	size_t live = alloc_live();
	struct viommu_space *s;
	struct world w;

	(void)state;
	setup(&w, 0);
	s = space(&w, VIOMMU_SPACE_REFUSE, NULL);
	assert_int_equal(map(s, GIGA, PAGE), 0);
	assert_int_equal(take(s, GIGA, PAGE), PAGE);
	assert_int_equal(map(s, GIGA, GIGA), 0);
	assert_non_null(s->table.limbo);
	assert_int_equal(take(s, GIGA, PAGE), -ERANGE);
	assert_int_equal(take(s, 0, GIGA + PAGE), -ERANGE);
	destroy(s);
	world_free(&w);
	assert_int_equal(alloc_live(), live);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_mapping_too_many),
		cmocka_unit_test(no_table_too_many),
		cmocka_unit_test(what_was_not_added_leaves_no_log),
		cmocka_unit_test(forgets_more_rather_than_not),
		cmocka_unit_test(refusing_needs_nothing),
		cmocka_unit_test(refusing_loses_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
