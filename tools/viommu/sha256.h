/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_SHA256_H
#define TOOLS_SHA256_H

#include <nettle/sha2.h>

#define SHA256_HEX 65 /* with the NUL */

/* Two digits a byte of what was added to ctx. */
void sha256_hex(struct sha256_ctx *ctx, char hex[SHA256_HEX]);

/* Of all that can be read from fd.  0, -errno; -EINTR: asked to stop. */
int sha256_fd(int fd, char hex[SHA256_HEX]);

/* Of a file's bytes. */
int sha256_file(const char *path, char hex[SHA256_HEX]);

#endif
