/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's VFIO, type 1 version 2, as it is spoken (linux/vfio.h).
 */
#include <viommu/host/vfio.h>

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "host/shadow.h"

/* Headers of older kernels end before these. */
#ifndef VFIO_UNMAP_ALL
#define VFIO_UNMAP_ALL 9
#endif
#ifndef VFIO_DMA_UNMAP_FLAG_ALL
#define VFIO_DMA_UNMAP_FLAG_ALL (1 << 1)
#endif

/* Two of its structures with what comes in their data. */
struct unmap_arg {
	uint32_t argsz, flags;
	uint64_t iova, size;
	struct vfio_bitmap bitmap;
};
_Static_assert(offsetof(struct unmap_arg, bitmap) ==
		       sizeof(struct vfio_iommu_type1_dma_unmap),
	       "ABI");

struct fetch_arg {
	uint32_t argsz, flags;
	struct vfio_iommu_type1_dirty_bitmap_get get;
};
_Static_assert(offsetof(struct fetch_arg, get) ==
		       sizeof(struct vfio_iommu_type1_dirty_bitmap),
	       "ABI");

enum {
	ENTRIES_DEFAULT = 65535, /* where the kernel does not tell */
	INFO_MAX = 1 << 20,	 /* bytes */
};

struct viommu_vfio {
	struct vh_shadow sh; /* first */
	int fd;
};

static int fd_of(const struct vh_shadow *sh)
{
	return ((const struct viommu_vfio *)(const void *)sh)->fd;
}

static int call(const struct vh_shadow *sh, unsigned long request, void *arg)
{
	return ioctl(fd_of(sh), request, arg) < 0 ? -errno : 0;
}

/* ---- the verbs -------------------------------------------------------- */

static int vfio_map(struct vh_shadow *sh, const struct vh_piece *p)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m),
		.flags = (p->prot & VIOMMU_READ ? VFIO_DMA_MAP_FLAG_READ : 0) |
			 (p->prot & VIOMMU_WRITE ? VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = (uintptr_t)p->host,
		.iova = p->start,
		.size = p->last - p->start + 1,
	};

	return call(sh, VFIO_IOMMU_MAP_DMA, &m);
}

static struct vfio_bitmap bitmap(const struct vh_shadow *sh,
				 const struct vh_run *run, uint64_t *bits)
{
	uint64_t page = sh->lim.bits_page;
	uint64_t pages = (run->last - run->start) / page + 1;

	/* __u64 of the kernel's is unsigned long long */
	return (struct vfio_bitmap){ .pgsize = page,
				     .size = ((pages - 1) / 64 + 1) * 8,
				     .data = (void *)bits };
}

static int vfio_unmap(struct vh_shadow *sh, const struct vh_run *run,
		      uint64_t *bits)
{
	struct unmap_arg a = { .argsz = sizeof(
				       struct vfio_iommu_type1_dma_unmap),
			       .iova = run->start,
			       .size = run->last - run->start + 1 };

	if (bits) {
		a.argsz = sizeof(a);
		a.flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
		a.bitmap = bitmap(sh, run, bits);
	}
	return call(sh, VFIO_IOMMU_UNMAP_DMA, &a);
}

static int vfio_unmap_all(struct vh_shadow *sh)
{
	struct vfio_iommu_type1_dma_unmap u = {
		.argsz = sizeof(u),
		.flags = VFIO_DMA_UNMAP_FLAG_ALL,
	};

	return call(sh, VFIO_IOMMU_UNMAP_DMA, &u);
}

static int vfio_log(struct vh_shadow *sh, bool on)
{
	struct vfio_iommu_type1_dirty_bitmap d = {
		.argsz = sizeof(d),
		.flags = on ? VFIO_IOMMU_DIRTY_PAGES_FLAG_START
			    : VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP,
	};

	return call(sh, VFIO_IOMMU_DIRTY_PAGES, &d);
}

static int vfio_fetch(struct vh_shadow *sh, const struct vh_run *run,
		      uint64_t *bits)
{
	struct fetch_arg a = {
		.argsz = sizeof(a),
		.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP,
		.get = { .iova = run->start,
			 .size = run->last - run->start + 1,
			 .bitmap = bitmap(sh, run, bits) },
	};

	return call(sh, VFIO_IOMMU_DIRTY_PAGES, &a);
}

static const struct vh_ops ops = {
	.map = vfio_map,
	.unmap = vfio_unmap,
	.log = vfio_log,
	.fetch = vfio_fetch,
};

/* VFIO_UNMAP_ALL: Linux 5.12. */
static const struct vh_ops ops_all = {
	.map = vfio_map,
	.unmap = vfio_unmap,
	.unmap_all = vfio_unmap_all,
	.log = vfio_log,
	.fetch = vfio_fetch,
};

/* ---- what the container can do ---------------------------------------- */

static int cap_ranges(struct viommu *vi, const uint8_t *at, size_t size,
		      struct vh_limits *lim)
{
	struct vfio_iommu_type1_info_cap_iova_range c;
	struct vfio_iova_range r;

	if (size < sizeof(c) || lim->ranges)
		return -ENODEV;
	memcpy(&c, at, sizeof(c));
	if (!c.nr_iovas || c.nr_iovas > (size - sizeof(c)) / sizeof(r))
		return -ENODEV;
	lim->ranges = viommu_alloc(vi, c.nr_iovas * sizeof(*lim->ranges));
	if (!lim->ranges)
		return -ENOMEM;
	lim->nranges = c.nr_iovas;
	for (size_t i = 0; i < c.nr_iovas; i++) {
		memcpy(&r, at + sizeof(c) + i * sizeof(r), sizeof(r));
		lim->ranges[i] = (struct vh_range){ r.start, r.end };
	}
	return 0;
}

static int cap_migration(const uint8_t *at, size_t size, struct vh_limits *lim)
{
	struct vfio_iommu_type1_info_cap_migration c;

	if (size < sizeof(c))
		return -ENODEV;
	memcpy(&c, at, sizeof(c));
	lim->bits_page = c.pgsize_bitmap & -c.pgsize_bitmap;
	lim->bits_max = c.max_dirty_bitmap_size;
	lim->bits_unmap = lim->bits_page != 0;
	return 0;
}

static int cap_avail(const uint8_t *at, size_t size, struct vh_limits *lim)
{
	struct vfio_iommu_type1_info_dma_avail c;

	if (size < sizeof(c))
		return -ENODEV;
	memcpy(&c, at, sizeof(c));
	lim->max_entries = c.avail;
	return 0;
}

/* Each header names the next, further on: the chain ends. */
static int read_caps(struct viommu *vi, const uint8_t *info, size_t size,
		     struct vh_limits *lim)
{
	struct vfio_iommu_type1_info i;
	struct vfio_info_cap_header h;
	size_t at = 0;
	int rc = 0;

	memcpy(&i, info, sizeof(i));
	if (!(i.flags & VFIO_IOMMU_INFO_CAPS))
		return 0;
	for (size_t next = i.cap_offset; next && !rc; next = h.next) {
		if (next <= at || next > size || size - next < sizeof(h))
			return -ENODEV;
		at = next;
		memcpy(&h, info + at, sizeof(h));
		if (h.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			rc = cap_ranges(vi, info + at, size - at, lim);
		else if (h.id == VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION)
			rc = cap_migration(info + at, size - at, lim);
		else if (h.id == VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL)
			rc = cap_avail(info + at, size - at, lim);
	}
	return rc;
}

static int read_info(struct viommu *vi, int fd, struct vh_limits *lim)
{
	struct vfio_iommu_type1_info i = { .argsz = sizeof(i) }, *info;
	int rc;

	if (ioctl(fd, VFIO_IOMMU_GET_INFO, &i) < 0 ||
	    !(i.flags & VFIO_IOMMU_INFO_PGSIZES) || !i.iova_pgsizes)
		return -ENODEV;
	lim->page = i.iova_pgsizes & -i.iova_pgsizes;
	if (i.argsz <= sizeof(i))
		return 0;
	if (i.argsz > INFO_MAX)
		return -ENODEV;
	info = viommu_alloc(vi, i.argsz);
	if (!info)
		return -ENOMEM;
	info->argsz = i.argsz;
	rc = ioctl(fd, VFIO_IOMMU_GET_INFO, info) < 0
		     ? -ENODEV
		     : read_caps(vi, (uint8_t *)info, i.argsz, lim);
	viommu_free(vi, info);
	return rc;
}

/* ---- life ------------------------------------------------------------- */

static int config_copy(struct viommu_vfio_config *c,
		       const struct viommu_vfio_config *in)
{
	int rc = vh_options_copy(c, sizeof(*c), in, in->size);

	return rc ? rc : c->vi && !c->reserved ? 0 : -EINVAL;
}

static int begin(struct viommu_vfio *v, struct viommu_endpoint *ep,
		 const struct viommu_vfio_config *c)
{
	const struct vh_options opt = { c->vi,	       c->memory,
					c->piece_size, c->max_entries,
					c->trouble,    c->arg };
	struct vh_limits lim = { .max_entries = ENTRIES_DEFAULT };
	bool all = ioctl(v->fd, VFIO_CHECK_EXTENSION, VFIO_UNMAP_ALL) > 0;
	int rc = read_info(c->vi, v->fd, &lim), bad;

	bad = vh_shadow_init(&v->sh, all ? &ops_all : &ops, &opt, &lim);
	if (!rc)
		rc = bad;
	return rc ? rc : vh_shadow_add(&v->sh, ep);
}

int viommu_vfio_add(struct viommu_endpoint *ep,
		    const struct viommu_vfio_config *cfg,
		    struct viommu_vfio **out)
{
	struct viommu_vfio_config c;
	struct viommu_vfio *v;
	int rc = config_copy(&c, cfg);

	if (rc)
		return rc;
	v = viommu_alloc(c.vi, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->fd = c.container;
	rc = begin(v, ep, &c);
	if (rc) {
		vh_shadow_fini(&v->sh);
		viommu_free(c.vi, v);
		return rc;
	}
	*out = v;
	return 0;
}

void viommu_vfio_remove(struct viommu_vfio *v, struct viommu_fence *f)
{
	struct viommu *vi;

	if (!v || !vh_shadow_remove(&v->sh, f))
		return;
	vi = v->sh.opt.vi;
	vh_shadow_fini(&v->sh);
	viommu_free(vi, v);
}

int viommu_vfio_retry(struct viommu_vfio *v)
{
	return vh_shadow_retry(&v->sh);
}

void viommu_vfio_read_stats(struct viommu_vfio *v,
			    struct viommu_shadow_stats *out)
{
	vh_shadow_read_stats(&v->sh, out);
}
