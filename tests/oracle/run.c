/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Carry out a stream on the library and on the model, and compare: what each
 * call returns, what each access reads, writes or is refused, what each map
 * points to, and after every operation which fences are done.
 *
 * A fence must be pending while a map is held that overlaps what it gathered
 * and is older than that; it must be done when no map is held that overlaps
 * and is older than its commit.  In between it may be either.
 *
 * Memory that was taken away is freed by its fence, and fences are storage of
 * their own, so that a sanitizer sees who touches them too late.
 */
#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "run.h"

struct stream_seen stream_seen;
static char why[256];

/* The first thing that is wrong is what is wrong. */
void wrong(const char *fmt, ...)
{
	va_list ap;

	if (why[0])
		return;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
}

static void on_fault(void *arg, const struct viommu_fault *fault)
{
	struct run *r = arg;

	r->nfaults++;
	r->fault = *fault;
}

void compare_rc(const char *what, errors possible, int64_t rc)
{
	if (!errors_allow(possible, rc))
		wrong("%s: %lld was not to be expected", what, (long long)rc);
}

/* --------------------------------------------------------------- fences */

uint64_t fence_may;
static uint64_t fence_must;

static void on_done(struct viommu_fence *f, void *arg)
{
	struct fence *fence = arg;

	if (fence->done || fence->f != f)
		wrong("a fence is done twice");
	fence->done = true;
	for (unsigned i = 0; i < REGIONS; i++) {
		free(fence->frees[i]);
		fence->frees[i] = NULL;
	}
}

/* An open fence to gather into, or NULL: its slot's is pending. */
struct fence *fence_open(struct run *r, unsigned slot)
{
	struct fence *f = &r->fence[slot % FENCES];

	if (f->committed)
		return NULL;
	if (!f->f) {
		*f = (struct fence){ .f = malloc(sizeof(*f->f)) };
		if (!f->f)
			abort();
		viommu_fence_init(f->f);
	}
	/* no more room to remember */
	return f->n == EXTENTS ? NULL : f;
}

void fence_took(struct run *r, struct fence *f, struct extent x)
{
	x.when = r->serial;
	f->extent[f->n++] = x;
}

static bool meet(struct range a, struct range b)
{
	return a.start <= b.last && b.start <= a.last;
}

static bool overlaps(const struct extent *x, const struct hold *h, bool wide)
{
	switch (x->of) {
	case OF_SPACE:
		return (x->space == h->space ||
			(wide && (x->all || h->burst))) &&
		       meet(x->r, h->iova);
	case OF_ENDPOINT:
		return x->ep == h->ep &&
		       (!x->space || wide || x->space == h->space);
	default:
		return meet(x->r, h->gpa);
	}
}

static void fence_commit(struct run *r, unsigned slot)
{
	struct fence *f = &r->fence[slot % FENCES];

	if (!f->f || f->committed)
		return;
	for (unsigned i = 0; i < USERS; i++) {
		const struct hold *h = &r->hold[i];

		for (unsigned j = 0; h->used && j < f->n; j++) {
			if (overlaps(&f->extent[j], h, true))
				f->may |= UINT64_C(1) << i;
			if (overlaps(&f->extent[j], h, false) && !h->moved &&
			    h->when < f->extent[j].when)
				f->must |= UINT64_C(1) << i;
		}
		if (h->used && f->n > PRECISE)
			f->may |= UINT64_C(1) << i;
	}
	f->committed = true;
	fence_must = f->must;
	fence_may = f->may;
	viommu_fence_commit(f->f, on_done, f);
	for (unsigned i = 0; i < HOLDS; i++)
		if (r->hold[i].used && r->hold[i].d->revoke &&
		    (fence_must & UINT64_C(1) << i) && !r->hold[i].asked)
			wrong("fence %u waits for map %u, which was not asked",
			      slot % FENCES, i);
	fence_may = 0;
	stream_seen.fences++;
	stream_seen.waited += !f->done;
}

static void fences_compare(struct run *r)
{
	for (unsigned i = 0; i < FENCES; i++) {
		struct fence *f = &r->fence[i];

		if (!f->committed)
			continue;
		if (f->done != viommu_fence_done(f->f))
			wrong("fence %u: done and callback disagree", i);
		if (f->done && f->must)
			wrong("fence %u is done, and a map is held", i);
		if (!f->done && !f->may)
			wrong("fence %u is pending for no map", i);
		if (!f->done)
			continue;
		free(f->f);
		*f = (struct fence){ 0 };
	}
}

/* ---------------------------------------------------------------- world */

void region_add(struct run *r, unsigned i)
{
	struct model_region *g = &r->m.region[i];
	struct viommu_region c = { .size = sizeof(c),
				   .gpa = g->gpa.start,
				   .len = g->gpa.last - g->gpa.start + 1,
				   .prot = g->prot,
				   .fd = -1 };
	/* as aligned as its GPA is */
	uint64_t slack = g->gpa.start % 64;

	r->bytes[i] = aligned_alloc(64, (slack + c.len + 63) & ~UINT64_C(63));
	g->bytes = malloc(c.len);
	if (!r->bytes[i] || !g->bytes)
		abort();
	c.host = r->bytes[i] + slack;
	/* some primes, so that what is misplaced differs */
	for (uint64_t j = 0; j < c.len && j < PATTERN; j++)
		g->bytes[j] = (uint8_t)(j * 7 + j / 251 + i * 31 + 1);
	for (uint64_t j = PATTERN; j < c.len; j += PATTERN)
		memcpy(g->bytes + j, g->bytes,
		       c.len - j < PATTERN ? c.len - j : PATTERN);
	memcpy(c.host, g->bytes, c.len);
	g->birth = ++r->births;
	compare_rc("viommu_memory_add", 0,
		   viommu_memory_add(viommu_memory_of(r->vi), &c));
}

uint8_t *region_host(const struct run *r, unsigned i)
{
	return r->bytes[i] + r->m.region[i].gpa.start % 64;
}

static unsigned question_find(const struct run *r, uint64_t page)
{
	unsigned i = 0;

	while (i < r->q.n && r->q.page[i] != page)
		i++;
	return i;
}

static void on_miss(void *arg, const struct viommu_miss *miss)
{
	struct run *r = arg;

	if (miss->last - miss->start != r->m.l.granule - 1 ||
	    (miss->start & (r->m.l.granule - 1)))
		wrong("a question about no page");
	if (question_find(r, miss->start) < r->q.n)
		wrong("a page is asked for twice");
	stream_seen.questions++;
	if (r->q.n < ASKED_MAX)
		r->q.page[r->q.n++] = miss->start;
}

static void on_settled(void *arg, const struct viommu_miss *miss, int rc)
{
	struct run *r = arg;
	unsigned i = question_find(r, miss->start);

	if (i == r->q.n) {
		wrong("a question is settled that was not asked");
		return;
	}
	if (rc != r->q.rc || miss->start > r->q.about.last ||
	    miss->last < r->q.about.start)
		wrong("a question is settled by something else (%d)", rc);
	r->q.page[i] = r->q.page[--r->q.n];
}

/* What the next call answers, or takes back. */
void questions_expect(struct run *r, unsigned space, struct range about, int rc)
{
	r->q.about =
		space == SPACE_REMOTE ? about : (struct range){ UINT64_MAX, 0 };
	r->q.rc = rc;
}

/* And it did so, to all of them. */
void questions_compare(const struct run *r)
{
	for (unsigned i = 0; i < r->q.n; i++)
		if (r->q.page[i] >= r->q.about.start &&
		    r->q.page[i] <= r->q.about.last)
			wrong("a question is open that should be settled");
}

void space_make(struct run *r, unsigned i)
{
	const struct model_space *s = &r->m.space[i];
	struct viommu_space_config c = { .size = sizeof(c),
					 .kind = s->kind,
					 .policy = s->policy,
					 .start = s->aperture.start,
					 .last = s->aperture.last };

	for (unsigned j = 0; j < PAGE_SIZES; j++)
		c.page_sizes |= r->m.l.sizes[j];
	if (s->kind == VIOMMU_SPACE_REMOTE) {
		c.max_misses = OPS_MAX;
		c.miss = on_miss;
		c.settled = on_settled;
		c.arg = r;
	}
	compare_rc("viommu_space_create", 0,
		   viommu_space_create(r->vi, &c, &r->space[i]));
}

/* Whatever it allocates it frees. */
static void *count_alloc(void *arg, size_t size, size_t align)
{
	struct run *r = arg;
	void *p = NULL;

	if (align < sizeof(void *))
		align = sizeof(void *);
	if (posix_memalign(&p, align, size))
		abort();
	r->allocated++;
	return p;
}

static void count_free(void *arg, void *p)
{
	struct run *r = arg;

	r->allocated -= p != NULL;
	free(p);
}

static void world_make(struct run *r, const struct setup *setup)
{
	const struct viommu_env env = { .size = sizeof(env),
					.arg = r,
					.alloc = count_alloc,
					.free = count_free };
	const struct viommu_config small = { .size = sizeof(small),
					     .env = &env,
					     .max_threads = 2 };

	model_init(&r->m, setup);
	r->births = SPACES;
	compare_rc("viommu_create", 0, viommu_create(&small, &r->vi));
	for (unsigned i = 0; i < REGIONS; i++)
		region_add(r, i);
	for (unsigned i = 0; i < SPACES; i++)
		space_make(r, i);
	for (unsigned i = 0; i < ENDPOINTS; i++) {
		struct viommu_endpoint_config c = { .size = sizeof(c),
						    .id = i,
						    .pasid = VIOMMU_NO_PASID,
						    .fault = on_fault,
						    .arg = r };

		compare_rc("viommu_endpoint_create", 0,
			   viommu_endpoint_create(r->vi, &c, &r->ep[i]));
	}
	compare_rc("viommu_endpoint_reserve", 0,
		   viommu_endpoint_reserve(
			   r->ep[RESERVING],
			   &(struct viommu_reserved){
				   .start = r->m.l.first[r->m.reserved[0]],
				   .last = r->m.l.last[r->m.reserved[1]] }));
	if (setup->aperture & SETUP_RECORDERS)
		recorders_make(r);
}

void memory_compare(const struct run *r)
{
	for (unsigned i = 0; i < REGIONS; i++) {
		const struct model_region *g = &r->m.region[i];

		if (g->birth && memcmp(g->bytes, region_host(r, i),
				       g->gpa.last - g->gpa.start + 1))
			wrong("region %u is not what was written", i);
	}
}

/* Fences that waited for it wait no more. */
void hold_over(struct run *r, unsigned i)
{
	r->hold[i].used = false;
	for (unsigned j = 0; j < FENCES; j++) {
		r->fence[j].must &= ~(UINT64_C(1) << i);
		r->fence[j].may &= ~(UINT64_C(1) << i);
	}
}

void let_go(struct run *r, unsigned i)
{
	struct viommu_dma *d = r->hold[i].d;

	hold_over(r, i);
	/* its pointers are good until now: for a sanitizer to see */
	for (unsigned j = 0; j < d->niov; j++) {
		volatile uint8_t *p = d->iov[j].iov_base;

		(void)p[0];
		(void)p[d->iov[j].iov_len - 1];
	}
	viommu_dma_unmap(d, 0);
	free(d);
}

/* In the order that they were begun in, or another: all that are left. */
static void all_let_go(struct run *r)
{
	for (unsigned i = 0; i < HOLDS; i++)
		if (r->hold[i].used)
			let_go(r, i);
	for (unsigned i = 0; i < ENDPOINTS; i++) {
		if (!r->hold[HOLDS + i].used)
			continue;
		hold_over(r, HOLDS + i);
		viommu_dma_exit(r->ep[i]);
	}
}

static void world_end(struct run *r)
{
	struct viommu_stats st;
	struct viommu_fence f;

	all_let_go(r);
	for (unsigned i = 0; i < FENCES; i++)
		fence_commit(r, i);
	fences_compare(r);
	questions_expect(r, SPACE_REMOTE, (struct range){ 0, UINT64_MAX },
			 -ECANCELED);
	viommu_fence_init(&f);
	for (unsigned i = 0; i < ENDPOINTS; i++)
		viommu_endpoint_destroy(r->ep[i], &f);
	recorders_end(r, &f);
	for (unsigned i = 0; i < SPACES; i++)
		viommu_space_destroy(r->space[i], &f);
	viommu_fence_commit(&f, NULL, NULL);
	questions_compare(r);
	if (!viommu_fence_done(&f))
		wrong("the last fence is pending, and nothing is held");
	viommu_read_stats(r->vi, &st);
	if (st.mappings || st.fences_pending)
		wrong("%llu mappings are counted that nobody has",
		      (unsigned long long)st.mappings);
	viommu_destroy(r->vi);
	if (r->allocated)
		wrong("%u allocations are lost", r->allocated);
	for (unsigned i = 0; i < REGIONS; i++) {
		free(r->m.region[i].bytes);
		free(r->bytes[i]);
	}
}

/* --------------------------------------------------------------- memory */

static void do_forget(struct run *r, const struct op *op)
{
	struct fence *f = fence_open(r, op->fence);
	unsigned i = op->who % REGIONS;
	struct model_region *g = &r->m.region[i];
	int rc;

	if (!f || f->frees[i])
		return;
	rc = viommu_memory_remove(viommu_memory_of(r->vi), g->gpa.start,
				  g->gpa.last - g->gpa.start + 1, f->f);
	compare_rc("viommu_memory_remove", g->birth ? 0 : error_one(ENOENT),
		   rc);
	if (rc)
		return;
	free(g->bytes);
	g->bytes = NULL;
	g->birth = 0;
	f->frees[i] = r->bytes[i];
	r->bytes[i] = NULL;
	fence_took(r, f, (struct extent){ .of = OF_MEMORY, .r = g->gpa });
}

static void do_remember(struct run *r, const struct op *op)
{
	unsigned i = op->who % REGIONS;

	if (!r->m.region[i].birth)
		region_add(r, i);
}

/* ------------------------------------------------------------------- all */

static void do_let_go(struct run *r, const struct op *op)
{
	if (r->hold[op->who % HOLDS].used)
		let_go(r, op->who % HOLDS);
}

static void do_commit(struct run *r, const struct op *op)
{
	fence_commit(r, op->fence);
}

static void op_run(struct run *r, const struct op *op)
{
	static void (*const doing[OP_KINDS])(struct run *,
					     const struct op *) = {
		[OP_MAP] = do_map,
		[OP_UNMAP] = do_unmap,
		[OP_ATTACH] = do_attach,
		[OP_DETACH] = do_detach,
		[OP_RENEW] = do_renew,
		[OP_READ] = do_read,
		[OP_WRITE] = do_write,
		[OP_LOAD] = do_word,
		[OP_STORE] = do_word,
		[OP_CAS] = do_word,
		[OP_HOLD] = do_hold,
		[OP_LET_GO] = do_let_go,
		[OP_COMMIT] = do_commit,
		[OP_NEXT] = do_next,
		[OP_TRANSLATE] = do_translate,
		[OP_FORGET] = do_forget,
		[OP_REMEMBER] = do_remember,
		[OP_REMAP] = do_remap,
		[OP_MAP_LIST] = do_map_list,
		[OP_INVALIDATE] = do_invalidate,
		[OP_ENTER] = do_enter,
		[OP_EXIT] = do_exit,
	};

	r->serial++;
	r->nfaults = 0;
	doing[op->what](r, op);
	bursts_follow(r);
	fences_compare(r);
	recorders_compare(r);
}

const char *stream_run(const struct stream *s)
{
	struct run *r = calloc(1, sizeof(*r));
	unsigned i;

	if (!r)
		abort();
	why[0] = 0;
	world_make(r, &s->setup);
	for (i = 0; i < s->n && !why[0]; i++)
		op_run(r, &s->op[i]);
	if (!why[0])
		memory_compare(r);
	world_end(r);
	free(r);
	return why[0] ? why : NULL;
}
