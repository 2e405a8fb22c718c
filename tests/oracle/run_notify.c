/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Recorders of what endpoints see: after each operation each picture is that of
 * the model, mapping by mapping.  One is on each endpoint, and a second one, to
 * which a remap is an unmap and a map, on the first.
 */
#include <stdlib.h>

#include "run.h"
#include "shadow.h"

void recorders_make(struct run *r)
{
	for (unsigned i = 0; i < RECORDERS; i++) {
		struct shadow *s = malloc(sizeof(*s));

		if (!s)
			abort();
		shadow_init(s, NULL);
		if (i == ENDPOINTS)
			s->ops.remap = NULL;
		r->recorder[i] = s;
		compare_rc("viommu_notifier_add", 0,
			   shadow_add(s, r->ep[i % ENDPOINTS],
				      viommu_memory_of(r->vi)));
	}
}

static bool same(const struct viommu_mapping *a, const struct viommu_mapping *b)
{
	return a->start == b->start && a->last == b->last && a->gpa == b->gpa &&
	       a->prot == b->prot;
}

static void picture_compare(const struct run *r, unsigned i)
{
	const struct shadow *s = r->recorder[i];
	int in = r->m.in[i % ENDPOINTS];
	struct viommu_mapping want;
	uint64_t at = 0;
	unsigned n = 0;

	while (in >= 0 && model_next(&r->m, (unsigned)in, at, &want)) {
		if (n == s->npieces || !same(&s->piece[n], &want)) {
			wrong("recorder %u: not what is mapped at %#llx", i,
			      (unsigned long long)want.start);
			return;
		}
		n++;
		at = want.last + 1;
		if (!at)
			break;
	}
	if (n < s->npieces)
		wrong("recorder %u: %#llx is mapped nowhere else", i,
		      (unsigned long long)s->piece[n].start);
}

static void regions_compare(const struct run *r, unsigned i)
{
	const struct shadow *s = r->recorder[i];
	unsigned n = 0;

	for (unsigned k = 0; k < REGIONS; k++)
		n += r->m.region[k].birth != 0;
	if (n != s->nregions)
		wrong("recorder %u: %u regions, not %u", i, s->nregions, n);
	for (unsigned k = 0; k < s->nregions; k++) {
		const struct viommu_region *g = &s->region[k];
		unsigned j = 0;

		while (j < REGIONS && (!r->m.region[j].birth ||
				       r->m.region[j].gpa.start != g->gpa))
			j++;
		if (j == REGIONS || g->host != region_host(r, j) ||
		    g->gpa + (g->len - 1) != r->m.region[j].gpa.last ||
		    g->prot != r->m.region[j].prot)
			wrong("recorder %u: a region that is none", i);
	}
}

void recorders_compare(const struct run *r)
{
	for (unsigned i = 0; i < RECORDERS && r->recorder[i]; i++) {
		const char *what = shadow_broken(r->recorder[i]);

		if (what)
			wrong("recorder %u: %s", i, what);
		picture_compare(r, i);
		regions_compare(r, i);
	}
}

void recorders_end(struct run *r, struct viommu_fence *f)
{
	for (unsigned i = 0; i < RECORDERS && r->recorder[i]; i++) {
		struct shadow *s = r->recorder[i];

		if (!s->over)
			wrong("recorder %u: not told of the end", i);
		viommu_notifier_remove(s->notifier, f);
		if (s->wrong)
			wrong("recorder %u: %s", i, s->wrong);
		shadow_fini(s);
		free(s);
		r->recorder[i] = NULL;
	}
}
