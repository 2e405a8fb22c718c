/* SPDX-License-Identifier: BSD-2-Clause */
/* Digests of files, by nettle. */
#include "sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <nettle/base16.h>
#include <unistd.h>

#include "stop.h"

_Static_assert(BASE16_ENCODE_LENGTH(SHA256_DIGEST_SIZE) + 1 == SHA256_HEX,
	       "two digits a byte");

void sha256_hex(struct sha256_ctx *ctx, char hex[SHA256_HEX])
{
	unsigned char digest[SHA256_DIGEST_SIZE];

	sha256_digest(ctx, sizeof(digest), digest);
	base16_encode_update(hex, sizeof(digest), digest);
	hex[SHA256_HEX - 1] = '\0';
}

int sha256_fd(int fd, char hex[SHA256_HEX])
{
	static unsigned char buf[1 << 18];
	struct sha256_ctx ctx;
	ssize_t n;

	sha256_init(&ctx);
	while ((n = read(fd, buf, sizeof(buf)))) {
		if (n < 0)
			return -errno;
		sha256_update(&ctx, (size_t)n, buf);
		if (stop_requested())
			return -EINTR;
	}
	sha256_hex(&ctx, hex);
	return 0;
}

int sha256_file(const char *path, char hex[SHA256_HEX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), rc;

	if (fd < 0)
		return -errno;
	rc = sha256_fd(fd, hex);
	close(fd);
	return rc;
}
