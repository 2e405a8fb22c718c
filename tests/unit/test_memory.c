/* SPDX-License-Identifier: BSD-2-Clause */
/* Regions: by pointer, by descriptor, taken away under a fence. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "world.h"

static int file_of(size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	return fd;
}

/* Mappings of memfds in this process. */
static int mapped_files(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	int n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "memfd:test") != NULL;
	fclose(f);
	return n;
}

/* How much of memfds this process has mapped. */
static uint64_t mapped_bytes(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	uint64_t from, to, n = 0;
	char line[512];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (strstr(line, "memfd:test") &&
		    sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to) == 2)
			n += to - from;
	fclose(f);
	return n;
}

static struct viommu_region region(uint64_t gpa, uint64_t len, int fd,
				   uint64_t off)
{
	return (struct viommu_region){ .size = sizeof(struct viommu_region),
				       .gpa = gpa,
				       .len = len,
				       .prot = VIOMMU_READ | VIOMMU_WRITE,
				       .fd = fd,
				       .fd_offset = off };
}

static void file_is_mapped_once_a_memory(void **state)
{
	struct viommu_memory *mem, *mem2;
	struct viommu_fence f;
	struct world w;
	int fd = file_of(1 << 20), fd2;
	char buf[8] = "";

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(viommu_memory_create(w.vi, &mem), 0);
	assert_int_equal(viommu_memory_create(w.vi, &mem2), 0);
	for (unsigned i = 0; i < 200; i++) {
		/* not even page aligned */
		struct viommu_region r =
			region(0x10000 + i * 4096, 4000, fd, i * 4096 + 7);

		/* another descriptor of the same file, as a peer sends it */
		fd2 = dup(fd);
		r.fd = fd2;
		assert_int_equal(viommu_memory_add(i % 2 ? mem : mem2, &r), 0);
		close(fd2);
	}
	assert_int_equal(mapped_files(), 2);
	assert_int_equal(pwrite(fd, "hello", 5, 4096 + 7 + 100), 5);
	assert_int_equal(viommu_memory_read(mem, 0x11000 + 100, buf, 5), 0);
	assert_string_equal(buf, "hello");
	assert_int_equal(viommu_memory_write(mem, 0x11000, "x", 1), 0);
	assert_int_equal(pread(fd, buf, 1, 4096 + 7), 1);
	assert_int_equal(buf[0], 'x');
	viommu_fence_init(&f);
	viommu_memory_destroy(mem, &f);
	fence_run(&f);
	assert_int_equal(mapped_files(), 1);
	viommu_fence_init(&f);
	viommu_memory_destroy(mem2, &f);
	fence_run(&f);
	assert_int_equal(mapped_files(), 0);
	close(fd);
	world_free(&w);
}

/* A region that needs more of it than is mapped. */
static void file_that_grows_is_mapped_no_more_than_twice(void **state)
{
	enum {
		STEPS = 300
	};
	struct viommu_memory *mem;
	struct viommu_fence f;
	struct viommu_region r;
	struct world w;
	int fd = file_of(1 << 20);
	char c = 0;

	(void)state;
	world_make(&w, NULL, 4096);
	mem = viommu_memory_of(w.vi);
	r = region(1ull << 32, 4096, fd, 0);
	assert_int_equal(viommu_memory_add(mem, &r), 0);
	for (unsigned i = 0; i < STEPS; i++) {
		uint64_t size = (1u << 20) + (i + 1) * 8192u;

		assert_int_equal(ftruncate(fd, (off_t)size), 0);
		r = region(r.gpa + 8192, 4096, fd, size - 8192);
		assert_int_equal(viommu_memory_add(mem, &r), 0);
		/* its neighbour is in the same mapping */
		r = region(r.gpa + 4096, 4096, fd, size - 4096);
		assert_int_equal(viommu_memory_add(mem, &r), 0);
		assert_int_equal(viommu_memory_write(mem, r.gpa, "x", 1), 0);
		assert_int_equal(pread(fd, &c, 1, (off_t)size - 4096), 1);
		assert_int_equal(c, 'x');
		c = 0;
	}
	assert_true(mapped_files() <= STEPS + 1);
	assert_true(mapped_bytes() <= 2 * ((1u << 20) + STEPS * 8192u));
	/* one across the end of what was mapped first, and all of it */
	r = region(1ull << 33, 8192, fd, (1 << 20) - 4096);
	assert_int_equal(viommu_memory_add(mem, &r), 0);
	assert_int_equal(viommu_memory_write(mem, r.gpa + 4095, "yz", 2), 0);
	assert_int_equal(pread(fd, &c, 1, (1 << 20) - 1), 1);
	assert_int_equal(c, 'y');
	assert_int_equal(pread(fd, &c, 1, 1 << 20), 1);
	assert_int_equal(c, 'z');
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem, 1ull << 32, 0, &f), 0);
	fence_run(&f);
	assert_int_equal(mapped_files(), 0);
	close(fd);
	world_free(&w);
}

static void sparse_file_is_mapped_where_it_is_shown(void **state)
{
	static const uint64_t at[] = { 0, 1ull << 40,
				       (1ull << 40) + (1ull << 36) - 4096,
				       (1ull << 41) - 2048, /* across blocks */
				       (1ull << 44) - 4096 };
	struct viommu_memory *mem;
	struct viommu_region r;
	struct world w;
	int fd = file_of(1ull << 44);
	uint64_t back;

	(void)state;
	world_make(&w, NULL, 4096);
	mem = viommu_memory_of(w.vi);
	for (unsigned i = 0; i < 5; i++) {
		r = region((1ull << 32) + i * 4096, 4096, fd, at[i]);
		assert_int_equal(viommu_memory_add(mem, &r), 0);
		assert_int_equal(viommu_memory_write(mem, r.gpa + 8, &at[i], 8),
				 0);
	}
	assert_true(mapped_files() <= 4);
	assert_true(mapped_bytes() <= 5ull << 36);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(pread(fd, &back, 8, (off_t)at[i] + 8), 8);
		assert_int_equal(back, at[i]);
	}
	/* the neighbours are there already */
	for (unsigned i = 0; i < 5; i++) {
		r = region((1ull << 33) + i * 4096, 4096, fd,
			   at[i] ? at[i] - 4096 : 4096);
		assert_int_equal(viommu_memory_add(mem, &r), 0);
	}
	assert_true(mapped_files() <= 5);
	close(fd);
	world_free(&w);
	assert_int_equal(mapped_files(), 0);
}

static uint64_t address_space_used(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	uint64_t pages = 0;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%" SCNu64, &pages), 1);
	fclose(f);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Where there is no room for a block, what is needed is mapped. */
static void little_address_space_is_enough(void **state)
{
	struct rlimit old, little;
	struct viommu_memory *mem;
	struct viommu_region r;
	struct world w;
	int fd = file_of(1ull << 44);

	(void)state;
	world_make(&w, NULL, 4096);
	mem = viommu_memory_of(w.vi);
	r = region(1ull << 32, 8192, fd, (1ull << 43) + 2048);
	assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
	little = old;
	little.rlim_cur = address_space_used() + (1ull << 30);
	assert_int_equal(setrlimit(RLIMIT_AS, &little), 0);
	assert_int_equal(viommu_memory_add(mem, &r), 0);
	assert_int_equal(mapped_bytes(), 3 * 4096);
	assert_int_equal(viommu_memory_write(mem, r.gpa, "x", 1), 0);
	r.gpa += r.len;
	r.len = 2ull << 30;
	assert_int_equal(viommu_memory_add(mem, &r), -ENOMEM);
	assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
	assert_int_equal(viommu_memory_add(mem, &r), 0);
	close(fd);
	world_free(&w);
}

/* Removed first, and done last. */
static void region_may_outlive_its_memory(void **state)
{
	struct viommu_region r;
	struct viommu_memory *mem;
	struct viommu_fence f, g;
	struct world w;
	int fd = file_of(4096);

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(viommu_memory_create(w.vi, &mem), 0);
	r = region(0, 4096, fd, 0);
	assert_int_equal(viommu_memory_add(mem, &r), 0);
	viommu_fence_init(&f);
	viommu_fence_init(&g);
	assert_int_equal(viommu_memory_remove(mem, 0, 0, &f), 0);
	viommu_memory_destroy(mem, &g);
	fence_run(&g);
	assert_int_equal(mapped_files(), 1);
	fence_run(&f);
	assert_int_equal(mapped_files(), 0);
	close(fd);
	world_free(&w);
}

static void descriptors_that_lie_are_refused(void **state)
{
	struct viommu_memory *mem;
	int fd = file_of(8192), pipefd[2], ro, wo, null;
	struct viommu_region r;
	struct world w;
	char path[64];

	(void)state;
	world_make(&w, NULL, 4096);
	mem = viommu_memory_of(w.vi);
	r = region(0x100000, 8193, fd, 0);
	assert_int_equal(viommu_memory_add(mem, &r), -ERANGE);
	r = region(0x100000, 4096, fd, 8192);
	assert_int_equal(viommu_memory_add(mem, &r), -ERANGE);
	r = region(0x100000, 4096, fd, UINT64_MAX - 100);
	assert_int_equal(viommu_memory_add(mem, &r), -EINVAL);
	r = region(0x100000, 4096, -1, 0);
	assert_int_equal(viommu_memory_add(mem, &r), -EINVAL);
	r = region(0x100000, 4096, 9999, 0);
	assert_int_equal(viommu_memory_add(mem, &r), -EBADF);
	assert_int_equal(pipe(pipefd), 0);
	r = region(0x100000, 4096, pipefd[0], 0);
	assert_int_equal(viommu_memory_add(mem, &r), -EBADF);
	null = open("/dev/null", O_RDWR);
	r = region(0x100000, 4096, null, 0);
	assert_int_equal(viommu_memory_add(mem, &r), -EBADF);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY);
	wo = open(path, O_WRONLY);
	r = region(0x100000, 4096, ro, 0);
	assert_int_equal(viommu_memory_add(mem, &r), -EACCES);
	r.prot = VIOMMU_READ;
	assert_int_equal(viommu_memory_add(mem, &r), 0);
	r = region(0x200000, 4096, wo, 0);
	assert_int_equal(viommu_memory_add(mem, &r), -EACCES);
	assert_int_equal(mapped_files(), 1);
	close(wo);
	close(ro);
	close(null);
	close(pipefd[0]);
	close(pipefd[1]);
	close(fd);
	world_free(&w);
	assert_int_equal(mapped_files(), 0);
}

static void sealed_file_can_be_read(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct viommu_region r;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	r = region(0x100000, 4096, fd, 0);
	assert_int_equal(viommu_memory_add(viommu_memory_of(w.vi), &r),
			 -EACCES);
	r.prot = VIOMMU_READ;
	assert_int_equal(viommu_memory_add(viommu_memory_of(w.vi), &r), 0);
	close(fd);
	world_free(&w);
}

/* That somebody else may write the file lets nobody else write it. */
static void seal_holds_beside_a_writer(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct viommu_region r = region(0x100000, 4096, fd, 0);
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(viommu_memory_add(viommu_memory_of(w.vi), &r), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
	r.gpa = 0x200000;
	assert_int_equal(viommu_memory_add(viommu_memory_of(w.vi), &r),
			 -EACCES);
	close(fd);
	world_free(&w);
}

static void bad_regions_are_refused(void **state)
{
	struct viommu_memory *mem;
	struct viommu_region r;
	struct world w;
	char host[4096];

	(void)state;
	world_make(&w, NULL, 4096);
	mem = viommu_memory_of(w.vi);
	r = region(WORLD_RAM - 1, 2, -1, 0);
	r.host = host;
	assert_int_equal(viommu_memory_add(mem, &r), -EEXIST);
	r.gpa = UINT64_MAX;
	assert_int_equal(viommu_memory_add(mem, &r), -EINVAL);
	r.gpa = 1ull << 60;
	assert_int_equal(viommu_memory_add(mem, &r), -EOVERFLOW);
	r.gpa = 1ull << 40;
	r.len = 0;
	assert_int_equal(viommu_memory_add(mem, &r), -EINVAL);
	r.len = 1;
	r.prot = 0;
	assert_int_equal(viommu_memory_add(mem, &r), -EINVAL);
	r.prot = VIOMMU_READ | VIOMMU_MMIO;
	assert_int_equal(viommu_memory_add(mem, &r), -EINVAL);
	r.prot = VIOMMU_READ;
	r.size = 4;
	assert_int_equal(viommu_memory_add(mem, &r), -EINVAL);
	r.size = sizeof(r);
	assert_int_equal(viommu_memory_add(mem, &r), 0);
	world_free(&w);
}

/* What can be written cannot be read, and the other way round. */
static void region_to_be_written_only(void **state)
{
	struct viommu_memory *mem;
	struct viommu_region r;
	struct viommu_fence f;
	char host[4096] = "", c = 'x';
	uint64_t val = 0;
	struct world w;

	(void)state;
	world_make(&w, NULL, 4096);
	mem = viommu_memory_of(w.vi);
	r = region(1 << 20, sizeof(host), -1, 0);
	r.host = host;
	r.prot = VIOMMU_WRITE;
	assert_int_equal(viommu_memory_add(mem, &r), 0);
	assert_int_equal(map_rw(&w, 0x10000, 0x10fff, r.gpa), 0);
	assert_int_equal(viommu_dma_write(w.ep, 0x10001, &c, 1), 0);
	assert_int_equal(viommu_dma_store(w.ep, 0x10008, 8, 7), 0);
	assert_int_equal(viommu_memory_write(mem, r.gpa + 2, &c, 1), 0);
	assert_memory_equal(host, "\0xx\0\0\0\0\0\7", 9);
	assert_int_not_equal(viommu_dma_read(w.ep, 0x10001, &c, 1), 0);
	assert_int_not_equal(viommu_dma_load(w.ep, 0x10008, 8, &val), 0);
	val = 7;
	assert_int_not_equal(viommu_dma_cas(w.ep, 0x10008, 8, &val, 8), 0);
	assert_int_equal(viommu_memory_read(mem, r.gpa + 1, &c, 1), -EFAULT);
	assert_int_equal(host[8], 7);
	/* one thread's memory of where it was says no more than that */
	assert_int_equal(viommu_dma_store(w.ep, 0x10008, 8, 9), 0);
	assert_int_not_equal(viommu_dma_load(w.ep, 0x10008, 8, &val), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem, r.gpa, r.len, &f), 0);
	fence_run(&f);
	world_free(&w);
}

/* ---- many ------------------------------------------------------------- */

enum {
	SLOTS = 2048,
	SLOT = 100, /* bytes; regions of one to three slots */
};

struct model {
	struct viommu_memory *mem;
	char *host;
	unsigned len[SLOTS + 3];   /* slots of the region that begins here */
	unsigned owner[SLOTS + 3]; /* where the one begins that has it, + 1 */
};

static void model_add(struct model *m, unsigned at, unsigned len)
{
	struct viommu_region r = region(at * SLOT, len * SLOT, -1, 0);
	bool taken = false;

	/* what one shows another may show, too */
	r.host = m->host + at % 7 * SLOT;
	for (unsigned i = at; i < at + len; i++)
		taken |= m->owner[i];
	assert_int_equal(viommu_memory_add(m->mem, &r), taken ? -EEXIST : 0);
	if (taken)
		return;
	m->len[at] = len;
	for (unsigned i = at; i < at + len; i++)
		m->owner[i] = at + 1;
}

static void model_remove(struct model *m, unsigned at, unsigned len)
{
	unsigned end = at + len, n = 0;
	struct viommu_fence f;
	int rc = 0;

	for (unsigned i = at; i < end; i++) {
		unsigned o = m->owner[i];

		n += !!o;
		if (o && (o - 1 < at || o - 1 + m->len[o - 1] > end))
			rc = -ERANGE;
	}
	viommu_fence_init(&f);
	assert_int_equal(
		viommu_memory_remove(m->mem, at * SLOT, len * SLOT, &f),
		n ? rc : -ENOENT);
	fence_run(&f);
	for (unsigned i = at; i < end && n && !rc; i++)
		m->owner[i] = m->len[i] = 0;
}

static void model_compare(const struct model *m)
{
	struct viommu_region r = { .size = sizeof(r) };
	uint64_t gpa = 0;

	for (unsigned i = 0; i < SLOTS + 3; i++) {
		if (!m->len[i])
			continue;
		assert_int_equal(viommu_memory_next(m->mem, gpa, &r), 0);
		assert_int_equal(r.gpa, i * SLOT);
		assert_int_equal(r.len, m->len[i] * SLOT);
		assert_ptr_equal(r.host, m->host + i % 7 * SLOT);
		gpa = r.gpa + r.len;
	}
	assert_int_equal(viommu_memory_next(m->mem, gpa, &r), -ENOENT);
}

static void regions_come_and_go_at_random(void **state)
{
	struct model *m = calloc(1, sizeof(*m));
	struct viommu_fence f;
	uint32_t x = 1;
	struct world w;

	(void)state;
	assert_non_null(m);
	m->host = calloc(16, SLOT);
	world_make(&w, NULL, 4096);
	assert_int_equal(viommu_memory_create(w.vi, &m->mem), 0);
	for (unsigned i = 0; i < 20000; i++) {
		unsigned at;

		x = x * 1664525 + 1013904223;
		at = (x >> 8) % SLOTS;
		if ((x >> 20) % 3)
			model_add(m, at, 1 + (x >> 24) % 3);
		else
			model_remove(m, at, 1 + (x >> 24) % 3);
		if (i % 500 == 0)
			model_compare(m);
	}
	model_compare(m);
	viommu_fence_init(&f);
	viommu_memory_destroy(m->mem, &f);
	fence_run(&f);
	world_free(&w);
	free(m->host);
	free(m);
}

/* Allocations, and what they take. */
struct counted {
	uint64_t calls, bytes;
};

static void *counted_alloc(void *arg, size_t size, size_t align)
{
	struct counted *n = arg;
	size_t head = align > 64 ? align : 64;
	char *p = aligned_alloc(head, (size + 2 * head - 1) & ~(head - 1));

	if (!p)
		return NULL;
	n->calls++;
	n->bytes += size;
	memset(p, 0, head + size);
	memcpy(p + head - 64, &size, sizeof(size));
	memcpy(p + head - 32, &head, sizeof(head));
	return p + head;
}

static void counted_free(void *arg, void *ptr)
{
	struct counted *n = arg;
	size_t size, head;
	char *p = ptr;

	memcpy(&size, p - 64, sizeof(size));
	memcpy(&head, p - 32, sizeof(head));
	n->bytes -= size;
	free(p - head);
}

/* Maps of a client's own IOMMU: pages of one file, in no order.  Each is one
 * small allocation, whatever their number, and the file is mapped once. */
static void regions_of_one_file_by_the_thousand(void **state)
{
	const uint64_t n = 50000, page = 4096;
	struct counted mem_used = { 0 };
	struct viommu_env env = { .size = sizeof(env),
				  .arg = &mem_used,
				  .alloc = counted_alloc,
				  .free = counted_free };
	struct viommu_config cfg = { .size = sizeof(cfg), .env = &env };
	int fd = file_of(64 * page);
	uint64_t bytes, calls;
	struct viommu_memory *mem;
	struct viommu_region r;
	struct viommu_fence f;
	struct world w;

	(void)state;
	world_make(&w, &cfg, 4096);
	assert_int_equal(viommu_memory_create(w.vi, &mem), 0);
	bytes = mem_used.bytes;
	for (uint64_t i = 0; i < n; i++) {
		uint64_t at = i * 7919 % n;

		r = region(at * page, page, fd, at % 64 * page);
		assert_int_equal(viommu_memory_add(mem, &r), 0);
	}
	assert_int_equal(mapped_files(), 1);
	/* eight entries of a table, and what a region is */
	assert_in_range((mem_used.bytes - bytes) / n, 1, 256);
	calls = mem_used.calls;
	for (uint64_t i = 0; i < 1000; i++) {
		uint64_t at = i * 104729 % n;

		viommu_fence_init(&f);
		assert_int_equal(viommu_memory_remove(mem, at * page, page, &f),
				 0);
		fence_run(&f);
		r = region(at * page, page, fd, i % 64 * page);
		assert_int_equal(viommu_memory_add(mem, &r), 0);
	}
	assert_int_equal(mem_used.calls - calls, 1000);
	assert_int_equal(mapped_files(), 1);
	viommu_fence_init(&f);
	viommu_memory_destroy(mem, &f);
	fence_run(&f);
	assert_int_equal(mapped_files(), 0);
	close(fd);
	world_free(&w);
	assert_int_equal(mem_used.bytes, 0);
}

/* Each is found again, among many with the same offsets. */
static void many_files_are_mapped_once_each(void **state)
{
	enum {
		FILES = 100
	};
	struct viommu_memory *mem;
	struct viommu_region r;
	struct viommu_fence f;
	int fd[FILES];
	struct world w;
	char c = 0;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(viommu_memory_create(w.vi, &mem), 0);
	for (unsigned i = 0; i < FILES; i++) {
		fd[i] = file_of(0x4000);
		c = (char)i;
		for (off_t at = 0; at < 0x4000; at += 0x1000)
			assert_int_equal(pwrite(fd[i], &c, 1, at), 1);
	}
	for (uint64_t k = 0; k < 4; k++)
		for (uint64_t i = 0; i < FILES; i++) {
			r = region((k * FILES + i) << 12, 0x1000, fd[i],
				   k << 12);
			assert_int_equal(viommu_memory_add(mem, &r), 0);
		}
	assert_int_equal(mapped_files(), FILES);
	for (uint64_t i = 0; i < 4 * FILES; i++) {
		assert_int_equal(viommu_memory_read(mem, i << 12, &c, 1), 0);
		assert_int_equal(c, (char)(i % FILES));
	}
	/* all of every second file's */
	viommu_fence_init(&f);
	for (uint64_t i = 0; i < 4 * FILES; i += 2)
		assert_int_equal(viommu_memory_remove(mem, i << 12, 0x1000, &f),
				 0);
	fence_run(&f);
	assert_int_equal(mapped_files(), FILES / 2);
	for (uint64_t i = 1; i < 4 * FILES; i += 2) {
		assert_int_equal(viommu_memory_read(mem, i << 12, &c, 1), 0);
		assert_int_equal(c, (char)(i % FILES));
	}
	viommu_fence_init(&f);
	viommu_memory_destroy(mem, &f);
	fence_run(&f);
	for (unsigned i = 0; i < FILES; i++)
		close(fd[i]);
	world_free(&w);
}

static void remove_takes_whole_regions(void **state)
{
	struct viommu_memory *mem;
	struct viommu_fence f;
	struct viommu_region r;
	struct world w;
	char host[4096], c;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(viommu_memory_create(w.vi, &mem), 0);
	for (unsigned i = 0; i < 40; i++) {
		r = region(((i * 7) % 40) * 100, 100, -1, 0);
		r.host = host + r.gpa;
		assert_int_equal(viommu_memory_add(mem, &r), 0);
	}
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem, 50, 100, &f), -ERANGE);
	assert_int_equal(viommu_memory_remove(mem, 100, 150, &f), -ERANGE);
	assert_int_equal(viommu_memory_remove(mem, 4000, 10, &f), -ENOENT);
	assert_int_equal(viommu_memory_remove(mem, UINT64_MAX, 2, &f), -EINVAL);
	assert_int_equal(viommu_memory_read(mem, 150, &c, 1), 0);
	assert_int_equal(viommu_memory_remove(mem, 100, 200, &f), 0);
	fence_run(&f);
	assert_int_equal(viommu_memory_read(mem, 99, &c, 1), 0);
	assert_int_equal(viommu_memory_read(mem, 99, &c, 2), -EFAULT);
	assert_int_equal(viommu_memory_read(mem, 299, &c, 1), -EFAULT);
	assert_int_equal(viommu_memory_read(mem, 300, &c, 1), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(mem, 0, 0, &f), 0); /* to 2^64 */
	fence_run(&f);
	assert_int_equal(viommu_memory_read(mem, 300, &c, 1), -EFAULT);
	viommu_fence_init(&f);
	viommu_memory_destroy(mem, &f);
	fence_run(&f);
	world_free(&w);
}

static void remove_waits_for_maps_of_it_only(void **state)
{
	struct viommu_region r = region(0x100000, 0x2000, -1, 0);
	struct viommu_dma d = { 0 }, d2;
	struct viommu_fence f;
	struct iovec iov[2];
	struct world w;
	char *more = calloc(1, 0x2000);

	(void)state;
	world_make(&w, NULL, 4096);
	r.host = more;
	assert_int_equal(viommu_memory_add(viommu_memory_of(w.vi), &r), 0);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0x101000), 0);
	assert_int_equal(map_rw(&w, 0x1000, 0x1fff, 0), 0);
	d = (struct viommu_dma){ .ep = w.ep,
				 .iova = 0xf00,
				 .len = 0x10,
				 .prot = VIOMMU_WRITE,
				 .iov = iov,
				 .max_iov = 2 };
	d2 = d;
	d2.iova = 0x1000;
	assert_int_equal(viommu_dma_map(&d), 0);
	assert_int_equal(viommu_dma_map(&d2), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(viommu_memory_of(w.vi), 0x100000,
					      0x2000, &f),
			 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_false(viommu_fence_done(&f));
	viommu_dma_unmap(&d, 0);
	assert_true(viommu_fence_done(&f)); /* d2 is elsewhere */
	free(more);
	assert_int_equal(viommu_dma_map(&d), -EFAULT);
	assert_int_equal(w.fault.reason, VIOMMU_FAULT_MEMORY);
	viommu_dma_unmap(&d2, 0);
	world_free(&w);
}

static void endpoints_have_memories_of_their_own(void **state)
{
	struct viommu_endpoint_config ec = { .size = sizeof(ec), .id = 2 };
	struct viommu_region r = region(0, 0x1000, -1, 0);
	struct viommu_endpoint *ep2;
	struct viommu_memory *mem;
	struct viommu_fence f;
	struct viommu *vi2;
	struct world w;
	char host[0x1000] = "other", c;

	(void)state;
	world_make(&w, NULL, 4096);
	assert_int_equal(viommu_memory_create(w.vi, &mem), 0);
	r.host = host;
	assert_int_equal(viommu_memory_add(mem, &r), 0);
	ec.memory = mem;
	assert_int_equal(viommu_endpoint_create(w.vi, &ec, &ep2), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(ep2, w.space, &f), 0);
	assert_int_equal(map_rw(&w, 0, 0xfff, 0), 0);
	assert_int_equal(viommu_dma_read(ep2, 0, &c, 1), 0);
	assert_int_equal(c, 'o');
	assert_int_equal(viommu_dma_read(w.ep, 0, &c, 1), 0);
	assert_int_equal(c, 0);
	assert_int_equal(viommu_create(NULL, &vi2), 0);
	ec.id = 3;
	ec.memory = viommu_memory_of(vi2);
	assert_int_equal(viommu_endpoint_create(w.vi, &ec, &ep2), -EINVAL);
	viommu_destroy(vi2);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(viommu_endpoint_find(w.vi, 2, 0), &f);
	viommu_memory_destroy(mem, &f);
	fence_run(&f);
	world_free(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(file_is_mapped_once_a_memory),
		cmocka_unit_test(file_that_grows_is_mapped_no_more_than_twice),
		cmocka_unit_test(sparse_file_is_mapped_where_it_is_shown),
		cmocka_unit_test(little_address_space_is_enough),
		cmocka_unit_test(region_may_outlive_its_memory),
		cmocka_unit_test(descriptors_that_lie_are_refused),
		cmocka_unit_test(sealed_file_can_be_read),
		cmocka_unit_test(seal_holds_beside_a_writer),
		cmocka_unit_test(bad_regions_are_refused),
		cmocka_unit_test(region_to_be_written_only),
		cmocka_unit_test(regions_come_and_go_at_random),
		cmocka_unit_test(regions_of_one_file_by_the_thousand),
		cmocka_unit_test(many_files_are_mapped_once_each),
		cmocka_unit_test(remove_takes_whole_regions),
		cmocka_unit_test(remove_waits_for_maps_of_it_only),
		cmocka_unit_test(endpoints_have_memories_of_their_own),
	};

	return cmocka_run_group_tests_name("memory", tests, NULL, NULL);
}
