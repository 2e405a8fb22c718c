/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TESTS_SERVE_SERVED_H
#define TESTS_SERVE_SERVED_H

/*
 * A dmatest function behind a vfio-user server, on a loop with a thread of its
 * own; and a check that nothing of it is left afterwards.
 */

#include "client.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <viommu.h>
#include <viommu/serve/dmatest.h>
#include <viommu/serve/vfio_user.h>

struct served {
	char dir[64];
	char path[96];
	struct viommu *vi;
	struct viommu_memory *memory;
	struct viommu_space *space;
	struct viommu_endpoint *ep;
	struct viommu_loop *loop;
	struct viommu_dmatest *dmatest;
	struct viommu_vfio_user *server;
	pthread_t thread;
	bool running;
	unsigned fds; /* open before */
	atomic_uint came, went, faults;
	char why[128]; /* written before went is counted */
};

static inline unsigned fds_count(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static inline void served_state(void *arg, bool connected, const char *why)
{
	struct served *s = arg;

	if (connected) {
		atomic_fetch_add(&s->came, 1);
		return;
	}
	snprintf(s->why, sizeof(s->why), "%s", why);
	atomic_fetch_add(&s->went, 1);
}

static inline void served_fault(void *arg, const struct viommu_fault *fault)
{
	struct served *s = arg;

	(void)fault;
	atomic_fetch_add(&s->faults, 1);
}

static inline void *served_run(void *arg)
{
	struct served *s = arg;

	return (void *)(intptr_t)viommu_loop_run(s->loop);
}

static inline enum viommu_verdict served_expire(void *arg,
						const struct viommu_expiry *e)
{
	struct served *s = arg;

	(void)e;
	viommu_pci_give_up(viommu_dmatest_pci(s->dmatest));
	return VIOMMU_GIVE_UP;
}

static inline void served_world(struct served *s,
				const struct viommu_config *limits)
{
	struct viommu_space_config sc = { .size = sizeof(sc),
					  .kind = VIOMMU_SPACE_IDENTITY,
					  .page_sizes = 4096 };
	struct viommu_endpoint_config ec = { .size = sizeof(ec),
					     .id = 8,
					     .pasid = VIOMMU_NO_PASID,
					     .fault = served_fault,
					     .expire = served_expire,
					     .arg = s };
	struct viommu_fence f;

	assert_int_equal(viommu_create(limits, &s->vi), 0);
	assert_int_equal(viommu_memory_create(s->vi, &s->memory), 0);
	assert_int_equal(viommu_space_create(s->vi, &sc, &s->space), 0);
	ec.memory = s->memory;
	assert_int_equal(viommu_endpoint_create(s->vi, &ec, &s->ep), 0);
	viommu_fence_init(&f);
	assert_int_equal(viommu_endpoint_attach(s->ep, s->space, &f), 0);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(&f, -1), 0);
}

static inline void served_start(struct served *s)
{
	assert_int_equal(pthread_create(&s->thread, NULL, served_run, s), 0);
	s->running = true;
}

static inline void served_stop(struct served *s)
{
	void *rc;

	if (!s->running)
		return;
	viommu_loop_stop(s->loop);
	assert_int_equal(pthread_join(s->thread, &rc), 0);
	assert_null(rc);
	s->running = false;
}

static inline struct served *
served_make_limited(const struct viommu_config *limits)
{
	struct served *s = calloc(1, sizeof(*s));
	const char *tmp = getenv("TMPDIR");
	struct viommu_dmatest_config dc = { .size = sizeof(dc),
					    .name = "test" };
	struct viommu_vfio_user_config vc = { .size = sizeof(vc) };

	assert_non_null(s);
	s->fds = fds_count();
	snprintf(s->dir, sizeof(s->dir), "%.40s/viommu-XXXXXX",
		 tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->path, sizeof(s->path), "%s/socket", s->dir);
	served_world(s, limits);
	assert_int_equal(viommu_loop_create(&s->loop), 0);
	dc.loop = s->loop;
	dc.vi = s->vi;
	dc.memory = s->memory;
	dc.endpoint = s->ep;
	assert_int_equal(viommu_dmatest_create(&dc, &s->dmatest), 0);
	vc.path = s->path;
	vc.pci = viommu_dmatest_pci(s->dmatest);
	vc.state = served_state;
	vc.arg = s;
	assert_int_equal(viommu_vfio_user_create(&vc, &s->server), 0);
	return s;
}

static inline struct served *served_make(void)
{
	return served_make_limited(NULL);
}

static inline void served_destroy(struct served *s)
{
	struct viommu_fence f;

	served_stop(s);
	viommu_vfio_user_destroy(s->server);
	/* the socket file is gone with it */
	assert_int_equal(rmdir(s->dir), 0);
	viommu_dmatest_destroy(s->dmatest);
	viommu_fence_init(&f);
	viommu_endpoint_destroy(s->ep, &f);
	viommu_space_destroy(s->space, &f);
	viommu_memory_destroy(s->memory, &f);
	viommu_fence_commit(&f, NULL, NULL);
	assert_int_equal(viommu_fence_wait(&f, 10000000000), 0);
	viommu_loop_destroy(s->loop);
	viommu_destroy(s->vi);
	assert_int_equal(fds_count(), s->fds);
	free(s);
}

static inline int served_setup(void **state)
{
	struct served *s = served_make();

	served_start(s);
	*state = s;
	return 0;
}

static inline int served_teardown(void **state)
{
	served_destroy(*state);
	return 0;
}

static inline void wait_for(const atomic_uint *n, unsigned value)
{
	uint64_t until = now_ms() + CLIENT_WAIT_MS;

	while (atomic_load(n) < value && now_ms() < until)
		sleep_ms(1);
	assert_int_equal(atomic_load(n), value);
}

static inline struct viommu_vfio_user_stats served_stats(struct served *s)
{
	struct viommu_vfio_user_stats st;

	viommu_vfio_user_read_stats(s->server, &st);
	return st;
}

/* A client that has said hello, as QEMU does. */
static inline struct client *served_client(struct served *s)
{
	struct client *c = client_connect(s->path);

	assert_int_equal(client_version(c, 0, 0, QEMU_CAPS), 0);
	return c;
}

/* ------------------------------------------------- the function, driven */

enum {
	CONFIG = VFIO_PCI_CONFIG_REGION_INDEX,
	DT_IOVA = 0x08,
	DT_LEN = 0x10,
	DT_PATTERN = 0x18,
	DT_COMMAND = 0x20,
	DT_STATUS = 0x24,
	DT_ERROR = 0x28,
	DT_HELD = 0x2c,
	DT_RESULT = 0x30,
	DT_DELAY = 0x38,
	DT_COUNT = 0x3c,
	DT_COMPARE = 0x40,
	DT_IRQ = (int)(1u << 31),
};

enum {
	DT_READ = 1,
	DT_WRITE,
	DT_HOLD,
	DT_LOAD,
	DT_STORE,
	DT_CAS
};

static inline void bus_master_on(struct client *c)
{
	client_set_reg(c, CONFIG, PCI_COMMAND, 2,
		       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static inline void dt_start(struct client *c, uint32_t cmd, uint64_t iova,
			    uint64_t len, uint64_t pattern)
{
	client_set_reg(c, 0, DT_IOVA, 8, iova);
	client_set_reg(c, 0, DT_LEN, 8, len);
	client_set_reg(c, 0, DT_PATTERN, 8, pattern);
	client_set_reg(c, 0, DT_COMMAND, 4, cmd);
}

/* Run one to its close: 0 or the positive errno in ERROR. */
static inline uint32_t dt_run(struct client *c, uint32_t cmd, uint64_t iova,
			      uint64_t len, uint64_t pattern)
{
	uint64_t until = now_ms() + CLIENT_WAIT_MS;
	uint32_t status, error;

	dt_start(c, cmd, iova, len, pattern);
	do {
		status = (uint32_t)client_reg(c, 0, DT_STATUS, 4);
		assert_true(now_ms() < until);
	} while (status == 1);
	error = (uint32_t)client_reg(c, 0, DT_ERROR, 4);
	assert_int_equal(status, error ? 3 : 2);
	return error;
}

#endif
