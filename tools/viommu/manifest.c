/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lists of SHA-256 sums, in the form of GNU sha256sum: a line that begins with
 * a backslash has \\, \n and \r in its name escaped.  A list may come from the
 * guest: a name that would leave the folder counts as a file that differs.
 */
#include "manifest.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sha256.h"
#include "stop.h"

#define BLOCK 4096

static void name_write(FILE *to, const char *name)
{
	for (; *name; name++) {
		switch (*name) {
		case '\\':
			fputs("\\\\", to);
			break;
		case '\n':
			fputs("\\n", to);
			break;
		case '\r':
			fputs("\\r", to);
			break;
		default:
			putc(*name, to);
		}
	}
}

static int line_write(FILE *to, const char *path, const char *name)
{
	char hex[SHA256_HEX];
	int rc = sha256_file(path, hex);

	if (rc)
		return rc;
	fprintf(to, "%s%s  ", strpbrk(name, "\\\n\r") ? "\\" : "", hex);
	name_write(to, name);
	putc('\n', to);
	return 0;
}

/* FNV-1a over what changes when a file does. */
static void state_add(struct manifest *m, const void *buf, size_t len)
{
	const unsigned char *at = buf;

	while (len--)
		m->state = (m->state ^ *at++) * 0x100000001b3u;
}

static void entry_note(struct manifest *m, const FTSENT *e)
{
	uint64_t size = (uint64_t)e->fts_statp->st_size;

	m->entries++;
	state_add(m, e->fts_path, e->fts_pathlen);
	if (e->fts_info == FTS_D)
		return;
	state_add(m, &size, sizeof(size));
	state_add(m, &e->fts_statp->st_mtim, sizeof(struct timespec));
	if (e->fts_info == FTS_F) {
		m->files++;
		m->bytes += (size + BLOCK - 1) / BLOCK * BLOCK;
	}
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int entry_visit(struct manifest *m, const FTSENT *e, size_t skip,
		       FILE *to)
{
	switch (e->fts_info) {
	case FTS_DP:
		return 0;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return e->fts_errno ? -e->fts_errno : -EIO;
	default:
		entry_note(m, e);
	}
	if (to && e->fts_info == FTS_F)
		return line_write(to, e->fts_accpath, e->fts_path + skip);
	return 0;
}

static int folder_walk(struct manifest *m, const char *folder, FILE *to)
{
	char *root = strdup(folder), *roots[] = { root, NULL };
	size_t skip;
	FTSENT *e;
	FTS *fts;
	int rc = 0;

	memset(m, 0, sizeof(*m));
	m->state = 0xcbf29ce484222325u;
	if (!root)
		return -ENOMEM;
	for (skip = strlen(root); skip > 1 && root[skip - 1] == '/'; skip--)
		root[skip - 1] = '\0';
	skip += strcmp(root, "/") ? 1 : 0;
	fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
	if (!fts) {
		free(root);
		return -errno;
	}
	while (!rc && (errno = 0, e = fts_read(fts))) {
		rc = stop_requested() ? -EINTR : entry_visit(m, e, skip, to);
		if (rc)
			snprintf(m->failed, sizeof(m->failed), "%s",
				 e->fts_path);
	}
	if (!rc && errno)
		rc = -errno;
	fts_close(fts);
	free(root);
	return rc;
}

int manifest_look(struct manifest *m, const char *folder)
{
	return folder_walk(m, folder, NULL);
}

int manifest_make(struct manifest *m, const char *folder, const char *path)
{
	FILE *to = fopen(path, "we");
	int rc;

	memset(m, 0, sizeof(*m));
	if (!to)
		return -errno;
	rc = folder_walk(m, folder, to);
	if (!rc && ferror(to))
		rc = -EIO;
	if (fclose(to) && !rc)
		rc = -errno;
	return rc;
}

/* Undo name_write(), in place. */
static void name_unescape(char *name)
{
	char *to = name;

	for (; *name; name++) {
		if (*name == '\\' && name[1]) {
			name++;
			*to++ = *name == 'n'   ? '\n'
				: *name == 'r' ? '\r'
					       : *name;
		} else {
			*to++ = *name;
		}
	}
	*to = '\0';
}

static bool name_inside(const char *name)
{
	const char *at = name;

	if (*name == '/' || !*name)
		return false;
	while (*at) {
		size_t n = strcspn(at, "/");

		if (n == 2 && !strncmp(at, "..", 2))
			return false;
		at += n + (at[n] == '/');
	}
	return true;
}

/* Links on the way were made by the guest, too: none is followed. */
static int file_open(int dir, char *name)
{
	char *slash;
	int fd = dup(dir), next;

	while (fd >= 0 && (slash = strchr(name, '/'))) {
		*slash = '\0';
		next = openat(fd, name,
			      O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(fd);
		fd = next;
		name = slash + 1;
	}
	if (fd < 0)
		return -1;
	next = openat(fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	close(fd);
	return next;
}

static int line_check(int dir, char *line, bool *good)
{
	bool escaped = *line == '\\';
	char hex[SHA256_HEX];
	struct stat st;
	char *name;
	int fd, rc;

	*good = false;
	line += escaped;
	if (strspn(line, "0123456789abcdef") != SHA256_HEX - 1 ||
	    line[64] != ' ' || !line[65])
		return 0;
	name = line + 66;
	if (escaped)
		name_unescape(name);
	if (!name_inside(name))
		return 0;
	fd = file_open(dir, name);
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		close(fd);
		return 0;
	}
	rc = sha256_fd(fd, hex);
	close(fd);
	*good = !rc && !strncmp(hex, line, SHA256_HEX - 1);
	return rc == -EINTR ? rc : 0;
}

int manifest_check(const char *folder, const char *path, uint64_t *good,
		   uint64_t *lines)
{
	FILE *from = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;
	ssize_t len;
	int dir, rc = 0;
	bool ok;

	*good = *lines = 0;
	if (!from)
		return -errno;
	dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		rc = -errno;
	while (!rc && (len = getline(&line, &size, from)) > 0) {
		if (line[len - 1] == '\n')
			line[len - 1] = '\0';
		(*lines)++;
		rc = line_check(dir, line, &ok);
		*good += ok;
	}
	free(line);
	fclose(from);
	if (dir >= 0)
		close(dir);
	return rc;
}
