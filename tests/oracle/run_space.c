/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "run.h"

/* --------------------------------------------------------------- spaces */

static struct viommu_mapping op_mapping(const struct run *r,
					const struct op *op)
{
	struct range c = layout_cells(&r->m.l, op);

	return (struct viommu_mapping){ .start = c.start,
					.last = c.last,
					.gpa = layout_gpa(&r->m.l, op),
					.prot = op->prot % 32 };
}

void do_map(struct run *r, const struct op *op)
{
	struct viommu_mapping map = op_mapping(r, op);
	unsigned s = op->who % SPACES;
	errors e = model_map(&r->m, s, &map);
	int rc;

	questions_expect(r, s, (struct range){ map.start, map.last }, 0);
	rc = viommu_space_map(r->space[s], &map);
	compare_rc("viommu_space_map", e, rc);
	if (e || rc)
		return;
	model_mapped(&r->m, s, &map);
	stream_seen.mapped++;
	questions_compare(r);
}

/* One piece for each cell, some of them adjacent in memory, too. */
static size_t list_make(const struct run *r, const struct op *op,
			struct viommu_segment *list)
{
	const struct layout *l = &r->m.l;
	struct op piece = *op;
	unsigned at = op->at % l->n;
	size_t n = 0;

	for (unsigned i = at; i < l->n && n < 1u + op->n % LIST_MAX; i++) {
		list[n++] = (struct viommu_segment){
			.gpa = layout_gpa(l, &piece),
			.len = l->last[i] - l->first[i] + 1,
		};
		piece.gpa += op->odd & 1u << n % 8 ? 1 : 3;
	}
	return n;
}

/* The mappings that a list becomes. */
static size_t list_merge(const struct run *r, const struct op *op,
			 const struct viommu_segment *list, size_t n,
			 struct viommu_mapping *maps)
{
	uint64_t iova = r->m.l.first[op->at % r->m.l.n];
	size_t nmaps = 0;

	for (size_t i = 0; i < n; iova += list[i++].len) {
		struct viommu_mapping *m = &maps[nmaps ? nmaps - 1 : 0];

		if (i && list[i].gpa &&
		    m->gpa + (m->last - m->start + 1) == list[i].gpa) {
			m->last = iova + (list[i].len - 1);
			continue;
		}
		maps[nmaps++] = (struct viommu_mapping){
			.start = iova,
			.last = iova + (list[i].len - 1),
			.gpa = list[i].gpa,
			.prot = op->prot % 32,
		};
	}
	return nmaps;
}

void do_map_list(struct run *r, const struct op *op)
{
	struct viommu_segment list[LIST_MAX];
	struct viommu_mapping maps[LIST_MAX];
	size_t n = list_make(r, op, list), nmaps;
	unsigned s = op->who % SPACES;
	errors e = 0;
	int rc;

	nmaps = list_merge(r, op, list, n, maps);
	for (size_t i = 0; i < nmaps; i++)
		e |= model_map(&r->m, s, &maps[i]);
	questions_expect(
		r, s, (struct range){ maps[0].start, maps[nmaps - 1].last }, 0);
	rc = viommu_space_map_list(r->space[s], maps[0].start, op->prot % 32,
				   list, n);
	compare_rc("viommu_space_map_list", e, rc);
	if (e || rc)
		return;
	for (size_t i = 0; i < nmaps; i++)
		model_mapped(&r->m, s, &maps[i]);
	questions_compare(r);
}

static void fence_took_range(struct run *r, struct fence *f, unsigned space,
			     struct range what)
{
	fence_took(r, f,
		   (struct extent){ .of = OF_SPACE,
				    .space = r->m.space[space].birth,
				    .r = what });
}

void do_unmap(struct run *r, const struct op *op)
{
	struct fence *f = fence_open(r, op->fence);
	struct range c = layout_cells(&r->m.l, op), wide = c;
	unsigned s = op->who % SPACES;
	int64_t rc, bytes = 0;
	errors e;

	if (!f)
		return;
	e = model_unmap(&r->m, s, c);
	if (!e)
		bytes = model_unmapped(&r->m, s, &wide);
	questions_expect(r, s, wide, -ECANCELED);
	rc = viommu_space_unmap(r->space[s], c.start, c.last, f->f);
	compare_rc("viommu_space_unmap", e, rc);
	if (e || rc < 0)
		return;
	if (rc != bytes)
		wrong("viommu_space_unmap: %lld bytes, not %lld", (long long)rc,
		      (long long)bytes);
	stream_seen.taken += bytes > 0;
	fence_took_range(r, f, s, wide);
	questions_compare(r);
}

void do_remap(struct run *r, const struct op *op)
{
	struct fence *f = fence_open(r, op->fence);
	struct viommu_mapping map = op_mapping(r, op);
	const struct range c = { map.start, map.last };
	unsigned s = op->who % SPACES;
	errors e;
	int rc;

	if (!f)
		return;
	e = model_remap(&r->m, s, &map);
	questions_expect(r, s, c, 0);
	rc = viommu_space_remap(r->space[s], &map, f->f);
	compare_rc("viommu_space_remap", e, rc);
	if (e || rc)
		return;
	model_cleared(&r->m, s, c);
	model_mapped(&r->m, s, &map);
	fence_took_range(r, f, s, c);
	questions_compare(r);
}

void do_invalidate(struct run *r, const struct op *op)
{
	struct fence *f = fence_open(r, op->fence);
	struct range c = layout_cells(&r->m.l, op);
	const uint64_t mask = r->m.l.granule - 1;
	unsigned s = op->who % SPACES;
	errors e;
	int rc;

	if (!f)
		return;
	e = s == SPACE_REMOTE && c.start <= c.last ? 0 : error_one(EINVAL);
	questions_expect(r, s, c, -ECANCELED);
	rc = viommu_space_invalidate(r->space[s], c.start, c.last, f->f);
	compare_rc("viommu_space_invalidate", e, rc);
	if (e || rc)
		return;
	model_cleared(&r->m, s, c);
	fence_took_range(r, f, s,
			 (struct range){ c.start & ~mask, c.last | mask });
	questions_compare(r);
}

static void compare_stats(const struct run *r, unsigned space)
{
	struct viommu_space_stats st;
	uint64_t bytes;

	if (space == SPACE_IDENTITY)
		return;
	viommu_space_read_stats(r->space[space], &st);
	if (st.mappings != model_count(&r->m, space, &bytes))
		wrong("%llu mappings are counted",
		      (unsigned long long)st.mappings);
	if (st.bytes != bytes)
		wrong("%llu bytes are counted, not %llu",
		      (unsigned long long)st.bytes, (unsigned long long)bytes);
}

static void compare_translation(const struct run *r, unsigned space,
				uint64_t iova,
				const struct viommu_mapping *want)
{
	viommu_gpa_t gpa = 0x5a;
	int rc = viommu_space_translate(r->space[space], iova, &gpa);

	if (!want || want->start > iova) {
		if (rc != -ENOENT || gpa != 0x5a)
			wrong("viommu_space_translate: %d where nothing is",
			      rc);
	} else if (rc || gpa != want->gpa + (iova - want->start)) {
		wrong("viommu_space_translate: %#llx (%d)",
		      (unsigned long long)gpa, rc);
	}
}

void do_next(struct run *r, const struct op *op)
{
	struct access a = layout_access(&r->m.l, op);
	unsigned s = op->who % SPACES;
	struct viommu_mapping got, want;
	int rc = viommu_space_next(r->space[s], a.iova, &got);

	compare_stats(r, s);
	if (!model_next(&r->m, s, a.iova, &want)) {
		compare_translation(r, s, a.iova, NULL);
		if (rc != -ENOENT)
			wrong("viommu_space_next: %d where nothing is", rc);
		return;
	}
	compare_translation(r, s, a.iova, &want);
	if (rc || got.start != want.start || got.last != want.last ||
	    got.gpa != want.gpa || got.prot != want.prot)
		wrong("viommu_space_next: another mapping, or none (%d)", rc);
}

void do_renew(struct run *r, const struct op *op)
{
	struct fence *f = fence_open(r, op->fence);
	unsigned s = op->who % SPACES;

	if (!f)
		return;
	questions_expect(r, s, (struct range){ 0, UINT64_MAX }, -ECANCELED);
	viommu_space_destroy(r->space[s], f->f);
	questions_compare(r);
	fence_took(r, f,
		   (struct extent){ .of = OF_SPACE,
				    .space = r->m.space[s].birth,
				    .r.last = UINT64_MAX,
				    .all = true });
	for (unsigned i = 0; i < ENDPOINTS; i++)
		if (r->m.in[i] == (int)s)
			r->m.in[i] = -1;
	memset(r->m.space[s].cell, 0, sizeof(r->m.space[s].cell));
	r->m.space[s].birth = ++r->births;
	space_make(r, s);
}

/* ------------------------------------------------------------ endpoints */

void do_attach(struct run *r, const struct op *op)
{
	struct fence *f = fence_open(r, op->fence);
	unsigned ep = op->who % ENDPOINTS, s = op->at % SPACES;
	int rc, was = r->m.in[ep];
	errors e;

	if (!f)
		return;
	e = model_attach(&r->m, ep, s);
	rc = viommu_endpoint_attach(r->ep[ep], r->space[s], f->f);
	compare_rc("viommu_endpoint_attach", e, rc);
	if (e || rc)
		return;
	r->m.in[ep] = (int)s;
	if (was >= 0 && was != (int)s)
		fence_took(r, f,
			   (struct extent){ .of = OF_ENDPOINT,
					    .ep = ep,
					    .space = r->m.space[was].birth });
}

void do_detach(struct run *r, const struct op *op)
{
	struct fence *f = fence_open(r, op->fence);
	unsigned ep = op->who % ENDPOINTS;

	if (!f)
		return;
	viommu_endpoint_detach(r->ep[ep], f->f);
	r->m.in[ep] = -1;
	fence_took(r, f, (struct extent){ .of = OF_ENDPOINT, .ep = ep });
}

void do_translate(struct run *r, const struct op *op)
{
	struct access a = layout_access(&r->m.l, op);
	unsigned ep = op->who % ENDPOINTS;
	uint32_t prot = op->prot % 32;
	struct viommu_mapping got, want;
	int rc = viommu_dma_translate(r->ep[ep], a.iova, prot, &got);

	if (r->m.in[ep] < 0 ||
	    !model_next(&r->m, (unsigned)r->m.in[ep], a.iova, &want) ||
	    want.start > a.iova) {
		if (rc != -EFAULT)
			wrong("viommu_dma_translate: %d where nothing is", rc);
	} else if (prot & ~want.prot) {
		if (rc != -EACCES)
			wrong("viommu_dma_translate: %d, not allowed", rc);
	} else if (rc || got.start != want.start || got.last != want.last ||
		   got.gpa != want.gpa || got.prot != want.prot) {
		wrong("viommu_dma_translate: another mapping (%d)", rc);
	}
}
