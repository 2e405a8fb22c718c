/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pseries machine's IOMMU when there is no memory: a call whose allocation
 * fails is refused and has no effect; what takes access away, resets among it,
 * and saving, needs none.
 */
#include "sweep.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <viommu.h>
#include <viommu/guest/tce.h>

#include "alloc.h"

enum {
	PAGE = 4096,
	RAM = 16 * PAGE,
	LIST = 15 * PAGE,
	ENTRIES = 2048,
	BUSES = 2, /* the second has dynamic windows */
	STATE_MAX = 1 << 16,
	TINY = 16, /* entries of a dynamic window */
};

#define DYNAMIC (UINT64_C(1) << 59)

struct world;

struct step {
	const char *name;
	int (*run)(struct world *w, const struct step *s);
	uint64_t a, b, c, d;
};

struct world {
	struct viommu *vi;
	struct viommu_tce *t;
	struct viommu_endpoint *ep[BUSES];
	uint64_t refused; /* for want of memory */

	/* kept from one machine to the next */
	uint8_t state[STATE_MAX];
	size_t state_len;
};

static unsigned char ram[RAM];

static void fence_run(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(f, 10000000000), 0);
}

/* ---- steps ------------------------------------------------------------ */

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
				   .len = RAM,
				   .host = ram,
				   .prot = VIOMMU_READ | VIOMMU_WRITE };

	(void)s;
	return viommu_memory_add(viommu_memory_of(w->vi), &r);
}

static int machine(struct world *w, const struct step *s)
{
	const struct viommu_tce_config c = { .size = sizeof(c),
					     .max_entries = ENTRIES,
					     .max_buses = BUSES };

	(void)s;
	return viommu_tce_create(w->vi, &c, &w->t);
}

static int bus(struct world *w, const struct step *s)
{
	const struct viommu_tce_bus b = {
		.size = sizeof(b),
		.buid = s->a,
		.liobn = (uint32_t)(2 * s->a),
		.page_sizes = s->a ? VIOMMU_TCE_4K | VIOMMU_TCE_64K : 0,
		.window_size = ENTRIES * PAGE,
	};

	return viommu_tce_add_bus(w->t, &b);
}

static int endpoint(struct world *w, const struct step *s)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = (uint32_t)s->a,
					    .pasid = VIOMMU_NO_PASID };

	return viommu_endpoint_create(w->vi, &c, &w->ep[s->a]);
}

static int attach(struct world *w, const struct step *s)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_endpoint_attach(w->ep[s->a], viommu_tce_space(w->t, s->a),
				    &f);
	fence_run(&f);
	return rc;
}

/* The code as an error: want of memory is the one we look for. */
static int error_of(struct world *w, int64_t code, int64_t nomem)
{
	if (code == nomem) {
		w->refused++;
		return -ENOMEM;
	}
	return code ? -EPROTO : 0;
}

static int hcall(struct world *w, uint64_t opcode, const struct step *s)
{
	const uint64_t args[4] = { s->a, s->b, s->c, s->d };
	struct viommu_tce_call call = { 0 };

	return error_of(w, viommu_tce_hcall(w->t, opcode, args, &call),
			VIOMMU_H_NOT_ENOUGH_RESOURCES);
}

static int put(struct world *w, const struct step *s)
{
	return hcall(w, VIOMMU_H_PUT_TCE, s);
}

static int clear(struct world *w, const struct step *s)
{
	return hcall(w, VIOMMU_H_STUFF_TCE, s);
}

/* One entry: nothing before it stays. */
static int list(struct world *w, const struct step *s)
{
	uint64_t tce = htobe64(0x3003);

	memcpy(ram + LIST, &tce, sizeof(tce));
	return hcall(w, VIOMMU_H_PUT_TCE_INDIRECT, s);
}

static int firmware(struct world *w, uint32_t call, const uint32_t *args,
		    uint32_t nargs, uint32_t nrets)
{
	uint32_t rets[4];
	const struct viommu_tce_rtas r = { .call = call,
					   .nargs = nargs,
					   .nrets = nrets,
					   .args = args,
					   .rets = rets };
	struct viommu_tce_call c = { 0 };

	return error_of(w, viommu_tce_rtas(w->t, &r, &c), VIOMMU_RTAS_HW_ERROR);
}

static int window(struct world *w, const struct step *s)
{
	const uint32_t args[] = { 0, 0, 1, (uint32_t)s->a, (uint32_t)s->a + 4 };

	return firmware(w, VIOMMU_RTAS_CREATE_PE_DMA_WINDOW, args, 5, 4);
}

static int window_remove(struct world *w, const struct step *s)
{
	const uint32_t args[] = { (uint32_t)s->a };

	return firmware(w, VIOMMU_RTAS_REMOVE_PE_DMA_WINDOW, args, 1, 1);
}

static int windows_reset(struct world *w, const struct step *s)
{
	static const uint32_t args[] = { 0, 0, 1 };

	(void)s;
	return firmware(w, VIOMMU_RTAS_RESET_PE_DMA_WINDOW, args, 3, 1);
}

static int reset(struct world *w, const struct step *s)
{
	struct viommu_fence f;

	(void)s;
	viommu_fence_init(&f);
	viommu_tce_reset(w->t, &f);
	fence_run(&f);
	return 0;
}

static int save(struct world *w, const struct step *s)
{
	(void)s;
	w->state_len = viommu_tce_save(w->t, w->state, sizeof(w->state));
	assert_true(w->state_len <= sizeof(w->state));
	return 0;
}

static int load(struct world *w, const struct step *s)
{
	struct viommu_fence f;
	int rc;

	(void)s;
	viommu_fence_init(&f);
	rc = viommu_tce_load(w->t, w->state, w->state_len, &f);
	fence_run(&f);
	return rc;
}

static int bus_remove(struct world *w, const struct step *s)
{
	struct viommu_fence f;
	int rc;

	viommu_fence_init(&f);
	rc = viommu_tce_remove_bus(w->t, s->a, &f);
	fence_run(&f);
	return rc;
}

/* ---- sequences -------------------------------------------------------- */

static const struct step steps[] = {
	{ "instance", instance, 0, 0, 0, 0 },
	{ "region", region, 0, 0, 0, 0 },
	{ "machine", machine, 0, 0, 0, 0 },
	{ "bus", bus, 0, 0, 0, 0 },
	{ "bus with dynamic windows", bus, 1, 0, 0, 0 },
	{ "endpoint", endpoint, 0, 0, 0, 0 },
	{ "endpoint", endpoint, 1, 0, 0, 0 },
	{ "attach", attach, 0, 0, 0, 0 },
	{ "attach", attach, 1, 0, 0, 0 },

	{ "PUT", put, 0, 0x1000, 0x3003, 0 },
	{ "PUT, changed", put, 0, 0x1000, 0x4003, 0 },
	{ "INDIRECT", list, 0, 0x5000, LIST, 1 },
	{ "PUT, a first table", put, 2, 0x1000, 0x3003, 0 },
	{ "PUT, another", put, 2, 0x201000, 0x3003, 0 },
	{ "PUT, the next", put, 2, 0x2000, 0x3003, 0 },
	{ "INDIRECT, a table", list, 2, 0x400000, LIST, 1 },
	{ "a second window", window, 16, 0, 0, 0 },
	{ "PUT there: the tree grows", put, 3, DYNAMIC, 0x3, 0 },
	{ "PUT there, changed: new tables", put, 3, DYNAMIC, 0x10003, 0 },
	{ "PUT there, cleared", put, 3, DYNAMIC, 0, 0 },
	{ "PUT there again", put, 3, DYNAMIC + 0xf0000, 0x1, 0 },
	{ "save", save, 0, 0, 0, 0 },
	{ "STUFF", clear, 2, 0, 0, ENTRIES },
	{ "STUFF", clear, 0, 0, 0, ENTRIES },
	{ "the default one is removed", window_remove, 2, 0, 0, 0 },
	{ "the other one, too", window_remove, 3, 0, 0, 0 },
	{ "PUT in the restored one", put, 2, 0x1000, 0x3003, 0 },
	{ "a second window again", window, 12, 0, 0, 0 },
	{ "windows' reset", windows_reset, 0, 0, 0, 0 },
	{ "load", load, 0, 0, 0, 0 },
	{ "reset", reset, 0, 0, 0, 0 },
	{ "a bus goes", bus_remove, 0, 0, 0, 0 },
	{ "and comes", bus, 0, 0, 0, 0 },
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
	const uint64_t at[] = { 0x1000,	  0x2000,  0x5000,
				0x201000, DYNAMIC, DYNAMIC + 0xf0000 };
	struct viommu_mapping m;

	for (size_t k = 0; k < sizeof(at) / sizeof(at[0]); k++) {
		memset(&m, 0, sizeof(m));
		view_say(v, "endpoint %u: %" PRIx64 " (%d)", i, at[k],
			 viommu_dma_translate(w->ep[i], at[k], 0, &m));
		view_say(v,
			 " is in %" PRIx64 "-%" PRIx64 " at %" PRIx64 " %x\n",
			 m.start, m.last, m.gpa, m.prot);
	}
}

/* The saved state says the rest. */
static void look_machine(struct world *w, struct view *v)
{
	static uint8_t state[STATE_MAX];
	struct viommu_tce_stats s;
	size_t n = viommu_tce_save(w->t, state, sizeof(state));
	uint64_t sum = 0;

	assert_true(n <= sizeof(state));
	for (size_t i = 0; i < n; i++)
		sum = sum * 31 + state[i];
	viommu_tce_read_stats(w->t, &s);
	/* less what was refused: that is the one trace of it */
	view_say(v,
		 "state %zu %" PRIx64 " calls %" PRIu64 " refused %" PRIu64
		 " waiting %" PRIu64 "\n",
		 n, sum, s.hcalls + s.rtas - w->refused, s.refused - w->refused,
		 s.waiting);
}

static void look(void *world, unsigned i, struct view *v)
{
	struct world *w = world;
	struct viommu_stats s;

	(void)i;
	view_say(v, "instance %d machine %d\n", w->vi != NULL, w->t != NULL);
	if (!w->vi)
		return;
	viommu_read_stats(w->vi, &s);
	view_say(v, "mappings %" PRIu64 " pending %" PRIu64 "\n", s.mappings,
		 s.fences_pending);
	for (unsigned k = 0; k < BUSES; k++)
		if (w->ep[k])
			look_endpoint(w, k, v);
	if (w->t)
		look_machine(w, v);
}

static void teardown(void *world)
{
	struct world *w = world;
	struct viommu_fence f;

	viommu_fence_init(&f);
	for (int i = 0; i < BUSES; i++)
		if (w->ep[i])
			viommu_endpoint_destroy(w->ep[i], &f);
	viommu_tce_destroy(w->t, &f);
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
	return s->run == clear || s->run == window_remove ||
	       s->run == windows_reset || s->run == reset || s->run == save ||
	       s->run == bus_remove ||
	       (s->run == put && (!s->a || !s->c)); /* LINEAR, or to clear */
}

static void taking_away_and_linear_buses_need_none(void **state)
{
	static struct world w;
	size_t live = alloc_live();

	(void)state;
	for (unsigned i = 0; i < STEPS; i++) {
		alloc_fail(needs_none(&steps[i]), ALLOC_ONWARD);
		assert_int_equal(step(&w, i), 0);
		if (needs_none(&steps[i]))
			assert_int_equal(alloc_asked(), 0);
	}
	alloc_fail(1, ALLOC_ONWARD);
	teardown(&w);
	assert_int_equal(alloc_asked(), 0);
	assert_int_equal(alloc_live(), live);
	alloc_fail(0, ALLOC_ONCE);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_failure_is_undone),
		cmocka_unit_test(taking_away_and_linear_buses_need_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
