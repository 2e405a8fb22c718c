/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver of virtio-iommu that means harm: requests whose bytes and lengths
 * are the input's, with maps held or not; states to load that are nearly what
 * was saved.  Each request is answered once, within its buffer; what was
 * saved can be loaded and is then saved as the same bytes.
 */
#include <endian.h>
#include <linux/virtio_iommu.h>
#include <viommu/guest/virtio.h>

#include "fuzz.h"
#include "guest/virtio/state.h"

enum {
	EPS = 3,
	EP = 8, /* ids 8 to 10 */
	PAGE = 4096,
	RAM = 16 * PAGE,
	ASKS = 24,
	HELD = 3,
	PROBE = 64,
	STATE_MAX = 8192,
	STEPS = 200,
};

/* A request in buffers of its exact size. */
struct ask {
	struct viommu_virtio_req req;
	uint8_t *in, *out;
	unsigned answers;
	bool used;
};

struct world {
	struct viommu *vi;
	struct viommu_virtio *v;
	struct viommu_endpoint *ep[EPS];
	struct ask ask[ASKS];
	struct viommu_dma held[HELD];
	struct iovec iov[HELD][8];
	bool bytes; /* pages of one byte */
};

static uint8_t ram[RAM];

static void done(struct viommu_virtio_req *req, size_t written)
{
	struct ask *a = req->arg;
	const uint8_t *in = req->in;

	a->answers++;
	CHECK(a->answers == 1);
	CHECK(written <= req->in_len);
	CHECK(!written || written >= sizeof(struct virtio_iommu_req_tail));
	if (written)
		CHECK(in[written - 4] <= VIRTIO_IOMMU_S_NOMEM);
	for (size_t i = written; i < req->in_len; i++)
		CHECK(in[i] == 0xa5);
}

static struct viommu_virtio *device_make(struct world *w)
{
	struct viommu_virtio_config c = { .size = sizeof(c),
					  .page_size_mask = w->bytes ? 1 : PAGE,
					  .probe_size = PROBE,
					  .max_domains = 6,
					  .max_events = 4 };
	struct viommu_virtio *v;

	CHECK(!viommu_virtio_create(w->vi, &c, &v));
	return v;
}

static void world_make(struct world *w)
{
	const struct viommu_config small = SMALL;
	struct viommu_region r = { .size = sizeof(r),
				   .len = RAM,
				   .host = ram,
				   .prot = VIOMMU_READ | VIOMMU_WRITE,
				   .fd = -1 };
	const struct viommu_reserved msi = { .start = 10 * PAGE,
					     .last = 11 * PAGE - 1,
					     .kind = VIOMMU_RESERVED_MSI };

	CHECK(!viommu_create(&small, &w->vi));
	CHECK(!viommu_memory_add(viommu_memory_of(w->vi), &r));
	w->v = device_make(w);
	for (uint32_t i = 0; i < EPS; i++) {
		struct viommu_endpoint_config c = { .size = sizeof(c),
						    .id = EP + i,
						    .pasid = VIOMMU_NO_PASID,
						    .fault =
							    viommu_virtio_fault,
						    .arg = w->v };

		CHECK(!viommu_endpoint_create(w->vi, &c, &w->ep[i]));
		CHECK(!viommu_virtio_add(w->v, w->ep[i]));
	}
	CHECK(!viommu_endpoint_reserve(w->ep[2], &msi));
}

/* One that waits for no answer any more, or NULL. */
static struct ask *ask_free(struct world *w)
{
	for (unsigned i = 0; i < ASKS; i++) {
		struct ask *a = &w->ask[i];

		if (a->used && !a->answers)
			continue;
		free(a->in);
		free(a->out);
		memset(a, 0, sizeof(*a));
		return a;
	}
	return NULL;
}

static void let_go(struct viommu_dma *d)
{
	if (d->ep)
		viommu_dma_unmap(d, 0);
	d->ep = NULL;
}

static void world_end(struct world *w)
{
	struct viommu_fence f;

	for (unsigned i = 0; i < HELD; i++)
		let_go(&w->held[i]);
	for (unsigned i = 0; i < ASKS; i++) {
		CHECK(w->ask[i].answers == w->ask[i].used);
		free(w->ask[i].in);
		free(w->ask[i].out);
	}
	viommu_fence_init(&f);
	viommu_virtio_destroy(w->v, &f);
	for (unsigned i = 0; i < EPS; i++)
		viommu_endpoint_destroy(w->ep[i], &f);
	fence_run(&f);
	viommu_destroy(w->vi);
}

/* ------------------------------------------------------------- requests */

/* An address near something: a page's number and how far off it is. */
static uint64_t address(struct input *in)
{
	uint8_t page = take8(in), off = take8(in);

	return (page < 240 ? page % 20 * (uint64_t)PAGE
			   : 0 - (256 - page) * (uint64_t)PAGE) +
	       (int8_t)off;
}

static void put32(uint8_t *at, uint32_t val)
{
	val = htole32(val);
	memcpy(at, &val, sizeof(val));
}

static void put64(uint8_t *at, uint64_t val)
{
	val = htole64(val);
	memcpy(at, &val, sizeof(val));
}

/* A request that makes sense, from few bytes; its length. */
static size_t sensible(struct input *in, uint8_t type, uint8_t *out)
{
	out[0] = type;
	put32(out + 4, type == VIRTIO_IOMMU_T_PROBE ? EP + take8(in) % 4u
						    : take8(in) % 4u);
	switch (type) {
	case VIRTIO_IOMMU_T_ATTACH:
		put32(out + 8, EP + take8(in) % 4u);
		put32(out + 12, take8(in) == 1);
		return 20;
	case VIRTIO_IOMMU_T_DETACH:
		put32(out + 8, EP + take8(in) % 4u);
		return 20;
	case VIRTIO_IOMMU_T_MAP:
		put64(out + 8, address(in));
		put64(out + 16, address(in));
		put64(out + 24, address(in));
		put32(out + 32, take8(in) & 7);
		return 36;
	case VIRTIO_IOMMU_T_UNMAP:
		put64(out + 8, address(in));
		put64(out + 16, address(in));
		return 28;
	default:
		return 72;
	}
}

static void do_request(struct world *w, struct input *in, uint8_t how)
{
	struct ask *a = ask_free(w);
	uint8_t out[96] = { 0 };
	size_t out_len, in_len;

	if (!a)
		return;
	a->used = true;
	if (how & 1) {
		out_len = take8(in) % sizeof(out);
		take(in, out, out_len);
	} else {
		out_len = sensible(in, 1 + take8(in) % 5, out);
	}
	if (how & 2)
		out_len -= take8(in) % (out_len + 1);
	in_len = out[0] == VIRTIO_IOMMU_T_PROBE ? PROBE + 4 : 4;
	if (how & 4)
		in_len = take8(in);
	a->out = malloc(out_len);
	a->in = malloc(in_len);
	CHECK((a->out || !out_len) && (a->in || !in_len));
	if (out_len)
		memcpy(a->out, out, out_len);
	if (in_len)
		memset(a->in, 0xa5, in_len);
	a->req = (struct viommu_virtio_req){ .out = a->out,
					     .out_len = out_len,
					     .in = a->in,
					     .in_len = in_len,
					     .done = done,
					     .arg = a };
	viommu_virtio_request(w->v, &a->req);
}

static void do_hold(struct world *w, struct input *in)
{
	uint8_t what = take8(in);
	struct viommu_dma *d = &w->held[what % HELD];

	if (d->ep) {
		let_go(d);
		return;
	}
	*d = (struct viommu_dma){ .ep = w->ep[what / 4 % EPS],
				  .iova = address(in),
				  .len = 1 + take8(in) * UINT64_C(32),
				  .prot = 1 + what / 16 % 3,
				  .iov = w->iov[what % HELD],
				  .max_iov = 8 };
	if (viommu_dma_map(d))
		d->ep = NULL;
}

/* --------------------------------------------------------------- states */

/* What was saved is what is loaded. */
static void do_save(struct world *w)
{
	size_t len = viommu_virtio_save(w->v, NULL, 0);
	uint8_t *one = malloc(len), *two = malloc(len);

	CHECK(one && two);
	CHECK(viommu_virtio_save(w->v, one, len) == len);
	CHECK(viommu_virtio_save(w->v, one, len - 1) == len);
	CHECK(!viommu_virtio_load(w->v, one, len));
	CHECK(viommu_virtio_save(w->v, two, len) == len);
	CHECK(!memcmp(one, two, len));
	free(one);
	free(two);
}

/* Changed in some places, perhaps cut, and its sum put right. */
static void do_load(struct world *w, struct input *in, uint8_t how)
{
	size_t len = viommu_virtio_save(w->v, NULL, 0), cut;
	struct vv_state_head h;
	uint8_t *buf, *exact;

	if (len > STATE_MAX)
		return;
	buf = malloc(len);
	CHECK(buf && viommu_virtio_save(w->v, buf, len) == len);
	for (unsigned n = take8(in) % 8; n; n--) {
		size_t at = take16(in) % len;

		buf[at] = take8(in);
	}
	cut = how & 1 ? take8(in) % len : 0;
	len -= cut;
	exact = malloc(len);
	CHECK(exact);
	memcpy(exact, buf, len);
	free(buf);
	if (!(how & 2) && len >= sizeof(h)) {
		memcpy(&h, exact, sizeof(h));
		h.len = htole64(len);
		memcpy(exact, &h, sizeof(h));
		h.sum = htole64(vv_state_sum(exact, len));
		memcpy(exact, &h, sizeof(h));
	}
	(void)!viommu_virtio_load(w->v, exact, len);
	free(exact);
}

/* ------------------------------------------------------------------- all */

static void do_access(struct world *w, struct input *in)
{
	uint8_t what = take8(in), buf[64] = { 0 };
	uint64_t iova = address(in);

	if (what & 64)
		(void)!viommu_dma_write(w->ep[what % EPS], iova, buf,
					sizeof(buf));
	else
		(void)!viommu_dma_read(w->ep[what % EPS], iova, buf,
				       sizeof(buf));
}

static void do_config(struct world *w, struct input *in)
{
	uint8_t what = take8(in), off = take8(in), buf[16];
	struct viommu_fence f;

	take(in, buf, sizeof(buf));
	if (what & 1) {
		viommu_virtio_config_read(w->v, off, buf, what % 17);
		return;
	}
	viommu_fence_init(&f);
	viommu_virtio_config_write(w->v, off, buf, what % 17, &f);
	for (unsigned i = 0; i < HELD; i++)
		let_go(&w->held[i]);
	fence_run(&f);
}

static void do_reset(struct world *w)
{
	struct viommu_fence f;

	for (unsigned i = 0; i < HELD; i++)
		let_go(&w->held[i]);
	viommu_fence_init(&f);
	viommu_virtio_reset(w->v, &f);
	fence_run(&f);
}

static void step(struct world *w, struct input *in)
{
	uint8_t what = take8(in);
	uint8_t event[24];

	switch (what % 16) {
	case 8:
		do_hold(w, in);
		break;
	case 10:
		do_save(w);
		break;
	case 11:
		do_load(w, in, what / 16);
		break;
	case 12:
		do_access(w, in);
		break;
	case 13:
		do_config(w, in);
		break;
	case 14:
		do_reset(w);
		break;
	case 15:
		(void)!viommu_virtio_event(w->v, event, what / 16 + 16);
		break;
	default:
		do_request(w, in, what);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };
	struct world *w = calloc(1, sizeof(*w));

	CHECK(w);
	w->bytes = take8(&in) & 1;
	world_make(w);
	for (unsigned i = 0; i < STEPS && in.left; i++)
		step(w, &in);
	world_end(w);
	free(w);
	return 0;
}
