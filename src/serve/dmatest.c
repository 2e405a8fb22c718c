/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * dmatest: registers of docs/dmatest.md over viommu_dma_*.  Everything but the
 * counters belongs to the loop's thread.
 *
 * The register file is an array of bytes with a mask of what can be written;
 * what the function computes (status, result) is put there when it is read.
 */

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <viommu/dma.h>
#include <viommu/endpoint.h>
#include <viommu/serve/dmatest.h>

#include "serve/opts.h"

#define BAR_LEN	    4096
#define MAX_LEN	    (1u << 20)
#define MAX_IOV	    512 /* 1 MiB in 4 KiB pages, and some */
#define RETRY_NS    UINT64_C(1000000)
#define ID	    0x54444956u
#define VERSION	    1
#define COMMAND_IRQ (1u << 31)

enum reg {
	REG_ID = 0x00,
	REG_VERSION = 0x04,
	REG_IOVA = 0x08,
	REG_LEN = 0x10,
	REG_PATTERN = 0x18,
	REG_COMMAND = 0x20,
	REG_STATUS = 0x24,
	REG_ERROR = 0x28,
	REG_HELD = 0x2c,
	REG_RESULT = 0x30,
	REG_DELAY = 0x38,
	REG_COUNT = 0x3c,
	REG_COMPARE = 0x40,
	REGS_LEN = 0x48,
};

enum {
	CMD_READ = 1,
	CMD_WRITE,
	CMD_HOLD,
	CMD_LOAD,
	CMD_STORE,
	CMD_CAS
};

enum {
	IDLE,
	BUSY,
	DONE,
	REFUSED
};

struct viommu_dmatest {
	struct viommu_dmatest_config cfg;
	struct viommu_pci *pci;
	uint8_t regs[REGS_LEN];
	uint8_t *buf; /* MAX_LEN */

	struct viommu_dma hold;
	struct iovec iov[MAX_IOV];
	bool held;
	bool hold_irq; /* when it is over */
	struct viommu_timer timer;
	struct viommu_timer recover; /* the endpoint, to end a reset */

	_Atomic uint64_t commands, refused, holds;
};

/* ------------------------------------------------------------- registers */

static uint64_t reg_get(const struct viommu_dmatest *d, unsigned reg,
			unsigned len)
{
	uint64_t val = 0;

	for (unsigned i = 0; i < len; i++)
		val |= (uint64_t)d->regs[reg + i] << (8 * i);
	return val;
}

static void reg_set(struct viommu_dmatest *d, unsigned reg, uint64_t val,
		    unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		d->regs[reg + i] = (uint8_t)(val >> (8 * i));
}

static bool reg_writable(uint64_t off)
{
	return (off >= REG_IOVA && off < REG_COMMAND) ||
	       (off >= REG_DELAY && off < REG_COUNT) ||
	       (off >= REG_COMPARE && off < REGS_LEN);
}

static void regs_reset(struct viommu_dmatest *d)
{
	memset(d->regs, 0, sizeof(d->regs));
	reg_set(d, REG_ID, ID, 4);
	reg_set(d, REG_VERSION, VERSION, 4);
}

/* -------------------------------------------------------------- commands */

/* The answer of one command; rc is 0 or -errno. */
static void finish(struct viommu_dmatest *d, int rc, bool irq)
{
	reg_set(d, REG_STATUS, rc ? REFUSED : DONE, 4);
	reg_set(d, REG_ERROR, (uint32_t)-rc, 4);
	reg_set(d, REG_COUNT, reg_get(d, REG_COUNT, 4) + 1, 4);
	atomic_fetch_add_explicit(&d->commands, 1, memory_order_relaxed);
	if (rc)
		atomic_fetch_add_explicit(&d->refused, 1, memory_order_relaxed);
	if (irq)
		viommu_pci_interrupt(d->pci, 0);
}

/* Byte i is byte (from + i) % 8 of the register. */
static void pattern_fill(const struct viommu_dmatest *d, uint8_t *at,
			 size_t len, size_t from)
{
	const uint8_t *pattern = &d->regs[REG_PATTERN];

	for (size_t i = 0; i < len; i++)
		at[i] = pattern[(from + i) % 8];
}

static int do_read(struct viommu_dmatest *d, uint64_t iova, size_t len)
{
	uint64_t fnv = UINT64_C(0xcbf29ce484222325);
	int rc = viommu_dma_read(d->cfg.endpoint, iova, d->buf, len);

	if (rc)
		return rc;
	for (size_t i = 0; i < len; i++)
		fnv = (fnv ^ d->buf[i]) * UINT64_C(0x100000001b3);
	reg_set(d, REG_RESULT, fnv, 8);
	return 0;
}

static int do_write(struct viommu_dmatest *d, uint64_t iova, size_t len)
{
	pattern_fill(d, d->buf, len, 0);
	return viommu_dma_write(d->cfg.endpoint, iova, d->buf, len);
}

static int do_hold(struct viommu_dmatest *d, uint64_t iova, size_t len)
{
	int rc;

	d->hold = (struct viommu_dma){
		.ep = d->cfg.endpoint,
		.iova = iova,
		.len = len,
		.prot = VIOMMU_WRITE,
		.iov = d->iov,
		.max_iov = MAX_IOV,
	};
	rc = viommu_dma_map(&d->hold);
	if (rc)
		return rc;
	d->held = true;
	reg_set(d, REG_HELD, 1, 4);
	reg_set(d, REG_STATUS, BUSY, 4);
	reg_set(d, REG_ERROR, 0, 4);
	atomic_fetch_add_explicit(&d->holds, 1, memory_order_relaxed);
	viommu_timer_start(d->cfg.loop, &d->timer,
			   reg_get(d, REG_DELAY, 4) * 1000);
	return 0;
}

static void hold_drop(struct viommu_dmatest *d, uint64_t written)
{
	viommu_timer_stop(d->cfg.loop, &d->timer);
	if (d->held)
		viommu_dma_unmap(&d->hold, written);
	d->held = false;
	reg_set(d, REG_HELD, 0, 4);
}

/* DELAY is over. */
static void hold_expired(void *arg)
{
	struct viommu_dmatest *d = arg;
	uint64_t at = 0;

	if (!viommu_pci_bus_master(d->pci)) {
		hold_drop(d, 0);
		finish(d, -EPERM, d->hold_irq);
		return;
	}
	for (unsigned i = 0; i < d->hold.niov; i++) {
		pattern_fill(d, d->iov[i].iov_base, d->iov[i].iov_len, at);
		at += d->iov[i].iov_len;
	}
	hold_drop(d, at);
	finish(d, 0, d->hold_irq);
}

static bool word_len(uint64_t len, uint64_t least)
{
	return len >= least && len <= 8 && !(len & (len - 1));
}

static int do_word(struct viommu_dmatest *d, uint32_t cmd, uint64_t iova,
		   uint64_t len)
{
	struct viommu_endpoint *ep = d->cfg.endpoint;
	unsigned n = (unsigned)len;
	uint64_t old;
	int rc;

	if (!word_len(len, cmd == CMD_CAS ? 4 : 1))
		return -EINVAL;
	if (cmd == CMD_STORE)
		return viommu_dma_store(ep, iova, n,
					reg_get(d, REG_PATTERN, n));
	if (cmd == CMD_CAS) {
		old = reg_get(d, REG_COMPARE, n);
		rc = viommu_dma_cas(ep, iova, n, &old,
				    reg_get(d, REG_PATTERN, n));
	} else {
		rc = viommu_dma_load(ep, iova, n, &old);
	}
	if (!rc)
		reg_set(d, REG_RESULT, old, 8);
	return rc;
}

static int command_do(struct viommu_dmatest *d, uint32_t cmd)
{
	uint64_t iova = reg_get(d, REG_IOVA, 8);
	uint64_t len = reg_get(d, REG_LEN, 8);

	if (cmd < CMD_READ || cmd > CMD_CAS)
		return -EINVAL;
	if (!viommu_pci_bus_master(d->pci))
		return -EPERM;
	if (cmd >= CMD_LOAD)
		return do_word(d, cmd, iova, len);
	if (len > MAX_LEN)
		return -E2BIG;
	if (cmd == CMD_READ)
		return do_read(d, iova, (size_t)len);
	if (cmd == CMD_WRITE)
		return do_write(d, iova, (size_t)len);
	return do_hold(d, iova, (size_t)len);
}

static void command_start(struct viommu_dmatest *d, uint32_t val)
{
	bool irq = val & COMMAND_IRQ;
	int rc;

	if (d->held) {
		reg_set(d, REG_ERROR, EBUSY, 4);
		return;
	}
	d->hold_irq = irq;
	rc = command_do(d, val & ~COMMAND_IRQ);
	if (!d->held)
		finish(d, rc, irq);
}

/* ------------------------------------------------------------------- BAR */

static uint64_t bar_read(void *arg, uint64_t off, unsigned len)
{
	struct viommu_dmatest *d = arg;
	uint64_t val = 0;

	for (unsigned i = 0; i < len && off + i < REGS_LEN; i++)
		val |= (uint64_t)d->regs[off + i] << (8 * i);
	/* whoever has seen how it ended needs no more telling */
	if (off < REG_STATUS + 4 && off + len > REG_STATUS)
		viommu_pci_deassert(d->pci);
	return val;
}

static void bar_write(void *arg, uint64_t off, unsigned len, uint64_t val)
{
	struct viommu_dmatest *d = arg;

	for (unsigned i = 0; i < len; i++)
		if (reg_writable(off + i))
			d->regs[off + i] = (uint8_t)(val >> (8 * i));
	/* all four bytes of it, or nothing: half a command is none */
	if (off <= REG_COMMAND && off + len >= REG_COMMAND + 4)
		command_start(d, (uint32_t)(val >> (8 * (REG_COMMAND - off))));
}

/* Nothing is held any more; but who asks about it now may hold on to the
 * endpoint for a moment.  True: recovered. */
static bool recovered(struct viommu_dmatest *d)
{
	if (!viommu_endpoint_recover(d->cfg.endpoint))
		return true;
	viommu_timer_start(d->cfg.loop, &d->recover, RETRY_NS);
	return false;
}

static void recover(void *arg)
{
	struct viommu_dmatest *d = arg;

	if (recovered(d))
		viommu_pci_idle(d->pci);
}

static void reset(void *arg)
{
	struct viommu_dmatest *d = arg;

	hold_drop(d, 0);
	regs_reset(d);
	if (!recovered(d))
		viommu_pci_busy(d->pci);
}

/* ---------------------------------------------------------------- public */

static int pci_make(struct viommu_dmatest *d)
{
	const struct viommu_pci_config cfg = {
		.size = sizeof(cfg),
		.name = d->cfg.name,
		.loop = d->cfg.loop,
		.vi = d->cfg.vi,
		.memory = d->cfg.memory,
		.vendor = 0x1234,
		.device = 0xda7e,
		.subsystem_vendor = 0x1234,
		.subsystem = 0xda7e,
		.class_code = 0xff0000,
		.revision = VERSION,
		.reset = reset,
		.arg = d,
	};
	int rc = viommu_pci_create(&cfg, &d->pci);

	if (rc)
		return rc;
	rc = viommu_pci_add_bar(d->pci, 0, BAR_LEN, 0, bar_read, bar_write, d);
	if (!rc)
		rc = viommu_pci_add_msix(d->pci, 2, 1);
	if (!rc)
		rc = viommu_pci_add_msi(d->pci);
	viommu_pci_add_intx(d->pci);
	return rc;
}

int viommu_dmatest_create(const struct viommu_dmatest_config *cfg,
			  struct viommu_dmatest **out)
{
	struct viommu_dmatest *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return -ENOMEM;
	rc = vs_opts_copy(&d->cfg, sizeof(d->cfg), cfg, cfg->size);
	if (!rc && (!cfg->loop || !cfg->vi || !cfg->memory || !cfg->endpoint))
		rc = -EINVAL;
	if (!rc) {
		d->buf = malloc(MAX_LEN);
		rc = d->buf ? pci_make(d) : -ENOMEM;
	}
	if (rc) {
		viommu_pci_destroy(d->pci);
		free(d->buf);
		free(d);
		return rc;
	}
	d->cfg.name = NULL; /* the caller's */
	viommu_timer_init(&d->timer, hold_expired, d);
	viommu_timer_init(&d->recover, recover, d);
	regs_reset(d);
	*out = d;
	return 0;
}

void viommu_dmatest_destroy(struct viommu_dmatest *d)
{
	if (!d)
		return;
	hold_drop(d, 0);
	viommu_timer_stop(d->cfg.loop, &d->recover);
	viommu_pci_destroy(d->pci);
	free(d->buf);
	free(d);
}

struct viommu_pci *viommu_dmatest_pci(struct viommu_dmatest *d)
{
	return d->pci;
}

void viommu_dmatest_read_stats(const struct viommu_dmatest *d,
			       struct viommu_dmatest_stats *out)
{
	*out = (struct viommu_dmatest_stats){
		.commands = atomic_load(&d->commands),
		.refused = atomic_load(&d->refused),
		.holds = atomic_load(&d->holds),
	};
}
