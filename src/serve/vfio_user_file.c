/* SPDX-License-Identifier: BSD-2-Clause */
#include "serve/vfio_user_file.h"

#include <errno.h>
#include <linux/magic.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/vfs.h>

/* memfd and /dev/shm are tmpfs, too. */
bool vs_file_in_memory(int fd)
{
	struct statfs fs;

	return !fstatfs(fd, &fs) &&
	       (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC);
}

/* The file's place, or a free one, or NULL: neither is there. */
static struct vs_file *file_find(struct vs_files *files, const struct stat *st)
{
	struct vs_file *spare = NULL;

	for (unsigned i = 0; i < files->n; i++) {
		struct vs_file *file = &files->file[i];

		if (!file->maps)
			spare = file;
		else if (file->dev == st->st_dev && file->ino == st->st_ino)
			return file;
	}
	if (!spare && files->n < VS_FILES)
		spare = &files->file[files->n];
	if (spare)
		*spare = (struct vs_file){ .dev = st->st_dev,
					   .ino = st->st_ino };
	return spare;
}

/* A file that has grown is mapped again, beside what is mapped of it. */
static bool file_charge(struct vs_files *files, struct vs_file *file,
			uint64_t len)
{
	bool grows = file->maps;

	if (grows && len <= file->len)
		return true;
	if (len > VS_FILES_BYTES - files->bytes ||
	    (grows && files->grown == VS_FILES))
		return false;
	files->bytes += len;
	files->grown += grows;
	file->charged += len;
	file->grown += grows;
	file->len = len;
	return true;
}

int vs_files_get(struct vs_files *files, int fd, struct vs_file **out)
{
	struct vs_file *file;
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size < 0 ||
	    !vs_file_in_memory(fd))
		return -EBADF;
	file = file_find(files, &st);
	if (!file || !file_charge(files, file, (uint64_t)st.st_size))
		return -ENOSPC;
	file->maps++;
	if (file == &files->file[files->n])
		files->n++;
	*out = file;
	return 0;
}

void vs_files_put(struct vs_files *files, struct vs_file *file)
{
	if (--file->maps)
		return;
	files->bytes -= file->charged;
	files->grown -= file->grown;
	while (files->n && !files->file[files->n - 1].maps)
		files->n--;
}

bool vs_files_same(const struct vs_file *file, int fd)
{
	struct stat st;

	return !fstat(fd, &st) && file->dev == st.st_dev &&
	       file->ino == st.st_ino;
}
