/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef VI_CORE_INSTANCE_H
#define VI_CORE_INSTANCE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <viommu/viommu.h>

#include "base/env.h"
#include "base/list.h"
#include "base/lock.h"
#include "core/pin.h"
#include "table/radix.h"

enum {
	VI_EP_BUCKETS = 256,
	/* fence waits, as 2^k + n/8 2^k nanoseconds */
	VI_WAIT_BUCKETS = 64 * 8,
};

struct viommu {
	/* read by every access, written by nobody or by commits */
	uint64_t id;	  /* of all instances there ever were, for seats */
	uint32_t barrier; /* enum viommu_barrier: see core/pin.h */
	bool membarrier;  /* the kernel has it */
	uint32_t nseats;
	struct vi_seat *seats;
	_Atomic(uint32_t) seats_used; /* the first ones; only grows */
	_Atomic(uint32_t) npending;   /* fences that wait */
	_Atomic(uint64_t) commits;
	_Atomic(uint64_t) heirs;    /* pins that were inherited */
	_Atomic(uint32_t) given_up; /* endpoints that are */
	_Atomic(uint32_t) nholding; /* written with pending_lock held */

	struct viommu_env env;
	struct vi_list instances; /* VI_GUARDED(registry, pin.c) */
	struct vi_table_pool tables;
	struct viommu_memory *memory;

	/* what somebody is told happens under this one: see notifier.c.
	 * Outermost */
	struct vi_lock notify_lock;
	struct vi_list notifiers; /* VI_GUARDED(notify_lock) */

	/* topology: who exists, who sees what */
	struct vi_lock lock;
	struct vi_list endpoints[VI_EP_BUCKETS]; /* VI_GUARDED(lock) */
	struct vi_list spaces;			 /* VI_GUARDED(lock) */
	uint32_t nendpoints, max_endpoints;

	struct vi_lock remote_lock;
	struct vi_list remotes; /* questions: VI_GUARDED(remote_lock), miss.c */

	/* maps that are being asked to let go; innermost */
	struct vi_lock asking_lock;
	pthread_cond_t asked;
	struct vi_list asking; /* VI_GUARDED(asking_lock) */

	uint64_t max_mappings;
	_Alignas(64) _Atomic(uint64_t) mappings;
	_Atomic(uint64_t) mapped, unmapped, faults, fences, fences_waited;
	_Atomic(uint64_t) fences_failed, expired, revokes;
	_Atomic(uint64_t) misses, space_ids;

	/* pending fences */
	uint64_t fence_timeout;
	struct vi_lock pending_lock;
	pthread_cond_t done;		 /* a fence without callback is done,
					  * or one has failed */
	struct vi_list pending;		 /* VI_GUARDED(pending_lock) */
	struct vi_list settling;	 /* core/fence.c.  Likewise */
	struct vi_list holding;		 /* core/hold.h.  Likewise */
	uint64_t waits[VI_WAIT_BUCKETS]; /* VI_GUARDED(pending_lock) */
	uint64_t wait_max;		 /* VI_GUARDED(pending_lock) */
};

#endif
