/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WITNESS_CLOCK_H
#define WITNESS_CLOCK_H

#include <stdint.h>

uint64_t now_us(void);
void sleep_us(uint64_t us);

#endif
