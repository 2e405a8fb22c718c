/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/range.h"
#include "core/instance.h"
#include "core/memory.h"

enum {
	BLOCK_LG2 = 36, /* what a large file is mapped by: see backing.h */
};

struct vi_backing {
	struct viommu_memory *mem;
	struct vi_inode node; /* what of the file; in mem->backings */
	uint64_t refs;	      /* VI_GUARDED(mem->backings_lock) */
	dev_t dev;
	ino_t ino;
	bool write;
	char *base;
};

/* A part of a file as it is now. */
struct part {
	int fd;
	struct stat st;
	bool write;    /* is wanted */
	bool writable; /* is possible */
	uint64_t start, last;
};

static bool same_file(const struct vi_backing *b, const struct part *p)
{
	return b->dev == p->st.st_dev && b->ino == p->st.st_ino &&
	       (b->write || !p->write);
}

/* Files that share a key are told apart by same_file(). */
static const void *key_of(const struct part *p)
{
	uint64_t mixed = (uint64_t)p->st.st_ino * UINT64_C(0x9e3779b97f4a7c15) +
			 p->st.st_dev;

	return (const void *)(uintptr_t)(mixed | 1); /* any but NULL */
}

/* The next of @p's file with a byte in [start, last], or NULL. */
static struct vi_backing *
backing_next_locked(struct viommu_memory *mem, const struct part *p,
		    uint64_t start, uint64_t last, struct vi_icursor *at)
	VI_REQUIRES(&mem->backings_lock)
{
	struct vi_inode *n;

	while ((n = vi_itree_next(&mem->backings, key_of(p), start, last,
				  at))) {
		struct vi_backing *b = vi_list_of(n, struct vi_backing, node);

		if (same_file(b, p))
			return b;
	}
	return NULL;
}

static struct vi_backing *backing_find_locked(struct viommu_memory *mem,
					      const struct part *p)
	VI_REQUIRES(&mem->backings_lock)
{
	struct vi_icursor at = { 0 };
	struct vi_backing *b;

	do
		b = backing_next_locked(mem, p, p->start, p->start, &at);
	while (b && b->node.last < p->last);
	return b;
}

/* ---- what to map ------------------------------------------------------ */

static unsigned lg2_floor(uint64_t x)
{
	return 63 - (unsigned)__builtin_clzll(x);
}

/* Pages of the file: hugetlbfs maps no less than one of its own. */
static uint64_t page_mask(const struct part *p)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t block = (uint64_t)p->st.st_blksize;

	if (block > page && !(block & (block - 1)) && !(block >> BLOCK_LG2))
		page = block;
	return page - 1;
}

/* The least that has @p. */
static struct part part_least(const struct part *p)
{
	uint64_t size = (uint64_t)p->st.st_size, mask = page_mask(p);
	struct part least = *p;

	least.start &= ~mask;
	least.last = vi_min(least.last | mask, size - 1);
	return least;
}

/* What to map for @p, when some of its block is mapped, @again. */
static struct part part_best(const struct part *p, bool again)
{
	uint64_t size = (uint64_t)p->st.st_size, mask = vi_mask(BLOCK_LG2);
	struct part best = part_least(p);

	/* a tail, and no further back than it is long, so that what lies across
	 * its start finds one sooner or later */
	if (again)
		mask = vi_min(mask, vi_mask(lg2_floor(size - p->start)));
	best.start = vi_min(best.start, p->start & ~mask);
	best.last = vi_max(best.last,
			   vi_min(p->last | vi_mask(BLOCK_LG2), size - 1));
	return best;
}

/* ---- mapping ---------------------------------------------------------- */

static int part_map(const struct part *p, char **base)
{
	uint64_t len = p->last - p->start + 1;
	void *at;

	if ((size_t)len != len)
		return -ENOMEM;
	at = mmap(NULL, len, PROT_READ | (p->writable ? PROT_WRITE : 0),
		  MAP_SHARED, p->fd, (off_t)p->start);
	if (at == MAP_FAILED)
		return errno == EACCES || errno == EPERM ? -EACCES
		       : errno == ENOMEM		 ? -ENOMEM
							 : -EBADF;
	/* the guest's memory is not ours to dump */
	madvise(at, len, MADV_DONTDUMP);
	*base = at;
	return 0;
}

/* Not a file with seals: not sealed. */
static bool write_sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals > 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE));
}

/* The file as it is now: how long, and may it be written. */
static int file_look(struct part *p)
{
	int flags = fcntl(p->fd, F_GETFL);

	if (flags < 0 || (flags & O_PATH) || fstat(p->fd, &p->st) ||
	    !S_ISREG(p->st.st_mode))
		return -EBADF;
	p->writable = (flags & O_ACCMODE) == O_RDWR && !write_sealed(p->fd);
	if ((flags & O_ACCMODE) == O_WRONLY || (p->write && !p->writable))
		return -EACCES;
	return p->st.st_size < 0 || (uint64_t)p->st.st_size <= p->last ? -ERANGE
								       : 0;
}

/* Is any of the block mapped where @p begins? */
static bool mapped_locked(struct viommu_memory *mem, const struct part *p)
	VI_REQUIRES(&mem->backings_lock)
{
	uint64_t mask = vi_mask(BLOCK_LG2);
	struct vi_icursor at = { 0 };

	return backing_next_locked(mem, p, p->start & ~mask, p->start | mask,
				   &at);
}

/* Map much, or just what is needed where there is no room for much. */
static int backing_make_locked(struct viommu_memory *mem, const struct part *p,
			       struct vi_backing **out)
	VI_REQUIRES(&mem->backings_lock)
{
	struct part part = part_best(p, mapped_locked(mem, p));
	struct vi_backing *b =
		vi_alloc(&mem->vi->env, sizeof(*b), _Alignof(max_align_t));
	int rc;

	if (!b)
		return -ENOMEM;
	rc = part_map(&part, &b->base);
	if (rc == -ENOMEM) {
		part = part_least(p);
		rc = part_map(&part, &b->base);
	}
	if (rc) {
		vi_free(&mem->vi->env, b);
		return rc;
	}
	b->mem = mem;
	b->dev = part.st.st_dev;
	b->ino = part.st.st_ino;
	b->write = part.writable;
	b->node.key = key_of(&part);
	b->node.start = part.start;
	b->node.last = part.last;
	vi_itree_insert(&mem->backings, &b->node);
	*out = b;
	return 0;
}

int vi_backing_get(struct viommu_memory *mem, const struct viommu_region *r,
		   struct vi_backing **out, void **host)
{
	struct part p = {
		.fd = r->fd,
		.write = r->prot & VIOMMU_WRITE,
		.start = r->fd_offset,
		.last = r->fd_offset + (r->len - 1),
	};
	struct vi_backing *b;
	int rc;

	rc = file_look(&p);
	if (rc)
		return rc;
	vi_lock(&mem->backings_lock);
	b = backing_find_locked(mem, &p);
	if (!b)
		rc = backing_make_locked(mem, &p, &b);
	if (rc == -EACCES && p.writable && !p.write) {
		/* a sealed memfd is open for writing but refuses it */
		p.writable = false;
		rc = backing_make_locked(mem, &p, &b);
	}
	if (!rc) {
		b->refs++;
		*out = b;
		*host = b->base + (p.start - b->node.start);
	}
	vi_unlock(&mem->backings_lock);
	return rc;
}

void vi_backing_share(struct vi_backing *b)
{
	struct viommu_memory *mem = b->mem;

	vi_lock(&mem->backings_lock);
	b->refs++;
	vi_unlock(&mem->backings_lock);
}

void vi_backing_put(struct vi_backing *b)
{
	struct viommu_memory *mem = b->mem;
	bool gone;

	vi_lock(&mem->backings_lock);
	gone = !--b->refs;
	if (gone)
		vi_itree_remove(&mem->backings, &b->node);
	vi_unlock(&mem->backings_lock);
	if (!gone)
		return;
	munmap(b->base, b->node.last - b->node.start + 1);
	vi_free(&mem->vi->env, b);
}
