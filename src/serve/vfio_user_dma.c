/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * DMA_MAP and DMA_UNMAP: the client's memory, and when it is let go of.
 *
 * A client with an IOMMU of its own sends a map for each mapping there, and an
 * unmap for each that goes: a hundred thousand of the former, and thousands of
 * changes a second.  Maps are in a tree by range, here as in memory, and all
 * that show one file share what is mapped of it (vfio_user_file.h).
 *
 * An unmap takes effect at once (L2) and is answered when its fence is done
 * (L3): when those have let go who use what it takes, whoever uses something
 * else.  Answers keep their order: QEMU sends the changes of a memory
 * transaction without waiting and then waits for the last answer alone, which
 * has to vouch for those before it.  Where a transaction ends cannot be seen
 * from here, so this holds for all: what comes while an unmap waits is queued
 * behind it, already carried out.  Who asks one by one, as QEMU does for the
 * mappings of its IOMMU, does not notice.
 *
 * An unmap takes every map in its range, as VFIO's does; it may be that there
 * is none, and one that would cut a map is refused.  The protocol's text wants
 * exactly one; but QEMU's intel-iommu unmaps whole aligned ranges when a device
 * gets another domain, and goes by it that nothing is left there.
 *
 * Memory may be shown to be read, to be written, or both.  (QEMU never shows
 * any to be written only: what its guest maps so can be read, too.)
 *
 * If the deadline passes and a function that holds on to the memory is given up
 * (L9), the unmap is answered with EBUSY: the memory is gone for all new
 * accesses, but old ones may still be under way.  Clients do not wait for ever;
 * and with the answers behind it waiting, too, the machine would stand still.
 *
 * Operations come from a fixed pool and fences live in them: taking memory
 * away allocates nothing.  A failed one is back in the pool when it is done.
 * When the pool is full of those, further unmaps are refused with ENOBUFS and
 * nothing is taken; but the client is heard, since it may reset the function.
 */

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <viommu/memory.h>

#include "serve/vfio_user_impl.h"

int vs_dma_init(struct vs_dma *dma, struct viommu_loop *loop,
		struct viommu_memory *memory, struct viommu_task *progress)
{
	memset(dma, 0, sizeof(*dma));
	dma->loop = loop;
	dma->memory = memory;
	dma->progress = progress;
	dma->ops = calloc(VS_DMA_OPS, sizeof(*dma->ops));
	if (!dma->ops)
		return -ENOMEM;
	pthread_mutex_init(&dma->lock, NULL);
	for (unsigned i = 0; i < VS_DMA_OPS; i++) {
		dma->ops[i].done = true;
		vs_dma_put(dma, &dma->ops[i]);
	}
	dma->drain.done = true;
	return 0;
}

void vs_dma_fini(struct vs_dma *dma)
{
	if (!dma->ops)
		return;
	/* whoever ran the last callback has left it */
	pthread_mutex_lock(&dma->lock);
	pthread_mutex_unlock(&dma->lock);
	pthread_mutex_destroy(&dma->lock);
	free(dma->ops);
}

/* ----------------------------------------------------------------- maps */

/* Those that overlap are the same to the tree, in which none do: what it finds
 * for a range is some map with a byte there. */
static int by_range(const void *x, const void *y)
{
	const struct vs_map *a = x, *b = y;

	if (a->last < b->start)
		return -1;
	return a->start > b->last;
}

/* A map with a byte in that range, or NULL. */
static struct vs_map *map_find(const struct vs_dma *dma, uint64_t start,
			       uint64_t last)
{
	const struct vs_map range = { .start = start, .last = last };
	struct vs_map **found = tfind(&range, &dma->maps, by_range);

	return found ? *found : NULL;
}

static void maps_count(struct vs_dma *dma, unsigned n)
{
	dma->nmaps = n;
	atomic_store_explicit(&dma->mapped, n, memory_order_relaxed);
}

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static bool map_same(const struct vs_map *a, const struct vs_map *b,
		     const struct vs_msg *m)
{
	return a->start == b->start && a->last == b->last &&
	       a->offset == b->offset && a->flags == b->flags &&
	       (m->nfds ? a->file && vs_files_same(a->file, m->fds[0])
			: !a->file);
}

/* Read the command into @out, but for the file.  0 or -errno. */
static int map_decode(const struct vs_msg *m, struct vs_map *out)
{
	struct vu_dma_map req;

	memcpy(&req, m->body, sizeof(req));
	if (req.argsz < sizeof(req) || m->nfds > 1)
		return -EINVAL;
	if (req.flags &
	    ~(uint32_t)(VU_DMA_F_READ | VU_DMA_F_WRITE | VU_DMA_F_MMAP))
		return -EINVAL;
	if (!(req.flags & (VU_DMA_F_READ | VU_DMA_F_WRITE)))
		return -EINVAL;
	if (!req.len || req.iova + (req.len - 1) < req.iova)
		return -EINVAL;
	*out = (struct vs_map){
		.start = req.iova,
		.last = req.iova + (req.len - 1),
		.offset = req.offset,
		.flags = req.flags & (VU_DMA_F_READ | VU_DMA_F_WRITE),
	};
	return 0;
}

static int memory_add(struct vs_dma *dma, struct vs_map *map, int fd)
{
	const struct viommu_region region = {
		.size = sizeof(region),
		.gpa = map->start,
		.len = map->last - map->start + 1,
		.prot = (map->flags & VU_DMA_F_READ ? VIOMMU_READ : 0) |
			(map->flags & VU_DMA_F_WRITE ? VIOMMU_WRITE : 0),
		.fd = fd,
		.fd_offset = map->offset,
	};
	int rc = vs_files_get(&dma->files, fd, &map->file);

	if (rc)
		return rc;
	rc = viommu_memory_add(dma->memory, &region);
	if (rc)
		vs_files_put(&dma->files, map->file);
	return rc;
}

/* @map, which overlaps none, into the tree and into memory. */
static int map_add(struct vs_dma *dma, const struct vs_map *map,
		   const struct vs_msg *m)
{
	struct vs_map *own = malloc(sizeof(*own));
	int rc = 0;

	if (!own)
		return -ENOMEM;
	*own = *map;
	/* first what can be undone without a fence */
	if (!tsearch(own, &dma->maps, by_range)) {
		free(own);
		return -ENOMEM;
	}
	if (m->nfds)
		rc = memory_add(dma, own, m->fds[0]);
	if (rc) {
		tdelete(own, &dma->maps, by_range);
		free(own);
	}
	return rc;
}

static int map_do(struct vs_dma *dma, const struct vs_msg *m)
{
	const struct vs_map *old;
	struct vs_map map;
	int rc;

	rc = map_decode(m, &map);
	if (rc)
		return rc;
	old = map_find(dma, map.start, map.last);
	if (old)
		return map_same(old, &map, m) ? 0 : -EEXIST;
	if (dma->nmaps >= VU_MAX_MAPS)
		return -ENOSPC;
	rc = map_add(dma, &map, m);
	if (rc)
		return rc;
	maps_count(dma, dma->nmaps + 1);
	count(&dma->maps_done);
	if (!m->nfds)
		count(&dma->holes);
	return 0;
}

/* ----------------------------------------------------------- operations */

static bool op_is_done(struct vs_dma *dma, const struct vs_dma_op *op)
{
	bool done;

	pthread_mutex_lock(&dma->lock);
	done = op->done;
	pthread_mutex_unlock(&dma->lock);
	return done;
}

void vs_dma_put(struct vs_dma *dma, struct vs_dma_op *op)
{
	struct vs_dma_op **to =
		op_is_done(dma, op) ? &dma->unused : &dma->failed;

	op->next = *to;
	*to = op;
}

/* Those that are done by now are free again. */
static void failed_sweep(struct vs_dma *dma)
{
	struct vs_dma_op *op = dma->failed;

	dma->failed = NULL;
	while (op) {
		struct vs_dma_op *next = op->next;

		vs_dma_put(dma, op);
		op = next;
	}
}

/* NULL: all of them have failed, and are not done. */
static struct vs_dma_op *op_get(struct vs_dma *dma, const struct vs_msg *m)
{
	struct vs_dma_op *op;

	if (!dma->unused)
		failed_sweep(dma);
	op = dma->unused;
	if (!op)
		return NULL;
	dma->unused = op->next;
	op->dma = dma;
	op->next = NULL;
	op->hdr = *m->hdr;
	op->reply_len = 0;
	op->error = 0;
	op->parked = false;
	op->failed = false;
	op->done = false;
	return op;
}

bool vs_dma_ready(const struct vs_dma *dma)
{
	/* none waits for its answer: what comes can be answered at once */
	return dma->unused || !dma->first;
}

/* Runs on whichever thread let the last user go; perhaps within commit. */
static void op_done(struct viommu_fence *f, void *arg)
{
	struct vs_dma_op *op = arg;
	struct vs_dma *dma = op->dma;

	(void)f;
	/* once it is unlocked with done set, op and dma may be gone */
	pthread_mutex_lock(&dma->lock);
	op->done = true;
	if (op->parked)
		viommu_loop_post(dma->loop, dma->progress);
	pthread_mutex_unlock(&dma->lock);
}

/* Runs on whichever thread polls; op is not done before it returns. */
static void op_failed(struct viommu_fence *f, void *arg)
{
	struct vs_dma_op *op = arg;
	struct vs_dma *dma = op->dma;

	(void)f;
	pthread_mutex_lock(&dma->lock);
	op->failed = true;
	if (op->parked)
		viommu_loop_post(dma->loop, dma->progress);
	pthread_mutex_unlock(&dma->lock);
}

/* Commit what op gathered.  true: done already. */
static bool op_commit(struct vs_dma *dma, struct vs_dma_op *op)
{
	bool done;

	op->dma = dma;
	op->parked = false;
	op->failed = false;
	op->done = false;
	viommu_fence_commit(&op->fence, op_done, op);
	pthread_mutex_lock(&dma->lock);
	done = op->done;
	op->parked = !done;
	pthread_mutex_unlock(&dma->lock);
	return done;
}

/* An unmap of a hole has nothing to wait for, and must not be answered with
 * success where an earlier one failed whose users are still there. */
static bool failed_overlap(const struct vs_dma *dma, const struct vs_dma_op *op)
{
	const struct vu_dma_unmap *a = &op->reply, *b;

	for (const struct vs_dma_op *o = dma->failed; o; o = o->next) {
		b = &o->reply;
		/* no length: everything */
		if (!a->len || !b->len ||
		    (a->iova <= b->iova + (b->len - 1) &&
		     b->iova <= a->iova + (a->len - 1)))
			return true;
	}
	return false;
}

/* What to answer: those before it are, and failed if they are not done. */
static int op_error(struct vs_dma *dma, struct vs_dma_op *op)
{
	bool unmaps = op->hdr.command == VU_DMA_UNMAP;

	failed_sweep(dma);
	if (!op->error && unmaps && failed_overlap(dma, op))
		op->error = -EBUSY;
	return op->error;
}

/* Answer now if nothing waits before it, else in its turn. */
static int op_finish(struct vs_dma *dma, struct vs_dma_op *op, bool done,
		     struct vs_reply *r)
{
	int rc;

	if (done && !dma->first) {
		rc = op_error(dma, op);
		if (!rc) {
			memcpy(r->body, &op->reply, op->reply_len);
			r->len = op->reply_len;
		}
		vs_dma_put(dma, op);
		return rc;
	}
	if (dma->first)
		dma->last->next = op;
	else
		dma->first = op;
	dma->last = op;
	return VS_LATER;
}

/* Whether it can be answered, done or not. */
static bool op_is_over(struct vs_dma *dma, struct vs_dma_op *op)
{
	bool over;

	pthread_mutex_lock(&dma->lock);
	if (op->failed && !op->done)
		op->error = -EBUSY;
	over = op->failed || op->done;
	pthread_mutex_unlock(&dma->lock);
	return over;
}

struct vs_dma_op *vs_dma_answer(struct vs_dma *dma)
{
	struct vs_dma_op *op = dma->first;

	failed_sweep(dma);
	if (!op || !op_is_over(dma, op))
		return NULL;
	(void)op_error(dma, op);
	dma->first = op->next;
	if (!dma->first)
		dma->last = NULL;
	return op;
}

int vs_dma_map(struct vs_dma *dma, const struct vs_msg *m, struct vs_reply *r)
{
	struct vs_dma_op *op;

	if (!dma->first)
		return map_do(dma, m);
	op = op_get(dma, m);
	op->error = map_do(dma, m);
	op->done = true;
	return op_finish(dma, op, true, r);
}

/* ---------------------------------------------------------------- unmap */

static void memory_remove(struct vs_dma *dma, const struct vs_map *map,
			  struct viommu_fence *f)
{
	uint64_t len = map->last - map->start + 1;

	if (!map->file)
		return;
	vs_files_put(&dma->files, map->file);
	/* fails only if the embedder took it from under us */
	if (viommu_memory_remove(dma->memory, map->start, len, f))
		return;
}

static void map_remove(struct vs_dma *dma, struct vs_map *map,
		       struct viommu_fence *f)
{
	memory_remove(dma, map, f);
	tdelete(map, &dma->maps, by_range);
	free(map);
	maps_count(dma, dma->nmaps - 1);
}

/* All in [start, last].  -EINVAL: it would cut one, and nothing was removed. */
static int maps_remove(struct vs_dma *dma, uint64_t start, uint64_t last,
		       struct viommu_fence *f)
{
	struct vs_map *map = map_find(dma, start, start);

	if (map && map->start < start)
		return -EINVAL;
	map = map_find(dma, last, last);
	if (map && map->last > last)
		return -EINVAL;
	while ((map = map_find(dma, start, last)))
		map_remove(dma, map, f);
	return 0;
}

/* Gather into the operation's fence.  0 or -errno: nothing was. */
static int unmap_do(struct vs_dma *dma, const struct vs_msg *m,
		    struct vs_dma_op *op)
{
	struct vu_dma_unmap *req = &op->reply;

	memcpy(req, m->body, sizeof(*req));
	if (req->argsz < sizeof(*req))
		return -EINVAL;
	if (req->flags & VU_UNMAP_F_DIRTY)
		return -EOPNOTSUPP;
	if (req->flags & ~(uint32_t)VU_UNMAP_F_ALL)
		return -EINVAL;
	op->reply_len = sizeof(*req);
	req->argsz = sizeof(*req);
	if (req->flags & VU_UNMAP_F_ALL) {
		if (req->iova || req->len)
			return -EINVAL;
		return maps_remove(dma, 0, UINT64_MAX, &op->fence);
	}
	if (!req->len || req->iova + (req->len - 1) < req->iova)
		return -EINVAL;
	return maps_remove(dma, req->iova, req->iova + (req->len - 1),
			   &op->fence);
}

int vs_dma_unmap(struct vs_dma *dma, const struct vs_msg *m, struct vs_reply *r)
{
	struct vs_dma_op *op = op_get(dma, m);

	if (!op)
		return -ENOBUFS;
	viommu_fence_init(&op->fence);
	viommu_fence_set_failed(&op->fence, op_failed);
	op->error = unmap_do(dma, m, op);
	if (op->error) {
		op->done = true;
		return op_finish(dma, op, true, r);
	}
	count(&dma->unmaps_done);
	return op_finish(dma, op, op_commit(dma, op), r);
}

void vs_dma_drain(struct vs_dma *dma)
{
	viommu_fence_init(&dma->drain.fence);
	/* none is cut */
	(void)maps_remove(dma, 0, UINT64_MAX, &dma->drain.fence);
	op_commit(dma, &dma->drain);
}

bool vs_dma_drained(struct vs_dma *dma)
{
	return !dma->first && !dma->failed && op_is_done(dma, &dma->drain);
}
