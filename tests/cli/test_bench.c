/* SPDX-License-Identifier: BSD-2-Clause */
/* What `viommu bench guest' makes of what the guests measured. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench.h"

/* A guest that needed @us for each of two phases of a MiB. */
static struct report guest(uint64_t us)
{
	return (struct report){
		.benches = 2,
		.bench = { { .kib = 4, .jobs = 1, .bytes = 1 << 20, .us = us },
			   { .write = true,
			     .kib = 1024,
			     .jobs = 4,
			     .bytes = 1 << 20,
			     .us = us } },
	};
}

static bool take(struct bench *b, uint64_t us)
{
	struct report r = guest(us);

	return bench_take(b, &b->setups[0], &r);
}

static void median_of_an_odd_number(void **state)
{
	struct bench b = { .runs = 3 };

	(void)state;
	assert_true(take(&b, 1000000));
	assert_true(take(&b, 250000));
	assert_true(take(&b, 500000));
	assert_int_equal((int)(bench_median(&b.setups[0], 0) * 10 + .5), 20);
}

static void median_of_an_even_number(void **state)
{
	struct bench b = { .runs = 2 };

	(void)state;
	assert_true(take(&b, 500000));
	assert_true(take(&b, 250000));
	assert_int_equal((int)(bench_median(&b.setups[0], 1) * 10 + .5), 30);
}

static void nothing_was_measured(void **state)
{
	struct bench b = { .runs = 1 };
	struct report none = { .benches = 0 };

	(void)state;
	assert_false(bench_take(&b, &b.setups[0], &none));
	assert_true(bench_median(&b.setups[0], 0) == 0);
}

static void other_phases_are_refused(void **state)
{
	struct bench b = { .runs = 2 };
	struct report other = guest(1000), short_one = guest(1000);
	struct report timeless = guest(0);

	(void)state;
	other.bench[1].kib = 64;
	short_one.benches = 1;
	assert_true(take(&b, 1000));
	assert_false(bench_take(&b, &b.setups[0], &other));
	assert_false(bench_take(&b, &b.setups[0], &short_one));
	assert_false(bench_take(&b, &b.setups[0], &timeless));
	assert_int_equal(b.setups[0].runs, 1);
}

static void more_runs_than_there_is_room_for(void **state)
{
	struct bench b = { .runs = BENCH_RUNS };

	(void)state;
	for (unsigned i = 0; i < BENCH_RUNS; i++)
		assert_true(take(&b, 1000));
	assert_false(take(&b, 1000));
}

/* A well-formed plot: a bar for each setup and phase, with its figure. */
static void plot_has_a_bar_for_each(void **state)
{
	struct bench b = {
		.runs = 1, .kernel = "k", .qemu = "q", .accel = "tcg"
	};
	char path[] = "/tmp/viommu-plot.XXXXXX", text[16384] = "";
	unsigned rects = 0;
	FILE *f;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_true(take(&b, 8000));
	assert_int_equal(bench_plot(&b, path), 0);
	f = fdopen(fd, "r");
	assert_non_null(f);
	assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
	fclose(f);
	unlink(path);
	for (char *at = text; (at = strstr(at, "<rect")); at++)
		rects++;
	/* the paper, two bars, and seven in the legend */
	assert_int_equal(rects, 10);
	assert_non_null(strstr(text, ">125</text>"));
	assert_non_null(strstr(text, "</svg>"));
}

static void plot_needs_a_place(void **state)
{
	struct bench b = {
		.runs = 1, .kernel = "k", .qemu = "q", .accel = "tcg"
	};

	(void)state;
	assert_true(take(&b, 8000));
	assert_int_equal(bench_plot(&b, "/nowhere/plot.svg"), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(median_of_an_odd_number),
		cmocka_unit_test(median_of_an_even_number),
		cmocka_unit_test(nothing_was_measured),
		cmocka_unit_test(other_phases_are_refused),
		cmocka_unit_test(more_runs_than_there_is_room_for),
		cmocka_unit_test(plot_has_a_bar_for_each),
		cmocka_unit_test(plot_needs_a_place),
	};

	return cmocka_run_group_tests_name("bench", tests, NULL, NULL);
}
