/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_HOST_RECORD_H
#define VIOMMU_HOST_RECORD_H

/**
 * @file
 * A recorder: writes down what an endpoint's notifiers are told, for tests and
 * for looking on.  It refuses nothing and holds nothing.
 *
 * One line for each mapping or event; addresses are hexadecimal, ranges closed:
 *
 *     map 1000-1fff 40000 rw         IOVA, GPA, permissions out of rwxpm
 *     remap 1000-1fff 50000 r        in the place of what was there
 *     cut 1000-17ff                  will be asked for, or was refused by
 *                                    somebody else
 *     unmap 1000-1fff
 *     ram_add 40000-7ffff rw         with m: a device
 *     ram_remove 40000-7ffff
 *     dirty start 0-ffffffffffffffff start, stop or sync
 *     gone destroyed                 or lost
 */

#include <stdio.h>
#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

struct viommu_record; /* a recorder */

/** Told a line without its newline; as a notifier's callback. */
typedef void viommu_record_fn(void *arg, const char *line);

struct viommu_record_config {
	size_t size;	   /* sizeof(struct viommu_record_config) */
	struct viommu *vi; /* the endpoint's */
	FILE *file;	   /* where lines go; stays the caller's; or NULL */
	viommu_record_fn *line; /* or NULL */
	void *arg;		/* passed to @p line */
};

/**
 * Record what an endpoint sees now, and each change.
 *
 * @param ep  endpoint, attached or not
 * @param cfg where to; copied
 * @param out the new recorder, owned by the caller
 * @return 0, -EINVAL (no instance, or an option from a later version), -ENOMEM
 *
 * Context: any thread but a notifier's callback.
 */
VIOMMU_API VIOMMU_MUST_CHECK int
viommu_record_add(struct viommu_endpoint *ep,
		  const struct viommu_record_config *cfg,
		  struct viommu_record **out);

/**
 * Stop recording; the last line, unless it was gone, is an unmap of everything.
 * The handle is dead on return.
 *
 * @param r recorder, or NULL
 * @param f fence
 *
 * Context: any thread but a notifier's callback; before viommu_destroy().
 */
VIOMMU_API void viommu_record_remove(struct viommu_record *r,
				     struct viommu_fence *f);

VIOMMU_END_DECLS

#endif
