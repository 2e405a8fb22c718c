/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WITNESS_VFIO_H
#define WITNESS_VFIO_H

/*
 * The guest kernel's VFIO: the container, the group, the device and its
 * regions.  What it cannot do ends the program.
 */

#include <stdint.h>

struct vfio {
	int container, group, fd;
};

extern struct vfio vfio;

/* Opens all three of the function that function_bind() bound. */
void vfio_open(void);

/* Where on vfio.fd a region of at least @least bytes is. */
uint64_t region_offset(uint32_t index, uint64_t least);

/* Memory space and bus mastering on, legacy interrupts not disabled. */
void function_enable(void);

#endif
