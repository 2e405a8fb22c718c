/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_DMA_RECENT_H
#define VI_DMA_RECENT_H

/*
 * What this thread found last: a leaf of a space; and in memory a range of GPA
 * that is one range of host memory, as much of a region as lies in one table.
 *
 * Each is true as long as its space, or memory, has the generation that was
 * read before it was looked for: whoever takes or changes a mapping, or takes
 * a region, advances that, after the table and before his fence can be
 * committed.  An instance and a space in it have an id for ever, and no two
 * memories have the same generation.  An access reads the generation where it
 * would read the table, after its pin was published; so a taker that does not
 * see the pin is followed by an access that sees a new generation, and walks
 * (L3).  Nothing is touched but under that generation and a pin, so what is
 * remembered may outlive both.
 *
 * The range of memory has whole aligned words only, which are aligned in host
 * memory, too.
 */

#include "core/instance.h"
#include "core/memory.h"
#include "core/space.h"

struct vi_recent {
	uint64_t generation;
	uint64_t gpa, last; /* last: an offset */
	uint64_t delta;	    /* host minus GPA */
	uint32_t prot;	    /* 0: nothing */
	uint32_t misses;    /* since it was found */
};

extern __thread struct vi_recent vi_recent
	__attribute__((tls_model("initial-exec")));

struct vi_recent_leaf {
	uint64_t vi, space; /* their ids; 0: none */
	uint64_t generation;
	uint64_t iova, last; /* the block; last: an offset */
	uint64_t leaf;
	uint32_t misses;
};

extern __thread struct vi_recent_leaf vi_recent_leaf
	__attribute__((tls_model("initial-exec")));

enum {
	/* of what is found under the same generation, but elsewhere, one in so
	 * many is remembered: whoever jumps about pays little for it */
	VI_RECENT_MISSES = 8,
};

/* Is it of @s as that is now? */
static inline bool vi_recent_leaf_true(const struct viommu *vi,
				       const struct viommu_space *s,
				       uint64_t generation)
{
	const struct vi_recent_leaf *n = &vi_recent_leaf;

	return generation == n->generation && s->id == n->space &&
	       vi->id == n->vi;
}

/* The leaf @e was found at @iova after @generation was read; it is as large as
 * @mask says. */
static inline void vi_recent_leaf_set(const struct viommu *vi,
				      const struct viommu_space *s,
				      uint64_t generation, uint64_t iova,
				      uint64_t mask, uint64_t e)
{
	vi_recent_leaf = (struct vi_recent_leaf){ .vi = vi->id,
						  .space = s->id,
						  .generation = generation,
						  .iova = iova & ~mask,
						  .last = mask,
						  .leaf = e };
}

/* Walk, and perhaps remember.  Where all of [gpa, gpa + len - 1] is; or NULL:
 * it is not one piece of memory with @prot. */
void *vi_recent_walk(const struct viommu_memory *mem, uint64_t gpa,
		     uint64_t len, uint32_t prot);

/* Where @gpa is, if all of [gpa, gpa + len - 1] is remembered, len > 0; or
 * NULL. */
static inline void *vi_recent_host(const struct viommu_memory *mem,
				   uint64_t gpa, uint64_t len, uint32_t prot)
{
	const struct vi_recent *n = &vi_recent;
	uint64_t off = gpa - n->gpa;

	/* sequentially consistent: the first load that L3 stands on */
	if (VI_LIKELY(atomic_load(&mem->generation) == n->generation &&
		      off <= n->last && len - 1 <= n->last - off &&
		      !(prot & ~n->prot)))
		return (void *)(uintptr_t)(gpa + n->delta);
	return NULL;
}

/* The same for an aligned word of at most eight bytes, which is aligned in
 * memory, too. */
static inline void *vi_recent_word(const struct viommu_memory *mem,
				   uint64_t gpa, uint32_t prot)
{
	const struct vi_recent *n = &vi_recent;

	if (VI_LIKELY(atomic_load(&mem->generation) == n->generation &&
		      gpa - n->gpa <= n->last && !(prot & ~n->prot)))
		return (void *)(uintptr_t)(gpa + n->delta);
	return NULL;
}

#endif
