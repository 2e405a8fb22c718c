/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * The SIGBUS guard, see <viommu/serve/sigbus.h>.
 *
 * The core maps files itself and does not say where, so the handler asks the
 * kernel: /proc/self/maps, kept open and read with pread(2), by system calls
 * and stack only.  A spin lock keeps two threads that lost the same page from
 * replacing it twice (the second would wipe what the first has written since);
 * all signals are blocked meanwhile, so its holder cannot come back for it.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <viommu/serve/sigbus.h>

#define RECENT	  64 /* pages replaced, remembered */
#define LOG_LINES 16

/* One line of /proc/self/maps, up to the inode. */
struct area {
	uint64_t start, last;
	uint64_t inode;
	bool shared;
};

static struct {
	struct sigaction before;
	bool installed;
	int maps_fd, log_fd;
	size_t page;
	atomic_flag lock;
	uintptr_t recent[RECENT];
	unsigned next;
	_Atomic uint64_t lost;
} guard = { .maps_fd = -1, .log_fd = -1, .lock = ATOMIC_FLAG_INIT };

/* A line in pieces as they are read: no buffer holds a whole one. */
struct parser {
	struct area area;
	uint64_t number;
	unsigned field; /* start 0, last 1, perms 2, offset, device, inode 5 */
	unsigned at;	/* in the field */
};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* "start-last perms offset device inode path" */
static void parse_field(struct parser *p)
{
	if (p->field == 0)
		p->area.start = p->number;
	else if (p->field == 1)
		p->area.last = p->number - 1;
	else if (p->field == 5)
		p->area.inode = p->number;
	p->field++;
	p->number = 0;
	p->at = 0;
}

/* true: a line is complete in p->area. */
static bool parse_char(struct parser *p, char c)
{
	int digit = hex_digit(c);

	if (c == '\n') {
		if (p->field == 5)
			parse_field(p);
		p->field = 0;
		p->number = 0;
		p->at = 0;
		return true;
	}
	if (p->field > 5)
		return false;
	if (c == ' ' || (c == '-' && p->field == 0)) {
		parse_field(p);
		return false;
	}
	if (p->field == 2 && p->at == 3)
		p->area.shared = c == 's';
	p->at++;
	/* the inode is decimal */
	if (digit >= 0)
		p->number =
			p->number * (p->field == 5 ? 10 : 16) + (uint64_t)digit;
	return false;
}

static bool area_find(uintptr_t addr, struct area *out)
{
	struct parser p = { .field = 0 };
	char buf[1024];
	off_t off = 0;
	ssize_t n;

	while ((n = pread(guard.maps_fd, buf, sizeof(buf), off)) > 0) {
		off += n;
		for (ssize_t i = 0; i < n; i++) {
			if (!parse_char(&p, buf[i]))
				continue;
			if (p.area.start <= addr && addr <= p.area.last) {
				*out = p.area;
				return true;
			}
		}
	}
	return false;
}

static void append(char *line, size_t *len, const char *text)
{
	while (*text)
		line[(*len)++] = *text++;
}

static void log_line(uintptr_t page, uint64_t count)
{
	static const char digits[] = "0123456789abcdef";
	char line[128];
	size_t len = 0;

	if (guard.log_fd < 0 || count > LOG_LINES)
		return;
	append(line, &len, "viommu: memory at 0x");
	for (int i = 2 * (int)sizeof(page) - 1; i >= 0; i--)
		line[len++] = digits[page >> (4 * i) & 15];
	append(line, &len, " was cut off by its owner: an empty page instead");
	if (count == LOG_LINES)
		append(line, &len, " (the last to be told)");
	line[len++] = '\n';
	/* nobody to tell if it fails */
	if (write(guard.log_fd, line, len) < 0)
		return;
}

static bool range_replace(uintptr_t start, size_t len)
{
	return mmap((void *)start, len, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1,
		    0) != MAP_FAILED;
}

static bool replaced(uintptr_t page)
{
	guard.recent[guard.next++ % RECENT] = page;
	log_line(page, atomic_fetch_add(&guard.lost, 1) + 1);
	return true;
}

/*
 * Put an empty page there, as large as pages are there.  A page in the middle
 * makes three areas of one, and the process may have as many as it can: then
 * the whole area goes, which needs none.
 */
static bool page_replace(uintptr_t addr, const struct area *area)
{
	const size_t sizes[] = { guard.page, (size_t)2 << 20, (size_t)1 << 30 };

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		uintptr_t page = addr & ~(uintptr_t)(sizes[i] - 1);

		if (page < area->start || page + (sizes[i] - 1) > area->last)
			continue;
		if (range_replace(page, sizes[i]))
			return replaced(page);
	}
	return range_replace(area->start, area->last - area->start + 1) &&
	       replaced(area->start);
}

/* true: try the access again. */
static bool recover(uintptr_t addr)
{
	struct area area = { 0 };

	if (!area_find(addr, &area))
		return false;
	if (area.shared && area.inode)
		return page_replace(addr, &area);
	/* another thread was here first?  Else it is none of ours. */
	for (unsigned i = 0; i < RECENT; i++)
		if (guard.recent[i] && guard.recent[i] >= area.start &&
		    guard.recent[i] <= area.last)
			return true;
	return false;
}

static void pass_on(int sig, siginfo_t *info, void *context)
{
	if (guard.before.sa_flags & SA_SIGINFO) {
		guard.before.sa_sigaction(sig, info, context);
		return;
	}
	if (guard.before.sa_handler != SIG_DFL &&
	    guard.before.sa_handler != SIG_IGN) {
		guard.before.sa_handler(sig);
		return;
	}
	/* sent by somebody, and to be ignored */
	if (info->si_code <= 0 && guard.before.sa_handler == SIG_IGN)
		return;
	/* dies of it when it is unblocked on return; or by the access again */
	signal(sig, SIG_DFL);
	if (info->si_code <= 0)
		raise(sig);
}

static void handler(int sig, siginfo_t *info, void *context)
{
	int saved = errno;
	bool again = false;

	if (info->si_code == BUS_ADRERR) {
		while (atomic_flag_test_and_set(&guard.lock))
			;
		again = recover((uintptr_t)info->si_addr);
		atomic_flag_clear(&guard.lock);
	}
	if (!again)
		pass_on(sig, info, context);
	errno = saved;
}

int viommu_sigbus_install(int log_fd)
{
	struct sigaction sa = { .sa_flags = SA_SIGINFO | SA_ONSTACK };
	int rc;

	if (guard.installed)
		return -EBUSY;
	guard.maps_fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	if (guard.maps_fd < 0)
		return -errno;
	guard.log_fd = log_fd;
	guard.page = (size_t)sysconf(_SC_PAGESIZE);
	sa.sa_sigaction = handler;
	sigfillset(&sa.sa_mask);
	if (sigaction(SIGBUS, &sa, &guard.before)) {
		rc = -errno;
		close(guard.maps_fd);
		guard.maps_fd = -1;
		return rc;
	}
	guard.installed = true;
	return 0;
}

void viommu_sigbus_remove(void)
{
	if (!guard.installed)
		return;
	sigaction(SIGBUS, &guard.before, NULL);
	close(guard.maps_fd);
	guard.maps_fd = -1;
	guard.installed = false;
}

uint64_t viommu_sigbus_count(void)
{
	return atomic_load(&guard.lost);
}
