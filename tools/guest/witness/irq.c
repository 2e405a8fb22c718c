/* SPDX-License-Identifier: BSD-2-Clause */
#include "irq.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "control.h"
#include "iova.h"
#include "say.h"
#include "vfio.h"

#define IRQ_TIMEOUT_MS 3000

/* Gives vector 0 of an interrupt kind an eventfd, or disables the kind. */
static bool irq_set(uint32_t index, int fd)
{
	_Alignas(8) unsigned char buf[sizeof(struct vfio_irq_set) + sizeof(fd)];
	struct vfio_irq_set set = {
		.argsz = sizeof(buf),
		.flags =
			VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = index,
		.count = 1,
	};

	if (fd < 0) {
		set.argsz = sizeof(set);
		set.flags =
			VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
		set.count = 0;
	}
	memcpy(buf, &set, sizeof(set));
	memcpy(buf + sizeof(set), &fd, sizeof(fd));
	return ioctl(vfio.fd, VFIO_DEVICE_SET_IRQS, buf) == 0;
}

static void control_irq(const char *name, uint32_t index)
{
	struct outcome o = { 0 };
	struct pollfd p = { .events = POLLIN };
	uint64_t n;
	bool ok = false, ready = false;

	p.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p.fd < 0)
		die("eventfd: %s", strerror(errno));
	if (!irq_set(index, p.fd)) {
		note("%s: enabling it: %s", name, strerror(errno));
	} else {
		/*
		 * No register is touched until it arrives: a VMM takes any
		 * access for the driver's acknowledgement of INTx.
		 */
		command_start(CMD_LOAD | CMD_INTERRUPT, base + AT_RW * page, 8,
			      0);
		ok = poll(&p, 1, IRQ_TIMEOUT_MS) == 1 &&
		     read(p.fd, &n, sizeof(n)) == sizeof(n);
		ready = reg_read(REG_STATUS) == STATUS_DONE;
		o = command_wait();
		if (!ok)
			note("%s: no interrupt in %d ms", name, IRQ_TIMEOUT_MS);
		if (!irq_set(index, -1))
			note("%s: disabling it: %s", name, strerror(errno));
	}
	close(p.fd);
	control(name, ok && ready && is_done(o), o);
}

static bool listed(const char *list, const char *name)
{
	size_t len = strlen(name), n;

	for (; *list; list += n + (list[n] == ',')) {
		n = strcspn(list, ",");
		if (n == len && !strncmp(list, name, n))
			return true;
	}
	return false;
}

void run_interrupts(const char *list)
{
	if (listed(list, "msix"))
		control_irq("msix", VFIO_PCI_MSIX_IRQ_INDEX);
	if (listed(list, "msi"))
		control_irq("msi", VFIO_PCI_MSI_IRQ_INDEX);
	if (listed(list, "intx"))
		control_irq("intx", VFIO_PCI_INTX_IRQ_INDEX);
}

void irq_info(void)
{
	static const char *const names[] = { "intx", "msi", "msix" };
	uint32_t i;

	for (i = 0; i < 3; i++) {
		struct vfio_irq_info info = {
			.argsz = sizeof(info),
			.index = i,
		};

		if (ioctl(vfio.fd, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0)
			die("interrupt info %u: %s", i, strerror(errno));
		note("%s: %u vectors", names[i], info.count);
	}
}
