/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_UNIT_NOTIFIER_H
#define TESTS_UNIT_NOTIFIER_H

/*
 * A world with up to three recorders on its endpoint, a, b and c, and what they
 * heard as text: an event a line, after who heard it.
 *
 *	a map 1000-2fff 8000 3 x2	start, last, gpa and prot of the first
 *	a unmap 0-ffff f		f: there is a fence, else -
 *	a remap 1000-1fff 8000 3 f
 *	a cut 1000-1fff
 *	a ram+ 0-ffff, a ram- 0-ffff f
 *	a start|stop|sync 0-ffff
 *	a gone destroyed|lost
 *
 * and, if it was refused, the error.
 */
#include <inttypes.h>
#include <stdio.h>

#include "core/space.h"
#include "shadow.h"
#include "world.h"

enum {
	RW = VIOMMU_READ | VIOMMU_WRITE,
	PAGE = 4096,
	TEXT = 1 << 14,
	NSHADOWS = 3,
	TIMEOUT = 1000,
};

struct rig {
	struct world w;
	struct shadow_log log;
	struct shadow s[NSHADOWS];
	_Atomic(uint64_t) now;
};

#define ALL "0-ffffffffffffffff"

static inline uint64_t rig_clock(void *arg)
{
	return atomic_load(&((struct rig *)arg)->now);
}

/* A world in which time stands still. */
static inline struct rig *rig_make(void)
{
	static struct rig r;
	const struct viommu_env env = { .size = sizeof(env),
					.clock = rig_clock,
					.arg = &r };
	const struct viommu_config cfg = { .size = sizeof(cfg),
					   .env = &env,
					   .fence_timeout_ns = TIMEOUT };

	memset(&r, 0, sizeof(r));
	atomic_store(&r.now, 1000000);
	world_make(&r.w, &cfg, PAGE);
	for (int i = 0; i < NSHADOWS; i++)
		shadow_init(&r.s[i], &r.log);
	return &r;
}

static inline void rig_add(struct rig *r, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(shadow_add(&r->s[i], r->w.ep,
					    viommu_memory_of(r->w.vi)),
				 0);
}

static inline void rig_remove(struct rig *r, unsigned i)
{
	struct viommu_fence f;

	if (!r->s[i].notifier)
		return;
	viommu_fence_init(&f);
	shadow_remove(&r->s[i], &f);
	fence_run(&f);
	r->s[i].notifier = NULL;
}

static inline void rig_free(struct rig *r)
{
	for (unsigned i = 0; i < NSHADOWS; i++) {
		const char *what;

		rig_remove(r, i);
		what = shadow_broken(&r->s[i]);
		if (what)
			fail_msg("%s", what);
		shadow_fini(&r->s[i]);
	}
	/* nobody is left for whom its writers take the notify lock */
	assert_int_equal(r->w.space->watched, 0);
	world_free(&r->w);
}

static inline struct viommu_space *rig_space(struct rig *r, uint32_t kind,
					     uint32_t policy)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .kind = kind,
					 .policy = policy,
					 .page_sizes = PAGE };
	struct viommu_space *s;

	assert_int_equal(viommu_space_create(r->w.vi, &c, &s), 0);
	return s;
}

static inline void space_free(struct viommu_space *s)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_space_destroy(s, &f);
	fence_run(&f);
}

static inline int see(struct rig *r, struct viommu_space *s)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_endpoint_attach(r->w.ep, s, &f);
	fence_run(&f);
	return rc;
}

static inline int map_in(struct viommu_space *s, uint64_t start, uint64_t last,
			 uint64_t gpa)
{
	const struct viommu_mapping m = {
		.start = start, .last = last, .gpa = gpa, .prot = RW
	};

	return viommu_space_map(s, &m);
}

static inline int remap_in(struct viommu_space *s, uint64_t start,
			   uint64_t last, uint64_t gpa)
{
	const struct viommu_mapping m = {
		.start = start, .last = last, .gpa = gpa, .prot = RW
	};
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_space_remap(s, &m, &f);
	fence_run(&f);
	return rc;
}

static inline int64_t unmap_in(struct viommu_space *s, uint64_t start,
			       uint64_t last)
{
	struct viommu_fence f;
	int64_t n;

	viommu_fence_init(&f);
	n = viommu_space_unmap(s, start, last, &f);
	fence_run(&f);
	return n;
}

/* The pictures are what the space is. */
static inline void pictures(struct rig *r, unsigned n,
			    struct viommu_space *space)
{
	for (unsigned i = 0; i < n; i++) {
		const char *what = shadow_compare(&r->s[i], space);

		if (what)
			fail_msg("shadow %c: %s", 'a' + i, what);
	}
}

/* ---- what was heard --------------------------------------------------- */

static inline int event_what(char *to, size_t room,
			     const struct shadow_event *e)
{
	static const char *const names[] = {
		[SHADOW_MAP] = "map",	   [SHADOW_UNMAP] = "unmap",
		[SHADOW_REMAP] = "remap",  [SHADOW_CUT] = "cut",
		[SHADOW_RAM_ADD] = "ram+", [SHADOW_RAM_REMOVE] = "ram-",
	};
	static const char *const dirty[] = {
		[VIOMMU_DIRTY_START] = "start",
		[VIOMMU_DIRTY_STOP] = "stop",
		[VIOMMU_DIRTY_SYNC] = "sync",
	};

	if (e->what == SHADOW_GONE)
		return snprintf(to, room, "gone %s",
				e->value == VIOMMU_GONE_LOST ? "lost"
							     : "destroyed");
	return snprintf(to, room, "%s %" PRIx64 "-%" PRIx64,
			e->what == SHADOW_DIRTY ? dirty[e->value]
						: names[e->what],
			e->start, e->last);
}

static inline int event_how(char *to, size_t room, const struct shadow_event *e)
{
	const char *fence = e->fence ? "f" : "-";

	switch (e->what) {
	case SHADOW_MAP:
		return snprintf(to, room, " %" PRIx64 " %x x%u", e->gpa,
				e->prot, e->n);
	case SHADOW_REMAP:
		return snprintf(to, room, " %" PRIx64 " %x %s", e->gpa, e->prot,
				fence);
	case SHADOW_UNMAP:
	case SHADOW_RAM_REMOVE:
		return snprintf(to, room, " %s", fence);
	default:
		return 0;
	}
}

/* All that was heard since this was asked last. */
static inline const char *heard(struct rig *r)
{
	static char text[TEXT];
	size_t at = 0;

	text[0] = 0;
	assert_true(r->log.n < SHADOW_EVENTS);
	for (unsigned i = 0; i < r->log.n; i++) {
		const struct shadow_event *e = &r->log.e[i];

		at += (size_t)snprintf(text + at, TEXT - at, "%c ",
				       (char)('a' + (e->by - r->s)));
		at += (size_t)event_what(text + at, TEXT - at, e);
		at += (size_t)event_how(text + at, TEXT - at, e);
		if (e->rc)
			at += (size_t)snprintf(text + at, TEXT - at, " %s",
					       strerrorname_np(-e->rc));
		at += (size_t)snprintf(text + at, TEXT - at, "\n");
		assert_true(at < TEXT - 100);
	}
	r->log.n = 0;
	return text;
}

#define assert_heard(r, text) assert_string_equal(heard(r), text)

/* ---- nothing has changed ---------------------------------------------- */

struct before {
	struct viommu_space_stats space;
	uint64_t mappings;
	char text[TEXT];
};

static inline void before_look(struct rig *r, struct viommu_space *s,
			       struct before *b)
{
	struct viommu_stats st;
	struct viommu_mapping m;
	size_t at = 0;
	uint64_t from = 0;

	memset(b, 0, sizeof(*b));
	viommu_space_read_stats(s, &b->space);
	viommu_read_stats(r->w.vi, &st);
	b->mappings = st.mappings;
	while (!viommu_space_next(s, from, &m)) {
		at += (size_t)snprintf(b->text + at, TEXT - at,
				       "%" PRIx64 "-%" PRIx64 " %" PRIx64
				       " %x\n",
				       m.start, m.last, m.gpa, m.prot);
		assert_true(at < TEXT - 100);
		from = m.last + 1;
		if (!from)
			break;
	}
}

static inline void assert_unchanged(struct rig *r, struct viommu_space *s,
				    const struct before *b)
{
	struct before now;

	before_look(r, s, &now);
	assert_string_equal(now.text, b->text);
	assert_int_equal(now.mappings, b->mappings);
	assert_int_equal(now.space.mappings, b->space.mappings);
	assert_int_equal(now.space.bytes, b->space.bytes);
	assert_int_equal(now.space.mapped, b->space.mapped);
	assert_int_equal(now.space.unmapped, b->space.unmapped);
	assert_int_equal(now.space.splits, b->space.splits);
	assert_int_equal(now.space.table_bytes, b->space.table_bytes);
}

/* Let shadow @i refuse the call of these kinds after @after of them. */
static inline void refuse(struct rig *r, unsigned i, unsigned kinds,
			  unsigned after)
{
	r->s[i].plan = (struct shadow_plan){
		.kinds = kinds, .after = after, .times = 1, .rc = -ENOSPC
	};
}

#endif
