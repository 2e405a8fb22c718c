/* SPDX-License-Identifier: BSD-2-Clause */
#include "outcome.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "say.h"

bool outcome_fail(struct outcome *o, int status, const char *fmt, ...)
{
	char reason[sizeof(o->reason)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	complain("%s", reason);
	if (!o->status) {
		o->status = status;
		memcpy(o->reason, reason, sizeof(reason));
	}
	return false;
}
