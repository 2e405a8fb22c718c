/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef WITNESS_SAY_H
#define WITNESS_SAY_H

/* To people, on stderr, a line each. */

void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
