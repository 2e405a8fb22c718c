/* SPDX-License-Identifier: BSD-2-Clause */
#include "core/scatter.h"

bool vi_scatter_next(struct vi_scatter *sc, struct viommu_mapping *m)
{
	uint64_t len;

	if (sc->i == sc->n)
		return false;
	m->start = sc->at;
	m->gpa = sc->list[sc->i].gpa;
	m->prot = sc->prot;
	m->reserved = 0;
	len = sc->list[sc->i++].len;
	while (sc->i < sc->n && len && sc->list[sc->i].gpa == m->gpa + len &&
	       m->gpa + len > m->gpa && sc->list[sc->i].len &&
	       len + sc->list[sc->i].len > len)
		len += sc->list[sc->i++].len;
	/* 2^64 bytes are 0, which only a list of one may have */
	m->last = m->start + (len - 1);
	sc->at = m->last + 1;
	return true;
}

void vi_scatter_rewind(struct vi_scatter *sc)
{
	sc->i = 0;
	sc->at = sc->src.start;
}

static void source_rewind(struct vi_source *src)
{
	vi_scatter_rewind(vi_list_of(src, struct vi_scatter, src));
}

static size_t source_next(struct vi_source *src, struct viommu_mapping *m,
			  size_t max)
{
	struct vi_scatter *sc = vi_list_of(src, struct vi_scatter, src);
	size_t n = 0;

	while (n < max && vi_scatter_next(sc, &m[n]))
		n++;
	return n;
}

void vi_scatter_init(struct vi_scatter *sc, uint64_t start, uint32_t prot,
		     const struct viommu_segment *list, size_t n)
{
	*sc = (struct vi_scatter){
		.src = { .start = start,
			 .rewind = source_rewind,
			 .next = source_next },
		.list = list,
		.n = n,
		.at = start,
		.prot = prot,
	};
}
