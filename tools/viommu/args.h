/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_ARGS_H
#define TOOLS_ARGS_H

#include <stdbool.h>
#include <stdio.h>

/* A program's arguments in the making.  Zeroed to begin with. */
struct args {
	const char *v[64]; /* the last stays NULL */
	int n;
	bool failed; /* no memory, or too many */
};

void args_add(struct args *a, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void args_free(struct args *a);

/* Write them for a shell to read; each option on a line of its own. */
void args_print(const struct args *a, FILE *to);

/* A file name inside a QEMU option, where a comma parts: malloc'd or NULL. */
char *qemu_escape(const char *name);

#endif
