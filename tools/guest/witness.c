/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * witness - runs in the guest and lets the dmatest device (docs/dmatest.md)
 * misbehave, through nothing but the guest kernel's own VFIO.
 *
 * Controls show that good DMA works, so that a refusal means something.
 * Attacks are accesses the device has no right to: each must come back as
 * refused, with the right error, and not one byte of the arena may change.
 * The live map shows that an unmap waits for the access it races with.
 *
 * All memory the device is ever given lies in the arena: 2 MiB, physically
 * contiguous where the kernel has a huge page, so that an access that strays
 * past a mapping's edge lands on bytes that are watched. A copy of what the
 * arena should hold is kept beside it and compared after every access.
 *
 * Single-threaded; nothing blocks without a bound but a system call that the
 * kernel itself hangs in, and for that there is an alarm.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#define DMATEST_ID_VALUE 0x54444956u

enum dmatest_reg {
	REG_ID = 0x00,
	REG_VERSION = 0x04,
	REG_IOVA = 0x08,
	REG_LEN = 0x10,
	REG_PATTERN = 0x18,
	REG_COMMAND = 0x20,
	REG_STATUS = 0x24,
	REG_ERROR = 0x28,
	REG_HELD = 0x2c,
	REG_RESULT = 0x30,
	REG_DELAY = 0x38,
	REG_COMPARE = 0x40,
};

enum dmatest_command {
	CMD_READ = 1,
	CMD_WRITE = 2,
	CMD_HOLD = 3,
	CMD_LOAD = 4,
	CMD_STORE = 5,
	CMD_CAS = 6,
};

#define CMD_INTERRUPT (1u << 31)

enum dmatest_status {
	STATUS_BUSY = 1,
	STATUS_DONE = 2,
	STATUS_REFUSED = 3,
};

#define ARENA_LEN	   (2u << 20)
#define MAX_ACCESS	   (1u << 20)
#define COMMAND_TIMEOUT_US 5000000
#define IRQ_TIMEOUT_MS	   3000
#define HOLD_US		   20000
#define SETTLE_US	   50000
#define RUN_TIMEOUT_S	   170

/*
 * The guest's virtio-iommu driver prints 10 faults in 5 s and swallows the
 * rest. We stay one below, so that every refusal shows up in its log.
 */
#define FAULT_BURST	9
#define FAULT_WINDOW_US 5500000

/* Where things are, in pages from the IOVA base and from the arena's start. */
enum {
	AT_RW = 16, /* two pages in one mapping, holes around it */
	AT_RO = 32,
	AT_WO = 48,
	AT_BRIEF = 64, /* mapped and unmapped during the run */
	AT_SEAM = 80,  /* a writable page, then a read-only one */
	AT_LIVE = 96,
	AT_NOWHERE = 112, /* never mapped */
	SPAN = 128,
};

struct function {
	char bdf[32];
	unsigned int vendor, device;
	int container, group, fd;
	uint64_t bar0, config; /* offsets on fd */
};

struct outcome {
	uint32_t status, error;
	uint64_t result;
};

struct attack {
	const char *name;
	enum dmatest_command command;
	uint64_t iova, len;
	uint32_t error; /* the one right answer */
};

static struct function dev = {
	.vendor = 0x1234,
	.device = 0xda7e,
	.container = -1,
	.group = -1,
	.fd = -1,
};
static unsigned char *arena, *expected;
static uint64_t page, base;
static unsigned int attacks, refused, controls, controls_ok, faults;
static unsigned int burst;
static uint64_t burst_start;

static void die(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

static void die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "witness: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	exit(1);
}

static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void note(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "witness: ");
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
}

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void sleep_us(uint64_t us)
{
	struct timespec t = {
		.tv_sec = (time_t)(us / 1000000),
		.tv_nsec = (long)(us % 1000000) * 1000,
	};

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

/* ---------------------------------------------------------------- sysfs */

static bool sysfs_read(const char *path, char *text, size_t size)
{
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	n = read(fd, text, size - 1);
	close(fd);
	if (n < 0)
		return false;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return true;
}

static void sysfs_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		die("open %s: %s", path, strerror(errno));
	if (write(fd, text, strlen(text)) < 0)
		die("write \"%s\" to %s: %s", text, path, strerror(errno));
	close(fd);
}

/* The last component of what a link of the function points to, or "". */
static void sysfs_link(const char *name, char *text, size_t size)
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t n;
	const char *last;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", dev.bdf,
		 name);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0) {
		text[0] = '\0';
		return;
	}
	target[n] = '\0';
	last = strrchr(target, '/');
	last = last ? last + 1 : target;
	if (strlen(last) >= size)
		die("%s: a name too long: %s", path, last);
	strcpy(text, last);
}

static unsigned int pci_id(const char *bdf, const char *name)
{
	char path[PATH_MAX], text[32];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", bdf, name);
	if (!sysfs_read(path, text, sizeof(text)))
		return 0;
	return (unsigned int)strtoul(text, NULL, 16);
}

static void function_find(void)
{
	struct dirent *entry;
	DIR *dir = opendir("/sys/bus/pci/devices");

	if (!dir)
		die("open /sys/bus/pci/devices: %s", strerror(errno));
	while ((entry = readdir(dir))) {
		if (pci_id(entry->d_name, "vendor") == dev.vendor &&
		    pci_id(entry->d_name, "device") == dev.device)
			snprintf(dev.bdf, sizeof(dev.bdf), "%.31s",
				 entry->d_name);
	}
	closedir(dir);
	if (!dev.bdf[0])
		die("this guest has no PCI function %04x:%04x", dev.vendor,
		    dev.device);
}

/* Gives the function to vfio-pci, taking it from whoever has it. */
static void function_bind(void)
{
	char path[PATH_MAX], driver[64];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override",
		 dev.bdf);
	sysfs_write(path, "vfio-pci");
	sysfs_link("driver", driver, sizeof(driver));
	if (driver[0] && strcmp(driver, "vfio-pci")) {
		snprintf(path, sizeof(path),
			 "/sys/bus/pci/devices/%s/driver/unbind", dev.bdf);
		sysfs_write(path, dev.bdf);
	}
	if (strcmp(driver, "vfio-pci"))
		sysfs_write("/sys/bus/pci/drivers_probe", dev.bdf);
	sysfs_link("driver", driver, sizeof(driver));
	if (strcmp(driver, "vfio-pci"))
		die("%s is bound to \"%s\" instead of vfio-pci", dev.bdf,
		    driver);
}

/* ----------------------------------------------------------------- VFIO */

static void container_open(void)
{
	char group[64], path[128];
	struct vfio_group_status status = { .argsz = sizeof(status) };

	sysfs_link("iommu_group", group, sizeof(group));
	if (!group[0])
		die("%s is in no IOMMU group: no IOMMU in front of it",
		    dev.bdf);
	dev.container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (dev.container < 0)
		die("open /dev/vfio/vfio: %s", strerror(errno));
	if (ioctl(dev.container, VFIO_GET_API_VERSION) != VFIO_API_VERSION)
		die("VFIO of another version than %d", VFIO_API_VERSION);
	if (ioctl(dev.container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) <= 0)
		die("VFIO has no type1v2: is vfio_iommu_type1 loaded?");

	snprintf(path, sizeof(path), "/dev/vfio/%s", group);
	dev.group = open(path, O_RDWR | O_CLOEXEC);
	if (dev.group < 0)
		die("open %s: %s", path, strerror(errno));
	if (ioctl(dev.group, VFIO_GROUP_GET_STATUS, &status) < 0)
		die("status of %s: %s", path, strerror(errno));
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		die("group %s is not viable: it has other bound functions",
		    group);
	if (ioctl(dev.group, VFIO_GROUP_SET_CONTAINER, &dev.container) < 0)
		die("set container of group %s: %s", group, strerror(errno));
	if (ioctl(dev.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
		die("set type1v2: %s%s", strerror(errno),
		    errno == EPERM ? " (set allow_unsafe_interrupts=1 of "
				     "vfio_iommu_type1)"
				   : "");
	dev.fd = ioctl(dev.group, VFIO_GROUP_GET_DEVICE_FD, dev.bdf);
	if (dev.fd < 0)
		die("get the device %s: %s", dev.bdf, strerror(errno));
}

static uint64_t region_offset(uint32_t index, uint64_t least)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = index,
	};

	if (ioctl(dev.fd, VFIO_DEVICE_GET_REGION_INFO, &info) < 0)
		die("region %u: %s", index, strerror(errno));
	if (info.size < least)
		die("region %u has %llu bytes, want %llu", index,
		    (unsigned long long)info.size, (unsigned long long)least);
	return info.offset;
}

/* Memory space and bus mastering on, legacy interrupts not disabled. */
static void function_enable(void)
{
	uint16_t command;
	off_t at;

	dev.config = region_offset(VFIO_PCI_CONFIG_REGION_INDEX, 64);
	at = (off_t)dev.config + PCI_COMMAND;
	if (pread(dev.fd, &command, 2, at) != 2)
		die("read the PCI command register: %s", strerror(errno));
	command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	command &= (uint16_t)~PCI_COMMAND_INTX_DISABLE;
	if (pwrite(dev.fd, &command, 2, at) != 2)
		die("write the PCI command register: %s", strerror(errno));
}

/*
 * Chooses the page size and the IOVA base: 1 GiB if the IOMMU lets us, clear
 * of the MSI windows; else the first range that has room.
 */
static void iova_choose(void)
{
	static _Alignas(8) char buf[4096];
	struct vfio_iommu_type1_info *info = (void *)buf;
	struct vfio_iommu_type1_info_cap_iova_range *cap;
	struct vfio_info_cap_header *header;
	uint64_t len, first = 0;
	uint32_t at, i;

	info->argsz = sizeof(buf);
	if (ioctl(dev.container, VFIO_IOMMU_GET_INFO, info) < 0)
		die("IOMMU info: %s", strerror(errno));
	page = (uint64_t)sysconf(_SC_PAGESIZE);
	if (info->flags & VFIO_IOMMU_INFO_PGSIZES && info->iova_pgsizes) {
		uint64_t least = info->iova_pgsizes & -info->iova_pgsizes;

		if (least > page)
			page = least;
	}
	len = SPAN * page;
	if (len > ARENA_LEN)
		die("the IOMMU's smallest page, %llu bytes, is too large",
		    (unsigned long long)page);

	base = 1u << 30;
	if (!(info->flags & VFIO_IOMMU_INFO_CAPS) || info->argsz > sizeof(buf))
		return;
	for (at = info->cap_offset; at; at = header->next) {
		header = (void *)(buf + at);
		if (header->id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			continue;
		cap = (void *)header;
		for (i = 0; i < cap->nr_iovas; i++) {
			uint64_t start = cap->iova_ranges[i].start;
			uint64_t last = cap->iova_ranges[i].end;

			note("usable IOVAs: 0x%llx-0x%llx",
			     (unsigned long long)start,
			     (unsigned long long)last);
			if (start <= base && base + len - 1 <= last)
				return;
			start = (start + page - 1) / page * page;
			if (!first && start && start <= last &&
			    last - start >= len)
				first = start;
		}
		if (!first)
			die("no usable range of 0x%llx IOVAs",
			    (unsigned long long)len);
		base = first;
	}
}

static void map(uint64_t at, uint64_t pages, uint64_t from, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m),
		.flags = flags,
		.vaddr = (uintptr_t)(arena + from * page),
		.iova = base + at * page,
		.size = pages * page,
	};

	if (ioctl(dev.container, VFIO_IOMMU_MAP_DMA, &m) < 0)
		die("map 0x%llx: %s", (unsigned long long)m.iova,
		    strerror(errno));
}

/* Returns how long the kernel, and the IOMMU behind it, took. */
static uint64_t unmap(uint64_t at, uint64_t pages)
{
	struct vfio_iommu_type1_dma_unmap u = {
		.argsz = sizeof(u),
		.iova = base + at * page,
		.size = pages * page,
	};
	uint64_t start = now_us();

	if (ioctl(dev.container, VFIO_IOMMU_UNMAP_DMA, &u) < 0)
		die("unmap 0x%llx: %s", (unsigned long long)u.iova,
		    strerror(errno));
	if (u.size != pages * page)
		die("unmap 0x%llx: %llu bytes instead of %llu",
		    (unsigned long long)u.iova, (unsigned long long)u.size,
		    (unsigned long long)(pages * page));
	return now_us() - start;
}

/* -------------------------------------------------------------- dmatest */

static uint32_t reg_read(enum dmatest_reg reg)
{
	uint32_t v;

	if (pread(dev.fd, &v, 4, (off_t)dev.bar0 + reg) != 4)
		die("read register 0x%x: %s", reg, strerror(errno));
	return v;
}

static void reg_write(enum dmatest_reg reg, uint32_t v)
{
	if (pwrite(dev.fd, &v, 4, (off_t)dev.bar0 + reg) != 4)
		die("write register 0x%x: %s", reg, strerror(errno));
}

static void reg_write64(enum dmatest_reg reg, uint64_t v)
{
	reg_write(reg, (uint32_t)v);
	reg_write(reg + 4, (uint32_t)(v >> 32));
}

static uint64_t reg_read64(enum dmatest_reg reg)
{
	uint64_t low = reg_read(reg);

	return low | (uint64_t)reg_read(reg + 4) << 32;
}

static void command_start(uint32_t command, uint64_t iova, uint64_t len,
			  uint64_t pattern)
{
	reg_write64(REG_IOVA, iova);
	reg_write64(REG_LEN, len);
	reg_write64(REG_PATTERN, pattern);
	reg_write(REG_COMMAND, command);
}

static struct outcome command_wait(void)
{
	uint64_t start = now_us();
	struct outcome o;

	while ((o.status = reg_read(REG_STATUS)) == STATUS_BUSY) {
		if (now_us() - start > COMMAND_TIMEOUT_US)
			die("the device is still busy after %d s",
			    COMMAND_TIMEOUT_US / 1000000);
		sleep_us(200);
	}
	o.error = reg_read(REG_ERROR);
	o.result = reg_read64(REG_RESULT);
	return o;
}

static struct outcome command_run(uint32_t command, uint64_t iova, uint64_t len,
				  uint64_t pattern)
{
	command_start(command, iova, len, pattern);
	return command_wait();
}

static bool is_done(struct outcome o)
{
	return o.status == STATUS_DONE && !o.error;
}

/* ---------------------------------------------------------------- arena */

/*
 * Whether the arena's neighbours are neighbours for the device too. If not,
 * the test is only weaker: what strays past an edge lands elsewhere.
 */
static bool arena_contiguous(void)
{
	const uint64_t own = (uint64_t)sysconf(_SC_PAGESIZE);
	const uint64_t pfn_mask = (1ull << 55) - 1;
	uint64_t first = 0, entry, i;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return false;
	for (i = 0; i < ARENA_LEN / own; i++) {
		off_t at = (off_t)(((uintptr_t)arena / own + i) * 8);

		if (pread(fd, &entry, 8, at) != 8)
			break;
		if (!i)
			first = entry & pfn_mask;
		if ((entry & pfn_mask) != first + i || !first)
			break;
	}
	close(fd);
	return i == ARENA_LEN / own;
}

static void arena_create(void)
{
	/* Twice the room, to have the arena on a huge page's boundary. */
	unsigned char *p = mmap(NULL, 2 * ARENA_LEN, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t i, x = 1;

	if (p == MAP_FAILED)
		die("no memory for the arena: %s", strerror(errno));
	arena = p + (-(uintptr_t)p & (ARENA_LEN - 1));
	madvise(arena, ARENA_LEN, MADV_HUGEPAGE);
	expected = malloc(ARENA_LEN);
	if (!expected)
		die("no memory for the arena's copy");
	/* Canaries: no byte tells the next, no page equals another. */
	for (i = 0; i < ARENA_LEN; i++) {
		x ^= x << 13;
		x ^= x >> 17;
		x ^= x << 5;
		arena[i] = (unsigned char)(x >> 8);
	}
	memcpy(expected, arena, ARENA_LEN);
	if (!arena_contiguous())
		note("the arena is not physically contiguous");
}

/* Whether the arena is as expected; else says where, and accepts it. */
static bool arena_intact(const char *who)
{
	size_t i;

	if (!memcmp(arena, expected, ARENA_LEN))
		return true;
	for (i = 0; arena[i] == expected[i]; i++)
		;
	note("%s: memory changed, first at page %llu offset 0x%llx (it is "
	     "0x%02x, was 0x%02x)",
	     who, (unsigned long long)(i / page),
	     (unsigned long long)(i % page), arena[i], expected[i]);
	memcpy(expected, arena, ARENA_LEN);
	return false;
}

/* What a WRITE, HOLD or STORE of @pattern leaves at page @at + @offset. */
static void expect_pattern(uint64_t at, uint64_t offset, uint64_t len,
			   uint64_t pattern)
{
	unsigned char *p = expected + at * page + offset;
	uint64_t i;

	for (i = 0; i < len; i++)
		p[i] = (unsigned char)(pattern >> (i % 8 * 8));
}

static uint64_t expected_word(uint64_t at, uint64_t offset, uint64_t len)
{
	uint64_t v = 0;

	memcpy(&v, expected + at * page + offset, len);
	return v;
}

static uint64_t fnv1a(const unsigned char *p, uint64_t len)
{
	uint64_t hash = 0xcbf29ce484222325u;

	while (len--) {
		hash ^= *p++;
		hash *= 0x100000001b3u;
	}
	return hash;
}

/* ------------------------------------------------------------- controls */

static void control(const char *name, bool ok, struct outcome o)
{
	bool intact = arena_intact(name);

	controls++;
	if (ok && intact) {
		controls_ok++;
		printf("control name=%s ok=1\n", name);
	} else {
		printf("control name=%s ok=0 status=%u error=%u intact=%d\n",
		       name, o.status, o.error, intact);
	}
}

static void control_read(const char *name, uint64_t at, uint64_t offset,
			 uint64_t len)
{
	struct outcome o =
		command_run(CMD_READ, base + at * page + offset, len, 0);

	control(name,
		is_done(o) &&
			o.result == fnv1a(expected + at * page + offset, len),
		o);
}

static void control_write(const char *name, uint64_t at, uint64_t offset,
			  uint64_t len)
{
	const uint64_t pattern = 0x8877665544332211u;
	struct outcome o =
		command_run(CMD_WRITE, base + at * page + offset, len, pattern);

	expect_pattern(at, offset, len, pattern);
	control(name, is_done(o), o);
}

static void control_words(void)
{
	const uint64_t pattern = 0x0123456789abcdefu;
	struct outcome o;
	char name[32];
	uint64_t len, offset;

	for (len = 1; len <= 8; len *= 2) {
		offset = page + 64 + 8 * len;
		o = command_run(CMD_LOAD, base + AT_RW * page + offset, len, 0);
		snprintf(name, sizeof(name), "load%u", (unsigned int)len);
		control(name,
			is_done(o) &&
				o.result == expected_word(AT_RW, offset, len),
			o);
		o = command_run(CMD_STORE, base + AT_RW * page + offset, len,
				pattern);
		expect_pattern(AT_RW, offset, len, pattern);
		snprintf(name, sizeof(name), "store%u", (unsigned int)len);
		control(name, is_done(o), o);
	}
}

static void control_cas(void)
{
	const uint64_t pattern = 0xfedcba9876543210u;
	struct outcome o;
	char name[32];
	uint64_t len, old;

	for (len = 4; len <= 8; len += 4) {
		old = expected_word(AT_RW, 256, len);
		reg_write64(REG_COMPARE, old ^ 1);
		o = command_run(CMD_CAS, base + AT_RW * page + 256, len,
				pattern);
		snprintf(name, sizeof(name), "cas%u-differs",
			 (unsigned int)len);
		control(name, is_done(o) && o.result == old, o);

		reg_write64(REG_COMPARE, old);
		o = command_run(CMD_CAS, base + AT_RW * page + 256, len,
				pattern);
		expect_pattern(AT_RW, 256, len, pattern);
		snprintf(name, sizeof(name), "cas%u", (unsigned int)len);
		control(name, is_done(o) && o.result == old, o);
	}
}

/* The same IOVA, first one page and then another: no stale translation. */
static void control_remap(void)
{
	map(AT_BRIEF, 1, AT_BRIEF, VFIO_DMA_MAP_FLAG_READ);
	control_read("map-read", AT_BRIEF, 0, page);
	unmap(AT_BRIEF, 1);

	map(AT_BRIEF, 1, AT_BRIEF + 2, VFIO_DMA_MAP_FLAG_READ);
	struct outcome o =
		command_run(CMD_READ, base + AT_BRIEF * page, page, 0);
	control("remap-read",
		is_done(o) &&
			o.result ==
				fnv1a(expected + (AT_BRIEF + 2) * page, page),
		o);
	unmap(AT_BRIEF, 1);
}

static void control_hold(void)
{
	const uint64_t pattern = 0x1122334455667788u;
	struct outcome o;

	reg_write(REG_DELAY, 1000);
	o = command_run(CMD_HOLD, base + AT_RW * page + 512, 512, pattern);
	expect_pattern(AT_RW, 512, 512, pattern);
	control("hold", is_done(o) && !reg_read(REG_HELD), o);
}

static void control_too_long(void)
{
	struct outcome o =
		command_run(CMD_READ, base + AT_RW * page, MAX_ACCESS + 1, 0);

	control("too-long", o.status == STATUS_REFUSED && o.error == E2BIG, o);
}

static void run_controls(void)
{
	struct outcome none = { 0 };

	control("id", reg_read(REG_ID) == DMATEST_ID_VALUE, none);
	control("version", reg_read(REG_VERSION) == 1, none);
	control_read("read", AT_RW, 0, page);
	control_read("read-two-pages", AT_RW, 0, 2 * page);
	control_read("read-last-byte", AT_RW, 2 * page - 1, 1);
	control_read("readonly-read", AT_RO, 0, page);
	control_write("write", AT_RW, 3, 100);
	control_write("write-across-pages", AT_RW, page - 10, 20);
	control_write("write-last-byte", AT_RW, 2 * page - 1, 1);
	control_write("writeonly-write", AT_WO, 0, page);
	control_words();
	control_cas();
	control_remap();
	control_hold();
	control_too_long();
}

/* ----------------------------------------------------------- interrupts */

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
	return ioctl(dev.fd, VFIO_DEVICE_SET_IRQS, buf) == 0;
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

static void run_interrupts(const char *list)
{
	if (listed(list, "msix"))
		control_irq("msix", VFIO_PCI_MSIX_IRQ_INDEX);
	if (listed(list, "msi"))
		control_irq("msi", VFIO_PCI_MSI_IRQ_INDEX);
	if (listed(list, "intx"))
		control_irq("intx", VFIO_PCI_INTX_IRQ_INDEX);
}

/* -------------------------------------------------------------- attacks */

static void pace(void)
{
	uint64_t gone;

	if (burst >= FAULT_BURST) {
		gone = now_us() - burst_start;
		if (gone < FAULT_WINDOW_US)
			sleep_us(FAULT_WINDOW_US - gone);
		burst = 0;
	}
	if (!burst++)
		burst_start = now_us();
}

/* Whether a read that was refused has told what is there all the same. */
static bool leaked(const struct attack *a, struct outcome o)
{
	const uint64_t at = a->iova - base;

	return a->command == CMD_READ && at < SPAN * page &&
	       o.result == fnv1a(expected + at, a->len);
}

/*
 * A good access first: it leaves STATUS "done", so that "refused" is this
 * attack's answer and not the last one's.
 */
static void attack(const struct attack *a)
{
	const uint64_t pattern = 0xa5a5a5a5deadbeefu;
	struct outcome before, o;
	bool intact, ok;

	pace();
	before = command_run(CMD_LOAD, base + AT_RW * page, 8, 0);
	if (a->command == CMD_CAS)
		/* What is really there: only the IOMMU is in its way. */
		reg_write64(REG_COMPARE,
			    expected_word((a->iova - base) / page,
					  (a->iova - base) % page, a->len));
	if (a->command == CMD_HOLD)
		reg_write(REG_DELAY, 100);
	o = command_run(a->command, a->iova, a->len, pattern);
	intact = arena_intact(a->name);

	ok = is_done(before) && intact && o.status == STATUS_REFUSED &&
	     o.error == a->error && !leaked(a, o);
	if (o.status == STATUS_REFUSED &&
	    (o.error == EFAULT || o.error == EACCES))
		faults++;
	attacks++;
	refused += ok;
	printf("attack name=%s refused=%d error=%u", a->name, ok, o.error);
	if (!ok)
		printf(" want=%u status=%u intact=%d leaked=%d alive=%d",
		       a->error, o.status, intact, leaked(a, o),
		       is_done(before));
	printf("\n");
}

static void run_attacks(void)
{
	const uint64_t rw = base + AT_RW * page, ro = base + AT_RO * page;
	const uint64_t past = rw + 2 * page, none = base + AT_NOWHERE * page;
	const uint64_t wo = base + AT_WO * page, top = -(uint64_t)16;
	const uint64_t seam = base + (AT_SEAM + 1) * page;
	const struct attack list[] = {
		{ "unmapped-read", CMD_READ, none, 64, EFAULT },
		{ "unmapped-write", CMD_WRITE, none, 64, EFAULT },
		{ "unmapped-store", CMD_STORE, none, 8, EFAULT },
		{ "unmapped-cas", CMD_CAS, none, 8, EFAULT },
		{ "unmapped-hold", CMD_HOLD, none, 64, EFAULT },
		{ "readonly-write", CMD_WRITE, ro, 64, EACCES },
		{ "readonly-store", CMD_STORE, ro, 8, EACCES },
		{ "readonly-cas", CMD_CAS, ro, 8, EACCES },
		{ "readonly-hold", CMD_HOLD, ro, 64, EACCES },
		{ "wrap-read", CMD_READ, top, 32, EFAULT },
		{ "wrap-write", CMD_WRITE, top, 32, EFAULT },
		{ "writeonly-read", CMD_READ, wo, 64, EACCES },
		{ "edge-read-across", CMD_READ, past - 16, 32, EFAULT },
		{ "edge-write-across", CMD_WRITE, past - 16, 32, EFAULT },
		{ "edge-read-past", CMD_READ, past, 1, EFAULT },
		{ "edge-write-past", CMD_WRITE, past, 1, EFAULT },
		{ "edge-write-before", CMD_WRITE, rw - 16, 32, EFAULT },
		{ "seam-write-into-readonly", CMD_WRITE, seam - 16, 32,
		  EACCES },
	};
	size_t i;

	for (i = 0; i < sizeof(list) / sizeof(list[0]); i++)
		attack(&list[i]);
}

/* A page that was the device's a moment ago, and is not any more. */
static void run_attacks_after_unmap(void)
{
	const uint64_t iova = base + AT_BRIEF * page;
	const struct attack read = {
		"after-unmap-read", CMD_READ, iova, page, EFAULT,
	};
	const struct attack write = {
		"after-unmap-write", CMD_WRITE, iova, page, EFAULT,
	};

	map(AT_BRIEF, 1, AT_BRIEF,
	    VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
	control_read("before-unmap-read", AT_BRIEF, 0, page);
	unmap(AT_BRIEF, 1);
	attack(&read);

	map(AT_BRIEF, 1, AT_BRIEF,
	    VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
	control_write("before-unmap-write", AT_BRIEF, 0, page);
	unmap(AT_BRIEF, 1);
	attack(&write);
}

/* ------------------------------------------------------------- live map */

static bool page_has(uint64_t at, uint64_t pattern)
{
	uint64_t i;

	for (i = 0; i < page; i++)
		if (arena[at * page + i] !=
		    (unsigned char)(pattern >> (i % 8 * 8)))
			return false;
	return true;
}

/*
 * The device holds a pointer into the page for HOLD_US and then writes
 * through it. Meanwhile the page is unmapped. The kernel gives the page away
 * when the unmap returns: so by then the write must have happened, and after
 * it nothing may.
 */
static bool live_map(uint64_t plain_us, uint64_t hold_us, bool *conclusive)
{
	const uint64_t pattern = 0x5aa55aa5c33cc33cu;
	const uint64_t iova = base + AT_LIVE * page;
	uint64_t start, waited, unmap_us;
	bool held, early, landed, still, ok;
	struct outcome o;

	memset(arena + AT_LIVE * page, 0, page);
	memset(expected + AT_LIVE * page, 0, page);
	map(AT_LIVE, 1, AT_LIVE,
	    VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
	reg_write(REG_DELAY, (uint32_t)hold_us);
	start = now_us();
	command_start(CMD_HOLD, iova, page, pattern);
	while (!(held = reg_read(REG_HELD)) &&
	       reg_read(REG_STATUS) == STATUS_BUSY &&
	       now_us() - start < hold_us)
		;
	early = page_has(AT_LIVE, pattern);
	unmap_us = unmap(AT_LIVE, 1);
	waited = now_us() - start;
	landed = page_has(AT_LIVE, pattern);

	if (landed)
		expect_pattern(AT_LIVE, 0, page, pattern);
	/* Whoever has the page now finds what it put there. */
	arena[AT_LIVE * page] ^= 0xff;
	expected[AT_LIVE * page] ^= 0xff;
	sleep_us(SETTLE_US);
	still = arena_intact("live map, after the unmap");
	o = command_wait();

	/* A guest that was scheduled away in between has seen no race. */
	*conclusive = held && !early;
	ok = *conclusive && landed && still && waited >= hold_us &&
	     is_done(o) && !reg_read(REG_HELD);
	if (!*conclusive && hold_us == HOLD_US)
		return false;
	printf("live_map unmap_us=%llu plain_unmap_us=%llu hold_us=%llu ok=%d",
	       (unsigned long long)unmap_us, (unsigned long long)plain_us,
	       (unsigned long long)hold_us, ok);
	if (!ok)
		printf(" held=%d early=%d landed=%d still=%d waited_us=%llu "
		       "status=%u error=%u",
		       held, early, landed, still, (unsigned long long)waited,
		       o.status, o.error);
	printf("\n");
	return ok;
}

static bool run_live_map(void)
{
	bool ok, conclusive;
	uint64_t plain;

	map(AT_LIVE, 1, AT_LIVE,
	    VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE);
	plain = unmap(AT_LIVE, 1);
	ok = live_map(plain, HOLD_US, &conclusive);
	if (!conclusive) {
		note("live map: the guest was too slow to race, once more");
		ok = live_map(plain, 2 * HOLD_US, &conclusive);
	}
	controls++;
	controls_ok += ok;
	return ok;
}

/* ----------------------------------------------------------------- main */

static void map_all(void)
{
	const uint32_t r = VFIO_DMA_MAP_FLAG_READ;
	const uint32_t w = VFIO_DMA_MAP_FLAG_WRITE;

	map(AT_RW, 2, AT_RW, r | w);
	map(AT_RO, 1, AT_RO, r);
	map(AT_WO, 1, AT_WO, w);
	map(AT_SEAM, 1, AT_SEAM, r | w);
	map(AT_SEAM + 1, 1, AT_SEAM + 1, r);
}

/* Binding, mapping and interrupt set-up, on any function: no register. */
static void probe_only(void)
{
	static const char *const names[] = { "intx", "msi", "msix" };
	uint32_t i;

	map_all();
	note("%s: mapped 6 pages at 0x%llx, unmapping one took %llu us",
	     dev.bdf, (unsigned long long)base,
	     (unsigned long long)unmap(AT_RO, 1));
	for (i = 0; i < 3; i++) {
		struct vfio_irq_info info = {
			.argsz = sizeof(info),
			.index = i,
		};

		if (ioctl(dev.fd, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0)
			die("interrupt info %u: %s", i, strerror(errno));
		note("%s: %u vectors", names[i], info.count);
	}
	printf("control name=probe ok=1\n");
	controls++;
	controls_ok++;
}

static void run_all(const char *irqs)
{
	dev.bar0 = region_offset(VFIO_PCI_BAR0_REGION_INDEX, 0x48);
	if (reg_read(REG_ID) != DMATEST_ID_VALUE)
		die("%s: its ID register says 0x%08x, not 0x%08x", dev.bdf,
		    reg_read(REG_ID), DMATEST_ID_VALUE);
	map_all();
	run_controls();
	run_attacks();
	run_interrupts(irqs);
	run_live_map();
	run_attacks_after_unmap();
	control_read("read-at-the-end", AT_RW, 0, 2 * page);
}

static void usage(FILE *f)
{
	fprintf(f,
		"usage: witness [--device VVVV:DDDD] [--irqs LIST] "
		"[--probe-only]\n"
		"\n"
		"Lets the dmatest PCI function misbehave, through this "
		"kernel's VFIO, and\n"
		"tells whether its IOMMU kept it in. Needs root, the modules "
		"vfio_pci and\n"
		"vfio_iommu_type1 (with allow_unsafe_interrupts=1 where the "
		"IOMMU does not\n"
		"remap interrupts), and the function behind an IOMMU.\n"
		"\n"
		"  --device VVVV:DDDD  the function's ids, default 1234:da7e\n"
		"  --irqs LIST         of msix,msi,intx (the default), or "
		"none\n"
		"  --probe-only        only bind, map and unmap; works on any "
		"function\n"
		"\n"
		"Prints a line per control and attack, then attacks= refused= "
		"controls=\n"
		"controls_ok=. Exit: 0 every attack was refused and every "
		"control passed,\n"
		"1 not so, 2 bad arguments.\n");
}

static void timed_out(int sig)
{
	static const char text[] = "witness: timed out\n";

	(void)sig;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(3);
	_exit(1);
}

int main(int argc, char **argv)
{
	const char *irqs = "msix,msi,intx";
	bool probe = false;
	char end;
	int i;

	for (i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			usage(stdout);
			return 0;
		} else if (!strcmp(argv[i], "--probe-only")) {
			probe = true;
		} else if (!strcmp(argv[i], "--irqs") && i + 1 < argc) {
			irqs = argv[++i];
		} else if (!strcmp(argv[i], "--device") && i + 1 < argc &&
			   sscanf(argv[i + 1], "%4x:%4x%c", &dev.vendor,
				  &dev.device, &end) == 2) {
			i++;
		} else {
			fprintf(stderr, "witness: bad argument: %s\n", argv[i]);
			usage(stderr);
			return 2;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGALRM, timed_out);
	alarm(RUN_TIMEOUT_S);

	function_find();
	function_bind();
	container_open();
	function_enable();
	iova_choose();
	arena_create();
	if (probe)
		probe_only();
	else
		run_all(irqs);

	printf("faults_expected=%u\n", faults);
	printf("attacks=%u refused=%u controls=%u controls_ok=%u\n", attacks,
	       refused, controls, controls_ok);
	return !(refused == attacks && controls_ok == controls && controls);
}
