/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WITNESS_COMMAND_H
#define WITNESS_COMMAND_H

/* The registers of dmatest (docs/dmatest.md), and commands given in them. */

#include <stdbool.h>
#include <stdint.h>

#define DMATEST_ID_VALUE 0x54444956u

enum dmatest_reg {
	REG_ID = 0x00,
	REG_VERSION = 0x04,
	REG_IOVA = 0x08,
	REG_LEN = 0x10,
	REG_PATTERN = 0x18,
	REG_COMMAND = 0x20,
	REG_STATUS = 0x24,
	REG_ERROR = 0x28,
	REG_HELD = 0x2c,
	REG_RESULT = 0x30,
	REG_DELAY = 0x38,
	REG_COMPARE = 0x40,
};

enum dmatest_command {
	CMD_READ = 1,
	CMD_WRITE = 2,
	CMD_HOLD = 3,
	CMD_LOAD = 4,
	CMD_STORE = 5,
	CMD_CAS = 6,
};

#define CMD_INTERRUPT (1u << 31)

enum dmatest_status {
	STATUS_BUSY = 1,
	STATUS_DONE = 2,
	STATUS_REFUSED = 3,
};

#define MAX_ACCESS (1u << 20)

struct outcome {
	uint32_t status, error;
	uint64_t result;
};

/* Finds the registers; ends the program if they are somebody else's. */
void command_open(void);

uint32_t reg_read(enum dmatest_reg reg);
void reg_write(enum dmatest_reg reg, uint32_t v);
void reg_write64(enum dmatest_reg reg, uint64_t v);

void command_start(uint32_t command, uint64_t iova, uint64_t len,
		   uint64_t pattern);
struct outcome command_wait(void);
struct outcome command_run(uint32_t command, uint64_t iova, uint64_t len,
			   uint64_t pattern);

bool is_done(struct outcome o);

#endif
