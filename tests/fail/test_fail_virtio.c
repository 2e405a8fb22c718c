/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-iommu when there is no memory: a request whose allocation fails is
 * answered with NOMEM and has no effect; what takes access away, and saving,
 * needs none.
 */
#include "sweep.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_iommu.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <viommu.h>
#include <viommu/guest/virtio.h>

#include "alloc.h"

#ifndef VIRTIO_IOMMU_ATTACH_F_BYPASS
#define VIRTIO_IOMMU_ATTACH_F_BYPASS (1 << 0)
#endif

enum {
	RAM = 1 << 20,
	EPS = 3,
	EP = 8, /* ids 8, 9, 10 */
	STATE_MAX = 1 << 12,
	PROBE_SIZE = 512,
	BYPASS = VIRTIO_IOMMU_ATTACH_F_BYPASS,
};

#define TERA (UINT64_C(1) << 40)
#define TOP  UINT64_MAX

struct world;

struct step {
	const char *name;
	int (*run)(struct world *w, const struct step *s);
	uint32_t domain, ep; /* ep: an index */
	uint64_t start, last, phys;
	uint32_t flags;
};

struct world {
	struct viommu *vi;
	struct viommu_virtio *v;
	struct viommu_endpoint *ep[EPS];
	bool behind[EPS];
	uint64_t nomem; /* requests that v answered so */

	/* kept from one device to the next */
	uint8_t state[STATE_MAX];
	size_t state_len;
};

static unsigned char ram[RAM];

static void fence_run(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(f, 10000000000), 0);
}

/* ---- steps on the instance -------------------------------------------- */

static int instance(struct world *w, const struct step *s)
{
	struct viommu_config c = { .size = sizeof(c),
				   .env = &alloc_env,
				   .max_threads = 1 };

	(void)s;
	return viommu_create(&c, &w->vi);
}

static int region(struct world *w, const struct step *s)
{
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = s->start,
				   .len = RAM,
				   .host = ram,
				   .prot = VIOMMU_READ | VIOMMU_WRITE };

	return viommu_memory_add(viommu_memory_of(w->vi), &r);
}

static void fault(void *arg, const struct viommu_fault *fault)
{
	struct world *w = arg;

	viommu_virtio_fault(w->v, fault);
}

static int endpoint(struct world *w, const struct step *s)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = EP + s->ep,
					    .pasid = VIOMMU_NO_PASID,
					    .fault = fault,
					    .arg = w };

	return viommu_endpoint_create(w->vi, &c, &w->ep[s->ep]);
}

static int reserve(struct world *w, const struct step *s)
{
	return viommu_endpoint_reserve(
		w->ep[s->ep],
		&(struct viommu_reserved){ .start = s->start,
					   .last = s->last,
					   .kind = VIOMMU_RESERVED_MSI });
}

/* ---- steps on the device ---------------------------------------------- */

static int device(struct world *w, const struct step *s)
{
	struct viommu_virtio_config c = { .size = sizeof(c), .bypass = true };

	(void)s;
	return viommu_virtio_create(w->vi, &c, &w->v);
}

static int add(struct world *w, const struct step *s)
{
	int rc = viommu_virtio_add(w->v, w->ep[s->ep]);

	w->behind[s->ep] = !rc;
	return rc;
}

static int out(struct world *w, const struct step *s)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_virtio_remove(w->v, w->ep[s->ep], &f);
	fence_run(&f);
	w->behind[s->ep] = false;
	return 0;
}

static int destroy(struct world *w, const struct step *s)
{
	struct viommu_fence f;

	(void)s;
	viommu_fence_init(&f);
	viommu_virtio_destroy(w->v, &f);
	fence_run(&f);
	w->v = NULL;
	w->nomem = 0;
	memset(w->behind, 0, sizeof(w->behind));
	return 0;
}

static int bypass(struct world *w, const struct step *s)
{
	uint8_t val = s->flags != 0;
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_virtio_config_write(w->v,
				   offsetof(struct virtio_iommu_config, bypass),
				   &val, 1, &f);
	fence_run(&f);
	return 0;
}

static int dma_refused(struct world *w, const struct step *s)
{
	unsigned char byte;

	return viommu_dma_read(w->ep[s->ep], s->start, &byte, 1) == -EFAULT
		       ? 0
		       : -EPROTO;
}

static int save(struct world *w, const struct step *s)
{
	(void)s;
	w->state_len = viommu_virtio_save(w->v, w->state, sizeof(w->state));
	assert_true(w->state_len <= sizeof(w->state));
	return 0;
}

static int load(struct world *w, const struct step *s)
{
	(void)s;
	return viommu_virtio_load(w->v, w->state, w->state_len);
}

/* ---- requests --------------------------------------------------------- */

struct ask {
	struct viommu_virtio_req req;
	uint8_t in[PROBE_SIZE + 4];
	size_t written;
};

static void ask_done(struct viommu_virtio_req *req, size_t written)
{
	((struct ask *)req->arg)->written = written;
}

/* The answer as an error: NOMEM is the one we look for. */
static int ask(struct world *w, const void *r, size_t len, size_t in_len)
{
	struct ask a = { .req = { .out = r,
				  .out_len = len,
				  .in_len = in_len,
				  .done = ask_done } };

	a.req.in = a.in;
	a.req.arg = &a;
	viommu_virtio_request(w->v, &a.req);
	assert_int_equal(a.written, in_len);
	switch (a.in[in_len - 4]) {
	case VIRTIO_IOMMU_S_OK:
		return 0;
	case VIRTIO_IOMMU_S_NOMEM:
		w->nomem++;
		return -ENOMEM;
	default:
		return -EPROTO;
	}
}

static int attach(struct world *w, const struct step *s)
{
	struct virtio_iommu_req_attach r = {
		.head.type = VIRTIO_IOMMU_T_ATTACH,
		.domain = htole32(s->domain),
		.endpoint = htole32(EP + s->ep),
		.flags = htole32(s->flags),
	};

	return ask(w, &r, offsetof(struct virtio_iommu_req_attach, tail), 4);
}

static int detach(struct world *w, const struct step *s)
{
	struct virtio_iommu_req_detach r = {
		.head.type = VIRTIO_IOMMU_T_DETACH,
		.domain = htole32(s->domain),
		.endpoint = htole32(EP + s->ep),
	};

	return ask(w, &r, offsetof(struct virtio_iommu_req_detach, tail), 4);
}

static int map(struct world *w, const struct step *s)
{
	struct virtio_iommu_req_map r = {
		.head.type = VIRTIO_IOMMU_T_MAP,
		.domain = htole32(s->domain),
		.virt_start = htole64(s->start),
		.virt_end = htole64(s->last),
		.phys_start = htole64(s->phys),
		.flags = htole32(VIRTIO_IOMMU_MAP_F_READ |
				 VIRTIO_IOMMU_MAP_F_WRITE),
	};

	return ask(w, &r, offsetof(struct virtio_iommu_req_map, tail), 4);
}

static int unmap(struct world *w, const struct step *s)
{
	struct virtio_iommu_req_unmap r = {
		.head.type = VIRTIO_IOMMU_T_UNMAP,
		.domain = htole32(s->domain),
		.virt_start = htole64(s->start),
		.virt_end = htole64(s->last),
	};

	return ask(w, &r, offsetof(struct virtio_iommu_req_unmap, tail), 4);
}

static int probe(struct world *w, const struct step *s)
{
	uint8_t r[offsetof(struct virtio_iommu_req_probe, properties)] = {
		VIRTIO_IOMMU_T_PROBE
	};
	uint32_t id = htole32(EP + s->ep);

	memcpy(r + offsetof(struct virtio_iommu_req_probe, endpoint), &id, 4);
	return ask(w, r, sizeof(r), PROBE_SIZE + 4);
}

/* ---- sequences -------------------------------------------------------- */

static const struct step steps[] = {
	{ "instance", instance, 0, 0, 0, 0, 0, 0 },
	{ "region", region, 0, 0, 0, 0, 0, 0 },
	{ "device", device, 0, 0, 0, 0, 0, 0 },
	{ "endpoint", endpoint, 0, 0, 0, 0, 0, 0 },
	{ "endpoint", endpoint, 0, 1, 0, 0, 0, 0 },
	{ "endpoint", endpoint, 0, 2, 0, 0, 0, 0 },
	{ "reserve", reserve, 0, 0, 0xfee00000, 0xfeefffff, 0, 0 },
	{ "add", add, 0, 0, 0, 0, 0, 0 },
	{ "add", add, 0, 1, 0, 0, 0, 0 },
	{ "add", add, 0, 2, 0, 0, 0, 0 },
	{ "reserve, behind the device", reserve, 0, 0, 0x10, 0x1f, 0, 0 },
	{ "PROBE", probe, 0, 0, 0, 0, 0, 0 },

	{ "ATTACH", attach, 1, 0, 0, 0, 0, 0 },
	{ "MAP", map, 1, 0, 0x1000, 0x1fff, 0, 0 },
	{ "MAP the next", map, 1, 0, 0x2000, 0x2fff, 0x5000, 0 },
	{ "MAP, both edges", map, 1, 0, 0x3ff000, 0xc0000fff, 0x1000, 0 },
	{ "MAP, the tree grows", map, 1, 0, 3 * TERA, 3 * TERA + 0xfff, 0, 0 },
	{ "MAP the last page", map, 1, 0, TOP - 4095, TOP, 0, 0 },
	{ "ATTACH, too", attach, 1, 1, 0, 0, 0, 0 },
	{ "a fault", dma_refused, 0, 1, 0x4000, 0, 0, 0 },
	{ "ATTACH, bypass", attach, 2, 2, 0, 0, 0, BYPASS },
	{ "ATTACH elsewhere", attach, 3, 1, 0, 0, 0, 0 },
	{ "MAP there", map, 3, 0, TERA, TERA * 2 - 1, 0, 0 },
	{ "UNMAP", unmap, 1, 0, 0x2000, 0x2fff, 0, 0 },
	{ "UNMAP with tables", unmap, 1, 0, 0x3ff000, TERA * 4, 0, 0 },
	{ "MAP there again", map, 1, 0, 0x7ff000, 0x80000fff, 0x1000, 0 },
	{ "ATTACH from the only domain", attach, 4, 1, 0, 0, 0, 0 },
	{ "MAP in the new one", map, 4, 0, 0x1000, 0x2fff, 0, 0 },
	{ "save", save, 0, 0, 0, 0, 0, 0 },
	{ "DETACH", detach, 4, 1, 0, 0, 0, 0 },
	{ "DETACH, bypass", detach, 2, 2, 0, 0, 0, 0 },
	{ "no bypass", bypass, 0, 0, 0, 0, 0, 0 },
	{ "bypass", bypass, 0, 0, 0, 0, 0, 1 },
	{ "out", out, 0, 1, 0, 0, 0, 0 },
	{ "add again", add, 0, 1, 0, 0, 0, 0 },

	{ "destroy", destroy, 0, 0, 0, 0, 0, 0 },
	{ "device again", device, 0, 0, 0, 0, 0, 0 },
	{ "add", add, 0, 0, 0, 0, 0, 0 },
	{ "add", add, 0, 1, 0, 0, 0, 0 },
	{ "add", add, 0, 2, 0, 0, 0, 0 },
	{ "load", load, 0, 0, 0, 0, 0, 0 },
	{ "MAP, loaded", map, 1, 0, 5 * TERA, 5 * TERA + 0x3fff, 0, 0 },
	{ "ATTACH, loaded", attach, 6, 0, 0, 0, 0, 0 },
};

enum {
	STEPS = sizeof(steps) / sizeof(steps[0]),
};

static const char *name(void *world, unsigned i)
{
	(void)world;
	return steps[i].name;
}

static int step(void *world, unsigned i)
{
	return steps[i].run(world, &steps[i]);
}

/* ---- looking ---------------------------------------------------------- */

static void look_endpoint(struct world *w, unsigned i, struct view *v)
{
	const uint64_t at[] = { 0x1000, 0x2000, 0x7ff000, 0xc0000fff, 3 * TERA,
				TERA,	TOP,	0x10,	  5 * TERA };
	struct viommu_reserved r;
	struct viommu_mapping m;
	uint64_t from = 0;

	for (size_t k = 0; k < sizeof(at) / sizeof(at[0]); k++) {
		memset(&m, 0, sizeof(m));
		view_say(v, "endpoint %u: %" PRIx64 " (%d)", i, at[k],
			 viommu_dma_translate(w->ep[i], at[k], 0, &m));
		view_say(v,
			 " is in %" PRIx64 "-%" PRIx64 " at %" PRIx64 " %x\n",
			 m.start, m.last, m.gpa, m.prot);
	}
	for (; !viommu_endpoint_next_reserved(w->ep[i], from, &r);
	     from = r.last + 1)
		view_say(v, "reserved %" PRIx64 "-%" PRIx64 "\n", r.start,
			 r.last);
}

/* The saved state says all of it: domains, mappings, who, bypass, faults. */
static void look_device(struct world *w, struct view *v)
{
	static uint8_t state[STATE_MAX];
	struct viommu_virtio_stats s;
	uint8_t c[sizeof(struct virtio_iommu_config)];
	size_t n = viommu_virtio_save(w->v, state, sizeof(state));

	assert_true(n <= sizeof(state));
	view_say(v, "state");
	for (size_t i = 0; i < n; i++)
		view_say(v, " %02x", state[i]);
	viommu_virtio_config_read(w->v, 0, c, sizeof(c));
	view_say(v, "\nbypass %u",
		 c[offsetof(struct virtio_iommu_config, bypass)]);
	viommu_virtio_read_stats(w->v, &s);
	/* less what was answered NOMEM: that is the one trace of it */
	view_say(v,
		 " requests %" PRIu64 " refused %" PRIu64 " maps %" PRIu64
		 " unmaps %" PRIu64 " attaches %" PRIu64 " detaches %" PRIu64
		 " probes %" PRIu64 " waiting %" PRIu64 " events %" PRIu64
		 " %" PRIu64 "\n",
		 s.requests - w->nomem, s.refused - w->nomem, s.maps, s.unmaps,
		 s.attaches, s.detaches, s.probes, s.waiting, s.events,
		 s.events_dropped);
}

/* A load that fails undoes what it did: counters tell, and may. */
static void look_counters(struct world *w, struct view *v)
{
	struct viommu_endpoint_stats e;
	struct viommu_stats s;

	viommu_read_stats(w->vi, &s);
	view_say(v, "mapped %" PRIu64 " unmapped %" PRIu64 " fences %" PRIu64,
		 s.mapped, s.unmapped, s.fences);
	for (int i = 0; i < EPS; i++)
		if (w->ep[i]) {
			viommu_endpoint_read_stats(w->ep[i], &e);
			view_say(v, " attaches %" PRIu64, e.attaches);
		}
	view_say(v, "\n");
}

static void look(void *world, unsigned i, struct view *v)
{
	struct world *w = world;
	struct viommu_stats s;

	view_say(v, "instance %d device %d\n", w->vi != NULL, w->v != NULL);
	if (!w->vi)
		return;
	if (i < STEPS && steps[i].run != load)
		look_counters(w, v);
	viommu_read_stats(w->vi, &s);
	view_say(v, "mappings %" PRIu64 " pending %" PRIu64 "\n", s.mappings,
		 s.fences_pending);
	for (unsigned k = 0; k < EPS; k++)
		if (w->ep[k])
			look_endpoint(w, k, v);
	if (w->v)
		look_device(w, v);
}

static void teardown(void *world)
{
	struct world *w = world;
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_virtio_destroy(w->v, &f);
	for (int i = 0; i < EPS; i++)
		if (w->ep[i])
			viommu_endpoint_destroy(w->ep[i], &f);
	fence_run(&f);
	viommu_destroy(w->vi);
	memset(w, 0, sizeof(*w));
}

static void every_failure_is_undone(void **state)
{
	static const struct sweep s = {
		.steps = STEPS,
		.name = name,
		.step = step,
		.look = look,
		.teardown = teardown,
	};
	static struct world w;

	(void)state;
	sweep(&s, &w);
}

/* ---- without any allocation ------------------------------------------- */

static bool needs_none(const struct step *s)
{
	return s->run == detach || s->run == unmap || s->run == probe ||
	       s->run == out || s->run == destroy || s->run == bypass ||
	       s->run == save || s->run == dma_refused;
}

static void taking_away_without(void **state)
{
	static struct world w;
	size_t live = alloc_live();
	struct viommu_fence f;
	uint8_t event[24];

	(void)state;
	for (unsigned i = 0; i < STEPS; i++) {
		alloc_fail(needs_none(&steps[i]), ALLOC_ONWARD);
		assert_int_equal(step(&w, i), 0);
		if (needs_none(&steps[i]))
			assert_int_equal(alloc_asked(), 0);
	}
	alloc_fail(1, ALLOC_ONWARD);
	assert_int_equal(viommu_virtio_event(w.v, event, sizeof(event)), 24);
	viommu_virtio_features_write(w.v, viommu_virtio_features(w.v));
	viommu_fence_init(&f);
	viommu_virtio_reset(w.v, &f);
	fence_run(&f);
	teardown(&w);
	assert_int_equal(alloc_asked(), 0);
	assert_int_equal(alloc_live(), live);
	alloc_fail(0, ALLOC_ONCE);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_failure_is_undone),
		cmocka_unit_test(taking_away_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
