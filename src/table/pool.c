/* SPDX-License-Identifier: BSD-2-Clause */
#include "table/pool.h"

#include <errno.h>
#include <string.h>

enum {
	POOL_MAX = 64, /* free tables that a pool keeps */
};

static struct vi_table *table_of(struct vi_retire *r)
{
	return (struct vi_table *)(void *)((char *)r -
					   offsetof(struct vi_table, retire));
}

void vi_table_pool_init(struct vi_table_pool *pool,
			const struct viommu_env *env)
{
	pool->env = env;
	pool->free = NULL;
	pool->nfree = 0;
	pool->out = 0;
	vi_lock_init(&pool->lock);
}

void vi_table_pool_fini(struct vi_table_pool *pool)
{
	while (pool->free) {
		struct vi_table *t = table_of(pool->free);

		pool->free = pool->free->next;
		vi_free(pool->env, t);
	}
	vi_lock_fini(&pool->lock);
}

void vi_table_put(struct vi_table *t)
{
	struct vi_table_pool *pool = t->pool;

	/* replaced, not emptied: its readers were to see it as it was */
	if (t->used)
		memset((void *)t, 0, offsetof(struct vi_table, retire));
	vi_lock(&pool->lock);
	pool->out--;
	if (pool->nfree < POOL_MAX) {
		pool->nfree++;
		vi_retire_add(&pool->free, &t->retire);
		t = NULL;
	}
	vi_unlock(&pool->lock);
	vi_free(pool->env, t);
}

static void table_retired(struct vi_retire *r)
{
	vi_table_put(table_of(r));
}

void vi_table_retire(struct vi_table *t, struct vi_retire **retired)
{
	vi_retire_add(retired, &t->retire);
}

int vi_table_get(struct vi_table_pool *pool, uint64_t max,
		 struct vi_table **out)
{
	struct vi_table *t = NULL;
	bool full;

	vi_lock(&pool->lock);
	full = pool->out >= max;
	if (!full) {
		pool->out++;
		if (pool->free) {
			t = table_of(pool->free);
			pool->free = pool->free->next;
			pool->nfree--;
		}
	}
	vi_unlock(&pool->lock);
	if (full)
		return -ENOSPC;
	if (!t)
		t = vi_alloc(pool->env, sizeof(*t), VI_TABLE_ALIGN);
	if (!t) {
		vi_lock(&pool->lock);
		pool->out--;
		vi_unlock(&pool->lock);
		return -ENOMEM;
	}
	t->retire.free = table_retired;
	t->pool = pool;
	t->parent = NULL;
	t->used = 0;
	*out = t;
	return 0;
}
