/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernel.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "host/iommufd_abi.h"

enum {
	READ = 1,
	WRITE = 2,
	FD_BASE = 70000, /* no descriptor of ours is so high */
	KERNELS = 4,
};

static struct kernel *kernels[KERNELS];

static int broken(struct kernel *k, const char *what, int err)
{
	fprintf(stderr, "kernel: %s\n", what);
	k->broken++;
	return -err;
}

void kernel_init(struct kernel *k, enum kernel_kind kind)
{
	*k = (struct kernel){
		.kind = kind,
		.caps = true,
		.has_avail = true,
		.unmap_all = true,
		.migration = true,
		.pgsizes = KERNEL_PAGE | 1u << 21,
		.alignment = KERNEL_PAGE,
		.limit = kind == KERNEL_TYPE1 ? 65535 : UINT64_MAX,
		.memlock = UINT64_MAX,
		.max_bitmap = 256u << 20,
		.ranges = { { 0, 0xfedfffff },
			    { 0xfef00000, (UINT64_C(1) << 39) - 1 } },
		.nranges = 2,
	};
	for (int i = 0; i < KERNELS; i++) {
		if (kernels[i])
			continue;
		kernels[i] = k;
		k->fd = FD_BASE + i;
		return;
	}
	abort();
}

void kernel_fini(struct kernel *k)
{
	for (size_t i = 0; i < k->n; i++)
		free(k->entries[i].dirty);
	free(k->entries);
	kernels[k->fd - FD_BASE] = NULL;
}

void kernel_fail(struct kernel *k, enum kernel_call call, unsigned skip,
		 unsigned times, int err)
{
	k->fail = call;
	k->skip = skip;
	k->times = times;
	k->err = err;
}

/* ---- entries ---------------------------------------------------------- */

/* The first entry whose last byte is at or after @iova. */
static size_t at(const struct kernel *k, uint64_t iova)
{
	size_t lo = 0, hi = k->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct kernel_entry *e = &k->entries[mid];

		if (e->iova + (e->size - 1) < iova)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct kernel_entry *kernel_find(const struct kernel *k, uint64_t iova)
{
	size_t i = at(k, iova);

	return i < k->n && k->entries[i].iova <= iova ? &k->entries[i] : NULL;
}

char *kernel_write(struct kernel *k, uint64_t iova)
{
	const struct kernel_entry *e = kernel_find(k, iova);

	if (!e || !(e->prot & WRITE))
		return NULL;
	if (e->dirty)
		e->dirty[(iova - e->iova) / KERNEL_PAGE] = 1;
	return e->host + (iova - e->iova);
}

static void log_entry(struct kernel_entry *e, bool on)
{
	free(e->dirty);
	e->dirty = on ? calloc(e->size / KERNEL_PAGE, 1) : NULL;
}

static bool mappable(const struct kernel *k, uint64_t iova, uint64_t last)
{
	if (k->kind == KERNEL_TYPE1 && !k->caps)
		return true;
	for (unsigned i = 0; i < k->nranges; i++)
		if (iova >= k->ranges[i].start && last <= k->ranges[i].last)
			return true;
	return false;
}

static int map(struct kernel *k, struct kernel_entry e)
{
	uint64_t last = e.iova + (e.size - 1);
	size_t i = at(k, e.iova);

	if (!e.size || !e.prot ||
	    (e.iova | e.size | (uintptr_t)e.host) & (KERNEL_PAGE - 1))
		return broken(k, "a map off the pages", EINVAL);
	if (last < e.iova || !mappable(k, e.iova, last))
		return broken(k, "a map where none can be", EINVAL);
	if (i < k->n && k->entries[i].iova <= last)
		return broken(k, "a map over an entry", EEXIST);
	if (k->n >= k->limit)
		return -ENOSPC;
	if (e.size > k->memlock - k->pinned)
		return -ENOMEM;
	if (k->n == k->room) {
		k->room = k->room ? 2 * k->room : 64;
		k->entries = realloc(k->entries, k->room * sizeof(e));
	}
	log_entry(&e, k->logging);
	memmove(&k->entries[i + 1], &k->entries[i], (k->n - i) * sizeof(e));
	k->entries[i] = e;
	k->n++;
	k->pinned += e.size;
	return 0;
}

/* Remove entries [i, j). */
static void cut_out(struct kernel *k, size_t i, size_t j)
{
	for (size_t n = i; n < j; n++) {
		k->last_unmap += k->entries[n].size;
		k->pinned -= k->entries[n].size;
		free(k->entries[n].dirty);
	}
	memmove(&k->entries[i], &k->entries[j],
		(k->n - j) * sizeof(*k->entries));
	k->n -= j - i;
}

/* Bits of [iova, last] into @words, cleared if @clear. */
static void collect(struct kernel *k, uint64_t iova, uint64_t last,
		    uint64_t *words, bool clear)
{
	for (size_t i = at(k, iova); i < k->n; i++) {
		struct kernel_entry *e = &k->entries[i];

		if (e->iova > last)
			break;
		for (uint64_t p = 0; p < e->size / KERNEL_PAGE; p++) {
			uint64_t bit = (e->iova - iova) / KERNEL_PAGE + p;

			if (!e->dirty[p])
				continue;
			words[bit / 64] |= UINT64_C(1) << (bit % 64);
			if (clear)
				e->dirty[p] = 0;
		}
	}
}

/* Do the edges of [iova, last] cut an entry? */
static bool bisects(const struct kernel *k, uint64_t iova, uint64_t last)
{
	const struct kernel_entry *a = kernel_find(k, iova);
	const struct kernel_entry *b = kernel_find(k, last);

	return (a && a->iova != iova) || (b && b->iova + (b->size - 1) != last);
}

static int check_bitmap(struct kernel *k, uint64_t page, uint64_t size,
			uint64_t bytes, const void *data)
{
	if (page != KERNEL_PAGE || !data ||
	    bytes < (size / KERNEL_PAGE + 63) / 64 * 8 || bytes > k->max_bitmap)
		return broken(k, "a bitmap that does not fit", EINVAL);
	if (!k->logging)
		return broken(k, "bits without a log", EINVAL);
	for (uint64_t i = 0; i < bytes / 8; i++)
		if (((const uint64_t *)data)[i])
			return broken(k, "bits that are set before", EINVAL);
	return 0;
}

static void log_all(struct kernel *k, bool on)
{
	k->logging = on;
	for (size_t i = 0; i < k->n; i++)
		log_entry(&k->entries[i], on);
}

/* ---- VFIO type 1 ------------------------------------------------------ */

static int type1_map(struct kernel *k, struct vfio_iommu_type1_dma_map *m)
{
	if (m->argsz < sizeof(*m) ||
	    m->flags & ~(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE))
		return broken(k, "a malformed map", EINVAL);
	return map(k, (struct kernel_entry){
			      .iova = m->iova,
			      .size = m->size,
			      .host = (char *)(uintptr_t)m->vaddr,
			      .prot = m->flags,
		      });
}

static int type1_unmap_all(struct kernel *k,
			   struct vfio_iommu_type1_dma_unmap *u)
{
	if (!k->unmap_all || u->flags != VFIO_DMA_UNMAP_FLAG_ALL || u->iova ||
	    u->size)
		return broken(k, "a malformed unmap of all", EINVAL);
	k->unmap_alls++;
	cut_out(k, 0, k->n);
	return 0;
}

static int type1_unmap(struct kernel *k, struct vfio_iommu_type1_dma_unmap *u)
{
	bool dirty = u->flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
	uint64_t last = u->iova + (u->size - 1);
	struct vfio_bitmap b;

	k->last_unmap = 0;
	if (u->argsz < sizeof(*u))
		return broken(k, "a malformed unmap", EINVAL);
	if (u->flags & VFIO_DMA_UNMAP_FLAG_ALL)
		return type1_unmap_all(k, u);
	if (u->flags & ~VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP || !u->size ||
	    last < u->iova || (u->iova | u->size) & (KERNEL_PAGE - 1))
		return broken(k, "a malformed unmap", EINVAL);
	if (bisects(k, u->iova, last))
		return broken(k, "an unmap that cuts an entry", EINVAL);
	if (dirty) {
		if (u->argsz < sizeof(*u) + sizeof(b))
			return broken(k, "an unmap without room", EINVAL);
		memcpy(&b, u->data, sizeof(b));
		if (check_bitmap(k, b.pgsize, u->size, b.size, b.data))
			return -EINVAL;
		collect(k, u->iova, last, (uint64_t *)b.data, true);
	}
	cut_out(k, at(k, u->iova), last == UINT64_MAX ? k->n : at(k, last + 1));
	u->size = k->last_unmap;
	return 0;
}

static int type1_fetch(struct kernel *k,
		       struct vfio_iommu_type1_dirty_bitmap_get *g)
{
	uint64_t last = g->iova + (g->size - 1);

	if (!g->size || last < g->iova)
		return broken(k, "a malformed fetch", EINVAL);
	if (bisects(k, g->iova, last))
		return broken(k, "a fetch that cuts an entry", EINVAL);
	if (check_bitmap(k, g->bitmap.pgsize, g->size, g->bitmap.size,
			 g->bitmap.data))
		return -EINVAL;
	collect(k, g->iova, last, (uint64_t *)g->bitmap.data, true);
	return 0;
}

static int type1_dirty(struct kernel *k,
		       struct vfio_iommu_type1_dirty_bitmap *d)
{
	struct vfio_iommu_type1_dirty_bitmap_get g;

	if (!k->migration || d->argsz < sizeof(*d))
		return broken(k, "a log that there is not", EINVAL);
	switch (d->flags) {
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_START:
		log_all(k, true);
		return 0;
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP:
		log_all(k, false);
		return 0;
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP:
		if (d->argsz < sizeof(*d) + sizeof(g))
			break;
		memcpy(&g, d->data, sizeof(g));
		return type1_fetch(k, &g);
	}
	return broken(k, "a malformed log", EINVAL);
}

struct info {
	struct vfio_iommu_type1_info i;
	struct vfio_iommu_type1_info_cap_migration migration;
	struct vfio_iommu_type1_info_dma_avail avail;
	uint32_t pad;
	/* the last: an array at its end */
	struct {
		struct vfio_info_cap_header header;
		uint32_t n, reserved;
		struct vfio_iova_range r[KERNEL_RANGES];
	} ranges;
};

/* The chain in another order than the numbers'. */
static void fill_caps(const struct kernel *k, struct info *a)
{
	uint32_t *next = &a->i.cap_offset;

	a->i.flags |= VFIO_IOMMU_INFO_CAPS;
	if (k->migration) {
		*next = offsetof(struct info, migration);
		next = &a->migration.header.next;
		a->migration.header.id = VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION;
		a->migration.header.version = 1;
		a->migration.pgsize_bitmap = KERNEL_PAGE;
		a->migration.max_dirty_bitmap_size = k->max_bitmap;
	}
	if (k->has_avail) {
		*next = offsetof(struct info, avail);
		next = &a->avail.header.next;
		a->avail.header.id = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL;
		a->avail.header.version = 1;
		a->avail.avail = (uint32_t)(k->limit - k->n);
	}
	*next = offsetof(struct info, ranges);
	a->ranges.header.id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE;
	a->ranges.header.version = 1;
	a->ranges.n = k->nranges;
	for (unsigned i = 0; i < k->nranges; i++) {
		a->ranges.r[i].start = k->ranges[i].start;
		a->ranges.r[i].end = k->ranges[i].last;
	}
}

static int type1_info(struct kernel *k, struct vfio_iommu_type1_info *out)
{
	struct info a = { .i = { .flags = VFIO_IOMMU_INFO_PGSIZES,
				 .iova_pgsizes = k->pgsizes } };
	size_t room = out->argsz;

	a.i.argsz = k->caps ? sizeof(a) : sizeof(a.i);
	if (room < sizeof(a.i))
		return broken(k, "info without room", EINVAL);
	if (k->caps && room >= sizeof(a))
		fill_caps(k, &a);
	if (k->garble_at)
		memcpy((char *)&a + k->garble_at, &k->garble, 4);
	memcpy(out, &a, room < sizeof(a) ? room : sizeof(a));
	return 0;
}

static int type1(struct kernel *k, unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_CHECK_EXTENSION:
		return (uintptr_t)arg == VFIO_UNMAP_ALL && k->unmap_all;
	case VFIO_IOMMU_GET_INFO:
		return type1_info(k, arg);
	case VFIO_IOMMU_MAP_DMA:
		return type1_map(k, arg);
	case VFIO_IOMMU_UNMAP_DMA:
		return type1_unmap(k, arg);
	case VFIO_IOMMU_DIRTY_PAGES:
		return type1_dirty(k, arg);
	}
	return -ENOTTY;
}

/* ---- iommufd ---------------------------------------------------------- */

static int ioas_ranges(struct kernel *k, struct vh_ioas_iova_ranges *r)
{
	uint32_t room = r->n;

	if (r->size != sizeof(*r) || r->reserved)
		return broken(k, "malformed ranges", EINVAL);
	if (r->ioas != KERNEL_IOAS)
		return -ENOENT;
	r->n = k->nranges;
	r->alignment = k->alignment;
	if (!k->nranges)
		return 0;
	if (room < k->nranges)
		return -EMSGSIZE;
	memcpy((void *)(uintptr_t)r->ranges, k->ranges,
	       k->nranges * sizeof(k->ranges[0]));
	return 0;
}

static int ioas_map(struct kernel *k, struct vh_ioas_map *m)
{
	if (m->size != sizeof(*m) || m->ioas != KERNEL_IOAS || m->reserved ||
	    !(m->flags & VH_IOAS_MAP_FIXED) || m->flags & ~7u)
		return broken(k, "a malformed map", EINVAL);
	return map(k,
		   (struct kernel_entry){
			   .iova = m->iova,
			   .size = m->length,
			   .host = (char *)(uintptr_t)m->user_va,
			   .prot = (m->flags & VH_IOAS_MAP_READ ? READ : 0) |
				   (m->flags & VH_IOAS_MAP_WRITE ? WRITE : 0),
		   });
}

/* What comes before a cut goes all the same. */
static int ioas_unmap(struct kernel *k, struct vh_ioas_unmap *u)
{
	bool all = !u->iova && u->length == UINT64_MAX;
	uint64_t last = all ? UINT64_MAX : u->iova + (u->length - 1);
	size_t i = at(k, u->iova), j;

	k->last_unmap = 0;
	if (u->size != sizeof(*u) || u->ioas != KERNEL_IOAS || !u->length ||
	    last < u->iova)
		return broken(k, "a malformed unmap", EINVAL);
	k->unmap_alls += all;
	for (j = i; j < k->n && k->entries[j].iova <= last; j++) {
		const struct kernel_entry *e = &k->entries[j];

		if (e->iova >= u->iova && e->iova + (e->size - 1) <= last)
			continue;
		cut_out(k, i, j);
		return broken(k, "an unmap that cuts an area", ENOENT);
	}
	cut_out(k, i, j);
	u->length = k->last_unmap;
	return k->last_unmap || all ? 0 : -ENOENT;
}

static int hwpt_log(struct kernel *k, struct vh_hwpt_set_dirty *d)
{
	if (d->size != sizeof(*d) || d->hwpt != KERNEL_HWPT || d->reserved ||
	    d->flags & ~1u)
		return broken(k, "a malformed log", EINVAL);
	log_all(k, d->flags);
	return 0;
}

static int hwpt_fetch(struct kernel *k, struct vh_hwpt_get_dirty *g)
{
	uint64_t last = g->iova + (g->length - 1);

	if (g->size != sizeof(*g) || g->hwpt != KERNEL_HWPT || g->reserved ||
	    g->flags || !g->length || last < g->iova)
		return broken(k, "a malformed fetch", EINVAL);
	if (bisects(k, g->iova, last))
		return broken(k, "a fetch that cuts an area", EINVAL);
	for (uint64_t a = g->iova; a <= last; a += KERNEL_PAGE)
		if (!kernel_find(k, a))
			return broken(k, "a fetch over a hole", EINVAL);
	if (check_bitmap(k, g->page_size, g->length,
			 (g->length / KERNEL_PAGE + 63) / 64 * 8,
			 (const void *)(uintptr_t)g->data))
		return -EINVAL;
	collect(k, g->iova, last, (uint64_t *)(uintptr_t)g->data, true);
	return 0;
}

static int iommufd(struct kernel *k, unsigned long request, void *arg)
{
	switch (request) {
	case VH_IOAS_IOVA_RANGES:
		return ioas_ranges(k, arg);
	case VH_IOAS_MAP:
		return ioas_map(k, arg);
	case VH_IOAS_UNMAP:
		return ioas_unmap(k, arg);
	case VH_HWPT_SET_DIRTY_TRACKING:
		return hwpt_log(k, arg);
	case VH_HWPT_GET_DIRTY_BITMAP:
		return hwpt_fetch(k, arg);
	}
	return -ENOTTY;
}

/* ---- ioctl ------------------------------------------------------------ */

static enum kernel_call call_of(unsigned long request, const void *arg)
{
	switch (request) {
	case VFIO_IOMMU_MAP_DMA:
	case VH_IOAS_MAP:
		return KERNEL_MAP;
	case VFIO_IOMMU_UNMAP_DMA:
	case VH_IOAS_UNMAP:
		return KERNEL_UNMAP;
	case VH_HWPT_SET_DIRTY_TRACKING:
		return KERNEL_LOG;
	case VH_HWPT_GET_DIRTY_BITMAP:
		return KERNEL_FETCH;
	case VFIO_IOMMU_DIRTY_PAGES:
		return ((const struct vfio_iommu_type1_dirty_bitmap *)arg)
					       ->flags &
				       VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP
			       ? KERNEL_FETCH
			       : KERNEL_LOG;
	}
	return KERNEL_INFO;
}

static int handle(struct kernel *k, unsigned long request, void *arg)
{
	enum kernel_call call = call_of(request, arg);

	k->calls[call]++;
	if (k->times && k->fail == call) {
		if (!k->skip) {
			k->times--;
			return -k->err;
		}
		k->skip--;
	}
	if (call == KERNEL_UNMAP && k->flaky && k->calls[call] / k->flaky % 2)
		return -EBUSY;
	return k->kind == KERNEL_TYPE1 ? type1(k, request, arg)
				       : iommufd(k, request, arg);
}

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;
	int rc = -EBADF;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (fd >= FD_BASE && fd < FD_BASE + KERNELS && kernels[fd - FD_BASE])
		rc = handle(kernels[fd - FD_BASE], request, arg);
	if (rc >= 0)
		return rc;
	errno = -rc;
	return -1;
}
