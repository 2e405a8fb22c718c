/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VS_VHOST_USER_WIRE_H
#define VS_VHOST_USER_WIRE_H

/* The vhost-user protocol as it is on the wire: host-endian. */

#include <linux/vhost_types.h>
#include <stdint.h>

enum {
	VH_VERSION = 0x1,
	VH_VERSION_MASK = 0x3,
	VH_REPLY = 0x4,
	VH_NEED_REPLY = 0x8,
	VH_FLAGS = 0xf,
};

struct vh_header {
	uint32_t request;
	uint32_t flags;
	uint32_t len; /* without the header */
};

/* From the front-end. */
enum {
	VH_GET_FEATURES = 1,
	VH_SET_FEATURES = 2,
	VH_SET_OWNER = 3,
	VH_RESET_OWNER = 4,
	VH_SET_MEM_TABLE = 5,
	VH_SET_LOG_BASE = 6,
	VH_SET_LOG_FD = 7,
	VH_SET_VRING_NUM = 8,
	VH_SET_VRING_ADDR = 9,
	VH_SET_VRING_BASE = 10,
	VH_GET_VRING_BASE = 11,
	VH_SET_VRING_KICK = 12,
	VH_SET_VRING_CALL = 13,
	VH_SET_VRING_ERR = 14,
	VH_GET_PROTOCOL_FEATURES = 15,
	VH_SET_PROTOCOL_FEATURES = 16,
	VH_GET_QUEUE_NUM = 17,
	VH_SET_VRING_ENABLE = 18,
	VH_SET_BACKEND_REQ_FD = 21,
	VH_IOTLB_MSG = 22,
	VH_GET_CONFIG = 24,
	VH_SET_CONFIG = 25,
	VH_GET_INFLIGHT_FD = 31,
	VH_SET_INFLIGHT_FD = 32,
	VH_GET_MAX_MEM_SLOTS = 36,
	VH_ADD_MEM_REG = 37,
	VH_REM_MEM_REG = 38,
};

/* To the front-end, on its other socket. */
enum {
	VH_BACKEND_IOTLB_MSG = 1,
	VH_BACKEND_CONFIG_CHANGE_MSG = 2,
};

/* Feature bits of the protocol among those of the device. */
enum {
	VH_F_LOG_ALL = 26,
	VH_F_PROTOCOL_FEATURES = 30,
};

/* Protocol features. */
enum {
	VH_P_MQ = 0,
	VH_P_LOG_SHMFD = 1,
	VH_P_REPLY_ACK = 3,
	VH_P_BACKEND_REQ = 5,
	VH_P_CONFIG = 9,
	VH_P_INFLIGHT_SHMFD = 12,
	VH_P_CONFIGURE_MEM_SLOTS = 15,
};

enum {
	VH_BODY_MAX = 4096, /* more than any message has */
	VH_FDS_MAX = 8,
	VH_TABLE_REGIONS = 8,
	VH_CONFIG_MAX = 256,
};

struct vh_region {
	uint64_t gpa, len, user, offset;
};

struct vh_mem_table {
	uint32_t n, pad;
	struct vh_region region[VH_TABLE_REGIONS];
};

struct vh_mem_reg {
	uint64_t pad;
	struct vh_region region;
};

struct vh_vring_state {
	uint32_t index, num;
};

enum {
	VH_VRING_F_LOG = 0x1,
};

struct vh_vring_addr {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};

/* SET_VRING_KICK, CALL, ERR. */
#define VH_FILE_INDEX UINT64_C(0xff)
#define VH_FILE_NONE  UINT64_C(0x100)

struct vh_config {
	uint32_t offset, len, flags;
	uint8_t data[VH_CONFIG_MAX];
};

struct vh_log {
	uint64_t len, offset;
};

/* Front-ends send the padding behind it, or do not. */
struct vh_inflight {
	uint64_t len, offset;
	uint16_t queues, queue_len;
	uint32_t pad;
};

/* In the in-flight area, for each ring: this, and an entry for each head. */
struct vh_inflight_head {
	uint64_t features;
	uint16_t version, len, last_batch_head, used_idx;
};

struct vh_inflight_entry {
	uint8_t inflight, pad[5];
	uint16_t next;
	uint64_t counter;
};

#endif
