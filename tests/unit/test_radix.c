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
	assert_true(
		vi_radix_unmap(&x->r, start, last, &x->retired, &x->removed));
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
		/* 2^64, that is */
		assert_int_equal(x.removed.bytes, 0);
		assert_true(x.removed.leaves > 0);
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

static void model_map(struct viommu_mapping *model, uint64_t a, uint64_t b,
		      uint64_t gpa)
{
	model[a] = (struct viommu_mapping){
		.start = a, .last = b, .gpa = gpa, .prot = 1
	};
}

/* Let no mapping go on across the edges of [a, b]: how many were cut. */
static uint64_t model_cut(struct viommu_mapping *model, uint64_t a, uint64_t b,
			  unsigned g)
{
	uint64_t at[] = { a, b + 1 }, n = 0;

	for (int i = 0; i < 2; i++) {
		struct viommu_mapping *m =
			at[i] < MODEL ? model_at(model, (int)at[i]) : NULL;

		if (!m || m->start == at[i])
			continue;
		model_map(model, at[i], m->last,
			  m->gpa + ((at[i] - m->start) << g));
		m->last = at[i] - 1;
		n++;
	}
	return n;
}

static void model_remap(struct fixture *x, struct viommu_mapping *model,
			const struct viommu_mapping *want, uint64_t base)
{
	unsigned g = x->r.granule_lg2;
	uint64_t cuts = model_cut(model, want->start, want->last, g);
	uint64_t gone = 0, bytes = 0;
	struct viommu_mapping m = *want;

	for (uint64_t i = want->start; i <= want->last; i++) {
		if (model[i].prot) {
			gone++;
			bytes += (model[i].last - model[i].start + 1) << g;
		}
		model[i].prot = 0;
	}
	model_map(model, want->start, want->last, want->gpa);
	m.start = base + (want->start << g);
	m.last = base + ((want->last + 1) << g) - 1;
	memset(&x->removed, 0, sizeof(x->removed));
	assert_int_equal(vi_radix_remap(&x->r, &m, &x->retired, &x->removed),
			 cuts);
	assert_int_equal(x->removed.mappings, gone);
	assert_int_equal(x->removed.bytes, bytes);
	vi_retire_free(x->retired);
	x->retired = NULL;
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
	assert_int_equal(vi_radix_maps(&x->r, start, last), hit);
	assert_int_equal(vi_radix_cuts(&x->r, start, last), cut);
	switch (dice(seed, 8)) {
	case 0:
	case 1:
	case 2:
		assert_int_equal(radix_map(x, start, last, gpa),
				 hit ? -EEXIST : 0);
		if (!hit)
			model_map(model, a, b, gpa);
		return;
	case 3:
		gone = model_cut(model, a, b, g);
		assert_int_equal(vi_radix_cut(&x->r, start, last), gone);
		return;
	case 4:
		model_remap(
			x, model,
			&(struct viommu_mapping){
				.start = a, .last = b, .gpa = gpa, .prot = 1 },
			base);
		return;
	}
	if (cut) {
		assert_false(vi_radix_unmap(&x->r, start, last, &x->retired,
					    &x->removed));
		return;
	}
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
		assert_int_equal(x.r.tables, live - x.pool.nfree);
		finish(&x);
		free(model);
	}
}

/* ---- splits and remaps, between any two instructions ------------------- */

#ifdef TRAPS
#include <signal.h>
#include <ucontext.h>

/* Trapping after each instruction: not within ThreadSanitizer's run time, which
 * would trap as well, and takes its time. */
#if defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__x86_64__) && !defined(SANITIZED)
#define TRAPS
#endif

/*
 * The processor traps after each instruction of a change to the tree, and the
 * handler is the reader: it begins accesses to several pieces, and goes on with
 * those that it began after any earlier instruction.  Most have seen the same,
 * so only those that differ are kept.
 */
enum {
	PIECES = 4,
	BEGUN = 64,
};

/* A piece as it was and as it will be: an address or UINT64_MAX, none. */
struct piece {
	uint64_t addr, before, after;
};

/* An access that has looked one piece up. */
struct begun {
	uint64_t top, e;
	unsigned piece, lg2;
};

static struct stepping {
	const struct vi_radix *r;
	struct piece piece[PIECES];
	struct begun begun[BEGUN];
	unsigned nbegun;
	unsigned long traps, mixed;
	volatile bool over;
} stepping;

static uint64_t target_of(uint64_t e, uint64_t addr)
{
	return e ? vi_leaf_target(stepping.r, e, addr) : UINT64_MAX;
}

/* Go on with @b at piece @i, as radix.h says that readers must. */
static uint64_t look_on(const struct begun *b, unsigned i)
{
	uint64_t addr = stepping.piece[i].addr;
	unsigned lg2;

	if (b->e &&
	    !((addr ^ stepping.piece[b->piece].addr) & ~vi_mask(b->lg2)))
		return target_of(b->e, addr);
	return target_of(vi_radix_find_in(stepping.r, b->top, addr, &lg2),
			 addr);
}

static void reader_check(const struct begun *b)
{
	bool before = true, after = true;

	for (unsigned i = 0; i < PIECES; i++) {
		const struct piece *p = &stepping.piece[i];
		uint64_t t = look_on(b, i);

		before &= t == p->before;
		after &= t == p->after;
	}
	stepping.mixed += !before && !after;
}

static void reader_begin(unsigned i)
{
	struct begun b = { .top = vi_radix_top(stepping.r), .piece = i };
	unsigned j;

	b.e = vi_radix_find_in(stepping.r, b.top, stepping.piece[i].addr,
			       &b.lg2);
	for (j = 0; j < stepping.nbegun; j++)
		if (!memcmp(&stepping.begun[j], &b, sizeof(b)))
			return;
	if (j == BEGUN)
		abort();
	stepping.begun[stepping.nbegun++] = b;
}

static void on_trap(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;

	(void)sig;
	(void)info;
	stepping.traps++;
	for (unsigned i = 0; i < PIECES; i++)
		reader_begin(i);
	for (unsigned i = 0; i < stepping.nbegun; i++)
		reader_check(&stepping.begun[i]);
	if (stepping.over)
		u->uc_mcontext.gregs[REG_EFL] &= ~0x100ll;
}

/* A trap costs microseconds: @really for the cases that differ in kind. */
static void stepping_begin(const struct vi_radix *r, const struct piece *piece,
			   bool really)
{
	struct sigaction sa = { .sa_sigaction = on_trap,
				.sa_flags = SA_SIGINFO };

	memset(&stepping, 0, sizeof(stepping));
	stepping.r = r;
	memcpy(stepping.piece, piece, sizeof(stepping.piece));
	if (!really)
		return;
	assert_int_equal(sigaction(SIGTRAP, &sa, NULL), 0);
	__asm__ volatile("leaq -128(%%rsp), %%rsp\n\tpushfq\n\t"
			 "orq $0x100, (%%rsp)\n\tpopfq\n\t"
			 "leaq 128(%%rsp), %%rsp" ::
				 : "memory", "cc");
}

static void stepping_end(bool really)
{
	if (!really)
		return;
	stepping.over = true;
	__asm__ volatile("nop" ::: "memory");
	assert_true(stepping.traps > 100);
	assert_int_equal(stepping.mixed, 0);
}

#define KB   UINT64_C(1024)
#define MB   (KB * KB)
#define GB   (KB * MB)
#define NONE UINT64_MAX

static void split_is_never_a_hole(void **state)
{
	/* mapped at GPA = IOVA + 4 KiB, then cut to [cut_start, cut_last] */
	static const struct {
		uint64_t start, last, cut_start, cut_last, tables;
		bool step;
	} cases[] = {
		/* leaves of 2 MiB, 1 GiB, 512 GiB; one edge, or both */
		{ 2 * MB, 4 * MB - 1, 2 * MB, 2 * MB + 4 * KB - 1, 1, false },
		{ 2 * MB, 4 * MB - 1, 3 * MB, 4 * MB - 1, 1, false },
		{ 2 * MB, 4 * MB - 1, 3 * MB, 3 * MB + 4 * KB - 1, 1, true },
		{ GB, 2 * GB - 1, GB + MB, GB + 2 * MB - 1, 2, false },
		{ GB, 2 * GB - 1, GB + MB, GB + 5 * MB - 1, 3, true },
		{ GB, 2 * GB - 1, GB + 2 * MB, GB + 4 * MB - 1, 1, false },
		{ 512 * GB, 1024 * GB - 1, 513 * GB + 4 * KB,
		  900 * GB + 8 * KB - 1, 5, false },
		/* two leaves, one edge each */
		{ 2 * MB, 6 * MB - 1, 3 * MB, 5 * MB - 1, 2, true },
		/* between leaves: flags only */
		{ 4 * KB, 64 * KB - 1, 8 * KB, 12 * KB - 1, 0, true },
		/* all there is */
		{ 0, UINT64_MAX, 4 * KB, UINT64_MAX - 4 * KB, 10, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		uint64_t a[] = { cases[i].start, cases[i].cut_start,
				 cases[i].cut_last, cases[i].last };
		struct piece piece[PIECES];
		struct fixture x;
		uint64_t before;
		int rc;

		make(&x, 12);
		assert_int_equal(radix_map(&x, cases[i].start, cases[i].last,
					   cases[i].start + 4 * KB),
				 0);
		before = x.r.tables;
		for (int j = 0; j < PIECES; j++)
			piece[j] = (struct piece){ a[j], a[j] + 4 * KB,
						   a[j] + 4 * KB };
		stepping_begin(&x.r, piece, cases[i].step);
		rc = vi_radix_cut(&x.r, cases[i].cut_start, cases[i].cut_last);
		stepping_end(cases[i].step);
		assert_int_equal(rc,
				 (cases[i].cut_start > cases[i].start) +
					 (cases[i].cut_last < cases[i].last));
		assert_int_equal(x.r.tables - before, cases[i].tables);
		finish(&x);
	}
}

static void remap_is_one_step(void **state)
{
	/* up to two mappings, then [start, last] to GPA = IOVA + 1 TiB, and
	 * four places to look at */
	static const struct {
		uint64_t map[2][2], start, last, look[PIECES];
		bool step;
	} cases[] = {
		/* a page */
		{ { { 4 * KB, 8 * KB - 1 } },
		  4 * KB,
		  8 * KB - 1,
		  { 4 * KB, 5 * KB, 6 * KB, 8 * KB - 1 },
		  true },
		/* two pages; with neighbours */
		{ { { 0, 16 * KB - 1 } },
		  4 * KB,
		  12 * KB - 1,
		  { 0, 4 * KB, 8 * KB, 12 * KB },
		  true },
		/* two pages of which one is a hole */
		{ { { 4 * KB, 8 * KB - 1 } },
		  4 * KB,
		  12 * KB - 1,
		  { 4 * KB, 8 * KB - 1, 8 * KB, 12 * KB },
		  true },
		/* a page of a large leaf */
		{ { { 2 * MB, 4 * MB - 1 } },
		  3 * MB,
		  3 * MB + 4 * KB - 1,
		  { 2 * MB, 3 * MB, 3 * MB + 4 * KB, 4 * MB - 1 },
		  true },
		/* a large leaf for pages */
		{ { { 2 * MB, 3 * MB - 1 }, { 3 * MB, 4 * MB - 1 } },
		  2 * MB,
		  4 * MB - 1,
		  { 2 * MB, 3 * MB - 1, 3 * MB, 4 * MB - 1 },
		  true },
		/* a larger one for pages and tables of pages */
		{ { { GB + 4 * KB, GB + MB - 1 },
		    { 2 * GB - 4 * KB, 2 * GB - 1 } },
		  GB,
		  2 * GB - 1,
		  { GB, GB + 4 * KB, GB + MB, 2 * GB - 1 },
		  false },
		/* across tables, and parts of two leaves */
		{ { { 0, 2 * MB - 1 }, { 2 * MB, 4 * MB - 1 } },
		  MB,
		  3 * MB - 1,
		  { MB - 1, MB, 3 * MB - 1, 3 * MB },
		  false },
		/* across tables of tables */
		{ { { GB - 8 * KB, GB + 8 * KB - 1 } },
		  GB - 4 * KB,
		  GB + 4 * KB - 1,
		  { GB - 8 * KB, GB - 4 * KB, GB, GB + 4 * KB },
		  true },
		/* a leaf that ends where a higher tree begins */
		{ { { GB, 3 * GB - 1 } },
		  2 * GB,
		  600 * GB - 1,
		  { 2 * GB - 1, 2 * GB, 3 * GB, 600 * GB - 1 },
		  false },
		/* everything */
		{ { { 4 * KB, 8 * KB - 1 }, { GB, GB + MB - 1 } },
		  0,
		  UINT64_MAX,
		  { 0, 4 * KB, GB, UINT64_MAX },
		  false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct viommu_mapping m = { .start = cases[i].start,
					    .last = cases[i].last,
					    .gpa = cases[i].start + 1024 * GB,
					    .prot = VIOMMU_WRITE };
		struct piece piece[PIECES];
		struct fixture x;
		int rc;

		make(&x, 12);
		for (int j = 0; j < 2; j++)
			if (cases[i].map[j][1])
				assert_int_equal(
					radix_map(&x, cases[i].map[j][0],
						  cases[i].map[j][1],
						  cases[i].map[j][0] + 4 * KB),
					0);
		if (cases[i].last == UINT64_MAX)
			m.gpa = 0;
		for (int j = 0; j < PIECES; j++) {
			uint64_t a = cases[i].look[j], old = lookup(&x, a);

			piece[j] = (struct piece){ a, old, old };
			if (a >= m.start && a <= m.last)
				piece[j].after = a - m.start + m.gpa;
		}
		stepping_begin(&x.r, piece, cases[i].step);
		rc = vi_radix_remap(&x.r, &m, &x.retired, &x.removed);
		stepping_end(cases[i].step);
		assert_true(rc >= 0);
		for (int j = 0; j < PIECES; j++)
			assert_int_equal(lookup(&x, piece[j].addr),
					 piece[j].after);
		finish(&x);
	}
}
#endif

/* ---- errors ----------------------------------------------------------- */

static void no_memory_for_a_change_changes_nothing(void **state)
{
	struct viommu_mapping m = { .start = 3 << 20,
				    .last = (1ull << 40) + 0xfff,
				    .gpa = 0,
				    .prot = VIOMMU_WRITE },
			      got;
	struct fixture x;

	(void)state;
	for (int what = 0; what < 2; what++) {
		size_t given = 0;
		int rc = -ENOMEM;

		for (; rc < 0; given++) {
			size_t before;

			make(&x, 12);
			assert_int_equal(
				radix_map(&x, 0, (2ull << 40) - 1, 0x1000), 0);
			before = live;
			x.env.alloc = mean_alloc;
			budget = given;
			rc = what ? vi_radix_remap(&x.r, &m, &x.retired,
						   &x.removed)
				  : vi_radix_cut(&x.r, m.start, m.last);
			if (rc < 0) {
				assert_int_equal(rc, -ENOMEM);
				assert_true(vi_radix_next(&x.r, 0, &got));
				assert_int_equal(got.start, 0);
				assert_int_equal(got.last, (2ull << 40) - 1);
				assert_int_equal(lookup(&x, m.start),
						 m.start + 0x1000);
				assert_int_equal(x.removed.leaves, 0);
				assert_null(x.retired);
				assert_int_equal(live - x.pool.nfree, before);
			}
			finish(&x);
		}
		assert_int_equal(rc, 2);
		assert_true(given > 5);
	}
}

static void tables_are_limited(void **state)
{
	struct fixture x;

	(void)state;
	make(&x, 12);
	x.r.max_tables = 5;
	/* a path of four, then one more, then another path */
	assert_int_equal(radix_map(&x, 1ull << 39, (1ull << 39) + 0xfff, 0), 0);
	assert_int_equal(x.r.tables, 4);
	assert_int_equal(radix_map(&x, 1ull << 40, (1ull << 40) + 0xfff, 0),
			 -ENOSPC);
	assert_int_equal(lookup(&x, 1ull << 40), UINT64_MAX);
	assert_int_equal(x.r.tables, 4);
	assert_int_equal(radix_map(&x, (1ull << 39) + (2 << 20),
				   (1ull << 39) + (2 << 20) + 0xfff, 0),
			 0);
	assert_int_equal(vi_radix_cut(&x.r, 0, UINT64_MAX), 0);
	radix_unmap(&x, 0, UINT64_MAX);
	x.r.max_tables = 100;
	x.r.max_pool_tables = x.pool.out;
	assert_int_equal(radix_map(&x, 1ull << 40, (1ull << 40) + 0xfff, 0),
			 -ENOSPC);
	finish(&x);
}

static void large_leaf_displaces_an_empty_table(void **state)
{
	struct fixture x;
	unsigned lg2;

	(void)state;
	make(&x, 12);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(radix_map(&x, 0x40000000, 0x40000fff, 0), 0);
		radix_unmap(&x, 0x40000000, 0x40000fff);
		assert_int_equal(radix_map(&x, 0x40000000, 0x7fffffff, 0), 0);
		(void)vi_radix_find(&x.r, 0x40000000, &lg2);
		assert_int_equal(lg2, 30);
		radix_unmap(&x, 0x40000000, 0x7fffffff);
		assert_true(live < 10);
	}
	finish(&x);
}

static void reservation_that_is_not_used_leaves_nothing(void **state)
{
	struct fixture x;
	size_t before;

	(void)state;
	make(&x, 12);
	assert_int_equal(radix_map(&x, 0, 0xfff, 0), 0);
	assert_int_equal(radix_map(&x, 1ull << 40, (1ull << 40) + 0xfff, 0), 0);
	before = x.r.tables;
	assert_int_equal(vi_radix_reserve(&x.r, 0x3ff000, 3ull << 39 | 0xfff),
			 0);
	assert_int_equal(x.r.tables, before + 4);
	assert_false(vi_radix_maps(&x.r, 0x1000, (1ull << 40) - 1));
	vi_radix_unreserve(&x.r, 0x3ff000, 3ull << 39 | 0xfff);
	assert_int_equal(x.r.tables, before);
	assert_int_equal(lookup(&x, 0x123), 0x123);
	finish(&x);
}

static void shared_tables_follow_their_new_parent(void **state)
{
	const uint64_t mb = 1 << 20;
	struct viommu_mapping m = {
		.start = mb, .last = 3 * mb - 1, .gpa = 0, .prot = VIOMMU_READ
	};
	struct fixture x;

	(void)state;
	make(&x, 12);
	assert_int_equal(radix_map(&x, 0, 0xfff, 0), 0);
	assert_int_equal(radix_map(&x, 2 * mb, 2 * mb + 0xfff, 0), 0);
	/* in a table that the remap leaves alone, below one that it copies */
	assert_int_equal(radix_map(&x, 4 * mb, 4 * mb + 0xfff, 0), 0);
	assert_int_equal(vi_radix_remap(&x.r, &m, &x.retired, &x.removed), 0);
	vi_retire_free(x.retired);
	x.retired = NULL;
	radix_unmap(&x, 4 * mb, 4 * mb + 0xfff); /* empty: the spare */
	radix_unmap(&x, 0, 0xfff);
	radix_unmap(&x, mb, 3 * mb - 1); /* another is the spare now */
	assert_int_equal(radix_map(&x, 6 * mb, 6 * mb + 0xfff, 0), 0);
	assert_int_equal(radix_map(&x, 8 * mb, 8 * mb + 0xfff, 0), 0);
	assert_int_equal(lookup(&x, 4 * mb), UINT64_MAX);
	assert_int_equal(radix_map(&x, 4 * mb, 4 * mb + 0xfff, 0), 0);
	assert_int_equal(lookup(&x, 6 * mb), 0);
	radix_unmap(&x, 0, UINT64_MAX);
	finish(&x);
}

static void count_sees_the_part_inside(void **state)
{
	struct vi_removed n = { 0 };
	struct fixture x;

	(void)state;
	make(&x, 12);
	assert_int_equal(radix_map(&x, 0, 0x3fff, 0), 0);
	assert_int_equal(radix_map(&x, 0x200000, 0x3fffff, 0), 0);
	vi_radix_count(&x.r, 0x1000, 0x2fffff, &n);
	assert_int_equal(n.mappings, 1);
	assert_int_equal(n.bytes, 0x103000);
	assert_int_equal(n.leaves, 4);
	memset(&n, 0, sizeof(n));
	vi_radix_count(&x.r, 0x300000, UINT64_MAX, &n);
	assert_int_equal(n.mappings, 0);
	assert_int_equal(n.bytes, 0x100000);
	finish(&x);
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
#ifdef TRAPS
		cmocka_unit_test(split_is_never_a_hole),
		cmocka_unit_test(remap_is_one_step),
#endif
		cmocka_unit_test(no_memory_for_a_change_changes_nothing),
		cmocka_unit_test(tables_are_limited),
		cmocka_unit_test(large_leaf_displaces_an_empty_table),
		cmocka_unit_test(reservation_that_is_not_used_leaves_nothing),
		cmocka_unit_test(shared_tables_follow_their_new_parent),
		cmocka_unit_test(count_sees_the_part_inside),
	};

	return cmocka_run_group_tests_name("radix", tests, NULL, NULL);
}
