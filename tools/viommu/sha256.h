/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_SHA256_H
#define TOOLS_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_HEX 65 /* with the NUL */

struct sha256 {
	uint32_t h[8];
	uint64_t len;
	unsigned char block[64];
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *buf, size_t len);
void sha256_hex(struct sha256 *s, char hex[SHA256_HEX]);

/* Of all that can be read from fd.  0, -errno; -EINTR: asked to stop. */
int sha256_fd(int fd, char hex[SHA256_HEX]);

/* Of a file's bytes. */
int sha256_file(const char *path, char hex[SHA256_HEX]);

#endif
