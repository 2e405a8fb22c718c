/* SPDX-License-Identifier: BSD-2-Clause */
#include "control.h"

#include <errno.h>
#include <stdio.h>

#include <linux/vfio.h>

#include "arena.h"
#include "iova.h"

unsigned int controls, controls_ok;

void control_count(bool ok)
{
	controls++;
	controls_ok += ok;
}

void control(const char *name, bool ok, struct outcome o)
{
	bool intact = arena_intact(name);

	control_count(ok && intact);
	if (ok && intact) {
		printf("control name=%s ok=1\n", name);
	} else {
		printf("control name=%s ok=0 status=%u error=%u intact=%d\n",
		       name, o.status, o.error, intact);
	}
}

void control_read(const char *name, uint64_t at, uint64_t offset, uint64_t len)
{
	struct outcome o =
		command_run(CMD_READ, base + at * page + offset, len, 0);

	control(name,
		is_done(o) &&
			o.result == fnv1a(expected + at * page + offset, len),
		o);
}

void control_write(const char *name, uint64_t at, uint64_t offset, uint64_t len)
{
	const uint64_t pattern = 0x8877665544332211u;
	struct outcome o =
		command_run(CMD_WRITE, base + at * page + offset, len, pattern);

	expect_pattern(at, offset, len, pattern);
	control(name, is_done(o), o);
}

static void control_words(void)
{
	const uint64_t pattern = 0x0123456789abcdefu;
	struct outcome o;
	char name[32];
	uint64_t len, offset;

	for (len = 1; len <= 8; len *= 2) {
		offset = page + 64 + 8 * len;
		o = command_run(CMD_LOAD, base + AT_RW * page + offset, len, 0);
		snprintf(name, sizeof(name), "load%u", (unsigned int)len);
		control(name,
			is_done(o) &&
				o.result == expected_word(AT_RW, offset, len),
			o);
		o = command_run(CMD_STORE, base + AT_RW * page + offset, len,
				pattern);
		expect_pattern(AT_RW, offset, len, pattern);
		snprintf(name, sizeof(name), "store%u", (unsigned int)len);
		control(name, is_done(o), o);
	}
}

static void control_cas(void)
{
	const uint64_t pattern = 0xfedcba9876543210u;
	struct outcome o;
	char name[32];
	uint64_t len, old;

	for (len = 4; len <= 8; len += 4) {
		old = expected_word(AT_RW, 256, len);
		reg_write64(REG_COMPARE, old ^ 1);
		o = command_run(CMD_CAS, base + AT_RW * page + 256, len,
				pattern);
		snprintf(name, sizeof(name), "cas%u-differs",
			 (unsigned int)len);
		control(name, is_done(o) && o.result == old, o);

		reg_write64(REG_COMPARE, old);
		o = command_run(CMD_CAS, base + AT_RW * page + 256, len,
				pattern);
		expect_pattern(AT_RW, 256, len, pattern);
		snprintf(name, sizeof(name), "cas%u", (unsigned int)len);
		control(name, is_done(o) && o.result == old, o);
	}
}

/* The same IOVA, first one page and then another: no stale translation. */
static void control_remap(void)
{
	map(AT_BRIEF, 1, AT_BRIEF, VFIO_DMA_MAP_FLAG_READ);
	control_read("map-read", AT_BRIEF, 0, page);
	unmap(AT_BRIEF, 1);

	map(AT_BRIEF, 1, AT_BRIEF + 2, VFIO_DMA_MAP_FLAG_READ);
	struct outcome o =
		command_run(CMD_READ, base + AT_BRIEF * page, page, 0);
	control("remap-read",
		is_done(o) &&
			o.result ==
				fnv1a(expected + (AT_BRIEF + 2) * page, page),
		o);
	unmap(AT_BRIEF, 1);
}

static void control_hold(void)
{
	const uint64_t pattern = 0x1122334455667788u;
	struct outcome o;

	reg_write(REG_DELAY, 1000);
	o = command_run(CMD_HOLD, base + AT_RW * page + 512, 512, pattern);
	expect_pattern(AT_RW, 512, 512, pattern);
	control("hold", is_done(o) && !reg_read(REG_HELD), o);
}

static void control_too_long(void)
{
	struct outcome o =
		command_run(CMD_READ, base + AT_RW * page, MAX_ACCESS + 1, 0);

	control("too-long", o.status == STATUS_REFUSED && o.error == E2BIG, o);
}

void run_controls(void)
{
	struct outcome none = { 0 };

	control("id", reg_read(REG_ID) == DMATEST_ID_VALUE, none);
	control("version", reg_read(REG_VERSION) == 1, none);
	control_read("read", AT_RW, 0, page);
	control_read("read-two-pages", AT_RW, 0, 2 * page);
	control_read("read-last-byte", AT_RW, 2 * page - 1, 1);
	control_read("readonly-read", AT_RO, 0, page);
	control_write("write", AT_RW, 3, 100);
	control_write("write-across-pages", AT_RW, page - 10, 20);
	control_write("write-last-byte", AT_RW, 2 * page - 1, 1);
	control_write("writeonly-write", AT_WO, 0, page);
	control_words();
	control_cas();
	control_remap();
	control_hold();
	control_too_long();
}
