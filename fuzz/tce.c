/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pseries guest that means harm: hypervisor and firmware calls whose numbers
 * are the input's, with maps held or not; states to load that are nearly what
 * was saved.  Each call is over once; an entry says what the space maps; what
 * was saved can be loaded and is then saved as the same bytes.
 */
#include <viommu/guest/tce.h>

#include "fuzz.h"
#include "guest/tce/state.h"

enum {
	PAGE = 4096,
	RAM = 16 * PAGE,
	BUSES = 2, /* the second has dynamic windows */
	ENTRIES = 64,
	CALLS = 24,
	HELD = 3,
	STATE_MAX = 1 << 13,
	STEPS = 200,
};

#define DYNAMIC (UINT64_C(1) << 59)

struct vcall {
	struct viommu_tce_call call;
	uint32_t rets[8];
	bool pending;
};

struct world {
	struct viommu *vi;
	struct viommu_tce *t;
	struct viommu_endpoint *ep[BUSES];
	struct vcall call[CALLS];
	struct viommu_dma held[HELD];
	struct iovec iov[HELD][8];
};

static uint8_t ram[RAM];

static void done(struct viommu_tce_call *call, int64_t code)
{
	struct vcall *c = call->arg;

	CHECK(c->pending);
	CHECK(code != VIOMMU_PENDING);
	c->pending = false;
}

static void world_make(struct world *w)
{
	const struct viommu_config small = SMALL;
	const struct viommu_tce_config tc = { .size = sizeof(tc),
					      .max_entries = ENTRIES };
	struct viommu_region r = { .size = sizeof(r),
				   .len = RAM,
				   .host = ram,
				   .prot = VIOMMU_READ | VIOMMU_WRITE };
	struct viommu_fence f;

	CHECK(!viommu_create(&small, &w->vi));
	CHECK(!viommu_memory_add(viommu_memory_of(w->vi), &r));
	CHECK(!viommu_tce_create(w->vi, &tc, &w->t));
	viommu_fence_init(&f);
	for (uint32_t i = 0; i < BUSES; i++) {
		const struct viommu_tce_bus b = {
			.size = sizeof(b),
			.buid = i,
			.liobn = 2 * i,
			.page_sizes = i ? 0x1ff : 0,
			.window_size = ENTRIES / 2 * PAGE,
		};
		const struct viommu_endpoint_config c = { .size = sizeof(c),
							  .id = i };

		CHECK(!viommu_tce_add_bus(w->t, &b));
		CHECK(!viommu_endpoint_create(w->vi, &c, &w->ep[i]));
		CHECK(!viommu_endpoint_attach(w->ep[i],
					      viommu_tce_space(w->t, i), &f));
	}
}

static void let_go(struct viommu_dma *d)
{
	if (d->ep)
		viommu_dma_unmap(d, 0);
	d->ep = NULL;
}

static void world_end(struct world *w)
{
	struct viommu_tce_stats s;
	struct viommu_fence f;

	for (unsigned i = 0; i < HELD; i++)
		let_go(&w->held[i]);
	for (unsigned i = 0; i < CALLS; i++)
		CHECK(!w->call[i].pending);
	viommu_tce_read_stats(w->t, &s);
	CHECK(!s.waiting);
	viommu_fence_init(&f);
	for (unsigned i = 0; i < BUSES; i++)
		viommu_endpoint_destroy(w->ep[i], &f);
	viommu_tce_destroy(w->t, &f);
	fence_run(&f);
	viommu_destroy(w->vi);
}

/* ---- calls ------------------------------------------------------------ */

static struct vcall *vcall_free(struct world *w)
{
	for (unsigned i = 0; i < CALLS; i++)
		if (!w->call[i].pending) {
			w->call[i].call.done = done;
			w->call[i].call.arg = &w->call[i];
			return &w->call[i];
		}
	return NULL;
}

/* Around what there is, as a rule. */
static uint64_t address(struct input *in)
{
	uint8_t how = take8(in);
	uint64_t page = take8(in);

	if (how > 240)
		return take64(in);
	if (how & 1)
		return DYNAMIC + (page << (how & 2 ? 12 : 16)) - (how >> 6);
	return (page << 12) - (how >> 6);
}

static void hcall(struct world *w, struct input *in)
{
	static const uint64_t opcodes[] = { VIOMMU_H_GET_TCE, VIOMMU_H_PUT_TCE,
					    VIOMMU_H_STUFF_TCE,
					    VIOMMU_H_PUT_TCE_INDIRECT };
	struct vcall *c = vcall_free(w);
	uint8_t which = take8(in);
	uint64_t args[4] = { take8(in) % 5, address(in),
			     (uint64_t)take16(in) << 8 | take8(in) % 4,
			     take8(in) };
	int64_t code;

	if (!c)
		return;
	if (which % 4 == 3) {
		args[2] &= ~(uint64_t)(PAGE - 1);
		take(in, ram + args[2] % RAM, 24);
	}
	if (which > 250)
		args[which % 4] = take64(in);
	code = viommu_tce_hcall(w->t, opcodes[which % 4], args, &c->call);
	c->pending = code == VIOMMU_PENDING;
	CHECK(which % 4 || !c->pending);
	/* bus 0's window does not come and go */
	if (!args[0] && args[1] / PAGE >= ENTRIES / 2)
		CHECK(code == VIOMMU_H_PARAMETER);
}

static void rtas(struct world *w, struct input *in)
{
	static const uint8_t nargs[] = { 3, 5, 1, 3, 0 };
	static const uint8_t nrets[] = { 5, 4, 1, 1, 0 };
	static const uint8_t shifts[] = { 12, 16, 24, 25, 26, 27, 28, 34, 21 };
	struct vcall *c = vcall_free(w);
	uint8_t call = take8(in) % 5, shift = shifts[take8(in) % 9];
	uint32_t args[8] = { take8(in) % 5, 0, 1, shift,
			     shift + take8(in) % 8u };
	struct viommu_tce_rtas r = { .call = call,
				     .nargs = nargs[call],
				     .nrets = nrets[call],
				     .args = args };
	int64_t code;

	if (!c)
		return;
	r.rets = c->rets;
	if (take8(in) > 250) {
		take(in, args, sizeof(args));
		r.nrets = take8(in) % 9;
	}
	code = viommu_tce_rtas(w->t, &r, &c->call);
	c->pending = code == VIOMMU_PENDING;
	if (!c->pending && r.nrets)
		CHECK((int32_t)c->rets[0] == code);
}

/* ---- looking ---------------------------------------------------------- */

static void agree(struct world *w, struct input *in)
{
	uint64_t args[4] = { take8(in) % 4, address(in) };
	struct viommu_tce_call call;
	struct viommu_mapping m = { 0 };
	int rc;

	rc = viommu_dma_translate(w->ep[args[0] / 2], args[1], 0, &m);
	if (viommu_tce_hcall(w->t, VIOMMU_H_GET_TCE, args, &call))
		return;
	CHECK(m.prot == (call.value & 3));
	CHECK(!rc == !!m.prot);
	if (!rc) {
		CHECK(m.gpa == (call.value & ~(m.last - m.start)));
		CHECK(args[1] >= m.start && args[1] <= m.last);
	}
}

static void hold_or_drop(struct world *w, struct input *in)
{
	struct viommu_dma *d = &w->held[take8(in) % HELD];

	let_go(d);
	*d = (struct viommu_dma){ .ep = w->ep[take8(in) % BUSES],
				  .iova = address(in),
				  .len = 1 + take16(in) % (2 * PAGE),
				  .prot = VIOMMU_READ,
				  .iov = w->iov[d - w->held],
				  .max_iov = 8 };
	if (viommu_dma_map(d))
		d->ep = NULL;
}

static void state_load(struct world *w, struct input *in)
{
	static uint8_t state[STATE_MAX], again[STATE_MAX];
	size_t len = viommu_tce_save(w->t, state, sizeof(state));
	unsigned changes = take8(in) % 4;
	struct viommu_fence f;
	uint64_t sum;
	int rc;

	CHECK(len <= sizeof(state));
	for (unsigned i = 0; i < changes; i++)
		state[take16(in) % len] ^= take8(in);
	sum = htole64(vt_state_sum(state, len));
	memcpy(state + VT_STATE_SUM_AT, &sum, sizeof(sum));
	for (unsigned i = 0; i < HELD; i++)
		let_go(&w->held[i]);
	viommu_fence_init(&f);
	rc = viommu_tce_load(w->t, state, len, &f);
	fence_run(&f);
	CHECK(changes || !rc);
	if (rc)
		return;
	CHECK(viommu_tce_save(w->t, again, sizeof(again)) == len);
	CHECK(!memcmp(again, state, len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { .at = data, .left = len };
	struct world w = { 0 };

	world_make(&w);
	for (unsigned i = 0; i < STEPS && in.left; i++)
		switch (take8(&in) % 7) {
		case 0:
			rtas(&w, &in);
			break;
		case 1:
			hold_or_drop(&w, &in);
			break;
		case 2:
			state_load(&w, &in);
			break;
		case 3:
			agree(&w, &in);
			break;
		default:
			hcall(&w, &in);
		}
	world_end(&w);
	return 0;
}
