/* SPDX-License-Identifier: BSD-2-Clause */
#include "shadow.h"

#include <errno.h>
#include <string.h>

void shadow_wrong_locked(struct shadow *s, const char *what)
{
	if (!s->wrong)
		s->wrong = what;
}

const char *shadow_broken(struct shadow *s)
{
	const char *what;

	pthread_mutex_lock(&s->lock);
	what = s->wrong;
	pthread_mutex_unlock(&s->lock);
	return what;
}

/* ---- the picture ------------------------------------------------------ */

/* The first piece whose last is at or after @iova. */
static unsigned piece_at(const struct shadow *s, uint64_t iova)
{
	unsigned lo = 0, hi = s->npieces;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (s->piece[mid].last < iova)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct viommu_mapping *shadow_find_locked(const struct shadow *s,
						uint64_t iova)
{
	unsigned i = piece_at(s, iova);

	return i < s->npieces && s->piece[i].start <= iova ? &s->piece[i]
							   : NULL;
}

static void piece_insert(struct shadow *s, const struct viommu_mapping *m)
{
	unsigned i = piece_at(s, m->start);

	if (m->last < m->start || !m->prot || m->reserved)
		shadow_wrong_locked(s, "a mapping that is none");
	if (i < s->npieces && s->piece[i].start <= m->last) {
		shadow_wrong_locked(s, "a map where something is mapped");
		return;
	}
	if (s->npieces == SHADOW_PIECES) {
		shadow_wrong_locked(s, "the shadow is full");
		return;
	}
	memmove(&s->piece[i + 1], &s->piece[i],
		(s->npieces - i) * sizeof(s->piece[0]));
	s->piece[i] = *m;
	s->npieces++;
}

static bool piece_cut_at(const struct shadow *s, uint64_t start)
{
	const struct viommu_mapping *m = shadow_find_locked(s, start);

	return m && m->start < start;
}

/* Would [start, last] cut a piece? */
static bool cuts(const struct shadow *s, uint64_t start, uint64_t last)
{
	return piece_cut_at(s, start) ||
	       (last < UINT64_MAX && piece_cut_at(s, last + 1));
}

/* Let a piece end before @at, and another begin there. */
static void piece_cut(struct shadow *s, uint64_t at)
{
	unsigned i = piece_at(s, at);
	struct viommu_mapping right = s->piece[i];

	right.gpa += at - right.start;
	right.start = at;
	s->piece[i].last = at - 1;
	piece_insert(s, &right);
}

static void pieces_remove(struct shadow *s, uint64_t start, uint64_t last)
{
	unsigned i, j;

	if (cuts(s, start, last) && s->ops.cut &&
	    !(s->was_asked && s->asked_start == start && s->asked_last == last))
		shadow_wrong_locked(s, "a cut that it was not asked about");
	if (piece_cut_at(s, start))
		piece_cut(s, start);
	if (last < UINT64_MAX && piece_cut_at(s, last + 1))
		piece_cut(s, last + 1);
	i = piece_at(s, start);
	for (j = i; j < s->npieces && s->piece[j].start <= last; j++)
		;
	memmove(&s->piece[i], &s->piece[j],
		(s->npieces - j) * sizeof(s->piece[0]));
	s->npieces -= j - i;
}

/* ---- each call -------------------------------------------------------- */

/* On return s->lock is held. */
static void call_begin(struct shadow *s, struct shadow_event *e)
{
	bool alone = !s->log || !atomic_fetch_add(&s->log->inside, 1);

	if (s->during)
		s->during(s, e);
	pthread_mutex_lock(&s->lock);
	if (!alone)
		shadow_wrong_locked(s, "two calls at once");
	if (s->over)
		shadow_wrong_locked(s, "a call after the last one");
	if (!s->notifier)
		shadow_wrong_locked(s, "a call before there is a handle");
	s->calls++;
}

static void call_log(struct shadow *s, struct shadow_event *e)
{
	struct shadow_log *log = s->log;

	e->by = s;
	if (!log)
		return;
	/* who keeps a log looks at it, and empties it */
	if (log->n < SHADOW_EVENTS)
		log->e[log->n++] = *e;
}

static int call_over(struct shadow *s, struct shadow_event *e)
{
	call_log(s, e);
	pthread_mutex_unlock(&s->lock);
	if (s->log)
		atomic_fetch_sub(&s->log->inside, 1);
	return e->rc;
}

/* What the plan says. */
static int refusal(struct shadow *s, enum shadow_what what)
{
	struct shadow_plan *p = &s->plan;

	if (!(p->kinds & SHADOW_ANY(what)) || !p->times)
		return 0;
	if (p->after) {
		p->after--;
		return 0;
	}
	p->times--;
	s->refused++;
	return p->rc;
}

/* The picture has changed: who may still go by what it was? */
static void call_went(struct shadow *s, uint64_t start, uint64_t last,
		      struct viommu_fence *f)
{
	if (f && s->holds && s->nholds < SHADOW_HOLDS)
		viommu_notifier_hold(s->notifier, f, &s->hold[s->nholds++]);
	if (!s->went)
		return;
	pthread_mutex_unlock(&s->lock);
	s->went(s, start, last, f);
	pthread_mutex_lock(&s->lock);
}

static int on_map(void *arg, const struct viommu_mapping *m, size_t n)
{
	struct shadow *s = arg;
	struct shadow_event e = { .what = SHADOW_MAP, .n = (uint32_t)n };

	if (n) {
		e.start = m[0].start;
		e.last = m[n - 1].last;
		e.gpa = m[0].gpa;
		e.prot = m[0].prot;
	}
	call_begin(s, &e);
	if (!n)
		shadow_wrong_locked(s, "a map of nothing");
	e.rc = refusal(s, SHADOW_MAP);
	for (size_t i = 0; !e.rc && i < n; i++) {
		if (i && m[i].start <= m[i - 1].last)
			shadow_wrong_locked(s, "a list that is not in order");
		piece_insert(s, &m[i]);
	}
	return call_over(s, &e);
}

static void on_unmap(void *arg, viommu_iova_t start, viommu_iova_t last,
		     struct viommu_fence *f)
{
	struct shadow *s = arg;
	struct shadow_event e = {
		.what = SHADOW_UNMAP, .start = start, .last = last, .fence = f
	};

	call_begin(s, &e);
	if (last < start)
		shadow_wrong_locked(s, "an unmap of nothing");
	else
		pieces_remove(s, start, last);
	call_went(s, start, last, f);
	call_over(s, &e);
}

static int on_remap(void *arg, const struct viommu_mapping *m,
		    struct viommu_fence *f)
{
	struct shadow *s = arg;
	struct shadow_event e = { .what = SHADOW_REMAP,
				  .start = m->start,
				  .last = m->last,
				  .gpa = m->gpa,
				  .prot = m->prot,
				  .n = 1,
				  .fence = f };

	call_begin(s, &e);
	e.rc = refusal(s, SHADOW_REMAP);
	if (!e.rc) {
		pieces_remove(s, m->start, m->last);
		piece_insert(s, m);
		call_went(s, m->start, m->last, f);
	}
	return call_over(s, &e);
}

static int on_cut(void *arg, viommu_iova_t start, viommu_iova_t last)
{
	struct shadow *s = arg;
	struct shadow_event e = { .what = SHADOW_CUT,
				  .start = start,
				  .last = last };

	call_begin(s, &e);
	if (!s->pieces && !cuts(s, start, last))
		shadow_wrong_locked(s, "asked about a cut that is none");
	e.rc = refusal(s, SHADOW_CUT);
	if (!e.rc) {
		s->was_asked = true;
		s->asked_start = start;
		s->asked_last = last;
	}
	return call_over(s, &e);
}

/* ---- memory ----------------------------------------------------------- */

static void region_insert(struct shadow *s, const struct viommu_region *r)
{
	unsigned i = 0;

	while (i < s->nregions && s->region[i].gpa < r->gpa)
		i++;
	if (!r->host == !r->device)
		shadow_wrong_locked(s, "a region that is nowhere, or twice");
	if ((i &&
	     s->region[i - 1].gpa + (s->region[i - 1].len - 1) >= r->gpa) ||
	    (i < s->nregions && r->gpa + (r->len - 1) >= s->region[i].gpa)) {
		shadow_wrong_locked(s, "a region where there is one");
		return;
	}
	if (s->nregions == SHADOW_REGIONS) {
		shadow_wrong_locked(s, "the shadow has too many regions");
		return;
	}
	memmove(&s->region[i + 1], &s->region[i],
		(s->nregions - i) * sizeof(s->region[0]));
	s->region[i] = *r;
	s->nregions++;
}

/* What stays of region @i, one or two, takes its place. */
static void region_remove(struct shadow *s, unsigned i, uint64_t gpa,
			  uint64_t last)
{
	struct viommu_region r = s->region[i], right = r;
	uint64_t edge = r.gpa + (r.len - 1);

	memmove(&s->region[i], &s->region[i + 1],
		(--s->nregions - i) * sizeof(s->region[0]));
	if (edge > last) {
		right.gpa = last + 1;
		right.len = edge - last;
		if (r.host)
			right.host = (char *)r.host + (right.gpa - r.gpa);
		region_insert(s, &right);
	}
	if (r.gpa < gpa) {
		r.len = gpa - r.gpa;
		region_insert(s, &r);
	}
}

static int on_ram_add(void *arg, const struct viommu_region *r)
{
	struct shadow *s = arg;
	struct shadow_event e = { .what = SHADOW_RAM_ADD,
				  .start = r->gpa,
				  .last = r->gpa + (r->len - 1),
				  .prot = r->prot,
				  .host = r->host };

	call_begin(s, &e);
	if (r->size != sizeof(*r))
		shadow_wrong_locked(s, "a region of another size");
	e.rc = refusal(s, SHADOW_RAM_ADD);
	if (!e.rc)
		region_insert(s, r);
	return call_over(s, &e);
}

static void on_ram_remove(void *arg, viommu_gpa_t gpa, viommu_gpa_t last,
			  struct viommu_fence *f)
{
	struct shadow *s = arg;
	struct shadow_event e = { .what = SHADOW_RAM_REMOVE,
				  .start = gpa,
				  .last = last,
				  .fence = f };
	unsigned i = 0;

	call_begin(s, &e);
	while (i < s->nregions) {
		const struct viommu_region *r = &s->region[i];

		if (r->gpa > last || r->gpa + (r->len - 1) < gpa)
			i++;
		else
			region_remove(s, i, gpa, last);
	}
	if (f && s->holds && s->nholds < SHADOW_HOLDS)
		viommu_notifier_hold(s->notifier, f, &s->hold[s->nholds++]);
	call_over(s, &e);
}

static void on_dirty(void *arg, enum viommu_dirty_event what, viommu_gpa_t gpa,
		     viommu_gpa_t last)
{
	struct shadow_event e = {
		.what = SHADOW_DIRTY, .start = gpa, .last = last, .value = what
	};
	struct shadow *s = arg;

	call_begin(s, &e);
	if (s->logging == (what == VIOMMU_DIRTY_START))
		shadow_wrong_locked(s, "a log that is on, or off, already");
	s->logging = what != VIOMMU_DIRTY_STOP;
	call_over(s, &e);
}

static void on_gone(void *arg, enum viommu_gone why)
{
	struct shadow *s = arg;
	struct shadow_event e = { .what = SHADOW_GONE, .value = why };

	call_begin(s, &e);
	if (s->npieces)
		shadow_wrong_locked(s, "gone, and not emptied before");
	s->over = true;
	call_over(s, &e);
}

/* ---- life ------------------------------------------------------------- */

void shadow_init(struct shadow *s, struct shadow_log *log)
{
	memset(s, 0, sizeof(*s));
	s->log = log;
	s->ops = (struct viommu_notifier_ops){
		.size = sizeof(s->ops),
		.map = on_map,
		.unmap = on_unmap,
		.remap = on_remap,
		.cut = on_cut,
		.ram_add = on_ram_add,
		.ram_remove = on_ram_remove,
		.dirty = on_dirty,
		.gone = on_gone,
	};
	pthread_mutex_init(&s->lock, NULL);
}

void shadow_reset(struct shadow *s)
{
	pthread_mutex_lock(&s->lock);
	s->notifier = NULL;
	s->plan = (struct shadow_plan){ 0 };
	s->wrong = NULL;
	s->over = s->was_asked = s->logging = false;
	s->npieces = s->nregions = 0;
	pthread_mutex_unlock(&s->lock);
}

int shadow_add(struct shadow *s, struct viommu_endpoint *ep,
	       struct viommu_memory *mem)
{
	struct viommu_region r = { .size = sizeof(r) };
	int rc;

	pthread_mutex_lock(&s->lock);
	for (uint64_t at = 0; mem && !viommu_memory_next(mem, at, &r);) {
		region_insert(s, &r);
		at = r.gpa + r.len;
		if (!at)
			break;
	}
	pthread_mutex_unlock(&s->lock);
	rc = viommu_notifier_add(ep, &s->ops, s, &s->notifier);
	pthread_mutex_lock(&s->lock);
	if (rc && s->npieces)
		shadow_wrong_locked(s, "not added, and not emptied");
	pthread_mutex_unlock(&s->lock);
	return rc;
}

void shadow_remove(struct shadow *s, struct viommu_fence *f)
{
	viommu_notifier_remove(s->notifier, f);
	pthread_mutex_lock(&s->lock);
	s->over = true;
	if (s->npieces)
		shadow_wrong_locked(s, "removed, and not emptied");
	pthread_mutex_unlock(&s->lock);
}

void shadow_release(struct shadow *s)
{
	/* the last one may run a done callback that frees what it likes */
	while (s->nholds)
		viommu_notifier_release(&s->hold[--s->nholds]);
}

void shadow_fini(struct shadow *s)
{
	pthread_mutex_destroy(&s->lock);
}

/* ---- comparing -------------------------------------------------------- */

const char *shadow_compare(struct shadow *s, struct viommu_space *space)
{
	const char *what = shadow_broken(s);
	struct viommu_mapping m;
	uint64_t at = 0;
	unsigned i = 0;

	if (what)
		return what;
	while (space && !viommu_space_next(space, at, &m)) {
		const struct viommu_mapping *p = &s->piece[i];

		if (i++ == s->npieces)
			return "the shadow lacks a mapping";
		if (p->start != m.start || p->last != m.last ||
		    p->gpa != m.gpa || p->prot != m.prot)
			return "the shadow has another mapping";
		at = m.last + 1;
		if (!at)
			break;
	}
	return i < s->npieces ? "the shadow has a mapping too many" : NULL;
}

/* The first mapping at or after @at, from there on. */
static bool space_at(struct viommu_space *space, uint64_t at,
		     struct viommu_mapping *m)
{
	if (!space || viommu_space_next(space, at, m))
		return false;
	if (m->start < at) {
		m->gpa += at - m->start;
		m->start = at;
	}
	return true;
}

static bool shadow_at(const struct shadow *s, uint64_t at,
		      struct viommu_mapping *m)
{
	unsigned i = piece_at(s, at);

	if (i == s->npieces)
		return false;
	*m = s->piece[i];
	if (m->start < at) {
		m->gpa += at - m->start;
		m->start = at;
	}
	return true;
}

const char *shadow_compare_pages(struct shadow *s, struct viommu_space *space)
{
	struct viommu_mapping m, p;
	uint64_t at = 0;

	do {
		bool there = space_at(space, at, &m);

		if (there != shadow_at(s, at, &p))
			return there ? "the shadow lacks something"
				     : "the shadow has something too many";
		if (!there)
			break;
		if (m.start != p.start || m.gpa != p.gpa || m.prot != p.prot)
			return "the shadow leads elsewhere";
		at = (m.last < p.last ? m.last : p.last) + 1;
	} while (at);
	return shadow_broken(s);
}

const char *shadow_compare_memory(struct shadow *s, struct viommu_memory *mem)
{
	struct viommu_region m = { .size = sizeof(m) };
	unsigned i = 0;
	uint64_t at = 0;

	while (!viommu_memory_next(mem, at, &m)) {
		const struct viommu_region *r = &s->region[i];

		if (i++ == s->nregions)
			return "the shadow lacks a region";
		if (r->gpa != m.gpa || r->len != m.len || r->host != m.host ||
		    r->prot != m.prot || !r->device != !m.device)
			return "the shadow has another region";
		at = m.gpa + m.len;
		if (!at)
			break;
	}
	return i < s->nregions ? "the shadow has a region too many"
			       : shadow_broken(s);
}
