/* SPDX-License-Identifier: BSD-2-Clause */

/* docs/dmatest.md, register by register, through the socket. */

#include "served.h"

#define RAM  (4u << 20)
#define BOTH (VU_DMA_F_READ | VU_DMA_F_WRITE)
#define PAT  UINT64_C(0x0807060504030201)

struct fix {
	struct served *s;
	struct client *c;
	int fd;
	uint8_t *ram;
};

static int setup(void **state)
{
	struct fix *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	x->s = served_make();
	served_start(x->s);
	x->c = served_client(x->s);
	x->fd = memfd_make(RAM);
	x->ram = memfd_see(x->fd, RAM);
	bus_master_on(x->c);
	assert_int_equal(client_map(x->c, 0, RAM, x->fd, 0, BOTH), 0);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fix *x = *state;

	client_close(x->c);
	munmap(x->ram, RAM);
	close(x->fd);
	served_destroy(x->s);
	free(x);
	return 0;
}

static uint64_t fnv(const uint8_t *at, size_t len)
{
	uint64_t h = UINT64_C(14695981039346656037);

	while (len--)
		h = (h ^ *at++) * UINT64_C(1099511628211);
	return h;
}

static void identity(void **state)
{
	struct fix *x = *state;

	assert_int_equal(client_reg(x->c, 0, 0, 4), 0x54444956);
	assert_int_equal(client_reg(x->c, 0, 4, 4), 1);
	assert_int_equal(client_reg(x->c, 0, DT_STATUS, 4), 0);
	/* read-only ones stay, whatever is written */
	for (uint64_t off = 0; off < 4096; off += 8)
		if (off != DT_COMMAND)
			client_set_reg(x->c, 0, off, 8, UINT64_MAX);
	assert_int_equal(client_reg(x->c, 0, 0, 8), 0x154444956);
	assert_int_equal(client_reg(x->c, 0, DT_COMMAND, 8), 0);
	assert_int_equal(client_reg(x->c, 0, DT_ERROR, 8), 0);
	assert_int_equal(client_reg(x->c, 0, DT_RESULT, 8), 0);
	assert_int_equal(client_reg(x->c, 0, DT_DELAY, 8), 0xffffffff);
	assert_int_equal(client_reg(x->c, 0, DT_COMPARE, 8), UINT64_MAX);
	assert_int_equal(client_reg(x->c, 0, 0x48, 8), 0);
	assert_int_equal(client_reg(x->c, 0, 4088, 8), 0);
}

static void halves(void **state)
{
	struct fix *x = *state;

	client_set_reg(x->c, 0, DT_IOVA + 4, 4, 0x11223344);
	client_set_reg(x->c, 0, DT_IOVA, 4, 0x55667788);
	assert_int_equal(client_reg(x->c, 0, DT_IOVA, 8), 0x1122334455667788);
	assert_int_equal(client_reg(x->c, 0, DT_IOVA + 4, 4), 0x11223344);
	/* a command in halves is none */
	client_set_reg(x->c, 0, DT_COMMAND, 2, DT_READ);
	client_set_reg(x->c, 0, DT_COMMAND + 2, 2, 0);
	assert_int_equal(client_reg(x->c, 0, DT_STATUS, 4), 0);
	assert_int_equal(client_reg(x->c, 0, DT_COUNT, 4), 0);
}

static void reads(void **state)
{
	struct fix *x = *state;

	for (unsigned i = 0; i < 1u << 20; i++)
		x->ram[i] = (uint8_t)(i * 31 >> 3);
	assert_int_equal(dt_run(x->c, DT_READ, 3, 1000, 0), 0);
	assert_int_equal(client_reg(x->c, 0, DT_RESULT, 8),
			 fnv(x->ram + 3, 1000));
	assert_int_equal(dt_run(x->c, DT_READ, 0, 1 << 20, 0), 0);
	assert_int_equal(client_reg(x->c, 0, DT_RESULT, 8),
			 fnv(x->ram, 1 << 20));
	assert_int_equal(dt_run(x->c, DT_READ, 0, 0, 0), 0);
	assert_int_equal(client_reg(x->c, 0, DT_RESULT, 8), fnv(NULL, 0));
	assert_int_equal(dt_run(x->c, DT_READ, 0, (1 << 20) + 1, 0), E2BIG);
	assert_int_equal(dt_run(x->c, DT_READ, 0, UINT64_MAX, 0), E2BIG);
	assert_int_equal(dt_run(x->c, DT_READ, RAM - 1, 2, 0), EFAULT);
	assert_int_equal(dt_run(x->c, DT_READ, UINT64_MAX, 2, 0), EFAULT);
	assert_int_equal(client_reg(x->c, 0, DT_COUNT, 4), 7);
}

static void writes(void **state)
{
	struct fix *x = *state;

	assert_int_equal(dt_run(x->c, DT_WRITE, 5, 11, PAT), 0);
	assert_memory_equal(x->ram, "\0\0\0\0\0\1\2\3\4\5\6\7\10\1\2\3\0", 17);
	assert_int_equal(dt_run(x->c, DT_WRITE, 0, 1 << 20, 0x77), 0);
	assert_int_equal(x->ram[(1 << 20) - 8], 0x77);
	assert_int_equal(x->ram[1 << 20], 0);
	/* refused: not a byte of it */
	assert_int_equal(dt_run(x->c, DT_WRITE, RAM - 8, 9, PAT), EFAULT);
	assert_int_equal(x->ram[RAM - 8], 0);
	assert_int_equal(dt_run(x->c, DT_WRITE, 0, (1 << 20) + 1, PAT), E2BIG);
	assert_int_equal(atomic_load(&x->s->faults), 1);
}

static void words(void **state)
{
	struct fix *x = *state;
	uint64_t mask, old;

	for (unsigned n = 1; n <= 8; n *= 2) {
		mask = n == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * n) - 1;
		assert_int_equal(dt_run(x->c, DT_STORE, 0x100 + n * 8, n, PAT),
				 0);
		assert_int_equal(dt_run(x->c, DT_LOAD, 0x100 + n * 8, n, 0), 0);
		assert_int_equal(client_reg(x->c, 0, DT_RESULT, 8), PAT & mask);
		assert_memory_equal(x->ram + 0x100 + n * 8, "\1\2\3\4\5\6\7\10",
				    n);
		assert_int_equal(x->ram[0x100 + n * 8 + n], 0);
	}
	for (unsigned n = 4; n <= 8; n *= 2) {
		mask = n == 8 ? UINT64_MAX : UINT32_MAX;
		client_set_reg(x->c, 0, DT_COMPARE, 8, 1);
		assert_int_equal(dt_run(x->c, DT_CAS, 0x200, n, PAT), 0);
		assert_int_equal(client_reg(x->c, 0, DT_RESULT, 8), 0);
		assert_int_equal(x->ram[0x200], 0);
		client_set_reg(x->c, 0, DT_COMPARE, 8, 0);
		assert_int_equal(dt_run(x->c, DT_CAS, 0x200, n, PAT), 0);
		memcpy(&old, x->ram + 0x200, 8);
		assert_int_equal(old, PAT & mask);
		memset(x->ram + 0x200, 0, 8);
	}
	/* what is no word */
	for (uint64_t n = 0; n < 20; n++)
		if (n != 1 && n != 2 && n != 4 && n != 8) {
			assert_int_equal(dt_run(x->c, DT_LOAD, 0, n, 0),
					 EINVAL);
			assert_int_equal(dt_run(x->c, DT_STORE, 0, n, 0),
					 EINVAL);
		}
	assert_int_equal(dt_run(x->c, DT_CAS, 0, 1, 0), EINVAL);
	assert_int_equal(dt_run(x->c, DT_CAS, 0, 2, 0), EINVAL);
	assert_int_equal(dt_run(x->c, DT_LOAD, 2, 4, 0), EINVAL);
	assert_int_equal(dt_run(x->c, DT_LOAD, 0, UINT64_C(0x100000004), 0),
			 EINVAL);
	assert_int_equal(dt_run(x->c, DT_STORE, RAM, 4, 0), EFAULT);
}

static void holds(void **state)
{
	struct fix *x = *state;
	struct viommu_dmatest_stats st;

	client_set_reg(x->c, 0, DT_DELAY, 4, 30000);
	dt_start(x->c, DT_HOLD, 0xffe, 4, PAT);
	assert_int_equal(client_reg(x->c, 0, DT_STATUS, 8), 1);
	assert_int_equal(client_reg(x->c, 0, DT_HELD, 4), 1);
	assert_int_equal(x->ram[0xffe], 0);
	/* busy: told in ERROR, nothing else changes */
	client_set_reg(x->c, 0, DT_COMMAND, 4, DT_READ);
	assert_int_equal(client_reg(x->c, 0, DT_STATUS, 4), 1);
	assert_int_equal(client_reg(x->c, 0, DT_ERROR, 4), EBUSY);
	while (client_reg(x->c, 0, DT_STATUS, 4) == 1)
		sleep_ms(1);
	assert_int_equal(client_reg(x->c, 0, DT_STATUS, 8), 2);
	assert_int_equal(client_reg(x->c, 0, DT_HELD, 4), 0);
	assert_int_equal(client_reg(x->c, 0, DT_COUNT, 4), 1);
	assert_memory_equal(x->ram + 0xffd, "\0\1\2\3\4\0", 6);
	/* the largest, in pieces */
	client_set_reg(x->c, 0, DT_DELAY, 4, 0);
	assert_int_equal(dt_run(x->c, DT_HOLD, 1, 1 << 20, PAT), 0);
	assert_int_equal(x->ram[1 << 20], 8);
	assert_int_equal(x->ram[(1 << 20) + 1], 0);
	/* adjacent for the device only, and cut within the pattern */
	assert_int_equal(client_map(x->c, RAM, 4096, x->fd, 0x2000, BOTH), 0);
	assert_int_equal(dt_run(x->c, DT_HOLD, RAM - 3, 8, PAT), 0);
	assert_memory_equal(x->ram + RAM - 3, "\1\2\3", 3);
	assert_memory_equal(x->ram + 0x2000, "\4\5\6\7\10", 5);
	assert_int_equal(client_unmap(x->c, RAM, 4096, 0), 0);
	assert_int_equal(dt_run(x->c, DT_HOLD, 1, (1 << 20) + 1, PAT), E2BIG);
	assert_int_equal(dt_run(x->c, DT_HOLD, 0, 0, PAT), EINVAL);
	assert_int_equal(dt_run(x->c, DT_HOLD, RAM - 1, 2, PAT), EFAULT);
	viommu_dmatest_read_stats(x->s->dmatest, &st);
	assert_int_equal(st.holds, 3);
	assert_int_equal(st.commands, 6);
	assert_int_equal(st.refused, 3);
}

static void reset_lets_go(void **state)
{
	struct fix *x = *state;
	uint8_t af;

	client_set_reg(x->c, 0, DT_DELAY, 4, 20000);
	dt_start(x->c, DT_HOLD, 0, 64, PAT);
	assert_int_equal(client_call(x->c, VU_RESET, NULL, 0), 0);
	for (uint64_t off = 8; off < 0x48; off += 8)
		assert_int_equal(client_reg(x->c, 0, off, 8), 0);
	assert_int_equal(client_reg(x->c, CONFIG, PCI_COMMAND, 2), 0);
	/* FLR, by the capability */
	bus_master_on(x->c);
	client_set_reg(x->c, 0, DT_DELAY, 4, 20000);
	dt_start(x->c, DT_HOLD, 0, 64, PAT);
	af = (uint8_t)client_reg(x->c, CONFIG, PCI_CAPABILITY_LIST, 1);
	assert_int_equal(client_reg(x->c, CONFIG, af, 1), PCI_CAP_ID_AF);
	client_set_reg(x->c, CONFIG, af + PCI_AF_CTRL, 1, PCI_AF_CTRL_FLR);
	assert_int_equal(client_reg(x->c, 0, DT_STATUS, 4), 0);
	assert_int_equal(client_reg(x->c, 0, DT_HELD, 4), 0);
	assert_int_equal(client_reg(x->c, CONFIG, af + PCI_AF_CTRL, 2), 0);
	/* neither wrote later on */
	sleep_ms(40);
	assert_int_equal(x->ram[0], 0);
	assert_int_equal(client_reg(x->c, 0, DT_COUNT, 4), 0);
}

static void no_dma_without_bus_mastering(void **state)
{
	struct fix *x = *state;

	client_set_reg(x->c, CONFIG, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	for (uint32_t cmd = DT_READ; cmd <= DT_CAS; cmd++)
		assert_int_equal(dt_run(x->c, cmd, 0, 4, PAT), EPERM);
	assert_int_equal(x->ram[0], 0);
	/* taken away while it holds */
	bus_master_on(x->c);
	client_set_reg(x->c, 0, DT_DELAY, 4, 20000);
	dt_start(x->c, DT_HOLD, 0, 64, PAT);
	client_set_reg(x->c, CONFIG, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	while (client_reg(x->c, 0, DT_STATUS, 4) == 1)
		sleep_ms(1);
	assert_int_equal(client_reg(x->c, 0, DT_STATUS, 4), 3);
	assert_int_equal(client_reg(x->c, 0, DT_ERROR, 4), EPERM);
	assert_int_equal(x->ram[0], 0);
	assert_int_equal(atomic_load(&x->s->faults), 0);
}

static void unknown_commands(void **state)
{
	static const uint32_t cmds[] = { 0, 7, 255, 0x40000001, 0x7fffffff };
	struct fix *x = *state;

	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(dt_run(x->c, cmds[i], 0, 4, 0), EINVAL);
}

static void interrupts_when_finished(void **state)
{
	struct fix *x = *state;
	int a = eventfd_make();

	assert_int_equal(client_irqs(x->c,
				     VFIO_IRQ_SET_DATA_EVENTFD |
					     VFIO_IRQ_SET_ACTION_TRIGGER,
				     VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, &a, 1),
			 0);
	assert_int_equal(dt_run(x->c, DT_WRITE, 0, 8, PAT), 0);
	assert_int_equal(eventfd_take(a, 20), 0);
	assert_int_equal(dt_run(x->c, DT_WRITE | (uint32_t)DT_IRQ, 0, 8, PAT),
			 0);
	assert_int_equal(eventfd_take(a, 1000), 1);
	assert_int_equal(dt_run(x->c, DT_WRITE | (uint32_t)DT_IRQ, RAM, 8, PAT),
			 EFAULT);
	assert_int_equal(eventfd_take(a, 1000), 1);
	client_set_reg(x->c, 0, DT_DELAY, 4, 10000);
	dt_start(x->c, DT_HOLD | (uint32_t)DT_IRQ, 0x100, 8, PAT);
	assert_int_equal(eventfd_take(a, 0), 0);
	assert_int_equal(eventfd_take(a, 1000), 1);
	assert_int_equal(x->ram[0x100], 1);
	close(a);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

/* HOLD longer than the IOMMU waits: it ends as ever, but nothing after it is
 * let through until a reset. */
static void given_up_until_reset(void **state)
{
	struct fix *x = *state;
	struct viommu_endpoint_stats es;
	struct viommu_fence f;

	memset(x->ram, 0, 16);
	/* long enough for whoever waits to be late */
	client_set_reg(x->c, 0, DT_DELAY, 4, 1000000);
	dt_start(x->c, DT_HOLD, 0, 8, PAT);
	while (client_reg(x->c, 0, DT_HELD, 4) != 1)
		sleep_ms(1);
	viommu_fence_init(&f);
	viommu_fence_set_timeout(&f, 10000000);
	viommu_endpoint_detach(x->s->ep, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(&f, -1), -ECANCELED);
	assert_int_equal(client_reg(x->c, 0, DT_HELD, 4), 1);
	while (client_reg(x->c, 0, DT_STATUS, 4) == 1)
		sleep_ms(1);
	assert_int_equal(client_reg(x->c, 0, DT_ERROR, 4), 0);
	assert_memory_equal(x->ram, "\1\2\3\4\5\6\7\10", 8);
	assert_true(viommu_fence_done(&f));
	viommu_endpoint_read_stats(x->s->ep, &es);
	assert_int_equal(es.given_up, 1);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(x->s->ep, x->s->space, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(dt_run(x->c, DT_READ, 0, 8, 0), EIO);
	assert_int_equal(client_call(x->c, VU_RESET, NULL, 0), 0);
	bus_master_on(x->c);
	assert_int_equal(dt_run(x->c, DT_READ, 0, 8, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identity),
		TEST(halves),
		TEST(reads),
		TEST(writes),
		TEST(words),
		TEST(holds),
		TEST(reset_lets_go),
		TEST(no_dma_without_bus_mastering),
		TEST(unknown_commands),
		TEST(interrupts_when_finished),
		cmocka_unit_test_setup_teardown(given_up_until_reset, setup,
						teardown),
	};

	return cmocka_run_group_tests_name("dmatest", tests, NULL, NULL);
}
