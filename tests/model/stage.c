/* SPDX-License-Identifier: BSD-2-Clause */
#include "stage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "schedule.h"
#include "steps.h"

enum {
	ARENA = 1 << 20,
	GRAIN = 64,
};

struct stage stage;
enum viommu_barrier stage_barrier;

/* ---- what the library allocates ----------------------------------------- */

static char arena[ARENA] __attribute__((aligned(4096)));
static bool dead[ARENA / GRAIN];
static size_t used;

static size_t *size_of(void *p)
{
	return (size_t *)(void *)((char *)p - GRAIN);
}

static void *arena_alloc(void *arg, size_t size, size_t align)
{
	size_t at = used + GRAIN;

	(void)arg;
	align = align < GRAIN ? GRAIN : align;
	at = (at + align - 1) / align * align;
	used = at + (size + GRAIN - 1) / GRAIN * GRAIN;
	if (used > ARENA)
		abort();
	*size_of(arena + at) = size;
	return arena + at;
}

static void arena_free(void *arg, void *p)
{
	size_t from = (size_t)((char *)p - arena) / GRAIN;
	size_t n = (*size_of(p) + GRAIN - 1) / GRAIN;

	(void)arg;
	sched_freed(p, *size_of(p));
	memset(&dead[from], 1, n);
}

static const char *arena_wrong(const volatile void *p)
{
	const volatile char *c = p;

	if (c < arena || c >= arena + ARENA)
		return NULL;
	return dead[(c - arena) / GRAIN] ? "what was freed is touched" : NULL;
}

static uint64_t clock_hook(void *arg)
{
	(void)arg;
	return sched_clock();
}

/* ---- the set ------------------------------------------------------------ */

void must(int rc, const char *what)
{
	if (rc)
		sched_fail("%s: %s", what, strerror(-rc));
}

static void fault(void *arg, const struct viommu_fault *f)
{
	(void)arg;
	(void)f;
	stage.handling++;
	sched_set(&stage.word[3], 1);
	/* the endpoint is there as long as this runs */
	sched_touch(&stage.ep);
	stage.handling--;
	stage.handled++;
}

static void memory_make(void)
{
	struct viommu_region r = { .size = sizeof(r),
				   .len = sizeof(stage.page),
				   .host = stage.page,
				   .prot = VIOMMU_READ | VIOMMU_WRITE,
				   .fd = -1 };

	must(viommu_memory_add(viommu_memory_of(stage.vi), &r), "memory");
}

static struct viommu_space *space_make(unsigned first)
{
	struct viommu_space_config c = { .size = sizeof(c),
					 .page_sizes = PAGE };
	struct viommu_space *s;

	must(viommu_space_create(stage.vi, &c, &s), "space");
	for (unsigned i = 0; i < PAGES; i++) {
		struct viommu_mapping m = {
			.start = IOVA(i),
			.last = IOVA(i + 1) - 1,
			.gpa = IOVA(first + i),
			.prot = VIOMMU_READ | VIOMMU_WRITE,
		};

		must(viommu_space_map(s, &m), "map");
	}
	return s;
}

static void objects_name(void)
{
	static const char *const names[2 * PAGES] = {
		"page 0", "page 1", "page 2", "page 3",
		"page 4", "page 5", "page 6", "page 7",
	};

	for (unsigned i = 0; i < 2 * PAGES; i++)
		sched_object(stage.page[i], PAGE, names[i]);
	for (unsigned i = 0; i < 3; i++) {
		sched_object(&stage.holder[i].d, sizeof(struct viommu_dma),
			     "a map's handle");
		sched_object(&stage.taker[i].f, sizeof(struct viommu_fence),
			     "a fence");
	}
	/* stands for it: its own storage is the arena's */
	sched_object(&stage.ep, sizeof(stage.ep), "the endpoint");
}

void stage_set(void)
{
	static const struct viommu_env env = { .size = sizeof(env),
					       .alloc = arena_alloc,
					       .free = arena_free,
					       .clock = clock_hook };
	struct viommu_config c = { .size = sizeof(c),
				   .env = &env,
				   .barrier = stage_barrier,
				   .max_threads = 4 };
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = 1,
					     .fault = fault };
	struct viommu_fence f;

	memset(dead, 0, used / GRAIN + 1);
	used = 0;
	memset((char *)&stage + sizeof(stage.page), 0,
	       sizeof(stage) - sizeof(stage.page));
	objects_name();
	sched_wrong = arena_wrong;
	must(viommu_create(&c, &stage.vi), "create");
	memory_make();
	stage.a = space_make(0);
	stage.b = space_make(PAGES);
	must(viommu_endpoint_create(stage.vi, &ec, &stage.ep), "endpoint");
	viommu_fence_init(&f);
	must(viommu_endpoint_attach(stage.ep, stage.a, &f), "attach");
	viommu_fence_commit(&f, NULL, NULL);
}

void stage_check(void)
{
	struct viommu_stats s;
	struct viommu_fence f;

	for (unsigned i = 0; i < 3; i++) {
		struct taker *t = &stage.taker[i];

		if (t->committed && !t->done)
			sched_fail("fence %u was forgotten", i);
		if (stage.holder[i].held)
			sched_fail("the scenario did not let go");
	}
	viommu_read_stats(stage.vi, &s);
	if (s.fences_pending)
		sched_fail("fences are pending, by the counter");
	viommu_fence_init(&f);
	if (stage.ep)
		viommu_endpoint_destroy(stage.ep, &f);
	if (stage.other)
		viommu_endpoint_destroy(stage.other, &f);
	viommu_space_destroy(stage.a, &f);
	viommu_space_destroy(stage.b, &f);
	viommu_fence_commit(&f, NULL, NULL);
	if (!viommu_fence_done(&f))
		sched_fail("a pin was left behind");
	viommu_destroy(stage.vi);
}

void sit(void)
{
	access_load(3);
}

/* ---- taking ------------------------------------------------------------- */

static void taken(struct viommu_fence *f, void *arg)
{
	struct taker *t = arg;

	(void)f;
	if (t->done)
		sched_fail("a fence is done twice");
	/* L3: from here on nobody may */
	for (unsigned i = 0; i < 2 * PAGES; i++)
		if (t->pages & (1u << i))
			sched_object_dies(stage.page[i]);
	/* the storage is the caller's again */
	sched_object_dies(&t->f);
	if (t->then)
		t->then();
	sched_set(&t->done, 1);
}

void take_init(struct taker *t, unsigned pages)
{
	viommu_fence_init(&t->f);
	t->pages = pages;
}

void take_commit(struct taker *t)
{
	t->committed = true;
	t->since = sched_clock();
	viommu_fence_commit(&t->f, taken, t);
}

void take_page(struct taker *t, unsigned i)
{
	take_init(t, 1u << i);
	if (viommu_space_unmap(stage.a, IOVA(i), IOVA(i + 1) - 1, &t->f) < 0)
		sched_fail("unmap failed");
	take_commit(t);
}

/* ---- DMA ---------------------------------------------------------------- */

int hold(struct holder *h, unsigned i, viommu_revoke_fn *revoke)
{
	int rc;

	h->d = (struct viommu_dma){
		.ep = stage.ep,
		.iova = IOVA(i),
		.len = 8,
		.prot = VIOMMU_READ | VIOMMU_WRITE,
		.iov = h->iov,
		.max_iov = 4,
		.revoke = revoke,
		.arg = h,
	};
	h->asked = 0;
	h->gone = false;
	rc = viommu_dma_map(&h->d);
	if (!rc)
		sched_set(&h->held, 1);
	else if (rc != -EFAULT && rc != -EIO)
		sched_fail("map: %s", strerror(-rc));
	return rc;
}

void use(struct holder *h)
{
	sched_touch(h->iov[0].iov_base);
}

void let_go(struct holder *h)
{
	use(h);
	h->held = 0;
	viommu_dma_unmap(&h->d, 0);
	h->gone = true;
	sched_object_dies(&h->d);
}

void asked(struct viommu_dma *d)
{
	struct holder *h = d->arg;

	if (h->gone)
		sched_fail("asked after unmap returned");
	if (sched_get(&h->asked))
		sched_fail("asked twice");
	sched_set(&h->asked, 1);
}

void access_done(int rc)
{
	if (rc && rc != -EFAULT && rc != -EIO)
		sched_fail("access: %s", strerror(-rc));
}

void access_store(unsigned i)
{
	access_done(viommu_dma_store(stage.ep, IOVA(i), 8, 1));
}

void access_load(unsigned i)
{
	uint64_t val;

	access_done(viommu_dma_load(stage.ep, IOVA(i), 8, &val));
}
