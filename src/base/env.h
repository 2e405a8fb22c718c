/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_BASE_ENV_H
#define VI_BASE_ENV_H

/* What the embedder lends, with libc in the gaps. */

#include <viommu/viommu.h>

/* Fill the gaps of @in (NULL: all of it).  -EINVAL: from a later version. */
int vi_env_init(struct viommu_env *env, const struct viommu_env *in);

/* Zeroed; NULL if there is none. */
void *vi_alloc(const struct viommu_env *env, size_t size, size_t align);
void vi_free(const struct viommu_env *env, void *ptr);
uint64_t vi_clock(const struct viommu_env *env);
void vi_log(const struct viommu_env *env, enum viommu_log_level level,
	    const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
