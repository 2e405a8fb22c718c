/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The law under load: race SUBJECT [fenced|asymmetric] [SECONDS]
 *
 * A control thread takes access away, waits for the fence and then does what
 * only the law permits; DMA threads meanwhile touch whatever they can reach.
 *
 *   pages   unmap, fence, poison, look whether anybody wrote, *free*, remap
 *   tables  unmap so that tables leave one space and enter another: an access
 *           to the first must never see the second's memory
 *   spaces  attach elsewhere, destroy the space that was left
 *   memory  add and remove a file: its mapping is gone when the fence is done
 *
 * The checks need no sanitizer; under one they find more.  The mutants
 * (base/annot.h) are this program built with a step left out of the library;
 * each must fail here, or this file proves nothing.  Exit status 0: the law
 * held; 1: it was broken (said on standard error); by signal: likewise; 2: the
 * test itself could not run.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <viommu.h>

enum {
	PAGE = 4096,
	NPAGES = 8,
	NDMA = 3,
	POISON = 0xa5,
	WAIT_S = 5, /* a fence that takes longer was forgotten */
};

#define NS UINT64_C(1000000000)

static struct viommu *vi;
static struct viommu_memory *memory;
static struct viommu_space *space;
static struct viommu_endpoint *ep;
static atomic_bool stop;
static atomic_ulong done_ok, refused;

static void broken(const char *what)
{
	fprintf(stderr, "the law is broken: %s\n", what);
	_exit(1);
}

static void must(int rc, const char *what)
{
	if (!rc)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror(-rc));
	_exit(2);
}

static void fence_run(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	if (viommu_fence_wait(f, WAIT_S * (int64_t)NS))
		broken("a fence was not done in time");
}

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS + (uint64_t)ts.tv_nsec;
}

static unsigned dice(unsigned *seed, unsigned n)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 8) % n;
}

static void map_at(struct viommu_space *s, uint64_t iova, void *page)
{
	struct viommu_mapping m = { .start = iova,
				    .last = iova + PAGE - 1,
				    .gpa = (uintptr_t)page,
				    .prot = VIOMMU_READ | VIOMMU_WRITE };

	must(viommu_space_map(s, &m), "map");
}

static void unmap_at(struct viommu_space *s, uint64_t iova)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	if (viommu_space_unmap(s, iova, iova + PAGE - 1, &f) < 0)
		broken("unmap failed");
	fence_run(&f);
}

/* Guest memory is this process: GPA is host. */
static void world_make(enum viommu_barrier barrier)
{
	struct viommu_config cfg = { .size = sizeof(cfg), .barrier = barrier };
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = PAGE };
	struct viommu_endpoint_config ec = { .size = sizeof(ec), .id = 1 };
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = PAGE,
				   .len = (UINT64_C(1) << 47) - 2 * PAGE,
				   .host = (void *)(uintptr_t)PAGE,
				   .prot = VIOMMU_READ | VIOMMU_WRITE };
	struct viommu_fence f;

	must(viommu_create(&cfg, &vi), "create");
	memory = viommu_memory_of(vi);
	must(viommu_memory_add(memory, &r), "memory");
	must(viommu_space_create(vi, &sc, &space), "space");
	must(viommu_endpoint_create(vi, &ec, &ep), "endpoint");
	viommu_fence_init(&f);
	must(viommu_endpoint_attach(ep, space, &f), "attach");
	fence_run(&f);
}

static void world_free(void)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_endpoint_destroy(ep, &f);
	viommu_space_destroy(space, &f);
	fence_run(&f);
	viommu_destroy(vi);
}

/* ---- what DMA threads do ---------------------------------------------- */

/* Held maps wander: mapped by one thread, let go of by another. */
struct held {
	struct viommu_dma d;
	struct iovec iov[4];
};

static _Atomic(struct held *) parked;

/* A byte of its own for each thread, so that only lifetimes race. */
static void scribble(const struct viommu_dma *d, unsigned thread)
{
	((volatile unsigned char *)d->iov[0].iov_base)[64 + thread]++;
}

static void held_drop(struct held *h, unsigned thread)
{
	if (!h)
		return;
	scribble(&h->d, thread);
	viommu_dma_unmap(&h->d, 1);
	free(h);
}

static int hold(uint64_t iova, unsigned thread)
{
	struct held *h = calloc(1, sizeof(*h));
	int rc;

	h->d = (struct viommu_dma){ .ep = ep,
				    .iova = iova,
				    .len = 128,
				    .prot = VIOMMU_READ | VIOMMU_WRITE,
				    .iov = h->iov,
				    .max_iov = 4 };
	rc = viommu_dma_map(&h->d);
	if (rc) {
		free(h);
		return rc;
	}
	scribble(&h->d, thread);
	held_drop(atomic_exchange(&parked, h), thread);
	return 0;
}

static int touch(uint64_t iova, unsigned thread)
{
	struct iovec iov[4];
	struct viommu_dma d = { .ep = ep,
				.iova = iova,
				.len = PAGE / 2,
				.prot = VIOMMU_READ | VIOMMU_WRITE,
				.iov = iov,
				.max_iov = 4 };
	int rc = viommu_dma_map(&d);

	if (rc)
		return rc;
	for (int i = 0; i < 16; i++)
		scribble(&d, thread);
	viommu_dma_unmap(&d, d.len);
	return 0;
}

/* Long enough to be in the way of somebody who did not wait. */
static int copy_out(uint64_t iova, unsigned thread)
{
	unsigned char buf[PAGE / 2 / NDMA];

	memset(buf, (int)thread, sizeof(buf));
	return viommu_dma_write(ep, iova + PAGE / 2 + thread * sizeof(buf), buf,
				sizeof(buf));
}

static int word(uint64_t iova, unsigned thread)
{
	return viommu_dma_store(ep, iova + 8 * thread, 4, thread);
}

static void *dma_thread(void *arg)
{
	static int (*const ways[])(uint64_t, unsigned) = { touch, copy_out,
							   word, hold };
	unsigned thread = (unsigned)(uintptr_t)arg, seed = thread * 7919 + 1;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t iova = (uint64_t)dice(&seed, NPAGES) * PAGE;
		int rc = ways[dice(&seed, 4)](iova, thread);

		if (rc && rc != -EFAULT)
			broken("a refusal that nobody can explain");
		atomic_fetch_add_explicit(rc ? &refused : &done_ok, 1,
					  memory_order_relaxed);
		if (!dice(&seed, 16))
			held_drop(atomic_exchange(&parked, NULL), thread);
	}
	held_drop(atomic_exchange(&parked, NULL), thread);
	return NULL;
}

/* ---- pages ------------------------------------------------------------ */

/* The fence is done: nobody may write here any more. */
static void must_be_quiet(unsigned char *page, unsigned rounds)
{
	memset(page, POISON, PAGE);
	for (unsigned i = 0; i < rounds; i++) {
		for (int j = 0; j < PAGE; j++)
			if (((volatile unsigned char *)page)[j] != POISON)
				broken("a write after the fence was done");
		sched_yield();
	}
}

static unsigned long pages_run(uint64_t until)
{
	void *pages[NPAGES] = { 0 };
	unsigned seed = 42;
	unsigned long n = 0;

	for (; now() < until; n++) {
		unsigned i = dice(&seed, NPAGES);
		void *page = aligned_alloc(PAGE, PAGE);

		memset(page, 0, PAGE);
		unmap_at(space, (uint64_t)i * PAGE);
		if (pages[i])
			must_be_quiet(pages[i], 1);
		free(pages[i]);
		pages[i] = page;
		map_at(space, (uint64_t)i * PAGE, page);
	}
	for (unsigned i = 0; i < NPAGES; i++) {
		unmap_at(space, (uint64_t)i * PAGE);
		free(pages[i]);
	}
	return n;
}

/* ---- tables ----------------------------------------------------------- */

#define MINE   UINT64_C(0x1111111111111111)
#define OTHERS UINT64_C(0x2222222222222222)
#define REGION (UINT64_C(2) << 20) /* what a table of pages spans */

static void *reader_thread(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	uint64_t val;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		uint64_t iova = dice(&seed, 4) * REGION;
		int rc = viommu_dma_load(ep, iova, 8, &val);

		if (!rc && val != MINE)
			broken("an access saw another space's memory");
		atomic_fetch_add_explicit(rc ? &refused : &done_ok, 1,
					  memory_order_relaxed);
	}
	return NULL;
}

/* A page comes and goes in each region in turn: each time the table that was
 * left empty before retires, and enters the other space, same slot. */
static unsigned long tables_run(uint64_t until)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = PAGE };
	uint64_t *mine = aligned_alloc(PAGE, PAGE);
	uint64_t *others = aligned_alloc(PAGE, PAGE);
	struct viommu_space *other;
	struct viommu_fence f;
	unsigned long n = 0;

	for (int i = 0; i < PAGE / 8; i++) {
		mine[i] = MINE;
		others[i] = OTHERS;
	}
	must(viommu_space_create(vi, &sc, &other), "space");
	for (; now() < until; n++) {
		uint64_t at = n % 4 * REGION;

		map_at(space, at, mine);
		map_at(other, at, others);
		unmap_at(space, at);
		map_at(other, at + 4 * REGION, others);
		unmap_at(other, at);
		unmap_at(other, at + 4 * REGION);
	}
	viommu_fence_init(&f);
	viommu_space_destroy(other, &f);
	fence_run(&f);
	atomic_store(&stop, true);
	/* mine is still mapped nowhere; readers may still be refused */
	free(others);
	free(mine);
	return n;
}

/* ---- spaces ----------------------------------------------------------- */

static unsigned long spaces_run(uint64_t until)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = PAGE };
	unsigned long n = 0;
	void *old = NULL;

	for (; now() < until; n++) {
		struct viommu_space *next;
		void *page = aligned_alloc(PAGE, PAGE);
		struct viommu_fence f;

		memset(page, 0, PAGE);
		must(viommu_space_create(vi, &sc, &next), "space");
		for (uint64_t i = 0; i < NPAGES; i++)
			map_at(next, i * PAGE, page);
		viommu_fence_init(&f);
		if (n % 4 == 3)
			viommu_endpoint_detach(ep, &f);
		else
			must(viommu_endpoint_attach(ep, next, &f), "attach");
		viommu_space_destroy(n % 4 == 3 ? next : space, &f);
		if (n % 4 == 3) {
			must(viommu_space_create(vi, &sc, &next), "space");
			viommu_space_destroy(space, &f);
		}
		fence_run(&f);
		space = next;
		if (old)
			must_be_quiet(old, 1);
		free(old);
		if (n % 4 == 3) {
			must_be_quiet(page, 1);
			free(page);
			page = NULL;
		}
		old = page;
	}
	for (uint64_t i = 0; i < NPAGES; i++)
		unmap_at(space, i * PAGE);
	free(old);
	return n;
}

/* ---- memory ----------------------------------------------------------- */

static unsigned long memory_run(uint64_t until)
{
	int fd = memfd_create("race", MFD_CLOEXEC);
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = UINT64_C(1) << 48,
				   .len = NPAGES * PAGE,
				   .prot = VIOMMU_READ | VIOMMU_WRITE,
				   .fd = fd };
	struct viommu_fence f;
	unsigned long n = 0;

	if (fd < 0 || ftruncate(fd, NPAGES * PAGE))
		must(-errno, "memfd");
	for (uint64_t i = 0; i < NPAGES; i++)
		map_at(space, i * PAGE, (void *)(uintptr_t)(r.gpa + i * PAGE));
	for (; now() < until; n++) {
		must(viommu_memory_add(memory, &r), "add");
		for (volatile int i = 0; i < 2000; i++)
			;
		viommu_fence_init(&f);
		must(viommu_memory_remove(memory, r.gpa, r.len, &f), "remove");
		fence_run(&f); /* unmapped from here: a touch is a SIGSEGV */
	}
	close(fd);
	return n;
}

/* ---- the run ---------------------------------------------------------- */

static const struct subject {
	const char *name;
	unsigned long (*run)(uint64_t until);
	void *(*dma)(void *arg);
} subjects[] = {
	{ "pages", pages_run, dma_thread },
	{ "tables", tables_run, reader_thread },
	{ "spaces", spaces_run, dma_thread },
	{ "memory", memory_run, dma_thread },
};

static const struct subject *subject_of(const char *name)
{
	for (size_t i = 0; i < sizeof(subjects) / sizeof(*subjects); i++)
		if (!strcmp(name, subjects[i].name))
			return &subjects[i];
	return NULL;
}

int main(int argc, char *argv[])
{
	const struct subject *s = argc > 1 ? subject_of(argv[1]) : NULL;
	bool asymmetric = argc > 2 && !strcmp(argv[2], "asymmetric");
	double seconds = argc > 3 ? atof(argv[3]) : 2;
	pthread_t t[NDMA];
	unsigned long n;

	if (!s) {
		fprintf(stderr, "usage: race pages|tables|spaces|memory "
				"[fenced|asymmetric] [SECONDS]\n");
		return 2;
	}
	world_make(asymmetric ? VIOMMU_BARRIER_ASYMMETRIC
			      : VIOMMU_BARRIER_FENCED);
	for (uintptr_t i = 0; i < NDMA; i++)
		pthread_create(&t[i], NULL, s->dma, (void *)i);
	n = s->run(now() + (uint64_t)(seconds * (double)NS));
	atomic_store(&stop, true);
	for (int i = 0; i < NDMA; i++)
		pthread_join(t[i], NULL);
	held_drop(atomic_exchange(&parked, NULL), 0);
	world_free();
	printf("%s, %s: %lu rounds, %lu accesses done, %lu refused\n", s->name,
	       asymmetric ? "asymmetric" : "fenced", n, atomic_load(&done_ok),
	       atomic_load(&refused));
	/* a race nobody ran in proves nothing */
	if (n < 10 || !atomic_load(&done_ok)) {
		fprintf(stderr, "nothing happened\n");
		return 2;
	}
	return 0;
}
