/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The instance: built in one go, unwound in reverse.
 */
#include <errno.h>
#include <string.h>

#include "base/barrier.h"
#include "base/opts.h"
#include "base/range.h"
#include "core/fence.h"
#include "core/instance.h"
#include "core/memory.h"
#include "core/miss.h"
#include "core/quota.h"

enum {
	MAX_ENDPOINTS = 65536,
	MAX_THREADS = 256,
	MAX_MAPPINGS = 1 << 24,
	THREADS_LIMIT = 1 << 20, /* 2 GiB of seats */
	FENCE_TIMEOUT = 1000000000,
};

const char *viommu_version(void)
{
	return VIOMMU_VERSION;
}

static int barrier_choose(struct viommu *vi, uint32_t barrier)
{
	vi->membarrier = vi_membarrier_setup();
	vi->barrier = barrier;
	return barrier == VIOMMU_BARRIER_ASYMMETRIC && !vi->membarrier
		       ? -EOPNOTSUPP
		       : 0;
}

static int config_check(struct viommu_config *c, const struct viommu_config *in)
{
	memset(c, 0, sizeof(*c));
	if (in && vi_opts_copy(c, sizeof(*c), in, in->size,
			       offsetof(struct viommu_config, env)))
		return -EINVAL;
	if (c->barrier > VIOMMU_BARRIER_ASYMMETRIC || c->reserved ||
	    c->max_threads > THREADS_LIMIT)
		return -EINVAL;
	if (!c->max_endpoints)
		c->max_endpoints = MAX_ENDPOINTS;
	if (!c->max_threads)
		c->max_threads = MAX_THREADS;
	if (!c->fence_timeout_ns)
		c->fence_timeout_ns = FENCE_TIMEOUT;
	if (!c->max_mappings)
		c->max_mappings = MAX_MAPPINGS;
	return 0;
}

static struct viommu *instance_alloc(const struct viommu_env *env,
				     const struct viommu_config *c)
{
	struct viommu *vi = vi_alloc(env, sizeof(*vi), _Alignof(struct viommu));

	if (!vi)
		return NULL;
	vi->env = *env;
	vi->max_endpoints = c->max_endpoints;
	vi->max_mappings = c->max_mappings;
	vi->fence_timeout = c->fence_timeout_ns;
	vi_list_init(&vi->asking);
	vi_lock_init(&vi->asking_lock);
	vi_cond_init(&vi->asked);
	vi_list_init(&vi->remotes);
	vi_lock_init(&vi->remote_lock);
	vi_list_init(&vi->pending);
	vi_list_init(&vi->settling);
	vi_list_init(&vi->holding);
	vi_list_init(&vi->notifiers);
	vi_lock_init(&vi->notify_lock);
	vi_list_init(&vi->spaces);
	for (int i = 0; i < VI_EP_BUCKETS; i++)
		vi_list_init(&vi->endpoints[i]);
	vi_lock_init(&vi->lock);
	vi_lock_init(&vi->pending_lock);
	vi_cond_init(&vi->done);
	vi_table_pool_init(&vi->tables, &vi->env);
	return vi;
}

static void instance_free(struct viommu *vi)
{
	struct viommu_env env = vi->env;

	vi_table_pool_fini(&vi->tables);
	pthread_cond_destroy(&vi->asked);
	vi_lock_fini(&vi->asking_lock);
	pthread_cond_destroy(&vi->done);
	vi_lock_fini(&vi->pending_lock);
	vi_lock_fini(&vi->remote_lock);
	vi_lock_fini(&vi->lock);
	vi_lock_fini(&vi->notify_lock);
	vi_free(&env, vi);
}

int viommu_create(const struct viommu_config *in, struct viommu **out)
{
	struct viommu_config c;
	struct viommu_env env;
	struct viommu *vi;
	int rc;

	rc = config_check(&c, in);
	if (!rc)
		rc = vi_env_init(&env, c.env);
	if (rc)
		return rc;
	vi = instance_alloc(&env, &c);
	if (!vi)
		return -ENOMEM;
	rc = barrier_choose(vi, c.barrier);
	if (rc)
		goto free_instance;
	rc = vi_seats_init(vi, c.max_threads);
	if (rc)
		goto free_instance;
	rc = viommu_memory_create(vi, &vi->memory);
	if (rc)
		goto free_seats;
	*out = vi;
	return 0;

free_seats:
	vi_seats_fini(vi);
free_instance:
	instance_free(vi);
	return rc;
}

void viommu_destroy(struct viommu *vi)
{
	struct viommu_memory *memory;
	struct viommu_fence f;
	int rc;

	if (!vi)
		return;
	VI_BUG_ON(vi->nendpoints || atomic_load(&vi->mappings) ||
		  !vi_list_empty(&vi->pending) ||
		  !vi_list_empty(&vi->notifiers) ||
		  !vi_list_empty(&vi->holding));
	memory = vi->memory;
	vi->memory = NULL;
	viommu_fence_init(&f);
	viommu_memory_destroy(memory, &f);
	viommu_fence_commit(&f, NULL, NULL);
	rc = viommu_fence_wait(&f, -1);
	VI_BUG_ON(rc);
	vi_seats_fini(vi);
	instance_free(vi);
}

void *viommu_alloc(struct viommu *vi, size_t size)
{
	return vi_alloc(&vi->env, size, _Alignof(max_align_t));
}

void viommu_free(struct viommu *vi, void *ptr)
{
	vi_free(&vi->env, ptr);
}

/* ---- time (L9) -------------------------------------------------------- */

uint64_t viommu_next_deadline(struct viommu *vi)
{
	return vi_min(vi_fence_deadline(vi), vi_miss_next_deadline(vi));
}

void viommu_poll(struct viommu *vi, uint64_t now)
{
	vi_fence_expire(vi, now);
	vi_miss_poll(vi, vi_min(now, UINT64_MAX - 1));
}

/* ---- statistics ------------------------------------------------------- */

/* The wait that @permille of all @n fences do not exceed. */
static uint64_t wait_quantile_locked(struct viommu *vi, uint64_t n,
				     unsigned permille)
	VI_REQUIRES(&vi->pending_lock)
{
	/* how many may wait longer, from the top down */
	uint64_t beyond = n - (n * permille + 999) / 1000;

	for (unsigned i = VI_WAIT_BUCKETS; i-- > 0;) {
		if (vi->waits[i] > beyond)
			return vi_fence_wait_of_bucket(i);
		beyond -= vi->waits[i];
	}
	return 0;
}

void viommu_read_stats(struct viommu *vi, struct viommu_stats *out)
{
	uint32_t n = atomic_load(&vi->seats_used);

	memset(out, 0, sizeof(*out));
	for (uint32_t i = 0; i < n; i++) {
		struct vi_seat *seat = &vi->seats[i];

		out->accesses += atomic_load(&seat->accesses);
		out->maps += atomic_load(&seat->maps);
		out->bytes_read += atomic_load(&seat->bytes_read);
		out->bytes_written += atomic_load(&seat->bytes_written);
	}
	out->faults = atomic_load(&vi->faults);
	vi_quota_read_stats(vi, out);
	out->fences = atomic_load(&vi->fences);
	out->fences_waited = atomic_load(&vi->fences_waited);
	out->fences_pending = atomic_load(&vi->npending);
	out->fences_failed = atomic_load(&vi->fences_failed);
	out->expired = atomic_load(&vi->expired);
	out->revokes = atomic_load(&vi->revokes);
	out->misses = atomic_load(&vi->misses);
	vi_lock(&vi->pending_lock);
	out->fence_wait_ns_p50 = wait_quantile_locked(vi, out->fences, 500);
	out->fence_wait_ns_p99 = wait_quantile_locked(vi, out->fences, 990);
	out->fence_wait_ns_max = vi->wait_max;
	vi_unlock(&vi->pending_lock);
}
