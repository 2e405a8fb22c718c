/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_QEMU_H
#define TOOLS_QEMU_H

#include <stdbool.h>
#include <stdint.h>

#include "args.h"
#include "machine.h"
#include "wiring.h"

struct qemu_config {
	const char *program;
	const char *viot; /* file name; NULL: none */
	uint64_t memory;  /* MiB */
	const char *accel;
	const struct machine *machine; /* NULL: no function of ours */
	const struct wiring *wiring;   /* NULL: nothing of QEMU's own */
	const char *disk;	       /* the image, or the vhost-user socket */
	bool old;		       /* QEMU before 9.2 */
};

/* The program, the board, the RAM, the devices. */
void qemu_args_machine(struct args *a, const struct qemu_config *cfg);

/* What `viommu boot' adds: a kernel, no display, two serial ports on the file
 * descriptors 3 (console) and 4 (report). */
void qemu_args_guest(struct args *a, const char *kernel, const char *initrd,
		     const char *append);

#endif
