/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vhost-user IOTLB: its life, the front-end's memory, and questions
 * (vhost_iotlb_impl.h).
 *
 * It lives until its last user has gone: the space, whose handlers run on any
 * thread until its fence is done; each message until its own is; and whoever is
 * in here meanwhile.  The fence that destroys it is held until then.
 *
 * Who locks what: entries and regions are the thread's of the messages.  The
 * lock guards what fences, accesses and that thread share, is held for some
 * loads and stores, and never over a callback.
 */

#include <errno.h>
#include <string.h>
#include <viommu/space.h>
#include <viommu/viommu.h>

#include "serve/opts.h"
#include "serve/vhost_iotlb_impl.h"

#define PAGE_SIZE   4096u
#define MAX_ENTRIES 65536u
#define MAX_REGIONS 512u

/* -------------------------------------------------------------- questions */

static void miss(void *arg, const struct viommu_miss *m)
{
	struct viommu_vhost_iotlb *tlb = arg;
	const struct vhost_iotlb_msg msg = {
		.iova = m->start,
		.perm = m->prot & VHOST_ACCESS_RW,
		.type = VHOST_IOTLB_MISS,
	};

	vs_iotlb_count(&tlb->misses, 1);
	tlb->ops.miss(tlb->cfg.arg, &msg);
}

/* Of too many all are one. */
static void timed_out_add(struct viommu_vhost_iotlb *tlb, viommu_iova_t start,
			  viommu_iova_t last)
{
	pthread_mutex_lock(&tlb->lock);
	if (tlb->ntimed_out == VS_IOTLB_TIMED_OUT) {
		tlb->ntimed_out = 1;
		tlb->timed_out[0].start = 0;
		tlb->timed_out[0].last = UINT64_MAX;
	} else {
		tlb->timed_out[tlb->ntimed_out].start = start;
		tlb->timed_out[tlb->ntimed_out].last = last;
		tlb->ntimed_out++;
	}
	pthread_mutex_unlock(&tlb->lock);
}

static void settled(void *arg, const struct viommu_miss *m, int rc)
{
	struct viommu_vhost_iotlb *tlb = arg;

	if (rc == -ETIMEDOUT) {
		vs_iotlb_count(&tlb->timeouts, 1);
		timed_out_add(tlb, m->start, m->last);
	}
	tlb->ops.wake(tlb->cfg.arg);
}

int viommu_vhost_iotlb_timed_out(struct viommu_vhost_iotlb *tlb,
				 viommu_iova_t *start, viommu_iova_t *last)
{
	int rc = -ENOENT;

	pthread_mutex_lock(&tlb->lock);
	if (tlb->ntimed_out) {
		tlb->ntimed_out--;
		*start = tlb->timed_out[tlb->ntimed_out].start;
		*last = tlb->timed_out[tlb->ntimed_out].last;
		rc = 0;
	}
	pthread_mutex_unlock(&tlb->lock);
	return rc;
}

/* ------------------------------------------------------------------- life */

static void tlb_free(struct viommu_vhost_iotlb *tlb)
{
	struct viommu_fence *held = tlb->held;
	struct viommu *vi = tlb->cfg.vi;

	pthread_mutex_destroy(&tlb->lock);
	viommu_free(vi, tlb->regions);
	viommu_free(vi, tlb->pool);
	viommu_free(vi, tlb);
	/* from here on the instance may go */
	if (held)
		viommu_fence_release(held);
}

void vs_iotlb_put(struct viommu_vhost_iotlb *tlb)
{
	bool gone;

	pthread_mutex_lock(&tlb->lock);
	gone = !--tlb->users;
	pthread_mutex_unlock(&tlb->lock);
	if (gone)
		tlb_free(tlb);
}

static int space_make(struct viommu_vhost_iotlb *tlb)
{
	const struct viommu_space_config cfg = {
		.size = sizeof(cfg),
		.kind = VIOMMU_SPACE_REMOTE,
		.policy = VIOMMU_SPACE_SPLIT,
		.page_sizes = tlb->cfg.page_size,
		.max_mappings = tlb->cfg.max_entries,
		.miss = miss,
		.settled = settled,
		.arg = tlb,
		.miss_timeout_ns = tlb->cfg.miss_timeout_ns,
		.max_misses = tlb->cfg.max_misses,
	};

	return viommu_space_create(tlb->cfg.vi, &cfg, &tlb->space);
}

static int config_take(struct viommu_vhost_iotlb *tlb)
{
	struct viommu_vhost_iotlb_config *cfg = &tlb->cfg;
	const struct viommu_vhost_iotlb_ops *ops = cfg->ops;

	if (!ops || !ops->miss || !ops->ack || !ops->wake || cfg->reserved)
		return -EINVAL;
	tlb->ops = *ops;
	cfg->ops = NULL;
	if (!cfg->page_size)
		cfg->page_size = PAGE_SIZE;
	if (cfg->page_size & (cfg->page_size - 1))
		return -EINVAL;
	if (!cfg->max_entries)
		cfg->max_entries = MAX_ENTRIES;
	if (!cfg->max_regions)
		cfg->max_regions = MAX_REGIONS;
	return 0;
}

static int tlb_make(struct viommu_vhost_iotlb *tlb)
{
	int rc = config_take(tlb);

	if (rc)
		return rc;
	tlb->regions = viommu_alloc(tlb->cfg.vi, tlb->cfg.max_regions *
							 sizeof(*tlb->regions));
	if (!tlb->regions)
		return -ENOMEM;
	rc = vs_iotlb_pool_make(tlb);
	return rc ? rc : space_make(tlb);
}

int viommu_vhost_iotlb_create(const struct viommu_vhost_iotlb_config *cfg,
			      struct viommu_vhost_iotlb **out)
{
	struct viommu_vhost_iotlb_config known;
	struct viommu_vhost_iotlb *tlb;
	int rc = vs_opts_copy(&known, sizeof(known), cfg, cfg->size);

	if (rc)
		return rc;
	tlb = viommu_alloc(known.vi, sizeof(*tlb));
	if (!tlb)
		return -ENOMEM;
	tlb->cfg = known;
	tlb->users = 1;
	pthread_mutex_init(&tlb->lock, NULL);
	rc = tlb_make(tlb);
	if (rc) {
		tlb_free(tlb);
		return rc;
	}
	*out = tlb;
	return 0;
}

static void space_gone(struct viommu_fence *f, void *arg)
{
	(void)f;
	vs_iotlb_put(arg);
}

void viommu_vhost_iotlb_destroy(struct viommu_vhost_iotlb *tlb,
				struct viommu_fence *f)
{
	if (!tlb)
		return;
	/* it has gathered something by then, so it can be held */
	viommu_vhost_iotlb_reset(tlb, f);
	viommu_fence_hold(f);
	tlb->held = f;
	viommu_fence_init(&tlb->last);
	/* @f is for whom to give up */
	viommu_fence_set_timeout(&tlb->last, UINT64_MAX);
	viommu_space_destroy(tlb->space, &tlb->last);
	viommu_fence_commit(&tlb->last, space_gone, tlb);
}

struct viommu_space *viommu_vhost_iotlb_space(struct viommu_vhost_iotlb *tlb)
{
	return tlb->space;
}

void viommu_vhost_iotlb_reset(struct viommu_vhost_iotlb *tlb,
			      struct viommu_fence *f)
{
	int rc = viommu_space_invalidate(tlb->space, 0, UINT64_MAX, f);

	(void)rc; /* it is REMOTE */
	tlb->nregions = 0;
	pthread_mutex_lock(&tlb->lock);
	tlb->ntimed_out = 0;
	pthread_mutex_unlock(&tlb->lock);
}

int viommu_vhost_iotlb_message(struct viommu_vhost_iotlb *tlb,
			       const struct vhost_iotlb_msg *msg,
			       uint64_t token)
{
	struct vs_iotlb_op *op = vs_iotlb_op_get(tlb, token);

	if (!op)
		return -EBUSY;
	op->status = vs_iotlb_carry_out(tlb, msg, op);
	vs_iotlb_op_commit(op);
	return 0;
}

void viommu_vhost_iotlb_read_stats(struct viommu_vhost_iotlb *tlb,
				   struct viommu_vhost_iotlb_stats *out)
{
	struct viommu_space_stats st;

	viommu_space_read_stats(tlb->space, &st);
	*out = (struct viommu_vhost_iotlb_stats){
		.entries = st.mappings,
		.misses = atomic_load(&tlb->misses),
		.timeouts = atomic_load(&tlb->timeouts),
		.updates = atomic_load(&tlb->updates),
		.invalidations = atomic_load(&tlb->invalidations),
		.waited = atomic_load(&tlb->waited),
		.evicted = atomic_load(&tlb->evicted),
		.refused = atomic_load(&tlb->refused),
	};
}

/* ---------------------------------------------------------------- regions */

/* The first region whose last user address is at or after @user. */
static unsigned region_find(const struct viommu_vhost_iotlb *tlb, uint64_t user)
{
	unsigned lo = 0, hi = tlb->nregions;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;
		const struct viommu_vhost_region *r = &tlb->regions[mid];

		if (r->user + (r->len - 1) < user)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

uint64_t vs_iotlb_region_at(const struct viommu_vhost_iotlb *tlb, uint64_t user,
			    viommu_gpa_t *gpa)
{
	unsigned at = region_find(tlb, user);
	const struct viommu_vhost_region *r = &tlb->regions[at];

	if (at == tlb->nregions || r->user > user)
		return 0;
	*gpa = r->gpa + (user - r->user);
	return r->len - (user - r->user);
}

static bool overlap(uint64_t a, uint64_t alen, uint64_t b, uint64_t blen)
{
	return a <= b + (blen - 1) && b <= a + (alen - 1);
}

int viommu_vhost_iotlb_region_add(struct viommu_vhost_iotlb *tlb,
				  const struct viommu_vhost_region *r)
{
	unsigned at;

	if (!r->len || r->user + (r->len - 1) < r->user ||
	    r->gpa + (r->len - 1) < r->gpa)
		return -EINVAL;
	for (unsigned i = 0; i < tlb->nregions; i++) {
		const struct viommu_vhost_region *o = &tlb->regions[i];

		if (overlap(r->user, r->len, o->user, o->len) ||
		    overlap(r->gpa, r->len, o->gpa, o->len))
			return -EEXIST;
	}
	if (tlb->nregions == tlb->cfg.max_regions)
		return -ENOSPC;
	at = region_find(tlb, r->user);
	memmove(&tlb->regions[at + 1], &tlb->regions[at],
		(tlb->nregions - at) * sizeof(*r));
	tlb->regions[at] = *r;
	tlb->nregions++;
	return 0;
}

int viommu_vhost_iotlb_region_remove(struct viommu_vhost_iotlb *tlb,
				     const struct viommu_vhost_region *r,
				     struct viommu_fence *f)
{
	unsigned at = region_find(tlb, r->user);
	struct viommu_vhost_region *o = &tlb->regions[at];

	if (at == tlb->nregions || o->user != r->user || o->gpa != r->gpa ||
	    o->len != r->len)
		return -ENOENT;
	vs_iotlb_forget(tlb, r->gpa, r->gpa + (r->len - 1), f);
	tlb->nregions--;
	memmove(o, o + 1, (tlb->nregions - at) * sizeof(*o));
	return 0;
}

int viommu_vhost_iotlb_gpa_of_user(const struct viommu_vhost_iotlb *tlb,
				   uint64_t user, uint64_t len,
				   viommu_gpa_t *out)
{
	viommu_gpa_t gpa;

	if (!len || vs_iotlb_region_at(tlb, user, &gpa) < len)
		return -EFAULT;
	*out = gpa;
	return 0;
}
