/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hypervisor calls of a pseries machine's IOMMU: what PAPR says, and where
 * it leaves room what QEMU does; a test per rule.  Firmware calls are in
 * papr_tce_ddw.c, states in papr_tce_state.c.
 */
#include "papr_tce.h"

/* ---- GET -------------------------------------------------------------- */

static void get_returns_what_was_put(void **state)
{
	struct machine *m = *state;
	/* also what means nothing: low bits, and poison without permissions */
	const uint64_t tces[] = {
		0, 0x3003, 0x3ffd, 0xdeadbeefcafef00c, UINT64_MAX - 3, 0x5001
	};

	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(put(m, LIOBN, 0x7000, tces[i]), SUCCESS);
		assert_true(get(m, LIOBN, 0x7000) == tces[i]);
	}
	assert_true(get(m, LIOBN, 0x8000) == 0);
	assert_int_equal(stuff(m, LIOBN, 0x7000, 0xabcdef0000000000, 2),
			 SUCCESS);
	assert_true(get(m, LIOBN, 0x7000) == 0xabcdef0000000000);
	assert_true(get(m, LIOBN, 0x8000) == 0xabcdef0000000000);
}

static void get_leaves_r4_alone_when_refused(void **state)
{
	struct machine *m = *state;
	struct vcpu v;

	vcpu_init(&v);
	v.call.value = 42;
	assert_int_equal(viommu_tce_hcall(m->t, VIOMMU_H_GET_TCE,
					  ARGS(LIOBN + 9, 0), &v.call),
			 PARAMETER);
	assert_int_equal(v.call.value, 42);
}

/* ---- which entry ------------------------------------------------------- */

static const uint64_t opcodes[] = { VIOMMU_H_GET_TCE, VIOMMU_H_PUT_TCE,
				    VIOMMU_H_STUFF_TCE,
				    VIOMMU_H_PUT_TCE_INDIRECT };

/* What each of the calls says to one entry at (liobn, ioba). */
static void each_says(struct machine *m, uint64_t liobn, uint64_t ioba,
		      int64_t code)
{
	const uint64_t third[] = { 0, 0, 0, LIST };

	list_set(m, 0, 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(hcall_now(m, opcodes[i],
					   ARGS(liobn, ioba, third[i], 1)),
				 code);
}

static void unknown_liobn_is_parameter(void **state)
{
	each_says(*state, LIOBN, 0, SUCCESS);
	each_says(*state, LIOBN - 1, 0, PARAMETER);
	each_says(*state, LIOBN + 1, 0, PARAMETER);
	each_says(*state, LIOBN2 + 1, START2, PARAMETER);
	each_says(*state, 0, 0, PARAMETER);
}

static void wide_liobn_is_parameter(void **state)
{
	each_says(*state, LIOBN | UINT64_C(1) << 32, 0, PARAMETER);
	each_says(*state, UINT64_MAX, 0, PARAMETER);
}

static void below_the_window_is_parameter(void **state)
{
	each_says(*state, LIOBN2, START2, SUCCESS);
	each_says(*state, LIOBN2, START2 - 1, PARAMETER);
	each_says(*state, LIOBN2, 0, PARAMETER);
}

static void above_the_window_is_parameter(void **state)
{
	each_says(*state, LIOBN2, START2 + SMALL * PAGE - 1, SUCCESS);
	each_says(*state, LIOBN2, START2 + SMALL * PAGE, PARAMETER);
	each_says(*state, LIOBN2, UINT64_MAX, PARAMETER);
	each_says(*state, LIOBN, UINT64_MAX, PARAMETER);
}

static void address_is_taken_down_to_its_page(void **state)
{
	struct machine *m = *state;

	assert_int_equal(put(m, LIOBN, 0x7fff, 0x3003), SUCCESS);
	assert_true(get(m, LIOBN, 0x7000) == 0x3003);
	assert_true(get(m, LIOBN, 0x7abc) == 0x3003);
	assert_int_equal(peek(m->ep, 0x7000), 4);
	assert_int_equal(peek(m->ep, 0x8000), -EFAULT);
}

static void other_opcodes_are_function(void **state)
{
	struct machine *m = *state;

	assert_int_equal(hcall_now(m, 0x24, ARGS(LIOBN)), VIOMMU_H_FUNCTION);
	assert_int_equal(hcall_now(m, UINT64_MAX, ARGS(LIOBN)),
			 VIOMMU_H_FUNCTION);
	assert_int_equal(stats(m).refused, 2);
}

/* ---- PUT -------------------------------------------------------------- */

static void permissions_hold(void **state)
{
	struct machine *m = *state;
	static const struct {
		uint64_t prot;
		int read, write;
	} is[] = {
		{ 0, -EFAULT, -EFAULT },
		{ R, 4, -EACCES },
		{ W, -EACCES, 0 },
		{ RW, 0xee, 0 },
	};

	/* from each to each */
	for (unsigned from = 0; from < 4; from++)
		for (unsigned to = 0; to < 4; to++) {
			m->ram[0x3000] = to == RW ? 0xee : 4;
			assert_int_equal(
				put(m, LIOBN, 0, 0x3000 | is[from].prot),
				SUCCESS);
			assert_int_equal(put(m, LIOBN, 0, 0x3000 | is[to].prot),
					 SUCCESS);
			assert_int_equal(peek(m->ep, 0), is[to].read);
			assert_int_equal(poke(m->ep, 0), is[to].write);
		}
}

static void low_bits_are_no_address(void **state)
{
	struct machine *m = *state;

	assert_int_equal(put(m, LIOBN, 0, 0x3ffd), SUCCESS);
	assert_int_equal(peek(m->ep, 0), 4);
	assert_int_equal(peek(m->ep, 0xfff), 4);
	assert_int_equal(peek(m->ep, 0x1000), -EFAULT);
}

static void poison_is_not_mapped(void **state)
{
	struct machine *m = *state;

	assert_int_equal(put(m, LIOBN, 0, 0x3003), SUCCESS);
	assert_int_equal(put(m, LIOBN, 0, 0x30fc), SUCCESS);
	assert_int_equal(peek(m->ep, 0), -EFAULT);
	assert_int_equal(put(m, LIOBN, 0, 0x4003), SUCCESS);
	assert_int_equal(peek(m->ep, 0), 5);
}

/* Each access asks: it may be plugged in later. */
static void no_memory_behind_an_entry_is_fine(void **state)
{
	struct machine *m = *state;

	assert_int_equal(put(m, LIOBN, 0, UINT64_MAX), SUCCESS);
	assert_true(get(m, LIOBN, 0) == UINT64_MAX);
	assert_int_equal(peek(m->ep, 0), -EFAULT);
	assert_int_equal(put(m, LIOBN, 0, 0x3003), SUCCESS);
	assert_int_equal(peek(m->ep, 0), 4);
}

static void buses_have_nothing_in_common(void **state)
{
	struct machine *m = *state;

	assert_int_equal(put(m, LIOBN, START2 & 0xfff, 0x3003), SUCCESS);
	assert_int_equal(put(m, LIOBN2, START2, 0x5003), SUCCESS);
	assert_int_equal(peek(m->ep, 0), 4);
	assert_int_equal(peek(m->ep2, 0), -EFAULT);
	assert_int_equal(peek(m->ep2, START2), 6);
	assert_int_equal(peek(m->ep, START2), -EFAULT);
}

/* ---- INDIRECT ---------------------------------------------------------- */

static void indirect_puts_512(void **state)
{
	struct machine *m = *state;

	for (unsigned i = 0; i < 512; i++)
		list_set(m, i, (uint64_t)(i % 60) << 12 | RW);
	assert_int_equal(indirect(m, LIOBN, 0x5000, LIST, 512), SUCCESS);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(peek(m->ep, 0x5000 + (uint64_t)i * PAGE),
				 i % 60 + 1);
	assert_int_equal(peek(m->ep, 0x4000), -EFAULT);
	assert_int_equal(peek(m->ep, 0x5000 + 512 * PAGE), -EFAULT);
	assert_int_equal(stats(m).entries, 512);
}

static void indirect_of_too_many_or_none_is_parameter(void **state)
{
	struct machine *m = *state;

	list_set(m, 0, 0x3003);
	assert_int_equal(indirect(m, LIOBN, 0, LIST, 0), PARAMETER);
	assert_int_equal(indirect(m, LIOBN, 0, LIST - PAGE, 513), PARAMETER);
	assert_int_equal(indirect(m, LIOBN, 0, LIST, UINT64_MAX), PARAMETER);
	assert_int_equal(indirect(m, LIOBN, 0, LIST, UINT64_C(1) << 61),
			 PARAMETER);
	assert_true(get(m, LIOBN, 0) == 0);
}

static void indirect_list_is_on_its_page(void **state)
{
	struct machine *m = *state;

	list_set(m, 1, 0x3003);
	assert_int_equal(indirect(m, LIOBN, 0, LIST + 8, 1), PARAMETER);
	assert_int_equal(indirect(m, LIOBN, 0, LIST + 2048, 1), PARAMETER);
	assert_true(get(m, LIOBN, 0) == 0);
}

static void indirect_list_is_memory(void **state)
{
	struct machine *m = *state;

	assert_int_equal(indirect(m, LIOBN, 0, PAGES * PAGE, 1), PARAMETER);
	assert_int_equal(indirect(m, LIOBN, 0, UINT64_MAX - 4095, 512),
			 PARAMETER);
	assert_true(get(m, LIOBN, 0) == 0);
}

static void indirect_is_big_endian(void **state)
{
	struct machine *m = *state;
	static const unsigned char tce[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

	memcpy(m->ram + LIST, tce, 8);
	assert_int_equal(indirect(m, LIOBN, 0, LIST, 1), SUCCESS);
	assert_true(get(m, LIOBN, 0) == 0x0102030405060708);
}

static void indirect_entries_before_an_error_stay(void **state)
{
	struct machine *m = *state;
	uint64_t last = START2 + (SMALL - 2) * PAGE;

	for (unsigned i = 0; i < 3; i++)
		list_set(m, i, (uint64_t)i << 12 | RW);
	assert_int_equal(indirect(m, LIOBN2, last, LIST, 3), PARAMETER);
	assert_int_equal(peek(m->ep2, last), 1);
	assert_int_equal(peek(m->ep2, last + PAGE), 2);
	assert_true(get(m, LIOBN2, last + PAGE) == 0x1003);
	assert_int_equal(stats(m).entries, 2);
}

/* ---- STUFF ------------------------------------------------------------- */

static void stuff_clears(void **state)
{
	struct machine *m = *state;

	for (uint64_t i = 0; i < 200; i++)
		assert_int_equal(put(m, LIOBN, i * PAGE, 0x3003), SUCCESS);
	assert_int_equal(stuff(m, LIOBN, 3 * PAGE, 0, 193), SUCCESS);
	for (uint64_t i = 0; i < 200; i++) {
		bool there = i < 3 || i >= 196;

		assert_int_equal(peek(m->ep, i * PAGE), there ? 4 : -EFAULT);
		assert_true(get(m, LIOBN, i * PAGE) == (there ? 0x3003 : 0));
	}
}

/* QEMU maps, KVM refuses. */
static void stuff_with_permissions_maps_each(void **state)
{
	struct machine *m = *state;

	assert_int_equal(stuff(m, LIOBN, 0x1000, 0x3001, 3), SUCCESS);
	for (uint64_t i = 1; i < 4; i++) {
		assert_int_equal(peek(m->ep, i * PAGE), 4);
		assert_int_equal(poke(m->ep, i * PAGE), -EACCES);
	}
	assert_int_equal(peek(m->ep, 0), -EFAULT);
	assert_int_equal(peek(m->ep, 4 * PAGE), -EFAULT);
}

static void stuff_of_too_many_or_none_is_parameter(void **state)
{
	struct machine *m = *state;

	assert_int_equal(put(m, LIOBN2, START2, 0x3003), SUCCESS);
	assert_int_equal(stuff(m, LIOBN2, START2, 0, 0), PARAMETER);
	assert_int_equal(stuff(m, LIOBN2, START2, 0, SMALL + 1), PARAMETER);
	assert_int_equal(stuff(m, LIOBN2, START2, 0, UINT64_MAX), PARAMETER);
	assert_int_equal(peek(m->ep2, START2), 4);
	assert_int_equal(stuff(m, LIOBN2, START2, 0, SMALL), SUCCESS);
	assert_int_equal(peek(m->ep2, START2), -EFAULT);
}

static void stuff_beyond_the_window_has_effect_up_to_there(void **state)
{
	struct machine *m = *state;
	uint64_t at = START2 + (SMALL - 2) * PAGE;

	for (uint64_t tce = 0; tce < 4; tce += RW) {
		assert_int_equal(put(m, LIOBN2, at, 0x7003), SUCCESS);
		assert_int_equal(put(m, LIOBN2, at + PAGE, 0x7003), SUCCESS);
		assert_int_equal(stuff(m, LIOBN2, at, 0x3000 | tce, 3),
				 PARAMETER);
		assert_true(get(m, LIOBN2, at) == (0x3000 | tce));
		assert_true(get(m, LIOBN2, at + PAGE) == (0x3000 | tce));
		assert_int_equal(peek(m->ep2, at + PAGE), tce ? 4 : -EFAULT);
	}
}

/* ---- in flight --------------------------------------------------------- */

/* The four ways to take what a device holds. */
static int64_t take(struct machine *m, struct vcpu *v, unsigned how)
{
	list_set(m, 0, 0);
	list_set(m, 1, 0x9003);
	switch (how) {
	case 0: /* clear it */
		return hcall(m, v, VIOMMU_H_PUT_TCE, ARGS(LIOBN, 0x1000, 0));
	case 1: /* change it */
		return hcall(m, v, VIOMMU_H_PUT_TCE,
			     ARGS(LIOBN, 0x1000, 0x9003));
	case 2:
		return hcall(m, v, VIOMMU_H_PUT_TCE_INDIRECT,
			     ARGS(LIOBN, 0, LIST, 2));
	default:
		return hcall(m, v, VIOMMU_H_STUFF_TCE,
			     ARGS(LIOBN, 0, 0x3000, 64));
	}
}

enum {
	WAYS = 4
};

static void taking_waits_for_what_is_in_flight(void **state)
{
	struct machine *m = *state;
	struct held h;
	struct vcpu v;

	for (unsigned how = 0; how < WAYS; how++) {
		assert_int_equal(put(m, LIOBN, 0x1000, 0x3003), SUCCESS);
		hold(&h, m->ep, 0x1800);
		assert_int_equal(take(m, &v, how), PENDING);
		/* L2: gone for all others */
		assert_int_equal(peek(m->ep, 0x1000), how % 3 ? 10 : -EFAULT);
		assert_int_equal(stats(m).waiting, 1);
		assert_int_equal(v.dones, 0);
		let_go(&h);
		assert_int_equal(v.dones, 1);
		assert_int_equal(v.code, SUCCESS);
		assert_int_equal(v.releases, 1);
		assert_int_equal(stats(m).waiting, 0);
	}
}

static void nothing_in_flight_is_over_at_once(void **state)
{
	struct machine *m = *state;
	struct vcpu v;

	for (unsigned how = 0; how < WAYS; how++) {
		assert_int_equal(put(m, LIOBN, 0x1000, 0x3003), SUCCESS);
		assert_int_equal(take(m, &v, how), SUCCESS);
		assert_int_equal(v.dones + v.releases, 0);
	}
}

/* Of the page, not of the window. */
static void others_do_not_wait(void **state)
{
	struct machine *m = *state;
	struct held h;
	struct vcpu v;

	assert_int_equal(put(m, LIOBN, 0x1000, 0x3003), SUCCESS);
	assert_int_equal(put(m, LIOBN, 0x2000, 0x4003), SUCCESS);
	hold(&h, m->ep, 0x1800);
	assert_int_equal(take(m, &v, 0), PENDING);
	assert_int_equal(put(m, LIOBN, 0x2000, 0), SUCCESS);
	assert_int_equal(put(m, LIOBN, 0x2000, 0x5003), SUCCESS);
	assert_int_equal(stuff(m, LIOBN, 0x2000, 0, 100), SUCCESS);
	let_go(&h);
	assert_int_equal(v.dones, 1);
}

/* It takes nothing: also where an earlier call still waits. */
static void mapping_what_is_clear_does_not_wait(void **state)
{
	struct machine *m = *state;
	struct held h;
	struct vcpu v;

	assert_int_equal(put(m, LIOBN, 0x1000, 0x3003), SUCCESS);
	hold(&h, m->ep, 0x1800);
	assert_int_equal(take(m, &v, 0), PENDING);
	assert_int_equal(put(m, LIOBN, 0x1000, 0x5003), SUCCESS);
	assert_int_equal(peek(m->ep, 0x1000), 6);
	let_go(&h);
	assert_int_equal(v.dones, 1);
	assert_int_equal(peek(m->ep, 0x1000), 6);
}

/* The second answer must not overtake the first one's promise. */
static void clearing_what_is_clear_waits_for_who_cleared_it(void **state)
{
	struct machine *m = *state;
	struct vcpu v, w, x;
	struct held h;

	assert_int_equal(put(m, LIOBN, 0x1000, 0x3003), SUCCESS);
	hold(&h, m->ep, 0x1800);
	assert_int_equal(take(m, &v, 0), PENDING);
	assert_int_equal(take(m, &w, 0), PENDING);
	assert_int_equal(take(m, &x, 3), PENDING);
	let_go(&h);
	assert_int_equal(v.dones + w.dones + x.dones, 3);
}

/* What was put before the entry that is refused was taken, too. */
static void a_refusal_waits_for_what_it_took(void **state)
{
	struct machine *m = *state;
	uint64_t at = START2 + (SMALL - 1) * PAGE;
	struct held h;
	struct vcpu v;

	list_set(m, 0, 0);
	for (unsigned how = 0; how < 2; how++) {
		assert_int_equal(put(m, LIOBN2, at, 0x3003), SUCCESS);
		hold(&h, m->ep2, at);
		assert_int_equal(hcall(m, &v,
				       how ? VIOMMU_H_STUFF_TCE
					   : VIOMMU_H_PUT_TCE_INDIRECT,
				       ARGS(LIOBN2, at, how ? 0 : LIST, 2)),
				 PENDING);
		let_go(&h);
		assert_int_equal(v.dones, 1);
		assert_int_equal(v.code, PARAMETER);
	}
	assert_int_equal(stats(m).refused, 2);
}

/* One fence for all, however many a call takes. */
static void a_call_commits_once(void **state)
{
	struct machine *m = *state;
	struct viommu_stats before, after;

	for (unsigned i = 0; i < 512; i++)
		list_set(m, i, 0x3003);
	assert_int_equal(indirect(m, LIOBN, 0, LIST, 512), SUCCESS);
	viommu_read_stats(m->vi, &before);
	assert_int_equal(indirect(m, LIOBN, 0, LIST, 512), SUCCESS);
	viommu_read_stats(m->vi, &after);
	assert_int_equal(after.fences, before.fences + 1);
	assert_int_equal(stuff(m, LIOBN, 0, 0, 512), SUCCESS);
	viommu_read_stats(m->vi, &after);
	assert_int_equal(after.fences, before.fences + 2);
}

static void again(struct viommu_tce_call *call, int64_t code)
{
	struct machine *m = call->arg;

	assert_int_equal(code, SUCCESS);
	assert_int_equal(viommu_tce_hcall(m->t, VIOMMU_H_PUT_TCE,
					  ARGS(LIOBN, 0x1000, 0x5003), call),
			 SUCCESS);
	call->value++;
}

static void done_may_call_again_with_the_same_storage(void **state)
{
	struct machine *m = *state;
	struct viommu_tce_call call = { .done = again, .arg = m };
	struct held h;

	assert_int_equal(put(m, LIOBN, 0x1000, 0x3003), SUCCESS);
	hold(&h, m->ep, 0x1000);
	assert_int_equal(viommu_tce_hcall(m->t, VIOMMU_H_PUT_TCE,
					  ARGS(LIOBN, 0x1000, 0), &call),
			 PENDING);
	let_go(&h);
	assert_int_equal(call.value, 1);
	assert_int_equal(peek(m->ep, 0x1000), 6);
}

/* ---- L9 --------------------------------------------------------------- */

static void given_up_is_hardware_and_never_success(void **state)
{
	struct machine *m = *state;
	struct held h;
	struct vcpu v;

	for (unsigned how = 0; how < WAYS; how++) {
		assert_int_equal(put(m, LIOBN, 0x1000, 0x3003), SUCCESS);
		hold(&h, m->ep, 0x1800);
		assert_int_equal(take(m, &v, how), PENDING);
		pass(m, TIMEOUT - 1);
		assert_int_equal(v.dones, 0);
		pass(m, 1);
		assert_int_equal(v.dones, 1);
		assert_int_equal(v.code, HARDWARE);
		assert_int_equal(v.releases, 0);
		assert_int_equal(stats(m).failed, how + 1);
		assert_int_equal(stats(m).waiting, 1);
		/* the entry is what it was to be */
		assert_true(get(m, LIOBN, 0x1000) == (how == 0	 ? 0
						      : how == 3 ? 0x3000
								 : 0x9003));
		let_go(&h);
		assert_int_equal(v.releases, 1);
		assert_int_equal(v.dones, 1);
		assert_int_equal(stats(m).waiting, 0);
		assert_int_equal(viommu_endpoint_recover(m->ep), 0);
	}
}

static void without_release_it_waits_for_ever(void **state)
{
	struct machine *m = *state;
	struct held h;
	struct vcpu v;

	assert_int_equal(put(m, LIOBN, 0x1000, 0x3003), SUCCESS);
	hold(&h, m->ep, 0x1800);
	vcpu_init(&v);
	v.call.release = NULL;
	assert_int_equal(viommu_tce_hcall(m->t, VIOMMU_H_PUT_TCE,
					  ARGS(LIOBN, 0x1000, 0), &v.call),
			 PENDING);
	pass(m, 10 * TIMEOUT);
	assert_int_equal(v.dones, 0);
	let_go(&h);
	assert_int_equal(v.dones, 1);
	assert_int_equal(v.code, SUCCESS);
}

static void a_refusal_keeps_its_code(void **state)
{
	struct machine *m = *state;
	uint64_t at = START2 + (SMALL - 1) * PAGE;
	struct held h;
	struct vcpu v;

	assert_int_equal(put(m, LIOBN2, at, 0x3003), SUCCESS);
	hold(&h, m->ep2, at);
	assert_int_equal(
		hcall(m, &v, VIOMMU_H_STUFF_TCE, ARGS(LIOBN2, at, 0, 2)),
		PENDING);
	pass(m, TIMEOUT);
	assert_int_equal(v.dones, 1);
	assert_int_equal(v.code, PARAMETER);
	let_go(&h);
	assert_int_equal(v.releases, 1);
}

/* ---- while it is being committed --------------------------------------- */

struct asked {
	struct held h;
	struct machine *m;
	bool expire, drop;
};

/* Runs within the hypervisor call: its deadline passes meanwhile, or the map
 * goes, or one after the other. */
static void asked_revoke(struct viommu_dma *d)
{
	struct asked *a = d->arg;

	if (a->expire)
		pass(a->m, TIMEOUT);
	if (a->drop)
		viommu_dma_unmap(d, 0);
}

static int64_t take_asking(struct machine *m, struct asked *a, struct vcpu *v)
{
	a->m = m;
	a->h.d = (struct viommu_dma){ .ep = m->ep,
				      .iova = 0x1000,
				      .len = 16,
				      .prot = VIOMMU_READ,
				      .iov = a->h.iov,
				      .max_iov = 4,
				      .revoke = asked_revoke,
				      .arg = a };
	assert_int_equal(put(m, LIOBN, 0x1000, 0x3003), SUCCESS);
	assert_int_equal(viommu_dma_map(&a->h.d), 0);
	return take(m, v, 0);
}

static void let_go_when_asked_is_over_at_once(void **state)
{
	struct asked a = { .drop = true };
	struct vcpu v;

	assert_int_equal(take_asking(*state, &a, &v), SUCCESS);
	assert_int_equal(v.dones + v.releases, 0);
}

static void failed_within_the_call_is_pending_and_answered(void **state)
{
	struct machine *m = *state;
	struct asked a = { .expire = true };
	struct vcpu v;

	assert_int_equal(take_asking(m, &a, &v), PENDING);
	assert_int_equal(v.dones, 1);
	assert_int_equal(v.code, HARDWARE);
	assert_int_equal(v.releases, 0);
	let_go(&a.h);
	assert_int_equal(v.releases, 1);
	assert_int_equal(v.dones, 1);
	assert_int_equal(stats(m).waiting, 0);
	assert_int_equal(viommu_endpoint_recover(m->ep), 0);
}

/* Nobody holds on: it is true. */
static void failed_and_done_within_the_call_is_over(void **state)
{
	struct machine *m = *state;
	struct asked a = { .expire = true, .drop = true };
	struct vcpu v;

	assert_int_equal(take_asking(m, &a, &v), SUCCESS);
	assert_int_equal(v.dones + v.releases, 0);
	assert_int_equal(stats(m).waiting, 0);
	assert_int_equal(viommu_endpoint_recover(m->ep), 0);
}

/* ---- refused by others ------------------------------------------------- */

static int refused_map(void *arg, const struct viommu_mapping *m, size_t n)
{
	(void)n;
	return m->gpa == 0x6000 ? *(int *)arg : 0;
}

static void refused_unmap(void *arg, viommu_iova_t start, viommu_iova_t last,
			  struct viommu_fence *f)
{
	(void)arg, (void)start, (void)last, (void)f;
}

static void what_a_notifier_refuses(void **state)
{
	static const struct viommu_notifier_ops ops = {
		.size = sizeof(ops), .map = refused_map, .unmap = refused_unmap
	};
	static const struct {
		int error;
		int64_t code;
	} is[] = { { -EIO, HARDWARE },
		   { -ENOMEM, RESOURCES },
		   { -ENOSPC, RESOURCES } };
	struct machine *m = *state;
	struct viommu_notifier *n;
	struct viommu_fence f;
	int error;

	assert_int_equal(viommu_notifier_add(m->ep, &ops, &error, &n), 0);
	for (unsigned i = 0; i < 3; i++) {
		error = is[i].error;
		/* what was there is there still */
		assert_int_equal(put(m, LIOBN, 0, 0), SUCCESS);
		assert_int_equal(put(m, LIOBN, 0, 0x6003), is[i].code);
		assert_true(get(m, LIOBN, 0) == 0);
		assert_int_equal(put(m, LIOBN, 0, 0x3003), SUCCESS);
		assert_int_equal(put(m, LIOBN, 0, 0x6003), is[i].code);
		assert_true(get(m, LIOBN, 0) == 0x3003);
		assert_int_equal(peek(m->ep, 0), 4);
	}
	/* a list ends where it is refused: before it all stays put */
	list_set(m, 0, 0x3003);
	list_set(m, 1, 0x6003);
	list_set(m, 2, 0x5003);
	assert_int_equal(indirect(m, LIOBN, 0x10000, LIST, 3), RESOURCES);
	assert_int_equal(peek(m->ep, 0x10000), 4);
	assert_true(get(m, LIOBN, 0x11000) == 0);
	assert_true(get(m, LIOBN, 0x12000) == 0);
	viommu_fence_init(&f);
	viommu_notifier_remove(n, &f);
	fence_run(&f);
}

static void reserved_range_is_parameter(void **state)
{
	struct machine *m = *state;
	const struct viommu_reserved r = { .start = 0x5000,
					   .last = 0x5fff,
					   .kind = VIOMMU_RESERVED_MSI };

	assert_int_equal(viommu_endpoint_reserve(m->ep, &r), 0);
	assert_int_equal(put(m, LIOBN, 0x5000, 0x3003), PARAMETER);
	assert_true(get(m, LIOBN, 0x5000) == 0);
	assert_int_equal(put(m, LIOBN, 0x4000, 0x3003), SUCCESS);
}

/* On a bus of either kind. */
#define T(test)                                                     \
	cmocka_unit_test_setup_teardown(test, setup, teardown),     \
	{                                                           \
		"linear_" #test, test, setup_linear, teardown, NULL \
	}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(get_returns_what_was_put),
		T(get_leaves_r4_alone_when_refused),
		T(unknown_liobn_is_parameter),
		T(wide_liobn_is_parameter),
		T(below_the_window_is_parameter),
		T(above_the_window_is_parameter),
		T(address_is_taken_down_to_its_page),
		T(other_opcodes_are_function),
		T(permissions_hold),
		T(low_bits_are_no_address),
		T(poison_is_not_mapped),
		T(no_memory_behind_an_entry_is_fine),
		T(buses_have_nothing_in_common),
		T(indirect_puts_512),
		T(indirect_of_too_many_or_none_is_parameter),
		T(indirect_list_is_on_its_page),
		T(indirect_list_is_memory),
		T(indirect_is_big_endian),
		T(indirect_entries_before_an_error_stay),
		T(stuff_clears),
		T(stuff_with_permissions_maps_each),
		T(stuff_of_too_many_or_none_is_parameter),
		T(stuff_beyond_the_window_has_effect_up_to_there),
		T(taking_waits_for_what_is_in_flight),
		T(nothing_in_flight_is_over_at_once),
		T(others_do_not_wait),
		T(mapping_what_is_clear_does_not_wait),
		T(clearing_what_is_clear_waits_for_who_cleared_it),
		T(a_refusal_waits_for_what_it_took),
		T(a_call_commits_once),
		T(done_may_call_again_with_the_same_storage),
		T(given_up_is_hardware_and_never_success),
		T(without_release_it_waits_for_ever),
		T(a_refusal_keeps_its_code),
		T(let_go_when_asked_is_over_at_once),
		T(failed_within_the_call_is_pending_and_answered),
		T(failed_and_done_within_the_call_is_over),
		T(what_a_notifier_refuses),
		T(reserved_range_is_parameter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
