/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * linear: every thread writes entries of one LINEAR space, and does DMA to all
 * of them.
 *
 * Some entries are one thread's own: what it put there last must be there, and
 * what it took is gone (L2).  Some are everybody's, where maps, remaps and
 * unmaps of one page or two meet: a page that a thread put there may be
 * replaced by another thread's at any moment, but it is gone, whoever replaced
 * it, when a fence is done that the thread took the entry with afterwards.
 *
 * The control thread lets a recorder come and go meanwhile, and looks now and
 * then, with the writers kept out, whether its picture is the space.
 */
#include "race.h"

#include "shadow.h"

enum {
	OWN = 4,      /* entries of a thread */
	SHARED = 4,   /* of all, in a row */
	STRIDE = 129, /* between a thread's own: other stripes */
	TAKEN = 8,
	THREADS = MAX_WORKERS + 1,
	SHARED_AT = 62, /* of two stripes */
	OWN_AT = SHARED_AT + SHARED,
	PAGES = (OWN_AT + THREADS * OWN) * STRIDE,
	WATCHED = 64, /* steps of the control thread with a recorder, or none */
};

static struct viommu_space *space;
static struct viommu_endpoint *ep;
static struct own {
	void *page; /* or NULL */
	uint64_t n;
	_Atomic(uint64_t) committed;
} own[THREADS][OWN];
static struct taken taken[THREADS][TAKEN];
static _Atomic(struct held *) parked;
static struct shadow shadow;
static unsigned steps;
/* who writes entries; who looks at all of them */
static pthread_rwlock_t still = PTHREAD_RWLOCK_INITIALIZER;

static unsigned slot_of_own(unsigned thread, unsigned i)
{
	return OWN_AT + thread * OWN + i;
}

static struct spot spot_of_own(unsigned thread, unsigned i)
{
	unsigned slot = slot_of_own(thread, i);

	return (struct spot){ .ep = ep,
			      .iova = (uint64_t)slot * STRIDE * PAGE,
			      .slot = slot,
			      .committed = &own[thread][i].committed };
}

static struct spot spot_of_shared(unsigned i)
{
	return (struct spot){ .ep = ep,
			      .iova = (uint64_t)(SHARED_AT + i) * PAGE,
			      .slot = SHARED_AT + i };
}

/* ---- one's own -------------------------------------------------------- */

static void own_put(struct own *o, const struct spot *s, struct taken *t,
		    void *page)
{
	struct viommu_mapping m = { .start = s->iova,
				    .last = s->iova + PAGE - 1,
				    .gpa = (uintptr_t)page,
				    .prot = RW };
	void *old = o->page;

	pthread_rwlock_rdlock(&still);
	if (!page)
		unmap_at(space, s->iova, PAGE, &t->f);
	else if (old || dice(2))
		must(viommu_space_remap(space, &m, &t->f), "remap");
	else
		must(viommu_space_map(space, &m), "map");
	pthread_rwlock_unlock(&still);
	o->page = page;
	me->did.mapped += !!page;
	me->did.unmapped += !!old;
	taken_commit(t, old);
	atomic_store(&o->committed, o->n);
}

static void own_change(void)
{
	unsigned i = dice(OWN);
	struct own *o = &own[me->n][i];
	struct spot s = spot_of_own(me->n, i);
	struct taken *t = taken_open(taken[me->n], TAKEN);

	if (!t)
		return;
	if (dice(4)) {
		o->n++;
		own_put(o, &s, t, page_fill(s.slot, o->n));
		must_be_there(&s);
	} else {
		own_put(o, &s, t, NULL);
		must_be_gone(&s);
	}
}

/* ---- everybody's ------------------------------------------------------ */

/* Put pages there: -EEXIST if it is a map, and some entry is not free. */
static int shared_put(const struct spot *s, void *const *pages, unsigned n)
{
	struct viommu_segment list[2];
	struct viommu_mapping m = { .start = s->iova,
				    .last = s->iova + PAGE - 1,
				    .gpa = (uintptr_t)pages[0],
				    .prot = RW };
	struct viommu_fence f;

	for (unsigned i = 0; i < n; i++)
		list[i] = (struct viommu_segment){ (uintptr_t)pages[i], PAGE };
	if (n > 1 || dice(2))
		return viommu_space_map_list(space, s->iova, RW, list, n);
	/* whoever put there what this replaces takes care of it */
	viommu_fence_init(&f);
	must(viommu_space_remap(space, &m, &f), "remap");
	fence_commit(&f, NULL, NULL);
	while (!viommu_fence_done(&f)) {
		held_drop(atomic_exchange(&parked, NULL));
		sched_yield();
	}
	return 0;
}

/* Take all of it twice: a hole is waited for, too. */
static void shared_take(const struct spot *s, void *const *pages, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct taken *t;

		while (!(t = taken_open(taken[me->n], TAKEN))) {
			held_drop(atomic_exchange(&parked, NULL));
			sched_yield();
		}
		pthread_rwlock_rdlock(&still);
		if (viommu_space_unmap(space, s->iova, s->iova + n * PAGE - 1,
				       &t->f) < 0)
			broken("unmap failed");
		pthread_rwlock_unlock(&still);
		me->did.unmapped++;
		taken_commit(t, pages[i]);
	}
}

static void shared_change(void)
{
	unsigned n = 1 + dice(2), first = dice(SHARED + 1 - n);
	struct spot s = spot_of_shared(first);
	void *pages[2] = { NULL, NULL };
	int rc;

	for (unsigned i = 0; i < n; i++)
		pages[i] = page_fill(s.slot + i, 0);
	pthread_rwlock_rdlock(&still);
	rc = shared_put(&s, pages, n);
	pthread_rwlock_unlock(&still);
	if (rc) {
		if (rc != -EEXIST)
			must(rc, "map");
		for (unsigned i = 0; i < n; i++)
			page_poison(pages[i]);
		return;
	}
	me->did.mapped += n;
	way_any(&s);
	shared_take(&s, pages, n);
}

/* ---- the subject ------------------------------------------------------ */

static void any_access(void)
{
	struct spot s = dice(2) ? spot_of_shared(dice(SHARED))
				: spot_of_own(dice(nworkers + 1), dice(OWN));
	int rc;

	switch (dice(16)) {
	case 0:
		held_drop(atomic_exchange(&parked, hold(&s, 1, &rc)));
		break;
	case 1:
		held_drop(atomic_exchange(&parked, NULL));
		break;
	default:
		way_any(&s);
	}
}

static void linear_work(void)
{
	switch (dice(8)) {
	case 0:
		own_change();
		break;
	case 1:
		shared_change();
		break;
	default:
		any_access();
	}
}

static void linear_drain(void)
{
	held_drop(atomic_exchange(&parked, NULL));
}

static void shadow_look(void)
{
	const char *what;

	pthread_rwlock_wrlock(&still);
	what = shadow_broken(&shadow);
	if (!what)
		what = shadow_compare(&shadow, space);
	pthread_rwlock_unlock(&still);
	if (what)
		broken(what);
}

/* Meanwhile the others write. */
static void shadow_come_or_go(void)
{
	struct viommu_fence f;

	if (!shadow.notifier) {
		shadow_reset(&shadow);
		must(shadow_add(&shadow, ep, viommu_memory_of(vi)), "notifier");
		shadow_look();
		return;
	}
	shadow_look();
	viommu_fence_init(&f);
	shadow_remove(&shadow, &f);
	fence_commit(&f, NULL, NULL);
	while (!viommu_fence_done(&f))
		linear_work();
	shadow.notifier = NULL;
	if (shadow_broken(&shadow))
		broken(shadow_broken(&shadow));
}

static void linear_step(void)
{
	linear_work();
	if (!(++steps % WATCHED))
		shadow_come_or_go();
}

static void linear_open(void)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .kind = VIOMMU_SPACE_LINEAR,
					 .last = (uint64_t)PAGES * PAGE - 1,
					 .page_sizes = PAGE };

	must(viommu_space_create(vi, &c, &space), "space");
	ep = endpoint_make(1, space);
	memset(own, 0, sizeof(own));
	steps = 0;
	shadow_init(&shadow, NULL);
}

/* What it counted is what is there. */
static void must_count(void)
{
	struct viommu_space_stats st;
	struct viommu_mapping m;
	uint64_t n = 0;

	for (uint64_t at = 0; !viommu_space_next(space, at, &m);
	     at = m.last + 1)
		n++;
	viommu_space_read_stats(space, &st);
	if (st.mappings != n || st.bytes != n * PAGE)
		broken("a writer was not counted");
}

static void linear_close(void)
{
	struct viommu_fence f;

	must_count();
	if (shadow.notifier)
		shadow_come_or_go();
	shadow_fini(&shadow);
	endpoint_drop(ep);
	viommu_fence_init(&f);
	viommu_space_destroy(space, &f);
	fence_commit(&f, NULL, NULL);
	fence_wait(&f);
	for (unsigned i = 0; i < THREADS; i++) {
		taken_all_done(taken[i], TAKEN);
		for (unsigned j = 0; j < OWN; j++)
			page_poison(own[i][j].page);
	}
}

const struct subject subject_linear = {
	.name = "linear",
	.open = linear_open,
	.step = linear_step,
	.work = linear_work,
	.drain = linear_drain,
	.close = linear_close,
};
