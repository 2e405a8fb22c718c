/* SPDX-License-Identifier: BSD-2-Clause */
#include "errors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One write, so that processes do not mix; nothing is allocated, and no
 * descriptor kept, since there are tests that count them. */
static void append(const char *path, const char *function, int err)
{
	const char *name = strerrorname_np(err);
	char line[128];
	int fd, len;

	len = snprintf(line, sizeof(line), "%s %s\n", function,
		       name ? name : "?");
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, line, (size_t)len) != len)
		abort();
	close(fd);
}

void errors_record(struct errors_seen *seen, int err)
{
	const char *path = getenv("VIOMMU_ERRORS");
	uint64_t bit = UINT64_C(1) << err % 64;
	int saved = errno;

	if (!path || err > 255 ||
	    atomic_fetch_or(&seen->bits[err / 64], bit) & bit)
		return;
	append(path, seen->name, err);
	errno = saved;
}
