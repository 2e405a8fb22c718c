/* SPDX-License-Identifier: BSD-2-Clause */

/* DMA_MAP and DMA_UNMAP of vfio-user: the memory, and the answer that waits. */

#include "served.h"

#define RAM  (1u << 20)
#define BOTH (VU_DMA_F_READ | VU_DMA_F_WRITE)

/* -------------------------------------------------------------------- DMA */

static void dma_reaches_the_clients_memory(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd = memfd_make(RAM);
	uint8_t *ram = memfd_see(fd, RAM);

	bus_master_on(c);
	assert_int_equal(client_map(c, 0x100000, 0x4000, fd, 0x8000, BOTH), 0);
	assert_int_equal(client_map(c, 0x104000, 0x4000, fd, 0x1000, BOTH), 0);
	/* adjacent for the device, far apart in the file */
	assert_int_equal(dt_run(c, DT_WRITE, 0x103ffc, 8, 0x1122334455667788),
			 0);
	assert_memory_equal(ram + 0xbffc, "\x88\x77\x66\x55", 4);
	assert_memory_equal(ram + 0x1000, "\x44\x33\x22\x11", 4);
	assert_int_equal(dt_run(c, DT_LOAD, 0x104000, 4, 0), 0);
	assert_int_equal(client_reg(c, 0, DT_RESULT, 8), 0x11223344);
	/* past what is mapped */
	assert_int_equal(dt_run(c, DT_WRITE, 0x107fff, 2, 0), EFAULT);
	assert_int_equal(atomic_load(&s->faults), 1);
	assert_int_equal(client_unmap(c, 0x100000, 0x4000, 0), 0);
	assert_int_equal(dt_run(c, DT_WRITE, 0x103ffc, 8, 0), EFAULT);
	assert_int_equal(dt_run(c, DT_WRITE, 0x104000, 8, 0), 0);
	munmap(ram, RAM);
	close(fd);
	client_close(c);
}

static void readonly_memory(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd = memfd_make(RAM);

	bus_master_on(c);
	assert_int_equal(client_map(c, 0, 0x1000, fd, 0, VU_DMA_F_READ), 0);
	assert_int_equal(dt_run(c, DT_READ, 0, 0x1000, 0), 0);
	/* identity says nothing; the memory does */
	assert_int_not_equal(dt_run(c, DT_WRITE, 0, 1, 0), 0);
	close(fd);
	client_close(c);
}

/* What another kind of client's IOMMU may ask for. */
static void writeonly_memory(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd = memfd_make(RAM);
	uint8_t *ram = memfd_see(fd, RAM);

	bus_master_on(c);
	assert_int_equal(client_map(c, 0, 0x1000, fd, 0, VU_DMA_F_WRITE), 0);
	/* the same once more, and not the same */
	assert_int_equal(client_map(c, 0, 0x1000, fd, 0, VU_DMA_F_WRITE), 0);
	assert_int_equal(client_map(c, 0, 0x1000, fd, 0, BOTH), -EEXIST);
	assert_int_equal(dt_run(c, DT_WRITE, 0xff8, 8, 0x1122334455667788), 0);
	assert_memory_equal(ram + 0xff8, "\x88\x77\x66\x55", 4);
	assert_int_equal(dt_run(c, DT_STORE, 0x10, 4, 0x99aabbcc), 0);
	assert_memory_equal(ram + 0x10, "\xcc\xbb\xaa\x99", 4);
	assert_int_not_equal(dt_run(c, DT_READ, 0, 1, 0), 0);
	assert_int_not_equal(dt_run(c, DT_LOAD, 0, 8, 0), 0);
	assert_int_not_equal(dt_run(c, DT_CAS, 0, 8, 0), 0);
	/* held for writing, and let go of with what was written */
	assert_int_equal(dt_run(c, DT_HOLD, 0x20, 4, 0x11111111), 0);
	assert_memory_equal(ram + 0x20, "\x11\x11\x11\x11", 4);
	assert_int_equal(client_unmap(c, 0, 0x1000, 0), 0);
	munmap(ram, RAM);
	close(fd);
	client_close(c);
}

static void maps_that_overlap(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd = memfd_make(RAM), other = memfd_make(RAM);

	assert_int_equal(client_map(c, 0x4000, 0x2000, fd, 0, BOTH), 0);
	/* the same once more: as if it were not */
	assert_int_equal(client_map(c, 0x4000, 0x2000, fd, 0, BOTH), 0);
	assert_int_equal(client_map(c, 0x4000, 0x2000, other, 0, BOTH),
			 -EEXIST);
	assert_int_equal(client_map(c, 0x4000, 0x2000, fd, 0x1000, BOTH),
			 -EEXIST);
	assert_int_equal(client_map(c, 0x4000, 0x2000, fd, 0, 1), -EEXIST);
	assert_int_equal(client_map(c, 0x4000, 0x1000, fd, 0, BOTH), -EEXIST);
	assert_int_equal(client_map(c, 0x4000, 0x2000, -1, 0, BOTH), -EEXIST);
	assert_int_equal(client_map(c, 0x3000, 0x1001, fd, 0, BOTH), -EEXIST);
	assert_int_equal(client_map(c, 0x5fff, 1, fd, 0, BOTH), -EEXIST);
	assert_int_equal(client_map(c, 0, 0x8000, fd, 0, BOTH), -EEXIST);
	assert_int_equal(client_map(c, 0x3000, 0x1000, fd, 0, BOTH), 0);
	assert_int_equal(client_map(c, 0x6000, 0x1000, fd, 0, BOTH), 0);
	assert_int_equal(served_stats(s).maps, 3);
	/* none is cut, at either end */
	assert_int_equal(client_unmap(c, 0x4000, 0x1000, 0), -EINVAL);
	assert_int_equal(client_unmap(c, 0x5000, 0x1000, 0), -EINVAL);
	assert_int_equal(client_unmap(c, 0x3000, 0x2000, 0), -EINVAL);
	assert_int_equal(client_unmap(c, 0x5000, 0x2000, 0), -EINVAL);
	assert_int_equal(client_unmap(c, 0x4001, 0x1ffe, 0), -EINVAL);
	assert_int_equal(served_stats(s).maps, 3);
	/* and there need not be one */
	assert_int_equal(client_unmap(c, 0x9000, 0x1000, 0), 0);
	assert_int_equal(client_unmap(c, 0x4000, 0x2000, 0), 0);
	assert_int_equal(client_unmap(c, 0x4000, 0x2000, 0), 0);
	assert_int_equal(served_stats(s).maps, 2);
	close(fd);
	close(other);
	client_close(c);
}

static void bad_maps(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd = memfd_make(RAM), fds[2] = { fd, fd };
	struct vu_dma_map m = client_map_body(0, 0x1000, 0, BOTH);
	struct vu_dma_unmap u = client_unmap_body(0, 0x1000, 0);

	assert_int_equal(client_map(c, 0, 0, fd, 0, BOTH), -EINVAL);
	assert_int_equal(client_map(c, 0x1000, UINT64_MAX, fd, 0, BOTH),
			 -EINVAL);
	assert_int_equal(client_map(c, 0, 0x1000, fd, 0, 0), -EINVAL);
	assert_int_equal(client_map(c, 0, 0x1000, fd, 0, 8 | BOTH), -EINVAL);
	assert_int_equal(client_map(c, 0, 0x1000, fd, RAM, BOTH), -ERANGE);
	assert_int_equal(client_map(c, 0, 0x1001, fd, RAM - 0x1000, BOTH),
			 -ERANGE);
	assert_int_not_equal(
		client_map(c, 0, 0x1000, fd, UINT64_MAX - 0x10, BOTH), 0);
	assert_int_equal(client_call_fds(c, VU_DMA_MAP, &m, sizeof(m), fds, 2),
			 -EINVAL);
	m.argsz = 31;
	assert_int_equal(client_call_fds(c, VU_DMA_MAP, &m, sizeof(m), fds, 1),
			 -EINVAL);
	m.argsz = 32;
	assert_int_equal(client_call_fds(c, VU_DMA_MAP, &m, 31, fds, 1),
			 -EINVAL);
	assert_int_equal(served_stats(s).maps, 0);
	assert_int_equal(client_map(c, 0, 0x1000, fd, 0, BOTH | 4), 0);
	assert_int_equal(client_unmap(c, 0, 0x1000, VU_UNMAP_F_DIRTY),
			 -EOPNOTSUPP);
	assert_int_equal(client_unmap(c, 0, 0x1000, 4), -EINVAL);
	assert_int_equal(client_unmap(c, 0, 0, 0), -EINVAL);
	assert_int_equal(client_unmap(c, 0, 0x1000, VU_UNMAP_F_ALL), -EINVAL);
	assert_int_equal(client_unmap(c, 2, UINT64_MAX, 0), -EINVAL);
	assert_int_equal(
		client_call_fds(c, VU_DMA_UNMAP, &u, sizeof(u), fds, 1),
		-EINVAL);
	u.argsz = 23;
	assert_int_equal(client_call(c, VU_DMA_UNMAP, &u, sizeof(u)), -EINVAL);
	assert_int_equal(served_stats(s).maps, 1);
	close(fd);
	client_close(c);
}

/* Where there is no file there is no memory; the rest goes on. */
static void maps_without_a_file(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);

	bus_master_on(c);
	assert_int_equal(client_map(c, 0x10000, 0x1000, -1, 0, BOTH), 0);
	assert_int_equal(client_map(c, 0x10000, 0x1000, -1, 0, BOTH), 0);
	assert_int_equal(served_stats(s).holes, 1);
	assert_int_equal(served_stats(s).maps, 1);
	assert_int_equal(dt_run(c, DT_READ, 0x10000, 4, 0), EFAULT);
	assert_int_equal(client_unmap(c, 0x10000, 0x1000, 0), 0);
	client_close(c);
}

/* As QEMU's intel-iommu does it: an aligned range, whatever lies there. */
static void unmap_of_a_range(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd = memfd_make(RAM);

	bus_master_on(c);
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(client_map(c, i * 0x2000, 0x1000,
					    i % 10 ? fd : -1, 0, BOTH),
				 0);
	assert_int_equal(client_unmap(c, 0x20000, 0x20000, 0), 0);
	assert_int_equal(served_stats(s).maps, 84);
	assert_int_equal(dt_run(c, DT_WRITE, 0x20000, 4, 1), EFAULT);
	assert_int_equal(dt_run(c, DT_WRITE, 0x3e000, 4, 1), EFAULT);
	assert_int_equal(dt_run(c, DT_WRITE, 0x1e000, 4, 1), 0);
	assert_int_equal(dt_run(c, DT_WRITE, 0x42000, 4, 1), 0);
	assert_int_equal(client_map(c, 0x20000, 0x20000, fd, 0, BOTH), 0);
	assert_int_equal(client_unmap(c, 0x80000, UINT64_MAX - 0x7ffff, 0), 0);
	assert_int_equal(dt_run(c, DT_WRITE, 0x82000, 4, 1), EFAULT);
	assert_int_equal(client_unmap(c, 0, 0x80000, 0), 0);
	assert_int_equal(served_stats(s).maps, 0);
	close(fd);
	client_close(c);
}

static void unmap_all(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int fd = memfd_make(RAM);

	bus_master_on(c);
	assert_int_equal(client_unmap(c, 0, 0, VU_UNMAP_F_ALL), 0);
	for (uint64_t i = 0; i < 100; i++)
		assert_int_equal(client_map(c, i * 0x2000, 0x1000,
					    i % 10 ? fd : -1, 0, BOTH),
				 0);
	assert_int_equal(dt_run(c, DT_WRITE, 0x2000, 16, 1), 0);
	assert_int_equal(client_unmap(c, 0, 0, VU_UNMAP_F_ALL), 0);
	assert_int_equal(served_stats(s).maps, 0);
	assert_int_equal(dt_run(c, DT_WRITE, 0x2000, 16, 1), EFAULT);
	assert_int_equal(client_map(c, 0, 0x100000, fd, 0, BOTH), 0);
	close(fd);
	client_close(c);
}

/* ------------------------------------------------- the answer that waits */

struct held {
	struct client *c;
	int fd;
	uint8_t *ram;
};

#define HOLD_MS	 150
#define HOLD_PAT UINT64_C(0xa5a5a5a5a5a5a5a5)

/* A page mapped at 0x1000, another at 0x10000, the first one held. */
static struct held hold_start(struct served *s, uint32_t ms)
{
	struct held h = { .c = served_client(s), .fd = memfd_make(RAM) };

	h.ram = memfd_see(h.fd, RAM);
	bus_master_on(h.c);
	assert_int_equal(client_map(h.c, 0x1000, 0x1000, h.fd, 0, BOTH), 0);
	assert_int_equal(client_map(h.c, 0x10000, 0x1000, h.fd, 0x8000, BOTH),
			 0);
	client_set_reg(h.c, 0, DT_DELAY, 4, (uint64_t)ms * 1000);
	dt_start(h.c, DT_HOLD, 0x1000, 64, HOLD_PAT);
	assert_int_equal(client_reg(h.c, 0, DT_HELD, 4), 1);
	return h;
}

static void hold_end(struct held *h)
{
	munmap(h->ram, RAM);
	close(h->fd);
	client_close(h->c);
}

static uint16_t unmap_send(struct client *c, uint64_t iova, uint64_t len,
			   uint32_t flags)
{
	struct vu_dma_unmap u = client_unmap_body(iova, len, flags);

	assert_true(client_send(c, VU_DMA_UNMAP, 0, &u, sizeof(u)));
	return c->id;
}

/* The promise: when the answer is there, the write has happened; and no other
 * request had to wait for it. */
static void unmap_waits_for_a_held_map(void **state)
{
	struct served *s = *state;
	struct held h = hold_start(s, HOLD_MS);
	uint64_t start = now_ms();
	uint16_t id = unmap_send(h.c, 0x1000, 0x1000, 0);

	/* registers, meanwhile; the map is gone for new accesses (L2) */
	for (int i = 0; i < 20; i++) {
		assert_int_equal(client_reg(h.c, 0, DT_STATUS, 4), 1);
		assert_int_equal(client_reg(h.c, CONFIG, 0, 4), 0xda7e1234);
	}
	assert_true(now_ms() - start < HOLD_MS);
	assert_int_equal(h.ram[0], 0);
	assert_int_equal(client_reply(h.c, id, VU_DMA_UNMAP), 0);
	assert_int_equal(h.c->body_len, sizeof(struct vu_dma_unmap));
	assert_true(now_ms() - start >= HOLD_MS - 20);
	for (int i = 0; i < 64; i++)
		assert_int_equal(h.ram[i], 0xa5);
	assert_int_equal(dt_run(h.c, DT_READ, 0x1000, 4, 0), EFAULT);
	hold_end(&h);
}

/* A client waits for the last answer of a batch only. */
static void dma_answers_keep_their_order(void **state)
{
	struct served *s = *state;
	struct held h = hold_start(s, HOLD_MS);
	struct vu_dma_map m = client_map_body(0x20000, 0x1000, 0, BOTH);
	uint16_t ids[4];

	ids[0] = unmap_send(h.c, 0x1000, 0x1000, 0);
	ids[1] = unmap_send(h.c, 0x10000, 0x1000, 0); /* nobody holds it */
	assert_true(
		client_send_fds(h.c, VU_DMA_MAP, 0, &m, sizeof(m), &h.fd, 1));
	ids[2] = h.c->id;
	ids[3] = unmap_send(h.c, 0x20000, 0x800, 0); /* a part of it */
	/* all of them are carried out by now, and none answered */
	assert_int_equal(client_reg(h.c, 0, DT_HELD, 4), 1);
	assert_int_equal(served_stats(s).maps, 1);
	assert_int_equal(client_reply(h.c, ids[0], VU_DMA_UNMAP), 0);
	assert_int_equal(h.ram[0], 0xa5);
	assert_int_equal(client_reply(h.c, ids[1], VU_DMA_UNMAP), 0);
	assert_int_equal(client_reply(h.c, ids[2], VU_DMA_MAP), 0);
	assert_int_equal(client_reply(h.c, ids[3], VU_DMA_UNMAP), -EINVAL);
	assert_int_equal(dt_run(h.c, DT_WRITE, 0x20000, 4, 0), 0);
	hold_end(&h);
}

static void unmap_without_overlap_does_not_wait(void **state)
{
	struct served *s = *state;
	struct held h = hold_start(s, 60000);

	assert_int_equal(client_unmap(h.c, 0x10000, 0x1000, 0), 0);
	assert_int_equal(client_reg(h.c, 0, DT_HELD, 4), 1);
	/* a reset lets go, and overtakes the unmap that waits for it */
	uint16_t id = unmap_send(h.c, 0, 0, VU_UNMAP_F_ALL);

	assert_true(client_send(h.c, VU_RESET, 0, NULL, 0));
	for (int i = 0; i < 2; i++) {
		assert_true(client_recv(h.c));
		if (h.c->hdr.id == id)
			assert_int_equal(h.c->hdr.command, VU_DMA_UNMAP);
		else
			assert_int_equal(h.c->hdr.command, VU_RESET);
		assert_false(h.c->hdr.flags & VU_F_ERROR);
	}
	assert_int_equal(h.ram[0], 0);
	hold_end(&h);
}

/* More than the server keeps in mind: it reads no further, and loses none. */
static void many_unmaps_wait(void **state)
{
	struct served *s = *state;
	struct held h = hold_start(s, HOLD_MS);
	unsigned n = 1000; /* of 256 */
	uint16_t first;

	first = unmap_send(h.c, 0x1000, 0x1000, 0);
	for (unsigned i = 1; i < n; i++)
		unmap_send(h.c, 0x7000, i % 2 ? 0 : 0x1000, 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(
			client_reply(h.c, (uint16_t)(first + i), VU_DMA_UNMAP),
			i % 2 ? -EINVAL : 0);
	hold_end(&h);
}

/* The next client comes when nobody touches the last one's memory. */
static void client_leaves_with_a_live_map(void **state)
{
	struct served *s = *state;
	struct held h = hold_start(s, HOLD_MS);
	struct iovec iov[4];
	struct viommu_dma d = { .ep = s->ep,
				.iova = 0x1000,
				.len = 16,
				.prot = VIOMMU_READ,
				.iov = iov,
				.max_iov = 4 };
	struct client *c;

	/* another user of the same memory */
	assert_int_equal(viommu_dma_map(&d), 0);
	client_close(h.c);
	c = client_connect(s->path);
	assert_true(client_send(c, VU_VERSION, 0, "\0\0\0", 4));
	assert_false(client_poll(c, HOLD_MS / 3));
	viommu_dma_unmap(&d, 0);
	assert_int_equal(client_reply(c, 1, VU_VERSION), 0);
	assert_int_equal(served_stats(s).maps, 0);
	/* the device was reset: it starts over, and its own map is let go of */
	sleep_ms(HOLD_MS);
	assert_int_not_equal(h.ram[0], 0xa5);
	assert_int_equal(client_reg(c, 0, DT_COUNT, 4), 0);
	assert_int_equal(client_reg(c, CONFIG, PCI_COMMAND, 2), 0);
	bus_master_on(c);
	assert_int_equal(dt_run(c, DT_READ, 0x1000, 4, 0), EFAULT);
	h.c = c;
	hold_end(&h);
}

static void server_is_destroyed_with_a_live_map(void **state)
{
	struct served *s = served_make();
	struct held h;

	(void)state;
	served_start(s);
	h = hold_start(s, 60000);
	unmap_send(h.c, 0x1000, 0x1000, 0);
	assert_int_equal(client_reg(h.c, 0, DT_HELD, 4), 1);
	munmap(h.ram, RAM);
	close(h.fd);
	client_close(h.c);
	served_destroy(s);
}

/* ------------------------------------------- devices with other threads */

struct holder {
	struct served *s;
	pthread_t thread;
	struct viommu_dma d;
	struct iovec iov[4];
	atomic_uint held, let_go, stop;
	uint64_t iova; /* its own, of 2 KiB */
};

/* Holds a page until it is told, on a thread that is not the loop's. */
static void *holder_run(void *arg)
{
	struct holder *h = arg;

	h->d = (struct viommu_dma){ .ep = h->s->ep,
				    .iova = 0x1000,
				    .len = 0x1000,
				    .prot = VIOMMU_WRITE,
				    .iov = h->iov,
				    .max_iov = 4 };
	if (viommu_dma_map(&h->d))
		return NULL;
	atomic_store(&h->held, 1);
	while (!atomic_load(&h->stop))
		sleep_ms(1);
	memset(h->iov[0].iov_base, 0xee, h->iov[0].iov_len);
	atomic_store(&h->let_go, 1);
	viommu_dma_unmap(&h->d, 0x1000);
	return NULL;
}

static void let_go_on_another_thread(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	struct holder h = { .s = s };
	int fd = memfd_make(RAM);
	uint8_t *ram = memfd_see(fd, RAM);
	uint16_t id;

	assert_int_equal(client_map(c, 0x1000, 0x1000, fd, 0, BOTH), 0);
	assert_int_equal(pthread_create(&h.thread, NULL, holder_run, &h), 0);
	wait_for(&h.held, 1);
	id = unmap_send(c, 0x1000, 0x1000, 0);
	assert_false(client_poll(c, 50));
	atomic_store(&h.stop, 1);
	assert_int_equal(client_reply(c, id, VU_DMA_UNMAP), 0);
	assert_int_equal(atomic_load(&h.let_go), 1);
	assert_int_equal(ram[0xfff], 0xee);
	pthread_join(h.thread, NULL);
	munmap(ram, RAM);
	close(fd);
	client_close(c);
}

static void destroyed_while_another_thread_holds(void **state)
{
	struct served *s = served_make();
	struct holder h = { .s = s };
	int fd = memfd_make(RAM);
	struct client *c;

	(void)state;
	served_start(s);
	c = served_client(s);
	assert_int_equal(client_map(c, 0x1000, 0x1000, fd, 0, BOTH), 0);
	assert_int_equal(pthread_create(&h.thread, NULL, holder_run, &h), 0);
	wait_for(&h.held, 1);
	unmap_send(c, 0x1000, 0x1000, 0);
	assert_int_equal(client_reg(c, 0, 0, 4), 0x54444956);
	served_stop(s);
	atomic_store(&h.stop, 1);
	viommu_vfio_user_destroy(s->server);
	/* not before */
	assert_int_equal(atomic_load(&h.let_go), 1);
	pthread_join(h.thread, NULL);
	s->server = NULL;
	close(fd);
	client_close(c);
	served_destroy(s);
}

/* Writes wherever it may, again and again. */
static void *writer_run(void *arg)
{
	struct holder *h = arg;
	uint8_t buf[64];

	memset(buf, 0xff, sizeof(buf));
	while (!atomic_load(&h->stop)) {
		h->d = (struct viommu_dma){ .ep = h->s->ep,
					    .iova = h->iova,
					    .len = 0x400,
					    .prot = VIOMMU_WRITE,
					    .iov = h->iov,
					    .max_iov = 4 };
		if (viommu_dma_write(h->s->ep, h->iova + 0x400, buf,
				     sizeof(buf)))
			continue;
		if (viommu_dma_map(&h->d))
			continue;
		sched_yield();
		memset(h->iov[0].iov_base, 0xff, h->iov[0].iov_len);
		viommu_dma_unmap(&h->d, 0x400);
		atomic_fetch_add(&h->held, 1);
	}
	return NULL;
}

/* L3: when the answer is there, the page is the client's alone. */
static void nobody_writes_after_the_answer(void **state)
{
	static const uint8_t zero[0x1000];
	struct served *s = *state;
	struct client *c = served_client(s);
	struct holder h[2] = { { .s = s, .iova = 0x1000 },
			       { .s = s, .iova = 0x1800 } };
	int fd = memfd_make(RAM);
	uint8_t *ram = memfd_see(fd, RAM);

	for (int i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&h[i].thread, NULL, writer_run, &h[i]),
			0);
	for (unsigned i = 0; i < 300; i++) {
		unsigned n = atomic_load(&h[0].held);

		assert_int_equal(client_map(c, 0x1000, 0x1000, fd, 0, BOTH), 0);
		while (atomic_load(&h[0].held) == n)
			sched_yield();
		if (i % 3)
			assert_int_equal(client_unmap(c, 0x1000, 0x1000, 0), 0);
		else
			assert_int_equal(client_unmap(c, 0, 0, VU_UNMAP_F_ALL),
					 0);
		memset(ram, 0, 0x1000);
		sched_yield();
		assert_memory_equal(ram, zero, 0x1000);
	}
	for (int i = 0; i < 2; i++) {
		atomic_store(&h[i].stop, 1);
		pthread_join(h[i].thread, NULL);
	}
	munmap(ram, RAM);
	close(fd);
	client_close(c);
}

#define TEST(fn) \
	cmocka_unit_test_setup_teardown(fn, served_setup, served_teardown)

/* --------------------------------------------- functions that do not let go */

/* A function that holds [0, @len) for long, in a world of little patience. */
static struct served *stuck_make(struct client **c, int *fd, uint64_t len)
{
	const struct viommu_config cfg = { .size = sizeof(cfg),
					   .fence_timeout_ns = 20000000 };
	struct served *s = served_make_limited(&cfg);

	served_start(s);
	*c = served_client(s);
	*fd = memfd_make(RAM);
	bus_master_on(*c);
	for (uint64_t at = 0; at < len; at += 0x1000)
		assert_int_equal(client_map(*c, at, 0x1000, *fd, at, BOTH), 0);
	client_set_reg(*c, 0, DT_DELAY, 4, 60000000);
	dt_start(*c, DT_HOLD, 0, len, 0);
	assert_int_equal(client_reg(*c, 0, DT_HELD, 4), 1);
	return s;
}

static void stuck_free(struct served *s, struct client *c, int fd)
{
	close(fd);
	client_close(c);
	served_destroy(s);
}

static void failed_unmap_is_answered(void **state)
{
	struct viommu_stats st;
	struct client *c;
	struct served *s;
	int fd;

	(void)state;
	s = stuck_make(&c, &fd, 0x1000);
	assert_int_equal(client_unmap(c, 0, 0x1000, 0), -EBUSY);
	viommu_read_stats(s->vi, &st);
	assert_int_equal(st.fences_failed, 1);
	assert_int_equal(client_reg(c, 0, DT_HELD, 4), 1);
	/* its place is free, and the next ones have answers of their own */
	assert_int_equal(client_map(c, 0, 0x1000, fd, 0x4000, BOTH), 0);
	assert_int_equal(client_map(c, 0x8000, 0x1000, fd, 0x8000, BOTH), 0);
	assert_int_equal(client_unmap(c, 0x8000, 0x1000, 0), 0);
	assert_int_equal(client_call(c, VU_RESET, NULL, 0), 0);
	assert_int_equal(client_reg(c, 0, DT_HELD, 4), 0);
	bus_master_on(c);
	assert_int_equal(dt_run(c, DT_WRITE, 0, 8, 1), 0);
	assert_int_equal(client_unmap(c, 0, 0x1000, 0), 0);
	viommu_read_stats(s->vi, &st);
	assert_int_equal(st.fences_pending, 0);
	stuck_free(s, c, fd);
}

/* Nothing is left to unmap, but somebody still uses what was: the second one
 * must not say that nobody does. */
static void failed_unmap_is_asked_for_again(void **state)
{
	struct client *c;
	struct served *s;
	uint16_t ids[3];
	int fd;

	(void)state;
	s = stuck_make(&c, &fd, 0x3000);
	assert_int_equal(client_map(c, 0x8000, 0x1000, fd, 0, BOTH), 0);
	ids[0] = unmap_send(c, 0x1000, 0x1000, 0);
	ids[1] = unmap_send(c, 0x1000, 0x1000, 0);
	ids[2] = unmap_send(c, 0x8000, 0x1000, 0);
	assert_int_equal(client_reply(c, ids[0], VU_DMA_UNMAP), -EBUSY);
	assert_int_equal(client_reply(c, ids[1], VU_DMA_UNMAP), -EBUSY);
	assert_int_equal(client_reply(c, ids[2], VU_DMA_UNMAP), 0);
	assert_int_equal(client_unmap(c, 0x1000, 0x1000, 0), -EBUSY);
	assert_int_equal(client_unmap(c, 0x1fff, 1, 0), -EBUSY);
	assert_int_equal(client_unmap(c, 0x1000, 0x800, 0), -EBUSY);
	assert_int_equal(client_unmap(c, 0x3000, 0x1000, 0), 0);
	assert_int_equal(client_unmap(c, 0, 0, VU_UNMAP_F_ALL), -EBUSY);
	/* now this one is everywhere */
	assert_int_equal(client_unmap(c, 0x3000, 0x1000, 0), -EBUSY);
	assert_int_equal(client_call(c, VU_RESET, NULL, 0), 0);
	assert_int_equal(client_unmap(c, 0x1000, 0x1000, 0), 0);
	assert_int_equal(client_unmap(c, 0, 0, VU_UNMAP_F_ALL), 0);
	stuck_free(s, c, fd);
}

/* The client is heard, however many have failed. */
static void failed_unmaps_run_out(void **state)
{
	unsigned refused = 0;
	struct client *c;
	struct served *s;
	int fd;

	(void)state;
	s = stuck_make(&c, &fd, 0x1000);
	for (unsigned i = 0; i < 300; i++) {
		int rc = client_unmap(c, 0, 0x1000, 0);

		assert_int_equal(rc, i < 256 ? -EBUSY : -ENOBUFS);
		refused += rc == -ENOBUFS;
		/* the same page again: the old one is still held */
		if (rc == -EBUSY)
			assert_int_equal(client_map(c, 0, 0x1000, fd, 0, BOTH),
					 0);
	}
	assert_int_equal(refused, 44);
	assert_int_equal(client_call(c, VU_RESET, NULL, 0), 0);
	assert_int_equal(client_unmap(c, 0, 0x1000, 0), 0);
	stuck_free(s, c, fd);
}

/* The client goes: the function is reset, and the next one finds it well. */
static void client_of_a_stuck_function_goes(void **state)
{
	struct client *c;
	struct served *s;
	int fd;

	(void)state;
	s = stuck_make(&c, &fd, 0x1000);
	assert_int_equal(client_unmap(c, 0, 0x1000, 0), -EBUSY);
	client_close(c);
	c = served_client(s);
	bus_master_on(c);
	assert_int_equal(client_map(c, 0, 0x1000, fd, 0, BOTH), 0);
	assert_int_equal(dt_run(c, DT_WRITE, 0, 8, 1), 0);
	stuck_free(s, c, fd);
}

static void server_of_a_stuck_function_goes(void **state)
{
	struct client *c;
	struct served *s;
	int fd;

	(void)state;
	s = stuck_make(&c, &fd, 0x1000);
	assert_int_equal(client_unmap(c, 0, 0x1000, 0), -EBUSY);
	stuck_free(s, c, fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(dma_reaches_the_clients_memory),
		TEST(readonly_memory),
		TEST(writeonly_memory),
		TEST(maps_that_overlap),
		TEST(bad_maps),
		TEST(maps_without_a_file),
		TEST(unmap_of_a_range),
		TEST(unmap_all),
		TEST(unmap_waits_for_a_held_map),
		TEST(dma_answers_keep_their_order),
		TEST(unmap_without_overlap_does_not_wait),
		TEST(many_unmaps_wait),
		TEST(client_leaves_with_a_live_map),
		cmocka_unit_test(server_is_destroyed_with_a_live_map),
		TEST(let_go_on_another_thread),
		cmocka_unit_test(destroyed_while_another_thread_holds),
		TEST(nobody_writes_after_the_answer),
		cmocka_unit_test(failed_unmap_is_answered),
		cmocka_unit_test(failed_unmap_is_asked_for_again),
		cmocka_unit_test(failed_unmaps_run_out),
		cmocka_unit_test(client_of_a_stuck_function_goes),
		cmocka_unit_test(server_of_a_stuck_function_goes),
	};

	return cmocka_run_group_tests_name("vfio_user_dma", tests, NULL, NULL);
}
