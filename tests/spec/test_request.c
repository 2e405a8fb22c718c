/* SPDX-License-Identifier: BSD-2-Clause */
/* What holds for every request: 5.13.6 to 5.13.6.2. */
#include "world.h"

static const struct {
	uint8_t type;
	size_t out_len;
} types[] = {
	{ VIRTIO_IOMMU_T_ATTACH, 20 }, { VIRTIO_IOMMU_T_DETACH, 20 },
	{ VIRTIO_IOMMU_T_MAP, 36 },    { VIRTIO_IOMMU_T_UNMAP, 28 },
	{ VIRTIO_IOMMU_T_PROBE, 72 },
};
enum {
	TYPES = sizeof(types) / sizeof(types[0])
};

/* 5.13.6.2: unrecognised type: SHOULD NOT write, used length 0 (QEMU 7). */
static void unknown_type_is_not_written(void **state)
{
	struct world *w = *state;
	uint8_t out[80] = { 0 };
	struct ask a;

	for (unsigned type = 0; type < 256; type++) {
		if (type >= VIRTIO_IOMMU_T_ATTACH &&
		    type <= VIRTIO_IOMMU_T_PROBE)
			continue;
		out[0] = (uint8_t)type;
		for (size_t len = 4; len <= sizeof(out); len += 4)
			assert_int_equal(ask_bytes(w, &a, out, len, IN_SIZE),
					 UNWRITTEN);
	}
}

/* Readable part too short: returned unwritten, and the device goes on working
 * (QEMU 8). */
static void cut_short_is_not_written(void **state)
{
	struct world *w = *state;
	uint8_t out[80] = { 0 };
	struct ask a;

	for (size_t i = 0; i < TYPES; i++) {
		out[0] = types[i].type;
		for (size_t len = 0; len < types[i].out_len; len++)
			assert_int_equal(ask_bytes(w, &a, out, len, IN_SIZE),
					 UNWRITTEN);
	}
	assert_int_equal(attach(w, 1, EP), OK);
}

/* No room for the tail: likewise (QEMU 8). */
static void without_tail_is_not_written(void **state)
{
	struct world *w = *state;
	uint8_t out[80] = { 0 };
	struct ask a;

	for (size_t i = 0; i < TYPES; i++)
		for (size_t len = 0; len < 4; len++) {
			out[0] = types[i].type;
			assert_int_equal(
				ask_bytes(w, &a, out, types[i].out_len, len),
				UNWRITTEN);
		}
	assert_int_equal(attach(w, 1, EP), OK);
	/* and nothing was carried out that cannot be answered */
	out[0] = VIRTIO_IOMMU_T_DETACH;
	out[4] = 1;
	out[8] = EP;
	assert_int_equal(ask_bytes(w, &a, out, 20, 3), UNWRITTEN);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
}

/* Every answer, good or bad, is a tail of four bytes, at the start. */
static void used_length_is_the_tail(void **state)
{
	struct world *w = *state;
	struct ask a;

	assert_int_equal(ask_attach(w, &a, 1, EP, 0), OK);
	assert_int_equal(a.written, 4);
	assert_int_equal(ask_attach(w, &a, 1, EP + EPS, 0), NOENT);
	assert_int_equal(a.written, 4);
	assert_int_equal(ask_unmap(w, &a, 1, 0, 4095), OK);
	assert_int_equal(a.written, 4);
	assert_int_equal(ask_unmap(w, &a, 2, 0, 4095), NOENT);
	assert_int_equal(a.written, 4);
	assert_int_equal(ask_detach(w, &a, 1, EP), OK);
	assert_int_equal(a.written, 4);
}

/* More room than a request needs is no matter. */
static void longer_buffers_are_fine(void **state)
{
	struct virtio_iommu_req_attach r = {
		.head.type = VIRTIO_IOMMU_T_ATTACH,
		.domain = htole32(1),
		.endpoint = htole32(EP),
	};
	struct world *w = *state;
	uint8_t out[100];
	struct ask a;

	memset(out, 0xff, sizeof(out));
	memcpy(out, &r, 20);
	assert_int_equal(ask_bytes(w, &a, out, sizeof(out), 100), OK);
	assert_int_equal(a.written, 4);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
}

/* 5.13.6.2: reserved of the head: MUST be ignored. */
static void head_reserved_is_ignored(void **state)
{
	struct world *w = *state;
	struct virtio_iommu_req_attach at = {
		.head = { VIRTIO_IOMMU_T_ATTACH, { 1, 2, 3 } },
		.domain = htole32(1),
		.endpoint = htole32(EP),
	};
	struct virtio_iommu_req_map m = {
		.head = { VIRTIO_IOMMU_T_MAP, { 0xff, 0xff, 0xff } },
		.domain = htole32(1),
		.virt_end = htole64(4095),
		.flags = htole32(R),
	};
	struct virtio_iommu_req_unmap u = {
		.head = { VIRTIO_IOMMU_T_UNMAP, { 0, 0, 1 } },
		.domain = htole32(1),
		.virt_end = htole64(4095),
	};
	struct virtio_iommu_req_detach d = {
		.head = { VIRTIO_IOMMU_T_DETACH, { 0x80, 0, 0 } },
		.domain = htole32(1),
		.endpoint = htole32(EP),
	};
	uint8_t p[72] = { VIRTIO_IOMMU_T_PROBE, 9, 9, 9, EP };
	struct ask a;

	assert_int_equal(ask_bytes(w, &a, &at, 20, 4), OK);
	assert_int_equal(ask_bytes(w, &a, &m, 36, 4), OK);
	assert_int_equal(ask_bytes(w, &a, &u, 28, 4), OK);
	assert_int_equal(ask_bytes(w, &a, &d, 20, 4), OK);
	assert_int_equal(ask_bytes(w, &a, p, 72, 516), OK);
}

/* 5.13.6.2: reserved of the tail: SHOULD be zero.  Checked for each answer by
 * ask_status(); here, over a buffer of ones. */
static void tail_reserved_is_zero(void **state)
{
	struct world *w = *state;
	struct ask a;

	assert_int_equal(ask_attach(w, &a, 1, EP, 0), OK);
	assert_memory_equal(a.in, ((uint8_t[]){ OK, 0, 0, 0, 0xa5 }), 5);
	assert_int_equal(ask_attach(w, &a, 1, EP, 2), INVAL);
	assert_memory_equal(a.in, ((uint8_t[]){ INVAL, 0, 0, 0, 0xa5 }), 5);
}

/* A request that comes with a feature is unrecognised without it. */
static void requests_come_with_features(void **state)
{
	uint8_t p[72] = { VIRTIO_IOMMU_T_PROBE, 0, 0, 0, EP };
	uint8_t m[36] = { VIRTIO_IOMMU_T_MAP, 0, 0, 0, 1 };
	uint8_t u[28] = { VIRTIO_IOMMU_T_UNMAP, 0, 0, 0, 1 };
	struct world *w = *state;
	struct ask a;

	viommu_virtio_features_write(w->v, 0);
	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(ask_bytes(w, &a, p, 72, 516), UNWRITTEN);
	assert_int_equal(ask_bytes(w, &a, m, 36, 4), UNWRITTEN);
	assert_int_equal(ask_bytes(w, &a, u, 28, 4), UNWRITTEN);
	assert_int_equal(detach(w, 1, EP), OK);
	viommu_virtio_features_write(w->v, UINT64_C(1) << VIRTIO_IOMMU_F_PROBE);
	assert_int_equal(ask_bytes(w, &a, p, 72, 516), OK);
	viommu_virtio_features_write(w->v, UINT64_C(1)
						   << VIRTIO_IOMMU_F_MAP_UNMAP);
	assert_int_equal(ask_bytes(w, &a, p, 72, 516), UNWRITTEN);
	assert_int_equal(unmap(w, 1, 0, 4095), NOENT);
}

/* done() may use the request again, at once: so that a chain of any length
 * runs in it. */
static void done_chain(struct viommu_virtio_req *req, size_t written)
{
	struct world *w = req->arg;
	uint8_t *out = (uint8_t *)req->in + 8;

	assert_int_equal(written, 4);
	assert_int_equal(*(uint8_t *)req->in, OK);
	if (++w->notified >= 20)
		return;
	out[0] =
		w->notified % 2 ? VIRTIO_IOMMU_T_DETACH : VIRTIO_IOMMU_T_ATTACH;
	viommu_virtio_request(w->v, req);
}

static void done_may_ask_again(void **state)
{
	struct world *w = *state;
	uint8_t buf[64] = { 0 };
	struct viommu_virtio_req req = { .in = buf,
					 .in_len = 4,
					 .out = buf + 8,
					 .out_len = 20,
					 .done = done_chain,
					 .arg = w };

	buf[8] = VIRTIO_IOMMU_T_ATTACH;
	buf[12] = 1;
	buf[16] = EP;
	viommu_virtio_request(w->v, &req);
	assert_int_equal(w->notified, 20);
	assert_int_equal(map(w, 1, 0, 4095, 0), NOENT);
}

static void counters(void **state)
{
	struct viommu_virtio_stats s;
	struct world *w = *state;
	struct ask a;

	assert_int_equal(attach(w, 1, EP), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0), OK);
	assert_int_equal(map(w, 1, 0, 4095, 0), INVAL);
	assert_int_equal(unmap(w, 1, 0, 4095), OK);
	assert_int_equal(unmap(w, 1, 0, 4095), OK);
	assert_int_equal(probe(w, &a, EP, 516), OK);
	assert_int_equal(ask_bytes(w, &a, "\x55\0\0", 4, 4), UNWRITTEN);
	assert_int_equal(detach(w, 1, EP), OK);
	viommu_virtio_read_stats(w->v, &s);
	assert_int_equal(s.requests, 8);
	assert_int_equal(s.refused, 1);
	assert_int_equal(s.attaches, 1);
	assert_int_equal(s.detaches, 1);
	assert_int_equal(s.maps, 1);
	assert_int_equal(s.unmaps, 2);
	assert_int_equal(s.probes, 1);
	assert_int_equal(s.waiting, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(unknown_type_is_not_written),
		TEST(cut_short_is_not_written),
		TEST(without_tail_is_not_written),
		TEST(used_length_is_the_tail),
		TEST(longer_buffers_are_fine),
		TEST(head_reserved_is_ignored),
		TEST(tail_reserved_is_zero),
		TEST(requests_come_with_features),
		TEST(done_may_ask_again),
		TEST(counters),
	};

	return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
