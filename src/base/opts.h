/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_BASE_OPTS_H
#define VI_BASE_OPTS_H

/* Option structures start with their size, as the caller was compiled. */

#include <errno.h>
#include <stddef.h>
#include <string.h>

/*
 * Copy @opts, @size bytes as the caller has it, into @out of @known bytes.
 * A shorter one is padded with zeroes; a longer one is fine as long as what we
 * do not know is zero.  -EINVAL otherwise.
 */
static inline int vi_opts_copy(void *out, size_t known, const void *opts,
			       size_t size, size_t least)
{
	const unsigned char *tail = opts;

	if (size < least)
		return -EINVAL;
	for (size_t i = known; i < size; i++)
		if (tail[i])
			return -EINVAL;
	memset(out, 0, known);
	memcpy(out, opts, size < known ? size : known);
	return 0;
}

#endif
