/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Domains: the guest's numbers for spaces, and the four requests that change
 * them.  A domain exists from the first ATTACH that names it to the last
 * DETACH; with it go its mappings (5.13.6.4): its space is destroyed under the
 * fence of whatever took the last endpoint away.
 *
 * Each request is checked to the end before it changes anything (5.13.6.3.2:
 * a refused ATTACH does not detach).
 *
 * Locks: the caller holds v->lock throughout.
 */
#include <endian.h>
#include <errno.h>

#include "guest/virtio/device.h"

struct vv_domain *vv_domain_find(struct viommu_virtio *v, uint32_t number)
{
	struct vv_id *id = vv_idmap_find(v->domains, number);

	return id ? vv_id_of(id, struct vv_domain, id) : NULL;
}

struct vv_endpoint *vv_endpoint_find(struct viommu_virtio *v, uint32_t id)
{
	struct vv_id *found = vv_idmap_find(v->endpoints, id);

	return found ? vv_id_of(found, struct vv_endpoint, id) : NULL;
}

/* ---- a domain's life -------------------------------------------------- */

static int space_create(struct viommu_virtio *v, struct viommu_space **out)
{
	struct viommu_space_config cfg = {
		.size = sizeof(cfg),
		.kind = VIOMMU_SPACE_MAPPED,
		.start = v->cfg.input_start,
		.last = v->cfg.input_last,
		.page_sizes = v->cfg.page_size_mask,
	};

	return viommu_space_create(v->vi, &cfg, out);
}

int vv_domain_create(struct viommu_virtio *v, uint32_t number, bool bypass,
		     uint32_t spare, struct vv_domain **out)
{
	struct vv_domain *d;
	int rc = 0;

	if (number < v->cfg.domain_first || number > v->cfg.domain_last)
		return -ERANGE;
	if (v->ndomains >= (uint64_t)v->cfg.max_domains + spare)
		return -ENOSPC;
	d = vv_alloc(v, 1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	if (bypass)
		d->space = v->identity;
	else
		rc = space_create(v, &d->space);
	if (rc) {
		vv_free(v, d);
		return rc;
	}
	d->bypass = bypass;
	d->id.key = number;
	vv_idmap_add(&v->domains, &d->id);
	v->ndomains++;
	*out = d;
	return 0;
}

void vv_domain_destroy(struct viommu_virtio *v, struct vv_domain *d,
		       struct viommu_fence *f)
{
	if (!d->bypass)
		viommu_space_destroy(d->space, f);
	vv_idmap_remove(&v->domains, &d->id);
	v->ndomains--;
	vv_free(v, d);
}

/* ---- who sees what ---------------------------------------------------- */

void vv_domain_put(struct viommu_virtio *v, struct vv_endpoint *e,
		   struct viommu_fence *f)
{
	struct vv_domain *d = e->domain;

	e->domain = NULL;
	if (d && --d->endpoints == 0)
		vv_domain_destroy(v, d, f);
}

int vv_domain_join(struct viommu_virtio *v, struct vv_endpoint *e,
		   struct vv_domain *d, struct viommu_fence *f)
{
	/* replaces: an access goes by the old domain or by the new one */
	int rc = viommu_endpoint_attach(e->ep, d->space, f);

	/* the domain maps what this endpoint cannot translate: 5.13.6.3.2
	 * calls that incompatible properties */
	if (rc)
		return rc == -EADDRNOTAVAIL ? -EOPNOTSUPP : rc;
	vv_domain_put(v, e, f);
	e->domain = d;
	d->endpoints++;
	return 0;
}

void vv_domain_leave(struct viommu_virtio *v, struct vv_endpoint *e,
		     struct viommu_fence *f)
{
	/* an identity space has no mapping that could be in the way; should it
	 * be refused nevertheless, the endpoint sees nothing */
	if (!v->bypass || viommu_endpoint_attach(e->ep, v->identity, f))
		viommu_endpoint_detach(e->ep, f);
	vv_domain_put(v, e, f);
}

/* ---- ATTACH, DETACH --------------------------------------------------- */

/*
 * 5.13.6.3.2.  A number outside domain_range is refused with RANGE, which the
 * general rules of 5.13.6.2 permit and which is what the status means; the
 * other requests cannot tell it from a domain that does not exist, and their
 * rules for that (NOENT, INVAL) come first.
 *
 * An endpoint that is attached elsewhere is taken from there as if by DETACH,
 * in one step.  ATTACH to where it is already changes nothing.
 */
int vv_attach(struct viommu_virtio *v, const struct virtio_iommu_req_attach *r,
	      struct viommu_fence *f)
{
	uint32_t flags = le32toh(r->flags), number = le32toh(r->domain);
	bool bypass = flags & VIRTIO_IOMMU_ATTACH_F_BYPASS;
	uint32_t known = 0;
	struct vv_endpoint *e;
	struct vv_domain *d;
	int rc = 0;

	if (atomic_load(&v->accepted) &
	    VV_FEATURE(VIRTIO_IOMMU_F_BYPASS_CONFIG))
		known = VIRTIO_IOMMU_ATTACH_F_BYPASS;
	for (size_t i = 0; i < sizeof(r->reserved); i++)
		if (r->reserved[i])
			return -EINVAL;
	if (flags & ~known)
		return -EINVAL;
	e = vv_endpoint_find(v, le32toh(r->endpoint));
	if (!e)
		return -ENOENT;
	d = vv_domain_find(v, number);
	if (d && d->bypass != bypass)
		return -EINVAL;
	if (d && d == e->domain)
		return 0;
	if (!d) /* if alone, it leaves a domain behind that is gone at once */
		rc = vv_domain_create(v, number, bypass,
				      e->domain && e->domain->endpoints == 1,
				      &d);
	if (rc)
		return rc;
	rc = vv_domain_join(v, e, d, f);
	if (rc && !d->endpoints)
		vv_domain_destroy(v, d, f);
	return rc;
}

/* 5.13.6.4.2: reserved is ignored. */
int vv_detach(struct viommu_virtio *v, const struct virtio_iommu_req_detach *r,
	      struct viommu_fence *f)
{
	struct vv_endpoint *e = vv_endpoint_find(v, le32toh(r->endpoint));

	if (!e)
		return -ENOENT;
	if (!e->domain || e->domain->id.key != le32toh(r->domain))
		return -EINVAL;
	vv_domain_leave(v, e, f);
	return 0;
}

/* ---- MAP, UNMAP ------------------------------------------------------- */

uint32_t vv_prot_of(uint32_t flags)
{
	uint32_t prot = 0;

	if (flags & VIRTIO_IOMMU_MAP_F_READ)
		prot |= VIOMMU_READ;
	if (flags & VIRTIO_IOMMU_MAP_F_WRITE)
		prot |= VIOMMU_WRITE;
	if (flags & VIRTIO_IOMMU_MAP_F_MMIO)
		prot |= VIOMMU_MMIO;
	return prot;
}

uint32_t vv_flags_of(uint32_t prot)
{
	uint32_t flags = 0;

	if (prot & VIOMMU_READ)
		flags |= VIRTIO_IOMMU_MAP_F_READ;
	if (prot & VIOMMU_WRITE)
		flags |= VIRTIO_IOMMU_MAP_F_WRITE;
	if (prot & VIOMMU_MMIO)
		flags |= VIRTIO_IOMMU_MAP_F_MMIO;
	return flags;
}

/*
 * 5.13.6.5.2.  Alignment, overlaps, input_range, reserved ranges and that it is
 * a bypass domain's are the space's to refuse.  Whether memory is behind
 * phys_start is not asked: it may come and go later (hot plug, a BAR that
 * moves), so each access asks.
 */
int vv_map(struct viommu_virtio *v, const struct virtio_iommu_req_map *r)
{
	uint32_t flags = le32toh(r->flags), known;
	struct viommu_mapping m = {
		.start = le64toh(r->virt_start),
		.last = le64toh(r->virt_end),
		.gpa = le64toh(r->phys_start),
		.prot = vv_prot_of(flags),
	};
	struct vv_domain *d;

	known = VIRTIO_IOMMU_MAP_F_READ | VIRTIO_IOMMU_MAP_F_WRITE;
	if (atomic_load(&v->accepted) & VV_FEATURE(VIRTIO_IOMMU_F_MMIO))
		known |= VIRTIO_IOMMU_MAP_F_MMIO;
	if ((flags & ~known) || !(m.prot & (VIOMMU_READ | VIOMMU_WRITE)))
		return -EINVAL;
	d = vv_domain_find(v, le32toh(r->domain));
	return d ? viommu_space_map(d->space, &m) : -ENOENT;
}

/*
 * 5.13.6.6.2.  A range that reaches out of input_range is like one with holes:
 * there cannot be anything outside.  It is gathered where nothing is mapped,
 * too: an UNMAP that is done says so about all of its range.
 */
int vv_unmap(struct viommu_virtio *v, const struct virtio_iommu_req_unmap *r,
	     struct viommu_fence *f)
{
	struct vv_domain *d;
	int64_t removed;

	for (size_t i = 0; i < sizeof(r->reserved); i++)
		if (r->reserved[i])
			return -EINVAL;
	d = vv_domain_find(v, le32toh(r->domain));
	if (!d)
		return -ENOENT;
	removed = viommu_space_unmap(d->space, le64toh(r->virt_start),
				     le64toh(r->virt_end), f);
	return removed < 0 ? (int)removed : 0;
}
