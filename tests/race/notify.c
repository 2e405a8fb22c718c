/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * notify: the workers change everything that notifiers are told of, while
 * recorders (shadow.h) come and go that now and then refuse; and each worker is
 * a device, too, which goes by a recorder's picture.
 *
 * Now and then all stand still: then each picture is that of what its endpoint
 * sees.  What was taken is poisoned the moment its fence is done, and no device
 * may find it in its shadow then.  A device that has looked a page up is in the
 * way of its unmap: the recorder holds the fence until it has let go. Deadlines
 * pass meanwhile, and the endpoint of who holds is asked, if there still is
 * one.
 *
 * Locks, outermost first, so that no handle dies while it is used: quiet; an
 * endpoint's; a space's; regions; a recorder's.  All but quiet are tried only.
 * A recorder's picture has one of its own, below which is the devices'.
 */
#include "race.h"
#include "shadow.h"

#include "core/endpoint.h"

enum {
	NSPACES = 3,
	NEPS = 3,
	NRECORDERS = 4,
	OWN = 4, /* pages of one worker in a space */
	COMMON = 8,
	FIRST_COMMON = 1 + MAX_WORKERS * OWN, /* pages of nobody's in a space */
	HOLDS = 8,
	ACTS = 300, /* between two looks at all */
};

/* Regions that come and go. */
#define FAR (UINT64_C(1) << 50)

static pthread_rwlock_t quiet;
static _Atomic(unsigned) acts;

static struct room {
	pthread_rwlock_t lock; /* to write: it is destroyed */
	struct viommu_space *space;
	/* each is its worker's, or whose who has the lock to write */
	void *page[MAX_WORKERS][OWN];
} rooms[NSPACES];

/* What an endpoint's expire handler goes by: good until the fence that the
 * endpoint went with is done. */
struct name {
	_Atomic(uint32_t) id;
};

enum {
	NOBODY = NEPS,
	TIMEOUT = 20000, /* ns: deadlines pass all the time */
};

static struct seat {
	pthread_rwlock_t lock; /* to write: it is destroyed */
	struct viommu_endpoint *ep;
	struct name *name;
} seats[NEPS];

static struct recorder {
	struct shadow s;
	pthread_mutex_t lock; /* to add and remove it */
	struct viommu_endpoint *ep;
	bool added;
} recorders[NRECORDERS];

/* To write: a recorder looks what there is. */
static pthread_rwlock_t regions;
static bool region_there[MAX_WORKERS];

static struct shadow_log trace;
static char common[COMMON][PAGE] __attribute__((aligned(PAGE)));
static uint64_t pages_made[MAX_WORKERS + 1];

/* ---- devices ----------------------------------------------------------- */

static struct device {
	struct shadow *by; /* NULL: it has nothing in its hands */
	uint64_t iova;
	unsigned n;
	struct viommu_hold hold[HOLDS];
} devices[MAX_WORKERS];

/* What devices have in their hands, and who waits for them. */
static pthread_mutex_t hands;

static void device_let_go(struct device *d)
{
	pthread_mutex_lock(&hands);
	d->by = NULL;
	pthread_mutex_unlock(&hands);
	while (d->n)
		viommu_notifier_release(&d->hold[--d->n]);
}

/* Is @d in the way, and cannot be waited for by @f? */
static bool device_in_way(struct device *d, struct shadow *s,
			  struct viommu_fence *f)
{
	if (!f || d->n == HOLDS)
		return true;
	viommu_notifier_hold(s->notifier, f, &d->hold[d->n++]);
	return false;
}

/* Who has looked something up in [start, last] holds @f, or is waited for. */
static void went(struct shadow *s, uint64_t start, uint64_t last,
		 struct viommu_fence *f)
{
	bool held[MAX_WORKERS] = { false }, again;

	do {
		again = false;
		pthread_mutex_lock(&hands);
		for (unsigned i = 0; i < nworkers; i++) {
			struct device *d = &devices[i];

			if (held[i] || d->by != s || d->iova < start ||
			    d->iova > last)
				continue;
			held[i] = !device_in_way(d, s, f);
			again = again || !held[i];
		}
		pthread_mutex_unlock(&hands);
		if (again)
			sched_yield();
	} while (again);
}

/* A page that some worker has mapped, or nothing. */
static char *device_look(struct device *d, struct shadow *s, uint64_t iova)
{
	const struct viommu_mapping *m;
	char *page = NULL;

	pthread_mutex_lock(&s->lock);
	m = shadow_find_locked(s, iova);
	if (m && m->last - m->start == PAGE - 1) {
		page = (char *)(uintptr_t)m->gpa;
		pthread_mutex_lock(&hands);
		d->by = s;
		d->iova = iova;
		pthread_mutex_unlock(&hands);
	}
	pthread_mutex_unlock(&s->lock);
	return page;
}

static void device(void)
{
	struct device *d = &devices[me->n];
	unsigned slot = 1 + dice(nworkers * OWN);
	char *page =
		device_look(d, &recorders[dice(NRECORDERS)].s, slot * PAGE);

	if (!page)
		return;
	(void)stamp_check(*(uint64_t *)(void *)page, slot, 0);
	dwell(200);
	((volatile uint64_t *)(void *)(page + 128))[me->n] = me->turns;
	(void)stamp_check(*(uint64_t *)(void *)(page + PAGE - STAMP_BYTES),
			  slot, 0);
	device_let_go(d);
}

/* ---- changes of spaces -------------------------------------------------- */

/* What may become of a change: it is refused, or there is none to be made. */
static bool worked(int64_t rc)
{
	if (rc < 0 && rc != -ENOSPC && rc != -EEXIST && rc != -EOPNOTSUPP)
		broken("a change failed for no reason");
	return rc >= 0;
}

static void commit_and_wait(struct viommu_fence *f)
{
	fence_commit(f, NULL, NULL);
	fence_wait(f);
}

static struct room *room_enter(void)
{
	struct room *r = &rooms[dice(NSPACES)];

	return pthread_rwlock_tryrdlock(&r->lock) ? NULL : r;
}

static void own_map(struct room *r, unsigned slot, void **page)
{
	void *fresh = page_fill(slot, ++pages_made[me->n]);
	struct viommu_mapping m = { .start = slot * PAGE,
				    .last = slot * PAGE + PAGE - 1,
				    .gpa = (uintptr_t)fresh,
				    .prot = RW };
	struct viommu_fence f;
	bool there = *page;

	viommu_fence_init(&f);
	if (!worked(there ? viommu_space_remap(r->space, &m, &f)
			  : viommu_space_map(r->space, &m))) {
		/* nobody has it, and what was there still is */
		commit_and_wait(&f);
		page_poison(fresh);
		return;
	}
	me->did.mapped++;
	me->did.unmapped += there;
	commit_and_wait(&f);
	page_poison(*page);
	*page = fresh;
}

static void own_unmap(struct room *r, unsigned slot, void **page)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	unmap_at(r->space, slot * PAGE, PAGE, &f);
	commit_and_wait(&f);
	page_poison(*page);
	*page = NULL;
}

static void act_own(void)
{
	struct room *r = room_enter();
	unsigned i = dice(OWN);
	void **page;

	if (!r)
		return;
	page = &r->page[me->n][i];
	if (dice(2))
		own_map(r, 1 + me->n * OWN + i, page);
	else
		own_unmap(r, 1 + me->n * OWN + i, page);
	pthread_rwlock_unlock(&r->lock);
}

/* Where everybody changes the same. */
static void common_change(struct viommu_space *s, struct viommu_fence *f)
{
	unsigned first = dice(COMMON), n = 1 + dice(COMMON - first);
	uint64_t start = (FIRST_COMMON + first) * PAGE;
	struct viommu_mapping m = { .start = start,
				    .last = start + n * PAGE - 1,
				    .gpa = (uintptr_t)common[COMMON - n],
				    .prot = RW };
	struct viommu_segment list[2] = {
		{ (uintptr_t)common[1], PAGE },
		{ (uintptr_t)common[0], PAGE },
	};

	switch (dice(4)) {
	case 0:
		me->did.mapped += worked(viommu_space_map(s, &m));
		break;
	case 1:
		me->did.mapped +=
			worked(viommu_space_map_list(s, start, RW, list, 2));
		break;
	case 2:
		me->did.mapped += worked(viommu_space_remap(s, &m, f));
		break;
	default:
		me->did.unmapped +=
			worked(viommu_space_unmap(s, start, m.last, f));
		break;
	}
}

static void act_common(void)
{
	struct room *r = room_enter();
	struct viommu_fence f;

	if (!r)
		return;
	viommu_fence_init(&f);
	common_change(r->space, &f);
	commit_and_wait(&f);
	pthread_rwlock_unlock(&r->lock);
}

static void room_drop(struct room *r)
{
	space_drop(r->space);
	for (unsigned w = 0; w < nworkers; w++)
		for (unsigned i = 0; i < OWN; i++) {
			page_poison(r->page[w][i]);
			r->page[w][i] = NULL;
		}
}

static void act_renew_space(void)
{
	struct room *r = &rooms[dice(NSPACES)];

	if (pthread_rwlock_trywrlock(&r->lock))
		return;
	room_drop(r);
	r->space = space_make(PAGE, VIOMMU_SPACE_SPLIT);
	pthread_rwlock_unlock(&r->lock);
}

/* ---- changes of endpoints ------------------------------------------------ */

static struct seat *seat_enter(void)
{
	struct seat *s = &seats[dice(NEPS)];

	return pthread_rwlock_tryrdlock(&s->lock) ? NULL : s;
}

static void seat_attach(struct viommu_endpoint *ep)
{
	struct room *r = room_enter();
	struct viommu_fence f;

	if (!r)
		return;
	viommu_fence_init(&f);
	me->did.attaches += worked(viommu_endpoint_attach(ep, r->space, &f));
	pthread_rwlock_unlock(&r->lock);
	/* also if it was refused: it may be held */
	commit_and_wait(&f);
}

static void act_attach(void)
{
	struct seat *s = seat_enter();
	struct viommu_fence f;

	if (!s)
		return;
	if (dice(5)) {
		seat_attach(s->ep);
	} else {
		viommu_fence_init(&f);
		viommu_endpoint_detach(s->ep, &f);
		commit_and_wait(&f);
	}
	pthread_rwlock_unlock(&s->lock);
}

/* Who holds a fence is asked, and always wants to wait on. */
static enum viommu_verdict on_expire(void *arg, const struct viommu_expiry *e)
{
	struct name *name = arg;

	if (atomic_load(&name->id) != e->id)
		broken("an endpoint is asked that is gone, or another one");
	return VIOMMU_WAIT_ON;
}

static void seat_make(unsigned id)
{
	struct name *name = malloc(sizeof(*name));
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = id,
					    .pasid = VIOMMU_NO_PASID,
					    .expire = on_expire,
					    .arg = name };

	if (!name)
		must(-ENOMEM, "name");
	atomic_init(&name->id, id);
	must(viommu_endpoint_create(vi, &c, &seats[id].ep), "endpoint");
	seats[id].name = name;
}

static void seat_drop(unsigned id)
{
	endpoint_drop(seats[id].ep);
	atomic_store(&seats[id].name->id, NOBODY);
	free(seats[id].name);
}

static void act_renew_endpoint(void)
{
	unsigned i = dice(NEPS);
	struct seat *s = &seats[i];

	if (pthread_rwlock_trywrlock(&s->lock))
		return;
	seat_drop(i);
	seat_make(i);
	pthread_rwlock_unlock(&s->lock);
}

/* Through the library, beside all that. */
static void act_read(void)
{
	unsigned slot = 1 + dice(nworkers * OWN);
	struct seat *s = seat_enter();
	uint64_t stamp;

	if (!s)
		return;
	if (!accessed(viommu_dma_read(s->ep, slot * PAGE, &stamp, 8)))
		(void)stamp_check(stamp, slot, 0);
	pthread_rwlock_unlock(&s->lock);
}

/* ---- changes of memory --------------------------------------------------- */

static void region_change(bool *there)
{
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = FAR + me->n * PAGE,
				   .len = PAGE,
				   .host = common[me->n],
				   .prot = RW };
	struct viommu_memory *mem = viommu_memory_of(vi);
	struct viommu_fence f;

	if (!*there) {
		*there = worked(viommu_memory_add(mem, &r));
		return;
	}
	viommu_fence_init(&f);
	must(viommu_memory_remove(mem, r.gpa, PAGE, &f), "remove");
	*there = false;
	commit_and_wait(&f);
}

static void act_region(void)
{
	if (pthread_rwlock_tryrdlock(&regions))
		return;
	region_change(&region_there[me->n]);
	pthread_rwlock_unlock(&regions);
}

static void act_log(void)
{
	struct viommu_memory *mem = viommu_memory_of(vi);
	struct viommu_fence f;
	uint64_t bits;
	int64_t rc = -ENOENT;

	viommu_fence_init(&f);
	switch (dice(3)) {
	case 0:
		rc = viommu_memory_dirty_start(mem, UINT64_C(1) << 30, &f);
		break;
	case 1:
		viommu_memory_dirty_stop(mem, &f);
		break;
	default:
		rc = viommu_memory_dirty_fetch(mem, 0, UINT64_C(1) << 30,
					       &bits);
		break;
	}
	if (rc < 0 && rc != -ENOENT && rc != -EBUSY)
		must((int)rc, "log");
	commit_and_wait(&f);
}

/* ---- recorders ------------------------------------------------------------
 */

static void recorder_add(struct recorder *r)
{
	struct seat *s = seat_enter();

	if (!s)
		return;
	if (!pthread_rwlock_trywrlock(&regions)) {
		shadow_reset(&r->s);
		r->ep = s->ep;
		r->added =
			worked(shadow_add(&r->s, s->ep, viommu_memory_of(vi)));
		pthread_rwlock_unlock(&regions);
	}
	pthread_rwlock_unlock(&s->lock);
}

static void recorder_remove(struct recorder *r)
{
	const char *what;
	struct viommu_fence f;

	viommu_fence_init(&f);
	shadow_remove(&r->s, &f);
	r->added = false;
	commit_and_wait(&f);
	what = shadow_broken(&r->s);
	if (what)
		broken(what);
}

static void act_recorder(void)
{
	struct recorder *r = &recorders[dice(NRECORDERS)];

	if (pthread_mutex_trylock(&r->lock))
		return;
	if (r->added)
		recorder_remove(r);
	else
		recorder_add(r);
	pthread_mutex_unlock(&r->lock);
}

/* One refuses something, some time. */
static void act_plan(void)
{
	struct shadow *s = &recorders[dice(NRECORDERS)].s;

	pthread_mutex_lock(&s->lock);
	s->plan = (struct shadow_plan){ .kinds = 1 + dice(~0u >> 8),
					.after = dice(4),
					.times = 1 + dice(2),
					.rc = dice(3) ? -ENOSPC : -EOPNOTSUPP };
	pthread_mutex_unlock(&s->lock);
}

/* ---- all --------------------------------------------------------------------
 */

static void act(void)
{
	switch (dice(24)) {
	case 0:
		act_renew_space();
		break;
	case 1:
		act_renew_endpoint();
		break;
	case 2:
	case 3:
		act_attach();
		break;
	case 4:
	case 5:
	case 6:
		act_recorder();
		break;
	case 7:
		act_plan();
		break;
	case 8:
		act_region();
		break;
	case 9:
		if (!dice(8))
			act_log();
		break;
	case 10:
	case 11:
		act_read();
		break;
	case 12:
	case 13:
	case 14:
	case 15:
		act_own();
		break;
	case 16:
	case 17:
	case 18:
		act_common();
		break;
	default:
		device();
		break;
	}
}

static void notify_work(void)
{
	pthread_rwlock_rdlock(&quiet);
	act();
	pthread_rwlock_unlock(&quiet);
	atomic_fetch_add(&acts, 1);
}

static void recorder_check(struct recorder *r)
{
	const char *what;

	if (!r->added)
		return;
	what = shadow_broken(&r->s);
	if (!what && !r->s.over) {
		what = shadow_compare_pages(&r->s, r->ep->attached);
		if (!what)
			what = shadow_compare_memory(&r->s,
						     viommu_memory_of(vi));
	}
	if (what)
		broken(what);
}

static void notify_step(void)
{
	unsigned from = atomic_load(&acts);

	while (atomic_load(&acts) - from < ACTS)
		sched_yield();
	pthread_rwlock_wrlock(&quiet);
	for (unsigned i = 0; i < NRECORDERS; i++)
		recorder_check(&recorders[i]);
	pthread_rwlock_unlock(&quiet);
}

static void notify_config(struct viommu_config *c)
{
	c->fence_timeout_ns = TIMEOUT;
}

static void notify_open(void)
{
	pthread_rwlockattr_t attr;

	/* who wants them to stand still gets its turn */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(
		&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&quiet, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_rwlock_init(&regions, NULL);
	pthread_mutex_init(&hands, NULL);
	memset(region_there, 0, sizeof(region_there));
	memset(&trace, 0, sizeof(trace));
	for (unsigned i = 0; i < NSPACES; i++) {
		pthread_rwlock_init(&rooms[i].lock, NULL);
		rooms[i].space = space_make(PAGE, VIOMMU_SPACE_SPLIT);
	}
	for (unsigned i = 0; i < NEPS; i++) {
		pthread_rwlock_init(&seats[i].lock, NULL);
		seat_make(i);
	}
	for (unsigned i = 0; i < NRECORDERS; i++) {
		struct shadow *s = &recorders[i].s;

		pthread_mutex_init(&recorders[i].lock, NULL);
		recorders[i].added = false;
		shadow_init(s, &trace);
		s->went = went;
		s->pieces = true;
		/* one in two can do it in one step */
		if (i % 2)
			s->ops.remap = NULL;
	}
}

static void notify_close(void)
{
	for (unsigned i = 0; i < NRECORDERS; i++) {
		recorder_check(&recorders[i]);
		if (recorders[i].added)
			recorder_remove(&recorders[i]);
		shadow_fini(&recorders[i].s);
	}
	for (unsigned i = 0; i < NEPS; i++)
		seat_drop(i);
	for (unsigned i = 0; i < NSPACES; i++)
		room_drop(&rooms[i]);
}

const struct subject subject_notify = {
	.name = "notify",
	.config = notify_config,
	.open = notify_open,
	.step = notify_step,
	.work = notify_work,
	.close = notify_close,
};
