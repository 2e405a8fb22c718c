/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_OPTS_H
#define VS_OPTS_H

/* Option structures start with their size, as the caller was compiled. */

#include <errno.h>
#include <stddef.h>
#include <string.h>

/*
 * Copy @opts, @size bytes as the caller has it, into @out of @known bytes.
 * Longer is fine as long as what we do not know is zero.  0 or -EINVAL.
 * Today's structures are the first ones, so none is shorter.
 */
static inline int vs_opts_copy(void *out, size_t known, const void *opts,
			       size_t size)
{
	const unsigned char *tail = opts;

	if (size < known)
		return -EINVAL;
	for (size_t i = known; i < size; i++)
		if (tail[i])
			return -EINVAL;
	memcpy(out, opts, known);
	return 0;
}

#endif
