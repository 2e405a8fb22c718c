/* SPDX-License-Identifier: BSD-2-Clause */
#include "args.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void args_add(struct args *a, const char *fmt, ...)
{
	char *arg = NULL;
	va_list ap;
	int n = -1;

	va_start(ap, fmt);
	if ((size_t)a->n + 1 < sizeof(a->v) / sizeof(a->v[0]))
		n = vasprintf(&arg, fmt, ap);
	va_end(ap);
	if (n < 0)
		a->failed = true;
	else
		a->v[a->n++] = arg;
}

void args_free(struct args *a)
{
	while (a->n > 0) {
		a->n--;
		free((void *)(uintptr_t)a->v[a->n]);
	}
	memset(a, 0, sizeof(*a));
}

static void arg_print(const char *arg, FILE *to)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_-+=./,:@%";

	if (*arg && strspn(arg, plain) == strlen(arg)) {
		fputs(arg, to);
		return;
	}
	putc('\'', to);
	for (; *arg; arg++) {
		if (*arg == '\'')
			fputs("'\\''", to);
		else
			putc(*arg, to);
	}
	putc('\'', to);
}

void args_print(const struct args *a, FILE *to)
{
	for (int i = 0; i < a->n; i++) {
		if (i)
			fputs(a->v[i][0] == '-' ? " \\\n    " : " ", to);
		arg_print(a->v[i], to);
	}
	putc('\n', to);
}

char *qemu_escape(const char *name)
{
	char *escaped = malloc(2 * strlen(name) + 1), *at = escaped;

	if (!escaped)
		return NULL;
	for (; *name; name++) {
		if (*name == ',')
			*at++ = ',';
		*at++ = *name;
	}
	*at = '\0';
	return escaped;
}
