/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vhost-user IOTLB: when messages are answered.
 *
 *	get -> carried out -> [fence committed] -> over -> answered
 *	                                        -> done        -> unused
 *
 * Answers keep the order of the messages: whoever makes one that is over looks
 * whether it is the first that was not answered yet, and then goes on with
 * those behind it.  One thread answers at a time, without the lock; who finds
 * another at it leaves the rest to that one, which looks again under the lock
 * before it stops.
 *
 * A message whose fence failed (L9) is answered with an error and lingers until
 * it is done.  So does one that takes nothing: it is answered at once.  The
 * pool has one more than may linger, so that the others can be refused.
 */

#include <errno.h>
#include <viommu/viommu.h>

#include "serve/vhost_iotlb_impl.h"

#define MAX_PENDING 256u

int vs_iotlb_pool_make(struct viommu_vhost_iotlb *tlb)
{
	unsigned n;

	if (!tlb->cfg.max_pending)
		tlb->cfg.max_pending = MAX_PENDING;
	n = tlb->cfg.max_pending;
	tlb->pool =
		viommu_alloc(tlb->cfg.vi, ((size_t)n + 1) * sizeof(*tlb->pool));
	if (!tlb->pool)
		return -ENOMEM;
	for (unsigned i = 0; i <= n; i++) {
		tlb->pool[i].tlb = tlb;
		tlb->pool[i].next = tlb->unused;
		tlb->unused = &tlb->pool[i];
	}
	return 0;
}

struct vs_iotlb_op *vs_iotlb_op_get(struct viommu_vhost_iotlb *tlb,
				    uint64_t token)
{
	struct vs_iotlb_op *op;

	pthread_mutex_lock(&tlb->lock);
	op = tlb->unused;
	if (op) {
		tlb->unused = op->next;
		*op = (struct vs_iotlb_op){ .tlb = tlb, .token = token };
		if (tlb->first)
			tlb->last_op->next = op;
		else
			tlb->first = op;
		tlb->last_op = op;
		tlb->users++;
	}
	pthread_mutex_unlock(&tlb->lock);
	if (op)
		viommu_fence_init(&op->fence);
	return op;
}

bool vs_iotlb_op_may_fence(struct vs_iotlb_op *op)
{
	struct viommu_vhost_iotlb *tlb = op->tlb;
	bool may;

	pthread_mutex_lock(&tlb->lock);
	may = tlb->lingering < tlb->cfg.max_pending;
	pthread_mutex_unlock(&tlb->lock);
	return may;
}

bool vs_iotlb_op_behind(const struct vs_iotlb_op *op)
{
	struct viommu_vhost_iotlb *tlb = op->tlb;
	bool behind;

	pthread_mutex_lock(&tlb->lock);
	behind = op->gathered || tlb->taking;
	pthread_mutex_unlock(&tlb->lock);
	return behind;
}

/* Give it back once nobody needs it.  The caller is a user, too. */
static void op_check_locked(struct vs_iotlb_op *op)
{
	struct viommu_vhost_iotlb *tlb = op->tlb;

	if (!op->answered || !op->done || !op->left)
		return;
	op->next = tlb->unused;
	tlb->unused = op;
	tlb->users--;
}

/* The first if it can be answered: taken off. */
static struct vs_iotlb_op *op_next_locked(struct viommu_vhost_iotlb *tlb)
{
	struct vs_iotlb_op *op = tlb->first;

	if (!op || !op->over)
		return NULL;
	tlb->first = op->next;
	op->answered = true;
	tlb->lingering += !op->done;
	return op;
}

static void answer_locked(struct viommu_vhost_iotlb *tlb,
			  struct vs_iotlb_op *op)
{
	uint64_t token = op->token;
	int status = op->status;

	op_check_locked(op);
	if (status)
		vs_iotlb_count(&tlb->refused, 1);
	pthread_mutex_unlock(&tlb->lock);
	tlb->ops.ack(tlb->cfg.arg, token, status);
	pthread_mutex_lock(&tlb->lock);
}

/* Something may be over.  The caller is a user. */
static void answer_all_locked(struct viommu_vhost_iotlb *tlb)
{
	struct vs_iotlb_op *op;

	if (tlb->answering)
		return;
	tlb->answering = true;
	while ((op = op_next_locked(tlb)))
		answer_locked(tlb, op);
	tlb->answering = false;
}

/* Runs on whichever thread let the last user go; perhaps within commit. */
static void op_done(struct viommu_fence *f, void *arg)
{
	struct vs_iotlb_op *op = arg;
	struct viommu_vhost_iotlb *tlb = op->tlb;

	(void)f;
	pthread_mutex_lock(&tlb->lock);
	tlb->users++;
	op->over = op->done = true;
	tlb->lingering -= op->answered;
	tlb->taking--;
	op_check_locked(op);
	answer_all_locked(tlb);
	pthread_mutex_unlock(&tlb->lock);
	vs_iotlb_put(tlb);
}

/* Runs on whichever thread polls; op is not done before it returns. */
static void op_failed(struct viommu_fence *f, void *arg)
{
	struct vs_iotlb_op *op = arg;
	struct viommu_vhost_iotlb *tlb = op->tlb;

	(void)f;
	pthread_mutex_lock(&tlb->lock);
	tlb->users++;
	if (!op->over && !op->status)
		op->status = -ETIMEDOUT;
	op->over = true;
	answer_all_locked(tlb);
	pthread_mutex_unlock(&tlb->lock);
	vs_iotlb_put(tlb);
}

static void fence_commit(struct vs_iotlb_op *op)
{
	struct viommu_vhost_iotlb *tlb = op->tlb;

	viommu_fence_set_failed(&op->fence, op_failed);
	if (tlb->cfg.fence_timeout_ns)
		viommu_fence_set_timeout(&op->fence, tlb->cfg.fence_timeout_ns);
	viommu_fence_commit(&op->fence, op_done, op);
}

void vs_iotlb_op_commit(struct vs_iotlb_op *op)
{
	struct viommu_vhost_iotlb *tlb = op->tlb;

	pthread_mutex_lock(&tlb->lock);
	tlb->users++;
	op->over = !op->takes || !op->gathered;
	op->done = !op->gathered;
	tlb->taking += op->gathered;
	pthread_mutex_unlock(&tlb->lock);
	if (op->gathered)
		fence_commit(op);
	pthread_mutex_lock(&tlb->lock);
	if (!op->over)
		vs_iotlb_count(&tlb->waited, 1);
	op->left = true;
	if (op->answered)
		op_check_locked(op);
	answer_all_locked(tlb);
	pthread_mutex_unlock(&tlb->lock);
	vs_iotlb_put(tlb);
}
