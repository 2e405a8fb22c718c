/* SPDX-License-Identifier: BSD-2-Clause */
/* Argument lists, and what a shell or QEMU makes of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "args.h"

/* A shell has to read back what was printed for it. */
static void shell_reads_it(void **state)
{
	static const char *const words[] = {
		"plain",     "", "two words", "a'b", "$HOME `x` \\ \"q\"",
		"{\"a\":1}",
	};
	const size_t n = sizeof(words) / sizeof(words[0]);
	struct args a = { .n = 0 };
	char command[1024], got[256];
	FILE *to, *from;

	(void)state;
	args_add(&a, "printf");
	args_add(&a, "%%s\\n");
	for (size_t i = 0; i < n; i++)
		args_add(&a, "%s", words[i]);
	assert_false(a.failed);
	assert_null(a.v[a.n]);
	to = fmemopen(command, sizeof(command), "w");
	args_print(&a, to);
	fclose(to);
	from = popen(command, "r");
	for (size_t i = 0; i < n; i++) {
		assert_non_null(fgets(got, sizeof(got), from));
		got[strcspn(got, "\n")] = '\0';
		assert_string_equal(got, words[i]);
	}
	assert_null(fgets(got, sizeof(got), from));
	assert_int_equal(pclose(from), 0);
	args_free(&a);
	assert_int_equal(a.n, 0);
}

static void too_many(void **state)
{
	struct args a = { .n = 0 };

	(void)state;
	for (int i = 0; i < 100; i++)
		args_add(&a, "%d", i);
	assert_true(a.failed);
	assert_int_equal(a.n, 63);
	assert_null(a.v[63]);
	args_free(&a);
}

static void commas(void **state)
{
	char *got = qemu_escape("/a,b,,c");

	(void)state;
	assert_string_equal(got, "/a,,b,,,,c");
	free(got);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shell_reads_it),
		cmocka_unit_test(too_many),
		cmocka_unit_test(commas),
	};

	return cmocka_run_group_tests_name("args", tests, NULL, NULL);
}
