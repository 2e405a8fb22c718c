/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vhost-user: what the front-end shares beside its memory.  The log of pages
 * that were written, the in-flight area.
 *
 * The log.  The library notes writes by GPA (memory.h); the front-end reads its
 * own bitmap whenever it likes, clears what it read, and then copies those
 * pages.  So bits have to be set after the write, and before anybody acts on
 * the write being over: the library's are moved over before a queue shows that
 * requests are done, right after (the ring itself has been written), and
 * before GET_VRING_BASE is answered.  What is mapped for writing counts as
 * written each time.
 *
 * The loop's thread only.
 */

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <viommu/memory.h>

#include "serve/vhost_user_impl.h"

#define AREA_MAX   (UINT64_C(1) << 40)
#define PAGE	   UINT64_C(4096) /* of the log */
#define WORD_PAGES 64u
#define WORDS	   1024u /* fetched at once: 256 MiB */

void vs_area_unmap(struct vs_area *a)
{
	if (a->map)
		munmap(a->map, a->map_len);
	memset(a, 0, sizeof(*a));
}

int vs_area_map(struct vs_area *a, int fd, uint64_t offset, uint64_t len)
{
	uint64_t skip = offset & ((uint64_t)sysconf(_SC_PAGESIZE) - 1);
	struct stat st;
	void *map;

	/* the loop's thread goes there by itself */
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size < 0 ||
	    !vs_file_in_memory(fd))
		return -EBADF;
	if (!len || len > AREA_MAX || offset > (uint64_t)st.st_size ||
	    len > (uint64_t)st.st_size - offset)
		return -ERANGE;
	map = mmap(NULL, len + skip, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		   (off_t)(offset - skip));
	if (map == MAP_FAILED)
		return -errno;
	vs_area_unmap(a);
	a->map = map;
	a->map_len = len + skip;
	a->at = (uint8_t *)map + skip;
	a->len = len;
	return 0;
}

/* ------------------------------------------------------------- in flight */

void vs_inflight_forget(struct viommu_vhost_user *s, unsigned ring,
			uint16_t head)
{
	size_t len = viommu_virtqueue_inflight_len(s->inflight_queue_len);
	struct vh_inflight_entry *entries;

	if (ring >= s->inflight_queues || head >= s->inflight_queue_len)
		return;
	entries = (void *)(s->inflight.at + ring * len +
			   sizeof(struct vh_inflight_head));
	__atomic_store_n(&entries[head].inflight, 0, __ATOMIC_RELEASE);
}

/* ------------------------------------------------------------------- log */

/* Bits of pages from @page on, byte by byte as the log has them. */
static void mark(const struct vs_area *log, uint64_t page, uint64_t bits)
{
	for (uint64_t at = page / 8; bits && at < log->len; at++, bits >>= 8)
		if (bits & 0xff)
			__atomic_fetch_or(&log->at[at], (uint8_t)bits,
					  __ATOMIC_SEQ_CST);
}

/* Pages [page, page + n - 1], which begin and end with a word. */
static bool log_fetch(struct viommu_vhost_user *s, uint64_t page, uint64_t n)
{
	uint64_t words[WORDS];
	int64_t dirty;

	dirty = viommu_memory_dirty_fetch(s->memory, page * PAGE, n * PAGE,
					  words);
	for (uint64_t i = 0; dirty > 0 && i < n / WORD_PAGES; i++)
		mark(&s->log, page + i * WORD_PAGES, words[i]);
	return dirty >= 0;
}

static bool slot_sync(struct viommu_vhost_user *s, const struct vh_region *r)
{
	const uint64_t unit = PAGE * WORD_PAGES;
	uint64_t at = r->gpa / unit, last = (r->gpa + (r->len - 1)) / unit;
	bool ok = true;

	while (at <= last && ok) {
		uint64_t n = last - at + 1 < WORDS ? last - at + 1 : WORDS;

		ok = log_fetch(s, at * WORD_PAGES, n * WORD_PAGES);
		at += n;
	}
	return ok;
}

void vs_log_sync(struct viommu_vhost_user *s)
{
	bool ok = true;

	if (!s->logging)
		return;
	for (unsigned i = 0; i < s->slots.n; i++)
		ok &= slot_sync(s, &s->slots.slot[i].r);
	if (!ok && !s->lame)
		vs_vtrouble(s, "the dirty log is not to be had");
	s->lame = !ok;
}
