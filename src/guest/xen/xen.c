/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hypervisor's side: what all guests share.
 */
#include <errno.h>
#include <string.h>

#include "guest/xen/hypervisor.h"

enum {
	PREEMPT_OPS = 256,
	PREEMPT_FRAMES = 1 << 18,
	PAGE_SHIFT_MAX = 54,
};

int vx_opts_copy(void *out, size_t known, const void *in, size_t size)
{
	const uint8_t *bytes = in;

	if (size < sizeof(size))
		return -EINVAL;
	for (size_t i = known; i < size; i++)
		if (bytes[i])
			return -EINVAL;
	memset(out, 0, known);
	memcpy(out, in, size < known ? size : known);
	return 0;
}

static int config_complete(struct viommu_xen_config *c)
{
	const uint64_t frame = UINT64_C(1) << VX_FRAME_SHIFT;

	if (!c->page_sizes)
		c->page_sizes = frame;
	if (!c->preempt_ops)
		c->preempt_ops = PREEMPT_OPS;
	if (!c->preempt_frames)
		c->preempt_frames = PREEMPT_FRAMES;
	if (!c->may || c->page_sizes & (frame - 1) ||
	    c->page_sizes >> (PAGE_SHIFT_MAX + 1))
		return -EINVAL;
	return 0;
}

int viommu_xen_create(struct viommu *vi, const struct viommu_xen_config *cfg,
		      struct viommu_xen **out)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_IDENTITY,
					  .page_sizes = UINT64_C(1)
							<< VX_FRAME_SHIFT };
	struct viommu_xen_config c;
	struct viommu_xen *x;
	int rc = vx_opts_copy(&c, sizeof(c), cfg, cfg->size);

	if (!rc)
		rc = config_complete(&c);
	if (rc)
		return rc;
	x = viommu_alloc(vi, sizeof(*x));
	if (!x)
		return -ENOMEM;
	x->vi = vi;
	x->cfg = c;
	rc = viommu_space_create(vi, &sc, &x->identity);
	if (rc) {
		viommu_free(vi, x);
		return rc;
	}
	pthread_mutex_init(&x->lock, NULL);
	*out = x;
	return 0;
}

void viommu_xen_destroy(struct viommu_xen *x, struct viommu_fence *f)
{
	if (!x)
		return;
	viommu_space_destroy(x->identity, f);
	pthread_mutex_destroy(&x->lock);
	viommu_free(x->vi, x);
}

void viommu_xen_read_stats(struct viommu_xen *x, struct viommu_xen_stats *out)
{
	*out = (struct viommu_xen_stats){
		.batches = atomic_load(&x->batches),
		.ops = atomic_load(&x->ops),
		.refused = atomic_load(&x->refused),
		.mappings = atomic_load(&x->mappings),
		.references = atomic_load(&x->references),
		.asked = atomic_load(&x->asked),
		.unflushed = atomic_load(&x->unflushed),
		.waiting = atomic_load(&x->waiting),
	};
}
