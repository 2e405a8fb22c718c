/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes as operations on spaces, endpoints, maps and fences, against a naive
 * array of pages: the oracle of tests/oracle, and its decoder.  What is found
 * is printed as calls, as short as it can be made.
 */
#include "fuzz.h"
#include "oracle/stream.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct stream s;
	const char *why;

	stream_decode(&s, data, len);
	why = stream_run(&s);
	if (!why)
		return 0;
	stream_shrink(&s, stream_run);
	why = stream_run(&s);
	stream_print(stderr, &s);
	fprintf(stderr, "%s\n", why);
	abort();
}
