/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_TABLE_POOL_H
#define VI_TABLE_POOL_H

/*
 * Tables, and where they come from: a pool that an instance's trees share, with
 * the allocator behind it.  A table that comes from the pool is all zero.
 *
 * Who fills tables with what a guest says has a limit: so many tables in its
 * own tree, and so many in the pool's books, which are those in any tree and
 * those that a fence has yet to free.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/env.h"
#include "base/lock.h"
#include "base/retire.h"

enum {
	VI_RADIX_BITS = 9,
	VI_RADIX_SLOTS = 1 << VI_RADIX_BITS,
	/* what malloc gives anyway: more would cost 1% in padding */
	VI_TABLE_ALIGN = 16,
};

struct vi_table_pool;

struct vi_table {
	_Atomic(uint64_t) e[VI_RADIX_SLOTS];
	struct vi_retire retire;
	struct vi_table_pool *pool;
	struct vi_table *parent;
	uint16_t slot; /* in parent */
	uint16_t used; /* entries that are not 0 */
};

struct vi_table_pool {
	const struct viommu_env *env;
	struct vi_lock lock;
	struct vi_retire *free; /* VI_GUARDED(lock) */
	unsigned nfree;		/* VI_GUARDED(lock) */
	uint64_t out;		/* tables not in free.  VI_GUARDED(lock) */
};

void vi_table_pool_init(struct vi_table_pool *pool,
			const struct viommu_env *env);
void vi_table_pool_fini(struct vi_table_pool *pool);

/* One of @pool, if less than @max are out.  -ENOSPC (the limit), -ENOMEM. */
int vi_table_get(struct vi_table_pool *pool, uint64_t max,
		 struct vi_table **out);

/* Give @t back; no reader is in it.  What it holds is forgotten. */
void vi_table_put(struct vi_table *t);

/* Have @retired free @t. */
void vi_table_retire(struct vi_table *t, struct vi_retire **retired);

#endif
