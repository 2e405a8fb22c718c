/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_HOST_HOST_H
#define TESTS_HOST_HOST_H

/*
 * A guest whose device goes by a shadow in a model of the kernel: regions of
 * RAM with a hole between them, spaces, one endpoint.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <viommu.h>
#include <viommu/host/iommufd.h>
#include <viommu/host/vfio.h>

#include "kernel.h"

#define PAGE KERNEL_PAGE
#define RW   (VIOMMU_READ | VIOMMU_WRITE)

enum {
	REGIONS = 4,
	REGION_PAGES = 16,
	/* GPA of region r: r * 32 pages, so a hole follows each */
	REGION_STRIDE = 32,
	BANKS = 2, /* of RAM that can be there */
	SPACES = 3,
	WINDOW = 160, /* pages of IOVA that tests use */
};

struct host {
	struct kernel k;
	struct viommu *vi;
	struct viommu_space *spaces[SPACES];
	struct viommu_endpoint *ep;
	struct viommu_vfio *vfio; /* one of the two */
	struct viommu_iommufd *iommufd;
	char *ram;
	unsigned lost, stuck, refused; /* as the trouble handler was told */
	int err;
	unsigned nexpired;
	enum viommu_verdict verdict;
	/* allocations fail while it is set */
	bool no_memory;
};

struct host_options {
	enum kernel_kind kind;
	enum viommu_space_policy policy;
	uint64_t page_sizes; /* 0: 4 KiB and up */
	uint64_t piece_size, max_entries;
	uint64_t fence_timeout_ns; /* 0: for ever */
	bool read_before_unmap, no_hwpt;
};

/* The world without a shadow: @h->k may be changed before host_add(). */
void host_make(struct host *h, const struct host_options *o);
/* ... all regions, the endpoint in space 0, with a shadow. */
void host_begin(struct host *h, const struct host_options *o);
int host_add(struct host *h, const struct host_options *o);
/* Removes the shadow, looks whether the kernel is empty and was satisfied. */
void host_end(struct host *h);

int host_ram_add(struct host *h, int region);
void host_ram_remove(struct host *h, int region);
char *host_ram(struct host *h, int region, int page);

/* Parts of regions, by page of GPA; from one bank or the other. */
int host_ram_put(struct host *h, uint64_t gpage, uint64_t n, int bank);
int host_device_put(struct host *h, uint64_t gpage, uint64_t n);
void host_give_up(struct host *h, uint64_t gpage, uint64_t n);
char *host_at(struct host *h, uint64_t gpage, int bank);

int host_retry(struct host *h);
struct viommu_shadow_stats host_stats(struct host *h);

/* Pages. */
int host_map(struct host *h, int space, uint64_t page, uint64_t n,
	     uint64_t gpage, uint32_t prot);
int64_t host_unmap(struct host *h, int space, uint64_t page, uint64_t n);
int host_attach(struct host *h, int space); /* -1: nothing */

void fence_run(struct viommu_fence *f);

/* How do the kernel's entries differ from what the endpoint sees?  `stale`: the
 * device reaches something that the guest did not map so. */
struct difference {
	unsigned stale, missing;
};
struct difference host_compare(struct host *h, int space);
void host_is_equal(struct host *h, int space);

#endif
