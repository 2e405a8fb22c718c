/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What people read.  Any thread may call; a line is written whole.
 */
#include "say.h"

#include <stdarg.h>
#include <unistd.h>

static bool json_wanted, verbose_wanted;

void say_init(bool json, bool verbose)
{
	json_wanted = json;
	verbose_wanted = verbose;
	setvbuf(stdout, NULL, _IOLBF, 0);
}

bool say_verbose(void)
{
	return verbose_wanted;
}

FILE *people(void)
{
	return json_wanted ? stderr : stdout;
}

__attribute__((format(printf, 2, 0))) static void
line_write(const char *prefix, const char *fmt, va_list ap)
{
	flockfile(stderr);
	fputs(prefix, stderr);
	vfprintf(stderr, fmt, ap);
	putc('\n', stderr);
	funlockfile(stderr);
}

void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line_write("", fmt, ap);
	va_end(ap);
}

void say_detail(const char *fmt, ...)
{
	va_list ap;

	if (!verbose_wanted)
		return;
	va_start(ap, fmt);
	line_write("  ", fmt, ap);
	va_end(ap);
}

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line_write("viommu: ", fmt, ap);
	va_end(ap);
}

void relay(FILE *to, const char *who, const char *line)
{
	bool dim = isatty(fileno(to));
	const char *at;

	flockfile(to);
	fprintf(to, "%s%s ", dim ? "\033[2m" : "", who);
	for (at = line; *at; at++) {
		unsigned char c = (unsigned char)*at;

		if (c == '\t' || (c >= ' ' && c != 0x7f))
			putc(c, to);
	}
	fprintf(to, "%s\n", dim ? "\033[0m" : "");
	funlockfile(to);
}
