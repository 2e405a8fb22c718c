/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_BASE_BARRIER_H
#define VI_BASE_BARRIER_H

/* membarrier(2): a full barrier on every thread of the process, paid by the
 * caller alone. */

#include <stdbool.h>

/* Register the process; false if the kernel has none. */
bool vi_membarrier_setup(void);

/* After vi_membarrier_setup() said true; cannot fail. */
void vi_membarrier(void);

#endif
