/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_HOUSE_ERRORS_H
#define TESTS_HOUSE_ERRORS_H

/*
 * Which errors do the public functions return?  Tests are linked such that
 * their calls, and the library's calls from one file to another, go through
 * generated wrappers (errors.awk).  Where the environment has VIOMMU_ERRORS,
 * each pair of function and error is appended to that file, once a process.
 */

#include <stdatomic.h>
#include <stdint.h>

struct errors_seen {
	const char *name;
	_Atomic(uint64_t) bits[4]; /* errno 0 to 255 */
};

void errors_record(struct errors_seen *seen, int err);

#endif
