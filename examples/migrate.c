/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest's RAM goes elsewhere while a device writes to it: copied in rounds by
 * the dirty log, and moved when little is left.  The device need not know, but
 * that it is asked to let go of a pointer.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <viommu.h>

enum {
	PAGE = 4096,
	PAGES = 4096,
	SIZE = PAGES * PAGE,
	RW = VIOMMU_READ | VIOMMU_WRITE,
	FEW = 64,    /* pages that may be left over */
	SOME = 5000, /* writes before, between and after */
};

static _Alignas(PAGE) char from[SIZE], to[SIZE]; /* the guest's RAM */
static struct viommu_endpoint *ep;
static _Atomic(int) stop, asked;
static _Atomic(uint64_t) writes;
static uint64_t last[PAGES]; /* what the device wrote to each page */
static uint64_t longest, revoked, failed;

static void let_go(struct viommu_dma *d)
{
	(void)d;
	atomic_store(&asked, 1);
}

/* By a pointer, which is kept for a while or until it is asked for. */
static int write_often(uint64_t page, uint64_t n)
{
	struct iovec iov;
	struct viommu_dma d = { .ep = ep,
				.iova = page * PAGE,
				.len = sizeof(n),
				.prot = VIOMMU_WRITE,
				.iov = &iov,
				.max_iov = 1,
				.revoke = let_go };
	int rc = viommu_dma_map(&d);

	if (rc)
		return rc;
	for (int i = 0; i < 100000 && !atomic_load(&asked); i++)
		*(volatile uint64_t *)iov.iov_base = n + (uint64_t)i;
	memcpy(iov.iov_base, &n, sizeof(n));
	viommu_dma_unmap(&d, sizeof(n));
	revoked += (uint64_t)atomic_exchange(&asked, 0);
	return 0;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void *device(void *arg)
{
	for (uint64_t n = 1; !atomic_load(&stop); n++) {
		uint64_t page = n / 16 * 2654435761 % PAGES, begin = now();

		last[page] = n;
		failed += n % 256 ? viommu_dma_write(ep, page * PAGE, &n, 8) < 0
				  : write_often(page, n) < 0;
		if (n % 256 && now() - begin > longest)
			longest = now() - begin;
		atomic_store(&writes, n);
	}
	return arg;
}

/* The pages that were written since the last time: how many. */
static int64_t copy_dirty(struct viommu_memory *mem, const char *when)
{
	static uint64_t bits[PAGES / 64];
	int64_t n = viommu_memory_dirty_fetch(mem, 0, SIZE, bits);

	for (size_t i = 0; n > 0 && i < PAGES; i++)
		if (bits[i / 64] >> (i % 64) & 1)
			memcpy(to + i * PAGE, from + i * PAGE, PAGE);
	printf("%s: %lld pages\n", when, (long long)n);
	return n;
}

/* Nobody writes.  There is one piece, from and to. */
static int copy_rest(void *arg, const struct viommu_region *old,
		     const struct viommu_region *new)
{
	(void)old;
	(void)new;
	return copy_dirty(arg, "move") < 0 ? -EIO : 0;
}

static void wait_for_writes(void)
{
	uint64_t n = atomic_load(&writes);

	while (atomic_load(&writes) - n < SOME)
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
}

/* Afterwards the old place does not exist any more. */
static int migrate(struct viommu_memory *mem)
{
	struct viommu_move m = { .size = sizeof(m),
				 .to = { .size = sizeof(m.to),
					 .len = SIZE,
					 .host = to,
					 .prot = RW },
				 .copy = copy_rest,
				 .arg = mem };
	struct viommu_fence f;

	viommu_fence_init(&f);
	if (viommu_memory_dirty_start(mem, PAGE, &f))
		return 1;
	viommu_fence_commit(&f, NULL, NULL);
	if (viommu_fence_wait(&f, -1))
		return 1;
	memcpy(to, from, SIZE);
	for (int i = 0; i < 16 && copy_dirty(mem, "round") > FEW; i++)
		;
	wait_for_writes(); /* so that there is something left */
	viommu_fence_init(&f);
	if (viommu_memory_move(mem, &m, &f))
		return 1;
	viommu_fence_commit(&f, NULL, NULL);
	return viommu_fence_wait(&f, -1) || mprotect(from, SIZE, PROT_NONE);
}

int main(void)
{
	struct viommu_region ram = {
		.size = sizeof(ram), .len = SIZE, .host = from, .prot = RW
	};
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = PAGE };
	struct viommu_endpoint_config ec = { .size = sizeof(ec), .id = 0x20 };
	struct viommu_mapping map = { .last = SIZE - 1, .prot = RW };
	struct viommu_space *space;
	struct viommu_fence f;
	struct viommu *vi;
	pthread_t t;
	int rc;

	for (uint64_t i = 0; i < PAGES; i++)
		memcpy(from + i * PAGE + 8, &i, 8);
	viommu_fence_init(&f);
	if (viommu_create(NULL, &vi) ||
	    viommu_memory_add(viommu_memory_of(vi), &ram) ||
	    viommu_space_create(vi, &sc, &space) ||
	    viommu_space_map(space, &map) ||
	    viommu_endpoint_create(vi, &ec, &ep) ||
	    viommu_endpoint_attach(ep, space, &f) ||
	    pthread_create(&t, NULL, device, NULL))
		return 1;
	wait_for_writes();
	rc = migrate(viommu_memory_of(vi));
	wait_for_writes();
	atomic_store(&stop, 1);
	pthread_join(t, NULL);
	/* what the device wrote last, and beside it what the guest had */
	for (uint64_t i = 0; i < PAGES; i++)
		rc += memcmp(to + i * PAGE, &last[i], 8) ||
		      memcmp(to + i * PAGE + 8, &i, 8);
	printf("wrong: %d; the device was asked %llu times, and waited %.1f us "
	       "at most\n",
	       rc, (unsigned long long)revoked, (double)longest / 1000);

	mprotect(from, SIZE, PROT_READ); /* for leak checkers */
	viommu_memory_dirty_stop(viommu_memory_of(vi), &f);
	viommu_endpoint_destroy(ep, &f);
	viommu_space_destroy(space, &f);
	viommu_fence_commit(&f, NULL, NULL);
	viommu_destroy(vi);
	return rc || failed;
}
