/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Notifiers when there is no memory: each allocation of what they are told of
 * fails in its turn (sweep.h).  The step has no effect then, and the pictures
 * are those of the spaces.
 *
 * One recorder can remap in one step, the other cannot.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <viommu.h>

#include "alloc.h"
#include "shadow.h"
#include "sweep.h"

enum {
	RW = VIOMMU_READ | VIOMMU_WRITE,
	NSPACES = 2,
	NSHADOWS = 2,
	LIST = 40,
};

#define GIGA (UINT64_C(1) << 30)
#define TERA (UINT64_C(1) << 40)

struct notified {
	struct viommu *vi;
	struct viommu_space *space[NSPACES];
	struct viommu_endpoint *ep;
	struct viommu_space *sees;
	struct shadow s[NSHADOWS];
	bool added[NSHADOWS];
};

static unsigned char ram[1 << 16];

static int commit(struct viommu_fence *f, int rc)
{
	viommu_fence_commit(f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(f, 10000000000), 0);
	return rc;
}

/* ---- steps ------------------------------------------------------------ */

struct step {
	const char *name;
	int (*run)(struct notified *w, const struct step *s);
	unsigned obj;
	uint64_t start, last, gpa;
};

static int instance(struct notified *w, const struct step *s)
{
	struct viommu_config c = { .size = sizeof(c),
				   .env = &alloc_env,
				   .barrier = VIOMMU_BARRIER_FENCED,
				   .max_threads = 2 };

	(void)s;
	return viommu_create(&c, &w->vi);
}

static int space(struct notified *w, const struct step *s)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .policy = VIOMMU_SPACE_SPLIT,
					 .page_sizes = 4096 };

	return viommu_space_create(w->vi, &c, &w->space[s->obj]);
}

static int endpoint(struct notified *w, const struct step *s)
{
	struct viommu_endpoint_config c = { .size = sizeof(c) };

	(void)s;
	return viommu_endpoint_create(w->vi, &c, &w->ep);
}

static int attach(struct notified *w, const struct step *s)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_endpoint_attach(w->ep, w->space[s->obj], &f);
	if (!rc)
		w->sees = w->space[s->obj];
	return commit(&f, rc);
}

static int add(struct notified *w, const struct step *s)
{
	int rc = shadow_add(&w->s[s->obj], w->ep, NULL);

	w->added[s->obj] = !rc;
	return rc;
}

static struct viommu_mapping mapping(const struct step *s)
{
	return (struct viommu_mapping){
		.start = s->start, .last = s->last, .gpa = s->gpa, .prot = RW
	};
}

static int map(struct notified *w, const struct step *s)
{
	const struct viommu_mapping m = mapping(s);

	return viommu_space_map(w->space[s->obj], &m);
}

/* More than are told at once. */
static int map_list(struct notified *w, const struct step *s)
{
	struct viommu_segment list[LIST];

	for (unsigned i = 0; i < LIST; i++)
		list[i] = (struct viommu_segment){ .gpa = 3 * i * s->gpa,
						   .len = s->gpa };
	return viommu_space_map_list(w->space[s->obj], s->start, RW, list,
				     LIST);
}

static int remap(struct notified *w, const struct step *s)
{
	const struct viommu_mapping m = mapping(s);
	struct viommu_fence f;

	viommu_fence_init(&f);
	return commit(&f, viommu_space_remap(w->space[s->obj], &m, &f));
}

static int unmap(struct notified *w, const struct step *s)
{
	struct viommu_fence f;
	int64_t n;

	viommu_fence_init(&f);
	n = viommu_space_unmap(w->space[s->obj], s->start, s->last, &f);
	return commit(&f, n < 0 ? (int)n : 0);
}

static int region(struct notified *w, const struct step *s)
{
	const struct viommu_region r = { .size = sizeof(r),
					 .gpa = s->start,
					 .len = s->last - s->start + 1,
					 .host = ram,
					 .prot = RW,
					 .fd = -1 };

	return viommu_memory_add(viommu_memory_of(w->vi), &r);
}

static const struct step steps[] = {
	{ "instance", instance, 0, 0, 0, 0 },
	{ "space", space, 0, 0, 0, 0 },
	{ "space", space, 1, 0, 0, 0 },
	{ "endpoint", endpoint, 0, 0, 0, 0 },
	{ "attach", attach, 0, 0, 0, 0 },
	{ "map before", map, 0, 0x1000, 0x1fff, 0 },
	{ "add one", add, 0, 0, 0, 0 },
	{ "map", map, 0, 0x4000, 0x4fff, 0x1000 },
	{ "map over tables", map, 0, 0x3ffff000, 0xc0000fff, 0x5000 },
	{ "add another", add, 1, 0, 0, 0 },
	{ "map, the tree grows", map, 0, 5 * TERA + 0x1000, 5 * TERA + 0x1fff,
	  0 },
	{ "cut, one edge", unmap, 0, 0x80001000, 0xc0000fff, 0 },
	{ "cut, both edges", unmap, 0, 0x50001000, 0x50001fff, 0 },
	{ "remap all of one", remap, 0, 0x4000, 0x4fff, 0x3000 },
	{ "remap, cut", remap, 0, 0x60000000, 0x60000fff, 0x1000 },
	{ "remap many, cut", remap, 0, 0x1000, 0x41000fff, 0x7000 },
	{ "remap nothing", remap, 0, 9 * TERA, 9 * TERA + 0xfff, 0 },
	{ "map a list", map_list, 0, TERA, 0, 0x1000 },
	{ "map a list of large ones", map_list, 0, 2 * TERA, 0, GIGA },
	{ "unmap", unmap, 0, TERA, 3 * TERA, 0 },
	{ "map elsewhere", map, 1, 0x40001000, 0x80000fff, 0 },
	{ "map elsewhere", map, 1, 0x1000, 0x1fff, 0x2000 },
	{ "attach elsewhere", attach, 1, 0, 0, 0 },
	{ "cut there", unmap, 1, 0x60001000, 0x60002fff, 0 },
	{ "attach back", attach, 0, 0, 0, 0 },
	{ "region", region, 0, 0, 0xffff, 0 },
	{ "region, both edges", region, 0, 0x7654321, 0x7654fff, 0 },
};

static const char *step_name(void *world, unsigned i)
{
	(void)world;
	return steps[i].name;
}

static int step_run(void *world, unsigned i)
{
	struct notified *w = world;

	return steps[i].run(w, &steps[i]);
}

/* ---- looking ---------------------------------------------------------- */

static void look_space(struct viommu_space *s, struct view *v)
{
	struct viommu_space_stats st;
	struct viommu_mapping m;
	uint64_t from = 0;

	viommu_space_read_stats(s, &st);
	view_say(v,
		 "mappings %" PRIu64 " bytes %" PRIu64 " mapped %" PRIu64
		 " unmapped %" PRIu64 " splits %" PRIu64 "\n",
		 st.mappings, st.bytes, st.mapped, st.unmapped, st.splits);
	for (; !viommu_space_next(s, from, &m); from = m.last + 1)
		view_say(v, "%" PRIx64 "-%" PRIx64 " at %" PRIx64 "\n", m.start,
			 m.last, m.gpa);
}

static void look(void *world, unsigned i, struct view *v)
{
	struct viommu_region r = { .size = sizeof(r) };
	struct notified *w = world;
	struct viommu_stats st;

	(void)i;
	view_say(v, "instance %d\n", w->vi != NULL);
	if (!w->vi)
		return;
	viommu_read_stats(w->vi, &st);
	view_say(v, "mappings %" PRIu64 "\n", st.mappings);
	for (int k = 0; k < NSPACES; k++)
		if (w->space[k])
			look_space(w->space[k], v);
	for (uint64_t at = 0;
	     !viommu_memory_next(viommu_memory_of(w->vi), at, &r);
	     at = r.gpa + r.len)
		view_say(v, "region %" PRIx64 "\n", r.gpa);
	for (int k = 0; k < NSHADOWS; k++) {
		const char *what = NULL;

		view_say(v, "shadow %d: %d\n", k, w->added[k]);
		if (w->added[k])
			what = shadow_compare_pages(&w->s[k], w->sees);
		if (w->added[k] && !what)
			what = shadow_compare_memory(&w->s[k],
						     viommu_memory_of(w->vi));
		if (what)
			fail_msg("%s: shadow %d: %s", steps[i].name, k, what);
	}
}

static void shadows_make(struct notified *w)
{
	memset(w, 0, sizeof(*w));
	for (int k = 0; k < NSHADOWS; k++) {
		shadow_init(&w->s[k], NULL);
		w->s[k].pieces = true;
	}
	w->s[1].ops.remap = NULL;
}

static void teardown(void *world)
{
	struct notified *w = world;
	struct viommu_fence f;

	viommu_fence_init(&f);
	for (int k = 0; k < NSHADOWS; k++)
		if (w->added[k])
			shadow_remove(&w->s[k], &f);
	if (w->ep)
		viommu_endpoint_destroy(w->ep, &f);
	for (int i = 0; i < NSPACES; i++)
		if (w->space[i])
			viommu_space_destroy(w->space[i], &f);
	commit(&f, 0);
	viommu_destroy(w->vi);
	for (int k = 0; k < NSHADOWS; k++)
		shadow_fini(&w->s[k]);
	shadows_make(w);
}

static void every_failure_is_undone(void **state)
{
	static const struct sweep all = {
		.steps = sizeof(steps) / sizeof(steps[0]),
		.name = step_name,
		.step = step_run,
		.look = look,
		.teardown = teardown,
	};
	static struct notified w;

	(void)state;
	shadows_make(&w);
	sweep(&all, &w);
}

/* ---- without any allocation ------------------------------------------- */

/* What goes needs none: it cannot fail. */
static void what_goes_needs_no_memory(void **state)
{
	static struct notified w;
	struct viommu_fence f;

	(void)state;
	shadows_make(&w);
	alloc_fail(0, ALLOC_ONCE);
	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		assert_int_equal(step_run(&w, i), 0);
	alloc_fail(1, ALLOC_ONWARD);
	viommu_fence_init(&f);
	assert_true(viommu_space_unmap(w.space[0], 0, UINT64_MAX, &f) > 0);
	viommu_endpoint_detach(w.ep, &f);
	assert_int_equal(viommu_memory_remove(viommu_memory_of(w.vi), 0, 0, &f),
			 0);
	viommu_memory_dirty_stop(viommu_memory_of(w.vi), &f);
	shadow_remove(&w.s[0], &f);
	w.added[0] = false;
	viommu_space_destroy(w.space[1], &f);
	w.space[1] = NULL;
	viommu_endpoint_destroy(w.ep, &f);
	w.ep = NULL;
	shadow_remove(&w.s[1], &f);
	w.added[1] = false;
	commit(&f, 0);
	for (int k = 0; k < NSHADOWS; k++)
		assert_null(shadow_broken(&w.s[k]));
	assert_int_equal(alloc_asked(), 0);
	alloc_fail(0, ALLOC_ONCE);
	teardown(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_failure_is_undone),
		cmocka_unit_test(what_goes_needs_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
