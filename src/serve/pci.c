/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * PCI functions: 256 bytes of configuration space with a mask that says which
 * bits a guest may write, BARs with their callbacks, a capability list.
 *
 * The space is a conventional one: without an Express capability the VMM shows
 * the function as a conventional device on whatever bus it sits.  FLR is there
 * by the Advanced Features capability.
 *
 * Who locks what: everything here belongs to the loop's thread, but for the
 * interrupts (pci_irq.h) and the command register's copy, an atomic.
 */

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <viommu/serve/pci.h>

#include "serve/loop.h"
#include "serve/opts.h"
#include "serve/pci.h"
#include "serve/pci_irq.h"

#define BARS	    6
#define CONFIG_LEN  256
#define MSIX_LEN    4096
#define MSIX_PBA    0x800
#define MSIX_STRIDE 16
#define AF_LEN	    6
#define WINDOW_DATA sizeof(struct virtio_pci_cap) /* pci_cfg_data */

struct bar {
	uint64_t len; /* 0: none, or the upper half of the one before */
	uint32_t flags;
	bool taken;
	viommu_pci_read_fn *read;
	viommu_pci_write_fn *write;
	void *arg;
};

struct viommu_pci {
	struct viommu_pci_config cfg;
	char *name;
	bool claimed; /* by a transport */
	struct vs_deadlines deadlines;
	struct viommu_task given_up; /* posted from any thread */

	uint8_t config[CONFIG_LEN];
	uint8_t writable[CONFIG_LEN]; /* bits that a guest may change */
	uint8_t initial[CONFIG_LEN];  /* config as it is after a reset */
	_Atomic uint16_t command;
	bool busy;		       /* a reset or an end of DMA goes on */
	uint64_t asked;		       /* see vs_pci_asked() */
	struct viommu_task *idle_task; /* the transport's */
	unsigned cap_link;	       /* offset of the last "next" byte */
	unsigned cap_free;	/* first byte behind the last capability */
	unsigned af, msi, msix; /* capabilities; 0: none */
	unsigned window;	/* another */

	struct bar bars[BARS];
	uint8_t msix_table[VS_IRQ_MSIX_MAX * MSIX_STRIDE];
	struct vs_irqs irqs;
};

/* ------------------------------------------------- configuration space */

static void put_le(uint8_t *at, uint64_t val, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		at[i] = (uint8_t)(val >> (8 * i));
}

static uint64_t get_le(const uint8_t *at, unsigned len)
{
	uint64_t val = 0;

	for (unsigned i = 0; i < len; i++)
		val |= (uint64_t)at[i] << (8 * i);
	return val;
}

/* Set a register before any transport: what it reads, what can be written. */
static void config_define(struct viommu_pci *pci, unsigned off, uint64_t val,
			  uint64_t writable, unsigned len)
{
	put_le(&pci->config[off], val, len);
	put_le(&pci->initial[off], val, len);
	put_le(&pci->writable[off], writable, len);
}

/* Room for a capability of @len bytes, header included; 0: none is left. */
static unsigned cap_add(struct viommu_pci *pci, uint8_t id, size_t len)
{
	unsigned off = (pci->cap_free + 3) & ~3u;

	if (len > CONFIG_LEN - off)
		return 0;
	config_define(pci, pci->cap_link, off, 0, 1);
	config_define(pci, off, id, 0, 2);
	pci->cap_link = off + PCI_CAP_LIST_NEXT;
	pci->cap_free = off + (unsigned)len;
	return off;
}

static void config_init(struct viommu_pci *pci)
{
	const struct viommu_pci_config *cfg = &pci->cfg;

	config_define(pci, PCI_VENDOR_ID, cfg->vendor, 0, 2);
	config_define(pci, PCI_DEVICE_ID, cfg->device, 0, 2);
	config_define(pci, PCI_COMMAND, 0,
		      PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
			      PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
			      PCI_COMMAND_INTX_DISABLE,
		      2);
	config_define(pci, PCI_STATUS, PCI_STATUS_CAP_LIST, 0, 2);
	config_define(pci, PCI_CLASS_REVISION,
		      cfg->class_code << 8 | cfg->revision, 0, 4);
	config_define(pci, PCI_CACHE_LINE_SIZE, 0, 0xff, 1);
	config_define(pci, PCI_SUBSYSTEM_VENDOR_ID, cfg->subsystem_vendor, 0,
		      2);
	config_define(pci, PCI_SUBSYSTEM_ID, cfg->subsystem, 0, 2);
	config_define(pci, PCI_INTERRUPT_LINE, 0, 0xff, 1);
	pci->cap_link = PCI_CAPABILITY_LIST;
	pci->cap_free = PCI_STD_HEADER_SIZEOF;
	pci->af = cap_add(pci, PCI_CAP_ID_AF, AF_LEN);
	config_define(pci, pci->af + PCI_AF_LENGTH, AF_LEN, 0, 1);
	config_define(pci, pci->af + PCI_AF_CAP, PCI_AF_CAP_TP | PCI_AF_CAP_FLR,
		      0, 1);
}

static void given_up(void *arg)
{
	struct viommu_pci *pci = arg;

	if (pci->cfg.given_up)
		pci->cfg.given_up(pci->cfg.arg);
}

int viommu_pci_create(const struct viommu_pci_config *cfg,
		      struct viommu_pci **out)
{
	struct viommu_pci *pci = calloc(1, sizeof(*pci));
	int rc;

	if (!pci)
		return -ENOMEM;
	rc = vs_opts_copy(&pci->cfg, sizeof(pci->cfg), cfg, cfg->size);
	if (!rc && (!cfg->loop || !cfg->vi || !cfg->memory ||
		    cfg->class_code > 0xffffff))
		rc = -EINVAL;
	if (!rc) {
		pci->name = strdup(cfg->name ? cfg->name : "");
		if (!pci->name)
			rc = -ENOMEM;
	}
	if (rc) {
		free(pci);
		return rc;
	}
	pci->cfg.name = pci->name;
	vs_irqs_init(&pci->irqs);
	/* errors and release requests: VMMs ask for them, none ever comes */
	vs_irqs_offer(&pci->irqs, VFIO_PCI_ERR_IRQ_INDEX, 1);
	vs_irqs_offer(&pci->irqs, VFIO_PCI_REQ_IRQ_INDEX, 1);
	config_init(pci);
	viommu_task_init(&pci->given_up, given_up, pci);
	vs_deadlines_add(pci->cfg.loop, &pci->deadlines, pci->cfg.vi);
	*out = pci;
	return 0;
}

void viommu_pci_destroy(struct viommu_pci *pci)
{
	if (!pci)
		return;
	viommu_loop_cancel(pci->cfg.loop, &pci->given_up);
	vs_deadlines_remove(pci->cfg.loop, &pci->deadlines);
	vs_irqs_fini(&pci->irqs);
	free(pci->name);
	free(pci);
}

static uint64_t bar_least(uint32_t flags)
{
	return flags & VIOMMU_PCI_BAR_F_IO ? 4 : 16;
}

static bool bar_valid(unsigned index, uint64_t len, uint32_t flags)
{
	bool wide = flags & VIOMMU_PCI_BAR_F_64;

	if (flags & ~(uint32_t)(VIOMMU_PCI_BAR_F_64 | VIOMMU_PCI_BAR_F_IO |
				VIOMMU_PCI_BAR_F_PREFETCH))
		return false;
	if ((flags & VIOMMU_PCI_BAR_F_IO) && flags != VIOMMU_PCI_BAR_F_IO)
		return false;
	if (index >= (wide ? BARS - 1 : BARS))
		return false;
	if (len < bar_least(flags) || (len & (len - 1)))
		return false;
	return wide || len <= UINT64_C(1) << 31;
}

int viommu_pci_add_bar(struct viommu_pci *pci, unsigned index, uint64_t len,
		       uint32_t flags, viommu_pci_read_fn *read,
		       viommu_pci_write_fn *write, void *arg)
{
	bool wide = flags & VIOMMU_PCI_BAR_F_64;
	uint64_t type = 0;

	if (!bar_valid(index, len, flags) || !read || !write)
		return -EINVAL;
	if (pci->bars[index].taken || (wide && pci->bars[index + 1].taken))
		return -EEXIST;
	if (flags & VIOMMU_PCI_BAR_F_IO)
		type = PCI_BASE_ADDRESS_SPACE_IO;
	if (wide)
		type |= PCI_BASE_ADDRESS_MEM_TYPE_64;
	if (flags & VIOMMU_PCI_BAR_F_PREFETCH)
		type |= PCI_BASE_ADDRESS_MEM_PREFETCH;
	pci->bars[index] = (struct bar){
		.len = len,
		.flags = flags,
		.taken = true,
		.read = read,
		.write = write,
		.arg = arg,
	};
	if (wide)
		pci->bars[index + 1].taken = true;
	/* sizing: address bits below the length read back as 0 */
	config_define(pci, PCI_BASE_ADDRESS_0 + 4 * index, type, ~(len - 1),
		      wide ? 8 : 4);
	return 0;
}

int viommu_pci_add_capability(struct viommu_pci *pci, uint8_t id,
			      const void *body, size_t len, uint16_t *off)
{
	unsigned at = len > CONFIG_LEN ? 0 : cap_add(pci, id, 2 + len);

	if (!at)
		return -ENOSPC;
	memcpy(&pci->config[at + 2], body, len);
	memcpy(&pci->initial[at + 2], body, len);
	if (off)
		*off = (uint16_t)at;
	return 0;
}

/* ---------------------------------------------------------- interrupts */

static void msix_table_reset(struct viommu_pci *pci)
{
	memset(pci->msix_table, 0, sizeof(pci->msix_table));
	for (unsigned i = 0; i < VS_IRQ_MSIX_MAX; i++)
		pci->msix_table[i * MSIX_STRIDE + PCI_MSIX_ENTRY_VECTOR_CTRL] =
			PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

static size_t msix_table_len(struct viommu_pci *pci)
{
	return MSIX_STRIDE *
	       (size_t)vs_irqs_count(&pci->irqs, VFIO_PCI_MSIX_IRQ_INDEX);
}

static uint64_t msix_read(void *arg, uint64_t off, unsigned len)
{
	struct viommu_pci *pci = arg;
	size_t table = msix_table_len(pci);
	uint8_t pba[8], at[8] = { 0 };

	put_le(pba, vs_irqs_pending(&pci->irqs), sizeof(pba));
	for (unsigned i = 0; i < len; i++) {
		if (off + i < table)
			at[i] = pci->msix_table[off + i];
		else if (off + i >= MSIX_PBA &&
			 off + i - MSIX_PBA < sizeof(pba))
			at[i] = pba[off + i - MSIX_PBA];
	}
	return get_le(at, len);
}

/*
 * Storage only: VMMs keep the table that counts to themselves, so its mask
 * bits say nothing here; their eventfds do.
 */
static void msix_write(void *arg, uint64_t off, unsigned len, uint64_t val)
{
	static const uint8_t writable[MSIX_STRIDE] = {
		0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0x01, 0x00, 0x00, 0x00,
	};
	struct viommu_pci *pci = arg;
	size_t table = msix_table_len(pci);

	for (unsigned i = 0; i < len && off + i < table; i++)
		pci->msix_table[off + i] = (uint8_t)(val >> (8 * i)) &
					   writable[(off + i) % MSIX_STRIDE];
}

int viommu_pci_add_msix(struct viommu_pci *pci, unsigned bar, unsigned vectors)
{
	unsigned link = pci->cap_link, room = pci->cap_free, off;
	int rc;

	if (!vectors || vectors > VS_IRQ_MSIX_MAX)
		return -EINVAL;
	if (pci->msix)
		return -EEXIST;
	off = cap_add(pci, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	if (!off)
		return -ENOSPC;
	rc = viommu_pci_add_bar(pci, bar, MSIX_LEN, 0, msix_read, msix_write,
				pci);
	if (rc) {
		pci->cap_link = link;
		pci->cap_free = room;
		config_define(pci, link, 0, 0, 1);
		config_define(pci, off, 0, 0, 2);
		return rc;
	}
	pci->msix = off;
	config_define(pci, off + PCI_MSIX_FLAGS, vectors - 1,
		      PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
	config_define(pci, off + PCI_MSIX_TABLE, bar, 0, 4);
	config_define(pci, off + PCI_MSIX_PBA, MSIX_PBA | bar, 0, 4);
	vs_irqs_offer(&pci->irqs, VFIO_PCI_MSIX_IRQ_INDEX, vectors);
	msix_table_reset(pci);
	return 0;
}

int viommu_pci_add_msi(struct viommu_pci *pci)
{
	unsigned off;

	if (pci->msi)
		return -EEXIST;
	off = cap_add(pci, PCI_CAP_ID_MSI, PCI_MSI_DATA_64 + 2);
	if (!off)
		return -ENOSPC;
	pci->msi = off;
	config_define(pci, off + PCI_MSI_FLAGS, PCI_MSI_FLAGS_64BIT,
		      PCI_MSI_FLAGS_ENABLE, 2);
	config_define(pci, off + PCI_MSI_ADDRESS_LO, 0, 0xfffffffc, 4);
	config_define(pci, off + PCI_MSI_ADDRESS_HI, 0, 0xffffffff, 4);
	config_define(pci, off + PCI_MSI_DATA_64, 0, 0xffff, 2);
	vs_irqs_offer(&pci->irqs, VFIO_PCI_MSI_IRQ_INDEX, 1);
	return 0;
}

void viommu_pci_add_intx(struct viommu_pci *pci)
{
	config_define(pci, PCI_INTERRUPT_PIN, 1, 0, 1);
	vs_irqs_offer(&pci->irqs, VFIO_PCI_INTX_IRQ_INDEX, 1);
}

void viommu_pci_interrupt(struct viommu_pci *pci, unsigned vector)
{
	vs_irqs_raise(&pci->irqs, vector);
}

void viommu_pci_deassert(struct viommu_pci *pci)
{
	vs_irqs_lower(&pci->irqs);
}

void viommu_pci_busy(struct viommu_pci *pci)
{
	pci->busy = true;
	pci->asked++;
}

void viommu_pci_idle(struct viommu_pci *pci)
{
	if (!pci->busy)
		return;
	pci->busy = false;
	if (pci->idle_task)
		viommu_loop_post(pci->cfg.loop, pci->idle_task);
}

void viommu_pci_give_up(struct viommu_pci *pci)
{
	viommu_loop_post(pci->cfg.loop, &pci->given_up);
}

bool viommu_pci_bus_master(const struct viommu_pci *pci)
{
	return atomic_load(&pci->command) & PCI_COMMAND_MASTER;
}

/* ---------------------------------------------------- for the transport */

bool vs_pci_claim(struct viommu_pci *pci)
{
	if (pci->claimed)
		return false;
	pci->claimed = true;
	return true;
}

void vs_pci_unclaim(struct viommu_pci *pci)
{
	pci->claimed = false;
}

bool vs_pci_is_busy(const struct viommu_pci *pci)
{
	return pci->busy;
}

uint64_t vs_pci_asked(const struct viommu_pci *pci)
{
	return pci->asked;
}

void vs_pci_on_idle(struct viommu_pci *pci, struct viommu_task *task)
{
	pci->idle_task = task;
}

struct viommu_loop *vs_pci_loop(const struct viommu_pci *pci)
{
	return pci->cfg.loop;
}

struct viommu_memory *vs_pci_memory(const struct viommu_pci *pci)
{
	return pci->cfg.memory;
}

struct vs_irqs *vs_pci_irqs(struct viommu_pci *pci)
{
	return &pci->irqs;
}

uint64_t vs_pci_region_len(const struct viommu_pci *pci, unsigned index)
{
	if (index < BARS)
		return pci->bars[index].len;
	return index == VFIO_PCI_CONFIG_REGION_INDEX ? CONFIG_LEN : 0;
}

bool vs_pci_inside(const struct viommu_pci *pci, unsigned index, uint64_t off,
		   uint64_t len)
{
	uint64_t room = vs_pci_region_len(pci, index);

	return off < room && len <= room - off;
}

/* The registers follow what was written to config space. */
static void config_apply(struct viommu_pci *pci)
{
	uint16_t command = (uint16_t)get_le(&pci->config[PCI_COMMAND], 2);
	const uint8_t *msi = &pci->config[pci->msi + PCI_MSI_FLAGS];
	const uint8_t *msix = &pci->config[pci->msix + PCI_MSIX_FLAGS];

	atomic_store(&pci->command, command);
	vs_irqs_enable(&pci->irqs, VFIO_PCI_INTX_IRQ_INDEX,
		       !(command & PCI_COMMAND_INTX_DISABLE));
	vs_irqs_enable(&pci->irqs, VFIO_PCI_MSI_IRQ_INDEX,
		       pci->msi && (get_le(msi, 2) & PCI_MSI_FLAGS_ENABLE));
	vs_irqs_enable(&pci->irqs, VFIO_PCI_MSIX_IRQ_INDEX,
		       pci->msix && (get_le(msix, 2) & PCI_MSIX_FLAGS_ENABLE));
}

/* ---- the window: a word of config space that shows one of a BAR */

void vs_pci_add_window(struct viommu_pci *pci, unsigned cap)
{
	pci->window = cap;
	pci->writable[cap + VIRTIO_PCI_CAP_BAR] = 0xff;
	put_le(&pci->writable[cap + VIRTIO_PCI_CAP_OFFSET], UINT32_MAX, 4);
	put_le(&pci->writable[cap + VIRTIO_PCI_CAP_LENGTH], UINT32_MAX, 4);
	put_le(&pci->writable[cap + WINDOW_DATA], UINT32_MAX, 4);
}

/* Whether an access to config space goes through, and to how many bytes. */
static unsigned window_len(const struct viommu_pci *pci, uint64_t off,
			   size_t len)
{
	const uint8_t *cap = &pci->config[pci->window];
	uint64_t data = pci->window + WINDOW_DATA;
	uint64_t n = get_le(cap + VIRTIO_PCI_CAP_LENGTH, 4);
	uint64_t at = get_le(cap + VIRTIO_PCI_CAP_OFFSET, 4);
	uint8_t bar = cap[VIRTIO_PCI_CAP_BAR];

	if (!pci->window || off > data || off + len <= data)
		return 0;
	if ((n != 1 && n != 2 && n != 4) || at % n || bar >= BARS ||
	    !vs_pci_inside(pci, bar, at, n))
		return 0;
	return (unsigned)n;
}

static void window_read(struct viommu_pci *pci, uint64_t off, size_t len)
{
	uint8_t *cap = &pci->config[pci->window];
	unsigned n = window_len(pci, off, len);

	if (n)
		vs_pci_read(pci, cap[VIRTIO_PCI_CAP_BAR],
			    get_le(cap + VIRTIO_PCI_CAP_OFFSET, 4),
			    cap + WINDOW_DATA, n);
}

static void window_write(struct viommu_pci *pci, uint64_t off, size_t len)
{
	const uint8_t *cap = &pci->config[pci->window];
	unsigned n = window_len(pci, off, len);
	uint8_t data[4];

	memcpy(data, cap + WINDOW_DATA, sizeof(data));
	if (n)
		vs_pci_write(pci, cap[VIRTIO_PCI_CAP_BAR],
			     get_le(cap + VIRTIO_PCI_CAP_OFFSET, 4), data, n);
}

static void config_read(struct viommu_pci *pci, uint64_t off, uint8_t *buf,
			size_t len)
{
	uint64_t tp = pci->af + PCI_AF_STATUS;

	window_read(pci, off, len);
	memcpy(buf, &pci->config[off], len);
	if (pci->busy && off <= tp && tp - off < len)
		buf[tp - off] |= PCI_AF_STATUS_TP;
	if (off <= PCI_STATUS && PCI_STATUS - off < len &&
	    vs_irqs_asserted(&pci->irqs))
		buf[PCI_STATUS - off] |= PCI_STATUS_INTERRUPT;
}

/* Whoever clears it once more waits for the end of the same DMA. */
static void bus_master_apply(struct viommu_pci *pci, bool was, bool written)
{
	bool on = viommu_pci_bus_master(pci);

	if (on != was && pci->cfg.bus_master)
		pci->cfg.bus_master(pci->cfg.arg, on);
	else if (written && !on && pci->busy)
		pci->asked++;
}

static void config_write(struct viommu_pci *pci, uint64_t off,
			 const uint8_t *buf, size_t len)
{
	uint64_t flr = pci->af + PCI_AF_CTRL;
	bool was = viommu_pci_bus_master(pci);

	for (size_t i = 0; i < len; i++) {
		uint8_t writable = pci->writable[off + i];
		uint8_t *at = &pci->config[off + i];

		*at = (uint8_t)((*at & ~writable) | (buf[i] & writable));
	}
	config_apply(pci);
	bus_master_apply(pci, was,
			 off <= PCI_COMMAND && PCI_COMMAND - off < len);
	window_write(pci, off, len);
	if (off <= flr && flr - off < len && (buf[flr - off] & PCI_AF_CTRL_FLR))
		vs_pci_reset(pci, false);
}

/* The longest aligned piece of @len bytes at @off. */
static unsigned piece(uint64_t off, size_t len)
{
	unsigned n = 8;

	while (n > len || (off & (n - 1)))
		n >>= 1;
	return n;
}

void vs_pci_read(struct viommu_pci *pci, unsigned index, uint64_t off,
		 void *buf, size_t len)
{
	const struct bar *bar;
	uint8_t *at = buf;

	if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
		config_read(pci, off, buf, len);
		return;
	}
	bar = &pci->bars[index];
	while (len) {
		unsigned n = piece(off, len);

		put_le(at, bar->read(bar->arg, off, n), n);
		off += n;
		at += n;
		len -= n;
	}
}

void vs_pci_write(struct viommu_pci *pci, unsigned index, uint64_t off,
		  const void *buf, size_t len)
{
	const struct bar *bar;
	const uint8_t *at = buf;

	if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
		config_write(pci, off, buf, len);
		return;
	}
	bar = &pci->bars[index];
	while (len) {
		unsigned n = piece(off, len);

		bar->write(bar->arg, off, n, get_le(at, n));
		off += n;
		at += n;
		len -= n;
	}
}

void vs_pci_reset(struct viommu_pci *pci, bool system)
{
	memcpy(pci->config, pci->initial, CONFIG_LEN);
	msix_table_reset(pci);
	vs_irqs_reset(&pci->irqs);
	config_apply(pci);
	if (system && pci->cfg.system_reset)
		pci->cfg.system_reset(pci->cfg.arg);
	if (pci->cfg.reset)
		pci->cfg.reset(pci->cfg.arg);
	/* also if it was under way already */
	if (pci->busy)
		pci->asked++;
}
