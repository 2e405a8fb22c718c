/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Accesses that a device answers, and those that have to wait: what no table
 * can say.  The pin is BUSY around the device's call, so a fence that takes its
 * region waits for it.
 */
#include "dma/detour.h"

#include <string.h>

#include "core/device.h"
#include "core/move.h"
#include "dma/access.h"
#include "dma/burst.h"

/* Why there is no RAM with @prot at @gpa: 0 (a device answers, *len bytes are
 * its), VI_ACCESS_MOVING, -EACCES, -EFAULT. */
int vi_detour_find(struct viommu_memory *mem, uint64_t gpa, uint64_t *len,
		   uint32_t prot)
{
	struct vi_device dev;
	unsigned lg2;
	uint64_t e = vi_radix_find(&mem->table, gpa, &lg2);
	uint32_t has = vi_leaf_prot(e);

	if (!e)
		return -EFAULT;
	if ((has & VI_MOVING) && (prot & ~has & (VIOMMU_WRITE | VI_MAPPABLE)))
		return VI_ACCESS_MOVING;
	/* there only since the look that failed */
	if (!(has & VI_LEADS_TO_DEVICE))
		return prot & ~has ? -EACCES : VI_ACCESS_AGAIN;
	prot &= VIOMMU_READ | VIOMMU_WRITE;
	if (!vi_memory_device(mem, gpa, &dev))
		return VI_ACCESS_AGAIN;
	if (prot & ~dev.prot)
		return -EACCES;
	*len = dev.len - 1 < *len - 1 ? dev.len : *len;
	return 0;
}

/* The device that was found, or what has come in its place, which is for
 * another look: RAM, or a device that is smaller or may less. */
static int device_begin(struct viommu_memory *mem, uint64_t gpa, uint64_t len,
			uint32_t prot, struct vi_device *dev)
{
	if (!vi_memory_device(mem, gpa, dev) || dev->len < len ||
	    (prot & ~dev->prot))
		return VI_ACCESS_AGAIN;
	return vi_device_enter() ? 0 : -ELOOP;
}

static int device_end(int rc)
{
	vi_device_exit();
	return rc ? -EFAULT : 0;
}

int vi_detour_copy(struct viommu_memory *mem, uint64_t gpa, char *buf,
		   uint64_t len, uint32_t prot)
{
	struct vi_device d;
	int rc = device_begin(mem, gpa, len, prot, &d);

	if (rc)
		return rc;
	return device_end(
		prot & VIOMMU_WRITE
			? vi_device_write(&d.ops, d.arg, d.offset, buf, len)
			: vi_device_read(&d.ops, d.arg, d.offset, buf, len));
}

int vi_detour_word(struct viommu_memory *mem, uint64_t gpa, unsigned size,
		   uint64_t *val, uint32_t prot)
{
	struct vi_device d;
	int rc = device_begin(mem, gpa, size, prot, &d);

	if (rc)
		return rc;
	if (d.offset & (size - 1)) {
		vi_device_exit();
		return -EINVAL;
	}
	return device_end(
		prot & VIOMMU_WRITE
			? vi_device_store(&d.ops, d.arg, d.offset, size, *val)
			: vi_device_load(&d.ops, d.arg, d.offset, size, val));
}

/* ---- waiting ---------------------------------------------------------- */

/*
 * What this thread has published names no memory any more, nor a space: the
 * move that it is to wait for does not wait for it.  The endpoints stay.
 * Callbacks run here meanwhile: their accesses find no burst, and have pins of
 * their own.
 */
static void bursts_pause(struct vi_burst *paused)
{
	memcpy(paused, vi_bursts, sizeof(vi_bursts));
	memset(vi_bursts, 0, sizeof(vi_bursts));
	for (int i = 0; i < VI_BURSTS && paused[i].ep; i++)
		vi_pin_keep_endpoint(paused[i].ep->vi, paused[i].pin);
}

/* Callbacks run here, too: a burst that sees nothing yet is renewed by the
 * first access (dma/access.c). */
static void bursts_resume(const struct vi_burst *paused)
{
	memcpy(vi_bursts, paused, sizeof(vi_bursts));
	for (int i = 0; i < VI_BURSTS; i++)
		vi_bursts[i].space = NULL;
	for (int i = 0; i < VI_BURSTS && vi_bursts[i].ep; i++)
		vi_burst_renew(&vi_bursts[i]);
}

/* In a callback on which the move may depend it does not wait. */
int vi_detour_wait(struct viommu_memory *mem, uint64_t gpa, struct vi_pin *pin)
{
	struct vi_burst paused[VI_BURSTS];
	bool nowait = vi_nowait();

	if (!nowait)
		bursts_pause(paused);
	if (pin)
		vi_pin_drop(mem->vi, pin);
	if (nowait)
		return -EBUSY;
	vi_move_wait(mem, gpa);
	bursts_resume(paused);
	return VI_ACCESS_AGAIN;
}
