/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_SERVE_SIGBUS_H
#define VIOMMU_SERVE_SIGBUS_H

/**
 * @file
 * A guard against SIGBUS: a client that gave a file as guest memory may cut it
 * short, and whoever touches what is gone is killed.  With the guard, the lost
 * page becomes an empty page of our own and the access goes on; the client has
 * only harmed itself.
 *
 * Recovers an access, by any thread, to a page of a shared file mapping that
 * the file no longer reaches.  Every other SIGBUS goes to whoever handled it
 * before.  For programs: a library has no business with signals.
 */

#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

/**
 * Install the guard for the whole process.
 *
 * @param log_fd where one line is written for each of the first pages lost;
 *               -1: nowhere
 * @return 0, -EBUSY (it is installed), or what sigaction(2) or open(2) of
 *         /proc/self/maps failed with
 *
 * Context: one thread, before servers run.
 */
VIOMMU_API VIOMMU_MUST_CHECK int viommu_sigbus_install(int log_fd);

/**
 * Put back what handled the signal before.  Pages lost stay as they are.
 *
 * Context: one thread, after servers ran.
 */
VIOMMU_API void viommu_sigbus_remove(void);

/**
 * Tell how many pages were lost.
 *
 * @return since the process began
 *
 * Context: any thread.
 */
VIOMMU_API uint64_t viommu_sigbus_count(void);

VIOMMU_END_DECLS

#endif
