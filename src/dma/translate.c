/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * translate: what an IOVA means now.  It takes the locks of those who change
 * that, so that it can tell the whole mapping; it is for looking, not for DMA.
 */
#include "dma/access.h"

int viommu_dma_translate(struct viommu_endpoint *ep, viommu_iova_t iova,
			 uint32_t prot, struct viommu_mapping *out)
{
	struct viommu *vi = ep->vi;
	struct viommu_mapping m;
	struct viommu_space *s;
	bool found = false;

	vi_lock(&vi->lock);
	s = atomic_load(&ep->space);
	if (s) {
		vi_lock(&s->lock);
		found = vi_space_next_locked(s, iova, &m) && m.start <= iova;
		vi_unlock(&s->lock);
	}
	vi_unlock(&vi->lock);
	if (!found)
		return -EFAULT;
	if (prot & ~m.prot)
		return -EACCES;
	*out = m;
	return 0;
}
