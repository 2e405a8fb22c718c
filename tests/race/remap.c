/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * remap: three fields of cells, of which any run is remapped in one step: small
 * cells below one table; small cells where two tables meet; and large ones, in
 * two huge leaves that come and go.
 *
 * A cell's header is its stamp and the run it was mapped with.  An access is
 * never refused; sees in each cell what the last commit before it put there or
 * newer; and where it sees one cell of a run, sees no older one in the others.
 */
#include "race.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	MOST = 64,  /* cells of a field */
	RING = 16,  /* fields' worth of memory, used in turn */
	WHOLE = 12, /* after so many remaps at most all cells are new */
};

struct header {
	uint64_t stamp, first, last;
};

static struct field {
	uint64_t granule, cell, base;
	unsigned ncells;
	bool copied; /* by reads of whole cells: so nobody writes there */

	struct viommu_space *space;
	struct viommu_endpoint *ep;
	char *memory;
	unsigned at;   /* in memory, in cells */
	unsigned runs; /* since all cells were new */
	uint64_t n;
	char *cells[MOST];
	_Atomic(uint64_t) committed[MOST];
} fields[] = {
	{ .granule = 256, .cell = 256, .base = 0, .ncells = 16 },
	{ .granule = 256,
	  .cell = 256,
	  .base = 256 * 504,
	  .ncells = 16,
	  .copied = true },
	{ .granule = PAGE, .cell = 65536, .base = 0, .ncells = 64 },
};

enum {
	NFIELDS = sizeof(fields) / sizeof(*fields)
};

/* Headers of small cells are followed by the workers' words. */
enum {
	WORDS = 128
};

static void cell_poison(const struct field *fl, char *cell)
{
	poison(cell, fl->cell > PAGE ? PAGE : fl->cell);
}

/* Memory for a run: nobody has written to it since it was poisoned. */
static char *run_fill(struct field *fl, unsigned first, unsigned last)
{
	unsigned n = last - first + 1;
	char *run;

	if (fl->at + n > RING * fl->ncells)
		fl->at = 0;
	run = fl->memory + fl->at * fl->cell;
	fl->at += n;
	fl->n++;
	for (unsigned i = first; i <= last; i++) {
		char *cell = run + (i - first) * fl->cell;
		struct header *h = (void *)cell;

		must_be_poison(cell, fl->cell > PAGE ? PAGE : fl->cell);
		*h = (struct header){ .stamp = stamp_of(i, fl->n),
				      .first = first,
				      .last = last };
	}
	return run;
}

/* They are in place: what they replaced goes. */
static void run_done(struct field *fl, unsigned first, unsigned last, char *run)
{
	for (unsigned i = first; i <= last; i++) {
		if (fl->cells[i])
			cell_poison(fl, fl->cells[i]);
		fl->cells[i] = run + (i - first) * fl->cell;
	}
}

static void remap(struct field *fl, unsigned first, unsigned last)
{
	char *run = run_fill(fl, first, last);
	struct viommu_mapping m = {
		.start = fl->base + first * fl->cell,
		.last = fl->base + (last + 1) * fl->cell - 1,
		.gpa = (uintptr_t)run,
		.prot = RW,
	};
	struct viommu_fence f;

	viommu_fence_init(&f);
	must(viommu_space_remap(fl->space, &m, &f), "remap");
	me->did.mapped++;
	me->did.unmapped++;
	fence_commit(&f, NULL, NULL);
	for (unsigned i = first; i <= last; i++)
		atomic_store(&fl->committed[i], fl->n);
	fence_wait(&f);
	run_done(fl, first, last, run);
}

static void field_open(struct field *fl, uint32_t id)
{
	fl->space = space_make(fl->granule, VIOMMU_SPACE_SPLIT);
	fl->ep = endpoint_make(id, fl->space);
	fl->at = fl->runs = 0;
	fl->n = 0;
	memset(fl->cells, 0, sizeof(fl->cells));
	fl->memory = aligned_alloc(PAGE, RING * fl->ncells * fl->cell);
	if (!fl->memory)
		must(-ENOMEM, "memory");
	for (unsigned i = 0; i < RING * fl->ncells; i++)
		cell_poison(fl, fl->memory + i * fl->cell);
	remap(fl, 0, fl->ncells - 1);
}

static void remap_open(void)
{
	for (unsigned i = 0; i < NFIELDS; i++)
		field_open(&fields[i], i + 1);
}

static void remap_step(void)
{
	struct field *fl = &fields[dice(NFIELDS)];
	unsigned half = fl->ncells / 2, first, last;

	first = dice(fl->ncells);
	last = first + dice(fl->ncells - first);
	switch (dice(4)) {
	case 0:
		last = first;
		break;
	case 1: /* a half: in the third field, a huge leaf */
		first = dice(2) * half;
		last = first + half - 1;
		break;
	default:
		break;
	}
	if (++fl->runs % WHOLE == 0) {
		first = 0;
		last = fl->ncells - 1;
	}
	remap(fl, first, last);
}

/* ---- what workers see -------------------------------------------------- */

/* Some cells, by one access. */
struct seen {
	unsigned first, n;
	uint64_t least[MOST], number[MOST];
	struct header h[MOST];
};

static void seen_begin(struct field *fl, struct seen *s, unsigned most)
{
	s->first = dice(fl->ncells);
	s->n = 1 + dice(fl->ncells - s->first < most ? fl->ncells - s->first
						     : most);
	for (unsigned i = 0; i < s->n; i++)
		s->least[i] = atomic_load(&fl->committed[s->first + i]);
}

/* Of a run that shows in cell @i every cell shows, or something newer. */
static void seen_whole(const struct seen *s, unsigned i)
{
	for (unsigned j = 0; j < s->n; j++)
		if (s->first + j >= s->h[i].first &&
		    s->first + j <= s->h[i].last && s->number[j] < s->number[i])
			broken("an access saw a mix of old and new");
}

static void seen_check(struct seen *s)
{
	for (unsigned i = 0; i < s->n; i++)
		s->number[i] =
			stamp_check(s->h[i].stamp, s->first + i, s->least[i]);
	for (unsigned i = 0; i < s->n; i++)
		seen_whole(s, i);
}

static void never(int rc)
{
	if (accessed(rc))
		broken("an access across a remap was refused");
}

static void by_read(struct field *fl, struct seen *s)
{
	static __thread char buf[16 * 256];

	never(viommu_dma_read(fl->ep, fl->base + s->first * fl->cell, buf,
			      s->n * fl->cell));
	for (unsigned i = 0; i < s->n; i++)
		memcpy(&s->h[i], buf + i * fl->cell, sizeof(s->h[i]));
}

static void by_map(struct field *fl, struct seen *s)
{
	struct iovec iov[MOST];
	struct viommu_dma d = { .ep = fl->ep,
				.iova = fl->base + s->first * fl->cell,
				.len = s->n * fl->cell,
				.prot = VIOMMU_READ,
				.iov = iov,
				.max_iov = MOST };
	size_t at = 0;
	int rc = viommu_dma_map(&d);

	if (rc)
		broken("a map across a remap was refused");
	me->did.maps++;
	for (unsigned i = 0, k = 0; i < s->n; i++, at += fl->cell) {
		for (; at >= iov[k].iov_len; k++)
			at -= iov[k].iov_len;
		memcpy(&s->h[i], (char *)iov[k].iov_base + at, sizeof(s->h[i]));
	}
	me->did.unmaps++;
	viommu_dma_unmap(&d, 0);
}

/* A window keeps where it leads: until that is not true any more. */
static void by_window(struct field *fl, struct seen *s)
{
	static __thread struct viommu_window w[NFIELDS];
	static __thread struct viommu_endpoint *ep[NFIELDS];
	ptrdiff_t i = fl - fields;

	if (ep[i] != fl->ep)
		must(viommu_window_open(&w[i], fl->ep, fl->base,
					fl->ncells * fl->cell, VIOMMU_READ),
		     "window");
	ep[i] = fl->ep;
	s->n = 1;
	never(viommu_window_read(&w[i], s->first * fl->cell, &s->h[0],
				 sizeof(s->h[0])));
}

/* A run of single words has no one moment: each is an access. */
static void by_words(struct field *fl)
{
	bool in_burst = dice(2);

	if (in_burst)
		must(viommu_dma_enter(fl->ep), "enter");
	for (int i = dice(32); i >= 0; i--) {
		unsigned c = dice(fl->ncells);
		uint64_t least = atomic_load(&fl->committed[c]), val;
		uint64_t iova = fl->base + c * fl->cell;

		never(viommu_dma_load(fl->ep, iova, 8, &val));
		stamp_check(val, c, least);
		if (!fl->copied && !dice(4))
			never(viommu_dma_store(fl->ep, iova + WORDS + 8 * me->n,
					       8, val));
	}
	if (in_burst)
		viommu_dma_exit(fl->ep);
}

static void remap_work(void)
{
	struct field *fl = &fields[dice(NFIELDS)];
	struct seen s;

	switch (dice(4)) {
	case 0:
		seen_begin(fl, &s, MOST);
		by_map(fl, &s);
		break;
	case 1:
		seen_begin(fl, &s, MOST);
		if (fl->copied)
			by_read(fl, &s);
		else
			by_map(fl, &s);
		break;
	case 2:
		seen_begin(fl, &s, 1);
		by_window(fl, &s);
		break;
	default:
		by_words(fl);
		return;
	}
	seen_check(&s);
}

static void remap_close(void)
{
	for (unsigned i = 0; i < NFIELDS; i++) {
		struct field *fl = &fields[i];

		endpoint_drop(fl->ep);
		space_drop(fl->space);
		run_done(fl, 0, fl->ncells - 1, NULL);
		for (unsigned c = 0; c < RING * fl->ncells; c++)
			must_be_poison(fl->memory + c * fl->cell,
				       fl->cell > PAGE ? PAGE : fl->cell);
		free(fl->memory);
	}
}

const struct subject subject_remap = {
	.name = "remap",
	.open = remap_open,
	.step = remap_step,
	.work = remap_work,
	.close = remap_close,
};
