/* SPDX-License-Identifier: BSD-2-Clause */
/* SHA-256, lists of sums, and lists that somebody else wrote. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "manifest.h"
#include "sha256.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void file_write(const char *path, const char *text)
{
	FILE *to = fopen(path, "w");

	assert_non_null(to);
	fputs(text, to);
	fclose(to);
}

static int folder_enter(void **state)
{
	char *path = strdup("/tmp/manifest.XXXXXX");

	if (!mkdtemp(path) || chdir(path))
		return -1;
	*state = path;
	return mkdir("in", 0700);
}

static int folder_leave(void **state)
{
	char command[64];
	int rc;

	snprintf(command, sizeof(command), "rm -rf '%s'", (char *)*state);
	rc = chdir("/") || system(command);
	free(*state);
	return rc;
}

/* The digest of a file, on FIPS 180-4's examples. */
static void sha256(void **state)
{
	static const char *const texts[][2] = { { "", EMPTY }, { "abc", ABC } };
	char hex[SHA256_HEX];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		FILE *f = fopen("digest", "w");

		assert_non_null(f);
		fputs(texts[i][0], f);
		fclose(f);
		assert_int_equal(sha256_file("digest", hex), 0);
		assert_string_equal(hex, texts[i][1]);
	}
	remove("digest");
	assert_int_equal(sha256_file("digest", hex), -ENOENT);
}

/* sha256sum(1) agrees with what we wrote, odd names and all. */
static void as_coreutils(void **state)
{
	struct manifest m;
	uint64_t good, lines;

	(void)state;
	mkdir("in/sub", 0700);
	file_write("in/plain", "abc");
	file_write("in/sub/with space", "x");
	file_write("in/sub/back\\slash", "y");
	file_write("in/new\nline", "z");
	file_write("in/-", "");
	assert_int_equal(symlink("plain", "in/link"), 0);
	assert_int_equal(manifest_make(&m, "in///", "sums"), 0);
	assert_int_equal(m.files, 5);
	assert_int_equal(
		system("cd in && sha256sum --strict --quiet -c ../sums"), 0);
	assert_int_equal(manifest_check("in", "sums", &good, &lines), 0);
	assert_int_equal(good, 5);
	assert_int_equal(lines, 5);
}

static void changes_are_seen(void **state)
{
	struct manifest before, after;
	uint64_t good, lines;

	(void)state;
	file_write("in/a", "abc");
	file_write("in/b", "abc");
	assert_int_equal(manifest_make(&before, "in", "sums"), 0);
	assert_int_equal(manifest_look(&after, "in"), 0);
	assert_int_equal(before.state, after.state);
	file_write("in/b", "abd");
	assert_int_equal(manifest_look(&after, "in"), 0);
	assert_int_not_equal(before.state, after.state);
	assert_int_equal(manifest_check("in", "sums", &good, &lines), 0);
	assert_int_equal(good, 1);
	assert_int_equal(lines, 2);
}

/* A list that names what is not in the folder finds nothing there. */
static void list_stays_inside(void **state)
{
	uint64_t good, lines;

	(void)state;
	file_write("outside", "abc");
	file_write("in/inside", "abc");
	assert_int_equal(symlink("../outside", "in/link"), 0);
	assert_int_equal(symlink("..", "in/up"), 0);
	assert_int_equal(mkfifo("in/fifo", 0600), 0);
	file_write("sums",
		   ABC "  ../outside\n" ABC "  link\n" ABC "  up/outside\n" ABC
		       "  in/../../outside\n" ABC "  /etc/passwd\n" EMPTY
		       "  fifo\n" ABC "  missing\n" ABC "\n"
		       "short  inside\n"
		       "\n" ABC "  inside\n" ABC "  ./inside\n");
	assert_int_equal(manifest_check("in", "sums", &good, &lines), 0);
	assert_int_equal(good, 2);
	assert_int_equal(lines, 12);
}

static void errors(void **state)
{
	struct manifest m;
	uint64_t good, lines;

	(void)state;
	assert_int_equal(manifest_make(&m, "missing", "sums"), -ENOENT);
	assert_int_equal(manifest_make(&m, "in", "/nowhere/at/all"), -ENOENT);
	assert_int_equal(manifest_check("in", "missing", &good, &lines),
			 -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sha256),
		cmocka_unit_test_setup_teardown(as_coreutils, folder_enter,
						folder_leave),
		cmocka_unit_test_setup_teardown(changes_are_seen, folder_enter,
						folder_leave),
		cmocka_unit_test_setup_teardown(list_stays_inside, folder_enter,
						folder_leave),
		cmocka_unit_test_setup_teardown(errors, folder_enter,
						folder_leave),
	};

	return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
