/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What notifiers are told of a space that their endpoint sees: in what order,
 * in how many calls, and what becomes of a change that one of them refuses.
 */
#include <pthread.h>

#include "notifier.h"

/* ---- what comes, what goes -------------------------------------------- */

static void what_comes_is_told_to_the_first_first(void **state)
{
	struct rig *r = rig_make();

	(void)state;
	rig_add(r, 3);
	assert_heard(r, "");
	assert_int_equal(map_rw(&r->w, 0x1000, 0x2fff, 0x8000), 0);
	assert_heard(r, "a map 1000-2fff 8000 3 x1\n"
			"b map 1000-2fff 8000 3 x1\n"
			"c map 1000-2fff 8000 3 x1\n");
	pictures(r, 3, r->w.space);
	assert_int_equal(unmap(&r->w, 0x1000, 0x2fff), 0x2000);
	assert_heard(r, "c unmap 1000-2fff f\n"
			"b unmap 1000-2fff f\n"
			"a unmap 1000-2fff f\n");
	pictures(r, 3, r->w.space);
	rig_free(r);
}

/* It is the order of all notifiers, whoever's they are. */
static void the_order_is_that_of_all_endpoints(void **state)
{
	struct viommu_endpoint_config c = { .size = sizeof(c), .id = 2 };
	struct rig *r = rig_make();
	struct viommu_endpoint *ep;
	struct viommu_fence f;

	(void)state;
	assert_int_equal(viommu_endpoint_create(r->w.vi, &c, &ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(ep, r->w.space, &f), 0);
	assert_int_equal(shadow_add(&r->s[0], r->w.ep, NULL), 0);
	assert_int_equal(shadow_add(&r->s[1], ep, NULL), 0);
	assert_int_equal(shadow_add(&r->s[2], r->w.ep, NULL), 0);
	assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0), 0);
	assert_heard(r, "a map 1000-1fff 0 3 x1\n"
			"b map 1000-1fff 0 3 x1\n"
			"c map 1000-1fff 0 3 x1\n");
	viommu_fence_init(&f);
	viommu_endpoint_detach(ep, &f);
	assert_heard(r, "b unmap " ALL " f\n");
	assert_int_equal(map_rw(&r->w, 0x2000, 0x2fff, 0), 0);
	assert_heard(r, "a map 2000-2fff 0 3 x1\n"
			"c map 2000-2fff 0 3 x1\n");
	viommu_endpoint_destroy(ep, &f);
	assert_heard(r, "b unmap " ALL " f\n"
			"b gone destroyed\n");
	fence_run(&f);
	rig_free(r);
}

struct look {
	struct rig *r;
	struct viommu_space *unwatched;
	enum shadow_what when;
	int rc;
	bool elsewhere;
	unsigned n;
};

/* DMA goes on, and so do changes that nobody is told of. */
static void *look_thread(void *arg)
{
	struct look *l = arg;
	char c;

	l->rc = viommu_dma_read(l->r->w.ep, 0x1000, &c, 1);
	l->elsewhere = !map_in(l->unwatched, 0x1000, 0x1fff, 0) &&
		       unmap_in(l->unwatched, 0x1000, 0x1fff) == 0x1000;
	l->n++;
	return NULL;
}

static void look_from_elsewhere(struct shadow *s, const struct shadow_event *e)
{
	struct look *l = s->arg;
	pthread_t t;

	if (e->what != l->when)
		return;
	assert_int_equal(pthread_create(&t, NULL, look_thread, l), 0);
	pthread_join(t, NULL);
}

static void it_is_told_before_anybody_can_use_it(void **state)
{
	struct rig *r = rig_make();
	struct look l = { .r = r, .when = SHADOW_MAP };
	char c;

	(void)state;
	l.unwatched = rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_REFUSE);
	r->s[0].during = look_from_elsewhere;
	r->s[0].arg = &l;
	rig_add(r, 1);
	assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0), 0);
	assert_int_equal(l.n, 1);
	assert_int_equal(l.rc, -EFAULT);
	assert_true(l.elsewhere);
	assert_int_equal(viommu_dma_read(r->w.ep, 0x1000, &c, 1), 0);
	l.when = SHADOW_UNMAP;
	assert_int_equal(unmap(&r->w, 0x1000, 0x1fff), 0x1000);
	assert_int_equal(l.n, 2);
	assert_true(l.elsewhere);
	r->s[0].during = NULL;
	space_free(l.unwatched);
	rig_free(r);
}

/* The tables for what is being told are there, and nothing is in them. */
static void *walk_thread(void *arg)
{
	struct look *l = arg;
	struct viommu_space *s = l->r->w.space;
	struct viommu_mapping m;
	viommu_gpa_t gpa;

	assert_int_equal(viommu_space_next(s, 0, &m), 0);
	assert_int_equal(m.last, 0xfff);
	assert_int_equal(viommu_space_next(s, 0x1000, &m), 0);
	assert_int_equal(m.start, UINT64_C(9) << 40);
	assert_int_equal(viommu_space_translate(s, 0x40000000, &gpa), -ENOENT);
	assert_int_equal(viommu_space_next(s, m.last + 1, &m), -ENOENT);
	l->n++;
	return NULL;
}

static void walk_from_elsewhere(struct shadow *s, const struct shadow_event *e)
{
	pthread_t t;

	if (e->what != SHADOW_MAP)
		return;
	assert_int_equal(pthread_create(&t, NULL, walk_thread, s->arg), 0);
	pthread_join(t, NULL);
}

static void nobody_sees_what_is_being_told(void **state)
{
	struct rig *r = rig_make();
	struct look l = { .r = r };

	(void)state;
	assert_int_equal(map_rw(&r->w, 0, 0xfff, 0), 0);
	assert_int_equal(map_rw(&r->w, UINT64_C(9) << 40,
				(UINT64_C(9) << 40) + 0xfff, 0),
			 0);
	rig_add(r, 1);
	r->s[0].during = walk_from_elsewhere;
	r->s[0].arg = &l;
	refuse(r, 0, SHADOW_ANY(SHADOW_MAP), 0);
	assert_int_equal(map_rw(&r->w, 0x3ffff000, 0xc0000fff, 0), -ENOSPC);
	assert_int_equal(map_rw(&r->w, 0x3ffff000, 0xc0000fff, 0), 0);
	assert_int_equal(l.n, 2);
	r->s[0].during = NULL;
	pictures(r, 1, r->w.space);
	rig_free(r);
}

static void a_request_is_one_event(void **state)
{
	struct rig *r = rig_make();

	(void)state;
	rig_add(r, 1);
	assert_int_equal(map_rw(&r->w, 0x1000, 0x40001fff, 0x3000), 0);
	assert_heard(r, "a map 1000-40001fff 3000 3 x1\n");
	assert_int_equal(map_rw(&r->w, 0x50000000, 0x50000fff, 0), 0);
	assert_int_equal(map_rw(&r->w, 0x60000000, 0x60000fff, 0), 0);
	assert_heard(r, "a map 50000000-50000fff 0 3 x1\n"
			"a map 60000000-60000fff 0 3 x1\n");
	assert_int_equal(unmap(&r->w, 0, 0xffffffff), 0x40003000);
	assert_heard(r, "a unmap 0-ffffffff f\n");
	rig_free(r);
}

static void an_unmap_is_told_where_nothing_is(void **state)
{
	struct rig *r = rig_make();

	(void)state;
	rig_add(r, 2);
	assert_int_equal(unmap(&r->w, 0x1000, 0x1234), 0);
	assert_heard(r, "b unmap 1000-1234 f\n"
			"a unmap 1000-1234 f\n");
	rig_free(r);
}

static void a_request_that_fails_is_not_told(void **state)
{
	struct rig *r = rig_make();
	struct viommu_fence f;

	(void)state;
	assert_int_equal(map_rw(&r->w, 0x1000, 0x2fff, 0), 0);
	rig_add(r, 1);
	(void)heard(r);
	assert_int_equal(map_rw(&r->w, 0x2000, 0x3fff, 0), -EEXIST);
	assert_int_equal(map_rw(&r->w, 0x2800, 0x3fff, 0), -ERANGE);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_unmap(r->w.space, 0x2000, 0x3fff, &f),
			 -ERANGE);
	assert_int_equal(viommu_space_unmap(r->w.space, 0x2000, 0x1fff, &f),
			 -EINVAL);
	assert_int_equal(remap_in(r->w.space, 0x2000, 0x2fff, 0x5000), -ERANGE);
	assert_heard(r, "");
	pictures(r, 1, r->w.space);
	rig_free(r);
}

/* ---- refused ---------------------------------------------------------- */

static void a_map_that_is_refused_is_undone(void **state)
{
	static const char *const said[] = {
		"a map 3ffff000-80000fff 1000 3 x1 ENOSPC\n",
		"a map 3ffff000-80000fff 1000 3 x1\n"
		"b map 3ffff000-80000fff 1000 3 x1 ENOSPC\n"
		"a unmap 3ffff000-80000fff -\n",
		"a map 3ffff000-80000fff 1000 3 x1\n"
		"b map 3ffff000-80000fff 1000 3 x1\n"
		"c map 3ffff000-80000fff 1000 3 x1 ENOSPC\n"
		"b unmap 3ffff000-80000fff -\n"
		"a unmap 3ffff000-80000fff -\n",
	};
	struct rig *r = rig_make();
	static struct before b;

	(void)state;
	assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0), 0);
	/* the tree is as high as it gets, and does not shrink; it keeps one
	 * empty table, and the edges need one each */
	assert_int_equal(map_rw(&r->w, 0x3ffff000, 0x80000fff, 0x1000), 0);
	assert_int_equal(unmap(&r->w, 0x3ffff000, 0x80000fff), 0x40002000);
	rig_add(r, 3);
	before_look(r, r->w.space, &b);
	for (unsigned i = 0; i < 3; i++) {
		(void)heard(r);
		refuse(r, i, SHADOW_ANY(SHADOW_MAP), 0);
		assert_int_equal(map_rw(&r->w, 0x3ffff000, 0x80000fff, 0x1000),
				 -ENOSPC);
		assert_string_equal(heard(r), said[i]);
		assert_unchanged(r, r->w.space, &b);
		pictures(r, 3, r->w.space);
	}
	/* nothing of it is left to be in the way */
	assert_int_equal(map_rw(&r->w, 0x3ffff000, 0x80000fff, 0x1000), 0);
	pictures(r, 3, r->w.space);
	rig_free(r);
}

/* The quota of what was refused can be had again: two mappings there are. */
static void a_refusal_costs_no_quota(void **state)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .policy = VIOMMU_SPACE_SPLIT,
					 .page_sizes = PAGE,
					 .max_mappings = 2 };
	struct rig *r = rig_make();
	struct viommu_space *s;

	(void)state;
	assert_int_equal(viommu_space_create(r->w.vi, &c, &s), 0);
	assert_int_equal(see(r, s), 0);
	rig_add(r, 1);
	for (int i = 0; i < 5; i++) {
		refuse(r, 0, ~0u, 0);
		assert_int_equal(map_in(s, 0, 0xfff, 0), -ENOSPC);
		refuse(r, 0, ~0u, 0);
		assert_int_equal(remap_in(s, 0, 0xfff, 0), -ENOSPC);
	}
	assert_int_equal(map_in(s, 0, 0x2fff, 0), 0);
	for (int i = 0; i < 5; i++) {
		refuse(r, 0, SHADOW_ANY(SHADOW_CUT), 0);
		assert_int_equal(unmap_in(s, 0x1000, 0x1fff), -ENOSPC);
	}
	assert_int_equal(unmap_in(s, 0x1000, 0x1fff), 0x1000);
	pictures(r, 1, s);
	(void)heard(r);
	/* here it is the library that refuses, and the notifier knows nothing
	 * of it */
	assert_int_equal(map_in(s, 0x1000, 0x1fff, 0), -ENOSPC);
	pictures(r, 1, s);
	assert_int_equal(see(r, r->w.space), 0);
	space_free(s);
	rig_free(r);
}

/* Whatever it says, the caller gets an error, and the library does not take it
 * for one of its own. */
static void a_refusal_is_an_error(void **state)
{
	static const struct {
		int says, rc;
	} row[] = {
		{ -EAGAIN, -EBUSY },
		{ 1, -EBUSY },
		{ -EEXIST, -EEXIST },
		{ -ENOMEM, -ENOMEM },
	};
	struct rig *r = rig_make();

	(void)state;
	rig_add(r, 2);
	assert_int_equal(map_rw(&r->w, 0, 0xfff, 0), 0);
	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		refuse(r, 1, SHADOW_ANY(SHADOW_MAP), 0);
		r->s[1].plan.rc = row[i].says;
		assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0), row[i].rc);
		pictures(r, 2, r->w.space);
	}
	rig_free(r);
}

/* 2^64 bytes. */
static void everything_can_be_told(void **state)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .policy = VIOMMU_SPACE_SPLIT,
					 .page_sizes = 1 << 30 };
	struct rig *r = rig_make();
	struct viommu_space *s;

	(void)state;
	assert_int_equal(viommu_space_create(r->w.vi, &c, &s), 0);
	assert_int_equal(see(r, s), 0);
	rig_add(r, 1);
	assert_int_equal(map_in(s, 0, UINT64_MAX, 0), 0);
	assert_heard(r, "a map " ALL " 0 3 x1\n");
	pictures(r, 1, s);
	assert_int_equal(remap_in(s, 0, UINT64_MAX, 0), 0);
	assert_heard(r, "a remap " ALL " 0 3 f\n");
	assert_int_equal(unmap_in(s, 0, UINT64_MAX), INT64_MAX);
	assert_heard(r, "a unmap " ALL " f\n");
	pictures(r, 1, s);
	assert_int_equal(see(r, r->w.space), 0);
	space_free(s);
	rig_free(r);
}

/* ---- scatter lists ---------------------------------------------------- */

enum {
	LIST = 300,
};

/* No two of them follow each other in memory. */
static const struct viommu_segment *list_of(size_t n)
{
	static struct viommu_segment list[LIST];

	for (size_t i = 0; i < n; i++)
		list[i] = (struct viommu_segment){ .gpa = 2 * i * PAGE,
						   .len = PAGE };
	return list;
}

static void a_list_is_told_a_few_at_a_time(void **state)
{
	struct rig *r = rig_make();
	unsigned n = 0;

	(void)state;
	rig_add(r, 2);
	assert_int_equal(
		viommu_space_map_list(r->w.space, 0x1000, RW, list_of(2), 2),
		0);
	assert_heard(r, "a map 1000-2fff 0 3 x2\n"
			"b map 1000-2fff 0 3 x2\n");
	assert_int_equal(viommu_space_map_list(r->w.space, 0x100000, RW,
					       list_of(LIST), LIST),
			 0);
	assert_true(r->log.n < LIST);
	for (unsigned i = 0; i < r->log.n; i++)
		n += r->log.e[i].n;
	assert_int_equal(n, 2 * LIST);
	pictures(r, 2, r->w.space);
	rig_free(r);
}

/* Whichever call of whichever of them fails. */
static void a_list_that_is_refused_is_undone(void **state)
{
	struct rig *r = rig_make();
	static struct before b;
	unsigned calls;

	(void)state;
	rig_add(r, 2);
	assert_int_equal(map_rw(&r->w, 0, 0xfff, 0), 0);
	assert_int_equal(map_rw(&r->w, 0x100000, 0x2fffff, 0), 0);
	assert_int_equal(unmap(&r->w, 0x100000, 0x2fffff), 0x200000);
	before_look(r, r->w.space, &b);
	for (unsigned i = 0; i < 4; i++) {
		unsigned after = i / 2;

		refuse(r, i % 2, SHADOW_ANY(SHADOW_MAP), after);
		assert_int_equal(viommu_space_map_list(r->w.space, 0x100000, RW,
						       list_of(LIST), LIST),
				 -ENOSPC);
		assert_int_equal(r->s[i % 2].plan.times, 0);
		assert_unchanged(r, r->w.space, &b);
		pictures(r, 2, r->w.space);
	}
	r->log.n = 0;
	assert_int_equal(viommu_space_map_list(r->w.space, 0x100000, RW,
					       list_of(LIST), LIST),
			 0);
	calls = r->log.n / 2;
	assert_true(calls > 1);
	pictures(r, 2, r->w.space);
	rig_free(r);
}

/* ---- cuts ------------------------------------------------------------- */

static void a_cut_is_asked_for_first(void **state)
{
	struct rig *r = rig_make();
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_SPLIT);

	(void)state;
	assert_int_equal(see(r, s), 0);
	rig_add(r, 2);
	assert_int_equal(map_in(s, 0, 0xffff, 0), 0);
	assert_int_equal(map_in(s, 0x10000, 0x1ffff, 0), 0);
	(void)heard(r);
	/* at one edge, at both, across two mappings, at none */
	assert_int_equal(unmap_in(s, 0, 0xfff), 0x1000);
	assert_heard(r, "a cut 0-fff\n"
			"b cut 0-fff\n"
			"b unmap 0-fff f\n"
			"a unmap 0-fff f\n");
	assert_int_equal(unmap_in(s, 0x4000, 0x4fff), 0x1000);
	assert_heard(r, "a cut 4000-4fff\n"
			"b cut 4000-4fff\n"
			"b unmap 4000-4fff f\n"
			"a unmap 4000-4fff f\n");
	pictures(r, 2, s);
	assert_int_equal(unmap_in(s, 0xf000, 0x10fff), 0x2000);
	assert_heard(r, "a cut f000-10fff\n"
			"b cut f000-10fff\n"
			"b unmap f000-10fff f\n"
			"a unmap f000-10fff f\n");
	assert_int_equal(unmap_in(s, 0x1000, 0x4fff), 0x3000);
	assert_heard(r, "b unmap 1000-4fff f\n"
			"a unmap 1000-4fff f\n");
	pictures(r, 2, s);
	assert_int_equal(see(r, r->w.space), 0);
	space_free(s);
	rig_free(r);
}

static void a_cut_that_is_refused_changes_nothing(void **state)
{
	struct rig *r = rig_make();
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_SPLIT);
	static struct before b;

	(void)state;
	assert_int_equal(see(r, s), 0);
	rig_add(r, 2);
	assert_int_equal(map_in(s, 0, 0x3fffffff, 0), 0);
	before_look(r, s, &b);
	(void)heard(r);
	refuse(r, 1, SHADOW_ANY(SHADOW_CUT), 0);
	assert_int_equal(unmap_in(s, 0x5000, 0x5fff), -ENOSPC);
	assert_heard(r, "a cut 5000-5fff\n"
			"b cut 5000-5fff ENOSPC\n");
	assert_unchanged(r, s, &b);
	refuse(r, 0, SHADOW_ANY(SHADOW_CUT), 0);
	assert_int_equal(remap_in(s, 0x5000, 0x5fff, 0), -ENOSPC);
	assert_heard(r, "a cut 5000-5fff ENOSPC\n");
	assert_unchanged(r, s, &b);
	pictures(r, 2, s);
	assert_int_equal(see(r, r->w.space), 0);
	space_free(s);
	rig_free(r);
}

/* What goes is told, not what was asked for; nothing is cut then. */
static void whole_pages_are_told(void **state)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .policy = VIOMMU_SPACE_WHOLE_PAGE,
					 .page_sizes = 0x1000 | 0x10000 };
	struct rig *r = rig_make();
	struct viommu_space *s;

	(void)state;
	assert_int_equal(viommu_space_create(r->w.vi, &c, &s), 0);
	assert_int_equal(see(r, s), 0);
	rig_add(r, 1);
	assert_int_equal(map_in(s, 0, 0x1ffff, 0), 0);
	(void)heard(r);
	assert_int_equal(unmap_in(s, 0x11000, 0x11fff), 0x10000);
	assert_heard(r, "a cut 10000-1ffff\n"
			"a unmap 10000-1ffff f\n");
	assert_int_equal(unmap_in(s, 0x5000, 0x5fff), 0x10000);
	assert_heard(r, "a unmap 0-ffff f\n");
	pictures(r, 1, s);
	assert_int_equal(see(r, r->w.space), 0);
	space_free(s);
	rig_free(r);
}

/* Nobody asks a notifier that has no cut. */
static void without_cut_it_can(void **state)
{
	struct rig *r = rig_make();
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_SPLIT);

	(void)state;
	assert_int_equal(see(r, s), 0);
	r->s[0].ops.cut = NULL;
	rig_add(r, 1);
	assert_int_equal(map_in(s, 0, 0x2fff, 0), 0);
	assert_int_equal(unmap_in(s, 0x1000, 0x1fff), 0x1000);
	assert_heard(r, "a map 0-2fff 0 3 x1\n"
			"a unmap 1000-1fff f\n");
	pictures(r, 1, s);
	assert_int_equal(see(r, r->w.space), 0);
	space_free(s);
	rig_free(r);
}

/* ---- remap ------------------------------------------------------------ */

static void remap_setup(struct rig *r, unsigned n)
{
	for (unsigned i = 1; i < n; i++)
		r->s[i].ops.remap = NULL;
	rig_add(r, n);
	assert_int_equal(map_rw(&r->w, 0x1000, 0x1fff, 0), 0);
	assert_int_equal(map_rw(&r->w, 0x2000, 0x2fff, 0x8000), 0);
	(void)heard(r);
}

static void a_remap_is_one_step_or_two(void **state)
{
	struct rig *r = rig_make();

	(void)state;
	remap_setup(r, 2);
	assert_int_equal(remap_in(r->w.space, 0x1000, 0x2fff, 0x4000), 0);
	assert_heard(r, "a remap 1000-2fff 4000 3 f\n"
			"b unmap 1000-2fff f\n"
			"b map 1000-2fff 4000 3 x1\n");
	pictures(r, 2, r->w.space);
	/* it has it, and says that this time it cannot */
	refuse(r, 0, SHADOW_ANY(SHADOW_REMAP), 0);
	r->s[0].plan.rc = -EOPNOTSUPP;
	assert_int_equal(remap_in(r->w.space, 0x1000, 0x2fff, 0x6000), 0);
	assert_heard(r, "a remap 1000-2fff 6000 3 f EOPNOTSUPP\n"
			"a unmap 1000-2fff f\n"
			"a map 1000-2fff 6000 3 x1\n"
			"b unmap 1000-2fff f\n"
			"b map 1000-2fff 6000 3 x1\n");
	pictures(r, 2, r->w.space);
	rig_free(r);
}

static void a_remap_that_the_first_refuses_is_not_told_on(void **state)
{
	struct rig *r = rig_make();
	static struct before b;

	(void)state;
	remap_setup(r, 2);
	before_look(r, r->w.space, &b);
	refuse(r, 0, SHADOW_ANY(SHADOW_REMAP), 0);
	assert_int_equal(remap_in(r->w.space, 0x1000, 0x2fff, 0x4000), -ENOSPC);
	assert_heard(r, "a remap 1000-2fff 4000 3 f ENOSPC\n");
	assert_unchanged(r, r->w.space, &b);
	pictures(r, 2, r->w.space);
	rig_free(r);
}

/* By the map after its unmap: it gets back what it had, and so do others. */
static void a_remap_that_is_refused_is_taken_back(void **state)
{
	struct rig *r = rig_make();
	static struct before b;

	(void)state;
	remap_setup(r, 3);
	before_look(r, r->w.space, &b);
	for (unsigned i = 1; i < 3; i++) {
		refuse(r, i, SHADOW_ANY(SHADOW_MAP), 0);
		assert_int_equal(remap_in(r->w.space, 0x1000, 0x2fff, 0x4000),
				 -ENOSPC);
		assert_unchanged(r, r->w.space, &b);
		pictures(r, 3, r->w.space);
	}
	rig_free(r);
}

/* ... which is a part of a mapping that goes on at both sides. */
static void a_refused_remap_inside_is_taken_back(void **state)
{
	struct rig *r = rig_make();
	struct viommu_space *s =
		rig_space(r, VIOMMU_SPACE_MAPPED, VIOMMU_SPACE_SPLIT);
	static struct before b;

	(void)state;
	assert_int_equal(see(r, s), 0);
	r->s[1].ops.remap = NULL;
	r->s[0].pieces = r->s[1].pieces = true;
	rig_add(r, 2);
	assert_int_equal(map_in(s, 0, 0xffff, 0), 0);
	before_look(r, s, &b);
	refuse(r, 1, SHADOW_ANY(SHADOW_MAP), 0);
	assert_int_equal(remap_in(s, 0x4000, 0x4fff, 0xf000), -ENOSPC);
	assert_unchanged(r, s, &b);
	for (unsigned i = 0; i < 2; i++)
		assert_null(shadow_compare_pages(&r->s[i], s));
	/* and as if it never were */
	assert_int_equal(remap_in(s, 0x4000, 0x4fff, 0xf000), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_null(shadow_compare_pages(&r->s[i], s));
	assert_int_equal(unmap_in(s, 0, 0xffff), 0x10000);
	pictures(r, 2, s);
	assert_int_equal(see(r, r->w.space), 0);
	space_free(s);
	rig_free(r);
}

static void who_will_not_have_it_back_is_lost(void **state)
{
	struct rig *r = rig_make();
	static struct before b;

	(void)state;
	remap_setup(r, 3);
	before_look(r, r->w.space, &b);
	/* c refuses; b, which unmapped, does not want what it had */
	refuse(r, 2, SHADOW_ANY(SHADOW_MAP), 0);
	refuse(r, 1, SHADOW_ANY(SHADOW_MAP), 1);
	assert_int_equal(remap_in(r->w.space, 0x1000, 0x2fff, 0x4000), -ENOSPC);
	assert_unchanged(r, r->w.space, &b);
	pictures(r, 1, r->w.space);
	assert_int_equal(r->s[1].npieces, 0);
	assert_true(r->s[1].over);
	assert_null(shadow_compare(&r->s[2], r->w.space));
	assert_non_null(strstr(heard(r), "b unmap " ALL " f\nb gone lost\n"));
	/* it is told no more, others are */
	assert_int_equal(map_rw(&r->w, 0x5000, 0x5fff, 0), 0);
	assert_heard(r, "a map 5000-5fff 0 3 x1\n"
			"c map 5000-5fff 0 3 x1\n");
	rig_remove(r, 1);
	assert_heard(r, "");
	rig_free(r);
}

/* The refuser itself refuses what it had. */
static void the_refuser_may_be_lost_itself(void **state)
{
	struct rig *r = rig_make();

	(void)state;
	remap_setup(r, 2);
	refuse(r, 1, SHADOW_ANY(SHADOW_MAP), 0);
	r->s[1].plan.times = 2;
	assert_int_equal(remap_in(r->w.space, 0x1000, 0x2fff, 0x4000), -ENOSPC);
	pictures(r, 1, r->w.space);
	assert_non_null(strstr(heard(r), "b unmap " ALL " f\nb gone lost\n"));
	assert_int_equal(unmap(&r->w, 0, UINT64_MAX), 0x2000);
	assert_heard(r, "a unmap " ALL " f\n");
	rig_free(r);
}

/* ---- REMOTE ----------------------------------------------------------- */

static void asked(void *arg, const struct viommu_miss *m)
{
	(void)arg;
	(void)m;
}

static void invalidations_are_told(void **state)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .kind = VIOMMU_SPACE_REMOTE,
					 .page_sizes = PAGE,
					 .miss = asked };
	struct rig *r = rig_make();
	struct viommu_space *s;
	struct viommu_fence f;

	(void)state;
	assert_int_equal(viommu_space_create(r->w.vi, &c, &s), 0);
	assert_int_equal(see(r, s), 0);
	rig_add(r, 1);
	assert_int_equal(map_in(s, 0, 0xffff, 0), 0);
	assert_heard(r, "a map 0-ffff 0 3 x1\n");
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_invalidate(s, 0x4000, 0x4001, &f), 0);
	fence_run(&f);
	assert_heard(r, "a cut 4000-4fff\n"
			"a unmap 4000-4fff f\n");
	pictures(r, 1, s);
	/* it cannot be refused: all of the mapping goes */
	refuse(r, 0, SHADOW_ANY(SHADOW_CUT), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_invalidate(s, 0x6000, 0x6fff, &f), 0);
	fence_run(&f);
	assert_heard(r, "a cut 6000-6fff ENOSPC\n"
			"a unmap 5000-ffff f\n");
	pictures(r, 1, s);
	viommu_fence_init(&f);
	assert_int_equal(viommu_space_invalidate(s, 0, UINT64_MAX, &f), 0);
	fence_run(&f);
	assert_heard(r, "a unmap " ALL " f\n");
	pictures(r, 1, s);
	assert_int_equal(remap_in(s, 0, 0xfff, 0x1000), 0);
	pictures(r, 1, s);
	assert_int_equal(see(r, r->w.space), 0);
	space_free(s);
	rig_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_comes_is_told_to_the_first_first),
		cmocka_unit_test(the_order_is_that_of_all_endpoints),
		cmocka_unit_test(it_is_told_before_anybody_can_use_it),
		cmocka_unit_test(nobody_sees_what_is_being_told),
		cmocka_unit_test(a_request_is_one_event),
		cmocka_unit_test(an_unmap_is_told_where_nothing_is),
		cmocka_unit_test(a_request_that_fails_is_not_told),
		cmocka_unit_test(a_map_that_is_refused_is_undone),
		cmocka_unit_test(a_refusal_costs_no_quota),
		cmocka_unit_test(a_refusal_is_an_error),
		cmocka_unit_test(everything_can_be_told),
		cmocka_unit_test(a_list_is_told_a_few_at_a_time),
		cmocka_unit_test(a_list_that_is_refused_is_undone),
		cmocka_unit_test(a_cut_is_asked_for_first),
		cmocka_unit_test(a_cut_that_is_refused_changes_nothing),
		cmocka_unit_test(whole_pages_are_told),
		cmocka_unit_test(without_cut_it_can),
		cmocka_unit_test(a_remap_is_one_step_or_two),
		cmocka_unit_test(a_remap_that_the_first_refuses_is_not_told_on),
		cmocka_unit_test(a_remap_that_is_refused_is_taken_back),
		cmocka_unit_test(a_refused_remap_inside_is_taken_back),
		cmocka_unit_test(who_will_not_have_it_back_is_lost),
		cmocka_unit_test(the_refuser_may_be_lost_itself),
		cmocka_unit_test(invalidations_are_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
