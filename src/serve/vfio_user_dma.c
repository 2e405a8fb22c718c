/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * DMA_MAP and DMA_UNMAP: the client's memory, and when it is let go of.
 *
 * An unmap takes effect at once (L2) and is answered when its fence is done
 * (L3).  Answers keep their order: QEMU sends the changes of a memory
 * transaction without waiting and then waits for the last answer alone.  So
 * what comes while an unmap waits is queued behind it, already carried out.
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
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
	free(dma->maps);
	free(dma->ops);
}

/* ----------------------------------------------------------------- maps */

/* The first map whose last is at or after @iova. */
static unsigned map_find(const struct vs_dma *dma, uint64_t iova)
{
	unsigned lo = 0, hi = dma->nmaps;

	while (lo < hi) {
		unsigned mid = lo + (hi - lo) / 2;

		if (dma->maps[mid].last < iova)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
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

/* Room for one more.  0 or -errno. */
static int maps_grow(struct vs_dma *dma)
{
	unsigned room = dma->room ? 2 * dma->room : 64;
	struct vs_map *maps;

	if (dma->nmaps >= VU_MAX_MAPS)
		return -ENOSPC;
	if (dma->nmaps < dma->room)
		return 0;
	maps = realloc(dma->maps, room * sizeof(*maps));
	if (!maps)
		return -ENOMEM;
	dma->maps = maps;
	dma->room = room;
	return 0;
}

static bool map_same(const struct vs_map *a, const struct vs_map *b)
{
	return a->start == b->start && a->last == b->last &&
	       a->offset == b->offset && a->flags == b->flags &&
	       a->hole == b->hole && a->dev == b->dev && a->ino == b->ino;
}

/* Which file it is, to know an identical map by. */
static int file_look(int fd, struct vs_map *out)
{
	struct stat st;

	if (fstat(fd, &st))
		return -EBADF;
	out->dev = st.st_dev;
	out->ino = st.st_ino;
	return 0;
}

/* Read the command into @out.  0 or -errno. */
static int map_decode(const struct vs_msg *m, struct vs_map *out)
{
	struct vu_dma_map req;

	memcpy(&req, m->body, sizeof(req));
	if (req.argsz < sizeof(req) || m->nfds > 1)
		return -EINVAL;
	if (req.flags &
	    ~(uint32_t)(VU_DMA_F_READ | VU_DMA_F_WRITE | VU_DMA_F_MMAP))
		return -EINVAL;
	/* memory that can be written but not read is not offered */
	if (!(req.flags & VU_DMA_F_READ))
		return -EINVAL;
	if (!req.len || req.iova + (req.len - 1) < req.iova)
		return -EINVAL;
	*out = (struct vs_map){
		.start = req.iova,
		.last = req.iova + (req.len - 1),
		.offset = req.offset,
		.flags = req.flags & (VU_DMA_F_READ | VU_DMA_F_WRITE),
		.hole = !m->nfds,
	};
	return out->hole ? 0 : file_look(m->fds[0], out);
}

static int memory_add(struct vs_dma *dma, const struct vs_map *map, int fd)
{
	const struct viommu_region region = {
		.size = sizeof(region),
		.gpa = map->start,
		.len = map->last - map->start + 1,
		.prot = VIOMMU_READ |
			(map->flags & VU_DMA_F_WRITE ? VIOMMU_WRITE : 0),
		.fd = fd,
		.fd_offset = map->offset,
	};
	int rc = vs_files_add(&dma->files, fd);

	if (rc)
		return rc;
	rc = viommu_memory_add(dma->memory, &region);
	if (rc)
		vs_files_remove(&dma->files, map->dev, map->ino);
	return rc;
}

static int map_do(struct vs_dma *dma, const struct vs_msg *m)
{
	struct vs_map map;
	unsigned at;
	int rc;

	rc = map_decode(m, &map);
	if (rc)
		return rc;
	at = map_find(dma, map.start);
	if (at < dma->nmaps && dma->maps[at].start <= map.last)
		return map_same(&dma->maps[at], &map) ? 0 : -EEXIST;
	rc = maps_grow(dma);
	if (!rc && !map.hole)
		rc = memory_add(dma, &map, m->fds[0]);
	if (rc)
		return rc;

	memmove(&dma->maps[at + 1], &dma->maps[at],
		(dma->nmaps - at) * sizeof(map));
	dma->maps[at] = map;
	maps_count(dma, dma->nmaps + 1);
	count(&dma->maps_done);
	if (map.hole)
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

/* Answer now if nothing waits before it, else in its turn. */
static int op_finish(struct vs_dma *dma, struct vs_dma_op *op, bool done,
		     struct vs_reply *r)
{
	int rc = op->error;

	if (done && !dma->first) {
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

static void map_remove(struct vs_dma *dma, const struct vs_map *map,
		       struct viommu_fence *f)
{
	uint64_t len = map->last - map->start + 1;

	if (!map->hole)
		vs_files_remove(&dma->files, map->dev, map->ino);
	/* fails only if the embedder took it from under us */
	if (!map->hole && viommu_memory_remove(dma->memory, map->start, len, f))
		return;
}

static void maps_remove_all(struct vs_dma *dma, struct viommu_fence *f)
{
	/* from the last: removing the first of many moves the others */
	for (unsigned i = dma->nmaps; i > 0; i--)
		map_remove(dma, &dma->maps[i - 1], f);
	maps_count(dma, 0);
}

/* Gather into the operation's fence.  0 or -errno: nothing was. */
static int unmap_do(struct vs_dma *dma, const struct vs_msg *m,
		    struct vs_dma_op *op)
{
	struct vu_dma_unmap *req = &op->reply;
	struct vs_map *map;
	unsigned at;

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
		maps_remove_all(dma, &op->fence);
		return 0;
	}
	if (!req->len || req->iova + (req->len - 1) < req->iova)
		return -EINVAL;
	at = map_find(dma, req->iova);
	if (at == dma->nmaps)
		return -ENOENT;
	map = &dma->maps[at];
	if (map->start != req->iova || map->last != req->iova + (req->len - 1))
		return -ENOENT;
	map_remove(dma, map, &op->fence);
	memmove(map, map + 1, (dma->nmaps - at - 1) * sizeof(*map));
	maps_count(dma, dma->nmaps - 1);
	return 0;
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
	maps_remove_all(dma, &dma->drain.fence);
	op_commit(dma, &dma->drain);
	/* a client with thousands of maps leaves no table behind */
	free(dma->maps);
	dma->maps = NULL;
	dma->room = 0;
}

bool vs_dma_drained(struct vs_dma *dma)
{
	return !dma->first && !dma->failed && op_is_done(dma, &dma->drain);
}
