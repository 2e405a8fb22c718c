/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_KIT_H
#define TOOLS_KIT_H

#include <stdbool.h>

#include "image.h"
#include "outcome.h"
#include "workdir.h"

struct kit_config {
	const char *qemu, *kernel, *modules, *cache; /* NULL: look for it */
	bool offline;
	bool debian12; /* the QEMU of Debian 12, or as good a one as that */
};

/* What a guest is made of: file names and versions. */
struct kit {
	char *scripts; /* the folder of kit, mkinitramfs, init and witness */
	char *cache;
	char *qemu, *qemu_version, *kernel, *kernel_version, *modules, *busybox;
};

/* Find the parts, fetch what is missing.  False: o says why. */
bool kit_find(struct kit *k, const struct kit_config *cfg, struct outcome *o);

/* Make the guest's initramfs: a base that is cached, and behind it the files
 * of this run.  Its name is malloc'd; NULL: o says why. */
char *kit_initrd(const struct kit *k, const struct workdir *w,
		 const char *config, const char *manifest, struct outcome *o);

void kit_free(struct kit *k);

#endif
