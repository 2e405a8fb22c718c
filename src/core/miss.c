/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See miss.h for what a question goes through.  All records are allocated with
 * the space: asking allocates nothing.
 *
 * Locks: a list of the instance's REMOTE spaces (vi->remote_lock), and one for
 * the questions of each, which is inside the former and inside the space's.
 *
 * Settling goes round by round: under the lock the next few questions are taken
 * off and copied, then the handler is told of the copies without it.  Questions
 * that the handler brings about meanwhile are younger than the first round and
 * left alone, so it comes to an end.
 */
#include "core/miss.h"

#include <errno.h>

#include "core/endpoint.h"
#include "core/fence.h"
#include "core/instance.h"
#include "core/space.h"

enum {
	MAX_MISSES = 1024,
	MISSES_LIMIT = 1 << 20,
	ROUND = 16, /* questions settled at a time */
};
#define TIMEOUT_NS UINT64_C(1000000000)

enum question_state {
	FREE,
	ASKED,
	DENIED, /* answered, with less than m.prot */
};

struct vi_question {
	struct vi_list hash; /* unless FREE */
	struct vi_list list; /* of those in the same state */
	enum question_state state;
	uint64_t serial; /* of its state; never used twice in a space */
	uint64_t deadline;
	struct viommu_miss m;
};

struct vi_misses {
	struct viommu *vi;
	viommu_miss_fn *miss;
	viommu_settled_fn *settled;
	void *arg;
	uint64_t timeout_ns;
	unsigned page_lg2;
	unsigned hash_lg2;
	struct vi_list link; /* VI_GUARDED(vi->remote_lock) */
	uint64_t id;	     /* ascends along the list */
	struct vi_retire retire;

	struct vi_lock lock;
	/* the rest: VI_GUARDED(lock) */
	struct vi_list free;
	struct vi_list asked;  /* by deadline */
	struct vi_list denied; /* oldest first */
	uint32_t used;	       /* records that are not free */
	uint64_t serial;       /* grows with each question, and each denial */
	uint64_t users;	       /* who are in a handler, or on their way */
	struct viommu_fence *fence; /* destroyed; held while there are users */
	struct vi_list *hash;
	struct vi_question question[];
};

/* ---- records ---------------------------------------------------------- */

static struct vi_list *bucket_locked(struct vi_misses *ms, uint64_t start)
	VI_REQUIRES(&ms->lock)
{
	uint64_t h = (start >> ms->page_lg2) * UINT64_C(0x9e3779b97f4a7c15);

	return &ms->hash[h >> (64 - ms->hash_lg2)];
}

static struct vi_question *question_find_locked(struct vi_misses *ms,
						uint64_t start)
	VI_REQUIRES(&ms->lock)
{
	struct vi_list *head = bucket_locked(ms, start), *l;

	vi_list_for_each (l, head) {
		struct vi_question *q = vi_list_of(l, struct vi_question, hash);

		if (q->m.start == start)
			return q;
	}
	return NULL;
}

static void question_free_locked(struct vi_misses *ms, struct vi_question *q)
	VI_REQUIRES(&ms->lock)
{
	ms->used--;
	q->state = FREE;
	vi_list_remove(&q->hash);
	vi_list_remove(&q->list);
	vi_list_add_tail(&ms->free, &q->list);
}

static void question_deny_locked(struct vi_misses *ms, struct vi_question *q)
	VI_REQUIRES(&ms->lock)
{
	q->state = DENIED;
	q->serial = ms->serial++;
	q->deadline = UINT64_MAX;
	vi_list_remove(&q->list);
	vi_list_add_tail(&ms->denied, &q->list);
}

/* A free record, if need be instead of the oldest denial; NULL if none. */
static struct vi_question *question_take_locked(struct vi_misses *ms)
	VI_REQUIRES(&ms->lock)
{
	if (vi_list_empty(&ms->free) && !vi_list_empty(&ms->denied))
		question_free_locked(ms, vi_list_of(ms->denied.next,
						    struct vi_question, list));
	if (vi_list_empty(&ms->free))
		return NULL;
	return vi_list_of(ms->free.next, struct vi_question, list);
}

static void question_ask_locked(struct vi_misses *ms, struct vi_question *q,
				const struct viommu_miss *m, uint64_t now)
	VI_REQUIRES(&ms->lock)
{
	struct vi_list *after = ms->asked.prev;

	q->m = *m;
	q->state = ASKED;
	q->serial = ms->serial++;
	q->deadline = now + ms->timeout_ns;
	if (q->deadline < now)
		q->deadline = UINT64_MAX;
	ms->used++;
	vi_list_remove(&q->list);
	vi_list_add_tail(bucket_locked(ms, m->start), &q->hash);
	/* the clock was read before the lock was taken: nearly the last one */
	while (after != &ms->asked &&
	       vi_list_of(after, struct vi_question, list)->deadline >
		       q->deadline)
		after = after->prev;
	vi_list_add_tail(after->next, &q->list);
}

/* ---- life ------------------------------------------------------------- */

static void misses_free(struct vi_retire *retire)
{
	struct vi_misses *ms = vi_list_of(retire, struct vi_misses, retire);

	vi_lock_fini(&ms->lock);
	vi_free(&ms->vi->env, ms->hash);
	vi_free(&ms->vi->env, ms);
}

static int misses_alloc(struct viommu *vi, uint32_t n, struct vi_misses **out)
{
	unsigned lg2 = 1;
	struct vi_misses *ms;

	while (lg2 < 20 && (UINT32_C(1) << lg2) < n)
		lg2++;
	ms = vi_alloc(&vi->env, sizeof(*ms) + n * sizeof(ms->question[0]),
		      _Alignof(struct vi_misses));
	if (!ms)
		return -ENOMEM;
	ms->hash = vi_alloc(&vi->env, sizeof(*ms->hash) << lg2,
			    _Alignof(struct vi_list));
	if (!ms->hash) {
		vi_free(&vi->env, ms);
		return -ENOMEM;
	}
	ms->vi = vi;
	ms->hash_lg2 = lg2;
	ms->retire.free = misses_free;
	vi_lock_init(&ms->lock);
	vi_list_init(&ms->free);
	vi_list_init(&ms->asked);
	vi_list_init(&ms->denied);
	for (uint32_t i = 0; i < UINT32_C(1) << lg2; i++)
		vi_list_init(&ms->hash[i]);
	for (uint32_t i = 0; i < n; i++) {
		vi_list_init(&ms->question[i].hash);
		vi_list_add_tail(&ms->free, &ms->question[i].list);
	}
	*out = ms;
	return 0;
}

int vi_miss_create(struct viommu_space *s,
		   const struct viommu_space_config *cfg)
{
	struct viommu *vi = s->vi;
	struct vi_misses *ms;
	int rc;

	if (!cfg->miss || cfg->max_misses > MISSES_LIMIT)
		return -EINVAL;
	rc = misses_alloc(vi, cfg->max_misses ? cfg->max_misses : MAX_MISSES,
			  &ms);
	if (rc)
		return rc;
	ms->miss = cfg->miss;
	ms->settled = cfg->settled;
	ms->arg = cfg->arg;
	ms->timeout_ns =
		cfg->miss_timeout_ns ? cfg->miss_timeout_ns : TIMEOUT_NS;
	ms->page_lg2 = s->table.granule_lg2;
	s->misses = ms;
	vi_lock(&vi->remote_lock);
	ms->id = 1;
	if (!vi_list_empty(&vi->remotes))
		ms->id += vi_list_of(vi->remotes.prev, struct vi_misses, link)
				  ->id;
	vi_list_add_tail(&vi->remotes, &ms->link);
	vi_unlock(&vi->remote_lock);
	return 0;
}

/* One user less, and perhaps the fence that frees @ms. */
static void misses_put(struct vi_misses *ms)
{
	struct viommu_fence *f = NULL;

	vi_lock(&ms->lock);
	if (!--ms->users)
		f = ms->fence;
	vi_unlock(&ms->lock);
	if (f)
		viommu_fence_release(f);
}

/* ---- settling --------------------------------------------------------- */

/* What is settled, and how. */
struct settling {
	struct vi_misses *ms;
	struct viommu_space *s; /* answered: its table tells what is denied */
	uint64_t start, last;
	uint64_t serial;   /* only older ones */
	uint64_t deadline; /* only those due by then */
	int rc;
};

/* What the page of @m may be used for; 0: not mapped.  A lock or a pin keeps
 * the table's pages where they are. */
static uint32_t page_prot(const struct viommu_space *s,
			  const struct viommu_miss *m)
{
	unsigned lg2;

	return vi_leaf_prot(vi_radix_find(&s->table, m->start, &lg2));
}

static bool question_meant(const struct settling *how,
			   const struct vi_question *q)
{
	return vi_overlap(how->start, how->last, q->m.start, q->m.last) &&
	       q->serial < how->serial && q->deadline <= how->deadline;
}

/* Take @q off; true with a copy in @m if somebody is to be told. */
static bool question_settle_locked(const struct settling *how,
				   struct vi_question *q, struct viommu_miss *m)
	VI_REQUIRES(&how->ms->lock)
{
	uint32_t has = how->s ? page_prot(how->s, &q->m) : 0;
	bool tell = q->state == ASKED;

	*m = q->m;
	if (tell && has && (q->m.prot & ~has))
		question_deny_locked(how->ms, q);
	else
		question_free_locked(how->ms, q);
	return tell;
}

/* One list of open questions or of denials, up to ROUND of the former. */
static unsigned settle_list_locked(const struct settling *how,
				   struct vi_list *head, struct viommu_miss *m)
	VI_REQUIRES(&how->ms->lock)
{
	struct vi_list *l, *next;
	unsigned n = 0;

	for (l = head->next; l != head && n < ROUND; l = next) {
		struct vi_question *q = vi_list_of(l, struct vi_question, list);

		next = l->next;
		if (question_meant(how, q) &&
		    question_settle_locked(how, q, &m[n]))
			n++;
	}
	return n;
}

/* A range of fewer pages than there are records: page by page. */
static unsigned settle_pages_locked(struct settling *how, struct viommu_miss *m)
	VI_REQUIRES(&how->ms->lock)
{
	uint64_t mask = vi_mask(how->ms->page_lg2);
	unsigned n = 0;

	while (n < ROUND) {
		struct vi_question *q =
			question_find_locked(how->ms, how->start & ~mask);

		if (q && question_meant(how, q) &&
		    question_settle_locked(how, q, &m[n]))
			n++;
		if ((how->start | mask) >= how->last)
			break;
		how->start = (how->start | mask) + 1;
	}
	return n;
}

/* As many as fit into @m; fewer than ROUND: that was it. */
static unsigned settle_round_locked(struct settling *how, struct viommu_miss *m)
	VI_REQUIRES(&how->ms->lock)
{
	struct vi_misses *ms = how->ms;

	if (how->serial == UINT64_MAX)
		how->serial = ms->serial;
	if ((how->last - how->start) >> ms->page_lg2 < ms->used)
		return settle_pages_locked(how, m);
	settle_list_locked(how, &ms->denied, m);
	return settle_list_locked(how, &ms->asked, m);
}

/* An answer's denials are read off the table: its lock is outside of ours. */
static unsigned settle_round(struct settling *how,
			     struct viommu_miss *m) VI_NO_ANALYSIS
{
	unsigned n;

	if (how->s)
		vi_lock(&how->s->lock);
	vi_lock(&how->ms->lock);
	n = settle_round_locked(how, m);
	vi_unlock(&how->ms->lock);
	if (how->s)
		vi_unlock(&how->s->lock);
	return n;
}

/* The caller is a user of @how->ms. */
static void settle(struct settling *how)
{
	struct vi_misses *ms = how->ms;
	struct viommu_miss m[ROUND];
	unsigned n;

	how->serial = UINT64_MAX;
	do {
		n = settle_round(how, m);
		for (unsigned i = 0; ms->settled && i < n; i++)
			ms->settled(ms->arg, &m[i], how->rc);
	} while (n == ROUND);
}

/* Is there anything?  Then be a user of @ms. */
static bool misses_get(struct vi_misses *ms)
{
	bool any;

	if (!ms)
		return false;
	vi_lock(&ms->lock);
	any = ms->used;
	ms->users += any;
	vi_unlock(&ms->lock);
	return any;
}

void vi_miss_answer(struct viommu_space *s, uint64_t start, uint64_t last)
{
	struct settling how = { .ms = s->misses,
				.s = s,
				.start = start,
				.last = last,
				.deadline = UINT64_MAX };

	if (!misses_get(s->misses))
		return;
	settle(&how);
	misses_put(how.ms);
}

void vi_miss_cancel(struct viommu_space *s, uint64_t start, uint64_t last)
{
	struct settling how = { .ms = s->misses,
				.start = start,
				.last = last,
				.deadline = UINT64_MAX,
				.rc = -ECANCELED };

	if (!misses_get(s->misses))
		return;
	settle(&how);
	misses_put(how.ms);
}

void vi_miss_destroy(struct viommu_space *s, struct viommu_fence *f)
{
	struct settling how = { .ms = s->misses,
				.last = UINT64_MAX,
				.deadline = UINT64_MAX,
				.rc = -ECANCELED };
	struct viommu *vi = s->vi;

	if (!how.ms)
		return;
	vi_fence_gather(f, vi,
			&(struct vi_extent){ .space = s, .last = UINT64_MAX });
	viommu_fence_hold(f);
	vi_lock(&vi->remote_lock);
	vi_list_remove(&how.ms->link);
	vi_unlock(&vi->remote_lock);
	vi_lock(&how.ms->lock);
	how.ms->fence = f;
	how.ms->users++;
	vi_unlock(&how.ms->lock);
	settle(&how);
	how.ms->retire.next = NULL;
	vi_fence_retire(f, &how.ms->retire);
	misses_put(how.ms);
}

/* ---- asking ----------------------------------------------------------- */

static int begin_locked(struct vi_ask *ask, struct vi_misses *ms,
			const struct viommu_space *s, uint64_t now)
	VI_REQUIRES(&ms->lock)
{
	uint32_t has = page_prot(s, &ask->m);
	struct vi_question *q;

	if (ms->fence || (has && !(ask->m.prot & ~has)))
		return 0;
	q = question_find_locked(ms, ask->m.start);
	if (q && q->state == ASKED)
		return -EINPROGRESS;
	if (q && has && !(ask->m.prot & ~q->m.prot))
		return -EACCES;
	if (q)
		question_free_locked(ms, q);
	q = question_take_locked(ms);
	if (!q)
		return -EAGAIN;
	question_ask_locked(ms, q, &ask->m, now);
	ms->users++;
	ask->misses = ms;
	ask->question = q;
	ask->serial = q->serial;
	return -EINPROGRESS;
}

int vi_miss_begin(struct vi_ask *ask, struct viommu_endpoint *ep,
		  struct viommu_space *s, uint64_t iova, uint32_t prot)
{
	uint64_t mask = vi_mask(s->table.granule_lg2);
	uint64_t now = vi_clock(&s->vi->env);
	struct vi_misses *ms = s->misses;
	int rc;

	*ask = (struct vi_ask){ .m = { .start = iova & ~mask,
				       .last = iova | mask,
				       .prot = prot,
				       .id = ep->id,
				       .pasid = ep->pasid } };
	if (ask->m.start < s->start || ask->m.last > s->last)
		return -EFAULT;
	vi_lock(&ms->lock);
	rc = begin_locked(ask, ms, s, now);
	vi_unlock(&ms->lock);
	if (ask->misses) {
		atomic_fetch_add_explicit(&s->nmisses, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&s->vi->misses, 1,
					  memory_order_relaxed);
	}
	return rc;
}

/* Is it not over yet?  It may be at any time: cancelled, say. */
static bool ask_pending(const struct vi_ask *ask)
{
	struct vi_question *q = ask->question;
	bool pending;

	vi_lock(&ask->misses->lock);
	pending = q->state == ASKED && q->serial == ask->serial;
	vi_unlock(&ask->misses->lock);
	return pending;
}

int vi_miss_ask(struct vi_ask *ask)
{
	struct vi_misses *ms = ask->misses;
	bool pending;

	if (!ms)
		return -EINPROGRESS;
	if (ask_pending(ask))
		ms->miss(ms->arg, &ask->m);
	pending = ask_pending(ask);
	misses_put(ms);
	return pending ? -EINPROGRESS : 0;
}

/* ---- deadlines -------------------------------------------------------- */

static uint64_t misses_deadline(struct vi_misses *ms)
{
	uint64_t deadline = UINT64_MAX;

	vi_lock(&ms->lock);
	if (!vi_list_empty(&ms->asked))
		deadline = vi_list_of(ms->asked.next, struct vi_question, list)
				   ->deadline;
	vi_unlock(&ms->lock);
	return deadline;
}

uint64_t vi_miss_next_deadline(struct viommu *vi)
{
	uint64_t deadline = UINT64_MAX;
	struct vi_list *l;

	vi_lock(&vi->remote_lock);
	vi_list_for_each (l, &vi->remotes)
		deadline = vi_min(
			deadline,
			misses_deadline(vi_list_of(l, struct vi_misses, link)));
	vi_unlock(&vi->remote_lock);
	return deadline;
}

/* The next space after number @id that has a question due @now, and be its
 * user; NULL if none. */
static struct vi_misses *misses_due(struct viommu *vi, uint64_t id,
				    uint64_t now)
{
	struct vi_misses *due = NULL;
	struct vi_list *l;

	vi_lock(&vi->remote_lock);
	vi_list_for_each (l, &vi->remotes) {
		struct vi_misses *ms = vi_list_of(l, struct vi_misses, link);

		if (ms->id <= id || misses_deadline(ms) > now)
			continue;
		if (misses_get(ms)) {
			due = ms;
			break;
		}
	}
	vi_unlock(&vi->remote_lock);
	return due;
}

void vi_miss_poll(struct viommu *vi, uint64_t now)
{
	struct settling how = { .last = UINT64_MAX,
				.deadline = now,
				.rc = -ETIMEDOUT };
	uint64_t id = 0;

	while ((how.ms = misses_due(vi, id, now))) {
		id = how.ms->id;
		settle(&how);
		misses_put(how.ms);
	}
}
