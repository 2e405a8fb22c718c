/* SPDX-License-Identifier: BSD-2-Clause */
#include "alloc.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Atomic(unsigned) asked, failed, hooked;
static _Atomic(size_t) live;
static unsigned nth;
static enum alloc_mode mode;

void alloc_fail(unsigned n, enum alloc_mode how)
{
	nth = n;
	mode = how;
	asked = failed = hooked = 0;
}

unsigned alloc_asked(void)
{
	return asked;
}

unsigned alloc_failed(void)
{
	return failed;
}

unsigned alloc_hooked(void)
{
	return hooked;
}

size_t alloc_live(void)
{
	return live;
}

static bool fails(void)
{
	unsigned n = ++asked;

	if (!nth || n < nth || (mode == ALLOC_ONCE && n > nth))
		return false;
	failed++;
	errno = ENOMEM;
	return true;
}

static void *counted(void *p)
{
	live += p != NULL;
	return p;
}

/* ---- what the linker puts in place of libc's --------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
int __real_posix_memalign(void **p, size_t align, size_t size);
void __real_free(void *p);
void *__real_mmap64(void *p, size_t len, int prot, int flags, int fd,
		    off_t off);
int __real_munmap(void *p, size_t len);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
int __wrap_posix_memalign(void **p, size_t align, size_t size);
void __wrap_free(void *p);
void *__wrap_mmap(void *p, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap64(void *p, size_t len, int prot, int flags, int fd,
		    off_t off);
int __wrap_munmap(void *p, size_t len);

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t size)
{
	void *q = fails() ? NULL : __real_realloc(p, size);

	return p ? q : counted(q);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return fails() ? NULL : counted(__real_aligned_alloc(align, size));
}

int __wrap_posix_memalign(void **p, size_t align, size_t size)
{
	int rc = fails() ? ENOMEM : __real_posix_memalign(p, align, size);

	live += !rc;
	return rc;
}

void __wrap_free(void *p)
{
	live -= p != NULL;
	__real_free(p);
}

void *__wrap_mmap64(void *p, size_t len, int prot, int flags, int fd, off_t off)
{
	void *q;

	if (fails())
		return MAP_FAILED;
	q = __real_mmap64(p, len, prot, flags, fd, off);
	live += q != MAP_FAILED;
	return q;
}

/* what mmap() is called where off_t is long anyhow */
void *__wrap_mmap(void *p, size_t len, int prot, int flags, int fd, off_t off)
{
	return __wrap_mmap64(p, len, prot, flags, fd, off);
}

int __wrap_munmap(void *p, size_t len)
{
	int rc = __real_munmap(p, len);

	live -= !rc;
	return rc;
}

/* ---- hooks ------------------------------------------------------------ */

static void *hook_alloc(void *arg, size_t size, size_t align)
{
	void *p;

	(void)arg;
	hooked++;
	if (!size || !align || (align & (align - 1)))
		abort(); /* viommu.h promises better */
	if (align < sizeof(void *))
		align = sizeof(void *);
	if (fails() || __real_posix_memalign(&p, align, size))
		return NULL;
	memset(p, 0xa5, size);
	return counted(p);
}

static void hook_free(void *arg, void *p)
{
	(void)arg;
	live--;
	__real_free(p);
}

const struct viommu_env alloc_env = {
	.size = sizeof(alloc_env),
	.alloc = hook_alloc,
	.free = hook_free,
};
