/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * virtio over PCI: BAR 0 and its capabilities (virtio 1.3, 4.1.4).
 *
 * An access of any width is taken apart into the fields that it covers: reads
 * may cover parts of them, writes take effect on whole ones.
 */

#include <endian.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>

#include "serve/pci.h"
#include "serve/virtio_pci_impl.h"

#define REGS_BAR    0
#define MSIX_BAR    1
#define BAR_LEN	    0x4000
#define BAR_COMMON  0x0000
#define BAR_ISR	    0x1000
#define BAR_DEVICE  0x2000
#define BAR_NOTIFY  0x3000
#define NOTIFY_MULT 4
#define COMMON_LEN  sizeof(struct virtio_pci_common_cfg)

_Static_assert(VS_VIRTIO_CONFIG_MAX == BAR_NOTIFY - BAR_DEVICE, "BAR 0");

/* ------------------------------------------------- common configuration */

enum {
	NUM_QUEUES = VIRTIO_PCI_COMMON_NUMQ,
	GENERATION = VIRTIO_PCI_COMMON_CFGGENERATION,
};

/* Where each field starts, and where the next one does. */
static const uint8_t fields[] = {
	VIRTIO_PCI_COMMON_DFSELECT,  VIRTIO_PCI_COMMON_DF,
	VIRTIO_PCI_COMMON_GFSELECT,  VIRTIO_PCI_COMMON_GF,
	VIRTIO_PCI_COMMON_MSIX,	     VIRTIO_PCI_COMMON_NUMQ,
	VIRTIO_PCI_COMMON_STATUS,    VIRTIO_PCI_COMMON_CFGGENERATION,
	VIRTIO_PCI_COMMON_Q_SELECT,  VIRTIO_PCI_COMMON_Q_SIZE,
	VIRTIO_PCI_COMMON_Q_MSIX,    VIRTIO_PCI_COMMON_Q_ENABLE,
	VIRTIO_PCI_COMMON_Q_NOFF,    VIRTIO_PCI_COMMON_Q_DESCLO,
	VIRTIO_PCI_COMMON_Q_DESCHI,  VIRTIO_PCI_COMMON_Q_AVAILLO,
	VIRTIO_PCI_COMMON_Q_AVAILHI, VIRTIO_PCI_COMMON_Q_USEDLO,
	VIRTIO_PCI_COMMON_Q_USEDHI,  COMMON_LEN,
};

#define NFIELDS (sizeof(fields) / sizeof(fields[0]) - 1)

static struct vs_pci_queue *queue_selected(struct viommu_virtio_pci *vp)
{
	return vp->select < vp->dev->cfg.queues ? &vp->queues[vp->select]
						: NULL;
}

static uint32_t half_of(uint64_t val, uint32_t high)
{
	return (uint32_t)(high ? val >> 32 : val);
}

static void half_set(uint64_t *at, bool high, uint32_t val)
{
	if (high)
		*at = (uint32_t)*at | (uint64_t)val << 32;
	else
		*at = (*at & ~(uint64_t)UINT32_MAX) | val;
}

static uint32_t queue_field_get(const struct vs_pci_queue *q, unsigned field)
{
	switch (field) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		return q->len;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		return q->vector;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return q->enabled;
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return q->index;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		return half_of(q->desc, field == VIRTIO_PCI_COMMON_Q_DESCHI);
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		return half_of(q->avail, field == VIRTIO_PCI_COMMON_Q_AVAILHI);
	default:
		return half_of(q->used, field == VIRTIO_PCI_COMMON_Q_USEDHI);
	}
}

/* Of a queue that does not exist, all is 0: above all the size (4.1.4.3.1). */
static uint32_t field_get(struct viommu_virtio_pci *vp, unsigned field)
{
	const struct vs_pci_queue *q = queue_selected(vp);

	switch (field) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		return vp->offered_select;
	case VIRTIO_PCI_COMMON_DF:
		return vp->offered_select > 1
			       ? 0
			       : half_of(vp->dev->offered, vp->offered_select);
	case VIRTIO_PCI_COMMON_GFSELECT:
		return vp->accepted_select;
	case VIRTIO_PCI_COMMON_GF:
		return vp->accepted_select > 1
			       ? 0
			       : half_of(vp->accepted, vp->accepted_select);
	case VIRTIO_PCI_COMMON_MSIX:
		return vp->vector;
	case NUM_QUEUES:
		return vp->dev->cfg.queues;
	case VIRTIO_PCI_COMMON_STATUS:
		return vp->status;
	case GENERATION:
		return vp->generation;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		return vp->select;
	default:
		return q ? queue_field_get(q, field) : 0;
	}
}

static uint16_t vector_checked(const struct viommu_virtio_pci *vp, uint32_t val)
{
	return val <= vp->dev->cfg.queues ? (uint16_t)val
					  : VIRTIO_MSI_NO_VECTOR;
}

/* Where a queue lies is settled once it is enabled; its vector is not. */
static void queue_field_set(struct vs_pci_queue *q, unsigned field,
			    uint32_t val)
{
	if (field == VIRTIO_PCI_COMMON_Q_MSIX)
		q->vector = vector_checked(q->vp, val);
	if (q->enabled)
		return;
	switch (field) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		if (val && !(val & (val - 1)) &&
		    val <= q->vp->dev->cfg.queue_len)
			q->len = (uint16_t)val;
		break;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		if (val == 1)
			vs_pci_queue_enable(q);
		break;
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
		half_set(&q->desc, field == VIRTIO_PCI_COMMON_Q_DESCHI, val);
		break;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
		half_set(&q->avail, field == VIRTIO_PCI_COMMON_Q_AVAILHI, val);
		break;
	case VIRTIO_PCI_COMMON_Q_USEDLO:
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		half_set(&q->used, field == VIRTIO_PCI_COMMON_Q_USEDHI, val);
		break;
	default:
		break;
	}
}

static void accepted_set(struct viommu_virtio_pci *vp, uint32_t val)
{
	/* settled: what was agreed on stays so */
	if (vp->status & VIRTIO_CONFIG_S_FEATURES_OK)
		return;
	if (vp->accepted_select <= 1)
		half_set(&vp->accepted, vp->accepted_select, val);
	else if (val)
		vp->stray_features = true;
}

static void field_set(struct viommu_virtio_pci *vp, unsigned field,
		      uint32_t val)
{
	struct vs_pci_queue *q = queue_selected(vp);

	if (field == VIRTIO_PCI_COMMON_STATUS) {
		vs_virtio_status_write(vp, (uint8_t)val);
		return;
	}
	if (vp->dev->resetting)
		return;
	switch (field) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		vp->offered_select = val;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		vp->accepted_select = val;
		break;
	case VIRTIO_PCI_COMMON_GF:
		accepted_set(vp, val);
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		vp->vector = vector_checked(vp, val);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		vp->select = (uint16_t)val;
		break;
	default:
		if (q)
			queue_field_set(q, field, val);
	}
}

static uint64_t common_read(struct viommu_virtio_pci *vp, uint64_t off,
			    unsigned len)
{
	uint64_t val = 0;

	for (size_t f = 0; f < NFIELDS; f++) {
		uint64_t word;

		if (fields[f + 1] <= off || fields[f] >= off + len)
			continue;
		word = field_get(vp, fields[f]);
		if (fields[f] >= off)
			val |= word << (8 * (fields[f] - off));
		else
			val |= word >> (8 * (off - fields[f]));
	}
	return len < 8 ? val & ((UINT64_C(1) << (8 * len)) - 1) : val;
}

/* Fields that are written as a whole; half a field is none (4.1.3.1). */
static void common_write(struct viommu_virtio_pci *vp, uint64_t off,
			 unsigned len, uint64_t val)
{
	for (size_t f = 0; f < NFIELDS; f++) {
		unsigned width = fields[f + 1] - fields[f];
		uint64_t word;

		if (fields[f] < off || fields[f + 1] > off + len)
			continue;
		word = val >> (8 * (fields[f] - off));
		field_set(
			vp, fields[f],
			(uint32_t)(word & ((UINT64_C(1) << (8 * width)) - 1)));
	}
}

/* ------------------------------------------------------------------- BAR */

/* Reading acknowledges (4.1.4.5). */
static uint64_t isr_read(struct viommu_virtio_pci *vp)
{
	uint8_t isr = vp->isr;

	vp->isr = 0;
	viommu_pci_deassert(vp->pci);
	return isr;
}

static uint64_t device_read(struct viommu_virtio_pci *vp, uint64_t off,
			    unsigned len)
{
	uint64_t val = 0;

	vs_virtio_config_read(vp->dev, off, &val, len);
	return le64toh(val);
}

static void device_write(struct viommu_virtio_pci *vp, uint64_t off,
			 unsigned len, uint64_t val)
{
	val = htole64(val);
	if (!vp->dev->resetting)
		vs_virtio_config_write(vp->dev, off, &val, len);
}

static void notify_write(struct viommu_virtio_pci *vp, uint64_t off)
{
	if (off % NOTIFY_MULT == 0 && off / NOTIFY_MULT < vp->dev->cfg.queues)
		vs_virtio_queue_kick(vp->dev, (unsigned)(off / NOTIFY_MULT));
}

static uint64_t bar_read(void *arg, uint64_t off, unsigned len)
{
	if (off < BAR_ISR)
		return common_read(arg, off, len);
	if (off == BAR_ISR)
		return isr_read(arg);
	if (off >= BAR_DEVICE && off < BAR_NOTIFY)
		return device_read(arg, off - BAR_DEVICE, len);
	return 0;
}

static void bar_write(void *arg, uint64_t off, unsigned len, uint64_t val)
{
	if (off < BAR_ISR)
		common_write(arg, off, len, val);
	else if (off >= BAR_DEVICE && off < BAR_NOTIFY)
		device_write(arg, off - BAR_DEVICE, len, val);
	else if (off >= BAR_NOTIFY)
		notify_write(arg, off - BAR_NOTIFY);
}

/* ---------------------------------------------------------- capabilities */

/* A vendor capability of @len bytes, less the two that PCI adds itself. */
static int cap_add(struct viommu_virtio_pci *vp, const void *cap, uint8_t len,
		   uint16_t *off)
{
	const uint8_t *body = cap;

	return viommu_pci_add_capability(vp->pci, PCI_CAP_ID_VNDR, body + 2,
					 len - 2u, off);
}

static struct virtio_pci_cap cap_of(uint8_t type, size_t cap_len,
				    uint32_t offset, size_t len)
{
	return (struct virtio_pci_cap){
		.cap_len = (uint8_t)cap_len,
		.cfg_type = type,
		.bar = REGS_BAR,
		.offset = htole32(offset),
		.length = htole32((uint32_t)len),
	};
}

static int region_cap_add(struct viommu_virtio_pci *vp, uint8_t type,
			  uint32_t offset, size_t len)
{
	struct virtio_pci_cap cap = cap_of(type, sizeof(cap), offset, len);

	return cap_add(vp, &cap, sizeof(cap), NULL);
}

static int notify_cap_add(struct viommu_virtio_pci *vp)
{
	struct virtio_pci_notify_cap cap = {
		.cap = cap_of(VIRTIO_PCI_CAP_NOTIFY_CFG, sizeof(cap),
			      BAR_NOTIFY, NOTIFY_MULT * vp->dev->cfg.queues),
		.notify_off_multiplier = htole32(NOTIFY_MULT),
	};

	return cap_add(vp, &cap, sizeof(cap), NULL);
}

/* 4.1.4.9: a window into the BAR for those who cannot map it. */
static int window_cap_add(struct viommu_virtio_pci *vp)
{
	struct virtio_pci_cfg_cap cap = {
		.cap = cap_of(VIRTIO_PCI_CAP_PCI_CFG, sizeof(cap), 0, 0),
	};
	uint16_t off;
	int rc = cap_add(vp, &cap, sizeof(cap), &off);

	if (!rc)
		vs_pci_add_window(vp->pci, off);
	return rc;
}

static int caps_add(struct viommu_virtio_pci *vp)
{
	int rc = region_cap_add(vp, VIRTIO_PCI_CAP_COMMON_CFG, BAR_COMMON,
				COMMON_LEN);

	if (!rc)
		rc = notify_cap_add(vp);
	if (!rc)
		rc = region_cap_add(vp, VIRTIO_PCI_CAP_ISR_CFG, BAR_ISR, 1);
	if (!rc && vp->dev->cfg.config_len)
		rc = region_cap_add(vp, VIRTIO_PCI_CAP_DEVICE_CFG, BAR_DEVICE,
				    vp->dev->cfg.config_len);
	return rc ? rc : window_cap_add(vp);
}

int vs_virtio_regs_add(struct viommu_virtio_pci *vp)
{
	int rc = viommu_pci_add_bar(vp->pci, REGS_BAR, BAR_LEN, 0, bar_read,
				    bar_write, vp);

	if (!rc)
		rc = viommu_pci_add_msix(vp->pci, MSIX_BAR,
					 vp->dev->cfg.queues + 1);
	viommu_pci_add_intx(vp->pci);
	return rc ? rc : caps_add(vp);
}
