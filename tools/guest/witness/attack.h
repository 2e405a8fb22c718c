/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WITNESS_ATTACK_H
#define WITNESS_ATTACK_H

#include <stdbool.h>

/*
 * Attacks: accesses the device has no right to.  Each must come back as
 * refused, with the right error, and not one byte of the arena may change.
 */

extern unsigned int attacks, refused;
extern unsigned int faults; /* refused accesses the IOMMU must have told of */
/* Whether there are pages that may be written and not read. */
extern bool write_only;
/* Whether the kernel's log is to tell of each refusal. */
extern bool paced;

void run_attacks(void);

/* On a page that was the device's a moment ago, and is not any more. */
void run_attacks_after_unmap(void);

#endif
