/* SPDX-License-Identifier: BSD-2-Clause */
#include "arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "iova.h"
#include "say.h"

unsigned char *arena, *expected;

/*
 * Whether the arena's neighbours are neighbours for the device too. If not,
 * the test is only weaker: what strays past an edge lands elsewhere.
 */
static bool arena_contiguous(void)
{
	const uint64_t own = (uint64_t)sysconf(_SC_PAGESIZE);
	const uint64_t pfn_mask = (1ull << 55) - 1;
	uint64_t first = 0, entry, i;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	for (i = 0; i < ARENA_LEN / own; i++) {
		off_t at = (off_t)(((uintptr_t)arena / own + i) * 8);

		if (pread(fd, &entry, 8, at) != 8)
			break;
		if (!i)
			first = entry & pfn_mask;
		if ((entry & pfn_mask) != first + i || !first)
			break;
	}
	close(fd);
	return i == ARENA_LEN / own;
}

void arena_create(void)
{
	/* Twice the room, to have the arena on a huge page's boundary. */
	unsigned char *p = mmap(NULL, 2 * ARENA_LEN, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t i, x = 1;

	if (p == MAP_FAILED)
		die("no memory for the arena: %s", strerror(errno));
	arena = p + (-(uintptr_t)p & (ARENA_LEN - 1));
	madvise(arena, ARENA_LEN, MADV_HUGEPAGE);
	expected = malloc(ARENA_LEN);
	if (!expected)
		die("no memory for the arena's copy");
	/* Canaries: no byte tells the next, no page equals another. */
	for (i = 0; i < ARENA_LEN; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		arena[i] = (unsigned char)(x >> 8);
	}
	memcpy(expected, arena, ARENA_LEN);
	if (!arena_contiguous())
		note("the arena is not physically contiguous");
}

bool arena_intact(const char *who)
{
	size_t i;

	if (!memcmp(arena, expected, ARENA_LEN))
		return true;
	for (i = 0; arena[i] == expected[i]; i++)
		;
	note("%s: memory changed, first at page %llu offset 0x%llx (it is "
	     "0x%02x, was 0x%02x)",
	     who, (unsigned long long)(i / page),
	     (unsigned long long)(i % page), arena[i], expected[i]);
	memcpy(expected, arena, ARENA_LEN);
	return false;
}

void expect_pattern(uint64_t at, uint64_t offset, uint64_t len,
		    uint64_t pattern)
{
	unsigned char *p = expected + at * page + offset;
	uint64_t i;

	for (i = 0; i < len; i++)
		p[i] = (unsigned char)(pattern >> (i % 8 * 8));
}

uint64_t expected_word(uint64_t at, uint64_t offset, uint64_t len)
{
	uint64_t v = 0;

	memcpy(&v, expected + at * page + offset, len);
	return v;
}

uint64_t fnv1a(const unsigned char *p, uint64_t len)
{
	uint64_t hash = 0xcbf29ce484222325u;

	while (len--) {
		hash ^= *p++;
		hash *= 0x100000001b3u;
	}
	return hash;
}

bool arena_page_has(uint64_t at, uint64_t pattern)
{
	uint64_t i;

	for (i = 0; i < page; i++)
		if (arena[at * page + i] !=
		    (unsigned char)(pattern >> (i % 8 * 8)))
			return false;
	return true;
}
