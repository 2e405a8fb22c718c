/* SPDX-License-Identifier: BSD-2-Clause */
/* The VIOT, byte by byte: what Linux reads where (ACPI 6.5, 5.2.36). */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "viot.h"

static const struct viot viot = {
	.iommu = 0x18,
	.start = 0x20,
	.last = 0x28,
};

static uint32_t get(const unsigned char *at, int len)
{
	uint32_t v = 0;

	while (len--)
		v = v << 8 | at[len];
	return v;
}

static void header(void **state)
{
	unsigned char t[VIOT_LEN], sum = 0;

	(void)state;
	viot_make(&viot, t);
	assert_memory_equal(t, "VIOT", 4);
	assert_int_equal(get(t + 4, 4), VIOT_LEN);
	assert_int_equal(t[8], 0);
	assert_memory_equal(t + 10, "VIOMMU", 6);
	for (int i = 0; i < VIOT_LEN; i++)
		sum = (unsigned char)(sum + t[i]);
	assert_int_equal(sum, 0);
	assert_int_equal(get(t + 36, 2), 2);  /* nodes */
	assert_int_equal(get(t + 38, 2), 48); /* the first of them */
	for (int i = 40; i < 48; i++)
		assert_int_equal(t[i], 0);
}

/* Nodes lie one behind the other, and end where the table does. */
static void nodes(void **state)
{
	unsigned char t[VIOT_LEN];
	unsigned at, n = 0;

	(void)state;
	viot_make(&viot, t);
	for (at = get(t + 38, 2); at < VIOT_LEN; at += get(t + at + 2, 2)) {
		assert_true(get(t + at + 2, 2) >= 4);
		n++;
	}
	assert_int_equal(at, VIOT_LEN);
	assert_int_equal(n, get(t + 36, 2));
}

static void iommu(void **state)
{
	const unsigned char want[16] = { 3, 0, 16, 0, 0, 0, 0x18, 0 };
	unsigned char t[VIOT_LEN];

	(void)state;
	viot_make(&viot, t);
	assert_memory_equal(t + 48, want, sizeof(want));
}

static void range(void **state)
{
	const unsigned char want[24] = {
		1,    0, 24,   0,	      /* PCI range */
		0x20, 0, 0,    0,	      /* its first endpoint's number */
		0,    0, 0,    0,	      /* segment 0 to 0 */
		0x20, 0, 0x28, 0,	      /* requester ids, closed */
		48,   0, 0,    0, 0, 0, 0, 0, /* behind the first node */
	};
	unsigned char t[VIOT_LEN];

	(void)state;
	viot_make(&viot, t);
	assert_memory_equal(t + 64, want, sizeof(want));
}

static void file(void **state)
{
	unsigned char t[VIOT_LEN], read_back[VIOT_LEN + 1];
	char path[] = "/tmp/viot.XXXXXX";
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(viot_write(&viot, path), 0);
	assert_int_equal(read(fd, read_back, sizeof(read_back)), VIOT_LEN);
	viot_make(&viot, t);
	assert_memory_equal(t, read_back, VIOT_LEN);
	close(fd);
	unlink(path);
	assert_int_equal(viot_write(&viot, "/nowhere/at/all"), -2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header), cmocka_unit_test(nodes),
		cmocka_unit_test(iommu),  cmocka_unit_test(range),
		cmocka_unit_test(file),
	};

	return cmocka_run_group_tests_name("viot", tests, NULL, NULL);
}
