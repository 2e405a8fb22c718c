/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WITNESS_FUNCTION_H
#define WITNESS_FUNCTION_H

/*
 * The PCI function, as sysfs has it: found by its ids, given to vfio-pci.
 */

#include <stddef.h>

struct function {
	char bdf[32];
	unsigned int vendor, device;
};

extern struct function function; /* the ids are set before it is found */

void function_find(void);

/* Gives the function to vfio-pci, taking it from whoever has it. */
void function_bind(void);

/* The last component of what a link of the function points to, or "". */
void function_link(const char *name, char *text, size_t size);

#endif
