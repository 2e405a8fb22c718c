/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's disk: a raw image that was given, or an ext4 image of a folder.
 * What the guest wrote is looked at by e2fsprogs alone: nothing is mounted
 * here, and no root is needed.
 */
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "process.h"
#include "say.h"
#include "sha256.h"

#define MIB	 1048576ull
/* For the journal, and for what the guest writes (tools/guest/README.md). */
#define ROOM	 (96 * MIB)
#define WRITTEN	 "viommu-written"
#define SUMS	 "SHA256SUMS"
#define COPY_DIR "written"

/* What a tool found first, for the message that it failed: e2fsck passes over
 * the image, and its last words are but counts. */
struct words {
	char found[256];
};

static void words_keep(void *arg, const char *line)
{
	struct words *w = arg;

	say_detail("%s", line);
	if (!*line || !strncmp(line, "Pass ", 5) ||
	    !strncmp(line, "e2fsck ", 7))
		return;
	if (!w->found[0])
		snprintf(w->found, sizeof(w->found), "%s", line);
}

/* Whether it ran and its status has no bit outside of fine. */
static bool tool_run(const char *const *argv, const char *cwd, int fine,
		     struct outcome *o)
{
	struct words words = { "" };
	struct process_config cfg = {
		.argv = argv,
		.cwd = cwd,
		.out = words_keep,
		.err = words_keep,
		.arg = &words,
	};
	int rc = process_run(&cfg);

	if (rc == -EINTR)
		return outcome_fail(o, EXIT_STOPPED, "interrupted");
	if (rc == -ENOENT)
		return outcome_fail(o, EXIT_MISSING,
				    "%s is not installed (Debian: e2fsprogs)",
				    argv[0]);
	if (rc < 0)
		return outcome_fail(o, EXIT_WORK, "%s: %s", argv[0],
				    strerror(-rc));
	if (rc & ~fine)
		return outcome_fail(o, EXIT_WORK, "%s failed (%d): %s", argv[0],
				    rc, words.found);
	return true;
}

static bool room_check(const struct workdir *w, uint64_t bytes,
		       struct outcome *o)
{
	struct statvfs st;
	uint64_t room;

	if (statvfs(w->path, &st))
		return true;
	room = (uint64_t)st.f_bavail * st.f_frsize;
	if (room >= bytes)
		return true;
	return outcome_fail(o, EXIT_WORK,
			    "%s has %llu MB free, the folder's image needs "
			    "%llu MB: set TMPDIR, or choose a smaller --folder",
			    w->path, (unsigned long long)(room / 1000000),
			    (unsigned long long)(bytes / 1000000));
}

static bool image_mkfs(struct image *i, const char *folder, struct outcome *o)
{
	char inodes[32], blocks[32];
	const char *const argv[] = {
		"mke2fs",
		"-q",
		"-F",
		"-t",
		"ext4",
		"-b",
		"4096",
		"-m",
		"0",
		"-N",
		inodes,
		"-E",
		"lazy_itable_init=0,lazy_journal_init=0",
		"-d",
		folder,
		i->path,
		blocks,
		NULL,
	};

	/* The guest copies a part of it, once. */
	snprintf(inodes, sizeof(inodes), "%llu",
		 (unsigned long long)(2 * i->content.entries + 1024));
	snprintf(blocks, sizeof(blocks), "%llu",
		 (unsigned long long)(i->bytes / 4096));
	return tool_run(argv, NULL, 0, o);
}

static bool folder_failed(const char *folder, const struct manifest *m, int rc,
			  struct outcome *o)
{
	if (rc == -EINTR)
		return outcome_fail(o, EXIT_STOPPED, "interrupted");
	return outcome_fail(o, EXIT_USAGE, "reading the folder: %s: %s",
			    m->failed[0] ? m->failed : folder, strerror(-rc));
}

bool image_of_folder(struct image *i, const struct workdir *w,
		     const char *folder, struct outcome *o)
{
	struct manifest again;
	int rc;

	memset(i, 0, sizeof(*i));
	i->path = workdir_file(w, "disk.img");
	i->manifest = workdir_file(w, "manifest.sha256");
	if (!i->path || !i->manifest)
		return outcome_fail(o, EXIT_WORK, "no memory");
	rc = manifest_make(&i->content, folder, i->manifest);
	if (rc)
		return folder_failed(folder, &i->content, rc, o);
	if (!i->content.files)
		return outcome_fail(o, EXIT_USAGE, "%s has no files in it",
				    folder);
	say("%llu files, %.1f MB, become the guest's disk",
	    (unsigned long long)i->content.files,
	    (double)i->content.bytes / 1e6);
	/* Extents, folders and inodes are on top of the contents. */
	i->bytes = i->content.bytes + i->content.bytes / 16 +
		   i->content.entries * 8192 + ROOM;
	i->bytes = (i->bytes + MIB - 1) / MIB * MIB;
	if (!room_check(w, i->bytes, o) || !image_mkfs(i, folder, o))
		return false;
	rc = manifest_look(&again, folder);
	if (rc)
		return folder_failed(folder, &again, rc, o);
	if (again.state != i->content.state)
		return outcome_fail(o, EXIT_WORK,
				    "%s changed while it was read; try again",
				    folder);
	return true;
}

bool image_of_disk(struct image *i, const char *path, struct outcome *o)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), rc;
	off_t len;

	memset(i, 0, sizeof(*i));
	if (fd < 0)
		return outcome_fail(o, EXIT_WORK, "%s: %s", path,
				    strerror(errno));
	len = lseek(fd, 0, SEEK_END);
	if (len < 0 || lseek(fd, 0, SEEK_SET)) {
		close(fd);
		return outcome_fail(o, EXIT_WORK, "%s: cannot be read", path);
	}
	say("Hashing %s (%.1f MB)", path, (double)len / 1e6);
	rc = sha256_fd(fd, i->sha256);
	close(fd);
	if (rc == -EINTR)
		return outcome_fail(o, EXIT_STOPPED, "interrupted");
	if (rc)
		return outcome_fail(o, EXIT_WORK, "reading %s: %s", path,
				    strerror(-rc));
	i->bytes = (uint64_t)len;
	i->path = strdup(path);
	return i->path || outcome_fail(o, EXIT_WORK, "no memory");
}

static bool written_check(struct image *i, const struct workdir *w,
			  struct outcome *o)
{
	char *folder = workdir_file(w, COPY_DIR "/" WRITTEN);
	char *sums = workdir_file(w, COPY_DIR "/" WRITTEN "/" SUMS);
	bool ok = false;
	int rc;

	if (!folder || !sums) {
		outcome_fail(o, EXIT_WORK, "no memory");
		goto out;
	}
	rc = manifest_check(folder, sums, &i->files_checked, &i->files_listed);
	if (rc == -EINTR)
		outcome_fail(o, EXIT_STOPPED, "interrupted");
	else if (rc)
		outcome_fail(o, EXIT_WORK,
			     "what the guest wrote is not in the image: %s: %s",
			     sums, strerror(-rc));
	else if (!i->files_listed || i->files_checked != i->files_listed)
		outcome_fail(o, EXIT_WORK,
			     "only %llu of %llu files that the guest wrote are "
			     "in the image as it wrote them",
			     (unsigned long long)i->files_checked,
			     (unsigned long long)i->files_listed);
	else
		ok = true;
out:
	free(folder);
	free(sums);
	return ok;
}

bool image_check(struct image *i, const struct workdir *w, struct outcome *o)
{
	const char *const fsck[] = { "e2fsck", "-f", "-n", i->path, NULL };
	const char *const dump[] = {
		"debugfs", "-R", "rdump /" WRITTEN " " COPY_DIR, i->path, NULL,
	};
	char *to;
	int rc;

	say("Checking the image and what the guest wrote");
	if (!tool_run(fsck, NULL, 0, o))
		return false;
	to = workdir_file(w, COPY_DIR);
	rc = to ? mkdir(to, 0700) : -1;
	free(to);
	if (rc)
		return outcome_fail(o, EXIT_WORK, "no room in %s", w->path);
	/* debugfs exits with 0 whatever happens: written_check() looks. */
	return tool_run(dump, w->path, 0, o) && written_check(i, w, o);
}

void image_free(struct image *i)
{
	free(i->path);
	free(i->manifest);
	memset(i, 0, sizeof(*i));
}
