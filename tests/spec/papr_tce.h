/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_SPEC_PAPR_TCE_H
#define TESTS_SPEC_PAPR_TCE_H

/*
 * A pseries machine with two buses, a device on each, and a guest whose RAM is
 * an array: page n of it is full of n + 1.  The first bus has dynamic windows,
 * the other one has not.  Time is what the test says.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <endian.h>
#include <errno.h>
#include <viommu.h>
#include <viommu/guest/tce.h>

enum {
	PAGE = 4096,
	PAGES = 64, /* of RAM */
	TIMEOUT = 1000,
	SMALL = 32,	/* entries of the second bus's window */
	ENTRIES = 1024, /* most of a window; of the first bus's */
	R = 1,
	W = 2,
	RW = 3,
};

#define SIZES                                                              \
	(VIOMMU_TCE_4K | VIOMMU_TCE_64K | VIOMMU_TCE_2M | VIOMMU_TCE_16M | \
	 VIOMMU_TCE_16G)
#define BUID	  UINT64_C(0x800000020000001)
#define BUID2	  UINT64_C(0x800000020000002)
#define LIOBN	  UINT64_C(0x80000000)
#define LIOBN2	  UINT64_C(0x80000100)
#define START2	  UINT64_C(0x10000000) /* of the second bus's window */
#define DYNAMIC	  (UINT64_C(1) << 59)
#define FOREVER	  UINT64_MAX
#define LIST	  ((PAGES - 1) * UINT64_C(4096)) /* where lists are */
#define SUCCESS	  ((int64_t)VIOMMU_H_SUCCESS)
#define HARDWARE  ((int64_t)VIOMMU_H_HARDWARE)
#define PARAMETER ((int64_t)VIOMMU_H_PARAMETER)
#define RESOURCES ((int64_t)VIOMMU_H_NOT_ENOUGH_RESOURCES)
#define PENDING	  VIOMMU_PENDING

struct machine {
	struct viommu *vi;
	struct viommu_tce *t;
	struct viommu_endpoint *ep, *ep2;
	unsigned char *ram;
};

/* A call with its storage, and what became of it. */
struct vcpu {
	struct viommu_tce_call call;
	unsigned dones, releases;
	int64_t code; /* that done was called with */
};

extern uint64_t machine_now;
uint64_t machine_now;

static inline uint64_t machine_clock(void *arg)
{
	(void)arg;
	return machine_now;
}

static inline void fence_run(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(f, -1), 0);
}

static inline void pass(struct machine *m, uint64_t ns)
{
	machine_now += ns;
	viommu_poll(m->vi, machine_now);
}

/* ---- the machine ------------------------------------------------------ */

/* Let the first bus have none, either: it is LINEAR then. */
extern bool machine_linear;
bool machine_linear;

static inline void buses_add(struct machine *m)
{
	struct viommu_tce_bus bus = {
		.size = sizeof(bus),
		.buid = BUID,
		.liobn = (uint32_t)LIOBN,
		.page_sizes = machine_linear ? 0 : SIZES,
		.window_size = ENTRIES * PAGE,
	};

	assert_int_equal(viommu_tce_add_bus(m->t, &bus), 0);
	bus.buid = BUID2;
	bus.liobn = (uint32_t)LIOBN2;
	bus.page_sizes = 0;
	bus.window_start = START2;
	bus.window_size = SMALL * PAGE;
	assert_int_equal(viommu_tce_add_bus(m->t, &bus), 0);
}

static inline void device_add(struct machine *m, uint32_t id, uint64_t buid,
			      struct viommu_endpoint **ep)
{
	struct viommu_endpoint_config c = { .size = sizeof(c),
					    .id = id,
					    .pasid = VIOMMU_NO_PASID };
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_create(m->vi, &c, ep), 0);
	assert_int_equal(
		viommu_endpoint_attach(*ep, viommu_tce_space(m->t, buid), &f),
		0);
}

static inline void machine_make(struct machine *m, uint64_t max_mappings)
{
	static const struct viommu_env env = { .size = sizeof(env),
					       .clock = machine_clock };
	const struct viommu_config c = { .size = sizeof(c),
					 .env = &env,
					 .max_mappings = max_mappings,
					 .fence_timeout_ns = TIMEOUT };
	const struct viommu_tce_config tc = { .size = sizeof(tc),
					      .max_entries = ENTRIES };
	struct viommu_region r = { .size = sizeof(r),
				   .len = PAGES * PAGE,
				   .prot = RW };

	machine_now = 5000000;
	m->ram = aligned_alloc(PAGE, PAGES * PAGE);
	assert_non_null(m->ram);
	for (int i = 0; i < PAGES; i++)
		memset(m->ram + i * PAGE, i + 1, PAGE);
	r.host = m->ram;
	assert_int_equal(viommu_create(&c, &m->vi), 0);
	assert_int_equal(viommu_memory_add(viommu_memory_of(m->vi), &r), 0);
	assert_int_equal(viommu_tce_create(m->vi, &tc, &m->t), 0);
	buses_add(m);
	device_add(m, 1, BUID, &m->ep);
	device_add(m, 2, BUID2, &m->ep2);
}

static inline void machine_free(struct machine *m)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_endpoint_destroy(m->ep, &f);
	viommu_endpoint_destroy(m->ep2, &f);
	viommu_tce_destroy(m->t, &f);
	fence_run(&f);
	viommu_destroy(m->vi);
	free(m->ram);
}

static inline int setup(void **state)
{
	struct machine *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	machine_make(m, 0);
	*state = m;
	return 0;
}

static inline int setup_linear(void **state)
{
	machine_linear = true;
	return setup(state);
}

static inline int teardown(void **state)
{
	machine_free(*state);
	machine_linear = false;
	free(*state);
	return 0;
}

static inline struct viommu_tce_stats stats(struct machine *m)
{
	struct viommu_tce_stats s;

	viommu_tce_read_stats(m->t, &s);
	return s;
}

/* ---- calls ------------------------------------------------------------ */

static inline void vcpu_done(struct viommu_tce_call *call, int64_t code)
{
	struct vcpu *v = call->arg;

	v->dones++;
	v->code = code;
}

static inline void vcpu_release(struct viommu_tce_call *call)
{
	struct vcpu *v = call->arg;

	assert_int_equal(v->dones, 1);
	v->releases++;
}

static inline void vcpu_init(struct vcpu *v)
{
	memset(v, 0, sizeof(*v));
	memset(v->call.opaque, 0xa5, sizeof(v->call.opaque));
	v->call.done = vcpu_done;
	v->call.release = vcpu_release;
	v->call.arg = v;
}

static inline int64_t hcall(struct machine *m, struct vcpu *v, uint64_t opcode,
			    const uint64_t args[4])
{
	vcpu_init(v);
	return viommu_tce_hcall(m->t, opcode, args, &v->call);
}

/* One that must be over at once. */
static inline int64_t hcall_now(struct machine *m, uint64_t opcode,
				const uint64_t args[4])
{
	struct vcpu v;
	int64_t code = hcall(m, &v, opcode, args);

	assert_true(code != PENDING);
	assert_int_equal(v.dones + v.releases, 0);
	return code;
}

#define ARGS(...)           \
	(const uint64_t[4]) \
	{                   \
		__VA_ARGS__ \
	}

static inline int64_t put(struct machine *m, uint64_t liobn, uint64_t ioba,
			  uint64_t tce)
{
	return hcall_now(m, VIOMMU_H_PUT_TCE, ARGS(liobn, ioba, tce));
}

static inline int64_t stuff(struct machine *m, uint64_t liobn, uint64_t ioba,
			    uint64_t tce, uint64_t n)
{
	return hcall_now(m, VIOMMU_H_STUFF_TCE, ARGS(liobn, ioba, tce, n));
}

static inline int64_t indirect(struct machine *m, uint64_t liobn, uint64_t ioba,
			       uint64_t list, uint64_t n)
{
	return hcall_now(m, VIOMMU_H_PUT_TCE_INDIRECT,
			 ARGS(liobn, ioba, list, n));
}

/* What the guest reads, or all ones: refused. */
static inline uint64_t get(struct machine *m, uint64_t liobn, uint64_t ioba)
{
	struct vcpu v;

	if (hcall(m, &v, VIOMMU_H_GET_TCE, ARGS(liobn, ioba)) != SUCCESS)
		return UINT64_MAX;
	return v.call.value;
}

/* Entry @i of the list at LIST. */
static inline void list_set(struct machine *m, unsigned i, uint64_t tce)
{
	tce = htobe64(tce);
	memcpy(m->ram + LIST + i * sizeof(tce), &tce, sizeof(tce));
}

/* The byte that a device reads, or -errno. */
static inline int peek(struct viommu_endpoint *ep, uint64_t iova)
{
	unsigned char byte;
	int rc = viommu_dma_read(ep, iova, &byte, 1);

	return rc ? rc : byte;
}

static inline int poke(struct viommu_endpoint *ep, uint64_t iova)
{
	unsigned char byte = 0xee;

	return viommu_dma_write(ep, iova, &byte, 1);
}

/* ---- firmware --------------------------------------------------------- */

#define CELLS(x) (uint32_t)((x) >> 32), (uint32_t)(x)

static inline int64_t rtas(struct machine *m, uint32_t call, uint32_t nargs,
			   const uint32_t *args, uint32_t nrets, uint32_t *rets)
{
	const struct viommu_tce_rtas r = { .call = call,
					   .nargs = nargs,
					   .nrets = nrets,
					   .args = args,
					   .rets = rets };
	struct vcpu v;
	int64_t status;

	vcpu_init(&v);
	memset(rets, 0xa5, nrets * sizeof(*rets));
	status = viommu_tce_rtas(m->t, &r, &v.call);
	assert_true(status != PENDING);
	if (nrets)
		assert_int_equal((int32_t)rets[0], status);
	return status;
}

/* The liobn, or the status. */
static inline int64_t create(struct machine *m, uint32_t page_shift,
			     uint32_t window_shift, uint64_t *start)
{
	const uint32_t args[] = { 0, CELLS(BUID), page_shift, window_shift };
	uint32_t rets[4];
	int64_t rc =
		rtas(m, VIOMMU_RTAS_CREATE_PE_DMA_WINDOW, 5, args, 4, rets);

	if (rc)
		return rc;
	if (start)
		*start = (uint64_t)rets[2] << 32 | rets[3];
	return rets[1];
}

static inline int64_t window_remove(struct machine *m, uint64_t liobn)
{
	const uint32_t args[] = { (uint32_t)liobn };
	uint32_t rets[1];

	return rtas(m, VIOMMU_RTAS_REMOVE_PE_DMA_WINDOW, 1, args, 1, rets);
}

/* ---- devices that hold on ---------------------------------------------- */

struct held {
	struct viommu_dma d;
	struct iovec iov[4];
};

static inline void hold(struct held *h, struct viommu_endpoint *ep,
			uint64_t iova)
{
	h->d = (struct viommu_dma){ .ep = ep,
				    .iova = iova,
				    .len = 16,
				    .prot = VIOMMU_READ,
				    .iov = h->iov,
				    .max_iov = 4 };
	assert_int_equal(viommu_dma_map(&h->d), 0);
}

static inline void let_go(struct held *h)
{
	viommu_dma_unmap(&h->d, 0);
}

#endif
