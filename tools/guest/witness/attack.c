/* SPDX-License-Identifier: BSD-2-Clause */
#include "attack.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <linux/vfio.h>

#include "arena.h"
#include "clock.h"
#include "command.h"
#include "control.h"
#include "iova.h"

/*
 * The guest's virtio-iommu driver prints 10 faults in 5 s and swallows the
 * rest. We stay one below, so that every refusal shows up in its log.
 */
#define FAULT_BURST	9
#define FAULT_WINDOW_US 5500000

struct attack {
	const char *name;
	enum dmatest_command command;
	uint64_t iova, len;
	uint32_t error; /* the one right answer */
};

unsigned int attacks, refused, faults;
bool write_only = true;
bool paced = true;
static unsigned int burst;
static uint64_t burst_start;

static void pace(void)
{
	uint64_t gone;

	if (paced && burst >= FAULT_BURST) {
		gone = now_us() - burst_start;
		if (gone < FAULT_WINDOW_US)
			sleep_us(FAULT_WINDOW_US - gone);
		burst = 0;
	}
	if (!burst++)
		burst_start = now_us();
}

/* Whether a read that was refused has told what is there all the same. */
static bool leaked(const struct attack *a, struct outcome o)
{
	const uint64_t at = a->iova - base;

	return a->command == CMD_READ && at < SPAN * page &&
	       o.result == fnv1a(expected + at, a->len);
}

/*
 * A good access first: it leaves STATUS "done", so that "refused" is this
 * attack's answer and not the last one's.
 */
static void attack(const struct attack *a)
{
	const uint64_t pattern = 0xa5a5a5a5deadbeefu;
	struct outcome before, o;
	bool intact, ok;

	pace();
	before = command_run(CMD_LOAD, base + AT_RW * page, 8, 0);
	if (a->command == CMD_CAS)
		/* What is really there: only the IOMMU is in its way. */
		reg_write64(REG_COMPARE,
			    expected_word((a->iova - base) / page,
					  (a->iova - base) % page, a->len));
	if (a->command == CMD_HOLD)
		reg_write(REG_DELAY, 100);
	o = command_run(a->command, a->iova, a->len, pattern);
	intact = arena_intact(a->name);

	ok = is_done(before) && intact && o.status == STATUS_REFUSED &&
	     o.error == a->error && !leaked(a, o);
	if (o.status == STATUS_REFUSED &&
	    (o.error == EFAULT || o.error == EACCES))
		faults++;
	attacks++;
	refused += ok;
	printf("attack name=%s refused=%d error=%u", a->name, ok, o.error);
	if (!ok)
		printf(" want=%u status=%u intact=%d leaked=%d alive=%d",
		       a->error, o.status, intact, leaked(a, o),
		       is_done(before));
	printf("\n");
}

void run_attacks(void)
{
	const uint64_t rw = base + AT_RW * page, ro = base + AT_RO * page;
	const uint64_t past = rw + 2 * page, none = base + AT_NOWHERE * page;
	const uint64_t wo = base + AT_WO * page, top = -(uint64_t)16;
	const uint64_t seam = base + (AT_SEAM + 1) * page;
	const struct attack list[] = {
		{ "unmapped-read", CMD_READ, none, 64, EFAULT },
		{ "unmapped-write", CMD_WRITE, none, 64, EFAULT },
		{ "unmapped-store", CMD_STORE, none, 8, EFAULT },
		{ "unmapped-cas", CMD_CAS, none, 8, EFAULT },
		{ "unmapped-hold", CMD_HOLD, none, 64, EFAULT },
		{ "readonly-write", CMD_WRITE, ro, 64, EACCES },
		{ "readonly-store", CMD_STORE, ro, 8, EACCES },
		{ "readonly-cas", CMD_CAS, ro, 8, EACCES },
		{ "readonly-hold", CMD_HOLD, ro, 64, EACCES },
		{ "wrap-read", CMD_READ, top, 32, EFAULT },
		{ "wrap-write", CMD_WRITE, top, 32, EFAULT },
		{ "writeonly-read", CMD_READ, wo, 64, EACCES },
		{ "edge-read-across", CMD_READ, past - 16, 32, EFAULT },
		{ "edge-write-across", CMD_WRITE, past - 16, 32, EFAULT },
		{ "edge-read-past", CMD_READ, past, 1, EFAULT },
		{ "edge-write-past", CMD_WRITE, past, 1, EFAULT },
		{ "edge-write-before", CMD_WRITE, rw - 16, 32, EFAULT },
		{ "seam-write-into-readonly", CMD_WRITE, seam - 16, 32,
		  EACCES },
	};
	size_t i;

	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		if (write_only || list[i].iova != wo)
			attack(&list[i]);
}

void run_attacks_after_unmap(void)
{
	const uint64_t iova = base + AT_BRIEF * page;
	const struct attack read = {
		"after-unmap-read", CMD_READ, iova, page, EFAULT,
	};
	const struct attack write = {
		"after-unmap-write", CMD_WRITE, iova, page, EFAULT,
	};

	map(AT_BRIEF, 1, AT_BRIEF,
	    VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
	control_read("before-unmap-read", AT_BRIEF, 0, page);
	unmap(AT_BRIEF, 1);
	attack(&read);

	map(AT_BRIEF, 1, AT_BRIEF,
	    VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
	control_write("before-unmap-write", AT_BRIEF, 0, page);
	unmap(AT_BRIEF, 1);
	attack(&write);
}
