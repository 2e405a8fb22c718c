/* SPDX-License-Identifier: BSD-2-Clause */
#include "live_map.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <linux/vfio.h>

#include "arena.h"
#include "clock.h"
#include "command.h"
#include "control.h"
#include "iova.h"
#include "say.h"

#define HOLD_US	  20000
#define SETTLE_US 50000

/*
 * The device holds a pointer into the page for HOLD_US and then writes
 * through it. Meanwhile the page is unmapped. The kernel gives the page away
 * when the unmap returns: so by then the write must have happened, and after
 * it nothing may.
 */
static bool live_map(uint64_t plain_us, uint64_t hold_us, bool *conclusive)
{
	const uint64_t pattern = 0x5aa55aa5c33cc33cu;
	const uint64_t iova = base + AT_LIVE * page;
	uint64_t start, waited, unmap_us;
	bool held, early, landed, still, ok;
	struct outcome o;

	memset(arena + AT_LIVE * page, 0, page);
	memset(expected + AT_LIVE * page, 0, page);
	map(AT_LIVE, 1, AT_LIVE,
	    VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
	reg_write(REG_DELAY, (uint32_t)hold_us);
	start = now_us();
	command_start(CMD_HOLD, iova, page, pattern);
	while (!(held = reg_read(REG_HELD)) &&
	       reg_read(REG_STATUS) == STATUS_BUSY &&
	       now_us() - start < hold_us)
		;
	early = arena_page_has(AT_LIVE, pattern);
	unmap_us = unmap(AT_LIVE, 1);
	waited = now_us() - start;
	landed = arena_page_has(AT_LIVE, pattern);

	if (landed)
		expect_pattern(AT_LIVE, 0, page, pattern);
	/* Whoever has the page now finds what it put there. */
	arena[AT_LIVE * page] ^= 0xff;
	expected[AT_LIVE * page] ^= 0xff;
	sleep_us(SETTLE_US);
	still = arena_intact("live map, after the unmap");
	o = command_wait();

	/* A guest that was scheduled away in between has seen no race. */
	*conclusive = held && !early;
	ok = *conclusive && landed && still && waited >= hold_us &&
	     is_done(o) && !reg_read(REG_HELD);
	if (!*conclusive && hold_us == HOLD_US)
		return false;
	printf("live_map unmap_us=%llu plain_unmap_us=%llu hold_us=%llu ok=%d",
	       (unsigned long long)unmap_us, (unsigned long long)plain_us,
	       (unsigned long long)hold_us, ok);
	if (!ok)
		printf(" held=%d early=%d landed=%d still=%d waited_us=%llu "
		       "status=%u error=%u",
		       held, early, landed, still, (unsigned long long)waited,
		       o.status, o.error);
	printf("\n");
	return ok;
}

void run_live_map(void)
{
	bool ok, conclusive;
	uint64_t plain;

	map(AT_LIVE, 1, AT_LIVE,
	    VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
	plain = unmap(AT_LIVE, 1);
	ok = live_map(plain, HOLD_US, &conclusive);
	if (!conclusive) {
		note("live map: the guest was too slow to race, once more");
		ok = live_map(plain, 2 * HOLD_US, &conclusive);
	}
	control_count(ok);
}
