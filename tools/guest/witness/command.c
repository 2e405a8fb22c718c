/* SPDX-License-Identifier: BSD-2-Clause */
#include "command.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "clock.h"
#include "function.h"
#include "say.h"
#include "vfio.h"

#define COMMAND_TIMEOUT_US 5000000

static uint64_t bar0; /* offset on vfio.fd */

uint32_t reg_read(enum dmatest_reg reg)
{
	uint32_t v;

	if (pread(vfio.fd, &v, 4, (off_t)bar0 + reg) != 4)
		die("read register 0x%x: %s", reg, strerror(errno));
	return v;
}

void reg_write(enum dmatest_reg reg, uint32_t v)
{
	if (pwrite(vfio.fd, &v, 4, (off_t)bar0 + reg) != 4)
		die("write register 0x%x: %s", reg, strerror(errno));
}

void reg_write64(enum dmatest_reg reg, uint64_t v)
{
	reg_write(reg, (uint32_t)v);
	reg_write(reg + 4, (uint32_t)(v >> 32));
}

static uint64_t reg_read64(enum dmatest_reg reg)
{
	uint64_t low = reg_read(reg);

	return low | (uint64_t)reg_read(reg + 4) << 32;
}

void command_open(void)
{
	bar0 = region_offset(VFIO_PCI_BAR0_REGION_INDEX, 0x48);
	if (reg_read(REG_ID) != DMATEST_ID_VALUE)
		die("%s: its ID register says 0x%08x, not 0x%08x", function.bdf,
		    reg_read(REG_ID), DMATEST_ID_VALUE);
}

void command_start(uint32_t command, uint64_t iova, uint64_t len,
		   uint64_t pattern)
{
	reg_write64(REG_IOVA, iova);
	reg_write64(REG_LEN, len);
	reg_write64(REG_PATTERN, pattern);
	reg_write(REG_COMMAND, command);
}

struct outcome command_wait(void)
{
	uint64_t start = now_us();
	struct outcome o;

	while ((o.status = reg_read(REG_STATUS)) == STATUS_BUSY) {
		if (now_us() - start > COMMAND_TIMEOUT_US)
			die("the device is still busy after %d s",
			    COMMAND_TIMEOUT_US / 1000000);
		sleep_us(200);
	}
	o.error = reg_read(REG_ERROR);
	o.result = reg_read64(REG_RESULT);
	return o;
}

struct outcome command_run(uint32_t command, uint64_t iova, uint64_t len,
			   uint64_t pattern)
{
	command_start(command, iova, len, pattern);
	return command_wait();
}

bool is_done(struct outcome o)
{
	return o.status == STATUS_DONE && !o.error;
}
