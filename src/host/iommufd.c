/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's iommufd, as it is spoken (iommufd_abi.h).
 *
 * It answers -ENOENT where nothing is there to be unmapped, and where an area
 * would be cut, having removed those before it.  Of one entry, which is a whole
 * area, only the former can be meant.
 */
#include <viommu/host/iommufd.h>

#include <errno.h>
#include <unistd.h>

#include "host/iommufd_abi.h"
#include "host/shadow.h"

struct viommu_iommufd {
	struct vh_shadow sh; /* first */
	int fd;
	uint32_t ioas, hwpt;
};

static const struct viommu_iommufd *of(const struct vh_shadow *sh)
{
	return (const struct viommu_iommufd *)(const void *)sh;
}

static int call(const struct vh_shadow *sh, unsigned long request, void *arg)
{
	return ioctl(of(sh)->fd, request, arg) < 0 ? -errno : 0;
}

/* ---- the verbs -------------------------------------------------------- */

static int iommufd_map(struct vh_shadow *sh, const struct vh_piece *p)
{
	struct vh_ioas_map m = {
		.size = sizeof(m),
		.flags = VH_IOAS_MAP_FIXED |
			 (p->prot & VIOMMU_READ ? VH_IOAS_MAP_READ : 0) |
			 (p->prot & VIOMMU_WRITE ? VH_IOAS_MAP_WRITE : 0),
		.ioas = of(sh)->ioas,
		.user_va = (uintptr_t)p->host,
		.length = p->last - p->start + 1,
		.iova = p->start,
	};

	return call(sh, VH_IOAS_MAP, &m);
}

static int iommufd_fetch(struct vh_shadow *sh, const struct vh_run *run,
			 uint64_t *bits)
{
	struct vh_hwpt_get_dirty g = {
		.size = sizeof(g),
		.hwpt = of(sh)->hwpt,
		.iova = run->start,
		.length = run->last - run->start + 1,
		.page_size = sh->lim.bits_page,
		.data = (uintptr_t)bits,
	};

	return call(sh, VH_HWPT_GET_DIRTY_BITMAP, &g);
}

static int iommufd_unmap(struct vh_shadow *sh, const struct vh_run *run,
			 uint64_t *bits)
{
	struct vh_ioas_unmap u = { .size = sizeof(u),
				   .ioas = of(sh)->ioas,
				   .iova = run->start,
				   .length = run->last - run->start + 1 };
	int rc = bits ? iommufd_fetch(sh, run, bits) : 0;

	if (!rc)
		rc = call(sh, VH_IOAS_UNMAP, &u);
	return rc == -ENOENT && run->entries == 1 ? 0 : rc;
}

static int iommufd_unmap_all(struct vh_shadow *sh)
{
	struct vh_ioas_unmap u = { .size = sizeof(u),
				   .ioas = of(sh)->ioas,
				   .length = UINT64_MAX };

	return call(sh, VH_IOAS_UNMAP, &u);
}

static int iommufd_log(struct vh_shadow *sh, bool on)
{
	struct vh_hwpt_set_dirty d = {
		.size = sizeof(d),
		.flags = on ? VH_DIRTY_TRACKING_ENABLE : 0,
		.hwpt = of(sh)->hwpt,
	};

	return call(sh, VH_HWPT_SET_DIRTY_TRACKING, &d);
}

static const struct vh_ops ops = {
	.map = iommufd_map,
	.unmap = iommufd_unmap,
	.unmap_all = iommufd_unmap_all,
	.log = iommufd_log,
	.fetch = iommufd_fetch,
};

/* ---- what the IOAS can do --------------------------------------------- */

static int read_ranges(struct viommu_iommufd *i, struct viommu *vi,
		       struct vh_limits *lim)
{
	struct vh_ioas_iova_ranges r = { .size = sizeof(r), .ioas = i->ioas };

	_Static_assert(sizeof(struct vh_range) == sizeof(struct vh_iova_range),
		       "used as such");
	if (ioctl(i->fd, VH_IOAS_IOVA_RANGES, &r) < 0 && errno != EMSGSIZE)
		return -ENODEV;
	if (!r.n)
		return -ENODEV; /* nothing can be mapped */
	lim->ranges = viommu_alloc(vi, r.n * sizeof(*lim->ranges));
	if (!lim->ranges)
		return -ENOMEM;
	lim->nranges = r.n;
	r.ranges = (uintptr_t)lim->ranges;
	/* it may be coarser than our pages, and is 1 where no device is */
	if (ioctl(i->fd, VH_IOAS_IOVA_RANGES, &r) < 0 || r.n > lim->nranges)
		return -ENODEV;
	lim->nranges = r.n;
	if (r.alignment > lim->page)
		lim->page = r.alignment;
	return 0;
}

/* ---- life ------------------------------------------------------------- */

static int config_copy(struct viommu_iommufd_config *c,
		       const struct viommu_iommufd_config *in)
{
	int rc = vh_options_copy(c, sizeof(*c), in, in->size);

	return rc ? rc : c->vi && c->read_before_unmap <= 1 ? 0 : -EINVAL;
}

static int begin(struct viommu_iommufd *i, struct viommu_endpoint *ep,
		 const struct viommu_iommufd_config *c)
{
	const struct vh_options opt = { c->vi,	       c->memory,
					c->piece_size, c->max_entries,
					c->trouble,    c->arg };
	struct vh_limits lim = { .page = (uint64_t)sysconf(_SC_PAGESIZE),
				 .max_entries = UINT64_MAX };
	int rc = read_ranges(i, c->vi, &lim), bad;

	if (i->hwpt) {
		lim.bits_page = lim.page;
		lim.bits_max = UINT64_MAX;
		lim.bits_unmap = c->read_before_unmap;
	}
	bad = vh_shadow_init(&i->sh, &ops, &opt, &lim);
	if (!rc)
		rc = bad;
	return rc ? rc : vh_shadow_add(&i->sh, ep);
}

int viommu_iommufd_add(struct viommu_endpoint *ep,
		       const struct viommu_iommufd_config *cfg,
		       struct viommu_iommufd **out)
{
	struct viommu_iommufd_config c;
	struct viommu_iommufd *i;
	int rc = config_copy(&c, cfg);

	if (rc)
		return rc;
	i = viommu_alloc(c.vi, sizeof(*i));
	if (!i)
		return -ENOMEM;
	i->fd = c.fd;
	i->ioas = c.ioas;
	i->hwpt = c.hwpt;
	rc = begin(i, ep, &c);
	if (rc) {
		vh_shadow_fini(&i->sh);
		viommu_free(c.vi, i);
		return rc;
	}
	*out = i;
	return 0;
}

void viommu_iommufd_remove(struct viommu_iommufd *i, struct viommu_fence *f)
{
	struct viommu *vi;

	if (!i || !vh_shadow_remove(&i->sh, f))
		return;
	vi = i->sh.opt.vi;
	vh_shadow_fini(&i->sh);
	viommu_free(vi, i);
}

int viommu_iommufd_retry(struct viommu_iommufd *i)
{
	return vh_shadow_retry(&i->sh);
}

void viommu_iommufd_read_stats(struct viommu_iommufd *i,
			       struct viommu_shadow_stats *out)
{
	vh_shadow_read_stats(&i->sh, out);
}
