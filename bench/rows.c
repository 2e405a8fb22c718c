/* SPDX-License-Identifier: BSD-2-Clause */
/* What is measured, where, and what it is held against. */
#include "bench.h"

#define ASYM   VIOMMU_BARRIER_ASYMMETRIC
#define FENCED VIOMMU_BARRIER_FENCED

#define WALK	   .floor = floor_walk, .floor_name = "walk"
#define ATOMIC	   .floor = floor_atomic, .floor_name = "atomic"
#define MEMBARRIER .floor = floor_membarrier, .floor_name = "membarrier"
/* the same without the other thread */
#define ALONE(fn)  .op = fn, .floor = fn, .floor_name = "alone"

#define LOAD_BURST(np, ns)                                            \
	{                                                             \
		.name = "load in a burst", .op = op_load_burst, WALK, \
		.aim = { .load = ns }, .barrier = ASYM, .pages = np,  \
		.n = 50000, .calls = "viommu_dma_load"                \
	}
#define LOAD(b, np, a)                                                        \
	{                                                                     \
		.name = "load", .op = op_load, WALK, .aim = { .load = 4, a }, \
		.barrier = b, .pages = np, .n = 30000,                        \
		.calls = "viommu_dma_load"                                    \
	}
#define MAP_UNMAP(b, np, l, a)                                                \
	{                                                                     \
		.name = "DMA map + unmap", .op = op_map_unmap, WALK,          \
		.aim = { .load = l, .atomic = a }, .barrier = b, .pages = np, \
		.n = 20000, .calls = "viommu_dma_map viommu_dma_unmap"        \
	}
#define MAP_UNMAP_BESIDE(b, k, what, r)                                      \
	{                                                                    \
		.name = "DMA map + unmap, " what, ALONE(op_map_unmap),       \
		.aim = { .floors = r }, .barrier = b, .pages = 1, .peer = k, \
		.n = 200000                                                  \
	}
#define INDEXED(what, fn, l)                                          \
	{                                                             \
		.name = "DMA map + unmap, " what, .op = fn, ATOMIC,   \
		.barrier = ASYM, .pages = K64, .live = l, .n = 10000, \
		.calls = "viommu_dma_map viommu_dma_unmap"            \
	}
#define SPACE(verb, size, lg2, l, a)                                          \
	{                                                                     \
		.name = "space " #verb " " size, .op = op_space_##verb,       \
		ATOMIC, .aim = { .load = l, .atomic = a }, .barrier = FENCED, \
		.pages = 1, .arg = lg2, .n = 64 * BATCH,                      \
		.calls = "viommu_space_" #verb                                \
	}
#define SPACE_RANDOM(np)                                                \
	{                                                               \
		.name = "space unmap + map 4 KiB, random",              \
		.op = op_space_map_random, WALK,                        \
		.aim = { .load = 12, .atomic = 12 }, .barrier = FENCED, \
		.pages = np, .n = 10000,                                \
		.calls = "viommu_space_map viommu_space_unmap"          \
	}
#define SPACE_256(verb, l)                                                 \
	{                                                                  \
		.name = "space " #verb " 256 x 4 KiB",                     \
		.op = op_space_##verb##_256, ATOMIC, .aim = { .load = l }, \
		.barrier = FENCED, .pages = 1, .arg = 12, .n = 64,         \
		.calls = "viommu_space_" #verb                             \
	}
#define COMMIT(b, l)                                                     \
	{                                                                \
		.name = "empty unmap + commit", .op = op_commit, ATOMIC, \
		.barrier = b, .pages = K, .live = l, .arg = 12,          \
		.n = 16 * BATCH,                                         \
		.calls = "viommu_space_unmap viommu_fence_commit "       \
			 "viommu_fence_wait"                             \
	}
#define FENCE_CALLS "viommu_space_unmap viommu_fence_commit viommu_fence_done"
/* The aims of 2.2 and 3.5 us are for a membarrier of 1.5 and 2: the rest, and
 * what one takes here beside that peer. */
#define UNMAP_COMMIT(b, k, l, a, m)                                           \
	{                                                                     \
		.name = "unmap + commit + done", .op = op_unmap_commit,       \
		MEMBARRIER, .floor_beside = true,                             \
		.aim = { .load = l, .atomic = a, .floors = m }, .barrier = b, \
		.pages = 1, .peer = k, .arg = 12, .n = 16 * BATCH,            \
		.calls = FENCE_CALLS                                          \
	}
#define UNMAP_BUSY(b, k, p, l, m)                                             \
	{                                                                     \
		.name = "unmap + commit + done, p" #p,                        \
		.op = op_unmap_commit_wait, MEMBARRIER, .floor_beside = true, \
		.aim = { .load = l, .floors = m }, .barrier = b, .pages = K,  \
		.peer = k, .arg = 12, .n = 2 * BATCH, .pct = p,               \
		.calls = FENCE_CALLS                                          \
	}
#define UNMAP_64(b, k, l)                                                   \
	{                                                                   \
		.name = "64 unmaps, one commit: each", .op = op_unmap_64,   \
		MEMBARRIER, .aim = { .load = l }, .barrier = b, .pages = 1, \
		.peer = k, .arg = 12, .n = 64 * 64, .calls = FENCE_CALLS    \
	}

/* With as many regions there: remove one, wait, and add it again. */
#define MEMORY_CHANGE(regions, what)                                           \
	{                                                                      \
		.name = "memory remove + add, of " what,                       \
		.op = op_memory_change, ATOMIC, .barrier = FENCED, .pages = 1, \
		.n = 2000, .arg = regions,                                     \
		.calls = "viommu_memory_add viommu_memory_remove "             \
			 "viommu_fence_commit viommu_fence_wait"               \
	}

#define TCE(what, fn, count, bus)                                         \
	{                                                                 \
		.name = "TCE " what, .op = fn, ATOMIC, .barrier = FENCED, \
		.pages = 1, .n = count, .arg = bus,                       \
		.calls = "viommu_tce_hcall"                               \
	}
#define TCE_BESIDE(what, fn, count, bus)                                       \
	{                                                                      \
		.name = "TCE " what ", 2 vCPUs", ALONE(fn), .barrier = FENCED, \
		.pages = 1, .peer = PEER_VCPU, .n = count, .arg = bus          \
	}

#define XEN(batch)                                                        \
	{                                                                 \
		.name = "foreign map + unmap, batch of " #batch,          \
		.op = op_xen_batch, .floor = floor_xen_batch,             \
		.floor_name = "reference", .barrier = FENCED, .pages = 1, \
		.n = 4096, .arg = batch, .calls = "viommu_xen_run"        \
	}
#define XEN_DESTROY(who)                                                     \
	{                                                                    \
		.name = "foreign " #who " of 100,000 pages destroyed: each", \
		.op = op_xen_destroy_##who, .barrier = FENCED, .pages = 1,   \
		.n = 1, .arg = 100000, .calls = "viommu_xen_guest_destroy"   \
	}

const struct row rows[] = {
	LOAD_BURST(1, 2.5),
	LOAD_BURST(SIXTEEN, 3),
	LOAD_BURST(K, 3.5),
	LOAD_BURST(K64, 5),
	LOAD_BURST(M, 10),
	{ .name = "load in a burst, 2 threads",
	  ALONE(op_load_burst),
	  .aim = { .floors = 1.05 },
	  .barrier = ASYM,
	  .pages = K,
	  .peer = PEER_BURSTS,
	  .n = 200000 },
	{ .name = "store in a burst",
	  .op = op_store_burst,
	  WALK,
	  .barrier = ASYM,
	  .pages = 1,
	  .n = 50000,
	  .calls = "viommu_dma_store" },
	{ .name = "window load in a burst",
	  .op = op_window,
	  WALK,
	  .aim = { .load = 2.5 },
	  .barrier = ASYM,
	  .pages = 1,
	  .n = 50000,
	  .calls = "viommu_window_load" },
	{ .name = "window load, 10k removals/s",
	  ALONE(op_window),
	  .aim = { .floors = 1.15 },
	  .barrier = ASYM,
	  .pages = 1,
	  .peer = PEER_MEMORY,
	  .n = 200000 },
	LOAD(ASYM, 1, .atomic = 0),
	LOAD(ASYM, K64, .atomic = 0),
	LOAD(FENCED, 1, .atomic = 5),
	LOAD(FENCED, K64, .atomic = 5),
	LOAD(VIOMMU_BARRIER_AUTO, 1, .atomic = 0),
	{ .name = "load, 2 threads",
	  ALONE(op_load),
	  .aim = { .floors = 1.05 },
	  .barrier = ASYM,
	  .pages = K,
	  .peer = PEER_READER,
	  .n = 200000 },
	{ .name = "load, 2 threads",
	  ALONE(op_load),
	  .aim = { .floors = 1.05 },
	  .barrier = FENCED,
	  .pages = K,
	  .peer = PEER_READER,
	  .n = 200000 },
	{ .name = "read 64 bytes",
	  .op = op_read,
	  WALK,
	  .barrier = ASYM,
	  .pages = K,
	  .n = 20000,
	  .arg = 64,
	  .calls = "viommu_dma_read" },
	{ .name = "read 4 KiB",
	  .op = op_read,
	  WALK,
	  .barrier = ASYM,
	  .pages = K,
	  .n = 4000,
	  .arg = PAGE,
	  .calls = "viommu_dma_read" },
	MAP_UNMAP(ASYM, 1, 6, 0),
	MAP_UNMAP(ASYM, K64, 0, 0),
	MAP_UNMAP(FENCED, 1, 7, 5),
	MAP_UNMAP(FENCED, K64, 0, 0),
	MAP_UNMAP_BESIDE(ASYM, PEER_MAPPER, "2 threads", 1.05),
	MAP_UNMAP_BESIDE(FENCED, PEER_MAPPER, "2 threads", 1.05),
	MAP_UNMAP_BESIDE(ASYM, PEER_TAKER, "10k inval/s", 1.15),
	MAP_UNMAP_BESIDE(FENCED, PEER_TAKER, "10k inval/s", 1.15),
	INDEXED("revocable", op_map_unmap_revocable, 0),
	INDEXED("beyond the pins", op_map_unmap_spilled, 0),
	INDEXED("revocable", op_map_unmap_revocable, 1000),
	INDEXED("revocable", op_map_unmap_revocable, 100000),
	SPACE(map, "4 KiB", 12, 6, 6),
	SPACE(unmap, "4 KiB", 12, 6, 6),
	SPACE(map, "2 MiB", 21, 5, 5),
	SPACE(unmap, "2 MiB", 21, 5, 5),
	SPACE(map, "1 GiB", 30, 5, 5),
	SPACE(unmap, "1 GiB", 30, 5, 5),
	SPACE_RANDOM(K),
	SPACE_RANDOM(K64),
	SPACE_RANDOM(M),
	SPACE_256(map, 120),
	SPACE_256(unmap, 80),
	COMMIT(FENCED, 0),
	COMMIT(FENCED, 1000),
	COMMIT(FENCED, 100000),
	UNMAP_COMMIT(FENCED, PEER_NONE, 15, 20, 0),
	UNMAP_COMMIT(ASYM, PEER_NONE, 15, 20, 0),
	UNMAP_COMMIT(FENCED, PEER_IDLE, 30, 30, 0),
	UNMAP_COMMIT(ASYM, PEER_IDLE, 20, 20, 1),
	UNMAP_BUSY(FENCED, PEER_READER, 50, 800, 0),
	UNMAP_BUSY(FENCED, PEER_READER, 99, 1500, 0),
	UNMAP_BUSY(ASYM, PEER_READER, 50, 700, 1),
	UNMAP_BUSY(ASYM, PEER_READER, 99, 1500, 1),
	UNMAP_BUSY(FENCED, PEER_BURSTS, 50, 800, 0),
	UNMAP_BUSY(FENCED, PEER_BURSTS, 99, 1500, 0),
	UNMAP_BUSY(ASYM, PEER_BURSTS, 50, 700, 1),
	UNMAP_BUSY(ASYM, PEER_BURSTS, 99, 1500, 1),
	UNMAP_64(FENCED, PEER_NONE, 50),
	UNMAP_64(ASYM, PEER_IDLE, 50),
	UNMAP_64(ASYM, PEER_READER, 50),
	{ .name = "LINEAR put + clear, committed",
	  .op = op_linear_put,
	  ATOMIC,
	  .barrier = FENCED,
	  .pages = 1,
	  .n = 20000,
	  .calls = "viommu_space_remap viommu_space_unmap "
		   "viommu_fence_commit viommu_fence_done" },
	{ .name = "LINEAR put + clear, committed",
	  .op = op_linear_put,
	  ATOMIC,
	  .barrier = ASYM,
	  .pages = 1,
	  .n = 20000,
	  .calls = "viommu_space_remap viommu_space_unmap "
		   "viommu_fence_commit viommu_fence_done" },
	{ .name = "LINEAR put + clear, 2 threads",
	  ALONE(op_linear_put),
	  .barrier = FENCED,
	  .pages = 1,
	  .peer = PEER_PUTTER,
	  .n = 50000 },
	TCE("PUT pair", op_tce_put, 20000, 0),
	TCE("INDIRECT of 512: each", op_tce_indirect, 40, 0),
	TCE("STUFF of 512: each", op_tce_stuff, 40, 0),
	TCE("PUT pair, dynamic windows", op_tce_put, 20000, 1),
	TCE("INDIRECT, dynamic windows", op_tce_indirect, 40, 1),
	TCE("STUFF, dynamic windows", op_tce_stuff, 40, 1),
	TCE_BESIDE("PUT pair", op_tce_put, 50000, 0),
	TCE_BESIDE("INDIRECT of 512", op_tce_indirect, 200, 0),
	TCE_BESIDE("STUFF of 512", op_tce_stuff, 200, 0),
	MEMORY_CHANGE(1, "1"),
	MEMORY_CHANGE(1000, "1,000"),
	MEMORY_CHANGE(100000, "100,000"),
	XEN(1),
	XEN(32),
	XEN(512),
	XEN_DESTROY(mapper),
	XEN_DESTROY(owner),
	{ .name = "memory a foreign page, bytes",
	  .op = op_xen_memory,
	  .pages = 1,
	  .arg = 100000,
	  .n = 1 },
	{ .name = "memory a 4 KiB mapping, bytes",
	  .op = op_memory,
	  .aim = { .bytes = 8.1 },
	  .pages = M,
	  .n = 1 },
	{ .name = "give a page up, 1 Ki held",
	  .op = op_give_up,
	  .floor = floor_let_go,
	  .floor_name = "let go",
	  .aim = { .load = 2000, .floors = 1 },
	  .barrier = ASYM,
	  .pages = 1,
	  .n = 2000,
	  .arg = K },
	{ .name = "give a page up, 1 Mi held",
	  .op = op_give_up,
	  .floor = floor_let_go,
	  .floor_name = "let go",
	  .aim = { .load = 2000, .floors = 1 },
	  .barrier = ASYM,
	  .pages = 1,
	  .n = 2000,
	  .arg = M },
	{ .name = "move 2 MiB",
	  .op = op_move,
	  .floor = floor_copy,
	  .floor_name = "memcpy",
	  .barrier = ASYM,
	  .pages = K,
	  .n = 50 },
	{ .name = "move 2 MiB, a writer beside",
	  .op = op_move,
	  .floor = floor_copy,
	  .floor_name = "memcpy",
	  .barrier = ASYM,
	  .pages = K,
	  .peer = PEER_WRITER,
	  .n = 50 },
};
const unsigned nrows = sizeof(rows) / sizeof(*rows);
