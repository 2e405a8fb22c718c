/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Windows: accesses that remember where their IOVAs led.
 *
 * What is remembered are up to four pieces: window offsets that are one range
 * of GPA and one range of host memory, and may be used for prot.  They are true
 * as long as the endpoint sees the same space and nothing was taken from space
 * or memory: each has a generation, which whoever takes or changes anything
 * advances after it changed the table and before the fence can be committed.
 * An access publishes its pin (or is in a burst) and then reads the generations
 * where another one reads the table.  So a taker that does not see the pin is
 * followed by an access that sees a new generation, and walks (L3).
 *
 * A piece belongs to the generations that were read before the walk that found
 * it: a change during the walk makes it stale, never the other way round.
 *
 * Only an access inside one piece uses it.  All others, and whatever is not as
 * it should be, go the way of dma.h, which faults, asks, and sees one mapping
 * or the other, not a piece of each (L7).
 */
#include <viommu/window.h>

#include <string.h>

#include "core/dirty.h"
#include "dma/access.h"
#include "dma/burst.h"
#include "dma/word.h"

enum {
	PIECES = 4,
	LOOKS = 16, /* leaves that a piece is put together from */
};

struct piece {
	uint64_t off, last; /* in the window */
	char *host;
	uint64_t gpa;
	uint32_t prot; /* 0: no piece */
};

struct window {
	struct viommu_endpoint *ep;
	uint64_t iova, last; /* last: an offset */
	uint32_t prot;
	uint32_t victim;
	/* what the pieces are true of */
	uint64_t space_id, generation, mem_generation;
	struct piece piece[PIECES];
};
_Static_assert(sizeof(struct window) <= sizeof(struct viommu_window),
	       "window grew");

/* An access that found its place, and is under way. */
struct spot {
	struct vi_access a;
	char *host;
	uint64_t gpa;
};

static struct window *window_of(struct viommu_window *w)
{
	return (struct window *)(void *)w->opaque;
}

int viommu_window_open(struct viommu_window *pub, struct viommu_endpoint *ep,
		       viommu_iova_t iova, uint64_t len, uint32_t prot)
{
	if (!len || iova + (len - 1) < iova || !prot ||
	    (prot & ~(uint32_t)(VIOMMU_READ | VIOMMU_WRITE)))
		return -EINVAL;
	memset(pub, 0, sizeof(*pub));
	*window_of(pub) = (struct window){
		.ep = ep, .iova = iova, .last = len - 1, .prot = prot
	};
	return 0;
}

void viommu_window_close(struct viommu_window *pub)
{
	VI_BUG_ON(!window_of(pub)->ep);
	memset(pub, 0, sizeof(*pub));
}

/* ---- what is remembered ----------------------------------------------- */

static inline uint64_t generation(const _Atomic(uint64_t) *g)
{
	/* the first of the loads that L3 stands on: see core/pin.h */
	return atomic_load(g);
}

static inline bool window_true(const struct window *w,
			       const struct viommu_space *s)
{
	return s->id == w->space_id &&
	       generation(&s->generation) == w->generation &&
	       generation(&w->ep->memory->generation) == w->mem_generation;
}

static inline bool piece_has(const struct piece *p, uint64_t off, uint64_t len)
{
	return off >= p->off && off <= p->last && len - 1 <= p->last - off;
}

/* A piece that has all of [off, off + len - 1], or NULL. */
static inline const struct piece *
piece_find(const struct window *w, uint64_t off, uint64_t len, uint32_t prot)
{
	for (int i = 0; i < PIECES; i++) {
		const struct piece *p = &w->piece[i];

		if (VI_LIKELY(piece_has(p, off, len) && !(prot & ~p->prot)))
			return p;
	}
	return NULL;
}

static void window_forget(struct window *w, struct vi_access *a)
{
	for (int i = 0; i < PIECES; i++)
		w->piece[i].prot = 0;
	w->space_id = a->space->id;
	w->generation = generation(&a->space->generation);
	w->mem_generation = generation(&a->ep->memory->generation);
	/* the table as it is after that, not as it was before */
	a->top = vi_radix_top(&a->space->table);
}

/* As much as is one piece for @a->prot from @off on; 0 bytes if none. */
static bool piece_look(const struct window *w, struct vi_access *a,
		       uint64_t off, struct piece *out)
{
	struct vi_piece leaf;

	out->prot = 0;
	for (int i = 0; i < LOOKS; i++) {
		uint64_t at = out->prot ? out->last + 1 : off;

		if (vi_access_look(a, w->iova + at, w->last - at + 1, &leaf) ||
		    !leaf.host)
			break;
		if (!out->prot)
			*out = (struct piece){ .off = off,
					       .host = leaf.host,
					       .gpa = leaf.gpa,
					       .prot = a->prot };
		else if (out->host + (at - off) != leaf.host ||
			 out->gpa + (at - off) != leaf.gpa)
			break;
		out->last = at + (leaf.len - 1);
		if (out->last == w->last)
			break;
	}
	return out->prot;
}

/* The first offset of the leaf that @off is in. */
static uint64_t leaf_start(const struct window *w, const struct vi_access *a,
			   uint64_t off)
{
	uint64_t iova = w->iova + off, start;
	unsigned lg2;

	if (a->space->kind == VIOMMU_SPACE_IDENTITY)
		return 0;
	vi_radix_find_in(&a->space->table, a->top, iova, &lg2);
	start = iova & ~vi_mask(lg2);
	return start > w->iova ? start - w->iova : 0;
}

static const struct piece *piece_keep(struct window *w, const struct piece *p)
{
	struct piece *kept = NULL;

	/* in place of one that it has all of, and may do as much with */
	for (int i = 0; i < PIECES && !kept; i++)
		if (w->piece[i].off >= p->off && w->piece[i].last <= p->last &&
		    !(w->piece[i].prot & ~p->prot))
			kept = &w->piece[i];
	if (!kept)
		kept = &w->piece[w->victim++ % PIECES];
	*kept = *p;
	return kept;
}

/* Walk.  For all that the window is for, if possible; from the beginning of
 * the leaf, if possible. */
static const struct piece *window_walk(struct window *w, struct vi_access *a,
				       uint64_t off, uint64_t len)
{
	uint32_t prot = a->prot;
	struct piece p;
	bool found;

	a->prot = a->mem_prot = w->prot;
	found = (piece_look(w, a, leaf_start(w, a, off), &p) &&
		 piece_has(&p, off, len)) ||
		piece_look(w, a, off, &p);
	a->prot = a->mem_prot = prot;
	if (!found)
		found = piece_look(w, a, off, &p);
	return found && piece_has(&p, off, len) ? piece_keep(w, &p) : NULL;
}

/* ---- access ----------------------------------------------------------- */

/* Begin; on success the access is under way. */
static const struct piece *piece_begin(struct window *w, struct vi_access *a,
				       uint64_t off, uint64_t len)
{
	const struct piece *p = NULL;

	if (vi_access_begin(a))
		return NULL;
	if (a->space && !window_true(w, a->space))
		window_forget(w, a);
	if (a->space)
		p = piece_find(w, off, len, a->prot);
	if (a->space && !p)
		p = window_walk(w, a, off, len);
	if (!p)
		vi_access_finish(a);
	return p;
}

static inline void count(struct vi_seat *seat, uint64_t len, uint32_t prot)
{
	vi_count(&seat->accesses, 1);
	vi_count(prot & VIOMMU_WRITE ? &seat->bytes_written : &seat->bytes_read,
		 len);
}

/* The piece, if this thread's burst sees what the window remembers. */
static inline const struct piece *
burst_find(const struct window *w, uint64_t off, uint64_t len, uint32_t prot)
{
	const struct vi_burst *b = &vi_bursts[0];

	if (b->ep != w->ep || !b->space ||
	    atomic_load(&w->ep->space) != b->space || !window_true(w, b->space))
		return NULL;
	return piece_find(w, off, len, prot);
}

/* Find the place; if there is none, the access is to go the long way. */
static bool spot_find(struct window *w, struct spot *spot, uint64_t off,
		      uint64_t len, uint32_t prot)
{
	const struct piece *p = burst_find(w, off, len, prot);

	vi_access_init(&spot->a, w->ep, w->iova + off, len, prot);
	if (p) {
		spot->a.burst = true;
		spot->a.pin = vi_bursts[0].pin;
	} else {
		p = piece_begin(w, &spot->a, off, len);
	}
	if (!p)
		return false;
	spot->host = p->host + (off - p->off);
	spot->gpa = p->gpa + (off - p->off);
	VI_WINDOW();
	return true;
}

static inline int check(const struct window *w, uint64_t off, uint64_t len,
			uint32_t prot)
{
	if (off > w->last || len - 1 > w->last - off)
		return -ERANGE;
	return prot & ~w->prot ? -EINVAL : 0;
}

static inline int check_word(const struct window *w, uint64_t off,
			     unsigned size, uint32_t prot)
{
	if (!vi_word_size(size) || ((w->iova + off) & (size - 1)))
		return -EINVAL;
	return check(w, off, size, prot);
}

int viommu_window_read(struct viommu_window *pub, uint64_t offset, void *buf,
		       size_t len)
{
	struct window *w = window_of(pub);
	struct spot spot;
	int rc;

	if (!len)
		return offset && offset - 1 > w->last ? -ERANGE : 0;
	rc = check(w, offset, len, VIOMMU_READ);
	if (rc)
		return rc;
	if (!spot_find(w, &spot, offset, len, VIOMMU_READ))
		return viommu_dma_read(w->ep, w->iova + offset, buf, len);
	memcpy(buf, spot.host, len);
	count(spot.a.pin->seat, len, VIOMMU_READ);
	vi_access_finish(&spot.a);
	return 0;
}

int viommu_window_write(struct viommu_window *pub, uint64_t offset,
			const void *buf, size_t len)
{
	struct window *w = window_of(pub);
	struct spot spot;
	int rc;

	if (!len)
		return offset && offset - 1 > w->last ? -ERANGE : 0;
	rc = check(w, offset, len, VIOMMU_WRITE);
	if (rc)
		return rc;
	if (!spot_find(w, &spot, offset, len, VIOMMU_WRITE))
		return viommu_dma_write(w->ep, w->iova + offset, buf, len);
	memcpy(spot.host, buf, len);
	vi_dirty_mark(w->ep->memory, spot.gpa, len);
	count(spot.a.pin->seat, len, VIOMMU_WRITE);
	vi_access_finish(&spot.a);
	return 0;
}

/* ---- words ------------------------------------------------------------ */

/* Where it is if nothing is in the way of a burst's access, which is counted;
 * else NULL.  Memory that is not aligned is for others to complain of. */
static inline char *word_fast(const struct window *w, uint64_t off,
			      unsigned size, uint32_t prot, uint64_t *gpa)
{
	const struct piece *p = burst_find(w, off, size, prot);
	char *host;

	if (VI_UNLIKELY(!p))
		return NULL;
	host = p->host + (off - p->off);
	*gpa = p->gpa + (off - p->off);
	if (VI_UNLIKELY((uintptr_t)host & (size - 1)))
		return NULL;
	count(vi_bursts[0].pin->seat, size, prot);
	return host;
}

static bool word_find(struct window *w, struct spot *spot, uint64_t off,
		      unsigned size, uint32_t prot)
{
	if (!spot_find(w, spot, off, size, prot))
		return false;
	if (VI_UNLIKELY((uintptr_t)spot->host & (size - 1))) {
		vi_access_finish(&spot->a);
		return false;
	}
	count(spot->a.pin->seat, size, prot);
	return true;
}

static __attribute__((noinline)) int
load_slow(struct window *w, uint64_t offset, unsigned size, uint64_t *val)
{
	struct spot spot;

	if (!word_find(w, &spot, offset, size, VIOMMU_READ))
		return viommu_dma_load(w->ep, w->iova + offset, size, val);
	*val = vi_word_swap(size, vi_word_load(spot.host, size));
	vi_access_finish(&spot.a);
	return 0;
}

int viommu_window_load(struct viommu_window *pub, uint64_t offset,
		       unsigned size, uint64_t *val)
{
	struct window *w = window_of(pub);
	int rc = check_word(w, offset, size, VIOMMU_READ);
	uint64_t gpa;
	char *host;

	if (VI_UNLIKELY(rc))
		return rc;
	host = word_fast(w, offset, size, VIOMMU_READ, &gpa);
	if (VI_UNLIKELY(!host))
		return load_slow(w, offset, size, val);
	*val = vi_word_swap(size, vi_word_load(host, size));
	return 0;
}

static __attribute__((noinline)) int
store_slow(struct window *w, uint64_t offset, unsigned size, uint64_t val)
{
	struct spot spot;

	if (!word_find(w, &spot, offset, size, VIOMMU_WRITE))
		return viommu_dma_store(w->ep, w->iova + offset, size, val);
	vi_word_store(spot.host, size, vi_word_swap(size, val));
	vi_dirty_mark(w->ep->memory, spot.gpa, size);
	vi_access_finish(&spot.a);
	return 0;
}

int viommu_window_store(struct viommu_window *pub, uint64_t offset,
			unsigned size, uint64_t val)
{
	struct window *w = window_of(pub);
	int rc = check_word(w, offset, size, VIOMMU_WRITE);
	uint64_t gpa;
	char *host;

	if (VI_UNLIKELY(rc))
		return rc;
	host = word_fast(w, offset, size, VIOMMU_WRITE, &gpa);
	if (VI_UNLIKELY(!host))
		return store_slow(w, offset, size, val);
	vi_word_store(host, size, vi_word_swap(size, val));
	vi_dirty_mark(w->ep->memory, gpa, size);
	return 0;
}
