/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TOOLS_IMAGE_H
#define TOOLS_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "manifest.h"
#include "outcome.h"
#include "workdir.h"

/* The disk that the guest gets. */
struct image {
	char *path;	/* of a raw image; ours to free */
	char *manifest; /* of a folder's sums; NULL: none */
	struct manifest content;
	char sha256[65]; /* of a raw image that was given */
	uint64_t bytes;

	uint64_t files_checked; /* written by the guest, and right */
	uint64_t files_listed;	/* all that it listed */
};

/* Make an ext4 image of a folder.  False: o says why. */
bool image_of_folder(struct image *i, const struct workdir *w,
		     const char *folder, struct outcome *o);

/* Take an image as it is; option_image() has looked at it. */
bool image_of_disk(struct image *i, const char *path, struct outcome *o);

/* After the guest: look at the file system and at what the guest wrote. */
bool image_check(struct image *i, const struct workdir *w, struct outcome *o);

void image_free(struct image *i);

#endif
