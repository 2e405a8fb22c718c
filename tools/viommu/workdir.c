/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One folder for everything: images may be large, so it is not made in
 * XDG_RUNTIME_DIR, which is a part of the machine's memory.  A socket's name
 * has 107 bytes: where TMPDIR leaves no room for it, /tmp does.
 */
#include "workdir.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME	  "/viommu.XXXXXX"
#define PATH_ROOM 80

static int workdir_try(struct workdir *w, const char *parent)
{
	if (!parent || parent[0] != '/' || strlen(parent) > PATH_ROOM)
		return -EINVAL;
	snprintf(w->path, sizeof(w->path), "%s" NAME, parent);
	if (mkdtemp(w->path))
		return 0;
	w->path[0] = '\0';
	return -errno;
}

int workdir_create(struct workdir *w)
{
	if (!workdir_try(w, getenv("TMPDIR")))
		return 0;
	return workdir_try(w, "/tmp");
}

static int entry_remove(const char *path, const struct stat *st, int type,
			struct FTW *ftw)
{
	(void)st;
	(void)ftw;
	if (type == FTW_DP || type == FTW_D || type == FTW_DNR)
		return rmdir(path) && errno != ENOENT;
	return unlink(path) && errno != ENOENT;
}

/* A copy out of an image may hold folders that not even we may change. */
static int entry_open(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	(void)ftw;
	if (type == FTW_D || type == FTW_DNR)
		return (st->st_mode & 0700) != 0700 && chmod(path, 0700);
	return 0;
}

void workdir_destroy(struct workdir *w)
{
	if (!w->path[0])
		return;
	nftw(w->path, entry_open, 16, FTW_PHYS);
	nftw(w->path, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
	w->path[0] = '\0';
}

char *workdir_file(const struct workdir *w, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", w->path, name) < 0 ? NULL : path;
}
