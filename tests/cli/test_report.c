/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's report: what it says, and what it may not do to us. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "report.h"

static void tell(struct report *r, const char *const *lines)
{
	memset(r, 0, sizeof(*r));
	while (*lines)
		report_line(r, *lines++);
}

static void folder(void **state)
{
	const char *const lines[] = {
		"kernel=6.12.1-cloud-amd64",
		"init_seconds=1.95",
		"iommu_group_type=DMA-FQ",
		"files=75",
		"files_verified=74",
		"files_mismatched=1",
		"mismatched_file=a files=9",
		"files_written=14",
		"files_reread=14",
		"guest_faults=20",
		"seconds=16.18",
		"result=pass",
		"end=1",
		NULL,
	};
	struct report r;

	(void)state;
	tell(&r, lines);
	assert_string_equal(r.kernel, "6.12.1-cloud-amd64");
	assert_string_equal(r.group_type, "DMA-FQ");
	assert_int_equal(r.files, 75);
	assert_int_equal(r.files_verified, 74);
	assert_int_equal(r.files_mismatched, 1);
	assert_int_equal(r.files_written, 14);
	assert_int_equal(r.files_reread, 14);
	assert_int_equal(r.guest_faults, 20);
	assert_true(r.has_faults && r.passed && r.ended);
	assert_true(r.init_seconds > 1.9 && r.init_seconds < 2);
}

static void witness(void **state)
{
	const char *const lines[] = {
		"control name=read ok=1",
		"control name=msi ok=0 status=3",
		"control name=intx ok=0",
		"attack name=unmapped-read refused=1 error=14",
		"attack name=edge-write refused=0 error=0 want=14",
		"attack name=wrap-read refused=0 error=0 want=14",
		"live_map unmap_us=20265 plain_unmap_us=170 hold_us=20000 ok=1",
		"attacks=20 refused=19 controls=33 controls_ok=31",
		NULL,
	};
	struct report r;

	(void)state;
	tell(&r, lines);
	assert_int_equal(r.attacks, 20);
	assert_int_equal(r.attacks_refused, 19);
	assert_int_equal(r.controls, 33);
	assert_int_equal(r.controls_ok, 31);
	assert_string_equal(r.not_refused, "edge-write");
	assert_string_equal(r.control_failed, "msi");
	assert_int_equal(r.live_unmap_us, 20265);
	assert_int_equal(r.live_plain_us, 170);
	assert_int_equal(r.live_hold_us, 20000);
	assert_true(r.live_ok);
	assert_false(r.passed || r.ended);
}

static void first_reason_stays(void **state)
{
	const char *const lines[] = {
		"result=pass", "reason=mount: no", "reason=two", "result=fail",
		NULL,
	};
	struct report r;

	(void)state;
	tell(&r, lines);
	assert_string_equal(r.reason, "mount: no");
	assert_false(r.passed);
}

static void measurements(void **state)
{
	static const char *const lines[] = {
		"round=1",
		"round=2",
		"bench op=read kib=4 jobs=1 bytes=8388608 us=500000",
		"bench op=write kib=64 jobs=4 bytes=33554432 us=250",
		"bench nothing=1",
		NULL,
	};
	struct report r;

	(void)state;
	tell(&r, lines);
	assert_int_equal(r.rounds, 2);
	assert_int_equal(r.benches, 2);
	assert_false(r.bench[0].write);
	assert_int_equal(r.bench[0].kib, 4);
	assert_int_equal(r.bench[0].bytes, 8388608);
	assert_int_equal(r.bench[0].us, 500000);
	assert_true(r.bench[1].write);
	assert_int_equal(r.bench[1].jobs, 4);
}

static void too_many_measurements(void **state)
{
	const char *lines[REPORT_BENCH + 2];
	struct report r;

	(void)state;
	for (unsigned i = 0; i <= REPORT_BENCH; i++)
		lines[i] = "bench op=read kib=4 jobs=1 bytes=1 us=1";
	lines[REPORT_BENCH + 1] = NULL;
	tell(&r, lines);
	assert_int_equal(r.benches, REPORT_BENCH);
}

static void hostile(void **state)
{
	char long_line[5000];
	const char *const lines[] = {
		"",
		"=",
		"==",
		"kernel",
		"files_verified=",
		"files_verified=-1x",
		"attack ",
		"attack name= refused=",
		"attack name=",
		"live_map",
		"live_map ok=99999999999999999999999999",
		"unknown=1",
		long_line,
		NULL,
	};
	struct report r;

	(void)state;
	memset(long_line, 'a', sizeof(long_line) - 1);
	memcpy(long_line, "reason=", 7);
	long_line[sizeof(long_line) - 1] = '\0';
	tell(&r, lines);
	assert_int_equal(strlen(r.reason), sizeof(r.reason) - 1);
	assert_false(r.ended || r.live_ok);
	assert_string_equal(r.kernel, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(folder),
		cmocka_unit_test(witness),
		cmocka_unit_test(first_reason_stays),
		cmocka_unit_test(measurements),
		cmocka_unit_test(too_many_measurements),
		cmocka_unit_test(hostile),
	};

	return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
