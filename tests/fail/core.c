/* SPDX-License-Identifier: BSD-2-Clause */
#include "core.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc.h"
#include "core/endpoint.h"
#include "core/instance.h"
#include "core/memory.h"
#include "core/space.h"

enum {
	RAM = 1 << 20,
	FILE_LEN = 1 << 16,
};

enum {
	RW = VIOMMU_READ | VIOMMU_WRITE,
	BY_FD = 1 << 30, /* a region's prot */
};

#define GIGA (UINT64_C(1) << 30)

/* the second is where memory is moved to */
static unsigned char ram[RAM], spare[RAM];
static int file = -1;

void fence_run(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(f, 10000000000), 0);
}

static void count_fault(void *arg, const struct viommu_fault *fault)
{
	struct world *w = arg;

	(void)fault;
	w->faults++;
}

static void count_miss(void *arg, const struct viommu_miss *m)
{
	struct world *w = arg;

	(void)m;
	w->asked++;
}

static void count_settled(void *arg, const struct viommu_miss *m, int rc)
{
	struct world *w = arg;

	(void)m;
	(void)rc;
	w->settled++;
}

/* ---- steps ------------------------------------------------------------ */

static int instance(struct world *w, const struct step *s)
{
	struct viommu_config c = { .size = sizeof(c),
				   .env = &alloc_env,
				   .barrier = w->barrier,
				   .max_threads = 2 };
	int rc = viommu_create(&c, &w->vi);

	(void)s;
	if (!rc)
		w->mem[MEM_0] = viommu_memory_of(w->vi);
	return rc;
}

static int memory(struct world *w, const struct step *s)
{
	return viommu_memory_create(w->vi, &w->mem[s->obj]);
}

/* By pointer, @target is an offset in ram; by fd, in the file. */
static int region(struct world *w, const struct step *s)
{
	struct viommu_region r = {
		.size = sizeof(r),
		.gpa = s->start,
		.len = s->last - s->start + 1,
		.prot = s->prot & RW,
		.fd = -1,
	};

	if (s->prot & BY_FD) {
		r.fd = file;
		r.fd_offset = s->target;
	} else {
		r.host = ram + s->target;
	}
	return viommu_memory_add(w->mem[s->obj], &r);
}

static int space(struct world *w, const struct step *s)
{
	struct viommu_space_config c = {
		.size = sizeof(c),
		.kind = s->obj == IDENTITY ? VIOMMU_SPACE_IDENTITY
					   : VIOMMU_SPACE_MAPPED,
		.policy = s->obj == SPLITS ? VIOMMU_SPACE_SPLIT
					   : VIOMMU_SPACE_REFUSE,
		.page_sizes = s->target,
	};

	if (s->obj == ASKS) {
		c.kind = VIOMMU_SPACE_REMOTE;
		c.miss = count_miss;
		c.settled = count_settled;
		c.arg = w;
	}
	return viommu_space_create(w->vi, &c, &w->space[s->obj]);
}

static int endpoint(struct world *w, const struct step *s)
{
	struct viommu_endpoint_config c = {
		.size = sizeof(c),
		.id = s->obj,
		.pasid = s->obj == EP_LOOSE ? 7 : VIOMMU_NO_PASID,
		.memory = s->obj == EP_IDENTITY ? w->mem[MEM_1] : NULL,
		.fault = count_fault,
		.arg = w,
	};

	return viommu_endpoint_create(w->vi, &c, &w->ep[s->obj]);
}

static int attach(struct world *w, const struct step *s)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_endpoint_attach(w->ep[s->obj], w->space[s->target], &f);
	fence_run(&f);
	return rc;
}

static int reserve(struct world *w, const struct step *s)
{
	return viommu_endpoint_reserve(
		w->ep[s->obj],
		&(struct viommu_reserved){ .start = s->start,
					   .last = s->last,
					   .kind = VIOMMU_RESERVED_MSI });
}

static int map(struct world *w, const struct step *s)
{
	return viommu_space_map(w->space[s->obj],
				&(struct viommu_mapping){ .start = s->start,
							  .last = s->last,
							  .gpa = s->target,
							  .prot = s->prot });
}

/* Of @target pages each, the second follows the first in memory, too. */
static int map_list(struct world *w, const struct step *s)
{
	uint64_t len = s->target * 4096;
	const struct viommu_segment list[] = { { 0, len },
					       { len, len },
					       { TERA, len } };

	return viommu_space_map_list(w->space[s->obj], s->start, s->prot, list,
				     3);
}

static int remap(struct world *w, const struct step *s)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_space_remap(w->space[s->obj],
				&(struct viommu_mapping){ .start = s->start,
							  .last = s->last,
							  .gpa = s->target,
							  .prot = s->prot },
				&f);
	fence_run(&f);
	return rc;
}

static int invalidate(struct world *w, const struct step *s)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_space_invalidate(w->space[s->obj], s->start, s->last, &f);
	fence_run(&f);
	return rc;
}

static int log_start(struct world *w, const struct step *s)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_memory_dirty_start(w->mem[s->obj], s->target, &f);
	fence_run(&f);
	return rc;
}

static int log_stop(struct world *w, const struct step *s)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_memory_dirty_stop(w->mem[s->obj], &f);
	fence_run(&f);
	return 0;
}

static int unmap(struct world *w, const struct step *s)
{
	struct viommu_fence f;
	int64_t n;

	viommu_fence_init(&f);
	n = viommu_space_unmap(w->space[s->obj], s->start, s->last, &f);
	fence_run(&f);
	return n < 0 ? (int)n : n > 0 ? 0 : -ENOENT;
}

static int region_remove(struct world *w, const struct step *s)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_memory_remove(w->mem[s->obj], s->start,
				  s->last - s->start + 1, &f);
	fence_run(&f);
	return rc;
}

static int give_up(struct world *w, const struct step *s)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_memory_give_up(w->mem[s->obj], s->start,
				   s->last - s->start + 1, &f);
	fence_run(&f);
	return rc;
}

static void moved(void *arg, int rc)
{
	*(int *)arg = rc;
}

/* As region(), but to the spare memory. */
static int move(struct world *w, const struct step *s)
{
	int rc, over = 1;
	struct viommu_move m = {
		.size = sizeof(m),
		.to = { .size = sizeof(m.to),
			.gpa = s->start,
			.len = s->last - s->start + 1,
			.prot = s->prot & RW,
			.fd = -1 },
		.moved = moved,
		.arg = &over,
	};
	struct viommu_fence f;

	if (s->prot & BY_FD) {
		m.to.fd = file;
		m.to.fd_offset = s->target;
	} else {
		m.to.host = spare + s->target;
	}
	viommu_fence_init(&f);
	rc = viommu_memory_move(w->mem[s->obj], &m, &f);
	fence_run(&f);
	/* under way is over, since nobody uses it */
	assert_int_equal(over, rc ? 1 : 0);
	return rc;
}

static const struct step steps[] = {
	{ "instance", instance, 0, 0, 0, 0, 0 },

	/* a tree of GPAs counts bytes: each edge goes down to its bottom */
	{ "region", region, MEM_0, 0, 0xfffff, 0, RW },
	{ "region, both edges", region, MEM_0, 0x7654321, 0x76bcdef, 0x10001,
	  VIOMMU_READ },
	{ "region, far up", region, MEM_0, TERA + 5, TERA + 5, 99, RW },
	{ "region, the last byte", region, MEM_0, TOP - 4095, TOP, 4096, RW },
	{ "region of a file", region, MEM_0, 0x10000000, 0x1000ffff, 0,
	  RW | BY_FD },
	{ "region of the same file", region, MEM_0, 0x20000000, 0x20000fff,
	  0x801, RW | BY_FD },
	{ "memory", memory, MEM_1, 0, 0, 0, 0 },
	{ "region of the same file, elsewhere", region, MEM_1, 0x3000, 0x3fff,
	  0x2000, RW | BY_FD },
	{ "region over another's hole", region, MEM_1, 1, 0x2ffe, 0x1000, RW },

	{ "space of pages", space, PAGES, 0, 0, ~UINT64_C(0xfff), 0 },
	{ "space of bytes", space, BYTES, 0, 0, 1, 0 },
	{ "space of large pages", space, LARGE, 0, 0, 1 << 30, 0 },
	{ "identity space", space, IDENTITY, 0, 0, 4096, 0 },

	{ "endpoint", endpoint, EP_PAGES, 0, 0, 0, 0 },
	{ "endpoint", endpoint, EP_BYTES, 0, 0, 0, 0 },
	{ "endpoint of another memory", endpoint, EP_IDENTITY, 0, 0, 0, 0 },
	{ "endpoint with a PASID", endpoint, EP_LOOSE, 0, 0, 0, 0 },
	{ "reserve", reserve, EP_PAGES, 0xfee00000, 0xfeefffff, 0, 0 },
	{ "reserve, before", reserve, EP_PAGES, 0x100, 0x1ff, 0, 0 },
	{ "attach", attach, EP_PAGES, 0, 0, PAGES, 0 },
	{ "attach", attach, EP_BYTES, 0, 0, BYTES, 0 },
	{ "attach", attach, EP_IDENTITY, 0, 0, IDENTITY, 0 },
	{ "reserve, attached", reserve, EP_PAGES, 0x200, 0x2ff, 0, 0 },
	{ "reserve the last byte", reserve, EP_LOOSE, TOP, TOP, 0, 0 },

	{ "map a page", map, PAGES, 0x1000, 0x1fff, 0, RW },
	{ "map the next", map, PAGES, 0x2000, 0x2fff, 0x8000, VIOMMU_READ },
	{ "map over two tables", map, PAGES, 0x3ff000, 0x400fff, 0x1000, RW },
	{ "map 2 MiB", map, PAGES, 0x800000, 0x9fffff, 0, RW },
	{ "map, both edges", map, PAGES, 0x3ffff000, 0xc0000fff, TERA - 4096,
	  RW },
	{ "map, the tree grows", map, PAGES, 5 * TERA + 0x1000,
	  5 * TERA + 0x1fff, 0, RW },
	{ "map, it grows, both edges", map, PAGES, TERA * 512 - 0x1000,
	  TERA * 5000 + 0xfff, 0x3000, RW },
	{ "map the last page", map, PAGES, TOP - 4095, TOP, 0, RW },
	{ "unmap in the middle", unmap, PAGES, 0x800000, 0x9fffff, 0, 0 },
	{ "unmap with tables", unmap, PAGES, 0x3ff000, 0xc0000fff, 0, 0 },
	{ "map there again", map, PAGES, 0x3ffff000, 0xc0000fff, 0x5000, RW },

	{ "map the last byte first", map, BYTES, TOP, TOP, 0x42, RW },
	{ "map a byte", map, BYTES, 1, 1, 3, RW },
	{ "map bytes, both edges", map, BYTES, 0x12345, TERA + 0x4321, 0x11,
	  RW },
	{ "unmap bytes", unmap, BYTES, 2, TERA * 2, 0, 0 },
	{ "map half of everything", map, BYTES, 2, TOP / 2 - 1, 4, RW },

	{ "map large pages", map, LARGE, 7 * TERA, 9 * TERA - 1, TERA, RW },
	{ "unmap large pages", unmap, LARGE, 0, TOP, 0, 0 },
	{ "map everything", map, LARGE, 0, TOP, 0, RW },

	{ "space that splits", space, SPLITS, 0, 0, ~UINT64_C(0xfff), 0 },
	{ "endpoint", endpoint, EP_SPLITS, 0, 0, 0, 0 },
	{ "attach", attach, EP_SPLITS, 0, 0, SPLITS, 0 },
	{ "map to be cut", map, SPLITS, 0, GIGA - 1, 0, RW },
	{ "unmap, cut in the middle", unmap, SPLITS, 0x5000, 0x5fff, 0, 0 },
	{ "unmap, cut in two leaves", unmap, SPLITS, 0x10001000, 0x20001fff, 0,
	  0 },
	{ "remap in the middle", remap, SPLITS, 0x30006000, 0x30006fff,
	  0x100000, RW },
	{ "remap over leaves and a hole", remap, SPLITS, 0x3000, 0x20800fff,
	  0x5000, VIOMMU_READ },
	{ "remap nothing", remap, SPLITS, 6 * TERA, 6 * TERA + 0x1fff, 0, RW },
	{ "map a list", map_list, SPLITS, TERA + 0x3fffd000, 0, 2, RW },
	{ "map a long list", map_list, SPLITS, 7 * TERA + 0x1000, 0, 1 << 20,
	  VIOMMU_READ },
	{ "unmap nothing that is cut", unmap, SPLITS, TERA, 8 * TERA, 0, 0 },

	{ "map apart", map, SPLITS, TERA, TERA + 0xfff, 0x3000, RW },
	{ "map apart, the next", map, SPLITS, TERA + 0x1000, TERA + 0x1fff,
	  0x1000, RW },

	{ "space that asks", space, ASKS, 0, 0, ~UINT64_C(0xfff), 0 },
	{ "endpoint", endpoint, EP_ASKS, 0, 0, 0, 0 },
	{ "attach", attach, EP_ASKS, 0, 0, ASKS, 0 },
	{ "map before it asks", map, ASKS, 0x1000, 0x1fff, 0, RW },
	{ "remap an answer", remap, ASKS, 0x1000, 0x2fff, 0x8000, RW },
	{ "map an answer", map, ASKS, GIGA, 2 * GIGA - 1, 0, RW },
	{ "forget", invalidate, ASKS, 0x1000, 0x2fff, 0, 0 },

	{ "log", log_start, MEM_0, 0, 0, 0, 0 },
	{ "region, logged", region, MEM_0, 3 * TERA, 3 * TERA + 0xffff, 0, RW },
	{ "region, logged at two places", region, MEM_0, 3 * TERA + 0xfff800,
	  3 * TERA + 0x1000fff, 7, RW },
	{ "remove a region, logged", region_remove, MEM_0, 3 * TERA,
	  3 * TERA + 0x1ffffff, 0, 0 },
	{ "stop the log", log_stop, MEM_0, 0, 0, 0, 0 },
	{ "log again", log_start, MEM_0, 0, 0, 0x10000, 0 },
	{ "log another memory", log_start, MEM_1, 0, 0, 0x1000, 0 },

	{ "region, to be cut", region, MEM_0, 4 * TERA + 0x1000,
	  4 * TERA + 0x40fff, 0x3000, RW },
	{ "give up, in the middle", give_up, MEM_0, 4 * TERA + 0x5123,
	  4 * TERA + 0x6456, 0, 0 },
	{ "give up, at an edge", give_up, MEM_0, 4 * TERA, 4 * TERA + 0x1fff, 0,
	  0 },
	{ "give up, two and a hole", give_up, MEM_0, 4 * TERA + 0x5100,
	  4 * TERA + 0x70ff, 0, 0 },
	{ "give up some of a file", give_up, MEM_0, 0x10002001, 0x10002fff, 0,
	  0 },
	{ "move, in the middle", move, MEM_0, 4 * TERA + 0x10321,
	  4 * TERA + 0x1ffff, 0x10321, RW },
	{ "move, two into one", move, MEM_0, 4 * TERA + 0x1f000,
	  4 * TERA + 0x207ff, 0x30000, RW },
	{ "move all of one", move, MEM_1, 0x3000, 0x3fff, 0x50000, RW },
	{ "move into a file", move, MEM_0, 4 * TERA + 0x20000,
	  4 * TERA + 0x20fff, 0x1234, RW | BY_FD },
	{ "move out of it", move, MEM_0, 4 * TERA + 0x20800, 4 * TERA + 0x20fff,
	  0x60000, VIOMMU_READ },
	{ "remove what is left", region_remove, MEM_0, 4 * TERA,
	  4 * TERA + 0xfffff, 0, 0 },

	{ "remove a region", region_remove, MEM_0, 0x7654321, 0x76bcdef, 0, 0 },
	{ "region there again", region, MEM_0, 0x7654321, 0x76bcdef, 0x10001,
	  RW },
};

/* Many regions. */
void core_init(struct world *w, uint32_t barrier)
{
	size_t n = sizeof(steps) / sizeof(steps[0]);

	if (file < 0)
		file = memfd_create("ram", MFD_CLOEXEC);
	assert_int_equal(ftruncate(file, FILE_LEN), 0);
	_Static_assert(sizeof(steps) / sizeof(steps[0]) < STEPS - 26,
		       "more than 32 regions");
	for (unsigned i = 0; i < RAM; i++)
		ram[i] = (unsigned char)(i / 11);
	memset(w, 0, sizeof(*w));
	w->barrier = barrier;
	memcpy(w->step, steps, sizeof(steps));
	for (uint64_t i = 0; n < STEPS; i++)
		w->step[n++] = (struct step){
			.name = "one region more",
			.run = region,
			.obj = MEM_0,
			.start = TERA * 2 + i * 4096,
			.last = TERA * 2 + i * 4096 + 9,
			.target = i,
			.prot = RW,
		};
	w->nsteps = (unsigned)n;
}

const char *core_name(void *world, unsigned i)
{
	return ((struct world *)world)->step[i].name;
}

int core_step(void *world, unsigned i)
{
	struct world *w = world;

	return w->step[i].run(w, &w->step[i]);
}

/* ---- looking ---------------------------------------------------------- */

static void look_stats(struct world *w, struct view *v)
{
	struct viommu_stats s;

	viommu_read_stats(w->vi, &s);
	view_say(v,
		 "accesses %" PRIu64 " maps %" PRIu64 " faults %" PRIu64
		 " mapped %" PRIu64 " unmapped %" PRIu64 " mappings %" PRIu64
		 " fences %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
		 s.accesses, s.maps, s.faults, s.mapped, s.unmapped, s.mappings,
		 s.fences, s.fences_waited, s.fences_pending);
}

/* Tables in the tree, and those that left it and wait for a fence. */
static uint64_t tables_of(const struct vi_radix *r)
{
	uint64_t n = r->tables;

	for (const struct vi_retire *l = r->limbo; l; l = l->next)
		n++;
	return n;
}

/* The instance's books, less what is entered there for somebody who is seen
 * here: a failure may leave a space with credit, but not the instance. */
static void look_books(struct world *w, struct view *v) VI_NO_ANALYSIS
{
	uint64_t mappings = atomic_load(&w->vi->mappings);
	uint64_t tables = w->vi->tables.out;
	bool logs = false;

	for (unsigned i = 0; i < SPACES; i++) {
		const struct viommu_space *s = w->space[i];

		if (!s)
			continue;
		mappings -= s->mapped - s->unmapped + s->credit;
		tables -= tables_of(&s->table);
	}
	for (unsigned i = 0; i < MEMS; i++) {
		if (!w->mem[i])
			continue;
		tables -= tables_of(&w->mem[i]->table);
		logs = logs || atomic_load(&w->mem[i]->dirty);
	}
	if (logs) /* which have tables of their own */
		tables = 0;
	view_say(v, "%" PRIu64 " mappings, %" PRIu64 " tables of nobody\n",
		 mappings, tables);
}

/* But table_bytes: a tree may keep a table or two that it took for nothing. */
static void look_space_stats(const struct world *w, unsigned i, struct view *v)
{
	struct viommu_space_stats s;

	viommu_space_read_stats(w->space[i], &s);
	view_say(v,
		 "space %u: mappings %" PRIu64 " bytes %" PRIu64
		 " mapped %" PRIu64 " unmapped %" PRIu64 " splits %" PRIu64
		 " misses %" PRIu64 "\n",
		 i, s.mappings, s.bytes, s.mapped, s.unmapped, s.splits,
		 s.misses);
}

static void look_log(struct world *w, unsigned i, struct view *v)
{
	uint64_t bits;

	view_say(v, "memory %u: log %" PRId64 "\n", i,
		 viommu_memory_dirty_fetch(w->mem[i], 0, 0x10000, &bits));
}

/* A byte at each edge of each region, and beside it. */
static void look_region(struct world *w, const struct step *s, struct view *v)
{
	const uint64_t at[] = { s->start - 1, s->start, s->last, s->last + 1 };

	if (!w->mem[s->obj])
		return;
	for (int i = 0; i < 4; i++) {
		unsigned char byte = 0;
		int rc = viommu_memory_read(w->mem[s->obj], at[i], &byte, 1);

		view_say(v, "memory %u: %" PRIx64 " holds %02x (%d)\n", s->obj,
			 at[i], byte, rc);
	}
}

/* Where they are, if that is the same in each run: a file is not. */
static void look_regions(struct world *w, unsigned i, struct view *v)
{
	struct viommu_region r = { .size = sizeof(r) };
	uint64_t at = 0;

	do {
		const unsigned char *host;
		unsigned char first = 0, last = 0;

		if (viommu_memory_next(w->mem[i], at, &r))
			return;
		host = r.host;
		if (r.prot & VIOMMU_READ) {
			first = host[0];
			last = host[r.len - 1];
		}
		view_say(v,
			 "memory %u: region %" PRIx64 " %" PRIx64
			 " %x at %s, %02x to %02x\n",
			 i, r.gpa, r.len, r.prot,
			 host >= ram && host < ram + RAM       ? "ram"
			 : host >= spare && host < spare + RAM ? "spare"
							       : "file",
			 first, last);
		at = r.gpa + r.len;
	} while (at);
}

/* By the endpoints that see @s. */
static void look_translate(struct world *w, const struct viommu_space *s,
			   uint64_t iova, struct view *v)
{
	struct viommu_mapping m;

	for (int i = 0; i < EPS; i++) {
		if (!w->ep[i] || atomic_load(&w->ep[i]->space) != s)
			continue;
		memset(&m, 0, sizeof(m));
		view_say(v, "endpoint %d: %" PRIx64 " (%d)", i, iova,
			 viommu_dma_translate(w->ep[i], iova, 0, &m));
		view_say(v,
			 " is in %" PRIx64 "-%" PRIx64 " at %" PRIx64 " %x\n",
			 m.start, m.last, m.gpa, m.prot);
	}
}

static void look_space(struct world *w, unsigned i, struct view *v)
{
	struct viommu_mapping m;
	uint64_t from = 0;

	look_space_stats(w, i, v);
	while (!viommu_space_next(w->space[i], from, &m)) {
		view_say(v, "%" PRIx64 "-%" PRIx64 " at %" PRIx64 " %x\n",
			 m.start, m.last, m.gpa, m.prot);
		look_translate(w, w->space[i], m.start - 1, v);
		look_translate(w, w->space[i], m.start, v);
		look_translate(w, w->space[i], m.last, v);
		from = m.last + 1;
		if (!from)
			return;
		look_translate(w, w->space[i], from, v);
	}
}

static void look_endpoint(struct world *w, unsigned i, struct view *v)
{
	struct viommu_endpoint_stats s;
	struct viommu_reserved r;
	uint64_t from = 0;

	viommu_endpoint_read_stats(w->ep[i], &s);
	view_say(v, "endpoint %u: faults %" PRIu64 " attaches %" PRIu64 "\n", i,
		 s.faults, s.attaches);
	while (!viommu_endpoint_next_reserved(w->ep[i], from, &r)) {
		view_say(v, "reserved %" PRIx64 "-%" PRIx64 " %u\n", r.start,
			 r.last, r.kind);
		from = r.last + 1;
		if (!from)
			return;
	}
}

void core_look(void *world, unsigned upto, struct view *v)
{
	struct world *w = world;

	(void)upto;
	view_say(v, "instance %d\n", w->vi != NULL);
	if (!w->vi)
		return;
	look_stats(w, v);
	look_books(w, v);
	for (unsigned i = 0; i < MEMS; i++)
		if (w->mem[i])
			look_log(w, i, v);
	for (unsigned i = 0; i < MEMS; i++)
		if (w->mem[i])
			look_regions(w, i, v);
	for (unsigned i = 0; i < w->nsteps; i++)
		if (w->step[i].run == region)
			look_region(w, &w->step[i], v);
	for (unsigned i = 0; i < SPACES; i++)
		if (w->space[i])
			look_space(w, i, v);
	for (unsigned i = 0; i < EPS; i++) {
		view_say(v, "endpoint %u found: %d\n", i,
			 viommu_endpoint_find(
				 w->vi, i,
				 i == EP_LOOSE ? 7 : VIOMMU_NO_PASID) != NULL);
		if (w->ep[i])
			look_endpoint(w, i, v);
	}
}

void core_teardown(void *world)
{
	struct world *w = world;
	struct viommu_fence f;

	viommu_fence_init(&f);
	for (int i = 0; i < EPS; i++)
		if (w->ep[i])
			viommu_endpoint_destroy(w->ep[i], &f);
	for (int i = 0; i < SPACES; i++)
		if (w->space[i])
			viommu_space_destroy(w->space[i], &f);
	if (w->mem[MEM_1])
		viommu_memory_destroy(w->mem[MEM_1], &f);
	fence_run(&f);
	viommu_destroy(w->vi);
	memset(w, 0, offsetof(struct world, barrier));
	/* what moved was written there */
	assert_int_equal(ftruncate(file, 0), 0);
	assert_int_equal(ftruncate(file, FILE_LEN), 0);
	memset(spare, 0, sizeof(spare));
}
