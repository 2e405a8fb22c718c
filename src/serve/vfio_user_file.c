/* SPDX-License-Identifier: BSD-2-Clause */
#include "serve/vfio_user_file.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* memfd and /dev/shm are tmpfs, too. */
static bool in_memory(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) &&
	       (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC);
}

static struct vs_file *file_find(struct vs_files *files, uint64_t dev,
				 uint64_t ino)
{
	for (unsigned i = 0; i < files->n; i++)
		if (files->file[i].dev == dev && files->file[i].ino == ino)
			return &files->file[i];
	return NULL;
}

/* A file that has grown is mapped again, beside what is mapped of it. */
static bool file_charge(struct vs_files *files, struct vs_file *file,
			uint64_t len)
{
	if (file->maps && len <= file->len)
		return true;
	if (len > VS_FILES_BYTES - files->bytes)
		return false;
	files->bytes += len;
	file->charged += len;
	file->len = len;
	return true;
}

int vs_files_add(struct vs_files *files, int fd)
{
	struct vs_file *file;
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size < 0 ||
	    !in_memory(fd))
		return -EBADF;
	file = file_find(files, st.st_dev, st.st_ino);
	if (!file && files->n < VS_FILES) {
		file = &files->file[files->n];
		*file = (struct vs_file){ .dev = st.st_dev, .ino = st.st_ino };
	}
	if (!file || !file_charge(files, file, (uint64_t)st.st_size))
		return -ENOSPC;
	if (!file->maps++)
		files->n++;
	return 0;
}

void vs_files_remove(struct vs_files *files, uint64_t dev, uint64_t ino)
{
	struct vs_file *file = file_find(files, dev, ino);

	if (!file || --file->maps)
		return;
	files->bytes -= file->charged;
	*file = files->file[--files->n];
}
