/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vhost-user: messages that wait for something, and the order of their answers.
 *
 * A message takes effect when it comes, and is over when what it took away is
 * in nobody's use any more, perhaps on another thread.  Answers are given in
 * order: one that is over waits for those before it.
 *
 * A fence that has failed (L9) ends its message with an error, and is still not
 * done: it stays in use until then, though nobody asks.
 *
 * By s->lock: what says that something is over.  Once it is unlocked with the
 * last of that, s may be gone.
 */

#include <errno.h>
#include <unistd.h>

#include "serve/vhost_user_impl.h"

bool vs_vop_room(const struct viommu_vhost_user *s)
{
	/* and one for GET_VRING_BASE, that others may overtake */
	return s->next - s->first < VS_VH_OPS - 1;
}

struct vs_vop *vs_vop_new(struct viommu_vhost_user *s, uint64_t *number)
{
	struct vs_vop *op;

	pthread_mutex_lock(&s->lock);
	*number = s->next++;
	op = &s->ops[*number % VS_VH_OPS];
	*op = (struct vs_vop){ .fd = -1 };
	pthread_mutex_unlock(&s->lock);
	return op;
}

static void over_locked(struct viommu_vhost_user *s, uint64_t number,
			int status)
{
	struct vs_vop *op = &s->ops[number % VS_VH_OPS];

	if (number < s->first || number >= s->next || op->over)
		return;
	op->status = status;
	op->over = true;
	viommu_loop_post(s->loop, &s->progress);
}

void vs_vop_over(struct viommu_vhost_user *s, uint64_t number, int status)
{
	pthread_mutex_lock(&s->lock);
	over_locked(s, number, status);
	pthread_mutex_unlock(&s->lock);
}

bool vs_vop_take(struct viommu_vhost_user *s, struct vs_vop *out)
{
	bool over = false;

	pthread_mutex_lock(&s->lock);
	if (s->first < s->next) {
		*out = s->ops[s->first % VS_VH_OPS];
		over = out->over;
		s->first += over;
	}
	pthread_mutex_unlock(&s->lock);
	return over;
}

void vs_vop_forget(struct viommu_vhost_user *s)
{
	pthread_mutex_lock(&s->lock);
	for (; s->first < s->next; s->first++) {
		struct vs_vop *op = &s->ops[s->first % VS_VH_OPS];

		if (op->fd >= 0)
			close(op->fd);
	}
	for (unsigned i = 0; i < VS_VH_FENCES; i++)
		s->fences[i].number = VS_VOP_NONE;
	pthread_mutex_unlock(&s->lock);
}

/* ---------------------------------------------------------------- fences */

/* Runs on whichever thread polls; the fence is not done before it returns. */
static void failed(struct viommu_fence *fence, void *arg)
{
	struct vs_vfence *f = arg;
	struct viommu_vhost_user *s = f->s;

	(void)fence;
	pthread_mutex_lock(&s->lock);
	over_locked(s, f->number, -ETIMEDOUT);
	f->number = VS_VOP_NONE;
	pthread_mutex_unlock(&s->lock);
}

void vs_vfence_open(struct viommu_vhost_user *s, struct vs_vfence *f)
{
	f->s = s;
	f->used = true;
	f->status = 0;
	f->number = VS_VOP_NONE;
	viommu_fence_init(&f->fence);
	viommu_fence_set_timeout(&f->fence, s->cfg.fence_timeout_ns);
	viommu_fence_set_failed(&f->fence, failed);
}

struct vs_vfence *vs_vfence_get(struct viommu_vhost_user *s)
{
	struct vs_vfence *f = NULL;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < VS_VH_FENCES && !f; i++)
		if (!s->fences[i].used)
			f = &s->fences[i];
	/* the loop's thread alone opens them */
	pthread_mutex_unlock(&s->lock);
	if (f)
		vs_vfence_open(s, f);
	return f;
}

void vs_vfence_put(struct vs_vfence *f)
{
	struct viommu_vhost_user *s = f->s;

	pthread_mutex_lock(&s->lock);
	f->used = false;
	pthread_mutex_unlock(&s->lock);
}

/* Runs on whichever thread let the last user go; perhaps within commit. */
static void done(struct viommu_fence *fence, void *arg)
{
	struct vs_vfence *f = arg;
	struct viommu_vhost_user *s = f->s;

	(void)fence;
	pthread_mutex_lock(&s->lock);
	if (f->number != VS_VOP_NONE)
		over_locked(s, f->number, f->status);
	f->used = false;
	/* a drain may wait for it */
	viommu_loop_post(s->loop, &s->progress);
	pthread_mutex_unlock(&s->lock);
}

void vs_vfence_commit(struct vs_vfence *f, uint64_t number)
{
	struct viommu_vhost_user *s = f->s;
	bool waits;

	f->number = number;
	viommu_fence_commit(&f->fence, done, f);
	/* f may be somebody else's by now */
	pthread_mutex_lock(&s->lock);
	waits = number >= s->first && number < s->next &&
		!s->ops[number % VS_VH_OPS].over;
	pthread_mutex_unlock(&s->lock);
	if (waits)
		vs_vcount(s, VS_VSTAT_WAITED);
}

bool vs_vfences_done(struct viommu_vhost_user *s)
{
	bool used;

	pthread_mutex_lock(&s->lock);
	used = s->drain.used;
	for (unsigned i = 0; i < VS_VH_FENCES; i++)
		used |= s->fences[i].used;
	pthread_mutex_unlock(&s->lock);
	return !used;
}
