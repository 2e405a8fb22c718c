/* SPDX-License-Identifier: BSD-2-Clause */

/* SET_IRQS of vfio-user, and what it does. */

#include "served.h"

#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER
#define EVENTFD VFIO_IRQ_SET_DATA_EVENTFD
#define NONE	VFIO_IRQ_SET_DATA_NONE
#define BOOL	VFIO_IRQ_SET_DATA_BOOL
#define INTX	VFIO_PCI_INTX_IRQ_INDEX
#define MSI	VFIO_PCI_MSI_IRQ_INDEX
#define MSIX	VFIO_PCI_MSIX_IRQ_INDEX

/* ------------------------------------------------------------- interrupts */

static void fire(struct client *c)
{
	/* refused, and finished all the same */
	client_set_reg(c, 0, DT_COMMAND, 4, (uint32_t)DT_IRQ);
}

static void msix_by_eventfd(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int a = eventfd_make(), b = eventfd_make();

	assert_int_equal(client_irqs(c, EVENTFD | TRIGGER, MSIX, 0, 1, &a, 1),
			 0);
	fire(c);
	fire(c);
	assert_int_equal(eventfd_take(a, 1000), 2);
	/* replaced */
	assert_int_equal(client_irqs(c, EVENTFD | TRIGGER, MSIX, 0, 1, &b, 1),
			 0);
	fire(c);
	assert_int_equal(eventfd_take(b, 1000), 1);
	assert_int_equal(eventfd_take(a, 0), 0);
	/* fired by hand */
	assert_int_equal(client_irqs(c, NONE | TRIGGER, MSIX, 0, 1, NULL, 0),
			 0);
	assert_int_equal(eventfd_take(b, 1000), 1);
	/* taken away: pending, and in the PBA, until there is one again */
	client_set_reg(c, CONFIG, 0x48 + PCI_MSIX_FLAGS, 2,
		       PCI_MSIX_FLAGS_ENABLE);
	assert_int_equal(client_irqs(c, EVENTFD | TRIGGER, MSIX, 0, 1, NULL, 0),
			 0);
	assert_int_equal(client_reg(c, 2, 0x800, 8), 0);
	fire(c);
	assert_int_equal(client_reg(c, 2, 0x800, 8), 1);
	assert_int_equal(eventfd_take(b, 0), 0);
	assert_int_equal(client_irqs(c, EVENTFD | TRIGGER, MSIX, 0, 1, &a, 1),
			 0);
	assert_int_equal(eventfd_take(a, 1000), 1);
	assert_int_equal(client_reg(c, 2, 0x800, 8), 0);
	/* disabled altogether */
	assert_int_equal(client_irqs(c, NONE | TRIGGER, MSIX, 0, 0, NULL, 0),
			 0);
	fire(c);
	assert_int_equal(eventfd_take(a, 0), 0);
	assert_int_equal(served_stats(s).interrupts, 5);
	close(a);
	close(b);
	client_close(c);
}

static void msi_by_eventfd(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int a = eventfd_make();

	assert_int_equal(client_irqs(c, EVENTFD | TRIGGER, MSI, 0, 1, &a, 1),
			 0);
	fire(c);
	assert_int_equal(eventfd_take(a, 1000), 1);
	/* errors and requests: accepted, never fired */
	assert_int_equal(client_irqs(c, EVENTFD | TRIGGER, 3, 0, 1, &a, 1), 0);
	assert_int_equal(client_irqs(c, EVENTFD | TRIGGER, 4, 0, 1, &a, 1), 0);
	fire(c);
	assert_int_equal(eventfd_take(a, 1000), 1);
	close(a);
	client_close(c);
}

/* A level shown by edges: one, until the client unmasks. */
static void intx_is_automasked(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	const uint32_t unmask = VFIO_IRQ_SET_ACTION_UNMASK;
	const uint32_t mask = VFIO_IRQ_SET_ACTION_MASK;
	int a = eventfd_make(), u = eventfd_make();
	uint8_t body[sizeof(struct vu_set_irqs) + 1];
	struct vu_set_irqs q = { sizeof(q), BOOL | unmask, INTX, 0, 1 };

	assert_int_equal(client_irqs(c, EVENTFD | TRIGGER, INTX, 0, 1, &a, 1),
			 0);
	fire(c);
	assert_int_equal(eventfd_take(a, 1000), 1);
	assert_int_equal(client_reg(c, CONFIG, PCI_STATUS, 2) &
				 PCI_STATUS_INTERRUPT,
			 PCI_STATUS_INTERRUPT);
	fire(c);
	assert_int_equal(eventfd_take(a, 0), 0);
	/* still asserted */
	assert_int_equal(client_irqs(c, NONE | unmask, INTX, 0, 1, NULL, 0), 0);
	assert_int_equal(eventfd_take(a, 1000), 1);
	/* no more: the status register was read */
	(void)client_reg(c, 0, DT_STATUS, 4);
	assert_int_equal(
		client_reg(c, CONFIG, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	assert_int_equal(client_irqs(c, NONE | unmask, INTX, 0, 1, NULL, 0), 0);
	assert_int_equal(eventfd_take(a, 20), 0);
	/* masked by the client; a BOOL of 0 does nothing */
	assert_int_equal(client_irqs(c, NONE | mask, INTX, 0, 1, NULL, 0), 0);
	fire(c);
	assert_int_equal(eventfd_take(a, 0), 0);
	memcpy(body, &q, sizeof(q));
	body[sizeof(q)] = 0;
	assert_int_equal(client_call(c, VU_SET_IRQS, body, sizeof(body)), 0);
	assert_int_equal(eventfd_take(a, 0), 0);
	body[sizeof(q)] = 1;
	assert_int_equal(client_call(c, VU_SET_IRQS, body, sizeof(body)), 0);
	assert_int_equal(eventfd_take(a, 1000), 1);
	assert_int_equal(client_call(c, VU_SET_IRQS, body, sizeof(q)), -EINVAL);
	/* unmasked by an eventfd */
	assert_int_equal(client_irqs(c, EVENTFD | unmask, INTX, 0, 1, &u, 1),
			 0);
	assert_int_equal(write(u, &(uint64_t){ 1 }, 8), 8);
	assert_int_equal(eventfd_take(a, 1000), 1);
	assert_int_equal(client_irqs(c, EVENTFD | unmask, INTX, 0, 1, NULL, 0),
			 0);
	assert_int_equal(write(u, &(uint64_t){ 1 }, 8), 8);
	assert_int_equal(eventfd_take(a, 20), 0);
	/* off by the command register, on again */
	(void)client_reg(c, 0, DT_STATUS, 4);
	assert_int_equal(client_irqs(c, NONE | unmask, INTX, 0, 1, NULL, 0), 0);
	client_set_reg(c, CONFIG, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	fire(c);
	assert_int_equal(eventfd_take(a, 20), 0);
	client_set_reg(c, CONFIG, PCI_COMMAND, 2, 0);
	assert_int_equal(eventfd_take(a, 1000), 1);
	close(a);
	close(u);
	client_close(c);
}

/* A level that was up when the client went is up for the next. */
static void intx_survives_a_reconnect(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int a = eventfd_make();

	assert_int_equal(client_irqs(c, EVENTFD | TRIGGER, INTX, 0, 1, &a, 1),
			 0);
	fire(c);
	assert_int_equal(eventfd_take(a, 1000), 1);
	client_close(c);
	c = served_client(s);
	fire(c);
	assert_int_equal(eventfd_take(a, 20), 0);
	assert_int_equal(client_irqs(c, EVENTFD | TRIGGER, INTX, 0, 1, &a, 1),
			 0);
	assert_int_equal(eventfd_take(a, 1000), 1);
	close(a);
	client_close(c);
}

static void bad_irqs(void **state)
{
	struct served *s = *state;
	struct client *c = served_client(s);
	int a = eventfd_make(), two[2] = { a, a };
	const uint32_t unmask = VFIO_IRQ_SET_ACTION_UNMASK;
	const struct {
		uint32_t flags, index, start, count;
		unsigned nfds;
	} cases[] = {
		{ EVENTFD | TRIGGER, 5, 0, 1, 1 },
		{ EVENTFD | TRIGGER, MSIX, 1, 1, 1 },
		{ EVENTFD | TRIGGER, MSIX, 0, 2, 2 },
		{ EVENTFD | TRIGGER, MSIX, 0, 1, 2 },
		{ EVENTFD | TRIGGER, MSIX, UINT32_MAX, 2, 2 },
		{ EVENTFD | TRIGGER, MSIX, 1, UINT32_MAX, 1 },
		{ EVENTFD | TRIGGER, MSIX, 0, 0, 0 },
		{ EVENTFD, MSIX, 0, 1, 1 },
		{ TRIGGER, MSIX, 0, 1, 1 },
		{ EVENTFD | NONE | TRIGGER, MSIX, 0, 1, 1 },
		{ EVENTFD | unmask | TRIGGER, MSIX, 0, 1, 1 },
		{ EVENTFD | TRIGGER | 64, MSIX, 0, 1, 1 },
		{ NONE | TRIGGER, MSIX, 0, 1, 1 },
		{ NONE | TRIGGER, MSIX, 1, 0, 0 },
		{ NONE | unmask, MSIX, 0, 0, 0 },
		{ BOOL | TRIGGER, MSIX, 0, 1, 0 },
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(client_irqs(c, cases[i].flags, cases[i].index,
					     cases[i].start, cases[i].count,
					     two, cases[i].nfds),
				 -EINVAL);
	assert_int_equal(client_irqs(c, EVENTFD | unmask, MSIX, 0, 1, two, 1),
			 -EOPNOTSUPP);
	fire(c);
	assert_int_equal(eventfd_take(a, 20), 0);
	close(a);
	client_close(c);
}

#define TEST(fn) \
	cmocka_unit_test_setup_teardown(fn, served_setup, served_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(msix_by_eventfd),	  TEST(msi_by_eventfd),
		TEST(intx_is_automasked), TEST(intx_survives_a_reconnect),
		TEST(bad_irqs),
	};

	return cmocka_run_group_tests_name("vfio_user_irq", tests, NULL, NULL);
}
