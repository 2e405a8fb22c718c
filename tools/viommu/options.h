/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

/* The values of options.  Each says what is wrong with one, and returns
 * whether it is good. */

/* 512M, 2G, or a number of MiB; at least as much as a guest boots with. */
bool option_memory(const char *value, uint64_t *mib);

/* A whole number of seconds, 1 to a million. */
bool option_seconds(const char *value, unsigned *seconds);

/* Milliseconds, 0 for ever; into what libviommu takes. */
bool option_fence_timeout(const char *value, uint64_t *ns);

/* virtio or none. */
bool option_iommu(const char *value, bool *iommu);

/* tcg or kvm. */
bool option_accel(const char *value, const char **accel);

/* A file, or folder, that is there. */
bool option_file(const char *name, const char *value);
bool option_folder(const char *name, const char *value);

/* A file or block device that can be a disk. */
bool option_image(const char *name, const char *value);

/* A program: a file, or a name to be found in PATH; malloc'd into *path. */
bool option_program(const char *name, const char *value, char **path);

/* After what was wrong with the command line: where to read on.  Returns
 * EXIT_USAGE. */
int option_hint(const char *command);

#endif
