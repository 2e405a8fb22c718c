/* SPDX-License-Identifier: BSD-2-Clause */
#include "host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
	RAM_SIZE = BANKS * REGIONS * REGION_PAGES * PAGE,
};

static void trouble(void *arg, enum viommu_shadow_trouble what,
		    viommu_iova_t start, viommu_iova_t last, int err)
{
	struct host *h = arg;

	assert_true(start <= last);
	h->lost += what == VIOMMU_SHADOW_LOST;
	h->stuck += what == VIOMMU_SHADOW_STUCK;
	h->refused += what == VIOMMU_SHADOW_REFUSED;
	h->err = err;
}

static enum viommu_verdict expire(void *arg, const struct viommu_expiry *e)
{
	struct host *h = arg;

	(void)e;
	h->nexpired++;
	return h->verdict;
}

static void *env_alloc(void *arg, size_t size, size_t align)
{
	struct host *h = arg;

	return h->no_memory ? NULL
			    : aligned_alloc(align,
					    (size + align - 1) / align * align);
}

static void env_free(void *arg, void *p)
{
	(void)arg;
	free(p);
}

void fence_run(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(f, -1), 0);
}

/* ---- memory ----------------------------------------------------------- */

static uint64_t page_of(int region)
{
	return (uint64_t)region * REGION_STRIDE;
}

/* All regions lie in each bank, one after the other. */
char *host_at(struct host *h, uint64_t gpage, int bank)
{
	uint64_t region = gpage / REGION_STRIDE, page = gpage % REGION_STRIDE;

	assert_true(region < REGIONS && page < REGION_PAGES);
	return h->ram + (((uint64_t)bank * REGIONS + region) * REGION_PAGES +
			 page) * PAGE;
}

char *host_ram(struct host *h, int region, int page)
{
	return host_at(h, page_of(region) + (uint64_t)page, 0);
}

/* Region 2 is read-only. */
int host_ram_put(struct host *h, uint64_t gpage, uint64_t n, int bank)
{
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = gpage * PAGE,
				   .len = n * PAGE,
				   .host = host_at(h, gpage, bank),
				   .prot = gpage / REGION_STRIDE == 2
						   ? VIOMMU_READ
						   : RW,
				   .fd = -1 };

	/* it ends in the same region */
	assert_ptr_equal(host_at(h, gpage + n - 1, bank),
			 (char *)r.host + (n - 1) * PAGE);
	return viommu_memory_add(viommu_memory_of(h->vi), &r);
}

/* No shadow may call it. */
static int device_read(void *arg, uint64_t offset, void *buf, size_t len)
{
	(void)arg;
	(void)offset;
	(void)buf;
	(void)len;
	fail();
	return -EIO;
}

static int device_write(void *arg, uint64_t offset, const void *buf, size_t len)
{
	(void)arg;
	(void)offset;
	(void)buf;
	(void)len;
	fail();
	return -EIO;
}

int host_device_put(struct host *h, uint64_t gpage, uint64_t n)
{
	static const struct viommu_device_ops ops = { .size = sizeof(ops),
						      .read = device_read,
						      .write = device_write };
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = gpage * PAGE,
				   .len = n * PAGE,
				   .prot = RW,
				   .fd = -1,
				   .device = &ops };

	return viommu_memory_add(viommu_memory_of(h->vi), &r);
}

void host_give_up(struct host *h, uint64_t gpage, uint64_t n)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_give_up(viommu_memory_of(h->vi),
					       gpage * PAGE, n * PAGE, &f),
			 0);
	fence_run(&f);
}

int host_ram_add(struct host *h, int region)
{
	return host_ram_put(h, page_of(region), REGION_PAGES, 0);
}

void host_ram_remove(struct host *h, int region)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	assert_int_equal(viommu_memory_remove(viommu_memory_of(h->vi),
					      page_of(region) * PAGE,
					      REGION_PAGES * PAGE, &f),
			 0);
	fence_run(&f);
}

/* ---- life ------------------------------------------------------------- */

void host_make(struct host *h, const struct host_options *o)
{
	struct viommu_env env = { .size = sizeof(env),
				  .arg = h,
				  .alloc = env_alloc,
				  .free = env_free };
	struct viommu_config c = { .size = sizeof(c),
				   .env = &env,
				   .fence_timeout_ns =
					   o->fence_timeout_ns
						   ? o->fence_timeout_ns
						   : UINT64_MAX };
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .policy = o->policy,
					  .page_sizes = o->page_sizes };
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = 1,
					     .pasid = VIOMMU_NO_PASID,
					     .expire = expire,
					     .arg = h };

	if (!sc.page_sizes)
		sc.page_sizes = ~UINT64_C(0xfff);
	memset(h, 0, sizeof(*h));
	kernel_init(&h->k, o->kind);
	h->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(h->ram, MAP_FAILED);
	assert_int_equal(viommu_create(&c, &h->vi), 0);
	for (int i = 0; i < SPACES; i++)
		assert_int_equal(viommu_space_create(h->vi, &sc, &h->spaces[i]),
				 0);
	assert_int_equal(viommu_endpoint_create(h->vi, &ec, &h->ep), 0);
}

static int add_vfio(struct host *h, const struct host_options *o)
{
	struct viommu_vfio_config c = { .size = sizeof(c),
					.vi = h->vi,
					.piece_size = o->piece_size,
					.max_entries = o->max_entries,
					.trouble = trouble,
					.arg = h,
					.container = h->k.fd };

	return viommu_vfio_add(h->ep, &c, &h->vfio);
}

static int add_iommufd(struct host *h, const struct host_options *o)
{
	struct viommu_iommufd_config c = {
		.size = sizeof(c),
		.vi = h->vi,
		.piece_size = o->piece_size,
		.max_entries = o->max_entries,
		.trouble = trouble,
		.arg = h,
		.fd = h->k.fd,
		.ioas = KERNEL_IOAS,
		.hwpt = o->no_hwpt ? 0 : KERNEL_HWPT,
		.read_before_unmap = o->read_before_unmap,
	};

	return viommu_iommufd_add(h->ep, &c, &h->iommufd);
}

int host_add(struct host *h, const struct host_options *o)
{
	return o->kind == KERNEL_TYPE1 ? add_vfio(h, o) : add_iommufd(h, o);
}

void host_begin(struct host *h, const struct host_options *o)
{
	host_make(h, o);
	for (int i = 0; i < REGIONS; i++)
		assert_int_equal(host_ram_add(h, i), 0);
	assert_int_equal(host_attach(h, 0), 0);
	assert_int_equal(host_add(h, o), 0);
}

void host_end(struct host *h)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	viommu_vfio_remove(h->vfio, &f);
	viommu_iommufd_remove(h->iommufd, &f);
	assert_int_equal(h->k.n, 0);
	assert_int_equal(h->k.broken, 0);
	assert_false(h->k.logging);
	viommu_endpoint_destroy(h->ep, &f);
	for (int i = 0; i < SPACES; i++)
		viommu_space_destroy(h->spaces[i], &f);
	fence_run(&f);
	viommu_destroy(h->vi);
	munmap(h->ram, RAM_SIZE);
	kernel_fini(&h->k);
}

int host_retry(struct host *h)
{
	return h->vfio ? viommu_vfio_retry(h->vfio)
		       : viommu_iommufd_retry(h->iommufd);
}

struct viommu_shadow_stats host_stats(struct host *h)
{
	struct viommu_shadow_stats st;

	if (h->vfio)
		viommu_vfio_read_stats(h->vfio, &st);
	else
		viommu_iommufd_read_stats(h->iommufd, &st);
	return st;
}

/* ---- requests --------------------------------------------------------- */

int host_map(struct host *h, int space, uint64_t page, uint64_t n,
	     uint64_t gpage, uint32_t prot)
{
	struct viommu_mapping m = { .start = page * PAGE,
				    .last = (page + n) * PAGE - 1,
				    .gpa = gpage * PAGE,
				    .prot = prot };

	return viommu_space_map(h->spaces[space], &m);
}

int64_t host_unmap(struct host *h, int space, uint64_t page, uint64_t n)
{
	struct viommu_fence f;
	int64_t rc;

	viommu_fence_init(&f);
	rc = viommu_space_unmap(h->spaces[space], page * PAGE,
				(page + n) * PAGE - 1, &f);
	if (rc >= 0)
		fence_run(&f);
	return rc;
}

int host_attach(struct host *h, int space)
{
	struct viommu_fence f;
	int rc = 0;

	viommu_fence_init(&f);
	if (space < 0)
		viommu_endpoint_detach(h->ep, &f);
	else
		rc = viommu_endpoint_attach(h->ep, h->spaces[space], &f);
	fence_run(&f);
	return rc;
}

/* ---- what the device may see ------------------------------------------ */

struct place {
	const char *host; /* NULL: nothing */
	uint32_t prot;
};

static struct place expected(struct host *h, const struct viommu_mapping *m,
			     uint64_t iova)
{
	uint64_t gpa = m->gpa + (iova - m->start);
	struct viommu_region r = { .size = sizeof(r) };
	uint32_t prot;

	if (m->prot & VIOMMU_MMIO ||
	    viommu_memory_next(viommu_memory_of(h->vi), gpa, &r) ||
	    r.gpa > gpa || r.device)
		return (struct place){ NULL, 0 };
	prot = m->prot & r.prot & RW;
	return (struct place){ prot ? (char *)r.host + (gpa - r.gpa) : NULL,
			       prot };
}

static void expect(struct host *h, int space, struct place *want)
{
	struct viommu_mapping m;
	uint64_t at = 0;

	while (space >= 0 && !viommu_space_next(h->spaces[space], at, &m)) {
		for (at = m.start; at <= m.last && at < WINDOW * PAGE;
		     at += PAGE)
			want[at / PAGE] = expected(h, &m, at);
		at = m.last + 1;
		if (!at)
			break;
	}
}

struct difference host_compare(struct host *h, int space)
{
	struct place want[WINDOW] = { { NULL, 0 } };
	struct difference d = { 0, 0 };
	uint64_t inside = 0;

	expect(h, space, want);
	for (uint64_t p = 0; p < WINDOW; p++) {
		const struct kernel_entry *e = kernel_find(&h->k, p * PAGE);

		inside += e != NULL;
		if (e && (want[p].host != e->host + (p * PAGE - e->iova) ||
			  want[p].prot != e->prot))
			d.stale++;
		else if (!e && want[p].host)
			d.missing++;
	}
	/* nothing elsewhere */
	if (h->k.pinned != inside * PAGE)
		d.stale++;
	return d;
}

void host_is_equal(struct host *h, int space)
{
	struct difference d = host_compare(h, space);
	struct viommu_shadow_stats st = host_stats(h);

	assert_int_equal(d.stale, 0);
	assert_int_equal(d.missing, 0);
	assert_int_equal(h->k.broken, 0);
	assert_int_equal(st.entries, h->k.n);
	assert_int_equal(st.bytes, h->k.pinned);
}
