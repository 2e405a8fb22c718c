/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_VFIO_USER_WIRE_H
#define VS_VFIO_USER_WIRE_H

/*
 * The vfio-user protocol's messages (protocol 0.1; QEMU's tree has its text in
 * docs/interop/vfio-user.rst).  Everything is in host byte order.  What the
 * protocol takes over from VFIO unchanged is in linux/vfio.h: flag bits,
 * region and interrupt indexes.
 */

#include <assert.h>
#include <stdint.h>

struct vu_header {
	uint16_t id; /* of the sender; the reply has the same */
	uint16_t command;
	uint32_t len; /* of the message, header included */
	uint32_t flags;
	uint32_t error; /* an errno, if VU_F_ERROR */
};

enum {
	VU_F_TYPE = 0xf,
	VU_F_COMMAND = 0,
	VU_F_REPLY = 1,
	VU_F_NO_REPLY = 1u << 4,
	VU_F_ERROR = 1u << 5,
};

enum vu_command {
	VU_VERSION = 1,
	VU_DMA_MAP = 2,
	VU_DMA_UNMAP = 3,
	VU_GET_INFO = 4,
	VU_GET_REGION_INFO = 5,
	VU_GET_REGION_IO_FDS = 6,
	VU_GET_IRQ_INFO = 7,
	VU_SET_IRQS = 8,
	VU_REGION_READ = 9,
	VU_REGION_WRITE = 10,
	VU_DMA_READ = 11,  /* server to client */
	VU_DMA_WRITE = 12, /* server to client */
	VU_RESET = 13,
	VU_REGION_WRITE_MULTI = 15,
	VU_FEATURE = 16,
	VU_MIG_DATA_READ = 17,
	VU_MIG_DATA_WRITE = 18,
};

struct vu_version {
	uint16_t major, minor;
	/* and a NUL-terminated JSON text, or nothing */
};

enum {
	VU_DMA_F_READ = 1,
	VU_DMA_F_WRITE = 2,
	VU_DMA_F_MMAP = 4, /* some clients: it may be mapped */
};

struct vu_dma_map {
	uint32_t argsz, flags;
	uint64_t offset; /* in the file */
	uint64_t iova, len;
};

enum {
	VU_UNMAP_F_DIRTY = 1,
	VU_UNMAP_F_ALL = 2
};

struct vu_dma_unmap {
	uint32_t argsz, flags;
	uint64_t iova, len;
};

struct vu_info {
	uint32_t argsz, flags;
	uint32_t regions, irqs;
};

struct vu_region_info {
	uint32_t argsz, flags, index, cap_offset;
	uint64_t len, offset;
};

struct vu_region_io_fds {
	uint32_t argsz, flags, index, count;
};

struct vu_irq_info {
	uint32_t argsz, flags, index, count;
};

struct vu_set_irqs {
	uint32_t argsz, flags, index, start, count;
	/* and count bytes, for VFIO_IRQ_SET_DATA_BOOL */
};

struct vu_region_access {
	uint64_t offset;
	uint32_t region, count;
	/* and count bytes */
};

struct vu_write_multi {
	uint64_t count;
	/* and count of these: */
};

struct vu_write_one {
	uint64_t offset;
	uint32_t region, count;
	uint8_t data[8];
};

/* As the protocol's text has it; data follows. */
struct vu_dma_access {
	uint64_t iova, count;
};

/* As QEMU has it; data follows without the padding of a C structure, but a
 * message must be as long as QEMU's structure is, padded. */
struct vu_dma_access_qemu {
	uint64_t iova;
	uint32_t count;
} __attribute__((packed));

enum {
	VU_MAJOR = 0,
	VU_MINOR = 1,
	VU_MAX_FDS = 16, /* with one message; QEMU refuses a greater offer */
	VU_MAX_XFER = 1 << 20,
	VU_DEFAULT_MAPS = 65535, /* the protocol's; QEMU refuses a greater
				  * offer, but keeps to no number */
	VU_MAX_MAPS = 1 << 18,	 /* of one client; QEMU's own IOMMU makes one
				  * for each IOVA mapping */
	VU_MAX_MULTI = 200,
	VU_QEMU_DMA_LEAST = 32,
	/* the longest: a write of VU_MAX_XFER bytes */
	VU_MAX_LEN = 16 + 16 + VU_MAX_XFER,
};

static_assert(sizeof(struct vu_header) == 16, "header");
static_assert(sizeof(struct vu_version) == 4, "version");
static_assert(sizeof(struct vu_dma_map) == 32, "dma_map");
static_assert(sizeof(struct vu_dma_unmap) == 24, "dma_unmap");
static_assert(sizeof(struct vu_info) == 16, "info");
static_assert(sizeof(struct vu_region_info) == 32, "region_info");
static_assert(sizeof(struct vu_irq_info) == 16, "irq_info");
static_assert(sizeof(struct vu_set_irqs) == 20, "set_irqs");
static_assert(sizeof(struct vu_region_access) == 16, "region_access");
static_assert(sizeof(struct vu_write_one) == 24, "write_one");
static_assert(sizeof(struct vu_dma_access_qemu) == 12, "dma_access_qemu");

#endif
