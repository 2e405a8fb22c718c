/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device behind an IOMMU, from nothing to a DMA and back: create, map, DMA,
 * unmap, fence.
 */
#include <stdio.h>
#include <string.h>
#include <viommu.h>

static char ram[64 << 10]; /* the guest's, at GPA 0 */

int main(void)
{
	struct viommu_region ram_at_0 = { .size = sizeof(ram_at_0),
					  .len = sizeof(ram),
					  .host = ram,
					  .prot = VIOMMU_READ | VIOMMU_WRITE };
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = 4096 };
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = 0x20 }; /* 00:04.0 */
	struct viommu_mapping m = { .start = 0x100000,
				    .last = 0x100fff,
				    .gpa = 0x3000,
				    .prot = VIOMMU_READ | VIOMMU_WRITE };
	struct viommu_space *space;
	struct viommu_endpoint *ep;
	struct viommu_fence f;
	struct viommu *vi;

	/* the machine */
	viommu_fence_init(&f);
	if (viommu_create(NULL, &vi) ||
	    viommu_memory_add(viommu_memory_of(vi), &ram_at_0) ||
	    viommu_space_create(vi, &sc, &space) ||
	    viommu_endpoint_create(vi, &ec, &ep) ||
	    viommu_endpoint_attach(ep, space, &f))
		return 1;

	/* the guest maps a page, the device takes a pointer to some of it */
	struct iovec iov[1];
	struct viommu_dma d = { .ep = ep,
				.iova = 0x100010,
				.len = 5,
				.prot = VIOMMU_WRITE,
				.iov = iov,
				.max_iov = 1 };
	if (viommu_space_map(space, &m) || viommu_dma_map(&d))
		return 1;

	/* the guest takes the page back: the answer has to wait */
	viommu_fence_init(&f);
	if (viommu_space_unmap(space, m.start, m.last, &f) != 4096)
		return 1;
	viommu_fence_commit(&f, NULL, NULL);
	printf("device writes: fence done = %d\n", viommu_fence_done(&f));
	memcpy(d.iov[0].iov_base, "hello", 5);
	viommu_dma_unmap(&d, 5);
	printf("device let go: fence done = %d\n", viommu_fence_done(&f));
	printf("too late:      %s\n",
	       strerror(-viommu_dma_write(ep, 0x100010, "late!", 5)));
	printf("guest memory:  %.5s\n", ram + 0x3010);

	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep, &f);
	viommu_space_destroy(space, &f);
	viommu_fence_commit(&f, NULL, NULL);
	viommu_destroy(vi);
	return strncmp(ram + 0x3010, "hello", 5) != 0;
}
