/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_GUEST_H
#define TOOLS_GUEST_H

#include <stdbool.h>

#include "args.h"
#include "disk_process.h"
#include "machine.h"
#include "outcome.h"
#include "report.h"

struct guest_config {
	const struct args *qemu;
	struct machine *machine;   /* NULL: none */
	struct disk_process *disk; /* NULL: none */
	unsigned timeout_s;	   /* 0: none */
	bool shell;		   /* the terminal is the guest's */
	bool silent; /* what it says on its console is not shown */
};

struct guest_result {
	struct report report;
	double boot_seconds; /* from QEMU's start to the guest's first word */
	double seconds;	     /* to its end */
};

/* Run a guest to its end.  False: o says why it did not come to that; what it
 * told by then is in r. */
bool guest_run(const struct guest_config *cfg, struct guest_result *r,
	       struct outcome *o);

#endif
