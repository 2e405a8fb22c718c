/* SPDX-License-Identifier: BSD-2-Clause */

/* PCI functions, as a transport sees them. */

#include "client.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <viommu.h>

#include "serve/pci.h"
#include "serve/pci_irq.h"

#define CONFIG VFIO_PCI_CONFIG_REGION_INDEX
#define INTX   VFIO_PCI_INTX_IRQ_INDEX
#define MSI    VFIO_PCI_MSI_IRQ_INDEX
#define MSIX   VFIO_PCI_MSIX_IRQ_INDEX

struct access {
	uint64_t off;
	unsigned len;
	bool write;
	uint64_t val;
};

struct fix {
	struct viommu *vi;
	struct viommu_memory *memory;
	struct viommu_loop *loop;
	struct viommu_pci *pci;
	unsigned resets;
	struct access log[64];
	unsigned n;
};

static void reset(void *arg)
{
	struct fix *x = arg;

	x->resets++;
}

static uint64_t bar_read(void *arg, uint64_t off, unsigned len)
{
	struct fix *x = arg;

	assert_true(x->n < 64);
	x->log[x->n++] = (struct access){ off, len, false, 0 };
	return UINT64_C(0x0706050403020100) + off * UINT64_C(0x101010101010101);
}

static void bar_write(void *arg, uint64_t off, unsigned len, uint64_t val)
{
	struct fix *x = arg;

	assert_true(x->n < 64);
	x->log[x->n++] = (struct access){ off, len, true, val };
}

static struct viommu_pci_config config(struct fix *x)
{
	return (struct viommu_pci_config){
		.size = sizeof(struct viommu_pci_config),
		.name = "f",
		.loop = x->loop,
		.vi = x->vi,
		.memory = x->memory,
		.vendor = 0x1af4,
		.device = 0x1057,
		.subsystem_vendor = 0x1af5,
		.subsystem = 0x40,
		.class_code = 0x080600,
		.revision = 3,
		.reset = reset,
		.arg = x,
	};
}

static int setup(void **state)
{
	struct fix *x = calloc(1, sizeof(*x));
	struct viommu_pci_config cfg;

	assert_non_null(x);
	assert_int_equal(viommu_create(NULL, &x->vi), 0);
	x->memory = viommu_memory_of(x->vi);
	assert_int_equal(viommu_loop_create(&x->loop), 0);
	cfg = config(x);
	assert_int_equal(viommu_pci_create(&cfg, &x->pci), 0);
	*state = x;
	return 0;
}

static int teardown(void **state)
{
	struct fix *x = *state;

	viommu_pci_destroy(x->pci);
	viommu_loop_destroy(x->loop);
	viommu_destroy(x->vi);
	free(x);
	return 0;
}

static uint64_t get(struct fix *x, unsigned region, uint64_t off, size_t len)
{
	uint64_t val = 0;

	assert_true(vs_pci_inside(x->pci, region, off, len));
	vs_pci_read(x->pci, region, off, &val, len);
	return val;
}

static void set(struct fix *x, unsigned region, uint64_t off, size_t len,
		uint64_t val)
{
	assert_true(vs_pci_inside(x->pci, region, off, len));
	vs_pci_write(x->pci, region, off, &val, len);
}

static int bar(struct fix *x, unsigned index, uint64_t len, uint32_t flags)
{
	return viommu_pci_add_bar(x->pci, index, len, flags, bar_read,
				  bar_write, x);
}

/* Where a capability is; 0: nowhere. */
static unsigned cap_find(struct fix *x, uint8_t id, unsigned nth)
{
	unsigned at = (unsigned)get(x, CONFIG, PCI_CAPABILITY_LIST, 1);

	for (int limit = 0; at && limit < 64; limit++) {
		assert_int_equal(at & 3, 0);
		assert_true(at >= 0x40);
		if (get(x, CONFIG, at, 1) == id && !nth--)
			return at;
		at = (unsigned)get(x, CONFIG, at + 1, 1);
	}
	return 0;
}

static void options(void **state)
{
	struct fix *x = *state;
	struct viommu_pci_config cfg = config(x);
	struct viommu_pci *pci;

	cfg.size--;
	assert_int_equal(viommu_pci_create(&cfg, &pci), -EINVAL);
	cfg = config(x);
	cfg.class_code = 1 << 24;
	assert_int_equal(viommu_pci_create(&cfg, &pci), -EINVAL);
	cfg = config(x);
	cfg.memory = NULL;
	assert_int_equal(viommu_pci_create(&cfg, &pci), -EINVAL);
	viommu_pci_destroy(NULL);
}

static void header(void **state)
{
	struct fix *x = *state;

	assert_int_equal(get(x, CONFIG, 0, 8), 0x0010000010571af4);
	assert_int_equal(get(x, CONFIG, PCI_CLASS_REVISION, 4), 0x08060003);
	assert_int_equal(get(x, CONFIG, PCI_HEADER_TYPE, 1), 0);
	assert_int_equal(get(x, CONFIG, PCI_SUBSYSTEM_VENDOR_ID, 4),
			 0x00401af5);
	assert_int_equal(get(x, CONFIG, PCI_INTERRUPT_PIN, 1), 0);
	viommu_pci_add_intx(x->pci);
	assert_int_equal(get(x, CONFIG, PCI_INTERRUPT_PIN, 1), 1);
}

/* What is not writable stays; what is, changes only there. */
static void write_masks(void **state)
{
	struct fix *x = *state;
	uint8_t before[256], ones[256];
	unsigned af;

	assert_int_equal(viommu_pci_add_msi(x->pci), 0);
	assert_int_equal(viommu_pci_add_msix(x->pci, 4, 3), 0);
	assert_int_equal(viommu_pci_add_capability(x->pci, PCI_CAP_ID_VNDR,
						   "\5xyz", 4, NULL),
			 0);
	vs_pci_read(x->pci, CONFIG, 0, before, 256);
	memset(ones, 0xff, sizeof(ones));
	af = cap_find(x, PCI_CAP_ID_AF, 0);
	ones[af + PCI_AF_CTRL] = 0; /* else it is a reset */
	vs_pci_write(x->pci, CONFIG, 0, ones, 256);
	assert_int_equal(x->resets, 0);
	for (unsigned i = 0; i < 256; i++) {
		unsigned msi = cap_find(x, PCI_CAP_ID_MSI, 0);
		unsigned msix = cap_find(x, PCI_CAP_ID_MSIX, 0);
		uint8_t now = (uint8_t)get(x, CONFIG, i, 1), want = before[i];

		if (i == PCI_COMMAND)
			want = 0x47;
		else if (i == PCI_COMMAND + 1)
			want = 0x05;
		else if (i == PCI_CACHE_LINE_SIZE || i == PCI_INTERRUPT_LINE)
			want = 0xff;
		else if (i == PCI_BASE_ADDRESS_4 + 1)
			want = 0xf0;
		else if (i == PCI_BASE_ADDRESS_4 + 2 ||
			 i == PCI_BASE_ADDRESS_4 + 3)
			want = 0xff;
		else if (i == msi + 2)
			want |= 1;
		else if (i == msi + 4)
			want = 0xfc;
		else if (i > msi + 4 && i < msi + 14)
			want = 0xff;
		else if (i == msix + 3)
			want |= 0xc0;
		if (now != want)
			fail_msg("byte %#x is %#x, not %#x", i, now, want);
	}
	/* a reset undoes all of it */
	set(x, CONFIG, af + PCI_AF_CTRL, 1, PCI_AF_CTRL_FLR);
	assert_int_equal(x->resets, 1);
	vs_pci_read(x->pci, CONFIG, 0, ones, 256);
	assert_memory_equal(ones, before, 256);
}

static void bus_master(void **state)
{
	struct fix *x = *state;

	assert_false(viommu_pci_bus_master(x->pci));
	set(x, CONFIG, PCI_COMMAND, 1, PCI_COMMAND_MASTER);
	assert_true(viommu_pci_bus_master(x->pci));
	set(x, CONFIG, PCI_COMMAND + 1, 1, 0xff);
	assert_true(viommu_pci_bus_master(x->pci));
	vs_pci_reset(x->pci, true);
	assert_false(viommu_pci_bus_master(x->pci));
}

static void bars(void **state)
{
	struct fix *x = *state;
	const uint32_t f64 = VIOMMU_PCI_BAR_F_64;
	const uint32_t io = VIOMMU_PCI_BAR_F_IO;
	const uint32_t pre = VIOMMU_PCI_BAR_F_PREFETCH;

	assert_int_equal(bar(x, 0, 0, 0), -EINVAL);
	assert_int_equal(bar(x, 0, 8, 0), -EINVAL);
	assert_int_equal(bar(x, 0, 24, 0), -EINVAL);
	assert_int_equal(bar(x, 0, 2, io), -EINVAL);
	assert_int_equal(bar(x, 0, 16, io | f64), -EINVAL);
	assert_int_equal(bar(x, 0, 16, 8), -EINVAL);
	assert_int_equal(bar(x, 6, 16, 0), -EINVAL);
	assert_int_equal(bar(x, 5, 16, f64), -EINVAL);
	assert_int_equal(bar(x, 0, UINT64_C(1) << 32, 0), -EINVAL);
	assert_int_equal(
		viommu_pci_add_bar(x->pci, 0, 16, 0, NULL, bar_write, x),
		-EINVAL);
	assert_int_equal(bar(x, 0, 16, 0), 0);
	assert_int_equal(bar(x, 0, 16, 0), -EEXIST);
	assert_int_equal(bar(x, 1, UINT64_C(1) << 33, f64 | pre), 0);
	assert_int_equal(bar(x, 2, 16, 0), -EEXIST);
	assert_int_equal(bar(x, 5, 4, io), 0);
	assert_int_equal(bar(x, 4, 16, f64), -EEXIST);
	assert_int_equal(bar(x, 4, 1 << 20, pre), 0);

	assert_int_equal(vs_pci_region_len(x->pci, 0), 16);
	assert_int_equal(vs_pci_region_len(x->pci, 1), UINT64_C(1) << 33);
	assert_int_equal(vs_pci_region_len(x->pci, 2), 0);
	assert_int_equal(vs_pci_region_len(x->pci, 3), 0);
	assert_int_equal(vs_pci_region_len(x->pci, 5), 4);

	/* types, then sizes */
	assert_int_equal(get(x, CONFIG, PCI_BASE_ADDRESS_0, 4), 0);
	assert_int_equal(get(x, CONFIG, PCI_BASE_ADDRESS_1, 8), 0xc);
	assert_int_equal(get(x, CONFIG, PCI_BASE_ADDRESS_4, 4), 0x8);
	assert_int_equal(get(x, CONFIG, PCI_BASE_ADDRESS_5, 4), 0x1);
	for (unsigned i = 0; i < 6; i++)
		set(x, CONFIG, PCI_BASE_ADDRESS_0 + 4 * i, 4, 0xffffffff);
	assert_int_equal(get(x, CONFIG, PCI_BASE_ADDRESS_0, 4), 0xfffffff0);
	assert_int_equal(get(x, CONFIG, PCI_BASE_ADDRESS_1, 8),
			 0xfffffffe0000000c);
	assert_int_equal(get(x, CONFIG, PCI_BASE_ADDRESS_3, 4), 0);
	assert_int_equal(get(x, CONFIG, PCI_BASE_ADDRESS_4, 4), 0xfff00008);
	assert_int_equal(get(x, CONFIG, PCI_BASE_ADDRESS_5, 4), 0xfffffffd);
}

static void pieces(void **state)
{
	static const struct {
		unsigned off, len;
		unsigned want[8];
	} cases[] = {
		{ 0, 1, { 1 } },       { 0, 2, { 2 } },
		{ 0, 4, { 4 } },       { 0, 8, { 8 } },
		{ 4, 8, { 4, 4 } },    { 1, 8, { 1, 2, 4, 1 } },
		{ 3, 2, { 1, 1 } },    { 6, 10, { 2, 8 } },
		{ 0, 7, { 4, 2, 1 } }, { 0, 0, { 0 } },
	};
	struct fix *x = *state;

	assert_int_equal(bar(x, 0, 16, 0), 0);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (int write = 0; write < 2; write++) {
			uint8_t buf[16];
			unsigned off = cases[i].off;

			for (unsigned k = 0; k < 16; k++)
				buf[k] = (uint8_t)k;
			x->n = 0;
			if (write)
				vs_pci_write(x->pci, 0, off, buf + off,
					     cases[i].len);
			else
				vs_pci_read(x->pci, 0, off, buf + off,
					    cases[i].len);
			for (unsigned k = 0; cases[i].want[k]; k++) {
				assert_true(k < x->n);
				assert_int_equal(x->log[k].off, off);
				assert_int_equal(x->log[k].len,
						 cases[i].want[k]);
				assert_int_equal(x->log[k].write, write);
				if (write)
					assert_int_equal(x->log[k].val & 0xff,
							 off);
				off += x->log[k].len;
			}
			/* the same bytes, whatever the pieces */
			for (unsigned k = 0; k < 16; k++)
				assert_int_equal(buf[k], k);
			assert_int_equal(off, cases[i].off + cases[i].len);
		}
}

static void capabilities(void **state)
{
	struct fix *x = *state;
	uint8_t body[256];
	uint16_t off, last = 0;
	unsigned n = 0;

	for (unsigned i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)i;
	assert_int_equal(viommu_pci_add_capability(x->pci, PCI_CAP_ID_VNDR,
						   body, 256, &off),
			 -ENOSPC);
	assert_int_equal(viommu_pci_add_capability(x->pci, PCI_CAP_ID_VNDR,
						   body, SIZE_MAX, &off),
			 -ENOSPC);
	while (!viommu_pci_add_capability(x->pci, PCI_CAP_ID_VNDR, body, 11,
					  &off)) {
		assert_true(off > last);
		assert_int_equal(off % 4, 0);
		assert_int_equal(get(x, CONFIG, off, 2) & 0xff,
				 PCI_CAP_ID_VNDR);
		assert_int_equal(get(x, CONFIG, off + 2, 8),
				 0x0706050403020100);
		assert_int_equal(cap_find(x, PCI_CAP_ID_VNDR, n), off);
		last = off;
		n++;
	}
	assert_int_equal(n, (256 - 0x48) / 16);
	assert_int_equal(cap_find(x, PCI_CAP_ID_VNDR, n), 0);
	/* all or nothing: no room for these, and the BAR stays free */
	assert_int_equal(viommu_pci_add_msi(x->pci), -ENOSPC);
	assert_int_equal(viommu_pci_add_msix(x->pci, 0, 1), -ENOSPC);
	assert_int_equal(bar(x, 0, 16, 0), 0);
}

/* --------------------------------------------------------------- MSI, MSI-X */

static void msix(void **state)
{
	struct fix *x = *state;
	unsigned at;

	assert_int_equal(viommu_pci_add_msix(x->pci, 1, 0), -EINVAL);
	assert_int_equal(viommu_pci_add_msix(x->pci, 1, 65), -EINVAL);
	assert_int_equal(viommu_pci_add_msix(x->pci, 6, 1), -EINVAL);
	assert_int_equal(bar(x, 0, 16, 0), 0);
	assert_int_equal(viommu_pci_add_msix(x->pci, 0, 1), -EEXIST);
	assert_int_equal(cap_find(x, PCI_CAP_ID_MSIX, 0), 0);
	assert_int_equal(viommu_pci_add_msix(x->pci, 1, 64), 0);
	assert_int_equal(viommu_pci_add_msix(x->pci, 2, 1), -EEXIST);
	at = cap_find(x, PCI_CAP_ID_MSIX, 0);
	assert_int_not_equal(at, 0);
	assert_int_equal(get(x, CONFIG, at + PCI_MSIX_FLAGS, 2), 63);
	assert_int_equal(get(x, CONFIG, at + PCI_MSIX_TABLE, 4), 1);
	assert_int_equal(get(x, CONFIG, at + PCI_MSIX_PBA, 4), 0x801);
	assert_int_equal(vs_pci_region_len(x->pci, 1), 4096);
	/* the table is storage, masked after a reset */
	assert_int_equal(get(x, 1, 12, 4), 1);
	set(x, 1, 63 * 16, 8, UINT64_MAX);
	set(x, 1, 63 * 16 + 8, 8, UINT64_MAX);
	assert_int_equal(get(x, 1, 63 * 16, 8), 0xfffffffffffffffc);
	assert_int_equal(get(x, 1, 63 * 16 + 8, 8), 0x1ffffffff);
	set(x, 1, 64 * 16, 8, UINT64_MAX);
	assert_int_equal(get(x, 1, 64 * 16, 8), 0);
	set(x, 1, 0x800, 8, UINT64_MAX);
	assert_int_equal(get(x, 1, 0x800, 8), 0);
	vs_pci_reset(x->pci, true);
	assert_int_equal(get(x, 1, 63 * 16, 8), 0);
	assert_int_equal(get(x, 1, 63 * 16 + 12, 4), 1);
}

static void modes(void **state)
{
	struct fix *x = *state;
	struct vs_irqs *q = vs_pci_irqs(x->pci);
	int fd[3] = { eventfd_make(), eventfd_make(), eventfd_make() };
	unsigned msi, msix_at;

	viommu_pci_interrupt(x->pci, 0); /* there is none: nothing happens */
	viommu_pci_add_intx(x->pci);
	assert_int_equal(viommu_pci_add_msi(x->pci), 0);
	assert_int_equal(viommu_pci_add_msi(x->pci), -EEXIST);
	assert_int_equal(viommu_pci_add_msix(x->pci, 1, 2), 0);
	msi = cap_find(x, PCI_CAP_ID_MSI, 0);
	msix_at = cap_find(x, PCI_CAP_ID_MSIX, 0);
	vs_irq_set(q, INTX, 0, dup(fd[0]));
	viommu_pci_interrupt(x->pci, 1);
	assert_int_equal(eventfd_take(fd[0], 0), 1);
	viommu_pci_deassert(x->pci);
	vs_irq_mask(q, INTX, 0, false);
	/* enabled in config space, eventfd later: pending until then */
	set(x, CONFIG, msi + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE);
	viommu_pci_interrupt(x->pci, 1);
	assert_int_equal(eventfd_take(fd[0], 0), 0);
	vs_irq_set(q, MSI, 0, dup(fd[1]));
	assert_int_equal(eventfd_take(fd[1], 0), 1);
	set(x, CONFIG, msix_at + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	vs_irq_set(q, MSIX, 1, dup(fd[2]));
	viommu_pci_interrupt(x->pci, 1);
	assert_int_equal(eventfd_take(fd[2], 0), 1);
	viommu_pci_interrupt(x->pci, 2); /* no such vector */
	viommu_pci_interrupt(x->pci, UINT32_MAX);
	viommu_pci_interrupt(x->pci, 0); /* no eventfd */
	assert_int_equal(get(x, 1, 0x800, 8), 1);
	/* masked by the client */
	vs_irq_mask(q, MSIX, 1, true);
	viommu_pci_interrupt(x->pci, 1);
	assert_int_equal(eventfd_take(fd[2], 0), 0);
	assert_int_equal(get(x, 1, 0x800, 8), 3);
	vs_irq_mask(q, MSIX, 1, false);
	assert_int_equal(eventfd_take(fd[2], 0), 1);
	/* a reset forgets what is pending, not the client's eventfds */
	viommu_pci_interrupt(x->pci, 0);
	vs_pci_reset(x->pci, true);
	assert_int_equal(get(x, 1, 0x800, 8), 0);
	viommu_pci_interrupt(x->pci, 1);
	assert_int_equal(eventfd_take(fd[2], 0), 1);
	/* gone: back to MSI, back to INTx */
	vs_irqs_clear(q, MSIX);
	viommu_pci_interrupt(x->pci, 1);
	assert_int_equal(eventfd_take(fd[1], 0), 1);
	vs_irqs_clear(q, MSI);
	viommu_pci_interrupt(x->pci, 1);
	assert_int_equal(eventfd_take(fd[0], 0), 1);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(eventfd_take(fd[i], 0), 0);
		close(fd[i]);
	}
}

static void usable_eventfds(void **state)
{
	int p[2], fd;

	(void)state;
	fd = eventfd(0, 0);
	assert_true(vs_irq_usable(fd));
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
	assert_false(vs_irq_usable(-1));
	assert_false(vs_irq_usable(9999));
	assert_int_equal(pipe(p), 0);
	assert_false(vs_irq_usable(p[0]));
	assert_false(vs_irq_usable(p[1]));
	close(p[0]);
	close(p[1]);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
	assert_false(vs_irq_usable(p[0]));
	close(p[0]);
	close(p[1]);
	fd = open("/dev/null", O_RDWR);
	assert_false(vs_irq_usable(fd));
	close(fd);
	fd = epoll_create1(0);
	assert_false(vs_irq_usable(fd));
	close(fd);
	fd = memfd_make(4096);
	assert_false(vs_irq_usable(fd));
	close(fd);
}

/* A full counter, on an eventfd that its owner made blocking again. */
static void full_eventfd_does_not_block(void **state)
{
	struct fix *x = *state;
	struct vs_irqs *q = vs_pci_irqs(x->pci);
	int fd = eventfd_make();
	uint64_t full = UINT64_MAX - 1;

	assert_int_equal(viommu_pci_add_msix(x->pci, 1, 1), 0);
	vs_irq_set(q, MSIX, 0, dup(fd));
	assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	alarm(10);
	viommu_pci_interrupt(x->pci, 0);
	alarm(0);
	assert_int_equal(vs_irqs_written(q), 0);
	close(fd);
}

struct storm {
	struct fix *x;
	pthread_t thread;
	atomic_bool stop;
};

static void *storm_run(void *arg)
{
	struct storm *t = arg;

	while (!atomic_load(&t->stop)) {
		viommu_pci_interrupt(t->x->pci, 1);
		viommu_pci_deassert(t->x->pci);
		(void)viommu_pci_bus_master(t->x->pci);
	}
	return NULL;
}

/* Interrupts from elsewhere while eventfds come and go: none is written after
 * it was closed.  The number is taken by a pipe, where it would be seen. */
static void interrupts_while_eventfds_change(void **state)
{
	struct fix *x = *state;
	struct vs_irqs *q = vs_pci_irqs(x->pci);
	struct storm t[2] = { { .x = x }, { .x = x } };
	uint64_t until = now_ms() + 500;
	unsigned rounds = 0;

	viommu_pci_add_intx(x->pci);
	assert_int_equal(viommu_pci_add_msix(x->pci, 1, 2), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(
			pthread_create(&t[i].thread, NULL, storm_run, &t[i]),
			0);
	while (now_ms() < until) {
		int fd = eventfd_make(), p[2];

		vs_irq_set(q, rounds % 2 ? MSIX : INTX, rounds % 2, fd);
		sched_yield();
		vs_irqs_clear(q, MSIX);
		vs_irqs_clear(q, INTX);
		assert_int_equal(pipe2(p, O_NONBLOCK), 0);
		set(x, CONFIG, PCI_COMMAND, 2, rounds & 0x407);
		sched_yield();
		for (int i = 0; i < 2; i++) {
			uint64_t val;

			assert_int_equal(read(p[0], &val, 8), -1);
			assert_int_equal(errno, EAGAIN);
		}
		close(p[0]);
		close(p[1]);
		rounds++;
	}
	for (int i = 0; i < 2; i++) {
		atomic_store(&t[i].stop, true);
		pthread_join(t[i].thread, NULL);
	}
	assert_true(rounds > 10);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(options),
		TEST(header),
		TEST(write_masks),
		TEST(bus_master),
		TEST(bars),
		TEST(pieces),
		TEST(capabilities),
		TEST(msix),
		TEST(modes),
		TEST(usable_eventfds),
		TEST(full_eventfd_does_not_block),
		TEST(interrupts_while_eventfds_change),
	};

	return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
