/* SPDX-License-Identifier: BSD-2-Clause */

/*
 * What keeps a server from being made, and is not there to be had: memory,
 * descriptors, permission, io_uring.  Each allocation of the library fails in
 * its turn, and what was begun is undone.  The linker puts our calls in place
 * of libc's and liburing's.
 */

#include "served.h"

#include <liburing.h>
#include <linux/capability.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <viommu/serve/blk.h>
#include <viommu/serve/sigbus.h>
#include <viommu/serve/vhost_user.h>
#include <viommu/serve/virtio_iommu.h>
#include <viommu/serve/virtio_pci.h>
#include <viommu/serve/virtqueue.h>

/* ------------------------------------------------------ calls that fail */

enum {
	EPOLL_CREATE,
	EPOLL_CTL,
	EVENTFD,
	TIMERFD,
	SOCKET,
	URING,
	CALLS
};

static int fails[CALLS];	/* errno, or 0 */
static unsigned asked, fail_at; /* allocations; 0: none fails */

int __real_epoll_create1(int flags);
int __real_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev);
int __real_eventfd(unsigned n, int flags);
int __real_timerfd_create(int clock, int flags);
int __real_socket(int domain, int type, int protocol);
int __real_io_uring_queue_init(unsigned n, struct io_uring *ring, unsigned f);
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
char *__real_strdup(const char *s);
int __wrap_epoll_create1(int flags);
int __wrap_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev);
int __wrap_eventfd(unsigned n, int flags);
int __wrap_timerfd_create(int clock, int flags);
int __wrap_socket(int domain, int type, int protocol);
int __wrap_io_uring_queue_init(unsigned n, struct io_uring *ring, unsigned f);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
char *__wrap_strdup(const char *s);

static bool failing(int call)
{
	if (fails[call])
		errno = fails[call];
	return fails[call];
}

int __wrap_epoll_create1(int flags)
{
	return failing(EPOLL_CREATE) ? -1 : __real_epoll_create1(flags);
}

int __wrap_epoll_ctl(int ep, int op, int fd, struct epoll_event *ev)
{
	return failing(EPOLL_CTL) ? -1 : __real_epoll_ctl(ep, op, fd, ev);
}

int __wrap_eventfd(unsigned n, int flags)
{
	return failing(EVENTFD) ? -1 : __real_eventfd(n, flags);
}

int __wrap_timerfd_create(int clock, int flags)
{
	return failing(TIMERFD) ? -1 : __real_timerfd_create(clock, flags);
}

int __wrap_socket(int domain, int type, int protocol)
{
	return failing(SOCKET) ? -1 : __real_socket(domain, type, protocol);
}

int __wrap_io_uring_queue_init(unsigned n, struct io_uring *ring, unsigned f)
{
	return failing(URING) ? -fails[URING]
			      : __real_io_uring_queue_init(n, ring, f);
}

static bool no_memory(void)
{
	if (!fail_at || ++asked != fail_at)
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return no_memory() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return no_memory() ? NULL : __real_calloc(n, size);
}

char *__wrap_strdup(const char *s)
{
	return no_memory() ? NULL : __real_strdup(s);
}

/* ---------------------------------------------- what there is to be made */

static void nothing(void *arg)
{
	(void)arg;
}

static void nothing_watched(void *arg, uint32_t events)
{
	(void)arg;
	(void)events;
}

static void nothing_notified(void *arg, unsigned queue)
{
	(void)arg;
	(void)queue;
}

/* Each makes one, and unmakes it: 0 or -errno. */
static int loop(struct served *s)
{
	struct viommu_loop *l;
	int rc = viommu_loop_create(&l);

	(void)s;
	if (!rc)
		viommu_loop_destroy(l);
	return rc;
}

static int watch(struct served *s)
{
	int fd = __real_eventfd(0, EFD_CLOEXEC), rc;

	assert_true(fd >= 0);
	rc = viommu_loop_add(s->loop, fd, EPOLLIN, nothing_watched, NULL);
	viommu_loop_remove(s->loop, fd);
	close(fd);
	return rc;
}

static int pci(struct served *s)
{
	const struct viommu_pci_config cfg = { .size = sizeof(cfg),
					       .loop = s->loop,
					       .vi = s->vi,
					       .memory = s->memory };
	struct viommu_pci *p;
	int rc = viommu_pci_create(&cfg, &p);

	if (!rc)
		viommu_pci_destroy(p);
	return rc;
}

static int dmatest(struct served *s)
{
	const struct viommu_dmatest_config cfg = { .size = sizeof(cfg),
						   .loop = s->loop,
						   .vi = s->vi,
						   .memory = s->memory,
						   .endpoint = s->ep };
	struct viommu_dmatest *d;
	int rc = viommu_dmatest_create(&cfg, &d);

	if (!rc)
		viommu_dmatest_destroy(d);
	return rc;
}

static int virtqueue(struct served *s)
{
	const struct viommu_virtqueue_config cfg = { .size = sizeof(cfg),
						     .endpoint = s->ep,
						     .max_len = 8,
						     .max_segments = 8 };
	struct viommu_virtqueue *vq;
	int rc = viommu_virtqueue_create(&cfg, &vq);

	if (!rc)
		viommu_virtqueue_destroy(vq);
	return rc;
}

static int virtio_dev(struct served *s, struct viommu_virtio_dev **dev)
{
	static const struct viommu_virtio_dev_ops ops = {
		.notify = nothing_notified,
		.reset = nothing,
	};
	const struct viommu_virtio_dev_config cfg = { .size = sizeof(cfg),
						      .loop = s->loop,
						      .vi = s->vi,
						      .memory = s->memory,
						      .endpoint = s->ep,
						      .device_id = 2,
						      .queues = 2,
						      .queue_len = 8,
						      .segments = 8,
						      .ops = &ops };

	return viommu_virtio_dev_create(&cfg, dev);
}

static int virtio_pci(struct served *s)
{
	struct viommu_virtio_dev *dev;
	struct viommu_virtio_pci *vp;
	int rc = virtio_dev(s, &dev);

	if (rc)
		return rc;
	rc = viommu_virtio_pci_create(dev, 0xff0000, &vp);
	if (!rc)
		viommu_virtio_pci_destroy(vp);
	viommu_virtio_dev_destroy(dev);
	return rc;
}

static int vhost_server(struct served *s)
{
	char path[96];
	struct viommu_vhost_user_config cfg = { .size = sizeof(cfg),
						.path = path };
	struct viommu_vhost_user *v;
	unsigned at = fail_at;
	int rc;

	fail_at = 0;
	assert_int_equal(virtio_dev(s, &cfg.dev), 0);
	fail_at = at;
	snprintf(path, sizeof(path), "%s/another", s->dir);
	rc = viommu_vhost_user_create(&cfg, &v);
	if (!rc)
		viommu_vhost_user_destroy(v);
	assert_int_equal(access(path, F_OK), -1);
	viommu_virtio_dev_destroy(cfg.dev);
	return rc;
}

static int virtio_iommu(struct served *s)
{
	const struct viommu_virtio_iommu_config cfg = { .size = sizeof(cfg),
							.loop = s->loop,
							.vi = s->vi,
							.memory = s->memory,
							.id = 100 };
	struct viommu_virtio_iommu *vio;
	int rc = viommu_virtio_iommu_create(&cfg, &vio);

	if (!rc)
		viommu_virtio_iommu_destroy(vio);
	return rc;
}

static int blk(struct served *s)
{
	char path[96];
	const struct viommu_blk_config cfg = { .size = sizeof(cfg),
					       .loop = s->loop,
					       .vi = s->vi,
					       .memory = s->memory,
					       .endpoint = s->ep,
					       .path = path };
	struct viommu_blk *b;
	int fd, rc;

	snprintf(path, sizeof(path), "%s/image", s->dir);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	rc = viommu_blk_create(&cfg, &b);
	if (!rc)
		viommu_blk_destroy(b);
	unlink(path);
	return rc;
}

static int server(struct served *s)
{
	char path[96];
	struct viommu_vfio_user_config cfg = { .size = sizeof(cfg),
					       .path = path };
	const struct viommu_dmatest_config dc = { .size = sizeof(dc),
						  .loop = s->loop,
						  .vi = s->vi,
						  .memory = s->memory,
						  .endpoint = s->ep };
	unsigned at = fail_at;
	struct viommu_dmatest *d;
	struct viommu_vfio_user *v;
	int rc;

	fail_at = 0;
	assert_int_equal(viommu_dmatest_create(&dc, &d), 0);
	fail_at = at;
	cfg.pci = viommu_dmatest_pci(d);
	snprintf(path, sizeof(path), "%s/another", s->dir);
	rc = viommu_vfio_user_create(&cfg, &v);
	if (!rc)
		viommu_vfio_user_destroy(v);
	/* the file has gone, too */
	assert_int_equal(access(path, F_OK), -1);
	viommu_dmatest_destroy(d);
	return rc;
}

/* ----------------------------------------------------------------- tests */

static int setup(void **state)
{
	*state = served_make(); /* its loop does not run */
	return 0;
}

static void without_memory_nothing_is_made(void **state)
{
	static int (*const make[])(struct served * s) = {
		loop,	    watch,	  pci, dmatest, virtqueue,
		virtio_pci, virtio_iommu, blk, server,	vhost_server,
	};
	struct served *s = *state;
	unsigned fds = fds_count();

	for (size_t i = 0; i < sizeof(make) / sizeof(make[0]); i++) {
		unsigned n = 0;
		int rc;

		do {
			asked = 0;
			fail_at = ++n;
			rc = make[i](s);
			fail_at = 0;
			if (asked >= n)
				assert_int_equal(rc, -ENOMEM);
			assert_int_equal(fds_count(), fds);
		} while (asked >= n);
		assert_true(n > 1);
		assert_int_equal(rc, 0);
	}
}

/* @make fails with @rc while @call does with @err. */
#define FAILS(make, call, err, rc)                    \
	do {                                          \
		unsigned fds = fds_count();           \
                                                      \
		fails[call] = err;                    \
		assert_int_equal((make)(*state), rc); \
		fails[call] = 0;                      \
		assert_int_equal(fds_count(), fds);   \
		assert_int_equal((make)(*state), 0);  \
	} while (0)

static void loops_need_descriptors(void **state)
{
	FAILS(loop, EPOLL_CREATE, EMFILE, -EMFILE);
	FAILS(loop, EPOLL_CREATE, ENFILE, -ENFILE);
	FAILS(loop, EVENTFD, EMFILE, -EMFILE);
	FAILS(loop, EVENTFD, ENFILE, -ENFILE);
	FAILS(loop, TIMERFD, EMFILE, -EMFILE);
	FAILS(loop, TIMERFD, ENFILE, -ENFILE);
}

/* ENOSPC: the limit of what a user may watch */
static void watches_need_kernel_memory(void **state)
{
	FAILS(loop, EPOLL_CTL, ENOMEM, -ENOMEM);
	FAILS(loop, EPOLL_CTL, ENOSPC, -ENOMEM);
	FAILS(watch, EPOLL_CTL, ENOMEM, -ENOMEM);
	FAILS(watch, EPOLL_CTL, ENOSPC, -ENOMEM);
}

static void disks_need_io_uring(void **state)
{
	FAILS(blk, URING, ENOSYS, -ENOSYS);
	FAILS(blk, URING, EPERM, -EPERM);
	FAILS(blk, URING, ENOMEM, -ENOMEM);
}

static void servers_need_a_descriptor(void **state)
{
	FAILS(server, SOCKET, EMFILE, -EMFILE);
	FAILS(server, SOCKET, ENFILE, -EMFILE);
	FAILS(vhost_server, SOCKET, EMFILE, -EMFILE);
	FAILS(vhost_server, SOCKET, ENFILE, -EMFILE);
}

static void one_guard_is_enough(void **state)
{
	(void)state;
	assert_int_equal(viommu_sigbus_install(-1), 0);
	assert_int_equal(viommu_sigbus_install(-1), -EBUSY);
	viommu_sigbus_remove();
}

static void dmatest_config_is_checked(void **state)
{
	struct served *s = *state;
	const struct viommu_dmatest_config good = { .size = sizeof(good),
						    .loop = s->loop,
						    .vi = s->vi,
						    .memory = s->memory,
						    .endpoint = s->ep };
	struct viommu_dmatest_config cfg;
	struct viommu_dmatest *d;

#define REFUSED(member, val)                                                \
	do {                                                                \
		cfg = good;                                                 \
		cfg.member = val;                                           \
		assert_int_equal(viommu_dmatest_create(&cfg, &d), -EINVAL); \
	} while (0)
	REFUSED(size, sizeof(cfg) - 1);
	REFUSED(loop, NULL);
	REFUSED(vi, NULL);
	REFUSED(memory, NULL);
	REFUSED(endpoint, NULL);
#undef REFUSED
}

/* root may write anywhere, but for what it does without its capabilities */
static void a_folder_may_be_closed_to_us(void **state)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct all[2], none[2];
	struct served *s = *state;
	int rc, vhost_rc;

	assert_int_equal(syscall(SYS_capget, &h, all), 0);
	memcpy(none, all, sizeof(none));
	none[0].effective = none[1].effective = 0;
	assert_int_equal(chmod(s->dir, 0500), 0);
	assert_int_equal(syscall(SYS_capset, &h, none), 0);
	rc = server(s);
	vhost_rc = vhost_server(s);
	assert_int_equal(syscall(SYS_capset, &h, all), 0);
	assert_int_equal(chmod(s->dir, 0700), 0);
	assert_int_equal(rc, -EACCES);
	assert_int_equal(vhost_rc, -EACCES);
	assert_int_equal(server(s), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, served_teardown)
		TEST(without_memory_nothing_is_made),
		TEST(loops_need_descriptors),
		TEST(watches_need_kernel_memory),
		TEST(disks_need_io_uring),
		TEST(servers_need_a_descriptor),
		TEST(one_guard_is_enough),
		TEST(dmatest_config_is_checked),
		TEST(a_folder_may_be_closed_to_us),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
