/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vfio BDF: the shadow in a real kernel.  Runs inside a guest that has QEMU's
 * `edu' device behind an IOMMU, bound to vfio-pci.  libviommu keeps the
 * kernel's container in step with an endpoint; the device does DMA by IOVAs,
 * and memory shows where it got to.  Prints what went wrong, and one line of
 * JSON.  The module's dma_entry_limit must be 64.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <viommu.h>
#include <viommu/host/vfio.h>

#define PAGE	 UINT64_C(4096)
#define RAM	 (UINT64_C(4) << 20)
#define RAM_GPA	 (UINT64_C(1) << 20)
#define ROM_GPA	 (UINT64_C(16) << 20) /* a read-only view of the same */
#define RW	 (VIOMMU_READ | VIOMMU_WRITE)
#define MSI	 UINT64_C(0xfee00000)
#define EDU_BUF	 UINT64_C(0x40000)
/* QEMU 7.2 takes a DMA of its whole buffer for one that is too long. */
#define EDU_LEN	 (PAGE - 8)
#define EDU_TEST (2 * PAGE) /* GPA offset of what most tests use */

enum {
	LIMIT = 64, /* dma_entry_limit */
	EDU_SRC = 0x80,
	EDU_DST = 0x88,
	EDU_COUNT = 0x90,
	EDU_COMMAND = 0x98,
	EDU_RUN = 1,
	EDU_TO_RAM = 2,
};

static int container, device;
static volatile uint8_t *bar;
static unsigned char *ram;
static struct viommu *vi;
static struct viommu_endpoint *ep;
static struct viommu_space *spaces[2];
static struct viommu_vfio *vfio;
static unsigned checks, failed, dmas, refusals, dirty, stopped;

static void check(int ok, const char *what)
{
	checks++;
	if (ok)
		return;
	failed++;
	printf("failed: %s\n", what);
}

static void need(int ok, const char *what)
{
	if (ok)
		return;
	printf("cannot: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- the device ------------------------------------------------------- */

static void reg_write(unsigned reg, uint64_t v)
{
	*(volatile uint64_t *)(bar + reg) = v;
}

static uint64_t reg_read(unsigned reg)
{
	return *(volatile uint64_t *)(bar + reg);
}

/* It takes 100 ms; somebody else's machine may take longer. */
static void edu_dma(uint64_t src, uint64_t dst, uint64_t count, uint64_t dir)
{
	struct timespec pause = { .tv_nsec = 10000000 };

	dmas++;
	reg_write(EDU_SRC, src);
	reg_write(EDU_DST, dst);
	reg_write(EDU_COUNT, count);
	reg_write(EDU_COMMAND, EDU_RUN | dir);
	for (int i = 0; reg_read(EDU_COMMAND) & EDU_RUN; i++) {
		if (i == 2000) {
			printf("cannot: the device's DMA does not end\n");
			exit(1);
		}
		nanosleep(&pause, NULL);
	}
}

static void edu_fetch(uint64_t iova)
{
	edu_dma(iova, EDU_BUF, EDU_LEN, 0);
}

static void edu_store(uint64_t iova)
{
	edu_dma(EDU_BUF, iova, EDU_LEN, EDU_TO_RAM);
}

static int all_are(const unsigned char *p, int c, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (p[i] != c)
			return 0;
	return 1;
}

/* Does a store through @iova get to @offset of RAM? */
static int reaches(uint64_t iova, uint64_t offset)
{
	static int c = 0x10;
	int old = ++c & 0x7f;

	memset(ram + offset, old, PAGE);
	edu_store(iova);
	return !all_are(ram + offset, old, PAGE);
}

/* The kernel's own word for it, of a fault at @iova. */
static int faulted(uint64_t iova)
{
	static char log[1 << 18];
	struct timespec pause = { .tv_nsec = 50000000 };
	char addr[48];

	snprintf(addr, sizeof(addr), "fault addr 0x%" PRIx64, iova);
	for (int i = 0; i < 100; i++) {
		int n = klogctl(3 /* read all */, log, sizeof(log) - 1);

		log[n > 0 ? n : 0] = 0;
		if (strstr(log, addr))
			return 1;
		nanosleep(&pause, NULL);
	}
	return 0;
}

static void is_stopped(uint64_t iova, uint64_t offset, const char *what)
{
	stopped++;
	check(!reaches(iova, offset), what);
}

/* ---- setting up ------------------------------------------------------- */

static int group_of(const char *bdf)
{
	char path[128], link[256];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group",
		 bdf);
	n = readlink(path, link, sizeof(link) - 1);
	need(n > 0, "find the device's IOMMU group");
	link[n] = 0;
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
	return open(path, O_RDWR | O_CLOEXEC);
}

static void open_device(const char *bdf)
{
	struct vfio_region_info r = { .argsz = sizeof(r),
				      .index = VFIO_PCI_BAR0_REGION_INDEX };
	uint16_t command;
	int group = group_of(bdf);

	need(group >= 0, "open the group");
	container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	need(container >= 0, "open the container");
	need(!ioctl(group, VFIO_GROUP_SET_CONTAINER, &container),
	     "SET_CONTAINER");
	need(!ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU),
	     "SET_IOMMU");
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	need(device >= 0, "GET_DEVICE_FD");
	need(!ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &r), "BAR 0");
	bar = mmap(NULL, r.size, PROT_READ | PROT_WRITE, MAP_SHARED, device,
		   (off_t)r.offset);
	need(bar != MAP_FAILED, "map BAR 0");
	r.index = VFIO_PCI_CONFIG_REGION_INDEX;
	need(!ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &r), "config space");
	need(pread(device, &command, 2, (off_t)r.offset + 4) == 2, "read it");
	command |= 4 | 2; /* bus master, memory */
	need(pwrite(device, &command, 2, (off_t)r.offset + 4) == 2, "write it");
	/* its first registers take 32 bits at a time only */
	need((*(volatile uint32_t *)bar & 0xff) == 0xed, "recognise edu");
}

static void run(struct viommu_fence *f)
{
	viommu_fence_commit(f, NULL, NULL);
	check(!viommu_fence_wait(f, -1), "a fence is done");
}

static void add_ram(uint64_t gpa, uint32_t prot)
{
	struct viommu_region r = { .size = sizeof(r),
				   .gpa = gpa,
				   .len = RAM,
				   .host = ram,
				   .prot = prot,
				   .fd = -1 };

	check(!viommu_memory_add(viommu_memory_of(vi), &r), "memory is added");
}

static void make_world(void)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .policy = VIOMMU_SPACE_SPLIT,
					  .page_sizes = ~(PAGE - 1) };
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = 1,
					     .pasid = VIOMMU_NO_PASID };
	struct viommu_fence f;

	ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	need(ram != MAP_FAILED, "get memory");
	need(!viommu_create(NULL, &vi), "create an instance");
	add_ram(RAM_GPA, RW);
	for (int i = 0; i < 2; i++)
		need(!viommu_space_create(vi, &sc, &spaces[i]), "make a space");
	need(!viommu_endpoint_create(vi, &ec, &ep), "make an endpoint");
	viommu_fence_init(&f);
	check(!viommu_endpoint_attach(ep, spaces[0], &f), "attach");
	run(&f);
}

static int map(int space, uint64_t iova, uint64_t len, uint64_t gpa,
	       uint32_t prot)
{
	struct viommu_mapping m = {
		.start = iova, .last = iova + len - 1, .gpa = gpa, .prot = prot
	};

	return viommu_space_map(spaces[space], &m);
}

static int64_t unmap(int space, uint64_t iova, uint64_t len)
{
	struct viommu_fence f;
	int64_t n;

	viommu_fence_init(&f);
	n = viommu_space_unmap(spaces[space], iova, iova + len - 1, &f);
	if (n >= 0)
		run(&f);
	return n;
}

static void attach(int space)
{
	struct viommu_fence f;

	viommu_fence_init(&f);
	check(!viommu_endpoint_attach(ep, spaces[space], &f), "attach");
	run(&f);
}

static struct viommu_shadow_stats stats(void)
{
	struct viommu_shadow_stats st;

	viommu_vfio_read_stats(vfio, &st);
	return st;
}

static void begin(void)
{
	struct viommu_vfio_config c = { .size = sizeof(c),
					.vi = vi,
					.container = container };

	/* page 0 at 0x10000 is there already: it is replayed */
	check(!map(0, 0x10000, PAGE, RAM_GPA, RW), "map before");
	check(!viommu_vfio_add(ep, &c, &vfio), "the shadow begins");
	need(vfio != NULL, "go on without");
	check(stats().max_entries == LIMIT, "the kernel's entry limit is seen");
}

/* ---- what is shown ---------------------------------------------------- */

static void data_goes_both_ways(void)
{
	uint64_t iova = 0x20000;

	check(!map(0, iova, 2 * PAGE, RAM_GPA + EDU_TEST, RW), "map");
	for (uint64_t i = 0; i < PAGE; i++)
		ram[i] = (unsigned char)(i * 7 + i / 256);
	edu_fetch(0x10000);
	edu_store(iova + PAGE);
	check(!memcmp(ram, ram + EDU_TEST + PAGE, EDU_LEN),
	      "what was read by one IOVA arrives by another");
	check(all_are(ram + EDU_TEST, 0, PAGE), "and nowhere else");
}

static void what_is_unmapped_is_not_reached(void)
{
	uint64_t iova = 0x20000;

	/* what the device stores from here on */
	memset(ram, 0xff, PAGE);
	edu_fetch(0x10000);
	check(reaches(iova, EDU_TEST), "it is reached before");
	check(unmap(0, iova, 2 * PAGE) == (int64_t)(2 * PAGE), "unmap");
	is_stopped(iova, EDU_TEST, "a page that was unmapped");
	check(faulted(iova), "the kernel tells of the fault");
}

static void permissions_are_the_kernels(void)
{
	check(!map(0, 0x30000, PAGE, RAM_GPA + EDU_TEST, VIOMMU_READ), "map");
	is_stopped(0x30000, EDU_TEST, "a read-only mapping");
	add_ram(ROM_GPA, VIOMMU_READ);
	check(!map(0, 0x31000, PAGE, ROM_GPA + EDU_TEST, RW), "map ROM");
	is_stopped(0x31000, EDU_TEST, "read-only memory");
	check(unmap(0, 0x30000, 2 * PAGE) == (int64_t)(2 * PAGE), "unmap");
}

static void another_space_is_another_picture(void)
{
	uint64_t iova = 0x40000;

	check(!map(0, iova, PAGE, RAM_GPA + EDU_TEST, RW), "map in one");
	check(!map(1, iova, PAGE, RAM_GPA + EDU_TEST + PAGE, RW), "in two");
	attach(1);
	check(reaches(iova, EDU_TEST + PAGE), "the second's page is reached");
	is_stopped(iova, EDU_TEST, "the first's page");
	is_stopped(0x10000, 0, "a mapping of the space that it left");
	attach(0);
	check(reaches(iova, EDU_TEST), "and the first's again");
	check(unmap(0, iova, PAGE) == (int64_t)PAGE, "unmap");
}

static void what_is_cut_off_goes_alone(void)
{
	uint64_t iova = 0x50000, at = EDU_TEST;

	check(!map(0, iova, 8 * PAGE, RAM_GPA + at, RW), "map 8 pages");
	check(unmap(0, iova + 3 * PAGE, 2 * PAGE) == (int64_t)(2 * PAGE),
	      "cut out 2");
	check(stats().cuts == 2 && !stats().lost, "what stays is put back");
	check(reaches(iova + 2 * PAGE, at + 2 * PAGE), "before the cut");
	check(reaches(iova + 5 * PAGE, at + 5 * PAGE), "behind the cut");
	is_stopped(iova + 3 * PAGE, at + 3 * PAGE, "what was cut out");
	check(unmap(0, iova, 8 * PAGE) == (int64_t)(6 * PAGE), "unmap");
}

static void memory_that_goes_is_not_reached(void)
{
	uint64_t iova = 0x60000;
	struct viommu_fence f;

	check(!map(0, iova, PAGE, RAM_GPA + EDU_TEST, RW), "map");
	check(reaches(iova, EDU_TEST), "it is reached before");
	viommu_fence_init(&f);
	check(!viommu_memory_remove(viommu_memory_of(vi), RAM_GPA, RAM, &f),
	      "memory goes");
	run(&f);
	is_stopped(iova, EDU_TEST, "memory that went");
	add_ram(RAM_GPA, RW);
	check(reaches(iova, EDU_TEST), "it is reached when it is back");
	check(unmap(0, iova, PAGE) == (int64_t)PAGE, "unmap");
}

static void interrupts_are_not_memory(void)
{
	struct viommu_reserved r;

	check(!viommu_endpoint_next_reserved(ep, 0, &r) && r.start <= MSI &&
		      r.last >= MSI && r.kind == VIOMMU_RESERVED_MSI,
	      "the MSI window is reserved");
	check(map(0, MSI, PAGE, RAM_GPA, RW) == -EADDRNOTAVAIL,
	      "no mapping there");
	refusals++;
}

static void refused(int rc, int want, uint64_t entries, const char *what)
{
	refusals++;
	check(rc == want, what);
	check(stats().entries == entries, "nothing has changed");
}

/* Ours counts; the kernel does, too. */
static void entries_are_limited(void)
{
	struct vfio_iommu_type1_dma_map own = {
		.argsz = sizeof(own),
		.flags = VFIO_DMA_MAP_FLAG_READ,
		.vaddr = (uintptr_t)ram,
		.iova = 0x8000000,
		.size = PAGE,
	};
	struct vfio_iommu_type1_dma_unmap gone = { .argsz = sizeof(gone),
						   .iova = own.iova,
						   .size = PAGE };
	uint64_t base = 0x1000000, i;

	check(!ioctl(container, VFIO_IOMMU_MAP_DMA, &own), "one of our own");
	for (i = 0; i < LIMIT && stats().entries < LIMIT - 1; i++)
		check(!map(0, base + 2 * i * PAGE, PAGE, RAM_GPA, RW), "map");
	refused(map(0, base + 2 * i * PAGE, PAGE, RAM_GPA, RW), -ENOSPC,
		LIMIT - 1, "the kernel's limit");
	check(!ioctl(container, VFIO_IOMMU_UNMAP_DMA, &gone), "no more");
	check(!map(0, base + 2 * i * PAGE, 3 * PAGE, RAM_GPA + EDU_TEST, RW),
	      "map the last one");
	refused(map(0, 0x70000, PAGE, RAM_GPA, RW), -ENOSPC, LIMIT,
		"the limit that is counted");
	refused((int)unmap(0, base + (2 * i + 1) * PAGE, PAGE), -ENOSPC, LIMIT,
		"a cut that would make one more");
	check(reaches(base + (2 * i + 1) * PAGE, EDU_TEST + PAGE),
	      "what was to be cut is whole");
	check(unmap(0, base, 2 * (i + 2) * PAGE) > 0, "unmap");
	check(stats().entries == 1, "one is left");
	check(!map(0, 0x70000, PAGE, RAM_GPA, RW), "there is room again");
	check(unmap(0, 0x70000, PAGE) == (int64_t)PAGE, "unmap");
}

/* CAP_IPC_LOCK lets pin as much as there is. */
static void set_ipc_lock(int on)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct d[2];

	need(!syscall(SYS_capget, &h, d), "capget");
	d[0].effective &= ~(1u << CAP_IPC_LOCK);
	if (on)
		d[0].effective |= 1u << CAP_IPC_LOCK;
	need(!syscall(SYS_capset, &h, d), "capset");
}

static void pinned_memory_is_limited(void)
{
	struct rlimit l, old;

	need(!getrlimit(RLIMIT_MEMLOCK, &old), "getrlimit");
	l = old;
	l.rlim_cur = RAM / 2;
	need(!setrlimit(RLIMIT_MEMLOCK, &l), "setrlimit");
	set_ipc_lock(0);
	refused(map(0, 0x2000000, RAM, RAM_GPA, RW), -ENOMEM, 1,
		"more than RLIMIT_MEMLOCK");
	check(!map(0, 0x2000000, RAM / 4, RAM_GPA, RW), "less is fine");
	set_ipc_lock(1);
	need(!setrlimit(RLIMIT_MEMLOCK, &old), "setrlimit back");
	check(unmap(0, 0x2000000, RAM / 4) == (int64_t)(RAM / 4), "unmap");
	check(!map(0, 0x2000000, RAM, RAM_GPA, RW), "all of it is, too");
	check(unmap(0, 0x2000000, RAM) == (int64_t)RAM, "unmap");
}

static int is_dirty(const uint64_t *bits, uint64_t page)
{
	return bits[page / 64] >> (page % 64) & 1;
}

static void written_pages_are_logged(void)
{
	struct viommu_memory *mem = viommu_memory_of(vi);
	uint64_t bits[RAM / 4096 / 64], page = EDU_TEST / PAGE;
	struct viommu_fence f;

	check(!map(0, 0x80000, PAGE, RAM_GPA + EDU_TEST, RW), "map");
	viommu_fence_init(&f);
	check(!viommu_memory_dirty_start(mem, 0, &f), "start the log");
	run(&f);
	check(reaches(0x80000, EDU_TEST), "the device writes");
	check(viommu_memory_dirty_fetch(mem, RAM_GPA, RAM, bits) > 0 &&
		      is_dirty(bits, page),
	      "what it wrote is fetched");
	check(!is_dirty(bits, page + 9), "what nobody can write is not");
	check(reaches(0x80000, EDU_TEST), "the device writes again");
	check(unmap(0, 0x80000, PAGE) == (int64_t)PAGE, "unmap");
	check(viommu_memory_dirty_fetch(mem, RAM_GPA, RAM, bits) > 0 &&
		      is_dirty(bits, page),
	      "what it wrote before the unmap is fetched after it");
	dirty = (unsigned)stats().dirty_pages;
	viommu_fence_init(&f);
	viommu_memory_dirty_stop(mem, &f);
	run(&f);
}

static void nothing_is_reached_in_the_end(struct viommu_shadow_stats *st)
{
	struct viommu_fence f;

	check(reaches(0x10000, 0), "the first mapping works to the end");
	*st = stats();
	viommu_fence_init(&f);
	viommu_vfio_remove(vfio, &f);
	run(&f);
	is_stopped(0x10000, 0, "what was mapped when the shadow went");
}

int main(int argc, char **argv)
{
	struct viommu_shadow_stats st;

	setvbuf(stdout, NULL, _IOLBF, 0);
	need(argc == 2, "go on: vfio BDF");
	open_device(argv[1]);
	make_world();
	begin();
	data_goes_both_ways();
	what_is_unmapped_is_not_reached();
	permissions_are_the_kernels();
	another_space_is_another_picture();
	what_is_cut_off_goes_alone();
	memory_that_goes_is_not_reached();
	interrupts_are_not_memory();
	entries_are_limited();
	pinned_memory_is_limited();
	written_pages_are_logged();
	nothing_is_reached_in_the_end(&st);
	printf("{\"maps\": %" PRIu64 ", \"unmaps\": %" PRIu64
	       ", \"cuts\": %" PRIu64 ", \"refusals\": %u, \"dmas\": %u"
	       ", \"stopped\": %u, \"dirty_pages\": %u, \"checks\": %u"
	       ", \"failed\": %u}\n",
	       st.maps, st.unmaps, st.cuts, refusals, dmas, stopped, dirty,
	       checks, failed);
	return failed != 0;
}
