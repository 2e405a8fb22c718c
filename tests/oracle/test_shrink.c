/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The oracle notices, and tells in few calls: the linker puts a library with a
 * defect in the place of ours.  Each defect must be found within some streams
 * and come down to six operations or fewer, which still fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <viommu.h>

#include "stream.h"

enum {
	LENGTH = 200,
	STREAMS = 500,
	SHORT = 6,
};

static enum defect {
	NONE,
	UNMAP_LEAVES_LAST, /* the last byte of all is not reached */
	MAP_IS_NOT_HELD,   /* a fence is done too early */
	WRITE_OFF_BY_ONE,  /* long writes lose their last byte */
	ATTACH_FORGETS,	   /* the fence does not wait for what was seen */
} defect;

int64_t __real_viommu_space_unmap(struct viommu_space *s, viommu_iova_t start,
				  viommu_iova_t last, struct viommu_fence *f);
int64_t __wrap_viommu_space_unmap(struct viommu_space *s, viommu_iova_t start,
				  viommu_iova_t last, struct viommu_fence *f);
int __real_viommu_dma_map(struct viommu_dma *d);
int __wrap_viommu_dma_map(struct viommu_dma *d);
void __real_viommu_dma_unmap(struct viommu_dma *d, uint64_t written);
void __wrap_viommu_dma_unmap(struct viommu_dma *d, uint64_t written);
int __real_viommu_dma_write(struct viommu_endpoint *ep, viommu_iova_t iova,
			    const void *buf, size_t len);
int __wrap_viommu_dma_write(struct viommu_endpoint *ep, viommu_iova_t iova,
			    const void *buf, size_t len);
int __real_viommu_endpoint_attach(struct viommu_endpoint *ep,
				  struct viommu_space *space,
				  struct viommu_fence *f);
int __wrap_viommu_endpoint_attach(struct viommu_endpoint *ep,
				  struct viommu_space *space,
				  struct viommu_fence *f);

int64_t __wrap_viommu_space_unmap(struct viommu_space *s, viommu_iova_t start,
				  viommu_iova_t last, struct viommu_fence *f)
{
	if (defect == UNMAP_LEAVES_LAST && last == UINT64_MAX && start < last)
		last--;
	return __real_viommu_space_unmap(s, start, last, f);
}

int __wrap_viommu_dma_map(struct viommu_dma *d)
{
	int rc = __real_viommu_dma_map(d);

	if (defect == MAP_IS_NOT_HELD && !rc)
		__real_viommu_dma_unmap(d, 0);
	return rc;
}

void __wrap_viommu_dma_unmap(struct viommu_dma *d, uint64_t written)
{
	if (defect != MAP_IS_NOT_HELD)
		__real_viommu_dma_unmap(d, written);
}

int __wrap_viommu_dma_write(struct viommu_endpoint *ep, viommu_iova_t iova,
			    const void *buf, size_t len)
{
	if (defect == WRITE_OFF_BY_ONE && len > 8)
		len--;
	return __real_viommu_dma_write(ep, iova, buf, len);
}

int __wrap_viommu_endpoint_attach(struct viommu_endpoint *ep,
				  struct viommu_space *space,
				  struct viommu_fence *f)
{
	struct viommu_fence forgotten;
	int rc;

	if (defect != ATTACH_FORGETS)
		return __real_viommu_endpoint_attach(ep, space, f);
	/* never committed: nobody waits for it */
	viommu_fence_init(&forgotten);
	rc = __real_viommu_endpoint_attach(ep, space, &forgotten);
	return rc;
}

static void is_found(enum defect which)
{
	static struct stream s;
	const char *why = NULL;
	unsigned i, runs;

	for (i = 0; i < STREAMS && !why; i++) {
		stream_random(&s, i, LENGTH);
		defect = NONE;
		assert_null(stream_run(&s));
		defect = which;
		why = stream_run(&s);
	}
	assert_non_null(why);
	runs = stream_shrink(&s, stream_run);
	assert_true(s.n <= SHORT);
	why = stream_run(&s);
	assert_non_null(why);
	print_message("# stream %u, %u runs, %u operations: %s\n", i - 1, runs,
		      s.n, why);
	stream_print(stdout, &s);
	/* and none of them is too many */
	defect = NONE;
	assert_null(stream_run(&s));
}

static void off_by_one_at_the_top(void **state)
{
	(void)state;
	is_found(UNMAP_LEAVES_LAST);
}

static void early_fence(void **state)
{
	(void)state;
	is_found(MAP_IS_NOT_HELD);
}

static void lost_byte(void **state)
{
	(void)state;
	is_found(WRITE_OFF_BY_ONE);
}

static void forgotten_attach(void **state)
{
	(void)state;
	is_found(ATTACH_FORGETS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(off_by_one_at_the_top),
		cmocka_unit_test(early_fence),
		cmocka_unit_test(lost_byte),
		cmocka_unit_test(forgotten_attach),
	};

	return cmocka_run_group_tests_name("shrink", tests, NULL, NULL);
}
