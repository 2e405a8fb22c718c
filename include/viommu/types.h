/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VIOMMU_TYPES_H
#define VIOMMU_TYPES_H

/**
 * @file
 * Values: addresses, ranges, permissions, mappings.  No functions, no state.
 *
 * Three kinds of address, and only three:
 *   - IOVA: what a device puts on the bus         (viommu_iova_t)
 *   - GPA:  what the guest calls physical memory  (viommu_gpa_t)
 *   - host: a pointer, always a pointer           (void *)
 *
 * A span of addresses is closed, [start, last]: the whole space is
 * {0, UINT64_MAX} and needs no special case.  A buffer is (address, len).
 * Sizes are bytes.
 */

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define VIOMMU_API	  __attribute__((visibility("default")))
#define VIOMMU_MUST_CHECK __attribute__((warn_unused_result))
#else
#define VIOMMU_API
#define VIOMMU_MUST_CHECK
#endif

#ifdef __cplusplus
#define VIOMMU_BEGIN_DECLS extern "C" {
#define VIOMMU_END_DECLS   }
#else
#define VIOMMU_BEGIN_DECLS
#define VIOMMU_END_DECLS
#endif

typedef uint64_t viommu_iova_t;
typedef uint64_t viommu_gpa_t;

struct viommu;		/* an instance: one world of memory and devices */
struct viommu_memory;	/* what GPAs mean */
struct viommu_space;	/* what IOVAs mean */
struct viommu_endpoint; /* who asks */
struct viommu_fence;	/* when it is safe */

/** Permissions of a mapping, and what an access needs. */
enum {
	VIOMMU_READ = 1u << 0,
	VIOMMU_WRITE = 1u << 1,
	VIOMMU_EXEC = 1u << 2,
	VIOMMU_PRIV = 1u << 3,
	/** the target is device memory, not RAM */
	VIOMMU_MMIO = 1u << 4,
};

/** Stands for "no PASID" in an endpoint's name. */
#define VIOMMU_NO_PASID UINT32_MAX

/** One mapping: [start, last] is at gpa, gpa + 1, ... with prot. */
struct viommu_mapping {
	viommu_iova_t start;
	viommu_iova_t last;
	viommu_gpa_t gpa;
	uint32_t prot;
	uint32_t reserved; /* 0 */
};

#endif
