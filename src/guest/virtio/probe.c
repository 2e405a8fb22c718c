/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PROBE (5.13.6.7): the endpoint's reserved ranges, each a RESV_MEM property.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "guest/virtio/device.h"

_Static_assert(sizeof(struct virtio_iommu_probe_resv_mem) == 24, "5.13.6.8.1");

static struct virtio_iommu_probe_resv_mem
property_of(const struct viommu_reserved *r)
{
	return (struct virtio_iommu_probe_resv_mem){
		.head.type = htole16(VIRTIO_IOMMU_PROBE_T_RESV_MEM),
		/* of the value: what follows the head */
		.head.length =
			htole16(sizeof(struct virtio_iommu_probe_resv_mem) -
				sizeof(struct virtio_iommu_probe_property)),
		.subtype = r->kind == VIOMMU_RESERVED_MSI
				   ? VIRTIO_IOMMU_RESV_MEM_T_MSI
				   : VIRTIO_IOMMU_RESV_MEM_T_RESERVED,
		.start = htole64(r->start),
		.end = htole64(r->last),
	};
}

static int list_write(struct viommu_endpoint *ep, uint8_t *to, size_t len)
{
	struct viommu_reserved r = { .last = UINT64_MAX };
	viommu_iova_t from = 0;
	size_t at = 0;

	while (!viommu_endpoint_next_reserved(ep, from, &r)) {
		struct virtio_iommu_probe_resv_mem p = property_of(&r);

		if (len - at < sizeof(p))
			return -EMSGSIZE;
		memcpy(to + at, &p, sizeof(p));
		at += sizeof(p);
		if (r.last == UINT64_MAX)
			break;
		from = r.last + 1;
	}
	return 0;
}

int vv_probe(struct viommu_virtio *v, uint32_t endpoint, uint8_t *properties,
	     size_t len)
{
	struct vv_endpoint *e = vv_endpoint_find(v, endpoint);
	int rc;

	if (!e)
		return -ENOENT;
	rc = list_write(e->ep, properties, len);
	if (rc) /* half a list would have the guest map what it did not see */
		memset(properties, 0, len);
	return rc;
}
