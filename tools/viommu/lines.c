/* SPDX-License-Identifier: BSD-2-Clause */
#include "lines.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static void line_tell(struct lines *l, const char *line)
{
	if (l->line)
		l->line(l->arg, line);
}

/* Tells each whole line, and the rest too if there is no room for more. */
static void lines_split(struct lines *l)
{
	char *at = l->buf, *nl;
	size_t left = l->len;

	while ((nl = memchr(at, '\n', left))) {
		*nl = '\0';
		if (nl > at && nl[-1] == '\r')
			nl[-1] = '\0';
		line_tell(l, at);
		left -= (size_t)(nl + 1 - at);
		at = nl + 1;
	}
	memmove(l->buf, at, left);
	l->len = left;
	if (left == sizeof(l->buf) - 1) {
		l->buf[left] = '\0';
		line_tell(l, l->buf);
		l->len = 0;
	}
}

/* Whether to read on; else errno is EAGAIN if more may come later. */
static bool lines_read(struct lines *l)
{
	ssize_t n = read(l->fd, l->buf + l->len, sizeof(l->buf) - 1 - l->len);
	size_t i, len = l->len;

	if (n == 0)
		errno = 0;
	if (n <= 0)
		return errno == EINTR;
	if (l->raw)
		l->raw(l->arg, l->buf + len, (size_t)n);
	/* A NUL would hide what follows it. */
	for (i = 0; i < (size_t)n; i++)
		if (!l->buf[len + i])
			l->buf[len + i] = ' ';
	l->len += (size_t)n;
	lines_split(l);
	return true;
}

static void lines_drop(struct lines *l)
{
	viommu_loop_remove(l->loop, l->fd);
	close(l->fd);
	l->fd = -1;
	if (l->len) {
		l->buf[l->len] = '\0';
		line_tell(l, l->buf);
		l->len = 0;
	}
}

static void lines_event(void *arg, uint32_t events)
{
	struct lines *l = arg;

	(void)events;
	if (!lines_read(l) && errno != EAGAIN)
		lines_drop(l);
}

int lines_open(struct lines *l, struct viommu_loop *loop, int fd,
	       lines_fn *line, void *arg)
{
	int rc = 0;

	*l = (struct lines){ .loop = loop, .fd = fd, .line = line, .arg = arg };
	if (fcntl(fd, F_SETFL, O_NONBLOCK))
		rc = -errno;
	if (!rc)
		rc = viommu_loop_add(loop, fd, EPOLLIN, lines_event, l);
	if (rc) {
		close(fd);
		l->fd = -1;
	}
	return rc;
}

void lines_close(struct lines *l)
{
	if (l->fd < 0)
		return;
	while (lines_read(l))
		;
	lines_drop(l);
}
