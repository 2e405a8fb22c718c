/* SPDX-License-Identifier: BSD-2-Clause */
#include "outcome.h"

#include <stdarg.h>
#include <stdio.h>

#include "say.h"

bool outcome_note(struct outcome *o, int status, const char *reason)
{
	if (!o->status) {
		o->status = status;
		snprintf(o->reason, sizeof(o->reason), "%s", reason);
	}
	return false;
}

bool outcome_fail(struct outcome *o, int status, const char *fmt, ...)
{
	char reason[sizeof(o->reason)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	complain("%s", reason);
	return outcome_note(o, status, reason);
}
