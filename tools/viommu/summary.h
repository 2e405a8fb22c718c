/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_SUMMARY_H
#define TOOLS_SUMMARY_H

#include <stdbool.h>
#include <stdio.h>

#include "guest.h"
#include "image.h"
#include "kit.h"
#include "machine.h"
#include "outcome.h"
#include "wiring.h"

/* Everything that a run can tell.  Zeroed: nothing is known yet. */
struct summary {
	bool boot;	      /* a guest was to be run by us, or else served */
	bool iommu;	      /* --iommu virtio */
	struct wiring wiring; /* of a guest of ours */
	bool attack;	      /* attacks were asked for */
	bool folder, disk;
	bool disk_same; /* the guest read what is in the image */
	const char *accel;
	double seconds; /* all of it */
	struct outcome outcome;
	struct kit kit;
	struct image image;
	struct guest_result guest;
	struct machine_stats stats;
	unsigned kills;		  /* of the disk's process */
	const char *disk_process; /* what it told: JSON, empty or NULL */
};

/* For people: a table. */
void summary_print(const struct summary *s, FILE *to);

/* For programs: one JSON object on one line of standard output. */
void summary_json(const struct summary *s);

#endif
