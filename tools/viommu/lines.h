/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_LINES_H
#define TOOLS_LINES_H

#include <stdbool.h>
#include <viommu/serve/loop.h>

typedef void lines_fn(void *arg, const char *line);

/* Lines that come in on a file descriptor. */
struct lines {
	struct viommu_loop *loop;
	int fd; /* ours; -1: none */
	size_t len;
	char buf[4096];
	lines_fn *line;
	/* What comes in as it comes, in place of lines; may be NULL. */
	void (*raw)(void *arg, const char *buf, size_t len);
	void *arg;
};

/* Watch fd, which is ours from here on, also on error.  A longer line than
 * buf is told in parts. */
int lines_open(struct lines *l, struct viommu_loop *loop, int fd,
	       lines_fn *line, void *arg);

/* Tell what is there already, then stop. */
void lines_close(struct lines *l);

#endif
