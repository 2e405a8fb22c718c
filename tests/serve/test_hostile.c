/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * vfio-user servers against clients that break the protocol, lie about their
 * files or do nothing at all.  After each of them the next client is served,
 * and no file descriptor is left over (served_destroy() counts).
 */

#include "served.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <viommu/serve/sigbus.h>

#define RAM	(1u << 20)
#define BOTH	(VU_DMA_F_READ | VU_DMA_F_WRITE)
#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER
#define EVENTFD VFIO_IRQ_SET_DATA_EVENTFD
#define MSIX	VFIO_PCI_MSIX_IRQ_INDEX

static uint32_t seed;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)(seed >> 8) * n >> 24);
}

/* The server is there and does what it should. */
static void still_serves(struct client *c)
{
	struct vu_info info = { .argsz = sizeof(info) };

	assert_int_equal(client_call(c, VU_GET_INFO, &info, sizeof(info)), 0);
	assert_int_equal(client_reg(c, 0, 0, 4), 0x54444956);
}

static void next_is_served(struct served *s)
{
	struct client *c = served_client(s);

	still_serves(c);
	client_close(c);
}

/* ----------------------------------------------------------------- shapes */

/* Each command in each length, filled with several things. */
static void commands_of_any_length(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	uint8_t body[64];

	seed = 1;
	for (unsigned cmd = 0; cmd <= 20; cmd++)
		for (size_t len = 0; len <= sizeof(body); len++)
			for (int fill = 0; fill < 4; fill++) {
				for (size_t i = 0; i < sizeof(body); i++)
					body[i] = fill == 0   ? 0
						  : fill == 1 ? 0xff
						  : fill == 2
							  ? (uint8_t)len
							  : (uint8_t)rnd(256);
				/* answered once, with success or an error */
				(void)client_call(c, (uint16_t)cmd, body, len);
			}
	still_serves(c);
	client_close(c);
	wait_for(&s->went, 1);
	assert_int_equal(served_stats(s).protocol_errors, 0);
}

/* argsz is the client's own affair unless it is too small for the answer. */
static void argsz_that_lies(void **state)
{
	static const struct {
		uint16_t command;
		uint32_t len;
	} cases[] = {
		{ VU_DMA_MAP, 32 },	      { VU_DMA_UNMAP, 24 },
		{ VU_GET_INFO, 16 },	      { VU_GET_REGION_INFO, 32 },
		{ VU_GET_REGION_IO_FDS, 16 }, { VU_GET_IRQ_INFO, 16 },
		{ VU_SET_IRQS, 20 },
	};
	struct served *s = *state;
	struct client *c = served_client(s);

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t argsz[] = {
			0,	    1,	       cases[i].len - 1, cases[i].len,
			0x7fffffff, UINT32_MAX
		};

		for (unsigned k = 0; k < 6; k++) {
			uint32_t body[16] = { argsz[k] };
			int rc = client_call(c, cases[i].command, body,
					     cases[i].len);

			if (argsz[k] < cases[i].len)
				assert_int_equal(rc, -EINVAL);
			/* never more than the protocol's structure */
			assert_true(c->body_len <= cases[i].len);
		}
	}
	still_serves(c);
	client_close(c);
}

static void impossible_lengths(void **state)
{
	static const uint32_t lens[] = { 0,	     1,
					 15,	     VU_MAX_LEN + 1,
					 0x80000000, UINT32_MAX };
	struct served *s = *state;

	for (unsigned i = 0; i < 6; i++) {
		struct client *c = served_client(s);
		struct vu_header hdr = { .command = VU_RESET, .len = lens[i] };

		assert_true(client_put(c, &hdr, sizeof(hdr), NULL, 0));
		assert_false(client_recv(c));
		client_close(c);
		wait_for(&s->went, i + 1);
		assert_string_equal(s->why, "a message of impossible length");
	}
	assert_int_equal(served_stats(s).protocol_errors, 6);
	next_is_served(s);
}

static void longest_message(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	uint8_t *body = calloc(1, VU_MAX_LEN);
	struct vu_region_access a = { 0, 0, VU_MAX_XFER };

	memcpy(body, &a, sizeof(a));
	assert_int_equal(client_call(c, VU_REGION_WRITE, body,
				     VU_MAX_LEN - sizeof(struct vu_header)),
			 -EINVAL);
	still_serves(c);
	free(body);
	client_close(c);
}

static void cut_short(void **state)
{
	struct served *s = *state;
	struct {
		struct vu_header hdr;
		uint8_t body[32];
	} m = { .hdr = { .command = VU_DMA_MAP, .len = sizeof(m) } };
	int fd = memfd_make(4096);

	for (size_t len = 0; len < sizeof(m); len++) {
		struct client *c =
			len & 1 ? served_client(s) : client_connect(s->path);

		if (len)
			assert_true(client_put(c, &m, len, &fd, 1));
		client_close(c);
	}
	close(fd);
	next_is_served(s);
}

static void one_byte_at_a_time(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	struct vu_dma_map m = client_map_body(0, 4096, 0, BOTH);
	struct vu_header hdr = { .id = 7,
				 .command = VU_DMA_MAP,
				 .len = sizeof(hdr) + sizeof(m) };
	const uint8_t *at = (const uint8_t *)&hdr;
	int fd = memfd_make(4096);

	for (size_t i = 0; i < sizeof(hdr); i++)
		assert_true(client_put(c, at + i, 1, &fd, i == 0));
	at = (const uint8_t *)&m;
	for (size_t i = 0; i < sizeof(m); i++)
		assert_true(client_put(c, at + i, 1, NULL, 0));
	assert_int_equal(client_reply(c, 7, VU_DMA_MAP), 0);
	bus_master_on(c);
	assert_int_equal(dt_run(c, DT_WRITE, 0, 8, 1), 0);
	close(fd);
	client_close(c);
}

static void types_and_flags(void **state)
{
	struct served *s = *state;
	struct client *c;

	for (uint32_t type = 1; type < 16; type++) {
		c = served_client(s);
		assert_true(client_send(c, VU_RESET, type, NULL, 0));
		assert_false(client_recv(c));
		client_close(c);
	}
	c = served_client(s);
	for (uint32_t bit = 5; bit < 32; bit++) {
		assert_true(client_send(c, VU_RESET, 1u << bit, NULL, 0));
		assert_int_equal(client_reply(c, c->id, VU_RESET), -EINVAL);
	}
	still_serves(c);
	client_close(c);
}

/* Bytes of all kinds, many of them almost right. */
static void fuzz_one(struct served *s, uint32_t n)
{
	struct client *c = rnd(8) ? served_client(s) : client_connect(s->path);
	int fd = memfd_make(1 << 16), ev = eventfd_make();

	for (uint32_t i = 0; i < n; i++) {
		uint8_t msg[256];
		uint32_t body = rnd(80), words = body / 4;
		struct vu_header hdr = {
			.id = (uint16_t)rnd(65536),
			.command = (uint16_t)rnd(20),
			.len = (uint32_t)sizeof(hdr) + body,
			.flags = rnd(4) ? VU_F_NO_REPLY : 0,
		};
		int fds[3] = { fd, ev, fd };

		if (!rnd(50))
			hdr.len = rnd(2) ? rnd(64) : rnd(1 << 24);
		if (!rnd(50))
			hdr.flags = rnd(1 << 24);
		for (uint32_t k = 0; k < body; k++)
			msg[sizeof(hdr) + k] = (uint8_t)(rnd(3) ? 0 : rnd(256));
		/* small numbers are where the meaning is */
		for (uint32_t k = 0; k < words; k++)
			if (rnd(2)) {
				uint32_t w = rnd(2) ? rnd(64) : 1u << rnd(32);

				memcpy(msg + sizeof(hdr) + 4 * k, &w, 4);
			}
		memcpy(msg, &hdr, sizeof(hdr));
		if (!client_put(c, msg, sizeof(hdr) + body, fds,
				rnd(4) ? 0 : rnd(4)))
			break;
		/* what it says is of no interest here; read or not */
		while (client_poll(c, 0) &&
		       recv(c->fd, c->body, sizeof(c->body), 0) > 0)
			;
	}
	close(fd);
	close(ev);
	client_close(c);
}

static void fuzz(void **state)
{
	struct served *s = *state;

	for (uint32_t i = 0; i < 300; i++) {
		seed = i;
		fuzz_one(s, 1 + rnd(60));
		if (i % 20 == 0)
			next_is_served(s);
	}
	next_is_served(s);
	/* it has been taken seriously, now and then */
	assert_true(served_stats(s).messages > 1000);
	assert_true(served_stats(s).refused > 100);
}

/* -------------------------------------------------------- file descriptors */

static void fds_where_none_belong(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	unsigned before = fds_count();
	uint8_t body[64] = { 64 };
	int fds[8];

	for (int i = 0; i < 8; i++)
		fds[i] = eventfd_make();
	for (unsigned cmd = 1; cmd <= 20; cmd++)
		if (cmd != VU_DMA_MAP && cmd != VU_SET_IRQS)
			assert_true(client_call_fds(c, (uint16_t)cmd, body,
						    sizeof(body), fds, 8) < 0);
	/* unanswered ones, too */
	for (unsigned cmd = 0; cmd <= 20; cmd++)
		assert_true(client_send_fds(c, (uint16_t)cmd, VU_F_NO_REPLY,
					    body, cmd * 3, fds, 8));
	still_serves(c);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	/* closed at once, not with the connection */
	assert_int_equal(fds_count(), before);
	client_close(c);
}

static void too_many_fds(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	struct vu_set_irqs q = { sizeof(q), EVENTFD | TRIGGER, MSIX, 0, 1 };
	struct vu_header hdr = { .command = VU_SET_IRQS,
				 .len = sizeof(hdr) + sizeof(q) };
	int fds[253], ev = eventfd_make();
	unsigned before = fds_count();

	for (int i = 0; i < 253; i++)
		fds[i] = ev;
	assert_int_equal(
		client_call_fds(c, VU_SET_IRQS, &q, sizeof(q), fds, 253),
		-E2BIG);
	assert_int_equal(
		client_call_fds(c, VU_SET_IRQS, &q, sizeof(q), fds, 16),
		-EINVAL);
	still_serves(c); /* they are closed before this is taken in */
	assert_int_equal(fds_count(), before);
	/* some with each byte of it */
	for (size_t i = 0; i < sizeof(hdr); i++)
		assert_true(client_put(c, (uint8_t *)&hdr + i, 1, fds, 20));
	for (size_t i = 0; i < sizeof(q); i++)
		assert_true(client_put(c, (uint8_t *)&q + i, 1, fds, 20));
	assert_int_equal(client_reply(c, 0, VU_SET_IRQS), -E2BIG);
	still_serves(c);
	assert_int_equal(fds_count(), before);
	close(ev);
	client_close(c);
}

/* The process is out of descriptors: the kernel drops what was sent. */
static void no_room_for_fds(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	struct vu_dma_map m = client_map_body(0, 4096, 0, BOTH);
	struct rlimit limit, less;
	int fd = memfd_make(4096);

	bus_master_on(c);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	less = limit;
	less.rlim_cur = (rlim_t)dup(fd);
	close((int)less.rlim_cur);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
	assert_int_equal(client_call_fds(c, VU_DMA_MAP, &m, sizeof(m), &fd, 1),
			 -EMFILE);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	/* and it was not taken for one without a file */
	assert_int_equal(served_stats(s).maps, 0);
	assert_int_equal(client_map(c, 0, 4096, fd, 0, BOTH), 0);
	close(fd);
	client_close(c);
}

static void no_room_for_a_client(void **state)
{
	struct served *s = *state;
	struct client *c;
	struct rlimit limit, less;
	int spare = eventfd_make(), sock;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	less = limit;
	sock = client_socket(s->path);
	assert_true(sock >= 0);
	close(sock);
	wait_for(&s->went, 1);
	c = client_connect(s->path);
	client_close(c);
	wait_for(&s->went, 2);
	/* room for the client's end, none for the server's */
	less.rlim_cur = (rlim_t)dup(spare) + 1;
	close((int)less.rlim_cur - 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &less), 0);
	c = client_connect(s->path);
	assert_true(client_send(c, VU_VERSION, 0, "\0\0\0", 4));
	assert_false(client_poll(c, 50));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(client_reply(c, 1, VU_VERSION), 0);
	client_close(c);
	close(spare);
}

static void files_that_lie(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	char path[128];
	int p[2], fd, ro;

	assert_int_equal(pipe(p), 0);
	assert_int_equal(client_map(c, 0, 4096, p[0], 0, BOTH), -EBADF);
	assert_int_equal(client_map(c, 0, 4096, p[1], 0, BOTH), -EBADF);
	close(p[0]);
	close(p[1]);
	assert_int_equal(client_map(c, 0, 4096, c->fd, 0, BOTH), -EBADF);
	fd = open("/dev/null", O_RDWR);
	assert_int_equal(client_map(c, 0, 4096, fd, 0, BOTH), -EBADF);
	close(fd);
	fd = open("/", O_RDONLY | O_DIRECTORY);
	assert_true(client_map(c, 0, 4096, fd, 0, BOTH) < 0);
	close(fd);
	fd = open(s->path, O_PATH);
	assert_true(client_map(c, 0, 4096, fd, 0, BOTH) < 0);
	close(fd);
	fd = eventfd_make();
	assert_int_equal(client_map(c, 0, 4096, fd, 0, BOTH), -EBADF);
	close(fd);
	/* may be read only; write only; shorter than it says; sealed */
	fd = memfd_make(4096);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY);
	assert_int_equal(client_map(c, 0, 4096, ro, 0, BOTH), -EACCES);
	assert_int_equal(client_map(c, 0, 4096, ro, 0, VU_DMA_F_READ), 0);
	close(ro);
	ro = open(path, O_WRONLY);
	assert_int_equal(client_map(c, 0x10000, 4096, ro, 0, BOTH), -EACCES);
	close(ro);
	assert_int_equal(client_map(c, 0x10000, 4097, fd, 0, BOTH), -ERANGE);
	assert_int_equal(client_map(c, 0x10000, 4096, fd, 1, BOTH), -ERANGE);
	close(fd);
	fd = memfd_make(4096);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_int_equal(client_map(c, 0x20000, 4096, fd, 0, BOTH), -EACCES);
	assert_int_equal(client_map(c, 0x20000, 4096, fd, 0, 1), 0);
	close(fd);
	still_serves(c);
	client_close(c);
}

/* A page of it may come from a disk, a network, or the client: an access, and
 * with it every fence, would wait for that. */
static void file_that_is_not_memory(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd = open("/proc/self/exe", O_RDONLY);
	struct statfs fs;

	assert_int_equal(fstatfs(fd, &fs), 0);
	if (fs.f_type != TMPFS_MAGIC)
		assert_int_equal(client_map(c, 0, 4096, fd, 0, VU_DMA_F_READ),
				 -EBADF);
	close(fd);
	/* "/sys" is a file system of the kernel's on every machine */
	fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY);
	if (fd >= 0)
		assert_int_equal(client_map(c, 0, 1, fd, 0, VU_DMA_F_READ),
				 -EBADF);
	close(fd);
	still_serves(c);
	client_close(c);
}

static void too_many_files(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	uint64_t at = 0;
	int fd, rc = 0;

	for (unsigned n = 0; n < 300 && !rc; n++, at += 4096) {
		fd = memfd_make(4096);
		rc = client_map(c, at, 4096, fd, 0, BOTH);
		close(fd);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_true(at > 200 * 4096);
	/* one goes, one may come; of a file that is there already, any number
	 */
	assert_int_equal(client_unmap(c, 0, 4096, 0), 0);
	fd = memfd_make(8192);
	assert_int_equal(client_map(c, 0, 4096, fd, 0, BOTH), 0);
	assert_int_equal(client_map(c, at, 4096, fd, 4096, BOTH), 0);
	close(fd);
	client_close(c);
}

#if defined(__SANITIZE_THREAD__)
#define TSAN 1
#elif defined(__has_feature)
#define TSAN __has_feature(thread_sanitizer)
#else
#define TSAN 0
#endif

static void files_too_long(void **state)
{
	struct served *s = *state;
	struct client *c;
	int fd, rc = 0;
	unsigned n;

	if (TSAN)
		skip(); /* ThreadSanitizer leaves no room for 16 TiB */
	c = served_client(s);
	/* sparse: only addresses are taken */
	for (n = 0; n < 20 && !rc; n++) {
		fd = memfd_make(1);
		assert_int_equal(ftruncate(fd, (off_t)1 << 41), 0);
		rc = client_map(c, n * 4096ull, 4096, fd, 0, BOTH);
		close(fd);
	}
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(n, 9);
	/* one that grows is mapped anew, and counts again */
	assert_int_equal(client_unmap(c, 0, 0, 2), 0);
	fd = memfd_make(4096);
	rc = 0;
	for (n = 0; n < 20 && !rc; n++) {
		assert_int_equal(ftruncate(fd, ((off_t)1 << 41) + n * 4096), 0);
		rc = client_map(c, n * 4096ull, 4096, fd, 0, BOTH);
	}
	close(fd);
	assert_int_equal(rc, -ENOSPC);
	assert_int_equal(n, 8); /* what it has grown by does not fit */
	client_close(c);
}

static void interrupts_that_lie(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int p[2], fds[6];

	assert_int_equal(pipe(p), 0);
	fds[0] = p[1];
	fds[1] = c->fd;
	fds[2] = open("/dev/null", O_RDWR);
	fds[3] = open("/dev/zero", O_RDWR);
	fds[4] = memfd_make(4096);
	fds[5] = epoll_create1(0);
	close(p[0]); /* a write there would be a SIGPIPE */
	for (int i = 0; i < 6; i++)
		assert_int_equal(client_irqs(c, EVENTFD | TRIGGER, MSIX, 0, 1,
					     &fds[i], 1),
				 -EINVAL);
	for (int i = 0; i < 6; i++)
		assert_int_equal(
			client_irqs(c, EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, 0,
				    0, 1, &fds[i], 1),
			-EINVAL);
	client_set_reg(c, 0, DT_COMMAND, 4, (uint32_t)DT_IRQ);
	still_serves(c);
	close(p[1]);
	for (int i = 2; i < 6; i++)
		close(fds[i]);
	client_close(c);
}

/* Cut short after it was mapped: the page is gone, the server is not. */
static void truncated_file(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd = memfd_make(RAM), log[2];
	uint64_t lost = viommu_sigbus_count();
	char line[256];
	ssize_t n;

	assert_int_equal(pipe(log), 0);
	assert_int_equal(viommu_sigbus_install(log[1]), 0);
	assert_int_equal(viommu_sigbus_install(-1), -EBUSY);
	bus_master_on(c);
	assert_int_equal(client_map(c, 0, RAM, fd, 0, BOTH), 0);
	assert_int_equal(dt_run(c, DT_WRITE, 0, 8192, 1), 0);
	client_set_reg(c, 0, DT_DELAY, 4, 20000);
	dt_start(c, DT_HOLD, 4 * 4096, 2 * 4096, 3);
	assert_int_equal(ftruncate(fd, 4096), 0);
	while (client_reg(c, 0, DT_STATUS, 4) == 1)
		sleep_ms(1);
	assert_int_equal(viommu_sigbus_count(), lost + 2);
	assert_int_equal(dt_run(c, DT_WRITE, 4096, 8, 5), 0);
	assert_int_equal(dt_run(c, DT_LOAD, 4096, 8, 0), 0);
	assert_int_equal(client_reg(c, 0, DT_RESULT, 8), 5);
	assert_int_equal(dt_run(c, DT_LOAD, 4104, 8, 0), 0);
	assert_int_equal(client_reg(c, 0, DT_RESULT, 8), 0);
	assert_int_equal(viommu_sigbus_count(), lost + 3);
	/* what the file still has is still the file's */
	assert_int_equal(dt_run(c, DT_LOAD, 8, 8, 0), 0);
	assert_int_equal(client_reg(c, 0, DT_RESULT, 8), 1);
	n = read(log[0], line, sizeof(line) - 1);
	assert_true(n > 0);
	line[n] = '\0';
	assert_non_null(strstr(line, "viommu: memory at 0x"));
	assert_int_equal(client_unmap(c, 0, RAM, 0), 0);
	viommu_sigbus_remove();
	viommu_sigbus_remove();
	close(log[0]);
	close(log[1]);
	close(fd);
	client_close(c);
}

static sigjmp_buf elsewhere;

static void on_bus(int sig)
{
	(void)sig;
	siglongjmp(elsewhere, 1);
}

/* What is none of ours goes to whoever was there before. */
static void other_bus_errors(void **state)
{
	struct sigaction sa = { .sa_handler = on_bus }, before;
	uint64_t lost = viommu_sigbus_count();
	int fd = memfd_make(4096);
	volatile uint8_t *p;

	(void)state;
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	assert_int_equal(ftruncate(fd, 0), 0);
	sigaction(SIGBUS, &sa, &before);
	assert_int_equal(viommu_sigbus_install(-1), 0);
	if (!sigsetjmp(elsewhere, 1)) {
		(void)p[0];
		fail_msg("it went unnoticed");
	}
	if (!sigsetjmp(elsewhere, 1)) {
		raise(SIGBUS);
		fail_msg("it went unnoticed");
	}
	assert_int_equal(viommu_sigbus_count(), lost);
	viommu_sigbus_remove();
	sigaction(SIGBUS, &before, NULL);
	munmap((void *)(uintptr_t)p, 4096);
	close(fd);
}

/* -------------------------------------------------------- slow and silent */

struct pulse {
	struct viommu_task task;
	atomic_uint n;
};

static void pulse_fn(void *arg)
{
	struct pulse *p = arg;

	atomic_fetch_add(&p->n, 1);
}

/* Asks and asks and does not read: the server stops reading, and goes on. */
static void client_that_does_not_read(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	struct {
		struct vu_header hdr;
		struct vu_region_access a;
	} m = { .hdr = { .command = VU_REGION_READ, .len = sizeof(m) },
		.a = { .region = 0, .count = 4096 } };
	unsigned sent = 0;
	size_t part = 0;
	struct pulse p;

	viommu_task_init(&p.task, pulse_fn, &p);
	atomic_init(&p.n, 0);
	for (int quiet = 0; quiet < 5;) {
		ssize_t n;

		m.hdr.id = (uint16_t)sent;
		n = send(c->fd, (uint8_t *)&m + part, sizeof(m) - part,
			 MSG_DONTWAIT);
		if (n < 0) {
			assert_int_equal(errno, EAGAIN);
			sleep_ms(10);
			quiet++;
			continue;
		}
		quiet = 0;
		part += (size_t)n;
		if (part == sizeof(m)) {
			part = 0;
			sent++;
		}
		/* bounded: not all that one cares to ask */
		assert_true(sent < 100000);
	}
	viommu_loop_post(s->loop, &p.task);
	wait_for(&p.n, 1);
	/* always something left to say: round the server's buffer and on */
	for (unsigned i = 0; i < sent; i++) {
		assert_int_equal(client_reply(c, (uint16_t)i, VU_REGION_READ),
				 0);
		assert_int_equal(c->body_len, 16 + 4096);
		m.hdr.id = (uint16_t)sent;
		if (!part && sent < 4000 &&
		    send(c->fd, &m, sizeof(m), MSG_DONTWAIT) ==
			    (ssize_t)sizeof(m))
			sent++;
	}
	assert_int_equal(part ? 4000 : sent, 4000);
	if (part) {
		assert_true(client_put(c, (uint8_t *)&m + part,
				       sizeof(m) - part, NULL, 0));
		assert_int_equal(
			client_reply(c, (uint16_t)sent, VU_REGION_READ), 0);
	}
	still_serves(c);
	client_close(c);
}

/* The same, and then it goes away with everything unread. */
static void client_that_does_not_read_and_leaves(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	struct {
		struct vu_header hdr;
		struct vu_region_access a;
	} m = { .hdr = { .command = VU_REGION_READ, .len = sizeof(m) },
		.a = { .region = 0, .count = 4096 } };

	for (unsigned i = 0; i < 5000; i++)
		if (send(c->fd, &m, sizeof(m), MSG_DONTWAIT) !=
		    (ssize_t)sizeof(m))
			sleep_ms(1);
	client_close(c);
	next_is_served(s);
}

/* It has the only place, and says nothing. */
static void silent_client(void **state)
{
	struct served *s = *state;
	struct client *c = client_connect(s->path);
	uint64_t start = now_ms();

	assert_false(client_recv(c));
	assert_in_range(now_ms() - start, 4500, 8000);
	wait_for(&s->went, 1);
	assert_string_equal(s->why, "no VERSION within 5 seconds");
	client_close(c);
	next_is_served(s);
}

static void clients_come_and_go(void **state)
{
	struct served *s = *state;

	for (int i = 0; i < 200; i++) {
		int fd = client_socket(s->path);

		/* the queue is short: one that finds it full is refused */
		if (fd >= 0)
			close(fd);
	}
	next_is_served(s);
}

#define TEST(fn) \
	cmocka_unit_test_setup_teardown(fn, served_setup, served_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(commands_of_any_length),
		TEST(argsz_that_lies),
		TEST(impossible_lengths),
		TEST(longest_message),
		TEST(cut_short),
		TEST(one_byte_at_a_time),
		TEST(types_and_flags),
		TEST(fuzz),
		TEST(fds_where_none_belong),
		TEST(too_many_fds),
		TEST(no_room_for_fds),
		TEST(no_room_for_a_client),
		TEST(files_that_lie),
		TEST(file_that_is_not_memory),
		TEST(too_many_files),
		TEST(files_too_long),
		TEST(interrupts_that_lie),
		TEST(truncated_file),
		cmocka_unit_test(other_bus_errors),
		TEST(client_that_does_not_read),
		TEST(client_that_does_not_read_and_leaves),
		TEST(silent_client),
		TEST(clients_come_and_go),
	};

	return cmocka_run_group_tests_name("hostile", tests, NULL, NULL);
}
