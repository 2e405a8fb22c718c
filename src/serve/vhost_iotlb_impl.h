/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_VHOST_IOTLB_IMPL_H
#define VS_VHOST_IOTLB_IMPL_H

/*
 * What the files of the vhost-user IOTLB share: vhost_iotlb.c (its life,
 * regions, questions), vhost_iotlb_entry.c (what messages do to the space),
 * vhost_iotlb_ack.c (when they are answered).
 */

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <viommu/fence.h>
#include <viommu/serve/vhost_iotlb.h>

enum {
	VS_IOTLB_TIMED_OUT = 32, /* remembered until they are fetched */
};

/* One message.  The booleans but the first three, and status once committed,
 * are guarded by the lock. */
struct vs_iotlb_op {
	struct viommu_vhost_iotlb *tlb;
	struct vs_iotlb_op *next; /* unused, or in the order of the messages */
	uint64_t token;
	int status;
	bool gathered; /* its fence is to be committed */
	bool takes;    /* and its answer waits for that */
	bool placed;   /* part of an UPDATE was mapped */
	bool over;     /* can be answered */
	bool answered;
	bool done; /* its fence, if it was committed */
	bool left; /* message() returned */
	struct viommu_fence fence;
};

struct viommu_vhost_iotlb {
	struct viommu_vhost_iotlb_config cfg;
	struct viommu_vhost_iotlb_ops ops;
	struct viommu_space *space;

	/* the thread of the messages */
	struct viommu_vhost_region *regions; /* by user address, disjoint */
	unsigned nregions;
	viommu_iova_t cursor; /* what goes next when it is full */

	pthread_mutex_t lock;
	/* the rest: guarded by the lock, but for the counters */
	struct vs_iotlb_op *pool, *unused;
	struct vs_iotlb_op *first, *last_op; /* not answered, in order */
	unsigned lingering;		     /* answered, and not done */
	unsigned taking; /* messages whose fence is not done */
	bool answering;	 /* somebody is */
	unsigned users;	 /* the space, messages, and who is in here */
	struct {
		viommu_iova_t start, last;
	} timed_out[VS_IOTLB_TIMED_OUT];
	unsigned ntimed_out;

	struct viommu_fence last;  /* the space's */
	struct viommu_fence *held; /* its destroyer's */

	_Atomic uint64_t misses, timeouts, updates, invalidations, waited,
		evicted, refused;
};

static inline void vs_iotlb_count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* -------------------------------------------------------- vhost_iotlb.c */

/* One user less; the last one frees it. */
void vs_iotlb_put(struct viommu_vhost_iotlb *tlb);

/* How many bytes from @user on are in one region, and where; 0: none. */
uint64_t vs_iotlb_region_at(const struct viommu_vhost_iotlb *tlb, uint64_t user,
			    viommu_gpa_t *gpa);

/* -------------------------------------------------- vhost_iotlb_entry.c */

/* Carry a message out, as far as it goes without waiting.  The answer's
 * status. */
int vs_iotlb_carry_out(struct viommu_vhost_iotlb *tlb,
		       const struct vhost_iotlb_msg *msg,
		       struct vs_iotlb_op *op);

/* Forget what leads to [gpa, last]. */
void vs_iotlb_forget(struct viommu_vhost_iotlb *tlb, viommu_gpa_t gpa,
		     viommu_gpa_t last, struct viommu_fence *f);

/* ---------------------------------------------------- vhost_iotlb_ack.c */

int vs_iotlb_pool_make(struct viommu_vhost_iotlb *tlb);

/* One for the next message; NULL: too many wait. */
struct vs_iotlb_op *vs_iotlb_op_get(struct viommu_vhost_iotlb *tlb,
				    uint64_t token);

/* Whether @op may take something away: else there is no fence left for it. */
bool vs_iotlb_op_may_fence(struct vs_iotlb_op *op);

/* Whether somebody may still use what has been forgotten, here or by a message
 * before. */
bool vs_iotlb_op_behind(const struct vs_iotlb_op *op);

/* It has been carried out.  Answer it, now or when its fence is done. */
void vs_iotlb_op_commit(struct vs_iotlb_op *op);

#endif
