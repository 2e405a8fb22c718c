/* SPDX-License-Identifier: BSD-2-Clause */
#include "model.h"

#include <errno.h>
#include <string.h>

enum {
	PROT_ALL = VIOMMU_READ | VIOMMU_WRITE | VIOMMU_EXEC | VIOMMU_PRIV |
		   VIOMMU_MMIO,
};

static const int errnos[] = { EINVAL, ERANGE, EADDRNOTAVAIL, EEXIST, ENOENT };

errors error_one(int err)
{
	for (unsigned i = 0; i < sizeof(errnos) / sizeof(errnos[0]); i++)
		if (errnos[i] == err)
			return 1u << i;
	return 0;
}

bool errors_allow(errors possible, int64_t rc)
{
	if (rc >= 0)
		return !possible;
	return rc > -4096 && (possible & error_one((int)-rc));
}

static uint64_t min64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static bool inside(struct range r, uint64_t addr)
{
	return addr >= r.start && addr <= r.last;
}

static bool meet(struct range a, struct range b)
{
	return a.start <= b.last && b.start <= a.last;
}

static struct range cell_range(const struct model *m, unsigned i)
{
	return (struct range){ m->l.first[i], m->l.last[i] };
}

void model_init(struct model *m, const struct setup *setup)
{
	memset(m, 0, sizeof(*m));
	layout_make(&m->l, setup);
	for (unsigned i = 0; i < SPACES; i++) {
		struct model_space *s = &m->space[i];

		s->aperture.last = UINT64_MAX;
		s->birth = i + 1;
		s->kind = i == SPACE_IDENTITY ? VIOMMU_SPACE_IDENTITY
			  : i == SPACE_REMOTE ? VIOMMU_SPACE_REMOTE
					      : VIOMMU_SPACE_MAPPED;
		s->policy = (enum viommu_space_policy)(setup->policy % 3);
		if (setup->aperture % 4 == 3 && s->kind == VIOMMU_SPACE_MAPPED)
			s->aperture = (struct range){ m->l.first[3],
						      m->l.last[m->l.n - 4] };
	}
	for (unsigned i = 0; i < ENDPOINTS; i++)
		m->in[i] = -1;
	m->reserved[0] = 10;
	m->reserved[1] = 11;
	for (unsigned i = 0; i < REGIONS; i++)
		m->region[i] = (struct model_region){
			.gpa = layout_region(&m->l, i),
			.prot = i == 1 ? VIOMMU_READ
				       : VIOMMU_READ | VIOMMU_WRITE,
		};
}

/* ---- map -------------------------------------------------------------- */

static bool reserved_meets(const struct model *m, struct range r)
{
	return meet(r, (struct range){ m->l.first[m->reserved[0]],
				       m->l.last[m->reserved[1]] });
}

errors model_map(const struct model *m, unsigned space,
		 const struct viommu_mapping *map)
{
	const struct model_space *s = &m->space[space];
	const struct range r = { map->start, map->last };
	const uint64_t mask = m->l.granule - 1;
	errors e = 0;

	if (s->kind == VIOMMU_SPACE_IDENTITY || r.last < r.start ||
	    !map->prot || (map->prot & ~(uint32_t)PROT_ALL))
		return error_one(EINVAL);
	if ((r.start & mask) || (~r.last & mask) || (map->gpa & mask) ||
	    r.start < s->aperture.start || r.last > s->aperture.last ||
	    map->gpa + (r.last - r.start) < map->gpa)
		e |= error_one(ERANGE);
	if (m->in[RESERVING] == (int)space && reserved_meets(m, r))
		e |= error_one(EADDRNOTAVAIL);
	for (unsigned i = 0; i < m->l.n; i++)
		if (s->cell[i].mapping && meet(r, cell_range(m, i)))
			e |= error_one(EEXIST);
	return e;
}

/* The largest page that fits from @iova on, as IOMMU drivers choose. */
static uint64_t page_size(const struct model *m,
			  const struct viommu_mapping *map, uint64_t iova)
{
	uint64_t gpa = map->gpa + (iova - map->start);

	for (unsigned i = PAGE_SIZES - 1; i; i--) {
		uint64_t size = m->l.sizes[i];

		if (!((iova | gpa) & (size - 1)) &&
		    map->last - iova >= size - 1)
			return size;
	}
	return m->l.sizes[0];
}

/*
 * The page of @map that has @addr.  Pages are chosen one after the other from
 * the mapping's start; rows of equal ones are passed in one step.
 */
static struct range page_of(const struct model *m,
			    const struct viommu_mapping *map, uint64_t addr)
{
	const uint64_t *sizes = m->l.sizes;
	uint64_t iova = map->start, apart = map->start ^ map->gpa;

	for (;;) {
		uint64_t size = page_size(m, map, iova), n;
		unsigned up = size == sizes[0] ? 1 : 2;

		if (addr - iova < size)
			return (struct range){ iova, iova + (size - 1) };
		n = min64(addr - iova, map->last - iova) / size;
		/* a larger one may begin where both addresses allow it */
		if (size != sizes[PAGE_SIZES - 1] && !(apart & (sizes[up] - 1)))
			n = min64(n, (sizes[up] - (iova & (sizes[up] - 1))) /
					     size);
		iova += (n ? n : 1) * size;
	}
}

void model_mapped(struct model *m, unsigned space,
		  const struct viommu_mapping *map)
{
	struct model_space *s = &m->space[space];
	const struct range r = { map->start, map->last };

	m->mappings++;
	for (unsigned i = 0; i < m->l.n; i++) {
		struct range c = cell_range(m, i);

		if (!meet(r, c))
			continue;
		s->cell[i] = (struct cell){
			.mapping = m->mappings,
			.prot = map->prot,
			.gpa = map->gpa + (c.start - map->start),
		};
		if (s->policy == VIOMMU_SPACE_WHOLE_PAGE)
			s->cell[i].page = page_of(m, map, c.start);
	}
}

/* ---- unmap ------------------------------------------------------------ */

static bool cell_takes(const struct model *m, const struct model_space *s,
		       unsigned i, struct range r)
{
	struct range c = cell_range(m, i);

	if (!s->cell[i].mapping)
		return false;
	return meet(c, r);
}

/* Does [r] take a part of a mapping and leave a part? */
static bool cuts(const struct model *m, const struct model_space *s,
		 struct range r)
{
	for (unsigned i = 0; i < m->l.n; i++) {
		struct range c = cell_range(m, i);

		if (!cell_takes(m, s, i, r))
			continue;
		if (c.start < r.start || c.last > r.last)
			return true;
		for (unsigned j = 0; j < m->l.n; j++)
			if (s->cell[j].mapping == s->cell[i].mapping &&
			    !meet(cell_range(m, j), r))
				return true;
	}
	return false;
}

/* Does an edge of [r] lie within a cell that it takes? */
static bool cuts_cell(const struct model *m, const struct model_space *s,
		      struct range r)
{
	for (unsigned i = 0; i < m->l.n; i++)
		if (cell_takes(m, s, i, r) &&
		    (m->l.first[i] < r.start || m->l.last[i] > r.last))
			return true;
	return false;
}

/* Or within a page of one? */
static bool cuts_page(const struct model *m, const struct model_space *s,
		      struct range r)
{
	for (unsigned i = 0; i < m->l.n; i++)
		if (cell_takes(m, s, i, r) &&
		    (s->cell[i].page.start < r.start ||
		     s->cell[i].page.last > r.last) &&
		    (meet(s->cell[i].page,
			  (struct range){ r.start, r.start }) ||
		     meet(s->cell[i].page, (struct range){ r.last, r.last })))
			return true;
	return false;
}

errors model_unmap(const struct model *m, unsigned space, struct range r)
{
	const struct model_space *s = &m->space[space];

	if (r.last < r.start || s->kind == VIOMMU_SPACE_IDENTITY)
		return error_one(EINVAL);
	if (s->policy == VIOMMU_SPACE_REFUSE && cuts(m, s, r))
		return error_one(ERANGE);
	if (s->policy == VIOMMU_SPACE_SPLIT && cuts_cell(m, s, r))
		return error_one(ERANGE);
	return 0;
}

errors model_remap(const struct model *m, unsigned space,
		   const struct viommu_mapping *map)
{
	const struct model_space *s = &m->space[space];
	const struct range r = { map->start, map->last };
	errors e = model_map(m, space, map) & ~error_one(EEXIST);

	if (e & error_one(EINVAL))
		return e;
	if (s->policy == VIOMMU_SPACE_REFUSE && cuts(m, s, r))
		e |= error_one(ERANGE);
	if (s->policy == VIOMMU_SPACE_WHOLE_PAGE && cuts_page(m, s, r))
		e |= error_one(ERANGE);
	return e;
}

/* Pieces that are left of a mapping are mappings, of pages of their own. */
static void rename_pieces(struct model *m, unsigned space)
{
	struct model_space *s = &m->space[space];
	unsigned was = 0, name = 0;
	struct viommu_mapping piece;

	for (unsigned i = 0; i < m->l.n; i++) {
		struct cell *c = &s->cell[i];

		if (c->mapping && c->mapping != was)
			name = ++m->mappings;
		was = c->mapping;
		if (was)
			c->mapping = name;
	}
	for (unsigned i = 0; i < m->l.n; i++)
		if (s->cell[i].mapping &&
		    model_next(m, space, m->l.first[i], &piece))
			s->cell[i].page = page_of(m, &piece, m->l.first[i]);
}

int64_t model_unmapped(struct model *m, unsigned space, struct range *r)
{
	struct model_space *s = &m->space[space];
	bool take[CELLS] = { false };
	uint64_t bytes = 0;

	for (unsigned i = 0; i < m->l.n; i++)
		take[i] = cell_takes(m, s, i, *r);
	for (unsigned i = 0; i < m->l.n; i++)
		for (unsigned j = 0; j < m->l.n; j++)
			if (take[i] && !take[j] &&
			    s->policy == VIOMMU_SPACE_WHOLE_PAGE &&
			    s->cell[j].mapping == s->cell[i].mapping &&
			    meet(s->cell[i].page, cell_range(m, j)))
				take[j] = true;
	for (unsigned i = 0; i < m->l.n; i++) {
		if (!take[i])
			continue;
		r->start = min64(r->start, m->l.first[i]);
		if (r->last < m->l.last[i])
			r->last = m->l.last[i];
		bytes += m->l.last[i] - m->l.first[i] + 1;
		if (!bytes || bytes > INT64_MAX)
			bytes = INT64_MAX;
		s->cell[i] = (struct cell){ 0 };
	}
	rename_pieces(m, space);
	return (int64_t)bytes;
}

void model_cleared(struct model *m, unsigned space, struct range r)
{
	struct model_space *s = &m->space[space];

	for (unsigned i = 0; i < m->l.n; i++)
		if (meet(cell_range(m, i), r))
			s->cell[i] = (struct cell){ 0 };
	rename_pieces(m, space);
}

unsigned model_count(const struct model *m, unsigned space, uint64_t *bytes)
{
	const struct model_space *s = &m->space[space];
	unsigned was = 0, n = 0;

	*bytes = 0;
	for (unsigned i = 0; i < m->l.n; i++) {
		n += s->cell[i].mapping && s->cell[i].mapping != was;
		was = s->cell[i].mapping;
		if (was)
			*bytes += m->l.last[i] - m->l.first[i] + 1;
	}
	if (n && !*bytes)
		*bytes = UINT64_MAX;
	return n;
}

/* ---- attach ----------------------------------------------------------- */

errors model_attach(const struct model *m, unsigned ep, unsigned space)
{
	const struct model_space *s = &m->space[space];

	if (ep != RESERVING || s->kind == VIOMMU_SPACE_IDENTITY ||
	    m->in[ep] == (int)space)
		return 0;
	for (unsigned i = m->reserved[0]; i <= m->reserved[1]; i++)
		if (s->cell[i].mapping)
			return error_one(EADDRNOTAVAIL);
	return 0;
}

/* ---- looking ---------------------------------------------------------- */

bool model_next(const struct model *m, unsigned space, uint64_t iova,
		struct viommu_mapping *out)
{
	const struct model_space *s = &m->space[space];
	unsigned i = 0, j;

	if (s->kind == VIOMMU_SPACE_IDENTITY) {
		*out = (struct viommu_mapping){
			.last = UINT64_MAX,
			.prot = PROT_ALL & ~(uint32_t)VIOMMU_MMIO,
		};
		return true;
	}
	while (i < m->l.n && (!s->cell[i].mapping || m->l.last[i] < iova))
		i++;
	if (i == m->l.n)
		return false;
	while (i && s->cell[i - 1].mapping == s->cell[i].mapping)
		i--;
	for (j = i;
	     j + 1 < m->l.n && s->cell[j + 1].mapping == s->cell[i].mapping;
	     j++)
		;
	*out = (struct viommu_mapping){ .start = m->l.first[i],
					.last = m->l.last[j],
					.gpa = s->cell[i].gpa,
					.prot = s->cell[i].prot };
	return true;
}

static void refuse(struct look *out, int rc, uint32_t reason, uint64_t last)
{
	out->rc = rc;
	out->reason = reason;
	out->last = min64(out->last, last);
}

/* GPA to bytes. */
static void look_memory(const struct model *m, uint64_t iova, uint32_t prot,
			struct look *out)
{
	uint64_t room = out->last - iova; /* bytes after the first */

	for (unsigned i = 0; i < REGIONS; i++) {
		const struct model_region *g = &m->region[i];

		if (!g->birth)
			continue;
		if (g->gpa.start > out->gpa)
			room = min64(room, g->gpa.start - out->gpa - 1);
		if (!inside(g->gpa, out->gpa))
			continue;
		room = min64(room, g->gpa.last - out->gpa);
		out->last = iova + room;
		out->region = i;
		out->bytes = g->bytes + (out->gpa - g->gpa.start);
		if (prot & ~g->prot)
			refuse(out, -EACCES, VIOMMU_FAULT_MEMORY, out->last);
		return;
	}
	refuse(out, -EFAULT, VIOMMU_FAULT_MEMORY, iova + room);
}

/* IOVA to GPA, and with which permissions. */
static uint32_t look_space(const struct model *m, const struct model_space *s,
			   uint64_t iova, struct look *out)
{
	for (unsigned i = 0; i < m->l.n; i++) {
		struct range c = cell_range(m, i);

		if (c.start > iova)
			out->last = min64(out->last, c.start - 1);
		if (!inside(c, iova))
			continue;
		out->last = min64(out->last, c.last);
		if (!s->cell[i].mapping)
			break;
		out->gpa = s->cell[i].gpa + (iova - c.start);
		return s->cell[i].prot;
	}
	refuse(out, s->kind == VIOMMU_SPACE_REMOTE ? -EINPROGRESS : -EFAULT,
	       VIOMMU_FAULT_UNMAPPED, out->last);
	return 0;
}

void model_look(const struct model *m, unsigned ep, struct range r,
		uint32_t prot, struct look *out)
{
	const struct model_space *s;

	*out = (struct look){ .last = r.last, .gpa = r.start };
	if (m->in[ep] < 0) {
		refuse(out, -EFAULT, VIOMMU_FAULT_DETACHED, r.last);
		return;
	}
	s = &m->space[m->in[ep]];
	if (s->kind != VIOMMU_SPACE_IDENTITY) {
		uint32_t has = look_space(m, s, r.start, out);

		if (!out->rc && (prot & ~has))
			refuse(out, -EACCES, VIOMMU_FAULT_PERMISSION,
			       out->last);
		if (out->rc)
			return;
	}
	look_memory(m, r.start, prot, out);
}

struct verdict model_access(const struct model *m, unsigned ep, struct access a,
			    uint32_t prot)
{
	struct range r = { a.iova, a.iova + (a.len - 1) };
	struct verdict v = { 0 };
	struct look look;
	uint64_t at = a.iova;

	if (!a.len)
		return v;
	if (r.last < r.start) {
		v.rc = -EFAULT;
		v.reason = m->in[ep] < 0 ? VIOMMU_FAULT_DETACHED
					 : VIOMMU_FAULT_UNMAPPED;
		v.refused = (struct range){ r.start, UINT64_MAX };
		return v;
	}
	for (;; at = look.last + 1) {
		model_look(m, ep, (struct range){ at, r.last }, prot, &look);
		if (v.rc && (!look.rc || look.reason != v.reason))
			return v;
		if (look.rc && !v.rc) {
			v.rc = look.rc;
			v.reason = look.reason;
			v.refused.start = at;
			v.gpa = look.reason == VIOMMU_FAULT_MEMORY ? look.gpa
								   : 0;
		}
		if (look.rc)
			v.refused.last = look.last;
		if (look.last == r.last)
			return v;
	}
}
