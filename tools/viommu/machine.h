/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_MACHINE_H
#define TOOLS_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <viommu.h>
#include <viommu/guest/virtio.h>
#include <viommu/serve/blk.h>
#include <viommu/serve/dmatest.h>
#include <viommu/serve/vfio_user.h>

#include "outcome.h"
#include "viot.h"

struct machine;

struct machine_config {
	const char *folder; /* for the sockets */
	const char *disk;   /* raw image; NULL: no disk */
	bool iommu;	    /* or every function sees all memory */
	bool bypass;	    /* so do they until the guest attaches them */
	/* how long who takes memory away waits for a function */
	uint64_t fence_timeout_ns;
};

/* A function's client came or went, or its loop failed. */
struct machine_event {
	const char *function;
	bool connected, broken;
	char why[200];
};

struct machine_stats {
	struct viommu_stats core;
	struct viommu_virtio_stats virtio;
	struct viommu_blk_stats blk;
	struct viommu_dmatest_stats dmatest;
	struct viommu_vfio_user_stats disk_client, iommu_client;
};

/* Make the functions and let them run.  False: o says why. */
bool machine_create(const struct machine_config *cfg, struct machine **out,
		    struct outcome *o);

/* Stop them, disconnect their clients, remove the sockets. */
void machine_destroy(struct machine *m);

void machine_read_stats(struct machine *m, struct machine_stats *s);

/* For viommu_loop_add(): readable when an event waits. */
int machine_event_fd(const struct machine *m);
bool machine_next_event(struct machine *m, struct machine_event *e);

/* The functions, in order of their slots: false past the last. */
bool machine_function(const struct machine *m, unsigned index,
		      const char **socket, unsigned *slot);

/* What the guest's VIOT should say; only with an IOMMU. */
void machine_viot(const struct machine *m, struct viot *v);

#endif
