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
#include "core/pin_fast.h"
#include "dma/access.h"
#include "dma/burst.h"

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

/* A call of a device.  The access may be one of a burst, whose pin stays as it
 * is until the call is over: accesses in there have pins of their own. */
struct call {
	struct vi_device d;
	struct vi_burst bursts[VI_BURSTS];
};

static void bursts_hide(struct vi_burst *hidden)
{
	memcpy(hidden, vi_bursts, sizeof(vi_bursts));
	memset(vi_bursts, 0, sizeof(vi_bursts));
}

static void bursts_show(const struct vi_burst *hidden)
{
	memcpy(vi_bursts, hidden, sizeof(vi_bursts));
}

/* The device that was found, or what has come in its place, which is for
 * another look: RAM, or a device that may less. */
static int call_begin(struct call *c, struct viommu_memory *mem, uint64_t gpa,
		      uint32_t prot)
{
	if (!vi_memory_device(mem, gpa, &c->d) || (prot & ~c->d.prot))
		return VI_ACCESS_AGAIN;
	if (!vi_device_enter())
		return -ELOOP;
	bursts_hide(c->bursts);
	return 0;
}

static int call_end(const struct call *c, int rc)
{
	bursts_show(c->bursts);
	vi_device_exit();
	return rc;
}

static bool call_has(const struct call *c, uint64_t len)
{
	return len - 1 <= c->d.len - 1;
}

int vi_detour_copy(struct viommu_memory *mem, uint64_t gpa, char *buf,
		   uint64_t len, uint32_t prot)
{
	struct call c;
	const struct vi_device *d = &c.d;
	int rc = call_begin(&c, mem, gpa, prot);

	if (rc)
		return rc;
	if (!call_has(&c, len)) /* a smaller one has come: look again */
		return call_end(&c, VI_ACCESS_AGAIN);
	rc = prot & VIOMMU_WRITE
		     ? vi_device_write(&d->ops, d->arg, d->offset, buf, len)
		     : vi_device_read(&d->ops, d->arg, d->offset, buf, len);
	return call_end(&c, rc ? -EFAULT : 0);
}

int vi_detour_word(struct viommu_memory *mem, uint64_t gpa, unsigned size,
		   uint64_t *val, uint32_t prot)
{
	struct call c;
	const struct vi_device *d = &c.d;
	int rc = call_begin(&c, mem, gpa, prot);

	if (rc)
		return rc;
	if ((d->offset & (size - 1)) || !call_has(&c, size))
		return call_end(&c, -EINVAL);
	rc = prot & VIOMMU_WRITE
		     ? vi_device_store(&d->ops, d->arg, d->offset, size, *val)
		     : vi_device_load(&d->ops, d->arg, d->offset, size, val);
	return call_end(&c, rc ? -EFAULT : 0);
}

/* ---- waiting ---------------------------------------------------------- */

/*
 * What this thread has published names no memory any more, nor a space: the
 * move that it is to wait for does not wait for it.  The endpoints stay.
 * Callbacks run here.  Their accesses renew a burst that is paused, so that it
 * is paused again; and may wait in turn, which pauses the others.  In the end
 * none is left that they could find: then they have pins of their own.
 */
static void bursts_pause(struct vi_burst *paused)
{
	int i = 0;

	while (i < VI_BURSTS && vi_bursts[i].ep &&
	       VI_MUTANT != VI_MUTANT_MOVE_NO_PAUSE) {
		struct vi_burst *b = &vi_bursts[i++];

		if ((vi_pin_word(b->pin) & VI_PIN_STATE) != VI_PIN_BUSY)
			continue;
		b->space = NULL;
		vi_pin_keep_endpoint(b->ep->vi, b->pin);
		i = 0;
	}
	bursts_hide(paused);
}

/* Callbacks run here, too: a burst that sees nothing yet is renewed by the
 * first access (dma/access.c). */
static void bursts_resume(const struct vi_burst *paused)
{
	bursts_show(paused);
	for (int i = 0; i < VI_BURSTS; i++)
		vi_bursts[i].space = NULL;
	for (int i = 0; i < VI_BURSTS && vi_bursts[i].ep; i++)
		vi_burst_renew(&vi_bursts[i]);
}

/*
 * In a callback on which the move may depend it does not wait.  Otherwise the
 * endpoint is still busy meanwhile: whoever lets it recover from being given up
 * (L9) must not find that nothing is left of before.
 */
int vi_detour_wait(struct viommu_memory *mem, uint64_t gpa, struct vi_pin *pin)
{
	struct vi_burst paused[VI_BURSTS];
	bool wait = !vi_nowait();

	if (wait) {
		/* callbacks run here, which may wait for the same move */
		if (pin)
			vi_pin_keep_endpoint(mem->vi, pin);
		bursts_pause(paused);
		vi_move_wait(mem, gpa);
		bursts_resume(paused);
	}
	if (pin)
		vi_pin_drop(mem->vi, pin);
	return wait ? VI_ACCESS_AGAIN : -EBUSY;
}
