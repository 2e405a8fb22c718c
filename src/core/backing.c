/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "core/instance.h"

struct vi_backing {
	struct viommu *vi;
	struct vi_list link; /* VI_GUARDED(vi->backings_lock) */
	uint64_t refs;	     /* VI_GUARDED(vi->backings_lock) */
	dev_t dev;
	ino_t ino;
	bool write;
	size_t len;
	char *base;
};

static struct vi_backing *backing_find_locked(struct viommu *vi,
					      const struct stat *st,
					      uint64_t reach, bool write)
	VI_REQUIRES(&vi->backings_lock)
{
	struct vi_list *l;

	vi_list_for_each (l, &vi->backings) {
		struct vi_backing *b = vi_list_of(l, struct vi_backing, link);

		if (b->dev == st->st_dev && b->ino == st->st_ino &&
		    b->len >= reach && (b->write || !write))
			return b;
	}
	return NULL;
}

static int backing_map(struct vi_backing *b, int fd)
{
	void *p = mmap(NULL, b->len, PROT_READ | (b->write ? PROT_WRITE : 0),
		       MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return errno == EACCES || errno == EPERM ? -EACCES
		       : errno == ENOMEM		 ? -ENOMEM
							 : -EBADF;
	/* the guest's memory is not ours to dump */
	madvise(p, b->len, MADV_DONTDUMP);
	b->base = p;
	return 0;
}

/* Not a file with seals: not sealed. */
static bool write_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals > 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE));
}

/* The file as it is now: how long, and may it be written. */
static int file_look(int fd, uint64_t reach, bool write, struct stat *st,
		     bool *writable)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || (flags & O_PATH) || fstat(fd, st) ||
	    !S_ISREG(st->st_mode))
		return -EBADF;
	*writable = (flags & O_ACCMODE) == O_RDWR && !write_sealed(fd);
	if ((flags & O_ACCMODE) == O_WRONLY || (write && !*writable))
		return -EACCES;
	if (st->st_size < 0 || (uint64_t)st->st_size < reach ||
	    (uint64_t)st->st_size > SIZE_MAX)
		return -ERANGE;
	return 0;
}

static int backing_make_locked(struct viommu *vi, int fd, const struct stat *st,
			       bool writable, struct vi_backing **out)
	VI_REQUIRES(&vi->backings_lock)
{
	struct vi_backing *b =
		vi_alloc(&vi->env, sizeof(*b), _Alignof(max_align_t));
	int rc;

	if (!b)
		return -ENOMEM;
	b->vi = vi;
	b->dev = st->st_dev;
	b->ino = st->st_ino;
	b->len = (size_t)st->st_size;
	b->write = writable;
	rc = backing_map(b, fd);
	if (rc) {
		vi_free(&vi->env, b);
		return rc;
	}
	vi_list_add_tail(&vi->backings, &b->link);
	*out = b;
	return 0;
}

int vi_backing_get(struct viommu *vi, int fd, uint64_t reach, bool write,
		   struct vi_backing **out)
{
	struct vi_backing *b;
	struct stat st;
	bool writable;
	int rc;

	rc = file_look(fd, reach, write, &st, &writable);
	if (rc)
		return rc;
	vi_lock(&vi->backings_lock);
	b = backing_find_locked(vi, &st, reach, write);
	if (!b)
		rc = backing_make_locked(vi, fd, &st, writable, &b);
	/* a sealed memfd is open for writing but refuses it */
	if (rc == -EACCES && writable && !write)
		rc = backing_make_locked(vi, fd, &st, false, &b);
	if (!rc) {
		b->refs++;
		*out = b;
	}
	vi_unlock(&vi->backings_lock);
	return rc;
}

void vi_backing_put(struct vi_backing *b)
{
	struct viommu *vi = b->vi;
	bool gone;

	vi_lock(&vi->backings_lock);
	gone = !--b->refs;
	if (gone)
		vi_list_remove(&b->link);
	vi_unlock(&vi->backings_lock);
	if (!gone)
		return;
	munmap(b->base, b->len);
	vi_free(&vi->env, b);
}

void *vi_backing_at(struct vi_backing *b, uint64_t offset)
{
	return b->base + offset;
}
