/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring whose memory is the input, rewritten between the device's steps.
 * Whatever stands there: a request is described within its bounds, a head is
 * not in the device's hands twice, and a broken queue stays broken.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <viommu/serve/virtqueue.h>

#include "fuzz.h"

enum {
	PAGE = 4096,
	RAM = 2 * PAGE,
	MAX_LEN = 16,
	SEGMENTS = 24,
	STEPS = 300,
};

#define TOTAL_MAX (UINT64_C(1) << 32)

struct popped {
	struct viommu_element e;
	struct viommu_piece segments[SEGMENTS];
	bool taken;
};

struct world {
	struct viommu *vi;
	struct viommu_space *space;
	struct viommu_endpoint *ep;
	struct viommu_virtqueue *vq;
	struct viommu_ring ring;
	struct popped popped[MAX_LEN + 1];
	bool mapped;
	unsigned hands; /* requests with the device */
};

static uint8_t ram[RAM] __attribute__((aligned(4096)));

static void map(struct world *w)
{
	const struct viommu_mapping m = { .start = 0,
					  .last = RAM - 1,
					  .prot = VIOMMU_READ | VIOMMU_WRITE };

	CHECK(!viommu_space_map(w->space, &m));
	w->mapped = true;
}

static void world_make(struct world *w)
{
	const struct viommu_config small = SMALL;
	struct viommu_region r = { .size = sizeof(r),
				   .len = RAM,
				   .host = ram,
				   .prot = VIOMMU_READ | VIOMMU_WRITE,
				   .fd = -1 };
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .page_sizes = PAGE };
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .pasid = VIOMMU_NO_PASID };
	struct viommu_virtqueue_config qc = { .size = sizeof(qc),
					      .max_len = MAX_LEN,
					      .max_segments = SEGMENTS };
	struct viommu_fence f;

	CHECK(!viommu_create(&small, &w->vi));
	CHECK(!viommu_memory_add(viommu_memory_of(w->vi), &r));
	CHECK(!viommu_space_create(w->vi, &sc, &w->space));
	CHECK(!viommu_endpoint_create(w->vi, &ec, &w->ep));
	viommu_fence_init(&f);
	CHECK(!viommu_endpoint_attach(w->ep, w->space, &f));
	fence_run(&f);
	qc.endpoint = w->ep;
	CHECK(!viommu_virtqueue_create(&qc, &w->vq));
	map(w);
}

static void world_end(struct world *w)
{
	struct viommu_fence f;

	viommu_virtqueue_destroy(w->vq);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(w->ep, &f);
	viommu_space_destroy(w->space, &f);
	fence_run(&f);
	viommu_destroy(w->vi);
}

/* Where a ring may be: together they fit, or reach over the edge. */
static void do_start(struct world *w, struct input *in)
{
	uint8_t how = take8(in);
	struct viommu_ring r = { .desc = 0,
				 .avail = 0x200,
				 .used = 0x280,
				 .len = (uint16_t)(1u << how % 8),
				 .indirect = how & 8,
				 .event_idx = how & 16 };
	int rc;

	if (how & 32)
		r.used = take16(in) % (RAM + PAGE);
	if (how & 64)
		r.desc = take64(in);
	rc = viommu_virtqueue_start(w->vq, &r);
	CHECK(!rc || rc == -EINVAL);
	if (rc)
		return;
	CHECK(r.len <= MAX_LEN);
	CHECK(!viommu_virtqueue_broken(w->vq));
	w->ring = r;
	w->hands = 0;
	for (unsigned i = 0; i <= MAX_LEN; i++)
		w->popped[i].taken = false;
}

static void check_element(const struct world *w, const struct viommu_element *e)
{
	uint64_t out = 0, in = 0;

	CHECK(e->head < w->ring.len);
	CHECK(e->nout + e->nin <= e->max);
	for (uint32_t i = 0; i < e->nout + e->nin; i++) {
		CHECK(e->segments[i].len && e->segments[i].len <= UINT32_MAX);
		if (i < e->nout)
			out += e->segments[i].len;
		else
			in += e->segments[i].len;
	}
	CHECK(out == e->out_len && in == e->in_len && out + in <= TOTAL_MAX);
	for (unsigned i = 0; i <= MAX_LEN; i++)
		CHECK(!w->popped[i].taken || w->popped[i].e.head != e->head ||
		      &w->popped[i].e == e);
}

static void do_pop(struct world *w)
{
	bool broken = viommu_virtqueue_broken(w->vq);
	struct popped *p = w->popped;
	int rc;

	while (p->taken)
		p++;
	/* as many as fit, however many there may be */
	p->e = (struct viommu_element){ .segments = p->segments,
					.max = SEGMENTS };
	rc = viommu_virtqueue_pop(w->vq, &p->e);
	CHECK(!rc || rc == -ENOENT || rc == -EPROTO);
	CHECK(!broken || rc == -EPROTO);
	CHECK((rc == -EPROTO) == !!viommu_virtqueue_broken(w->vq));
	if (rc)
		return;
	p->taken = true;
	w->hands++;
	CHECK(w->hands <= w->ring.len);
	check_element(w, &p->e);
}

static struct popped *choose(struct world *w, uint8_t which)
{
	for (unsigned i = 0; i <= MAX_LEN; i++) {
		struct popped *p = &w->popped[(which + i) % (MAX_LEN + 1)];

		if (p->taken)
			return p;
	}
	return NULL;
}

static void do_copy(struct world *w, struct input *in)
{
	struct popped *p = choose(w, take8(in));
	uint8_t how = take8(in), buf[128] = { 0 };
	uint64_t off = how & 64 ? take64(in) : take8(in);
	uint64_t room;
	int rc;

	if (!p)
		return;
	room = how & 128 ? p->e.in_len : p->e.out_len;
	if (how & 128)
		rc = viommu_virtqueue_write(w->vq, &p->e, off, buf, how % 64);
	else
		rc = viommu_virtqueue_read(w->vq, &p->e, off, buf, how % 64);
	CHECK((rc == -EMSGSIZE) == (off > room || how % 64u > room - off));
}

static void do_push(struct world *w, struct input *in)
{
	struct popped *p = choose(w, take8(in));

	if (!p)
		return;
	viommu_virtqueue_push(w->vq, &p->e, take8(in));
	p->taken = false;
	w->hands--;
}

static void do_publish(struct world *w)
{
	bool broken = viommu_virtqueue_broken(w->vq);
	int rc = viommu_virtqueue_publish(w->vq);

	CHECK(rc == 0 || rc == 1 || rc == -EPROTO);
	CHECK(!broken || rc == -EPROTO);
}

static void do_scribble(struct input *in)
{
	uint16_t at = take16(in) % RAM;
	uint8_t n = take8(in);

	take(in, ram + at, n < RAM - at ? n : RAM - at);
}

/* One more, as a driver does it. */
static void do_offer(struct world *w, struct input *in)
{
	uint16_t head = take8(in) % (2 * MAX_LEN), idx;
	uint64_t at = w->ring.avail;

	if (!w->ring.len)
		return;
	memcpy(&idx, ram + at + 2, sizeof(idx));
	idx = le16toh(idx);
	head = htole16(head);
	memcpy(ram + at + 4 + 2 * (uint64_t)(idx % w->ring.len), &head,
	       sizeof(head));
	idx = htole16((uint16_t)(idx + 1));
	memcpy(ram + at + 2, &idx, sizeof(idx));
}

/* A descriptor that makes some sense. */
static void do_describe(struct input *in)
{
	uint8_t i = take8(in), how = take8(in);
	struct vring_desc d = {
		.addr = htole64(take8(in) * UINT64_C(32)),
		.len = htole32(how & 8 ? take16(in) * 65537u : take8(in) * 16u),
		.flags = htole16(how % 8),
		.next = htole16(take8(in)),
	};

	memcpy(ram + i * sizeof(d) % (RAM / 2), &d, sizeof(d));
}

static void do_unmap(struct world *w)
{
	struct viommu_fence f;

	if (!w->mapped) {
		map(w);
		return;
	}
	viommu_fence_init(&f);
	CHECK(viommu_space_unmap(w->space, 0, RAM - 1, &f) == RAM);
	fence_run(&f);
	w->mapped = false;
}

static void step(struct world *w, struct input *in)
{
	uint8_t what = take8(in);

	switch (what % 16) {
	case 0:
		do_start(w, in);
		break;
	case 1:
		viommu_virtqueue_stop(w->vq);
		break;
	case 2:
		do_unmap(w);
		break;
	case 3:
	case 4:
		do_copy(w, in);
		break;
	case 5:
	case 6:
		do_push(w, in);
		break;
	case 7:
		do_publish(w);
		break;
	case 8:
		do_scribble(in);
		break;
	case 9:
	case 10:
		do_describe(in);
		break;
	case 11:
	case 12:
		do_offer(w, in);
		break;
	default:
		do_pop(w);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = { data, len };
	struct world *w = calloc(1, sizeof(*w));

	CHECK(w);
	memset(ram, 0, sizeof(ram));
	world_make(w);
	do_start(w, &in);
	for (unsigned i = 0; i < STEPS && in.left; i++)
		step(w, &in);
	world_end(w);
	free(w);
	return 0;
}
