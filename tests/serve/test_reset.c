/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What is said about the end of DMA: a function that takes its time with
 * resets and with the end of bus mastering, behind a vfio-user server.
 */

#include "client.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <viommu.h>
#include <viommu/serve/vfio_user.h>

#define CONFIG VFIO_PCI_CONFIG_REGION_INDEX
#define AF     0x40u /* the first capability */
#define SHORT  100   /* ms in which nothing may come */
#define SLOW   1     /* a write that takes its time */

struct fix {
	char dir[64], path[96];
	struct viommu *vi;
	struct viommu_loop *loop;
	struct viommu_pci *pci;
	struct viommu_vfio_user *server;
	struct viommu_task finish;
	pthread_t thread;
	atomic_uint resets, system_resets, ends, starts, writes;
	atomic_uint early; /* writes while it was busy */
	atomic_bool slow, busy;
	struct viommu_timer timer;
};

/* ----------------------------------------------------------------- model */

static void begin(struct fix *x)
{
	if (!atomic_load(&x->slow))
		return;
	atomic_store(&x->busy, true);
	viommu_pci_busy(x->pci);
}

static void finish(void *arg)
{
	struct fix *x = arg;

	atomic_store(&x->busy, false);
	viommu_pci_idle(x->pci);
}

static void reset(void *arg)
{
	struct fix *x = arg;

	atomic_fetch_add(&x->resets, 1);
	begin(x);
}

static void system_reset(void *arg)
{
	struct fix *x = arg;

	atomic_fetch_add(&x->system_resets, 1);
}

static void bus_master(void *arg, bool on)
{
	struct fix *x = arg;

	atomic_fetch_add(on ? &x->starts : &x->ends, 1);
	if (!on)
		begin(x);
}

static uint64_t bar_read(void *arg, uint64_t off, unsigned len)
{
	(void)arg;
	(void)off;
	(void)len;
	return 7;
}

static void bar_write(void *arg, uint64_t off, unsigned len, uint64_t val)
{
	struct fix *x = arg;

	(void)off;
	(void)len;
	if (atomic_load(&x->busy))
		atomic_fetch_add(&x->early, 1);
	atomic_fetch_add(&x->writes, 1);
	if (val == SLOW)
		begin(x);
}

/* ---------------------------------------------------------------- fixture */

static void *run(void *arg)
{
	struct fix *x = arg;

	return (void *)(intptr_t)viommu_loop_run(x->loop);
}

static int setup(void **state)
{
	struct fix *x = calloc(1, sizeof(*x));
	const char *tmp = getenv("TMPDIR");
	struct viommu_pci_config pc = { .size = sizeof(pc),
					.vendor = 1,
					.device = 2,
					.reset = reset,
					.system_reset = system_reset,
					.bus_master = bus_master };
	struct viommu_vfio_user_config vc = { .size = sizeof(vc) };

	assert_non_null(x);
	snprintf(x->dir, sizeof(x->dir), "%.40s/viommu-XXXXXX",
		 tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(x->dir));
	snprintf(x->path, sizeof(x->path), "%s/socket", x->dir);
	assert_int_equal(viommu_create(NULL, &x->vi), 0);
	assert_int_equal(viommu_loop_create(&x->loop), 0);
	viommu_task_init(&x->finish, finish, x);
	viommu_timer_init(&x->timer, finish, x);
	pc.loop = x->loop;
	pc.vi = x->vi;
	pc.memory = viommu_memory_of(x->vi);
	pc.arg = x;
	assert_int_equal(viommu_pci_create(&pc, &x->pci), 0);
	assert_int_equal(
		viommu_pci_add_bar(x->pci, 0, 4096, 0, bar_read, bar_write, x),
		0);
	vc.path = x->path;
	vc.pci = x->pci;
	assert_int_equal(viommu_vfio_user_create(&vc, &x->server), 0);
	assert_int_equal(pthread_create(&x->thread, NULL, run, x), 0);
	*state = x;
	return 0;
}

static void stop(struct fix *x)
{
	viommu_loop_stop(x->loop);
	assert_int_equal(pthread_join(x->thread, NULL), 0);
}

static void fix_free(struct fix *x)
{
	viommu_vfio_user_destroy(x->server);
	assert_int_equal(rmdir(x->dir), 0);
	viommu_pci_destroy(x->pci);
	viommu_loop_destroy(x->loop);
	viommu_destroy(x->vi);
	free(x);
}

static int teardown(void **state)
{
	struct fix *x = *state;

	atomic_store(&x->slow, false);
	viommu_loop_post(x->loop, &x->finish);
	stop(x);
	fix_free(x);
	return 0;
}

static struct client *hello(struct fix *x)
{
	struct client *c = client_connect(x->path);

	assert_int_equal(client_version(c, 0, 0, QEMU_CAPS), 0);
	return c;
}

static void let_finish(struct fix *x)
{
	atomic_store(&x->slow, false);
	viommu_loop_post(x->loop, &x->finish);
}

/* ----------------------------------------------------------------- tests */

/* @id is answered when the function is idle, and what follows it then. */
static void waits(struct fix *x, struct client *c, uint16_t command)
{
	uint16_t id = c->id;
	uint32_t val = 5;

	assert_true(client_write_send(c, VU_F_NO_REPLY, 0, 0, &val, 4));
	assert_true(client_write_send(c, 0, 0, 4, &val, 4));
	assert_false(client_poll(c, SHORT));
	assert_true(atomic_load(&x->busy));
	assert_int_equal(atomic_load(&x->writes), 0);
	let_finish(x);
	assert_int_equal(client_reply(c, id, command), 0);
	if (command == VU_REGION_WRITE)
		assert_int_equal(c->body_len, sizeof(struct vu_region_access));
	assert_int_equal(client_reply(c, (uint16_t)(id + 2), VU_REGION_WRITE),
			 0);
	assert_int_equal(atomic_load(&x->writes), 2);
	assert_int_equal(atomic_load(&x->early), 0);
	assert_int_equal(client_reg(c, CONFIG, AF + PCI_AF_STATUS, 1), 0);
}

static void device_reset_is_answered_when_done(void **state)
{
	struct fix *x = *state;
	struct client *c = hello(x);

	atomic_store(&x->slow, true);
	assert_true(client_send(c, VU_RESET, 0, NULL, 0));
	waits(x, c, VU_RESET);
	assert_int_equal(atomic_load(&x->system_resets), 1);
	client_close(c);
}

static void flr_is_answered_when_done(void **state)
{
	struct fix *x = *state;
	struct client *c = hello(x);
	uint8_t val = PCI_AF_CTRL_FLR;

	assert_int_equal(client_reg(c, CONFIG, AF, 1), PCI_CAP_ID_AF);
	atomic_store(&x->slow, true);
	assert_true(client_write_send(c, 0, CONFIG, AF + PCI_AF_CTRL, &val, 1));
	waits(x, c, VU_REGION_WRITE);
	/* the function's alone */
	assert_int_equal(atomic_load(&x->resets), 1);
	assert_int_equal(atomic_load(&x->system_resets), 0);
	client_close(c);
}

static void bus_mastering_ends_before_the_answer(void **state)
{
	struct fix *x = *state;
	struct client *c = hello(x);
	uint16_t val = PCI_COMMAND_MEMORY;

	client_set_reg(c, CONFIG, PCI_COMMAND, 2, 6);
	client_set_reg(c, CONFIG, PCI_COMMAND, 2, 6);
	assert_int_equal(atomic_load(&x->starts), 1);
	atomic_store(&x->slow, true);
	assert_true(client_write_send(c, 0, CONFIG, PCI_COMMAND, &val, 2));
	waits(x, c, VU_REGION_WRITE);
	assert_int_equal(atomic_load(&x->ends), 1);
	client_close(c);
}

static void posted_register_write_that_takes_long(void **state)
{
	struct fix *x = *state;
	struct client *c = hello(x);
	uint32_t val = SLOW;

	atomic_store(&x->slow, true);
	assert_true(client_write_send(c, VU_F_NO_REPLY, 0, 0, &val, 4));
	assert_true(client_write_send(c, VU_F_NO_REPLY, 0, 0, &val, 4));
	assert_true(client_write_send(c, 0, 0, 0, &val, 4));
	assert_false(client_poll(c, SHORT));
	assert_int_equal(atomic_load(&x->writes), 1);
	let_finish(x);
	assert_int_equal(client_reply(c, c->id, VU_REGION_WRITE), 0);
	assert_int_equal(atomic_load(&x->writes), 3);
	assert_int_equal(atomic_load(&x->early), 0);
	client_close(c);
}

/* As QEMU packs posted writes. */
static void one_of_several_writes_takes_long(void **state)
{
	struct fix *x = *state;
	struct client *c = hello(x);
	struct {
		struct vu_write_multi multi;
		struct vu_write_one one[4];
	} m = { .multi.count = 4 };

	for (unsigned i = 0; i < 4; i++)
		m.one[i] =
			(struct vu_write_one){ .count = 4, .data = { i == 1 } };
	atomic_store(&x->slow, true);
	assert_true(client_send(c, VU_REGION_WRITE_MULTI, 0, &m, sizeof(m)));
	assert_false(client_poll(c, SHORT));
	assert_int_equal(atomic_load(&x->writes), 2);
	let_finish(x);
	assert_int_equal(client_reply(c, c->id, VU_REGION_WRITE_MULTI), 0);
	assert_int_equal(c->body_len, sizeof(m.multi));
	assert_int_equal(atomic_load(&x->writes), 4);
	assert_int_equal(atomic_load(&x->early), 0);
	/* all or nothing */
	m.one[3].region = CONFIG + 1;
	assert_int_equal(client_call(c, VU_REGION_WRITE_MULTI, &m, sizeof(m)),
			 -EINVAL);
	assert_int_equal(atomic_load(&x->writes), 4);
	/* gone in the middle */
	m.one[3].region = 0;
	atomic_store(&x->slow, true);
	assert_true(client_send(c, VU_REGION_WRITE_MULTI, 0, &m, sizeof(m)));
	assert_false(client_poll(c, SHORT));
	client_close(c);
	let_finish(x);
	c = hello(x);
	assert_int_equal(atomic_load(&x->writes), 6);
	client_set_reg(c, 0, 0, 4, 3);
	client_close(c);
}

/* VMMs do not wait for ever; the answer does. */
static void after_a_while_registers_say(void **state)
{
	struct fix *x = *state;
	struct client *c = hello(x);
	uint16_t id;

	atomic_store(&x->slow, true);
	assert_true(client_send(c, VU_RESET, 0, NULL, 0));
	id = c->id;
	assert_int_equal(client_reg(c, 0, 0, 4), 7);
	assert_true(atomic_load(&x->busy));
	assert_int_equal(client_reg(c, CONFIG, AF + PCI_AF_STATUS, 1),
			 PCI_AF_STATUS_TP);
	/* no more than so many are kept, and each is answered */
	for (unsigned i = 0; i < 8; i++)
		assert_true(client_send(c, VU_RESET, 0, NULL, 0));
	assert_false(client_poll(c, SHORT));
	let_finish(x);
	for (unsigned i = 0; i < 8 + 1; i++) {
		assert_true(client_recv(c));
		assert_int_equal(c->hdr.command, VU_RESET);
		assert_int_equal(c->hdr.id, i ? id + 2 + i : id);
	}
	client_close(c);
}

static void next_client_waits_for_the_reset(void **state)
{
	struct fix *x = *state;
	struct client *c = hello(x);

	client_set_reg(c, CONFIG, PCI_COMMAND, 2, 6);
	atomic_store(&x->slow, true);
	client_close(c);
	c = client_connect(x->path);
	assert_true(client_send(c, VU_VERSION, 0, "\0\0\0", 4));
	assert_false(client_poll(c, SHORT));
	assert_int_equal(atomic_load(&x->system_resets), 1);
	let_finish(x);
	assert_int_equal(client_reply(c, 1, VU_VERSION), 0);
	assert_int_equal(client_reg(c, CONFIG, PCI_COMMAND, 2), 0);
	client_close(c);
}

/* Nobody else comes: the loop is run from within. */
static void server_is_destroyed_during_a_reset(void **state)
{
	struct fix *x;
	struct client *c;

	setup((void **)&x);
	(void)state;
	c = hello(x);
	atomic_store(&x->slow, true);
	assert_true(client_send(c, VU_RESET, 0, NULL, 0));
	assert_false(client_poll(c, SHORT));
	stop(x);
	viommu_timer_start(x->loop, &x->timer, 50000000);
	viommu_vfio_user_destroy(x->server);
	x->server = NULL;
	assert_false(atomic_load(&x->busy));
	client_close(c);
	fix_free(x);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(device_reset_is_answered_when_done),
		T(flr_is_answered_when_done),
		T(bus_mastering_ends_before_the_answer),
		T(posted_register_write_that_takes_long),
		T(one_of_several_writes_takes_long),
		T(after_a_while_registers_say),
		T(next_client_waits_for_the_reset),
		cmocka_unit_test(server_is_destroyed_during_a_reset),
	};

	return cmocka_run_group_tests_name("reset", tests, NULL, NULL);
}
