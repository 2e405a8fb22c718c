/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WITNESS_CONTROL_H
#define WITNESS_CONTROL_H

/* Controls: good DMA has to work, so that a refusal means something. */

#include <stdbool.h>
#include <stdint.h>

#include "command.h"

extern unsigned int controls, controls_ok;

/* Counts a control that printed its own line. */
void control_count(bool ok);

/* Prints and counts one; it is not ok if the arena is not as expected. */
void control(const char *name, bool ok, struct outcome o);

void control_read(const char *name, uint64_t at, uint64_t offset, uint64_t len);
void control_write(const char *name, uint64_t at, uint64_t offset,
		   uint64_t len);

void run_controls(void);

#endif
