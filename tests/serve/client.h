/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_SERVE_CLIENT_H
#define TESTS_SERVE_CLIENT_H

/*
 * A vfio-user client for tests: says what it is told to, in QEMU's manner or
 * in a worse one.  Every wait has a bound; a server that does not answer fails
 * the test.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "serve/vfio_user_wire.h"

#define CLIENT_WAIT_MS 10000

/* Word for word what QEMU offers. */
#define QEMU_CAPS                                                \
	"{\"capabilities\": {\"migration\": {\"pgsize\": 4096, " \
	"\"max_bitmap_size\": 268435456}, \"max_msg_fds\": 16, " \
	"\"max_data_xfer_size\": 1048576, \"pgsizes\": 4096, "   \
	"\"max_dma_maps\": 65535, \"write_multiple\": true}}"

struct client {
	int fd;
	uint16_t id; /* of the last message sent */
	/* of the last one received: */
	struct vu_header hdr;
	uint8_t body[VU_MAX_LEN];
	size_t body_len;
};

static inline int client_socket(const char *path)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_true(strlen(path) < sizeof(sa.sun_path));
	memcpy(sa.sun_path, path, strlen(path) + 1);
	if (connect(fd, (const struct sockaddr *)&sa, sizeof(sa))) {
		close(fd);
		return -errno;
	}
	return fd;
}

static inline struct client *client_connect(const char *path)
{
	struct client *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->fd = client_socket(path);
	assert_true(c->fd >= 0);
	return c;
}

static inline void client_close(struct client *c)
{
	close(c->fd);
	free(c);
}

/* Raw bytes, with fds on the first.  false: the server is gone. */
static inline bool client_put(struct client *c, const void *buf, size_t len,
			      const int *fds, unsigned nfds)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(253 * sizeof(int))];
	} control = { 0 };
	const uint8_t *at = buf;

	while (len) {
		struct iovec iov = { .iov_base = (void *)(uintptr_t)at,
				     .iov_len = len };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
		struct cmsghdr *cm;
		ssize_t n;

		if (nfds) {
			msg.msg_control = control.buf;
			msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
			cm = CMSG_FIRSTHDR(&msg);
			cm->cmsg_level = SOL_SOCKET;
			cm->cmsg_type = SCM_RIGHTS;
			cm->cmsg_len = CMSG_LEN(nfds * sizeof(int));
			memcpy(CMSG_DATA(cm), fds, nfds * sizeof(int));
		}
		n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
		if (n < 0)
			return false;
		at += n;
		len -= (size_t)n;
		nfds = 0;
	}
	return true;
}

static inline bool client_send_fds(struct client *c, uint16_t command,
				   uint32_t flags, const void *body, size_t len,
				   const int *fds, unsigned nfds)
{
	struct vu_header hdr = {
		.id = ++c->id,
		.command = command,
		.len = (uint32_t)(sizeof(hdr) + len),
		.flags = flags,
	};
	uint8_t *msg = malloc(hdr.len);
	bool ok;

	assert_non_null(msg);
	memcpy(msg, &hdr, sizeof(hdr));
	if (len)
		memcpy(msg + sizeof(hdr), body, len);
	ok = client_put(c, msg, hdr.len, fds, nfds);
	free(msg);
	return ok;
}

static inline bool client_send(struct client *c, uint16_t command,
			       uint32_t flags, const void *body, size_t len)
{
	return client_send_fds(c, command, flags, body, len, NULL, 0);
}

/* Whether something (or the other side's leaving) comes within @ms. */
static inline bool client_poll(const struct client *c, int ms)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

static inline bool client_get(struct client *c, void *buf, size_t len)
{
	uint8_t *at = buf;

	while (len) {
		ssize_t n;

		assert_true(client_poll(c, CLIENT_WAIT_MS));
		n = recv(c->fd, at, len, 0);
		if (n <= 0)
			return false;
		at += n;
		len -= (size_t)n;
	}
	return true;
}

/* One message.  false: the server hung up. */
static inline bool client_recv(struct client *c)
{
	if (!client_get(c, &c->hdr, sizeof(c->hdr)))
		return false;
	assert_in_range(c->hdr.len, sizeof(c->hdr), VU_MAX_LEN);
	c->body_len = c->hdr.len - sizeof(c->hdr);
	return client_get(c, c->body, c->body_len);
}

/* The reply to message @id: 0 or -errno. */
static inline int client_reply(struct client *c, uint16_t id, uint16_t command)
{
	assert_true(client_recv(c));
	assert_int_equal(c->hdr.id, id);
	assert_int_equal(c->hdr.command, command);
	assert_int_equal(c->hdr.flags & VU_F_TYPE, VU_F_REPLY);
	if (!(c->hdr.flags & VU_F_ERROR))
		return 0;
	assert_int_equal(c->body_len, 0);
	assert_int_not_equal(c->hdr.error, 0);
	return -(int)c->hdr.error;
}

static inline int client_call_fds(struct client *c, uint16_t command,
				  const void *body, size_t len, const int *fds,
				  unsigned nfds)
{
	assert_true(client_send_fds(c, command, 0, body, len, fds, nfds));
	return client_reply(c, c->id, command);
}

static inline int client_call(struct client *c, uint16_t command,
			      const void *body, size_t len)
{
	return client_call_fds(c, command, body, len, NULL, 0);
}

/* --------------------------------------------------------------- commands */

static inline int client_version(struct client *c, uint16_t major,
				 uint16_t minor, const char *json)
{
	struct vu_version v = { .major = major, .minor = minor };
	uint8_t body[1024];
	size_t len = json ? strlen(json) + 1 : 0;

	assert_true(sizeof(v) + len <= sizeof(body));
	memcpy(body, &v, sizeof(v));
	if (len)
		memcpy(body + sizeof(v), json, len);
	return client_call(c, VU_VERSION, body, sizeof(v) + len);
}

static inline struct vu_dma_map client_map_body(uint64_t iova, uint64_t len,
						uint64_t offset, uint32_t flags)
{
	return (struct vu_dma_map){ .argsz = sizeof(struct vu_dma_map),
				    .flags = flags,
				    .offset = offset,
				    .iova = iova,
				    .len = len };
}

/* @fd -1: without one */
static inline int client_map(struct client *c, uint64_t iova, uint64_t len,
			     int fd, uint64_t offset, uint32_t flags)
{
	struct vu_dma_map m = client_map_body(iova, len, offset, flags);
	int rc = client_call_fds(c, VU_DMA_MAP, &m, sizeof(m), &fd,
				 fd >= 0 ? 1 : 0);

	assert_int_equal(c->body_len, 0);
	return rc;
}

static inline struct vu_dma_unmap client_unmap_body(uint64_t iova, uint64_t len,
						    uint32_t flags)
{
	return (struct vu_dma_unmap){ .argsz = sizeof(struct vu_dma_unmap),
				      .flags = flags,
				      .iova = iova,
				      .len = len };
}

static inline int client_unmap(struct client *c, uint64_t iova, uint64_t len,
			       uint32_t flags)
{
	struct vu_dma_unmap m = client_unmap_body(iova, len, flags);
	int rc = client_call(c, VU_DMA_UNMAP, &m, sizeof(m));

	if (!rc) {
		assert_int_equal(c->body_len, sizeof(m));
		assert_memory_equal(c->body, &m, sizeof(m));
	}
	return rc;
}

static inline int client_read(struct client *c, uint32_t region, uint64_t off,
			      void *buf, uint32_t len)
{
	struct vu_region_access a = { off, region, len };
	int rc = client_call(c, VU_REGION_READ, &a, sizeof(a));

	if (rc)
		return rc;
	assert_int_equal(c->body_len, sizeof(a) + len);
	assert_memory_equal(c->body, &a, sizeof(a));
	memcpy(buf, c->body + sizeof(a), len);
	return 0;
}

static inline bool client_write_send(struct client *c, uint32_t flags,
				     uint32_t region, uint64_t off,
				     const void *buf, uint32_t len)
{
	struct vu_region_access a = { off, region, len };
	uint8_t body[sizeof(a) + 4096];

	assert_true(len <= 4096);
	memcpy(body, &a, sizeof(a));
	memcpy(body + sizeof(a), buf, len);
	return client_send(c, VU_REGION_WRITE, flags, body, sizeof(a) + len);
}

static inline int client_write(struct client *c, uint32_t region, uint64_t off,
			       const void *buf, uint32_t len)
{
	struct vu_region_access a = { off, region, len };
	int rc;

	assert_true(client_write_send(c, 0, region, off, buf, len));
	rc = client_reply(c, c->id, VU_REGION_WRITE);
	if (!rc) {
		assert_int_equal(c->body_len, sizeof(a));
		assert_memory_equal(c->body, &a, sizeof(a));
	}
	return rc;
}

static inline uint64_t client_reg(struct client *c, uint32_t region,
				  uint64_t off, uint32_t len)
{
	uint64_t val = 0;

	assert_int_equal(client_read(c, region, off, &val, len), 0);
	return val;
}

static inline void client_set_reg(struct client *c, uint32_t region,
				  uint64_t off, uint32_t len, uint64_t val)
{
	assert_int_equal(client_write(c, region, off, &val, len), 0);
}

static inline int client_irqs(struct client *c, uint32_t flags, uint32_t index,
			      uint32_t start, uint32_t count, const int *fds,
			      unsigned nfds)
{
	struct vu_set_irqs q = { sizeof(q), flags, index, start, count };

	return client_call_fds(c, VU_SET_IRQS, &q, sizeof(q), fds, nfds);
}

/* ---------------------------------------------------------------- things */

static inline int memfd_make(size_t len)
{
	int fd = memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	return fd;
}

static inline uint8_t *memfd_see(int fd, size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static inline int eventfd_make(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

/* How often it was signalled; waits up to @ms for the first. */
static inline uint64_t eventfd_take(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t n = 0;

	if (poll(&p, 1, ms) != 1)
		return 0;
	return read(fd, &n, sizeof(n)) == (ssize_t)sizeof(n) ? n : 0;
}

static inline void sleep_ms(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

static inline uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

#endif
