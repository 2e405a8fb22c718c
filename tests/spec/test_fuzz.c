/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hostile driver: requests that are nearly right, or not at all, while maps
 * are held or not.  Each is answered once, within its buffer, and nothing is
 * left over.  Buffers are of their exact size, for sanitizers to watch.
 */
#include "world.h"

enum {
	ASKS = 64,
	STEPS = 20000,
	HELD = 4,
	SEEDS = 3,
};

/* A request whose buffers end where they end. */
struct wild {
	struct viommu_virtio_req req;
	unsigned answers;
	size_t written;
};

static uint64_t rng_state;

static uint64_t pick(uint64_t n)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return (rng_state >> 9) % n;
}

static void wild_done(struct viommu_virtio_req *req, size_t written)
{
	struct wild *a = req->arg;
	const uint8_t *in = req->in;

	a->answers++;
	a->written = written;
	assert_true(written <= req->in_len);
	assert_true(written == 0 || written >= 4);
	if (written)
		assert_true(in[written - 4] <= VIRTIO_IOMMU_S_NOMEM);
	for (size_t i = written; i < req->in_len; i++)
		assert_int_equal(in[i], 0xa5);
}

static void put(uint8_t *out, size_t at, uint64_t val, size_t size)
{
	val = htole64(val);
	memcpy(out + at, &val, size);
}

static uint64_t address(void)
{
	static const uint64_t edges[] = {
		0, 0xfff, 0x1000, UINT64_MAX, UINT64_MAX - 0xfff, INT64_MAX
	};

	if (pick(4) == 0)
		return edges[pick(6)];
	return pick(16) * PAGE + (pick(2) ? PAGE - 1 : 0);
}

/* Plausible, so that it gets somewhere. */
static void plausible(uint8_t *out)
{
	memset(out, 0, 128);
	out[0] = (uint8_t)(1 + pick(5));
	put(out, 4, out[0] == VIRTIO_IOMMU_T_PROBE ? EP + pick(5) : pick(4), 4);
	if (out[0] == VIRTIO_IOMMU_T_ATTACH ||
	    out[0] == VIRTIO_IOMMU_T_DETACH) {
		put(out, 8, EP + pick(5), 4);
		if (out[0] == VIRTIO_IOMMU_T_ATTACH && pick(6) == 0)
			put(out, 12, BYPASS, 4);
	} else if (out[0] != VIRTIO_IOMMU_T_PROBE) {
		put(out, 8, address(), 8);
		put(out, 16, address(), 8);
	}
	if (out[0] == VIRTIO_IOMMU_T_MAP) {
		put(out, 24, address(), 8);
		put(out, 32, pick(8), 4);
	}
}

static void wild_send(struct world *w, struct wild *a)
{
	static const size_t lens[] = { 20, 20, 36, 28, 72 };
	uint8_t out[128];
	size_t out_len, in_len = 4;

	plausible(out);
	out_len = lens[out[0] - 1];
	if (out[0] == VIRTIO_IOMMU_T_PROBE)
		in_len = 516;
	for (uint64_t n = pick(8) == 0 ? pick(4) : 0; n; n--)
		out[pick(128)] = (uint8_t)pick(256);
	if (pick(16) == 0)
		out_len = pick(128);
	if (pick(16) == 0)
		in_len = pick(600);
	free(a->req.in);
	/* freed with the request, or by the next; const for the library */
	a->req.in = malloc(in_len + out_len + 1);
	assert_non_null(a->req.in);
	memset(a->req.in, 0xa5, in_len);
	a->req.out = memcpy((uint8_t *)a->req.in + in_len, out, out_len);
	a->req.out_len = out_len;
	a->req.in_len = in_len;
	a->req.done = wild_done;
	a->req.arg = a;
	a->answers = 0;
	viommu_virtio_request(w->v, &a->req);
	assert_true(a->answers <= 1);
}

static void hold_or_let_go(struct world *w, struct held *h)
{
	if (h->d.ep) {
		let_go(h);
		h->d.ep = NULL;
		return;
	}
	h->d = (struct viommu_dma){ .ep = w->ep[pick(EPS)],
				    .iova = pick(16) * PAGE,
				    .len = 1 + pick(2 * PAGE),
				    .prot = 1 + (uint32_t)pick(3),
				    .iov = h->iov,
				    .max_iov = 8 };
	if (viommu_dma_map(&h->d))
		h->d.ep = NULL;
}

static void run(uint64_t seed)
{
	static struct wild ask[ASKS];
	struct held held[HELD] = { 0 };
	struct world w;
	struct virtio_iommu_fault e;
	uint64_t waited = 0;

	rng_state = seed;
	memset(ask, 0, sizeof(ask));
	for (int i = 0; i < ASKS; i++)
		ask[i].answers = 1;
	world_make(&w, NULL);
	for (int i = 0; i < STEPS; i++) {
		struct wild *a = &ask[pick(ASKS)];

		if (pick(8) == 0)
			hold_or_let_go(&w, &held[pick(HELD)]);
		if (pick(8) == 0)
			(void)event(&w, &e);
		if (!a->answers)
			continue;
		wild_send(&w, a);
		waited += !a->answers;
	}
	for (int i = 0; i < HELD; i++)
		if (held[i].d.ep)
			let_go(&held[i]);
	for (int i = 0; i < ASKS; i++) {
		assert_int_equal(ask[i].answers, 1);
		free(ask[i].req.in);
	}
	assert_true(waited > 100); /* or it tests less than it says */
	world_free(&w);
}

static void hostile_driver(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		run(seed * 0x2545f4914f6cdd1d);
}

/* Bytes from nowhere, also as the whole buffer. */
static void noise(void **state)
{
	struct world *w = *state;
	uint8_t out[128];
	struct ask a;

	rng_state = 4711;
	for (int i = 0; i < STEPS; i++) {
		size_t len = pick(sizeof(out) + 1);

		for (size_t j = 0; j < len; j++)
			out[j] = (uint8_t)pick(256);
		if (len && pick(2))
			out[0] = (uint8_t)pick(8);
		assert_int_not_equal(ask_bytes(w, &a, out, len, pick(600)),
				     WAITING);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_driver),
		TEST(noise),
	};

	return cmocka_run_group_tests_name("fuzz", tests, NULL, NULL);
}
