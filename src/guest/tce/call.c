/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When a call of a vCPU's is over.  Its fence lives inside it, so one that
 * waits costs no memory.
 *
 * Three things happen to a call whose fence was committed: it RETURNs, its
 * fence is DONE, and maybe its fence FAILed before that (L9: the deadline
 * passed and a device in the way was given up).  In any order but that; each
 * sets its bit, and what was set before says whose turn it is:
 *
 *	DONE before RETURNED	the code is returned, and nobody is called
 *	otherwise		VIOMMU_PENDING is returned, and then
 *	  DONE alone		done(code), release()
 *	  FAILED		done(hardware error) now, or, if it has not
 *				returned, when it does; then it is ANSWERED
 *	  DONE and ANSWERED	release(), by whichever comes second
 *
 * What was refused for a reason of its own keeps its code.
 *
 * `t` is touched only by calls that RETURNED pending: they hold a reference.
 */
#include "guest/tce/device.h"

enum {
	RETURNED = 1 << 0,
	FAILED = 1 << 1,
	ANSWERED = 1 << 2,
	DONE = 1 << 3,
};

struct call {
	struct viommu_fence fence;
	struct viommu_tce *t;
	int64_t code;
	uint32_t *status; /* or NULL */
	_Atomic(uint32_t) state;
};
_Static_assert(sizeof(struct call) <=
		       sizeof(((struct viommu_tce_call *)0)->opaque),
	       "call grew");
/* one for hypervisor and firmware calls */
_Static_assert((int)VIOMMU_H_HARDWARE == (int)VIOMMU_RTAS_HW_ERROR, "");

static struct call *call_of(struct viommu_tce_call *call)
{
	return (struct call *)(void *)call->opaque;
}

static void answer(struct viommu_tce_call *call, int64_t code)
{
	struct call *c = call_of(call);

	if (c->status)
		*c->status = (uint32_t)code;
	if (code)
		vt_count(&vt_part(c->t)->refused, 1);
	call->done(call, code);
}

/* Its storage is the caller's again, and was answered. */
static void call_release(struct viommu_tce_call *call)
{
	struct viommu_tce *t = call_of(call)->t;

	atomic_fetch_sub(&t->waiting, 1);
	call->release(call);
	vt_unref(t);
}

/* Done may have it reused. */
static void call_over(struct viommu_tce_call *call)
{
	void (*release)(struct viommu_tce_call *) = call->release;
	struct viommu_tce *t = call_of(call)->t;

	atomic_fetch_sub(&t->waiting, 1);
	answer(call, call_of(call)->code);
	if (release)
		release(call);
	vt_unref(t);
}

static void answer_failed(struct viommu_tce_call *call)
{
	struct call *c = call_of(call);

	atomic_fetch_add(&c->t->failed, 1);
	answer(call, c->code ? c->code : VIOMMU_H_HARDWARE);
	if (atomic_fetch_or(&c->state, ANSWERED) & DONE)
		call_release(call);
}

static void call_failed(struct viommu_fence *f, void *arg)
{
	struct viommu_tce_call *call = arg;

	(void)f;
	if (atomic_fetch_or(&call_of(call)->state, FAILED) & RETURNED)
		answer_failed(call);
}

static void call_done(struct viommu_fence *f, void *arg)
{
	struct viommu_tce_call *call = arg;
	uint32_t was = atomic_fetch_or(&call_of(call)->state, DONE);

	(void)f;
	if (!(was & RETURNED))
		return; /* the call may be in use again */
	if (was & ANSWERED)
		call_release(call);
	else if (!(was & FAILED))
		call_over(call);
}

struct viommu_fence *vt_call_open(struct viommu_tce *t,
				  struct viommu_tce_call *call)
{
	struct call *c = call_of(call);

	c->t = t;
	viommu_fence_init(&c->fence);
	return &c->fence;
}

/* Is it done already?  If not, somebody will come back. */
static bool commit(struct viommu_tce *t, struct viommu_tce_call *call)
{
	struct call *c = call_of(call);
	uint32_t was;

	atomic_init(&c->state, 0);
	if (call->release)
		viommu_fence_set_failed(&c->fence, call_failed);
	viommu_fence_commit(&c->fence, call_done, call);
	if (atomic_load(&c->state) & DONE)
		return true;
	vt_ref(t);
	atomic_fetch_add(&t->waiting, 1);
	was = atomic_fetch_or(&c->state, RETURNED);
	if (was & DONE) {
		atomic_fetch_sub(&t->waiting, 1);
		vt_unref(t); /* not the last */
		return true;
	}
	/* without FAILED, call and t may be gone */
	if (was & FAILED)
		answer_failed(call);
	return false;
}

int64_t vt_call_close(struct viommu_tce *t, struct viommu_tce_call *call,
		      const struct vt_taking *taking, int64_t code,
		      uint32_t *status)
{
	struct call *c = call_of(call);

	c->code = code;
	c->status = status;
	if (taking->took && !commit(t, call))
		return VIOMMU_PENDING;
	if (status)
		*status = (uint32_t)code;
	if (code)
		vt_count(&vt_part(t)->refused, 1);
	return code;
}
