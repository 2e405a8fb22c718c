/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * Listening UNIX sockets.
 *
 * bind(2) refuses a path that exists, and a server that was killed leaves its
 * socket file behind.  Whether somebody listens is found out by connecting.
 * Two servers that start at once could each see the old file, and the second
 * remove the first one's new one: a lock on the folder keeps them apart.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "serve/unix.h"

#define BACKLOG	   4
#define LOCK_TRIES 100 /* 10 ms apart */

static int address(struct sockaddr_un *sa, const char *path)
{
	size_t len = strlen(path);

	if (!len)
		return -EINVAL;
	if (len >= sizeof(sa->sun_path))
		return -ENAMETOOLONG;
	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	memcpy(sa->sun_path, path, len + 1);
	return 0;
}

static int unix_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

/* Whether a socket file is there and nobody listens. */
static bool stale(const struct sockaddr_un *sa)
{
	struct stat st;
	bool refused;
	int fd;

	if (lstat(sa->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = unix_socket();
	if (fd < 0)
		return false;
	/* -EAGAIN: somebody listens, and has not accepted others yet */
	refused = connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) &&
		  errno == ECONNREFUSED;
	close(fd);
	return refused;
}

/* The folder's lock, released by closing; or -1: go without. */
static int folder_lock(const char *path)
{
	const struct timespec pause = { .tv_nsec = 10000000 };
	const char *slash = strrchr(path, '/');
	char *folder;
	int fd;

	if (!slash)
		folder = strdup(".");
	else
		folder = strndup(path,
				 slash == path ? 1 : (size_t)(slash - path));
	if (!folder)
		return -1;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(folder);
	for (int i = 0; fd >= 0 && i < LOCK_TRIES; i++) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			break;
		nanosleep(&pause, NULL);
	}
	return fd;
}

static int unix_bind(int fd, const struct sockaddr_un *sa)
{
	const struct sockaddr *addr = (const struct sockaddr *)sa;
	int lock, rc = 0;

	lock = folder_lock(sa->sun_path);
	if (bind(fd, addr, sizeof(*sa))) {
		rc = -errno;
		if (rc == -EADDRINUSE && stale(sa) && !unlink(sa->sun_path)) {
			rc = bind(fd, addr, sizeof(*sa)) ? -errno : 0;
		}
	}
	/* before anybody else may find it silent */
	if (!rc && listen(fd, BACKLOG))
		rc = -errno;
	if (lock >= 0)
		close(lock);
	return rc;
}

int vs_unix_listen(struct vs_unix *u, const char *path)
{
	struct sockaddr_un sa;
	struct stat st;
	int fd, rc;

	u->fd = -1;
	u->path = NULL;
	rc = address(&sa, path);
	if (rc)
		return rc;
	fd = unix_socket();
	if (fd < 0)
		return fd == -ENFILE ? -EMFILE : fd;
	u->path = strdup(path);
	rc = u->path ? unix_bind(fd, &sa) : -ENOMEM;
	if (!rc && lstat(path, &st))
		rc = -errno;
	if (rc) {
		free(u->path);
		u->path = NULL;
		close(fd);
		return rc;
	}
	u->fd = fd;
	u->dev = st.st_dev;
	u->ino = st.st_ino;
	return 0;
}

void vs_unix_close(struct vs_unix *u)
{
	struct stat st;

	if (u->fd < 0)
		return;
	if (!lstat(u->path, &st) && st.st_dev == u->dev && st.st_ino == u->ino)
		unlink(u->path);
	close(u->fd);
	free(u->path);
	u->fd = -1;
}

int vs_unix_accept(struct vs_unix *u)
{
	int fd = accept4(u->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	return fd < 0 ? -errno : fd;
}
