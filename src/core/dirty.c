/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See dirty.h for the order of writing, marking, clearing and copying.
 *
 * The bits lie in chunks of 4096 pages, which a radix tree finds by the offset
 * of a page's word in one bitmap of all GPA: level 0 has a leaf a chunk.  A
 * chunk is there as long as some region has a page in it, so a mark allocates
 * nothing and cannot fail; where it finds no chunk, the region has gone, and
 * the bit with it.
 *
 * Who may look.  An access under way has a BUSY pin: chunks, tables of the tree
 * and the log itself are freed by fences that wait for BUSY pins (L8).  They do
 * not wait for maps that are held, which would take too long; so an unmap marks
 * under the memory's lock, under which whatever is found stays.
 *
 * Locks: the tree's writers, fetch, and marks of maps have the memory's lock;
 * accesses mark without one.
 */
#include "core/dirty.h"

#include <errno.h>
#include <string.h>

#include "base/barrier.h"
#include "base/range.h"
#include "core/fence.h"
#include "core/notifier.h"

enum {
	PAGE_LG2 = 12, /* the smallest page that can be logged */
	CHUNK_LG2 = 12,
	CHUNK_WORDS = (1 << CHUNK_LG2) / 64,
	CHUNK_BYTES = CHUNK_WORDS * 8,
	CHUNK_BYTES_LG2 = CHUNK_LG2 - 3,
};

struct chunk {
	/* a leaf's flags take the low bits */
	_Alignas(VI_LEAF_FLAGS + 1) _Atomic(uint64_t) word[CHUNK_WORDS];
	uint64_t regions; /* that have a page in it; VI_GUARDED(mem->lock) */
	struct vi_retire retire;
	struct viommu *vi;
};

struct vi_dirty {
	struct viommu *vi;
	struct vi_radix table; /* writers: the memory's lock */
	unsigned page_lg2;
	bool strict; /* no membarrier: each mark is a read-modify-write */
	/* what went where no fence was at hand; VI_GUARDED(mem->lock) */
	struct vi_retire *limbo;
	/* freed by the fences of its start and of its stop, by the later */
	_Atomic(uint32_t) refs;
	struct vi_retire started, stopped;
};

/* ---- chunks ----------------------------------------------------------- */

/* Where the word of @page is, in bytes from that of page 0. */
static uint64_t word_offset(uint64_t page)
{
	return page / 64 * 8;
}

/* Its chunk, or NULL. */
static struct chunk *chunk_find(const struct vi_dirty *log, uint64_t page)
{
	uint64_t at = word_offset(page) & ~vi_mask(CHUNK_BYTES_LG2), e;
	unsigned lg2;

	e = vi_radix_find(&log->table, at, &lg2);
	if (!e)
		return NULL;
	return (struct chunk *)(uintptr_t)vi_leaf_target(&log->table, e, at);
}

static void chunk_free(struct vi_retire *retire)
{
	struct chunk *c = vi_list_of(retire, struct chunk, retire);

	vi_free(&c->vi->env, c);
}

static int chunk_add(struct vi_dirty *log, uint64_t page)
{
	uint64_t at = word_offset(page) & ~vi_mask(CHUNK_BYTES_LG2);
	struct chunk *c = chunk_find(log, page);
	int rc;

	if (c) {
		c->regions++;
		return 0;
	}
	c = vi_alloc(&log->vi->env, sizeof(*c), _Alignof(struct chunk));
	if (!c)
		return -ENOMEM;
	c->vi = log->vi;
	c->retire.free = chunk_free;
	c->regions = 1;
	rc = vi_radix_map(&log->table, at, at + CHUNK_BYTES - 1, (uintptr_t)c,
			  VIOMMU_READ);
	if (rc) {
		vi_free(&log->vi->env, c);
		return -ENOMEM;
	}
	return 0;
}

static void chunk_remove(struct vi_dirty *log, uint64_t page,
			 struct vi_retire **gone)
{
	uint64_t at = word_offset(page) & ~vi_mask(CHUNK_BYTES_LG2);
	struct chunk *c = chunk_find(log, page);
	struct vi_removed removed = { 0 };

	if (--c->regions)
		return;
	vi_radix_unmap(&log->table, at, at + CHUNK_BYTES - 1, gone, &removed);
	vi_retire_add(gone, &c->retire);
}

/* ---- words ------------------------------------------------------------ */

/* The words of [page, last], one after the other. */
struct words {
	const struct vi_dirty *log;
	uint64_t page, last; /* first of the word, or of the range */
	struct chunk *chunk; /* of @page, or NULL; once begun */
	bool begun;
};

struct word {
	_Atomic(uint64_t) *at;
	uint64_t page; /* of the lowest bit of mask */
	uint64_t mask;
};

/* The next that has a chunk, or false. */
static bool words_next(struct words *w, struct word *out)
{
	uint64_t last;

	while (w->page <= w->last) {
		if (!w->begun || !(w->page & vi_mask(CHUNK_LG2)))
			w->chunk = chunk_find(w->log, w->page);
		w->begun = true;
		last = w->page | vi_mask(w->chunk ? 6 : CHUNK_LG2);
		last = vi_min(last, w->last);
		out->page = w->page;
		w->page = last + 1; /* there are less than 2^64 pages */
		if (!w->chunk)
			continue;
		out->at = &w->chunk->word[out->page / 64 % CHUNK_WORDS];
		out->mask = (vi_mask((unsigned)(last - out->page)) << 1 | 1)
			    << out->page % 64;
		return true;
	}
	return false;
}

/* The pages of [gpa, last]. */
static struct words words_of(const struct vi_dirty *log, uint64_t gpa,
			     uint64_t last)
{
	return (struct words){ .log = log,
			       .page = gpa >> log->page_lg2,
			       .last = last >> log->page_lg2 };
}

static void mark(const struct vi_dirty *log, uint64_t gpa, uint64_t last)
{
	struct words words = words_of(log, gpa, last);
	struct word w;

	while (words_next(&words, &w)) {
		/* the data, then the look: the compiler, too, must keep to it
		 */
		atomic_signal_fence(memory_order_seq_cst);
		if (log->strict ||
		    (atomic_load_explicit(w.at, memory_order_relaxed) &
		     w.mask) != w.mask)
			atomic_fetch_or(w.at, w.mask);
		VI_WINDOW();
	}
}

/* ---- marking ---------------------------------------------------------- */

/* A length is cut at the top of memory: nothing lies beyond. */
static uint64_t last_of(uint64_t start, uint64_t len)
{
	return start + (len - 1) < start ? UINT64_MAX : start + (len - 1);
}

void vi_dirty_mark_slow(struct viommu_memory *mem, uint64_t gpa, uint64_t len)
{
	const struct vi_dirty *log = atomic_load(&mem->dirty);

	/* stopped since: the fence of that waits for this pin */
	if (log)
		mark(log, gpa, last_of(gpa, len));
}

void vi_dirty_mark_held_slow(struct viommu_memory *mem, uint64_t gpa,
			     uint64_t len)
{
	vi_lock(&mem->lock);
	vi_dirty_mark_slow(mem, gpa, len);
	vi_unlock(&mem->lock);
}

void viommu_memory_dirty_mark(struct viommu_memory *mem, viommu_gpa_t gpa,
			      uint64_t len)
{
	uint64_t last = last_of(gpa, len);
	struct vi_region *r;

	if (!len || !vi_dirty_on_held(mem))
		return;
	vi_lock(&mem->lock);
	r = vi_memory_first_locked(mem, gpa, last);
	for (; r; r = vi_memory_after_locked(mem, r, last)) {
		uint64_t start = vi_max(gpa, r->gpa);

		if (!r->device)
			vi_dirty_mark_slow(mem, start,
					   vi_min(last, r->last) - start + 1);
	}
	vi_unlock(&mem->lock);
}

/* Each range of GPA where [host, host + len - 1] is shown. */
typedef void shown_fn(void *arg, uint64_t gpa, uint64_t last);

static void shown_locked(struct viommu_memory *mem, uintptr_t host,
			 uint64_t len, shown_fn *fn, void *arg)
	VI_REQUIRES(&mem->lock)
{
	uint64_t last = last_of(host, len);
	struct vi_icursor at = { 0 };
	struct vi_inode *n;

	while ((n = vi_itree_next(&mem->by_host, mem, host, last, &at))) {
		const struct vi_region *r =
			vi_list_of(n, struct vi_region, host);

		fn(arg, r->gpa + (vi_max(host, n->start) - n->start),
		   r->gpa + (vi_min(last, n->last) - n->start));
	}
}

/* The first @len bytes of @iov. */
static void iov_shown_locked(struct viommu_memory *mem, const struct iovec *iov,
			     uint64_t len, shown_fn *fn, void *arg)
	VI_REQUIRES(&mem->lock)
{
	for (; len; iov++) {
		uint64_t n = vi_min(len, iov->iov_len);

		if (n)
			shown_locked(mem, (uintptr_t)iov->iov_base, n, fn, arg);
		len -= n;
	}
}

static void mark_shown(void *arg, uint64_t gpa, uint64_t last)
{
	mark(arg, gpa, last);
}

void vi_dirty_mark_host_slow(struct viommu_memory *mem, const struct iovec *iov,
			     uint32_t niov, uint64_t written)
{
	struct vi_dirty *log;
	uint64_t len = 0;

	for (uint32_t i = 0; i < niov; i++)
		len += iov[i].iov_len;
	vi_lock(&mem->lock);
	log = atomic_load(&mem->dirty);
	if (log)
		iov_shown_locked(mem, iov, vi_min(written, len), mark_shown,
				 log);
	vi_unlock(&mem->lock);
}

/* ---- regions come and go ---------------------------------------------- */

static void chunks_remove(struct vi_dirty *log, uint64_t page, uint64_t last,
			  struct vi_retire **gone)
{
	for (; page <= last; page = (page | vi_mask(CHUNK_LG2)) + 1)
		chunk_remove(log, page, gone);
}

static int region_cover(struct vi_dirty *log, const struct vi_region *r)
{
	uint64_t first = r->gpa >> log->page_lg2, page = first;
	int rc = 0;

	for (; page <= r->last >> log->page_lg2;
	     page = (page | vi_mask(CHUNK_LG2)) + 1) {
		rc = chunk_add(log, page);
		if (rc)
			break;
	}
	if (rc && page != first)
		chunks_remove(log, first, page - 1, &log->limbo);
	return rc;
}

/* Bits of a region that was there before: accesses may have set some after it
 * was removed.  Its first and last page may be another region's, too. */
static void region_clean_locked(struct viommu_memory *mem,
				const struct vi_dirty *log,
				const struct vi_region *r)
	VI_REQUIRES(&mem->lock)
{
	uint64_t first = r->gpa & ~vi_mask(log->page_lg2);
	uint64_t last = r->last | vi_mask(log->page_lg2);
	struct words words = words_of(log, r->gpa, r->last);
	struct word w;

	/* @r itself is not among them yet */
	if (vi_memory_first_locked(mem, first, r->gpa))
		words.page++;
	if (vi_memory_first_locked(mem, r->last, last)) {
		if (!words.last)
			return;
		words.last--;
	}
	while (words_next(&words, &w))
		atomic_fetch_and(w.at, ~w.mask);
}

int vi_dirty_cover_locked(struct viommu_memory *mem, const struct vi_region *r)
{
	struct vi_dirty *log = atomic_load(&mem->dirty);
	int rc;

	if (!log)
		return 0;
	rc = region_cover(log, r);
	if (!rc)
		region_clean_locked(mem, log, r);
	return rc;
}

void vi_dirty_split_locked(struct viommu_memory *mem, uint64_t at)
{
	struct vi_dirty *log = atomic_load(&mem->dirty);
	uint64_t left, right;

	if (!log)
		return;
	left = (at - 1) >> log->page_lg2;
	right = at >> log->page_lg2;
	/* both of them are in that chunk */
	if (left >> CHUNK_LG2 == right >> CHUNK_LG2)
		chunk_find(log, right)->regions++;
}

void vi_dirty_inherit_locked(struct viommu_memory *mem,
			     const struct vi_region *r)
{
	struct vi_dirty *log = atomic_load(&mem->dirty);
	/* every chunk is there: nothing is allocated */
	int rc = log ? region_cover(log, r) : 0;

	VI_BUG_ON(rc);
}

void vi_dirty_uncover_locked(struct viommu_memory *mem,
			     const struct vi_region *r, struct vi_retire **gone)
{
	struct vi_dirty *log = atomic_load(&mem->dirty);

	if (!log)
		return;
	if (!gone)
		gone = &log->limbo;
	chunks_remove(log, r->gpa >> log->page_lg2, r->last >> log->page_lg2,
		      gone);
	if (gone == &log->limbo)
		return;
	while (log->limbo) {
		struct vi_retire *l = log->limbo;

		log->limbo = l->next;
		vi_retire_add(gone, l);
	}
}

/* ---- start and stop --------------------------------------------------- */

/* Nobody looks at it any more. */
static void log_put(struct vi_dirty *log)
{
	struct viommu_mapping m;
	uint64_t at = 0;

	if (atomic_fetch_sub(&log->refs, 1) != 1)
		return;
	while (vi_radix_next(&log->table, at, &m)) {
		struct chunk *c = (struct chunk *)(uintptr_t)m.gpa;

		vi_free(&log->vi->env, c);
		at = m.last + 1; /* the bitmap of all GPA has 2^49 bytes */
	}
	vi_retire_free(log->limbo);
	vi_radix_fini(&log->table);
	vi_free(&log->vi->env, log);
}

static void log_started(struct vi_retire *retire)
{
	log_put(vi_list_of(retire, struct vi_dirty, started));
}

static void log_stopped(struct vi_retire *retire)
{
	log_put(vi_list_of(retire, struct vi_dirty, stopped));
}

static struct vi_dirty *log_make(struct viommu *vi, unsigned page_lg2)
{
	struct vi_dirty *log =
		vi_alloc(&vi->env, sizeof(*log), _Alignof(max_align_t));

	if (!log)
		return NULL;
	log->vi = vi;
	log->page_lg2 = page_lg2;
	log->strict = !vi->membarrier;
	atomic_init(&log->refs, 1);
	log->started.free = log_started;
	log->stopped.free = log_stopped;
	vi_radix_init(&log->table, &vi->tables, CHUNK_BYTES_LG2);
	return log;
}

/*
 * Have @f wait for accesses under way, and free @retire after them.  For no map
 * that is held: it takes nothing.
 */
static void after_accesses(struct viommu_memory *mem, struct viommu_fence *f,
			   struct vi_retire *retire)
{
	vi_fence_gather(f, mem->vi, NULL);
	retire->next = NULL;
	vi_fence_retire(f, retire);
}

static int start_locked(struct viommu_memory *mem, struct vi_dirty *log)
	VI_REQUIRES(&mem->lock)
{
	struct vi_region *r;
	int rc = 0;

	if (atomic_load(&mem->dirty))
		return -EBUSY;
	r = vi_memory_first_locked(mem, 0, UINT64_MAX);
	for (; r && !rc; r = vi_memory_after_locked(mem, r, UINT64_MAX))
		rc = region_cover(log, r);
	if (!rc) {
		atomic_fetch_add(&log->refs, 1);
		atomic_store(&mem->dirty, log);
	}
	return rc;
}

int viommu_memory_dirty_start(struct viommu_memory *mem, uint64_t page_size,
			      struct viommu_fence *f)
{
	struct vi_dirty *log;
	int rc;

	if (!page_size)
		page_size = UINT64_C(1) << PAGE_LG2;
	if (page_size & (page_size - 1) || page_size >> PAGE_LG2 == 0)
		return -EINVAL;
	log = log_make(mem->vi, (unsigned)__builtin_ctzll(page_size));
	if (!log)
		return -ENOMEM;
	vi_lock(&mem->vi->notify_lock);
	vi_lock(&mem->lock);
	rc = start_locked(mem, log);
	vi_unlock(&mem->lock);
	if (!rc)
		vi_notify_dirty(mem, VIOMMU_DIRTY_START, 0, UINT64_MAX);
	vi_unlock(&mem->vi->notify_lock);
	if (rc) {
		log_put(log);
		return rc;
	}
	/* an unmap that did not see the log: what was written is there */
	if (mem->vi->membarrier)
		vi_membarrier();
	after_accesses(mem, f, &log->started);
	return 0;
}

void viommu_memory_dirty_stop(struct viommu_memory *mem, struct viommu_fence *f)
{
	struct vi_dirty *log;

	vi_lock(&mem->vi->notify_lock);
	/* under the lock, where unmaps and fetches look */
	vi_lock(&mem->lock);
	log = atomic_exchange(&mem->dirty, NULL);
	vi_unlock(&mem->lock);
	if (log)
		vi_notify_dirty(mem, VIOMMU_DIRTY_STOP, 0, UINT64_MAX);
	vi_unlock(&mem->vi->notify_lock);
	if (log)
		after_accesses(mem, f, &log->stopped);
}

/* ---- fetch ------------------------------------------------------------ */

struct fetch {
	struct viommu_memory *mem;
	struct vi_dirty *log;
	uint64_t gpa, last;
	uint64_t *bitmap;
	bool cleared; /* some bit */
};

/* Those pages of @mask are dirty; the lowest bit is for @page. */
static void report(struct fetch *f, uint64_t page, uint64_t mask)
{
	uint64_t n = page - (f->gpa >> f->log->page_lg2);
	unsigned up = n % 64;

	f->bitmap[n / 64] |= mask << up;
	if (up && mask >> (64 - up))
		f->bitmap[n / 64 + 1] |= mask >> (64 - up);
}

/* [gpa, last], inside a region, is mapped for writing. */
static void fetch_held(void *arg, uint64_t gpa, uint64_t last)
{
	struct fetch *f = arg;
	struct words words;
	struct word w;

	gpa = vi_max(gpa, f->gpa);
	last = vi_min(last, f->last);
	if (gpa > last)
		return;
	words = words_of(f->log, gpa, last);
	while (words_next(&words, &w))
		report(f, w.page, w.mask >> w.page % 64);
}

/* As far as there are regions: one may have been removed under the map. */
static void fetch_held_range_locked(struct fetch *f, uint64_t gpa,
				    uint64_t last) VI_REQUIRES(&f->mem->lock)
{
	struct vi_region *r = vi_memory_first_locked(f->mem, gpa, last);

	for (; r; r = vi_memory_after_locked(f->mem, r, last))
		fetch_held(f, vi_max(gpa, r->gpa), vi_min(last, r->last));
}

/* The fetch has the memory's lock, which the analysis cannot know. */
static void fetch_writer(void *arg, const struct vi_writer *w) VI_NO_ANALYSIS
{
	struct fetch *f = arg;

	if (w->iov)
		iov_shown_locked(f->mem, w->iov, w->len, fetch_held, f);
	else
		fetch_held_range_locked(f, w->gpa, w->last);
}

/* A device's memory is the device's to save. */
static void fetch_region(struct fetch *f, const struct vi_region *r)
{
	struct words words = words_of(f->log, vi_max(r->gpa, f->gpa),
				      vi_min(r->last, f->last));
	struct word w;
	uint64_t was;

	while (!r->device && words_next(&words, &w)) {
		if (!(atomic_load_explicit(w.at, memory_order_relaxed) &
		      w.mask))
			continue;
		was = atomic_fetch_and(w.at, ~w.mask) & w.mask;
		f->cleared = true;
		report(f, w.page, was >> w.page % 64);
	}
}

/* The maps first: one that is let go of meanwhile marks before that. */
static void fetch_locked(struct fetch *f) VI_REQUIRES(&f->mem->lock)
{
	struct vi_region *r;

	vi_pin_writers(f->mem->vi, f->mem, fetch_writer, f);
	VI_WINDOW();
	r = vi_memory_first_locked(f->mem, f->gpa, f->last);
	for (; r; r = vi_memory_after_locked(f->mem, r, f->last))
		fetch_region(f, r);
}

static int fetch_try_locked(struct fetch *f, uint64_t len, uint64_t *words)
	VI_REQUIRES(&f->mem->lock)
{
	f->log = atomic_load(&f->mem->dirty);
	if (!f->log)
		return -ENOENT;
	if ((f->gpa | len) & vi_mask(f->log->page_lg2))
		return -EINVAL;
	*words = ((len >> f->log->page_lg2) + 63) / 64;
	memset(f->bitmap, 0, *words * sizeof(*f->bitmap));
	fetch_locked(f);
	return 0;
}

int64_t viommu_memory_dirty_fetch(struct viommu_memory *mem, viommu_gpa_t gpa,
				  uint64_t len, uint64_t *bitmap)
{
	struct fetch f = {
		.mem = mem,
		.gpa = gpa,
		.last = gpa + (len - 1),
		.bitmap = bitmap,
	};
	uint64_t words = 0;
	int64_t n = 0;
	int rc;

	if (!len || f.last < gpa)
		return -EINVAL;
	vi_lock(&mem->vi->notify_lock);
	if (atomic_load(&mem->dirty))
		vi_notify_dirty(mem, VIOMMU_DIRTY_SYNC, gpa, f.last);
	vi_unlock(&mem->vi->notify_lock);
	vi_lock(&f.mem->lock);
	rc = fetch_try_locked(&f, len, &words);
	vi_unlock(&f.mem->lock);
	if (rc)
		return rc;
	/* a writer who saw a bit that is clear now: his data is there */
	if (f.cleared && mem->vi->membarrier)
		vi_membarrier();
	for (uint64_t i = 0; i < words; i++)
		n += __builtin_popcountll(bitmap[i]);
	return n;
}
