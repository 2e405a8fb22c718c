/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table by which a guest learns which functions are behind which
 * paravirtual IOMMU: ACPI's VIOT (ACPI 6.5, 5.2.36).  One node names the
 * IOMMU's PCI function, one the range of endpoints behind it.
 */
#include "viot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

enum {
	HEADER_LEN = 36, /* of any ACPI table */
	NODES = 48,	 /* the first node, from the table's start */
	RANGE_LEN = 24,
	IOMMU_LEN = 16,
	IOMMU = NODES,
	RANGE = NODES + IOMMU_LEN,

	NODE_PCI_RANGE = 1,
	NODE_VIRTIO_IOMMU_PCI = 3,

	SEGMENT = 0,
	CHECKSUM = 9,
};

_Static_assert(RANGE + RANGE_LEN == VIOT_LEN, "two nodes");

static void put(unsigned char *at, uint64_t v, int len)
{
	for (int i = 0; i < len; i++)
		at[i] = (unsigned char)(v >> (8 * i));
}

static void header_make(unsigned char *t)
{
	memcpy(t, "VIOT", 4);
	put(t + 4, VIOT_LEN, 4);
	t[8] = 0; /* revision */
	memcpy(t + 10, "VIOMMU", 6);
	memcpy(t + 16, "VIOMMU  ", 8);
	put(t + 24, 1, 4);
	memcpy(t + 28, "VIOM", 4);
	put(t + 32, 1, 4);
	put(t + HEADER_LEN, 2, 2);
	put(t + HEADER_LEN + 2, NODES, 2);
}

void viot_make(const struct viot *v, unsigned char table[VIOT_LEN])
{
	unsigned char *iommu = table + IOMMU, *range = table + RANGE;
	unsigned sum = 0;

	memset(table, 0, VIOT_LEN);
	header_make(table);

	iommu[0] = NODE_VIRTIO_IOMMU_PCI;
	put(iommu + 2, IOMMU_LEN, 2);
	put(iommu + 4, SEGMENT, 2);
	put(iommu + 6, v->iommu, 2);

	range[0] = NODE_PCI_RANGE;
	put(range + 2, RANGE_LEN, 2);
	/* The endpoint's number in requests is its requester id. */
	put(range + 4, v->start, 4);
	put(range + 8, SEGMENT, 2);
	put(range + 10, SEGMENT, 2);
	put(range + 12, v->start, 2);
	put(range + 14, v->last, 2);
	put(range + 16, IOMMU, 2);

	for (int i = 0; i < VIOT_LEN; i++)
		sum += table[i];
	table[CHECKSUM] = (unsigned char)-sum;
}

int viot_write(const struct viot *v, const char *path)
{
	unsigned char table[VIOT_LEN];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool whole;

	if (fd < 0)
		return -errno;
	viot_make(v, table);
	errno = ENOSPC;
	whole = write(fd, table, sizeof(table)) == (ssize_t)sizeof(table);
	close(fd);
	return whole ? 0 : -errno;
}
