/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_OUTCOME_H
#define TOOLS_OUTCOME_H

#include <stdbool.h>

/* Exit statuses; --help tells them to people. */
enum {
	EXIT_PASS = 0,
	EXIT_WORK = 1,	    /* the guest's work failed, or something broke */
	EXIT_USAGE = 2,	    /* the command line */
	EXIT_MISSING = 3,   /* something is missing on this machine */
	EXIT_TIMEOUT = 4,   /* the guest was too slow, or hung */
	EXIT_STOPPED = 130, /* interrupted */
};

/* How it went: the first thing that failed.  Zeroed: nothing did. */
struct outcome {
	int status;
	char reason[512];
};

/* Note and say what failed; later ones are said, the first stays.  Returns
 * false, for callers that return whether it went well. */
bool outcome_fail(struct outcome *o, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same of what has been said already. */
bool outcome_note(struct outcome *o, int status, const char *reason);

#endif
