/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/env.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/opts.h"

static void *libc_alloc(void *arg, size_t size, size_t align)
{
	void *p;

	(void)arg;
	if (align < sizeof(void *))
		align = sizeof(void *);
	return posix_memalign(&p, align, size) ? NULL : p;
}

static void libc_free(void *arg, void *ptr)
{
	(void)arg;
	free(ptr);
}

static uint64_t libc_clock(void *arg)
{
	struct timespec ts;

	(void)arg;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

int vi_env_init(struct viommu_env *env, const struct viommu_env *in)
{
	int rc = 0;

	memset(env, 0, sizeof(*env));
	if (in)
		rc = vi_opts_copy(env, sizeof(*env), in, in->size,
				  offsetof(struct viommu_env, arg));
	if (rc)
		return rc;
	if (!env->alloc != !env->free)
		return -EINVAL;
	if (!env->alloc) {
		env->alloc = libc_alloc;
		env->free = libc_free;
	}
	if (!env->clock)
		env->clock = libc_clock;
	return 0;
}

void *vi_alloc(const struct viommu_env *env, size_t size, size_t align)
{
	void *p = env->alloc(env->arg, size, align);

	if (p)
		memset(p, 0, size);
	return p;
}

void vi_free(const struct viommu_env *env, void *ptr)
{
	if (ptr)
		env->free(env->arg, ptr);
}

uint64_t vi_clock(const struct viommu_env *env)
{
	return env->clock(env->arg);
}

void vi_log(const struct viommu_env *env, enum viommu_log_level level,
	    const char *fmt, ...)
{
	va_list ap;

	if (!env->log)
		return;
	va_start(ap, fmt);
	env->log(env->arg, level, fmt, ap);
	va_end(ap);
}
