/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_VIOT_H
#define TOOLS_VIOT_H

#include <stddef.h>
#include <stdint.h>

#define VIOT_LEN 88

struct viot {
	uint16_t iommu;	      /* requester id of the virtio-iommu function */
	uint16_t start, last; /* requester ids of what is behind it */
};

/* Make the table. */
void viot_make(const struct viot *v, unsigned char table[VIOT_LEN]);

/* Write it into a file.  0 or -errno. */
int viot_write(const struct viot *v, const char *path);

#endif
