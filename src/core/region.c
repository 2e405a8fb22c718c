/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/region.h"

#include <errno.h>

#include "base/list.h"
#include "base/opts.h"
#include "base/range.h"
#include "core/backing.h"
#include "core/instance.h"
#include "core/memory.h"

static bool device_does(const struct viommu_device_ops *d, uint32_t prot)
{
	return (!(prot & VIOMMU_READ) || d->read || d->load) &&
	       (!(prot & VIOMMU_WRITE) || d->write || d->store);
}

static int device_check(const struct viommu_region *c)
{
	struct viommu_device_ops ops;

	return c->host || c->fd_offset + c->len - 1 < c->fd_offset ||
			       vi_opts_copy(&ops, sizeof(ops), c->device,
					    c->device->size, sizeof(ops)) ||
			       !device_does(&ops, c->prot)
		       ? -EINVAL
		       : 0;
}

int vi_region_check(struct viommu_region *c, const struct viommu_region *in)
{
	if (vi_opts_copy(c, sizeof(*c), in, in->size, sizeof(*c)))
		return -EINVAL;
	if (!c->len || c->gpa + (c->len - 1) < c->gpa || !c->prot ||
	    (c->prot & ~(uint32_t)(VIOMMU_READ | VIOMMU_WRITE)))
		return -EINVAL;
	if (c->device)
		return device_check(c);
	if (c->host && (uintptr_t)c->host + (c->len - 1) < (uintptr_t)c->host)
		return -EINVAL;
	if (!c->host && (c->fd < 0 || c->fd_offset + c->len < c->len))
		return -EINVAL;
	return 0;
}

void vi_region_free(struct vi_region *r)
{
	struct viommu_memory *mem = r->mem;

	if (!r->device && r->backing)
		vi_backing_put(r->backing);
	vi_free(&mem->vi->env, r);
	vi_memory_put(mem);
}

static void region_retired(struct vi_retire *retire)
{
	vi_region_free(vi_list_of(retire, struct vi_region, retire));
}

/* Its nodes, as its other members say; @host if it is RAM. */
static void nodes_set(struct vi_region *r, uint64_t host)
{
	r->by_gpa.key = r->mem;
	r->by_gpa.start = r->gpa;
	r->by_gpa.last = r->last;
	if (r->device)
		return;
	r->host.key = r->mem;
	r->host.start = host;
	r->host.last = host + (r->last - r->gpa);
}

int vi_region_make(struct viommu_memory *mem, const struct viommu_region *c,
		   struct vi_region **out)
{
	struct vi_region *r =
		vi_alloc(&mem->vi->env, sizeof(*r), _Alignof(max_align_t));
	void *host = c->host;
	int rc = 0;

	if (!r)
		return -ENOMEM;
	r->device = c->device;
	if (c->device) {
		r->arg = c->arg;
		r->offset = c->fd_offset;
		rc = vi_opts_copy(&r->ops, sizeof(r->ops), c->device,
				  c->device->size, sizeof(r->ops));
	} else if (!host) {
		rc = vi_backing_get(mem, c, &r->backing, &host);
	}
	if (rc) {
		vi_free(&mem->vi->env, r);
		return rc;
	}
	r->retire.free = region_retired;
	r->mem = mem;
	r->gpa = c->gpa;
	r->last = c->gpa + (c->len - 1);
	r->prot = c->prot;
	nodes_set(r, (uintptr_t)host);
	vi_memory_get(mem);
	*out = r;
	return 0;
}

void vi_region_describe(const struct vi_region *r, uint64_t gpa, uint64_t last,
			struct viommu_region *out)
{
	uint64_t at = vi_max(gpa, r->gpa), into = at - r->gpa;

	*out = (struct viommu_region){
		.size = sizeof(*out),
		.gpa = at,
		.len = vi_min(last, r->last) - at + 1,
		.prot = r->prot,
		.fd = -1,
	};
	if (r->device) {
		out->device = &r->ops;
		out->arg = r->arg;
		out->fd_offset = r->offset + into;
	} else {
		out->host = (void *)(uintptr_t)(r->host.start + into);
	}
}

void vi_region_split(struct vi_region *r, uint64_t at, struct vi_region *right)
{
	uint64_t before = at - r->gpa;

	*right = *r;
	right->gpa = at;
	r->last = at - 1;
	if (r->device)
		right->offset += before;
	else if (right->backing)
		vi_backing_share(right->backing);
	nodes_set(right, r->device ? 0 : r->host.start + before);
	nodes_set(r, r->device ? 0 : r->host.start);
	vi_memory_get(r->mem);
}
