/* SPDX-License-Identifier: BSD-2-Clause */

/* vfio-user servers towards well-behaved clients; see also test_hostile. */

#include "served.h"

#include <fcntl.h>
#include <sys/stat.h>

#define RAM  (1u << 20)
#define BOTH (VU_DMA_F_READ | VU_DMA_F_WRITE)
#define INTX VFIO_PCI_INTX_IRQ_INDEX

/* ---------------------------------------------------------------- VERSION */

static void version_is_negotiated(void **state)
{
	static const struct {
		uint16_t minor, reply;
	} cases[] = { { 0, 0 }, { 1, 1 }, { 2, 1 }, { 65535, 1 } };
	struct served *s = *state;

	for (unsigned i = 0; i < 4; i++) {
		struct client *c = client_connect(s->path);
		struct vu_version v;
		const char *text = (const char *)c->body + sizeof(v);

		assert_int_equal(
			client_version(c, 0, cases[i].minor, QEMU_CAPS), 0);
		memcpy(&v, c->body, sizeof(v));
		assert_int_equal(v.major, 0);
		assert_int_equal(v.minor, cases[i].reply);
		/* what QEMU reads into the buffer of its request */
		assert_true(c->body_len <= sizeof(v) + sizeof(QEMU_CAPS));
		assert_int_equal(strlen(text) + 1, c->body_len - sizeof(v));
		assert_non_null(strstr(text, "\"max_msg_fds\":16"));
		assert_non_null(strstr(text, "\"write_multiple\":false"));
		client_close(c);
	}
}

/* The reply says less where the request had less room. */
static void version_fits_the_request(void **state)
{
	static const struct {
		const char *json, *reply;
	} cases[] = {
		{ NULL, NULL },
		{ "", NULL },
		{ "{}", "{}" },
		{ "{\"a\": 1,  \"b\":[1,2,3.5,null]}     ", "{}" },
		{ "{\"capabilities\":{\"max_msg_fds\":800}}",
		  "{\"capabilities\":{\"max_msg_fds\":16}}" },
	};
	struct served *s = *state;

	for (unsigned i = 0; i < 5; i++) {
		struct client *c = client_connect(s->path);

		assert_int_equal(client_version(c, 0, 1, cases[i].json), 0);
		if (cases[i].reply)
			assert_string_equal(c->body + 4, cases[i].reply);
		else
			assert_int_equal(c->body_len, 4);
		assert_int_equal(client_call(c, VU_RESET, NULL, 0), 0);
		client_close(c);
	}
}

static void version_is_refused(void **state)
{
	static const struct {
		uint16_t major;
		const char *json;
	} cases[] = {
		{ 1, QEMU_CAPS },
		{ 0, "{" },
		{ 0, "[]" },
		{ 0, "\"text\"" },
		{ 0, "{} x" },
		{ 0, "{\"capabilities\":[]}" },
		{ 0, "{\"capabilities\":{\"max_msg_fds\":-1}}" },
		{ 0, "{\"capabilities\":{\"max_msg_fds\":\"1\"}}" },
		{ 0, "{\"capabilities\":{\"max_data_xfer_size\":0}}" },
		{ 0, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[" },
	};
	struct served *s = *state;
	unsigned n = sizeof(cases) / sizeof(cases[0]);

	for (unsigned i = 0; i < n; i++) {
		struct client *c = client_connect(s->path);

		assert_int_equal(
			client_version(c, cases[i].major, 0, cases[i].json),
			-EINVAL);
		assert_false(client_recv(c));
		client_close(c);
	}
	wait_for(&s->went, n);
	assert_non_null(strstr(s->why, "VERSION"));
	assert_int_equal(served_stats(s).protocol_errors, n);
}

static void version_comes_first_and_once(void **state)
{
	struct served *s = *state;
	struct client *c = client_connect(s->path);

	assert_int_equal(client_call(c, VU_RESET, NULL, 0), -EINVAL);
	assert_false(client_recv(c));
	client_close(c);
	c = served_client(s);
	assert_int_equal(client_version(c, 0, 0, NULL), -EINVAL);
	assert_int_equal(client_call(c, VU_RESET, NULL, 0), 0);
	client_close(c);
}

static void version_without_nul(void **state)
{
	static const char body[] = "\0\0\0\0{}"; /* 6 bytes, no NUL */
	struct served *s = *state;
	struct client *c = client_connect(s->path);

	assert_int_equal(client_call(c, VU_VERSION, body, 6), -EINVAL);
	client_close(c);
	c = client_connect(s->path);
	assert_int_equal(client_call(c, VU_VERSION, "\0\0\0\0{\0}", 8),
			 -EINVAL);
	client_close(c);
}

/* ------------------------------------------------------------ information */

/* In the order in which QEMU asks: memory, then what the device is. */
static void qemu_starts(void **state)
{
	static const uint64_t lens[] = { 4096, 0, 4096, 0, 0, 0, 0, 256, 0 };
	static const uint32_t counts[] = { 1, 1, 1, 1, 1 };
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd = memfd_make(RAM);
	uint8_t config[256];
	struct vu_info info = { .argsz = 24 }; /* QEMU: the kernel's struct */
	unsigned cap, seen = 0;

	assert_int_equal(client_map(c, 0, 0xa0000, fd, 0, BOTH), 0);
	assert_int_equal(client_map(c, 0xc0000, 0x40000, fd, 0xc0000, 1), 0);
	assert_int_equal(client_call(c, VU_GET_INFO, &info, sizeof(info)), 0);
	memcpy(&info, c->body, sizeof(info));
	assert_int_equal(c->body_len, sizeof(info));
	assert_int_equal(info.flags,
			 VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
	assert_int_equal(info.regions, 9);
	assert_int_equal(info.irqs, 5);
	for (uint32_t i = 0; i < 9; i++) {
		struct vu_region_info r = { .argsz = sizeof(r), .index = i };

		assert_int_equal(
			client_call(c, VU_GET_REGION_INFO, &r, sizeof(r)), 0);
		assert_int_equal(c->body_len, sizeof(r));
		memcpy(&r, c->body, sizeof(r));
		assert_int_equal(r.argsz, sizeof(r));
		assert_int_equal(r.index, i);
		assert_int_equal(r.len, lens[i]);
		assert_int_equal(r.flags, lens[i] ? 3 : 0);
	}
	for (uint32_t i = 0; i < 5; i++) {
		struct vu_irq_info q = { .argsz = sizeof(q), .index = i };

		assert_int_equal(client_call(c, VU_GET_IRQ_INFO, &q, sizeof(q)),
				 0);
		memcpy(&q, c->body, sizeof(q));
		assert_int_equal(q.count, counts[i]);
		assert_int_equal(q.flags, i == INTX ? 7 : 1);
	}
	assert_int_equal(client_read(c, CONFIG, 0, config, sizeof(config)), 0);
	assert_memory_equal(config, "\x34\x12\x7e\xda", 4);
	assert_memory_equal(config + PCI_CLASS_REVISION + 1, "\0\0\xff", 3);
	for (cap = config[PCI_CAPABILITY_LIST]; cap; cap = config[cap + 1]) {
		seen |= 1u << config[cap];
		assert_in_range(cap, 0x40, 0xfc);
	}
	assert_int_equal(seen, 1u << PCI_CAP_ID_AF | 1u << PCI_CAP_ID_MSIX |
				       1u << PCI_CAP_ID_MSI);
	assert_int_equal(client_call(c, VU_RESET, NULL, 0), 0);
	assert_int_equal(served_stats(s).dma_maps, 2);
	assert_int_equal(served_stats(s).maps, 2);
	close(fd);
	client_close(c);
}

static void indexes_out_of_range(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	struct vu_region_info r = { .argsz = sizeof(r), .index = 9 };
	struct vu_irq_info q = { .argsz = sizeof(q), .index = 5 };
	struct vu_region_io_fds f = { .argsz = sizeof(f), .index = 0 };

	assert_int_equal(client_call(c, VU_GET_REGION_INFO, &r, sizeof(r)),
			 -EINVAL);
	r.index = UINT32_MAX;
	assert_int_equal(client_call(c, VU_GET_REGION_INFO, &r, sizeof(r)),
			 -EINVAL);
	assert_int_equal(client_call(c, VU_GET_IRQ_INFO, &q, sizeof(q)),
			 -EINVAL);
	assert_int_equal(client_call(c, VU_GET_REGION_IO_FDS, &f, sizeof(f)),
			 0);
	memcpy(&f, c->body, sizeof(f));
	assert_int_equal(f.count, 0);
	f.index = 9;
	assert_int_equal(client_call(c, VU_GET_REGION_IO_FDS, &f, sizeof(f)),
			 -EINVAL);
	client_close(c);
}

static void what_is_not_offered(void **state)
{
	static const uint16_t commands[] = { 0,	 VU_DMA_READ, VU_DMA_WRITE,
					     14, 17,	      18,
					     19, 65535 };
	struct served *s = *state;
	struct client *c = served_client(s);
	uint32_t feature[2] = { 8, 1 << 16 | 1 };
	uint8_t body[64] = { 0 };

	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(
			client_call(c, commands[i], body, sizeof(body)),
			-EOPNOTSUPP);
	assert_int_equal(client_call(c, VU_FEATURE, feature, sizeof(feature)),
			 -ENOTTY);
	assert_int_equal(client_call(c, VU_FEATURE, feature, 7), -EINVAL);
	client_close(c);
}

/* ---------------------------------------------------------------- regions */

static void regions_are_bounded(void **state)
{
	static const struct {
		uint32_t region;
		uint64_t off;
		uint32_t len;
		int rc;
	} cases[] = {
		{ 0, 0, 4096, 0 },
		{ 0, 4095, 1, 0 },
		{ 0, 4096, 0, -EINVAL },
		{ 0, 0, 0, 0 },
		{ 0, 4095, 2, -EINVAL },
		{ 0, UINT64_MAX, 1, -EINVAL },
		{ 0, UINT64_MAX, 2, -EINVAL },
		{ 0, 0, 4097, -EINVAL },
		{ 0, 0, UINT32_MAX, -EINVAL },
		{ 1, 0, 1, -EINVAL },
		{ VFIO_PCI_ROM_REGION_INDEX, 0, 1, -EINVAL },
		{ CONFIG, 255, 1, 0 },
		{ CONFIG, 255, 2, -EINVAL },
		{ CONFIG, 1, 255, 0 },
		{ VFIO_PCI_VGA_REGION_INDEX, 0, 1, -EINVAL },
		{ 9, 0, 1, -EINVAL },
		{ UINT32_MAX, 0, 1, -EINVAL },
	};
	struct served *s = *state;
	struct client *c = served_client(s);

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct vu_region_access a = { cases[i].off, cases[i].region,
					      cases[i].len };
		uint8_t body[sizeof(a) + 4097] = { 0 };
		size_t len = cases[i].len > 4097 ? 4097 : cases[i].len;

		assert_int_equal(client_call(c, VU_REGION_READ, &a, sizeof(a)),
				 cases[i].rc);
		memcpy(body, &a, sizeof(a));
		assert_int_equal(
			client_call(c, VU_REGION_WRITE, body, sizeof(a) + len),
			cases[i].rc);
		/* fewer bytes than it says */
		if (cases[i].len)
			assert_int_equal(client_call(c, VU_REGION_WRITE, body,
						     sizeof(a) + len - 1),
					 -EINVAL);
	}
	client_close(c);
}

static void accesses_of_any_shape(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	uint8_t buf[24];

	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i + 1);
	/* IOVA, LEN, PATTERN in one odd piece */
	assert_int_equal(client_write(c, 0, DT_IOVA + 1, buf, 23), 0);
	assert_int_equal(client_reg(c, 0, DT_IOVA, 8), 0x0706050403020100);
	assert_int_equal(client_reg(c, 0, DT_PATTERN, 8), 0x1716151413121110);
	assert_int_equal(client_reg(c, 0, DT_LEN + 3, 2), 0x0c0b);
	assert_int_equal(client_reg(c, 0, DT_LEN + 3, 1), 0x0b);
	assert_int_equal(client_reg(c, 0, 0, 8), 0x154444956);
	client_close(c);
}

static void several_writes_in_one(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	struct {
		uint64_t count;
		struct vu_write_one one[201];
	} m = { .count = 3 };

	m.one[0] = (struct vu_write_one){ DT_IOVA, 0, 4, "abcdefgh" };
	m.one[1] = (struct vu_write_one){ DT_LEN, 0, 8, "ABCDEFGH" };
	m.one[2] = (struct vu_write_one){ PCI_COMMAND, CONFIG, 1, { 4 } };
	assert_int_equal(client_call(c, VU_REGION_WRITE_MULTI, &m, 8 + 3 * 24),
			 0);
	assert_int_equal(client_reg(c, 0, DT_IOVA, 8), 0x64636261);
	assert_int_equal(client_reg(c, 0, DT_LEN, 8), 0x4847464544434241);
	assert_int_equal(client_reg(c, CONFIG, PCI_COMMAND, 2), 4);
	/* one bad write, and none is done */
	m.one[0].data[0] = 'x';
	m.one[2].count = 9;
	assert_int_equal(client_call(c, VU_REGION_WRITE_MULTI, &m, 8 + 3 * 24),
			 -EINVAL);
	m.one[2].count = 1;
	m.one[2].offset = 256;
	assert_int_equal(client_call(c, VU_REGION_WRITE_MULTI, &m, 8 + 3 * 24),
			 -EINVAL);
	m.one[2].offset = 4;
	assert_int_equal(client_call(c, VU_REGION_WRITE_MULTI, &m, 8 + 2 * 24),
			 -EINVAL);
	m.count = 201;
	assert_int_equal(client_call(c, VU_REGION_WRITE_MULTI, &m, sizeof(m)),
			 -EINVAL);
	m.count = UINT64_MAX / 24 + 2; /* wraps to a little */
	assert_int_equal(client_call(c, VU_REGION_WRITE_MULTI, &m, sizeof(m)),
			 -EINVAL);
	assert_int_equal(client_reg(c, 0, DT_IOVA, 8), 0x64636261);
	m.count = 0;
	assert_int_equal(client_call(c, VU_REGION_WRITE_MULTI, &m, 8), 0);
	client_close(c);
}

/* No answer at all, not even to what is wrong. */
static void no_reply_is_honoured(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	struct vu_dma_unmap u = client_unmap_body(0x1000, 0x1000, 0);

	for (uint16_t cmd = 0; cmd < 32; cmd++) {
		assert_true(client_send(c, cmd, VU_F_NO_REPLY, NULL, 0));
		assert_true(client_send(c, cmd, VU_F_NO_REPLY, "xxxx", 4));
	}
	assert_true(client_send(c, VU_DMA_UNMAP, VU_F_NO_REPLY, &u, sizeof(u)));
	assert_true(
		client_write_send(c, VU_F_NO_REPLY, 0, DT_IOVA, "12345678", 8));
	assert_true(client_write_send(c, VU_F_NO_REPLY, 0, 5000, "1", 1));
	/* the next answer is the next question's, and order was kept */
	assert_int_equal(client_reg(c, 0, DT_IOVA, 8), 0x3837363534333231);
	client_close(c);
}

/* --------------------------------------------------------------- clients */

static void second_client_waits(void **state)
{
	struct served *s = *state;
	struct client *a = served_client(s), *b = client_connect(s->path);

	assert_true(client_send(b, VU_VERSION, 0, "\0\0\0", 4));
	assert_false(client_poll(b, 30));
	assert_int_equal(client_call(a, VU_RESET, NULL, 0), 0);
	assert_int_equal(atomic_load(&s->came), 1);
	client_close(a);
	assert_int_equal(client_reply(b, 1, VU_VERSION), 0);
	assert_int_equal(atomic_load(&s->came), 2);
	client_close(b);
	wait_for(&s->went, 2);
	assert_string_equal(s->why, "the client closed the connection");
	assert_int_equal(served_stats(s).protocol_errors, 0);
}

static int server_at(struct served *s, const char *path,
		     struct viommu_vfio_user **out)
{
	struct viommu_vfio_user_config vc = {
		.size = sizeof(vc),
		.path = path,
		.pci = viommu_dmatest_pci(s->dmatest),
	};

	return viommu_vfio_user_create(&vc, out);
}

/* A function of its own for a second server. */
static struct viommu_dmatest *spare_make(struct served *s)
{
	struct viommu_dmatest_config dc = { .size = sizeof(dc),
					    .loop = s->loop,
					    .vi = s->vi,
					    .memory = s->memory,
					    .endpoint = s->ep };
	struct viommu_dmatest *d;

	assert_int_equal(viommu_dmatest_create(&dc, &d), 0);
	return d;
}

static void socket_files(void **state)
{
	struct served *s = served_make(), spare;
	struct viommu_vfio_user *server;
	char path[256], longest[108];
	struct stat st;
	int fd;

	(void)state;
	/* the function is taken; then, the path is */
	assert_int_equal(server_at(s, "/nowhere/x", &server), -EINVAL);
	spare = *s;
	spare.dmatest = spare_make(s);
	assert_int_equal(server_at(&spare, s->path, &server), -EADDRINUSE);
	assert_int_equal(server_at(&spare, "/nowhere/x", &server), -ENOENT);
	assert_int_equal(server_at(&spare, "", &server), -EINVAL);
	memset(path, 'x', sizeof(path));
	path[108] = '\0';
	assert_int_equal(server_at(&spare, path, &server), -ENAMETOOLONG);
	path[107] = '\0';
	memcpy(path, "/nowhere/", 9);
	assert_int_equal(server_at(&spare, path, &server), -ENOENT);

	/* not a socket: not ours to remove */
	snprintf(path, sizeof(path), "%s/file", s->dir);
	fd = open(path, O_CREAT | O_RDWR, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(server_at(&spare, path, &server), -EADDRINUSE);
	assert_int_equal(stat(path, &st), 0);
	unlink(path);

	/* left behind by one that was killed */
	struct sockaddr_un sa = { .sun_family = AF_UNIX };

	snprintf(longest, sizeof(longest), "%s/stale", s->dir);
	memcpy(sa.sun_path, longest, strlen(longest) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	assert_int_equal(server_at(&spare, longest, &server), 0);
	viommu_vfio_user_destroy(server);
	assert_int_equal(stat(longest, &st), -1);

	/* replaced by another: not removed */
	assert_int_equal(server_at(&spare, longest, &server), 0);
	unlink(longest);
	fd = open(longest, O_CREAT | O_RDWR, 0600);
	close(fd);
	viommu_vfio_user_destroy(server);
	assert_int_equal(stat(longest, &st), 0);
	unlink(longest);
	viommu_dmatest_destroy(spare.dmatest);
	served_destroy(s);
}

/* --------------------------------------------------------- what we send */

struct sender {
	struct served *s;
	struct viommu_task task;
	uint64_t gpa;
	const void *buf;
	size_t len;
	int rc;
	atomic_uint done;
};

static void sender_fn(void *arg)
{
	struct sender *w = arg;

	w->rc = viommu_vfio_user_dma_write(w->s->server, w->gpa, w->buf,
					   w->len);
	atomic_fetch_add(&w->done, 1);
}

static int dma_write(struct served *s, uint64_t gpa, const void *buf,
		     size_t len)
{
	struct sender w = { .s = s, .gpa = gpa, .buf = buf, .len = len };

	viommu_task_init(&w.task, sender_fn, &w);
	viommu_loop_post(s->loop, &w.task);
	wait_for(&w.done, 1);
	return w.rc;
}

static void writes_by_message(void **state)
{
	static uint8_t data[65537];
	struct served *s = *state;
	struct client *c;
	uint32_t count;
	uint64_t at = 0xfee00000;

	assert_int_equal(dma_write(s, at, "abcd", 4), -ENOTCONN);
	c = client_connect(s->path);
	assert_int_equal(client_version(c, 0, 0,
					"{\"capabilities\":"
					"{\"max_data_xfer_size\":4096}}"),
			 0);
	assert_int_equal(dma_write(s, at, "abcd", 4), -EPERM);
	bus_master_on(c);
	assert_int_equal(dma_write(s, at, "abcd", 0), -EINVAL);
	assert_int_equal(dma_write(s, UINT64_MAX, "abcd", 2), -EINVAL);
	assert_int_equal(dma_write(s, at, data, sizeof(data)), -EINVAL);
	/* QEMU: header, u64, u32, data; at least 32 bytes */
	assert_int_equal(dma_write(s, at, "ab", 2), 0);
	assert_true(client_recv(c));
	assert_int_equal(c->hdr.command, VU_DMA_WRITE);
	assert_int_equal(c->hdr.flags, VU_F_NO_REPLY);
	assert_int_equal(c->hdr.len, 32);
	assert_memory_equal(c->body, &at, 8);
	assert_memory_equal(c->body + 8, "\2\0\0\0ab\0\0", 8);
	/* a client that complains is not minded */
	assert_true(
		client_send(c, VU_DMA_WRITE, VU_F_REPLY | VU_F_ERROR, NULL, 0));
	/* split as the client asked */
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	assert_int_equal(dma_write(s, at, data, 10000), 0);
	for (size_t off = 0; off < 10000; off += count) {
		uint64_t where = at + off;

		assert_true(client_recv(c));
		assert_memory_equal(c->body, &where, 8);
		memcpy(&count, c->body + 8, 4);
		assert_int_equal(count, off < 8192 ? 4096 : 10000 - 8192);
		assert_int_equal(c->body_len, 12 + count);
		assert_memory_equal(c->body + 12, data + off, count);
	}
	/* nobody reads: refused in the end, and nothing hangs */
	for (int i = 0; i < 100; i++)
		count = (uint32_t)dma_write(s, at, data, 65536);
	assert_int_equal((int)count, -EAGAIN);
	client_close(c);
}

static void writes_by_message_as_the_text_says(void **state)
{
	struct served *s = served_make();
	struct viommu_vfio_user_config vc = {
		.size = sizeof(vc),
		.path = s->path,
		.pci = viommu_dmatest_pci(s->dmatest),
		.layout = VIOMMU_VFIO_USER_LAYOUT_SPEC,
	};
	uint64_t at = 0x1000, count = 1;
	struct client *c;

	(void)state;
	viommu_vfio_user_destroy(s->server);
	assert_int_equal(viommu_vfio_user_create(&vc, &s->server), 0);
	served_start(s);
	c = served_client(s);
	bus_master_on(c);
	assert_int_equal(dma_write(s, at, "z", 1), 0);
	assert_true(client_recv(c));
	assert_int_equal(c->hdr.len, 33);
	assert_memory_equal(c->body, &at, 8);
	assert_memory_equal(c->body + 8, &count, 8);
	assert_int_equal(c->body[16], 'z');
	client_close(c);
	served_destroy(s);
}

#define TEST(fn) \
	cmocka_unit_test_setup_teardown(fn, served_setup, served_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(version_is_negotiated),
		TEST(version_fits_the_request),
		TEST(version_is_refused),
		TEST(version_comes_first_and_once),
		TEST(version_without_nul),
		TEST(qemu_starts),
		TEST(indexes_out_of_range),
		TEST(what_is_not_offered),
		TEST(regions_are_bounded),
		TEST(accesses_of_any_shape),
		TEST(several_writes_in_one),
		TEST(no_reply_is_honoured),
		TEST(second_client_waits),
		cmocka_unit_test(socket_files),
		TEST(writes_by_message),
		cmocka_unit_test(writes_by_message_as_the_text_says),
	};

	return cmocka_run_group_tests_name("vfio_user", tests, NULL, NULL);
}
