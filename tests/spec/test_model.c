/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random requests, against a model that is arrays and obvious: which domain
 * each endpoint is in, which mapping each page of a domain belongs to.  After
 * each request its status, and what every endpoint sees on every page, must be
 * what the model says.
 */
#include "state.h"

enum {
	PAGES = 24,
	DOMAINS = 4,
	STEPS = 3000,
	SEEDS = 6,
	RESERVED_EP = 3, /* reserves pages 10 and 11 */
	RESERVED = 10,
};

struct page {
	unsigned mapping; /* 0: none; each MAP has its own */
	uint64_t gpa;
	uint32_t flags;
};

struct domain {
	bool bypass;
	unsigned endpoints;
	struct page page[PAGES];
};

struct model {
	uint64_t rng;
	unsigned mappings;
	int in[EPS]; /* or -1 */
	struct domain domain[DOMAINS];
	bool bypass;
	uint64_t granule;
};

/* Numbers that share many bits, or few. */
static const uint32_t numbers[DOMAINS] = { 0, 1, 0x80000000, UINT32_MAX };

static uint64_t pick(struct model *m, uint64_t n)
{
	m->rng ^= m->rng << 13;
	m->rng ^= m->rng >> 7;
	m->rng ^= m->rng << 17;
	return (m->rng >> 11) % n;
}

/* ---- the model's requests --------------------------------------------- */

static void model_leave(struct model *m, int ep)
{
	struct domain *d;

	if (m->in[ep] < 0)
		return;
	d = &m->domain[m->in[ep]];
	m->in[ep] = -1;
	if (--d->endpoints == 0)
		memset(d, 0, sizeof(*d));
}

static int model_attach(struct model *m, int domain, int ep, bool bypass)
{
	struct domain *d = &m->domain[domain];

	if (d->endpoints && d->bypass != bypass)
		return INVAL;
	if (m->in[ep] == domain)
		return OK;
	if (ep == RESERVED_EP &&
	    (d->page[RESERVED].mapping || d->page[RESERVED + 1].mapping))
		return UNSUPP;
	model_leave(m, ep);
	d->bypass = bypass;
	d->endpoints++;
	m->in[ep] = domain;
	return OK;
}

static int model_detach(struct model *m, int domain, int ep)
{
	if (m->in[ep] != domain)
		return INVAL;
	model_leave(m, ep);
	return OK;
}

static int model_map(struct model *m, int domain, uint64_t first, uint64_t last,
		     uint64_t gpa, uint32_t flags)
{
	struct domain *d = &m->domain[domain];

	if (!(flags & (R | W)))
		return INVAL;
	if (!d->endpoints)
		return NOENT;
	if (d->bypass || last < first)
		return INVAL;
	if (m->in[RESERVED_EP] == domain && first <= RESERVED + 1 &&
	    last >= RESERVED)
		return INVAL;
	for (uint64_t i = first; i <= last; i++)
		if (d->page[i].mapping)
			return INVAL;
	m->mappings++;
	for (uint64_t i = first; i <= last; i++)
		d->page[i] =
			(struct page){ m->mappings,
				       gpa + (i - first) * m->granule, flags };
	return OK;
}

static int model_unmap(struct model *m, int domain, uint64_t first,
		       uint64_t last)
{
	struct domain *d = &m->domain[domain];
	struct page *p = d->page;

	if (!d->endpoints)
		return NOENT;
	if (d->bypass || last < first)
		return INVAL;
	if (first && p[first].mapping &&
	    p[first].mapping == p[first - 1].mapping)
		return RANGE;
	if (last + 1 < PAGES && p[last].mapping &&
	    p[last].mapping == p[last + 1].mapping)
		return RANGE;
	memset(&p[first], 0, (last - first + 1) * sizeof(*p));
	return OK;
}

/* ---- do both ---------------------------------------------------------- */

static void step_attach(struct world *w, struct model *m)
{
	int domain = (int)pick(m, DOMAINS), ep = (int)pick(m, EPS);
	bool bypass = pick(m, 8) == 0;
	int status = attach_flags(w, numbers[domain], EP + (uint32_t)ep,
				  bypass ? BYPASS : 0);

	assert_int_equal(status, model_attach(m, domain, ep, bypass));
}

static void step_detach(struct world *w, struct model *m)
{
	int domain = (int)pick(m, DOMAINS), ep = (int)pick(m, EPS);
	int status = detach(w, numbers[domain], EP + (uint32_t)ep);

	assert_int_equal(status, model_detach(m, domain, ep));
}

static void step_map(struct world *w, struct model *m)
{
	uint64_t first = pick(m, PAGES), last = first + pick(m, 4), gpa;
	uint32_t flags = (uint32_t)pick(m, 4);
	int domain = (int)pick(m, DOMAINS), status;

	if (last >= PAGES)
		last = pick(m, PAGES);
	gpa = pick(m, 200) * m->granule;
	status = map_flags(w, numbers[domain], first * m->granule,
			   (last + 1) * m->granule - 1, gpa, flags);
	assert_int_equal(status, model_map(m, domain, first, last, gpa, flags));
}

static void step_unmap(struct world *w, struct model *m)
{
	uint64_t first = pick(m, PAGES), last = pick(m, PAGES);
	int domain = (int)pick(m, DOMAINS), status;

	if (pick(m, 2)) {
		last = first + pick(m, 3);
		last = last < PAGES ? last : PAGES - 1;
	}
	status = unmap(w, numbers[domain], first * m->granule,
		       (last + 1) * m->granule - 1);
	assert_int_equal(status, model_unmap(m, domain, first, last));
}

static void step_rare(struct world *w, struct model *m)
{
	uint8_t *buf;
	size_t len;

	switch (pick(m, 8)) {
	case 0:
		reset(w);
		for (int i = 0; i < EPS; i++)
			model_leave(m, i);
		break;
	case 1:
	case 2: /* nothing changes */
		buf = save(w, &len);
		assert_int_equal(viommu_virtio_load(w->v, buf, len), 0);
		free(buf);
		break;
	default:
		m->bypass = !m->bypass;
		bypass_write(w, m->bypass);
	}
}

/* ---- compare ---------------------------------------------------------- */

static void compare_page(struct world *w, const struct model *m, int ep,
			 uint64_t iova)
{
	const struct domain *d = m->in[ep] < 0 ? NULL : &m->domain[m->in[ep]];
	const struct page *p = d ? &d->page[iova / m->granule] : NULL;
	struct viommu_mapping got;
	int rc = viommu_dma_translate(w->ep[ep], iova, 0, &got);
	uint64_t gpa = got.gpa + (iova - got.start);

	if (d ? d->bypass : m->bypass) {
		assert_int_equal(rc, 0);
		assert_int_equal(gpa, iova);
	} else if (!d || !p->mapping) {
		assert_int_equal(rc, -EFAULT);
	} else {
		assert_int_equal(rc, 0);
		assert_int_equal(gpa, p->gpa + iova % m->granule);
		assert_int_equal(got.prot, p->flags);
		rc = viommu_dma_translate(w->ep[ep], iova, VIOMMU_WRITE, &got);
		assert_int_equal(rc, p->flags & W ? 0 : -EACCES);
	}
}

static void compare(struct world *w, const struct model *m)
{
	for (int ep = 0; ep < EPS; ep++)
		for (uint64_t i = 0; i < PAGES; i++) {
			compare_page(w, m, ep, i * m->granule);
			/* the last byte, too: it has its own bugs */
			compare_page(w, m, ep, (i + 1) * m->granule - 1);
		}
}

static void run(uint64_t seed, uint64_t granule)
{
	struct viommu_virtio_config c = { .page_size_mask = granule };
	struct viommu_reserved r = { .start = RESERVED * granule,
				     .last = (RESERVED + 2) * granule - 1 };
	struct model m = { .rng = seed, .granule = granule };
	struct world w;

	for (int i = 0; i < EPS; i++)
		m.in[i] = -1;
	world_make(&w, &c);
	assert_int_equal(viommu_endpoint_reserve(w.ep[RESERVED_EP], &r), 0);
	for (int i = 0; i < STEPS; i++) {
		uint64_t what = pick(&m, 100);

		if (what < 12)
			step_attach(&w, &m);
		else if (what < 18)
			step_detach(&w, &m);
		else if (what < 65)
			step_map(&w, &m);
		else if (what < 97)
			step_unmap(&w, &m);
		else
			step_rare(&w, &m);
		compare(&w, &m);
	}
	world_free(&w);
}

static void pages(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run(seed * 0x9e3779b97f4a7c15, PAGE);
}

static void bytes(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run(seed * 0xd1342543de82ef95, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages),
		cmocka_unit_test(bytes),
	};

	return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
