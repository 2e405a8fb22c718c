/* SPDX-License-Identifier: BSD-2-Clause */
#include "alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/membarrier.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static _Atomic(unsigned) asked, failed, hooked, calls[CALLS];
static _Atomic(unsigned) failed_calls;
static _Atomic(size_t) live;
static unsigned nth;
static enum alloc_mode mode;
static int fixed[CALLS]; /* errno, or 0 */

void alloc_fail(unsigned n, enum alloc_mode how)
{
	nth = n;
	mode = how;
	asked = failed = hooked = failed_calls = 0;
	for (int i = 0; i < CALLS; i++)
		calls[i] = 0;
}

void alloc_fail_call(enum alloc_call call, int err)
{
	fixed[call] = err;
}

unsigned alloc_calls(enum alloc_call call)
{
	return calls[call];
}

unsigned alloc_failed_calls(void)
{
	return atomic_exchange(&failed_calls, 0);
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

/* What the kernel says when it fails for no reason of ours. */
static const int usual[CALLS] = {
	[CALL_ALLOC] = ENOMEM,	    [CALL_MMAP] = ENOMEM,
	[CALL_MADVISE] = EINVAL,    [CALL_FSTAT] = EIO,
	[CALL_GETFL] = EBADF,	    [CALL_GET_SEALS] = EINVAL,
	[CALL_MEMBARRIER] = ENOSYS,
};

static bool fails(enum alloc_call call)
{
	unsigned n = ++asked;

	calls[call]++;
	if (!fixed[call] &&
	    (!nth || n < nth || (mode == ALLOC_ONCE && n > nth)))
		return false;
	failed++;
	failed_calls |= 1u << call;
	errno = fixed[call] ? fixed[call] : usual[call];
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
	return fails(CALL_ALLOC) ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails(CALL_ALLOC) ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t size)
{
	void *q = fails(CALL_ALLOC) ? NULL : __real_realloc(p, size);

	return p ? q : counted(q);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
	return fails(CALL_ALLOC) ? NULL
				 : counted(__real_aligned_alloc(align, size));
}

int __wrap_posix_memalign(void **p, size_t align, size_t size)
{
	int rc = fails(CALL_ALLOC) ? ENOMEM
				   : __real_posix_memalign(p, align, size);

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

	if (fails(CALL_MMAP))
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

int __real_madvise(void *p, size_t len, int advice);
int __wrap_madvise(void *p, size_t len, int advice);

int __wrap_madvise(void *p, size_t len, int advice)
{
	return fails(CALL_MADVISE) ? -1 : __real_madvise(p, len, advice);
}

/* By either name, as for mmap. */
int __real_fstat64(int fd, struct stat *st);
int __wrap_fstat64(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);

int __wrap_fstat64(int fd, struct stat *st)
{
	return fails(CALL_FSTAT) ? -1 : __real_fstat64(fd, st);
}

int __wrap_fstat(int fd, struct stat *st)
{
	return __wrap_fstat64(fd, st);
}

int __real_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl(int fd, int cmd, ...);

/* Those without a third argument are all that the library makes. */
int __wrap_fcntl64(int fd, int cmd, ...)
{
	if (cmd != F_GETFL && cmd != F_GET_SEALS)
		abort();
	return fails(cmd == F_GETFL ? CALL_GETFL : CALL_GET_SEALS)
		       ? -1
		       : __real_fcntl64(fd, cmd);
}

int __wrap_fcntl(int fd, int cmd, ...)
{
	return __wrap_fcntl64(fd, cmd);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

/* membarrier(2) has no other way in.  Registering may fail; the barrier itself
 * only if it is told to. */
long __wrap_syscall(long number, ...)
{
	va_list ap;
	int cmd;

	if (number != SYS_membarrier)
		abort();
	va_start(ap, number);
	cmd = va_arg(ap, int);
	va_end(ap);
	if (cmd == MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
		calls[CALL_BARRIER]++;
		errno = fixed[CALL_BARRIER];
		if (errno)
			return -1;
	} else if (fails(CALL_MEMBARRIER)) {
		return -1;
	}
	return __real_syscall(number, cmd, 0, 0);
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
	if (fails(CALL_ALLOC) || __real_posix_memalign(&p, align, size))
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
