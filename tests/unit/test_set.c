/* SPDX-License-Identifier: BSD-2-Clause */
/* The table room: leaves that stay where they are and come to mean something
 * else. */
#include "table/radix.h"
#include "world.h"

enum {
	RW = VIOMMU_READ | VIOMMU_WRITE,
};

struct fixture {
	struct viommu_env env;
	struct vi_table_pool pool;
	struct vi_radix r;
	struct vi_retire *retired;
	struct vi_removed removed;
};

static unsigned allocs;

static void *count_alloc(void *arg, size_t size, size_t align)
{
	(void)arg;
	allocs++;
	return aligned_alloc(align, (size + align - 1) / align * align);
}

static void plain_free(void *arg, void *p)
{
	(void)arg;
	free(p);
}

static void make(struct fixture *x, unsigned granule_lg2)
{
	memset(x, 0, sizeof(*x));
	x->env.alloc = count_alloc;
	x->env.free = plain_free;
	vi_table_pool_init(&x->pool, &x->env);
	vi_radix_init(&x->r, &x->pool, granule_lg2);
}

static void finish(struct fixture *x)
{
	vi_retire_free(x->retired);
	vi_radix_fini(&x->r);
	vi_table_pool_fini(&x->pool);
}

static void map(struct fixture *x, uint64_t start, uint64_t last,
		uint64_t target, uint32_t prot)
{
	assert_int_equal(vi_radix_map(&x->r, start, last, target, prot), 0);
}

/* What an access finds at @addr. */
static void assert_leads(const struct fixture *x, uint64_t addr,
			 uint64_t target, uint32_t prot)
{
	unsigned lg2;
	uint64_t e = vi_radix_find(&x->r, addr, &lg2);

	assert_int_not_equal(e, 0);
	assert_int_equal(vi_leaf_target(&x->r, e, addr), target);
	assert_int_equal(vi_leaf_prot(e), prot);
}

static void assert_mapping(const struct fixture *x, uint64_t at, uint64_t start,
			   uint64_t last, uint64_t target, uint32_t prot)
{
	struct viommu_mapping m;

	assert_true(vi_radix_next(&x->r, at, &m));
	assert_int_equal(m.start, start);
	assert_int_equal(m.last, last);
	assert_int_equal(m.gpa, target);
	assert_int_equal(m.prot, prot);
}

/* Leaves of all sizes, from one byte up. */
#define FROM UINT64_C(0x12345)
#define TO   UINT64_C(0x23456789a)
#define AWAY UINT64_C(0x700000000001)

static void permissions_change_and_nothing_else(void **state)
{
	struct fixture x;
	uint64_t tables;

	(void)state;
	make(&x, 0);
	map(&x, 0x100, FROM - 1, AWAY + 0x100, RW);
	map(&x, FROM, TO, AWAY + FROM, RW);
	map(&x, TO + 1, TO + 0x1000, AWAY + TO + 1, RW);
	tables = x.r.tables;
	allocs = 0;
	vi_radix_protect(&x.r, FROM, TO, VIOMMU_READ);
	assert_int_equal(allocs, 0);
	assert_int_equal(x.r.tables, tables);
	assert_mapping(&x, 0, 0x100, FROM - 1, AWAY + 0x100, RW);
	assert_mapping(&x, FROM, FROM, TO, AWAY + FROM, VIOMMU_READ);
	assert_mapping(&x, TO + 1, TO + 1, TO + 0x1000, AWAY + TO + 1, RW);
	for (unsigned i = 0; i < 64 && FROM + (UINT64_C(1) << i) < TO; i++) {
		const uint64_t near = UINT64_C(1) << i;

		assert_leads(&x, FROM + near, AWAY + FROM + near, VIOMMU_READ);
		assert_leads(&x, TO - near, AWAY + TO - near, VIOMMU_READ);
	}
	assert_leads(&x, FROM - 1, AWAY + FROM - 1, RW);
	assert_leads(&x, TO + 1, AWAY + TO + 1, RW);
	/* every kind, and back */
	vi_radix_protect(&x.r, FROM, TO, 0x1f);
	assert_mapping(&x, FROM, FROM, TO, AWAY + FROM, 0x1f);
	vi_radix_protect(&x.r, FROM, TO, 0);
	assert_leads(&x, FROM, AWAY + FROM, 0); /* a leaf, all the same */
	vi_radix_protect(&x.r, FROM, TO, RW);
	assert_mapping(&x, FROM, FROM, TO, AWAY + FROM, RW);
	finish(&x);
}

/* Mappings stay as many as they are. */
static void permissions_of_several(void **state)
{
	struct fixture x;

	(void)state;
	make(&x, 12);
	map(&x, 0x1000, 0x1fff, 0x100000, RW);
	map(&x, 0x2000, 0x401fff, 0x5000, VIOMMU_READ);
	map(&x, 0x402000, 0x402fff, 0, VIOMMU_WRITE);
	vi_radix_protect(&x.r, 0x1000, 0x402fff, VIOMMU_PRIV);
	assert_mapping(&x, 0, 0x1000, 0x1fff, 0x100000, VIOMMU_PRIV);
	assert_mapping(&x, 0x2000, 0x2000, 0x401fff, 0x5000, VIOMMU_PRIV);
	assert_mapping(&x, 0x402000, 0x402000, 0x402fff, 0, VIOMMU_PRIV);
	assert_true(
		vi_radix_unmap(&x.r, 0, UINT64_MAX, &x.retired, &x.removed));
	assert_int_equal(x.removed.mappings, 3);
	finish(&x);
}

static void several_become_one(void **state)
{
	struct fixture x;

	(void)state;
	make(&x, 0);
	map(&x, 0x100, FROM - 1, AWAY, VIOMMU_READ);
	map(&x, FROM, FROM + 99, 5, VIOMMU_READ);
	map(&x, FROM + 100, TO - 7, AWAY * 2, RW);
	map(&x, TO - 6, TO, 0, VIOMMU_WRITE);
	map(&x, TO + 1, TO + 0x1000, AWAY, VIOMMU_READ);
	allocs = 0;
	vi_radix_retarget(&x.r, FROM, TO, AWAY * 3, RW);
	assert_int_equal(allocs, 0);
	assert_mapping(&x, FROM, FROM, TO, AWAY * 3, RW);
	assert_mapping(&x, 0, 0x100, FROM - 1, AWAY, VIOMMU_READ);
	assert_mapping(&x, TO + 1, TO + 1, TO + 0x1000, AWAY, VIOMMU_READ);
	for (uint64_t at = FROM; at < FROM + 0x10000; at += 97)
		assert_leads(&x, at, AWAY * 3 + (at - FROM), RW);
	assert_leads(&x, TO, AWAY * 3 + (TO - FROM), RW);
	/* it can be cut as what was mapped at once */
	assert_int_equal(vi_radix_cut(&x.r, FROM + 50, TO - 50), 2);
	assert_true(vi_radix_unmap(&x.r, FROM + 50, TO - 50, &x.retired,
				   &x.removed));
	assert_int_equal(x.removed.mappings, 1);
	assert_mapping(&x, FROM, FROM, FROM + 49, AWAY * 3, RW);
	finish(&x);
}

/* Where tables reach further than the range, and where they are all of it. */
static void all_there_is(void **state)
{
	static const unsigned granules[] = { 0, 8, 12, 21, 30 };
	struct fixture x;

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		const uint64_t page = UINT64_C(1) << granules[i];

		make(&x, granules[i]);
		map(&x, 0, UINT64_MAX, 0, RW);
		vi_radix_protect(&x.r, 0, UINT64_MAX, VIOMMU_READ);
		assert_mapping(&x, 7, 0, UINT64_MAX, 0, VIOMMU_READ);
		vi_radix_retarget(&x.r, 0, UINT64_MAX, 4 * page, RW);
		assert_mapping(&x, 7, 0, UINT64_MAX, 4 * page, RW);
		assert_leads(&x, UINT64_MAX, 4 * page - 1, RW);
		/* the last page alone */
		assert_int_equal(vi_radix_cut(&x.r, 0 - page, UINT64_MAX), 1);
		vi_radix_retarget(&x.r, 0 - page, UINT64_MAX, 0, VIOMMU_WRITE);
		assert_leads(&x, UINT64_MAX, page - 1, VIOMMU_WRITE);
		assert_leads(&x, UINT64_MAX - page, 3 * page - 1, RW);
		finish(&x);
	}
}

/* ---- against a list ---------------------------------------------------- */

enum {
	N = 3000,
	STEPS = 4000,
};

static uint32_t dice(uint32_t *seed, uint32_t n)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 8) % n;
}

static void agrees_with_a_list(void **state)
{
	static uint64_t target[N];
	static uint32_t prot[N];
	const uint64_t base = UINT64_C(0x3ff)
			      << 9; /* above and below a table */
	uint32_t seed = 1;
	struct fixture x;

	(void)state;
	make(&x, 0);
	map(&x, base, base + N - 1, 0, RW);
	for (unsigned i = 0; i < N; i++) {
		target[i] = i;
		prot[i] = RW;
	}
	for (unsigned i = 0; i < STEPS; i++) {
		uint32_t a = dice(&seed, N), b = a + dice(&seed, N - a);
		uint32_t p = 1 + dice(&seed, 31);
		uint64_t to = (uint64_t)dice(&seed, 1 << 24) << 8;

		assert_in_range(vi_radix_cut(&x.r, base + a, base + b), 0, 2);
		if (i % 2)
			vi_radix_protect(&x.r, base + a, base + b, p);
		else
			vi_radix_retarget(&x.r, base + a, base + b, to, p);
		for (unsigned j = a; j <= b; j++) {
			prot[j] = p;
			if (!(i % 2))
				target[j] = to + (j - a);
		}
		for (unsigned j = 0; j < 40; j++) {
			uint32_t at = j < 2 ? (j ? b : a) : dice(&seed, N);

			assert_leads(&x, base + at, target[at], prot[at]);
		}
	}
	for (unsigned j = 0; j < N; j++)
		assert_leads(&x, base + j, target[j], prot[j]);
	finish(&x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(permissions_change_and_nothing_else),
		cmocka_unit_test(permissions_of_several),
		cmocka_unit_test(several_become_one),
		cmocka_unit_test(all_there_is),
		cmocka_unit_test(agrees_with_a_list),
	};

	return cmocka_run_group_tests_name("set", tests, NULL, NULL);
}
