/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest's virtio-iommu driver gets to see of the host's limits: the
 * statuses of its requests.
 */
#include "host.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_iommu.h>
#include <string.h>
#include <viommu/guest/virtio.h>

enum {
	PENDING = -1, /* no answer yet */
	DOMAIN = 7,
	PROBE_SIZE = 512,
};

static const struct host_options plain = { .kind = KERNEL_TYPE1 };

struct guest {
	struct host h;
	struct viommu_virtio *v;
	struct viommu_virtio_req req;
	unsigned char in[PROBE_SIZE + 4];
	int status;
	unsigned released;
};

static void answered(struct viommu_virtio_req *req, size_t written)
{
	struct guest *g = req->arg;

	assert_true(written >= sizeof(struct virtio_iommu_req_tail));
	g->status = g->in[written - sizeof(struct virtio_iommu_req_tail)];
}

static void released(struct viommu_virtio_req *req)
{
	struct guest *g = req->arg;

	g->released++;
}

static int ask(struct guest *g, const void *out, size_t len, size_t in)
{
	g->req = (struct viommu_virtio_req){ .out = out,
					     .out_len = len,
					     .in = g->in,
					     .in_len = in,
					     .done = answered,
					     .release = released,
					     .arg = g };
	g->status = PENDING;
	viommu_virtio_request(g->v, &g->req);
	return g->status;
}

static int guest_attach(struct guest *g)
{
	struct virtio_iommu_req_attach r = {
		.head = { .type = VIRTIO_IOMMU_T_ATTACH },
		.domain = htole32(DOMAIN),
		.endpoint = htole32(1),
	};

	return ask(g, &r, offsetof(struct virtio_iommu_req_attach, tail), 4);
}

static int guest_map(struct guest *g, uint64_t page, uint64_t n, uint64_t gpage)
{
	struct virtio_iommu_req_map r = {
		.head = { .type = VIRTIO_IOMMU_T_MAP },
		.domain = htole32(DOMAIN),
		.virt_start = htole64(page * PAGE),
		.virt_end = htole64((page + n) * PAGE - 1),
		.phys_start = htole64(gpage * PAGE),
		.flags = htole32(VIRTIO_IOMMU_MAP_F_READ |
				 VIRTIO_IOMMU_MAP_F_WRITE),
	};

	return ask(g, &r, offsetof(struct virtio_iommu_req_map, tail), 4);
}

static int guest_unmap(struct guest *g, uint64_t page, uint64_t n)
{
	struct virtio_iommu_req_unmap r = {
		.head = { .type = VIRTIO_IOMMU_T_UNMAP },
		.domain = htole32(DOMAIN),
		.virt_start = htole64(page * PAGE),
		.virt_end = htole64((page + n) * PAGE - 1),
	};

	return ask(g, &r, offsetof(struct virtio_iommu_req_unmap, tail), 4);
}

static void guest_begin(struct guest *g, uint64_t fence_timeout_ns)
{
	struct host_options o = plain;

	o.fence_timeout_ns = fence_timeout_ns;
	memset(g, 0, sizeof(*g));
	host_make(&g->h, &o);
	for (int i = 0; i < REGIONS; i++)
		assert_int_equal(host_ram_add(&g->h, i), 0);
	assert_int_equal(viommu_virtio_create(g->h.vi, NULL, &g->v), 0);
	assert_int_equal(viommu_virtio_add(g->v, g->h.ep), 0);
	assert_int_equal(host_add(&g->h, &o), 0);
}

static void guest_end(struct guest *g)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_virtio_remove(g->v, g->h.ep, &f);
	viommu_virtio_destroy(g->v, &f);
	fence_run(&f);
	host_end(&g->h);
}

static void requests_become_entries(void **state)
{
	struct guest g;

	(void)state;
	guest_begin(&g, 0);
	assert_int_equal(guest_attach(&g), VIRTIO_IOMMU_S_OK);
	assert_int_equal(guest_map(&g, 4, 8, 2), VIRTIO_IOMMU_S_OK);
	assert_int_equal(g.h.k.n, 1);
	assert_ptr_equal(kernel_find(&g.h.k, 5 * PAGE)->host,
			 host_ram(&g.h, 0, 2));
	/* the specification: no mapping is cut */
	assert_int_equal(guest_unmap(&g, 4, 2), VIRTIO_IOMMU_S_RANGE);
	assert_int_equal(g.h.k.n, 1);
	assert_int_equal(guest_unmap(&g, 0, 100), VIRTIO_IOMMU_S_OK);
	assert_int_equal(g.h.k.n, 0);
	assert_int_equal(host_stats(&g.h).cuts, 0);
	guest_end(&g);
}

static void limits_are_nomem(void **state)
{
	struct guest g;

	(void)state;
	guest_begin(&g, 0);
	g.h.k.limit = 2;
	assert_int_equal(guest_attach(&g), VIRTIO_IOMMU_S_OK);
	assert_int_equal(guest_map(&g, 0, 1, 0), VIRTIO_IOMMU_S_OK);
	assert_int_equal(guest_map(&g, 1, 1, 1), VIRTIO_IOMMU_S_OK);
	assert_int_equal(guest_map(&g, 2, 1, 2), VIRTIO_IOMMU_S_NOMEM);
	g.h.k.limit = 100;
	g.h.k.memlock = 4 * PAGE;
	assert_int_equal(guest_map(&g, 2, 3, 2), VIRTIO_IOMMU_S_NOMEM);
	kernel_fail(&g.h.k, KERNEL_MAP, 0, 1, EFAULT);
	assert_int_equal(guest_map(&g, 2, 1, 2), VIRTIO_IOMMU_S_DEVERR);
	assert_int_equal(g.h.k.n, 2);
	assert_int_equal(guest_map(&g, 2, 1, 2), VIRTIO_IOMMU_S_OK);
	guest_end(&g);
}

static void an_unmap_is_answered_when_the_kernel_did_it(void **state)
{
	struct guest g;

	(void)state;
	guest_begin(&g, 0);
	assert_int_equal(guest_attach(&g), VIRTIO_IOMMU_S_OK);
	assert_int_equal(guest_map(&g, 0, 1, 0), VIRTIO_IOMMU_S_OK);
	kernel_fail(&g.h.k, KERNEL_UNMAP, 0, 1000, EBUSY);
	assert_int_equal(guest_unmap(&g, 0, 1), PENDING);
	assert_int_equal(host_retry(&g.h), -EBUSY);
	assert_int_equal(g.status, PENDING);
	kernel_fail(&g.h.k, KERNEL_UNMAP, 0, 0, 0);
	assert_int_equal(host_retry(&g.h), 0);
	assert_int_equal(g.status, VIRTIO_IOMMU_S_OK);
	assert_int_equal(g.released, 3);
	guest_end(&g);
}

static void an_unmap_that_takes_too_long_is_no_success(void **state)
{
	struct guest g;

	(void)state;
	guest_begin(&g, 1000000);
	g.h.verdict = VIOMMU_GIVE_UP;
	assert_int_equal(guest_attach(&g), VIRTIO_IOMMU_S_OK);
	assert_int_equal(guest_map(&g, 0, 1, 0), VIRTIO_IOMMU_S_OK);
	kernel_fail(&g.h.k, KERNEL_UNMAP, 0, 1000, EBUSY);
	assert_int_equal(guest_unmap(&g, 0, 1), PENDING);
	viommu_poll(g.h.vi, UINT64_MAX);
	assert_int_equal(g.h.nexpired, 1);
	assert_int_equal(g.status, VIRTIO_IOMMU_S_DEVERR);
	assert_int_equal(g.released, 2);
	kernel_fail(&g.h.k, KERNEL_UNMAP, 0, 0, 0);
	assert_int_equal(host_retry(&g.h), 0);
	assert_int_equal(g.released, 3);
	guest_end(&g);
}

static void what_the_kernel_cannot_map_is_probed(void **state)
{
	struct virtio_iommu_req_probe r = {
		.head = { .type = VIRTIO_IOMMU_T_PROBE },
		.endpoint = htole32(1),
	};
	struct virtio_iommu_probe_resv_mem p;
	struct guest g;

	(void)state;
	guest_begin(&g, 0);
	assert_int_equal(ask(&g, &r, sizeof(r), sizeof(g.in)),
			 VIRTIO_IOMMU_S_OK);
	memcpy(&p, g.in, sizeof(p));
	assert_int_equal(le16toh(p.head.type), VIRTIO_IOMMU_PROBE_T_RESV_MEM);
	assert_int_equal(p.subtype, VIRTIO_IOMMU_RESV_MEM_T_MSI);
	assert_int_equal(le64toh(p.start), 0xfee00000);
	assert_int_equal(le64toh(p.end), 0xfeefffff);
	assert_int_equal(guest_attach(&g), VIRTIO_IOMMU_S_OK);
	assert_int_equal(guest_map(&g, 0xfee00, 1, 0), VIRTIO_IOMMU_S_INVAL);
	guest_end(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_become_entries),
		cmocka_unit_test(limits_are_nomem),
		cmocka_unit_test(an_unmap_is_answered_when_the_kernel_did_it),
		cmocka_unit_test(an_unmap_that_takes_too_long_is_no_success),
		cmocka_unit_test(what_the_kernel_cannot_map_is_probed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
