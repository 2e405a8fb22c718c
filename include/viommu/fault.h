/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_FAULT_H
#define VIOMMU_FAULT_H

/**
 * @file
 * Faults: what a device was refused, and why.
 */

#include <viommu/types.h>

VIOMMU_BEGIN_DECLS

enum viommu_fault_reason {
	/** the endpoint has no space */
	VIOMMU_FAULT_DETACHED,
	/** no translation for the IOVA, or the access wraps past 2^64 */
	VIOMMU_FAULT_UNMAPPED,
	/** the translation lacks a permission */
	VIOMMU_FAULT_PERMISSION,
	/** the GPA is no memory, or memory that may not be written */
	VIOMMU_FAULT_MEMORY,
	/** the endpoint was given up (L9) */
	VIOMMU_FAULT_GIVEN_UP,
};

/** One refused access: the first part of it that failed. */
struct viommu_fault {
	uint32_t reason; /* enum viommu_fault_reason */
	uint32_t id;	 /* of the endpoint */
	uint32_t pasid;
	uint32_t prot;	     /* what the access needed: READ, WRITE or both */
	viommu_iova_t start; /* first byte refused */
	viommu_iova_t last;  /* and the last that fails the same way */
	viommu_gpa_t gpa;    /* MEMORY: where start led; else 0 */
};

/** Told of one refused access.  Runs on the faulting thread, which holds no
 * pin but one for the endpoint, and no library lock; must not block. */
typedef void viommu_fault_fn(void *arg, const struct viommu_fault *fault);

/**
 * Name a reason, for logs.
 *
 * @param reason any value
 * @return a static string, never NULL
 *
 * Context: any thread.
 */
VIOMMU_API const char *viommu_fault_name(uint32_t reason);

VIOMMU_END_DECLS

#endif
