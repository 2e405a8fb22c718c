/* SPDX-License-Identifier: BSD-2-Clause */
/* Loading what nobody saved: cut, damaged, made up. */
#include "state.h"

static int load_rc(struct world *w, const uint8_t *buf, size_t len)
{
	int rc = viommu_virtio_load(w->v, buf, len);

	if (rc)
		assert_blank(w);
	return rc;
}

static uint64_t put32(uint8_t *at, uint32_t val)
{
	val = htole32(val);
	memcpy(at, &val, sizeof(val));
	return val;
}

static void put64(uint8_t *at, uint64_t val)
{
	val = htole64(val);
	memcpy(at, &val, sizeof(val));
}

/* A copy whose end is the end of what may be read. */
static uint8_t *copy_of(const uint8_t *buf, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, buf, len);
	return copy;
}

static void cut_at_every_byte(void **state)
{
	struct world *w = *state, to;
	size_t len;
	uint8_t *buf;

	world_fill(w);
	buf = save(w, &len);
	world_make(&to, NULL);
	for (size_t n = 0; n < len; n++) {
		uint8_t *copy = copy_of(buf, n);

		assert_int_equal(load_rc(&to, copy, n), -EINVAL);
		/* also where length and sum agree with the cut */
		if (n >= HEAD) {
			put64(copy + 16, n);
			seal(copy, n);
			assert_int_equal(load_rc(&to, copy, n), -EINVAL);
		}
		free(copy);
	}
	world_free(&to);
	free(buf);
}

static void longer_than_it_says(void **state)
{
	struct world *w = *state;
	uint8_t *buf;
	size_t len;

	world_fill(w);
	buf = save(w, &len);
	buf = realloc(buf, len + 8);
	assert_non_null(buf);
	memset(buf + len, 0, 8);
	assert_int_equal(load_rc(w, buf, len + 1), -EINVAL);
	put64(buf + 16, len + 8);
	seal(buf, len + 8);
	assert_int_equal(load_rc(w, buf, len + 8), -EINVAL);
	free(buf);
}

static void every_byte_changed_is_noticed(void **state)
{
	struct world *w = *state, to;
	uint8_t *buf;
	size_t len;

	world_fill(w);
	buf = save(w, &len);
	world_make(&to, NULL);
	for (size_t i = 0; i < len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			int rc;

			buf[i] ^= (uint8_t)(1u << bit);
			rc = load_rc(&to, buf, len);
			assert_true(rc == -EINVAL ||
				    (i == 14 && rc == -EOPNOTSUPP));
			buf[i] ^= (uint8_t)(1u << bit);
		}
	assert_int_equal(viommu_virtio_load(to.v, buf, len), 0);
	assert_filled(&to);
	world_free(&to);
	free(buf);
}

/* With a sum that is right: refused, or a state that is as good as any. */
static void load_sealed(struct world *to, uint8_t *buf, size_t len)
{
	uint8_t *again, *copy;
	size_t len2;
	int rc;

	seal(buf, len);
	copy = copy_of(buf, len);
	rc = load_rc(to, copy, len);
	assert_true(rc == 0 || rc == -EINVAL || rc == -ENOENT ||
		    rc == -ERANGE || rc == -ENOSPC || rc == -EOPNOTSUPP);
	if (!rc) {
		again = save(to, &len2);
		assert_int_equal(len, len2);
		assert_memory_equal(again, copy, len);
		free(again);
		reset(to);
	}
	free(copy);
}

static void every_bit_changed_and_sealed(void **state)
{
	struct world *w = *state, to;
	uint8_t *buf;
	size_t len;

	world_fill(w);
	buf = save(w, &len);
	world_make(&to, NULL);
	for (size_t i = 0; i < len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			buf[i] ^= (uint8_t)(1u << bit);
			load_sealed(&to, buf, len);
			buf[i] ^= (uint8_t)(1u << bit);
		}
	world_free(&to);
	free(buf);
}

static uint64_t rng(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* Several fields at once, with values that like to break things. */
static void fields_changed_and_sealed(void **state)
{
	static const uint64_t nasty[] = { 0,	      1,
					  7,	      UINT32_MAX,
					  UINT64_MAX, UINT64_MAX / 32,
					  0xfff,      UINT64_C(1) << 63 };
	struct world *w = *state, to;
	uint64_t s = 88172645463325252;
	uint8_t *buf, *copy;
	size_t len;

	world_fill(w);
	buf = save(w, &len);
	world_make(&to, NULL);
	for (int round = 0; round < 3000; round++) {
		size_t n = len;

		copy = copy_of(buf, len);
		for (uint64_t k = rng(&s) % 3 + 1; k; k--) {
			size_t at = 32 + rng(&s) % ((len - 36) / 4) * 4;
			uint64_t val = nasty[rng(&s) % 8];

			if (rng(&s) % 4 == 0)
				val = rng(&s) % 4;
			memcpy(copy + at, &val, 4);
		}
		if (rng(&s) % 4 == 0)
			n = HEAD + rng(&s) % (len - HEAD);
		put64(copy + 16, n);
		load_sealed(&to, copy, n);
		free(copy);
	}
	world_free(&to);
	free(buf);
}

static void later_versions(void **state)
{
	struct world *w = *state;
	uint8_t *buf;
	size_t len;

	buf = save(w, &len);
	buf[14] = '2';
	assert_int_equal(load_rc(w, buf, len), -EOPNOTSUPP);
	assert_int_equal(load_rc(w, buf, 16), -EOPNOTSUPP);
	buf[15] = '0';
	assert_int_equal(load_rc(w, buf, len), -EOPNOTSUPP);
	buf[14] = '0';
	assert_int_equal(load_rc(w, buf, len), -EINVAL);
	buf[14] = 'x';
	assert_int_equal(load_rc(w, buf, len), -EINVAL);
	assert_int_equal(load_rc(w, NULL, 0), -EINVAL);
	free(buf);
}

static void missing_endpoint(void **state)
{
	struct world *w = *state, to;
	struct viommu_fence f;
	uint8_t *buf;
	size_t len;

	world_fill(w);
	buf = save(w, &len);
	world_make(&to, NULL);
	viommu_fence_init(&f);
	viommu_virtio_remove(to.v, to.ep[2], &f);
	fence_run(&f);
	assert_int_equal(load_rc(&to, buf, len), -ENOENT);
	assert_int_equal(bypass_read(&to), 0);
	world_free(&to);
	free(buf);
}

static int load_into(const uint8_t *buf, size_t len,
		     const struct viommu_config *limits,
		     const struct viommu_virtio_config *c,
		     const struct viommu_reserved *r)
{
	struct world to;
	int rc;

	world_make_limited(&to, limits, c);
	if (r)
		assert_int_equal(viommu_endpoint_reserve(to.ep[2], r), 0);
	rc = load_rc(&to, buf, len);
	for (int i = 0; rc && i < EPS; i++)
		assert_int_equal(gpa_of(&to, i, 0x1000), -1);
	world_free(&to);
	return rc;
}

static void does_not_fit(void **state)
{
	struct viommu_config limits = { .size = sizeof(limits),
					.max_mappings = 2 };
	struct viommu_reserved r = { .start = 0x1000, .last = 0x1fff };
	struct viommu_virtio_config c = { 0 };
	struct world *w = *state;
	uint8_t *buf;
	size_t len;

	world_fill(w);
	buf = save(w, &len);
	assert_int_equal(load_into(buf, len, NULL, NULL, NULL), 0);
	assert_int_equal(load_into(buf, len, &limits, NULL, NULL), -ENOSPC);
	assert_int_equal(load_into(buf, len, NULL, NULL, &r), -ERANGE);
	c.page_size_mask = 0x10000;
	assert_int_equal(load_into(buf, len, NULL, &c, NULL), -ERANGE);
	c = (struct viommu_virtio_config){ .input_last = 0xffffffff };
	assert_int_equal(load_into(buf, len, NULL, &c, NULL), -ERANGE);
	c = (struct viommu_virtio_config){ .domain_last = 100 };
	assert_int_equal(load_into(buf, len, NULL, &c, NULL), -ERANGE);
	c = (struct viommu_virtio_config){ .max_events = 1 };
	assert_int_equal(load_into(buf, len, NULL, &c, NULL), -ERANGE);
	c = (struct viommu_virtio_config){ .max_domains = 1 };
	assert_int_equal(load_into(buf, len, NULL, &c, NULL), -ENOSPC);
	free(buf);
}

/* A number of mappings that, times their size, is what there is. */
static void count_that_wraps(void **state)
{
	struct world *w = *state;
	uint8_t *buf, *copy;
	size_t len;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
	buf = save(w, &len);
	assert_int_equal(len, HEAD + 8 + 16 + 32);
	put64(buf + HEAD + 8 + 8, (UINT64_C(1) << 59) + 1);
	seal(buf, len);
	copy = copy_of(buf, len);
	assert_int_equal(load_rc(w, copy, len), -EINVAL);
	free(copy);
	free(buf);
}

/* Each rule of the form, broken alone.  world_fill(): endpoints at 48, 56,
 * 64; domain 7 at 72, its mappings at 88, 120, 152; domain -1 at 184; faults
 * at 200, 224. */
static void form_is_checked(void **state)
{
	static const struct {
		size_t at;
		uint32_t val;
		int rc;
	} bad[] = {
		{ 32, 2, -EINVAL },	/* bypass neither 0 nor 1 */
		{ 32, 0x100, -EINVAL }, /* zero that is not */
		{ 36, 4, -EINVAL },	/* more domains than endpoints */
		{ 36, 1, -EINVAL },	/* fewer than there are */
		{ 40, 2, -EINVAL },	/* likewise endpoints */
		{ 40, UINT32_MAX, -EINVAL },
		{ 44, 1, -EINVAL }, /* likewise faults */
		{ 44, 3, -EINVAL },
		{ 48, 9, -EINVAL },	     /* an endpoint twice */
		{ 48, 10, -EINVAL },	     /* not ascending */
		{ 64, 12, -ENOENT },	     /* none of that name */
		{ 52, 8, -EINVAL },	     /* attached to no domain */
		{ 60, 7, -EINVAL },	     /* nobody in the second domain */
		{ 72, UINT32_MAX, -EINVAL }, /* a domain twice */
		{ 76, 2, -EINVAL },	     /* unknown flag */
		{ 76, 1, -EINVAL },	     /* bypass with mappings */
		{ 80, 2, -EINVAL },	     /* fewer mappings */
		{ 80, 4, -EINVAL },	     /* more */
		{ 84, 1, -EINVAL },	     /* many more */
		{ 88, 0x1001, -ERANGE },     /* off the granule */
		{ 96, 0x1ffe, -ERANGE },
		{ 104, 0x3001, -ERANGE },
		{ 88, 0x2000, -EINVAL }, /* last < start */
		{ 96, 0x2fff, -EINVAL }, /* overlaps the second */
		{ 112, 0, -EINVAL },	 /* no permission */
		{ 112, 4, -EINVAL },	 /* none but MMIO */
		{ 112, 9, -EINVAL },	 /* unknown flag */
		{ 116, 1, -EINVAL },	 /* zero that is not */
		{ 200, 3, -EINVAL },	 /* unknown reason */
		{ 200, 0x100, -EINVAL }, /* reserved */
		{ 204, 0x201, -EINVAL }, /* unknown flag */
		{ 212, 1, -EINVAL },	 /* reserved */
	};
	struct world *w = *state, to;
	uint8_t *buf, *copy;
	size_t len;

	world_fill(w);
	buf = save(w, &len);
	assert_int_equal(len, 248);
	world_make(&to, NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		copy = copy_of(buf, len);
		(void)put32(copy + bad[i].at, bad[i].val);
		seal(copy, len);
		if (load_rc(&to, copy, len) != bad[i].rc)
			fail_msg("%u at %zu", bad[i].val, bad[i].at);
		free(copy);
	}
	assert_int_equal(viommu_virtio_load(to.v, buf, len), 0);
	assert_filled(&to);
	world_free(&to);
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(cut_at_every_byte),
		TEST(longer_than_it_says),
		TEST(every_byte_changed_is_noticed),
		TEST(every_bit_changed_and_sealed),
		TEST(fields_changed_and_sealed),
		TEST(later_versions),
		TEST(missing_endpoint),
		TEST(does_not_fit),
		TEST(form_is_checked),
		TEST(count_that_wraps),
	};

	return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
