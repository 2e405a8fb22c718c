/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_SAY_H
#define TOOLS_SAY_H

#include <stdbool.h>
#include <stdio.h>

/* With json, standard output is the machine's: people read the other one. */
void say_init(bool json, bool verbose);
bool say_verbose(void);
FILE *people(void);

/* One line of progress, to standard error. */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same, with --verbose only. */
void say_detail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* One line about what went wrong, with the program's name. */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A line that another program, or the guest, wrote: nothing in it reaches the
 * terminal but text. */
void relay(FILE *to, const char *who, const char *line);

#endif
