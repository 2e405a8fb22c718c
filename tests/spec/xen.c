/* SPDX-License-Identifier: BSD-2-Clause */
#include "xen.h"

uint64_t ticks;

bool (*on_alloc)(void);
void (*on_free)(void);

static void *env_alloc(void *arg, size_t size, size_t align)
{
	void *p;

	(void)arg;
	if (on_alloc && !on_alloc())
		return NULL;
	if (align < sizeof(void *))
		align = sizeof(void *);
	return posix_memalign(&p, align, size) ? NULL : p;
}

static void env_free(void *arg, void *p)
{
	(void)arg;
	if (on_free && p)
		on_free();
	free(p);
}

static uint64_t ticks_read(void *arg)
{
	(void)arg;
	return ticks;
}

static bool may(void *arg, enum viommu_xen_privilege what, uint32_t mapper,
		uint32_t owner)
{
	struct world *w = arg;

	if (w->hook && !w->hook_in--) {
		void (*hook)(struct world *) = w->hook;

		w->hook = NULL;
		hook(w);
	}
	if (what == VIOMMU_XEN_CONTROL)
		return w->control[mapper];
	return owner < 128 && w->map_of[mapper][owner];
}

static enum viommu_verdict expire(void *arg, uint32_t mapper, uint32_t owner,
				  const struct viommu_expiry *e)
{
	struct world *w = arg;

	(void)e;
	w->expired++;
	w->expired_mapper = mapper;
	w->expired_owner = owner;
	return w->verdict;
}

void fence_run(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(f, 10000000000), 0);
}

uint8_t byte_of(unsigned d, uint64_t gfn)
{
	return (uint8_t)(64 * d + gfn + 1);
}

static void dom_make(struct world *w, unsigned d, uint32_t max_mappings)
{
	const struct viommu_reserved msi = { .start = 0xfee00000,
					     .last = 0xfeefffff,
					     .kind = VIOMMU_RESERVED_MSI };
	struct viommu_xen_guest_config c = { .size = sizeof(c),
					     .domid = d,
					     .max_mappings = max_mappings,
					     .reserved = &msi,
					     .nreserved = 1 };
	struct viommu_region r = {
		.size = sizeof(r), .len = FRAMES * FRAME, .prot = RW, .fd = -1
	};

	w->ram[d] = aligned_alloc(FRAME, FRAMES * FRAME);
	assert_non_null(w->ram[d]);
	for (size_t i = 0; i < FRAMES * FRAME; i++)
		w->ram[d][i] = byte_of(d, i / FRAME);
	r.host = w->ram[d];
	assert_int_equal(viommu_xen_guest_create(w->x, &c, &w->dom[d]), 0);
	assert_int_equal(
		viommu_memory_add(viommu_xen_guest_memory(w->dom[d]), &r), 0);
}

static void ep_make(struct world *w, unsigned i)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = i + 1,
					    .pasid = VIOMMU_NO_PASID,
					    .memory = viommu_xen_guest_view(
						    w->dom[DOM0]) };
	struct viommu_fence f;

	assert_int_equal(viommu_endpoint_create(w->vi, &c, &w->ep[i]), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_xen_guest_attach(w->dom[DOM0], w->ep[i], &f),
			 0);
	fence_run(&f);
}

void world_make(struct world *w, const struct viommu_xen_config *more,
		uint32_t max_mappings)
{
	static const struct viommu_env env = { .size = sizeof(env),
					       .alloc = env_alloc,
					       .free = env_free,
					       .clock = ticks_read };
	struct viommu_config vc = { .size = sizeof(vc),
				    .env = &env,
				    .fence_timeout_ns = TIMEOUT };
	struct viommu_xen_config c = { 0 };

	memset(w, 0, sizeof(*w));
	if (more)
		c = *more;
	c.size = sizeof(c);
	c.may = may;
	c.expire = expire;
	c.arg = w;
	c.id = REFERENCES;
	assert_int_equal(viommu_create(&vc, &w->vi), 0);
	assert_int_equal(viommu_xen_create(w->vi, &c, &w->x), 0);
	for (unsigned d = 0; d < DOMS; d++)
		dom_make(w, d, max_mappings);
	for (unsigned i = 0; i < EPS; i++)
		ep_make(w, i);
	w->control[DOM0] = true;
	w->map_of[DOM0][DOM1] = w->map_of[DOM0][DOM2] = true;
}

void eps_destroy(struct world *w)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	for (int i = 0; i < EPS; i++) {
		if (w->ep[i])
			viommu_endpoint_destroy(w->ep[i], &f);
		w->ep[i] = NULL;
	}
	fence_run(&f);
}

void dom_destroy(struct world *w, unsigned d)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_xen_guest_destroy(w->dom[d], &f);
	w->dom[d] = NULL;
	fence_run(&f);
}

struct viommu_xen_stats stats(struct world *w)
{
	struct viommu_xen_stats s;

	viommu_xen_read_stats(w->x, &s);
	return s;
}

void world_free(struct world *w)
{
	struct viommu_fence f;

	eps_destroy(w);
	for (unsigned d = 0; d < DOMS; d++)
		dom_destroy(w, d);
	assert_int_equal(stats(w).mappings, 0);
	assert_int_equal(stats(w).references, 0);
	assert_int_equal(stats(w).unflushed, 0);
	assert_int_equal(stats(w).waiting, 0);
	viommu_fence_init(&f);
	viommu_xen_destroy(w->x, &f);
	fence_run(&f);
	viommu_destroy(w->vi);
	for (unsigned d = 0; d < DOMS; d++)
		free(w->ram[d]);
}

/* ---- asking ----------------------------------------------------------- */

struct viommu_xen_op op_map(uint32_t owner, uint64_t dfn, uint64_t gfn,
			    uint64_t count, uint32_t flags)
{
	return (struct viommu_xen_op){ .kind = VIOMMU_XEN_MAP,
				       .owner = (uint16_t)owner,
				       .flags = (uint16_t)flags,
				       .page_shift = SHIFT,
				       .status = 99,
				       .dfn = dfn,
				       .gfn = gfn,
				       .count = count };
}

struct viommu_xen_op op_unmap(uint64_t dfn, uint64_t count)
{
	return (struct viommu_xen_op){ .kind = VIOMMU_XEN_UNMAP,
				       .page_shift = SHIFT,
				       .status = 99,
				       .dfn = dfn,
				       .count = count };
}

struct viommu_xen_op op_flush(void)
{
	return (struct viommu_xen_op){ .kind = VIOMMU_XEN_FLUSH, .status = 99 };
}

struct viommu_xen_op op_lookup(uint64_t dfn)
{
	return (struct viommu_xen_op){ .kind = VIOMMU_XEN_LOOKUP,
				       .status = 99,
				       .dfn = dfn };
}

static void batch_done(struct viommu_xen_batch *b)
{
	struct batch *batch = b->arg;

	batch->done++;
}

int run_in(struct world *w, struct batch *b, uint32_t mapper,
	   const struct viommu_xen_op *ops, unsigned n)
{
	int rc;

	memset(b, 0, sizeof(*b));
	assert_true(n <= 16);
	memcpy(b->ops, ops, n * sizeof(*ops));
	b->b.mapper = mapper;
	b->b.ops = b->ops;
	b->b.n = n;
	b->b.done = batch_done;
	b->b.arg = b;
	rc = viommu_xen_run(w->x, &b->b);
	if (rc == -EINPROGRESS)
		return WAITING;
	assert_int_equal(rc, 0);
	assert_int_equal(b->b.index, n);
	return b->ops[n - 1].status;
}

int run_as(struct world *w, uint32_t mapper, struct viommu_xen_op op)
{
	struct batch b;
	int status = run_in(w, &b, mapper, &op, 1);

	assert_int_not_equal(status, WAITING);
	return status;
}

int run(struct world *w, struct viommu_xen_op op)
{
	return run_as(w, DOM0, op);
}

/* ---- devices ---------------------------------------------------------- */

int peek(struct world *w, int i, uint64_t dfn)
{
	uint8_t byte;
	int rc = viommu_dma_read(w->ep[i], dfn << SHIFT, &byte, 1);

	return rc ? rc : byte;
}

int poke(struct world *w, int i, uint64_t dfn, uint8_t byte)
{
	return viommu_dma_write(w->ep[i], dfn << SHIFT, &byte, 1);
}

static void revoked(struct viommu_dma *d)
{
	struct held *h = d->arg;

	h->asked++;
}

void hold(struct world *w, struct held *h, int i, uint64_t dfn, uint64_t frames,
	  bool revocable)
{
	memset(h, 0, sizeof(*h));
	h->d.ep = w->ep[i];
	h->d.iova = dfn << SHIFT;
	h->d.len = frames << SHIFT;
	h->d.prot = R;
	h->d.iov = h->iov;
	h->d.max_iov = 8;
	h->d.revoke = revocable ? revoked : NULL;
	h->d.arg = h;
	assert_int_equal(viommu_dma_map(&h->d), 0);
}

void let_go(struct held *h)
{
	viommu_dma_unmap(&h->d, 0);
}

int setup(void **state)
{
	struct world *w = malloc(sizeof(*w));

	assert_non_null(w);
	world_make(w, NULL, 0);
	*state = w;
	return 0;
}

int teardown(void **state)
{
	world_free(*state);
	free(*state);
	return 0;
}
