/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WITNESS_LIVE_MAP_H
#define WITNESS_LIVE_MAP_H

/* The live map shows that an unmap waits for the access it races with. */
void run_live_map(void);

#endif
